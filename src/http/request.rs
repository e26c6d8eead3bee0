//! An API Gateway request as endpoints see it.

use std::{
    borrow::Cow,
    net::IpAddr,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use lambda_http::{
    Body, Request, RequestExt as _,
    aws_lambda_events::query_map::QueryMap,
    http::{HeaderMap, HeaderValue, Method, header::CONTENT_TYPE},
    request::RequestContext,
};
use percent_encoding::percent_decode_str;

/// How long an HTTP API waits at most. A request has this much time if its event has no deadline.
const LONGEST: Duration = Duration::from_secs(29);

/// The time reserved before the deadline for sending the reply.
const RESERVE: Duration = Duration::from_millis(500);

/// How long a page may go on reading; then it ends with what it has, and a cursor.
const PAGE_TIME: Duration = Duration::from_secs(20);

/// How long the last read of a page may take: one attempt that times out, and a second one.
const LAST_READ: Duration = Duration::from_secs(5);

/// A request, independent of its transport.
#[derive(Debug)]
pub struct ApiRequest {
    /// The id that logs, replies and support tickets use.
    pub id: String,
    /// The id of the invocation, as in the platform's own log lines.
    pub invocation: String,
    /// The route of the HTTP API that matched, for the log: `GET /product-offerings`.
    pub route: String,
    pub method: Method,
    /// The path, still percent-encoded, without the query.
    pub path: String,
    /// The path parameters that API Gateway extracted.
    path_parameters: QueryMap,
    /// The raw query string.
    pub query: String,
    pub headers: HeaderMap,
    /// The body, decoded if API Gateway sent it as base64.
    pub body: Body,
    /// The caller's address, as API Gateway saw it.
    pub source_ip: Option<IpAddr>,
    /// The header of its X-Ray trace.
    pub trace_id: Option<String>,
    /// When the answer must be ready.
    pub deadline: Instant,
}

impl ApiRequest {
    /// Converts a request that the Lambda adapter made from an event.
    #[must_use]
    pub fn new(request: Request) -> Self {
        let lambda = request.lambda_context_ref();
        let (mut route, mut source_ip, mut id) = (String::new(), None, None);
        if let Some(RequestContext::ApiGatewayV2(context)) = request.request_context_ref() {
            route.push_str(context.route_key.as_deref().unwrap_or_default());
            id = context.request_id.as_deref();
            source_ip = context.http.source_ip.as_deref().and_then(|ip| ip.parse().ok());
        }
        let invocation = lambda.map(|context| context.request_id.clone()).unwrap_or_default();
        // API Gateway's id, which is also in its access log; without a gateway, the id of the invocation.
        let id = id.filter(|id| !id.is_empty()).unwrap_or(&invocation);
        // Without the trailing `=` signs: the rest can be found in the access log unchanged.
        let is_plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let id = format!("req_{}", id.chars().filter(is_plain).collect::<String>());
        let trace_id = lambda.and_then(|context| context.xray_trace_id.clone());
        let deadline = deadline(lambda.map_or(0, |context| context.deadline));
        let path = request.raw_http_path().to_owned();
        let path_parameters = request.path_parameters();
        let (parts, body) = request.into_parts();
        Self {
            id,
            invocation,
            route,
            method: parts.method,
            path,
            path_parameters,
            query: parts.uri.query().unwrap_or_default().to_owned(),
            headers: parts.headers,
            body,
            source_ip,
            trace_id,
            deadline,
        }
    }

    /// What the request is sent to, whatever stage and base path its URL has.
    #[must_use]
    pub fn endpoint(&self) -> String {
        match self.route.as_str() {
            "" | "$default" => format!("{} {}", self.method, self.path),
            route => route.to_owned(),
        }
    }

    /// What two requests to an endpoint have in common if they are the same.
    #[must_use]
    pub fn content(&self) -> [&[u8]; 3] {
        let content_type = self.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
        [self.query.as_bytes(), content_type.unwrap_or_default(), &self.body]
    }

    /// The time after which a page must begin no further read: early enough for an answer, and at most 20 s
    /// from now.
    #[must_use]
    pub fn page_end(&self) -> Instant {
        let now = Instant::now();
        let left = self.deadline.saturating_duration_since(now).saturating_sub(LAST_READ);
        now + left.min(PAGE_TIME)
    }

    /// The values of the variables in a pattern (`/a/{b}` has one), if the request took that route.
    ///
    /// API Gateway has matched the route already, including stage and base path. The path itself is matched
    /// only if there is no route (a function URL, or the route `$default`).
    #[must_use]
    pub fn parameters(&self, pattern: &str) -> Option<Vec<String>> {
        let variable = |part: &str| Some(part.strip_prefix('{')?.strip_suffix('}')?.to_owned());
        if let Some((_, route)) = self.route.split_once(' ') {
            let names = pattern.split('/').filter_map(variable);
            let value = |name: String| Some(self.path_parameters.first(&name)?.to_owned());
            return (route == pattern).then(|| names.map(value).collect())?;
        }
        let decode = |part: &str| percent_decode_str(part).decode_utf8().ok().map(Cow::into_owned);
        let (mut wanted, mut given) = (pattern.split('/'), self.path.split('/'));
        let mut values = Vec::new();
        loop {
            match (wanted.next(), given.next()) {
                (None, None) => return Some(values),
                (Some(wanted), Some(given)) if variable(wanted).is_some() && !given.is_empty() => {
                    values.push(decode(given)?);
                }
                (Some(wanted), Some(given)) if wanted == given => {}
                _ => return None,
            }
        }
    }
}

/// The instant by which an answer must be ready, from Lambda's deadline in Unix milliseconds. Lambda starts
/// no invocation after its deadline. So a deadline in the past means that there is none: local runtimes send
/// a constant.
fn deadline(unix_millis: u64) -> Instant {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let left = match Duration::from_millis(unix_millis).saturating_sub(now) {
        Duration::ZERO => LONGEST,
        left => left.min(LONGEST),
    };
    // Of the clock by which the deadline is waited for.
    tokio::time::Instant::now().into_std() + left.saturating_sub(RESERVE)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_deadline_is_never_past_and_never_later_than_a_gateway_waits() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        let millis = |time: Duration| u64::try_from(time.as_millis()).expect("small");
        for (unix_millis, seconds) in [
            (0, 28.5),
            (600_000, 28.5),
            (millis(now + Duration::from_secs(10)), 9.5),
            (millis(now + Duration::from_hours(1)), 28.5),
            (u64::MAX, 28.5),
        ] {
            let left = deadline(unix_millis).duration_since(Instant::now()).as_secs_f64();
            assert!((left - seconds).abs() < 0.5, "{unix_millis}: {left}");
        }
    }

    /// A request that API Gateway passed on, changed.
    fn received(change: impl FnOnce(&mut Value)) -> ApiRequest {
        let mut event = json!({
            "version": "2.0",
            "routeKey": "GET /things/{thingId}",
            "rawPath": "/prod/things/a%2Fb",
            "rawQueryString": "x=1&y=%20",
            "headers": { "content-type": "text/plain" },
            "pathParameters": { "thingId": "a/b" },
            "requestContext": {
                "http": {
                    "method": "GET", "path": "/prod/things/a%2Fb", "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1",
                    "userAgent": "test",
                },
                "accountId": "1", "apiId": "a", "domainPrefix": "a", "requestId": "JKJaXmPLvHcESHA=",
                "routeKey": "GET /things/{thingId}", "stage": "prod", "time": "22/Nov/2026:10:30:00 +0000",
                "timeEpoch": 0,
            },
            "isBase64Encoded": false,
        });
        change(&mut event);
        ApiRequest::new(lambda_http::request::from_str(&event.to_string()).expect("an event"))
    }

    fn routed(route: &str, path: &str) -> ApiRequest {
        received(|event| {
            event["routeKey"] = route.into();
            event["requestContext"]["routeKey"] = route.into();
            event["rawPath"] = path.into();
            event["requestContext"]["http"]["path"] = path.into();
        })
    }

    #[test]
    fn a_request_is_what_the_gateway_says_of_it() {
        let request = received(|_| ());
        // Without the padding of the gateway's id.
        assert_eq!(
            (request.id.as_str(), request.route.as_str()),
            ("req_JKJaXmPLvHcESHA", "GET /things/{thingId}")
        );
        assert_eq!(
            (request.path.as_str(), request.query.as_str()),
            ("/prod/things/a%2Fb", "x=1&y=%20")
        );
        assert_eq!((request.method.as_str(), request.source_ip), ("GET", "192.0.2.1".parse().ok()));
        assert_eq!(request.trace_id, None);
        let content: [&[u8]; 3] = [b"x=1&y=%20", b"text/plain", b""];
        assert_eq!(request.content(), content);
        let other = received(|event| {
            event["requestContext"]["requestId"] = "a-b_c/d+e==".into();
            event["requestContext"]["http"]["sourceIp"] = "nowhere".into();
            event["headers"] = json!({});
            event["body"] = "\u{e9}".into();
        });
        assert_eq!((other.id.as_str(), other.source_ip), ("req_a-b_cde", None));
        let content: [&[u8]; 3] = [b"x=1&y=%20", b"", "\u{e9}".as_bytes()];
        assert_eq!(other.content(), content);
    }

    #[test]
    fn without_a_gateways_id_a_request_has_that_of_its_invocation() {
        let mut context = lambda_http::Context::default();
        context.request_id = "8476a536-e9f4-11e8-9739-2dfe598c3fcd".to_owned();
        context.xray_trace_id = Some("Root=1-5759e988-bd862e3fe1be46a994272793".to_owned());
        let request = lambda_http::Request::default().with_lambda_context(context);
        let request = ApiRequest::new(request);
        assert_eq!(request.id, "req_8476a536-e9f4-11e8-9739-2dfe598c3fcd");
        assert_eq!(request.invocation, "8476a536-e9f4-11e8-9739-2dfe598c3fcd");
        assert_eq!(request.trace_id.as_deref(), Some("Root=1-5759e988-bd862e3fe1be46a994272793"));
    }

    #[test]
    fn a_request_is_sent_to_its_route_or_else_to_its_path() {
        assert_eq!(received(|_| ()).endpoint(), "GET /things/{thingId}");
        assert_eq!(routed("$default", "/things/1").endpoint(), "GET /things/1");
        assert_eq!(routed("", "/things/1").endpoint(), "GET /things/1");
    }

    #[test]
    fn the_values_in_a_path_are_those_of_its_route_or_else_are_read_from_it() {
        let pattern = "/things/{thingId}";
        let values = |values: &[&str]| Some(values.iter().map(ToString::to_string).collect());
        assert_eq!(received(|_| ()).parameters(pattern), values(&["a/b"]));
        assert_eq!(received(|_| ()).parameters("/things"), None);
        assert_eq!(received(|_| ()).parameters("/things/{other}"), None);
        let without = received(|event| event["pathParameters"] = json!({}));
        assert_eq!(without.parameters(pattern), None);
        assert_eq!(routed("GET /things", "/things").parameters("/things"), values(&[]));
        for (path, expected) in [
            ("/things/a%2Fb", values(&["a/b"])),
            ("/things/%C3%A9", values(&["é"])),
            ("/things/", None),
            ("/things", None),
            ("/things/a/b", None),
            ("/other/a", None),
            ("/things/%FF", None),
            ("", None),
        ] {
            assert_eq!(routed("$default", path).parameters(pattern), expected, "{path}");
        }
        let two = routed("$default", "/a/1/b/2").parameters("/a/{one}/b/{two}");
        assert_eq!(two, values(&["1", "2"]));
    }

    #[test]
    fn a_page_begins_no_read_in_the_last_five_seconds_and_none_after_twenty() {
        let with_time = |seconds: u64| {
            let mut request = received(|_| ());
            request.deadline = Instant::now() + Duration::from_secs(seconds);
            request
        };
        let short = with_time(24);
        assert_eq!(short.page_end(), short.deadline.checked_sub(LAST_READ).expect("a time"));
        let before = Instant::now();
        let end = with_time(26).page_end();
        assert!(before + PAGE_TIME <= end && end <= Instant::now() + PAGE_TIME);
        let late = with_time(1).page_end();
        assert!(before <= late && late <= Instant::now());
    }
}
