//! Runs of imports, each by itself: their checkpoints, waits and ends, by a clock that stands still while anything runs.

use std::{
    io::{self, Read},
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Value, json};
use serverless_catalog::{
    cause::Cause,
    imports::{
        Counts, Kind, Mode, OrderBy,
        job::{
            Claim, ImportId, Job, JobStore as _, LEASE_TERM, Lease, ObjectVersion, Progress,
            Source, Status,
        },
        report::{Report, Reporter},
        run::{End, Request, SnapshotPart, run as run_import},
        snapshot::Snapshot,
    },
    order::Order,
    source::{Format, GROUP_LINES, GroupStream},
    store::{Store, TableNames},
    text::random_name,
};
use tokio::{sync::Notify, time::Instant};

use super::{
    database,
    faults::{Fate, FaultKind, Faults, NoFaults},
    run,
    scene::{Scene, account},
};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// What a run reports.
#[derive(Default)]
struct Told {
    parts: Mutex<Vec<(u32, String)>>,
    reports: Mutex<Vec<Value>>,
    lines: Mutex<Vec<u64>>,
    waits: Mutex<Vec<Duration>>,
    has_progressed: Notify,
    /// Until then it stores nothing.
    away_until: Option<Instant>,
}

impl Told {
    fn away_until(until: Instant) -> Self {
        Self { away_until: Some(until), ..Self::default() }
    }

    fn answer(&self) -> Result<(), Cause> {
        match self.away_until.filter(|until| Instant::now() < *until) {
            Some(_) => Err("it is away".into()),
            None => Ok(()),
        }
    }

    /// The lines of all error lists.
    fn errors(&self) -> Vec<Value> {
        let parts = self.parts.lock().expect("lock");
        let lines = parts.iter().flat_map(|(_, part)| part.lines());
        lines.map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
}

impl Reporter for Told {
    fn progressed(&self, progress: &Progress) {
        self.lines.lock().expect("lock").push(progress.line);
        self.has_progressed.notify_one();
    }

    fn waits(&self, time: Duration) {
        self.waits.lock().expect("lock").push(time);
    }

    async fn store_errors(&self, part: u32, errors: Vec<u8>) -> Result<(), Cause> {
        self.answer()?;
        let errors = String::from_utf8(errors)?;
        self.parts.lock().expect("lock").push((part, errors));
        Ok(())
    }

    async fn store_report(&self, report: Report<'_>) -> Result<(), Cause> {
        self.answer()?;
        self.reports.lock().expect("lock").push(serde_json::to_value(report)?);
        Ok(())
    }
}

/// A store whose requests meet with faults.
fn store(scene: &Scene, faults: impl Faults + 'static) -> Store {
    let client = database::client(&scene.engine, faults);
    Store::new(client, TableNames::with_prefix("test")).with_clock(scene.store.clock())
}

/// A store, and when checkpoints were stored.
fn watched(scene: &Scene) -> (Store, Arc<Mutex<Vec<Duration>>>) {
    let (times, clock) = (Arc::<Mutex<Vec<_>>>::default(), scene.clock);
    let checkpoints = times.clone();
    let watch = move |_: &str, body: &[u8]| {
        if String::from_utf8_lossy(body).contains("errorParts") {
            checkpoints.lock().expect("lock").push(clock.elapsed());
        }
        Fate::default()
    };
    (store(scene, watch), times)
}

fn is_put(operation: &str, body: &[u8], of: &str) -> bool {
    operation == "PutItem" && String::from_utf8_lossy(body).contains(of)
}

/// The request of a source that has this name, now.
fn request(scene: &Scene, name: &str) -> Request {
    Request {
        lease: Lease {
            account: account(),
            import: ImportId::of(&[name]),
            holder: random_name(),
            term: LEASE_TERM,
        },
        source: Source::named(format!("test {name}"), scene.store.clock().now()),
        order_by: OrderBy::Record,
        ids: None,
        mode: Mode::Write,
        is_stored: true,
        deadline: None,
    }
}

async fn import(
    store: &Store,
    request: &Request,
    content: &str,
    part: Option<SnapshotPart<'_>>,
    told: &Told,
) -> End {
    let content = content.as_bytes().to_vec();
    let open = || GroupStream::of_bytes(content, Some(Format::Ndjson));
    run_import(store, request, open, part, told).await.expect("a claim")
}

/// The job, which this run has ended.
fn ended(end: End) -> Job {
    let End::Ended(job, Some(_)) = end else { panic!("{end:?}") };
    *job
}

fn promotion(code: &str) -> String {
    format!("{{\"kind\":\"promotion\",\"code\":\"{code}\",\"percentOff\":5}}\n")
}

/// Promotions with codes that begin like this.
fn promotions(prefix: &str, count: usize) -> String {
    (0..count).map(|n| promotion(&format!("{prefix}{n:04}"))).collect()
}

/// The codes of all promotions.
async fn codes(scene: &Scene) -> Vec<String> {
    let code = |record: &Value| record["code"].as_str().expect("a code").to_owned();
    scene.export().await.iter().map(code).collect()
}

async fn stored_job(scene: &Scene, request: &Request) -> Option<Job> {
    scene.store.job(&account(), &request.lease.import).await.expect("read")
}

/// Gives what it is sent.
struct Sent(mpsc::Receiver<String>, io::Cursor<Vec<u8>>);

impl Read for Sent {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.1.read(buffer)?;
        if read > 0 {
            return Ok(read);
        }
        self.1 = io::Cursor::new(self.0.recv().unwrap_or_default().into_bytes());
        self.1.read(buffer)
    }
}

