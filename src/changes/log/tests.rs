use std::{collections::BTreeMap, ops::Range, sync::Mutex};

use jiff::SignedDuration;

use super::*;
use crate::{
    changes::{ExportedRecord, Identity, KEPT},
    imports::Kind,
    text::{hex, sha256_prefix},
};

const NOW: Timestamp = Timestamp::constant(1_767_225_600, 0);

/// The first position of a log that begins now.
const FIRST: u64 = 1_767_225_600_000_000;

/// One log in memory, and the requests for it.
struct Memory {
    now: Timestamp,
    chunks: Mutex<BTreeMap<u64, Chunk>>,
    requests: Mutex<Vec<&'static str>>,
    /// What another worker appends just before the next chunks arrive.
    overtaking: Mutex<Vec<Chunk>>,
    /// How many chunks can be appended before the database is away.
    appends: Mutex<usize>,
}

impl Memory {
    fn new(chunks: impl IntoIterator<Item = Chunk>) -> Self {
        Self {
            now: NOW,
            chunks: Mutex::new(chunks.into_iter().map(|chunk| (chunk.first, chunk)).collect()),
            requests: Mutex::default(),
            overtaking: Mutex::default(),
            appends: Mutex::new(usize::MAX),
        }
    }

    fn request(&self, name: &'static str) {
        self.requests.lock().expect("lock").push(name);
    }

    /// The requests since this was asked last.
    fn requests(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.requests.lock().expect("lock"))
    }

    /// The ids of all changes in the log, and the positions that they take.
    fn told(&self) -> Vec<(u64, String)> {
        let chunks = self.chunks.lock().expect("lock");
        let changes = chunks.values().flat_map(|chunk| {
            (chunk.first..).zip(chunk.changes().expect("changes")).collect::<Vec<_>>()
        });
        changes.map(|(position, change)| (position, change.identity.id)).collect()
    }

    fn last(&self) -> Chunk {
        self.chunks.lock().expect("lock").values().last().expect("a chunk").clone()
    }
}

impl JournalStore for Memory {
    type Error = ChunkError;

    fn now(&self) -> Timestamp {
        self.now
    }

    async fn newest(&self, _: &LogId) -> Result<Option<Chunk>, ChunkError> {
        self.request("newest");
        Ok(self.chunks.lock().expect("lock").values().last().cloned())
    }

    async fn chunks(&self, _: &LogId, from: u64, limit: u32) -> Result<ChunkPage, ChunkError> {
        self.request("chunks");
        let chunks = self.chunks.lock().expect("lock");
        let limit = usize::try_from(limit).expect("few");
        let chunks = chunks.range(from..).take(limit).map(|(_, chunk)| chunk.clone()).collect();
        Ok(ChunkPage { chunks, is_last: false, read_units: 1.0 })
    }

    async fn append(&self, _: &LogId, chunk: &Chunk) -> Result<Option<Chunk>, ChunkError> {
        self.request("append");
        let mut chunks = self.chunks.lock().expect("lock");
        if let Some(other) = self.overtaking.lock().expect("lock").pop() {
            chunks.insert(other.first, other);
        }
        let mut appends = self.appends.lock().expect("lock");
        *appends = appends.checked_sub(1).ok_or_else(|| {
            ChunkError::Compression(std::io::Error::other("the database is away"))
        })?;
        if let Some(there) = chunks.get(&chunk.first) {
            return Ok(Some(there.clone()));
        }
        chunks.insert(chunk.first, chunk.clone());
        Ok(None)
    }

    async fn put_base(
        &self,
        _: &LogId,
        base: &Chunk,
        replaced_end: Option<u64>,
    ) -> Result<bool, ChunkError> {
        self.request("put base");
        let mut chunks = self.chunks.lock().expect("lock");
        if let Some(other) = self.overtaking.lock().expect("lock").pop() {
            chunks.insert(other.first, other);
        }
        let is_as_expected = chunks.get(&0).map(Chunk::end) == replaced_end;
        if is_as_expected {
            chunks.insert(0, base.clone());
        }
        Ok(is_as_expected)
    }

    async fn losses(&self) -> Result<Losses, ChunkError> {
        Ok(Losses::default())
    }
}

fn sequence(number: u64) -> SequenceNumber {
    SequenceNumber::parse(&number.to_string()).expect("a sequence number")
}

/// Stream records with these sequence numbers, each with a change of a record of that id.
fn records(numbers: Range<u64>) -> Vec<StreamRecord> {
    numbers.map(|number| changed(number, "")).collect()
}

fn changed(number: u64, note: &str) -> StreamRecord {
    let identity = Identity { kind: Kind::Product, id: number.to_string(), id_field: None };
    let json = format!("{{\"note\":\"{note}\"}}");
    let record = ExportedRecord { identity, json, visibility: None };
    let change = Change::between(None, Some(record), NOW, None).expect("JSON");
    StreamRecord { sequence: sequence(number), change }
}

fn unchanged(number: u64) -> StreamRecord {
    StreamRecord { sequence: sequence(number), change: None }
}

