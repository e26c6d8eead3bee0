//! Each function's role allows exactly what its code does to the tables: no operation is missing, and
//! none is left over.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex},
    time::Duration,
};

use aws_sdk_dynamodb::types::AttributeValue;
use catalog_cli::local::{Function, JobServices, LOCALHOST, ObjectServer, functions, sample};
use jiff::{SignedDuration, Timestamp};
use lambda_http::Context;
use serde_json::{Value, json};
use serde_yaml_ng::Value as Yaml;
use serverless_catalog::{
    access::{ApiKey, FieldUpdate, KeyChange, KeyHash, PerMinute},
    account::AccountId,
    changes::Kinds,
    clock::Clock,
    cursor::Cursors,
    exports::{ExportId, ExportJob, ExportView},
    imports::{
        OrderBy,
        job::{ImportId, ImportOptions, Submission},
        submission::SubmittedImport,
    },
    lambda::Settings,
    objects::{Bucket, Objects},
    queue::{ExportCatalog, ImportCatalog, QueueMessage, export_message},
    store::{Connection, Store, TableNames, lean_client, lean_s3_client},
    streams::RecordChanges,
};

use crate::{
    events,
    exports::Away,
    proxy::{Fate, proxy},
    support::{Catalog, offering},
};

/// Operations on tables and indexes: `Query test-offerings/index/byCategory`.
type Operations = BTreeSet<String>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_allows_what_its_function_does_and_nothing_else() {
    let allowed = allowed();
    let done = done().await;
    assert_eq!(allowed.keys().collect::<Vec<_>>(), done.keys().collect::<Vec<_>>());
    for (function, operations) in &done {
        let allowed = &allowed[function];
        let missing: Vec<_> = operations.difference(allowed).collect();
        assert!(missing.is_empty(), "{function} does what its role forbids: {missing:?}");
        let idle: Vec<_> = allowed.difference(operations).collect();
        assert!(idle.is_empty(), "{function} may do what it never does: {idle:?}");
    }
}

#[test]
fn a_wildcard_stands_only_where_aws_knows_no_single_resources() {
    let template = template();
    for (name, resource) in resources(&template) {
        let Some(policies) = resource["Properties"]["Policies"].as_sequence() else { continue };
        for statement in policies.iter().flat_map(|policy| statements(&policy["PolicyDocument"])) {
            for action in texts(&statement["Action"]) {
                assert!(!action.contains('*'), "{name} allows {action}");
            }
            let traces = statement["Sid"] == "Traces";
            for target in targets(&statement["Resource"]) {
                let folders = ["imports", "uploads", "reports", "exports"];
                let objects = folders.iter().any(|name| target.ends_with(&format!("/{name}/*")));
                assert!(traces || objects || !target.contains('*'), "{name}: {target}");
            }
        }
    }
}

fn template() -> Yaml {
    serde_yaml_ng::from_str(include_str!("../../template.yaml")).expect("template")
}

fn resources(template: &Yaml) -> impl Iterator<Item = (&str, &Yaml)> {
    let resources = template["Resources"].as_mapping().expect("resources");
    resources.iter().map(|(name, resource)| (name.as_str().expect("name"), resource))
}

fn statements(document: &Yaml) -> impl Iterator<Item = &Yaml> {
    document["Statement"].as_sequence().into_iter().flatten()
}

/// A text, or a list of them.
fn texts(value: &Yaml) -> Vec<String> {
    match value {
        Yaml::Sequence(values) => values.iter().flat_map(texts).collect(),
        value => value.as_str().map(ToOwned::to_owned).into_iter().collect(),
    }
}

/// What `!GetAtt` and `!Sub` point at: `OfferingsTable`, `OfferingsTable/index/byCategory`.
fn targets(value: &Yaml) -> Vec<String> {
    match value {
        Yaml::Sequence(values) => values.iter().flat_map(targets).collect(),
        Yaml::Tagged(tagged) => {
            let text = tagged.value.as_str().expect("text");
            vec![text.replace("${", "").replace(".Arn", "").replace('}', "")]
        }
        value => texts(value),
    }
}

