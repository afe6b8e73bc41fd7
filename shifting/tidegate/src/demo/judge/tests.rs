use tidegate_engine::rollout::HistoryEntry;
use tidegate_engine::time::Time;

use super::super::behaviour::Fault;
use super::*;
use crate::show::samples::judging;

const SECOND: u64 = 1_000_000;

/// 10 s at 100 requests/s, every 20th on the canary; the rollout starts at 1 s.
fn run(scenario: Scenario, phase: Phase) -> Run {
    let mut status = judging();
    status.phase = phase;
    let mut run = Run {
        scenario,
        rate: 100,
        started_us: SECOND,
        ended_us: 9 * SECOND,
        stopped_us: 10 * SECOND,
        rungs: vec![Rung {
            name: "5%".into(),
            phase: Phase::Judging,
            share: Ppm::new(50_000).unwrap(),
            since_us: SECOND,
        }],
        status,
        decided_us: None,
        answers: Vec::new(),
        seen: Vec::new(),
        loss: None,
    };
    for request in 1..=1_000 {
        let arm = if request % 20 == 0 {
            Arm::Canary
        } else {
            Arm::Stable
        };
        let at_us = request * SECOND / 100;
        run.seen.push(Seen {
            request,
            arrived_us: at_us,
            arm,
            fault: None,
        });
        run.answers.push(Answered {
            request,
            due_us: at_us,
            ended_us: at_us + 5_000,
            result: Ok(200),
            arm: Some(arm),
        });
    }
    run
}

/// The canary fails from `from` s on and is gone at `gone` s; what it would have had since then
/// is on stable.
fn failing(mut run: Run, from: u64, gone: u64) -> Run {
    for (seen, answered) in run.seen.iter_mut().zip(&mut run.answers) {
        if seen.arm == Arm::Stable {
            continue;
        }
        if seen.arrived_us >= gone * SECOND {
            seen.arm = Arm::Stable;
            answered.arm = Some(Arm::Stable);
        } else if seen.arrived_us >= from * SECOND {
            seen.fault = Some(Fault::Failed);
            answered.result = Ok(500);
        }
    }
    run
}

fn differing(measured: &Measurements) -> Vec<&str> {
    let differing = measured
        .expectations
        .iter()
        .filter(|expectation| !expectation.held);
    differing
        .map(|expectation| expectation.name.as_str())
        .collect()
}

#[test]
fn a_quick_revert_is_as_it_should_be_and_the_sentence_has_the_figures() {
    let mut run = failing(run(Scenario::Errors, Phase::Reverted), 2, 6);
    run.decided_us = Some(5 * SECOND + 900_000);
    let measured = judge(&run);
    assert_eq!(differing(&measured), [""; 0]);
    assert!(measured.as_expected);
    assert_eq!(
        measured.sentence,
        "checkout v1 → v2: reverted 3.90 s after the first failure; 20 of 1,000 requests failed, \
         0 of them on v1; last canary-served request 3.80 s after the first failure"
    );
    assert_eq!(measured.first_failure_to_last_canary_ms, Some(3_800));
    assert_eq!(measured.decision_to_last_canary_ms, Some(0));
    assert_eq!(
        (measured.failed_on_canary, measured.failed_on_stable),
        (20, 0)
    );
}

#[test]
fn a_slow_revert_and_a_failure_on_stable_are_told() {
    let mut run = failing(run(Scenario::Errors, Phase::Reverted), 0, 10);
    run.seen.iter_mut().for_each(|seen| seen.arrived_us *= 2);
    run.answers[0].result = Ok(503);
    let measured = judge(&run);
    assert!(!measured.as_expected);
    assert_eq!(
        differing(&measured),
        [
            "no request failed on v1",
            "the last request on v2 came within 10 s of the first failure"
        ]
    );
}

#[test]
fn a_scenario_in_which_nothing_was_wrong_proves_nothing() {
    let slow = judge(&run(Scenario::Slow, Phase::Reverted));
    assert_eq!(
        differing(&slow),
        ["the last request on v2 came within 30 s of the first slow answer"]
    );
    assert_eq!(
        differing(&judge(&run(Scenario::Gone, Phase::Reverted))),
        ["it did not advance on silence"]
    );
}

