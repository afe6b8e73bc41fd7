//! The faults of evidence §6b, from sidecars' reports to the verdict.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::evidence::{Arms, Intake, SidecarReport, Taken, UpstreamCounts};

const SIDECARS: [&str; 3] = ["web-1", "web-2", "web-3"];
const CANARY: &str = "checkout/v2";
const STABLE: &str = "checkout/v1";

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

fn failing(n: u64, failed: u64) -> UpstreamCounts {
    UpstreamCounts {
        responses: [n - failed, 0, 0, failed],
        ..healthy(n)
    }
}

/// A world whose evidence comes from three sidecars' reports, 510 requests/s.
struct Fleet {
    world: World,
    intake: Intake,
    /// Ahead of the receiver's clock, milliseconds.
    clock_off_ms: u64,
}

impl Fleet {
    fn of(world: World) -> Self {
        Self {
            world,
            intake: Intake::default(),
            clock_off_ms: 0,
        }
    }

    /// At the first rung, seen in the traffic.
    fn at_one_host() -> Self {
        let mut fleet = Self::of(World::started());
        fleet.reach(|_, _| {});
        fleet
    }

    /// Until the first rung is seen in the traffic.
    fn reach(&mut self, mut with: impl FnMut(&str, &mut SidecarReport)) {
        for _ in 0..60 {
            if self.world.run().clock.traffic {
                return;
            }
            self.tick(&mut with);
        }
        panic!("never: {:?}", self.world.status());
    }

    /// One second: every sidecar's healthy report, changed by `with` (its name, the report).
    fn tick(&mut self, mut with: impl FnMut(&str, &mut SidecarReport)) {
        let (canary, total) = match self.world.run().share().get() {
            0 => (0, 170),
            1_000_000 => (170, 170),
            share => ((170 * u64::from(share)).div_ceil(1_000_000), 170),
        };
        let at = self.world.now.plus_ms(1000);
        for sidecar in SIDECARS {
            let mut upstreams = BTreeMap::from([(STABLE.to_owned(), healthy(total - canary))]);
            if canary > 0 {
                upstreams.insert(CANARY.to_owned(), healthy(canary));
            }
            let mut report = SidecarReport {
                sidecar: sidecar.to_owned(),
                at,
                taken: Some(Taken {
                    at_ms: at.0 + self.clock_off_ms,
                    received_ms: at.0,
                }),
                unreadable: 0,
                upstreams,
            };
            with(sidecar, &mut report);
            if report.sidecar == sidecar {
                self.intake.record(&report);
            }
        }
        let arms = Arms {
            canary: CANARY,
            stable: STABLE,
            threshold_ms: Some(250),
        };
        let expected: BTreeSet<String> = SIDECARS.map(str::to_owned).into();
        let evidence = self.intake.observe(arms, &expected, at);
        self.world.tick(|o| o.evidence = evidence);
    }

    /// Seconds until it goes back; panics after `most`.
    fn reverts_within(&mut self, most: u64, mut with: impl FnMut(&str, &mut SidecarReport)) -> u64 {
        for second in 1..=most {
            self.tick(&mut with);
            if self.world.phase() == Phase::Reverting {
                return second;
            }
        }
        panic!("not within {most} s: {:?}", self.world.status());
    }

    fn canary(report: &mut SidecarReport) -> Option<&mut UpstreamCounts> {
        report.upstreams.get_mut(CANARY)
    }
}

/// With the default evidence to advance.
fn strict(bake_ms: u64) -> World {
    let mut mesh = mesh();
    let policy = &mut mesh.services.get_mut("checkout").unwrap().rollout;
    policy.advance_burn_rate = 2;
    policy.bake_ms = bake_ms;
    let mut world = World::new(mesh);
    world.start("v2").unwrap();
    world
}

/// The report is not sent.
fn lose(report: &mut SidecarReport) {
    report.sidecar.clear();
}

