//! The newest write stays, and an import ends by itself: from one seed a random schedule of object
//! versions, messages, events, upserts, deletes and snapshots, with workers that overlap, are killed at
//! any await, lose answers, meet throttles, outages, cut bodies, duplicate and reordered deliveries and
//! time that runs out. In the end the tables equal a plain model, the lists agree with the export, and
//! every job has ended with counts that add up.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering as Atomic},
    },
    time::Duration,
};

use aws_lambda_events::sqs::SqsEvent;
use futures_util::{FutureExt as _, future::BoxFuture};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use serverless_catalog::{
    account::AccountId,
    cause::Cause,
    clock,
    idempotency::RequestIdentity,
    imports::job::{ImportId, Job, Status},
    objects::{Bucket, Objects},
    offerings::{
        CustomerType, KeyRange, OfferingFilter, OfferingRanges as _, SortRange,
        Status as OfferingStatus,
    },
    order::Origin,
    products::{ProductRow, RowError, arrived, upsert},
    queue::{CONTINUES, ImportCatalog, MAX_RECEIVES, MessageQueue, QueueMessage},
    store::{RecordReader, Store, TableNames},
};
use tokio::time::Instant;

use super::{
    Clock,
    areas::check_areas,
    database::{self, Engine, Snapshot},
    faults::{NoFaults, TROUBLE, Trouble},
    history::{Author, Effect, Line, Model, Whole, note},
    journal::Journal,
    objects::{self, Buckets},
    random::Random,
    run,
    workers::{Counter, Watched},
};

const BUCKET: &str = "catalog";

/// How long a message stays invisible after a worker died with it.
const VISIBILITY: Duration = Duration::from_mins(5);

/// A message of the queue.
#[derive(Clone, Debug)]
struct Message {
    id: String,
    body: String,
    continues: Option<String>,
    sent: Timestamp,
    visible_at: Instant,
    receives: u32,
}

/// The queue with its dead-letter queue, from which an operator moves messages back.
#[derive(Debug)]
struct Queue {
    messages: Mutex<Vec<Message>>,
    clock: clock::Clock,
    sent: AtomicU64,
    random: Mutex<Random>,
}

impl Queue {
    fn send_body(&self, body: String, continues: Option<String>, delay: Duration) -> String {
        let id = format!("m{}", self.sent.fetch_add(1, Atomic::Relaxed));
        let visible_at = Instant::now() + delay;
        let sent = self.clock.now();
        let message = Message { id: id.clone(), body, continues, sent, visible_at, receives: 0 };
        self.messages.lock().expect("lock").push(message);
        id
    }

    fn receive(&self) -> Option<Message> {
        let mut messages = self.messages.lock().expect("lock");
        let now = Instant::now();
        let visible: Vec<usize> =
            (0..messages.len()).filter(|at| messages[*at].visible_at <= now).collect();
        if visible.is_empty() {
            return None;
        }
        let at = *self.random.lock().expect("lock").pick(&visible);
        let message = &mut messages[at];
        if message.receives >= MAX_RECEIVES {
            // It went to the dead-letter queue, and is moved back as a new message.
            message.id = format!("m{}", self.sent.fetch_add(1, Atomic::Relaxed));
            (message.sent, message.receives) = (self.clock.now(), 0);
        }
        message.receives += 1;
        message.visible_at = now + VISIBILITY;
        Some(message.clone())
    }

    fn delete(&self, id: &str) {
        self.messages.lock().expect("lock").retain(|message| message.id != id);
    }

    fn is_empty(&self) -> bool {
        self.messages.lock().expect("lock").is_empty()
    }
}

impl MessageQueue for Queue {
    fn send(&self, message: QueueMessage) -> BoxFuture<'_, Result<(), Cause>> {
        let lost = self.random.lock().expect("lock").range(0..20);
        if lost > 0 {
            self.send_body(message.body, message.continues, message.delay);
        }
        let answered = lost > 1;
        std::future::ready(answered.then_some(()).ok_or_else(|| "lost".into())).boxed()
    }

    fn retry_after(&self, id: String, delay: Duration) -> BoxFuture<'_, Result<(), Cause>> {
        for message in self.messages.lock().expect("lock").iter_mut() {
            if message.id == id {
                message.visible_at = Instant::now() + delay;
            }
        }
        std::future::ready(Ok(())).boxed()
    }
}

