//! How far the promised rate of false alarms is kept on a service's own traffic.

use tidegate_engine::evidence::{AaRate, AaState, AaStatus};
use tidegate_engine::time::Time;

use super::lists::{finish, paragraph, table};
use super::style::{Style, Tone};
use super::text::clean;
use super::words::{ago, count, duration};
use crate::api::model::AaAnswer;

/// One line for each service, then with which settings it was measured, and what to look at. Ends
/// with a line feed.
#[must_use]
pub fn aa(answer: &AaAnswer, style: &Style) -> String {
    if answer.services.is_empty() {
        return "no service yet; ask again in a second\n".to_owned();
    }
    let mut table = table(style);
    table.set_header([
        "service",
        "version",
        "sidecars",
        "trials",
        "false reverts",
        "false holds",
        "now",
    ]);
    for status in &answer.services {
        table.add_row([
            clean(&status.service),
            clean(&status.version),
            status.sidecars.to_string(),
            count(status.trials),
            measured(&status.false_reverts, status.trials),
            measured(&status.false_holds, status.trials),
            now(status, answer.now),
        ]);
    }
    let mut text = finish(&table, style);
    for status in &answer.services {
        paragraph(&mut text, &settings(status, answer.now), style, Tone::Faint);
        let service = clean(&status.service);
        if let Some(warning) = &status.warning {
            let line = format!("{service}: {}", clean(warning));
            paragraph(&mut text, &line, style, Tone::Bad);
        }
        if let Some(alarm) = &status.latest_alarm {
            let line = format!(
                "{service}: latest false revert {}: {}: {}",
                ago(answer.now, alarm.at),
                alarm.metric,
                clean(&alarm.sentence)
            );
            paragraph(&mut text, &line, style, Tone::Warning);
        }
    }
    let line = "a trial: random halves of the sidecars, by their requests to the same version; ≤: \
                the true rate, with 95% confidence";
    paragraph(&mut text, line, style, Tone::Faint);
    text
}

/// Such as `checkout: 99.9% succeed, 99% within 250 ms; revert at 1000 (promised 0.1%), hold at 20
/// (promised 5%), tolerated odds 1.5; trials of 16 min, since 3 h ago, of 3,204,000 requests`.
fn settings(status: &AaStatus, now: Time) -> String {
    let settings = &status.settings;
    let latency = settings.slo.latency.as_ref().map(|objective| {
        let (share, threshold_ms) = (objective.share, objective.threshold_ms);
        format!(", {share} within {threshold_ms} ms")
    });
    let mut line = format!(
        "{}: {} succeed{}; revert at {:.0} (promised {}), hold at {:.0} (promised {}), tolerated \
         odds {}; trials of {}, since {}, of {} requests",
        clean(&status.service),
        settings.slo.success,
        latency.unwrap_or_default(),
        settings.revert_at,
        percent(status.false_reverts.promised),
        settings.hold_at,
        percent(status.false_holds.promised),
        settings.rho,
        duration(settings.length_ms),
        ago(now, status.since),
        count(status.requests),
    );
    for (number, what) in [(status.idle, "idle"), (status.cut_off, "cut off")] {
        if number > 0 {
            line.push_str(&format!(", {} more {what}", count(number)));
        }
    }
    line
}

/// Such as `1: 2.94% (≤ 13.2%)`.
fn measured(rate: &AaRate, trials: u64) -> String {
    let at_most = percent(rate.at_most);
    match (rate.count, trials) {
        (_, 0) => "-".to_owned(),
        (0, _) => format!("0 (≤ {at_most})"),
        (number, _) => format!(
            "{}: {} (≤ {at_most})",
            count(number),
            percent(rate.measured)
        ),
    }
}

fn now(status: &AaStatus, now: Time) -> String {
    match (status.state, status.sidecars) {
        (AaState::Running { until }, _) => format!("ends {}", ago(now, until)),
        (AaState::Waiting, _) => "others' turn".to_owned(),
        (AaState::TooFew, _) => "needs 2 sidecars".to_owned(),
    }
}

