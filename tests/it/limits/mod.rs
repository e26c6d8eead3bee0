//! Limits of keys: who is admitted, what is charged, what is told, and what counting costs.

mod instances;
pub(crate) mod scene;

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use serverless_catalog::{
    access::{LimitName, Limits, Permission, Usage},
    account::AccountId,
};
use tokio::time::sleep;

use self::scene::{Key, Reply, per_minute, reads, run};
use crate::{
    log::Lines,
    simulation::faults::{Fate, FaultKind},
    support::{Catalog, offering},
};

const NOON: &str = "2026-11-28T12:00:00Z";

/// What a refusal says, and when to come back.
fn refused(reply: &Reply) -> i64 {
    assert_eq!(reply.status, 429, "{reply:?}");
    assert_eq!(reply.number("x-ratelimit-remaining"), 0, "{reply:?}");
    reply.number("retry-after")
}

/// Rounded up, at least 1.
fn whole_seconds(seconds: f64) -> i64 {
    Duration::from_secs_f64(seconds).as_millis().div_ceil(1_000).max(1).try_into().expect("small")
}

#[test]
fn each_balance_admits_its_limit_and_then_refuses_until_it_refills() {
    for name in LimitName::ALL {
        run(NOON, async |scene| {
            let limit = Some(per_minute(12));
            let mut limits = Limits::default();
            *match name {
                LimitName::Reads => &mut limits.reads_per_minute,
                LimitName::Writes => &mut limits.writes_per_minute,
                LimitName::ReadUnits => &mut limits.read_units_per_minute,
                LimitName::WriteUnits => &mut limits.write_units_per_minute,
            } = limit;
            let key = scene.key(limits).await;
            let instance = scene.instance();
            let ask = async || match name {
                LimitName::Reads | LimitName::ReadUnits => instance.read(&key).await,
                LimitName::Writes | LimitName::WriteUnits => instance.write(&key, 1).await,
            };
            // The first request has the key looked up.
            let mut spent = if name == LimitName::ReadUnits { 1.0 } else { 0.0 };
            while spent < 12.0 {
                let reply = ask().await;
                assert_eq!(reply.status, 200, "{name} after {spent}: {reply:?}");
                spent += match name {
                    LimitName::Reads | LimitName::Writes => 1.0,
                    LimitName::ReadUnits => reply.units("x-consumed-read-units"),
                    LimitName::WriteUnits => reply.units("x-consumed-write-units"),
                };
                assert_eq!(reply.header("x-ratelimit-limit"), "12");
                let left = (12.0 - spent).max(0.0).floor().to_string();
                assert_eq!(reply.header("x-ratelimit-remaining"), left, "{name} after {spent}");
            }
            let reply = ask().await;
            let wait = refused(&reply);
            assert_eq!(wait, whole_seconds((spent - 12.0) * 5.0), "{name}");
            assert_eq!(reply.number("x-ratelimit-reset"), scene.now().as_second() + wait);
            // Requests that are refused consume nothing: the wait does not grow.
            assert_eq!(refused(&ask().await), wait);
            sleep(Duration::from_secs(wait.unsigned_abs()) + Duration::from_millis(1)).await;
            assert_eq!(ask().await.status, 200, "{name}");
        });
    }
}

#[test]
fn reading_goes_on_when_the_writes_are_used_up_and_the_other_way_round() {
    run(NOON, async |scene| {
        let limits = Limits { writes_per_minute: Some(per_minute(5)), ..reads(5) };
        let key = scene.key(limits).await;
        let instance = scene.instance();
        let wasteful = instance.write(&key, 20).await;
        assert_eq!((wasteful.status, wasteful.header("x-ratelimit-remaining")), (200, "0"));
        // 15 rows too many, and one to be positive: 12 seconds each.
        assert_eq!(refused(&instance.write(&key, 1).await), 180);
        for left in ["4", "3", "2", "1", "0"] {
            let reply = instance.read(&key).await;
            assert_eq!((reply.status, reply.header("x-ratelimit-remaining")), (200, left));
        }
        assert_eq!(refused(&instance.read(&key).await), 1);
    });
}

