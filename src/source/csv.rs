//! CSV (RFC 4180) of products: a header row of field names, then one product per row.

use std::{
    fmt::Write as _,
    io::{self, BufRead, Read},
};

use serde_json::value::RawValue;

use super::{Line, LineReader, PeekReader, RejectedLine, invalid_data, too_long};
use crate::{
    imports::{LineErrorCode, MAX_LINE_BYTES},
    json::type_name,
    money::Amount,
    products::{FIELDS, Rule},
    text::FieldError,
};

/// The maximum number of characters of a cell that an error quotes.
const QUOTED_CHARS: usize = 40;

/// All columns that have a meaning.
fn known_columns() -> impl Iterator<Item = &'static str> {
    FIELDS.iter().map(|field| field.name).chain(["op", "updatedAt", "createdAt", "id", "kind"])
}

/// Reads rows into records. An empty cell gives no field, since CSV has no null.
pub(super) struct CsvReader {
    rows: csv::Reader<BoundedReader>,
    columns: Vec<String>,
    row: csv::ByteRecord,
    line: u64,
    /// Lines end with CR and LF. The parser ends a row at the CR, so it places the next row on the line
    /// of the LF: one too low.
    is_crlf: bool,
}

impl CsvReader {
    pub(super) fn open(mut source: PeekReader) -> io::Result<Self> {
        source.fill(|head| head.contains(&b'\n'))?;
        let header = source.head().split(|byte| *byte == b'\n').next().unwrap_or_default();
        let is_crlf = header.ends_with(b"\r");
        let delimiter = delimiter(header);
        let mut rows = csv::ReaderBuilder::new()
            .delimiter(delimiter)
            .flexible(true)
            .from_reader(BoundedReader { reader: source.into_buffered(), row_bytes: 0 });
        let columns: Vec<String> =
            rows.byte_headers().map_err(io_error)?.iter().map(column).collect();
        if !columns.iter().any(|column| known_columns().any(|known| known == column)) {
            return Err(invalid_data(
                "neither JSON nor CSV of products: the first row names no field of a product",
            ));
        }
        Ok(Self { rows, columns, row: csv::ByteRecord::new(), line: 1, is_crlf })
    }

    /// The row as the record of a product, or what is wrong with its cells.
    fn record(&self) -> Result<Vec<u8>, RejectedLine> {
        if self.row.len() != self.columns.len() {
            let (cells, columns) = (self.row.len(), self.columns.len());
            let message = format!("the row has {cells} cells, and the header {columns}");
            return Err(RejectedLine::of(LineErrorCode::Malformed, FieldError::new("", message)));
        }
        let mut record = "{\"kind\":\"product\"".to_owned();
        let mut errors = Vec::new();
        for (column, cell) in self.columns.iter().zip(&self.row) {
            let cell = std::str::from_utf8(cell).map_err(|_| {
                RejectedLine::of(
                    LineErrorCode::NotUtf8,
                    FieldError::new(column.as_str(), "is not UTF-8"),
                )
            })?;
            if cell.is_empty() || column == "kind" {
                continue;
            }
            let value = json_value(column, cell).unwrap_or_else(|reason| {
                let message = format!("the cell {} is {reason}", quoted(cell));
                errors
                    .push((LineErrorCode::InvalidField, FieldError::new(column.as_str(), message)));
                json_string(cell)
            });
            let _ = write!(record, ",{}:{value}", json_string(column));
        }
        record.push('}');
        let record = record.into_bytes();
        if errors.is_empty() {
            Ok(record)
        } else {
            Err(RejectedLine { errors, record: Some(record) })
        }
    }
}

/// The separator of the header's cells: the candidate that occurs most often.
fn delimiter(header: &[u8]) -> u8 {
    let cells = |separator: &u8| header.split(|byte| byte == separator).count();
    // If counts are equal, `max_by_key` returns the last one: the comma.
    [b'\t', b';', b','].into_iter().max_by_key(cells).unwrap_or(b',')
}

/// A column's name. Known ones are case-insensitive, because spreadsheets like capitals.
fn column(cell: &[u8]) -> String {
    let name = String::from_utf8_lossy(cell).trim().to_owned();
    let known = known_columns().find(|known| known.eq_ignore_ascii_case(&name));
    known.map_or(name, ToOwned::to_owned)
}

/// A cell as JSON, or why it does not fit its column.
fn json_value(column: &str, cell: &str) -> Result<String, &'static str> {
    let trimmed = cell.trim();
    // The digits stay as they are: a float could lose some of them.
    let number = || {
        serde_json::from_str::<&RawValue>(trimmed)
            .is_ok_and(|value| type_name(value) == "number")
            .then(|| trimmed.to_owned())
    };
    let field = FIELDS.iter().find(|field| field.name == column);
    match field.map(|field| field.rule) {
        Some(Rule::Amount) => number().ok_or("not a number; decimals follow a point, as in 9.99"),
        Some(Rule::Whole(_)) => {
            let is_whole =
                |digits: &String| Amount::parse(digits).is_ok_and(|n| n.whole().is_some());
            number().filter(is_whole).ok_or("not a whole number, such as 12")
        }
        Some(Rule::Boolean) => {
            // Spreadsheets write TRUE and FALSE.
            let lower = trimmed.to_ascii_lowercase();
            let is_boolean = matches!(lower.as_str(), "true" | "false");
            is_boolean.then_some(lower).ok_or("neither true nor false")
        }
        Some(Rule::Text(..) | Rule::Key(_) | Rule::OneOf(_) | Rule::Currency) | None => {
            Ok(json_string(cell))
        }
    }
}

/// The beginning of a cell, in quotes.
fn quoted(cell: &str) -> String {
    let mut text: String = cell.chars().take(QUOTED_CHARS).collect();
    if text.len() < cell.len() {
        text.push('…');
    }
    json_string(&text)
}

fn json_string(text: &str) -> String {
    // Serializing a string cannot fail.
    serde_json::to_string(text).unwrap_or_default()
}

/// Keeps the kind of an error of the source, which decides whether the import is retried.
fn io_error(error: csv::Error) -> io::Error {
    let message = error.to_string();
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        _ => invalid_data(message),
    }
}

impl LineReader for CsvReader {
    fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            self.rows.get_mut().row_bytes = 0;
            if !self.rows.read_byte_record(&mut self.row).map_err(io_error)? {
                return Ok(None);
            }
            // Spreadsheets leave rows of empty cells below a table.
            if self.row.iter().any(|cell| !cell.is_empty()) {
                break;
            }
        }
        self.line = self
            .row
            .position()
            .map_or(self.line, |position| position.line() + u64::from(self.is_crlf));
        let is_too_long = self.row.as_slice().len() > MAX_LINE_BYTES;
        let record = if is_too_long { Err(too_long()) } else { self.record() };
        Ok(Some((self.line, record)))
    }

    fn line(&self) -> u64 {
        self.line
    }
}

/// Fails in a row that does not end: after an unclosed quote, all the rest would be one cell in memory.
struct BoundedReader {
    reader: Box<dyn BufRead + Send>,
    /// Bytes read since the last row ended.
    row_bytes: usize,
}

impl Read for BoundedReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let taken = self.reader.read(buffer)?;
        if self.row_bytes > 2 * MAX_LINE_BYTES {
            return Err(invalid_data("a row does not end (is a quote left open?)"));
        }
        self.row_bytes += taken;
        Ok(taken)
    }
}
