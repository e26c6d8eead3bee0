//! NDJSON (newline-delimited JSON): one record per line.

use std::io::{self, BufRead, Read};

use super::{Line, LineReader, too_long};
use crate::imports::MAX_LINE_BYTES;

/// How the first line of an export with a cursor begins.
const EXPORT_HEAD: &[u8] = b"{\"changesCursor\":";

/// Reads lines. Blank lines, and the line with which an export with a cursor begins, are counted and skipped;
/// the JSON is not parsed.
pub(super) struct NdjsonReader {
    reader: Box<dyn BufRead + Send>,
    line: u64,
}

impl NdjsonReader {
    pub(super) fn new(reader: Box<dyn BufRead + Send>) -> Self {
        Self { reader, line: 0 }
    }
}

impl LineReader for NdjsonReader {
    fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            let mut text = Vec::new();
            // The longest line with its CR and LF. The limit keeps longer ones out of memory.
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
            } else {
                // It is too long, or the last one.
                self.reader.skip_until(b'\n')?;
            }
            if text.len() > MAX_LINE_BYTES {
                return Ok(Some((self.line, Err(too_long()))));
            }
            let is_head = self.line == 1 && text.starts_with(EXPORT_HEAD);
            if !is_head && !text.trim_ascii_start().is_empty() {
                return Ok(Some((self.line, Ok(text))));
            }
        }
    }

    fn line(&self) -> u64 {
        self.line
    }
}
