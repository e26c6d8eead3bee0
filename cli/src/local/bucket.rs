//! The bucket in a folder: it is served as S3, and watched. For each file dropped into `imports/`, and each object that
//! is uploaded, the import queue gets the event that S3 would send.

use std::{
    collections::HashMap,
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::{Value, json};
use serverless_catalog::{
    imports::{report::IMPORTS, submission::UPLOADS},
    objects::{Bucket, Objects},
    queue::{MessageQueue, QueueMessage},
    store::{Connection, lean_s3_client},
};
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::ObjectServer;
use crate::{console::say, error::CliError};

/// How often the folder is polled. A file is imported once it has not changed between two polls.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// A file's metadata, which shows that the file has changed.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Fingerprint {
    modified: SystemTime,
    bytes: u64,
}

pub const BUCKET: &str = "catalog";

/// A bucket in a folder, served as S3 until it is dropped.
#[derive(Debug)]
pub struct LocalBucket {
    folder: PathBuf,
    _temporary: Option<TempDir>,
    server: ObjectServer,
    bucket: Bucket,
}

impl LocalBucket {
    /// Serves a folder; without one, a temporary one that is gone at the end.
    pub async fn open(folder: Option<PathBuf>, listen: IpAddr) -> Result<Self, CliError> {
        let temporary = match folder {
            Some(_) => None,
            None => {
                Some(tempfile::tempdir().map_err(CliError::file("make", std::env::temp_dir()))?)
            }
        };
        let folder = folder.or_else(|| temporary.as_ref().map(|folder| folder.path().to_owned()));
        let folder = folder.unwrap_or_default();
        for name in [IMPORTS, UPLOADS] {
            let path = folder.join(BUCKET).join(name);
            fs::create_dir_all(&path).map_err(CliError::file("make", &path))?;
        }
        let server = ObjectServer::start(&folder, BUCKET, listen).await?;
        let client = lean_s3_client(&Connection::local(&server.url()))
            .map_err(|error| CliError::Engine(error.to_string()))?;
        let bucket = Bucket { objects: Objects::new(client), name: BUCKET.to_owned() };
        Ok(Self { folder, _temporary: temporary, server, bucket })
    }

    /// The bucket as functions use it.
    #[must_use]
    pub fn bucket(&self) -> &Bucket {
        &self.bucket
    }

    /// The folder for files to import, with one subfolder per account.
    #[must_use]
    pub fn imports(&self) -> PathBuf {
        self.folder.join(BUCKET).join("imports")
    }

    #[must_use]
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// The environment variables that tell a function about the bucket.
    #[must_use]
    pub fn environment(&self) -> [(&'static str, String); 2] {
        [("AWS_ENDPOINT_URL_S3", self.server.url()), ("CATALOG_BUCKET", BUCKET.to_owned())]
    }

    /// Sends the events of its objects to the import queue, until the result is dropped.
    #[must_use]
    pub fn watch(&self, queue: Arc<dyn MessageQueue>) -> JoinSet<()> {
        let root = self.folder.join(BUCKET);
        let mut watch = JoinSet::new();
        watch.spawn(async move {
            let mut seen = HashMap::new();
            loop {
                poll(&root, &mut seen, &*queue).await;
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        });
        watch
    }
}

/// Sends an event for each object that is new, or has changed, and does not change any more.
async fn poll(
    root: &Path,
    seen: &mut HashMap<PathBuf, (Fingerprint, bool)>,
    queue: &dyn MessageQueue,
) {
    let dropped = files(&root.join(IMPORTS)).into_iter().map(|file| (file, false));
    // The S3 server puts an object into its place when it is complete.
    let uploaded = files(&root.join(UPLOADS)).into_iter().map(|file| (file, true));
    for ((path, look), is_complete) in dropped.chain(uploaded) {
        let before = seen.get(&path).copied();
        let is_sent = match before {
            Some((same, is_sent)) if same == look => {
                is_sent || send(root, &path, look, queue).await
            }
            _ if is_complete => send(root, &path, look, queue).await,
            _ => false,
        };
        seen.insert(path, (look, is_sent));
    }
}

async fn send(root: &Path, path: &Path, look: Fingerprint, queue: &dyn MessageQueue) -> bool {
    let Ok(key) = path.strip_prefix(root) else { return true };
    let key = key.to_string_lossy().replace('\\', "/");
    let body = notification(&key, look).to_string();
    queue.send(QueueMessage { body, ..QueueMessage::default() }).await.is_ok()
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

/// Tells that the file of a notification is imported.
pub(super) fn tell_imported(notification: &str) {
    let notification: Value = serde_json::from_str(notification).unwrap_or_default();
    let key = notification["Records"][0]["s3"]["object"]["key"].as_str().unwrap_or_default();
    let key = percent_decode_str(key).decode_utf8_lossy();
    if key.starts_with(IMPORTS) {
        say(format!("{key} is imported; its report is under reports/."));
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::ready,
        sync::{
            Mutex,
            atomic::{AtomicBool, Ordering},
        },
    };

    use futures_util::{FutureExt as _, future::BoxFuture};
    use serverless_catalog::{cause::Cause, lock::lock};

    use super::*;
    use crate::local::LOCALHOST;

    /// A queue that notes its messages, and may refuse them.
    #[derive(Debug, Default)]
    struct Noted {
        sent: Mutex<Vec<QueueMessage>>,
        is_broken: AtomicBool,
    }

    impl MessageQueue for Noted {
        fn send(&self, message: QueueMessage) -> BoxFuture<'_, Result<(), Cause>> {
            let is_broken = self.is_broken.load(Ordering::Relaxed);
            if !is_broken {
                lock(&self.sent).push(message);
            }
            ready(if is_broken { Err("it is broken".into()) } else { Ok(()) }).boxed()
        }

        fn retry_after(&self, receipt: String, _: Duration) -> BoxFuture<'_, Result<(), Cause>> {
            panic!("{receipt} was not received")
        }
    }

    impl Noted {
        /// The objects of the notifications that were sent since the last time.
        fn objects(&self) -> Vec<Value> {
            let sent = std::mem::take(&mut *lock(&self.sent));
            let mut objects: Vec<Value> = sent
                .into_iter()
                .map(|message| {
                    let body =
                        QueueMessage { body: message.body.clone(), ..QueueMessage::default() };
                    assert_eq!(message, body);
                    let event: Value = serde_json::from_str(&message.body).expect("JSON");
                    event["Records"][0]["s3"]["object"].clone()
                })
                .collect();
            objects.sort_by_key(Value::to_string);
            objects
        }
    }

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
        let file = fs::File::options().write(true).open(path).expect("a file");
        file.set_modified(UNIX_EPOCH + Duration::from_nanos(0x1234)).expect("a time");
    }

