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
            texts.truncate((count * MAX_BODY / body.len() * 9 / 10).max(1));
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

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::{
        changes::{ExportedRecord, Identity},
        imports::Kind,
        text::{hex, sha256_prefix},
    };

    const NOW: Timestamp = Timestamp::constant(1_767_225_600, 0);

    fn sequence(text: &str) -> SequenceNumber {
        SequenceNumber::parse(text).expect("a sequence number")
    }

    /// A change whose stored text has so many bytes: a text that compresses well, or hardly.
    fn change(id: usize, bytes: usize, compresses: bool) -> Change {
        let change = |note: &str| {
            let identity = Identity { kind: Kind::Product, id: id.to_string(), id_field: None };
            let json = format!("{{\"note\":\"{note}\"}}");
            let record = ExportedRecord { identity, json, visibility: None };
            Change::between(None, Some(record), NOW, None).expect("JSON").expect("a change")
        };
        let taken = serde_json::to_string(&change("")).expect("JSON").len();
        let note: String = if compresses {
            "x".repeat(bytes - taken)
        } else {
            let part = |n: usize| hex(&sha256_prefix::<32>(format!("{id} {n}")));
            (0..=bytes / 64).map(part).collect::<String>()[..bytes - taken].to_owned()
        };
        change(&note)
    }

    /// The chunk of as many of these changes as fit, and with how many it was tried.
    fn chunk(changes: &[Change]) -> (Chunk, Vec<usize>) {
        let tried = RefCell::new(Vec::new());
        let marks = |count| {
            tried.borrow_mut().push(count);
            Marks::default()
        };
        let header = ChunkHeader { first: 7, recorded_at: NOW };
        let changes: Vec<&Change> = changes.iter().collect();
        let (chunk, count) = Chunk::of(&header, &changes, marks).expect("a chunk");
        assert_eq!(usize::try_from(chunk.count).expect("few"), count);
        assert_eq!((chunk.first, chunk.end(), chunk.recorded_at), (7, 7 + chunk.count, NOW));
        let read: Vec<String> = chunk
            .changes()
            .expect("changes")
            .into_iter()
            .map(|change| change.identity.id)
            .collect();
        let first: Vec<String> =
            changes[..count].iter().map(|change| change.identity.id.clone()).collect();
        assert_eq!(read, first);
        (chunk, tried.into_inner())
    }

    #[test]
    fn a_chunk_is_tried_with_the_changes_of_512_kb_at_most_but_with_one_at_least() {
        let of = |sizes: &[usize]| -> Vec<Change> {
            let sized = sizes.iter().enumerate();
            sized.map(|(id, bytes)| change(id, *bytes, true)).collect()
        };
        let half = MAX_CHANGES / 2;
        assert_eq!(chunk(&of(&[half, half, 200])).1, [2]);
        assert_eq!(chunk(&of(&[half, half + 1, 200])).1, [1]);
        assert_eq!(chunk(&of(&[MAX_CHANGES + 1, 200])).1, [1]);
        assert_eq!(chunk(&of(&[200; 3])).1, [3]);
    }

    #[test]
    fn of_changes_that_do_not_fit_a_tenth_less_than_would_fit_is_taken_at_once() {
        let changes: Vec<Change> = (0..100).map(|id| change(id, 4_000, false)).collect();
        let (chunk, tried) = self::chunk(&changes);
        assert_eq!(tried.len(), 2, "{tried:?}");
        assert!((MAX_BODY * 4 / 5..=MAX_BODY).contains(&chunk.body.len()), "{}", chunk.body.len());
        // One that is larger has a chunk of its own.
        let large = [change(1, 200_000, false), change(2, 200, true)];
        let (chunk, tried) = self::chunk(&large);
        assert_eq!((chunk.count, tried), (1, vec![2, 1]));
    }

    #[test]
    fn a_chunk_can_be_read_for_30_days_and_by_who_has_begun_for_23_hours_more() {
        let (chunk, _) = chunk(&[change(1, 200, true)]);
        let kept = |hours, millis| {
            let after = SignedDuration::from_hours(hours) + SignedDuration::from_millis(millis);
            (chunk.is_kept(NOW + after), chunk.is_kept_for_readers(NOW + after))
        };
        assert_eq!(kept(720, -1), (true, true));
        assert_eq!(kept(720, 0), (false, true));
        assert_eq!(kept(743, -1), (false, true));
        assert_eq!(kept(743, 0), (false, false));
    }

    #[test]
    fn a_log_begins_at_its_time_or_above_all_that_it_had() {
        let base = Chunk::base(NOW, 5);
        assert_eq!((base.first, base.end()), (0, 1_767_225_600_000_000));
        let above = 1_767_225_600_000_000;
        assert_eq!(Chunk::base(NOW, above - 1).end(), above);
        assert_eq!(Chunk::base(NOW, above).end(), above + 1);
        assert_eq!(base.marks().expect("marks"), Marks::default());
        assert!(base.changes().expect("changes").is_empty());
    }

    #[test]
    fn sequence_numbers_are_numbers_of_any_length() {
        for text in ["", "x", "1x", "-1", " 1"] {
            assert_eq!(SequenceNumber::parse(text), None, "{text:?}");
        }
        assert_eq!(sequence("007"), sequence("7"));
        let sorted = ["0", "1", "9", "10", "99", "9999999999999999999999999999999999999999"];
        for pair in sorted.windows(2) {
            let [one, other] = [0, 1].map(|place| sequence(pair[place]));
            assert!(one < other, "{one:?} {other:?}");
            assert!(other > one, "{one:?} {other:?}");
        }
    }

    #[test]
    fn marks_are_stored_with_the_chunk_and_kept_for_48_hours() {
        let mark = |hours: i64| Mark {
            sequence: sequence("12"),
            at: hours * 3_600_000,
            first: sequence("11"),
            from: 3,
        };
        let marks = Marks::default().with("old", mark(100)).with("other", mark(101));
        let marks = marks.with("one", mark(148));
        assert_eq!(marks.of("old"), Some(&mark(100)));
        let marks = marks.with("one", mark(149));
        assert_eq!((marks.of("old"), marks.of("other")), (None, Some(&mark(101))));
        assert_eq!((marks.of("one"), marks.of("none")), (Some(&mark(149)), None));
        let header = ChunkHeader { first: 1, recorded_at: NOW };
        let (chunk, _) =
            Chunk::of(&header, &[&change(1, 200, true)], |_| marks.clone()).expect("a chunk");
        assert_eq!(chunk.marks().expect("marks"), marks);
    }
}
