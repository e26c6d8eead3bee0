//! Which dialect a path speaks.
//!
//! Each published API keeps its own header for the key and its own shape of errors. A dialect here
//! is a value, so that the edge can answer any path, even an unknown one, in the nearest of them.

use lambda_http::http::HeaderMap;

use super::{ApiError, problem};
use crate::access::ApiKey;

/// A published API's manners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Product offerings (seeds 000 and 001).
    Offerings,
}

/// An error in its dialect.
pub(super) struct ErrorBody {
    /// Of the body.
    pub(super) content_type: &'static str,
    /// JSON.
    pub(super) body: String,
    /// The challenge of a 401 (RFC 9110 section 11.6.1).
    pub(super) challenge: &'static str,
}

impl Dialect {
    /// The dialect of a path, or the nearest one of an unknown path.
    #[must_use]
    pub(super) fn of(_path: &str) -> Self {
        Self::Offerings
    }

    /// The key a request carries; `None` when it is missing, given twice or malformed.
    #[must_use]
    pub(super) fn key(self, headers: &HeaderMap) -> Option<ApiKey> {
        match self {
            Self::Offerings => {
                let mut values = headers.get_all("x-api-key").iter();
                let only = values.next().filter(|_| values.next().is_none())?;
                ApiKey::parse(only.to_str().ok()?)
            }
        }
    }

    /// The error as this dialect writes it.
    #[must_use]
    pub(super) fn error(self, error: &ApiError, path: &str) -> ErrorBody {
        match self {
            Self::Offerings => ErrorBody {
                content_type: "application/problem+json",
                body: problem::body(error, path),
                challenge: "ApiKey header=\"X-Api-Key\"",
            },
        }
    }
}
