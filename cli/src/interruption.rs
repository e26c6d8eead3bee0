//! Interruption by Ctrl-C or SIGTERM.

#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};
#[cfg(windows)]
use tokio::signal::windows::{CtrlC, CtrlClose, ctrl_c, ctrl_close};

#[cfg(unix)]
type Signals = (Signal, Signal);
#[cfg(windows)]
type Signals = (CtrlC, CtrlClose);

/// Ctrl-C or SIGTERM; on Windows Ctrl-C or a closed console. The handlers are installed early, so that a signal
/// that arrives while a command starts, or between two of its steps, is not lost.
#[derive(Debug)]
pub(crate) struct Interruption(Option<Signals>);

impl Interruption {
    pub(crate) fn expect() -> Self {
        #[cfg(unix)]
        let (interrupt, terminate) =
            (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
        #[cfg(windows)]
        let (interrupt, terminate) = (ctrl_c(), ctrl_close());
        Self(interrupt.ok().zip(terminate.ok()))
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
