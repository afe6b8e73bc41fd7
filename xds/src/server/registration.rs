//! One stream as its task sees it: what comes in goes to its session, what the session has to say
//! goes out, and whoever wants to know is told.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;
use tonic::Status;

use super::Hub;
use super::delivered::Delivered;
use super::inbound::Large;
use super::outbound::Outlet;
use super::patience;
use super::refusal::{refusal, unreadable};
use super::registry::Stream;
use super::scan::Fields;
use crate::delivery::Rejection;
use crate::identity::{Grants, Incident};
use crate::limits::{COLD_START_MAX, REJECTED_AT_ONCE_MAX, RESPONSE_BYTES_USUAL_MAX};
use crate::resource::TypeUrl;
use crate::snapshot::Snapshot;
use crate::stream::{Outcome, Request, Response};
use crate::wire::Framed;

/// Names that are told in the log of a rejection of several resources.
const NAMES_LOGGED_MAX: usize = 8;

/// A view that changes.
pub(super) type Views = watch::Receiver<Option<Arc<Snapshot>>>;

/// A stream that is served. Ends its registration, however its task ends.
pub(super) struct Registration {
    pub(super) hub: Arc<Hub>,
    pub(super) stream: Arc<Stream>,
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

    pub(super) fn request(&mut self, request: Request, now: Instant) -> Result<(), Status> {
        let (outcome, rejection) = take(&self.hub, &self.stream, request, now)?;
        self.tell_outcome(outcome, rejection);
        Ok(())
    }

    /// The same for a rejection, which may be of many resources: in its turn, and beside the threads
    /// that serve all others if it may be of more than can be looked at at once.
    pub(super) async fn rejection(&mut self, request: Box<Request>) -> Result<(), Status> {
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
    pub(super) fn puts_off(&self, outlet: &Outlet, now: Instant) -> Option<(Instant, bool)> {
        if let Some(until) = self.held_back.filter(|until| now < *until) {
            return Some((until, false));
        }
        // Not for ever, so that no stream keeps an old view alive.
        let unread = outlet.is_free() && !outlet.is_drained();
        unread.then(|| (now + self.hub.settings.blocked_max, true))
    }

    /// The same for one that takes long.
    pub(super) async fn large_request<Q: Fields>(
        &mut self,
        large: Large,
        now: Instant,
    ) -> Result<(), Status> {
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

    pub(super) fn time(&self, now: Instant) {
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
    pub(super) async fn flush(
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
                        Box::pin(patience::send(outlet, message, &self.hub.settings)).await?;
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
