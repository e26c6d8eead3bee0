//! The journal in a simulation: event source mappings of the tables' streams, and readers that copy the catalog.
//!
//! An item is in one of some partitions of its table, each with a shard at a time that splits now and then. A batch is
//! delivered until it succeeds; meanwhile it is bisected, delivered twice at once, and given to another instance or
//! a new one, and its worker dies at any await. In the end each copy must equal a fresh export.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use serverless_catalog::{
    account::AccountId,
    changes::{Kinds, Losses, Page, PageError, PositionedChange, Positions, View, ends, page},
    cursor::Cursors,
    offerings::Budget,
    store::{RecordReader, Store, TableNames},
    streams::RecordChanges,
};

use super::{
    Clock,
    bus::{Bus, Told, name_of},
    database::{self, Engine},
    faults::NoFaults,
    random::Random,
    workers::{Counter, live},
};

/// Everything of an account as a copy has it: the record of each identity.
pub(crate) type Copy = BTreeMap<String, String>;

/// The tables with a stream.
const TABLES: [&str; 5] = ["offerings", "promotions", "partner-offerings", "networks", "products"];

/// How long Lambda waits for the function.
const TIMEOUT: Duration = Duration::from_mins(1);

/// The journal of a world.
pub(crate) struct Journal {
    engine: Arc<Engine>,
    clock: Clock,
    /// Workers die until then.
    trouble: Duration,
    /// What a new instance of the function has.
    store: Store,
    cursors: Arc<Cursors>,
    instances: Mutex<Vec<RecordChanges>>,
    pub(crate) bus: Arc<Bus>,
    pub(crate) counter: Counter,
    /// How many batches of each table are being recorded.
    recording: Mutex<BTreeMap<&'static str, u32>>,
    /// Whether nothing is written any more.
    pub(crate) is_over: AtomicBool,
}

/// A record of a stream, and the shard that it is in.
struct Record {
    shard: String,
    json: Value,
}

impl Journal {
    pub(crate) fn new(
        engine: &Arc<Engine>,
        (clock, trouble): (Clock, Duration),
        store: &Store,
        counter: Counter,
        random: Random,
    ) -> Arc<Self> {
        let cursors = Arc::new(cursors());
        let client = database::client(engine, NoFaults);
        let reader = Store::new(client, TableNames::with_prefix("test")).with_clock(store.clock());
        let bus = Bus::new(clock, trouble, random, counter.clone(), reader, cursors.clone());
        let journal = Self {
            engine: engine.clone(),
            clock,
            trouble,
            store: store.clone(),
            cursors,
            instances: Mutex::default(),
            bus,
            counter,
            recording: Mutex::default(),
            is_over: AtomicBool::new(false),
        };
        let instances = (0..2).map(|_| journal.instance()).collect();
        *journal.instances.lock().expect("lock") = instances;
        Arc::new(journal)
    }

    /// A new instance of the function: it remembers nothing.
    fn instance(&self) -> RecordChanges {
        RecordChanges::new(self.store.clone()).with_events(self.bus.clone(), self.cursors.clone())
    }

    /// Delivers everything that is written until the journal is over.
    pub(crate) async fn deliver_all(self: Arc<Self>, mut random: Random) {
        let mut mappings = Vec::new();
        for table in TABLES {
            let partitions = random.range(1..4);
            for partition in 0..partitions {
                let random = random.fork();
                let deliver = self.clone().deliver(table, (partition, partitions), random);
                mappings.push(tokio::spawn(deliver));
            }
        }
        for mapping in mappings {
            mapping.await.expect("a mapping");
        }
    }

    /// Delivers what is written to one partition of a table.
    async fn deliver(
        self: Arc<Self>,
        table: &'static str,
        (partition, partitions): (u64, u64),
        mut random: Random,
    ) {
        let mut iterator = None;
        let mut generation = 0;
        let mut pending: Vec<Record> = Vec::new();
        loop {
            let is_over = self.is_over.load(Ordering::Relaxed);
            for json in self.engine.stream_records(&format!("test-{table}"), &mut iterator) {
                let keys = json["dynamodb"]["Keys"].to_string();
                let hash = keys.bytes().fold(7_u64, |hash, b| hash.wrapping_mul(31) + u64::from(b));
                if hash % partitions == partition {
                    generation += u64::from(random.chance(10));
                    let shard = format!("shardId-{table}-{partition}-{generation}");
                    pending.push(Record { shard, json });
                }
            }
            if pending.is_empty() {
                if is_over {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(random.range(50..2_000))).await;
                continue;
            }
            let most = usize::try_from(random.range(1..30)).expect("small");
            let first = pending[0].shard.clone();
            let alike = pending.iter().take(most).take_while(|record| record.shard == first);
            let batch: Vec<Value> = alike.map(|record| record.json.clone()).collect();
            self.deliver_batch(table, &first, &batch, &mut random).await;
            pending.drain(..batch.len());
        }
    }

