//! What may go wrong with a request, before any dialect gives it a shape.

use crate::{access::Rejection, store::StoreError, text::FieldError};

/// A request that gets no answer. The texts of the first variants are for its sender, the causes of
/// the last two for the log alone.
#[derive(Debug)]
pub enum ApiError {
    /// 400: parameters or body are wrong.
    Invalid(Vec<FieldError>),
    /// 400: a parameter that must be there is not.
    Required(&'static str),
    /// 401 or 403: the key was not admitted.
    NotAdmitted(Rejection),
    /// 403: a value the key may not see.
    NotVisible(FieldError),
    /// 404: nothing there.
    NotFound(Absent),
    /// 405: the methods that would do, as `Allow` lists them.
    MethodNotAllowed(&'static str),
    /// 413: the body has more than this many bytes.
    TooLarge(usize),
    /// 503: the database is not answering, or time is over. Worth coming back.
    Unavailable(String),
    /// 500: a mistake of ours.
    Internal(String),
}

/// What is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// The path leads nowhere.
    Path,
    /// The account has no such offering, or the key may not see it.
    Offering,
    /// The account has no such network.
    Network,
    /// No network of the account has the prefix of a phone number: a 400, as published.
    NetworkOfNumber,
}

impl ApiError {
    /// One wrong field.
    #[must_use]
    pub fn invalid(field: &str, message: impl Into<String>) -> Self {
        Self::Invalid(vec![FieldError::new(field, message)])
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Invalid(_) | Self::Required(_) | Self::NotFound(Absent::NetworkOfNumber) => 400,
            Self::NotAdmitted(Rejection::IpNotAllowed | Rejection::PermissionLacking)
            | Self::NotVisible(_) => 403,
            Self::NotAdmitted(_) => 401,
            Self::NotFound(_) => 404,
            Self::MethodNotAllowed(_) => 405,
            Self::TooLarge(_) => 413,
            Self::Internal(_) => 500,
            Self::Unavailable(_) => 503,
        }
    }

    /// What to log of it: never more than the sender is told, but for the causes of a 5xx.
    #[must_use]
    pub fn cause(&self) -> String {
        match self {
            Self::Invalid(errors) => {
                let fields: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
                format!("invalid: {}", fields.join(", "))
            }
            Self::Required(field) => format!("missing: {field}"),
            Self::NotAdmitted(rejection) => format!("not admitted: {rejection:?}"),
            Self::NotVisible(error) => format!("not visible to the key: {}", error.field),
            Self::NotFound(absent) => format!("not found: {absent:?}"),
            Self::TooLarge(_) => "body too large".to_owned(),
            Self::MethodNotAllowed(_) => "method not allowed".to_owned(),
            Self::Unavailable(cause) | Self::Internal(cause) => cause.clone(),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        if error.is_unavailable() {
            Self::Unavailable(error.to_string())
        } else {
            Self::Internal(error.to_string())
        }
    }
}
