//! The whole stack on a laptop: engine, tables, functions, HTTP API.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use aws_sdk_dynamodb::Client;
use serverless_catalog::{
    cursor::Cursors,
    lambda::Settings,
    queue::{ExportCatalog, ImportCatalog},
    store::{Connection, Store, TableNames, lean_client},
    streams::RecordChanges,
};
use tokio::task::JoinSet;

use super::{
    Addresses, BUCKET, Engine, Function, Gateway, JobServices, LOCALHOST, LocalBucket, LocalQueue,
    QueueServer, Storage, Streams, bucket::tell_imported, functions,
};
use crate::{api_docs, error::CliError, template::Template};

/// How long a local function caches keys, exchange rates and losses: shorter than in Lambda, so that `catalog keys
/// revoke` takes effect soon.
const CACHE_FOR: Duration = Duration::from_secs(2);

/// How long a stop waits until changes are recorded.
const SETTLE: Duration = Duration::from_secs(5);

/// How many messages of a queue are processed at once.
const WORKERS: usize = 2;

/// What to run.
#[derive(Debug)]
pub struct StackOptions {
    /// The address that everything listens on.
    pub listen: IpAddr,
    /// The port of the HTTP API; 0: any free one.
    pub port: u16,
    pub storage: Storage,
    /// The folder for the bucket and the export queue; `None`: both are gone at the end.
    pub folder: Option<PathBuf>,
    /// The stack's name: the tables' prefix.
    pub name: String,
    pub cursor_secret: String,
    pub template: Template,
    /// Whether the page of the APIs has the demo key filled in.
    pub demo_keys: bool,
}

impl StackOptions {
    /// The built-in template on free loopback ports.
    pub fn built_in(name: &str, storage: Storage) -> Result<Self, CliError> {
        Ok(Self {
            listen: LOCALHOST,
            port: 0,
            storage,
            folder: None,
            name: name.to_owned(),
            cursor_secret: "of a catalog that nobody keeps cursors of".to_owned(),
            template: Template::built_in()?,
            demo_keys: false,
        })
    }
}

/// A running stack; it stops when [stopped](Stack::stop) or dropped.
pub struct Stack {
    gateway: Gateway,
    pub streams: Streams,
    _watch: JoinSet<()>,
    _workers: [JoinSet<()>; 2],
    pub bucket: LocalBucket,
    queues: QueueServer,
    /// What the endpoints of imports and exports use besides the tables.
    pub jobs: JobServices,
    engine: Engine,
    pub client: Client,
    pub store: Store,
}

impl Stack {
    /// Starts the engine, creates the template's tables, and serves the template's routes.
    pub async fn start(options: StackOptions) -> Result<Self, CliError> {
        let engine = Engine::start(options.storage.clone(), options.listen).await?;
        let client = lean_client(&Connection::local(&engine.url()))
            .map_err(|error| CliError::Engine(error.to_string()))?;
        let mut streamed = Vec::new();
        for table in options.template.tables(&options.name)? {
            table.create(&client, false).await?;
            streamed.extend(table.stream.is_some().then_some(table.name));
        }
        let store = Store::new(client.clone(), TableNames::with_prefix(&options.name));
        let cursors = Cursors::new(&options.cursor_secret, None)
            .map_err(|error| CliError::Usage(error.to_string()))?;
        let settings = Settings {
            store: store.clone(),
            cache_for: CACHE_FOR,
            show_cost: true,
            log_percent: 100,
        };
        let changes = Function::of_changes(RecordChanges::new(store.clone()));
        let streams = Streams::open(engine.database(), &options.storage, &streamed, changes)?;
        let folder = |name: &str| options.folder.as_ref().map(|folder| folder.join(name));
        let bucket = LocalBucket::open(folder("objects"), options.listen).await?;
        // The import queue need not be kept: at the next start the bucket's watcher sends the event of every object
        // again.
        let imports = LocalQueue::open(None)?;
        let exports = LocalQueue::open(folder("exports"))?;
        let shared = bucket.bucket();
        let import = ImportCatalog::new(store.clone(), shared.clone()).with_queue(imports.clone());
        let export = ExportCatalog::new(store.clone(), shared.clone(), exports.clone());
        let workers = [
            imports.deliver(&Function::of_import(import), WORKERS, tell_imported),
            exports.deliver(&Function::of_export(export), WORKERS, |_| ()),
        ];
        let queues = QueueServer::start(options.listen, exports.clone()).await?;
        let jobs = JobServices { bucket: bucket.bucket().clone(), export_queue: exports };
        let functions = functions(&settings, &Arc::new(cursors), &jobs);
        let listen = SocketAddr::new(options.listen, options.port);
        let routes = options.template.routes()?;
        let beside = api_docs::routes(options.demo_keys);
        let gateway = Gateway::start_with_routes(listen, routes, &functions, beside).await?;
        let watch = bucket.watch(imports);
        Ok(Self {
            gateway,
            streams,
            _watch: watch,
            _workers: workers,
            bucket,
            queues,
            jobs,
            engine,
            client,
            store,
        })
    }

    #[must_use]
    pub fn addresses(&self) -> Addresses {
        Addresses {
            url: self.gateway.url(),
            dynamodb_url: self.engine.url(),
            objects_url: Some(self.bucket.url()),
            bucket: Some(BUCKET.to_owned()),
        }
    }

    /// The environment variables that tell functions in other processes about its bucket and its queues.
    #[must_use]
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        self.bucket.environment().into_iter().chain(self.queues.environment()).collect()
    }

    /// Stops it after the requests in flight.
    pub async fn stop(self) {
        self.gateway.stop().await;
        // A change that is not recorded now waits for the next start. If that is more than 23 hours later, its stream
        // record counts as possibly lost, and all logs of its table begin anew.
        let settled = tokio::time::timeout(SETTLE, self.streams.settle()).await;
        if let Ok(Err(error)) = settled {
            tracing::warn!(cause = error, "changes are recorded at the next start");
        }
        drop(self.streams);
        // Dropping the engine joins its thread, which must not block a thread of this runtime.
        let _ = tokio::task::spawn_blocking(move || drop(self.engine)).await;
    }
}
