//! The HTTP adapter, the same for every endpoint: checks path, method and key, calls the endpoint, makes the
//! response, and writes one log line.

use std::{
    future::Future,
    panic::AssertUnwindSafe,
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
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

use super::{Absent, ApiError, ApiRequest, Authenticator, Dialect, Payload, dialect::ErrorBody};
use crate::{
    access::{KeyLookup, Permission, Principal},
    cost::{Read, ReadCost, WriteCost},
    store::StoreError,
    telemetry::RequestMeasures,
    xray,
};

/// An endpoint: what a function answers.
pub trait Endpoint: Send + Sync + 'static {
    /// The dialect of its paths.
    const DIALECT: Dialect;

    /// The permission that a key needs.
    const PERMISSION: Permission;

    /// The methods of the request's path; `None`: this endpoint does not have the path.
    fn methods(&self, request: &ApiRequest) -> Option<Methods>;

    /// Answers an authenticated request, and records what it cost.
    fn answer(
        &self,
        request: &ApiRequest,
        principal: &Principal,
        record: &mut RequestRecord,
    ) -> impl Future<Output = Result<Payload, ApiError>> + Send;
}

/// The methods of a path.
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

/// The fields of a request's log line besides its status.
#[derive(Debug, Default)]
pub struct RequestRecord {
    /// The account whose data was requested.
    pub account: Option<String>,
    /// How many items the answer has.
    pub items: usize,
    /// The cost of reading the catalog.
    pub cost: ReadCost,
    /// The cost of looking up a promotion.
    pub promotion_cost: ReadCost,
    /// The cost of writing.
    pub write_cost: WriteCost,
    /// Rows of a bulk request that were rejected.
    pub rejected: usize,
    /// The internal error of a row, if the request itself succeeded.
    pub row_failure: Option<String>,
    /// The read units of the key's own read: none while the key is cached.
    pub key_read_units: f64,
    /// Whether the request had a cursor.
    pub has_cursor: bool,
    /// Whether the answer has a next cursor.
    pub has_next_page: bool,
}

impl RequestRecord {
    /// Reads of the catalog, without the key's own read.
    fn queries(&self) -> u32 {
        self.cost.queries + self.promotion_cost.queries
    }

    /// Read units of the catalog, without the key's own read.
    fn read_units(&self) -> f64 {
        self.cost.read_units + self.promotion_cost.read_units
    }
}

/// An endpoint, wrapped in what all endpoints have in common.
pub struct Edge<E, K> {
    endpoint: E,
    keys: Authenticator<K>,
    show_cost: bool,
    log_percent: u8,
    warm: AtomicBool,
}

impl<E: Endpoint, K: KeyLookup<Error = StoreError>> Edge<E, K> {
    /// Wraps an endpoint. With `show_cost`, headers report what a request consumed; clients of a
    /// deployed stack should not see them.
    pub fn new(endpoint: E, keys: Authenticator<K>, show_cost: bool) -> Self {
        Self { endpoint, keys, show_cost, log_percent: 100, warm: AtomicBool::new(false) }
    }

    /// Logs only this percentage of the requests that succeed within a second; all others are always logged.
    #[must_use]
    pub fn with_log_percent(mut self, percent: u8) -> Self {
        self.log_percent = percent;
        self
    }

    /// Makes one warm-up read during initialization.
    pub async fn warm_up(&self) {
        self.keys.warm_up().await;
    }

    /// Answers a request. Panics and timeouts become responses, too.
    pub async fn handle(&self, request: Request) -> Response<Body> {
        let started = Instant::now();
        let request = ApiRequest::new(request);
        let mut record = RequestRecord::default();

        // Boxed: the compiler gives up on the type of all that an answer awaits.
        let answer = Box::pin(self.answer(&request, &mut record));
        let answer = xray::traced(request.trace_id.as_deref(), answer);
        let answer = AssertUnwindSafe(answer).catch_unwind();
        let outcome = match tokio::time::timeout_at(request.deadline.into(), answer).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(panic)) => Err(ApiError::Internal(format!("panic: {}", panic_text(&*panic)))),
            Err(_) => Err(ApiError::Unavailable("no answer before the deadline".to_owned())),
        };
        let cause = outcome.as_ref().err().map(ApiError::cause).or(record.row_failure.take());
        let failed = cause.is_some() && outcome.is_ok();
        let (dialect, mut response) = match outcome {
            Ok(payload) => (E::DIALECT, payload.into_response(&request.headers)),
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
        if self.show_cost {
            insert(headers, "x-consumed-read-units", &record.read_units().to_string());
            insert(headers, "x-queries", &record.queries().to_string());
            if record.write_cost.requests > 0 {
                let WriteCost { requests, write_units } = record.write_cost;
                insert(headers, "x-consumed-write-units", &write_units.to_string());
                insert(headers, "x-writes", &requests.to_string());
            }
        }
        let cold = !self.warm.swap(true, Ordering::Relaxed);
        let status = response.status();
        let level = if failed || status.is_server_error() { Level::ERROR } else { Level::INFO };
        let millis = started.elapsed().as_secs_f64() * 1e3;
        // Failed and slow requests are always logged.
        let went_well = cause.is_none() && millis < 1e3;
        if !went_well || fastrand::u8(..100) < self.log_percent {
            log(&request, &record, (status, level), cold, millis, cause.as_deref());
        }
        RequestMeasures {
            route: if request.route.is_empty() { "none" } else { &request.route },
            server_error: status.is_server_error(),
            millis,
            items: record.items,
            read_units: record.read_units() + record.key_read_units,
            write_units: record.write_cost.write_units,
            cold_start: cold,
        }
        .publish();
        response
    }

    async fn answer(
        &self,
        request: &ApiRequest,
        record: &mut RequestRecord,
    ) -> Result<Payload, ApiError> {
        let methods = self.endpoint.methods(request).ok_or(ApiError::NotFound(Absent::Path))?;
        if !methods.answered.contains(&request.method) {
            return Err(ApiError::MethodNotAllowed(methods.allow));
        }
        let key = E::DIALECT.key(&request.headers);
        let Read { value: principal, read_units } =
            self.keys.admit(key, E::PERMISSION, request.source_ip).await?;
        record.key_read_units = read_units;
        record.account = Some(principal.account.to_string());
        self.endpoint.answer(request, &principal, record).await
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
        ApiError::NotAdmitted(_) if error.status() == 401 => {
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
fn log(
    request: &ApiRequest,
    record: &RequestRecord,
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
                account = record.account,
                status,
                millis,
                items = record.items,
                queries = record.queries(),
                read_units = record.read_units(),
                key_read_units = record.key_read_units,
                writes = record.write_cost.requests,
                write_units = record.write_cost.write_units,
                rejected = record.rejected,
                cold_start = cold,
                has_cursor = record.has_cursor,
                has_next_page = record.has_next_page,
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
