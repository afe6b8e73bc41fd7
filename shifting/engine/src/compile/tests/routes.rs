//! Routes and listeners.

use super::*;

#[test]
fn every_other_version_stands_before_the_stable_one_behind_a_key_that_is_zero() {
    let routes = routes(&envoy(&splits(None)), EGRESS);
    let checkout = &routes.virtual_hosts[0];
    assert_eq!(checkout.name, "checkout");
    assert_eq!(checkout.domains, ["checkout", "checkout:*"]);
    let targets: Vec<String> = checkout.routes.iter().map(target).collect();
    assert_eq!(targets, ["checkout/v2", "checkout/v3", "checkout/v1"]);
    for (route, key) in checkout
        .routes
        .iter()
        .zip(["shift.checkout.v2", "shift.checkout.v3"])
    {
        let fraction = route
            .r#match
            .as_ref()
            .unwrap()
            .runtime_fraction
            .as_ref()
            .unwrap();
        assert_eq!(fraction.runtime_key, key);
        let default = fraction.default_value.unwrap();
        assert_eq!(
            (default.numerator, default.denominator),
            (0, 2),
            "0 of a MILLION"
        );
    }
    assert_eq!(
        checkout.routes[2]
            .r#match
            .as_ref()
            .unwrap()
            .runtime_fraction,
        None
    );
}

#[test]
fn timeouts_and_retries_are_as_declared() {
    let routes = routes(&envoy(&splits(None)), EGRESS);
    let checkout = action(&routes.virtual_hosts[0].routes[0]);
    assert_eq!(checkout.timeout.unwrap().seconds, 15);
    assert_eq!(checkout.idle_timeout, None);
    let retry = checkout.retry_policy.as_ref().unwrap();
    assert_eq!(retry.retry_on, "connect-failure,refused-stream");
    assert_eq!(retry.num_retries.unwrap().value, 1);

    let payments = action(&routes.virtual_hosts[1].routes[0]);
    assert_eq!(payments.timeout.unwrap().seconds, 3_600);
    assert_eq!(
        payments.idle_timeout, payments.timeout,
        "the listener's idle limit must not cut a request that may take an hour"
    );
    assert_eq!(payments.retry_policy, None, "a budget of 0% is no retry");
}

#[test]
fn the_listener_depends_on_its_fleet_alone() {
    let view = envoy(&splits(None));
    let listener: Listener = body(&view, type_url::LISTENER, EGRESS);
    assert_eq!(address_of(&listener.address), "127.0.0.1 15001");
    assert!(listener.per_connection_buffer_limit_bytes.is_some());

    let mut without_grpc = mesh();
    without_grpc.services.remove("payments");
    let other = super::view(&without_grpc, "web", ClientKind::Envoy, &splits(None)).unwrap();
    assert_eq!(
        body::<Listener>(&other, type_url::LISTENER, EGRESS),
        listener
    );

    let batch = super::view(&mesh(), "batch", ClientKind::Envoy, &splits(None)).unwrap();
    let batch: Listener = body(&batch, type_url::LISTENER, EGRESS);
    assert_eq!(address_of(&batch.address), "::1 0");
}

#[test]
fn the_connection_manager_has_limits_and_counts_grpc_statuses() {
    let manager = manager(&body(&envoy(&splits(None)), type_url::LISTENER, EGRESS));
    assert_eq!(manager.stat_prefix, EGRESS);
    assert_eq!(manager.codec_type, 0, "AUTO");
    assert!(!manager.use_remote_address.unwrap().value);
    assert!(manager.normalize_path.unwrap().value);
    assert!(!manager.merge_slashes);
    let http2 = manager.http2_protocol_options.unwrap();
    assert_eq!(http2.max_concurrent_streams.unwrap().value, 100);
    assert_eq!(http2.initial_stream_window_size.unwrap().value, 65_536);
    assert_eq!(
        http2.initial_connection_window_size.unwrap().value,
        1_048_576
    );
    assert_eq!(manager.stream_idle_timeout.unwrap().seconds, 300);
    assert_eq!(manager.request_headers_timeout.unwrap().seconds, 10);
    let filters: Vec<&str> = manager
        .http_filters
        .iter()
        .map(|filter| filter.name.as_str())
        .collect();
    assert_eq!(
        filters,
        ["envoy.filters.http.grpc_stats", "envoy.filters.http.router"]
    );
    let Some(http_filter::ConfigType::TypedConfig(any)) = &manager.http_filters[0].config_type
    else {
        panic!("not a typed config");
    };
    let stats = FilterConfig::decode(any.value.as_slice()).unwrap();
    assert!(stats.enable_upstream_stats);
}
