//! Adaptive limits of the writes of one account: how many requests are in flight, and how many are sent per second.
//!
//! All items of an account share a partition of a table until DynamoDB splits it, and a partition serves 1,000 write
//! units per second. With an answer in 4 ms, 32 requests in flight are far more than that, and longer waits before a
//! retry do not help while other requests keep coming. So once a request is throttled, requests are also paced: the
//! rate falls to 0.85 of what the database accepted, and returns along a cubic curve, slowly near the rate that was too
//! much, and faster the longer nothing is throttled (CUBIC, RFC 9438, which the adaptive retry mode of AWS SDKs also
//! uses). The number in flight stays limited: a slow database must not collect requests.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use super::batch::CONCURRENT_BATCHES;
use crate::{account::AccountId, lock::lock};

/// The maximum number of single-item writes in flight: as many connections as a small function should have.
pub(super) const CONCURRENT_WRITES: usize = 32;

/// The limits of each account. An account that is throttled slows down no other.
#[derive(Debug, Default)]
pub(super) struct Limits(Mutex<HashMap<AccountId, Arc<AccountLimits>>>);

/// The limits of one account.
#[derive(Debug)]
pub(super) struct AccountLimits {
    /// Of batches and transactions.
    pub(super) batches: Limiter,
    /// Of writes of a single item.
    pub(super) writes: Limiter,
}

/// How many accounts an instance keeps limits of. They are only a memory of throttles: to forget them is no error.
const MAX_ACCOUNTS: usize = 1_000;

impl Limits {
    pub(super) fn of(&self, account: &AccountId) -> Arc<AccountLimits> {
        let mut accounts = lock(&self.0);
        if let Some(limits) = accounts.get(account) {
            return limits.clone();
        }
        if accounts.len() >= MAX_ACCOUNTS {
            accounts.retain(|_, limits| Arc::strong_count(limits) > 1);
        }
        let limits = Arc::new(AccountLimits::default());
        accounts.insert(account.clone(), limits.clone());
        limits
    }
}

impl Default for AccountLimits {
    fn default() -> Self {
        Self { batches: Limiter::new(CONCURRENT_BATCHES), writes: Limiter::new(CONCURRENT_WRITES) }
    }
}

/// Limits how many requests are in flight and, once the database has throttled one, how many are sent per second.
#[derive(Debug)]
pub(super) struct Limiter {
    most: usize,
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// How many requests are in flight, or wait for their turn by the pace.
    in_flight: usize,
    /// When requests were accepted within the last second.
    accepted: VecDeque<Instant>,
    /// `None` until a request is throttled.
    pace: Option<Pace>,
    /// How often the rate was decreased.
    decreases: u64,
}

/// How many requests are sent per second.
#[derive(Debug)]
struct Pace {
    /// The rate that was too much.
    too_much: f64,
    /// When the rate was decreased.
    since: Instant,
    /// When the next request may be sent.
    next: Instant,
}

/// What is left of the rate after a throttle.
const DECREASE: f64 = 0.85;

/// How fast the curve rises, in requests per second, per second cubed (RFC 9438 section 4.1.2).
const RISE: f64 = 0.4;

/// The lowest rate that was too much, per second. A partition serves more, unless items are large; then waits before
/// retries do the rest. Without a floor, throttles at random would end in a standstill.
const SLOWEST: f64 = 100.0;

/// Over how long the accepted requests are counted, at most and at least.
const WINDOW: Duration = Duration::from_secs(1);
const SHORTEST: Duration = Duration::from_millis(100);

impl Pace {
    /// The rate at this time, per second.
    fn rate(&self, now: Instant) -> f64 {
        let back = (self.too_much * (1.0 - DECREASE) / RISE).cbrt();
        let elapsed = now.saturating_duration_since(self.since).as_secs_f64();
        RISE * (elapsed - back).powi(3) + self.too_much
    }
}

impl Pace {
    /// Takes the next turn.
    fn turn(&mut self) -> Instant {
        let turn = self.next.max(Instant::now());
        self.next = turn + Duration::from_secs_f64(1.0 / self.rate(turn));
        turn
    }
}

impl State {
    fn count(&mut self, now: Instant) {
        self.accepted.push_back(now);
        while self.accepted.front().is_some_and(|first| now.duration_since(*first) > WINDOW) {
            self.accepted.pop_front();
        }
    }

    /// How many requests were accepted per second, since the last decrease if that was within the last second: what was
    /// accepted before it may have been a burst that used up what the database had saved.
    fn accepted_rate(&self, now: Instant) -> f64 {
        let Some(first) = self.accepted.front().copied() else { return 0.0 };
        let since = self.pace.as_ref().map_or(first, |pace| pace.since.max(first));
        #[expect(clippy::cast_precision_loss, reason = "not so many requests in a second")]
        let count =
            self.accepted.iter().rev().take_while(|accepted| **accepted >= since).count() as f64;
        count / now.duration_since(since).max(SHORTEST).as_secs_f64()
    }
}

/// The permission to send one request; dropping it releases it.
#[derive(Debug)]
pub(super) struct Permit<'a> {
    limiter: &'a Limiter,
    /// How often the rate had been decreased when this permit was issued.
    decreases: u64,
}

impl Limiter {
    /// Allows at most so many requests in flight.
    pub(super) fn new(most: usize) -> Self {
        Self { most, state: Mutex::default(), freed: Notify::new() }
    }

