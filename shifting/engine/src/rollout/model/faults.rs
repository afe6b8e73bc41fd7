//! Bugs put in on purpose: what the model check does not find it does not check.

use std::sync::Arc;

use crate::rollout::{Decision, Effect, Event, Phase, Refusal, Rollout, State};
use crate::time::Time;
use crate::units::Ppm;

/// A bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// A verdict to revert is forgotten.
    DroppedVerdict,
    /// The arms are mixed up.
    SwappedArms,
    /// An abort is acknowledged, and lost.
    LostAbort,
    /// A new exposure has the number of the old one.
    ReusedEpoch,
    /// Everybody is said to have acknowledged.
    PresumedAcknowledged,
    /// Who is disconnected is forgotten.
    ForgottenDisconnected,
    /// Silence is taken for freshness.
    PresumedFresh,
    /// A long outage is taken for a short one.
    ForgottenOutage,
    /// What went back goes on again.
    Resurrected,
    /// A rung is left out.
    SkippedRung,
    /// Coming back goes one rung further.
    RaisedByRecovery,
    /// The canary's failures are not counted.
    BlindToErrors,
    /// The soak is left out.
    SkippedSoak,
    /// It begins with a share.
    ExposedFromTheStart,
    /// A revert never ends.
    EndlessRevert,
    /// A rejection is not noticed.
    IgnoredRejection,
}

// === impl Fault ===

impl Fault {
    pub(super) const ALL: [Fault; 16] = [
        Fault::DroppedVerdict,
        Fault::SwappedArms,
        Fault::LostAbort,
        Fault::ReusedEpoch,
        Fault::PresumedAcknowledged,
        Fault::ForgottenDisconnected,
        Fault::PresumedFresh,
        Fault::ForgottenOutage,
        Fault::Resurrected,
        Fault::SkippedRung,
        Fault::RaisedByRecovery,
        Fault::BlindToErrors,
        Fault::SkippedSoak,
        Fault::ExposedFromTheStart,
        Fault::EndlessRevert,
        Fault::IgnoredRejection,
    ];

    /// The fold, fed with something else than what happened.
    pub(super) fn apply(
        self,
        state: &State,
        event: &Event,
        now: Time,
    ) -> Result<(State, Vec<Effect>), Refusal> {
        let event = match (self, event) {
            (Fault::LostAbort, Event::Abort { .. }) => return Ok((state.clone(), Vec::new())),
            (Fault::ForgottenOutage, Event::Recovered { .. }) => Event::Recovered {
                outage_ms: Some(500),
            },
            (_, Event::Observed(observation)) => {
                let mut seen = observation.clone();
                let (delivery, evidence) = (&mut seen.delivery, &mut seen.evidence);
                match self {
                    Fault::SwappedArms => {
                        std::mem::swap(&mut evidence.canary, &mut evidence.stable);
                    }
                    Fault::PresumedAcknowledged => {
                        delivery.acknowledged = delivery.expected;
                        delivery.behind.clear();
                    }
                    Fault::ForgottenDisconnected => delivery.disconnected.clear(),
                    Fault::PresumedFresh => {
                        evidence.canary_fresh = Ppm::WHOLE;
                        evidence.stable_fresh = Ppm::WHOLE;
                    }
                    Fault::BlindToErrors => evidence.canary.bad = 0,
                    Fault::IgnoredRejection => {
                        delivery.acknowledged += u32::try_from(delivery.rejected.len()).unwrap();
                        delivery.behind.clear();
                        delivery.rejected.clear();
                    }
                    _ => {}
                }
                Event::Observed(seen)
            }
            (_, event) => event.clone(),
        };
        state.apply(&event, now)
    }

    /// The fold's answer, spoilt.
    pub(super) fn spoil(self, before: &State, event: &Event, after: &mut State) {
        let Some(was) = before.latest("checkout").cloned() else {
            return;
        };
        let Some(run) = after.services.get_mut("checkout") else {
            return;
        };
        let Some(run) = run.rollout.as_mut().map(Arc::make_mut) else {
            return;
        };
        self.spoil_run(&was, event, run);
    }

    fn spoil_run(self, was: &Rollout, event: &Event, run: &mut Rollout) {
        let observed = matches!(event, Event::Observed(_));
        let recovered = matches!(event, Event::Recovered { .. });
        let began_to_revert = run.phase == Phase::Reverting && was.phase != Phase::Reverting;
        match self {
            Fault::DroppedVerdict if observed && began_to_revert => *run = was.clone(),
            Fault::ReusedEpoch => run.epoch = was.epoch,
            Fault::Resurrected if observed && was.phase == Phase::Reverting => {
                run.phase = Phase::Judging;
                run.epoch += 1;
            }
            Fault::SkippedRung if run.rung > was.rung => {
                run.rung += 1;
            }
            Fault::SkippedRung if run.phase == Phase::Judging && was.phase == Phase::Preparing => {
                run.rung = 1;
            }
            Fault::RaisedByRecovery if recovered && run.phase == Phase::Judging => {
                run.rung = 1;
                run.epoch += 1;
            }
            Fault::SkippedSoak if run.phase == Phase::Soaking && was.phase == Phase::Judging => {
                run.phase = Phase::Committed;
                run.decision = Decision::Done;
            }
            Fault::ExposedFromTheStart if run.phase == Phase::Preparing && observed => {
                run.phase = Phase::Judging;
            }
            Fault::EndlessRevert if run.phase == Phase::Reverted => *run = was.clone(),
            _ => {}
        }
    }
}