/// What an event source mapping does to a stream with the role of its function.
const OF_MAPPINGS: [&str; 4] = [
    "dynamodb:DescribeStream",
    "dynamodb:GetRecords",
    "dynamodb:GetShardIterator",
    "dynamodb:ListStreams",
];

/// What the roles allow to be done to tables, by function.
fn allowed() -> BTreeMap<String, Operations> {
    let template = template();
    let table_name = |logical: &str| {
        let name = &template["Resources"][logical]["Properties"]["TableName"];
        targets(name).pop().map(|name| name.replace("AWS::StackName", "test"))
    };
    let functions = resources(&template)
        .filter(|(_, resource)| resource["Type"] == "AWS::Serverless::Function");
    functions
        .map(|(name, resource)| {
            let binary = resource["Properties"]["CodeUri"].as_str().expect("CodeUri");
            let binary = binary.trim_end_matches('/').rsplit('/').next().expect("binary");
            let role = targets(&resource["Properties"]["Role"]).pop().expect("a role of its own");
            assert_eq!(role, name.replace("Function", "Role"));
            let role = &template["Resources"][role.as_str()]["Properties"];
            assert!(role["ManagedPolicyArns"].is_null(), "{name}");
            let mut operations = Operations::new();
            let policies = role["Policies"].as_sequence().expect("policies");
            for statement in policies.iter().flat_map(|one| statements(&one["PolicyDocument"])) {
                for action in texts(&statement["Action"]) {
                    let Some(operation) = action.strip_prefix("dynamodb:") else { continue };
                    for target in targets(&statement["Resource"]) {
                        if let Some(table) = target.strip_suffix(".StreamArn") {
                            // Its event source mapping does that.
                            assert!(OF_MAPPINGS.contains(&action.as_str()), "{table}: {action}");
                            continue;
                        }
                        let (table, index) = target.split_once('/').unwrap_or((&target, ""));
                        let table = table_name(table).expect("a table");
                        let slash = if index.is_empty() { "" } else { "/" };
                        operations.insert(format!("{operation} {table}{slash}{index}"));
                    }
                }
            }
            (binary.to_owned(), operations)
        })
        .collect()
}

/// What a request to the database does, as policies name it: a transaction needs the permissions of its
/// parts (DynamoDB developer guide, "Using IAM with transactions").
fn operations(operation: &str, request: &str) -> Operations {
    let body = request.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    match operation {
        "BatchGetItem" | "BatchWriteItem" => {
            let tables = body["RequestItems"].as_object().expect("tables");
            tables.keys().map(|table| format!("{operation} {table}")).collect()
        }
        "TransactWriteItems" => {
            let items = body["TransactItems"].as_array().expect("items");
            let parts = items.iter().flat_map(|item| item.as_object().expect("part"));
            parts
                .map(|(part, item)| {
                    let operation = match part.as_str() {
                        "Put" => "PutItem",
                        "Update" => "UpdateItem",
                        "Delete" => "DeleteItem",
                        part => part,
                    };
                    format!("{operation} {}", item["TableName"].as_str().expect("table"))
                })
                .collect()
        }
        operation => {
            let table = body["TableName"].as_str().expect("table");
            let index = body["IndexName"].as_str().map(|index| format!("/index/{index}"));
            Operations::from([format!("{operation} {table}{}", index.unwrap_or_default())])
        }
    }
}

