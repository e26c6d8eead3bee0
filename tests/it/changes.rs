//! The journal over HTTP: what is told, to whom, in which order, and what it costs.

use std::{
    future::ready,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use futures_util::{FutureExt as _, future::BoxFuture};
use jiff::SignedDuration;
use serde_json::{Value, json};
use serverless_catalog::{
    access::Limits,
    account::AccountId,
    cause::Cause,
    changes::{Chunk, JournalStore as _, Kinds, Log, LogId, Positions, View, ends},
    clock::Clock,
    cursor::Cursors,
    imports::job::ImportId,
    offerings::{CatalogId, CustomerType},
    store::{Store, TableNames},
    streams::{EventSink, RecordChanges},
};

use crate::{
    limits::scene,
    simulation::{
        journal::{Reader, exported},
        random::Random,
    },
    support::{Answer, Catalog, importer, offering},
};

mod images;
mod logs;

const PATH: &str = "/catalog/v1/changes";

fn acme() -> AccountId {
    AccountId::parse("ACME").expect("account")
}

/// The changes of a page, without what differs from run to run.
fn told(page: &Answer) -> Vec<(String, String, String)> {
    assert_eq!(page.status, 200, "{}", String::from_utf8_lossy(&page.bytes));
    let page = page.json();
    let changes = page["changes"].as_array().expect("changes").iter();
    let text = |change: &Value, name: &str| change[name].as_str().expect(name).to_owned();
    changes.map(|change| (text(change, "op"), text(change, "kind"), text(change, "id"))).collect()
}

fn change(op: &str, kind: &str, id: &str) -> (String, String, String) {
    (op.to_owned(), kind.to_owned(), id.to_owned())
}

fn cursor(page: &Answer) -> String {
    page.json()["nextCursor"].as_str().expect("a cursor").to_owned()
}

impl Catalog {
    /// Waits until what was written is recorded.
    async fn settle(&self) {
        self.stack.streams.settle().await.expect("recorded");
    }

    async fn changes(&self, key: &str, query: &str) -> Answer {
        self.settle().await;
        self.read(key, &format!("{PATH}?{query}")).await
    }

    async fn since(&self, key: &str, cursor: &str) -> Answer {
        self.changes(key, &format!("since={cursor}")).await
    }

    /// The cursor of a reader that knows everything.
    async fn now(&self, key: &str) -> String {
        let mut page = self.changes(key, "limit=1000").await;
        while page.json()["upToDate"] == false {
            page = self.changes(key, &format!("limit=1000&since={}", cursor(&page))).await;
        }
        cursor(&page)
    }
}

#[tokio::test]
async fn every_change_is_told_once_with_the_record_of_an_export() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    let nothing = catalog.changes(&key, "").await;
    assert_eq!(told(&nothing), []);
    assert_eq!(nothing.json()["upToDate"], true);

    let partner = json!({"name": "p", "type": "addon", "quantity": 1});
    let bundle =
        |id: u32, name: &str| json!({"id": id, "name": name, "type": "DATA", "price_usd": 1});
    let network = |bundles: &[Value]| {
        json!({"kind": "network", "id": 7, "name": "N", "country": "Ghana", "country_code": "GH",
            "currency": "GHS", "fixed_bundles": bundles})
    };
    let records = [
        offering("o1", json!({})),
        json!({"kind": "promotion", "code": "P1", "percentOff": 5}),
        json!({"kind": "partnerOffering", "offering": partner, "entitlements": {}}),
        json!({"kind": "exchangeRate", "source_currency": "USD", "destination_currency": "GHS", "rate": 9}),
        network(&[bundle(1, "a"), bundle(2, "b")]),
        json!({"kind": "product", "sku": "s1", "name": "n"}),
    ];
    catalog.import("ACME", &records).await;
    let first = catalog.since(&key, &cursor(&nothing)).await;
    let mut all = told(&first);
    all.sort();
    let mut wanted = vec![
        change("upsert", "offering", "o1"),
        change("upsert", "promotion", "P1"),
        change("upsert", "partnerOffering", "addon/p"),
        change("upsert", "exchangeRate", "USD/GHS"),
        change("upsert", "network", "7"),
        change("upsert", "bundle", "7/1"),
        change("upsert", "bundle", "7/2"),
        change("upsert", "product", "s1"),
    ];
    wanted.sort();
    assert_eq!(all, wanted);
    let export = exported(&catalog.stack.store, &acme()).await;
    for change in first.json()["changes"].as_array().expect("changes") {
        let is_exported = |line: &String| {
            serde_json::from_str::<Value>(line).is_ok_and(|line| line == change["record"])
        };
        assert!(export.values().any(is_exported), "{change}");
    }
    let page = first.json();
    assert_eq!(
        page["changes"].as_array().and_then(|all| all.last()).expect("a product")["idField"],
        "sku"
    );

    // The same again is no change; a bundle that a network no longer has is deleted.
    catalog.import("ACME", &records).await;
    catalog.import("ACME", &[network(&[bundle(2, "c")])]).await;
    catalog.upsert(&key, &[json!({"sku": "s1", "price": 3})]).await;
    let second = catalog.since(&key, &cursor(&first)).await;
    let mut all = told(&second);
    all.sort();
    assert_eq!(
        all,
        [
            change("delete", "bundle", "7/1"),
            change("upsert", "bundle", "7/2"),
            change("upsert", "network", "7"),
            change("upsert", "product", "s1"),
        ]
    );
    let page = second.json();
    let changes = page["changes"].as_array().expect("changes");
    let product = changes.iter().find(|change| change["kind"] == "product").expect("a product");
    assert_eq!(product["source"], "upsert");
    // What comes after that is nothing, and says so with the same tag.
    let third = catalog.since(&key, &cursor(&second)).await;
    assert_eq!((told(&third), &third.json()["upToDate"]), (vec![], &json!(true)));
    let fourth = catalog.since(&key, &cursor(&third)).await;
    assert_eq!(fourth.header("etag"), third.header("etag"));
}

