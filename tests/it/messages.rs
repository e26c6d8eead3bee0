//! Messages as `import-catalog` receives them, a queue as it sees it, and what its imports leave behind.

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent};
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use serde_json::{Value, json};
use serverless_catalog::{
    account::AccountId,
    cause::Cause,
    imports::job::Job,
    queue::{CONTINUES, ImportCatalog, MessageQueue, QueueMessage},
    store::{Connection, lean_s3_client},
};
use tokio::time::Instant;

use crate::{
    proxy::{Fate, proxy},
    queue::{BUCKET, Imports},
};

/// A message that was received.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub id: String,
    pub body: String,
    pub sent: Timestamp,
    pub receives: u32,
    pub continues: Option<String>,
}

impl Message {
    /// One that was sent now and is received for the first time.
    pub(crate) fn new(id: &str, body: impl Into<String>) -> Self {
        Self {
            id: id.to_owned(),
            body: body.into(),
            sent: Timestamp::now(),
            receives: 1,
            continues: None,
        }
    }

    /// One that carries these records.
    pub(crate) fn of_records(id: &str, records: &[Value]) -> Self {
        Self::new(id, json!(records).to_string())
    }

    /// The same, sent so many seconds later, or earlier.
    pub(crate) fn sent_later(mut self, seconds: i64) -> Self {
        self.sent += jiff::SignedDuration::from_secs(seconds);
        self
    }

    /// The same, received this many times.
    pub(crate) fn received(mut self, times: u32) -> Self {
        self.receives = times;
        self
    }

    fn record(&self) -> Value {
        let string = |value: &str| json!({"stringValue": value, "dataType": "String"});
        let mut record = json!({
            "messageId": self.id,
            "receiptHandle": format!("receipt of {}", self.id),
            "body": self.body,
            "attributes": {
                "SentTimestamp": self.sent.as_millisecond().to_string(),
                "ApproximateReceiveCount": self.receives.to_string(),
            },
            "messageAttributes": {"account": string("ACME")},
        });
        if let Some(continues) = &self.continues {
            record["messageAttributes"][CONTINUES] = string(continues);
        }
        record
    }
}

/// Delivers messages in one batch; returns the ids of those returned to the queue.
pub(crate) async fn deliver(
    import: &ImportCatalog,
    messages: &[Message],
    time: Duration,
) -> Vec<String> {
    let records: Vec<Value> = messages.iter().map(Message::record).collect();
    let event: SqsEvent = serde_json::from_value(json!({ "Records": records })).expect("an event");
    let response: SqsBatchResponse = import.handle(event, Instant::now() + time).await;
    response.batch_item_failures.into_iter().map(|failure| failure.item_identifier).collect()
}

/// More time than any of these imports takes.
pub(crate) const ENOUGH: Duration = Duration::from_mins(1);

/// Delivers messages one after the other with time enough; each must be acknowledged.
pub(crate) async fn done(import: &ImportCatalog, messages: &[Message]) {
    for message in messages {
        let back = deliver(import, std::slice::from_ref(message), ENOUGH).await;
        assert!(back.is_empty(), "{message:?} was returned");
    }
}

/// A `catalog.import` event.
pub(crate) fn event(id: &str, time: Timestamp, detail: &Value) -> Value {
    json!({"version": "0", "id": id, "source": "shop", "time": time.to_string(),
           "detail-type": "catalog.import", "detail": detail})
}

/// A queue that remembers what it was told.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    sent: Mutex<Vec<QueueMessage>>,
    delays: Mutex<Vec<(String, Duration)>>,
}

impl Queue {
    /// The continuations since this was last asked.
    pub(crate) fn sent(&self) -> Vec<QueueMessage> {
        std::mem::take(&mut self.sent.lock().expect("lock"))
    }

    /// The receipts whose visibility was changed since this was last asked, and to how long.
    pub(crate) fn delays(&self) -> Vec<(String, Duration)> {
        std::mem::take(&mut self.delays.lock().expect("lock"))
    }
}

impl MessageQueue for Queue {
    fn send(&self, message: QueueMessage) -> BoxFuture<'_, Result<(), Cause>> {
        self.sent.lock().expect("lock").push(message);
        Box::pin(async { Ok(()) })
    }

    fn retry_after(
        &self,
        receipt_handle: String,
        delay: Duration,
    ) -> BoxFuture<'_, Result<(), Cause>> {
        self.delays.lock().expect("lock").push((receipt_handle, delay));
        Box::pin(async { Ok(()) })
    }
}

/// The message that a continuation becomes.
pub(crate) fn continuation_message(id: &str, continuation: QueueMessage) -> Message {
    assert_eq!(continuation.account.as_deref(), Some("ACME"));
    Message { continues: continuation.continues, ..Message::new(id, continuation.body) }
}