#[test]
fn a_wasteful_request_is_charged_whole_and_the_key_waits_for_it() {
    run(NOON, async |scene| {
        let client = scene.instance();
        let free = scene.key(Limits::default()).await;
        client.write(&free, 300).await;
        let limits = Limits { read_units_per_minute: Some(per_minute(6)), ..Limits::default() };
        let key = scene.key(limits).await;
        let list = async || {
            client.send("list-products", "GET", "/api/v1/products", "limit=300", &key, None).await
        };
        let reply = list().await;
        assert_eq!(reply.status, 200);
        // One unit for the lookup of the key; 10 s a unit.
        let debt = reply.units("x-consumed-read-units") + 1.0 - 6.0;
        assert!(debt >= 2.0, "{debt}");
        assert_eq!(refused(&list().await), whole_seconds(debt * 10.0));
        sleep(Duration::from_secs_f64(debt * 10.0 - 1.0)).await;
        assert_eq!(refused(&list().await), 1);
        sleep(Duration::from_secs(2)).await;
        assert_eq!(list().await.status, 200);
    });
}

#[test]
fn all_instances_hear_of_a_wasteful_request_before_its_reply() {
    run(NOON, async |scene| {
        let key = scene
            .key(Limits { writes_per_minute: Some(per_minute(100)), ..Limits::default() })
            .await;
        let (instance, new) = (scene.instance(), scene.instance());
        let knows_the_past = scene.instance();
        assert_eq!(knows_the_past.write(&key, 1).await.status, 200);
        assert_eq!(instance.write(&key, 160).await.status, 200);
        assert_eq!(refused(&new.write(&key, 1).await), 36);
        // What it knows allows it an allowance, then it hears of it, too.
        let admitted = async || knows_the_past.write(&key, 3).await.status == 200;
        let mut rows = 1;
        while admitted().await {
            rows += 3;
        }
        assert_eq!(rows, 10);
        assert_eq!(scene.counted(&key).await.writes, 170);
    });
}

#[test]
fn every_dialect_tells_a_429_in_its_own_words() {
    run(NOON, async |scene| {
        let key = scene.key(Limits { writes_per_minute: Some(per_minute(1)), ..reads(1) }).await;
        let words = "The API key is over its limit of reads (1 a minute); try again in 1 second.";
        let problem = |path: &str| {
            json!({"type": "about:blank", "title": "Too Many Requests", "status": 429, "detail": words,
                   "instance": path})
        };
        let partners = json!({"errors": [{"message": words, "field": "", "error_id": "10-42900"}]});
        let networks = json!({"code": "RATE_LIMIT_EXCEEDED", "message": words, "details": {}});
        for (function, path, expected) in [
            ("list-offerings", "/product-offerings", problem("/product-offerings")),
            ("list-changes", "/catalog/v1/changes", problem("/catalog/v1/changes")),
            ("list-partner-offerings", "/v3/partners/offerings", partners),
            ("list-networks", "/v2/catalog/networks", networks),
            ("list-products", "/api/v1/products", json!({"error": words})),
        ] {
            let instance = scene.instance();
            let ask = async || instance.send(function, "GET", path, "", &key, None).await;
            let first = ask().await;
            assert_eq!(first.header("x-ratelimit-limit"), "1", "{path}: {first:?}");
            let reply = ask().await;
            assert_eq!(refused(&reply), 1, "{path}");
            let got = if path.starts_with("/v2") { &reply.body["error"] } else { &reply.body };
            assert_eq!(*got, expected, "{path}");
            assert!(
                reply.header("vary").contains("-Key") || reply.header("vary") == "Authorization"
            );
            sleep(Duration::from_mins(2)).await;
        }
        let instance = scene.instance();
        instance.write(&key, 1).await;
        let reply = instance.write(&key, 1).await;
        assert_eq!(refused(&reply), 1);
        let words = "The API key is over its limit of writes (1 a minute); try again in 1 second.";
        assert_eq!(reply.body, json!({ "error": words }));
    });
}

