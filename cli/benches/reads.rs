//! What typical requests read, at several sizes of the catalog: writes the table of `docs/read-costs.md`, and draws the
//! charts `docs/charts/read-units-*.svg`.
//!
//! `cargo bench -p catalog-cli --bench reads` takes catalogs of 1,000, 20,000 and 1,000,000 offerings (some ten
//! minutes); `-- 1000 20000` takes others.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark tells, and ends when it cannot"
)]

mod charts;

use std::{fmt::Write as _, fs, time::Instant};

use catalog_cli::local::{Stack, StackOptions, Storage};
use jiff::Timestamp;
use serde_json::{Value, json};
use serverless_catalog::{
    access::{ApiKey, KeyPrefix, KeyRecord, Permission},
    account::AccountId,
    imports::{GeneratedIds, Importer, Mode, OrderBy, Ordering},
    order::Origin,
    source::Line,
    store::Store,
};

const SIZES: [usize; 3] = [1_000, 20_000, 1_000_000];

const REQUESTS: [&str; 10] = [
    "limit=20",
    "limit=100",
    "types=LICENSE&customerType=CONSUMER&limit=20",
    "categories=C7&limit=20",
    "includeArchived=true&limit=20",
    "countries=GH&limit=20",
    "countries=IS&limit=20",
    "regions=EUROPE&limit=20",
    "productCatalogId=retail&limit=20",
    "countries=GH&productCatalogId=retail&limit=20",
];

#[tokio::main]
async fn main() {
    let sizes: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let sizes = if sizes.is_empty() { SIZES.to_vec() } else { sizes };
    let mut columns: Vec<Vec<Cell>> = Vec::new();
    for size in &sizes {
        columns.push(measure(*size).await);
    }
    let mut table = "| Request |".to_owned();
    for size in &sizes {
        let _ = write!(table, " {size} offerings |");
    }
    let _ = write!(table, "\n|---|{}\n", "---|".repeat(sizes.len()));
    let names = REQUESTS.iter().map(|query| format!("`{query}`"));
    let deep = REQUESTS.iter().map(|query| format!("… `{query}`, deep in the list"));
    let names = names.chain(deep);
    for (row, name) in names.enumerate() {
        let _ = write!(table, "| {name} |");
        for column in &columns {
            let Cell { units, requests, offerings } = &column[row];
            let _ = write!(table, " {units} units, {requests} requests, {offerings} offerings |");
        }
        table.push('\n');
    }
    println!("{table}");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/read-costs.md");
    let page = fs::read_to_string(path).expect("the page");
    let (head, _) = page.split_once("| Request |").expect("a table");
    fs::write(path, format!("{head}{table}")).expect("the page");
    draw(&sizes, &columns);
}

/// The requests that the chart shows: the others have the same lines.
const SHOWN: [(&str, &str); 4] = [
    ("limit=100", "a page of 100"),
    ("countries=GH&limit=20", "20 by country"),
    ("regions=EUROPE&limit=20", "20 by region"),
    ("limit=20", "a page of 20"),
];

/// How many bytes of an item of `offering` a half read unit reads, and how many the item has, about.
const BYTES_PER_HALF_UNIT: f64 = 4_096.0;
const ITEM_BYTES: f64 = 1_180.0;

#[allow(clippy::cast_precision_loss, reason = "sizes of catalogs")]
fn draw(sizes: &[usize], columns: &[Vec<Cell>]) {
    let mut lines: Vec<(String, Vec<f64>)> = SHOWN
        .iter()
        .map(|(query, name)| {
            let row = REQUESTS.iter().position(|request| request == query).expect("a request");
            ((*name).to_owned(), columns.iter().map(|column| column[row].units).collect())
        })
        .collect();
    let all =
        sizes.iter().map(|size| 0.5 * (*size as f64 * ITEM_BYTES / BYTES_PER_HALF_UNIT).ceil());
    lines.push(("reading all and filtering (computed)".to_owned(), all.collect()));
    charts::read_units(sizes, &lines);
}

/// What a request read.
struct Cell {
    units: f64,
    requests: u32,
    offerings: usize,
}

/// Which page is read deep in a list; of a shorter list, one of its last.
const DEEP_PAGE: usize = 5_000;

