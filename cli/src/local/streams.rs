//! A stand-in for the event source mappings of the tables' streams: it reads the streams of the embedded engine, and
//! invokes the function `record-changes` with the events that Lambda would send.

use std::{sync::Arc, time::Duration};

use dynoxide::{
    Database, DynoxideError,
    actions::{
        describe_stream::DescribeStreamRequest,
        get_records::{GetRecordsRequest, GetRecordsResponse},
        get_shard_iterator::GetShardIteratorRequest,
        list_streams::ListStreamsRequest,
    },
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use serverless_catalog::text::rfc3339_millis;
use tokio::{sync::Mutex, task::JoinHandle};

use super::{Function, gateway::context};
use crate::error::CliError;

/// How often the streams are read while they bring nothing.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// How many records an event has at most.
const BATCH: usize = 1_000;

/// The timeout of the function.
const TIMEOUT: Duration = Duration::from_mins(1);

/// The length of a tumbling window.
const WINDOW: SignedDuration = SignedDuration::from_mins(15);

/// The streams of an engine's tables, read from their beginning. What was recorded before is not recorded again.
#[derive(Debug)]
pub struct Streams {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    database: Database,
    function: Function,
    shards: Mutex<Vec<Shard>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shared(…)")
    }
}

/// One shard of a stream, and how far it was read.
struct Shard {
    stream: String,
    id: String,
    /// Where the next batch begins.
    iterator: String,
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Streams {
    /// Begins to read the streams of these tables.
    ///
    /// # Errors
    /// [`CliError::Engine`] when a stream cannot be read.
    pub(super) fn open(
        database: Database,
        tables: &[String],
        function: Function,
    ) -> Result<Self, CliError> {
        let shards =
            shards(&database, tables).map_err(|error| CliError::Engine(error.to_string()))?;
        let shared = Arc::new(Shared { database, function, shards: Mutex::new(shards) });
        let reader = shared.clone();
        let task = tokio::spawn(async move {
            loop {
                let delivered = reader.deliver().await;
                tokio::time::sleep(POLL_INTERVAL).await;
                // Not before the wait: when the process ends, what is in progress is cancelled, and that is no failure.
                if let Err(error) = delivered {
                    tracing::warn!(cause = error, "a batch of changes is to be delivered again");
                }
            }
        });
        Ok(Self { shared, task })
    }

    /// Waits until everything that was written before is recorded.
    ///
    /// # Errors
    /// What the function or the engine failed with.
    pub async fn settle(&self) -> Result<(), String> {
        self.shared.deliver().await
    }
}

impl Shared {
    /// Delivers what is new in all shards, also where it fails for one of them: returns the first error.
    async fn deliver(&self) -> Result<(), String> {
        let mut outcome = Ok(());
        for shard in self.shards.lock().await.iter_mut() {
            let delivered = self.deliver_shard(shard).await;
            outcome = outcome.and(delivered);
        }
        outcome
    }

    async fn deliver_shard(&self, shard: &mut Shard) -> Result<(), String> {
        loop {
            let request =
                GetRecordsRequest { shard_iterator: shard.iterator.clone(), limit: Some(BATCH) };
            let GetRecordsResponse { records, next_shard_iterator } =
                self.database.get_records(request).map_err(|error| error.to_string())?;
            if records.is_empty() {
                return Ok(());
            }
            let records = serde_json::to_value(&records).map_err(|error| error.to_string())?;
            self.function.invoke(event(shard, records).to_string(), context(TIMEOUT)).await?;
            let Some(next) = next_shard_iterator else { return Ok(()) };
            shard.iterator = next;
        }
    }
}

fn shards(database: &Database, tables: &[String]) -> Result<Vec<Shard>, DynoxideError> {
    let mut shards = Vec::new();
    for table in tables {
        let request = ListStreamsRequest { table_name: Some(table.clone()), ..Default::default() };
        for stream in database.list_streams(request)?.streams {
            let stream = stream.stream_arn;
            let request =
                DescribeStreamRequest { stream_arn: stream.clone(), ..Default::default() };
            for shard in database.describe_stream(request)?.stream_description.shards {
                let id = shard.shard_id;
                let iterator = database.get_shard_iterator(GetShardIteratorRequest {
                    stream_arn: stream.clone(),
                    shard_id: id.clone(),
                    shard_iterator_type: "TRIM_HORIZON".to_owned(),
                    sequence_number: None,
                })?;
                let iterator = iterator.shard_iterator.unwrap_or_default();
                shards.push(Shard { stream: stream.clone(), id, iterator });
            }
        }
    }
    Ok(shards)
}

/// The event of a batch, as an event source mapping with a tumbling window sends it.
fn event(shard: &Shard, mut records: Value) -> Value {
    for record in records.as_array_mut().into_iter().flatten() {
        record["eventSourceARN"] = json!(shard.stream);
    }
    let now = Timestamp::now();
    json!({
        "Records": records,
        "window": { "start": rfc3339_millis(now), "end": rfc3339_millis(now + WINDOW) },
        "state": {},
        "shardId": shard.id,
        "eventSourceARN": shard.stream,
        "isFinalInvokeForWindow": false,
        "isWindowTerminatedEarly": false,
    })
}
