//! Hostile requests, each made from the seed and its number.

use std::fmt;

use fastrand::Rng;

/// The key of the sample account.
pub(crate) const KEY: &str = "cat_live_DemoKeyOfAcmeForLocalUseOnly0001";

pub(crate) struct Requests {
    pub seed: u64,
    /// Every path of the API, with its variables.
    pub paths: Vec<String>,
    /// Cursors that were issued.
    pub cursors: Vec<String>,
}

pub(crate) struct Hostile {
    number: u64,
    pub bytes: Vec<u8>,
    /// Whether it is a whole request of HTTP: it must be answered.
    pub is_complete: bool,
    pub is_head: bool,
}

impl fmt::Display for Hostile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.bytes[..self.bytes.len().min(600)];
        write!(f, "request {}: {}", self.number, shown.escape_ascii())
    }
}

impl Hostile {
    /// A read as any client sends it.
    pub(crate) fn plain(path: &str) -> Self {
        let mut draft = Draft::new("GET", path);
        draft.authorize(KEY);
        draft.finish(0)
    }
}

/// A request in the making.
struct Draft {
    method: String,
    target: Vec<u8>,
    version: &'static str,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    /// What is told of the length of the body; `None`: the truth.
    length: Option<String>,
    is_chunked: bool,
    is_complete: bool,
}

impl Draft {
    fn new(method: &str, target: impl AsRef<[u8]>) -> Self {
        Self {
            method: method.to_owned(),
            target: target.as_ref().to_vec(),
            version: "HTTP/1.1",
            headers: vec![("host".to_owned(), b"localhost".to_vec())],
            body: Vec::new(),
            length: None,
            is_chunked: false,
            is_complete: true,
        }
    }

    fn header(&mut self, name: &str, value: impl AsRef<[u8]>) {
        self.headers.push((name.to_owned(), value.as_ref().to_vec()));
    }

    /// With a key, in the headers of all dialects.
    fn authorize(&mut self, key: &str) {
        self.header("x-api-key", key);
        self.header("authorization", format!("Bearer {key}"));
    }

    fn finish(self, number: u64) -> Hostile {
        let mut bytes = self.method.clone().into_bytes();
        bytes.push(b' ');
        bytes.extend(&self.target);
        bytes.extend(format!(" {}\r\n", self.version).into_bytes());
        for (name, value) in &self.headers {
            bytes.extend(name.bytes().chain(*b": "));
            bytes.extend(value);
            bytes.extend(b"\r\n");
        }
        if self.is_chunked {
            bytes.extend(b"transfer-encoding: chunked\r\n\r\n");
            for chunk in self.body.chunks(1_000) {
                bytes.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
                bytes.extend(chunk);
                bytes.extend(b"\r\n");
            }
            bytes.extend(b"0\r\n\r\n");
        } else {
            let length = self.length.unwrap_or_else(|| self.body.len().to_string());
            bytes.extend(format!("content-length: {length}\r\n\r\n").into_bytes());
            bytes.extend(&self.body);
        }
        let (is_complete, is_head) = (self.is_complete, self.method == "HEAD");
        Hostile { number, bytes, is_complete, is_head }
    }
}

const QUERIES: [&str; 12] = [
    "types=LICENSE,SUBSCRIPTION&categories=TRAVEL&countries=FR&regions=EUROPE&limit=10",
    "includeArchived=true&customerType=CONSUMER&promoCode=SUMMER25&limit=5",
    "sku=PLAN-PRO-MO&category=SaaS+Plans&limit=5",
    "phone_number=%2B233302000000",
    "network_id=22",
    "country_code=GH",
    "since=abc&kinds=product&limit=10",
    "limit=1000&limit=1",
    "replace=product&replaceShare=0.5&order=source&dryRun=true",
    "types[]=A&types[0]=B&types[x]=C",
    "type=package",
    "",
];

const WORDS: [&str; 28] = [
    "%00",
    "%FF",
    "%",
    "%2",
    "%2e%2e%2f",
    "%25",
    "%0d%0aSet-Cookie:%20x",
    "+",
    "&",
    "=",
    "[]",
    ",",
    ";",
    "#",
    "..",
    "//",
    "\\",
    "0",
    "-1",
    "1e9",
    "18446744073709551616",
    "99999999999999999999999999999999",
    "null",
    "NaN",
    "${jndi:x}",
    "' OR 1=1",
    "<script>",
    "%F0%9F%A6%80",
];

