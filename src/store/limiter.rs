//! Adaptive limits of the writes of one account: how many requests are in flight, and how many are sent per second.
//!
//! The items of an account share a partition of each table until DynamoDB splits it, and a partition serves 1,000 write
//! units per second. With an answer in 4 ms, 32 requests in flight are far more than that, and longer waits before a
//! retry do not help while other requests keep coming. So once a request is throttled, requests are also paced: the
//! rate falls to 0.85 of what the database accepted (at most to half of itself, and 0.85 of that), and returns along a
//! cubic curve, slowly near the rate that was too much, and faster the longer nothing is throttled (CUBIC, RFC 9438, which
//! the adaptive retry mode of AWS SDKs also uses). The number in flight stays limited: a slow database must not collect requests.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::Instant,
};

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
        Self {
            // A transaction of a network consumes 26 units, a batch of 100 items 100.
            batches: Limiter::new(CONCURRENT_BATCHES, 10.0),
            writes: Limiter::new(CONCURRENT_WRITES, 100.0),
        }
    }
}

/// Limits how many requests are in flight and, once the database has throttled one, how many are sent per second.
#[derive(Debug)]
pub(super) struct Limiter {
    /// Requests in flight, or waiting for their turn by the pace.
    places: Semaphore,
    /// The lowest rate that is remembered as too much, per second. Without it, throttles at random would end in a
    /// standstill.
    slowest: f64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What was accepted since the last decrease; what was accepted before it may have been a burst that used up what
    /// the database had saved.
    accepted: Option<Window>,
    /// `None` until a request is throttled, and when that is long ago.
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

/// How fast the curve rises, in requests per second, per second cubed (the constant C of RFC 9438).
const RISE: f64 = 0.4;

/// Above this rate, per second, there is no pace: the number in flight limits it.
const FASTEST: f64 = 10_000.0;

impl Pace {
    /// The rate at this time, per second.
    fn rate(&self, now: Instant) -> f64 {
        let back = (self.too_much * (1.0 - DECREASE) / RISE).cbrt();
        let elapsed = now.saturating_duration_since(self.since).as_secs_f64();
        RISE * (elapsed - back).powi(3) + self.too_much
    }
}

/// How many of the intervals of [`INTERVAL`] a window has.
const INTERVALS: usize = 10;
const INTERVAL: Duration = Duration::from_millis(100);

/// Counts events of the last second, or since its start.
#[derive(Debug)]
struct Window {
    start: Instant,
    counts: [u32; INTERVALS],
    /// The number of the current interval since the start.
    current: u128,
}

impl Window {
    fn new(start: Instant) -> Self {
        Self { start, counts: [0; INTERVALS], current: 0 }
    }

    /// The place of the current interval; those that have passed since are emptied.
    fn advance(&mut self, now: Instant) -> usize {
        let intervals = INTERVALS as u128;
        let current = now.saturating_duration_since(self.start).as_millis() / INTERVAL.as_millis();
        let passed = (current - self.current.min(current)).min(intervals);
        for interval in 0..passed {
            self.counts[usize::try_from((current - interval) % intervals).unwrap_or_default()] = 0;
        }
        self.current = current;
        usize::try_from(current % intervals).unwrap_or_default()
    }

    fn count(&mut self, now: Instant) {
        let place = self.advance(now);
        self.counts[place] = self.counts[place].saturating_add(1);
    }

    /// Events per second; `None` if it has not counted for long enough to tell.
    fn rate(&mut self, now: Instant) -> Option<f64> {
        self.advance(now);
        let elapsed = now.saturating_duration_since(self.start).min(INTERVAL * 10);
        let count: u32 = self.counts.iter().sum();
        (elapsed >= INTERVAL).then(|| f64::from(count) / elapsed.as_secs_f64())
    }
}

impl State {
    /// The pace, unless it is faster than any.
    fn pace(&mut self, now: Instant) -> Option<&mut Pace> {
        self.pace.take_if(|pace| pace.rate(now) > FASTEST);
        self.pace.as_mut()
    }

