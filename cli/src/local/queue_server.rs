//! A stand-in for SQS over HTTP with one queue, that of exports, for functions that run in processes of their own
//! (`cargo lambda`, `sam local`): they send messages to it, and change the visibility of those they received.
//!
//! The protocol: "Making Query API requests using AWS JSON protocol in Amazon SQS" (SQS developer guide).

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
    routing::post,
};
use serde::Deserialize;
use serde_json::{Value, json};
use serverless_catalog::{
    cause::Cause,
    queue::{MessageQueue, QueueMessage},
    text::random_name,
};

use super::{LocalQueue, Server};
use crate::error::CliError;

/// A running server; it stops when dropped.
#[derive(Debug)]
pub struct QueueServer(Server);

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SendMessage {
    message_body: String,
    #[serde(default)]
    delay_seconds: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ChangeMessageVisibility {
    receipt_handle: String,
    visibility_timeout: u64,
}

impl QueueServer {
    /// Serves the queue of exports on a free port of this address.
    pub async fn start(listen: IpAddr, exports: Arc<LocalQueue>) -> Result<Self, CliError> {
        let app = Router::new().fallback(post(answer)).with_state(exports);
        let serve = async move |listener| {
            let _ = axum::serve(listener, app).await;
        };
        Server::start(listen, serve).await.map(Self)
    }

    /// The environment variables that tell a function about the queue.
    #[must_use]
    pub fn environment(&self) -> [(&'static str, String); 2] {
        let url = self.0.url();
        let queue = format!("{url}/000000000000/exports");
        [("AWS_ENDPOINT_URL_SQS", url), ("EXPORT_QUEUE_URL", queue)]
    }
}

async fn answer(
    State(queue): State<Arc<LocalQueue>>,
    headers: HeaderMap,
    request: Bytes,
) -> Response {
    // Not the extractor `Json`: it refuses the media type of these requests, application/x-amz-json-1.0.
    let request: Value = serde_json::from_slice(&request).unwrap_or_default();
    let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok());
    let done = match target.and_then(|target| target.rsplit('.').next()) {
        Some("SendMessage") => send(&queue, request).await,
        Some("ChangeMessageVisibility") => change_visibility(&queue, request).await,
        _ => Err("it knows SendMessage and ChangeMessageVisibility".into()),
    };
    match done {
        Ok(reply) => Json(reply).into_response(),
        Err(cause) => {
            let error = json!({ "__type": "InvalidParameterValue", "message": cause.to_string() });
            (StatusCode::BAD_REQUEST, Json(error)).into_response()
        }
    }
}

async fn send(queue: &LocalQueue, request: Value) -> Result<Value, Cause> {
    let SendMessage { message_body: body, delay_seconds } = serde_json::from_value(request)?;
    let delay = Duration::from_secs(delay_seconds);
    queue.send(QueueMessage { body, delay, ..QueueMessage::default() }).await?;
    Ok(json!({ "MessageId": random_name() }))
}

async fn change_visibility(queue: &LocalQueue, request: Value) -> Result<Value, Cause> {
    let request: ChangeMessageVisibility = serde_json::from_value(request)?;
    let delay = Duration::from_secs(request.visibility_timeout);
    queue.retry_after(request.receipt_handle, delay).await?;
    Ok(json!({}))
}

#[cfg(test)]
mod tests {
    use axum::{
        body::{Body, to_bytes},
        http::Request,
    };
    use hyper_util::{client::legacy::Client, rt::TokioExecutor};

    use super::*;
    use crate::local::LOCALHOST;

    #[tokio::test]
    async fn what_the_server_does_not_know_is_refused() {
        let queue = LocalQueue::open(None).expect("a queue");
        let server = QueueServer::start(LOCALHOST, queue).await.expect("a server");
        let call = async |operation: &str, request: &str| {
            let request = Request::post(format!("{}/", server.0.url()))
                .header("x-amz-target", format!("AmazonSQS.{operation}"))
                .body(Body::from(request.to_owned()))
                .expect("a request");
            let client = Client::builder(TokioExecutor::new()).build_http::<Body>();
            let reply = client.request(request).await.expect("a reply");
            let status = reply.status().as_u16();
            let body = to_bytes(Body::new(reply.into_body()), usize::MAX).await.expect("a body");
            (status, serde_json::from_slice::<Value>(&body).expect("JSON"))
        };
        for (operation, request, message) in [
            ("ReceiveMessage", "{}", "it knows SendMessage and ChangeMessageVisibility"),
            ("SendMessage", "{}", "missing field `MessageBody`"),
            (
                "ChangeMessageVisibility",
                r#"{"ReceiptHandle": "r"}"#,
                "missing field `VisibilityTimeout`",
            ),
        ] {
            let error = json!({ "__type": "InvalidParameterValue", "message": message });
            assert_eq!(call(operation, request).await, (400, error));
        }
        let (status, reply) = call("SendMessage", r#"{"MessageBody": "b"}"#).await;
        assert_eq!((status, reply["MessageId"].as_str().map(str::len)), (200, Some(32)));
    }
}
