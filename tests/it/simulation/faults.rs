//! What becomes of requests, and what became of them.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{Clock, random::Random};

/// What becomes of a request. Who stops waiting within `before` has sent nothing; within `after`, it
/// is done all the same. Timers count whole milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fate {
    /// How long it takes to arrive.
    pub before: Duration,
    pub kind: FaultKind,
    /// How long the answer, or the end of the connection, takes to come back.
    pub after: Duration,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// It is done and answered.
    #[default]
    Pass,
    /// Its connection is reset, and nothing is done.
    Lost,
    /// It is done, and its connection is reset before the answer.
    Unseen,
    /// There are too many: `ProvisionedThroughputExceededException`, or `SlowDown` of S3.
    Throttled,
    /// There is trouble: status 500.
    Unavailable,
    /// Of a batch of DynamoDB half of the keys or writes of each table, rounded down, are left
    /// undone. Any other request passes.
    Unprocessed,
    /// It is done, and the answer's body breaks off after so many bytes. A shorter one passes.
    Cut(usize),
}

impl From<FaultKind> for Fate {
    fn from(kind: FaultKind) -> Self {
        Self { kind, ..Self::default() }
    }
}

/// What decides of every request what becomes of it.
pub(crate) trait Faults: Send + Sync {
    /// `operation` is such as `PutItem`; `request` the body of a request to DynamoDB, and of one to S3
    /// the path, `/bucket/key`. The order of the members of a body is not the same in every run.
    fn decide(&self, operation: &str, request: &[u8]) -> Fate;
}

/// A closure must name its parameters' types: `|operation: &str, _: &[u8]|`.
impl<F: Fn(&str, &[u8]) -> Fate + Send + Sync> Faults for F {
    fn decide(&self, operation: &str, request: &[u8]) -> Fate {
        self(operation, request)
    }
}

/// Everything passes at once.
pub(crate) struct NoFaults;

impl Faults for NoFaults {
    fn decide(&self, _: &str, _: &[u8]) -> Fate {
        Fate::default()
    }
}

/// A request that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// When, since the start.
    pub at: Duration,
    pub operation: String,
    pub fate: Fate,
}

/// All requests that were made, in their order.
pub(crate) struct RequestLog {
    pub(super) clock: Clock,
    entries: Mutex<Vec<Entry>>,
}

impl RequestLog {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, entries: Mutex::default() }
    }

    pub(super) fn push(&self, operation: &str, fate: Fate) {
        let entry = Entry { at: self.clock.elapsed(), operation: operation.to_owned(), fate };
        self.locked().push(entry);
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.locked().clone()
    }

    /// How many requests there were of an operation, whatever became of them.
    pub(crate) fn count(&self, operation: &str) -> usize {
        self.locked().iter().filter(|entry| entry.operation == operation).count()
    }

    fn locked(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Trouble ends after this time, so that all work ends, too.
pub(super) const TROUBLE: Duration = Duration::from_mins(2);

/// Trouble of a seed: single requests, and outages of some seconds.
pub(super) struct Trouble {
    pub(super) random: Mutex<Random>,
    pub(super) clock: Clock,
    pub(super) percent: u64,
    pub(super) outage: Option<(Duration, Duration)>,
    /// Whether a body may be cut.
    pub(super) is_s3: bool,
}

impl Faults for Trouble {
    fn decide(&self, operation: &str, _: &[u8]) -> Fate {
        let mut random = self.random.lock().expect("lock");
        let elapsed = self.clock.elapsed();
        // Most are fast; a slow one lets others pass it.
        let wait = |random: &mut Random| {
            let longest = if random.chance(4) { 4_000 } else { 12 };
            Duration::from_millis(random.range(0..longest))
        };
        let (before, after) = (wait(&mut random), wait(&mut random));
        let away = self.outage.is_some_and(|(from, to)| elapsed >= from && elapsed < to);
        let kind = if elapsed > TROUBLE {
            FaultKind::Pass
        } else if away {
            FaultKind::Lost
        } else if random.chance(self.percent) {
            match random.range(0..6) {
                0 => FaultKind::Lost,
                1 | 2 => FaultKind::Unseen,
                3 => FaultKind::Throttled,
                4 => FaultKind::Unavailable,
                _ if self.is_s3 && operation == "GetObject" => {
                    FaultKind::Cut(usize::try_from(random.range(0..400)).expect("small"))
                }
                _ => FaultKind::Unprocessed,
            }
        } else {
            FaultKind::Pass
        };
        Fate { before, kind, after }
    }
}