    /// When the next request may be sent; `None`: at once.
    fn turn(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let pace = self.pace(now)?;
        let turn = pace.next.max(now);
        pace.next = turn + Duration::from_secs_f64(1.0 / pace.rate(turn));
        (turn > now).then_some(turn)
    }
}

/// The permission to send one request; dropping it releases it.
#[derive(Debug)]
pub(super) struct Permit<'a> {
    limiter: &'a Limiter,
    /// How often the rate had been decreased when this permit was issued.
    decreases: u64,
    /// `None` if the semaphore was closed, which it never is.
    _place: Option<SemaphorePermit<'a>>,
}

impl Limiter {
    /// Allows at most so many requests in flight, and slows down to this rate at most, per second.
    pub(super) fn new(most: usize, slowest: f64) -> Self {
        Self { places: Semaphore::new(most), slowest, state: Mutex::default() }
    }

    /// Waits for a permit. It is to be held only while the request is in flight, not during a retry's wait.
    pub(super) async fn permit(&self) -> Permit<'_> {
        let place = self.places.acquire().await.ok();
        loop {
            let (turn, decreases) = {
                let mut state = lock(&self.state);
                (state.turn(), state.decreases)
            };
            if let Some(turn) = turn {
                tokio::time::sleep_until(turn).await;
                // After a decrease the turn was too early.
                if lock(&self.state).decreases != decreases {
                    continue;
                }
            }
            return Permit { limiter: self, decreases, _place: place };
        }
    }
}

