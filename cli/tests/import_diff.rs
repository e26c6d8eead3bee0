//! `catalog import --dry-run --diff`, run as an operator runs it.

#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

#[allow(dead_code, reason = "what these tests do not need, others do")]
mod support;

use std::{fs, path::Path, process::Output};

use serde_json::{Value, json};

use support::{Serve, catalog, err, last_json, offering, out, run};

/// A record of each kind.
fn all_kinds() -> Vec<Value> {
    let mut offering: Value = serde_json::from_str(&offering("a")).expect("JSON");
    offering["price"]["grossPrice"] = json!(4.5);
    let bundle = json!({"id": 101, "name": "1 GB", "type": "DATA", "price_usd": 1.5});
    vec![
        offering,
        json!({"kind": "promotion", "code": "TEN", "percentOff": 10}),
        json!({"kind": "partnerOffering", "offering": {"type": "addon", "name": "IP"}, "entitlements": {"ip_count": 1}}),
        json!({"kind": "network", "id": 22, "name": "MTN", "country": "Ghana", "country_code": "GH",
               "currency": "GHS", "fixed_bundles": [bundle]}),
        json!({"kind": "bundle", "network_id": 22, "id": 102, "name": "2 GB", "type": "DATA", "price_usd": 3,
               "local_currency": "GHS"}),
        json!({"kind": "exchangeRate", "source_currency": "USD", "destination_currency": "GHS", "rate": 15.25}),
        json!({"kind": "product", "sku": "A", "name": "Chair", "price": 49}),
    ]
}

fn write(folder: &Path, name: &str, records: &[Value]) {
    let lines: Vec<String> = records.iter().map(Value::to_string).collect();
    fs::write(folder.join(name), lines.join("\n")).expect("file");
}

fn import(folder: &Path, arguments: &[&str]) -> Output {
    run(folder, &[&["import", "--account", "ACME"], arguments].concat())
}

/// What `--json` shows.
fn shown(folder: &Path, arguments: &[&str]) -> Vec<Value> {
    let output = import(folder, &[&["--dry-run", "--diff", "--json"], arguments].concat());
    let text = out(&output);
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    lines.filter_map(|mut line| line.get_mut("change").map(Value::take)).collect()
}

/// What would become of which record.
fn outcomes(changes: &[Value]) -> Vec<String> {
    let text = |change: &Value| {
        let [kind, id, outcome] = ["kind", "id", "outcome"].map(|name| change[name].as_str());
        format!("{} {} {}", outcome.expect("outcome"), kind.expect("kind"), id.expect("id"))
    };
    changes.iter().map(text).collect()
}

/// The fields of a change but its times.
fn fields(change: &Value) -> Vec<(String, Value, Value)> {
    let fields = change["fields"].as_array().expect("fields").iter();
    let fields = fields.map(|field| {
        let path = field["path"].as_str().expect("path").to_owned();
        (path, field["old"].clone(), field["new"].clone())
    });
    fields.filter(|(path, ..)| path != "updatedAt").collect()
}

