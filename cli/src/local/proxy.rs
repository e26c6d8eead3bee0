//! A proxy before the engine that enforces the limits of partitions, and answers as late as DynamoDB does.

use std::{
    error::Error,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse as _, Response},
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;
use serverless_catalog::lock::lock;

use super::{Admission, LOCALHOST, Partitions, Server, Tally};
use crate::error::CliError;

/// A running proxy; it stops when dropped.
#[derive(Debug)]
pub struct ThrottlingProxy {
    server: Server,
    state: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    engine: String,
    client: Client<HttpConnector, Body>,
    partitions: Mutex<Partitions>,
    started: Instant,
    delay: Duration,
}

impl ThrottlingProxy {
    /// Starts a proxy to an engine on a free port; each answer takes at least `delay`.
    pub async fn start(
        engine: &str,
        partitions: Partitions,
        delay: Duration,
    ) -> Result<Self, CliError> {
        let state = Arc::new(Shared {
            engine: engine.to_owned(),
            client: Client::builder(TokioExecutor::new()).build_http(),
            partitions: Mutex::new(partitions),
            started: Instant::now(),
            delay,
        });
        let router = Router::new().fallback(answer).with_state(state.clone());
        let serve = async move |listener| {
            let _ = axum::serve(listener, router).await;
        };
        Ok(Self { server: Server::start(LOCALHOST, serve).await?, state })
    }

    #[must_use]
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// What became of all requests so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        lock(&self.state.partitions).tally()
    }
}

async fn answer(State(state): State<Arc<Shared>>, request: Request) -> Response {
    let due = tokio::time::Instant::now() + state.delay;
    let response = state.forward(request).await;
    tokio::time::sleep_until(due).await;
    response.unwrap_or_else(|error| {
        (StatusCode::BAD_GATEWAY, format!("the engine did not answer: {error}")).into_response()
    })
}

impl Shared {
    async fn forward(&self, request: Request) -> Result<Response, Box<dyn Error + Send + Sync>> {
        let (mut parts, body) = request.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await?;
        let target = parts.headers.get("x-amz-target").and_then(|target| target.to_str().ok());
        let operation = target.and_then(|target| target.rsplit('.').next()).unwrap_or_default();
        let admission = lock(&self.partitions).admit(
            operation,
            serde_json::from_slice(&body)?,
            self.started.elapsed(),
        );
        let (request, forwarded) = match admission {
            Admission::Forward(request, forwarded) => (request, forwarded),
            Admission::Throttled(error) => return Ok(json(StatusCode::BAD_REQUEST, &error)),
        };
        parts.uri = format!("{}/", self.engine).parse()?;
        // The body may have changed.
        parts.headers.remove("content-length");
        let request = Request::from_parts(parts, Body::from(serde_json::to_vec(&request)?));
        let reply = self.client.request(request).await?;
        let status = reply.status();
        let body: Bytes = axum::body::to_bytes(Body::new(reply.into_body()), usize::MAX).await?;
        let mut reply: Value = serde_json::from_slice(&body)?;
        let now = self.started.elapsed();
        lock(&self.partitions).settle(forwarded, status.as_u16(), &mut reply, now);
        Ok(json(status, &reply))
    }
}

fn json(status: StatusCode, body: &Value) -> Response {
    (status, [(CONTENT_TYPE, "application/x-amz-json-1.0")], body.to_string()).into_response()
}
