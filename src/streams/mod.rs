//! The function `record-changes`: stream records of the catalog's tables become the journal of changes.
//!
//! An invocation has the records of one shard of one table, in their order. The shard's id is in the event only
//! because the event source mapping has a tumbling window; the window's state is not used.

mod events;

use std::{
    collections::HashMap,
    num::NonZeroUsize,
    sync::{Arc, Mutex},
};

use aws_lambda_events::event::dynamodb::{EventRecord, TimeWindowEvent, TimeWindowEventResponse};
use futures_util::{StreamExt as _, stream};
use jiff::Timestamp;
use lru::LruCache;
use serde_dynamo::{AttributeValue, Item};

use self::events::announce;
pub use self::events::{EventBus, EventSink};
use crate::{
    account::AccountId,
    cause::Cause,
    changes::{
        Change, LATE, Log, LogId, Losses, Positions, Recorded, SequenceNumber, StreamRecord, Tail,
        View, is_recorded, record,
    },
    cost::{Cost, Meter},
    cursor::Cursors,
    lock::lock,
    store::{Images, Store, StoreError},
    telemetry::changes_recorded,
};

/// How many logs' ends an instance remembers. Without, each batch would read the last chunk.
const KNOWN_TAILS: NonZeroUsize = NonZeroUsize::new(1_000).unwrap();

/// How many logs are written concurrently.
const CONCURRENT_LOGS: usize = 8;

