//! Tables: sidecars, rollouts; and the short answers.

use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};

use crate::api::model::{MeshAnswer, RolloutsAnswer, SidecarStatus, SidecarsAnswer, VersionAnswer};

use super::configuration::pending;
use super::rollout::{measured, phase_tone, place, wanted};
use super::style::{Style, Tone};
use super::text::{clean, wrap};
use super::words::{ago, count, duration, ratio};

/// Digits of a view's id that are enough to tell views apart on a screen.
const VIEW_DIGITS: usize = 8;

/// The sidecars, one line each, then what they rejected. Ends with a line feed.
#[must_use]
pub fn sidecars(answer: &SidecarsAnswer, style: &Style) -> String {
    if answer.sidecars.is_empty() {
        return "no sidecar has connected yet; `tidegate bootstrap` prints an Envoy's \
                configuration\n"
            .to_owned();
    }
    let mut table = table(style);
    table.set_header([
        "sidecar", "fleet", "zone", "client", "stream", "view", "behind", "report",
    ]);
    for sidecar in &answer.sidecars {
        table.add_row([
            clean(&sidecar.id),
            clean(&sidecar.fleet),
            clean(&sidecar.zone),
            clean(&format!("{} {}", sidecar.kind, sidecar.version)),
            stream(sidecar),
            view(sidecar),
            sidecar.behind_ms.map_or_else(|| "-".to_owned(), duration),
            sidecar
                .last_report_ms
                .map_or_else(|| "never".to_owned(), |ms| format!("{} ago", duration(ms))),
        ]);
    }
    let mut text = finish(&table, style);
    for sidecar in &answer.sidecars {
        if let Some(suspect) = &sidecar.suspect {
            let line = format!("{}: {}", clean(&sidecar.id), clean(suspect));
            paragraph(&mut text, &line, style, Tone::Bad);
        }
        if sidecar.streams > 1 && sidecar.kind == "envoy" {
            let line = format!(
                "{} has {} streams: do {} sidecars use this id? each needs its own",
                clean(&sidecar.id),
                sidecar.streams,
                sidecar.streams
            );
            paragraph(&mut text, &line, style, Tone::Warning);
        }
        for rejection in &sidecar.rejected {
            let line = format!(
                "{} rejected {} {}: {}",
                clean(&sidecar.id),
                clean(&rejection.kind),
                clean(&rejection.names.join(", ")),
                clean(&rejection.text),
            );
            paragraph(&mut text, &line, style, Tone::Bad);
        }
    }
    if !answer.incidents.is_empty() {
        let counts = answer.incidents.iter();
        let counts: Vec<String> = counts
            .map(|(incident, count)| format!("{} {count}", clean(incident)))
            .collect();
        let line = format!("at the door, since the start: {}", counts.join(", "));
        paragraph(&mut text, &line, style, Tone::Faint);
    }
    text
}

/// The latest rollout of each service, one line each. Ends with a line feed.
#[must_use]
pub fn rollouts(answer: &RolloutsAnswer, style: &Style) -> String {
    if answer.rollouts.is_empty() && answer.pending.is_empty() {
        return "no rollout yet; `tidegate rollout start SERVICE VERSION` begins one\n".to_owned();
    }
    if answer.rollouts.is_empty() {
        return pending(&answer.pending, style);
    }
    let mut table = table(style);
    table.set_header([
        "service",
        "from → to",
        "phase",
        "since",
        "wanted",
        "acknowledged",
        "measured",
        "canary failed",
    ]);
    for status in &answer.rollouts {
        table.add_row([
            clean(&status.plan.service),
            clean(&format!("{} → {}", status.plan.from, status.plan.to)),
            place(status),
            ago(status.now, status.since),
            wanted(status),
            match status.phase.is_final() {
                true => "-".to_owned(),
                false => format!(
                    "{} of {}",
                    status.sidecars_acknowledged, status.sidecars_expected
                ),
            },
            measured(status),
            format!(
                "{} ({})",
                count(status.canary.bad),
                ratio(status.canary.bad, status.canary.requests),
            ),
        ]);
    }
    let mut text = finish(&table, style);
    for status in &answer.rollouts {
        if let Some(reason) = &status.revert_reason {
            let line = format!("{}: {}", clean(&status.plan.service), clean(reason));
            paragraph(&mut text, &line, style, phase_tone(status.phase));
        }
    }
    text.push_str(&pending(&answer.pending, style));
    text
}

