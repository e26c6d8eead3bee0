//! `catalog import`: imports files of records into an account.
//!
//! A separate thread reads the file, a few groups ahead of the database; memory is bounded, whatever the
//! file's size. Each file is a job, like an object from the queue: a checkpoint is stored after each group of
//! lines, so that `--resume` can continue after Ctrl-C, a crash or an outage.

use std::{
    fs::{File, Metadata, TryLockError},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, UNIX_EPOCH},
};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use serverless_catalog::{
    account::AccountId,
    cause::chain,
    imports::{
        Counts, ImportCost, Kind, LineError, Mode, OrderBy, RecordChange,
        job::{ImportId, JobStore as _, LEASE_TERM, Lease, Progress, Source, Status},
        report::Reporter,
        run::{self, End, Request, SnapshotPart, run},
        snapshot::{DEFAULT_SHARE, Snapshot, parse_share},
    },
    lock::lock,
    source::{Format, GroupStream},
    store::Store,
    text::{FieldError, random_name},
};

use super::difference;
use crate::{
    connect::Target,
    console::{say, say_styled, warn},
    error::CliError,
    interruption::Interruption,
};

/// Import records of every kind: NDJSON, a JSON array, or CSV of products; gzip or Zstandard, too.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  catalog import --account ACME offerings.ndjson promotions.ndjson
  generate-catalog | catalog import --account ACME -
  catalog import --account ACME --dry-run networks.ndjson.gz
  catalog import --account ACME --dry-run --diff offerings.ndjson    # old → new, field by field
  catalog import --account ACME products.csv
  catalog import --account ACME --replace product products.csv
  catalog import --account ACME --resume offerings.ndjson     # after Ctrl-C, a crash or an outage

