//! Imports by messages: each is done once and completely, and continues after an interruption; a message that cannot be
//! processed is returned to the queue.

use std::{io::Write as _, process::Command, sync::Mutex, time::Duration};

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent};
use catalog_cli::local::{LOCALHOST, ObjectServer};
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use serverless_catalog::{
    account::AccountId,
    imports::job::Status,
    objects::{Bucket, Objects},
    queue::ImportCatalog,
    store::{Connection, Store, TableNames, lean_client, lean_s3_client},
    telemetry,
};
use tokio::time::Instant;

use crate::{
    messages::{Message, done},
    proxy::{Fate, proxy},
    support::{Catalog, offering},
    upsert::all,
};

pub(crate) const BUCKET: &str = "catalog";

/// A catalog, a bucket, and the import function over both. The function has no queue, so it cannot send a continuation:
/// the message of an unfinished run is returned instead (`trouble.rs` tests continuations).
pub(crate) struct Imports {
    pub catalog: Catalog,
    pub folder: tempfile::TempDir,
    pub server: ObjectServer,
    pub objects: Objects,
    pub import: ImportCatalog,
}

impl Imports {
    pub(crate) async fn start() -> Self {
        let catalog = Catalog::start().await;
        let folder = tempfile::tempdir().expect("folder");
        let server = ObjectServer::start(folder.path(), BUCKET, LOCALHOST).await.expect("S3");
        let objects =
            Objects::new(lean_s3_client(&Connection::local(&server.url())).expect("client"));
        let import = Self::function(&catalog.stack.addresses().dynamodb_url, &objects);
        Self { catalog, folder, server, objects, import }
    }

    /// The function over the database at this URL; its leases last 150 ms.
    pub(crate) fn function(dynamodb_url: &str, objects: &Objects) -> ImportCatalog {
        let client = lean_client(&Connection::local(dynamodb_url)).expect("client");
        let store = Store::new(client, TableNames::with_prefix("test"));
        let bucket = Bucket { objects: objects.clone(), name: BUCKET.to_owned() };
        ImportCatalog::new(store, bucket).with_lease(Duration::from_millis(150))
    }

    pub(crate) async fn put(&self, key: &str, content: impl Into<Vec<u8>>) {
        let content = content.into();
        self.objects.put(BUCKET, key, "application/octet-stream", content).await.expect("put");
    }

    pub(crate) fn report(&self, account: &str, name: &str) -> Value {
        let folder = self.folder.path().join(BUCKET).join("reports").join(account);
        let found = std::fs::read_dir(folder).expect("reports").find_map(|entry| {
            let path = entry.expect("entry").path();
            let file = path.file_name().and_then(|file| file.to_str()).expect("name").to_owned();
            (file.starts_with(name) && !file.contains(".errors.")).then_some(path)
        });
        let content = std::fs::read(found.expect("a report")).expect("report");
        serde_json::from_slice(&content).expect("JSON")
    }

    pub(crate) async fn errors(&self, report: &Value) -> Vec<Value> {
        let mut errors = Vec::new();
        for name in report["errors"].as_array().expect("errors") {
            let name = name.as_str().expect("key");
            let content = self.objects.get(BUCKET, name).await.expect("S3").expect("errors");
            let content = String::from_utf8(content).expect("UTF-8");
            errors.extend(
                content.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")),
            );
        }
        errors
    }

    pub(crate) async fn deliver(&self, bodies: &[String]) -> Vec<String> {
        deliver(&self.import, bodies, Duration::from_secs(30)).await
    }

    pub(crate) async fn statuses(&self, account: &str) -> Vec<Status> {
        let account = AccountId::parse(account).expect("account");
        let jobs = self.catalog.stack.store.jobs(&account).await.expect("jobs");
        jobs.into_iter().map(|job| job.status).collect()
    }
}

