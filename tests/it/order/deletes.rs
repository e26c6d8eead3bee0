//! What was deleted stays deleted, until something newer brings it back.

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;
use serde_json::{Value, json};
use serverless_catalog::imports::Counts;

use super::{delete, hour, id, product};
use crate::{
    export::export,
    messages::{Message, done},
    networks::{bundle, bundle_record, network},
    queue::Imports,
    support::{merge_into, offering},
    upsert::all,
};

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
    let client = &imports.catalog.stack.client;
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
