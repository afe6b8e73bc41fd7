use tidegate_engine::rollout::{
    Approval, HistoryEntry, Queued, QueuedStatus, Rejection, Terms, WitnessStatus,
};
use tidegate_engine::time::Time;

use super::super::samples::judging;
use super::*;

#[test]
fn a_rollout_shows_three_shares_both_arms_the_evidence_and_why_it_waits() {
    assert_eq!(
        rollout(&judging(), &Style::plain()),
        "\
checkout v1 → v2  judging at 1 host for 4.0 s (rollout 3, started 12 s ago by ann)
share      wanted 3.2258% · acknowledged by 3 of 3 sidecars · measured 3.14%
               requests  failed              lost    slow (> 250 ms)       in flight
canary              163  80 (49.08%)         0       2 (1.23%)             2          v2
stable            4,870  0 (0%)              0       12 (0.25%)            9          v1
evidence   errors 12.4 of 1000 · latency 0.5 of 1000
to advance errors 0.04 of 20 · latency 31.2 of 20, proven
budget     80 of 64,800 failed requests spent
decision   waits: this rung is watched for at least 12 s
           tidegate rollout abort checkout
way back   ready, to v1: tidegate rollout abort checkout
known good v1 (rollout 2, 60 s ago)
history           12 s ago  started by ann: v1 → v2
                   4 s ago  1 host was acknowledged by 3 of 3
"
    );
}

#[test]
fn everything_fits_the_width_however_long_the_words_are() {
    let mut status = judging();
    let long = "because of a rather long explanation ".repeat(9);
    status.history.push(HistoryEntry {
        at: Time(99_000),
        text: long.clone(),
    });
    status.rejected.push(Rejection {
        sidecar: "sidecar-1".into(),
        text: "x".repeat(300),
    });
    status.behind = (0..40).map(|n| format!("sidecar-number-{n}")).collect();
    status.decision = Decision::Revert { reason: long };
    let text = rollout(&status, &Style::plain());
    for line in text.lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }
    assert!(text.contains("and 32 more"), "{text}");
}

#[test]
fn what_is_tolerated_of_hosts_for_their_past_is_shown() {
    let mut status = judging();
    status.host_ratio_ppm = Some(3_138_428);
    let text = rollout(&status, &Style::plain());
    assert!(text.contains("hosts      on v1 the odds"), "{text}");
    assert!(text.contains("at most 3.1 times"), "{text}");
}

#[test]
fn the_numbers_of_a_second_source_are_shown_beside_its_trouble() {
    let mut status = judging();
    let mut evidence = status.evidence.clone();
    evidence[0].e_value = 2.5;
    status.witness = Some(Box::new(WitnessStatus {
        url: "http://127.0.0.1:9090".into(),
        canary: ArmCounts {
            requests: 120,
            bad: 3,
            ..ArmCounts::default()
        },
        stable: ArmCounts {
            requests: 4_500,
            ..ArmCounts::default()
        },
        canary_fresh: Ppm::ZERO,
        stable_fresh: Ppm::WHOLE,
        trouble: Some("Prometheus does not answer".into()),
        evidence,
        objection: Some("Prometheus tells too little".into()),
    }));
    let text = rollout_now(&status, &Style::plain());
    assert!(
        text.contains(
            "
evidence   errors 12.4 of 1000 · latency 0.5 of 1000
witness    Prometheus at http://127.0.0.1:9090, of 0% of the canary's traffic and 100% of stable's
           canary 3 of 120 failed, stable 0 of 4,500 failed
           errors 2.5 of 20 · latency 0.5 of 20
           Prometheus does not answer
to advance "
        ),
        "{text}"
    );
}

#[test]
fn a_way_back_that_is_closed_says_why() {
    let mut status = judging();
    status.way_back = Some(tidegate_engine::rollout::WayBack {
        version: None,
        ready: false,
        text: "nothing to go back to".into(),
    });
    let text = rollout_now(&status, &Style::plain());
    assert!(text.contains("way back   nothing to go back to"), "{text}");
}

