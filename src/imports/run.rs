//! One run of a job: claim it, write its groups with a checkpoint after each, end its snapshot, store its
//! report, end it.
//!
//! The queue's function, the operator's tool and the import of the sample data all use [`run`]. Temporary
//! failures are handled within the run: what the database, the bucket or the store for reports does not do is
//! retried until the run's deadline. Only then is the job left for another run.

use std::{io, time::Duration};

use tokio::time::Instant;

use super::{
    DocumentStore, GeneratedIds, ImportCost, ImportStore, Importer, Kind, LineError, Mode, OrderBy,
    Ordered, Ordering, Record,
    existing::ExistingRecord,
    job::{Claim, Job, JobStore, Lease, Progress, RunningJob, Source, Status},
    report::{Report, Reporter},
    snapshot::Snapshot,
};
use crate::{
    cause::Cause,
    cost::Meter,
    order::Order,
    retry::{Patience, jittered},
    source::{GROUP_LINES, Group, GroupStream, Line, SourceError},
    text::random_name,
};

/// How long an attempt to write a group may take before it is abandoned and the group starts again. It is
/// limited because a snapshot waits for the groups that began before it. A repeated group finds what it
/// has already written.
pub const GROUP_TIMEOUT: Duration = Duration::from_secs(30);

/// The size, in bytes, at which the errors of rejected lines are stored as a part of the error list. Until
/// then they are kept in the checkpoint: one part per checkpoint would cost more than the lines.
const ERROR_PART_BYTES: usize = 32 * 1024;

/// How often a snapshot checks whether the groups that began before it have ended.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// The upper limits of the first and of the longest wait before a group is retried.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// What to import, and how.
#[derive(Clone, Debug)]
pub struct Request {
    pub lease: Lease,
    pub source: Source,
    pub order_by: OrderBy,
    /// What generates the ids of products; `None`: those without keys get theirs from the job.
    pub ids: Option<GeneratedIds>,
    pub mode: Mode,
    /// Whether the job's state is stored; a dry run stores nothing.
    pub is_stored: bool,
    /// When the run must stop writing groups; `None`: at the end of the source.
    pub deadline: Option<Instant>,
}

/// How long after its deadline a run may still store the job's state and its report.
pub const CLOSING_TIME: Duration = Duration::from_secs(8);

/// A snapshot, which may have several sources, and whether this source is its last.
#[derive(Debug)]
pub struct SnapshotPart<'a> {
    pub snapshot: &'a mut Snapshot,
    /// Whether the records missing from the snapshot are removed after this source.
    pub is_last: bool,
}

/// How a run ended.
#[derive(Debug)]
pub enum End {
    /// The job has ended. With the progress at which this run began; `None`: it had ended before this run.
    Ended(Box<Job>, Option<Progress>),
    /// Another worker holds the job; that lease expires after this time.
    Busy(Duration),
    /// The run could not complete the job; another run continues it.
    Unfinished {
        job: Box<Job>,
        /// The progress at which this run began.
        before: Progress,
        /// Why it could not continue.
        cause: Interruption,
    },
}

