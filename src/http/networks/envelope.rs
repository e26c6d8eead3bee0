//! The envelope of the networks dialect: of replies and of errors.

use crate::{
    access::{KeyRejection, Permission},
    http::{Absent, ApiError, Reply, messages::message},
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
        let cause = "the data does not fit a reply: remove networks, or bundles of a network";
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
    let code = match error {
        ApiError::Invalid(_) if error.field() == Some(PHONE_NUMBER) => "INVALID_PHONE_NUMBER",
        ApiError::Invalid(_) => "INVALID_FIELD",
        ApiError::Required(_) => "MISSING_REQUIRED_FIELD",
        ApiError::KeyRejected(rejection) => match rejection {
            KeyRejection::Malformed | KeyRejection::Unknown => "INVALID_API_KEY",
            KeyRejection::Revoked => "REVOKED_API_KEY",
            KeyRejection::Expired => "EXPIRED_API_KEY",
            KeyRejection::IpNotAllowed => "IP_NOT_ALLOWED",
            KeyRejection::PermissionLacking => "INSUFFICIENT_PERMISSIONS",
        },
        ApiError::NotVisible(_) => "INSUFFICIENT_PERMISSIONS",
        ApiError::NotFound(Absent::Network) => "NETWORK_NOT_FOUND",
        ApiError::NotFound(Absent::NetworkOfNumber) => "HLR_LOOKUP_FAILED",
        ApiError::NotFound(_) => "NOT_FOUND",
        ApiError::MethodNotAllowed(_) => "METHOD_NOT_ALLOWED",
        ApiError::TooLarge(_) => "CONTENT_TOO_LARGE",
        ApiError::Gone => "GONE",
        ApiError::UnderWay(_) => "REQUEST_UNDER_WAY",
        ApiError::IdempotencyKeyOfAnotherRequest => "IDEMPOTENCY_KEY_REUSED",
        ApiError::TooMany(_) => "RATE_LIMIT_EXCEEDED",
        ApiError::Unavailable(_) => "SERVICE_UNAVAILABLE",
        ApiError::Internal(_) => "INTERNAL_ERROR",
    };
    let field = match error {
        ApiError::NotFound(Absent::Network) => Some(NETWORK_ID),
        ApiError::NotFound(Absent::NetworkOfNumber) => Some(PHONE_NUMBER),
        _ => error.field(),
    };
    let message = message(error, permission);
    let error = FailureBody { code, message, details: Details { field } };
    let body = Failure { success: false, error, meta: meta(request_id) };
    // Strings and a boolean: serializing them cannot fail.
    serde_json::to_string(&body).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use lambda_http::http::{HeaderMap, header::ETAG};

    use super::*;
    use crate::http::ResponseBody;

    #[test]
    fn only_the_data_of_a_reply_counts_for_its_tag() {
        let reply = |data: &str, request: &str| {
            let response =
                envelope(&data, request).expect("a reply").into_response(&HeaderMap::new());
            let tag = response.headers()[ETAG].to_str().expect("ASCII").to_owned();
            let ResponseBody::Text(text) = response.into_body() else { panic!("no text") };
            (tag, text.plain().into_owned())
        };
        let (tag, body) = reply("some data", "req_1");
        let (head, time) = body.split_once(",\"timestamp\":\"").expect("a time");
        let expected =
            "{\"success\":true,\"data\":\"some data\",\"meta\":{\"request_id\":\"req_1\"";
        assert_eq!(head, expected);
        let time = time.strip_suffix("\"}}").expect("the end");
        assert!(time.len() == 24 && time.parse::<Timestamp>().is_ok(), "{time}");
        assert!(tag.starts_with("W/\""), "{tag}");
        assert_eq!(reply("some data", "req_2").0, tag);
        assert_ne!(reply("Some data", "req_1").0, tag);
        assert_ne!(reply("some date", "req_1").0, tag);
        assert_ne!(reply("some data ", "req_1").0, tag);
    }

    #[test]
    fn data_that_does_not_fit_a_reply_is_a_500_whose_cause_says_what_to_do() {
        // Each of the two quotes counts twice.
        let most = "x".repeat(PAGE_BYTES - 4);
        assert!(envelope(&most, "req_1").is_ok());
        let error = envelope(&format!("{most}x"), "req_1").expect_err("too much");
        let cause = "the data does not fit a reply: remove networks, or bundles of a network";
        assert_eq!((error.status(), error.cause().as_str()), (500, cause));
    }
}