/// The mesh in force. Ends with a line feed.
#[must_use]
pub fn mesh(answer: &MeshAnswer, style: &Style) -> String {
    let mut text = format!(
        "revision {}\nfleets   {}\n",
        style.paint(Tone::Strong, &clean(&answer.revision)),
        clean(&answer.fleets.join(", ")),
    );
    for (index, (service, version)) in answer.services.iter().enumerate() {
        let label = if index == 0 { "services" } else { "" };
        text.push_str(&format!(
            "{label:<9}{} at {}\n",
            clean(service),
            clean(version)
        ));
    }
    text.push_str(&pending(&answer.pending, style));
    if let Some(refused) = &answer.refused {
        // The errors come as lines of their own, with file, line and column.
        text.push_str(&style.paint(Tone::Bad, "the mesh on disk is refused and not in force:"));
        text.push('\n');
        for line in refused.lines() {
            text.push_str(&clean(line));
            text.push('\n');
        }
    }
    text
}

/// The program's version and the control plane's. Ends with a line feed.
#[must_use]
pub fn version(own: &str, answer: &VersionAnswer) -> String {
    format!(
        "tidegate {own}\ncontrol plane {}, mesh revision {}\n",
        clean(&answer.version),
        clean(&answer.revision)
    )
}

fn stream(sidecar: &SidecarStatus) -> String {
    let since = duration(sidecar.since_ms);
    if sidecar.connected {
        format!("open {since}")
    } else {
        format!("closed {since}")
    }
}

/// The view it has, and the one it should have when that is another one.
fn view(sidecar: &SidecarStatus) -> String {
    let short = |view: &Option<String>| {
        view.as_ref().map_or_else(
            || "none".to_owned(),
            |view| clean(view).chars().take(VIEW_DIGITS).collect::<String>(),
        )
    };
    let has = short(&sidecar.view_acknowledged);
    if sidecar.view_acknowledged == sidecar.view_wanted {
        has
    } else {
        format!("{has} → {}", short(&sidecar.view_wanted))
    }
}

