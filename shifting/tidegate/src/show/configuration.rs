//! What is to become of fleets' configuration.

use tidegate_engine::rollout::{Pending, Preview, subject};

use super::lists::paragraph;
use super::style::{Style, Tone};
use super::text::clean;

/// The configuration rollouts that are to come, and what they wait for. Ends with a line feed,
/// unless there are none.
#[must_use]
pub fn pending(pending: &[Pending], style: &Style) -> String {
    let mut text = String::new();
    for entry in pending {
        let title = format!(
            "{} is to have revision {}: {}",
            clean(&subject(&entry.fleet)),
            clean(&entry.revision),
            clean(&entry.reason)
        );
        paragraph(&mut text, &title, style, Tone::Warning);
        for change in &entry.changes {
            text.push_str(&format!("  {}\n", clean(change)));
        }
        text.push_str(&format!(
            "  {}\n",
            style.paint(Tone::Faint, &clean(&entry.command))
        ));
    }
    text
}

/// What declaring a mesh would lead to. Ends with a line feed.
#[must_use]
pub fn preview(preview: &Preview, style: &Style) -> String {
    let mut text = format!(
        "revision {}\n",
        style.paint(Tone::Strong, &clean(&preview.revision))
    );
    for superseded in &preview.superseded {
        let line = format!(
            "the rollout of {} that is under way would be taken back first",
            clean(superseded)
        );
        paragraph(&mut text, &line, style, Tone::Warning);
    }
    if preview.pending.is_empty() && preview.superseded.is_empty() {
        text.push_str(
            "no sidecar would be configured otherwise; hosts and versions are taken up at once\n",
        );
    }
    for entry in &preview.pending {
        text.push_str(&format!(
            "{} would get revision {} by a rollout:\n",
            clean(&subject(&entry.fleet)),
            clean(&entry.revision)
        ));
        for change in &entry.changes {
            text.push_str(&format!("  {}\n", clean(change)));
        }
        let line = clean(&entry.reason);
        text.push_str(&format!("  {}\n", style.paint(Tone::Faint, &line)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Pending {
        Pending {
            fleet: "web".into(),
            revision: "0123456789abcdef".into(),
            changes: vec!["checkout: traffic.timeout_ms 15000 → 20".into()],
            reason: "it waits for the end of the rollout of `checkout` to `v2`, at 5%".into(),
            command: "tidegate rollout status fleet:web".into(),
        }
    }

    #[test]
    fn what_is_to_come_says_what_it_changes_what_it_waits_for_and_what_to_do() {
        let text = pending(&[entry()], &Style::plain());
        assert_eq!(
            text,
            concat!(
                "fleet:web is to have revision 0123456789abcdef: it waits for the end of the ",
                "rollout of `checkout` to\n`v2`, at 5%\n",
                "  checkout: traffic.timeout_ms 15000 → 20\n",
                "  tidegate rollout status fleet:web\n",
            )
        );
        assert_eq!(pending(&[], &Style::plain()), "");
    }

    #[test]
    fn a_preview_says_also_that_nothing_would_happen() {
        let mut seen = Preview {
            revision: "fedc".into(),
            pending: vec![entry()],
            superseded: vec!["fleet:web".into()],
        };
        let text = super::preview(&seen, &Style::plain());
        assert!(text.contains("fleet:web would get revision 0123456789abcdef by a rollout"));
        assert!(text.contains("taken back first"), "{text}");
        seen.pending.clear();
        seen.superseded.clear();
        let text = super::preview(&seen, &Style::plain());
        assert!(
            text.contains("no sidecar would be configured otherwise"),
            "{text}"
        );
    }
}
