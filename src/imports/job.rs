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

impl Job {
    /// A new one, claimed now.
    #[must_use]
    pub fn new(import_id: ImportId, source: &str) -> Self {
        let now = Timestamp::now();
        Self {
            import_id,
            source: source.to_owned(),
            status: Status::Running,
            progress: Progress::default(),
            error: None,
            started_at: now,
            updated_at: now,
        }
    }
}

/// What a worker that asks for a job gets.
#[derive(Clone, Debug)]
pub enum Claim {
    /// The job, from here on.
    Ours(Box<Job>),
    /// It has ended already, in this way.
    Finished(Status),
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

/// A source that no journal keeps: a dry run, or one that cannot be read twice.
impl<J: Journal> Journal for Option<&J> {
    type Error = J::Error;

    async fn claim(&self, lease: &Lease, source: &str) -> Result<Claim, J::Error> {
        match self {
            Some(journal) => journal.claim(lease, source).await,
            None => Ok(Claim::Ours(Box::new(Job::new(lease.import.clone(), source)))),
        }
    }

    async fn record(
        &self,
        lease: &Lease,
        status: Status,
        progress: Progress,
        error: Option<&str>,
    ) -> Result<bool, J::Error> {
        match self {
            Some(journal) => journal.record(lease, status, progress, error).await,
            None => Ok(true),
        }
    }

    async fn note_sequence(
        &self,
        account: &AccountId,
        name: &str,
        sequencer: &str,
    ) -> Result<bool, J::Error> {
        match self {
            Some(journal) => journal.note_sequence(account, name, sequencer).await,
            None => Ok(true),
        }
    }
}

/// Who is told of a job as it goes.
pub trait Observer: Sync {
    /// Takes a part of the list of errors, under its number. The job stops where that fails.
    fn refused(
        &self,
        part: u32,
        errors: &[LineError],
    ) -> impl Future<Output = Result<(), String>> + Send;

    /// A group is done, and stored with how far the job is.
    fn progressed(&self, _progress: &Progress) {}

    /// The database did not take all of a group: it is tried again after this time.
    fn waits(&self, _time: Duration) {}
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

/// A worker's turn at a job.
#[derive(Debug)]
pub struct Turn<'a, J, O> {
    /// Where the job's state is kept.
    pub journal: &'a J,
    /// The worker's hold of the job.
    pub lease: &'a Lease,
    /// When the job was first claimed.
    pub started_at: Timestamp,
    /// Who is told as it goes.
    pub observer: &'a O,
    /// When the turn ends; `None`: with the source.
    pub until: Option<Instant>,
}

impl<J: Journal, O: Observer> Turn<'_, J, O> {
    /// Drives a job over the groups of its source, from its checkpoint on, until it ends or time is over.
    ///
    /// A group of which the database did not take a part is tried again until it did, or time is over:
    /// then the whole group is left for the next turn, so nothing is dropped and nothing told twice.
    ///
    /// To drop this midway is safe, as a crash is: `progress` has the last checkpoint.
    ///
    /// # Errors
    /// When the database or the journal cannot be used at all; the job can be claimed again.
    pub async fn drive<T>(
        &self,
        importer: &mut Importer<'_, T>,
        progress: &mut Progress,
        groups: &mut tokio::sync::mpsc::Receiver<Group>,
        mut named: Option<&mut Named>,
    ) -> Result<Ending, J::Error>
    where
        T: ImportStore + ImportTarget<Error = J::Error>,
    {
        importer.resume(progress.counts, progress.cost);
        importer.name_by(&self.lease.import, self.started_at);
        loop {
            let group = if self.is_over() { None } else { self.in_time(groups.recv()).await };
            let Some(group) = group else { return Ok(Ending::OutOfTime) };
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
                Some(Group::Refused(refusal)) if refusal.line <= progress.line => continue,
                Some(Group::Refused(refusal)) => {
                    importer.refuse();
                    (refusal.line, vec![refusal])
                }
                Some(Group::Lines(mut lines)) => {
                    lines.retain(|(line, _)| *line > progress.line);
                    let Some((last, _)) = lines.last() else { continue };
                    let last = *last;
                    match self.whole_group(importer, progress, &lines).await? {
                        GroupEnd::Done(refused) => (last, refused),
                        GroupEnd::OutOfTime => return Ok(Ending::OutOfTime),
                        GroupEnd::LeaseLost => return Ok(Ending::LeaseLost),
                    }
                }
            };
            if !refused.is_empty() {
                if let Err(cause) = self.observer.refused(progress.error_parts, &refused).await {
                    return Ok(Ending::BrokenOff(cause));
                }
                progress.error_parts += 1;
            }
            (progress.line, progress.counts, progress.cost) =
                (last, importer.counts(), importer.cost());
            if !self.journal.record(self.lease, Status::Running, *progress, None).await? {
                return Ok(Ending::LeaseLost);
            }
            self.observer.progressed(progress);
        }
    }

    /// Imports a group until the database took all of it, or time is over.
    async fn whole_group<T>(
        &self,
        importer: &mut Importer<'_, T>,
        progress: &Progress,
        lines: &[(u64, Vec<u8>)],
    ) -> Result<GroupEnd, J::Error>
    where
        T: ImportStore + ImportTarget<Error = J::Error>,
    {
        let before = importer.counts();
        let mut wait = FIRST_WAIT;
        loop {
            let attempt = Box::pin(importer.group(lines, Timestamp::now()));
            let Some(attempt) = self.in_time(attempt).await else {
                return Ok(GroupEnd::OutOfTime);
            };
            let refused = attempt?;
            if !refused.iter().any(LineError::is_temporary) {
                return Ok(GroupEnd::Done(refused));
            }
            importer.resume(before, importer.cost());
            if self.until.is_some_and(|until| Instant::now() + wait >= until) {
                return Ok(GroupEnd::OutOfTime);
            }
            self.observer.waits(wait);
            tokio::time::sleep(wait).await;
            if !self.journal.record(self.lease, Status::Running, *progress, None).await? {
                return Ok(GroupEnd::LeaseLost);
            }
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    fn is_over(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() >= until)
    }

    /// What comes of it, if that comes before time is over.
    async fn in_time<F: Future>(&self, future: F) -> Option<F::Output> {
        match self.until {
            Some(until) => tokio::time::timeout_at(until.into(), future).await.ok(),
            None => Some(future.await),
        }
    }
}

/// What a group came to.
enum GroupEnd {
    Done(Vec<LineError>),
    OutOfTime,
    LeaseLost,
}
