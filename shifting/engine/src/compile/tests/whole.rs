//! Views as a whole: what is in them, what they refer to, and what changes with a step.

use super::*;

#[test]
fn type_urls_are_those_of_the_messages() {
    assert_eq!(type_url::CLUSTER, Cluster::type_url());
    assert_eq!(type_url::ENDPOINTS, ClusterLoadAssignment::type_url());
    assert_eq!(type_url::LISTENER, Listener::type_url());
    assert_eq!(type_url::ROUTES, RouteConfiguration::type_url());
    assert_eq!(
        type_url::RUNTIME,
        envoy_types::pb::envoy::service::runtime::v3::Runtime::type_url()
    );
}

#[test]
fn cluster_names_are_read_back_and_others_are_not_ours() {
    assert_eq!(
        service_and_version(&cluster_name("checkout", "v1")),
        Some(("checkout", "v1"))
    );
    for other in ["xds", "a/", "/b", "a/b/c", ""] {
        assert_eq!(service_and_version(other), None, "{other}");
    }
}

#[test]
fn an_envoy_gets_every_version_of_the_services_of_its_fleet_only() {
    let web = envoy(&splits(None));
    let all = [
        "checkout/v1",
        "checkout/v2",
        "checkout/v3",
        "payments/v1",
        "payments/v2",
    ];
    assert_eq!(names(&web, type_url::CLUSTER), all);
    assert_eq!(names(&web, type_url::ENDPOINTS), all);
    assert_eq!(names(&web, type_url::LISTENER), [EGRESS]);
    assert_eq!(names(&web, type_url::ROUTES), [EGRESS]);
    assert_eq!(names(&web, type_url::RUNTIME), [RUNTIME_LAYER]);

    let batch = view(&mesh(), "batch", ClientKind::Envoy, &splits(None)).unwrap();
    assert_eq!(names(&batch, type_url::CLUSTER), all[..3]);
}

#[test]
fn views_are_made_for_every_fleet_and_kind_and_are_always_the_same_bytes() {
    let splits = splits(Some(canary("v2", 50_000, Some(1))));
    let views = views(&mesh(), &splits).unwrap();
    let keys: Vec<_> = views
        .keys()
        .map(|(fleet, kind)| (fleet.as_str(), *kind))
        .collect();
    assert_eq!(
        keys,
        [
            ("batch", ClientKind::Envoy),
            ("batch", ClientKind::Grpc),
            ("web", ClientKind::Envoy),
            ("web", ClientKind::Grpc),
        ]
    );
    for _ in 0..20 {
        assert_eq!(super::views(&mesh(), &splits).unwrap(), views);
    }
}

#[test]
fn every_view_refers_to_nothing_outside_itself() {
    for checkout in [
        None,
        Some(canary("v2", 0, Some(1))),
        Some(canary("v2", 50_000, Some(1))),
        Some(canary("v2", 1_000_000, None)),
        Some(canary("v1", 1_000_000, None)),
    ] {
        for view in views(&mesh(), &splits(checkout)).unwrap().values() {
            let clusters: BTreeSet<String> = names(view, type_url::CLUSTER).into_iter().collect();
            let endpoints: BTreeSet<String> =
                names(view, type_url::ENDPOINTS).into_iter().collect();
            assert_eq!(clusters, endpoints);
            let route_names: BTreeSet<String> = names(view, type_url::ROUTES).into_iter().collect();
            for name in names(view, type_url::LISTENER) {
                let manager = manager(&body(view, type_url::LISTENER, &name));
                let Some(RouteSpecifier::Rds(rds)) = &manager.route_specifier else {
                    panic!("routes are not discovered");
                };
                assert!(is_ads(&rds.config_source));
                assert!(route_names.contains(&rds.route_config_name));
            }
            for name in route_names {
                for route in routes(view, &name)
                    .virtual_hosts
                    .iter()
                    .flat_map(|host| &host.routes)
                {
                    match &action(route).cluster_specifier {
                        Some(ClusterSpecifier::Cluster(name)) => assert!(clusters.contains(name)),
                        _ => assert!(
                            weights(route)
                                .iter()
                                .all(|(name, _)| clusters.contains(name))
                        ),
                    }
                }
            }
        }
    }
}

