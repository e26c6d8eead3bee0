//! What typical requests read, at several sizes of the catalog: writes the table of `docs/read-costs.md`.
//!
//! `cargo bench -p catalog-cli --bench reads` takes catalogs of 1,000, 20,000 and 1,000,000 offerings (some ten
//! minutes); `-- 1000 20000` takes others.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark tells, and ends when it cannot"
)]

use std::{fmt::Write as _, fs, time::Instant};

use catalog_cli::local::{Stack, StackOptions, Storage};
use jiff::Timestamp;
use serde_json::{Value, json};
use serverless_catalog::{
    access::{ApiKey, KeyPrefix, KeyRecord, Permission},
    account::AccountId,
    imports::{Floors, GeneratedIds, Importer, Mode, OrderBy, Ordering},
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
    let mut columns: Vec<Vec<String>> = Vec::new();
    for size in &sizes {
        columns.push(measure(*size).await);
    }
    let mut table = "| Request |".to_owned();
    for size in &sizes {
        let _ = write!(table, " {size} offerings |");
    }
    let _ = write!(table, "\n|---|{}\n", "---|".repeat(sizes.len()));
    let names = REQUESTS.iter().map(|query| format!("`{query}`")).chain([DEEP.to_owned()]);
    for (row, name) in names.enumerate() {
        let _ = write!(table, "| {name} |");
        for column in &columns {
            let _ = write!(table, " {} |", column[row]);
        }
        table.push('\n');
    }
    println!("{table}");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/read-costs.md");
    let page = fs::read_to_string(path).expect("the page");
    let (head, _) = page.split_once("| Request |").expect("a table");
    fs::write(path, format!("{head}{table}")).expect("the page");
}

const DEEP: &str = "`limit=100`, the last page of the first 900 offerings";

/// The read units and the requests to the database of each request.
async fn measure(size: usize) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a folder");
    let storage = Storage::File(folder.path().join("catalog.db"));
    let options = StackOptions::built_in("bench", storage).expect("the template");
    let stack = Stack::start(options).await.expect("a catalog");
    let started = Instant::now();
    fill(stack.store(), size).await;
    println!("{size} offerings imported in {:.0} s", started.elapsed().as_secs_f64());
    let account: AccountId = "ACME".parse().expect("account");
    let key = ApiKey::generate(&KeyPrefix::default()).expect("randomness");
    let record = KeyRecord::new(account, [Permission::OfferingsRead]);
    stack.store().create_key(&key.hash(), &record).await.expect("a key");
    let url = stack.endpoints().url;
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
        let shown = |((units, queries), body): ((String, String), Value)| {
            let items = body["items"].as_array().map_or(0, Vec::len);
            format!("{units} units, {queries} requests, {items} offerings")
        };
        let mut cells: Vec<String> = REQUESTS.iter().map(|query| shown(get(query))).collect();
        let mut cursor = String::new();
        for _ in 0..4 {
            let (_, body) = get(&format!("customerType=CONSUMER&limit=100{cursor}"));
            cursor =
                format!("&cursor={}", body["pagination"]["nextCursor"].as_str().expect("more"));
        }
        cells.push(shown(get(&format!("customerType=CONSUMER&limit=100{cursor}"))));
        cells
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
        ids: GeneratedIds { seed: "bench".to_owned(), time },
    };
    let mut importer = Importer::new(store, &account, ordering, Mode::Write);
    let mut lines: Vec<Line> = Vec::with_capacity(400);
    for n in 0..size {
        lines.push((n as u64 + 1, Ok(offering(n).to_string().into_bytes())));
        if lines.len() == 400 || n + 1 == size {
            let rejected = importer.import_group(&lines, &Floors::default()).await.expect("import");
            assert!(rejected.is_empty(), "{rejected:?}");
            lines.clear();
        }
    }
}
