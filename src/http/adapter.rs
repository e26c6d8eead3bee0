//! The HTTP adapter, the same for every endpoint: checks path, method and key, calls the endpoint, makes the
//! response, and writes one log line.

use std::{
    future::Future,
    panic::AssertUnwindSafe,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use futures_util::FutureExt as _;
use lambda_http::{
    Body, Request, Response,
    http::{
        HeaderMap, HeaderValue, Method, StatusCode,
        header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, VARY, WWW_AUTHENTICATE},
    },
};
use tracing::Level;

use super::{Absent, ApiError, ApiRequest, Authenticator, Dialect, Reply, dialect::ErrorBody};
use crate::{
    access::{Permission, Principal},
    cause::chain,
    cost::{Cost, Meter},
    idempotency::{
        Claimed, IdempotencyKey, IdempotencyStore as _, KeptAnswer, KeyedRequest, RequestIdentity,
    },
    store::Store,
    telemetry::RequestMeasures,
    xray,
};

/// The header of an idempotency key, which a write may have.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// An endpoint: what a function answers.
pub trait Endpoint: Send + Sync + 'static {
    const DIALECT: Dialect;

    /// The permission that a key needs.
    const PERMISSION: Permission;

    /// The methods of the request's path; `None`: this endpoint does not serve the path.
    fn methods(&self, request: &ApiRequest) -> Option<Methods>;

    /// Answers an authenticated request.
    fn answer(&self, call: Call<'_>) -> impl Future<Output = Result<Reply, ApiError>> + Send;
}

/// An authenticated request, and what an endpoint needs to answer it.
pub struct Call<'a> {
    pub request: &'a ApiRequest,
    pub principal: &'a Principal,
    /// What the request's work is known by: an earlier attempt may have done some of it.
    pub identity: &'a RequestIdentity,
    /// The tables; the meter of this handle records what the request consumes.
    pub store: &'a Store,
    pub log: &'a mut RequestLog,
}

#[derive(Clone, Copy, Debug)]
pub struct Methods {
    /// The methods that this endpoint answers.
    pub answered: &'static [Method],
    /// All methods of the path, including those of other functions, as `Allow` lists them.
    pub allow: &'static str,
}

impl Methods {
    /// The methods of a read-only path.
    pub const READ: Self = Self { answered: &[Method::GET, Method::HEAD], allow: "GET, HEAD" };
}

/// What the log line of a request reports besides status and cost.
#[derive(Debug, Default)]
pub struct RequestLog {
    pub account: Option<String>,
    /// How many items the answer has.
    pub items: usize,
    /// Rows of a bulk request that were rejected.
    pub rejected: usize,
    /// The internal error of a row, if the request itself succeeded.
    pub row_failure: Option<String>,
    /// Whether the request had a cursor.
    pub has_cursor: bool,
    /// Whether the answer has a next cursor.
    pub has_next_page: bool,
}

/// What a request consumed.
#[derive(Clone, Copy)]
struct RequestCost {
    /// For the catalog's data.
    catalog: Cost,
    /// The read units of the key's lookup: none while the key is cached.
    key_read_units: f64,
}

/// An endpoint, wrapped in what all endpoints have in common.
pub struct HttpAdapter<E> {
    endpoint: E,
    store: Store,
    authenticator: Authenticator,
    show_cost: bool,
    log_percent: u8,
    warm: AtomicBool,
}

impl<E: Endpoint> HttpAdapter<E> {
    /// Wraps an endpoint. With `show_cost`, headers report what a request consumed; clients of a
    /// deployed stack should not see them.
    pub fn new(endpoint: E, store: Store, authenticator: Authenticator, show_cost: bool) -> Self {
        let warm = AtomicBool::new(false);
        Self { endpoint, store, authenticator, show_cost, log_percent: 100, warm }
    }

    /// Logs only this percentage of the requests that succeed within a second; all others are always logged.
    #[must_use]
    pub fn with_log_percent(mut self, percent: u8) -> Self {
        self.log_percent = percent;
        self
    }

    /// Makes one warm-up read during initialization.
    pub async fn warm_up(&self) {
        self.authenticator.warm_up(&self.store).await;
    }