#[test]
fn every_kind_shows_what_would_be_created_updated_and_deleted() {
    let folder = tempfile::tempdir().expect("folder");
    let folder = folder.path();
    let _serve = Serve::start(folder, &["--memory"]);
    let mut records = all_kinds();
    write(folder, "a.ndjson", &records);
    let names = [
        "offering a",
        "promotion TEN",
        "partnerOffering addon IP",
        "network 22",
        "bundle 22 102",
        "exchangeRate USD GHS",
        "product sku A",
    ];
    let all = |outcome: &str| names.map(|name| format!("{outcome} {name}"));
    let created = shown(folder, &["a.ndjson"]);
    assert_eq!(outcomes(&created), all("created"));
    let lines: Vec<_> = created.iter().map(|change| change["line"].as_u64()).collect();
    assert_eq!(lines, (1..=7).map(Some).collect::<Vec<_>>());
    assert_eq!(created[0]["file"], "a.ndjson");
    assert!(created.iter().flat_map(fields).all(|(_, old, _)| old.is_null()));
    assert!(shown(folder, &["a.ndjson"]).len() == 7, "a dry run writes nothing");

    assert!(import(folder, &["a.ndjson"]).status.success());
    let exported = out(&run(folder, &["export", "--account", "ACME"]));
    fs::write(folder.join("e.ndjson"), exported).expect("file");
    assert!(shown(folder, &["e.ndjson"]).is_empty(), "unchanged records show nothing");
    // The network names the bundle that came by itself, too.
    let bundles = json!([records[3]["fixed_bundles"][0], {"id": 102, "name": "2 GB", "type": "DATA", "price_usd": 4}]);
    records[0]["price"]["grossPrice"] = json!(5);
    records[0]["description"] = json!("for a week");
    records[1]["percentOff"] = json!(12.5);
    records[2]["entitlements"] = json!({"ip_count": 2, "dedicated": 1});
    records[3]["fixed_bundles"] = bundles;
    records[4]["price_usd"] = json!(5);
    records[5]["rate"] = json!(15.5);
    records[6]["price"] = json!(45);
    write(folder, "b.ndjson", &records);
    let updated = shown(folder, &["b.ndjson"]);
    assert_eq!(outcomes(&updated), all("updated"));
    let told: Vec<_> = updated.iter().map(fields).collect();
    let field = |path: &str, old: Value, new: Value| (path.to_owned(), old, new);
    assert_eq!(
        told,
        [
            vec![
                field("price.grossPrice", json!(4.5), json!(5)),
                field("price.netPrice", json!(4.5), json!(5)),
                field("description", json!(null), json!("for a week")),
            ],
            vec![field("percentOff", json!(10), json!(12.5))],
            vec![
                field("entitlements.ip_count", json!(1), json!(2)),
                field("entitlements.dedicated", json!(null), json!(1)),
            ],
            vec![field("fixed_bundles[id=102].price_usd", json!(3), json!(4))],
            // The line after it finds what it would have left.
            vec![field("price_usd", json!(4), json!(5))],
            vec![field("rate", json!(15.25), json!(15.5))],
            vec![field("price", json!(49), json!(45))],
        ]
    );
    let last = updated[0]["fields"].as_array().and_then(|fields| fields.last()).expect("a field");
    assert_eq!(
        last,
        &json!({"path": "description", "new": "for a week"}),
        "what is not there is no null"
    );

    for record in &mut records {
        record["op"] = json!("delete");
    }
    // A bundle before its network.
    records.swap(3, 4);
    write(folder, "c.ndjson", &records);
    let deleted = shown(folder, &["c.ndjson"]);
    let mut expected = all("deleted");
    expected.swap(3, 4);
    assert_eq!(outcomes(&deleted), expected);
    assert!(deleted.iter().flat_map(fields).all(|(_, _, new)| new.is_null()));
    let bundles = fields(&deleted[4]);
    let bundles: Vec<_> =
        bundles.iter().filter(|(path, ..)| path.starts_with("fixed_bundles")).collect();
    assert_eq!(bundles.len(), 1, "the other one is deleted by the line before: {bundles:?}");
}

#[test]
fn a_stale_record_shows_nothing_and_a_late_one_what_it_still_sets() {
    let folder = tempfile::tempdir().expect("folder");
    let folder = folder.path();
    let _serve = Serve::start(folder, &["--memory"]);
    write(folder, "a.ndjson", &all_kinds());
    assert!(import(folder, &["a.ndjson"]).status.success());
    let mut old = all_kinds();
    for record in &mut old {
        record["updatedAt"] = json!("2020-01-01T00:00:00Z");
    }
    old[0]["name"] = json!("old");
    old[1]["percentOff"] = json!(1);
    old[2]["entitlements"] = json!({});
    old[3]["name"] = json!("old");
    old[4]["name"] = json!("old");
    old[5]["rate"] = json!(1);
    old[6]["price"] = json!(1);
    old.push(
        json!({"kind": "product", "op": "delete", "sku": "A", "updatedAt": "2020-01-01T00:00:00Z"}),
    );
    old.push(json!({"kind": "product", "sku": "A", "price": 1, "unit": "piece", "updatedAt": "2020-01-01T00:00:00Z"}));
    write(folder, "b.ndjson", &old);
    let changes = shown(folder, &["b.ndjson"]);
    assert_eq!(outcomes(&changes), ["updated product sku A"]);
    assert_eq!(fields(&changes[0]), [("unit".to_owned(), json!(null), json!("piece"))]);
}

