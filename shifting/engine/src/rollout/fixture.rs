//! A mesh, a world and a clock for tests.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::mesh::*;
use crate::time::Time;
use crate::units::Ppm;

/// 30 hosts of v1, 4 of v2, one fleet; short waits.
pub(crate) fn mesh() -> Mesh {
    let hosts = |third: u8, count: u8| Version {
        hosts: (1..=count)
            .map(|i| Host {
                address: std::net::SocketAddr::from(([10, 0, third, i], 80)),
                zone: String::new(),
                sidecar: None,
            })
            .collect(),
    };
    let service = Service {
        fleets: BTreeSet::from(["web".to_owned()]),
        calls: BTreeSet::new(),
        tier: Tier::default(),
        initial: "v1".to_owned(),
        versions: BTreeMap::from([
            ("v1".to_owned(), hosts(1, 30)),
            ("v2".to_owned(), hosts(2, 4)),
        ]),
        protocol: Protocol::Http2,
        slo: Slo {
            success: Ppm::new(999_000).unwrap(),
            latency: Some(LatencyObjective {
                threshold_ms: 250,
                share: Ppm::new(990_000).unwrap(),
            }),
        },
        ladder: vec![
            Rung::Hosts(1),
            Rung::Share(Ppm::new(50_000).unwrap()),
            Rung::Share(Ppm::WHOLE),
        ],
        gates: Vec::new(),
        freeze: Vec::new(),
        rollout: RolloutPolicy {
            bake_ms: 10_000,
            soak_ms: 10_000,
            advance_burn_rate: 100, // proven within the bake
            ..RolloutPolicy::default()
        },
        traffic: TrafficPolicy {
            timeout_ms: 15_000,
            connect_timeout_ms: 1000,
            circuit_breakers: CircuitBreakers {
                max_connections: 1024,
                max_pending_requests: 1024,
                max_requests: 4096,
            },
            retry_budget: Ppm::new(200_000).unwrap(),
            outlier_consecutive_failures: 5,
            outlier_max_ejected: Ppm::new(100_000).unwrap(),
            connection_buffer_bytes: 1 << 20,
        },
        evidence: EvidenceSource::Sidecars,
    };
    Mesh {
        fleets: BTreeMap::from([(
            "web".to_owned(),
            Fleet {
                listener: ListenerAddress {
                    address: std::net::IpAddr::from([127, 0, 0, 1]),
                    port: 0,
                },
                service: None,
                unproven_services_max: None,
                unproven_traffic_max: None,
                ladder: None,
                gates: Vec::new(),
                freeze: Vec::new(),
                rollout: None,
            },
        )]),
        services: BTreeMap::from([("checkout".to_owned(), service)]),
    }
}

/// The sidecars of the fleet `web`, with their zones.
pub(crate) const SIDECARS: [(&str, &str); 5] = [
    ("s1", "a"),
    ("s2", "a"),
    ("s3", "b"),
    ("s4", "b"),
    ("s5", "b"),
];

/// A healthy tick of a configuration rollout, as the program would observe it: 100 requests/s
/// through each sidecar.
pub(crate) fn healthy_fleet(run: &Rollout) -> Observation {
    let exposed = run.exposed_sidecars();
    let order = order(&run.plan().to, SIDECARS);
    let (canary, next): (Vec<&str>, Vec<&str>) =
        order.into_iter().partition(|id| exposed.includes(id));
    let (count, others) = (canary.len() as u64, next.len() as u64);
    let fresh = |sidecars| if sidecars > 0 { Ppm::WHOLE } else { Ppm::ZERO };
    let health = |sidecars| ArmHealth {
        sidecars,
        ..ArmHealth::default()
    };
    Observation {
        service: run.plan().service.clone(),
        epoch: run.epoch(),
        delivery: Delivery {
            expected: 5,
            acknowledged: 5,
            ..Delivery::default()
        },
        evidence: Evidence {
            canary: arm(100 * count, 0),
            stable: arm(100 * others, 0),
            canary_fresh: fresh(count),
            stable_fresh: fresh(others),
            ..Evidence::default()
        },
        fleet: Some(Box::new(FleetObservation {
            next: next.into_iter().map(str::to_owned).collect(),
            health: FleetHealth {
                canary: health(count),
                stable: health(others),
            },
            crossed: BTreeMap::new(),
        })),
        witness: None,
        parts: BTreeMap::new(),
        callers: BTreeMap::new(),
    }
}

