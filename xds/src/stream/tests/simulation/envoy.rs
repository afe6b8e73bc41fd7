//! A small, faithful Envoy: what it asks, what it applies, and what it holds back (envoy facts §1,
//! §2, §3, §7, §12).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::desired::{Findings, LAYER, Name};
use super::mux::Mux;
use super::random::Random;
use crate::stream::tests::*;
use crate::stream::{Request, Response, Variant};

/// How long it waits for a cluster's endpoints.
const FETCH_TIMEOUT: Duration = Duration::from_secs(15);

/// What an Envoy runs, and what it said.
#[derive(Debug)]
pub(super) struct Envoy {
    pub(super) mux: Mux,
    random: Random,
    pub(super) clusters: BTreeMap<Name, Cluster>,
    pub(super) endpoints: BTreeMap<Name, Arc<Resource>>,
    pub(super) listeners: BTreeMap<Name, Arc<Resource>>,
    pub(super) routes: BTreeMap<Name, Arc<Resource>>,
    pub(super) layer: Option<Layer>,
    /// Clusters that it has and that were in responses that it refused: it doesn't tell anybody.
    pub(super) unaccounted: BTreeSet<Name>,
    /// It took a new cluster together with a bad one, and falls silent (facts §12.3).
    pub(super) wedged: bool,
    /// It came so far that it asked for listeners.
    started: bool,
}

/// One cluster.
#[derive(Debug, Default)]
pub(super) struct Cluster {
    /// What takes traffic.
    pub(super) active: Option<Arc<Resource>>,
    /// What waits for its endpoints, and until when.
    pub(super) warming: Option<(Arc<Resource>, Instant)>,
}

/// The runtime layer.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) resource: Arc<Resource>,
    pub(super) expires_at: Option<Instant>,
}

// === impl Cluster ===

impl Cluster {
    /// What it was given last.
    pub(super) fn newest(&self) -> Option<&Arc<Resource>> {
        self.warming
            .as_ref()
            .map(|(new, _)| new)
            .or(self.active.as_ref())
    }

    fn warmed(&mut self) {
        if let Some((new, _)) = self.warming.take() {
            self.active = Some(new);
        }
    }
}

// === impl Envoy ===

impl Envoy {
    pub(super) fn new(variant: Variant, number: usize, random: Random) -> Self {
        Self {
            mux: Mux::new(variant, format!("envoy-{number}"), "envoy"),
            random,
            clusters: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            listeners: BTreeMap::new(),
            routes: BTreeMap::new(),
            layer: None,
            unaccounted: BTreeSet::new(),
            wedged: false,
            started: false,
        }
    }

    fn is_warming(&self) -> bool {
        self.clusters
            .values()
            .any(|cluster| cluster.warming.is_some())
    }

    /// Asks on a new stream for all that it needs. Clusters are paused while one warms, and for
    /// good when it is wedged.
    pub(super) fn connect(&mut self) -> Vec<Request> {
        self.mux.new_stream();
        let mut types = vec![RTDS];
        if !self.wedged && !self.is_warming() {
            types.push(CDS);
        }
        if !self.mux.names(&EDS).is_empty() {
            types.insert(self.random.index(types.len() + 1), EDS);
        }
        if self.started {
            types.push(LDS);
        }
        if !self.mux.names(&RDS).is_empty() {
            types.push(RDS);
        }
        self.mux.name(&RTDS, [Name::from(LAYER)].into());
        types
            .into_iter()
            .map(|type_url| self.mux.ask(&type_url))
            .collect()
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let warming = self
            .clusters
            .values()
            .filter_map(|cluster| cluster.warming.as_ref());
        let layer = self.layer.as_ref().and_then(|layer| layer.expires_at);
        warming.map(|(_, until)| *until).chain(layer).min()
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) -> Vec<Request> {
        for cluster in self.clusters.values_mut() {
            if cluster
                .warming
                .as_ref()
                .is_some_and(|(_, until)| *until <= now)
            {
                cluster.warmed();
            }
        }
        let expires_at = self.layer.as_ref().and_then(|layer| layer.expires_at);
        if expires_at.is_some_and(|at| at <= now) {
            self.layer = None;
            self.mux.forget(&RTDS, LAYER);
        }
        let mut requests = Vec::new();
        self.resume(&mut requests);
        requests
    }

    pub(super) fn receive(
        &mut self,
        response: &Response,
        findings: &Findings,
        now: Instant,
    ) -> Vec<Request> {
        let mut requests = Vec::new();
        let applied = if response.type_url == CDS {
            self.take_clusters(response, findings, now, &mut requests)
        } else if response.type_url == EDS {
            self.take_endpoints(response, findings)
        } else if response.type_url == LDS {
            self.take_listeners(response, &mut requests)
        } else if response.type_url == RDS {
            self.take_routes(response)
        } else {
            self.take_layer(response, now)
        };
        let error = findings.bad.first().map(|name| format!("{name} is bad"));
        self.mux.received(response, &applied, error);
        if response.type_url != CDS {
            requests.extend(self.mux.answer(&response.type_url));
        }
        self.resume(&mut requests);
        requests
    }

    /// Says what it held back about clusters, once none of them warms any more.
    fn resume(&mut self, requests: &mut Vec<Request>) {
        if self.wedged || self.is_warming() || !self.mux.connected {
            return;
        }
        requests.extend(self.mux.answer(&CDS));
        if !self.mux.asked(&CDS) {
            requests.push(self.mux.ask(&CDS));
        }
        if !self.started && self.mux.answered(&CDS) {
            self.started = true;
            requests.push(self.mux.ask(&LDS));
        }
    }

