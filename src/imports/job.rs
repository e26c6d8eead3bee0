//! An import as a job: claimed by one worker at a time, checkpointed, resumed, finished once.
//!
//! A job's identity is its source's: an object's version, or a message. Its state is in the journal. A
//! worker claims it with a lease; after each group of lines it stores how far it is, and extends the
//! lease. A worker that dies leaves its lease to run out, and the next delivery goes on from the last
//! checkpoint. The group that was under way is done again, which writes nothing twice.

use std::{
    future::Future,
    io,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::{
    Counts, Group, ImportCost, ImportStore, ImportTarget, Importer, LineError, SourceError,
    replace::Named,
};
use crate::{
    account::AccountId,
    text::{hex, spelled_enum},
};

/// The identity of a job within its account: 128 bits of a hash of its source, in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct ImportId(String);

impl ImportId {
    /// The identity of a source, given by what makes it one and the same.
    #[must_use]
    pub fn of(parts: &[&str]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        }
        Self(hex(&hash.finalize()[..16]))
    }

    /// Reads one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        (text.len() == 32 && text.bytes().all(digits)).then(|| Self(text.to_owned()))
    }

    /// The text.
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
    /// What state a job is in.
    pub enum Status {
        /// A worker has it, or died with it.
        Running = "running",
        /// It waits for its next delivery, to go on from its checkpoint.
        Waiting = "waiting",
        /// It is done.
        Done = "done",
        /// Its source cannot be read to its end: what stands before is imported.
        Failed = "failed",
    }
}

/// A job as the journal has it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    /// Its identity.
    pub import_id: ImportId,
    /// Where it comes from, in words.
    pub source: String,
    /// Its state.
    pub status: Status,
    /// How far it is.
    #[serde(flatten)]
    pub progress: Progress,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When it was first claimed.
    pub started_at: Timestamp,
    /// When its state last changed.
    pub updated_at: Timestamp,
}

/// What a worker that asks for a job gets.
#[derive(Clone, Debug)]
pub enum Claim {
    /// The job, from here on.
    Ours(Box<Job>),
    /// It is finished already.
    Finished,
    /// Another worker has it.
    Busy,
}

/// A worker's hold of a job.
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

/// Access pattern: the states of jobs.
pub trait Journal: Sync {
    /// What can go wrong below.
    type Error: Send;

    /// Claims a job, making it if it is new.
    fn claim(
        &self,
        lease: &Lease,
        source: &str,
    ) -> impl Future<Output = Result<Claim, Self::Error>> + Send;

    /// Stores how far a job is, and its state; `false`: the lease was lost, and nothing is stored.
    fn record(
        &self,
        lease: &Lease,
        status: Status,
        progress: Progress,
        error: Option<&str>,
    ) -> impl Future<Output = Result<bool, Self::Error>> + Send;

    /// Notes the latest event of a source's name; `false`: a later one is known, this one is stale.
    fn note_sequence(
        &self,
        account: &AccountId,
        name: &str,
        sequencer: &str,
    ) -> impl Future<Output = Result<bool, Self::Error>> + Send;
}

/// Where the errors of a job are kept.
pub trait ErrorParts: Sync {
    /// Stores a part of the list of errors under its number.
    fn store(
        &self,
        part: u32,
        errors: &[LineError],
    ) -> impl Future<Output = Result<(), String>> + Send;
}

/// How a job's turn ended.
#[derive(Debug)]
pub enum Ending {
    /// Every line is done.
    Finished,
    /// Time is over: the rest is for the next turn.
    OutOfTime,
    /// The source cannot be read to its end, now or ever.
    Unreadable(SourceError),
    /// The source broke off: the next turn may read it.
    BrokenOff(String),
    /// Another worker took the job over.
    LeaseLost,
}

