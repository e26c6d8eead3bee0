use serverless_catalog::{
    queue::SqsQueue,
    store::{Connection, lean_sqs_client},
};
use tokio::time::Instant;

use super::*;
use crate::local::{LOCALHOST, QueueServer};

/// What a function was given: the seconds since the beginning, and the event.
type Received = mpsc::UnboundedReceiver<(u64, Value)>;

/// A function that notes its events, and gives this answer to each; `null`: it fails.
fn function(answer: impl Fn(&Value) -> Value + Send + Sync + 'static) -> (Function, Received) {
    let (sender, received) = mpsc::unbounded_channel();
    let began = Instant::now();
    let function = Function::new(move |event: Value, _| {
        let answer = answer(&event);
        let _ = sender.send((began.elapsed().as_secs(), event));
        ready(if answer.is_null() { Err("it failed".to_owned()) } else { Ok(answer) })
    });
    (function, received)
}

fn done(_: &Value) -> Value {
    json!({ "batchItemFailures": [] })
}

fn again(event: &Value) -> Value {
    let message = &event["Records"][0]["messageId"];
    json!({ "batchItemFailures": [{ "itemIdentifier": message }] })
}

fn message(body: &str) -> QueueMessage {
    QueueMessage { body: body.to_owned(), ..QueueMessage::default() }
}

/// What was received within an hour: the time, how often with this, and the body.
async fn within_an_hour(received: &mut Received) -> Vec<(u64, String, String)> {
    tokio::time::sleep(Duration::from_hours(1)).await;
    let mut all = Vec::new();
    while let Ok((time, event)) = received.try_recv() {
        let record = &event["Records"][0];
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let count = text(&record["attributes"]["ApproximateReceiveCount"]);
        all.push((time, count, text(&record["body"])));
    }
    all
}

fn seen(each: &[(u64, &str, &str)]) -> Vec<(u64, String, String)> {
    let owned = |(time, receives, body): &(u64, &str, &str)| {
        (*time, (*receives).to_owned(), (*body).to_owned())
    };
    each.iter().map(owned).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    entries.map(|entry| entry.expect("entry").file_name().into_string().expect("UTF-8")).collect()
}

#[tokio::test(start_paused = true)]
async fn a_message_is_an_event_as_sqs_sends_it() {
    let queue = LocalQueue::open(None).expect("a queue");
    let (function, mut received) = function(done);
    let _running = queue.deliver(&function, 1, |_| ());
    let delay = Duration::from_secs(90);
    let (account, continues) = (Some("ACME".to_owned()), Some("first".to_owned()));
    let sent = QueueMessage { body: "body".to_owned(), account, continues, delay };
    queue.send(sent).await.expect("sent");
    let (time, mut event) = received.recv().await.expect("an event");
    assert_eq!(time, 90);
    let record = &mut event["Records"][0];
    let id = record["messageId"].take();
    assert_eq!(id.as_str().map(str::len), Some(32));
    assert_eq!(record["receiptHandle"].take(), id);
    let sent = record["attributes"]["SentTimestamp"].take();
    assert!(sent.as_str().is_some_and(|sent| sent.parse::<u64>().is_ok()), "{sent}");
    let text = |value: &str| json!({ "stringValue": value, "dataType": "String" });
    let expected = json!({ "Records": [{
        "messageId": null, "receiptHandle": null, "body": "body",
        "attributes": { "ApproximateReceiveCount": "1", "SentTimestamp": null },
        "messageAttributes": { "account": text("ACME"), "continues": text("first") },
        "eventSource": "aws:sqs", "eventSourceARN": "arn:aws:sqs:local:000000000000:local", "awsRegion": "local",
    }] });
    assert_eq!(event, expected);
}

static DONE: Mutex<Vec<String>> = Mutex::new(Vec::new());

#[tokio::test(start_paused = true)]
async fn a_message_that_is_not_done_comes_back_when_its_function_says_or_after_two_seconds() {
    let queue = LocalQueue::open(None).expect("a queue");
    let later = queue.clone();
    let (function, mut received) = function(move |event| {
        let record = &event["Records"][0];
        match record["attributes"]["ApproximateReceiveCount"].as_str() {
            Some("1") => Value::Null,
            Some("2") => {
                let receipt = record["receiptHandle"].as_str().unwrap_or_default().to_owned();
                later.retry_after(receipt, Duration::from_secs(7)).now_or_never();
                again(event)
            }
            Some("3") => again(event),
            _ => done(event),
        }
    });
    let _running = queue.deliver(&function, 1, |body| lock(&DONE).push(body.to_owned()));
    queue.send(message("body")).await.expect("sent");
    let all = within_an_hour(&mut received).await;
    let expected = [(0, "1", "body"), (2, "2", "body"), (9, "3", "body"), (11, "4", "body")];
    assert_eq!(all, seen(&expected));
    assert_eq!(*lock(&DONE), ["body"]);
}

