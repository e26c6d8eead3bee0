//! `catalog import` and `catalog imports`: what they tell, and what a failed import leaves behind.

#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

#[allow(dead_code, reason = "what these tests do not need, others do")]
mod support;

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};

use support::{Serve, catalog, err, last_json, offering, out, run, told};

const PATIENCE: Duration = Duration::from_secs(20);

/// What follows the error of a database.
const ADVICE: &str = "  is the catalog running (`catalog serve`), or --endpoint-url right, or are the AWS \
                      credentials good?";

fn import(folder: &Path, arguments: &[&str]) -> Output {
    run(folder, &[&["import", "--account", "ACME"], arguments].concat())
}

fn imports(folder: &Path, arguments: &[&str]) -> Output {
    let [command, rest @ ..] = arguments else { panic!("a command") };
    run(folder, &[&["imports", command, "--account", "ACME"], rest].concat())
}

fn jobs(folder: &Path) -> Vec<Value> {
    let list = out(&imports(folder, &["list", "--json"]));
    list.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// A promotion is written fast.
fn promotion(code: &str) -> String {
    json!({"kind": "promotion", "code": code, "percentOff": 10}).to_string()
}

/// The text without the time that an import took.
fn untimed(summary: &str) -> String {
    let (rows, rest) = summary.split_once(" in ").expect("a time");
    let (_, rest) = rest.split_once(" s: ").expect("what became of them");
    format!("{rows}: {rest}")
}

/// Deletes a table while the catalog runs.
fn delete_table(serve: &Serve, table: &str) {
    let body = json!({"TableName": table}).to_string();
    let request = format!(
        "POST / HTTP/1.1\r\nhost: x\r\nx-amz-target: DynamoDB_20120810.DeleteTable\r\n\
         content-type: application/x-amz-json-1.0\r\nx-amz-date: 20260101T000000Z\r\n\
         authorization: AWS4-HMAC-SHA256 Credential=x/20260101/x/dynamodb/aws4_request, \
         SignedHeaders=host, Signature=0\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let address = serve.dynamodb_url.strip_prefix("http://").expect("plain HTTP");
    let mut socket = TcpStream::connect(address).expect("connection");
    socket.write_all(request.as_bytes()).expect("sent");
    let mut reply = String::new();
    socket.read_to_string(&mut reply).expect("answer");
    assert!(reply.starts_with("HTTP/1.1 200 "), "{reply}");
}

fn interrupt(mut child: Child) -> Output {
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().expect("kill").success());
    let patience = Instant::now() + PATIENCE;
    while child.try_wait().expect("state").is_none() {
        assert!(Instant::now() < patience, "it does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
    child.wait_with_output().expect("output")
}

#[test]
fn an_import_tells_in_words_what_became_of_its_lines_and_what_it_cost() {
    let folder = tempfile::tempdir().expect("folder");
    let folder = folder.path();
    let _serve = Serve::start(folder, &["--memory"]);
    let ahead = json!({"kind": "promotion", "code": "b", "percentOff": 10, "updatedAt": "2999-01-01T00:00:00Z"});
    let lines = [offering("a"), "{}".to_owned(), ahead.to_string(), promotion("c")];
    fs::write(folder.join("a.ndjson"), lines.join("\n")).expect("file");
    let kinds =
        "offering, promotion, partnerOffering, network, bundle, exchangeRate, product".to_owned();
    let refused = format!(
        "a.ndjson:2: kind is required: one of {kinds}\n\
         a.ndjson:3: updatedAt is in the future\n\
         catalog: 2 records were rejected\n"
    );
    let dry = import(folder, &["--dry-run", "a.ndjson"]);
    assert_eq!(dry.status.code(), Some(1));
    assert_eq!(told(&dry), refused);
    assert_eq!(
        untimed(&out(&dry)),
        "4 rows: would have been 2 created, 0 updated, 0 deleted; 0 unchanged, 0 stale, 2 refused. \
         2.0 read units, 0.0 write units.\n"
    );
    let list = imports(folder, &["list"]);
    assert_eq!(out(&list), "ACME has no imports.\n", "a dry run leaves no trace");
    assert_eq!(out(&imports(folder, &["list", "--json"])), "");

    let first = import(folder, &["a.ndjson"]);
    assert_eq!(first.status.code(), Some(1));
    assert_eq!(told(&first), refused);
    assert_eq!(
        untimed(&out(&first)),
        "4 rows: 2 created, 0 updated, 0 deleted; 0 unchanged, 0 stale, 2 refused. \
         3.5 read units, 4.0 write units.\n"
    );
    let job = jobs(folder).remove(0);
    let id = job["importId"].as_str().expect("id").to_owned();
    let time: jiff::Timestamp = job["updatedAt"].as_str().expect("time").parse().expect("time");
    assert_eq!(
        out(&imports(folder, &["list"])),
        format!("{}  done     {time:.3}          4 lines, 2 refused  file a.ndjson\n", &id[..12])
    );
    // Neither does a dry run of what was imported.
    let dry = import(folder, &["--dry-run", "--json", "a.ndjson"]);
    assert_eq!(last_json(&dry)["counts"]["unchanged"], 2);
    assert_eq!(jobs(folder), [job]);
    let error = out(&dry).lines().next().map(serde_json::from_str::<Value>);
    let expected = json!({"error": {
        "file": "a.ndjson", "line": 2, "field": "kind", "code": "INVALID_FIELD",
        "message": format!("is required: one of {kinds}"),
    }});
    assert_eq!(error.expect("a line").expect("JSON"), expected);
}

#[test]
fn one_import_is_found_by_the_beginning_of_its_id_shown_and_forgotten() {
    let folder = tempfile::tempdir().expect("folder");
    let folder = folder.path();
    let _serve = Serve::start(folder, &["--memory"]);
    for name in ["a", "b"] {
        fs::write(folder.join(name), promotion(name)).expect("file");
        assert!(import(folder, &[name]).status.success());
    }
    let all = jobs(folder);
    let sources: Vec<_> = all.iter().map(|job| job["source"].as_str()).collect();
    assert_eq!(sources, [Some("file b"), Some("file a")], "the latest first");
    let id = all[1]["importId"].as_str().expect("id");
    let shown = out(&imports(folder, &["show", &id[..20]]));
    assert_eq!(serde_json::from_str::<Value>(&shown).expect("JSON"), all[1]);
    assert!(shown.starts_with("{\n  \"importId\": "), "{shown}");
    for (beginning, words) in [
        ("", "catalog: several imports begin with \n"),
        ("x", "catalog: ACME has no such import; see `catalog imports list --account ACME`\n"),
    ] {
        let refused = imports(folder, &["show", beginning]);
        assert_eq!(refused.status.code(), Some(2));
        assert_eq!(told(&refused), words);
    }

    let resumed = || told(&import(folder, &["--resume", "a"]));
    assert_eq!(resumed(), "a was imported completely before; --resume skips it.\n");
    let forgotten = out(&imports(folder, &["retry", id]));
    let expected = format!("Import {id} was deleted; the next delivery of file a runs it.\n");
    assert_eq!(forgotten, expected);
    assert_eq!(jobs(folder), all[..1]);
    assert_eq!(resumed(), "");
}

#[test]
fn options_that_make_no_sense_are_refused_before_anything_is_imported() {
    let folder = tempfile::tempdir().expect("folder");
    let folder = folder.path();
    let bundles =
        "--replace network removes bundles with their networks; there is no --replace bundle";
    for (arguments, words) in [
        (&["--replace", "bundle", "a"][..], format!("catalog: {bundles}\n")),
        (
            &["--diff", "a"],
            "catalog: --diff shows what an import would change: it needs --dry-run\n".to_owned(),
        ),
        (
            &["--resume", "-"],
            "catalog: --resume needs files: standard input cannot be read again\n".to_owned(),
        ),
    ] {
        let refused = import(folder, arguments);
        assert_eq!((refused.status.code(), err(&refused)), (Some(2), words));
    }
    for share in ["1.1", "-0.1", "half"] {
        let share = format!("--replace-share={share}");
        let refused = import(folder, &["--replace", "product", &share, "a"]);
        assert_eq!(refused.status.code(), Some(2));
        let words = "must be a number from 0 to 1, such as 0.8\n";
        assert!(err(&refused).contains(words), "{}", err(&refused));
    }
    let folder_given = import(folder, &["."]);
    let words = "catalog: cannot read .: is a directory\n";
    assert_eq!((folder_given.status.code(), err(&folder_given).as_str()), (Some(1), words));
}

#[test]
fn a_file_that_cannot_be_read_to_its_end_fails_and_every_import_of_it_tries_again() {
    let folder = tempfile::tempdir().expect("folder");
    let folder = folder.path();
    let _serve = Serve::start(folder, &["--memory"]);
    let mut encoder = GzEncoder::new(Vec::new(), Compression::none());
    for n in 0..600 {
        writeln!(encoder, "{}", promotion(&format!("c{n:03}"))).expect("gzip");
    }
    let whole = encoder.finish().expect("gzip");
    let line = promotion("c000").len() + 1;
    // Within the last ten lines.
    fs::write(folder.join("a.gz"), &whole[..whole.len() - 10 * line]).expect("file");
    let expected = "catalog: cannot read a.gz after line 590: incomplete deflate stream; the lines before that are imported\n";
    for options in [&["a.gz"][..], &["--resume", "a.gz"]] {
        let output = import(folder, options);
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(told(&output), expected);
        let list = out(&imports(folder, &["list"]));
        assert!(list.contains("  failed   "), "{list}");
    }
    let again = import(folder, &["--json", "a.gz"]);
    assert_eq!(last_json(&again)["counts"]["unchanged"], 590);
    assert_eq!(last_json(&again)["interrupted"], true);
}

#[test]
fn an_import_that_cannot_begin_is_not_told_to_go_on() {
    let folder = tempfile::tempdir().expect("folder");
    let folder = folder.path();
    let _serve = Serve::start(folder, &["--memory"]);
    fs::write(folder.join("a.ndjson"), promotion("a")).expect("file");
    let output = import(folder, &["--table-prefix", "none", "a.ndjson"]);
    assert_eq!(output.status.code(), Some(1));
    let told = told(&output);
    assert!(told.starts_with("catalog: "), "{told}");
    assert!(told.ends_with(&format!("\n{ADVICE}\n")), "{told}");
}

#[test]
fn an_import_that_cannot_go_on_tells_up_to_which_line_it_is_done_and_no_other_imports_its_file() {
    let folder = tempfile::tempdir().expect("folder");
    let folder = folder.path();
    let serve = Serve::start(folder, &["--memory"]);
    // More than are imported meanwhile.
    let lines: Vec<String> = (0..40_000).map(|n| promotion(&format!("c{n:05}"))).collect();
    fs::write(folder.join("a.ndjson"), lines.join("\n")).expect("file");
    let arguments = ["import", "--account", "ACME", "--json", "a.ndjson"];
    let child = catalog(folder, &arguments).spawn().expect("start");
    let patience = Instant::now() + PATIENCE;
    while jobs(folder).first().is_none_or(|job| job["line"] == 0) {
        assert!(Instant::now() < patience, "no line is done");
    }
    let second = import(folder, &["a.ndjson"]);
    assert_eq!(second.status.code(), Some(1));
    let in_use = "catalog: a.ndjson is being imported by another process; wait for its end\n";
    assert_eq!(told(&second), in_use);

    delete_table(&serve, "catalog-imports");
    let output = child.wait_with_output().expect("its end");
    assert_eq!(output.status.code(), Some(1));
    let summary = last_json(&output);
    assert_eq!(summary["interrupted"], true);
    let done = summary["counts"]["created"].as_u64().expect("count");
    let told = told(&output);
    let mut told = told.lines();
    let expected = format!("a.ndjson is done up to line {done}; --resume continues from there.");
    assert_eq!(told.next(), Some(expected.as_str()));
    let failed = told.next().expect("why");
    assert!(failed.starts_with("catalog: the database failed: "), "{failed}");
    assert!(failed.contains("ResourceNotFoundException"), "{failed}");
    assert_eq!(told.next(), Some(ADVICE));
}

#[test]
fn a_snapshot_that_is_interrupted_leaves_no_floor() {
    let folder = tempfile::tempdir().expect("folder");
    let folder = folder.path();
    let _serve = Serve::start(folder, &["--memory"]);
    let mut number = 0;
    // What becomes of a new product that was changed long ago.
    let mut old_product = || {
        number += 1;
        let product = json!({"kind": "product", "sku": format!("s{number}"), "name": "n",
            "updatedAt": "2020-01-01T00:00:00Z"});
        fs::write(folder.join("old.ndjson"), product.to_string()).expect("file");
        let counts = last_json(&import(folder, &["--json", "old.ndjson"]))["counts"].take();
        (counts["created"].clone(), counts["stale"].clone())
    };
    assert_eq!(old_product(), (json!(1), json!(0)));
    // Standard input stays open: it waits for more.
    let arguments = ["import", "--account", "ACME", "--replace", "product", "-"];
    let snapshot = catalog(folder, &arguments).stdin(Stdio::piped()).spawn().expect("start");
    let patience = Instant::now() + PATIENCE;
    while old_product() != (json!(0), json!(1)) {
        assert!(Instant::now() < patience, "there is no floor");
    }
    let output = interrupt(snapshot);
    assert_eq!(output.status.code(), Some(1), "{}", err(&output));
    assert_eq!(old_product(), (json!(1), json!(0)));
}
