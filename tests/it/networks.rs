//! Networks and their products: reads that cost one query, and imports that end right.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Value, json};
use serverless_catalog::{
    cost::Meter,
    money::Currency,
    source::Line,
    store::{Connection, Store, TableNames, lean_client},
};

use crate::{
    proxy::{Fate, proxy},
    support::{Catalog, importer, merge_into},
};

pub(crate) fn network(id: u32, change: &Value) -> Value {
    let network = json!({"kind": "network", "id": id, "name": format!("Network {id}"),
                         "country": "Ghana", "country_code": "GH", "currency": "GHS"});
    merge_into(&network, change)
}

pub(crate) fn bundle(id: u32) -> Value {
    json!({"id": id, "name": format!("Bundle {id}"), "type": "DATA", "price_usd": 1.5,
           "local_value": "1GB", "local_currency": "GHS", "description": "1GB for a week"})
}

pub(crate) fn bundle_record(network: u32, id: u32) -> Value {
    merge_into(&bundle(id), &json!({"kind": "bundle", "network_id": network}))
}

pub(crate) async fn products(catalog: &Catalog, key: &str, id: u32) -> Value {
    let answer = catalog.read(key, &format!("/v2/catalog/products?network_id={id}")).await;
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.bytes));
    answer.json()["data"].clone()
}

async fn bundle_ids(catalog: &Catalog, key: &str, id: u32) -> Vec<u64> {
    let data = products(catalog, key, id).await;
    let bundles = data["products"]["fixed_bundles"].as_array().expect("bundles").iter();
    bundles.map(|bundle| bundle["id"].as_u64().expect("id")).collect()
}

async fn product_count(catalog: &Catalog, key: &str, id: u32) -> Value {
    let answer = catalog.read(key, "/v2/catalog/networks").await.json();
    let networks = answer["data"].as_array().expect("networks").clone();
    let found = networks.into_iter().find(|network| network["id"] == id);
    found.map_or(Value::Null, |network| network["product_count"].clone())
}

#[tokio::test]
async fn lists_are_by_country_and_id() {
    let catalog = Catalog::start().await;
    let uganda = json!({"country": "Uganda", "country_code": "UG", "currency": "UGX", "logo_url": "https://x/1"});
    catalog
        .import(
            "ACME",
            &[
                network(100, &json!({"fixed_bundles": [bundle(1), bundle(2)]})),
                network(9, &json!({"custom_airtime": {"available": true, "min_amount_local": 1, "max_amount_local": 2.5}})),
                network(22, &uganda),
                json!({"kind": "exchangeRate", "source_currency": "USD", "destination_currency": "GHS", "rate": 12}),
            ],
        )
        .await;
    let key = catalog.key("ACME").await;
    let line = |id: u32, count: u32, custom: bool| {
        json!({"id": id, "name": format!("Network {id}"), "country": "Ghana", "country_code": "GH",
               "currency": "GHS", "logo_url": null, "product_count": count, "supports_custom_airtime": custom})
    };
    let mut last = line(22, 0, false);
    last = merge_into(&last, &uganda);
    let answer = catalog.read(&key, "/v2/catalog/networks").await;
    assert_eq!(answer.json()["data"], json!([line(9, 0, true), line(100, 2, false), last]));
    assert_eq!((answer.queries(), answer.read_units()), (1, 0.5));
    for (query, ids) in [
        ("GH", vec![9, 100]),
        ("gh", vec![9, 100]),
        ("UG", vec![22]),
        ("FR", vec![]),
        ("ZZ", vec![]),
    ] {
        let answer =
            catalog.read(&key, &format!("/v2/catalog/networks?country_code={query}")).await;
        let data = answer.json()["data"].clone();
        let found: Vec<u64> =
            data.as_array().expect("data").iter().filter_map(|line| line["id"].as_u64()).collect();
        assert_eq!((answer.status, found), (200, ids), "{query}");
    }
    let answer = catalog.read(&key, "/v2/catalog/countries").await;
    assert_eq!(
        answer.json()["data"],
        json!([
            {"code": "GH", "name": "Ghana", "currency": "GHS", "network_count": 2,
             "networks": [{"id": 9, "name": "Network 9"}, {"id": 100, "name": "Network 100"}]},
            {"code": "UG", "name": "Uganda", "currency": "UGX", "network_count": 1,
             "networks": [{"id": 22, "name": "Network 22"}]},
        ])
    );
}

