//! One task per stream: turns messages, views, renewals and time into calls on its session, and
//! the session's answers into messages.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use tokio::sync::watch;
use tonic::Status;

use super::admission::{Admitted, admit};
use super::alarm::Alarm;
use super::inbound::{Arrived, Inbound};
use super::outbound::Outlet;
use super::refusal::{is_lost, stopping, unreadable};
use super::registration::Views;
use super::scan::Fields;
use super::{Hub, Signals, patience};
use crate::identity::Peer;
use crate::resource::TypeUrl;
use crate::stream::{Request, Session, Variant};

/// What a stream serves.
#[derive(Debug, Clone)]
pub(super) struct Serves {
    pub(super) variant: Variant,
    /// The one type of a stream that isn't aggregated.
    pub(super) only: Option<TypeUrl>,
}

/// A view that came while nothing of it could be sent.
struct Late {
    views: Views,
    /// When it is taken in, unless something else happens before.
    until: Instant,
    /// That the client reads counts as such.
    unread: bool,
}

/// What woke a stream's task.
enum Wake<Q> {
    Request(Arrived<Q>),
    View(Views),
    AssignerGone,
    /// The client has room for what a view that came meanwhile may bring.
    Room,
    Signals(Signals, watch::Receiver<Signals>),
    Time,
    /// The client closed its side, or is gone.
    End,
}

/// Serves one stream until either side ends it.
pub(super) async fn run<Q>(
    hub: Arc<Hub>,
    serves: Serves,
    peer: Option<Peer>,
    inbound: Inbound<Q>,
    outlet: Outlet,
) where
    Q: Fields,
{
    let Err(status) = serve(hub, serves, peer, inbound, &outlet).await else {
        return outlet.end(Status::ok(""));
    };
    if is_lost(&status) {
        tracing::debug!(reason = status.message(), "xds connection lost");
    } else {
        tracing::info!(code = ?status.code(), reason = status.message(), "xds stream ended");
    }
    outlet.end(status);
}