    /// Waits for a permit. It is to be held only while the request is in flight, not during a retry's wait.
    pub(super) async fn permit(&self) -> Permit<'_> {
        let mut permit = self.place().await;
        loop {
            let turn = {
                let mut state = lock(&self.state);
                permit.decreases = state.decreases;
                state.pace.as_mut().map(Pace::turn)
            };
            // Timers round up to a millisecond; a turn that has come is not waited for.
            match turn {
                Some(turn) if turn > Instant::now() => tokio::time::sleep_until(turn).await,
                _ => return permit,
            }
            // After a decrease the turn was too early.
            if lock(&self.state).decreases == permit.decreases {
                return permit;
            }
        }
    }

    /// Waits until one more request may be in flight.
    async fn place(&self) -> Permit<'_> {
        loop {
            let freed = self.freed.notified();
            {
                let mut state = lock(&self.state);
                if state.in_flight < self.most {
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
        let mut state = lock(&self.limiter.state);
        let now = Instant::now();
        if accepted {
            return state.count(now);
        }
        let accepted_rate = state.accepted_rate(now);
        // A request that began before the last decrease does not cause another one, nor one that came so soon after it
        // that the rate which the database accepts is not known yet. If nothing is accepted, it is no matter of the
        // rate: then only the waits before retries help.
        if state.decreases == self.decreases
            && state.pace.as_ref().is_none_or(|pace| now.duration_since(pace.since) >= SHORTEST)
            && accepted_rate > 0.0
        {
            let paced = state.pace.as_ref().map(|pace| pace.rate(now));
            // What little was accepted at the beginning of an outage says nothing: at most half at a time.
            let least = paced.map_or(SLOWEST, |paced| (paced / 2.0).max(SLOWEST));
            let too_much = accepted_rate.min(paced.unwrap_or(f64::INFINITY)).max(least);
            state.pace = Some(Pace { too_much, since: now, next: now });
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
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Sends requests for some seconds to a database that accepts so many per second, and answers in 4 ms; returns how
    /// many it accepted and throttled.
    async fn send_for(limiter: &Arc<Limiter>, seconds: u64, limit: f64) -> (usize, usize) {
        let database = Arc::new(Mutex::new((limit, Instant::now())));
        let counts = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
        let end = Instant::now() + Duration::from_secs(seconds);
        let tasks = (0..64).map(|_| {
            let (limiter, database, counts) = (limiter.clone(), database.clone(), counts.clone());
            tokio::spawn(async move {
                while Instant::now() < end {
                    let permit = limiter.permit().await;
                    tokio::time::sleep(Duration::from_millis(4)).await;
                    let accepted = {
                        let mut database = lock(&database);
                        let elapsed = database.1.elapsed().as_secs_f64();
                        *database = ((database.0 + limit * elapsed).min(limit), Instant::now());
                        let accepted = database.0 >= 1.0;
                        database.0 -= f64::from(u8::from(accepted));
                        accepted
                    };
                    permit.release(accepted);
                    if accepted {
                        counts.0.fetch_add(1, Ordering::Relaxed);
                    } else {
                        counts.1.fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                }
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.expect("task");
        }
        (counts.0.load(Ordering::Relaxed), counts.1.load(Ordering::Relaxed))
    }

    #[tokio::test(start_paused = true)]
    async fn a_partitions_limit_is_used_and_hardly_ever_exceeded() {
        for limit in [100.0, 500.0, 1_000.0] {
            let limiter = Arc::new(Limiter::new(32));
            let (accepted, throttled) = send_for(&limiter, 60, limit).await;
            #[expect(clippy::cast_precision_loss, reason = "some thousand requests")]
            let (accepted, throttled) = (accepted as f64, throttled as f64);
            assert!(accepted >= 0.95 * 60.0 * limit, "{accepted} at {limit} per second");
            assert!(throttled <= 0.03 * accepted, "{throttled} of {accepted} at {limit}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn when_the_database_accepts_more_again_the_rate_follows() {
        let limiter = Arc::new(Limiter::new(32));
        send_for(&limiter, 20, 100.0).await;
        let (accepted, _) = send_for(&limiter, 30, 4_000.0).await;
        assert!(accepted > 30_000, "{accepted} within half a minute");
    }

    #[tokio::test(start_paused = true)]
    async fn without_throttles_nothing_is_paced() {
        let limiter = Arc::new(Limiter::new(32));
        let (accepted, throttled) = send_for(&limiter, 1, 1e9).await;
        assert_eq!(throttled, 0);
        assert!(accepted >= 32 * 250, "{accepted}: 32 in flight, 4 ms each");
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
                match number % 25 {
                    0 => permit.release(false),
                    1..20 => permit.release(true),
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

    #[test]
    fn an_account_keeps_its_limits_and_shares_them_with_no_other() {
        let limits = Limits::default();
        let account = |name: &str| -> AccountId { name.parse().expect("account") };
        let first = limits.of(&account("FIRST"));
        assert!(Arc::ptr_eq(&first, &limits.of(&account("FIRST"))));
        assert!(!Arc::ptr_eq(&first, &limits.of(&account("SECOND"))));
        for number in 0..2 * MAX_ACCOUNTS {
            limits.of(&account(&format!("A{number}")));
        }
        assert!(lock(&limits.0).len() <= MAX_ACCOUNTS);
        assert!(Arc::ptr_eq(&first, &limits.of(&account("FIRST"))), "it is in use");
    }
}
