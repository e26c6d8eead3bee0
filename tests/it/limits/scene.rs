//! A catalog in this process, by a clock that stands still while anything runs: instances of its functions, whose
//! requests to the database are counted and may fail.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use catalog_cli::local::{Function, functions};
use jiff::{SignedDuration, Timestamp};
use lambda_http::Context;
use serde_json::{Value, json};
use serverless_catalog::{
    access::{
        ApiKey, FieldUpdate, KeyChange, KeyHash, KeyPrefix, KeyRecord, Limits, PerMinute,
        Permission, Usage,
    },
    account::AccountId,
    clock::Clock,
    cursor::Cursors,
    lambda::Settings,
    store::{Store, TableNames},
};

use crate::simulation::{
    self,
    database::{self, Engine},
    faults::{Fate, Faults},
    random::Random,
};

/// What becomes of requests to the table `Usage`, and how many there were.
#[derive(Clone, Default)]
pub struct Counter(Arc<Mutex<Counted>>);

#[derive(Default)]
struct Counted {
    fate: Fate,
    operations: Vec<String>,
}

impl Counter {
    /// From now on this becomes of its requests.
    pub fn set(&self, fate: impl Into<Fate>) {
        self.0.lock().expect("lock").fate = fate.into();
    }

    /// The operations since the last call.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().expect("lock").operations)
    }

    fn decide(&self, operation: &str, request: &[u8]) -> Fate {
        if !String::from_utf8_lossy(request).contains("\"test-usage\"") {
            return Fate::default();
        }
        let mut counted = self.0.lock().expect("lock");
        counted.operations.push(operation.to_owned());
        counted.fate
    }
}

/// A catalog.
pub struct Scene {
    engine: Arc<Engine>,
    pub counter: Counter,
    pub store: Store,
}

/// One instance of each function.
pub struct Instance(HashMap<&'static str, Function>);

/// A key, as its holder and the database know it.
#[derive(Clone)]
pub struct Key {
    pub text: String,
    pub hash: KeyHash,
}

/// A reply of a function.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    headers: Value,
    pub body: Value,
}

impl Reply {
    pub fn header(&self, name: &str) -> &str {
        self.headers[name].as_str().unwrap_or_default()
    }

    pub fn number(&self, name: &str) -> i64 {
        let text = self.header(name);
        text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}: {self:?}"))
    }

    pub fn units(&self, name: &str) -> f64 {
        self.header(name).parse().unwrap_or(0.0)
    }
}

/// Runs a scene to its end; it begins at this time.
pub fn run<F: Future>(start: &str, scene: impl FnOnce(Scene) -> F) -> F::Output {
    let start: Timestamp = start.parse().expect("a time");
    simulation::run(async {
        let clock = simulation::Clock::start();
        let engine = Engine::new(clock);
        let client = database::client(&engine, simulation::faults::NoFaults);
        database::create_tables(&client).await;
        let store =
            Store::new(client, TableNames::with_prefix("test")).with_clock(Clock::simulated(start));
        scene(Scene { engine, counter: Counter::default(), store }).await
    })
}

impl Scene {
    /// The time by a clock that is right.
    pub fn now(&self) -> Timestamp {
        self.store.clock().now()
    }

    /// An instance whose clock is right.
    pub fn instance(&self) -> Instance {
        self.instance_with_clock(0)
    }

    /// An instance whose clock is ahead by so many milliseconds, or behind.
    pub fn instance_with_clock(&self, ahead_millis: i64) -> Instance {
        let counter = self.counter.clone();
        let faults = move |operation: &str, request: &[u8]| counter.decide(operation, request);
        Instance::of(&self.settings(ahead_millis, faults))
    }

    /// An instance that looks every key up at every request.
    pub fn instance_that_caches_nothing(&self) -> Instance {
        let counter = self.counter.clone();
        let faults = move |operation: &str, request: &[u8]| counter.decide(operation, request);
        Instance::of(&Settings { cache_for: Duration::ZERO, ..self.settings(0, faults) })
    }

    /// The settings of an instance whose clock is ahead by so many milliseconds, and whose requests have these faults.
    pub fn settings(&self, ahead_millis: i64, faults: impl Faults + 'static) -> Settings {
        let client = database::client(&self.engine, faults);
        let now = self.now() + SignedDuration::from_millis(ahead_millis);
        let store =
            Store::new(client, TableNames::with_prefix("test")).with_clock(Clock::simulated(now));
        let cache_for = Duration::from_mins(1);
        Settings { store, cache_for, show_cost: true, log_percent: 100 }
    }

