//! The responses of one stream, on their way from its task to its connection.
//!
//! One place for one message: what isn't taken yet would only be staler with more before it. The
//! bytes go into HTTP/2's frames as they are.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use tonic::{Code, Status};

use crate::wire::Framed;

/// Where a stream's task puts its messages. The stream ends when it is dropped.
#[derive(Debug)]
pub(super) struct Outlet {
    slot: Arc<Slot>,
}

/// The body of the HTTP response.
#[derive(Debug)]
pub(super) struct Outbound {
    slot: Arc<Slot>,
    /// The second piece of the message whose first one was taken.
    next: Bytes,
}

#[derive(Debug, Default)]
struct Slot {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    message: Option<Framed>,
    end: End,
    /// The connection gave the body up.
    given_up: bool,
    connection: Option<Waker>,
    task: Option<Waker>,
    waits: Waits,
}

/// What a stream's task waits for, beside the client's end.
#[derive(Debug, Default, PartialEq, Eq)]
enum Waits {
    #[default]
    No,
    /// It has a message that it can't put here yet.
    Free,
    /// It has something to compute that is worth nothing to a client that doesn't read.
    Drained,
}

#[derive(Debug, Default)]
enum End {
    #[default]
    NotYet,
    With(Status),
    Told,
}

/// A place for messages, and the body that they become.
pub(super) fn channel() -> (Outlet, Outbound) {
    let slot = Arc::new(Slot::default());
    let outbound = Outbound {
        slot: Arc::clone(&slot),
        next: Bytes::new(),
    };
    (Outlet { slot }, outbound)
}

// === impl Slot ===

impl Slot {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State ===

impl State {
    /// The connection asks for more only once the client's window had room for all before.
    fn is_drained(&self) -> bool {
        self.given_up || self.message.is_none() && self.connection.is_some()
    }
}

// === impl Outlet ===

impl Outlet {
    /// Puts a message into the free place; gives it back if the last one wasn't taken yet. Nothing
    /// takes it if the client is gone, which [`poll_closed`](Self::poll_closed) tells.
    pub(super) fn try_send(&self, message: Framed) -> Result<(), Framed> {
        let mut state = self.slot.state();
        if state.given_up {
            return Ok(());
        }
        if state.message.is_some() {
            return Err(message);
        }
        state.message = Some(message);
        let connection = state.connection.take();
        drop(state);
        if let Some(connection) = connection {
            connection.wake();
        }
        Ok(())
    }

    /// Whether the place is free, or the client gone.
    pub(super) fn is_free(&self) -> bool {
        let state = self.slot.state();
        state.given_up || state.message.is_none()
    }

    /// Whether the client has room for more: as long as its window has none for what was taken from
    /// here, the connection doesn't ask for the next message. Also if the client is gone.
    pub(super) fn is_drained(&self) -> bool {
        self.slot.state().is_drained()
    }

    /// Ready when the client [has room for more](Self::is_drained), or is gone.
    pub(super) fn poll_drained(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.slot.state();
        if state.is_drained() {
            state.waits = Waits::No;
            return Poll::Ready(());
        }
        state.waits = Waits::Drained;
        register(&mut state.task, context);
        Poll::Pending
    }

    /// Ready when the place is free, or the client gone.
    pub(super) fn poll_free(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.slot.state();
        if state.given_up || state.message.is_none() {
            state.waits = Waits::No;
            return Poll::Ready(());
        }
        state.waits = Waits::Free;
        register(&mut state.task, context);
        Poll::Pending
    }

    /// Ready when the client is gone.
    pub(super) fn poll_closed(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.slot.state();
        if state.given_up {
            return Poll::Ready(());
        }
        register(&mut state.task, context);
        Poll::Pending
    }

    /// Ends the stream, behind what is on its way.
    pub(super) fn end(self, status: Status) {
        self.set_end(status);
    }

    fn set_end(&self, status: Status) {
        let mut state = self.slot.state();
        if matches!(state.end, End::NotYet) {
            state.end = End::With(status);
        }
        let connection = state.connection.take();
        drop(state);
        if let Some(connection) = connection {
            connection.wake();
        }
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        // A task that ends as it should has said how.
        self.set_end(Status::internal("the stream's task ended unexpectedly"));
    }
}

fn register(place: &mut Option<Waker>, context: &Context<'_>) {
    match place {
        Some(waker) => waker.clone_from(context.waker()),
        None => *place = Some(context.waker().clone()),
    }
}

// === impl Outbound ===

impl http_body::Body for Outbound {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if !self.next.is_empty() {
            let next = std::mem::take(&mut self.next);
            return Poll::Ready(Some(Ok(Frame::data(next))));
        }
        let mut state = self.slot.state();
        if let Some(message) = state.message.take() {
            // As a rule it waits for something else, and would be woken for nothing.
            let waits = state.waits == Waits::Free;
            let task = state.task.take_if(|_| waits);
            drop(state);
            if let Some(task) = task {
                task.wake();
            }
            self.next = message.body;
            return Poll::Ready(Some(Ok(Frame::data(message.head))));
        }
        match std::mem::replace(&mut state.end, End::Told) {
            End::NotYet => {
                state.end = End::NotYet;
                register(&mut state.connection, context);
                if state.waits == Waits::Drained {
                    state.waits = Waits::No;
                    let task = state.task.take();
                    drop(state);
                    if let Some(task) = task {
                        task.wake();
                    }
                }
                Poll::Pending
            }
            End::With(status) => Poll::Ready(Some(Ok(Frame::trailers(trailers(&status))))),
            End::Told => Poll::Ready(None),
        }
    }
}

