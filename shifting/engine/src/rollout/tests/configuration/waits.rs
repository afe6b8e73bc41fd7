//! Gates and freezes that a fleet declares.

use super::*;
use crate::mesh::{Freeze, FreezeSpan, Gate, Rung, RungGate};

/// 2026-11-20, noon, UTC.
const NOON_MS: u64 = 1_795_176_000_000;

fn gated(mut mesh: Mesh, rung: Rung, gate: Gate) -> Mesh {
    let fleet = mesh.fleets.get_mut("web").unwrap();
    fleet.gates.push(RungGate { rung, gate });
    mesh
}

/// The fleet is frozen from so many minutes after noon to 14:00.
fn frozen(mut mesh: Mesh, minute: u8) -> Mesh {
    let fleet = mesh.fleets.get_mut("web").unwrap();
    fleet.freeze.push(Freeze {
        zone: "UTC".into(),
        span: FreezeSpan::Once {
            from: format!("2026-11-20T12:{minute:02}").parse().unwrap(),
            to: "2026-11-20T14:00".parse().unwrap(),
        },
        reason: "quiet".into(),
    });
    mesh
}

fn world_of(adapt: impl Fn(Mesh) -> Mesh) -> World {
    let mut world = World::new(adapt(mesh()));
    world.apply(Event::ClockRead { unix_ms: NOON_MS }).unwrap();
    world.redeclare(adapt(with_timeout(10_000)));
    world
}

fn wait_kind(world: &World) -> Option<String> {
    match world.state.status(WEB, world.now)?.decision {
        Decision::Wait(wait) => Some(wait.kind),
        _ => None,
    }
}

#[test]
fn a_persons_approval_stands_between_the_first_sidecar_and_the_others() {
    let gate = Gate {
        pause_ms: 0,
        approval: true,
    };
    let mut world = world_of(|mesh| gated(mesh, Rung::Hosts(1), gate));
    world.seconds_until(|world| wait_kind(world).as_deref() == Some("approval"));
    for _ in 0..600 {
        world.second(|_| {});
        assert_eq!(world.exposed().len(), 1);
    }
    let approve = Event::Approve {
        service: WEB.into(),
        actor: "ann".into(),
    };
    world.apply(approve).unwrap();
    world.seconds_until(|world| world.configuration().phase() == Phase::Committed);
}

#[test]
fn nothing_of_a_frozen_fleet_begins_or_advances() {
    let mut world = world_of(|mesh| frozen(mesh, 0));
    for _ in 0..600 {
        world.second(|_| {});
    }
    assert!(world.state.active().next().is_none());
    let reason = &world.state.pending(world.now)[0].reason;
    assert!(reason.contains("quiet"), "{reason}");
    assert!(matches!(
        world.start("v2"),
        Err(Refusal::Frozen { service, .. }) if service == "checkout"
    ));
    world.now = world.now.plus_ms(2 * 3_600_000);
    world.second(|_| {});
    world.seconds_until(|world| world.configuration().phase() == Phase::Committed);
}

#[test]
fn a_freeze_that_begins_while_it_is_under_way_holds_it_where_it_is() {
    let mut world = world_of(|mesh| frozen(mesh, 1));
    world.on_one_sidecar();
    for _ in 0..1_800 {
        world.second(|_| {});
    }
    assert_eq!(world.exposed().len(), 1);
    assert_eq!(wait_kind(&world).as_deref(), Some("freeze"));
}
