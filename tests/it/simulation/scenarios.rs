//! The order of writes and trouble, one scenario a test, by a clock that stands still while anything runs.

use std::{sync::Mutex, time::Duration};

use jiff::Timestamp;
use serde_json::{Value, json};
use serverless_catalog::{
    imports::job::{Claim, ImportId, JobStore as _, LEASE_TERM, Lease, Source, Status},
    objects::{ObjectAddress, Objects},
    retry::Patience,
};
use tokio::time::Instant;

use super::{
    Clock, database,
    faults::{Fate, FaultKind, NoFaults},
    objects::{self, Buckets},
    run,
    scene::{Scene, account},
};
use crate::support::{merge_into, offering};

fn later() -> tokio::time::Sleep {
    tokio::time::sleep(Duration::from_secs(10))
}

fn product(change: &Value) -> Value {
    merge_into(&json!({"kind": "product"}), change)
}

/// A record of each kind, and the same with `op` `delete`.
fn one_of_each_kind() -> Vec<(Value, Value)> {
    let network = json!({"kind": "network", "id": 1, "name": "N", "country": "Ghana", "country_code": "GH", "currency": "GHS"});
    let bundle = json!({"kind": "bundle", "network_id": 2, "id": 1, "name": "b", "type": "DATA", "price_usd": 1, "local_currency": "GHS"});
    let partner = json!({"name": "p", "type": "addon", "quantity": 1});
    [
        offering("o", json!({})),
        json!({"kind": "promotion", "code": "P", "percentOff": 5}),
        json!({"kind": "partnerOffering", "offering": partner, "entitlements": {}}),
        network,
        bundle,
        json!({"kind": "exchangeRate", "source_currency": "USD", "destination_currency": "GHS", "rate": 12}),
        product(&json!({"sku": "s", "externalId": "e", "name": "n"})),
    ]
    .into_iter()
    .map(|record| (record.clone(), merge_into(&record, &json!({"op": "delete"}))))
    .collect()
}

#[test]
fn an_older_record_of_no_kind_brings_back_what_was_deleted() {
    run(async {
        let scene = Scene::start();
        let (records, deletes): (Vec<Value>, Vec<Value>) = one_of_each_kind().into_iter().unzip();
        let old = scene.store.clock().now();
        let dated = |record: &Value, time: Timestamp| {
            merge_into(record, &json!({"updatedAt": time.to_string()}))
        };
        later().await;
        let older: Vec<Value> = records.iter().map(|record| dated(record, old)).collect();
        for deleted_first in [false, true] {
            if !deleted_first {
                scene.send(&records).await;
                assert_eq!(scene.export().await.len(), records.len());
            }
            later().await;
            scene.send(&deletes).await;
            scene.send(&older).await;
            assert_eq!(scene.export().await, Vec::<Value>::new());
        }
        // What is newer makes it again.
        later().await;
        scene.send(&records).await;
        assert_eq!(scene.export().await.len(), records.len());
    });
}

#[test]
fn what_only_remembers_a_delete_is_small_and_expires() {
    run(async {
        let scene = Scene::start();
        let deletes: Vec<Value> =
            one_of_each_kind().into_iter().map(|(_, delete)| delete).collect();
        scene.send(&deletes).await;
        let client = database::client(&scene.engine, NoFaults);
        let mut remembered = 0;
        for table in ["offerings", "promotions", "partner-offerings", "networks", "products"] {
            let items = client
                .query()
                .table_name(format!("test-{table}"))
                .key_condition_expression("account = :account")
                .expression_attribute_values(
                    ":account",
                    aws_sdk_dynamodb::types::AttributeValue::S("ACME".to_owned()),
                )
                .send()
                .await
                .expect("items");
            for item in items.items() {
                let is_own_of_bundle = item.contains_key("productCount");
                let bytes: usize = item.iter().map(|(name, value)| name.len() + size(value)).sum();
                assert!(bytes <= 100 || is_own_of_bundle, "{bytes} bytes: {item:?}");
                assert!(item.contains_key("expiresAt"), "{item:?}");
                remembered += 1;
            }
        }
        // A deleted bundle has its network's own item beside it.
        assert_eq!(remembered, deletes.len() + 1);
    });
}

