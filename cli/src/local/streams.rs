//! A stand-in for the event source mappings of the tables' streams: it reads the streams of the embedded engine, and
//! invokes the function `record-changes` with the events that Lambda would send.

use std::{
    path::Path,
    sync::{Arc, Mutex as SyncMutex},
    time::Duration,
};

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
use rusqlite::{Connection, OptionalExtension as _, params};
use serde_json::{Value, json};
use serverless_catalog::{lock::lock, text::rfc3339_millis};
use tokio::{sync::Mutex, task::JoinSet};

use super::{Function, Storage, gateway::context};
use crate::error::CliError;

/// How often the streams are read while they bring nothing.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// How many records an event has at most.
const BATCH: usize = 1_000;

/// The timeout of the function.
const TIMEOUT: Duration = Duration::from_mins(1);

/// The length of a tumbling window.
const WINDOW: SignedDuration = SignedDuration::from_mins(15);

/// The streams of an engine's tables. What is delivered is trimmed; after a kill, what was not trimmed yet is delivered
/// again, and not recorded again.
pub struct Streams {
    shared: Arc<Shared>,
    _task: JoinSet<()>,
}

struct Shared {
    database: Database,
    function: Function,
    shards: Mutex<Vec<Shard>>,
    /// `None`: the engine is in memory, and gone with its streams.
    delivered: Option<Arc<Delivered>>,
}

/// How far each stream was delivered, in the engine's file: a second connection to it.
struct Delivered(SyncMutex<Connection>);

/// What the engine adds to the number that it stores with a stream record: its public form has 21 digits.
const NUMBERS_FROM: u128 = 100_000_000_000_000_000_000;

impl Delivered {
    fn open(file: &Path) -> Result<Self, rusqlite::Error> {
        let connection = Connection::open(file)?;
        connection.execute_batch(
            "CREATE TABLE IF NOT EXISTS _streams_delivered \
             (table_name TEXT PRIMARY KEY, sequence_number TEXT NOT NULL)",
        )?;
        Ok(Self(SyncMutex::new(connection)))
    }

    /// The sequence number of the last stream record of a table that was delivered.
    fn last(&self, table: &str) -> Result<Option<String>, rusqlite::Error> {
        let connection = lock(&self.0);
        let select = "SELECT sequence_number FROM _streams_delivered WHERE table_name = ?1";
        connection.query_row(select, [table], |row| row.get(0)).optional()
    }

    /// Notes that the stream of a table is delivered up to a record, and trims it. That record stays: sequence numbers
    /// go on from it, also if the clock of this machine goes back.
    fn note(&self, table: &str, sequence: &str) -> Result<(), rusqlite::Error> {
        let stored =
            sequence.parse().ok().and_then(|number: u128| number.checked_sub(NUMBERS_FROM));
        let stored = stored.and_then(|number| i64::try_from(number).ok()).unwrap_or_default();
        let mut connection = lock(&self.0);
        let transaction = connection.transaction()?;
        transaction.execute(
            "INSERT OR REPLACE INTO _streams_delivered VALUES (?1, ?2)",
            params![table, sequence],
        )?;
        transaction.execute(
            "DELETE FROM _stream_records WHERE table_name = ?1 AND CAST(sequence_number AS INTEGER) < ?2",
            params![table, stored],
        )?;
        transaction.commit()
    }
}

/// One shard of a stream, and how far it was read.
struct Shard {
    table: String,
    stream: String,
    id: String,
    /// Where the next batch begins.
    iterator: String,
}

impl Streams {
    /// Begins to read the streams of these tables.
    pub(super) fn open(
        database: Database,
        storage: &Storage,
        tables: &[String],
        function: Function,
    ) -> Result<Self, CliError> {
        let engine = |error: &dyn std::fmt::Display| CliError::Engine(error.to_string());
        let delivered = match storage {
            Storage::Memory => None,
            Storage::File(path) => Some(Delivered::open(path).map_err(|error| engine(&error))?),
        };
        let mut shards = Vec::new();
        for table in tables {
            let last = delivered.as_ref().map(|delivered| delivered.last(table));
            let last = last.transpose().map_err(|error| engine(&error))?.flatten();
            let of_table = shards_of(&database, table, last.as_deref());
            shards.extend(of_table.map_err(|error| engine(&error))?);
        }
        let (delivered, shards) = (delivered.map(Arc::new), Mutex::new(shards));
        let shared = Arc::new(Shared { database, function, shards, delivered });
        let reader = shared.clone();
        let mut task = JoinSet::new();
        task.spawn(async move {
            loop {
                let delivered = reader.deliver().await;
                tokio::time::sleep(POLL_INTERVAL).await;
                // Not before the wait: when the process ends, what is in progress is cancelled, and that is no failure.
                if let Err(error) = delivered {
                    tracing::warn!(cause = error, "a batch of changes is to be delivered again");
                }
            }
        });
        Ok(Self { shared, _task: task })
    }

