//! One order for all writes: whatever the interleaving, the newest write of a record stays.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use serverless_catalog::imports::{Counts, job::Status};

use crate::{
    export::export,
    messages::{
        ENOUGH, Gate, Message, Queue, assert_adds_up, deliver, done, event, received, writes_record,
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
        let (gate, url) = Gate::before(&imports, 700, writes_record).await;
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
    let (_gate, url) = Gate::before(&imports, 500, writes_record).await;
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
    done(&imports.import, &[received("c1", continuation)]).await;

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
async fn what_is_posted_while_a_snapshot_of_products_runs_stays() {
    const STORED: usize = 300;
    const NAMED: usize = 200;
    let imports = Imports::start().await;
    let key = imports.catalog.key("ACME").await;
    let sku = |n: usize| format!("s{n:03}");
    let stored: Vec<Value> = (0..STORED).map(|n| product(&sku(n), &json!({"price": 1}))).collect();
    imports.catalog.import("ACME", &stored).await;
    next_second().await;
    let whole = lines(stored[..NAMED].iter().cloned());
    imports.put_noted("imports/ACME/whole.ndjson", whole, &[("replace", "product")]).await;

    // It stands still with its first removal.
    let (gate, url) = Gate::before(&imports, 0, |operation, request| {
        operation == "TransactWriteItems" && request.contains("\"test-products\"")
    })
    .await;
    let slow = Imports::function(&url, &imports.objects);
    let snapshot = async {
        done(&slow, &[Message::new("m", created("imports/ACME/whole.ndjson", "01"))]).await;
    };
    let mut acknowledged: BTreeMap<String, Value> = BTreeMap::new();
    let posts = async {
        // Before the first removal, beside it and after it: a product that is to go, and a new one.
        for n in 0..50 {
            if n == 20 {
                gate.reached().await;
            }
            if n == 35 {
                gate.open();
            }
            let rows = [
                json!({"sku": sku(NAMED + 2 * n), "price": 1_000 + n}),
                json!({"sku": format!("new{n}"), "name": "n", "price": n}),
            ];
            let answer = imports.catalog.upsert(&key, &rows).await;
            for (row, result) in rows.iter().zip(answer.json()["results"].as_array().expect("rows"))
            {
                // A row without a name finds nothing once the product is gone.
                if result["status"] == "error" {
                    assert_eq!(result["error"], "name: Required", "{row}");
                    assert!(n >= 35, "{row}");
                    continue;
                }
                acknowledged.insert(row["sku"].as_str().expect("sku").into(), row["price"].clone());
            }
        }
    };
    tokio::join!(snapshot, posts);

    let products = all(&imports.catalog, &key).await;
    let prices: BTreeMap<&str, &Value> = products
        .iter()
        .map(|product| (product["sku"].as_str().expect("sku"), &product["price"]))
        .collect();
    for (sku, price) in &acknowledged {
        assert_eq!(prices.get(sku.as_str()), Some(&price), "{sku} was acknowledged");
    }
    for n in 0..STORED {
        let is_there = prices.contains_key(sku(n).as_str());
        let stays = n < NAMED || acknowledged.contains_key(&sku(n));
        assert_eq!(is_there, stays, "{}", sku(n));
    }
    let report = &imports.reports()[0];
    let posted = acknowledged.keys().filter(|sku| sku.starts_with('s')).count();
    assert!(posted >= 35);
    assert_eq!(report["counts"]["deleted"], STORED - NAMED - posted, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_removes_no_more_than_it_counted_for_the_share() {
    let imports = Imports::start().await;
    let key = imports.catalog.key("ACME").await;
    let stored: Vec<Value> = (0..30).map(|n| product(&format!("s{n:02}"), &json!({}))).collect();
    imports.catalog.import("ACME", &stored).await;
    next_second().await;
    let whole = lines(stored[..20].iter().cloned());
    imports.put_noted("imports/ACME/whole.ndjson", whole, &[("replace", "product")]).await;

    // It has counted, and is to read once more what it removes.
    let (gate, url) = Gate::before(&imports, 1, |operation, request| {
        let whole_range = "\"KeyConditionExpression\":\"account = :account\"";
        operation == "Query"
            && request.contains("\"test-products\"")
            && request.contains(whole_range)
    })
    .await;
    let slow = Imports::function(&url, &imports.objects);
    let snapshot = async {
        done(&slow, &[Message::new("m", created("imports/ACME/whole.ndjson", "01"))]).await;
    };
    let writer_without_order = async {
        gate.reached().await;
        let client = imports.catalog.stack.client();
        let text = |text: String| AttributeValue::S(text);
        let stored = client
            .get_item()
            .table_name("test-products")
            .key("account", text("ACME".into()))
            .key("productKey", text("SKU#s00".into()));
        let stored = stored.send().await.expect("get").item.expect("a product");
        for n in 0..40 {
            // As an earlier release stored it.
            let mut item = stored.clone();
            item.retain(|name, _| name != "at" && name != "last" && !name.starts_with('@'));
            item.insert("productKey".into(), text(format!("SKU#r{n}")));
            item.insert("sku".into(), text(format!("r{n}")));
            item.insert("id".into(), text(format!("018e2a4b-0000-7000-8000-0000000000{n:02}")));
            let put = client.put_item().table_name("test-products").set_item(Some(item));
            put.send().await.expect("put");
        }
        gate.open();
    };
    tokio::join!(snapshot, writer_without_order);
    assert_eq!(all(&imports.catalog, &key).await.len(), 30 + 40 - 10);
    assert_eq!(imports.reports()[0]["counts"]["deleted"], 10);
}

#[tokio::test]
async fn a_snapshot_of_offerings_leaves_archived_ones_alone() {
    let imports = Imports::start().await;
    let key = imports.catalog.key("ACME").await;
    let metadata = json!({"note": "\"status\":\"AVAILABLE\"", "status": "AVAILABLE",
                          "deep": {"status": "AVAILABLE"}});
    let archived =
        |id: &str, change: &Value| merge_into(&offering(id, json!({"status": "ARCHIVED"})), change);
    let records = [
        archived("archived", &json!({})),
        archived("archived with words", &json!({ "metadata": metadata })),
        offering("named", json!({})),
        offering("gone", json!({ "metadata": metadata })),
    ];
    imports.catalog.import("ACME", &records).await;
    let list = "/product-offerings?includeArchived=true";
    let shown = async || {
        let list = imports.catalog.get(&key, list).await.json();
        let items = list["items"].as_array().expect("items").clone();
        let by_id =
            |item: Value| (item["productOfferingId"].as_str().expect("id").to_owned(), item);
        items.into_iter().map(by_id).collect::<BTreeMap<String, Value>>()
    };
    let before = shown().await;
    next_second().await;
    let whole = lines([records[2].clone()]);
    imports.put_noted("imports/ACME/whole.ndjson", whole, &[("replace", "offering")]).await;
    done(&imports.import, &[Message::new("m", created("imports/ACME/whole.ndjson", "01"))]).await;

    let after = shown().await;
    for id in ["archived", "archived with words", "named"] {
        assert_eq!(after[id], before[id]);
    }
    let (gone, was) = (&after["gone"], &before["gone"]);
    assert_eq!((&gone["status"], &gone["metadata"]), (&json!("ARCHIVED"), &metadata));
    assert!(gone["updatedAt"].as_str() > was["updatedAt"].as_str());
    assert_eq!(
        merge_into(gone, &json!({"status": "AVAILABLE", "updatedAt": was["updatedAt"]})),
        *was
    );
    let report = &imports.reports()[0];
    assert_eq!(
        (&report["counts"]["unchanged"], &report["counts"]["updated"]),
        (&json!(1), &json!(1))
    );
}

/// Names, bundles and counts of the networks of ACME.
async fn networks_shown(imports: &Imports, key: &str) -> BTreeMap<u64, (String, BTreeSet<u64>)> {
    let list = imports.catalog.read(key, "/v2/catalog/networks").await.json();
    let mut shown = BTreeMap::new();
    for network in list["data"].as_array().expect("networks") {
        let id = network["id"].as_u64().expect("id");
        let data =
            crate::networks::products(&imports.catalog, key, u32::try_from(id).expect("small"))
                .await;
        let bundles = data["products"]["fixed_bundles"].as_array().expect("bundles").iter();
        let bundles: BTreeSet<u64> =
            bundles.map(|bundle| bundle["id"].as_u64().expect("id")).collect();
        assert_eq!(network["product_count"], bundles.len(), "network {id} has {bundles:?}");
        assert_eq!(network["name"], data["network"]["name"]);
        shown.insert(id, (network["name"].as_str().expect("name").to_owned(), bundles));
    }
    shown
}

const JANUARY: &str = "2026-01-31T12:00:00Z";
const FEBRUARY: &str = "2026-02-28T12:00:00Z";

/// A file of whole networks, each with these bundles.
fn whole_networks(ids: impl IntoIterator<Item = u32>, name: &str, bundles: &[u32]) -> Vec<Value> {
    let bundles: Vec<Value> =
        bundles.iter().map(|id| merge_into(&bundle(*id), &json!({ "name": name }))).collect();
    let whole = json!({"name": name, "fixed_bundles": bundles});
    ids.into_iter().map(|id| network(id, &whole)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_files_of_whole_networks_at_once_the_younger_one_stays_with_its_bundles() {
    const COUNT: u32 = 250;
    for opposite in [false, true] {
        let imports = Imports::start().await;
        let key = imports.catalog.key("ACME").await;
        let dated = |networks: Vec<Value>, time: &str| {
            lines(networks.iter().map(|network| at(network, time)))
        };
        let mut january = whole_networks(1..=COUNT, "January", &[1, 2, 3, 7]);
        if opposite {
            january.reverse();
        }
        let february = whole_networks(1..=COUNT, "February", &[2, 3, 4]);
        imports.put("imports/ACME/january.ndjson", dated(january, JANUARY)).await;
        imports.put("imports/ACME/february.ndjson", dated(february, FEBRUARY)).await;
        let message = |name: &str| {
            [Message::new(name, created(&format!("imports/ACME/{name}.ndjson"), "01"))]
        };
        let (january, february) = (message("january"), message("february"));
        tokio::join!(done(&imports.import, &january), done(&imports.import, &february));

        let shown = networks_shown(&imports, &key).await;
        assert_eq!(shown.len(), COUNT as usize);
        for (id, (name, bundles)) in shown {
            assert_eq!((name.as_str(), bundles), ("February", [2, 3, 4].into()), "network {id}");
        }
        for report in imports.reports() {
            assert_eq!((&report["lines"], &report["counts"]["failed"]), (&json!(COUNT), &json!(0)));
            assert_adds_up(&report);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beside_a_file_of_whole_networks_younger_single_bundles_stay_and_older_ones_do_not() {
    const COUNT: u32 = 250;
    let imports = Imports::start().await;
    let key = imports.catalog.key("ACME").await;
    let whole = whole_networks(1..=COUNT, "whole", &[1, 2, 3]);
    let single =
        |bundle: u32, time: &str| lines((1..=COUNT).map(|id| at(&bundle_record(id, bundle), time)));
    imports.put("imports/ACME/whole.ndjson", lines(whole.iter().map(|n| at(n, JANUARY)))).await;
    imports.put("imports/ACME/newer.ndjson", single(4, FEBRUARY)).await;
    imports.put("imports/ACME/older.ndjson", single(5, "2025-12-31T12:00:00Z")).await;
    let message =
        |name: &str| [Message::new(name, created(&format!("imports/ACME/{name}.ndjson"), "01"))];
    let (whole, newer, older) = (message("whole"), message("newer"), message("older"));
    tokio::join!(
        done(&imports.import, &older),
        done(&imports.import, &whole),
        done(&imports.import, &newer),
    );
    let shown = networks_shown(&imports, &key).await;
    assert_eq!(shown.len(), COUNT as usize);
    for (id, (_, bundles)) in shown {
        assert_eq!(bundles, [1, 2, 3, 4].into(), "network {id}");
    }
}

/// The id of the number.
fn id(number: usize) -> String {
    format!("018e2a4b-0000-7000-8000-{number:012}")
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

/// A record of each kind, and what its delete names.
fn kinds() -> Vec<(&'static str, Value, Value)> {
    let rate =
        json!({"kind": "exchangeRate", "source_currency": "USD", "destination_currency": "GHS"});
    let named = json!({"kind": "partnerOffering", "offering": {"name": "Pro", "type": "package"}});
    vec![
        (
            "offering",
            offering("o", json!({})),
            json!({"kind": "offering", "productOfferingId": "o"}),
        ),
        ("product", product("s", &json!({})), json!({"kind": "product", "sku": "s"})),
        (
            "product by its external id",
            json!({"kind": "product", "externalId": "e", "name": "n"}),
            json!({"kind": "product", "externalId": "e"}),
        ),
        (
            "product by its id",
            json!({"kind": "product", "id": id(1), "name": "n"}),
            json!({"kind": "product", "id": id(1)}),
        ),
        (
            "network",
            network(1, &json!({"fixed_bundles": [bundle(1)]})),
            json!({"kind": "network", "id": 1}),
        ),
        ("bundle", bundle_record(2, 1), json!({"kind": "bundle", "network_id": 2, "id": 1})),
        ("exchangeRate", merge_into(&rate, &json!({"rate": 12})), rate),
        ("partnerOffering", merge_into(&named, &json!({"entitlements": {"ip_count": 1}})), named),
        (
            "promotion",
            json!({"kind": "promotion", "code": "TRIP", "percentOff": 10}),
            json!({"kind": "promotion", "code": "TRIP"}),
        ),
    ]
}

fn delete(named: &Value) -> Value {
    merge_into(named, &json!({"op": "delete"}))
}

fn hour(record: &Value, hour: u32) -> Value {
    at(record, &format!("2026-01-01T{hour:02}:00:00Z"))
}

/// Is the record among all that an export has?
async fn is_there(imports: &Imports, record: &Value) -> bool {
    let kind = record["kind"].as_str().expect("kind");
    let records = export(&imports.catalog, "ACME").await;
    records.iter().any(|exported| exported.contains(&format!("\"kind\":\"{kind}\"")))
}

#[tokio::test]
async fn an_older_record_does_not_bring_back_what_was_deleted() {
    for (kind, record, named) in kinds() {
        // In a message each, and all of them in one.
        for whole in [false, true] {
            let imports = Imports::start().await;
            // What was deleted and is written again by its id counts as changed.
            let written = |counts: &Counts| counts.created + counts.updated;
            let mut number = 0;
            let mut import = async |records: &[Value]| {
                let group = if whole { records.len() } else { 1 };
                let mut counts = Vec::new();
                for records in records.chunks(group) {
                    number += 1;
                    let message = Message::of_records(&format!("m{number}"), records);
                    done(&imports.import, &[message]).await;
                    let jobs = imports.jobs().await;
                    let source = format!("message m{number}.0");
                    let job = jobs.iter().find(|job| job.source == source).expect("a job");
                    counts.push(job.progress.counts);
                }
                counts.into_iter().fold(Counts::default(), |sum, counts| sum + counts)
            };
            // Nothing is stored yet, and the delete is remembered all the same.
            let counts = import(&[hour(&delete(&named), 7), hour(&record, 6)]).await;
            assert_eq!((counts.unchanged, counts.stale), (1, 1), "{kind}: {counts:?}");
            assert!(!is_there(&imports, &record).await, "{kind}");

            let counts = import(&[
                hour(&record, 8),
                hour(&delete(&named), 10),
                hour(&record, 9),
                hour(&delete(&named), 9),
            ])
            .await;
            assert_eq!((written(&counts), counts.deleted), (1, 1), "{kind}: {counts:?}");
            assert_eq!(counts.stale, 2, "{kind}: {counts:?}");
            assert!(!is_there(&imports, &record).await, "{kind}");

            // A newer record does.
            let counts = import(&[hour(&record, 11), hour(&delete(&named), 9)]).await;
            assert_eq!((written(&counts), counts.stale), (1, 1), "{kind}: {counts:?}");
            assert!(is_there(&imports, &record).await, "{kind}");
        }
    }
}

/// By the times of their messages, in whatever order these come.
#[tokio::test]
async fn an_undated_record_that_was_sent_earlier_does_not_bring_back_what_was_deleted() {
    for (kind, record, named) in kinds() {
        let imports = Imports::start().await;
        let created = Message::of_records("created", std::slice::from_ref(&record));
        let late = Message::of_records("late", std::slice::from_ref(&record)).sent_later(2);
        let deleted = Message::of_records("deleted", &[delete(&named)]).sent_later(3);
        let newer = Message::of_records("newer", std::slice::from_ref(&record)).sent_later(4);
        done(&imports.import, &[created, deleted.clone(), late.clone()]).await;
        assert!(!is_there(&imports, &record).await, "{kind}");
        done(&imports.import, &[newer, late, deleted]).await;
        assert!(is_there(&imports, &record).await, "{kind}");
    }
}

/// A product has several names, and a delete by one of them counts for a record by any other: by the id that
/// an import gave it, and by the one that it was given when it was created.
#[tokio::test]
async fn a_product_deleted_by_one_of_its_names_is_not_brought_back_by_another() {
    for brought in [true, false] {
        for (deleted_by, written_by) in (0..3).flat_map(|name| (0..3).map(move |by| (name, by))) {
            let imports = Imports::start().await;
            let key = imports.catalog.key("ACME").await;
            let mut number = 0;
            let mut import = async |record: Value| {
                number += 1;
                done(&imports.import, &[Message::of_records(&number.to_string(), &[record])]).await;
            };
            let mut whole = product("s", &json!({"externalId": "e"}));
            if brought {
                whole = merge_into(&whole, &json!({"id": id(1)}));
            }
            import(hour(&whole, 5)).await;
            let stored = all(&imports.catalog, &key).await.remove(0);
            let names = ["sku", "externalId", "id"]
                .map(|name| json!({"kind": "product", name: stored[name]}));
            let again = merge_into(&names[written_by], &json!({"name": "n"}));
            let told =
                format!("deleted by {}, written by {}", names[deleted_by], names[written_by]);

            import(hour(&delete(&names[deleted_by]), 7)).await;
            assert!(all(&imports.catalog, &key).await.is_empty(), "{told}");
            import(hour(&again, 6)).await;
            assert!(all(&imports.catalog, &key).await.is_empty(), "{told}");
            import(hour(&again, 8)).await;
            assert_eq!(all(&imports.catalog, &key).await.len(), 1, "{told}");
        }
    }
}

/// "Item sizes and formats" in the developer guide of `DynamoDB`.
fn size(item: &std::collections::HashMap<String, AttributeValue>) -> usize {
    let value = |value: &AttributeValue| match value {
        AttributeValue::S(text) => text.len(),
        AttributeValue::N(digits) => digits.len().div_ceil(2) + 1,
        AttributeValue::B(bytes) => bytes.as_ref().len(),
        other => panic!("an attribute of another type: {other:?}"),
    };
    item.iter().map(|(name, of)| name.len() + value(of)).sum()
}

#[tokio::test]
async fn a_delete_is_remembered_for_thirty_days_in_an_item_of_a_hundred_bytes() {
    let imports = Imports::start().await;
    let client = imports.catalog.stack.client();
    let items = async || {
        let mut items = Vec::new();
        for table in ["offerings", "products", "networks", "partner-offerings", "promotions"] {
            let query = client
                .query()
                .table_name(format!("test-{table}"))
                .key_condition_expression("account = :account")
                .expression_attribute_values(":account", AttributeValue::S("ACME".to_owned()));
            items.extend(query.send().await.expect("query").items.unwrap_or_default());
        }
        items
    };
    let records: Vec<Value> = kinds().iter().map(|(_, record, _)| record.clone()).collect();
    let deletes: Vec<Value> = kinds().iter().map(|(_, _, named)| delete(named)).collect();
    let first = Message::of_records("first", &records);
    let second = Message::of_records("second", &deletes).sent_later(1);
    done(&imports.import, &[first, second.clone()]).await;
    let remembered = items().await;
    let job_expiry = Timestamp::now().as_second() + 30 * 24 * 60 * 60;
    for item in &remembered {
        let expires_at = item.get("expiresAt").map(|time| time.as_n().expect("a number"));
        let expires_at: i64 = expires_at.and_then(|time| time.parse().ok()).unwrap_or_default();
        // The network of a bundle that is gone only counts its bundles.
        assert!((expires_at - job_expiry).abs() < 60, "{item:?}");
        // A long name takes as much as it has: 20 bytes are a name here.
        let names = ["productOfferingId", "productKey", "itemKey", "offeringKey", "code"];
        let name = names.iter().find_map(|name| item.get(*name)?.as_s().ok()).expect("a name");
        let bytes = size(item) - name.len() + 20;
        assert!(bytes <= 100, "{bytes} bytes: {item:?}");
    }
    assert!(remembered.len() >= kinds().len());
    assert!(export(&imports.catalog, "ACME").await.is_empty());

    // Written again it does not expire.
    let again = Message::of_records("again", &records).sent_later(2);
    done(&imports.import, &[again]).await;
    // A product that is created again has a new id, unless it brings one: the earlier one stays deleted.
    let created_again = |item: &std::collections::HashMap<String, AttributeValue>| {
        let key = item.get("productKey").and_then(|key| key.as_s().ok()?.strip_prefix("ID#"));
        key.is_none_or(|key| key == id(1))
    };
    let written_again: Vec<_> = items().await.into_iter().filter(created_again).collect();
    assert!(written_again.len() >= kinds().len());
    for item in written_again {
        assert!(!item.contains_key("expiresAt"), "{item:?}");
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
    imports.put_noted("imports/ACME/source.ndjson", published, &order).await;
    for (name, outcome) in [("own", "stale"), ("source", "updated")] {
        let key = format!("imports/ACME/{name}.ndjson");
        done(&imports.import, &[Message::new(name, created(&key, "01"))]).await;
        let report = imports.report("ACME", name);
        assert_eq!(report["counts"][outcome], 7, "{report}");
    }
    let exported = export(&imports.catalog, "ACME").await;
    assert!(exported.iter().all(|record| !record.contains("by hand")), "{exported:?}");
    // A word that is no order is handed back, as one that is no kind is.
    imports.put_noted("imports/ACME/wrong.ndjson", String::new(), &[("order", "mine")]).await;
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

/// A delete takes a product whose name is older, with what was set after the delete. A row between the two brings the
/// product back.
#[tokio::test]
async fn a_row_between_a_delete_and_a_newer_write_brings_its_product_back_under_all_its_keys() {
    let imports = Imports::start().await;
    let key = imports.catalog.key("ACME").await;
    let mut number = 0;
    let mut import = async |record: Value| {
        number += 1;
        let message = Message::of_records(&format!("m{number}"), &[record]);
        done(&imports.import, &[message]).await;
        let source = format!("message m{number}.0");
        let jobs = imports.jobs().await;
        jobs.iter().find(|job| job.source == source).expect("a job").progress.counts
    };
    let named = json!({"kind": "product", "sku": "s"});
    import(hour(&product("s", &json!({})), 3)).await;
    import(hour(&merge_into(&named, &json!({"price": 7})), 7)).await;
    let deleted = import(hour(&delete(&named), 5)).await;
    assert_eq!(deleted.deleted, 1, "{deleted:?}");
    let created = import(hour(&product("s", &json!({"externalId": "e"})), 6)).await;
    assert_eq!(created.created, 1, "{created:?}");
    // It is found by the key that only this row had.
    let row = json!({"kind": "product", "externalId": "e", "price": 8});
    let updated = import(hour(&row, 8)).await;
    assert_eq!((updated.updated, updated.failed), (1, 0), "{updated:?}");
    assert_eq!(imports.price(&key, "s").await, 8);
    assert_eq!(all(&imports.catalog, &key).await.len(), 1);
}
