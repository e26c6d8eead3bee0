//! What reads cost, as DynamoDB itself counts it.

use aws_sdk_dynamodb::types::AttributeValue;
use catalog_cli::local::sample;
use serde_json::{Value, json};
use serverless_catalog::{cost::Meter, source::Line};

use crate::support::{Answer, Catalog, importer, offering};

const ACME: &str = sample::SAMPLES[0].key;

/// The bytes DynamoDB counts for a value ("Item sizes and formats" in the developer guide).
fn value_bytes(value: &AttributeValue) -> usize {
    match value {
        AttributeValue::S(text) => text.len(),
        AttributeValue::N(digits) => digits.len().div_ceil(2) + 1,
        AttributeValue::B(bytes) => bytes.as_ref().len(),
        AttributeValue::Ss(texts) => texts.iter().map(String::len).sum(),
        other => panic!("an attribute of another type: {other:?}"),
    }
}

/// The read units that reading these bytes in one query costs, eventually consistently.
fn units(bytes: usize) -> f64 {
    f64::from(u32::try_from(bytes.div_ceil(4_096)).expect("small")) * 0.5
}

/// The index ranges a query has, by the contract: one a customer type, category, and status and
/// type where types are asked for.
fn ranges(query: &str) -> u32 {
    let count = |name: &str| {
        let values = query.split(name).nth(1).and_then(|rest| rest.split('&').next());
        values.map(|values| u32::try_from(values.split(',').count()).expect("small"))
    };
    let customer_types = count("&customerType=").unwrap_or(2);
    let statuses = if query.contains("includeArchived=true") { 2 } else { 1 };
    let ranges = count("&types=").map_or(1, |types| types * statuses);
    customer_types * count("&categories=").unwrap_or(1) * ranges
}

/// The stored size of every sample offering of ACME.
async fn stored_sizes(catalog: &Catalog) -> std::collections::HashMap<String, usize> {
    let mut sizes = std::collections::HashMap::new();
    let mut start = None;
    loop {
        let reply = catalog
            .stack
            .client
            .query()
            .table_name("test-offerings")
            .key_condition_expression("account = :account")
            .expression_attribute_values(":account", AttributeValue::S("ACME".to_owned()))
            .set_exclusive_start_key(start)
            .send()
            .await
            .expect("query");
        for item in reply.items() {
            let id = item["productOfferingId"].as_s().expect("id").clone();
            sizes
                .insert(id, item.iter().map(|(name, value)| name.len() + value_bytes(value)).sum());
        }
        start = reply.last_evaluated_key;
        if start.is_none() {
            return sizes;
        }
    }
}

#[tokio::test]
async fn a_page_costs_what_its_items_cost() {
    let catalog = Catalog::start().await;
    sample::load(&catalog.stack.store).await.expect("sample");
    let sizes = stored_sizes(&catalog).await;
    catalog.get(ACME, "/product-offerings?limit=1").await;

    let mut compared = 0;
    for customer_type in ["", "customerType=CONSUMER&", "customerType=BUSINESS&"] {
        for types in ["", "types=LICENSE&", "types=SUBSCRIPTION,SUBSCRIPTION_ADDON&"] {
            for categories in
                ["", "categories=TRAVEL_ESIM_PACKAGE&", "categories=ABROAD,EXTRA_DATA,TRAVEL_ESIM&"]
            {
                for archived in ["", "includeArchived=true&"] {
                    for limit in [20, 100, 1_000] {
                        let query = format!("&{customer_type}{types}{categories}{archived}");
                        for page in catalog.pages(ACME, query.trim_matches('&'), &[limit]).await {
                            let bytes: usize = page.ids().iter().map(|id| sizes[id]).sum();
                            let touched = page.queries().min(ranges(&query));
                            let most = units(bytes) * 1.05 + f64::from(touched) * 0.5;
                            assert!(
                                page.read_units() <= most,
                                "{query}limit={limit}: {} units for {bytes} bytes in {} queries",
                                page.read_units(),
                                page.queries()
                            );
                            compared += 1;
                        }
                    }
                }
            }
        }
    }
    assert!(compared > 200, "{compared} pages");
}

#[tokio::test]
async fn a_read_touches_no_more_ranges_than_its_filters_have() {
    let catalog = Catalog::start().await;
    sample::load(&catalog.stack.store).await.expect("sample");
    for (query, ranges) in [
        ("customerType=CONSUMER", 1),
        ("customerType=CONSUMER&includeArchived=true", 1),
        ("", 2),
        ("types=LICENSE", 2),
        ("types=LICENSE&includeArchived=true", 4),
        ("customerType=CONSUMER&categories=ABROAD", 1),
        ("categories=NONE_SUCH&customerType=BUSINESS&types=LICENSE", 1),
    ] {
        let pages = catalog.pages(ACME, query, &[1_000]).await;
        assert_eq!(pages.len(), 1, "{query}");
        // A range opened beside others for a first look is read on once.
        assert!(pages[0].queries() < 2 * ranges, "{query}: {} queries", pages[0].queries());
        assert!(pages[0].queries() >= ranges, "{query}");
    }
}

