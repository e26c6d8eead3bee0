//! Trouble ends in the run that meets it, what goes back comes back soon, and refusals are cheap.

use std::{
    fmt::Write as _,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use serde_json::{Value, json};
use serverless_catalog::{
    account::AccountId,
    imports::job::{Claim, ImportId, JobStore as _, Lease, Source, Status},
    objects::{Bucket, Objects},
    queue::{ImportCatalog, MAX_RECEIVES},
    store::{Connection, Store, TableNames, lean_s3_client},
};
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
    time::Instant,
};

use crate::{
    messages::{
        ENOUGH, Gate, Message, Queue, assert_adds_up, continuation_message, deliver, done, event,
        writes_offering_or_product,
    },
    proxy::{self, Fate},
    queue::{BUCKET, Imports, created, gzip, products},
    simulation::{self, database, faults::NoFaults, objects},
    support::offering,
    upsert::all,
};

/// A request to S3.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asked {
    method: String,
    path: String,
    range: Option<String>,
}

/// What becomes of it.
#[derive(Clone, Copy)]
enum Answer {
    Pass,
    /// 503.
    Busy,
    /// The connection ends in the middle of the body.
    Cut,
}

/// A proxy before an S3 server, with all that it was asked for.
struct S3Proxy {
    url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl S3Proxy {
    async fn start(
        server: &str,
        decide: impl Fn(&Asked) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let server = server.strip_prefix("http://").expect("plain HTTP").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
        let url = format!("http://{}", listener.local_addr().expect("address"));
        let (decide, asked) = (Arc::new(decide), Arc::<Mutex<Vec<Asked>>>::default());
        let asks = asked.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (server, decide, asked) = (server.clone(), decide.clone(), asks.clone());
                tokio::spawn(async move { serve(client, &server, &*decide, &asked).await });
            }
        });
        Self { url, asked }
    }

    fn objects(&self) -> Objects {
        Objects::new(lean_s3_client(&Connection::local(&self.url)).expect("client"))
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("lock").clone()
    }
}

async fn serve(
    mut client: TcpStream,
    server: &str,
    decide: &(impl Fn(&Asked) -> Answer + Sync),
    asked: &Mutex<Vec<Asked>>,
) {
    let Ok(mut upstream) = TcpStream::connect(server).await else { return };
    while let Some(request) = proxy::message(&mut client).await {
        let text = String::from_utf8_lossy(&request);
        let mut words = text.split(' ');
        let method = words.next().unwrap_or_default().to_owned();
        let path = words.next().unwrap_or_default().split('?').next().unwrap_or_default();
        let range = text.lines().find_map(|line| line.strip_prefix("range: "));
        let asks = Asked {
            method,
            path: path.to_owned(),
            range: range.map(|range| range.trim().to_owned()),
        };
        asked.lock().expect("lock").push(asks.clone());
        let answer = decide(&asks);
        if let Answer::Busy = answer {
            let body = "<?xml version=\"1.0\"?><Error><Code>SlowDown</Code></Error>";
            let reply = format!("HTTP/1.1 503 X\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            if client.write_all(reply.as_bytes()).await.is_err() {
                return;
            }
            continue;
        }
        if upstream.write_all(&request).await.is_err() {
            return;
        }
        let Some(reply) = proxy::message(&mut upstream).await else { return };
        let end = if let Answer::Cut = answer { reply.len() / 2 } else { reply.len() };
        if client.write_all(&reply[..end]).await.is_err() || end < reply.len() {
            return;
        }
    }
}

fn database_of(imports: &Imports) -> String {
    imports.catalog.stack.addresses().dynamodb_url
}

