//! What a step was watched for before it was left (S3, S10): long enough, with enough requests, and
//! only since everyone had it.

use super::before::Stood;
use super::{Broken, broken};
use crate::rollout::tick::STEP_MAX_MS;
use crate::rollout::{Observation, Phase, Rollout};
use crate::units::Ppm;

/// A rung, or the soak, is left after its bake, with its requests.
///
/// # Errors
/// When it is left earlier.
pub(super) fn advanced(
    earlier: &Stood,
    observation: &Observation,
    rollout: &Rollout,
) -> Result<(), Broken> {
    let policy = &rollout.plan.policy;
    let bake_ms = match earlier.phase {
        Phase::Judging if earlier.exposed == Ppm::WHOLE => return Ok(()), // the soak comes next
        Phase::Judging => policy.bake_ms,
        Phase::Soaking => policy.soak_ms,
        _ => return Ok(()),
    };
    let rule = match earlier.phase {
        Phase::Soaking => "S10",
        _ => "S3",
    };
    let now = rollout.last_tick;
    if earlier.watch.acknowledged.is_none_or(|at| at >= now) {
        let what = "it was left before everyone had it".to_owned();
        return broken(rule, rollout, what);
    }
    let step_ms = now.since_ms(earlier.watch.last_tick).min(STEP_MAX_MS);
    let baked_ms = earlier.watch.baked_ms.saturating_add(step_ms);
    if baked_ms < bake_ms {
        let what = format!("it was left after {baked_ms} ms of {bake_ms} ms");
        return broken(rule, rollout, what);
    }
    let requests = earlier.watch.canary_requests;
    let requests = requests.saturating_add(observation.evidence.canary.requests);
    if requests < policy.minimum_requests {
        let least = policy.minimum_requests;
        let what = format!("it was left with {requests} canary requests of {least}");
        return broken(rule, rollout, what);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::Event;
    use crate::rollout::fixture::{World, mesh};
    use crate::rollout::invariants::Before;
    use crate::time::Time;

    /// What is found when the engine, which sees in `world` what `forge` makes of it, leaves the step.
    fn found(world: &World, forge: impl Fn(&mut Rollout)) -> Broken {
        let event = Event::Observed(world.healthy());
        let before = Before::of(&world.state, &event);
        let mut forged = world.state.clone();
        forge(forged.running_mut("checkout").unwrap());
        let now = world.now.plus_ms(1_000);
        let (after, _) = forged.apply(&event, now).unwrap();
        let left = after.latest("checkout").unwrap();
        assert_ne!(left.epoch(), world.run().epoch(), "{:?}", left.decision);
        super::super::check_step(&before, &event, &after).unwrap_err()
    }

    fn long_enough(rollout: &mut Rollout) {
        rollout.clock.baked_ms = 3_600_000;
        rollout.clock.canary_requests = 1_000_000;
        rollout.battery.ask_for_no_proof();
    }

    #[test]
    fn a_step_that_is_left_too_early_is_told() {
        for (phase, rule) in [(Phase::Judging, "S3"), (Phase::Soaking, "S10")] {
            let mut world = World::started();
            world.reach_phase(phase);
            world.tick(|_| {});
            world.tick(|_| {});
            let broken = found(&world, long_enough);
            assert_eq!(broken.rule, rule, "{broken}");
            assert!(broken.what.contains("ms of"), "{broken}");
        }
    }

    #[test]
    fn a_step_that_is_left_with_too_few_requests_is_told() {
        let mut mesh = mesh();
        let service = mesh.services.get_mut("checkout").unwrap();
        service.rollout.minimum_requests = 500_000;
        let mut world = World::new(mesh);
        world.start("v2").unwrap();
        world.until(|world| world.run().clock.baked_ms > world.run().plan().policy.bake_ms);
        let broken = found(&world, long_enough);
        assert_eq!(broken.rule, "S3", "{broken}");
        assert!(
            broken.what.contains("canary requests of 500000"),
            "{broken}"
        );
    }

    #[test]
    fn a_step_that_is_left_before_everyone_had_it_is_told() {
        let mut world = World::started();
        world.reach_phase(Phase::Judging);
        let broken = found(&world, |rollout| {
            long_enough(rollout);
            rollout.clock.acknowledged = Some(Time(0));
            rollout.clock.traffic = true;
        });
        assert_eq!(broken.rule, "S3", "{broken}");
        assert!(broken.what.contains("before everyone had it"), "{broken}");
    }
}
