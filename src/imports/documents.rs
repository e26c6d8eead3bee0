//! Imports documents, each stored as one item: offerings, promotions, partner offerings and exchange rates.
//!
//! The items under the keys of a group are read consistently, the outcome of each record is decided in order,
//! and the last version of each key is written once, on the condition that nothing newer is stored. The read
//! must be consistent, because it decides that a record is unchanged: an eventually consistent read could
//! return the version before the last one, and so lose a revert or a delete.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::{future::Future, num::NonZeroUsize};

use jiff::Timestamp;
use lru::LruCache;

use super::{
    Content, DocumentKey, DocumentRecord, ExportedRecords, Mode, Operation, Ordered, RecordChange,
    line::{Expected, LineOutcome, resolve},
};
use crate::{
    account::AccountId,
    offerings::StoredOffering,
    order::Order,
    outcome::{Outcome, WriteError},
    text::sha256_prefix,
};

/// A hash of a record's content: the first 128 bits of a SHA-256.
pub type ContentHash = [u8; 16];

/// What is stored under a key. Without a version it is a tombstone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// The order of the write; `None` if it was written before writes had one.
    pub order: Option<Order>,
    pub version: Option<Version>,
    /// What was read.
    pub before: Before,
}

/// What was stored under a key when it was read. An offering's entries are changed from it, on the condition
/// that it is still there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Before {
    /// The order of its write.
    pub order: Option<Order>,
    /// The offering, without its document.
    pub offering: Option<Arc<StoredOffering>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// The hash of the record it was written from.
    pub content_hash: ContentHash,
    pub created_at: Timestamp,
}

/// One conditional write of an item.
#[derive(Clone, Debug)]
pub struct Write {
    pub order: Order,
    /// What to store; `None`: replace what is stored with a tombstone.
    pub version: Option<(Content, Version)>,
    /// What was stored when its record was compared.
    pub before: Before,
}

/// The writes of one group, at most one per key.
pub type ChangeSet = Vec<(DocumentKey, Write)>;

/// The writes that were not stored, and why.
pub type NotStored = Vec<(DocumentKey, WriteError)>;

/// Access pattern of imports: documents.
pub trait DocumentStore: Sync {
    /// An error that ends the import.
    type Error: Send;

    /// The stored versions under these keys, read consistently. The keys must be distinct; keys without an
    /// item are omitted.
    fn stored(
        &self,
        account: &AccountId,
        keys: &[DocumentKey],
    ) -> impl Future<Output = Result<HashMap<DocumentKey, Stored>, Self::Error>> + Send;

    /// Writes each change unless something newer is stored. Returns the writes that were not stored, with the
    /// reasons.
    fn write(
        &self,
        account: &AccountId,
        changes: ChangeSet,
    ) -> impl Future<Output = Result<NotStored, Self::Error>> + Send;
}

/// The importer of documents.
pub(super) struct DocumentRecords<'a, T> {
    target: &'a T,
    account: &'a AccountId,
    mode: Mode,
    /// What a dry run would have stored so far; `None` if this is not a dry run.
    dry_run: Option<Trials>,
}

/// How many keys a dry run keeps, and how many bytes of the documents that it shows.
const DRY_RUN_CACHE: NonZeroUsize = NonZeroUsize::new(20_000).unwrap();
const DRY_RUN_BYTES: usize = 64 * 1024 * 1024;

/// How many stored documents are in memory at the same time to show differences; each has up to 400 KB.
const SHOWN_AT_ONCE: usize = 50;

/// A document as an export writes it; `None`: there is none.
type Exported = Option<Arc<str>>;

/// What a dry run would have stored under a key.
struct Trial {
    stored: Stored,
    /// Only if differences are shown.
    record: Exported,
}

impl Trial {
    fn bytes(&self) -> usize {
        self.record.as_ref().map_or(0, |record| record.len())
    }
}