#[tokio::test]
async fn a_network_is_its_own_and_no_neighbours() {
    let catalog = Catalog::start().await;
    let ids = [2, 22, 220, 2_200, 4_294_967_295];
    for id in ids {
        catalog.import("ACME", &[network(id, &json!({"fixed_bundles": [bundle(id)]}))]).await;
    }
    let key = catalog.key("ACME").await;
    for id in ids {
        assert_eq!(bundle_ids(&catalog, &key, id).await, [u64::from(id)]);
    }
    // Nothing sold: every field is there all the same.
    catalog.import("ACME", &[network(1, &json!({}))]).await;
    let data = products(&catalog, &key, 1).await;
    assert_eq!(data["exchange_rate"], Value::Null);
    assert_eq!(
        data["products"],
        json!({"custom_airtime": {"available": false, "min_amount_local": null, "max_amount_local": null, "local_currency": "GHS"}, "fixed_bundles": []})
    );
    assert_eq!(data["sms_notification"], json!({"available": false, "cost_usd": null}));
}

#[tokio::test]
async fn a_phone_number_finds_its_network_by_its_prefix() {
    let catalog = Catalog::start().await;
    let named = |id, name: &str| network(id, &json!({"name": name, "fixed_bundles": [bundle(id)]}));
    catalog
        .import("ACME", &[named(390, "MTN"), named(391, "AirtelTigo"), named(7, "MTN Cargo")])
        .await;
    catalog.import("GLOBEX", &[named(5, "MTN Ghana")]).await;
    catalog.import("EMPTY", &[named(6, "Telecel")]).await;
    let key = catalog.key("ACME").await;
    let ask = async |key: &str, query: &str| {
        let answer = catalog.read(key, &format!("/v2/catalog/lookup?{query}")).await;
        (answer.status, answer.json())
    };
    let number = "phone_number=%2B233541112259";
    let (status, answer) = ask(&key, number).await;
    assert_eq!((status, &answer["data"]["network"]["id"]), (200, &json!(390)));
    let text = catalog.read(&key, &format!("/v2/catalog/lookup?{number}")).await.bytes;
    let text = String::from_utf8(text).expect("UTF-8");
    assert!(text.contains(r#""data":{"phone_number":"+233541112259","network":{"#), "{text}");
    let mut data = answer["data"].clone();
    data.as_object_mut().expect("an object").remove("phone_number");
    assert_eq!(data, products(&catalog, &key, 390).await);
    // A plus that is not escaped is a space.
    for spelled in
        ["phone_number=+233 54 111 2259".replace(' ', "%20"), format!("{number}&network_id=")]
    {
        assert_eq!(ask(&key, &spelled).await.1["data"], answer["data"], "{spelled}");
    }
    // A ported number, and no number at all.
    let (_, ported) = ask(&key, &format!("{number}&network_id=391")).await;
    assert_eq!(ported["data"]["network"]["id"], 391);
    assert_eq!(ported["data"]["phone_number"], "+233541112259");
    let (_, by_id) = ask(&key, "network_id=391").await;
    assert_eq!(by_id["data"], products(&catalog, &key, 391).await);
    // Each account has its own networks, whatever it calls them.
    let (_, others) = ask(&catalog.key("GLOBEX").await, number).await;
    assert_eq!(others["data"]["network"]["id"], 5);
    let empty = catalog.key("EMPTY").await;
    for (key, query, status, code, field) in [
        (&empty, number, 400, "HLR_LOOKUP_FAILED", "phone_number"),
        (&key, "phone_number=%2B233302000000", 400, "HLR_LOOKUP_FAILED", "phone_number"),
        (&key, "phone_number=MTN", 400, "INVALID_PHONE_NUMBER", "phone_number"),
        (&key, "phone_number=%2B12", 400, "INVALID_PHONE_NUMBER", "phone_number"),
        (&key, "phone_number=MTN&network_id=390", 400, "INVALID_PHONE_NUMBER", "phone_number"),
        (&key, "network_id=0", 400, "INVALID_FIELD", "network_id"),
        (&key, "network_id=99", 404, "NETWORK_NOT_FOUND", "network_id"),
        (&key, "", 400, "MISSING_REQUIRED_FIELD", "phone_number"),
        (&key, "phone_number=&network_id=", 400, "MISSING_REQUIRED_FIELD", "phone_number"),
    ] {
        let (told, answer) = ask(key, query).await;
        let error = &answer["error"];
        assert_eq!((told, &error["code"]), (status, &json!(code)), "{query}: {answer}");
        assert_eq!(error["details"]["field"], field, "{query}");
    }
}

/// Two queries and the rate: the networks of the number's country, and the one that is shown.
#[tokio::test]
async fn a_lookup_costs_two_queries() {
    let catalog = Catalog::start().await;
    catalog.import("ACME", &[network(1, &json!({"name": "MTN"}))]).await;
    let key = catalog.key("ACME").await;
    let answer = catalog.read(&key, "/v2/catalog/lookup?phone_number=%2B233541112259").await;
    assert_eq!((answer.status, answer.queries(), answer.read_units()), (200, 3, 1.5));
}

#[tokio::test]
async fn the_rate_is_of_the_keys_wallet_currency() {
    let catalog = Catalog::start().await;
    let rate = |source: &str, rate: f64| json!({"kind": "exchangeRate", "source_currency": source, "destination_currency": "GHS", "rate": rate});
    catalog.import("ACME", &[network(1, &json!({})), rate("USD", 12.35), rate("EUR", 13.5)]).await;
    for (wallet, expected) in [
        ("USD", json!({"source_currency": "USD", "destination_currency": "GHS", "rate": 12.35})),
        ("EUR", json!({"source_currency": "EUR", "destination_currency": "GHS", "rate": 13.5})),
        ("JPY", Value::Null),
    ] {
        let currency = Currency::parse(wallet).expect(wallet);
        let key = catalog.key_with("ACME", |key| key.wallet_currency = currency).await;
        assert_eq!(products(&catalog, &key, 1).await["exchange_rate"], expected, "{wallet}");
    }
    let key = catalog.key("ACME").await;
    products(&catalog, &key, 1).await;
    let again = catalog.read(&key, "/v2/catalog/products?network_id=1").await;
    assert_eq!((again.queries(), again.read_units()), (1, 0.5), "the rate is remembered");
}

#[tokio::test]
async fn a_network_with_five_thousand_bundles_answers_whole() {
    let catalog = Catalog::start().await;
    let bundles: Vec<Value> = (1..=5_000).map(bundle).collect();
    catalog.import("ACME", &[network(7, &json!({"fixed_bundles": bundles}))]).await;
    let key = catalog.key("ACME").await;
    let ids = bundle_ids(&catalog, &key, 7).await;
    assert_eq!(ids, (1..=5_000).collect::<Vec<u64>>());
    assert_eq!(product_count(&catalog, &key, 7).await, 5_000);
    let answer = catalog.read(&key, "/v2/catalog/products?network_id=7").await;
    // The rate is remembered. A reply of the database has at most 1 MB.
    assert!(answer.queries() <= 2, "{} queries", answer.queries());
    let kilobytes = f64::from(u32::try_from(answer.bytes.len()).expect("size")) / 4_096.0;
    assert!(answer.read_units() < kilobytes * 0.5 * 1.9, "{} units", answer.read_units());
}

#[tokio::test]
async fn a_network_with_fewer_bundles_leaves_none_behind() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    let whole = |ids: &[u32]| {
        let bundles: Vec<Value> = ids.iter().map(|id| bundle(*id)).collect();
        network(5, &json!({"fixed_bundles": bundles}))
    };
    for (record, bundles, count) in [
        (whole(&[1, 2, 3]), vec![1, 2, 3], 3),
        (whole(&[2, 4]), vec![2, 4], 2),
        // Without its bundles it leaves them alone.
        (network(5, &json!({"name": "renamed"})), vec![2, 4], 2),
        (bundle_record(5, 9), vec![2, 4, 9], 3),
        (bundle_record(5, 9), vec![2, 4, 9], 3),
        (json!({"kind": "bundle", "op": "delete", "network_id": 5, "id": 2}), vec![4, 9], 2),
        (json!({"kind": "bundle", "op": "delete", "network_id": 5, "id": 2}), vec![4, 9], 2),
        (whole(&[]), vec![], 0),
    ] {
        catalog.import("ACME", std::slice::from_ref(&record)).await;
        assert_eq!(bundle_ids(&catalog, &key, 5).await, bundles, "{record}");
        assert_eq!(product_count(&catalog, &key, 5).await, count, "{record}");
    }
    catalog.import("ACME", &[whole(&[1, 2])]).await;
    catalog.import("ACME", &[json!({"kind": "network", "op": "delete", "id": 5})]).await;
    let gone = catalog.read(&key, "/v2/catalog/products?network_id=5").await;
    assert_eq!((gone.status, &gone.json()["error"]["code"]), (404, &json!("NETWORK_NOT_FOUND")));
    assert_eq!(product_count(&catalog, &key, 5).await, Value::Null);
    // No bundle is left that a network of that id would get back.
    catalog.import("ACME", &[network(5, &json!({}))]).await;
    assert!(bundle_ids(&catalog, &key, 5).await.is_empty());
}

#[tokio::test]
async fn bundles_may_come_before_their_network() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    let bundles: Vec<Value> = (1..=250).map(|id| bundle_record(3, id)).collect();
    let counts = catalog.import("ACME", &bundles).await;
    assert_eq!(counts.created, 250);
    assert_eq!(catalog.read(&key, "/v2/catalog/products?network_id=3").await.status, 404);
    assert_eq!(catalog.read(&key, "/v2/catalog/networks").await.json()["data"], json!([]));
    catalog.import("ACME", &[network(3, &json!({}))]).await;
    assert_eq!(bundle_ids(&catalog, &key, 3).await.len(), 250);
    assert_eq!(product_count(&catalog, &key, 3).await, 250);
}

