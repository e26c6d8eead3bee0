//! Files and streams becoming groups of lines, whatever their form: NDJSON, a JSON array, CSV with a
//! header row (products), any of them in gzip or Zstandard. Memory is bounded whatever the size.
//!
//! The form is told by the name where that says it, and else by the content: gzip and Zstandard begin
//! with their magic numbers, a JSON array with `[`, NDJSON with `{`, and all else is CSV.

use std::{
    fmt::Write as _,
    io::{self, BufRead, BufReader, Read},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::{
    BlockDecodingStrategy, FrameDecoder,
    errors::{FrameDecoderError, ReadFrameHeaderError},
};
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use super::{GROUP_LINES, LineError, MAX_LINE_BYTES, RefusalCode};
use crate::{json::type_name, products::FIELDS, text::FieldError};

/// The most bytes of a group (unless one line alone has more).
const GROUP_BYTES: usize = 4 * 1024 * 1024;

const BUFFER: usize = 256 * 1024;

/// How records stand in a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Ndjson,
    /// One JSON array of objects.
    JsonArray,
    /// A header row, and a product a row.
    Csv,
}

impl Format {
    /// The form that a file's name tells, whatever compression its end tells of.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        let mut parts = name.rsplit('.').map(str::to_ascii_lowercase);
        let last = parts.next()?;
        let form = if matches!(last.as_str(), "gz" | "zst") { parts.next()? } else { last };
        match form.as_str() {
            "ndjson" | "jsonl" => Some(Self::Ndjson),
            "csv" => Some(Self::Csv),
            // `.json` may be either.
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
    /// Why.
    #[source]
    pub cause: io::Error,
}

/// A part of a source.
#[derive(Debug)]
pub enum Group {
    /// Records, each with the number of its line (in a JSON array: of the record), from 1.
    Lines(Vec<(u64, Vec<u8>)>),
    /// A line that is no record for the reason told.
    Refused(LineError),
    /// The end, before the source's own.
    Broken(SourceError),
    /// The source's own end. Groups that end without it were not all read.
    End,
}

/// The groups of a source, in order.
pub struct Groups {
    records: Box<dyn Records>,
    /// What comes after the group just given.
    pending: Option<Group>,
    ended: bool,
    /// The last line given: checkpoints count on lines that grow, whatever a form's own count does.
    last: u64,
}

/// The next record of a source: its line and its JSON, or why it has none.
type Next = io::Result<Option<(u64, Result<Vec<u8>, NoRecord>)>>;

/// Why there is no record.
type NoRecord = (RefusalCode, FieldError);

/// One record after the other.
trait Records: Send {
    /// The next record.
    fn next(&mut self) -> Next;

    /// The last line that was read.
    fn line(&self) -> u64;
}

impl Groups {
    /// Opens a source. `read` counts its bytes as they are taken.
    #[must_use]
    pub fn new(
        source: impl Read + Send + 'static,
        format: Option<Format>,
        read: Arc<AtomicU64>,
    ) -> Self {
        match open(Box::new(Counting { source, read }), format) {
            Ok(records) => Self { records, pending: None, ended: false, last: 0 },
            Err(cause) => Self {
                records: Box::new(Nothing),
                pending: Some(Group::Broken(SourceError { line: 0, cause })),
                ended: true,
                last: 0,
            },
        }
    }
}

/// Groups read ahead of the database.
const AHEAD: usize = 2;

impl Groups {
    /// Reads the groups on a thread of its own, a few ahead of who takes them. Nobody waits for the
    /// thread: a read of standard input may never return.
    #[must_use]
    pub fn read_ahead(
        source: impl Read + Send + 'static,
        format: Option<Format>,
        read: Arc<AtomicU64>,
    ) -> mpsc::Receiver<Group> {
        let (sender, receiver) = mpsc::channel(AHEAD);
        std::thread::spawn(move || {
            for group in Self::new(source, format, read) {
                // A receiver that is gone wants no more.
                if sender.blocking_send(group).is_err() {
                    return;
                }
            }
        });
        receiver
    }
}

impl Iterator for Groups {
    type Item = Group;

