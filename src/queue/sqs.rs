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
