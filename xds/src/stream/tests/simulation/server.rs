//! The server: sessions driven as `server::task` drives them, and what the registry remembers from
//! stream to stream.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use super::monitor::Monitor;
use crate::stream::{
    Earlier, Legacy, Outcome, Request, Response, Session, SessionSettings, Variant,
};
use crate::{Snapshot, TypeUrl};

pub(super) type LinkId = u64;

/// Every resource and every gate may have a timeout of its own, all at one moment.
const WAKES_MAX: u32 = 30;

/// A control plane: dies, and comes back knowing nothing.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) up: bool,
    /// What the embedder wants; `None` until it is loaded.
    pub(super) view: Option<Arc<Snapshot>>,
    settings: SessionSettings,
    pub(super) streams: BTreeMap<LinkId, Stream>,
    /// By the client's number.
    nodes: BTreeMap<usize, Node>,
}

/// One stream.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) session: Session,
    pub(super) monitor: Monitor,
    client: usize,
    /// Its first request came.
    opened: bool,
    /// The client came with a set of clusters that this server sent it.
    pub(super) sent_set: bool,
    /// When it was woken last, and how often at that very moment.
    woken: Option<(Instant, u32)>,
}

#[derive(Debug, Default)]
struct Node {
    /// Oldest first.
    live: Vec<LinkId>,
    legacy: Option<Legacy>,
    earlier: Earlier,
    /// The versions of all sets of clusters that it was sent.
    sets: BTreeSet<String>,
}

// === impl Server ===

impl Server {
    pub(super) fn new() -> Self {
        Self {
            up: true,
            view: None,
            settings: SessionSettings::default(),
            streams: BTreeMap::new(),
            nodes: BTreeMap::new(),
        }
    }

    pub(super) fn kill(&mut self) {
        *self = Self::new();
        self.up = false;
    }

    pub(super) fn accept(&mut self, link: LinkId, client: usize, variant: Variant) {
        let stream = Stream {
            session: Session::new(variant, self.settings.clone()),
            monitor: Monitor::new(variant, self.settings.proven.clone()),
            client,
            opened: false,
            sent_set: false,
            woken: None,
        };
        self.streams.insert(link, stream);
    }

    /// Takes a request in. An error ends the stream.
    pub(super) fn request(
        &mut self,
        link: LinkId,
        request: Request,
        now: Instant,
    ) -> Result<Outcome, String> {
        let Some(stream) = self.streams.get_mut(&link) else {
            return Ok(Outcome::Stale);
        };
        stream.monitor.request(&request, now);
        if let (Request::Sotw(request), Some(node)) = (&request, self.nodes.get(&stream.client))
            && request.type_url == TypeUrl::CLUSTER.as_str()
            && request.response_nonce.is_empty()
        {
            stream.sent_set |= node.sets.contains(&request.version_info);
        }
        let handled = stream.session.handle_request(request, now);
        let outcome = handled.map_err(|violation| format!("a request was refused: {violation}"))?;
        stream.monitor.outcome(outcome)?;
        if !std::mem::replace(&mut stream.opened, true) {
            self.open(link, now);
        }
        Ok(outcome)
    }

    /// What happens once it is known who is there; see `Registry::connect`.
    fn open(&mut self, link: LinkId, now: Instant) {
        let Some(stream) = self.streams.get(&link) else {
            return;
        };
        let node = self.nodes.entry(stream.client).or_default();
        let before = node.live.last().and_then(|link| self.streams.get(link));
        let legacy = before.map(|stream| stream.session.legacy());
        let earlier = before.map(|stream| stream.session.earlier());
        let legacy = legacy.or_else(|| node.legacy.take());
        let earlier = earlier.unwrap_or_else(|| std::mem::take(&mut node.earlier));
        node.live.push(link);
        let Some(stream) = self.streams.get_mut(&link) else {
            return;
        };
        if let Some(legacy) = legacy.filter(|_| stream.monitor.is_envoy) {
            stream.monitor.expects = legacy.types.contains(&TypeUrl::CLUSTER);
            stream.session.expect(legacy, now);
            stream.monitor.doubtful = earlier.doubtful().collect();
            stream.session.remember(earlier);
        }
        if let Some(view) = &self.view {
            stream.monitor.view(view);
            stream.session.set_view(view.clone(), now);
        }
    }

    /// See `Registry::disconnect`.
    pub(super) fn close(&mut self, link: LinkId) {
        let Some(stream) = self.streams.remove(&link) else {
            return;
        };
        if let Some(node) = self.nodes.get_mut(&stream.client).filter(|_| stream.opened) {
            node.legacy = Some(stream.session.legacy());
            node.earlier = stream.session.earlier();
            node.live.retain(|other| *other != link);
        }
    }

    pub(super) fn publish(&mut self, view: &Arc<Snapshot>, now: Instant) {
        self.view = Some(view.clone());
        for stream in self.streams.values_mut().filter(|stream| stream.opened) {
            stream.monitor.view(view);
            stream.session.set_view(view.clone(), now);
        }
    }

    pub(super) fn heartbeat(&mut self, now: Instant) {
        for stream in self.streams.values_mut() {
            stream.monitor.heartbeat();
            stream.session.heartbeat(now);
        }
    }

    /// The earliest time at which a session wants to be woken.
    pub(super) fn next_timeout(&self) -> Option<(Instant, LinkId)> {
        let at = |(link, stream): (&LinkId, &Stream)| Some((stream.session.next_timeout()?, *link));
        self.streams.iter().filter_map(at).min()
    }

    /// Wakes a session. To wake it for nothing at the same moment would be an endless loop.
    pub(super) fn handle_timeout(&mut self, link: LinkId, now: Instant) -> Result<(), String> {
        let Some(stream) = self.streams.get_mut(&link) else {
            return Ok(());
        };
        stream.session.handle_timeout(now);
        let again = stream.woken.filter(|(at, _)| *at == now);
        let times = again.map_or(1, |(_, times)| times + 1);
        stream.woken = Some((now, times));
        if times > WAKES_MAX {
            return Err("L8: woken again and again for nothing".to_owned());
        }
        Ok(())
    }

    /// Everything that a stream has to say, checked.
    pub(super) fn flush(&mut self, link: LinkId, now: Instant) -> Result<Vec<Response>, String> {
        let Some(stream) = self.streams.get_mut(&link).filter(|stream| stream.opened) else {
            return Ok(Vec::new());
        };
        let mut responses = Vec::new();
        while let Some(response) = stream.session.poll_response(now) {
            stream.monitor.response(&response, &stream.session, now)?;
            let node = self.nodes.entry(stream.client).or_default();
            if response.variant == Variant::Sotw && response.type_url == TypeUrl::CLUSTER {
                node.sets.insert(response.version.to_string());
            }
            responses.push(response);
            if responses.len() > 1_000 {
                return Err("L8: an endless row of responses without a request".to_owned());
            }
        }
        Ok(responses)
    }
}
