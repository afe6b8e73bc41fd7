//! What stands around a rollout: the way back, what was proven, who approved, what waits behind it.

use tidegate_engine::rollout::RolloutStatus;

use super::super::style::Tone;
use super::super::text::clean;
use super::super::words::ago;
use super::Page;

// === impl Page ===

impl Page<'_> {
    /// Where the traffic could go back to, and how.
    pub(super) fn way_back(&mut self, status: &RolloutStatus) {
        let Some(way_back) = &status.way_back else {
            return;
        };
        if way_back.ready {
            let version = way_back.version.as_deref().unwrap_or("-");
            let text = format!("ready, to {}: {}", clean(version), clean(&way_back.text));
            self.field("way back", &text, Some(Tone::Faint));
        } else {
            self.field("way back", &clean(&way_back.text), Some(Tone::Warning));
        }
    }

    /// The rollouts that it was let run beside: what is seen may be theirs.
    pub(super) fn overlaps(&mut self, status: &RolloutStatus) {
        let overlaps = &status.plan.lease.overlaps;
        if overlaps.is_empty() {
            return;
        }
        let services: Vec<String> = overlaps.iter().map(|name| clean(name)).collect();
        let text = format!(
            "the rollout of {}, by {}'s word: a fault of one may be blamed on the other",
            services.join(", "),
            clean(&status.actor)
        );
        self.field("overlaps", &text, Some(Tone::Warning));
    }

    pub(super) fn known_good(&mut self, status: &RolloutStatus) {
        if status.known_good.is_empty() {
            return;
        }
        let known = status.known_good.iter().rev();
        let known: Vec<String> = known
            .map(|good| {
                let since = ago(status.now, good.since);
                format!(
                    "{} (rollout {}, {since})",
                    clean(&good.version),
                    good.rollout
                )
            })
            .collect();
        self.field("known good", &known.join(", "), None);
    }

    pub(super) fn approvals(&mut self, status: &RolloutStatus) {
        for given in &status.approvals {
            let rung = status.plan.rungs.get(given.rung);
            let rung = rung.map_or("-", |rung| rung.name.as_str());
            let when = ago(status.now, given.at);
            let text = format!("{} by {}, {when}", clean(rung), clean(&given.actor));
            self.field("approved", &text, None);
        }
    }

    pub(super) fn queue(&mut self, status: &RolloutStatus) {
        for entry in &status.queue {
            let text = format!("{} {}", clean(&entry.queued.to), clean(&entry.reason));
            self.field("next", &text, None);
            self.field("", &clean(&entry.command), Some(Tone::Faint));
        }
    }
}