#[tokio::test]
async fn an_unchanged_network_costs_its_read_and_no_write() {
    let catalog = Catalog::start().await;
    let records: Vec<Value> =
        (1..=30).map(|id| network(id, &json!({"fixed_bundles": [bundle(1), bundle(2)]}))).collect();
    let counts = catalog.import("ACME", &records).await;
    assert_eq!(counts.created, 30);
    let account = "ACME".parse().expect("account");
    let meter = Meter::default();
    let store = catalog.stack.store.metered(&meter);
    let mut importer = importer(&store, &account, false);
    let lines: Vec<Line> = (1..)
        .zip(&records)
        .map(|(line, record)| (line, Ok(record.to_string().into_bytes())))
        .collect();
    importer.import_group(&lines, &[]).await.expect("import");
    assert_eq!(importer.counts().unchanged, 30);
    assert_eq!((meter.cost().write_units, meter.cost().read_units), (0.0, 30.0));
}

/// Killed after any number of writes and repeated, a re-import with fewer bundles ends right.
#[tokio::test]
async fn a_reimport_that_was_killed_and_repeated_ends_right() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    let whole = |ids: std::ops::Range<u32>, name: &str| {
        let bundles: Vec<Value> =
            ids.map(|id| merge_into(&bundle(id), &json!({"name": name}))).collect();
        network(5, &json!({"name": name, "fixed_bundles": bundles}))
    };
    let (before, after) = (whole(1..200, "before"), whole(100..260, "after"));
    let account = "ACME".parse().expect("account");
    for writes in 0..16 {
        catalog.import("ACME", std::slice::from_ref(&before)).await;
        let done = Arc::new(AtomicU32::new(0));
        let url = proxy(&catalog.stack.addresses().dynamodb_url, move |operation, _| {
            let killed =
                operation.contains("Write") && done.fetch_add(1, Ordering::Relaxed) >= writes;
            if killed { Fate::Lost } else { Fate::Pass }
        })
        .await;
        let client = lean_client(&Connection::local(&url)).expect("client");
        let store = Store::new(client, TableNames::with_prefix("test"));
        let mut importer = importer(&store, &account, false);
        let line = [(1, Ok(after.to_string().into_bytes()))];
        let killed = importer.import_group(&line, &[]);
        let _ = tokio::time::timeout(std::time::Duration::from_millis(300), killed).await;

        catalog.import("ACME", std::slice::from_ref(&after)).await;
        let data = products(&catalog, &key, 5).await;
        assert_eq!(data["network"]["name"], "after");
        let bundles = data["products"]["fixed_bundles"].as_array().expect("bundles");
        assert_eq!(bundles.len(), 160, "after {writes} writes");
        assert!(bundles.iter().all(|bundle| bundle["name"] == "after"));
        assert_eq!(product_count(&catalog, &key, 5).await, 160);
    }
}

