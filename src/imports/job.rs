//! Import jobs: identity (idempotency), leases, checkpoints, and the store they need.
//!
//! A job's identity is that of its source: a version of an object, a message, an event. A worker claims the
//! job with a lease; after each group of lines it stores a checkpoint, which extends the lease. If a worker
//! dies, its lease expires, and the next worker continues from the last checkpoint. The interrupted group is
//! repeated, which writes nothing twice.

use std::{error::Error, future::Future, time::Duration};

use jiff::Timestamp;
use serde::Serialize;
use tokio::time::Instant;

use super::{Counts, ImportCost, Kind, OrderBy, existing::ExistingRecord};
use crate::{
    account::AccountId,
    cost::Meter,
    order::{Order, Origin},
    source::Format,
    text::{job_id, spelled_enum},
};

job_id! {
    /// The identity of an import within its account: a hash of its source.
    pub struct ImportId;
}

/// What a client wants to have done with its records.
#[derive(Clone, Debug, PartialEq)]
pub struct ImportOptions {
    /// The format of the object; `None`: its first character determines it.
    pub format: Option<Format>,
    /// The kind that the records are all of, and the share of what is stored that may be removed.
    pub replace: Option<(Kind, f64)>,
    pub order_by: OrderBy,
    pub dry_run: bool,
}

/// An import as it was submitted.
#[derive(Clone, Debug, PartialEq)]
pub struct Submission {
    pub options: ImportOptions,
    /// The declared length of the object in bytes.
    pub length: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// The last completed line.
    pub line: u64,
    /// The outcomes of the lines so far.
    pub counts: Counts,
    pub cost: ImportCost,
    /// How many parts of the error list are stored.
    pub error_parts: u32,
}

spelled_enum! {
    pub enum Status {
        /// A worker holds it, or held it when it died.
        Running = "running",
        /// It waits to be continued from its checkpoint.
        Waiting = "waiting",
        Done = "done",
        /// Its source cannot be read to the end: what comes before the unreadable place is imported.
        Failed = "failed",
        /// A newer version of its object or a newer snapshot of its kind replaced it: what it wrote remains.
        Superseded = "superseded",
    }
}

impl Status {
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
    pub import_id: ImportId,
    /// Its source, for reports and logs.
    pub source: String,
    pub status: Status,
    #[serde(flatten)]
    pub progress: Progress,
    /// Errors of rejected lines that are not in a stored part yet, as NDJSON.
    #[serde(skip)]
    pub pending_errors: Vec<u8>,
    /// Why it failed or was superseded, or why its snapshot removed nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The time of records that have none of their own. The first claim fixes it.
    pub source_time: Timestamp,
    /// When it was submitted, or else first claimed.
    pub created_at: Timestamp,
    /// When it was first claimed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When its state last changed.
    pub updated_at: Timestamp,
    /// What a client submitted over HTTP; `None`: it has another source.
    #[serde(skip)]
    pub submission: Option<Submission>,
}

/// The result of claiming a job.
#[derive(Clone, Debug)]
pub enum Claim {
    /// This worker holds the job, and continues from its checkpoint.
    Held(Box<Job>),
    /// The job has already ended.
    Ended(Box<Job>),
    /// Another worker holds it; that lease expires after this time.
    Busy(Duration),
}

/// How long a claim is valid unless it is extended; every group, and every retry of one, extends it.
pub const LEASE_TERM: Duration = Duration::from_mins(2);

/// A worker's claim on a job.
#[derive(Clone, Debug)]
pub struct Lease {
    pub account: AccountId,
    pub import: ImportId,
    /// A random name for this claim.
    pub holder: String,
    /// How long the claim is valid unless it is extended.
    pub term: Duration,
}

#[derive(Clone, Debug)]
pub struct Source {
    /// Its name, which is part of its records' orders and appears in reports and logs: `s3://bucket/key`,
    /// `message <id>`, `event <id>`, `file <path>`.
    pub name: String,
    /// The version of the object, if it is one.
    pub version: Option<ObjectVersion>,
    /// Identifies its content; `None`: the content cannot change. An object that was replaced before it was
    /// read to its end is read again from its beginning.
    pub content: Option<String>,
    /// The time of its records, unless an earlier claim of the job has fixed another one.
    pub time: Timestamp,
}

