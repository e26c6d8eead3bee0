//! An adaptive concurrency limiter (AIMD): as many requests at once as the database takes.
//!
//! A table on demand takes at once what it took before, and doubles that within half an hour; what comes
//! on top is throttled (DynamoDB developer guide, "On-demand capacity mode"). Waiting longer between
//! attempts does not help where eight others go on. So each throttle halves how many go at once, and
//! each full round without one allows one more: additive increase, multiplicative decrease, as TCP
//! does (RFC 5681).

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// How many requests go at once.
#[derive(Debug)]
pub(super) struct Limiter {
    most: usize,
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Debug)]
struct State {
    /// How many may be under way.
    limit: usize,
    /// How many are.
    under_way: usize,
    /// Taken by the database since the limit last changed.
    taken: usize,
    /// How often the limit was cut.
    cuts: u64,
}

/// The permission to send one request; it is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Permit<'a> {
    limiter: &'a Limiter,
    /// How often the limit had been cut when this began.
    cuts: u64,
}

impl Limiter {
    /// Begins with this many at once, and never has more.
    pub(super) fn new(most: usize) -> Self {
        let state = State { limit: most, under_way: 0, taken: 0, cuts: 0 };
        Self { most, state: Mutex::new(state), freed: Notify::new() }
    }

    /// Waits for a permit. Nobody holds one while waiting for anything but the answer.
    pub(super) async fn permit(&self) -> Permit<'_> {
        loop {
            let freed = self.freed.notified();
            {
                let mut state = self.state();
                if state.under_way < state.limit {
                    state.under_way += 1;
                    return Permit { limiter: self, cuts: state.cuts };
                }
            }
            freed.await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that holds it panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit<'_> {
    /// Gives the permit back with what came of it: did the database take all that was sent?
    pub(super) fn end(self, taken: bool) {
        if taken { self.taken() } else { self.throttled() }
    }

    /// The database took what was sent.
    fn taken(self) {
        let mut state = self.limiter.state();
        state.taken += 1;
        if state.taken >= state.limit && state.limit < self.limiter.most {
            state.limit += 1;
            state.taken = 0;
            self.limiter.freed.notify_one();
        }
    }

    /// The database was asked for more than it gives. What began before the last cut says nothing
    /// new.
    fn throttled(self) {
        let mut state = self.limiter.state();
        if state.cuts == self.cuts {
            state.limit = (state.limit / 2).max(1);
            state.taken = 0;
            state.cuts += 1;
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.limiter.state().under_way -= 1;
        self.limiter.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    fn limit(limiter: &Limiter) -> usize {
        limiter.state().limit
    }

    #[tokio::test]
    async fn a_round_of_throttles_halves_once_and_full_rounds_bring_back_one_by_one() {
        let limiter = Limiter::new(8);
        let mut round = Vec::new();
        for _ in 0..8 {
            round.push(limiter.permit().await);
        }
        round.into_iter().for_each(Permit::throttled);
        assert_eq!(limit(&limiter), 4, "one round is one cut");
        for expected in [2, 1, 1] {
            limiter.permit().await.throttled();
            assert_eq!(limit(&limiter), expected);
        }
        for expected in [2, 2, 3, 3, 3, 4] {
            limiter.permit().await.taken();
            assert_eq!(limit(&limiter), expected);
        }
        for _ in 0..100 {
            limiter.permit().await.taken();
        }
        assert_eq!(limit(&limiter), 8, "never more than at first");
    }

    #[tokio::test]
    async fn all_get_a_permit_and_never_more_at_once_than_allowed() {
        let limiter = Arc::new(Limiter::new(3));
        let (under_way, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let tasks = (0..100).map(|number| {
            let (limiter, under_way, done) = (limiter.clone(), under_way.clone(), done.clone());
            tokio::spawn(async move {
                let permit = limiter.permit().await;
                assert!(under_way.fetch_add(1, Ordering::SeqCst) < 3);
                tokio::task::yield_now().await;
                under_way.fetch_sub(1, Ordering::SeqCst);
                match number % 3 {
                    0 => permit.throttled(),
                    1 => permit.taken(),
                    // One that was given up, a future dropped midway.
                    _ => drop(permit),
                }
                done.fetch_add(1, Ordering::SeqCst);
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.expect("task");
        }
        assert_eq!(done.load(Ordering::SeqCst), 100);
    }
}