    /// Delivers a batch until it succeeds.
    async fn deliver_batch(
        &self,
        table: &'static str,
        shard: &str,
        batch: &[Value],
        random: &mut Random,
    ) {
        let mut parts: Vec<&[Value]> = vec![batch];
        while let Some(part) = parts.pop() {
            let at_once = |change: fn(u32) -> u32| {
                let mut recording = self.recording.lock().expect("lock");
                let count = recording.entry(table).or_default();
                *count = change(*count);
                *count
            };
            if at_once(|count| count + 1) > 1 {
                self.counter.count(|tally| tally.concurrent += 1);
            }
            let is_done = self.try_batch(shard, part, random).await;
            at_once(|count| count - 1);
            if is_done {
                continue;
            }
            if part.len() > 1 && random.chance(50) {
                self.counter.count(|tally| tally.bisected += 1);
                let (first, second) = part.split_at(part.len() / 2);
                parts.extend([second, first]);
            } else {
                parts.push(part);
            }
        }
    }

    async fn try_batch(&self, shard: &str, batch: &[Value], random: &mut Random) -> bool {
        let is_trouble = self.clock.elapsed() < self.trouble;
        let at = usize::try_from(random.range(0..2)).expect("few");
        let instance = self.instances.lock().expect("lock")[at].clone();
        let event = json!({
            "Records": batch,
            "window": {"start": "2026-01-01T00:00:00Z", "end": "2026-01-01T00:15:00Z"},
            "state": {}, "shardId": shard, "eventSourceARN": batch[0]["eventSourceARN"],
            "isFinalInvokeForWindow": false, "isWindowTerminatedEarly": false,
        });
        let parse = || serde_json::from_value(event.clone()).expect("an event");
        if is_trouble && random.chance(10) {
            // Another worker has it, too, and is slower or faster.
            self.counter.count(|tally| tally.twice += 1);
            let (twin, event) = (instance.clone(), parse());
            let wait = Duration::from_millis(random.range(0..3_000));
            tokio::spawn(async move {
                tokio::time::sleep(wait).await;
                let _ = tokio::time::timeout(TIMEOUT, twin.handle(event)).await;
            });
        }
        let dies = is_trouble && random.chance(50);
        let life = if dies { Duration::from_millis(random.range(0..60)) } else { TIMEOUT };
        match live(self.clock, life, Box::pin(instance.handle(parse()))).await {
            Ok(handled) => handled.is_ok(),
            Err(point) => {
                self.counter.death(point);
                // With it dies what it remembered; but for a time, which must do no harm.
                if random.chance(70) {
                    self.instances.lock().expect("lock")[at] = self.instance();
                }
                false
            }
        }
    }
}

fn cursors() -> Cursors {
    Cursors::new("the cursor secret of all the tests", None).expect("secret")
}

/// A copy of an account: an export, and all changes since, or only changes.
pub(crate) struct Reader {
    store: Store,
    account: AccountId,
    cursors: Cursors,
    cursor: String,
    copy: Copy,
    /// Whether it has all changes from the first: then each must change something.
    from_the_first: bool,
    positions: BTreeSet<String>,
    pub(crate) told: Told,
}

impl Reader {
    /// Begins at the oldest change, or with an export.
    pub(crate) async fn begin(store: &Store, account: &AccountId, export: bool) -> Self {
        let cursors = cursors();
        let now = store.clock().now();
        let oldest = Positions::oldest(now, Kinds::ALL, View::Everything.fingerprint());
        let mut copy = Copy::new();
        let positions = if export {
            let positions = loop {
                if let Ok(ends) = ends(store, account, oldest.clone()).await {
                    break ends;
                }
            };
            copy = exported(store, account).await;
            positions
        } else {
            oldest
        };
        let cursor = positions.seal(&cursors, account).expect("a cursor");
        let (store, account) = (store.clone(), account.clone());
        let (positions, told) = (BTreeSet::new(), Told::new());
        Self { store, account, cursors, cursor, copy, from_the_first: !export, positions, told }
    }

