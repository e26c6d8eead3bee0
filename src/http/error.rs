//! The errors of a request, independent of any dialect.

use std::time::Duration;

use crate::{
    access::{KeyRejection, Standing},
    cause::{Cause, chain},
    cursor::{InvalidCursor, PositionTooLong},
    objects::ObjectError,
    store::StoreError,
    text::FieldError,
};

/// Why a request failed. The texts of the first variants are for its sender; the causes in the last two are
/// only for the log.
#[derive(Debug)]
pub enum ApiError {
    /// 400: parameters or the body are invalid.
    Invalid(Vec<FieldError>),
    /// 400: a required parameter is missing.
    Required(&'static str),
    /// 401 or 403: the key was rejected.
    KeyRejected(KeyRejection),
    /// 403: a value that the key may not see.
    NotVisible(FieldError),
    /// 404: not found.
    NotFound(Absent),
    /// 405: with the methods that the path has, as `Allow` lists them.
    MethodNotAllowed(&'static str),
    /// 410: the changes after a cursor are gone; their reader must start over.
    Gone,
    /// 409: a request with the same idempotency key is under way, for at most this time.
    UnderWay(Duration),
    /// 413: the body has more than this many bytes.
    TooLarge(usize),
    /// 422: another request has the same idempotency key.
    IdempotencyKeyOfAnotherRequest,
    /// 429: more than is allowed.
    TooMany(Excess),
    /// 503: the database does not answer, or the deadline is near. The request may be repeated.
    Unavailable(Cause),
    /// 500: an internal error.
    Internal(Cause),
}

/// What there is too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excess {
    /// A balance of the key is empty.
    Limit(Standing),
    /// This instance has looked up too many keys that do not exist.
    UnknownKeys,
    /// The account has too many exports that have not ended.
    Exports,
}

impl Excess {
    /// After how many seconds it is worth trying again.
    #[must_use]
    pub fn retry_after(self) -> i64 {
        match self {
            Self::Limit(standing) => standing.wait,
            Self::UnknownKeys => 1,
            Self::Exports => 30,
        }
    }
}

/// What was not found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// No endpoint has the path.
    Path,
    /// The account has no such offering, or the key may not see it.
    Offering,
    /// The account has no such export, or it is no longer kept.
    Export,
    /// The account has no such import.
    Import,
    /// The account has no such network.
    Network,
    /// No network of the account matches the prefix of a phone number. This is a 400, as published.
    NetworkOfNumber,
}

impl ApiError {
    /// An error of one field.
    #[must_use]
    pub fn invalid(field: &str, message: impl Into<String>) -> Self {
        Self::Invalid(vec![FieldError::new(field, message)])
    }

    #[must_use]
    pub fn internal(cause: impl Into<Cause>) -> Self {
        Self::Internal(cause.into())
    }

    /// A stored document that cannot be read.
    #[must_use]
    pub fn stored_document(error: &serde_json::Error) -> Self {
        Self::internal(format!("stored document: {error}"))
    }

    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Invalid(_) | Self::Required(_) | Self::NotFound(Absent::NetworkOfNumber) => 400,
            Self::KeyRejected(KeyRejection::IpNotAllowed | KeyRejection::PermissionLacking)
            | Self::NotVisible(_) => 403,
            Self::KeyRejected(_) => 401,
            Self::NotFound(_) => 404,
            Self::MethodNotAllowed(_) => 405,
            Self::UnderWay(_) => 409,
            Self::Gone => 410,
            Self::TooLarge(_) => 413,
            Self::IdempotencyKeyOfAnotherRequest => 422,
            Self::TooMany(_) => 429,
            Self::Internal(_) => 500,
            Self::Unavailable(_) => 503,
        }
    }

    /// The field that is wrong, or the first of several.
    pub(super) fn field(&self) -> Option<&str> {
        match self {
            Self::Invalid(errors) => errors.first().map(|error| error.field.as_str()),
            Self::Required(field) => Some(field),
            Self::NotVisible(error) => Some(&error.field),
            _ => None,
        }
    }

    /// What to log: never more than the sender is told, except for the cause of a 5xx.
    #[must_use]
    pub fn cause(&self) -> String {
        match self {
            Self::Invalid(errors) => {
                let fields: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
                format!("invalid: {}", fields.join(", "))
            }
            Self::Required(field) => format!("missing: {field}"),
            Self::KeyRejected(rejection) => format!("key rejected: {rejection:?}"),
            Self::NotVisible(error) => format!("not visible to the key: {}", error.field),
            Self::NotFound(absent) => format!("not found: {absent:?}"),
            Self::TooLarge(_) => "body too large".to_owned(),
            Self::UnderWay(_) => "a request with this idempotency key is under way".to_owned(),
            Self::IdempotencyKeyOfAnotherRequest => {
                "another request has this idempotency key".to_owned()
            }
            Self::TooMany(Excess::Limit(standing)) => {
                format!("over the limit of {} {} a minute", standing.limit, standing.limit_name)
            }
            Self::TooMany(Excess::UnknownKeys) => "too many unknown keys".to_owned(),
            Self::TooMany(Excess::Exports) => "too many unfinished exports".to_owned(),
            Self::Gone => "the changes after the cursor are gone".to_owned(),
            Self::MethodNotAllowed(_) => "method not allowed".to_owned(),
            Self::Unavailable(cause) | Self::Internal(cause) => chain(&**cause),
        }
    }
}

impl From<InvalidCursor> for ApiError {
    /// The message is the same, whatever is wrong with the cursor.
    fn from(error: InvalidCursor) -> Self {
        Self::invalid("cursor", error.to_string())
    }
}

impl From<PositionTooLong> for ApiError {
    fn from(error: PositionTooLong) -> Self {
        Self::internal(error)
    }
}

impl From<ObjectError> for ApiError {
    fn from(error: ObjectError) -> Self {
        match error {
            ObjectError::Unavailable(_) => Self::Unavailable(error.into()),
            _ => Self::internal(error),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        if error.is_unavailable() { Self::Unavailable(error.into()) } else { Self::internal(error) }
    }
}
