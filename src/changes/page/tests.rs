use std::{
    collections::HashMap,
    sync::Mutex,
    time::{Duration, Instant},
};

use futures_util::FutureExt as _;
use jiff::Timestamp;
use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{
    changes::{
        ChunkError, ExportedRecord, IdField, KEPT, Marks,
        chunk::{ChunkHeader, MAX_BODY},
    },
    cursor::Cursors,
    imports::Kind,
};

const NOW: Timestamp = Timestamp::constant(1_767_690_000, 0);

/// Logs in memory.
struct Memory {
    logs: Mutex<HashMap<Log, Vec<Chunk>>>,
    /// The most chunks of a reply, in place of DynamoDB's 1 MB.
    reply: usize,
    /// How many chunks each read asked for.
    asked: Mutex<Vec<u32>>,
}

impl Memory {
    fn new(reply: usize) -> Self {
        Self { logs: Mutex::default(), reply, asked: Mutex::default() }
    }

    /// Appends a chunk of so many changes.
    fn append(&self, log: Log, count: u8, recorded_at: Timestamp) {
        let first = self.end(log);
        let changes = (0..u64::from(count)).map(|at| change(log, first + at));
        self.append_changes(log, &changes.collect::<Vec<_>>(), recorded_at);
    }

    fn append_changes(&self, log: Log, changes: &[Change], recorded_at: Timestamp) {
        let header = ChunkHeader { first: self.end(log), recorded_at };
        let changes: Vec<&Change> = changes.iter().collect();
        let (chunk, fits) = Chunk::of(&header, &changes, |_| Marks::default()).expect("a chunk");
        assert!(fits == changes.len() && chunk.body.len() <= MAX_BODY);
        self.logs.lock().expect("lock").entry(log).or_default().push(chunk);
    }

    /// The position after the last change of a log.
    fn end(&self, log: Log) -> u64 {
        let logs = self.logs.lock().expect("lock");
        logs.get(&log).and_then(|chunks| chunks.last()).map_or(1_000 * (log as u64 + 1), Chunk::end)
    }

    /// The positions of changes of these kinds that were recorded at this time or later.
    fn positions(&self, log: Log, kinds: Kinds, since: Timestamp) -> Vec<String> {
        let logs = self.logs.lock().expect("lock");
        let chunks = logs.get(&log).into_iter().flatten();
        let kept = chunks.filter(|chunk| chunk.recorded_at >= since);
        kept.flat_map(|chunk| chunk.first..chunk.end())
            .filter(|position| kinds.contains(kind(log, *position)))
            .map(|position| log.name_of(position))
            .collect()
    }
}

/// The kind of the change at a position.
fn kind(log: Log, position: u64) -> Kind {
    let kinds: Vec<Kind> = Kind::ALL.iter().copied().filter(|kind| Log::of(*kind) == log).collect();
    kinds[usize::try_from(position).expect("small") % kinds.len()]
}

fn change(log: Log, position: u64) -> Change {
    let id = position.to_string();
    let identity = Identity { kind: kind(log, position), id, id_field: None };
    change_of(identity, "{}".to_owned())
}

fn change_of(identity: Identity, json: String) -> Change {
    let record = ExportedRecord { identity, json, visibility: None };
    Change::between(None, Some(record), NOW, None).expect("JSON").expect("a change")
}

fn account() -> AccountId {
    AccountId::parse("ACME").expect("account")
}

/// A page of products from the beginning, with enough read units.
fn products(memory: &Memory, limit: usize) -> Page {
    let kinds = Kinds::of([Kind::Product]);
    let oldest = Positions::oldest(NOW, kinds, View::Everything.fingerprint());
    let until = Instant::now() + Duration::from_mins(1);
    let budget = Budget { read_units: 1_000.0, until };
    let (account, losses) = (account(), Losses::default());
    let read = page(memory, &account, oldest, losses, View::Everything, limit, budget);
    read.now_or_never().expect("at once").expect("a page")
}

impl JournalStore for Memory {
    type Error = ChunkError;

    fn now(&self) -> Timestamp {
        NOW
    }

    async fn newest(&self, id: &LogId) -> Result<Option<Chunk>, ChunkError> {
        Ok(self.logs.lock().expect("lock").get(&id.log).and_then(|chunks| chunks.last()).cloned())
    }

