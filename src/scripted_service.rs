//! For tests: a service that answers the requests of an SDK's client with replies that are written beforehand. There is
//! no network.

use std::{
    collections::{HashMap, VecDeque},
    fmt, io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_dynamodb::config::{
    Credentials, Region, SharedCredentialsProvider,
    http::{HttpRequest, HttpResponse},
    retry::RetryConfig,
};
use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use aws_smithy_runtime_api::client::{
    http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn},
    result::ConnectorError,
};
use bytes::Bytes;
use http_body::{Body, Frame};

use crate::lock::lock;

/// A reply of the service.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Answer {
        status: u16,
        headers: Vec<(&'static str, String)>,
        frames: VecDeque<Bytes>,
    },
    /// The connection is reset.
    Reset,
    /// There is none.
    Never,
}

impl Reply {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self::in_frames(status, [body])
    }

    /// A reply whose body comes in these frames.
    pub(crate) fn in_frames(
        status: u16,
        frames: impl IntoIterator<Item = impl Into<Vec<u8>>>,
    ) -> Self {
        let frames = frames.into_iter().map(|frame| frame.into().into()).collect();
        Self::Answer { status, headers: Vec::new(), frames }
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        if let Self::Answer { headers, .. } = &mut self {
            headers.push((name, value.into()));
        }
        self
    }
}

/// A request as the service got it.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// Method, path and query.
    pub(crate) line: String,
    headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

/// What a service answers, in this order, and what it was asked.
pub(crate) struct ScriptedService {
    replies: Mutex<VecDeque<Reply>>,
    asked: Mutex<Vec<Asked>>,
}

impl ScriptedService {
    pub(crate) fn new(replies: impl IntoIterator<Item = Reply>) -> Arc<Self> {
        let replies = Mutex::new(replies.into_iter().collect());
        Arc::new(Self { replies, asked: Mutex::default() })
    }

    /// The requests so far. Each reply must have been given.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        let left = lock(&self.replies).clone();
        assert!(left.is_empty(), "nobody asked for {left:?}");
        lock(&self.asked).clone()
    }

    /// Method, path and query of the requests so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| asked.line).collect()
    }

    /// What clients of this service are made of. They try everything once.
    pub(crate) fn config(self: &Arc<Self>) -> SdkConfig {
        let connector = SharedHttpConnector::new(Connector(self.clone()));
        let credentials = Credentials::new("key", "secret", None, None, "service");
        SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(http_client_fn(move |_, _| connector.clone()))
            .region(Region::new("eu-west-1"))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .retry_config(RetryConfig::disabled())
            .endpoint_url("http://service.invalid")
            .build()
    }

    async fn answer(&self, mut request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let body = ByteStream::new(request.take_body()).collect().await.expect("a body");
        let uri = request.uri().trim_start_matches("http://service.invalid");
        let headers = request.headers().iter();
        let asked = Asked {
            line: format!("{} {uri}", request.method()),
            headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            body: body.to_vec(),
        };
        let reply = lock(&self.replies).pop_front();
        let reply = reply.unwrap_or_else(|| panic!("no reply is written to {}", asked.line));
        lock(&self.asked).push(asked);
        match reply {
            Reply::Never => std::future::pending().await,
            Reply::Reset => {
                let reset = io::Error::new(io::ErrorKind::ConnectionReset, "the reset");
                Err(ConnectorError::io(reset.into()))
            }
            Reply::Answer { status, headers, frames } => {
                let status = status.try_into().expect("a status");
                let mut response =
                    HttpResponse::new(status, SdkBody::from_body_1_x(Frames(frames)));
                for (name, value) in headers {
                    response.headers_mut().insert(name, value);
                }
                Ok(response)
            }
        }
    }
}

/// A body on its way.
struct Frames(VecDeque<Bytes>);

impl Body for Frames {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Poll::Ready(self.0.pop_front().map(|frame| Ok(Frame::data(frame))))
    }
}

#[derive(Clone)]
struct Connector(Arc<ScriptedService>);

impl fmt::Debug for Connector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Connector")
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let service = self.0.clone();
        HttpConnectorFuture::new(async move { service.answer(request).await })
    }
}
