//! Wiring of a Lambda function: reads its settings from the environment, builds the service that Lambda runs.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use aws_lambda_events::{event::dynamodb::TimeWindowEvent, sqs::SqsEvent};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use lambda_http::{
    Error, LambdaEvent, Request, RequestExt as _, Service,
    http::{HeaderName, HeaderValue, header::HOST},
    request::LambdaRequest,
    service_fn,
};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    cursor::Cursors,
    http::{Authenticator, Endpoint, GatewayResponse, HttpAdapter},
    objects::{Bucket, Objects},
    queue::{ExportCatalog, ImportCatalog, MessageQueue, SqsQueue},
    store::{
        ClientError, Connection, Store, TableNames, lean_client, lean_events_client,
        lean_s3_client, lean_sqs_client,
    },
    streams::{EventBus, RecordChanges},
    telemetry, xray,
};

/// How long an execution environment caches keys and exchange rates: so long may a revoked key still be accepted.
const CACHE: Duration = Duration::from_mins(1);

#[derive(Debug)]
pub struct Settings {
    pub store: Store,
    /// How long a key's record or an exchange rate is cached.
    pub cache_for: Duration,
    /// Whether replies report what they consumed.
    pub show_cost: bool,
    /// The percentage of requests that are logged, of those that succeed within a second.
    pub log_percent: u8,
}