    /// The tables, whose requests take up to 30 ms to arrive, and as long to be answered.
    pub fn store_with_delays(&self, random: Random) -> Store {
        let random = Mutex::new(random);
        let client = database::client(&self.engine, move |_: &str, _: &[u8]| {
            let mut random = random.lock().expect("lock");
            let mut late = || Duration::from_millis(random.range(0..30));
            Fate { before: late(), after: late(), ..Fate::default() }
        });
        Store::new(client, TableNames::with_prefix("test")).with_clock(self.store.clock())
    }

    pub async fn key(&self, limits: Limits) -> Key {
        self.key_with(limits, Permission::ALL.iter().copied()).await
    }

    /// Gives a key other limits.
    pub async fn limit(&self, key: &Key, limits: Limits) {
        let account = AccountId::parse("ACME").expect("account");
        let of = |limit: Option<PerMinute>| limit.map_or(FieldUpdate::Clear, FieldUpdate::Set);
        let change = KeyChange {
            reads_per_minute: of(limits.reads_per_minute),
            writes_per_minute: of(limits.writes_per_minute),
            read_units_per_minute: of(limits.read_units_per_minute),
            write_units_per_minute: of(limits.write_units_per_minute),
            ..KeyChange::default()
        };
        let changed = self.store.update_key(&account, &key.hash, &change).await.expect("stored");
        assert_eq!(changed.map(|record| record.limits), Some(limits));
    }

    pub async fn key_with(
        &self,
        limits: Limits,
        permissions: impl IntoIterator<Item = Permission>,
    ) -> Key {
        let account = AccountId::parse("ACME").expect("account");
        let record = KeyRecord { limits, ..KeyRecord::new(account, permissions) };
        let key = ApiKey::generate(&KeyPrefix::default()).expect("random");
        assert!(self.store.create_key(&key.hash(), &record).await.expect("stored"));
        Key { text: key.reveal().to_owned(), hash: key.hash() }
    }

    /// What is counted of a key, all days together.
    pub async fn counted(&self, key: &Key) -> Usage {
        let since = "2020-01-01".parse().expect("a day");
        let days = self.store.usage_since(&key.hash, since).await.expect("usage");
        days.into_iter().fold(Usage::default(), |sum, (_, usage)| sum.plus(usage))
    }
}

impl Instance {
    pub fn of(settings: &Settings) -> Self {
        let cursors = Cursors::new("the cursor secret of all the tests", None).expect("secret");
        Self(functions(settings, &cursors.into(), &crate::support::no_jobs()))
    }

    /// A list of offerings.
    pub async fn read(&self, key: &Key) -> Reply {
        self.send("list-offerings", "GET", "/product-offerings", "", key, None).await
    }

    /// A bulk upsert of so many new products.
    pub async fn write(&self, key: &Key, rows: u32) -> Reply {
        let rows: Vec<Value> = (0..rows).map(|n| json!({"name": format!("n{n}")})).collect();
        let body = json!({ "products": rows });
        self.send("upsert-products", "POST", "/api/v1/products", "", key, Some(body)).await
    }

    pub async fn send(
        &self,
        function: &str,
        method: &str,
        path: &str,
        query: &str,
        key: &Key,
        body: Option<Value>,
    ) -> Reply {
        self.invoke(function, &event(method, path, query, key, body)).await
    }

    /// Invokes a function with an event.
    pub async fn invoke(&self, function: &str, event: &Value) -> Reply {
        let reply = self.0[function].invoke(event.to_string(), Context::default()).await;
        let mut reply: Value = serde_json::from_str(&reply.expect("reply")).expect("JSON");
        let body = reply["body"].as_str().and_then(|body| serde_json::from_str(body).ok());
        Reply {
            status: reply["statusCode"].as_u64().and_then(|s| s.try_into().ok()).expect("status"),
            headers: reply["headers"].take(),
            body: body.unwrap_or_default(),
        }
    }
}

/// The event of a request.
pub fn event(method: &str, path: &str, query: &str, key: &Key, body: Option<Value>) -> Value {
    json!({
        "version": "2.0",
        "routeKey": format!("ANY {path}"),
        "rawPath": path,
        "rawQueryString": query,
        "headers": {
            "x-api-key": key.text,
            "authorization": format!("Bearer {}", key.text),
            "content-type": "application/json",
        },
        "requestContext": {
            "http": {
                "method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1",
                "userAgent": "test",
            },
            "accountId": "1", "apiId": "a", "domainName": "a.invalid", "domainPrefix": "a",
            "requestId": "r", "routeKey": format!("ANY {path}"), "stage": "$default",
            "time": "22/Nov/2026:10:30:00 +0000", "timeEpoch": 0,
        },
        "body": body.map(|body| body.to_string()),
        "isBase64Encoded": false,
    })
}

pub fn per_minute(limit: u32) -> PerMinute {
    PerMinute::new(limit).expect("a limit")
}

/// So many requests that read.
pub fn reads(limit: u32) -> Limits {
    Limits { reads_per_minute: Some(per_minute(limit)), ..Limits::default() }
}
