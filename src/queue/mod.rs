//! The SQS adapter: receives messages, does their work, returns partial batch responses.
//!
//! | File | |
//! |---|---|
//! | `imports` | the function `import-catalog` |
//! | `exports` | the function `export-catalog` |
//! | `message` | message shapes: what a message asks to be imported |
//! | `sqs` | the queue itself |

mod exports;
#[cfg(test)]
mod fuzz;
mod imports;
mod message;
mod sqs;

use std::{error::Error, time::Duration};

use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsMessage};
pub use exports::{ExportCatalog, export_message};
pub use imports::ImportCatalog;
pub use sqs::{CONTINUES, MessageQueue, QueueMessage, SqsQueue};

use crate::{cause::chain, retry::jittered, telemetry};

/// How often a message is received before it goes to the dead-letter queue; the same as in `template.yaml`.
pub const MAX_RECEIVES: u32 = 5;

/// The longest delay before a message becomes visible again.
const LONGEST_DELAY: Duration = Duration::from_mins(15);

/// The delay before a message becomes visible again, given how often it was received: long enough for the cause of a
/// failure to pass, and in most cases seconds. `busy`: another worker has its job for this long.
fn delay(receives: u32, busy: Option<Duration>) -> Duration {
    let backoff = Duration::from_secs(5).saturating_mul(2_u32.saturating_pow(receives.min(12)));
    let backoff = jittered(backoff.min(LONGEST_DELAY));
    let delay = (busy.unwrap_or_default() + backoff).min(LONGEST_DELAY);
    delay.max(Duration::from_secs(1))
}

/// How often a message was received.
fn receives(message: &SqsMessage) -> u32 {
    let count = message.attributes.get("ApproximateReceiveCount");
    count.and_then(|count| count.parse().ok()).unwrap_or(1)
}

/// Returns a message as a batch item failure: it becomes visible again after this delay.
async fn return_to_queue(
    queue: Option<&dyn MessageQueue>,
    message: &SqsMessage,
    reason: &(dyn Error + Sync + 'static),
    delay: Duration,
    response: &mut SqsBatchResponse,
) {
    let id = message.message_id.clone().unwrap_or_default();
    tracing::error!(
        message_id = id,
        cause = chain(reason),
        retry_after_seconds = delay.as_secs(),
        "message is to be delivered again"
    );
    telemetry::message_retried();
    // If this fails, the message becomes visible again after the queue's own visibility timeout.
    if let (Some(queue), Some(receipt)) = (queue, &message.receipt_handle)
        && let Err(cause) = queue.retry_after(receipt.clone(), delay).await
    {
        tracing::warn!(cause, "the visibility timeout was not changed");
    }
    let mut failure = BatchItemFailure::default();
    failure.item_identifier = id;
    response.batch_item_failures.push(failure);
}
