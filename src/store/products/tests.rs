use aws_sdk_dynamodb::Client;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::*;
use crate::{
    order::Origin,
    products::{
        ExternalId, OrderedRow, ProductDelete as _, ProductRemoval, ProductRow, ProductWrites as _,
        WhenOlder,
    },
    scripted_service::{Reply, ScriptedService},
    store::TableNames,
};

/// The order of the one write of this hour.
fn order(hour: i64) -> Order {
    let time = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(hour);
    Origin::new(time, "test").order(1)
}

fn order_json(hour: i64) -> Value {
    json!({ "B": STANDARD.encode(order(hour).as_bytes()) })
}

/// A condition failed, because this item is stored.
fn condition_failed(item: &Value) -> Reply {
    let kind = "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException";
    Reply::new(400, json!({ "__type": kind, "message": "m", "Item": item }).to_string())
}

fn account() -> AccountId {
    AccountId::parse("ACME").expect("account")
}

/// Writes the row of the first hour to a database that gives these replies; returns how many it gave.
async fn write(when_older: WhenOlder, replies: Vec<Reply>) -> (Result<(), RowError>, usize) {
    let service = ScriptedService::new(replies);
    let store = Store::new(Client::new(&service.config()), TableNames::with_prefix("test"));
    let row = serde_json::value::to_raw_value(&json!({ "sku": "s", "name": "n" })).expect("JSON");
    let row = ProductRow::parse(&row).expect("a row");
    let new_id = ProductId::from_bytes([1; 16]);
    let row = OrderedRow { row: &row, order: order(1), when_older, new_id };
    let applied = store.apply(&account(), row).await.map(|_| ());
    (applied, service.asked().len())
}

#[tokio::test(start_paused = true)]
async fn a_row_that_is_overtaken_32_times_is_given_up_with_the_next() {
    let overtaken = (2..).map(|hour| condition_failed(&json!({ "last": order_json(hour) })));
    let written = Reply::new(
        200,
        json!({ "Attributes": { "id": { "S": "018e2a4b-0000-7000-8000-aabbccddeeff" } } })
            .to_string(),
    );
    let most = overtaken.clone().take(32).chain([written]).collect();
    let (applied, requests) = write(WhenOlder::MoveAfterNewest, most).await;
    assert!(applied.is_ok(), "{applied:?}");
    assert_eq!(requests, 33);
    let (refused, requests) = write(WhenOlder::MoveAfterNewest, overtaken.take(33).collect()).await;
    assert!(matches!(refused, Err(RowError::Unavailable)), "{refused:?}");
    assert_eq!(requests, 33);
}

#[tokio::test(start_paused = true)]
async fn a_late_row_whose_product_changes_each_time_is_given_up_after_eight_times() {
    // A tombstone that is older than the row, of a product that was written after it.
    let item = json!({ "at": order_json(0), "last": order_json(2), "revision": { "N": "1" } });
    // First the row is late, then something has changed in between.
    let (refused, requests) = write(WhenOlder::KeepNewer, vec![condition_failed(&item); 16]).await;
    assert!(matches!(refused, Err(RowError::Unavailable)), "{refused:?}");
    assert_eq!(requests, 16);
}

#[tokio::test(start_paused = true)]
async fn a_delete_by_a_link_that_leads_nowhere_is_tried_eight_times() {
    let link = json!({ "Item": { "linkedTo": { "S": "SKU#s" } } }).to_string();
    let replies = (0..8).flat_map(|_| [Reply::new(200, link.as_str()), Reply::new(200, "{}")]);
    let service = ScriptedService::new(replies);
    let store = Store::new(Client::new(&service.config()), TableNames::with_prefix("test"));
    let removal = ProductRemoval { order: order(1), only_if_unchanged: false };
    let product = ProductKey::ExternalId(ExternalId::parse("e").expect("an id"));
    let refused = store.delete_product(&account(), &product, removal).await;
    assert!(matches!(refused, Err(RowError::Unavailable)), "{refused:?}");
    let asked = service.asked();
    let read =
        |asked: &crate::scripted_service::Asked| asked.json()["Key"]["productKey"]["S"].clone();
    let expected = ["EXT#e", "SKU#s"].repeat(8);
    assert_eq!(asked.iter().map(read).collect::<Vec<_>>(), expected);
}
