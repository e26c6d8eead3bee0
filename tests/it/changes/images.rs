//! Changes between images of items: what is told where they do not say everything.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{change, cursor, event, record, told};
use crate::support::Catalog;

/// A batch with one record, whose images have these prices, of which text is none.
fn repriced(number: u32, old: Option<Value>, new: Option<Value>) -> Value {
    let mut batch = event(number, "a", Timestamp::now());
    let record = &mut batch["Records"][0]["dynamodb"];
    let image = record["NewImage"].take();
    record["Keys"]["productKey"] = json!({"S": "SKU#s"});
    record.as_object_mut().expect("a record").remove("NewImage");
    for (name, price) in [("OldImage", old), ("NewImage", new)] {
        if let Some(price) = price {
            let mut image = image.clone();
            (image["productKey"], image["sku"]) = (json!({"S": "SKU#s"}), json!({"S": "s"}));
            image["price"] = price;
            record[name] = image;
        }
    }
    batch
}

#[tokio::test]
async fn a_change_whose_images_are_unreadable_is_told_as_far_as_it_is_known() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    let (good, bad) = (json!({"N": "1"}), json!({"S": "cheap"}));
    let now = Timestamp::now();
    let mut since = catalog.now(&key).await;
    for (number, (old, new, op)) in (1..).zip([
        (None, Some(&good), "upsert"),
        // It cannot be exported any more.
        (Some(&good), Some(&bad), "delete"),
        (Some(&bad), Some(&bad), "delete"),
        (Some(&bad), Some(&good), "upsert"),
        (Some(&bad), None, "delete"),
    ]) {
        record(&catalog, now, &repriced(number, old.cloned(), new.cloned())).await;
        let page = catalog.since(&key, &since).await;
        assert_eq!(told(&page), [change(op, "product", "s")], "{number}");
        assert_eq!(page.json()["changes"][0]["idField"], "sku");
        since = cursor(&page);
    }
}

#[tokio::test]
async fn a_removed_bundle_has_the_source_of_its_own_transaction_or_none() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    let now = Timestamp::now();
    let at = |seconds: i64| now - SignedDuration::from_secs(60 - seconds);
    let arn = "arn:aws:dynamodb:eu-west-1:123456789012:table/test-networks/stream/2026";
    let network = |at: Timestamp, source: &str| {
        let item = |name: &str| {
            json!({"account": {"S": "ACME"}, "itemKey": {"S": "NETWORK#0000000007"}, "name": {"S": name},
                "country": {"S": "Ghana"}, "countryCode": {"S": "GH"}, "currency": {"S": "GHS"}, "b": {"S": source}})
        };
        (at, Some(item("before")), Some(item("after")))
    };
    let removed = |at: Timestamp, id: u32| {
        let item = json!({"account": {"S": "ACME"}, "itemKey": {"S": format!("NETWORK#0000000007#BUNDLE#{id:010}")},
            "document": {"S": format!("{{\"id\":{id},\"name\":\"b\"}}")}});
        (at, Some(item), None)
    };
    // Of the first transaction the network's record came with the batch before.
    let writes = [removed(at(1), 1), network(at(30), "second"), removed(at(30), 2)];
    let records: Vec<Value> = (1..)
        .zip(writes)
        .map(|(number, (at, old, new))| {
            let item = new.as_ref().or(old.as_ref()).expect("an image");
            let mut record = json!({
                "eventID": "1", "eventName": "MODIFY", "eventSource": "aws:dynamodb", "awsRegion": "eu-west-1",
                "eventSourceARN": arn,
                "dynamodb": {
                    "Keys": {"account": item["account"], "itemKey": item["itemKey"]},
                    "ApproximateCreationDateTime": at.as_second(), "SizeBytes": 100,
                    "SequenceNumber": format!("{}", 1_000 + number), "StreamViewType": "NEW_AND_OLD_IMAGES",
                },
            });
            for (name, image) in [("OldImage", old), ("NewImage", new)] {
                if let Some(image) = image {
                    record["dynamodb"][name] = image;
                }
            }
            record
        })
        .collect();
    let mut batch = event(1, "networks", now);
    (batch["Records"], batch["eventSourceARN"]) = (records.into(), json!(arn));
    record(&catalog, now, &batch).await;
    let page = catalog.changes(&key, "kinds=bundle").await.json();
    let told = page["changes"].as_array().expect("changes");
    let told: Vec<_> =
        told.iter().map(|change| (&change["id"], change["source"].as_str())).collect();
    assert_eq!(told, [(&json!("7/1"), None), (&json!("7/2"), Some("second"))]);
}