/// A source that was sent, as the model needs it.
struct Sent {
    lines: Vec<Line>,
    /// The body of a message of records.
    body: Option<String>,
    /// The jobs that may have done it: of a message one for each id that it had.
    jobs: Vec<ImportId>,
    own_time_counts: bool,
    whole: Option<Whole>,
    /// An object's key and the number of its version.
    version: Option<(String, u64)>,
    /// Its name in the order of writes, and its sequencer.
    name: Option<String>,
    sequencer: Option<String>,
}

/// The world of one seed.
pub(super) struct World {
    pub(super) clock: clock::Clock,
    pub(super) engine: Arc<Engine>,
    buckets: Arc<Buckets>,
    versioned: bool,
    queue: Arc<Queue>,
    import: ImportCatalog,
    /// A store that meets trouble, as an HTTP function does.
    http: Store,
    author: Mutex<Author>,
    sent: Mutex<Vec<Sent>>,
    /// Rows over HTTP: the model learns their order from their answer.
    rows: Mutex<Vec<(Vec<Effect>, serverless_catalog::order::Order)>>,
    /// Products of which a row may be stored or not.
    uncertain: Mutex<BTreeSet<String>>,
    pub(super) journal: Arc<Journal>,
    all_sent: AtomicBool,
}

/// How long a notification takes: mostly it comes at once, sometimes after others that were sent later.
fn delivery_delay(random: &mut Random) -> Duration {
    let longest = if random.chance(60) { 100 } else { 20_000 };
    Duration::from_millis(random.range(0..longest))
}

pub(super) fn account() -> AccountId {
    AccountId::parse("ACME").expect("account")
}

/// An engine with its tables, made once.
pub(super) fn tables() -> &'static Snapshot {
    static TABLES: OnceLock<Snapshot> = OnceLock::new();
    TABLES.get_or_init(|| {
        std::thread::spawn(|| {
            run(async {
                let engine = Engine::new(Clock::start());
                database::create_tables(&database::client(&engine, NoFaults)).await;
                engine.snapshot()
            })
        })
        .join()
        .expect("tables")
    })
}

impl World {
    pub(super) fn new(seed: u64) -> Arc<Self> {
        let mut random = Random::new(seed);
        fastrand::seed(random.number());
        let clock = Clock::start();
        let catalog_clock = clock::Clock::simulated(clock.timestamp());
        let engine = Engine::with(clock, tables());
        let versioned = random.chance(50);
        let buckets = if versioned { Buckets::versioned(clock) } else { Buckets::new(clock) };
        let percent = random.range(0..12);
        let mut trouble = |is_s3: bool| {
            let from = Duration::from_millis(random.range(0..100_000));
            let outage = (from, from + Duration::from_millis(random.range(0..20_000)));
            let outage = random.chance(40).then_some(outage);
            Trouble { random: Mutex::new(random.fork()), clock, percent, outage, is_s3 }
        };
        let store = |faults: Trouble| {
            let client = database::client(&engine, faults);
            Store::new(client, TableNames::with_prefix("test")).with_clock(catalog_clock)
        };
        let (workers, http) = (store(trouble(false)), store(trouble(false)));
        let counter = Counter::default();
        let recorders = {
            let faults = trouble(false);
            let client =
                database::client(&engine, Watched { faults, clock, counter: counter.clone() });
            Store::new(client, TableNames::with_prefix("test")).with_clock(catalog_clock)
        };
        let objects = Objects::new(objects::client(&buckets, trouble(true)));
        let queue = Arc::new(Queue {
            messages: Mutex::default(),
            clock: catalog_clock,
            sent: AtomicU64::new(0),
            random: Mutex::new(random.fork()),
        });
        let lease = Duration::from_millis(random.range(500..90_000));
        let import = ImportCatalog::new(workers, Bucket { objects, name: BUCKET.to_owned() })
            .with_queue(queue.clone())
            .with_lease(lease);
        Arc::new(Self {
            clock: catalog_clock,
            engine: engine.clone(),
            buckets,
            versioned,
            queue,
            import,
            http,
            author: Mutex::new(Author::new(random.fork())),
            sent: Mutex::default(),
            rows: Mutex::default(),
            uncertain: Mutex::default(),
            journal: Journal::new(&engine, (clock, TROUBLE), &recorders, counter, random.fork()),
            all_sent: AtomicBool::new(false),
        })
    }

