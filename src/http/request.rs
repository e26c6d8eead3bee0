//! An API Gateway request as endpoints see it.

use std::{
    net::IpAddr,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use lambda_http::{
    Request, RequestExt as _,
    http::{HeaderMap, Method},
    request::RequestContext,
};
use percent_encoding::percent_decode_str;

/// Where there is no deadline to read, a request has as long as an HTTP API waits at most.
const LONGEST: Duration = Duration::from_secs(29);

/// Time kept back from the deadline to write the reply.
const RESERVE: Duration = Duration::from_millis(500);

/// A request without its transport.
#[derive(Debug)]
pub struct ApiRequest {
    /// Its name in logs, replies and support tickets.
    pub id: String,
    /// The route of the HTTP API that it took, for the log: `GET /product-offerings`.
    pub route: String,
    /// `GET`, `HEAD`, …
    pub method: Method,
    /// The path, still percent-encoded, without query.
    pub path: String,
    /// The raw query string.
    pub query: String,
    /// All headers.
    pub headers: HeaderMap,
    /// Where it comes from, as API Gateway saw it.
    pub source_ip: Option<IpAddr>,
    /// The X-Ray trace it belongs to.
    pub trace_id: Option<String>,
    /// When an answer must be on its way.
    pub deadline: Instant,
}

impl ApiRequest {
    /// Reads a request that the Lambda adapter made of an event.
    #[must_use]
    pub fn new(request: &Request) -> Self {
        let lambda = request.lambda_context_ref();
        let (mut route, mut source_ip) = (String::new(), None);
        let mut path = request.raw_http_path();
        if let Some(RequestContext::ApiGatewayV2(context)) = request.request_context_ref() {
            route.push_str(context.route_key.as_deref().unwrap_or_default());
            source_ip = context.http.source_ip.as_deref().and_then(|ip| ip.parse().ok());
            // A stage with a name is part of the path; `$default` is not.
            let stage = context.stage.as_deref().unwrap_or_default();
            let rest = path.strip_prefix('/').and_then(|path| path.strip_prefix(stage));
            path = rest.filter(|rest| !stage.is_empty() && rest.starts_with('/')).unwrap_or(path);
        }
        // The id of the invocation, which the platform's own log lines carry, too.
        let invocation = lambda.map(|context| context.request_id.as_str()).unwrap_or_default();
        let plain: String = invocation.chars().filter(char::is_ascii_alphanumeric).collect();
        Self {
            id: format!("req_{plain}"),
            route,
            method: request.method().clone(),
            path: path.to_owned(),
            query: request.uri().query().unwrap_or_default().to_owned(),
            headers: request.headers().clone(),
            source_ip,
            trace_id: lambda.and_then(|context| context.xray_trace_id.clone()),
            deadline: deadline(lambda.map_or(0, |context| context.deadline)),
        }
    }

    /// The path's segments, decoded; a segment that is no UTF-8 is empty.
    #[must_use]
    pub fn segments(&self) -> Vec<String> {
        let path = self.path.strip_prefix('/').unwrap_or(&self.path);
        let decode = |segment: &str| {
            percent_decode_str(segment).decode_utf8().unwrap_or_default().into_owned()
        };
        path.split('/').map(decode).collect()
    }
}

/// The moment by which an answer must be ready, from Lambda's deadline in Unix milliseconds.
fn deadline(unix_millis: u64) -> Instant {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let left = Duration::from_millis(unix_millis).saturating_sub(now);
    let left = if unix_millis == 0 { LONGEST } else { left.min(LONGEST) };
    Instant::now() + left.saturating_sub(RESERVE)
}
