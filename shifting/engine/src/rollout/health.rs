//! What sidecars do with a revision beside their requests: they crash, open their configuration
//! stream again and again, or grow. Evidence of a configuration rollout (issue 4, item 4).
//!
//! Sidecars come and go by themselves, so a revision is blamed for what its sidecars do five times
//! as often as the others; the one sidecar of a first rung is blamed at once, which costs little.

use serde::{Deserialize, Serialize};

use crate::time::Time;

/// Times as often as on the others.
const TIMES: u64 = 5;

/// A sidecar that is gone for so long has not merely opened another connection.
const GONE_MS: u64 = 5_000;

/// So many new streams for each sidecar since the step are a storm.
const STORM: u64 = 3;

/// Times as much memory as the others, and at least so much more, for so many ticks.
const GROWN_TIMES: u64 = 2;
const GROWN_BYTES: u64 = 64 * 1024 * 1024;
const GROWN_TICKS: u32 = 3;

/// How the sidecars of one arm are, at one tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ArmHealth {
    /// Connected, or connected when the rollout needed them.
    pub sidecars: u64,
    /// Those of them that are not connected now.
    pub gone: u64,
    /// Whose process began anew since the tick before.
    pub restarts: u64,
    /// Configuration streams opened since the tick before.
    pub reconnects: u64,
    /// Memory of those that tell, added up, bytes; and how many tell.
    pub memory_bytes: u64,
    /// How many tell their memory.
    pub measured: u64,
}

/// How both arms are, at one tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct FleetHealth {
    /// On the candidate revision.
    pub canary: ArmHealth,
    /// On the old one.
    pub stable: ArmHealth,
}

/// What is remembered of it since the latest step.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Health {
    canary: ArmHealth,
    stable: ArmHealth,
    /// Since when a sidecar of the canary is gone.
    gone_since: Option<Time>,
    /// Ticks in a row at which the canary's sidecars had grown.
    grown: u32,
    /// Mean memory of stable's sidecars when there last were some, bytes.
    usual_bytes: Option<u64>,
}

// === impl ArmHealth ===

impl ArmHealth {
    fn mean_bytes(&self) -> Option<u64> {
        self.memory_bytes.checked_div(self.measured)
    }

    /// Counts add up; how many there are is as of now.
    fn take_in(&mut self, now: &ArmHealth) {
        *self = Self {
            restarts: self.restarts.saturating_add(now.restarts),
            reconnects: self.reconnects.saturating_add(now.reconnects),
            ..*now
        };
    }
}

// === impl Health ===

impl Health {
    /// A new exposure: counts begin anew.
    pub(crate) fn restart(&mut self) {
        *self = Self {
            usual_bytes: self.usual_bytes,
            ..Self::default()
        };
    }

    pub(crate) fn observe(&mut self, health: &FleetHealth, now: Time) {
        self.canary.take_in(&health.canary);
        self.stable.take_in(&health.stable);
        match health.canary.gone {
            0 => self.gone_since = None,
            _ => _ = self.gone_since.get_or_insert(now),
        }
        self.usual_bytes = health.stable.mean_bytes().or(self.usual_bytes);
        let grown = matches!(
            (health.canary.mean_bytes(), self.usual_bytes),
            (Some(canary), Some(usual))
                if canary >= usual.saturating_mul(GROWN_TIMES)
                    && canary - usual >= GROWN_BYTES
        );
        self.grown = if grown {
            self.grown.saturating_add(1)
        } else {
            0
        };
    }

    /// What speaks against the revision.
    pub(crate) fn fault(&self, now: Time) -> Option<String> {
        let (canary, stable) = (&self.canary, &self.stable);
        let long_gone = self
            .gone_since
            .is_some_and(|since| now.since_ms(since) >= GONE_MS);
        let gone = if long_gone { canary.gone } else { 0 };
        let crashed = canary.restarts.saturating_add(gone);
        let others = stable.restarts.saturating_add(stable.gone);
        if crashed >= canary.sidecars.clamp(1, 2) && much_more(canary, crashed, stable, others) {
            return Some(format!(
                "sidecars crash: of {} on the new revision {} began anew and {gone} are gone, of {} \
                 on the old one {} and {}",
                canary.sidecars, canary.restarts, stable.sidecars, stable.restarts, stable.gone
            ));
        }
        let storm = canary.reconnects >= canary.sidecars.max(1).saturating_mul(STORM);
        if storm && much_more(canary, canary.reconnects, stable, stable.reconnects) {
            return Some(format!(
                "sidecars reconnect: {} times on the {} of the new revision, {} times on the {} of \
                 the old one",
                canary.reconnects, canary.sidecars, stable.reconnects, stable.sidecars
            ));
        }
        if self.grown >= GROWN_TICKS {
            const MIB: u64 = 1024 * 1024;
            return Some(format!(
                "sidecars grow: {} MiB each on the new revision, {} MiB on the old one",
                canary.mean_bytes().unwrap_or_default() / MIB,
                self.usual_bytes.unwrap_or_default() / MIB
            ));
        }
        None
    }
}

