//! An import as a job: its identity, its state, and what must be stored of it.
//!
//! A job's identity is its source's: an object's version, a message, an event. A worker claims it with a
//! lease; after each group of lines it stores a checkpoint, and extends the lease. A worker that dies
//! leaves its lease to run out, and the next one continues from the last checkpoint. The group that was
//! under way is done again, which writes nothing twice.

use std::{future::Future, time::Duration};

use jiff::Timestamp;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::{Counts, ImportCost, Kind, snapshot::ExistingRecord};
use crate::{
    account::AccountId,
    order::{Order, Origin},
    text::{hex, spelled_enum},
};

/// The identity of a job within its account: 128 bits of a hash of its source, in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct ImportId(String);

impl ImportId {
    /// The identity of a source, given by what distinguishes it from others.
    #[must_use]
    pub fn of(parts: &[&str]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        }
        Self(hex(&hash.finalize()[..16]))
    }

    /// Parses the hexadecimal form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        (text.len() == 32 && text.bytes().all(digits)).then(|| Self(text.to_owned()))
    }

    /// The hexadecimal form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How far a job is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// The last line that is done.
    pub line: u64,
    /// What became of the lines so far.
    pub counts: Counts,
    /// What they cost so far.
    pub cost: ImportCost,
    /// Parts of the list of errors that are stored.
    pub error_parts: u32,
}

spelled_enum! {
    /// The status of a job.
    pub enum Status {
        /// A worker has it, or died with it.
        Running = "running",
        /// It waits to be continued from its checkpoint.
        Waiting = "waiting",
        /// It is done.
        Done = "done",
        /// Its source cannot be read to its end: what comes before is imported.
        Failed = "failed",
        /// A younger version of its object overtook it: it counts as far as it got.
        Superseded = "superseded",
    }
}

impl Status {
    /// Whether the job has ended.
    #[must_use]
    pub fn is_end(self) -> bool {
        match self {
            Self::Running | Self::Waiting => false,
            Self::Done | Self::Failed | Self::Superseded => true,
        }
    }
}

/// A job as it is stored.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    /// Its identity.
    pub import_id: ImportId,
    /// Its source, for reports and logs.
    pub source: String,
    /// Its status.
    pub status: Status,
    /// How far it is.
    #[serde(flatten)]
    pub progress: Progress,
    /// Errors of rejected lines that are in no stored part yet, as NDJSON.
    #[serde(skip)]
    pub pending_errors: Vec<u8>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The time of its records that have none of their own. It is fixed when the job is first claimed.
    pub source_time: Timestamp,
    /// When it was first claimed.
    pub started_at: Timestamp,
    /// When its state last changed.
    pub updated_at: Timestamp,
}

/// What a worker that wants a job gets.
#[derive(Clone, Debug)]
pub enum Claim {
    /// The job is this worker's, from its checkpoint on.
    Held(Box<Job>),
    /// It has ended already.
    Ended(Box<Job>),
    /// Another worker has it, and its lease holds that much longer.
    Busy(Duration),
}

/// How long a claim holds without being extended; every group and every attempt of one extends it.
pub const LEASE_TERM: Duration = Duration::from_mins(2);

/// A worker's claim on a job.
#[derive(Clone, Debug)]
pub struct Lease {
    /// Whose catalog it is.
    pub account: AccountId,
    /// Which job.
    pub import: ImportId,
    /// A random name of this worker's claim.
    pub holder: String,
    /// How long the claim holds without being extended.
    pub term: Duration,
}

/// What is imported.
#[derive(Clone, Debug)]
pub struct Source {
    /// What distinguishes it from others, for the order of writes, reports and logs: `s3://bucket/key`,
    /// `message <id>`, `event <id>`, `file <path>`.
    pub name: String,
    /// What orders the versions of an object.
    pub version: Option<ObjectVersion>,
    /// What distinguishes its content, where the same job may be told of another one: an object that was
    /// replaced before it was read to its end is read from its beginning.
    pub content: Option<String>,
    /// The time of its records, unless its job has been claimed before.
    pub time: Timestamp,
}