const JSON_WORDS: [&str; 24] = [
    "null",
    "true",
    "[]",
    "{}",
    "\"\"",
    "-1",
    "0.1e-999",
    "1e999",
    "9007199254740993",
    "123456789012345678901234567890123456789",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "\"\u{0}\"",
    "\"\u{1f980}\"",
    "NaN",
    "{\"a\":1,\"a\":2}",
    "\"x\":1,",
    ",",
    "{",
    "[",
    "\"",
    "\\",
    "\n",
    "/**/",
];

const ROW: &str = r#"{"sku":"HOSTILE-1","externalId":"x","name":"Hostile","type":"PRODUCT","price":19.99,"stockQty":5,"currency":"USD","active":true,"features":"a","termMonths":12}"#;

const RECORDS: [&str; 6] = [
    r#"{"kind":"product","sku":"H-1","name":"Hostile","price":1.5}"#,
    r#"{"kind":"offering","productOfferingId":"hostile","name":"H","customerType":"CONSUMER","price":{"currency":"USD","priceType":"ONE_TIME","grossPrice":1},"product":{"productId":"p","type":"LICENSE"},"metadata":{"a":[1]}}"#,
    r#"{"kind":"promotion","op":"delete","code":"HOSTILE"}"#,
    r#"{"kind":"network","id":4000000001,"name":"H","country":"Ghana","country_code":"GH","currency":"GHS","fixed_bundles":[]}"#,
    r#"{"kind":"exchangeRate","source_currency":"USD","destination_currency":"GHS","rate":1.5}"#,
    r#"{"kind":"partnerOffering","offering":{"name":"h","type":"package","quantity":1},"entitlements":{"a":1}}"#,
];

const MEDIA_TYPES: [&str; 10] = [
    "application/json",
    "application/json; charset=utf-8",
    "application/x-ndjson",
    "text/csv",
    "text/plain",
    "multipart/form-data; boundary=x",
    "application/x-www-form-urlencoded",
    "application/octet-stream",
    "",
    "\u{e9}/\u{e9}",
];

/// Choices from one random sequence.
struct Chance(Rng);

impl Chance {
    fn one_in(&mut self, count: u32) -> bool {
        self.0.u32(..count) == 0
    }

    fn of<'a, T: ?Sized>(&mut self, items: &[&'a T]) -> &'a T {
        items[self.0.usize(..items.len())]
    }

    /// Some bytes of any value.
    fn bytes(&mut self, most: usize) -> Vec<u8> {
        (0..self.0.usize(..most)).map(|_| self.0.u8(..)).collect()
    }

    /// A text with words put in, bytes changed, parts repeated or left out.
    fn mutated(&mut self, text: &[u8], words: &[&str], times: usize) -> Vec<u8> {
        let mut bytes = text.to_vec();
        for _ in 0..self.0.usize(..=times) {
            let at = self.0.usize(..=bytes.len());
            let end = (at + self.0.usize(..40)).min(bytes.len());
            match self.0.u8(..6) {
                0 | 1 => {
                    let word = self.of(words).bytes();
                    bytes.splice(at..at, word);
                }
                2 => {
                    let word = self.of(words).bytes();
                    bytes.splice(at..end, word);
                }
                3 => drop(bytes.drain(at..end)),
                4 => {
                    let repeated = bytes[at..end].repeat(self.0.usize(..20));
                    bytes.splice(at..at, repeated);
                }
                _ => {
                    let some = self.bytes(4);
                    bytes.splice(at..at, some);
                }
            }
        }
        bytes
    }
}

/// What a request line may have: everything else makes it no request.
fn visible(bytes: Vec<u8>) -> Vec<u8> {
    bytes.into_iter().filter(|byte| byte.is_ascii_graphic() && *byte != b'#').collect()
}

impl Requests {
    /// The request of a number, the same each time.
    pub(crate) fn make(&self, number: u64) -> Hostile {
        let seed = self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number;
        let chance = &mut Chance(Rng::with_seed(seed));
        let draft = match chance.0.u8(..100) {
            0..28 => self.read(chance),
            28..36 => self.cursor(chance),
            36..44 => self.path(chance),
            44..50 => self.method(chance),
            50..57 => self.headers(chance),
            57..65 => self.key(chance),
            65..83 => upsert(chance),
            83..88 => idempotent(chance),
            88..93 => import(chance),
            93..95 => export(chance),
            95..97 => compressed(chance),
            97..99 => lie(chance),
            _ => large(chance),
        };
        draft.finish(number)
    }

