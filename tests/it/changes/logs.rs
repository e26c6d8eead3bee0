//! How the logs are kept: what expires, what is lost, and who is first.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use serverless_catalog::{
    account::AccountId,
    changes::{
        Change, Chunk, ChunkPage, ExportedRecord, IdField, Identity, JournalStore, Kinds, Log,
        LogId, Losses, Page, PageError, Positions, SequenceNumber, StreamRecord, View, ends, page,
        record as append,
    },
    clock::Clock,
    cursor::Cursors,
    imports::Kind,
    offerings::Budget,
    store::{Store, StoreError},
};

use super::{acme, change, cursor, event, record, told};
use crate::support::{Answer, Catalog};

/// A page of at most so many changes and read units, at a time.
async fn page_at(
    store: &Store,
    now: Timestamp,
    positions: Positions,
    limit: usize,
    read_units: f64,
) -> Result<Page, PageError<StoreError>> {
    let store = store.clone().with_clock(Clock::simulated(now));
    let until = Instant::now() + Duration::from_mins(1);
    let budget = Budget { read_units, until };
    let losses = store.losses().await.expect("losses");
    page(&store, &acme(), positions, losses, View::Everything, limit, budget).await
}

fn ids(page: &Page) -> Vec<&str> {
    page.changes.iter().map(|told| told.change.identity.id.as_str()).collect()
}

#[tokio::test]
async fn a_reader_without_a_cursor_gets_past_expired_changes_however_little_a_page_reads() {
    let catalog = Catalog::start().await;
    let store = &catalog.stack.store;
    let now = Timestamp::now();
    let then = now - SignedDuration::from_hours(31 * 24);
    for number in 1..=9 {
        record(&catalog, then, &event(number, "a", then)).await;
    }
    record(&catalog, now, &event(10, "a", now)).await;
    let products = Kinds::of([Kind::Product]);
    let mut next = Positions::oldest(now, products, View::Everything.fingerprint());
    let mut told = Vec::new();
    for _ in 0..20 {
        let page = page_at(store, now, next, 10, 0.5).await.expect("a page");
        told.extend(ids(&page).into_iter().map(ToOwned::to_owned));
        next = page.next;
    }
    assert_eq!(told, ["s10"]);
}

#[tokio::test]
async fn a_reader_that_has_begun_reads_on_for_almost_a_day_after_changes_are_30_days_old() {
    let catalog = Catalog::start().await;
    let store = &catalog.stack.store;
    let then = Timestamp::now();
    for number in 1..=2 {
        record(&catalog, then, &event(number, "a", then)).await;
    }
    // The clock of a recording goes on.
    let after = |hours: i64| then + SignedDuration::from_mins(hours * 60 + 1);
    let begin = |hours: i64| {
        let products = Kinds::of([Kind::Product]);
        Positions::oldest(after(hours), products, View::Everything.fingerprint())
    };
    let first = page_at(store, after(719), begin(719), 1, 100.0).await.expect("a page");
    assert_eq!(ids(&first), ["s1"]);
    let second = page_at(store, after(742), first.next.clone(), 1, 100.0).await.expect("a page");
    assert_eq!(ids(&second), ["s2"]);
    let gone = page_at(store, after(743), first.next, 1, 100.0).await;
    assert!(matches!(gone, Err(PageError::Gone)), "{gone:?}");
    let none = page_at(store, after(720), begin(720), 1, 100.0).await.expect("a page");
    assert_eq!((ids(&none).len(), none.up_to_date), (0, true));
}

#[tokio::test]
async fn a_cursor_is_as_old_as_the_log_that_was_not_read_for_longest() {
    let catalog = Catalog::start().await;
    let store = &catalog.stack.store;
    let then = Timestamp::now();
    let after = |days: i64| then + SignedDuration::from_hours(days * 24);
    let begin = Positions::oldest(then, Kinds::ALL, View::Everything.fingerprint());
    let all = page_at(store, then, begin, 10, 100.0).await.expect("a page").next;
    // The budget of this page is spent on the first log.
    let one = page_at(store, after(29), all.clone(), 10, 0.5).await.expect("a page").next;
    let gone = page_at(store, after(31), one.clone(), 10, 100.0).await;
    assert!(matches!(gone, Err(PageError::Gone)), "{gone:?}");
    // Of the log that was read nothing is missing.
    let read = one.only(Kinds::of([Kind::Offering]));
    page_at(store, after(31), read, 10, 100.0).await.expect("a page");
    let all = page_at(store, after(29), all, 10, 100.0).await.expect("a page").next;
    let all = page_at(store, after(31), all, 10, 100.0).await.expect("a page").next;
    let cursors = Cursors::new("the cursor secret of all the tests", None).expect("secret");
    let cursor = all.seal(&cursors, &acme()).expect("a cursor");
    assert!(cursor.len() <= 512);
    assert_eq!(Positions::open(&cursors, &acme(), &cursor), Ok(all));
}