/// Runs every function over whatever it does to the tables, and tells what that was.
async fn done() -> BTreeMap<String, Operations> {
    let catalog = Catalog::start().await;
    sample::load(&catalog.stack.store).await.expect("sample");
    let seen: Arc<Mutex<Operations>> = Arc::default();
    let noted = seen.clone();
    let engine = catalog.stack.addresses().dynamodb_url;
    let url = proxy(&engine, move |operation, request| {
        noted.lock().expect("lock").extend(operations(operation, request));
        Fate::Pass
    })
    .await;
    let client = lean_client(&Connection::local(&url)).expect("client");
    // Each of the two as a process of its own: neither knows what the other has cached.
    let imports = Store::new(client.clone(), TableNames::with_prefix("test"));
    let store = Store::new(client, TableNames::with_prefix("test"));
    let take = || std::mem::take(&mut *seen.lock().expect("lock"));

    let mut done = BTreeMap::new();
    limit_demo_key(&catalog).await;
    // A key is remembered no time at all: each function reads it.
    let settings = Settings {
        store: store.clone(),
        cache_for: Duration::ZERO,
        show_cost: false,
        log_percent: 100,
    };
    let cursors = Cursors::new("the cursor secret of all the tests", None).expect("secret");
    let cursors = cursors.into();
    let functions_with = |jobs| functions(&settings, &cursors, jobs);
    let functions = functions_with(&catalog.stack.jobs);
    let without_queue =
        functions_with(&JobServices { export_queue: Arc::new(Away), ..catalog.stack.jobs.clone() });
    submit_unused(&catalog).await;
    for name in functions.keys() {
        // Each function begins with full balances.
        forget_use(&catalog).await;
        if *name == "manage-exports" {
            answer_events(&without_queue, name).await;
        }
        answer_events(&functions, name).await;
        answer_events(&functions, name).await;
        if *name == "upsert-products" {
            for rows in &rows() {
                upsert(&functions, rows).await;
            }
        }
        done.insert((*name).to_owned(), take());
    }

    let folder = tempfile::tempdir().expect("folder");
    let server = ObjectServer::start(folder.path(), "catalog", LOCALHOST).await.expect("S3");
    let s3 = lean_s3_client(&Connection::local(&server.url())).expect("client");
    let bucket = Bucket { objects: Objects::new(s3.clone()), name: "catalog".to_owned() };
    let import = ImportCatalog::new(imports, bucket);
    for records in records() {
        let body = records.iter().map(Value::to_string).collect::<Vec<_>>().join("\n");
        import_message(&import, &body).await;
    }
    // A file that is the whole of a kind has all that is stored of it read, a page after the other.
    for record in last_of_each_kind() {
        let kind = record["kind"].as_str().expect("kind");
        let key = format!("imports/ACME/{kind}.ndjson");
        let put = s3.put_object().bucket("catalog").key(&key);
        let put = put.metadata("replace", kind).metadata("replace-share", "1");
        put.body(record.to_string().into_bytes().into()).send().await.expect("put");
        let object =
            json!({"bucket": {"name": "catalog"}, "object": {"key": key, "sequencer": "01"}});
        let event =
            json!({"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": object});
        import_message(&import, &json!({"Records": [event]}).to_string()).await;
    }
    done.insert("import-catalog".to_owned(), take());

    let JobServices { bucket, export_queue } = catalog.stack.jobs.clone();
    let export = ExportCatalog::new(store.clone(), bucket, export_queue);
    let account = AccountId::parse("ACME").expect("account");
    let (id, view) = (ExportId::of(&["x"]), ExportView::default());
    let job = ExportJob::new(id, Kinds::ALL, view, String::new(), Timestamp::now());
    catalog.stack.store.create_export(&account, &job).await.expect("export");
    let QueueMessage { body, .. } = export_message(&account, &job.id);
    let event = json!({"Records": [{"messageId": "m", "body": body, "attributes": {}}]});
    let event = serde_json::from_value(event).expect("an event");
    let deadline = tokio::time::Instant::now() + Duration::from_mins(1);
    let reply = export.handle(event, deadline).await;
    assert!(reply.batch_item_failures.is_empty());
    done.insert("export-catalog".to_owned(), take());

    let changes = RecordChanges::new(store);
    for shard in ["a", "b"] {
        let event = serde_json::from_value(crate::changes::event(1, shard, Timestamp::now()));
        changes.handle(event.expect("an event")).await.expect("recorded");
    }
    done.insert("record-changes".to_owned(), take());
    done
}

