//! Who is connected, and who was.
//!
//! A node id may have several streams: for a moment, when a client came back before its old
//! connection was found dead, or for good: an Envoy that doesn't aggregate has one for each
//! subscription (each cluster's endpoints, each listener's routes), gRPC one for each target. What
//! newer ones ask for again is not asked of an older one any more; one that closes late changes
//! nothing but the count.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::client::{Client, ClientKind, ClientStatus};
use super::task::Serves;
use crate::delivery::ResourceStatus;
use crate::identity::SpiffeId;
use crate::limits::{
    EARLIER_SETS_KEPT, GONE_CLIENT_KEPT, GONE_CLIENTS_MAX, STREAMS_OF_ONE_TYPE_MAX,
    STREAMS_PER_NODE_MAX,
};
use crate::report::MAX_ENTRIES;
use crate::resource::{Name, Resource, TypeUrl};
use crate::stream::{Earlier, Legacy, Session};

#[cfg(test)]
mod tests;

/// All streams, by node id.
#[derive(Debug, Default)]
pub(super) struct Registry {
    nodes: Mutex<Nodes>,
}

#[derive(Debug, Default)]
struct Nodes {
    by_id: BTreeMap<String, Node>,
    /// Of those without a stream: since when, the longest gone first.
    gone: BTreeSet<(Instant, String)>,
    /// Of those, whose whole sets are remembered, in the same order.
    earlier: BTreeSet<(Instant, String)>,
    /// The newest legacy: a thousand clients that leave together leave the same behind, which may be
    /// a thousand names.
    legacy: Arc<Legacy>,
    streams: usize,
    last_id: u64,
}

#[derive(Debug, Default)]
struct Node {
    /// Oldest first.
    live: Vec<Arc<Stream>>,
    /// What was last known, once no stream is left. In a box, as those who are there have none.
    gone: Option<Box<ClientStatus>>,
    /// What its last aggregated stream left behind.
    legacy: Option<Arc<Legacy>>,
    /// The whole sets of that stream, over the state of the world, and whose they were: policy may let
    /// several identities use one node id, and gives each its own view.
    earlier: Option<(Option<SpiffeId>, Earlier)>,
    /// Which stream that was. One that closes after a newer one has nothing to add.
    left_by: u64,
    /// How often it came: see [`ClientStatus::connections`].
    connections: u64,
    /// Its version gauges, since it opened its newest stream.
    gauges: BTreeMap<String, u64>,
}

/// One stream. Its session is locked for moments only, never across a send.
#[derive(Debug)]
pub(super) struct Stream {
    id: u64,
    /// The client's, to be shared.
    pub(super) node_id: Arc<str>,
    pub(super) client: Client,
    pub(super) serves: Serves,
    since: Instant,
    session: Mutex<Session>,
}

/// Why a stream can't be served now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Full {
    #[error("the server has its maximum of streams; try again, or another replica")]
    Streams,
    #[error(
        "the node id has {0} such streams already; give every client its own, and let it aggregate"
    )]
    Node(usize),
}

// === impl Stream ===

impl Stream {
    pub(super) fn session(&self) -> MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn status(&self, streams: usize) -> ClientStatus {
        let delivery = self.session().delivery();
        let (client, variant) = (self.client.clone(), self.serves.variant);
        let status = ClientStatus::new(client, variant, self.since, delivery);
        ClientStatus { streams, ..status }
    }
}

// === impl Node ===

impl Node {
    fn status(&self) -> Option<ClientStatus> {
        let newest = self.newest().into_iter();
        let mut newest = newest.map(|stream| stream.status(self.live.len()));
        let Some(mut status) = newest.next() else {
            return self.gone.as_deref().cloned();
        };
        newest.for_each(|other| status.join(other));
        status.connections = self.connections;
        status.applied = self.applied();
        Some(status)
    }

    /// The view that all its newest streams acknowledged, if the gauges prove it.
    fn applied(&self) -> Option<Arc<str>> {
        let newest = self.newest().into_iter();
        let mut acknowledged = newest.map(|stream| stream.session().acknowledged().cloned());
        let view = acknowledged.next()??;
        let by_all = acknowledged.all(|other| other.as_ref() == Some(&view));
        (by_all && self.proves()).then_some(view)
    }

    /// Whether the gauges show everything that was sent on its newest streams.
    fn proves(&self) -> bool {
        let mut expected = self
            .newest()
            .into_iter()
            .flat_map(|stream| stream.session().expected_gauges());
        !self.gauges.is_empty() && expected.all(|gauge| gauge.is_shown_by(&self.gauges))
    }