#[tokio::test]
async fn a_product_that_moves_to_another_key_is_deleted_under_the_old_one() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    catalog.upsert(&key, &[json!({"externalId": "x", "name": "n"})]).await;
    let before = catalog.now(&key).await;
    // The new sku is the same text as the old external id.
    catalog.upsert(&key, &[json!({"externalId": "x", "sku": "x"})]).await;
    let page = catalog.since(&key, &before).await.json();
    let changes = page["changes"].as_array().expect("changes");
    let mut moved: Vec<String> = changes
        .iter()
        .map(|change| format!("{} {} {}", change["op"], change["idField"], change["id"]))
        .collect();
    moved.sort();
    assert_eq!(moved, [r#""delete" "externalId" "x""#, r#""upsert" "sku" "x""#]);
}

#[tokio::test]
async fn pages_of_any_size_and_kind_tell_the_same_changes() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    for round in 0..4 {
        let mut records: Vec<Value> = (0..25)
            .map(|n| offering(&format!("o{n}"), json!({"name": format!("r{round}")})))
            .collect();
        records.extend((0..30).map(
            |n| json!({"kind": "product", "sku": format!("s{n}"), "name": format!("r{round}")}),
        ));
        records.extend((0..5).map(
            |n| json!({"kind": "promotion", "code": format!("P{n}"), "percentOff": round + 1}),
        ));
        catalog.import("ACME", &records).await;
        catalog.settle().await;
    }
    let whole = catalog.changes(&key, "limit=1000").await;
    let mut wanted = told(&whole);
    assert_eq!(wanted.len(), 240);
    wanted.sort();
    for limit in [1, 7, 60, 239, 240] {
        let mut all = Vec::new();
        let mut query = format!("limit={limit}");
        loop {
            let page = catalog.changes(&key, &query).await;
            let told = told(&page);
            assert!(told.len() <= limit);
            all.extend(told);
            query = format!("limit={limit}&since={}", cursor(&page));
            if page.json()["upToDate"] == true {
                break;
            }
        }
        all.sort();
        assert_eq!(all, wanted, "{limit}");
    }
    let some = catalog.changes(&key, "limit=1000&kinds=offering,promotion").await;
    assert_eq!(told(&some).len(), 120);
    let cursor = cursor(&some);
    // A cursor goes on with its kinds or fewer: of others it has passed changes over.
    for (query, status) in [("", 200), ("&kinds=promotion", 200), ("&kinds=product", 400)] {
        let page = catalog.changes(&key, &format!("since={cursor}{query}")).await;
        assert_eq!(page.status, status, "{query}");
    }
}

