//! `list-offerings` beside handlers as they are usually written (`benches/peers`): each a process behind the same
//! minimal runtime API and embedded engine, for the same page of 100 offerings. Then our other functions by themselves.
//!
//! `make bench-peers` builds the functions and the peers before it runs this. It prints a table, and draws the charts
//! `docs/charts/peers-*.svg`.
//!
//! CPU is what all threads of the process used, from `/proc/<pid>/task/*/schedstat`; the engine's is not in it. The
//! events do not accept gzip, which the peers do not offer.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark tells, and ends when it cannot"
)]

mod charts;

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use axum::{
    Router,
    body::Bytes,
    extract::{Path as PathParameter, State},
    http::StatusCode,
    response::IntoResponse,
    routing::{get, post},
    serve::ListenerExt as _,
};
use catalog_cli::local::{Stack, StackOptions, Storage, sample};
use jiff::Timestamp;
use serde_json::{Value, json};
use serverless_catalog::{
    access::{ApiKey, KeyPrefix, KeyRecord, Permission},
    account::AccountId,
    imports::{GeneratedIds, Importer, Mode, OrderBy, Ordering as ImportOrdering},
    order::Origin,
    source::Line,
};
use tokio::{
    net::TcpListener,
    sync::{Mutex, mpsc},
};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
/// How often each process is started.
const ROUNDS: usize = 5;
/// Requests that are not measured, and requests that are, after each start.
const WARM_UP: usize = 100;
const REQUESTS: usize = 300;

#[tokio::main]
async fn main() {
    let options = StackOptions::built_in("bench", Storage::Memory).expect("template");
    let stack = Stack::start(options).await.expect("stack");
    sample::load(&stack.store).await.expect("sample");
    let key = fill(&stack).await;
    let engine = stack.addresses().dynamodb_url;

    let page = list_event(&key);
    let subjects = [
        Subject::function("list-offerings"),
        Subject::peer("Rust, SDK defaults", "rust", &["target/release/peer"]),
        Subject::peer("Node.js", "node", &["node", "node_modules/aws-lambda-ric/index.mjs"]),
        Subject::peer(
            "Python",
            "python",
            &[".venv/bin/python", "-m", "awslambdaric", "handler.handler"],
        ),
    ];
    println!("A page of 100 offerings of 1.1 KB; {ROUNDS} starts of {REQUESTS} requests each\n");
    head();
    let mut measured = vec![Vec::new(); subjects.len()];
    for _ in 0..ROUNDS {
        // In turn: what else the machine does meets all of them.
        for (subject, rounds) in subjects.iter().zip(&mut measured) {
            rounds.push(subject.measure(&engine, &page, REQUESTS, Some(100)).await);
        }
    }
    let results: Vec<Measured> = measured.iter().map(|rounds| Measured::of(rounds)).collect();
    for (subject, result) in subjects.iter().zip(&results) {
        row(&subject.name, result);
    }
    println!("\nThe same, as multiples of list-offerings:\n");
    for (subject, result) in subjects.iter().zip(&results).skip(1) {
        println!("{:<34} {}", subject.name, result.over(&results[0]));
    }
    let bars: Vec<(&str, f64, f64)> = subjects
        .iter()
        .zip(&results)
        .map(|(subject, result)| (subject.name.as_str(), result.start, result.cpu))
        .collect();
    charts::peers(&bars);

    println!("\nOur functions by themselves:\n");
    head();
    for (name, function, event, requests) in [
        ("one offering", "get-offering", event("get-offering.json"), REQUESTS),
        (
            "a network with its bundles",
            "list-network-products",
            event("list-network-products.json"),
            REQUESTS,
        ),
        ("networks", "list-networks", event("list-networks.json"), REQUESTS),
        (
            "a phone number",
            "lookup-network-products",
            event("lookup-network-products.json"),
            REQUESTS,
        ),
        (
            "partner offerings",
            "list-partner-offerings",
            event("list-partner-offerings.json"),
            REQUESTS,
        ),
        ("products", "list-products", event("list-products.json"), REQUESTS),
        ("upsert of 1 row", "upsert-products", upsert_event(1), REQUESTS),
        ("upsert of 1,000 rows", "upsert-products", upsert_event(1_000), 10),
    ] {
        let subject = Subject::function(function);
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            rounds.push(subject.measure(&engine, &event, requests, None).await);
        }
        row(name, &Measured::of(&rounds));
    }
    stack.stop().await;
}

