//! The starts that wait for their turn.

use tidegate_engine::rollout::QueuedStatus;

use crate::api::model::QueueAnswer;

use super::lists::{finish, paragraph, table};
use super::style::{Style, Tone};
use super::text::clean;
use super::words::ago;

/// The starts that wait, one line each, with what ends each wait. Ends with a line feed.
#[must_use]
pub fn queue(answer: &QueueAnswer, style: &Style) -> String {
    if answer.queue.is_empty() {
        return "nothing waits to be started\n".to_owned();
    }
    let mut table = table(style);
    table.set_header(["service", "to", "asked by", "asked", "given up"]);
    for entry in &answer.queue {
        let queued = &entry.queued;
        table.add_row([
            clean(&queued.service),
            clean(&queued.to),
            clean(&queued.actor),
            ago(answer.now, queued.since),
            ago(answer.now, queued.until),
        ]);
    }
    let mut text = finish(&table, style);
    for entry in &answer.queue {
        paragraph(&mut text, &queued(entry), style, Tone::Faint);
    }
    text
}

/// One start that waits: what for, and the command that ends it. One line without its end.
#[must_use]
pub fn queued(entry: &QueuedStatus) -> String {
    format!(
        "{} {} {} (owner: {}): {}",
        clean(&entry.queued.service),
        clean(&entry.queued.to),
        clean(&entry.reason),
        clean(&entry.owner),
        clean(&entry.command)
    )
}

#[cfg(test)]
mod tests {
    use tidegate_engine::rollout::{Queued, Terms};
    use tidegate_engine::time::Time;

    use super::*;

    #[test]
    fn a_start_that_waits_is_shown_with_what_for_until_when_and_how_to_cancel_it() {
        let mut answer = QueueAnswer {
            now: Time(100_000),
            queue: Vec::new(),
        };
        let nothing = "nothing waits to be started\n";
        assert_eq!(queue(&answer, &Style::plain()), nothing);
        answer.queue.push(QueuedStatus {
            queued: Queued {
                service: "checkout".into(),
                to: "v3".into(),
                actor: "ann".into(),
                since: Time(40_000),
                until: Time(7_300_000),
                terms: Terms::default(),
            },
            owner: "ben".into(),
            reason: "waits for the rollout to `v2`, at 5%".into(),
            command: "tidegate rollout cancel checkout v3".into(),
        });
        let text = queue(&answer, &Style::plain());
        for part in [
            "ann",
            "60 s ago",
            "in 2 h",
            "checkout v3 waits for the rollout to `v2`, at 5% (owner: ben): tidegate rollout cancel checkout v3",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