#[test]
fn what_a_snapshot_would_remove_is_shown_too() {
    let folder = tempfile::tempdir().expect("folder");
    let folder = folder.path();
    let _serve = Serve::start(folder, &["--memory"]);
    write(folder, "a.ndjson", &all_kinds());
    assert!(import(folder, &["a.ndjson"]).status.success());
    for (kind, record, expected, field) in [
        ("offering", 0, "updated offering a", "status"),
        ("promotion", 1, "deleted promotion TEN", "code"),
        ("partnerOffering", 2, "deleted partnerOffering addon IP", "offering"),
        ("network", 3, "deleted network 22", "fixed_bundles[id=102]"),
        ("exchangeRate", 5, "deleted exchangeRate USD GHS", "rate"),
        ("product", 6, "deleted product sku A", "name"),
    ] {
        // Another record of the kind, in the place of the one that is stored.
        let mut other = all_kinds()[record].clone();
        match record {
            0 => other["productOfferingId"] = json!("b"),
            1 => other["code"] = json!("ELEVEN"),
            2 => other["offering"]["name"] = json!("IP2"),
            3 => other["id"] = json!(23),
            5 => other["destination_currency"] = json!("KES"),
            _ => other["sku"] = json!("B"),
        }
        write(folder, "b.ndjson", &[other]);
        let changes = shown(folder, &["--replace", kind, "--replace-share", "1", "b.ndjson"]);
        assert_eq!(changes.len(), 2, "{changes:?}");
        assert_eq!(outcomes(&changes)[1], expected);
        assert_eq!(changes[1]["line"], Value::Null);
        assert!(fields(&changes[1]).iter().any(|(path, ..)| path == field), "{}", changes[1]);
    }
    write(folder, "b.ndjson", &[json!({"kind": "product", "sku": "B", "name": "b"})]);
    let words = import(
        folder,
        &["--dry-run", "--diff", "--replace", "product", "--replace-share", "1", "b.ndjson"],
    );
    assert!(
        out(&words).contains("deleted product sku A (not in b.ndjson)\n  - id: "),
        "{}",
        out(&words)
    );
    // Nothing is removed, so nothing is shown.
    assert_eq!(
        shown(folder, &["--replace", "product", "--replace-share", "0", "b.ndjson"]).len(),
        1
    );
}

#[test]
fn words_are_coloured_on_a_terminal_only_and_money_keeps_its_digits() {
    let folder = tempfile::tempdir().expect("folder");
    let folder = folder.path();
    let _serve = Serve::start(folder, &["--memory"]);
    let line =
        |price: &str| offering("a").replace("\"grossPrice\":1", &format!("\"grossPrice\":{price}"));
    fs::write(folder.join("a.ndjson"), line("12345678901234.10")).expect("file");
    assert!(import(folder, &["a.ndjson"]).status.success());
    let second = line("0.1234567890123456789012345678")
        .replace("\"name\":\"a\"", "\"name\":\"b\",\"imageUrl\":\"x\"");
    fs::write(folder.join("b.ndjson"), second).expect("file");

    let arguments = ["import", "--account", "ACME", "--dry-run", "--diff", "b.ndjson"];
    let plain = out(&run(folder, &arguments));
    assert!(!plain.contains('\u{1b}'), "{plain}");
    let lines: Vec<&str> = plain.lines().collect();
    assert_eq!(lines[0], "updated offering a (b.ndjson:1)");
    for told in [
        "  ~ name: \"a\" → \"b\"",
        "  ~ price.grossPrice: 12345678901234.1 → 0.1234567890123456789012345678",
        "  + imageUrl: \"x\"",
    ] {
        assert!(lines.contains(&told), "{told}: {plain}");
    }
    assert!(plain.contains("would have been 0 created, 1 updated, 0 deleted"), "{plain}");

    let with = |variables: &[(&str, &str)]| {
        out(&catalog(folder, &arguments).envs(variables.iter().copied()).output().expect("run"))
    };
    let coloured = with(&[("CLICOLOR_FORCE", "1")]);
    assert!(
        coloured.contains("\u{1b}[31m\"a\"\u{1b}[0m → \u{1b}[32m\"b\"\u{1b}[0m"),
        "{coloured:?}"
    );
    assert!(!with(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]).contains('\u{1b}'));

    let json = out(&import(folder, &["--dry-run", "--diff", "--json", "b.ndjson"]));
    assert!(
        json.contains("\"old\":12345678901234.1,\"new\":0.1234567890123456789012345678"),
        "{json}"
    );
}

#[test]
fn a_diff_is_of_a_dry_run_and_rejected_lines_are_told_as_ever() {
    let folder = tempfile::tempdir().expect("folder");
    let folder = folder.path();
    let _serve = Serve::start(folder, &["--memory"]);
    fs::write(folder.join("a.ndjson"), "not JSON\n".to_owned() + &offering("a")).expect("file");
    let usage = import(folder, &["--diff", "a.ndjson"]);
    assert_eq!(usage.status.code(), Some(2));
    assert!(err(&usage).contains("--diff") && err(&usage).contains("--dry-run"), "{}", err(&usage));
    let output = import(folder, &["--dry-run", "--diff", "--json", "a.ndjson"]);
    assert_eq!(output.status.code(), Some(1));
    let text = out(&output);
    let names: Vec<String> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
        .map(|line| line.as_object().expect("an object").keys().next().expect("a name").clone())
        .collect();
    assert_eq!(names[..2], ["error", "change"]);
    assert_eq!(last_json(&output)["counts"]["created"], 1);
}
