//! Many instances, and many requests at once, of one key.

use std::{cell::Cell, time::Duration};

use futures_util::future::join_all;
use serverless_catalog::{
    access::{
        Limits, Usage, UsageCounters as _,
        limits::{Counter, FullAt, UsageReport},
    },
    store::Store,
};
use tokio::time::{Instant, sleep};

use super::{
    NOON,
    scene::{per_minute, reads, run},
};
use crate::simulation::{faults::Fate, random::Random};

/// How many instances there are.
const INSTANCES: u32 = 10;

/// What a scene of many instances did.
struct Outcome {
    admitted: f64,
    seconds: f64,
    /// Whether the last requests were refused: demand never ceased.
    is_saturated: bool,
}

/// Sends requests to ten instances at random moments, for about so many seconds.
fn many_instances(seed: u64, limit: u32, seconds: u64, skew_millis: u64) -> Outcome {
    let mut random = Random::new(seed);
    run(NOON, async |scene| {
        let key = scene.key(reads(limit)).await;
        let late = Duration::from_millis(random.range(0..30));
        scene.counter.set(Fate { after: late, ..Fate::default() });
        let (admitted, last) = (Cell::new(0_u32), Cell::new(0_u16));
        let began = Instant::now();
        let clients = (0..INSTANCES).map(|_| {
            let ahead = i64::try_from(random.range(0..skew_millis + 1)).expect("small");
            let instance = scene.instance_with_clock(ahead);
            let mut random = random.fork();
            let (key, admitted, last) = (&key, &admitted, &last);
            async move {
                // Together they ask for about three times what there is.
                let pause = 60_000 / u64::from(limit) * u64::from(INSTANCES) / 3;
                while began.elapsed() < Duration::from_secs(seconds) {
                    let reply = instance.read(key).await;
                    last.set(reply.status);
                    match reply.status {
                        200 => admitted.set(admitted.get() + 1),
                        status => assert_eq!(status, 429),
                    }
                    // Bursts, and silence long enough for an allowance to be reported by its time.
                    let pause = match random.range(0..10) {
                        0..5 => 0,
                        5..9 => random.range(0..pause * 4),
                        _ => random.range(0..8_000),
                    };
                    sleep(Duration::from_millis(pause)).await;
                }
            }
        });
        join_all(clients.collect::<Vec<_>>()).await;
        Outcome {
            admitted: admitted.get().into(),
            seconds: began.elapsed().as_secs_f64(),
            is_saturated: last.get() == 429,
        }
    })
}

#[test]
fn ten_instances_together_admit_at_most_the_limit_and_one_allowance_each() {
    for seed in 0..24 {
        let limit = [10, 30, 100, 240][usize::try_from(seed % 4).expect("small")];
        let skew_millis = if seed < 12 { 0 } else { 2_000 };
        let outcome = many_instances(seed, limit, 40, skew_millis);
        let rate = f64::from(limit) / 60.0;
        let allowance = (f64::from(limit) / 10.0).max(1.0);
        let skew = f64::from(u32::try_from(skew_millis).expect("small")) / 1e3;
        let most =
            f64::from(limit) + rate * (outcome.seconds + skew) + f64::from(INSTANCES) * allowance;
        assert!(outcome.admitted <= most, "seed {seed}: {} of {most}", outcome.admitted);
        if outcome.is_saturated {
            // What an instance has overdrawn is taken from what refills.
            let fewest = f64::from(limit) + rate * (outcome.seconds - skew)
                - f64::from(INSTANCES) * allowance
                - 1.0;
            assert!(outcome.admitted >= fewest, "seed {seed}: {} of {fewest}", outcome.admitted);
        }
    }
}

#[test]
fn ten_instances_that_all_begin_at_once_admit_no_more_either() {
    for limit in [10, 50, 300] {
        let admitted = run(NOON, async |scene| {
            let key = scene.key(reads(limit)).await;
            let instances: Vec<_> = (0..INSTANCES).map(|_| scene.instance()).collect();
            let mut admitted = 0;
            for _ in 0..limit {
                let replies = join_all(instances.iter().map(|one| one.read(&key))).await;
                admitted += replies.iter().filter(|reply| reply.status == 200).count();
            }
            admitted
        });
        let most = limit + INSTANCES * (limit / 10).max(1);
        assert!(admitted >= limit as usize, "{admitted} of {limit}");
        assert!(admitted <= most as usize, "{admitted} of {most}");
    }
}

#[test]
fn units_that_ten_instances_consume_are_bounded_too() {
    run(NOON, async |scene| {
        let limits = Limits { write_units_per_minute: Some(per_minute(200)), ..Limits::default() };
        let key = scene.key(limits).await;
        let instances: Vec<_> = (0..INSTANCES).map(|_| scene.instance()).collect();
        let (mut spent, mut largest) = (0.0, 0.0_f64);
        for _ in 0..40 {
            for reply in join_all(instances.iter().map(|one| one.write(&key, 3))).await {
                let units = reply.units("x-consumed-write-units");
                assert!(reply.status == 200 || units == 0.0, "a refused request consumes nothing");
                largest = largest.max(units);
                spent += units;
            }
        }
        let most = 200.0 + f64::from(INSTANCES) * (20.0 + largest);
        assert!((200.0..=most).contains(&spent), "{spent} of {most}");
    });
}