impl Source {
    /// A source that is no object: its content cannot change.
    #[must_use]
    pub fn named(name: String, time: Timestamp) -> Self {
        Self { name, version: None, content: None, time }
    }

    /// The origin of its records in the order of writes, given the source time of its job.
    #[must_use]
    pub fn origin(&self, time: Timestamp) -> Origin {
        let origin = Origin::new(time, &self.name);
        match self.version.as_ref().and_then(|version| version.sequencer.as_deref()) {
            Some(sequencer) => origin.with_sequencer(sequencer),
            None => origin.sequenced_by_time(),
        }
    }
}

/// The position of a version among the versions of its object: a newer version supersedes an older one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectVersion {
    /// The sequencer of the S3 event that announced the version, if there is one.
    pub sequencer: Option<String>,
    pub modified: Timestamp,
}

/// What a worker reads before it writes a group.
#[derive(Clone, Debug, Default)]
pub struct Precheck {
    /// The floors of snapshots, including those in progress.
    pub floors: Vec<(Kind, Order)>,
    /// Whether a newer version of the object is known.
    pub is_superseded: bool,
}

/// A job that another worker is running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningJob {
    pub import: ImportId,
    /// How often its state was stored: once this has grown, any group that began before has ended.
    pub checkpoints: u64,
    /// How long it may still write: until its lease expires, plus the time of a group that began just then.
    pub may_write_for: Duration,
}

/// A page of stored records, and the cursor of the next page.
pub type ExistingPage<C> = (Vec<ExistingRecord>, Option<C>);

/// Access pattern: the states of jobs, of object versions and of snapshots, and the stored records that a
/// snapshot may remove.
pub trait JobStore: Sync + Sized {
    type Error: Error + Send + Sync + 'static;

    /// The cursor of a list of existing records.
    type Cursor: Send;

    /// The time by the store's clock.
    fn now(&self) -> Timestamp;

    /// The same store, but requests that the database does not answer are retried until this time.
    #[must_use]
    fn until(&self, deadline: Option<Instant>) -> Self;

    /// The same store, for the records of an import: its requests are counted by this meter and limited with those of
    /// the account, and what it writes says which import it comes from.
    #[must_use]
    fn for_records(&self, lease: &Lease, meter: &Meter) -> Self;

    /// Claims a job, and creates it if it is new.
    fn claim(
        &self,
        lease: &Lease,
        source: &Source,
    ) -> impl Future<Output = Result<Claim, Self::Error>> + Send;

    /// Stores a job's state and extends the lease. `false`: the lease was lost, and nothing was stored.
    fn checkpoint(
        &self,
        lease: &Lease,
        job: &Job,
    ) -> impl Future<Output = Result<bool, Self::Error>> + Send;

    /// Records the version of an object. `false`: a newer one is known.
    fn note_version(
        &self,
        account: &AccountId,
        name: &str,
        version: &ObjectVersion,
    ) -> impl Future<Output = Result<bool, Self::Error>> + Send;

    /// Reads, consistently, what a worker must know before it writes a group.
    fn precheck(
        &self,
        account: &AccountId,
        source: &Source,
    ) -> impl Future<Output = Result<Precheck, Self::Error>> + Send;

    /// Makes a snapshot's order the floor of its kind, until the snapshot ends.
    fn begin_snapshot(
        &self,
        account: &AccountId,
        import: &ImportId,
        snapshot: (Kind, Order),
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Ends a snapshot: its floor stays if it is `done`, and is removed otherwise.
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

    /// A page of the stored records of a kind, read consistently, with the cursor of the next page.
    fn existing(
        &self,
        account: &AccountId,
        kind: Kind,
        after: Option<Self::Cursor>,
    ) -> impl Future<Output = Result<ExistingPage<Self::Cursor>, Self::Error>> + Send;
}
