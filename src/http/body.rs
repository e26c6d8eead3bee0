//! Bodies: media type, size, text, members.

use lambda_http::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use serde::de::IgnoredAny;

use super::{ApiError, ApiRequest};
use crate::json::{Members, json_type};

/// The maximum size of a body in bytes. A Lambda event may have 6 MB, and contains the body as a JSON string.
pub(super) const MAX_BODY_BYTES: usize = 5_000_000;

/// The media type of a body, in lower case and without parameters, and the body.
pub(super) fn typed(request: &ApiRequest) -> Result<(String, &[u8]), ApiError> {
    let header = |name| request.headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let bytes: &[u8] = &request.body;
    if bytes.len() > MAX_BODY_BYTES {
        return Err(ApiError::TooLarge(MAX_BODY_BYTES));
    }
    if !matches!(header(CONTENT_ENCODING), None | Some("" | "identity")) {
        return Err(ApiError::invalid(
            "",
            "Content-Encoding is not supported; send the body plain",
        ));
    }
    let media_type =
        header(CONTENT_TYPE).and_then(|value| value.split(';').next()).unwrap_or_default();
    Ok((media_type.trim().to_ascii_lowercase(), bytes))
}

/// The body of a request that is JSON according to its headers, as text that is not parsed yet.
pub(super) fn json(request: &ApiRequest) -> Result<&str, ApiError> {
    let (media_type, bytes) = typed(request)?;
    if media_type != "application/json" {
        return Err(ApiError::invalid("", "Content-Type must be application/json"));
    }
    json_text(bytes)
}

/// JSON as text, without a byte order mark.
pub(super) fn json_text(bytes: &[u8]) -> Result<&str, ApiError> {
    std::str::from_utf8(bytes)
        .map(|text| text.strip_prefix('\u{feff}').unwrap_or(text))
        .map_err(|_| ApiError::invalid("", "Malformed JSON: the body is not UTF-8"))
}

/// The wanted members of a JSON object. Of JSON of another type, `message` says what is wanted.
pub(super) fn members(
    json: &str,
    wanted: impl Fn(&str) -> bool,
    message: impl FnOnce(&str) -> String,
) -> Result<Members<'_>, ApiError> {
    let kind = json_type(json.trim_start().as_bytes().first().copied());
    if kind != "object" {
        // What is not JSON at all is reported as such.
        parsed(serde_json::from_str::<IgnoredAny>(json))?;
        return Err(ApiError::invalid("", message(kind)));
    }
    parsed(Members::of(json, wanted))
}

pub(super) fn parsed<T>(json: serde_json::Result<T>) -> Result<T, ApiError> {
    json.map_err(|error| ApiError::invalid("", format!("Malformed JSON: {error}")))
}
