//! The server: sessions driven as `server::task` drives them, and what the registry remembers from
//! stream to stream.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::monitor::Monitor;
use crate::stream::{Legacy, Outcome, Request, Response, Session, SessionSettings, Variant};
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
    /// When it was woken last, and how often at that very moment.
    woken: Option<(Instant, u32)>,
}

#[derive(Debug, Default)]
struct Node {
    /// Oldest first.
    live: Vec<LinkId>,
    legacy: Option<Legacy>,
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
        let legacy = legacy.or_else(|| node.legacy.take());
        node.live.push(link);
        let Some(stream) = self.streams.get_mut(&link) else {
            return;
        };
        if let Some(legacy) = legacy.filter(|_| stream.monitor.is_envoy) {
            stream.monitor.expects = legacy.types.contains(&TypeUrl::CLUSTER);
            stream.session.expect(legacy, now);
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
            responses.push(response);
            if responses.len() > 1_000 {
                return Err("L8: an endless row of responses without a request".to_owned());
            }
        }
        Ok(responses)
    }
}
