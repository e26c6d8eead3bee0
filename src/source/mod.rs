//! Streaming parsers of import files: NDJSON, a JSON array or CSV, plain or compressed.
//!
//! | File | |
//! |---|---|
//! | `compression` | gzip and Zstandard |
//! | `lines` | NDJSON |
//! | `json_array` | one JSON array |
//! | `csv` | CSV of products |
//!
//! A source is parsed into groups of lines. Memory is bounded, whatever the size of the source.
//!
//! The magic number determines the compression. The file's name determines the format; if it does not,
//! the first character does: `[` begins a JSON array, `{` NDJSON, and anything else CSV.

mod compression;
mod csv;
mod json_array;
mod lines;

use std::{
    io::{self, BufRead, BufReader, Read},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::mpsc;

use self::{csv::CsvReader, json_array::JsonArrayReader, lines::NdjsonReader};
use crate::{
    imports::{LineErrorCode, MAX_LINE_BYTES},
    text::{FieldError, spelled_enum},
};

/// The maximum number of lines in a group: the database needs four reads and sixteen writes for them.
pub const GROUP_LINES: usize = 400;

/// A group ends with the line that brings it to this size.
const GROUP_BYTES: usize = 4 * 1024 * 1024;

/// How many groups are read ahead.
const GROUPS_AHEAD: usize = 2;

const BUFFER_BYTES: usize = 256 * 1024;

/// The maximum number of bytes that are read to detect the format.
const MAX_HEAD_BYTES: usize = 64 * 1024;

const UTF8_BOM: &[u8] = b"\xef\xbb\xbf";

spelled_enum! {
    /// The file format of a source.
    pub enum Format {
        /// One JSON object per line.
        Ndjson = "ndjson",
        /// One JSON array of objects.
        JsonArray = "json",
        /// A header row, then one product per row.
        Csv = "csv",
    }
}

spelled_enum! {
    /// How a source is compressed. Its first bytes say so: nobody needs to be told.
    pub enum Compression {
        None = "none",
        Gzip = "gzip",
        Zstandard = "zstd",
    }
}

impl Format {
    /// The format according to a file's name, which may have the extension of a compression.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        let mut extensions = name.rsplit('.').map(str::to_ascii_lowercase);
        let last = extensions.next()?;
        let extension =
            if matches!(last.as_str(), "gz" | "zst") { extensions.next()? } else { last };
        match extension.as_str() {
            "ndjson" | "jsonl" => Some(Self::Ndjson),
            "csv" => Some(Self::Csv),
            // `.json` is used for NDJSON and for arrays.
            _ => None,
        }
    }
}

/// A source that cannot be read to its end.
#[derive(Debug, thiserror::Error)]
#[error("after line {line}: {cause}")]
pub struct SourceError {
    /// The last line that was read.
    pub line: u64,
    #[source]
    pub cause: io::Error,
}

/// One line of a source: its record as JSON, or why it has no record that can be stored.
///
/// Lines are numbered from 1. The number of an array's element is its position in the array.
pub type Line = (u64, Result<Vec<u8>, RejectedLine>);

/// A line that its format rejects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedLine {
    /// The reasons; at least one.
    pub errors: Vec<(LineErrorCode, FieldError)>,
    /// Its record, if there is one nevertheless: it shows what the line is about.
    pub record: Option<Vec<u8>>,
}

impl RejectedLine {
    fn of(code: LineErrorCode, error: FieldError) -> Self {
        Self { errors: vec![(code, error)], record: None }
    }
}

/// A part of a source.
#[derive(Debug)]
pub enum Group {
    /// Lines in the order of the source.
    Lines(Vec<Line>),
    /// The source cannot be read further. No group follows.
    Broken(SourceError),
    /// The source was read to its end. No group follows.
    End,
}

/// The groups of a source, one after the other.
pub struct GroupStream(Inner);

enum Inner {
    Inline(Groups),
    Unreadable(Option<io::Error>),
    Ahead(mpsc::Receiver<Group>),
}

impl GroupStream {
    /// Parses data that is in memory, on demand.
    #[must_use]
    pub fn of_bytes(bytes: Vec<u8>, format: Option<Format>) -> Self {
        Self(Inner::Inline(Groups::new(io::Cursor::new(bytes), format)))
    }

    /// A source that is known to be unreadable.
    #[must_use]
    pub fn unreadable(message: impl Into<String>) -> Self {
        Self(Inner::Unreadable(Some(invalid_data(message))))
    }

    /// Reads on a separate thread, a few groups ahead of the consumer. `read` counts the bytes that were
    /// read.
    #[must_use]
    pub fn read_ahead(
        source: impl Read + Send + 'static,
        format: Option<Format>,
        read: Arc<AtomicU64>,
    ) -> Self {
        let (sender, receiver) = mpsc::channel(GROUPS_AHEAD);
        // Not one of the runtime's threads: the runtime waits for those when it stops, and a read of
        // standard input may never return.
        std::thread::spawn(move || {
            for group in Groups::new(CountingReader { source, read }, format) {
                // The consumer is gone.
                if sender.blocking_send(group).is_err() {
                    return;
                }
            }
        });
        Self(Inner::Ahead(receiver))
    }

