//! Responses: `ETag` and conditional requests, gzip, `HEAD`.
//!
//! An `ETag` is strong if it can be: it is a hash of the data that the response shows, and the
//! gzip-compressed response has its own (RFC 9110 section 8.8.3.3). If the envelope around the data differs
//! from response to response, it is weak (section 8.8.1). `If-None-Match` compares weakly, so either form of
//! an unchanged `ETag` makes the reply a 304 (section 13.1.2). The hash has 128 bits, and need not resist who chooses
//! the data: a client gets nothing but its own account's.

use std::{borrow::Cow, io::Write as _, ops::Range};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use flate2::{Compression, write::GzEncoder};
use lambda_http::{
    Response,
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{
            ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
            LINK, VARY,
        },
    },
};

use twox_hash::XxHash3_128;

use super::response::ResponseBody;
use crate::{document::JsonText, idempotency::KeptAnswer};

/// Bodies larger than this many bytes are compressed.
const COMPRESS_ABOVE: usize = 1_024;

/// A successful answer in its dialect.
#[derive(Debug)]
pub struct Reply {
    status: StatusCode,
    content_type: Cow<'static, str>,
    /// The body, as JSON.
    body: JsonText,
    caching: Caching,
    /// The reference to the next page, for the header `Link`.
    link: Option<String>,
    /// Whether a part of the work is left, which the same request does if it is sent again.
    is_unfinished: bool,
    /// Whether this is the answer to an earlier request with the same idempotency key.
    is_replayed: bool,
}

const JSON: Cow<'static, str> = Cow::Borrowed("application/json");

#[derive(Debug)]
enum Caching {
    /// A read: which part of the body is its data (`None`: all of it), and how long a client may keep it.
    Read { data: Option<Range<usize>>, cache_control: &'static str },
    /// A write, whose answer must not be cached.
    Write,
}

impl Reply {
    /// The answer to a read, all of it data; `cache_control` says how long a client may keep it.
    #[must_use]
    pub fn cacheable(body: impl Into<JsonText>, cache_control: &'static str) -> Self {
        Self {
            caching: Caching::Read { data: None, cache_control },
            ..Self::uncacheable(StatusCode::OK, body)
        }
    }

    /// The answer to a read, of which only this part is data.
    #[must_use]
    pub fn cacheable_part(body: String, data: Range<usize>, cache_control: &'static str) -> Self {
        Self {
            caching: Caching::Read { data: Some(data), cache_control },
            ..Self::uncacheable(StatusCode::OK, body)
        }
    }

    /// The answer to a write.
    #[must_use]
    pub fn uncacheable(status: StatusCode, body: impl Into<JsonText>) -> Self {
        Self {
            status,
            content_type: JSON,
            body: body.into(),
            caching: Caching::Write,
            link: None,
            is_unfinished: false,
            is_replayed: false,
        }
    }

    /// Marks an answer after which a part of the work is left, such as rows to retry. It is not kept under an
    /// idempotency key.
    #[must_use]
    pub fn unfinished(self, is_unfinished: bool) -> Self {
        Self { is_unfinished, ..self }
    }

    /// The answer to an earlier request with the same idempotency key.
    pub(super) fn replayed(KeptAnswer { status, content_type, body }: KeptAnswer) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
        Self {
            content_type: content_type.into(),
            is_replayed: true,
            ..Self::uncacheable(status, body)
        }
    }

    /// The answer to keep under an idempotency key; `None`: a part of the work is left.
    pub(super) fn to_keep(&self) -> Option<KeptAnswer> {
        (!self.is_unfinished).then(|| KeptAnswer {
            status: self.status.as_u16(),
            content_type: self.content_type.clone().into_owned(),
            body: self.body.plain().into_owned(),
        })
    }

    /// Adds a `Link` to the next page (RFC 8288).
    #[must_use]
    pub fn with_next(mut self, reference: &str) -> Self {
        self.link = Some(format!("<{reference}>; rel=\"next\""));
        self
    }

