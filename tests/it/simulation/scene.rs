//! A catalog for one scenario: a bucket, and the import function before it.

use std::{
    collections::VecDeque,
    future::ready,
    sync::{Arc, Mutex},
    time::Duration,
};

use aws_lambda_events::sqs::SqsEvent;
use futures_util::{FutureExt as _, future::BoxFuture};
use serde_json::{Value, json};
use serverless_catalog::{
    account::AccountId,
    cause::Cause,
    clock,
    idempotency::RequestIdentity,
    imports::job::Job,
    objects::{Bucket, Objects},
    products::{ProductRow, RowResult, arrived, upsert},
    queue::{CONTINUES, ImportCatalog, MessageQueue, QueueMessage},
    store::{RecordReader, Store, TableNames},
};
use tokio::time::Instant;

use super::{
    Clock,
    database::{self, Engine},
    faults::{Faults, NoFaults},
    objects::{self, Buckets},
    orders::tables,
};

/// The queue of a scenario: it keeps what it is told.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) continuations: Mutex<VecDeque<QueueMessage>>,
    pub(super) retries: Mutex<Vec<Duration>>,
}

impl MessageQueue for Queue {
    fn send(&self, message: QueueMessage) -> BoxFuture<'_, Result<(), Cause>> {
        self.continuations.lock().expect("lock").push_back(message);
        ready(Ok(())).boxed()
    }

    fn retry_after(&self, _: String, delay: Duration) -> BoxFuture<'_, Result<(), Cause>> {
        self.retries.lock().expect("lock").push(delay);
        ready(Ok(())).boxed()
    }
}

/// A catalog with a bucket and the import function before it.
#[derive(Clone)]
pub(super) struct Scene {
    pub(super) clock: Clock,
    pub(super) engine: Arc<Engine>,
    pub(super) buckets: Arc<Buckets>,
    pub(super) store: Store,
    pub(super) import: ImportCatalog,
    pub(super) queue: Arc<Queue>,
}

impl Scene {
    pub(super) fn start() -> Self {
        Self::with(NoFaults, NoFaults)
    }

    /// Whose function meets trouble with the database and the bucket.
    pub(super) fn with(database: impl Faults + 'static, bucket: impl Faults + 'static) -> Self {
        let clock = Clock::start();
        let engine = Engine::with(clock, tables());
        let buckets = Buckets::new(clock);
        let catalog_clock = clock::Clock::simulated(clock.timestamp());
        let store =
            |client| Store::new(client, TableNames::with_prefix("test")).with_clock(catalog_clock);
        let queue = Arc::new(Queue::default());
        let objects = Objects::new(objects::client(&buckets, bucket));
        let import = ImportCatalog::new(
            store(database::client(&engine, database)),
            Bucket { objects, name: "catalog".to_owned() },
        )
        .with_queue(queue.clone());
        let quiet = database::client(&engine, NoFaults);
        Self { clock, engine, buckets, store: store(quiet), import, queue }
    }

    /// Stores an object; returns the message that tells of it.
    pub(super) fn put(&self, name: &str, records: &[Value], metadata: &[(&str, &str)]) -> String {
        let lines: Vec<String> = records.iter().map(Value::to_string).collect();
        self.put_text(name, &lines.join("\n"), metadata)
    }

    pub(super) fn put_text(&self, name: &str, content: &str, metadata: &[(&str, &str)]) -> String {
        let key = format!("imports/ACME/{name}");
        let mut version = self.buckets.version(content.to_owned());
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        version.metadata.extend(metadata.iter().map(own));
        self.buckets.put(&format!("/catalog/{key}"), version);
        let sequencer = format!("{:018X}", self.clock.elapsed().as_millis() + 1);
        json!({"Records": [{"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": "catalog"},
            "object": {"key": key.replace(' ', "+"), "sequencer": sequencer}}}]})
        .to_string()
    }

    /// Delivers a message; returns whether it is acknowledged.
    pub(super) async fn deliver(
        &self,
        id: &str,
        body: &str,
        receives: u32,
        time: Duration,
    ) -> bool {
        self.deliver_as(id, body, None, receives, time).await
    }

    pub(super) async fn deliver_as(
        &self,
        id: &str,
        body: &str,
        continues: Option<&str>,
        receives: u32,
        time: Duration,
    ) -> bool {
        let mut attributes = json!({"account": {"stringValue": "ACME", "dataType": "String"}});
        if let Some(continues) = continues {
            attributes[CONTINUES] = json!({"stringValue": continues, "dataType": "String"});
        }
        let sent = self.store.clock().now().as_millisecond();
        let event: SqsEvent = serde_json::from_value(json!({"Records": [{
            "messageId": id, "receiptHandle": id, "body": body, "messageAttributes": attributes,
            "attributes": {"ApproximateReceiveCount": receives.to_string(), "SentTimestamp": sent.to_string()},
        }]}))
        .expect("an event");
        let response = self.import.handle(event, Instant::now() + time).await;
        response.batch_item_failures.is_empty()
    }

    /// Delivers a message that must be done at once.
    pub(super) async fn import(&self, body: &str) {
        let id = serverless_catalog::text::random_name();
        assert!(self.deliver(&id, body, 1, Duration::from_mins(10)).await, "{body}");
    }

    /// Imports records as a message.
    pub(super) async fn send(&self, records: &[Value]) {
        self.import(&Value::from(records.to_vec()).to_string()).await;
    }

    pub(super) async fn export(&self) -> Vec<Value> {
        let account = account();
        let mut exported = Vec::new();
        for kind in RecordReader::KINDS {
            let mut reader = RecordReader::new(&self.store, &account, kind);
            while let Some(records) = reader.next().await.expect("export") {
                exported.extend(
                    records
                        .iter()
                        .map(|record| serde_json::from_str::<Value>(record).expect("JSON")),
                );
            }
        }
        exported
    }

    pub(super) async fn jobs(&self) -> Vec<Job> {
        self.store.jobs(&account()).await.expect("jobs")
    }

    /// The reports in the bucket.
    pub(super) fn reports(&self) -> Vec<Value> {
        let paths = self.buckets.paths("/catalog/reports/").into_iter();
        let reports = paths.filter(|path| !path.contains(".errors."));
        reports
            .map(|path| {
                let report = self.buckets.current(&path).expect("a report");
                serde_json::from_slice(&report.content).expect("JSON")
            })
            .collect()
    }

    pub(super) async fn post(&self, rows: &[Value]) -> Vec<RowResult> {
        let rows: Vec<ProductRow> = rows
            .iter()
            .map(|row| serde_json::value::to_raw_value(row).expect("JSON"))
            .map(|row| ProductRow::parse(&row).expect("a row"))
            .collect();
        let request = RequestIdentity::new(self.store.clock().now());
        let until = Instant::now() + Duration::from_secs(25);
        let rows = arrived(&rows, &request);
        upsert(&self.store, &account(), &rows, until).await
    }
}

pub(super) fn account() -> AccountId {
    AccountId::parse("ACME").expect("account")
}
