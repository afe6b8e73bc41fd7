//! A client's side of a session, without a network.

use std::sync::Arc;
use std::time::{Duration, Instant};

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use envoy_types::pb::google::rpc::Status;

use crate::stream::{Outcome, Request, Response, Session, SessionSettings, Variant};
pub(super) use crate::testing::*;
pub(super) use crate::{Resource, Snapshot, TypeUrl};

pub(super) const CDS: TypeUrl = TypeUrl::CLUSTER;
pub(super) const EDS: TypeUrl = TypeUrl::CLUSTER_LOAD_ASSIGNMENT;
pub(super) const LDS: TypeUrl = TypeUrl::LISTENER;
pub(super) const RDS: TypeUrl = TypeUrl::ROUTE_CONFIGURATION;
pub(super) const RTDS: TypeUrl = TypeUrl::RUNTIME;

/// Settings of sessions that don't isolate what is unproven, for the tests of everything else.
pub(super) fn together() -> SessionSettings {
    SessionSettings {
        one_doubt_per_response: false,
        ..SessionSettings::default()
    }
}

pub(super) struct Peer {
    pub(super) session: Session,
    pub(super) now: Instant,
    variant: Variant,
    /// Names of the last state-of-the-world request of each type, which ACKs repeat.
    names: std::collections::BTreeMap<TypeUrl, Vec<String>>,
    features: Vec<String>,
    agent: String,
    /// Of the last response of each type that was answered.
    last_nonces: std::collections::BTreeMap<TypeUrl, u64>,
}

impl Peer {
    pub(super) fn new(variant: Variant) -> Self {
        Self::with_settings(variant, together())
    }

    /// As a server has them: what nobody took yet goes alone.
    pub(super) fn with_settings(variant: Variant, settings: SessionSettings) -> Self {
        let session = Session::new(variant, settings);
        let names = std::collections::BTreeMap::new();
        Self {
            session,
            now: Instant::now(),
            variant,
            names,
            features: Vec::new(),
            agent: String::new(),
            last_nonces: Default::default(),
        }
    }

    /// On a stream of one type.
    pub(super) fn only(variant: Variant, type_url: TypeUrl, view: &Arc<Snapshot>) -> Self {
        let mut peer = Self::new(variant);
        peer.session = Session::new(variant, together()).only(type_url);
        peer.view(view);
        peer
    }

    pub(super) fn with_view(variant: Variant, view: &Arc<Snapshot>) -> Self {
        let mut peer = Self::new(variant);
        peer.view(view);
        peer
    }

    pub(super) fn advertising(mut self, feature: &str) -> Self {
        self.features.push(feature.to_owned());
        self
    }

    pub(super) fn of_envoy(mut self) -> Self {
        self.agent = "envoy".to_owned();
        self
    }

    pub(super) fn node(&self) -> Option<Node> {
        let client_features = self.features.clone();
        let user_agent_name = self.agent.clone();
        Some(Node {
            id: "sidecar-1".to_owned(),
            client_features,
            user_agent_name,
            ..Node::default()
        })
    }