    fn next(&mut self) -> Option<Group> {
        if let Some(pending) = self.pending.take() {
            return Some(pending);
        }
        let mut lines = Vec::new();
        let mut bytes = 0;
        while !self.ended && lines.len() < GROUP_LINES && bytes < GROUP_BYTES {
            match self.records.next() {
                Ok(None) => {
                    self.ended = true;
                    self.pending = Some(Group::End);
                }
                Ok(Some((line, Ok(record)))) => {
                    self.last = line.max(self.last + 1);
                    bytes += record.len();
                    lines.push((self.last, record));
                }
                Ok(Some((line, Err((code, error))))) => {
                    self.last = line.max(self.last + 1);
                    let line = self.last;
                    self.pending = Some(Group::Refused(LineError { line, error, code }));
                    break;
                }
                Err(cause) => {
                    self.ended = true;
                    let line = self.records.line();
                    self.pending = Some(Group::Broken(SourceError { line, cause }));
                }
            }
        }
        if lines.is_empty() { self.pending.take() } else { Some(Group::Lines(lines)) }
    }
}

fn too_long() -> NoRecord {
    let message = format!("the line is longer than {MAX_LINE_BYTES} bytes");
    (RefusalCode::TooLong, FieldError::new("", message))
}

fn broken(message: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message.into())
}

/// Looks through compression and at the first byte of what is within.
fn open(source: Box<dyn Read + Send>, format: Option<Format>) -> io::Result<Box<dyn Records>> {
    let mut reader = Peeked::new(source);
    reader.fill(|seen| seen.len() >= 4)?;
    if reader.seen().starts_with(&[0x1f, 0x8b]) {
        reader = Peeked::new(Box::new(MultiGzDecoder::new(reader.into_buffered())));
    } else if reader.seen().starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) || is_skippable(reader.seen()) {
        let mut decoder = Box::new(FrameDecoder::new());
        decoder.set_max_window_size(MAX_WINDOW);
        let source = Remembering { source: reader.into_buffered(), failure: None };
        reader = Peeked::new(Box::new(ZstdFrames { source, decoder, in_frame: false }));
    }
    reader.fill(|seen| seen.len() >= 3)?;
    if reader.seen().starts_with(b"\xef\xbb\xbf") {
        reader.skip(3);
    }
    let blank = |seen: &[u8]| seen.iter().all(u8::is_ascii_whitespace);
    reader.fill(|seen| !blank(seen))?;
    let first = reader.seen().iter().copied().find(|byte| !byte.is_ascii_whitespace());
    let format = format.unwrap_or(match first {
        Some(b'[') => Format::JsonArray,
        None | Some(b'{') => Format::Ndjson,
        Some(_) => Format::Csv,
    });
    Ok(match format {
        // A name that says NDJSON and a content that is an array: the content counts.
        _ if first == Some(b'[') => Box::new(ArrayElements::new(reader.into_buffered())),
        Format::Ndjson | Format::JsonArray => {
            Box::new(Lines { reader: reader.into_buffered(), line: 0 })
        }
        Format::Csv => {
            reader.fill(|seen| seen.contains(&b'\n'))?;
            let header = reader.seen().split(|byte| *byte == b'\n').next().unwrap_or_default();
            let header = header.to_vec();
            Box::new(CsvRows::new(reader.into_buffered(), &header)?)
        }
    })
}

/// The largest window of a Zstandard frame, in bytes: memory is bounded, and all but the `--ultra` and
/// `--long` levels of the usual tools stay below.
const MAX_WINDOW: u64 = 32 * 1024 * 1024;

/// The most bytes looked at before a form is decided.
const MAX_PEEK: usize = 64 * 1024;

/// A source whose beginning can be looked at, however few bytes it gives at a time.
struct Peeked {
    seen: Vec<u8>,
    rest: Box<dyn Read + Send>,
}

impl Peeked {
    fn new(rest: Box<dyn Read + Send>) -> Self {
        Self { seen: Vec::new(), rest }
    }

    fn seen(&self) -> &[u8] {
        &self.seen
    }

