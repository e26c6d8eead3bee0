//! Bodies: media type, size, text.

use lambda_http::http::header::{CONTENT_ENCODING, CONTENT_TYPE};

use super::{ApiError, ApiRequest};

/// The maximum size of a body in bytes. A Lambda event may have 6 MB, and contains the body as a JSON string.
pub(super) const MAX_BODY_BYTES: usize = 5_000_000;

/// A body, and its media type in lower case and without parameters.
pub(super) struct TypedBody<'a> {
    pub(super) media_type: String,
    pub(super) bytes: &'a [u8],
}

/// The body of a request.
///
/// # Errors
/// [`ApiError::TooLarge`]; [`ApiError::Invalid`] if it has a content coding.
pub(super) fn typed(request: &ApiRequest) -> Result<TypedBody<'_>, ApiError> {
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
    Ok(TypedBody { media_type: media_type.trim().to_ascii_lowercase(), bytes })
}

/// The body of a request, as JSON text that is not parsed yet.
///
/// # Errors
/// [`ApiError::TooLarge`]; [`ApiError::Invalid`] if it is not JSON according to its headers, or not UTF-8.
pub(super) fn json(request: &ApiRequest) -> Result<&str, ApiError> {
    let TypedBody { media_type, bytes } = typed(request)?;
    if media_type != "application/json" {
        return Err(ApiError::invalid("", "Content-Type must be application/json"));
    }
    json_text(bytes)
}

/// JSON as text, without a byte order mark.
///
/// # Errors
/// [`ApiError::Invalid`] if it is not UTF-8.
pub(super) fn json_text(bytes: &[u8]) -> Result<&str, ApiError> {
    std::str::from_utf8(bytes)
        .map(|text| text.strip_prefix('\u{feff}').unwrap_or(text))
        .map_err(|_| ApiError::invalid("", "Malformed JSON: the body is not UTF-8"))
}
