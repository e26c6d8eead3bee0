//! A proxy in front of the engine that decides of every request what becomes of it.

use std::sync::Arc;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is answered by the engine.
    Pass,
    /// Its connection is reset, and the engine never sees it.
    Lost,
    /// The engine does it, and the connection is reset before the answer.
    Unseen,
    /// It is throttled.
    Throttled,
}

/// Starts a proxy to an engine. `decide` is given each request's operation, such as `PutItem`, and
/// the request whole.
pub(crate) async fn proxy(
    engine: &str,
    decide: impl Fn(&str, &str) -> Fate + Send + Sync + 'static,
) -> String {
    let engine = engine.strip_prefix("http://").expect("plain HTTP").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
    let url = format!("http://{}", listener.local_addr().expect("address"));
    let decide = Arc::new(decide);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (engine, decide) = (engine.clone(), decide.clone());
            tokio::spawn(async move { serve(socket, &engine, &*decide).await });
        }
    });
    url
}

async fn serve(mut client: TcpStream, engine: &str, decide: &(impl Fn(&str, &str) -> Fate + Sync)) {
    let Ok(mut upstream) = TcpStream::connect(engine).await else { return };
    while let Some(request) = message(&mut client).await {
        let head = String::from_utf8_lossy(&request).into_owned();
        let operation = head
            .lines()
            .find(|line| line.to_lowercase().starts_with("x-amz-target:"))
            .and_then(|line| line.rsplit('.').next())
            .unwrap_or_default()
            .trim();
        let fate = decide(operation, &head);
        if fate == Fate::Throttled {
            let body = r#"{"__type":"com.amazonaws.dynamodb.v20120810#ThrottlingException","message":"slow"}"#;
            let reply = format!(
                "HTTP/1.1 400 X\r\ncontent-type: application/x-amz-json-1.0\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            if client.write_all(reply.as_bytes()).await.is_err() {
                return;
            }
            continue;
        }
        if fate == Fate::Lost || upstream.write_all(&request).await.is_err() {
            return;
        }
        let Some(reply) = message(&mut upstream).await else { return };
        if fate == Fate::Unseen || client.write_all(&reply).await.is_err() {
            return;
        }
    }
}

/// A whole HTTP message with its `Content-Length`.
pub(crate) async fn message(socket: &mut TcpStream) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length.map_or(Some(0), |length| length.trim().parse().ok())?;
            if bytes.len() >= end + 4 + length {
                return Some(bytes);
            }
        }
        let mut part = vec![0; 65_536];
        match socket.read(&mut part).await {
            Ok(size @ 1..) => bytes.extend_from_slice(&part[..size]),
            _ => return None,
        }
    }
}
