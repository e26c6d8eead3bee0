//! Every file of `events/`, through the function its name begins with, over the sample data.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    time::Duration,
};

use catalog_cli::local::{Function, JobServices, LOCALHOST, ObjectServer, functions, sample};
use lambda_http::Context;
use serde::Deserialize;
use serde_json::Value;
use serverless_catalog::{
    cursor::Cursors,
    lambda::Settings,
    objects::{Bucket, Objects},
    queue::{ExportCatalog, ImportCatalog},
    store::{Connection, Store, TableNames, lean_s3_client},
    streams::RecordChanges,
};

use crate::support::Catalog;

/// What each event is answered with, as the checks of the real binaries have it, too.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Expected {
    /// The status of an HTTP event.
    status: BTreeMap<String, u16>,
    /// How many messages of an import event are returned to the queue.
    returned: BTreeMap<String, usize>,
    /// Whether an event of a stream is recorded.
    recorded: BTreeMap<String, usize>,
}

fn expected() -> Expected {
    serde_json::from_str(include_str!("../../checks/events.json")).expect("JSON")
}

/// The events of `events/`: those of queues, or of HTTP.
pub(crate) fn names(of_queues: bool) -> Vec<String> {
    let folder = fs::read_dir(format!("{}/events", env!("CARGO_MANIFEST_DIR"))).expect("events");
    let mut names: Vec<String> = folder
        .map(|entry| entry.expect("entry").file_name().into_string().expect("name"))
        .filter(|name| !name.starts_with("record-changes"))
        .filter(|name| {
            let is_of_queue =
                name.starts_with("import-catalog") || name.starts_with("export-catalog");
            is_of_queue == of_queues
        })
        .collect();
    names.sort();
    names
}

pub(crate) async fn functions_over_sample() -> (Catalog, HashMap<&'static str, Function>) {
    let catalog = Catalog::start().await;
    sample::load(&catalog.stack.store).await.expect("sample");
    let store = Store::new(catalog.stack.client.clone(), TableNames::with_prefix("test"));
    let settings =
        Settings { store, cache_for: Duration::from_mins(1), show_cost: false, log_percent: 100 };
    let cursors = Cursors::new("the cursor secret of all the tests", None).expect("secret");
    let functions = functions(&settings, &cursors.into(), &catalog.stack.jobs);
    (catalog, functions)
}

pub(crate) fn file(name: &str) -> String {
    fs::read_to_string(format!("{}/events/{name}", env!("CARGO_MANIFEST_DIR"))).expect(name)
}

async fn reply(functions: &HashMap<&'static str, Function>, name: &str, event: String) -> Value {
    let function = &functions[name.split('.').next().expect("function")];
    let reply = function.invoke(event, Context::default()).await.expect("reply");
    serde_json::from_str(&reply).expect("JSON")
}

#[tokio::test]
async fn every_event_file_is_answered_as_its_name_says() {
    let expected = expected().status;
    assert_eq!(names(false), expected.keys().cloned().collect::<Vec<_>>());
    let (_catalog, functions) = functions_over_sample().await;
    for (name, status) in &expected {
        let reply = reply(&functions, name, file(name)).await;
        assert_eq!(reply["statusCode"], *status, "{name}: {reply}");
        if *status == 200 {
            let read = !name.starts_with("upsert");
            assert_eq!(reply["headers"]["etag"].is_string(), read, "{name}");
            assert_eq!(
                reply["isBase64Encoded"],
                reply["headers"]["content-encoding"] == "gzip",
                "{name}"
            );
        }
    }
}

#[tokio::test]
async fn the_next_page_event_works_once_it_has_a_cursor() {
    let (_catalog, functions) = functions_over_sample().await;
    let name = "list-offerings.next-page.json";
    let first =
        file(name).replace("&cursor=REPLACE_WITH_NEXT_CURSOR", "").replace("gzip", "identity");
    let first = reply(&functions, name, first).await;
    let body: Value = serde_json::from_str(first["body"].as_str().expect("text")).expect("JSON");
    let cursor = body["pagination"]["nextCursor"].as_str().expect("cursor");
    let second =
        reply(&functions, name, file(name).replace("REPLACE_WITH_NEXT_CURSOR", cursor)).await;
    assert_eq!(second["statusCode"], 200, "{second}");
}

