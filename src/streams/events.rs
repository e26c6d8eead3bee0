//! Events of the journal: after changes can be read, `EventBridge` is told which, and the cursor to read them with.
//!
//! They are put at least once: a batch that fails here is delivered again, and puts the events of what it finds
//! recorded once more.

use std::fmt;

use aws_sdk_eventbridge::{Client, types::PutEventsRequestEntry};
use futures_util::{FutureExt as _, future::BoxFuture};
use serde_json::{Value, json};

use crate::{
    account::AccountId,
    cause::Cause,
    changes::{Change, Kinds, Log, Positions, ReadPosition},
    cursor::Cursors,
    imports::Kind,
    retry::Patience,
};

/// The source of the events.
const SOURCE: &str = "serverless-catalog";

/// What the events tell.
const DETAIL_TYPE: &str = "catalog.changed";

/// The most bytes of the changes in one event, and of the details in one request: `EventBridge` takes 256 KB, in
/// which a quote within a detail counts once.
const MAX_DETAIL: usize = 200_000;

/// The most events in one request.
const MAX_EVENTS: usize = 10;

/// Where events go.
pub trait EventSink: fmt::Debug + Send + Sync {
    /// Puts events with these details, at most ten and 256 KB.
    fn put(&self, details: Vec<String>) -> BoxFuture<'_, Result<(), Cause>>;
}

/// An event bus.
#[derive(Debug)]
pub struct EventBus {
    client: Client,
    name: String,
}

impl EventBus {
    /// The bus with this name.
    #[must_use]
    pub fn new(client: Client, name: String) -> Self {
        Self { client, name }
    }

    async fn put_once(&self, details: &[String]) -> Result<(), Cause> {
        let entry = |detail: &String| {
            PutEventsRequestEntry::builder()
                .event_bus_name(&self.name)
                .source(SOURCE)
                .detail_type(DETAIL_TYPE)
                .detail(detail)
                .build()
        };
        let entries = details.iter().map(entry).collect();
        let reply = self.client.put_events().set_entries(Some(entries)).send().await?;
        match reply.failed_entry_count {
            0 => Ok(()),
            failed => Err(format!("{failed} events were not put").into()),
        }
    }
}

impl EventSink for EventBus {
    fn put(&self, details: Vec<String>) -> BoxFuture<'_, Result<(), Cause>> {
        async move {
            // Some of them may be put again: that is at least once.
            Patience::REQUEST.retry(|| self.put_once(&details), |_| true).await
        }
        .boxed()
    }
}

/// Puts the events of an account's changes, which can be read from this position on.
pub(super) async fn announce(
    sink: &dyn EventSink,
    cursors: &Cursors,
    (account, log): (&AccountId, Log),
    from: u64,
    oldest: impl Fn(Kinds) -> Positions,
    changes: &[&Change],
) -> Result<(), Cause> {
    let mut details = Vec::new();
    for kind in Kind::ALL {
        let of_kind: Vec<&Change> =
            changes.iter().copied().filter(|change| change.identity.kind == *kind).collect();
        if of_kind.is_empty() {
            continue;
        }
        let positions = oldest(Kinds::of([*kind])).with(log, ReadPosition::End(from));
        let cursor = positions.seal(cursors, account)?;
        details.extend(details_of(account, *kind, &cursor, &of_kind));
    }
    let mut request: Vec<String> = Vec::new();
    for detail in details {
        let bytes: usize = request.iter().map(String::len).sum();
        if request.len() == MAX_EVENTS || !request.is_empty() && bytes + detail.len() > MAX_DETAIL {
            sink.put(std::mem::take(&mut request)).await?;
        }
        request.push(detail);
    }
    if !request.is_empty() {
        sink.put(request).await?;
    }
    Ok(())
}

/// The details of events, each of a bounded size.
fn details_of(account: &AccountId, kind: Kind, cursor: &str, changes: &[&Change]) -> Vec<String> {
    let detail = |changes: Vec<Value>| {
        json!({ "account": account, "kind": kind, "changes": changes, "cursor": cursor })
            .to_string()
    };
    let (mut details, mut told, mut bytes) = (Vec::new(), Vec::new(), 0);
    for change in changes {
        let op = if change.record().is_some() { "upsert" } else { "delete" };
        let mut one = json!({ "id": change.identity.id, "op": op });
        if let Some(field) = change.identity.id_field {
            one["idField"] = json!(field);
        }
        let length = one.to_string().len() + 1;
        if bytes + length + 1_000 > MAX_DETAIL {
            details.push(detail(std::mem::take(&mut told)));
            bytes = 0;
        }
        bytes += length;
        told.push(one);
    }
    details.push(detail(told));
    details
}