impl Drop for Outbound {
    fn drop(&mut self) {
        let mut state = self.slot.state();
        state.given_up = true;
        state.message = None;
        let task = state.task.take();
        drop(state);
        if let Some(task) = task {
            task.wake();
        }
    }
}

/// The status as trailers, its message percent-encoded.
fn trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    if let Err(unsendable) = status.add_header(&mut trailers) {
        tracing::debug!(reason = unsendable.message(), "a status can't be told");
        trailers.clear();
        let unknown = http::HeaderValue::from(Code::Unknown as i32);
        trailers.insert(Status::GRPC_STATUS, unknown);
    }
    trailers
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};

    use http_body::Body as _;

    use super::*;

    fn framed(head: &'static str, body: &'static str) -> Framed {
        Framed {
            head: Bytes::from_static(head.as_bytes()),
            body: Bytes::from_static(body.as_bytes()),
        }
    }

    fn poll(outbound: &mut Outbound) -> Poll<Option<Frame<Bytes>>> {
        let mut context = Context::from_waker(Waker::noop());
        let polled = Pin::new(outbound).poll_frame(&mut context);
        polled.map(|frame| frame.map(Result::unwrap))
    }

    fn data(outbound: &mut Outbound) -> Bytes {
        match poll(outbound) {
            Poll::Ready(Some(frame)) => frame.into_data().unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn messages_go_in_order_and_the_end_behind_them() {
        let (outlet, mut outbound) = channel();
        assert!(poll(&mut outbound).is_pending());
        outlet.try_send(framed("a", "b")).unwrap();
        let refused = outlet.try_send(framed("c", "")).unwrap_err();
        let mut context = Context::from_waker(Waker::noop());
        assert!(outlet.poll_free(&mut context).is_pending());
        assert_eq!(data(&mut outbound), "a");
        assert!(outlet.poll_free(&mut context).is_ready());
        outlet.try_send(refused).unwrap();
        outlet.end(Status::resource_exhausted("too much: 100 %\nof it"));
        assert_eq!(data(&mut outbound), "b");
        assert_eq!(data(&mut outbound), "c");
        let Poll::Ready(Some(frame)) = poll(&mut outbound) else {
            panic!("no trailers");
        };
        let trailers = frame.into_trailers().unwrap();
        assert_eq!(trailers["grpc-status"], "8");
        assert_eq!(
            trailers["grpc-message"],
            "too%20much:%20100%20%25%0Aof%20it"
        );
        assert!(matches!(poll(&mut outbound), Poll::Ready(None)));
    }

    /// Counts how often it wakes somebody.
    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_task_learns_once_that_its_client_has_room_and_of_nothing_before() {
        let (outlet, mut outbound) = channel();
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(wakes.clone());
        let mut context = Context::from_waker(&waker);
        let woken = || wakes.0.load(Ordering::Relaxed);
        // A client whose window was never open.
        assert!(!outlet.is_drained());
        assert!(poll(&mut outbound).is_pending());
        assert!(outlet.is_drained());
        assert!(outlet.poll_drained(&mut context).is_ready());
        outlet.try_send(framed("a", "b")).unwrap();
        assert!(!outlet.is_drained());
        assert!(outlet.poll_drained(&mut context).is_pending());
        assert_eq!(data(&mut outbound), "a");
        assert_eq!(data(&mut outbound), "b");
        // The place is free, and the bytes are with the connection, which may not get rid of them.
        assert!(outlet.is_free() && !outlet.is_drained());
        assert_eq!(woken(), 0);
        assert!(poll(&mut outbound).is_pending());
        assert_eq!(woken(), 1);
        assert!(outlet.poll_drained(&mut context).is_ready());
        // As a rule nobody waits for it.
        assert!(outlet.poll_closed(&mut context).is_pending());
        outlet.try_send(framed("c", "")).unwrap();
        assert_eq!(data(&mut outbound), "c");
        assert!(poll(&mut outbound).is_pending());
        assert_eq!(woken(), 1);
        // A client that goes has room for everything.
        outlet.try_send(framed("d", "")).unwrap();
        assert!(outlet.poll_drained(&mut context).is_pending());
        drop(outbound);
        assert_eq!(woken(), 2);
        assert!(outlet.is_drained());
    }

    #[test]
    fn a_task_that_vanishes_is_an_error_and_a_client_that_does_is_told() {
        let (outlet, mut outbound) = channel();
        drop(outlet);
        let Poll::Ready(Some(frame)) = poll(&mut outbound) else {
            panic!("no trailers");
        };
        assert_eq!(frame.into_trailers().unwrap()["grpc-status"], "13");
        let (outlet, outbound) = channel();
        let mut context = Context::from_waker(Waker::noop());
        assert!(outlet.poll_closed(&mut context).is_pending());
        drop(outbound);
        assert!(outlet.poll_closed(&mut context).is_ready());
        assert_eq!(outlet.try_send(framed("a", "")), Ok(()));
    }
}
