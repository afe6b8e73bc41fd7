//! A proxyless gRPC client: explicit names, state of the world, several requests before the first
//! response (xDS protocol rules C11, C14, G1-G5).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::desired::{API, Findings, Name};
use super::mux::Mux;
use crate::stream::tests::*;
use crate::stream::{Request, Response, Variant};

/// What a gRPC client knows.
#[derive(Debug)]
pub(super) struct Grpc {
    pub(super) mux: Mux,
    pub(super) held: BTreeMap<TypeUrl, BTreeMap<Name, Arc<Resource>>>,
    /// It names everything that a resource leads to in one request, as some implementations do.
    at_once: bool,
}

// === impl Grpc ===

impl Grpc {
    pub(super) fn new(number: usize, at_once: bool) -> Self {
        let mut mux = Mux::new(Variant::Sotw, format!("grpc-{number}"), "gRPC C-core");
        mux.name(&LDS, [Name::from(API)].into());
        Self {
            mux,
            held: BTreeMap::new(),
            at_once,
        }
    }

    pub(super) fn connect(&mut self) -> Vec<Request> {
        self.mux.new_stream();
        let types = [LDS, RDS, CDS, EDS];
        let named = |mux: &Mux, type_url: &TypeUrl| !mux.names(type_url).is_empty();
        let types: Vec<_> = types
            .into_iter()
            .filter(|it| named(&self.mux, it))
            .collect();
        types
            .into_iter()
            .map(|type_url| self.mux.ask(&type_url))
            .collect()
    }

    pub(super) fn receive(&mut self, response: &Response, findings: &Findings) -> Vec<Request> {
        let type_url = &response.type_url;
        let names = self.mux.names(type_url);
        let held = self.held.entry(type_url.clone()).or_default();
        let mut applied = Vec::new();
        if *type_url == CDS || *type_url == LDS {
            let there = |name: &Name| response.items.iter().any(|it| it.resource.name() == name);
            held.retain(|name, _| there(name));
        }
        for item in response.items.iter() {
            let name = item.resource.name();
            if names.contains(name) && !findings.bad.contains(name) {
                held.insert(name.clone(), item.resource.clone());
                applied.push(name.clone());
            }
        }
        let error = findings.bad.first().map(|name| format!("{name} is bad"));
        self.mux.received(response, &applied, error);
        let mut requests = self.mux.answer(type_url);
        self.follow(&mut requests);
        requests
    }

    /// Asks for what the things that it has lead to: one more name with every request, or all.
    fn follow(&mut self, requests: &mut Vec<Request>) {
        let none = BTreeMap::new();
        let of = |type_url: &TypeUrl| self.held.get(type_url).unwrap_or(&none).values();
        let routes: BTreeSet<Name> = of(&LDS)
            .flat_map(|it| it.references().routes.iter().cloned())
            .collect();
        let led = |it: &&Arc<Resource>| routes.contains(it.name());
        let clusters: BTreeSet<Name> = of(&RDS)
            .filter(led)
            .flat_map(|it| it.references().clusters.iter().cloned())
            .collect();
        let led = |it: &&Arc<Resource>| clusters.contains(it.name());
        let endpoints: BTreeSet<Name> = of(&CDS)
            .filter(led)
            .filter_map(|it| it.references().assignment.clone())
            .collect();
        for (type_url, names) in [(RDS, routes), (CDS, clusters), (EDS, endpoints)] {
            if let Some(held) = self.held.get_mut(&type_url) {
                held.retain(|name, _| names.contains(name));
            }
            let mut so_far = self.mux.names(&type_url);
            for name in names.iter().filter(|_| !self.at_once) {
                if so_far.insert(name.clone()) {
                    requests.extend(self.mux.rename(&type_url, so_far.clone(), false));
                }
            }
            requests.extend(self.mux.rename(&type_url, names, false));
        }
    }
}
