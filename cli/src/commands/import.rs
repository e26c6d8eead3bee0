//! `catalog import`: files of records into an account.
//!
//! A file is read on a thread of its own, a few groups ahead of the database; memory is bounded
//! whatever the file's size. It is a job as an object of the queue's is: checkpointed after each group
//! of lines, so that after Ctrl-C, a crash or an outage `--resume` goes on where it was left.

use std::{
    fs::{File, Metadata, TryLockError},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, UNIX_EPOCH},
};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use serverless_catalog::{
    account::AccountId,
    imports::{
        Counts, Format, Group, Groups, ImportCost, Importer, Kind, LineError,
        job::{Claim, Ending, ImportId, Job, Journal, Lease, Observer, Progress, Status, Turn},
        replace::{DEFAULT_SHARE, Named, Replacement, parse_share, replace},
    },
    store::{Export, Store},
    text::FieldError,
};

use crate::{
    connect::Target,
    console::{say, warn},
    error::CliError,
    interruption::Interruption,
};

/// Import records of every kind: NDJSON, a JSON array, or CSV of products; gzip or Zstandard, too.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  catalog import --account ACME offerings.ndjson promotions.ndjson
  generate-catalog | catalog import --account ACME -
  catalog import --account ACME --dry-run networks.ndjson.gz
  catalog import --account ACME products.csv
  catalog import --account ACME --replace product products.csv
  catalog import --account ACME --resume offerings.ndjson     # after Ctrl-C, a crash or an outage

