//! API key authentication, with an LRU cache.
//!
//! An execution environment caches a key's record for a short time (60 s in Lambda), so that a busy key
//! costs one read per minute. Therefore a revoked key may keep working for that long where it is cached.
//! Unknown keys are cached, too, for a shorter time and separately from the known ones: repeating a wrong
//! key does not cost a read each time, and a flood of guesses does not evict the keys in use. A flood of different
//! guesses costs a bounded number of reads: beyond that, keys that the instance does not know get a 429.

use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use lru::LruCache;

use super::{ApiError, Excess};
use crate::{
    access::{ApiKey, KeyHash, KeyLookup, KeyRecord, KeyRejection},
    lock::lock,
    store::StoreError,
};

const CACHED_KEYS: NonZeroUsize = NonZeroUsize::new(1_000).unwrap();

/// How long an unknown key is cached at most.
const UNKNOWN_FOR: Duration = Duration::from_secs(10);

/// How many lookups may find no key: so many at once, and one more in each interval.
const FRUITLESS_LOOKUPS: u32 = 50;
const FRUITLESS_EVERY: Duration = Duration::from_millis(50);

/// Looks up keys.
pub struct Authenticator {
    known_for: Duration,
    fruitless: Fruitless,
    known: Mutex<LruCache<KeyHash, (Instant, Arc<KeyRecord>)>>,
    unknown: Mutex<LruCache<KeyHash, Instant>>,
}

impl Authenticator {
    /// Caches a known key for this time.
    #[must_use]
    pub fn new(known_for: Duration) -> Self {
        Self {
            known_for,
            fruitless: Fruitless::default(),
            known: Mutex::new(LruCache::new(CACHED_KEYS)),
            unknown: Mutex::new(LruCache::new(CACHED_KEYS)),
        }
    }

    /// Opens the connection to the database with one cheap read (one unit), so that the first
    /// request does not wait for the TLS handshake. The result does not matter, and the timeout is
    /// well within the ten seconds that Lambda allows for initialization.
    pub async fn warm_up(&self, keys: &impl KeyLookup) {
        if let Some(nobody) = KeyHash::parse(&"0".repeat(64)) {
            let _ = tokio::time::timeout(Duration::from_secs(2), keys.key(&nobody)).await;
        }
    }

    /// The key of a request that arrives now, and its record, which says what the key permits.
    ///
    /// # Errors
    /// [`ApiError::KeyRejected`], or the database's error.
    pub async fn authenticate(
        &self,
        now: Instant,
        keys: &impl KeyLookup<Error = StoreError>,
        key: Option<ApiKey>,
    ) -> Result<(KeyHash, Arc<KeyRecord>), ApiError> {
        let hash = key.ok_or(ApiError::KeyRejected(KeyRejection::Malformed))?.hash();
        let record = self.record(keys, &hash, now).await?;
        let record = record.ok_or(ApiError::KeyRejected(KeyRejection::Unknown))?;
        Ok((hash, record))
    }

    async fn record(
        &self,
        keys: &impl KeyLookup<Error = StoreError>,
        hash: &KeyHash,
        now: Instant,
    ) -> Result<Option<Arc<KeyRecord>>, ApiError> {
        let known = lock(&self.known).get(hash).cloned();
        let was_known = known.is_some();
        if let Some((read_at, record)) = known
            && now.duration_since(read_at) < self.known_for
        {
            return Ok(Some(record));
        }
        if let Some(read_at) = lock(&self.unknown).get(hash)
            && now.duration_since(*read_at) < UNKNOWN_FOR.min(self.known_for)
        {
            return Ok(None);
        }
        // A flood of guesses must not keep out the keys that were in use before it.
        if !was_known && !self.fruitless.take(now) {
            return Err(ApiError::TooMany(Excess::UnknownKeys));
        }
        let record = keys.key(hash).await?.map(Arc::new);
        if let Some(record) = &record {
            lock(&self.known).put(hash.clone(), (now, record.clone()));
            if !was_known {
                self.fruitless.give_back();
            }
        } else {
            lock(&self.known).pop(hash);
            lock(&self.unknown).put(hash.clone(), now);
        }
        Ok(record)
    }
}

/// How many more lookups may find no key: a token bucket, kept as the instant at which it is full again.
#[derive(Default)]
struct Fruitless(Mutex<Option<Instant>>);

