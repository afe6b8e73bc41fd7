//! `tidegate replay`: what was decided, whether it is decided again, and what if.

use tidegate_engine::rollout::{Decision, Phase};
use tidegate_engine::time::Time;

use super::{Style, Tone, clean, count, duration, ratio};
use crate::replay::{Change, Outcome, Replay, Stand, WhatIf};

/// A replay for people.
#[must_use]
pub fn replay(replay: &Replay, style: &Style) -> String {
    let mut text = String::new();
    let mut begun: Option<(u64, Time)> = None;
    for change in &replay.story {
        let number = change.rollout.number;
        let start = match begun {
            Some((known, start)) if known == number => start,
            _ => {
                if begun.is_some() {
                    text.push('\n');
                }
                text.push_str(&style.paint(
                    Tone::Strong,
                    &format!("{} #{number}", clean(&change.rollout.service)),
                ));
                text.push('\n');
                change.at
            }
        };
        begun = Some((number, start));
        text.push_str(&line(change, start, style));
    }
    if !replay.what_if.is_empty() {
        text.push_str("\nwith the other settings\n");
        for what_if in &replay.what_if {
            text.push_str(&format!("  {}\n", sentence(what_if)));
        }
    }
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(&verdict(replay, style));
    text
}

fn line(change: &Change, start: Time, style: &Style) -> String {
    let rollout = &change.rollout;
    let tone = match rollout.phase {
        Phase::Committed => Tone::Good,
        Phase::Reverting | Phase::Reverted => Tone::Bad,
        _ => Tone::Faint,
    };
    let evidence = match (&rollout.decision, rollout.evidence.first()) {
        (Decision::Revert { .. } | Decision::Done, _) | (_, None) => String::new(),
        (_, Some(test)) => format!("; e-value {:.3} ({})", test.e_value, clean(&test.test)),
    };
    format!(
        "  {:>10}  {:>6}  {}  {}{evidence}\n",
        duration(change.at.since_ms(start)),
        change.revision,
        style.paint(tone, &rollout.place()),
        clean(&rollout.decision.to_string()),
    )
}

fn sentence(what_if: &WhatIf) -> String {
    let subject = format!(
        "{} #{} ({} → {})",
        clean(&what_if.service),
        what_if.number,
        clean(&what_if.from),
        clean(&what_if.to)
    );
    match &what_if.outcome {
        Outcome::Refused { why } => format!("{subject}: refused: {}", clean(why)),
        Outcome::Same { place } => format!("{subject}: the same, up to {}", clean(place)),
        Outcome::Parted {
            after_ms,
            was,
            would,
            canary,
        } => format!(
            "{subject}: parts after {}: it was {}, it would have been {}; until then {} of {} \
             canary requests had failed ({})",
            duration(*after_ms),
            stand(was),
            stand(would),
            count(canary.bad),
            count(canary.requests),
            ratio(canary.bad, canary.requests)
        ),
    }
}

fn stand(stand: &Stand) -> String {
    format!(
        "{} [{}]",
        clean(&stand.place),
        clean(&stand.decision.to_string())
    )
}

fn verdict(replay: &Replay, style: &Style) -> String {
    let records = count(replay.records);
    let older = replay.records.saturating_sub(replay.compared);
    let mut text = match (replay.differing, replay.compared) {
        (0, 0) => format!("{records} records; none of them tells what was decided\n"),
        (0, compared) => {
            let same = format!(
                "{records} records; {} decisions, every one the same to the bit",
                count(compared)
            );
            format!("{}\n", style.paint(Tone::Good, &same))
        }
        (differing, compared) => {
            let text = format!(
                "{records} records; {} of {} decisions differ: another version of this program \
                 wrote them, or this one is at fault",
                count(differing),
                count(compared)
            );
            format!("{}\n", style.paint(Tone::Bad, &text))
        }
    };
    if older > 0 && replay.compared > 0 {
        text.push_str(&format!(
            "{} older records do not tell what was decided\n",
            count(older)
        ));
    }
    for difference in &replay.differences {
        text.push_str(&format!(
            "  record {}: {}\n",
            difference.revision,
            clean(&difference.what)
        ));
    }
    if let Some(damage) = &replay.damage {
        let text_of_damage = format!("the rest can't be read: {}", clean(damage));
        text.push_str(&style.paint(Tone::Bad, &text_of_damage));
        text.push('\n');
    }
    text
}
