//! JSON array: a streaming splitter of one array into its elements.

use std::io::{self, BufRead};

use super::{Line, LineReader, invalid_data, too_long};
use crate::imports::MAX_LINE_BYTES;

/// Splits at the commas between elements. Elements are not parsed: one that is malformed, but whose quotes and brackets
/// are balanced, is later rejected as one line, and the others are imported. An unclosed or an empty element makes the
/// rest unreadable.
pub(super) struct JsonArrayReader {
    reader: Box<dyn BufRead + Send>,
    /// The number of elements that were read to their end.
    count: u64,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    BeforeArray,
    /// At the beginning of an element; in an empty array, before its closing bracket.
    BeforeElement,
    AfterArray,
}

/// An element and what follows it.
struct Element {
    /// `None` if it is too long.
    text: Option<Vec<u8>>,
    /// The `,` or `]` after it.
    separator: u8,
}

impl JsonArrayReader {
    pub(super) fn new(reader: Box<dyn BufRead + Send>) -> Self {
        Self { reader, count: 0, state: State::BeforeArray }
    }

    /// Skips white space and reads the byte after it.
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

    /// Reads the rest of the element that begins with `first`, and the separator after it.
    fn element(&mut self, first: u8) -> io::Result<Element> {
        let (mut text, mut is_too_long) = (vec![first], false);
        let mut scanner = Scanner::default();
        // The first byte may open a string, an array or an object.
        scanner.ends_before(first);
        loop {
            let buffer = self.reader.fill_buf()?;
            if buffer.is_empty() {
                return Err(cut_off());
            }
            let end = buffer.iter().position(|&byte| scanner.ends_before(byte));
            let part = &buffer[..end.unwrap_or(buffer.len())];
            if text.len() + part.len() > MAX_LINE_BYTES {
                // It is read to its end, but not kept.
                is_too_long = true;
            } else {
                text.extend_from_slice(part);
            }
            let separator = end.map(|at| buffer[at]);
            let taken = end.map_or(buffer.len(), |at| at + 1);
            self.reader.consume(taken);
            if let Some(separator) = separator {
                return Ok(Element { text: (!is_too_long).then_some(text), separator });
            }
        }
    }
}

fn cut_off() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the JSON array is cut off")
}

/// Finds the end of an element: a `,` or `]` outside its strings, arrays and objects.
#[derive(Default)]
struct Scanner {
    depth: usize,
    in_string: bool,
    is_escaped: bool,
}

impl Scanner {
    /// Processes the next byte; `true` if the element ends before it.
    fn ends_before(&mut self, byte: u8) -> bool {
        if self.in_string {
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' => self.is_escaped = true,
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

impl LineReader for JsonArrayReader {
    fn next(&mut self) -> io::Result<Option<Line>> {
        if self.state == State::BeforeArray {
            // The `[`, which `open` has seen.
            self.token()?;
            self.state = State::BeforeElement;
        }
        if self.state == State::AfterArray {
            return match self.token()? {
                None => Ok(None),
                Some(_) => Err(invalid_data("something follows the JSON array")),
            };
        }
        let first = self.token()?.ok_or_else(cut_off)?;
        if first == b']' && self.count == 0 {
            self.state = State::AfterArray;
            return self.next();
        }
        let number = self.count + 1;
        if matches!(first, b',' | b']') {
            return Err(invalid_data(format!("record {number} of the JSON array is missing")));
        }
        let Element { text, separator } = self.element(first)?;
        self.count = number;
        if separator == b']' {
            self.state = State::AfterArray;
        }
        Ok(Some((number, text.ok_or_else(too_long))))
    }

    fn line(&self) -> u64 {
        self.count
    }
}