#[tokio::test]
async fn a_cursor_is_good_for_its_account_and_view_alone() {
    let catalog = Catalog::start().await;
    let (acme, globex) = (catalog.key("ACME").await, catalog.key("GLOBEX").await);
    catalog.upsert(&acme, &[json!({"sku": "s", "name": "n"})]).await;
    let cursor = catalog.now(&acme).await;
    let foreign = catalog.since(&globex, &cursor).await;
    assert_eq!((foreign.status, foreign.fields()), (400, vec!["since".to_owned()]));
    assert_eq!(foreign.header("content-type"), "application/problem+json");
    assert_eq!(told(&catalog.changes(&globex, "").await), []);
    let other = if cursor[20..].starts_with('A') { 'B' } else { 'A' };
    let tampered = format!("{}{other}{}", &cursor[..20], &cursor[21..]);
    assert_eq!(catalog.since(&acme, &tampered).await.status, 400);
    let consumers = catalog
        .key_with("ACME", |key| key.customer_types = Some([CustomerType::Consumer].into()))
        .await;
    let gone = catalog.since(&consumers, &cursor).await;
    assert_eq!((gone.status, &gone.json()["title"]), (410, &json!("Gone")));
    assert!(gone.json()["detail"].as_str().expect("detail").contains("changesCursor"));
    let other = catalog.key_with("ACME", |key| key.permissions.clear()).await;
    assert_eq!(catalog.changes(&other, "").await.status, 403);
    assert_eq!(catalog.changes("none", "").await.status, 401);
    assert_eq!(catalog.changes(&acme, "kinds=x&limit=0").await.fields(), ["kinds", "limit"]);
}

#[tokio::test]
async fn a_restricted_key_is_told_what_enters_and_leaves_its_view() {
    let catalog = Catalog::start().await;
    let web = CatalogId::parse("web").expect("id");
    let key = catalog
        .key_with("ACME", |key| {
            key.product_catalogs = Some([web].into());
            key.customer_types = Some([CustomerType::Consumer].into());
        })
        .await;
    let of = |id: &str, catalogs: &[&str], customer: &str| {
        offering(id, json!({"productCatalogIds": catalogs, "customerType": customer}))
    };
    catalog
        .import(
            "ACME",
            &[
                of("seen", &["retail", "web"], "CONSUMER"),
                of("hidden", &["retail"], "CONSUMER"),
                of("business", &["web"], "BUSINESS"),
                json!({"kind": "promotion", "code": "P1", "percentOff": 5}),
                json!({"kind": "product", "sku": "s", "name": "n"}),
            ],
        )
        .await;
    let first = catalog.changes(&key, "").await;
    assert_eq!(
        told(&first),
        [change("upsert", "offering", "seen"), change("upsert", "product", "s")]
    );
    assert_eq!(first.json()["changes"][0]["record"]["productCatalogIds"], json!(["web"]));

    catalog
        .import(
            "ACME",
            &[
                of("seen", &["retail"], "CONSUMER"),
                of("hidden", &["retail", "web"], "CONSUMER"),
                of("business", &["retail"], "BUSINESS"),
            ],
        )
        .await;
    let second = catalog.since(&key, &cursor(&first)).await;
    let mut all = told(&second);
    all.sort();
    assert_eq!(all, [change("delete", "offering", "seen"), change("upsert", "offering", "hidden")]);
    assert!(!String::from_utf8_lossy(&second.bytes).contains("retail"));

    let gone = |id: &str| json!({"kind": "offering", "op": "delete", "productOfferingId": id});
    catalog.import("ACME", &[gone("seen"), gone("hidden"), gone("business")]).await;
    let third = catalog.since(&key, &cursor(&second)).await;
    assert_eq!(told(&third), [change("delete", "offering", "hidden")]);
}

