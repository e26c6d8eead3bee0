//! The embedded DynamoDB engine, on its own thread, runtime and listener: it answers the same SDK
//! calls over HTTP that DynamoDB does.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    thread::JoinHandle,
    time::Duration,
};

use dynoxide::Database;
use serverless_catalog::text::random_name;
use tokio::{net::TcpListener, runtime::Builder, sync::oneshot};

use super::{listener, url_of};
use crate::error::CliError;

/// Where the engine keeps its data.
#[derive(Clone, Debug)]
pub enum Storage {
    /// In memory: gone when it stops.
    Memory,
    /// In this file.
    File(PathBuf),
}

/// A running engine; it stops when dropped.
pub struct Engine {
    address: SocketAddr,
    database: Database,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// How long a stop waits for requests in flight.
const PATIENCE: Duration = Duration::from_secs(5);

impl Engine {
    /// Starts an engine on a free port of an address.
    pub async fn start(storage: Storage, listen: IpAddr) -> Result<Self, CliError> {
        let failed = |error: &dyn fmt::Display| CliError::Engine(error.to_string());
        let location = match &storage {
            // As a URI, so that a second connection in this process finds it.
            Storage::Memory => format!("file:{}?mode=memory&cache=shared", random_name()),
            Storage::File(path) => path.to_string_lossy().into_owned(),
        };
        let database = Database::new(&location).map_err(|error| failed(&error))?;
        if let Err(error) = index_streams(&location) {
            tracing::warn!(cause = error.to_string(), "streams have no index; writes become slow");
        }
        let (listener, address) = listener(SocketAddr::new(listen, 0)).await?;
        let listener = listener.into_std().map_err(|error| failed(&error))?;
        let (stop, stopped) = oneshot::channel();
        let served = database.clone();
        let run = move || {
            let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
            let ended = runtime.and_then(|runtime| {
                let ended = runtime.block_on(serve(listener, served, stopped));
                runtime.shutdown_timeout(PATIENCE);
                ended
            });
            if let Err(error) = ended {
                tracing::error!(cause = error.to_string(), "the embedded DynamoDB engine failed");
            }
        };
        let thread = std::thread::Builder::new()
            .name("dynamodb".to_owned())
            .spawn(run)
            .map_err(|error| failed(&error))?;
        Ok(Self { address, database, stop: Some(stop), thread: Some(thread) })
    }

    /// What it serves, for reading its streams in this process.
    pub(super) fn database(&self) -> Database {
        self.database.clone()
    }

    #[must_use]
    pub fn url(&self) -> String {
        url_of(self.address)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Gives the engine's stream records an index: without, every write to a table with a stream reads all of them, to
/// find its sequence number.
fn index_streams(location: &str) -> Result<(), rusqlite::Error> {
    let index = "CREATE INDEX IF NOT EXISTS _stream_records_in_order \
         ON _stream_records (table_name, CAST(sequence_number AS INTEGER))";
    rusqlite::Connection::open(location)?.execute_batch(index)
}

async fn serve(
    listener: std::net::TcpListener,
    database: Database,
    stopped: oneshot::Receiver<()>,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let (begin_stop, stop_begun) = oneshot::channel::<()>();
    let shutdown = async move {
        let _ = stopped.await;
        let _ = begin_stop.send(());
    };
    let server = dynoxide::server::serve_with_shutdown(listener, database, shutdown);
    // A client that keeps a half-sent request open does not hold up the stop.
    let out_of_patience = async move {
        let _ = stop_begun.await;
        tokio::time::sleep(PATIENCE).await;
    };
    tokio::select! {
        _ = server => {}
        () = out_of_patience => {}
    }
    Ok(())
}
