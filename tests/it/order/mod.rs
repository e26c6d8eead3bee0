//! One order for all writes: whatever the interleaving, the newest write of a record stays.

mod deletes;
mod snapshots;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use serverless_catalog::imports::job::Status;

use crate::{
    export::export,
    messages::{
        ENOUGH, Gate, Message, Queue, assert_adds_up, continuation_message, deliver, done, event,
        writes_offering_or_product,
    },
    networks::{bundle, bundle_record, network},
    queue::{BUCKET, Imports, created, next_second},
    support::{merge_into, offering},
    upsert::all,
};

fn lines(records: impl IntoIterator<Item = Value>) -> String {
    records.into_iter().map(|record| record.to_string() + "\n").collect()
}

fn product(sku: &str, change: &Value) -> Value {
    merge_into(&json!({"kind": "product", "sku": sku, "name": "n"}), change)
}

/// A record with the time of its source.
fn at(record: &Value, time: &str) -> Value {
    merge_into(record, &json!({ "updatedAt": time }))
}

fn delete(named: &Value) -> Value {
    merge_into(named, &json!({"op": "delete"}))
}

fn hour(record: &Value, hour: u32) -> Value {
    at(record, &format!("2026-01-01T{hour:02}:00:00Z"))
}

/// The id of the number.
fn id(number: usize) -> String {
    format!("018e2a4b-0000-7000-8000-{number:012}")
}

/// A version of a file: so many offerings and as many products, all at one price.
fn version(price: u32, count: usize) -> String {
    lines((0..count).flat_map(|n| {
        let offering = offering(&format!("o{n:04}"), json!({"price": {"grossPrice": price}}));
        [offering, product(&format!("s{n:04}"), &json!({ "price": price }))]
    }))
}

/// The prices of all offerings and products of ACME, by their names.
async fn prices(imports: &Imports) -> BTreeMap<String, Value> {
    let records = export(&imports.catalog, "ACME").await;
    let records = records.iter().map(|record| serde_json::from_str::<Value>(record).expect("JSON"));
    let priced = records.map(|record| match record["kind"].as_str() {
        Some("offering") => {
            (record["productOfferingId"].to_string(), record["price"]["grossPrice"].clone())
        }
        _ => (record["sku"].to_string(), record["price"].clone()),
    });
    priced.collect()
}

