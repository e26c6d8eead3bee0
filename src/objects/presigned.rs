//! Presigned URLs: a client reads or writes one object with each, without credentials of its own.
//!
//! A URL is valid no longer than the credentials that signed it; those of a function's role are for hours (S3 user guide,
//! "Download and upload objects with presigned URLs").

use std::time::Duration;

use aws_sdk_s3::presigning::PresigningConfig;

use super::{ObjectError, Objects};

/// A presigned request for writing an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresignedUpload {
    pub url: String,
    /// The headers that the request must have, since they are signed, too.
    pub headers: Vec<(String, String)>,
}

fn valid_for(time: Duration) -> Result<PresigningConfig, ObjectError> {
    PresigningConfig::expires_in(time).map_err(|error| ObjectError::Unavailable(error.into()))
}

impl Objects {
    /// A presigned URL for reading an object, which a browser saves under this name.
    ///
    /// # Errors
    /// [`ObjectError::Unavailable`] if there are no credentials.
    pub async fn presign_download(
        &self,
        bucket: &str,
        key: &str,
        file_name: &str,
        valid: Duration,
    ) -> Result<String, ObjectError> {
        let request = self
            .client
            .get_object()
            .bucket(bucket)
            .key(key)
            .response_content_disposition(format!("attachment; filename=\"{file_name}\""))
            .presigned(valid_for(valid)?)
            .await
            .map_err(|error| ObjectError::from_sdk(&error))?;
        Ok(request.uri().to_owned())
    }

    /// A presigned request for writing an object of exactly this length. S3 refuses it (412) while an object with this
    /// key exists.
    ///
    /// # Errors
    /// [`ObjectError::Unavailable`] if there are no credentials.
    pub async fn presign_upload(
        &self,
        bucket: &str,
        key: &str,
        length: u64,
        valid: Duration,
    ) -> Result<PresignedUpload, ObjectError> {
        let request = self
            .client
            .put_object()
            .bucket(bucket)
            .key(key)
            .content_length(i64::try_from(length).unwrap_or(i64::MAX))
            .if_none_match("*")
            .presigned(valid_for(valid)?)
            .await
            .map_err(|error| ObjectError::from_sdk(&error))?;
        let headers = request.headers().filter(|(name, _)| *name != "host");
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Ok(PresignedUpload { url: request.uri().to_owned(), headers: headers.collect() })
    }
}
