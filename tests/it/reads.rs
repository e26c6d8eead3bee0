//! How the items of many keys are read: first as a key range, as long as that is cheaper, then the rest in batches,
//! which are repeated until no key is left.
//!
//! The database is one that answers exactly as a test says.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use serverless_catalog::{
    cost::Meter,
    imports::{DocumentKey, DocumentStore as _},
    offerings::OfferingId,
    store::{Connection, Store, StoreError, TableNames, lean_client},
};
use tokio::{io::AsyncWriteExt as _, net::TcpListener};

use crate::proxy::message;

const TABLE: &str = "test-offerings";

/// Starts a database; returns its URL.
async fn database(answer: impl Fn(&str, Value) -> Value + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
    let url = format!("http://{}", listener.local_addr().expect("address"));
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                while let Some(request) = message(&mut socket).await {
                    let request = String::from_utf8(request).expect("UTF-8");
                    let (head, body) = request.split_once("\r\n\r\n").expect("a request");
                    let target = head.lines().find_map(|line| line.strip_prefix("x-amz-target: "));
                    let operation = target.and_then(|target| target.split('.').nth(1));
                    let body = serde_json::from_str(body).expect("JSON");
                    let reply = answer(operation.expect("an operation"), body).to_string();
                    let head = format!(
                        "HTTP/1.1 200 OK\r\ncontent-type: application/x-amz-json-1.0\r\ncontent-length: {}\r\n\r\n",
                        reply.len()
                    );
                    if socket.write_all((head + &reply).as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    url
}

/// Reads offerings `000`, `001`, … of which none is there; returns what that cost.
async fn read(url: &str, count: usize) -> Result<f64, StoreError> {
    let client = lean_client(&Connection::local(url)).expect("client");
    let meter = Meter::default();
    let store = Store::new(client, TableNames::with_prefix("test")).metered(&meter);
    let keys: Vec<DocumentKey> = (0..count)
        .map(|number| {
            DocumentKey::Offering(OfferingId::parse(&format!("{number:03}")).expect("an id"))
        })
        .collect();
    let stored = store.stored(&"ACME".parse().expect("account"), &keys).await?;
    assert!(stored.is_empty());
    Ok(meter.cost().read_units)
}

fn keys_of(batch: &Value) -> Vec<Value> {
    batch["RequestItems"][TABLE]["Keys"].as_array().expect("keys").clone()
}

/// The reply to a batch of which the last `count` keys are unprocessed.
fn left(batch: &Value, count: usize) -> Value {
    let keys = keys_of(batch);
    let left = &keys[keys.len() - count..];
    let unprocessed = if left.is_empty() { json!({}) } else { json!({TABLE: {"Keys": left}}) };
    json!({
        "Responses": {}, "UnprocessedKeys": unprocessed,
        "ConsumedCapacity": [{"TableName": TABLE, "CapacityUnits": 1.0}],
    })
}

fn key(id: &str) -> Value {
    json!({"account": {"S": "ACME"}, "productOfferingId": {"S": id}})
}

#[tokio::test]
async fn a_batch_of_which_every_reply_brings_something_is_read_to_its_end() {
    let url = database(|operation, batch| {
        assert_eq!(operation, "BatchGetItem");
        left(&batch, keys_of(&batch).len() - 1)
    })
    .await;
    // Many more rounds than a request has attempts.
    assert_eq!(read(&url, 19).await.expect("all of them").to_string(), "19");
}

#[tokio::test]
async fn a_batch_of_which_no_reply_brings_anything_is_given_up_after_eight() {
    let rounds = Arc::new(Mutex::new(0));
    let counted = rounds.clone();
    let url = database(move |_, batch| {
        *counted.lock().expect("lock") += 1;
        left(&batch, keys_of(&batch).len())
    })
    .await;
    let error = read(&url, 3).await.expect_err("nothing");
    assert!(error.is_unavailable() && format!("{error:?}").contains("3 keys"), "{error:?}");
    assert_eq!(*rounds.lock().expect("lock"), 8);
}

#[tokio::test]
async fn a_reply_that_brings_something_resets_the_count_of_empty_replies() {
    let rounds = Arc::new(Mutex::new(0));
    let counted = rounds.clone();
    let url = database(move |_, batch| {
        let mut rounds = counted.lock().expect("lock");
        *rounds += 1;
        let count = keys_of(&batch).len();
        left(&batch, if *rounds % 6 == 0 { count - 1 } else { count })
    })
    .await;
    read(&url, 2).await.expect("all of them");
    assert_eq!(*rounds.lock().expect("lock"), 12);
}

/// Reads `count` keys from a database that answers each `Query` with the next of `pages`: its cost, and the id it ends at
/// (`None`: the range is read to its end). Returns how many pages were read, and the keys that were read singly after
/// them.
async fn range(count: usize, pages: &'static [(f64, Option<&str>)]) -> (usize, Vec<String>) {
    let read_pages = Arc::new(Mutex::new((0, Vec::new())));
    let seen = read_pages.clone();
    let url = database(move |operation, request| {
        let mut seen = seen.lock().expect("lock");
        if operation == "BatchGetItem" {
            let id = |key: &Value| key["productOfferingId"]["S"].as_str().expect("id").to_owned();
            seen.1.extend(keys_of(&request).iter().map(id));
            return left(&request, 0);
        }
        assert_eq!(operation, "Query");
        let (units, end) = pages[seen.0];
        seen.0 += 1;
        let mut reply = json!({
            "Items": [], "Count": 0, "ScannedCount": 0,
            "ConsumedCapacity": {"TableName": TABLE, "CapacityUnits": units},
        });
        if let Some(end) = end {
            reply["LastEvaluatedKey"] = key(end);
        }
        reply
    })
    .await;
    let cost = read(&url, count).await.expect("all of them");
    let (pages_read, mut singly) = read_pages.lock().expect("lock").clone();
    let batches = singly.len().div_ceil(100);
    let units: f64 = pages[..pages_read].iter().map(|(units, _)| units).sum();
    assert_eq!(
        cost.to_string(),
        (units + f64::from(u32::try_from(batches).expect("few"))).to_string()
    );
    singly.sort();
    (pages_read, singly)
}

fn ids(from: usize, to: usize) -> Vec<String> {
    (from..to).map(|number| format!("{number:03}")).collect()
}

#[tokio::test]
async fn a_range_ends_when_it_has_cost_what_the_single_keys_would_have() {
    // At DynamoDB, 20 keys read singly cost 20 units: the range ends.
    assert_eq!(range(20, &[(20.0, Some("004"))]).await, (1, ids(5, 20)));
    // A little less: another page is read.
    assert_eq!(range(20, &[(19.5, Some("004")), (0.5, Some("009"))]).await, (2, ids(10, 20)));
    // The costs of pages add up.
    let pages = &[(7.0, Some("001")), (7.0, Some("002")), (7.0, Some("003"))];
    assert_eq!(range(20, pages).await, (3, ids(4, 20)));
}

#[tokio::test]
async fn a_range_ends_after_four_pages_or_where_its_last_key_was_passed() {
    let cheap = &[(1.0, Some("000")), (1.0, Some("001")), (1.0, Some("002")), (1.0, Some("003"))];
    assert_eq!(range(20, cheap).await, (4, ids(4, 20)));
    assert_eq!(range(20, &[(1.0, Some("010")), (1.0, Some("019"))]).await, (2, Vec::new()));
    assert_eq!(range(20, &[(1.0, None)]).await, (1, Vec::new()));
    // A range is tried from 20 keys on.
    assert_eq!(range(19, &[]).await, (0, ids(0, 19)));
}
