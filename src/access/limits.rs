//! The limits of a key, and the arithmetic of its balances.
//!
//! A balance refills evenly, up to a minute's worth. It is kept as one time, the time at which it is full again (as in
//! the generic cell rate algorithm): spending moves that time on, and nothing has to be written while it refills. The
//! time only ever grows, so sums of several instances need no lock, and a clock that goes back refills nothing.

use std::{fmt, num::NonZeroU32, str::FromStr, time::Duration};

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use serde::{Deserialize, Serialize};

/// A balance refills to its limit in this time.
const MINUTE_MICROS: i64 = 60_000_000;

/// What of a limit an instance spends before it reports.
const ALLOWANCE_SHARE: f64 = 0.1;

/// How much of something a key may use in a minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PerMinute(NonZeroU32);

#[derive(Debug, thiserror::Error)]
#[error("a limit is a whole number from 1 to {}", PerMinute::MAX)]
pub struct InvalidLimit;

impl PerMinute {
    /// The highest limit, more than four times what a table serves. Beyond it a microsecond, to which times are
    /// rounded, would be too coarse.
    pub const MAX: u32 = 10_000_000;

    /// A limit from 1 to [`PerMinute::MAX`].
    #[must_use]
    pub const fn new(limit: u32) -> Option<Self> {
        match NonZeroU32::new(limit) {
            Some(limit) if limit.get() <= Self::MAX => Some(Self(limit)),
            _ => None,
        }
    }

    #[must_use]
    pub fn get(self) -> u32 {
        self.0.get()
    }

    fn amount(self) -> f64 {
        f64::from(self.0.get())
    }

    /// What an instance spends before it reports: a tenth, at least 1.
    #[must_use]
    pub fn allowance(self) -> f64 {
        (self.amount() * ALLOWANCE_SHARE).max(1.0)
    }

    /// How long it takes to refill an amount, rounded up: nothing is refilled too early.
    fn refill_micros(self, amount: f64) -> i64 {
        let time = Duration::try_from_secs_f64(60.0 * amount.max(0.0) / self.amount());
        let nanos = time.unwrap_or(Duration::MAX).as_nanos();
        i64::try_from(nanos.div_ceil(1_000)).unwrap_or(i64::MAX)
    }
}

impl FromStr for PerMinute {
    type Err = InvalidLimit;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().ok().and_then(Self::new).ok_or(InvalidLimit)
    }
}

impl fmt::Display for PerMinute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which of a key's four limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitName {
    /// Requests that read.
    Reads,
    /// Rows of upserts; any other request that writes counts as one.
    Writes,
    /// Read units of the database.
    ReadUnits,
    /// Write units of the database.
    WriteUnits,
}

impl LimitName {
    pub const ALL: [Self; 4] = [Self::Reads, Self::Writes, Self::ReadUnits, Self::WriteUnits];
}

impl fmt::Display for LimitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reads => "reads",
            Self::Writes => "writes",
            Self::ReadUnits => "read units",
            Self::WriteUnits => "write units",
        })
    }
}

/// The limits of a key; `None`: unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Limits {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reads_per_minute: Option<PerMinute>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub writes_per_minute: Option<PerMinute>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_units_per_minute: Option<PerMinute>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_units_per_minute: Option<PerMinute>,
}

impl Limits {
    /// Whether nothing is limited.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    #[must_use]
    pub fn of(&self, name: LimitName) -> Option<PerMinute> {
        match name {
            LimitName::Reads => self.reads_per_minute,
            LimitName::Writes => self.writes_per_minute,
            LimitName::ReadUnits => self.read_units_per_minute,
            LimitName::WriteUnits => self.write_units_per_minute,
        }
    }

    /// The limits that it has, with their names.
    pub fn each(self) -> impl Iterator<Item = (LimitName, PerMinute)> {
        LimitName::ALL.into_iter().filter_map(move |name| Some((name, self.of(name)?)))
    }
}

/// Which balances a request draws on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Draw {
    Read,
    Write,
}

impl Draw {
    /// Whether it draws on the balance of a limit. A write reads, too: its key, and what it changes.
    #[must_use]
    pub fn is_on(self, name: LimitName) -> bool {
        match name {
            LimitName::Reads => self == Self::Read,
            LimitName::Writes | LimitName::WriteUnits => self == Self::Write,
            LimitName::ReadUnits => true,
        }
    }

