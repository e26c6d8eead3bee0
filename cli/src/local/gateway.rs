//! A stand-in for an HTTP API of API Gateway: it takes the routes from the template, and converts requests to
//! events of payload format 2.0, and replies of functions to responses.
//!
//! Shapes and limits: "Working with AWS Lambda proxy integrations for HTTP APIs" and "Quotas for
//! configuring and running an HTTP API" in the API Gateway developer guide.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{ConnectInfo, Request, State},
    http::{
        HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
        header::{ACCEPT, HOST},
        request::Parts,
    },
    response::{IntoResponse as _, Redirect, Response},
    routing::any,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use lambda_http::Context;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::{Value, json};
use serverless_catalog::text::random_name;
use tokio::{sync::watch, task::JoinHandle};

use super::{Function, LOCALHOST, listener, url_of};
use crate::{api_docs::DOCS, error::CliError, template::Route};

/// The maximum size of request line and headers, in bytes.
const MAX_HEAD: usize = 10_240;

/// The maximum size of a function's event or reply, in bytes: 6 MB.
const MAX_PAYLOAD: usize = 6 * 1024 * 1024;

/// How long an HTTP API waits for a function.
const TIMEOUT: Duration = Duration::from_secs(29);

/// How long a stop waits for requests in flight.
const PATIENCE: Duration = Duration::from_secs(5);

/// A running HTTP API.
#[derive(Debug)]
pub struct Gateway {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    server: JoinHandle<()>,
}

struct Api {
    routes: Vec<(Route, Function)>,
}

impl Gateway {
    /// Serves these routes on a loopback port (0: any free one).
    pub async fn start(
        port: u16,
        routes: Vec<Route>,
        functions: &HashMap<&'static str, Function>,
    ) -> Result<Self, CliError> {
        let listen = SocketAddr::new(LOCALHOST, port);
        Self::start_with_routes(listen, routes, functions, Router::new()).await
    }

    /// Serves these routes, and others that API Gateway would not have (`beside`).
    pub async fn start_with_routes(
        listen: SocketAddr,
        routes: Vec<Route>,
        functions: &HashMap<&'static str, Function>,
        beside: Router,
    ) -> Result<Self, CliError> {
        let routes = routes
            .into_iter()
            .map(|route| match functions.get(route.function.as_str()) {
                Some(function) => Ok((route, function.clone())),
                None => {
                    Err(CliError::Template(format!("no function is called {}", route.function)))
                }
            })
            .collect::<Result<_, _>>()?;
        let (listener, address) = listener(listen).await?;
        let api = Router::new().route("/", any(home)).fallback(answer);
        let api = api.with_state(Arc::new(Api { routes }));
        let app = beside.merge(api);
        let app = app.into_make_service_with_connect_info::<SocketAddr>();
        let (stop, mut stopped) = watch::channel(false);
        let server = tokio::spawn(async move {
            let shutdown = async move {
                let _ = stopped.wait_for(|stop| *stop).await;
            };
            let _ = axum::serve(listener, app).with_graceful_shutdown(shutdown).await;
        });
        Ok(Self { address, stop, server })
    }

    #[must_use]
    pub fn url(&self) -> String {
        url_of(self.address)
    }

    /// Accepts no more requests, and waits a limited time for those in flight.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        let _ = tokio::time::timeout(PATIENCE, self.server).await;
    }
}

/// Redirects browsers to the documentation; other clients get the API's answer.
async fn home(api: State<Arc<Api>>, peer: ConnectInfo<SocketAddr>, request: Request) -> Response {
    let accepts = request.headers().get(ACCEPT).and_then(|accepts| accepts.to_str().ok());
    let is_browser = accepts.is_some_and(|types| types.contains("text/html") || types == "*/*");
    if is_browser && request.method() == Method::GET {
        return Redirect::temporary(DOCS).into_response();
    }
    answer(api, peer, request).await
}

async fn answer(
    State(api): State<Arc<Api>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    if head_bytes(&parts) > MAX_HEAD {
        return message(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "Request Header Fields Too Large",
        );
    }
    let Ok(body) = to_bytes(body, MAX_PAYLOAD).await else {
        return message(StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large");
    };
    let path = percent_decode_str(parts.uri.path()).decode_utf8_lossy().into_owned();
    let Some((route, function, path_parameters)) = api.find(parts.method.as_str(), &path) else {
        return message(StatusCode::NOT_FOUND, "Not Found");
    };
    let event = event(&parts, &body, peer, route, &path, &path_parameters).to_string();
    // The event has the body as a JSON string, in which each quote takes two bytes.
    if event.len() > MAX_PAYLOAD {
        return message(StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large");
    }
    let invocation = function.invoke(event, context(TIMEOUT));
    match tokio::time::timeout(TIMEOUT, invocation).await {
        Ok(Ok(reply)) if reply.len() <= MAX_PAYLOAD => {
            response(&reply).unwrap_or_else(internal_error)
        }
        Ok(Ok(_)) => internal_error("a reply over 6 MB"),
        Ok(Err(error)) => internal_error(&error),
        Err(_) => message(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable"),
    }
}

impl Api {
    /// The most specific route of a request. A path without variables takes precedence over one with
    /// variables, a method over `ANY`; `$default` comes last.
    fn find(
        &self,
        method: &str,
        path: &str,
    ) -> Option<(&Route, &Function, HashMap<String, String>)> {
        let candidates =
            self.routes.iter().filter(|(route, _)| route.method == "ANY" || route.method == method);
        candidates
            .filter_map(|(route, function)| {
                let (rank, parameters) = match &route.path {
                    None => (0, HashMap::new()),
                    Some(pattern) => {
                        let parameters = matches(pattern, path)?;
                        (if parameters.is_empty() { 4 } else { 2 }, parameters)
                    }
                };
                let rank = rank + u8::from(route.method == method);
                Some((rank, route, function, parameters))
            })
            .max_by_key(|(rank, ..)| *rank)
            .map(|(_, route, function, parameters)| (route, function, parameters))
    }
}

/// The values of a pattern's variables, if the path matches it.
fn matches(pattern: &str, path: &str) -> Option<HashMap<String, String>> {
    let mut parameters = HashMap::new();
    let (mut wanted, mut given) = (pattern.split('/'), path.split('/'));
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return Some(parameters),
            (Some(wanted), Some(given)) => {
                match wanted.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
                    Some(_) if given.is_empty() => return None,
                    Some(name) => {
                        parameters.insert(name.to_owned(), given.to_owned());
                    }
                    None if wanted == given => {}
                    None => return None,
                }
            }
            _ => return None,
        }
    }
}

