//! What time it is.

use jiff::Timestamp;
use tokio::time::Instant;

/// A clock.
#[derive(Clone, Copy, Debug)]
pub enum Clock {
    /// The system's clock.
    System,
    /// A time that passes as tokio's clock does, which tests may pause and advance.
    Simulated {
        /// The time at the beginning.
        start: Timestamp,
        /// The beginning.
        since: Instant,
    },
}

impl Clock {
    /// A simulated clock that begins now at this time.
    #[must_use]
    pub fn simulated(start: Timestamp) -> Self {
        Self::Simulated { start, since: Instant::now() }
    }

    /// The time, to the millisecond.
    #[must_use]
    pub fn now(self) -> Timestamp {
        let now = match self {
            Self::System => Timestamp::now(),
            Self::Simulated { start, since } => {
                start.checked_add(since.elapsed()).unwrap_or(Timestamp::MAX)
            }
        };
        // What is stored is as precise as its order.
        Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
    }
}