    fn take_clusters(
        &mut self,
        response: &Response,
        findings: &Findings,
        now: Instant,
        requests: &mut Vec<Request>,
    ) -> Vec<Name> {
        if !findings.bad.is_empty() {
            // What it had of them it keeps, and tells nobody.
            let names = response.items.iter().map(|item| item.resource.name());
            let had = names
                .filter(|name| self.clusters.contains_key(*name))
                .cloned();
            self.unaccounted.extend(had);
        }
        if findings.whole {
            return Vec::new();
        }
        let mut applied = Vec::new();
        let mut warms = false;
        for item in response.items.iter() {
            let resource = &item.resource;
            if findings.bad.contains(resource.name()) {
                continue;
            }
            applied.push(resource.name().clone());
            let cluster = self.clusters.entry(resource.name().clone()).or_default();
            if cluster
                .newest()
                .is_none_or(|old| old.version() != resource.version())
            {
                cluster.warming = Some((resource.clone(), now + FETCH_TIMEOUT));
                warms = true;
            }
            if findings.bad.is_empty() {
                self.unaccounted.remove(resource.name());
            } else {
                self.unaccounted.insert(resource.name().clone());
            }
        }
        let gone: Vec<Name> = match self.mux.variant {
            Variant::Delta => response.removed.clone(),
            Variant::Sotw => {
                let items: BTreeSet<&Name> = response
                    .items
                    .iter()
                    .map(|item| item.resource.name())
                    .collect();
                let names = self.clusters.keys().filter(|name| !items.contains(name));
                names.cloned().collect()
            }
        };
        for name in gone {
            self.clusters.remove(&name);
            self.unaccounted.remove(&name);
        }
        self.wedged = !findings.bad.is_empty() && (self.wedged || warms);
        let newest = self.clusters.values().filter_map(Cluster::newest);
        let names: BTreeSet<Name> = newest
            .filter_map(|cluster| cluster.references().assignment.clone())
            .collect();
        self.endpoints.retain(|name, _| names.contains(name));
        requests.extend(self.mux.rename(&EDS, names, warms));
        applied
    }

    /// The watches run in an order of their own, and the first that fails ends it.
    fn take_endpoints(&mut self, response: &Response, findings: &Findings) -> Vec<Name> {
        let mut applied = Vec::new();
        let mut items: Vec<_> = response.items.iter().collect();
        if !findings.bad.is_empty() {
            let middle = self.random.index(items.len());
            items.rotate_left(middle);
        }
        for item in items {
            let name = item.resource.name();
            if findings.bad.contains(name) {
                break;
            }
            if !self.mux.names(&EDS).contains(name) {
                continue;
            }
            applied.push(name.clone());
            self.endpoints.insert(name.clone(), item.resource.clone());
            self.warmed(name);
        }
        // "Missing": it goes on without, or with what it had.
        response.removed.iter().for_each(|name| self.warmed(name));
        applied
    }

    fn warmed(&mut self, name: &Name) {
        if let Some(cluster) = self.clusters.get_mut(name) {
            cluster.warmed();
        }
    }

    fn take_listeners(&mut self, response: &Response, requests: &mut Vec<Request>) -> Vec<Name> {
        if self.mux.variant == Variant::Sotw {
            self.listeners.clear();
        }
        for item in response.items.iter() {
            self.listeners
                .insert(item.resource.name().clone(), item.resource.clone());
        }
        response.removed.iter().for_each(|name| {
            self.listeners.remove(name);
        });
        let listeners = self.listeners.values();
        let names: BTreeSet<Name> = listeners
            .flat_map(|listener| listener.references().routes.iter().cloned())
            .collect();
        self.routes.retain(|name, _| names.contains(name));
        requests.extend(self.mux.rename(&RDS, names, false));
        response
            .items
            .iter()
            .map(|item| item.resource.name().clone())
            .collect()
    }

    fn take_routes(&mut self, response: &Response) -> Vec<Name> {
        let mut applied = Vec::new();
        for item in response.items.iter() {
            let name = item.resource.name();
            if self.mux.names(&RDS).contains(name) {
                applied.push(name.clone());
                self.routes.insert(name.clone(), item.resource.clone());
            }
        }
        applied
    }

    fn take_layer(&mut self, response: &Response, now: Instant) -> Vec<Name> {
        for item in response.items.iter() {
            let expires_at = item.resource.ttl().map(|ttl| now + ttl);
            if item.renewal {
                if let Some(layer) = &mut self.layer {
                    layer.expires_at = expires_at;
                }
            } else {
                let resource = item.resource.clone();
                self.layer = Some(Layer {
                    resource,
                    expires_at,
                });
            }
        }
        if !response.removed.is_empty() {
            self.layer = None;
        }
        response
            .items
            .iter()
            .map(|item| item.resource.name().clone())
            .collect()
    }

    /// Where its traffic would get 503: routes to clusters that aren't there, or have no endpoints.
    pub(super) fn broken(&self) -> Vec<(Name, Name)> {
        let mut broken = Vec::new();
        for route in self.routes.values() {
            for cluster in &route.references().clusters {
                let there = self
                    .clusters
                    .get(cluster)
                    .is_some_and(|it| it.active.is_some());
                if !there || !self.endpoints.contains_key(cluster) {
                    broken.push((route.name().clone(), cluster.clone()));
                }
            }
        }
        broken
    }
}
