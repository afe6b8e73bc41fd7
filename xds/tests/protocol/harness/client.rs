//! The scripted client.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use tidegate_xds::stream::Variant;
use tidegate_xds::{ClientStatus, ResourceStatus};
use tonic::Status;

use super::*;
use crate::common::Stream;

/// A client with one stream, or one for each type that it asked for.
pub(crate) struct Client<'a> {
    running: &'a Running,
    mode: Mode,
    /// What it says of itself.
    pub(crate) node: Node,
    wires: BTreeMap<Option<TypeUrl>, Wire>,
    memory: BTreeMap<TypeUrl, Memory>,
    pings: usize,
}

/// One stream.
struct Wire {
    stream: Either,
    introduced: bool,
    nonces: BTreeSet<String>,
}

enum Either {
    Delta(Stream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>),
    Sotw(Stream<DiscoveryRequest, DiscoveryResponse>),
}

/// What a state-of-the-world client repeats in each request of a type.
#[derive(Debug, Default)]
struct Memory {
    names: Vec<String>,
    version: String,
    nonce: String,
}

// === impl Wire ===

impl Wire {
    async fn next(&mut self) -> Got {
        let got: Got = match &mut self.stream {
            Either::Delta(stream) => stream.next().await.into(),
            Either::Sotw(stream) => stream.next().await.into(),
        };
        self.check(&got);
        got
    }

    fn check(&mut self, got: &Got) {
        got.check();
        assert!(!got.nonce.is_empty(), "C5");
        let new = self.nonces.insert(got.nonce.clone());
        assert!(new, "C5: nonce {} comes twice", got.nonce);
    }
}

// === impl Client ===

impl<'a> Client<'a> {
    pub(crate) fn new(running: &'a Running, mode: Mode) -> Self {
        Self::named(running, mode, "e1")
    }

    pub(crate) fn named(running: &'a Running, mode: Mode, id: &str) -> Self {
        let node = Node {
            id: id.to_owned(),
            ..Node::default()
        };
        Self {
            running,
            mode,
            node,
            wires: BTreeMap::new(),
            memory: BTreeMap::new(),
            pings: 0,
        }
    }

    fn key(&self, type_url: &TypeUrl) -> Option<TypeUrl> {
        (!self.mode.aggregated).then(|| type_url.clone())
    }

    /// The node id that a type's stream gives. Streams of one type each have one of their own here,
    /// so that each one's status can be waited for; `tests/per_type.rs` is about those that share
    /// theirs.
    pub(crate) fn id(&self, type_url: &TypeUrl) -> String {
        if self.mode.aggregated {
            self.node.id.clone()
        } else {
            format!("{}-{}", self.node.id, type_url.short_name())
        }
    }

    /// The node of the first request of a type's stream.
    pub(crate) fn node(&self, type_url: &TypeUrl) -> Option<Node> {
        Some(Node {
            id: self.id(type_url),
            ..self.node.clone()
        })
    }

    async fn wire(&mut self, type_url: &TypeUrl) -> &mut Wire {
        let key = self.key(type_url);
        if !self.wires.contains_key(&key) {
            let path = self.mode.path(type_url);
            let stream = match self.mode.variant {
                Variant::Delta => Either::Delta(self.running.call(&path).await),
                Variant::Sotw => Either::Sotw(self.running.call(&path).await),
            };
            let wire = Wire {
                stream,
                introduced: false,
                nonces: BTreeSet::new(),
            };
            self.wires.insert(key.clone(), wire);
        }
        self.wires.get_mut(&key).unwrap()
    }

    /// Sends a request as it is, on the stream of a type.
    pub(crate) async fn ask(&mut self, type_url: &TypeUrl, ask: Ask) {
        let wire = self.wire(type_url).await;
        wire.introduced = true;
        match &wire.stream {
            Either::Delta(stream) => stream.send(ask.into()).await,
            Either::Sotw(stream) => stream.send(ask.into()).await,
        }
    }

