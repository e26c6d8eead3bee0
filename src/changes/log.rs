//! Recording: a batch of stream records becomes chunks at the end of a log.
//!
//! # Once, in order, and without a gap
//! A chunk is put at the position after the last chunk, if nothing is there (compare-and-set); it has the marks of
//! the last chunk, moved on by its own records. Who loses takes the chunk that was put there, or reads the last one,
//! and begins again with its marks. So two chunks never take one position, nothing appears before what a reader
//! has seen, and a record that is delivered again is at or below its shard's mark. This holds as long as a shard's
//! records are first delivered in their order, one batch at a time, which an event source mapping guarantees.
//!
//! # Where a log begins
//! A log begins with an origin: a chunk at position 0 that takes all positions up to milliseconds times 1,000. So writers
//! that find the log empty at the same time agree on its first position. When all chunks have expired, the
//! origin is moved on by compare-and-set, above all positions that the log ever had.
//!
//! # What is lost
//! If records of a stream may be lost, no one knows of which accounts: that it happened, and when, is stored once for the
//! table ([`Losses`]). Its logs begin anew then: readers that began before must start over.

use std::future::Future;

use jiff::Timestamp;

use super::{
    Change, Chunk, ChunkError, Log, Marks, SequenceNumber,
    chunk::{Frame, Mark},
};
use crate::account::AccountId;

/// A log: the changes of an account in one table.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LogId {
    pub account: AccountId,
    pub log: Log,
}

/// A page of a log's chunks.
#[derive(Clone, Debug)]
pub struct ChunkPage {
    /// In the order of their positions.
    pub chunks: Vec<Chunk>,
    /// Whether nothing came after them when they were read.
    pub is_last: bool,
    pub read_units: f64,
}

/// Access pattern of the journal. All reads are consistent.
pub trait ChangeLog: Sync {
    type Error: From<ChunkError> + Send;

    fn now(&self) -> Timestamp;

    /// The last chunk of a log.
    fn newest(
        &self,
        log: &LogId,
    ) -> impl Future<Output = Result<Option<Chunk>, Self::Error>> + Send;

    /// Chunks that begin at a position or after it, at most `limit`.
    fn chunks(
        &self,
        log: &LogId,
        from: u64,
        limit: u32,
    ) -> impl Future<Output = Result<ChunkPage, Self::Error>> + Send;

    /// Puts a chunk, unless there is one at its position: that one is returned.
    fn append(
        &self,
        log: &LogId,
        chunk: &Chunk,
    ) -> impl Future<Output = Result<Option<Chunk>, Self::Error>> + Send;

    /// Puts an origin in place of the one that ends at this position, or of none. `false`: there is another.
    fn put_origin(
        &self,
        log: &LogId,
        origin: &Chunk,
        seen: Option<u64>,
    ) -> impl Future<Output = Result<bool, Self::Error>> + Send;

    /// When records of the tables' streams were last found to be lost.
    fn losses(&self) -> impl Future<Output = Result<Losses, Self::Error>> + Send;
}

/// When records of each table's stream were last found to be lost. What is lost was written before, but no one knows by
/// whom: it concerns all accounts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses([i64; Log::ALL.len()]);

impl Losses {
    /// Losses of all tables at one time.
    #[must_use]
    pub fn of_all(at: Timestamp) -> Self {
        Self([at.as_millisecond(); Log::ALL.len()])
    }

    /// In milliseconds since 1970; 0: never.
    #[must_use]
    pub fn millis(&self, log: Log) -> i64 {
        self.0[log as usize]
    }

    /// These, but for one table.
    #[must_use]
    pub fn with(mut self, log: Log, millis: i64) -> Self {
        self.0[log as usize] = millis;
        self
    }
}

/// The end of a log: what its last chunk says.
#[derive(Clone, Debug)]
pub struct Tail {
    next: u64,
    marks: Marks,
    recorded_at: Timestamp,
}

impl Tail {
    fn of(chunk: &Chunk) -> Result<Self, ChunkError> {
        Ok(Self { next: chunk.end(), marks: chunk.marks()?, recorded_at: chunk.recorded_at })
    }

    fn frame(&self, recorded_at: Timestamp) -> Frame {
        Frame { first: self.next, recorded_at }
    }

    fn is_kept(&self, now: Timestamp) -> bool {
        now.duration_since(self.recorded_at) < super::KEPT
    }

    async fn read<L: ChangeLog>(log: &L, id: &LogId) -> Result<Self, L::Error> {
        loop {
            let now = log.now();
            let newest = log.newest(id).await?;
            if let Some(newest) = newest.as_ref().filter(|newest| newest.is_kept(now)) {
                return Ok(Self::of(newest)?);
            }
            let above = newest.as_ref().map_or(0, Chunk::end);
            let origin = match newest {
                Some(newest) if newest.first > 0 => {
                    let first = log.chunks(id, 0, 1).await?.chunks.into_iter().next();
                    first.filter(|chunk| chunk.first == 0)
                }
                origin => origin,
            };
            if let Some(origin) = origin.as_ref().filter(|origin| origin.is_kept(now)) {
                return Ok(Self::of(origin)?);
            }
            let seen = origin.map(|origin| origin.end());
            let origin = Chunk::origin(now, above.max(seen.unwrap_or_default()));
            if log.put_origin(id, &origin, seen).await? {
                return Ok(Self::of(&origin)?);
            }
        }
    }
}

