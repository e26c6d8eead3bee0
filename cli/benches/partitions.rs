//! Imports and upserts against a database that pushes back: partitions that serve 1,000 write units per second, and
//! answers after 4 ms, as DynamoDB gives them within a region. Prints how much of the busiest partition they use, and how
//! many of their requests are throttled. One account at a time, then two at once.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark tells, and ends when it cannot"
)]

use std::{
    io::{BufWriter, Write as _},
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use catalog_cli::{
    local::{
        Gateway, PartitionLimits, Partitions, Stack, StackOptions, Storage, Tally, ThrottlingProxy,
        functions,
    },
    template::Template,
};
use futures_util::future::join_all;
use serde_json::{Value, json};
use serverless_catalog::{
    access::{ApiKey, KeyPrefix, KeyRecord, Permission},
    cursor::Cursors,
    lambda::Settings,
    store::{Connection, Store, TableNames, lean_client},
};

const LATENCY: Duration = Duration::from_millis(4);
const ROWS: usize = 10_000;
const ACCOUNTS: [&str; 2] = ["ACME", "OTHER"];

#[tokio::main]
async fn main() {
    let folder = tempfile::tempdir().expect("folder");
    let files: Vec<PathBuf> =
        [("offerings", offering as fn(usize) -> Value), ("products", product)]
            .map(|(name, line)| write_lines(&folder.path().join(format!("{name}.ndjson")), line))
            .into();
    println!("{ROWS} rows an account; a partition serves 1,000 write units per second\n");
    println!(
        "{:<36} {:>9} {:>9} {:>15} {:>10}",
        "", "seconds", "rows/s", "of a partition", "throttled"
    );
    for accounts in [&ACCOUNTS[..1], &ACCOUNTS[..]] {
        for file in &files {
            let database = Database::start().await;
            let url = database.proxy.url();
            let runs = accounts.iter().map(|account| import(&url, account, file));
            let seconds: Vec<f64> = join_all(runs).await;
            let what = file.file_stem().expect("name").to_string_lossy();
            database.row(&format!("import of {what}, {} accounts", accounts.len()), &seconds).await;
        }
        let database = Database::start().await;
        let runs = accounts.iter().map(|account| database.upsert(account));
        let seconds: Vec<f64> = join_all(runs).await;
        database
            .row(&format!("upsert, 1,000 rows each, {} accounts", accounts.len()), &seconds)
            .await;
    }
}

/// A new engine behind partitions.
struct Database {
    stack: Stack,
    proxy: ThrottlingProxy,
    gateway: Gateway,
}

impl Database {
    async fn start() -> Self {
        let options = StackOptions::built_in("bench", Storage::Memory).expect("template");
        let stack = Stack::start(options).await.expect("stack");
        let template = Template::built_in().expect("template");
        let tables = template.tables("bench").expect("tables");
        let partitions = Partitions::new(&tables, PartitionLimits::default());
        let engine = stack.addresses().dynamodb_url;
        let proxy = ThrottlingProxy::start(&engine, partitions, LATENCY).await.expect("proxy");
        let client = lean_client(&Connection::local(&proxy.url())).expect("client");
        let store = Store::new(client, TableNames::with_prefix("bench"));
        let settings = Settings {
            store,
            cache_for: Duration::from_mins(1),
            show_cost: true,
            log_percent: 100,
        };
        let cursors = Cursors::new("the cursor secret of a benchmark, no other", None);
        let functions = functions(&settings, &Arc::new(cursors.expect("secret")), &stack.jobs);
        let routes = template.routes().expect("routes");
        let gateway = Gateway::start(0, routes, &functions).await.expect("gateway");
        Self { stack, proxy, gateway }
    }

    /// Upserts products over HTTP, 1,000 rows per request; returns how long it took.
    async fn upsert(&self, account: &str) -> f64 {
        let key = ApiKey::generate(&KeyPrefix::default()).expect("randomness");
        let record = KeyRecord::new(account.parse().expect("account"), [Permission::ProductsWrite]);
        self.stack.store.create_key(&key.hash(), &record).await.expect("a key");
        let url = format!("{}/api/v1/products", self.gateway.url());
        let token = format!("Bearer {}", key.reveal());
        let upsert = move || {
            let started = Instant::now();
            for first in (0..ROWS).step_by(1_000) {
                let rows: Vec<Value> = (first..first + 1_000).map(product).collect();
                let body = json!({ "products": rows }).to_string();
                let request = ureq::post(&url).header("Authorization", &token);
                let request = request.header("Content-Type", "application/json");
                let reply = request.send(body).expect("an answer");
                assert_eq!(reply.status(), 200, "all rows are written");
            }
            started.elapsed().as_secs_f64()
        };
        tokio::task::spawn_blocking(upsert).await.expect("upsert")
    }

    async fn row(self, name: &str, seconds: &[f64]) {
        let Tally { requests, throttled, .. } = self.proxy.tally();
        let longest = seconds.iter().copied().fold(0.0, f64::max);
        let used = self.proxy.tally().busiest() / (1_000.0 * (longest + 1.0));
        println!(
            "{name:<36} {longest:>9.1} {:>9.0} {:>13.0} % {:>8.1} %",
            ROWS as f64 / longest,
            used * 100.0,
            throttled as f64 / requests as f64 * 100.0
        );
        self.gateway.stop().await;
        self.stack.stop().await;
    }
}

/// Imports a file by the operator's own tool; returns how long it took.
async fn import(engine: &str, account: &str, file: &Path) -> f64 {
    let (engine, account) = (engine.to_owned(), account.to_owned());
    // A file is imported by one process at a time.
    let own =
        file.with_file_name(format!("{account}-{}", file.file_name().expect("name").display()));
    std::fs::copy(file, &own).expect("disk");
    let import = move || {
        let started = Instant::now();
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_catalog"))
            .args(["import", "--account", &account, "--table-prefix", "bench"])
            .args(["--endpoint-url", &engine])
            .arg(own)
            .stderr(Stdio::null())
            .output()
            .expect("catalog");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        started.elapsed().as_secs_f64()
    };
    tokio::task::spawn_blocking(import).await.expect("import")
}

fn write_lines(path: &Path, line: fn(usize) -> Value) -> PathBuf {
    let mut file = BufWriter::new(std::fs::File::create(path).expect("file"));
    for number in 0..ROWS {
        writeln!(file, "{}", line(number)).expect("disk");
    }
    file.flush().expect("disk");
    path.to_owned()
}

/// One country, one catalog: four entries.
fn offering(number: usize) -> Value {
    json!({
        "kind": "offering",
        "productOfferingId": format!("o{number:06}"),
        "name": format!("Offering {number}"),
        "customerType": "CONSUMER",
        "price": {"currency": "USD", "priceType": "ONE_TIME", "grossPrice": 9.99},
        "product": {
            "productId": format!("p{number}"),
            "type": "SUBSCRIPTION",
            "category": format!("C{}", number % 20),
            "features": {"countries": ["GH"]},
        },
        "productCatalogIds": ["web"],
    })
}

fn product(number: usize) -> Value {
    json!({
        "kind": "product", "sku": format!("S{number:06}"), "name": format!("Product {number}"),
        "price": 19.99, "category": format!("C{}", number % 20),
    })
}