    async fn chunks(&self, id: &LogId, from: u64, limit: u32) -> Result<ChunkPage, ChunkError> {
        let logs = self.logs.lock().expect("lock");
        self.asked.lock().expect("lock").push(limit);
        let limit = usize::try_from(limit).expect("small").min(self.reply);
        let after = logs.get(&id.log).into_iter().flatten().filter(|chunk| chunk.first >= from);
        let chunks: Vec<Chunk> = after.take(limit).cloned().collect();
        // DynamoDB tells only then that nothing comes after, too.
        let is_last = chunks.len() < limit;
        Ok(ChunkPage { chunks, is_last, read_units: 1.0 })
    }

    async fn append(&self, _: &LogId, _: &Chunk) -> Result<Option<Chunk>, ChunkError> {
        unreachable!("pages are read")
    }

    async fn put_base(&self, _: &LogId, _: &Chunk, _: Option<u64>) -> Result<bool, ChunkError> {
        unreachable!("pages are read")
    }

    async fn losses(&self) -> Result<Losses, ChunkError> {
        Ok(Losses::default())
    }
}

/// The changes of a log: how many chunks are too old, and how many changes each of the others has.
fn log() -> impl Strategy<Value = (usize, Vec<u8>)> {
    (0_usize..4, vec(1_u8..12, 0..6))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Pages of any size, read while chunks are appended, tell each change once, in the order of its log, and without a
    /// gap; `up_to_date` is told when nothing is left, and not before.
    #[test]
    fn pages_tell_each_change_once_and_in_order(
        logs in vec(log(), Log::ALL.len()),
        later in vec(prop::option::weighted(0.7, (0..Log::ALL.len(), 1_u8..12)), 0..12),
        limits in vec(1_usize..25, 1..4),
        mut units in vec(0.5_f64..9.0, 0..3),
        kinds in 1_u8..128,
        reply in 1_usize..5,
        lost in prop::option::weighted(0.2, 0..Log::ALL.len()),
    ) {
        let memory = Memory::new(reply);
        // Only a page that reads all logs to their ends can tell so.
        units.push(12.0);
        let (expired, lost_at) = (NOW - KEPT, NOW - SignedDuration::from_hours(24));
        for (log, (old, counts)) in Log::ALL.iter().zip(&logs) {
            (0..*old).for_each(|_| memory.append(*log, 3, expired));
            // The first that is kept was recorded before records were lost, if they were.
            for (place, count) in counts.iter().enumerate() {
                let before = lost_at - SignedDuration::from_secs(1);
                memory.append(*log, *count, if place == 0 { before } else { NOW });
            }
        }
        let lost = lost.map(|log| Log::ALL[log]);
        let losses = lost.map_or_else(Losses::default, |log| {
            Losses::default().with(log, lost_at.as_millisecond())
        });
        let asked = Kind::ALL.iter().copied().filter(|kind| kinds & (1 << *kind as u8) != 0);
        let kinds = Kinds::of(asked);
        let account = AccountId::parse("ACME").expect("account");
        let cursors = Cursors::new("the cursor secret of all the tests", None).expect("secret");
        let view = View::Everything;
        let mut next = Positions::oldest(NOW, kinds, view.fingerprint()).ignoring_losses_until(losses);
        let mut told: Vec<String> = Vec::new();
        let mut later = later.into_iter();
        for step in 0.. {
            prop_assert!(step < 2_000, "no end: {told:?}");
            let until = Instant::now() + Duration::from_mins(1);
            let budget = Budget { read_units: units[step % units.len()], until };
            let limit = limits[step % limits.len()];
            let read = page(&memory, &account, next, losses, view, limit, budget);
            let page = read.now_or_never().expect("at once").expect("a page");
            prop_assert!(page.changes.len() <= limit);
            told.extend(page.changes.into_iter().map(|told| told.position));
            if page.up_to_date {
                let wanted: usize = Log::ALL
                    .iter()
                    .map(|log| wanted(&memory, *log, kinds, lost, lost_at).len())
                    .sum();
                prop_assert_eq!(told.len(), wanted);
            }
            let cursor = page.next.seal(&cursors, &account).expect("a cursor");
            next = Positions::open(&cursors, &account, &cursor).expect("its own cursor");
            prop_assert_eq!(&next, &page.next);
            match later.next() {
                Some(Some((log, count))) => memory.append(Log::ALL[log], count, NOW),
                None if page.up_to_date => break,
                Some(None) | None => {}
            }
        }
        for log in Log::ALL {
            let name = log.name_of(0);
            let of_log: Vec<&String> = told.iter().filter(|at| at[..1] == name[..1]).collect();
            let wanted = wanted(&memory, *log, kinds, lost, lost_at);
            prop_assert_eq!(of_log, wanted.iter().collect::<Vec<_>>());
        }
    }
}

