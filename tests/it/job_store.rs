//! What the store says of import jobs, and what it keeps of them.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use serverless_catalog::{
    account::AccountId,
    clock::Clock,
    imports::{
        Counts, ImportCost, Kind, OrderBy,
        job::{
            Claim, ImportId, ImportOptions, Job, JobStore as _, Lease, ObjectVersion, Progress,
            RunningJob, Source, Status, Submission,
        },
        submission::SubmittedImport,
    },
    order::{Order, Origin},
    store::{Store, TableNames},
};

use crate::{
    networks::{bundle, bundle_record, network},
    support::{Catalog, offering},
};

fn account() -> AccountId {
    AccountId::parse("ACME").expect("account")
}

fn time(second: i64) -> Timestamp {
    "2026-01-01T00:00:00Z".parse::<Timestamp>().expect("a time") + SignedDuration::from_secs(second)
}

fn order(second: i64) -> Order {
    Origin::new(time(second), "test").order(1)
}

fn lease(import: &ImportId, holder: &str) -> Lease {
    let (import, holder) = (import.clone(), holder.to_owned());
    Lease { account: account(), import, holder, term: Duration::from_mins(2) }
}

fn source(name: &str, version: Option<ObjectVersion>) -> Source {
    Source { name: name.to_owned(), version, content: None, time: time(0) }
}

async fn status(store: &Store, import: &ImportId) -> Option<Status> {
    store.job(&account(), import).await.expect("read").map(|job| job.status)
}

#[tokio::test]
async fn only_its_holder_releases_a_job() {
    let catalog = Catalog::start().await;
    let store = &catalog.stack.store;
    let import = ImportId::of(&["one"]);
    let claimed = store.claim(&lease(&import, "a"), &source("one", None)).await.expect("claim");
    assert!(matches!(claimed, Claim::Held(_)));
    store.release_job(&lease(&import, "b")).await.expect("not theirs");
    assert_eq!(status(store, &import).await, Some(Status::Running));
    let busy = store.claim(&lease(&import, "b"), &source("one", None)).await.expect("claim");
    assert!(matches!(busy, Claim::Busy(_)), "{busy:?}");

    let before = store.running(&account()).await.expect("read");
    assert_eq!(before.len(), 1);
    store.release_job(&lease(&import, "a")).await.expect("released");
    assert_eq!(status(store, &import).await, Some(Status::Waiting));
    assert!(store.running(&account()).await.expect("read").is_empty());
    let claimed = store.claim(&lease(&import, "b"), &source("one", None)).await.expect("claim");
    assert!(matches!(claimed, Claim::Held(_)), "{claimed:?}");
    // A claim and a release each count, so that a snapshot sees that its groups have ended.
    let after = store.running(&account()).await.expect("read");
    assert_eq!(after[0].checkpoints, before[0].checkpoints + 2);
}

#[tokio::test]
async fn a_deleted_job_leaves_no_floor_and_touches_no_others() {
    let catalog = Catalog::start().await;
    let store = &catalog.stack.store;
    let [gone, stays] = ["gone", "stays"].map(|name| ImportId::of(&[name]));
    for (import, kind) in [(&gone, Kind::Product), (&stays, Kind::Promotion)] {
        let claimed = store.claim(&lease(import, "a"), &source("s", None)).await.expect("claim");
        assert!(matches!(claimed, Claim::Held(_)));
        store.begin_snapshot(&account(), import, (kind, order(1))).await.expect("begun");
    }
    let offerings = ImportId::of(&["ended"]);
    let ended = (Kind::Offering, order(2));
    store.end_snapshot(&account(), &offerings, ended, true).await.expect("ended");
    let floors = async || {
        let precheck = store.precheck(&account(), &source("s", None)).await.expect("read");
        let mut floors = precheck.floors;
        floors.sort_by_key(|(kind, _)| kind.as_str());
        floors
    };
    let left = [ended, (Kind::Promotion, order(1))];
    assert_eq!(floors().await, [left[0], (Kind::Product, order(1)), left[1]]);

    store.delete_job(&account(), &gone).await.expect("deleted");
    assert_eq!(status(store, &gone).await, None);
    assert_eq!(status(store, &stays).await, Some(Status::Running));
    assert_eq!(floors().await, left);
}

