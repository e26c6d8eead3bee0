//! An import that takes many runs: a file of 2,000,000 lines through the function `import-catalog`, whose
//! runs are cut to 20 seconds. Nobody helps it: each run that ends in time sends the message that
//! continues it. Prints the runs, the time and the memory of the function's process.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark tells, and ends when it cannot"
)]

use std::{
    collections::VecDeque,
    fs::File,
    future::ready,
    io::{BufWriter, Write as _},
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use catalog_cli::local::{LOCALHOST, ObjectServer, Stack, StackOptions, Storage};
use futures_util::{FutureExt as _, future::BoxFuture};
use serde_json::json;
use serverless_catalog::{
    account::AccountId,
    cause::Cause,
    imports::job::Status,
    objects::{Bucket, Objects},
    queue::{CONTINUES, ImportCatalog, MessageQueue, QueueMessage},
    store::{Connection, Store, TableNames, lean_client, lean_s3_client},
};
use tokio::time::Instant;

/// Unless a number is given: `cargo bench -p catalog-cli --bench long_import -- 100000`.
const LINES: usize = 2_000_000;
const RUN: Duration = Duration::from_secs(20);
const BUCKET: &str = "catalog";
const KEY: &str = "imports/LONG/long.ndjson";
/// Makes this program the function: the engine's URL and the object server's follow.
const FUNCTION: &str = "--function";

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == FUNCTION) {
        return function(&arguments[at + 1], &arguments[at + 2]).await;
    }
    let lines = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(LINES);
    let folder = tempfile::tempdir().expect("folder");
    let options = StackOptions::built_in("bench", Storage::File(folder.path().join("engine.db")));
    let stack = Stack::start(options.expect("template")).await.expect("stack");
    let server = ObjectServer::start(folder.path(), BUCKET, LOCALHOST).await.expect("S3");
    let path = folder.path().join(BUCKET).join(KEY);
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("folder");
    let mut file = BufWriter::new(File::create(path).expect("file"));
    for number in 0..lines {
        let record = json!({"kind": "partnerOffering", "entitlements": {"ip_count": number},
            "offering": {"name": format!("offering-{number:07}"), "type": "package", "quantity": 1}});
        writeln!(file, "{record}").expect("disk");
    }
    file.flush().expect("disk");
    drop(file);
    let program = std::env::current_exe().expect("this program");
    let engine = stack.addresses().dynamodb_url;
    let arguments = [FUNCTION, &engine, &server.url()];
    let status = Command::new(program).args(arguments).status().expect("the function");
    assert!(status.success());
    stack.stop().await;
}

/// The queue of the function: messages that continue others.
#[derive(Debug, Default)]
struct Queue(Mutex<VecDeque<QueueMessage>>);

impl MessageQueue for Queue {
    fn send(&self, message: QueueMessage) -> BoxFuture<'_, Result<(), Cause>> {
        self.0.lock().expect("lock").push_back(message);
        ready(Ok(())).boxed()
    }

    fn retry_after(&self, _: String, _: Duration) -> BoxFuture<'_, Result<(), Cause>> {
        ready(Ok(())).boxed()
    }
}

async fn function(engine: &str, server: &str) {
    let before = memory();
    let store = Store::new(
        lean_client(&Connection::local(engine)).expect("client"),
        TableNames::with_prefix("bench"),
    );
    let objects = Objects::new(lean_s3_client(&Connection::local(server)).expect("client"));
    let queue = Arc::new(Queue::default());
    let import = ImportCatalog::new(store.clone(), Bucket { objects, name: BUCKET.to_owned() })
        .with_queue(queue.clone());
    let body = json!({"Records": [{"eventName": "ObjectCreated:Put", "s3": {
        "bucket": {"name": BUCKET}, "object": {"key": KEY, "sequencer": "01"}}}]})
    .to_string();
    let started = Instant::now();
    let mut next = Some((body, None));
    let mut runs = 0;
    while let Some((body, continues)) = next.take() {
        runs += 1;
        let attributes = continues.map_or_else(
            || json!({}),
            |continues: String| json!({ CONTINUES: {"stringValue": continues, "dataType": "String"} }),
        );
        let event = json!({"Records": [{"messageId": format!("m{runs}"), "body": body,
            "attributes": {"ApproximateReceiveCount": "1"}, "messageAttributes": attributes}]});
        let event = serde_json::from_value(event).expect("an event");
        let response = import.handle(event, Instant::now() + RUN).await;
        assert!(response.batch_item_failures.is_empty(), "a run without progress");
        let message = queue.0.lock().expect("lock").pop_front();
        next = message.map(|message| (message.body, message.continues));
    }
    let account = AccountId::parse("LONG").expect("account");
    let jobs = store.jobs(&account).await.expect("jobs");
    assert_eq!(jobs.len(), 1);
    let job = &jobs[0];
    assert_eq!(job.status, Status::Done);
    let lines = job.progress.counts.total();
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{lines} lines in {runs} runs of {} s: {seconds:.0} s, {:.0} lines/s, status {}, {:.1} MiB above start",
        RUN.as_secs(),
        lines as f64 / seconds,
        job.status,
        (memory() - before) as f64 / 1024.0
    );
}

/// The most memory this process has had, in KiB.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("a process of Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    line.trim().trim_end_matches(" kB").trim().parse().expect("a number")
}
