//! `catalog import` of 200,000 records, in a process of its own, beside a bare loop that only writes
//! the same items in batches: rows a second, memory, and units.

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

use aws_sdk_dynamodb::{
    Client,
    types::{AttributeValue, PutRequest, WriteRequest},
};
use catalog_cli::{
    local::{Stack, StackOptions, Storage},
    template::Template,
};
use flate2::{Compression, write::GzEncoder};
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use serverless_catalog::store::lean_client;

/// Unless a number is given: `cargo bench -p catalog-cli --bench import -- 20000`.
const ROWS: usize = 200_000;
const BARE_ACCOUNT: &str = "BARE";

#[tokio::main]
async fn main() {
    let rows = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(ROWS);
    let folder = tempfile::tempdir().expect("folder");
    let path = |name: &str| folder.path().join(name);
    let lines = |name: &str, line: &dyn Fn(usize) -> Value| {
        let mut file = BufWriter::new(File::create(path(name)).expect("file"));
        for number in 0..rows {
            writeln!(file, "{}", line(number)).expect("disk");
        }
        file.flush().expect("disk");
    };
    lines("offerings.ndjson", &|number| offering(number, 0));
    lines("offerings-changed.ndjson", &|number| {
        offering(number, usize::from(number.is_multiple_of(10_000)))
    });
    lines("products.ndjson", &product);
    csv(&path("products.csv.gz"), rows);

    println!("{rows} records; rows/s beside a bare loop of batch writes on the same engine\n");
    println!(
        "{:<34} {:>8} {:>9} {:>11} {:>10} {:>11} {:>11}",
        "", "seconds", "rows/s", "of the loop", "memory", "read units", "write units"
    );
    let offerings = ["offerings.ndjson", "offerings.ndjson", "offerings-changed.ndjson"];
    group("offerings", "productOfferingId", (&offerings, rows), folder.path()).await;
    let products = ["products.ndjson", "products.ndjson", "products.csv.gz"];
    group("products", "productKey", (&products, rows), folder.path()).await;
    group("products", "productKey", (&["products.csv.gz", "products.csv.gz"], rows), folder.path())
        .await;
    println!(
        "\nMemory is the most a process had above what it began with; units are those of a row."
    );
}

/// Imports files one after the other into a new engine, and then writes what they made of it again by
/// a bare loop.
async fn group(table: &str, range_key: &str, (files, rows): (&[&str], usize), folder: &Path) {
    let stack = Stack::start(StackOptions {
        port: 0,
        storage: Storage::Memory,
        name: "bench".to_owned(),
        cursor_secret: "the cursor secret of a benchmark, no other".to_owned(),
        template: Template::built_in().expect("template"),
        demo_keys: false,
    })
    .await
    .expect("stack");
    let engine = stack.whereabouts().dynamodb_url;
    let first = import(&engine, &folder.join(files[0]), rows);
    let bare = bare_loop(&engine, &format!("bench-{table}"), range_key, rows).await;
    row(&format!("{table}: bare loop"), rows, (bare, bare), None);
    for (place, file) in files.iter().enumerate() {
        let run = if place == 0 { &first } else { &import(&engine, &folder.join(file), rows) };
        let what = if place > 0 && files[place - 1] == *file { "again: " } else { "" };
        row(&format!("{what}{file}"), rows, (run.seconds, bare), Some(run));
    }
    stack.stop().await;
}

fn row(name: &str, rows: usize, (seconds, bare): (f64, f64), run: Option<&Run>) {
    let rate = rows as f64 / seconds;
    let share = format!("{:.0} %", bare / seconds * 100.0);
    let rest = run.map_or_else(String::new, |run| {
        format!(
            " {:>6.1} MiB {:>11.3} {:>11.3}",
            run.memory_kib as f64 / 1024.0,
            run.read_units / rows as f64,
            run.write_units / rows as f64
        )
    });
    println!("{name:<34} {seconds:>8.2} {rate:>9.0} {share:>11}{rest}");
}

struct Run {
    seconds: f64,
    memory_kib: u64,
    read_units: f64,
    write_units: f64,
}

