//! The limits of keys, as one instance enforces them.
//!
//! An instance spends an allowance (a tenth of a limit) by itself before it reports, and reports at least every five
//! seconds while it serves. Lambda freezes an instance between requests, so the next request makes a due report: while
//! it is answered if only the time is due, before it is admitted if the allowance is spent or the limits were changed. A
//! request that has spent more than an allowance is reported before its reply. Of one key there is one report at a time;
//! requests that need its outcome wait for it.

use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex},
    time::Duration,
};

use jiff::Timestamp;
use lru::LruCache;
use tokio::time::{Instant, timeout};

use crate::{
    access::{
        KeyHash, Limits, Standing, Usage, UsageCounters,
        ledger::{Admission, Ledger},
        limits::Draw,
    },
    cause::chain,
    clock::Clock,
    lock::lock,
};

const CACHED_KEYS: NonZeroUsize = NonZeroUsize::new(1_000).unwrap();

/// How long the counter may take. Where it takes longer, requests are admitted without it.
const COUNTER_TIMEOUT: Duration = Duration::from_millis(500);

/// The ledgers of the keys that an instance has seen lately.
pub(super) struct KeyLimiter {
    clock: Clock,
    keys: Mutex<LruCache<KeyHash, Arc<Key>>>,
}

struct Key {
    hash: KeyHash,
    ledger: Mutex<Ledger>,
    /// Held while the database is asked: one report at a time.
    asking: tokio::sync::Mutex<()>,
}

/// An admitted request, which is charged when it has been answered.
pub(super) struct Admitted {
    key: Arc<Key>,
    draw: Draw,
    is_due: bool,
    /// Why the counter was not asked, though it should have been.
    pub(super) unchecked: Option<String>,
}

impl KeyLimiter {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, keys: Mutex::new(LruCache::new(CACHED_KEYS)) }
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn key(&self, hash: &KeyHash) -> Arc<Key> {
        let new = || {
            let (ledger, asking) = (Mutex::default(), tokio::sync::Mutex::default());
            Arc::new(Key { hash: hash.clone(), ledger, asking })
        };
        lock(&self.keys).get_or_insert(hash.clone(), new).clone()
    }

    /// Admits a request of a key with limits.
    ///
    /// # Errors
    /// How things stand with the balance that is empty.
    pub(super) async fn admit(
        &self,
        counters: &impl UsageCounters,
        hash: &KeyHash,
        limits: Limits,
        draw: Draw,
    ) -> Result<Admitted, Standing> {
        let key = self.key(hash);
        let (mut cause, mut has_asked) = (None, false);
        loop {
            let admission = {
                let mut ledger = lock(&key.ledger);
                // Concurrent requests may know other limits: each applies its own once, or they could keep each other
                // asking.
                let limits = if has_asked { ledger.limits() } else { limits };
                ledger.admit(self.now(), Instant::now(), draw, limits)
            };
            match admission {
                Admission::Refused(standing) => return Err(standing),
                Admission::Admitted { is_due, is_unchecked } => {
                    let skipped = || "not asked after a failure".to_owned();
                    let unchecked = is_unchecked.then(|| cause.take().unwrap_or_else(skipped));
                    return Ok(Admitted { key, draw, is_due, unchecked });
                }
                Admission::AskFirst => {
                    let asking = key.asking.lock().await;
                    // Another request may have asked meanwhile.
                    if lock(&key.ledger).is_waiting(Instant::now()) {
                        cause = self.ask(counters, &key).await.err().or(cause);
                    }
                    drop(asking);
                    has_asked = true;
                }
            }
        }
    }

    /// How things stand with a key whose request is refused for another reason than its limits.
    pub(super) fn standing_of(
        &self,
        hash: &KeyHash,
        limits: &Limits,
        draw: Draw,
    ) -> Option<Standing> {
        if limits.is_none() {
            return None;
        }
        lock(&self.key(hash).ledger).standing_with(self.now(), draw, limits)
    }

    /// Makes the report that is due with an admitted request, unless another one makes it.
    pub(super) async fn report_if_due(
        &self,
        counters: &impl UsageCounters,
        admitted: &Admitted,
    ) -> Option<String> {
        let key = &admitted.key;
        let _asking = key.asking.try_lock().ok().filter(|_| admitted.is_due)?;
        if !lock(&key.ledger).is_due(Instant::now()) {
            return None;
        }
        self.ask(counters, key).await.err()
    }

    /// Reports a request that has spent more than an allowance.
    pub(super) async fn report_if_overspent(
        &self,
        counters: &impl UsageCounters,
        admitted: &Admitted,
    ) -> Option<String> {
        let key = &admitted.key;
        let is_overspent = || lock(&key.ledger).is_overspent(Instant::now());
        if !is_overspent() {
            return None;
        }
        let _asking = key.asking.lock().await;
        // Another request may have reported it meanwhile.
        if is_overspent() { self.ask(counters, key).await.err() } else { None }
    }

    /// Reads the counter, or reports to it.
    async fn ask(&self, counters: &impl UsageCounters, key: &Key) -> Result<(), String> {
        let report = lock(&key.ledger).report();
        let reported = report.map_or_else(Usage::default, |report| report.used);
        let asked = async {
            match &report {
                None => counters.counter(&key.hash).await,
                Some(report) => counters.report(&key.hash, report).await,
            }
        };
        let failure = match timeout(COUNTER_TIMEOUT, asked).await {
            Ok(Ok(counter)) => {
                let mut ledger = lock(&key.ledger);
                ledger.heard(Instant::now(), counter, reported);
                return Ok(());
            }
            Ok(Err(error)) => chain(&error),
            Err(_) => format!("no answer within {} ms", COUNTER_TIMEOUT.as_millis()),
        };
        lock(&key.ledger).failed(Instant::now());
        Err(failure)
    }

    /// Charges an answered request with what it used beyond what was known at its admission.
    pub(super) fn charge(&self, admitted: &Admitted, used: Usage) {
        let more = used.less(admitted.draw.at_admission());
        lock(&admitted.key.ledger).charge(self.now(), more);
    }

    /// How things stand after an admitted request.
    pub(super) fn standing(&self, admitted: &Admitted) -> Option<Standing> {
        lock(&admitted.key.ledger).standing(self.now(), admitted.draw)
    }
}
