//! What is declared while things happen.

use crate::mesh::Mesh;
use crate::rollout::fixture::mesh;
use crate::units::Ppm;

/// The mesh of the tests, and beside it `cart`, which `checkout` calls, and a fleet beside `checkout`.
pub(super) fn plain() -> Mesh {
    let mut mesh = mesh();
    let mut checkout = mesh.services["checkout"].clone();
    mesh.services.insert("cart".to_owned(), checkout.clone());
    checkout.calls.insert("cart".to_owned());
    mesh.services.insert("checkout".to_owned(), checkout);
    let mut beside = mesh.fleets["web"].clone();
    beside.service = Some("checkout".to_owned());
    mesh.fleets.insert("beside-checkout".to_owned(), beside);
    mesh
}

/// The mesh of the tests, with gates and half of every day frozen.
pub(super) fn strict() -> Mesh {
    use crate::mesh::{Day, Freeze, FreezeSpan, Gate, RungGate, Version};
    let mut mesh = plain();
    let service = mesh.services.get_mut("checkout").unwrap();
    for (index, rung) in service.ladder.clone().into_iter().enumerate() {
        let gate = Gate {
            pause_ms: 3_000 * index as u64,
            approval: index != 1,
        };
        service.gates.push(RungGate { rung, gate });
    }
    service.freeze.push(Freeze {
        zone: "America/New_York".into(),
        span: FreezeSpan::Weekly {
            days: Day::ALL.iter().map(|(day, _)| *day).collect(),
            from: "18:00".parse().unwrap(),
            to: "06:00".parse().unwrap(),
        },
        reason: String::new(),
    });
    let mut hosts = service.versions["v2"].hosts.clone();
    hosts.iter_mut().for_each(|host| host.address.set_port(81));
    service.versions.insert("v3".into(), Version { hosts });
    mesh
}

/// What may be declared in the midst of it.
pub(super) fn odd_mesh(kind: u8) -> Mesh {
    let mut mesh = plain();
    let service = mesh.services.get_mut("checkout").unwrap();
    match kind {
        0 => {}
        1 => drop(service.versions.remove("v2")),
        2 => service.initial = "v2".into(),
        5 => return strict(),
        3 => service.versions.get_mut("v1").unwrap().hosts.truncate(20),
        4 => service.traffic.timeout_ms += 1,
        6 => service.calls.clear(),
        7 => {
            service.calls.clear();
            let fleet = mesh.fleets.values_mut();
            fleet.for_each(|fleet| fleet.unproven_services_max = Some(1));
        }
        8 => {
            service.calls.clear();
            let fleet = mesh.fleets.values_mut();
            fleet.for_each(|fleet| fleet.unproven_traffic_max = Some(Ppm::of(4, 100)));
        }
        _ => return Mesh::default(),
    }
    mesh
}