pub(super) fn table(style: &Style) -> Table {
    let mut table = Table::new();
    table
        .load_style(NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(u16::try_from(style.width).unwrap_or(u16::MAX));
    table
}

/// The table's text with a header that can be told from the rows. Coloured after the layout,
/// because escape codes have no width.
pub(super) fn finish(table: &Table, style: &Style) -> String {
    let mut text = String::new();
    for (index, line) in table.lines().enumerate() {
        // The borderless preset pads each line by one column on the left.
        let line = line.strip_prefix(' ').unwrap_or(&line).trim_end();
        text.push_str(&if index == 0 {
            style.paint(Tone::Faint, line)
        } else {
            line.to_owned()
        });
        text.push('\n');
    }
    text
}

pub(super) fn paragraph(text: &mut String, line: &str, style: &Style, tone: Tone) {
    for line in wrap(line, style.width) {
        text.push_str(&style.paint(tone, &line));
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tidegate_engine::rollout::Phase;

    use super::super::samples::{judging, sidecar};
    use super::*;
    use crate::api::model::RejectionStatus;

    #[test]
    fn two_sidecars_of_one_name_are_noticed() {
        let mut twice = sidecar("sidecar-1");
        twice.streams = 2;
        let answer = SidecarsAnswer {
            sidecars: vec![twice],
            incidents: BTreeMap::new(),
        };
        let text = sidecars(&answer, &Style::plain());
        assert!(
            text.contains("has 2 streams: do 2 sidecars use this id"),
            "{text}"
        );
    }

    #[test]
    fn what_is_suspect_and_what_was_refused_at_the_door_is_shown() {
        let mut silent = sidecar("sidecar-1");
        silent.suspect = Some("took 1 cluster without a word for 12 s".into());
        let answer = SidecarsAnswer {
            sidecars: vec![silent],
            incidents: BTreeMap::from([("claim denied".into(), 3), ("handshake failed".into(), 1)]),
        };
        let text = sidecars(&answer, &Style::plain());
        let end = "sidecar-1: took 1 cluster without a word for 12 s\n\
                   at the door, since the start: claim denied 3, handshake failed 1\n";
        assert!(text.ends_with(end), "{text}");
    }

    #[test]
    fn sidecars_are_a_table_of_100_columns() {
        let mut behind = sidecar("sidecar-2");
        behind.view_acknowledged = Some("fedcba9876543210".into());
        behind.behind_ms = Some(4_300);
        behind.last_report_ms = None;
        let mut gone = sidecar("sidecar-3");
        gone.connected = false;
        let answer = SidecarsAnswer {
            sidecars: vec![sidecar("sidecar-1"), behind, gone],
            incidents: BTreeMap::new(),
        };
        let text = sidecars(&answer, &Style::plain());
        assert_eq!(
            text,
            "\
sidecar    fleet  zone  client        stream            view                 behind  report
sidecar-1  web    a     envoy 1.40.0  open 2 min 5 s    01234567             -       340 ms ago
sidecar-2  web    a     envoy 1.40.0  open 2 min 5 s    fedcba98 → 01234567  4.3 s   never
sidecar-3  web    a     envoy 1.40.0  closed 2 min 5 s  01234567             -       340 ms ago
"
        );
    }

    #[test]
    fn a_rejection_is_shown_with_the_sidecars_own_words_but_not_its_escape_codes() {
        let mut bad = sidecar("sidecar-1");
        bad.rejected.push(RejectionStatus {
            kind: "rds".into(),
            names: vec!["web".into()],
            text: "route: unknown \u{1b}[2Jcluster".into(),
        });
        let text = sidecars(
            &SidecarsAnswer {
                sidecars: vec![bad],
                incidents: BTreeMap::new(),
            },
            &Style::plain(),
        );
        assert!(
            text.ends_with("sidecar-1 rejected rds web: route: unknown \u{fffd}[2Jcluster\n"),
            "{text}"
        );
    }

    #[test]
    fn long_names_are_wrapped_into_the_width() {
        let long = sidecar(&"very-long-name-".repeat(12));
        let answer = SidecarsAnswer {
            sidecars: vec![long],
            incidents: BTreeMap::new(),
        };
        for line in sidecars(&answer, &Style::plain()).lines() {
            assert!(line.chars().count() <= 100, "{line}");
        }
    }

    #[test]
    fn rollouts_are_a_table_with_the_three_shares_apart() {
        let mut reverted = judging();
        reverted.plan.service = "cart".into();
        reverted.phase = Phase::Reverted;
        reverted.share_measured = None;
        reverted.revert_reason = Some("errors: 49.08% failed against 0%".into());
        let answer = RolloutsAnswer {
            rollouts: vec![reverted, judging()],
            pending: Vec::new(),
        };
        assert_eq!(
            rollouts(&answer, &Style::plain()),
            "\
service   from → to  phase              since    wanted   acknowledged  measured     canary failed
cart      v1 → v2    reverted           4 s ago  3.2258%  -             nothing yet  80 (49.08%)
checkout  v1 → v2    judging at 1 host  4 s ago  3.2258%  3 of 3        3.14%        80 (49.08%)
cart: errors: 49.08% failed against 0%
"
        );
    }

    #[test]
    fn a_refused_mesh_shows_every_error_on_its_own_line() {
        let answer = MeshAnswer {
            revision: "abc".into(),
            fleets: vec!["web".into()],
            services: BTreeMap::from([("checkout".into(), "v1".into())]),
            refused: Some("a.yaml:1:2: no `x`\na.yaml:3:4: no `y`".into()),
            pending: Vec::new(),
        };
        let text = mesh(&answer, &Style::plain());
        assert!(text.contains("services checkout at v1\n"), "{text}");
        assert!(
            text.ends_with("\na.yaml:1:2: no `x`\na.yaml:3:4: no `y`\n"),
            "{text}"
        );
    }

    #[test]
    fn empty_lists_say_what_to_do() {
        let style = Style::plain();
        let none = SidecarsAnswer {
            sidecars: Vec::new(),
            incidents: BTreeMap::new(),
        };
        assert!(sidecars(&none, &style).contains("tidegate bootstrap"));
        let none = RolloutsAnswer {
            rollouts: Vec::new(),
            pending: Vec::new(),
        };
        assert!(rollouts(&none, &style).contains("tidegate rollout start"));
    }
}