/// A process that polls the runtime API.
struct Subject {
    name: String,
    folder: PathBuf,
    command: Vec<String>,
    /// Environment variables that it alone has.
    settings: Vec<(&'static str, &'static str)>,
}

/// How the functions use memory: environment variables of the C library, as the template sets them.
fn memory_settings() -> Vec<(&'static str, &'static str)> {
    let lines = include_str!("../../template.yaml").lines().map(str::trim);
    let settings = lines.filter(|line| line.starts_with("MALLOC_"));
    settings
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name, value.trim_matches('"')))
        .collect()
}

impl Subject {
    fn function(name: &str) -> Self {
        let folder = Path::new(ROOT).join("target/lambda/x86_64").join(name);
        let command = vec!["./bootstrap".to_owned()];
        Self { name: name.to_owned(), folder, command, settings: memory_settings() }
    }

    fn peer(name: &str, folder: &str, command: &[&str]) -> Self {
        let folder = Path::new(ROOT).join("benches/peers").join(folder);
        let command = command.iter().map(|word| (*word).to_owned()).collect();
        Self { name: name.to_owned(), folder, command, settings: Vec::new() }
    }

    fn start(&self, engine: &str, runtime: &str) -> Child {
        let tables = serverless_catalog::store::TableNames::with_prefix("bench");
        Command::new(&self.command[0])
            .args(&self.command[1..])
            .current_dir(&self.folder)
            .envs(tables.variables())
            .envs([
                ("AWS_LAMBDA_RUNTIME_API", runtime.strip_prefix("http://").unwrap_or(runtime)),
                ("AWS_LAMBDA_FUNCTION_NAME", "bench"),
                ("AWS_LAMBDA_FUNCTION_VERSION", "1"),
                ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
                ("AWS_LAMBDA_LOG_GROUP_NAME", "bench"),
                ("AWS_LAMBDA_LOG_STREAM_NAME", "bench"),
                ("_HANDLER", "index.handler"),
                ("AWS_REGION", "eu-west-1"),
                ("AWS_ACCESS_KEY_ID", "bench"),
                ("AWS_SECRET_ACCESS_KEY", "bench"),
                ("AWS_ENDPOINT_URL_DYNAMODB", engine),
                ("CURSOR_SECRET", "the cursor secret of a benchmark, no other"),
                ("METRICS_NAMESPACE", "ServerlessCatalog/bench"),
            ])
            .env("LAMBDA_TASK_ROOT", &self.folder)
            .envs(self.settings.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program: see `make bench-peers`")
    }

    /// Starts it, and sends it requests, one after the other.
    async fn measure(
        &self,
        engine: &str,
        event: &Value,
        requests: usize,
        items: Option<usize>,
    ) -> Round {
        let runtime = Runtime::start().await;
        let started = Instant::now();
        let mut process = self.start(engine, &runtime.url);
        let polled = runtime.polled.lock().await.recv().await.expect("a first poll");
        let start = polled.duration_since(started);
        let event = event.to_string();
        let (first, reply) = runtime.invoke(&event).await;
        let told = reply["statusCode"].as_u64();
        assert_eq!(told, Some(200), "{}: {reply}", self.name);
        if let Some(items) = items {
            let body: Value =
                serde_json::from_str(reply["body"].as_str().expect("text")).expect("JSON");
            assert_eq!(body["items"].as_array().map(Vec::len), Some(items), "{}", self.name);
        }
        for _ in 0..WARM_UP.min(requests) {
            runtime.invoke(&event).await;
        }
        let before = cpu(process.id());
        let mut times = Vec::with_capacity(requests);
        for _ in 0..requests {
            times.push(runtime.invoke(&event).await.0);
        }
        let cpu = cpu(process.id()).saturating_sub(before).as_secs_f64() / requests as f64;
        let memory = memory(process.id());
        process.kill().expect("a process");
        process.wait().expect("a process");
        Round { start, first, times, cpu, memory }
    }
}

/// What one start of a process took.
#[derive(Clone)]
struct Round {
    start: Duration,
    first: Duration,
    times: Vec<Duration>,
    /// CPU time a request, in seconds.
    cpu: f64,
    /// The most memory it had, in MiB.
    memory: f64,
}

/// The medians of all rounds; times in milliseconds.
struct Measured {
    start: f64,
    first: f64,
    p50: f64,
    p99: f64,
    cpu: f64,
    memory: f64,
}

impl Measured {
    fn of(rounds: &[Round]) -> Self {
        let millis = |time: Duration| time.as_secs_f64() * 1e3;
        let times: Vec<f64> =
            rounds.iter().flat_map(|round| round.times.iter().map(|time| millis(*time))).collect();
        let of = |value: fn(&Round) -> f64| quantile(rounds.iter().map(value).collect(), 0.5);
        Self {
            start: quantile(rounds.iter().map(|round| millis(round.start)).collect(), 0.5),
            first: quantile(rounds.iter().map(|round| millis(round.first)).collect(), 0.5),
            p50: quantile(times.clone(), 0.5),
            p99: quantile(times, 0.99),
            cpu: of(|round| round.cpu * 1e3),
            memory: of(|round| round.memory),
        }
    }

