//! The engine itself, driven as the program drives it: one observation per second.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_engine::evidence::{Arms, Intake, SidecarReport, UpstreamCounts};
use tidegate_engine::mesh::{LATENCY_EDGES_MS, Mesh, Rung};
use tidegate_engine::rollout::{
    ArmCounts, Decision, Delivery, Effect, Event, Evidence, Notice, NoticeLevel, Observation,
    Phase, Rollout, State,
};
use tidegate_engine::time::Time;
use tidegate_engine::units::Ppm;

use crate::declared::{self, SERVICE};
use crate::rule::{Rule, Verdict};
use crate::scenario::{Kind, Scenario};
use crate::traffic::{Arm, Reporter, SIDECARS, Second};

/// Longer than any scenario: the rung is never left.
const FOR_EVER_MS: u64 = 7_200_000;

/// Where the rung may be left, its bake: it would end in the outage if the clock went on.
const BAKE_MS: u64 = 120_000;

/// A rollout in the hands of the engine.
#[derive(Debug)]
pub(crate) struct Tidegate {
    state: State,
    now: Time,
    intake: Option<Intake>,
    expected: BTreeSet<String>,
    paged: bool,
    effects: Vec<Effect>,
    thought: String,
}

// === impl Tidegate ===

impl Tidegate {
    /// A rollout that has just reached the scenario's rung; the canary has had no request yet.
    pub(crate) fn at_the_rung(scenario: &Scenario) -> Self {
        let mut mesh = declared::mesh();
        declared::change(&mut mesh, |service| {
            let rung = if scenario.host_spread.is_some() {
                Rung::Hosts(1)
            } else {
                Rung::Share(scenario.share)
            };
            service.ladder = vec![rung, Rung::Share(Ppm::WHOLE)];
            service.rollout.bake_ms = if scenario.kind == Kind::Outage {
                BAKE_MS
            } else {
                FOR_EVER_MS
            };
        });
        let mut rule = Self::new(mesh, scenario.single_reports);
        rule.apply(&declared::start(SERVICE));
        let before = Second {
            told: true,
            stable: Arm {
                requests: scenario.rps,
                ..Arm::default()
            },
            reporters: scenario.single_reports.then(|| {
                let reporter = Reporter {
                    stable: Arm {
                        requests: scenario.rps / SIDECARS as u64,
                        ..Arm::default()
                    },
                    ..Reporter::default()
                };
                [reporter; SIDECARS]
            }),
            ..Second::default()
        };
        for _ in 0..60 {
            if rule.rollout().phase() == Phase::Judging {
                break;
            }
            rule.observe(&before);
        }
        assert_eq!(
            rule.rollout().phase(),
            Phase::Judging,
            "the rung is reached"
        );
        rule.effects.clear();
        rule
    }

    fn new(mesh: Mesh, single_reports: bool) -> Self {
        let mut rule = Self {
            state: State::default(),
            now: Time(0),
            intake: single_reports.then(Intake::default),
            expected: (0..SIDECARS).map(sidecar).collect(),
            paged: false,
            effects: Vec::new(),
            thought: String::new(),
        };
        rule.apply(&Event::MeshAccepted { mesh });
        rule
    }

    fn rollout(&self) -> &Rollout {
        self.state.latest(SERVICE).expect("it was started")
    }

    fn apply(&mut self, event: &Event) {
        self.effects = self
            .state
            .step(event, self.now)
            .unwrap_or_else(|refusal| panic!("{event:?} was refused: {refusal}"));
    }

    fn observe(&mut self, second: &Second) {
        self.now = self.now.plus_ms(1_000);
        let count = u32::try_from(SIDECARS).unwrap();
        let evidence = self.evidence(second);
        self.apply(&Event::Observed(Observation {
            service: SERVICE.to_owned(),
            epoch: self.rollout().epoch(),
            fleet: None,
            witness: None,
            parts: std::collections::BTreeMap::new(),
            callers: std::collections::BTreeMap::new(),
            delivery: Delivery {
                expected: count,
                acknowledged: count,
                ..Delivery::default()
            },
            evidence,
        }));
    }