/// What a dry run would have stored; the least recently used are forgotten.
struct Trials {
    kept: LruCache<DocumentKey, Trial>,
    /// The sum of their bytes.
    bytes: usize,
}

impl Trials {
    fn put(&mut self, key: DocumentKey, trial: Trial) {
        self.bytes += trial.bytes();
        // What it replaces, or what makes room for it.
        if let Some((_, gone)) = self.kept.push(key, trial) {
            self.bytes -= gone.bytes();
        }
        while self.bytes > DRY_RUN_BYTES {
            let Some((_, gone)) = self.kept.pop_lru() else { break };
            self.bytes -= gone.bytes();
        }
    }
}

/// A change to show.
struct Shown {
    line: u64,
    key: DocumentKey,
    outcome: Outcome,
    /// What it replaces; `None`: what is stored, which is yet to be read.
    old: Option<Exported>,
    new: Exported,
}

impl<'a, T> DocumentRecords<'a, T>
where
    T: DocumentStore + ExportedRecords<Error = <T as DocumentStore>::Error>,
{
    pub(super) fn new(target: &'a T, account: &'a AccountId, mode: Mode) -> Self {
        let trials = || Trials { kept: LruCache::new(DRY_RUN_CACHE), bytes: 0 };
        Self { target, account, mode, dry_run: mode.is_dry_run().then(trials) }
    }

    /// Imports records in the order of their lines.
    pub(super) async fn import(
        &mut self,
        records: Vec<Ordered<DocumentRecord>>,
        changes: &mut Vec<RecordChange>,
    ) -> Result<Vec<LineOutcome>, <T as DocumentStore>::Error> {
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let mut keys: Vec<DocumentKey> = Vec::with_capacity(records.len());
        let mut seen = HashSet::with_capacity(records.len());
        for Ordered { record, .. } in &records {
            if seen.insert(&record.key) {
                keys.push(record.key.clone());
            }
        }
        let mut stored = self.target.stored(self.account, &keys).await?;
        // Documents that differ from what is stored, because of earlier lines.
        let mut tried: HashMap<DocumentKey, Exported> = HashMap::new();
        if let Some(trials) = &mut self.dry_run {
            for key in &keys {
                if let Some(trial) = trials.kept.get(key) {
                    stored.insert(key.clone(), trial.stored.clone());
                    tried.insert(key.clone(), trial.record.clone());
                }
            }
        }

        let mut shown = Vec::new();
        let mut writes: HashMap<DocumentKey, Write> = HashMap::new();
        let mut expected = Vec::with_capacity(records.len());
        for Ordered { line, order, record } in records {
            let key = record.key.clone();
            let (outcome, write) = decide(record, order, &mut stored);
            expected.push(Expected { line, key: key.clone(), outcome, writes: write.is_some() });
            let Some(write) = write else { continue };
            if self.mode == Mode::Diff && outcome.is_change() {
                let new = self.exported(&key, &write)?;
                let old = tried.insert(key.clone(), new.clone());
                let old = if outcome == Outcome::Created { Some(None) } else { old };
                shown.push(Shown { line, key: key.clone(), outcome, old, new });
            }
            writes.insert(key, write);
        }
        self.show(&shown, changes).await?;
        // In the order of the lines, so that an interrupted import has stored the first lines.
        let writes: ChangeSet =
            keys.into_iter().filter_map(|key| writes.remove_entry(&key)).collect();
        let mut not_stored = HashMap::new();
        if let Some(trials) = &mut self.dry_run {
            for (key, _) in writes {
                if let Some(version) = stored.get(&key) {
                    // Nothing is written, so what was read is not needed again.
                    let stored = Stored { before: Before::default(), ..version.clone() };
                    let record = tried.remove(&key).flatten();
                    trials.put(key, Trial { stored, record });
                }
            }
        } else if !writes.is_empty() {
            not_stored.extend(self.target.write(self.account, writes).await?);
        }
        Ok(resolve(expected, &not_stored))
    }

    /// What an export would write after a write.
    fn exported(
        &self,
        key: &DocumentKey,
        write: &Write,
    ) -> Result<Exported, <T as DocumentStore>::Error> {
        let Some(version) = &write.version else { return Ok(None) };
        let record = self.target.document(self.account, key, write.order, version.clone())?;
        Ok(record.map(Arc::from))
    }

    /// Compares changed documents with what they replace. Of the stored documents it reads only these.
    async fn show(
        &self,
        shown: &[Shown],
        changes: &mut Vec<RecordChange>,
    ) -> Result<(), <T as DocumentStore>::Error> {
        for shown in shown.chunks(SHOWN_AT_ONCE) {
            let unknown = shown.iter().filter(|shown| shown.old.is_none());
            let unknown: Vec<DocumentKey> = unknown.map(|shown| shown.key.clone()).collect();
            let mut stored = HashMap::new();
            if !unknown.is_empty() {
                stored = self.target.stored_documents(self.account, &unknown).await?;
            }
            for Shown { line, key, outcome, old, new } in shown {
                let old = match old {
                    Some(old) => old.as_deref(),
                    None => stored.get(key).map(String::as_str),
                };
                let identity = (key.kind(), key.identity());
                let states = (old, new.as_deref());
                changes.push(RecordChange::new(identity, *line, *outcome, states));
            }
        }
        Ok(())
    }
}

