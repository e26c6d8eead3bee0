//! The items of a log.
//!
//! A chunk has the changes from one position on, compressed, and the shard marks: for each shard of the table's stream
//! the last record that is in the log. Whoever appends the next chunk begins with these marks, so a change
//! is recorded once, however often its stream record is delivered.

use std::{cmp::Ordering, collections::BTreeMap, io::Write as _};

use flate2::{Compression, read::DeflateDecoder, write::DeflateEncoder};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::Change;

/// How long changes can be read.
pub const KEPT: SignedDuration = SignedDuration::from_hours(30 * 24);

/// How long after that a chunk expires, so that whoever is reading when its time is over can read on.
pub const MARGIN: SignedDuration = SignedDuration::from_hours(24);

/// How long the changes of a chunk can be read by whoever is reading already: an hour less than it is there.
const KEPT_FOR_READERS: SignedDuration =
    SignedDuration::from_hours(KEPT.as_hours() + MARGIN.as_hours() - 1);

/// The age from which on an unrecorded stream record shows that others before it may be lost: a stream keeps records
/// for 24 hours.
pub const LATE: SignedDuration = SignedDuration::from_hours(23);

/// How long a shard mark is kept. A stream keeps its records for 24 hours: what a mark refers to is gone by then.
const MARK_KEPT: SignedDuration = SignedDuration::from_hours(48);

/// The most bytes of a body: an item with its other attributes then has at most 64 KB, unless one change alone
/// is larger.
pub(super) const MAX_BODY: usize = 63 * 1024;

/// The most bytes of changes, before compression, that a chunk is tried with.
const MAX_CHANGES: usize = 512 * 1024;

/// The sequence number of a stream record: up to 40 digits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SequenceNumber(String);

impl SequenceNumber {
    /// Parses a sequence number; `None` if it has anything but digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| Self(text.trim_start_matches('0').to_owned()))
    }
}

impl Ord for SequenceNumber {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.len().cmp(&other.0.len()).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for SequenceNumber {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A shard mark: how far a shard is recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// The last stream record that is in the log.
    #[serde(rename = "n")]
    pub(super) sequence: SequenceNumber,
    /// When it was recorded, in milliseconds since 1970.
    #[serde(rename = "t")]
    pub(super) at: i64,
    /// The first stream record of the batch that it was delivered with. Batches before were recorded and announced, or
    /// this one would not have been delivered.
    #[serde(rename = "b")]
    pub(super) first: SequenceNumber,
    /// The position of the first change of that batch.
    #[serde(rename = "p")]
    pub(super) from: u64,
}

/// The shard marks of a log, by shard.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Marks(BTreeMap<String, Mark>);

impl Marks {
    pub(super) fn of(&self, shard: &str) -> Option<&Mark> {
        self.0.get(shard)
    }

    /// These marks with that of one shard moved on, and without those that are no longer needed.
    pub(super) fn with(&self, shard: &str, mark: Mark) -> Self {
        let oldest =
            mark.at.saturating_sub(i64::try_from(MARK_KEPT.as_millis()).unwrap_or(i64::MAX));
        let kept = self.0.iter().filter(|(_, mark)| mark.at >= oldest);
        let mut marks: BTreeMap<_, _> =
            kept.map(|(shard, mark)| (shard.clone(), mark.clone())).collect();
        marks.insert(shard.to_owned(), mark);
        Self(marks)
    }
}

/// One item of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The position of its first change.
    pub first: u64,
    /// How many positions it takes.
    pub count: u64,
    pub recorded_at: Timestamp,
    /// Its shard marks and changes, compressed.
    pub body: Vec<u8>,
}

/// A chunk that cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum ChunkError {
    #[error("a chunk is not compressed as expected")]
    Compression(#[from] std::io::Error),
    #[error("a chunk is not JSON")]
    Json(#[from] serde_json::Error),
}

/// Where a chunk goes, and what it has besides changes.
pub(super) struct ChunkHeader {
    pub(super) first: u64,
    pub(super) recorded_at: Timestamp,
}

impl Chunk {
    /// The position after it.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.first + self.count
    }

    /// Whether a reader may begin with its changes.
    #[must_use]
    pub fn is_kept(&self, now: Timestamp) -> bool {
        now.duration_since(self.recorded_at) < KEPT
    }

    /// Whether a reader that has begun may read its changes.
    pub(super) fn is_kept_for_readers(&self, now: Timestamp) -> bool {
        now.duration_since(self.recorded_at) < KEPT_FOR_READERS
    }

    /// The chunk without changes that a log begins with. It takes all positions below the first one of the log,
    /// which is above every position that the log may have had before.
    pub(super) fn base(now: Timestamp, above: u64) -> Self {
        let millis = u64::try_from(now.as_millisecond()).unwrap_or_default();
        let count = (millis * 1_000).max(above + 1);
        Self { first: 0, count, recorded_at: now, body: Vec::new() }
    }

    /// The chunk of as many of these changes as fit, and how many these are. `marks` tells the shard marks after so
    /// many changes.
    pub(super) fn of(
        header: &ChunkHeader,
        changes: &[&Change],
        marks: impl Fn(usize) -> Marks,
    ) -> Result<(Self, usize), ChunkError> {
        let mut texts = Vec::with_capacity(changes.len());
        let mut bytes = 0;
        for change in changes {
            let text = serde_json::to_string(change)?;
            bytes += text.len();
            if bytes > MAX_CHANGES && !texts.is_empty() {
                break;
            }
            texts.push(text);
        }
        loop {
            let body = compressed(&marks(texts.len()), &texts)?;
            let count = texts.len();
            if body.len() <= MAX_BODY || count <= 1 {
                let ChunkHeader { first, recorded_at } = *header;
                let positions = u64::try_from(count).unwrap_or_default();
                return Ok((Self { first, count: positions, recorded_at, body }, count));
            }
            // Somewhat fewer than would fit if all were alike.
            texts.truncate((count * MAX_BODY / body.len() * 9 / 10).clamp(1, count - 1));
        }
    }

    /// Its shard marks.
    ///
    /// # Errors
    /// [`ChunkError`].
    pub fn marks(&self) -> Result<Marks, ChunkError> {
        if self.body.is_empty() {
            return Ok(Marks::default());
        }
        let reader = DeflateDecoder::new(self.body.as_slice());
        let first = serde_json::Deserializer::from_reader(reader).into_iter().next();
        Ok(first.transpose()?.unwrap_or_default())
    }

    /// Its changes.
    ///
    /// # Errors
    /// [`ChunkError`].
    pub fn changes(&self) -> Result<Vec<Change>, ChunkError> {
        if self.body.is_empty() {
            return Ok(Vec::new());
        }
        let text = std::io::read_to_string(DeflateDecoder::new(self.body.as_slice()))?;
        let (_, changes) = text.split_once('\n').unwrap_or_default();
        let changes = serde_json::Deserializer::from_str(changes).into_iter();
        Ok(changes.collect::<Result<_, _>>()?)
    }
}

/// The shard marks on the first line, then the changes.
fn compressed(marks: &Marks, changes: &[String]) -> Result<Vec<u8>, ChunkError> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(serde_json::to_string(marks)?.as_bytes())?;
    for change in changes {
        encoder.write_all(b"\n")?;
        encoder.write_all(change.as_bytes())?;
    }
    Ok(encoder.finish()?)
}
