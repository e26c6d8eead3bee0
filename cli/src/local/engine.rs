//! The embedded DynamoDB engine, on its own thread, runtime and listener: it answers the same SDK
//! calls over HTTP that DynamoDB does.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    thread::JoinHandle,
    time::Duration,
};

use dynoxide::Database;
use tokio::sync::oneshot;

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
#[derive(Debug)]
pub struct Engine {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// How long a stop waits for requests in flight.
const PATIENCE: Duration = Duration::from_secs(5);

impl Engine {
    /// Starts an engine on a free port of an address.
    ///
    /// # Errors
    /// [`CliError::Engine`] when the data cannot be opened; [`CliError::Port`].
    pub async fn start(storage: Storage, listen: IpAddr) -> Result<Self, CliError> {
        let (stop, stopped) = oneshot::channel();
        let (ready, started) = oneshot::channel();
        let run = move || {
            let runtime = match tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
            {
                Ok(runtime) => runtime,
                Err(error) => {
                    let _ = ready.send(Err(CliError::Engine(error.to_string())));
                    return;
                }
            };
            runtime.block_on(serve(storage, listen, ready, stopped));
            runtime.shutdown_timeout(PATIENCE);
        };
        let thread = std::thread::Builder::new()
            .name("dynamodb".to_owned())
            .spawn(run)
            .map_err(|error| CliError::Engine(error.to_string()))?;
        let address =
            started.await.map_err(|_| CliError::Engine("it ended while starting".to_owned()))??;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// Its base URL.
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

async fn serve(
    storage: Storage,
    listen: IpAddr,
    ready: oneshot::Sender<Result<SocketAddr, CliError>>,
    stopped: oneshot::Receiver<()>,
) {
    let database = match &storage {
        Storage::Memory => Database::memory(),
        Storage::File(path) => Database::new(&path.to_string_lossy()),
    };
    let database = match database {
        Ok(database) => database,
        Err(error) => {
            let _ = ready.send(Err(CliError::Engine(error.to_string())));
            return;
        }
    };
    let (listener, address) = match listener(SocketAddr::new(listen, 0)).await {
        Ok(listener) => listener,
        Err(error) => {
            let _ = ready.send(Err(error));
            return;
        }
    };
    let _ = ready.send(Ok(address));
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
}
