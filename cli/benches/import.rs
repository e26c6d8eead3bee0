//! `catalog import` of 200,000 records beside a bare loop that only sends the same conditional writes,
//! each in a process of its own: rows and CPU time per second, memory, and units.

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
    operation::{
        put_item::builders::PutItemFluentBuilder, update_item::builders::UpdateItemFluentBuilder,
    },
    types::{AttributeValue, ReturnConsumedCapacity},
};
use catalog_cli::local::{Stack, StackOptions, Storage};
use flate2::{Compression, write::GzEncoder};
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use serverless_catalog::store::{Connection, lean_client};

/// Unless a number is given: `cargo bench -p catalog-cli --bench import -- 20000`.
const ROWS: usize = 200_000;
const BARE_ACCOUNT: &str = "BARE";
/// Makes this program the bare loop: engine, table and range key follow.
const BARE: &str = "--bare-loop";

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == BARE) {
        return bare_loop(&arguments[at + 1], &arguments[at + 2], &arguments[at + 3]).await;
    }
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

    println!(
        "{rows} records; rows/s beside a bare loop of conditional writes on the same engine\n"
    );
    println!(
        "{:<34} {:>8} {:>9} {:>11} {:>8} {:>10} {:>11} {:>11}",
        "", "seconds", "rows/s", "of the loop", "CPU/row", "memory", "read units", "write units"
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
    let options = StackOptions::built_in("bench", Storage::Memory);
    let stack = Stack::start(options.expect("template")).await.expect("stack");
    let engine = stack.addresses().dynamodb_url;
    let first = import(&engine, &folder.join(files[0]), rows);
    let bare = run_bare_loop(&engine, &format!("bench-{table}"), range_key);
    row(&format!("{table}: bare loop"), rows, &bare, bare.seconds);
    let bare = bare.seconds;
    for (place, file) in files.iter().enumerate() {
        let run = if place == 0 { &first } else { &import(&engine, &folder.join(file), rows) };
        let what = if place > 0 && files[place - 1] == *file { "again: " } else { "" };
        row(&format!("{what}{file}"), rows, run, bare);
    }
    stack.stop().await;
}

fn row(name: &str, rows: usize, run: &Run, bare: f64) {
    let Run { seconds, cpu, memory_kib, read_units, write_units } = run;
    let share = format!("{:.0} %", bare / seconds * 100.0);
    println!(
        "{name:<34} {seconds:>8.2} {:>9.0} {share:>11} {:>5.0} us {:>6.1} MiB {:>11.3} {:>11.3}",
        rows as f64 / seconds,
        cpu / rows as f64 * 1e6,
        *memory_kib as f64 / 1024.0,
        read_units / rows as f64,
        write_units / rows as f64
    );
}

struct Run {
    seconds: f64,
    /// CPU time of the process, in seconds.
    cpu: f64,
    memory_kib: u64,
    read_units: f64,
    write_units: f64,
}

/// Runs the bare loop in a process of its own: its CPU time is then not the engine's.
fn run_bare_loop(engine: &str, table: &str, range_key: &str) -> Run {
    let program = std::env::current_exe().expect("this program");
    let output = Command::new(program).args([BARE, engine, table, range_key]).output();
    let output = output.expect("the bare loop");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let number = |name: &str| told[name].as_f64().expect("a number");
    let (seconds, cpu) = (number("seconds"), number("cpu"));
    Run { seconds, cpu, memory_kib: 0, read_units: 0.0, write_units: number("writeUnits") }
}

/// The CPU time of a process so far, in seconds.
fn cpu(process: u32) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name may hold spaces; the times are the twelfth and the thirteenth field after it.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / 100.0)
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
    let (mut first, mut most, mut cpu_time) = (0, 0, 0.0);
    while child.try_wait().expect("child").is_none() {
        if let Some(memory) = memory(child.id()) {
            most = memory;
            if first == 0 {
                first = memory;
            }
        }
        cpu_time = cpu(child.id()).unwrap_or(cpu_time);
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
        cpu: cpu_time,
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

/// Writes every item of a table once more, for another account, 32 at once, each on the condition that
/// nothing newer is stored; prints what that took.
async fn bare_loop(engine: &str, table: &str, range_key: &str) {
    let client = lean_client(&Connection::local(engine)).expect("client");
    let mut items = all(&client, table).await;
    let rows = items.len();
    for item in &mut items {
        assert!(item.contains_key(range_key), "an item of {table}");
        item.insert("account".to_owned(), AttributeValue::S(BARE_ACCOUNT.to_owned()));
    }
    let (started, before) = (Instant::now(), cpu(std::process::id()).expect("CPU time"));
    let units: f64 = stream::iter(items)
        .map(|item| {
            let (client, range_key) = (&client, range_key);
            async move {
                // Documents are put whole, and products updated, as an import does it.
                let capacity = if item.contains_key("last") {
                    let request = update(client, table, range_key, item);
                    request.send().await.expect("written").consumed_capacity
                } else {
                    put(client, table, item).send().await.expect("written").consumed_capacity
                };
                capacity.and_then(|capacity| capacity.capacity_units()).unwrap_or_default()
            }
        })
        .buffer_unordered(32)
        .fold(0.0, |sum, units| async move { sum + units })
        .await;
    let cpu = cpu(std::process::id()).expect("CPU time") - before;
    let told = json!({"seconds": started.elapsed().as_secs_f64(), "cpu": cpu,
                      "writeUnits": units, "rows": rows});
    println!("{told}");
}

type Item = std::collections::HashMap<String, AttributeValue>;

fn put(client: &Client, table: &str, item: Item) -> PutItemFluentBuilder {
    client
        .put_item()
        .table_name(table)
        .expression_attribute_values(":at", item["at"].clone())
        .set_item(Some(item))
        .condition_expression("attribute_not_exists(#at) OR #at <= :at")
        .expression_attribute_names("#at", "at")
        .return_consumed_capacity(ReturnConsumedCapacity::Total)
}

fn update(client: &Client, table: &str, range_key: &str, item: Item) -> UpdateItemFluentBuilder {
    let mut request = client
        .update_item()
        .table_name(table)
        .condition_expression("attribute_not_exists(#last) OR #last <= :last")
        .return_consumed_capacity(ReturnConsumedCapacity::Total);
    let mut sets = Vec::new();
    for (name, value) in item {
        if name == "account" || name == range_key {
            request = request.key(name, value);
            continue;
        }
        // A field's order is named after the field: "@price".
        let placeholder = name.replace('@', "at_");
        sets.push(format!("#{placeholder} = :{placeholder}"));
        request = request
            .expression_attribute_values(format!(":{placeholder}"), value)
            .expression_attribute_names(format!("#{placeholder}"), name);
    }
    request.update_expression(format!("SET {}", sets.join(", ")))
}

async fn all(client: &Client, table: &str) -> Vec<Item> {
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