/// More than [`TIMES`] as often for each sidecar. Where nothing ever happened, half an event stands
/// for it; where no other sidecar is left to compare with, a fifth of the sidecars is much.
fn much_more(canary: &ArmHealth, events: u64, stable: &ArmHealth, others: u64) -> bool {
    let product = |a: u64, b: u64| u128::from(a) * u128::from(b);
    let sidecars = canary.sidecars.max(1);
    if stable.sidecars == 0 {
        return product(events, TIMES) >= u128::from(sidecars);
    }
    let others = others.saturating_mul(2).saturating_add(1);
    2 * product(events, stable.sidecars + 1) > u128::from(TIMES) * product(others, sidecars)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn arm(sidecars: u64) -> ArmHealth {
        ArmHealth {
            sidecars,
            memory_bytes: sidecars * 50 * MIB,
            measured: sidecars,
            ..ArmHealth::default()
        }
    }

    fn after(ticks: u64, canary: ArmHealth, stable: ArmHealth) -> Option<String> {
        let mut health = Health::default();
        for second in 0..ticks {
            health.observe(&FleetHealth { canary, stable }, Time(second * 1_000));
        }
        health.fault(Time(ticks.saturating_sub(1) * 1_000))
    }

    #[test]
    fn sidecars_that_are_well_are_no_fault() {
        assert_eq!(after(60, arm(1), arm(4)), None);
        assert_eq!(after(60, arm(5), arm(0)), None);
        assert_eq!(after(1, ArmHealth::default(), arm(5)), None);
    }

    #[test]
    fn the_one_sidecar_of_a_first_rung_is_blamed_when_it_crashes() {
        let crashed = ArmHealth {
            restarts: 1,
            ..arm(1)
        };
        let text = after(1, crashed, arm(4)).unwrap();
        assert!(text.contains("1 began anew"), "{text}");
        let gone = ArmHealth { gone: 1, ..arm(1) };
        assert_eq!(after(5, gone, arm(4)), None, "it may come back");
        assert!(after(6, gone, arm(4)).unwrap().contains("1 are gone"));
    }

    #[test]
    fn a_fleet_that_restarts_as_a_whole_blames_nobody() {
        let one = |sidecars| ArmHealth {
            restarts: sidecars,
            ..arm(sidecars)
        };
        assert_eq!(after(1, one(1), one(4)), None);
        let some = ArmHealth {
            restarts: 1,
            ..arm(250)
        };
        assert_eq!(after(1, some, arm(4_750)), None, "one of 250 is no pattern");
        assert!(after(2, some, arm(4_750)).is_some());
        let everyone = ArmHealth {
            restarts: 1,
            ..arm(5)
        };
        assert_eq!(after(1, everyone, arm(0)), None);
        assert!(after(2, everyone, arm(0)).is_some());
    }

    #[test]
    fn streams_that_are_opened_again_and_again_are_a_storm() {
        let storm = ArmHealth {
            reconnects: 1,
            ..arm(1)
        };
        assert_eq!(after(2, storm, arm(4)), None);
        assert!(after(3, storm, arm(4)).unwrap().contains("reconnect"));
        let all = ArmHealth {
            reconnects: 4,
            ..arm(4)
        };
        assert_eq!(after(9, storm, all), None, "the network's doing");
    }

    #[test]
    fn sidecars_that_grow_are_noticed_also_when_none_is_left_to_compare() {
        let grown = ArmHealth {
            memory_bytes: 200 * MIB,
            ..arm(1)
        };
        assert_eq!(after(2, grown, arm(4)), None);
        assert!(after(3, grown, arm(4)).unwrap().contains("200 MiB"));
        let mut health = Health::default();
        let before = FleetHealth {
            canary: arm(1),
            stable: arm(4),
        };
        health.observe(&before, Time(0));
        health.restart();
        let canary = ArmHealth {
            memory_bytes: 5 * 200 * MIB,
            ..arm(5)
        };
        for _ in 0..3 {
            let stable = ArmHealth::default();
            health.observe(&FleetHealth { canary, stable }, Time(1_000));
        }
        assert!(health.fault(Time(1_000)).is_some());
    }
}