#[test]
fn a_source_that_is_read_slowly_extends_the_lease_once_a_quarter_of_it_has_passed() {
    for (pause, is_extended) in [(29_999, false), (30_000, true)] {
        run(async {
            let scene = Scene::start();
            let (store, checkpoints) = watched(&scene);
            let (sender, receiver) = mpsc::channel();
            let source = Sent(receiver, io::Cursor::default());
            let open = || GroupStream::read_ahead(source, Some(Format::Ndjson), Arc::default());
            let (request, told) = (request(&scene, "slow"), Told::default());
            let send = async {
                sender.send(promotions("A", GROUP_LINES)).expect("it is read");
                told.has_progressed.notified().await;
                tokio::time::sleep(Duration::from_millis(pause)).await;
                sender.send(promotions("B", GROUP_LINES)).expect("it is read");
                told.has_progressed.notified().await;
                drop(sender);
            };
            let (end, ()) = tokio::join!(run_import(&store, &request, open, None, &told), send);
            let job = ended(end.expect("a claim"));
            assert_eq!(job.progress.counts, Counts { created: 800, ..Counts::default() });
            // After each group, and at the end.
            let mut expected = vec![0, pause, pause];
            if is_extended {
                expected.push(pause);
            }
            let expected: Vec<_> = expected.into_iter().map(Duration::from_millis).collect();
            assert_eq!(*checkpoints.lock().expect("lock"), expected);
        });
    }
}