    /// Answers a request. Panics and timeouts become responses, too.
    pub async fn handle(&self, request: Request) -> Response<Body> {
        let started = Instant::now();
        let request = ApiRequest::new(request);
        let mut log = RequestLog::default();
        let (key_meter, meter) = (Meter::default(), Meter::default());

        // Boxed, because the type of the unboxed future exceeds the compiler's limits.
        let answer = Box::pin(self.answer(&request, &mut log, &key_meter, &meter));
        let answer = xray::traced(request.trace_id.as_deref(), answer);
        let answer = AssertUnwindSafe(answer).catch_unwind();
        let outcome = match tokio::time::timeout_at(request.deadline.into(), answer).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(panic)) => Err(ApiError::internal(format!("panic: {}", panic_text(&*panic)))),
            Err(_) => Err(ApiError::Unavailable("no answer before the deadline".into())),
        };
        let cause = outcome.as_ref().err().map(ApiError::cause).or(log.row_failure.take());
        let failed = cause.is_some() && outcome.is_ok();
        let (dialect, mut response) = match outcome {
            Ok(reply) => (E::DIALECT, reply.into_response(&request.headers)),
            Err(error) => Self::error_response(&error, &request),
        };
        if request.method == Method::HEAD && !matches!(response.body(), Body::Empty) {
            let length = response.body().len().to_string();
            *response.body_mut() = Body::Empty;
            insert(response.headers_mut(), "content-length", &length);
        }
        let headers = response.headers_mut();
        insert(headers, "x-request-id", &request.id);
        vary_by(headers, dialect.key_header());
        let cost =
            RequestCost { catalog: meter.cost(), key_read_units: key_meter.cost().read_units };
        if self.show_cost {
            let Cost { reads, read_units, writes, write_units } = cost.catalog;
            insert(headers, "x-consumed-read-units", &read_units.to_string());
            insert(headers, "x-queries", &reads.to_string());
            if writes > 0 {
                insert(headers, "x-consumed-write-units", &write_units.to_string());
                insert(headers, "x-writes", &writes.to_string());
            }
        }
        let cold = !self.warm.swap(true, Ordering::Relaxed);
        let status = response.status();
        let level = if failed || status.is_server_error() { Level::ERROR } else { Level::INFO };
        let millis = started.elapsed().as_secs_f64() * 1e3;
        // Failed and slow requests are always logged.
        let went_well = cause.is_none() && millis < 1e3;
        if !went_well || fastrand::u8(..100) < self.log_percent {
            write_log(&request, &log, cost, (status, level), cold, millis, cause.as_deref());
        }
        RequestMeasures {
            route: if request.route.is_empty() { "none" } else { &request.route },
            server_error: status.is_server_error(),
            millis,
            items: log.items,
            read_units: cost.catalog.read_units + cost.key_read_units,
            write_units: cost.catalog.write_units,
            cold_start: cold,
        }
        .publish();
        response
    }

    async fn answer(
        &self,
        request: &ApiRequest,
        log: &mut RequestLog,
        key_meter: &Meter,
        meter: &Meter,
    ) -> Result<Reply, ApiError> {
        let methods = self.endpoint.methods(request).ok_or(ApiError::NotFound(Absent::Path))?;
        if !methods.answered.contains(&request.method) {
            return Err(ApiError::MethodNotAllowed(methods.allow));
        }
        let key = E::DIALECT.key(&request.headers);
        let keys = self.store.metered(key_meter);
        let principal =
            self.authenticator.authenticate(&keys, key, E::PERMISSION, request.source_ip).await?;
        log.account = Some(principal.account.to_string());
        let store = self.store.for_account(&principal.account, meter);
        let key = idempotency_key(request)?;
        let Some(key) = key.filter(|_| request.method == Method::POST) else {
            let identity = &RequestIdentity::new(store.clock().now());
            let call = Call { request, principal: &principal, identity, store: &store, log };
            return self.endpoint.answer(call).await;
        };
        let account = principal.account.clone();
        let keyed = KeyedRequest::new(account, &request.endpoint(), &key, &request.content());
        let term = request.deadline.saturating_duration_since(Instant::now()) + CLOSING_TIME;
        let (claim, identity) = match store.claim_request(keyed, term).await? {
            Claimed::Held(claim, identity) => (claim, identity),
            Claimed::Answered(answer) => return Ok(Reply::replayed(answer)),
            Claimed::UnderWay(left) => return Err(ApiError::UnderWay(left)),
            Claimed::OtherRequest => return Err(ApiError::KeyOfAnotherRequest),
        };
        let call = Call { request, principal: &principal, identity: &identity, store: &store, log };
        let outcome = self.endpoint.answer(call).await;
        let answer = match &outcome {
            Ok(reply) => reply.to_keep(),
            Err(error) => Self::answer_to_keep(error, request),
        };
        if let Err(error) = store.end_request(&claim, answer.as_ref()).await {
            // The work is done. Once the claim has expired, the same request does it again, to the same effect.
            tracing::warn!(cause = chain(&error), "the answer was not kept");
        }
        outcome
    }

    /// The answer to keep for a request that failed: what is wrong with it stays wrong.
    fn answer_to_keep(error: &ApiError, request: &ApiRequest) -> Option<KeptAnswer> {
        let status = error.status();
        ((400..500).contains(&status) && status != 429).then(|| {
            let ErrorBody { content_type, body, .. } =
                E::DIALECT.error(error, request, E::PERMISSION);
            KeptAnswer { status, content_type: content_type.to_owned(), body }
        })
    }

    /// The response to an error, and the dialect it is in.
    fn error_response(error: &ApiError, request: &ApiRequest) -> (Dialect, Response<Body>) {
        let dialect = match error {
            ApiError::NotFound(Absent::Path) => Dialect::nearest(&request.path),
            _ => E::DIALECT,
        };
        (dialect, respond(error, dialect.error(error, request, E::PERMISSION)))
    }
}