/// Decides the outcome of one record, and the write it needs.
fn decide(
    DocumentRecord { key, operation }: DocumentRecord,
    order: Order,
    stored: &mut HashMap<DocumentKey, Stored>,
) -> (Outcome, Option<Write>) {
    let known = stored.get(&key).cloned().unwrap_or_default();
    let version = known.version;
    let is_stale = known.order > Some(order);
    let (outcome, version) = match operation {
        Operation::Upsert(content) => {
            let content_hash = sha256_prefix(content.hashed_content());
            if version.is_some_and(|version| version.content_hash == content_hash) {
                return (Outcome::Unchanged, None);
            }
            if is_stale {
                return (Outcome::Stale, None);
            }
            let created_at = content
                .source_created_at()
                .or(version.map(|version| version.created_at))
                .unwrap_or_else(|| order.time());
            let outcome = if version.is_some() { Outcome::Updated } else { Outcome::Created };
            (outcome, Some((content, Version { content_hash, created_at })))
        }
        Operation::Delete if is_stale => return (Outcome::Stale, None),
        Operation::Delete if version.is_some() => (Outcome::Deleted, None),
        // This same delete is stored already.
        Operation::Delete if known.order == Some(order) => {
            return (Outcome::Unchanged, None);
        }
        // A tombstone is written even if nothing was stored, because an older record may still arrive.
        Operation::Delete => (Outcome::Unchanged, None),
    };
    let remembered = version.as_ref().map(|(_, version)| *version);
    let before = known.before;
    stored.insert(key, Stored { order: Some(order), version: remembered, before: before.clone() });
    (outcome, Some(Write { order, version, before }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offerings::PromoCode;

    #[test]
    fn a_dry_run_keeps_no_more_documents_than_fit_and_forgets_what_is_long_unused() {
        let mut trials = Trials { kept: LruCache::new(DRY_RUN_CACHE), bytes: 0 };
        let key = |code: &str| DocumentKey::Promotion(PromoCode::parse(code).expect("code"));
        let half: Exported = Some("x".repeat(DRY_RUN_BYTES / 2).into());
        for code in ["A", "B", "A"] {
            trials.put(key(code), Trial { stored: Stored::default(), record: half.clone() });
        }
        assert_eq!(trials.bytes, DRY_RUN_BYTES, "what is replaced does not count");
        let small = Trial { stored: Stored::default(), record: Some("x".into()) };
        trials.put(key("C"), small);
        assert!(trials.kept.get(&key("B")).is_none());
        assert_eq!((trials.kept.len(), trials.bytes), (2, DRY_RUN_BYTES / 2 + 1));
    }
}
