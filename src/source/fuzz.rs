//! Fuzz targets: any file is read to its end, or to where it breaks off, in bounded memory. Reads of a few bytes give
//! the same lines as large reads; only of a file that breaks off may one give fewer.

use std::{
    io::{self, Read, Write},
    vec,
};

use serde_json::value::RawValue;

use super::{
    Format, GROUP_LINES, Group, Groups, Line, PeekReader, UTF8_BOM, compression::decompress,
};
use crate::{fuzz::fuzz, imports::MAX_LINE_BYTES};

/// Inputs that decompress to more are skipped: a small file may decompress to gigabytes.
const MAX_DECOMPRESSED_BYTES: u64 = 12 * 1024 * 1024;

/// Gives a few bytes at a time.
struct Dripping(io::Cursor<Vec<u8>>, usize);

impl Read for Dripping {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(self.1);
        self.0.read(&mut buffer[..most])
    }
}

/// The lines of a source, one group of them in memory: the fuzzer measures the memory of the parsers, not of a list.
struct Lines {
    groups: Groups,
    group: vec::IntoIter<Line>,
    end: Option<End>,
}

/// Where a source ended.
#[derive(Debug, PartialEq)]
enum End {
    Whole,
    /// It breaks off; why.
    Broken(String),
}

impl Lines {
    fn of(source: impl Read + Send + 'static, format: Option<Format>) -> Self {
        Self { groups: Groups::new(source, format), group: Vec::new().into_iter(), end: None }
    }
}

impl Iterator for Lines {
    type Item = Line;

    fn next(&mut self) -> Option<Line> {
        if self.group.len() == 0 && self.end.is_none() {
            match self.groups.next().expect("a group that says how the source ended") {
                Group::Lines(group) => {
                    assert!((1..=GROUP_LINES).contains(&group.len()));
                    self.group = group.into_iter();
                }
                Group::Broken(error) => self.end = Some(End::Broken(error.to_string())),
                Group::End => self.end = Some(End::Whole),
            }
        }
        self.group.next()
    }
}

/// The number of bytes that a file decompresses to, up to where it breaks off; `MAX_DECOMPRESSED_BYTES + 1` if there
/// are more.
fn decompressed_len(source: impl Read + Send + 'static) -> u64 {
    let Ok(content) = decompress(PeekReader::new(Box::new(source))) else { return 0 };
    let mut count = Count(0);
    let _ = io::copy(&mut content.into_buffered().take(MAX_DECOMPRESSED_BYTES + 1), &mut count);
    count.0
}

struct Count(u64);

impl Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn check(input: &[u8], format: Option<Format>) {
    let whole = || io::Cursor::new(input.to_vec());
    if decompressed_len(whole()) > MAX_DECOMPRESSED_BYTES {
        return;
    }
    let mut lines = Lines::of(whole(), format);
    let piece = usize::from(input.first().copied().unwrap_or_default() % 7) + 1;
    let mut again = (input.len() < 64 * 1024).then(|| Lines::of(Dripping(whole(), piece), format));
    let (mut last, mut only_whole) = (0, 0);
    for line in lines.by_ref() {
        let (number, record) = &line;
        assert!(*number > last, "{number} follows {last}");
        last = *number;
        match record {
            // CSV cells grow when they become JSON: up to six times by escapes, and by the column names.
            Ok(record) => assert!(record.len() <= 8 * MAX_LINE_BYTES),
            Err(rejected) => {
                assert!(!rejected.errors.is_empty());
                for (_, error) in &rejected.errors {
                    // A `FieldError` shortens its message to 1,000 bytes.
                    assert!((1..=1_100).contains(&error.message.len()));
                }
            }
        }
        match again.as_mut().map(Iterator::next) {
            Some(Some(same)) => assert_eq!(same, line),
            Some(None) => only_whole += 1,
            None => {}
        }
    }
    let end = lines.end.expect("an end");
    if let End::Broken(why) = &end {
        // The cause quotes none of the file.
        assert!(why.len() < 500, "{why}");
    }
    if let Some(mut again) = again {
        let only_again = again.by_ref().count();
        let is_whole = end == End::Whole;
        assert_eq!(again.end.as_ref() == Some(&End::Whole), is_whole, "{:?}, {end:?}", again.end);
        // A decoder that meets an error drops what it decoded in the same read. So of a file that breaks off, either
        // reading may give fewer lines than the other.
        assert!(!is_whole || (only_whole, only_again) == (0, 0), "{only_whole}, {only_again}");
    }
}

#[test]
fn any_csv_gives_json_lines_or_errors() {
    let words = ["sku", "name", "price", "externalId", "active", "stockQty", "kind", "op", ";"];
    fuzz("csv", Vec::new(), &words, |input| {
        check(input, Some(Format::Csv));
        let lines = Lines::of(io::Cursor::new(input.to_vec()), Some(Format::Csv));
        for line in lines.filter_map(|(_, line)| line.ok()) {
            let is_json = serde_json::from_slice::<&RawValue>(&line).is_ok();
            // A file that begins with `[`, perhaps after a byte order mark, is split as a JSON array, whatever its
            // name says; its elements are not validated here.
            let content = input.strip_prefix(UTF8_BOM).unwrap_or(input);
            assert!(is_json || content.trim_ascii_start().starts_with(b"["));
        }
    });
}

#[test]
fn any_file_is_read_to_its_end_or_to_where_it_breaks() {
    let words = ["{\"changesCursor\":", "{\"kind\":\"product\"}", "[1,2]", "\u{feff}["];
    fuzz("files", Vec::new(), &words, |input| {
        check(input, None);
        check(input, Some(Format::Ndjson));
    });
}

#[test]
fn any_compressed_file_is_read_to_its_end_or_to_where_it_breaks() {
    fuzz("compressed", Vec::new(), &[], |input| check(input, None));
}