    /// Reads one page of a random size; `true` when nothing more was there.
    pub(crate) async fn read(&mut self, random: &mut Random) -> Result<bool, String> {
        let positions = Positions::open(&self.cursors, &self.account, &self.cursor);
        let positions = positions.map_err(|error| error.to_string())?;
        let limit = usize::try_from(random.range(1..60)).expect("small");
        let until = std::time::Instant::now() + Duration::from_mins(1);
        let budget = Budget { read_units: 1_000.0, until };
        let (losses, view) = (Losses::default(), View::Everything);
        let read = page(&self.store, &self.account, positions, losses, view, limit, budget);
        let Page { changes, next, up_to_date } = match read.await {
            Ok(page) => page,
            Err(PageError::Log(_)) => return Ok(false),
            Err(PageError::Gone) => return Err("the reader's cursor is gone".to_owned()),
        };
        if changes.len() > limit {
            return Err(format!("{} changes, more than {limit}", changes.len()));
        }
        self.cursor = next.seal(&self.cursors, &self.account).expect("a cursor");
        for told in changes {
            self.apply(told)?;
        }
        Ok(up_to_date)
    }

    fn apply(
        &mut self,
        PositionedChange { position, change }: PositionedChange,
    ) -> Result<(), String> {
        if !self.positions.insert(position.clone()) {
            return Err(format!("{position} is told twice"));
        }
        let (kind, id) = (change.identity.kind.as_str(), change.identity.id.as_str());
        let op = if change.record().is_some() { "upsert" } else { "delete" };
        *self.told.entry(name_of(kind, id, op)).or_default() += 1;
        let identity = json!(change.identity).to_string();
        let record = change.record().map(ToOwned::to_owned);
        if self.from_the_first && self.copy.get(&identity) == record.as_ref() {
            return Err(format!("{position} changes nothing: {change:?}"));
        }
        match record {
            Some(record) => self.copy.insert(identity, record),
            None => self.copy.remove(&identity),
        };
        Ok(())
    }

    /// What it has, without identities: the lines of an export.
    pub(crate) fn lines(&self) -> Vec<&String> {
        let mut lines: Vec<&String> = self.copy.values().collect();
        lines.sort();
        lines
    }
}

/// The identity of an exported record, as changes have it.
fn identity(record: &Value) -> String {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    };
    let kind = record["kind"].as_str().expect("kind");
    let mut identity = json!({"k": kind});
    identity["i"] = match kind {
        "offering" => text(&record["productOfferingId"]),
        "promotion" => text(&record["code"]),
        "partnerOffering" => {
            let offering = &record["offering"];
            format!("{}/{}", text(&offering["type"]), text(&offering["name"]))
        }
        "network" => text(&record["id"]),
        "bundle" => format!("{}/{}", record["network_id"], record["id"]),
        "exchangeRate" => {
            let [from, to] = ["source_currency", "destination_currency"];
            format!("{}/{}", text(&record[from]), text(&record[to]))
        }
        "product" => {
            let fields = ["sku", "externalId", "id"];
            let field = fields.iter().find(|field| !record[**field].is_null()).expect("a key");
            identity["f"] = json!(field);
            text(&record[*field])
        }
        kind => panic!("{kind}"),
    }
    .into();
    identity.to_string()
}

/// An export whose bundles have records of their own.
pub(crate) async fn exported(store: &Store, account: &AccountId) -> Copy {
    let mut copy = Copy::new();
    for kind in RecordReader::KINDS {
        let mut reader = RecordReader::new(store, account, kind).with_bundles_apart();
        loop {
            let records = match reader.next().await {
                Ok(Some(records)) => records,
                Ok(None) => break,
                Err(error) => panic!("{error}"),
            };
            for line in records {
                let identity = identity(&serde_json::from_str(&line).expect("JSON"));
                assert!(copy.insert(identity, line).is_none(), "twice");
            }
        }
    }
    copy
}
