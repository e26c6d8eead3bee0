//! Files dropped into the bucket's folder become events, as S3 would send them, for the function
//! `import-catalog`.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use serverless_catalog::{
    lambda::LONGEST_RUN,
    objects::Objects,
    queue::ImportCatalog,
    store::{Store, lean_s3_client},
};
use tokio::task::JoinHandle;

use super::{Function, ObjectServer, gateway::context};
use crate::{console::say, error::CliError};

/// How often the folder is looked at. A file is taken when it has not changed between two looks.
const EVERY: Duration = Duration::from_secs(1);

/// What a file looks like from outside.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Look {
    modified: SystemTime,
    bytes: u64,
}

/// The local bucket's name.
const BUCKET: &str = "catalog";

/// A bucket in a folder: served as S3, and its `imports/` watched, until this is dropped.
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
    /// Serves and watches a folder; what is imported goes to these tables.
    ///
    /// # Errors
    /// [`CliError`] when the folder cannot be used.
    pub async fn open(folder: PathBuf, store: &Store) -> Result<Self, CliError> {
        let imports = folder.join(BUCKET).join("imports");
        fs::create_dir_all(&imports).map_err(CliError::file("make", &imports))?;
        let server = ObjectServer::start(&folder, BUCKET).await?;
        let client = lean_s3_client(None, Some(&server.url()))
            .map_err(|error| CliError::Engine(error.to_string()))?;
        let import =
            ImportCatalog::new(store.clone(), Objects::new(client), Some(BUCKET.to_owned()));
        let watch = watch(folder.clone(), Function::of_import(import));
        Ok(Self { folder, server, watch })
    }

    /// Where files to import are dropped, a folder an account.
    #[must_use]
    pub fn imports(&self) -> PathBuf {
        self.folder.join(BUCKET).join("imports")
    }

    /// What the function's environment says of it.
    #[must_use]
    pub fn environment(&self) -> [(&'static str, String); 2] {
        [("AWS_ENDPOINT_URL_S3", self.server.url()), ("CATALOG_BUCKET", BUCKET.to_owned())]
    }
}

/// Watches `imports/` of the bucket's folder.
fn watch(folder: PathBuf, function: Function) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut seen: HashMap<PathBuf, (Look, bool)> = HashMap::new();
        loop {
            tokio::time::sleep(EVERY).await;
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
                        let done = deliver(&function, &key, look).await;
                        seen.insert(path, (look, done));
                    }
                    _ => {}
                }
            }
        }
    })
}

/// Every file below a folder, but hidden ones.
fn files(folder: &Path) -> Vec<(PathBuf, Look)> {
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
            found.push((entry.path(), Look { modified, bytes: metadata.len() }));
        }
    }
    found
}

/// Sends the event of an object; tells whether the message was taken.
async fn deliver(function: &Function, key: &str, look: Look) -> bool {
    let event = queue_event(&notification(key, look));
    let reply = function.invoke(event.to_string(), context(LONGEST_RUN)).await;
    let failures = reply.as_deref().map(|reply| {
        let reply: Value = serde_json::from_str(reply).unwrap_or_default();
        reply["batchItemFailures"].as_array().map_or(0, Vec::len)
    });
    if failures == Ok(0) {
        say(format!("{key} is imported; its report is under reports/."));
        return true;
    }
    false
}

/// S3's notification of a new object.
fn notification(key: &str, look: Look) -> Value {
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
            "object": {"key": key, "size": look.bytes, "sequencer": format!("{nanos:032X}")},
        },
    }]})
}

/// The event of one message.
fn queue_event(body: &Value) -> Value {
    json!({"Records": [{
        "messageId": "local",
        "receiptHandle": "local",
        "body": body.to_string(),
        "attributes": {"ApproximateReceiveCount": "1"},
        "messageAttributes": {},
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:local:000000000000:imports",
        "awsRegion": "local",
    }]})
}