    /// Waits until everything that was written before is recorded.
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
            let last = records.last().map(|record| record.dynamodb.sequence_number.clone());
            let records = serde_json::to_value(&records).map_err(|error| error.to_string())?;
            self.function.invoke(event(shard, records).to_string(), context(TIMEOUT)).await?;
            let Some(next) = next_shard_iterator else { return Ok(()) };
            shard.iterator = next;
            if let (Some(delivered), Some(last)) = (self.delivered.clone(), last) {
                let table = shard.table.clone();
                let note = move || delivered.note(&table, &last);
                let noted = tokio::task::spawn_blocking(note).await;
                let noted = noted.map_err(|error| error.to_string());
                noted?.map_err(|error| error.to_string())?;
            }
        }
    }
}

/// The shards of a table's stream, from a stream record on, or from the beginning.
fn shards_of(
    database: &Database,
    table: &str,
    last: Option<&str>,
) -> Result<Vec<Shard>, DynoxideError> {
    let mut shards = Vec::new();
    let request = ListStreamsRequest { table_name: Some(table.to_owned()), ..Default::default() };
    for stream in database.list_streams(request)?.streams {
        let stream = stream.stream_arn;
        let request = DescribeStreamRequest { stream_arn: stream.clone(), ..Default::default() };
        for shard in database.describe_stream(request)?.stream_description.shards {
            let id = shard.shard_id;
            let kind = if last.is_some() { "AFTER_SEQUENCE_NUMBER" } else { "TRIM_HORIZON" };
            let iterator = database.get_shard_iterator(GetShardIteratorRequest {
                stream_arn: stream.clone(),
                shard_id: id.clone(),
                shard_iterator_type: kind.to_owned(),
                sequence_number: last.map(ToOwned::to_owned),
            })?;
            let iterator = iterator.shard_iterator.unwrap_or_default();
            shards.push(Shard { table: table.to_owned(), stream: stream.clone(), id, iterator });
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

#[cfg(test)]
mod tests {
    use std::{future::ready, path::PathBuf};

    use aws_sdk_dynamodb::types::AttributeValue;
    use serverless_catalog::store::lean_client;

    use super::*;
    use crate::{
        local::{Engine, LOCALHOST},
        template::Template,
    };

    const TEMPLATE: &str = "
Resources:
  T:
    Type: AWS::DynamoDB::Table
    Properties:
      TableName: things
      AttributeDefinitions: [{ AttributeName: name, AttributeType: S }]
      KeySchema: [{ AttributeName: name, KeyType: HASH }]
      StreamSpecification: { StreamViewType: NEW_IMAGE }
";

    /// An engine with a table, and what its stream delivers.
    struct Scene {
        engine: Engine,
        storage: Storage,
        client: aws_sdk_dynamodb::Client,
        events: Arc<SyncMutex<Vec<Value>>>,
        /// Why the function fails, if it does.
        failure: Arc<SyncMutex<Option<String>>>,
    }

    impl Scene {
        async fn start(storage: Storage) -> Self {
            let engine = Engine::start(storage.clone(), LOCALHOST).await.expect("an engine");
            let connection = serverless_catalog::store::Connection::local(&engine.url());
            let client = lean_client(&connection).expect("a client");
            for table in Template::parse(TEMPLATE).expect("YAML").tables("").expect("tables") {
                table.create(&client, false).await.expect("a table");
            }
            Self { engine, storage, client, events: Arc::default(), failure: Arc::default() }
        }

        async fn put(&self, name: &str) {
            let put = self.client.put_item().table_name("things");
            put.item("name", AttributeValue::S(name.to_owned())).send().await.expect("written");
        }

        /// Delivers until everything is delivered.
        async fn settle(&self) -> Result<(), String> {
            let (events, failure) = (self.events.clone(), self.failure.clone());
            let function = Function::new(move |event: Value, _| {
                let failure = lock(&failure).clone();
                if failure.is_none() {
                    lock(&events).push(event);
                }
                ready(failure.map_or(Ok(json!({})), Err))
            });
            let tables = ["things".to_owned()];
            let streams = Streams::open(self.engine.database(), &self.storage, &tables, function);
            streams.expect("streams").settle().await
        }

        /// The names of the records that were delivered since the last time.
        fn delivered(&self) -> Vec<String> {
            let events = std::mem::take(&mut *lock(&self.events));
            let records =
                events.iter().flat_map(|event| event["Records"].as_array().expect("records"));
            let name = |record: &Value| {
                record["dynamodb"]["Keys"]["name"]["S"].as_str().map(ToOwned::to_owned)
            };
            records.map(|record| name(record).expect("a name")).collect()
        }
    }

    fn kept(file: &PathBuf) -> u64 {
        let engine = Connection::open(file).expect("the engine's file");
        let count = "SELECT COUNT(*) FROM _stream_records";
        engine.query_row(count, [], |row| row.get(0)).expect("a count")
    }

    #[tokio::test]
    async fn what_is_written_is_delivered_as_an_event_of_its_stream() {
        let scene = Scene::start(Storage::Memory).await;
        scene.put("a").await;
        scene.put("b").await;
        scene.settle().await.expect("delivered");
        let mut event = lock(&scene.events)[0].take();
        let stream = event["eventSourceARN"].take();
        let start = stream.as_str().expect("an ARN");
        assert!(
            start.starts_with("arn:aws:dynamodb:") && start.contains(":table/things/stream/"),
            "{start}"
        );
        let shard = event["shardId"].take();
        assert!(shard.as_str().is_some_and(|shard| shard.starts_with("shardId-")), "{shard}");
        let records = event["Records"].take();
        let [first, second] = records.as_array().expect("records").as_slice() else {
            panic!("{records}")
        };
        for (record, name) in [(first, "a"), (second, "b")] {
            assert_eq!(
                (&record["eventSourceARN"], &record["eventName"]),
                (&stream, &json!("INSERT"))
            );
            assert_eq!(record["dynamodb"]["NewImage"], json!({ "name": { "S": name } }));
        }
        let time = |name: &str| -> Timestamp {
            event["window"][name].as_str().expect("a time").parse().expect("a time")
        };
        assert_eq!(time("start").duration_until(time("end")), SignedDuration::from_mins(15));
        event["window"].take();
        let rest = json!({
            "Records": null, "window": null, "state": {}, "shardId": null, "eventSourceARN": null,
            "isFinalInvokeForWindow": false, "isWindowTerminatedEarly": false,
        });
        assert_eq!(event, rest);
    }

    #[tokio::test]
    async fn what_was_delivered_is_trimmed_and_not_delivered_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("engine");
        let scene = Scene::start(Storage::File(file.clone())).await;
        scene.put("a").await;
        scene.put("b").await;
        *lock(&scene.failure) = Some("it failed".to_owned());
        assert_eq!(scene.settle().await, Err("it failed".to_owned()));
        assert_eq!((scene.delivered(), kept(&file)), (Vec::new(), 2));
        *lock(&scene.failure) = None;
        scene.settle().await.expect("delivered");
        // The last record stays: sequence numbers go on from it.
        assert_eq!((scene.delivered(), kept(&file)), (vec!["a".to_owned(), "b".to_owned()], 1));
        scene.settle().await.expect("delivered");
        assert_eq!(scene.delivered(), Vec::<String>::new());
        scene.put("c").await;
        scene.settle().await.expect("delivered");
        assert_eq!((scene.delivered(), kept(&file)), (vec!["c".to_owned()], 1));
    }

    #[tokio::test]
    async fn the_stream_records_of_a_table_are_found_by_an_index() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("engine");
        let _scene = Scene::start(Storage::File(file.clone())).await;
        let engine = Connection::open(file).expect("the engine's file");
        let plan = "EXPLAIN QUERY PLAN SELECT MAX(CAST(sequence_number AS INTEGER)) FROM _stream_records \
            WHERE table_name = 'things'";
        let plan: String = engine.query_row(plan, [], |row| row.get("detail")).expect("a plan");
        assert!(plan.contains("INDEX _stream_records_in_order (table_name=?)"), "{plan}");
    }

    #[tokio::test]
    async fn an_engine_that_is_dropped_answers_no_more() {
        let Scene { engine, client, .. } = Scene::start(Storage::Memory).await;
        client.describe_table().table_name("things").send().await.expect("a table");
        tokio::task::spawn_blocking(move || drop(engine)).await.expect("dropped");
        let gone = client.describe_table().table_name("things").send().await;
        assert!(gone.expect_err("nobody answers").as_service_error().is_none());
    }
}
