//! The cause of an error: kept for the log, never shown to a client.

use std::error::Error;

/// An error that caused another one.
pub type Cause = Box<dyn Error + Send + Sync>;

/// The messages of an error and of its causes, joined by colons.
#[must_use]
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
