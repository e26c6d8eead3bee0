//! Exports that take many runs, and runs that die: the object is whole, with each record once.

use std::{
    io::Read as _,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use flate2::read::GzDecoder;
use futures_util::{
    FutureExt as _,
    future::{BoxFuture, join_all, ready},
};
use jiff::Timestamp;
use lambda_http::RequestExt as _;
use serde_json::{Value, json};
use serverless_catalog::{
    account::AccountId,
    cause::Cause,
    changes::Kinds,
    cursor::Cursors,
    exports::{
        ExportClaim, ExportId, ExportJob, ExportLease, ExportStatus, ExportView, GIVEN_UP_AFTER,
        MAX_UNFINISHED, export_key,
    },
    http::{Authenticator, HttpAdapter, ManageExports},
    queue::{ExportCatalog, MAX_RECEIVES, MessageQueue, QueueMessage, export_message},
    store::{Connection, Store, TableNames, lean_client},
};
use tokio::time::Instant;

use crate::{
    proxy::{Fate, proxy},
    support::{Catalog, no_jobs, offering},
};

/// How large a part is here: the least that S3 takes.
const PART_BYTES: usize = 5 * 1024 * 1024;

/// A queue that keeps what is sent to it.
#[derive(Debug, Default)]
struct Queue(Mutex<Vec<QueueMessage>>);

impl MessageQueue for Queue {
    fn send(&self, message: QueueMessage) -> BoxFuture<'_, Result<(), Cause>> {
        self.0.lock().expect("lock").push(message);
        ready(Ok(())).boxed()
    }

    fn retry_after(&self, _: String, _: Duration) -> BoxFuture<'_, Result<(), Cause>> {
        ready(Ok(())).boxed()
    }
}

/// A queue that is away.
#[derive(Debug)]
pub(crate) struct Away;

impl MessageQueue for Away {
    fn send(&self, _: QueueMessage) -> BoxFuture<'_, Result<(), Cause>> {
        ready(Err("SQS is away".into())).boxed()
    }

    fn retry_after(&self, _: String, _: Duration) -> BoxFuture<'_, Result<(), Cause>> {
        ready(Err("SQS is away".into())).boxed()
    }
}