/// Submits an import for which nothing was uploaded in seven hours: whoever asks for it next ends it.
async fn submit_unused(catalog: &Catalog) {
    let (format, replace, order_by, dry_run) = (None, None, OrderBy::Record, false);
    let options = ImportOptions { format, replace, order_by, dry_run };
    let unused = SubmittedImport {
        import: ImportId::parse("3acd990027d0d8caede63621ac484963").expect("id"),
        submission: Submission { options, length: 1 },
        submitted_at: Timestamp::now(),
    };
    let account = AccountId::parse("ACME").expect("account");
    let before = Clock::simulated(Timestamp::now() - SignedDuration::from_hours(7));
    let store = catalog.stack.store.clone().with_clock(before);
    store.submit_import(&account, &unused).await.expect("submitted");
}

/// Gives the key of all events limits so small that nearly every request has a report to make.
async fn limit_demo_key(catalog: &Catalog) {
    let account = "ACME".parse().expect("account");
    let per_minute = |limit| FieldUpdate::Set(PerMinute::new(limit).expect("a limit"));
    let change = KeyChange {
        reads_per_minute: per_minute(10),
        writes_per_minute: per_minute(10_000),
        ..KeyChange::default()
    };
    let updated = catalog.stack.store.update_key(&account, &demo_key(), &change).await;
    assert!(updated.expect("updated").is_some());
}

fn demo_key() -> KeyHash {
    ApiKey::parse(sample::SAMPLES[0].key).expect("key").hash()
}

async fn forget_use(catalog: &Catalog) {
    let delete = catalog.stack.client.delete_item().table_name("test-usage");
    let delete = delete.key("keyHash", AttributeValue::S(demo_key().as_str().to_owned()));
    let delete = delete.key("part", AttributeValue::S("balance".to_owned()));
    delete.send().await.expect("deleted");
}

/// Sends a function the files of `events/` that are its own.
async fn answer_events(functions: &HashMap<&'static str, Function>, name: &str) {
    for file in events::names(false) {
        if file.split('.').next() == Some(name) {
            functions[name].invoke(events::file(&file), Context::default()).await.expect("reply");
        }
    }
}

/// Rows that change the keys of their products, one request after the other.
fn rows() -> [Value; 5] {
    [
        json!([{"sku": "PERM-1", "name": "n"}, {"externalId": "perm-2", "name": "n"}]),
        json!([{"sku": "PERM-1", "externalId": "perm-1"}]),
        json!([{"sku": "PERM-1", "externalId": "perm-3"}]),
        // Beside rows by sku, one by external id alone has its link looked up.
        json!([{"sku": "PERM-1", "price": 2}, {"externalId": "perm-3", "price": 3}]),
        json!([{"sku": "PERM-2", "externalId": "perm-2"}]),
    ]
}

async fn upsert(functions: &HashMap<&'static str, Function>, rows: &Value) {
    let event = events::file("upsert-products.json");
    let mut event: Value = serde_json::from_str(&event).expect("JSON");
    event["body"] = json!({ "products": rows }).to_string().into();
    let reply = functions["upsert-products"].invoke(event.to_string(), Context::default()).await;
    assert!(reply.expect("reply").contains("\"statusCode\":200"), "{rows}");
}

async fn import_message(import: &ImportCatalog, body: &str) {
    let account = json!({"account": {"stringValue": "ACME", "dataType": "String"}});
    let id = serverless_catalog::text::random_name();
    let message = json!({"messageId": id, "body": body, "messageAttributes": account});
    let event = serde_json::from_value(json!({ "Records": [message] })).expect("an event");
    let reply = import.handle(event, tokio::time::Instant::now() + Duration::from_mins(1)).await;
    assert!(reply.batch_item_failures.is_empty(), "{body}");
}