#[test]
fn t5_a_silent_reporter_of_the_canary_reverts_within_25_seconds_and_is_named() {
    let mut fleet = Fleet::of(strict(60_000));
    // All of the canary's traffic is web-2's, and a fiftieth of stable's.
    let uneven = |sidecar: &str, report: &mut SidecarReport| {
        let counts = Fleet::canary(report).map(|counts| counts.requests);
        report.upstreams.clear();
        let stable = if sidecar == "web-2" { 10 } else { 245 };
        report.upstreams.insert(STABLE.to_owned(), healthy(stable));
        if let (Some(requests), "web-2") = (counts, sidecar) {
            report
                .upstreams
                .insert(CANARY.to_owned(), healthy(3 * requests));
        }
    };
    fleet.reach(uneven);
    for _ in 0..40 {
        fleet.tick(uneven);
    }
    assert_eq!(fleet.world.status().rung, "1 host");
    let seconds = fleet.reverts_within(25, |sidecar, report| match sidecar {
        "web-2" => lose(report),
        _ => uneven(sidecar, report),
    });
    println!("{seconds} s");
    let reason = fleet.world.reason();
    assert!(
        reason.contains("silence") && reason.contains("web-2"),
        "{reason}"
    );
}

#[test]
fn t6_both_arms_failing_for_five_minutes_hold_page_and_revert_nothing() {
    let mut fleet = Fleet::of(strict(10_000));
    fleet.reach(|_, _| {});
    for tick in 1..=300_u64 {
        fleet.tick(|_, report| {
            for counts in report.upstreams.values_mut() {
                // 3%: of a canary's six requests one every five or six seconds.
                let n = counts.requests;
                let failed = n * 3 * tick / 100 - n * 3 * (tick - 1) / 100;
                *counts = failing(n, failed);
            }
        });
        assert_eq!(
            fleet.world.phase(),
            Phase::Judging,
            "{}",
            fleet.world.reason()
        );
        assert_eq!(fleet.world.status().rung, "1 host");
    }
    assert_eq!(fleet.world.waiting().kind, "environment");
    assert_eq!(fleet.world.pages().len(), 1, "{:?}", fleet.world.pages());
    // When it is over, it goes on by itself.
    for _ in 0..600 {
        if fleet.world.status().rung == "5%" {
            return;
        }
        fleet.tick(|_, _| {});
    }
    panic!("never: {:?}", fleet.world.status());
}

#[test]
fn t12_a_canary_that_hangs_reverts_within_15_seconds() {
    let mut fleet = Fleet::at_one_host();
    let mut hanging = BTreeMap::from(SIDECARS.map(|sidecar| (sidecar, 0)));
    let seconds = fleet.reverts_within(15, |sidecar, report| {
        let in_flight = hanging.get_mut(sidecar).unwrap();
        if let Some(counts) = Fleet::canary(report) {
            *in_flight += counts.requests;
            *counts = UpstreamCounts {
                requests: counts.requests,
                active: Some(*in_flight),
                ..UpstreamCounts::default()
            };
        }
    });
    println!("{seconds} s: {}", fleet.world.reason());
}

#[test]
fn t13_retries_do_not_hide_the_canarys_errors() {
    let mut fleet = Fleet::at_one_host();
    // Each request that failed was tried again and succeeded: users saw no failure at all.
    let seconds = fleet.reverts_within(25, |_, report| {
        if let Some(counts) = Fleet::canary(report) {
            *counts = failing(counts.requests + 2, 2);
        }
    });
    println!("{seconds} s");
    assert!(
        fleet.world.reason().starts_with("errors: "),
        "{}",
        fleet.world.reason()
    );
}

#[test]
fn t13_an_ejected_canary_is_a_share_fault() {
    let mut fleet = Fleet::at_one_host();
    let mut held = None;
    let seconds = fleet.reverts_within(60, |_, report| {
        report.upstreams.insert(STABLE.to_owned(), healthy(170));
        report
            .upstreams
            .insert(CANARY.to_owned(), UpstreamCounts::default());
    });
    for entry in fleet.world.status().history {
        if entry.text.starts_with("held (share)") {
            held = Some(entry.at);
        }
    }
    println!("{seconds} s, held at {held:?}");
    assert!(
        fleet.world.reason().contains("share"),
        "{}",
        fleet.world.reason()
    );
}