/// Delivers messages; reruns the ids of those returned to the queue.
async fn deliver(import: &ImportCatalog, bodies: &[String], time: Duration) -> Vec<String> {
    let records: Vec<Value> = bodies
        .iter()
        .enumerate()
        .map(|(number, body)| {
            json!({"messageId": format!("m{number}"), "body": body, "attributes": {},
                   "messageAttributes": {"account": {"stringValue": "ACME", "dataType": "String"}}})
        })
        .collect();
    let event: SqsEvent = serde_json::from_value(json!({ "Records": records })).expect("an event");
    let response: SqsBatchResponse = import.handle(event, Instant::now() + time).await;
    response.batch_item_failures.into_iter().map(|failure| failure.item_identifier).collect()
}

/// Waits until the next second: an object's modification time has no fraction, so only then is what is stored next newer
/// than what was stored before.
pub(crate) async fn next_second() {
    tokio::time::sleep(Duration::from_millis(1_050)).await;
}

pub(crate) fn created(key: &str, sequencer: &str) -> String {
    json!({"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": {
        "bucket": {"name": BUCKET}, "object": {"key": key, "sequencer": sequencer}}}]})
    .to_string()
}

pub(crate) fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(plain).expect("memory");
    encoder.finish().expect("memory")
}

pub(crate) fn products(count: usize) -> String {
    let line = |n: usize| {
        json!({"kind": "product", "sku": format!("s{n}"), "name": format!("Product {n}"), "price": n}).to_string()
    };
    (0..count).map(|n| line(n) + "\n").collect()
}

#[tokio::test]
async fn an_object_put_under_imports_is_imported_once_and_reported() {
    let imports = Imports::start().await;
    let key = imports.catalog.key("ACME").await;
    let mut content = products(3);
    content.push_str("{\"kind\":\"product\",\"name\":\"\",\"sku\":\"x\"}\nnonsense\n");
    imports.put("imports/ACME/new products.ndjson", content).await;
    let message = created("imports/ACME/new+products.ndjson", "01");
    assert!(imports.deliver(std::slice::from_ref(&message)).await.is_empty());
    assert_eq!(all(&imports.catalog, &key).await.len(), 3);

    let report = imports.report("ACME", "new products.ndjson");
    assert_eq!((&report["status"], &report["lines"]), (&json!("done"), &json!(5)));
    assert_eq!(report["counts"]["created"], 3);
    assert_eq!(report["counts"]["failed"], 2);
    let errors = imports.errors(&report).await;
    assert_eq!(
        errors,
        [
            json!({"line": 4, "field": "name", "message": "String must contain at least 1 character(s)", "code": "INVALID_FIELD"}),
            json!({"line": 5, "field": "", "message": "must be a JSON object", "code": "MALFORMED"}),
        ]
    );

    // Delivered again, it does nothing: what was changed since stays.
    imports.catalog.upsert(&key, &[json!({"sku": "s1", "price": 77})]).await;
    assert!(imports.deliver(&[message.clone(), message]).await.is_empty());
    let answer = imports.catalog.read(&key, "/api/v1/products?sku=s1").await;
    assert_eq!(answer.json()["products"][0]["price"], 77);
    assert_eq!(imports.statuses("ACME").await, [Status::Done]);
    // Another account's folder is another account's catalog.
    imports
        .put("imports/GLOBEX/a.json", format!("[{}]", products(2).trim().replace('\n', ",")))
        .await;
    assert!(imports.deliver(&[created("imports/GLOBEX/a.json", "01")]).await.is_empty());
    assert_eq!(all(&imports.catalog, &key).await.len(), 3);
    let theirs = imports.catalog.key("GLOBEX").await;
    assert_eq!(all(&imports.catalog, &theirs).await.len(), 2);
}

