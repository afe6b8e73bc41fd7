//! What every test promises, by simulation: at the very edge of its null hypothesis, looked at
//! every second for an hour, it is certain in at most alpha of the rollouts; for each alpha, since
//! a promise of one in a thousand can't be tried in a hundred rollouts.
//!
//! `cargo test --release -p tidegate-engine twenty_thousand -- --ignored --nocapture` tries it.

use super::random::Random;
use super::*;
use crate::mesh::{LatencyObjective, Slo};
use crate::rollout::{ArmCounts, Evidence};
use crate::time::Time;
use crate::units::Ppm;

const HOUR_S: u64 = 3_600;
const RHO: f64 = 1.5;

/// Rates of one arm at the edge.
#[derive(Clone, Copy)]
struct Rates {
    bad: f64,
    /// Slower than 100 ms (next to stable's slowest tenth) and than 250 ms (the threshold).
    slow: [f64; 2],
}

/// A world in which nothing is wrong beyond what is tolerated.
struct Edge {
    canary: (u64, Rates),
    stable: (u64, Rates),
    /// The share that was decided, where the one above is at the edge of what is tolerated.
    wanted: Ppm,
}

/// Rollouts in which each test was ever certain, at one mark.
#[derive(Debug, Default)]
struct Certain {
    errors: u64,
    latency: u64,
    regression: u64,
    canary_breach: u64,
    stable_breach: u64,
    share: u64,
    proof: u64,
}

fn slo() -> Slo {
    Slo {
        success: Ppm::of(999, 1000),
        latency: Some(LatencyObjective {
            threshold_ms: 250,
            share: Ppm::of(99, 100),
        }),
    }
}

/// The rate at `rho` times the odds.
fn tolerated(rate: f64) -> f64 {
    let odds = RHO * rate / (1.0 - rate);
    odds / (1.0 + odds)
}

/// The canary at rho times stable's odds in all, and at five times the objective's rate.
fn regression_edge() -> Edge {
    let slow = [0.1, 0.02];
    let stable = Rates {
        bad: 0.003_34,
        slow,
    };
    let canary = Rates {
        bad: 0.005,
        slow: slow.map(tolerated),
    };
    Edge {
        canary: (10, canary),
        stable: (190, stable),
        wanted: Ppm::of(4, 100), // 5% is 1.25 times it
    }
}

fn draw(random: &mut Random, (n, rates): (u64, Rates)) -> ArmCounts {
    let slower = random.binomial(n, rates.slow[0]);
    let slowest = random.binomial(slower, rates.slow[1] / rates.slow[0]);
    let mut buckets = [0; 10];
    (buckets[2], buckets[5], buckets[7]) = (n - slower, slower - slowest, slowest);
    let mut slow_at = [n, n, slower, slower, slower, slowest, slowest, 0, 0];
    slow_at[1] = n;
    ArmCounts {
        requests: n,
        bad: random.binomial(n, rates.bad),
        timed: n,
        slow: slowest,
        issued: n,
        slow_at,
        buckets,
        ..ArmCounts::default()
    }
}

/// How many of `runs` hours each test was certain in, at each mark.
fn certain<const MARKS: usize>(edge: &Edge, runs: u64, marks: [f64; MARKS]) -> [Certain; MARKS] {
    let mut all = [(); MARKS].map(|()| Certain::default());
    for run in 0..runs {
        let mut random = Random::new(run);
        let mut battery = Battery::new(&slo(), 600);
        let before = draw(&mut random, (10_000, edge.stable.1));
        battery.freeze_edges(crate::mesh::RULES, &slo(), &before);
        battery.expect_share(edge.wanted);
        battery.ask_for_proof(&slo(), 5);
        let mut highest = [f64::NEG_INFINITY; 7];
        for second in 1..=HOUR_S {
            let both = edge.canary.0 + edge.stable.0;
            let share = edge.canary.0 as f64 / both as f64;
            let canary = random.binomial(both, share);
            let evidence = Evidence {
                canary: draw(&mut random, (canary, edge.canary.1)),
                stable: draw(&mut random, (both - canary, edge.stable.1)),
                ..Evidence::default()
            };
            battery.observe_proof(&evidence, RHO);
            battery.observe(&evidence, RHO, Time(second * 1_000));
            battery.observe_share(&evidence);
            let e = battery.e_values();
            let now = [
                e.errors,
                e.latency.unwrap(),
                e.regression,
                e.canary_breach,
                e.stable_breach,
                e.share,
                e.proof.unwrap(),
            ];
            for (highest, now) in highest.iter_mut().zip(now) {
                *highest = highest.max(now);
            }
        }
        for (certain, mark) in all.iter_mut().zip(marks) {
            let passed = highest.map(|ln_e| u64::from(reaches(ln_e, mark)));
            certain.errors += passed[0];
            certain.latency += passed[1];
            certain.regression += passed[2];
            certain.canary_breach += passed[3];
            certain.stable_breach += passed[4];
            certain.share += passed[5];
            certain.proof += passed[6];
        }
    }
    all
}