#[tokio::test]
async fn a_snapshot_leaves_its_floor_only_when_it_is_done_and_the_newest() {
    let catalog = Catalog::start().await;
    let store = &catalog.stack.store;
    let import = ImportId::of(&["one"]);
    let floors = async || {
        let precheck = store.precheck(&account(), &source("s", None)).await.expect("read");
        precheck.floors
    };
    for (second, done, left) in [
        (1, false, None),
        (2, true, Some(2)),
        (1, true, Some(2)),
        (3, false, Some(2)),
        (2, true, Some(2)),
        (4, true, Some(4)),
    ] {
        let floor = (Kind::Product, order(second));
        store.begin_snapshot(&account(), &import, floor).await.expect("begun");
        assert!(floors().await.contains(&floor), "it counts while it is in progress");
        store.end_snapshot(&account(), &import, floor, done).await.expect("ended");
        let left: Vec<_> = left.map(|second| (Kind::Product, order(second))).into_iter().collect();
        assert_eq!(floors().await, left);
    }
}

/// A store whose clock stands still at this time.
fn store_at(catalog: &Catalog, millis: i64) -> Store {
    let start = time(0) + SignedDuration::from_millis(millis);
    let since = tokio::time::Instant::now() + Duration::from_hours(1);
    let store = Store::new(catalog.stack.client.clone(), TableNames::with_prefix("test"));
    store.with_clock(Clock::Simulated { start, since })
}

#[tokio::test]
async fn a_job_counts_as_running_until_no_group_of_it_can_be_under_way() {
    let catalog = Catalog::start().await;
    let import = ImportId::of(&["one"]);
    let store = store_at(&catalog, 0);
    store.claim(&lease(&import, "a"), &source("one", None)).await.expect("claim");
    for (millis, left) in [
        (0, Some(150_000)),
        (119_999, Some(30_001)),
        (120_000, Some(30_000)),
        // The lease has expired, but a group may have begun just before.
        (150_000, Some(30_000)),
        (150_001, None),
    ] {
        let running = store_at(&catalog, millis).running(&account()).await.expect("read");
        let expected = left.map(|left| RunningJob {
            import: import.clone(),
            checkpoints: 1,
            may_write_for: Duration::from_millis(left),
        });
        assert_eq!(running, expected.into_iter().collect::<Vec<_>>(), "{millis}");
    }
    // Who takes the job over waits until the lease has expired.
    for (millis, is_held) in [(119_999, false), (120_000, false), (120_001, true)] {
        let store = store_at(&catalog, millis);
        let claim = store.claim(&lease(&import, "b"), &source("one", None)).await.expect("claim");
        assert_eq!(matches!(claim, Claim::Held(_)), is_held, "{millis}: {claim:?}");
    }
}

#[tokio::test]
async fn a_checkpoint_is_what_the_next_claim_finds() {
    let catalog = Catalog::start().await;
    let (import, store) = (ImportId::of(&["one"]), store_at(&catalog, 0));
    let claim = store.claim(&lease(&import, "a"), &source("one", None)).await.expect("claim");
    let Claim::Held(mut job) = claim else { panic!("{claim:?}") };
    assert_eq!(job.progress, Progress::default());
    job.progress = Progress {
        line: 9,
        counts: Counts { created: 1, updated: 2, unchanged: 3, stale: 4, deleted: 5, failed: 6 },
        cost: ImportCost { read_units: 1.5, write_units: 2.5 },
        error_parts: 7,
    };
    job.error = Some("why".to_owned());
    let item = async || {
        let text = |text: &str| AttributeValue::S(text.to_owned());
        let get = catalog.stack.client.get_item().table_name("test-imports");
        let get = get.key("account", text("ACME")).key("importId", text(import.as_str()));
        get.send().await.expect("read").item.expect("an item")
    };
    for errors in [&b"a line"[..], b""] {
        job.pending_errors = errors.to_vec();
        let store = store_at(&catalog, 60_000);
        assert!(store.checkpoint(&lease(&import, "a"), &job).await.expect("stored"));
        // The lease is two minutes longer from now on, and so nobody else gets the job.
        let other = store_at(&catalog, 180_000);
        let claim = other.claim(&lease(&import, "b"), &source("one", None)).await.expect("claim");
        assert!(matches!(claim, Claim::Busy(left) if left.is_zero()), "{claim:?}");
        let found = store.job(&account(), &import).await.expect("read").expect("a job");
        assert_eq!(found.progress, job.progress);
        assert_eq!((found.error.as_deref(), &found.pending_errors[..]), (Some("why"), errors));
        assert_eq!((found.started_at, found.updated_at), (Some(time(0)), time(60)));
        let item = item().await;
        assert_eq!(item.contains_key("pendingErrors"), !errors.is_empty());
        // Ninety days after its last change.
        let expires_at = (time(60) + SignedDuration::from_hours(90 * 24)).as_second();
        assert_eq!(item["expiresAt"].as_n().expect("a number"), &expires_at.to_string());
    }
    // What has lost its lease stores nothing.
    assert!(!store.checkpoint(&lease(&import, "b"), &job).await.expect("refused"));
}

