//! The simulation itself does what the services do, and repeats what it did.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use aws_sdk_dynamodb::{
    Client,
    error::{DisplayErrorContext, ProvideErrorMetadata as _},
    operation::{
        get_item::builders::GetItemFluentBuilder,
        put_item::{PutItemError, builders::PutItemFluentBuilder},
        transact_write_items::TransactWriteItemsError,
    },
    types::{
        AttributeValue, CancellationReason, KeysAndAttributes, Put,
        ReturnValuesOnConditionCheckFailure, TransactWriteItem,
    },
};
use aws_sdk_s3::primitives::DateTime;
use serde_json::json;
use serverless_catalog::{
    account::AccountId,
    store::{Store, TableNames},
};

use super::{
    Clock,
    database::{self, Engine},
    faults::{Entry, Fate, FaultKind, Faults, NoFaults},
    objects::{self, Buckets, Version},
    random::Random,
    run,
};
use crate::support::{importer, offering};

const TABLE: &str = "test-imports";

/// A database with its tables, and a client that has these faults.
async fn database(faults: impl Faults + 'static) -> (Arc<Engine>, Client) {
    let engine = Engine::new(Clock::start());
    database::create_tables(&database::client(&engine, NoFaults)).await;
    let client = database::client(&engine, faults);
    (engine, client)
}

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

fn put(client: &Client, id: &str) -> PutItemFluentBuilder {
    client.put_item().table_name(TABLE).item("account", text("ACME")).item("importId", text(id))
}

fn get(client: &Client, id: &str) -> GetItemFluentBuilder {
    client.get_item().table_name(TABLE).key("account", text("ACME")).key("importId", text(id))
}

async fn is_there(client: &Client, id: &str) -> bool {
    get(client, id).send().await.expect("a reply").item.is_some()
}

const NEW: &str = "attribute_not_exists(importId)";

#[test]
fn items_are_put_got_and_queried() {
    run(async {
        let (engine, client) = database(NoFaults).await;
        for id in ["b", "a", "c"] {
            put(&client, id).item("note", text("hello")).send().await.expect("put");
        }
        let got = get(&client, "b").send().await.expect("got").item.expect("an item");
        assert_eq!(got["note"], text("hello"));
        let query = client.query().table_name(TABLE).key_condition_expression("account = :a");
        let query = query.expression_attribute_values(":a", text("ACME")).limit(2);
        let page = query.send().await.expect("a page");
        let ids: Vec<_> = page.items().iter().map(|item| item["importId"].clone()).collect();
        assert_eq!(ids, [text("a"), text("b")]);
        assert!(page.last_evaluated_key.is_some());
        assert_eq!((engine.log().count("PutItem"), engine.log().count("Query")), (3, 1));
    });
}

#[test]
fn a_failed_condition_tells_the_item() {
    run(async {
        let (_, client) = database(NoFaults).await;
        put(&client, "a").item("note", text("first")).send().await.expect("put");
        let again = put(&client, "a").condition_expression(NEW);
        let again = again
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let error = again.send().await.expect_err("it is there").into_service_error();
        let PutItemError::ConditionalCheckFailedException(error) = error else {
            panic!("{error:?}");
        };
        assert_eq!(error.item.expect("the item")["note"], text("first"));
    });
}

#[test]
fn a_cancelled_transaction_tells_why_and_does_nothing() {
    run(async {
        let (_, client) = database(NoFaults).await;
        put(&client, "a").send().await.expect("put");
        let new = |id: &str| {
            let put = Put::builder().table_name(TABLE).condition_expression(NEW);
            let put = put.item("account", text("ACME")).item("importId", text(id));
            TransactWriteItem::builder().put(put.build().expect("a put")).build()
        };
        let both = client.transact_write_items().transact_items(new("b")).transact_items(new("a"));
        let error = both.send().await.expect_err("one is there").into_service_error();
        let TransactWriteItemsError::TransactionCanceledException(error) = error else {
            panic!("{error:?}");
        };
        let reasons = error.cancellation_reasons().iter();
        let codes: Vec<_> = reasons.filter_map(CancellationReason::code).collect();
        assert_eq!(codes, ["None", "ConditionalCheckFailed"]);
        assert!(!is_there(&client, "b").await);
    });
}