#[test]
fn who_approved_and_what_waits_behind_it_is_shown() {
    let mut status = judging();
    status.approvals.push(Approval {
        rung: 1,
        actor: "ben".into(),
        at: Time(90_000),
    });
    status.queue.push(QueuedStatus {
        queued: Queued {
            service: "checkout".into(),
            to: "v3".into(),
            actor: "ann".into(),
            since: Time(95_000),
            until: Time(900_000),
            terms: Terms::default(),
        },
        owner: "ben".into(),
        reason: "waits for the rollout to `v2`, at 1 host".into(),
        command: "tidegate rollout cancel checkout v3".into(),
    });
    let text = rollout(&status, &Style::plain());
    for part in [
        "approved   5% by ben, 10 s ago",
        "next       v3 waits for the rollout to `v2`, at 1 host",
        "tidegate rollout cancel checkout v3",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn a_service_without_a_latency_objective_has_no_slow_column() {
    let mut status = judging();
    status.plan.slo.latency = None;
    assert!(!rollout_now(&status, &Style::plain()).contains("slow"));
}

#[test]
fn no_traffic_is_not_shown_as_zero_percent() {
    let mut status = judging();
    status.share_measured = None;
    status.canary = ArmCounts::default();
    let text = rollout_now(&status, &Style::plain());
    assert!(text.contains("measured nothing yet"), "{text}");
    assert!(text.contains("canary                0  -"), "{text}");
}

#[test]
fn a_stopped_clock_and_an_overdue_hold_are_said() {
    let mut status = judging();
    if let Decision::Wait(waiting) = &mut status.decision {
        waiting.clock_stopped = true;
        waiting.overdue = true;
        waiting.until = Some(Time(40_000));
    }
    let line = rollout_line(&status);
    assert!(
        line.ends_with("(overdue for 60 s, the clock of the step is stopped)"),
        "{line}"
    );
}

#[test]
fn a_reverted_rollout_says_why() {
    let mut status = judging();
    status.phase = Phase::Reverted;
    status.decision = Decision::Done;
    status.revert_reason = Some("49.08% of 163 requests failed".into());
    let line = rollout_line(&status);
    assert_eq!(
        line,
        "checkout v1 → v2: reverted, wanted 3.2258%, measured 3.14%; \
         canary 80 of 163 failed, stable 0 of 4,870 failed; \
         done: went back, because 49.08% of 163 requests failed"
    );
}

#[test]
fn strangers_cannot_drive_the_terminal() {
    let mut status = judging();
    status.actor = "ann\u{1b}]0;evil\u{7}".into();
    status.plan.service = "a\u{1b}[2Jb".into();
    status.behind = vec!["x\u{9b}2J".into()];
    let text = rollout(&status, &Style::plain());
    assert!(
        text.chars().all(|c| c == '\n' || !c.is_control()),
        "{text:?}"
    );
}

#[test]
fn evidence_keeps_three_digits_from_nothing_to_beyond_all_bounds() {
    let expected = [
        (0.0, "0"),
        (0.5, "0.5"),
        (12.42, "12.4"),
        (999.6, "1000"),
        (2.5e9, "2.5e9"),
        (f64::INFINITY, "∞"),
        (f64::NAN, "unknown"),
    ];
    for (value, text) in expected {
        assert_eq!(e_value(value), text);
    }
}

#[test]
fn an_exceeded_budget_is_coloured_and_none_is_not_shown() {
    let mut status = judging();
    let color = Style {
        color: true,
        width: 100,
    };
    let budget = status.budget.as_mut().unwrap();
    (budget.spent, budget.exceeded) = (70_000, true);
    let text = rollout_now(&status, &color);
    assert!(text.contains("\u{1b}[31m70,000 of 64,800 failed"), "{text}");
    (status.budget, status.proof) = (None, Vec::new());
    let text = rollout_now(&status, &Style::plain());
    assert!(
        !text.contains("budget") && !text.contains("to advance"),
        "{text}"
    );
}

#[test]
fn what_was_odd_about_the_reports_is_said() {
    let mut status = judging();
    assert!(!rollout_now(&status, &Style::plain()).contains("reports"));
    status.reports.skipped = 1_234;
    status.reports.unreadable = 2;
    let text = rollout_now(&status, &Style::plain());
    assert!(
        text.contains("reports    1,234 skipped · 2 unreadable\n"),
        "{text}"
    );
}

#[test]
fn evidence_past_a_mark_is_coloured() {
    let mut status = judging();
    let color = Style {
        color: true,
        width: 100,
    };
    assert!(rollout_now(&status, &color).contains("evidence   \u{1b}[0merrors 12.4"));
    if let Some(evidence) = status.evidence.first_mut() {
        evidence.e_value = 1000.0;
    }
    assert!(rollout_now(&status, &color).contains("\u{1b}[31merrors 1000 of 1000"));
}

#[test]
fn what_it_was_let_overlap_is_shown_with_who_said_so() {
    let mut status = judging();
    status.plan.lease.overlaps.insert("cart".into());
    let text = rollout_now(&status, &Style::plain());
    let expected = "overlaps   the rollout of cart, by ann's word";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn what_it_holds_is_shown_with_how_that_is_known_and_what_it_was_found_to_overlap() {
    let mut status = judging();
    let lease = &mut status.plan.lease;
    lease.neighbours.insert("cart".into());
    lease.observed.insert("pay\u{1b}ments".into(), status.now);
    status.found_overlaps.insert("search".into());
    let text = rollout_now(&status, &Style::plain());
    for expected in [
        "holds      cart (declared), pay\u{fffd}ments (observed)\n",
        "overlaps   the rollout of search, which was seen when both were under way",
    ] {
        assert!(text.contains(expected), "{text}");
    }
    status.phase = Phase::Committed;
    let text = rollout_now(&status, &Style::plain());
    assert!(!text.contains("holds"), "{text}");
}

#[test]
fn what_happened_last_is_shown_and_told_once() {
    let status = judging();
    let text = rollout_now(&status, &Style::plain());
    assert!(
        text.ends_with("latest     4 s ago: 1 host was acknowledged by 3 of 3\n"),
        "{text}"
    );
    assert!(!rollout(&status, &Style::plain()).contains("latest"));
    let news = |since| rollout_news(&status, since);
    assert_eq!(news(None), Vec::<String>::new());
    let latest = "checkout: 1 host was acknowledged by 3 of 3".to_owned();
    assert_eq!(news(Some(Time(90_000))), [latest]);
    assert_eq!(news(Some(Time(96_000))), Vec::<String>::new());
}
