//! What the journal of changes costs: an import of 200,000 rows with and without it, and reading it.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark tells, and ends when it cannot"
)]

use std::{
    fs::File,
    io::{BufWriter, Write as _},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use catalog_cli::{
    local::{Stack, StackOptions, Storage},
    template::Template,
};
use serde_json::{Value, json};
use serverless_catalog::{
    account::AccountId,
    changes::{JournalStore as _, Kinds, Log, LogId, Losses, Page, Positions, View, page},
    cost::Meter,
    idempotency::RequestIdentity,
    imports::Kind,
    offerings::Budget,
    products::{ProductRow, arrived, upsert},
    store::Store,
};

/// Unless a number is given: `cargo bench -p catalog-cli --bench journal -- 20000`.
const ROWS: usize = 200_000;

#[tokio::main]
async fn main() {
    let rows = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(ROWS);
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("products.ndjson");
    let mut file = BufWriter::new(File::create(&path).expect("file"));
    for number in 0..rows {
        writeln!(file, "{}", product(number)).expect("disk");
    }
    file.flush().expect("disk");
    drop(file);
    println!("{rows} products of about 1 KB\n");

    let without = Template::parse(&without_streams()).expect("template");
    let stack = start(without).await;
    let (seconds, units) = import(&stack, &path);
    println!(
        "import without the journal: {seconds:.1} s, {:.3} write units a row",
        per(units, rows)
    );
    stack.stop().await;

    let stack = start(Template::built_in().expect("template")).await;
    let begun = Instant::now();
    let (seconds, units) = import(&stack, &path);
    stack.streams.settle().await.expect("recorded");
    let settled = begun.elapsed().as_secs_f64();
    println!(
        "import with the journal:    {seconds:.1} s, {:.3} write units a row",
        per(units, rows)
    );
    let (chunks, units, changes) = journal(&stack.store).await;
    assert_eq!(changes, rows as u64);
    println!(
        "the journal:                recorded after {settled:.1} s: {chunks} chunks, {:.3} write units a row",
        per(units, rows)
    );
    reads(&stack.store).await;
    stack.stop().await;
}

fn per(units: f64, rows: usize) -> f64 {
    units / rows as f64
}

fn account() -> AccountId {
    AccountId::parse("BENCH").expect("account")
}

async fn start(template: Template) -> Stack {
    let options = StackOptions::built_in("bench", Storage::Memory).expect("template");
    Stack::start(StackOptions { template, ..options }).await.expect("stack")
}

/// The template without the streams of its tables: nothing is recorded.
fn without_streams() -> String {
    let text = include_str!("../../template.yaml");
    let mut kept = String::new();
    for line in text.lines().filter(|line| !line.contains("StreamViewType")) {
        if !line.trim_start().starts_with("StreamSpecification") {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

/// Runs the operator's own tool: seconds and write units.
fn import(stack: &Stack, file: &Path) -> (f64, f64) {
    let begun = Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_catalog"))
        .args(["import", "--account", "BENCH", "--json", "--table-prefix", "bench"])
        .args(["--endpoint-url", &stack.addresses().dynamodb_url])
        .arg(file)
        .stderr(Stdio::null())
        .output()
        .expect("catalog");
    let seconds = begun.elapsed().as_secs_f64();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    let told: Value = serde_json::from_str(text.lines().last().expect("a summary")).expect("JSON");
    (seconds, told["cost"]["writeUnits"].as_f64().expect("units"))
}

/// The chunks of the account's log of products, the units that they cost, and their changes.
async fn journal(store: &Store) -> (usize, f64, u64) {
    let id = LogId { account: account(), log: Log::Products };
    let (mut chunks, mut units, mut changes, mut from) = (0, 0.0, 0, 1);
    loop {
        let page = store.chunks(&id, from, 100).await.expect("chunks");
        for chunk in &page.chunks {
            chunks += 1;
            // Keys and the other attributes are about as long as this.
            units += (chunk.body.len() + 120).div_ceil(1_024) as f64;
            changes += chunk.count;
            from = chunk.first + 1;
        }
        if page.is_last {
            return (chunks, units, changes);
        }
    }
}

/// What it costs to read changes of an import, and of upserts of one row each.
async fn reads(store: &Store) {
    let begin = oldest(store);
    for limit in [100, 1_000] {
        let (page, units) = read(store, begin.clone(), limit).await;
        println!(
            "reading the first {:>5} changes of an import: {units} read units",
            page.changes.len()
        );
    }
    let mut next = begin;
    let mut units = 0.0;
    loop {
        let (page, more) = read(store, next, 1_000).await;
        next = page.next;
        units += more;
        if page.up_to_date {
            break;
        }
    }
    println!("reading all of them by 1,000: {units} read units");
    for number in 0..100 {
        let row = json!({"sku": format!("ONE-{number}"), "name": "n", "price": 1});
        let row = serde_json::value::to_raw_value(&row).expect("JSON");
        let rows = [ProductRow::parse(&row).expect("a row")];
        let request = RequestIdentity::new(store.clock().now());
        let until = tokio::time::Instant::now() + Duration::from_secs(25);
        let written = upsert(store, &account(), &arrived(&rows, &request), until).await;
        assert!(written.iter().all(Result::is_ok));
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (page, units) = read(store, next, 100).await;
    println!("reading {} changes of single upserts: {units} read units", page.changes.len());
}

fn oldest(store: &Store) -> Positions {
    let kinds = Kinds::of([Kind::Product]);
    Positions::oldest(store.clock().now(), kinds, View::Everything.fingerprint())
}

async fn read(store: &Store, from: Positions, limit: usize) -> (Page, f64) {
    let meter = Meter::default();
    let store = store.metered(&meter);
    let budget =
        Budget { read_units: Budget::READ_UNITS, until: Instant::now() + Duration::from_mins(1) };
    let (losses, view) = (Losses::default(), View::Everything);
    let page = page(&store, &account(), from, losses, view, limit, budget).await.expect("a page");
    (page, meter.cost().read_units)
}

/// Rows that repeat as those of a catalog do: names, words and numbers of their own, sentences in common.
fn product(number: usize) -> Value {
    let text = format!(
        "Plan {number} with {} minutes and {} GB for {} days. It renews itself until it is cancelled, and what is left \
         of a month is kept for the next one. ",
        number % 977,
        number % 61,
        number % 29 + 1
    );
    json!({
        "kind": "product", "sku": format!("BENCH-{number:06}"), "name": format!("Product {number}"),
        "price": 19.99, "category": "Bench", "stockQty": number, "description": text.repeat(6),
    })
}
