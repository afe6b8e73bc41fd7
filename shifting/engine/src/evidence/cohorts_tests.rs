use std::collections::BTreeMap;

use super::*;
use crate::evidence::{Arms, FRESH_ENOUGH_PPM, SidecarReport, UpstreamCounts};
use crate::units::Ppm;

const CHECKOUT: &str = "checkout/v1";
const CART: &str = "cart/v7";

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

struct Bench {
    intake: Intake,
    now: Time,
    clusters: BTreeSet<String>,
    canary: BTreeSet<String>,
    stable: BTreeSet<String>,
}

// === impl Bench ===

impl Bench {
    /// Two sets that reported twenty times, already watched.
    fn of(canary: &[&str], stable: &[&str]) -> Self {
        let mut bench = Self {
            intake: Intake::default(),
            now: Time(100_000),
            clusters: names(&[CHECKOUT, CART]),
            canary: names(canary),
            stable: names(stable),
        };
        bench.observe();
        let all = [canary, stable].concat();
        for _ in 0..20 {
            bench.second(&all);
        }
        bench
    }

    fn observe(&mut self) -> Evidence {
        let cohorts = Cohorts {
            clusters: &self.clusters,
            canary: &self.canary,
            stable: &self.stable,
            threshold_ms: Some(250),
        };
        self.intake.observe_cohorts(cohorts, self.now)
    }

    fn report(&mut self, sidecar: &str, upstreams: &[(&str, UpstreamCounts)]) {
        let upstreams = upstreams.iter();
        self.intake.record(&SidecarReport {
            sidecar: sidecar.to_owned(),
            at: self.now,
            upstreams: upstreams
                .map(|(cluster, counts)| ((*cluster).to_owned(), counts.clone()))
                .collect::<BTreeMap<_, _>>(),
            ..SidecarReport::default()
        });
    }

    /// A second passes in which each of these has 100 requests to one cluster and 20 to the other.
    fn second(&mut self, reporting: &[&str]) -> Evidence {
        self.now = self.now.plus_ms(1_000);
        for sidecar in reporting {
            self.report(sidecar, &[(CHECKOUT, healthy(100)), (CART, healthy(20))]);
        }
        self.observe()
    }
}

/// Answered in time: `n` requests, all ended, 20 ms each.
fn healthy(n: u64) -> UpstreamCounts {
    let mut latency = [0; 10];
    latency[2] = n;
    UpstreamCounts {
        requests: n,
        completed: n,
        responses: [n, 0, 0, 0],
        active: Some(0),
        latency: Some(latency),
        ..UpstreamCounts::default()
    }
}

fn failing(n: u64) -> UpstreamCounts {
    UpstreamCounts {
        responses: [0, 0, 0, n],
        ..healthy(n)
    }
}

#[test]
fn each_sidecars_requests_to_all_clusters_count_once_for_its_set() {
    let mut bench = Bench::of(&["a"], &["b", "c"]);
    bench.now = bench.now.plus_ms(1_000);
    bench.report("a", &[(CHECKOUT, failing(10)), (CART, healthy(5))]);
    bench.report("b", &[(CHECKOUT, healthy(40))]);
    bench.report("c", &[("other/v1", healthy(900)), (CART, healthy(2))]);
    let evidence = bench.observe();
    let counted = |arm: &ArmCounts| (arm.requests, arm.bad, arm.timed);
    assert_eq!(counted(&evidence.canary), (15, 10, 15));
    assert_eq!(counted(&evidence.stable), (42, 0, 42));
    let again = bench.observe();
    assert_eq!((again.canary, again.stable), Default::default());
}

#[test]
fn the_first_call_and_the_first_report_are_baselines() {
    let mut bench = Bench::of(&[], &[]);
    (bench.canary, bench.stable) = (names(&["a"]), names(&["b"]));
    bench.intake = Intake::default();
    bench.report("a", &[(CHECKOUT, healthy(1_000_000))]);
    let evidence = bench.observe();
    assert_eq!(evidence.canary.requests, 0, "not watched yet");
    let evidence = bench.second(&["a", "b"]);
    assert_eq!((evidence.canary.requests, evidence.stable.requests), (0, 0));
    let evidence = bench.second(&["a", "b"]);
    assert_eq!(
        (evidence.canary.requests, evidence.stable.requests),
        (120, 120)
    );
}

#[test]
fn who_moves_takes_what_it_reported_since_the_last_call_along() {
    let mut bench = Bench::of(&[], &["a", "b"]);
    assert_eq!(bench.second(&["a", "b"]).stable.requests, 240);
    bench.canary = names(&["a"]);
    bench.stable = names(&["b"]);
    let evidence = bench.second(&["a", "b"]);
    assert_eq!(
        (evidence.canary.requests, evidence.stable.requests),
        (120, 120)
    );
    assert_eq!(evidence.canary_fresh, Ppm::WHOLE);
    bench.stable = names(&["a", "b"]);
    let both = bench.second(&["a", "b"]);
    assert_eq!((both.canary.requests, both.stable.requests), (120, 120));
}