#[test]
fn requests_at_once_in_one_instance_never_overspend_an_allowance_nor_report_at_the_same_time() {
    run(NOON, async |scene| {
        let key = scene.key(reads(100)).await;
        let instance = scene.instance();
        let took = Duration::from_millis(20);
        scene.counter.set(Fate { after: took, ..Fate::default() });
        let began = Instant::now();
        let replies = join_all((0..300).map(|_| instance.read(&key))).await;
        let admitted = replies.iter().filter(|reply| reply.status == 200).count();
        // The counter answers late, and a little refills meanwhile.
        let refilled = began.elapsed().as_secs_f64() * 100.0 / 60.0;
        assert!(admitted >= 100, "{admitted}");
        assert!(f64::from(u32::try_from(admitted).expect("small")) <= 100.0 + refilled.ceil());
        let reports = scene.counter.take();
        assert_eq!(reports[0], "GetItem");
        // Ten allowances of ten; the last is reported only if something has refilled.
        assert!((10..=11).contains(&reports.len()), "{reports:?}");
        assert!(began.elapsed() >= took * 10, "one after the other");
        let counted = scene.counted(&key).await;
        assert!(counted.reads >= 90, "at most an allowance is not reported: {counted:?}");
    });
}

#[test]
fn keys_of_one_account_have_balances_of_their_own() {
    run(NOON, async |scene| {
        let (one, other) = (scene.key(reads(10)).await, scene.key(reads(10)).await);
        let instance = scene.instance();
        for _ in 0..10 {
            assert_eq!(instance.read(&one).await.status, 200);
        }
        assert_eq!(instance.read(&one).await.status, 429);
        assert_eq!(instance.read(&other).await.header("x-ratelimit-remaining"), "9");
    });
}

#[test]
fn whatever_interleaves_around_midnight_nothing_that_was_reported_is_lost() {
    for seed in 0..20 {
        let mut random = Random::new(seed);
        run("2026-11-28T23:59:55Z", async |scene| {
            let key = scene.key(reads(1_000_000)).await;
            let stores: Vec<_> = (0..6).map(|_| scene.store_with_delays(random.fork())).collect();
            let reporters = stores.iter().map(|store| {
                let mut random = random.fork();
                let (scene, key) = (&scene, &key);
                async move {
                    let mut known = store.counter(&key.hash).await.expect("a counter");
                    let mut reported = 0;
                    for _ in 0..20 {
                        sleep(Duration::from_millis(random.range(0..1_000))).await;
                        let used = Usage { reads: random.range(1..5), ..Usage::default() };
                        let (used_at, limits) = (scene.now(), reads(1_000_000));
                        let report = UsageReport { used, used_at, limits, known };
                        // One that meets others too often reports later.
                        if let Ok(told) = store.report(&key.hash, &report).await {
                            known = told;
                            reported += used.reads;
                        }
                    }
                    reported
                }
            });
            let reported: u64 = join_all(reporters.collect::<Vec<_>>()).await.into_iter().sum();
            let since = "2026-11-28".parse().expect("a day");
            let days = scene.store.usage_since(&key.hash, since).await.expect("usage");
            assert_eq!(days.len(), 2, "seed {seed}: {days:?}");
            assert_eq!(scene.counted(&key).await.reads, reported, "seed {seed}: {days:?}");
        });
    }
}

#[test]
fn reports_that_meet_at_a_full_balance_add_up() {
    for seed in 0..10 {
        let mut random = Random::new(seed);
        run(NOON, async |scene| {
            let (key, limits) = (scene.key(reads(60)).await, reads(60));
            let stores: Vec<_> = (0..5).map(|_| scene.store_with_delays(random.fork())).collect();
            let report = async |store: &Store, known, used_at| {
                let used = Usage { reads: 7, ..Usage::default() };
                let report = UsageReport { used, used_at, limits, known };
                store.report(&key.hash, &report).await.expect("reported")
            };
            // All know the counter of a moment when the balance is full again.
            let known = report(&scene.store, Counter::default(), scene.now()).await;
            sleep(Duration::from_mins(2)).await;
            let used_at = scene.now();
            join_all(stores.iter().map(|store| report(store, known, used_at))).await;
            let told = scene.store.counter(&key.hash).await.expect("a counter").balances;
            let expected = FullAt::now(used_at).after(used_at, 35.0, per_minute(60));
            assert_eq!(told.reads_full_at, expected, "seed {seed}");
        });
    }
}
