//! The words of a client, in either protocol: subscriptions, versions, nonces, answers.

use std::collections::{BTreeMap, BTreeSet};

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use envoy_types::pb::google::rpc::Status;

use super::desired::Name;
use crate::TypeUrl;
use crate::stream::{Request, Response, Variant};

/// What a client said and heard of each type.
#[derive(Debug)]
pub(super) struct Mux {
    pub(super) variant: Variant,
    pub(super) connected: bool,
    id: String,
    agent: &'static str,
    types: BTreeMap<TypeUrl, OfType>,
    /// The node is in the first request only.
    introduced: bool,
}

#[derive(Debug, Default)]
struct OfType {
    /// Names that it is subscribed to; none for a wildcard.
    names: BTreeSet<Name>,
    /// The version of everything that it took.
    held: BTreeMap<Name, String>,
    /// State of the world: the last version that it took.
    version: String,
    /// Asked for on this stream.
    asked: bool,
    /// Answered once, on any stream.
    answered: bool,
    nonce: String,
    /// What it took on this stream.
    took: BTreeSet<Name>,
    /// Answers that are due: nonce, and what was wrong.
    due: Vec<(String, Option<String>)>,
}

// === impl Mux ===

impl Mux {
    pub(super) fn new(variant: Variant, id: String, agent: &'static str) -> Self {
        Self {
            variant,
            connected: false,
            id,
            agent,
            types: BTreeMap::new(),
            introduced: false,
        }
    }

    pub(super) fn new_stream(&mut self) {
        self.connected = true;
        self.introduced = false;
        self.lost();
    }

    pub(super) fn disconnect(&mut self) {
        self.connected = false;
        self.lost();
    }

    /// Nonces, and what wasn't said, die with a stream.
    fn lost(&mut self) {
        for state in self.types.values_mut() {
            state.asked = false;
            state.nonce.clear();
            state.took.clear();
            state.due.clear();
        }
    }

    fn of(&mut self, type_url: &TypeUrl) -> &mut OfType {
        self.types.entry(type_url.clone()).or_default()
    }

    pub(super) fn names(&self, type_url: &TypeUrl) -> BTreeSet<Name> {
        self.types
            .get(type_url)
            .map(|state| state.names.clone())
            .unwrap_or_default()
    }

    pub(super) fn name(&mut self, type_url: &TypeUrl, names: BTreeSet<Name>) {
        self.of(type_url).names = names;
    }

    pub(super) fn asked(&self, type_url: &TypeUrl) -> bool {
        self.types.get(type_url).is_some_and(|state| state.asked)
    }

    pub(super) fn answered(&self, type_url: &TypeUrl) -> bool {
        self.types.get(type_url).is_some_and(|state| state.answered)
    }

    /// What it took on this stream.
    pub(super) fn took(&self, type_url: &TypeUrl) -> BTreeSet<Name> {
        let state = self.types.get(type_url);
        state.map(|state| state.took.clone()).unwrap_or_default()
    }

    pub(super) fn forget(&mut self, type_url: &TypeUrl, name: &str) {
        self.of(type_url).held.remove(name);
    }

    fn node(&mut self) -> Option<Node> {
        let first = !std::mem::replace(&mut self.introduced, true);
        first.then(|| Node {
            id: self.id.clone(),
            user_agent_name: self.agent.to_owned(),
            ..Node::default()
        })
    }

    /// The first request of a type on a stream.
    pub(super) fn ask(&mut self, type_url: &TypeUrl) -> Request {
        self.request(
            type_url,
            String::new(),
            None,
            BTreeSet::new(),
            BTreeSet::new(),
        )
    }

    fn request(
        &mut self,
        type_url: &TypeUrl,
        nonce: String,
        error: Option<String>,
        subscribe: BTreeSet<Name>,
        unsubscribe: BTreeSet<Name>,
    ) -> Request {
        let (node, variant) = (self.node(), self.variant);
        let state = self.of(type_url);
        let first = !std::mem::replace(&mut state.asked, true);
        let list = |names: &BTreeSet<Name>| names.iter().map(ToString::to_string).collect();
        let error_detail = error.map(|message| Status {
            code: 13,
            message,
            ..Status::default()
        });
        let held = state
            .held
            .iter()
            .map(|(name, version)| (name.to_string(), version.clone()));
        match variant {
            Variant::Delta => DeltaDiscoveryRequest {
                node,
                type_url: type_url.as_str().to_owned(),
                resource_names_subscribe: list(if first { &state.names } else { &subscribe }),
                resource_names_unsubscribe: list(&unsubscribe),
                initial_resource_versions: held.filter(|_| first).collect(),
                response_nonce: nonce,
                error_detail,
                ..DeltaDiscoveryRequest::default()
            }
            .into(),
            Variant::Sotw => DiscoveryRequest {
                node,
                type_url: type_url.as_str().to_owned(),
                resource_names: list(&state.names),
                version_info: state.version.clone(),
                response_nonce: nonce,
                error_detail,
                ..DiscoveryRequest::default()
            }
            .into(),
        }
    }

    /// Subscribes to exactly these. Over the state of the world Envoy asks once more even for the
    /// same, if it needs to hear them again.
    pub(super) fn rename(
        &mut self,
        type_url: &TypeUrl,
        names: BTreeSet<Name>,
        again: bool,
    ) -> Option<Request> {
        let delta = self.variant == Variant::Delta;
        let state = self.of(type_url);
        let subscribe: BTreeSet<Name> = names.difference(&state.names).cloned().collect();
        let unsubscribe: BTreeSet<Name> = state.names.difference(&names).cloned().collect();
        let changed = !subscribe.is_empty() || !unsubscribe.is_empty();
        state.names = names;
        for name in &unsubscribe {
            state.held.remove(name);
        }
        if !(changed || again && !delta) {
            return None;
        }
        let nonce = match self.variant {
            // Spontaneous: no nonce (rule D5).
            Variant::Delta => String::new(),
            Variant::Sotw => self.of(type_url).nonce.clone(),
        };
        Some(self.request(type_url, nonce, None, subscribe, unsubscribe))
    }

    /// Takes note of a response, of which `applied` was taken.
    pub(super) fn received(
        &mut self,
        response: &Response,
        applied: &[Name],
        error: Option<String>,
    ) {
        let state = self.of(&response.type_url);
        state.nonce = response.nonce.to_string();
        state.due.push((response.nonce.to_string(), error.clone()));
        state.answered = true;
        if error.is_none() {
            state.version = response.version.to_string();
            state.took.extend(applied.iter().cloned());
        }
        for item in response.items.iter() {
            let name = item.resource.name();
            if error.is_none() && applied.contains(name) {
                let version = item.resource.version().to_string();
                state.held.insert(name.clone(), version);
            } else {
                // It doesn't tell of what came in a response that it refused.
                state.held.remove(name);
            }
        }
        for name in &response.removed {
            state.held.remove(name);
        }
    }

    /// Answers what came. A burst of state-of-the-world responses gets one answer: the last nonce
    /// and the first error.
    pub(super) fn answer(&mut self, type_url: &TypeUrl) -> Vec<Request> {
        let mut due = std::mem::take(&mut self.of(type_url).due);
        if self.variant == Variant::Sotw && due.len() > 1 {
            let error = due.iter().find_map(|(_, error)| error.clone());
            due = due
                .pop()
                .map(|(nonce, _)| (nonce, error))
                .into_iter()
                .collect();
        }
        let none = BTreeSet::new;
        due.into_iter()
            .map(|(nonce, error)| self.request(type_url, nonce, error, none(), none()))
            .collect()
    }
}