#[test]
fn what_a_sidecar_of_neither_set_reported_is_of_no_arm_for_ever() {
    let mut bench = Bench::of(&["a"], &["b"]);
    bench.canary.clear();
    for _ in 0..5 {
        let evidence = bench.second(&["a", "b"]);
        assert_eq!(
            (evidence.canary.requests, evidence.stable.requests),
            (0, 120)
        );
    }
    bench.canary = names(&["a"]);
    assert_eq!(bench.second(&["a", "b"]).canary.requests, 120);
}

#[test]
fn an_empty_set_is_not_fresh_and_takes_no_freshness_from_the_other() {
    let mut bench = Bench::of(&[], &["a", "b"]);
    let evidence = bench.second(&["a", "b"]);
    assert_eq!(evidence.canary, ArmCounts::default());
    assert_eq!(
        (evidence.canary_fresh, evidence.stable_fresh),
        (Ppm::ZERO, Ppm::WHOLE)
    );
    assert!(evidence.silent.is_empty());
}

#[test]
fn silence_of_one_set_is_not_silence_of_the_other() {
    let mut bench = Bench::of(&["a"], &["b", "c", "d"]);
    for missed in 1..=6 {
        let evidence = bench.second(&["b", "c", "d"]);
        assert_eq!(evidence.stable_fresh, Ppm::WHOLE);
        assert_eq!(evidence.canary_fresh == Ppm::ZERO, missed > 2, "{missed}");
        assert_eq!(evidence.silent == ["a"], missed > 4, "{missed}");
    }
}

#[test]
fn a_silent_sidecar_weighs_what_it_had_of_all_clusters() {
    let mut bench = Bench::of(&["a"], &["b", "c"]);
    let mut latest = bench.observe();
    for _ in 0..30 {
        bench.now = bench.now.plus_ms(1_000);
        bench.report("a", &[(CHECKOUT, healthy(100))]);
        bench.report("b", &[(CHECKOUT, healthy(10)), (CART, healthy(300))]);
        bench.report("c", &[(CHECKOUT, healthy(100))]);
        latest = bench.observe();
    }
    assert_eq!(latest.stable_fresh, Ppm::WHOLE);
    for _ in 0..5 {
        latest = bench.second(&["a", "c"]);
    }
    assert!(latest.stable_fresh.get() < 350_000, "{latest:?}");
    assert!(latest.canary_fresh.get() >= FRESH_ENOUGH_PPM);
}

#[test]
fn what_is_odd_about_a_report_is_counted_once_however_many_clusters_it_has() {
    let mut bench = Bench::of(&["a"], &["b"]);
    bench.intake.reconnected("a");
    bench.intake.reconnected("b");
    bench.now = bench.now.plus_ms(3_000);
    let evidence = bench.second(&["a", "b"]);
    assert_eq!(evidence.reports.resets, 2, "one of each");
    assert_eq!(evidence.reports.skipped, 6, "three of each");
    assert!(bench.second(&["a", "b"]).reports.is_none());
}

#[test]
fn a_cluster_that_is_added_later_has_a_baseline_of_its_own() {
    let mut bench = Bench::of(&["a"], &["b"]);
    bench.clusters = names(&[CHECKOUT, CART, "new/v1"]);
    bench.observe();
    let report = |bench: &mut Bench| {
        bench.now = bench.now.plus_ms(1_000);
        bench.report("a", &[(CHECKOUT, healthy(1)), ("new/v1", healthy(50))]);
        bench.observe().canary.requests
    };
    assert_eq!(report(&mut bench), 1);
    assert_eq!(report(&mut bench), 51);
}

#[test]
fn the_same_sets_by_clusters_and_by_sidecars_agree_on_the_whole() {
    let mut bench = Bench::of(&["a"], &["b", "c"]);
    let mut by_clusters = Intake::default();
    let everyone = names(&["a", "b", "c"]);
    let arms = Arms {
        canary: CART,
        stable: CHECKOUT,
        threshold_ms: Some(250),
    };
    let both = |intake: &mut Intake, now| {
        let evidence = intake.observe(arms, &everyone, now);
        evidence.canary.requests + evidence.stable.requests
    };
    by_clusters.observe(arms, &everyone, bench.now);
    for second in 0..5 {
        bench.now = bench.now.plus_ms(1_000);
        for sidecar in ["a", "b", "c"] {
            let counts = healthy(10 + second);
            bench.report(sidecar, &[(CHECKOUT, counts.clone())]);
            by_clusters.record(&SidecarReport {
                sidecar: sidecar.to_owned(),
                at: bench.now,
                upstreams: BTreeMap::from([(CHECKOUT.to_owned(), counts)]),
                ..SidecarReport::default()
            });
        }
        let evidence = bench.observe();
        let seen = both(&mut by_clusters, bench.now);
        let wanted = if second == 0 { 0 } else { 3 * (10 + second) };
        assert_eq!(seen, wanted, "the first is a baseline");
        assert_eq!(
            evidence.canary.requests + evidence.stable.requests,
            3 * (10 + second)
        );
    }
}
