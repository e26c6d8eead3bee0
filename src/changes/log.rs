//! Recording: a batch of stream records becomes chunks at the end of a log.
//!
//! # Once, in order, and without a gap
//! A writer puts its chunk at the position after the last chunk, if that position is free (compare-and-set). The chunk
//! carries the last chunk's shard marks, advanced to the stream records that it covers. A writer that finds the
//! position taken starts again from the chunk that is there, or reads the last one. So no two chunks share a position,
//! none is put before one that a reader has seen, and a record that is delivered again is recognized: it is not above
//! its shard mark. This holds as long as a shard's records are first delivered in order, one batch at a time, which an
//! event source mapping guarantees.
//!
//! # Where a log begins
//! Position 0 holds the base chunk. It has no changes, and takes all positions below the first one of the log: the time
//! in milliseconds, times 1,000. It is put only if there is none, so writers that find the log empty at the same time
//! agree on the first position. When all chunks have expired, compare-and-set replaces it by one that ends higher: above
//! all positions that the log ever had, since a log gets fewer than 1,000 changes a millisecond.
//!
//! # What is lost
//! Stream records expire after 24 hours. If some may have expired before they were recorded, nobody can tell whose they
//! were. So the time when this was found is stored once for the whole table ([`Losses`]), and all logs of the table begin
//! anew: readers that began before must start over.

use std::future::Future;

use jiff::Timestamp;

use super::{
    Change, Chunk, ChunkError, Log, Marks, SequenceNumber,
    chunk::{ChunkHeader, Mark},
};
use crate::account::AccountId;

/// Identifies a log: the changes of one account in one table.
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

/// What the journal needs of the database. Reads of chunks are consistent; that of losses is not.
pub trait JournalStore: Sync {
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

    /// Puts a chunk if its position is free. `Some`: the chunk that is there already.
    fn append(
        &self,
        log: &LogId,
        chunk: &Chunk,
    ) -> impl Future<Output = Result<Option<Chunk>, Self::Error>> + Send;

    /// Puts a base chunk in place of the one that ends at `replaced_end`; `None`: only if there is none yet. `false`:
    /// another writer was first.
    fn put_base(
        &self,
        log: &LogId,
        base: &Chunk,
        replaced_end: Option<u64>,
    ) -> impl Future<Output = Result<bool, Self::Error>> + Send;

    /// When records of the tables' streams were last found to be lost.
    fn losses(&self) -> impl Future<Output = Result<Losses, Self::Error>> + Send;
}

/// When a loss was last found in the stream of each table. The lost records were written before then; their accounts are
/// unknown, so a loss concerns all accounts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses([i64; Log::ALL.len()]);

impl Losses {
    /// As if a loss had been found in every table at this time.
    #[must_use]
    pub fn of_all(at: Timestamp) -> Self {
        Self([at.as_millisecond(); Log::ALL.len()])
    }

    /// When a loss of this table was last found, in milliseconds since 1970; 0: never.
    #[must_use]
    pub fn found_at_millis(&self, log: Log) -> i64 {
        self.0[log as usize]
    }

    /// The same losses, with this time for one table.
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

    fn next_header(&self, recorded_at: Timestamp) -> ChunkHeader {
        ChunkHeader { first: self.next, recorded_at }
    }

    fn is_kept(&self, now: Timestamp) -> bool {
        now.duration_since(self.recorded_at) < super::KEPT
    }

    /// The end of a log, which begins (anew) if it has no chunk that can still be read.
    async fn read<L: JournalStore>(journal: &L, id: &LogId) -> Result<Self, L::Error> {
        loop {
            let now = journal.now();
            let newest = journal.newest(id).await?;
            if let Some(newest) = newest.as_ref().filter(|newest| newest.is_kept(now)) {
                return Ok(Self::of(newest)?);
            }
            let above = newest.as_ref().map_or(0, Chunk::end);
            // The base chunk is the newest item if the log has no other, or else the item at position 0.
            let stored_base = match newest {
                Some(newest) if newest.first > 0 => {
                    let first = journal.chunks(id, 0, 1).await?.chunks.into_iter().next();
                    first.filter(|chunk| chunk.first == 0)
                }
                only => only,
            };
            if let Some(base) = stored_base.as_ref().filter(|base| base.is_kept(now)) {
                return Ok(Self::of(base)?);
            }
            // No chunk can be read any more: the log begins anew, above all its positions.
            let replaced_end = stored_base.map(|base| base.end());
            let new_base = Chunk::base(now, above.max(replaced_end.unwrap_or_default()));
            if journal.put_base(id, &new_base, replaced_end).await? {
                return Ok(Self::of(&new_base)?);
            }
        }
    }
}

