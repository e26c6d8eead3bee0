//! `Idempotency-Key`: a request does its work once, however often it is sent.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use futures_util::future::join_all;
use serde_json::{Value, json};
use serverless_catalog::{
    access::Limits,
    account::AccountId,
    changes::Kinds,
    clock::Clock,
    exports::{ExportId, ExportJob, ExportView},
    idempotency::{
        Claimed, IdempotencyKey, IdempotencyStore as _, KeptAnswer, KeyedRequest, RequestIdentity,
    },
    imports::Kind,
    offerings::CatalogId,
    products::{ProductRow, arrived, upsert},
    store::{Connection, Store, TableNames, lean_client},
};
use tokio::time::{Instant, sleep_until};

use crate::{
    limits::scene::{self, Instance, Key},
    log::Lines,
    proxy::{Fate, proxy},
    simulation::faults,
    support::{Answer, Catalog, Request},
};

const PATH: &str = "/api/v1/products";

fn post(catalog: &Catalog, key: &str, id: &str, body: &Value) -> Request {
    Request::new("POST", &catalog.url(), PATH)
        .header("Authorization", format!("Bearer {key}"))
        .header("Content-Type", "application/json")
        .header("Idempotency-Key", id)
        .body(body.to_string().into_bytes())
}

fn is_replayed(answer: &Answer) -> bool {
    answer.header("idempotency-replayed") == "true"
}