    fn values(&self) -> [f64; 6] {
        [self.start, self.first, self.p50, self.p99, self.cpu, self.memory]
    }

    /// How many times as much as another one.
    fn over(&self, other: &Self) -> String {
        let mut text = String::new();
        for (own, other) in self.values().into_iter().zip(other.values()) {
            let _ = write!(text, "{:>12.1}x", own / other);
        }
        text
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in a list")]
fn quantile(mut values: Vec<f64>, quantile: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * quantile) as usize]
}

fn head() {
    println!(
        "{:<34} {:>13}{:>13}{:>13}{:>13}{:>13}{:>13}",
        "", "start, ms", "first, ms", "p50, ms", "p99, ms", "CPU, ms", "memory, MiB"
    );
}

fn row(name: &str, measured: &Measured) {
    let values: String = measured.values().map(|value| format!("{value:>13.2}")).concat();
    println!("{name:<34} {values}");
}

/// The CPU time of all threads of a process.
fn cpu(process: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).expect("its threads");
    let nanos = tasks.flatten().filter_map(|task| {
        let schedstat = fs::read_to_string(task.path().join("schedstat")).ok()?;
        schedstat.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}

fn memory(process: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("its status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its memory");
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib / 1024.0
}

/// The runtime API of one process.
struct Runtime {
    url: String,
    events: mpsc::Sender<String>,
    answers: Mutex<mpsc::Receiver<Bytes>>,
    polled: Mutex<mpsc::Receiver<Instant>>,
    server: tokio::task::JoinHandle<()>,
}

struct Queue {
    events: Mutex<mpsc::Receiver<String>>,
    answers: mpsc::Sender<Bytes>,
    polled: mpsc::Sender<Instant>,
    requests: AtomicU64,
}

impl Runtime {
    async fn start() -> Self {
        let (events, next) = mpsc::channel(1);
        let (answer, answers) = mpsc::channel(1);
        let (poll, polled) = mpsc::channel(1);
        let queue = Queue {
            events: Mutex::new(next),
            answers: answer,
            polled: poll,
            requests: AtomicU64::new(0),
        };
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next_event))
            .route("/2018-06-01/runtime/invocation/{id}/{what}", post(answered))
            .with_state(Arc::new(queue));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let listener = listener.tap_io(|socket| {
            let _ = socket.set_nodelay(true);
        });
        let server =
            tokio::spawn(async move { axum::serve(listener, router).await.expect("a server") });
        Self { url, events, answers: Mutex::new(answers), polled: Mutex::new(polled), server }
    }

