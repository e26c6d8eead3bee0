//! The `catalog` binary, run as an operator runs it.

#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

#[allow(dead_code, reason = "what these tests do not need, others do")]
mod support;

use std::{
    fs,
    io::Write as _,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use support::{Serve, catalog, err, last_json, offering, out, run};

const DEMO_KEY: &str = "cat_live_DemoKeyOfAcmeForLocalUseOnly0001";

fn new_key(folder: &Path, more: &[&str]) -> String {
    let arguments = [
        &["keys", "create", "--account", "ACME", "--permissions", "offerings.read", "--json"],
        more,
    ]
    .concat();
    let output = run(folder, &arguments);
    assert!(output.status.success(), "{}", err(&output));
    last_json(&output)["key"].as_str().expect("key").to_owned()
}

#[test]
fn data_survives_a_restart_and_a_kill_and_other_commands_find_the_running_catalog() {
    let folder = tempfile::tempdir().expect("folder");
    let folder = folder.path();
    fs::write(folder.join("a.ndjson"), offering("a") + "\n" + &offering("b") + "\n").expect("file");

    let serve = Serve::start(folder, &[]);
    let key = new_key(folder, &[]);
    let import = run(folder, &["import", "--account", "ACME", "a.ndjson", "--json"]);
    assert_eq!(last_json(&import)["counts"]["created"], 2, "{}", err(&import));
    let (_, page) = serve.get(&key, "/product-offerings?limit=1");
    let cursor = page["pagination"]["nextCursor"].as_str().expect("cursor").to_owned();
    serve.terminate();

    let after_stop = run(folder, &["keys", "list", "--account", "ACME"]);
    assert_eq!(after_stop.status.code(), Some(2));
    assert!(err(&after_stop).contains("catalog serve"), "{}", err(&after_stop));

    let mut serve = Serve::start(folder, &[]);
    assert_eq!(serve.count(&key), 2);
    let (status, page) = serve.get(&key, &format!("/product-offerings?cursor={cursor}"));
    assert_eq!((status, page["items"][0]["productOfferingId"].as_str()), (200, Some("b")));
    fs::write(folder.join("c.ndjson"), offering("c")).expect("file");
    assert!(run(folder, &["import", "--account", "ACME", "c.ndjson"]).status.success());
    serve.child.kill().expect("kill -9");
    serve.child.wait().expect("gone");

    let serve = Serve::start(folder, &[]);
    assert_eq!(serve.count(&key), 3, "what was acknowledged is stored");
}

#[test]
fn the_sample_is_served_under_its_demo_key_and_loaded_once() {
    let folder = tempfile::tempdir().expect("folder");
    let serve = Serve::start(folder.path(), &["--sample"]);
    let count = serve.count(DEMO_KEY);
    assert!(count >= 500, "{count}");
    serve.terminate();
    let again = Serve::start(folder.path(), &["--sample"]);
    assert_eq!(again.count(DEMO_KEY), count);
}

#[test]
fn a_browser_that_opens_the_address_is_led_to_the_documentation() {
    let folder = tempfile::tempdir().expect("folder");
    let serve = Serve::start(folder.path(), &["--memory"]);
    let head = serve.head_for_browser("/");
    assert!(head.starts_with("http/1.1 307") && head.contains("location: /docs"), "{head}");
    assert_eq!(serve.get("x", "/").0, 404, "an API client gets what is deployed");
    let head = serve.head_for_browser("/docs");
    assert!(head.starts_with("http/1.1 200") && head.contains("text/html"), "{head}");
}

#[test]
fn what_containers_need_to_reach_a_catalog_is_written_and_what_that_opens_is_told() {
    let folder = tempfile::tempdir().expect("folder");
    let folder = folder.path();
    let variables = || {
        let text = fs::read_to_string(folder.join(".catalog/env.json")).expect("env.json");
        let mut all: Value = serde_json::from_str(&text).expect("JSON");
        all["Parameters"].take()
    };
    let url = |variables: &Value, name: &str| variables[name].as_str().expect("a URL").to_owned();
    let serve = Serve::start(folder, &[]);
    let told = variables();
    for name in ["AWS_ENDPOINT_URL_DYNAMODB", "AWS_ENDPOINT_URL_S3"] {
        let url = url(&told, name);
        assert!(url.starts_with("http://host.docker.internal:"), "{url}");
    }
    assert_eq!(told["OFFERINGS_TABLE"], "catalog-offerings");
    assert!(told["CURSOR_SECRET"].as_str().is_some_and(|secret| secret.len() >= 32));
    serve.terminate();
    assert!(!folder.join(".catalog/env.json").exists(), "it tells of a running catalog");
    let log = fs::read_to_string(folder.join("serve.log")).expect("log");
    assert!(!log.contains("WARNING"), "{log}");

    let serve = Serve::start(folder, &["--listen", "0.0.0.0"]);
    assert!(serve.url.starts_with("http://127.0.0.1:"), "{}", serve.url);
    let log = fs::read_to_string(folder.join("serve.log")).expect("log");
    assert!(log.contains("WARNING: open to every machine that reaches this one"), "{log}");
    assert_eq!(serve.get("x", "/product-offerings").0, 401);
    serve.terminate();
    let no_address = run(folder, &["serve", "--port", "0", "--listen", "192.0.2.1"]);
    assert!(err(&no_address).contains("cannot listen on 192.0.2.1:"), "{}", err(&no_address));
}

#[test]
fn smoke_tries_every_endpoint_and_an_import_and_leaves_nothing() {
    let folder = tempfile::tempdir().expect("folder");
    let folder = folder.path();
    let serve = Serve::start(folder, &[]);
    let smoke = run(folder, &["smoke", "--timeout", "60"]);
    let told = out(&smoke);
    assert!(smoke.status.success(), "{told}\n{}", err(&smoke));
    let checks: Vec<&str> = told.lines().filter(|line| line.starts_with("ok  ")).collect();
    assert_eq!(checks.len(), 11, "{told}");
    let took = |line: &&&str| {
        let time = line.rsplit_once(" in ").and_then(|(_, time)| time.strip_suffix(" ms"));
        time.is_some_and(|millis| millis.parse::<u64>().is_ok())
    };
    assert_eq!(checks.iter().filter(took).count(), 10, "all but that the report is there: {told}");
    for kept in ["imports", "reports"] {
        let mut files = Vec::new();
        let mut folders = vec![folder.join(".catalog/objects/catalog").join(kept)];
        while let Some(path) = folders.pop() {
            for entry in fs::read_dir(path).into_iter().flatten().flatten() {
                if entry.path().is_dir() {
                    folders.push(entry.path());
                } else {
                    files.push(entry.path());
                }
            }
        }
        assert!(files.is_empty(), "{files:?}");
    }
    let account = told.split("the account ").nth(1).and_then(|rest| rest.split('.').next());
    let exported = run(folder, &["export", "--account", account.expect("an account")]);
    assert_eq!(out(&exported), "");
    let imports = run(folder, &["imports", "list", "--account", account.expect("an account")]);
    assert!(out(&imports).contains("has no imports"), "{}", out(&imports));

    // What does not work is told, and what was made is removed all the same.
    let elsewhere = run(folder, &["smoke", "--timeout", "5", "--url", &serve.dynamodb_url]);
    assert_eq!(elsewhere.status.code(), Some(1));
    assert!(
        err(&elsewhere).contains("smoke: GET /product-offerings?limit=1: "),
        "{}",
        err(&elsewhere)
    );
    serve.terminate();
    let nowhere = run(folder, &["smoke", "--endpoint-url", "http://127.0.0.1:1"]);
    assert!(err(&nowhere).contains("--url is missing"), "{}", err(&nowhere));
}

#[test]
fn a_request_is_one_log_line_with_its_cost_and_without_secrets() {
    let folder = tempfile::tempdir().expect("folder");
    let folder = folder.path();
    let serve = Serve::start(folder, &["--sample"]);
    let (_, page) = serve.get(DEMO_KEY, "/product-offerings?limit=3&promoCode=SUMMER25");
    let cursor = page["pagination"]["nextCursor"].as_str().expect("cursor").to_owned();
    serve.get(DEMO_KEY, &format!("/product-offerings?promoCode=SUMMER25&cursor={cursor}"));
    serve.get(DEMO_KEY, "/product-offerings?promoCode=SECRETCODE&limit=x");
    serve.get("cat_live_GuessGuessGuessGuessGuessGuessGu", "/product-offerings");
    serve.terminate();
    let log = fs::read_to_string(folder.join("serve.log")).expect("log");
    let lines: Vec<Value> =
        log.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    assert_eq!(lines.len(), 4, "{log}");
    for line in &lines {
        assert!(line["request_id"].as_str().is_some_and(|id| id.starts_with("req_")), "{line}");
        assert!(line["read_units"].is_number() && line["queries"].is_number(), "{line}");
    }
    assert_eq!(lines[0]["account"], "ACME");
    assert!(lines[0]["read_units"].as_f64() > Some(0.5), "{}", lines[0]);
    for secret in
        [DEMO_KEY, "DemoKey", "SUMMER25", "SECRETCODE", "Guess", cursor.as_str(), "Acme Mobile"]
    {
        assert!(!log.contains(secret), "{secret} is in the log: {log}");
    }
}

#[test]
fn two_catalogs_never_share_data_and_one_in_memory_leaves_nothing() {
    let folder = tempfile::tempdir().expect("folder");
    let folder = folder.path();
    let _first = Serve::start(folder, &[]);
    let second = run(folder, &["serve", "--port", "0"]);
    assert_eq!(second.status.code(), Some(1));
    assert!(err(&second).contains("another `catalog serve`"), "{}", err(&second));

    let memory = Serve::start(folder, &["--memory"]);
    let created = run(
        folder,
        &[
            "keys",
            "create",
            "--account",
            "ACME",
            "--permissions",
            "offerings.read",
            "--json",
            "--endpoint-url",
            &memory.dynamodb_url,
        ],
    );
    let key = last_json(&created)["key"].as_str().expect("key").to_owned();
    assert_eq!(memory.get(&key, "/product-offerings").0, 200);
    let listed = run(folder, &["keys", "list", "--account", "ACME"]);
    assert_eq!(out(&listed).trim(), "ACME has no keys.");

    let mut by_environment = catalog(folder, &["keys", "list", "--account", "ACME", "--json"]);
    let listed =
        by_environment.env("CATALOG_ENDPOINT_URL", &memory.dynamodb_url).output().expect("run");
    assert_eq!(last_json(&listed)["state"], "active");
}

#[test]
fn keys_are_made_listed_and_revoked() {
    let folder = tempfile::tempdir().expect("folder");
    let folder = folder.path();
    let serve = Serve::start(folder, &["--memory"]);
    let key = new_key(
        folder,
        &[
            "--permissions",
            "airtime.read",
            "--customer-types",
            "CONSUMER",
            "--catalogs",
            "web,retail",
            "--wallet-currency",
            "EUR",
            "--allow-cidr",
            "127.0.0.0/8",
            "--allow-cidr",
            "::1",
            "--expires-at",
            "2099-01-01T00:00:00Z",
            "--label",
            "shop",
            "--key-prefix",
            "ce",
        ],
    );
    assert!(key.starts_with("ce_live_"));
    let listed = run(folder, &["keys", "list", "--account", "ACME", "--json"]);
    let record = last_json(&listed);
    assert_eq!(record["permissions"], json!(["offerings.read", "airtime.read"]));
    assert_eq!(record["catalogs"], json!(["retail", "web"]));
    assert_eq!(record["allowedCidrs"], json!(["127.0.0.0/8", "::1/128"]));
    assert_eq!(
        (&record["walletCurrency"], &record["label"], &record["expiresAt"]),
        (&json!("EUR"), &json!("shop"), &json!("2099-01-01T00:00:00.000Z"))
    );
    assert!(!out(&listed).contains(&key[8..]), "a list never shows a key");
    assert_eq!(serve.get(&key, "/product-offerings?productCatalogId=x").0, 403);

    let id = record["keyId"].as_str().expect("id").to_owned();
    let other = run(folder, &["keys", "revoke", "--account", "GLOBEX", &id]);
    assert_eq!(other.status.code(), Some(2));
    assert!(run(folder, &["keys", "revoke", "--account", "ACME", &id]).status.success());
    let listed = run(folder, &["keys", "list", "--account", "ACME", "--json"]);
    assert_eq!(last_json(&listed)["state"], "revoked");
    std::thread::sleep(Duration::from_millis(2_100));
    assert_eq!(serve.get(&key, "/product-offerings").0, 401);
}

#[test]
fn an_import_reports_every_line_counts_every_line_and_exits_accordingly() {
    let folder = tempfile::tempdir().expect("folder");
    let folder = folder.path();
    let serve = Serve::start(folder, &["--memory"]);
    let key = new_key(folder, &[]);
    let lines = [
        "\u{feff}".to_owned() + &offering("a") + "\r",
        String::new(),
        "not JSON".to_owned(),
        offering("b").replace("USD", "XXX_"),
        offering("c"),
        json!({"kind": "promotion", "code": "ten", "percentOff": 10}).to_string(),
        json!({"kind": "offering", "op": "delete", "productOfferingId": "never"}).to_string(),
    ];
    fs::write(folder.join("mixed.ndjson"), lines.join("\n")).expect("file");

    let dry = run(folder, &["import", "--account", "ACME", "--dry-run", "--json", "mixed.ndjson"]);
    assert_eq!(last_json(&dry)["counts"]["created"], 3);
    assert_eq!(serve.count(&key), 0, "a dry run writes nothing");

    let output = run(folder, &["import", "--account", "ACME", "--json", "mixed.ndjson"]);
    assert_eq!(output.status.code(), Some(1));
    let expected =
        json!({"created": 3, "updated": 0, "unchanged": 1, "stale": 0, "deleted": 0, "failed": 2});
    assert_eq!(last_json(&output)["counts"], expected);
    let text = out(&output);
    let errors: Vec<Value> = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).expect("JSON").get("error").cloned())
        .collect();
    let places: Vec<_> = errors.iter().map(|e| (e["line"].clone(), e["field"].clone())).collect();
    assert_eq!(places, [(json!(3), json!("")), (json!(4), json!("price.currency"))]);

    let words = run(folder, &["import", "--account", "ACME", "mixed.ndjson"]);
    assert!(
        err(&words).contains("mixed.ndjson:4: price.currency must be an ISO 4217"),
        "{}",
        err(&words)
    );
    assert!(out(&words).contains("4 unchanged, 0 stale, 2 refused"), "{}", out(&words));

    let mut piped = catalog(folder, &["import", "--account", "ACME", "-", "--json"]);
    let piped = piped.stdin(fs::File::open(folder.join("mixed.ndjson")).expect("file"));
    assert_eq!(last_json(&piped.output().expect("run"))["counts"]["unchanged"], 4);
}

