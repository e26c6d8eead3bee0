//! A million hostile requests against `catalog serve`: no 5xx, no panic, no request without an answer.
//!
//! `requests.rs` makes each request from a seed and its number, so that a run repeats and a request that is answered
//! wrongly can be sent again: `cargo bench -p catalog-cli --bench hostile -- 1000000 <seed>`. Requests go over
//! connections that are kept, as many as a busy client would have, while others are slow or leave in the middle.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark tells, and ends when it cannot"
)]

mod requests;
mod wire;

use std::{
    collections::BTreeMap,
    fs::File,
    path::Path,
    process::{Child, Command},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use catalog_cli::template::Template;
use serde_json::Value;

use requests::{Hostile, Requests};
use wire::{Answer, Client};

/// Unless a number is given.
const REQUESTS: u64 = 1_000_000;

/// Unless a second number is given.
const SEED: u64 = 1;

const CLIENTS: u64 = 96;

/// How many clients at a time are slow or leave.
const SLOW_CLIENTS: u64 = 8;

/// API Gateway ends a request after this time.
const DEADLINE: Duration = Duration::from_secs(29);

/// The most memory that the server may take beyond what it had after a hundredth of the requests, in MiB, for each
/// million requests: the embedded engine keeps in memory what they wrote.
const MEMORY: f64 = 512.0;

/// The server, stopped in the end.
struct Server {
    process: Option<Child>,
    address: String,
    folder: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let ready = folder.path().join("ready.json");
        let log = File::create(folder.path().join("log")).expect("a log");
        let mut server = Self { process: None, address: String::new(), folder };
        let mut command = Command::new(env!("CARGO_BIN_EXE_catalog"));
        command.arg("--data").arg(server.folder.path().join("data"));
        command.args(["serve", "--sample", "--memory", "--port", "0", "--ready-file"]).arg(&ready);
        command.stdout(log.try_clone().expect("a log")).stderr(log);
        server.process = Some(command.spawn().expect("the server"));
        for _ in 0..600 {
            if let Some(address) = address(&ready) {
                server.address = address;
                return server;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("the server does not start: {}", server.log());
    }

    /// Its memory now, in MiB.
    fn memory(&self) -> f64 {
        let id = self.process.as_ref().map_or(0, Child::id);
        let path = format!("/proc/{id}/status");
        let status = std::fs::read_to_string(path).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse().ok());
        kib.unwrap_or(0.0) / 1024.0
    }

    fn log(&self) -> String {
        let log = std::fs::read(self.folder.path().join("log")).expect("a log");
        String::from_utf8_lossy(&log).into_owned()
    }

    /// What it said of panics.
    fn panics(&self) -> Vec<String> {
        self.log().lines().filter(|line| line.contains("panic")).map(ToOwned::to_owned).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn address(ready: &Path) -> Option<String> {
    let addresses: Value = serde_json::from_slice(&std::fs::read(ready).ok()?).ok()?;
    Some(addresses["url"].as_str()?.strip_prefix("http://")?.to_owned())
}

/// What became of the requests.
#[derive(Default)]
struct Tally {
    /// By status; 0: the connection was closed, as it may be after bytes that are no request.
    statuses: BTreeMap<u16, u64>,
    slowest: Option<(Duration, String)>,
    /// Answers that must not be.
    wrong: Vec<String>,
}

impl Tally {
    fn count(&mut self, request: &Hostile, outcome: &Result<Answer, String>, took: Duration) {
        let status = outcome.as_ref().map_or(0, |answer| answer.status);
        *self.statuses.entry(status).or_default() += 1;
        if self.slowest.as_ref().is_none_or(|(slowest, _)| took > *slowest) {
            self.slowest = Some((took, request.to_string()));
        }
        let wrong = match outcome {
            // API Gateway's own answer after its timeout; it would be one that took too long.
            Ok(answer) if answer.status >= 500 => Some(answer.to_string()),
            Err(why) if request.is_complete => Some(why.clone()),
            _ if took > DEADLINE => Some(format!("took {took:?}")),
            _ => None,
        };
        if let Some(wrong) = wrong.filter(|_| self.wrong.len() < 20) {
            self.wrong.push(format!("{request}\n  {wrong}"));
        }
    }
}

/// Everything that the clients share.
struct Run {
    requests: Requests,
    address: String,
    next: AtomicU64,
    count: u64,
    tally: Mutex<Tally>,
}

async fn client(run: Arc<Run>) {
    let mut client = Client::new(&run.address);
    loop {
        let number = run.next.fetch_add(1, Ordering::Relaxed);
        if number >= run.count {
            return;
        }
        let request = run.requests.make(number);
        let sent = Instant::now();
        let outcome = client.send(&request).await;
        run.tally.lock().expect("lock").count(&request, &outcome, sent.elapsed());
    }
}

/// A client that sends slowly, or leaves before the end, until all the others are done.
async fn slow_client(run: Arc<Run>, first: u64) {
    let mut number = first;
    while run.next.load(Ordering::Relaxed) < run.count {
        let request = run.requests.make(number);
        wire::drip(&run.address, &request, number).await;
        number += SLOW_CLIENTS;
    }
}

#[tokio::main]
async fn main() {
    let numbers: Vec<u64> = std::env::args().filter_map(|text| text.parse().ok()).collect();
    let count = numbers.first().copied().unwrap_or(REQUESTS);
    let seed = numbers.get(1).copied().unwrap_or(SEED);
    let server = Server::start();
    let routes = Template::built_in().expect("template").routes().expect("routes");
    let paths: Vec<String> = routes.into_iter().filter_map(|route| route.path).collect();
    let cursors = wire::cursors(&server.address).await;
    let run = Arc::new(Run {
        requests: Requests { seed, paths, cursors },
        address: server.address.clone(),
        next: AtomicU64::new(0),
        count,
        tally: Mutex::default(),
    });
    let started = Instant::now();
    let mut tasks: Vec<_> = (0..CLIENTS).map(|_| tokio::spawn(client(run.clone()))).collect();
    let slow = (0..SLOW_CLIENTS).map(|number| tokio::spawn(slow_client(run.clone(), number)));
    tasks.extend(slow);
    let mut memory = vec![(0, server.memory())];
    while run.next.load(Ordering::Relaxed) < count {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let done = run.next.load(Ordering::Relaxed).min(count);
        if done * 10 / count > memory.len() as u64 - 1 {
            memory.push((done, server.memory()));
            println!(
                "{done} requests, {:.0} s, {:.0} MiB",
                started.elapsed().as_secs_f64(),
                server.memory()
            );
        }
    }
    for task in tasks {
        task.await.expect("a client");
    }
    let seconds = started.elapsed().as_secs_f64();
    memory.push((count, server.memory()));
    report(&run, &server, seconds, &memory);
}

fn report(run: &Run, server: &Server, seconds: f64, memory: &[(u64, f64)]) {
    let tally = run.tally.lock().expect("lock");
    println!(
        "{} requests of seed {} in {seconds:.0} s, {:.0} a second",
        run.count,
        run.requests.seed,
        run.count as f64 / seconds
    );
    for (status, count) in &tally.statuses {
        println!(
            "  {}: {count}",
            if *status == 0 { "closed".to_owned() } else { status.to_string() }
        );
    }
    if let Some((took, request)) = &tally.slowest {
        println!("slowest: {took:?}, {request}");
    }
    let (first, last) = (memory[memory.len().min(2) - 1], memory[memory.len() - 1]);
    println!(
        "memory of the server: {:.0} MiB in the end, {:.0} MiB more than after {} requests",
        last.1,
        last.1 - first.1,
        first.0
    );
    let panics = server.panics();
    for line in tally.wrong.iter().chain(&panics) {
        println!("WRONG: {line}");
    }
    assert!(tally.wrong.is_empty() && panics.is_empty(), "requests were answered wrongly");
    let most = MEMORY * (run.count as f64 / 1e6).max(0.25);
    assert!(last.1 - first.1 < most, "the server's memory grows");
}
