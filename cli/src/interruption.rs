//! Being told to stop.

#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Ctrl-C, or SIGTERM where there is one; expected from the start on, so that what is told while a command
/// begins, or between two of its steps, is not lost.
#[cfg(unix)]
#[derive(Debug)]
pub struct Interruption(Option<(Signal, Signal)>);

#[cfg(unix)]
impl Interruption {
    /// Expects one from now on.
    #[must_use]
    pub fn expect() -> Self {
        let interrupt = signal(SignalKind::interrupt());
        Self(interrupt.and_then(|i| Ok((i, signal(SignalKind::terminate())?))).ok())
    }

    /// Ends when it has come.
    pub async fn wait(&mut self) {
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
pub struct Interruption;

#[cfg(not(unix))]
impl Interruption {
    /// Expects one.
    #[must_use]
    pub fn expect() -> Self {
        Self
    }

    /// Ends when it has come.
    pub async fn wait(&mut self) {
        let _ = tokio::signal::ctrl_c().await;
    }
}
