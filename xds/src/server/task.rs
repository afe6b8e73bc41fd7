//! One task per stream: turns messages, views, renewals and time into calls on its session, and
//! the session's answers into messages.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use tokio::sync::watch;
use tonic::{Code, Status};

use super::admission::{Admitted, admit};
use super::alarm::Alarm;
use super::delivered::Delivered;
use super::inbound::{Arrived, Broken, Inbound, Large};
use super::outbound::Outlet;
use super::registry::Stream;
use super::scan::Fields;
use super::{Hub, Settings, Signals};
use crate::delivery::Rejection;
use crate::identity::{Access, Grants, Incident, Peer};
use crate::limits::{COLD_START_MAX, REJECTED_AT_ONCE_MAX, RESPONSE_BYTES_USUAL_MAX};
use crate::resource::TypeUrl;
use crate::snapshot::Snapshot;
use crate::stream::{Outcome, Request, Response, Session, Variant, Violation};
use crate::wire::Framed;

/// Names that are told in the log of a rejection of several resources.
const NAMES_LOGGED_MAX: usize = 8;

/// A view that changes.
type Views = watch::Receiver<Option<Arc<Snapshot>>>;

/// What a stream serves.
#[derive(Debug, Clone)]
pub(super) struct Serves {
    pub(super) variant: Variant,
    /// The one type of a stream that isn't aggregated.
    pub(super) only: Option<TypeUrl>,
}

