//! Errors of the products dialect.

use serde::Serialize;

use crate::http::{
    ApiError,
    messages::{
        GONE, INTERNAL_ERROR, KEY_OF_ANOTHER_REQUEST, SERVICE_UNAVAILABLE, UNDER_WAY, not_found,
        too_many,
    },
};

#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", schemars(rename = "ProductsError"))]
pub(in crate::http) struct Failure {
    error: String,
}

/// `{"error":"…"}`.
pub(in crate::http) fn error_body(error: &ApiError) -> String {
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
        ApiError::Required(field) => format!("{field} is required."),
        ApiError::KeyRejected(_) if error.status() == 401 => "Unauthorized".to_owned(),
        ApiError::KeyRejected(_) | ApiError::NotVisible(_) => "Forbidden".to_owned(),
        ApiError::NotFound(absent) => not_found(*absent).to_owned(),
        ApiError::MethodNotAllowed(allowed) => format!("Use one of: {allowed}."),
        ApiError::TooLarge(bytes) => format!("The body must be at most {bytes} bytes."),
        ApiError::Gone => GONE.to_owned(),
        ApiError::UnderWay(_) => UNDER_WAY.to_owned(),
        ApiError::KeyOfAnotherRequest => KEY_OF_ANOTHER_REQUEST.to_owned(),
        ApiError::TooMany(excess) => too_many(*excess),
        ApiError::Unavailable(_) => SERVICE_UNAVAILABLE.to_owned(),
        ApiError::Internal(_) => INTERNAL_ERROR.to_owned(),
    };
    // It has only a text: serializing it cannot fail.
    serde_json::to_string(&Failure { error: message }).unwrap_or_default()
}
