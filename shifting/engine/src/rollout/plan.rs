//! Which exposures the rungs of a ladder allow, and what an operator should know before.

use crate::mesh::{Gate, Rung, RungGate, Service};
use crate::rollout::{Lease, Pace, Plan, PlannedRung};
use crate::units::Ppm;

/// The plan to move `service` from version `from` to version `to`; both exist.
pub(crate) fn plan(name: &str, service: &Service, from: &str, to: &str) -> Plan {
    let hosts = |version: &str| service.versions.get(version).map_or(0, |v| v.hosts.len());
    let (from_hosts, to_hosts) = (hosts(from), hosts(to));
    let mut warnings = Vec::new();
    let mut rungs = rungs(&service.ladder, from_hosts, to_hosts, &mut warnings);
    for (planned, rung) in rungs.iter_mut().zip(&service.ladder) {
        planned.gate = gate_of(rung, &service.gates);
    }
    if to_hosts < from_hosts {
        let tenths = (from_hosts * 10).div_ceil(to_hosts.max(1));
        warnings.push(format!(
            "`{to}` has {to_hosts} host{} where `{from}` has {from_hosts}: at 100% each takes \
             {}.{} times the requests that one takes now",
            plural(to_hosts),
            tenths / 10,
            tenths % 10,
        ));
    }
    if service.slo.latency.is_none() {
        warnings.push(
            "the service declares no latency objective: a canary that is only slow is not noticed"
                .to_owned(),
        );
    }
    if service.rollout.soak_ms == 0 {
        warnings.push(format!(
            "soak is 0: nobody watches `{to}` after 100%, and `{from}` is not kept warm"
        ));
    }
    Plan {
        service: name.to_owned(),
        from: from.to_owned(),
        to: to.to_owned(),
        rungs,
        slo: service.slo.clone(),
        policy: service.rollout.clone(),
        pace: Pace::Ordinary,
        from_hosts: u32::try_from(from_hosts).unwrap_or(u32::MAX),
        evidence: service.evidence.clone(),
        lease: Lease::default(),
        configuration: None,
        warnings,
    }
}

/// From the top down, because no rung takes more than the next.
fn rungs(
    ladder: &[Rung],
    from_hosts: usize,
    to_hosts: usize,
    warnings: &mut Vec<String>,
) -> Vec<PlannedRung> {
    let mut rungs = Vec::with_capacity(ladder.len() + 1);
    let mut limit = Ppm::WHOLE;
    if ladder.last() != Some(&Rung::Share(Ppm::WHOLE)) {
        // A checked mesh ends at 100%; nothing is ever committed that was not watched there.
        rungs.push(share_rung(Ppm::WHOLE));
    }
    for rung in ladder.iter().rev() {
        let planned = match *rung {
            Rung::Share(share) => share_rung(share.min(limit)),
            Rung::Hosts(wanted) => host_rung(wanted, from_hosts, to_hosts, limit, warnings),
        };
        limit = planned.share;
        rungs.push(planned);
    }
    rungs.reverse();
    warnings.reverse();
    rungs
}

/// What stands at the end of a declared rung.
pub(crate) fn gate_of(rung: &Rung, gates: &[RungGate]) -> Gate {
    let gate = gates.iter().find(|gate| gate.rung == *rung);
    gate.map(|gate| gate.gate).unwrap_or_default()
}

fn share_rung(share: Ppm) -> PlannedRung {
    PlannedRung {
        name: share.to_string().into(),
        share,
        hosts: None,
        gate: Gate::default(),
    }
}

fn host_rung(
    wanted: u32,
    from_hosts: usize,
    to_hosts: usize,
    limit: Ppm,
    warnings: &mut Vec<String>,
) -> PlannedRung {
    let available = u32::try_from(to_hosts).unwrap_or(u32::MAX).max(1);
    let hosts = wanted.clamp(1, available);
    let name = format!("{hosts} host{}", plural(hosts as usize));
    if hosts < wanted {
        warnings.push(format!(
            "the rung of {wanted} hosts takes all {hosts} that the new version has"
        ));
    }
    let stable = u64::try_from(from_hosts).unwrap_or(u64::MAX);
    let fair = Ppm::of(u64::from(hosts), stable.saturating_add(u64::from(hosts)));
    if fair > limit {
        warnings.push(format!(
            "the fair share of {name} would be {fair}; it takes {limit}, no more than the next rung"
        ));
    }
    PlannedRung {
        name: name.into(),
        share: fair.min(limit),
        hosts: Some(hosts),
        gate: Gate::default(),
    }
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::fixture::mesh;

    fn planned(ladder: Vec<Rung>, v1: usize, v2: usize) -> Plan {
        let mut service = mesh().services["checkout"].clone();
        service.ladder = ladder;
        let host = service.versions["v1"].hosts[0].clone();
        service.versions.get_mut("v1").unwrap().hosts = vec![host.clone(); v1];
        service.versions.get_mut("v2").unwrap().hosts = vec![host; v2];
        plan("checkout", &service, "v1", "v2")
    }

    fn share(parts: u32) -> Rung {
        Rung::Share(Ppm::new(parts).unwrap())
    }

    #[test]
    fn one_host_takes_its_fair_share_and_the_others_wait() {
        let plan = planned(vec![Rung::Hosts(1), share(50_000), share(1_000_000)], 30, 4);
        let rungs: Vec<_> = plan
            .rungs
            .iter()
            .map(|r| (&*r.name, r.share.get(), r.hosts))
            .collect();
        assert_eq!(
            rungs,
            [
                ("1 host", 32_258, Some(1)),
                ("5%", 50_000, None),
                ("100%", 1_000_000, None)
            ]
        );
        assert!(
            plan.warnings[0].contains("7.5 times"),
            "{:?}",
            plan.warnings
        );
    }

    #[test]
    fn a_host_rung_never_takes_more_than_the_next_rung() {
        let plan = planned(
            vec![
                Rung::Hosts(1),
                Rung::Hosts(2),
                share(50_000),
                share(1_000_000),
            ],
            3,
            3,
        );
        let shares: Vec<u32> = plan.rungs.iter().map(|r| r.share.get()).collect();
        assert_eq!(shares, [50_000, 50_000, 50_000, 1_000_000]);
        assert!(
            plan.warnings
                .iter()
                .any(|w| w.contains("fair share of 1 host would be 25%"))
        );
    }

    #[test]
    fn a_rung_of_more_hosts_than_there_are_takes_all() {
        let plan = planned(vec![Rung::Hosts(9), share(1_000_000)], 10, 2);
        assert_eq!(plan.rungs[0].hosts, Some(2));
        assert!(plan.warnings.iter().any(|w| w.contains("9 hosts")));
    }

    #[test]
    fn every_ladder_ends_at_everything() {
        assert_eq!(planned(vec![], 1, 1).rungs.len(), 1);
        assert_eq!(
            planned(vec![share(50_000)], 1, 1)
                .rungs
                .last()
                .unwrap()
                .share,
            Ppm::WHOLE
        );
    }
}
