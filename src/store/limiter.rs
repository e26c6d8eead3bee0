//! An adaptive concurrency limiter (AIMD): as many requests in flight as the database accepts.
//!
//! An on-demand table immediately accepts the load it has served before, and doubles that within half an
//! hour; requests beyond that are throttled (DynamoDB developer guide, "On-demand capacity mode").
//! Longer waits before a retry do not help while eight other requests keep coming. So a throttled request
//! halves the limit, and at a limit of n, n successes in a row raise it by one: additive increase,
//! multiplicative decrease, as in TCP (RFC 5681).

use std::sync::Mutex;

use tokio::sync::Notify;

use crate::lock::lock;

/// Limits how many requests are in flight.
#[derive(Debug)]
pub(super) struct Limiter {
    most: usize,
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Debug)]
struct State {
    /// How many requests may be in flight.
    limit: usize,
    /// How many requests are in flight.
    in_flight: usize,
    /// Requests that the database accepted since the limit last changed.
    accepted: usize,
    /// How often the limit was decreased.
    decreases: u64,
}

/// The permission to send one request; dropping it releases it.
#[derive(Debug)]
pub(super) struct Permit<'a> {
    limiter: &'a Limiter,
    /// How often the limit had been decreased when this permit was issued.
    decreases: u64,
}

impl Limiter {
    /// Starts with this limit, which is also the highest.
    pub(super) fn new(most: usize) -> Self {
        let state = State { limit: most, in_flight: 0, accepted: 0, decreases: 0 };
        Self { most, state: Mutex::new(state), freed: Notify::new() }
    }

    /// Waits for a permit. It is to be held only while the request is in flight, not during a retry's wait.
    pub(super) async fn permit(&self) -> Permit<'_> {
        loop {
            let freed = self.freed.notified();
            {
                let mut state = lock(&self.state);
                if state.in_flight < state.limit {
                    state.in_flight += 1;
                    return Permit { limiter: self, decreases: state.decreases };
                }
            }
            freed.await;
        }
    }
}

impl Permit<'_> {
    /// Releases the permit, and reports whether the database accepted the request or throttled it.
    pub(super) fn release(self, accepted: bool) {
        if accepted { self.accepted() } else { self.throttled() }
    }

    /// The database accepted the request.
    fn accepted(self) {
        let mut state = lock(&self.limiter.state);
        state.accepted += 1;
        if state.accepted >= state.limit && state.limit < self.limiter.most {
            state.limit += 1;
            state.accepted = 0;
            self.limiter.freed.notify_one();
        }
    }

    /// The database throttled the request. A request that began before the last decrease does not cause
    /// another one.
    fn throttled(self) {
        let mut state = lock(&self.limiter.state);
        if state.decreases == self.decreases {
            state.limit = (state.limit / 2).max(1);
            state.accepted = 0;
            state.decreases += 1;
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        lock(&self.limiter.state).in_flight -= 1;
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
        lock(&limiter.state).limit
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
            limiter.permit().await.accepted();
            assert_eq!(limit(&limiter), expected);
        }
        for _ in 0..100 {
            limiter.permit().await.accepted();
        }
        assert_eq!(limit(&limiter), 8, "never more than at first");
    }

    #[tokio::test]
    async fn all_get_a_permit_and_never_more_at_once_than_allowed() {
        let limiter = Arc::new(Limiter::new(3));
        let (in_flight, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let tasks = (0..100).map(|number| {
            let (limiter, in_flight, done) = (limiter.clone(), in_flight.clone(), done.clone());
            tokio::spawn(async move {
                let permit = limiter.permit().await;
                assert!(in_flight.fetch_add(1, Ordering::SeqCst) < 3);
                tokio::task::yield_now().await;
                in_flight.fetch_sub(1, Ordering::SeqCst);
                match number % 3 {
                    0 => permit.throttled(),
                    1 => permit.accepted(),
                    // An abandoned request: its future was dropped.
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