    /// Sends a request, with the node if it is the first of its stream, and never after.
    async fn say(&mut self, type_url: &TypeUrl, mut ask: Ask) {
        let node = self.node(type_url);
        if !self.wire(type_url).await.introduced {
            ask.node = node;
        }
        if !self.mode.is_delta() {
            let memory = self.memory.entry(type_url.clone()).or_default();
            ask.names.clone_from(&memory.names);
            if ask.version.is_empty() {
                ask.version.clone_from(&memory.version);
            }
            if ask.nonce.is_empty() {
                ask.nonce.clone_from(&memory.nonce);
            }
        }
        self.ask(type_url, ask).await;
    }

    fn names(&mut self, type_url: &TypeUrl) -> &mut Vec<String> {
        &mut self.memory.entry(type_url.clone()).or_default().names
    }

    /// Subscribes to more names; to none at first, it is the legacy wildcard.
    pub(crate) async fn subscribe(&mut self, type_url: &TypeUrl, names: &[&str]) {
        let known = self.names(type_url);
        known.extend(owned(names));
        known.sort();
        known.dedup();
        self.say(type_url, Ask::of(type_url, names)).await;
    }

    pub(crate) async fn unsubscribe(&mut self, type_url: &TypeUrl, names: &[&str]) {
        self.names(type_url)
            .retain(|name| !names.contains(&name.as_str()));
        let ask = Ask {
            unsubscribe: owned(names),
            ..Ask::of(type_url, &[])
        };
        self.say(type_url, ask).await;
    }

    /// State of the world: states the whole list.
    pub(crate) async fn state(&mut self, type_url: &TypeUrl, names: &[&str]) {
        assert!(!self.mode.is_delta(), "delta has edits only");
        *self.names(type_url) = owned(names);
        self.say(type_url, Ask::of(type_url, names)).await;
    }

    /// The first request of a type by a client that comes back: delta names what it holds of which
    /// version, state of the world the version of the whole.
    pub(crate) async fn resume(
        &mut self,
        type_url: &TypeUrl,
        names: &[&str],
        held: &[(&str, &str)],
        version: &str,
    ) {
        *self.names(type_url) = owned(names);
        let claim = |(name, version): &(&str, &str)| ((*name).to_owned(), (*version).to_owned());
        let ask = Ask {
            held: held.iter().map(claim).collect(),
            version: version.to_owned(),
            ..Ask::of(type_url, names)
        };
        self.say(type_url, ask).await;
    }

    fn remember(&mut self, got: &Got) {
        let memory = self.memory.entry(got.type_url.clone()).or_default();
        memory.nonce.clone_from(&got.nonce);
    }

    /// The next response on the stream of a type, which must be of that type.
    pub(crate) async fn next(&mut self, type_url: &TypeUrl) -> Got {
        let got = self.wire(type_url).await.next().await;
        assert_eq!(got.type_url, *type_url, "came too early: {}", got.brief());
        self.remember(&got);
        got
    }

    /// The next response on the aggregated stream.
    pub(crate) async fn next_any(&mut self) -> Got {
        assert!(self.mode.aggregated, "which stream?");
        let got = self.wire(&CDS).await.next().await;
        self.remember(&got);
        got
    }

    pub(crate) async fn ack(&mut self, got: &Got) {
        let memory = self.memory.entry(got.type_url.clone()).or_default();
        memory.version.clone_from(&got.version);
        self.answer(got, None).await;
    }

    /// Refuses, and names the version that it keeps.
    pub(crate) async fn nack(&mut self, got: &Got, text: &str) {
        self.answer(got, Some(text)).await;
    }

    async fn answer(&mut self, got: &Got, error: Option<&str>) {
        let ask = Ask {
            nonce: got.nonce.clone(),
            error: error.map(str::to_owned),
            ..Ask::of(&got.type_url, &[])
        };
        self.say(&got.type_url, ask).await;
    }

    /// Acknowledges the next response of a type; in short, what it was.
    pub(crate) async fn take(&mut self, type_url: &TypeUrl) -> String {
        let got = self.next(type_url).await;
        self.ack(&got).await;
        got.brief()
    }

