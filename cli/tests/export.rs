//! `catalog export`, run as an operator runs it.

#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

#[allow(dead_code, reason = "what these tests do not need, others do")]
mod support;

use std::{fs, path::Path, process::Stdio};

use serde_json::{Value, json};

use support::{Serve, catalog, err, offering, out, run, told};

const EXPORT: [&str; 3] = ["export", "--account", "ACME"];

/// A catalog with so many offerings.
fn serve_offerings(folder: &Path, count: usize) -> Serve {
    let serve = Serve::start(folder, &["--memory"]);
    let lines: Vec<String> = (0..count).map(|n| offering(&format!("o{n}"))).collect();
    fs::write(folder.join("a.ndjson"), lines.join("\n")).expect("file");
    assert!(run(folder, &["import", "--account", "ACME", "a.ndjson"]).status.success());
    serve
}

#[test]
fn an_export_goes_to_standard_output_or_to_the_file_that_is_named() {
    let folder = tempfile::tempdir().expect("folder");
    let folder = folder.path();
    let _serve = Serve::start(folder, &["--memory"]);
    fs::write(folder.join("a.ndjson"), offering("a") + "\n" + &offering("b")).expect("file");
    assert!(run(folder, &["import", "--account", "ACME", "a.ndjson"]).status.success());
    let export = |more: &[&str]| {
        let output = run(folder, &[&["export", "--account", "ACME"], more].concat());
        assert!(output.status.success(), "{}", err(&output));
        out(&output)
    };
    let records = export(&[]);
    assert_eq!(records.lines().count(), 2, "{records}");
    for dash in [&["--output", "-"][..], &["--output=-"], &["-o", "-"]] {
        assert_eq!(export(dash), records, "{dash:?}");
        assert!(!folder.join("-").exists() && !folder.join("-.draft").exists(), "{dash:?}");
    }
    assert_eq!(export(&["--output", "b.ndjson"]), "");
    assert_eq!(fs::read_to_string(folder.join("b.ndjson")).expect("file"), records);
    let help = out(&run(folder, &["export", "--help"]));
    let words: Vec<&str> = help.split_whitespace().collect();
    assert!(words.join(" ").contains("- is standard output"), "{help}");
}

#[test]
fn an_export_has_only_the_kinds_that_are_asked_for_and_bundles_are_in_their_networks() {
    let folder = tempfile::tempdir().expect("folder");
    let folder = folder.path();
    let _serve = Serve::start(folder, &["--memory"]);
    let network = json!({"kind": "network", "id": 7, "name": "N", "country": "Ghana", "country_code": "GH",
        "currency": "GHS", "fixed_bundles": [{"id": 1, "name": "b", "type": "DATA", "price_usd": 1}]});
    fs::write(folder.join("a.ndjson"), format!("{}\n{network}", offering("a"))).expect("file");
    assert!(run(folder, &["import", "--account", "ACME", "a.ndjson"]).status.success());
    let kinds = |asked: &[&str]| {
        let options = asked.iter().flat_map(|kind| ["--kind", kind]);
        let arguments: Vec<&str> =
            ["export", "--account", "ACME"].into_iter().chain(options).collect();
        let output = run(folder, &arguments);
        assert!(output.status.success(), "{}", err(&output));
        let kind = |line: &str| {
            let record: Value = serde_json::from_str(line).expect("JSON");
            record["kind"].as_str().expect("a kind").to_owned()
        };
        out(&output).lines().map(kind).collect::<Vec<String>>()
    };
    assert_eq!(kinds(&[]), ["offering", "network"]);
    assert_eq!(kinds(&["network"]), ["network"]);
    assert_eq!(kinds(&["bundle"]), ["bundle"]);
    assert_eq!(kinds(&["bundle", "network"]), ["network"]);
    assert_eq!(kinds(&["offering", "bundle"]), ["offering", "bundle"]);
}

#[test]
fn an_export_says_how_many_records_it_has_and_where_it_cannot_be_written() {
    let folder = tempfile::tempdir().expect("folder");
    let folder = folder.path();
    let _serve = serve_offerings(folder, 3);
    let output = run(folder, &EXPORT);
    assert!(told(&output).starts_with("3 records of ACME, "), "{}", err(&output));
    assert!(told(&output).ends_with(" read units.\n"), "{}", err(&output));
    let nowhere = run(folder, &[&EXPORT[..], &["--output", "none/a.ndjson"]].concat());
    assert_eq!(nowhere.status.code(), Some(1));
    let expected =
        "catalog: cannot write none/a.ndjson.draft: No such file or directory (os error 2)\n";
    assert_eq!(told(&nowhere), expected);
}

// With few records the first write is that of the last bytes.
#[test]
fn a_reader_that_has_gone_ends_an_export_without_an_error() {
    for count in [2, 60] {
        let folder = tempfile::tempdir().expect("folder");
        let folder = folder.path();
        let _serve = serve_offerings(folder, count);
        let mut child = catalog(folder, &EXPORT).spawn().expect("start");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("its end");
        assert_eq!(output.status.code(), Some(0), "{count}: {}", err(&output));
        assert!(!err(&output).contains("catalog: "), "{count}: {}", err(&output));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn an_export_to_a_full_disk_fails() {
    for count in [2, 60] {
        let folder = tempfile::tempdir().expect("folder");
        let folder = folder.path();
        let _serve = serve_offerings(folder, count);
        let full = fs::File::options().write(true).open("/dev/full").expect("device");
        let output = catalog(folder, &EXPORT).stdout(Stdio::from(full)).output().expect("run");
        assert_eq!(output.status.code(), Some(1), "{count}: {}", err(&output));
        let expected =
            "catalog: cannot write standard output: No space left on device (os error 28)\n";
        assert_eq!(told(&output), expected, "{count}");
    }
}
