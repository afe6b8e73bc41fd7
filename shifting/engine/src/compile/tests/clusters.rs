//! Clusters and their endpoints.

use super::*;

#[test]
fn clusters_discover_their_hosts_and_carry_the_declared_bounds() {
    let view = envoy(&splits(None));
    for name in names(&view, type_url::CLUSTER) {
        let eds = cluster(&view, &name).eds_cluster_config.unwrap();
        assert!(is_ads(&eds.eds_config));
        assert_eq!(
            eds.service_name, "",
            "the assignment has the cluster's name"
        );
    }
    let payments = cluster(&view, "payments/v1");
    let connect = payments.connect_timeout.unwrap();
    assert_eq!((connect.seconds, connect.nanos), (1, 500_000_000));
    assert_eq!(
        payments.per_connection_buffer_limit_bytes.unwrap().value,
        65_536
    );
    let breakers = &payments.circuit_breakers.unwrap().thresholds[0];
    assert_eq!(breakers.max_connections.unwrap().value, 7);
    assert_eq!(breakers.max_pending_requests.unwrap().value, 8);
    assert_eq!(breakers.max_requests.unwrap().value, 9);
    let outlier = payments.outlier_detection.unwrap();
    assert_eq!(outlier.consecutive_5xx.unwrap().value, 3);
    assert_eq!(outlier.max_ejection_percent.unwrap().value, 50);
    assert_eq!(outlier.enforcing_success_rate.unwrap().value, 0);
    assert_eq!(
        payments.lrs_server, None,
        "an Envoy's loads come with its metrics"
    );

    let checkout = cluster(&view, "checkout/v1");
    let budget = checkout.circuit_breakers.unwrap().thresholds[0]
        .retry_budget
        .unwrap();
    assert_eq!(budget.budget_percent.unwrap().value, 20.0);
}

#[test]
fn clusters_speak_the_declared_protocol() {
    for (protocol, http2) in [
        (Protocol::Http1, false),
        (Protocol::Http2, true),
        (Protocol::Grpc, true),
    ] {
        let mut mesh = mesh();
        mesh.services.get_mut("checkout").unwrap().protocol = protocol;
        let view = view(&mesh, "web", ClientKind::Envoy, &splits(None)).unwrap();
        let cluster = cluster(&view, "checkout/v1");
        let [(name, any)] = &cluster
            .typed_extension_protocol_options
            .iter()
            .collect::<Vec<_>>()[..]
        else {
            panic!("a map with two entries has no stable bytes");
        };
        assert_eq!(
            *name,
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
        );
        let options = HttpProtocolOptions::decode(any.value.as_slice()).unwrap();
        let Some(UpstreamProtocolOptions::ExplicitHttpConfig(explicit)) =
            options.upstream_protocol_options
        else {
            panic!("the protocol is not explicit");
        };
        assert_eq!(
            matches!(
                explicit.protocol_config,
                Some(ProtocolConfig::Http2ProtocolOptions(_))
            ),
            http2
        );
    }
}

#[test]
fn localities_are_sorted_and_weigh_as_many_hosts_as_they_have() {
    let view = envoy(&splits(None));
    let assignment: ClusterLoadAssignment = body(&view, type_url::ENDPOINTS, "checkout/v1");
    let localities: Vec<(&str, u32, usize)> = assignment
        .endpoints
        .iter()
        .map(|locality| {
            assert_eq!(locality.priority, 0);
            (
                locality.locality.as_ref().unwrap().zone.as_str(),
                locality.load_balancing_weight.unwrap().value,
                locality.lb_endpoints.len(),
            )
        })
        .collect();
    assert_eq!(localities, [("a", 1, 1), ("b", 2, 2)]);
    assert_eq!(
        hosts(&view, "checkout/v1"),
        ["10.0.0.2 8080", "10.0.0.1 8080", "10.0.0.3 8080"]
    );
    // Without a zone the locality is still there, and has a weight.
    let lonely: ClusterLoadAssignment = body(&view, type_url::ENDPOINTS, "checkout/v3");
    assert!(lonely.endpoints[0].locality.is_some());
    assert_eq!(lonely.endpoints[0].load_balancing_weight.unwrap().value, 1);
    assert_eq!(hosts(&view, "checkout/v3"), ["fd00::1 8080"]);
}

#[test]
fn a_host_rung_takes_that_many_hosts_always_the_same_and_keeps_them_on_the_next() {
    let chosen = |limit: Option<u32>| -> BTreeSet<String> {
        hosts(
            &envoy(&splits(Some(canary("v2", 50_000, limit)))),
            "checkout/v2",
        )
        .into_iter()
        .collect()
    };
    assert_eq!(
        chosen(Some(1)),
        BTreeSet::from(["10.0.1.3 8080".to_owned()])
    );
    for n in 1..4 {
        assert_eq!(chosen(Some(n)).len(), usize::try_from(n).unwrap());
        assert!(chosen(Some(n)).is_subset(&chosen(Some(n + 1))));
    }
    assert_eq!(chosen(Some(9)), chosen(None));
    // The stable version keeps all of its hosts.
    assert_eq!(
        hosts(
            &envoy(&splits(Some(canary("v2", 1, Some(1))))),
            "checkout/v1"
        )
        .len(),
        3
    );
}

#[test]
fn a_version_that_is_the_default_takes_traffic_on_all_its_hosts() {
    let mut committing = splits(Some(canary("v2", 1_000_000, Some(1))));
    committing.get_mut("checkout").unwrap().stable = "v2".to_owned();
    let all = hosts(&envoy(&splits(None)), "checkout/v2");
    assert!(all.len() > 1);
    assert_eq!(hosts(&envoy(&committing), "checkout/v2"), all);
}