    /// Makes the response to a request with these headers.
    #[must_use]
    pub fn into_response(self, request: &HeaderMap) -> Response<ResponseBody> {
        let gzip = accepts_gzip(request) && self.body.is_longer_than(COMPRESS_ABOVE);
        let mut response = Response::new(ResponseBody::Empty);
        let headers = response.headers_mut();
        headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
        if let Some(Ok(link)) = self.link.as_deref().map(HeaderValue::from_str) {
            headers.insert(LINK, link);
        }
        match &self.caching {
            Caching::Read { data, cache_control } => {
                headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache_control));
                let (hash, weak) = match data {
                    None => (self.body.hash(), ""),
                    Some(data) => {
                        let body = self.body.plain();
                        let data = body.as_bytes().get(data.clone()).unwrap_or_default();
                        let is_all = data.len() == body.len();
                        (XxHash3_128::oneshot(data), if is_all { "" } else { "W/" })
                    }
                };
                let tag = URL_SAFE_NO_PAD.encode(hash.to_be_bytes());
                let coding = if gzip { "-gzip" } else { "" };
                if let Ok(value) = HeaderValue::from_str(&format!("{weak}\"{tag}{coding}\"")) {
                    headers.insert(ETAG, value);
                }
                if matches_etag(request, &tag) {
                    *response.status_mut() = StatusCode::NOT_MODIFIED;
                    return response;
                }
            }
            Caching::Write => {
                headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            }
        }
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        if let Ok(content_type) = HeaderValue::from_str(&self.content_type) {
            headers.insert(CONTENT_TYPE, content_type);
        }
        if self.is_replayed {
            headers.insert("idempotency-replayed", HeaderValue::from_static("true"));
        }
        match gzip.then(|| compress(self.body.plain().as_bytes())).flatten() {
            Some(compressed) => {
                headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                *response.body_mut() = ResponseBody::Binary(compressed);
            }
            None => *response.body_mut() = ResponseBody::Text(self.body),
        }
        response
    }
}

/// Compresses fast rather than well: a small function has little CPU, and JSON compresses well anyway.
fn compress(body: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    encoder.write_all(body).ok()?;
    encoder.finish().ok()
}

/// Whether one of the tags in `If-None-Match` equals this one, in either content coding.
fn matches_etag(request: &HeaderMap, tag: &str) -> bool {
    let named = |value: &HeaderValue| {
        value.to_str().is_ok_and(|list| {
            list.split(',').map(str::trim).any(|candidate| {
                let opaque = candidate.strip_prefix("W/").unwrap_or(candidate).trim_matches('"');
                candidate == "*" || opaque.strip_suffix("-gzip").unwrap_or(opaque) == tag
            })
        })
    };
    request.get_all(IF_NONE_MATCH).iter().any(named)
}