/// What a reader is told of a log.
fn wanted(
    memory: &Memory,
    log: Log,
    kinds: Kinds,
    lost: Option<Log>,
    lost_at: Timestamp,
) -> Vec<String> {
    let since = if lost == Some(log) { lost_at } else { NOW - KEPT + SignedDuration::from_secs(1) };
    memory.positions(log, kinds, since)
}

/// Pages of so many changes each, until everything is told: the logs whose changes each of them has.
fn logs_of_pages(memory: &Memory, limit: usize) -> Vec<Vec<Log>> {
    let account = AccountId::parse("ACME").expect("account");
    let mut next = Positions::oldest(NOW, Kinds::ALL, View::Everything.fingerprint());
    let mut pages = Vec::new();
    loop {
        let budget = Budget { read_units: 100.0, until: Instant::now() + Duration::from_mins(1) };
        let losses = Losses::default();
        let read = page(memory, &account, next, losses, View::Everything, limit, budget);
        let page = read.now_or_never().expect("at once").expect("a page");
        let logs = page.changes.iter().map(|told| Log::of(told.change.identity.kind));
        pages.push(logs.collect());
        if page.up_to_date {
            return pages;
        }
        next = page.next;
    }
}

#[test]
fn logs_take_turns_so_that_none_waits_until_another_ends() {
    let memory = Memory::new(5);
    for log in Log::ALL {
        memory.append(*log, 5, NOW);
    }
    let pages = logs_of_pages(&memory, 2);
    let turns: Vec<Log> = pages.iter().filter_map(|logs| logs.first()).copied().collect();
    assert_eq!(turns[..Log::ALL.len()], *Log::ALL, "{pages:?}");
    assert_eq!(turns[Log::ALL.len()..][..Log::ALL.len()], *Log::ALL, "and again: {pages:?}");
}

#[test]
fn a_log_that_a_page_had_no_room_for_comes_first_on_the_next_one() {
    let memory = Memory::new(5);
    for log in Log::ALL {
        memory.append(*log, 2, NOW);
    }
    let pages = logs_of_pages(&memory, 2);
    let told: Vec<Log> = pages.concat();
    let each_twice: Vec<Log> = Log::ALL.iter().flat_map(|log| [*log, *log]).collect();
    assert_eq!(told, each_twice, "{pages:?}");
}

#[test]
fn a_page_ends_with_the_read_that_spends_its_read_units() {
    let memory = Memory::new(1);
    (0..20).for_each(|_| memory.append(Log::ALL[0], 1, NOW));
    let account = AccountId::parse("ACME").expect("account");
    let oldest = Positions::oldest(NOW, Kinds::ALL, View::Everything.fingerprint());
    // Each read takes one unit, and brings one change.
    let budget = Budget { read_units: 4.0, until: Instant::now() + Duration::from_mins(1) };
    let losses = Losses::default();
    let read = page(&memory, &account, oldest, losses, View::Everything, 100, budget);
    let page = read.now_or_never().expect("at once").expect("a page");
    assert_eq!((page.changes.len(), page.up_to_date), (4, false));
}

#[test]
fn a_page_asks_for_as_many_chunks_as_it_still_needs_and_at_most_for_twice_as_many_as_before() {
    for (changes, chunks, limit, asked) in [
        (1, 40, 100, &[2, 4, 8, 16, 32][..]),
        (10, 40, 100, &[2, 4, 4]),
        (10, 40, 101, &[2, 4, 5]),
        (10, 40, 20, &[2]),
        (100, 3, 50, &[2]),
        (4, 40, 9, &[2, 1]),
    ] {
        let memory = Memory::new(100);
        (0..chunks).for_each(|_| memory.append(Log::Products, changes, NOW));
        let page = products(&memory, limit);
        assert_eq!(page.changes.len(), limit.min(usize::from(changes) * chunks));
        assert_eq!(*memory.asked.lock().expect("lock"), asked, "{changes} {chunks} {limit}");
    }
}

