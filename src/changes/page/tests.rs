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
        ChunkError, ExportedRecord, KEPT, Marks,
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
}

impl Memory {
    /// Appends a chunk of so many changes.
    fn append(&self, log: Log, count: u8, recorded_at: Timestamp) {
        let mut logs = self.logs.lock().expect("lock");
        let chunks = logs.entry(log).or_default();
        let first = chunks.last().map_or(1_000 * (log as u64 + 1), Chunk::end);
        let changes: Vec<Change> =
            (0..u64::from(count)).map(|at| change(log, first + at)).collect();
        let changes: Vec<&Change> = changes.iter().collect();
        let header = ChunkHeader { first, recorded_at };
        let (chunk, fits) = Chunk::of(&header, &changes, |_| Marks::default()).expect("a chunk");
        assert!(fits == changes.len() && chunk.body.len() <= MAX_BODY);
        chunks.push(chunk);
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
    let record = ExportedRecord { identity, json: "{}".to_owned(), visibility: None };
    Change::between(None, Some(record), NOW, None).expect("JSON").expect("a change")
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
        let memory = Memory { logs: Mutex::default(), reply };
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
    let memory = Memory { logs: Mutex::default(), reply: 5 };
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
    let memory = Memory { logs: Mutex::default(), reply: 5 };
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
    let memory = Memory { logs: Mutex::default(), reply: 1 };
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
