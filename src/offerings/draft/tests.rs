use serde_json::{Value, json};

use super::*;

const CREATED: &str = "2026-01-01T00:00:00.000Z";
const UPDATED: &str = "2026-01-02T00:00:00.000Z";

fn merge(record: &mut Value, change: &Value) {
    match change {
        Value::Object(members) if record.is_object() => {
            for (name, value) in members {
                merge(&mut record[name], value);
            }
        }
        other => *record = other.clone(),
    }
}

/// A record with these members over its own.
fn record(change: &Value) -> Value {
    let mut record = json!({
        "productOfferingId": "o1", "name": "Plan", "customerType": "CONSUMER",
        "price": {"currency": "USD", "priceType": "ONE_TIME", "grossPrice": 10},
        "product": {"productId": "p1", "type": "LICENSE"},
    });
    merge(&mut record, change);
    record
}

fn prepared(json: &str) -> Result<PreparedOffering, Vec<String>> {
    let draft: OfferingDraft = serde_json::from_str(json).expect("a record");
    draft.prepare().map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

fn offering(change: &Value) -> PreparedOffering {
    prepared(&record(change).to_string()).expect("an offering")
}

fn stored(offering: PreparedOffering) -> StoredOffering {
    offering.into_stored(CREATED.parse().expect("a time"), UPDATED.parse().expect("a time"))
}

#[test]
fn a_record_of_what_is_required_is_an_offering_on_sale_without_a_discount() {
    let row = stored(offering(&json!({})));
    assert_eq!(
        row.document.plain(),
        format!(
            "{{\"productOfferingId\":\"o1\",\"status\":\"AVAILABLE\",\"customerType\":\"CONSUMER\",\"name\":\"Plan\",\
             \"price\":{{\"currency\":\"USD\",\"priceType\":\"ONE_TIME\",\"grossPrice\":10,\"discount\":0,\
             \"netPrice\":10}},\"product\":{{\"productId\":\"p1\",\"type\":\"LICENSE\"}},\"metadata\":{{}},\
             \"createdAt\":\"{CREATED}\",\"updatedAt\":\"{UPDATED}\"}}"
        )
    );
    let expected = StoredOffering {
        id: OfferingId::parse("o1").expect("an id"),
        status: Status::Available,
        product_type: super::super::ProductType::License,
        category: None,
        visibility: Visibility { customer_type: CustomerType::Consumer, catalogs: BTreeSet::new() },
        countries: BTreeSet::new(),
        regions: BTreeSet::new(),
        document: row.document.clone(),
    };
    assert_eq!(row, expected);
}

#[test]
fn what_filters_need_of_an_offering_is_stored_beside_it() {
    let row = stored(offering(&json!({
        "status": "ARCHIVED", "customerType": "BUSINESS", "productCatalogIds": ["web", "app"],
        "product": {"category": "PRODUCT_CATEGORY_ESIM", "features": {"countries": ["GH", "FR"], "regions": ["AFRICA"]}},
    })));
    let ids: Vec<&str> = row.visibility.catalogs.iter().map(CatalogId::as_str).collect();
    let countries: Vec<&str> = row.countries.iter().map(crate::geography::Country::code).collect();
    let regions: Vec<&str> = row.regions.iter().map(|region| region.as_str()).collect();
    assert_eq!((ids, countries, regions), (vec!["app", "web"], vec!["FR", "GH"], vec!["AFRICA"]));
    assert_eq!(
        (row.status, row.visibility.customer_type),
        (Status::Archived, CustomerType::Business)
    );
    assert_eq!(row.category.as_ref().map(Category::as_str), Some("ESIM"));
    // Catalogs are the seller's own matter.
    assert!(!row.document.plain().contains("web"));
}

#[test]
fn a_recurring_price_has_a_cycle_and_one_to_pay_once_has_none() {
    let cycle = |price: Value| {
        let row = stored(offering(&json!({ "price": price })));
        let document: Value = serde_json::from_str(&row.document.plain()).expect("JSON");
        (document["price"]["billingCycle"].clone(), document["price"]["netPrice"].clone())
    };
    let monthly = json!({"period": "MONTHLY"});
    let recurring = json!({"priceType": "RECURRING", "billingCycle": monthly, "grossPrice": 1.005});
    assert_eq!(cycle(recurring), (json!({"period": "MONTHLY", "interval": 1}), json!(1)));
    let twice =
        json!({"priceType": "RECURRING", "billingCycle": {"period": "YEARLY", "interval": 2}});
    assert_eq!(cycle(twice), (json!({"period": "YEARLY", "interval": 2}), json!(10)));
    assert_eq!(cycle(json!({ "billingCycle": monthly })), (Value::Null, json!(10)));
}

#[test]
fn everything_that_is_wrong_with_a_record_is_told_by_field() {
    let catalogs = |count: usize| (0..count).map(|n| format!("k{n}")).collect::<Vec<_>>();
    for (change, errors) in [
        (json!({"name": " "}), &["name: must not be empty"][..]),
        (json!({"product": {"productId": ""}}), &["product.productId: must not be empty"]),
        (
            json!({"price": {"grossPrice": -0.01}}),
            &["price.grossPrice: must be greater than or equal to 0"],
        ),
        (json!({"price": {"grossPrice": 0}}), &[]),
        (
            json!({"price": {"priceType": "RECURRING"}}),
            &["price.billingCycle: is required when priceType is RECURRING"],
        ),
        (json!({"metadata": []}), &["metadata: must be a JSON object"]),
        (json!({"productCatalogIds": catalogs(100)}), &[]),
        (
            json!({"productCatalogIds": catalogs(101), "name": ""}),
            &[
                "name: must not be empty",
                "productCatalogIds: an offering may belong to at most 100 catalogs",
            ],
        ),
    ] {
        let told = prepared(&record(&change).to_string()).err().unwrap_or_default();
        assert_eq!(told, errors, "{change}");
    }
    let surrogate =
        record(&json!({"metadata": {"a": 1}})).to_string().replace("\"a\"", "\"\\ud800\"");
    assert_eq!(prepared(&surrogate).expect_err("no text"), ["metadata: must be valid Unicode"]);
}

#[test]
fn an_offering_is_as_long_as_an_item_of_the_database_holds() {
    let long = |bytes: usize| json!({"description": "x".repeat(bytes), "createdAt": CREATED});
    let document = |change: &Value| {
        let offering = offering(change);
        let (created_at, updated_at) = (offering.offering.created_at, offering.offering.updated_at);
        offering.document(created_at, updated_at).len()
    };
    let rest = MAX_DOCUMENT_BYTES - document(&long(0));
    assert_eq!(document(&long(rest)), MAX_DOCUMENT_BYTES);
    let message = "the offering must be at most 380000 bytes of JSON";
    let told = |change: &Value| prepared(&record(change).to_string()).err();
    assert_eq!(told(&long(rest)), None);
    assert_eq!(told(&long(rest + 1)), Some(vec![message.to_owned()]));
    // Of a record that is wrong besides, what is wrong is told first.
    let mut empty = long(rest + 1);
    empty["name"] = "".into();
    assert_eq!(told(&empty), Some(vec!["name: must not be empty".to_owned()]));
}

#[test]
fn two_versions_are_equal_if_all_but_their_times_is() {
    let same =
        |change: &Value, other: &Value| offering(change).content() == offering(other).content();
    let times = json!({"createdAt": CREATED, "updatedAt": UPDATED});
    assert!(same(&json!({}), &times));
    assert!(same(
        &json!({"productCatalogIds": ["a", "b"]}),
        &json!({"productCatalogIds": ["b", "a"]})
    ));
    for other in [
        json!({"name": "Other"}),
        json!({"metadata": {"a": 1}}),
        json!({"productCatalogIds": ["a"]}),
    ] {
        assert!(!same(&json!({}), &other), "{other}");
    }
    assert!(!same(
        &json!({"productCatalogIds": ["ab"]}),
        &json!({"productCatalogIds": ["a", "b"]})
    ));
    // Its own times are those of its document, too.
    let own = offering(&times);
    assert_eq!(own.source_created_at(), CREATED.parse().ok());
    assert_eq!(offering(&json!({})).source_created_at(), None);
    assert_eq!(own.id().as_str(), "o1");
}

#[test]
fn an_archived_offering_is_the_same_but_for_its_status() {
    let change = json!({"productCatalogIds": ["web"], "product": {"category": "ESIM"}, "metadata": {"a": 1.0}});
    let row = stored(offering(&change));
    let archived = stored(PreparedOffering::archived(row.clone()).expect("an offering"));
    let document = row.document.plain().replace("AVAILABLE", "ARCHIVED");
    assert_eq!(
        archived,
        StoredOffering { status: Status::Archived, document: document.into(), ..row.clone() }
    );
    let broken = StoredOffering { document: "{}".to_owned().into(), ..row };
    assert!(PreparedOffering::archived(broken).is_none());
}

#[test]
fn metadata_is_kept_to_the_character_but_for_its_line_breaks() {
    let text = record(&json!({"metadata": {"a": 1}})).to_string();
    let kept = |metadata: &str| {
        let row = stored(prepared(&text.replace("{\"a\":1}", metadata)).expect("an offering"));
        let document = row.document.plain().into_owned();
        let (_, rest) = document.split_once("\"metadata\":").expect("metadata");
        rest.split_once(",\"createdAt\"").expect("a time").0.to_owned()
    };
    assert_eq!(kept("{ \"a\":\t1.50 }"), "{ \"a\":\t1.50 }");
    assert_eq!(kept("{\"a\":\r\n1}"), "{\"a\":  1}");
}
