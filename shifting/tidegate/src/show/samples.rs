//! Answers that the tests render.

use std::collections::BTreeMap;

use tidegate_engine::mesh::{EvidenceSource, Gate, LatencyObjective, RolloutPolicy, Slo};
use tidegate_engine::rollout::{
    ArmCounts, BudgetStatus, Decision, EvidenceStatus, HistoryEntry, KnownGood, Pace, Phase, Plan,
    PlannedRung, ProofStatus, ReportFaults, RolloutStatus, Waiting, WayBack,
};
use tidegate_engine::time::Time;
use tidegate_engine::units::Ppm;

use crate::api::model::SidecarStatus;

/// A rollout that is being judged at `1 host`, with some failures.
pub(crate) fn judging() -> RolloutStatus {
    let share = |parts| Ppm::new(parts).unwrap();
    let rung = |name: &str, parts, hosts| PlannedRung {
        name: name.into(),
        share: share(parts),
        hosts,
        gate: Gate::default(),
    };
    let counts = |requests, bad, slow, in_flight| ArmCounts {
        requests,
        bad,
        timed: requests,
        slow,
        in_flight,
        ..ArmCounts::default()
    };
    RolloutStatus {
        number: 3,
        plan: Plan {
            service: "checkout".into(),
            from: "v1".into(),
            to: "v2".into(),
            rungs: vec![
                rung("1 host", 32_258, Some(1)),
                rung("5%", 50_000, None),
                rung("100%", 1_000_000, None),
            ],
            slo: Slo {
                success: share(995_000),
                latency: Some(LatencyObjective {
                    threshold_ms: 250,
                    share: share(990_000),
                }),
            },
            policy: RolloutPolicy::default(),
            pace: Pace::Ordinary,
            from_hosts: 30,
            evidence: EvidenceSource::Sidecars,
            lease: tidegate_engine::rollout::Lease::default(),
            configuration: None,
            warnings: Vec::new(),
        },
        actor: "ann".into(),
        phase: Phase::Judging,
        rung: "1 host".into(),
        started: Time(88_000),
        since: Time(96_000),
        now: Time(100_000),
        share_wanted: share(32_258),
        sidecars_acknowledged: 3,
        sidecars_expected: 3,
        behind: Vec::new(),
        rejected: Vec::new(),
        share_measured: Some(share(31_415)),
        canary: counts(163, 80, 2, 2),
        stable: counts(4_870, 0, 12, 9),
        evidence: vec![
            EvidenceStatus {
                test: "errors".into(),
                e_value: 12.42,
                hold_at: 20.0,
                revert_at: 1000.0,
            },
            EvidenceStatus {
                test: "latency".into(),
                e_value: 0.5,
                hold_at: 20.0,
                revert_at: 1000.0,
            },
        ],
        proof: vec![
            ProofStatus {
                metric: "errors".into(),
                e_value: 0.04,
                advance_at: 20.0,
            },
            ProofStatus {
                metric: "latency".into(),
                e_value: 31.25,
                advance_at: 20.0,
            },
        ],
        budget: Some(BudgetStatus {
            spent: 80,
            allowed: 64_800,
            exceeded: false,
        }),
        reports: ReportFaults::default(),
        host_ratio_ppm: None,
        decision: Decision::Wait(Waiting {
            kind: "bake".into(),
            reason: "this rung is watched for at least 12 s".into(),
            owner: "engine".into(),
            until: Some(Time(108_000)),
            clock_stopped: false,
            overdue: false,
            command: "tidegate rollout abort checkout".into(),
        }),
        revert_reason: None,
        revert_cause: None,
        exposed: None,
        witness: None,
        found_overlaps: std::collections::BTreeSet::new(),
        approvals: Vec::new(),
        queue: Vec::new(),
        way_back: Some(WayBack {
            version: Some("v1".into()),
            ready: true,
            text: "tidegate rollout abort checkout".into(),
        }),
        known_good: vec![KnownGood {
            version: "v1".into(),
            content: "0123456789abcdef".into(),
            rollout: 2,
            since: Time(40_000),
        }],
        history: vec![
            HistoryEntry {
                at: Time(88_000),
                text: "started by ann: v1 → v2".into(),
            },
            HistoryEntry {
                at: Time(96_000),
                text: "1 host was acknowledged by 3 of 3".into(),
            },
        ],
    }
}

/// A sidecar that holds what it should.
pub(crate) fn sidecar(id: &str) -> SidecarStatus {
    SidecarStatus {
        id: id.into(),
        fleet: "web".into(),
        zone: "a".into(),
        kind: "envoy".into(),
        version: "1.40.0".into(),
        connected: true,
        streams: 1,
        since_ms: 125_000,
        view_wanted: Some("0123456789abcdef".into()),
        view_acknowledged: Some("0123456789abcdef".into()),
        view_applied: Some("0123456789abcdef".into()),
        suspect: None,
        behind_ms: None,
        rejected: Vec::new(),
        last_report_ms: Some(340),
        connections: 1,
        restarts: 0,
        memory_bytes: Some(5_242_880),
        sent: BTreeMap::from([("cds".into(), 2), ("rtds".into(), 3)]),
    }
}