/// The bytes that DynamoDB counts for a value.
fn size(value: &aws_sdk_dynamodb::types::AttributeValue) -> usize {
    use aws_sdk_dynamodb::types::AttributeValue;
    match value {
        AttributeValue::S(text) => text.len(),
        AttributeValue::N(digits) => digits.len().div_ceil(2) + 1,
        AttributeValue::B(bytes) => bytes.as_ref().len(),
        other => panic!("an attribute of another type: {other:?}"),
    }
}

#[test]
fn a_version_that_a_younger_one_overtakes_ends_superseded_with_a_report() {
    run(async {
        // The first version is slow: each write takes a second.
        let slow = |operation: &str, body: &[u8]| {
            let first = operation == "PutItem" && String::from_utf8_lossy(body).contains("first");
            Fate { before: Duration::from_secs(first.into()), ..Fate::default() }
        };
        let scene = Scene::with(slow, NoFaults);
        let version = |name: &str| {
            let record = |n: usize| offering(&format!("o{n:04}"), json!({"name": name}));
            (0..2_000).map(record).collect::<Vec<_>>()
        };
        let first = scene.put("p.ndjson", &version("first"), &[]);
        let under_way = tokio::spawn({
            let scene = scene.clone();
            async move { scene.deliver("m1", &first, 1, Duration::from_mins(14)).await }
        });
        later().await;
        let second = scene.put("p.ndjson", &version("second"), &[]);
        scene.import(&second).await;
        assert!(under_way.await.expect("ended"), "it is done with, too");
        let exported = scene.export().await;
        assert_eq!(exported.len(), 2_000);
        assert!(exported.iter().all(|record| record["name"] == "second"));
        let mut statuses: Vec<Status> = scene.jobs().await.iter().map(|job| job.status).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [Status::Done, Status::Superseded]);
        let reports = scene.reports();
        assert!(reports.iter().any(|report| report["status"] == "superseded"), "{reports:?}");
    });
}

#[test]
fn a_job_overtaken_while_it_waits_ends_with_a_report_when_its_message_comes_again() {
    run(async {
        let slow = |operation: &str, _: &[u8]| {
            let slow = operation == "PutItem";
            Fate { before: Duration::from_millis(u64::from(slow) * 200), ..Fate::default() }
        };
        let scene = Scene::with(slow, NoFaults);
        let records: Vec<Value> = (0..900).map(|n| offering(&format!("o{n}"), json!({}))).collect();
        let first = scene.put("p.ndjson", &records, &[]);
        // There is time to claim it, and for no group.
        assert!(!scene.deliver("m1", &first, 1, Duration::from_millis(500)).await);
        assert_eq!(scene.jobs().await[0].status, Status::Waiting);
        later().await;
        let second = scene.put("p.ndjson", &records[..3], &[]);
        scene.import(&second).await;
        assert!(scene.deliver("m1", &first, 2, Duration::from_mins(10)).await);
        let statuses: Vec<Status> = scene.jobs().await.iter().map(|job| job.status).collect();
        assert!(statuses.contains(&Status::Superseded), "{statuses:?}");
        assert!(scene.reports().iter().any(|report| report["status"] == "superseded"));
        // It counts as far as it got.
        let stored = scene.export().await;
        assert!((3..100).contains(&stored.len()), "{}", stored.len());
    });
}

