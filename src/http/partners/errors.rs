//! Errors of the partners dialect.

use serde::Serialize;

use crate::{
    access::{KeyRejection, Permission},
    http::{
        ApiError,
        messages::{
            GONE, INTERNAL_ERROR, KEY_OF_ANOTHER_REQUEST, SERVICE_UNAVAILABLE, UNDER_WAY,
            not_found, rejected, too_many,
        },
    },
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
    error_id: &'static str,
}

/// `{"errors":[{"message","field","error_id"}]}`.
pub(in crate::http) fn error_body(error: &ApiError, permission: Permission) -> String {
    let (error_id, field, message) = match error {
        ApiError::Invalid(errors) => {
            let first = errors.first();
            let field = first.map_or("", |error| error.field.as_str());
            let message = first.map(|error| format!("{field} {}", error.message));
            ("10-40001", field, message.unwrap_or_default())
        }
        ApiError::Required(field) => ("10-40001", *field, format!("{field} is required")),
        ApiError::KeyRejected(KeyRejection::IpNotAllowed) => {
            ("10-40300", "", rejected(KeyRejection::IpNotAllowed, permission))
        }
        ApiError::KeyRejected(KeyRejection::PermissionLacking) => {
            ("10-40300", "", rejected(KeyRejection::PermissionLacking, permission))
        }
        ApiError::KeyRejected(_) => ("10-40100", "", "Failed to authenticate user".to_owned()),
        ApiError::NotVisible(error) => {
            ("10-40300", error.field.as_str(), format!("{} {}", error.field, error.message))
        }
        ApiError::NotFound(absent) => ("10-40400", "", not_found(*absent).to_owned()),
        ApiError::MethodNotAllowed(allowed) => ("10-40500", "", format!("Use one of: {allowed}.")),
        ApiError::TooLarge(bytes) => {
            ("10-41300", "", format!("The body must be at most {bytes} bytes."))
        }
        ApiError::Gone => ("10-41000", "", GONE.to_owned()),
        ApiError::UnderWay(_) => ("10-40900", "", UNDER_WAY.to_owned()),
        ApiError::KeyOfAnotherRequest => ("10-42200", "", KEY_OF_ANOTHER_REQUEST.to_owned()),
        ApiError::TooMany(excess) => ("10-42900", "", too_many(*excess)),
        ApiError::Unavailable(_) => ("10-50300", "", SERVICE_UNAVAILABLE.to_owned()),
        ApiError::Internal(_) => ("10-50000", "", INTERNAL_ERROR.to_owned()),
    };
    let body = Errors { errors: [Entry { message, field, error_id }] };
    // It has only strings: serializing them cannot fail.
    serde_json::to_string(&body).unwrap_or_default()
}
