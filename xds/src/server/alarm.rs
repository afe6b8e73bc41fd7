//! When a stream's task has to wake by itself.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::time::Sleep;

/// A timer that is set again with every response and rarely rings: it is left where it is when
/// its time only moves away, and looks again when it rings too early.
#[derive(Debug)]
pub(super) struct Alarm {
    due: Option<Instant>,
    /// When the timer rings; never later than what is due.
    armed: Option<Instant>,
}

// === impl Alarm ===

impl Alarm {
    pub(super) fn new() -> Self {
        Self {
            due: None,
            armed: None,
        }
    }

    pub(super) fn set(&mut self, due: Option<Instant>, timer: Pin<&mut Sleep>) {
        self.due = due;
        if let Some(due) = due
            && self.armed.is_none_or(|armed| due < armed)
        {
            self.armed = Some(due);
            timer.reset(due.into());
        }
    }

    /// Ready when what is due has come.
    pub(super) fn poll(
        &mut self,
        mut timer: Pin<&mut Sleep>,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        loop {
            if self.armed.is_none() {
                return Poll::Pending;
            }
            ready!(timer.as_mut().poll(context));
            self.armed = None;
            if self.due.is_some_and(|due| due <= Instant::now()) {
                self.due = None;
                return Poll::Ready(());
            }
            self.set(self.due, timer.as_mut());
        }
    }
}