/// Messages of records: many of a kind and few, new, changed and removed, with a time and without.
fn records() -> Vec<Vec<Value>> {
    let rate = |n: usize| {
        let source = ["EUR", "GBP", "JPY", "KES", "NGN"][n % 5];
        let destination = ["GHS", "USD", "CHF", "SEK", "NOK", "DKK"][n / 5];
        json!({"kind": "exchangeRate", "source_currency": source,
            "destination_currency": destination, "rate": n + 1})
    };
    let whole = |n: usize| {
        let partner = json!({"name": format!("p{n}"), "type": "addon", "quantity": 1});
        [
            offering(&format!("perm-{n}"), json!({})),
            json!({"kind": "promotion", "code": format!("PERM{n}"), "percentOff": 5}),
            json!({"kind": "partnerOffering", "offering": partner, "entitlements": {}}),
            rate(n),
        ]
    };
    let changed = |mut record: Value, by: &[(&str, Value)]| {
        for (name, value) in by {
            record[*name] = value.clone();
        }
        record
    };
    let at = |minute: u32| json!(format!("2026-01-01T00:{minute:02}:00Z"));
    let many: Vec<Value> = (0..30).flat_map(whole).collect();
    let few_later: Vec<Value> =
        (0..2).flat_map(whole).map(|record| changed(record, &[("updatedAt", at(1))])).collect();
    let few_gone = (0..2)
        .flat_map(whole)
        .map(|record| changed(record, &[("updatedAt", at(2)), ("op", "delete".into())]))
        .collect();
    let network = |bundles: &[u32]| {
        let bundle = |id: &u32| json!({"id": id, "name": "b", "type": "DATA", "price_usd": 1});
        let bundles: Vec<Value> = bundles.iter().map(bundle).collect();
        json!({"kind": "network", "id": 7, "name": "N", "country": "Ghana", "country_code": "GH",
            "currency": "GHS", "fixed_bundles": bundles})
    };
    let bundle = |id: u32| {
        json!({"kind": "bundle", "network_id": 7, "id": id, "name": "b", "type": "DATA",
            "price_usd": 1, "local_currency": "GHS"})
    };
    let product = |row: Value| changed(row, &[("kind", "product".into())]);
    let products: Vec<Value> =
        (0..30).map(|n| product(json!({"sku": format!("perm-{n:02}"), "name": "n"}))).collect();
    let id = "01920e3a-7b1c-7def-8123-456789abcdef";
    vec![
        many,
        few_later,
        few_gone,
        vec![network(&[1, 2, 3])],
        vec![network(&[2, 3])],
        vec![bundle(9)],
        vec![changed(bundle(9), &[("op", "delete".into())])],
        products,
        vec![product(json!({"sku": "perm-00", "externalId": "x"}))],
        vec![product(json!({"sku": "perm-00", "externalId": "y", "price": 3}))],
        vec![product(json!({"sku": "perm-00", "op": "delete"}))],
        vec![product(json!({"id": id, "name": "n"}))],
    ]
}

/// A record of each kind that `replace` may name.
fn last_of_each_kind() -> [Value; 6] {
    let partner = json!({"name": "p9", "type": "addon", "quantity": 1});
    [
        offering("perm-9", json!({})),
        json!({"kind": "promotion", "code": "PERM9", "percentOff": 5}),
        json!({"kind": "partnerOffering", "offering": partner, "entitlements": {}}),
        json!({"kind": "network", "id": 7, "name": "N", "country": "Ghana", "country_code": "GH", "currency": "GHS"}),
        json!({"kind": "exchangeRate", "source_currency": "USD", "destination_currency": "GHS", "rate": 9}),
        json!({"kind": "product", "sku": "perm-09", "name": "n"}),
    ]
}