    /// The streams that count, newest first: not those whose client must have given them up, as it
    /// asked for the same on a newer one, nor those that ask for nothing any more. gRPC has an
    /// aggregated one for each target.
    fn newest(&self) -> Vec<&Arc<Stream>> {
        let mut aggregated = false;
        let mut asked: BTreeMap<TypeUrl, (bool, BTreeSet<Name>)> = BTreeMap::new();
        let counts = |stream: &&Arc<Stream>| match &stream.serves.only {
            None => {
                !std::mem::replace(&mut aggregated, true) || stream.client.kind == ClientKind::Grpc
            }
            Some(only) => {
                let (all, names) = asked.entry(only.clone()).or_default();
                match stream.session().names(only) {
                    None => !std::mem::replace(all, true),
                    Some(its) => {
                        let counts = !its.is_empty() && its.is_disjoint(names);
                        names.extend(its);
                        counts
                    }
                }
            }
        };
        let newest: Vec<_> = self.live.iter().rev().filter(counts).collect();
        if newest.is_empty() {
            return self.live.last().into_iter().collect();
        }
        newest
    }

    /// The stream that a resource goes over, or would.
    fn serving(&self, type_url: &TypeUrl, name: &str) -> Option<&Arc<Stream>> {
        let serves = |stream: &&Arc<Stream>| {
            let only = stream.serves.only.as_ref();
            only.is_none_or(|only| only == type_url)
        };
        let mut newest = self.newest();
        newest.retain(serves);
        // A type's own stream knows more of it than an aggregated one.
        newest.sort_by_key(|stream| stream.serves.only.is_none());
        let asked = |stream: &&&Arc<Stream>| stream.session().asks_for(type_url, name);
        newest
            .iter()
            .find(asked)
            .or_else(|| newest.first())
            .copied()
    }
}

// === impl Registry ===

impl Registry {
    fn nodes(&self) -> MutexGuard<'_, Nodes> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in a new stream. It becomes the one that tells its node's status.
    pub(super) fn connect(
        &self,
        client: Client,
        serves: Serves,
        mut session: Session,
        streams_max: usize,
        now: Instant,
    ) -> Result<Arc<Stream>, Full> {
        let mut nodes = self.nodes();
        if nodes.streams >= streams_max {
            return Err(Full::Streams);
        }
        nodes.last_id += 1;
        let id = nodes.last_id;
        let node = nodes.by_id.entry(client.node_id.clone()).or_default();
        let of_one_type = |serves: &Serves| serves.only.is_some();
        let like = |stream: &&Arc<Stream>| of_one_type(&stream.serves) == of_one_type(&serves);
        let most = if of_one_type(&serves) {
            STREAMS_OF_ONE_TYPE_MAX
        } else {
            STREAMS_PER_NODE_MAX
        };
        if node.live.iter().filter(like).count() >= most {
            return Err(Full::Node(most));
        }
        // An Envoy asks for the same on every stream; a gRPC client for what its channels need now.
        if client.kind == ClientKind::Envoy && serves.only.is_none() {
            let mut newest = node.newest().into_iter();
            let before = newest.find(|stream| stream.serves.only.is_none());
            let earlier = before.map(|stream| {
                let identity = stream.client.identity.clone();
                (identity, stream.session().earlier())
            });
            let legacy = before.map(|stream| stream.session().legacy());
            let earlier = earlier.or_else(|| node.earlier.take());
            if let Some((_, earlier)) = earlier.filter(|(whose, _)| *whose == client.identity) {
                session.remember(earlier);
            }
            let left = || node.legacy.take().map(Arc::unwrap_or_clone);
            if let Some(legacy) = legacy.or_else(left) {
                session.expect(legacy, now);
            }
        }
        let comes_whole = serves.only.is_none() && client.kind != ClientKind::Grpc;
        if comes_whole || node.live.is_empty() {
            node.connections = node.connections.saturating_add(1);
        }
        let session = Mutex::new(session);
        let stream = Arc::new(Stream {
            id,
            node_id: Arc::from(client.node_id.as_str()),
            client,
            serves,
            since: now,
            session,
        });
        node.live.push(stream.clone());
        // They may be of a process that is gone.
        node.gauges.clear();
        if let Some(gone) = node.gone.take() {
            let gone = (gone.since, gone.client.node_id);
            nodes.gone.remove(&gone);
            nodes.earlier.remove(&gone);
        }
        nodes.streams += 1;
        Ok(stream)
    }

