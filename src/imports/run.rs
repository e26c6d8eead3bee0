//! One run of a job: claimed, driven group by group, checkpointed, its snapshot ended, reported, ended.
//!
//! The queue's function, the operator's tool and the sample all import through [`run`]. Trouble ends in
//! the run that meets it: what the database, the bucket or the report's store does not do is tried again
//! until the run's time is over, and only then is the job left for another run.

use std::{fmt, io, time::Duration};

use serde::Serialize;
use tokio::time::Instant;

use super::{
    Counts, DocumentStore, Floors, GeneratedIds, ImportCost, ImportStore, Importer, Kind,
    LineError, OrderBy, Ordered, Ordering, Record,
    job::{Claim, ImportId, Job, JobStore, Lease, Progress, RunningJob, Source, Status},
    snapshot::{ExistingRecord, Snapshot},
};
use crate::{
    order::Order,
    retry::{Patience, jittered},
    source::{GROUP_LINES, Group, GroupStream, Line, SourceError},
    text::rfc3339_millis,
};

/// The longest that a group may be under way before it begins anew: a snapshot waits for the groups that
/// began before it. A group that is done again finds what it has written.
pub const GROUP_TIME: Duration = Duration::from_secs(30);

/// The size at which errors of rejected lines become a part of their list, in bytes. What is smaller is
/// kept with the checkpoint: a part per checkpoint would cost more than the lines.
const ERROR_PART_BYTES: usize = 32 * 1024;

/// How often a snapshot looks whether groups that began before it have ended.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// How long the first wait before a group is tried again may be, and the longest.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// What to import, and how.
#[derive(Clone, Debug)]
pub struct Request {
    /// The worker's claim on the job.
    pub lease: Lease,
    /// The source.
    pub source: Source,
    /// Which time orders its records.
    pub order_by: OrderBy,
    /// What names products without keys; `None`: the job itself.
    pub ids: Option<GeneratedIds>,
    /// Do all but write.
    pub dry_run: bool,
    /// Whether the job's state is stored: a dry run leaves no trace.
    pub is_stored: bool,
    /// When the run must have ended its groups; `None`: with the source.
    pub deadline: Option<Instant>,
}

/// How long after its deadline a run may still store the job's state and its report.
pub const CLOSING_TIME: Duration = Duration::from_secs(8);

/// A snapshot, and whether this source is the last that tells what it names.
#[derive(Debug)]
pub struct SnapshotPart<'a> {
    /// The snapshot.
    pub snapshot: &'a mut Snapshot,
    /// Whether what was not named is removed after this source.
    pub is_last: bool,
}

/// Whoever follows a job: shows its progress, stores its report.
pub trait Observer: Sync {
    /// Lines were rejected.
    fn rejected(&self, _errors: &[LineError]) {}

    /// A checkpoint was stored.
    fn progressed(&self, _progress: &Progress) {}

    /// The database did not store all of a group; it is tried again after this time.
    fn waits(&self, _time: Duration) {}

    /// Stores a part of the list of errors, as NDJSON. The same part may come again.
    fn store_errors(
        &self,
        _part: u32,
        _errors: Vec<u8>,
    ) -> impl Future<Output = Result<(), String>> + Send {
        async { Ok(()) }
    }

    /// Stores the report of a job that ends.
    fn store_report(&self, _report: Report<'_>) -> impl Future<Output = Result<(), String>> + Send {
        async { Ok(()) }
    }
}

/// The report of a job that ends.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report<'a> {
    import_id: &'a ImportId,
    account: &'a str,
    source: &'a str,
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    lines: u64,
    counts: Counts,
    cost: ImportCost,
    started_at: String,
    finished_at: String,
    duration_ms: i64,
    /// The objects that list every rejected line: the observer names them.
    pub errors: Vec<String>,
    /// How many there are.
    #[serde(skip)]
    pub error_parts: u32,
}