#[test]
fn a_snapshot_leaves_what_was_written_since_and_what_is_archived() {
    run(async {
        let scene = Scene::start();
        let metadata = json!({"metadata": {"note": "\"status\":\"AVAILABLE\""}});
        let archived = merge_into(&offering("old", metadata), &json!({"status": "ARCHIVED"}));
        scene.send(&[archived, offering("gone", json!({})), offering("kept", json!({}))]).await;
        scene.send(&[product(&json!({"sku": "gone", "name": "n"}))]).await;
        scene.send(&[product(&json!({"sku": "touched", "name": "n"}))]).await;
        let before = scene.export().await;
        later().await;
        let offerings = scene.put(
            "o.ndjson",
            &[offering("kept", json!({}))],
            &[("replace", "offering"), ("replace-share", "1")],
        );
        let products = [product(&json!({"sku": "named", "name": "n"}))];
        let products =
            scene.put("p.ndjson", &products, &[("replace", "product"), ("replace-share", "1")]);
        later().await;
        // Acknowledged before the snapshot is done, after it was published.
        let posted = scene
            .post(&[json!({"sku": "new", "name": "n"}), json!({"sku": "touched", "price": 7})])
            .await;
        assert!(posted.iter().all(Result::is_ok), "{posted:?}");
        scene.import(&offerings).await;
        scene.import(&products).await;
        let after = scene.export().await;
        let of = |exported: &[Value], id: &str| {
            let is_it = |record: &&Value| record["productOfferingId"] == id || record["sku"] == id;
            exported.iter().find(is_it).cloned().unwrap_or_default()
        };
        assert_eq!(of(&after, "old"), of(&before, "old"), "to the character, its time included");
        assert_eq!(of(&after, "gone")["status"], "ARCHIVED");
        assert_eq!(of(&after, "kept"), of(&before, "kept"));
        for sku in ["named", "new", "touched"] {
            assert_eq!(of(&after, sku)["sku"], sku);
        }
        assert_eq!(of(&after, "touched")["price"], 7);
        assert!(!after.iter().any(|record| record["sku"] == "gone"));
        // Below the floor of the snapshot nothing comes in any more, whether it was there or not.
        let old = json!({"updatedAt": "2026-01-01T00:00:01Z"});
        scene.send(&[product(&merge_into(&old, &json!({"sku": "late", "name": "n"})))]).await;
        assert!(!scene.export().await.iter().any(|record| record["sku"] == "late"));
    });
}

#[test]
fn trouble_ends_in_the_run_that_meets_it() {
    run(async {
        // The database is away for a second; a body is cut; a few parts of reports are not stored.
        let away = Mutex::new(0_u32);
        let database = move |_: &str, _: &[u8]| {
            let mut count = away.lock().expect("lock");
            *count += 1;
            Fate::from(if (20..60).contains(&*count) { FaultKind::Lost } else { FaultKind::Pass })
        };
        let cut = Mutex::new(0_u32);
        let bucket = move |operation: &str, _: &[u8]| {
            let mut count = cut.lock().expect("lock");
            *count += 1;
            Fate::from(match operation {
                "GetObject" if *count == 1 => FaultKind::Cut(5_000),
                "PutObject" if *count < 8 => FaultKind::Throttled,
                _ => FaultKind::Pass,
            })
        };
        let scene = Scene::with(database, bucket);
        let mut records: Vec<Value> =
            (0..500).map(|n| offering(&format!("o{n}"), json!({}))).collect();
        records.push(json!({"kind": "nothing"}));
        let message = scene.put("p.ndjson", &records, &[]);
        scene.import(&message).await;
        assert_eq!(scene.export().await.len(), 500);
        let report = scene.reports().remove(0);
        assert_eq!((&report["status"], &report["counts"]["failed"]), (&json!("done"), &json!(1)));
        assert!(scene.queue.retries.lock().expect("lock").is_empty());
    });
}

#[test]
fn time_over_after_progress_sends_the_message_that_continues() {
    run(async {
        let slow = |operation: &str, _: &[u8]| {
            let slow = operation == "PutItem";
            Fate { before: Duration::from_millis(u64::from(slow) * 100), ..Fate::default() }
        };
        let scene = Scene::with(slow, NoFaults);
        let records: Vec<Value> =
            (0..4_000).map(|n| offering(&format!("o{n}"), json!({}))).collect();
        let message = scene.put("p.ndjson", &records, &[]);
        let (mut body, mut continues, mut runs) = (message, None::<String>, 0);
        loop {
            runs += 1;
            let time = Duration::from_secs(4);
            assert!(
                scene.deliver_as(&format!("m{runs}"), &body, continues.as_deref(), 1, time).await
            );
            let Some(next) = scene.queue.continuations.lock().expect("lock").pop_front() else {
                break;
            };
            (body, continues) = (next.body, next.continues);
        }
        assert!(runs > 3, "{runs} runs");
        assert_eq!(scene.export().await.len(), 4_000);
        let jobs = scene.jobs().await;
        assert_eq!((jobs.len(), jobs[0].status), (1, Status::Done));
        assert_eq!(jobs[0].progress.counts.total(), 4_000);
        // Without progress the message comes back, and soon.
        let others: Vec<Value> = (0..900).map(|n| offering(&format!("q{n}"), json!({}))).collect();
        let none = scene.put("q.ndjson", &others, &[]);
        assert!(!scene.deliver("n1", &none, 1, Duration::from_millis(50)).await);
        let retries = scene.queue.retries.lock().expect("lock").clone();
        assert!(retries.iter().all(|delay| *delay <= Duration::from_secs(10)), "{retries:?}");
        assert_eq!(retries.len(), 1);
    });
}

