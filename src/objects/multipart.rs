//! Large objects (up to about 80 GB), written in parts with bounded memory.

use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};

use super::{ObjectError, Objects};
use crate::retry::Patience;

/// The minimum size of a part, in bytes, except of the last one. S3 requires at least 5 MiB for all but the last, and
/// allows 10,000 parts per object (S3 user guide, "Amazon S3 multipart upload limits").
pub const PART_BYTES: usize = 8 * 1024 * 1024;

/// An object that is being written in parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MultipartUpload {
    pub bucket: String,
    pub key: String,
    /// S3's id of the upload.
    pub id: String,
}

impl Objects {
    /// Begins a multipart upload.
    pub async fn begin_upload(
        &self,
        bucket: &str,
        key: &str,
        content_type: &str,
        patience: Patience,
    ) -> Result<MultipartUpload, ObjectError> {
        let begin = self
            .client
            .create_multipart_upload()
            .bucket(bucket)
            .key(key)
            .content_type(content_type);
        let reply = Self::attempt(patience, || begin.clone().send()).await?;
        let id = reply
            .upload_id
            .ok_or_else(|| ObjectError::Unavailable("the reply has no id of the upload".into()))?;
        Ok(MultipartUpload { bucket: bucket.to_owned(), key: key.to_owned(), id })
    }

    /// Writes a part, numbered from 1; returns its `ETag`. A part that was written before is replaced.
    ///
    /// # Errors
    /// [`ObjectError`]; [`ObjectError::Missing`] if the upload was ended or aborted.
    pub async fn upload_part(
        &self,
        upload: &MultipartUpload,
        number: usize,
        content: Vec<u8>,
        patience: Patience,
    ) -> Result<String, ObjectError> {
        let content = bytes::Bytes::from(content);
        let send = || {
            self.client
                .upload_part()
                .bucket(&upload.bucket)
                .key(&upload.key)
                .upload_id(&upload.id)
                .part_number(i32::try_from(number).unwrap_or(i32::MAX))
                .body(content.clone().into())
                .send()
        };
        let reply = Self::attempt(patience, send).await?;
        reply
            .e_tag
            .ok_or_else(|| ObjectError::Unavailable("the reply has no ETag of the part".into()))
    }

    /// Makes an object of its parts, given their `ETag`s in order.
    pub async fn complete_upload(
        &self,
        upload: &MultipartUpload,
        parts: &[String],
        patience: Patience,
    ) -> Result<(), ObjectError> {
        let parts = (1..)
            .zip(parts)
            .map(|(number, etag)| CompletedPart::builder().part_number(number).e_tag(etag).build());
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts.collect())).build();
        let complete = self
            .client
            .complete_multipart_upload()
            .bucket(&upload.bucket)
            .key(&upload.key)
            .upload_id(&upload.id)
            .multipart_upload(parts);
        match Self::attempt(patience, || complete.clone().send()).await {
            Ok(_) => Ok(()),
            // The upload is gone but the object exists: an earlier attempt, or an earlier run, has completed it.
            Err(ObjectError::Missing)
                if self.length(&upload.bucket, &upload.key, patience).await?.is_some() =>
            {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Concatenates objects into a new one. Each write is attempted once: the caller repeats the whole.
    pub async fn join(
        &self,
        bucket: &str,
        sources: &[String],
        key: &str,
        content_type: &str,
    ) -> Result<(), ObjectError> {
        let once = Patience::Attempts(1);
        let (mut content, mut upload, mut parts) = (Vec::new(), None, Vec::new());
        for source in sources {
            let next = self.get(bucket, source).await?;
            content.extend(next.ok_or(ObjectError::Missing)?);
            if content.len() < PART_BYTES {
                continue;
            }
            let begun = match upload {
                Some(begun) => begun,
                None => self.begin_upload(bucket, key, content_type, once).await?,
            };
            let part = std::mem::take(&mut content);
            parts.push(self.upload_part(&begun, parts.len() + 1, part, once).await?);
            upload = Some(begun);
        }
        match upload {
            None => self.put(bucket, key, content_type, content).await,
            Some(begun) => {
                if !content.is_empty() {
                    parts.push(self.upload_part(&begun, parts.len() + 1, content, once).await?);
                }
                self.complete_upload(&begun, &parts, once).await
            }
        }
    }
}
