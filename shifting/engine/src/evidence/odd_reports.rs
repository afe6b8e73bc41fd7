//! Reports that are not one a second in order: each kind is handled, and counted.

use super::tests::{ARMS, Bench, healthy};
use super::*;
use crate::evidence::Taken;

const STABLE: &str = "checkout/v1";

/// A report of sidecar `a` about stable, taken at `taken_ms` on its own clock.
fn report(bench: &Bench, counts: UpstreamCounts, taken_ms: Option<u64>) -> SidecarReport {
    SidecarReport {
        sidecar: "a".into(),
        at: bench.now,
        taken: taken_ms.map(|at_ms| Taken {
            at_ms,
            received_ms: bench.now.0,
        }),
        unreadable: 0,
        upstreams: BTreeMap::from([(STABLE.to_owned(), counts)]),
    }
}

/// A second passes, these reports come, a tick asks.
fn tick(bench: &mut Bench, reports: impl FnOnce(&Bench) -> Vec<SidecarReport>) -> Evidence {
    bench.now = bench.now.plus_ms(1000);
    for report in reports(bench) {
        bench.intake.record(&report);
    }
    bench.intake.observe(ARMS, &bench.expected, bench.now)
}

#[test]
fn one_report_a_second_is_nothing_odd() {
    let mut bench = Bench::of(&["a", "b"]);
    let evidence = bench.tick(&["a", "b"], &[(STABLE, healthy(100))]);
    assert!(evidence.reports.is_none(), "{:?}", evidence.reports);
}

#[test]
fn a_stream_that_begins_anew_is_a_reset() {
    let mut bench = Bench::of(&["a"]);
    bench.intake.reconnected("a");
    bench.intake.reconnected("nobody");
    let evidence = bench.tick(&["a"], &[(STABLE, healthy(100))]);
    assert_eq!(evidence.reports.resets, 1);
    assert_eq!(evidence.stable.requests, 0, "a baseline");
    let evidence = bench.tick(&["a"], &[(STABLE, healthy(100))]);
    assert_eq!(evidence.stable.requests, 100);
    assert!(evidence.reports.is_none());
}

#[test]
fn a_count_that_fell_is_left_out_and_the_next_one_is_a_baseline() {
    let mut bench = Bench::of(&["a"]);
    // As a counter of a restarted sidecar: 5 − 100, unsigned.
    let mut fell = healthy(100);
    fell.responses[3] = 5_u64.wrapping_sub(100);
    let evidence = bench.tick(&["a"], &[(STABLE, fell)]);
    assert_eq!(evidence.reports.backwards, 1);
    assert_eq!((evidence.stable.requests, evidence.stable.bad), (0, 0));
    let mut after = healthy(1_000);
    after.active = Some(40);
    assert_eq!(bench.tick(&["a"], &[(STABLE, after)]).stable.requests, 0);
    for _ in 0..5 {
        let stable = bench.tick(&["a"], &[(STABLE, healthy(100))]).stable;
        assert_eq!((stable.requests, stable.lost), (100, 0));
    }
}

#[test]
fn every_count_may_be_the_one_that_fell() {
    let wrong = u64::MAX - 3;
    let spoil: [fn(&mut UpstreamCounts, u64); 8] = [
        |c, n| c.requests = n,
        |c, n| c.completed = n,
        |c, n| c.responses[0] = n,
        |c, n| c.timeouts = n,
        |c, n| c.grpc_failures = n,
        |c, n| c.connect_failures = n,
        |c, n| c.active = Some(n),
        |c, n| c.latency = Some([n; 10]),
    ];
    for spoil in spoil {
        let mut bench = Bench::of(&["a"]);
        let mut counts = healthy(100);
        spoil(&mut counts, wrong);
        let evidence = bench.tick(&["a"], &[(STABLE, counts)]);
        assert_eq!(evidence.reports.backwards, 1);
        assert_eq!(evidence.stable.requests, 0);
    }
}

#[test]
fn the_same_report_again_counts_once_and_is_no_sign_of_life() {
    let mut bench = Bench::of(&["a"]);
    let stuck = |bench: &Bench| vec![report(bench, healthy(100), Some(7_000_000))];
    assert_eq!(tick(&mut bench, stuck).stable.requests, 100);
    for missed in 1..=6 {
        let evidence = tick(&mut bench, stuck);
        assert_eq!(evidence.stable.requests, 0);
        assert_eq!(evidence.reports.repeated, 1);
        assert_eq!(evidence.stable_fresh.get() == 0, missed > 2, "{missed}");
        assert_eq!(!evidence.silent.is_empty(), missed > 4, "{missed}");
    }
}

#[test]
fn the_parts_of_one_flush_add_up() {
    let mut bench = Bench::of(&["a"]);
    let evidence = tick(&mut bench, |bench| {
        let taken = Some(9_000_000);
        let idle = UpstreamCounts::default();
        vec![
            report(bench, healthy(60), taken),
            report(bench, healthy(40), taken),
            report(bench, idle.clone(), taken),
            report(bench, idle, taken),
        ]
    });
    assert_eq!(evidence.stable.requests, 100);
    assert_eq!(evidence.reports.repeated, 0);
}

