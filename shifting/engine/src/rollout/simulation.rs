//! Whole rollouts against random traffic: how often a healthy canary is reverted (evidence §4.7,
//! T6 to T8), and how soon a broken one is.

use super::fixture::*;
use super::*;
use crate::mesh::Rung;
use crate::units::Ppm;

/// SplitMix64: small, seeded, good enough for counts.
struct Random(u64);

impl Random {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Of `n` requests, each with probability `p`. Skips from one hit to the next.
    fn binomial(&mut self, n: u64, p: f64) -> u64 {
        if p <= 0.0 {
            return 0;
        }
        if p >= 1.0 {
            return n;
        }
        if p > 0.5 {
            return n - self.binomial(n, 1.0 - p);
        }
        let (mut hits, mut at) = (0, 0.0);
        loop {
            at += (self.uniform().ln() / (-p).ln_1p()).floor() + 1.0;
            if at > n as f64 {
                return hits;
            }
            hits += 1;
        }
    }
}

/// What is wrong, by arm: the rates of failed and of slow requests.
#[derive(Clone, Copy)]
struct Rates {
    canary: f64,
    stable: f64,
    slow: f64,
}

const HEALTHY: Rates = Rates {
    canary: 0.001,
    stable: 0.001,
    slow: 0.005,
};

struct Simulation {
    state: State,
    now: crate::time::Time,
    random: Random,
    rps: u64,
}

impl Simulation {
    fn new(seed: u64, rps: u64, ladder: Vec<Rung>, bake_ms: u64) -> Self {
        let mut mesh = mesh();
        let service = mesh.services.get_mut("checkout").unwrap();
        service.ladder = ladder;
        service.rollout.bake_ms = bake_ms;
        let mut simulation = Self {
            state: State::default(),
            now: crate::time::Time(0),
            random: Random(seed),
            rps,
        };
        simulation.apply(&Event::MeshAccepted { mesh });
        simulation.apply(&Event::Start {
            service: "checkout".into(),
            to: "v2".into(),
            actor: "ann".into(),
        });
        simulation
    }

    fn apply(&mut self, event: &Event) {
        let (next, _) = self.state.apply(event, self.now).unwrap();
        if cfg!(debug_assertions) {
            invariants::check(&self.state, event, &next).unwrap();
        }
        self.state = next;
    }

    fn run(&self) -> &Rollout {
        self.state.latest("checkout").unwrap()
    }

    fn arm(&mut self, n: u64, bad: f64, slow: f64) -> ArmCounts {
        let bad = self.random.binomial(n, bad);
        ArmCounts {
            slow: self.random.binomial(n, slow),
            ..arm(n, bad)
        }
    }

    fn tick(&mut self, rates: Rates) {
        self.now = self.now.plus_ms(1000);
        let (epoch, share) = (self.run().epoch(), self.run().share());
        let canary = self.random.binomial(self.rps, share.fraction());
        let evidence = Evidence {
            canary: self.arm(canary, rates.canary, rates.slow),
            stable: self.arm(self.rps - canary, rates.stable, rates.slow),
            canary_fresh: Ppm::WHOLE,
            stable_fresh: Ppm::WHOLE,
            ..Evidence::default()
        };
        self.apply(&Event::Observed(Observation {
            service: "checkout".into(),
            epoch,
            delivery: Delivery {
                expected: 3,
                acknowledged: 3,
                ..Delivery::default()
            },
            evidence,
        }));
    }

    /// Ends promoted, or says why not.
    fn promoted(&mut self) -> Result<(), String> {
        for _ in 0..2_000 {
            self.tick(HEALTHY);
            match self.run().phase() {
                Phase::Committed => return Ok(()),
                Phase::Reverting => {
                    return Err(self
                        .run()
                        .status(self.now)
                        .revert_reason
                        .unwrap_or_default());
                }
                _ => {}
            }
        }
        Err(format!("stuck: {:?}", self.run().status(self.now).decision))
    }

    /// Ticks from the first failing one to the revert; after `health` ticks on the rung.
    fn ticks_to_revert(&mut self, health: usize, rates: Rates) -> Option<usize> {
        while self.run().phase() != Phase::Judging {
            self.tick(HEALTHY);
        }
        for _ in 0..health {
            self.tick(HEALTHY);
        }
        (1..=600).find(|_| {
            self.tick(rates);
            self.run().phase() == Phase::Reverting
        })
    }

    fn ticks_to_revert_within(&mut self, rates: Rates, ticks: usize) -> bool {
        while self.run().phase() != Phase::Judging {
            self.tick(HEALTHY);
        }
        (0..ticks).any(|_| {
            self.tick(rates);
            self.run().phase() == Phase::Reverting
        })
    }
}

fn share(parts: u32) -> Rung {
    Rung::Share(Ppm::new(parts).unwrap())
}

fn ladder() -> Vec<Rung> {
    vec![Rung::Hosts(1), share(50_000), share(1_000_000)]
}

