//! Ctrl-C, SIGTERM and SIGHUP end the demo in order.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::error::DemoError;

/// Listens from its creation on; the signals no longer end the process by themselves.
#[derive(Debug)]
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

// === impl Signals ===

impl Signals {
    pub(super) fn listen() -> Result<Self, DemoError> {
        let on = |kind| signal(kind).map_err(DemoError::system("listen for signals"));
        Ok(Self {
            interrupt: on(SignalKind::interrupt())?,
            terminate: on(SignalKind::terminate())?,
            hangup: on(SignalKind::hangup())?,
        })
    }

    /// Waits for the next one.
    pub(super) async fn next(&mut self) -> DemoError {
        let (signal, number) = tokio::select! {
            _ = self.interrupt.recv() => ("SIGINT", 2),
            _ = self.terminate.recv() => ("SIGTERM", 15),
            _ = self.hangup.recv() => ("SIGHUP", 1),
        };
        DemoError::Interrupted { signal, number }
    }
}