/// Requests an export from a function over this queue, under an idempotency key if there is one.
async fn ask(
    catalog: &Catalog,
    queue: Arc<dyn MessageQueue>,
    key: &str,
    idempotency_key: Option<&str>,
) -> u16 {
    let cursors = Cursors::new("the cursor secret of all the tests", None).expect("secret");
    let endpoint = ManageExports::new(catalog.stack.jobs.bucket.clone(), queue, cursors.into());
    let keys = Authenticator::new(Duration::from_mins(1));
    let function = HttpAdapter::new(endpoint, catalog.stack.store.clone(), keys, false);
    let path = "/catalog/v1/exports";
    let mut request = lambda_http::http::Request::post(path)
        .header("authorization", format!("Bearer {key}"))
        .header("content-type", "application/json");
    if let Some(idempotency_key) = idempotency_key {
        request = request.header("idempotency-key", idempotency_key);
    }
    let request = request.body(lambda_http::Body::from("{}")).expect("a request");
    function.handle(request.with_raw_http_path(path)).await.status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn exports_whose_message_could_not_be_sent_keep_no_other_from_being_made() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    let names: Vec<String> = (0..=MAX_UNFINISHED).map(|number| format!("k{number}")).collect();
    for name in &names {
        assert_eq!(ask(&catalog, Arc::new(Away), &key, None).await, 503);
        assert_eq!(ask(&catalog, Arc::new(Away), &key, Some(name)).await, 503);
        assert_eq!(ask(&catalog, Arc::new(Away), &key, Some(name)).await, 503, "again");
    }
    assert_eq!(ask(&catalog, Arc::<Queue>::default(), &key, None).await, 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_requested_again_however_many_wait_and_counts_once() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    let names: Vec<String> = (0..MAX_UNFINISHED).map(|number| format!("k{number}")).collect();
    for name in &names {
        assert_eq!(ask(&catalog, Arc::new(Away), &key, Some(name)).await, 503);
    }
    let queue = Arc::<Queue>::default();
    for name in &names {
        assert_eq!(ask(&catalog, queue.clone(), &key, Some(name)).await, 202, "{name}");
    }
    assert_eq!(queue.0.lock().expect("lock").len(), MAX_UNFINISHED);
    assert_eq!(ask(&catalog, queue.clone(), &key, Some("more")).await, 429);
    assert_eq!(ask(&catalog, queue.clone(), &key, Some("k0")).await, 202, "it is answered already");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_up_and_the_export_itself_are_not_counted_as_unfinished() {
    let catalog = Catalog::start().await;
    let store = &catalog.stack.store;
    let account = AccountId::parse("ACME").expect("account");
    let now = Timestamp::now();
    let margin = jiff::SignedDuration::from_mins(1);
    let id = |name: &str| ExportId::of(&[name]);
    for (name, at) in [
        ("new", now),
        ("slow", now - GIVEN_UP_AFTER + margin),
        ("given up", now - GIVEN_UP_AFTER - margin),
    ] {
        let job = ExportJob::new(id(name), Kinds::ALL, ExportView::default(), String::new(), at);
        assert!(store.create_export(&account, &job).await.expect("stored"));
    }
    for (besides, expected) in [("another", 2), ("slow", 1), ("given up", 2)] {
        let unfinished = store.unfinished_exports(&account, &id(besides)).await.expect("counted");
        assert_eq!(unfinished, expected, "{besides}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_export_that_no_worker_has_begun_is_withdrawn() {
    let scene = Scene::of(1).await;
    let store = &scene.catalog.stack.store;
    let (id, message) = scene.request("begun").await;
    assert!(
        deliver(&scene.function(Duration::from_mins(2)), &message, Duration::from_mins(1)).await
    );
    store.withdraw_export(&scene.account, &id).await.expect("an answer");
    assert_eq!(scene.status(&id).await, ExportStatus::Done);
    let (id, _) = scene.request("waiting").await;
    store.withdraw_export(&scene.account, &id).await.expect("an answer");
    assert!(store.export_job(&scene.account, &id).await.expect("read").is_none());
}

/// How many offerings the catalog has.
const OFFERINGS: usize = 150;

struct Scene {
    catalog: Catalog,
    queue: Arc<Queue>,
    account: AccountId,
}

impl Scene {
    /// A catalog of some 18 MB that hardly compress.
    async fn start() -> Self {
        Self::of(OFFERINGS).await
    }

    /// A catalog of so many offerings of 120 KB that hardly compress.
    async fn of(offerings: usize) -> Self {
        let catalog = Catalog::start().await;
        let mut random = fastrand::Rng::with_seed(1);
        let records: Vec<Value> = (0..offerings)
            .map(|number| {
                let text: String = (0..120_000).map(|_| random.alphanumeric()).collect();
                offering(&format!("o{number:03}"), json!({"metadata": {"text": text}}))
            })
            .collect();
        for some in records.chunks(20) {
            catalog.import("ACME", some).await;
        }
        let account = AccountId::parse("ACME").expect("account");
        Self { catalog, queue: Arc::default(), account }
    }

    fn function(&self, lease: Duration) -> ExportCatalog {
        let store = self.catalog.stack.store.clone();
        let bucket = self.catalog.stack.jobs.bucket.clone();
        ExportCatalog::new(store, bucket, self.queue.clone()).with_limits(lease, PART_BYTES)
    }

    async fn request(&self, name: &str) -> (ExportId, Value) {
        let id = ExportId::of(&[name]);
        let job = ExportJob::new(
            id.clone(),
            Kinds::ALL,
            ExportView::default(),
            String::new(),
            Timestamp::now(),
        );
        self.catalog.stack.store.create_export(&self.account, &job).await.expect("export");
        (id.clone(), event(&export_message(&self.account, &id).body))
    }

    async fn status(&self, id: &ExportId) -> ExportStatus {
        let job = self.catalog.stack.store.export_job(&self.account, id).await;
        job.expect("read").expect("export").status
    }

    /// The lines of an export.
    async fn lines(&self, id: &ExportId) -> Vec<String> {
        let bucket = &self.catalog.stack.jobs.bucket;
        let key = export_key(&self.account, id);
        let file = bucket.objects.get(&bucket.name, &key).await.expect("S3").expect("object");
        let mut text = String::new();
        GzDecoder::new(&file[..]).read_to_string(&mut text).expect("one gzip member");
        text.lines().map(ToOwned::to_owned).collect()
    }
}

fn event(body: &str) -> Value {
    json!({"Records": [{"messageId": "m", "body": body, "attributes": {}}]})
}

/// Delivers an event; `true`: it was acknowledged.
async fn deliver(function: &ExportCatalog, event: &Value, time: Duration) -> bool {
    let event = serde_json::from_value(event.clone()).expect("an event");
    let reply = function.handle(event, Instant::now() + time).await;
    reply.batch_item_failures.is_empty()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_takes_as_many_runs_as_it_needs_and_reads_nothing_twice() {
    let scene = Scene::start().await;
    let function = scene.function(Duration::from_mins(2));
    let (whole, message) = scene.request("whole").await;
    assert!(deliver(&function, &message, Duration::from_mins(1)).await);
    assert_eq!(scene.status(&whole).await, ExportStatus::Done);
    let expected = scene.lines(&whole).await;
    assert_eq!(expected.len(), OFFERINGS);

    // Time for a few pages a run: what a run has read is in parts, or left to the next run.
    let (id, mut message) = scene.request("in runs").await;
    let mut runs = 0;
    while scene.status(&id).await != ExportStatus::Done {
        runs += 1;
        assert!(runs < 500, "it does not end");
        let is_acknowledged = deliver(&function, &message, Duration::from_millis(80)).await;
        if let Some(next) = scene.queue.0.lock().expect("lock").pop() {
            assert!(is_acknowledged);
            message = event(&next.body);
        }
    }
    assert!(runs > 1, "{runs} runs");
    assert_eq!(scene.lines(&id).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_complete_although_concurrent_workers_die() {
    let scene = Scene::start().await;
    let (whole, message) = scene.request("whole").await;
    assert!(
        deliver(&scene.function(Duration::from_mins(2)), &message, Duration::from_mins(1)).await
    );
    let expected = scene.lines(&whole).await;
    for seed in 0..6 {
        let mut random = fastrand::Rng::with_seed(seed);
        let function = scene.function(Duration::from_millis(400));
        let (id, message) = scene.request(&format!("export {seed}")).await;
        let mut deaths = 0;
        while scene.status(&id).await != ExportStatus::Done {
            assert!(deaths < 2_000, "seed {seed} does not end");
            // Two workers at once, each of which dies after a while: its future is dropped.
            let lives = [random.u64(1..900 + 50 * deaths), random.u64(1..900 + 50 * deaths)];
            let workers = lives.map(|life| {
                let work = deliver(&function, &message, Duration::from_mins(1));
                tokio::time::timeout(Duration::from_millis(life), work)
            });
            join_all(workers).await;
            deaths += 1;
        }
        // A message that is delivered once more does nothing.
        assert!(deliver(&function, &message, Duration::from_mins(1)).await);
        assert_eq!(scene.lines(&id).await, expected, "seed {seed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_export_is_delivered_again_and_an_unknown_one_is_done() {
    let scene = Scene::of(0).await;
    let function = scene.function(Duration::from_mins(2));
    let time = Duration::from_secs(10);
    for body in ["", "x", "{}", r#"{"account":"a b","exportId":"x"}"#] {
        assert!(!deliver(&function, &event(body), time).await, "{body}");
    }
    let unknown = export_message(&scene.account, &ExportId::of(&["unknown"])).body;
    assert!(deliver(&function, &event(&unknown), time).await);
}

/// The event of a message that was received so often.
fn received(message: &Value, times: u32) -> Value {
    let mut event = message.clone();
    event["Records"][0]["attributes"] = json!({"ApproximateReceiveCount": times.to_string()});
    event
}

#[tokio::test]
async fn a_message_whose_export_another_worker_has_waits_for_its_lease_and_is_never_given_up() {
    let scene = Scene::of(0).await;
    let function = scene.function(Duration::from_mins(2));
    let (id, message) = scene.request("busy").await;
    let (account, holder) = (scene.account.clone(), "another worker".to_owned());
    let lease = ExportLease { account, export: id.clone(), holder, term: Duration::from_mins(10) };
    let claim = scene.catalog.stack.store.claim_export(&lease).await.expect("claim");
    assert!(matches!(claim, ExportClaim::Held(_)), "{claim:?}");
    for receives in 1..=MAX_RECEIVES {
        let event = received(&message, receives);
        let is_acknowledged = deliver(&function, &event, Duration::from_secs(10)).await;
        let sent = std::mem::take(&mut *scene.queue.0.lock().expect("lock"));
        if receives + 1 < MAX_RECEIVES {
            assert!(!is_acknowledged && sent.is_empty(), "{receives}: {sent:?}");
            continue;
        }
        // One more time and it would be in the dead-letter queue: another message takes its place.
        assert!(is_acknowledged, "{receives}");
        let [again] = sent.as_slice() else { panic!("{sent:?}") };
        let expected = export_message(&scene.account, &id);
        assert_eq!(*again, QueueMessage { delay: again.delay, ..expected });
        let longest = Duration::from_mins(10) + Duration::from_secs(5 << receives);
        assert!((Duration::from_mins(9)..=longest).contains(&again.delay), "{:?}", again.delay);
    }
    assert_eq!(scene.status(&id).await, ExportStatus::Running);
}

#[tokio::test]
async fn an_export_that_cannot_be_stored_fails_at_its_last_receive() {
    let scene = Scene::of(0).await;
    let bucket = no_jobs().bucket;
    let store = scene.catalog.stack.store.clone();
    let function = ExportCatalog::new(store, bucket, scene.queue.clone());
    let (id, message) = scene.request("nowhere").await;
    for receives in 1..=MAX_RECEIVES {
        let event = received(&message, receives);
        assert!(!deliver(&function, &event, Duration::from_secs(10)).await);
        let is_last = receives == MAX_RECEIVES;
        let expected = if is_last { ExportStatus::Failed } else { ExportStatus::Waiting };
        assert_eq!(scene.status(&id).await, expected, "{receives}");
    }
    assert!(scene.queue.0.lock().expect("lock").is_empty());
}

#[tokio::test]
async fn a_lease_is_extended_when_a_quarter_of_it_is_over() {
    let scene = Scene::of(1).await;
    let updates = Arc::new(AtomicUsize::new(0));
    let counted = updates.clone();
    let url = proxy(&scene.catalog.stack.addresses().dynamodb_url, move |operation, request| {
        if operation == "UpdateItem" && request.contains("\"test-exports\"") {
            counted.fetch_add(1, Ordering::Relaxed);
        }
        Fate::Pass
    })
    .await;
    let client = lean_client(&Connection::local(&url)).expect("client");
    let store = Store::new(client, TableNames::with_prefix("test"));
    let bucket = scene.catalog.stack.jobs.bucket.clone();
    let function = ExportCatalog::new(store, bucket, scene.queue.clone());
    // The claim, an extension after each of six tables where the time is over, and the end.
    for (lease, expected) in [(Duration::from_hours(1), 2), (Duration::ZERO, 8)] {
        let function = function.clone().with_limits(lease, PART_BYTES);
        let (_, message) = scene.request(&format!("{lease:?}")).await;
        assert!(deliver(&function, &message, Duration::from_mins(1)).await);
        assert_eq!(updates.swap(0, Ordering::Relaxed), expected, "{lease:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_knows_its_records_its_bytes_and_its_parts() {
    for (offerings, parts) in [(2, 0), (80, 1)] {
        let scene = Scene::of(offerings).await;
        let function = scene.function(Duration::from_mins(2));
        let (id, message) = scene.request("counted").await;
        assert!(deliver(&function, &message, Duration::from_mins(1)).await);
        let job = scene.catalog.stack.store.export_job(&scene.account, &id).await.expect("read");
        let job = job.expect("an export");
        let bucket = &scene.catalog.stack.jobs.bucket;
        let key = export_key(&scene.account, &id);
        let file = bucket.objects.get(&bucket.name, &key).await.expect("S3").expect("object");
        assert_eq!(job.status, ExportStatus::Done);
        let progress = &job.progress;
        assert_eq!(usize::try_from(progress.records).expect("small"), offerings);
        assert_eq!(usize::try_from(progress.bytes).expect("small"), file.len());
        // The last part is not a progress to continue from.
        assert_eq!(progress.parts.len(), parts, "{} bytes", file.len());
        assert_eq!(scene.lines(&id).await.len(), offerings);
    }
}
