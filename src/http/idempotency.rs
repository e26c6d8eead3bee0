//! Requests with an idempotency key: claims the key, does the work, keeps the answer.

use std::time::{Duration, Instant};

use lambda_http::http::Method;

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
    let term = request.deadline.saturating_duration_since(Instant::now()) + CLAIM_MARGIN;
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
    if let Err(error) = store.end_request(&claim, answer.as_ref()).await {
        // What was done stays done. Once the claim has expired, the same request repeats it, to the same effect.
        tracing::warn!(cause = chain(&error), "the answer was not kept");
    }
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
