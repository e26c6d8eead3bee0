//! The log line of a request: which requests have one, and what it says.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use serde_json::{Value, json};
use serverless_catalog::{access::Limits, http::ListPartnerOfferings, lambda};
use tracing::subscriber::DefaultGuard;

use crate::{
    limits::scene::{Instance, Key, reads, run},
    simulation::faults::{Fate, FaultKind},
};

const NOON: &str = "2026-11-28T12:00:00Z";

/// The lines that are logged while a test runs.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    /// Captures what this thread logs, until the guard is dropped.
    pub(crate) fn capture() -> (Self, DefaultGuard) {
        let lines = Self::default();
        let writer = lines.clone();
        let lines_to = move || writer.clone();
        let subscriber = tracing_subscriber::fmt().json().with_writer(lines_to).finish();
        (lines, tracing::subscriber::set_default(subscriber))
    }

    /// The fields of the lines of requests since the last call, with their level.
    pub(crate) fn requests(&self) -> Vec<Value> {
        let lines = self.all().into_iter();
        lines
            .filter(|line| line["fields"]["message"] == "request")
            .map(|mut line| {
                let mut fields = line["fields"].take();
                fields["level"] = line["level"].take();
                fields
            })
            .collect()
    }

    /// All lines since the last call.
    pub(crate) fn all(&self) -> Vec<Value> {
        let bytes = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let lines = String::from_utf8(bytes).expect("UTF-8");
        lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// The line of the only request since the last call, without the time that it took.
    fn only(&self) -> Value {
        let mut lines = self.requests();
        assert_eq!(lines.len(), 1, "{lines:?}");
        let mut line = lines.remove(0);
        let millis = line.as_object_mut().and_then(|line| line.remove("millis")).expect("a time");
        assert!(millis.as_f64().is_some_and(|millis| millis > 0.0), "{millis}");
        line
    }
}

/// The line of a request to this path by the key of ACME, with these members.
fn line(method: &str, path: &str, members: &Value) -> Value {
    let mut line = json!({
        "level": "INFO", "message": "request", "request_id": "req_r", "invocation": "",
        "route": format!("ANY {path}"), "method": method, "account": "ACME", "status": 200, "items": 0,
        "queries": 0, "read_units": 0.0, "key_read_units": 0.0, "counter_read_units": 0.0,
        "counter_write_units": 0.0, "writes": 0, "write_units": 0.0, "rejected": 0, "cold_start": false,
        "has_cursor": false, "has_next_page": false,
    });
    for (name, value) in members.as_object().expect("an object") {
        line[name] = value.clone();
    }
    line
}

async fn products(instance: &Instance, key: &Key, query: &str) -> Value {
    instance.send("list-products", "GET", "/api/v1/products", query, key, None).await.body
}