#[test]
fn only_requests_that_pass_every_check_of_the_key_count() {
    run(NOON, async |scene| {
        let key = scene.key(reads(10)).await;
        let instance = scene.instance();
        let send = async |method: &str, path: &str, query: &str| {
            instance.send("list-offerings", method, path, query, &key, None).await
        };
        for (method, path, status) in
            [("OPTIONS", "/product-offerings", 405), ("GET", "/nowhere", 404)]
        {
            let reply = send(method, path, "").await;
            assert_eq!((reply.status, reply.header("x-ratelimit-limit")), (status, ""));
        }
        let elsewhere = Key { text: format!("cat_live_{}", "u".repeat(32)), ..key.clone() };
        assert_eq!(instance.read(&elsewhere).await.header("x-ratelimit-limit"), "");
        // What fails later counts like any other request.
        let wrong = send("GET", "/product-offerings", "limit=x").await;
        assert_eq!((wrong.status, wrong.header("x-ratelimit-remaining")), (400, "9"));
        let head = send("HEAD", "/product-offerings", "").await;
        assert_eq!((head.status, head.header("x-ratelimit-remaining")), (200, "8"));
        let full = scene.now().as_second() + 12;
        assert_eq!(head.number("x-ratelimit-reset"), full);
    });
}

#[test]
fn a_report_that_fails_after_the_answer_is_logged_with_the_id_of_its_request() {
    let (lines, _guard) = Lines::capture();
    run(NOON, async |scene| {
        let key = scene.key(Limits { writes_per_minute: Some(per_minute(20)), ..reads(20) }).await;
        let instance = scene.instance();
        assert_eq!(instance.write(&key, 1).await.status, 200);
        lines.all();
        scene.counter.set(FaultKind::Throttled);
        assert_eq!(instance.write(&key, 5).await.status, 200);
    });
    let lines = lines.all();
    let throttled: Vec<_> =
        lines.iter().filter(|line| line["fields"]["message"] == "throttled").collect();
    assert_eq!(throttled.len(), 1, "{lines:?}");
    assert_eq!(throttled[0]["span"]["request_id"], "req_r");
}

#[test]
fn a_key_that_may_not_do_something_is_told_what_it_has_left_and_charged_nothing() {
    run(NOON, async |scene| {
        let key = scene.key_with(reads(10), [Permission::OfferingsRead]).await;
        let instance = scene.instance();
        let headers = |reply: &Reply| {
            let names = ["x-ratelimit-limit", "x-ratelimit-remaining"];
            (reply.status, names.map(|name| reply.header(name).to_owned()))
        };
        let told = |status: u16, left: &str| (status, ["10".to_owned(), left.to_owned()]);
        let refused = async || {
            let reply =
                instance.send("list-products", "GET", "/api/v1/products", "", &key, None).await;
            headers(&reply)
        };
        assert_eq!(refused().await, told(403, "10"));
        assert_eq!(headers(&instance.read(&key).await), told(200, "9"));
        assert_eq!(refused().await, told(403, "10"), "what this function's instance knows");
        let revoked = scene.key_with(reads(10), [Permission::OfferingsRead]).await;
        let account = AccountId::parse("ACME").expect("account");
        scene.store.revoke_key(&account, &revoked.hash, scene.now()).await.expect("revoked");
        let reply = instance.read(&revoked).await;
        assert_eq!((reply.status, reply.header("x-ratelimit-limit")), (401, ""));
        let free = scene.key_with(Limits::default(), []).await;
        let reply = instance.read(&free).await;
        assert_eq!((reply.status, reply.header("x-ratelimit-limit")), (403, ""));
    });
}

