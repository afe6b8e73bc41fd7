//! Bugs put into configuration rollouts on purpose, each of which the model check must find.

use std::sync::Arc;

use crate::rollout::{Event, Phase, Rollout, State};
use crate::units::Ppm;

use super::world::WEB;

/// A bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The first step takes everyone.
    EveryoneAtOnce,
    /// The next step forgets who had it.
    OthersEachTime,
    /// Coming back names one more.
    NamedByRecovery,
    /// A verdict to revert is forgotten.
    DroppedVerdict,
    /// What went back stays with who had it.
    KeptAfterwards,
    /// Crashes are not noticed.
    BlindToCrashes,
    /// A rejection is not noticed.
    IgnoredRejection,
    /// The arms are mixed up.
    SwappedArms,
    /// Silence is taken for freshness.
    PresumedFresh,
    /// The old revision stays in force after the commit.
    UncommittedSettings,
    /// What is declared is in force at once.
    DeclaredForEveryone,
    /// Another mesh is declared, and what is under way goes on.
    NotSuperseded,
}

// === impl Fault ===

impl Fault {
    pub(super) const ALL: [Fault; 12] = [
        Fault::EveryoneAtOnce,
        Fault::OthersEachTime,
        Fault::NamedByRecovery,
        Fault::DroppedVerdict,
        Fault::KeptAfterwards,
        Fault::BlindToCrashes,
        Fault::IgnoredRejection,
        Fault::SwappedArms,
        Fault::PresumedFresh,
        Fault::UncommittedSettings,
        Fault::DeclaredForEveryone,
        Fault::NotSuperseded,
    ];

    /// Something else than what happened.
    pub(super) fn disguise(self, event: &Event) -> Event {
        let mut event = event.clone();
        let Event::Observed(seen) = &mut event else {
            return event;
        };
        let (delivery, evidence) = (&mut seen.delivery, &mut seen.evidence);
        match self {
            Fault::BlindToCrashes => {
                if let Some(fleet) = &mut seen.fleet {
                    fleet.health.canary.restarts = 0;
                    fleet.health.canary.gone = 0;
                }
            }
            Fault::IgnoredRejection => {
                delivery.acknowledged += u32::try_from(delivery.rejected.len()).unwrap();
                delivery.behind.clear();
                delivery.rejected.clear();
            }
            Fault::SwappedArms => std::mem::swap(&mut evidence.canary, &mut evidence.stable),
            Fault::PresumedFresh => {
                evidence.canary_fresh = Ppm::WHOLE;
                evidence.stable_fresh = Ppm::WHOLE;
            }
            _ => {}
        }
        event
    }

    /// The fold's answer, spoilt.
    pub(super) fn spoil(self, before: &State, event: &Event, after: &mut State) {
        let declared = after
            .mesh()
            .and_then(|mesh| crate::mesh::Settings::of(mesh, "web"));
        let was_settings = before.settings("web");
        let Some(fleet) = after.fleets.get_mut("web") else {
            return;
        };
        match self {
            Fault::DeclaredForEveryone if matches!(event, Event::MeshDeclared { .. }) => {
                fleet.settings = declared.expect("it is declared");
            }
            Fault::UncommittedSettings => fleet.settings = was_settings.expect("it has some"),
            _ => {}
        }
        let Some(was) = before.latest(WEB).cloned() else {
            return;
        };
        if let Some(run) = fleet.rollout.as_mut().map(Arc::make_mut) {
            self.spoil_run(&was, event, run);
        }
    }

    fn spoil_run(self, was: &Rollout, event: &Event, run: &mut Rollout) {
        if run.number != was.number {
            return;
        }
        let began_to_revert = run.phase == Phase::Reverting && was.phase != Phase::Reverting;
        let declared = matches!(event, Event::MeshDeclared { .. });
        match self {
            Fault::DroppedVerdict if began_to_revert && matches!(event, Event::Observed(_)) => {
                *run = was.clone();
                return;
            }
            Fault::NotSuperseded if began_to_revert && declared => {
                *run = was.clone();
                return;
            }
            _ => {}
        }
        let Some(sidecars) = &mut run.sidecars else {
            return;
        };
        let exposed = &mut sidecars.exposed;
        match self {
            Fault::EveryoneAtOnce if run.phase == Phase::Judging => exposed.share = Ppm::WHOLE,
            Fault::OthersEachTime if run.phase == Phase::Judging && exposed.named.len() == 1 => {
                let other = if exposed.named == ["s1"] { "s2" } else { "s1" };
                if run.clock.baked_ms > 0 {
                    exposed.named = vec![other.to_owned()];
                }
            }
            Fault::NamedByRecovery if matches!(event, Event::Recovered { .. }) => {
                let more = ["s1", "s2", "s3"].map(str::to_owned);
                exposed.named.extend(more);
            }
            Fault::KeptAfterwards if began_to_revert => {
                if let Some(had) = &was.sidecars {
                    *exposed = had.exposed.clone();
                }
            }
            _ => {}
        }
    }
}
