//! When a stream's task has to wake by itself.

use std::future::Future as _;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::task::coop::unconstrained;
use tokio::time::Sleep;

/// A timer that is set again with every response and rarely rings: it is left where it is when
/// its time only moves away, and looks again when it rings too early.
#[derive(Debug)]
pub(super) struct Alarm {
    due: Option<Instant>,
    /// When the timer rings; never later than what is due.
    armed: Option<Instant>,
    /// The timer knows whom to wake.
    registered: bool,
}

// === impl Alarm ===

impl Alarm {
    pub(super) fn new() -> Self {
        Self {
            due: None,
            armed: None,
            registered: false,
        }
    }

    pub(super) fn set(&mut self, due: Option<Instant>, timer: Pin<&mut Sleep>) {
        self.due = due;
        if let Some(due) = due
            && self.armed.is_none_or(|armed| due < armed)
        {
            self.armed = Some(due);
            self.registered = false;
            timer.reset(due.into());
        }
    }

    /// The same for something else that is due, beside what it was set to.
    pub(super) fn also(&mut self, due: Instant, timer: Pin<&mut Sleep>) {
        let sooner = self.due.map_or(due, |other| other.min(due));
        self.set(Some(sooner), timer);
    }

    /// Ready when what is due has come. Always to be called by the same task: as a rule something
    /// else woke it, so that the timer is asked once, and then only when it must have rung.
    pub(super) fn poll(
        &mut self,
        mut timer: Pin<&mut Sleep>,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        loop {
            let Some(armed) = self.armed else {
                return Poll::Pending;
            };
            if self.registered && Instant::now() < armed {
                return Poll::Pending;
            }
            self.registered = true;
            // A task that used up its budget would be told nothing, and nobody registered.
            ready!(pin!(unconstrained(timer.as_mut())).poll(context));
            self.armed = None;
            if self.due.is_some_and(|due| due <= Instant::now()) {
                self.due = None;
                return Poll::Ready(());
            }
            self.set(self.due, timer.as_mut());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    /// Lets the alarm ring for what is due by now.
    async fn ring(alarm: &mut Alarm, mut timer: Pin<&mut Sleep>) {
        let rings = poll_fn(|context| alarm.poll(timer.as_mut(), context));
        let rings = tokio::time::timeout(Duration::from_secs(20), rings);
        rings.await.expect("it never rang");
    }

    fn asked(alarm: &mut Alarm, timer: Pin<&mut Sleep>) -> bool {
        let mut context = Context::from_waker(std::task::Waker::noop());
        alarm.poll(timer, &mut context).is_ready()
    }

    #[tokio::test]
    async fn it_rings_when_due_however_often_it_is_asked_and_set_before() {
        let begin = Instant::now();
        let mut timer = pin!(tokio::time::sleep_until(begin.into()));
        let mut alarm = Alarm::new();
        assert!(!asked(&mut alarm, timer.as_mut()), "nothing is due");
        for due in [40, 20, 60] {
            let due = begin + Duration::from_millis(due);
            alarm.set(Some(due), timer.as_mut());
            let rung = poll_fn(|context| Poll::Ready(alarm.poll(timer.as_mut(), context)));
            assert!(rung.await.is_pending() || Instant::now() >= due);
        }
        let last = begin + Duration::from_millis(60);
        // It was armed for 20 ms, and looks again then.
        if Instant::now() < last {
            ring(&mut alarm, timer.as_mut()).await;
        }
        assert!(Instant::now() >= last);
        assert!(!asked(&mut alarm, timer.as_mut()), "it rings once");
        let soon = Instant::now() + Duration::from_millis(5);
        let later = soon + Duration::from_secs(100);
        alarm.also(later, timer.as_mut());
        alarm.also(soon, timer.as_mut());
        alarm.also(later, timer.as_mut());
        ring(&mut alarm, timer.as_mut()).await;
        assert!(Instant::now() >= soon);
        alarm.set(None, timer.as_mut());
        assert!(
            !asked(&mut alarm, timer.as_mut()),
            "nothing is due any more"
        );
    }

    #[tokio::test]
    async fn a_task_without_budget_is_woken_all_the_same() {
        let due = Instant::now() + Duration::from_millis(5);
        let mut timer = pin!(tokio::time::sleep_until(due.into()));
        let mut alarm = Alarm::new();
        alarm.set(Some(due), timer.as_mut());
        let mut first = true;
        let rings = poll_fn(|context| {
            while std::mem::take(&mut first) {
                let (_sender, receiver) = tokio::sync::watch::channel(());
                // Uses up the budget of this turn.
                while tokio::task::coop::has_budget_remaining() {
                    let mut receiver = receiver.clone();
                    receiver.mark_changed();
                    let _ = pin!(receiver.changed()).poll(context);
                }
            }
            alarm.poll(timer.as_mut(), context)
        });
        let rings = tokio::time::timeout(Duration::from_secs(20), rings);
        rings.await.expect("it never rang");
        assert!(Instant::now() >= due);
    }
}