#[test]
fn a_step_touches_the_runtime_layer_and_the_canarys_endpoints_only() {
    let before = envoy(&splits(None));
    let after = envoy(&splits(Some(canary("v2", 50_000, Some(1)))));
    let changed: Vec<(&str, &str)> = before
        .iter()
        .zip(&after)
        .filter(|(before, after)| before != after)
        .map(|(_, after)| (after.type_url, after.name.as_str()))
        .collect();
    assert_eq!(before.len(), after.len());
    assert_eq!(
        changed,
        [
            (type_url::ENDPOINTS, "checkout/v2"),
            (type_url::RUNTIME, RUNTIME_LAYER)
        ]
    );
}

#[test]
fn a_commit_touches_the_routes_first_and_the_layer_then() {
    let judged = envoy(&splits(Some(canary("v2", 1_000_000, None))));
    let mut committing = splits(Some(canary("v2", 1_000_000, None)));
    committing.get_mut("checkout").unwrap().stable = "v2".to_owned();
    let mut committed = committing.clone();
    committed.get_mut("checkout").unwrap().canary = None;
    let (committing, committed) = (envoy(&committing), envoy(&committed));

    let changed = |before: &[CompiledResource], after: &[CompiledResource]| -> Vec<&'static str> {
        before
            .iter()
            .zip(after)
            .filter(|(before, after)| before != after)
            .map(|(_, after)| after.type_url)
            .collect()
    };
    assert_eq!(changed(&judged, &committing), [type_url::ROUTES]);
    assert_eq!(runtime(&committing), runtime(&judged));
    assert_eq!(changed(&committing, &committed), [type_url::RUNTIME]);
    assert_eq!(runtime(&committed), (vec![], None));
    let routes = routes(&committed, EGRESS);
    let targets: Vec<String> = routes.virtual_hosts[0].routes.iter().map(target).collect();
    assert_eq!(targets, ["checkout/v1", "checkout/v3", "checkout/v2"]);
}

#[test]
fn a_fleet_is_told_nothing_of_other_fleets_canaries() {
    let mut splits = splits(None);
    splits.get_mut("payments").unwrap().canary = Some(canary("v2", 50_000, None));
    let batch = view(&mesh(), "batch", ClientKind::Envoy, &splits).unwrap();
    assert_eq!(runtime(&batch), (vec![], None));
}

#[test]
fn both_kinds_get_the_same_endpoints() {
    let splits = splits(Some(canary("v2", 50_000, Some(1))));
    let endpoints = |view: Vec<CompiledResource>| -> Vec<CompiledResource> {
        view.into_iter()
            .filter(|resource| resource.type_url == type_url::ENDPOINTS)
            .collect()
    };
    assert_eq!(endpoints(envoy(&splits)), endpoints(grpc(&splits)));
}

#[test]
fn t10_a_mesh_and_splits_that_do_not_fit_are_refused_whole() {
    let refused = |mesh: &Mesh, splits: &Splits| {
        view(mesh, "web", ClientKind::Envoy, splits)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        view(&mesh(), "wab", ClientKind::Grpc, &splits(None))
            .unwrap_err()
            .to_string(),
        "no fleet `wab` in the mesh"
    );
    let mut missing = splits(None);
    missing.remove("payments");
    assert!(refused(&mesh(), &missing).contains("service `payments` has no split"));
    let unknown = splits(Some(canary("v9", 0, None)));
    assert!(refused(&mesh(), &unknown).contains("to version `v9`, which is not declared"));
    let nobody = splits(Some(canary("v2", 1, Some(0))));
    assert!(refused(&mesh(), &nobody).contains("would get 0.0001% of its traffic without a host"));
    let mut empty = mesh();
    let checkout = empty.services.get_mut("checkout").unwrap();
    checkout.versions.get_mut("v1").unwrap().hosts.clear();
    assert!(refused(&empty, &splits(None)).contains("version `v1` of service `checkout`"));
    // Without traffic, no host is needed.
    assert!(
        view(
            &mesh(),
            "web",
            ClientKind::Envoy,
            &splits(Some(canary("v2", 0, Some(0))))
        )
        .is_ok()
    );
}

#[test]
fn the_bytes_of_a_config_source_never_change() {
    // xDS protocol rule E4: these bytes key what Envoy holds. If this test fails, the change will
    // take connections down when the release is rolled out.
    assert_eq!(wire::ads().encode_to_vec(), [0x1a, 0x00, 0x30, 0x02]);
    assert_eq!(
        wire::same_server().encode_to_vec(),
        [0x2a, 0x02, 0x08, 0x02, 0x30, 0x02]
    );
}