#[tokio::test]
async fn bad_records_are_refused_field_by_field() {
    let catalog = Catalog::start().await;
    let with = |change: Value| network(1, &change);
    for (record, field) in [
        (with(json!({"id": 0})), "id"),
        (with(json!({"id": 4_294_967_296_u64})), "id"),
        (with(json!({"name": " "})), "name"),
        (with(json!({"country_code": "gh"})), "country_code"),
        (with(json!({"currency": "XXZ"})), "currency"),
        (with(json!({"custom_airtime": {"available": true}})), "custom_airtime.min_amount_local"),
        (
            with(
                json!({"custom_airtime": {"available": true, "min_amount_local": 5, "max_amount_local": 1}}),
            ),
            "custom_airtime.max_amount_local",
        ),
        (with(json!({"sms_notification": {"available": true}})), "sms_notification.cost_usd"),
        (with(json!({"fixed_bundles": [bundle(1), bundle(1)]})), "fixed_bundles[1].id"),
        (
            with(json!({"fixed_bundles": [merge_into(&bundle(1), &json!({"price_usd": -1}))]})),
            "fixed_bundles[0].price_usd",
        ),
        (
            with(json!({"fixed_bundles": [merge_into(&bundle(1), &json!({"type": "VOICE"}))]})),
            "fixed_bundles[0].type",
        ),
        (merge_into(&bundle(1), &json!({"kind": "bundle"})), "network_id"),
        (merge_into(&bundle_record(1, 1), &json!({"price_usd": "1"})), "price_usd"),
        (
            json!({"kind": "exchangeRate", "source_currency": "USD", "destination_currency": "GHS", "rate": 0}),
            "rate",
        ),
        (json!({"kind": "exchangeRate", "source_currency": "US"}), "source_currency"),
        (
            json!({"kind": "partnerOffering", "offering": {"name": "p", "type": "package", "quantity": 2}}),
            "offering.quantity",
        ),
        (
            json!({"kind": "partnerOffering", "offering": {"name": "p", "type": "bundle"}}),
            "offering.type",
        ),
        (
            json!({"kind": "partnerOffering", "offering": {"name": "p", "type": "addon"}, "entitlements": {"a": 1.5}}),
            "entitlements.a",
        ),
        (json!({"kind": "product", "name": "x", "price": -1}), "price"),
        (json!({"kind": "product", "op": "delete"}), "sku"),
    ] {
        let (counts, refused) = catalog.try_import("ACME", std::slice::from_ref(&record)).await;
        assert_eq!(counts.failed, 1, "{record}");
        assert_eq!(refused[0].error.field, field, "{record}: {:?}", refused[0]);
    }
}

