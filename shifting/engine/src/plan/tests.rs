use super::*;
use crate::evidence::random::Random;
use crate::evidence::{Battery, REVERT_AT, enough};
use crate::rollout::fixture::mesh;
use crate::rollout::{ArmCounts, Evidence, RHO, State};
use crate::time::Time;

fn plan() -> Plan {
    let event = crate::rollout::Event::MeshAccepted { mesh: mesh() };
    let (state, _) = State::default().apply(&event, Time(0)).unwrap();
    let mut plan = state.plan("checkout", "v2").unwrap();
    plan.policy.bake_ms = 300_000;
    plan.policy.soak_ms = 600_000;
    plan
}

const BUSY: Traffic = Traffic {
    rps: 200.0,
    error_rate: 0.001,
};

fn five_percent(outlook: &Outlook) -> &StepOutlook {
    outlook.steps.iter().find(|step| step.name == "5%").unwrap()
}

#[test]
fn it_says_what_each_step_sees_and_how_soon() {
    let outlook = outlook(&plan(), BUSY);
    let step = five_percent(&outlook);
    assert!((step.canary_rps - 10.0).abs() < 1e-9);
    assert!((step.exposed - 3_000.0).abs() < 1e-6);
    let times: Vec<(f64, f64)> = step
        .finds
        .iter()
        .map(|find| (find.rate, find.seconds.unwrap()))
        .collect();
    assert!(times.is_sorted_by(|a, b| a.1 >= b.1), "{times:?}");
    let half = step.finds.last().unwrap();
    assert!(
        half.seconds.unwrap() <= 6.0 && half.failed.unwrap() <= 30.0,
        "{half:?}"
    );
    let least = step.least_rate.unwrap();
    assert!((0.003..0.01).contains(&least), "{least}");
    let whole = outlook.steps.last().unwrap();
    assert!((whole.watched_s - 600.0).abs() < 1e-9, "the soak");
}

#[test]
fn steps_that_cannot_see_the_objective_are_warned_of() {
    assert_eq!(outlook(&plan(), BUSY).warnings, Vec::<String>::new());
    let quiet = Traffic { rps: 2.0, ..BUSY };
    let warnings = outlook(&plan(), quiet).warnings;
    assert!(
        warnings.iter().any(|w| w.contains("5% sees only")),
        "{warnings:?}"
    );
    assert!(
        warnings.iter().any(|w| w.contains("requests only in")),
        "{warnings:?}"
    );
    let none = Traffic { rps: 0.0, ..BUSY };
    assert!(outlook(&plan(), none).warnings[0].contains("no requests"));
    let broken = Traffic {
        error_rate: 0.02,
        ..BUSY
    };
    assert!(outlook(&plan(), broken).warnings[0].contains("would be held"));
}

#[test]
fn numbers_are_written_as_people_say_them() {
    for (rate, text) in [
        (0.003, "0.3%"),
        (0.5, "50%"),
        (0.0125, "1.2%"),
        (0.1, "10%"),
    ] {
        assert_eq!(percent(rate), text);
    }
    assert_eq!(span(95.2), "95 s");
    assert_eq!(span(1_500.0), "25 min");
    assert_eq!(span(f64::from(7_200)), "2 h");
}

fn arm(requests: u64, rate: f64, random: &mut Random) -> ArmCounts {
    ArmCounts {
        requests,
        bad: random.binomial(requests, rate),
        timed: requests,
        issued: requests,
        ..ArmCounts::default()
    }
}

/// Median seconds until the tests themselves revert.
fn simulated(rate: f64, canary: u64, stable: u64) -> f64 {
    let slo = mesh().services["checkout"].slo.clone();
    let mut random = Random::new(1);
    let mut times: Vec<u64> = (0..101)
        .map(|_| {
            let mut battery = Battery::new(&slo, 900);
            (1..=6_000)
                .find(|second| {
                    let evidence = Evidence {
                        canary: arm(canary, rate, &mut random),
                        stable: arm(stable, BUSY.error_rate, &mut random),
                        ..Evidence::default()
                    };
                    battery.observe(&evidence, RHO, Time(second * 1_000));
                    enough(battery.worse().0, REVERT_AT)
                })
                .unwrap_or(u64::MAX)
        })
        .collect();
    times.sort_unstable();
    times[50] as f64
}

#[test]
fn the_estimate_is_within_thirty_percent_of_the_tests_themselves() {
    for (rate, canary, stable) in [
        (0.01, 10, 190),
        (0.02, 10, 190),
        (0.05, 10, 190),
        (0.01, 100, 100),
        (0.05, 2, 198),
        (0.2, 2, 198),
        (0.5, 10, 190),
    ] {
        let contrast = Contrast {
            canary_rps: canary as f64,
            stable_rps: stable as f64,
            canary_rate: rate,
            stable_rate: BUSY.error_rate,
            rho: RHO,
            metrics: 2,
        };
        let estimate = contrast.seconds_to_revert().unwrap().ceil();
        let simulated = simulated(rate, canary, stable);
        println!("{rate} at {canary}/s: estimated {estimate:.0} s, simulated {simulated:.0} s");
        // A verdict comes once a second: no estimate is nearer than that.
        let error = (estimate - simulated).abs();
        assert!(
            error <= (0.3 * simulated).max(1.0),
            "{rate} at {canary}/s: {estimate} {simulated}"
        );
    }
}

#[test]
fn the_rungs_of_a_fleet_come_to_the_part_of_its_sidecars_that_has_them() {
    let mut plan = plan();
    let shares = |plan: &Plan, sidecars| -> Vec<u32> {
        let rungs = in_fleet(plan, sidecars).rungs;
        rungs.iter().map(|rung| rung.share.get()).collect()
    };
    plan.rungs[0].hosts = Some(1);
    assert_eq!(shares(&plan, 5), [200_000, 200_000, 1_000_000]);
    assert_eq!(shares(&plan, 1_000), [1_000, 50_000, 1_000_000]);
    assert_eq!(shares(&plan, 0), [1_000_000; 3], "nobody is one");
}