    /// A path with its variables filled in.
    fn target(&self, chance: &mut Chance) -> String {
        let path = &self.paths[chance.0.usize(..self.paths.len())];
        let mut parts = Vec::new();
        for part in path.split('/') {
            let value = match part {
                "{productOfferingId}" => chance.of(&["esim-pkg-africa-1gb-7d", "x", "%2F", "%00"]),
                part if part.starts_with('{') => {
                    chance.of(&["8d1c07f2b0f64f7c9be1d2ffce1d0b55", "x", "%F0%9F", "..%2f"])
                }
                part => part,
            };
            parts.push(value.to_owned());
        }
        parts.join("/")
    }

    fn read(&self, chance: &mut Chance) -> Draft {
        let query = chance.of(&QUERIES);
        let query = chance.mutated(query.as_bytes(), &WORDS, 6);
        let target = [self.target(chance).into_bytes(), b"?".to_vec(), visible(query)].concat();
        let mut draft = Draft::new("GET", target);
        draft.authorize(KEY);
        if chance.one_in(4) {
            draft.header("accept-encoding", "gzip");
        }
        if chance.one_in(8) {
            draft.header("if-none-match", chance.of(&["*", "\"x\"", "W/\"", "\"a\", \"b\", ,"]));
        }
        draft
    }

    fn cursor(&self, chance: &mut Chance) -> Draft {
        let cursor = self.cursors[chance.0.usize(..self.cursors.len())].clone();
        let cursor = match chance.0.u8(..4) {
            0 => cursor.into_bytes(),
            1 => chance.mutated(cursor.as_bytes(), &["A", "_", "-", "=", "%3D"], 2),
            2 => cursor.repeat(chance.0.usize(..9)).into_bytes(),
            _ => cursor.as_bytes()[..chance.0.usize(..=cursor.len())].to_vec(),
        };
        let list = chance.of(&[
            "/product-offerings?limit=1&cursor=",
            "/api/v1/products?limit=1&cursor=",
            "/catalog/v1/changes?limit=1&since=",
            "/catalog/v1/imports?limit=1&cursor=",
        ]);
        let mut draft = Draft::new("GET", [list.as_bytes(), &visible(cursor)].concat());
        draft.authorize(KEY);
        draft
    }

    fn path(&self, chance: &mut Chance) -> Draft {
        let path = self.target(chance);
        let mutated = visible(chance.mutated(path.as_bytes(), &WORDS, 5));
        let target = match chance.0.u8(..8) {
            0 => [b"http://localhost".to_vec(), path.into_bytes()].concat(),
            1 => [b"/".to_vec(), visible(chance.bytes(200))].concat(),
            _ => [b"/".to_vec(), mutated].concat(),
        };
        let mut draft = Draft::new("GET", target);
        draft.authorize(KEY);
        // The parser of URIs may refuse some of them.
        draft
    }

    fn method(&self, chance: &mut Chance) -> Draft {
        let method = chance.of(&[
            "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "POST", "get", "M-SEARCH",
            "PROPFIND",
        ]);
        let mut draft = Draft::new(method, self.target(chance));
        draft.authorize(KEY);
        if chance.one_in(2) {
            draft.header("x-http-method-override", "DELETE");
            draft.header("access-control-request-method", "POST");
        }
        draft
    }

    fn headers(&self, chance: &mut Chance) -> Draft {
        let mut draft = Draft::new("GET", self.target(chance));
        draft.authorize(KEY);
        match chance.0.u8(..5) {
            0 => (0..chance.0.u32(..150))
                .for_each(|number| draft.header(&format!("x-{number}"), "y")),
            1 => draft.header("x-long", "y".repeat(chance.0.usize(..20_000))),
            2 => {
                let value = chance.bytes(100).into_iter();
                // Control characters end the request.
                draft.header(
                    "x-bytes",
                    value.filter(|byte| *byte >= 0x20 && *byte != 0x7f).collect::<Vec<_>>(),
                );
            }
            3 => {
                draft.header(
                    "accept-encoding",
                    chance.of(&["gzip;q=0", "*", "gzip;q=x", ",,,", "br, gzip;q=1.0000"]),
                );
                draft
                    .header("x-amzn-trace-id", chance.of(&["Root=", "Root=1-x;Sampled=1", ";;;="]));
                draft.header("x-forwarded-for", "999.0.0.1, ::");
                draft.header("x-forwarded-proto", "::");
            }
            _ => {
                draft.headers.retain(|(name, _)| name != "host");
                draft
                    .header("host", chance.of(&["a b<>:x", "999.999.999.999", "xn--a", "[::", ""]));
            }
        }
        draft
    }

