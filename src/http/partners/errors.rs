//! Errors of the partners dialect.

use serde::Serialize;

use crate::{
    access::Permission,
    http::{ApiError, messages::message},
};

#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", schemars(rename = "PartnersErrors"))]
pub(in crate::http) struct Errors<'a> {
    errors: [Entry<'a>; 1],
}

#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", schemars(rename = "PartnersError"))]
struct Entry<'a> {
    message: String,
    field: &'a str,
    error_id: String,
}

/// `{"errors":[{"message","field","error_id"}]}`.
pub(in crate::http) fn error_body(error: &ApiError, permission: Permission) -> String {
    let error_id = match error.status() {
        400 => "10-40001".to_owned(),
        status => format!("10-{status}00"),
    };
    let field = error.field().unwrap_or_default();
    let message = match message(error, permission) {
        _ if error.status() == 401 => "Failed to authenticate user".to_owned(),
        // What is said of a field was published without a full stop.
        message if !field.is_empty() => message.strip_suffix('.').unwrap_or(&message).to_owned(),
        message => message,
    };
    let body = Errors { errors: [Entry { message, field, error_id }] };
    // It has only strings: serializing them cannot fail.
    serde_json::to_string(&body).unwrap_or_default()
}
