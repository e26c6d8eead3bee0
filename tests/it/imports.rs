//! Imports of products: a difference import that merges, by any key, whoever else writes.

use std::{
    io::{Cursor, Read},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use serde_json::{Value, json};
use serverless_catalog::{
    account::AccountId,
    imports::{
        Mode, OrderBy,
        job::{Claim, ImportId, JobStore as _, Lease, Source},
        report::Reporter,
        run::{End, Request, run},
    },
    source::{Format, GroupStream},
};

use crate::{
    support::{Catalog, merge_into},
    upsert::all,
};

fn product(change: &Value) -> Value {
    merge_into(&json!({"kind": "product"}), change)
}

fn at(record: &Value, minute: u32) -> Value {
    merge_into(record, &json!({"updatedAt": format!("2026-01-01T00:{minute:02}:00.123456Z")}))
}

#[tokio::test]
async fn an_unchanged_product_is_not_written_and_a_changed_one_is_changed_back() {
    let catalog = Catalog::start().await;
    let records: Vec<Value> = (0..100)
        .map(|n| {
            product(&json!({"sku": format!("s{n}"), "name": "n", "price": n, "category": null}))
        })
        .collect();
    assert_eq!(catalog.import("ACME", &records).await.created, 100);
    let key = catalog.key("ACME").await;
    catalog.upsert(&key, &[json!({"sku": "s7", "price": 1_000})]).await;
    let counts = catalog.import("ACME", &records).await;
    assert_eq!((counts.unchanged, counts.updated), (99, 1), "what the API changed is changed back");
    let answer = catalog.read(&key, "/api/v1/products?sku=s7").await;
    assert_eq!(answer.json()["products"][0]["price"], 7);
}

#[tokio::test]
async fn an_older_record_never_overwrites_a_newer_one_of_a_product() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    // In one group, and each on its own.
    for group in [1, 8] {
        let (sku, external_id) = (format!("s{group}"), format!("e{group}"));
        let named =
            |name: &str| product(&json!({"sku": sku, "externalId": external_id, "name": name}));
        let by_id = |name: &str| product(&json!({"externalId": external_id, "name": name}));
        let delete = product(&json!({"op": "delete", "externalId": external_id}));
        let records = [
            at(&named("new"), 5),
            at(&named("old"), 4),
            at(&by_id("older"), 3),
            at(&delete, 2),
            at(&by_id("newest"), 6),
            at(&named("old"), 5),
            named("undated"),
            at(&named("late"), 5),
        ];
        for records in records.chunks(group) {
            catalog.import("ACME", records).await;
        }
        let products = all(&catalog, &key).await;
        assert_eq!(products.len(), 1);
        assert_eq!(products[0]["name"], "undated");
        let counts = catalog.import("ACME", &[at(&named("late"), 5)]).await;
        assert_eq!(counts.stale, 1);
        let counts = catalog.import("ACME", &[at(&delete, 7)]).await;
        assert_eq!(counts.unchanged, 1, "the undated record is newer");
        let counts = catalog.import("ACME", std::slice::from_ref(&delete)).await;
        assert_eq!(counts.deleted, 1);
        assert!(all(&catalog, &key).await.is_empty());
        let counts = catalog.import("ACME", &[at(&named("late"), 8)]).await;
        assert_eq!(counts.stale, 1, "a delete is remembered");
    }
    // An equal record takes no place in the order.
    let named = |name: &str| product(&json!({"sku": "t", "name": name}));
    let counts =
        catalog.import("ACME", &[at(&named("a"), 1), at(&named("a"), 3), at(&named("b"), 2)]).await;
    assert_eq!((counts.created, counts.unchanged, counts.updated), (1, 1, 1));
    let counts = catalog.import("ACME", &[at(&named("a"), 1)]).await;
    assert_eq!(counts.stale, 1);
}

#[tokio::test]
async fn records_of_one_product_by_other_keys_apply_in_order() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    let full = product(&json!({"sku": "s", "externalId": "e", "name": "n", "price": 1}));
    catalog.import("ACME", std::slice::from_ref(&full)).await;
    let by_id = product(&json!({"externalId": "e", "price": 2}));
    catalog.import("ACME", &[by_id, product(&json!({"sku": "s", "price": 1}))]).await;
    assert_eq!(all(&catalog, &key).await[0]["price"], 1);
    let delete = product(&json!({"op": "delete", "externalId": "e"}));
    catalog.import("ACME", &[delete, full.clone()]).await;
    let products = all(&catalog, &key).await;
    assert_eq!((products.len(), &products[0]["sku"]), (1, &json!("s")));
    // The link went with its product.
    catalog.import("ACME", &[product(&json!({"op": "delete", "sku": "s"}))]).await;
    let counts = catalog
        .import("ACME", &[product(&json!({"sku": "t", "externalId": "e", "name": "n"}))])
        .await;
    assert_eq!(counts.created, 1);
}