impl Source {
    /// Where its records stand in the order of writes, given the time its job has.
    #[must_use]
    pub fn origin(&self, time: Timestamp) -> Origin {
        let origin = Origin::new(time, &self.name);
        match self.version.as_ref().and_then(|version| version.sequencer.as_deref()) {
            Some(sequencer) => origin.with_sequencer(sequencer),
            None => origin.sequenced_by_time(),
        }
    }
}

/// What orders the versions of an object: the younger one fences off the older one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectVersion {
    /// The event's sequencer (S3), where the version was told by an event.
    pub sequencer: Option<String>,
    /// The last modification.
    pub modified: Timestamp,
}

/// What a worker must know before it writes a group.
#[derive(Clone, Debug, Default)]
pub struct Preflight {
    /// The floors of snapshots, those under way included.
    pub floors: Vec<(Kind, Order)>,
    /// A younger version of the object is known.
    pub is_superseded: bool,
}

/// A job that another worker is running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningJob {
    /// Which job.
    pub import: ImportId,
    /// How often its state was stored: a group that began before has ended once this has grown.
    pub checkpoints: u64,
    /// How long it may still write: as long as its lease holds, and a group that began then.
    pub may_write_for: Duration,
}

/// A page of stored records, where the next one begins, and the read units consumed.
pub type ExistingPage<C> = (Vec<ExistingRecord>, Option<C>, f64);

/// Access pattern: the states of jobs, of object versions and of snapshots, and what a snapshot may
/// remove.
pub trait JobStore: Sync + Sized {
    /// What can go wrong.
    type Error: Send + std::fmt::Display;

    /// Where a list of existing records continues.
    type Cursor: Send;

    /// The time by the store's clock.
    fn now(&self) -> Timestamp;

    /// The same store, trying until this time what the database does not answer.
    #[must_use]
    fn until(&self, deadline: Option<Instant>) -> Self;

    /// Claims a job, and creates it if it is new.
    fn claim(
        &self,
        lease: &Lease,
        source: &Source,
    ) -> impl Future<Output = Result<Claim, Self::Error>> + Send;

    /// Stores a job's state, and extends the lease; `false`: the lease was lost, and nothing is stored.
    fn checkpoint(
        &self,
        lease: &Lease,
        job: &Job,
    ) -> impl Future<Output = Result<bool, Self::Error>> + Send;

    /// Notes the version of an object; `false`: a younger one is known.
    fn note_version(
        &self,
        account: &AccountId,
        name: &str,
        version: &ObjectVersion,
    ) -> impl Future<Output = Result<bool, Self::Error>> + Send;

    /// Reads what must be known before a group is written, consistently.
    fn preflight(
        &self,
        account: &AccountId,
        source: &Source,
    ) -> impl Future<Output = Result<Preflight, Self::Error>> + Send;

    /// Makes a snapshot's order the floor of its kind, until it is ended.
    fn begin_snapshot(
        &self,
        account: &AccountId,
        import: &ImportId,
        snapshot: (Kind, Order),
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Ends a snapshot: its floor stays when it is `done`, and is gone otherwise.
    fn end_snapshot(
        &self,
        account: &AccountId,
        import: &ImportId,
        snapshot: (Kind, Order),
        done: bool,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// The jobs of an account that workers are running now.
    fn running(
        &self,
        account: &AccountId,
    ) -> impl Future<Output = Result<Vec<RunningJob>, Self::Error>> + Send;

    /// A page of what is stored of a kind, read consistently, with where the next one begins and the read
    /// units consumed.
    fn existing(
        &self,
        account: &AccountId,
        kind: Kind,
        after: Option<Self::Cursor>,
    ) -> impl Future<Output = Result<ExistingPage<Self::Cursor>, Self::Error>> + Send;
}
