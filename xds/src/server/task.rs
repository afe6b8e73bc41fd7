//! One task per stream: turns messages, views, renewals and time into calls on its session, and
//! the session's answers into messages.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, watch};
use tonic::{Code, Status, Streaming};

use super::client::Client;
use super::delivered::Delivered;
use super::registry::Stream;
use super::{Hub, Settings};
use crate::identity::{Access, Grants, Incident, Peer, StreamKind};
use crate::resource::TypeUrl;
use crate::snapshot::Snapshot;
use crate::stream::{Outcome, Request, Response, Session, Variant, Violation};

/// Where a stream's responses go.
type Responses<R> = mpsc::Sender<Result<R, Status>>;

/// What a stream serves.
#[derive(Debug, Clone)]
pub(super) struct Serves {
    pub(super) variant: Variant,
    /// The one type of a stream that isn't aggregated.
    pub(super) only: Option<TypeUrl>,
}

/// Ends the registration of a stream, however its task ends.
struct Registration {
    hub: Arc<Hub>,
    stream: Arc<Stream>,
    grants: Grants,
}

/// What woke a stream's task.
enum Wake<Q> {
    Request(Q),
    View,
    AssignerGone,
    Renewal,
    Time,
}

/// Serves one stream until either side ends it.
pub(super) async fn run<Q, R>(
    hub: Arc<Hub>,
    serves: Serves,
    peer: Option<Peer>,
    inbound: Streaming<Q>,
    responses: Responses<R>,
    encode: fn(Response, &str) -> R,
) where
    Q: Into<Request>,
{
    if let Err(status) = serve(hub, serves, peer, inbound, &responses, encode).await {
        if matches!(status.code(), Code::Unknown | Code::Cancelled) {
            // The connection broke or was closed in the middle: every day's end of a client.
            tracing::debug!(reason = status.message(), "xds connection lost");
        } else {
            tracing::info!(code = ?status.code(), reason = status.message(), "xds stream ended");
        }
        // If the client doesn't read, its connection ends with the stream anyway.
        let _ = responses.try_send(Err(status));
    }
}

