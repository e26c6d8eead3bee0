//! What one instance knows of a key's balances, and has not reported yet.

use jiff::Timestamp;
use tokio::time::{Duration, Instant};

use super::limits::{
    Balances, Counter, Draw, LimitName, Limits, PerMinute, Standing, Usage, UsageReport,
};

/// An instance reports at least this often while it serves.
const REPORT_EVERY: Duration = Duration::from_secs(5);

/// How long an instance does without the counter after it could not be reached.
const PAUSE: Duration = Duration::from_secs(1);

/// The counter of a key, as an instance keeps it between its reports.
#[derive(Debug, Default)]
pub struct Ledger {
    /// What the database told last.
    known: Counter,
    /// The same, with what was spent here since.
    balances: Balances,
    /// What was used here under earlier limits and is not reported: it counts by them, and is reported first.
    earlier: Vec<Unreported>,
    /// What was used here under the limits that the key has now and is not reported.
    current: Unreported,
    /// When this instance last heard from the database.
    heard: Option<Instant>,
    /// When it last failed to reach it.
    failed: Option<Instant>,
}

/// What is not reported of what was used under some limits.
#[derive(Clone, Copy, Debug, Default)]
struct Unreported {
    limits: Limits,
    used: Usage,
    /// When something was used last.
    at: Timestamp,
}

/// Whether a request is admitted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Admission {
    Admitted {
        /// Whether a report is due: it may be made while the request is answered.
        is_due: bool,
        /// Whether the counter should have been asked, and could not be reached.
        is_unchecked: bool,
    },
    /// A balance is empty.
    Refused(Standing),
    /// The counter must be read, the allowance is spent, or the limits were changed: the database must be asked first.
    AskFirst,
}

impl Ledger {
    /// Decides of a request, and charges what is known of it before it is answered: concurrent requests see it.
    pub fn admit(
        &mut self,
        now: Timestamp,
        instant: Instant,
        draw: Draw,
        limits: Limits,
    ) -> Admission {
        if limits != self.current.limits {
            if self.current.used.is_of_any_limit() {
                self.earlier.push(std::mem::take(&mut self.current));
            }
            self.current.limits = limits;
        }
        if let Some(standing) = self.standing(now, draw).filter(|standing| standing.is_empty) {
            let rejected = &mut self.current.used.rejected;
            *rejected = rejected.saturating_add(1);
            return Admission::Refused(standing);
        }
        let must_ask = self.must_ask();
        if self.is_waiting(instant) {
            return Admission::AskFirst;
        }
        self.charge(now, draw.at_admission());
        Admission::Admitted { is_due: self.is_due(instant), is_unchecked: must_ask }
    }

    fn is_pausing(&self, instant: Instant) -> bool {
        self.failed.is_some_and(|at| instant.duration_since(at) < PAUSE)
    }

