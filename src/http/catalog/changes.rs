//! `GET /catalog/v1/changes`.

use std::{
    fmt::Write as _,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

#[cfg(feature = "openapi")]
use serde_json::json;

use crate::{
    access::Permission,
    changes::{
        JournalStore as _, Kinds, Losses, Page, PageError, PositionedChange, Positions, View, page,
    },
    cursor::{Cursors, InvalidCursor},
    http::{
        ApiError, Call, Dialect, Endpoint, Methods, Reply,
        params::{ArrayParameter, Cursor, Limit, Parameter, Params},
    },
    imports::Kind,
    lock::lock,
    offerings::Budget,
    store::{Store, StoreError},
};
#[cfg(feature = "openapi")]
use crate::{
    changes::IdField,
    http::describe::{Failures, Operation, Schemas, operation, read, with},
};

const PATH: &str = "/catalog/v1/changes";

/// How many changes a page has if the request does not say.
const DEFAULT_LIMIT: u32 = 100;

const CACHE: &str = "private, no-cache";

const SINCE: Parameter<Cursor> = Parameter::new(
    "since",
    "The `nextCursor` of the page before, or the `changesCursor` of an export. Without it: from the oldest change that is kept.",
);

const KINDS: ArrayParameter<Kind> = ArrayParameter::new(
    "kinds",
    "Only changes of these kinds. Without it: those of `since`, or all. A cursor goes on with its kinds or fewer.",
);

const LIMIT: Parameter<Limit> =
    Parameter::new("limit", "The maximum number of changes on a page; 100 by default.");

pub struct ListChanges {
    cursors: Arc<Cursors>,
    cache_for: Duration,
    /// The losses, and when they were read.
    losses: Mutex<Option<(Instant, Losses)>>,
}

/// How long the losses are cached.
const LOSSES_CACHE: Duration = Duration::from_mins(1);

impl ListChanges {
    /// Creates the endpoint, with cursors encrypted with these secrets. It caches for at most a minute, and at most for
    /// `cache`, whether changes were lost.
    #[must_use]
    pub fn new(cursors: Arc<Cursors>, cache: Duration) -> Self {
        Self { cursors, cache_for: cache.min(LOSSES_CACHE), losses: Mutex::default() }
    }

    async fn losses(&self, store: &Store) -> Result<Losses, StoreError> {
        let known = *lock(&self.losses);
        if let Some((_, losses)) = known.filter(|(read_at, _)| read_at.elapsed() < self.cache_for) {
            return Ok(losses);
        }
        let losses = store.losses().await?;
        *lock(&self.losses) = Some((Instant::now(), losses));
        Ok(losses)
    }
}

impl Endpoint for ListChanges {
    const DIALECT: Dialect = Dialect::Catalog;
    const PERMISSION: Permission = Permission::ChangesRead;
    const PATHS: &'static [(&'static str, Methods)] = &[(PATH, Methods::READ)];

    async fn answer(&self, call: Call<'_>) -> Result<Reply, ApiError> {
        let Call { request, principal, store, log, .. } = call;
        let mut params = Params::parse(&request.query);
        let since = params.single(&SINCE);
        let kinds: Vec<Kind> = params.list(&KINDS);
        let limit = params.single(&LIMIT).map_or(DEFAULT_LIMIT, |Limit(limit)| limit);
        params.finish()?;
        let (account, view) = (&principal.account, View::of(principal));
        let kinds = (!kinds.is_empty()).then(|| Kinds::of(kinds));
        let invalid = |error: InvalidCursor| ApiError::invalid(SINCE.name, error.to_string());
        log.has_cursor = since.is_some();
        let losses = self.losses(store).await?;
        let positions = match since {
            None => {
                let kinds = kinds.unwrap_or(Kinds::ALL);
                Positions::oldest(store.clock().now(), kinds, view.fingerprint())
                    .ignoring_losses_until(losses)
            }
            Some(Cursor(token)) => {
                let there = Positions::open(&self.cursors, account, &token).map_err(invalid)?;
                let kinds = kinds.unwrap_or(there.kinds);
                if !there.kinds.contains_all(kinds) {
                    // Changes of the others were passed over.
                    return Err(invalid(InvalidCursor));
                }
                there.only(kinds)
            }
        };
        if positions.view != view.fingerprint() {
            return Err(ApiError::Gone);
        }
        let budget = Budget { read_units: Budget::READ_UNITS, until: request.page_end() };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let page = page(store, account, positions, losses, view, limit, budget).await;
        let Page { changes, next, up_to_date } = page.map_err(|error| match error {
            PageError::Gone => ApiError::Gone,
            PageError::Log(error) => error.into(),
        })?;
        log.items = changes.len();
        log.has_next_page = !up_to_date;
        let next = next.seal(&self.cursors, account)?;
        Ok(Reply::cacheable(body(&changes, &next, up_to_date), CACHE))
    }
}