async fn serve<Q, R>(
    hub: Arc<Hub>,
    serves: Serves,
    peer: Option<Peer>,
    mut inbound: Streaming<Q>,
    responses: &Responses<R>,
    encode: fn(Response, &str) -> R,
) -> Result<(), Status>
where
    Q: Into<Request>,
{
    let mut closing = hub.closing.subscribe();
    // Nothing of a stream is read before its turn, and nothing is built before its claims are
    // checked.
    let access = hub.settings.access.clone();
    let kind = match &serves.only {
        None => StreamKind::Discovery,
        Some(_) => StreamKind::OneType,
    };
    let _pass = access.open_stream(peer.as_ref(), kind)?;
    let wait = access.turn(Instant::now())?;
    if !wait.is_zero() {
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = responses.closed() => return Ok(()),
            _ = closing.wait_for(|closing| *closing) => return Err(stopping()),
        }
    }
    if *closing.borrow() {
        return Err(stopping());
    }
    let first = tokio::time::timeout(hub.settings.first_request_timeout, inbound.message()).await;
    let Some(request) = first.map_err(|_| {
        access.note(Incident::StreamMute);
        Status::deadline_exceeded("no request came; the first one must name its node")
    })??
    else {
        return Ok(());
    };
    let request: Request = request.into();
    let refused = |violation| refusal(&access, &violation);
    let node = request.node().filter(|node| !node.id.is_empty());
    let node = node.ok_or(Violation::NodeMissing).map_err(refused)?;
    let grants = access.check(peer.as_ref(), node)?;
    let client = Client {
        identity: peer.map(|peer| peer.id),
        ..Client::of(node)
    };
    let mut session = serves.session(&hub);
    session
        .handle_request(request, Instant::now())
        .map_err(refused)?;
    let mut views = hub
        .assign
        .assign(&client)
        .map_err(|refused| Status::permission_denied(refused.reason))?;
    let mut renewals = hub.renewals.subscribe();
    let stream = hub
        .registry
        .connect(
            client,
            serves,
            session,
            hub.settings.streams_max,
            Instant::now(),
        )
        .map_err(|full| Status::resource_exhausted(full.to_string()))?;
    let registration = Registration {
        hub,
        stream,
        grants,
    };
    registration.tell(Delivered::Connected);
    tracing::info!(
        node = registration.stream.client.node_id,
        variant = ?registration.stream.serves.variant,
        only = registration.stream.serves.only.as_ref().map(TypeUrl::short_name),
        "xds stream opened"
    );
    views.mark_changed();
    let mut assigner_gone = false;
    loop {
        registration.flush(responses, encode).await?;
        let timeout = registration.stream.session().next_timeout();
        let wake = tokio::select! {
            message = inbound.message() => match message? {
                Some(request) => Wake::Request(request),
                None => return Ok(()),
            },
            () = responses.closed() => return Ok(()),
            _ = closing.wait_for(|closing| *closing) => return Err(stopping()),
            changed = views.changed(), if !assigner_gone => match changed {
                Ok(()) => Wake::View,
                Err(_) => Wake::AssignerGone,
            },
            Ok(()) = renewals.changed() => Wake::Renewal,
            () = until(timeout) => Wake::Time,
        };
        match wake {
            Wake::Request(request) => registration.request(request.into())?,
            Wake::View => registration.view(&mut views),
            // A source that is gone takes nothing back (invariant S12).
            Wake::AssignerGone => assigner_gone = true,
            Wake::Renewal => registration.stream.session().heartbeat(Instant::now()),
            Wake::Time => registration.time(),
        }
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

fn stopping() -> Status {
    Status::unavailable("the control plane is stopping; connect again")
}

fn refusal(access: &Access, violation: &Violation) -> Status {
    access.note(Incident::RequestRefused);
    let code = match violation {
        Violation::TooManyNames | Violation::TooManyTypes => Code::ResourceExhausted,
        _ => Code::InvalidArgument,
    };
    Status::new(code, violation.to_string())
}

// === impl Serves ===

impl Serves {
    fn session(&self, hub: &Hub) -> Session {
        let session = Session::new(self.variant, hub.settings.session.clone());
        match &self.only {
            Some(only) => session.only(only.clone()),
            None => session,
        }
    }
}

// === impl Registration ===

impl Registration {
    fn tell(&self, what: Delivered) {
        self.hub.tell(&self.stream.client.node_id, what);
    }

    fn request(&self, request: Request) -> Result<(), Status> {
        let (access, client) = (&self.hub.settings.access, &self.stream.client);
        access.same_node(&client.node_id, &client.cluster, request.node())?;
        let outcome = self
            .stream
            .session()
            .handle_request(request, Instant::now());
        match outcome.map_err(|violation| refusal(access, &violation))? {
            Outcome::Stale => {}
            Outcome::Acknowledged => self.tell(Delivered::Acknowledged),
            Outcome::Rejected => {
                let delivery = self.stream.session().delivery();
                for rejection in &delivery.rejections {
                    tracing::warn!(
                        node = self.stream.client.node_id,
                        type_url = %rejection.type_url,
                        names = ?rejection.names,
                        text = %rejection.text,
                        "the client rejected resources"
                    );
                }
                self.tell(Delivered::Rejected(delivery.rejections));
            }
        }
        Ok(())
    }

    fn time(&self) {
        let mut session = self.stream.session();
        let before = session.last_suspicion().map(|suspicion| suspicion.since);
        session.handle_timeout(Instant::now());
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

    fn view(&self, views: &mut watch::Receiver<Option<Arc<Snapshot>>>) {
        let view = views.borrow_and_update().clone();
        // No view (any more) is not an empty view: the client keeps what it has.
        if let Some(view) = view {
            let view = self.grants.visible(view);
            self.stream.session().set_view(view, Instant::now());
        }
    }

    /// Sends what the session has to say. The session isn't locked while a slow client keeps us.
    async fn flush<R>(
        &self,
        responses: &Responses<R>,
        encode: fn(Response, &str) -> R,
    ) -> Result<(), Status> {
        let settings = &self.hub.settings;
        let before = self.settled_on();
        loop {
            let response = self.stream.session().poll_response(Instant::now());
            let Some(response) = response else { break };
            let message = encode(response, &settings.identifier);
            let sent = send(responses, message, settings).await?;
            if !sent {
                return Ok(());
            }
        }
        let settled_on = self.settled_on();
        if before != settled_on {
            match settled_on {
                Some(view) => self.tell(Delivered::CaughtUp(view)),
                None => self.hub.bump(),
            }
        }
        Ok(())
    }

    fn settled_on(&self) -> Option<Arc<str>> {
        self.stream.session().acknowledged().cloned()
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.hub.registry.disconnect(&self.stream, Instant::now());
        self.tell(Delivered::Disconnected);
        tracing::info!(node = self.stream.client.node_id, "xds stream closed");
    }
}

/// Whether a message was taken; `false` if the client is gone.
async fn send<R>(
    responses: &Responses<R>,
    message: R,
    settings: &Settings,
) -> Result<bool, Status> {
    match tokio::time::timeout(settings.blocked_max, responses.send(Ok(message))).await {
        Ok(sent) => Ok(sent.is_ok()),
        Err(_) => {
            settings.access.note(Incident::StreamBlocked);
            Err(Status::resource_exhausted(
                "the client left responses unread for too long",
            ))
        }
    }
}
