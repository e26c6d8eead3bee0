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

#[cfg(test)]
mod tests {
    use lambda_http::{Body, http};

    use super::*;

    fn request(headers: &[(&str, &str)], body: &[u8]) -> ApiRequest {
        let mut request = http::Request::builder().method("POST").uri("https://localhost/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        ApiRequest::new(request.body(Body::Binary(body.to_vec())).expect("a request"))
    }

    fn texts(error: ApiError) -> Vec<String> {
        let ApiError::Invalid(errors) = error else { panic!("{error:?}") };
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_media_type_is_read_without_its_parameters_and_in_lower_case() {
        for (headers, media_type) in [
            (&[][..], ""),
            (&[("content-type", "Application/JSON ; charset=utf-8")], "application/json"),
            (&[("content-type", "text/csv"), ("content-encoding", "identity")], "text/csv"),
            (&[("content-type", "text/csv"), ("content-encoding", "")], "text/csv"),
            (&[("content-type", "\u{e9}")], ""),
        ] {
            let request = request(headers, b"body");
            let (told, body) = typed(&request).expect("a body");
            assert_eq!((told.as_str(), body), (media_type, &b"body"[..]), "{headers:?}");
        }
        let coded = request(&[("content-encoding", "gzip")], b"");
        let error = typed(&coded).expect_err("coded");
        assert_eq!(texts(error), ["Content-Encoding is not supported; send the body plain"]);
    }

    #[test]
    fn a_body_has_at_most_five_million_bytes() {
        let most = request(&[], &vec![b' '; MAX_BODY_BYTES]);
        assert_eq!(typed(&most).expect("a body").1.len(), MAX_BODY_BYTES);
        let more = request(&[], &vec![b' '; MAX_BODY_BYTES + 1]);
        assert!(matches!(typed(&more), Err(ApiError::TooLarge(MAX_BODY_BYTES))));
    }

    #[test]
    fn json_is_announced_as_such_and_text() {
        let read = |media_type: &str, body: &[u8]| {
            json(&request(&[("content-type", media_type)], body))
                .map(ToOwned::to_owned)
                .map_err(texts)
        };
        assert_eq!(read("application/json", "\u{feff}{}".as_bytes()), Ok("{}".to_owned()));
        let wrong = |text: &str| Err(vec![text.to_owned()]);
        assert_eq!(read("text/json", b"{}"), wrong("Content-Type must be application/json"));
        assert_eq!(
            read("application/json", b"\xff"),
            wrong("Malformed JSON: the body is not UTF-8")
        );
    }

    #[test]
    fn of_an_object_the_wanted_members_are_read_and_of_anything_else_its_type_is_told() {
        let read = |json: &str| {
            let wanted = |name: &str| name == "a";
            let found = members(json, wanted, |kind| format!("no {kind}"))?;
            Ok(found.0.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>())
        };
        let told = |json: &str| read(json).map_err(texts);
        let some = |text: &str| vec![text.to_owned()];
        assert_eq!(told(" {\"a\": [1], \"b\": 2}"), Ok(some("a=[1]")));
        assert_eq!(told("[]"), Err(some("no array")));
        assert_eq!(told(" \"a\""), Err(some("no string")));
        for json in ["", "{", "[", "nothing", "{} {}"] {
            let errors = told(json).expect_err(json);
            assert!(errors.len() == 1 && errors[0].starts_with("Malformed JSON: "), "{errors:?}");
        }
    }
}