async fn products(catalog: &Catalog, key: &str) -> Vec<Value> {
    let page = catalog.read(key, "/api/v1/products?limit=1000").await.json();
    page["products"].as_array().expect("products").clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_gets_the_first_answer_and_does_nothing() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    // Without a key of its own, a row makes a product each time.
    let body = json!({ "products": [{ "name": "Cable", "price": 3.9 }, { "sku": "PLAN" }] });
    let first = post(&catalog, &key, "order-1", &body).send().await;
    assert_eq!(first.status, 207, "{first:?}");
    assert!(!is_replayed(&first));
    for _ in 0..3 {
        let again = post(&catalog, &key, "order-1", &body).send().await;
        assert_eq!((again.status, &again.bytes), (first.status, &first.bytes));
        assert_eq!(again.header("content-type"), "application/json");
        assert!(is_replayed(&again));
        assert!(again.write_units() < 1.5, "the failed condition, and nothing else");
    }
    assert_eq!(products(&catalog, &key).await.len(), 1);
    let other = post(&catalog, &key, "order-2", &body).send().await;
    assert!(!is_replayed(&other));
    assert_eq!(products(&catalog, &key).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_request_with_the_key_is_a_422_and_a_wrong_request_stays_wrong() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    let wrong = json!({ "products": [] });
    let first = post(&catalog, &key, "k", &wrong).send().await;
    let again = post(&catalog, &key, "k", &wrong).send().await;
    assert_eq!((first.status, again.status), (400, 400));
    assert_eq!(first.bytes, again.bytes);
    assert!(is_replayed(&again));
    let mended = post(&catalog, &key, "k", &json!({ "products": [{ "name": "A" }] })).send().await;
    assert_eq!(mended.status, 422);
    assert!(mended.json()["error"].as_str().expect("text").contains("Idempotency-Key"));
    for malformed in ["", "a b", &"x".repeat(256)] {
        let answer = post(&catalog, &key, malformed, &wrong).send().await;
        assert_eq!(answer.status, 400, "{malformed:?}");
        assert!(answer.json()["error"].as_str().expect("text").contains("Idempotency-Key"));
    }
    assert!(products(&catalog, &key).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_two_accounts_have_nothing_in_common() {
    let catalog = Catalog::start().await;
    let (acme, globex) = (catalog.key("ACME").await, catalog.key("GLOBEX").await);
    let body = json!({ "products": [{ "name": "Cable" }] });
    for key in [&acme, &globex] {
        let answer = post(&catalog, key, "k", &body).send().await;
        assert_eq!(answer.status, 200);
        assert!(!is_replayed(&answer));
        assert_eq!(products(&catalog, key).await.len(), 1);
    }
    // Another key of the same account is the same client.
    let second = catalog.key("ACME").await;
    assert!(is_replayed(&post(&catalog, &second, "k", &body).send().await));
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_at_once_do_the_work_once() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    let rows: Vec<Value> = (0..50).map(|n| json!({ "name": format!("Cable {n}") })).collect();
    let body = json!({ "products": rows });
    let answers = join_all((0..20).map(|_| post(&catalog, &key, "k", &body).send())).await;
    let count = |wanted: u16| answers.iter().filter(|answer| answer.status == wanted).count();
    assert_eq!(count(200) + count(409), 20, "{answers:?}");
    let fresh: Vec<&Answer> =
        answers.iter().filter(|one| one.status == 200 && !is_replayed(one)).collect();
    assert_eq!(fresh.len(), 1, "one did the work");
    for answer in &answers {
        match answer.status {
            200 => assert_eq!(answer.bytes, fresh[0].bytes),
            _ => assert!(!answer.header("retry-after").is_empty()),
        }
    }
    assert_eq!(products(&catalog, &key).await.len(), 50);
    let after = post(&catalog, &key, "k", &body).send().await;
    assert_eq!(after.bytes, fresh[0].bytes);
}

/// What a function leaves behind that dies after it has written these rows of a request.
async fn die_after(catalog: &Catalog, id: &str, body: &Value, rows: usize) {
    let (account, identity) = begun(catalog, id, PATH, body).await;
    let rows: Vec<ProductRow> = body["products"].as_array().expect("rows")[..rows]
        .iter()
        .map(|row| serde_json::value::to_raw_value(row).expect("JSON"))
        .map(|row| ProductRow::parse(&row).expect("row"))
        .collect();
    let until = Instant::now() + Duration::from_secs(20);
    let store = &catalog.stack.store;
    let results = upsert(store, &account, &arrived(&rows, &identity), until).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
}

/// What a function leaves behind that dies when it has claimed the key of a request.
async fn begun(
    catalog: &Catalog,
    id: &str,
    path: &str,
    body: &Value,
) -> (AccountId, RequestIdentity) {
    let account = AccountId::parse("ACME").expect("account");
    let (store, key) = (&catalog.stack.store, IdempotencyKey::parse(id).expect("key"));
    let content =
        [&b""[..], b"application/json", &body.to_string().into_bytes()].map(<[u8]>::to_vec);
    let content = [&content[0][..], &content[1], &content[2], &[0; 8]];
    let request = KeyedRequest::new(account.clone(), &route(path), &key, &content);
    let claimed = store.claim_request(request, Duration::from_millis(50)).await.expect("claim");
    let Claimed::Held(_, identity) = claimed else { panic!("{claimed:?}") };
    tokio::time::sleep(Duration::from_millis(60)).await;
    (account, identity)
}

fn route(path: &str) -> String {
    if path == PATH { format!("POST {PATH}") } else { format!("ANY {path}") }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_function_died_is_done_by_the_next_one_and_nothing_is_made_twice() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    let rows: Vec<Value> =
        (0..10).map(|n| json!({ "name": format!("Cable {n}"), "price": n })).collect();
    let body = json!({ "products": rows });
    die_after(&catalog, "k", &body, 6).await;
    let before = products(&catalog, &key).await;
    assert_eq!(before.len(), 6);
    let answer = post(&catalog, &key, "k", &body).send().await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(!is_replayed(&answer));
    assert_eq!(answer.json()["created"], 10, "each is new by this request: {}", answer.json());
    let after = products(&catalog, &key).await;
    assert_eq!(after.len(), 10);
    for product in before {
        assert!(after.contains(&product), "{product}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_wrote_after_a_dead_attempt_stays() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    let price = |price: u32| json!({ "sku": "A", "price": price });
    catalog
        .upsert(&key, &[json!({ "sku": "A", "name": "A", "description": "old", "price": 1 })])
        .await;
    let body = json!({ "products": [{ "sku": "A", "price": 2, "description": "new" }, { "sku": "B", "name": "B" }] });
    die_after(&catalog, "k", &body, 1).await;
    assert_eq!(catalog.upsert(&key, &[price(3)]).await.status, 200);
    let answer = post(&catalog, &key, "k", &body).send().await;
    assert_eq!((answer.status, &answer.json()["errors"]), (200, &json!(0)), "{}", answer.json());
    let stored = products(&catalog, &key).await;
    let found = |sku: &str| stored.iter().find(|product| product["sku"] == sku).expect("product");
    assert_eq!(found("A")["price"], 3, "the younger write");
    assert_eq!(found("A")["description"], "new");
    assert_eq!(found("B")["name"], "B");
    assert_eq!(found("A")["id"], answer.json()["results"][0]["id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_row_that_is_acknowledged_is_there_even_after_a_write_from_the_future() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    let ahead = jiff::Timestamp::now() + jiff::SignedDuration::from_mins(8);
    let record = json!({ "kind": "product", "sku": "A", "name": "A", "price": 1, "updatedAt": ahead.to_string() });
    catalog.import("ACME", &[record]).await;
    let body = json!({ "products": [{ "sku": "A", "price": 2 }] });
    begun(&catalog, "k", PATH, &body).await;
    let answer = post(&catalog, &key, "k", &body).send().await;
    assert_eq!((answer.status, &answer.json()["updated"]), (200, &json!(1)), "{}", answer.json());
    assert_eq!(products(&catalog, &key).await[0]["price"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_row_whose_product_was_deleted_since_counts_as_written() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    let body = json!({ "products": [{ "sku": "A", "name": "A" }] });
    die_after(&catalog, "k", &body, 1).await;
    catalog.import("ACME", &[json!({ "kind": "product", "sku": "A", "op": "delete" })]).await;
    let answer = post(&catalog, &key, "k", &body).send().await;
    assert_eq!((answer.status, &answer.json()["errors"]), (200, &json!(0)), "{}", answer.json());
    assert!(products(&catalog, &key).await.is_empty(), "the delete came later");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_export_has_the_cursor_of_what_it_reads() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    let (path, body) = ("/catalog/v1/exports", json!({ "kinds": ["product"] }));
    let request = |id: &str| {
        Request::new("POST", &catalog.url(), path)
            .header("Authorization", format!("Bearer {key}"))
            .header("Content-Type", "application/json")
            .header("Idempotency-Key", id)
            .body(body.to_string().into_bytes())
    };
    // The first attempt stored the export, and died before its answer was kept.
    let (account, identity) = begun(&catalog, "k", path, &body).await;
    let id = ExportId::of(&["https", &identity.name]);
    let cursor = "the cursor of the first attempt".to_owned();
    let kinds = Kinds::of([Kind::Product]);
    let job = ExportJob::new(id, kinds, ExportView::default(), cursor.clone(), identity.arrived_at);
    assert!(catalog.stack.store.create_export(&account, &job).await.expect("stored"));
    let answer = request("k").send().await;
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(answer.json()["exportId"], job.id.as_str());
    assert_eq!(answer.json()["changesCursor"], cursor);

    // A key that sees less is another client.
    let restricted = catalog
        .key_with("ACME", |record| {
            record.product_catalogs = Some([CatalogId::parse("retail").expect("id")].into());
        })
        .await;
    let other = Request::new("POST", &catalog.url(), path)
        .header("Authorization", format!("Bearer {restricted}"))
        .header("Content-Type", "application/json")
        .header("Idempotency-Key", "k")
        .body(body.to_string().into_bytes());
    assert_eq!(other.send().await.status, 422);
}

fn keyed(id: &str, content: &[u8]) -> KeyedRequest {
    let account = AccountId::parse("ACME").expect("account");
    let key = IdempotencyKey::parse(id).expect("key");
    KeyedRequest::new(account, "POST /x", &key, &[content])
}

const TERM: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_claim_whose_answer_was_lost_is_no_repetition() {
    let catalog = Catalog::start().await;
    let lost = AtomicBool::new(false);
    let url = proxy(&catalog.stack.addresses().dynamodb_url, move |operation, _| {
        let is_first = operation == "PutItem" && !lost.swap(true, Ordering::Relaxed);
        if is_first { Fate::Unseen } else { Fate::Pass }
    })
    .await;
    let client = lean_client(&Connection::local(&url)).expect("client");
    let store = Store::new(client, TableNames::with_prefix("test"));
    let claimed = store.claim_request(keyed("k", b"a"), TERM).await.expect("claim");
    let Claimed::Held(claim, identity) = claimed else { panic!("{claimed:?}") };
    assert!(!identity.is_repeated, "nothing of its work was done");
    let again = store.claim_request(keyed("k", b"a"), TERM).await.expect("claim");
    assert!(matches!(again, Claimed::UnderWay(left) if left <= TERM), "{again:?}");
    let other = store.claim_request(keyed("k", b"b"), TERM).await.expect("claim");
    assert!(matches!(other, Claimed::OtherRequest), "{other:?}");
    let answer = KeptAnswer {
        status: 207,
        content_type: "application/json".to_owned(),
        body: "{}".to_owned(),
    };
    store.end_request(&claim, Some(&answer)).await.expect("ended");
    let after = store.claim_request(keyed("k", b"a"), TERM).await.expect("claim");
    assert!(matches!(&after, Claimed::Answered(kept) if *kept == answer), "{after:?}");
}

/// A store whose clock stands still at this time.
fn store_at(catalog: &Catalog, millis: i64) -> Store {
    let start = jiff::Timestamp::from_millisecond(millis).expect("a time");
    let since = Instant::now() + Duration::from_hours(1);
    let store = Store::new(catalog.stack.client.clone(), TableNames::with_prefix("test"));
    store.with_clock(Clock::Simulated { start, since })
}

#[tokio::test]
async fn a_claim_is_taken_over_when_its_time_is_over_and_forgotten_after_a_day() {
    const BEGIN: i64 = 1_767_225_600_000;
    const DAY: i64 = 24 * 60 * 60 * 1_000;
    let catalog = Catalog::start().await;
    let claim = async |millis: i64| {
        let store = store_at(&catalog, BEGIN + millis);
        store.claim_request(keyed("k", b"a"), TERM).await.expect("claim")
    };
    let Claimed::Held(first, began) = claim(0).await else { panic!("it is free") };
    for (after, expected) in [(0, 10_000), (9_999, 1)] {
        let left = claim(after).await;
        let expected = Duration::from_millis(expected);
        assert!(matches!(left, Claimed::UnderWay(left) if left == expected), "{left:?}");
    }
    let taken = claim(10_000).await;
    let Claimed::Held(second, identity) = taken else { panic!("{taken:?}") };
    assert_eq!((identity.arrived_at, &identity.name), (began.arrived_at, &began.name));
    assert!(identity.is_repeated);
    // The first attempt ends nothing any more; the second one leaves the key free.
    let store = store_at(&catalog, BEGIN + 10_000);
    store.end_request(&first, None).await.expect("no matter");
    assert!(matches!(claim(10_001).await, Claimed::UnderWay(_)));
    store.end_request(&second, None).await.expect("ended");
    let Claimed::Held(_, identity) = claim(10_001).await else { panic!("it is free") };
    assert_eq!((identity.name, identity.is_repeated), (began.name.clone(), true));

    assert!(matches!(claim(DAY - 1).await, Claimed::Held(_, same) if same.name == began.name));
    let Claimed::Held(_, anew) = claim(DAY).await else { panic!("it is forgotten") };
    assert!(!anew.is_repeated && anew.name != began.name, "{anew:?}");
}

/// The event of an upsert with an idempotency key.
fn upsert_once(key: &Key) -> Value {
    let body = json!({"products": [{"sku": "A", "name": "n"}]});
    let mut event = scene::event("POST", PATH, "", key, Some(body));
    event["headers"]["idempotency-key"] = "once".into();
    event
}

/// This becomes of requests that keep an answer; all others pass.
fn when_kept(fate: faults::Fate) -> impl Fn(&str, &[u8]) -> faults::Fate {
    move |operation, request| {
        let request = String::from_utf8_lossy(request);
        let keeps = operation == "UpdateItem" && request.contains("\"test-idempotency-keys\"");
        if keeps { fate } else { faults::Fate::default() }
    }
}

#[test]
fn a_claim_that_nothing_ends_holds_until_a_second_after_the_deadline_of_its_request() {
    scene::run("2026-11-28T12:00:00Z", async |scene| {
        let key = scene.key(Limits::default()).await;
        let event = upsert_once(&key);
        // The answer is never kept.
        let fates = when_kept(faults::FaultKind::Lost.into());
        // Without a deadline in its context, a request has 28.5 seconds.
        let end = Instant::now() + Duration::from_millis(29_500);
        let stuck = Instance::of(&scene.settings(0, fates));
        assert_eq!(stuck.invoke("upsert-products", &event).await.status, 200);
        let instance = scene.instance();
        for left in [5_000, 10] {
            sleep_until(end.checked_sub(Duration::from_millis(left)).expect("a time")).await;
            let reply = instance.invoke("upsert-products", &event).await;
            assert_eq!(reply.status, 409, "{left} ms before: {reply:?}");
        }
        sleep_until(end + Duration::from_millis(10)).await;
        let reply = instance.invoke("upsert-products", &event).await;
        assert_eq!((reply.status, &reply.body["errors"]), (200, &json!(0)));
    });
}

#[test]
fn an_answer_that_cannot_be_kept_in_time_is_given_all_the_same() {
    let (lines, _guard) = Lines::capture();
    scene::run("2026-11-28T12:00:00Z", async |scene| {
        let key = scene.key(Limits::default()).await;
        let event = upsert_once(&key);
        // The table of the keys answers no update.
        let never = faults::Fate { before: Duration::from_hours(1), ..faults::Fate::default() };
        let fates = when_kept(never);
        let began = Instant::now();
        let stuck = Instance::of(&scene.settings(0, fates));
        let reply = stuck.invoke("upsert-products", &event).await;
        assert_eq!((reply.status, &reply.body["created"]), (200, &json!(1)), "{reply:?}");
        // Without a deadline in its context, a request has 28.5 seconds.
        assert_eq!(began.elapsed().as_millis(), 28_300);
    });
    let lines = lines.all();
    let told = lines.iter().find(|line| line["fields"]["message"] == "the answer was not kept");
    let told = told.unwrap_or_else(|| panic!("{lines:?}"));
    assert_eq!(told["fields"]["cause"], "no answer before the deadline");
    assert_eq!(told["span"], json!({"name": "request", "request_id": "req_r"}));
}