/// Waits between attempts of a group that the database did not take whole.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Drives a job over the groups of its source, from its checkpoint on, until it ends or `until`.
///
/// A group of which the database did not take a part is tried again until it did, or time is over:
/// then the whole group is left for the next turn, so nothing is dropped and nothing told twice.
///
/// # Errors
/// When the database or the journal cannot be used at all; the job can be claimed again.
pub async fn drive<T, E>(
    target: &T,
    lease: &Lease,
    progress: &mut Progress,
    groups: &mut tokio::sync::mpsc::Receiver<Group>,
    mut named: Option<&mut Named>,
    errors: &impl ErrorParts,
    until: Instant,
) -> Result<Ending, E>
where
    T: Journal<Error = E> + ImportStore + ImportTarget<Error = E>,
{
    let mut importer = Importer::new(target, &lease.account, false);
    importer.resume(progress.counts, progress.cost);
    loop {
        if Instant::now() >= until {
            return Ok(Ending::OutOfTime);
        }
        let Ok(group) = tokio::time::timeout_at(until.into(), groups.recv()).await else {
            return Ok(Ending::OutOfTime);
        };
        if let Some(named) = &mut named {
            // From the first line on, in every turn: what was done before is named, too.
            named.note_group(group.as_ref());
        }
        let (last, refused) = match group {
            Some(Group::End) => return Ok(Ending::Finished),
            None => return Ok(Ending::BrokenOff("its reader ended early".to_owned())),
            Some(Group::Broken(error)) => {
                return Ok(match error.cause.kind() {
                    io::ErrorKind::InvalidData
                    | io::ErrorKind::InvalidInput
                    | io::ErrorKind::UnexpectedEof => Ending::Unreadable(error),
                    _ => Ending::BrokenOff(error.to_string()),
                });
            }
            Some(Group::Refused(line, _)) if line <= progress.line => continue,
            Some(Group::Refused(line, error)) => {
                importer.refuse();
                (line, vec![LineError { line, error }])
            }
            Some(Group::Lines(mut lines)) => {
                lines.retain(|(line, _)| *line > progress.line);
                let Some((last, _)) = lines.last() else { continue };
                let last = *last;
                match whole_group(target, lease, progress, &mut importer, &lines, until).await? {
                    Turn::Done(refused) => (last, refused),
                    Turn::OutOfTime => return Ok(Ending::OutOfTime),
                    Turn::LeaseLost => return Ok(Ending::LeaseLost),
                }
            }
        };
        if !refused.is_empty() {
            if let Err(cause) = errors.store(progress.error_parts, &refused).await {
                return Ok(Ending::BrokenOff(cause));
            }
            progress.error_parts += 1;
        }
        (progress.line, progress.counts, progress.cost) =
            (last, importer.counts(), importer.cost());
        if !target.record(lease, Status::Running, *progress, None).await? {
            return Ok(Ending::LeaseLost);
        }
    }
}

/// What a group came to.
enum Turn {
    Done(Vec<LineError>),
    OutOfTime,
    LeaseLost,
}

/// Imports a group until the database took all of it, or time is over.
async fn whole_group<T, E>(
    target: &T,
    lease: &Lease,
    progress: &Progress,
    importer: &mut Importer<'_, T>,
    lines: &[(u64, Vec<u8>)],
    until: Instant,
) -> Result<Turn, E>
where
    T: Journal<Error = E> + ImportStore + ImportTarget<Error = E>,
{
    let before = importer.counts();
    let mut wait = FIRST_WAIT;
    loop {
        let attempt = importer.group(lines, Timestamp::now());
        let Ok(attempt) = tokio::time::timeout_at(until.into(), attempt).await else {
            return Ok(Turn::OutOfTime);
        };
        let refused = attempt?;
        if !refused.iter().any(LineError::is_temporary) {
            return Ok(Turn::Done(refused));
        }
        importer.resume(before, importer.cost());
        if Instant::now() + wait >= until {
            return Ok(Turn::OutOfTime);
        }
        tokio::time::sleep(wait).await;
        if !target.record(lease, Status::Running, *progress, None).await? {
            return Ok(Turn::LeaseLost);
        }
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}