A record names its kind, {\"kind\":\"offering\",…}: one of offering, promotion, partnerOffering, network,
bundle, exchangeRate, product. {\"op\":\"delete\"} removes what it names. A network that carries
fixed_bundles loses the bundles it does not name. Products are merged: only the fields a record has change.
CSV holds products: a header row of field names, and an empty cell leaves its field as it is.
Only differences are written. A refused record is reported with its line and field and does not stop
the rest; the exit code is then 1.")]
pub struct Import {
    /// Whose catalog it is
    #[arg(long)]
    account: AccountId,
    /// Check everything and compare with what is stored, but write nothing
    #[arg(long)]
    dry_run: bool,
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
    /// Print JSON: a line a refused record, and one with the counts at the end
    #[arg(long)]
    json: bool,
    /// Files to import; - is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// How long a claim of this command holds without being extended; every group extends it.
const LEASE: Duration = Duration::from_mins(2);

/// How a file ended, if nothing failed.
enum FileEnd {
    /// Its end was reached.
    Finished,
    /// It was imported completely before.
    DoneBefore,
    /// It was told to stop.
    Interrupted,
}

/// What came of the files so far.
#[derive(Clone, Copy, Default)]
struct Totals {
    counts: Counts,
    cost: ImportCost,
}

impl Import {
    /// Runs the import.
    ///
    /// # Errors
    /// [`CliError`] when a file or the tables fail; [`CliError::Incomplete`] when records were refused
    /// or Ctrl-C ended it.
    pub async fn run(self, target: &Target) -> Result<(), CliError> {
        if self.replace == Some(Kind::Bundle) {
            let message = "--replace network takes bundles away with their networks; there is no --replace bundle";
            return Err(CliError::Usage(message.to_owned()));
        }
        // All files are opened first: a name mistyped last does not leave half an import.
        let mut inputs = Vec::new();
        for path in &self.files {
            let input = Input::open(path)?;
            if self.resume && input.identity.is_none() {
                let message = "--resume needs files: standard input cannot be read again";
                return Err(CliError::Usage(message.to_owned()));
            }
            inputs.push(input);
        }
        let store = target.store().await?;
        let started = Instant::now();
        let mut interruption = Interruption::expect();
        let mut importer = Importer::new(&store, &self.account, self.dry_run);
        let mut named = self.replace.map(Named::new);
        let mut totals = Totals::default();
        let mut ending = Ok(());
        for input in inputs {
            let mut progress = Progress::default();
            let name = input.name.clone();
            let resumable = input.identity.is_some() && !self.dry_run;
            let end = self
                .file(
                    (&store, &mut interruption),
                    input,
                    &mut importer,
                    named.as_mut(),
                    &mut progress,
                )
                .await;
            totals.counts = totals.counts + progress.counts;
            totals.cost = totals.cost + progress.cost;
            ending = match end {
                Ok(FileEnd::Finished) => continue,
                Ok(FileEnd::DoneBefore) => {
                    warn(format!(
                        "{name} was imported completely before; --resume passes it over."
                    ));
                    continue;
                }
                Ok(FileEnd::Interrupted) => {
                    let how = if resumable { " with --resume" } else { "" };
                    Err(CliError::Incomplete(format!(
                        "interrupted in {name} after line {}; run the same command again{how} to finish",
                        progress.line
                    )))
                }
                Err(error) => {
                    if resumable && progress.line > 0 {
                        let line = progress.line;
                        warn(format!(
                            "{name} is done up to line {line}; --resume goes on from there."
                        ));
                    }
                    Err(error)
                }
            };
            break;
        }
        let mut kept = None;
        if let Some(named) = named.filter(|_| ending.is_ok()) {
            let removal = self.remove_unnamed(&store, &mut importer, &named, &mut totals);
            let removal = tokio::select! {
                removal = removal => removal,
                () = interruption.wait() => Err(CliError::Incomplete(
                    "interrupted while what the files do not name was removed; run the same command again"
                        .to_owned(),
                )),
            };
            match removal {
                Ok(why) => kept = why,
                Err(error) => ending = Err(error),
            }
        }
        self.summary(totals, started.elapsed(), ending.is_err());
        if let Some(kept) = kept {
            return Err(CliError::Incomplete(kept));
        }
        match (ending, totals.counts.failed) {
            (Err(error), _) => Err(error),
            (Ok(()), 0) => Ok(()),
            (Ok(()), failed) => Err(CliError::Incomplete(format!("{failed} records were refused"))),
        }
    }

    /// Imports one file, from the beginning or, with `--resume`, from where it was left.
    async fn file(
        &self,
        (store, interruption): (&Store, &mut Interruption),
        input: Input,
        importer: &mut Importer<'_, Store>,
        named: Option<&mut Named>,
        progress: &mut Progress,
    ) -> Result<FileEnd, CliError> {
        let name = input.name.clone();
        let bar = input.progress(self.json);
        // A dry run leaves no trace, and what cannot be read again cannot be resumed.
        let journal = Some(store).filter(|_| !self.dry_run && input.identity.is_some());
        let import = input.identity.clone().unwrap_or_else(|| ImportId::of(&[&name]));
        // The lock on the file tells processes apart, and ends with its process: an import that was
        // killed can be resumed at once.
        let holder = format!("file {}", import.as_str());
        let lease = Lease { account: self.account.clone(), import, holder, term: LEASE };
        if journal.is_some() && !input.lock() {
            return Err(in_use(&name));
        }
        if let Some(journal) = journal.filter(|_| !self.resume) {
            journal.forget_job(&lease.account, &lease.import).await?;
        }
        let Input { source, file: _lock, format, read, .. } = input;
        let mut groups = Groups::read_ahead(source, format, read.clone());
        let Some(job) = self.claim(journal, &lease, &name).await? else {
            // With --replace, it still tells what is to stay.
            if let Some(named) = named {
                loop {
                    let group = groups.recv().await;
                    named.note_group(group.as_ref());
                    match group {
                        Some(Group::End) => break,
                        Some(Group::Broken(source)) => {
                            return Err(CliError::Source { name, source });
                        }
                        Some(Group::Lines(_) | Group::Refused(_)) => {}
                        None => {
                            let source = io::Error::other("its reader ended early");
                            return Err(CliError::file("read", name)(source));
                        }
                    }
                }
            }
            return Ok(FileEnd::DoneBefore);
        };
        *progress = job.progress;
        let terminal = Terminal { import: self, name: &name, bar: &bar, read: &read };
        let started_at = job.started_at;
        let turn =
            Turn { journal: &journal, lease: &lease, started_at, observer: &terminal, until: None };
        let driven = tokio::select! {
            driven = Box::pin(turn.drive(importer, progress, &mut groups, named)) => Some(driven),
            () = interruption.wait() => None,
        };
        bar.finish_and_clear();
        let (status, end) = match driven {
            Some(Ok(Ending::Finished)) => (Status::Done, Ok(FileEnd::Finished)),
            // Nothing here ends a turn early.
            None | Some(Ok(Ending::OutOfTime)) => (Status::Waiting, Ok(FileEnd::Interrupted)),
            Some(Ok(Ending::Unreadable(source))) => {
                (Status::Failed, Err(CliError::Source { name, source }))
            }
            Some(Ok(Ending::BrokenOff(cause))) => {
                let source = io::Error::other(cause);
                (Status::Waiting, Err(CliError::file("read", name)(source)))
            }
            Some(Ok(Ending::LeaseLost)) => {
                let message = format!("{name}: another import of this very file has begun");
                return Err(CliError::Incomplete(message));
            }
            Some(Err(error)) => (Status::Waiting, Err(error.into())),
        };
        let recorded = journal.record(&lease, status, *progress, None).await;
        // Where the import has failed, why is told, and not that it could not be noted either.
        if end.is_ok() {
            recorded?;
        }
        end
    }

    /// Claims a file; `None`: it is done already.
    async fn claim(
        &self,
        journal: Option<&Store>,
        lease: &Lease,
        name: &str,
    ) -> Result<Option<Job>, CliError> {
        let source = format!("file {name}");
        let mut claim = journal.claim(lease, &source).await?;
        if let (Some(store), Claim::Finished(Status::Failed)) = (journal, &claim) {
            // Whoever resumes it wants it tried again.
            store.forget_job(&lease.account, &lease.import).await?;
            claim = journal.claim(lease, &source).await?;
        }
        match claim {
            Claim::Ours(job) => Ok(Some(*job)),
            Claim::Finished(_) => Ok(None),
            Claim::Busy => Err(in_use(name)),
        }
    }

    /// Removes what the files do not name; tells why it did not.
    async fn remove_unnamed(
        &self,
        store: &Store,
        importer: &mut Importer<'_, Store>,
        named: &Named,
        totals: &mut Totals,
    ) -> Result<Option<String>, CliError> {
        let Some(kind) = self.replace else { return Ok(None) };
        importer.resume(totals.counts, totals.cost);
        let stock = || Export::new(store, &self.account, kind);
        let replacement = replace(importer, named, stock, self.replace_share).await?;
        (totals.counts, totals.cost) = (importer.counts(), importer.cost());
        if let Replacement::Done(refused) = &replacement {
            for refusal in refused {
                self.report("--replace", refusal);
            }
        }
        Ok(replacement.why_kept(kind, &format!("--replace-share {}", self.replace_share)))
    }

    fn report(&self, file: &str, refusal: &LineError) {
        let FieldError { field, message } = &refusal.error;
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

/// A file or standard input, opened.
struct Input {
    name: String,
    /// What makes it this very file, unchanged; what cannot be read again has none.
    identity: Option<ImportId>,
    source: Box<dyn Read + Send>,
    /// The file once more, for its lock.
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

    /// Locks the file until this is dropped; `false`: another process has it locked. A file system
    /// that knows no locks keeps nobody out.
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

/// The identity of a file of a folder: its place, its length and when it last changed. A pipe has none.
fn identity(path: &Path, metadata: &Metadata) -> Option<ImportId> {
    if !metadata.is_file() {
        return None;
    }
    let place = path.canonicalize().ok()?;
    let changed = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?.as_nanos().to_string();
    let length = metadata.len().to_string();
    Some(ImportId::of(&["file", &place.to_string_lossy(), &length, &changed]))
}

/// Shows how a file goes.
struct Terminal<'a> {
    import: &'a Import,
    name: &'a str,
    bar: &'a ProgressBar,
    read: &'a AtomicU64,
}

impl Observer for Terminal<'_> {
    async fn refused(&self, _: u32, errors: &[LineError]) -> Result<(), String> {
        self.bar.suspend(|| errors.iter().for_each(|error| self.import.report(self.name, error)));
        Ok(())
    }

    fn progressed(&self, progress: &Progress) {
        self.bar.set_position(self.read.load(Ordering::Relaxed));
        let counts = progress.counts;
        self.bar.set_message(format!("{} rows, {} refused", counts.total(), counts.failed));
    }

    fn waits(&self, time: Duration) {
        let seconds = time.as_secs_f64();
        self.bar.set_message(format!("the database does not take all; again in {seconds:.1} s"));
    }
}

fn style(template: &str) -> ProgressStyle {
    // The templates are this file's own; a wrong one would show the default bar.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