/// How a run ended.
#[derive(Debug)]
pub enum End {
    /// The job has ended: in this run, which began at this progress, or before.
    Ended(Box<Job>, Option<Progress>),
    /// Another worker has the job, and its lease holds that much longer.
    Busy(Duration),
    /// The run's time is over, or it was in trouble until then; another run continues the job.
    Unfinished {
        /// The job.
        job: Box<Job>,
        /// The progress this run began at.
        before: Progress,
        /// Why it could not go on.
        cause: Interruption,
    },
}

/// Why a run could not go on.
#[derive(Debug, thiserror::Error)]
pub enum Interruption {
    /// Its time is over.
    #[error("the time is over after line {0}")]
    DeadlineReached(u64),
    /// The source broke off.
    #[error("the source broke off: {0}")]
    SourceBroken(String),
    /// The database was not available.
    #[error("{0}")]
    Database(String),
    /// The report or a part of it was not stored.
    #[error("the report was not stored: {0}")]
    Report(String),
}

/// Why a run stops before its job is done.
enum Stop {
    /// The source cannot be read to its end, now or later.
    Unreadable(SourceError),
    /// A younger version of the object, or a younger snapshot of the kind, takes its place.
    Superseded,
    /// Another worker took the job over.
    LeaseLost,
    /// Another run continues.
    Interrupted(Interruption),
}

impl From<Interruption> for Stop {
    fn from(cause: Interruption) -> Self {
        Self::Interrupted(cause)
    }
}

impl From<SourceError> for Stop {
    /// What a source that cannot be read further means for its job.
    fn from(error: SourceError) -> Self {
        match error.cause.kind() {
            io::ErrorKind::InvalidData
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::UnexpectedEof => Self::Unreadable(error),
            _ => Interruption::SourceBroken(error.to_string()).into(),
        }
    }
}

/// What is written in one go, again and again until all of it is stored.
#[derive(Clone, Copy)]
enum Batch<'a> {
    /// Lines of the source.
    Lines(&'a [Line]),
    /// Removals of what a snapshot does not name.
    Removals(&'a [Ordered<Record>]),
}

/// Imports a source: claims its job, drives it from its checkpoint to its end or to the deadline, and
/// ends it with a report.
///
/// To drop the future midway is safe, as a crash is.
///
/// # Errors
/// When the job could not be claimed.
pub async fn run<S, O>(
    store: &S,
    request: &Request,
    open: impl FnOnce() -> GroupStream,
    mut snapshot: Option<SnapshotPart<'_>>,
    observer: &O,
) -> Result<End, <S as JobStore>::Error>
where
    S: ImportStore + DocumentStore<Error = <S as JobStore>::Error> + JobStore,
    O: Observer,
{
    let Request { lease, source, deadline, .. } = request;
    let closing = store.until(deadline.map(|deadline| deadline + CLOSING_TIME));
    let store = store.until(*deadline);
    let claim = if request.is_stored {
        store.claim(lease, source).await?
    } else {
        Claim::Held(Box::new(new_job(lease, source)))
    };
    let job = match claim {
        Claim::Busy(left) => return Ok(End::Busy(left)),
        Claim::Ended(job) => {
            if let Some(part) = snapshot.as_mut().filter(|part| !part.is_last) {
                // It still tells what is to stay.
                part.snapshot.begin(&job.import_id, source.origin(job.source_time).order(0));
                let mut groups = open();
                while let Some(group @ Group::Lines(_)) = groups.next().await {
                    part.snapshot.note_group(Some(&group));
                }
            }
            return Ok(End::Ended(job, None));
        }
        Claim::Held(job) => *job,
    };
    let before = job.progress;
    let origin = source.origin(job.source_time);
    let own = snapshot
        .as_mut()
        .map(|part| (part.snapshot.kind(), part.snapshot.begin(&lease.import, origin.order(0))));
    let ids = request.ids.clone().unwrap_or_else(|| GeneratedIds {
        seed: lease.import.as_str().to_owned(),
        time: job.source_time,
    });
    let ordering = Ordering { origin, order_by: request.order_by, snapshot: own, ids };
    let importer = Importer::new(&store, &lease.account, ordering, request.dry_run);
    let extended_at = Instant::now();
    let mut run =
        Run { store: &store, closing: &closing, request, observer, importer, job, extended_at };
    run.importer.resume(before.counts, before.cost);
    let driven = Box::pin(run.drive(open, snapshot.as_mut())).await;
    Ok(Box::pin(run.end(driven, before, snapshot)).await)
}

fn new_job(lease: &Lease, source: &Source) -> Job {
    Job {
        import_id: lease.import.clone(),
        source: source.name.clone(),
        status: Status::Running,
        progress: Progress::default(),
        pending_errors: Vec::new(),
        error: None,
        source_time: source.time,
        started_at: source.time,
        updated_at: source.time,
    }
}

/// A run under way.
struct Run<'a, S, O> {
    store: &'a S,
    /// The store for what must still be stored after the deadline.
    closing: &'a S,
    request: &'a Request,
    observer: &'a O,
    importer: Importer<'a, S>,
    job: Job,
    /// When the lease was last extended.
    extended_at: Instant,
}