#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("the environment variable {0} is missing")]
    Missing(&'static str),
    #[error("the environment variable {0} is wrong: {1}")]
    Wrong(&'static str, String),
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl Settings {
    /// Reads a function's environment, as `template.yaml` sets it.
    ///
    /// # Errors
    /// [`SettingsError`] when a table's name is missing or the client cannot be built.
    pub fn from_environment() -> Result<Self, SettingsError> {
        let client = lean_client(&connection("AWS_ENDPOINT_URL_DYNAMODB"))?;
        let log_percent = match optional("REQUEST_LOG_PERCENT") {
            None => 100,
            Some(text) => text.parse().ok().filter(|percent| *percent <= 100).ok_or_else(|| {
                SettingsError::Wrong("REQUEST_LOG_PERCENT", format!("{text} is not in 0 to 100"))
            })?,
        };
        let store = Store::new(client, TableNames::read(required)?);
        Ok(Self { store, cache_for: CACHE, show_cost: false, log_percent })
    }
}

/// The cursor secrets of a function that issues cursors: `CURSOR_SECRET` and, during a rotation,
/// `CURSOR_SECRET_PREVIOUS`.
///
/// # Errors
/// [`SettingsError`] when the secret is missing or shorter than 32 characters.
pub fn cursors_from_environment() -> Result<Arc<Cursors>, SettingsError> {
    let current = required("CURSOR_SECRET")?;
    let previous = optional("CURSOR_SECRET_PREVIOUS");
    let cursors = Cursors::new(&current, previous.as_deref()).map_err(|error| {
        SettingsError::Wrong("CURSOR_SECRET or CURSOR_SECRET_PREVIOUS", error.to_string())
    })?;
    Ok(Arc::new(cursors))
}

/// How to reach a service: region and certificates from the environment variables of the AWS SDKs, the
/// endpoint of the one service from the variable named here.
fn connection(endpoint: &'static str) -> Connection {
    Connection {
        region: optional("AWS_REGION"),
        endpoint: optional(endpoint).or_else(|| optional("AWS_ENDPOINT_URL")),
        ca_bundle: optional("AWS_CA_BUNDLE").map(PathBuf::from),
    }
}

fn optional(name: &'static str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn required(name: &'static str) -> Result<String, SettingsError> {
    optional(name).ok_or(SettingsError::Missing(name))
}

/// Runs a function: initializes, opens the connection to the database, then handles events.
///
/// # Errors
/// When a setting is missing or the runtime API cannot be reached.
pub async fn run<E: Endpoint>(
    wire: impl FnOnce(&Settings) -> Result<E, SettingsError>,
) -> Result<(), Error> {
    telemetry::init();
    let settings = Settings::from_environment()?;
    let adapter = adapter(&settings, wire(&settings)?);
    // Boxed, because the type of the unboxed future exceeds the compiler's limits.
    Box::pin(adapter.warm_up()).await;
    lambda_runtime::run(service(adapter)).await
}

/// How long before its deadline a run stops beginning new work.
const RUN_RESERVE: Duration = Duration::from_secs(15);

/// The bucket of a function that reads or writes objects.
///
/// # Errors
/// [`SettingsError`] when its name is missing or the client cannot be built.
pub fn bucket_from_environment() -> Result<Bucket, SettingsError> {
    let client = lean_s3_client(&connection("AWS_ENDPOINT_URL_S3"))?;
    Ok(Bucket { objects: Objects::new(client), name: required("CATALOG_BUCKET")? })
}

/// The queue of exports.
///
/// # Errors
/// [`SettingsError`] when its URL is missing or the client cannot be built.
pub fn export_queue_from_environment() -> Result<Arc<dyn MessageQueue>, SettingsError> {
    let client = lean_sqs_client(&connection("AWS_ENDPOINT_URL_SQS"))?;
    Ok(Arc::new(SqsQueue::new(client, required("EXPORT_QUEUE_URL")?)))
}

/// Runs the function `export-catalog`.
///
/// # Errors
/// When a setting is missing or the runtime API cannot be reached.
pub async fn run_export() -> Result<(), Error> {
    telemetry::init();
    let settings = Settings::from_environment()?;
    let (bucket, queue) = (bucket_from_environment()?, export_queue_from_environment()?);
    let export = ExportCatalog::new(settings.store, bucket, queue);
    let export = &export;
    serve(|event: SqsEvent, until| async move { Ok(export.handle(event, until).await) }).await
}

/// Runs the function `import-catalog`.
///
/// # Errors
/// When a setting is missing or the runtime API cannot be reached.
pub async fn run_import() -> Result<(), Error> {
    telemetry::init();
    let settings = Settings::from_environment()?;
    let mut import = ImportCatalog::new(settings.store, bucket_from_environment()?);
    if let Some(url) = optional("IMPORT_QUEUE_URL") {
        let client = lean_sqs_client(&connection("AWS_ENDPOINT_URL_SQS"))?;
        import = import.with_queue(Arc::new(SqsQueue::new(client, url)));
    }
    let import = &import;
    serve(|event: SqsEvent, until| async move { Ok(import.handle(event, until).await) }).await
}

/// Runs the function `record-changes`.
///
/// # Errors
/// When a setting is missing or the runtime API cannot be reached.
pub async fn run_changes() -> Result<(), Error> {
    telemetry::init();
    let settings = Settings::from_environment()?;
    let mut changes = RecordChanges::new(settings.store);
    if let Some(name) = optional("CHANGES_BUS") {
        let client = lean_events_client(&connection("AWS_ENDPOINT_URL_EVENTBRIDGE"))?;
        let bus = Arc::new(EventBus::new(client, name));
        changes = changes.with_events(bus, cursors_from_environment()?);
    }
    serve(|event: TimeWindowEvent, _| async { Ok(changes.handle(event).await?) }).await
}

/// Handles events until the runtime ends, each within the trace of its invocation, and given when its run must stop.
async fn serve<E, T, F>(handle: impl Fn(E, tokio::time::Instant) -> F) -> Result<(), Error>
where
    E: DeserializeOwned,
    T: Serialize,
    F: Future<Output = Result<T, Error>>,
{
    lambda_runtime::run(service_fn(|LambdaEvent { payload, context }: LambdaEvent<E>| {
        let work = Box::pin(handle(payload, run_end(context.deadline())));
        async move { xray::traced(context.xray_trace_id.as_deref(), work).await }
    }))
    .await
}

/// Lambda's longest timeout.
pub const LONGEST_RUN: Duration = Duration::from_mins(15);

/// When a run of an import or an export must stop, given the deadline of the invocation. Lambda starts no invocation after its
/// deadline. So a deadline in the past means that there is none: local runtimes send a constant.
#[must_use]
pub fn run_end(deadline: SystemTime) -> tokio::time::Instant {
    let left = deadline.duration_since(SystemTime::now()).unwrap_or(LONGEST_RUN).min(LONGEST_RUN);
    tokio::time::Instant::now() + left.saturating_sub(RUN_RESERVE)
}

/// Wraps an endpoint in the HTTP adapter.
#[must_use]
pub fn adapter<E: Endpoint>(settings: &Settings, endpoint: E) -> Arc<HttpAdapter<E>> {
    let (store, keys) = (settings.store.clone(), Authenticator::new(settings.cache_for));
    let adapter = HttpAdapter::new(endpoint, store, keys, settings.show_cost);
    Arc::new(adapter.with_log_percent(settings.log_percent))
}

/// The service of a function: API Gateway event in, API Gateway response out. Lambda and `catalog serve` run
/// this same service.
pub fn service<E: Endpoint>(
    adapter: Arc<HttpAdapter<E>>,
) -> impl Service<LambdaEvent<LambdaRequest>, Response: Serialize + Send, Error = Error, Future: Send>
+ Clone
+ Send
+ 'static {
    service_fn(move |mut event: LambdaEvent<LambdaRequest>| {
        let adapter = adapter.clone();
        make_convertible(&mut event.payload);
        // Boxed, because the type of the unboxed future exceeds the compiler's limits.
        Box::pin(async move {
            let request = Request::from(event.payload).with_lambda_context(event.context);
            Ok::<_, Error>(GatewayResponse::from(adapter.handle(request).await))
        })
    })
}

/// The characters to percent-encode in a query.
const QUERY: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// The characters to percent-encode in a path.
const PATH: &AsciiSet = &QUERY.add(b'?');

/// Makes an event safe to convert to a request. The Lambda adapter panics on a path, query or host that no
/// URI may have, and on a body that claims to be base64 and is not. API Gateway passes on some of these:
/// paths, for one, arrive percent-decoded.
fn make_convertible(event: &mut LambdaRequest) {
    let LambdaRequest::ApiGatewayV2(request) = event else { return };
    if request.is_base64_encoded {
        let decoded = STANDARD.decode(request.body.as_deref().unwrap_or_default());
        match decoded.map(String::from_utf8) {
            Ok(Ok(text)) => (request.body, request.is_base64_encoded) = (Some(text), false),
            // It is not text: the adapter decodes it.
            Ok(Err(_)) => {}
            // The body stays as it is. It is not JSON, and the endpoint reports that.
            Err(_) => request.is_base64_encoded = false,
        }
    }
    if let Some(path) = &mut request.raw_path {
        let slash = if path.starts_with('/') { "" } else { "/" };
        *path = format!("{slash}{}", utf8_percent_encode(path, PATH));
    }
    if let Some(query) = &mut request.raw_query_string {
        *query = utf8_percent_encode(query, QUERY).to_string();
    }
    // They are used only to build a URI that nothing reads, and some hosts and schemes would make it invalid.
    request.headers.insert(HOST, HeaderValue::from_static("localhost"));
    request.headers.remove(HeaderName::from_static("x-forwarded-proto"));
    request.request_context.domain_name = None;
}

#[cfg(test)]
mod tests {
    use lambda_http::aws_lambda_events::apigw::ApiGatewayV2httpRequest;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_run_stops_fifteen_seconds_before_its_deadline() {
        let ends_after = |deadline| run_end(deadline) - tokio::time::Instant::now();
        let now = SystemTime::now();
        let left = ends_after(now + Duration::from_mins(5));
        assert!(left <= Duration::from_secs(285), "{left:?}");
        assert!(left > Duration::from_secs(280), "{left:?}");
        assert_eq!(ends_after(now + Duration::from_secs(15)), Duration::ZERO, "it begins nothing");
        // None at all, or none that Lambda could have set.
        for deadline in [SystemTime::UNIX_EPOCH, now + Duration::from_hours(1)] {
            assert_eq!(ends_after(deadline), Duration::from_secs(14 * 60 + 45));
        }
    }
    /// An event of API Gateway, changed.
    fn event(change: impl FnOnce(&mut ApiGatewayV2httpRequest)) -> ApiGatewayV2httpRequest {
        let event = include_str!("../events/list-offerings.json");
        let mut event = serde_json::from_str(event).expect("an event");
        change(&mut event);
        event
    }

    /// The same event as it is converted to a request.
    fn convertible(change: impl FnOnce(&mut ApiGatewayV2httpRequest)) -> ApiGatewayV2httpRequest {
        let mut request = LambdaRequest::ApiGatewayV2(event(change));
        make_convertible(&mut request);
        let LambdaRequest::ApiGatewayV2(event) = request else { panic!("{request:?}") };
        event
    }

    #[test]
    fn paths_and_queries_are_encoded_where_no_uri_may_have_them_as_they_are() {
        for (path, expected) in [
            ("/product-offerings", "/product-offerings"),
            ("product-offerings", "/product-offerings"),
            ("", "/"),
            ("/a b?#{}|\\^`<\">%C3é", "/a%20b%3F%23%7B%7D%7C%5C%5E%60%3C%22%3E%C3%C3%A9"),
        ] {
            let event = convertible(|event| event.raw_path = Some(path.to_owned()));
            assert_eq!(event.raw_path.as_deref(), Some(expected));
        }
        for (query, expected) in [
            ("a=b&c=%20+?/", "a=b&c=%20+?/"),
            ("q=\"<{é}> |^`\\ #", "q=%22%3C%7B%C3%A9%7D%3E%20%7C%5E%60%5C%20%23"),
        ] {
            let event = convertible(|event| event.raw_query_string = Some(query.to_owned()));
            assert_eq!(event.raw_query_string.as_deref(), Some(expected));
        }
        let event = convertible(|event| (event.raw_path, event.raw_query_string) = (None, None));
        assert_eq!((event.raw_path, event.raw_query_string), (None, None));
    }

    #[test]
    fn what_the_client_says_of_host_and_scheme_is_left_out() {
        let before = event(|_| ());
        assert!(before.headers.contains_key("x-forwarded-proto"));
        assert!(before.request_context.domain_name.is_some());
        let event = convertible(|event| {
            event.headers.insert(HOST, HeaderValue::from_static("a b<>:x"));
        });
        let hosts: Vec<_> = event.headers.get_all(HOST).iter().collect();
        assert_eq!(hosts, ["localhost"]);
        assert!(!event.headers.contains_key("x-forwarded-proto"));
        assert_eq!(event.request_context.domain_name, None);
        assert_eq!(event.headers.len(), before.headers.len() - 1);
    }

    #[test]
    fn a_body_that_is_text_is_decoded_and_one_that_is_not_base64_stays_as_it_is() {
        for (body, is_encoded, expected) in [
            (Some("{}"), false, (Some("{}"), false)),
            (Some("e30="), false, (Some("e30="), false)),
            (Some("e30="), true, (Some("{}"), false)),
            (None, true, (Some(""), false)),
            // Bytes that are no text: they are decoded when the event is converted.
            (Some("/w=="), true, (Some("/w=="), true)),
            (Some("{}"), true, (Some("{}"), false)),
        ] {
            let event = convertible(|event| {
                event.body = body.map(ToOwned::to_owned);
                event.is_base64_encoded = is_encoded;
            });
            assert_eq!((event.body.as_deref(), event.is_base64_encoded), expected, "{body:?}");
        }
    }
}