#[test]
fn an_import_that_cannot_go_on_ends_at_once_with_its_counts() {
    let folder = tempfile::tempdir().expect("folder");
    let folder = folder.path();
    let serve = Serve::start(folder, &["--memory"]);
    // Tables that are not there; standard input stays open all the while.
    let url = serve.dynamodb_url.as_str();
    let arguments = [
        "import",
        "--account",
        "ACME",
        "-",
        "--json",
        "--endpoint-url",
        url,
        "--table-prefix",
        "none",
    ];
    let mut child = catalog(folder, &arguments).stdin(Stdio::piped()).spawn().expect("start");
    let mut input = child.stdin.take().expect("stdin");
    let lines = (offering("a") + "\n").repeat(400);
    // It may have ended before it read all of them.
    let _ = input.write_all(lines.as_bytes());
    assert_eq!(wait(&mut child), Some(1));
    let output = child.wait_with_output().expect("output");
    assert_eq!(last_json(&output)["counts"]["failed"], 0);
    assert!(err(&output).contains("is the catalog running"), "{}", err(&output));

    // Ctrl-C while it waits for more.
    let arguments = ["import", "--account", "ACME", "-", "--json"];
    let mut child = catalog(folder, &arguments).stdin(Stdio::piped()).spawn().expect("start");
    let mut input = child.stdin.take().expect("stdin");
    input.write_all(lines.as_bytes()).expect("write");
    std::thread::sleep(Duration::from_millis(700));
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().expect("kill").success());
    assert_eq!(wait(&mut child), Some(1));
    let output = child.wait_with_output().expect("output");
    assert_eq!(last_json(&output)["interrupted"], true);
    let told = err(&output);
    let told = told.lines().last().expect("a line");
    assert!(
        told.starts_with("catalog: interrupted in standard input after line ")
            && told.ends_with("; run the same command again to finish"),
        "{told}"
    );
}

