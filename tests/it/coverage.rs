//! Lists by country, region and catalog: exact ranges of entries. What they return, what they cost, and that
//! entries follow their offerings.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicU32, Ordering},
};

use aws_sdk_dynamodb::{Client, types::AttributeValue};
use catalog_cli::local::sample;
use serde_json::{Value, json};
use serverless_catalog::{
    cost::Meter,
    source::Line,
    store::{Connection, Store, TableNames, lean_client},
};

use crate::{
    proxy::{Fate, proxy},
    support::{Answer, Catalog, importer, offering},
};

const ACME: &str = sample::SAMPLES[0].key;

async fn import(catalog: &Catalog, account: &str, records: impl Iterator<Item = Value>) {
    let account = account.parse().expect("account");
    let mut importer = importer(&catalog.stack.store, &account, false);
    let lines: Vec<Line> =
        (1..).zip(records).map(|(n, record)| (n, Ok(record.to_string().into_bytes()))).collect();
    for group in lines.chunks(400) {
        let rejected = Box::pin(importer.import_group(group, &[])).await.expect("import");
        assert!(rejected.is_empty(), "{rejected:?}");
    }
}

/// Of 3,000 offerings 1 in 100 covers Ghana by name, 1 in 100 all of Africa, half of them Europe.
fn rare(n: usize) -> Value {
    let (countries, regions): (&[&str], &[&str]) = match n % 100 {
        0 => (&["GH"], &[]),
        1 => (&[], &["AFRICA"]),
        n if n % 2 == 0 => (&["FR", "DE"], &["EUROPE"]),
        _ => (&["US"], &[]),
    };
    let catalogs: &[&str] = if n.is_multiple_of(50) { &["retail"] } else { &["web"] };
    let features = json!({"countries": countries, "regions": regions});
    let product = json!({"category": format!("C{}", n % 7), "features": features});
    let change = json!({"product": product, "productCatalogIds": catalogs});
    offering(&format!("o{n:05}"), change)
}

/// The contract's bound for a page ("Coverage and catalogs"), for offerings of at most 4 KB.
fn bound(page: &Answer, passed: u32, ranges: u32) -> f64 {
    let offerings = u32::try_from(page.ids().len()).expect("small");
    0.6 * f64::from(offerings) + 0.02 * f64::from(passed) + 0.5 * f64::from(ranges)
}

#[tokio::test]
async fn a_page_by_country_region_or_catalog_costs_what_it_returns() {
    let catalog = Catalog::start().await;
    import(&catalog, "ACME", (0..3_000).map(rare)).await;
    let key = catalog.key("ACME").await;
    // Whether the account's lists use entries is read once.
    catalog.get(&key, "/product-offerings?countries=GH&limit=1").await;
    for (query, limit, matches, passed, ranges) in [
        // Two customer types, three ranges of a country in each.
        ("countries=GH", 20, 60, 0, 6),
        ("countries=GH&customerType=CONSUMER", 1, 60, 0, 3),
        ("countries=GH&customerType=CONSUMER", 7, 60, 0, 3),
        // No offering covers it.
        ("countries=IS&customerType=BUSINESS", 20, 0, 0, 3),
        ("regions=AFRICA&customerType=CONSUMER", 20, 30, 0, 2),
        ("regions=SOUTH_AMERICA&customerType=CONSUMER", 20, 0, 0, 3),
        ("productCatalogId=retail&customerType=CONSUMER", 100, 60, 0, 1),
        ("productCatalogId=retail&categories=C0&customerType=CONSUMER", 100, 9, 0, 1),
        ("productCatalogId=none&customerType=CONSUMER", 100, 0, 0, 1),
        // Ghana is rare, and so is the catalog: each side leaps to where the other is.
        ("countries=GH&productCatalogId=retail&customerType=CONSUMER", 20, 30, 120, 4),
    ] {
        let pages = catalog.pages(&key, query, &[limit]).await;
        let found: usize = pages.iter().map(|page| page.ids().len()).sum();
        assert_eq!(found, matches, "{query}");
        for (number, page) in pages.iter().enumerate() {
            let most = bound(page, passed, ranges);
            let units = page.read_units();
            assert!(units <= most, "{query} page {number}: {units} units, at most {most}");
            let is_last = number + 1 == pages.len();
            assert!(is_last || !page.ids().is_empty(), "{query}: an empty page with a cursor");
        }
    }
}

