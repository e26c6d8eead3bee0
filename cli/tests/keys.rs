//! `catalog keys` with limits: made, changed, told.

#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

#[allow(dead_code, reason = "what these tests do not need, others do")]
mod support;

use serde_json::{Value, json};

use support::{Serve, err, last_json, out, run};

const CREATE: [&str; 7] =
    ["keys", "create", "--account", "ACME", "--permissions", "offerings.read", "--json"];

#[test]
fn a_key_has_limits_from_the_start_or_later_and_they_can_be_taken_away() {
    let folder = tempfile::tempdir().expect("folder");
    let folder = folder.path();
    let _serve = Serve::start(folder, &["--memory"]);
    let limits = ["--reads-per-minute", "600", "--write-units-per-minute", "50"];
    let created = last_json(&run(folder, &[&CREATE[..], &limits].concat()));
    let expected = json!({"readsPerMinute": 600, "writeUnitsPerMinute": 50});
    assert_eq!(created["limits"], expected);
    let listed = run(folder, &["keys", "list", "--account", "ACME"]);
    assert!(out(&listed).contains("600 reads, 50 write units"), "{}", out(&listed));

    let id = created["keyId"].as_str().expect("id").to_owned();
    let key = created["key"].as_str().expect("key").to_owned();
    let update = |more: &[&str]| {
        run(folder, &[&["keys", "update", "--account", "ACME", "--json"], more].concat())
    };
    let changed = update(&[&id, "--writes-per-minute", "10", "--clear", "reads-per-minute"]);
    let expected = json!({"writesPerMinute": 10, "writeUnitsPerMinute": 50});
    assert_eq!(last_json(&changed)["limits"], expected, "{}", err(&changed));
    // The key itself names it, too; and all limits but the given one can be cleared at once.
    let more = ["--clear", "limits", "--read-units-per-minute", "7", "--label", "shop"];
    let changed = last_json(&update(&[&[key.as_str()][..], &more].concat()));
    assert_eq!(changed["limits"], json!({"readUnitsPerMinute": 7}));
    let more =
        ["--permissions", "airtime.read,changes.read", "--expires-at", "2099-01-01T00:00:00Z"];
    let changed = last_json(&update(&[&[id.as_str()][..], &more].concat()));
    assert_eq!(changed["permissions"], json!(["airtime.read", "changes.read"]));
    assert_eq!(
        (&changed["label"], &changed["expiresAt"]),
        (&json!("shop"), &json!("2099-01-01T00:00:00.000Z"))
    );
    let changed = last_json(&update(&[&id, "--clear", "label,expires-at,limits"]));
    assert_eq!(
        (&changed["label"], &changed["expiresAt"], &changed["limits"]),
        (&Value::Null, &Value::Null, &json!({}))
    );
    assert_eq!(changed["permissions"], json!(["airtime.read", "changes.read"]), "as they were");
}

#[test]
fn a_change_that_makes_no_sense_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().expect("folder");
    let folder = folder.path();
    let _serve = Serve::start(folder, &["--memory"]);
    let created = last_json(&run(folder, &CREATE));
    let id = created["keyId"].as_str().expect("id");
    for (account, more, words) in [
        ("ACME", &[][..], "there is nothing to change; give --permissions"),
        ("ACME", &["--label", "x", "--clear", "label"], "label is both set and cleared"),
        ("ACME", &["--reads-per-minute", "0"], "a limit is a whole number from 1 to 10000000"),
        ("ACME", &["--clear", "everything"], "reads-per-minute"),
        ("GLOBEX", &["--label", "x"], "catalog keys list --account GLOBEX"),
    ] {
        let told = run(folder, &[&["keys", "update", "--account", account, id], more].concat());
        assert_eq!(told.status.code(), Some(2), "{more:?}");
        assert!(err(&told).contains(words), "{more:?}: {}", err(&told));
    }
    // Another account's key is no key of this one, even if it is given whole.
    let key = created["key"].as_str().expect("key");
    for command in ["update", "usage"] {
        let label = if command == "update" { &["--label", "x"][..] } else { &[] };
        let told = run(folder, &[&["keys", command, "--account", "GLOBEX", key], label].concat());
        assert_eq!(told.status.code(), Some(2), "{command}");
    }
    for command in ["create", "update", "usage"] {
        let help = out(&run(folder, &["keys", command, "--help"]));
        assert!(help.contains("Example"), "{command}");
    }
}

#[test]
fn what_keys_with_limits_used_is_told_by_day() {
    let folder = tempfile::tempdir().expect("folder");
    let folder = folder.path();
    let serve = Serve::start(folder, &["--memory"]);
    let usage =
        |more: &[&str]| run(folder, &[&["keys", "usage", "--account", "ACME"], more].concat());
    let free = last_json(&run(folder, &CREATE));
    serve.get(free["key"].as_str().expect("key"), "/product-offerings");
    let none = usage(&[]);
    assert!(out(&none).contains("only keys with limits are"), "{}", out(&none));
    assert_eq!(out(&usage(&["--json"])), "");

    let limited = last_json(&run(folder, &[&CREATE[..], &["--reads-per-minute", "5"]].concat()));
    let key = limited["key"].as_str().expect("key");
    let admitted = (0..20).filter(|_| serve.get(key, "/product-offerings").0 == 200).count();
    // One more, if a little has refilled meanwhile.
    assert!((5..=6).contains(&admitted), "{admitted}");
    let told = usage(&["--json", limited["keyId"].as_str().expect("id")]);
    let day = last_json(&told);
    // What is not reported yet is missing.
    assert_eq!((&day["reads"], &day["rejected"]), (&json!(admitted - 1), &json!(0)), "{day}");
    assert_eq!(day["keyId"], limited["keyId"]);
    assert!(day["readUnits"].as_f64() > Some(1.0), "{day}");
    assert_eq!(day["date"].as_str().map(str::len), Some(10));
    let table = out(&usage(&["--days", "1"]));
    assert!(table.starts_with("KEY ID") && table.lines().count() == 2, "{table}");
    assert_eq!(usage(&["--days", "0"]).status.code(), Some(2));
}