async fn serve<Q>(
    hub: Arc<Hub>,
    serves: Serves,
    peer: Option<Peer>,
    mut inbound: Inbound<Q>,
    outlet: &Outlet,
) -> Result<(), Status>
where
    Q: Fields,
{
    // In a box of its own, which is gone when the long time begins.
    let admitted = Box::pin(admit(hub, serves, peer, &mut inbound, outlet)).await?;
    let Some(Admitted {
        mut registration,
        views,
        signals,
        pass: _pass,
    }) = admitted
    else {
        return Ok(());
    };
    let mut renewed = signals.borrow().renewals;
    let mut alarm = Alarm::new();
    // What is waited for is registered once, and not again with every message.
    let mut timer = pin!(tokio::time::sleep_until(Instant::now().into()));
    let mut view = pin!(Some(changed(views)));
    let mut signal = pin!(changed(signals));
    let (mut late, mut due): (Option<Late>, _) = (None, None);
    let mut now = Instant::now();
    loop {
        // As long as a view waits, nothing else happened.
        if late.is_none() {
            due = registration.flush(outlet, now).await?;
        }
        let until = late.as_ref().map(|late| late.until);
        alarm.set(due.into_iter().chain(until).min(), timer.as_mut());
        let wake = poll_fn(|context| {
            if let Poll::Ready((changed, signals)) = signal.as_mut().poll(context) {
                let now = *signals.borrow();
                return Poll::Ready(Ok(
                    changed.map_or(Wake::End, |()| Wake::Signals(now, signals))
                ));
            }
            if let Some(view) = view.as_mut().as_pin_mut()
                && let Poll::Ready((changed, views)) = view.poll(context)
            {
                return Poll::Ready(Ok(
                    changed.map_or(Wake::AssignerGone, |()| Wake::View(views))
                ));
            }
            if late.as_ref().is_some_and(|late| late.unread)
                && outlet.poll_drained(context).is_ready()
            {
                return Poll::Ready(Ok(Wake::Room));
            }
            if alarm.poll(timer.as_mut(), context).is_ready() {
                return Poll::Ready(Ok(Wake::Time));
            }
            if outlet.poll_closed(context).is_ready() {
                return Poll::Ready(Ok(Wake::End));
            }
            let request = inbound.poll_message(context);
            if let Some(due) = inbound.due()
                && request.is_pending()
            {
                alarm.also(due, timer.as_mut());
                if alarm.poll(timer.as_mut(), context).is_ready() {
                    return Poll::Ready(Ok(Wake::Time));
                }
            }
            request.map_ok(|request| request.map_or(Wake::End, Wake::Request))
        });
        let wake = wake.await;
        now = Instant::now();
        // What is waited for below keeps nothing else of what woke it.
        let (mut large, mut rejection) = (None, None);
        // Whatever happened, what comes of it must not be of an old view (rule X1).
        let mut newer = late.take().map(|late| late.views);
        match wake.map_err(|broken| unreadable(&registration.hub.settings.access, broken))? {
            Wake::Request(Arrived::Decoded(request)) => {
                let request: Request = request.into();
                if request.is_rejection() {
                    rejection = Some(Box::new(request));
                } else {
                    registration.request(request, now)?;
                }
            }
            Wake::Request(Arrived::Large(request)) => large = Some(request),
            Wake::View(views) => match registration.puts_off(outlet, now) {
                Some((until, unread)) => {
                    late = Some(Late {
                        views,
                        until,
                        unread,
                    });
                    view.set(None);
                }
                None => newer = Some(views),
            },
            Wake::Room => {}
            // A source that is gone takes nothing back (invariant S12).
            Wake::AssignerGone => view.set(None),
            Wake::Signals(signals, _) if signals.closing => return Err(stopping()),
            Wake::Signals(signals, receiver) => {
                signal.set(changed(receiver));
                if std::mem::replace(&mut renewed, signals.renewals) != signals.renewals {
                    registration.stream.session().heartbeat(now);
                }
            }
            Wake::Time => registration.time(now),
            Wake::End => return Ok(()),
        }
        if let Some(request) = rejection {
            Box::pin(registration.rejection(request)).await?;
            now = Instant::now();
        }
        if let Some(request) = large {
            Box::pin(registration.large_request::<Q>(request, now)).await?;
            now = Instant::now();
        }
        if let Some(mut views) = newer {
            if !outlet.is_free() {
                Box::pin(patience::free(outlet, &registration.hub.settings)).await?;
                now = Instant::now();
            }
            registration.hub.precedence().push(now);
            registration.view(&mut views, now);
            view.set(Some(changed(views)));
        }
        // A client that floods must not keep the others from their turn.
        tokio::task::consume_budget().await;
    }
}

/// Waits for a change, and gives the receiver back.
async fn changed<T>(
    mut receiver: watch::Receiver<T>,
) -> (Result<(), watch::error::RecvError>, watch::Receiver<T>) {
    let changed = receiver.changed().await;
    (changed, receiver)
}

// === impl Serves ===

impl Serves {
    pub(super) fn session(&self, hub: &Hub) -> Session {
        let session = Session::new(self.variant, hub.settings.session.clone());
        match &self.only {
            Some(only) => session.only(only.clone()),
            None => session,
        }
    }
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
    use tonic::body::Body;

    use super::*;
    use crate::server::{Assign, Client, Refused, Server, outbound};

    struct Nothing;

    impl Assign for Nothing {
        fn assign(&self, _: &Client) -> Result<Views, Refused> {
            Ok(watch::channel(None).1)
        }
    }

    fn size<Q: Fields>(variant: Variant) -> usize {
        let server = Server::new(Nothing, crate::Settings::default());
        let serves = Serves {
            variant,
            only: None,
        };
        let inbound = Inbound::<Q>::new(
            Body::empty(),
            server.hub.unfinished.share(),
            server.hub.settings.request_timeout,
        );
        let (outlet, _outbound) = outbound::channel();
        size_of_val(&run(server.hub, serves, None, inbound, outlet))
    }

    #[test]
    fn the_task_of_a_stream_is_small() {
        const TASK_BYTES_MAX: usize = 2 * 1024;
        for size in [
            size::<DeltaDiscoveryRequest>(Variant::Delta),
            size::<DiscoveryRequest>(Variant::Sotw),
        ] {
            assert!(size <= TASK_BYTES_MAX, "{size} bytes");
        }
    }
}