#[tokio::test]
async fn the_order_of_a_list_by_country_is_that_of_the_list_without() {
    let catalog = Catalog::start().await;
    import(&catalog, "ACME", (0..600).map(rare)).await;
    let key = catalog.key("ACME").await;
    let all: Vec<Value> = (0..600).map(rare).collect();
    let covers = |id: &String, wanted: &[&str]| {
        let record = all.iter().find(|record| record["productOfferingId"] == **id).expect("one");
        let features = &record["product"]["features"];
        let areas = [&features["countries"], &features["regions"]];
        areas.iter().any(|list| {
            list.as_array()
                .expect("a list")
                .iter()
                .any(|area| wanted.contains(&area.as_str().expect("text")))
        })
    };
    for types in ["", "&categories=C3,C1,C5", "&includeArchived=true"] {
        let list: Vec<String> = catalog
            .pages(&key, &format!("a=b{types}"), &[1_000])
            .await
            .iter()
            .flat_map(Answer::ids)
            .collect();
        let query = format!("countries=GH,FR{types}");
        let by_country: Vec<String> =
            catalog.pages(&key, &query, &[7, 100, 1]).await.iter().flat_map(Answer::ids).collect();
        let wanted: Vec<String> =
            list.into_iter().filter(|id| covers(id, &["GH", "FR", "AFRICA", "EUROPE"])).collect();
        assert_eq!(by_country, wanted, "{query}");
        assert!(wanted.len() > 20);
    }
}

async fn items(
    client: &Client,
    table: &str,
    account: &str,
) -> Vec<std::collections::HashMap<String, AttributeValue>> {
    let mut pages = client
        .query()
        .table_name(table)
        .key_condition_expression("account = :account")
        .expression_attribute_values(":account", AttributeValue::S(account.to_owned()))
        .consistent_read(true)
        .into_paginator()
        .items()
        .send();
    let mut items = Vec::new();
    while let Some(item) = pages.next().await {
        items.push(item.expect("an item"));
    }
    items
}

async fn stored_entries(client: &Client) -> BTreeSet<Vec<u8>> {
    let items = items(client, "test-offering-areas", "ACME").await;
    let entry = |item: &std::collections::HashMap<String, AttributeValue>| {
        item["entry"].as_b().expect("bytes").as_ref().to_vec()
    };
    items.iter().map(entry).filter(|entry| entry.len() > 1).collect()
}

#[tokio::test]
async fn entries_follow_every_change_of_their_offering() {
    let catalog = Catalog::start().await;
    let client = &catalog.stack.client;
    let product =
        |features: Value| json!({"type": "LICENSE", "category": "C1", "features": features});
    let both = json!({"countries": ["GH", "US"], "regions": ["AFRICA"]});
    for (change, entries) in [
        (json!({"product": product(both.clone()), "productCatalogIds": ["k"]}), 6),
        // Ghana is in Africa, and all of it in the world.
        (
            json!({"product": product(json!({"countries": ["GH", "US"], "regions": ["AFRICA", "GLOBAL"]}))}),
            2,
        ),
        (json!({"product": product(json!({"countries": ["GH"]}))}), 2),
        (json!({"product": product(json!({"countries": ["GH"]})), "status": "ARCHIVED"}), 2),
        (json!({"product": product(json!({"countries": ["GH"]})), "customerType": "BUSINESS"}), 2),
        (json!({"product": {"type": "LICENSE", "features": {"countries": ["GH"]}}}), 1),
        (json!({"product": {"type": "SUBSCRIPTION"}}), 0),
        (json!({"product": product(both), "productCatalogIds": ["k", "l"]}), 8),
    ] {
        catalog.import("ACME", &[offering("one", change.clone())]).await;
        assert_eq!(stored_entries(client).await.len(), entries, "{change}");
    }
    let delete = json!({"kind": "offering", "op": "delete", "productOfferingId": "one"});
    catalog.import("ACME", &[delete]).await;
    assert!(stored_entries(client).await.is_empty());
}

