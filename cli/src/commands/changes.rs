//! `catalog changes`: what changed in an account's catalog, from the journal.

use std::time::{Duration, Instant};

use clap::Args;
use serverless_catalog::{
    account::AccountId,
    changes::{JournalStore as _, Kinds, Page, PageError, PositionedChange, Positions, View, page},
    cost::Meter,
    imports::Kind,
    offerings::Budget,
    store::Store,
};

use crate::{
    connect::{CursorSecret, Target},
    console::{say, warn},
    error::CliError,
    interruption::Interruption,
};

/// How many changes are read at once.
const PAGE: usize = 1_000;

/// How often a reader that is up to date asks again.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Print what changed in an account's catalog, a line of JSON a change, the oldest first
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  catalog changes --account ACME
  catalog changes --account ACME --kind product --follow
  catalog changes --account ACME --since \"$(head -1 acme.ndjson | jq -r .changesCursor)\"

Changes are kept for 30 days. The cursor to go on with is printed on standard error at the end, where the secret
that seals cursors is known.")]
pub(super) struct Changes {
    /// Whose catalog it is
    #[arg(long)]
    account: AccountId,
    /// Go on after this cursor: of an export, of this command, or of GET /catalog/v1/changes
    #[arg(long, value_name = "CURSOR")]
    since: Option<String>,
    /// Only records of this kind; may be given more than once
    #[arg(long = "kind", value_name = "KIND")]
    kinds: Vec<Kind>,
    /// Go on printing what changes, until Ctrl-C
    #[arg(long)]
    follow: bool,
    #[command(flatten)]
    secret: CursorSecret,
}

impl Changes {
    pub(super) async fn run(self, target: &Target) -> Result<(), CliError> {
        let mut end = Interruption::expect();
        let meter = Meter::default();
        let store = target.store().await?.metered(&meter);
        let kinds = (!self.kinds.is_empty()).then(|| Kinds::of(self.kinds.iter().copied()));
        let mut positions = match &self.since {
            None => oldest(&store, kinds.unwrap_or(Kinds::ALL)).await?,
            Some(cursor) => {
                let there = Positions::open(&self.secret.cursors(target)?, &self.account, cursor);
                let there = there.map_err(|_| wrong_cursor())?;
                let kinds = kinds.unwrap_or(there.kinds);
                // A key with a restricted view was not told everything.
                let is_whole = there.view == View::Everything.fingerprint();
                if !is_whole || !there.kinds.contains_all(kinds) {
                    return Err(wrong_cursor());
                }
                there.only(kinds)
            }
        };
        loop {
            let Page { changes, next, up_to_date } =
                next_page(&store, &self.account, positions).await?;
            changes.iter().map(PositionedChange::json).for_each(say);
            positions = next;
            if up_to_date && !self.follow {
                break;
            }
            let pause = if up_to_date { POLL_INTERVAL } else { Duration::ZERO };
            tokio::select! {
                () = end.wait() => break,
                () = tokio::time::sleep(pause) => {}
            }
        }
        if let Ok(cursors) = self.secret.cursors(target)
            && let Ok(cursor) = positions.seal(&cursors, &self.account)
        {
            warn(format!("Go on with --since {cursor}"));
        }
        warn(format!("{:.1} read units.", meter.cost().read_units));
        Ok(())
    }
}

fn wrong_cursor() -> CliError {
    CliError::Usage(
        "--since is not a cursor of this account, of these kinds, and of a key that sees all of them, or was made \
         with another secret"
            .to_owned(),
    )
}

async fn oldest(store: &Store, kinds: Kinds) -> Result<Positions, CliError> {
    let oldest = Positions::oldest(store.clock().now(), kinds, View::Everything.fingerprint());
    Ok(oldest.ignoring_losses_until(store.losses().await?))
}

async fn next_page(
    store: &Store,
    account: &AccountId,
    positions: Positions,
) -> Result<Page, CliError> {
    let until = Instant::now() + Duration::from_secs(20);
    let budget = Budget { read_units: Budget::READ_UNITS, until };
    let losses = store.losses().await?;
    let page = page(store, account, positions, losses, View::Everything, PAGE, budget).await;
    page.map_err(|error| match error {
        PageError::Gone => CliError::Incomplete(
            "what changed after this cursor is no longer kept, or was lost; start over with \
             `catalog export --with-cursor`"
                .to_owned(),
        ),
        PageError::Log(error) => error.into(),
    })
}

/// Prints the changes that a source made.
pub(super) async fn print_of_source(
    store: &Store,
    account: &AccountId,
    source: &str,
) -> Result<u64, CliError> {
    let mut positions = oldest(store, Kinds::ALL).await?;
    let mut count = 0;
    loop {
        let Page { changes, next, up_to_date } = next_page(store, account, positions).await?;
        let is_of = |told: &&PositionedChange| {
            // Of a delete only the beginning of the id is stored.
            told.change.source.as_deref().is_some_and(|id| id.len() >= 8 && source.starts_with(id))
        };
        for told in changes.iter().filter(is_of) {
            say(told.json());
            count += 1;
        }
        if up_to_date {
            return Ok(count);
        }
        positions = next;
    }
}