/// The ids of changes from a position on.
fn told(first: u64, ids: Range<u64>) -> Vec<(u64, String)> {
    (first..).zip(ids).map(|(position, id)| (position, id.to_string())).collect()
}

/// A chunk that another worker has put there, for another shard.
fn of_other(first: u64, recorded_at: Timestamp) -> Chunk {
    let record = changed(first % 1_000 + 500, "");
    let change = record.change.expect("a change");
    let header = ChunkHeader { first, recorded_at };
    Chunk::of(&header, &[&change], |_| Marks::default()).expect("a chunk").0
}

fn log_id() -> LogId {
    LogId { account: AccountId::parse("ACME").expect("account"), log: Log::Products }
}

async fn append(
    memory: &Memory,
    records: &[StreamRecord],
    remembered: &mut Option<Tail>,
) -> Recorded {
    record(memory, &log_id(), "shard", records, remembered).await.expect("recorded")
}

fn mark(memory: &Memory) -> Mark {
    memory.last().marks().expect("marks").of("shard").expect("a mark").clone()
}

fn announced(first: u64, position: u64, appended: usize) -> Recorded {
    Recorded { announce_from: Some((sequence(first), position)), appended }
}

#[tokio::test]
async fn the_first_batch_of_a_log_is_put_after_its_base_with_a_mark_of_the_whole_batch() {
    let (memory, mut end) = (Memory::new([]), None);
    let mut batch = records(11..13);
    batch.insert(0, unchanged(10));
    batch.push(unchanged(13));
    assert_eq!(append(&memory, &batch, &mut end).await, announced(10, FIRST, 2));
    assert_eq!(memory.requests(), ["newest", "put base", "append"]);
    assert_eq!(memory.told(), told(FIRST, 11..13));
    let at = NOW.as_millisecond();
    let whole = Mark { sequence: sequence(13), at, first: sequence(10), from: FIRST };
    assert_eq!(mark(&memory), whole);

    // The next one follows without a read.
    assert_eq!(append(&memory, &records(14..15), &mut end).await, announced(14, FIRST + 2, 1));
    assert_eq!(memory.requests(), ["append"]);
    let next = Mark { sequence: sequence(14), at, first: sequence(14), from: FIRST + 2 };
    assert_eq!(mark(&memory), next);
    // One without changes needs no request.
    assert_eq!(append(&memory, &[unchanged(15)], &mut end).await, Recorded::default());
    assert_eq!(memory.requests(), [""; 0]);
}

#[tokio::test]
async fn a_batch_that_is_delivered_again_is_announced_again_and_appended_only_from_its_mark_on() {
    let (memory, mut end) = (Memory::new([]), None);
    append(&memory, &records(1..4), &mut end).await;
    append(&memory, &records(4..8), &mut end).await;
    let second = FIRST + 3;
    memory.requests();
    for (again, expected) in [
        (records(4..8), announced(4, second, 0)),
        (records(6..7), announced(4, second, 0)),
        // It overlaps in one record alone.
        (records(3..5), announced(4, second, 0)),
        // The batch before was announced, or this one would not have come.
        (records(1..4), Recorded::default()),
        (records(7..10), announced(4, second, 2)),
    ] {
        let shown = format!("{again:?}");
        assert_eq!(append(&memory, &again, &mut end).await, expected, "{shown}");
    }
    assert_eq!(memory.requests(), ["append"]);
    assert_eq!(memory.told(), told(FIRST, 1..10));
    // Another worker knows it from the log.
    assert_eq!(append(&memory, &records(7..10), &mut None).await, announced(4, second, 0));
    assert_eq!(memory.requests(), ["newest"]);
    // Of another shard they are others.
    let others = record(&memory, &log_id(), "other", &records(1..2), &mut end).await;
    assert_eq!(others.expect("recorded"), announced(1, FIRST + 9, 1));
    assert_eq!(mark(&memory).sequence, sequence(9));
}

#[tokio::test]
async fn a_worker_that_was_overtaken_goes_on_from_the_chunk_that_is_there_or_reads_the_end() {
    let base = Chunk::base(NOW, 0);
    let (memory, mut end) = (Memory::new([base]), None);
    memory.overtaking.lock().expect("lock").push(of_other(FIRST, NOW));
    // It has just read the end: what was put since is most likely the last chunk.
    assert_eq!(append(&memory, &records(1..2), &mut end).await, announced(1, FIRST + 1, 1));
    assert_eq!(memory.requests(), ["newest", "append", "append"]);
    // Twice in a row it is not.
    let mut overtaking = vec![of_other(FIRST + 3, NOW), of_other(FIRST + 2, NOW)];
    memory.overtaking.lock().expect("lock").append(&mut overtaking);
    assert_eq!(append(&memory, &records(2..3), &mut None).await, announced(2, FIRST + 4, 1));
    assert_eq!(memory.requests(), ["newest", "append", "append", "newest", "append"]);
    // What it remembers may be long ago.
    memory.chunks.lock().expect("lock").insert(FIRST + 5, of_other(FIRST + 5, NOW));
    memory.chunks.lock().expect("lock").insert(FIRST + 6, of_other(FIRST + 6, NOW));
    let mut before = Some(Tail {
        next: FIRST + 5,
        marks: memory.chunks.lock().expect("lock")[&(FIRST + 4)].marks().expect("marks"),
        recorded_at: NOW,
    });
    assert_eq!(append(&memory, &records(3..4), &mut before).await, announced(3, FIRST + 7, 1));
    assert_eq!(memory.requests(), ["append", "newest", "append"]);
}

