//! A simulation that a seed repeats exactly: clients of the real SDKs, whose requests are answered in
//! this process, on one thread and by a clock that stands still while anything runs.
//!
//! [`database`] is DynamoDB, [`objects`] is S3. Before each answer a fault policy ([`faults`]) decides
//! what becomes of the request, by [`random`] numbers of the seed. Nothing here opens a socket or
//! starts a thread.

mod areas;
mod bus;
mod checks;
mod copies;
pub(crate) mod database;
pub(crate) mod faults;
mod history;
mod imports;
pub(crate) mod journal;
pub(crate) mod objects;
mod orders;
mod partitions;
pub(crate) mod random;
mod scenarios;
mod scene;
mod wire;
mod workers;

use std::{
    future::Future,
    time::{Duration, SystemTime},
};

use aws_smithy_async::time::TimeSource;
use jiff::Timestamp;
use tokio::{runtime::Builder, time::Instant};

/// Runs a simulation to its end. Its time goes on only while all its tasks wait, and then at once to
/// the moment that the first of them waits for.
pub(crate) fn run<F: Future>(simulation: F) -> F::Output {
    let runtime = Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.expect("runtime").block_on(simulation)
}

/// When every simulation begins: 2026-01-01T00:00:00Z.
const BEGINNING: Timestamp = Timestamp::constant(1_767_225_600, 0);

/// The time of a simulation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    /// Starts now; to be called within [`run`].
    pub(crate) fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// The time since the start.
    pub(crate) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// The time of day.
    pub(crate) fn timestamp(&self) -> Timestamp {
        BEGINNING + self.elapsed()
    }
}

/// Signatures and checks for stalled bodies go by the simulation's time, too.
impl TimeSource for Clock {
    fn now(&self) -> SystemTime {
        self.timestamp().into()
    }
}
