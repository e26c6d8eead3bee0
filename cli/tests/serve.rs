//! What `catalog serve` says and leaves.

#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

#[allow(dead_code, reason = "what these tests do not need, others do")]
mod support;

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use support::{Serve, offering};

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    names
}

#[test]
fn a_catalog_says_what_runs_which_file_it_has_imported_and_that_it_stops() {
    let folder = tempfile::tempdir().expect("folder");
    let folder = folder.path();
    let said = || fs::read_to_string(folder.join("serve.out")).expect("serve.out");
    let serve = Serve::start(folder, &[]);
    let url = serve.url.clone();
    let imports = folder.join(".catalog/objects/catalog/imports/ACME");
    fs::create_dir(&imports).expect("a folder");
    fs::write(imports.join("a b.ndjson"), offering("a")).expect("a file");
    let imported = "imports/ACME/a b.ndjson is imported; its report is under reports/.";
    let patience = Instant::now() + Duration::from_secs(30);
    while !said().contains(imported) {
        assert!(Instant::now() < patience, "{}", said());
        std::thread::sleep(Duration::from_millis(20));
    }
    serve.terminate();
    let said = said();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], format!("The catalog is running at {url} (data: .catalog)"));
    assert_eq!(lines[1], format!("  {url}/product-offerings  (list-offerings)"));
    assert!(lines.contains(&"Files dropped into .catalog/objects/catalog/imports are imported."));
    assert_eq!(lines[lines.len() - 3..], ["Ctrl-C stops the catalog.", imported, "Stopping."]);
    assert_eq!(names(&folder.join(".catalog/objects/catalog")), ["imports", "reports", "uploads"]);
    assert_eq!(names(folder), [".catalog", "serve.log", "serve.out"], "the ready file is gone");
}

#[test]
fn a_catalog_in_memory_leaves_its_lock_and_its_secret_alone() {
    let folder = tempfile::tempdir().expect("folder");
    let folder = folder.path();
    Serve::start(folder, &["--memory"]).terminate();
    assert_eq!(names(&folder.join(".catalog")), ["cursor-secret", "lock"]);
}
