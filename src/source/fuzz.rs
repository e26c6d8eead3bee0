//! Fuzz targets: any file is read to its end, or to where it breaks off, in bounded memory. Reads of a few bytes give
//! the same lines as large reads; only of a file that breaks off may one give fewer.

use std::io::{self, Read, Write};

use serde_json::value::RawValue;

use super::{Format, Group, Groups, Line, PeekReader, UTF8_BOM, compression::decompress};
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

/// The lines, and why the source breaks off.
fn lines(
    source: impl Read + Send + 'static,
    format: Option<Format>,
) -> (Vec<Line>, Option<String>) {
    let mut lines = Vec::new();
    for group in Groups::new(source, format) {
        match group {
            Group::Lines(group) => {
                assert!(!group.is_empty());
                lines.extend(group);
            }
            Group::Broken(error) => return (lines, Some(error.to_string())),
            Group::End => return (lines, None),
        }
    }
    panic!("no group says how it ended")
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
    let (read, end) = lines(whole(), format);
    let mut last = 0;
    for (number, line) in &read {
        assert!(*number > last, "{number} follows {last}");
        last = *number;
        match line {
            // CSV cells grow when they become JSON: up to six times by escapes, and by the column names.
            Ok(line) => assert!(line.len() <= 8 * MAX_LINE_BYTES),
            Err(rejected) => {
                assert!(!rejected.errors.is_empty());
                for (_, error) in &rejected.errors {
                    // A `FieldError` shortens its message to 1,000 bytes.
                    assert!((1..=1_100).contains(&error.message.len()));
                }
            }
        }
    }
    if let Some(why) = &end {
        // The cause quotes none of the file.
        assert!(why.len() < 500, "{why}");
    }
    let piece = usize::from(input.first().copied().unwrap_or_default() % 7) + 1;
    if input.len() < 64 * 1024 {
        let (again, ends) = lines(Dripping(whole(), piece), format);
        assert_eq!(ends.is_some(), end.is_some(), "{ends:?}, {end:?}");
        // A decoder that meets an error drops what it decoded in the same read. So of a file that breaks off, either
        // reading may give fewer lines than the other.
        let is_whole = end.is_none();
        assert!(!is_whole || again.len() == read.len(), "{} lines, {}", again.len(), read.len());
        assert!(again.iter().zip(&read).all(|(one, other)| one == other));
    }
}

#[test]
fn any_csv_gives_json_lines_or_errors() {
    let words = ["sku", "name", "price", "externalId", "active", "stockQty", "kind", "op", ";"];
    fuzz("csv", Vec::new(), &words, |input| {
        check(input, Some(Format::Csv));
        let (read, _) = lines(io::Cursor::new(input.to_vec()), Some(Format::Csv));
        for line in read.into_iter().filter_map(|(_, line)| line.ok()) {
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