#[test]
fn a_killed_import_resumes_where_it_was_and_ends_as_an_undisturbed_one() {
    const LINES: usize = 6_000;
    let folder = tempfile::tempdir().expect("folder");
    let folder = folder.path();
    let _serve = Serve::start(folder, &["--memory"]);
    let mut lines: Vec<String> = (0..LINES).map(|n| offering(&format!("o{n:05}"))).collect();
    lines[17] = "{}".to_owned();
    lines[LINES - 5] = "not a record".to_owned();
    fs::write(folder.join("a.ndjson"), lines.join("\n")).expect("file");
    let export = |account: &str| {
        let output = run(folder, &["export", "--account", account]);
        assert!(output.status.success(), "{}", err(&output));
        let mut records: Vec<Value> =
            out(&output).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        for record in &mut records {
            // When it came to be differs.
            let record = record.as_object_mut().expect("object");
            let _ = (record.remove("createdAt"), record.remove("updatedAt"));
        }
        records
    };
    let whole = run(folder, &["import", "--account", "WHOLE", "--json", "a.ndjson"]);
    assert_eq!(last_json(&whole)["counts"]["created"], LINES - 2);
    let expected = export("WHOLE");

    // Killed again and again, ever later, with what a process started by hand has: nothing to say.
    let mut kills: u64 = 0;
    let finished = loop {
        let arguments = ["import", "--account", "KILLED", "--json", "--resume", "a.ndjson"];
        let mut child = catalog(folder, &arguments).spawn().expect("start");
        std::thread::sleep(Duration::from_millis(60 + 37 * (kills % 11) + 20 * kills));
        let ended = child.try_wait().expect("state").is_some();
        let _ = child.kill();
        let output = child.wait_with_output().expect("output");
        if ended {
            break output;
        }
        kills += 1;
        assert!(kills < 100, "{}", err(&output));
    };
    assert!(kills > 0, "it was killed at least once");
    let summary = last_json(&finished);
    let counts = &summary["counts"];
    assert_eq!(counts["failed"], 2, "{summary}");
    let sum: u64 = counts.as_object().expect("counts").values().filter_map(Value::as_u64).sum();
    assert_eq!(sum, LINES as u64, "every line counts once: {summary}");
    assert_eq!(export("KILLED"), expected);

    // What is done is done: passed over with --resume, and looked at again without.
    let again = run(folder, &["import", "--account", "KILLED", "--json", "--resume", "a.ndjson"]);
    assert!(err(&again).contains("imported completely before"), "{}", err(&again));
    assert_eq!(last_json(&again)["counts"]["unchanged"], 0);
    let again = run(folder, &["import", "--account", "KILLED", "--json", "a.ndjson"]);
    assert_eq!(last_json(&again)["counts"]["unchanged"], LINES - 2);
    assert_eq!(last_json(&again)["cost"]["writeUnits"], 0.0);
}