/// Why a run could not continue.
#[derive(Debug, thiserror::Error)]
pub enum Interruption {
    /// It reached its deadline, after this line.
    #[error("the deadline was reached after line {0}")]
    DeadlineReached(u64),
    /// Reading the source failed midway.
    #[error("reading the source failed midway")]
    SourceInterrupted(#[source] Cause),
    /// The database was not available.
    #[error("the database failed")]
    Database(#[source] Cause),
    /// The report or a part of it was not stored.
    #[error("the report was not stored")]
    Report(#[source] Cause),
}

/// Why a run stops before its job is complete.
enum Stop {
    /// The source can never be read to its end.
    Unreadable(SourceError),
    /// A newer version of the object, or a newer snapshot of the kind, replaces it.
    Superseded,
    /// Another worker took over the job.
    LeaseLost,
    /// Another run continues the job.
    Interrupted(Interruption),
}

impl From<Interruption> for Stop {
    fn from(cause: Interruption) -> Self {
        Self::Interrupted(cause)
    }
}

impl From<SourceError> for Stop {
    /// Decides whether a source that cannot be read further is unreadable for good, or only for now.
    fn from(error: SourceError) -> Self {
        match error.cause.kind() {
            io::ErrorKind::InvalidData
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::UnexpectedEof => Self::Unreadable(error),
            _ => Interruption::SourceInterrupted(error.into()).into(),
        }
    }
}

/// What is written together, and retried until all of it is stored.
#[derive(Clone, Copy)]
enum Batch<'a> {
    /// Lines of the source.
    Lines(&'a [Line]),
    /// Removals of records that are missing from a snapshot.
    Removals(&'a [Ordered<Record>]),
}

/// Imports a source: claims its job, continues from the checkpoint to the end of the source or to the
/// deadline, and ends the job with a report.
///
/// Cancellation-safe: dropping the future midway is as safe as a crash.
///
/// # Errors
/// When the job could not be claimed.
pub async fn run<S, O>(
    store: &S,
    request: &Request,
    open: impl FnOnce() -> GroupStream,
    mut snapshot: Option<SnapshotPart<'_>>,
    reporter: &O,
) -> Result<End, <S as JobStore>::Error>
where
    S: ImportStore + DocumentStore<Error = <S as JobStore>::Error> + JobStore,
    O: Reporter,
{
    let Request { lease, source, deadline, .. } = request;
    let closing = store.until(deadline.map(|deadline| deadline + CLOSING_TIME));
    let store = store.until(*deadline);
    let claim = if request.is_stored {
        store.claim(lease, source).await?
    } else {
        Claim::Held(Box::new(new_job(lease, source)))
    };
    let mut job = match claim {
        Claim::Busy(left) => return Ok(End::Busy(left)),
        Claim::Ended(job) => {
            if let Some(part) = snapshot.as_mut().filter(|part| !part.is_last) {
                // Its records still count as seen: the snapshot must not remove them.
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
    if request.mode.is_dry_run() {
        // What it has tried is remembered by the run alone: it begins at the first line again.
        job.progress = Progress::default();
        job.pending_errors.clear();
    }
    let before = job.progress;
    let origin = source.origin(job.source_time);
    let own = snapshot
        .as_mut()
        .map(|part| (part.snapshot.kind(), part.snapshot.begin(&lease.import, origin.order(0))));
    let ids = request.ids.clone().unwrap_or_else(|| GeneratedIds {
        seed: lease.import.as_str().to_owned(),
        time: job.source_time,
        run: random_name(),
    });
    let ordering = Ordering { origin, order_by: request.order_by, snapshot: own, ids };
    let meter = Meter::default();
    let records = store.for_records(lease, &meter);
    let importer = Importer::new(&records, &lease.account, ordering, request.mode);
    let extended_at = Instant::now();
    let mut run = Run {
        store: &store,
        records: &records,
        closing: &closing,
        request,
        reporter,
        importer,
        meter,
        cost_before: before.cost,
        job,
        extended_at,
    };
    run.importer.resume(before.counts);
    let written = Box::pin(run.write_groups(open, snapshot.as_mut())).await;
    Ok(Box::pin(run.end(written, before, snapshot)).await)
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
        created_at: source.time,
        started_at: Some(source.time),
        updated_at: source.time,
        submission: None,
    }
}

/// A run in progress.
struct Run<'a, S, O> {
    /// For the state of the job.
    store: &'a S,
    /// The same store, for the records: their cost is that of the import.
    records: &'a S,
    /// The same store with a later deadline, for the job's last state and its report.
    closing: &'a S,
    request: &'a Request,
    reporter: &'a O,
    importer: Importer<'a, S>,
    meter: Meter,
    /// What earlier runs of the job consumed.
    cost_before: ImportCost,
    job: Job,
    /// When the lease was last extended.
    extended_at: Instant,
}

impl<S, O> Run<'_, S, O>
where
    S: ImportStore + DocumentStore<Error = <S as JobStore>::Error> + JobStore,
    O: Reporter,
{
    /// Writes the job's groups to the end of its source, then removes what is missing from its snapshot.
    async fn write_groups(
        &mut self,
        open: impl FnOnce() -> GroupStream,
        mut part: Option<&mut SnapshotPart<'_>>,
    ) -> Result<(), Stop> {
        let earlier = self.begin(part.as_deref()).await?;
        let mut groups = open();
        loop {
            if self.is_over() {
                return Err(self.deadline_reached().into());
            }
            let group = within(self.request.deadline, groups.next()).await;
            let group = group.ok_or_else(|| self.deadline_reached())?;
            if let Some(part) = &mut part {
                // Every run records all lines from the first: lines completed by an earlier run count as seen, too.
                part.snapshot.note_group(group.as_ref());
            }
            let mut lines = match group {
                Some(Group::Lines(lines)) => lines,
                Some(Group::End) => break,
                Some(Group::Broken(error)) => return Err(error.into()),
                None => {
                    return Err(
                        Interruption::SourceInterrupted("its reader ended early".into()).into()
                    );
                }
            };
            let done = self.job.progress.line;
            lines.retain(|(line, _)| *line > done);
            // Reading takes time, too, and the lease must be valid while the group is written.
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

    /// Records the version of the object and begins the snapshot. Returns the other running jobs: their
    /// groups may have begun before the snapshot.
    async fn begin(&self, part: Option<&SnapshotPart<'_>>) -> Result<Vec<RunningJob>, Stop> {
        let Request { lease, source, mode, .. } = self.request;
        if mode.is_dry_run() {
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

    /// Writes a batch, and retries until all of it is stored. Returns the errors of rejected lines.
    async fn store_batch(&mut self, batch: Batch<'_>) -> Result<Vec<LineError>, Stop> {
        let deadline = self.request.deadline;
        let (counts, mut wait) = (self.importer.counts(), FIRST_WAIT);
        // A dry run remembers what it has tried, so it tries nothing twice; and no snapshot waits for it.
        let limit = if self.request.mode.is_dry_run() { Duration::MAX } else { GROUP_TIMEOUT };
        loop {
            let attempt = tokio::time::timeout(limit, self.attempt(batch));
            let attempt = within(deadline, attempt).await.ok_or_else(|| self.deadline_reached())?;
            // An attempt that timed out is repeated, and reads the floors again.
            if let Ok(errors) = attempt {
                let errors = errors?;
                if !errors.iter().any(LineError::is_temporary) {
                    return Ok(errors);
                }
            }
            self.importer.resume(counts);
            let pause = jittered(wait);
            if deadline.is_some_and(|deadline| Instant::now() + pause >= deadline) {
                return Err(self.deadline_reached().into());
            }
            self.reporter.waits(pause);
            tokio::time::sleep(pause).await;
            self.checkpoint().await?;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// Makes one attempt to write a batch. Lines are compared with the current floors.
    async fn attempt(&mut self, batch: Batch<'_>) -> Result<Vec<LineError>, Stop> {
        let errors = match batch {
            Batch::Removals(records) => self.importer.import_records(records.to_vec()).await,
            Batch::Lines(lines) => {
                let Request { lease, source, mode, .. } = self.request;
                let precheck = self.store.precheck(&lease.account, source).await;
                let precheck = precheck.map_err(database_failed)?;
                if precheck.is_superseded && !mode.is_dry_run() {
                    return Err(Stop::Superseded);
                }
                Box::pin(self.importer.import_group(lines, &precheck.floors)).await
            }
        };
        errors.map_err(database_failed)
    }

    /// Stores a checkpoint: the lines up to this one are complete, with these errors.
    async fn advance(&mut self, line: u64, errors: &[LineError]) -> Result<(), Stop> {
        if !errors.is_empty() {
            self.reporter.rejected(errors);
            let before = self.job.pending_errors.len();
            for error in errors {
                append_error(&mut self.job.pending_errors, error);
            }
            if self.job.pending_errors.len() >= ERROR_PART_BYTES
                && let Err(cause) = self.store_pending_errors(self.request.deadline).await
            {
                // The lines do not count as completed: another run lists their errors.
                self.job.pending_errors.truncate(before);
                return Err(cause.into());
            }
        }
        let progress = &mut self.job.progress;
        progress.line = line;
        progress.counts = self.importer.counts();
        progress.cost = self.cost_before + self.meter.cost().into();
        self.checkpoint().await?;
        self.reporter.changed(&self.importer.take_changes());
        self.reporter.progressed(&self.job.progress);
        Ok(())
    }

    async fn store_pending_errors(
        &mut self,
        deadline: Option<Instant>,
    ) -> Result<(), Interruption> {
        let part = self.job.progress.error_parts;
        let store = || self.reporter.store_errors(part, self.job.pending_errors.clone());
        retry_until(deadline, store).await.map_err(Interruption::Report)?;
        self.job.progress.error_parts += 1;
        self.job.pending_errors.clear();
        Ok(())
    }

    /// Extends the lease once a quarter of it has passed.
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

    /// Removes the records that are missing from the snapshot. Before that it waits until no group that
    /// began before the snapshot can still write: such groups did not know its floor.
    async fn finish_snapshot(
        &mut self,
        snapshot: &Snapshot,
        earlier: Vec<RunningJob>,
    ) -> Result<(), Stop> {
        let Some((_, order)) = snapshot.begun() else { return Ok(()) };
        if !self.request.mode.is_dry_run() {
            self.wait_for(earlier).await?;
        }
        let (mut stored, mut missing, mut after) = (0_u64, 0_u64, None);
        loop {
            self.check_superseded(snapshot, order).await?;
            let (page, next) = self.existing(snapshot, after).await?;
            stored += u64::try_from(page.len()).unwrap_or(u64::MAX);
            let removed = page.iter().filter(|existing| snapshot.removes(existing)).count();
            missing += u64::try_from(removed).unwrap_or(u64::MAX);
            after = next;
            if after.is_none() {
                break;
            }
        }
        self.job.error = snapshot.reason_to_keep(missing, stored);
        if self.job.error.is_some() {
            return Ok(());
        }
        // Remove no more than were counted: the share did not include what has been stored since.
        loop {
            let (page, next) = self.existing(snapshot, after).await?;
            let mut removals = Vec::new();
            for existing in page {
                let is_counted = snapshot.removes(&existing);
                if is_counted && missing == 0
                    || !is_counted && !snapshot.removes_parts_of(&existing)
                {
                    continue;
                }
                missing -= u64::from(is_counted);
                removals.extend(existing.removal(order));
            }
            for removals in removals.chunks(GROUP_LINES) {
                self.check_superseded(snapshot, order).await?;
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

    /// Stops the removals once a newer version of the object, or a newer snapshot of the kind, is known: the
    /// records that it contains must stay, even those whose own time is earlier.
    async fn check_superseded(&self, snapshot: &Snapshot, order: Order) -> Result<(), Stop> {
        let Request { lease, source, .. } = self.request;
        let precheck = self.store.precheck(&lease.account, source).await;
        let precheck = precheck.map_err(database_failed)?;
        let is_newer = |(kind, floor): &(Kind, Order)| *kind == snapshot.kind() && *floor > order;
        if precheck.is_superseded || precheck.floors.iter().any(is_newer) {
            return Err(Stop::Superseded);
        }
        Ok(())
    }

    /// Waits until every job that was running has stored a checkpoint, or can no longer write.
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
                return Err(self.deadline_reached().into());
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
            return Err(self.deadline_reached().into());
        }
        let account = &self.request.lease.account;
        let page = self.records.existing(account, snapshot.kind(), after).await;
        let page = page.map_err(database_failed)?;
        self.checkpoint().await?;
        Ok(page)
    }

    /// Ends the run. Ends the job, too, unless another run continues it.
    async fn end(
        mut self,
        written: Result<(), Stop>,
        before: Progress,
        part: Option<SnapshotPart<'_>>,
    ) -> End {
        match self.end_job(written, part).await {
            Ok(()) => End::Ended(Box::new(self.job), Some(before)),
            Err(Stop::Interrupted(cause)) => self.unfinished(before, cause).await,
            // Only `LeaseLost` reaches this arm: `end_job` ends the job in the other two cases.
            Err(Stop::LeaseLost | Stop::Superseded | Stop::Unreadable(_)) => {
                End::Busy(Duration::ZERO)
            }
        }
    }

    /// Ends the job: first its snapshot, then its report, then its status. So every ended job has a report.
    async fn end_job(
        &mut self,
        written: Result<(), Stop>,
        part: Option<SnapshotPart<'_>>,
    ) -> Result<(), Stop> {
        let status = match written {
            Ok(()) => Status::Done,
            Err(Stop::Superseded) => {
                self.job.error =
                    Some("a newer version or a newer snapshot has taken its place".to_owned());
                Status::Superseded
            }
            Err(Stop::Unreadable(error)) => {
                self.job.error = Some(error.to_string());
                Status::Failed
            }
            // Another run would begin at the first line again.
            Err(Stop::Interrupted(cause @ Interruption::DeadlineReached(_)))
                if self.request.mode.is_dry_run() =>
            {
                self.job.error = Some(format!("a dry run must end within one run: {cause}"));
                Status::Failed
            }
            Err(stop @ (Stop::LeaseLost | Stop::Interrupted(_))) => return Err(stop),
        };
        let Request { lease, mode, is_stored, deadline, .. } = self.request;
        let is_snapshot_done = status == Status::Done && self.job.error.is_none();
        if let Some(part) = part.filter(|part| part.is_last || !is_snapshot_done)
            && let Some((import, order)) = part.snapshot.begun()
            && !mode.is_dry_run()
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
        let Request { lease, source, .. } = self.request;
        let origin = (&lease.account, source.name.as_str());
        let report = Report::new(&self.job, origin, status, self.store.now());
        let store = || self.reporter.store_report(report.clone());
        retry_until(deadline, store).await.map_err(Interruption::Report)
    }

    /// Leaves the job for another run.
    async fn unfinished(mut self, before: Progress, cause: Interruption) -> End {
        self.job.status = Status::Waiting;
        if self.request.is_stored {
            // If this fails, the lease expires by itself.
            let _ = self.closing.checkpoint(&self.request.lease, &self.job).await;
        }
        End::Unfinished { job: Box::new(self.job), before, cause }
    }

    fn is_over(&self) -> bool {
        self.request.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    fn deadline_reached(&self) -> Interruption {
        Interruption::DeadlineReached(self.job.progress.line)
    }
}

/// The output of a future; `None`: the deadline came first.
async fn within<F: Future>(deadline: Option<Instant>, future: F) -> Option<F::Output> {
    match deadline {
        Some(deadline) => tokio::time::timeout_at(deadline, future).await.ok(),
        None => Some(future.await),
    }
}

fn database_failed(error: impl Into<Cause>) -> Stop {
    Interruption::Database(error.into()).into()
}

/// Stores something, and retries until it succeeds or the deadline passes. Without a deadline the number of
/// attempts is limited.
async fn retry_until<F>(deadline: Option<Instant>, store: impl Fn() -> F) -> Result<(), Cause>
where
    F: Future<Output = Result<(), Cause>>,
{
    deadline.map_or(Patience::REQUEST, Patience::Until).retry(store, |_| true).await
}

/// Appends a rejected line to the list of errors: one JSON object per line.
fn append_error(list: &mut Vec<u8>, error: &LineError) {
    // Serializing strings and numbers cannot fail.
    let _ = serde_json::to_writer(&mut *list, error);
    list.push(b'\n');
}
