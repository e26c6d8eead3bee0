//! Imports and exports over HTTPS, with nothing but an API key.

use std::{collections::BTreeSet, io::Read as _, time::Duration};

use aws_sdk_dynamodb::types::AttributeValue;
use flate2::read::GzDecoder;
use futures_util::future::join_all;
use jiff::Timestamp;
use lambda_http::RequestExt as _;
use serde_json::{Value, json};
use serverless_catalog::{
    access::Permission,
    account::AccountId,
    changes::Kinds,
    cursor::Cursors,
    exports::{ExportId, ExportJob, ExportView, MAX_UNFINISHED},
    http::{Authenticator, HttpAdapter, ManageImports},
    imports::{
        OrderBy,
        job::{
            Claim, ImportId, ImportOptions, Job, JobStore as _, LEASE_TERM, Lease, Source, Status,
            Submission,
        },
        submission::{SubmittedImport, upload_key},
    },
    objects::{Bucket, Objects},
    offerings::CatalogId,
    retry::Patience,
    store::{Connection, lean_s3_client},
    text::random_name,
};

use crate::support::{Answer, Catalog, Request, offering};

const IMPORTS: &str = "/catalog/v1/imports";
const EXPORTS: &str = "/catalog/v1/exports";

fn post(catalog: &Catalog, key: &str, path: &str, media_type: &str, body: Vec<u8>) -> Request {
    Request::new("POST", &catalog.url(), path)
        .header("Authorization", format!("Bearer {key}"))
        .header("Content-Type", media_type)
        .body(body)
}

fn ndjson(records: &[Value]) -> Vec<u8> {
    let lines: Vec<String> = records.iter().map(Value::to_string).collect();
    (lines.join("\n") + "\n").into_bytes()
}