/// Messages that tell of two versions of an object: by S3, with sequencers, or by an event without.
fn told(key: &str, with_sequencer: bool) -> [Message; 2] {
    ["1", "2"].map(|number| {
        let body = if with_sequencer {
            created(key, &format!("0{number}"))
        } else {
            event(number, Timestamp::now(), &json!({"bucket": BUCKET, "key": key})).to_string()
        };
        Message::new(&format!("m{number}"), body)
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_is_overtaken_while_it_is_imported_stops_and_ends_superseded() {
    const OLDER: usize = 900;
    const YOUNGER: usize = 800;
    const KEY: &str = "imports/ACME/prices.ndjson";
    for with_sequencer in [true, false] {
        let imports = Imports::start().await;
        let (gate, url) = Gate::before(&imports, 700, writes_offering_or_product).await;
        let slow = Imports::function(&url, &imports.objects);
        let [first, second] = told(KEY, with_sequencer);

        imports.put(KEY, version(1, OLDER)).await;
        next_second().await;
        let older = async { deliver(&slow, &[first], ENOUGH).await };
        let newer = async {
            gate.reached().await;
            imports.put(KEY, version(2, YOUNGER)).await;
            done(&imports.import, &[second]).await;
            let statuses: Vec<Status> = imports.jobs().await.iter().map(|job| job.status).collect();
            assert_eq!(statuses, [Status::Running, Status::Done], "the older one is under way");
            gate.open();
        };
        let (back, ()) = tokio::join!(older, newer);
        assert!(back.is_empty(), "it has ended, and its message is acknowledged");

        let prices = prices(&imports).await;
        for n in 0..OLDER {
            for name in [format!("\"o{n:04}\""), format!("\"s{n:04}\"")] {
                match prices.get(&name) {
                    Some(price) if n < YOUNGER => assert_eq!(*price, 2, "{name}"),
                    // Only the older version names it: it may or may not be there.
                    Some(price) => assert_eq!(*price, 1, "{name}"),
                    None => assert!(n >= YOUNGER, "{name} is not there"),
                }
            }
        }
        let statuses: Vec<Status> = imports.jobs().await.iter().map(|job| job.status).collect();
        assert_eq!(statuses, [Status::Superseded, Status::Done]);
        let reports = imports.reports();
        let told: Vec<&str> =
            reports.iter().map(|report| report["status"].as_str().expect("status")).collect();
        assert_eq!(told, ["superseded", "done"]);
        assert!(reports[0]["error"].as_str().is_some_and(|why| why.contains("newer version")));
        assert!(reports[0]["lines"].as_u64().is_some_and(|lines| lines < 2 * OLDER as u64));
        assert_eq!(reports[1]["lines"], 2 * YOUNGER);
        reports.iter().for_each(assert_adds_up);
    }
}

/// In a bucket without versions the overtaken one finds the newer content under its key.
#[tokio::test]
async fn a_version_that_is_overtaken_while_it_waits_ends_superseded_with_a_report() {
    const KEY: &str = "imports/ACME/prices.ndjson";
    let imports = Imports::start().await;
    let (_gate, url) = Gate::before(&imports, 500, writes_offering_or_product).await;
    let queue = Arc::new(Queue::default());
    let slow = Imports::function(&url, &imports.objects).with_queue(queue.clone());
    let [first, second] = told(KEY, true);

    imports.put(KEY, version(1, 400)).await;
    next_second().await;
    let back = deliver(&slow, &[first], Duration::from_secs(3)).await;
    assert!(back.is_empty(), "a continuation takes its place");
    assert_eq!(imports.jobs().await[0].status, Status::Waiting);
    imports.put(KEY, version(2, 350)).await;
    done(&imports.import, &[second]).await;
    let continuation = queue.sent().remove(0);
    done(&imports.import, &[continuation_message("c1", continuation)]).await;

    let statuses: Vec<Status> = imports.jobs().await.iter().map(|job| job.status).collect();
    assert_eq!(statuses, [Status::Superseded, Status::Done]);
    let reports = imports.reports();
    assert_eq!(reports[0]["status"], "superseded", "{}", reports[0]);
    assert_eq!(
        (&reports[0]["lines"], &reports[0]["counts"]["created"]),
        (&json!(400), &json!(400))
    );
    reports.iter().for_each(assert_adds_up);
    let prices = prices(&imports).await;
    let of_the_younger = prices.values().filter(|price| **price == 2).count();
    assert_eq!(of_the_younger, 700);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_records_with_one_id_and_different_skus_make_two_products_with_an_id_each() {
    const PAIRS: usize = 60;
    for at_once in [false, true] {
        let imports = Imports::start().await;
        let key = imports.catalog.key("ACME").await;
        let of = |letter: &'static str| {
            (0..PAIRS).map(move |n| {
                product(&format!("{letter}{n}"), &json!({"id": id(n), "name": letter}))
            })
        };
        let files: Vec<String> = if at_once {
            vec![lines(of("a")), lines(of("b"))]
        } else {
            vec![lines(of("a").zip(of("b")).flat_map(|(a, b)| [a, b]))]
        };
        let mut messages = Vec::new();
        for (number, file) in files.into_iter().enumerate() {
            let name = format!("imports/ACME/{number}.ndjson");
            imports.put(&name, file).await;
            messages.push([Message::new(&format!("m{number}"), created(&name, "01"))]);
        }
        let imported = messages.iter().map(|message| done(&imports.import, message));
        futures_util::future::join_all(imported).await;

        let products = all(&imports.catalog, &key).await;
        let skus: BTreeSet<&str> =
            products.iter().filter_map(|product| product["sku"].as_str()).collect();
        let ids: BTreeSet<&str> =
            products.iter().filter_map(|product| product["id"].as_str()).collect();
        assert_eq!((products.len(), skus.len(), ids.len()), (2 * PAIRS, 2 * PAIRS, 2 * PAIRS));
        for n in 0..PAIRS {
            assert!(ids.contains(id(n).as_str()), "the id belongs to one of them");
            for sku in [format!("a{n}"), format!("b{n}")] {
                let by_sku =
                    imports.catalog.read(&key, &format!("/api/v1/products?sku={sku}")).await;
                let listed = products.iter().find(|product| product["sku"] == sku.as_str());
                assert_eq!(by_sku.json()["products"][0], *listed.expect("listed"));
            }
        }
    }
}

#[tokio::test]
async fn a_thousand_rows_whose_external_ids_are_taken_cost_a_write_and_two_reads_each() {
    let imports = Imports::start().await;
    let catalog = &imports.catalog;
    let key = catalog.key("ACME").await;
    let rows = |letter: &str| -> Vec<Value> {
        let row =
            |n| json!({"sku": format!("{letter}{n}"), "externalId": format!("e{n}"), "name": "n"});
        (0..1_000).map(row).collect()
    };
    assert_eq!(catalog.upsert(&key, &rows("a")).await.status, 200);
    let others: Vec<Value> =
        (0..1_000).map(|n| json!({"sku": format!("c{n}"), "name": "n"})).collect();
    assert_eq!(catalog.upsert(&key, &others).await.status, 200);
    // Of products that are not there yet, and of products that are.
    for letter in ["b", "c"] {
        let answer = catalog.upsert(&key, &rows(letter)).await;
        let body = answer.json();
        assert_eq!((answer.status, &body["errors"]), (207, &json!(1_000)));
        let taken = "externalId: Already used by another product";
        let results = body["results"].as_array().expect("results");
        assert!(results.iter().all(|result| result["error"] == taken), "{}", results[0]);
        assert!(answer.writes() <= 1_000, "{} writes", answer.writes());
        assert!(answer.queries() <= 2_000, "{} reads", answer.queries());
    }
}

#[tokio::test]
async fn a_late_row_sets_just_the_fields_that_no_younger_write_has_set() {
    let imports = Imports::start().await;
    let key = imports.catalog.key("ACME").await;
    let row = |change: Value| merge_into(&json!({"kind": "product", "sku": "s"}), &change);
    let records = [
        hour(&row(json!({"name": "first", "price": 1, "cost": 1, "category": "first"})), 1),
        hour(&row(json!({"name": "fifth", "price": 5})), 5),
        // Late: the price is newer, the rest is not.
        hour(&row(json!({"price": 3, "cost": 3, "stockQty": 3})), 3),
        hour(&row(json!({"price": 4, "cost": null, "externalId": "e"})), 4),
        hour(&row(json!({"cost": 2, "stockQty": 2, "category": null, "unit": "box"})), 2),
        // Nothing of it is left to set.
        hour(&row(json!({"name": "late", "price": 2})), 2),
    ];
    for (number, record) in records.iter().enumerate() {
        let message = Message::of_records(&number.to_string(), std::slice::from_ref(record));
        done(&imports.import, &[message]).await;
    }
    let shown = async || all(&imports.catalog, &key).await.remove(0);
    let expected = json!({"name": "fifth", "price": 5, "cost": null, "stockQty": 3, "externalId": "e",
        "category": null, "unit": "box", "updatedAt": "2026-01-01T05:00:00.000Z"});
    let product = shown().await;
    assert_eq!(merge_into(&product, &expected), product);
    let jobs = imports.jobs().await;
    let last = jobs.iter().find(|job| job.source == "message 5.0").expect("job");
    assert_eq!(last.progress.counts.stale, 1);

    // Whatever the order in which they come, all of them end as one.
    for turn in 0..24_usize {
        let imports = Imports::start().await;
        let key = imports.catalog.key("ACME").await;
        let mut order: Vec<&Value> = records[1..5].iter().collect();
        let mut permuted = Vec::new();
        for (left, place) in [(4, turn % 4), (3, turn / 4 % 3), (2, turn / 12 % 2), (1, 0)] {
            assert_eq!(order.len(), left);
            permuted.push(order.remove(place).clone());
        }
        // A row that finds nothing needs a name: the first row comes first.
        permuted.insert(0, records[0].clone());
        for (number, record) in permuted.iter().enumerate() {
            let message = Message::of_records(&number.to_string(), std::slice::from_ref(record));
            done(&imports.import, &[message]).await;
        }
        let product = all(&imports.catalog, &key).await.remove(0);
        assert_eq!(merge_into(&product, &expected), product, "{permuted:?}");
    }
}

#[tokio::test]
async fn a_delete_removes_the_fields_older_than_it_and_a_late_one_leaves_the_younger() {
    let imports = Imports::start().await;
    let key = imports.catalog.key("ACME").await;
    let row = |change: Value| merge_into(&json!({"kind": "product", "sku": "s"}), &change);
    let records = [
        hour(&row(json!({"name": "first", "price": 1, "cost": 1, "category": "c"})), 1),
        hour(&row(json!({"name": "fifth", "price": 5})), 5),
        hour(&delete(&row(json!({}))), 3),
        // Older than the delete.
        hour(&row(json!({"cost": 2, "unit": "box"})), 2),
        hour(&row(json!({"unit": "bag"})), 4),
    ];
    for (number, record) in records.iter().enumerate() {
        let message = Message::of_records(&number.to_string(), std::slice::from_ref(record));
        done(&imports.import, &[message]).await;
    }
    let product = all(&imports.catalog, &key).await.remove(0);
    let expected =
        json!({"name": "fifth", "price": 5, "cost": null, "category": null, "unit": "bag"});
    assert_eq!(merge_into(&product, &expected), product);
}

#[tokio::test]
async fn order_source_in_the_metadata_of_an_object_overrides_younger_data() {
    let imports = Imports::start().await;
    let yesterday = (Timestamp::now() - SignedDuration::from_hours(24)).to_string();
    let change = |name: &str| {
        vec![
            offering("o", json!({ "name": name })),
            product("s", &json!({ "name": name })),
            network(
                1,
                &json!({"name": name, "fixed_bundles": [merge_into(&bundle(1), &json!({"name": name}))]}),
            ),
            merge_into(&bundle_record(2, 1), &json!({ "name": name })),
            json!({"kind": "exchangeRate", "source_currency": "USD", "destination_currency": "GHS", "rate": name.len()}),
            json!({"kind": "partnerOffering", "offering": {"name": "Pro", "type": "package"}, "entitlements": {"ip_count": name.len()}}),
            json!({"kind": "promotion", "code": "TRIP", "percentOff": name.len()}),
        ]
    };
    let by_hand: Vec<Value> =
        change("corrected by hand").iter().map(|record| at(record, &yesterday)).collect();
    done(&imports.import, &[Message::of_records("by hand", &by_hand)]).await;
    let published =
        lines(change("published").iter().map(|record| at(record, "2025-06-01T00:00:00Z")));
    // By their own times all of them are older.
    imports.put("imports/ACME/own.ndjson", published.clone()).await;
    let order = [("order", "source")];
    imports.put_with_metadata("imports/ACME/source.ndjson", published, &order).await;
    for (name, outcome) in [("own", "stale"), ("source", "updated")] {
        let key = format!("imports/ACME/{name}.ndjson");
        done(&imports.import, &[Message::new(name, created(&key, "01"))]).await;
        let report = imports.report("ACME", name);
        assert_eq!(report["counts"][outcome], 7, "{report}");
    }
    let exported = export(&imports.catalog, "ACME").await;
    assert!(exported.iter().all(|record| !record.contains("by hand")), "{exported:?}");
    // A word that is no order is returned, as one that is no kind is.
    imports
        .put_with_metadata("imports/ACME/wrong.ndjson", String::new(), &[("order", "mine")])
        .await;
    let wrong = Message::new("wrong", created("imports/ACME/wrong.ndjson", "01"));
    assert_eq!(deliver(&imports.import, &[wrong], ENOUGH).await, ["wrong"]);
}

#[tokio::test]
async fn a_row_over_http_counts_although_a_record_dated_up_to_ten_minutes_ahead_is_stored() {
    let imports = Imports::start().await;
    let key = imports.catalog.key("ACME").await;
    let message = |id: &str, ahead: i64| {
        let mut message = Message::new(id, "");
        let time = message.sent + SignedDuration::from_secs(ahead);
        message.body =
            at(&product("s", &json!({"price": 1, "cost": 1})), &time.to_string()).to_string();
        message
    };
    let ahead = message("ahead", 599);
    done(&imports.import, std::slice::from_ref(&ahead)).await;
    for price in 2..5 {
        let answer = imports.catalog.upsert(&key, &[json!({"sku": "s", "price": price})]).await;
        assert_eq!((answer.status, answer.writes()), (200, 2), "a second request where needed");
        assert_eq!(imports.price(&key, "s").await, price, "what was acknowledged is there");
    }
    // The same record by another message is late by now, but for what the rows did not set.
    let again = Message { id: "again".to_owned(), ..ahead };
    done(&imports.import, &[again]).await;
    assert_eq!(imports.price(&key, "s").await, 4);
    // A delete ahead is no obstacle, either.
    let deleted = Timestamp::now() + SignedDuration::from_secs(595);
    let delete = at(&json!({"kind": "product", "op": "delete", "sku": "t"}), &deleted.to_string());
    done(&imports.import, &[Message::of_records("delete", &[delete])]).await;
    let row = json!({"sku": "t", "name": "n", "price": 1});
    assert_eq!(imports.catalog.upsert(&key, &[row]).await.json()["created"], 1);
    assert_eq!(imports.price(&key, "t").await, 1);

    // More than ten minutes ahead is refused, whatever brings it.
    done(&imports.import, &[message("far", 602)]).await;
    let jobs = imports.jobs().await;
    let far = jobs.iter().find(|job| job.source == "message far.0").expect("a job");
    assert_eq!(far.progress.counts.failed, 1);
    let reports = imports.reports();
    let report = reports.iter().find(|report| report["source"] == "message far.0").expect("report");
    let errors = imports.errors(report).await;
    assert_eq!(errors[0]["field"], "updatedAt");
    assert_eq!(errors[0]["message"], "is in the future");
    assert_eq!(imports.price(&key, "s").await, 4);
}
