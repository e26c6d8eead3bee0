//! What a noisy key does to a polite one, and what limiting costs: a polite key's requests are timed alone and beside
//! a key that sends ten times what its limit admits, in the same run against a served catalog.
//!
//! `cargo bench -p catalog-cli --bench limits` takes less than a minute.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark tells, and ends when it cannot"
)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use catalog_cli::local::{Stack, StackOptions, Storage};
use jiff::Timestamp;
use serde_json::json;
use serverless_catalog::{
    access::{ApiKey, KeyPrefix, KeyRecord, Limits, PerMinute, Permission},
    account::AccountId,
    imports::{GeneratedIds, Importer, Mode, OrderBy, Ordering as WriteOrdering},
    order::Origin,
    source::Line,
    store::Store,
};

/// How many requests of the polite key are timed, and how often it sends one.
const REQUESTS: u32 = 1_000;
const EVERY: Duration = Duration::from_millis(20);

/// What the polite key may send in a minute, and the noisy one, which sends ten times that.
const POLITE: u32 = 6_000;
const NOISY: u32 = 600;

#[tokio::main]
async fn main() {
    let options = StackOptions::built_in("bench", Storage::Memory).expect("the template");
    let stack = Stack::start(options).await.expect("a catalog");
    fill(&stack.store).await;
    let (polite, noisy) = (key(&stack.store, POLITE).await, key(&stack.store, NOISY).await);
    let url = format!("{}/product-offerings?limit=20", stack.addresses().url);
    let (alone, beside, loud) = tokio::task::spawn_blocking(move || {
        polite_requests(&url, &polite, REQUESTS / 10);
        let alone = polite_requests(&url, &polite, REQUESTS);
        let stop = Arc::new(AtomicBool::new(false));
        let other = {
            let (url, stop) = (url.clone(), stop.clone());
            std::thread::spawn(move || noisy_requests(&url, &noisy, &stop))
        };
        let beside = polite_requests(&url, &polite, REQUESTS);
        stop.store(true, Ordering::Relaxed);
        (alone, beside, other.join().expect("the noisy key"))
    })
    .await
    .expect("answers");
    println!("| {REQUESTS} requests of a polite key | p50 | p99 | units for its limits, each |");
    println!("|---|---|---|---|");
    for (name, run) in [("alone", &alone), ("beside a noisy key", &beside)] {
        let [p50, p99] = [0.5, 0.99].map(|share| run.percentile(share));
        let (reads, writes) =
            (run.units.0 / f64::from(REQUESTS), run.units.1 / f64::from(REQUESTS));
        println!(
            "| {name} | {:.2} ms | {:.2} ms | {reads:.4} read, {writes:.4} write |",
            p50.as_secs_f64() * 1e3,
            p99.as_secs_f64() * 1e3
        );
    }
    let ratio = beside.percentile(0.99).as_secs_f64() / alone.percentile(0.99).as_secs_f64();
    println!("p99 beside the noisy key relative to alone: {ratio:.2}");
    println!(
        "The noisy key, limited to {NOISY} a minute, sent {} in {:.0} s: {} admitted, {} refused.",
        loud.admitted + loud.refused,
        loud.elapsed.as_secs_f64(),
        loud.admitted,
        loud.refused
    );
}

/// The requests of a polite key.
struct Run {
    times: Vec<Duration>,
    /// Read and write units that its limits cost.
    units: (f64, f64),
}

impl Run {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "a place in a list of thousands"
    )]
    fn percentile(&self, share: f64) -> Duration {
        let place = (self.times.len() as f64 * share) as usize;
        self.times[place.min(self.times.len() - 1)]
    }
}

fn polite_requests(url: &str, key: &str, count: u32) -> Run {
    let agent = ureq::Agent::new_with_defaults();
    let mut run = Run { times: Vec::new(), units: (0.0, 0.0) };
    let mut next = Instant::now();
    for _ in 0..count {
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        next += EVERY;
        let began = Instant::now();
        let mut reply = agent.get(url).header("X-Api-Key", key).call().expect("admitted");
        reply.body_mut().read_to_vec().expect("a body");
        run.times.push(began.elapsed());
        let units = |name: &str| {
            let value = reply.headers().get(name).and_then(|value| value.to_str().ok());
            value.map_or(0.0, |value| value.parse().expect("units"))
        };
        run.units.0 += units("x-counter-read-units");
        run.units.1 += units("x-counter-write-units");
    }
    run.times.sort();
    run
}

/// What became of the noisy key's requests.
struct Noise {
    admitted: u32,
    refused: u32,
    elapsed: Duration,
}

fn noisy_requests(url: &str, key: &str, stop: &AtomicBool) -> Noise {
    let config = ureq::Agent::config_builder().http_status_as_error(false).build();
    let agent = ureq::Agent::new_with_config(config);
    let began = Instant::now();
    let every = Duration::from_mins(1) / (NOISY * 10);
    let (mut admitted, mut refused, mut next) = (0, 0, began);
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        next += every;
        let mut reply = agent.get(url).header("X-Api-Key", key).call().expect("an answer");
        reply.body_mut().read_to_vec().expect("a body");
        if reply.status() == 200 { admitted += 1 } else { refused += 1 }
    }
    Noise { admitted, refused, elapsed: began.elapsed() }
}

async fn key(store: &Store, reads_per_minute: u32) -> String {
    let account: AccountId = "ACME".parse().expect("account");
    let key = ApiKey::generate(&KeyPrefix::default()).expect("randomness");
    let limits = Limits { reads_per_minute: PerMinute::new(reads_per_minute), ..Limits::default() };
    let record = KeyRecord { limits, ..KeyRecord::new(account, [Permission::OfferingsRead]) };
    store.create_key(&key.hash(), &record).await.expect("a key");
    key.reveal().to_owned()
}

async fn fill(store: &Store) {
    let account: AccountId = "ACME".parse().expect("account");
    let time = Timestamp::now();
    let ordering = WriteOrdering {
        origin: Origin::new(time, "bench"),
        order_by: OrderBy::Source,
        snapshot: None,
        ids: GeneratedIds { seed: "bench".to_owned(), time, run: "bench".to_owned() },
    };
    let mut importer = Importer::new(store, &account, ordering, Mode::Write);
    let offering = |n: u64| {
        json!({
            "kind": "offering",
            "productOfferingId": format!("o{n}"),
            "name": format!("Offering {n}"),
            "customerType": "CONSUMER",
            "price": {"currency": "USD", "priceType": "ONE_TIME", "grossPrice": 9.99},
            "product": {"productId": format!("p{n}"), "type": "LICENSE"},
            "description": "d".repeat(600),
        })
    };
    let lines: Vec<Line> =
        (1..=100).map(|n| (n, Ok(offering(n).to_string().into_bytes()))).collect();
    let rejected = importer.import_group(&lines, &[]).await.expect("import");
    assert!(rejected.is_empty(), "{rejected:?}");
}