#[test]
fn two_thousand_rejected_rows_cost_few_requests_and_are_all_reported() {
    run(async {
        let scene = Scene::start();
        let row = |n: usize| {
            if n.is_multiple_of(5) { format!("r{n},,x\n") } else { format!("r{n},n,1\n") }
        };
        let content = "sku,name,price\n".to_owned() + &(0..10_000).map(row).collect::<String>();
        let message = scene.put_text("p.csv", &content, &[]);
        let before = scene.buckets.log().entries().len();
        scene.import(&message).await;
        let requests = scene.buckets.log().entries().len() - before;
        assert!(requests <= 50, "{requests} requests");
        let report = scene.reports().remove(0);
        assert_eq!(report["counts"]["failed"], 2_000);
        let mut lines = 0;
        for part in report["errors"].as_array().expect("parts") {
            let part = part.as_str().expect("a key");
            let part = scene.buckets.current(&format!("/catalog/{part}")).expect("a part");
            lines += std::str::from_utf8(&part.content).expect("UTF-8").lines().count();
        }
        assert_eq!(lines, 2_000, "each row with its first error at least");
    });
}

#[test]
fn an_id_is_a_key_that_exists_once() {
    run(async {
        let scene = Scene::start();
        let id = "01920e3a-7b1c-7def-8123-456789abcdef";
        let record = |sku: &str| product(&json!({"id": id, "sku": sku, "name": sku}));
        scene.send(&[record("a"), record("b")]).await;
        // Another source at the same time.
        let (one, other) = ([record("c")], [record("d")]);
        tokio::join!(scene.send(&one), scene.send(&other));
        let exported = scene.export().await;
        let mut ids: Vec<&str> =
            exported.iter().map(|product| product["id"].as_str().expect("id")).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!((exported.len(), ids.len()), (4, 4), "{exported:?}");
        assert!(exported.iter().any(|product| product["id"] == id && product["sku"] == "a"));
        // It stays the key of its product when that gets another one.
        scene.send(&[product(&json!({"id": id, "price": 3, "name": "by id"}))]).await;
        let exported = scene.export().await;
        assert_eq!(exported.len(), 4);
        assert!(exported.iter().any(|product| product["sku"] == "a" && product["price"] == 3));
    });
}

#[test]
fn an_event_in_two_messages_and_a_message_moved_back_make_keyless_products_once() {
    run(async {
        // Products are away for the first minutes.
        let beginning = Instant::now();
        let away = move |_: &str, body: &[u8]| {
            let early = beginning.elapsed() < Duration::from_mins(5);
            let of_products = String::from_utf8_lossy(body).contains("\"test-products\"");
            Fate::from(if early && of_products { FaultKind::Throttled } else { FaultKind::Pass })
        };
        let scene = Scene::with(away, NoFaults);
        let message = json!([product(&json!({"name": "of a message"}))]).to_string();
        // Five receives without progress, and an operator moves it back under another id.
        for receive in 1..=5 {
            assert!(!scene.deliver("m1", &message, receive, Duration::from_secs(5)).await);
        }
        tokio::time::sleep(Duration::from_mins(5)).await;
        assert!(scene.deliver("m2", &message, 1, Duration::from_mins(1)).await);
        assert!(scene.deliver("m3", &message, 1, Duration::from_mins(1)).await);
        assert_eq!(scene.export().await.len(), 1);

        let event = json!({"id": "e1", "source": "shop", "detail-type": "catalog.import",
            "detail": {"account": "ACME", "records": [product(&json!({"name": "of an event"}))]}})
        .to_string();
        scene.import(&event).await;
        scene.import(&event).await;
        assert_eq!(scene.export().await.len(), 2);
    });
}