#[tokio::test]
async fn an_identity_finds_its_product_and_is_never_given_twice() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    let id = "018e2a4b-0000-7000-8000-aabbccddeeff";
    let first = product(&json!({"id": id, "sku": "s", "name": "n"}));
    catalog.import("ACME", &[first]).await;
    assert_eq!(all(&catalog, &key).await[0]["id"], id);
    // By id alone, wherever it is stored; in order.
    let by_id = [product(&json!({"id": id, "price": 1, "name": "m"}))];
    assert_eq!(catalog.import("ACME", &by_id).await.updated, 1);
    assert_eq!(catalog.import("ACME", &by_id).await.unchanged, 1);
    let products = all(&catalog, &key).await;
    assert_eq!(
        (products.len(), &products[0]["price"], &products[0]["sku"]),
        (1, &json!(1), &json!("s"))
    );
    // The id of a product that a client has created is found, too.
    let posted = catalog.upsert(&key, &[json!({"sku": "u", "name": "n"})]).await.json();
    let by_id = [product(&json!({"id": posted["results"][0]["id"], "price": 1, "name": "m"}))];
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(catalog.import("ACME", &by_id).await.updated, 1);
    assert_eq!(catalog.import("ACME", &by_id).await.unchanged, 1);
    catalog.import("ACME", &[product(&json!({"op": "delete", "sku": "u"}))]).await;
    // Another product with that id gets one of its own.
    catalog.import("ACME", &[product(&json!({"id": id, "sku": "t", "name": "n"}))]).await;
    let products = all(&catalog, &key).await;
    assert_eq!(products.len(), 2);
    assert_ne!(products[0]["id"], products[1]["id"]);
    let rows: Vec<Value> = (0..30)
        .map(|n| {
            product(&json!({"id": "018e2a4b-0000-7000-8000-000000000001", "name": "n", "price": n}))
        })
        .collect();
    catalog.import("ACME", &rows).await;
    let products = all(&catalog, &key).await;
    let alone = products.iter().find(|product| product["sku"].is_null()).expect("alone");
    assert_eq!((products.len(), &alone["price"]), (3, &json!(29)));
    assert_eq!(alone["id"], "018e2a4b-0000-7000-8000-000000000001");
    let counts = catalog.import("ACME", &[product(&json!({"op": "delete", "id": id}))]).await;
    assert_eq!((counts.deleted, all(&catalog, &key).await.len()), (1, 2));
}

#[tokio::test]
async fn a_dry_run_counts_what_the_import_does_and_writes_nothing() {
    let catalog = Catalog::start().await;
    let bundle = json!({"id": 1, "name": "b", "type": "DATA", "price_usd": 1});
    let network = |bundles: Value| {
        json!({"kind": "network", "id": 1, "name": "n", "country": "Ghana", "country_code": "GH",
               "currency": "GHS", "fixed_bundles": bundles})
    };
    let mut records = vec![
        product(&json!({"sku": "a", "externalId": "x", "name": "n"})),
        product(&json!({"externalId": "x", "price": 2})),
        product(&json!({"sku": "b"})),
        network(json!([bundle])),
    ];
    // Groups apart from what they repeat.
    records.extend((0..400).map(|n| product(&json!({"sku": format!("s{n}"), "name": "n"}))));
    records.extend([
        product(&json!({"sku": "a", "price": 2})),
        product(&json!({"sku": "a", "price": 3})),
        product(&json!({"op": "delete", "externalId": "x"})),
        product(&json!({"op": "delete", "sku": "a"})),
        network(json!([bundle])),
        network(json!([])),
        json!({"kind": "network", "op": "delete", "id": 1}),
        json!({"kind": "network", "op": "delete", "id": 1}),
    ]);
    let lines: Vec<String> = records.iter().map(Value::to_string).collect();
    let (tried, refused) = catalog.import_lines("ACME", &lines, true).await;
    let key = catalog.key("ACME").await;
    assert!(all(&catalog, &key).await.is_empty());
    let (done, refused_then) = catalog.import_lines("ACME", &lines, false).await;
    assert_eq!(refused, refused_then);
    // A row that repeats what this import wrote is written again, and counted so.
    let moved = |counts: &serverless_catalog::imports::Counts| counts.updated + counts.unchanged;
    assert_eq!(
        (tried.created, tried.deleted, tried.failed),
        (done.created, done.deleted, done.failed)
    );
    assert_eq!(moved(&tried), moved(&done));
}

/// A source of which a tenth of a second brings at most 4 KB.
struct Slow(Cursor<Vec<u8>>);

impl Read for Slow {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        std::thread::sleep(Duration::from_millis(100));
        self.0.by_ref().take(4_096).read(buffer)
    }
}

struct Silent;

impl Reporter for Silent {}

#[tokio::test]
async fn a_worker_that_only_reads_up_to_where_its_job_was_keeps_its_lease() {
    const LINES: u64 = 3_200;
    let catalog = Catalog::start().await;
    let store = &catalog.stack.store;
    let lease = |holder: &str| Lease {
        account: AccountId::parse("ACME").expect("account"),
        import: ImportId::of(&["slow"]),
        holder: holder.to_owned(),
        term: Duration::from_millis(1_600),
    };
    let source =
        Source { name: "slow".to_owned(), version: None, content: None, time: Timestamp::now() };
    let claim = async |holder| store.claim(&lease(holder), &source).await.expect("an answer");
    let Claim::Held(mut job) = claim("one").await else { panic!("nobody else has it") };
    job.progress.line = LINES;
    assert!(store.checkpoint(&lease("one"), &job).await.expect("an answer"));
    let request = Request {
        lease: lease("one"),
        source: source.clone(),
        order_by: OrderBy::Record,
        ids: None,
        mode: Mode::Write,
        is_stored: true,
        deadline: None,
    };
    let line = |n| product(&json!({"sku": format!("s{n:04}"), "name": "n"})).to_string() + "\n";
    let slow = Slow(Cursor::new((0..LINES).map(line).collect::<String>().into_bytes()));
    let open = || GroupStream::read_ahead(slow, Some(Format::Ndjson), Arc::default());
    let another = async {
        tokio::time::sleep(Duration::from_millis(2_400)).await;
        claim("another").await
    };
    let (end, claim) = tokio::join!(Box::pin(run(store, &request, open, None, &Silent)), another);
    assert!(matches!(claim, Claim::Busy(_)), "{claim:?}");
    assert!(matches!(end, Ok(End::Ended(..))), "{end:?}");
}
