use super::*;

pub(super) const ARMS: Arms<'_> = Arms {
    canary: "checkout/v2",
    stable: "checkout/v1",
    threshold_ms: Some(250),
};

/// Answered in time: `n` requests, all ended, 20 ms each.
pub(super) fn healthy(n: u64) -> UpstreamCounts {
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

pub(super) struct Bench {
    pub(super) intake: Intake,
    pub(super) now: Time,
    pub(super) expected: BTreeSet<String>,
}

impl Bench {
    /// Sidecars that reported stable traffic for forty ticks, already watched.
    pub(super) fn of(sidecars: &[&str]) -> Self {
        let mut bench = Self {
            intake: Intake::default(),
            now: Time(100_000),
            expected: sidecars.iter().map(|s| (*s).to_owned()).collect(),
        };
        bench.intake.observe(ARMS, &bench.expected, bench.now);
        for _ in 0..40 {
            bench.tick(sidecars, &[("checkout/v1", healthy(100))]);
        }
        bench
    }

    pub(super) fn tick(
        &mut self,
        reporting: &[&str],
        upstreams: &[(&str, UpstreamCounts)],
    ) -> Evidence {
        self.now = self.now.plus_ms(1000);
        for sidecar in reporting {
            self.intake.record(&SidecarReport {
                sidecar: (*sidecar).to_owned(),
                at: self.now,
                taken: None,
                unreadable: 0,
                upstreams: upstreams
                    .iter()
                    .map(|(cluster, counts)| ((*cluster).to_owned(), counts.clone()))
                    .collect(),
            });
        }
        self.intake.observe(ARMS, &self.expected, self.now)
    }
}

#[test]
fn counts_of_all_sidecars_add_up_once() {
    let mut bench = Bench::of(&["a", "b"]);
    let evidence = bench.tick(
        &["a", "b"],
        &[("checkout/v1", healthy(95)), ("checkout/v2", healthy(5))],
    );
    assert_eq!(evidence.canary.requests, 10);
    assert_eq!(evidence.stable.requests, 190);
    assert_eq!(evidence.stable.timed, 190);
    assert_eq!((evidence.stable.bad, evidence.stable.slow), (0, 0));
    assert_eq!(bench.tick(&[], &[]).stable.requests, 0);
}

#[test]
fn who_is_still_silent_after_an_outage_is_not_outweighed_by_what_others_catch_up_on() {
    let mut bench = Bench::of(&["a", "b", "c"]);
    for _ in 0..60 {
        bench.tick(&[], &[]);
    }
    let missed = [("checkout/v1", healthy(6_100))];
    let evidence = bench.tick(&["a", "b"], &missed);
    assert_eq!(evidence.stable.requests, 12_200, "it counts all the same");
    assert_eq!(evidence.stable_fresh, crate::units::Ppm::of(2, 3));
    assert_eq!(evidence.silent, ["c"]);
}

#[test]
fn the_first_report_is_a_baseline() {
    let mut intake = Intake::default();
    let expected = BTreeSet::from(["a".to_owned()]);
    intake.observe(ARMS, &expected, Time(0));
    let mut counts = healthy(1_000_000);
    counts.active = Some(50);
    let mut report = SidecarReport {
        sidecar: "a".into(),
        at: Time(1000),
        taken: None,
        unreadable: 0,
        upstreams: BTreeMap::from([("checkout/v1".to_owned(), counts)]),
    };
    intake.record(&report);
    let evidence = intake.observe(ARMS, &expected, Time(1000));
    assert_eq!(evidence.stable.requests, 0);
    assert_eq!(evidence.stable.in_flight, 50);
    report.at = Time(2000);
    report
        .upstreams
        .insert("checkout/v1".to_owned(), healthy(10));
    intake.record(&report);
    // Fifty ended that were issued before the baseline; ten are new.
    let evidence = intake.observe(ARMS, &expected, Time(2000));
    assert_eq!(evidence.stable.requests, 10);
    assert_eq!(evidence.stable.lost, 0);
}

#[test]
fn a_report_stream_that_began_anew_loses_nothing_and_invents_nothing() {
    let mut bench = Bench::of(&["a"]);
    bench.intake.reconnected("a");
    let mut odd = healthy(5000);
    odd.completed = 10;
    odd.active = Some(7);
    assert_eq!(
        bench.tick(&["a"], &[("checkout/v1", odd)]).stable.requests,
        0
    );
    for _ in 0..5 {
        let mut counts = healthy(100);
        counts.active = Some(7);
        let evidence = bench.tick(&["a"], &[("checkout/v1", counts)]);
        assert_eq!((evidence.stable.requests, evidence.stable.lost), (100, 0));
    }
}

#[test]
fn a_hanging_canary_is_slow_within_two_reports_and_detected_within_six() {
    let mut bench = Bench::of(&["a", "b", "c"]);
    let slo = crate::mesh::Slo {
        success: crate::units::Ppm::new(999_000).unwrap(),
        latency: Some(crate::mesh::LatencyObjective {
            threshold_ms: 250,
            share: crate::units::Ppm::new(990_000).unwrap(),
        }),
    };
    let mut battery = crate::evidence::Battery::new(&slo, 300);
    let reverted_at = (1..=20).find(|tick| {
        let hanging = UpstreamCounts {
            requests: 5,
            active: Some(5 * tick),
            ..UpstreamCounts::default()
        };
        let evidence = bench.tick(
            &["a", "b", "c"],
            &[("checkout/v1", healthy(160)), ("checkout/v2", hanging)],
        );
        assert_eq!(evidence.canary.bad, 0, "nothing ended");
        assert_eq!(evidence.canary.slow, if *tick == 1 { 0 } else { 15 });
        assert_eq!(evidence.canary.slow_at[0], evidence.canary.slow, "5 ms");
        let late = if *tick < 5 { 0 } else { 15 };
        assert_eq!(evidence.canary.slow_at[8], late, "2.5 s");
        battery.observe(&evidence, 2.0, bench.now);
        battery.regressed().is_some()
    });
    assert!(reverted_at.is_some_and(|tick| tick <= 6), "{reverted_at:?}");
}

#[test]
fn an_overdue_request_is_counted_once_however_it_ends() {
    let mut bench = Bench::of(&["a"]);
    let stable = || ("checkout/v1", healthy(100));
    let in_flight = |requests, active| UpstreamCounts {
        requests,
        active: Some(active),
        ..UpstreamCounts::default()
    };
    let slow = |bench: &mut Bench, counts: UpstreamCounts| {
        let canary = bench
            .tick(&["a"], &[stable(), ("checkout/v2", counts)])
            .canary;
        (canary.slow, canary.timed)
    };
    assert_eq!(slow(&mut bench, in_flight(4, 4)), (0, 0));
    assert_eq!(slow(&mut bench, in_flight(0, 4)), (4, 4));
    assert_eq!(slow(&mut bench, in_flight(0, 4)), (0, 0));
    // Two time out, two are answered late.
    let mut latency = [0; 10];
    latency[9] = 2;
    let end = UpstreamCounts {
        completed: 4,
        responses: [2, 0, 0, 2],
        timeouts: 2,
        active: Some(0),
        latency: Some(latency),
        ..UpstreamCounts::default()
    };
    assert_eq!(slow(&mut bench, end), (0, 0));
    // One more that is simply slow.
    let mut latency = [0; 10];
    latency[6] = 1;
    latency[4] = 3;
    let late = UpstreamCounts {
        requests: 4,
        completed: 4,
        responses: [4, 0, 0, 0],
        active: Some(0),
        latency: Some(latency),
        ..UpstreamCounts::default()
    };
    assert_eq!(slow(&mut bench, late), (1, 4));
}

#[test]
fn clients_that_give_up_first_are_lost_and_bad() {
    let mut bench = Bench::of(&["a"]);
    let mut lost = 0;
    for _ in 0..6 {
        let given_up = UpstreamCounts {
            requests: 5,
            active: Some(1),
            ..UpstreamCounts::default()
        };
        let evidence = bench.tick(
            &["a"],
            &[("checkout/v1", healthy(100)), ("checkout/v2", given_up)],
        );
        assert_eq!(evidence.canary.bad, evidence.canary.lost);
        assert_eq!(evidence.canary.requests, evidence.canary.lost);
        lost += evidence.canary.lost;
    }
    assert_eq!(lost, 19, "the latest ten are not confirmed yet");
}

#[test]
fn refused_connections_are_bad_though_never_issued() {
    let mut bench = Bench::of(&["a"]);
    let refused = UpstreamCounts {
        completed: 5,
        responses: [0, 0, 0, 5],
        connect_failures: 5,
        active: Some(0),
        ..UpstreamCounts::default()
    };
    let canary = bench.tick(&["a"], &[("checkout/v2", refused)]).canary;
    assert_eq!(
        (canary.requests, canary.bad, canary.lost, canary.issued),
        (5, 5, 0, 0)
    );
}

#[test]
fn grpc_failures_are_bad_though_http_says_200() {
    let mut bench = Bench::of(&["a"]);
    let mut counts = healthy(10);
    counts.grpc_failures = 4;
    let canary = bench.tick(&["a"], &[("checkout/v2", counts)]).canary;
    assert_eq!((canary.requests, canary.bad), (10, 4));
}

#[test]
fn a_source_without_histograms_says_nothing_of_latency() {
    let mut intake = Intake::default();
    let expected = BTreeSet::from(["grpc".to_owned()]);
    intake.observe(ARMS, &expected, Time(0));
    for second in 1..10 {
        let counts = UpstreamCounts {
            requests: 10,
            completed: 10,
            responses: [9, 0, 0, 1],
            active: Some(0),
            ..UpstreamCounts::default()
        };
        intake.record(&SidecarReport {
            sidecar: "grpc".into(),
            at: Time(second * 1000),
            taken: None,
            unreadable: 0,
            upstreams: BTreeMap::from([("checkout/v1".to_owned(), counts)]),
        });
        let stable = intake.observe(ARMS, &expected, Time(second * 1000)).stable;
        assert_eq!((stable.timed, stable.slow), (0, 0));
    }
}

#[test]
fn a_silent_sidecars_requests_are_unknown_and_not_dropped() {
    let mut bench = Bench::of(&["a", "b"]);
    let upstreams = [("checkout/v1", healthy(100))];
    for missed in 1..=6 {
        let evidence = bench.tick(&["a"], &upstreams);
        let fresh = evidence.stable_fresh.get();
        if missed <= 2 {
            assert_eq!(fresh, 1_000_000);
        } else {
            assert!((400_000..600_000).contains(&fresh), "{fresh}");
        }
        let silent: &[&str] = if missed > 4 { &["b"] } else { &[] };
        assert_eq!(evidence.silent, silent);
    }
}

#[test]
fn who_never_reported_is_not_fresh_and_nobody_at_all_is_nothing() {
    let mut bench = Bench::of(&["a"]);
    bench.expected.insert("new".to_owned());
    let evidence = bench.tick(&["a"], &[("checkout/v1", healthy(100))]);
    assert_eq!(evidence.stable_fresh.get(), 500_000);
    assert!(evidence.silent.is_empty());
    bench.expected.clear();
    let evidence = bench.tick(&["a"], &[("checkout/v1", healthy(100))]);
    assert_eq!(evidence.stable_fresh.get(), 0);
    assert_eq!(evidence.canary_fresh.get(), 0);
}

#[test]
fn a_departed_sidecar_is_forgotten() {
    let mut bench = Bench::of(&["a", "b"]);
    bench.intake.departed("b");
    bench.expected.remove("b");
    let evidence = bench.tick(&["a"], &[("checkout/v1", healthy(100))]);
    assert_eq!(evidence.stable_fresh.get(), 1_000_000);
    assert_eq!(bench.intake.sidecars.len(), 1);
}

#[test]
fn only_clusters_of_running_rollouts_are_kept() {
    let mut bench = Bench::of(&["a"]);
    bench.tick(
        &["a"],
        &[("other/v1", healthy(1)), ("checkout/v1", healthy(1))],
    );
    assert_eq!(bench.intake.sidecars["a"].upstreams.len(), 1);
    let later = bench.now.plus_ms(FORGET_AFTER_MS + 1);
    let other = Arms {
        canary: "other/v2",
        stable: "other/v1",
        threshold_ms: None,
    };
    bench.intake.observe(other, &bench.expected, later);
    assert_eq!(bench.intake.sidecars["a"].upstreams.len(), 0);
}

#[test]
fn what_was_not_reported_between_two_rollouts_is_no_evidence() {
    let mut bench = Bench::of(&["a"]);
    let mut busy = healthy(100);
    busy.active = Some(70);
    bench.tick(&["a"], &[("checkout/v1", busy)]);
    bench.intake.forget_others(&BTreeSet::new());
    // Unseen, the seventy end, and `checkout/v2` gets its first requests.
    bench.tick(&["a"], &[]);
    bench.intake.forget_others(&BTreeSet::new());
    bench.now = bench.now.plus_ms(60_000);
    bench.intake.observe(ARMS, &bench.expected, bench.now);
    let mut history = healthy(5);
    history.responses = [0, 0, 0, 5];
    let first = bench.tick(
        &["a"],
        &[("checkout/v1", healthy(100)), ("checkout/v2", history)],
    );
    assert_eq!((first.canary, first.stable), Default::default());
    let evidence = bench.tick(&["a"], &[("checkout/v1", healthy(100))]);
    assert_eq!((evidence.stable.requests, evidence.stable.bad), (100, 0));
}

/// Fresh enough to judge by, by the count of one second.
fn judged(part: crate::units::Ppm) -> bool {
    part.get() >= crate::evidence::FRESH_ENOUGH_PPM
}

#[test]
fn who_falls_silent_soon_after_the_watch_began_is_not_outweighed() {
    let mut bench = Bench::of(&[]);
    bench.expected = ["a", "b", "c"].map(str::to_owned).into();
    for _ in 0..2 {
        bench.tick(&["a", "b", "c"], &[("checkout/v1", healthy(100))]);
    }
    for second in 1..60 {
        let evidence = bench.tick(&["a", "b"], &[("checkout/v1", healthy(100))]);
        assert!(second <= 2 || !judged(evidence.stable_fresh), "{second}");
    }
}

#[test]
fn who_fell_silent_before_a_raise_is_not_outweighed_after_it() {
    let mut bench = Bench::of(&["a", "b", "c"]);
    let all = &["a", "b", "c"];
    let before = [("checkout/v1", healthy(90)), ("checkout/v2", healthy(10))];
    for _ in 0..20 {
        bench.tick(all, &before);
    }
    let after = [("checkout/v1", healthy(0)), ("checkout/v2", healthy(100))];
    for second in 1..60 {
        let evidence = bench.tick(&["a", "b"], &after);
        assert!(second <= 2 || !judged(evidence.canary_fresh), "{second}");
    }
}

#[test]
fn who_reported_only_before_the_watch_began_is_not_left_out() {
    let mut bench = Bench::of(&[]);
    bench.intake = Intake::default();
    bench.intake.record(&SidecarReport {
        sidecar: "c".to_owned(),
        at: bench.now,
        upstreams: BTreeMap::from([("checkout/v1".to_owned(), healthy(100))]),
        ..SidecarReport::default()
    });
    bench.expected = ["a", "b", "c"].map(str::to_owned).into();
    bench.intake.observe(ARMS, &bench.expected, bench.now);
    for second in 1..60 {
        let evidence = bench.tick(&["a", "b"], &[("checkout/v1", healthy(100))]);
        assert!(second <= 2 || !judged(evidence.stable_fresh), "{second}");
    }
}
