//! A clock: the system's, or a simulated one for tests.

use jiff::Timestamp;
use tokio::time::Instant;

#[derive(Clone, Copy, Debug)]
pub enum Clock {
    System,
    /// A time that passes with tokio's clock, which tests may pause and advance.
    Simulated {
        /// The time at which it starts.
        start: Timestamp,
        /// The instant at which it was started.
        since: Instant,
    },
}

impl Clock {
    /// Starts a simulated clock at this time.
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
        // Stored times are as precise as orders, which have milliseconds.
        Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
    }
}