#[tokio::test]
async fn a_request_over_empty_ranges_costs_at_most_a_hundred_units_and_the_next_one_goes_on() {
    let catalog = Catalog::start().await;
    // One offering, in the last range of the widest query there is.
    let only = offering(
        "only",
        json!({"customerType": "BUSINESS", "status": "ARCHIVED",
               "product": {"type": "EXTERNAL_PRODUCT", "category": "C099"}}),
    );
    catalog.import("ACME", &[only]).await;
    let key = catalog.key("ACME").await;
    let categories: Vec<String> = (0..100).map(|n| format!("C{n:03}")).collect();
    let categories = categories.join(",");
    let types = "SUBSCRIPTION,LICENSE,EXTERNAL_PRODUCT";
    let query = format!("types={types}&includeArchived=true&categories={categories}");
    let pages = catalog.pages(&key, &query, &[1_000]).await;
    assert_eq!(pages.iter().flat_map(Answer::ids).collect::<Vec<_>>(), ["only"]);
    // 2 customer types, 100 categories, 3 types in 2 statuses.
    assert_eq!(pages.iter().map(Answer::queries).collect::<Vec<_>>(), [200; 6]);
    for page in &pages {
        assert!(page.read_units() <= 100.0, "{} units", page.read_units());
    }
}

async fn fill(catalog: &Catalog, account: &str, count: usize) {
    let account = account.parse().expect("account");
    let mut importer = importer(&catalog.stack.store, &account, false);
    let lines: Vec<Line> = (0..count)
        .map(|n| {
            // The first offerings are the same in every catalog, whatever its size.
            let time = "2026-01-01T00:00:00.000Z";
            let change = json!({"product": {"category": "TRAVEL_ESIM"}, "createdAt": time, "updatedAt": time});
            let record = offering(&format!("o{n:06}"), change);
            (n as u64, Ok(record.to_string().into_bytes()))
        })
        .collect();
    for group in lines.chunks(1_000) {
        let refused = importer.import_group(group, &[]).await.expect("import");
        assert!(refused.is_empty());
    }
}

#[tokio::test]
async fn a_hundred_thousand_offerings_serve_a_page_at_the_cost_of_a_thousand() {
    let catalog = Catalog::start().await;
    tokio::join!(fill(&catalog, "SMALL", 1_000), fill(&catalog, "LARGE", 100_000));
    let (small, large) = (catalog.key("SMALL").await, catalog.key("LARGE").await);
    for query in [
        "",
        "?limit=10",
        "?categories=TRAVEL_ESIM",
        "?types=SUBSCRIPTION&customerType=CONSUMER&limit=500",
    ] {
        let path = format!("/product-offerings{query}");
        let (few, many) = (catalog.get(&small, &path).await, catalog.get(&large, &path).await);
        assert_eq!(few.json()["items"], many.json()["items"], "{query}");
        assert_eq!(
            (few.queries(), few.read_units()),
            (many.queries(), many.read_units()),
            "{query}"
        );
    }

    let mut costs: Vec<(u32, f64)> = Vec::new();
    let mut cursor = String::new();
    for _ in 0..50 {
        let page = catalog.get(&large, &format!("/product-offerings?limit=100{cursor}")).await;
        costs.push((page.queries(), page.read_units()));
        cursor = format!("&cursor={}", page.next_cursor().expect("more"));
    }
    assert!(costs.iter().all(|cost| *cost == costs[0]), "{costs:?}");
}

#[tokio::test]
async fn importing_again_what_is_stored_writes_nothing() {
    let catalog = Catalog::start().await;
    let account = "ACME".parse().expect("account");
    let lines: Vec<Line> = (1..)
        .zip(sample::SAMPLES[0].records[0].lines())
        .map(|(n, line)| (n, Ok(line.into())))
        .collect();
    let mut costs: Vec<Value> = Vec::new();
    for _ in 0..2 {
        let meter = Meter::default();
        let store = catalog.stack.store.metered(&meter);
        let mut importer = importer(&store, &account, false);
        importer.import_group(&lines, &[]).await.expect("import");
        let (counts, cost) = (importer.counts(), meter.cost());
        costs.push(json!([counts.created, counts.unchanged, cost.write_units > 0.0]));
        let rows = u32::try_from(lines.len()).expect("small");
        assert!(cost.read_units <= f64::from(rows), "{cost:?}");
    }
    let all = lines.len();
    assert_eq!(costs, [json!([all, 0, true]), json!([0, all, false])]);
}