    pub(super) fn view(&mut self, view: &Arc<Snapshot>) {
        self.session.set_view(view.clone(), self.now);
    }

    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.session.next_timeout().filter(|at| *at <= end) {
            assert!(at >= self.now, "a timeout in the past");
            self.now = at;
            self.session.handle_timeout(at);
        }
        self.now = end;
    }

    pub(super) fn send(&mut self, request: impl Into<Request>) -> Outcome {
        self.session.handle_request(request, self.now).unwrap()
    }

    /// Delta: subscribes. State of the world: states the whole list.
    pub(super) fn subscribe(&mut self, type_url: TypeUrl, names: &[&str]) {
        let list: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        self.names.insert(type_url.clone(), list.clone());
        let (node, url) = (self.node(), type_url.as_str().to_owned());
        match self.variant {
            Variant::Delta => self.send(DeltaDiscoveryRequest {
                node,
                type_url: url,
                resource_names_subscribe: list,
                ..Default::default()
            }),
            Variant::Sotw => self.send(DiscoveryRequest {
                node,
                type_url: url,
                resource_names: list,
                ..Default::default()
            }),
        };
    }

    /// State of the world: states the whole list in answer to the last response.
    pub(super) fn state_names(&mut self, type_url: TypeUrl, names: &[&str]) {
        let list: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        self.names.insert(type_url.clone(), list.clone());
        let nonce = self.last_nonces.get(&type_url).copied().unwrap_or_default();
        self.send(DiscoveryRequest {
            node: self.node(),
            type_url: type_url.as_str().to_owned(),
            resource_names: list,
            response_nonce: if nonce == 0 {
                String::new()
            } else {
                nonce.to_string()
            },
            ..Default::default()
        });
    }

    pub(super) fn unsubscribe(&mut self, type_url: TypeUrl, names: &[&str]) {
        self.send(DeltaDiscoveryRequest {
            node: self.node(),
            type_url: type_url.as_str().to_owned(),
            resource_names_unsubscribe: names.iter().map(|name| (*name).to_owned()).collect(),
            ..Default::default()
        });
    }

    /// A delta client that comes back with these resources.
    pub(super) fn resume(&mut self, type_url: TypeUrl, names: &[&str], held: &[(&str, &str)]) {
        let owned = |(name, version): &(&str, &str)| ((*name).to_owned(), (*version).to_owned());
        self.send(DeltaDiscoveryRequest {
            node: self.node(),
            type_url: type_url.as_str().to_owned(),
            resource_names_subscribe: names.iter().map(|name| (*name).to_owned()).collect(),
            initial_resource_versions: held.iter().map(owned).collect(),
            ..Default::default()
        });
    }

    pub(super) fn answer(&mut self, response: &Response, error: Option<&str>) -> Outcome {
        let error_detail = error.map(|message| Status {
            code: 13,
            message: message.to_owned(),
            ..Status::default()
        });
        self.last_nonces
            .insert(response.type_url.clone(), response.nonce);
        let type_url = response.type_url.as_str().to_owned();
        let response_nonce = response.nonce.to_string();
        match self.variant {
            Variant::Delta => self.send(DeltaDiscoveryRequest {
                type_url,
                response_nonce,
                error_detail,
                ..Default::default()
            }),
            Variant::Sotw => {
                let resource_names = self.names.get(&response.type_url).cloned();
                self.send(DiscoveryRequest {
                    type_url,
                    response_nonce,
                    error_detail,
                    version_info: response.version.to_string(),
                    resource_names: resource_names.unwrap_or_default(),
                    ..Default::default()
                })
            }
        }
    }

    pub(super) fn ack(&mut self, response: &Response) {
        assert_eq!(self.answer(response, None), Outcome::Acknowledged);
    }

    pub(super) fn nack(&mut self, response: &Response, text: &str) {
        assert_eq!(self.answer(response, Some(text)), Outcome::Rejected);
    }

    pub(super) fn answer_again(&mut self, response: &Response) -> Outcome {
        self.answer(response, None)
    }

    pub(super) fn poll(&mut self) -> Option<Response> {
        self.session.poll_response(self.now)
    }

    /// Everything that is sent now, without answering.
    pub(super) fn drain(&mut self) -> Vec<Response> {
        std::iter::from_fn(|| self.session.poll_response(self.now)).collect()
    }

    /// Exactly one response.
    pub(super) fn one(&mut self) -> Response {
        let mut all = self.drain();
        assert_eq!(
            all.len(),
            1,
            "{:?}",
            all.iter().map(brief).collect::<Vec<_>>()
        );
        all.remove(0)
    }

    /// Acknowledges everything until nothing more comes; what came, in order.
    pub(super) fn settle(&mut self) -> Vec<String> {
        let mut seen = Vec::new();
        loop {
            let responses = self.drain();
            if responses.is_empty() {
                return seen;
            }
            for response in &responses {
                seen.push(brief(response));
                self.ack(response);
            }
            assert!(seen.len() < 1000, "an endless exchange: {seen:?}");
        }
    }

    pub(super) fn acknowledged(&self) -> Option<String> {
        self.session
            .delivery()
            .acknowledged
            .map(|id| id.to_string())
    }
}

/// A response in short: its type, `name` for what is sent, `~name` renewed, `-name` removed, `?name`
/// for an alias that leads nowhere, `!name=Code` for an error.
pub(super) fn brief(response: &Response) -> String {
    let mut text = response.type_url.short_name().to_owned();
    for item in response.items.iter() {
        let mark = if item.renewal { "~" } else { "" };
        text.push_str(&format!(" {mark}{}", item.resource.name()));
    }
    for name in &response.removed {
        text.push_str(&format!(" -{name}"));
    }
    for name in &response.unresolved {
        text.push_str(&format!(" ?{name}"));
    }
    for (name, error) in &response.errors {
        text.push_str(&format!(" !{name}={:?}", error.code()));
    }
    text
}

pub(super) fn briefs(responses: &[Response]) -> Vec<String> {
    responses.iter().map(brief).collect()
}

/// One service behind a listener: clusters with their endpoints, and a route to the first.
pub(super) fn world(clusters: &[&str], route_to: &str) -> Arc<Snapshot> {
    world_with(clusters, route(ROUTE, route_to))
}

pub(super) const ROUTE: &str = "rt";

pub(super) fn world_with(clusters: &[&str], routes: Resource) -> Arc<Snapshot> {
    let mut resources = vec![listener("l", ROUTE), routes];
    for name in clusters {
        resources.push(cluster(name, 1));
        resources.push(assignment(name, 1));
    }
    snapshot(resources)
}

/// An Envoy that has all of a view.
pub(super) fn envoy(variant: Variant, view: &Arc<Snapshot>) -> Peer {
    let mut peer = Peer::with_view(variant, view);
    let eds: Vec<String> = view.iter(&CDS).map(|c| c.name().to_string()).collect();
    let eds: Vec<&str> = eds.iter().map(String::as_str).collect();
    peer.subscribe(CDS, &[]);
    let clusters = peer.one();
    peer.subscribe(EDS, &eds);
    peer.ack(&clusters);
    peer.settle();
    peer.subscribe(LDS, &[]);
    peer.settle();
    peer.subscribe(RDS, &[ROUTE]);
    peer.settle();
    assert_eq!(peer.acknowledged().as_deref(), Some(&**view.id()));
    peer
}
