//! How a stream begins: its turn, its first request, its claims, its view.

use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use tokio::sync::watch;
use tonic::Status;

use super::inbound::{Arrived, Inbound};
use super::outbound::Outlet;
use super::refusal::{refusal, stopping, unreadable};
use super::registration::{Registration, Views};
use super::scan::Fields;
use super::task::Serves;
use super::{Client, Hub, Signals};
use crate::identity::{Incident, Peer, StreamKind, StreamPass};
use crate::stream::{Request, Violation};

/// A stream that was let in.
pub(super) struct Admitted {
    pub(super) registration: Registration,
    pub(super) views: Views,
    pub(super) signals: watch::Receiver<Signals>,
    pub(super) pass: StreamPass,
}

/// Lets a stream in; `None` if its client leaves before.
pub(super) async fn admit<Q>(
    hub: Arc<Hub>,
    serves: Serves,
    peer: Option<Peer>,
    inbound: &mut Inbound<Q>,
    outlet: &Outlet,
) -> Result<Option<Admitted>, Status>
where
    Q: Fields,
{
    let mut signals = hub.signals.subscribe();
    let greeted = tokio::select! {
        biased;
        _ = signals.wait_for(|signals| signals.closing) => return Err(stopping()),
        () = poll_fn(|context| outlet.poll_closed(context)) => return Ok(None),
        greeted = greet(&hub, &serves, peer.as_ref(), inbound) => greeted?,
    };
    let Some((pass, first)) = greeted else {
        return Ok(None);
    };
    let large = matches!(first, Arrived::Large(_));
    let request = read(&hub, first).await?;
    // Nothing is built before the claims are checked.
    let access = &hub.settings.access;
    let refused = |violation| refusal(access, &violation);
    let node = request.node().filter(|node| !node.id.is_empty());
    let node = node.ok_or(Violation::NodeMissing).map_err(refused)?;
    let grants = access.check(peer.as_ref(), node)?;
    let client = Client {
        identity: peer.map(|peer| peer.id),
        ..Client::of(node)
    };
    // A newcomer's work begins here.
    let permit = match large {
        true => None,
        false => hub.turn(&hub.cold_starts).await,
    };
    let mut session = serves.session(&hub);
    let work = move || {
        let handled = session.handle_request(request, Instant::now());
        handled.map(|_| session)
    };
    let session = hub.lane.run(large, work).await?.map_err(refused)?;
    let mut views = hub
        .assign
        .assign(&client)
        .map_err(|refused| Status::permission_denied(refused.reason))?;
    let streams_max = hub.settings.streams_max;
    let stream = hub
        .registry
        .connect(client, serves, session, streams_max, Instant::now())
        .map_err(|full| Status::resource_exhausted(full.to_string()))?;
    let registration = Registration::new(hub.clone(), stream, grants, large);
    registration.first_view(&mut views, Instant::now()).await?;
    drop(permit);
    Ok(Some(Admitted {
        registration,
        views,
        signals,
        pass,
    }))
}

/// Waits for a stream's turn, before which nothing of it is read, and for its first request.
async fn greet<Q>(
    hub: &Hub,
    serves: &Serves,
    peer: Option<&Peer>,
    inbound: &mut Inbound<Q>,
) -> Result<Option<(StreamPass, Arrived<Q>)>, Status>
where
    Q: Fields,
{
    let access = &hub.settings.access;
    let kind = match serves.only {
        None => StreamKind::Discovery,
        Some(_) => StreamKind::OneType,
    };
    let pass = access.open_stream(peer, kind)?;
    let wait = access.turn(Instant::now())?;
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
    let first = first_request(hub, inbound).await?;
    Ok(first.map(|request| (pass, request)))
}

/// Waits for a stream's first request: until it begins, and then for its end.
async fn first_request<Q: Fields>(
    hub: &Hub,
    inbound: &mut Inbound<Q>,
) -> Result<Option<Arrived<Q>>, Status> {
    let access = &hub.settings.access;
    let first = poll_fn(|context| match inbound.poll_message(context) {
        Poll::Ready(first) => Poll::Ready(Ok(first)),
        Poll::Pending => inbound
            .due()
            .map_or(Poll::Pending, |due| Poll::Ready(Err(due))),
    });
    let first = tokio::time::timeout(hub.settings.first_request_timeout, first).await;
    let first = first.map_err(|_| {
        access.note(Incident::StreamMute);
        Status::deadline_exceeded("no request came; the first one must name its node")
    })?;
    let first = match first {
        Ok(first) => first,
        Err(due) => {
            let mut timer = pin!(tokio::time::sleep_until(due.into()));
            let rest = poll_fn(|context| {
                // Wakes it to be told that it is late.
                let _ = timer.as_mut().poll(context);
                inbound.poll_message(context)
            });
            rest.await
        }
    };
    first.map_err(|broken| unreadable(access, broken))
}

/// The first request, decoded.
async fn read<Q: Fields>(hub: &Hub, first: Arrived<Q>) -> Result<Request, Status> {
    match first {
        Arrived::Decoded(request) => Ok(request.into()),
        Arrived::Large(large) => {
            let request = hub.lane.run(true, || large.decode::<Q>()).await?;
            let access = &hub.settings.access;
            Ok(request
                .map_err(|status| unreadable(access, status.into()))?
                .into())
        }
    }
}
