//! An event bus in a simulation: requests are lost, refused, or put without an answer. What an event tells must be
//! readable with its cursor when it is put.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures_util::{FutureExt as _, future::BoxFuture};
use serde_json::Value;
use serverless_catalog::{
    account::AccountId,
    cause::Cause,
    changes::{Losses, Page, Positions, View, page},
    cursor::Cursors,
    offerings::Budget,
    store::Store,
    streams::EventSink,
};

use super::{
    Clock,
    faults::{Fate, FaultKind},
    random::Random,
    workers::{Counter, note},
};

/// How often each change was told of: by kind, id and operation.
pub(crate) type Told = BTreeMap<String, u64>;

pub(crate) struct Bus {
    clock: Clock,
    /// Requests fail until then.
    trouble: Duration,
    random: Mutex<Random>,
    counter: Counter,
    /// Reads without faults.
    store: Store,
    cursors: Arc<Cursors>,
    told: Mutex<Told>,
    unreadable: Mutex<Option<String>>,
}

impl fmt::Debug for Bus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Bus").finish_non_exhaustive()
    }
}

impl Bus {
    pub(super) fn new(
        clock: Clock,
        trouble: Duration,
        random: Random,
        counter: Counter,
        store: Store,
        cursors: Arc<Cursors>,
    ) -> Arc<Self> {
        let (told, unreadable) = (Mutex::default(), Mutex::default());
        let random = Mutex::new(random);
        Arc::new(Self { clock, trouble, random, counter, store, cursors, told, unreadable })
    }

    /// What was told; an error if some of it could not be read when it was.
    pub(crate) fn told(&self) -> Result<Told, String> {
        let unreadable = self.unreadable.lock().expect("lock").clone();
        unreadable.map_or_else(|| Ok(self.told.lock().expect("lock").clone()), Err)
    }

    fn decide(&self) -> Fate {
        let mut random = self.random.lock().expect("lock");
        let mut wait = || Duration::from_millis(random.range(0..12));
        let (before, after) = (wait(), wait());
        let is_trouble = self.clock.elapsed() < self.trouble && random.chance(8);
        let kind = *random.pick(&[FaultKind::Lost, FaultKind::Unseen, FaultKind::Unavailable]);
        Fate { before, after, kind: if is_trouble { kind } else { FaultKind::Pass } }
    }

    async fn take(&self, detail: &str) {
        let detail: Value = serde_json::from_str(detail).expect("JSON");
        let account = AccountId::parse(detail["account"].as_str().expect("account"));
        let readable = self.readable(&account.expect("account"), &detail["cursor"]).await;
        for change in detail["changes"].as_array().expect("changes") {
            let text = |name: &str| change[name].as_str().expect(name);
            let name = name_of(detail["kind"].as_str().expect("kind"), text("id"), text("op"));
            if !readable.contains_key(&name) {
                let error = format!("an event tells of {name} before it can be read");
                *self.unreadable.lock().expect("lock") = Some(error);
            }
            *self.told.lock().expect("lock").entry(name).or_default() += 1;
        }
    }

    /// What a cursor reads now.
    async fn readable(&self, account: &AccountId, cursor: &Value) -> Told {
        let cursor = cursor.as_str().expect("a cursor");
        let mut positions = Positions::open(&self.cursors, account, cursor).expect("its cursor");
        let mut readable = Told::new();
        loop {
            let until = Instant::now() + Duration::from_mins(1);
            let budget = Budget { read_units: 1_000.0, until };
            let (losses, view) = (Losses::default(), View::Everything);
            let read = page(&self.store, account, positions, losses, view, 1_000, budget);
            let Page { changes, next, up_to_date } = read.await.expect("a page");
            for told in changes {
                let op = if told.change.record().is_some() { "upsert" } else { "delete" };
                let identity = told.change.identity;
                *readable.entry(name_of(identity.kind.as_str(), &identity.id, op)).or_default() +=
                    1;
            }
            if up_to_date {
                return readable;
            }
            positions = next;
        }
    }
}

/// A change as it is counted.
pub(super) fn name_of(kind: &str, id: &str, op: &str) -> String {
    format!("{op} {kind} {id}")
}

impl EventSink for Bus {
    fn put(&self, details: Vec<String>) -> BoxFuture<'_, Result<(), Cause>> {
        async move {
            let fate = self.decide();
            note(self.clock.elapsed(), "PutEvents", fate);
            if fate.kind == FaultKind::Unseen {
                self.counter.count(|tally| tally.unseen += 1);
            }
            tokio::time::sleep(fate.before).await;
            if matches!(fate.kind, FaultKind::Pass | FaultKind::Unseen) {
                for detail in &details {
                    self.take(detail).await;
                }
            }
            tokio::time::sleep(fate.after).await;
            if fate.kind == FaultKind::Pass { Ok(()) } else { Err("the simulation".into()) }
        }
        .boxed()
    }
}