#[test]
fn engines_of_a_snapshot_go_their_own_ways() {
    run(async {
        let (engine, client) = database(NoFaults).await;
        put(&client, "a").send().await.expect("put");
        let snapshot = engine.snapshot();
        put(&client, "b").send().await.expect("put");
        for _ in 0..2 {
            let client = database::client(&Engine::with(Clock::start(), &snapshot), NoFaults);
            assert!(is_there(&client, "a").await && !is_there(&client, "b").await);
            put(&client, "b").send().await.expect("put");
        }
    });
}

#[test]
fn a_lost_request_is_not_done_and_an_unseen_one_is() {
    run(async {
        let (engine, _) = database(NoFaults).await;
        let sound = database::client(&engine, NoFaults);
        for (kind, id, done) in
            [(FaultKind::Lost, "lost", false), (FaultKind::Unseen, "unseen", true)]
        {
            let broken = database::client(&engine, move |_: &str, _: &[u8]| kind.into());
            let error = put(&broken, id).send().await.expect_err("no answer");
            assert!(error.as_service_error().is_none(), "{error:?}");
            assert_eq!(is_there(&sound, id).await, done, "{kind:?}");
        }
        let broken = database::client(&engine, |_: &str, _: &[u8]| FaultKind::Cut(1).into());
        get(&broken, "unseen").send().await.expect_err("half an answer");
    });
}

#[test]
fn a_refusal_arrives_as_the_services_send_it() {
    run(async {
        let (engine, _) = database(NoFaults).await;
        let buckets = Buckets::new(Clock::start());
        for (kind, statuses, codes) in [
            (
                FaultKind::Throttled,
                (400, 503),
                ("ProvisionedThroughputExceededException", "SlowDown"),
            ),
            (FaultKind::Unavailable, (500, 500), ("InternalServerError", "InternalError")),
        ] {
            let faults = move |_: &str, _: &[u8]| Fate::from(kind);
            let error = put(&database::client(&engine, faults), "a").send().await.expect_err("put");
            let status = error.raw_response().expect("a reply").status().as_u16();
            assert_eq!((status, error.code()), (statuses.0, Some(codes.0)));
            let get = objects::client(&buckets, faults).get_object().bucket("b").key("k");
            let error = get.send().await.expect_err("got");
            let status = error.raw_response().expect("a reply").status().as_u16();
            assert_eq!((status, error.code()), (statuses.1, Some(codes.1)));
        }
    });
}

#[test]
fn half_of_a_batch_is_left_undone_and_can_be_asked_for_again() {
    run(async {
        let (_, client) = database(|_: &str, _: &[u8]| FaultKind::Unprocessed.into()).await;
        let key = |id: &str| [("account", text("ACME")), ("importId", text(id))];
        let mut keys = KeysAndAttributes::builder().consistent_read(true);
        for id in ["a", "b", "c"] {
            put(&client, id).send().await.expect("put");
            keys = keys.keys(key(id).map(|(name, value)| (name.to_owned(), value)).into());
        }
        let mut found = Vec::new();
        let mut wanted = Some([(TABLE.to_owned(), keys.build().expect("keys"))].into());
        while let Some(asked) = wanted.take() {
            let reply = client.batch_get_item().set_request_items(Some(asked)).send().await;
            let reply = reply.expect("a reply");
            let items = reply.responses.expect("responses").remove(TABLE).unwrap_or_default();
            found.push(items.len());
            wanted = reply.unprocessed_keys.filter(|left| !left.is_empty());
        }
        assert_eq!(found, [2, 1]);
    });
}

