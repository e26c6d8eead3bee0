//! The cause of an error: kept for the log, never shown to a client.

use std::error::Error;

/// An error that caused another one.
pub type Cause = Box<dyn Error + Send + Sync>;

/// The messages of an error and of its causes, joined by colons. A cause that only repeats the message before
/// it, as some errors of the AWS SDK do, is left out.
#[must_use]
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let message = cause.to_string();
        if !text.ends_with(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Caused(&'static str, #[source] Option<Box<Caused>>);

    #[test]
    fn a_chain_has_each_message_once() {
        let timeout = Caused("it timed out", None);
        let same = Caused("the request failed: it timed out", Some(timeout.into()));
        let error = Caused("nothing was read", Some(same.into()));
        assert_eq!(chain(&error), "nothing was read: the request failed: it timed out");
    }
}
