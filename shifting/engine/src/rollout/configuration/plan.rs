//! The plan of a configuration rollout.

use std::collections::BTreeSet;

use super::{Change, subject};
use crate::mesh::{
    EvidenceSource, LatencyObjective, Mesh, RolloutPolicy, Rung, RungGate, Service, Settings, Slo,
};
use crate::rollout::plan::gate_of;
use crate::rollout::{Lease, Pace, Plan, PlannedRung};
use crate::units::Ppm;

/// The plan that brings `after` to a fleet that has `before`.
pub(super) fn plan(mesh: &Mesh, fleet: &str, before: Settings, after: Settings) -> Plan {
    let declared = mesh.fleets.get(fleet);
    let ladder = declared
        .and_then(|fleet| fleet.ladder.clone())
        .unwrap_or_else(Service::default_ladder);
    let gates = declared.map_or(&[][..], |fleet| &fleet.gates);
    let policy: RolloutPolicy = declared
        .and_then(|fleet| fleet.rollout.clone())
        .unwrap_or_default();
    let mut touched = after.touched(&before);
    touched.retain(|service| before.services.contains_key(service));
    if touched.is_empty() {
        // Nobody has requests yet to what comes within reach; it must do no harm to the others.
        touched = before.services.keys().cloned().collect();
    }
    let changes = before.changes(&after);
    let name = subject(fleet);
    let mut warnings = Vec::new();
    if policy.soak_ms == 0 {
        warnings.push("soak is 0: nobody watches it once every sidecar has it".to_owned());
    }
    Plan {
        from: before.revision(fleet),
        to: after.revision(fleet),
        rungs: ladder
            .iter()
            .map(|declared| rung(declared, gates))
            .collect(),
        slo: weakest_objective(mesh, &touched),
        policy,
        pace: Pace::Ordinary,
        from_hosts: 0,
        evidence: EvidenceSource::Sidecars,
        lease: Lease::declared(&name, Some(mesh)),
        service: name,
        warnings,
        configuration: Some(Box::new(Change {
            fleet: fleet.to_owned(),
            before,
            after,
            touched,
            changes,
        })),
    }
}

/// How many sidecars a fleet has is not known to a plan: n of them stand for n parts per million,
/// which is less than any part of them.
fn rung(declared: &Rung, gates: &[RungGate]) -> PlannedRung {
    let (name, share, hosts) = match *declared {
        Rung::Share(share) => (share.to_string(), share, None),
        Rung::Hosts(count) => {
            let plural = if count == 1 { "" } else { "s" };
            let share = Ppm::new(count).unwrap_or(Ppm::WHOLE);
            (format!("{count} sidecar{plural}"), share, Some(count))
        }
    };
    PlannedRung {
        name: name.into(),
        share,
        hosts,
        gate: gate_of(declared, gates),
    }
}

/// Requests to several services are judged together, and together they can be promised no more
/// than the weakest of them is.
fn weakest_objective(mesh: &Mesh, services: &BTreeSet<String>) -> Slo {
    let declared = || {
        let of = |service: &String| mesh.services.get(service).map(|service| &service.slo);
        services.iter().filter_map(of)
    };
    let success = declared().map(|slo| slo.success).min();
    let latencies = || declared().filter_map(|slo| slo.latency.as_ref());
    let all_promise = latencies().count() == declared().count();
    let slowest = latencies().max_by_key(|latency| latency.threshold_ms);
    let share = latencies().map(|latency| latency.share).min();
    Slo {
        // Without any service there are no requests to judge.
        success: success.unwrap_or_else(|| Ppm::of(1, 2)),
        latency: slowest
            .zip(share)
            .filter(|_| all_promise)
            .map(|(slowest, share)| LatencyObjective {
                threshold_ms: slowest.threshold_ms,
                share,
            }),
    }
}