    fn evidence(&mut self, second: &Second) -> Evidence {
        let Some(intake) = &mut self.intake else {
            let fresh = if second.told { Ppm::WHOLE } else { Ppm::ZERO };
            let arm = |arm| {
                if second.told {
                    counts(arm)
                } else {
                    ArmCounts::default()
                }
            };
            return Evidence {
                canary: arm(second.canary),
                stable: arm(second.stable),
                canary_fresh: fresh,
                stable_fresh: fresh,
                ..Evidence::default()
            };
        };
        for (place, reporter) in second.reporters.iter().flatten().enumerate() {
            let name = sidecar(place);
            if reporter.restarted {
                intake.reconnected(&name);
            }
            if second.told && !reporter.lost {
                intake.record(&report(name, reporter, self.now));
            }
        }
        let arms = Arms {
            canary: declared::CANARY_CLUSTER,
            stable: declared::STABLE_CLUSTER,
            threshold_ms: Some(declared::THRESHOLD_MS),
        };
        intake.observe(arms, &self.expected, self.now)
    }

    fn note_pages(&mut self) {
        let page = |effect: &Effect| {
            matches!(
                effect,
                Effect::Notice(Notice {
                    level: NoticeLevel::Page,
                    ..
                })
            )
        };
        if self.effects.iter().any(page) {
            let status = self.rollout().status(self.now);
            self.paged |=
                matches!(status.decision, Decision::Wait(waiting) if waiting.clock_stopped);
        }
    }
}

impl Rule for Tidegate {
    fn second(&mut self, second: &Second) -> Verdict {
        let share = self.rollout().share();
        self.observe(second);
        self.note_pages();
        let rollout = self.rollout();
        match rollout.phase() {
            Phase::Reverting | Phase::Reverted => Verdict::Revert,
            _ if rollout.share() > share => Verdict::Advance,
            _ => Verdict::Stay,
        }
    }

    fn held_and_paged(&self) -> bool {
        self.paged
    }

    fn thought(&mut self) -> Option<String> {
        let status = self.rollout().status(self.now);
        let decision = match &status.decision {
            Decision::Wait(waiting) if waiting.kind == "bake" => "watches".to_owned(),
            Decision::Wait(waiting) => format!("holds ({}): {}", waiting.kind, waiting.reason),
            Decision::Revert { reason } => format!("reverts: {reason}"),
            Decision::Advance => "advances".to_owned(),
            Decision::Done => "is done".to_owned(),
        };
        let kind = decision.split(':').next().unwrap_or_default().to_owned();
        let notices: Vec<String> = self
            .effects
            .iter()
            .filter_map(|effect| match effect {
                Effect::Notice(notice) => Some(format!("[{:?}] {}", notice.level, notice.text)),
                Effect::Expose { .. } => None,
            })
            .collect();
        let tests: Vec<String> = status
            .evidence
            .iter()
            .filter(|test| test.e_value >= 2.0)
            .map(|test| format!("{} {:.1}", test.test, test.e_value))
            .collect();
        if kind == self.thought && notices.is_empty() && tests.is_empty() {
            return None;
        }
        self.thought = kind;
        let mut text = decision;
        for (name, list) in [("e-values", tests), ("told", notices)] {
            if !list.is_empty() {
                text.push_str(&format!("; {name}: {}", list.join(", ")));
            }
        }
        Some(text)
    }
}

fn sidecar(place: usize) -> String {
    format!("web-{place}")
}

/// An arm's second as sidecars' reports would add up to.
pub(crate) fn counts(arm: Arm) -> ArmCounts {
    ArmCounts {
        requests: arm.requests,
        bad: arm.bad,
        timed: arm.requests,
        slow: arm.slow,
        issued: arm.requests,
        slow_at: LATENCY_EDGES_MS.map(|edge_ms| match edge_ms {
            ..25 => arm.requests,
            25..1_000 => arm.slow,
            _ => 0,
        }),
        buckets: buckets(arm),
        ..ArmCounts::default()
    }
}

/// Requests take up to 25 ms, slow ones up to 1 s.
fn buckets(arm: Arm) -> [u64; 10] {
    let mut buckets = [0; 10];
    buckets[2] = arm.requests - arm.slow;
    buckets[7] = arm.slow;
    buckets
}

pub(crate) fn upstream(arm: Arm) -> UpstreamCounts {
    UpstreamCounts {
        requests: arm.requests,
        completed: arm.requests,
        responses: [arm.requests - arm.bad, 0, 0, arm.bad],
        active: Some(0),
        latency: Some(buckets(arm)),
        ..UpstreamCounts::default()
    }
}

fn report(name: String, reporter: &Reporter, at: Time) -> SidecarReport {
    let mut upstreams = BTreeMap::from([(
        declared::STABLE_CLUSTER.to_owned(),
        upstream(reporter.stable),
    )]);
    if reporter.canary.requests > 0 {
        upstreams.insert(
            declared::CANARY_CLUSTER.to_owned(),
            upstream(reporter.canary),
        );
    }
    SidecarReport {
        sidecar: name,
        at,
        upstreams,
        ..SidecarReport::default()
    }
}
