//! `catalog tables`, run as an operator runs it.

#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

#[allow(dead_code, reason = "what these tests do not need, others do")]
mod support;

use std::fs;

use support::{Serve, err, offering, out, run};

#[test]
fn tables_are_described_in_a_line_each() {
    let folder = tempfile::tempdir().expect("folder");
    let folder = folder.path();
    let serve = Serve::start(folder, &["--memory"]);
    let described =
        out(&run(folder, &["tables", "describe", "--endpoint-url", &serve.dynamodb_url]));
    let lines: Vec<&str> = described.lines().collect();
    assert_eq!(
        lines[..2],
        [
            "catalog-offerings: ACTIVE, 0 items, 0 bytes, indexes: byCustomerType, byCategory",
            "catalog-offering-areas: ACTIVE, 0 items, 0 bytes, indexes: none",
        ]
    );
    assert_eq!(lines.len(), 12, "{described}");
    let created = run(folder, &["tables", "create", "--endpoint-url", &serve.dynamodb_url]);
    let first = format!("catalog-offerings is there already at {}", serve.dynamodb_url);
    assert_eq!(out(&created).lines().next(), Some(first.as_str()), "{}", err(&created));
}

#[test]
fn a_backfill_tells_how_many_offerings_it_has_gone_through_and_does_its_work_once() {
    let folder = tempfile::tempdir().expect("folder");
    let folder = folder.path();
    let serve = Serve::start(folder, &["--memory"]);
    let lines: Vec<String> = (0..103).map(|n| offering(&format!("o{n}"))).collect();
    fs::write(folder.join("a.ndjson"), lines.join("\n")).expect("file");
    assert!(run(folder, &["import", "--account", "ACME", "a.ndjson"]).status.success());
    let backfill = |more: &[&str]| {
        let output = run(folder, &[&["tables", "backfill", "--account", "ACME"], more].concat());
        assert!(output.status.success(), "{}", err(&output));
        let told = err(&output);
        let told = told.lines().map(str::to_owned).collect::<Vec<String>>();
        let (cost, progress) = told[1..].split_last().expect("what it cost");
        assert!(cost.ends_with(" write units."), "{cost}");
        (out(&output), progress.to_vec(), cost.clone())
    };
    let (said, progress, _) = backfill(&["--again", "--account", "EMPTY"]);
    assert_eq!(
        said,
        "ACME: all offerings have their entries (103 in this run).\n\
         EMPTY: all offerings have their entries (0 in this run).\n"
    );
    let steps = [
        "ACME: the entries of 100 offerings",
        "ACME: the entries of 103 offerings",
        "EMPTY: the entries of 0 offerings",
    ];
    assert_eq!(progress, steps);
    // It is complete: only its marker is read.
    let (said, progress, cost) = backfill(&[]);
    assert_eq!(said, "ACME: all offerings have their entries (0 in this run).\n");
    assert!(progress.is_empty(), "{progress:?}");
    assert_eq!(cost, "1.0 read units, 0.0 write units.");
    drop(serve);
}
