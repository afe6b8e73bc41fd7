//! Which of a fleet's sidecars are on the candidate revision: the exposure of a configuration
//! rollout.
//!
//! Few sidecars are named, in an order that goes round the zones, so that small exposures are exact
//! and no zone has them all. Many are the part of the fleet whose hash is below the share, so that
//! it does not matter who is connected, in which order sidecars come back, or which replica
//! answers. The hash is of the revision too: it is not always the same sidecar that is first.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::rollout::attribution::Tables;
use crate::rollout::delivery::list;
use crate::rollout::health::Health;
use crate::rollout::{FleetObservation, Phase, Rollout};
use crate::time::Time;
use crate::units::Ppm;

/// Up to so many sidecars are named; an exposure of more is a part of the fleet.
pub const NAMED_MAX: usize = 64;

/// The sidecars that are on the candidate revision.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Exposed {
    /// By node id, in the order in which they got it.
    pub named: Vec<String>,
    /// And this part of all others.
    pub share: Ppm,
    /// The candidate revision: what the order is drawn from.
    pub revision: String,
}

// === impl Exposed ===

impl Exposed {
    /// No sidecar.
    #[must_use]
    pub fn nobody(revision: &str) -> Self {
        Self {
            revision: revision.to_owned(),
            ..Self::default()
        }
    }

    /// Whether a sidecar is on the candidate revision.
    #[must_use]
    pub fn includes(&self, sidecar: &str) -> bool {
        self.share == Ppm::WHOLE
            || self.named.iter().any(|named| named == sidecar)
            || self.share > position(&self.revision, sidecar)
    }

    /// Who it is, in words.
    #[must_use]
    pub fn words(&self) -> String {
        let named: Vec<&str> = self.named.iter().map(String::as_str).collect();
        match self.share {
            Ppm::WHOLE => "every sidecar".to_owned(),
            Ppm::ZERO if named.is_empty() => "no sidecar".to_owned(),
            Ppm::ZERO => list(&named),
            share => format!("{share} of the sidecars"),
        }
    }

    /// Nobody is.
    #[must_use]
    pub fn is_nobody(&self) -> bool {
        self.named.is_empty() && self.share == Ppm::ZERO
    }

    /// Changes it to `wanted` of a fleet's sidecars, `share` of all. Who has it keeps it as long as
    /// there is room; who gets it is taken from `next`.
    pub(crate) fn resize(&mut self, wanted: usize, share: Ppm, next: &[String]) {
        if wanted > NAMED_MAX {
            self.share = share;
            return;
        }
        self.share = Ppm::ZERO;
        self.named.truncate(wanted);
        let room = wanted.saturating_sub(self.named.len());
        let fresh: Vec<String> = next
            .iter()
            .filter(|sidecar| !self.named.contains(sidecar))
            .take(room)
            .cloned()
            .collect();
        self.named.extend(fresh);
    }
}

/// Who has the candidate revision, and how they are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sidecars {
    pub(crate) exposed: Exposed,
    /// Who gets it next, as of the latest tick.
    next: Vec<String>,
    pub(crate) health: Health,
    /// Of its requests with those of rollouts of services that it overlaps.
    #[serde(default, skip_serializing_if = "Tables::is_empty")]
    pub(crate) tables: Tables,
}

// === impl Sidecars ===

impl Sidecars {
    pub(crate) fn new(revision: &str) -> Self {
        Self {
            exposed: Exposed::nobody(revision),
            next: Vec::new(),
            health: Health::default(),
            tables: Tables::new(),
        }
    }

    pub(crate) fn observe(&mut self, fleet: &FleetObservation, now: Time) {
        self.next.clone_from(&fleet.next);
        self.next.truncate(NAMED_MAX);
        self.health.observe(&fleet.health, now);
    }
}

// === impl Rollout ===

impl Rollout {
    /// The sidecars that have the candidate revision, where the subject is a configuration.
    #[must_use]
    pub fn exposed_sidecars(&self) -> Exposed {
        let exposed = self.sidecars.as_ref().map(|it| it.exposed.clone());
        exposed.unwrap_or_default()
    }

    /// The exposure changed: whom it is about now.
    pub(crate) fn choose_sidecars(&mut self) {
        let share = self.share();
        let rung = self.planned_rung().and_then(|rung| rung.hosts);
        let expected = u64::from(self.deliveries.expected());
        let exposed_at_all = !matches!(self.phase, Phase::Reverting | Phase::Reverted);
        let Some(sidecars) = &mut self.sidecars else {
            return;
        };
        sidecars.health.restart();
        if share == Ppm::WHOLE {
            sidecars.exposed.share = share;
            return;
        }
        let part = (expected * u64::from(share.get())).div_ceil(u64::from(Ppm::WHOLE.get()));
        let wanted = match rung {
            _ if !exposed_at_all => 0,
            Some(count) => u64::from(count),
            None => part,
        };
        let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
        sidecars.exposed.resize(wanted, share, &sidecars.next);
    }
}