fn told(name: &str) -> Message {
    Message::new("m", created(&format!("imports/ACME/{name}"), "01"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_rides_out_a_database_that_is_away_for_a_second() {
    const COUNT: usize = 2_000;
    let imports = Imports::start().await;
    let writes = AtomicUsize::new(0);
    let away_until = Mutex::new(None);
    let url = proxy::proxy(&database_of(&imports), move |operation, request| {
        let mut until = away_until.lock().expect("lock");
        // From a write in the middle on, and then whatever it is.
        let counted = writes_offering_or_product(operation, request) && until.is_none();
        if counted && writes.fetch_add(1, Ordering::Relaxed) == COUNT / 2 {
            *until = Some(Instant::now() + Duration::from_secs(1));
        }
        if until.is_some_and(|until| Instant::now() < until) { Fate::Lost } else { Fate::Pass }
    })
    .await;
    imports.put("imports/ACME/p.ndjson", products(COUNT)).await;
    done(&Imports::function(&url, &imports.objects), &[told("p.ndjson")]).await;
    let report = imports.report("ACME", "p.ndjson");
    assert_eq!((&report["status"], &report["counts"]["created"]), (&json!("done"), &json!(COUNT)));
    let key = imports.catalog.key("ACME").await;
    assert_eq!(all(&imports.catalog, &key).await.len(), COUNT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_whose_body_is_cut_in_the_middle_is_read_on_from_there() {
    let imports = Imports::start().await;
    // Read whole, read while it is imported, and compressed.
    let padding = "x".repeat(1_500);
    let large: String = (0..1_000)
        .map(|n| {
            let product = json!({"kind": "product", "sku": format!("l{n}"), "name": "n", "description": padding});
            product.to_string() + "\n"
        })
        .collect();
    let files = [
        ("small.ndjson", products(1_000).into_bytes()),
        ("large.ndjson", large.clone().into_bytes()),
        ("packed.ndjson.gz", gzip(large.replace("\"l", "\"p").as_bytes())),
    ];
    let met = Mutex::new(Vec::new());
    let s3 = S3Proxy::start(&imports.server.url(), move |asked| {
        let mut met = met.lock().expect("lock");
        let first = asked.method == "GET" && !met.contains(&asked.path);
        met.push(asked.path.clone());
        if first { Answer::Cut } else { Answer::Pass }
    })
    .await;
    let import = Imports::function(&database_of(&imports), &s3.objects());
    for (name, content) in files {
        imports.put(&format!("imports/ACME/{name}"), content).await;
        done(&import, &[told(name)]).await;
        let report = imports.report("ACME", name);
        let shown = (&report["status"], &report["counts"]["created"], &report["lines"]);
        assert_eq!(shown, (&json!("done"), &json!(1_000), &json!(1_000)), "{report}");
        let asked = s3.asked();
        let gets: Vec<&Asked> = asked
            .iter()
            .filter(|asked| asked.method == "GET" && asked.path.contains(name))
            .collect();
        assert_eq!(gets.len(), 2, "{gets:?}");
        let range = gets[1].range.as_deref().unwrap_or_default();
        assert!(range.starts_with("bytes=") && range != "bytes=0-", "{gets:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_that_is_refused_a_few_times_is_stored_all_the_same() {
    let imports = Imports::start().await;
    let refusals = AtomicUsize::new(0);
    let s3 = S3Proxy::start(&imports.server.url(), move |asked| {
        // Three times each: a part, all errors, and the report itself.
        let refused = asked.method == "PUT" && asked.path.contains("/reports/");
        let round = refused.then(|| refusals.fetch_add(1, Ordering::Relaxed) % 4);
        if round.is_some_and(|round| round < 3) { Answer::Busy } else { Answer::Pass }
    })
    .await;
    let import = Imports::function(&database_of(&imports), &s3.objects());
    let mut content = products(500);
    content.push_str(&"{\"kind\":\"product\",\"sku\":\"x\",\"price\":-1}\n".repeat(1_000));
    imports.put("imports/ACME/p.ndjson", content).await;
    done(&import, &[told("p.ndjson")]).await;
    let report = imports.report("ACME", "p.ndjson");
    assert_eq!((&report["status"], &report["lines"]), (&json!("done"), &json!(1_500)));
    let lines: Vec<Value> =
        imports.errors(&report).await.iter().map(|error| error["line"].clone()).collect();
    assert_eq!(lines, (501..=1_500).map(Value::from).collect::<Vec<_>>());
    let puts: Vec<String> = s3
        .asked()
        .into_iter()
        .filter(|asked| asked.method == "PUT")
        .map(|asked| asked.path)
        .collect();
    let parts = puts.iter().filter(|path| path.contains(".errors.part-")).count() / 4;
    assert!(parts > 1);
    assert_eq!(puts.len(), (parts + 2) * 4);
}

#[tokio::test]
async fn the_errors_of_an_import_are_one_object_whose_parts_are_joined_if_there_are_several() {
    let imports = Imports::start().await;
    let s3 = S3Proxy::start(&imports.server.url(), |_| Answer::Pass).await;
    let import = Imports::function(&database_of(&imports), &s3.objects());
    let mut before = 0;
    for (name, lines) in [("none.ndjson", 0), ("few.ndjson", 2), ("many.ndjson", 1_500)] {
        let content = "{\"kind\":\"product\",\"sku\":\"x\",\"price\":-1}\n".repeat(lines);
        imports.put(&format!("imports/ACME/{name}"), content).await;
        done(&import, &[told(name)]).await;
        let asked = s3.asked().split_off(before);
        before += asked.len();
        let puts = asked.iter().filter(|asked| asked.method == "PUT");
        let puts: Vec<&str> = puts.filter_map(|asked| asked.path.split(".errors").nth(1)).collect();
        let (whole, parts): (Vec<&str>, Vec<&str>) =
            puts.into_iter().partition(|put| *put == ".ndjson");
        assert_eq!(whole.len(), usize::from(parts.len() > 1), "{name}: {parts:?}");
        assert_eq!(parts.len() > 1, lines == 1_500, "{parts:?}");
        assert_eq!(parts.is_empty(), lines == 0, "{parts:?}");
        let report = imports.report("ACME", name);
        assert_eq!(report["errors"].as_array().expect("a list").len(), lines.min(1));
        let refused = imports.errors(&report).await;
        let refused: Vec<Value> = refused.iter().map(|error| error["line"].clone()).collect();
        assert_eq!(refused, (1..=lines).map(Value::from).collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_takes_as_many_runs_as_it_needs_each_a_continuation_received_once() {
    const COUNT: usize = 4_000;
    let imports = Imports::start().await;
    let (gate, url) = Gate::before(&imports, 0, writes_offering_or_product).await;
    let queue = Arc::new(Queue::default());
    let import = Imports::function(&url, &imports.objects).with_queue(queue.clone());
    imports.put("imports/ACME/p.ndjson", products(COUNT)).await;
    let first = told("p.ndjson");
    let begun = format!("{} m", first.sent.as_millisecond());
    let mut message = first;
    let mut runs = 1;
    loop {
        gate.allow(900);
        let back = deliver(&import, &[message], Duration::from_millis(1_500)).await;
        assert!(back.is_empty(), "there was progress in run {runs}");
        let Some(continuation) = queue.sent().pop() else { break };
        assert_eq!(continuation.continues.as_ref(), Some(&begun));
        assert_eq!(continuation.delay, Duration::ZERO);
        message = continuation_message(&format!("c{runs}"), continuation);
        runs += 1;
        assert!(runs < 20);
    }
    assert!(runs > 3, "{runs} runs");
    assert!(queue.delays().is_empty(), "nothing was returned");
    let jobs = imports.jobs().await;
    assert_eq!((jobs.len(), jobs[0].status), (1, Status::Done));
    let report = imports.report("ACME", "p.ndjson");
    assert_eq!(report["lines"], COUNT);
    assert_adds_up(&report);
    let key = imports.catalog.key("ACME").await;
    assert_eq!(all(&imports.catalog, &key).await.len(), COUNT);
}

/// The source's time is that of its first message, and with it the continuation of its records.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_continuation_carries_the_time_of_the_message_that_began() {
    let imports = Imports::start().await;
    let key = imports.catalog.key("ACME").await;
    let (gate, url) = Gate::before(&imports, 500, writes_offering_or_product).await;
    let queue = Arc::new(Queue::default());
    let slow = Imports::function(&url, &imports.objects).with_queue(queue.clone());
    let records: Vec<Value> = (0..1_000)
        .map(|n| json!({"kind": "product", "sku": format!("s{n}"), "name": "n", "price": 10}))
        .collect();
    let back = deliver(&slow, &[Message::of_records("m", &records)], Duration::from_secs(3)).await;
    assert!(back.is_empty());
    // The last line is not done yet, and what comes between is newer than it.
    imports.catalog.upsert(&key, &[json!({"sku": "s999", "name": "n", "price": 12})]).await;
    let continuation = queue.sent().remove(0);
    assert!(continuation.continues.as_ref().is_some_and(|first| first.ends_with(" m")));
    gate.open();
    done(&slow, &[continuation_message("c", continuation).sent_later(60)]).await;
    assert_eq!(imports.price(&key, "s999").await, 12);
    assert_eq!(imports.price(&key, "s998").await, 10);
    assert_eq!(imports.jobs().await.len(), 1);
}

#[tokio::test]
async fn a_message_that_fails_is_visible_again_after_seconds() {
    let imports = Imports::start().await;
    let queue = Arc::new(Queue::default());
    let import =
        Imports::function(&database_of(&imports), &imports.objects).with_queue(queue.clone());
    for receives in 1..=5 {
        let longest = Duration::from_secs(5 << receives);
        let gone = told("nowhere.ndjson").received(receives);
        let wrong = Message::new("wrong", "no JSON").received(receives);
        let back = deliver(&import, &[gone, wrong], Duration::from_secs(2)).await;
        assert_eq!(back, ["m", "wrong"]);
        let delays = queue.delays();
        let receipts: Vec<&str> = delays.iter().map(|(receipt, _)| receipt.as_str()).collect();
        assert_eq!(receipts, ["receipt of m", "receipt of wrong"]);
        for (receipt, delay) in &delays {
            assert!((Duration::from_secs(1)..=longest).contains(delay), "{receipt}: {delay:?}");
        }
    }
    // A database that is away until the time is over.
    let url = proxy::proxy(&database_of(&imports), |_, _| Fate::Lost).await;
    let import = Imports::function(&url, &imports.objects).with_queue(queue.clone());
    imports.put("imports/ACME/p.ndjson", products(10)).await;
    let started = Instant::now();
    assert_eq!(deliver(&import, &[told("p.ndjson")], Duration::from_secs(1)).await, ["m"]);
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    assert!(queue.delays()[0].1 <= Duration::from_secs(10));
    assert!(queue.sent().is_empty(), "there is nothing to continue");
}

#[tokio::test]
async fn a_message_whose_job_another_worker_has_waits_for_its_lease_and_is_never_given_up() {
    let imports = Imports::start().await;
    let queue = Arc::new(Queue::default());
    let import =
        Imports::function(&database_of(&imports), &imports.objects).with_queue(queue.clone());
    let lease = Lease {
        account: AccountId::parse("ACME").expect("account"),
        import: ImportId::of(&["message", "m.0"]),
        holder: "another worker".to_owned(),
        term: Duration::from_mins(1),
    };
    let name = "message m.0".to_owned();
    let source = Source { name, version: None, content: None, time: Timestamp::now() };
    let claim = imports.catalog.stack.store.claim(&lease, &source).await.expect("claim");
    assert!(matches!(claim, Claim::Held(_)));
    let message = Message::of_records("m", &[json!({"kind": "product", "sku": "s", "name": "n"})]);
    for receives in 1..=5 {
        let message = message.clone().received(receives);
        let back = deliver(&import, &[message], ENOUGH).await;
        let (sent, delays) = (queue.sent(), queue.delays());
        let delay = if receives + 1 < MAX_RECEIVES {
            assert_eq!(back, ["m"]);
            assert!(sent.is_empty());
            delays[0].1
        } else {
            // One more time and it would be in the dead-letter queue.
            assert!(back.is_empty() && delays.is_empty());
            sent[0].delay
        };
        let most = Duration::from_secs(60 + (5 << receives));
        assert!((Duration::from_secs(50)..=most).contains(&delay), "{receives}: {delay:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_rejected_rows_of_ten_thousand_cost_fifty_requests_at_most() {
    const COUNT: usize = 10_000;
    let imports = Imports::start().await;
    let s3 = S3Proxy::start(&imports.server.url(), |_| Answer::Pass).await;
    let import = Imports::function(&database_of(&imports), &s3.objects());
    let is_rejected = |n: usize| n % 5 == 3;
    let mut csv = "sku,name,price\n".to_owned();
    for n in 0..COUNT {
        // The record is rejected, or the row cannot be read.
        let rest = match n {
            n if is_rejected(n) && n % 2 == 0 => "-1",
            n if is_rejected(n) => "1,too,many",
            _ => "1",
        };
        let _ = writeln!(csv, "s{n},n,{rest}");
    }
    // Those that are taken repeat each other: they are not what costs here.
    let ndjson: String = (0..COUNT)
        .map(|n| {
            let line = match n {
                n if is_rejected(n) && n % 2 == 0 => {
                    offering(&format!("o{n}"), json!({"name": ""})).to_string()
                }
                n if is_rejected(n) => "nonsense".to_owned(),
                n => offering(&format!("o{}", n % 10), json!({})).to_string(),
            };
            line + "\n"
        })
        .collect();
    // A header is a line, too.
    for (name, content, first) in [("rows.csv", csv, 2), ("lines.ndjson", ndjson, 1)] {
        imports.put(&format!("imports/ACME/{name}"), content).await;
        let before = s3.asked().len();
        done(&import, &[told(name)]).await;
        let asked = s3.asked().split_off(before);
        assert!(asked.len() <= 50, "{} requests for {name}", asked.len());
        let report = imports.report("ACME", name);
        let shown = (&report["status"], &report["lines"], &report["counts"]["failed"]);
        assert_eq!(shown, (&json!("done"), &json!(COUNT), &json!(COUNT / 5)), "{report}");
        assert_adds_up(&report);
        let errors = imports.errors(&report).await;
        let lines: Vec<usize> = errors
            .iter()
            .map(|error| usize::try_from(error["line"].as_u64().expect("a line")).expect("small"))
            .collect();
        let expected: Vec<usize> =
            (0..COUNT).filter(|n| is_rejected(*n)).map(|n| n + first).collect();
        assert_eq!(lines, expected, "every one, in order");
    }
}

fn keyless(count: usize) -> Vec<Value> {
    (0..count).map(|n| json!({"kind": "product", "name": format!("keyless {n}")})).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_in_two_messages_makes_its_keyless_products_once() {
    let imports = Imports::start().await;
    let key = imports.catalog.key("ACME").await;
    let detail = json!({"account": "ACME", "records": keyless(20)});
    let body = event("e-1", Timestamp::now(), &detail);
    let copies = ["one", "two", "three"].map(|id| Message::new(id, body.to_string()));
    // At once, in one batch, and again.
    let (one, two) = tokio::join!(
        deliver(&imports.import, &copies[..1], ENOUGH),
        deliver(&imports.import, &copies[1..2], ENOUGH)
    );
    assert!(one.len() + two.len() <= 1);
    tokio::time::sleep(Duration::from_millis(200)).await;
    done(&imports.import, &copies).await;
    done(&imports.import, &[copies[2].clone(), copies[0].clone()]).await;
    assert_eq!(all(&imports.catalog, &key).await.len(), 20);
    // Another event with the same records has products of its own.
    let other = event("e-2", Timestamp::now(), &detail);
    done(&imports.import, &[Message::new("four", other.to_string())]).await;
    assert_eq!(all(&imports.catalog, &key).await.len(), 40);
}

/// Messages of records, and an event: given up in the middle, and moved back by an operator.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_moved_back_from_the_dead_letter_queue_continues_what_it_began() {
    let mut records = keyless(20);
    records.push(json!({"kind": "product", "sku": "s", "name": "n", "price": 10}));
    let event = event("e-1", Timestamp::now(), &json!({"account": "ACME", "records": records}));
    for body in [json!(records).to_string(), event.to_string()] {
        let imports = Imports::start().await;
        let key = imports.catalog.key("ACME").await;
        let (gate, url) = Gate::before(&imports, 8, writes_offering_or_product).await;
        let slow = Imports::function(&url, &imports.objects);
        let message = Message::new("first", &body);
        for receives in 1..=MAX_RECEIVES {
            let message = message.clone().received(receives);
            let back = deliver(&slow, &[message], Duration::from_millis(400)).await;
            assert_eq!(back, ["first"]);
        }
        // What is written now is newer than the message, whenever it comes back.
        imports.catalog.upsert(&key, &[json!({"sku": "s", "name": "n", "price": 12})]).await;
        gate.open();
        let moved = Message::new("moved back", &body).sent_later(60);
        done(&slow, std::slice::from_ref(&moved)).await;
        assert_eq!(all(&imports.catalog, &key).await.len(), 21);
        assert_eq!(imports.price(&key, "s").await, 12);
        let jobs = imports.jobs().await;
        assert_eq!((jobs.len(), jobs[0].status), (1, Status::Done));

        // A queue may deliver a message twice.
        done(&slow, &[moved]).await;
        assert_eq!(all(&imports.catalog, &key).await.len(), 21);
        assert_eq!(imports.price(&key, "s").await, 12, "it was done already");
    }
}

/// The usual reason to give a message up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_given_up_because_the_database_was_away_continues_what_it_began() {
    let imports = Imports::start().await;
    let key = imports.catalog.key("ACME").await;
    let (writes, is_back) = (AtomicUsize::new(0), Arc::new(AtomicBool::new(false)));
    let back = is_back.clone();
    let url = proxy::proxy(&database_of(&imports), move |operation, request| {
        let counted = u8::from(writes_offering_or_product(operation, request));
        let met = writes.fetch_add(usize::from(counted), Ordering::Relaxed);
        if met >= 8 && !back.load(Ordering::Relaxed) { Fate::Lost } else { Fate::Pass }
    })
    .await;
    let import = Imports::function(&url, &imports.objects);
    let mut records = keyless(20);
    records.push(json!({"kind": "product", "sku": "s", "name": "n", "price": 10}));
    let message = Message::of_records("first", &records).received(MAX_RECEIVES);
    assert_eq!(deliver(&import, &[message], Duration::from_secs(1)).await, ["first"]);
    is_back.store(true, Ordering::Relaxed);
    imports.catalog.upsert(&key, &[json!({"sku": "s", "name": "n", "price": 12})]).await;
    // The lease of the run that was cut off.
    tokio::time::sleep(Duration::from_millis(200)).await;
    done(&import, &[Message::of_records("moved back", &records).sent_later(60)]).await;
    assert_eq!(all(&imports.catalog, &key).await.len(), 21);
    assert_eq!(imports.price(&key, "s").await, 12);
}

/// The same content may be meant again: only what was given up is continued.
#[tokio::test]
async fn a_later_message_with_the_same_records_is_a_write_of_its_own() {
    let imports = Imports::start().await;
    let key = imports.catalog.key("ACME").await;
    let records = [json!({"kind": "product", "sku": "s", "name": "n", "price": 10})];
    // Done with its last receive.
    done(&imports.import, &[Message::of_records("first", &records).received(MAX_RECEIVES)]).await;
    imports.catalog.upsert(&key, &[json!({"sku": "s", "price": 12})]).await;
    done(&imports.import, &[Message::of_records("second", &records).sent_later(1)]).await;
    assert_eq!(imports.price(&key, "s").await, 10);
}

/// On the simulation's buckets: the real server keeps an object in a file of its name.
#[test]
fn an_object_whose_name_has_a_thousand_characters_is_imported_and_reported() {
    simulation::run(async {
        let clock = simulation::Clock::start();
        let engine = database::Engine::new(clock);
        let client = database::client(&engine, NoFaults);
        database::create_tables(&client).await;
        let buckets = objects::Buckets::new(clock);
        let simulated = serverless_catalog::clock::Clock::simulated(clock.timestamp());
        let store = Store::new(client, TableNames::with_prefix("test")).with_clock(simulated);
        let s3 = Objects::new(objects::client(&buckets, NoFaults));
        let import = ImportCatalog::new(store, Bucket { objects: s3, name: BUCKET.to_owned() });
        for name in ["x".repeat(1_000), "a/b".repeat(333) + "é"] {
            let key = format!("imports/ACME/{name}");
            let content = "{\"kind\":\"product\",\"name\":\"n\"}\nnonsense\n";
            buckets.put(&format!("/{BUCKET}/{key}"), buckets.version(content));
            done(&import, &[Message::new("m", created(&key, "01"))]).await;
            let prefix = format!("/{BUCKET}/reports/ACME/{}", &name[..900]);
            let paths = buckets.paths(&prefix);
            assert_eq!(paths.len(), 2, "a list of errors and a report: {paths:?}");
            let report = paths.iter().find(|path| !path.contains(".errors.")).expect("a report");
            let report = buckets.current(report).expect("there").content;
            let report: Value = serde_json::from_slice(&report).expect("JSON");
            assert_eq!(
                (&report["status"], &report["counts"]["created"]),
                (&json!("done"), &json!(1))
            );
            assert_eq!(report["errors"].as_array().expect("errors").len(), 1);
            let list = report["errors"][0].as_str().expect("a key");
            assert!(list.len() <= 1_024);
            assert!(buckets.current(&format!("/{BUCKET}/{list}")).is_some());
        }
    });
}
