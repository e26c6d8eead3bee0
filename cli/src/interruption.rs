//! Interruption by Ctrl-C or SIGTERM.

#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Ctrl-C or SIGTERM. The handlers are installed early, so that a signal that arrives while a command starts,
/// or between two of its steps, is not lost.
#[cfg(unix)]
#[derive(Debug)]
pub(crate) struct Interruption(Option<(Signal, Signal)>);

#[cfg(unix)]
impl Interruption {
    pub(crate) fn expect() -> Self {
        let interrupt = signal(SignalKind::interrupt());
        Self(interrupt.and_then(|i| Ok((i, signal(SignalKind::terminate())?))).ok())
    }

    pub(crate) async fn wait(&mut self) {
        match &mut self.0 {
            Some((interrupt, terminate)) => {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            }
            None => std::future::pending().await,
        }
    }
}

/// Ctrl-C.
#[cfg(not(unix))]
#[derive(Debug)]
pub(crate) struct Interruption;

#[cfg(not(unix))]
impl Interruption {
    pub(crate) fn expect() -> Self {
        Self
    }

    pub(crate) async fn wait(&mut self) {
        let _ = tokio::signal::ctrl_c().await;
    }
}
