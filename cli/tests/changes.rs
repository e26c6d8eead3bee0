//! The journal of changes on the command line, and in a catalog that is killed.

#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

#[allow(dead_code, reason = "what these tests do not need, others do")]
mod support;

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command},
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use support::{Serve, catalog, err, last_json, offering, out, run};

const WRONG_CURSOR: &str = "\ncatalog: --since is not a cursor of this account, of these kinds, and of a key that \
                            sees all of them, or was made with another secret\n";

fn import(folder: &Path, name: &str, lines: &[String]) -> Value {
    fs::write(folder.join(name), lines.join("\n")).expect("file");
    let import = run(folder, &["import", "--account", "ACME", name, "--json"]);
    assert!(import.status.success(), "{}", err(&import));
    last_json(&import)
}

/// What `catalog changes` tells, and the cursor to go on with.
fn changes(folder: &Path, more: &[&str]) -> (Vec<Value>, String) {
    let output = run(folder, &[&["changes", "--account", "ACME"], more].concat());
    assert!(output.status.success(), "{}", err(&output));
    (parsed(&out(&output)), cursor(&err(&output)))
}

fn parsed(lines: &str) -> Vec<Value> {
    lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn cursor(told: &str) -> String {
    let cursor = told.lines().find_map(|line| line.strip_prefix("Go on with --since "));
    cursor.unwrap_or_else(|| panic!("no cursor: {told}")).to_owned()
}

/// Reads until there are so many changes: they are recorded a moment after the write.
fn changes_until(folder: &Path, more: &[&str], count: usize) -> (Vec<Value>, String) {
    let patience = Instant::now() + Duration::from_secs(20);
    loop {
        let (changes, cursor) = changes(folder, more);
        if changes.len() >= count {
            assert_eq!(changes.len(), count, "{changes:?}");
            return (changes, cursor);
        }
        assert!(Instant::now() < patience, "{} of {count} changes", changes.len());
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn ids(changes: &[Value]) -> Vec<String> {
    let mut ids: Vec<String> = changes
        .iter()
        .map(|change| {
            format!("{} {} {}", change["op"], change["kind"], change["id"]).replace('"', "")
        })
        .collect();
    ids.sort();
    ids
}

/// The lines of a process as they come.
fn lines(child: &mut Child) -> Receiver<String> {
    let (line, lines) = channel();
    let output = BufReader::new(child.stdout.take().expect("its output"));
    std::thread::spawn(move || {
        for text in output.lines().map_while(Result::ok) {
            if line.send(text).is_err() {
                return;
            }
        }
    });
    lines
}

#[test]
fn changes_are_told_from_the_first_from_a_cursor_and_as_they_happen() {
    let folder = tempfile::tempdir().expect("folder");
    let folder = folder.path();
    let _serve = Serve::start(folder, &[]);
    let product = json!({"kind": "product", "sku": "s1", "name": "n"}).to_string();
    import(folder, "first.ndjson", &[offering("a"), product]);
    let (all, since) = changes_until(folder, &[], 2);
    assert_eq!(ids(&all), ["upsert offering a", "upsert product s1"]);
    assert_eq!(changes(folder, &["--since", &since]).0, Vec::<Value>::new());
    let (some, _) = changes(folder, &["--kind", "product"]);
    assert_eq!(ids(&some), ["upsert product s1"]);

    let follow = ["changes", "--account", "ACME", "--since", &since, "--follow"];
    let mut follower = catalog(folder, &follow).spawn().expect("start");
    let told = lines(&mut follower);
    import(folder, "second.ndjson", &[offering("b")]);
    let line = told.recv_timeout(Duration::from_secs(20)).expect("a line");
    assert_eq!(ids(&parsed(&line)), ["upsert offering b"]);
    let id = follower.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().expect("kill").success());
    let output = follower.wait_with_output().expect("its end");
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert_eq!(changes(folder, &["--since", &cursor(&err(&output))]).0, Vec::<Value>::new());

    // What one import did.
    let jobs = run(folder, &["imports", "list", "--account", "ACME", "--json"]);
    let jobs = parsed(&out(&jobs));
    let is_first = |job: &&Value| job["source"].as_str().is_some_and(|name| name.contains("first"));
    let id = jobs.iter().find(is_first).expect("its job")["importId"].as_str().expect("an id");
    let of_import = run(folder, &["imports", "changes", "--account", "ACME", &id[..12]]);
    let told = parsed(&out(&of_import));
    assert_eq!(ids(&told), ["upsert offering a", "upsert product s1"], "{}", err(&of_import));
    assert!(err(&of_import).contains(&format!("2 changes by import {id}")));

    // A cursor of another account, or of other kinds, is none.
    let (_, products) = changes(folder, &["--kind", "product"]);
    for wrong in [
        ["changes", "--account", "GLOBEX", "--since", &since].as_slice(),
        &["changes", "--account", "ACME", "--kind", "offering", "--since", &products],
    ] {
        let refused = run(folder, wrong);
        assert_eq!(refused.status.code(), Some(2), "{}", err(&refused));
        assert!(err(&refused).ends_with(WRONG_CURSOR), "{}", err(&refused));
    }
}

#[test]
fn a_reader_goes_on_page_after_page_until_it_is_up_to_date() {
    const COUNT: usize = 1_001;
    let folder = tempfile::tempdir().expect("folder");
    let folder = folder.path();
    let _serve = Serve::start(folder, &["--memory"]);
    let promotion =
        |n: usize| json!({"kind": "promotion", "code": format!("c{n}"), "percentOff": 1});
    let lines: Vec<String> = (0..COUNT).map(|n| promotion(n).to_string()).collect();
    import(folder, "all.ndjson", &lines);
    let delete = json!({"kind": "promotion", "op": "delete", "code": "c7"});
    import(folder, "some.ndjson", &[delete.to_string(), promotion(COUNT).to_string()]);
    // What one import did: a delete, too, which knows only the beginning of the import's id.
    let jobs = parsed(&out(&run(folder, &["imports", "list", "--account", "ACME", "--json"])));
    let of_import = |job: &Value, count: usize| {
        let id = job["importId"].as_str().expect("an id");
        let told = format!("\n{count} changes by import {id}.\n");
        let patience = Instant::now() + Duration::from_secs(20);
        loop {
            let output = run(folder, &["imports", "changes", "--account", "ACME", id]);
            if err(&output).ends_with(&told) {
                return parsed(&out(&output));
            }
            assert!(Instant::now() < patience, "{}", err(&output));
        }
    };
    let some = of_import(&jobs[0], 2);
    assert_eq!(ids(&some), ["delete promotion C7", "upsert promotion C1001"]);
    assert_eq!(of_import(&jobs[1], COUNT).len(), COUNT);
    let (all, _) = changes(folder, &[]);
    assert_eq!(all.len(), COUNT + 2);
}

#[test]
fn a_cursor_of_a_key_that_does_not_see_everything_is_refused() {
    let folder = tempfile::tempdir().expect("folder");
    let folder = folder.path();
    let serve = Serve::start(folder, &[]);
    let key = run(
        folder,
        &[
            "keys",
            "create",
            "--account",
            "ACME",
            "--permissions",
            "changes.read",
            "--customer-types",
            "CONSUMER",
            "--json",
        ],
    );
    let key = last_json(&key)["key"].as_str().expect("key").to_owned();
    let page = serve.get_with_bearer(&key, "/catalog/v1/changes");
    let since = page["nextCursor"].as_str().expect("a cursor");
    let refused = run(folder, &["changes", "--account", "ACME", "--since", since]);
    assert_eq!(refused.status.code(), Some(2), "{}", err(&refused));
    assert!(err(&refused).ends_with(WRONG_CURSOR), "{}", err(&refused));
}

#[test]
fn an_export_with_a_cursor_and_the_changes_since_are_the_catalog() {
    let folder = tempfile::tempdir().expect("folder");
    let folder = folder.path();
    let _serve = Serve::start(folder, &[]);
    let network = |bundles: &[u32]| {
        let bundle = |id: &u32| json!({"id": id, "name": "b", "type": "DATA", "price_usd": 1});
        let bundles: Vec<Value> = bundles.iter().map(bundle).collect();
        json!({"kind": "network", "id": 7, "name": "N", "country": "Ghana", "country_code": "GH",
            "currency": "GHS", "fixed_bundles": bundles})
        .to_string()
    };
    import(folder, "first.ndjson", &[offering("a"), network(&[1, 2])]);
    changes_until(folder, &[], 4);
    let export = |kinds: &[&str]| {
        let options: Vec<&str> = kinds.iter().flat_map(|kind| ["--kind", kind]).collect();
        let arguments = ["export", "--account", "ACME", "--with-cursor"];
        let output = run(folder, &[&arguments[..], &options].concat());
        assert!(output.status.success(), "{}", err(&output));
        let mut lines = parsed(&out(&output)).into_iter();
        let head = lines.next().expect("the cursor");
        let cursor = head["changesCursor"].as_str().expect("a cursor").to_owned();
        let kinds: Vec<String> =
            lines.map(|line| line["kind"].as_str().expect("kind").to_owned()).collect();
        (cursor, kinds)
    };
    let (since, kinds) = export(&[]);
    assert_eq!(kinds, ["offering", "network", "bundle", "bundle"]);
    let (bundles_since, kinds) = export(&["bundle"]);
    assert_eq!(kinds, ["bundle", "bundle"]);
    assert_eq!(export(&["bundle", "network"]).1, ["network", "bundle", "bundle"]);

    assert_eq!(changes(folder, &["--since", &since]).0, Vec::<Value>::new());
    import(folder, "second.ndjson", &[offering("b"), network(&[2, 3])]);
    let (told, _) = changes_until(folder, &["--since", &since], 4);
    let of_bundles = ["delete bundle 7/1", "upsert bundle 7/3"];
    assert_eq!(ids(&told)[0], of_bundles[0]);
    let (told, _) = changes(folder, &["--since", &bundles_since]);
    assert_eq!(ids(&told), of_bundles);

    // Networks come with their bundles, other kinds without.
    let bundles = |kind: &str| {
        let (since, _) = export(&[kind]);
        let arguments = ["changes", "--account", "ACME", "--kind", "bundle", "--since", &since];
        run(folder, &arguments).status.code()
    };
    assert_eq!((bundles("network"), bundles("offering")), (Some(0), Some(2)));
}

/// How many stream records the engine keeps.
fn kept(folder: &Path) -> u64 {
    let engine = rusqlite::Connection::open(folder.join(".catalog/catalog.db")).expect("engine");
    let count = "SELECT COUNT(*) FROM _stream_records";
    engine.query_row(count, [], |row| row.get(0)).expect("count")
}

#[test]
fn a_catalog_that_is_killed_at_any_moment_has_every_change_once_and_keeps_no_old_stream_records() {
    let folder = tempfile::tempdir().expect("folder");
    let folder = folder.path();
    let (mut written, mut number) = (0, 0);
    for round in 0..6_u32 {
        let mut serve = Serve::start(folder, &[]);
        for _ in 0..3 {
            let lines: Vec<String> =
                (0..300).map(|n| offering(&format!("o{}", number + n))).collect();
            number += 300;
            import(folder, "some.ndjson", &lines);
            written += lines.len();
        }
        // Within what is being delivered, or between two batches.
        std::thread::sleep(Duration::from_millis(u64::from(round) * 37));
        serve.child.kill().expect("kill -9");
        serve.child.wait().expect("gone");
    }
    let serve = Serve::start(folder, &[]);
    let (told, since) = changes_until(folder, &[], written);
    let position = |change: &Value| change["position"].as_str().expect("position").to_owned();
    let positions: BTreeSet<String> = told.iter().map(position).collect();
    assert_eq!(positions.len(), written);
    let once: BTreeSet<String> = ids(&told).into_iter().collect();
    assert_eq!(once.len(), written);
    let patience = Instant::now() + Duration::from_secs(20);
    while kept(folder) > 5 {
        assert!(Instant::now() < patience, "{} stream records", kept(folder));
        std::thread::sleep(Duration::from_millis(50));
    }
    // What is written just before a stop is recorded before it ends.
    import(folder, "last.ndjson", &[offering("last")]);
    serve.terminate();
    assert!(kept(folder) <= 5);
    let _serve = Serve::start(folder, &[]);
    let (told, _) = changes(folder, &["--since", &since]);
    assert_eq!(ids(&told), ["upsert offering last"]);
}