/// A stream record that concerns one log.
#[derive(Clone, Debug)]
pub struct StreamRecord {
    pub sequence: SequenceNumber,
    /// How the exported record changed; `None`: it did not.
    pub change: Option<Change>,
}

/// What became of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Where the events to put begin: their first stream record, and a position at or before that of its change. `None`:
    /// there are none to put, or all were put before.
    pub announce_from: Option<(SequenceNumber, u64)>,
    /// How many changes were appended now.
    pub appended: usize,
}

impl Recorded {
    /// Announces from here on, unless it already does from further back.
    fn announce_at_latest_from(&mut self, start: Option<(SequenceNumber, u64)>) {
        self.announce_from = self.announce_from.take().into_iter().chain(start).min();
    }
}

/// Whether a shard is recorded up to this stream record.
///
/// # Errors
/// When the log cannot be read.
pub async fn is_recorded<L: JournalStore>(
    journal: &L,
    id: &LogId,
    shard: &str,
    sequence: &SequenceNumber,
) -> Result<bool, L::Error> {
    let Some(newest) = journal.newest(id).await? else { return Ok(false) };
    Ok(newest.marks()?.of(shard).is_some_and(|mark| *sequence <= mark.sequence))
}

/// If a batch overlaps the one that its shard mark is of, it is that batch, delivered again: where that one began.
fn start_if_redelivered(mark: &Mark, records: &[StreamRecord]) -> Option<(SequenceNumber, u64)> {
    let recorded = &mark.first..=&mark.sequence;
    let overlaps = records.iter().any(|record| recorded.contains(&&record.sequence));
    overlaps.then(|| (mark.first.clone(), mark.from))
}

/// Appends the changes of a shard's batch that are not in the log yet. `remembered` is the log's end as the instance last
/// saw it; it is updated.
///
/// # Errors
/// When the log cannot be read or written. The batch may then be recorded in part; recording it again is
/// safe.
pub async fn record<L: JournalStore>(
    journal: &L,
    id: &LogId,
    shard: &str,
    records: &[StreamRecord],
    remembered: &mut Option<Tail>,
) -> Result<Recorded, L::Error> {
    let mut recorded = Recorded::default();
    if records.iter().all(|record| record.change.is_none()) {
        return Ok(recorded);
    }
    // Whether `tail` was read, or written here, after the last lost race for a position.
    let mut is_end_current = false;
    loop {
        let last_seen = remembered.take().filter(|tail| tail.is_kept(journal.now()));
        is_end_current |= last_seen.is_none();
        let tail = match last_seen {
            Some(tail) => tail,
            None => Tail::read(journal, id).await?,
        };
        let mark = tail.marks.of(shard);
        let is_new =
            |record: &&StreamRecord| mark.is_none_or(|mark| record.sequence > mark.sequence);
        let pending: Vec<(&SequenceNumber, &Change)> = records
            .iter()
            .filter(is_new)
            .filter_map(|record| Some((&record.sequence, record.change.as_ref()?)))
            .collect();
        let header = tail.next_header(journal.now());
        let redelivered_from = mark.and_then(|mark| start_if_redelivered(mark, records));
        let batch_start = redelivered_from.clone().or_else(|| {
            let first = records.iter().filter(is_new).map(|record| &record.sequence).min();
            first.map(|first| (first.clone(), tail.next))
        });
        recorded.announce_at_latest_from(redelivered_from);
        if pending.is_empty() {
            *remembered = Some(tail);
            return Ok(recorded);
        }
        let at = header.recorded_at.as_millisecond();
        let changes: Vec<&Change> = pending.iter().map(|(_, change)| *change).collect();
        // All of the batch, or up to the last change that fits.
        let last_sequence = records.iter().map(|record| &record.sequence).max();
        let (chunk, count) =
            Chunk::of(&header, &changes, |count| {
                let fits = pending.get(count.saturating_sub(1)).map(|(sequence, _)| *sequence);
                let sequence = if count < pending.len() { fits } else { last_sequence };
                let mark = sequence.zip(batch_start.clone()).map(|(sequence, (first, from))| {
                    Mark { sequence: sequence.clone(), at, first, from }
                });
                mark.map_or_else(|| tail.marks.clone(), |mark| tail.marks.with(shard, mark))
            })?;
        match journal.append(id, &chunk).await? {
            None => {
                recorded.announce_at_latest_from(batch_start);
                is_end_current = true;
                recorded.appended += count;
                *remembered = Some(Tail::of(&chunk)?);
            }
            // Another worker was first, a moment ago: its chunk is most likely the last one.
            Some(there) if is_end_current => {
                is_end_current = false;
                *remembered = Some(Tail::of(&there)?);
            }
            // Any number of chunks may follow: one read finds the end, where writes would try one position after another.
            Some(_) => *remembered = None,
        }
    }
}

#[cfg(test)]
mod tests;
