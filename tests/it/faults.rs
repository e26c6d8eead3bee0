//! A database that does not answer as it should: a 503 that says when to come back, never a hang,
//! never a word of the SDK's.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use aws_sdk_dynamodb::types::AttributeValue;
use catalog_cli::local::{Gateway, functions};
use catalog_cli::template::Template;
use lambda_http::{Context, RequestExt as _};
use serde_json::{Value, json};
use serverless_catalog::{
    access::Permission,
    cursor::Cursors,
    http::{ApiError, Authenticator, Call, Dialect, Endpoint, HttpAdapter, Methods, Reply},
    lambda::Settings,
    offerings::PromoCode,
    source::Line,
    store::{Connection, Store, TableNames, lean_client},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::{
    proxy::{Fate, proxy},
    support::{Catalog, Request, importer, no_jobs},
};

/// What a broken database does with every request.
#[derive(Clone, Copy)]
enum Fault {
    Reset,
    Silence,
    Reply(u16, &'static str),
    Raw(u16, &'static str),
}

async fn broken(fault: Fault) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
    let address = listener.local_addr().expect("address");
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 16_384];
                while let Ok(1..) = socket.read(&mut request).await {
                    match fault {
                        Fault::Reset => return,
                        Fault::Silence => {}
                        Fault::Reply(status, kind) => {
                            let kind = format!("com.amazonaws.dynamodb.v20120810#{kind}");
                            let body =
                                format!("{{\"__type\":\"{kind}\",\"message\":\"inner words\"}}");
                            reply(&mut socket, status, &body).await;
                        }
                        Fault::Raw(status, body) => reply(&mut socket, status, body).await,
                    }
                }
            });
        }
    });
    format!("http://{address}")
}

async fn reply(socket: &mut TcpStream, status: u16, body: &str) {
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/x-amz-json-1.0\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let _ = socket.write_all((head + body).as_bytes()).await;
}

async fn answer(fault: Fault) -> (u16, String, String) {
    let client_of = lean_client(&Connection::local(&broken(fault).await)).expect("client");
    let store = Store::new(client_of, TableNames::with_prefix("test"));
    let settings =
        Settings { store, cache_for: Duration::from_secs(1), show_cost: false, log_percent: 100 };
    let cursors = Cursors::new("the cursor secret of all the tests", None).expect("secret");
    let functions: HashMap<_, _> = functions(&settings, &cursors.into(), &no_jobs());
    let routes = Template::built_in().and_then(|template| template.routes()).expect("routes");
    let gateway = Gateway::start(0, routes, &functions).await.expect("gateway");
    let request = Request::new("GET", &gateway.url(), "/product-offerings");
    let answer = request.header("X-Api-Key", format!("cat_live_{}", "k".repeat(32))).send().await;
    let retry_after = answer.header("retry-after").to_owned();
    (answer.status, retry_after, String::from_utf8(answer.bytes).expect("UTF-8"))
}

#[tokio::test]
async fn a_database_in_trouble_is_a_503_and_a_refusal_of_ours_a_500() {
    let busy = "The catalog is busy; try again in a moment.";
    let wrong = "Something went wrong on our side.";
    for (fault, status, detail) in [
        (Fault::Reset, 503, busy),
        (Fault::Silence, 503, busy),
        (Fault::Reply(400, "ThrottlingException"), 503, busy),
        (Fault::Reply(400, "ProvisionedThroughputExceededException"), 503, busy),
        (Fault::Reply(500, "InternalServerError"), 503, busy),
        (Fault::Reply(503, "ServiceUnavailable"), 503, busy),
        (Fault::Reply(400, "ResourceNotFoundException"), 500, wrong),
        (Fault::Reply(400, "AccessDeniedException"), 500, wrong),
        (Fault::Reply(400, "ValidationException"), 500, wrong),
        (Fault::Raw(503, "<html>busy</html>"), 503, busy),
        (Fault::Raw(502, ""), 503, busy),
        (Fault::Raw(429, "slow down"), 503, busy),
        (Fault::Raw(200, "{\"Item\":{\"acc"), 503, busy),
    ] {
        let started = Instant::now();
        let (got, retry_after, body) = answer(fault).await;
        assert_eq!(got, status, "{body}");
        assert_eq!(retry_after, if status == 503 { "1" } else { "" });
        assert!(body.contains(detail) && !body.contains("inner words"), "{body}");
        assert!(started.elapsed() < Duration::from_secs(29), "before the gateway gives up");
    }
}

