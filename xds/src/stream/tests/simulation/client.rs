//! Any client, as the world drives it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::desired::{Desired, Name};
use super::envoy::{Cluster, Envoy};
use super::grpc::Grpc;
use super::liar::{HABITS, Liar};
use super::mux::Mux;
use super::network::Up;
use super::random::Random;
use super::server::LinkId;
use crate::Version;
use crate::stream::tests::*;
use crate::stream::{Request, Response, Variant};

/// One client.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) number: usize,
    pub(super) kind: Kind,
    pub(super) link: Option<LinkId>,
    /// When it tries to connect, while it has no link.
    pub(super) reconnect: Option<Instant>,
    pub(super) random: Random,
    /// See [`super::invariants::traffic`].
    pub(super) forced: u64,
    pub(super) excused: bool,
    /// What was sent without proof may still be under way.
    pub(super) forced_until: Instant,
}

/// What it is.
#[derive(Debug)]
pub(super) enum Kind {
    Envoy(Box<Envoy>),
    Grpc(Grpc),
    Liar(Liar),
}

// === impl Client ===

impl Client {
    pub(super) fn new(seed: u64, number: usize, now: Instant) -> Self {
        let mut random = Random::of(seed, 100 + number as u64);
        let mut own = random.clone();
        let variant = *random.pick(&[Variant::Delta, Variant::Sotw]);
        let kind = match random.below(8) {
            0 => Kind::Grpc(Grpc::new(number, own.once_in(2))),
            // The first one is honest, so that there is something to see.
            1 if number > 0 => {
                let habit = *random.pick(&HABITS);
                Kind::Liar(Liar::new(variant, habit, number, own))
            }
            _ => Kind::Envoy(Box::new(Envoy::new(variant, number, own))),
        };
        Self {
            number,
            kind,
            link: None,
            reconnect: Some(now + random.millis(0, 3_000)),
            random,
            forced: 0,
            excused: false,
            forced_until: now,
        }
    }

    pub(super) fn mux(&self) -> &Mux {
        match &self.kind {
            Kind::Envoy(envoy) => &envoy.mux,
            Kind::Grpc(grpc) => &grpc.mux,
            Kind::Liar(liar) => &liar.mux,
        }
    }

    pub(super) fn variant(&self) -> Variant {
        self.mux().variant
    }

    pub(super) fn connect(&mut self, now: Instant) -> Vec<Up> {
        self.reconnect = None;
        self.forced = 0;
        match &mut self.kind {
            Kind::Envoy(envoy) => ups(envoy.connect()),
            Kind::Grpc(grpc) => ups(grpc.connect()),
            Kind::Liar(liar) => liar.connect(now),
        }
    }

    /// Its stream ended; it tries again after a backoff.
    pub(super) fn disconnect(&mut self, now: Instant) {
        let mux = match &mut self.kind {
            Kind::Envoy(envoy) => &mut envoy.mux,
            Kind::Grpc(grpc) => &mut grpc.mux,
            Kind::Liar(liar) => &mut liar.mux,
        };
        mux.disconnect();
        self.link = None;
        self.reconnect = Some(now + self.backoff());
    }

    pub(super) fn backoff(&mut self) -> Duration {
        self.random.millis(5, 1_500)
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let own = match &self.kind {
            Kind::Envoy(envoy) => envoy.next_timeout(),
            Kind::Grpc(_) => None,
            Kind::Liar(liar) => liar.next_timeout(),
        };
        own.into_iter().chain(self.reconnect).min()
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) -> Vec<Up> {
        match &mut self.kind {
            Kind::Envoy(envoy) => ups(envoy.handle_timeout(now)),
            Kind::Grpc(_) => Vec::new(),
            Kind::Liar(liar) => liar.handle_timeout(now),
        }
    }

    pub(super) fn receive(
        &mut self,
        response: &Response,
        world: &Desired,
        now: Instant,
    ) -> Vec<Up> {
        let findings = world.findings(self.number, response);
        match &mut self.kind {
            Kind::Envoy(envoy) => ups(envoy.receive(response, &findings, now)),
            Kind::Grpc(grpc) => ups(grpc.receive(response, &findings)),
            Kind::Liar(liar) => liar.receive(response),
        }
    }

    /// Whether it still wants to hear of this.
    pub(super) fn asks_for(&self, type_url: &TypeUrl, name: &str) -> bool {
        let envoy = matches!(self.kind, Kind::Envoy(_));
        let wildcard = envoy && (*type_url == CDS || *type_url == LDS);
        wildcard || self.mux().names(type_url).contains(name)
    }

    /// The version of what it runs.
    pub(super) fn version(&self, type_url: &TypeUrl, name: &str) -> Option<Version> {
        let resource = match &self.kind {
            Kind::Envoy(envoy) if *type_url == CDS => envoy.clusters.get(name)?.newest()?,
            Kind::Envoy(envoy) if *type_url == EDS => envoy.endpoints.get(name)?,
            Kind::Envoy(envoy) if *type_url == LDS => envoy.listeners.get(name)?,
            Kind::Envoy(envoy) if *type_url == RDS => envoy.routes.get(name)?,
            Kind::Envoy(envoy) => &envoy.layer.as_ref()?.resource,
            Kind::Grpc(grpc) => grpc.held.get(type_url)?.get(name)?,
            Kind::Liar(_) => return None,
        };
        Some(resource.version())
    }

    /// What it runs of a type, as far as it can have told.
    pub(super) fn names(&self, type_url: &TypeUrl) -> BTreeSet<Name> {
        let Kind::Envoy(envoy) = &self.kind else {
            return BTreeSet::new();
        };
        let told = |name: &&Name| !envoy.unaccounted.contains(*name);
        if *type_url == CDS {
            let there = |(name, cluster): (&Name, &Cluster)| cluster.newest().map(|_| name.clone());
            let names: BTreeSet<Name> = envoy.clusters.iter().filter_map(there).collect();
            names.iter().filter(told).cloned().collect()
        } else if *type_url == LDS {
            envoy.listeners.keys().cloned().collect()
        } else if *type_url == RDS {
            envoy.routes.keys().cloned().collect()
        } else {
            BTreeSet::new()
        }
    }
}

fn ups(requests: Vec<Request>) -> Vec<Up> {
    let up = |request| Up::Request(Box::new(request));
    requests.into_iter().map(up).collect()
}