#[test]
fn skipped_intervals_are_counted_and_what_they_held_is_not_lost() {
    let mut bench = Bench::of(&["a"]);
    for _ in 0..3 {
        tick(&mut bench, |_| Vec::new());
    }
    let evidence = tick(&mut bench, |bench| vec![report(bench, healthy(400), None)]);
    assert_eq!(evidence.reports.skipped, 3);
    assert_eq!(evidence.stable.requests, 400);
    // A little late is not skipped.
    bench.now = bench.now.plus_ms(400);
    let evidence = tick(&mut bench, |bench| vec![report(bench, healthy(100), None)]);
    assert_eq!(evidence.reports.skipped, 0);
}

#[test]
fn a_report_that_was_overtaken_counts_but_not_what_was_in_flight_then() {
    let mut bench = Bench::of(&["a"]);
    let begin = bench.now.0 + 1_000;
    tick(&mut bench, |b| vec![report(b, healthy(100), Some(begin))]);
    let mut overtaken = healthy(100);
    overtaken.active = Some(5_000);
    overtaken.requests += 5_000;
    let evidence = tick(&mut bench, |bench| {
        vec![
            report(bench, healthy(100), Some(begin + 2_000)),
            report(bench, overtaken, Some(begin + 1_000)),
        ]
    });
    assert_eq!(evidence.reports.late, 1);
    assert_eq!(evidence.stable.requests, 200);
    assert_eq!(evidence.stable.in_flight, 0);
    for second in 3..10 {
        let stable = tick(&mut bench, |bench| {
            vec![report(bench, healthy(100), Some(begin + second * 1_000))]
        })
        .stable;
        assert_eq!((stable.requests, stable.lost, stable.slow), (100, 0, 0));
    }
}

#[test]
fn what_an_overtaken_report_began_does_not_hide_later_losses() {
    let mut bench = Bench::of(&["a"]);
    let begin = bench.now.0 + 1_000;
    tick(&mut bench, |b| vec![report(b, healthy(100), Some(begin))]);
    let with = |requests, completed, active| UpstreamCounts {
        requests,
        completed,
        active: Some(active),
        ..healthy(100)
    };
    tick(&mut bench, |bench| {
        vec![
            report(bench, with(100, 100, 50), Some(begin + 2_000)),
            report(bench, with(150, 100, 50), Some(begin + 1_000)),
        ]
    });
    let lost: u64 = (3..13)
        .map(|second| {
            tick(&mut bench, |bench| {
                let given_up = with(105, 100, 50);
                vec![report(bench, given_up, Some(begin + second * 1_000))]
            })
            .stable
            .lost
        })
        .sum();
    assert!((20..=40).contains(&lost), "{lost}");
}

#[test]
fn a_clock_that_is_off_or_jumps_is_counted_and_changes_nothing() {
    let mut bench = Bench::of(&["a"]);
    let honest = bench.now.0;
    let clocks = [honest, honest + 600_000, honest + 601_000, 1_000, 2_000];
    for (taken_ms, skewed) in clocks.into_iter().zip([0, 1, 1, 1, 1]) {
        let evidence = tick(&mut bench, |b| {
            vec![report(b, healthy(100), Some(taken_ms))]
        });
        assert_eq!(evidence.stable.requests, 100);
        assert_eq!(evidence.stable.lost, 0);
        assert_eq!(evidence.stable_fresh.get(), 1_000_000);
        let reports = evidence.reports;
        assert_eq!((reports.skewed, reports.late), (skewed, 0), "{taken_ms}");
    }
}

#[test]
fn a_sample_that_was_unreadable_is_missing_and_makes_nothing_lost_or_slow() {
    let mut bench = Bench::of(&["a"]);
    let busy = |active| {
        let mut counts = healthy(100);
        counts.active = Some(active);
        counts
    };
    tick(&mut bench, |b| vec![report(b, busy(0), None)]);
    for round in 0..4 {
        let evidence = tick(&mut bench, |bench| {
            let mut nan = report(bench, busy(0), None);
            nan.upstreams.clear();
            nan.unreadable = 2;
            vec![nan]
        });
        assert_eq!(evidence.reports.unreadable, 2);
        assert_eq!(evidence.stable.requests, 0);
        assert_eq!(evidence.stable_fresh.get(), 1_000_000);
        // Meanwhile 570 began, within the last second or the one before; then they end.
        for active in [570 * (round % 2), 0, 0] {
            let stable = tick(&mut bench, |b| vec![report(b, busy(active), None)]).stable;
            assert_eq!((stable.requests, stable.lost), (100, 0));
            assert_eq!(stable.slow_at[8], 0, "none is 2.5 s old");
        }
    }
}

#[test]
fn what_both_arms_hear_of_one_report_is_counted_once() {
    let mut bench = Bench::of(&["a"]);
    let both = || vec![("checkout/v1", healthy(95)), ("checkout/v2", healthy(5))];
    bench.tick(&["a"], &both());
    bench.tick(&[], &[]);
    assert_eq!(bench.tick(&["a"], &both()).reports.skipped, 1);
}