#[tokio::test]
async fn a_version_is_superseded_by_a_later_sequencer_and_without_one_by_a_later_time() {
    let catalog = Catalog::start().await;
    let store = &catalog.stack.store;
    let version = |sequencer: Option<&str>, second: i64| ObjectVersion {
        sequencer: sequencer.map(ToOwned::to_owned),
        modified: time(second),
    };
    let superseded = async |name: &str, sequencer: Option<&str>, second: i64| {
        let source = source(name, Some(version(sequencer, second)));
        store.precheck(&account(), &source).await.expect("read").is_superseded
    };
    let note = async |name: &str, sequencer: Option<&str>, second: i64| {
        let version = version(sequencer, second);
        store.note_version(&account(), name, &version).await.expect("noted")
    };
    assert!(!superseded("a", Some("01"), 0).await, "nothing is known of it");
    // Of two sequencers the shorter one has zeros at its end, and the times are no matter.
    assert!(note("a", Some("0A2"), 5).await);
    for (sequencer, second, expected) in [
        (Some("0A1"), 9, true),
        (Some("0a1f"), 9, true),
        (Some("0A"), 9, true),
        (Some("0a20"), 1, false),
        (Some("0A3"), 1, false),
        (None, 4, true),
        (None, 5, false),
        (None, 6, false),
    ] {
        let is_superseded = superseded("a", sequencer, second).await;
        assert_eq!(is_superseded, expected, "{sequencer:?} at {second}");
        // The newest one that is known stays, if there is a newer one.
        assert!(!expected || !note("a", sequencer, second).await, "{sequencer:?} at {second}");
    }
    assert!(note("b", None, 5).await);
    assert!(superseded("b", Some("09"), 4).await);
    assert!(!superseded("b", Some("01"), 5).await);
    assert!(!superseded("c", None, 0).await, "another object");

    // A newer version whose sequencer is not known takes the place of one whose sequencer is.
    assert!(note("d", Some("01"), 5).await);
    assert!(note("d", None, 6).await);
    assert!(superseded("d", Some("01"), 5).await);
    assert!(!note("d", Some("01"), 5).await);
    // Of the same version nothing is forgotten: the upload of a newer one may have begun earlier.
    assert!(note("e", Some("02"), 5).await);
    assert!(note("e", None, 5).await);
    assert!(superseded("e", Some("01"), 6).await);
    assert!(!note("e", Some("01"), 6).await);
}

#[tokio::test]
async fn a_submission_of_which_nothing_comes_is_kept_for_fifteen_days() {
    let catalog = Catalog::start().await;
    let client = catalog.stack.client.clone();
    let store = Store::new(client.clone(), TableNames::with_prefix("test"));
    let store = store.with_clock(Clock::simulated(time(0)));
    let import = ImportId::of(&["submitted"]);
    let options = ImportOptions {
        format: None,
        replace: Some((Kind::Product, 0.25)),
        order_by: OrderBy::Source,
        dry_run: true,
    };
    let submission = Submission { options, length: 17 };
    let submitted = SubmittedImport {
        import: import.clone(),
        submission: submission.clone(),
        submitted_at: time(-3),
    };
    store.submit_import(&account(), &submitted).await.expect("submitted");
    let job = store.job(&account(), &import).await.expect("read").expect("a job");
    assert_eq!((job.status, job.submission), (Status::Waiting, Some(submission)));
    assert_eq!((job.created_at, job.source_time), (time(-3), time(-3)));
    // The clock goes on while the test runs.
    assert!((time(0)..time(60)).contains(&job.updated_at), "it waits from now on");
    assert_eq!(job.started_at, None);
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let get = client.get_item().table_name("test-imports").key("account", text("ACME"));
    let item = get.key("importId", text(import.as_str())).send().await.expect("read").item;
    let expires_at = item.expect("an item")["expiresAt"].as_n().expect("a number").clone();
    let kept = expires_at.parse::<i64>().expect("seconds") - time(0).as_second();
    assert!((0..60).contains(&(kept - 15 * 24 * 60 * 60)), "{kept}");
}

