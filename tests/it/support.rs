//! A running catalog, and the few words tests are written in.

use std::{
    fmt::Write as _,
    sync::{Arc, Mutex},
};

use catalog_cli::{
    local::{JobServices, Stack, StackOptions, Storage},
    template::Template,
};
use jiff::Timestamp;
use lambda_http::http::HeaderMap;
use serde_json::{Value, json};
use serverless_catalog::{
    access::{ApiKey, KeyPrefix, KeyRecord, Permission},
    account::AccountId,
    imports::{Counts, GeneratedIds, Importer, LineError, Mode, OrderBy, Ordering},
    objects::{Bucket, Objects},
    order::Origin,
    queue::SqsQueue,
    source::{GROUP_LINES, Line},
    store::{Connection, Store, lean_s3_client, lean_sqs_client},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// A catalog of its own for one test.
pub(crate) struct Catalog {
    pub stack: Stack,
}

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub bytes: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("ASCII"))
    }

    pub(crate) fn read_units(&self) -> f64 {
        self.header("x-consumed-read-units").parse().expect("read units")
    }

    pub(crate) fn write_units(&self) -> f64 {
        self.header("x-consumed-write-units").parse().expect("write units")
    }

    pub(crate) fn writes(&self) -> u32 {
        self.header("x-writes").parse().expect("writes")
    }

    pub(crate) fn queries(&self) -> u32 {
        self.header("x-queries").parse().expect("queries")
    }

    /// The ids of the offerings on a page.
    pub(crate) fn ids(&self) -> Vec<String> {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.bytes));
        let body = self.json();
        let items = body["items"].as_array().expect("items").iter();
        items.map(|item| item["productOfferingId"].as_str().expect("id").to_owned()).collect()
    }

    pub(crate) fn next_cursor(&self) -> Option<String> {
        self.json()["pagination"]["nextCursor"].as_str().map(ToOwned::to_owned)
    }

    /// The fields complained about.
    pub(crate) fn fields(&self) -> Vec<String> {
        let body = self.json();
        let errors = body["errors"].as_array().cloned().unwrap_or_default();
        errors.iter().map(|error| error["field"].as_str().expect("field").to_owned()).collect()
    }
}

impl Catalog {
    pub(crate) async fn start() -> Self {
        Self::start_with(Template::built_in().expect("template")).await
    }

    pub(crate) async fn start_with(template: Template) -> Self {
        let options = StackOptions {
            template,
            cursor_secret: "the cursor secret of all the tests".to_owned(),
            ..StackOptions::built_in("test", Storage::Memory).expect("template")
        };
        let stack = Stack::start(options).await.expect("stack");
        Self { stack }
    }

    pub(crate) fn url(&self) -> String {
        self.stack.addresses().url
    }

    /// A key of an account with every permission.
    pub(crate) async fn key(&self, account: &str) -> String {
        self.key_with(account, |_| ()).await
    }

    /// A key made different.
    pub(crate) async fn key_with(
        &self,
        account: &str,
        change: impl FnOnce(&mut KeyRecord),
    ) -> String {
        let account = AccountId::parse(account).expect("account");
        let mut record = KeyRecord::new(account, Permission::ALL.iter().copied());
        change(&mut record);
        let key = ApiKey::generate(&KeyPrefix::default()).expect("random");
        self.stack.store.create_key(&key.hash(), &record).await.expect("key stored");
        key.reveal().to_owned()
    }

    /// Imports records; all of them must be taken.
    pub(crate) async fn import(&self, account: &str, records: &[Value]) -> Counts {
        let (counts, refused) = self.try_import(account, records).await;
        assert!(refused.is_empty(), "{refused:?}");
        counts
    }

    pub(crate) async fn try_import(
        &self,
        account: &str,
        records: &[Value],
    ) -> (Counts, Vec<LineError>) {
        let lines: Vec<String> = records.iter().map(Value::to_string).collect();
        self.import_lines(account, &lines, false).await
    }

    /// Imports lines as they are.
    pub(crate) async fn import_lines(
        &self,
        account: &str,
        lines: &[String],
        dry_run: bool,
    ) -> (Counts, Vec<LineError>) {
        let account = AccountId::parse(account).expect("account");
        let mut importer = importer(&self.stack.store, &account, dry_run);
        let lines: Vec<Line> = (1..)
            .zip(lines)
            .map(|(number, line)| (number, Ok(line.clone().into_bytes())))
            .collect();
        let mut refused = Vec::new();
        for group in lines.chunks(GROUP_LINES) {
            refused.extend(importer.import_group(group, &[]).await.expect("import"));
        }
        assert!(importer.take_changes().is_empty(), "changes are shown only if they are asked for");
        (importer.counts(), refused)
    }

    pub(crate) async fn get(&self, key: &str, path: &str) -> Answer {
        self.send(self.request("GET", path).header("X-Api-Key", key)).await
    }

    /// A read in a dialect of bearer keys.
    pub(crate) async fn read(&self, key: &str, path: &str) -> Answer {
        self.send(self.request("GET", path).header("Authorization", format!("Bearer {key}"))).await
    }

    /// A bulk upsert of products.
    pub(crate) async fn upsert(&self, key: &str, rows: &[Value]) -> Answer {
        self.post(key, &json!({ "products": rows }).to_string()).await
    }

