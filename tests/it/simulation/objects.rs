//! S3: buckets in memory.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use aws_sdk_s3::{
    Client, Config,
    config::{
        BehaviorVersion, Region, RequestChecksumCalculation, retry::RetryConfig,
        timeout::TimeoutConfig,
    },
    primitives::{DateTime, DateTimeFormat},
};
use aws_smithy_async::time::TimeSource as _;
use bytes::Bytes;
use serverless_catalog::text::hex;
use sha2::{Digest as _, Sha256};

use super::{
    Clock,
    faults::{Faults, RequestLog},
    wire::{self, Reply, Request, Service},
};

/// A version of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    /// `None` where the bucket has no versions.
    pub id: Option<String>,
    pub content: Bytes,
    /// What its uploader noted, by lower-case names.
    pub metadata: BTreeMap<String, String>,
    /// With its quotes.
    pub etag: String,
    pub last_modified: SystemTime,
}

/// The versions of an object, the oldest first.
#[derive(Default)]
struct Object {
    versions: Vec<Version>,
    /// It was removed, and its versions kept.
    removed: bool,
}

/// Buckets; any that is asked for is there. Any number of clients may share them.
pub(crate) struct Buckets {
    versioned: bool,
    /// By `/bucket/key`.
    objects: Mutex<BTreeMap<String, Object>>,
    log: RequestLog,
}

impl Buckets {
    /// Buckets that keep one version of each object.
    pub(crate) fn new(clock: Clock) -> Arc<Self> {
        Self::with(clock, false)
    }

    /// Buckets that keep all versions, named `v1`, `v2` and so on for each object.
    pub(crate) fn versioned(clock: Clock) -> Arc<Self> {
        Self::with(clock, true)
    }

    fn with(clock: Clock, versioned: bool) -> Arc<Self> {
        Arc::new(Self { versioned, objects: Mutex::default(), log: RequestLog::new(clock) })
    }

    /// The requests of all their clients.
    pub(crate) fn log(&self) -> &RequestLog {
        &self.log
    }

    /// A version as an upload of this content makes it now; not stored yet.
    pub(crate) fn version(&self, content: impl Into<Bytes>) -> Version {
        let content = content.into();
        Version {
            id: None,
            etag: format!("\"{}\"", hex(&Sha256::digest(&content)[..16])),
            content,
            metadata: BTreeMap::new(),
            last_modified: self.log.clock.now(),
        }
    }

    /// Stores a version, and tells it with its id.
    pub(crate) fn put(&self, path: &str, mut version: Version) -> Version {
        let mut objects = self.locked();
        let object = objects.entry(path.to_owned()).or_default();
        if self.versioned {
            version.id = Some(format!("v{}", object.versions.len() + 1));
        } else {
            version.id = None;
            object.versions.clear();
        }
        object.removed = false;
        object.versions.push(version.clone());
        version
    }

    /// The version that is current.
    pub(crate) fn current(&self, path: &str) -> Option<Version> {
        let objects = self.locked();
        let object = objects.get(path).filter(|object| !object.removed)?;
        object.versions.last().cloned()
    }

    /// Removes an object; of buckets with versions these remain.
    pub(crate) fn remove(&self, path: &str) {
        if let Some(object) = self.locked().get_mut(path) {
            object.removed = true;
            if !self.versioned {
                object.versions.clear();
            }
        }
    }

    /// The paths that begin like this, in order.
    pub(crate) fn paths(&self, prefix: &str) -> Vec<String> {
        let objects = self.locked();
        let there = objects.iter().filter(|(_, object)| !object.removed).map(|(path, _)| path);
        there.filter(|path| path.starts_with(prefix)).cloned().collect()
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<String, Object>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client of buckets. It tries everything once; the SDK ends a body that stalls, by the simulation's
/// time.
pub(crate) fn client(buckets: &Arc<Buckets>, faults: impl Faults + 'static) -> Client {
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(wire::http_client(buckets, faults))
        .region(Region::new("us-east-1"))
        .credentials_provider(wire::credentials())
        .time_source(buckets.log.clock)
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::disabled())
        .endpoint_url("http://objects.invalid")
        .force_path_style(true)
        // A body then comes as it is, not in chunks with a checksum at their end.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired);
    Client::from_conf(config.build())
}

const METADATA: &str = "x-amz-meta-";

impl Service for Buckets {
    fn log(&self) -> &RequestLog {
        &self.log
    }