    /// What is known of its use at admission: a request that reads, or one row.
    #[must_use]
    pub fn at_admission(self) -> Usage {
        match self {
            Self::Read => Usage { reads: 1, ..Usage::default() },
            Self::Write => Usage { writes: 1, ..Usage::default() },
        }
    }
}

/// What a key used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Usage {
    pub reads: u64,
    pub writes: u64,
    pub read_units: f64,
    pub write_units: f64,
    /// Requests that were answered with 429.
    pub rejected: u64,
}

impl Usage {
    /// What counts against a limit.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "no key uses 2^52 of anything between reports")]
    pub fn of(&self, name: LimitName) -> f64 {
        match name {
            LimitName::Reads => self.reads as f64,
            LimitName::Writes => self.writes as f64,
            LimitName::ReadUnits => self.read_units,
            LimitName::WriteUnits => self.write_units,
        }
    }

    /// Whether anything was used that a limit may count.
    #[must_use]
    pub fn is_of_any_limit(&self) -> bool {
        LimitName::ALL.into_iter().any(|name| self.of(name) > 0.0)
    }

    #[must_use]
    pub fn plus(self, more: Self) -> Self {
        Self {
            reads: self.reads.saturating_add(more.reads),
            writes: self.writes.saturating_add(more.writes),
            read_units: self.read_units + more.read_units,
            write_units: self.write_units + more.write_units,
            rejected: self.rejected.saturating_add(more.rejected),
        }
    }

    /// What is left when a part of it is taken away.
    #[must_use]
    pub fn less(self, part: Self) -> Self {
        Self {
            reads: self.reads.saturating_sub(part.reads),
            writes: self.writes.saturating_sub(part.writes),
            read_units: (self.read_units - part.read_units).max(0.0),
            write_units: (self.write_units - part.write_units).max(0.0),
            rejected: self.rejected.saturating_sub(part.rejected),
        }
    }
}

/// When a balance is full again, in microseconds since 1970; a time that has passed: it is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FullAt(i64);

impl FullAt {
    #[must_use]
    pub fn as_micros(self) -> i64 {
        self.0
    }

    /// The time of a balance that is full now.
    #[must_use]
    pub fn now(now: Timestamp) -> Self {
        Self(now.as_microsecond())
    }

    /// The time after an amount was spent.
    #[must_use]
    pub fn after(self, now: Timestamp, amount: f64, limit: PerMinute) -> Self {
        Self(self.max(Self::now(now)).0.saturating_add(limit.refill_micros(amount)))
    }

    /// How long the balance takes to be full.
    fn missing_micros(self, now: Timestamp) -> i64 {
        self.0.saturating_sub(now.as_microsecond()).max(0)
    }

    #[must_use]
    pub fn is_positive(self, now: Timestamp) -> bool {
        self.missing_micros(now) < MINUTE_MICROS
    }

    /// What is left; negative if more was spent than there was.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "microseconds of debt, not since 1970")]
    pub fn level(self, now: Timestamp, limit: PerMinute) -> f64 {
        limit.amount() * (1.0 - self.missing_micros(now) as f64 / MINUTE_MICROS as f64)
    }

    /// The last moment at which the balance is not positive.
    fn empty_until(self) -> i64 {
        self.0.saturating_sub(MINUTE_MICROS)
    }
}

/// When each balance of a key is full again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Balances {
    pub reads_full_at: FullAt,
    pub writes_full_at: FullAt,
    pub read_units_full_at: FullAt,
    pub write_units_full_at: FullAt,
}

impl Balances {
    #[must_use]
    pub fn of(&self, name: LimitName) -> FullAt {
        match name {
            LimitName::Reads => self.reads_full_at,
            LimitName::Writes => self.writes_full_at,
            LimitName::ReadUnits => self.read_units_full_at,
            LimitName::WriteUnits => self.write_units_full_at,
        }
    }

    fn set(&mut self, name: LimitName, full_at: FullAt) {
        *match name {
            LimitName::Reads => &mut self.reads_full_at,
            LimitName::Writes => &mut self.writes_full_at,
            LimitName::ReadUnits => &mut self.read_units_full_at,
            LimitName::WriteUnits => &mut self.write_units_full_at,
        } = full_at;
    }

    /// Spends what a request used.
    pub fn spend(&mut self, now: Timestamp, used: Usage, limits: &Limits) {
        for (name, limit) in limits.each() {
            let amount = used.of(name);
            if amount > 0.0 {
                self.set(name, self.of(name).after(now, amount, limit));
            }
        }
    }

