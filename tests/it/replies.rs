//! What every endpoint has in common: methods, paths, conditional requests, compression, names.

use std::time::Duration;

use serde_json::{Value, json};
use serverless_catalog::access::Limits;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    limits::scene,
    support::{Catalog, offering},
};

async fn with_offerings(count: u32) -> (Catalog, String) {
    let catalog = Catalog::start().await;
    let records: Vec<_> = (0..count).map(|n| offering(&format!("o{n}"), json!({}))).collect();
    catalog.import("ACME", &records).await;
    let key = catalog.key("ACME").await;
    (catalog, key)
}

#[tokio::test]
async fn an_unchanged_answer_is_a_304_and_a_changed_one_is_not() {
    let (catalog, key) = with_offerings(3).await;
    for path in ["/product-offerings", "/product-offerings?limit=2", "/product-offerings/o1"] {
        let first = catalog.get(&key, path).await;
        let etag = first.header("etag").to_owned();
        let again =
            catalog.request("GET", path).header("X-Api-Key", &key).header("If-None-Match", &etag);
        let again = catalog.send(again).await;
        assert_eq!((again.status, again.bytes.len()), (304, 0), "{path}");
        assert_eq!(again.header("etag"), etag);
        catalog
            .import("ACME", &[offering("o1", json!({"name": format!("Changed for {path}")}))])
            .await;
        let changed =
            catalog.request("GET", path).header("X-Api-Key", &key).header("If-None-Match", &etag);
        assert_eq!(catalog.send(changed).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn a_large_answer_is_compressed_for_those_who_take_it_and_says_the_same() {
    let (catalog, key) = with_offerings(30).await;
    let plain = catalog.get(&key, "/product-offerings").await;
    let request = catalog.request("GET", "/product-offerings").header("X-Api-Key", &key);
    let coded = catalog.send(request.header("Accept-Encoding", "br, gzip")).await;
    assert_eq!((plain.header("content-encoding"), coded.header("content-encoding")), ("", "gzip"));
    assert_ne!(plain.header("etag"), coded.header("etag"));
    assert!(coded.bytes.len() * 4 < plain.bytes.len());
    let mut unpacked = Vec::new();
    let mut decoder = flate2::read::GzDecoder::new(coded.bytes.as_slice());
    std::io::Read::read_to_end(&mut decoder, &mut unpacked).expect("gzip");
    assert_eq!(unpacked, plain.bytes);
}

#[tokio::test]
async fn head_answers_as_get_does_without_a_body() {
    let (catalog, key) = with_offerings(2).await;
    for path in ["/product-offerings", "/product-offerings/o1", "/product-offerings/none"] {
        let get = catalog.get(&key, path).await;
        let head = catalog.send(catalog.request("HEAD", path).header("X-Api-Key", &key)).await;
        assert_eq!((head.status, head.bytes.len()), (get.status, 0), "{path}");
        assert_eq!(head.header("etag"), get.header("etag"));
        assert_eq!(head.header("content-type"), get.header("content-type"));
        assert_eq!(head.header("content-length"), get.bytes.len().to_string());
    }
}

#[tokio::test]
async fn wrong_methods_and_unknown_paths_are_told_apart_with_or_without_a_key() {
    let (catalog, key) = with_offerings(1).await;
    for path in ["/product-offerings", "/product-offerings/o0"] {
        for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
            for key in [key.as_str(), "none"] {
                let answer =
                    catalog.send(catalog.request(method, path).header("X-Api-Key", key)).await;
                assert_eq!(
                    (answer.status, answer.header("allow")),
                    (405, "GET, HEAD"),
                    "{method} {path}"
                );
                assert_eq!(answer.header("content-type"), "application/problem+json");
            }
        }
    }
    for path in
        ["/", "/product-offering", "/product-offerings/", "/product-offerings/a/b", "/%FF", "//x"]
    {
        let answer = catalog.get(&key, path).await;
        assert_eq!((answer.status, answer.json()["status"].as_u64()), (404, Some(404)), "{path}");
    }
}

#[tokio::test]
async fn every_answer_has_a_name_of_its_own() {
    let (catalog, key) = with_offerings(1).await;
    let mut names = std::collections::BTreeSet::new();
    for path in
        ["/product-offerings", "/product-offerings", "/nowhere", "/product-offerings?limit=x"]
    {
        let answer = catalog.get(&key, path).await;
        let name = answer.header("x-request-id").to_owned();
        assert!(name.starts_with("req_") && name.len() > 10, "{name}");
        assert!(names.insert(name));
    }
}

#[tokio::test]
async fn metadata_full_of_tabs_does_not_pass_the_size_lambda_allows() {
    let catalog = Catalog::start().await;
    let account = "ACME".parse().expect("account");
    let mut importer = crate::support::importer(&catalog.stack.store, &account, false);
    let lines: Vec<serverless_catalog::source::Line> = (0..16)
        .map(|n| {
            let line = offering(&format!("o{n:02}"), json!({"metadata": {}})).to_string();
            let metadata = format!("\"metadata\":{{{}}}", "\t".repeat(370_000));
            (n, Ok(line.replace("\"metadata\":{}", &metadata).into_bytes()))
        })
        .collect();
    assert!(importer.import_group(&lines, &[]).await.expect("import").is_empty());
    let key = catalog.key("ACME").await;
    let pages = catalog.pages(&key, "", &[1_000]).await;
    assert_eq!(pages.iter().map(|page| page.ids().len()).sum::<usize>(), 16);
}

#[tokio::test]
async fn a_page_near_the_size_lambda_allows_arrives_whole() {
    let catalog = Catalog::start().await;
    let text = "\"quoted\" ".repeat(30_000);
    let records: Vec<_> =
        (0..20).map(|n| offering(&format!("o{n:02}"), json!({"richContent": text}))).collect();
    catalog.import("ACME", &records).await;
    let key = catalog.key("ACME").await;
    let pages = catalog.pages(&key, "", &[1_000]).await;
    assert!(pages.len() > 1);
    assert_eq!(pages.iter().map(|page| page.ids().len()).sum::<usize>(), 20);
    assert!(pages.iter().all(|page| page.bytes.len() <= 5_500_000));
    assert!(pages[0].bytes.len() > 3_000_000, "a page is filled: {}", pages[0].bytes.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_that_stops_answers_the_request_it_has_begun_and_takes_no_other() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    let url = catalog.url();
    let address = url.strip_prefix("http://").expect("plain HTTP");
    let body = json!({"products": [{"name": "n"}]}).to_string();
    let head = format!(
        "POST /api/v1/products HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\nexpect: 100-continue\r\n\r\n",
        body.len()
    );
    let mut socket = TcpStream::connect(address).await.expect("connection");
    socket.write_all(head.as_bytes()).await.expect("sent");
    let mut told = [0; 25];
    socket.read_exact(&mut told).await.expect("it reads the body");
    assert_eq!(told, *b"HTTP/1.1 100 Continue\r\n\r\n");
    let stop = tokio::spawn(catalog.stack.stop());
    tokio::time::sleep(Duration::from_millis(200)).await;
    socket.write_all(body.as_bytes()).await.expect("sent");
    let mut reply = String::new();
    socket.read_to_string(&mut reply).await.expect("answer");
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    stop.await.expect("stopped");
    assert!(TcpStream::connect(address).await.is_err());
}

#[test]
fn the_function_itself_answers_head_without_a_body_and_with_the_length_of_one() {
    scene::run("2026-11-28T12:00:00Z", async |scene| {
        let key = scene.key(Limits::default()).await;
        let instance = scene.instance();
        let ask = async |method: &str| {
            instance.send("list-products", method, "/api/v1/products", "", &key, None).await
        };
        let (get, head) = (ask("GET").await, ask("HEAD").await);
        assert_eq!((&get.body, &head.body), (&json!({"products": []}), &Value::Null));
        assert_eq!((get.header("content-length"), head.header("content-length")), ("", "15"));
        assert_eq!((head.status, head.header("etag")), (get.status, get.header("etag")));
    });
}