    fn operation<'r>(&self, request: &'r Request) -> &'r str {
        match request.method.as_str() {
            "GET" => "GetObject",
            "HEAD" => "HeadObject",
            "PUT" => "PutObject",
            "DELETE" => "DeleteObject",
            method => panic!("the simulation's S3 has no {method}"),
        }
    }

    fn about<'r>(&self, request: &'r Request) -> &'r [u8] {
        request.path.as_bytes()
    }

    fn answer(&self, request: &Request) -> Reply {
        let path = &request.path;
        match self.operation(request) {
            "GetObject" => self.get(path, request),
            "HeadObject" => {
                let found = self.get(path, request);
                let length = found.body.len().to_string();
                Reply { body: Bytes::new(), ..found.with("content-length", length) }
            }
            "PutObject" => {
                let stored = self.upload(path, request);
                versioned(Reply::new(200, "").with("etag", stored.etag), stored.id)
            }
            _ => {
                self.remove(path);
                Reply::new(204, "")
            }
        }
    }

    fn throttled(&self) -> Reply {
        refusal(503, "SlowDown")
    }

    fn unavailable(&self) -> Reply {
        refusal(500, "InternalError")
    }
}

impl Buckets {
    fn upload(&self, path: &str, request: &Request) -> Version {
        let noted = request.headers().filter_map(|(name, value)| {
            Some((name.strip_prefix(METADATA)?.to_owned(), value.to_owned()))
        });
        let metadata = noted.collect();
        self.put(path, Version { metadata, ..self.version(request.body.clone()) })
    }

    fn get(&self, path: &str, request: &Request) -> Reply {
        let wanted = parameter(&request.query, "versionId");
        let found = match &wanted {
            None => self.current(path).ok_or("NoSuchKey"),
            Some(id) => self.named(path, id).ok_or("NoSuchVersion"),
        };
        let version = match found {
            Ok(version) => version,
            Err(code) => return refusal(404, code),
        };
        if request.header("if-match").is_some_and(|etag| etag != version.etag && etag != "*") {
            return refusal(412, "PreconditionFailed");
        }
        let size = version.content.len();
        let reply = match request.header("range").map(first_byte) {
            None => Reply::new(200, version.content),
            Some(first) if first < size => Reply::new(206, version.content.slice(first..))
                .with("content-range", format!("bytes {first}-{}/{size}", size - 1)),
            Some(_) => return refusal(416, "InvalidRange"),
        };
        let modified = DateTime::from(version.last_modified);
        let modified = modified.fmt(DateTimeFormat::HttpDate).expect("a date");
        let reply = reply.with("etag", version.etag).with("last-modified", modified);
        let noted = version.metadata.into_iter();
        let reply = noted
            .fold(reply, |reply, (name, value)| reply.with(format!("{METADATA}{name}"), value));
        versioned(reply, version.id)
    }

    fn named(&self, path: &str, id: &str) -> Option<Version> {
        let objects = self.locked();
        let mut versions = objects.get(path)?.versions.iter();
        versions.find(|version| version.id.as_deref() == Some(id)).cloned()
    }
}

fn versioned(reply: Reply, id: Option<String>) -> Reply {
    match id {
        Some(id) => reply.with("x-amz-version-id", id),
        None => reply,
    }
}

fn parameter(query: &str, name: &str) -> Option<String> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(other, _)| *other == name)?;
    Some(wire::decoded(value))
}

/// The first byte of `bytes=7-`, the one form of a range that the catalog asks for.
fn first_byte(range: &str) -> usize {
    let first = range.strip_prefix("bytes=").and_then(|range| range.strip_suffix('-'));
    first.and_then(|first| first.parse().ok()).expect("a range from a byte to the end")
}

fn refusal(status: u16, code: &str) -> Reply {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code>\
         <Message>The simulation refused the request</Message></Error>"
    );
    Reply::new(status, body).with("content-type", "application/xml")
}