#[test]
fn what_was_used_under_earlier_limits_counts_by_them() {
    run(NOON, async |scene| {
        let key = scene.key(reads(1_000)).await;
        let instance = scene.instance_that_caches_nothing();
        for _ in 0..90 {
            assert_eq!(instance.read(&key).await.status, 200);
        }
        scene.limit(&key, reads(10)).await;
        let reply = instance.read(&key).await;
        assert_eq!((reply.status, reply.header("x-ratelimit-limit")), (200, "10"), "{reply:?}");
        // 9 % of the balance were spent; and now one of ten.
        assert_eq!(reply.header("x-ratelimit-remaining"), "8");

        // A limit that did not exist before counts nothing of what was used before.
        let key = scene.key(reads(1_000)).await;
        for _ in 0..90 {
            assert_eq!(instance.read(&key).await.status, 200);
        }
        let units = Limits { read_units_per_minute: Some(per_minute(10)), ..reads(1_000) };
        scene.limit(&key, units).await;
        let reply = instance.read(&key).await;
        assert_eq!((reply.status, reply.header("x-ratelimit-limit")), (200, "10"), "{reply:?}");
    });
}

#[test]
fn a_lowered_limit_counts_even_while_the_counter_is_away() {
    run(NOON, async |scene| {
        let key = scene.key(reads(1_000)).await;
        let instance = scene.instance_that_caches_nothing();
        for _ in 0..5 {
            assert_eq!(instance.read(&key).await.status, 200);
        }
        scene.counter.set(FaultKind::Lost);
        scene.limit(&key, reads(3)).await;
        let mut statuses = Vec::new();
        for _ in 0..5 {
            statuses.push(instance.read(&key).await.status);
        }
        assert_eq!(statuses, [200, 200, 200, 429, 429]);
        scene.counter.set(FaultKind::Pass);
        sleep(Duration::from_secs(21)).await;
        assert_eq!(instance.read(&key).await.header("x-ratelimit-limit"), "3");
        assert_eq!(scene.counted(&key).await.reads, 8, "all of them");
    });
}

#[test]
fn a_limit_that_is_raised_while_the_counter_is_away_makes_no_debt_of_what_was_used_since() {
    run(NOON, async |scene| {
        let key = scene.key(reads(30)).await;
        let instance = scene.instance_that_caches_nothing();
        assert_eq!(instance.read(&key).await.status, 200);
        scene.counter.set(FaultKind::Lost);
        scene.limit(&key, reads(1_000)).await;
        for _ in 0..500 {
            assert_eq!(instance.read(&key).await.status, 200);
        }
        scene.counter.set(FaultKind::Pass);
        sleep(Duration::from_secs(2)).await;
        let reply = instance.read(&key).await;
        assert_eq!((reply.status, reply.header("x-ratelimit-limit")), (200, "1000"), "{reply:?}");
        let left = reply.number("x-ratelimit-remaining");
        // One read of thirty is worth 33 of a thousand, and some have refilled.
        assert!((460..=505).contains(&left), "{left}");
        // Another instance is told the same.
        let left_there = scene.instance().read(&key).await.number("x-ratelimit-remaining");
        assert!((left - 10..=left + 10).contains(&left_there), "{left_there} for {left}");
        assert!(scene.counted(&key).await.reads >= 501);
    });
}

#[test]
fn what_an_instance_used_before_it_ever_heard_of_the_counter_counts_by_its_limits_too() {
    run(NOON, async |scene| {
        let key = scene.key(reads(1_000)).await;
        let instance = scene.instance_that_caches_nothing();
        scene.counter.set(FaultKind::Lost);
        for _ in 0..500 {
            assert_eq!(instance.read(&key).await.status, 200);
        }
        scene.limit(&key, reads(10)).await;
        scene.counter.set(FaultKind::Pass);
        sleep(Duration::from_secs(2)).await;
        let reply = instance.read(&key).await;
        let told = ["x-ratelimit-limit", "x-ratelimit-remaining"].map(|name| reply.header(name));
        // Half of a minute's worth was used.
        assert_eq!((reply.status, told), (200, ["10", "4"]), "{reply:?}");
    });
}

#[test]
fn requests_that_know_different_limits_do_not_keep_each_other_asking() {
    run(NOON, async |scene| {
        let key = scene.key(reads(1_000)).await;
        // What is looked up, and what is reported, takes so long that requests with both limits are under way.
        let instance = scene.instance_that_caches_nothing();
        scene.counter.set(Fate { after: Duration::from_millis(20), ..Fate::default() });
        let requests = (0..40_u64).map(|number| {
            let (scene, key, instance) = (&scene, &key, &instance);
            async move {
                sleep(Duration::from_millis(number * 3)).await;
                scene.limit(key, reads(if number % 2 == 0 { 1_000 } else { 2_000 })).await;
                instance.read(key).await.status
            }
        });
        let statuses = join_all(requests).await;
        assert_eq!(statuses, [200; 40]);
        let asked = scene.counter.take().len();
        assert!(asked <= 41, "{asked}: each asks once at most");
    });
}