#[test]
fn a_message_moved_back_continues_the_job_that_was_given_up_at_its_own_time() {
    run(async {
        // The database takes nothing for the first minutes.
        let beginning = Instant::now();
        let away = move |operation: &str, _: &[u8]| {
            let early = beginning.elapsed() < Duration::from_mins(5);
            Fate::from(if early && operation == "PutItem" {
                FaultKind::Throttled
            } else {
                FaultKind::Pass
            })
        };
        let scene = Scene::with(away, NoFaults);
        let price = |price: u32| {
            json!([offering("o", json!({"price": {"grossPrice": price}}))]).to_string()
        };
        for receive in 1..=5 {
            assert!(!scene.deliver("m1", &price(10), receive, Duration::from_secs(20)).await);
        }
        tokio::time::sleep(Duration::from_mins(6)).await;
        assert!(scene.deliver("m2", &price(12), 1, Duration::from_mins(1)).await);
        later().await;
        assert!(scene.deliver("m9", &price(10), 1, Duration::from_mins(1)).await, "moved back");
        let exported = scene.export().await;
        assert_eq!(exported[0]["price"]["grossPrice"], 12, "price 12 came since");
        assert_eq!(scene.jobs().await.len(), 2, "it continued its job");
        // The same content once more is a message of its own.
        later().await;
        assert!(scene.deliver("m10", &price(10), 1, Duration::from_mins(1)).await);
        assert_eq!(scene.export().await[0]["price"]["grossPrice"], 10);
    });
}

#[test]
fn an_object_with_a_name_of_a_thousand_characters_is_imported_and_reported() {
    run(async {
        let scene = Scene::start();
        let message = scene.put(&"x".repeat(1_000), &[offering("o", json!({}))], &[]);
        scene.import(&message).await;
        assert_eq!(scene.export().await.len(), 1);
        assert_eq!(scene.reports()[0]["status"], "done");
    });
}

#[test]
fn a_late_row_sets_the_fields_that_no_younger_write_has_set() {
    run(async {
        let scene = Scene::start();
        let dated = |minute: u32, change: Value| {
            let time = format!("2025-12-01T00:{minute:02}:00Z");
            product(&merge_into(&json!({"sku": "s", "updatedAt": time}), &change))
        };
        scene.send(&[dated(5, json!({"name": "of 5", "price": 5}))]).await;
        scene.send(&[dated(7, json!({"stockQty": 7}))]).await;
        scene.send(&[dated(6, json!({"price": 6, "stockQty": 6, "unit": "of 6"}))]).await;
        scene.send(&[dated(4, json!({"name": "of 4", "category": "of 4", "price": 4}))]).await;
        let exported = scene.export().await.remove(0);
        let shown =
            ["name", "price", "stockQty", "unit", "category"].map(|field| exported[field].clone());
        assert_eq!(shown, [json!("of 5"), json!(6), json!(7), json!("of 6"), json!("of 4")]);
        assert_eq!(exported["updatedAt"], "2025-12-01T00:07:00.000Z", "the newest write's");
        // A delete in between removes what is older, and with the name the product.
        let delete = |minute: u32| dated(minute, json!({"op": "delete"}));
        scene.send(&[dated(9, json!({"name": "of 9"})), delete(8)]).await;
        let exported = scene.export().await.remove(0);
        assert_eq!((&exported["name"], &exported["price"]), (&json!("of 9"), &json!(0)));
        scene.send(&[dated(7, json!({"price": 70})), delete(10)]).await;
        assert!(scene.export().await.is_empty());
        scene.send(&[dated(11, json!({"name": "of 11"})), dated(9, json!({"price": 90}))]).await;
        let exported = scene.export().await.remove(0);
        assert_eq!((&exported["name"], &exported["price"]), (&json!("of 11"), &json!(0)));
    });
}