#[tokio::test]
async fn a_key_for_some_catalogs_is_not_told_what_happens_in_others_alone() {
    let catalog = Catalog::start().await;
    let web = CatalogId::parse("web").expect("id");
    let key = catalog.key_with("ACME", |key| key.product_catalogs = Some([web].into())).await;
    let of = |catalogs: &[&str], name: &str| {
        [offering("o", json!({"productCatalogIds": catalogs, "name": name}))]
    };
    catalog.import("ACME", &of(&["web"], "a")).await;
    let cursor = catalog.now(&key).await;
    catalog.import("ACME", &of(&["retail", "web"], "a")).await;
    catalog.import("ACME", &of(&["shop", "web"], "a")).await;
    assert_eq!(told(&catalog.since(&key, &cursor).await), []);
    // With another change it is one.
    catalog.import("ACME", &of(&["web"], "b")).await;
    let page = catalog.since(&key, &cursor).await;
    assert_eq!(told(&page), [change("upsert", "offering", "o")]);
    let whole = catalog.key("ACME").await;
    assert_eq!(told(&catalog.changes(&whole, "").await).len(), 4);
}

/// A stream's event with one new product, at a time.
pub(crate) fn event(number: u32, shard: &str, at: jiff::Timestamp) -> Value {
    let item = json!({
        "account": {"S": "ACME"}, "productKey": {"S": format!("SKU#s{number}")}, "sku": {"S": format!("s{number}")},
        "id": {"S": "01920e3a-7b1c-7def-8123-456789abcdef"}, "name": {"S": "n"}, "type": {"S": "PRODUCT"},
        "price": {"N": "1"}, "currency": {"S": "USD"}, "active": {"BOOL": true}, "revision": {"N": "1"},
        "createdAt": {"S": "2026-01-06T12:00:00.000Z"}, "updatedAt": {"S": "2026-01-06T12:00:00.000Z"},
    });
    let arn = "arn:aws:dynamodb:eu-west-1:123456789012:table/test-products/stream/2026";
    json!({
        "Records": [{
            "eventID": "1", "eventName": "INSERT", "eventSource": "aws:dynamodb", "awsRegion": "eu-west-1",
            "eventSourceARN": arn,
            "dynamodb": {
                "Keys": {"account": item["account"], "productKey": item["productKey"]}, "NewImage": item,
                "ApproximateCreationDateTime": at.as_second(), "SizeBytes": 100,
                "SequenceNumber": format!("{}", 1_000 + number), "StreamViewType": "NEW_AND_OLD_IMAGES",
            },
        }],
        "window": {"start": "2026-01-01T00:00:00Z", "end": "2026-01-01T00:15:00Z"},
        "state": {}, "shardId": shard, "eventSourceARN": arn,
        "isFinalInvokeForWindow": false, "isWindowTerminatedEarly": false,
    })
}

/// Records an event with the function as a process of its own, at a time.
async fn record(catalog: &Catalog, now: jiff::Timestamp, event: &Value) {
    let store = Store::new(catalog.stack.client.clone(), TableNames::with_prefix("test"))
        .with_clock(Clock::simulated(now));
    let event = serde_json::from_value(event.clone()).expect("an event");
    let reply = RecordChanges::new(store).handle(event).await.expect("recorded");
    // Lambda takes a reply without a state for a failure.
    assert_eq!(serde_json::to_value(reply).expect("JSON")["state"], json!({}));
}

#[tokio::test]
async fn an_old_cursor_and_a_log_that_began_anew_are_gone_with_the_way_back() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    let now = jiff::Timestamp::now();
    record(&catalog, now, &event(1, "a", now)).await;
    let before = catalog.now(&key).await;
    // Delivered again it is there once.
    record(&catalog, now, &event(1, "a", now)).await;
    assert_eq!(told(&catalog.since(&key, &before).await), []);

    // A record that has waited as long as a stream keeps any: others before it may be lost.
    let now = now + SignedDuration::from_secs(1);
    record(&catalog, now, &event(2, "a", now - SignedDuration::from_hours(24))).await;
    catalog.gone(&key, &before).await;
    let anew = catalog.changes(&key, "").await;
    assert_eq!(told(&anew), [change("upsert", "product", "s2")]);
    assert_eq!(anew.json()["upToDate"], true);
    record(&catalog, now, &event(3, "a", now)).await;
    let after = catalog.since(&key, &cursor(&anew)).await;
    assert_eq!(told(&after), [change("upsert", "product", "s3")]);

    // A cursor of a month ago.
    let cursors = Cursors::new("the cursor secret of all the tests", None).expect("secret");
    let then = now - SignedDuration::from_hours(30 * 24);
    let old = Positions::oldest(then, Kinds::ALL, View::Everything.fingerprint());
    let old = old.seal(&cursors, &acme()).expect("a cursor");
    assert_eq!(catalog.since(&key, &old).await.status, 410);
}

