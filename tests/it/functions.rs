//! The functions as Lambda runs them: each is a process that takes its events from the runtime API.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use jiff::Timestamp;
use serde_json::{Value, json};
use serverless_catalog::store::TableNames;
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use crate::{proxy::message, support::Catalog, upsert::all};

/// The key in the events, of the sample data.
const DEMO_KEY: &str = "cat_live_DemoKeyOfAcmeForLocalUseOnly0001";

const LIST_PRODUCTS: &str = env!("CARGO_BIN_EXE_list-products");

/// An event of each function, and what its reply says: the status of a request, how many messages of a queue are to be
/// delivered again, or the state of a stream.
fn events() -> [(&'static str, &'static str, Value); 14] {
    [
        (env!("CARGO_BIN_EXE_export-catalog"), "export-catalog.no-export", json!(1)),
        (env!("CARGO_BIN_EXE_get-offering"), "get-offering.unknown", json!(404)),
        (env!("CARGO_BIN_EXE_import-catalog"), "import-catalog", json!(0)),
        (env!("CARGO_BIN_EXE_list-changes"), "list-changes", json!(200)),
        (env!("CARGO_BIN_EXE_list-network-products"), "list-network-products.unknown", json!(404)),
        (env!("CARGO_BIN_EXE_list-networks"), "list-networks", json!(200)),
        (env!("CARGO_BIN_EXE_list-offerings"), "list-offerings", json!(200)),
        (env!("CARGO_BIN_EXE_list-partner-offerings"), "list-partner-offerings", json!(200)),
        (LIST_PRODUCTS, "list-products", json!(200)),
        (
            env!("CARGO_BIN_EXE_lookup-network-products"),
            "lookup-network-products.unknown",
            json!(400),
        ),
        (env!("CARGO_BIN_EXE_manage-exports"), "manage-exports", json!(202)),
        (env!("CARGO_BIN_EXE_manage-imports"), "manage-imports", json!(202)),
        (env!("CARGO_BIN_EXE_record-changes"), "record-changes", json!({})),
        (env!("CARGO_BIN_EXE_upsert-products"), "upsert-products", json!(200)),
    ]
}

/// What the template gives a function, and Lambda.
fn environment() -> Vec<(&'static str, String)> {
    let tables = TableNames::with_prefix("test");
    let tables = tables.variables().map(|(variable, name)| (variable, name.to_owned()));
    let others = [
        ("CURSOR_SECRET", "the cursor secret of all the tests"),
        ("REQUEST_LOG_PERCENT", "100"),
        ("AWS_REGION", "eu-west-1"),
        ("AWS_ACCESS_KEY_ID", "local"),
        ("AWS_SECRET_ACCESS_KEY", "local"),
        ("AWS_LAMBDA_FUNCTION_NAME", "function"),
        ("AWS_LAMBDA_FUNCTION_VERSION", "1"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
        // Where nobody listens.
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:9"),
    ];
    let others = others.map(|(variable, value)| (variable, value.to_owned()));
    tables.into_iter().chain(others).collect()
}

/// A process that ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = (self.0.kill(), self.0.wait());
    }
}

/// Starts a function, gives it an event, and returns its reply.
async fn invoke(binary: &str, environment: &[(&str, String)], event: String) -> Value {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let mut command = Command::new(binary);
    command.envs(environment.iter().cloned()).env("AWS_LAMBDA_RUNTIME_API", address);
    let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let mut process = Process(process.expect("a process"));
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let runtime = async {
        let is_given = Arc::<AtomicBool>::default();
        loop {
            let (socket, _) = listener.accept().await.expect("a connection");
            tokio::spawn(serve(socket, event.clone(), is_given.clone(), sender.clone()));
        }
    };
    let end = async {
        loop {
            tokio::time::sleep(Duration::from_millis(50)).await;
            if let Some(status) = process.0.try_wait().expect("a process") {
                return status;
            }
        }
    };
    tokio::select! {
        reply = receiver.recv() => reply.expect("a reply"),
        status = end => panic!("{binary} ended without a reply: {status}"),
        () = runtime => unreachable!("it accepts connections without end"),
    }
}