impl Catalog {
    /// Reads until the cursor is gone: an instance remembers for a while what was lost.
    pub(super) async fn gone(&self, key: &str, cursor: &str) -> Answer {
        for _ in 0..100 {
            let page = self.since(key, cursor).await;
            if page.status == 410 {
                return page;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the cursor stays valid");
    }

    /// What the tool does: the cursor of an export that begins now.
    async fn export_cursor(&self, account: &AccountId) -> String {
        let store = &self.stack.store;
        let cursors = Cursors::new("the cursor secret of all the tests", None).expect("secret");
        let oldest = Positions::oldest(store.now(), Kinds::ALL, View::Everything.fingerprint());
        let ends = ends(store, account, oldest).await.expect("ends");
        ends.seal(&cursors, account).expect("a cursor")
    }
}

/// The record of another account.
fn of_globex(number: u32, at: Timestamp) -> Value {
    let mut record = event(number, "a", at)["Records"][0].take();
    for image in ["Keys", "NewImage"] {
        record["dynamodb"][image]["account"] = json!({"S": "GLOBEX"});
    }
    record
}

#[tokio::test]
async fn lost_records_concern_all_accounts_and_recorded_ones_none() {
    let catalog = Catalog::start().await;
    let (acme, globex) = (catalog.key("ACME").await, catalog.key("GLOBEX").await);
    let initech = catalog.key("INITECH").await;
    let now = Timestamp::now();
    let then = now - SignedDuration::from_hours(24);
    let mut first = event(1, "a", then);
    first["Records"].as_array_mut().expect("records").push(of_globex(2, then));
    record(&catalog, then, &first).await;
    let (of_acme, before) = (catalog.now(&acme).await, catalog.now(&globex).await);
    let quiet = catalog.now(&initech).await;

    // The same batch a day later, with a new record: nothing is lost.
    let mut again = first.clone();
    again["Records"].as_array_mut().expect("records").push(of_globex(3, now));
    record(&catalog, now, &again).await;
    let losses = catalog.stack.store.losses().await.expect("losses");
    assert_eq!(losses, Losses::default());
    let page = catalog.since(&globex, &before).await;
    assert_eq!(told(&page), [change("upsert", "product", "s3")]);

    // Nor if what follows without a gap has waited as long.
    let mut gapless = event(1, "a", then);
    gapless["Records"].as_array_mut().expect("records").push(of_globex(4, then));
    record(&catalog, now, &gapless).await;
    assert_eq!(catalog.stack.store.losses().await.expect("losses"), Losses::default());
    let page = catalog.since(&globex, &cursor(&page)).await;
    assert_eq!(told(&page), [change("upsert", "product", "s4")]);

    // A record of one account has waited too long: those before it may be of any account, also of one that has not
    // written since.
    record(&catalog, now, &event(5, "a", then)).await;
    let gone = catalog.gone(&initech, &quiet).await;
    assert!(gone.json()["detail"].as_str().expect("detail").contains("changesCursor"));
    catalog.gone(&acme, &of_acme).await;
    catalog.gone(&globex, &cursor(&page)).await;

    // Of other tables nothing is lost.
    let offerings = catalog.changes(&initech, "kinds=offering").await;
    record(&catalog, now, &event(6, "a", then)).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(catalog.since(&initech, &cursor(&offerings)).await.status, 200);
}

#[tokio::test]
async fn who_starts_over_with_an_export_reads_on_while_more_is_found_to_be_lost() {
    let catalog = Catalog::start().await;
    let key = catalog.key("GLOBEX").await;
    let now = Timestamp::now();
    let then = now - SignedDuration::from_hours(24);
    record(&catalog, now, &event(1, "a", then)).await;
    let globex = AccountId::parse("GLOBEX").expect("account");
    let exported = catalog.export_cursor(&globex).await;
    // The stream is still behind: what is found to be lost now was written long before the export.
    record(&catalog, now, &event(2, "a", then)).await;
    let mut batch = event(3, "b", now);
    batch["Records"] = json!([of_globex(3, now)]);
    record(&catalog, now, &batch).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let page = catalog.since(&key, &exported).await;
    assert_eq!(told(&page), [change("upsert", "product", "s3")]);
    assert_eq!(told(&catalog.since(&key, &cursor(&page)).await), []);
    // Most of a day later it would concern its reader.
    let later = now + SignedDuration::from_hours(24);
    record(&catalog, later, &event(4, "a", now)).await;
    catalog.gone(&key, &cursor(&page)).await;
}

#[tokio::test]
async fn a_record_that_cannot_be_read_does_not_hold_up_the_others() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    let now = Timestamp::now();
    let mut batch = event(1, "a", now);
    let mut foreign = batch["Records"][0].clone();
    foreign["dynamodb"]["Keys"]["account"] = json!({"S": "not an account"});
    let mut unnumbered = batch["Records"][0].clone();
    unnumbered["dynamodb"]["SequenceNumber"] = json!("x");
    let good = batch["Records"][0].take();
    batch["Records"] = json!([foreign, unnumbered, good]);
    record(&catalog, now, &batch).await;
    assert_eq!(told(&catalog.changes(&key, "").await), [change("upsert", "product", "s1")]);
}

/// A log that counts what is asked of it.
struct Counted<'a> {
    store: &'a Store,
    appends: AtomicU32,
}