/// How long after its deadline a request may still store its answer.
const CLOSING_TIME: Duration = Duration::from_secs(1);

/// The idempotency key of a request.
fn idempotency_key(request: &ApiRequest) -> Result<Option<IdempotencyKey>, ApiError> {
    let mut values = request.headers.get_all(IDEMPOTENCY_KEY).iter();
    let (first, second) = (values.next(), values.next());
    let Some(value) = first else { return Ok(None) };
    let key = value.to_str().ok().and_then(IdempotencyKey::parse).filter(|_| second.is_none());
    key.map(Some).ok_or_else(|| {
        let message = format!("must be 1 to {} visible characters", IdempotencyKey::MAX_LENGTH);
        ApiError::invalid("Idempotency-Key", message)
    })
}

fn respond(error: &ApiError, rendered: ErrorBody) -> Response<Body> {
    let mut response = Response::new(Body::Text(rendered.body));
    *response.status_mut() =
        StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(rendered.content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    match error {
        ApiError::MethodNotAllowed(methods) => {
            headers.insert(ALLOW, HeaderValue::from_static(methods));
        }
        ApiError::Unavailable(_) => {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        ApiError::UnderWay(left) => {
            // Most requests end long before their claim.
            insert(headers, "retry-after", &left.as_secs().clamp(1, 2).to_string());
        }
        ApiError::KeyRejected(_) if error.status() == 401 => {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(rendered.challenge));
        }
        _ => {}
    }
    response
}

/// Tells caches that the answer also depends on this request header: different keys get different
/// answers.
fn vary_by(headers: &mut HeaderMap, request_header: &'static str) {
    let value = match headers.get(VARY).and_then(|value| value.to_str().ok()) {
        Some(others) => format!("{others}, {request_header}"),
        None => request_header.to_owned(),
    };
    insert(headers, "vary", &value);
}

fn insert(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("of unknown kind")
}

/// Writes the log line of a request. It contains the names of parameters, never their values.
fn write_log(
    request: &ApiRequest,
    log: &RequestLog,
    cost: RequestCost,
    (status, level): (StatusCode, Level),
    cold: bool,
    millis: f64,
    cause: Option<&str>,
) {
    let status = status.as_u16();
    // Microseconds: more digits would only be noise.
    let millis = (millis * 1e3).round() / 1e3;
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                request_id = request.id,
                invocation = request.invocation,
                route = request.route,
                method = request.method.as_str(),
                trace_id = request.trace_id,
                account = log.account,
                status,
                millis,
                items = log.items,
                queries = cost.catalog.reads,
                read_units = cost.catalog.read_units,
                key_read_units = cost.key_read_units,
                writes = cost.catalog.writes,
                write_units = cost.catalog.write_units,
                rejected = log.rejected,
                cold_start = cold,
                has_cursor = log.has_cursor,
                has_next_page = log.has_next_page,
                cause,
                "request"
            )
        };
    }
    if level == Level::ERROR {
        line!(error);
    } else {
        line!(info);
    }
}
