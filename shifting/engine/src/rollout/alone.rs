//! What fails at 100%, where nothing is left to compare with (evidence §4.3, §4.8).
//!
//! Nobody can tell there whose fault a failure is: what both versions need may be gone. The first time
//! the rollout goes one rung back, where stable has requests again. What the canary alone fails there
//! takes it back; what stable fails as well is held; what does not show there and comes back at 100%
//! is taken for the canary's.

use serde::{Deserialize, Serialize};

use crate::evidence::RULES_OF_ASKING_STABLE;
use crate::rollout::faults::Fault;
use crate::rollout::judge::Look;
use crate::rollout::run::Context;
use crate::rollout::{NoticeLevel, Rollout};

/// Requests that were under way at 100% end within this time, whatever becomes of them.
const LATE_MS: u64 = 60_000;

/// From so many times on that stable failed as well, a person says that it may go on: what breaks both
/// may be what the new version does to them at 100%.
const ALIKE_MAX: u32 = 2;

/// How often stable was asked, and what it answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Asks {
    /// It was asked, and did not fail as well.
    pub(crate) unanswered: bool,
    /// Requests from the time at 100% that are still under way: what becomes of them is no comparison.
    pub(crate) late: Option<u64>,
    /// How often stable failed as well.
    alike: u32,
}

// === impl Asks ===

impl Asks {
    pub(crate) fn are_none(&self) -> bool {
        *self == Self::default()
    }

    /// It is not for the engine to try a third time.
    pub(crate) fn need_a_person(&self) -> bool {
        self.alike >= ALIKE_MAX
    }
}

// === impl Rollout ===

impl Rollout {
    /// The rules by which stable is asked are in force. Sidecars that have the old revision may be gone
    /// when a fleet's configuration is everywhere: it goes back as it always did.
    pub(crate) fn asks_stable(&self) -> bool {
        self.plan.policy.rules >= RULES_OF_ASKING_STABLE && !self.is_configuration()
    }

    /// Goes back for a fault: to 0; or, for what was seen at 100% alone, first to where stable is asked.
    pub(crate) fn answer(&mut self, fault: Fault, look: Look<'_>, context: &mut Context) {
        let mut reason = fault.reason;
        if fault.alone && self.asks_stable() {
            if self.rung > 0 && !self.asks.unanswered {
                self.ask_stable(&reason, look, context);
                return;
            }
            if self.asks.unanswered {
                reason.push_str(
                    "; it was taken back from 100% before, and with less it was no worse than ",
                );
                reason.push_str(&self.plan.from);
            }
        }
        self.revert(self.cause(look.now), reason, NoticeLevel::Warning, context);
    }

    fn ask_stable(&mut self, reason: &str, look: Look<'_>, context: &mut Context) {
        self.asks.unanswered = true;
        self.asks.late = Some(look.evidence.canary.in_flight);
        self.battery.compare_anew();
        self.forget_breaches_of_witness();
        let (from, to) = (&self.plan.from, &self.plan.to);
        let why = format!("{reason}; {from} beside it will tell whether that is {to}'s fault");
        self.step_back(&why, context);
        self.decision = self.paused_wait(context.now);
    }

    /// Stable fails as well: that was no fault of the canary's.
    pub(crate) fn stable_failed_as_well(&mut self) {
        if std::mem::take(&mut self.asks.unanswered) {
            self.asks.alike = self.asks.alike.saturating_add(1);
        }
    }

    /// Counts off what began while the canary had everything, and says whether this tick has to be left
    /// out for it. `settled`: everybody has the smaller share, and reports since then have come.
    pub(crate) fn leave_out_late(&mut self, look: Look<'_>, settled: bool) -> bool {
        let Some(left) = self.asks.late else {
            return false;
        };
        let left = left.saturating_sub(look.evidence.canary.requests);
        let over = (left == 0 && settled) || look.now.since_ms(self.exposed) >= LATE_MS;
        self.asks.late = (!over).then_some(left);
        true
    }
}
