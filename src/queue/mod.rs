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

use std::time::Duration;

pub use exports::{ExportCatalog, export_message};
pub use imports::ImportCatalog;
pub use sqs::{CONTINUES, MessageQueue, QueueMessage, SqsQueue};

use crate::retry::jittered;

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