/// Whether the client accepts gzip (RFC 9110 section 12.5.3). `gzip` takes precedence over `*`; a weight of
/// zero means that it is not accepted.
fn accepts_gzip(request: &HeaderMap) -> bool {
    let (mut gzip, mut any) = (None, None);
    for value in request.get_all(ACCEPT_ENCODING) {
        for element in value.to_str().unwrap_or_default().split(',') {
            let (coding, weight) = element.split_once(';').unwrap_or((element, ""));
            let weight = weight.trim().strip_prefix("q=").unwrap_or("1").trim();
            let accepted = weight.parse::<f32>().is_ok_and(|weight| weight > 0.0);
            match coding.trim().to_ascii_lowercase().as_str() {
                "gzip" | "x-gzip" => gzip = Some(accepted),
                "*" => any = Some(accepted),
                _ => {}
            }
        }
    }
    gzip.or(any).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name.parse().expect(name), HeaderValue::from_static(value))])
    }

    fn respond(body: &str, request: &HeaderMap) -> Response<ResponseBody> {
        Reply::cacheable(body.to_owned(), "private").into_response(request)
    }

    fn etag(response: &Response<ResponseBody>) -> String {
        response.headers()[ETAG].to_str().expect("ETag").to_owned()
    }

    #[test]
    fn gzip_is_sent_to_those_who_accept_it_and_only_for_larger_bodies() {
        let large = "x".repeat(COMPRESS_ABOVE + 1);
        for (value, accepted) in [
            ("gzip", true),
            ("GZIP;q=0.5, br", true),
            ("deflate, *", true),
            ("*;q=0.1", true),
            ("gzip;q=0", false),
            ("gzip;q=0, *", false),
            ("gzip;q=x", false),
            ("identity", false),
            ("", false),
        ] {
            let response = respond(&large, &headers("accept-encoding", value));
            assert_eq!(response.headers().contains_key(CONTENT_ENCODING), accepted, "{value}");
        }
        let small = respond("{}", &headers("accept-encoding", "gzip"));
        assert!(!small.headers().contains_key(CONTENT_ENCODING));
    }

    #[test]
    fn data_in_another_envelope_is_the_same_data() {
        let answer = |envelope: &str, request: &HeaderMap| {
            let body = format!("data{envelope}");
            Reply::cacheable_part(body, 0..4, "private").into_response(request)
        };
        let tag = etag(&answer("1", &HeaderMap::new()));
        assert!(tag.starts_with("W/\""), "{tag}");
        assert_eq!(etag(&answer("2", &HeaderMap::new())), tag);
        let mut request = HeaderMap::new();
        request.insert(IF_NONE_MATCH, HeaderValue::from_str(&tag).expect("header"));
        assert_eq!(answer("3", &request).status(), 304);
    }

    #[test]
    fn the_outcome_of_a_write_has_no_tag_and_its_own_status() {
        let reply = Reply::uncacheable(StatusCode::MULTI_STATUS, "{}".to_owned());
        let response = reply.into_response(&headers("if-none-match", "*"));
        assert_eq!(response.status(), 207);
        assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
        assert!(!response.headers().contains_key(ETAG));
    }

    #[test]
    fn an_unchanged_answer_is_a_304_in_either_coding() {
        let large = "x".repeat(COMPRESS_ABOVE + 1);
        let plain = etag(&respond(&large, &HeaderMap::new()));
        let coded = etag(&respond(&large, &headers("accept-encoding", "gzip")));
        assert_ne!(plain, coded);
        let lists =
            [plain.clone(), coded, format!("W/{plain}"), format!("\"x\", {plain}"), "*".into()];
        for list in lists {
            let mut request = HeaderMap::new();
            request.insert(IF_NONE_MATCH, HeaderValue::from_str(&list).expect("header"));
            let response = respond(&large, &request);
            assert_eq!(response.status(), 304, "{list}");
            assert!(response.body().is_empty());
            assert_eq!(respond("other", &request).status() == 304, list == "*");
        }
    }

    #[test]
    fn a_body_of_more_than_a_kilobyte_is_compressed_to_the_same_bytes() {
        for (bytes, compressed) in [(COMPRESS_ABOVE, false), (COMPRESS_ABOVE + 1, true)] {
            let body: String = ('a'..='z').cycle().take(bytes).collect();
            let response = respond(&body, &headers("accept-encoding", "x-gzip"));
            assert_eq!(response.headers().contains_key(CONTENT_ENCODING), compressed, "{bytes}");
            let sent = match response.into_body() {
                ResponseBody::Binary(coded) => {
                    let mut text = String::new();
                    let mut decoder = flate2::read::GzDecoder::new(coded.as_slice());
                    std::io::Read::read_to_string(&mut decoder, &mut text).expect("gzip");
                    text
                }
                ResponseBody::Text(text) => text.plain().into_owned(),
                ResponseBody::Empty => panic!("empty"),
            };
            assert_eq!(sent, body);
        }
    }

    #[test]
    fn data_that_is_all_of_a_body_has_a_strong_tag() {
        let whole = Reply::cacheable_part("data".to_owned(), 0..4, "private");
        let tag = etag(&whole.into_response(&HeaderMap::new()));
        assert_eq!(tag, etag(&respond("data", &HeaderMap::new())));
        assert!(tag.starts_with('"') && tag.ends_with('"') && tag.len() == 24, "{tag}");
    }

    #[test]
    fn an_answer_is_kept_unless_work_is_left_and_is_replayed_as_it_was() {
        let reply = || Reply::uncacheable(StatusCode::MULTI_STATUS, "{}".to_owned());
        assert_eq!(reply().unfinished(true).to_keep(), None);
        let kept = KeptAnswer {
            status: 207,
            content_type: "application/json".to_owned(),
            body: "{}".to_owned(),
        };
        assert_eq!(reply().unfinished(false).to_keep(), Some(kept.clone()));
        let none = HeaderMap::new();
        let (first, again) =
            (reply().into_response(&none), Reply::replayed(kept).into_response(&none));
        let mut headers = again.headers().clone();
        assert_eq!(headers.remove("idempotency-replayed"), Some(HeaderValue::from_static("true")));
        assert_eq!(
            (again.status(), &headers, again.body()),
            (first.status(), first.headers(), first.body())
        );
        let linked = reply().with_next("/next?a=b").into_response(&none);
        assert_eq!(linked.headers()[LINK], "</next?a=b>; rel=\"next\"");
        assert!(!first.headers().contains_key(LINK));
    }
}