    /// Sends sources at random times.
    async fn send_all(self: Arc<Self>, mut random: Random) {
        let mut sequencer = 0x10_u64;
        for _ in 0..random.range(3..14) {
            // Often several at once.
            let longest = if random.chance(50) { 50 } else { 9_000 };
            tokio::time::sleep(Duration::from_millis(random.range(0..longest))).await;
            match random.range(0..10) {
                0..=3 => {
                    sequencer += 1;
                    self.put_object(&mut random, sequencer);
                }
                4 | 5 => self.send_records(),
                6 | 7 => self.send_event(&mut random),
                _ => {
                    tokio::spawn(self.clone().post_rows(random.range(1..4)));
                }
            }
        }
        self.all_sent.store(true, Atomic::Relaxed);
    }

    fn lines(&self, whole: Option<Whole>) -> Vec<Line> {
        self.author.lock().expect("lock").lines(whole, self.clock.now())
    }

    /// A new version of one of some objects: what an object is a snapshot of stays the same.
    fn put_object(&self, random: &mut Random, sequencer: u64) {
        let (name, whole, order) = *random.pick(&[
            ("some", None, None),
            ("others", None, None),
            ("published", None, Some("source")),
            ("offerings", Some(Whole::Offerings), None),
            ("networks", Some(Whole::Networks), None),
            ("products", Some(Whole::Products), None),
        ]);
        let lines = self.lines(whole);
        let key = format!("imports/ACME/{name}.ndjson");
        let content: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
        let mut version = self.buckets.version(content.join("\n"));
        if let Some(whole) = whole {
            version.metadata.insert("replace".to_owned(), whole.kind().to_owned());
            version.metadata.insert("replace-share".to_owned(), "1".to_owned());
        }
        version.metadata.extend(order.map(|order| ("order".to_owned(), order.to_owned())));
        let version = self.buckets.put(&format!("/{BUCKET}/{key}"), version);
        let sequencer = format!("{sequencer:018X}");
        let mut object = json!({"key": key, "sequencer": sequencer});
        if let Some(id) = &version.id {
            object["versionId"] = id.as_str().into();
        }
        let words = format!("s3://{BUCKET}/{key}");
        let job = match &version.id {
            Some(id) => ImportId::of(&[&words, id]),
            None => ImportId::of(&[&words, "", &sequencer]),
        };
        let body = json!({"Records": [{"eventName": "ObjectCreated:Put",
            "s3": {"bucket": {"name": BUCKET}, "object": object}}]})
        .to_string();
        for _ in 0..=random.range(0..2) {
            self.queue.send_body(body.clone(), None, delivery_delay(random));
        }
        let mut sent = self.sent.lock().expect("lock");
        let before = sent
            .iter()
            .filter(|other| other.version.as_ref().is_some_and(|(other, _)| *other == key));
        let number = u64::try_from(before.count()).expect("few");
        sent.push(Sent {
            lines,
            body: None,
            jobs: vec![job],
            own_time_counts: order.is_none(),
            whole,
            version: Some((key, number)),
            name: Some(words),
            sequencer: Some(sequencer),
        });
    }

    fn send_records(&self) {
        let lines = self.lines(None);
        let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
        let body = format!("[{}]", texts.join(","));
        let id = self.queue.send_body(body.clone(), None, Duration::ZERO);
        let job = ImportId::of(&["message", &format!("{id}.0")]);
        self.sent.lock().expect("lock").push(Sent {
            lines,
            body: Some(body),
            jobs: vec![job],
            own_time_counts: true,
            whole: None,
            version: None,
            name: None,
            sequencer: None,
        });
    }