/// The state of a job once it has ended.
async fn ended(catalog: &Catalog, key: &str, path: &str) -> Value {
    for _ in 0..600 {
        let answer = catalog.read(key, path).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let state = answer.json();
        if !["waiting", "running"].contains(&state["status"].as_str().expect("status")) {
            return state;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{path} does not end");
}

/// Submits records, and waits for the end of their import.
async fn import(catalog: &Catalog, key: &str, query: &str, records: &[Value]) -> Value {
    let path = format!("{IMPORTS}{query}");
    let answer = post(catalog, key, &path, "application/x-ndjson", ndjson(records)).send().await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let id = answer.json()["importId"].as_str().expect("id").to_owned();
    ended(catalog, key, &format!("{IMPORTS}/{id}")).await
}

/// Sends a request to a presigned URL.
async fn with_link(method: &str, url: &str, headers: &Value, body: Vec<u8>) -> Answer {
    let rest = url.strip_prefix("http://").expect("plain HTTP");
    let (address, path) = rest.split_once('/').expect("a path");
    let mut request = Request::new(method, &format!("http://{address}"), &format!("/{path}"));
    for (name, value) in headers.as_object().into_iter().flatten() {
        if name != "content-length" {
            request = request.header(name, value.as_str().expect("text"));
        }
    }
    request.body(body).send().await
}

fn plain(gzip: &[u8]) -> String {
    let mut text = String::new();
    GzDecoder::new(gzip).read_to_string(&mut text).expect("gzip");
    text
}

/// Requests an export, waits for its end, and downloads it: its state and its records.
async fn export(catalog: &Catalog, key: &str, body: &Value) -> (Value, Vec<Value>) {
    let request = post(catalog, key, EXPORTS, "application/json", body.to_string().into_bytes());
    let answer = request.send().await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let id = answer.json()["exportId"].as_str().expect("id").to_owned();
    let state = ended(catalog, key, &format!("{EXPORTS}/{id}")).await;
    assert_eq!(state["status"], "done", "{state}");
    let url = state["downloadUrl"].as_str().expect("a URL");
    let file = with_link("GET", url, &json!({}), Vec::new()).await;
    assert_eq!(file.status, 200, "{file:?}");
    assert_eq!(state["bytes"], file.bytes.len());
    let lines: Vec<Value> =
        plain(&file.bytes).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(state["records"], lines.len());
    (state, lines)
}

fn some_of_each_kind() -> Vec<Value> {
    vec![
        offering("o1", json!({"productCatalogIds": ["retail", "web"]})),
        offering("o2", json!({"customerType": "BUSINESS"})),
        json!({"kind": "promotion", "code": "HALF", "percentOff": 50}),
        json!({"kind": "partnerOffering", "offering": {"name": "a.v1", "type": "package", "quantity": 1}, "entitlements": {}}),
        json!({"kind": "network", "id": 7, "name": "MTN", "country": "Ghana", "country_code": "GH", "currency": "GHS",
            "fixed_bundles": [{"id": 1, "name": "1GB", "type": "DATA", "price_usd": 1}]}),
        json!({"kind": "exchangeRate", "source_currency": "USD", "destination_currency": "GHS", "rate": 12.4}),
        json!({"kind": "product", "sku": "PLAN", "name": "Plan", "price": 49}),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn records_in_a_request_are_imported_as_those_of_a_file() {
    let catalog = Catalog::start().await;
    let (acme, globex) = (catalog.key("ACME").await, catalog.key("GLOBEX").await);
    let mut records = some_of_each_kind();
    records.push(json!({"kind": "product", "sku": "BAD", "price": "x"}));
    let state = import(&catalog, &acme, "", &records).await;
    assert_eq!(state["status"], "done", "{state}");
    assert_eq!(state["lines"], 8);
    let failed = state["counts"]["failed"].as_u64().expect("count");
    assert_eq!(state["counts"]["created"].as_u64().expect("count") + failed, 8, "{state}");
    let errors = state["errors"].as_array().expect("errors");
    assert!(errors.iter().all(|error| error["line"].is_u64() && error["field"].is_string()));
    assert!(errors.iter().any(|error| error["line"] == 8), "{state}");
    let all =
        with_link("GET", state["errorsUrl"].as_str().expect("a URL"), &json!({}), vec![]).await;
    let listed = String::from_utf8(all.bytes).expect("text");
    assert_eq!(listed.lines().count(), errors.len());

    // The same records by the tool's way make the same catalog.
    let good: Vec<Value> = records[..7].to_vec();
    catalog.import("GLOBEX", &good).await;
    for path in ["/product-offerings", "/v2/catalog/networks", "/api/v1/products"] {
        let without_times = |answer: &Answer| {
            let text = String::from_utf8(answer.bytes.clone()).expect("text");
            text.matches("\"name\"").count()
        };
        let (one, other) = if path == "/product-offerings" {
            (catalog.get(&acme, path).await, catalog.get(&globex, path).await)
        } else {
            (catalog.read(&acme, path).await, catalog.read(&globex, path).await)
        };
        assert_eq!(without_times(&one), without_times(&other), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn arrays_and_csv_are_taken_and_options_hold() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    let csv = b"sku,name,price\nA,Cable,3.9\nB,Plug,4\n".to_vec();
    let answer = post(&catalog, &key, IMPORTS, "text/csv; charset=utf-8", csv).send().await;
    let id = answer.json()["importId"].as_str().expect("id").to_owned();
    let state = ended(&catalog, &key, &format!("{IMPORTS}/{id}")).await;
    assert_eq!(state["counts"]["created"], 2, "{state}");

    // A dry run counts, and writes nothing; its result is read like any other's.
    let only_a = json!([{"kind": "product", "sku": "A", "price": 5}]);
    let path = format!("{IMPORTS}?replace=product&replaceShare=1&dryRun=true");
    let body = only_a.to_string().into_bytes();
    let answer = post(&catalog, &key, &path, "application/json", body.clone()).send().await;
    let id = answer.json()["importId"].as_str().expect("id").to_owned();
    let dry = ended(&catalog, &key, &format!("{IMPORTS}/{id}")).await;
    assert_eq!((&dry["dryRun"], &dry["replace"]), (&json!(true), &json!("product")), "{dry}");
    assert_eq!(dry["counts"]["updated"], 1, "{dry}");
    let products = catalog.read(&key, "/api/v1/products").await.json();
    assert_eq!(products["products"].as_array().expect("products").len(), 2);

    let path = format!("{IMPORTS}?replace=product&replaceShare=1");
    let answer = post(&catalog, &key, &path, "application/json", body).send().await;
    let id = answer.json()["importId"].as_str().expect("id").to_owned();
    let state = ended(&catalog, &key, &format!("{IMPORTS}/{id}")).await;
    assert_eq!(state["counts"]["deleted"], 1, "{state}");
    let products = catalog.read(&key, "/api/v1/products").await.json();
    assert_eq!(products["products"][0]["sku"], "A");
    assert_eq!(products["products"].as_array().expect("products").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_is_one_object_of_the_declared_length_and_written_once() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    let body = ndjson(&[json!({"kind": "product", "sku": "A", "name": "Cable"})]);
    let declared = json!({"upload": {"format": "ndjson", "length": body.len()}});
    let announce =
        || post(&catalog, &key, IMPORTS, "application/json", declared.to_string().into_bytes());
    let answer = announce().send().await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let told = answer.json();
    let (url, headers) = (told["uploadUrl"].as_str().expect("a URL"), &told["uploadHeaders"]);
    assert!(url.contains("/uploads/ACME/"), "{url}");
    let time = |name: &str| told[name].as_str().expect(name).parse::<Timestamp>().expect("a time");
    let term = (time("uploadExpiresAt") - time("createdAt")).total(jiff::Unit::Second);
    assert!((900.0..960.0).contains(&term.expect("seconds")), "{told}");
    let id = told["importId"].as_str().expect("id");
    let waiting = catalog.read(&key, &format!("{IMPORTS}/{id}")).await.json();
    assert_eq!(waiting["status"], "waiting");

    let mut longer = body.clone();
    longer.extend_from_slice(b"{}\n");
    let refused = with_link("PUT", url, headers, longer).await;
    assert_eq!(refused.status, 403, "the length is signed: {refused:?}");
    // A page of another origin asks first, as a browser does (https://fetch.spec.whatwg.org/#http-cors-protocol).
    let preflight = json!({"origin": "https://a.example", "access-control-request-method": "PUT",
        "access-control-request-headers": "if-none-match"});
    let allowed = with_link("OPTIONS", url, &preflight, Vec::new()).await;
    assert_eq!(allowed.status, 200, "{allowed:?}");
    assert_eq!(allowed.header("access-control-allow-origin"), "*", "{allowed:?}");
    assert!(allowed.header("access-control-allow-methods").contains("PUT"), "{allowed:?}");
    let put = with_link("PUT", url, headers, body.clone()).await;
    assert_eq!(put.status, 200, "{put:?}");
    let again = with_link("PUT", url, headers, body.clone()).await;
    assert_eq!(again.status, 412, "{again:?}");
    let state = ended(&catalog, &key, &format!("{IMPORTS}/{id}")).await;
    assert_eq!(state["counts"]["created"], 1, "{state}");
}

/// Announces an upload that never comes; returns the id of its import.
async fn announce(catalog: &Catalog, key: &str) -> String {
    let announced = json!({"upload": {"format": "ndjson", "length": 5}}).to_string().into_bytes();
    let told = post(catalog, key, IMPORTS, "application/json", announced).send().await.json();
    told["importId"].as_str().expect("id").to_owned()
}

/// Lets a job have been submitted this long ago.
async fn age(catalog: &Catalog, id: &str, minutes: i64) {
    let submitted_at = Timestamp::now().as_millisecond() - minutes * 60_000;
    let update = catalog.stack.client.update_item().table_name("test-imports");
    let update = update
        .key("account", AttributeValue::S("ACME".to_owned()))
        .key("importId", AttributeValue::S(id.to_owned()))
        .update_expression("SET createdAt = :time, updatedAt = :time")
        .expression_attribute_values(":time", AttributeValue::N(submitted_at.to_string()));
    update.send().await.expect("a job");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_whose_object_never_came_fails_after_six_hours() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    let id = announce(&catalog, &key).await;
    let path = format!("{IMPORTS}/{id}");
    age(&catalog, &id, 359).await;
    assert_eq!(catalog.read(&key, &path).await.json()["status"], "waiting");
    age(&catalog, &id, 361).await;
    for _ in 0..2 {
        let state = catalog.read(&key, &path).await.json();
        assert_eq!(state["status"], "failed", "{state}");
        assert_eq!(state["error"], "nothing was uploaded while the URL was valid", "{state}");
        // It is not only shown so.
        let listed = catalog.read(&key, IMPORTS).await.json();
        assert_eq!(listed["imports"][0]["status"], "failed", "{listed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_imports_says_of_each_what_it_says_itself() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    let mut ids = Vec::new();
    for minutes in [359, 361, 362] {
        let id = announce(&catalog, &key).await;
        age(&catalog, &id, minutes).await;
        ids.push(id);
    }
    let listed = catalog.read(&key, IMPORTS).await.json();
    let states: Vec<&Value> = (0..3).map(|place| &listed["imports"][place]["status"]).collect();
    assert_eq!(states, ["waiting", "failed", "failed"], "{listed}");
    for (id, status) in ids.iter().zip(states) {
        let state = catalog.read(&key, &format!("{IMPORTS}/{id}")).await.json();
        assert_eq!(state["status"], *status, "{state}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_imports_does_without_s3() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    age(&catalog, &announce(&catalog, &key).await, 361).await;
    // Nothing listens at this port.
    let s3 = lean_s3_client(&Connection::local("http://127.0.0.1:1")).expect("client");
    let bucket = Bucket { objects: Objects::new(s3), name: "catalog".to_owned() };
    let cursors = Cursors::new("the cursor secret of all the tests", None).expect("secret");
    let endpoint = ManageImports::new(bucket, cursors.into());
    let keys = Authenticator::new(Duration::from_mins(1));
    let function = HttpAdapter::new(endpoint, catalog.stack.store.clone(), keys, false);
    let request = lambda_http::http::Request::get(IMPORTS)
        .header("authorization", format!("Bearer {key}"))
        .body(lambda_http::Body::Empty)
        .expect("a request");
    let reply = function.handle(request.with_raw_http_path(IMPORTS)).await;
    assert_eq!(reply.status(), 200);
    let listed = catalog.read(&key, IMPORTS).await.json();
    assert_eq!(listed["imports"][0]["status"], "failed", "with S3 it is decided: {listed}");
}

/// A function may die between storing the job and storing its records. The client sends the request again.
#[tokio::test(flavor = "multi_thread")]
async fn a_submission_that_was_given_up_is_imported_when_it_is_repeated() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    let (store, account) = (&catalog.stack.store, AccountId::parse("ACME").expect("account"));
    let order_by = OrderBy::Record;
    let options = ImportOptions { format: None, replace: None, order_by, dry_run: false };
    let records = ndjson(&[json!({"kind": "product", "sku": "A", "name": "Cable"})]);
    let submitted = SubmittedImport {
        import: ImportId::of(&["submitted"]),
        submission: Submission { options, length: records.len() as u64 },
        submitted_at: Timestamp::now(),
    };
    store.submit_import(&account, &submitted).await.expect("stored");
    age(&catalog, submitted.import.as_str(), 361).await;
    let path = format!("{IMPORTS}/{}", submitted.import.as_str());
    assert_eq!(catalog.read(&key, &path).await.json()["status"], "failed");

    store.submit_import(&account, &submitted).await.expect("stored");
    assert_eq!(catalog.read(&key, &path).await.json()["status"], "waiting");
    let Bucket { objects, name } = &catalog.stack.jobs.bucket;
    let object = upload_key(&account, &submitted.import);
    objects.put_once(name, &object, records, Patience::Attempts(1)).await.expect("stored");
    let state = ended(&catalog, &key, &path).await;
    assert_eq!((&state["status"], &state["counts"]["created"]), (&json!("done"), &json!(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_import_that_has_ended_is_shown_without_its_object_and_without_a_write() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    let state =
        import(&catalog, &key, "", &[json!({"kind": "product", "sku": "A", "name": "Cable"})])
            .await;
    assert_eq!(state["status"], "done", "{state}");
    let id = state["importId"].as_str().expect("id");
    age(&catalog, id, 24 * 60).await;
    let s3 = lean_s3_client(&Connection::local(&catalog.stack.bucket.url())).expect("client");
    let object =
        upload_key(&AccountId::parse("ACME").expect("account"), &ImportId::parse(id).expect("id"));
    s3.delete_object().bucket("catalog").key(object).send().await.expect("removed");
    let shown = catalog.read(&key, &format!("{IMPORTS}/{id}")).await;
    assert_eq!(shown.json()["status"], "done", "{shown:?}");
    assert_eq!(shown.header("x-writes"), "", "{shown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_of_an_import_shows_its_first_hundred_errors_and_links_to_all() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    let wrong: Vec<Value> = (0..150)
        .map(|n| json!({"kind": "product", "sku": format!("S{n}"), "price": "x"}))
        .collect();
    let state = import(&catalog, &key, "", &wrong).await;
    let errors = state["errors"].as_array().expect("errors");
    let lines: Vec<&Value> = errors.iter().map(|error| &error["line"]).collect();
    assert_eq!(lines, (1..=100).collect::<Vec<_>>());
    let all = state["errorsUrl"].as_str().expect("a URL");
    let all = with_link("GET", all, &json!({}), Vec::new()).await;
    assert_eq!(String::from_utf8(all.bytes).expect("text").lines().count(), 150);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_submission_is_told_by_field() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    let cases: [(&str, &str, &str, &[&str]); 12] = [
        ("", "text/plain", "x", &[""]),
        ("", "application/x-ndjson", " \n", &[""]),
        ("", "application/json", "7", &[""]),
        ("", "application/json", "{", &[""]),
        ("", "application/json", "{\"a\":1}", &["upload"]),
        ("", "application/json", "{\"upload\":7}", &["upload"]),
        ("", "application/json", "{\"upload\":{}}", &["upload.format", "upload.length"]),
        (
            "",
            "application/json",
            r#"{"upload":{"format":"xml","compression":"rar","length":-1,"replace":"bundle","order":"x","dryRun":"no"}}"#,
            &[
                "upload.compression",
                "upload.dryRun",
                "upload.format",
                "upload.length",
                "upload.order",
                "upload.replace",
            ],
        ),
        (
            "",
            "application/json",
            r#"{"upload":{"format":"csv","length":1,"other":1}}"#,
            &["upload.other"],
        ),
        (
            "?dryRun=true",
            "application/json",
            r#"{"upload":{"format":"csv","length":1}}"#,
            &["query"],
        ),
        (
            "?replace=bundle&dryRun=1&order=x",
            "text/csv",
            "sku\nA\n",
            &["dryRun", "order", "replace"],
        ),
        ("?replaceShare=0.5", "text/csv", "sku\nA\n", &["replaceShare"]),
    ];
    for (query, media_type, body, fields) in cases {
        let path = format!("{IMPORTS}{query}");
        let request = post(&catalog, &key, &path, media_type, body.as_bytes().to_vec());
        let answer = request.send().await;
        assert_eq!(answer.status, 400, "{body}: {answer:?}");
        let mut told = answer.fields();
        told.sort();
        assert_eq!(told, fields, "{body}: {}", answer.json());
    }
    let large = vec![b'{'; 5_000_001];
    let answer = post(&catalog, &key, IMPORTS, "application/x-ndjson", large).send().await;
    assert_eq!(answer.status, 413);
    let listed = catalog.read(&key, IMPORTS).await.json();
    assert_eq!(listed["imports"], json!([]), "nothing was begun");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_may_be_any_number_from_0_to_1() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    catalog.import("ACME", &[json!({"kind": "product", "sku": "A", "name": "A"})]).await;
    for share in ["0", "1", "0.25", "1.1125369292536007e-308"] {
        let query = format!("?replace=product&replaceShare={share}&dryRun=true");
        let state =
            import(&catalog, &key, &query, &[json!({"kind": "product", "sku": "B", "name": "B"})])
                .await;
        let removed = u64::from(share == "1");
        assert_eq!(state["counts"]["deleted"], removed, "{share}: {state}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn imports_are_listed_newest_first_and_every_account_sees_only_its_own() {
    let catalog = Catalog::start().await;
    let (acme, globex) = (catalog.key("ACME").await, catalog.key("GLOBEX").await);
    let mut ids = Vec::new();
    for number in 0..5 {
        let record = json!({"kind": "product", "sku": format!("P{number}"), "name": "P"});
        let state = import(&catalog, &acme, "", &[record]).await;
        ids.push(state["importId"].as_str().expect("id").to_owned());
    }
    ids.reverse();
    let (mut listed, mut path) = (Vec::new(), format!("{IMPORTS}?limit=2"));
    loop {
        let page = catalog.read(&acme, &path).await.json();
        let imports = page["imports"].as_array().expect("imports").clone();
        listed.extend(imports.iter().map(|one| one["importId"].as_str().expect("id").to_owned()));
        let Some(cursor) = page["nextCursor"].as_str() else { break };
        path = format!("{IMPORTS}?limit=2&cursor={cursor}");
        assert_eq!(catalog.read(&globex, &path).await.status, 400, "another account's cursor");
    }
    assert_eq!(listed, ids);
    assert_eq!(catalog.read(&globex, IMPORTS).await.json()["imports"], json!([]));
    let one = format!("{IMPORTS}/{}", ids[0]);
    assert_eq!(catalog.read(&globex, &one).await.status, 404);
    for unknown in [ImportId::of(&["x"]).as_str(), "x", "floors"] {
        assert_eq!(catalog.read(&acme, &format!("{IMPORTS}/{unknown}")).await.status, 404);
    }
    let reader = catalog
        .key_with("ACME", |record| record.permissions = BTreeSet::from([Permission::OfferingsRead]))
        .await;
    assert_eq!(catalog.read(&reader, IMPORTS).await.status, 403);
    let etag = catalog.read(&acme, &one).await.header("etag").to_owned();
    let again = Request::new("GET", &catalog.url(), &one)
        .header("Authorization", format!("Bearer {acme}"))
        .header("If-None-Match", etag);
    assert_eq!(again.send().await.status, 304);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_idempotency_key_sent_twenty_times_at_once_is_one_job() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    let body = ndjson(&[json!({"kind": "product", "name": "Without a key"})]);
    let send = || {
        post(&catalog, &key, IMPORTS, "application/x-ndjson", body.clone())
            .header("Idempotency-Key", "the-import")
            .send()
    };
    let answers = join_all((0..20).map(|_| send())).await;
    assert!(answers.iter().all(|answer| matches!(answer.status, 202 | 409)), "{answers:?}");
    let last = send().await;
    let id = last.json()["importId"].as_str().expect("id").to_owned();
    assert_eq!(last.header("idempotency-replayed"), "true");
    let taken = answers.iter().filter(|answer| answer.status == 202);
    assert!(taken.clone().count() > 0);
    assert!(taken.into_iter().all(|answer| answer.json()["importId"] == *id));
    let state = ended(&catalog, &key, &format!("{IMPORTS}/{id}")).await;
    assert_eq!(state["counts"]["created"], 1);
    let listed = catalog.read(&key, IMPORTS).await.json();
    assert_eq!(listed["imports"].as_array().expect("imports").len(), 1);
    let products = catalog.read(&key, "/api/v1/products").await.json();
    assert_eq!(products["products"].as_array().expect("products").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_what_an_import_makes_the_same_catalog_of() {
    let catalog = Catalog::start().await;
    let (acme, copy) = (catalog.key("ACME").await, catalog.key("COPY").await);
    catalog.import("ACME", &some_of_each_kind()).await;
    let (state, records) = export(&catalog, &acme, &json!({})).await;
    let kinds: BTreeSet<&str> =
        records.iter().map(|record| record["kind"].as_str().expect("kind")).collect();
    assert!(kinds.contains("network") && kinds.contains("bundle"), "{kinds:?}");
    assert!(records.iter().all(|record| record["fixed_bundles"].is_null()));
    let imported = import(&catalog, &copy, "", &records).await;
    assert_eq!(imported["counts"]["failed"], 0, "{imported}");
    let (_, copied) = export(&catalog, &copy, &json!({})).await;
    let without_ids = |records: &[Value]| -> Vec<Value> {
        let mut records = records.to_vec();
        for record in &mut records {
            record.as_object_mut().expect("object").remove("id");
        }
        records
    };
    assert_eq!(without_ids(&copied), without_ids(&records));

    let (_, only) = export(&catalog, &acme, &json!({"kinds": ["bundle", "product"]})).await;
    let kinds: Vec<&str> = only.iter().map(|one| one["kind"].as_str().expect("kind")).collect();
    assert_eq!(kinds, ["bundle", "product"]);

    // The cursor goes on where the export began.
    catalog.upsert(&acme, &[json!({"sku": "LATER", "name": "Later"})]).await;
    let cursor = state["changesCursor"].as_str().expect("cursor");
    let mut since = cursor.to_owned();
    for _ in 0..100 {
        let page = catalog.read(&acme, &format!("/catalog/v1/changes?since={since}")).await;
        assert_eq!(page.status, 200, "{page:?}");
        let page = page.json();
        // What was not recorded yet when the export was requested comes again.
        let changes = page["changes"].as_array().expect("changes");
        if changes.iter().any(|change| change["id"] == "LATER") {
            return;
        }
        page["nextCursor"].as_str().expect("cursor").clone_into(&mut since);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the change was not told");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restricted_key_exports_what_it_sees_and_reads_only_exports_of_its_view() {
    let catalog = Catalog::start().await;
    let whole = catalog.key("ACME").await;
    catalog.import("ACME", &some_of_each_kind()).await;
    let restricted = catalog
        .key_with("ACME", |record| {
            let catalogs = ["retail"].map(|id| CatalogId::parse(id).expect("id"));
            record.product_catalogs = Some(catalogs.into_iter().collect());
        })
        .await;
    let (state, records) = export(&catalog, &restricted, &json!({})).await;
    let offerings: Vec<&Value> =
        records.iter().filter(|record| record["kind"] == "offering").collect();
    assert_eq!(offerings.len(), 1);
    assert_eq!(offerings[0]["productCatalogIds"], json!(["retail"]), "only its own catalogs");
    assert!(records.iter().all(|record| record["kind"] != "promotion"));
    let (all, _) = export(&catalog, &whole, &json!({})).await;
    let path = |state: &Value| format!("{EXPORTS}/{}", state["exportId"].as_str().expect("id"));
    assert_eq!(catalog.read(&restricted, &path(&all)).await.status, 404);
    assert_eq!(catalog.read(&whole, &path(&state)).await.status, 404);
    let other = catalog.key("GLOBEX").await;
    assert_eq!(catalog.read(&other, &path(&all)).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_is_never_cached_and_too_many_exports_wait() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    catalog.import("ACME", &some_of_each_kind()).await;
    let (state, _) = export(&catalog, &key, &json!({})).await;
    let path = format!("{EXPORTS}/{}", state["exportId"].as_str().expect("id"));
    let answer = catalog.read(&key, &path).await;
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("etag"), "");

    let account = AccountId::parse("ACME").expect("account");
    for number in 0..MAX_UNFINISHED {
        let id = ExportId::of(&["waiting", &number.to_string()]);
        let now = jiff::Timestamp::now();
        let job = ExportJob::new(id, Kinds::ALL, ExportView::default(), String::new(), now);
        catalog.stack.store.create_export(&account, &job).await.expect("stored");
    }
    let request = || post(&catalog, &key, EXPORTS, "application/json", b"{}".to_vec()).send();
    let refused = request().await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, "30"), "{refused:?}");
    let other = catalog.key("GLOBEX").await;
    let answer = post(&catalog, &other, EXPORTS, "application/json", b"{}".to_vec()).send().await;
    assert_eq!(answer.status, 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_that_is_delivered_again_counts_every_line_once() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    let path = format!("{IMPORTS}?dryRun=true");
    // The later lines are of products that the earlier ones would create.
    let lines: Vec<Value> = (0..900)
        .map(|line| json!({"kind": "product", "sku": format!("P{:03}", line % 450), "name": "P", "price": line}))
        .collect();
    let answer = post(&catalog, &key, &path, "application/x-ndjson", ndjson(&lines)).send().await;
    let id = answer.json()["importId"].as_str().expect("id").to_owned();
    let state = ended(&catalog, &key, &format!("{IMPORTS}/{id}")).await;
    assert_eq!(state["counts"]["created"], 450, "{state}");
    assert_eq!(state["counts"]["updated"], 450, "{state}");
    assert_eq!(state["lines"], 900);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_an_export_is_told() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    for body in [
        "",
        "[]",
        "{",
        "{\"kinds\":[]}",
        "{\"kinds\":[\"x\"]}",
        "{\"kinds\":7}",
        "{\"kind\":[]}",
        "{\"kinds\":[\"offering\"],\"kinds\":[]}",
    ] {
        let request = post(&catalog, &key, EXPORTS, "application/json", body.as_bytes().to_vec());
        let answer = request.send().await;
        assert_eq!(answer.status, 400, "{body}: {answer:?}");
    }
    assert_eq!(catalog.read(&key, EXPORTS).await.status, 405);
    assert_eq!(catalog.read(&key, &format!("{EXPORTS}/x")).await.status, 404);
    let unknown: String = random_name();
    assert_eq!(catalog.read(&key, &format!("{EXPORTS}/{unknown}")).await.status, 404);
}

/// A checkpoint whose answer was lost is repeated: it is the one that is stored. Any other one is refused.
#[tokio::test]
async fn a_checkpoint_after_the_end_is_taken_only_if_it_is_the_same_one_again() {
    let catalog = Catalog::start().await;
    let store = &catalog.stack.store;
    let lease = |holder: &str| Lease {
        account: "ACME".parse().expect("account"),
        import: ImportId::of(&["checkpoints"]),
        holder: holder.to_owned(),
        term: LEASE_TERM,
    };
    let source =
        Source { name: "file x".to_owned(), version: None, content: None, time: Timestamp::now() };
    let (ours, other) = (lease("ours"), lease("other"));
    let Claim::Held(job) = store.claim(&ours, &source).await.expect("a claim") else {
        panic!("nobody else has it")
    };
    let at = |status| Job { status, ..(*job).clone() };
    let checkpoint = async |lease: &Lease, status| {
        store.checkpoint(lease, &at(status)).await.expect("an answer")
    };
    assert!(!checkpoint(&other, Status::Running).await, "another holder");
    assert!(checkpoint(&ours, Status::Running).await);
    assert!(!checkpoint(&other, Status::Done).await, "another holder");
    assert!(checkpoint(&ours, Status::Done).await, "the end");
    assert!(checkpoint(&ours, Status::Done).await, "the same again");
    assert!(!checkpoint(&ours, Status::Failed).await, "another end");
    assert!(!checkpoint(&ours, Status::Running).await, "it does not begin again");
    assert!(!checkpoint(&other, Status::Done).await, "another holder");
}

#[tokio::test]
async fn an_import_of_lines_whose_errors_quote_megabytes_is_shown() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    let line = format!("{{\"kind\":\"{}\"}}\n", "x".repeat(3_500_000));
    let body = line.repeat(4).into_bytes();
    let announced = json!({"upload": {"format": "ndjson", "length": body.len()}});
    let announced = announced.to_string().into_bytes();
    let told = post(&catalog, &key, IMPORTS, "application/json", announced).send().await.json();
    let (url, headers) = (told["uploadUrl"].as_str().expect("a URL"), &told["uploadHeaders"]);
    assert_eq!(with_link("PUT", url, headers, body).await.status, 200);
    let id = told["importId"].as_str().expect("id");
    let state = ended(&catalog, &key, &format!("{IMPORTS}/{id}")).await;
    assert_eq!(
        (&state["status"], &state["counts"]["failed"]),
        (&json!("done"), &json!(4)),
        "{state}"
    );
    let message = state["errors"][3]["message"].as_str().expect("a message");
    assert!(
        message.starts_with("unknown variant `xxx") && message.ends_with("`product`"),
        "{message}"
    );
}