#[test]
fn a_run_that_reaches_its_deadline_leaves_the_job_where_it_is_and_another_one_goes_on_from_there() {
    run(async {
        let scene = Scene::start();
        let begun = Instant::now();
        // The second group is stuck; and for two seconds after the deadline the database is away.
        let stuck = move |operation: &str, body: &[u8]| {
            let is_away = (seconds(10)..seconds(12)).contains(&begun.elapsed());
            let is_second = is_put(operation, body, "\"B0");
            let before = if is_second { seconds(60) } else { Duration::ZERO };
            let kind = if is_away { FaultKind::Lost } else { FaultKind::Pass };
            Fate { before, kind, ..Fate::default() }
        };
        let content = promotions("A", GROUP_LINES) + &promotions("B", GROUP_LINES);
        let (mut request, told) = (request(&scene, "two groups"), Told::default());
        request.deadline = Some(begun + seconds(10));
        let end = import(&store(&scene, stuck), &request, &content, None, &told).await;
        let End::Unfinished { job, before, cause } = end else { panic!("{end:?}") };
        assert_eq!(before, Progress::default());
        assert_eq!(cause.to_string(), "the deadline was reached after line 400");
        assert_eq!((job.status, job.progress.line), (Status::Waiting, 400));
        let stored = stored_job(&scene, &request).await.expect("a job");
        assert_eq!((stored.status, stored.progress), (Status::Waiting, job.progress));
        assert!(told.reports.lock().expect("lock").is_empty());

        request.deadline = None;
        let end = import(&scene.store, &request, &content, None, &told).await;
        let End::Ended(job, Some(before)) = end else { panic!("{end:?}") };
        assert_eq!(before, stored.progress);
        let counts = Counts { created: 800, ..Counts::default() };
        assert_eq!((job.progress.line, job.progress.counts), (800, counts));
        assert_eq!(*told.lines.lock().expect("lock"), [400, 800]);
        assert!(job.progress.cost.write_units >= 800.0 && before.cost.write_units >= 400.0);
        assert!(job.progress.cost.write_units >= before.cost.write_units + 400.0);
        assert_eq!(told.reports.lock().expect("lock").len(), 1);
        // A third one finds that it has ended.
        let end = import(&scene.store, &request, &content, None, &told).await;
        assert!(matches!(&end, End::Ended(job, None) if job.status == Status::Done), "{end:?}");
        assert_eq!(told.reports.lock().expect("lock").len(), 1);
    });
}

#[test]
fn a_report_may_be_stored_for_eight_seconds_after_the_deadline() {
    run(async {
        let scene = Scene::start();
        let mut request = request(&scene, "reported late");
        let deadline = Instant::now() + seconds(10);
        request.deadline = Some(deadline);
        let told = Told::away_until(deadline + seconds(2));
        let content = promotion("A") + "{\n";
        let job = ended(import(&scene.store, &request, &content, None, &told).await);
        assert_eq!(job.status, Status::Done);
        assert!(Instant::now() >= deadline + seconds(2));
        let report = told.reports.lock().expect("lock").remove(0);
        assert_eq!((&report["lines"], &report["counts"]["failed"]), (&json!(2), &json!(1)));
        assert!(report["durationMs"].as_u64() >= Some(12_000), "{report}");
        let units = report["cost"]["writeUnits"].as_f64();
        assert_eq!(units, Some(job.progress.cost.write_units));
        assert!(units >= Some(1.0));
        assert_eq!(told.errors().len(), 1);
    });
}

#[test]
fn the_errors_of_a_job_are_stored_in_parts_of_at_least_32_kb_and_each_once() {
    run(async {
        let scene = Scene::start();
        let content = "7\n".repeat(2_000);
        let mut request = request(&scene, "wrong");
        let begun = Instant::now();
        // At first no part can be stored.
        request.deadline = Some(begun + seconds(10));
        let told = Told::away_until(begun + seconds(100));
        let end = import(&scene.store, &request, &content, None, &told).await;
        let End::Unfinished { job, cause, .. } = end else { panic!("{end:?}") };
        assert_eq!(cause.to_string(), "the report was not stored");
        assert_eq!((job.progress.line, job.progress.error_parts), (400, 0));
        assert_eq!(job.pending_errors.split(|byte| *byte == b'\n').count(), 400 + 1);

        request.deadline = None;
        let told = Told::default();
        let job = ended(import(&scene.store, &request, &content, None, &told).await);
        assert_eq!(job.progress.counts, Counts { failed: 2_000, ..Counts::default() });
        let parts = told.parts.lock().expect("lock").clone();
        let lines: Vec<_> =
            parts.iter().map(|(part, errors)| (*part, errors.lines().count())).collect();
        // The errors of one group have 31 KB.
        assert_eq!(lines, [(0, 800), (1, 800), (2, 400)]);
        let expected = (1..=2_000).map(|line| {
            json!({"line": line, "field": "", "message": "must be a JSON object", "code": "MALFORMED"})
        });
        assert_eq!(told.errors(), expected.collect::<Vec<_>>());
        assert_eq!(job.progress.error_parts, 3);
        assert!(job.pending_errors.is_empty());
    });
}