impl<S, O> Run<'_, S, O>
where
    S: ImportStore + DocumentStore<Error = <S as JobStore>::Error> + JobStore,
    O: Observer,
{
    /// Drives the job to the end of its source, and removes what its snapshot does not name.
    async fn drive(
        &mut self,
        open: impl FnOnce() -> GroupStream,
        mut part: Option<&mut SnapshotPart<'_>>,
    ) -> Result<(), Stop> {
        let earlier = self.begin(part.as_deref()).await?;
        let mut groups = open();
        loop {
            if self.is_over() {
                return Err(self.over().into());
            }
            let group = within(self.request.deadline, groups.next()).await;
            let group = group.ok_or_else(|| self.over())?;
            if let Some(part) = &mut part {
                // From the first line on, in every run: what was done before is named, too.
                part.snapshot.note_group(group.as_ref());
            }
            let mut lines = match group {
                Some(Group::Lines(lines)) => lines,
                Some(Group::End) => break,
                Some(Group::Broken(error)) => return Err(error.into()),
                None => {
                    let cause = "its reader ended early".to_owned();
                    return Err(Interruption::SourceBroken(cause).into());
                }
            };
            let done = self.job.progress.line;
            lines.retain(|(line, _)| *line > done);
            // Reading takes time, too: the lease must hold for the group.
            self.extend_lease().await?;
            let Some(last) = lines.last().map(|(line, _)| *line) else { continue };
            let errors = self.store_batch(Batch::Lines(&lines)).await?;
            self.advance(last, &errors).await?;
        }
        match part {
            Some(part) if part.is_last => self.finish_snapshot(part.snapshot, earlier).await,
            _ => Ok(()),
        }
    }

    /// Announces the version and the snapshot. Returns the jobs whose groups may have begun before the
    /// snapshot.
    async fn begin(&self, part: Option<&SnapshotPart<'_>>) -> Result<Vec<RunningJob>, Stop> {
        let Request { lease, source, dry_run, .. } = self.request;
        if *dry_run {
            return Ok(Vec::new());
        }
        if let Some(version) = &source.version {
            let noted = self.store.note_version(&lease.account, &source.name, version).await;
            if !noted.map_err(database_failed)? {
                return Err(Stop::Superseded);
            }
        }
        let Some((snapshot, (import, order))) =
            part.and_then(|part| Some((&*part.snapshot, part.snapshot.begun()?)))
        else {
            return Ok(Vec::new());
        };
        let floor = (snapshot.kind(), order);
        let begun = self.store.begin_snapshot(&lease.account, import, floor).await;
        begun.map_err(database_failed)?;
        let running = self.store.running(&lease.account).await;
        let mut running = running.map_err(database_failed)?;
        running.retain(|job| job.import != lease.import);
        Ok(running)
    }

    /// Writes a batch until the database stored all of it; returns the errors of rejected lines.
    async fn store_batch(&mut self, batch: Batch<'_>) -> Result<Vec<LineError>, Stop> {
        let deadline = self.request.deadline;
        let (counts, mut wait) = (self.importer.counts(), FIRST_WAIT);
        loop {
            let attempt = tokio::time::timeout(GROUP_TIME, self.attempt(batch));
            let attempt = within(deadline, attempt).await.ok_or_else(|| self.over())?;
            // Where its time is over it begins anew, and looks at the floors again.
            if let Ok(errors) = attempt {
                let errors = errors?;
                if !errors.iter().any(LineError::is_temporary) {
                    return Ok(errors);
                }
            }
            self.importer.resume(counts, self.importer.cost());
            let pause = jittered(wait);
            if deadline.is_some_and(|deadline| Instant::now() + pause >= deadline) {
                return Err(self.over().into());
            }
            self.observer.waits(pause);
            tokio::time::sleep(pause).await;
            self.checkpoint().await?;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// Writes a batch once; lines under the floors of this moment.
    async fn attempt(&mut self, batch: Batch<'_>) -> Result<Vec<LineError>, Stop> {
        let errors = match batch {
            Batch::Removals(records) => self.importer.records(records.to_vec()).await,
            Batch::Lines(lines) => {
                let Request { lease, source, dry_run, .. } = self.request;
                let preflight = self.store.preflight(&lease.account, source).await;
                let preflight = preflight.map_err(database_failed)?;
                if preflight.is_superseded && !dry_run {
                    return Err(Stop::Superseded);
                }
                let mut floors = Floors::default();
                for (kind, order) in preflight.floors {
                    floors.raise(kind, order);
                }
                Box::pin(self.importer.group(lines, &floors)).await
            }
        };
        errors.map_err(database_failed)
    }

    /// Stores that the lines up to this one are done, and their errors.
    async fn advance(&mut self, line: u64, errors: &[LineError]) -> Result<(), Stop> {
        if !errors.is_empty() {
            self.observer.rejected(errors);
            let before = self.job.pending_errors.len();
            for error in errors {
                append_error(&mut self.job.pending_errors, error);
            }
            if self.job.pending_errors.len() >= ERROR_PART_BYTES
                && let Err(cause) = self.store_pending_errors(self.request.deadline).await
            {
                // The lines are not done: another run lists their errors.
                self.job.pending_errors.truncate(before);
                return Err(cause.into());
            }
        }
        let progress = &mut self.job.progress;
        progress.line = line;
        (progress.counts, progress.cost) = (self.importer.counts(), self.importer.cost());
        self.checkpoint().await?;
        self.observer.progressed(&self.job.progress);
        Ok(())
    }

    async fn store_pending_errors(
        &mut self,
        deadline: Option<Instant>,
    ) -> Result<(), Interruption> {
        let part = self.job.progress.error_parts;
        let store = || self.observer.store_errors(part, self.job.pending_errors.clone());
        persistently(deadline, store).await.map_err(Interruption::Report)?;
        self.job.progress.error_parts += 1;
        self.job.pending_errors.clear();
        Ok(())
    }

    /// Extends the lease where a part of it is over.
    async fn extend_lease(&mut self) -> Result<(), Stop> {
        if self.extended_at.elapsed() < self.request.lease.term / 4 {
            return Ok(());
        }
        self.checkpoint().await
    }

    async fn checkpoint(&mut self) -> Result<(), Stop> {
        if !self.request.is_stored {
            return Ok(());
        }
        let now = Instant::now();
        let stored = self.store.checkpoint(&self.request.lease, &self.job).await;
        if !stored.map_err(database_failed)? {
            return Err(Stop::LeaseLost);
        }
        self.extended_at = now;
        Ok(())
    }

    /// Removes what the snapshot does not name. Before that it waits until no group that began before
    /// the snapshot can still write: those did not know its floor.
    async fn finish_snapshot(
        &mut self,
        snapshot: &Snapshot,
        earlier: Vec<RunningJob>,
    ) -> Result<(), Stop> {
        let Some((_, order)) = snapshot.begun() else { return Ok(()) };
        if !self.request.dry_run {
            self.wait_for(earlier).await?;
        }
        let (mut stored, mut unnamed, mut after) = (0_u64, 0_u64, None);
        loop {
            self.look_for_younger(snapshot, order).await?;
            let (page, next) = self.existing(snapshot, after).await?;
            stored += u64::try_from(page.len()).unwrap_or(u64::MAX);
            let removed = page.iter().filter(|existing| snapshot.removes(existing)).count();
            unnamed += u64::try_from(removed).unwrap_or(u64::MAX);
            after = next;
            if after.is_none() {
                break;
            }
        }
        self.job.error = snapshot.objection(unnamed, stored);
        if self.job.error.is_some() {
            return Ok(());
        }
        // No more than was counted: what is stored meanwhile is not part of the share.
        loop {
            let (page, next) = self.existing(snapshot, after).await?;
            let mut removals = Vec::new();
            for existing in page {
                let is_counted = snapshot.removes(&existing);
                if is_counted && unnamed == 0 || !is_counted && !snapshot.reaches_into(&existing) {
                    continue;
                }
                unnamed -= u64::from(is_counted);
                removals.extend(existing.removal(order));
            }
            for removals in removals.chunks(GROUP_LINES) {
                self.look_for_younger(snapshot, order).await?;
                let errors = self.store_batch(Batch::Removals(removals)).await?;
                self.advance(self.job.progress.line, &errors).await?;
            }
            after = next;
            if after.is_none() {
                break;
            }
        }
        Ok(())
    }

    /// Removes nothing more once a younger version of the object, or a younger snapshot of the kind, is
    /// known: what that names stays, also where a record's own time is earlier.
    async fn look_for_younger(&self, snapshot: &Snapshot, order: Order) -> Result<(), Stop> {
        let Request { lease, source, .. } = self.request;
        let preflight = self.store.preflight(&lease.account, source).await;
        let preflight = preflight.map_err(database_failed)?;
        let is_younger = |(kind, floor): &(Kind, Order)| *kind == snapshot.kind() && *floor > order;
        if preflight.is_superseded || preflight.floors.iter().any(is_younger) {
            return Err(Stop::Superseded);
        }
        Ok(())
    }

    /// Waits until jobs that were running have checkpointed, or their leases have run out.
    async fn wait_for(&mut self, mut earlier: Vec<RunningJob>) -> Result<(), Stop> {
        let begun = Instant::now();
        while !earlier.is_empty() {
            let running = self.store.running(&self.request.lease.account).await;
            let running = running.map_err(database_failed)?;
            let still = |job: &RunningJob| {
                let same = |now: &&RunningJob| now.import == job.import;
                let now = running.iter().find(same);
                now.is_some_and(|now| now.checkpoints == job.checkpoints)
                    && begun.elapsed() < job.may_write_for
            };
            earlier.retain(still);
            if earlier.is_empty() {
                break;
            }
            if self.is_over() {
                return Err(self.over().into());
            }
            tokio::time::sleep(POLL_INTERVAL).await;
            self.checkpoint().await?;
        }
        Ok(())
    }

    async fn existing(
        &mut self,
        snapshot: &Snapshot,
        after: Option<S::Cursor>,
    ) -> Result<(Vec<ExistingRecord>, Option<S::Cursor>), Stop> {
        if self.is_over() {
            return Err(self.over().into());
        }
        let account = &self.request.lease.account;
        let page = self.store.existing(account, snapshot.kind(), after).await;
        let (page, next, read_units) = page.map_err(database_failed)?;
        let counts = self.importer.counts();
        let cost = self.importer.cost() + ImportCost { read_units, write_units: 0.0 };
        self.importer.resume(counts, cost);
        self.checkpoint().await?;
        Ok((page, next))
    }

    /// Ends the run, and with it the job unless another run continues it.
    async fn end(
        mut self,
        driven: Result<(), Stop>,
        before: Progress,
        part: Option<SnapshotPart<'_>>,
    ) -> End {
        match self.end_job(driven, part).await {
            Ok(()) => End::Ended(Box::new(self.job), Some(before)),
            Err(Stop::Interrupted(cause)) => self.unfinished(before, cause).await,
            // The other two have ended the job.
            Err(Stop::LeaseLost | Stop::Superseded | Stop::Unreadable(_)) => {
                End::Busy(Duration::ZERO)
            }
        }
    }

    /// Ends the job: its snapshot first, then the report, since a job that has ended has one.
    async fn end_job(
        &mut self,
        driven: Result<(), Stop>,
        part: Option<SnapshotPart<'_>>,
    ) -> Result<(), Stop> {
        let status = match driven {
            Ok(()) => Status::Done,
            Err(Stop::Superseded) => {
                self.job.error =
                    Some("a younger version or a younger snapshot has taken its place".to_owned());
                Status::Superseded
            }
            Err(Stop::Unreadable(error)) => {
                self.job.error = Some(error.to_string());
                Status::Failed
            }
            Err(stop @ (Stop::LeaseLost | Stop::Interrupted(_))) => return Err(stop),
        };
        let Request { lease, dry_run, is_stored, deadline, .. } = self.request;
        let is_snapshot_done = status == Status::Done && self.job.error.is_none();
        if let Some(part) = part.filter(|part| part.is_last || !is_snapshot_done)
            && let Some((import, order)) = part.snapshot.begun()
            && !dry_run
        {
            let floor = (part.snapshot.kind(), order);
            let ended =
                self.closing.end_snapshot(&lease.account, import, floor, is_snapshot_done).await;
            ended.map_err(database_failed)?;
        }
        self.report(status, deadline.map(|deadline| deadline + CLOSING_TIME)).await?;
        self.job.status = status;
        if *is_stored {
            let stored = self.closing.checkpoint(lease, &self.job).await;
            if !stored.map_err(database_failed)? {
                return Err(Stop::LeaseLost);
            }
        }
        Ok(())
    }

    async fn report(
        &mut self,
        status: Status,
        deadline: Option<Instant>,
    ) -> Result<(), Interruption> {
        if !self.job.pending_errors.is_empty() {
            self.store_pending_errors(deadline).await?;
        }
        let Job { import_id, progress, error, started_at, .. } = &self.job;
        let now = self.store.now().max(*started_at);
        let report = Report {
            import_id,
            account: self.request.lease.account.as_str(),
            source: &self.request.source.name,
            status,
            error: error.as_deref(),
            lines: progress.counts.total(),
            counts: progress.counts,
            cost: progress.cost,
            started_at: rfc3339_millis(*started_at),
            finished_at: rfc3339_millis(now),
            duration_ms: now.as_millisecond() - started_at.as_millisecond(),
            errors: Vec::new(),
            error_parts: progress.error_parts,
        };
        let store = || self.observer.store_report(report.clone());
        persistently(deadline, store).await.map_err(Interruption::Report)
    }

    /// Leaves the job for another run.
    async fn unfinished(mut self, before: Progress, cause: Interruption) -> End {
        self.job.status = Status::Waiting;
        if self.request.is_stored {
            // Where this is not stored, the lease runs out by itself.
            let _ = self.closing.checkpoint(&self.request.lease, &self.job).await;
        }
        End::Unfinished { job: Box::new(self.job), before, cause }
    }

    fn is_over(&self) -> bool {
        self.request.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    fn over(&self) -> Interruption {
        Interruption::DeadlineReached(self.job.progress.line)
    }
}

/// The output of a future, unless the time is over before.
async fn within<F: Future>(deadline: Option<Instant>, future: F) -> Option<F::Output> {
    match deadline {
        Some(deadline) => tokio::time::timeout_at(deadline, future).await.ok(),
        None => Some(future.await),
    }
}

fn database_failed(error: impl fmt::Display) -> Stop {
    Interruption::Database(error.to_string()).into()
}

/// Stores something, again and again until that succeeds or the time is over.
async fn persistently<F>(deadline: Option<Instant>, store: impl Fn() -> F) -> Result<(), String>
where
    F: Future<Output = Result<(), String>>,
{
    deadline.map_or(Patience::REQUEST, Patience::Until).retry(store, |_| true).await
}

/// Appends a rejected line to the list of errors: one JSON object per line.
fn append_error(list: &mut Vec<u8>, error: &LineError) {
    // Texts and numbers: serializing them cannot fail.
    let _ = serde_json::to_writer(&mut *list, error);
    list.push(b'\n');
}
