//! The difference import: records against what is stored, and only differences written.
//!
//! Lines come in groups. For a group the engine reads the content hashes of what is stored (half a
//! read unit per 4 KB of it), decides row by row in order, and writes the last version of each key
//! once. An unchanged row costs no write; a row older than what is stored by its own `updatedAt`
//! is stale and left alone. A record without a time always counts, and leaves the time known before
//! it in force.
//!
//! Reads are eventually consistent, so the engine remembers what it wrote itself of late and trusts
//! that before what it reads.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    future::Future,
    num::NonZeroUsize,
};

use jiff::Timestamp;
use lru::LruCache;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::{Content, Key, Operation, Record};
use crate::{account::AccountId, text::FieldError};

/// A good number of lines for a group: four reads and sixteen writes, several at once.
pub const GROUP_LINES: usize = 400;

/// A hash of what a record said: the first 128 bits of a SHA-256.
pub type ContentHash = [u8; 16];

/// What became of the lines. Every line is in exactly one of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Stored, and new.
    pub created: u64,
    /// Stored in place of another version.
    pub updated: u64,
    /// The same as what is stored.
    pub unchanged: u64,
    /// Older than what is stored.
    pub stale: u64,
    /// Removed.
    pub deleted: u64,
    /// Refused.
    pub failed: u64,
}

impl Counts {
    /// All lines counted.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.created + self.updated + self.unchanged + self.stale + self.deleted + self.failed
    }
}

impl Counts {
    fn add(&mut self, outcome: Outcome) {
        let count = match outcome {
            Outcome::Created => &mut self.created,
            Outcome::Updated => &mut self.updated,
            Outcome::Unchanged => &mut self.unchanged,
            Outcome::Stale => &mut self.stale,
            Outcome::Deleted => &mut self.deleted,
        };
        *count += 1;
    }
}

/// What an import consumed of the database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ImportCost {
    /// Read units.
    pub read_units: f64,
    /// Write units, index entries included.
    pub write_units: f64,
}

/// A line that was refused, and one reason why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LineError {
    /// Its number, from 1.
    pub line: u64,
    /// What is wrong.
    #[serde(flatten)]
    pub error: FieldError,
}

/// What is known of a stored item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The hash of the record it was written from.
    pub content_hash: ContentHash,
    /// When it came to be.
    pub created_at: Timestamp,
    /// The latest `updatedAt` of the records it was written from, where one had any.
    pub source_updated_at: Option<Timestamp>,
}

/// One item to write.
#[derive(Clone, Debug)]
pub enum Write {
    /// Store this version.
    Put {
        /// What to store.
        content: Content,
        /// What to remember of it.
        stored: Stored,
        /// When it is written.
        updated_at: Timestamp,
    },
    /// Remove the item.
    Delete(Key),
}

/// The writes of one group, at most one a key.
pub type ChangeSet = Vec<(Key, Write)>;

/// A write that the database did not take, and the reason to tell.
#[derive(Clone, Debug)]
pub struct RefusedWrite {
    /// What it was about.
    pub key: Key,
    /// Why, in words for the sender.
    pub message: String,
}

/// The access pattern of imports.
pub trait ImportTarget: Sync {
    /// What can go wrong below; it ends the import.
    type Error: Send;

    /// What is stored under these keys (each named once); a key without an item is left out.
    fn stored(
        &self,
        account: &AccountId,
        keys: &[Key],
    ) -> impl Future<Output = Result<(HashMap<Key, Stored>, f64), Self::Error>> + Send;

    /// Writes all of it, with retries, and tells what was not taken and the write units consumed.
    fn write(
        &self,
        account: &AccountId,
        changes: ChangeSet,
    ) -> impl Future<Output = Result<(Vec<RefusedWrite>, f64), Self::Error>> + Send;
}

/// One import into one account.
pub struct Importer<'a, T> {
    target: &'a T,
    account: &'a AccountId,
    dry_run: bool,
    counts: Counts,
    cost: ImportCost,
    /// What this import wrote of late; `None` is a removed item.
    written: LruCache<Key, Option<Stored>>,
}

/// Keys remembered: more than are written within the second or so that a read may lag behind.
const REMEMBERED_KEYS: NonZeroUsize = NonZeroUsize::new(20_000).unwrap();

/// What a row of a group came to, if its key's write succeeds.
#[derive(Clone, Copy)]
enum Outcome {
    Created,
    Updated,
    Unchanged,
    Stale,
    Deleted,
}

impl<'a, T: ImportTarget> Importer<'a, T> {
    /// Starts an import. A dry run does all but write, and counts what would have been written.
    pub fn new(target: &'a T, account: &'a AccountId, dry_run: bool) -> Self {
        let (counts, cost) = (Counts::default(), ImportCost::default());
        let written = LruCache::new(REMEMBERED_KEYS);
        Self { target, account, dry_run, counts, cost, written }
    }

    /// What became of the lines so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// What it consumed so far.
    #[must_use]
    pub fn cost(&self) -> ImportCost {
        self.cost
    }

    /// Counts a line that never became a record.
    pub fn refuse(&mut self) {
        self.counts.failed += 1;
    }

