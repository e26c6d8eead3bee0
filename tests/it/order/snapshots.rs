//! Snapshots beside other writes: what they remove, and what stays.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Value, json};

use super::{at, lines, product};
use crate::{
    messages::{Gate, Message, assert_adds_up, done},
    networks::{bundle, bundle_record, network},
    queue::{Imports, created, next_second},
    support::{merge_into, offering},
    upsert::all,
};

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
    imports.put_with_metadata("imports/ACME/whole.ndjson", whole, &[("replace", "product")]).await;

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
    imports.put_with_metadata("imports/ACME/whole.ndjson", whole, &[("replace", "product")]).await;

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
        let client = &imports.catalog.stack.client;
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
    imports.put_with_metadata("imports/ACME/whole.ndjson", whole, &[("replace", "offering")]).await;
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
