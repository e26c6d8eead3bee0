//! Every file of `events/`, through the function its name begins with, over the sample data.

use std::{collections::HashMap, fs, time::Duration};

use catalog_cli::local::{Function, ObjectServer, functions, sample};
use lambda_http::Context;
use serde_json::Value;
use serverless_catalog::{
    cursor::Cursors,
    lambda::Settings,
    objects::Objects,
    queue::ImportCatalog,
    store::{Store, TableNames, lean_s3_client},
};

use crate::support::Catalog;

/// What each event is answered with.
const EXPECTED: [(&str, u16); 31] = [
    ("get-offering.bad-key.json", 401),
    ("get-offering.json", 200),
    ("get-offering.promo-code.json", 200),
    ("get-offering.unknown.json", 404),
    ("list-network-products.json", 200),
    ("list-network-products.no-network-id.json", 400),
    ("list-network-products.unknown.json", 404),
    ("list-networks.all.json", 200),
    ("list-networks.bad-country.json", 400),
    ("list-networks.countries.json", 200),
    ("list-networks.json", 200),
    ("list-offerings.all-filters.json", 200),
    ("list-offerings.bad-key.json", 401),
    ("list-offerings.json", 200),
    ("list-offerings.next-page.json", 400),
    ("list-offerings.unknown-path.json", 404),
    ("list-partner-offerings.bad-key.json", 401),
    ("list-partner-offerings.json", 200),
    ("list-products.bad-key.json", 401),
    ("list-products.category.json", 200),
    ("list-products.json", 200),
    ("list-products.sku.json", 200),
    ("list-products.wrong-method.json", 405),
    ("upsert-products.bad-key.json", 401),
    ("upsert-products.base64.json", 200),
    ("upsert-products.empty.json", 400),
    ("upsert-products.json", 200),
    ("upsert-products.malformed.json", 400),
    ("upsert-products.over-limit.json", 400),
    ("upsert-products.partial.json", 207),
    ("upsert-products.thousand.json", 200),
];

async fn functions_over_sample() -> (Catalog, HashMap<&'static str, Function>) {
    let catalog = Catalog::start().await;
    sample::load(catalog.stack.store()).await.expect("sample");
    let store = Store::new(catalog.stack.client().clone(), TableNames::with_prefix("test"));
    let settings = Settings { store, cache: Duration::from_mins(1), show_cost: false };
    let cursors = Cursors::new("the cursor secret of all the tests", None).expect("secret");
    let functions = functions(&settings, &cursors.into());
    (catalog, functions)
}

fn file(name: &str) -> String {
    fs::read_to_string(format!("{}/events/{name}", env!("CARGO_MANIFEST_DIR"))).expect(name)
}

async fn reply(functions: &HashMap<&'static str, Function>, name: &str, event: String) -> Value {
    let function = &functions[name.split('.').next().expect("function")];
    let reply = function.invoke(event, Context::default()).await.expect("reply");
    serde_json::from_str(&reply).expect("JSON")
}

#[tokio::test]
async fn every_event_file_is_answered_as_its_name_says() {
    let folder = fs::read_dir(format!("{}/events", env!("CARGO_MANIFEST_DIR"))).expect("events");
    let mut names: Vec<String> = folder
        .map(|entry| entry.expect("entry").file_name().into_string().expect("name"))
        .collect();
    names.sort();
    names.retain(|name| !name.starts_with("import-catalog"));
    assert_eq!(names, EXPECTED.map(|(name, _)| name));
    let (_catalog, functions) = functions_over_sample().await;
    for (name, status) in EXPECTED {
        let reply = reply(&functions, name, file(name)).await;
        assert_eq!(reply["statusCode"], status, "{name}: {reply}");
        if status == 200 {
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

/// Messages to import: how many each event has handed back.
const IMPORTS: [(&str, usize); 10] = [
    ("import-catalog.eventbridge-object.json", 0),
    ("import-catalog.eventbridge-records.json", 0),
    ("import-catalog.eventbridge-s3.json", 0),
    ("import-catalog.json", 0),
    ("import-catalog.no-account.json", 1),
    ("import-catalog.not-json.json", 1),
    ("import-catalog.s3-missing.json", 1),
    ("import-catalog.s3-test-event.json", 0),
    ("import-catalog.s3.json", 0),
    ("import-catalog.sns.json", 0),
];

#[tokio::test]
async fn every_import_event_is_done_or_handed_back_as_its_name_says() {
    let folder = fs::read_dir(format!("{}/events", env!("CARGO_MANIFEST_DIR"))).expect("events");
    let mut names: Vec<String> = folder
        .map(|entry| entry.expect("entry").file_name().into_string().expect("name"))
        .filter(|name| name.starts_with("import-catalog"))
        .collect();
    names.sort();
    assert_eq!(names, IMPORTS.map(|(name, _)| name));

    let catalog = Catalog::start().await;
    let folder = tempfile::tempdir().expect("folder");
    let server = ObjectServer::start(folder.path(), "catalog").await.expect("S3");
    let objects = Objects::new(lean_s3_client(None, Some(&server.url())).expect("client"));
    let csv = fs::read(format!("{}/data/sample/products.csv", env!("CARGO_MANIFEST_DIR")));
    let key = "imports/ACME/sample products.csv";
    objects.put("catalog", key, "text/csv", csv.expect("sample")).await.expect("put");
    let store = Store::new(catalog.stack.client().clone(), TableNames::with_prefix("test"));
    let function =
        Function::of_import(ImportCatalog::new(store, objects, Some("catalog".to_owned())));
    for (name, handed_back) in IMPORTS {
        let mut context = Context::default();
        context.deadline =
            u64::try_from(jiff::Timestamp::now().as_millisecond()).expect("now") + 60_000;
        let reply = function.invoke(file(name), context).await.expect("reply");
        let reply: Value = serde_json::from_str(&reply).expect("JSON");
        let failures = reply["batchItemFailures"].as_array().expect("failures").len();
        assert_eq!(failures, handed_back, "{name}: {reply}");
    }
    let key = catalog.key("ACME").await;
    let products = crate::upsert::all(&catalog, &key).await;
    assert_eq!(products.len(), 61, "60 rows of the file, one of the messages");
}
