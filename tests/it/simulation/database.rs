//! DynamoDB: the embedded engine, called in this process.

use std::sync::{Arc, Mutex};

use aws_sdk_dynamodb::{
    Client, Config,
    config::{BehaviorVersion, Region, retry::RetryConfig, timeout::TimeoutConfig},
};
use catalog_cli::{
    local::{Admission, Partitions, Tally},
    template::Template,
};
use dynoxide::{
    Database, DynoxideError,
    actions::{
        describe_stream::DescribeStreamRequest, get_records::GetRecordsRequest,
        get_shard_iterator::GetShardIteratorRequest, list_streams::ListStreamsRequest,
    },
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::{
    Clock,
    faults::{Faults, RequestLog},
    wire::{self, Reply, Request, Service},
};

/// An engine; any number of clients may share it.
pub(crate) struct Engine {
    database: Database,
    /// Limits what each partition serves.
    partitions: Option<Mutex<Partitions>>,
    log: RequestLog,
}

impl Engine {
    /// An engine without tables.
    pub(crate) fn new(clock: Clock) -> Arc<Self> {
        let database = Database::memory().expect("an engine in memory");
        Arc::new(Self { database, partitions: None, log: RequestLog::new(clock) })
    }

    /// An engine that begins with what another one held: quicker than making its tables anew.
    pub(crate) fn with(clock: Clock, snapshot: &Snapshot) -> Arc<Self> {
        Self::with_partitions(clock, snapshot, None)
    }

    /// The same, whose partitions serve no more than DynamoDB's.
    pub(crate) fn with_partitions(
        clock: Clock,
        snapshot: &Snapshot,
        partitions: Option<Partitions>,
    ) -> Arc<Self> {
        let database = Database::memory().expect("an engine in memory");
        database.restore_from(&snapshot.path()).expect("a snapshot");
        let partitions = partitions.map(Mutex::new);
        Arc::new(Self { database, partitions, log: RequestLog::new(clock) })
    }

    /// What became of the requests to an engine with partitions.
    pub(crate) fn tally(&self) -> Tally {
        let partitions = self.partitions.as_ref().expect("partitions");
        partitions.lock().expect("lock").tally()
    }

    /// The records of a table's stream that come after an iterator, which is moved on.
    pub(crate) fn stream_records(&self, table: &str, iterator: &mut Option<String>) -> Vec<Value> {
        let request =
            ListStreamsRequest { table_name: Some(table.to_owned()), ..Default::default() };
        let streams = self.database.list_streams(request).expect("streams").streams;
        let arn = streams.first().expect("a stream").stream_arn.clone();
        let next = iterator.take().unwrap_or_else(|| {
            let request = DescribeStreamRequest { stream_arn: arn.clone(), ..Default::default() };
            let described = self.database.describe_stream(request).expect("a stream");
            let request = GetShardIteratorRequest {
                stream_arn: arn.clone(),
                shard_id: described.stream_description.shards[0].shard_id.clone(),
                shard_iterator_type: "TRIM_HORIZON".to_owned(),
                sequence_number: None,
            };
            let reply = self.database.get_shard_iterator(request).expect("an iterator");
            reply.shard_iterator.expect("an iterator")
        });
        let request = GetRecordsRequest { shard_iterator: next, limit: None };
        let reply = self.database.get_records(request).expect("records");
        *iterator = reply.next_shard_iterator;
        let mut records = serde_json::to_value(&reply.records).expect("JSON");
        let records = std::mem::take(records.as_array_mut().expect("records"));
        let named = records.into_iter().map(|mut record| {
            record["eventSourceARN"] = json!(arn);
            record
        });
        named.collect()
    }

    /// What the engine holds now.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let snapshot = Snapshot { folder: tempfile::tempdir().expect("a folder") };
        self.database.vacuum_into(&snapshot.path()).expect("a snapshot");
        snapshot
    }

    /// The requests of all its clients.
    pub(crate) fn log(&self) -> &RequestLog {
        &self.log
    }
}

/// What an engine held, in a file that goes with it.
pub(crate) struct Snapshot {
    folder: TempDir,
}

impl Snapshot {
    fn path(&self) -> String {
        self.folder.path().join("engine").to_str().expect("UTF-8").to_owned()
    }
}

/// A client of an engine. It tries everything once and waits as long as it takes.
pub(crate) fn client(engine: &Arc<Engine>, faults: impl Faults + 'static) -> Client {
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(wire::http_client(engine, faults))
        .region(Region::new("us-east-1"))
        .credentials_provider(wire::credentials())
        .time_source(engine.log.clock)
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::disabled())
        .endpoint_url("http://engine.invalid");
    Client::from_conf(config.build())
}

/// Creates the tables of `template.yaml` for the prefix `test`.
pub(crate) async fn create_tables(client: &Client) {
    let template = Template::built_in().expect("template");
    for table in template.tables("test").expect("tables") {
        table.create(client, false).await.expect("table");
    }
}

impl Service for Engine {
    fn log(&self) -> &RequestLog {
        &self.log
    }

