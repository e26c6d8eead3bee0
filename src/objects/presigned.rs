//! Presigned links: a client reads or writes one object with them, without credentials of its own.
//!
//! A link cannot outlive the credentials that signed it: those of a function's role hold for hours (S3 user guide,
//! "Download and upload objects with presigned URLs").

use std::time::Duration;

use aws_sdk_s3::presigning::PresigningConfig;

use super::{ObjectError, Objects};

/// A link for writing an object.
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
    /// A link for reading an object, which a browser saves under this name.
    ///
    /// # Errors
    /// [`ObjectError::Unavailable`] if there are no credentials.
    pub async fn link(
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

    /// A link for writing an object of this length, once: nothing may be stored under its key.
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
