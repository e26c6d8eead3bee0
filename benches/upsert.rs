//! A bulk upsert of 1,000 rows against 1,000 requests of one row, over existing products, in one run.
//!
//! Twice: on the bare embedded engine, where CPU is all there is, and with the delay of a database
//! that answers in 4 ms, as DynamoDB does within a region.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark tells, and ends when it cannot"
)]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use catalog_cli::{
    local::{Gateway, Stack, StackOptions, Storage, functions, sample},
    template::Template,
};
use serde_json::{Value, json};
use serverless_catalog::{
    cursor::Cursors,
    lambda::Settings,
    store::{Connection, Store, TableNames, lean_client},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

const ROWS: usize = 1_000;
const ROUNDS: usize = 5;
const SECRET: &str = "the cursor secret of a benchmark, no other";

#[tokio::main]
async fn main() {
    // The benchmark runner passes flags that mean nothing here.
    let template = Template::built_in().expect("template");
    let options = StackOptions::built_in("bench", Storage::Memory);
    let stack = Stack::start(options.expect("template")).await.expect("stack");
    sample::load(&stack.store).await.expect("sample");
    let engine = stack.addresses().dynamodb_url;
    println!("{ROWS} existing products upserted; median of {ROUNDS} rounds");
    println!("{:<28} {:>14} {:>18} {:>8}", "", "one request", "one by one", "ratio");
    for (name, delay) in [("embedded engine", 0), ("the same, 4 ms away", 4)] {
        let url = delayed(&engine, Duration::from_millis(delay)).await;
        let client = lean_client(&Connection::local(&url)).expect("client");
        let store = Store::new(client, TableNames::with_prefix("bench"));
        let settings = Settings {
            store,
            cache_for: Duration::from_mins(1),
            show_cost: true,
            log_percent: 100,
        };
        let cursors = Arc::new(Cursors::new(SECRET, None).expect("secret"));
        let routes = template.routes().expect("routes");
        let gateway = Gateway::start(0, routes, &functions(&settings, &cursors, &stack.jobs))
            .await
            .expect("gateway");
        let mut connection = HttpConnection::open(&gateway.url()).await;
        let rows: Vec<Value> = (0..ROWS).map(row).collect();
        connection.upsert(&rows).await;
        let (mut whole, mut single) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let started = Instant::now();
            connection.upsert(&rows).await;
            whole.push(started.elapsed());
            let started = Instant::now();
            for row in &rows {
                connection.upsert(std::slice::from_ref(row)).await;
            }
            single.push(started.elapsed());
        }
        let (whole, single) = (median(whole), median(single));
        println!(
            "{name:<28} {:>11.1} ms {:>15.1} ms {:>7.1}x",
            whole.as_secs_f64() * 1e3,
            single.as_secs_f64() * 1e3,
            single.as_secs_f64() / whole.as_secs_f64()
        );
        gateway.stop().await;
    }
    stack.stop().await;
}

fn row(number: usize) -> Value {
    json!({
        "sku": format!("BENCH-{number:04}"), "name": format!("Product {number}"), "price": 19.99,
        "category": "Bench", "stockQty": number, "description": "A product of a benchmark",
    })
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// One HTTP connection, kept.
struct HttpConnection {
    socket: TcpStream,
    host: String,
}

impl HttpConnection {
    async fn open(url: &str) -> Self {
        let host = url.strip_prefix("http://").expect("plain HTTP").to_owned();
        let socket = TcpStream::connect(&host).await.expect("connection");
        socket.set_nodelay(true).expect("socket");
        Self { socket, host }
    }

    async fn upsert(&mut self, rows: &[Value]) {
        let body = json!({ "products": rows }).to_string();
        let head = format!(
            "POST /api/v1/products HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            self.host,
            sample::SAMPLES[0].key,
            body.len()
        );
        self.socket.write_all((head + &body).as_bytes()).await.expect("sent");
        let mut reply = Vec::new();
        loop {
            let mut part = vec![0; 65_536];
            let size = self.socket.read(&mut part).await.expect("answer");
            assert!(size > 0, "the connection was closed");
            reply.extend_from_slice(&part[..size]);
            let text = String::from_utf8_lossy(&reply);
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let head = head.to_lowercase();
            let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
            if body.len() >= length.and_then(|length| length.parse().ok()).expect("length") {
                assert!(head.starts_with("http/1.1 200"), "{text}");
                return;
            }
        }
    }
}

/// A proxy that hands on what it is sent after a delay.
async fn delayed(engine: &str, delay: Duration) -> String {
    if delay.is_zero() {
        return engine.to_owned();
    }
    let engine = engine.strip_prefix("http://").expect("plain HTTP").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
    let url = format!("http://{}", listener.local_addr().expect("address"));
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let Ok(upstream) = TcpStream::connect(&engine).await else { return };
            let _ = (client.set_nodelay(true), upstream.set_nodelay(true));
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_engine, mut to_engine) = upstream.into_split();
            tokio::spawn(async move {
                let mut part = vec![0; 65_536];
                while let Ok(size @ 1..) = from_client.read(&mut part).await {
                    tokio::time::sleep(delay).await;
                    if to_engine.write_all(&part[..size]).await.is_err() {
                        return;
                    }
                }
            });
            tokio::spawn(async move { tokio::io::copy(&mut from_engine, &mut to_client).await });
        }
    });
    url
}