#[test]
fn a_run_whose_job_another_worker_has_taken_stores_no_more_of_its_state() {
    run(async {
        let scene = Scene::start();
        let slow = |operation: &str, body: &[u8]| {
            let is_slow = is_put(operation, body, "\"A0");
            Fate { before: seconds(if is_slow { 5 } else { 0 }), ..Fate::default() }
        };
        let mut request = request(&scene, "taken");
        request.lease.term = seconds(1);
        let (store, told) = (store(&scene, slow), Told::default());
        let other =
            Lease { holder: "another".to_owned(), term: LEASE_TERM, ..request.lease.clone() };
        let take = async {
            tokio::time::sleep(seconds(3)).await;
            let claim = scene.store.claim(&other, &request.source).await.expect("a claim");
            assert!(matches!(claim, Claim::Held(_)), "{claim:?}");
        };
        let content = promotion("A0");
        let (end, ()) = tokio::join!(import(&store, &request, &content, None, &told), take);
        assert!(matches!(end, End::Busy(Duration::ZERO)), "{end:?}");
        assert!(told.lines.lock().expect("lock").is_empty(), "nothing is told");
        assert!(told.reports.lock().expect("lock").is_empty());
        let job = stored_job(&scene, &request).await.expect("a job");
        assert_eq!((job.status, job.progress.line), (Status::Running, 0));
        // A run that comes meanwhile learns how long it is busy.
        let end = import(&scene.store, &request, &content, None, &told).await;
        let End::Busy(left) = end else { panic!("{end:?}") };
        assert_eq!(left + seconds(2), LEASE_TERM);
    });
}

#[test]
fn a_run_whose_state_is_not_stored_leaves_no_job() {
    run(async {
        let scene = Scene::start();
        let (store, checkpoints) = watched(&scene);
        let request = Request { is_stored: false, ..request(&scene, "unknown") };
        let told = Told::default();
        let job = ended(import(&store, &request, &promotion("A"), None, &told).await);
        assert_eq!((job.status, job.progress.counts.created), (Status::Done, 1));
        assert_eq!(codes(&scene).await, ["A"]);
        assert!(stored_job(&scene, &request).await.is_none());
        assert!(checkpoints.lock().expect("lock").is_empty());
    });
}