    /// The scarcest balance that a request draws on: the one with the smallest share of its limit left. Of a key
    /// that limits none of these, the scarcest of all; `None` if it limits nothing.
    #[must_use]
    pub fn scarcest(&self, draw: Draw, limits: &Limits) -> Option<(LimitName, PerMinute)> {
        let emptier = |(name, limit): &(LimitName, PerMinute)| {
            // Of balances that are equally empty, the smaller one.
            (draw.is_on(*name), self.of(*name), std::cmp::Reverse(*limit))
        };
        limits.each().max_by_key(emptier)
    }

    /// How things stand with the scarcest balance.
    #[must_use]
    pub fn standing(&self, now: Timestamp, draw: Draw, limits: &Limits) -> Option<Standing> {
        let (limit_name, limit) = self.scarcest(draw, limits)?;
        let full_at = self.of(limit_name);
        let empty = !full_at.is_positive(now);
        let now_micros = now.as_microsecond();
        let reset = if empty {
            full_at.empty_until().max(now_micros.saturating_add(1))
        } else {
            full_at.0.max(now_micros)
        };
        Some(Standing {
            limit_name,
            limit,
            remaining: whole(full_at.level(now, limit)),
            is_empty: empty && draw.is_on(limit_name),
            reset: seconds_up(reset),
            wait: seconds_up(reset - now_micros).max(1),
        })
    }
}

/// Rounded up to seconds.
fn seconds_up(micros: i64) -> i64 {
    let second = 1_000_000;
    micros.div_euclid(second) + i64::from(micros.rem_euclid(second) > 0)
}

/// A level in whole numbers, rounded down and never negative. Times are rounded to microseconds: what is nearly a
/// whole number is one.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 2^32")]
fn whole(level: f64) -> u32 {
    (level + 1e-3).floor().clamp(0.0, f64::from(u32::MAX)) as u32
}

/// How things stand with the scarcest balance of a key, as the headers of a reply tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    pub limit_name: LimitName,
    pub limit: PerMinute,
    /// What is left, rounded down, never negative.
    pub remaining: u32,
    /// Whether it refuses the request.
    pub is_empty: bool,
    /// When the balance is full again or, if it is empty, positive again, in seconds since 1970.
    pub reset: i64,
    /// How many seconds that is from now; at least 1.
    pub wait: i64,
}

/// What is stored of a key's balances and of its use today.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Counter {
    #[serde(flatten)]
    pub balances: Balances,
    /// The day of the usage; `None`: nothing is stored yet.
    pub day: Option<Date>,
    /// What was used on that day.
    #[serde(flatten)]
    pub usage: Usage,
    /// How many reports it has had.
    pub reports: u64,
}

/// What an instance used since its last report.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UsageReport {
    pub used: Usage,
    /// When the last of it was used. A report may come much later, and what refilled since must not be spent again.
    pub used_at: Timestamp,
    pub limits: Limits,
    /// What the instance knows of the counter.
    pub known: Counter,
}

impl UsageReport {
    /// The day it counts for: not before one that others have reported for already.
    #[must_use]
    pub fn day(&self) -> Date {
        let day = TimeZone::UTC.to_datetime(self.used_at).date();
        self.known.day.map_or(day, |known| known.max(day))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOON: i64 = 1_795_867_200_000_000;

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_microsecond(NOON + micros).expect("a time")
    }

    fn limit(limit: u32) -> PerMinute {
        PerMinute::new(limit).expect("a limit")
    }

    /// Less than rounding to microseconds can change.
    fn is_near(a: f64, b: f64, limit: PerMinute) -> bool {
        (a - b).abs() <= limit.amount() * 4e-8 + 1e-6
    }