    /// Reads until enough is seen, to the end, or to the bound.
    fn fill(&mut self, enough: impl Fn(&[u8]) -> bool) -> io::Result<()> {
        let mut part = vec![0; 8 * 1024];
        while !enough(&self.seen) && self.seen.len() < MAX_PEEK {
            match self.rest.read(&mut part) {
                Ok(0) => break,
                Ok(taken) => self.seen.extend_from_slice(&part[..taken]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn skip(&mut self, bytes: usize) {
        self.seen.drain(..bytes);
    }

    /// All of it, from what was seen on.
    fn into_buffered(self) -> Box<dyn BufRead + Send> {
        let whole = io::Cursor::new(self.seen).chain(self.rest);
        Box::new(BufReader::with_capacity(BUFFER, whole))
    }
}

struct Nothing;

impl Records for Nothing {
    fn next(&mut self) -> Next {
        Ok(None)
    }

    fn line(&self) -> u64 {
        0
    }
}

/// Counts what is read.
struct Counting<R> {
    source: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let taken = self.source.read(buffer)?;
        self.read.fetch_add(u64::try_from(taken).unwrap_or_default(), Ordering::Relaxed);
        Ok(taken)
    }
}

/// Zstandard frames one after the other, skippable ones left out (RFC 8878 section 3.1).
struct ZstdFrames {
    source: Remembering,
    decoder: Box<FrameDecoder>,
    in_frame: bool,
}

fn is_skippable(head: &[u8]) -> bool {
    matches!(head, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..])
}

/// A source that remembers why it could not be read: a decoder tells only of its own trouble.
struct Remembering {
    source: Box<dyn BufRead + Send>,
    failure: Option<io::Error>,
}

impl Remembering {
    fn remember<T>(failure: &mut Option<io::Error>, read: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &read {
            *failure = Some(io::Error::new(error.kind(), error.to_string()));
        }
        read
    }

    /// Why decoding failed: the source's trouble, or what it holds.
    fn cause(&mut self, error: &FrameDecoderError) -> io::Error {
        self.failure.take().unwrap_or_else(|| broken(format!("Zstandard: {error}")))
    }
}

impl Read for Remembering {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Self::remember(&mut self.failure, self.source.read(buffer))
    }
}

impl BufRead for Remembering {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        Self::remember(&mut self.failure, self.source.fill_buf())
    }

    fn consume(&mut self, bytes: usize) {
        self.source.consume(bytes);
    }
}

impl ZstdFrames {
    /// Begins the next frame; `false` at the end of the source.
    fn begin(&mut self) -> io::Result<bool> {
        loop {
            if self.source.fill_buf()?.is_empty() {
                return Ok(false);
            }
            match self.decoder.init(&mut self.source) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let mut skipped = self.source.by_ref().take(length.into());
                    if io::copy(&mut skipped, &mut io::sink())? < u64::from(length) {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(self.source.cause(&error)),
            }
        }
    }
}

impl Read for ZstdFrames {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.in_frame || self.begin()? {
            self.in_frame = true;
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                let one = BlockDecodingStrategy::UptoBlocks(1);
                if let Err(error) = self.decoder.decode_blocks(&mut self.source, one) {
                    return Err(self.source.cause(&error));
                }
            }
            let taken = self.decoder.read(buffer)?;
            if taken > 0 || buffer.is_empty() {
                return Ok(taken);
            }
            self.in_frame = false;
            let told = self.decoder.get_checksum_from_data();
            if told.is_some() && told != self.decoder.get_calculated_checksum() {
                return Err(broken("Zstandard: the checksum does not match"));
            }
        }
        Ok(0)
    }
}

/// NDJSON: one record a line; blank lines are none.
struct Lines {
    reader: Box<dyn BufRead + Send>,
    /// The number of the last line read.
    line: u64,
}

impl Records for Lines {
    fn next(&mut self) -> Next {
        loop {
            let mut text = Vec::new();
            // Of a line longer than allowed only one byte more than that is kept.
            let most = u64::try_from(MAX_LINE_BYTES).unwrap_or(u64::MAX) + 2;
            if self.reader.by_ref().take(most).read_until(b'\n', &mut text)? == 0 {
                return Ok(None);
            }
            self.line += 1;
            if text.last() == Some(&b'\n') {
                text.pop();
                if text.last() == Some(&b'\r') {
                    text.pop();
                }
            } else if text.len() > MAX_LINE_BYTES {
                self.reader.skip_until(b'\n')?;
            }
            if text.len() > MAX_LINE_BYTES {
                return Ok(Some((self.line, Err(too_long()))));
            }
            if !text.iter().all(u8::is_ascii_whitespace) {
                return Ok(Some((self.line, Ok(text))));
            }
        }
    }

