//! Objects in S3: those to import, reports, exports.
//!
//! | File | |
//! |---|---|
//! | `mod` | reads and writes whole objects |
//! | `multipart` | large objects (up to about 80 GB), written in parts |
//! | `presigned` | presigned URLs for clients |

mod multipart;
mod presigned;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    io::{self, Read},
};

use aws_sdk_s3::{
    Client,
    config::http::HttpResponse,
    error::{DisplayErrorContext, ProvideErrorMetadata, SdkError},
    primitives::{ByteStream, DateTime},
};
use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::{cause::Cause, retry::Patience};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectAddress {
    pub bucket: String,
    /// Its key, decoded.
    pub key: String,
    /// Its version, if the bucket has versioning.
    pub version: Option<String>,
    /// What orders the events of one key (S3's `sequencer`).
    pub sequencer: Option<String>,
}

/// Why an object cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    #[error("the object does not exist")]
    Missing,
    /// There is no permission to read or write it.
    #[error("access to the object is denied")]
    Denied,
    /// Another object, or another part, has been stored in its place.
    #[error("the object was replaced in the meantime")]
    Replaced,
    /// S3 failed, or could not be reached.
    #[error("S3")]
    Unavailable(#[source] Cause),
}

impl ObjectError {
    fn from_sdk<E>(error: &SdkError<E, HttpResponse>) -> Self
    where
        E: std::error::Error + ProvideErrorMetadata + 'static,
    {
        let status = error.raw_response().map(|response| response.status().as_u16());
        let code = error.as_service_error().and_then(ProvideErrorMetadata::code);
        match (status, code) {
            (_, Some("NoSuchKey" | "NoSuchVersion" | "NoSuchBucket")) | (Some(404), _) => {
                Self::Missing
            }
            (_, Some("AccessDenied")) | (Some(403), _) => Self::Denied,
            (_, Some("PreconditionFailed" | "InvalidPart")) | (Some(412), _) => Self::Replaced,
            _ => Self::Unavailable(DisplayErrorContext(error).to_string().into()),
        }
    }
}

pub use self::{
    multipart::{MultipartUpload, PART_BYTES},
    presigned::PresignedUpload,
};

/// A client for the buckets that this project reads and writes.
#[derive(Clone, Debug)]
pub struct Objects {
    client: Client,
}

/// A bucket.
#[derive(Clone, Debug)]
pub struct Bucket {
    pub objects: Objects,
    pub name: String,
}

impl Objects {
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// Sends a request until it is answered or the patience is exhausted.
    async fn attempt<T, E, F>(patience: Patience, send: impl Fn() -> F) -> Result<T, ObjectError>
    where
        E: std::error::Error + ProvideErrorMetadata + 'static,
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    {
        let attempt = || {
            // Boxed: the SDK's futures are large.
            let reply = Box::pin(send());
            async { reply.await.map_err(|error| ObjectError::from_sdk(&error)) }
        };
        let is_temporary = |error: &ObjectError| matches!(error, ObjectError::Unavailable(_));
        patience.retry(attempt, is_temporary).await
    }

    pub async fn open(
        &self,
        address: &ObjectAddress,
        patience: Patience,
    ) -> Result<OpenObject, ObjectError> {
        let request = self
            .client
            .get_object()
            .bucket(&address.bucket)
            .key(&address.key)
            .set_version_id(address.version.clone());
        let reply = Self::attempt(patience, || request.clone().send()).await?;
        let modified = reply.last_modified.map(DateTime::to_millis);
        let modified = modified.and_then(|millis| Timestamp::from_millisecond(millis.ok()?).ok());
        let version = reply.version_id.filter(|version| version != "null");
        let length = reply.content_length.and_then(|length| u64::try_from(length).ok());
        let address = ObjectAddress { version: version.clone(), ..address.clone() };
        let body = Body {
            objects: self.clone(),
            address,
            etag: reply.e_tag.clone(),
            length,
            offset: 0,
            stream: reply.body,
            patience,
        };
        Ok(OpenObject {
            etag: reply.e_tag,
            version,
            modified: modified.unwrap_or(Timestamp::UNIX_EPOCH),
            length,
            metadata: reply.metadata.unwrap_or_default(),
            body,
        })
    }

    /// Stores an object, in a single attempt.
    pub async fn put(
        &self,
        bucket: &str,
        key: &str,
        content_type: &str,
        content: Vec<u8>,
    ) -> Result<(), ObjectError> {
        self.client
            .put_object()
            .bucket(bucket)
            .key(key)
            .content_type(content_type)
            .body(content.into())
            .send()
            .await
            .map(|_| ())
            .map_err(|error| ObjectError::from_sdk(&error))
    }

