use std::collections::BTreeMap;

use super::*;
use crate::evidence::random::Random;
use crate::mesh::{LatencyObjective, Slo};
use crate::rollout::fixture::mesh;
use crate::units::Ppm;

fn settings(length_ms: u64) -> AaSettings {
    AaSettings {
        slo: Slo {
            success: Ppm::of(999, 1000),
            latency: Some(LatencyObjective {
                threshold_ms: 250,
                share: Ppm::of(99, 100),
            }),
        },
        rho: RHO,
        hold_at: 20.0,
        revert_at: 1_000.0,
        rules: crate::mesh::RULES,
        length_ms,
        horizon: u32::try_from(length_ms / 1_000).unwrap(),
    }
}

/// Sidecars with requests each second, of which some fail and some are slow.
struct World {
    random: Random,
    /// By sidecar: requests a second, the part that fails, and the part that is slow.
    sidecars: BTreeMap<String, (u64, f64, f64)>,
    trials: AaTrials,
    now: Time,
}

// === impl World ===

impl World {
    fn of(sidecars: usize, length_ms: u64) -> Self {
        let name = |i| format!("sidecar-{i}");
        Self {
            random: Random::new(1),
            sidecars: (0..sidecars)
                .map(|i| (name(i), (20, 0.002, 0.01)))
                .collect(),
            trials: AaTrials::new("checkout", "v1", settings(length_ms), Time(0)),
            now: Time(0),
        }
    }

    fn draw(&mut self, half: &BTreeSet<String>) -> ArmCounts {
        let mut sum = ArmCounts::default();
        for (n, bad, slow) in half.iter().map(|sidecar| self.sidecars[sidecar]) {
            let slow = self.random.binomial(n, slow);
            let mut buckets = [0; 10];
            (buckets[2], buckets[7]) = (n - slow, slow);
            let mut slow_at = [slow; 9];
            (slow_at[0], slow_at[1], slow_at[7], slow_at[8]) = (n, n, 0, 0);
            sum.add(&ArmCounts {
                requests: n,
                bad: self.random.binomial(n, bad),
                timed: n,
                slow,
                issued: n,
                slow_at,
                buckets,
                ..ArmCounts::default()
            });
        }
        sum
    }

    /// A second passes; true when a trial ended with it.
    fn second(&mut self) -> bool {
        self.now = self.now.plus_ms(1_000);
        let names: Vec<String> = self.sidecars.keys().cloned().collect();
        self.trials
            .attend(&names.iter().map(String::as_str).collect(), self.now);
        let clusters = BTreeSet::new();
        let Some(cohorts) = self.trials.cohorts(&clusters) else {
            return false;
        };
        let (canary, stable) = (cohorts.canary.clone(), cohorts.stable.clone());
        let evidence = Evidence {
            canary: self.draw(&canary),
            stable: self.draw(&stable),
            ..Evidence::default()
        };
        self.trials.observe(&evidence, self.now)
    }

    fn trials(&mut self, count: u64) -> AaStatus {
        let wanted = self.trials.status().trials + count;
        while self.trials.status().trials < wanted {
            self.second();
        }
        self.trials.status()
    }
}

#[test]
fn halves_of_healthy_sidecars_are_taken_for_different_no_more_often_than_promised() {
    let mut world = World::of(4, 60_000);
    let trials = 2_000;
    let status = world.trials(trials);
    let most = |alpha: f64| {
        let mean = trials as f64 * alpha;
        mean + 3.1 * mean.sqrt() + 1.0
    };
    let AaStatus {
        false_reverts,
        false_holds,
        ..
    } = &status;
    println!("{trials} trials: {false_reverts:?} {false_holds:?}");
    assert_eq!((status.trials, status.idle, status.cut_off), (trials, 0, 0));
    assert_eq!(status.requests, trials * 60 * 80);
    assert!(status.false_reverts.count as f64 <= most(0.001));
    assert!(status.false_holds.count as f64 <= most(0.05));
    assert!(status.false_reverts.count <= status.false_holds.count);
    assert_eq!(status.warning, None);
    assert!(status.false_reverts.at_most < 0.01, "known to some digits");
    assert!((status.false_reverts.promised - 0.001).abs() < 1e-12);
    assert!((status.false_holds.promised - 0.05).abs() < 1e-12);
}

#[test]
fn a_sidecar_that_differs_is_found_and_named() {
    let mut world = World::of(6, 60_000);
    world.sidecars.insert("sidecar-3".into(), (20, 0.1, 0.01));
    let early = world.trials(1);
    assert_eq!(early.always_worse, [""; 0], "one trial tells of nobody");
    let status = world.trials(39);
    let reverts = status.false_reverts.count;
    assert!((10..=30).contains(&reverts), "every second one: {reverts}");
    assert!(status.false_reverts.is_broken());
    assert_eq!(status.always_worse, ["sidecar-3"]);
    let alarm = status.latest_alarm.unwrap();
    assert_eq!(alarm.metric, crate::evidence::Metric::Errors);
    assert!(alarm.e_value >= 999.0 && alarm.sentence.contains("canary requests failed"));
    let warning = status.warning.unwrap();
    for part in [
        "differ by nature",
        &format!("{reverts} of 40 trials would have been reverted"),
        "where 0.1% is promised",
        "sidecar-3 was in the worse half each time",
    ] {
        assert!(warning.contains(part), "{part}: {warning}");
    }
}

