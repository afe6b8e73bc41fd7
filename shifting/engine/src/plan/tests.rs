use super::*;
use crate::evidence::random::Random;
use crate::evidence::{Battery, REVERT_AT, enough};
use crate::mesh::{EvidenceSource, Prometheus};
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
fn it_says_when_a_healthy_canary_leaves_a_step_and_warns_of_one_that_pages_first() {
    // The paper's: at 10 canary requests a second and a limit of 0.5%, 0.1% fail: about 125 s.
    let mut plan = plan();
    plan.policy.bake_ms = 60_000;
    plan.policy.advance_burn_rate = 5;
    let busy = outlook(&plan, BUSY);
    let left_s = five_percent(&busy).left_after_s.unwrap();
    assert!((100.0..200.0).contains(&left_s), "{left_s}");
    assert!((five_percent(&busy).exposed - 10.0 * left_s).abs() < 1e-6);
    assert!(busy.total_s.unwrap() > 600.0 + left_s);
    let warned = |outlook: &Outlook, of: &str| outlook.warnings.iter().any(|it| it.contains(of));
    assert!(!warned(&busy, "pages when"), "{:?}", busy.warnings);
    // The stricter, the longer; the rarer the requests, too.
    plan.policy.advance_burn_rate = 2;
    let strict = outlook(&plan, BUSY);
    assert!(five_percent(&strict).left_after_s.unwrap() > left_s);
    let quiet = outlook(&plan, Traffic { rps: 2.0, ..BUSY });
    assert!(
        warned(&quiet, "5% is left only after about"),
        "{:?}",
        quiet.warnings
    );
    // What fails twice as often as it may is not proven to burn less than twice the budget.
    let failing = Traffic {
        error_rate: 0.002,
        ..BUSY
    };
    plan.policy.advance_burn_rate = 1;
    let outlook = outlook(&plan, failing);
    let odds_alone = five_percent(&outlook).left_after_s.unwrap();
    assert!(
        odds_alone > 1_000.0,
        "the comparison with stable alone: {odds_alone}"
    );
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

/// Median seconds until the tests themselves revert, with a report every `interval` seconds.
fn simulated(rate: f64, canary: u64, stable: u64, interval: u64) -> f64 {
    let slo = mesh().services["checkout"].slo.clone();
    let mut random = Random::new(1);
    let mut times: Vec<u64> = (0..101)
        .map(|_| {
            let mut battery = Battery::new(&slo, 900);
            (1..=6_000 / interval)
                .map(|report| report * interval)
                .find(|second| {
                    let evidence = Evidence {
                        canary: arm(canary * interval, rate, &mut random),
                        stable: arm(stable * interval, BUSY.error_rate, &mut random),
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
    for (rate, canary, stable, interval) in [
        (0.01, 10, 190, 1),
        (0.02, 10, 190, 1),
        (0.05, 10, 190, 1),
        (0.01, 100, 100, 1),
        (0.05, 2, 198, 1),
        (0.2, 2, 198, 1),
        (0.5, 10, 190, 1),
        (0.01, 10, 190, 15),
        (0.05, 10, 190, 15),
        (0.5, 10, 190, 15),
    ] {
        let contrast = Contrast {
            canary_rps: canary as f64,
            stable_rps: stable as f64,
            canary_rate: rate,
            stable_rate: BUSY.error_rate,
            rho: RHO,
            metrics: 2,
            interval_s: interval as f64,
        };
        let reports = contrast.seconds_to_revert().unwrap() / interval as f64;
        let estimate = reports.ceil() * interval as f64;
        let simulated = simulated(rate, canary, stable, interval);
        println!("{rate} at {canary}/s: estimated {estimate:.0} s, simulated {simulated:.0} s");
        // A verdict comes with a report: no estimate is nearer than that.
        let error = (estimate - simulated).abs();
        assert!(
            error <= (0.3 * simulated).max(interval as f64),
            "{rate} at {canary}/s: {estimate} {simulated}"
        );
    }
}

#[test]
fn what_a_prometheus_scrapes_now_and_then_is_found_later() {
    let mut plan = plan();
    plan.evidence = EvidenceSource::Prometheus(Prometheus {
        url: "http://127.0.0.1:9090".to_owned(),
        scrape_interval_ms: 15_000,
    });
    let outlook = outlook(&plan, BUSY);
    let half = five_percent(&outlook).finds.last().unwrap();
    // One report adds no more than the clip: it takes four.
    assert_eq!(half.seconds, Some(60.0));
    assert!(half.failed.unwrap() > 250.0, "{half:?}");
}
