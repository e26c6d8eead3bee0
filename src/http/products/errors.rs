//! Errors of the products dialect.

use serde::Serialize;

use crate::{
    access::Permission,
    http::{ApiError, messages::message},
};

#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", schemars(rename = "ProductsError"))]
pub(in crate::http) struct Failure {
    error: String,
}

/// `{"error":"…"}`.
pub(in crate::http) fn error_body(error: &ApiError, permission: Permission) -> String {
    let message = match error {
        ApiError::Invalid(errors) => {
            let texts: Vec<String> = errors
                .iter()
                .map(|error| match error.field.as_str() {
                    "" => error.message.clone(),
                    field => format!("{field} {}", error.message),
                })
                .collect();
            format!("{}.", texts.join("; "))
        }
        ApiError::KeyRejected(_) if error.status() == 401 => "Unauthorized".to_owned(),
        ApiError::KeyRejected(_) | ApiError::NotVisible(_) => "Forbidden".to_owned(),
        _ => message(error, permission),
    };
    // It has only a text: serializing it cannot fail.
    serde_json::to_string(&Failure { error: message }).unwrap_or_default()
}