#[test]
fn a_group_that_takes_longer_than_30_seconds_begins_again_after_longer_and_longer_waits() {
    run(async {
        let scene = Scene::start();
        let stuck = Mutex::new(12);
        let faults = move |operation: &str, body: &[u8]| {
            let mut left = stuck.lock().expect("lock");
            if is_put(operation, body, "\"A0001") && *left > 0 {
                *left -= 1;
                return Fate { before: seconds(3_600), ..Fate::default() };
            }
            Fate::default()
        };
        let (begun, told) = (Instant::now(), Told::default());
        let mut request = request(&scene, "stuck");
        request.deadline = Some(begun + seconds(3_600));
        let content = promotions("A", 3);
        let job = ended(import(&store(&scene, faults), &request, &content, None, &told).await);
        // The two others were stored by the first attempt.
        let counts = Counts { created: 1, unchanged: 2, ..Counts::default() };
        assert_eq!((job.status, job.progress.counts), (Status::Done, counts));
        let waits = told.waits.lock().expect("lock");
        assert_eq!(waits.len(), 12);
        for (wait, attempt) in waits.iter().zip(0..) {
            let longest = (Duration::from_millis(200) * 2_u32.pow(attempt)).min(seconds(10));
            assert!(*wait <= longest, "{attempt}: {wait:?}");
        }
        // Of six waits of up to ten seconds one is longer than the first may be.
        assert!(waits.iter().max() > Some(&Duration::from_millis(400)), "{waits:?}");
        // A timer counts whole milliseconds.
        let rounded = Duration::from_millis(24);
        let least = 12 * seconds(30) + waits.iter().sum::<Duration>();
        assert!((least..=least + rounded).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    });
}

#[test]
fn a_late_row_of_which_nothing_remains_is_stale_without_a_write() {
    run(async {
        let scene = Scene::start();
        let row = |minute: u32| {
            let updated_at = format!("2025-12-01T00:{minute:02}:00Z");
            let row = json!({"kind": "product", "sku": "s", "name": "n", "price": minute, "updatedAt": updated_at});
            row.to_string()
        };
        let told = Told::default();
        let job = ended(import(&scene.store, &request(&scene, "5"), &row(5), None, &told).await);
        assert_eq!(job.progress.counts.created, 1);
        let before = scene.engine.log().entries().len();
        let job = ended(import(&scene.store, &request(&scene, "4"), &row(4), None, &told).await);
        assert_eq!(job.progress.counts, Counts { stale: 1, ..Counts::default() });
        let writes = scene.engine.log().entries().split_off(before);
        let writes: Vec<_> = writes
            .iter()
            .map(|request| request.operation.as_str())
            .filter(|operation| !matches!(*operation, "GetItem" | "BatchGetItem" | "Query"))
            .collect();
        // The claim, the checkpoint, the end.
        assert_eq!(writes, ["UpdateItem"; 3]);
    });
}

#[test]
fn a_source_that_cannot_be_read_to_its_end_fails_with_what_was_read() {
    run(async {
        let scene = Scene::start();
        let (request, told) = (request(&scene, "cut off"), Told::default());
        let content = format!("[{},", promotion("A"));
        let job = ended(import(&scene.store, &request, &content, None, &told).await);
        assert_eq!((job.status, job.progress.line), (Status::Failed, 1));
        let why = "after line 1: the JSON array is cut off";
        assert_eq!(job.error.as_deref(), Some(why));
        assert_eq!(codes(&scene).await, ["A"]);
        let report = told.reports.lock().expect("lock").remove(0);
        assert_eq!((&report["status"], &report["error"]), (&json!("failed"), &json!(why)));
        let stored = stored_job(&scene, &request).await.expect("a job");
        assert_eq!((stored.status, stored.error), (Status::Failed, job.error));
    });
}

#[test]
fn a_dry_run_that_reaches_its_deadline_fails_and_one_that_does_not_writes_nothing() {
    run(async {
        let scene = Scene::start();
        let mut request = Request { mode: Mode::DryRun, ..request(&scene, "tried") };
        let (content, told) = (promotions("A", 3) + &promotion("A0001"), Told::default());
        request.deadline = Some(Instant::now());
        let job = ended(import(&scene.store, &request, &content, None, &told).await);
        let why = "a dry run must end within one run: the deadline was reached after line 0";
        assert_eq!((job.status, job.error.as_deref()), (Status::Failed, Some(why)));
        let mut request = Request { mode: Mode::DryRun, ..self::request(&scene, "tried again") };
        request.deadline = Some(Instant::now() + seconds(10));
        let job = ended(import(&scene.store, &request, &content, None, &told).await);
        let counts = Counts { created: 3, unchanged: 1, ..Counts::default() };
        assert_eq!((job.status, job.progress.counts), (Status::Done, counts));
        assert!(codes(&scene).await.is_empty());
    });
}

/// The attributes of the floors of promotions: its own, and those of snapshots in progress.
async fn floors(scene: &Scene) -> Vec<String> {
    let client = database::client(&scene.engine, NoFaults);
    let item = client
        .get_item()
        .table_name("test-imports")
        .key("account", AttributeValue::S("ACME".to_owned()))
        .key("importId", AttributeValue::S("floors".to_owned()));
    let item = item.send().await.expect("read").item.unwrap_or_default();
    item.into_keys().filter(|name| name.starts_with("promotion")).collect()
}

/// A scene in which some promotions were stored ten seconds ago.
async fn stocked(count: usize) -> Scene {
    let scene = Scene::start();
    let told = Told::default();
    let request = request(&scene, "stock");
    ended(import(&scene.store, &request, &promotions("A", count), None, &told).await);
    tokio::time::sleep(seconds(10)).await;
    scene
}

/// Imports a source that replaces all promotions, or up to this share of them.
async fn replace(store: &Store, request: &Request, content: &str, share: f64) -> Job {
    let mut snapshot = Snapshot::new(Kind::Promotion, share);
    let part = SnapshotPart { snapshot: &mut snapshot, is_last: true };
    ended(import(store, request, content, Some(part), &Told::default()).await)
}

#[test]
fn a_snapshot_sets_the_floor_only_if_it_was_read_to_its_end_and_removed_what_is_missing() {
    run(async {
        let scene = stocked(4).await;
        let content = promotion("A0001");
        let job = replace(&scene.store, &request(&scene, "much"), &content, 0.5).await;
        let why = "nothing was removed: 3 of 4 records of kind promotion are not named, more than the share of 0.5 \
                   that may be removed";
        assert_eq!((job.status, job.error.as_deref()), (Status::Done, Some(why)));
        assert!(floors(&scene).await.is_empty());

        let broken = format!("[{content},");
        let job = replace(&scene.store, &request(&scene, "broken"), &broken, 1.0).await;
        assert_eq!(job.status, Status::Failed);
        assert!(floors(&scene).await.is_empty());

        let dry = Request { mode: Mode::DryRun, ..request(&scene, "dry") };
        let job = replace(&scene.store, &dry, &content, 1.0).await;
        let counts = Counts { unchanged: 1, deleted: 3, ..Counts::default() };
        assert_eq!((job.error, job.progress.counts), (None, counts));
        assert!(floors(&scene).await.is_empty());
        assert_eq!(codes(&scene).await.len(), 4);

        let job = replace(&scene.store, &request(&scene, "whole"), &content, 0.75).await;
        assert_eq!((job.error, job.progress.counts), (None, counts));
        assert_eq!(codes(&scene).await, ["A0001"]);
        assert_eq!(floors(&scene).await, ["promotion"]);
    });
}

#[test]
fn a_snapshot_of_several_sources_removes_what_is_missing_from_all_of_them_after_the_last() {
    run(async {
        let scene = stocked(4).await;
        let (first, last) = (request(&scene, "first"), request(&scene, "last"));
        let told = Told::default();
        // The second time, the first source has ended already: it still counts.
        for _ in 0..2 {
            let mut snapshot = Snapshot::new(Kind::Promotion, 1.0);
            let part = SnapshotPart { snapshot: &mut snapshot, is_last: false };
            let end = import(&scene.store, &first, &promotion("A0001"), Some(part), &told).await;
            assert!(matches!(&end, End::Ended(job, _) if job.status == Status::Done), "{end:?}");
            assert_eq!(codes(&scene).await.len(), 4);
            let in_progress = format!("promotion#{}", first.lease.import.as_str());
            assert_eq!(floors(&scene).await, [in_progress]);
            if matches!(end, End::Ended(_, Some(_))) {
                continue;
            }
            let part = SnapshotPart { snapshot: &mut snapshot, is_last: true };
            let job = import(&scene.store, &last, &promotion("A0002"), Some(part), &told).await;
            assert_eq!(ended(job).progress.counts.deleted, 2);
        }
        assert_eq!(codes(&scene).await, ["A0001", "A0002"]);
        assert_eq!(floors(&scene).await, ["promotion"]);
    });
}

/// A job that another worker runs, and its lease.
async fn running(scene: &Scene) -> (Lease, Job) {
    let request = request(scene, "another");
    let claim = scene.store.claim(&request.lease, &request.source).await.expect("a claim");
    let Claim::Held(job) = claim else { panic!("{claim:?}") };
    (request.lease, *job)
}

#[test]
fn a_snapshot_waits_for_another_job_until_its_lease_and_the_time_of_a_group_have_passed() {
    run(async {
        let scene = stocked(2).await;
        running(&scene).await;
        let (begun, request) = (Instant::now(), request(&scene, "whole"));
        let job = replace(&scene.store, &request, "", 1.0).await;
        assert_eq!(job.progress.counts.deleted, 2);
        assert_eq!(begun.elapsed(), LEASE_TERM + seconds(30));
    });
}

#[test]
fn a_snapshot_waits_no_longer_once_another_job_has_ended() {
    run(async {
        let scene = stocked(2).await;
        let (lease, mut job) = running(&scene).await;
        let begun = Instant::now();
        let end = async {
            tokio::time::sleep(Duration::from_millis(1_200)).await;
            job.status = Status::Done;
            assert!(scene.store.checkpoint(&lease, &job).await.expect("stored"));
        };
        let request = request(&scene, "whole");
        let (job, ()) = tokio::join!(replace(&scene.store, &request, "", 1.0), end);
        assert_eq!(job.progress.counts.deleted, 2);
        // It looks twice a second.
        assert_eq!(begun.elapsed(), Duration::from_millis(1_500));
    });
}

#[test]
fn a_snapshot_that_waits_ends_by_its_deadline_and_removes_nothing() {
    run(async {
        let scene = stocked(2).await;
        running(&scene).await;
        let mut request = request(&scene, "whole");
        request.deadline = Some(Instant::now() + Duration::from_millis(1_700));
        let mut snapshot = Snapshot::new(Kind::Promotion, 1.0);
        let part = SnapshotPart { snapshot: &mut snapshot, is_last: true };
        let begun = Instant::now();
        let end = import(&scene.store, &request, "", Some(part), &Told::default()).await;
        assert!(matches!(end, End::Unfinished { .. }), "{end:?}");
        assert_eq!(begun.elapsed(), seconds(2));
        assert_eq!(codes(&scene).await.len(), 2);
    });
}

#[test]
fn a_snapshot_that_a_newer_one_of_its_kind_overtakes_removes_nothing() {
    for (kind, is_newer, status) in [
        (Kind::Promotion, true, Status::Superseded),
        (Kind::Promotion, false, Status::Done),
        (Kind::Product, true, Status::Done),
    ] {
        run(async {
            let scene = stocked(2).await;
            let request = request(&scene, "whole");
            let own = request.source.origin(request.source.time).order(0);
            let other = if is_newer { own.right_after(own) } else { Order::OLDEST };
            let import = ImportId::of(&["other"]);
            scene.store.begin_snapshot(&account(), &import, (kind, other)).await.expect("stored");
            let job = replace(&scene.store, &request, "", 1.0).await;
            assert_eq!(job.status, status, "{kind} {is_newer}");
            let is_superseded = status == Status::Superseded;
            assert_eq!(codes(&scene).await.len(), if is_superseded { 2 } else { 0 });
            let why =
                is_superseded.then_some("a newer version or a newer snapshot has taken its place");
            assert_eq!(job.error.as_deref(), why);
        });
    }
}

#[test]
fn a_snapshot_whose_object_gets_a_newer_version_while_it_waits_removes_nothing() {
    run(async {
        let scene = stocked(2).await;
        let (lease, mut job) = running(&scene).await;
        let mut request = request(&scene, "whole");
        let version = |sequencer: &str| ObjectVersion {
            sequencer: Some(sequencer.to_owned()),
            modified: request.source.time,
        };
        request.source.version = Some(version("01"));
        let newer = version("02");
        let name = request.source.name.clone();
        let overtake = async {
            tokio::time::sleep(seconds(1)).await;
            let is_noted = scene.store.note_version(&account(), &name, &newer).await;
            assert!(is_noted.expect("stored"));
            job.status = Status::Done;
            assert!(scene.store.checkpoint(&lease, &job).await.expect("stored"));
        };
        let (job, ()) = tokio::join!(replace(&scene.store, &request, "", 1.0), overtake);
        assert_eq!(job.status, Status::Superseded);
        assert_eq!(codes(&scene).await.len(), 2);
        assert!(floors(&scene).await.is_empty());
    });
}