/// Times of sources: of a network, of a bundle, and of all bundles together.
#[tokio::test]
async fn an_older_record_never_overwrites_a_newer_one_of_a_network() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    let at = |record: &Value, minute: u32| {
        merge_into(record, &json!({"updatedAt": format!("2026-01-01T00:{minute:02}:00.123456Z")}))
    };
    let whole = |ids: &[u32]| {
        network(5, &json!({"fixed_bundles": ids.iter().map(|id| bundle(*id)).collect::<Vec<_>>()}))
    };
    let other = |id: u32| merge_into(&bundle_record(5, id), &json!({"name": "other"}));
    let deleted = json!({"kind": "bundle", "op": "delete", "network_id": 5, "id": 1});
    for (record, stale, bundles) in [
        (at(&whole(&[1, 2]), 10), false, vec![1, 2]),
        // A bundle that the whole record did not name is as old as that.
        (at(&bundle_record(5, 7), 5), true, vec![1, 2]),
        (at(&other(1), 5), true, vec![1, 2]),
        (at(&deleted, 5), true, vec![1, 2]),
        (at(&bundle_record(5, 7), 20), false, vec![1, 2, 7]),
        // A bundle newer than the whole stays.
        (at(&whole(&[1]), 15), false, vec![1, 7]),
        (at(&whole(&[1, 2]), 12), true, vec![1, 7]),
        // The same again, later: what lies between is outdated.
        (at(&whole(&[1]), 30), false, vec![1]),
        (at(&bundle_record(5, 9), 25), true, vec![1]),
        (at(&bundle_record(5, 9), 40), false, vec![1, 9]),
        (at(&deleted, 35), false, vec![9]),
    ] {
        let counts = catalog.import("ACME", std::slice::from_ref(&record)).await;
        assert_eq!(counts.stale == 1, stale, "{record}: {counts:?}");
        assert_eq!(bundle_ids(&catalog, &key, 5).await, bundles, "{record}");
        assert_eq!(product_count(&catalog, &key, 5).await, bundles.len(), "{record}");
        // To the millisecond, whatever the source's clock tells: the same again changes nothing.
        let again = catalog.import("ACME", std::slice::from_ref(&record)).await;
        assert_eq!(again.stale + again.unchanged, 1, "{record}: {again:?}");
    }
}