#[tokio::test]
async fn a_submission_fails_once_and_not_when_it_has_begun() {
    let catalog = Catalog::start().await;
    let store = store_at(&catalog, 0);
    let submit = async |import: &ImportId| {
        let (format, replace, order_by, dry_run) = (None, None, OrderBy::Record, false);
        let options = ImportOptions { format, replace, order_by, dry_run };
        let submission = Submission { options, length: 1 };
        let import = import.clone();
        let submitted = SubmittedImport { import, submission, submitted_at: time(-9) };
        store.submit_import(&account(), &submitted).await.expect("submitted");
    };
    let [fails, begins] = ["fails", "begins"].map(|name| ImportId::of(&[name]));
    let seen = async |import: &ImportId| {
        store.job(&account(), import).await.expect("read").expect("a job")
    };
    let fail = async |import: &ImportId| {
        let job = seen(import).await;
        store.fail_submission(&account(), &job, "no object").await.expect("an answer")
    };
    submit(&fails).await;
    assert!(fail(&fails).await);
    let job = store.job(&account(), &fails).await.expect("read").expect("a job");
    assert_eq!((job.status, job.error.as_deref()), (Status::Failed, Some("no object")));
    assert_eq!((job.created_at, job.updated_at), (time(-9), time(0)));
    assert!(!fail(&fails).await, "it has failed before");
    // Submitted again it waits again, by the same time.
    submit(&fails).await;
    let job = store.job(&account(), &fails).await.expect("read").expect("a job");
    assert_eq!((job.status, job.error, job.created_at), (Status::Waiting, None, time(-9)));
    assert!(fail(&fails).await);
    // A caller that saw the job before that does not end it.
    submit(&fails).await;
    let before = Job { updated_at: time(-1), ..seen(&fails).await };
    let failed = store.fail_submission(&account(), &before, "no object").await;
    assert!(!failed.expect("an answer"));
    assert_eq!(status(&store, &fails).await, Some(Status::Waiting));

    submit(&begins).await;
    let claim = store.claim(&lease(&begins, "a"), &source("upload", None)).await.expect("claim");
    assert!(matches!(claim, Claim::Held(_)), "{claim:?}");
    assert!(!fail(&begins).await);
    store.release_job(&lease(&begins, "a")).await.expect("released");
    assert!(!fail(&begins).await, "it waits, but has begun");
    submit(&begins).await;
    let job = store.job(&account(), &begins).await.expect("read").expect("a job");
    assert!(job.started_at.is_some(), "it is not begun anew");
    assert_eq!(status(&store, &begins).await, Some(Status::Waiting));
    let unknown = Job { import_id: ImportId::of(&["unknown"]), ..seen(&fails).await };
    let failed = store.fail_submission(&account(), &unknown, "no object").await;
    assert!(!failed.expect("an answer"));
}

#[tokio::test]
async fn a_snapshot_may_remove_what_is_stored_of_its_kind() {
    let catalog = Catalog::start().await;
    let records = [
        offering("o", json!({})),
        offering("archived", json!({"status": "ARCHIVED"})),
        json!({"kind": "product", "sku": "s", "externalId": "e", "name": "n"}),
        network(1, &json!({"fixed_bundles": [bundle(1)]})),
        network(2, &json!({})),
        // A bundle without its network, and one that is gone.
        bundle_record(3, 1),
        bundle_record(4, 1),
        json!({"kind": "promotion", "code": "TRIP", "percentOff": 10}),
        json!({"kind": "exchangeRate", "source_currency": "USD", "destination_currency": "GHS", "rate": 12}),
    ];
    catalog.import("ACME", &records).await;
    let gone = json!({"kind": "bundle", "network_id": 4, "id": 1, "op": "delete"});
    catalog.import("ACME", &[gone]).await;
    for (kind, expected) in [
        (Kind::Offering, &["o"][..]),
        (Kind::Product, &["s"]),
        (Kind::Network, &["1", "2", "3"]),
        (Kind::Promotion, &["TRIP"]),
        (Kind::ExchangeRate, &["USD/GHS"]),
        (Kind::PartnerOffering, &[]),
    ] {
        let store = &catalog.stack.store;
        let (existing, next) = store.existing(&account(), kind, None).await.expect("read");
        assert!(next.is_none());
        let mut ids = Vec::new();
        for record in existing {
            assert!(record.order.is_some() || kind == Kind::Network, "{record:?}");
            ids.push(shown(record.what));
        }
        ids.sort();
        assert_eq!(ids, expected, "{kind}");
    }
}

fn shown(what: serverless_catalog::imports::existing::Existing) -> String {
    use serverless_catalog::imports::{DocumentKey, existing::Existing};
    match what {
        Existing::Offering(row) => row.id.to_string(),
        Existing::Product(product) => product.sku.expect("a sku").as_str().to_owned(),
        Existing::Network(id) => id.to_string(),
        Existing::Document(DocumentKey::Promotion(code)) => code.as_str().to_owned(),
        Existing::Document(DocumentKey::ExchangeRate(pair)) => {
            format!("{}/{}", pair.source, pair.destination)
        }
        Existing::Document(other) => format!("{other:?}"),
    }
}