#[test]
fn a_cut_object_is_read_on_from_where_it_broke_off() {
    run(async {
        let buckets = Buckets::new(Clock::start());
        let content: Vec<u8> = (0..20_000_u32).flat_map(u32::to_le_bytes).collect();
        buckets.put("/catalog/imports/a b+c.ndjson", buckets.version(content.clone()));
        let first = AtomicBool::new(true);
        let client = objects::client(&buckets, move |operation: &str, path: &[u8]| {
            assert_eq!((operation, path), ("GetObject", &b"/catalog/imports/a b+c.ndjson"[..]));
            let first = first.swap(false, Ordering::Relaxed);
            Fate::from(if first { FaultKind::Cut(12_345) } else { FaultKind::Pass })
        });
        let get = client.get_object().bucket("catalog").key("imports/a b+c.ndjson");
        let mut reply = get.clone().send().await.expect("a reply");
        assert_eq!(reply.content_length, Some(80_000));
        let mut read = Vec::new();
        let end = loop {
            match reply.body.next().await.expect("an error before the end") {
                Ok(part) => read.extend_from_slice(&part),
                Err(error) => break DisplayErrorContext(error).to_string(),
            }
        };
        assert!(end.contains("reset the connection"), "{end}");
        assert_eq!(read.len(), 12_345);
        let rest = get.range(format!("bytes={}-", read.len()));
        let rest = rest.set_if_match(reply.e_tag).send().await.expect("the rest");
        assert_eq!(rest.content_range(), Some("bytes 12345-79999/80000"));
        read.extend(rest.body.collect().await.expect("the rest").into_bytes());
        assert!(read == content);
        assert_eq!(buckets.log().count("GetObject"), 2);
    });
}

#[test]
fn an_object_is_stored_found_and_removed() {
    run(async {
        let clock = Clock::start();
        let buckets = Buckets::new(clock);
        let client = objects::client(&buckets, NoFaults);
        let upload = client.put_object().bucket("catalog").key("reports/r.json");
        let upload = upload.metadata("replace", "product").body(b"{}".to_vec().into());
        let stored = upload.send().await.expect("stored");
        tokio::time::sleep(Duration::from_secs(5)).await;
        let current = buckets.current("/catalog/reports/r.json").expect("an object");
        assert_eq!(
            (&current.content[..], &stored.e_tag),
            (&b"{}"[..], &Some(current.etag.clone()))
        );

        let head = client.head_object().bucket("catalog").key("reports/r.json");
        let head = head.send().await.expect("a head");
        assert_eq!((head.content_length, head.version_id), (Some(2), None));
        assert_eq!(head.metadata.expect("metadata")["replace"], "product");
        assert_eq!(head.last_modified, Some(DateTime::from(current.last_modified)));

        buckets.put("/catalog/reports/r.json", buckets.version("other"));
        let get = client.get_object().bucket("catalog").key("reports/r.json");
        let error = get.clone().set_if_match(stored.e_tag).send().await.expect_err("another one");
        assert_eq!(error.code(), Some("PreconditionFailed"));
        let error = get.clone().range("bytes=5-").send().await.expect_err("nothing there");
        assert_eq!(error.code(), Some("InvalidRange"));

        assert_eq!(buckets.paths("/catalog/reports/"), ["/catalog/reports/r.json"]);
        client.delete_object().bucket("catalog").key("reports/r.json").send().await.expect("gone");
        assert!(get.send().await.expect_err("gone").into_service_error().is_no_such_key());
        assert!(buckets.paths("/").is_empty());
    });
}

#[test]
fn a_bucket_with_versions_keeps_them() {
    run(async {
        let buckets = Buckets::versioned(Clock::start());
        let client = objects::client(&buckets, NoFaults);
        let long_ago = Version {
            last_modified: std::time::UNIX_EPOCH,
            etag: "\"made up\"".to_owned(),
            ..buckets.version("old")
        };
        buckets.put("/catalog/a", long_ago);
        let upload = client.put_object().bucket("catalog").key("a").body(b"new".to_vec().into());
        assert_eq!(upload.send().await.expect("stored").version_id(), Some("v2"));
        client.delete_object().bucket("catalog").key("a").send().await.expect("removed");
        let get = client.get_object().bucket("catalog").key("a");
        assert_eq!(get.clone().send().await.expect_err("removed").code(), Some("NoSuchKey"));
        let old = get.clone().version_id("v1").send().await.expect("the old version");
        assert_eq!((old.version_id(), old.e_tag()), (Some("v1"), Some("\"made up\"")));
        assert_eq!(old.last_modified, Some(DateTime::from_secs(0)));
        assert_eq!(old.body.collect().await.expect("content").into_bytes(), "old");
        assert_eq!(
            get.version_id("v3").send().await.expect_err("none").code(),
            Some("NoSuchVersion")
        );
    });
}

