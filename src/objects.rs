//! Objects in S3: those to import, and the reports of imports.

use std::{
    collections::HashMap,
    io::{self, Read},
};

use aws_sdk_s3::{
    Client,
    config::http::HttpResponse,
    error::{DisplayErrorContext, ProvideErrorMetadata, SdkError},
    primitives::ByteStream,
};
use bytes::Bytes;
use tokio::sync::mpsc;

use crate::imports::message::ObjectAddress;

/// Why an object is not had.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// There is none.
    #[error("the object is not there")]
    Missing,
    /// It is not to be read by this function.
    #[error("access to the object is denied")]
    Denied,
    /// S3 is not answering as it should.
    #[error("S3: {0}")]
    Unavailable(String),
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
            _ => Self::Unavailable(DisplayErrorContext(error).to_string()),
        }
    }
}

/// An object, opened.
#[derive(Debug)]
pub struct OpenObject {
    /// What names this very content: S3's `ETag`, and where a server has none, time and size.
    pub etag: String,
    /// Its version, where the bucket has versions.
    pub version: Option<String>,
    /// What its uploader noted, by lower-case names.
    pub metadata: HashMap<String, String>,
    /// Its content.
    pub body: ByteStream,
}

/// The buckets this project reads and writes.
#[derive(Clone, Debug)]
pub struct Objects {
    client: Client,
}

impl Objects {
    /// Through this client.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// Opens an object.
    ///
    /// # Errors
    /// [`ObjectError`].
    pub async fn open(&self, address: &ObjectAddress) -> Result<OpenObject, ObjectError> {
        let reply = self
            .client
            .get_object()
            .bucket(&address.bucket)
            .key(&address.key)
            .set_version_id(address.version.clone())
            .send()
            .await
            .map_err(|error| ObjectError::from_sdk(&error))?;
        let time_and_size = || format!("{:?} {:?}", reply.last_modified, reply.content_length);
        Ok(OpenObject {
            etag: reply.e_tag.clone().unwrap_or_else(time_and_size),
            version: reply.version_id,
            metadata: reply.metadata.unwrap_or_default(),
            body: reply.body,
        })
    }

    /// Stores an object.
    ///
    /// # Errors
    /// [`ObjectError`].
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

    /// A small object whole; `None` when there is none.
    ///
    /// # Errors
    /// [`ObjectError`].
    pub async fn get(&self, bucket: &str, key: &str) -> Result<Option<Vec<u8>>, ObjectError> {
        let address = ObjectAddress {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            version: None,
            sequencer: None,
        };
        let object = match self.open(&address).await {
            Ok(object) => object,
            Err(ObjectError::Missing) => return Ok(None),
            Err(error) => return Err(error),
        };
        let content = object.body.collect().await;
        content
            .map(|content| Some(content.into_bytes().to_vec()))
            .map_err(|error| ObjectError::Unavailable(error.to_string()))
    }

    /// Removes an object; one that is not there is no error.
    ///
    /// # Errors
    /// [`ObjectError`].
    pub async fn remove(&self, bucket: &str, key: &str) -> Result<(), ObjectError> {
        let removed = self.client.delete_object().bucket(bucket).key(key).send().await;
        removed.map(|_| ()).map_err(|error| ObjectError::from_sdk(&error))
    }
}

/// Chunks of a body read ahead.
const AHEAD: usize = 4;

/// A body as a blocking reader sees it. It must be called from within the runtime that drives it, and
/// read from another thread.
#[must_use]
pub fn reader(mut body: ByteStream) -> impl Read + Send + 'static {
    let (sender, receiver) = mpsc::channel(AHEAD);
    tokio::spawn(async move {
        while let Some(chunk) = body.next().await {
            if chunk.as_ref().is_ok_and(Bytes::is_empty) {
                continue;
            }
            let chunk = chunk.map_err(|error| io::Error::other(error.to_string()));
            let broken = chunk.is_err();
            // A reader that is gone wants no more.
            if sender.send(chunk).await.is_err() || broken {
                return;
            }
        }
        // The end is told: a channel that only closes was not read to it.
        let _ = sender.send(Ok(Bytes::new())).await;
    });
    Chunks { receiver, current: Bytes::new(), ended: false }
}

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