/// A stream record of one log.
#[derive(Clone, Debug)]
pub struct StreamRecord {
    pub sequence: SequenceNumber,
    /// `None`: an export shows no difference.
    pub change: Option<Change>,
}

/// What became of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// What is to be announced: the first stream record, and a position at or before that of its change. `None`: nothing,
    /// or all of it was announced before.
    pub from: Option<(SequenceNumber, u64)>,
    /// How many changes were appended now.
    pub appended: usize,
}

impl Recorded {
    fn begins_by(&mut self, from: Option<(SequenceNumber, u64)>) {
        self.from = self.from.take().into_iter().chain(from).min();
    }
}

/// Whether a shard is recorded up to this stream record.
///
/// # Errors
/// When the log cannot be read.
pub async fn is_recorded<L: ChangeLog>(
    log: &L,
    id: &LogId,
    shard: &str,
    sequence: &SequenceNumber,
) -> Result<bool, L::Error> {
    let Some(newest) = log.newest(id).await? else { return Ok(false) };
    Ok(newest.marks()?.of(shard).is_some_and(|mark| *sequence <= mark.sequence))
}

/// Where a batch begins of which a part is recorded: where that part does.
fn begun(mark: &Mark, entries: &[StreamRecord]) -> Option<(SequenceNumber, u64)> {
    let last = &mark.first..=&mark.sequence;
    let is_in_part = entries.iter().any(|entry| last.contains(&&entry.sequence));
    is_in_part.then(|| (mark.first.clone(), mark.from))
}

/// Appends the changes of a shard's batch that are not in the log yet. `known` is what the instance remembers of the
/// log's end.
///
/// # Errors
/// When the log cannot be read or written. The batch may then be recorded in part; recording it again is
/// safe.
pub async fn record<L: ChangeLog>(
    log: &L,
    id: &LogId,
    shard: &str,
    entries: &[StreamRecord],
    known: &mut Option<Tail>,
) -> Result<Recorded, L::Error> {
    let mut recorded = Recorded::default();
    if entries.iter().all(|entry| entry.change.is_none()) {
        return Ok(recorded);
    }
    // Whether the end was read or written since another worker was first.
    let mut is_fresh = false;
    loop {
        let remembered = known.take().filter(|tail| tail.is_kept(log.now()));
        is_fresh |= remembered.is_none();
        let tail = match remembered {
            Some(tail) => tail,
            None => Tail::read(log, id).await?,
        };
        let mark = tail.marks.of(shard);
        let is_new = |entry: &&StreamRecord| mark.is_none_or(|mark| entry.sequence > mark.sequence);
        let pending: Vec<(&SequenceNumber, &Change)> = entries
            .iter()
            .filter(is_new)
            .filter_map(|entry| Some((&entry.sequence, entry.change.as_ref()?)))
            .collect();
        let frame = tail.frame(log.now());
        let in_part = mark.and_then(|mark| begun(mark, entries));
        let begin = in_part.clone().or_else(|| {
            let first = entries.iter().filter(is_new).map(|entry| &entry.sequence).min();
            first.map(|first| (first.clone(), tail.next))
        });
        recorded.begins_by(in_part);
        if pending.is_empty() {
            *known = Some(tail);
            return Ok(recorded);
        }
        let at = frame.recorded_at.as_millisecond();
        let changes: Vec<&Change> = pending.iter().map(|(_, change)| *change).collect();
        // All of the batch, or up to the last change that fits.
        let end = entries.iter().map(|entry| &entry.sequence).max();
        let (chunk, count) = Chunk::of(&frame, &changes, |count| {
            let fits = pending.get(count.saturating_sub(1)).map(|(sequence, _)| *sequence);
            let sequence = if count < pending.len() { fits } else { end };
            let mark = sequence.zip(begin.clone()).map(|(sequence, (first, from))| Mark {
                sequence: sequence.clone(),
                at,
                first,
                from,
            });
            mark.map_or_else(|| tail.marks.clone(), |mark| tail.marks.with(shard, mark))
        })?;
        match log.append(id, &chunk).await? {
            None => {
                recorded.begins_by(begin);
                is_fresh = true;
                recorded.appended += count;
                *known = Some(Tail::of(&chunk)?);
            }
            // Another worker was first, a moment ago: its chunk is most likely the last one.
            Some(there) if is_fresh => {
                is_fresh = false;
                *known = Some(Tail::of(&there)?);
            }
            // The end is any number of chunks away: it is read, and not looked for with one write after the other.
            Some(_) => *known = None,
        }
    }
}
