//! The queue itself: sends messages, and changes when received ones become visible again.

use std::{fmt, time::Duration};

use aws_sdk_sqs::{Client, types::MessageAttributeValue};
use futures_util::future::BoxFuture;

use crate::cause::Cause;

/// A message to send.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueMessage {
    pub body: String,
    /// The message attribute `account`.
    pub account: Option<String>,
    /// The message attribute [`CONTINUES`], if the message continues another one.
    pub continues: Option<String>,
    /// How long SQS delays its delivery: whole seconds, at most 15 minutes.
    pub delay: Duration,
}

/// The message attribute with the first message's id, and the time at which that was sent.
pub const CONTINUES: &str = "continues";

/// A queue as a worker sees it.
pub trait MessageQueue: fmt::Debug + Send + Sync {
    fn send(&self, message: QueueMessage) -> BoxFuture<'_, Result<(), Cause>>;

    /// Makes a received message visible again after this time.
    fn retry_after(
        &self,
        receipt_handle: String,
        delay: Duration,
    ) -> BoxFuture<'_, Result<(), Cause>>;
}

#[derive(Clone, Debug)]
pub struct SqsQueue {
    client: Client,
    url: String,
}

impl SqsQueue {
    #[must_use]
    pub fn new(client: Client, url: String) -> Self {
        Self { client, url }
    }
}

fn seconds(delay: Duration) -> i32 {
    i32::try_from(delay.as_secs()).unwrap_or(i32::MAX)
}

impl MessageQueue for SqsQueue {
    fn send(&self, message: QueueMessage) -> BoxFuture<'_, Result<(), Cause>> {
        Box::pin(async move {
            let text = |value: String| {
                MessageAttributeValue::builder().data_type("String").string_value(value).build()
            };
            let mut request = self
                .client
                .send_message()
                .queue_url(&self.url)
                .message_body(message.body)
                .delay_seconds(seconds(message.delay));
            if let Some(continues) = message.continues {
                request = request.message_attributes(CONTINUES, text(continues)?);
            }
            if let Some(account) = message.account {
                let account = text(account)?;
                request = request.message_attributes("account", account);
            }
            let sent = request.send().await;
            sent.map(|_| ()).map_err(|error| error.into_service_error().into())
        })
    }

    fn retry_after(
        &self,
        receipt_handle: String,
        delay: Duration,
    ) -> BoxFuture<'_, Result<(), Cause>> {
        Box::pin(async move {
            let changed = self
                .client
                .change_message_visibility()
                .queue_url(&self.url)
                .receipt_handle(receipt_handle)
                .visibility_timeout(seconds(delay))
                .send()
                .await;
            changed.map(|_| ()).map_err(|error| error.into_service_error().into())
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        cause::chain,
        scripted_service::{Asked, Reply, ScriptedService},
    };

    const URL: &str = "http://service.invalid/1/imports";

    /// What SQS is asked for by its protocol, and with which parameters.
    fn called(asked: &Asked) -> (Option<&str>, serde_json::Value) {
        (asked.header("x-amz-target"), asked.json())
    }

    #[tokio::test]
    async fn a_message_is_sent_with_its_attributes_and_its_delay() {
        let sent = Reply::new(200, "{}");
        let service = ScriptedService::new([sent.clone(), sent]);
        let queue = SqsQueue::new(Client::new(&service.config()), URL.to_owned());
        let bare = QueueMessage { body: "b".to_owned(), ..QueueMessage::default() };
        queue.send(bare).await.expect("sent");
        let message = QueueMessage {
            body: "b".to_owned(),
            account: Some("ACME".to_owned()),
            continues: Some("1 m".to_owned()),
            delay: Duration::from_millis(90_999),
        };
        queue.send(message).await.expect("sent");
        let asked = service.asked();
        let calls: Vec<_> = asked.iter().map(called).collect();
        let text = |value: &str| json!({ "DataType": "String", "StringValue": value });
        let target = Some("AmazonSQS.SendMessage");
        assert_eq!(
            calls,
            [
                (target, json!({ "QueueUrl": URL, "MessageBody": "b", "DelaySeconds": 0 })),
                (
                    target,
                    json!({ "QueueUrl": URL, "MessageBody": "b", "DelaySeconds": 90,
                            "MessageAttributes": { "account": text("ACME"), "continues": text("1 m") } }),
                ),
            ]
        );
    }

    #[tokio::test]
    async fn a_received_message_is_made_visible_again_after_whole_seconds() {
        let service = ScriptedService::new([Reply::new(200, "{}")]);
        let queue = SqsQueue::new(Client::new(&service.config()), URL.to_owned());
        queue.retry_after("r".to_owned(), Duration::from_millis(7_500)).await.expect("changed");
        let asked = service.asked();
        let calls: Vec<_> = asked.iter().map(called).collect();
        let expected = json!({ "QueueUrl": URL, "ReceiptHandle": "r", "VisibilityTimeout": 7 });
        assert_eq!(calls, [(Some("AmazonSQS.ChangeMessageVisibility"), expected)]);
    }

    #[tokio::test]
    async fn what_sqs_refuses_is_the_cause() {
        let body = r#"{"__type":"com.amazonaws.sqs#QueueDoesNotExist","message":"no queue"}"#;
        let refused = Reply::new(400, body);
        let service = ScriptedService::new([refused.clone(), refused]);
        let queue = SqsQueue::new(Client::new(&service.config()), URL.to_owned());
        let sent = queue.send(QueueMessage::default()).await.expect_err("refused");
        let changed = queue.retry_after(String::new(), Duration::ZERO).await.expect_err("refused");
        for error in [sent, changed] {
            assert!(chain(&*error).contains("no queue"), "{}", chain(&*error));
        }
        assert_eq!(service.asked().len(), 2, "each is tried once");
    }
}