#[tokio::test]
async fn a_failure_never_quotes_the_reply_it_met() {
    let secret = r#"{"Item":{"code":{"S":"SECRETCODE"},"#;
    let store = Store::new(
        lean_client(&Connection::local(&broken(Fault::Raw(200, secret)).await)).expect("client"),
        TableNames::with_prefix("test"),
    );
    let account = "ACME".parse().expect("account");
    let code = PromoCode::parse("SECRETCODE").expect("code");
    let error = store.promotion(&account, &code).await.expect_err("broken");
    assert!(error.is_unavailable());
    assert!(!format!("{error} {error:?}").contains("SECRET"), "{error:?}");
}

#[tokio::test]
async fn an_import_into_a_database_that_is_away_ends_with_an_error() {
    let store = Store::new(
        lean_client(&Connection::local(&broken(Fault::Raw(400, "{}")).await)).expect("client"),
        TableNames::with_prefix("test"),
    );
    let account = "ACME".parse().expect("account");
    let mut importer = importer(&store, &account, false);
    let line = crate::support::offering("a", json!({})).to_string().into_bytes();
    assert!(importer.import_group(&[(1, Ok(line))], &[]).await.is_err());
    assert_eq!(importer.counts().total(), 0, "nothing is counted that was not decided");
}

/// One retry policy: a write that a database never takes is sent eight times, and no other suffers.
#[tokio::test]
async fn a_write_that_is_always_throttled_is_sent_eight_times_and_reported() {
    let catalog = Catalog::start().await;
    let requests = Arc::new(Mutex::new(Vec::new()));
    let counted = requests.clone();
    let url = proxy(&catalog.stack.addresses().dynamodb_url, move |operation, request| {
        if operation != "PutItem" {
            return Fate::Pass;
        }
        let never = request.contains("\"o03\"");
        counted.lock().expect("lock").push(never);
        if never { Fate::Throttled } else { Fate::Pass }
    })
    .await;
    let client = lean_client(&Connection::local(&url)).expect("client");
    let store = Store::new(client, TableNames::with_prefix("test"));
    let account = "ACME".parse().expect("account");
    let mut importer = importer(&store, &account, false);
    let lines: Vec<Line> = (0..25)
        .map(|n| {
            let line = crate::support::offering(&format!("o{n:02}"), json!({})).to_string();
            (n, Ok(line.into_bytes()))
        })
        .collect();
    let rejected = importer.import_group(&lines, &[]).await.expect("import");
    let counts = importer.counts();
    assert_eq!((counts.created, counts.failed, rejected.len()), (24, 1, 1));
    assert_eq!(rejected[0].line, 3);
    assert!(rejected[0].error.message.contains("import this record again"));
    let requests = requests.lock().expect("lock").clone();
    assert_eq!(requests.iter().filter(|never| **never).count(), 8);
    // Besides these, the account's entries marker.
    assert_eq!(requests.iter().filter(|never| !**never).count(), 25, "the others are sent once");
}

/// The answer of a bulk upsert over a proxy, by a function that has 4 seconds left.
async fn upsert_over(url: &str, key: &str, rows: &Value) -> Value {
    let store = Store::new(
        lean_client(&Connection::local(url)).expect("client"),
        TableNames::with_prefix("test"),
    );
    let settings =
        Settings { store, cache_for: Duration::from_secs(1), show_cost: false, log_percent: 100 };
    let cursors = Cursors::new("the cursor secret of all the tests", None).expect("secret");
    let functions = functions(&settings, &cursors.into(), &no_jobs());
    let event = std::fs::read_to_string(format!(
        "{}/events/upsert-products.json",
        env!("CARGO_MANIFEST_DIR")
    ));
    let mut event: Value = serde_json::from_str(&event.expect("event")).expect("JSON");
    event["headers"]["authorization"] = format!("Bearer {key}").into();
    event["body"] = json!({ "products": rows }).to_string().into();
    let mut context = Context::default();
    let deadline =
        SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970") + Duration::from_secs(4);
    context.deadline = u64::try_from(deadline.as_millis()).expect("small");
    let reply =
        functions["upsert-products"].invoke(event.to_string(), context).await.expect("reply");
    serde_json::from_str(&reply).expect("JSON")
}