    /// Imports a group of lines (number and content), in order, and returns what was refused.
    ///
    /// # Errors
    /// When the database cannot be read or written at all. The group may then be stored in part;
    /// importing it again is safe.
    pub async fn group(
        &mut self,
        lines: &[(u64, Vec<u8>)],
        now: Timestamp,
    ) -> Result<Vec<LineError>, T::Error> {
        let mut refused = Vec::new();
        let mut records = Vec::with_capacity(lines.len());
        for (line, bytes) in lines {
            match Record::parse(bytes) {
                Ok(record) => records.push((*line, record)),
                Err(errors) => {
                    self.counts.failed += 1;
                    refused
                        .extend(errors.into_iter().map(|error| LineError { line: *line, error }));
                }
            }
        }
        if records.is_empty() {
            return Ok(refused);
        }

        let mut keys: Vec<Key> = Vec::with_capacity(records.len());
        let mut seen = HashSet::with_capacity(records.len());
        for (_, record) in &records {
            if seen.insert(&record.key) {
                keys.push(record.key.clone());
            }
        }
        let (mut state, read_units) = self.target.stored(self.account, &keys).await?;
        self.cost.read_units += read_units;
        for key in &keys {
            match self.written.get(key) {
                Some(Some(stored)) => {
                    state.insert(key.clone(), *stored);
                }
                Some(None) => {
                    state.remove(key);
                }
                None => {}
            }
        }

        let mut writes: HashMap<Key, Write> = HashMap::new();
        let mut outcomes: Vec<(u64, Key, Outcome)> = Vec::with_capacity(records.len());
        for (line, record) in records {
            let key = record.key.clone();
            let (outcome, write) = decide(record, &mut state, now);
            if let Some(write) = write {
                writes.insert(key.clone(), write);
            }
            outcomes.push((line, key, outcome));
        }

        let mut not_taken: HashMap<Key, String> = HashMap::new();
        // In the order of the lines, so that a cut import has stored a beginning.
        let changes: ChangeSet =
            keys.into_iter().filter_map(|key| writes.remove_entry(&key)).collect();
        // Until the write has returned, nobody knows what is stored under these keys.
        let keys_to_write: Vec<Key> = changes.iter().map(|(key, _)| key.clone()).collect();
        for key in &keys_to_write {
            self.written.pop(key);
        }
        if !self.dry_run && !changes.is_empty() {
            let (refusals, write_units) = self.target.write(self.account, changes).await?;
            self.cost.write_units += write_units;
            not_taken.extend(refusals.into_iter().map(|refusal| (refusal.key, refusal.message)));
        }
        for key in keys_to_write.into_iter().filter(|key| !not_taken.contains_key(key)) {
            let stored = state.get(&key).copied();
            self.written.put(key, stored);
        }
        let mut lost = HashSet::new();
        for (line, key, outcome) in outcomes {
            let writes = !matches!(outcome, Outcome::Unchanged | Outcome::Stale);
            // A row that only repeats one whose write was not taken is not stored either.
            match not_taken.get(&key).filter(|_| writes || lost.contains(&key)) {
                Some(message) => {
                    self.counts.failed += 1;
                    refused.push(LineError { line, error: FieldError::new("", message) });
                    lost.insert(key);
                }
                None => self.counts.add(outcome),
            }
        }
        refused.sort_by_key(|refusal| refusal.line);
        Ok(refused)
    }
}

/// What one record does to the state so far, and the write that makes it so.
fn decide(
    record: Record,
    state: &mut HashMap<Key, Stored>,
    now: Timestamp,
) -> (Outcome, Option<Write>) {
    let Record { key, operation, source_updated_at } = record;
    let known = state.entry(key.clone());
    if let (Entry::Occupied(stored), Some(source)) = (&known, source_updated_at)
        && stored.get().source_updated_at.is_some_and(|stored_source| stored_source > source)
    {
        return (Outcome::Stale, None);
    }
    let content = match operation {
        Operation::Upsert(content) => content,
        Operation::Delete => {
            return match known {
                Entry::Occupied(stored) => {
                    stored.remove();
                    (Outcome::Deleted, Some(Write::Delete(key)))
                }
                Entry::Vacant(_) => (Outcome::Unchanged, None),
            };
        }
    };
    let content_hash = hash(&content);
    let updated_at = source_updated_at.unwrap_or(now);
    let source_created_at = match &content {
        Content::Offering(offering) => offering.source_created_at(),
        Content::Promotion(_) => None,
    };
    let (outcome, stored) = match known {
        Entry::Occupied(stored) if stored.get().content_hash == content_hash => {
            return (Outcome::Unchanged, None);
        }
        Entry::Occupied(mut stored) => {
            let created_at = source_created_at.unwrap_or(stored.get().created_at);
            let source_updated_at = source_updated_at.or(stored.get().source_updated_at);
            let version = Stored { content_hash, created_at, source_updated_at };
            stored.insert(version);
            (Outcome::Updated, version)
        }
        Entry::Vacant(place) => {
            let created_at = source_created_at.unwrap_or(now);
            (
                Outcome::Created,
                *place.insert(Stored { content_hash, created_at, source_updated_at }),
            )
        }
    };
    (outcome, Some(Write::Put { content, stored, updated_at }))
}

fn hash(content: &Content) -> ContentHash {
    let digest = Sha256::digest(content.fingerprint_source().as_bytes());
    let mut hash = ContentHash::default();
    hash.copy_from_slice(&digest[..16]);
    hash
}

#[cfg(test)]
mod tests;