#[tokio::test]
async fn events_no_uri_could_hold_are_answered_and_not_panicked_on() {
    let (_catalog, functions) = functions_over_sample().await;
    let plain = file("list-offerings.json");
    for (from, to, status) in [
        (r#""rawQueryString": """#, r#""rawQueryString": "q=\"<{é}> |^`\\ #""#, 200),
        // The route is API Gateway's decision, whatever stage or base path is in the path.
        (r#""rawPath": "/product-offerings""#, r#""rawPath": "/shop/product-offerings""#, 200),
        (r#""rawPath": "/product-offerings""#, r#""rawPath": "/pröduct offerings/\"<x>?#{}""#, 200),
        (r#""rawPath": "/product-offerings""#, r#""rawPath": ":99999""#, 200),
        (r#""rawPath": "/product-offerings""#, r#""rawPath": """#, 200),
        (r#""stage": "$default""#, r#""stage": "prod""#, 200),
        (r#""sourceIp": "192.0.2.44""#, r#""sourceIp": "somewhere""#, 200),
        (r#""x-forwarded-proto": "https""#, r#""x-forwarded-proto": "::""#, 200),
        (HOST, r#""host": "a b<>:x""#, 200),
        (HOST, r#""host": "999.999.999.999""#, 200),
        (HOST, r#""host": "a:99999""#, 200),
        (HOST, r#""host": "xn--a""#, 200),
    ] {
        let event = plain.replace(from, to);
        assert_ne!(event, plain, "{from}");
        let reply = reply(&functions, "list-offerings", event).await;
        assert_eq!(reply["statusCode"], status, "{to}: {reply}");
    }
}

const HOST: &str = r#""host": "a1b2c3d4e5.execute-api.eu-west-1.amazonaws.com""#;

#[tokio::test]
async fn without_a_route_the_path_itself_is_looked_at() {
    let (_catalog, functions) = functions_over_sample().await;
    let event = file("list-offerings.unknown-path.json");
    for (path, status) in [
        ("/product-offerings", 200),
        ("/product-offerings/", 404),
        ("product-offerings", 200),
        ("/pröduct offerings/\\\"<x>?#{}", 404),
        ("", 404),
    ] {
        let event = event.replace("\"rawPath\": \"/nowhere\"", &format!("\"rawPath\": \"{path}\""));
        assert_eq!(
            reply(&functions, "list-offerings", event).await["statusCode"],
            status,
            "{path}"
        );
    }
    let event = file("get-offering.json");
    let route = "ANY /product-offerings/{productOfferingId}";
    let event = event
        .replace(route, "$default")
        .replace("esim-pkg-africa-1gb-7d\",\n", "esim%2Dpkg-africa-1gb-7d\",\n");
    assert_eq!(reply(&functions, "get-offering", event).await["statusCode"], 200);
}

#[tokio::test]
async fn every_event_of_a_queue_is_done_or_returned_as_its_name_says() {
    let expected = expected().returned;
    assert_eq!(names(true), expected.keys().cloned().collect::<Vec<_>>());

    let catalog = Catalog::start().await;
    let folder = tempfile::tempdir().expect("folder");
    let server = ObjectServer::start(folder.path(), "catalog", LOCALHOST).await.expect("S3");
    let objects = Objects::new(lean_s3_client(&Connection::local(&server.url())).expect("client"));
    let csv = fs::read(format!("{}/data/sample/products.csv", env!("CARGO_MANIFEST_DIR")));
    let key = "imports/ACME/sample products.csv";
    objects.put("catalog", key, "text/csv", csv.expect("sample")).await.expect("put");
    let store = Store::new(catalog.stack.client.clone(), TableNames::with_prefix("test"));
    let import = ImportCatalog::new(store.clone(), Bucket { objects, name: "catalog".to_owned() });
    let JobServices { bucket, export_queue } = catalog.stack.jobs.clone();
    let export = ExportCatalog::new(store, bucket, export_queue);
    let functions = [Function::of_import(import), Function::of_export(export)];
    for (name, returned) in &expected {
        let mut context = Context::default();
        context.deadline =
            u64::try_from(jiff::Timestamp::now().as_millisecond()).expect("now") + 60_000;
        let function = &functions[usize::from(name.starts_with("export-catalog"))];
        let reply = function.invoke(file(name), context).await.expect("reply");
        let reply: Value = serde_json::from_str(&reply).expect("JSON");
        let failures = reply["batchItemFailures"].as_array().expect("failures").len();
        assert_eq!(failures, *returned, "{name}: {reply}");
    }
    let key = catalog.key("ACME").await;
    let products = crate::upsert::all(&catalog, &key).await;
    assert_eq!(products.len(), 61, "60 rows of the file, one of the messages");
}

#[tokio::test]
async fn the_event_of_a_stream_is_recorded() {
    let expected = expected().recorded;
    assert_eq!(expected.keys().collect::<Vec<_>>(), ["record-changes.json"]);
    let catalog = Catalog::start().await;
    // The event is that of a stack called catalog.
    let event = file("record-changes.json").replace("table/catalog-", "table/test-");
    let function = Function::of_changes(RecordChanges::new(catalog.stack.store.clone()));
    let reply = function.invoke(event, Context::default()).await.expect("reply");
    assert!(reply.contains("\"state\":{}"), "{reply}");
    let key = catalog.key("ACME").await;
    let page = catalog.read(&key, "/catalog/v1/changes").await.json();
    assert_eq!(page["changes"][0]["id"], "CABLE-2M", "{page}");
}
