//! The silent wedge, against real Envoys: a response with one invalid and one new valid cluster
//! leaves Envoy 1.36 to 1.40 applied in part, with neither ACK nor NACK, and after its next
//! reconnect it doesn't ask for clusters any more. The library's own rule (one cluster of doubt per
//! response) is switched off here, so that it happens.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]

mod world;

use std::path::Path;
use std::time::{Duration, Instant};

use tidegate_integration::machine::wait_for;
use tidegate_integration::sidecar::{envoy_path, old_envoy_path};
use tidegate_xds::stream::Variant;
use tidegate_xds::{ResourceStatus, Settings, SuspicionKind, TypeUrl};
use world::{World, view};

/// How soon it must be known, and cured.
const DETECTED: Duration = Duration::from_secs(15);
const CURED: Duration = Duration::from_secs(30);

/// A response with something invalid and something new that warms for ever: Envoy takes the
/// second, refuses the first, and says neither.
fn wedge(envoy: &Path, variant: Variant) -> (World, Instant) {
    let mut settings = Settings::default();
    settings.session.one_doubt_per_response = false;
    let world = World::start(envoy, variant, settings);
    world.publish(&["a", "bad", "warming"]);
    let published = Instant::now();
    wait_for(Duration::from_secs(5), "Envoy's refusal", || {
        (world.statistic("cluster_manager.cds.update_rejected")? == 1).then_some(())
    });
    (world, published)
}

fn on_the_same_stream(envoy: &Path, variant: Variant) {
    let (world, published) = wedge(envoy, variant);
    let limit = DETECTED.saturating_sub(published.elapsed());
    let suspicion = wait_for(limit, "a suspicion", || world.status().suspect);
    let status = world.status();
    assert_eq!(suspicion.kind, SuspicionKind::Unanswered(TypeUrl::CLUSTER));
    assert!(
        status.rejections.is_empty(),
        "Envoy said nothing: {status:#?}"
    );

    let limit = CURED.saturating_sub(published.elapsed());
    let status = wait_for(limit, "an answer", || {
        let status = world.status();
        status.suspect.is_none().then_some(status)
    });
    // What Envoy had held back came, too.
    let texts: Vec<&str> = status.rejections.iter().map(|it| &*it.text).collect();
    assert!(texts.iter().any(|text| text.contains("bad")), "{status:#?}");
    println!(
        "{variant:?}: cured {:?} after the push",
        published.elapsed()
    );

    world.publish(&["a", "b"]);
    world.await_acknowledged(CURED);
    assert_eq!(world.resource("b"), Some(ResourceStatus::Acknowledged));
}

fn after_a_reconnect(envoy: &Path, variant: Variant) {
    let (mut world, _) = wedge(envoy, variant);
    world.reconnect(&["a", "b"]);
    let connected = Instant::now();
    // It may be cured in the same millisecond.
    let suspicion = wait_for(DETECTED, "a suspicion", || world.status().last_suspicion);
    let expected = SuspicionKind::NotAsked(TypeUrl::CLUSTER);
    assert_eq!(suspicion.kind, expected);
    world.await_acknowledged(CURED.saturating_sub(connected.elapsed()));
    println!(
        "{variant:?}: cured {:?} after the reconnect",
        connected.elapsed()
    );
    let status = world.status();
    assert!(status.suspect.is_none(), "{status:#?}");
    assert_eq!(world.resource("b"), Some(ResourceStatus::Acknowledged));
}

#[test]
fn m12_envoy_1_40_over_delta_is_cured_on_the_same_stream() {
    on_the_same_stream(envoy_path(), Variant::Delta);
}

#[test]
fn m12_envoy_1_40_over_state_of_the_world_is_cured_on_the_same_stream() {
    on_the_same_stream(envoy_path(), Variant::Sotw);
}

#[test]
fn m12_envoy_1_36_over_delta_is_cured_on_the_same_stream() {
    on_the_same_stream(old_envoy_path(), Variant::Delta);
}

#[test]
fn m12_envoy_1_36_over_state_of_the_world_is_cured_on_the_same_stream() {
    on_the_same_stream(old_envoy_path(), Variant::Sotw);
}

#[test]
fn m12_envoy_1_40_over_delta_is_cured_after_a_reconnect() {
    after_a_reconnect(envoy_path(), Variant::Delta);
}

#[test]
fn m12_envoy_1_40_over_state_of_the_world_is_cured_after_a_reconnect() {
    after_a_reconnect(envoy_path(), Variant::Sotw);
}

#[test]
fn m12_envoy_1_36_over_delta_is_cured_after_a_reconnect() {
    after_a_reconnect(old_envoy_path(), Variant::Delta);
}

#[test]
fn m12_envoy_1_36_over_state_of_the_world_is_cured_after_a_reconnect() {
    after_a_reconnect(old_envoy_path(), Variant::Sotw);
}

#[test]
fn s22_one_cluster_of_doubt_per_response_names_the_culprit_at_once() {
    let world = World::start(envoy_path(), Variant::Delta, Settings::default());
    world.publish(&["a", "b", "bad", "c"]);
    wait_for(Duration::from_secs(5), "the good ones", || {
        let good = |name| world.resource(name) == Some(ResourceStatus::Acknowledged);
        (good("b") && good("c")).then_some(())
    });
    let status = world.status();
    assert_eq!(status.rejections.len(), 1, "{status:#?}");
    assert_eq!(*status.rejections[0].names[0], *"bad");
}

/// What one cluster of doubt per response costs the first client after a cold start of all.
#[test]
fn s22_a_thousand_clusters_that_nobody_took_yet() {
    let names: Vec<String> = (0..1000).map(|number| format!("c{number:04}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut world = World::start(envoy_path(), Variant::Delta, Settings::default());
    let started = Instant::now();
    world.publish(&names);
    world.await_acknowledged(Duration::from_secs(60));
    println!("1,000 clusters one by one: {:?}", started.elapsed());
    // They are proven now, and the same Envoy loses and regains them at once.
    world.publish(&["a"]);
    world.await_acknowledged(Duration::from_secs(60));
    let started = Instant::now();
    world.publish(&names);
    world.await_acknowledged(Duration::from_secs(60));
    println!("1,000 proven clusters: {:?}", started.elapsed());
    assert_eq!(world.view_id(), **view(&names).id());
    world.reconnect(&names);
}
