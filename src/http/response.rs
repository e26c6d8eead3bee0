//! Responses in API Gateway's payload format 2.0 ("Working with AWS Lambda proxy integrations for HTTP APIs", API Gateway
//! developer guide).
//!
//! The conversion of `lambda_http` would escape each body once more, and check that it is UTF-8; a page of documents
//! is escaped already.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use lambda_http::{Response, http::HeaderMap};
use serde::{
    Serialize, Serializer,
    ser::{SerializeMap as _, SerializeStruct as _},
};

use crate::document::JsonText;

/// The body of a response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ResponseBody {
    #[default]
    Empty,
    Text(JsonText),
    Binary(Vec<u8>),
}

impl ResponseBody {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::Empty
    }

    /// The length in bytes, as the client receives it.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::Text(text) => text.plain().len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }
}

/// A response as API Gateway expects it from a function.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayResponse {
    status_code: u16,
    headers: Headers,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<GatewayBody>,
    is_base64_encoded: bool,
    /// Always empty: no reply has any.
    cookies: [&'static str; 0],
}

impl From<Response<ResponseBody>> for GatewayResponse {
    fn from(response: Response<ResponseBody>) -> Self {
        let (parts, body) = response.into_parts();
        let is_base64_encoded = matches!(body, ResponseBody::Binary(_));
        let body = match body {
            ResponseBody::Empty => None,
            ResponseBody::Text(text) => Some(GatewayBody::Text(text)),
            ResponseBody::Binary(bytes) => Some(GatewayBody::Base64(STANDARD.encode(bytes))),
        };
        let (status_code, headers) = (parts.status.as_u16(), Headers(parts.headers));
        Self { status_code, headers, body, is_base64_encoded, cookies: [] }
    }
}

struct Headers(HeaderMap);

impl Serialize for Headers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.keys_len()))?;
        for (name, value) in &self.0 {
            // No reply has a header twice, or one that is not ASCII.
            map.serialize_entry(name.as_str(), value.to_str().unwrap_or_default())?;
        }
        map.end()
    }
}

enum GatewayBody {
    Text(JsonText),
    Base64(String),
}

impl Serialize for GatewayBody {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = match self {
            Self::Base64(text) => return serializer.serialize_str(text),
            Self::Text(text) => text,
        };
        match text.as_escaped() {
            Some(escaped) => raw(&format!("\"{escaped}\""), serializer),
            None => serializer.serialize_str(&text.plain()),
        }
    }
}

/// Writes JSON as it is, as `serde_json::value::RawValue` does, which first parses it once more: a sixth of the CPU time of a
/// page. It was parsed when it was read. If `serde_json` ever gives its raw values another name, the test below
/// fails.
fn raw<S: Serializer>(json: &str, serializer: S) -> Result<S::Ok, S::Error> {
    const RAW_VALUE: &str = "$serde_json::private::RawValue";
    let mut value = serializer.serialize_struct(RAW_VALUE, 1)?;
    value.serialize_field(RAW_VALUE, json)?;
    value.end()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn sent(body: ResponseBody) -> Value {
        let mut response = Response::new(body);
        response.headers_mut().insert("etag", "\"x\"".parse().expect("header"));
        let text = serde_json::to_string(&GatewayResponse::from(response)).expect("JSON");
        serde_json::from_str(&text).expect("JSON")
    }

    #[test]
    fn a_response_has_its_body_whatever_form_that_is_in() {
        let text = "{\"a\":\"é\\n\"}";
        let mut escaped = String::new();
        JsonText::from(text.to_owned()).push_escaped_to(&mut escaped);
        for body in [JsonText::from(text.to_owned()), JsonText::escaped(escaped)] {
            let body = ResponseBody::Text(body);
            assert_eq!(body.len(), text.len());
            let expected = json!({ "statusCode": 200, "headers": { "etag": "\"x\"" }, "body": text,
                "isBase64Encoded": false, "cookies": [] });
            assert_eq!(sent(body), expected);
        }
        assert_eq!(sent(ResponseBody::Binary(vec![1, 2]))["body"], "AQI=");
        assert_eq!(sent(ResponseBody::Binary(vec![1, 2]))["isBase64Encoded"], true);
        assert!(sent(ResponseBody::Empty).get("body").is_none());
    }

    #[test]
    fn only_a_body_of_nothing_is_empty() {
        let text = |text: &str| ResponseBody::Text(text.to_owned().into());
        for (body, is_empty, length) in [
            (ResponseBody::Empty, true, 0),
            (text("é"), false, 2),
            (ResponseBody::Binary(vec![1, 2, 3]), false, 3),
        ] {
            assert_eq!((body.is_empty(), body.len()), (is_empty, length), "{body:?}");
        }
    }
}
