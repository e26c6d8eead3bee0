//! HTTP without a network: requests of an SDK's client, answered in this process.

use std::{
    fmt, io, mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use aws_sdk_dynamodb::config::{
    Credentials, SharedHttpClient,
    http::{HttpRequest, HttpResponse},
};
use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use aws_smithy_runtime_api::client::{
    http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn},
    result::ConnectorError,
};
use bytes::Bytes;
use http_body::{Body, Frame};
use percent_encoding::percent_decode_str;

use super::faults::{FaultKind, Faults, RequestLog};

/// A simulated AWS service: DynamoDB or S3. Delays are the faults' (see [`answer`]), not its own.
pub(super) trait Service: Send + Sync + 'static {
    fn log(&self) -> &RequestLog;

    /// The operation that is asked for.
    fn operation<'r>(&self, request: &'r Request) -> &'r str;

    /// What [`Faults::decide`] is given of a request: the body for DynamoDB, the path for S3.
    fn about<'r>(&self, request: &'r Request) -> &'r [u8];

    fn answer(&self, request: &Request) -> Reply;

    /// Answers a batch, and leaves half of its keys or writes unprocessed. Any other request is answered in full.
    fn answer_in_part(&self, request: &Request) -> Reply {
        self.answer(request)
    }

    fn throttled(&self) -> Reply;

    fn unavailable(&self) -> Reply;
}

/// A request, read whole.
pub(super) struct Request {
    pub method: String,
    /// Decoded.
    pub path: String,
    pub query: String,
    pub body: Bytes,
    head: HttpRequest,
}

impl Request {
    async fn read(mut head: HttpRequest) -> Self {
        let body = ByteStream::new(head.take_body()).collect().await.expect("the request's body");
        let uri: lambda_http::http::Uri = head.uri().parse().expect("the request's URI");
        Self {
            method: head.method().to_owned(),
            path: decoded(uri.path()),
            query: uri.query().unwrap_or_default().to_owned(),
            body: body.into_bytes(),
            head,
        }
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.headers().get(name)
    }

    pub(super) fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.head.headers().iter()
    }
}

/// A part of a URI, percent-decoded.
pub(super) fn decoded(part: &str) -> String {
    percent_decode_str(part).decode_utf8().expect("UTF-8").into_owned()
}

/// A service's reply.
pub(super) struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

impl Reply {
    pub(super) fn new(status: u16, body: impl Into<Bytes>) -> Self {
        Self { status, headers: Vec::new(), body: body.into() }
    }

    pub(super) fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The response as a client gets it. With `cut`, a body that is longer breaks off with an error after so many
    /// bytes.
    fn into_response(self, cut: Option<usize>) -> HttpResponse {
        let cut = cut.filter(|cut| *cut < self.body.len());
        let content = self.body.slice(..cut.unwrap_or(self.body.len()));
        let body = SdkBody::from_body_1_x(Frames { content, breaks_off: cut.is_some() });
        let status = self.status.try_into().expect("a status");
        let mut response = HttpResponse::new(status, body);
        response.headers_mut().insert("content-length", self.body.len().to_string());
        for (name, value) in self.headers {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// The most bytes of a body in one frame.
const MAX_FRAME: usize = 8 * 1024;

/// A body on its way.
struct Frames {
    content: Bytes,
    breaks_off: bool,
}

impl Body for Frames {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Poll::Ready(if self.content.is_empty() {
            mem::take(&mut self.breaks_off).then(|| Err(reset()))
        } else {
            let size = self.content.len().min(MAX_FRAME);
            Some(Ok(Frame::data(self.content.split_to(size))))
        })
    }
}

fn reset() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the simulation reset the connection")
}

/// What an SDK's client sends its requests through to reach a service.
pub(super) fn http_client(
    service: &Arc<impl Service>,
    faults: impl Faults + 'static,
) -> SharedHttpClient {
    let connector = Connector { service: service.clone(), faults: Arc::new(faults) };
    let connector = SharedHttpConnector::new(connector);
    http_client_fn(move |_, _| connector.clone())
}

struct Connector<S, F> {
    service: Arc<S>,
    faults: Arc<F>,
}

impl<S, F> fmt::Debug for Connector<S, F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Connector").finish_non_exhaustive()
    }
}

impl<S: Service, F: Faults + 'static> HttpConnector for Connector<S, F> {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (service, faults) = (self.service.clone(), self.faults.clone());
        HttpConnectorFuture::new(async move { answer(&*service, &*faults, request).await })
    }
}

async fn answer(
    service: &impl Service,
    faults: &impl Faults,
    request: HttpRequest,
) -> Result<HttpResponse, ConnectorError> {
    let request = Request::read(request).await;
    let operation = service.operation(&request);
    let fate = faults.decide(operation, service.about(&request));
    service.log().push(operation, fate);
    wait(fate.before).await;
    let reply = match fate.kind {
        FaultKind::Pass | FaultKind::Unseen | FaultKind::Cut(_) => Some(service.answer(&request)),
        FaultKind::Unprocessed => Some(service.answer_in_part(&request)),
        FaultKind::Throttled => Some(service.throttled()),
        FaultKind::Unavailable => Some(service.unavailable()),
        FaultKind::Lost => None,
    };
    wait(fate.after).await;
    match (reply, fate.kind) {
        (None, _) | (_, FaultKind::Unseen) => Err(ConnectorError::io(reset().into())),
        (Some(reply), FaultKind::Cut(bytes)) => Ok(reply.into_response(Some(bytes))),
        (Some(reply), _) => Ok(reply.into_response(None)),
    }
}

/// Waits. Zero is skipped, because a timer would round it up to a millisecond.
async fn wait(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

/// Credentials to sign requests with; nobody verifies the signatures.
pub(super) fn credentials() -> Credentials {
    Credentials::new("simulation", "simulation", None, None, "simulation")
}