#[tokio::test]
async fn a_row_the_database_keeps_refusing_is_an_error_row_and_the_others_are_written() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    let url = proxy(&catalog.stack.addresses().dynamodb_url, |_, request| {
        if request.contains("SKU#bad") { Fate::Throttled } else { Fate::Pass }
    })
    .await;
    let rows = json!([
        {"sku": "good", "name": "n"}, {"sku": "bad", "name": "n"}, {"sku": "bad", "price": 2}, {"name": "n"},
    ]);
    let started = Instant::now();
    let reply = upsert_over(&url, &key, &rows).await;
    assert!(started.elapsed() < Duration::from_secs(4), "told before the deadline");
    assert_eq!(reply["statusCode"], 207, "{reply}");
    let body: Value = serde_json::from_str(reply["body"].as_str().expect("body")).expect("JSON");
    assert_eq!((&body["created"], &body["errors"]), (&json!(2), &json!(2)));
    for row in [1, 2] {
        let error = &body["results"][row]["error"];
        assert_eq!(error, "write: temporarily unavailable, retry this row");
    }
    assert_eq!(crate::upsert::all(&catalog, &key).await.len(), 2);
}

#[tokio::test]
async fn a_write_whose_success_was_not_seen_is_done_once_and_told_as_what_it_was() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    let seen = Mutex::new(std::collections::HashSet::new());
    let url = proxy(&catalog.stack.addresses().dynamodb_url, move |operation, request| {
        let body = request.split("\r\n\r\n").nth(1).unwrap_or_default().to_owned();
        // The first attempt of every write is done, and its answer is lost.
        let writes = ["UpdateItem", "TransactWriteItems"].contains(&operation);
        if writes && seen.lock().expect("lock").insert(body) { Fate::Unseen } else { Fate::Pass }
    })
    .await;
    let rows = json!([
        {"sku": "a", "name": "n"}, {"externalId": "b", "name": "n"}, {"name": "n"},
        {"sku": "c", "externalId": "c", "name": "n"},
    ]);
    let reply = upsert_over(&url, &key, &rows).await;
    assert_eq!(reply["statusCode"], 200, "{reply}");
    let body: Value = serde_json::from_str(reply["body"].as_str().expect("body")).expect("JSON");
    assert_eq!((&body["created"], &body["updated"]), (&json!(4), &json!(0)), "{body}");
    assert_eq!(crate::upsert::all(&catalog, &key).await.len(), 4);
}

/// It stays what it is: the database is not asked again.
#[tokio::test]
async fn an_item_that_nobody_can_read_is_a_500_after_one_request() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let item = [
        ("account", "ACME"),
        ("productOfferingId", "o"),
        ("customerType", "CONSUMER"),
        ("status", "AVAILABLE"),
        ("type", "NONSENSE"),
        ("document", "\"name\":\"n\"}"),
    ]
    .map(|(name, value)| (name.to_owned(), text(value)));
    let put = catalog.stack.client.put_item().table_name("test-offerings");
    put.set_item(Some(item.into())).send().await.expect("put");
    let answer = catalog.get(&key, "/product-offerings?customerType=CONSUMER&includeArchived=true");
    let answer = answer.await;
    assert_eq!((answer.status, answer.header("x-queries")), (500, "1"));
}

/// An endpoint with a defect.
struct Panics {
    /// Whether its panic has values in its text.
    with_values: bool,
}

impl Endpoint for Panics {
    const DIALECT: Dialect = Dialect::Networks;
    const PERMISSION: Permission = Permission::AirtimeRead;
    const PATHS: &'static [(&'static str, Methods)] = &[("/v2/catalog/none", Methods::READ)];

    async fn answer(&self, call: Call<'_>) -> Result<Reply, ApiError> {
        assert!(!self.with_values, "{} has no answer", call.request.method);
        panic!("nothing is as it should be")
    }
}

/// The lines that are logged while a test runs.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("lock").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_panic_is_a_500_whose_text_the_log_alone_tells() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().json().with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    let store = Store::new(catalog.stack.client.clone(), TableNames::with_prefix("test"));
    for (with_values, text) in [(false, "nothing is as it should be"), (true, "GET has no answer")]
    {
        let keys = Authenticator::new(Duration::from_mins(1));
        let adapter = HttpAdapter::new(Panics { with_values }, store.clone(), keys, false);
        let request = lambda_http::http::Request::get("/v2/catalog/none")
            .header("Authorization", format!("Bearer {key}"));
        let request = request.body(lambda_http::Body::Empty).expect("a request");
        let reply = adapter.handle(request.with_raw_http_path("/v2/catalog/none")).await;
        assert_eq!(reply.status(), 500);
        let body = format!("{:?}", reply.body());
        assert!(!body.contains(text), "{body}");
        let logged = std::mem::take(&mut *lines.0.lock().expect("lock"));
        let logged = String::from_utf8(logged).expect("UTF-8");
        let causes: Vec<Value> = logged
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["fields"].clone())
            .filter(|fields| fields["message"] == "request")
            .map(|fields| fields["cause"].clone())
            .collect();
        assert_eq!(causes, [json!(format!("panic: {text}"))]);
    }
}
