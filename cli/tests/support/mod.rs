//! The `catalog` binary as a separate process, and a running catalog.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

/// The tool, in a folder of its own, knowing nothing of this machine.
pub(crate) fn catalog(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_catalog"));
    command.args(arguments).current_dir(folder).env_clear().env("HOME", folder);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

pub(crate) fn run(folder: &Path, arguments: &[&str]) -> Output {
    catalog(folder, arguments).output().expect("run")
}

pub(crate) fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

pub(crate) fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

/// Standard error without its first line, which says where the catalog is.
pub(crate) fn told(output: &Output) -> String {
    let told = err(output);
    let (place, rest) = told.split_once('\n').expect("a line");
    assert!(place.starts_with("Using the catalog at http://127.0.0.1:"), "{place}");
    rest.to_owned()
}

/// The last line, which must be JSON.
pub(crate) fn last_json(output: &Output) -> Value {
    let text = out(output);
    serde_json::from_str(text.lines().last().unwrap_or_default())
        .unwrap_or_else(|error| panic!("{error}: {text}\n{}", err(output)))
}

/// A running `catalog serve`, killed when dropped.
pub(crate) struct Serve {
    pub(crate) child: Child,
    pub(crate) url: String,
    pub(crate) dynamodb_url: String,
}

impl Serve {
    pub(crate) fn start(folder: &Path, more: &[&str]) -> Self {
        let ready = folder.join("ready.json");
        // A catalog that was killed leaves its file behind until the next one starts.
        let _ = fs::remove_file(&ready);
        let ready_text = ready.to_string_lossy().into_owned();
        let arguments = [&["serve", "--port", "0", "--ready-file", &ready_text], more].concat();
        let mut command = catalog(folder, &arguments);
        let appended = |name: &str| {
            let file = fs::File::options().create(true).append(true).open(folder.join(name));
            file.expect("a file")
        };
        command.stdout(appended("serve.out")).stderr(appended("serve.log"));
        let child = command.spawn().expect("start");
        let mut serve = Self { child, url: String::new(), dynamodb_url: String::new() };
        let deadline = Instant::now() + Duration::from_mins(1);
        while Instant::now() < deadline {
            if let Ok(text) = fs::read_to_string(&ready) {
                let told: Value = serde_json::from_str(&text).expect("whole JSON");
                told["url"].as_str().expect("url").clone_into(&mut serve.url);
                let dynamodb_url = told["dynamodbUrl"].as_str().expect("dynamodbUrl");
                dynamodb_url.clone_into(&mut serve.dynamodb_url);
                return serve;
            }
            assert!(serve.child.try_wait().expect("state").is_none(), "serve ended");
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("serve is not ready");
    }

    /// Asks it to end as `kill` does, and waits until it has.
    pub(crate) fn terminate(mut self) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().expect("kill").success());
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().expect("state") {
                assert!(status.success(), "{status}");
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("serve does not end");
    }

    pub(crate) fn get(&self, key: &str, path: &str) -> (u16, Value) {
        self.get_by(&format!("x-api-key: {key}"), path)
    }

    /// The body of a reply that must be 200; the key is sent as a bearer token.
    pub(crate) fn get_with_bearer(&self, key: &str, path: &str) -> Value {
        let (status, body) = self.get_by(&format!("authorization: Bearer {key}"), path);
        assert_eq!(status, 200, "{body}");
        body
    }

    fn get_by(&self, header: &str, path: &str) -> (u16, Value) {
        let address = self.url.strip_prefix("http://").expect("plain HTTP");
        let mut socket = TcpStream::connect(address).expect("connection");
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: x\r\n{header}\r\nconnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).expect("sent");
        let mut reply = String::new();
        socket.read_to_string(&mut reply).expect("answer");
        let (head, body) = reply.split_once("\r\n\r\n").expect("a whole head");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("status");
        (status, serde_json::from_str(body).expect("JSON"))
    }

    /// The head, in lower case, of the reply to a browser's `GET`.
    pub(crate) fn head_for_browser(&self, path: &str) -> String {
        let address = self.url.strip_prefix("http://").expect("plain HTTP");
        let mut socket = TcpStream::connect(address).expect("connection");
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: x\r\naccept: text/html\r\nconnection: close\r\n\r\n"
        );
        socket.write_all(request.as_bytes()).expect("sent");
        let mut reply = String::new();
        socket.read_to_string(&mut reply).expect("answer");
        reply.split("\r\n\r\n").next().unwrap_or_default().to_ascii_lowercase()
    }

    pub(crate) fn count(&self, key: &str) -> usize {
        let (status, body) = self.get(key, "/product-offerings?limit=1000&includeArchived=true");
        assert_eq!(status, 200, "{body}");
        body["items"].as_array().expect("items").len()
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn offering(id: &str) -> String {
    json!({
        "kind": "offering", "productOfferingId": id, "name": id, "customerType": "CONSUMER",
        "price": {"currency": "USD", "priceType": "ONE_TIME", "grossPrice": 1},
        "product": {"productId": "p", "type": "LICENSE"},
    })
    .to_string()
}