#[tokio::test(start_paused = true)]
async fn a_message_is_given_up_after_five_times() {
    let folder = tempfile::tempdir().expect("a folder");
    let queue = LocalQueue::open(Some(folder.path().to_owned())).expect("a queue");
    let (function, mut received) = function(again);
    let _running = queue.deliver(&function, 2, |body| panic!("{body} is not done"));
    queue.send(message("body")).await.expect("sent");
    assert_eq!(names(folder.path()).len(), 1);
    let all = within_an_hour(&mut received).await;
    let times = [(0, "1"), (2, "2"), (4, "3"), (6, "4"), (8, "5")];
    assert_eq!(all, seen(&times.map(|(time, receives)| (time, receives, "body"))));
    assert_eq!(names(folder.path()), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn what_a_queue_was_sent_survives_it_and_what_is_done_does_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("below").join("queue");
    let open = || LocalQueue::open(Some(path.clone())).expect("a queue");
    open().send(message("new")).await.expect("sent");
    let name = names(&path).pop().expect("a file");
    assert_eq!((names(&path).len(), name.len(), &name[32..]), (1, 37, ".json"));
    for (file, sent) in [("b.json", 2), ("a.json", 3), ("c.json", 1), ("d.draft", 0)] {
        let kept =
            json!({ "id": file.split('.').next(), "body": file, "attributes": {}, "sent": sent });
        fs::write(path.join(file), kept.to_string()).expect("a file");
    }
    fs::write(path.join("broken.json"), "{").expect("a file");

    let queue = open();
    let (function, mut received) = function(done);
    let _running = queue.deliver(&function, 1, |_| ());
    let all = within_an_hour(&mut received).await;
    // The oldest first. What was not sent whole was never acknowledged.
    let files = ["c.json", "b.json", "a.json", "new"];
    assert_eq!(all, seen(&files.map(|body| (0, "1", body))));
    let mut left = names(&path);
    left.sort();
    assert_eq!(left, ["broken.json", "d.draft"]);
}

#[tokio::test]
async fn a_message_that_cannot_be_kept_is_not_sent() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("queue");
    let queue = LocalQueue::open(Some(path.clone())).expect("a queue");
    fs::remove_dir(path).expect("removed");
    let cause = queue.send(message("body")).await.expect_err("no folder");
    assert!(cause.to_string().starts_with("No such file or directory"), "{cause}");
    assert!(queue.receiver.lock().await.recv().now_or_never().is_none());
}

#[tokio::test]
async fn a_function_in_another_process_sends_messages_and_says_when_one_comes_back() {
    let queue = LocalQueue::open(None).expect("a queue");
    let server = QueueServer::start(LOCALHOST, queue.clone()).await.expect("a server");
    let [(endpoint_name, endpoint), (url_name, url)] = server.environment();
    assert_eq!((endpoint_name, url_name), ("AWS_ENDPOINT_URL_SQS", "EXPORT_QUEUE_URL"));
    assert_eq!(url, format!("{endpoint}/000000000000/exports"));
    let client = lean_sqs_client(&Connection::local(&endpoint)).expect("a client");
    let sqs = SqsQueue::new(client, url);

    let (function, mut received) = function(done);
    let _running = queue.deliver(&function, 1, |_| ());
    for (body, delay) in [("in 15 minutes", 900), ("now", 0)] {
        let delay = Duration::from_secs(delay);
        let sent = QueueMessage { delay, ..message(body) };
        sqs.send(sent).await.expect("sent");
    }
    let (_, event) = received.recv().await.expect("an event");
    assert_eq!(event["Records"][0]["body"], "now");

    sqs.retry_after("receipt".to_owned(), Duration::from_secs(7)).await.expect("told");
    assert_eq!(lock(&queue.delays).get("receipt"), Some(&Duration::from_secs(7)));
}
