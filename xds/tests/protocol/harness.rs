//! A scripted client that speaks either variant over either transport, so that a rule is written
//! once.
//!
//! That *nothing* is sent is never shown by waiting for a while. A stream is answered in order, so
//! there are two proofs:
//!
//! - [`Client::ends_quietly`] closes the sending side. The server takes in everything that was sent
//!   before, sends what it has to say to that, and only then ends the stream; so that whatever came
//!   until the end is all there was. (That it does answer before it ends is a test of its own,
//!   `c15_what_was_asked_before_a_half_close_is_answered_first`.)
//! - [`Client::is_quiet`], in the middle of an aggregated stream, asks for a resource of a type that
//!   nothing else is about. Its answer must be the next message.
//!
//! A task of the server that panics ends its stream as well; so panics are counted, and must be none.
//!
//! Both hold for what was caused by requests. For what a new view might cause, wait first until the
//! server's own status says that the stream took it in ([`Client::took`]): a task sends what a view
//! gives rise to before it reads again.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Once};
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
    Resource as PbResource,
};
use envoy_types::pb::google::protobuf::Any;
use prost::{Message as _, Name as _};
use tidegate_xds::stream::Variant;
use tidegate_xds::{ClientStatus, ResourceStatus, Settings};
use tonic::Status;

pub(crate) use crate::common::{Running, cluster as lone_cluster, error, together};
use crate::common::{Stream, start_with};
pub(crate) use crate::testing::*;
pub(crate) use crate::{Resource, Snapshot, TypeUrl};

pub(crate) const CDS: TypeUrl = TypeUrl::CLUSTER;
pub(crate) const EDS: TypeUrl = TypeUrl::CLUSTER_LOAD_ASSIGNMENT;
pub(crate) const LDS: TypeUrl = TypeUrl::LISTENER;
pub(crate) const RDS: TypeUrl = TypeUrl::ROUTE_CONFIGURATION;
pub(crate) const RTDS: TypeUrl = TypeUrl::RUNTIME;
pub(crate) const ECDS: TypeUrl = TypeUrl::EXTENSION_CONFIG;
pub(crate) const ROUTE: &str = "rt";

/// Of [`Client::is_quiet`].
const PING: &str = "type.googleapis.com/acme.Ping";
const PINGS: usize = 8;

/// Longer than anything here may take, short enough to fail a hanging test.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mode {
    pub(crate) variant: Variant,
    /// All types on one stream, or each on one of its own.
    pub(crate) aggregated: bool,
}

/// A request of either variant.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ask {
    pub(crate) node: Option<Node>,
    pub(crate) type_url: String,
    /// State of the world: the whole list.
    pub(crate) names: Vec<String>,
    pub(crate) unsubscribe: Vec<String>,
    pub(crate) held: BTreeMap<String, String>,
    pub(crate) version: String,
    pub(crate) nonce: String,
    pub(crate) error: Option<String>,
}

/// A response of either variant.
#[derive(Debug, Clone)]
pub(crate) struct Got {
    pub(crate) type_url: TypeUrl,
    pub(crate) nonce: String,
    pub(crate) version: String,
    pub(crate) resources: Vec<GotResource>,
    pub(crate) removed: Vec<String>,
}

#[derive(Debug, Clone)]
pub(crate) struct GotResource {
    pub(crate) name: String,
    /// Delta only, or wrapped.
    pub(crate) version: String,
    /// `None` for a heartbeat.
    pub(crate) body: Option<Any>,
    pub(crate) ttl: Option<i64>,
    /// State of the world: in a `Resource` of its own.
    pub(crate) wrapped: bool,
}

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

/// What every named message begins with.
#[derive(Clone, PartialEq, prost::Message)]
struct Named {
    #[prost(string, tag = "1")]
    name: String,
}

// === impl Mode ===

impl Mode {
    pub(crate) fn delta_ads() -> Self {
        Self {
            variant: Variant::Delta,
            aggregated: true,
        }
    }

    pub(crate) fn delta_per_type() -> Self {
        Self {
            variant: Variant::Delta,
            aggregated: false,
        }
    }

    pub(crate) fn sotw_ads() -> Self {
        Self {
            variant: Variant::Sotw,
            aggregated: true,
        }
    }

    pub(crate) fn sotw_per_type() -> Self {
        Self {
            variant: Variant::Sotw,
            aggregated: false,
        }
    }

    pub(crate) fn is_delta(self) -> bool {
        self.variant == Variant::Delta
    }

    /// One of two expectations.
    pub(crate) fn either<T>(self, delta: T, sotw: T) -> T {
        if self.is_delta() { delta } else { sotw }
    }