/// The fold, its clock, and what followed; every step is checked against the invariants.
#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) state: State,
    pub(crate) now: Time,
    pub(crate) effects: Vec<Effect>,
    pub(crate) journal: Vec<(Event, Time)>,
}

impl World {
    /// The mesh is accepted.
    pub(crate) fn new(mesh: Mesh) -> Self {
        let mut world = Self {
            state: State::default(),
            now: Time(1_000_000),
            effects: Vec::new(),
            journal: Vec::new(),
        };
        world.apply(Event::MeshAccepted { mesh }).unwrap();
        world
    }

    /// The rollout to v2 is started.
    pub(crate) fn started() -> Self {
        let mut world = Self::new(mesh());
        world.start("v2").unwrap();
        world
    }

    pub(crate) fn apply(&mut self, event: Event) -> Result<(), Refusal> {
        let (next, effects) = self.state.apply(&event, self.now)?;
        invariants::check(&self.state, &event, &next).unwrap();
        self.state = next;
        self.effects.extend(effects);
        self.journal.push((event, self.now));
        Ok(())
    }

    pub(crate) fn start(&mut self, to: &str) -> Result<(), Refusal> {
        self.start_turn(to, Turn::Next)
    }

    pub(crate) fn start_turn(&mut self, to: &str, turn: Turn) -> Result<(), Refusal> {
        self.apply(Event::Start {
            service: "checkout".into(),
            to: to.into(),
            actor: "ann".into(),
            turn,
            terms: Terms::default(),
        })
    }

    pub(crate) fn pause(&mut self) -> Result<(), Refusal> {
        self.apply(Event::Pause {
            service: "checkout".into(),
            actor: "ann".into(),
        })
    }

    pub(crate) fn resume(&mut self) -> Result<(), Refusal> {
        self.apply(Event::Resume {
            service: "checkout".into(),
            actor: "ann".into(),
        })
    }

    pub(crate) fn abort(&mut self) -> Result<(), Refusal> {
        self.apply(Event::Abort {
            service: "checkout".into(),
            actor: "ann".into(),
            reason: "not today".into(),
            quarantine: false,
        })
    }

    pub(crate) fn back(&mut self, to: Option<&str>) -> Result<(), Refusal> {
        self.apply(Event::Back {
            service: "checkout".into(),
            to: to.map(str::to_owned),
            actor: "ann".into(),
        })
    }

    pub(crate) fn admit(&mut self) -> Result<(), Refusal> {
        self.apply(Event::Admit {
            service: "checkout".into(),
        })
    }

    /// What the program does with turns that have come; there is one.
    pub(crate) fn serve_queue(&mut self) {
        let due = self.state.due(self.now);
        assert_eq!(due.len(), 1, "{due:?}");
        for event in due {
            self.apply(event).unwrap();
        }
    }

    pub(crate) fn lift(&mut self, version: &str, reason: &str) -> Result<(), Refusal> {
        self.apply(Event::LiftQuarantine {
            service: "checkout".into(),
            version: version.into(),
            actor: "ben".into(),
            reason: reason.into(),
        })
    }

    /// The mesh of [`mesh`], changed by `with`.
    pub(crate) fn declare(&mut self, with: impl FnOnce(&mut Service)) -> Result<(), Refusal> {
        let mut mesh = self.state.mesh().unwrap().clone();
        with(mesh.services.get_mut("checkout").unwrap());
        self.apply(Event::MeshAccepted { mesh })
    }

    /// On the 1 host rung half of the canary's requests fail until it is taken back; then it is
    /// over.
    pub(crate) fn fail(&mut self) {
        self.reach("1 host");
        self.fail_here();
        self.reach_phase(Phase::Reverted);
    }