/// A stream that is served. Ends its registration, however its task ends.
pub(super) struct Registration {
    hub: Arc<Hub>,
    stream: Arc<Stream>,
    grants: Grants,
    /// The view that the client was last told to have caught up with.
    settled_on: Option<Arc<str>>,
    /// Until when it counts as new.
    cold_until: Option<Instant>,
    /// Its latest request was a large one, and so is what it is answered with, up to the next rest.
    large: bool,
    /// It rejected a response, and took none since.
    rejects: bool,
    /// It rejected so many that it gets the next one then.
    held_back: Option<Instant>,
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
                Box::pin(free(outlet, &registration.hub.settings)).await?;
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

pub(super) fn stopping() -> Status {
    Status::unavailable("the control plane is stopping; connect again")
}

/// Counts what could not be read as a request, and not what a broken connection cut off.
pub(super) fn unreadable(access: &Access, broken: Broken) -> Status {
    match &broken {
        Broken::Excess(excess) => access.note(excess.incident()),
        Broken::Unreadable(status) if is_lost(status) => {}
        Broken::Unreadable(_) => access.note(Incident::RequestRefused),
        Broken::Unfinished(_) => access.note(Incident::RequestUnfinished),
    }
    broken.into()
}

/// The connection broke or was closed in the middle: every day's end of a client.
fn is_lost(status: &Status) -> bool {
    matches!(status.code(), Code::Unknown | Code::Cancelled)
}

pub(super) fn refusal(access: &Access, violation: &Violation) -> Status {
    access.note(Incident::RequestRefused);
    status_of(violation)
}

pub(super) fn status_of(violation: &Violation) -> Status {
    let code = match violation {
        Violation::TooManyNames | Violation::TooManyTypes => Code::ResourceExhausted,
        _ => Code::InvalidArgument,
    };
    Status::new(code, violation.to_string())
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

// === impl Registration ===

impl Registration {
    /// `large`: its first request was.
    pub(super) fn new(hub: Arc<Hub>, stream: Arc<Stream>, grants: Grants, large: bool) -> Self {
        let registration = Self {
            hub,
            stream,
            grants,
            settled_on: None,
            cold_until: Some(Instant::now() + COLD_START_MAX),
            large,
            rejects: false,
            held_back: None,
        };
        registration.tell(Delivered::Connected);
        tracing::info!(
            node = registration.stream.client.node_id,
            variant = ?registration.stream.serves.variant,
            only = registration.stream.serves.only.as_ref().map(TypeUrl::short_name),
            "xds stream opened"
        );
        registration
    }

    fn tell(&self, what: Delivered) {
        self.hub.tell(&self.stream.node_id, what);
    }

    fn request(&mut self, request: Request, now: Instant) -> Result<(), Status> {
        let (outcome, rejection) = take(&self.hub, &self.stream, request, now)?;
        self.tell_outcome(outcome, rejection);
        Ok(())
    }

    /// The same for a rejection, which may be of many resources: in its turn, and beside the threads
    /// that serve all others if it may be of more than can be looked at at once.
    async fn rejection(&mut self, request: Box<Request>) -> Result<(), Status> {
        let (hub, stream) = (self.hub.clone(), self.stream.clone());
        let many = stream.session().in_flight_max() > REJECTED_AT_ONCE_MAX;
        let (outcome, rejection) = if many {
            self.large = true;
            let work = move || take(&hub, &stream, *request, Instant::now());
            self.hub.lane.run(true, work).await??
        } else {
            let _turn = hub.turn(&hub.rejections).await;
            take(&hub, &stream, *request, Instant::now())?
        };
        self.tell_outcome(outcome, rejection);
        // What comes of it is looked for after the others had their turn.
        tokio::task::yield_now().await;
        Ok(())
    }

    /// Until when a view that came now is put off, if it is, and whether it is for the client doesn't
    /// read. The latest view wins: for those that come meanwhile the stream isn't even woken.
    fn puts_off(&self, outlet: &Outlet, now: Instant) -> Option<(Instant, bool)> {
        if let Some(until) = self.held_back.filter(|until| now < *until) {
            return Some((until, false));
        }
        // Not for ever, so that no stream keeps an old view alive.
        let unread = outlet.is_free() && !outlet.is_drained();
        unread.then(|| (now + self.hub.settings.blocked_max, true))
    }

    /// The same for one that takes long.
    async fn large_request<Q: Fields>(&mut self, large: Large, now: Instant) -> Result<(), Status> {
        self.large = true;
        let (hub, stream) = (self.hub.clone(), self.stream.clone());
        let work = move || {
            let request = large.decode::<Q>();
            let request = request.map_err(|status| unreadable(&hub.settings.access, status.into()));
            take(&hub, &stream, request?.into(), now)
        };
        let (outcome, rejection) = self.hub.lane.run(true, work).await??;
        self.tell_outcome(outcome, rejection);
        Ok(())
    }

    fn tell_outcome(&mut self, outcome: Outcome, rejection: Option<Rejection>) {
        match outcome {
            Outcome::Stale => {}
            Outcome::Acknowledged => {
                self.rejects = false;
                self.tell(Delivered::Acknowledged);
            }
            Outcome::Rejected => {
                self.rejects = true;
                if let Some(rejection) = rejection {
                    let names = rejection.names.get(..NAMES_LOGGED_MAX);
                    tracing::warn!(
                        node = self.stream.client.node_id,
                        type_url = %rejection.type_url,
                        resources = rejection.names.len(),
                        names = ?names.unwrap_or(&rejection.names),
                        text = %rejection.text,
                        "the client rejected resources"
                    );
                    self.tell(Delivered::Rejected(rejection));
                }
            }
        }
    }

    fn time(&self, now: Instant) {
        let mut session = self.stream.session();
        let before = session.last_suspicion().map(|suspicion| suspicion.since);
        session.handle_timeout(now);
        let suspicion = session.last_suspicion().cloned();
        drop(session);
        if let Some(suspicion) = suspicion.filter(|suspicion| Some(suspicion.since) != before) {
            tracing::warn!(
                node = self.stream.client.node_id,
                kind = ?suspicion.kind,
                "{}", suspicion.sentence
            );
            self.tell(Delivered::Suspected(suspicion));
        }
    }

    /// Takes over the current view.
    pub(super) fn view(&self, views: &mut Views, now: Instant) {
        // No view (any more) is not an empty view: the client keeps what it has.
        if let Some(view) = self.latest(views) {
            self.stream.session().set_view(view, now);
        }
    }

    /// The same for a new stream, whose first request may have been large.
    pub(super) async fn first_view(&self, views: &mut Views, now: Instant) -> Result<(), Status> {
        let Some(view) = self.latest(views) else {
            return Ok(());
        };
        let stream = self.stream.clone();
        let work = move || stream.session().set_view(view, now);
        self.hub.lane.run(self.large, work).await
    }

    fn latest(&self, views: &mut Views) -> Option<Arc<Snapshot>> {
        let view = views.borrow_and_update().clone();
        Some(self.grants.visible(view?))
    }

    /// Sends what the session has to say, and tells when it wants to be woken. The session isn't
    /// locked while a slow client keeps us.
    async fn flush(
        &mut self,
        outlet: &Outlet,
        mut now: Instant,
    ) -> Result<Option<Instant>, Status> {
        loop {
            self.cold_until = self.cold_until.filter(|until| now < *until);
            let message = if self.large {
                let (hub, stream) = (self.hub.clone(), self.stream.clone());
                let settled_on = self.settled_on.clone();
                let work = move || next_message(&hub, &stream, settled_on.as_ref(), now);
                Box::pin(self.hub.lane.run(true, work)).await??
            } else if self.rejects || self.cold_until.is_some() {
                let _permit = match self.rejects {
                    true => self.hub.turn(&self.hub.rejections).await,
                    false => self.hub.turn(&self.hub.cold_starts).await,
                };
                now = Instant::now();
                next_message(&self.hub, &self.stream, self.settled_on.as_ref(), now)?
            } else {
                next_message(&self.hub, &self.stream, self.settled_on.as_ref(), now)?
            };
            match message {
                Ok(message) => {
                    if let Err(message) = outlet.try_send(message) {
                        Box::pin(send(outlet, message, &self.hub.settings)).await?;
                        now = Instant::now();
                    }
                }
                Err(Rest {
                    news,
                    due,
                    held_back,
                }) => {
                    self.large = false;
                    self.held_back = held_back;
                    if let Some(settled_on) = news {
                        self.settle(settled_on);
                    }
                    return Ok(due);
                }
            }
        }
    }

    fn settle(&mut self, settled_on: Option<Arc<str>>) {
        self.settled_on = settled_on;
        match &self.settled_on {
            Some(view) => {
                self.cold_until = None;
                self.tell(Delivered::CaughtUp(view.clone()));
            }
            None => self.hub.bump(),
        }
    }
}

/// Takes a request in.
fn take(
    hub: &Hub,
    stream: &Stream,
    request: Request,
    now: Instant,
) -> Result<(Outcome, Option<Rejection>), Status> {
    let (access, client) = (&hub.settings.access, &stream.client);
    access.same_node(&client.node_id, &client.cluster, request.node())?;
    let mut session = stream.session();
    let outcome = session.handle_request(request, now);
    let rejection = session.take_refusal();
    drop(session);
    let outcome = outcome.map_err(|violation| refusal(access, &violation))?;
    Ok((outcome, rejection))
}

/// The next message, or what is so if there is none.
fn next_message(
    hub: &Hub,
    stream: &Stream,
    settled_on: Option<&Arc<str>>,
    now: Instant,
) -> Result<Result<Framed, Rest>, Status> {
    let mut session = stream.session();
    let Some(response) = session.poll_response(now) else {
        let acknowledged = session.acknowledged();
        return Ok(Err(Rest {
            news: (acknowledged != settled_on).then(|| acknowledged.cloned()),
            due: session.next_timeout(),
            held_back: session.held_back(),
        }));
    };
    drop(session);
    weigh(hub, stream, &response);
    let framed = hub.framer.frame(response);
    framed
        .map(Ok)
        .map_err(|oversize| Status::resource_exhausted(oversize.to_string()))
}

/// Tells of a response that many clients refuse for its size: what they get instead is nothing.
fn weigh(hub: &Hub, stream: &Stream, response: &Response) {
    let items = response.items.iter();
    let bytes: usize = items.map(|item| item.resource.body().len()).sum();
    if bytes > RESPONSE_BYTES_USUAL_MAX {
        hub.settings.access.note(Incident::ResponseTooLarge);
        tracing::warn!(
            node = stream.client.node_id,
            type_url = %response.type_url,
            bytes,
            "a response is above gRPC's usual limit and can't be split; use delta"
        );
    }
}

/// How a session is when it has nothing to say.
struct Rest {
    /// The view that it has caught up with, if that is another than before.
    news: Option<Option<Arc<str>>>,
    due: Option<Instant>,
    /// Until when it says nothing whatever happens, if it does.
    held_back: Option<Instant>,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.hub.registry.disconnect(&self.stream, Instant::now());
        self.tell(Delivered::Disconnected);
        tracing::info!(node = self.stream.client.node_id, "xds stream closed");
    }
}

/// Sends a message to a client that is slow to read.
async fn send(outlet: &Outlet, message: Framed, settings: &Settings) -> Result<(), Status> {
    free(outlet, settings).await?;
    // Nobody else sends, so that the place is still free.
    outlet.try_send(message).map_err(|_| blocked(settings))
}

/// Waits until a client has begun to read what it was sent last.
async fn free(outlet: &Outlet, settings: &Settings) -> Result<(), Status> {
    let free = poll_fn(|context| outlet.poll_free(context));
    let free = tokio::time::timeout(settings.blocked_max, free).await;
    free.map_err(|_| blocked(settings))
}

fn blocked(settings: &Settings) -> Status {
    settings.access.note(Incident::StreamBlocked);
    Status::resource_exhausted("the client left responses unread for too long")
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