#[tokio::test]
async fn a_log_that_is_empty_again_begins_above_all_it_ever_had() {
    let catalog = Catalog::start().await;
    let now = jiff::Timestamp::now();
    let store = &catalog.stack.store;
    let id = LogId { account: acme(), log: Log::Products };
    record(&catalog, now - SignedDuration::from_hours(40 * 24), &event(1, "a", now)).await;
    let first = store.newest(&id).await.expect("read").expect("a chunk");
    // Not expired yet, but too old to be relied on.
    record(&catalog, now, &event(2, "a", now)).await;
    let second = store.newest(&id).await.expect("read").expect("a chunk");
    assert!(second.first > first.end(), "{} {}", first.end(), second.first);
    let key = catalog.key("ACME").await;
    // What is older than 30 days is not told, though it may still be there.
    assert_eq!(told(&catalog.changes(&key, "").await), [change("upsert", "product", "s2")]);
    record(&catalog, now, &event(3, "a", now)).await;
    let third = store.newest(&id).await.expect("read").expect("a chunk");
    assert_eq!(third.first, second.end());
}

#[tokio::test]
async fn a_copy_follows_products_through_all_their_keys() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    let store = &catalog.stack.store;
    let mut random = Random::new(7);
    let mut from_the_first = Reader::begin(store, &acme(), false).await;
    let mut copy = None;
    for round in 0..120 {
        let pick = |random: &mut Random| format!("k{}", random.range(0..4));
        let mut row = json!({"name": format!("n{round}")});
        for field in ["sku", "externalId"] {
            match random.range(0..4) {
                0 | 1 => row[field] = json!(pick(&mut random)),
                2 if field == "externalId" => row[field] = Value::Null,
                _ => {}
            }
        }
        if random.chance(20) {
            let mut delete = json!({"kind": "product", "op": "delete"});
            delete[*random.pick(&["sku", "externalId"])] = json!(pick(&mut random));
            catalog.import("ACME", &[delete]).await;
        } else {
            catalog.upsert(&key, &[row]).await;
        }
        if round == 60 {
            copy = Some(Reader::begin(store, &acme(), true).await);
        }
        from_the_first.read(&mut random).await.expect("a page");
    }
    catalog.settle().await;
    let export = exported(store, &acme()).await;
    let mut lines: Vec<&String> = export.values().collect();
    lines.sort();
    assert!(lines.len() > 3);
    for mut reader in [from_the_first, copy.expect("begun")] {
        while !reader.read(&mut random).await.expect("a page") {}
        assert_eq!(reader.lines(), lines);
    }
}

/// All chunks of a log.
async fn chunks(store: &Store, log: Log) -> Vec<Chunk> {
    let id = LogId { account: acme(), log };
    store.chunks(&id, 1, 1_000).await.expect("chunks").chunks
}

fn units(chunk: &Chunk) -> usize {
    (chunk.body.len() + 120).div_ceil(1_024)
}