    /// The limits by which it decides.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.current.limits
    }

    /// Whether the counter is unknown, an allowance is spent, or the limits were changed.
    fn must_ask(&self) -> bool {
        let Unreported { limits, used, .. } = self.current;
        let spent = |(name, limit): (LimitName, PerMinute)| used.of(name) >= limit.allowance();
        self.heard.is_none() || !self.earlier.is_empty() || limits.each().any(spent)
    }

    /// Whether a report is due because of the time.
    #[must_use]
    pub fn is_due(&self, instant: Instant) -> bool {
        let lately = |at: Instant| instant.duration_since(at) < REPORT_EVERY;
        !self.heard.is_some_and(lately) && !self.is_pausing(instant)
    }

    /// Whether more than an allowance was spent here, by one request mostly: others must not wait for the next one to hear
    /// of it.
    #[must_use]
    pub fn is_overspent(&self, instant: Instant) -> bool {
        let Unreported { limits, used, .. } = self.current;
        let over = |(name, limit): (LimitName, PerMinute)| used.of(name) > limit.allowance();
        limits.each().any(over) && !self.is_pausing(instant)
    }

    /// Whether the database must be asked before the next request, and may be.
    #[must_use]
    pub fn is_waiting(&self, instant: Instant) -> bool {
        self.must_ask() && !self.is_pausing(instant)
    }

    /// Charges what a request used.
    pub fn charge(&mut self, now: Timestamp, used: Usage) {
        self.current.used = self.current.used.plus(used);
        self.current.at = now;
        self.balances.spend(now, used, &self.current.limits);
    }

    /// What to report; `None` if the counter must be read first.
    #[must_use]
    pub fn report(&self) -> Option<UsageReport> {
        self.heard?;
        let Unreported { limits, used, at } = *self.earlier.first().unwrap_or(&self.current);
        Some(UsageReport { used, used_at: at, limits, known: self.known })
    }

    /// Takes what the database told, to a report of this use.
    pub fn heard(&mut self, instant: Instant, counter: Counter, reported: Usage) {
        // The limits may have been changed since the report was made: what it was made of is the first even so.
        let first = self.earlier.first_mut().unwrap_or(&mut self.current);
        first.used = first.used.less(reported);
        self.earlier.retain(|earlier| earlier.used.is_of_any_limit());
        self.known = counter;
        self.balances = counter.balances;
        for Unreported { limits, used, at } in self.earlier.iter().chain([&self.current]) {
            self.balances.spend(*at, *used, limits);
        }
        self.heard = Some(instant);
        self.failed = None;
    }

    /// Notes that the database could not be reached.
    pub fn failed(&mut self, instant: Instant) {
        self.failed = Some(instant);
    }

    /// How things stand with the scarcest balance.
    #[must_use]
    pub fn standing(&self, now: Timestamp, draw: Draw) -> Option<Standing> {
        self.standing_with(now, draw, &self.current.limits)
    }

    /// How things stand with the scarcest balance of these limits.
    #[must_use]
    pub fn standing_with(&self, now: Timestamp, draw: Draw, limits: &Limits) -> Option<Standing> {
        self.balances.standing(now, draw, limits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u32 = 20;

    /// So many seconds after noon.
    fn at(seconds: i64) -> Timestamp {
        let noon: Timestamp = "2026-11-28T12:00:00Z".parse().expect("a time");
        noon + jiff::SignedDuration::from_secs(seconds)
    }

    /// Twenty reads a minute: an instance spends two of them by itself.
    fn limits() -> Limits {
        Limits { reads_per_minute: PerMinute::new(LIMIT), ..Limits::default() }
    }

    fn reads(reads: u64) -> Usage {
        Usage { reads, ..Usage::default() }
    }

    fn admitted(is_due: bool, is_unchecked: bool) -> Admission {
        Admission::Admitted { is_due, is_unchecked }
    }

    /// A ledger that has heard of a counter at this instant, at noon.
    fn informed(instant: Instant) -> Ledger {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.admit(at(0), instant, Draw::Read, limits()), Admission::AskFirst);
        ledger.heard(instant, Counter::default(), Usage::default());
        ledger
    }

    fn remaining(ledger: &Ledger) -> u32 {
        ledger.standing(at(0), Draw::Read).expect("a limit").remaining
    }

    #[test]
    fn a_new_ledger_reads_the_counter_first_and_then_reports_what_was_used() {
        let start = Instant::now();
        let mut ledger = Ledger::default();
        assert_eq!(ledger.admit(at(0), start, Draw::Read, limits()), Admission::AskFirst);
        assert_eq!((ledger.is_waiting(start), ledger.is_due(start)), (true, true));
        assert_eq!(ledger.report(), None);
        let counter = Counter { reports: 7, ..Counter::default() };
        ledger.heard(start, counter, Usage::default());
        assert_eq!((ledger.is_waiting(start), ledger.is_due(start)), (false, false));
        assert_eq!(ledger.admit(at(3), start, Draw::Read, limits()), admitted(false, false));
        let report =
            UsageReport { used: reads(1), used_at: at(3), limits: limits(), known: counter };
        assert_eq!(ledger.report(), Some(report));
    }

    #[test]
    fn an_allowance_is_spent_without_asking_and_more_than_one_is_reported_at_once() {
        let start = Instant::now();
        let mut ledger = informed(start);
        for left in [19, 18] {
            assert!(!ledger.is_waiting(start));
            assert_eq!(ledger.admit(at(0), start, Draw::Read, limits()), admitted(false, false));
            assert_eq!(remaining(&ledger), left);
        }
        // Exactly the allowance: the next request waits, and nobody else has to hear of it now.
        assert_eq!((ledger.is_waiting(start), ledger.is_overspent(start)), (true, false));
        assert_eq!(ledger.admit(at(0), start, Draw::Read, limits()), Admission::AskFirst);
        ledger.charge(at(0), reads(1));
        assert!(ledger.is_overspent(start));
        // Two of the three are reported: the third is still missing from what the database tells.
        let mut balances = Balances::default();
        balances.spend(at(0), reads(2), &limits());
        let counter = Counter { balances, ..Counter::default() };
        ledger.heard(start, counter, reads(2));
        assert_eq!(remaining(&ledger), 17);
        assert_eq!(ledger.report().map(|report| report.used), Some(reads(1)));
        assert_eq!((ledger.is_waiting(start), ledger.is_overspent(start)), (false, false));
    }

    #[test]
    fn a_report_is_due_after_five_seconds() {
        let start = Instant::now();
        let mut ledger = informed(start);
        let almost = start + REPORT_EVERY.saturating_sub(Duration::from_nanos(1));
        assert_eq!(ledger.admit(at(4), almost, Draw::Read, limits()), admitted(false, false));
        assert!(!ledger.is_due(almost));
        let later = start + REPORT_EVERY;
        assert!(ledger.is_due(later));
        assert_eq!(ledger.admit(at(5), later, Draw::Read, limits()), admitted(true, false));
    }

    #[test]
    fn after_a_failure_requests_are_admitted_unchecked_for_a_second() {
        let start = Instant::now();
        let mut ledger = Ledger::default();
        ledger.failed(start);
        let almost = start + PAUSE.saturating_sub(Duration::from_nanos(1));
        for instant in [start, almost] {
            assert_eq!((ledger.is_waiting(instant), ledger.is_due(instant)), (false, false));
            assert_eq!(ledger.admit(at(0), instant, Draw::Read, limits()), admitted(false, true));
        }
        ledger.charge(at(0), reads(1));
        assert!(!ledger.is_overspent(almost));
        let later = start + PAUSE;
        let (waiting, due) = (ledger.is_waiting(later), ledger.is_due(later));
        assert_eq!((waiting, due, ledger.is_overspent(later)), (true, true, true));
        assert_eq!(ledger.admit(at(1), later, Draw::Read, limits()), Admission::AskFirst);
        // An answer ends the pause after a failure.
        ledger.failed(later);
        ledger.heard(later, Counter::default(), Usage::default());
        assert!(ledger.is_waiting(later), "more than an allowance is not reported");
    }

    #[test]
    fn a_refused_request_is_counted_and_charged_nothing() {
        let start = Instant::now();
        let mut ledger = informed(start);
        ledger.charge(at(0), reads(u64::from(LIMIT)));
        for rejected in 1..=2 {
            let refused = ledger.admit(at(0), start, Draw::Read, limits());
            let standing = ledger.standing(at(0), Draw::Read).expect("a limit");
            assert!(standing.is_empty);
            assert_eq!(refused, Admission::Refused(standing));
            let used = Usage { rejected, ..reads(u64::from(LIMIT)) };
            assert_eq!(ledger.report().map(|report| report.used), Some(used));
        }
        // Nothing of what it writes is limited, but an allowance of its reads is spent.
        assert_eq!(ledger.admit(at(0), start, Draw::Write, limits()), Admission::AskFirst);
    }
}