    /// The gRPC method that serves a type.
    pub(crate) fn path(self, type_url: &TypeUrl) -> String {
        let (service, resources) = if self.aggregated {
            (
                "discovery.v3.AggregatedDiscoveryService",
                "AggregatedResources",
            )
        } else {
            match type_url.short_name() {
                "cds" => ("cluster.v3.ClusterDiscoveryService", "Clusters"),
                "eds" => ("endpoint.v3.EndpointDiscoveryService", "Endpoints"),
                "lds" => ("listener.v3.ListenerDiscoveryService", "Listeners"),
                "rds" => ("route.v3.RouteDiscoveryService", "Routes"),
                "rtds" => ("runtime.v3.RuntimeDiscoveryService", "Runtime"),
                "ecds" => (
                    "extension.v3.ExtensionConfigDiscoveryService",
                    "ExtensionConfigs",
                ),
                other => panic!("no rule here is about {other}"),
            }
        };
        let method = self.either("Delta", "Stream");
        format!("/envoy.service.{service}/{method}{resources}")
    }
}

// === impl Ask ===

impl Ask {
    pub(crate) fn of(type_url: &TypeUrl, names: &[&str]) -> Self {
        Self {
            type_url: type_url.as_str().to_owned(),
            names: owned(names),
            ..Self::default()
        }
    }
}

impl From<Ask> for DeltaDiscoveryRequest {
    fn from(ask: Ask) -> Self {
        Self {
            node: ask.node,
            type_url: ask.type_url,
            resource_names_subscribe: ask.names,
            resource_names_unsubscribe: ask.unsubscribe,
            initial_resource_versions: ask.held.into_iter().collect(),
            response_nonce: ask.nonce,
            error_detail: ask.error.and_then(|text| error(&text)),
            ..Self::default()
        }
    }
}

impl From<Ask> for DiscoveryRequest {
    fn from(ask: Ask) -> Self {
        Self {
            node: ask.node,
            type_url: ask.type_url,
            resource_names: ask.names,
            version_info: ask.version,
            response_nonce: ask.nonce,
            error_detail: ask.error.and_then(|text| error(&text)),
            ..Self::default()
        }
    }
}

// === impl Got ===

impl Got {
    /// Its type, `name` for what is sent, `~name` renewed without a body, `-name` removed.
    pub(crate) fn brief(&self) -> String {
        let mut text = self.type_url.short_name().to_owned();
        for resource in &self.resources {
            let mark = if resource.body.is_none() { "~" } else { "" };
            text.push_str(&format!(" {mark}{}", resource.name));
        }
        for name in &self.removed {
            text.push_str(&format!(" -{name}"));
        }
        text
    }

    /// Rule C6, for every response that any test gets.
    fn check(&self) {
        let sent = self.resources.iter().map(|resource| &resource.name);
        let names: Vec<_> = sent.chain(&self.removed).collect();
        let distinct: BTreeSet<_> = names.iter().collect();
        assert_eq!(names.len(), distinct.len(), "C6: {}", self.brief());
        for body in self.resources.iter().filter_map(|one| one.body.as_ref()) {
            assert_eq!(body.type_url, self.type_url.as_str(), "C6");
        }
    }
}

impl From<DeltaDiscoveryResponse> for Got {
    fn from(response: DeltaDiscoveryResponse) -> Self {
        let resource = |it: PbResource| GotResource {
            name: it.name,
            version: it.version,
            body: it.resource,
            ttl: it.ttl.map(|ttl| ttl.seconds),
            wrapped: false,
        };
        Self {
            type_url: TypeUrl::new(&response.type_url),
            nonce: response.nonce,
            version: response.system_version_info,
            resources: response.resources.into_iter().map(resource).collect(),
            removed: response.removed_resources,
        }
    }
}

impl From<DiscoveryResponse> for Got {
    fn from(response: DiscoveryResponse) -> Self {
        let resource = |any: Any| {
            if any.type_url == PbResource::type_url() {
                let wrapped = PbResource::decode(&*any.value).unwrap();
                return GotResource {
                    name: wrapped.name,
                    version: wrapped.version,
                    body: wrapped.resource,
                    ttl: wrapped.ttl.map(|ttl| ttl.seconds),
                    wrapped: true,
                };
            }
            GotResource {
                name: Named::decode(&*any.value).unwrap().name,
                version: String::new(),
                body: Some(any),
                ttl: None,
                wrapped: false,
            }
        };
        Self {
            type_url: TypeUrl::new(&response.type_url),
            nonce: response.nonce,
            version: response.version_info,
            resources: response.resources.into_iter().map(resource).collect(),
            removed: Vec::new(),
        }
    }
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

// === the server, and what it serves ===

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
