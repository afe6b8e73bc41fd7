//! Proxyless clients: gRPC's C-core, several targets in one process.
//!
//! It speaks state of the world, has a stream for each target, and asks for everything by name.

use std::collections::BTreeMap;
use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType};
use serde_json::Value;
use tidegate_integration::library::Library;
use tidegate_integration::machine::{alone, wait_for, wait_until};
use tidegate_integration::python::{GRPC_NODE, Script, grpc_client, grpc_servers};
use tidegate_xds::stream::Variant;
use tidegate_xds::{ClientKind, ResourceStatus, Settings, TypeUrl};

use crate::config::{Config, read};
use crate::world::LIMIT;

/// Calls a second to each target.
const RATE: u32 = 50;

/// What the calls to one target came to: answers by version, errors by status.
#[derive(Debug, Default)]
struct Calls {
    counts: BTreeMap<String, u64>,
    errors: BTreeMap<String, u64>,
}

// === impl Calls ===

impl Calls {
    fn of(service: &str, lines: &[Value]) -> Self {
        let mut calls = Self::default();
        for line in lines.iter().filter(|line| line["service"] == service) {
            for (sums, field) in [(&mut calls.counts, "counts"), (&mut calls.errors, "errors")] {
                for (key, count) in line[field].as_object().unwrap() {
                    *sums.entry(key.clone()).or_default() += count.as_u64().unwrap();
                }
            }
        }
        calls
    }

    /// Of the next whole second.
    fn next(client: &Script, service: &str) -> Self {
        let its = |lines: &[Value]| {
            lines
                .iter()
                .filter(|line| line["service"] == service)
                .count()
        };
        let begun = its(&client.lines()) + 1;
        let line = wait_for(LIMIT, "calls of the gRPC client", || {
            let lines = client.lines();
            let mut its = lines.iter().filter(|line| line["service"] == service);
            its.nth(begun).cloned()
        });
        Self::of(service, &[line])
    }

    fn only(&self, version: &str) -> bool {
        self.errors.is_empty() && self.counts.keys().eq([version])
    }
}

/// Waits for a second in which all calls were answered by `version`.
fn await_only(client: &Script, service: &str, version: &str) {
    let what = format!("{service} answered by {version} alone");
    wait_until(LIMIT, &what, || Calls::next(client, service).only(version));
}

/// A route by weight, so that the client asks for both clusters at once.
fn split(name: &str, clusters: [&str; 2]) -> tidegate_xds::Resource {
    let [one, two] = clusters;
    read(&format!(
        "
'@type': type.googleapis.com/envoy.config.route.v3.RouteConfiguration
name: {name}
virtual_hosts:
- name: all
  domains: ['*']
  routes:
  - match: {{prefix: ''}}
    route:
      weighted_clusters: {{clusters: [{{name: {one}, weight: 50}}, {{name: {two}, weight: 50}}]}}
"
    ))
}

#[test]
fn c11_grpc_fetches_acknowledges_rejects_a_part_recovers_and_reconnects() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let (_v1, v1) = grpc_servers("v1", 2);
    let (_v2, v2) = grpc_servers("v2", 1);
    let mut config = Config::new("ads: {}");
    config
        .put_cluster("stable", &v1)
        .put_cluster("canary", &v2)
        .put_route("rt", "stable")
        .put(split("rt", ["stable", "canary"]))
        .put_api_listener("checkout", "rt")
        .put_cluster("second", &v2)
        .put_route("rt-2", "second")
        .put_api_listener("payments", "rt-2");
    let mut library = Library::start(config.view(), Settings::default);
    let services = ["checkout", "payments", "ghost"];
    let client = grpc_client(&services, RATE, library.address, directory.path());

    // Fetch and ACK, by several targets, of which one doesn't exist.
    await_only(&client, "payments", "v2");
    let acknowledged = |config: &Config, library: &Library| {
        for (type_url, name) in config.names() {
            library.await_resource(GRPC_NODE, LIMIT, (type_url, name), |status| {
                *status == ResourceStatus::Acknowledged
            });
        }
        library.await_acknowledged(GRPC_NODE, LIMIT)
    };
    let status = acknowledged(&config, &library);
    assert_eq!(status.client.kind, ClientKind::Grpc);
    assert_eq!(status.variant, Variant::Sotw);
    println!("{} targets, {} streams", services.len(), status.streams);

    // NACK of a response of which it takes a part. It carries the version that it refuses, which is
    // no ACK for all that.
    let good = config.clone();
    config
        .put_cluster("stable", &v1)
        .spoil(&TypeUrl::CLUSTER, "stable", |cluster: &mut Cluster| {
            cluster.connect_timeout.as_mut().unwrap().seconds = 6;
        })
        .spoil(&TypeUrl::CLUSTER, "canary", |cluster: &mut Cluster| {
            cluster.eds_cluster_config = None;
            let kind = ClusterDiscoveryType::Type(DiscoveryType::Static as i32);
            cluster.cluster_discovery_type = Some(kind);
        });
    library.publish(config.view());
    let status = library.await_status(GRPC_NODE, LIMIT, "a rejection", |status| {
        !status.rejections.is_empty()
    });
    let rejection = &status.rejections[0];
    assert_eq!(rejection.type_url, TypeUrl::CLUSTER);
    assert!(rejection.text.contains("canary"), "{rejection:?}");
    assert_ne!(status.acknowledged.as_deref(), Some(&*library.view_id()));
    // Which of the set it was is found by sending parts of it.
    library.await_resource(GRPC_NODE, LIMIT, (&TypeUrl::CLUSTER, "canary"), |status| {
        matches!(status, ResourceStatus::Rejected { .. })
    });
    let calls = Calls::next(&client, "checkout");
    assert!(
        calls.errors.is_empty() && calls.counts.len() == 2,
        "{calls:?}"
    );

    // Recovery: good again, and it follows.
    config = good;
    config.put_route("rt", "canary");
    library.publish(config.view());
    await_only(&client, "checkout", "v2");
    let status = library.await_acknowledged(GRPC_NODE, LIMIT);
    assert!(status.rejections.is_empty(), "{status:#?}");

    // What doesn't exist is never believed of an answer's lacking it: the answer may be to an earlier
    // request. The client's own timer of 15 s ends the wait.
    wait_until(2 * LIMIT, "a verdict on what doesn't exist", || {
        Calls::next(&client, "ghost")
            .errors
            .keys()
            .eq(["UNAVAILABLE"])
    });

    // No control plane, then a new one: no call fails, and what changes arrives.
    library.kill();
    for service in ["checkout", "payments"] {
        assert!(Calls::next(&client, service).only("v2"));
    }
    library.serve();
    library.await_acknowledged(GRPC_NODE, Duration::from_secs(40));
    config
        .put_route("rt", "stable")
        .put_api_listener("ghost", "rt-2");
    library.publish(config.view());
    await_only(&client, "checkout", "v1");
    // What didn't exist does now (rule C9).
    await_only(&client, "ghost", "v2");

    let lines = client.lines();
    for service in ["checkout", "payments"] {
        let calls = Calls::of(service, &lines);
        assert!(calls.errors.is_empty(), "{service}: {calls:?}");
        println!("{service}: {calls:?}");
    }
}
