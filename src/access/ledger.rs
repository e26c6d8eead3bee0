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
    limits: Limits,
    /// What the database told last.
    known: Counter,
    /// The same, with what was spent here since.
    balances: Balances,
    /// What was used here and is not reported.
    unreported: Usage,
    /// When something was used here last.
    used_at: Timestamp,
    /// When this instance last heard from the database.
    heard: Option<Instant>,
    /// When it last failed to reach it.
    failed: Option<Instant>,
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
    /// The counter must be read, or the allowance is spent: the database must be asked first.
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
        self.limits = limits;
        if let Some(standing) = self.standing(now, draw).filter(|standing| standing.is_empty) {
            self.unreported.rejected = self.unreported.rejected.saturating_add(1);
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

    /// Whether the counter is unknown, or an allowance is spent.
    fn must_ask(&self) -> bool {
        let spent =
            |(name, limit): (LimitName, PerMinute)| self.unreported.of(name) >= limit.allowance();
        self.heard.is_none() || self.limits.each().any(spent)
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
        let over =
            |(name, limit): (LimitName, PerMinute)| self.unreported.of(name) > limit.allowance();
        self.limits.each().any(over) && !self.is_pausing(instant)
    }

    /// Whether the database must be asked before the next request, and may be.
    #[must_use]
    pub fn is_waiting(&self, instant: Instant) -> bool {
        self.must_ask() && !self.is_pausing(instant)
    }

    /// Charges what a request used.
    pub fn charge(&mut self, now: Timestamp, used: Usage) {
        self.unreported = self.unreported.plus(used);
        self.used_at = now;
        self.balances.spend(now, used, &self.limits);
    }

    /// What to report; `None` if the counter must be read first.
    #[must_use]
    pub fn report(&self) -> Option<UsageReport> {
        self.heard?;
        let Self { unreported, used_at, limits, known, .. } = *self;
        Some(UsageReport { used: unreported, used_at, limits, known })
    }

    /// Takes what the database told, to a report of this use.
    pub fn heard(&mut self, now: Timestamp, instant: Instant, counter: Counter, reported: Usage) {
        self.unreported = self.unreported.less(reported);
        self.known = counter;
        self.balances = counter.balances;
        self.balances.spend(now, self.unreported, &self.limits);
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
        self.balances.standing(now, draw, &self.limits)
    }
}