/// The items of a network as they are stored, without their orders.
async fn stored(catalog: &Catalog, id: u32) -> Vec<HashMap<String, AttributeValue>> {
    let query = catalog.stack.client.query().table_name("test-networks");
    let text = |text: String| AttributeValue::S(text);
    let query = query
        .key_condition_expression("account = :account AND begins_with(itemKey, :key)")
        .expression_attribute_values(":account", text("ACME".to_owned()))
        .expression_attribute_values(":key", text(format!("NETWORK#{id:010}")));
    query.send().await.expect("items").items().to_vec()
}

#[tokio::test]
async fn only_what_holds_nothing_any_more_expires() {
    let catalog = Catalog::start().await;
    let delete = |id: u32| json!({"kind": "network", "op": "delete", "id": id});
    let delete_bundle = |network: u32, id: u32| json!({"kind": "bundle", "op": "delete", "network_id": network, "id": id});
    let count = |item: &HashMap<String, AttributeValue>| {
        item.get("productCount").map(|count| count.as_n().expect("a number").clone())
    };
    catalog
        .import(
            "ACME",
            &[
                network(1, &json!({})),
                // A bundle that is there before its network.
                bundle_record(2, 7),
                network(3, &json!({"fixed_bundles": [bundle(7)]})),
                delete_bundle(3, 7),
            ],
        )
        .await;
    catalog.import("ACME", &[network(4, &json!({})), delete(4), delete_bundle(5, 7)]).await;
    for (id, expiring) in
        [(1, vec![false]), (2, vec![false, false]), (3, vec![false, true]), (4, vec![true])]
    {
        let items = stored(&catalog, id).await;
        let expires: Vec<bool> = items.iter().map(|item| item.contains_key("expiresAt")).collect();
        assert_eq!(expires, expiring, "network {id}: {items:?}");
    }
    // A number of bundles is kept where there is a network or a bundle.
    for (id, bundles) in [(1, Some("0")), (2, Some("1")), (3, Some("0")), (4, None), (5, None)] {
        let items = stored(&catalog, id).await;
        assert_eq!(count(&items[0]).as_deref(), bundles, "network {id}");
    }
    let items = stored(&catalog, 5).await;
    assert!(items.iter().all(|item| item.contains_key("expiresAt")), "{items:?}");
}