#[test]
fn a_slow_sidecar_is_found_by_its_latency() {
    let mut world = World::of(4, 60_000);
    world.sidecars.insert("sidecar-0".into(), (20, 0.002, 0.4));
    let status = world.trials(20);
    assert!(status.false_reverts.is_broken(), "{status:?}");
    let alarm = status.latest_alarm.unwrap();
    assert_eq!(alarm.metric, crate::evidence::Metric::Latency);
}

#[test]
fn a_single_sidecar_has_no_halves() {
    let mut world = World::of(1, 60_000);
    for _ in 0..200 {
        assert!(!world.second());
    }
    let status = world.trials.status();
    assert_eq!((status.state, status.sidecars), (AaState::TooFew, 1));
    world.sidecars.insert("sidecar-1".into(), (20, 0.002, 0.01));
    world.second();
    assert!(world.trials.is_running());
    assert_eq!(world.trials(2).trials, 2);
}

#[test]
fn a_trial_lasts_its_whole_length_whatever_it_found() {
    let mut world = World::of(2, 60_000);
    world.sidecars.insert("sidecar-0".into(), (20, 0.5, 0.01));
    let mut seconds = vec![0];
    while world.trials.status().false_reverts.count < 3 {
        *seconds.last_mut().unwrap() += 1;
        if world.second() {
            seconds.push(0);
        }
    }
    seconds.pop();
    let whole = 60 + BEFORE;
    assert!(seconds.iter().all(|s| *s == whole), "{seconds:?}");
}

#[test]
fn halves_differ_from_trial_to_trial_and_its_end_is_known() {
    let mut world = World::of(8, 10_000);
    let mut seen = BTreeSet::new();
    for _ in 0..20 {
        world.second();
        let AaState::Running { until } = world.trials.status().state else {
            panic!("{:?}", world.trials.status());
        };
        let clusters = BTreeSet::new();
        seen.insert(world.trials.cohorts(&clusters).unwrap().canary.clone());
        while !world.second() {}
        assert_eq!(world.now, until);
        assert_eq!(world.trials.latest_end(), Some(until));
    }
    assert!(seen.len() > 10, "{}", seen.len());
}

#[test]
fn a_trial_without_requests_in_one_half_tells_nothing() {
    let mut world = World::of(2, 10_000);
    world.sidecars.insert("sidecar-1".into(), (0, 0.0, 0.0));
    for _ in 0..100 {
        world.second();
    }
    let status = world.trials.status();
    assert_eq!(status.trials, 0);
    assert!(status.idle > 5);
    assert!((status.false_reverts.at_most - 1.0).abs() < 1e-12);
}

#[test]
fn a_trial_whose_requests_came_to_an_end_is_not_one_of_its_length() {
    let mut world = World::of(2, 40_000);
    for _ in 0..20 {
        world.second();
    }
    for sidecar in world.sidecars.values_mut() {
        sidecar.0 = 0;
    }
    while !world.second() {}
    let status = world.trials.status();
    assert_eq!((status.trials, status.idle, status.requests), (0, 1, 0));
}

#[test]
fn a_trial_that_nobody_looked_at_or_that_lost_a_half_is_cut_off() {
    let mut world = World::of(2, 60_000);
    for _ in 0..30 {
        world.second();
    }
    world.now = world.now.plus_ms(GAP_MS);
    world.second();
    assert_eq!(world.trials.status().cut_off, 1);
    assert!(world.trials.is_running(), "another one began");
    let gone = world.sidecars.pop_last().unwrap();
    world.second();
    assert_eq!(world.trials.status().cut_off, 2);
    assert!(!world.trials.is_running());
    world.sidecars.extend([gone]);
    assert_eq!(world.trials(1).trials, 1);
}

#[test]
fn settings_are_those_of_a_rollout_of_the_service() {
    let mut service = mesh().services["checkout"].clone();
    service.rollout.bake_ms = 60_000;
    service.rollout.soak_ms = 300_000;
    let rungs = u64::try_from(service.ladder.len()).unwrap();
    let settings = AaSettings::of(&service);
    assert_eq!(settings.slo, service.slo);
    assert_eq!(settings.length_ms, rungs * 60_000 + 300_000);
    assert_eq!(u64::from(settings.horizon) * 1_000, settings.length_ms);
    service.rollout.soak_ms = 24 * 3_600_000;
    let long = AaSettings::of(&service);
    assert_eq!(long.length_ms, LONGEST_MS);
    assert!(u64::from(long.horizon) * 1_000 > LONGEST_MS);
    (service.rollout.bake_ms, service.rollout.soak_ms) = (100, 100);
    assert_eq!(AaSettings::of(&service).length_ms, SHORTEST_MS);
    let trials = AaTrials::new("checkout", "v1", settings.clone(), Time(0));
    assert!(trials.is_of("v1", &settings));
    assert!(!trials.is_of("v2", &settings) && !trials.is_of("v1", &long));
}
