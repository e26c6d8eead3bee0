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

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::{
        error::ProvideErrorMetadata as _,
        types::{AttributeValue, ReturnConsumedCapacity},
    };
    use axum::body::to_bytes;
    use serde_json::json;
    use serverless_catalog::store::{Connection, lean_client};

    use super::*;
    use crate::{
        local::{Engine, PartitionLimits, Storage},
        template::Template,
    };

    const TEMPLATE: &str = "
Resources:
  T:
    Type: AWS::DynamoDB::Table
    Properties:
      TableName: things
      AttributeDefinitions: [{ AttributeName: name, AttributeType: S }]
      KeySchema: [{ AttributeName: name, KeyType: HASH }]
";

    /// Sends a request, and reads the reply.
    async fn call(url: &str, operation: &str, request: &Value) -> (u16, String, String) {
        let request = Request::post(url)
            .header("x-amz-target", format!("DynamoDB_20120810.{operation}"))
            .body(Body::from(request.to_string()))
            .expect("a request");
        let client = Client::builder(TokioExecutor::new()).build_http::<Body>();
        let reply = client.request(request).await.expect("a reply");
        let status = reply.status().as_u16();
        let media_type = reply.headers()[CONTENT_TYPE].to_str().expect("ASCII").to_owned();
        let body = to_bytes(Body::new(reply.into_body()), usize::MAX).await.expect("a body");
        (status, media_type, String::from_utf8(body.to_vec()).expect("UTF-8"))
    }

    #[tokio::test]
    async fn a_request_goes_to_the_engine_while_its_partition_has_units_left() {
        let engine = Engine::start(Storage::Memory, LOCALHOST).await.expect("an engine");
        let client = lean_client(&Connection::local(&engine.url())).expect("a client");
        let tables = Template::parse(TEMPLATE).expect("YAML").tables("").expect("tables");
        tables[0].create(&client, false).await.expect("a table");
        // A unit is refilled in seventeen minutes.
        let limits = PartitionLimits { write_units: 0.001, read_units: 1.0 };
        let partitions = Partitions::new(&tables, limits);
        let proxy = ThrottlingProxy::start(&engine.url(), partitions, Duration::ZERO).await;
        let proxy = proxy.expect("a proxy");
        let client = lean_client(&Connection::local(&proxy.url())).expect("a client");
        let name = AttributeValue::S("a".to_owned());
        let put = client.put_item().table_name("things").item("name", name.clone());
        let put = put.return_consumed_capacity(ReturnConsumedCapacity::Total);
        let reply = put.clone().send().await.expect("written");
        // As the model asks for it: of the table and of each index.
        let table = reply.consumed_capacity.and_then(|capacity| capacity.table);
        assert_eq!(table.and_then(|table| table.capacity_units), Some(1.0));
        let throttled = put.send().await.expect_err("throttled");
        assert_eq!(throttled.code(), Some("ThrottlingException"));
        let request = json!({ "TableName": "things", "Item": { "name": { "S": "a" } } });
        let (status, media_type, body) = call(&proxy.url(), "PutItem", &request).await;
        assert_eq!((status, media_type.as_str()), (400, "application/x-amz-json-1.0"));
        assert!(body.contains("\"TableWriteKeyRangeThroughputExceeded\""), "{body}");
        let Tally { requests, throttled, write_units } = proxy.tally();
        assert_eq!((requests, throttled), (3, 2));
        assert_eq!(write_units.into_values().collect::<Vec<_>>(), [1.0]);
        let get = client.get_item().table_name("things").key("name", name.clone());
        let item = get.send().await.expect("read").item.expect("an item");
        assert_eq!(item, [("name".to_owned(), name)].into());
    }

    #[tokio::test]
    async fn an_answer_takes_its_time_also_if_there_is_no_engine() {
        let partitions = Partitions::new(&[], PartitionLimits::default());
        let delay = Duration::from_millis(150);
        let proxy = ThrottlingProxy::start("http://127.0.0.1:1", partitions, delay).await;
        let started = Instant::now();
        let reply = call(&proxy.expect("a proxy").url(), "GetItem", &json!({})).await;
        assert!(started.elapsed() >= delay);
        let told = "the engine did not answer: client error (Connect)".to_owned();
        assert_eq!(reply, (502, "text/plain; charset=utf-8".to_owned(), told));
    }
}