/// The runtime API, which has one event.
async fn serve(
    mut socket: TcpStream,
    event: String,
    is_given: Arc<AtomicBool>,
    replies: mpsc::UnboundedSender<Value>,
) {
    while let Some(request) = message(&mut socket).await {
        let request = String::from_utf8(request).expect("UTF-8");
        let (head, body) = request.split_once("\r\n\r\n").expect("a head");
        let response = if head.starts_with("GET /2018-06-01/runtime/invocation/next ") {
            if is_given.swap(true, Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            // A run of an import or an export ends fifteen seconds before that.
            let deadline = Timestamp::now().as_millisecond() + 30_000;
            format!(
                "HTTP/1.1 200 OK\r\nlambda-runtime-aws-request-id: one\r\nlambda-runtime-deadline-ms: {deadline}\r\n\
                 lambda-runtime-invoked-function-arn: arn:aws:lambda:eu-west-1:123456789012:function:f\r\n\
                 lambda-runtime-trace-id: Root=1-67891233-abcdef012345678912345678;Parent=53995c3f42cd8ad8;Sampled=1\r\n\
                 content-type: application/json\r\ncontent-length: {}\r\n\r\n{event}",
                event.len()
            )
        } else {
            let is_response = head.starts_with("POST /2018-06-01/runtime/invocation/one/response ");
            assert!(is_response, "{request}");
            let _ = replies.send(serde_json::from_str(body).expect("JSON"));
            "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n".to_owned()
        };
        if socket.write_all(response.as_bytes()).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_function_is_a_binary_that_answers_the_events_of_lambda() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    let mut environment = environment();
    environment.extend(catalog.stack.environment());
    environment.push(("AWS_ENDPOINT_URL_DYNAMODB", catalog.stack.addresses().dynamodb_url));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("events");
    let replies = events().map(|(binary, name, _)| {
        let event = std::fs::read_to_string(folder.join(format!("{name}.json"))).expect(name);
        let event = event.replace(DEMO_KEY, &key).replace("table/catalog-", "table/test-");
        invoke(binary, &environment, event)
    });
    let told = join_all(replies).await.into_iter().zip(events()).map(|(reply, (_, name, _))| {
        let failures = reply["batchItemFailures"].as_array();
        let told = if name == "record-changes" {
            reply["state"].clone()
        } else {
            failures.map_or_else(|| reply["statusCode"].clone(), |failures| json!(failures.len()))
        };
        (name, told)
    });
    let expected = events().map(|(_, name, told)| (name, told));
    assert_eq!(told.collect::<Vec<_>>(), expected);
    // The record of the message is there.
    let products = all(&catalog, &key).await;
    assert!(products.iter().any(|product| product["sku"] == "EVENT-1"), "{products:?}");
}

#[test]
fn a_function_whose_environment_is_wrong_ends_and_says_why() {
    for (variable, value, why) in [
        ("OFFERINGS_TABLE", "", "Missing(\"OFFERINGS_TABLE\")"),
        ("CURSOR_SECRET", "", "Missing(\"CURSOR_SECRET\")"),
        ("CURSOR_SECRET", "too short", "must be at least 32 characters long"),
        ("CURSOR_SECRET_PREVIOUS", "too short", "must be at least 32 characters long"),
        ("REQUEST_LOG_PERCENT", "101", "101 is not in 0 to 100"),
    ] {
        let mut command = Command::new(LIST_PRODUCTS);
        command.envs(environment()).env(variable, value).env_remove("AWS_LAMBDA_RUNTIME_API");
        let output = command.output().expect("it ends");
        assert!(!output.status.success(), "{variable}");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(told.contains(why), "{variable}: {told}");
    }
}