    fn send_event(&self, random: &mut Random) {
        let lines = self.lines(None);
        let texts: Vec<Value> =
            lines.iter().map(|line| serde_json::from_str(&line.text).expect("JSON")).collect();
        let id = format!("e{}", self.queue.sent.load(Atomic::Relaxed));
        let early = i64::try_from(random.range(0..30)).expect("small");
        let time = self.clock.now() - SignedDuration::from_secs(early);
        let body = json!({"id": id, "source": "shop", "time": time.to_string(),
            "detail-type": "catalog.import", "detail": {"account": "ACME", "records": texts}})
        .to_string();
        for _ in 0..=random.range(0..2) {
            self.queue.send_body(body.clone(), None, delivery_delay(random));
        }
        let name = format!("event shop {id}");
        self.sent.lock().expect("lock").push(Sent {
            lines,
            body: None,
            jobs: vec![ImportId::of(&["event", &name])],
            own_time_counts: true,
            whole: None,
            version: None,
            name: Some(name),
            sequencer: None,
        });
    }

    /// Rows of products over HTTP.
    async fn post_rows(self: Arc<Self>, count: u64) {
        let (mut rows, mut effects) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let (record, effect) = self.author.lock().expect("lock").product(false);
            let raw = serde_json::value::to_raw_value(&record).expect("JSON");
            rows.push(ProductRow::parse(&raw).expect("a row"));
            effects.push(effect);
        }
        let name = format!("request {}", effects[0][0].value.clone().unwrap_or_default());
        let arrived_at = self.clock.now();
        let request = RequestIdentity { arrived_at, name, is_repeated: false };
        let until = Instant::now() + Duration::from_secs(25);
        let ordered = arrived(&rows, &request);
        let results = upsert(&self.http, &account(), &ordered, until).await;
        for (effects, result) in effects.into_iter().zip(results) {
            match result {
                Ok(applied) => self.rows.lock().expect("lock").push((effects, applied.order)),
                Err(RowError::Unavailable) => {
                    let product = effects[0].thing.rsplit_once(' ').expect("a field").0.to_owned();
                    self.uncertain.lock().expect("lock").insert(product);
                }
                Err(error) => panic!("a row: {error}"),
            }
        }
    }

    /// A worker: receives messages, and dies with some of them.
    async fn work(self: Arc<Self>, mut random: Random) {
        loop {
            let Some(message) = self.queue.receive() else {
                if self.all_sent.load(Atomic::Relaxed) && self.queue.is_empty() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(random.range(50..900))).await;
                continue;
            };
            if message.continues.is_none() && message.id.starts_with('m') {
                // A message that came back from the dead-letter queue may begin a job of its own.
                let job = ImportId::of(&["message", &format!("{}.0", message.id)]);
                for sent in self.sent.lock().expect("lock").iter_mut() {
                    let is_its =
                        sent.body.as_ref() == Some(&message.body) && !sent.jobs.contains(&job);
                    if is_its {
                        sent.jobs.push(job.clone());
                    }
                }
            }
            let mut attributes = json!({"account": {"stringValue": "ACME", "dataType": "String"}});
            if let Some(continues) = &message.continues {
                attributes[CONTINUES] = json!({"stringValue": continues, "dataType": "String"});
            }
            let event: SqsEvent = serde_json::from_value(json!({"Records": [{
                "messageId": message.id, "receiptHandle": message.id, "body": message.body,
                "attributes": {"ApproximateReceiveCount": message.receives.to_string(),
                    "SentTimestamp": message.sent.as_millisecond().to_string()},
                "messageAttributes": attributes,
            }]}))
            .expect("an event");
            let late = self.clock.now().as_millisecond() > 1_767_225_600_000 + 120_000;
            let time = if late { 200_000 } else { random.range(20..30_000) };
            let dies = !late && random.chance(25);
            let deadline = Instant::now() + Duration::from_millis(time);
            let handled = self.import.handle(event, deadline);
            let life =
                Duration::from_millis(if dies { random.range(0..time) } else { 10 * 60_000 });
            let Ok(response) = tokio::time::timeout(life, handled).await else { continue };
            if response.batch_item_failures.is_empty() {
                self.queue.delete(&message.id);
            }
        }
    }

    /// Sends and works until everything is done.
    pub(super) async fn all(self: Arc<Self>, random: &mut Random) -> Result<(), String> {
        let sender = tokio::spawn(self.clone().send_all(random.fork()));
        let workers = 1 + random.range(0..5);
        let workers: Vec<_> =
            (0..workers).map(|_| tokio::spawn(self.clone().work(random.fork()))).collect();
        let all = async {
            sender.await.map_err(|error| error.to_string())?;
            for worker in workers {
                worker.await.map_err(|error| error.to_string())?;
            }
            Ok::<_, String>(())
        };
        match tokio::time::timeout(Duration::from_hours(6), all).await {
            Ok(ended) => ended?,
            Err(_) => return Err(format!("no end: {:?}", self.queue.messages.lock())),
        }
        // Requests that were still under way.
        tokio::time::sleep(Duration::from_mins(1)).await;
        Ok(())
    }

    /// Everything stored, by what the model calls it.
    async fn stored(&self, store: &Store) -> BTreeMap<String, String> {
        let mut stored = BTreeMap::new();
        for kind in RecordReader::KINDS {
            let account = account();
            let mut reader = RecordReader::new(store, &account, kind);
            while let Some(records) = reader.next().await.expect("export") {
                for record in records {
                    let record: Value = serde_json::from_str(&record).expect("JSON");
                    note(&record, &mut stored);
                }
            }
        }
        stored
    }

    async fn check(&self) -> Result<(), String> {
        let client = database::client(&self.engine, NoFaults);
        let store = Store::new(client, TableNames::with_prefix("test")).with_clock(self.clock);
        let jobs = store.jobs(&account()).await.expect("jobs");
        let mut model = self.model(&jobs)?;
        let mut stored = self.stored(&store).await;
        self.check_lists(&store, &stored).await?;
        let uncertain = self.uncertain.lock().expect("lock");
        let is_certain = |thing: &String| {
            !uncertain.iter().any(|product| thing.starts_with(&format!("{product} ")))
        };
        stored.retain(|thing, _| is_certain(thing));
        model.forget(&uncertain);
        model.check(&stored)
    }

    /// What must be stored, given the jobs: each has ended, with counts that add up.
    fn model(&self, jobs: &[Job]) -> Result<Model, String> {
        let mut model = Model::default();
        let sent = self.sent.lock().expect("lock");
        for source in sent.iter() {
            let done: Vec<&Job> =
                jobs.iter().filter(|job| source.jobs.contains(&job.import_id)).collect();
            let Some(job) = done.first() else {
                return Err(format!("no job of {:?}", source.lines));
            };
            if done.len() > 1 {
                return Err(format!("several jobs of one message: {done:?}"));
            }
            if !job.status.is_end() {
                return Err(format!("a job that has not ended: {job:?}"));
            }
            let name = source.name.clone().unwrap_or_else(|| job.source.clone());
            let origin = Origin::new(job.source_time, &name);
            let origin = match &source.sequencer {
                Some(sequencer) => origin.with_sequencer(sequencer),
                None => origin.sequenced_by_time(),
            };
            let is_latest = source.version.as_ref().is_none_or(|(key, number)| {
                let later = |other: &&Sent| {
                    other.version.as_ref().is_some_and(|(k, n)| k == key && n > number)
                };
                sent.iter().find(later).is_none()
            });
            let optional = job.status == Status::Superseded || !is_latest && !self.versioned;
            let rejected =
                model.add(&source.lines, &origin, source.own_time_counts, source.whole, optional);
            if job.status == Status::Superseded && is_latest {
                return Err(format!("the latest version is superseded: {job:?}"));
            }
            let counts = job.progress.counts;
            if job.status == Status::Done && is_latest {
                let removed = if source.whole.is_some() { counts.total() } else { 0 };
                let lines = u64::try_from(source.lines.len()).expect("few");
                let adds_up = counts.total() == lines || removed >= lines;
                if !adds_up || counts.failed != rejected || job.error.is_some() {
                    return Err(format!("counts of {:?}: {job:?}", source.lines));
                }
            }
        }
        for (effects, order) in self.rows.lock().expect("lock").iter() {
            for Effect { thing, value } in effects {
                model.write(thing, *order, value.clone(), false);
            }
        }
        Ok(model)
    }

    /// Every list agrees with the export.
    async fn check_lists(
        &self,
        store: &Store,
        stored: &BTreeMap<String, String>,
    ) -> Result<(), String> {
        let of = |prefix: &str| stored.keys().filter(|thing| thing.starts_with(prefix)).count();
        let networks = store.networks(&account(), None).await;
        for network in networks.expect("networks") {
            let bundles = of(&format!("bundle {}/", network.id));
            if usize::try_from(network.product_count) != Ok(bundles) {
                return Err(format!("{network:?} has {bundles} bundles"));
            }
            if stored.get(&format!("network {}", network.id)) != Some(&network.name) {
                return Err(format!("{network:?} is not as exported"));
            }
        }
        let products =
            store.newest_products(&account(), None, None, Some(1_000)).await.expect("products");
        let names =
            stored.keys().filter(|thing| thing.starts_with("product ") && thing.ends_with(" name"));
        if products.products.len() != names.count() {
            return Err(format!("listed products: {:?}", products.products));
        }
        let (customer_type, sort) = (CustomerType::Consumer, SortRange::Everything);
        let range = KeyRange { customer_type, category: None, sort };
        let listed = store.read(&account(), range, &OfferingFilter::default(), None, 1_000).await;
        let listed: BTreeMap<String, bool> = listed
            .expect("offerings")
            .offerings
            .into_iter()
            .map(|offering| {
                (format!("offering {}", offering.id), offering.status == OfferingStatus::Archived)
            })
            .collect();
        let exported: BTreeMap<String, bool> = stored
            .iter()
            .filter(|(thing, _)| thing.starts_with("offering "))
            .map(|(thing, value)| (thing.clone(), value.ends_with(" archived")))
            .collect();
        if listed != exported {
            return Err(format!("listed offerings {listed:?}, exported {exported:?}"));
        }
        check_areas(store, listed.keys()).await?;
        let partners = store.partner_catalog(&account()).await;
        if partners.expect("partners").len() != of("partner ") {
            return Err("partner offerings are not as exported".to_owned());
        }
        Ok(())
    }
}