    /// The same of an aggregated stream, whatever comes next.
    pub(crate) async fn take_any(&mut self) -> String {
        let got = self.next_any().await;
        self.ack(&got).await;
        got.brief()
    }

    /// An Envoy that has all of a view.
    pub(crate) async fn has_all(&mut self, view: &Snapshot) {
        let clusters: Vec<_> = view.iter(&CDS).map(|it| it.name().to_string()).collect();
        let clusters: Vec<&str> = clusters.iter().map(String::as_str).collect();
        self.subscribe(&CDS, &[]).await;
        let wanted = self.next(&CDS).await;
        self.ack(&wanted).await;
        self.subscribe(&EDS, &clusters).await;
        self.take(&EDS).await;
        self.subscribe(&LDS, &[]).await;
        self.take(&LDS).await;
        self.subscribe(&RDS, &[ROUTE]).await;
        self.take(&RDS).await;
    }

    /// How the stream of a type ends.
    pub(crate) async fn error(&mut self, type_url: &TypeUrl) -> Status {
        match &mut self.wire(type_url).await.stream {
            Either::Delta(stream) => stream.error().await,
            Either::Sotw(stream) => stream.error().await,
        }
    }

    /// Waits until the server says of a type's stream what is wished.
    pub(crate) async fn until(
        &self,
        type_url: &TypeUrl,
        wished: impl Fn(&ClientStatus) -> bool,
    ) -> ClientStatus {
        self.running.until(&self.id(type_url), wished).await
    }

    /// Waits until every stream took a view in.
    pub(crate) async fn took(&self, view: &Snapshot) {
        let ids = self.wires.keys().map(|key| match key {
            Some(type_url) => self.id(type_url),
            None => self.node.id.clone(),
        });
        for id in ids {
            let wanted = || {
                let status = self.running.server.client(&id);
                status.and_then(|status| status.wanted)
            };
            wait(|| wanted().as_deref() == Some(&**view.id())).await;
        }
    }

    /// Waits until the server took in that the client doesn't want a resource any more, as it
    /// answers nothing to that.
    pub(crate) async fn dropped(&self, type_url: &TypeUrl, name: &str) {
        let id = self.id(type_url);
        let stands = || self.running.server.resource(&id, type_url, name);
        wait(|| stands() == Some(ResourceStatus::NotSubscribed)).await;
    }

    /// Publishes a view, and waits until it is taken in.
    pub(crate) async fn publish(&self, view: &Arc<Snapshot>) {
        publish(self.running, view);
        self.took(view).await;
    }

    /// Nothing is on its way on an aggregated stream: what is asked now is answered next.
    pub(crate) async fn is_quiet(&mut self) {
        let ping = TypeUrl::new(PING);
        let name = format!("ping-{}", self.pings);
        self.pings += 1;
        assert!(self.pings <= PINGS, "more pings are needed");
        self.subscribe(&ping, &[&name]).await;
        let got = self.next_any().await;
        assert_eq!(got.brief(), format!("{PING} {name}"), "not quiet");
        self.ack(&got).await;
    }

    /// Closes all streams in an orderly way. What came that nobody had read, in short.
    pub(crate) async fn rest(self) -> Vec<String> {
        let mut rest = Vec::new();
        for mut wire in self.wires.into_values() {
            let all: Vec<Got> = match wire.stream {
                Either::Delta(stream) => stream.rest().await.into_iter().map(Got::from).collect(),
                Either::Sotw(stream) => stream.rest().await.into_iter().map(Got::from).collect(),
            };
            wire.nonces.clear();
            rest.extend(all.iter().map(Got::brief));
        }
        assert_no_panic();
        rest
    }

    /// Nothing is on its way, and the streams end.
    pub(crate) async fn ends_quietly(self) {
        let rest = self.rest().await;
        assert!(rest.is_empty(), "not quiet: {rest:?}");
    }
}
