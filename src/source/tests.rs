use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};

use super::*;

/// Formats groups as text: `number:record` for a record, `number!message` for a rejected line, `|` between
/// groups.
fn shown(source: &[u8], format: Option<Format>) -> String {
    let groups = Groups::new(io::Cursor::new(source.to_vec()), format);
    let shown: Vec<String> = groups.map(|group| shown_group(&group)).collect();
    let shown = shown.join("|");
    // A source that is not broken has an end.
    if shown.contains("broken") {
        return shown;
    }
    let whole = shown.strip_suffix("end").expect("an end");
    whole.strip_suffix('|').unwrap_or(whole).to_owned()
}

fn shown_group(group: &Group) -> String {
    match group {
        Group::Lines(lines) => lines.iter().map(shown_line).collect::<Vec<_>>().join(" "),
        Group::Broken(error) => format!("broken {error}"),
        Group::End => "end".to_owned(),
    }
}

fn shown_line((number, record): &Line) -> String {
    match record {
        Ok(text) => format!("{number}:{}", String::from_utf8_lossy(text)),
        Err(RejectedLine { errors, record }) => {
            let errors: Vec<String> = errors.iter().map(|(_, error)| error.to_string()).collect();
            let record = record.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
            format!("{number}!{}{record}", errors.join("; "))
        }
    }
}

fn read(source: &[u8]) -> String {
    shown(source, None)
}

/// Gives so many bytes at a time.
struct Dripping(io::Cursor<Vec<u8>>, usize);

