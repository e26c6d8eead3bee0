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

#[cfg(test)]
mod tests {
    use super::*;

    /// The shortest and the longest of many delays.
    fn delays(receives: u32, busy: Option<u64>) -> (Duration, Duration) {
        fastrand::seed(1);
        let busy = busy.map(Duration::from_secs);
        let delays: Vec<Duration> = (0..1_000).map(|_| delay(receives, busy)).collect();
        let [shortest, longest] = [delays.iter().min(), delays.iter().max()];
        (*shortest.expect("delays"), *longest.expect("delays"))
    }

    #[test]
    fn a_delay_is_random_from_a_second_to_twice_as_many_with_each_receive() {
        for (receives, most) in
            [(0, 5), (1, 10), (2, 20), (5, 160), (7, 640), (8, 900), (9, 900), (1_000, 900)]
        {
            let (shortest, longest) = delays(receives, None);
            let most = Duration::from_secs(most);
            assert!(longest <= most && longest > most.mul_f64(0.98), "{receives}: {longest:?}");
            let least = Duration::from_secs(1);
            assert!(shortest >= least && shortest <= least + most / 50, "{receives}: {shortest:?}");
        }
        assert_eq!(delays(1, None).0, Duration::from_secs(1), "never less than a second");
    }

    #[test]
    fn a_delay_lasts_until_the_other_worker_is_done_but_no_longer_than_a_quarter_of_an_hour() {
        let (shortest, longest) = delays(1, Some(90));
        assert!(shortest >= Duration::from_secs(90), "{shortest:?}");
        assert!(longest > Duration::from_secs(99) && longest <= Duration::from_secs(100));
        assert_eq!(delays(1, Some(2_000)), (LONGEST_DELAY, LONGEST_DELAY));
    }

    #[test]
    fn a_message_that_does_not_say_how_often_it_was_received_counts_as_received_once() {
        let mut message = SqsMessage::default();
        assert_eq!(receives(&message), 1);
        for (count, expected) in [("4", 4), ("x", 1)] {
            message.attributes.insert("ApproximateReceiveCount".to_owned(), count.to_owned());
            assert_eq!(receives(&message), expected);
        }
    }
}
