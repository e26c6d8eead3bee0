//! The HTTP adapter, the same for every endpoint: checks path, method and key, calls the endpoint, makes the
//! response, and writes one log line.

use std::{
    future::Future,
    panic::AssertUnwindSafe,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use futures_util::FutureExt as _;
use jiff::Timestamp;
use lambda_http::{
    Request, Response,
    http::{
        HeaderMap, HeaderValue, Method, StatusCode,
        header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, VARY, WWW_AUTHENTICATE},
    },
};
use tracing::{Instrument as _, Level};

use super::{
    Absent, ApiError, ApiRequest, Authenticator, Dialect, Excess, Reply,
    dialect::RenderedError,
    idempotency::answer_once,
    limits::{Admitted, KeyLimiter},
    response::ResponseBody,
};
use crate::{
    access::{Permission, Principal, Standing, Usage, limits::Draw},
    cost::{Cost, Meter},
    idempotency::RequestIdentity,
    store::Store,
    telemetry::RequestMeasures,
    xray,
};

/// An endpoint: what a function answers.
pub trait Endpoint: Send + Sync + 'static {
    const DIALECT: Dialect;

    const PERMISSION: Permission;

    /// The paths that it serves, as API Gateway spells them, each with its methods.
    const PATHS: &'static [(&'static str, Methods)];

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
    /// Rows of a bulk request: what counts against the key's writes. Any other request that writes counts as one.
    pub rows: u64,
    /// Rows of a bulk request that were rejected.
    pub rejected: usize,
    /// The internal error of a row, if the request itself succeeded.
    pub row_failure: Option<String>,
    /// Whether the request had a cursor.
    pub has_cursor: bool,
    /// Whether the answer has a next cursor.
    pub has_next_page: bool,
}

/// What a request consumes.
#[derive(Default)]
struct Meters {
    /// For the catalog's data.
    catalog: Meter,
    /// For the key's lookup: nothing while the key is cached.
    key: Meter,
    /// For the key's counter, if it has limits.
    counter: Meter,
}

impl Meters {
    /// The read units and the write units of all of it.
    fn units(&self) -> (f64, f64) {
        let costs = || [&self.catalog, &self.key, &self.counter].into_iter().map(Meter::cost);
        (costs().map(|cost| cost.read_units).sum(), costs().map(|cost| cost.write_units).sum())
    }
}

/// What the limits of a key make of a request.
#[derive(Default)]
struct Limited {
    /// An admitted request, to be charged.
    admitted: Option<Admitted>,
    /// How things stand with the scarcest balance.
    standing: Option<Standing>,
}

/// An endpoint, wrapped in what all endpoints have in common.
pub struct HttpAdapter<E> {
    endpoint: E,
    store: Store,
    authenticator: Authenticator,
    limiter: KeyLimiter,
    show_cost: bool,
    log_percent: u8,
    warm: AtomicBool,
}