/// Runs the operator's own tool, and looks at its memory while it runs.
fn import(engine: &str, file: &Path, rows: usize) -> Run {
    let mut child = Command::new(env!("CARGO_BIN_EXE_catalog"))
        .args(["import", "--account", "BENCH", "--json", "--table-prefix", "bench"])
        .args(["--endpoint-url", engine])
        .arg(file)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("catalog");
    let started = Instant::now();
    let (mut first, mut most) = (0, 0);
    while child.try_wait().expect("child").is_none() {
        if let Some(memory) = memory(child.id()) {
            most = memory;
            if first == 0 {
                first = memory;
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let seconds = started.elapsed().as_secs_f64();
    let output = child.wait_with_output().expect("output");
    let text = String::from_utf8_lossy(&output.stdout);
    let summary: Value =
        serde_json::from_str(text.lines().last().expect("a summary")).expect("JSON");
    assert!(output.status.success(), "{text}");
    let counts = &summary["counts"];
    let sum: u64 = ["created", "updated", "unchanged"]
        .iter()
        .map(|count| counts[count].as_u64().expect("count"))
        .sum();
    assert_eq!(sum, rows as u64, "{summary}");
    let units = |name: &str| summary["cost"][name].as_f64().expect("units");
    Run {
        seconds,
        memory_kib: most - first,
        read_units: units("readUnits"),
        write_units: units("writeUnits"),
    }
}

/// The most memory a process has had, in KiB.
fn memory(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

/// Writes every item of a table once more, for another account, 25 at a time and eight at once, and
/// nothing else; tells the seconds that took.
async fn bare_loop(engine: &str, table: &str, range_key: &str, rows: usize) -> f64 {
    let client = lean_client(None, Some(engine)).expect("client");
    let items = all(&client, table).await;
    assert_eq!(items.len(), rows, "every row has an item of its own");
    let mut batches = Vec::new();
    let mut batch = Vec::new();
    for mut item in items {
        assert!(item.contains_key(range_key), "an item of {table}");
        item.insert("account".to_owned(), AttributeValue::S(BARE_ACCOUNT.to_owned()));
        let put = PutRequest::builder().set_item(Some(item)).build().expect("item");
        batch.push(WriteRequest::builder().put_request(put).build());
        if batch.len() == 25 {
            batches.push(std::mem::take(&mut batch));
        }
    }
    let started = Instant::now();
    stream::iter(batches)
        .for_each_concurrent(8, |batch| {
            let request = client.batch_write_item().request_items(table, batch);
            async move {
                let reply = request.send().await.expect("written");
                assert!(reply.unprocessed_items().is_none_or(std::collections::HashMap::is_empty));
            }
        })
        .await;
    started.elapsed().as_secs_f64()
}

async fn all(
    client: &Client,
    table: &str,
) -> Vec<std::collections::HashMap<String, AttributeValue>> {
    let mut pages = client
        .query()
        .table_name(table)
        .key_condition_expression("account = :account")
        .expression_attribute_values(":account", AttributeValue::S("BENCH".to_owned()))
        .into_paginator()
        .items()
        .send();
    let mut items = Vec::new();
    while let Some(item) = pages.next().await {
        items.push(item.expect("item"));
    }
    items
}

fn offering(number: usize, version: usize) -> Value {
    json!({
        "kind": "offering", "productOfferingId": format!("bench-{number:06}"),
        "name": format!("Offering {number}, version {version}"), "customerType": "CONSUMER",
        "description": "1 GB of data for 7 days in Africa. Cape to Cairo & Dakar to Mombasa.",
        "price": {"currency": "USD", "priceType": "ONE_TIME", "grossPrice": 10.49, "taxIncluded": false},
        "product": {
            "productId": format!("prd-{number}"), "type": "SUBSCRIPTION_ADDON",
            "category": "TRAVEL_ESIM_PACKAGE", "networkProviderId": "roamhub",
            "features": {"dataMb": 1024, "validityDays": 7, "regions": ["AFRICA"], "activationType": "INSTANT"},
        },
        "imageUrl": "https://cdn.example.com/images/esim/africa.png",
        "metadata": {"supplier": {"ref": format!("RH-{number}"), "costUsd": 4.15}},
    })
}

fn product(number: usize) -> Value {
    json!({
        "kind": "product", "sku": format!("BENCH-{number:06}"), "name": format!("Product {number}"),
        "price": 19.99, "category": "Bench", "stockQty": number,
        "description": "A product of a benchmark, with a sentence or two of description.",
    })
}

fn csv(path: &Path, count: usize) {
    let file = File::create(path).expect("file");
    let mut rows = BufWriter::new(GzEncoder::new(file, Compression::fast()));
    writeln!(rows, "sku,name,price,category,stockQty,description").expect("disk");
    for number in 0..count {
        writeln!(
            rows,
            "BENCH-{number:06},Product {number},19.99,Bench,{number},\
             \"A product of a benchmark, with a sentence or two of description.\""
        )
        .expect("disk");
    }
    rows.into_inner().expect("buffer").finish().expect("disk");
}