/// Converts a request to an event.
fn event(
    parts: &Parts,
    body: &Bytes,
    peer: SocketAddr,
    route: &Route,
    path: &str,
    path_parameters: &HashMap<String, String>,
) -> Value {
    let route_key = match &route.path {
        Some(path) => format!("{} {path}", route.method),
        None => "$default".to_owned(),
    };
    let now = Timestamp::now();
    let host = text(parts.headers.get(HOST));
    let mut headers = serde_json::Map::new();
    for name in parts.headers.keys() {
        // Values of one name are joined by commas.
        let values: Vec<String> =
            parts.headers.get_all(name).iter().map(|value| text(Some(value))).collect();
        headers.insert(name.to_string(), values.join(",").into());
    }
    headers.insert("x-forwarded-for".to_owned(), peer.ip().to_string().into());
    headers.insert("x-forwarded-proto".to_owned(), "http".into());
    headers.insert("x-forwarded-port".to_owned(), peer.port().to_string().into());
    let query = parts.uri.query().unwrap_or_default();
    let body_text = std::str::from_utf8(body).ok();
    let mut event = json!({
        "version": "2.0",
        "routeKey": route_key,
        "rawPath": path,
        "rawQueryString": query,
        "headers": headers,
        "requestContext": {
            "accountId": "000000000000",
            "apiId": "local",
            "domainName": host,
            "domainPrefix": "local",
            "http": {
                "method": parts.method.as_str(),
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": peer.ip().to_string(),
                "userAgent": text(parts.headers.get("user-agent")),
            },
            "requestId": random_name(),
            "routeKey": route_key,
            "stage": "$default",
            "time": now.strftime("%d/%b/%Y:%H:%M:%S +0000").to_string(),
            "timeEpoch": now.as_millisecond(),
        },
        "isBase64Encoded": body_text.is_none(),
    });
    if !path_parameters.is_empty() {
        event["pathParameters"] = json!(path_parameters);
    }
    if !body.is_empty() {
        event["body"] = match body_text {
            Some(text) => text.into(),
            None => STANDARD.encode(body).into(),
        };
    }
    event
}

fn text(value: Option<&HeaderValue>) -> String {
    value.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).unwrap_or_default()
}

fn head_bytes(parts: &Parts) -> usize {
    let line = parts.method.as_str().len()
        + parts.uri.path_and_query().map_or(1, |path| path.as_str().len())
        + "  HTTP/1.1".len();
    let header = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len();
    line + parts.headers.iter().map(header).sum::<usize>()
}

/// The context of an invocation with this timeout.
pub(super) fn context(timeout: Duration) -> Context {
    let mut context = Context::default();
    context.request_id = random_name();
    let deadline = SystemTime::now() + timeout;
    let millis = deadline.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    context.deadline = u64::try_from(millis).unwrap_or(u64::MAX);
    context
}

/// A function's reply in payload format 2.0.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reply {
    status_code: u16,
    #[serde(default)]
    headers: HashMap<String, String>,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    is_base64_encoded: bool,
}

fn response(reply: &str) -> Result<Response, &'static str> {
    let reply: Reply = serde_json::from_str(reply).map_err(|_| "a reply of another shape")?;
    let body = reply.body.unwrap_or_default();
    let body = if reply.is_base64_encoded {
        STANDARD.decode(body).map_err(|_| "a reply that is no base64")?
    } else {
        body.into_bytes()
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() =
        StatusCode::from_u16(reply.status_code).map_err(|_| "a wrong status")?;
    *response.headers_mut() = reply
        .headers
        .iter()
        .filter_map(|(name, value)| Some((name.parse().ok()?, value.parse().ok()?)))
        .collect::<HeaderMap>();
    Ok(response)
}

/// API Gateway's answer when a function fails; the cause is logged for the operator.
fn internal_error(cause: &str) -> Response {
    tracing::error!(cause, "function error");
    message(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error")
}

fn message(status: StatusCode, text: &str) -> Response {
    let mut response = Response::new(Body::from(json!({ "message": text }).to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests;
