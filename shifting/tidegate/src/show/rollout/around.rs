//! What stands around a rollout: the way back, what was proven, who approved, what waits behind it.

use std::collections::BTreeSet;

use tidegate_engine::rollout::RolloutStatus;
use tidegate_engine::units::Ppm;

use super::super::style::Tone;
use super::super::text::clean;
use super::super::words::{ago, ratio};
use super::{Page, arm_words, e_value};

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

    /// How the canary's hosts did before the new version came to them.
    pub(super) fn hosts(&mut self, status: &RolloutStatus) {
        let Some(ppm) = status.host_ratio_ppm else {
            return;
        };
        let text = format!(
            "on {} the odds of a failure were at most {:.1} times those on their peers; on a rung of \
             hosts as much is tolerated, and 2 times in any case",
            clean(&status.plan.from),
            f64::from(ppm) / 1_000_000.0
        );
        self.field("hosts", &text, None);
    }

    /// What the second source says: it may hold, and no more.
    pub(super) fn witness(&mut self, status: &RolloutStatus) {
        let Some(witness) = &status.witness else {
            return;
        };
        let part = |fresh: Ppm| ratio(fresh.get().into(), 1_000_000);
        let heard = format!(
            "Prometheus at {}, of {} of the canary's traffic and {} of stable's",
            clean(&witness.url),
            part(witness.canary_fresh),
            part(witness.stable_fresh)
        );
        let tone = witness.objection.is_some().then_some(Tone::Warning);
        self.field("witness", &heard, tone);
        let counted = format!(
            "canary {}, stable {}",
            arm_words(&witness.canary),
            arm_words(&witness.stable)
        );
        self.field("", &counted, None);
        let tests: Vec<String> = witness
            .evidence
            .iter()
            .map(|test| {
                let (e, mark) = (e_value(test.e_value), e_value(test.hold_at));
                format!("{} {e} of {mark}", clean(&test.test))
            })
            .collect();
        self.field("", &tests.join(" · "), tone);
        if let Some(trouble) = &witness.trouble {
            self.field("", &clean(trouble), Some(Tone::Warning));
        }
    }

    /// The rollouts that it runs beside although they hold the same: what is seen may be theirs.
    pub(super) fn overlaps(&mut self, status: &RolloutStatus) {
        if let Some(held) = held(status) {
            self.field("holds", &held, None);
        }
        let names = |services: &BTreeSet<String>| {
            let services: Vec<String> = services.iter().map(|name| clean(name)).collect();
            services.join(", ")
        };
        let let_overlap = &status.plan.lease.overlaps;
        let word = format!("by {}'s word", clean(&status.actor));
        let found = "which was seen when both were under way".to_owned();
        for (services, why) in [(let_overlap, word), (&status.found_overlaps, found)] {
            if !services.is_empty() {
                let text = format!(
                    "the rollout of {}, {why}: a fault of one may be blamed on the other",
                    names(services)
                );
                self.field("overlaps", &text, Some(Tone::Warning));
            }
        }
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
            let rung = rung.map_or("-", |rung| &*rung.name);
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

/// What a running rollout keeps others from beside its own service, and how that is known.
fn held(status: &RolloutStatus) -> Option<String> {
    let lease = &status.plan.lease;
    let declared = lease.neighbours.iter().map(|name| (name, "declared"));
    let observed = lease.observed.keys().map(|name| (name, "observed"));
    let held: Vec<String> = declared
        .chain(observed)
        .map(|(name, known)| format!("{} ({known})", clean(name)))
        .collect();
    (!held.is_empty() && !status.phase.is_final()).then(|| held.join(", "))
}