impl Read for Dripping {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(self.1);
        self.0.read(&mut buffer[..most])
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
fn a_source_that_gives_a_byte_at_a_time_is_told_as_what_it_is() {
    let csv = b"sku;name\r\nA;B\r\n";
    let array = b"\xef\xbb\xbf \n [{\"a\":1},2]";
    for plain in [&csv[..], array, b"{\"a\":1}\n{}\n"] {
        let expected = read(plain);
        for source in [plain.to_vec(), gzip(plain), zstd_frame(plain)] {
            let groups = Groups::new(Dripping(io::Cursor::new(source), 1), None);
            let groups: Vec<Group> = groups.collect();
            let [lines @ Group::Lines(_), Group::End] = groups.as_slice() else {
                panic!("{groups:?}")
            };
            assert_eq!(shown_group(lines), expected);
        }
    }
}

/// Gives these parts, one with each read; `None` is a read that is interrupted. Then the connection is reset.
struct Breaking(std::vec::IntoIter<Option<&'static [u8]>>);

impl Read for Breaking {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.next() {
            Some(Some(part)) => {
                buffer[..part.len()].copy_from_slice(part);
                Ok(part.len())
            }
            Some(None) => Err(io::ErrorKind::Interrupted.into()),
            None => Err(io::Error::new(io::ErrorKind::ConnectionReset, "reset")),
        }
    }
}

fn broken(parts: Vec<Option<&'static [u8]>>) -> Vec<Group> {
    Groups::new(Breaking(parts.into_iter()), None).collect()
}

#[test]
fn what_came_before_a_source_broke_off_is_read_and_why_it_broke_off_is_kept() {
    for (first, lines) in [
        (&b"{\"a\":1}\n{\"a\":2}\n"[..], "1:{\"a\":1} 2:{\"a\":2}"),
        (b"[{\"a\":1},{\"a\":2},", "1:{\"a\":1} 2:{\"a\":2}"),
        (
            b"sku\na\nb\n",
            "2:{\"kind\":\"product\",\"sku\":\"a\"} 3:{\"kind\":\"product\",\"sku\":\"b\"}",
        ),
    ] {
        let groups = broken(vec![Some(first)]);
        let [whole @ Group::Lines(_), Group::Broken(error)] = groups.as_slice() else {
            panic!("{groups:?}")
        };
        assert_eq!(shown_group(whole), lines);
        let last = if first.starts_with(b"sku") { 3 } else { 2 };
        assert_eq!(error.to_string(), format!("after line {last}: reset"));
        assert_eq!(error.cause.kind(), io::ErrorKind::ConnectionReset);
    }
    let groups = broken(vec![None, Some(b"{\"a"), None, Some(b"\":1}\n")]);
    assert_eq!(shown_group(&groups[0]), "1:{\"a\":1}", "a read that is interrupted is repeated");
    // A decoder does not hide why.
    let frame: &'static [u8] = zstd_frame(b"{}").leak();
    let groups = broken(vec![Some(&frame[..6])]);
    let [Group::Broken(error)] = groups.as_slice() else { panic!("{groups:?}") };
    assert_eq!((error.line, error.cause.kind()), (0, io::ErrorKind::ConnectionReset));
}

#[test]
fn a_name_tells_the_format_unless_it_is_used_for_several() {
    for (name, format) in [
        ("a.ndjson", Some(Format::Ndjson)),
        ("a.JSONL", Some(Format::Ndjson)),
        ("a.csv", Some(Format::Csv)),
        ("a.b.csv.gz", Some(Format::Csv)),
        ("a.ndjson.ZST", Some(Format::Ndjson)),
        ("a.json", None),
        ("a.gz", None),
        ("csv.txt", None),
        ("gz", None),
        ("", None),
    ] {
        assert_eq!(Format::of_name(name), format, "{name}");
    }
}

#[test]
fn the_format_is_found_within_64_kb() {
    let spaces = |count: usize| [vec![b' '; count], b"[1]".to_vec()].concat();
    assert_eq!(read(&spaces(MAX_HEAD_BYTES - 1)), "1:1");
    let line = String::from_utf8(spaces(MAX_HEAD_BYTES)).expect("UTF-8");
    assert_eq!(read(line.as_bytes()), format!("1:{line}"), "it is a line of NDJSON");
}

#[test]
fn the_head_of_an_export_is_no_record_and_only_a_first_line_is_one() {
    let head = "{\"changesCursor\":\"x\"}";
    assert_eq!(read(format!("{head}\n{{}}\n{head}\n").as_bytes()), format!("2:{{}} 3:{head}"));
}

#[tokio::test]
async fn a_stream_gives_the_same_groups_from_memory_and_from_a_thread() {
    let plain = "{}\n".repeat(GROUP_LINES + 1);
    let source = gzip(plain.as_bytes());
    let read = Arc::new(AtomicU64::new(0));
    let inline = GroupStream::of_bytes(source.clone(), Some(Format::Ndjson));
    let ahead = GroupStream::read_ahead(
        io::Cursor::new(source.clone()),
        Some(Format::Ndjson),
        read.clone(),
    );
    for mut stream in [inline, ahead] {
        let mut groups = Vec::new();
        while let Some(group) = stream.next().await {
            groups.push(shown_group(&group));
        }
        assert_eq!(format!("{}|end", shown(plain.as_bytes(), None)), groups.join("|"));
        assert_eq!(groups.len(), 3);
    }
    assert_eq!(usize::try_from(read.load(Ordering::Relaxed)), Ok(source.len()));
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
    assert_eq!(read(source.as_bytes()), format!("1:{{a 2!{told} 3:b 4!{told} 5:c 6!{told}"));
    let longest = format!("{{{}", "z".repeat(MAX_LINE_BYTES - 1));
    assert_eq!(read(format!("{longest}\r\na").as_bytes()), format!("1:{longest}|2:a"));
}

#[test]
fn groups_are_bounded() {
    let lines = "{\n".repeat(GROUP_LINES * 2 + 1);
    assert_eq!(read(lines.as_bytes()).matches('|').count(), 2);
    let large = format!("{{{}\n", "b".repeat(1024 * 1024)).repeat(8);
    assert_eq!(read(large.as_bytes()).matches('|').count(), 1);
    let refused = format!("price\n{}", "x\n".repeat(GROUP_LINES * 2 + 1));
    assert_eq!(read(refused.as_bytes()).matches('|').count(), 2);
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
    assert_eq!(read(b"[{},{\"a\""), "1:{}|broken after line 1: the JSON array is cut off");
    assert_eq!(read(b"["), "broken after line 0: the JSON array is cut off");
    assert_eq!(read(b"[{}] {}"), "1:{}|broken after line 1: something follows the JSON array");
    assert_eq!(read(b"[{},]"), "1:{}|broken after line 1: record 2 of the JSON array is missing");
}

#[test]
fn an_element_of_an_array_may_be_as_long_as_a_line() {
    let element = |bytes: usize| format!("[\"{}\",2]", "x".repeat(bytes - 2));
    let longest = element(MAX_LINE_BYTES);
    assert_eq!(read(longest.as_bytes()), format!("1:{}|2:2", &longest[1..=MAX_LINE_BYTES]));
    let told = "1!the line is longer than 4194304 bytes 2:2";
    assert_eq!(read(element(MAX_LINE_BYTES + 1).as_bytes()), told);
}

#[test]
fn lines_of_csv_are_numbered_upward_and_rows_are_always_products() {
    let row = |line: u32, sku: &str| format!(r#"{line}:{{"kind":"product","sku":"{sku}"}}"#);
    let two = format!("{} {}", row(2, "a"), row(3, "b"));
    for source in ["sku\na\nb\n", "sku\r\na\r\nb\r\n", "sku\na\r\nb\r\n"] {
        assert_eq!(read(source.as_bytes()), two, "{source:?}");
    }
    assert_eq!(read(b"kind;sku\noffering;a\n;b\n"), two);
}

#[test]
fn csv_rows_are_products_with_the_fields_that_have_a_value() {
    let source = "sku,Name,PRICE,active,stockQty,note\r\n\
         A,\"Cable, \"\"red\"\"\nlong\",19.90,TRUE,,x\r\n\
         B,7,1e400,false, 3 ,\r\n\
         ,,,,,\r\n\
         C,short\r\n";
    assert_eq!(
        read(source.as_bytes()),
        r#"2:{"kind":"product","sku":"A","name":"Cable, \"red\"\nlong","price":19.90,"active":true,"note":"x"} 4:{"kind":"product","sku":"B","name":"7","price":1e400,"active":false,"stockQty":3} 6!the row has 2 cells, and the header 6"#
    );
    assert_eq!(read(b"name;price\nx;1\n"), r#"2:{"kind":"product","name":"x","price":1}"#);
    assert_eq!(shown(b"name\n{x}", Some(Format::Csv)), r#"2:{"kind":"product","name":"{x}"}"#);
    // Line numbers grow, whatever the line breaks: checkpoints rely on that.
    assert_eq!(
        read(b"name\ra\rb\r"),
        r#"2:{"kind":"product","name":"a"} 3:{"kind":"product","name":"b"}"#
    );
    assert!(read(b"hello world\n").contains("names no field of a product"));
    assert_eq!(read(b"name\n\xff\n"), "2!name: is not UTF-8");
    let empty_rows =
        [b"name,sku\n".to_vec(), b",\n".repeat(2 * MAX_LINE_BYTES), b"a,\n".to_vec()].concat();
    assert!(read(&empty_rows).ends_with(r#"{"kind":"product","name":"a"}"#));
}

#[test]
fn after_an_open_quote_a_source_is_read_no_further_than_two_lines_may_be_long() {
    let open_quote = [b"name\na\n\"".to_vec(), vec![b'x'; 3 * MAX_LINE_BYTES]].concat();
    let groups: Vec<Group> =
        Groups::new(Dripping(io::Cursor::new(open_quote), 5_000), None).collect();
    let [lines @ Group::Lines(_), broken] = groups.as_slice() else { panic!("{groups:?}") };
    assert_eq!(shown_group(lines), r#"2:{"kind":"product","name":"a"}"#);
    let why = "broken after line 2: a row does not end (is a quote left open?)";
    assert_eq!(shown_group(broken), why);
}

#[test]
fn csv_cells_that_do_not_fit_their_columns_are_all_told_and_the_record_keeps_its_names() {
    let source = b"sku,price,cost,stockQty,termMonths,active\na,abc,\"9,99\",many,1.5,yes\n";
    let expected = [
        r#"2!price: the cell "abc" is not a number; decimals follow a point, as in 9.99; "#,
        r#"cost: the cell "9,99" is not a number; decimals follow a point, as in 9.99; "#,
        r#"stockQty: the cell "many" is not a whole number, such as 12; "#,
        r#"termMonths: the cell "1.5" is not a whole number, such as 12; "#,
        r#"active: the cell "yes" is neither true nor false"#,
        r#"{"kind":"product","sku":"a","price":"abc","cost":"9,99","stockQty":"many","#,
        r#""termMonths":"1.5","active":"yes"}"#,
    ];
    assert_eq!(read(source), expected.concat());
    // A long cell is truncated, one of 40 characters is not.
    for (length, end) in [(40, "\""), (41, "…\""), (50, "…\"")] {
        let cell = format!("price\n{}\n", "é".repeat(length));
        let told = format!("the cell \"{}{end} is", "é".repeat(40));
        assert!(read(cell.as_bytes()).contains(&told), "{length}");
    }
}

#[test]
fn compressed_sources_are_read_as_what_they_hold_and_broken_ones_are_told() {
    let plain = b"{\"a\":1}\n{\"a\":2}\n".repeat(3);
    let expected = read(&plain);
    assert_eq!(read(&gzip(&plain)), expected);
    assert_eq!(read(&[gzip(&plain[..16]), gzip(&plain[16..])].concat()), expected);
    assert_eq!(read(&zstd_frame(&plain)), expected);
    let skippable = [0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3];
    let frames = [&skippable[..], &zstd_frame(&plain[..16]), &skippable, &zstd_frame(&plain[16..])];
    assert_eq!(read(&frames.concat()), expected);
    let cut = [&zstd_frame(&plain)[..], &skippable[..10]].concat();
    assert_eq!(read(&cut), format!("{expected}|broken after line 6: unexpected end of file"));
    for whole in [gzip(&plain), zstd_frame(&plain)] {
        for cut in [5, whole.len() / 2, whole.len() - 1] {
            let told = read(&whole[..cut]);
            assert!(told.contains("broken after line"), "cut at {cut}: {told}");
        }
    }
}

#[test]
fn a_csv_row_may_be_as_long_as_a_line_and_a_longer_one_is_told_by_itself() {
    let row = |bytes: usize| {
        let cell = "x".repeat(bytes - 1);
        let source = format!("sku,note\nA,{cell}\nB,y\n");
        Groups::new(io::Cursor::new(source.into_bytes()), None).collect::<Vec<_>>()
    };
    let lines = |groups: &[Group]| {
        let lines = groups.iter().filter_map(|group| match group {
            Group::Lines(lines) => Some(lines.iter().map(|(line, record)| (*line, record.is_ok()))),
            Group::Broken(_) | Group::End => None,
        });
        lines.flatten().collect::<Vec<_>>()
    };
    assert_eq!(lines(&row(MAX_LINE_BYTES)), [(2, true), (3, true)]);
    // It ends before it is taken for one that does not, and the next row is read.
    for bytes in [MAX_LINE_BYTES + 1, MAX_LINE_BYTES * 3 / 2] {
        assert_eq!(lines(&row(bytes)), [(2, false), (3, true)], "{bytes}");
    }
    let rows = format!("sku,note\n{}", format!("A,{}\n", "x".repeat(1_000_000)).repeat(20));
    let groups: Vec<Group> = Groups::new(io::Cursor::new(rows.into_bytes()), None).collect();
    assert_eq!(lines(&groups).len(), 20, "the limit is that of one row");
}