#[tokio::test]
async fn every_way_to_fail_has_its_answer() {
    let imports = Imports::start().await;
    let put = |key: &str, content: Vec<u8>| {
        let imports = &imports;
        let key = format!("imports/ACME/{key}");
        async move { imports.put(&key, content).await }
    };
    let plain = products(1_000);
    let whole = gzip(plain.as_bytes());
    put("cut.ndjson.gz", whole[..whole.len() - 400].to_vec()).await;
    put(
        "long.ndjson",
        [
            b"{\"kind\":\"".to_vec(),
            vec![b'x'; 10_000_000],
            b"\"}\n{\"kind\":\"product\",\"sku\":\"after\",\"name\":\"n\"}\n".to_vec(),
        ]
        .concat(),
    )
    .await;
    put("latin1.ndjson", b"{\"kind\":\"product\",\"sku\":\"l\",\"name\":\"\xe9\"}\n{\"kind\":\"product\",\"sku\":\"m\",\"name\":\"n\"}\n".to_vec()).await;
    put(
        "bom.csv",
        b"\xef\xbb\xbfsku,name\r\nq,\"a \"\"quoted\r\nname\"\"\"\r\n\r\nr,n\r\n".to_vec(),
    )
    .await;
    put("cut.json", b"[{\"kind\":\"product\",\"sku\":\"j\",\"name\":\"n\"},{\"kind".to_vec()).await;
    put("prose.txt", b"Dear Sir or Madam,\n".to_vec()).await;
    put("empty.ndjson", Vec::new()).await;

    for (body, returned) in [
        (String::new(), true),
        ("no JSON".into(), true),
        ("{}".into(), true),
        (r#"{"detail-type":"Order Placed","detail":{}}"#.into(), true),
        (r#"{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"catalog"}"#.into(), false),
        (created("imports/ACME/nowhere.ndjson", "01"), true),
        (created("elsewhere/ACME/a.ndjson", "01"), false),
        // An object in another bucket: the account in its key cannot be trusted, so the message is returned.
        (created("imports/ACME/bom.csv", "01").replace(BUCKET, "foreign"), true),
        (created("imports/ACME/cut.ndjson.gz", "01"), false),
        (created("imports/ACME/long.ndjson", "01"), false),
        (created("imports/ACME/latin1.ndjson", "01"), false),
        (created("imports/ACME/bom.csv", "01"), false),
        (created("imports/ACME/cut.json", "01"), false),
        (created("imports/ACME/prose.txt", "01"), false),
        (created("imports/ACME/empty.ndjson", "01"), false),
    ] {
        let back = imports.deliver(std::slice::from_ref(&body)).await;
        assert_eq!(!back.is_empty(), returned, "{body}");
    }
    for (name, status, created, failed) in [
        ("long.ndjson", "done", 1, 1),
        ("latin1.ndjson", "done", 1, 1),
        ("bom.csv", "done", 2, 0),
        ("cut.json", "failed", 1, 0),
        ("prose.txt", "failed", 0, 0),
        ("empty.ndjson", "done", 0, 0),
    ] {
        let report = imports.report("ACME", name);
        let shown = (&report["status"], &report["counts"]["created"], &report["counts"]["failed"]);
        assert_eq!(shown, (&json!(status), &json!(created), &json!(failed)), "{report}");
        assert_eq!(report["error"].is_string(), status == "failed");
    }
    let report = imports.report("ACME", "cut.ndjson.gz");
    assert_eq!(report["status"], "failed");
    // The queue delivers one message at a time, but the function accepts more: all of these fail, and the response lists
    // the id of each.
    let all_bad = ["x".to_owned(), String::new(), "{}".to_owned()];
    assert_eq!(imports.deliver(&all_bad).await, ["m0", "m1", "m2"]);
    // One bad message does not take the others with it.
    let mixed =
        ["x".to_owned(), json!({"kind": "product", "sku": "mixed", "name": "n"}).to_string()];
    assert_eq!(imports.deliver(&mixed).await, ["m0"]);
}

#[tokio::test]
async fn records_in_messages_are_imported_for_the_account_the_message_names() {
    let imports = Imports::start().await;
    let key = imports.catalog.key("ACME").await;
    let pretty = serde_json::to_string_pretty(&json!({"kind": "product", "sku": "a", "name": "n"}));
    let event = json!({"detail-type": "catalog.import", "source": "shop",
                       "detail": {"account": "ACME", "records": [{"kind": "product", "sku": "b", "name": "n"}]}});
    let list =
        json!([{"kind": "product", "sku": "c", "name": "n"}, {"kind": "product", "name": ""}]);
    let bodies = [pretty.expect("JSON"), event.to_string(), list.to_string()];
    assert!(imports.deliver(&bodies).await.is_empty());
    let mut skus: Vec<String> = all(&imports.catalog, &key)
        .await
        .iter()
        .map(|product| product["sku"].as_str().expect("sku").to_owned())
        .collect();
    skus.sort();
    assert_eq!(skus, ["a", "b", "c"]);
    // What was rejected is reported in the bucket.
    let folder = imports.folder.path().join(BUCKET).join("reports/ACME/messages");
    let names: Vec<String> = std::fs::read_dir(folder)
        .expect("reports")
        .map(|entry| entry.expect("entry").file_name().into_string().expect("name"))
        .collect();
    assert!(
        names
            .iter()
            .any(|name| name.contains("m2.0") && name.ends_with(".errors.part-000000.ndjson"))
    );
}

#[tokio::test]
async fn without_a_version_or_a_sequencer_the_content_is_the_identity_of_an_object() {
    let imports = Imports::start().await;
    let object = json!({"bucket": {"name": BUCKET}, "object": {"key": "imports/ACME/p.ndjson"}});
    let record = json!({"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": object});
    let told = [json!({ "Records": [record] }).to_string()];
    // The same again is no other import, and another content is.
    for (count, jobs) in [(1, 1), (1, 1), (2, 2), (2, 2)] {
        imports.put("imports/ACME/p.ndjson", products(count)).await;
        assert!(imports.deliver(&told).await.is_empty());
        assert_eq!(imports.statuses("ACME").await, vec![Status::Done; jobs]);
    }
    let key = imports.catalog.key("ACME").await;
    assert_eq!(all(&imports.catalog, &key).await.len(), 2);
}

#[tokio::test]
async fn an_import_is_superseded_when_a_newer_event_of_its_object_is_known() {
    let imports = Imports::start().await;
    let key = imports.catalog.key("ACME").await;
    imports.put("imports/ACME/p.ndjson", products(1)).await;
    assert!(
        imports.deliver(&[created("imports/ACME/p.ndjson", "0055AED6DCD90281E5")]).await.is_empty()
    );
    imports.put("imports/ACME/p.ndjson", products(2)).await;
    assert!(
        imports
            .deliver(&[created("imports/ACME/p.ndjson", "0055AED6DCD90281E4F")])
            .await
            .is_empty()
    );
    assert_eq!(all(&imports.catalog, &key).await.len(), 1, "an older event changes nothing");
    assert!(
        imports
            .deliver(&[created("imports/ACME/p.ndjson", "0055AED6DCD90281E51")])
            .await
            .is_empty()
    );
    assert_eq!(all(&imports.catalog, &key).await.len(), 2);
}

#[tokio::test]
async fn an_import_that_runs_out_of_time_goes_on_where_it_was() {
    const COUNT: usize = 6_000;
    let imports = Imports::start().await;
    let key = imports.catalog.key("ACME").await;
    imports.put("imports/ACME/p.ndjson", products(COUNT)).await;
    let message = [created("imports/ACME/p.ndjson", "01")];
    let mut runs = 0;
    while !deliver(&imports.import, &message, Duration::from_millis(400)).await.is_empty() {
        runs += 1;
        assert!(runs < 200);
    }
    assert!(runs > 0, "one run is not enough");
    let report = imports.report("ACME", "p.ndjson");
    assert_eq!(report["lines"], COUNT);
    assert_eq!(all(&imports.catalog, &key).await.len(), COUNT);
}

/// Another object under the same key is another import: it begins at its first line, and what its
/// predecessor left undone is not done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_replaced_while_it_is_imported_ends_as_the_new_one() {
    const COUNT: usize = 4_000;
    let imports = Imports::start().await;
    let key = imports.catalog.key("ACME").await;
    let first = created("imports/ACME/p.ndjson", "01");
    let second = created("imports/ACME/p.ndjson", "02");
    imports.put("imports/ACME/p.ndjson", products(COUNT)).await;
    let mut replaced = false;
    let mut runs = 0;
    loop {
        let run =
            deliver(&imports.import, std::slice::from_ref(&first), Duration::from_millis(300));
        let left = if replaced {
            run.await
        } else {
            // While the first run reads it, or right after.
            let put = async {
                tokio::time::sleep(Duration::from_millis(250)).await;
                imports
                    .put("imports/ACME/p.ndjson", products(COUNT).replace("Product", "Novelty"))
                    .await;
            };
            replaced = true;
            tokio::join!(run, put).0
        };
        if left.is_empty() {
            break;
        }
        runs += 1;
        assert!(runs < 200);
    }
    assert!(imports.deliver(&[second, first]).await.is_empty());
    let products = all(&imports.catalog, &key).await;
    assert_eq!(products.len(), COUNT);
    let old = products.iter().filter(|product| !product["name"].to_string().contains("Novelty"));
    assert_eq!(old.count(), 0, "nothing of the first object is left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newest_record_stays_when_imports_run_at_once() {
    const COUNT: usize = 1_000;
    let imports = Imports::start().await;
    let key = imports.catalog.key("ACME").await;
    let file = |minute: u32, gone: bool| {
        let lines: Vec<String> = (0..COUNT)
            .map(|n| {
                let updated_at = format!("2026-01-01T00:{minute:02}:00Z");
                if gone && n % 3 == 0 {
                    return json!({"kind": "offering", "op": "delete",
                        "productOfferingId": format!("o{n}"), "updatedAt": updated_at})
                    .to_string();
                }
                let name = format!("of minute {minute}");
                offering(&format!("o{n}"), json!({"name": name, "updatedAt": updated_at}))
                    .to_string()
            })
            .collect();
        lines.join("\n")
    };
    // All three are imported at once. `old` deletes every third offering, but with an older time: all offerings of minute
    // 9 stay.
    imports.put("imports/ACME/young.ndjson", file(9, false)).await;
    imports.put("imports/ACME/old.ndjson", file(5, true)).await;
    imports.put("imports/ACME/older.ndjson", file(1, false)).await;
    let message = |name: &str| [created(&format!("imports/ACME/{name}.ndjson"), "01")];
    let (old, older, young) = (message("old"), message("older"), message("young"));
    let (one, two, three) =
        tokio::join!(imports.deliver(&older), imports.deliver(&young), imports.deliver(&old));
    assert!(one.is_empty() && two.is_empty() && three.is_empty());
    let list = imports.catalog.get(&key, "/product-offerings?limit=1000").await.json();
    let items = list["items"].as_array().expect("items");
    assert_eq!(items.len(), COUNT);
    assert!(items.iter().all(|item| item["name"] == "of minute 9"), "{}", items[0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_deliveries_at_once_do_not_both_run() {
    let imports = Imports::start().await;
    let key = imports.catalog.key("ACME").await;
    imports.put("imports/ACME/p.ndjson", products(2_000)).await;
    let message = [created("imports/ACME/p.ndjson", "01")];
    let (one, other) = tokio::join!(imports.deliver(&message), imports.deliver(&message));
    assert_eq!(one.len() + other.len(), 1, "one of them is returned");
    assert!(imports.deliver(&message).await.is_empty());
    assert_eq!(imports.report("ACME", "p.ndjson")["lines"], 2_000);
    assert_eq!(all(&imports.catalog, &key).await.len(), 2_000);
}

/// Killed at any moment and delivered again, an import ends as one that nothing disturbed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_killed_at_fifty_moments_ends_as_an_undisturbed_one() {
    let imports = Imports::start().await;
    let mut records: Vec<String> = Vec::new();
    for n in 0..1_200 {
        records
            .push(offering(&format!("o{n}"), json!({"name": format!("Offering {n}")})).to_string());
        if n % 40 == 0 {
            records
                .push(json!({"kind": "product", "sku": format!("s{n}"), "name": "n"}).to_string());
            // A product without keys: its id comes from its line number, so a line that is repeated must not create a
            // second product.
            records.push(json!({"kind": "product", "name": format!("keyless {n}")}).to_string());
            records.push(json!({"kind": "network", "id": n + 1, "name": "N", "country": "Ghana", "country_code": "GH", "currency": "GHS",
                "fixed_bundles": [{"id": 1, "name": "b", "type": "DATA", "price_usd": 1}]}).to_string());
            records.push("{\"kind\":\"nothing\"}".to_owned());
        }
    }
    let content = records.join("\n");
    for round in 0..50_u64 {
        let account = format!("A{round}");
        imports.put(&format!("imports/{account}/f.ndjson"), content.clone()).await;
        let message = [created(&format!("imports/{account}/f.ndjson"), "01")];
        // Each round stops two deliveries, early or late. The second is stopped while it runs only if the first left
        // no valid lease; otherwise it is returned at once.
        for kill in [round * 17 % 900, round * 29 % 500] {
            let delivery = deliver(&imports.import, &message, Duration::from_secs(30));
            let _ = tokio::time::timeout(Duration::from_millis(kill), delivery).await;
        }
        let mut tries = 0;
        while !deliver(&imports.import, &message, Duration::from_secs(30)).await.is_empty() {
            tries += 1;
            assert!(tries < 50, "round {round}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let report = imports.report(&account, "f.ndjson");
        assert_eq!(report["lines"], records.len(), "round {round}: {report}");
        assert_eq!(report["counts"]["failed"], 30, "round {round}: {report}");
        assert_eq!(imports.errors(&report).await.len(), 30, "round {round}");
        let key = imports.catalog.key(&account).await;
        assert_eq!(imports.catalog.all_ids(&key, "").await.len(), 1_200, "round {round}");
        assert_eq!(all(&imports.catalog, &key).await.len(), 60, "round {round}");
        let networks = imports.catalog.read(&key, "/v2/catalog/networks").await.json();
        let networks = networks["data"].as_array().expect("networks").clone();
        assert_eq!(networks.len(), 30);
        assert!(networks.iter().all(|network| network["product_count"] == 1));
    }
}

/// The database never receives some requests, does some without its reply arriving, and throttles some: nothing is lost,
/// nothing is doubled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_lose_nothing_and_double_nothing() {
    for percent in [1_u64, 10, 50] {
        let imports = Imports::start().await;
        let random = Mutex::new(percent * 7_919);
        let url = proxy(&imports.catalog.stack.addresses().dynamodb_url, move |_, _| {
            let mut state = random.lock().expect("lock");
            // A small generator with a period long enough.
            *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let roll = (*state >> 33) % 300;
            match roll {
                roll if roll < percent => Fate::Lost,
                roll if roll < percent * 2 => Fate::Unseen,
                roll if roll < percent * 3 => Fate::Throttled,
                _ => Fate::Pass,
            }
        })
        .await;
        let import = Imports::function(&url, &imports.objects);
        let mut content = products(300);
        for n in 0..300 {
            content.push_str(&offering(&format!("o{n}"), json!({})).to_string());
            content.push('\n');
        }
        imports.put("imports/ACME/f.ndjson", content).await;
        let message = [created("imports/ACME/f.ndjson", "01")];
        let mut tries = 0;
        while !deliver(&import, &message, Duration::from_mins(1)).await.is_empty() {
            tries += 1;
            assert!(tries < 60, "{percent} %");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let key = imports.catalog.key("ACME").await;
        assert_eq!(all(&imports.catalog, &key).await.len(), 300, "{percent} %");
        assert_eq!(imports.catalog.all_ids(&key, "").await.len(), 300, "{percent} %");
        let report = imports.report("ACME", "f.ndjson");
        assert_eq!((&report["lines"], &report["counts"]["failed"]), (&json!(600), &json!(0)));
    }
}

/// Stopping the object server stands for an outage of S3: the message is returned.
#[tokio::test]
async fn a_message_is_returned_while_s3_is_unreachable() {
    let imports = Imports::start().await;
    imports.put("imports/ACME/p.ndjson", products(1)).await;
    let message = [created("imports/ACME/p.ndjson", "01")];
    let Imports { server, import, .. } = imports;
    drop(server);
    assert_eq!(deliver(&import, &message, Duration::from_secs(20)).await, ["m0"]);
}

/// A process has one metrics collector, which prints to standard output, so this test runs itself in a process of its own.
#[tokio::test]
async fn a_returned_message_is_counted_and_so_is_an_import_that_ends() {
    const NAME: &str = "queue::a_returned_message_is_counted_and_so_is_an_import_that_ends";
    if std::env::var_os("METRICS_NAMESPACE").is_some() {
        telemetry::init();
        let imports = Imports::start().await;
        let product = json!({"kind": "product", "sku": "a", "name": "n"}).to_string();
        assert_eq!(imports.deliver(&["no JSON".to_owned(), product]).await, ["m0"]);
        return;
    }
    let mut child = Command::new(std::env::current_exe().expect("this test"));
    let child = child.args(["--exact", NAME, "--nocapture"]).env("METRICS_NAMESPACE", "Test");
    let output = child.output().expect("a process");
    let printed = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(output.status.success(), "{printed}");
    // The first line begins with what the test harness prints.
    let lines = printed.lines().filter_map(|line| line.get(line.find('{')?..));
    let lines: Vec<Value> = lines.filter_map(|line| serde_json::from_str(line).ok()).collect();
    for name in ["MessagesRetried", "Imports"] {
        let counted: Vec<&Value> = lines.iter().filter_map(|line| line.get(name)).collect();
        assert_eq!(counted, [1], "{name}: {printed}");
    }
}

/// A snapshot: stored records that are missing from it are removed, unless they are more than the allowed share.
#[tokio::test]
async fn a_snapshot_removes_what_is_missing_from_it() {
    let imports = Imports::start().await;
    let key = imports.catalog.key("ACME").await;
    let s3 = lean_s3_client(&Connection::local(&imports.server.url())).expect("client");
    let mut version = 0;
    let mut import = async |content: String, kind: &str, share: Option<&str>| {
        version += 1;
        let put = s3.put_object().bucket(BUCKET).key(format!("imports/ACME/w{version}.ndjson"));
        let mut put = put.body(content.into_bytes().into()).metadata("replace", kind);
        if let Some(share) = share {
            put = put.metadata("replace-share", share);
        }
        next_second().await;
        put.send().await.expect("put");
        let message = created(&format!("imports/ACME/w{version}.ndjson"), "01");
        let back = imports.deliver(&[message]).await;
        (back.len(), version)
    };
    assert_eq!(import(products(10), "product", None).await.0, 0);
    imports.catalog.upsert(&key, &[json!({"name": "without keys"})]).await;
    // Other kinds are not touched.
    imports.catalog.import("ACME", &[offering("o", json!({})), offering("p", json!({}))]).await;

    // Six of eleven are named: five go.
    assert_eq!(import(products(6), "product", None).await.0, 0);
    assert_eq!(all(&imports.catalog, &key).await.len(), 6);
    // One of six is named: five would go, more than half.
    let (_, version) = import(products(1), "product", None).await;
    assert_eq!(all(&imports.catalog, &key).await.len(), 6);
    let report = imports.report("ACME", &format!("w{version}.ndjson"));
    assert!(report["error"].as_str().is_some_and(|error| error.contains("5 of 6")), "{report}");
    assert_eq!(import(products(1), "product", Some("0.9")).await.0, 0);
    assert_eq!(all(&imports.catalog, &key).await.len(), 1);

    // A rejected record still counts as contained in the snapshot. If a line has no identity, nothing is removed.
    let stored = ["s1", "s2", "missing"].map(|sku| json!({"sku": sku, "name": "n"}));
    imports.catalog.upsert(&key, &stored).await;
    let rejected = [json!({"price": -1, "sku": "s1"}), json!({"updatedAt": "now", "sku": "s2"})];
    let rejected = rejected.map(|mut record| {
        record["kind"] = "product".into();
        record.to_string() + "\n"
    });
    assert_eq!(import(products(1) + &rejected.concat(), "product", Some("1")).await.0, 0);
    assert_eq!(all(&imports.catalog, &key).await.len(), 3);
    assert_eq!(import("nonsense\n".to_owned() + &products(1), "product", Some("1")).await.0, 0);
    assert_eq!(all(&imports.catalog, &key).await.len(), 3);

    // Offerings are archived.
    let one = offering("o", json!({})).to_string() + "\n";
    assert_eq!(import(one, "offering", None).await.0, 0);
    assert_eq!(imports.catalog.all_ids(&key, "").await, ["o"]);
    assert_eq!(imports.catalog.all_ids(&key, "includeArchived=true").await, ["o", "p"]);
    // A kind that is not known: the message is returned.
    assert_eq!(import(products(1), "everything", None).await.0, 1);
}

/// The same content may be sent again on purpose, when what it made has another key by now.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_message_again_makes_another_product_only_with_another_id() {
    let imports = Imports::start().await;
    let key = imports.catalog.key("ACME").await;
    let body = json!({"kind": "product", "sku": "A", "name": "Cable"}).to_string();
    let counts = async |id: &str| {
        done(&imports.import, &[Message::new(id, body.clone())]).await;
        let reports = imports.reports();
        let counts = &reports.last().expect("a report")["counts"];
        ["created", "updated"].map(|name| counts[name].as_u64().expect("a count"))
    };
    assert_eq!(counts("first").await, [1, 0]);
    let moves = [json!({"sku": "A", "externalId": "E"}), json!({"externalId": "E", "sku": null})];
    assert_eq!(imports.catalog.upsert(&key, &moves).await.status, 200);
    assert_eq!(counts("second").await, [1, 0]);
    let page = imports.catalog.read(&key, "/api/v1/products").await.json();
    let products = page["products"].as_array().expect("products");
    assert_eq!(products.len(), 2, "{page}");
    assert_ne!(products[0]["id"], products[1]["id"]);

    let price = json!({"sku": "A", "price": 2, "name": "Longer cable"});
    assert_eq!(imports.catalog.upsert(&key, &[price]).await.status, 200);
    assert_eq!(counts("third").await, [0, 1], "it is there already");
}

/// An operator may have an object imported anew, when what it made has another key by now.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_object_imported_anew_makes_another_product_only_with_another_id() {
    let imports = Imports::start().await;
    let key = imports.catalog.key("ACME").await;
    let record = json!({"kind": "product", "sku": "A", "name": "Cable"}).to_string();
    imports.put("imports/ACME/a.ndjson", record.into_bytes()).await;
    let event = [created("imports/ACME/a.ndjson", "01")];
    assert!(imports.deliver(&event).await.is_empty());
    let moves = [json!({"sku": "A", "externalId": "E"}), json!({"externalId": "E", "sku": null})];
    assert_eq!(imports.catalog.upsert(&key, &moves).await.status, 200);
    let account = AccountId::parse("ACME").expect("account");
    let store = &imports.catalog.stack.store;
    for job in store.jobs(&account).await.expect("jobs") {
        store.delete_job(&account, &job.import_id).await.expect("deleted");
    }
    assert!(imports.deliver(&event).await.is_empty());
    let page = imports.catalog.read(&key, "/api/v1/products").await.json();
    let products = page["products"].as_array().expect("products");
    assert_eq!(products.len(), 2, "{page}");
    assert_ne!(products[0]["id"], products[1]["id"]);
}