/// Bytes count as they are sent: each quote of a record takes two.
#[test]
fn a_page_has_at_most_as_many_bytes_as_a_reply_may_have_but_one_change_at_least() {
    let of = |bytes: usize| {
        let identity = Identity { kind: Kind::Product, id: "x".to_owned(), id_field: None };
        // The id takes five bytes in its quotes.
        let json = format!("{{\"x\":\"{}\"}}", "y".repeat(bytes - OVERHEAD - 5 - 12));
        let change = change_of(identity, json);
        assert_eq!(bytes_of(&change), bytes);
        change
    };
    let half = PAGE_BYTES / 2;
    for (sizes, told) in [
        (&[half, half, 1_000][..], 2),
        (&[half, half + 1, 1_000], 1),
        (&[PAGE_BYTES + 1, 1_000], 1),
    ] {
        let memory = Memory::new(5);
        for bytes in sizes {
            memory.append_changes(Log::Products, &[of(*bytes)], NOW);
        }
        let page = products(&memory, 10);
        assert_eq!((page.changes.len(), page.up_to_date), (told, false));
    }
}

#[test]
fn the_ends_of_logs_are_those_of_their_last_chunks_and_know_of_losses_found_for_22_hours() {
    let memory = Memory::new(5);
    memory.append(Log::Products, 3, NOW);
    memory.append(Log::Products, 2, NOW);
    let oldest = Positions::oldest(NOW, Kinds::ALL, View::Everything.fingerprint());
    let ends = ends(&memory, &account(), oldest).now_or_never().expect("at once").expect("ends");
    for log in Log::ALL {
        let next = if *log == Log::Products { 5_005 } else { 0 };
        assert_eq!(ends.at(*log), ReadPosition::End(next), "{log}");
    }
    let found = |millis| {
        let at = NOW + SignedDuration::from_hours(22) + SignedDuration::from_millis(millis);
        Losses::default().with(Log::Products, at.as_millisecond())
    };
    assert!(!ends.are_lost(&found(0)));
    assert!(ends.are_lost(&found(1)));
    assert!(!ends.only(Kinds::of([Kind::Offering])).are_lost(&found(1)));
}

#[test]
fn a_change_never_takes_more_bytes_than_it_counts() {
    let longest = "\u{1}".repeat(200);
    for (id, source) in [
        ("x".to_owned(), None),
        (longest.clone(), Some(longest.clone())),
        ("\u{1f980}".repeat(200), Some("\"".repeat(400))),
    ] {
        let identity =
            Identity { kind: Kind::PartnerOffering, id, id_field: Some(IdField::ExternalId) };
        let record = json!({ "name": longest }).to_string();
        let mut upsert = change_of(identity, record);
        upsert.source = source;
        let counted = bytes_of(&upsert);
        let position = Log::Offerings.name_of(u64::MAX);
        let told = bytes_in_reply(&PositionedChange { position, change: upsert }.json()) + 1;
        assert!((told..told + 350).contains(&counted), "{counted} for {told}");
    }
}

#[test]
fn a_change_is_told_with_its_record_or_as_a_delete() {
    let identity =
        Identity { kind: Kind::Product, id: "a\"b".to_owned(), id_field: Some(IdField::Sku) };
    let position = Log::Products.name_of(17);
    let change = change_of(identity.clone(), r#"{"sku":"a\"b"}"#.to_owned());
    let told = PositionedChange { position: position.clone(), change };
    assert_eq!(
        told.json(),
        r#"{"position":"s17","kind":"product","id":"a\"b","idField":"sku","op":"upsert","changedAt":"2026-01-06T09:00:00.000Z","record":{"sku":"a\"b"}}"#
    );
    let bundle = Identity { kind: Kind::Bundle, id: "7/1".to_owned(), id_field: None };
    let change = Change::delete(bundle, None, NOW, Some("an import".to_owned()));
    assert_eq!(
        PositionedChange { position, change }.json(),
        r#"{"position":"s17","kind":"bundle","id":"7/1","op":"delete","changedAt":"2026-01-06T09:00:00.000Z","source":"an import"}"#
    );
}