#[test]
fn a_row_over_http_counts_whatever_is_stored() {
    run(async {
        let scene = Scene::start();
        let ahead = (scene.store.clock().now() + jiff::SignedDuration::from_mins(9)).to_string();
        let record = json!({"sku": "s", "name": "ahead", "price": 1, "updatedAt": ahead});
        scene.send(&[product(&record)]).await;
        let posted = scene.post(&[json!({"sku": "s", "price": 2})]).await;
        assert!(posted[0].is_ok(), "{posted:?}");
        assert_eq!(scene.export().await[0]["price"], 2);
        // A row that makes it again after a delete that is ahead, too.
        let delete = json!({"sku": "s", "op": "delete", "updatedAt": ahead});
        scene.send(&[product(&merge_into(&delete, &json!({"updatedAt": (ahead.parse::<Timestamp>().expect("time") + jiff::SignedDuration::from_secs(30)).to_string()})))]).await;
        assert!(scene.post(&[json!({"sku": "s", "name": "again"})]).await[0].is_ok());
        assert_eq!(scene.export().await[0]["name"], "again");
    });
}

#[test]
fn the_source_may_order_all_of_its_records() {
    run(async {
        let scene = Scene::start();
        scene.send(&[offering("o", json!({"name": "corrected by hand"}))]).await;
        later().await;
        let record =
            [offering("o", json!({"name": "published", "updatedAt": "2025-06-01T00:00:00Z"}))];
        let message = scene.put("a.ndjson", &record, &[]);
        scene.import(&message).await;
        assert_eq!(scene.export().await[0]["name"], "corrected by hand");
        let message = scene.put("b.ndjson", &record, &[("order", "source")]);
        scene.import(&message).await;
        assert_eq!(scene.export().await[0]["name"], "published");
        assert_eq!(scene.export().await[0]["updatedAt"], "2026-01-01T00:00:10.000Z");
    });
}

#[test]
fn whole_networks_and_single_bundles_at_once_end_with_the_right_counts() {
    run(async {
        let wait = Mutex::new(super::random::Random::new(5));
        let slow = move |_: &str, _: &[u8]| {
            let before = Duration::from_millis(wait.lock().expect("lock").range(0..40));
            Fate { before, ..Fate::default() }
        };
        let scene = Scene::with(slow, NoFaults);
        let bundle = |id: u32, name: &str| json!({"id": id, "name": name, "type": "DATA", "price_usd": 1, "local_currency": "GHS"});
        let whole = |month: &str, bundles: std::ops::Range<u32>| -> Vec<Value> {
            let network = |id: u32| {
                json!({"kind": "network", "id": id, "name": month, "country": "Ghana", "country_code": "GH",
                "currency": "GHS", "updatedAt": format!("2025-{month}-01T00:00:00Z"),
                "fixed_bundles": bundles.clone().map(|id| bundle(id, month)).collect::<Vec<_>>()})
            };
            (1..=60).map(network).collect()
        };
        let single: Vec<Value> = (1..=60)
            .map(|id| merge_into(&bundle(50, "single"), &json!({"kind": "bundle", "network_id": id, "updatedAt": "2025-03-01T00:00:00Z"})))
            .collect();
        let messages = [
            scene.put("january.ndjson", &whole("01", 1..5), &[]),
            scene.put("february.ndjson", &whole("02", 3..9), &[]),
            scene.put("bundles.ndjson", &single, &[]),
        ];
        tokio::join!(
            scene.import(&messages[0]),
            scene.import(&messages[1]),
            scene.import(&messages[2])
        );
        let networks = scene.store.networks(&account(), None).await;
        let networks = networks.expect("networks");
        assert_eq!(networks.len(), 60);
        for network in &networks {
            assert_eq!((network.name.as_str(), network.product_count), ("02", 7), "{network:?}");
        }
        for record in scene.export().await {
            let ids: Vec<u64> = record["fixed_bundles"]
                .as_array()
                .expect("bundles")
                .iter()
                .map(|bundle| bundle["id"].as_u64().expect("id"))
                .collect();
            assert_eq!(ids, [3, 4, 5, 6, 7, 8, 50]);
        }
    });
}