/// A part from 0 to 1 with two decimals at most.
fn percent(part: f64) -> String {
    if part > 0.0 && part < 0.000_05 {
        return "<0.01%".to_owned();
    }
    let text = format!("{:.2}", part * 100.0);
    format!("{}%", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use tidegate_engine::evidence::{AaAlarm, AaSettings, Metric};
    use tidegate_engine::mesh::{LatencyObjective, Slo};
    use tidegate_engine::units::Ppm;

    use super::*;

    fn rate(number: u64, measured: f64, at_most: f64, promised: f64) -> AaRate {
        AaRate {
            count: number,
            measured,
            at_most,
            at_least: 0.0,
            promised,
        }
    }

    fn status() -> AaStatus {
        AaStatus {
            service: "checkout".into(),
            version: "v1".into(),
            settings: AaSettings {
                slo: Slo {
                    success: Ppm::of(999, 1000),
                    latency: Some(LatencyObjective {
                        threshold_ms: 250,
                        share: Ppm::of(99, 100),
                    }),
                },
                rho: 1.5,
                hold_at: 20.0,
                revert_at: 1_000.0,
                rules: 2,
                length_ms: 960_000,
                horizon: 960,
            },
            since: Time(1_000),
            sidecars: 4,
            trials: 34,
            idle: 0,
            cut_off: 0,
            requests: 3_204_000,
            false_reverts: rate(0, 0.0, 0.084_3, 0.001),
            false_holds: rate(1, 0.029_4, 0.132, 0.05),
            state: AaState::Running {
                until: Time(40_000_000),
            },
            latest_alarm: None,
            always_worse: Vec::new(),
            warning: None,
        }
    }

    #[test]
    fn rates_are_shown_with_their_bounds_and_the_settings_they_are_of() {
        let mut alone = status();
        alone.service = "cart".into();
        (alone.sidecars, alone.trials, alone.requests) = (1, 0, 0);
        (alone.idle, alone.cut_off) = (3, 1);
        alone.false_holds = rate(0, 0.0, 1.0, 0.05);
        alone.state = AaState::TooFew;
        let answer = AaAnswer {
            now: Time(36_001_000),
            services: vec![alone, status()],
        };
        assert_eq!(
            aa(&answer, &Style::plain()),
            "\
service   version  sidecars  trials  false reverts  false holds         now
cart      v1       1         0       -              -                   needs 2 sidecars
checkout  v1       4         34      0 (≤ 8.43%)    1: 2.94% (≤ 13.2%)  ends in 1 h 6 min
cart: 99.9% succeed, 99% within 250 ms; revert at 1000 (promised 0.1%), hold at 20 (promised 5%),
tolerated odds 1.5; trials of 16 min, since 10 h ago, of 0 requests, 3 more idle, 1 more cut off
checkout: 99.9% succeed, 99% within 250 ms; revert at 1000 (promised 0.1%), hold at 20 (promised
5%), tolerated odds 1.5; trials of 16 min, since 10 h ago, of 3,204,000 requests
a trial: random halves of the sidecars, by their requests to the same version; ≤: the true rate,
with 95% confidence
"
        );
    }

    #[test]
    fn a_broken_promise_is_said_with_its_evidence_but_not_its_escape_codes() {
        let mut broken = status();
        broken.warning = Some("halves differ: side\u{1b}[2Jcar-3".into());
        broken.latest_alarm = Some(AaAlarm {
            at: Time(30_000),
            metric: Metric::Errors,
            e_value: 2_000.0,
            sentence: "48 of 96 canary requests failed".into(),
        });
        let answer = AaAnswer {
            now: Time(90_000),
            services: vec![broken],
        };
        let text = aa(&answer, &Style::plain());
        for part in [
            "checkout: halves differ: side\u{fffd}[2Jcar-3\n",
            "checkout: latest false revert 60 s ago: errors: 48 of 96 canary requests failed\n",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn nothing_yet_says_so_and_small_parts_are_not_nothing() {
        let none = AaAnswer {
            now: Time(0),
            services: Vec::new(),
        };
        assert!(aa(&none, &Style::plain()).contains("no service yet"));
        let shown = [0.0, 0.000_001, 0.000_6, 0.084_3, 0.5, 1.0].map(percent);
        assert_eq!(shown, ["0%", "<0.01%", "0.06%", "8.43%", "50%", "100%"]);
    }
}
