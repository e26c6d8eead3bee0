//! `catalog keys usage`.

use clap::Args;
use jiff::{Timestamp, ToSpan as _, tz::TimeZone};
use serde_json::json;
use serverless_catalog::account::AccountId;

use super::{find, unknown};
use crate::{connect::Target, console::say, error::CliError};

/// `catalog keys usage`.
#[derive(Args, Debug)]
pub(crate) struct Usage {
    /// Whose keys
    #[arg(long)]
    account: AccountId,
    /// The key's id, or the key (otherwise all keys of the account)
    key: Option<String>,
    /// How many days, today included; 90 are kept
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u8).range(1..=90))]
    days: u8,
    /// Print a line of JSON a key and day
    #[arg(long)]
    json: bool,
}

impl Usage {
    pub(super) async fn run(self, target: &Target) -> Result<(), CliError> {
        let store = target.store().await?;
        let mut keys = store.keys_of(&self.account).await?;
        if let Some(key) = &self.key {
            let wanted = find(&store, &self.account, key).await?;
            keys.retain(|(hash, _)| *hash == wanted);
            if keys.is_empty() {
                return Err(unknown(&self.account));
            }
        }
        let today = TimeZone::UTC.to_datetime(Timestamp::now()).date();
        let since = today.saturating_sub(i32::from(self.days - 1).days());
        let mut is_first = true;
        for (hash, _) in keys {
            for (day, usage) in store.usage_since(&hash, since).await? {
                if self.json {
                    let mut line = json!(usage);
                    line["keyId"] = hash.key_id().into();
                    line["date"] = day.to_string().into();
                    say(line.to_string());
                    continue;
                }
                if std::mem::take(&mut is_first) {
                    say(format!(
                        "{:<16}  {:<10}  {:>10}  {:>10}  {:>12}  {:>12}  {:>10}",
                        "KEY ID", "DATE", "READS", "WRITES", "READ UNITS", "WRITE UNITS", "REFUSED"
                    ));
                }
                say(format!(
                    "{:<16}  {:<10}  {:>10}  {:>10}  {:>12}  {:>12}  {:>10}",
                    hash.key_id(),
                    day.to_string(),
                    usage.reads,
                    usage.writes,
                    usage.read_units,
                    usage.write_units,
                    usage.rejected
                ));
            }
        }
        if is_first && !self.json {
            say(format!(
                "Nothing is counted in these days: only keys with limits are. See `catalog keys list --account {}`.",
                self.account
            ));
        }
        Ok(())
    }
}