#[test]
fn a_raised_limit_counts_from_the_next_request_on() {
    run(NOON, async |scene| {
        let key = scene.key(reads(10)).await;
        let instance = scene.instance_that_caches_nothing();
        for _ in 0..10 {
            assert_eq!(instance.read(&key).await.status, 200);
        }
        assert_eq!(instance.read(&key).await.status, 429);
        scene.limit(&key, reads(6_000)).await;
        let reply = instance.read(&key).await;
        assert_eq!((reply.status, reply.header("x-ratelimit-limit")), (429, "6000"), "{reply:?}");
        sleep(Duration::from_secs(1)).await;
        for _ in 0..90 {
            let reply = instance.read(&key).await;
            assert_eq!((reply.status, reply.header("x-ratelimit-limit")), (200, "6000"));
        }
    });
}

#[test]
fn a_body_that_is_no_request_counts_as_one_row() {
    run(NOON, async |scene| {
        let key = scene
            .key(Limits { writes_per_minute: Some(per_minute(10)), ..Limits::default() })
            .await;
        let instance = scene.instance();
        let body = Some(json!({ "products": [] }));
        let reply =
            instance.send("upsert-products", "POST", "/api/v1/products", "", &key, body).await;
        assert_eq!((reply.status, reply.header("x-ratelimit-remaining")), (400, "9"));
        assert_eq!(instance.write(&key, 4).await.header("x-ratelimit-remaining"), "5");
    });
}

#[test]
fn one_that_knows_of_an_empty_balance_asks_nothing_until_it_refills() {
    run(NOON, async |scene| {
        let key = scene.key(reads(6)).await;
        let (instance, other) = (scene.instance(), scene.instance());
        for _ in 0..6 {
            assert_eq!(instance.read(&key).await.status, 200);
        }
        assert_eq!(instance.read(&key).await.status, 429);
        scene.counter.take();
        for _ in 0..50 {
            assert_eq!(refused(&instance.read(&key).await), 1);
        }
        assert_eq!(scene.counter.take(), [""; 0]);
        // Another one reads the counter, in which the last allowance is missing, and then knows, too.
        assert_eq!(other.read(&key).await.status, 200);
        assert_eq!(other.read(&key).await.status, 429);
        assert_eq!(scene.counter.take(), ["GetItem"]);
        sleep(Duration::from_secs(21)).await;
        assert_eq!(instance.read(&key).await.status, 200);
    });
}

#[test]
fn a_report_is_made_for_each_allowance_and_at_least_every_five_seconds() {
    run(NOON, async |scene| {
        let key = scene.key(reads(600)).await;
        let instance = scene.instance();
        for _ in 0..60 {
            instance.read(&key).await;
        }
        assert_eq!(scene.counter.take(), ["GetItem"], "the allowance is not spent");
        instance.read(&key).await;
        assert_eq!(scene.counter.take(), ["UpdateItem"], "it is");
        let mut reports = 0;
        for _ in 0..30 {
            sleep(Duration::from_secs(1)).await;
            instance.read(&key).await;
            reports += scene.counter.take().len();
        }
        assert_eq!(reports, 6);
        let counted = scene.counted(&key).await;
        assert!(counted.reads >= 86 && counted.reads <= 91, "{counted:?}");
    });
}

