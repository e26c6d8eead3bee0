//! Errors of the offerings dialect: `application/problem+json` (RFC 9457).

use std::borrow::Cow;

use serde::Serialize;

use super::ApiError;
use crate::{access::Rejection, text::FieldError};

#[derive(Serialize)]
struct Problem<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    status: u16,
    detail: Cow<'a, str>,
    instance: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
}

/// The problem document of an error at a path.
///
/// `type` is always `about:blank`: the status and the named fields say all there is, and then the
/// title is the status's own (RFC 9457 section 4.2.1).
pub(super) fn body(error: &ApiError, path: &str) -> String {
    let problem = Problem {
        kind: "about:blank",
        title: title(error.status()),
        status: error.status(),
        detail: detail(error),
        instance: path,
        errors: match error {
            ApiError::Invalid(errors) => errors,
            ApiError::NotVisible(error) => std::slice::from_ref(error),
            _ => &[],
        },
    };
    // Texts and a number: serializing them cannot fail.
    serde_json::to_string(&problem).unwrap_or_default()
}

fn title(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        503 => "Service Unavailable",
        _ => "Internal Server Error",
    }
}

fn detail(error: &ApiError) -> Cow<'static, str> {
    match error {
        ApiError::Invalid(errors) => match errors.as_slice() {
            [only] => format!("{} {}.", only.field, only.message).into(),
            several => format!("{} parameters are wrong; see errors.", several.len()).into(),
        },
        ApiError::NotVisible(error) => format!("{} {}.", error.field, error.message).into(),
        ApiError::NotAdmitted(rejection) => match rejection {
            Rejection::Malformed => "Send one API key in the header X-Api-Key.",
            Rejection::Unknown => "The API key is unknown.",
            Rejection::Revoked => "The API key was revoked.",
            Rejection::Expired => "The API key has expired.",
            Rejection::IpNotAllowed => "The API key may not be used from this address.",
            Rejection::PermissionLacking => "The API key lacks the permission offerings.read.",
        }
        .into(),
        ApiError::NotFound(what) => (*what).into(),
        ApiError::MethodNotAllowed(allowed) => format!("Use one of: {allowed}.").into(),
        ApiError::Unavailable(_) => "The catalog is busy; try again in a moment.".into(),
        ApiError::Internal(_) => "Something went wrong on our side.".into(),
    }
}
