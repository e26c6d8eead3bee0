//! Requests as bytes on connections: no client library would send these.

use std::{fmt, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::requests::{Hostile, KEY};

/// Longer than any request may take.
const PATIENCE: Duration = Duration::from_secs(35);

pub(crate) struct Answer {
    pub status: u16,
    head: String,
    pub body: Vec<u8>,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = &self.body[..self.body.len().min(500)];
        write!(f, "{} {}", self.head.replace("\r\n", " | "), String::from_utf8_lossy(body))
    }
}

/// A client with one connection, which it keeps as long as the server does.
pub(crate) struct Client {
    address: String,
    socket: Option<TcpStream>,
    /// What was read after the last answer.
    rest: Vec<u8>,
}

impl Client {
    pub(crate) fn new(address: &str) -> Self {
        Self { address: address.to_owned(), socket: None, rest: Vec::new() }
    }

    /// Sends a request, and reads its answer.
    pub(crate) async fn send(&mut self, request: &Hostile) -> Result<Answer, String> {
        // A kept connection may have been closed meanwhile: the second one is new.
        let was_kept = self.socket.is_some();
        let first = self.attempt(request).await;
        if first.is_ok() || !was_kept || !request.is_complete {
            return first;
        }
        self.attempt(request).await
    }

    async fn attempt(&mut self, request: &Hostile) -> Result<Answer, String> {
        let answer = match timeout(PATIENCE, self.exchange(request)).await {
            Ok(answer) => answer,
            Err(_) => Err("no answer".to_owned()),
        };
        let is_kept = answer.as_ref().is_ok_and(|answer| {
            request.is_complete && !answer.head.to_ascii_lowercase().contains("connection: close")
        });
        if !is_kept {
            self.socket = None;
            self.rest.clear();
        }
        answer
    }

    async fn exchange(&mut self, request: &Hostile) -> Result<Answer, String> {
        let io = |error: std::io::Error| error.to_string();
        let mut socket = if let Some(socket) = self.socket.take() {
            socket
        } else {
            let socket = TcpStream::connect(&self.address).await.map_err(io)?;
            socket.set_nodelay(true).map_err(io)?;
            socket
        };
        // The server may answer, and close, before it has read all.
        let written = socket.write_all(&request.bytes).await;
        if !request.is_complete {
            let _ = socket.shutdown().await;
        }
        let answer = read(&mut socket, &mut self.rest, request.is_head).await;
        let answer = answer.map_err(|error| format!("{error}, after {written:?}"))?;
        self.socket = Some(socket);
        Ok(answer)
    }
}

/// Reads an answer whole; interim answers are skipped.
async fn read(
    socket: &mut TcpStream,
    rest: &mut Vec<u8>,
    is_head: bool,
) -> Result<Answer, std::io::Error> {
    loop {
        let end = loop {
            if let Some(end) = rest.windows(4).position(|four| four == b"\r\n\r\n") {
                break end;
            }
            fill(socket, rest).await?;
        };
        let head = String::from_utf8_lossy(&rest[..end]).into_owned();
        rest.drain(..end + 4);
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        if (100..200).contains(&status) {
            continue;
        }
        let header = |name: &str| {
            head.lines().filter_map(|line| line.split_once(": ")).find_map(|(given, value)| {
                given.eq_ignore_ascii_case(name).then(|| value.to_owned())
            })
        };
        let has_none = is_head || matches!(status, 204 | 304);
        let body = if has_none {
            Vec::new()
        } else if header("transfer-encoding").is_some() {
            chunks(socket, rest).await?
        } else {
            let length = header("content-length").and_then(|length| length.parse().ok());
            take(socket, rest, length.unwrap_or(0)).await?
        };
        return Ok(Answer { status, head, body });
    }
}

async fn fill(socket: &mut TcpStream, rest: &mut Vec<u8>) -> Result<(), std::io::Error> {
    if socket.read_buf(rest).await? == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

async fn take(
    socket: &mut TcpStream,
    rest: &mut Vec<u8>,
    length: usize,
) -> Result<Vec<u8>, std::io::Error> {
    while rest.len() < length {
        fill(socket, rest).await?;
    }
    Ok(rest.drain(..length).collect())
}

async fn chunks(socket: &mut TcpStream, rest: &mut Vec<u8>) -> Result<Vec<u8>, std::io::Error> {
    let mut body = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
                break end;
            }
            fill(socket, rest).await?;
        };
        let size: Vec<u8> = rest.drain(..end + 2).collect();
        let size = usize::from_str_radix(String::from_utf8_lossy(&size).trim(), 16);
        let size = size.map_err(|_| std::io::ErrorKind::InvalidData)?;
        let mut chunk = take(socket, rest, size + 2).await?;
        chunk.truncate(size);
        if size == 0 {
            return Ok(body);
        }
        body.extend(chunk);
    }
}

/// Sends a request in small pieces with pauses, and leaves somewhere: before the end, or without reading the answer.
pub(crate) async fn drip(address: &str, request: &Hostile, number: u64) {
    let Ok(mut socket) = TcpStream::connect(address).await else { return };
    let pieces = 2 + usize::try_from(number % 7).unwrap_or(0);
    let size = request.bytes.len() / pieces + 1;
    let sent = if number.is_multiple_of(2) { pieces } else { pieces / 2 };
    for piece in request.bytes.chunks(size).take(sent) {
        if socket.write_all(piece).await.is_err() {
            return;
        }
        sleep(Duration::from_millis(100)).await;
    }
    if number.is_multiple_of(3) {
        // A reader that takes a few bytes, and waits.
        let mut few = [0; 16];
        let _ = timeout(Duration::from_secs(1), socket.read(&mut few)).await;
        sleep(Duration::from_millis(500)).await;
    }
}

/// Cursors of every list that has them.
pub(crate) async fn cursors(address: &str) -> Vec<String> {
    let mut client = Client::new(address);
    let mut cursors = Vec::new();
    for path in
        ["/product-offerings?limit=1", "/api/v1/products?limit=1", "/catalog/v1/changes?limit=1"]
    {
        let answer = client.send(&Hostile::plain(path)).await.expect("an answer");
        assert_eq!(answer.status, 200, "with {KEY}: {answer}");
        let body: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
        let cursor = body["nextCursor"].as_str().or(body["pagination"]["nextCursor"].as_str());
        let cursor = cursor.or(body["next"].as_str());
        cursors.extend(cursor.map(ToOwned::to_owned));
    }
    assert!(cursors.len() >= 2, "{cursors:?}");
    cursors
}