    fn line(&self) -> u64 {
        self.line
    }
}

/// The elements of one JSON array, cut out without being parsed.
struct ArrayElements {
    reader: Box<dyn BufRead + Send>,
    /// How many elements were read.
    count: u64,
    place: Place,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before the opening bracket.
    Before,
    /// Where an element or, at first, the closing bracket must be.
    Element,
    /// After the closing bracket.
    After,
}

impl ArrayElements {
    fn new(reader: Box<dyn BufRead + Send>) -> Self {
        Self { reader, count: 0, place: Place::Before }
    }

    /// The next byte that is no white space, taken.
    fn token(&mut self) -> io::Result<Option<u8>> {
        loop {
            let buffer = self.reader.fill_buf()?;
            if buffer.is_empty() {
                return Ok(None);
            }
            let found = buffer.iter().position(|byte| !byte.is_ascii_whitespace());
            let byte = found.map(|at| buffer[at]);
            let taken = found.map_or(buffer.len(), |at| at + 1);
            self.reader.consume(taken);
            if byte.is_some() {
                return Ok(byte);
            }
        }
    }

    /// An element from its first byte on, up to and with the `,` or `]` after it. Of one longer than
    /// allowed only the first bytes are kept.
    fn element(&mut self, first: u8) -> io::Result<(Vec<u8>, bool, u8)> {
        let (mut text, mut too_long) = (Vec::new(), false);
        let mut scan = Scan::default();
        scan.step(first);
        text.push(first);
        loop {
            let buffer = self.reader.fill_buf()?;
            if buffer.is_empty() {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the JSON array is cut off",
                ));
            }
            let end = buffer.iter().position(|&byte| scan.step(byte));
            let part = &buffer[..end.unwrap_or(buffer.len())];
            if text.len() + part.len() > MAX_LINE_BYTES {
                too_long = true;
            } else {
                text.extend_from_slice(part);
            }
            let after = end.map(|at| buffer[at]);
            let taken = end.map_or(buffer.len(), |at| at + 1);
            self.reader.consume(taken);
            if let Some(after) = after {
                return Ok((text, too_long, after));
            }
        }
    }
}

/// Where a scan is inside a JSON value.
#[derive(Default)]
struct Scan {
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Scan {
    /// Takes a byte; tells whether it is the `,` or `]` that ends the value.
    fn step(&mut self, byte: u8) -> bool {
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return false;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b',' | b']' if self.depth == 0 => return true,
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        false
    }
}

impl Records for ArrayElements {
    fn next(&mut self) -> Next {
        if self.place == Place::Before {
            self.token()?;
            self.place = Place::Element;
        }
        if self.place == Place::After {
            return match self.token()? {
                None => Ok(None),
                Some(_) => Err(broken("something follows the JSON array")),
            };
        }
        let first = self.token()?.ok_or_else(|| {
            io::Error::new(io::ErrorKind::UnexpectedEof, "the JSON array is cut off")
        })?;
        if first == b']' && self.count == 0 {
            self.place = Place::After;
            return self.next();
        }
        self.count += 1;
        if matches!(first, b',' | b']') {
            return Err(broken(format!("record {} of the JSON array is missing", self.count)));
        }
        let (text, long, after) = self.element(first)?;
        if after == b']' {
            self.place = Place::After;
        }
        Ok(Some((self.count, if long { Err(too_long()) } else { Ok(text) })))
    }