/// Why a batch must be delivered again.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The event is not that of a table's stream, with the id of its shard.
    #[error("the event has no {0}")]
    Event(&'static str),
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The changes are recorded, but their events were not put.
    #[error("the events were not put")]
    Events(#[source] Cause),
}

/// The function `record-changes`.
#[derive(Clone, Debug)]
pub struct RecordChanges {
    store: Store,
    tails: Arc<Mutex<LruCache<LogId, Tail>>>,
    /// Where events go, and what seals the cursors in them; `None`: there are no events.
    events: Option<(Arc<dyn EventSink>, Arc<Cursors>)>,
}

impl RecordChanges {
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store, tails: Arc::new(Mutex::new(LruCache::new(KNOWN_TAILS))), events: None }
    }

    /// Puts events of what was recorded, with cursors encrypted with these secrets.
    #[must_use]
    pub fn with_events(self, sink: Arc<dyn EventSink>, cursors: Arc<Cursors>) -> Self {
        Self { events: Some((sink, cursors)), ..self }
    }

    /// Records the changes of a batch, then puts their events.
    ///
    /// # Errors
    /// [`RecordError`]; the batch must then be delivered again.
    pub async fn handle(
        &self,
        event: TimeWindowEvent,
    ) -> Result<TimeWindowEventResponse, RecordError> {
        let shard = event.time_window_properties.shard_id;
        let shard = shard.ok_or(RecordError::Event("shard id; it needs a tumbling window"))?;
        let records = event.dynamo_db_event.records;
        let count = records.len();
        let logs = self.by_log(records)?;
        let accounts = logs.len();
        let (meter, shard) = (&Meter::default(), shard.as_str());
        let mut changes = 0;
        if let Some(log) = self.lost(meter, shard, &logs).await? {
            // Before anything is recorded: a batch that is recorded in part shows the loss no more.
            self.store.metered(meter).note_loss(log).await?;
            tracing::error!(
                log = log.as_str(),
                "changes may be lost: all logs of the table begin anew"
            );
        }
        let recorded: Vec<Result<Recorded, RecordError>> = stream::iter(logs)
            .map(|(id, writes)| self.record(meter, id, shard, writes))
            .buffer_unordered(CONCURRENT_LOGS)
            .collect()
            .await;
        for recorded in recorded {
            changes += recorded?.appended;
        }
        let Cost { read_units, write_units, .. } = meter.cost();
        tracing::info!(records = count, accounts, changes, read_units, write_units, "changes");
        changes_recorded(u64::try_from(changes).unwrap_or_default(), write_units);
        Ok(TimeWindowEventResponse::default())
    }

    /// The writes of each log, in their order. A record that does not tell its log or its place is logged, and
    /// skipped.
    fn by_log(&self, records: Vec<EventRecord>) -> Result<HashMap<LogId, Writes>, RecordError> {
        let mut logs: HashMap<LogId, Writes> = HashMap::new();
        let mut skipped = 0_usize;
        for record in records {
            let arn = record.event_source_arn.as_deref().unwrap_or_default();
            let log = self.log_of(arn).ok_or(RecordError::Event("stream of a known table"))?;
            let EventRecord { change, .. } = record;
            let account = match change.keys.get("account") {
                Some(AttributeValue::S(account)) => AccountId::parse(account).ok(),
                _ => None,
            };
            let sequence = change.sequence_number.as_deref().and_then(SequenceNumber::parse);
            let (Some(account), Some(sequence)) = (account, sequence) else {
                skipped += 1;
                continue;
            };
            let at = change.approximate_creation_date_time.timestamp_millis();
            let at = Timestamp::from_millisecond(at).unwrap_or_default();
            let image = |image: Item| (!image.is_empty()).then_some(image);
            let (before, after) = (image(change.old_image), image(change.new_image));
            let writes = logs.entry(LogId { account, log }).or_default();
            writes.sequences.push(sequence);
            writes.images.push(Images { before, after, at });
        }
        if skipped > 0 {
            // Delivered again they would be the same, and hold up all that come after them.
            tracing::error!(skipped, "records without an account or a sequence number");
        }
        Ok(logs)
    }

    /// The log of the table that a stream's ARN names: `arn:…:table/<name>/stream/<time>`.
    fn log_of(&self, arn: &str) -> Option<Log> {
        self.store.log_of_table(arn.split('/').nth(1)?)
    }

    /// The table of a batch before which records may be lost: some of its records have waited almost until they would
    /// expire, and none of them was delivered before. A batch has no gap: if its first records are recorded, or later
    /// ones of their shard, nothing is missing before the others.
    async fn lost(
        &self,
        meter: &Meter,
        shard: &str,
        logs: &HashMap<LogId, Writes>,
    ) -> Result<Option<Log>, StoreError> {
        let now = self.store.clock().now();
        let mut late: Vec<(&LogId, &SequenceNumber)> = Vec::new();
        for (id, Writes { sequences, images }) in logs {
            let old = sequences.iter().zip(images);
            let old = old.filter(|(_, images)| now.duration_since(images.at) > LATE);
            late.extend(old.map(|(sequence, _)| sequence).min().map(|first| (id, first)));
        }
        let Some(first) = late.iter().map(|(_, sequence)| *sequence).min() else {
            return Ok(None);
        };
        for (id, _) in &late {
            let store = self.store.for_account(&id.account, meter);
            if is_recorded(&store, id, shard, first).await? {
                return Ok(None);
            }
        }
        Ok(late.first().map(|(id, _)| id.log))
    }

    /// Records the writes to one log.
    async fn record(
        &self,
        meter: &Meter,
        id: LogId,
        shard: &str,
        Writes { sequences, images }: Writes,
    ) -> Result<Recorded, RecordError> {
        let changes = self.store.changes_of(id.log, images);
        let records: Vec<StreamRecord> = sequences
            .into_iter()
            .zip(changes)
            .map(|(sequence, change)| StreamRecord { sequence, change })
            .collect();
        let mut tail = lock(&self.tails).pop(&id);
        // With the account's own limits: throttled writes to one account's log slow no other's.
        let store = &self.store.for_account(&id.account, meter);
        let recorded = record(store, &id, shard, &records, &mut tail).await?;
        if let Some(tail) = tail {
            lock(&self.tails).put(id.clone(), tail);
        }
        if let (Some((sink, cursors)), Some((first, from))) =
            (&self.events, &recorded.announce_from)
        {
            let to_announce = records.iter().filter(|record| record.sequence >= *first);
            let changes: Vec<&Change> =
                to_announce.filter_map(|record| record.change.as_ref()).collect();
            let now = self.store.clock().now();
            let oldest = |kinds| {
                let oldest = Positions::oldest(now, kinds, View::Everything.fingerprint());
                oldest.ignoring_losses_until(Losses::of_all(now))
            };
            let of = (&id.account, id.log);
            let put = announce(&**sink, cursors, of, *from, oldest, &changes).await;
            put.map_err(RecordError::Events)?;
        }
        Ok(recorded)
    }
}

/// The writes of a batch to one log.
#[derive(Debug, Default)]
struct Writes {
    sequences: Vec<SequenceNumber>,
    images: Vec<Images>,
}

#[cfg(test)]
mod tests {
    use std::io;

    use aws_sdk_dynamodb::Client;
    use jiff::SignedDuration;
    use serde_json::{Value, json};
    use tokio::time::Instant;

    use super::*;
    use crate::{
        clock::Clock,
        scripted_service::{Reply, ScriptedService},
        store::TableNames,
    };