/// At most `runs`/`mark`, and what chance may add to that in one of a thousand cases.
fn assert_kept(certain: &Certain, runs: u64, mark: f64) {
    let mean = runs as f64 / mark;
    let most = mean + 3.1 * mean.sqrt() + 1.0;
    println!("{runs} hours, e-value {mark}: {certain:?}, at most {most:.0} of each");
    let Certain {
        errors,
        latency,
        regression,
        canary_breach,
        stable_breach,
        share,
        proof,
    } = *certain;
    let all = [
        errors,
        latency,
        regression,
        canary_breach,
        stable_breach,
        share,
        proof,
    ];
    for count in all {
        assert!(count as f64 <= most, "{certain:?}, at most {most}");
    }
}

#[test]
fn at_the_edge_of_its_null_no_test_is_certain_more_often_than_it_promises() {
    let runs = 30;
    let marks = [5.0, 20.0, 1_000.0];
    for (certain, mark) in certain(&regression_edge(), runs, marks).iter().zip(marks) {
        assert_kept(certain, runs, mark);
    }
}

#[test]
#[ignore = "minutes, in a release build"]
fn twenty_thousand_hours_at_the_edge() {
    let runs = 20_000;
    let marks = [20.0, 100.0, 1_000.0];
    for (certain, mark) in certain(&regression_edge(), runs, marks).iter().zip(marks) {
        assert_kept(certain, runs, mark);
    }
}

/// The mixture of evidence §4.1 and §4.8 as it is written there, for one metric.
fn as_specified(ratios: &[f64], late: f64, seconds: &[(u64, u64, u64, u64)]) -> f64 {
    let horizon = 600.0;
    let entering = 1.0 / (2.0 * horizon);
    let mut sum = 0.0;
    for r in ratios {
        let (mut held, mut entered) = (1.0, 0.0);
        for (canary, canary_bad, stable, stable_bad) in seconds {
            let theta = RHO * *canary as f64 / (RHO * *canary as f64 + *stable as f64);
            let bad = (canary_bad + stable_bad) as f64;
            let ln = *canary_bad as f64 * r.ln() - bad * (1.0 + (r - 1.0) * theta).ln();
            let factor = ln.exp().min(10.0);
            held *= factor;
            entered = (entered + entering) * factor;
        }
        let cash = 1.0 - seconds.len() as f64 * entering;
        sum += (1.0 - late) * held + late * (entered + cash);
    }
    sum / ratios.len() as f64
}

#[test]
fn a_rollout_is_judged_by_the_mixture_of_the_rules_it_started_with() {
    let failed = [
        (10, 1, 190, 0),
        (12, 0, 188, 1),
        (9, 2, 191, 0),
        (8, 8, 192, 0),
    ];
    let slow = failed.map(|(n, _, m, _)| (n, 0, m, 1));
    let wide = [1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 200.0];
    let dense = [1.5, 2.25, 4.0, 7.0, 15.0, 40.0];
    for (rules, ratios, late, errors_part) in [
        (0, wide.as_slice(), 0.5, 0.5),
        (1, &wide, 0.5, 0.5),
        (2, &dense, 0.25, 0.75),
    ] {
        let mut battery = Battery::by_rules(rules, &slo(), 600);
        for (second, (n, bad, m, stable_bad)) in (1..).zip(failed) {
            let arm = |requests, bad, slow| ArmCounts {
                requests,
                bad,
                timed: requests,
                slow,
                ..ArmCounts::default()
            };
            let evidence = Evidence {
                canary: arm(n, bad, 0),
                stable: arm(m, stable_bad, 1),
                ..Evidence::default()
            };
            battery.observe(&evidence, RHO, Time(second * 1_000));
        }
        let errors = as_specified(ratios, late, &failed);
        let latency = as_specified(ratios, late, &slow);
        let mean = errors_part * errors + (1.0 - errors_part) * latency;
        let found = battery.e_values();
        for (is, wanted) in [(found.errors, errors), (found.regression, mean)] {
            assert!((is - wanted.ln()).abs() < 1e-9, "{rules}: {is} {wanted}");
        }
    }
    assert_eq!(Battery::new(&slo(), 600), Battery::by_rules(6, &slo(), 600));
}