/// Joins records, which are JSON already, to `{"changes":[…],"nextCursor":"…","upToDate":…}`.
fn body(changes: &[PositionedChange], next: &str, up_to_date: bool) -> String {
    let mut body = String::from("{\"changes\":[");
    for (index, told) in changes.iter().enumerate() {
        if index > 0 {
            body.push(',');
        }
        body.push_str(&told.json());
    }
    // Cursors consist of URL-safe characters, so nothing needs to be escaped.
    let _ = write!(body, "],\"nextCursor\":\"{next}\",\"upToDate\":{up_to_date}}}");
    body
}

#[cfg(feature = "openapi")]
pub(in crate::http) fn describe(schemas: &mut Schemas) -> Operation {
    let failures = Failures::of::<ListChanges>(schemas, PATH);
    let parameters = [SINCE.describe(schemas), KINDS.describe(schemas), LIMIT.describe(schemas)];
    let time = json!({ "type": "string", "format": "date-time" });
    let change = json!({
        "type": "object",
        "required": ["position", "kind", "id", "op", "changedAt"],
        "properties": {
            "position": { "type": "string", "description": "The position of the change; opaque." },
            "kind": schemas.of::<Kind>(),
            "id": { "type": "string", "description": "The identity of the record within its kind, as imports know it: of a bundle \
                `network_id/id`, of a partner offering `type/name`, of a rate `source/destination`." },
            "idField": { "description": "Of a product, the field that `id` is.", "anyOf": [schemas.of::<IdField>()] },
            "op": { "type": "string", "enum": ["upsert", "delete"] },
            "changedAt": time,
            "source": { "type": "string", "description": "What made the change, if it is known: the id of an import, of which a delete may have only the first 8 digits; or `upsert`." },
            "record": { "type": "object", "description": "The record as an export has it; left out for a delete." },
        },
    });
    let page = json!({
        "type": "object",
        "required": ["changes", "nextCursor", "upToDate"],
        "properties": {
            "changes": { "type": "array", "items": change },
            "nextCursor": {
                "type": "string", "maxLength": 512,
                "description": "The `since` of the next request; always there.",
            },
            "upToDate": {
                "type": "boolean",
                "description": "Whether nothing more was recorded when the page was read.",
            },
        },
    });
    let example = json!({
        "changes": [{
            "position": "s1767690011294000", "kind": "product", "id": "PLAN-PRO-MO", "idField": "sku", "op": "upsert",
            "changedAt": "2026-01-06T12:00:00.000Z", "source": "upsert",
            "record": { "kind": "product", "sku": "PLAN-PRO-MO", "name": "Pro Plan", "price": 49 },
        }],
        "nextCursor": "AQ3xT0b1v5Kk",
        "upToDate": true,
    });
    let gone = failures.reply(
        "The changes after the cursor are no longer kept or were lost, or the key sees something else now.",
        &[("gone", ApiError::Gone)],
    );
    let replies = with(
        read("A page of changes.", page, &example),
        "400",
        failures.invalid(LIMIT.name, "must be a whole number from 1 to 1000"),
    );
    operation(
        "listChanges",
        "List what changed",
        "Every create, change and delete of the account's exported records, each once, the changes of one record in \
            the order in which they were made. They are kept for 30 days. A page also ends before a reply would pass 5.5 MB \
            and when it has read its budget. A network is told without its bundles, each bundle as a record of its own. \
            A key with a restricted view gets the offerings it sees, with only its own catalogs named, what leaves its \
            view as a delete, and no promotions.",
        &parameters,
        &failures,
        with(replies, "410", gone),
    )
}