#[test]
fn a_requests_line_says_what_it_did_and_what_that_cost() {
    let (lines, _guard) = Lines::capture();
    run(NOON, async |scene| {
        let key = scene.key(Limits::default()).await;
        let instance = scene.instance();
        // Two new products of 1 KB with their entries in the indexes, and a row that is none.
        let rows = json!({"products": [{"name": "a"}, {"name": ""}, {"name": "b"}]});
        let path = "/api/v1/products";
        let reply = instance.send("upsert-products", "POST", path, "", &key, Some(rows)).await;
        assert_eq!(reply.status, 207);
        let written = json!({
            "status": 207, "items": 2, "rejected": 1, "writes": 2,
            "write_units": reply.units("x-consumed-write-units"), "key_read_units": 1.0, "cold_start": true,
        });
        assert_eq!(lines.only(), line("POST", path, &written));

        // Another function, which has not seen the key.
        let first = products(&instance, &key, "limit=1").await;
        let page = json!({
            "items": 1, "queries": 1, "read_units": 0.5, "key_read_units": 1.0, "has_next_page": true,
            "cold_start": true,
        });
        assert_eq!(lines.only(), line("GET", path, &page));
        let cursor = first["nextCursor"].as_str().expect("a cursor");
        products(&instance, &key, &format!("cursor={cursor}")).await;
        let last = json!({"items": 1, "queries": 1, "read_units": 0.5, "has_cursor": true});
        assert_eq!(lines.only(), line("GET", path, &last));

        products(&instance, &key, "limit=x&category=secret").await;
        let wrong = json!({"status": 400, "cause": "invalid: limit"});
        assert_eq!(lines.only(), line("GET", path, &wrong));
        let unknown = Key { text: format!("cat_live_{}", "u".repeat(32)), ..key.clone() };
        products(&instance, &unknown, "").await;
        let mut refused = line(
            "GET",
            path,
            &json!({"status": 401, "cause": "key rejected: Unknown", "key_read_units": 1.0}),
        );
        refused.as_object_mut().expect("an object").remove("account");
        assert_eq!(lines.only(), refused);

        // All changes there are.
        instance.send("list-changes", "GET", "/catalog/v1/changes", "", &key, None).await;
        let told = lines.only();
        let flags = ["items", "has_cursor", "has_next_page"].map(|name| &told[name]);
        assert_eq!(flags, [&json!(0), &json!(false), &json!(false)]);

        // Of a key with limits the counter is read.
        let limited = scene.key(reads(10)).await;
        products(&instance, &limited, "").await;
        let counted = json!({
            "items": 2, "queries": 1, "read_units": 0.5, "key_read_units": 1.0, "counter_read_units": 1.0,
        });
        assert_eq!(lines.only(), line("GET", path, &counted));
    });
}

#[test]
fn of_requests_that_go_well_a_share_is_logged_and_all_others() {
    let (lines, _guard) = Lines::capture();
    run(NOON, async |scene| {
        let key = scene.key(Limits::default()).await;
        let is_away = Arc::new(Mutex::new(false));
        let away = is_away.clone();
        let faults = move |_: &str, _: &[u8]| {
            let is_away = *away.lock().expect("lock");
            let kind = if is_away { FaultKind::Unavailable } else { FaultKind::Pass };
            Fate::from(kind)
        };
        let mut settings = scene.settings(0, faults);
        settings.log_percent = 0;
        let instance = Instance::of(&settings);
        // Of a hundred one would be logged, if a hundredth were.
        for _ in 0..1_000 {
            assert_eq!(instance.read(&key).await.status, 200);
        }
        assert!(lines.requests().is_empty());
        let wrong =
            instance.send("list-offerings", "GET", "/product-offerings", "limit=x", &key, None);
        assert_eq!(wrong.await.status, 400);
        let told = lines.only();
        assert_eq!((&told["level"], &told["status"]), (&json!("INFO"), &json!(400)));
        *is_away.lock().expect("lock") = true;
        assert_eq!(instance.read(&key).await.status, 503);
        let told = lines.only();
        assert_eq!((&told["level"], &told["status"]), (&json!("ERROR"), &json!(503)));
        assert!(told["cause"].is_string(), "{told}");
    });
}

#[test]
fn a_warm_up_is_one_read_of_the_keys_and_not_the_first_request() {
    let (lines, _guard) = Lines::capture();
    run(NOON, async |scene| {
        let requests = Arc::new(Mutex::new(Vec::new()));
        let noted = requests.clone();
        let faults = move |operation: &str, request: &[u8]| {
            let request: Value = serde_json::from_slice(request).expect("JSON");
            let table = request["TableName"].as_str().expect("a table").to_owned();
            noted.lock().expect("lock").push((operation.to_owned(), table));
            Fate::default()
        };
        lambda::adapter(&scene.settings(0, faults), ListPartnerOfferings).warm_up().await;
        let expected = [("GetItem".to_owned(), "test-api-keys".to_owned())];
        assert_eq!(*requests.lock().expect("lock"), expected);
    });
    assert!(lines.requests().is_empty());
}