    fn object(key: &str, size: u64) -> Value {
        json!({ "key": key, "size": size, "sequencer": "000000000000001234" })
    }

    #[tokio::test]
    async fn a_dropped_file_is_told_when_it_rests_and_an_upload_when_it_is_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        let (queue, mut seen) = (Noted::default(), HashMap::new());
        let mut told = async || {
            poll(root, &mut seen, &queue).await;
            queue.objects()
        };
        let nothing = Vec::<Value>::new();
        assert_eq!(told().await, nothing);
        let dropped = root.join("imports/ACME/below/a ä.csv");
        write(&dropped, "one");
        write(&root.join("imports/ACME/.hidden"), "");
        write(&root.join("imports/.hidden/file"), "");
        write(&root.join("reports/ACME/a.json"), "");
        write(&root.join("uploads/ACME/1"), "upload");
        assert_eq!(told().await, [object("uploads/ACME/1", 6)]);
        let key = "imports/ACME/below/a%20%C3%A4%2Ecsv";
        assert_eq!(told().await, [object(key, 3)]);
        assert_eq!(told().await, nothing, "each once");
        write(&dropped, "three");
        assert_eq!(told().await, nothing, "it has changed");
        write(&dropped, "fourth");
        assert_eq!(told().await, nothing, "it still changes");
        assert_eq!(told().await, [object(key, 6)]);
        assert_eq!(told().await, nothing);
    }

    #[tokio::test]
    async fn what_could_not_be_sent_is_sent_at_the_next_look() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        let (queue, mut seen) = (Noted::default(), HashMap::new());
        write(&root.join("uploads/ACME/1"), "upload");
        for is_broken in [true, true, false, false] {
            queue.is_broken.store(is_broken, Ordering::Relaxed);
            poll(root, &mut seen, &queue).await;
        }
        assert_eq!(queue.objects(), [object("uploads/ACME/1", 6)]);
    }

    #[test]
    fn a_notification_is_that_of_s3() {
        let modified = UNIX_EPOCH + Duration::from_nanos(0x1234);
        let expected = json!({"Records": [{
            "eventVersion": "2.1",
            "eventSource": "aws:s3",
            "awsRegion": "local",
            "eventName": "ObjectCreated:Put",
            "s3": {
                "s3SchemaVersion": "1.0",
                "configurationId": "local",
                "bucket": {"name": "catalog", "arn": "arn:aws:s3:::catalog"},
                "object": object("imports/A/a", 5),
            },
        }]});
        assert_eq!(notification("imports/A/a", Fingerprint { modified, bytes: 5 }), expected);
    }

    #[tokio::test]
    async fn a_bucket_has_its_folders_from_the_start() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().to_owned();
        let bucket = LocalBucket::open(Some(root.clone()), LOCALHOST).await.expect("a bucket");
        assert_eq!(bucket.imports(), root.join("catalog/imports"));
        assert!(bucket.imports().is_dir() && root.join("catalog/uploads").is_dir());
        let [(url_name, url), (bucket_name, name)] = bucket.environment();
        assert_eq!((url_name, bucket_name), ("AWS_ENDPOINT_URL_S3", "CATALOG_BUCKET"));
        assert_eq!((url, name.as_str()), (bucket.url(), "catalog"));
        // One without a folder is gone at the end.
        let bucket = LocalBucket::open(None, LOCALHOST).await.expect("a bucket");
        let imports = bucket.imports();
        assert!(imports.is_dir());
        drop(bucket);
        assert!(!imports.exists());
    }
}