#[tokio::test]
async fn a_bundle_whose_network_has_no_item_is_not_taken_for_the_network() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    catalog.import("ACME", &[network(1, &json!({"fixed_bundles": [bundle(7), bundle(8)]}))]).await;
    assert_eq!(bundle_ids(&catalog, &key, 1).await, [7, 8]);
    let own = [("account", "ACME"), ("itemKey", "NETWORK#0000000001")];
    let own = own.map(|(name, value)| (name.to_owned(), AttributeValue::S(value.to_owned())));
    let delete = catalog.stack.client.delete_item().table_name("test-networks");
    delete.set_key(Some(own.into())).send().await.expect("deleted");
    let answer = catalog.read(&key, "/v2/catalog/products?network_id=1").await;
    assert_eq!(answer.status, 404, "{}", String::from_utf8_lossy(&answer.bytes));
}

/// Both names contain the carrier's, or both are it: the list's order decides.
#[tokio::test]
async fn of_networks_that_are_called_alike_a_number_finds_the_first_of_the_list() {
    let catalog = Catalog::start().await;
    for (account, names) in [("WORDS", ["MTN Business", "MTN Cargo"]), ("SAME", ["MTN", "M T N"])] {
        let networks = [1, 2, 3, 4].map(|id: u32| {
            let name = if id <= 2 { names[id as usize - 1] } else { "Telecel" };
            network(id, &json!({ "name": name }))
        });
        catalog.import(account, &networks).await;
        let key = catalog.key(account).await;
        let listed = catalog.read(&key, "/v2/catalog/networks").await.json();
        let listed = listed["data"].as_array().expect("networks").iter();
        let mut alike =
            listed.filter(|network| names.contains(&network["name"].as_str().expect("name")));
        let first = alike.next().expect("a network");
        assert_eq!(alike.count(), 1, "both are listed");
        let found =
            catalog.read(&key, "/v2/catalog/lookup?phone_number=%2B233541112259").await.json();
        assert_eq!(found["data"]["network"]["id"], first["id"], "{account}: {found}");
    }
}

#[tokio::test]
async fn the_number_of_bundles_is_right_after_each_transaction() {
    let catalog = Catalog::start().await;
    let told = Arc::new(Mutex::new(Vec::new()));
    let counts = told.clone();
    let url = proxy(&catalog.stack.addresses().dynamodb_url, move |operation, request| {
        if operation == "TransactWriteItems" {
            let count = request.split("\"productCount\":{\"N\":\"").nth(1);
            let count = count.and_then(|count| count.split('"').next()).unwrap_or_default();
            counts.lock().expect("lock").push(count.to_owned());
        }
        Fate::Pass
    })
    .await;
    let client = lean_client(&Connection::local(&url)).expect("client");
    let store = Store::new(client, TableNames::with_prefix("test"));
    let account = "ACME".parse().expect("account");
    let bundles = |price: u32, ids: std::ops::Range<u32>| -> Vec<Value> {
        ids.map(|id| merge_into(&bundle(id), &json!({ "price_usd": price }))).collect()
    };
    for (bundles, expected) in [
        // A transaction has 99 of them.
        (bundles(1, 1..151), &["99", "150"][..]),
        (bundles(2, 1..151), &["150", "150"]),
        (bundles(2, 101..221), &["191", "120"]),
        (Vec::new(), &["21", "0"]),
    ] {
        let line = network(1, &json!({ "fixed_bundles": bundles })).to_string().into_bytes();
        let mut importer = importer(&store, &account, false);
        let refused = importer.import_group(&[(1, Ok(line))], &[]).await.expect("import");
        assert!(refused.is_empty(), "{refused:?}");
        let told = std::mem::take(&mut *told.lock().expect("lock"));
        assert_eq!(told, expected);
    }
}
