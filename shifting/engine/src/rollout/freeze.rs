//! Freeze windows: while one of a service or of its fleets holds, nothing of it starts or advances.
//! What goes back always goes, and so does a rollout back to what is known good.
//!
//! Windows are in civil time, and decisions depend on nothing but events (invariant S20): so the
//! civil time comes as an event, [`Event::ClockRead`](crate::rollout::Event::ClockRead), and the
//! engine's own time carries it on. A service with windows is frozen until the first of them came.

use serde::{Deserialize, Serialize};

use crate::mesh::{self, Freeze, Mesh};
use crate::rollout::{Pace, Refusal, State, fleet_of};
use crate::time::Time;

/// The civil time differs from what it should be by so much before it is read again.
const DRIFT_MS: u64 = 1_000;

/// A reading of the civil time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CivilClock {
    /// Milliseconds since 1970, UTC.
    pub(crate) unix_ms: u64,
    /// The engine's time of the reading.
    pub(crate) at: Time,
}

/// A freeze that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frozen {
    /// When it is over, as far as is known.
    pub(crate) until: Option<Time>,
    /// A sentence.
    pub(crate) reason: String,
}

// === impl State ===

impl State {
    /// Whether the program should hand in the civil time `unix_ms` (milliseconds since 1970) at
    /// `now`: there are freeze windows, and the time differs from what is known.
    #[must_use]
    pub fn needs_clock(&self, unix_ms: u64, now: Time) -> bool {
        let windows = |mesh: &Mesh| {
            let of_services = mesh
                .services
                .values()
                .any(|service| !service.freeze.is_empty());
            of_services || mesh.fleets.values().any(|fleet| !fleet.freeze.is_empty())
        };
        self.mesh().is_some_and(windows)
            && self
                .civil_ms(now)
                .is_none_or(|known| known.abs_diff(unix_ms) >= DRIFT_MS)
    }

    /// The civil time at `now`, in milliseconds since 1970, as far as it was handed in.
    fn civil_ms(&self, now: Time) -> Option<u64> {
        let clock = self.civil?;
        Some(clock.unix_ms.saturating_add(now.since_ms(clock.at)))
    }

    /// The freeze of a service, or of a fleet's configuration, that holds at `now`.
    pub(crate) fn freeze_of(&self, subject: &str, now: Time) -> Option<Frozen> {
        let mesh = self.mesh()?;
        if let Some(fleet) = fleet_of(subject) {
            // Every service that the fleet reaches may ask for quiet, too.
            let own = self.frozen_by(mesh.fleets.get(fleet)?.freeze.iter(), now);
            let services = mesh.services_of(fleet);
            let frozen = services.filter_map(|(name, _)| self.freeze_of(name, now));
            return own
                .into_iter()
                .chain(frozen)
                .max_by_key(|frozen| (frozen.until.is_none(), frozen.until));
        }
        let service = mesh.services.get(subject)?;
        let fleets = service
            .fleets
            .iter()
            .filter_map(|name| mesh.fleets.get(name));
        let windows = service.freeze.iter();
        self.frozen_by(windows.chain(fleets.flat_map(|fleet| &fleet.freeze)), now)
    }

    /// The freeze that these windows make at `now`.
    fn frozen_by<'a>(
        &self,
        windows: impl Iterator<Item = &'a Freeze> + Clone,
        now: Time,
    ) -> Option<Frozen> {
        windows.clone().next()?;
        let Some(unix_ms) = self.civil_ms(now) else {
            return Some(Frozen {
                until: None,
                reason: "it has freeze windows, and the civil time is not known yet".to_owned(),
            });
        };
        let (until_ms, window) = mesh::frozen(windows, unix_ms)?;
        let until = now.plus_ms(until_ms.saturating_sub(unix_ms));
        Some(Frozen {
            until: Some(until),
            reason: format!("frozen for another {} ({window})", until.since_words(now)),
        })
    }

    /// Refuses what may not start now.
    pub(crate) fn check_freeze(&self, service: &str, pace: Pace) -> Result<(), Refusal> {
        match self.freeze_of(service, self.latest) {
            Some(frozen) if pace.heeds_freeze() => Err(Refusal::Frozen {
                service: service.to_owned(),
                reason: frozen.reason,
            }),
            _ => Ok(()),
        }
    }
}

// === impl Pace ===

impl Pace {
    /// Going back to what is known good is a way out of trouble, and waits for no calendar and no
    /// gate.
    pub(crate) fn heeds_freeze(self) -> bool {
        self == Pace::Ordinary
    }
}
