//! Events of the journal: once changes can be read, an event on `EventBridge` names them, and carries a cursor to read
//! them with.
//!
//! They are put at least once: if putting them fails, the batch is delivered again. Its changes are then already
//! recorded, and only their events are put again.

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

/// The `detail-type` of the events.
const DETAIL_TYPE: &str = "catalog.changed";

/// The most bytes of one event's detail, and of all details in one request. It stays well below what
/// `EventBridge` takes; what counts are a detail's own bytes, not the backslashes that escape it in the request.
const MAX_DETAIL: usize = 200_000;

/// Where events go.
pub trait EventSink: fmt::Debug + Send + Sync {
    /// Puts events with these details: at most ten, together at most `MAX_DETAIL` bytes.
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
            // If only some were put, all are put again: events are promised at least once, not exactly once.
            Patience::REQUEST.retry(|| self.put_once(&details), |_| true).await
        }
        .boxed()
    }
}

/// Puts the events of changes in an account's log; the first of these changes has the position `from` or a higher one.
/// `oldest(kinds)` gives the positions of a cursor that reads these kinds from the beginning; the position in `log` is
/// then replaced by `from`.
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
        // A request never has more than ten events, the most that `PutEvents` takes: there are seven kinds, and of each
        // kind every event but the last is larger than half of `MAX_DETAIL`, so at most one such event fits into a
        // request, beside the last events.
        if !request.is_empty() && bytes + detail.len() > MAX_DETAIL {
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use jiff::Timestamp;

    use super::*;
    use crate::{
        changes::{ExportedRecord, IdField, Identity, View},
        lock::lock,
        scripted_service::{Reply, ScriptedService},
    };

    /// Keeps the details of each request.
    #[derive(Debug, Default)]
    struct Requests(Mutex<Vec<Vec<String>>>);

    impl EventSink for Requests {
        fn put(&self, details: Vec<String>) -> BoxFuture<'_, Result<(), Cause>> {
            lock(&self.0).push(details);
            Box::pin(async { Ok(()) })
        }
    }

    /// The details of each request that announces changes, without their cursors.
    async fn announced(changes: &[Change]) -> Vec<Vec<Value>> {
        let sink = Requests::default();
        let cursors = Cursors::new("the cursor secret of all the tests", None).expect("secret");
        let account = AccountId::parse("ACME").expect("account");
        let oldest =
            |kinds| Positions::oldest(Timestamp::UNIX_EPOCH, kinds, View::Everything.fingerprint());
        let changes: Vec<&Change> = changes.iter().collect();
        let of = (&account, Log::Networks);
        announce(&sink, &cursors, of, 7, oldest, &changes).await.expect("announced");
        let requests = std::mem::take(&mut *lock(&sink.0));
        let without_cursor = |detail: String| {
            let mut detail: Value = serde_json::from_str(&detail).expect("JSON");
            let cursor = detail.as_object_mut().and_then(|detail| detail.remove("cursor"));
            assert!(cursor.is_some_and(|cursor| cursor.is_string()), "{detail}");
            detail
        };
        let requests = requests.into_iter();
        requests.map(|details| details.into_iter().map(without_cursor).collect()).collect()
    }

    fn deleted(kind: Kind, id: &str) -> Change {
        let identity = Identity { kind, id: id.to_owned(), id_field: None };
        Change::delete(identity, None, Timestamp::UNIX_EPOCH, None)
    }

    #[tokio::test]
    async fn an_event_tells_the_changes_of_a_kind_in_their_order() {
        let identity = |id_field| Identity { kind: Kind::Product, id: "s".to_owned(), id_field };
        let record = ExportedRecord {
            identity: identity(Some(IdField::Sku)),
            json: "{}".to_owned(),
            visibility: None,
        };
        let created = Change::between(None, Some(record), Timestamp::UNIX_EPOCH, None);
        let changes = [
            deleted(Kind::Bundle, "1/2"),
            created.expect("JSON").expect("a change"),
            deleted(Kind::Bundle, "1/3"),
            deleted(Kind::Network, "1"),
        ];
        let detail = |kind: &str, changes: Value| json!({ "account": "ACME", "kind": kind, "changes": changes });
        let bundles = json!([{ "id": "1/2", "op": "delete" }, { "id": "1/3", "op": "delete" }]);
        assert_eq!(
            announced(&changes).await,
            [[
                detail("network", json!([{ "id": "1", "op": "delete" }])),
                detail("bundle", bundles),
                detail("product", json!([{ "id": "s", "idField": "sku", "op": "upsert" }])),
            ]]
        );
        assert!(announced(&[]).await.is_empty(), "no change is no request");
    }

    #[tokio::test]
    async fn the_detail_of_an_event_has_two_hundred_thousand_bytes_at_most() {
        // A change has 24 bytes besides its id.
        let changes = |last: usize| {
            [
                deleted(Kind::Network, &"a".repeat(100_000 - 24)),
                deleted(Kind::Network, &"b".repeat(last - 24)),
                deleted(Kind::Network, "c"),
            ]
        };
        let counts = async |last| {
            let requests = announced(&changes(last)).await;
            let count = |detail: &Value| detail["changes"].as_array().map_or(0, Vec::len);
            requests.iter().map(|one| one.iter().map(count).collect()).collect::<Vec<Vec<_>>>()
        };
        // A thousand bytes are left for what is around the changes; the third change has 25.
        assert_eq!(counts(98_975).await, [vec![3]]);
        assert_eq!(counts(98_976).await, [vec![2, 1]]);
        assert_eq!(counts(99_000).await, [vec![2, 1]]);
        assert_eq!(counts(99_001).await, [vec![1, 2]]);
    }

    #[tokio::test]
    async fn a_request_has_events_of_two_hundred_thousand_bytes_at_most() {
        let changes = |length: usize| {
            [
                deleted(Kind::Network, &"a".repeat(100_000)),
                deleted(Kind::Bundle, &"b".repeat(length)),
                deleted(Kind::ExchangeRate, "c"),
            ]
        };
        // How many bytes the first two details have besides their long ids.
        let around = |requests: &[Vec<Value>]| {
            let longer = requests[0][..2].iter().map(|detail| detail.to_string().len());
            longer.sum::<usize>() - 100_000
        };
        let cursors = 2 * (r#","cursor":"""#.len() + cursor_length());
        let rest = around(&announced(&changes(0)).await) + cursors;
        let kinds = async |length| {
            let requests = announced(&changes(length)).await;
            let kind = |detail: &Value| detail["kind"].as_str().map(ToOwned::to_owned);
            requests
                .iter()
                .map(|one| one.iter().filter_map(kind).collect())
                .collect::<Vec<Vec<_>>>()
        };
        assert_eq!(kinds(100_000 - rest).await, [vec!["network", "bundle"], vec!["exchangeRate"]]);
        let [first, second] = [vec!["network"], vec!["bundle", "exchangeRate"]];
        assert_eq!(kinds(100_001 - rest).await, [first, second]);
    }

    /// How long the cursor of an event is.
    fn cursor_length() -> usize {
        let cursors = Cursors::new("the cursor secret of all the tests", None).expect("secret");
        let account = AccountId::parse("ACME").expect("account");
        let kinds = Kinds::of([Kind::Network]);
        let view = View::Everything.fingerprint();
        let oldest = Positions::oldest(Timestamp::UNIX_EPOCH, kinds, view);
        let from = oldest.with(Log::Networks, ReadPosition::End(7));
        from.seal(&cursors, &account).expect("a cursor").len()
    }

    #[tokio::test(start_paused = true)]
    async fn events_that_the_bus_does_not_take_are_put_again_with_the_others() {
        let some_failed = Reply::new(200, r#"{"FailedEntryCount":1,"Entries":[]}"#);
        let put = Reply::new(200, r#"{"FailedEntryCount":0,"Entries":[]}"#);
        let service = ScriptedService::new([some_failed, Reply::new(500, "{}"), put]);
        let bus = EventBus::new(Client::new(&service.config()), "changes".to_owned());
        bus.put(vec!["{\"a\":1}".to_owned(), "{}".to_owned()]).await.expect("put");
        let event = |detail: &str| {
            json!({ "EventBusName": "changes", "Source": "serverless-catalog",
                    "DetailType": "catalog.changed", "Detail": detail })
        };
        let expected = json!({ "Entries": [event("{\"a\":1}"), event("{}")] });
        let asked = service.asked();
        assert_eq!(asked.len(), 3);
        for asked in asked {
            assert_eq!(asked.header("x-amz-target"), Some("AWSEvents.PutEvents"));
            assert_eq!(asked.json(), expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_bus_that_never_takes_an_event_is_asked_eight_times() {
        let failed = Reply::new(200, r#"{"FailedEntryCount":2,"Entries":[]}"#);
        let service = ScriptedService::new(vec![failed; 8]);
        let bus = EventBus::new(Client::new(&service.config()), "changes".to_owned());
        let error = bus.put(vec!["{}".to_owned(); 2]).await.expect_err("not put");
        assert_eq!(error.to_string(), "2 events were not put");
        assert_eq!(service.asked().len(), 8);
    }
}
