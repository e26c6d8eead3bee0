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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_simulated_clock_tells_whole_milliseconds_of_tokios_time() {
        let start = Timestamp::constant(1_767_225_600, 999_999);
        let clock = Clock::simulated(start);
        assert_eq!(clock.now().to_string(), "2026-01-01T00:00:00Z");
        tokio::time::advance(Duration::from_micros(61_002_500)).await;
        assert_eq!(clock.now().to_string(), "2026-01-01T00:01:01.003Z");
    }
}