/// The read units and the requests to the database of each request.
async fn measure(size: usize) -> Vec<Cell> {
    let folder = tempfile::tempdir().expect("a folder");
    let storage = Storage::File(folder.path().join("catalog.db"));
    let options = StackOptions::built_in("bench", storage).expect("the template");
    let stack = Stack::start(options).await.expect("a catalog");
    let started = Instant::now();
    fill(&stack.store, size).await;
    println!("{size} offerings imported in {:.0} s", started.elapsed().as_secs_f64());
    let account: AccountId = "ACME".parse().expect("account");
    let key = ApiKey::generate(&KeyPrefix::default()).expect("randomness");
    let record = KeyRecord::new(account, [Permission::OfferingsRead]);
    stack.store.create_key(&key.hash(), &record).await.expect("a key");
    let url = stack.addresses().url;
    let token = key.reveal().to_owned();
    tokio::task::spawn_blocking(move || {
        let get = |query: &str| {
            let request = ureq::get(format!("{url}/product-offerings?{query}"));
            let mut reply = request.header("X-Api-Key", &token).call().expect("an answer");
            let number = |name: &str| {
                reply
                    .headers()
                    .get(name)
                    .and_then(|value| value.to_str().ok())
                    .unwrap_or_default()
                    .to_owned()
            };
            let cost = (number("x-consumed-read-units"), number("x-queries"));
            let body: Value = serde_json::from_reader(reply.body_mut().as_reader()).expect("JSON");
            (cost, body)
        };
        // The key, and whether lists use entries, are read once.
        get("countries=GH&limit=1");
        let shown = |((units, queries), body): ((String, String), Value)| Cell {
            units: units.parse().expect("units"),
            requests: queries.parse().expect("requests"),
            offerings: body["items"].as_array().map_or(0, Vec::len),
        };
        let first: Vec<Cell> = REQUESTS.iter().map(|query| shown(get(query))).collect();
        // The cursor does not depend on the limit, so the pages before are passed over by the thousand.
        let deep = |query: &&str| {
            let (filter, limit) = query.rsplit_once("limit=").expect("a limit");
            let limit: usize = limit.parse().expect("a limit");
            let (mut left, mut cursor) = (limit * DEEP_PAGE, String::new());
            while left >= limit {
                let step = left.min(1_000).min(size / 2);
                let (_, body) = get(&format!("{filter}limit={step}{cursor}"));
                let Some(next) = body["pagination"]["nextCursor"].as_str() else { break };
                cursor = format!("&cursor={next}");
                left -= step.min(left);
            }
            shown(get(&format!("{filter}limit={limit}{cursor}")))
        };
        let deep: Vec<Cell> = REQUESTS.iter().map(deep).collect();
        first.into_iter().chain(deep).collect()
    })
    .await
    .expect("answers")
}

/// Of a hundred offerings four cover Ghana, half of them Europe, five are in the catalog `retail`.
fn offering(n: usize) -> Value {
    let (countries, regions): (&[&str], &[&str]) = match n % 100 {
        0..=2 => (&["GH", "NG"], &[]),
        3 => (&[], &["AFRICA"]),
        n if n % 2 == 0 => (&[], &["EUROPE"]),
        _ => (&["US", "CA"], &[]),
    };
    json!({
        "kind": "offering",
        "productOfferingId": format!("o{n:08}"),
        "name": format!("Offering {n}"),
        "customerType": if n % 5 == 4 { "BUSINESS" } else { "CONSUMER" },
        "status": if n % 50 == 49 { "ARCHIVED" } else { "AVAILABLE" },
        "price": {"currency": "USD", "priceType": "ONE_TIME", "grossPrice": 9.99},
        "product": {
            "productId": format!("p{n}"),
            "type": if n.is_multiple_of(3) { "LICENSE" } else { "SUBSCRIPTION" },
            "category": format!("C{}", n % 20),
            "features": {"countries": countries, "regions": regions},
        },
        "productCatalogIds": if n.is_multiple_of(20) { ["retail"] } else { ["web"] },
        "description": "d".repeat(600),
    })
}

async fn fill(store: &Store, size: usize) {
    let account: AccountId = "ACME".parse().expect("account");
    let time = Timestamp::now();
    let ordering = Ordering {
        origin: Origin::new(time, "bench"),
        order_by: OrderBy::Source,
        snapshot: None,
        ids: GeneratedIds { seed: "bench".to_owned(), time, run: "bench".to_owned() },
    };
    let mut importer = Importer::new(store, &account, ordering, Mode::Write);
    let mut lines: Vec<Line> = Vec::with_capacity(400);
    for n in 0..size {
        lines.push((n as u64 + 1, Ok(offering(n).to_string().into_bytes())));
        if lines.len() == 400 || n + 1 == size {
            let rejected = importer.import_group(&lines, &[]).await.expect("import");
            assert!(rejected.is_empty(), "{rejected:?}");
            lines.clear();
        }
    }
}