#[test]
fn a_report_costs_one_write_unit_and_the_first_request_of_an_instance_one_read_unit() {
    run(NOON, async |scene| {
        let all = Limits {
            reads_per_minute: Some(per_minute(600)),
            writes_per_minute: Some(per_minute(600)),
            read_units_per_minute: Some(per_minute(6_000)),
            write_units_per_minute: Some(per_minute(6_000)),
        };
        let key = scene.key(all).await;
        let instance = scene.instance();
        let first = instance.read(&key).await;
        assert_eq!(first.header("x-counter-read-units"), "1");
        let mut units = 0.0;
        for _ in 0..240 {
            let reply = instance.read(&key).await;
            assert_eq!((reply.status, reply.units("x-counter-read-units") > 0.0), (200, false));
            units += reply.units("x-counter-write-units");
        }
        assert_eq!(units.to_string(), "4", "240 requests, 60 an allowance");
        let other = scene.instance().read(&key).await;
        assert_eq!(other.header("x-counter-read-units"), "1");
    });
}

#[test]
fn a_key_without_limits_costs_nothing_more_and_is_not_counted() {
    run(NOON, async |scene| {
        let key = scene.key(Limits::default()).await;
        let instance = scene.instance();
        for _ in 0..20 {
            let read = instance.read(&key).await;
            let write = instance.write(&key, 2).await;
            for reply in [read, write] {
                assert_eq!(reply.status, 200);
                for name in ["x-ratelimit-limit", "x-counter-read-units", "x-counter-write-units"] {
                    assert_eq!(reply.header(name), "", "{name}");
                }
            }
        }
        assert_eq!(scene.counter.take(), [""; 0]);
        assert_eq!(scene.counted(&key).await, Usage::default());
    });
}

#[test]
fn a_noisy_key_changes_neither_the_cost_nor_the_balance_of_another() {
    let costs = |noise: u32| {
        run(NOON, async |scene| {
            let (polite, noisy) = (scene.key(reads(60)).await, scene.key(reads(60)).await);
            let instance = scene.instance();
            let mut costs = Vec::new();
            for _ in 0..60 {
                for _ in 0..noise {
                    instance.read(&noisy).await;
                }
                let reply = instance.read(&polite).await;
                assert_eq!(reply.status, 200);
                costs.push(
                    [
                        "x-queries",
                        "x-consumed-read-units",
                        "x-counter-read-units",
                        "x-counter-write-units",
                        "x-ratelimit-remaining",
                    ]
                    .map(|name| reply.header(name).to_owned()),
                );
                sleep(Duration::from_secs(1)).await;
            }
            (costs, scene.counted(&noisy).await)
        })
    };
    let ((alone, _), (beside, noisy)) = (costs(0), costs(10));
    assert_eq!(alone, beside);
    // A minute's worth, what refills in a minute, and at most an allowance that is not reported yet.
    assert!((108..=120).contains(&noisy.reads), "{noisy:?}");
    assert!(noisy.rejected > 400, "{noisy:?}");
}

#[test]
fn the_use_of_a_key_is_counted_by_day_and_its_balance_lasts_over_midnight() {
    run("2026-11-28T23:59:50Z", async |scene| {
        let limits = Limits {
            writes_per_minute: Some(per_minute(1_000)),
            read_units_per_minute: Some(per_minute(1_000)),
            ..reads(30)
        };
        let key = scene.key(limits).await;
        // The clock of one is behind: it counts for the day that others have begun.
        let (instance, behind) = (scene.instance(), scene.instance_with_clock(-2_000));
        let mut units = 2.0;
        for second in 0..16 {
            let reply = if second % 2 == 0 { &instance } else { &behind }.read(&key).await;
            assert_eq!(reply.status, 200);
            units += reply.units("x-consumed-read-units");
            sleep(Duration::from_secs(1)).await;
        }
        sleep(Duration::from_secs(5)).await;
        units += instance.read(&key).await.units("x-consumed-read-units");
        let last = behind.read(&key).await;
        let since = "2026-11-28".parse().expect("a day");
        let days = scene.store.usage_since(&key.hash, since).await.expect("usage");
        let [(today, _), (before, _)] = days.as_slice() else { panic!("{days:?}") };
        assert_eq!(
            (today.to_string(), before.to_string()),
            ("2026-11-29".into(), "2026-11-28".into())
        );
        let counted = scene.counted(&key).await;
        assert_eq!(counted.reads, 18);
        assert!((counted.read_units - units).abs() < 2.0, "{counted:?} of {units}");
        // 18 were spent in 21 seconds, in which 10 came back; an allowance is charged when it is reported.
        let left = last.number("x-ratelimit-remaining");
        assert!((15..=23).contains(&left), "{last:?}");
    });
}

