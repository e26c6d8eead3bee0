//! The one retry policy of the project: exponential backoff with full jitter, bounded by a number of attempts
//! or by a deadline.

use std::time::Duration;

use tokio::time::Instant;

/// The base of the exponential backoff; the ceiling doubles with each attempt, the first included.
const FIRST_WAIT: Duration = Duration::from_millis(50);

/// The highest ceiling.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// How long a request that failed temporarily is retried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// At most this many attempts: for requests whose answer a client waits for.
    Attempts(u32),
    /// Every attempt that begins before this time: an import retries through an outage.
    Until(Instant),
}

impl Patience {
    /// For answering a client: eight attempts, with less than six seconds of waiting on average. The deadline
    /// of the request is a limit, too.
    pub const REQUEST: Self = Self::Attempts(8);

    /// For an operator at a terminal, who can interrupt it: about a minute.
    pub const OPERATOR: Self = Self::Attempts(30);

    /// Repeats an operation until it succeeds, fails permanently, or the patience is exhausted.
    ///
    /// # Errors
    /// The error of the last attempt.
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

    /// Waits before the next attempt, given how many were made; `false` if there must not be another one.
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

/// A random wait of at most 50 ms times two to the power of `attempts`, and at most 5 s: full jitter, as in
/// the AWS Architecture Blog, "Exponential Backoff And Jitter".
fn backoff(attempts: u32) -> Duration {
    let ceiling = FIRST_WAIT.saturating_mul(2_u32.saturating_pow(attempts)).min(LONGEST_WAIT);
    jittered(ceiling)
}

/// A random duration between zero and a ceiling.
#[must_use]
pub fn jittered(ceiling: Duration) -> Duration {
    ceiling.mul_f64(fastrand::f64())
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, future::ready};

    use super::*;

    /// The outcome of an operation that fails so often before it succeeds, and its attempts. The error tells whether it
    /// is temporary.
    async fn tried(failures: usize, is_temporary: bool) -> (Result<(), bool>, usize) {
        let attempts = Cell::new(0);
        let attempt = || {
            attempts.set(attempts.get() + 1);
            ready(if attempts.get() <= failures { Err(is_temporary) } else { Ok(()) })
        };
        let outcome = Patience::REQUEST.retry(attempt, |is_temporary| *is_temporary).await;
        (outcome, attempts.get())
    }

    #[tokio::test(start_paused = true)]
    async fn an_operation_is_repeated_until_it_succeeds_or_fails_for_good() {
        assert_eq!(tried(0, true).await, (Ok(()), 1));
        assert_eq!(tried(3, true).await, (Ok(()), 4));
        assert_eq!(tried(3, false).await, (Err(false), 1));
        assert_eq!(tried(99, true).await, (Err(true), 8));
    }

    #[test]
    fn the_longest_wait_doubles_with_each_attempt_up_to_five_seconds() {
        for (attempts, most) in [(1, 100), (2, 200), (6, 3_200), (7, 5_000), (u32::MAX, 5_000)] {
            let most = Duration::from_millis(most);
            let waits: Vec<Duration> = (0..1_000).map(|_| backoff(attempts)).collect();
            let longest = waits.iter().max().copied().unwrap_or_default();
            // Of a thousand random waits one is almost certainly in the highest fifth.
            assert!(longest <= most && longest > most * 4 / 5, "{attempts}: {longest:?}");
        }
    }

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