    /// Takes note that a stream ended.
    pub(super) fn disconnect(&self, stream: &Stream, now: Instant) {
        let mut nodes = self.nodes();
        let nodes = &mut *nodes;
        if let Some(node) = nodes.by_id.get_mut(&stream.client.node_id) {
            if stream.serves.only.is_none() && stream.id > node.left_by {
                node.left_by = stream.id;
                let legacy = stream.session().legacy();
                if *nodes.legacy != legacy {
                    nodes.legacy = Arc::new(legacy);
                }
                node.legacy = Some(Arc::clone(&nodes.legacy));
                let earlier = Some(stream.session().earlier()).filter(|it| !it.is_empty());
                node.earlier = earlier.map(|it| (stream.client.identity.clone(), it));
            }
            node.live.retain(|other| other.id != stream.id);
            // Room for one, as a rule; a client that reconnects a lot had more.
            node.live.shrink_to_fit();
            if node.live.is_empty() {
                let last = stream.status(0);
                node.gauges.clear();
                node.gone = Some(Box::new(ClientStatus {
                    connected: false,
                    since: now,
                    connections: node.connections,
                    ..last
                }));
                let gone = (now, stream.client.node_id.clone());
                if node.earlier.is_some() {
                    nodes.earlier.insert(gone.clone());
                }
                nodes.gone.insert(gone);
            }
            nodes.streams -= 1;
        }
        nodes.forget_old(now);
    }

    /// Everybody, by node id.
    pub(super) fn statuses(&self) -> Vec<ClientStatus> {
        self.nodes()
            .by_id
            .values()
            .filter_map(Node::status)
            .collect()
    }

    pub(super) fn status(&self, node_id: &str) -> Option<ClientStatus> {
        self.nodes().by_id.get(node_id)?.status()
    }

    pub(super) fn resource(
        &self,
        node_id: &str,
        type_url: &TypeUrl,
        name: &str,
    ) -> Option<ResourceStatus> {
        let stream = self
            .nodes()
            .by_id
            .get(node_id)?
            .serving(type_url, name)?
            .clone();
        stream.session().resource_status(type_url, name)
    }
}

impl Registry {
    /// Takes in gauges. The view that they newly prove, if they do.
    pub(super) fn note_versions(
        &self,
        node_id: &str,
        versions: &BTreeMap<String, u64>,
    ) -> Option<Arc<str>> {
        let mut nodes = self.nodes();
        let node = nodes.by_id.get_mut(node_id)?;
        if node.live.is_empty() || versions.is_empty() {
            return None;
        }
        // As a rule they tell nothing new; each client sends them every second.
        let news = |(name, version): &(&String, &u64)| node.gauges.get(*name) != Some(*version);
        if !versions.iter().take(MAX_ENTRIES).any(|gauge| news(&gauge)) {
            return None;
        }
        let before = node.applied();
        for (name, version) in versions.iter().take(MAX_ENTRIES) {
            if node.gauges.len() < MAX_ENTRIES || node.gauges.contains_key(name) {
                node.gauges.insert(name.clone(), *version);
            }
        }
        node.applied()
            .filter(|after| before.as_ref() != Some(after))
    }

    /// Who has a stream now, by node id.
    pub(super) fn connected(&self) -> Vec<Client> {
        let nodes = self.nodes();
        let newest = nodes.by_id.values().filter_map(|node| node.live.last());
        newest.map(|stream| stream.client.clone()).collect()
    }

    /// Every resource of its view that a client asked for, on its newest streams, and where it
    /// stands: in the order of types and names.
    pub(super) fn resources(&self, node_id: &str) -> Vec<(Arc<Resource>, ResourceStatus)> {
        let Some(streams) = self
            .nodes()
            .by_id
            .get(node_id)
            .map(|node| node.newest().into_iter().cloned().collect::<Vec<_>>())
        else {
            return Vec::new();
        };
        let of_stream = |stream: Arc<Stream>| stream.session().resource_statuses();
        let mut all: Vec<_> = streams.into_iter().flat_map(of_stream).collect();
        let key = |(resource, _): &(Arc<Resource>, ResourceStatus)| {
            (resource.type_url().clone(), resource.name().clone())
        };
        all.sort_by_key(key);
        all.dedup_by_key(|one| key(one));
        all
    }
}

// === impl Nodes ===

impl Nodes {
    /// Drops who left too long ago, and the longest gone when there are too many; what keeps old views
    /// alive, before.
    fn forget_old(&mut self, now: Instant) {
        while let Some((since, _)) = self.earlier.first()
            && now.saturating_duration_since(*since) >= EARLIER_SETS_KEPT
            && let Some((_, id)) = self.earlier.pop_first()
        {
            if let Some(node) = self.by_id.get_mut(&id) {
                node.earlier = None;
            }
        }
        while let Some((since, _)) = self.gone.first() {
            let kept = now.saturating_duration_since(*since) < GONE_CLIENT_KEPT;
            if kept && self.gone.len() <= GONE_CLIENTS_MAX {
                return;
            }
            if let Some((since, id)) = self.gone.pop_first() {
                self.earlier.remove(&(since, id.clone()));
                self.by_id.remove(&id);
            }
        }
    }
}