    fn line(&self) -> u64 {
        self.count
    }
}

/// CSV (RFC 4180) of products: a header row of field names, then a product a row. An empty cell is a
/// field that the row does not have. Cells are separated by what separates the header's: `,`, `;` or a
/// tab.
struct CsvRows {
    rows: csv::Reader<Bounded>,
    columns: Vec<String>,
    row: csv::ByteRecord,
    line: u64,
    /// The parser takes a row to begin before the line feed that ends the row above with a carriage
    /// return: one line too early.
    crlf: bool,
    /// Bytes taken since the last whole row.
    since: Arc<AtomicU64>,
}

/// Ends a row that does not end: a quote left open would take in all the rest.
struct Bounded {
    reader: Box<dyn BufRead + Send>,
    since: Arc<AtomicU64>,
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let taken = self.reader.read(buffer)?;
        let bytes = u64::try_from(taken).unwrap_or_default();
        if self.since.fetch_add(bytes, Ordering::Relaxed) > 2 * MAX_LINE_BYTES as u64 {
            return Err(broken("a row does not end (is a quote left open?)"));
        }
        Ok(taken)
    }
}

/// The fields of a product that are no texts.
const NUMBERS: [&str; 5] = ["price", "cost", "termMonths", "stockQty", "reorderLevel"];

/// All that a column may hold.
fn columns() -> impl Iterator<Item = &'static str> {
    FIELDS.into_iter().chain(["op", "updatedAt", "createdAt", "id", "kind"])
}

impl CsvRows {
    fn new(reader: Box<dyn BufRead + Send>, header: &[u8]) -> io::Result<Self> {
        let count = |separator: &u8| header.split(|byte| byte == separator).count();
        let separator = [b',', b';', b'\t'].into_iter().rev().max_by_key(count).unwrap_or(b',');
        let crlf = header.ends_with(b"\r");
        let since = Arc::new(AtomicU64::new(0));
        let mut rows = csv::ReaderBuilder::new()
            .delimiter(separator)
            .flexible(true)
            .from_reader(Bounded { reader, since: since.clone() });
        let names: Vec<String> = rows
            .byte_headers()
            .map_err(csv_error)?
            .iter()
            .map(|name| {
                let name = String::from_utf8_lossy(name).trim().to_owned();
                // Letter case does not count: spreadsheets like capitals.
                let known = columns().find(|known| known.eq_ignore_ascii_case(&name));
                known.map_or(name, ToOwned::to_owned)
            })
            .collect();
        if !names.iter().any(|name| columns().any(|known| known == name)) {
            return Err(broken(
                "neither JSON nor CSV of products: the first row names no field of a product",
            ));
        }
        Ok(Self { rows, columns: names, row: csv::ByteRecord::new(), line: 1, crlf, since })
    }

    /// The row as a record of a product.
    fn record(&self) -> Result<Vec<u8>, NoRecord> {
        if self.row.len() != self.columns.len() {
            let (cells, columns) = (self.row.len(), self.columns.len());
            let message = format!("the row has {cells} cells, and the header {columns}");
            return Err((RefusalCode::Malformed, FieldError::new("", message)));
        }
        let mut record = "{\"kind\":\"product\"".to_owned();
        for (name, cell) in self.columns.iter().zip(&self.row) {
            let cell = std::str::from_utf8(cell)
                .map_err(|_| FieldError::new(name.as_str(), "is not UTF-8"))
                .map_err(|error| (RefusalCode::NotUtf8, error))?;
            if cell.is_empty() || name == "kind" {
                continue;
            }
            let bare = cell.trim();
            let is_number = || {
                NUMBERS.contains(&name.as_str())
                    && serde_json::from_str::<&RawValue>(bare)
                        .is_ok_and(|value| type_name(value) == "number")
            };
            let lower = bare.to_ascii_lowercase();
            let is_boolean = name == "active" && matches!(lower.as_str(), "true" | "false");
            // Numbers keep their digits; what should be one and is not is told as the text it is.
            let value = match cell {
                _ if is_boolean => lower,
                _ if is_number() => bare.to_owned(),
                cell => quoted(cell),
            };
            let _ = write!(record, ",{}:{value}", quoted(name));
        }
        record.push('}');
        Ok(record.into_bytes())
    }
}

/// The trouble of the source itself, as it came.
fn csv_error(error: csv::Error) -> io::Error {
    let words = error.to_string();
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        _ => broken(words),
    }
}

fn quoted(text: &str) -> String {
    // A text always serializes.
    serde_json::to_string(text).unwrap_or_default()
}