/// The order in which sidecars get a revision: the first of every zone, the second of every zone,
/// and so on; within a zone by hash. From pairs of node id and zone.
#[must_use]
pub fn order<'a>(
    revision: &str,
    sidecars: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Vec<&'a str> {
    let mut zones: BTreeMap<&str, BTreeSet<(u64, &str)>> = BTreeMap::new();
    for (sidecar, zone) in sidecars {
        let place = (hash(revision, sidecar), sidecar);
        zones.entry(zone).or_default().insert(place);
    }
    let mut order: Vec<(usize, u64, &str)> = zones
        .iter()
        .flat_map(|(zone, places)| {
            let zone = hash(revision, zone);
            let ranked = places.iter().enumerate();
            ranked.map(move |(rank, (_, sidecar))| (rank, zone, *sidecar))
        })
        .collect();
    order.sort_unstable();
    order.into_iter().map(|(_, _, sidecar)| sidecar).collect()
}

/// Where a sidecar stands between none and all.
fn position(revision: &str, sidecar: &str) -> Ppm {
    Ppm::of(hash(revision, sidecar), u64::MAX)
}

fn hash(revision: &str, name: &str) -> u64 {
    let digest = Sha256::new()
        .chain_update(revision.as_bytes())
        .chain_update([0])
        .chain_update(name.as_bytes())
        .finalize();
    let first = digest.iter().take(8);
    first.fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet(count: usize) -> Vec<(String, String)> {
        (0..count)
            .map(|n| (format!("sidecar-{n}"), format!("zone-{}", n % 3)))
            .collect()
    }

    fn names(fleet: &[(String, String)]) -> impl Iterator<Item = (&str, &str)> {
        fleet.iter().map(|(id, zone)| (id.as_str(), zone.as_str()))
    }

    #[test]
    fn the_order_goes_round_the_zones_and_differs_between_revisions() {
        let fleet = fleet(30);
        let zones: BTreeMap<&str, &str> = names(&fleet).collect();
        let first = order("r1", names(&fleet));
        for three in first.chunks(3) {
            let zones: BTreeSet<&str> = three.iter().map(|id| zones[id]).collect();
            assert_eq!(zones.len(), 3, "{three:?}");
        }
        let reversed: Vec<_> = names(&fleet).collect();
        assert_eq!(first, order("r1", reversed.into_iter().rev()));
        let firsts: BTreeSet<&str> = (0..50)
            .map(|n| order(&format!("r{n}"), names(&fleet))[0])
            .collect();
        assert!(firsts.len() > 10, "{firsts:?}");
    }

    #[test]
    fn a_share_is_that_part_of_a_fleet_and_grows_with_it() {
        let share = |parts| Exposed {
            share: Ppm::new(parts).unwrap(),
            ..Exposed::nobody("r1")
        };
        let (small, large) = (share(50_000), share(250_000));
        let fleet = fleet(10_000);
        let of = |exposed: &Exposed| {
            names(&fleet)
                .filter(|(id, _)| exposed.includes(id))
                .map(|(id, _)| id.to_owned())
                .collect::<BTreeSet<_>>()
        };
        assert!(
            (400..600).contains(&of(&small).len()),
            "{}",
            of(&small).len()
        );
        assert!((2_300..2_700).contains(&of(&large).len()));
        assert!(of(&small).is_subset(&of(&large)));
        assert_eq!(of(&share(0)).len(), 0);
        assert_eq!(of(&share(1_000_000)).len(), 10_000);
    }

    #[test]
    fn few_are_named_and_who_has_it_keeps_it() {
        let next: Vec<String> = (0..80).map(|n| format!("s{n}")).collect();
        let mut exposed = Exposed::nobody("r1");
        exposed.resize(1, Ppm::new(1).unwrap(), &next);
        assert_eq!(exposed.named, ["s0"]);
        exposed.resize(3, Ppm::of(5, 100), &["s9".to_owned(), "s8".to_owned()]);
        assert_eq!(exposed.named, ["s0", "s9", "s8"]);
        exposed.resize(1, Ppm::new(1).unwrap(), &next);
        assert_eq!(exposed.named, ["s0"]);
        exposed.resize(NAMED_MAX + 1, Ppm::of(5, 100), &next);
        assert!(exposed.includes("s0") && exposed.share == Ppm::of(5, 100));
        exposed.resize(0, Ppm::ZERO, &next);
        assert!(exposed.is_nobody());
    }
}
