//! `catalog import`: files of records into an account.
//!
//! A file is read on a thread of its own, a few groups ahead of the database; memory is bounded
//! whatever the file's size. Ctrl-C ends the import after the group under way; importing
//! again is safe, and what is stored already costs no write.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use serde_json::json;
use serverless_catalog::{
    account::AccountId,
    imports::{
        Counts, Format, Group, Groups, Importer, Kind, LineError,
        replace::{DEFAULT_SHARE, Named, Replacement, replace},
    },
    store::{Export, Store},
    text::FieldError,
};

use crate::{
    connect::Target,
    console::{say, warn},
    error::CliError,
};

/// Import records of every kind: NDJSON, a JSON array, or CSV of products; gzip or Zstandard, too.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  catalog import --account ACME offerings.ndjson promotions.ndjson
  generate-catalog | catalog import --account ACME -
  catalog import --account ACME --dry-run networks.ndjson.gz
  catalog import --account ACME products.csv
  catalog import --account ACME --replace product products.csv

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
    /// The files are the whole of this kind: archive the offerings, or remove the records, that they do
    /// not name, once every file is read to its end
    #[arg(long, value_name = "KIND")]
    replace: Option<Kind>,
    /// The largest share of what is stored that --replace may take away
    #[arg(long, value_name = "0..1", default_value_t = DEFAULT_SHARE, requires = "replace")]
    replace_share: f64,
    /// Print JSON: a line a refused record, and one with the counts at the end
    #[arg(long)]
    json: bool,
    /// Files to import; - is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
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
            inputs.push(Input::open(path)?);
        }
        let store = target.store().await?;
        let started = Instant::now();
        let mut importer = Importer::new(&store, &self.account, self.dry_run);
        let mut named = self.replace.map(Named::new);
        let mut ending = Ok(None);
        for input in inputs {
            let name = input.name.clone();
            ending = self
                .file(input, &mut importer, named.as_mut())
                .await
                .map(|line| Some((name, line?)));
            if !matches!(ending, Ok(None)) {
                break;
            }
        }
        let finished = matches!(ending, Ok(None));
        let mut kept = None;
        if let Some(named) = named.filter(|_| finished) {
            kept = self.remove_unnamed(&store, &mut importer, &named).await?;
        }
        self.summary(importer.counts(), &importer, started.elapsed(), !finished);
        if let Some(kept) = kept {
            return Err(CliError::Incomplete(kept));
        }
        match (ending?, importer.counts().failed) {
            (Some((name, line)), _) => Err(CliError::Incomplete(format!(
                "interrupted in {name} after line {line}; run the same command again to finish"
            ))),
            (None, 0) => Ok(()),
            (None, failed) => Err(CliError::Incomplete(format!("{failed} records were refused"))),
        }
    }

    /// Imports one file; tells the last line done when Ctrl-C ended it.
    async fn file(
        &self,
        input: Input,
        importer: &mut Importer<'_, Store>,
        mut named: Option<&mut Named>,
    ) -> Result<Option<u64>, CliError> {
        let name = input.name.clone();
        let progress = input.progress(self.json);
        let read = input.read.clone();
        let mut groups = Groups::read_ahead(input.source, input.format, input.read);
        let mut last_line = 0;
        let interrupt = tokio::signal::ctrl_c();
        tokio::pin!(interrupt);
        loop {
            let group = tokio::select! {
                biased;
                _ = &mut interrupt => {
                    progress.abandon();
                    return Ok(Some(last_line));
                }
                group = groups.recv() => group,
            };
            if let Some(named) = &mut named {
                named.note_group(group.as_ref());
            }
            let refused = match group {
                Some(Group::End) => break,
                None => {
                    progress.abandon();
                    let source = std::io::Error::other("its reader ended early");
                    return Err(CliError::file("read", &name)(source));
                }
                Some(Group::Lines(lines)) => {
                    last_line = lines.last().map_or(last_line, |(line, _)| *line);
                    importer.group(&lines, Timestamp::now()).await?
                }
                Some(Group::Refused(line, error)) => {
                    importer.refuse();
                    last_line = line;
                    vec![LineError { line, error }]
                }
                Some(Group::Broken(error)) => {
                    progress.abandon();
                    return Err(CliError::Source { name, source: error });
                }
            };
            progress.suspend(|| refused.iter().for_each(|refusal| self.report(&name, refusal)));
            let counts = importer.counts();
            progress.set_position(read.load(Ordering::Relaxed));
            progress.set_message(format!("{} rows, {} refused", counts.total(), counts.failed));
        }
        progress.finish_and_clear();
        Ok(None)
    }

    /// Removes what the files do not name; tells why it did not.
    async fn remove_unnamed(
        &self,
        store: &Store,
        importer: &mut Importer<'_, Store>,
        named: &Named,
    ) -> Result<Option<String>, CliError> {
        let Some(kind) = self.replace else { return Ok(None) };
        let stock = || Export::new(store, &self.account, kind);
        let replacement = replace(importer, named, stock, self.replace_share).await?;
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
            let line =
                json!({ "file": file, "line": refusal.line, "field": field, "message": message });
            say(json!({ "error": line }).to_string());
        } else {
            let space = if field.is_empty() { "" } else { " " };
            warn(format!("{file}:{}: {field}{space}{message}", refusal.line));
        }
    }

    fn summary(
        &self,
        counts: Counts,
        importer: &Importer<'_, Store>,
        elapsed: Duration,
        interrupted: bool,
    ) {
        let cost = importer.cost();
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

/// A file or standard input, opened.
struct Input {
    name: String,
    source: Box<dyn Read + Send>,
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
            return Ok(Self { name, source, bytes: None, format: None, read });
        }
        let file = File::open(path).map_err(CliError::file("open", path))?;
        let metadata = file.metadata().map_err(CliError::file("open", path))?;
        if metadata.is_dir() {
            let source = io::Error::from(io::ErrorKind::IsADirectory);
            return Err(CliError::file("read", path)(source));
        }
        let (name, bytes) = (path.display().to_string(), Some(metadata.len()));
        let format = Format::of_name(&name);
        Ok(Self { name, source: Box::new(file), bytes, format, read })
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

fn style(template: &str) -> ProgressStyle {
    // The templates are this file's own; a wrong one would show the default bar.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