/// S3 keeps the version that was opened, also when the object is replaced before it is read.
#[test]
fn an_object_is_opened_in_its_version_where_its_bucket_has_versions() {
    run(async {
        let clock = Clock::start();
        let all = [(Buckets::versioned(clock), Some("v1")), (Buckets::new(clock), None)];
        for (buckets, version) in all {
            buckets.put("/catalog/a", buckets.version("content"));
            let address = ObjectAddress {
                bucket: "catalog".to_owned(),
                key: "a".to_owned(),
                version: None,
                sequencer: None,
            };
            let client = Objects::new(objects::client(&buckets, NoFaults));
            let opened = client.open(&address, Patience::REQUEST).await.expect("opened");
            assert_eq!(opened.version.as_deref(), version);
        }
    });
}

/// At its very end a lease is neither valid for its holder nor over for others.
#[test]
fn a_job_claimed_at_the_last_moment_of_a_lease_is_not_begun_anew() {
    run(async {
        let scene = Scene::start();
        let lease = |holder: &str| Lease {
            account: account(),
            import: ImportId::of(&["an object"]),
            holder: holder.to_owned(),
            term: LEASE_TERM,
        };
        let source = Source {
            name: "s3://catalog/a".to_owned(),
            version: None,
            content: Some("etag".to_owned()),
            time: scene.store.clock().now(),
        };
        let claim = async |holder| scene.store.claim(&lease(holder), &source).await.expect("claim");
        let Claim::Held(mut job) = claim("first").await else { panic!("nobody else has it") };
        job.progress.line = 400;
        assert!(scene.store.checkpoint(&lease("first"), &job).await.expect("stored"));
        tokio::time::sleep(LEASE_TERM).await;
        let busy = claim("second").await;
        assert!(matches!(busy, Claim::Busy(Duration::ZERO)), "{busy:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
        let Claim::Held(job) = claim("second").await else { panic!("its lease is over") };
        assert_eq!(job.progress.line, 400, "it continues where the first one was");
    });
}

/// Such a group does not know the floor of the snapshot.
#[test]
fn a_snapshot_removes_nothing_while_a_group_that_began_before_it_may_be_written() {
    run(async {
        let scene = Scene::start();
        let named = [product(&json!({"sku": "named", "name": "n"}))];
        let whole = [("replace", "product"), ("replace-share", "1")];
        let message = scene.put("p.ndjson", &named, &whole);
        let lease = Lease {
            account: account(),
            import: ImportId::of(&["another"]),
            holder: "another".to_owned(),
            term: LEASE_TERM,
        };
        let source = Source {
            name: "another".to_owned(),
            version: None,
            content: None,
            time: scene.store.clock().now(),
        };
        let claim = scene.store.claim(&lease, &source).await.expect("a claim");
        let Claim::Held(job) = claim else { panic!("nobody else has it") };
        let begun = Instant::now();
        let group = async {
            tokio::time::sleep(Duration::from_secs(20)).await;
            scene.store.checkpoint(&lease, &job).await.expect("stored")
        };
        let snapshot = async {
            scene.import(&message).await;
            begun.elapsed()
        };
        let (stored, took) = tokio::join!(group, snapshot);
        assert!(stored);
        // It waits for the group's end, not for the end of the lease.
        assert!((Duration::from_secs(20)..LEASE_TERM).contains(&took), "{took:?}");
    });
}

fn is_write(operation: &str) -> bool {
    ["PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem", "TransactWriteItems"]
        .contains(&operation)
}

#[test]
fn a_run_that_waits_for_the_database_ends_by_its_deadline() {
    run(async {
        let writes_fail = |operation: &str, request: &[u8]| {
            let is_of_products = String::from_utf8_lossy(request).contains("test-products");
            let fails = is_write(operation) && is_of_products;
            Fate::from(if fails { FaultKind::Throttled } else { FaultKind::Pass })
        };
        let scene = Scene::with(writes_fail, NoFaults);
        let record = json!([product(&json!({"sku": "s", "name": "n"}))]).to_string();
        for minutes in 1..=10 {
            let (begun, time) = (Instant::now(), Duration::from_mins(minutes));
            assert!(!scene.deliver(&format!("m{minutes}"), &record, 1, time).await);
            let late = begun.elapsed().saturating_sub(time);
            assert!(late <= Duration::from_millis(10), "{minutes} minutes and {late:?}");
        }
    });
}