/// Runs one seed to its end.
fn simulate(seed: u64) -> Result<(), String> {
    run(async {
        let world = World::new(seed);
        let mut random = Random::new(!seed);
        world.clone().all(&mut random).await?;
        world.check().await
    })
}

/// How many seeds `make test` runs; `make soak` asks for more.
const SEEDS: u64 = 1_000;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn the_newest_write_stays_and_every_import_ends_whatever_happens() {
    run_seeds(SEEDS, "the_newest_write_stays", simulate);
}

/// Runs seeds, and panics with how to repeat the first that fails. Returns how many there were.
pub(super) fn run_seeds(
    seeds: u64,
    test: &str,
    simulate: impl Fn(u64) -> Result<(), String> + Sync,
) -> u64 {
    let (first, count) = match number("SIMULATION_SEED") {
        Some(seed) => (seed, 1),
        None => {
            (number("SIMULATION_FIRST").unwrap_or(1), number("SIMULATION_SEEDS").unwrap_or(seeds))
        }
    };
    let next = AtomicU64::new(first);
    let failed = Mutex::new(BTreeMap::new());
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Atomic::Relaxed);
                    if seed >= first + count || failed.lock().expect("lock").len() > 4 {
                        return;
                    }
                    if let Err(cause) = simulate(seed) {
                        failed.lock().expect("lock").insert(seed, cause);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("lock");
    if let Some((seed, cause)) = failed.first_key_value() {
        let seeds: Vec<&u64> = failed.keys().collect();
        panic!(
            "seeds {seeds:?} failed; repeat the first with\n  SIMULATION_SEED={seed} cargo nextest run --test it \
             {test}\n{cause}"
        );
    }
    count
}
