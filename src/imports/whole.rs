//! Records that are stored as they were sent, each a whole item: offerings, promotions, partner
//! offerings and exchange rates.
//!
//! For a group of records the content hashes of what is stored are read (half a read unit per 4 KB of
//! it), each record is decided in order, and the last version of each key is written once. A record
//! without a time always counts, and leaves the time known before it in force.
//!
//! Reads are eventually consistent, so an import remembers what it wrote itself of late and trusts
//! that before what it reads.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    future::Future,
    num::NonZeroUsize,
};

use jiff::Timestamp;
use lru::LruCache;
use sha2::{Digest as _, Sha256};

use super::{
    Content, ImportCost, Key, Operation, WholeRecord,
    engine::{Outcome, Verdict, judge},
};
use crate::{account::AccountId, refusal::NotTaken};

/// A hash of what a record said: the first 128 bits of a SHA-256.
pub type ContentHash = [u8; 16];

/// What is known of a stored item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The hash of the record it was written from.
    pub content_hash: ContentHash,
    /// When it came to be.
    pub created_at: Timestamp,
    /// When it last changed: by its source's word, or when it was written.
    pub updated_at: Timestamp,
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
        /// Only over an item that is not younger; `None`: over any.
        guard: Option<Timestamp>,
    },
    /// Remove the item.
    Delete {
        /// Only one that is not younger; `None`: any.
        guard: Option<Timestamp>,
    },
}

impl Write {
    /// The time that an item must not be younger than to be written over; `None`: this write always
    /// counts.
    #[must_use]
    pub fn guard(&self) -> Option<Timestamp> {
        match self {
            Self::Put { guard, .. } | Self::Delete { guard } => *guard,
        }
    }

    /// The same write after a removal that has not been written yet: what that would have removed may
    /// be as young as it allows.
    fn after_removal(mut self, removal: Option<Timestamp>) -> Self {
        let (Self::Put { guard, .. } | Self::Delete { guard }) = &mut self;
        *guard = removal.and_then(|removal| guard.map(|guard| guard.max(removal)));
        self
    }
}

/// The writes of one group, at most one a key.
pub type ChangeSet = Vec<(Key, Write)>;

/// A write that the database did not take.
#[derive(Clone, Debug)]
pub struct RefusedWrite {
    /// What it was about.
    pub key: Key,
    /// Why.
    pub why: NotTaken,
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

    /// Writes all of it, with retries, and tells what was not taken and the write units consumed. Never
    /// over an item that is younger than the write ([`Write::guard`]): another import of the
    /// same record was faster.
    fn write(
        &self,
        account: &AccountId,
        changes: ChangeSet,
    ) -> impl Future<Output = Result<(Vec<RefusedWrite>, f64), Self::Error>> + Send;
}

/// The records of one import that are stored as they were sent.
pub(super) struct WholeRecords<'a, T> {
    target: &'a T,
    account: &'a AccountId,
    dry_run: bool,
    /// What this import wrote of late; `None` is a removed item.
    written: LruCache<Key, Option<Stored>>,
}

/// Keys remembered: more than are written within the second or so that a read may lag behind.
const REMEMBERED_KEYS: NonZeroUsize = NonZeroUsize::new(20_000).unwrap();

impl<'a, T: ImportTarget> WholeRecords<'a, T> {
    /// A dry run does all but write.
    pub(super) fn new(target: &'a T, account: &'a AccountId, dry_run: bool) -> Self {
        Self { target, account, dry_run, written: LruCache::new(REMEMBERED_KEYS) }
    }

    /// Imports records, by their lines, in order.
    ///
    /// # Errors
    /// When the database cannot be read or written at all.
    pub(super) async fn import(
        &mut self,
        records: Vec<(u64, WholeRecord)>,
        now: Timestamp,
        cost: &mut ImportCost,
    ) -> Result<Vec<(u64, Verdict)>, T::Error> {
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let mut keys: Vec<Key> = Vec::with_capacity(records.len());
        let mut seen = HashSet::with_capacity(records.len());
        for (_, record) in &records {
            if seen.insert(&record.key) {
                keys.push(record.key.clone());
            }
        }
        let (mut state, read_units) = self.target.stored(self.account, &keys).await?;
        cost.read_units += read_units;
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
        // What was removed within the group, and how young that may have been.
        let mut removed: HashMap<Key, Option<Timestamp>> = HashMap::new();
        let mut outcomes: Vec<(u64, Key, Outcome)> = Vec::with_capacity(records.len());
        for (line, record) in records {
            let key = record.key.clone();
            let (outcome, write) = decide(record, &mut state, now);
            if let Some(mut write) = write {
                if let Some(removal) = removed.get(&key) {
                    write = write.after_removal(*removal);
                }
                if let Write::Delete { guard } = write {
                    removed.insert(key.clone(), guard);
                }
                writes.insert(key.clone(), write);
            }
            outcomes.push((line, key, outcome));
        }

        let mut not_taken: HashMap<Key, NotTaken> = HashMap::new();
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
            cost.write_units += write_units;
            not_taken.extend(refusals.into_iter().map(|refusal| (refusal.key, refusal.why)));
        }
        for key in keys_to_write.into_iter().filter(|key| !not_taken.contains_key(key)) {
            let stored = state.get(&key).copied();
            self.written.put(key, stored);
        }
        Ok(judge(outcomes, &not_taken))
    }
}

/// What one record does to the state so far, and the write that makes it so.
fn decide(
    record: WholeRecord,
    state: &mut HashMap<Key, Stored>,
    now: Timestamp,
) -> (Outcome, Option<Write>) {
    let WholeRecord { key, operation, source_updated_at } = record;
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
                    (Outcome::Deleted, Some(Write::Delete { guard: source_updated_at }))
                }
                Entry::Vacant(_) => (Outcome::Unchanged, None),
            };
        }
    };
    let content_hash = hash(&content);
    let updated_at = source_updated_at.unwrap_or(now);
    let source_created_at = match &content {
        Content::Offering(offering) => offering.source_created_at(),
        Content::Promotion(_) | Content::PartnerOffering(_) | Content::ExchangeRate(_) => None,
    };
    let (outcome, stored) = match known {
        Entry::Occupied(stored)
            if stored.get().content_hash == content_hash
                // A younger record of the same content moves the time that outdates others.
                && source_updated_at <= stored.get().source_updated_at =>
        {
            return (Outcome::Unchanged, None);
        }
        Entry::Occupied(mut stored) => {
            let created_at = source_created_at.unwrap_or(stored.get().created_at);
            let source_updated_at = source_updated_at.or(stored.get().source_updated_at);
            let version = Stored { content_hash, created_at, updated_at, source_updated_at };
            stored.insert(version);
            (Outcome::Updated, version)
        }
        Entry::Vacant(place) => {
            let created_at = source_created_at.unwrap_or(now);
            (
                Outcome::Created,
                *place.insert(Stored { content_hash, created_at, updated_at, source_updated_at }),
            )
        }
    };
    let guard = stored.source_updated_at;
    (outcome, Some(Write::Put { content, stored, guard }))
}

fn hash(content: &Content) -> ContentHash {
    let digest = Sha256::digest(content.fingerprint_source().as_bytes());
    let mut hash = ContentHash::default();
    hash.copy_from_slice(&digest[..16]);
    hash
}