    /// Hands an event out; returns how long the answer took, and the answer.
    async fn invoke(&self, event: &str) -> (Duration, Value) {
        let started = Instant::now();
        self.events.send(event.to_owned()).await.expect("a server");
        let mut answers = self.answers.lock().await;
        let answer = tokio::time::timeout(Duration::from_secs(30), answers.recv()).await;
        let answer = answer.expect("an answer in time").expect("a server");
        let elapsed = started.elapsed();
        (elapsed, serde_json::from_slice(&answer).expect("JSON"))
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn next_event(State(queue): State<Arc<Queue>>) -> impl IntoResponse {
    // Only the first one is waited for.
    let _ = queue.polled.try_send(Instant::now());
    let event = queue.events.lock().await.recv().await.unwrap_or_default();
    let id = queue.requests.fetch_add(1, Ordering::Relaxed);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let headers = [
        ("Lambda-Runtime-Aws-Request-Id", format!("8476a536-e9f4-11e8-9739-{id:012}")),
        ("Lambda-Runtime-Deadline-Ms", (now + 29_000).to_string()),
        (
            "Lambda-Runtime-Invoked-Function-Arn",
            "arn:aws:lambda:eu-west-1:000000000000:function:bench".to_owned(),
        ),
        (
            "Lambda-Runtime-Trace-Id",
            "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=0".to_owned(),
        ),
        ("Content-Type", "application/json".to_owned()),
    ];
    (headers, event)
}

async fn answered(
    State(queue): State<Arc<Queue>>,
    PathParameter((_, what)): PathParameter<(String, String)>,
    body: Bytes,
) -> StatusCode {
    assert_eq!(what, "response", "{}", String::from_utf8_lossy(&body));
    queue.answers.send(body).await.expect("who asked");
    StatusCode::ACCEPTED
}

fn event(name: &str) -> Value {
    let text = fs::read_to_string(Path::new(ROOT).join("events").join(name)).expect(name);
    let mut event: Value = serde_json::from_str(&text).expect("JSON");
    if let Some(headers) = event["headers"].as_object_mut() {
        headers.remove("accept-encoding");
    }
    event
}

fn list_event(key: &ApiKey) -> Value {
    let mut event = event("list-offerings.json");
    event["headers"]["x-api-key"] = key.reveal().into();
    event["rawQueryString"] = "customerType=CONSUMER&includeArchived=true&limit=100".into();
    event["queryStringParameters"] =
        json!({"customerType": "CONSUMER", "includeArchived": "true", "limit": "100"});
    event
}

fn upsert_event(rows: usize) -> Value {
    let mut event = event("upsert-products.json");
    let rows: Vec<Value> = (0..rows)
        .map(|row| json!({"sku": format!("BENCH-{row:04}"), "name": format!("Product {row}"), "price": 19.99}))
        .collect();
    event["body"] = json!({ "products": rows }).to_string().into();
    event["isBase64Encoded"] = false.into();
    event
}

/// An account with 100 offerings of 1.1 KB; returns its key.
async fn fill(stack: &Stack) -> ApiKey {
    let account: AccountId = "BENCH".parse().expect("account");
    let time = Timestamp::now();
    let ordering = ImportOrdering {
        origin: Origin::new(time, "bench"),
        order_by: OrderBy::Source,
        snapshot: None,
        ids: GeneratedIds { seed: "bench".to_owned(), time, run: "bench".to_owned() },
    };
    let mut importer = Importer::new(&stack.store, &account, ordering, Mode::Write);
    let lines: Vec<Line> = (0..100)
        .map(|number| (number + 1, Ok(offering(number).to_string().into_bytes())))
        .collect();
    let rejected = importer.import_group(&lines, &[]).await.expect("import");
    assert!(rejected.is_empty(), "{rejected:?}");
    let key = ApiKey::generate(&KeyPrefix::default()).expect("randomness");
    let record = KeyRecord::new(account, Permission::ALL.iter().copied());
    stack.store.create_key(&key.hash(), &record).await.expect("a key");
    key
}

fn offering(number: u64) -> Value {
    json!({
        "kind": "offering",
        "productOfferingId": format!("o{number:04}"),
        "name": format!("Offering {number}"),
        "customerType": "CONSUMER",
        "price": {"currency": "USD", "priceType": "ONE_TIME", "grossPrice": 9.99},
        "product": {
            "productId": format!("p{number}"),
            "type": "SUBSCRIPTION",
            "category": "TRAVEL",
            "features": {"dataMb": 1024, "validityDays": 7, "countries": ["GH", "NG"]},
        },
        "description": "d".repeat(600),
        "metadata": {"supplier": {"ref": format!("S-{number}"), "costUsd": 4.15}},
    })
}