#[test]
fn an_interrupted_import_tells_how_to_go_on_and_one_file_is_imported_by_one_process() {
    let folder = tempfile::tempdir().expect("folder");
    let folder = folder.path();
    let _serve = Serve::start(folder, &["--memory"]);
    let lines: Vec<String> = (0..60_000).map(|n| offering(&format!("o{n:05}"))).collect();
    fs::write(folder.join("a.ndjson"), lines.join("\n")).expect("file");
    let arguments = ["import", "--account", "ACME", "--json", "a.ndjson"];
    let mut child = catalog(folder, &arguments).spawn().expect("start");
    std::thread::sleep(Duration::from_millis(1_500));
    let second = run(folder, &arguments);
    assert!(err(&second).contains("being imported by another process"), "{}", err(&second));
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().expect("kill").success());
    assert_eq!(wait(&mut child), Some(1));
    let output = child.wait_with_output().expect("output");
    assert!(err(&output).contains("with --resume to finish"), "{}", err(&output));
    let done = last_json(&output)["counts"]["created"].as_u64().expect("count");
    assert!((1..60_000).contains(&done), "{done}");
    let rest = run(folder, &["import", "--account", "ACME", "--json", "--resume", "a.ndjson"]);
    let counts = &last_json(&rest)["counts"];
    // The group under way was stored, and not noted: at most that one is found there already.
    assert!(counts["unchanged"].as_u64().expect("count") <= 400, "{counts}");
    assert_eq!(
        counts["created"].as_u64().unwrap_or_default()
            + counts["unchanged"].as_u64().unwrap_or_default(),
        60_000
    );
    let piped = run(folder, &["import", "--account", "ACME", "--resume", "-"]);
    assert!(err(&piped).contains("cannot be read again"), "{}", err(&piped));
}

