//! Errors as `application/problem+json` (RFC 9457): those of the offerings dialect and of the catalog's own API.

use serde::Serialize;

use super::{ApiError, Dialect, messages::message};
use crate::{
    access::{KeyRejection, Permission},
    text::FieldError,
};

#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub(super) struct Problem<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    status: u16,
    detail: String,
    instance: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
}

/// The problem document of an error. `path` becomes `instance`; `permission` is the one that the endpoint requires: the
/// text of a 403 names it.
///
/// `type` is always `about:blank`, because the status and the named fields say everything. The title is then
/// that of the status (RFC 9457 section 4.2.1).
pub(super) fn error_body(
    error: &ApiError,
    path: &str,
    dialect: Dialect,
    permission: Permission,
) -> String {
    let required;
    let problem = Problem {
        kind: "about:blank",
        title: title(error.status()),
        status: error.status(),
        detail: detail(error, dialect, permission),
        instance: path,
        errors: match error {
            ApiError::Invalid(errors) => errors,
            ApiError::NotVisible(error) => std::slice::from_ref(error),
            ApiError::Required(field) => {
                required = FieldError::new(*field, "is required");
                std::slice::from_ref(&required)
            }
            _ => &[],
        },
    };
    // It has only texts, a number and a list of field errors, which are texts: serializing it cannot fail.
    serde_json::to_string(&problem).unwrap_or_default()
}

fn title(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        409 => "Conflict",
        410 => "Gone",
        413 => "Content Too Large",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        503 => "Service Unavailable",
        _ => "Internal Server Error",
    }
}

fn detail(error: &ApiError, dialect: Dialect, permission: Permission) -> String {
    match error {
        ApiError::Invalid(errors) if errors.len() != 1 => {
            format!("{} fields are wrong; see errors.", errors.len())
        }
        ApiError::KeyRejected(KeyRejection::Malformed) if dialect == Dialect::Offerings => {
            "Send one API key in the header X-Api-Key.".to_owned()
        }
        _ => message(error, permission),
    }
}
