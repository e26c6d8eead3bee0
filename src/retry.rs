//! How long to wait before something is tried again, and for how long to try: one policy for all of the
//! project.

use std::time::Duration;

use tokio::time::Instant;

/// The ceiling of the first wait; it doubles with each attempt.
const FIRST_WAIT: Duration = Duration::from_millis(50);

/// The ceiling of all waits.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// For how long a request that the database did not answer is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// So many attempts at most: somebody waits for the answer.
    Attempts(u32),
    /// As many attempts as begin before this time: an import rides out an outage.
    Until(Instant),
}

impl Patience {
    /// For whoever answers a client: eight attempts, with under six seconds of waiting on average. The
    /// deadline of the request bounds them, too.
    pub const REQUEST: Self = Self::Attempts(8);

    /// For an operator at a terminal, who may end it: about a minute.
    pub const OPERATOR: Self = Self::Attempts(30);

    /// Does something until it succeeds, fails for good, or the patience is over.
    ///
    /// # Errors
    /// That of the last attempt.
    pub async fn retry<T, E, F>(
        self,
        attempt: impl Fn() -> F,
        is_temporary: impl Fn(&E) -> bool,
    ) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>>,
    {
        let mut attempts = 0;
        loop {
            let outcome = attempt().await;
            attempts += 1;
            let may_succeed_later = outcome.as_ref().is_err_and(&is_temporary);
            if !may_succeed_later || !self.wait(attempts).await {
                return outcome;
            }
        }
    }

    /// Waits before another attempt, given how many were made; `false`: there is none.
    pub async fn wait(self, attempts: u32) -> bool {
        let wait = backoff(attempts);
        match self {
            Self::Attempts(most) if attempts >= most => return false,
            Self::Until(deadline) if Instant::now() + wait >= deadline => return false,
            Self::Attempts(_) | Self::Until(_) => {}
        }
        tokio::time::sleep(wait).await;
        true
    }
}

/// Between nothing and 50 ms times two to the number of attempts, 5 s at most: full jitter, after the AWS
/// Architecture Blog, "Exponential Backoff And Jitter".
fn backoff(attempts: u32) -> Duration {
    let ceiling = FIRST_WAIT.saturating_mul(2_u32.saturating_pow(attempts)).min(LONGEST_WAIT);
    jittered(ceiling)
}

/// A random time up to a ceiling.
#[must_use]
pub fn jittered(ceiling: Duration) -> Duration {
    ceiling.mul_f64(fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_request_is_tried_eight_times_and_an_import_until_its_time_is_over() {
        let mut attempts = 1;
        while Patience::REQUEST.wait(attempts).await {
            attempts += 1;
        }
        assert_eq!(attempts, 8);

        let started = Instant::now();
        let deadline = started + Duration::from_mins(10);
        let mut attempts = 1;
        while Patience::Until(deadline).wait(attempts).await {
            attempts += 1;
        }
        assert!(Instant::now() < deadline, "nothing begins after the time is over");
        assert!(deadline - Instant::now() < LONGEST_WAIT);
        assert!((150..400).contains(&attempts), "a wait is 2.5 s on the average: {attempts}");
    }
}