/// Waits for an end within bounds; its exit code.
fn wait(child: &mut Child) -> Option<i32> {
    let patience = Instant::now() + Duration::from_secs(20);
    while Instant::now() < patience {
        if let Some(status) = child.try_wait().expect("state") {
            return status.code();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = child.kill();
    panic!("it does not end");
}

#[test]
fn mistakes_are_told_with_what_to_do() {
    let folder = tempfile::tempdir().expect("folder");
    let folder = folder.path();
    let cases: &[(&[&str], &str)] = &[
        (
            &["keys", "create", "--account", "a/b", "--permissions", "offerings.read"],
            "an account is 1 to 64",
        ),
        (
            &["keys", "create", "--account", "A", "--permissions", "all"],
            "must be one of offerings.read",
        ),
        (&["keys", "create", "--account", "A"], "--permissions"),
        (
            &[
                "keys",
                "create",
                "--account",
                "A",
                "--permissions",
                "offerings.read",
                "--allow-cidr",
                "x",
            ],
            "must be a network",
        ),
        (&["import", "--account", "A"], "FILE"),
        (&["keys", "list", "--account", "A"], "start one with `catalog serve`"),
    ];
    for (arguments, words) in cases {
        let output = run(folder, arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(err(&output).contains(words), "{arguments:?}: {}", err(&output));
    }
    let missing = run(folder, &["import", "--account", "A", "none.ndjson"]);
    assert!(err(&missing).contains("cannot open none.ndjson"), "{}", err(&missing));
    let nobody =
        run(folder, &["keys", "list", "--account", "A", "--endpoint-url", "http://127.0.0.1:9"]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(err(&nobody).contains("is the catalog running"), "{}", err(&nobody));
    for command in ["", "serve", "keys", "import", "tables"] {
        let arguments: Vec<&str> =
            [command, "--help"].into_iter().filter(|word| !word.is_empty()).collect();
        let help = run(folder, &arguments);
        assert!(help.status.success() && out(&help).contains("catalog"), "{command}");
    }
}

#[test]
fn the_description_is_printed_written_and_compared_with_a_file() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../openapi.yaml");
    let yaml = fs::read_to_string(file).expect("openapi.yaml");
    let folder = tempfile::tempdir().expect("folder");
    let folder = folder.path();
    let silent = |arguments: &[&str]| {
        let done = run(folder, arguments);
        assert!(done.status.success(), "{}", err(&done));
        assert_eq!((out(&done), err(&done)), (String::new(), String::new()));
    };
    silent(&["openapi", "--check", file]);
    assert!(out(&run(folder, &["openapi"])) == yaml);
    silent(&["openapi", "--output", "own.yaml"]);
    assert!(fs::read_to_string(folder.join("own.yaml")).expect("own.yaml") == yaml);
    fs::write(folder.join("other.yaml"), yaml.replace("5.5 MB", "6 MB")).expect("file");
    let check = run(folder, &["openapi", "--check", "other.yaml"]);
    assert_eq!(check.status.code(), Some(1));
    assert_eq!(
        err(&check),
        "catalog: other.yaml is out of date; regenerate it: catalog openapi --output other.yaml\n"
    );
}

#[test]
fn tables_are_created_once_and_described() {
    let folder = tempfile::tempdir().expect("folder");
    let folder = folder.path();
    let serve = Serve::start(folder, &["--memory", "--table-prefix", "other"]);
    let target = ["--endpoint-url", &serve.dynamodb_url, "--table-prefix", "shop"];
    let create = || run(folder, &[&["tables", "create"], &target[..]].concat());
    assert!(out(&create()).contains("shop-offerings created"));
    assert!(out(&create()).contains("shop-offerings is there already"));
    let described = run(folder, &[&["tables", "describe", "--json"], &target[..]].concat());
    let text = out(&described);
    let first: Value = serde_json::from_str(text.lines().next().expect("line")).expect("JSON");
    assert_eq!(first["indexes"], json!(["byCustomerType", "byCategory"]));
    let missing = run(folder, &["tables", "describe", "--endpoint-url", &serve.dynamodb_url]);
    assert_eq!(missing.status.code(), Some(1));
}