    /// Half of the canary's requests fail until it is taken back, within a minute.
    pub(crate) fn fail_here(&mut self) {
        for _ in 0..60 {
            if self.phase() != Phase::Judging {
                break;
            }
            self.tick(|o| o.evidence.canary.bad = o.evidence.canary.requests / 2);
        }
        assert_eq!(self.phase(), Phase::Reverting);
    }

    pub(crate) fn run(&self) -> &Rollout {
        self.state.latest("checkout").unwrap()
    }

    pub(crate) fn phase(&self) -> Phase {
        self.run().phase()
    }

    pub(crate) fn status(&self) -> RolloutStatus {
        self.state.status("checkout", self.now).unwrap()
    }

    pub(crate) fn waiting(&self) -> Waiting {
        match self.status().decision {
            Decision::Wait(waiting) => waiting,
            other => panic!("not waiting: {other:?}"),
        }
    }

    pub(crate) fn reason(&self) -> String {
        self.status().revert_reason.unwrap_or_default()
    }

    pub(crate) fn pages(&self) -> Vec<String> {
        self.effects
            .iter()
            .filter_map(|effect| match effect {
                Effect::Notice(notice) if notice.level == NoticeLevel::Page => {
                    Some(notice.text.clone())
                }
                _ => None,
            })
            .collect()
    }

    /// A healthy tick at 500 requests/s, three sidecars.
    pub(crate) fn healthy(&self) -> Observation {
        self.healthy_of("checkout")
    }

    /// A rollout of the service is under way.
    pub(crate) fn runs(&self, service: &str) -> bool {
        self.state.active().any(|run| run.plan().service == service)
    }

    /// [`Self::healthy`], of any service.
    pub(crate) fn healthy_of(&self, service: &str) -> Observation {
        let run = self.state.latest(service).unwrap();
        let share = run.share();
        let canary = 500 * u64::from(share.get()) / 1_000_000;
        Observation {
            service: service.to_owned(),
            epoch: run.epoch(),
            delivery: Delivery {
                expected: 3,
                acknowledged: 3,
                ..Delivery::default()
            },
            evidence: Evidence {
                canary: arm(canary, 0),
                stable: arm(500 - canary, 0),
                canary_fresh: Ppm::WHOLE,
                stable_fresh: Ppm::WHOLE,
                ..Evidence::default()
            },
            fleet: None,
            witness: None,
            parts: BTreeMap::new(),
            callers: BTreeMap::new(),
        }
    }

    /// One second passes, then the healthy tick, changed by `with`.
    pub(crate) fn tick(&mut self, with: impl FnOnce(&mut Observation)) {
        self.now = self.now.plus_ms(1000);
        let mut observation = self.healthy();
        with(&mut observation);
        self.apply(Event::Observed(observation)).unwrap();
    }

    /// Healthy ticks until `done`; panics after an hour.
    pub(crate) fn until(&mut self, done: impl Fn(&World) -> bool) {
        for _ in 0..3600 {
            if done(self) {
                return;
            }
            self.tick(|_| {});
        }
        panic!("never: {:?}", self.status());
    }

    /// Healthy ticks until the rung of this name is judged and seen in the traffic.
    pub(crate) fn reach(&mut self, rung: &str) {
        self.until(|world| {
            let status = world.status();
            status.phase == Phase::Judging && status.rung == rung
        });
        self.tick(|_| {});
        self.tick(|_| {});
    }

    pub(crate) fn reach_phase(&mut self, phase: Phase) {
        self.until(|world| world.phase() == phase);
    }
}

/// `n` requests that ended, `bad` of them badly, all in time.
pub(crate) fn arm(n: u64, bad: u64) -> ArmCounts {
    let mut buckets = [0; 10];
    buckets[2] = n;
    ArmCounts {
        requests: n,
        bad,
        timed: n,
        issued: n,
        buckets,
        ..ArmCounts::default()
    }
}