    proptest! {
        #[test]
        fn what_is_spent_is_missing_and_refills_evenly(
            most in 1_u32..1_000_000,
            amounts in prop::collection::vec(0.0_f64..2_000.0, 1..20),
            wait in 0_i64..200_000_000,
        ) {
            let limit = limit(most);
            let spent: f64 = amounts.iter().sum();
            let full_at = amounts.iter().fold(FullAt::default(), |full_at, amount| full_at.after(at(0), *amount, limit));
            let level = full_at.level(at(0), limit);
            let rounding = limit.amount() * 4e-8 * 20.0 + 1e-6;
            prop_assert!((level - (limit.amount() - spent)).abs() <= rounding, "{level}");
            #[allow(clippy::cast_precision_loss)]
            let refilled = level + limit.amount() * wait as f64 / 6e7;
            prop_assert!(is_near(full_at.level(at(wait), limit), refilled.min(limit.amount()), limit));
            prop_assert_eq!(full_at.is_positive(at(wait)), full_at.level(at(wait), limit) > 0.0);
        }

        #[test]
        fn it_does_not_matter_in_which_order_reports_arrive(
            most in 1_u32..10_000,
            mut spent in prop::collection::vec((0_i64..30_000_000, 0.0_f64..500.0), 2..10),
        ) {
            // All within what the balance takes to refill after the first: its time is then a sum.
            let limit = limit(most);
            let first = FullAt::default().after(at(0), limit.amount(), limit);
            let sum = |spent: &[(i64, f64)]| {
                spent.iter().fold(first, |full_at, (time, amount)| full_at.after(at(*time), *amount, limit))
            };
            let forward = sum(&spent);
            spent.reverse();
            prop_assert_eq!(forward, sum(&spent));
        }

        #[test]
        fn a_clock_that_goes_back_refills_nothing(
            most in 1_u32..10_000, times in prop::collection::vec(-90_000_000_i64..90_000_000, 1..20),
        ) {
            let limit = limit(most);
            let mut full_at = FullAt::default();
            for time in times {
                let before = full_at;
                full_at = full_at.after(at(time), 1.0, limit);
                prop_assert!(full_at > before);
                prop_assert!(full_at.level(at(time), limit) <= limit.amount() - 1.0 + 1e-3);
                prop_assert!(full_at.level(at(time - 1_000_000), limit) <= full_at.level(at(time), limit));
            }
        }
    }

    #[test]
    fn what_a_reply_tells_is_whole_and_never_negative() {
        let limits = Limits { reads_per_minute: Some(limit(7)), ..Limits::default() };
        let mut balances = Balances::default();
        let tell = |balances: &Balances| {
            let standing = balances.standing(at(0), Draw::Read, &limits).expect("a limit");
            (
                standing.remaining,
                standing.is_empty,
                standing.reset - at(0).as_second(),
                standing.wait,
            )
        };
        assert_eq!(tell(&balances), (7, false, 0, 1));
        let one = Usage { reads: 1, ..Usage::default() };
        for told in [(6, false, 9, 9), (5, false, 18, 18), (4, false, 26, 26)] {
            balances.spend(at(0), one, &limits);
            assert_eq!(tell(&balances), told);
        }
        balances.spend(at(0), Usage { reads: 4, ..Usage::default() }, &limits);
        assert_eq!(tell(&balances), (0, true, 1, 1));
        balances.spend(at(0), Usage { reads: 14, ..Usage::default() }, &limits);
        assert_eq!(tell(&balances), (0, true, 121, 121), "two minutes' worth too much");
    }

    #[test]
    fn the_scarcest_balance_is_one_that_the_request_draws_on() {
        let limits = Limits {
            reads_per_minute: Some(limit(100)),
            writes_per_minute: Some(limit(10)),
            read_units_per_minute: Some(limit(50)),
            write_units_per_minute: None,
        };
        let mut balances = Balances::default();
        let used = Usage { reads: 10, writes: 9, read_units: 25.0, ..Usage::default() };
        balances.spend(at(0), used, &limits);
        let scarcest = |draw, limits| balances.scarcest(draw, limits).map(|(name, _)| name);
        assert_eq!(scarcest(Draw::Read, &limits), Some(LimitName::ReadUnits));
        assert_eq!(scarcest(Draw::Write, &limits), Some(LimitName::Writes));
        let writes = Limits { writes_per_minute: Some(limit(10)), ..Limits::default() };
        assert_eq!(scarcest(Draw::Read, &writes), Some(LimitName::Writes), "there is no other");
        assert_eq!(scarcest(Draw::Read, &Limits::default()), None);
    }