#[tokio::test]
async fn an_offering_that_stays_where_it_is_writes_no_entry() {
    let catalog = Catalog::start().await;
    let account = "ACME".parse().expect("account");
    let meter = Meter::default();
    let store = catalog.stack.store.metered(&meter);
    let mut writes = Vec::new();
    for name in ["first", "second"] {
        let before = meter.cost().writes;
        let features = json!({"countries": ["GH", "US", "FR"]});
        let change = json!({"name": name, "product": {"category": "C1", "features": features}});
        let line = offering("one", change).to_string().into_bytes();
        let mut importer = importer(&store, &account, false);
        importer.import_group(&[(1, Ok(line))], &[]).await.expect("import");
        writes.push(meter.cost().writes - before);
    }
    // Six entries, the offering, and once the entries marker of the account.
    assert_eq!(writes, [8, 1]);
}

/// As a stack has them that was deployed before there were entries.
pub(crate) async fn without_entries(catalog: &Catalog, account: &str) {
    let client = &catalog.stack.client;
    for (number, mut item) in items(client, "test-offerings", "ACME").await.into_iter().enumerate()
    {
        // Some from before writes had an order.
        if number % 3 == 0 {
            item.remove("at");
        }
        item.insert("account".to_owned(), AttributeValue::S(account.to_owned()));
        client
            .put_item()
            .table_name("test-offerings")
            .set_item(Some(item))
            .send()
            .await
            .expect("put");
    }
}

#[tokio::test]
async fn an_account_without_entries_filters_until_a_backfill_is_complete() {
    let catalog = Catalog::start().await;
    import(&catalog, "ACME", (0..350).map(rare)).await;
    without_entries(&catalog, "OLD").await;
    let (acme, old) = (catalog.key("ACME").await, catalog.key("OLD").await);
    let queries = ["countries=GH", "regions=EUROPE", "productCatalogId=retail&countries=GH"];
    let store = &catalog.stack.store;
    let account = "OLD".parse().expect("account");
    let mut steps = 0;
    loop {
        for query in queries {
            assert_eq!(
                catalog.all_ids(&old, query).await,
                catalog.all_ids(&acme, query).await,
                "{query}"
            );
        }
        // New offerings get their entries, whether or not the old ones have theirs.
        let changed = offering(&format!("o{:05}", steps * 50), json!({"name": "changed"}));
        for account in ["ACME", "OLD"] {
            catalog.import(account, std::slice::from_ref(&changed)).await;
        }
        if store.backfill_entries(&account).await.expect("a step").is_none() {
            break;
        }
        steps += 1;
    }
    assert!(steps >= 4, "{steps}: it was interrupted after each");
    assert!(store.has_entries(&account).await.expect("marker"));
    for query in queries {
        let (ours, theirs) =
            (catalog.pages(&old, query, &[50]).await, catalog.pages(&acme, query, &[50]).await);
        assert_eq!(
            ours.iter().flat_map(Answer::ids).collect::<Vec<_>>(),
            theirs.iter().flat_map(Answer::ids).collect::<Vec<_>>()
        );
    }
}

#[tokio::test]
async fn a_key_limited_to_catalogs_lists_by_their_ranges() {
    let catalog = Catalog::start().await;
    import(&catalog, "ACME", (0..2_000).map(rare)).await;
    let key = catalog
        .key_with("ACME", |record| {
            record.product_catalogs = Some(["retail".parse().expect("id")].into());
        })
        .await;
    catalog.get(&key, "/product-offerings?limit=1").await;
    let page = catalog.get(&key, "/product-offerings?customerType=CONSUMER&limit=40").await;
    assert_eq!(page.ids().len(), 40);
    assert!(page.read_units() <= bound(&page, 0, 1), "{} units", page.read_units());
}

#[tokio::test]
async fn the_sample_by_country_costs_half_a_unit_an_offering() {
    let catalog = Catalog::start().await;
    sample::load(&catalog.stack.store).await.expect("sample");
    catalog.get(ACME, "/product-offerings?countries=GH&limit=1").await;
    let page = catalog.get(ACME, "/product-offerings?countries=GH&limit=20").await;
    assert_eq!(page.ids().len(), 20);
    assert!(page.read_units() <= bound(&page, 0, 3), "{} units", page.read_units());
}