/// 10 canary requests/s at 200 requests/s, on one rung.
fn median_ticks(health: usize, canary: f64) -> usize {
    let mut ticks: Vec<usize> = (0..101)
        .map(|seed| {
            let rungs = vec![share(50_000), share(1_000_000)];
            let mut simulation = Simulation::new(seed, 200, rungs, 3_600_000);
            simulation
                .ticks_to_revert(health, Rates { canary, ..HEALTHY })
                .expect("it is found")
        })
        .collect();
    ticks.sort_unstable();
    ticks[50]
}

#[test]
fn twenty_healthy_rollouts_in_a_row_are_all_promoted() {
    for seed in 0..20 {
        let mut simulation = Simulation::new(seed, 500, ladder(), 60_000);
        assert_eq!(simulation.promoted(), Ok(()), "seed {seed}");
    }
}

#[test]
fn at_most_one_in_a_thousand_healthy_rollouts_is_reverted() {
    let rollouts = 2_000;
    let reverted: Vec<String> = (0..rollouts)
        .filter_map(|seed| {
            Simulation::new(1_000_000 + seed, 500, ladder(), 10_000)
                .promoted()
                .err()
        })
        .collect();
    println!("{} of {rollouts} reverted", reverted.len());
    assert!(reverted.len() <= 2, "{reverted:?}");
}

#[test]
fn half_of_the_canary_failing_is_reverted_within_six_ticks() {
    let ticks = median_ticks(0, 0.5);
    println!("median {ticks} ticks");
    assert!(ticks <= 6, "{ticks}");
}

#[test]
fn a_twentieth_of_the_canary_failing_is_reverted_within_twenty_ticks() {
    let ticks = median_ticks(0, 0.05);
    println!("median {ticks} ticks");
    assert!(ticks <= 20, "{ticks}");
}

#[test]
fn trouble_after_ten_minutes_of_health_is_reverted_within_ten_ticks() {
    let mut ticks: Vec<usize> = (0..11)
        .map(|seed| {
            let rungs = vec![share(50_000), share(1_000_000)];
            Simulation::new(seed, 200, rungs, 3_600_000)
                .ticks_to_revert(
                    600,
                    Rates {
                        canary: 0.5,
                        ..HEALTHY
                    },
                )
                .expect("it is found")
        })
        .collect();
    ticks.sort_unstable();
    println!("{ticks:?}");
    assert!(ticks[5] <= 10, "{ticks:?}");
}

#[test]
fn both_arms_failing_alike_revert_nothing_and_hold() {
    let incident = Rates {
        canary: 0.03,
        stable: 0.03,
        slow: 0.005,
    };
    let mut held = 0;
    for seed in 0..100 {
        let mut simulation = Simulation::new(seed, 500, ladder(), 60_000);
        let reverted = simulation.ticks_to_revert_within(incident, 300);
        assert!(!reverted, "seed {seed}");
        let decision = simulation.run().status(simulation.now).decision;
        if matches!(decision, Decision::Wait(waiting) if waiting.kind == "environment") {
            held += 1;
        }
        assert_eq!(
            simulation.run().status(simulation.now).rung,
            "1 host",
            "seed {seed}"
        );
    }
    println!("{held} of 100 held");
    assert!(held >= 95, "{held}");
}

#[test]
fn at_the_very_edge_of_the_null_at_most_one_in_a_thousand_is_certain() {
    // The canary's odds are 1.5 times stable's, for ever: the worst that is still tolerated.
    let mut random = Random(7);
    let (mut certain, runs) = (0, 1_000);
    for _ in 0..runs {
        let mut test = crate::evidence::Battery::new(&mesh().services["checkout"].slo, 300);
        let mut now = crate::time::Time(0);
        let fired = (0..200).any(|_| {
            now = now.plus_ms(1000);
            let evidence = Evidence {
                canary: arm(25, random.binomial(25, 0.0149)),
                stable: arm(475, random.binomial(475, 0.01)),
                ..Evidence::default()
            };
            test.observe(&evidence, 1.5, now);
            crate::evidence::reaches(test.regression().ln_e, crate::evidence::REVERT_AT)
        });
        certain += usize::from(fired);
    }
    println!("{certain} of {runs} certain");
    assert!(certain <= runs / 1000, "{certain} of {runs}");
}

#[test]
fn a_canary_that_fails_one_request_in_fifty_is_never_promoted() {
    let mut promoted = 0;
    for seed in 0..50 {
        let mut simulation = Simulation::new(seed, 500, ladder(), 120_000);
        let bad = Rates {
            canary: 0.02,
            ..HEALTHY
        };
        for _ in 0..1_000 {
            simulation.tick(bad);
            if simulation.run().phase() == Phase::Reverting {
                break;
            }
        }
        promoted += usize::from(simulation.run().phase() != Phase::Reverting);
    }
    assert_eq!(promoted, 0);
}