    /// The next group; `None` if its reader ended early. Cancellation-safe: dropping the future loses no
    /// group.
    pub async fn next(&mut self) -> Option<Group> {
        match &mut self.0 {
            Inner::Inline(groups) => groups.next(),
            Inner::Unreadable(cause) => {
                cause.take().map(|cause| Group::Broken(SourceError { line: 0, cause }))
            }
            Inner::Ahead(groups) => groups.recv().await,
        }
    }
}

/// Collects records into groups.
struct Groups {
    /// `None` when there is no more to read.
    records: Option<Box<dyn LineReader>>,
    /// The last group, until it is returned.
    end: Option<Group>,
    last_line: u64,
}

impl Groups {
    fn new(source: impl Read + Send + 'static, format: Option<Format>) -> Self {
        let (records, end) = match open(Box::new(source), format) {
            Ok(records) => (Some(records), None),
            Err(cause) => (None, Some(Group::Broken(SourceError { line: 0, cause }))),
        };
        Self { records, end, last_line: 0 }
    }
}

impl Iterator for Groups {
    type Item = Group;

    fn next(&mut self) -> Option<Group> {
        let mut lines = Vec::new();
        let mut bytes = 0;
        while let Some(records) = &mut self.records
            && lines.len() < GROUP_LINES
            && bytes < GROUP_BYTES
        {
            match records.next() {
                Ok(Some((number, record))) => {
                    // CSV may count two rows as one line, but checkpoints need increasing numbers.
                    let line = number.max(self.last_line + 1);
                    self.last_line = line;
                    bytes += record.as_ref().map_or(0, Vec::len);
                    lines.push((line, record));
                }
                Ok(None) => {
                    self.end = Some(Group::End);
                    self.records = None;
                }
                Err(cause) => {
                    let line = records.line();
                    self.end = Some(Group::Broken(SourceError { line, cause }));
                    self.records = None;
                }
            }
        }
        if lines.is_empty() { self.end.take() } else { Some(Group::Lines(lines)) }
    }
}

/// Reads the records of one format.
trait LineReader: Send {
    /// The next record; `None` at the end of the source.
    fn next(&mut self) -> io::Result<Option<Line>>;

    /// The number of the last line that was read.
    fn line(&self) -> u64;
}

fn too_long() -> RejectedLine {
    let message = format!("the line is longer than {MAX_LINE_BYTES} bytes");
    RejectedLine::of(LineErrorCode::TooLong, FieldError::new("", message))
}

fn invalid_data(message: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message.into())
}

/// Decompresses a source, detects its format and begins to read its records.
fn open(source: Box<dyn Read + Send>, format: Option<Format>) -> io::Result<Box<dyn LineReader>> {
    let mut source = compression::decompress(PeekReader::new(source))?;
    source.fill(|head| head.len() >= UTF8_BOM.len())?;
    if source.head().starts_with(UTF8_BOM) {
        source.skip(UTF8_BOM.len());
    }
    source.fill(|head| !head.trim_ascii_start().is_empty())?;
    let first = source.head().trim_ascii_start().first().copied();
    let format = format.unwrap_or(match first {
        Some(b'[') => Format::JsonArray,
        None | Some(b'{') => Format::Ndjson,
        Some(_) => Format::Csv,
    });
    Ok(match format {
        // Neither NDJSON nor CSV begins like this: the name is wrong, not the content.
        _ if first == Some(b'[') => Box::new(JsonArrayReader::new(source.into_buffered())),
        Format::Ndjson | Format::JsonArray => Box::new(NdjsonReader::new(source.into_buffered())),
        Format::Csv => Box::new(CsvReader::open(source)?),
    })
}

/// A reader whose first bytes can be seen before they are read.
struct PeekReader {
    head: Vec<u8>,
    rest: Box<dyn Read + Send>,
}

impl PeekReader {
    fn new(rest: Box<dyn Read + Send>) -> Self {
        Self { head: Vec::new(), rest }
    }

    fn head(&self) -> &[u8] {
        &self.head
    }

    /// Extends the head until it is long enough, the source ends, or the head has its maximum size. One read
    /// is not enough: a source may return a single byte at a time.
    fn fill(&mut self, is_enough: impl Fn(&[u8]) -> bool) -> io::Result<()> {
        let mut buffer = vec![0; 8 * 1024];
        while !is_enough(&self.head) && self.head.len() < MAX_HEAD_BYTES {
            match self.rest.read(&mut buffer) {
                Ok(0) => break,
                Ok(taken) => self.head.extend_from_slice(&buffer[..taken]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn skip(&mut self, bytes: usize) {
        self.head.drain(..bytes);
    }

    /// Joins head and rest to one reader.
    fn into_buffered(self) -> Box<dyn BufRead + Send> {
        let whole = io::Cursor::new(self.head).chain(self.rest);
        Box::new(BufReader::with_capacity(BUFFER_BYTES, whole))
    }
}

/// Counts the bytes that are read, to show the progress.
struct CountingReader<R> {
    source: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for CountingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let taken = self.source.read(buffer)?;
        self.read.fetch_add(u64::try_from(taken).unwrap_or_default(), Ordering::Relaxed);
        Ok(taken)
    }
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
