//! The mesh of all simulations: one service of 20 hosts, to be moved to a version with as many.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use tidegate_engine::mesh::{
    EvidenceSource, Fleet, Host, LatencyObjective, ListenerAddress, Mesh, Protocol, RolloutPolicy,
    Service, Slo, Tier, TrafficPolicy, Version,
};
use tidegate_engine::rollout::{Event, Terms, Turn};
use tidegate_engine::units::Ppm;

pub(crate) const SERVICE: &str = "checkout";
const FROM: &str = "v1";
const TO: &str = "v2";
pub(crate) const STABLE_CLUSTER: &str = "checkout/v1";
pub(crate) const CANARY_CLUSTER: &str = "checkout/v2";

/// Slower than this is slow; 99% must not be.
pub(crate) const THRESHOLD_MS: u32 = 250;

/// 99.9% must succeed; the default ladder and waits.
pub(crate) fn mesh() -> Mesh {
    Mesh {
        fleets: BTreeMap::from([("web".to_owned(), fleet())]),
        services: BTreeMap::from([(SERVICE.to_owned(), service())]),
    }
}

/// As many services as asked for, all like that one.
pub(crate) fn many(count: usize) -> Mesh {
    Mesh {
        fleets: BTreeMap::from([("web".to_owned(), fleet())]),
        services: (0..count)
            .map(|number| (format!("{SERVICE}-{number}"), service()))
            .collect(),
    }
}

/// An operator's word to begin.
pub(crate) fn start(service: &str) -> Event {
    Event::Start {
        service: service.to_owned(),
        to: TO.to_owned(),
        actor: "ann".to_owned(),
        turn: Turn::Next,
        terms: Terms::default(),
    }
}

/// An operator's word to end it.
pub(crate) fn abort(service: &str) -> Event {
    Event::Abort {
        service: service.to_owned(),
        actor: "ann".to_owned(),
        reason: "not today".to_owned(),
        quarantine: false,
    }
}

/// Declares the services differently.
pub(crate) fn change(mesh: &mut Mesh, how: impl Fn(&mut Service)) {
    for service in mesh.services.values_mut() {
        how(service);
    }
}

fn fleet() -> Fleet {
    Fleet {
        listener: ListenerAddress {
            address: IpAddr::from([127, 0, 0, 1]),
            port: 0,
        },
        service: None,
        unproven_services_max: None,
        unproven_traffic_max: None,
        ladder: None,
        gates: Vec::new(),
        freeze: Vec::new(),
        rollout: None,
    }
}

fn service() -> Service {
    let hosts = |third: u8| Version {
        hosts: (1..=20)
            .map(|last| Host {
                address: SocketAddr::from(([10, 0, third, last], 80)),
                zone: String::new(),
                sidecar: None,
            })
            .collect(),
    };
    Service {
        fleets: BTreeSet::from(["web".to_owned()]),
        calls: BTreeSet::new(),
        tier: Tier::default(),
        initial: FROM.to_owned(),
        versions: BTreeMap::from([(FROM.to_owned(), hosts(1)), (TO.to_owned(), hosts(2))]),
        protocol: Protocol::Http2,
        slo: Slo {
            success: Ppm::of(999, 1_000),
            latency: Some(LatencyObjective {
                threshold_ms: THRESHOLD_MS,
                share: Ppm::of(99, 100),
            }),
        },
        ladder: Service::default_ladder(),
        rollout: RolloutPolicy::default(),
        traffic: TrafficPolicy::default(),
        evidence: EvidenceSource::default(),
        gates: Vec::new(),
        freeze: Vec::new(),
    }
}