#[tokio::test]
#[allow(clippy::print_stderr, reason = "the figures of the documentation")]
async fn the_journal_costs_a_fraction_of_an_import_and_a_unit_or_two_a_change() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    // Rows of 1 KB, of words that do not repeat.
    let mut random = Random::new(1);
    let mut words = || {
        let word = |_| format!("{:x}", random.number() % 0xfff_ffff);
        (0..90).map(word).collect::<Vec<_>>().join(" ")
    };
    let rows: Vec<Value> = (0..1_000)
        .map(|n| json!({"kind": "product", "sku": format!("s{n}"), "name": "n", "description": words()}))
        .collect();
    catalog.import("ACME", &rows).await;
    catalog.settle().await;
    let imported = chunks(&catalog.stack.store, Log::Products).await;
    let count: u64 = imported.iter().map(|chunk| chunk.count).sum();
    assert_eq!(count, 1_000);
    let total: usize = imported.iter().map(units).sum();
    eprintln!("1,000 incompressible rows: {total} units in {} chunks", imported.len());
    assert!(imported.iter().all(|chunk| chunk.body.len() <= 64 * 1_024));

    let alike: Vec<Value> = (0..1_000)
        .map(|n| {
            let text = format!("A plan with {n} minutes, and data for all of Europe. ").repeat(18);
            json!({"kind": "product", "sku": format!("s{n}"), "name": "n", "description": text})
        })
        .collect();
    catalog.import("ACME", &alike).await;
    catalog.settle().await;
    let after = chunks(&catalog.stack.store, Log::Products).await;
    let total: usize = after[imported.len()..].iter().map(units).sum();
    eprintln!("1,000 rows of 1 KB: {total} units in {} chunks", after.len() - imported.len());
    assert!(total <= 500, "{total}");

    let cursor = catalog.now(&key).await;
    catalog.upsert(&key, &[json!({"sku": "s1", "price": 7})]).await;
    let one = catalog.since(&key, &cursor).await;
    assert_eq!(told(&one), [change("upsert", "product", "s1")]);
    let last = chunks(&catalog.stack.store, Log::Products).await.pop().expect("a chunk");
    assert_eq!((last.count, units(&last)), (1, 1));
    eprintln!("one new change among five logs: {} read units", one.read_units());
    assert!(one.read_units() <= 6.0, "{}", one.read_units());
    let page = catalog.changes(&key, "kinds=product&limit=100").await;
    eprintln!("the first 100 changes: {} read units", page.read_units());

    // What was lost is read once in a while.
    let nothing = catalog.changes(&key, &format!("since={}", crate::changes::cursor(&one))).await;
    assert!(nothing.read_units() <= 5.5, "{}", nothing.read_units());
}

#[tokio::test]
async fn the_ends_of_logs_are_where_a_reader_of_an_export_goes_on() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    catalog.upsert(&key, &[json!({"sku": "s1", "name": "n"})]).await;
    catalog.settle().await;
    let store = &catalog.stack.store;
    let cursors = Cursors::new("the cursor secret of all the tests", None).expect("secret");
    let oldest = Positions::oldest(store.clock().now(), Kinds::ALL, View::Everything.fingerprint());
    let ends = ends(store, &acme(), oldest).await.expect("ends");
    let cursor = ends.seal(&cursors, &acme()).expect("a cursor");
    assert!(cursor.len() <= 512);
    assert_eq!(told(&catalog.since(&key, &cursor).await), []);
    catalog.upsert(&key, &[json!({"sku": "s2", "name": "n"})]).await;
    catalog.import("ACME", &[offering("o", json!({}))]).await;
    let mut all = told(&catalog.since(&key, &cursor).await);
    all.sort();
    assert_eq!(all, [change("upsert", "offering", "o"), change("upsert", "product", "s2")]);
}

/// A bus that refuses some requests first.
#[derive(Debug, Default)]
struct Bus {
    refusals: AtomicU32,
    details: Mutex<Vec<Value>>,
}

impl EventSink for Bus {
    fn put(&self, details: Vec<String>) -> BoxFuture<'_, Result<(), Cause>> {
        assert!(details.len() <= 10 && details.iter().map(String::len).sum::<usize>() < 256_000);
        if self.refusals.load(Ordering::Relaxed) > 0 {
            self.refusals.fetch_sub(1, Ordering::Relaxed);
            return ready(Err("refused".into())).boxed();
        }
        let parsed = details.iter().map(|detail| serde_json::from_str(detail).expect("JSON"));
        self.details.lock().expect("lock").extend(parsed);
        ready(Ok(())).boxed()
    }
}