impl Fruitless {
    /// Takes a token, if there is one.
    fn take(&self, now: Instant) -> bool {
        let mut full_at = lock(&self.0);
        let next = full_at.map_or(now, |full_at| full_at.max(now)) + FRUITLESS_EVERY;
        let taken = next.duration_since(now) <= FRUITLESS_EVERY * FRUITLESS_LOOKUPS;
        if taken {
            *full_at = Some(next);
        }
        taken
    }

    /// Gives a token back, because the lookup found a key.
    fn give_back(&self) {
        let mut full_at = lock(&self.0);
        *full_at = full_at.and_then(|full_at| full_at.checked_sub(FRUITLESS_EVERY));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use jiff::Timestamp;

    use super::*;
    use crate::{
        access::{Limits, PerMinute, Permission},
        account::AccountId,
    };

    /// A fake directory: it returns the same record, or none, for every hash, and counts its reads.
    #[derive(Clone, Default)]
    struct Directory {
        record: Arc<Mutex<Option<KeyRecord>>>,
        reads: Arc<AtomicU32>,
    }

    impl KeyLookup for Directory {
        type Error = StoreError;

        async fn key(&self, _: &KeyHash) -> Result<Option<KeyRecord>, StoreError> {
            self.reads.fetch_add(1, Ordering::Relaxed);
            Ok(lock(&self.record).clone())
        }
    }

    fn record() -> KeyRecord {
        let account = AccountId::parse("ACME").expect("account");
        KeyRecord::new(account, [Permission::OfferingsRead])
    }

    /// Asks with a key, and returns how many reads that took.
    async fn ask(
        auth: &Authenticator,
        directory: &Directory,
        now: Instant,
        key: &str,
    ) -> Result<u32, u16> {
        let before = directory.reads.load(Ordering::Relaxed);
        let known = auth.authenticate(now, directory, ApiKey::parse(key)).await;
        let reads = directory.reads.load(Ordering::Relaxed) - before;
        let admitted = known.and_then(|(_, record)| {
            let principal = record.admit(Permission::OfferingsRead, None, Timestamp::now());
            principal.map_err(ApiError::KeyRejected)
        });
        admitted.map(|_| reads).map_err(|error| error.status())
    }

    #[tokio::test]
    async fn a_revoked_key_stops_within_a_minute_and_a_busy_key_costs_one_read_in_it() {
        let directory = Directory::default();
        *lock(&directory.record) = Some(record());
        let auth = Authenticator::new(Duration::from_mins(1));
        let key = format!("cat_live_{}", "k".repeat(32));
        let start = Instant::now();
        assert_eq!(ask(&auth, &directory, start, &key).await, Ok(1));
        lock(&directory.record).as_mut().expect("record").revoked_at = Some(Timestamp::now());
        for second in 1..60 {
            assert_eq!(
                ask(&auth, &directory, start + Duration::from_secs(second), &key).await,
                Ok(0)
            );
        }
        assert_eq!(ask(&auth, &directory, start + Duration::from_mins(1), &key).await, Err(401));
        assert_eq!(directory.reads.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn guesses_cost_one_read_each_and_push_no_known_key_out() {
        let directory = Directory::default();
        let auth = Authenticator::new(Duration::from_mins(1));
        *lock(&directory.record) = Some(record());
        let known = format!("cat_live_{}", "k".repeat(32));
        let mut now = Instant::now();
        assert_eq!(ask(&auth, &directory, now, &known).await, Ok(1));
        *lock(&directory.record) = None;
        for guess in 0..1_100 {
            let guess = format!("cat_live_{guess:032}");
            now += FRUITLESS_EVERY;
            assert_eq!(ask(&auth, &directory, now, &guess).await, Err(401));
            assert_eq!(ask(&auth, &directory, now, &guess).await, Err(401));
        }
        assert_eq!(directory.reads.load(Ordering::Relaxed), 1_101);
        assert_eq!(ask(&auth, &directory, now, &known).await, Ok(0));
        assert!(lock(&auth.unknown).len() <= CACHED_KEYS.get());
    }

    #[tokio::test]
    async fn a_flood_of_different_guesses_costs_50_reads_and_20_a_second() {
        let directory = Directory::default();
        let auth = Authenticator::new(Duration::from_secs(2));
        let start = Instant::now();
        *lock(&directory.record) = Some(record());
        let known = format!("cat_live_{}", "k".repeat(32));
        assert_eq!(ask(&auth, &directory, start, &known).await, Ok(1));
        // As many keys as there are: lookups that find one are free.
        for key in 0..200 {
            assert_eq!(ask(&auth, &directory, start, &format!("cat_live_0{key:031}")).await, Ok(1));
        }

        *lock(&directory.record) = None;
        let mut tried = 0;
        let mut guesses = |count: u32| {
            tried += count;
            (tried - count..tried)
                .map(|guess| format!("cat_live_{guess:0>32}", guess = format!("G{guess}")))
                .collect::<Vec<_>>()
        };
        let reads_at = async |now: Instant, guesses: Vec<String>| {
            let before = directory.reads.load(Ordering::Relaxed);
            for guess in guesses {
                let outcome = ask(&auth, &directory, now, &guess).await;
                assert!(matches!(outcome, Err(401 | 429)), "{outcome:?}");
            }
            directory.reads.load(Ordering::Relaxed) - before
        };
        assert_eq!(reads_at(start, guesses(200)).await, 50);
        assert_eq!(reads_at(start + Duration::from_secs(1), guesses(200)).await, 20);

        // A key that was known is read again, though its record is too old now.
        *lock(&directory.record) = Some(record());
        let later = start + Duration::from_secs(2);
        assert_eq!(reads_at(later, Vec::new()).await, 0);
        assert_eq!(ask(&auth, &directory, later, &known).await, Ok(1));
    }

    /// A directory that never answers.
    struct Silence(AtomicU32);

    impl KeyLookup for Silence {
        type Error = StoreError;

        async fn key(&self, _: &KeyHash) -> Result<Option<KeyRecord>, StoreError> {
            self.0.fetch_add(1, Ordering::Relaxed);
            std::future::pending().await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_warm_up_is_one_read_and_does_not_wait_for_a_database_that_is_silent() {
        let auth = Authenticator::new(Duration::from_mins(1));
        let directory = Directory::default();
        auth.warm_up(&directory).await;
        assert_eq!(directory.reads.load(Ordering::Relaxed), 1);
        // It is no guess that counts, and nobody's key is cached.
        assert!(lock(&auth.unknown).is_empty() && lock(&auth.known).is_empty());

        let (silence, started) = (Silence(AtomicU32::new(0)), tokio::time::Instant::now());
        auth.warm_up(&silence).await;
        assert_eq!(silence.0.load(Ordering::Relaxed), 1);
        assert_eq!(started.elapsed().as_secs(), 2);
    }

    #[tokio::test]
    async fn a_missing_or_malformed_key_is_refused_without_a_read() {
        let directory = Directory::default();
        let auth = Authenticator::new(Duration::from_mins(1));
        assert_eq!(ask(&auth, &directory, Instant::now(), "nonsense").await, Err(401));
        assert_eq!(directory.reads.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn an_unknown_key_is_asked_for_again_after_ten_seconds_or_as_a_known_one_would_be() {
        let directory = Directory::default();
        for (known_for, seconds) in [(Duration::from_mins(1), 10), (Duration::from_secs(4), 4)] {
            let auth = Authenticator::new(known_for);
            let key = format!("cat_live_{}", "u".repeat(32));
            let start = Instant::now();
            let almost = start + Duration::from_millis(seconds * 1_000 - 1);
            let after = start + Duration::from_secs(seconds);
            for (now, reads) in [(start, 1), (start, 0), (almost, 0), (after, 1)] {
                let before = directory.reads.load(Ordering::Relaxed);
                assert_eq!(ask(&auth, &directory, now, &key).await, Err(401));
                assert_eq!(directory.reads.load(Ordering::Relaxed) - before, reads);
            }
        }
    }

    #[tokio::test]
    async fn a_caller_is_who_its_key_says_with_the_limits_of_that() {
        let limits = Limits { reads_per_minute: PerMinute::new(7), ..Limits::default() };
        let directory = Directory::default();
        *lock(&directory.record) = Some(KeyRecord { limits, ..record() });
        let auth = Authenticator::new(Duration::from_mins(1));
        let key = ApiKey::parse(&format!("cat_live_{}", "k".repeat(32))).expect("a key");
        for _ in 0..2 {
            let caller = auth.authenticate(Instant::now(), &directory, Some(key.clone())).await;
            let (hash, record) = caller.expect("a caller");
            assert_eq!((record.account.as_str(), record.limits), ("ACME", limits));
            assert_eq!(hash, key.hash());
        }
        assert_eq!(directory.reads.load(Ordering::Relaxed), 1);
    }
}
