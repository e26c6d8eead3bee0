//! `catalog import`: files of records into an account.
//!
//! A file is read line by line on a thread of its own, a few groups ahead of the database; memory is
//! bounded whatever the file's size. Ctrl-C ends the import after the group under way; importing
//! again is safe, and what is stored already costs no write.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
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
    imports::{Counts, GROUP_LINES, Importer, LineError, MAX_LINE_BYTES},
    store::Store,
    text::FieldError,
};
use tokio::sync::mpsc;

use crate::{
    connect::Target,
    console::{say, warn},
    error::CliError,
};

/// Import offerings and promotions: one JSON record a line (NDJSON).
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  catalog import --account ACME offerings.ndjson promotions.ndjson
  generate-catalog | catalog import --account ACME -
  catalog import --account ACME --dry-run offerings.ndjson

A record names its kind: {\"kind\":\"offering\",…} or {\"kind\":\"promotion\",…}; {\"op\":\"delete\"} removes it.
Only differences are written. A refused record is reported with its line and field and does not stop
the rest; the exit code is then 1.")]
pub struct Import {
    /// Whose catalog it is
    #[arg(long)]
    account: AccountId,
    /// Check everything and compare with what is stored, but write nothing
    #[arg(long)]
    dry_run: bool,
    /// Print JSON: a line a refused record, and one with the counts at the end
    #[arg(long)]
    json: bool,
    /// Files to import; - is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// The most bytes of a group (unless one line alone has more).
const GROUP_BYTES: usize = 4 * 1024 * 1024;

/// Groups read ahead.
const AHEAD: usize = 2;

/// A group of lines, or the line that could not be read as one.
enum Group {
    Lines(Vec<(u64, Vec<u8>)>),
    TooLong(u64),
    Broken(io::Error),
}

impl Import {
    /// Runs the import.
    ///
    /// # Errors
    /// [`CliError`] when a file or the tables fail; [`CliError::Incomplete`] when records were refused
    /// or Ctrl-C ended it.
    pub async fn run(self, target: &Target) -> Result<(), CliError> {
        // All files are opened first: a name mistyped last does not leave half an import.
        let mut inputs = Vec::new();
        for path in &self.files {
            inputs.push(Input::open(path)?);
        }
        let store = target.store().await?;
        let started = Instant::now();
        let mut importer = Importer::new(&store, &self.account, self.dry_run);
        let mut ending = Ok(None);
        for input in inputs {
            let name = input.name.clone();
            ending = self.file(input, &mut importer).await.map(|line| Some((name, line?)));
            if !matches!(ending, Ok(None)) {
                break;
            }
        }
        let finished = matches!(ending, Ok(None));
        self.summary(importer.counts(), &importer, started.elapsed(), !finished);
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
    ) -> Result<Option<u64>, CliError> {
        let name = input.name.clone();
        let progress = input.progress(self.json);
        let read = input.read.clone();
        let mut groups = input.read_ahead();
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
            let refused = match group {
                None => break,
                Some(Group::Lines(lines)) => {
                    last_line = lines.last().map_or(last_line, |(line, _)| *line);
                    importer.group(&lines, Timestamp::now()).await?
                }
                Some(Group::TooLong(line)) => {
                    importer.refuse();
                    last_line = line;
                    let message = format!("the line is longer than {MAX_LINE_BYTES} bytes");
                    vec![LineError { line, error: FieldError::new("", message) }]
                }
                Some(Group::Broken(source)) => {
                    progress.abandon();
                    return Err(CliError::file("read", &name)(source));
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
    read: Arc<AtomicU64>,
}

impl Input {
    fn open(path: &Path) -> Result<Self, CliError> {
        let read = Arc::new(AtomicU64::new(0));
        if path == Path::new("-") {
            let source = Box::new(io::stdin());
            return Ok(Self { name: "standard input".to_owned(), source, bytes: None, read });
        }
        let file = File::open(path).map_err(CliError::file("open", path))?;
        let metadata = file.metadata().map_err(CliError::file("open", path))?;
        if metadata.is_dir() {
            let source = io::Error::from(io::ErrorKind::IsADirectory);
            return Err(CliError::file("read", path)(source));
        }
        let (name, bytes) = (path.display().to_string(), Some(metadata.len()));
        Ok(Self { name, source: Box::new(file), bytes, read })
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

    /// Reads groups on a thread of its own.
    fn read_ahead(self) -> mpsc::Receiver<Group> {
        let (sender, receiver) = mpsc::channel(AHEAD);
        // A thread of its own, which nobody waits for: a read of standard input may never return.
        std::thread::spawn(move || {
            let reader = BufReader::with_capacity(256 * 1024, self.source);
            let groups = Groups { reader, read: self.read, line: 0, pending: None, ended: false };
            for group in groups {
                // A receiver that is gone wants no more.
                if sender.blocking_send(group).is_err() {
                    return;
                }
            }
        });
        receiver
    }
}

/// The groups of a source, in order.
struct Groups<R> {
    reader: R,
    /// Bytes read so far, for the progress bar.
    read: Arc<AtomicU64>,
    /// The number of the last line read.
    line: u64,
    /// What comes after the group just given.
    pending: Option<Group>,
    ended: bool,
}

impl<R: BufRead> Iterator for Groups<R> {
    type Item = Group;

    fn next(&mut self) -> Option<Group> {
        if let Some(pending) = self.pending.take() {
            return Some(pending);
        }
        let mut lines = Vec::new();
        let mut bytes = 0;
        while !self.ended && lines.len() < GROUP_LINES && bytes < GROUP_BYTES {
            match self.next_line() {
                Ok(None) => self.ended = true,
                Ok(Some(text)) if text.len() > MAX_LINE_BYTES => {
                    self.pending = Some(Group::TooLong(self.line));
                    break;
                }
                Ok(Some(text)) => {
                    if !text.iter().all(u8::is_ascii_whitespace) {
                        bytes += text.len();
                        lines.push((self.line, text));
                    }
                }
                Err(error) => {
                    self.ended = true;
                    self.pending = Some(Group::Broken(error));
                }
            }
        }
        if lines.is_empty() { self.pending.take() } else { Some(Group::Lines(lines)) }
    }
}

impl<R: BufRead> Groups<R> {
    /// The next line without its end; of a line longer than allowed only one byte more than that.
    fn next_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut text = Vec::new();
        let most = u64::try_from(MAX_LINE_BYTES).unwrap_or(u64::MAX) + 2;
        let mut taken = self.reader.by_ref().take(most).read_until(b'\n', &mut text)?;
        if taken == 0 {
            return Ok(None);
        }
        self.line += 1;
        if text.last() == Some(&b'\n') {
            text.pop();
            if text.last() == Some(&b'\r') {
                text.pop();
            }
        } else if text.len() > MAX_LINE_BYTES {
            taken += self.reader.skip_until(b'\n')?;
        }
        if self.line == 1 && text.starts_with(b"\xef\xbb\xbf") {
            text.drain(..3);
        }
        self.read.fetch_add(u64::try_from(taken).unwrap_or_default(), Ordering::Relaxed);
        Ok(Some(text))
    }
}

fn style(template: &str) -> ProgressStyle {
    // The templates are this file's own; a wrong one would show the default bar.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a source is read as: `number:text` for lines, `number!` for lines too long, `|` between
    /// groups.
    fn read(source: &[u8]) -> String {
        let read = Arc::new(AtomicU64::new(0));
        let groups =
            Groups { reader: source, read: read.clone(), line: 0, pending: None, ended: false };
        let shown: Vec<String> = groups
            .map(|group| match group {
                Group::Lines(lines) => {
                    let show = |(number, text): &(u64, Vec<u8>)| {
                        format!("{number}:{}", String::from_utf8_lossy(text))
                    };
                    lines.iter().map(show).collect::<Vec<_>>().join(" ")
                }
                Group::TooLong(number) => format!("{number}!"),
                Group::Broken(error) => error.to_string(),
            })
            .collect();
        assert_eq!(read.load(Ordering::Relaxed), source.len() as u64);
        shown.join("|")
    }

    #[test]
    fn byte_order_mark_crlf_blank_lines_and_a_missing_last_newline_are_understood() {
        assert_eq!(read(b""), "");
        assert_eq!(read(b"\xef\xbb\xbfa\r\n\n  \t\r\nb\n\nc"), "1:a 4:b 6:c");
    }

    #[test]
    fn a_line_too_long_is_told_in_its_place_and_the_next_one_is_whole() {
        let long = "x".repeat(MAX_LINE_BYTES + 1);
        let far_too_long = "y".repeat(3 * MAX_LINE_BYTES);
        let source = format!("a\n{long}\nb\n{far_too_long}\r\nc\n{far_too_long}");
        assert_eq!(read(source.as_bytes()), "1:a|2!|3:b|4!|5:c|6!");
        let longest = "z".repeat(MAX_LINE_BYTES);
        assert_eq!(read(format!("{longest}\r\na").as_bytes()), format!("1:{longest} 2:a"));
    }

    #[test]
    fn groups_are_bounded() {
        let lines = "a\n".repeat(GROUP_LINES * 2 + 1);
        assert_eq!(read(lines.as_bytes()).matches('|').count(), 2);
        let large = format!("{}\n", "b".repeat(MAX_LINE_BYTES)).repeat(8);
        assert_eq!(read(large.as_bytes()).matches('|').count(), 1);
    }
}