    #[test]
    fn each_limit_has_a_name_and_a_balance_of_its_own() {
        let limits = Limits {
            reads_per_minute: Some(limit(1)),
            writes_per_minute: Some(limit(2)),
            read_units_per_minute: Some(limit(3)),
            write_units_per_minute: Some(limit(4)),
        };
        let each: Vec<String> =
            limits.each().map(|(name, limit)| format!("{limit} {name}")).collect();
        assert_eq!(each, ["1 reads", "2 writes", "3 read units", "4 write units"]);
        assert_eq!(limits.each().map(|(_, limit)| limit.get()).collect::<Vec<_>>(), [1, 2, 3, 4]);
        assert_eq!((limits.is_none(), Limits::default().is_none()), (false, true));
        assert_eq!(Limits::default().each().count(), 0);
        let draws = |draw: Draw| LimitName::ALL.map(|name| draw.is_on(name));
        assert_eq!(draws(Draw::Read), [true, false, true, false]);
        assert_eq!(draws(Draw::Write), [false, true, true, true]);

        // A minute is a limit's worth: 1 of 1, 1 of 2, 1.5 of 3, 1 of 4.
        let mut balances = Balances::default();
        let used = Usage { reads: 1, writes: 1, read_units: 1.5, write_units: 1.0, rejected: 9 };
        balances.spend(at(0), used, &limits);
        let full_after =
            LimitName::ALL.map(|name| (balances.of(name).as_micros() - NOON) / 1_000_000);
        assert_eq!(full_after, [60, 30, 30, 15]);
        let spent = LimitName::ALL.map(|name| used.of(name).to_string());
        assert_eq!(spent, ["1", "1", "1.5", "1"]);
    }

    #[test]
    fn use_adds_up_and_what_is_taken_away_never_leaves_less_than_nothing() {
        let used = |reads, writes, read_units, write_units, rejected| Usage {
            reads,
            writes,
            read_units,
            write_units,
            rejected,
        };
        let (most, some) = (used(5, 7, 2.5, 8.0, 3), used(2, 3, 0.5, 2.0, 1));
        assert_eq!(most.plus(some), used(7, 10, 3.0, 10.0, 4));
        assert_eq!(most.less(some), used(3, 4, 2.0, 6.0, 2));
        assert_eq!(some.less(most), Usage::default());
        assert_eq!(Draw::Read.at_admission(), used(1, 0, 0.0, 0.0, 0));
        assert_eq!(Draw::Write.at_admission(), used(0, 1, 0.0, 0.0, 0));
    }

    #[test]
    fn a_balance_is_empty_when_a_minutes_worth_is_missing_and_positive_a_microsecond_later() {
        let sixty = limit(60);
        let half = FullAt::now(at(0)).after(at(0), 30.0, sixty);
        assert_eq!(half.as_micros(), NOON + 30_000_000);
        assert_eq!(half.level(at(0), sixty).to_string(), "30");
        assert_eq!(half.level(at(15_000_000), sixty).to_string(), "45");
        assert_eq!(half.level(at(30_000_001), sixty).to_string(), "60");
        let empty = half.after(at(0), 30.0, sixty);
        assert_eq!(empty.level(at(0), sixty).to_string(), "0");
        assert_eq!((empty.is_positive(at(0)), empty.is_positive(at(1))), (false, true));
        // What takes a part of a microsecond is rounded up, and nothing takes no time.
        let seven = limit(7);
        assert_eq!(FullAt::now(at(0)).after(at(0), 1.0, seven).as_micros(), NOON + 8_571_429);
        assert_eq!(FullAt::now(at(0)).after(at(0), -1.0, seven).as_micros(), NOON);
    }

    #[test]
    fn use_counts_for_its_own_day_or_a_later_one_that_others_have_begun() {
        let report = |known: Option<&str>| UsageReport {
            used: Usage::default(),
            used_at: at(0),
            limits: Limits::default(),
            known: Counter {
                day: known.map(|day| day.parse().expect("a day")),
                ..Counter::default()
            },
        };
        for (known, day) in [
            (None, "2026-11-28"),
            (Some("2026-11-27"), "2026-11-28"),
            (Some("2026-11-28"), "2026-11-28"),
            (Some("2026-11-29"), "2026-11-29"),
        ] {
            assert_eq!(report(known).day().to_string(), day, "{known:?}");
        }
    }

    #[test]
    fn a_limit_is_a_whole_number_above_zero() {
        assert_eq!("600".parse::<PerMinute>().expect("a limit"), limit(600));
        for text in ["", "0", "-1", "1.5", "many", "10000001", "4294967296"] {
            assert!(text.parse::<PerMinute>().is_err(), "{text}");
        }
        for (most, allowance) in [(1, "1"), (10, "1"), (25, "2.5"), (600, "60")] {
            assert_eq!(limit(most).allowance().to_string(), allowance);
        }
    }
}
