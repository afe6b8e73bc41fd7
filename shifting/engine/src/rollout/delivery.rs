//! What is remembered of who has the exposure, and since when somebody has not.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::rollout::Delivery;
use crate::time::Time;

/// A sidecar that is gone for so long no longer counts.
const GONE_MS: u64 = 60_000;

/// Who has the present exposure.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Deliveries {
    /// The latest that is about the present exposure.
    pub(crate) latest: Option<Delivery>,
    /// How many were expected at the latest figures, of whatever exposure.
    expected: u32,
    /// Sidecars that are behind, and since when.
    behind: BTreeMap<String, Time>,
    /// Sidecars that are not connected, and since when.
    gone: BTreeMap<String, Time>,
    /// Those of them that no longer count.
    written_off: BTreeSet<String>,
}

// === impl Deliveries ===

impl Deliveries {
    /// A new exposure: everybody is to acknowledge again.
    pub(crate) fn expect_anew(&mut self) {
        self.latest = None;
        self.behind.clear();
    }

    /// Takes in the figures about the present exposure; answers what people should read of it.
    pub(crate) fn observe(&mut self, delivery: &Delivery, now: Time) -> Vec<String> {
        let mut news = Vec::new();
        let behind = names(delivery);
        self.behind.retain(|name, _| behind.contains(name));
        for name in behind {
            self.behind.entry(name).or_insert(now);
        }
        let gone: BTreeSet<&String> = delivery.disconnected.iter().collect();
        self.gone.retain(|name, _| gone.contains(name));
        let back: Vec<String> = self
            .written_off
            .iter()
            .filter(|name| !gone.contains(name))
            .cloned()
            .collect();
        for name in back {
            self.written_off.remove(&name);
            news.push(format!("sidecar {name} is back and counts again"));
        }
        for name in gone {
            let since = *self.gone.entry(name.clone()).or_insert(now);
            if now.since_ms(since) >= GONE_MS && self.written_off.insert(name.clone()) {
                news.push(format!(
                    "sidecar {name} has been disconnected for {} s and no longer counts; it gets \
                     the exposure of the day when it returns",
                    GONE_MS / 1000
                ));
            }
        }
        self.expected = delivery.expected;
        self.latest = Some(delivery.clone());
        news
    }

    /// Connected sidecars that should have the exposure, as far as is known.
    pub(crate) fn expected(&self) -> u32 {
        self.expected
    }

    /// Every connected sidecar that should have the exposure acknowledged all of it.
    pub(crate) fn complete(&self) -> bool {
        self.latest.as_ref().is_some_and(|delivery| {
            delivery.expected > 0
                && delivery.acknowledged >= delivery.expected
                && delivery.behind.is_empty()
                && delivery.rejected.is_empty()
        })
    }

    /// Those that are behind for longer than `deadline_ms`.
    pub(crate) fn overdue(&self, deadline_ms: u64, now: Time) -> Vec<&str> {
        self.behind
            .iter()
            .filter(|(_, since)| now.since_ms(**since) >= deadline_ms)
            .map(|(name, _)| name.as_str())
            .collect()
    }

    /// When the first of them becomes overdue.
    pub(crate) fn due(&self, deadline_ms: u64) -> Option<Time> {
        self.behind
            .values()
            .min()
            .map(|since| since.plus_ms(deadline_ms))
    }

    /// Those that are behind.
    pub(crate) fn behind(&self) -> Vec<&str> {
        self.behind.keys().map(String::as_str).collect()
    }

    /// Those that are not connected and still count, and when the first stops to.
    pub(crate) fn missing(&self) -> Option<(Vec<&str>, Time)> {
        let missing = || {
            self.gone
                .iter()
                .filter(|(name, _)| !self.written_off.contains(*name))
        };
        let until = missing().map(|(_, since)| since.plus_ms(GONE_MS)).min()?;
        Some((missing().map(|(name, _)| name.as_str()).collect(), until))
    }

    /// Those that are not connected, whether they count or not.
    pub(crate) fn gone(&self) -> Vec<&str> {
        self.gone.keys().map(String::as_str).collect()
    }

    /// Nobody watched: deadlines begin anew.
    pub(crate) fn restart(&mut self, now: Time) {
        self.expect_anew();
        for since in self.gone.values_mut() {
            *since = now;
        }
    }
}

/// Who is behind. Figures that do not add up still hold somebody responsible.
fn names(delivery: &Delivery) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = delivery.behind.iter().cloned().collect();
    if names.is_empty() && delivery.rejected.is_empty() && delivery.acknowledged < delivery.expected
    {
        names.insert("(not named)".to_owned());
    }
    names
}

/// `a, b, c and 7 more`.
pub(crate) fn list(names: &[&str]) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<&str> = names.iter().copied().take(SHOWN).collect();
    let rest = names.len().saturating_sub(SHOWN);
    if rest == 0 {
        shown.join(", ")
    } else {
        format!("{} and {rest} more", shown.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_cut() {
        assert_eq!(list(&["a", "b"]), "a, b");
        assert_eq!(
            list(&["a", "b", "c", "d", "e", "f", "g"]),
            "a, b, c, d, e and 2 more"
        );
    }

    #[test]
    fn figures_that_do_not_add_up_are_not_complete() {
        let mut deliveries = Deliveries::default();
        assert!(!deliveries.complete());
        deliveries.observe(&Delivery::default(), Time(0));
        assert!(!deliveries.complete(), "nobody is expected");
        let odd = Delivery {
            expected: 3,
            acknowledged: 2,
            ..Delivery::default()
        };
        deliveries.observe(&odd, Time(0));
        assert_eq!(deliveries.overdue(1000, Time(1000)), ["(not named)"]);
    }
}