impl Records for CsvRows {
    fn next(&mut self) -> Next {
        self.since.store(0, Ordering::Relaxed);
        loop {
            if !self.rows.read_byte_record(&mut self.row).map_err(csv_error)? {
                return Ok(None);
            }
            // A row of separators alone is what a spreadsheet leaves below a table.
            if self.row.iter().any(|cell| !cell.is_empty()) {
                break;
            }
        }
        self.line = self
            .row
            .position()
            .map_or(self.line + 1, |position| position.line() + u64::from(self.crlf));
        let bytes: usize = self.row.as_slice().len();
        let record = if bytes > MAX_LINE_BYTES { Err(too_long()) } else { self.record() };
        Ok(Some((self.line, record)))
    }

    fn line(&self) -> u64 {
        self.line
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    /// What a source is read as: `number:text` for records, `number!message` for what is refused, `|`
    /// between groups.
    fn shown(source: &[u8], format: Option<Format>) -> String {
        let read = Arc::new(AtomicU64::new(0));
        let groups = Groups::new(io::Cursor::new(source.to_vec()), format, read.clone());
        let shown: Vec<String> = groups
            .map(|group| match group {
                Group::Lines(lines) => {
                    let show = |(number, text): &(u64, Vec<u8>)| {
                        format!("{number}:{}", String::from_utf8_lossy(text))
                    };
                    lines.iter().map(show).collect::<Vec<_>>().join(" ")
                }
                Group::Refused(LineError { line, error, .. }) => format!("{line}!{error}"),
                Group::Broken(error) => format!("broken {error}"),
                Group::End => "end".to_owned(),
            })
            .collect();
        let shown = shown.join("|");
        // Whatever is not broken has an end.
        if shown.contains("broken") {
            return shown;
        }
        let whole = shown.strip_suffix("end").expect("an end");
        whole.strip_suffix('|').unwrap_or(whole).to_owned()
    }

    fn read(source: &[u8]) -> String {
        shown(source, None)
    }

    /// Gives one byte at a time.
    struct Dripping(io::Cursor<Vec<u8>>);

    impl Read for Dripping {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let most = buffer.len().min(1);
            self.0.read(&mut buffer[..most])
        }
    }