#[tokio::test]
async fn events_follow_what_can_be_read_and_come_again_until_they_are_put() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    let cursors = Cursors::new("the cursor secret of all the tests", None).expect("secret");
    let bus = Arc::new(Bus { refusals: AtomicU32::new(1), ..Bus::default() });
    let store = catalog.stack.store.clone();
    let function = RecordChanges::new(store).with_events(bus.clone(), cursors.into());
    let now = jiff::Timestamp::now();
    let parse = |event: Value| serde_json::from_value(event).expect("an event");
    // Recorded, but the event was refused: the batch is delivered again.
    function.handle(parse(event(1, "a", now))).await.expect_err("refused");
    record(&catalog, now, &event(7, "b", now)).await;
    function.handle(parse(event(1, "a", now))).await.expect("put");
    let details = std::mem::take(&mut *bus.details.lock().expect("lock"));
    let [detail] = details.as_slice() else { panic!("{details:?}") };
    assert_eq!((&detail["account"], &detail["kind"]), (&json!("ACME"), &json!("product")));
    assert_eq!(detail["changes"], json!([{"id": "s1", "idField": "sku", "op": "upsert"}]));
    // Its cursor reads the change, and what was recorded since.
    let page = catalog.since(&key, detail["cursor"].as_str().expect("a cursor")).await;
    assert_eq!(told(&page), [change("upsert", "product", "s1"), change("upsert", "product", "s7")]);

    // Many changes are several events.
    let mut many = event(10, "a", now);
    let records: Vec<Value> = (10..2_510)
        .map(|number| {
            let mut record = event(number, "a", now)["Records"][0].clone();
            let sku = json!({"S": format!("{number:0>95}")});
            record["dynamodb"]["NewImage"]["sku"] = sku;
            record["dynamodb"]["NewImage"]["productKey"] =
                json!({"S": format!("SKU#{number:0>95}")});
            record
        })
        .collect();
    many["Records"] = records.into();
    function.handle(parse(many)).await.expect("put");
    let details = bus.details.lock().expect("lock").clone();
    let told: usize =
        details.iter().map(|detail| detail["changes"].as_array().map_or(0, Vec::len)).sum();
    assert_eq!((told, details.len()), (2_500, 2));

    // A delivery that comes after a later batch of its shard: its events were put before that one was delivered.
    function.handle(parse(event(1, "a", now))).await.expect("nothing to do");
    assert_eq!(bus.details.lock().expect("lock").len(), 2);
}

#[tokio::test]
async fn a_change_tells_the_import_that_made_it() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    let id = ImportId::of(&["a file"]);
    let store = catalog.stack.store.written_by(id.as_str());
    let account = acme();
    let bundle = |id: u32| json!({"id": id, "name": "b", "type": "DATA", "price_usd": 1});
    let network = |bundles: &[Value]| {
        json!({"kind": "network", "id": 7, "name": "N", "country": "Ghana", "country_code": "GH",
            "currency": "GHS", "fixed_bundles": bundles})
    };
    catalog.import("ACME", &[network(&[bundle(1)]), offering("o", json!({}))]).await;
    catalog.import("ACME", &[json!({"kind": "product", "sku": "s", "name": "n"})]).await;
    let before = catalog.now(&key).await;
    let gone = json!({"kind": "offering", "op": "delete", "productOfferingId": "o"});
    let moved = json!({"kind": "product", "sku": "s", "externalId": "e"});
    let records = [network(&[bundle(2)]), gone, moved];
    let lines: Vec<_> = (1..)
        .zip(&records)
        .map(|(line, record)| (line, Ok(record.to_string().into_bytes())))
        .collect();
    let mut importer = importer(&store, &account, false);
    let refused = importer.import_group(&lines, &[]).await.expect("import");
    assert!(refused.is_empty(), "{refused:?}");
    let page = catalog.since(&key, &before).await;
    assert_eq!(told(&page).len(), 5, "{:?}", told(&page));
    // Also of a bundle that was removed, of which nothing is left.
    for change in page.json()["changes"].as_array().expect("changes") {
        let source = change["source"].as_str().expect("a source");
        let whole = change["kind"] != "offering";
        assert!(
            if whole { source == id.as_str() } else { id.as_str().starts_with(source) },
            "{change}"
        );
        assert!(source.len() >= 8);
    }
}

#[test]
fn an_instance_asks_once_a_minute_whether_changes_were_lost() {
    scene::run("2026-11-28T12:00:00Z", async |scene| {
        let key = scene.key(Limits::default()).await;
        let instance = scene.instance();
        let queries = async || {
            let reply = instance.send("list-changes", "GET", PATH, "", &key, None).await;
            assert_eq!(reply.body["upToDate"], true);
            reply.number("x-queries")
        };
        let first = queries().await;
        assert_eq!([queries().await, queries().await], [first - 1; 2]);
    });
}