impl Permit<'_> {
    /// The database accepted the request, whatever it answered.
    pub(super) fn accepted(self) {
        let now = Instant::now();
        let mut state = lock(&self.limiter.state);
        state.accepted.get_or_insert_with(|| Window::new(now)).count(now);
    }

    /// The database throttled the request.
    ///
    /// A request that was sent before the last decrease does not cause another one, nor does one that comes before it is
    /// known how much is accepted. If nothing is accepted, it is no matter of the rate: then only the waits before
    /// retries help.
    pub(super) fn throttled(self) {
        let now = Instant::now();
        let mut state = lock(&self.limiter.state);
        if state.decreases != self.decreases {
            return;
        }
        let accepted = state.accepted.as_mut().and_then(|window| window.rate(now));
        let Some(accepted) = accepted.filter(|rate| *rate > 0.0) else { return };
        let slowest = self.limiter.slowest;
        let paced = state.pace(now).map(|pace| pace.rate(now));
        // What little is accepted at the beginning of an outage says nothing: at most half at a time.
        let least = paced.map_or(slowest, |paced| (paced / 2.0).max(slowest));
        let too_much = accepted.min(paced.unwrap_or(f64::INFINITY)).max(least);
        state.pace = Some(Pace { too_much, since: now, next: now });
        state.accepted = Some(Window::new(now));
        state.decreases += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;

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
                    if accepted {
                        permit.accepted();
                        counts.0.fetch_add(1, Ordering::Relaxed);
                    } else {
                        permit.throttled();
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
            let limiter = Arc::new(Limiter::new(32, 100.0));
            let (accepted, throttled) = send_for(&limiter, 60, limit).await;
            #[expect(clippy::cast_precision_loss, reason = "some thousand requests")]
            let (accepted, throttled) = (accepted as f64, throttled as f64);
            assert!(accepted >= 0.95 * 60.0 * limit, "{accepted} at {limit} per second");
            assert!(throttled <= 0.05 * accepted, "{throttled} of {accepted} at {limit}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn when_the_database_accepts_more_again_the_rate_follows() {
        let limiter = Arc::new(Limiter::new(32, 100.0));
        send_for(&limiter, 20, 100.0).await;
        let (accepted, _) = send_for(&limiter, 30, 4_000.0).await;
        assert!(accepted > 30_000, "{accepted} within half a minute");
    }

    #[tokio::test(start_paused = true)]
    async fn a_throttle_of_long_ago_is_forgotten() {
        let limiter = Arc::new(Limiter::new(32, 100.0));
        send_for(&limiter, 20, 500.0).await;
        tokio::time::sleep(Duration::from_hours(1)).await;
        let (accepted, throttled) = send_for(&limiter, 20, 500.0).await;
        assert!(accepted >= 9_000, "{accepted}");
        assert!(throttled <= 500, "{throttled} of {accepted}");
    }

    #[tokio::test(start_paused = true)]
    async fn if_nothing_is_accepted_the_rate_is_not_to_blame() {
        let limiter = Arc::new(Limiter::new(32, 100.0));
        send_for(&limiter, 5, 1e9).await;
        send_for(&limiter, 30, 0.0).await;
        let (accepted, _) = send_for(&limiter, 1, 1e9).await;
        assert!(accepted >= 3_000, "{accepted} in the first second after an outage");
    }

    #[tokio::test(start_paused = true)]
    async fn without_throttles_nothing_is_paced() {
        let limiter = Arc::new(Limiter::new(32, 100.0));
        let (accepted, throttled) = send_for(&limiter, 1, 1e9).await;
        assert_eq!(throttled, 0);
        assert!(accepted >= 32 * 250, "{accepted}: 32 in flight, 4 ms each");
    }

    #[tokio::test]
    async fn all_get_a_permit_and_never_more_at_once_than_allowed() {
        let limiter = Arc::new(Limiter::new(3, 100.0));
        let (in_flight, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let tasks = (0..100).map(|number| {
            let (limiter, in_flight, done) = (limiter.clone(), in_flight.clone(), done.clone());
            tokio::spawn(async move {
                let permit = limiter.permit().await;
                assert!(in_flight.fetch_add(1, Ordering::SeqCst) < 3);
                tokio::task::yield_now().await;
                in_flight.fetch_sub(1, Ordering::SeqCst);
                match number % 25 {
                    0 => permit.throttled(),
                    1..20 => permit.accepted(),
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
    fn close(value: f64, expected: f64) {
        assert!((value - expected).abs() < 0.01, "{value} is not {expected}");
    }

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[tokio::test(start_paused = true)]
    async fn a_window_has_the_events_of_the_last_second_or_since_its_start() {
        let start = Instant::now();
        let mut window = Window::new(start);
        assert_eq!(window.rate(start), None);
        for at in [0, 0, 50, 99] {
            window.count(start + millis(at));
        }
        assert_eq!(window.rate(start + millis(99)), None, "it is too early to tell");
        close(window.rate(start + millis(100)).expect("a rate"), 40.0);
        window.count(start + millis(150));
        close(window.rate(start + millis(500)).expect("a rate"), 10.0);
        close(window.rate(start + millis(999)).expect("a rate"), 5.005);
        // The first tenth of a second has passed.
        close(window.rate(start + millis(1_000)).expect("a rate"), 1.0);
        window.count(start + millis(1_050));
        close(window.rate(start + millis(1_099)).expect("a rate"), 2.0);
        close(window.rate(start + millis(1_100)).expect("a rate"), 1.0);
        close(window.rate(start + millis(1_999)).expect("a rate"), 1.0);
        close(window.rate(start + millis(2_000)).expect("a rate"), 0.0);
        window.count(start + millis(2_000));
        // All that was counted is older than a second, and its places are empty again.
        close(window.rate(start + millis(60_000)).expect("a rate"), 0.0);
        window.count(start + millis(60_000));
        close(window.rate(start + millis(60_999)).expect("a rate"), 1.0);
        close(window.rate(start + millis(61_000)).expect("a rate"), 0.0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_falls_and_returns_slowly_near_what_was_too_much() {
        let since = Instant::now();
        let pace = Pace { too_much: 100.0, since, next: since };
        // 100 × 0.15 ÷ 0.4 is 37.5, whose cube root is 3.3472.
        for (after, rate) in [(0, 85.0), (1_000, 94.828), (3_347, 100.0), (5_000, 101.806)] {
            close(pace.rate(since + millis(after)), rate);
        }
        close(pace.rate(since + Duration::from_secs(20)), 1947.245);
    }

    /// A limiter that has seen so many requests accepted within a tenth of a second.
    async fn busy(slowest: f64, accepted: usize) -> Limiter {
        let limiter = Limiter::new(32, slowest);
        accept(&limiter, accepted).await;
        limiter
    }

    async fn accept(limiter: &Limiter, count: usize) {
        for _ in 0..count {
            limiter.permit().await.accepted();
        }
        tokio::time::advance(millis(100)).await;
    }

    /// The rate that was too much, and how often it was decreased.
    fn state(limiter: &Limiter) -> (Option<f64>, u64) {
        let state = lock(&limiter.state);
        (state.pace.as_ref().map(|pace| pace.too_much), state.decreases)
    }

    #[tokio::test(start_paused = true)]
    async fn a_throttle_remembers_what_was_accepted_as_too_much() {
        // Of an idle database nothing is known.
        let limiter = busy(100.0, 0).await;
        limiter.permit().await.throttled();
        assert_eq!(state(&limiter), (None, 0));

        let limiter = busy(100.0, 50).await;
        let (first, second) = (limiter.permit().await, limiter.permit().await);
        first.throttled();
        assert_eq!(state(&limiter), (Some(500.0), 1));
        // It was sent before the rate fell.
        second.throttled();
        assert_eq!(state(&limiter), (Some(500.0), 1));

        // A single accepted request says little: the rate falls to half of what it is by now, 432.6.
        limiter.permit().await.accepted();
        tokio::time::advance(millis(200)).await;
        limiter.permit().await.throttled();
        let (too_much, decreases) = state(&limiter);
        close(too_much.expect("a pace"), 216.295);
        assert_eq!(decreases, 2);

        // What was sent before the rate fell may be accepted, but raises no rate.
        let limiter = busy(10.0, 10).await;
        let earlier = join_all((0..20).map(|_| limiter.permit())).await;
        limiter.permit().await.throttled();
        earlier.into_iter().for_each(Permit::accepted);
        tokio::time::advance(millis(100)).await;
        limiter.permit().await.throttled();
        close(state(&limiter).0.expect("a pace"), 86.305);

        // It does not fall below the slowest.
        let limiter = busy(100.0, 5).await;
        limiter.permit().await.throttled();
        assert_eq!(state(&limiter), (Some(100.0), 1));
        let rate = lock(&limiter.state).pace.as_ref().map(|pace| pace.rate(Instant::now()));
        close(rate.expect("a pace"), 85.0);
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_throttle_requests_are_sent_one_by_one_at_the_pace() {
        let limiter = busy(100.0, 10).await;
        limiter.permit().await.throttled();
        let begin = Instant::now();
        let mut sent = Vec::new();
        for _ in 0..4 {
            limiter.permit().await.accepted();
            sent.push(begin.elapsed().as_millis());
        }
        // 85 a second is one every 11.8 ms; a timer has milliseconds.
        assert_eq!(sent, [0, 12, 24, 36]);
        // Turns that nobody took are not made up for.
        tokio::time::advance(millis(1_000)).await;
        let (begin, mut sent) = (Instant::now(), Vec::new());
        for _ in 0..3 {
            limiter.permit().await.accepted();
            sent.push(begin.elapsed().as_millis());
        }
        assert_eq!(sent, [0, 11, 22]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pace_faster_than_any_is_none() {
        let since = Instant::now();
        let pace = || Some(Pace { too_much: 100.0, since, next: since + Duration::from_hours(9) });
        let mut state = State { pace: pace(), ..State::default() };
        // 0.4 × 29.14³ + 100 is 10,000.
        assert!(state.pace(since + millis(32_400)).is_some());
        assert!(state.pace(since + millis(32_600)).is_none());
        assert!(state.pace.is_none(), "it is forgotten");
        assert_eq!(state.turn(), None, "at once");
    }
}