    /// Stores an object whose content never changes, unless it is stored already.
    pub async fn put_once(
        &self,
        bucket: &str,
        key: &str,
        content: Vec<u8>,
        patience: Patience,
    ) -> Result<(), ObjectError> {
        let content = Bytes::from(content);
        let send = || {
            let put = self.client.put_object().bucket(bucket).key(key).if_none_match("*");
            put.body(content.clone().into()).send()
        };
        match Self::attempt(patience, send).await {
            // A 412 of `If-None-Match: *`: the object is stored already.
            Ok(_) | Err(ObjectError::Replaced) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The length of an object in bytes; `None` if it does not exist.
    pub async fn length(
        &self,
        bucket: &str,
        key: &str,
        patience: Patience,
    ) -> Result<Option<u64>, ObjectError> {
        let head = self.client.head_object().bucket(bucket).key(key);
        match Self::attempt(patience, || head.clone().send()).await {
            Ok(reply) => {
                let length = reply.content_length.and_then(|length| u64::try_from(length).ok());
                Ok(Some(length.unwrap_or_default()))
            }
            Err(ObjectError::Missing) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads a small object into memory; `None` if it does not exist.
    pub async fn get(&self, bucket: &str, key: &str) -> Result<Option<Vec<u8>>, ObjectError> {
        let address = ObjectAddress {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            version: None,
            sequencer: None,
        };
        match self.open(&address, Patience::REQUEST).await {
            Ok(object) => object.body.read_whole().await.map(Some),
            Err(ObjectError::Missing) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[derive(Debug)]
pub struct OpenObject {
    /// S3's `ETag`: tells this content from other contents under the same key.
    pub etag: Option<String>,
    /// Its version, if the bucket has versioning.
    pub version: Option<String>,
    /// When it was last modified, to the second.
    pub modified: Timestamp,
    /// Its length in bytes.
    pub length: Option<u64>,
    /// Its user-defined metadata, with lower-case names.
    pub metadata: HashMap<String, String>,
    pub body: Body,
}

/// The content of an object. If reading fails midway, the object is opened again from there.
#[derive(Debug)]
pub struct Body {
    objects: Objects,
    address: ObjectAddress,
    etag: Option<String>,
    length: Option<u64>,
    /// The number of bytes that were read.
    offset: u64,
    stream: ByteStream,
    patience: Patience,
}

impl Body {
    /// The next bytes; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, ObjectError> {
        let mut attempts = 0;
        loop {
            let cause: Cause = match self.stream.next().await {
                Some(Ok(chunk)) if chunk.is_empty() => continue,
                Some(Ok(chunk)) => {
                    self.offset += u64::try_from(chunk.len()).unwrap_or_default();
                    return Ok(Some(chunk));
                }
                None if self.length.is_none_or(|length| self.offset >= length) => return Ok(None),
                None => "the body ended early".into(),
                Some(Err(error)) => error.into(),
            };
            let mut cause = ObjectError::Unavailable(cause);
            loop {
                attempts += 1;
                if !self.patience.wait(attempts).await {
                    return Err(cause);
                }
                match self.reopen().await {
                    Ok(()) => break,
                    Err(error @ ObjectError::Unavailable(_)) => cause = error,
                    Err(error) => return Err(error),
                }
            }
        }
    }

    /// Opens the same content again at the current offset.
    async fn reopen(&mut self) -> Result<(), ObjectError> {
        let ObjectAddress { bucket, key, version, .. } = &self.address;
        let mut request = self.objects.client.get_object().bucket(bucket).key(key);
        request = match version {
            Some(version) => request.version_id(version),
            None => request.set_if_match(self.etag.clone()),
        };
        if self.offset > 0 {
            request = request.range(format!("bytes={}-", self.offset));
        }
        let reply = request.send().await.map_err(|error| ObjectError::from_sdk(&error))?;
        // Some servers ignore the condition.
        if reply.e_tag != self.etag {
            return Err(ObjectError::Replaced);
        }
        self.stream = reply.body;
        Ok(())
    }

    pub async fn read_whole(mut self) -> Result<Vec<u8>, ObjectError> {
        let mut content = Vec::new();
        while let Some(chunk) = self.next().await? {
            content.extend_from_slice(&chunk);
        }
        Ok(content)
    }

    /// Makes a blocking reader of it. This must be called from within the runtime that drives it; the reader
    /// must be used on another thread.
    #[must_use]
    pub fn into_reader(mut self) -> impl Read + Send + 'static {
        let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
        tokio::spawn(async move {
            loop {
                let chunk = match self.next().await {
                    Ok(Some(chunk)) => Ok(chunk),
                    // The end is sent explicitly: if the channel only closes, the content was not read to its
                    // end.
                    Ok(None) => Ok(Bytes::new()),
                    Err(error) => Err(io::Error::other(error)),
                };
                let is_last = chunk.as_ref().map_or(true, Bytes::is_empty);
                // The reader was dropped.
                if sender.send(chunk).await.is_err() || is_last {
                    return;
                }
            }
        });
        Chunks { receiver, current: Bytes::new(), ended: false }
    }
}

/// The number of chunks that are read ahead.
const CHUNKS_AHEAD: usize = 4;

struct Chunks {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
    ended: bool,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            if self.ended {
                return Ok(0);
            }
            match self.receiver.blocking_recv() {
                Some(Ok(chunk)) => {
                    self.ended = chunk.is_empty();
                    self.current = chunk;
                }
                Some(Err(error)) => return Err(error),
                None => return Err(io::Error::other("the object's body ended early")),
            }
        }
        let taken = buffer.len().min(self.current.len());
        buffer[..taken].copy_from_slice(&self.current.split_to(taken));
        Ok(taken)
    }
}
