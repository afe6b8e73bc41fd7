//! A new version that has no hosts to take its requests.

use std::net::SocketAddr;
use std::time::Duration;

use tidegate_integration::machine::{free_address, wait_until_still};
use tidegate_integration::mesh::SLOW;
use tidegate_integration::traffic::Recorded;

use super::{LIMIT, World, contains, text};

/// What an Envoy says when a cluster has no host, and nothing when there is no such cluster.
fn to_an_empty_cluster(record: &&Recorded) -> bool {
    let no_cluster = record.status == 503 && record.version.is_empty() && record.words.is_empty();
    no_cluster || record.words.contains("no healthy upstream")
}

#[test]
fn t10_a_newer_version_without_its_hosts_never_gets_a_request_to_an_empty_cluster() {
    let mut world = World::start(2, |mesh| {
        mesh.ladder = "[50%, 100%]";
        mesh.rollout = SLOW;
    });
    world.begin();
    world.await_judged("50%");
    let mesh = world.control_plane.mesh.clone();
    let declare = |world: &World| {
        world.mesh.write(&mesh);
        let answer = world.control_plane.run(&["mesh", "reload"]);
        (answer.code, format!("{}{}", answer.stdout, answer.stderr))
    };
    // The hosts of the one that has half of the requests are gone from the declared mesh.
    let hosts = std::mem::take(&mut world.mesh.versions[1].1);
    world.mesh.versions[1].1 = Vec::new();
    let (code, said) = declare(&world);
    assert!(code > 0, "{said}");
    println!("v2 without hosts: {said}");
    contains(&said, &["v2"]);
    world.mesh.versions[1].1 = hosts;
    // A newer one without any is no version yet.
    let newer = |hosts: Vec<SocketAddr>| ("v3".to_owned(), hosts);
    world.mesh.versions.push(newer(Vec::new()));
    let (_, said) = declare(&world);
    println!("v3 without hosts: {said}");
    let start = ["rollout", "start", "checkout", "v3", "--supersede"];
    let refused = world.control_plane.run(&start);
    assert!(refused.code > 0, "{refused:?}");
    assert!(world.v2.served() > 0);
    assert_eq!(world.status()["plan"]["to"], "v2");
    // One whose hosts are declared, but don't listen yet.
    world.mesh.versions[2] = newer(vec![free_address(), free_address()]);
    let (code, said) = declare(&world);
    assert_eq!(code, 0, "{said}");
    world.control_plane.json(&start);
    let status = world.await_status("the end of v3", |status| {
        status["plan"]["to"] == "v3" && status["phase"] == "reverted"
    });
    // By its errors, or since few requests are all that this service may fail in a month.
    println!("v3: {}", text(&status, "revert_reason"));
    assert_eq!(status["revert_cause"], "fault", "{status:#}");
    let quiet = Duration::from_secs(2);
    wait_until_still(LIMIT, quiet, "v2, drained", || world.v2.served());

    let records = world.finish();
    let empty: Vec<&Recorded> = records.iter().filter(to_an_empty_cluster).collect();
    assert_eq!(empty.len(), 0, "{:?}", empty[0]);
    let failed: Vec<&Recorded> = records.iter().filter(|it| it.status != 200).collect();
    println!("{} of {} failed", failed.len(), records.len());
    assert!(failed.len() <= 400, "{} requests failed", failed.len());
    // Drained first: none of v2 was served once v3 had its first request.
    let first = failed.iter().map(|it| it.sent).min().unwrap();
    let late = records
        .iter()
        .filter(|it| it.version == "v2" && it.sent > first);
    assert_eq!(late.count(), 0);
    for record in failed {
        contains(&record.words, &["upstream connect error"]);
    }
}
