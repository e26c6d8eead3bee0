//! Requests with an idempotency key: claims the key, does the work, keeps the answer.

use std::time::Duration;

use lambda_http::http::Method;
use tokio::time::{Instant, timeout_at};

use super::{ApiError, ApiRequest, Call, Endpoint, Reply, RequestLog, dialect::RenderedError};
use crate::{
    access::Principal,
    cause::chain,
    changes::View,
    idempotency::{
        Claimed, IdempotencyKey, IdempotencyStore as _, KeptAnswer, KeyedRequest, RequestIdentity,
    },
    store::Store,
};

/// The header with the idempotency key of a `POST`.
const HEADER: &str = "idempotency-key";

/// How long a claim outlasts its request's deadline: Lambda ends the invocation half a second after that, so nothing of
/// it still runs when the next request takes over.
const CLAIM_MARGIN: Duration = Duration::from_secs(1);

/// How long before the deadline an answer is given, even if it is not kept.
const SENDING_TIME: Duration = Duration::from_millis(200);

/// Answers a request. A `POST` with an idempotency key does its work once, however often it is sent; for other methods
/// the key is only validated.
pub(super) async fn answer_once<E: Endpoint>(
    endpoint: &E,
    request: &ApiRequest,
    principal: &Principal,
    store: &Store,
    log: &mut RequestLog,
) -> Result<Reply, ApiError> {
    let key = key_of(request)?;
    let Some(key) = key.filter(|_| request.method == Method::POST) else {
        let identity = &RequestIdentity::new(store.clock().now());
        return endpoint.answer(Call { request, principal, identity, store, log }).await;
    };
    let account = principal.account.clone();
    let view = View::of(principal).fingerprint();
    let [query, media_type, body] = request.content();
    // A key with another view must not get an answer that it may not see.
    let content = [query, media_type, body, &view];
    let keyed = KeyedRequest::new(account, &request.endpoint(), &key, &content);
    let now = Instant::now().into_std();
    let term = request.deadline.saturating_duration_since(now) + CLAIM_MARGIN;
    let (claim, identity) = match store.claim_request(keyed, term).await? {
        Claimed::Held(claim, identity) => (claim, identity),
        Claimed::Answered(answer) => return Ok(Reply::replayed(answer)),
        Claimed::UnderWay(left) => return Err(ApiError::UnderWay(left)),
        Claimed::OtherRequest => return Err(ApiError::IdempotencyKeyOfAnotherRequest),
    };
    let identity = &identity;
    let outcome = endpoint.answer(Call { request, principal, identity, store, log }).await;
    let answer = match &outcome {
        Ok(reply) => reply.to_keep(),
        Err(error) => answer_to_keep::<E>(error, request),
    };
    // An answer that cannot be kept is given nevertheless, in time. What was done stays done: once the claim has
    // expired, the same request repeats it, to the same effect.
    let latest = request.deadline.checked_sub(SENDING_TIME).unwrap_or(request.deadline);
    let kept = timeout_at(latest.into(), store.end_request(&claim, answer.as_ref())).await;
    let cause = match kept {
        Ok(Ok(())) => return outcome,
        Ok(Err(error)) => chain(&error),
        Err(_) => "no answer before the deadline".to_owned(),
    };
    tracing::warn!(cause, "the answer was not kept");
    outcome
}

/// The answer to keep for a request that failed: a 4xx other than 429, because sending it again would fail alike;
/// `None` for any other.
fn answer_to_keep<E: Endpoint>(error: &ApiError, request: &ApiRequest) -> Option<KeptAnswer> {
    let status = error.status();
    ((400..500).contains(&status) && status != 429).then(|| {
        let RenderedError { content_type, body, .. } =
            E::DIALECT.error(error, request, E::PERMISSION);
        KeptAnswer { status, content_type: content_type.to_owned(), body }
    })
}

/// The idempotency key of a request.
fn key_of(request: &ApiRequest) -> Result<Option<IdempotencyKey>, ApiError> {
    let mut values = request.headers.get_all(HEADER).iter();
    let (first, second) = (values.next(), values.next());
    let Some(value) = first else { return Ok(None) };
    let key = value.to_str().ok().and_then(IdempotencyKey::parse).filter(|_| second.is_none());
    key.map(Some).ok_or_else(|| {
        let message =
            format!("must be 1 to {} visible ASCII characters", IdempotencyKey::MAX_LENGTH);
        ApiError::invalid("Idempotency-Key", message)
    })
}

#[cfg(test)]
mod tests {
    use lambda_http::{Body, http};

    use super::*;
    use crate::{
        access::KeyRejection,
        http::{Absent, Excess, ListPartnerOfferings},
    };

    fn request(keys: &[&str]) -> ApiRequest {
        let request = http::Request::builder().method("POST").uri("https://localhost/");
        let request = keys.iter().fold(request, |request, key| request.header(HEADER, *key));
        ApiRequest::new(request.body(Body::Empty).expect("a request"))
    }

    #[test]
    fn what_is_wrong_with_a_request_stays_wrong_and_what_passes_is_not_kept() {
        let kept = |error: &ApiError| {
            let answer = answer_to_keep::<ListPartnerOfferings>(error, &request(&[]))?;
            assert_eq!(answer.content_type, "application/json");
            Some((answer.status, answer.body))
        };
        let gone = kept(&ApiError::Gone).expect("kept");
        assert_eq!((gone.0, gone.1.contains("\"error_id\":\"10-41000\"")), (410, true));
        for error in [
            ApiError::invalid("limit", "must be right"),
            ApiError::KeyRejected(KeyRejection::Unknown),
            ApiError::NotFound(Absent::Export),
            ApiError::TooLarge(1),
        ] {
            assert_eq!(kept(&error).map(|(status, _)| status), Some(error.status()));
        }
        for error in [
            ApiError::TooMany(Excess::Exports),
            ApiError::Unavailable("busy".into()),
            ApiError::internal("broken"),
        ] {
            assert_eq!(kept(&error), None, "{error:?}");
        }
    }

    #[test]
    fn a_key_is_given_once_in_at_most_255_visible_characters() {
        assert_eq!(key_of(&request(&[])).expect("none"), None);
        let most = "~".repeat(255);
        assert_eq!(key_of(&request(&[&most])).expect("a key"), IdempotencyKey::parse(&most));
        for keys in [&["a", "a"][..], &[""], &["two words"], &[&"~".repeat(256)], &["\u{e9}"]] {
            let error = key_of(&request(keys)).expect_err("no key");
            let ApiError::Invalid(errors) = error else { panic!("{error:?}") };
            let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
            assert_eq!(
                texts,
                ["Idempotency-Key: must be 1 to 255 visible ASCII characters"],
                "{keys:?}"
            );
        }
    }
}