#[tokio::test]
async fn large_offerings_are_not_read_in_vain() {
    let catalog = Catalog::start().await;
    let text = "t".repeat(370_000);
    let features = json!({"countries": ["GH"]});
    let change = json!({"description": text, "product": {"features": features}});
    import(&catalog, "ACME", (0..30).map(|n| offering(&format!("o{n:02}"), change.clone()))).await;
    let key = catalog.key("ACME").await;
    let pages = catalog.pages(&key, "countries=GH&customerType=CONSUMER", &[100]).await;
    let found: Vec<String> = pages.iter().flat_map(Answer::ids).collect();
    assert_eq!(found, (0..30).map(|n| format!("o{n:02}")).collect::<Vec<_>>());
    for page in &pages {
        let offerings = u32::try_from(page.ids().len()).expect("small");
        // An item of 370,500 bytes has 91 blocks of 4 KB; the three ranges and the entries marker.
        let most = 0.6 * 91.0 * f64::from(offerings) + 0.5 * 4.0;
        assert!(page.read_units() <= most, "{} units, at most {most}", page.read_units());
    }
}

#[tokio::test]
async fn a_key_limited_to_hundreds_of_catalogs_gets_every_offering_once() {
    let catalog = Catalog::start().await;
    import(&catalog, "ACME", (0..400).map(rare)).await;
    let all = catalog.all_ids(&catalog.key("ACME").await, "countries=GH").await;
    for count in [150, 500] {
        let ids =
            (0..count).map(|n| format!("k{n}")).chain(["retail".to_owned(), "web".to_owned()]);
        let ids = ids.map(|id| id.parse().expect("an id")).collect();
        let key = catalog.key_with("ACME", |record| record.product_catalogs = Some(ids)).await;
        let pages = catalog.pages(&key, "countries=GH", &[3]).await;
        let mut found: Vec<String> = pages.iter().flat_map(Answer::ids).collect();
        found.sort();
        assert_eq!(found, all, "{count} catalogs");
    }
}

#[tokio::test]
async fn a_backfill_can_begin_again_after_an_older_version_has_written() {
    let catalog = Catalog::start().await;
    import(&catalog, "ACME", (0..120).map(rare)).await;
    // The account is complete, and then gets offerings without entries.
    catalog.import("LATE", &[offering("first", json!({}))]).await;
    without_entries(&catalog, "LATE").await;
    let key = catalog.key("LATE").await;
    assert!(catalog.all_ids(&key, "countries=GH").await.is_empty());
    let (store, account) = (&catalog.stack.store, "LATE".parse().expect("account"));
    assert_eq!(store.backfill_entries(&account).await.expect("complete"), None);
    store.forget_entries(&account).await.expect("forgotten");
    while store.backfill_entries(&account).await.expect("a step").is_some() {}
    let all = catalog.all_ids(&catalog.key("ACME").await, "countries=GH").await;
    assert_eq!(catalog.all_ids(&key, "countries=GH").await, all);
}

#[tokio::test]
async fn an_offering_whose_write_was_not_seen_to_succeed_keeps_its_entries() {
    let catalog = Catalog::start().await;
    let attempts = AtomicU32::new(0);
    let url = proxy(&catalog.stack.addresses().dynamodb_url, move |operation, request| {
        // The offering's own item, the first time.
        let is_item = operation == "PutItem" && request.contains("\"test-offerings\"");
        if is_item && attempts.fetch_add(1, Ordering::Relaxed) == 0 {
            Fate::Unseen
        } else {
            Fate::Pass
        }
    })
    .await;
    let client = lean_client(&Connection::local(&url)).expect("client");
    let store = Store::new(client, TableNames::with_prefix("test"));
    let account = "ACME".parse().expect("account");
    let mut importer = importer(&store, &account, false);
    let record = offering("o", json!({"product": {"features": {"countries": ["GH"]}}}));
    let lines = [(1, Ok(record.to_string().into_bytes()))];
    let rejected = Box::pin(importer.import_group(&lines, &[])).await.expect("import");
    assert!(rejected.is_empty(), "{rejected:?}");
    let key = catalog.key("ACME").await;
    assert_eq!(catalog.all_ids(&key, "countries=GH").await, ["o"]);
}
