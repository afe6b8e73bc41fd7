//! The server, and what it serves.

use std::cell::Cell;
use std::sync::{Arc, Once};
use std::time::Duration;

use prost::Message as _;
use tidegate_xds::Settings;

use super::message::Named;
use super::*;
use crate::common::start_with;

/// Waits for something that the server tells nobody of: a view that changes nothing for a client,
/// a request that gives rise to nothing.
pub(crate) async fn wait(until: impl Fn() -> bool) {
    let looking = async {
        while !until() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let found = tokio::time::timeout(PATIENCE, looking).await;
    found.expect("it comes about in time");
}

thread_local! {
    static PANICS: Cell<usize> = const { Cell::new(0) };
}

/// No task of this test panicked, as all of them run on its own thread.
pub(crate) fn assert_no_panic() {
    assert_eq!(PANICS.get(), 0, "the server panicked");
}

fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.set(PANICS.get() + 1);
            before(panic);
        }));
    });
}

/// A server without isolation of what is unproven, as most rules are about something else.
pub(crate) async fn serve(view: &Arc<Snapshot>) -> Running {
    serve_with(view, together()).await
}

pub(crate) async fn serve_with(view: &Arc<Snapshot>, settings: Settings) -> Running {
    count_panics();
    start_with((**view).clone(), settings).await
}

/// For rules about removals, which streams of one type delay: for no longer than it takes to see
/// that they come.
pub(crate) async fn serve_hasty(view: &Arc<Snapshot>) -> Running {
    let mut settings = together();
    settings.session.removal_grace = Duration::from_millis(20);
    serve_with(view, settings).await
}

pub(crate) fn publish(running: &Running, view: &Arc<Snapshot>) {
    running.views.send(Some(view.clone())).unwrap();
}

pub(crate) fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Clusters that lead to nothing, each of some content.
pub(crate) fn clusters(contents: &[(&str, i64)]) -> Arc<Snapshot> {
    snapshot(
        contents
            .iter()
            .map(|(name, content)| lone_cluster(name, *content)),
    )
}

/// Assignments without clusters, each of some content.
pub(crate) fn endpoints(contents: &[(&str, u32)]) -> Arc<Snapshot> {
    snapshot(
        contents
            .iter()
            .map(|(name, content)| assignment(name, *content)),
    )
}

/// One service behind a listener: clusters with their endpoints, and a route to one of them.
pub(crate) fn world(names: &[&str], route_to: &str) -> Arc<Snapshot> {
    world_with(names, [route(ROUTE, route_to)])
}

/// Clusters with their endpoints, a listener, and what is given; it must have the route.
pub(crate) fn world_with(
    names: &[&str],
    more: impl IntoIterator<Item = Resource>,
) -> Arc<Snapshot> {
    let both = |name: &&str| [cluster(name, 1), assignment(name, 1)];
    closed(
        names
            .iter()
            .flat_map(both)
            .chain([listener("l", ROUTE)])
            .chain(more),
    )
}

/// A view in which [`Client::is_quiet`] works.
pub(crate) fn closed(resources: impl IntoIterator<Item = Resource>) -> Arc<Snapshot> {
    let ping = |number| {
        let name = format!("ping-{number}");
        let body = Named { name: name.clone() }.encode_to_vec();
        Resource::new(TypeUrl::new(PING), &name, body.into()).unwrap()
    };
    snapshot(resources.into_iter().chain((0..PINGS).map(ping)))
}