#[test]
fn a_healthy_rollout_must_be_promoted_with_all_traffic() {
    let mut good = run(Scenario::Healthy, Phase::Committed);
    for seen in good
        .seen
        .iter_mut()
        .filter(|seen| seen.arrived_us > 8 * SECOND)
    {
        seen.arm = Arm::Canary;
    }
    good.rungs.push(Rung {
        name: "100%".into(),
        phase: Phase::Committed,
        share: Ppm::WHOLE,
        since_us: 8 * SECOND,
    });
    let measured = judge(&good);
    assert_eq!(differing(&measured), [""; 0]);
    assert_eq!(
        measured.sentence,
        "checkout v1 → v2: promoted after 8.0 s; 0 of 1,000 requests failed"
    );
    let bad = judge(&run(Scenario::Healthy, Phase::Reverted));
    assert_eq!(
        differing(&bad),
        ["the rollout is promoted", "v2 has all requests at the end"]
    );
}

#[test]
fn more_traffic_than_the_rung_allows_is_told() {
    let mut run = run(Scenario::Gone, Phase::Reverted);
    run.seen
        .iter_mut()
        .step_by(3)
        .for_each(|seen| seen.arm = Arm::Canary);
    let measured = judge(&run);
    assert!(differing(&measured).contains(&"v2 had no more of the requests than each rung allows"));
}

#[test]
fn an_advance_after_a_death_needs_requests_that_living_hosts_answered() {
    let dead = |advanced_at: u64| {
        let mut run = run(Scenario::Gone, Phase::Reverted);
        run.seen[19].fault = Some(Fault::Unanswered);
        run.status.plan.rungs[0].share = Ppm::new(50_000).unwrap();
        run.rungs.push(Rung {
            name: "100%".into(),
            phase: Phase::Soaking,
            share: Ppm::WHOLE,
            since_us: advanced_at,
        });
        judge(&run)
    };
    // 5 canary requests a second.
    assert_eq!(
        differing(&dead(3 * SECOND)),
        ["it did not advance on silence"]
    );
    assert_eq!(
        differing(&dead(11 * SECOND)),
        ["it did not advance on silence"]
    );
}

fn lost() -> Run {
    let mut run = failing(run(Scenario::ControlPlaneLoss, Phase::Reverted), 11, 4);
    let mut before = run.status.clone();
    before.phase = Phase::Judging;
    before.share_wanted = Ppm::new(50_000).unwrap();
    before.rung = "5%".into();
    run.status.history.push(HistoryEntry {
        at: Time(1),
        text: "came back after 8 s".into(),
    });
    run.loss = Some(Loss {
        killed_us: SECOND,
        restarted_us: 9 * SECOND,
        before,
        resent: BTreeMap::from([("rtds".into(), 3)]),
        highest_after: Ppm::ZERO,
    });
    run
}

#[test]
fn a_survived_loss_is_as_it_should_be() {
    let measured = judge(&lost());
    assert_eq!(differing(&measured), [""; 0]);
    assert_eq!(measured.canary_zero_after_kill_ms, Some(2_800));
    assert_eq!(
        measured.sentence,
        "checkout v1 → v2: control plane killed at 5%; last canary-served request 2.80 s later, \
         by a time-to-live of 6.00 s; 0 of 1,000 requests failed; back after 8.00 s, it sent 0 \
         clusters and 0 listeners again, and the rollout is reverted"
    );
}

#[test]
fn whatever_a_loss_breaks_is_told() {
    let mut run = lost();
    run.status.history.pop();
    run.status.phase = Phase::Committed;
    if let Some(loss) = &mut run.loss {
        loss.killed_us = 0;
        loss.resent = BTreeMap::from([("cds".into(), 2)]);
        loss.highest_after = Ppm::WHOLE;
    }
    for seen in run
        .seen
        .iter_mut()
        .filter(|seen| seen.arrived_us == 8 * SECOND)
    {
        seen.arm = Arm::Canary;
    }
    run.answers[3].result = Ok(503);
    assert_eq!(
        differing(&judge(&run)),
        [
            "no request failed on v1",
            "no request failed",
            "v2 had no request later than 7.0 s after the kill",
            "after the restart no cluster and no listener was sent again",
            "after the restart the rollout did not move up",
            "the journal tells what happened",
        ]
    );
}