impl<E: Endpoint> HttpAdapter<E> {
    /// Wraps an endpoint. With `show_cost`, headers report what a request consumed; clients of a
    /// deployed stack should not see them.
    pub fn new(endpoint: E, store: Store, authenticator: Authenticator, show_cost: bool) -> Self {
        let (limiter, warm) = (KeyLimiter::new(store.clock()), AtomicBool::new(false));
        Self { endpoint, store, authenticator, limiter, show_cost, log_percent: 100, warm }
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
    pub async fn handle(&self, request: Request) -> Response<ResponseBody> {
        let started = Instant::now();
        let request = ApiRequest::new(request);
        let mut log = RequestLog::default();
        let (meters, mut limited) = (Meters::default(), Limited::default());

        // Boxed, because the type of the unboxed future exceeds the compiler's limits.
        let answer = Box::pin(self.answer(&request, &mut log, &meters, &mut limited));
        let answer = xray::traced(request.trace_id.as_deref(), answer);
        // Of every line that is logged meanwhile.
        let span = tracing::error_span!("request", request_id = request.id);
        let answer = answer.instrument(span.clone());
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
        if request.method == Method::HEAD && !response.body().is_empty() {
            let length = response.body().len().to_string();
            *response.body_mut() = ResponseBody::Empty;
            insert(response.headers_mut(), "content-length", &length);
        }
        let headers = response.headers_mut();
        insert(headers, "x-request-id", &request.id);
        vary_by(headers, dialect.key_header());
        self.charge(&mut limited, &request, &log, &meters).instrument(span).await;
        if let Some(standing) = &limited.standing {
            show_standing(headers, standing);
        }
        if self.show_cost {
            show_cost(headers, &meters);
        }
        let unchecked = limited.admitted.and_then(|admitted| admitted.unchecked);
        let cold = !self.warm.swap(true, Ordering::Relaxed);
        let status = response.status();
        let level = if failed || status.is_server_error() { Level::ERROR } else { Level::INFO };
        let millis = millis(started.elapsed());
        // Failed and slow requests are always logged.
        let went_well = cause.is_none() && millis < 1e3;
        if !went_well || fastrand::u8(..100) < self.log_percent {
            let causes = (cause.as_deref(), unchecked.as_deref());
            write_log(&request, &log, &meters, (status, level), cold, millis, causes);
        }
        let (read_units, write_units) = meters.units();
        RequestMeasures {
            route: if request.route.is_empty() { "none" } else { &request.route },
            server_error: status.is_server_error(),
            millis,
            items: log.items,
            read_units,
            write_units,
            cold_start: cold,
        }
        .publish();
        response
    }

    async fn answer(
        &self,
        request: &ApiRequest,
        log: &mut RequestLog,
        meters: &Meters,
        limited: &mut Limited,
    ) -> Result<Reply, ApiError> {
        let served = E::PATHS.iter().find(|(path, _)| request.parameters(path).is_some());
        let (_, methods) = served.ok_or(ApiError::NotFound(Absent::Path))?;
        if !methods.answered.contains(&request.method) {
            return Err(ApiError::MethodNotAllowed(methods.allow));
        }
        let key = E::DIALECT.key(&request.headers);
        let keys = self.store.metered(&meters.key);
        let (key, record) = self.authenticator.authenticate(Instant::now(), &keys, key).await?;
        let (limits, draw) = (record.limits, draw(&request.method));
        let admitted = record.admit(E::PERMISSION, request.source_ip, Timestamp::now());
        let principal = admitted.map_err(|rejection| {
            let rejection = ApiError::KeyRejected(rejection);
            // With a 401 it is no key any more.
            if rejection.status() == 403 {
                limited.standing = self.limiter.standing_of(&key, &limits, draw);
            }
            rejection
        })?;
        log.account = Some(principal.account.to_string());
        let store = self.store.for_account(&principal.account, &meters.catalog);
        let work = answer_once(&self.endpoint, request, &principal, &store, log);
        if limits.is_none() {
            return work.await;
        }
        let counters = self.store.metered(&meters.counter);
        let admission = self.limiter.admit(&counters, &key, limits, draw).await;
        let admitted = match admission {
            Ok(admitted) => limited.admitted.insert(admitted),
            Err(standing) => {
                limited.standing = Some(standing);
                return Err(ApiError::TooMany(Excess::Limit(standing)));
            }
        };
        let report = self.limiter.report_if_due(&counters, admitted);
        let (answer, unreported) = tokio::join!(work, report);
        if unreported.is_some() {
            admitted.unchecked = unreported;
        }
        answer
    }

    /// Charges an admitted request with what it used, whatever became of it.
    async fn charge(
        &self,
        limited: &mut Limited,
        request: &ApiRequest,
        log: &RequestLog,
        meters: &Meters,
    ) {
        let Some(admitted) = &mut limited.admitted else { return };
        let catalog = meters.catalog.cost();
        let (reads, writes) = match draw(&request.method) {
            Draw::Read => (1, 0),
            Draw::Write => (0, log.rows.max(1)),
        };
        let used = Usage {
            reads,
            writes,
            read_units: catalog.read_units + meters.key.cost().read_units,
            write_units: catalog.write_units,
            rejected: 0,
        };
        self.limiter.charge(admitted, used);
        if tokio::time::Instant::now() < request.deadline.into() {
            let counters = self.store.metered(&meters.counter);
            let unreported = self.limiter.report_if_overspent(&counters, admitted).await;
            if unreported.is_some() {
                admitted.unchecked = unreported;
            }
        }
        limited.standing = self.limiter.standing(admitted);
    }

    /// The response to an error, and the dialect it is in.
    fn error_response(error: &ApiError, request: &ApiRequest) -> (Dialect, Response<ResponseBody>) {
        let dialect = match error {
            ApiError::NotFound(Absent::Path) => Dialect::nearest(&request.path),
            _ => E::DIALECT,
        };
        (dialect, respond(error, dialect.error(error, request, E::PERMISSION)))
    }
}

/// What a request of this method draws on.
fn draw(method: &Method) -> Draw {
    if matches!(*method, Method::GET | Method::HEAD) { Draw::Read } else { Draw::Write }
}

fn respond(error: &ApiError, rendered: RenderedError) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::Text(rendered.body.into()));
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
        ApiError::TooMany(excess) => {
            headers.insert(RETRY_AFTER, HeaderValue::from(excess.retry_after()));
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

/// Tells a key with limits what it has left.
fn show_standing(headers: &mut HeaderMap, standing: &Standing) {
    insert(headers, "x-ratelimit-limit", &standing.limit.to_string());
    insert(headers, "x-ratelimit-remaining", &standing.remaining.to_string());
    insert(headers, "x-ratelimit-reset", &standing.reset.to_string());
}

fn show_cost(headers: &mut HeaderMap, meters: &Meters) {
    let Cost { reads, read_units, writes, write_units } = meters.catalog.cost();
    insert(headers, "x-consumed-read-units", &read_units.to_string());
    insert(headers, "x-queries", &reads.to_string());
    if writes > 0 {
        insert(headers, "x-consumed-write-units", &write_units.to_string());
        insert(headers, "x-writes", &writes.to_string());
    }
    let counter = meters.counter.cost();
    if counter.reads + counter.writes > 0 {
        insert(headers, "x-counter-read-units", &counter.read_units.to_string());
        insert(headers, "x-counter-write-units", &counter.write_units.to_string());
    }
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

/// A time in milliseconds, to the microsecond: more digits would only be noise.
fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

/// Writes the log line of a request. It contains the names of parameters, never their values.
fn write_log(
    request: &ApiRequest,
    log: &RequestLog,
    meters: &Meters,
    (status, level): (StatusCode, Level),
    cold: bool,
    millis: f64,
    (cause, limits_unchecked): (Option<&str>, Option<&str>),
) {
    let (catalog, counter) = (meters.catalog.cost(), meters.counter.cost());
    let status = status.as_u16();
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
                queries = catalog.reads,
                read_units = catalog.read_units,
                key_read_units = meters.key.cost().read_units,
                counter_read_units = counter.read_units,
                counter_write_units = counter.write_units,
                limits_unchecked,
                writes = catalog.writes,
                write_units = catalog.write_units,
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

#[cfg(test)]
mod tests;
