//! Watches the bucket's folder, and sends the function `import-catalog` the event that S3 would send for each
//! file dropped there.

use std::{
    collections::{HashMap, VecDeque},
    fs,
    future::ready,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures_util::{FutureExt as _, future::BoxFuture};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use serverless_catalog::{
    cause::Cause,
    lambda::LONGEST_RUN,
    objects::Objects,
    queue::{CONTINUES, Continuation, ImportCatalog, MessageQueue},
    store::{Connection, Store, lean_s3_client},
};
use tokio::task::JoinHandle;

use super::{Function, ObjectServer, gateway::context};
use crate::{console::say, error::CliError};

/// How often the folder is polled. A file is imported once it has not changed between two polls.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// A file's metadata, which shows that the file has changed.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Fingerprint {
    modified: SystemTime,
    bytes: u64,
}

/// The local bucket's name.
pub const BUCKET: &str = "catalog";

/// A bucket in a folder. Until this is dropped, it is served as S3, and its `imports/` is watched.
#[derive(Debug)]
pub struct Bucket {
    folder: PathBuf,
    server: ObjectServer,
    watch: JoinHandle<()>,
}

impl Drop for Bucket {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

impl Bucket {
    /// Serves and watches a folder, and imports into these tables.
    ///
    /// # Errors
    /// [`CliError`] when the folder cannot be used.
    pub async fn open(folder: PathBuf, store: &Store, listen: IpAddr) -> Result<Self, CliError> {
        let imports = folder.join(BUCKET).join("imports");
        fs::create_dir_all(&imports).map_err(CliError::file("make", &imports))?;
        let server = ObjectServer::start(&folder, BUCKET, listen).await?;
        let client = lean_s3_client(&Connection::local(&server.url()))
            .map_err(|error| CliError::Engine(error.to_string()))?;
        let queue = Arc::new(LocalQueue::default());
        let import =
            ImportCatalog::new(store.clone(), Objects::new(client), Some(BUCKET.to_owned()))
                .with_queue(queue.clone());
        let watch = watch(folder.clone(), Function::of_import(import), queue);
        Ok(Self { folder, server, watch })
    }

    /// The folder for files to import, with one subfolder per account.
    #[must_use]
    pub fn imports(&self) -> PathBuf {
        self.folder.join(BUCKET).join("imports")
    }

    /// The URL of the S3 server.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// The environment variables that tell the function about the bucket.
    #[must_use]
    pub fn environment(&self) -> [(&'static str, String); 2] {
        [("AWS_ENDPOINT_URL_S3", self.server.url()), ("CATALOG_BUCKET", BUCKET.to_owned())]
    }
}

/// Watches `imports/` of the bucket's folder.
fn watch(folder: PathBuf, function: Function, queue: Arc<LocalQueue>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut seen: HashMap<PathBuf, (Fingerprint, bool)> = HashMap::new();
        loop {
            tokio::time::sleep(POLL_INTERVAL).await;
            let root = folder.join(BUCKET);
            for (path, look) in files(&root.join("imports")) {
                let before = seen.insert(path.clone(), (look, false));
                match before {
                    Some((same, true)) if same == look => {
                        seen.insert(path, (look, true));
                    }
                    Some((same, false)) if same == look => {
                        let Ok(key) = path.strip_prefix(&root) else { continue };
                        let key = key.to_string_lossy().replace('\\', "/");
                        let done = deliver(&function, &queue, &key, look).await;
                        seen.insert(path, (look, done));
                    }
                    _ => {}
                }
            }
        }
    })
}

/// All files below a folder, except hidden ones.
fn files(folder: &Path) -> Vec<(PathBuf, Fingerprint)> {
    let mut found = Vec::new();
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries {
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        let Ok(metadata) = entry.metadata() else { continue };
        if hidden {
            continue;
        }
        if metadata.is_dir() {
            found.extend(files(&entry.path()));
        } else if let Ok(modified) = metadata.modified() {
            found.push((entry.path(), Fingerprint { modified, bytes: metadata.len() }));
        }
    }
    found
}

/// Sends the event of an object, and its continuations; returns whether all were acknowledged.
async fn deliver(function: &Function, queue: &LocalQueue, key: &str, look: Fingerprint) -> bool {
    let mut message = queue_message(&notification(key, look).to_string());
    loop {
        let event = json!({ "Records": [message] });
        let reply = function.invoke(event.to_string(), context(LONGEST_RUN)).await;
        let failures = reply.as_deref().map(|reply| {
            let reply: Value = serde_json::from_str(reply).unwrap_or_default();
            reply["batchItemFailures"].as_array().map_or(0, Vec::len)
        });
        if failures != Ok(0) {
            return false;
        }
        let Some(next) = queue.take() else { break };
        tokio::time::sleep(next.delay).await;
        message = queue_message(&next.body);
        message["messageAttributes"] =
            json!({ CONTINUES: {"stringValue": next.continues, "dataType": "String"} });
    }
    say(format!("{key} is imported; its report is under reports/."));
    true
}

/// The queue of a local function: it holds only continuations. Failed events are sent again by the watch
/// itself.
#[derive(Debug, Default)]
struct LocalQueue(Mutex<VecDeque<Continuation>>);

impl LocalQueue {
    fn take(&self) -> Option<Continuation> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

impl MessageQueue for LocalQueue {
    fn send(&self, message: Continuation) -> BoxFuture<'_, Result<(), Cause>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(message);
        ready(Ok(())).boxed()
    }

    fn retry_after(&self, _: String, _: Duration) -> BoxFuture<'_, Result<(), Cause>> {
        ready(Ok(())).boxed()
    }
}

/// S3's notification of a new object.
fn notification(key: &str, look: Fingerprint) -> Value {
    let nanos = look.modified.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let key = utf8_percent_encode(key, NON_ALPHANUMERIC).to_string().replace("%2F", "/");
    json!({"Records": [{
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": "local",
        "eventName": "ObjectCreated:Put",
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "local",
            "bucket": {"name": BUCKET, "arn": format!("arn:aws:s3:::{BUCKET}")},
            "object": {"key": key, "size": look.bytes, "sequencer": format!("{nanos:018X}")},
        },
    }]})
}

/// A message as the function receives it.
fn queue_message(body: &str) -> Value {
    let sent = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    json!({
        "messageId": format!("local-{sent}"),
        "receiptHandle": "local",
        "body": body,
        "attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": sent.to_string()},
        "messageAttributes": {},
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:local:000000000000:imports",
        "awsRegion": "local",
    })
}