    fn operation<'r>(&self, request: &'r Request) -> &'r str {
        let target = request.header("x-amz-target").expect("a target");
        target.strip_prefix("DynamoDB_20120810.").expect("an operation of DynamoDB")
    }

    fn about<'r>(&self, request: &'r Request) -> &'r [u8] {
        &request.body
    }

    fn answer(&self, request: &Request) -> Reply {
        let operation = self.operation(request);
        let Some(partitions) = &self.partitions else {
            return reply(perform(&self.database, operation, &request.body));
        };
        let mut partitions = partitions.lock().expect("lock");
        let body = serde_json::from_slice(&request.body).expect("JSON");
        let now = self.log.clock.elapsed();
        let (body, forwarded) = match partitions.admit(operation, body, now) {
            Admission::Forward(body, forwarded) => (body.to_string(), forwarded),
            Admission::Throttled(error) => {
                return Reply::new(400, error.to_string())
                    .with("content-type", "application/x-amz-json-1.0");
            }
        };
        let reply = reply(perform(&self.database, operation, body.as_bytes()));
        let mut answer = serde_json::from_slice(&reply.body).expect("JSON");
        partitions.settle(forwarded, reply.status, &mut answer, now);
        Reply { body: answer.to_string().into(), ..reply }
    }

    fn answer_in_part(&self, request: &Request) -> Reply {
        let operation = self.operation(request);
        let told = match operation {
            "BatchGetItem" => "UnprocessedKeys",
            "BatchWriteItem" => "UnprocessedItems",
            _ => return self.answer(request),
        };
        let mut batch = serde_json::from_slice(&request.body).expect("JSON");
        let left = leave_half(operation, &mut batch);
        let done = perform(&self.database, operation, batch.to_string().as_bytes());
        reply(done.map(|done| {
            let mut done: Value = serde_json::from_slice(&done).expect("JSON");
            done[told] = left;
            done.to_string().into_bytes()
        }))
    }

    fn throttled(&self) -> Reply {
        refusal(400, "ProvisionedThroughputExceededException")
    }

    fn unavailable(&self) -> Reply {
        refusal(500, "InternalServerError")
    }
}

fn reply(outcome: Result<Vec<u8>, DynoxideError>) -> Reply {
    match outcome {
        Ok(body) => Reply::new(200, body),
        Err(error) => Reply::new(error.status_code(), error.to_json()),
    }
    .with("content-type", "application/x-amz-json-1.0")
}

fn refusal(status: u16, kind: &str) -> Reply {
    let kind = format!("com.amazonaws.dynamodb.v20120810#{kind}");
    let body = json!({"__type": kind, "message": "The simulation refused the request"});
    Reply::new(status, body.to_string()).with("content-type", "application/x-amz-json-1.0")
}

/// The operations that the catalog is made of. There is no Scan.
fn perform(database: &Database, operation: &str, body: &[u8]) -> Result<Vec<u8>, DynoxideError> {
    match operation {
        "CreateTable" => call(body, |request| database.create_table(request)),
        "UpdateTimeToLive" => call(body, |request| database.update_time_to_live(request)),
        "DescribeTable" => call(body, |request| database.describe_table(request)),
        "GetItem" => call(body, |request| database.get_item(request)),
        "PutItem" => call(body, |request| database.put_item(request)),
        "UpdateItem" => call(body, |request| database.update_item(request)),
        "DeleteItem" => call(body, |request| database.delete_item(request)),
        "Query" => call(body, |request| database.query(request)),
        "BatchGetItem" => call(body, |request| database.batch_get_item(request)),
        "BatchWriteItem" => call(body, |request| database.batch_write_item(request)),
        "TransactGetItems" => call(body, |request| database.transact_get_items(request)),
        "TransactWriteItems" => call(body, |request| database.transact_write_items(request)),
        _ => panic!("the simulation has no {operation}"),
    }
}

fn call<Q: DeserializeOwned, A: Serialize>(
    body: &[u8],
    operation: impl FnOnce(Q) -> Result<A, DynoxideError>,
) -> Result<Vec<u8>, DynoxideError> {
    let request = serde_json::from_slice(body)
        .map_err(|error| DynoxideError::SerializationException(error.to_string()))?;
    Ok(serde_json::to_vec(&operation(request)?).expect("JSON"))
}

/// Takes half of each table's keys or writes, rounded down, out of a batch, and tells them as the
/// service tells what it left undone.
fn leave_half(operation: &str, batch: &mut Value) -> Value {
    let mut left = Map::new();
    for (table, wanted) in batch["RequestItems"].as_object_mut().expect("tables") {
        let asked = listed(operation, wanted);
        let undone = asked.split_off(asked.len().div_ceil(2));
        if !undone.is_empty() {
            let mut rest = wanted.clone();
            *listed(operation, &mut rest) = undone;
            left.insert(table.clone(), rest);
        }
    }
    left.into()
}

/// The keys or writes of one table in a batch.
fn listed<'v>(operation: &str, wanted: &'v mut Value) -> &'v mut Vec<Value> {
    let listed = if operation == "BatchGetItem" { &mut wanted["Keys"] } else { wanted };
    listed.as_array_mut().expect("keys or writes")
}