impl JournalStore for Counted<'_> {
    type Error = StoreError;

    fn now(&self) -> Timestamp {
        self.store.now()
    }

    async fn newest(&self, log: &LogId) -> Result<Option<Chunk>, StoreError> {
        self.store.newest(log).await
    }

    async fn chunks(&self, log: &LogId, from: u64, limit: u32) -> Result<ChunkPage, StoreError> {
        self.store.chunks(log, from, limit).await
    }

    async fn append(&self, log: &LogId, chunk: &Chunk) -> Result<Option<Chunk>, StoreError> {
        self.appends.fetch_add(1, Ordering::Relaxed);
        self.store.append(log, chunk).await
    }

    async fn put_base(
        &self,
        log: &LogId,
        base: &Chunk,
        replaced_end: Option<u64>,
    ) -> Result<bool, StoreError> {
        self.store.put_base(log, base, replaced_end).await
    }

    async fn losses(&self) -> Result<Losses, StoreError> {
        self.store.losses().await
    }
}

#[tokio::test]
async fn a_worker_that_others_have_overtaken_finds_the_end_with_one_failed_write() {
    let catalog = Catalog::start().await;
    let log = Counted { store: &catalog.stack.store, appends: AtomicU32::new(0) };
    let id = LogId { account: acme(), log: Log::Products };
    let entry = |number: u32| {
        let identity =
            Identity { kind: Kind::Product, id: "s".to_owned(), id_field: Some(IdField::Sku) };
        let json = format!("{{\"number\":{number}}}");
        let record = ExportedRecord { identity, json, visibility: None };
        let change = Change::between(None, Some(record), log.now(), None).expect("JSON");
        let sequence = SequenceNumber::parse(&number.to_string()).expect("digits");
        [StreamRecord { sequence, change }]
    };
    let (mut tail, mut other) = (None, None);
    append(&log, &id, "a", &entry(1), &mut tail).await.expect("recorded");
    for number in 1..20 {
        append(&log, &id, "b", &entry(number), &mut other).await.expect("recorded");
    }
    log.appends.store(0, Ordering::Relaxed);
    let recorded = append(&log, &id, "a", &entry(2), &mut tail).await.expect("recorded");
    assert_eq!(log.appends.load(Ordering::Relaxed), 2);
    // A reader of its events begins where the change is, and not where the worker took the end to be.
    let newest = log.newest(&id).await.expect("read").expect("a chunk");
    let from = recorded.announce_from.map(|(_, position)| position);
    assert_eq!((recorded.appended, from), (1, Some(newest.first)));
}