    /// A bulk upsert with this very body.
    pub(crate) async fn post(&self, key: &str, body: &str) -> Answer {
        let request = self
            .request("POST", "/api/v1/products")
            .header("Authorization", format!("Bearer {key}"))
            .header("Content-Type", "application/json")
            .body(body.as_bytes().to_vec());
        self.send(request).await
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> Request {
        Request::new(method, &self.url(), path)
    }

    pub(crate) async fn send(&self, request: Request) -> Answer {
        request.send().await
    }

    /// Follows cursors to the end and returns every page.
    pub(crate) async fn pages(&self, key: &str, query: &str, limits: &[u32]) -> Vec<Answer> {
        let mut pages: Vec<Answer> = Vec::new();
        let mut cursor = String::new();
        loop {
            assert!(pages.len() < 5_000, "the list does not end");
            let limit = limits[pages.len() % limits.len()];
            let path = format!("/product-offerings?{query}&limit={limit}{cursor}");
            let page = self.get(key, &path).await;
            assert!(page.ids().len() <= limit as usize);
            let next = page.next_cursor();
            pages.push(page);
            match next {
                Some(token) => cursor = format!("&cursor={token}"),
                None => return pages,
            }
        }
    }

    /// All ids of a list, sorted.
    pub(crate) async fn all_ids(&self, key: &str, query: &str) -> Vec<String> {
        let pages = self.pages(key, query, &[1_000]).await;
        let mut ids: Vec<String> = pages.iter().flat_map(Answer::ids).collect();
        ids.sort();
        ids
    }
}

/// A request as its bytes: what goes over the wire is what a test wrote.
pub(crate) struct Request {
    address: String,
    head: String,
    body: Vec<u8>,
}

impl Request {
    pub(crate) fn new(method: &str, url: &str, path: &str) -> Self {
        let address = url.strip_prefix("http://").expect("plain HTTP").to_owned();
        let head = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
        Self { address, head, body: Vec::new() }
    }

    pub(crate) fn header(mut self, name: &str, value: impl AsRef<str>) -> Self {
        let _ = write!(self.head, "{name}: {}\r\n", value.as_ref());
        self
    }

    pub(crate) fn body(mut self, body: Vec<u8>) -> Self {
        self.body = body;
        self
    }

    pub(crate) async fn send(self) -> Answer {
        let mut socket = TcpStream::connect(&self.address).await.expect("connection");
        let length = format!("content-length: {}\r\n\r\n", self.body.len());
        let request = [self.head.as_bytes(), length.as_bytes(), &self.body].concat();
        socket.write_all(&request).await.expect("sent");
        let mut reply = Vec::new();
        socket.read_to_end(&mut reply).await.expect("answer");
        let end = reply.windows(4).position(|four| four == b"\r\n\r\n").expect("a whole head");
        let head = String::from_utf8(reply[..end].to_vec()).expect("ASCII");
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).expect("status");
        let headers = lines
            .filter_map(|line| {
                let (name, value) = line.split_once(": ")?;
                Some((name.parse().ok()?, value.parse().ok()?))
            })
            .collect();
        let status = status.parse().expect("status");
        Answer { status, headers, bytes: reply[end + 4..].to_vec() }
    }
}

/// What the endpoints of imports and exports use besides the tables, where no test calls them.
pub(crate) fn no_jobs() -> JobServices {
    let nowhere = Connection::local("http://127.0.0.1:9");
    let objects = Objects::new(lean_s3_client(&nowhere).expect("client"));
    let queue = SqsQueue::new(lean_sqs_client(&nowhere).expect("client"), String::new());
    let bucket = Bucket { objects, name: "none".to_owned() };
    JobServices { bucket, export_queue: Arc::new(queue) }
}

/// An import whose records come after all that were imported before.
pub(crate) fn importer<'a>(
    store: &'a Store,
    account: &'a AccountId,
    dry_run: bool,
) -> Importer<'a, Store> {
    static LATEST: Mutex<i64> = Mutex::new(0);
    let millis = {
        let mut latest = LATEST.lock().expect("lock");
        *latest = Timestamp::now().as_millisecond().max(*latest + 1);
        *latest
    };
    let time = Timestamp::from_millisecond(millis).expect("a time");
    let name = format!("test {millis}");
    let ordering = Ordering {
        origin: Origin::new(time, &name),
        order_by: OrderBy::Record,
        snapshot: None,
        ids: GeneratedIds { seed: name.clone(), time, run: name },
    };
    let mode = if dry_run { Mode::DryRun } else { Mode::Write };
    Importer::new(store, account, ordering, mode)
}

/// A small offering record; `change` is merged into it, a level deep.
pub(crate) fn offering(id: &str, change: Value) -> Value {
    let mut record = json!({
        "kind": "offering",
        "productOfferingId": id,
        "name": format!("Offering {id}"),
        "customerType": "CONSUMER",
        "price": {"currency": "USD", "priceType": "ONE_TIME", "grossPrice": 10},
        "product": {"productId": format!("product-{id}"), "type": "SUBSCRIPTION"},
    });
    merge(&mut record, change);
    record
}

fn merge(into: &mut Value, change: Value) {
    match (into, change) {
        (Value::Object(into), Value::Object(change)) => {
            for (name, value) in change {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (into, change) => *into = change,
    }
}

/// An object with the members of another put over its own.
pub(crate) fn merge_into(object: &Value, members: &Value) -> Value {
    let mut merged = object.clone();
    merge(&mut merged, members.clone());
    merged
}
