//! A database that pushes back: imports and upserts against partitions that serve no more than DynamoDB's, by a
//! clock that stands still while anything runs. So these are no measurements of this machine: they repeat exactly.

use std::{sync::Arc, time::Duration};

use catalog_cli::{
    local::{PartitionLimits, Partitions},
    template::Template,
};
use serde_json::{Value, json};
use serverless_catalog::{
    account::AccountId,
    clock,
    idempotency::RequestIdentity,
    imports::{
        Mode, OrderBy,
        job::{ImportId, LEASE_TERM, Lease, Source},
        report::Reporter,
        run::{End, Request, run as run_import},
    },
    products::{ProductRow, arrived, upsert},
    source::{Format, GroupStream},
    store::{Store, TableNames},
};
use tokio::time::Instant;

use super::{
    Clock,
    database::{self, Engine},
    faults::Fate,
    orders::tables,
    run,
};
use crate::support::offering;

/// DynamoDB answers in about 4 ms within a region.
const LATENCY: Duration = Duration::from_millis(4);

/// A catalog whose database pushes back.
struct Scene {
    clock: Clock,
    engine: Arc<Engine>,
    store: Store,
}

impl Scene {
    fn start() -> Self {
        let clock = Clock::start();
        let template = Template::built_in().expect("template").tables("test").expect("tables");
        let partitions = Partitions::new(&template, PartitionLimits::default());
        let engine = Engine::with_partitions(clock, tables(), Some(partitions));
        let late = |_: &str, _: &[u8]| Fate { after: LATENCY, ..Fate::default() };
        let client = database::client(&engine, late);
        let store = Store::new(client, TableNames::with_prefix("test"))
            .with_clock(clock::Clock::simulated(clock.timestamp()));
        Self { clock, engine, store }
    }

    /// Imports these records for an account; returns how long it took.
    async fn import(&self, account: &str, records: &[Value]) -> Duration {
        let started = Instant::now();
        let account: AccountId = account.parse().expect("account");
        let request = Request {
            lease: Lease {
                import: ImportId::of(&[account.as_str()]),
                account,
                holder: "test".to_owned(),
                term: LEASE_TERM,
            },
            source: Source {
                name: "test".to_owned(),
                version: None,
                content: None,
                time: self.clock.timestamp(),
            },
            order_by: OrderBy::Record,
            ids: None,
            mode: Mode::Write,
            is_stored: true,
            deadline: Some(Instant::now() + Duration::from_mins(10)),
        };
        let lines: Vec<String> = records.iter().map(Value::to_string).collect();
        let bytes = lines.join("\n").into_bytes();
        let open = || GroupStream::of_bytes(bytes, Some(Format::Ndjson));
        let end = run_import(&self.store, &request, open, None, &Silent).await.expect("a claim");
        let End::Ended(job, _) = end else { panic!("the import did not end: {end:?}") };
        assert_eq!(job.progress.counts.created, records.len() as u64);
        started.elapsed()
    }

    /// Upserts these rows for an account, a thousand per request; returns how long it took.
    async fn upsert(&self, account: &str, rows: &[ProductRow]) -> Duration {
        let started = Instant::now();
        let account: AccountId = account.parse().expect("account");
        let store = self.store.for_account(&account, &serverless_catalog::cost::Meter::default());
        for (number, rows) in rows.chunks(1_000).enumerate() {
            let name = format!("request {number}");
            let arrived_at = self.clock.timestamp();
            let request = RequestIdentity { arrived_at, name, is_repeated: false };
            let until = Instant::now() + Duration::from_secs(28);
            let results = upsert(&store, &account, &arrived(rows, &request), until).await;
            assert!(results.iter().all(Result::is_ok), "a row was rejected");
        }
        started.elapsed()
    }

    /// At least 90 % of what the busiest partition could have served, a second's worth at the beginning included, and at
    /// most 5 % of the requests throttled.
    #[expect(clippy::cast_precision_loss, reason = "some ten thousand requests")]
    fn uses_a_partition_and_is_hardly_ever_throttled(&self, elapsed: Duration) {
        let tally = self.engine.tally();
        let used = tally.busiest() / (1_000.0 * (elapsed.as_secs_f64() + 1.0));
        let throttled = tally.throttled as f64 / tally.requests as f64;
        assert!(used >= 0.9, "{used} of the busiest partition");
        assert!(throttled <= 0.05, "{throttled} of the requests");
    }
}

struct Silent;

impl Reporter for Silent {}

fn offerings(count: usize) -> Vec<Value> {
    let countries =
        json!({"product": {"features": {"countries": ["GH"]}}, "productCatalogIds": ["web"]});
    (0..count).map(|number| offering(&format!("o{number:05}"), countries.clone())).collect()
}

fn rows(count: usize) -> Vec<ProductRow> {
    let row = |number: usize| json!({"sku": format!("s{number:05}"), "name": "n", "price": number});
    (0..count)
        .map(|number| serde_json::value::to_raw_value(&row(number)).expect("JSON"))
        .map(|row| ProductRow::parse(&row).expect("a row"))
        .collect()
}

#[test]
fn an_import_uses_what_a_partition_serves_and_is_hardly_ever_throttled() {
    run(async {
        let scene = Scene::start();
        let elapsed = scene.import("ACME", &offerings(4_000)).await;
        scene.uses_a_partition_and_is_hardly_ever_throttled(elapsed);
    });
}

#[test]
fn an_import_of_products_does_the_same() {
    run(async {
        let scene = Scene::start();
        let product = |number: usize| json!({"kind": "product", "sku": format!("s{number:05}"), "name": "n", "category": "c"});
        let records: Vec<Value> = (0..12_000).map(product).collect();
        let elapsed = scene.import("ACME", &records).await;
        scene.uses_a_partition_and_is_hardly_ever_throttled(elapsed);
    });
}

#[test]
fn an_upsert_uses_what_a_partition_serves_and_is_hardly_ever_throttled() {
    run(async {
        let scene = Scene::start();
        let elapsed = scene.upsert("ACME", &rows(12_000)).await;
        scene.uses_a_partition_and_is_hardly_ever_throttled(elapsed);
    });
}

#[test]
fn an_account_that_is_throttled_slows_down_no_other() {
    run(async {
        let alone = Scene::start().upsert("QUIET", &rows(300)).await;
        let scene = Scene::start();
        let noisy = async {
            scene.upsert("NOISY", &rows(6_000)).await;
        };
        let quiet = async {
            // The noisy account has met its limit by now.
            tokio::time::sleep(Duration::from_secs(2)).await;
            scene.upsert("QUIET", &rows(300)).await
        };
        let ((), beside) = tokio::join!(noisy, quiet);
        assert!(scene.engine.tally().throttled > 0);
        assert!(beside <= alone.mul_f64(1.05), "{beside:?} beside, {alone:?} alone");
    });
}
