use super::*;
use crate::evidence::random::Random;
use crate::evidence::{HOLD_AT, REVERT_AT, enough};

const RHO: f64 = 1.5;

/// Failure rates of the cells.
#[derive(Debug, Clone, Copy)]
struct Rates {
    neither: f64,
    version: f64,
    revision: f64,
    both: f64,
}

/// Of 200 requests/s a fifth goes through the sidecar that has the new revision, and a twentieth
/// to the new version.
fn second(rates: Rates, random: &mut Random) -> Cells {
    let through_new = random.binomial(200, 0.2);
    let mut cell = |requests: u64, rate: f64| Cell {
        requests,
        bad: random.binomial(requests, rate),
        timed: requests,
        slow: 0,
    };
    let mut split = |requests: u64, old: f64, new: f64| {
        let of_new = (requests + 10) / 20;
        (cell(requests - of_new, old), cell(of_new, new))
    };
    let (neither, version) = split(200 - through_new, rates.neither, rates.version);
    let (revision, both) = split(through_new, rates.revision, rates.both);
    Cells {
        neither,
        version,
        revision,
        both,
    }
}

/// In how many of 100 rollouts of two minutes each is found alone, and either where both meet.
fn found(rates: Rates) -> [usize; 3] {
    let mut found = [0; 3];
    for seed in 0..100 {
        let (mut random, mut crossed) = (Random::new(seed), Crossed::new(120));
        let mut ever = [false; 3];
        for _ in 0..120 {
            crossed.observe(&second(rates, &mut random), RHO, Time(0));
            let beside = [Subject::Version, Subject::Revision].map(|it| crossed.beside(it));
            ever[0] |= enough(crossed.alone(Subject::Version), HOLD_AT);
            ever[1] |= enough(crossed.alone(Subject::Revision), HOLD_AT);
            ever[2] |= beside.iter().any(|e| enough(*e, HOLD_AT));
        }
        for (count, ever) in found.iter_mut().zip(ever) {
            *count += usize::from(ever);
        }
    }
    found
}

const HEALTHY: f64 = 0.001;

#[test]
fn a_bad_revision_is_told_from_the_version_beside_it() {
    let [version, revision, _] = found(Rates {
        neither: HEALTHY,
        version: HEALTHY,
        revision: 0.2,
        both: 0.2,
    });
    assert_eq!((version <= 5, revision), (true, 100), "{version}");
}

#[test]
fn a_bad_version_is_told_from_the_revision_beside_it() {
    let [version, revision, _] = found(Rates {
        neither: HEALTHY,
        version: 0.2,
        revision: HEALTHY,
        both: 0.2,
    });
    assert_eq!((version, revision <= 5), (100, true), "{revision}");
}

#[test]
fn both_are_found_when_both_are_bad() {
    let [version, revision, _] = found(Rates {
        neither: HEALTHY,
        version: 0.2,
        revision: 0.2,
        both: 0.36,
    });
    assert_eq!((version, revision), (100, 100));
}

#[test]
fn what_fails_only_where_both_meet_is_neithers_alone() {
    let [version, revision, beside] = found(Rates {
        neither: HEALTHY,
        version: HEALTHY,
        revision: HEALTHY,
        both: 0.6,
    });
    assert!(version <= 5 && revision <= 5, "{version} {revision}");
    assert_eq!(beside, 100);
}

#[test]
fn an_incident_that_hits_every_cell_is_nobodys() {
    let [version, revision, beside] = found(Rates {
        neither: 0.2,
        version: 0.2,
        revision: 0.2,
        both: 0.2,
    });
    assert!(version <= 5 && revision <= 5 && beside <= 10);
}

/// At the edge of its null, beside a revision that is as bad as can be, and looked at every second
/// for ten minutes: false at most once in 20 at 20, and at most once in 1,000 at 1,000.
#[test]
fn the_others_fault_does_not_weaken_what_is_promised() {
    let (stable, revision) = (0.01, 0.5);
    let odds = |rate: f64| RHO * rate / (1.0 - rate);
    let tolerated = |rate: f64| odds(rate) / (1.0 + odds(rate));
    let rates = Rates {
        neither: stable,
        version: tolerated(stable),
        revision,
        both: tolerated(revision),
    };
    let (mut held, mut certain) = (0, 0);
    for seed in 0..1_000 {
        let (mut random, mut crossed) = (Random::new(seed), Crossed::new(600));
        let mut most: f64 = 0.0;
        for _ in 0..600 {
            crossed.observe(&second(rates, &mut random), RHO, Time(0));
            most = most.max(crossed.alone(Subject::Version));
        }
        held += usize::from(enough(most, HOLD_AT));
        certain += usize::from(enough(most, REVERT_AT));
    }
    assert!(held <= 50 && certain <= 1, "{held} {certain}");
}

#[test]
fn empty_cells_tell_nothing_and_slowness_counts_too() {
    let mut crossed = Crossed::new(120);
    crossed.observe(&Cells::default(), RHO, Time(0));
    assert!((crossed.alone(Subject::Version) - 1.0).abs() < 1e-9);
    let cell = |requests, slow| Cell {
        requests,
        bad: 0,
        timed: requests,
        slow,
    };
    for _ in 0..20 {
        let cells = Cells {
            neither: cell(190, 0),
            version: cell(10, 5),
            ..Cells::default()
        };
        crossed.observe(&cells, RHO, Time(0));
    }
    assert!(enough(crossed.alone(Subject::Version), HOLD_AT));
}

/// Hosts that warm up fail for two seconds; an hour later nobody is blamed for that.
#[test]
fn between_services_a_past_burst_does_not_tell_for_ever() {
    let cell = |requests: u64, bad: u64| Cell {
        requests,
        bad,
        ..Cell::default()
    };
    let told = |mut crossed: Crossed| {
        let mut tell = |seconds: u64, bad: u64, from: u64| {
            for second in from..from + seconds {
                let cells = Cells {
                    neither: cell(950, 0),
                    version: cell(50, bad),
                    ..Cells::default()
                };
                crossed.observe(&cells, RHO, Time(second * 1_000));
            }
            enough(crossed.alone(Subject::Version), HOLD_AT)
        };
        (tell(2, 10, 0), tell(600, 0, 2))
    };
    assert_eq!(told(Crossed::of_services(3_600)), (true, false));
    assert_eq!(
        told(Crossed::new(3_600)),
        (true, true),
        "as journals have it"
    );
}
