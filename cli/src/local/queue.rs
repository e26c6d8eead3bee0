//! A stand-in for an SQS queue and its event source: messages in this process, delivered to a function by a few
//! workers, and again after a while if the function does not acknowledge them.

use std::{
    collections::HashMap,
    fs,
    future::ready,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures_util::{FutureExt as _, future::BoxFuture};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use serverless_catalog::{
    cause::Cause,
    lambda::LONGEST_RUN,
    lock::lock,
    queue::{CONTINUES, MAX_RECEIVES, MessageQueue, QueueMessage},
    text::random_name,
};
use tokio::{
    sync::{Mutex as AsyncMutex, mpsc},
    task::JoinSet,
};

use super::{Function, gateway::context};
use crate::{console::warn, error::CliError};

/// How long a message that was not acknowledged is invisible, unless its function says so.
const VISIBILITY_TIMEOUT: Duration = Duration::from_secs(2);

/// A message of the queue, as it is kept in a file.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Message {
    id: String,
    body: String,
    attributes: HashMap<String, String>,
    /// In milliseconds since 1970.
    sent: u128,
    #[serde(skip)]
    receives: u32,
}

impl Message {
    fn new(QueueMessage { body, account, continues, .. }: QueueMessage) -> Self {
        let account = account.map(|account| ("account".to_owned(), account));
        let continues = continues.map(|first| (CONTINUES.to_owned(), first));
        Self {
            id: random_name(),
            body,
            attributes: account.into_iter().chain(continues).collect(),
            sent: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis(),
            receives: 0,
        }
    }

    /// The event with this message alone.
    fn event(&self) -> Value {
        let attributes: HashMap<&String, Value> = self
            .attributes
            .iter()
            .map(|(name, value)| (name, json!({ "stringValue": value, "dataType": "String" })))
            .collect();
        json!({ "Records": [{
            "messageId": self.id,
            "receiptHandle": self.id,
            "body": self.body,
            "attributes": {
                "ApproximateReceiveCount": self.receives.to_string(),
                "SentTimestamp": self.sent.to_string(),
            },
            "messageAttributes": attributes,
            "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:local:000000000000:local",
            "awsRegion": "local",
        }] })
    }
}

/// A queue. Its messages survive a restart if it has a folder.
#[derive(Debug)]
pub struct LocalQueue {
    sender: mpsc::UnboundedSender<Message>,
    receiver: Arc<AsyncMutex<mpsc::UnboundedReceiver<Message>>>,
    folder: Option<PathBuf>,
    /// How long received messages are to be invisible, by their receipts.
    delays: Mutex<HashMap<String, Duration>>,
}

impl LocalQueue {
    /// Opens a queue, with the messages that are left in its folder.
    pub fn open(folder: Option<PathBuf>) -> Result<Arc<Self>, CliError> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut left = Vec::new();
        if let Some(folder) = &folder {
            fs::create_dir_all(folder).map_err(CliError::file("make", folder))?;
            let entries = fs::read_dir(folder).map_err(CliError::file("read", folder))?;
            for path in entries.flatten().map(|entry| entry.path()) {
                // A draft was never acknowledged as sent.
                let is_message = path.extension().is_some_and(|extension| extension == "json");
                let text = fs::read(&path).ok().filter(|_| is_message);
                left.extend(text.and_then(|text| serde_json::from_slice::<Message>(&text).ok()));
            }
        }
        left.sort_by_key(|message| message.sent);
        for message in left {
            let _ = sender.send(message);
        }
        let receiver = Arc::new(AsyncMutex::new(receiver));
        Ok(Arc::new(Self { sender, receiver, folder, delays: Mutex::default() }))
    }

    /// Delivers messages to a function, some at once, until the result is dropped; calls `on_done` with the body of each that
    /// is done.
    #[must_use]
    pub fn deliver(
        self: &Arc<Self>,
        function: &Function,
        workers: usize,
        on_done: fn(&str),
    ) -> JoinSet<()> {
        let mut running = JoinSet::new();
        for _ in 0..workers {
            let (queue, function) = (self.clone(), function.clone());
            running.spawn(async move {
                loop {
                    let message = queue.receiver.lock().await.recv().await;
                    let Some(message) = message else { return };
                    queue.deliver_one(&function, message, on_done).await;
                }
            });
        }
        running
    }

    async fn deliver_one(&self, function: &Function, mut message: Message, on_done: fn(&str)) {
        message.receives += 1;
        let reply = function.invoke(message.event().to_string(), context(LONGEST_RUN)).await;
        let reply: Option<Value> = reply.ok().and_then(|reply| serde_json::from_str(&reply).ok());
        let failures = reply.map(|reply| reply["batchItemFailures"].as_array().map_or(0, Vec::len));
        let delay = lock(&self.delays).remove(&message.id).unwrap_or(VISIBILITY_TIMEOUT);
        if failures == Some(0) {
            self.forget(&message);
            on_done(&message.body);
        } else if message.receives < MAX_RECEIVES {
            self.send_later(message, delay);
        } else {
            self.forget(&message);
            warn(format!(
                "A message was received {MAX_RECEIVES} times without success: {}",
                message.body
            ));
        }
    }

    fn send_later(&self, message: Message, delay: Duration) {
        let sender = self.sender.clone();
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            let _ = sender.send(message);
        });
    }

    fn keep(&self, message: &Message) -> std::io::Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let path = file(folder, message);
        let draft = path.with_extension("draft");
        fs::write(&draft, serde_json::to_vec(message)?)?;
        fs::rename(draft, path)
    }

    fn forget(&self, message: &Message) {
        if let Some(folder) = &self.folder {
            let _ = fs::remove_file(file(folder, message));
        }
    }
}

fn file(folder: &Path, message: &Message) -> PathBuf {
    folder.join(format!("{}.json", message.id))
}

impl MessageQueue for LocalQueue {
    fn send(&self, message: QueueMessage) -> BoxFuture<'_, Result<(), Cause>> {
        let delay = message.delay;
        let message = Message::new(message);
        let kept = self.keep(&message);
        if kept.is_ok() {
            self.send_later(message, delay);
        }
        ready(kept.map_err(Cause::from)).boxed()
    }

    fn retry_after(&self, receipt: String, delay: Duration) -> BoxFuture<'_, Result<(), Cause>> {
        lock(&self.delays).insert(receipt, delay);
        ready(Ok(())).boxed()
    }
}

#[cfg(test)]
mod tests;