    fn key(&self, chance: &mut Chance) -> Draft {
        let mut draft = Draft::new("GET", self.target(chance));
        let number = chance.0.u64(..);
        match chance.0.u8(..6) {
            0 | 1 => draft.authorize(&format!("cat_live_{number:032}")),
            2 => draft.authorize(&KEY[..chance.0.usize(..KEY.len())]),
            3 => draft.authorize(&KEY.repeat(20)),
            4 => {
                draft.authorize(KEY);
                draft.authorize("cat_live_00000000000000000000000000000000");
            }
            _ => draft.header(
                "authorization",
                chance.of(&["Basic Og==", "Bearer", "bearer  x", "\u{e9}"]),
            ),
        }
        draft
    }
}

fn post(target: &str, media_type: &str, body: Vec<u8>) -> Draft {
    let mut draft = Draft::new("POST", target);
    draft.authorize(KEY);
    draft.header("content-type", media_type);
    draft.body = body;
    draft
}

fn upsert(chance: &mut Chance) -> Draft {
    let rows: Vec<String> = (0..=chance.0.usize(..3))
        .map(|_| {
            // Some rows of many products, so that few wait for each other.
            let row = ROW.replace("HOSTILE-1", &format!("HOSTILE-{}", chance.0.u8(..)));
            let row = row.replace(r#"Id":"x""#, &format!(r#"Id":"x-{}""#, chance.0.u8(..)));
            let row = chance.mutated(row.as_bytes(), &JSON_WORDS, 2);
            String::from_utf8_lossy(&row).into_owned()
        })
        .collect();
    let body = format!("{{\"products\":[{}]}}", rows.join(","));
    let body = if chance.one_in(3) {
        chance.mutated(body.as_bytes(), &JSON_WORDS, 4)
    } else {
        body.into_bytes()
    };
    let media_type = if chance.one_in(6) { chance.of(&MEDIA_TYPES) } else { "application/json" };
    let mut draft = post("/api/v1/products", media_type, body);
    draft.is_chunked = chance.one_in(8);
    if chance.one_in(30) {
        draft.header("expect", "100-continue");
    }
    draft
}

fn idempotent(chance: &mut Chance) -> Draft {
    let number = chance.0.u32(..500);
    let row = format!(r#"{{"products":[{{"sku":"I-{}","name":"x"}}]}}"#, chance.0.u8(..3));
    let mut draft = post("/api/v1/products", "application/json", row.into_bytes());
    match chance.0.u8(..6) {
        0 => draft.header("idempotency-key", "k".repeat(chance.0.usize(..400))),
        1 => draft.header("idempotency-key", chance.of(&["", " ", "\u{e9}", "a b", "\t"])),
        2 => {
            draft.header("idempotency-key", "a");
            draft.header("idempotency-key", "b");
        }
        _ => draft.header("idempotency-key", format!("key-{number}")),
    }
    draft
}

fn import(chance: &mut Chance) -> Draft {
    let options =
        ["replace=promotion&replaceShare=0.1", "order=source", "dryRun=true", "", "replace=x"];
    let query = chance.of(&options);
    let query = chance.mutated(query.as_bytes(), &WORDS, 2);
    let target = format!("/catalog/v1/imports?{}", String::from_utf8_lossy(&visible(query)));
    if chance.one_in(3) {
        let upload = r#"{"upload":{"format":"csv","compression":"gzip","length":1024,"replace":"product","replaceShare":0.8,"order":"source","dryRun":true}}"#;
        let body = chance.mutated(upload.as_bytes(), &JSON_WORDS, 3);
        return post("/catalog/v1/imports", "application/json", body);
    }
    let records: Vec<Vec<u8>> = (0..=chance.0.usize(..4))
        .map(|_| {
            let record = chance.of(&RECORDS);
            chance.mutated(record.as_bytes(), &JSON_WORDS, 3)
        })
        .collect();
    let (media_type, body) = match chance.0.u8(..4) {
        0 => ("application/json", [b"[".to_vec(), records.join(&b","[..]), b"]".to_vec()].concat()),
        1 => {
            let csv = b"sku,name,price\nH-1,\"a \"\"b\"\"\",1.5\nH-2,b,x\n";
            ("text/csv", chance.mutated(csv, &["\"", ",", "\n", "\r\n", ";", "\0"], 6))
        }
        2 => (chance.of(&MEDIA_TYPES), records.concat()),
        _ => ("application/x-ndjson", records.join(&b"\n"[..])),
    };
    // Most of them are not carried out: each of the others is an import of its own.
    let target = if chance.one_in(5) { target } else { format!("{target}&limit=x&dryRun=x") };
    post(&target, media_type, body)
}

fn export(chance: &mut Chance) -> Draft {
    // An export that is made takes a second; most of these are refused.
    let kinds =
        if chance.one_in(100) { r#"{"kinds":["promotion"]}"# } else { r#"{"kinds":["x"]}"# };
    let body = chance.mutated(kinds.as_bytes(), &["[", "\"", "7", "{", ","], 2);
    post("/catalog/v1/exports", "application/json", body)
}

/// A body that is or says it is compressed.
fn compressed(chance: &mut Chance) -> Draft {
    let mut gzip = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    gzip.extend(chance.bytes(200));
    let (target, media_type) = [
        ("/api/v1/products", "application/json"),
        ("/catalog/v1/imports", "application/x-ndjson"),
        ("/catalog/v1/exports", "application/json"),
    ][chance.0.usize(..3)];
    let mut draft = post(target, media_type, gzip);
    if chance.one_in(2) {
        draft.header("content-encoding", chance.of(&["gzip", "br", "identity", "gzip, gzip", ""]));
    }
    draft
}

/// A request whose length is another, or that is none.
fn lie(chance: &mut Chance) -> Draft {
    let mut draft = post("/api/v1/products", "application/json", ROW.as_bytes().to_vec());
    draft.is_complete = false;
    let length = draft.body.len();
    match chance.0.u8(..5) {
        0 => draft.length = Some((length + 100).to_string()),
        1 => draft.length = Some((length / 2).to_string()),
        2 => {
            let length = chance.of(&["-1", "x", "18446744073709551616", "1, 2", ""]);
            draft.length = Some(length.to_owned());
        }
        3 => draft.version = chance.of(&["HTTP/1.0", "HTTP/9.9", "HTTP", ""]),
        _ => draft.target = chance.bytes(300),
    }
    draft
}

/// Deep, long or with very many parts.
fn large(chance: &mut Chance) -> Draft {
    let size = 1 << if chance.one_in(20) { chance.0.u32(13..18) } else { chance.0.u32(8..13) };
    let nested = |open: &str, close: &str| format!("{}{}", open.repeat(size), close.repeat(size));
    let (target, body) = match chance.0.u8(..7) {
        0 => ("/api/v1/products", format!("{{\"products\":[{}]}}", nested("[", "]"))),
        1 => (
            "/api/v1/products",
            format!("{{\"products\":[{}1{}]}}", "{\"a\":".repeat(size), "}".repeat(size)),
        ),
        2 => (
            "/api/v1/products",
            format!("{{\"products\":[{}{{}}]}}", "{},".repeat(size.min(3_000))),
        ),
        3 => (
            "/api/v1/products",
            format!("{{\"products\":[{{\"name\":\"{}\"}}]}}", "\\u0000".repeat(size)),
        ),
        4 => ("/catalog/v1/exports", format!("{{\"{}\":1}}", "\\\"".repeat(size))),
        5 => ("/catalog/v1/imports", format!("{{\"upload\":{{\"{}\":1}}}}", "\\\"".repeat(size))),
        _ => ("/catalog/v1/exports", format!("{{\"kinds\":[{}1]}}", "1,".repeat(size))),
    };
    // The largest body that a function gets.
    let body = if chance.one_in(50) { format!("{body}{}", " ".repeat(4_900_000)) } else { body };
    post(target, "application/json", body.into_bytes())
}