#[test]
fn a_thousand_seconds_pass_in_no_time() {
    let really = std::time::Instant::now();
    run(async {
        let slow = Fate { before: Duration::from_secs(400), ..Fate::default() };
        let slow = Fate { after: Duration::from_secs(200), ..slow };
        let (engine, client) = database(move |_: &str, _: &[u8]| slow).await;
        let clock = Clock::start();
        // One that is not waited for long enough is not sent.
        let hasty = put(&client, "hasty").send();
        tokio::time::timeout(Duration::from_secs(399), hasty).await.expect_err("too early");
        put(&client, "patient").send().await.expect("put");
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(clock.elapsed(), Duration::from_secs(1_000));
        let sound = database::client(&engine, NoFaults);
        assert!(!is_there(&sound, "hasty").await && is_there(&sound, "patient").await);
    });
    assert!(really.elapsed() < Duration::from_secs(30), "{:?}", really.elapsed());
}

/// Tasks that want the same few items, over a database in trouble: its requests, and how they ended.
fn history(seed: u64) -> (Vec<Entry>, Vec<Vec<String>>) {
    run(async move {
        let mut random = Random::new(seed);
        let dice = Mutex::new(random.fork());
        let (engine, client) = database(move |_: &str, _: &[u8]| {
            let mut dice = dice.lock().expect("dice");
            let troubles =
                [FaultKind::Lost, FaultKind::Unseen, FaultKind::Throttled, FaultKind::Unavailable];
            let kind = if dice.chance(30) { *dice.pick(&troubles) } else { FaultKind::Pass };
            let mut latency = || Duration::from_millis(dice.range(1..50));
            Fate { before: latency(), kind, after: latency() }
        })
        .await;
        let mut tasks = Vec::new();
        for _ in 0..4 {
            let (client, mut random) = (client.clone(), random.fork());
            tasks.push(tokio::spawn(async move {
                let mut ends = Vec::new();
                for _ in 0..20 {
                    let id = random.range(0..10).to_string();
                    let end = put(&client, &id).condition_expression(NEW).send().await;
                    let end = end.map_or_else(
                        |error| error.code().unwrap_or("no answer").to_owned(),
                        |_| format!("{id} is put"),
                    );
                    ends.push(end);
                }
                ends
            }));
        }
        let mut ends = Vec::new();
        for task in tasks {
            ends.push(task.await.expect("a task"));
        }
        (engine.log().entries(), ends)
    })
}

#[test]
fn a_seed_repeats_its_history() {
    for seed in 0..5 {
        let once = history(seed);
        assert!(once == history(seed), "seed {seed}");
        assert!(once != history(seed + 1), "seed {seed}");
    }
}

#[test]
fn the_catalog_imports_through_it() {
    run(async {
        let random = Mutex::new(Random::new(7));
        let (engine, client) = database(move |operation: &str, _: &[u8]| {
            let trouble = operation.starts_with("Batch") && random.lock().expect("dice").chance(50);
            Fate::from(if trouble { FaultKind::Unprocessed } else { FaultKind::Pass })
        })
        .await;
        let store = Store::new(client, TableNames::with_prefix("test"));
        let account = AccountId::parse("ACME").expect("account");
        let mut importer = importer(&store, &account, false);
        let line = |n: u64| (n, Ok(offering(&format!("o{n}"), json!({})).to_string().into_bytes()));
        let lines: Vec<_> = (1..=100).map(line).collect();
        let refused = importer.import_group(&lines, &[]).await;
        assert!(refused.expect("an import").is_empty());
        // The account's entries marker is one more.
        assert_eq!(engine.log().count("PutItem"), 101, "each is written once");
    });
}
