//! The envelope of the networks dialect: of replies and of errors.

use crate::{
    access::{KeyRejection, Permission},
    http::{
        Absent, ApiError, Reply,
        messages::{
            GONE, INTERNAL_ERROR, KEY_OF_ANOTHER_REQUEST, SERVICE_UNAVAILABLE, UNDER_WAY,
            not_found, rejected, too_many,
        },
    },
    json::{PAGE_BYTES, bytes_in_reply},
    text::rfc3339_millis,
};
use jiff::Timestamp;
use serde::Serialize;

/// The parameters that errors of this dialect name.
pub(super) const NETWORK_ID: &str = "network_id";
pub(super) const PHONE_NUMBER: &str = "phone_number";

/// Prices and rates change: a client may keep an answer, but must revalidate it.
const CACHE: &str = "private, no-cache";

#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub(super) struct Meta<'a> {
    request_id: &'a str,
    timestamp: String,
}

fn meta(request_id: &str) -> Meta<'_> {
    Meta { request_id, timestamp: rfc3339_millis(Timestamp::now()) }
}

/// Wraps data in `{"success":true,"data":…,"meta":{…}}`; only `data` counts for the `ETag`.
pub(super) fn envelope<T: Serialize>(data: &T, request_id: &str) -> Result<Reply, ApiError> {
    const HEAD: &str = "{\"success\":true,\"data\":";
    let failed = |error: serde_json::Error| ApiError::internal(error);
    let data = serde_json::to_string(data).map_err(failed)?;
    if bytes_in_reply(&data) > PAGE_BYTES {
        let cause = "the network's bundles do not fit a reply: remove some";
        return Err(ApiError::internal(cause));
    }
    let meta = serde_json::to_string(&meta(request_id)).map_err(failed)?;
    let range = HEAD.len()..HEAD.len() + data.len();
    Ok(Reply::cacheable_part(format!("{HEAD}{data},\"meta\":{meta}}}"), range, CACHE))
}

#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", schemars(rename = "NetworksError"))]
pub(in crate::http) struct Failure<'a> {
    success: bool,
    error: FailureBody<'a>,
    meta: Meta<'a>,
}

#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", schemars(rename = "NetworksErrorBody"))]
struct FailureBody<'a> {
    code: &'static str,
    message: String,
    details: Details<'a>,
}

#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", schemars(rename = "NetworksErrorDetails"))]
struct Details<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
}

/// `{"success":false,"error":{"code","message","details"},"meta":{…}}`.
pub(in crate::http) fn error_body(
    error: &ApiError,
    request_id: &str,
    permission: Permission,
) -> String {
    let (code, field, message) = match error {
        ApiError::Invalid(errors) => {
            let first = errors.first();
            let field = first.map(|error| error.field.as_str());
            let message = first.map(|error| format!("{} {}.", error.field, error.message));
            let code =
                if field == Some(PHONE_NUMBER) { "INVALID_PHONE_NUMBER" } else { "INVALID_FIELD" };
            (code, field, message.unwrap_or_default())
        }
        ApiError::Required(field) => {
            ("MISSING_REQUIRED_FIELD", Some(*field), format!("{field} is required."))
        }
        ApiError::KeyRejected(rejection) => {
            let code = match rejection {
                KeyRejection::Malformed | KeyRejection::Unknown => "INVALID_API_KEY",
                KeyRejection::Revoked => "REVOKED_API_KEY",
                KeyRejection::Expired => "EXPIRED_API_KEY",
                KeyRejection::IpNotAllowed => "IP_NOT_ALLOWED",
                KeyRejection::PermissionLacking => "INSUFFICIENT_PERMISSIONS",
            };
            (code, None, rejected(*rejection, permission))
        }
        ApiError::NotVisible(error) => (
            "INSUFFICIENT_PERMISSIONS",
            Some(error.field.as_str()),
            format!("{} {}.", error.field, error.message),
        ),
        ApiError::NotFound(absent @ Absent::Network) => {
            ("NETWORK_NOT_FOUND", Some(NETWORK_ID), not_found(*absent).to_owned())
        }
        ApiError::NotFound(absent @ Absent::NetworkOfNumber) => {
            ("HLR_LOOKUP_FAILED", Some(PHONE_NUMBER), not_found(*absent).to_owned())
        }
        ApiError::NotFound(absent) => ("NOT_FOUND", None, not_found(*absent).to_owned()),
        ApiError::MethodNotAllowed(allowed) => {
            ("METHOD_NOT_ALLOWED", None, format!("Use one of: {allowed}."))
        }
        ApiError::TooLarge(bytes) => {
            ("CONTENT_TOO_LARGE", None, format!("The body must be at most {bytes} bytes."))
        }
        ApiError::Gone => ("GONE", None, GONE.to_owned()),
        ApiError::UnderWay(_) => ("REQUEST_UNDER_WAY", None, UNDER_WAY.to_owned()),
        ApiError::KeyOfAnotherRequest => {
            ("IDEMPOTENCY_KEY_REUSED", None, KEY_OF_ANOTHER_REQUEST.to_owned())
        }
        ApiError::TooMany(excess) => ("RATE_LIMIT_EXCEEDED", None, too_many(*excess)),
        ApiError::Unavailable(_) => ("SERVICE_UNAVAILABLE", None, SERVICE_UNAVAILABLE.to_owned()),
        ApiError::Internal(_) => ("INTERNAL_ERROR", None, INTERNAL_ERROR.to_owned()),
    };
    let error = FailureBody { code, message, details: Details { field } };
    let body = Failure { success: false, error, meta: meta(request_id) };
    // It has only texts: serializing them cannot fail.
    serde_json::to_string(&body).unwrap_or_default()
}