#[test]
fn t14_half_an_hour_without_requests_holds_with_a_reason_and_pages() {
    let mut fleet = Fleet::at_one_host();
    for _ in 0..1_860 {
        fleet.tick(|_, report| {
            for counts in report.upstreams.values_mut() {
                *counts = UpstreamCounts {
                    active: Some(0),
                    ..UpstreamCounts::default()
                };
            }
        });
        assert_eq!(
            fleet.world.status().rung,
            "1 host",
            "{}",
            fleet.world.reason()
        );
    }
    let waiting = fleet.world.waiting();
    assert_eq!(
        (waiting.kind.as_str(), waiting.clock_stopped),
        ("traffic", true)
    );
    assert!(waiting.overdue);
    assert!(
        fleet
            .world
            .pages()
            .iter()
            .any(|page| page.contains("past its deadline"))
    );
}

#[test]
fn t14_numbers_that_are_none_hold_with_a_reason() {
    let mut fleet = Fleet::at_one_host();
    let before = fleet.world.status().canary.requests;
    for _ in 0..300 {
        fleet.tick(|_, report| {
            // The decoder leaves out a sample that holds a NaN.
            report.upstreams.clear();
            report.unreadable = 2;
        });
        assert_eq!(
            fleet.world.status().rung,
            "1 host",
            "{}",
            fleet.world.reason()
        );
    }
    assert_eq!(fleet.world.phase(), Phase::Judging);
    assert_eq!(fleet.world.waiting().kind, "traffic");
    let status = fleet.world.status();
    assert_eq!(status.canary.requests, before);
    assert_eq!(status.reports.unreadable, 300 * 6);
}

#[test]
fn t14_counters_that_begin_anew_neither_advance_nor_revert() {
    let mut fleet = Fleet::at_one_host();
    for second in 0..300 {
        for sidecar in SIDECARS {
            if second % 2 == 0 {
                fleet.intake.reconnected(sidecar);
            }
        }
        fleet.tick(|_, report| {
            if second % 2 == 1 {
                return;
            }
            for counts in report.upstreams.values_mut() {
                // All that was ever counted, and a count that fell.
                *counts = failing(50_000, 49_000);
                counts.requests = 40_u64.wrapping_sub(50_000);
            }
        });
        assert_ne!(
            fleet.world.phase(),
            Phase::Reverting,
            "{}",
            fleet.world.reason()
        );
    }
    let reports = fleet.world.status().reports;
    assert!(reports.resets > 0 && reports.backwards > 0, "{reports:?}");
    assert_eq!(fleet.world.status().canary.bad, 0);
}

#[test]
fn t14_a_sidecars_clock_that_jumps_changes_nothing() {
    let mut fleet = Fleet::at_one_host();
    let mut second = 0_u64;
    while !fleet.world.phase().is_final() {
        second += 1;
        fleet.clock_off_ms = [0, 86_400_000, 3_000, 0][usize::try_from(second / 10 % 4).unwrap()];
        fleet.tick(|_, _| {});
        assert!(second < 300, "{:?}", fleet.world.status());
    }
    assert_eq!(
        fleet.world.phase(),
        Phase::Committed,
        "{}",
        fleet.world.reason()
    );
    assert!(fleet.world.status().reports.skewed > 0);
}

#[test]
fn t14_the_engines_clock_that_stands_or_goes_back_advances_nothing() {
    let mut world = World::started();
    world.reach("1 host");
    let start = world.now;
    for tick in 0..600 {
        world.now = if tick % 3 == 0 {
            Time(0)
        } else {
            Time(start.0 - 1_000)
        };
        world.tick(|_| {});
        assert_eq!(world.status().rung, "1 host");
        assert_eq!(world.phase(), Phase::Judging, "{}", world.reason());
    }
}
