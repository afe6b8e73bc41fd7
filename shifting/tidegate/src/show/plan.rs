//! What a rollout would do and be able to see.

use tidegate_engine::mesh::EvidenceSource;
use tidegate_engine::plan::{Find, StepOutlook, percent, span};
use tidegate_engine::units::Ppm;

use super::lists::{finish, paragraph, table};
use super::style::{Style, Tone};
use super::text::clean;
use super::words::{count, duration};
use crate::api::model::PlanAnswer;

/// A plan with its numbers. Ends with a line feed.
#[must_use]
pub fn plan(answer: &PlanAnswer, style: &Style) -> String {
    let (plan, outlook) = (&answer.plan, &answer.outlook);
    let source = if answer.measured {
        "measured in the last minute"
    } else {
        "as given"
    };
    let mut text = format!(
        "{}: {} → {}; {:.1} requests/s, of which {} fail ({source})\n",
        clean(&plan.service),
        clean(&plan.from),
        clean(&plan.to),
        outlook.traffic.rps,
        percent(outlook.traffic.error_rate),
    );
    paragraph(&mut text, &judged_by(&plan.evidence), style, Tone::Faint);
    text.push('\n');
    let mut table = table(style);
    table.set_header([
        "step",
        "canary requests/s",
        "watched",
        "left after about",
        "requests at risk",
        "sees from",
        "failures: reverted after, failed requests",
    ]);
    for step in &outlook.steps {
        table.add_row([
            name(step),
            format!("{:.1}", step.canary_rps),
            span(step.watched_s),
            step.left_after_s
                .map_or_else(|| "not by itself".to_owned(), span),
            whole(step.exposed),
            step.least_rate
                .map_or_else(|| "nothing".to_owned(), percent),
            finds(&step.finds),
        ]);
    }
    text.push_str(&finish(&table, style));
    if let Some(total_s) = outlook.total_s {
        let line = format!(
            "If it is as good as {}, all of it takes about {}, without gates and freezes.",
            clean(&plan.from),
            span(total_s)
        );
        paragraph(&mut text, &line, style, Tone::Faint);
    }
    for warning in plan.warnings.iter().chain(&outlook.warnings) {
        let line = format!("warning: {}", clean(warning));
        paragraph(&mut text, &line, style, Tone::Warning);
    }
    text
}

/// Whose numbers decide, and what else has to be there for it to advance.
fn judged_by(evidence: &EvidenceSource) -> String {
    let sidecars = "judged by what sidecars report every second";
    match evidence {
        EvidenceSource::Sidecars => sidecars.to_owned(),
        EvidenceSource::Prometheus(prometheus) => format!(
            "judged by the Prometheus at {}, which hears of each sidecar every {}; it waits while \
             that is gone",
            clean(&prometheus.url),
            duration(prometheus.scrape_interval_ms),
        ),
        EvidenceSource::Witnessed(prometheus) => format!(
            "{sidecars}; nothing advances while the Prometheus at {} objects, is not heard, or counts \
             other traffic",
            clean(&prometheus.url),
        ),
        EvidenceSource::LoadReports => "judged by clients' load reports, every second".to_owned(),
        EvidenceSource::SidecarsByHost => {
            format!("{sidecars}; load reports tell hosts apart on rungs of hosts")
        }
    }
}

fn name(step: &StepOutlook) -> String {
    if step.share == Ppm::WHOLE {
        format!("{}, soak", clean(&step.name))
    } else if step.name == step.share.to_string() {
        clean(&step.name)
    } else {
        format!("{} ({})", clean(&step.name), step.share)
    }
}

fn finds(finds: &[Find]) -> String {
    let one = |find: &Find| match (find.seconds, find.failed) {
        (Some(seconds), Some(failed)) => format!(
            "{}: {}, {}",
            percent(find.rate),
            span(seconds),
            whole(failed)
        ),
        _ => format!("{}: never", percent(find.rate)),
    };
    finds.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// A number of requests.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rates and waits are not negative; more requests than u64 holds are as many"
)]
fn whole(requests: f64) -> String {
    count(requests.round() as u64)
}

#[cfg(test)]
mod tests {
    use tidegate_engine::mesh::EvidenceSource;
    use tidegate_engine::mesh::Prometheus;
    use tidegate_engine::plan::{Traffic, outlook};

    use super::*;
    use crate::show::samples;

    #[test]
    fn a_plan_tells_what_each_step_sees_and_warns() {
        let plan_of = samples::judging().plan;
        let traffic = Traffic {
            rps: 4.0,
            error_rate: 0.001,
        };
        let answer = PlanAnswer {
            outlook: outlook(&plan_of, traffic),
            plan: plan_of,
            measured: false,
        };
        let text = plan(&answer, &Style::plain());
        assert!(
            text.contains("4.0 requests/s, of which 0.1% fail (as given)"),
            "{text}"
        );
        assert!(text.contains("judged by what sidecars report"), "{text}");
        assert!(text.contains("100%, soak"), "{text}");
        assert!(text.contains("left after about"), "{text}");
        assert!(text.contains("50%: "), "{text}");
        assert!(text.contains("warning: "), "{text}");
    }
    #[test]
    fn a_plan_names_whoever_judges() {
        let prometheus = Prometheus {
            url: "http://127.0.0.1:9090".to_owned(),
            scrape_interval_ms: 15_000,
        };
        let slow = judged_by(&EvidenceSource::Prometheus(prometheus.clone()));
        assert!(slow.contains("http://127.0.0.1:9090"), "{slow}");
        assert!(slow.contains("every 15 s"), "{slow}");
        let witnessed = judged_by(&EvidenceSource::Witnessed(prometheus));
        assert!(witnessed.contains("nothing advances while"), "{witnessed}");
    }
}