#[test]
fn where_the_counter_cannot_be_reached_requests_are_admitted_and_the_log_says_so() {
    let (lines, _guard) = Lines::capture();
    // What the lines of requests since the last call say of the counter.
    let unchecked = || {
        let requests = lines.requests().into_iter();
        let told = requests.map(|line| line["limits_unchecked"].as_str().map(ToOwned::to_owned));
        told.collect::<Vec<_>>()
    };
    for fate in [
        Fate::from(FaultKind::Throttled),
        FaultKind::Unavailable.into(),
        FaultKind::Lost.into(),
        Fate { before: Duration::from_secs(20), ..Fate::default() },
    ] {
        run(NOON, async |scene| {
            let key = scene.key(reads(10)).await;
            let instance = scene.instance();
            scene.counter.set(fate);
            let before = scene.now();
            for _ in 0..3 {
                assert_eq!(instance.read(&key).await.status, 200, "{fate:?}");
            }
            let told = unchecked();
            assert!(told.len() == 3 && told.iter().all(Option::is_some), "{told:?}");
            assert_eq!(scene.counter.take().len(), 1, "not asked again for a second");
            assert!((scene.now() - before).get_milliseconds() <= 500, "nobody waits for it long");

            // It comes back: what was spent meanwhile is reported.
            scene.counter.set(Fate::default());
            sleep(Duration::from_secs(1)).await;
            for _ in 0..2 {
                assert_eq!(instance.read(&key).await.status, 200);
            }
            assert_eq!(unchecked(), [None, None]);
            assert!(scene.counted(&key).await.reads >= 3);

            // Away in the middle of a minute: a due report fails beside the request.
            scene.counter.set(fate);
            sleep(Duration::from_secs(10)).await;
            assert_eq!(instance.read(&key).await.status, 200);
            assert!(unchecked().iter().all(Option::is_some));
            // What the instance spends by itself it knows without the counter.
            for _ in 0..20 {
                instance.read(&key).await;
            }
            assert_eq!(instance.read(&key).await.status, 429);
            unchecked();
        });
    }
}

#[tokio::test]
async fn a_flood_of_different_unknown_keys_reads_a_bounded_number() {
    let catalog = Catalog::start().await;
    catalog.import("ACME", &[offering("o", json!({}))]).await;
    let known = catalog.key("ACME").await;
    assert_eq!(catalog.get(&known, "/product-offerings").await.status, 200);
    let mut refused = 0;
    for n in 0..400 {
        let answer = catalog.get(&format!("cat_live_{n:032}"), "/product-offerings").await;
        if answer.status == 429 {
            assert_eq!(answer.header("retry-after"), "1");
            assert_eq!(answer.json()["title"], "Too Many Requests");
            refused += 1;
        } else {
            assert_eq!(answer.status, 401);
        }
    }
    assert!(refused > 0, "this many a second are not looked up");
    assert_eq!(catalog.get(&known, "/product-offerings").await.status, 200);
}

#[tokio::test]
async fn an_array_of_a_query_has_at_most_a_hundred_values_in_every_endpoint() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    for (path, name, value) in [
        ("/product-offerings", "types", "LICENSE"),
        ("/product-offerings", "categories", "C"),
        ("/product-offerings", "countries", "GH"),
        ("/product-offerings", "regions", "EUROPE"),
        ("/catalog/v1/changes", "kinds", "offering"),
    ] {
        let query = |count: usize| format!("{path}?{name}={}", vec![value; count].join(","));
        let ask = async |path: String| {
            if path.starts_with("/catalog") {
                catalog.read(&key, &path).await
            } else {
                catalog.get(&key, &path).await
            }
        };
        assert_eq!(ask(query(100)).await.status, 200, "{name}");
        let answer = ask(query(101)).await;
        assert_eq!((answer.status, answer.fields()), (400, vec![name.to_owned()]));
    }
}