    #[test]
    fn a_source_that_gives_a_byte_at_a_time_is_told_as_what_it_is() {
        let csv = b"sku;name\r\nA;B\r\n";
        let array = b"\xef\xbb\xbf \n [{\"a\":1},2]";
        for plain in [&csv[..], array, b"{\"a\":1}\n{}\n"] {
            let expected = read(plain);
            for source in [plain.to_vec(), gzip(plain), zstd_frame(plain)] {
                let groups = Groups::new(Dripping(io::Cursor::new(source)), None, Arc::default());
                let shown: Vec<Group> = groups.collect();
                let [Group::Lines(lines), Group::End] = shown.as_slice() else {
                    panic!("{shown:?}")
                };
                let told: Vec<String> = lines
                    .iter()
                    .map(|(line, text)| format!("{line}:{}", String::from_utf8_lossy(text)))
                    .collect();
                assert_eq!(told.join(" "), expected);
            }
        }
    }

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(plain).expect("memory");
        encoder.finish().expect("memory")
    }

    fn zstd_frame(plain: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(plain, ruzstd::encoding::CompressionLevel::Fastest)
    }

    #[test]
    fn byte_order_mark_crlf_blank_lines_and_a_missing_last_newline_are_understood() {
        assert_eq!(read(b""), "");
        assert_eq!(read(b"\xef\xbb\xbf{a}\r\n\n  \t\r\nb\n\nc"), "1:{a} 4:b 6:c");
    }

    #[test]
    fn a_line_too_long_is_told_in_its_place_and_the_next_one_is_whole() {
        let long = "x".repeat(MAX_LINE_BYTES + 1);
        let far_too_long = "y".repeat(3 * MAX_LINE_BYTES);
        let source = format!("{{a\n{long}\nb\n{far_too_long}\r\nc\n{far_too_long}");
        let told = "the line is longer than 4194304 bytes";
        assert_eq!(read(source.as_bytes()), format!("1:{{a|2!{told}|3:b|4!{told}|5:c|6!{told}"));
        let longest = format!("{{{}", "z".repeat(MAX_LINE_BYTES - 1));
        assert_eq!(read(format!("{longest}\r\na").as_bytes()), format!("1:{longest}|2:a"));
    }

    #[test]
    fn groups_are_bounded() {
        let lines = "{\n".repeat(GROUP_LINES * 2 + 1);
        assert_eq!(read(lines.as_bytes()).matches('|').count(), 2);
        let large = format!("{{{}\n", "b".repeat(1024 * 1024)).repeat(8);
        assert_eq!(read(large.as_bytes()).matches('|').count(), 1);
    }

    #[test]
    fn an_array_is_cut_into_its_elements_whatever_they_hold() {
        assert_eq!(read(b" [ ] \n"), "");
        let source = br#"[{"a":"],[\"{"} , [1,[2]],"x\\",{"b":{}}
        ]"#;
        assert_eq!(
            read(source),
            r#"1:{"a":"],[\"{"}  2:[1,[2]] 3:"x\\" 4:{"b":{}}"#.to_owned() + "\n        "
        );
        assert_eq!(shown(b"[1]", Some(Format::Ndjson)), "1:1");
    }

    #[test]
    fn an_array_that_is_broken_is_told_after_what_was_whole() {
        assert_eq!(read(b"[{},{\"a\""), "1:{}|broken after line 2: the JSON array is cut off");
        assert_eq!(read(b"["), "broken after line 0: the JSON array is cut off");
        assert_eq!(read(b"[{}] {}"), "1:{}|broken after line 1: something follows the JSON array");
        assert_eq!(
            read(b"[{},]"),
            "1:{}|broken after line 2: record 2 of the JSON array is missing"
        );
    }

    #[test]
    fn csv_rows_are_products_with_the_fields_that_have_a_value() {
        let source = "sku,Name,PRICE,active,stockQty,note\r\n\
             A,\"Cable, \"\"red\"\"\nlong\",19.90,TRUE,,x\r\n\
             B,7,1e400,yes,many,\r\n\
             ,,,,,\r\n\
             C,short\r\n";
        assert_eq!(
            read(source.as_bytes()),
            r#"2:{"kind":"product","sku":"A","name":"Cable, \"red\"\nlong","price":19.90,"active":true,"note":"x"} 4:{"kind":"product","sku":"B","name":"7","price":1e400,"active":"yes","stockQty":"many"}|6!the row has 2 cells, and the header 6"#
        );
        assert_eq!(read(b"name;price\nx;1\n"), r#"2:{"kind":"product","name":"x","price":1}"#);
        assert_eq!(shown(b"name\n{x}", Some(Format::Csv)), r#"2:{"kind":"product","name":"{x}"}"#);
        // Line numbers grow, whatever ends the lines: a checkpoint counts on it.
        assert_eq!(
            read(b"name\ra\rb\r"),
            r#"2:{"kind":"product","name":"a"} 3:{"kind":"product","name":"b"}"#
        );
        assert!(read(b"hello world\n").contains("names no field of a product"));
        assert_eq!(read(b"name\n\xff\n"), "2!name: is not UTF-8");
        let open_quote = [b"name\n\"".to_vec(), vec![b'x'; 3 * MAX_LINE_BYTES]].concat();
        assert!(read(&open_quote).contains("is a quote left open?"));
    }

    #[test]
    fn compressed_sources_are_read_as_what_they_hold_and_broken_ones_are_told() {
        let plain = b"{\"a\":1}\n{\"a\":2}\n".repeat(3);
        let expected = read(&plain);
        assert_eq!(read(&gzip(&plain)), expected);
        assert_eq!(read(&[gzip(&plain[..16]), gzip(&plain[16..])].concat()), expected);
        assert_eq!(read(&zstd_frame(&plain)), expected);
        let skippable = [0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3];
        let frames =
            [&skippable[..], &zstd_frame(&plain[..16]), &skippable, &zstd_frame(&plain[16..])];
        assert_eq!(read(&frames.concat()), expected);
        for whole in [gzip(&plain), zstd_frame(&plain)] {
            for cut in [5, whole.len() / 2, whole.len() - 1] {
                let told = read(&whole[..cut]);
                assert!(told.contains("broken after line"), "cut at {cut}: {told}");
            }
        }
    }
}
