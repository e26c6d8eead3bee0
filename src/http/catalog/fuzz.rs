//! Any body of a submission or of a request for an export is understood, or refused by its fields.

use lambda_http::{Body, http};

use super::{exports::kinds, submit::Submitted};
use crate::{
    fuzz::fuzz,
    http::{ApiError, ApiRequest, body::MAX_BODY_BYTES},
    imports::Kind,
};

/// The longest that errors may be: a reply of Lambda has 6 MB, and the answer is kept in one item.
const MOST: usize = 64 * 1024;

fn checked<T>(outcome: Result<T, ApiError>) -> Option<T> {
    match outcome {
        Ok(understood) => Some(understood),
        Err(ApiError::Invalid(errors)) => {
            assert!(!errors.is_empty() && errors.iter().all(|error| !error.message.is_empty()));
            let bytes: usize = errors.iter().map(|error| error.to_string().len()).sum();
            assert!(bytes < MOST, "{bytes} bytes of errors");
            None
        }
        Err(error) => panic!("{error:?}"),
    }
}

/// A request: the first line is its media type, the second its query, the rest its body.
fn request(input: &[u8]) -> Option<ApiRequest> {
    let mut parts = input.splitn(3, |byte| *byte == b'\n');
    let (media_type, query, body) = (parts.next()?, parts.next()?, parts.next()?);
    let query = std::str::from_utf8(query).ok()?;
    let body = match std::str::from_utf8(body) {
        Ok(text) => Body::Text(text.to_owned()),
        Err(_) => Body::Binary(body.to_vec()),
    };
    let request = http::Request::builder()
        .method("POST")
        .uri(format!("https://localhost/catalog/v1/imports?{query}"))
        .header("content-type", media_type);
    request.body(body).ok().map(ApiRequest::new)
}

#[test]
fn any_submission_is_understood_or_refused_by_its_fields() {
    let words = ["upload", "format", "length", "replace", "replaceShare", "offering", "csv"];
    fuzz("submissions", Vec::new(), &words, |input| {
        let Some(request) = request(input) else { return };
        assert!(request.body.len() <= MAX_BODY_BYTES);
        match checked(Submitted::parse(&request)) {
            Some(Submitted::Records(submission, records)) => {
                assert_eq!(submission.length, records.len() as u64);
                assert_eq!(records, &*request.body);
            }
            Some(Submitted::Upload(submission)) => {
                assert!(submission.length > 0 && submission.options.format.is_some());
                let share = submission.options.replace.map_or(0.5, |(_, share)| share);
                assert!((0.0..=1.0).contains(&share));
            }
            None => {}
        }
    });
}

#[test]
fn any_body_of_an_export_is_understood_or_refused_by_its_fields() {
    let words = ["kinds", "offering", "product", "network"];
    fuzz("exports", Vec::new(), &words, |input| {
        let Ok(body) = std::str::from_utf8(input) else { return };
        let Some(understood) = checked(kinds(body)) else { return };
        let named = Kind::ALL.iter().filter(|kind| understood.contains(**kind));
        let named: Vec<String> = named.map(|kind| format!("\"{kind}\"")).collect();
        let again = kinds(&format!("{{\"kinds\":[{}]}}", named.join(",")));
        assert_eq!(again.expect("the same kinds"), understood);
    });
}
