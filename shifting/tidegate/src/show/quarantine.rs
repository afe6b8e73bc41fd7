//! What is refused.

use crate::api::model::QuarantineAnswer;

use super::lists::{finish, paragraph, table};
use super::style::{Style, Tone};
use super::text::clean;
use super::words::{ago, count, ratio};

/// What is in quarantine, one line each, then what each did. Ends with a line feed.
#[must_use]
pub fn quarantine(answer: &QuarantineAnswer, style: &Style) -> String {
    if answer.quarantined.is_empty() {
        return "nothing is in quarantine\n".to_owned();
    }
    let mut table = table(style);
    table.set_header([
        "service", "version", "rollout", "at", "reverted", "expires", "failed",
    ]);
    for entry in &answer.quarantined {
        table.add_row([
            clean(&entry.service),
            clean(&entry.version),
            entry.rollout.to_string(),
            clean(&entry.place),
            ago(answer.now, entry.since),
            ago(answer.now, entry.until),
            format!(
                "{} ({})",
                count(entry.bad),
                ratio(entry.bad, entry.requests)
            ),
        ]);
    }
    let mut text = finish(&table, style);
    for entry in &answer.quarantined {
        let (service, version) = (clean(&entry.service), clean(&entry.version));
        let line = format!("{service} {version}: {}", clean(&entry.evidence));
        paragraph(&mut text, &line, style, Tone::Bad);
        let line = format!("tidegate quarantine lift {service} {version} --reason \"…\"");
        paragraph(&mut text, &line, style, Tone::Faint);
    }
    text
}

#[cfg(test)]
mod tests {
    use tidegate_engine::rollout::Quarantined;
    use tidegate_engine::time::Time;

    use super::*;

    #[test]
    fn what_is_refused_is_shown_with_its_deed_and_how_to_allow_it() {
        let mut answer = QuarantineAnswer {
            now: Time(100_000),
            quarantined: Vec::new(),
        };
        assert_eq!(
            quarantine(&answer, &Style::plain()),
            "nothing is in quarantine\n"
        );
        answer.quarantined.push(Quarantined {
            service: "checkout".into(),
            version: "v2".into(),
            content: "0123456789abcdef".into(),
            rollout: 3,
            place: "5%".into(),
            evidence: "errors: 80 of 163\u{1b}[2J".into(),
            requests: 163,
            bad: 80,
            since: Time(40_000),
            until: Time(7_300_000),
        });
        let text = quarantine(&answer, &Style::plain());
        for part in [
            "checkout",
            "60 s ago",
            "in 2 h",
            "80 (49.08%)",
            "checkout v2: errors: 80 of 163",
            "tidegate quarantine lift checkout v2 --reason",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains('\u{1b}'), "{text}");
    }
}