A record names its kind, {\"kind\":\"offering\",…}: one of offering, promotion, partnerOffering, network,
bundle, exchangeRate, product. {\"op\":\"delete\"} removes what it names. A network that carries
fixed_bundles loses the bundles it does not name. Products are merged: only the fields a record has change.
CSV holds products: a header row of field names, and an empty cell leaves its field as it is.
Only differences are written. A refused record is reported with its line and field and does not stop
the rest; the exit code is then 1.")]
#[allow(clippy::struct_excessive_bools, reason = "each is an option of the command")]
pub(super) struct Import {
    /// Whose catalog it is
    #[arg(long)]
    account: AccountId,
    /// Check everything and compare with what is stored, but write nothing
    #[arg(long)]
    dry_run: bool,
    /// With --dry-run, show every record that would change, with the old and the new value of each field
    #[arg(long)]
    diff: bool,
    /// Go on where an earlier import of these files, unchanged since, was interrupted; without this
    /// they are imported from their beginning
    #[arg(long, conflicts_with = "dry_run")]
    resume: bool,
    /// The files are the whole of this kind: archive the offerings, or remove the records, that they do
    /// not name, once every file is read to its end
    #[arg(long, value_name = "KIND")]
    replace: Option<Kind>,
    /// The largest share of what is stored that --replace may take away
    #[arg(long, value_name = "0..1", default_value_t = DEFAULT_SHARE, requires = "replace", value_parser = share)]
    replace_share: f64,
    /// Which time orders the records: record for their own updatedAt where they have one, source for the
    /// import's time for all of them, which overrides newer data
    #[arg(long, value_name = "record|source", default_value_t = OrderBy::Record)]
    order: OrderBy,
    /// Print JSON: a line a refused record, with --diff a line a changed record, and one with the counts at
    /// the end
    #[arg(long)]
    json: bool,
    /// Files to import; - is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// How the import of a file ended, if nothing failed.
enum FileEnd {
    /// The file was read to its end. With the reason why its snapshot removed nothing, if there is one.
    Done(Option<String>),
    /// An earlier import had completed it.
    DoneBefore,
    /// The operator interrupted it.
    Interrupted,
}

/// The totals of all files so far.
#[derive(Clone, Copy, Default)]
struct Totals {
    counts: Counts,
    cost: ImportCost,
}

impl Import {
    /// Opens all files before the first is imported, so that a mistyped name does not leave half an import.
    fn inputs(&self) -> Result<Vec<Input>, CliError> {
        let mut inputs = Vec::new();
        for path in &self.files {
            let input = Input::open(path)?;
            if self.resume && input.identity.is_none() {
                let message = "--resume needs files: standard input cannot be read again";
                return Err(CliError::Usage(message.to_owned()));
            }
            inputs.push(input);
        }
        Ok(inputs)
    }

    /// Runs the import.
    pub(super) async fn run(self, target: &Target) -> Result<(), CliError> {
        if self.replace == Some(Kind::Bundle) {
            let message = "--replace network removes bundles with their networks; there is no --replace bundle";
            return Err(CliError::Usage(message.to_owned()));
        }
        if self.diff && !self.dry_run {
            let message = "--diff shows what an import would change: it needs --dry-run";
            return Err(CliError::Usage(message.to_owned()));
        }
        let inputs = self.inputs()?;
        let store = target.store().await?;
        let started = Instant::now();
        let mut interruption = Interruption::expect();
        let mut snapshot = self.replace.map(|kind| Snapshot::new(kind, self.replace_share));
        let mut totals = Totals::default();
        let mut ending = Ok(());
        let mut kept = None;
        let last = inputs.len() - 1;
        for (number, input) in inputs.into_iter().enumerate() {
            let name = input.name.clone();
            let resumable = input.identity.is_some() && !self.dry_run;
            let latest = Mutex::new(Progress::default());
            let part = snapshot
                .as_mut()
                .map(|snapshot| SnapshotPart { snapshot, is_last: number == last });
            let end = self.file((&store, &mut interruption), input, part, &latest).await;
            let progress = *lock(&latest);
            totals.counts = totals.counts + progress.counts;
            totals.cost = totals.cost + progress.cost;
            ending = match end {
                Ok(FileEnd::Done(error)) => {
                    kept = error;
                    continue;
                }
                Ok(FileEnd::DoneBefore) => {
                    warn(format!("{name} was imported completely before; --resume skips it."));
                    continue;
                }
                Ok(FileEnd::Interrupted) => {
                    let how = if resumable { " with --resume" } else { "" };
                    Err(CliError::Incomplete(format!(
                        "interrupted in {name} after line {}; run the same command again{how} to finish",
                        progress.line
                    )))
                }
                // What cannot be read to its end begins again, with --resume, too.
                Err(error @ CliError::Source { .. }) => Err(error),
                Err(error) => {
                    if resumable && progress.line > 0 {
                        let line = progress.line;
                        warn(format!(
                            "{name} is done up to line {line}; --resume continues from there."
                        ));
                    }
                    Err(error)
                }
            };
            break;
        }
        if let (Err(_), Some(snapshot)) = (&ending, &snapshot)
            && let Some((import, order)) = snapshot.begun().filter(|_| !self.dry_run)
        {
            // A failed snapshot must not leave its floor. If this fails, too, the first failure is reported.
            let floor = (snapshot.kind(), order);
            let _ = store.end_snapshot(&self.account, import, floor, false).await;
        }
        self.summary(totals, started.elapsed(), ending.is_err());
        if let Some(kept) = kept {
            return Err(CliError::Incomplete(kept));
        }
        match (ending, totals.counts.failed) {
            (Err(error), _) => Err(error),
            (Ok(()), 0) => Ok(()),
            (Ok(()), failed) => {
                Err(CliError::Incomplete(format!("{failed} records were rejected")))
            }
        }
    }

    /// Imports one file, from the beginning or, with `--resume`, from its checkpoint.
    async fn file(
        &self,
        (store, interruption): (&Store, &mut Interruption),
        input: Input,
        part: Option<SnapshotPart<'_>>,
        latest: &Mutex<Progress>,
    ) -> Result<FileEnd, CliError> {
        let name = input.name.clone();
        let bar = input.progress(self.json);
        let is_file = input.identity.is_some();
        let import =
            input.identity.clone().unwrap_or_else(|| ImportId::of(&[&name, &random_name()]));
        // The file lock keeps other processes out and ends with its process, so the holder needs no random
        // name: an import that was killed can be resumed at once.
        let holder = format!("file {}", import.as_str());
        let lease = Lease { account: self.account.clone(), import, holder, term: LEASE_TERM };
        if is_file && !self.dry_run {
            if !input.lock() {
                return Err(in_use(&name));
            }
            // An operator who resumes a failed import wants it to be retried.
            let forget = !self.resume || {
                let job = store.job(&lease.account, &lease.import).await?;
                job.is_some_and(|job| job.status == Status::Failed)
            };
            if forget {
                store.delete_job(&lease.account, &lease.import).await?;
            }
        }
        let Input { source, file: _lock, format, read, .. } = input;
        let terminal = Terminal { import: self, name: &name, bar: &bar, read: &read, latest };
        let request = Request {
            lease: lease.clone(),
            source: Source::named(format!("file {name}"), store.clock().now()),
            order_by: self.order,
            ids: None,
            mode: self.mode(),
            // A dry run leaves no trace.
            is_stored: !self.dry_run,
            deadline: None,
        };
        let open = || GroupStream::read_ahead(source, format, read.clone());
        let driven = tokio::select! {
            biased;
            driven = run(store, &request, open, part, &terminal) => Some(driven),
            () = interruption.wait() => None,
        };
        bar.finish_and_clear();
        let Some(driven) = driven else {
            if request.is_stored {
                // If this fails, the lease expires by itself.
                let _ = store.release_job(&lease).await;
            }
            return Ok(FileEnd::Interrupted);
        };
        let job = match driven? {
            End::Ended(_, None) => return Ok(FileEnd::DoneBefore),
            End::Ended(job, Some(_)) => job,
            End::Busy(_) => {
                let message = format!("{name}: another import of this very file has begun");
                return Err(CliError::Incomplete(message));
            }
            End::Unfinished { cause, .. } => return Err(interrupted(name, cause)),
        };
        *lock(latest) = job.progress;
        match job.status {
            Status::Failed => {
                let cause = job.error.unwrap_or_default();
                Err(CliError::Source { name, cause })
            }
            _ => Ok(FileEnd::Done(job.error)),
        }
    }

    fn mode(&self) -> Mode {
        match (self.dry_run, self.diff) {
            (false, _) => Mode::Write,
            (true, false) => Mode::DryRun,
            (true, true) => Mode::Diff,
        }
    }

    fn show(&self, file: &str, change: &RecordChange) {
        if self.json {
            say(difference::json(file, change));
        } else {
            say_styled(difference::words(file, change));
        }
    }

    fn report(&self, file: &str, refusal: &LineError) {
        let FieldError { field, message, .. } = &refusal.error;
        if self.json {
            let line = json!({ "file": file, "line": refusal.line, "field": field, "message": message, "code": refusal.code });
            say(json!({ "error": line }).to_string());
        } else {
            let space = if field.is_empty() { "" } else { " " };
            warn(format!("{file}:{}: {field}{space}{message}", refusal.line));
        }
    }

    fn summary(&self, Totals { counts, cost }: Totals, elapsed: Duration, interrupted: bool) {
        if self.json {
            let line = json!({
                "counts": counts,
                "cost": cost,
                "durationMs": u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
                "dryRun": self.dry_run,
                "interrupted": interrupted,
            });
            say(line.to_string());
            return;
        }
        let Counts { created, updated, unchanged, stale, deleted, failed } = counts;
        let would = if self.dry_run { "would have been " } else { "" };
        say(format!(
            "{} rows in {:.1} s: {would}{created} created, {updated} updated, {deleted} deleted; \
             {unchanged} unchanged, {stale} stale, {failed} refused. {:.1} read units, {:.1} write units.",
            counts.total(),
            elapsed.as_secs_f64(),
            cost.read_units,
            cost.write_units,
        ));
    }
}

fn share(text: &str) -> Result<f64, String> {
    parse_share(text).ok_or_else(|| "must be a number from 0 to 1, such as 0.8".to_owned())
}

fn in_use(name: &str) -> CliError {
    CliError::Incomplete(format!("{name} is being imported by another process; wait for its end"))
}

/// An opened file, or standard input.
struct Input {
    name: String,
    /// Identifies the unchanged file; `None` if it cannot be read again, such as standard input.
    identity: Option<ImportId>,
    source: Box<dyn Read + Send>,
    /// A second handle to the file, for its lock.
    file: Option<File>,
    bytes: Option<u64>,
    format: Option<Format>,
    read: Arc<AtomicU64>,
}

impl Input {
    fn open(path: &Path) -> Result<Self, CliError> {
        let read = Arc::new(AtomicU64::new(0));
        if path == Path::new("-") {
            let source = Box::new(io::stdin());
            let name = "standard input".to_owned();
            return Ok(Self {
                name,
                identity: None,
                source,
                file: None,
                bytes: None,
                format: None,
                read,
            });
        }
        let file = File::open(path).map_err(CliError::file("open", path))?;
        let metadata = file.metadata().map_err(CliError::file("open", path))?;
        if metadata.is_dir() {
            let source = io::Error::from(io::ErrorKind::IsADirectory);
            return Err(CliError::file("read", path)(source));
        }
        let (name, bytes) = (path.display().to_string(), Some(metadata.len()));
        let format = Format::of_name(&name);
        let identity = identity(path, &metadata);
        let lock = file.try_clone().map_err(CliError::file("open", path))?;
        Ok(Self { name, identity, source: Box::new(file), file: Some(lock), bytes, format, read })
    }

    /// Locks the file until this is dropped; `false`: another process holds the lock. A file system without
    /// locks keeps nobody out.
    fn lock(&self) -> bool {
        let locked = self.file.as_ref().map(File::try_lock);
        !matches!(locked, Some(Err(TryLockError::WouldBlock)))
    }

    fn progress(&self, hidden: bool) -> ProgressBar {
        let bar = match (hidden, self.bytes) {
            (true, _) => ProgressBar::hidden(),
            (false, Some(bytes)) => ProgressBar::new(bytes).with_style(style(
                "{prefix} {wide_bar} {percent}% {msg}, {elapsed} gone, {eta} left",
            )),
            (false, None) => ProgressBar::new_spinner()
                .with_style(style("{prefix} {spinner} {msg}, {elapsed} gone")),
        };
        bar.with_prefix(self.name.clone())
    }
}

/// The identity of a regular file: its path, length and modification time; `None` for a pipe.
fn identity(path: &Path, metadata: &Metadata) -> Option<ImportId> {
    if !metadata.is_file() {
        return None;
    }
    let place = path.canonicalize().ok()?;
    let changed = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?.as_nanos().to_string();
    let length = metadata.len().to_string();
    Some(ImportId::of(&["file", &place.to_string_lossy(), &length, &changed]))
}

/// Shows the progress of a file.
struct Terminal<'a> {
    import: &'a Import,
    name: &'a str,
    bar: &'a ProgressBar,
    read: &'a AtomicU64,
    latest: &'a Mutex<Progress>,
}

impl Reporter for Terminal<'_> {
    fn rejected(&self, errors: &[LineError]) {
        self.bar.suspend(|| errors.iter().for_each(|error| self.import.report(self.name, error)));
    }

    fn changed(&self, changes: &[RecordChange]) {
        if !changes.is_empty() {
            self.bar
                .suspend(|| changes.iter().for_each(|change| self.import.show(self.name, change)));
        }
    }

    fn progressed(&self, progress: &Progress) {
        *lock(self.latest) = *progress;
        self.bar.set_position(self.read.load(Ordering::Relaxed));
        let counts = progress.counts;
        self.bar.set_message(format!("{} rows, {} refused", counts.total(), counts.failed));
    }

    fn waits(&self, time: Duration) {
        let seconds = time.as_secs_f64();
        self.bar.set_message(format!("the database does not take all; again in {seconds:.1} s"));
    }
}

/// The error of an import that could not continue.
fn interrupted(name: String, cause: run::Interruption) -> CliError {
    match cause {
        run::Interruption::SourceInterrupted(cause) => {
            CliError::file("read", name)(io::Error::other(cause))
        }
        cause => CliError::Unavailable(chain(&cause)),
    }
}

fn style(template: &str) -> ProgressStyle {
    // All templates are in this file; an invalid one would show the default bar.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::commands::{Cli, Command};

    #[test]
    fn the_progress_bar_tells_rows_and_refusals_and_why_nothing_moves() {
        let arguments = ["catalog", "import", "--account", "ACME", "a.ndjson"];
        let Ok(Cli { command: Command::Import(import), .. }) = Cli::try_parse_from(arguments)
        else {
            panic!("it is an import");
        };
        let (bar, read) = (ProgressBar::hidden(), AtomicU64::new(77));
        let latest = Mutex::new(Progress::default());
        let terminal =
            Terminal { import: &import, name: "a.ndjson", bar: &bar, read: &read, latest: &latest };
        let counts = Counts { created: 2, failed: 1, ..Counts::default() };
        let progress = Progress { line: 4, counts, ..Progress::default() };
        terminal.progressed(&progress);
        assert_eq!((bar.position(), bar.message()), (77, "3 rows, 1 refused".to_owned()));
        assert_eq!(*lock(&latest), progress);
        terminal.waits(Duration::from_millis(1_500));
        assert_eq!(bar.message(), "the database does not take all; again in 1.5 s");
    }
}
