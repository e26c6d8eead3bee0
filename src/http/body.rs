//! JSON bodies: media type and size.

use lambda_http::{
    Body,
    http::header::{CONTENT_ENCODING, CONTENT_TYPE},
};

use super::{ApiError, ApiRequest};

/// The maximum size of a body in bytes. A Lambda event may have 6 MB, and contains the body as a JSON string.
pub(super) const MAX_BODY_BYTES: usize = 5_000_000;

/// The body of a request, as JSON text that is not parsed yet.
///
/// # Errors
/// [`ApiError::TooLarge`]; [`ApiError::Invalid`] if it is not JSON according to its headers, or not UTF-8.
pub(super) fn json(request: &ApiRequest) -> Result<&str, ApiError> {
    let header = |name| request.headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let bytes: &[u8] = &request.body;
    if bytes.len() > MAX_BODY_BYTES {
        return Err(ApiError::TooLarge(MAX_BODY_BYTES));
    }
    let essence =
        header(CONTENT_TYPE).and_then(|value| value.split(';').next()).unwrap_or_default();
    if !essence.trim().eq_ignore_ascii_case("application/json") {
        return Err(ApiError::invalid("", "Content-Type must be application/json"));
    }
    if !matches!(header(CONTENT_ENCODING), None | Some("" | "identity")) {
        return Err(ApiError::invalid(
            "",
            "Content-Encoding is not supported; send the body plain",
        ));
    }
    match &request.body {
        Body::Text(text) => Ok(text.strip_prefix('\u{feff}').unwrap_or(text)),
        _ => std::str::from_utf8(bytes)
            .map(|text| text.strip_prefix('\u{feff}').unwrap_or(text))
            .map_err(|_| ApiError::invalid("", "Malformed JSON: the body is not UTF-8")),
    }
}
