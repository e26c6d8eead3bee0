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
use jiff::{SignedDuration, Timestamp};
use lru::LruCache;
use serde_dynamo::{AttributeValue, Item};

use self::events::announce;
pub use self::events::{EventBus, EventSink};
use crate::{
    account::AccountId,
    cause::Cause,
    changes::{
        Change, Log, LogId, Positions, Recorded, SequenceNumber, Sight, StreamRecord, Tail,
        is_recorded, record,
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

/// The age from which on a record shows that others before it may be lost: a stream keeps records for 24 hours.
const NEARLY_LOST: SignedDuration = SignedDuration::from_hours(23);

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
        // Those that show that records may be lost come last: if another log then fails, they still show it
        // when the batch is delivered again.
        let (late, timely) = self.late(meter, shard, logs).await?;
        let lost = !late.is_empty();
        for logs in [timely, late] {
            let recorded: Vec<Result<Recorded, RecordError>> = stream::iter(logs)
                .map(|(id, writes)| self.record(meter, id, shard, writes, lost))
                .buffer_unordered(CONCURRENT_LOGS)
                .collect()
                .await;
            for recorded in recorded {
                changes += recorded?.appended;
            }
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

    /// The logs with records that have waited until others before them may be lost, and the others. Records that are
    /// in the log already do not count: whoever reads a stream from its beginning again has lost nothing.
    async fn late(
        &self,
        meter: &Meter,
        shard: &str,
        logs: HashMap<LogId, Writes>,
    ) -> Result<(Batch, Batch), RecordError> {
        let now = self.store.clock().now();
        let (mut late, mut timely) = (Vec::new(), Vec::new());
        for (id, writes) in logs {
            let times = writes.images.iter().map(|images| images.at);
            let old = writes.sequences.iter().zip(times);
            let old = old.filter(|(_, at)| now.duration_since(*at) > NEARLY_LOST);
            let is_late = match old.map(|(sequence, _)| sequence).max() {
                Some(newest) => {
                    let store = self.store.for_account(&id.account, meter);
                    !is_recorded(&store, &id, shard, newest).await?
                }
                None => false,
            };
            let logs = if is_late { &mut late } else { &mut timely };
            logs.push((id, writes));
        }
        Ok((late, timely))
    }

    /// Records the writes to one log. With `lost`, records of the shard may be lost.
    async fn record(
        &self,
        meter: &Meter,
        id: LogId,
        shard: &str,
        Writes { sequences, images }: Writes,
        lost: bool,
    ) -> Result<Recorded, RecordError> {
        let changes = self.store.changes_of(id.log, images);
        let entries: Vec<StreamRecord> = sequences
            .into_iter()
            .zip(changes)
            .map(|(sequence, change)| StreamRecord { sequence, change })
            .collect();
        let mut tail = lock(&self.tails).pop(&id);
        // With the account's own limits: throttled writes to one account's log slow no other's.
        let store = &self.store.for_account(&id.account, meter);
        let recorded = record(store, &id, shard, &entries, &mut tail, lost).await?;
        if lost && recorded.appended > 0 {
            tracing::error!(
                account = id.account.as_str(),
                log = id.log.as_str(),
                "a log began anew"
            );
        }
        if let Some(tail) = tail {
            lock(&self.tails).put(id.clone(), tail);
        }
        if let (Some((sink, cursors)), Some(from)) = (&self.events, recorded.from) {
            let changes: Vec<&Change> =
                entries.iter().filter_map(|entry| entry.change.as_ref()).collect();
            let now = self.store.clock().now();
            let oldest = |kinds| Positions::oldest(now, kinds, Sight::Everything.fingerprint());
            let of = (&id.account, id.log);
            let put = announce(&**sink, cursors, of, from, oldest, &changes).await;
            put.map_err(RecordError::Events)?;
        }
        Ok(recorded)
    }
}

type Batch = Vec<(LogId, Writes)>;

/// The writes of a batch to one log.
#[derive(Debug, Default)]
struct Writes {
    sequences: Vec<SequenceNumber>,
    images: Vec<Images>,
}
