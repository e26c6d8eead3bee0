//! What befalls the workers that record the journal, counted: a test that relies on faults fails when they no longer
//! happen.

use std::{
    ops::AddAssign,
    sync::{Arc, Mutex},
    time::Duration,
};

use super::{
    Clock,
    faults::{Fate, FaultKind, Faults},
};

/// Where a worker was when it died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Point {
    /// Its chunk had not arrived.
    BeforeChunk,
    /// Its chunk was stored, and it did not know.
    AfterChunk,
    /// Its events had not arrived.
    BeforeEvents,
    /// Its events were put, and it did not know.
    AfterEvents,
    /// Elsewhere: it was reading, or waited before another attempt.
    Elsewhere,
}

/// How often what happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    deaths: [u64; 5],
    /// Writes of chunks and events that were done, and whose answers were lost.
    pub unseen: u64,
    /// Batches that two workers had at once.
    pub twice: u64,
    pub bisected: u64,
    /// Batches of one log that were recorded while one of another shard was.
    pub concurrent: u64,
}

impl Tally {
    pub(crate) fn deaths(&self, point: Point) -> u64 {
        self.deaths[point as usize]
    }

    pub(crate) fn all_deaths(&self) -> u64 {
        self.deaths.iter().sum()
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        for (sum, deaths) in self.deaths.iter_mut().zip(other.deaths) {
            *sum += deaths;
        }
        self.unseen += other.unseen;
        self.twice += other.twice;
        self.bisected += other.bisected;
        self.concurrent += other.concurrent;
    }
}

/// A request of a worker.
#[derive(Clone, Debug)]
struct Pending {
    operation: String,
    /// When it is done; `None`: never.
    done: Option<Duration>,
    answered: Duration,
}

/// The last request of a worker.
type Trace = Arc<Mutex<Option<Pending>>>;

tokio::task_local! {
    static TRACE: Trace;
}

/// Notes what becomes of a request of the worker that is running.
pub(super) fn note(now: Duration, operation: &str, fate: Fate) {
    let is_done = matches!(
        fate.kind,
        FaultKind::Pass | FaultKind::Unseen | FaultKind::Unprocessed | FaultKind::Cut(_)
    );
    let arrived = now + fate.before;
    let pending = Pending {
        operation: operation.to_owned(),
        done: is_done.then_some(arrived),
        answered: arrived + fate.after,
    };
    // Not every request is a worker's.
    let _ = TRACE.try_with(|trace| *trace.lock().expect("lock") = Some(pending));
}

/// Runs a worker for so long; `Err` tells where it died.
pub(super) async fn live<F: Future>(
    clock: Clock,
    life: Duration,
    work: F,
) -> Result<F::Output, Point> {
    let trace = Trace::default();
    let work = TRACE.scope(trace.clone(), work);
    tokio::time::timeout(life, work).await.map_err(|_| {
        let now = clock.elapsed();
        let pending = trace.lock().expect("lock").clone();
        let Some(Pending { operation, done, .. }) =
            pending.filter(|pending| now < pending.answered)
        else {
            return Point::Elsewhere;
        };
        match (operation.as_str(), done.is_some_and(|done| done <= now)) {
            ("PutItem", false) => Point::BeforeChunk,
            ("PutItem", true) => Point::AfterChunk,
            ("PutEvents", false) => Point::BeforeEvents,
            ("PutEvents", true) => Point::AfterEvents,
            _ => Point::Elsewhere,
        }
    })
}

/// Counts what happens to workers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counter(Arc<Mutex<Tally>>);

impl Counter {
    pub(crate) fn tally(&self) -> Tally {
        *self.0.lock().expect("lock")
    }

    pub(super) fn count(&self, count: impl FnOnce(&mut Tally)) {
        count(&mut self.0.lock().expect("lock"));
    }

    pub(super) fn death(&self, point: Point) {
        self.count(|tally| tally.deaths[point as usize] += 1);
    }
}

/// Faults of the requests of workers, which are noted.
pub(super) struct Watched<F> {
    pub(super) faults: F,
    pub(super) clock: Clock,
    pub(super) counter: Counter,
}

impl<F: Faults> Faults for Watched<F> {
    fn decide(&self, operation: &str, request: &[u8]) -> Fate {
        let fate = self.faults.decide(operation, request);
        note(self.clock.elapsed(), operation, fate);
        if operation == "PutItem" && fate.kind == FaultKind::Unseen {
            self.counter.count(|tally| tally.unseen += 1);
        }
        fate
    }
}
