//! What proxyless gRPC clients get.

use super::*;

#[test]
fn a_grpc_client_finds_each_service_by_its_name() {
    let view = grpc(&splits(None));
    assert_eq!(names(&view, type_url::LISTENER), ["checkout", "payments"]);
    assert_eq!(names(&view, type_url::ROUTES), ["checkout", "payments"]);
    assert_eq!(names(&view, type_url::RUNTIME), Vec::<String>::new());
    let listener: Listener = body(&view, type_url::LISTENER, "checkout");
    assert!(listener.api_listener.is_some() && listener.address.is_none());
    assert_eq!(routes(&view, "checkout").virtual_hosts[0].domains, ["*"]);
    assert!(view.iter().all(|resource| resource.ttl_ms.is_none()));
}

#[test]
fn a_grpc_client_gets_the_share_in_the_route_and_nothing_of_a_version_without_any() {
    let weights_at = |canary: Option<CanarySplit>| {
        weights(&routes(&grpc(&splits(canary)), "checkout").virtual_hosts[0].routes[0])
    };
    let whole = |name: &str| vec![(name.to_owned(), 1_000_000)];
    assert_eq!(weights_at(None), whole("checkout/v1"));
    assert_eq!(
        weights_at(Some(canary("v2", 0, Some(1)))),
        whole("checkout/v1")
    );
    assert_eq!(
        weights_at(Some(canary("v2", 50_000, Some(1)))),
        [
            ("checkout/v1".to_owned(), 950_000),
            ("checkout/v2".to_owned(), 50_000)
        ]
    );
    assert_eq!(
        weights_at(Some(canary("v2", 1_000_000, None))),
        whole("checkout/v2")
    );
    assert_eq!(
        weights_at(Some(canary("v1", 1_000_000, None))),
        whole("checkout/v1")
    );
}

#[test]
fn a_grpc_clients_clusters_report_their_load_and_are_discovered() {
    let view = grpc(&splits(None));
    for name in names(&view, type_url::CLUSTER) {
        let cluster = cluster(&view, &name);
        assert!(is_ads(&cluster.eds_cluster_config.unwrap().eds_config));
        assert!(matches!(
            cluster.lrs_server.unwrap().config_source_specifier,
            Some(ConfigSourceSpecifier::Self_(_))
        ));
        assert_eq!(cluster.outlier_detection, None);
    }
    let duration = action(&routes(&view, "payments").virtual_hosts[0].routes[0])
        .max_stream_duration
        .unwrap();
    assert_eq!(duration.max_stream_duration.unwrap().seconds, 3_600);
}