    /// What is logged while a test runs.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            lock(&self.0).extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A record of a stream: a write of this account to a table, in this place of its shard.
    fn record(table: &str, account: &Value, sequence: &str) -> EventRecord {
        let record = json!({
            "eventID": "1", "eventName": "INSERT", "eventSource": "aws:dynamodb",
            "awsRegion": "eu-west-1",
            "eventSourceARN": format!("arn:aws:dynamodb:eu-west-1:1:table/{table}/stream/t"),
            "dynamodb": {
                "ApproximateCreationDateTime": 1_767_225_600,
                "Keys": { "account": account },
                "NewImage": { "account": account },
                "SequenceNumber": sequence, "SizeBytes": 1,
            },
        });
        serde_json::from_value(record).expect("a record")
    }

    /// The accounts, logs and numbers of writes in a batch, and what is logged.
    fn by_log(records: Vec<EventRecord>) -> (Result<Vec<String>, String>, Vec<Value>) {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber =
            tracing_subscriber::fmt().json().with_writer(move || writer.clone()).finish();
        let client = Client::new(&ScriptedService::new([]).config());
        let function = RecordChanges::new(Store::new(client, TableNames::with_prefix("test")));
        let logs = tracing::subscriber::with_default(subscriber, || function.by_log(records));
        let shown = logs.map(|logs| {
            let one = |(LogId { account, log }, writes): (LogId, Writes)| {
                let images = writes.images.iter();
                let images = images.map(|one| (one.before.is_some(), one.after.is_some()));
                format!("{account} {log} {:?}", images.collect::<Vec<_>>())
            };
            let mut shown: Vec<String> = logs.into_iter().map(one).collect();
            shown.sort();
            shown
        });
        let logged = String::from_utf8(std::mem::take(&mut *lock(&lines.0))).expect("UTF-8");
        let line =
            |line: &str| serde_json::from_str::<Value>(line).expect("JSON")["fields"].clone();
        (shown.map_err(|error| error.to_string()), logged.lines().map(line).collect())
    }

    #[test]
    fn the_records_of_a_batch_are_told_apart_by_account_and_table() {
        let (acme, globex) = (json!({ "S": "ACME" }), json!({ "S": "GLOBEX" }));
        let (logs, logged) = by_log(vec![
            record("test-products", &acme, "1"),
            record("test-products", &globex, "2"),
            record("test-products", &acme, "3"),
            record("test-offerings", &acme, "4"),
        ]);
        let expected = [
            "ACME offerings [(false, true)]",
            "ACME products [(false, true), (false, true)]",
            "GLOBEX products [(false, true)]",
        ];
        assert_eq!(logs.expect("logs"), expected);
        assert!(logged.is_empty(), "{logged:?}");
    }

    #[test]
    fn a_record_without_its_account_or_its_place_is_logged_and_skipped() {
        let acme = json!({ "S": "ACME" });
        let (logs, logged) = by_log(vec![
            record("test-products", &json!({ "N": "1" }), "1"),
            record("test-products", &json!({ "S": "a b" }), "2"),
            record("test-products", &acme, "x"),
            record("test-products", &acme, "4"),
        ]);
        assert_eq!(logs.expect("logs"), ["ACME products [(false, true)]"]);
        let message = "records without an account or a sequence number";
        assert_eq!(logged, [json!({ "message": message, "skipped": 3 })]);
    }

    /// Whether a batch is taken for one with a gap before it, whose one record is 23 hours and so much older, and how many
    /// requests that takes.
    async fn is_lost_at(later: SignedDuration, replies: Vec<Reply>) -> (Option<Log>, usize) {
        let made_at = Timestamp::from_second(1_767_225_600).expect("a time");
        let (start, since) = (made_at + LATE + later, Instant::now());
        let service = ScriptedService::new(replies);
        let store = Store::new(Client::new(&service.config()), TableNames::with_prefix("test"));
        let function = RecordChanges::new(store.with_clock(Clock::Simulated { start, since }));
        let records = vec![record("test-products", &json!({ "S": "ACME" }), "1")];
        let logs = function.by_log(records).expect("logs");
        let lost = function.lost(&Meter::default(), "shard", &logs).await.expect("an answer");
        (lost, service.asked().len())
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_has_a_gap_before_it_if_it_is_late_and_nothing_of_its_shard_is_recorded() {
        assert_eq!(is_lost_at(SignedDuration::ZERO, Vec::new()).await, (None, 0), "in time");
        let nothing = Reply::new(200, r#"{"Items":[]}"#);
        let late = is_lost_at(SignedDuration::from_millis(1), vec![nothing]).await;
        assert_eq!(late, (Some(Log::Products), 1));
    }

    #[test]
    fn a_batch_of_another_table_is_no_batch_of_the_catalog() {
        let acme = json!({ "S": "ACME" });
        for table in ["test-usage", "products"] {
            let (logs, _) = by_log(vec![record(table, &acme, "1")]);
            assert_eq!(logs, Err("the event has no stream of a known table".to_owned()));
        }
    }
}
