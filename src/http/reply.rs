//! An answer on its way out: `ETag` and conditional requests, gzip, `HEAD`.
//!
//! An `ETag` is strong: it hashes the data a representation shows, and a gzip-coded representation
//! has its own (RFC 9110 section 8.8.3.3). `If-None-Match` compares weakly, so either spelling of an
//! unchanged answer is a 304 (section 13.1.2).

use std::io::Write as _;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use flate2::{Compression, write::GzEncoder};
use lambda_http::{
    Body, Response,
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{
            ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
            VARY,
        },
    },
};
use sha2::{Digest as _, Sha256};

/// Bodies over this many bytes are worth compressing.
const COMPRESS_ABOVE: usize = 1_024;

/// A successful answer, in the words of its dialect.
#[derive(Debug)]
pub struct Payload {
    /// JSON.
    pub body: String,
    /// How long a client may keep it.
    pub cache_control: &'static str,
}

impl Payload {
    /// The response to a read with these headers.
    #[must_use]
    pub fn into_response(self, request: &HeaderMap) -> Response<Body> {
        let digest = Sha256::digest(self.body.as_bytes());
        let tag = URL_SAFE_NO_PAD.encode(&digest[..15]);
        let gzip = self.body.len() > COMPRESS_ABOVE && accepts_gzip(request);
        let etag = if gzip { format!("\"{tag}-gzip\"") } else { format!("\"{tag}\"") };

        let mut response = Response::new(Body::Empty);
        let headers = response.headers_mut();
        if let Ok(value) = HeaderValue::from_str(&etag) {
            headers.insert(ETAG, value);
        }
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(self.cache_control));
        headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
        if matches_etag(request, &tag) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return response;
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        match gzip.then(|| compress(self.body.as_bytes())).flatten() {
            Some(compressed) => {
                headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                *response.body_mut() = Body::Binary(compressed);
            }
            None => *response.body_mut() = Body::Text(self.body),
        }
        response
    }
}

/// Fast rather than small: CPU is what a small function lacks, and JSON shrinks well anyway.
fn compress(body: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    encoder.write_all(body).ok()?;
    encoder.finish().ok()
}

/// Does one of the tags named equal this one, in either coding?
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

/// Does the client accept gzip (RFC 9110 section 12.5.3)? `gzip` counts before `*`; a weight of
/// zero refuses.
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

    fn respond(body: &str, request: &HeaderMap) -> Response<Body> {
        Payload { body: body.to_owned(), cache_control: "private" }.into_response(request)
    }

    fn etag(response: &Response<Body>) -> String {
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
            assert!(matches!(response.body(), Body::Empty));
            assert_eq!(respond("other", &request).status() == 304, list == "*");
        }
    }
}