#[tokio::test]
async fn a_batch_of_several_chunks_that_breaks_off_is_completed_when_it_comes_again() {
    let large = |number| {
        let part = |n: usize| hex(&sha256_prefix::<32>(format!("{number} {n}")));
        changed(number, &(0..160).map(part).collect::<String>())
    };
    let batch: Vec<StreamRecord> = (1..31).map(large).chain([unchanged(31)]).collect();
    let memory = Memory::new([]);
    *memory.appends.lock().expect("lock") = 2;
    let broken = record(&memory, &log_id(), "shard", &batch, &mut None).await;
    assert_eq!(broken.expect_err("away").to_string(), "a chunk is not compressed as expected");
    let appended = memory.told().len();
    assert!((2..30).contains(&appended), "{appended}");
    // The mark is that of the last change that is there, and tells where the batch begins.
    let mark = mark(&memory);
    let number = u64::try_from(appended).expect("few");
    assert_eq!((mark.sequence, mark.first, mark.from), (sequence(number), sequence(1), FIRST));

    *memory.appends.lock().expect("lock") = usize::MAX;
    let again = append(&memory, &batch, &mut None).await;
    assert_eq!(again, announced(1, FIRST, 30 - appended));
    assert_eq!(memory.told(), told(FIRST, 1..31));
    assert_eq!(self::mark(&memory).sequence, sequence(31));
    assert!(memory.chunks.lock().expect("lock").len() > 3, "a base, two chunks, and the rest");
}

#[tokio::test]
async fn a_log_that_nobody_can_read_any_more_begins_anew_above_all_its_positions() {
    let expired = NOW - KEPT;
    let kept = expired + SignedDuration::from_millis(1);
    let base = |at, count| Chunk { first: 0, count, recorded_at: at, body: Vec::new() };
    let late = FIRST + 1_000;
    for (chunks, first, requests) in [
        (vec![base(kept, 70)], 70, vec!["newest"]),
        (vec![base(expired, 70)], FIRST, vec!["newest", "put base"]),
        (vec![base(expired, late)], late + 1, vec!["newest", "put base"]),
        (vec![base(expired, 70), of_other(70, kept)], 71, vec!["newest"]),
        (
            vec![base(expired, 70), of_other(70, expired)],
            FIRST,
            vec!["newest", "chunks", "put base"],
        ),
        (vec![of_other(late, expired)], late + 2, vec!["newest", "chunks", "put base"]),
        // Another worker has begun it anew.
        (vec![of_other(70, expired), base(kept, late)], late, vec!["newest", "chunks"]),
    ] {
        let memory = Memory::new(chunks);
        let recorded = append(&memory, &records(1..2), &mut None).await;
        assert_eq!(recorded, announced(1, first, 1));
        assert_eq!(memory.requests(), [requests, vec!["append"]].concat(), "{first}");
    }
    // Of two that begin it, one is first.
    let memory = Memory::new([]);
    memory.overtaking.lock().expect("lock").push(base(NOW, 70));
    assert_eq!(append(&memory, &records(1..2), &mut None).await, announced(1, 70, 1));
    assert_eq!(memory.requests(), ["newest", "put base", "newest", "append"]);
}

#[tokio::test]
async fn an_end_that_is_remembered_counts_as_long_as_its_chunk() {
    for (after, requests) in [
        (KEPT - SignedDuration::from_millis(1), vec!["append"]),
        (KEPT, vec!["newest", "chunks", "put base", "append"]),
    ] {
        let (mut memory, mut end) = (Memory::new([]), None);
        append(&memory, &records(1..2), &mut end).await;
        memory.requests();
        memory.now = NOW + after;
        append(&memory, &records(2..3), &mut end).await;
        assert_eq!(memory.requests(), requests);
    }
}

#[tokio::test]
async fn a_shard_is_recorded_up_to_its_mark() {
    let memory = Memory::new([]);
    let is = async |shard, number| {
        is_recorded(&memory, &log_id(), shard, &sequence(number)).await.expect("read")
    };
    assert!(!is("shard", 1).await, "there is no log");
    append(&memory, &records(5..8), &mut None).await;
    for (number, expected) in [(4, true), (6, true), (7, true), (8, false)] {
        assert_eq!(is("shard", number).await, expected, "{number}");
    }
    assert!(!is("other", 5).await);
}

#[test]
fn losses_are_told_table_by_table() {
    let losses = Losses::of_all(NOW).with(Log::Networks, 7);
    for log in Log::ALL {
        let expected = if *log == Log::Networks { 7 } else { NOW.as_millisecond() };
        assert_eq!(losses.found_at_millis(*log), expected, "{log}");
    }
}