/// A database that can be made to refuse some requests, so that an import stands still there.
#[derive(Debug)]
pub(crate) struct Gate {
    /// How many of the requests in question are still let through.
    allowed: AtomicUsize,
    open: AtomicBool,
    refused: AtomicBool,
}

impl Gate {
    /// Puts a gate before the engine of `imports`. Of the requests that `about` picks, it lets the first `allowed`
    /// through, and throttles the others until the gate is opened. Returns the gate and its URL.
    pub(crate) async fn before(
        imports: &Imports,
        allowed: usize,
        about: impl Fn(&str, &str) -> bool + Send + Sync + 'static,
    ) -> (Arc<Self>, String) {
        let (open, refused) = (AtomicBool::new(false), AtomicBool::new(false));
        let gate = Arc::new(Self { allowed: AtomicUsize::new(allowed), open, refused });
        let decides = gate.clone();
        let url =
            proxy(&imports.catalog.stack.addresses().dynamodb_url, move |operation, request| {
                if about(operation, request) { decides.decide() } else { Fate::Pass }
            })
            .await;
        (gate, url)
    }

    fn decide(&self) -> Fate {
        let one_less = |left: usize| left.checked_sub(1);
        let (relaxed, allowed) = (Ordering::Relaxed, &self.allowed);
        if self.open.load(relaxed) || allowed.fetch_update(relaxed, relaxed, one_less).is_ok() {
            return Fate::Pass;
        }
        self.refused.store(true, relaxed);
        Fate::Throttled
    }

    /// From now on lets this number of the requests in question through, whatever was left.
    pub(crate) fn allow(&self, requests: usize) {
        self.allowed.store(requests, Ordering::Relaxed);
    }

    /// Lets all through from now on.
    pub(crate) fn open(&self) {
        self.open.store(true, Ordering::Relaxed);
    }

    /// Waits until a request was refused.
    pub(crate) async fn reached(&self) {
        let until = Instant::now() + ENOUGH;
        while !self.refused.load(Ordering::Relaxed) {
            assert!(Instant::now() < until, "no request came to the gate");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Whether this is a write to the table of offerings or of products.
pub(crate) fn writes_offering_or_product(operation: &str, request: &str) -> bool {
    matches!(operation, "PutItem" | "UpdateItem" | "TransactWriteItems")
        && (request.contains("\"test-offerings\"") || request.contains("\"test-products\""))
}

impl Imports {
    /// Stores an object with metadata.
    pub(crate) async fn put_with_metadata(
        &self,
        key: &str,
        content: String,
        metadata: &[(&str, &str)],
    ) {
        let s3 = lean_s3_client(&Connection::local(&self.server.url())).expect("client");
        let mut put = s3.put_object().bucket(BUCKET).key(key).body(content.into_bytes().into());
        for (name, value) in metadata {
            put = put.metadata(*name, *value);
        }
        put.send().await.expect("put");
    }

    /// The jobs of ACME, the first claimed first.
    pub(crate) async fn jobs(&self) -> Vec<Job> {
        let account = AccountId::parse("ACME").expect("account");
        let mut jobs = self.catalog.stack.store.jobs(&account).await.expect("jobs");
        jobs.sort_by_key(|job| job.started_at);
        jobs
    }

    /// The reports of ACME, sorted by when their imports began.
    pub(crate) fn reports(&self) -> Vec<Value> {
        let mut reports = Vec::new();
        reports_in(&self.folder.path().join(BUCKET).join("reports/ACME"), &mut reports);
        reports.sort_by_key(|report| report["startedAt"].to_string());
        reports
    }

    /// The price of a product by its sku; null when there is none.
    pub(crate) async fn price(&self, key: &str, sku: &str) -> Value {
        let answer = self.catalog.read(key, &format!("/api/v1/products?sku={sku}")).await;
        answer.json()["products"][0]["price"].clone()
    }
}

fn reports_in(folder: &Path, reports: &mut Vec<Value>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.expect("entry").path();
        if path.is_dir() {
            reports_in(&path, reports);
        } else if path.extension().is_some_and(|extension| extension == "json") {
            let report = std::fs::read(&path).expect("report");
            reports.push(serde_json::from_slice(&report).expect("JSON"));
        }
    }
}

/// A report accounts for every line that it counts.
pub(crate) fn assert_adds_up(report: &Value) {
    let counts = report["counts"].as_object().expect("counts").values();
    let total: u64 = counts.map(|count| count.as_u64().expect("a count")).sum();
    assert_eq!(report["lines"], total, "{report}");
}
