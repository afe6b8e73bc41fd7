//! What must hold in the fleet's world, beyond the engine's own invariants, which see one step.

use super::faults::Fault;
use super::world::{SIDECARS, Sidecar, WEB, Weather, World, timeout};
use crate::rollout::{Decision, Event, Observation, Phase, Rollout, State};

/// Seconds within which half of the candidate's requests failing must take it back.
const FAILING_MAX: u8 = 6;
/// Seconds in which a revert or a healthy rollout must be over.
const REVERT_MAX: usize = 45;
const HEALTHY_MAX: usize = 120;

// === impl World ===

impl World {
    /// What is wrong with the step from `before` to `after`, beyond the engine's own invariants.
    pub(super) fn wrong(&self, before: &State, event: &Event, after: &State) -> Option<String> {
        let (was, is) = (before.latest(WEB)?, after.latest(WEB)?);
        let on = |run: &Rollout| {
            let exposed = run.exposed_sidecars();
            SIDECARS.map(|(id, _)| exposed.includes(id))
        };
        let count = |run: &Rollout| on(run).iter().filter(|it| **it).count();
        let same = was.number() == is.number();
        if is.rung_name() == "1 sidecar" && count(is) > 1 {
            return Some(format!(
                "S2: {} sidecars have it at the first step",
                count(is)
            ));
        }
        let going_back = matches!(is.phase(), Phase::Reverting | Phase::Reverted);
        let lost = on(was).iter().zip(on(is)).any(|(had, has)| *had && !has);
        let stepped_back = going_back || is.rung < was.rung;
        if same && lost && !stepped_back {
            return Some("who had it lost it, and it did not go back".to_owned());
        }
        if going_back && count(is) > 0 {
            return Some("S5: it goes back, and sidecars still have it".to_owned());
        }
        let raised = same && count(is) > count(was);
        match event {
            Event::Abort { .. } if !going_back => {
                Some(format!("S5: an abort left it at {:?}", is.phase()))
            }
            Event::Recovered { .. } if raised => {
                Some("S8: coming back raised the exposure".to_owned())
            }
            Event::MeshDeclared { .. } if raised || !same => {
                Some("a declaration moved sidecars by itself".to_owned())
            }
            Event::MeshDeclared { .. } if !going_back && !is.phase().is_final() => (is.phase()
                != Phase::Committing)
                .then(|| "another mesh is declared, and it goes on".to_owned()),
            Event::Observed(seen) => self.wrongly_observed(was, is, raised, seen),
            _ => None,
        }
    }

    fn wrongly_observed(
        &self,
        was: &Rollout,
        is: &Rollout,
        raised: bool,
        seen: &Observation,
    ) -> Option<String> {
        let exposed = !was.exposed_sidecars().is_nobody();
        let trouble = match self.weather {
            Weather::Healthy => self.sidecars.iter().any(|it| !it.connected),
            Weather::AllSilent => true,
            _ => exposed,
        };
        if raised && trouble {
            return Some(format!("S4: it advanced while {:?}", self.weather));
        }
        let revert = is.phase() == Phase::Reverting || is.phase() == Phase::Reverted;
        let judged = matches!(was.phase(), Phase::Judging | Phase::Soaking);
        let failing = seen.evidence.canary.bad > 0 && self.failing > FAILING_MAX;
        if failing && judged && !revert {
            let seconds = self.failing;
            return Some(format!(
                "L2: half of it fails for {seconds} s, and it stays"
            ));
        }
        let candidate = |it: &(&str, &Sidecar)| was.exposed_sidecars().includes(it.0);
        let named = || SIDECARS.iter().map(|(id, _)| *id).zip(&self.sidecars);
        // Of the old revision one is lost, too: nobody says which of the two is at fault.
        let others = self.others_died || named().any(|it| !candidate(&it) && !it.1.connected);
        // At the last step there is nobody left to compare with.
        let alone = [was, is].iter().all(|run| run.rung_name() == "1 sidecar");
        let died = named()
            .filter(candidate)
            .any(|(_, it)| it.restarted && it.connected);
        if died && alone && !others && was.phase() == Phase::Judging && !revert {
            return Some("L2: its one sidecar began anew, and it stays".to_owned());
        }
        let to = was
            .plan()
            .configuration
            .as_ref()
            .map(|it| timeout(&it.after));
        let rejected = named().any(|(_, it)| it.connected && it.rejected == to);
        if rejected && judged && !revert {
            return Some("a sidecar rejected it, and it stays".to_owned());
        }
        let errors = is.revert_reason.as_ref();
        let blamed = was.revert_reason.is_none()
            && errors.is_some_and(|reason| reason.starts_with("errors"));
        let healthy = matches!(self.weather, Weather::Healthy) && self.failing == 0;
        let both = self.weather == Weather::AllFail && alone;
        (blamed && (healthy || both)).then(|| format!("T6: blamed for errors: {:?}", self.weather))
    }

    /// L5: from wherever it begins to go back, it arrives, though no sidecar answers any more.
    pub(super) fn goes_back(&self, fault: Option<Fault>) -> bool {
        let run = self.run();
        if run.phase() != Phase::Reverting || run.since != self.now {
            return true;
        }
        let (mut world, number) = (self.clone(), run.number());
        for _ in 0..REVERT_MAX {
            if world.reverted() || world.run().number() > number {
                return true;
            }
            world.tick(fault);
        }
        world.reverted()
    }

    /// L3: when the weather is fine and everybody obliges, it ends, or says that it is held past its
    /// deadline. Looked at in a part of all states, since it costs a whole rollout.
    pub(super) fn ends(&self) -> bool {
        if !self.digest.is_multiple_of(61) {
            return true;
        }
        let mut world = self.clone();
        world.weather = Weather::Healthy;
        for _ in 0..2 * HEALTHY_MAX {
            let held = matches!(&world.run().decision, Decision::Wait(wait) if wait.overdue);
            if world.over() || held || world.paused() {
                return true;
            }
            for sidecar in &mut world.sidecars {
                sidecar.connected = true;
                sidecar.has = sidecar.sent.take().unwrap_or(sidecar.has);
            }
            world.tick(None);
        }
        false
    }
}
