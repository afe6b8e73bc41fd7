//! Clusters: balancers, endpoints, TLS.

use crate::{CLUSTER, found, only};

#[test]
fn tls_parameters_are_those_that_envoy_knows() {
    let tls = |context: &str| {
        format!(
            "transport_socket: {{name: tls, typed_config: {{'@type': \
             type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext, \
             common_tls_context: {{{context}}}}}}}"
        )
    };
    let parameters = |list: &str| tls(&format!("tls_params: {{{list}}}"));
    let good = "cipher_suites: ['[ECDHE-RSA-AES128-GCM-SHA256|AES128-SHA]', ECDHE+AES, '!PSK', \
                TLS_AES_128_GCM_SHA256], ecdh_curves: [X25519, P-256], signature_algorithms: [ed25519]";
    assert_eq!(found(CLUSTER, &parameters(good)), [""; 0]);
    for (context, words) in [
        (
            parameters("cipher_suites: [ECDHE-RSA-AES128-GCM-SHA265]"),
            "cipher_suites[0]: there is no cipher suite `ECDHE-RSA-AES128-GCM-SHA265`; \
             did you mean `ECDHE-RSA-AES128-GCM-SHA256`?",
        ),
        (
            parameters("ecdh_curves: [P-255]"),
            "there is no curve `P-255`; did you mean `P-256`?",
        ),
        (
            parameters("ecdh_curves: [P-256, X25519, prime256v1]"),
            "ecdh_curves[2]: P-256 a second time",
        ),
        (
            tls("alpn_protocols: [h2, '']"),
            "alpn_protocols[1]: a protocol's name has 1 to 255 bytes",
        ),
        (
            parameters("signature_algorithms: [md5]"),
            "there is no signature algorithm `md5`",
        ),
        (
            tls(
                "validation_context: {match_typed_subject_alt_names: [{san_type: DNS, matcher: {exact: a}}]}",
            ),
            "names in certificates prove nothing without a `trusted_ca`",
        ),
    ] {
        only(&found(CLUSTER, &context), &[words]);
    }
}

#[test]
fn subsets_and_drops_of_clusters() {
    let selector = |more: &str| {
        format!(
            "lb_policy: RANDOM\nlb_subset_config: {{subset_selectors: [{{keys: [a, b], {more}}}]}}"
        )
    };
    assert_eq!(
        found(
            CLUSTER,
            &selector("fallback_policy: KEYS_SUBSET, fallback_keys_subset: [a]")
        ),
        [""; 0]
    );
    for (more, words) in [
        (
            "fallback_policy: KEYS_SUBSET",
            "must name some of the `keys`",
        ),
        (
            "fallback_keys_subset: [a]",
            "goes with `fallback_policy: KEYS_SUBSET` only",
        ),
        (
            "fallback_policy: KEYS_SUBSET, fallback_keys_subset: [c]",
            "must be among the `keys`",
        ),
        (
            "fallback_policy: KEYS_SUBSET, fallback_keys_subset: [b, a]",
            "must leave out one",
        ),
    ] {
        only(&found(CLUSTER, &selector(more)), &[words]);
    }
    let assigned =
        "type: ORIGINAL_DST\nlb_policy: CLUSTER_PROVIDED\nload_assignment: {cluster_name: x}";
    only(
        &found(CLUSTER, assigned),
        &["load_assignment: doesn't go with ORIGINAL_DST"],
    );
    let drops = "load_assignment: {cluster_name: x, policy: {drop_overloads: \
                 [{category: a, drop_percentage: {numerator: 101}}]}}";
    only(
        &found(CLUSTER, drops),
        &["drop_overloads[0]: drops more than all: at most 100 of 100"],
    );
}

#[test]
fn what_clusters_need_is_not_left_out() {
    for (cluster, wanted) in [
        (
            "load_assignment: {cluster_name: x, endpoints: [{lb_endpoints: [{load_balancing_weight: 1}]}]}",
            "load_assignment.endpoints[0].lb_endpoints[0]: needs an `endpoint` with an `address`",
        ),
        (
            "transport_socket_matches: [{name: plain, match: {plain: true}}]",
            "transport_socket_matches[0].transport_socket: is required",
        ),
        (
            "load_balancing_policy: {policies: []}",
            "load_balancing_policy.policies: needs a load balancing policy",
        ),
        (
            "load_balancing_policy: {policies: [{}]}",
            "load_balancing_policy.policies: none of them configures a load balancing policy",
        ),
    ] {
        only(&found(CLUSTER, cluster), &[wanted]);
    }
}

#[test]
fn connections_to_endpoints_come_from_addresses() {
    let from = |source: &str| found(CLUSTER, &format!("upstream_bind_config: {{{source}}}"));
    let here = "{address: 127.0.0.1, port_value: 0}";
    let nowhere = "{address: localhost, port_value: 0}";
    assert_eq!(from(&format!("source_address: {here}")), [""; 0]);
    only(
        &from(&format!("source_address: {nowhere}")),
        &["upstream_bind_config.source_address.address: `localhost` is no IP address"],
    );
    only(
        &from(&format!(
            "source_address: {here}, extra_source_addresses: [{{address: {nowhere}}}]"
        )),
        &["extra_source_addresses[0].address.address: `localhost` is no IP address"],
    );
}

const OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// A cluster's options of HTTP, and whatever else it has.
fn http(options: &str, more: &str) -> String {
    format!(
        "typed_extension_protocol_options: {{{OPTIONS}: {{'@type': type.googleapis.com/{OPTIONS}, \
         {options}}}}}\n{more}"
    )
}

fn policy(config: &str) -> String {
    format!(
        "load_balancing_policy: {{policies: [{{typed_extension_config: {{name: x, typed_config: {{'@type': \
         type.googleapis.com/envoy.extensions.load_balancing_policies.{config}}}}}}}]}}\n"
    )
}

#[test]
fn balancers_are_configured_in_one_style_and_with_sizes_that_fit() {
    let robin = policy("round_robin.v3.RoundRobin");
    let ring = "ring_hash_lb_config: {minimum_ring_size: 5, maximum_ring_size: 4}";
    let subset = "lb_subset_config: {subset_selectors: [{keys: [a]}]}\n";
    for good in [
        robin.clone() + "common_lb_config: {healthy_panic_threshold: {value: 1}}",
        // Which Envoy won't use.
        robin.clone() + "lb_policy: RING_HASH\n" + ring,
        ring.to_owned(),
        "lb_policy: MAGLEV\nmaglev_lb_config: {table_size: 7}".to_owned(),
        "type: ORIGINAL_DST\nlb_policy: CLUSTER_PROVIDED\nlb_subset_config: {}".to_owned(),
    ] {
        assert_eq!(found(CLUSTER, &good), [""; 0], "{good}");
    }
    for (wrong, words) in [
        (
            robin.clone() + "lb_subset_config: {}",
            "lb_subset_config: doesn't go with `load_balancing_policy`",
        ),
        (
            robin + "common_lb_config: {zone_aware_lb_config: {}}",
            "common_lb_config.zone_aware_lb_config: doesn't go with `load_balancing_policy`",
        ),
        (
            "lb_policy: LOAD_BALANCING_POLICY_CONFIG".to_owned(),
            "load_balancing_policy: is required",
        ),
        (
            "lb_subset_config: {locality_weight_aware: true}".to_owned(),
            "lb_subset_config: `locality_weight_aware` needs a `locality_weighted_lb_config`",
        ),
        (
            format!("lb_policy: RING_HASH\n{ring}"),
            "ring_hash_lb_config: `minimum_ring_size` 5 is more than `maximum_ring_size` 4",
        ),
        (
            policy("ring_hash.v3.RingHash, minimum_ring_size: 5, maximum_ring_size: 4"),
            "`minimum_ring_size` 5 is more than `maximum_ring_size` 4",
        ),
        (
            "lb_policy: MAGLEV\nmaglev_lb_config: {table_size: 65536}".to_owned(),
            "maglev_lb_config.table_size: must be a prime number",
        ),
        // However long it would take to find out.
        (
            "lb_policy: MAGLEV\nmaglev_lb_config: {table_size: 18446744073709551557}".to_owned(),
            "maglev_lb_config.table_size: must be at most 5000011",
        ),
        (
            policy("maglev.v3.Maglev, table_size: 9"),
            "table_size: must be a prime number",
        ),
        (
            format!("type: ORIGINAL_DST\nlb_policy: CLUSTER_PROVIDED\n{subset}"),
            "lb_subset_config: doesn't go with CLUSTER_PROVIDED",
        ),
    ] {
        only(&found(CLUSTER, &wrong), &[words]);
    }
}

#[test]
fn clusters_speak_protocols_over_sockets_that_carry_them() {
    let socket = |name: &str, kind: &str| {
        format!(
            "{{name: {name}, typed_config: {{'@type': type.googleapis.com/\
             envoy.extensions.transport_sockets.{kind}}}}}"
        )
    };
    let tls = format!(
        "transport_socket: {}\n",
        socket("t", "tls.v3.UpstreamTlsContext")
    );
    let matched = |kind: &str| {
        format!(
            "{tls}transport_socket_matches: [{{name: m, match: {{a: b}}, transport_socket: {}}}]",
            socket("m", kind)
        )
    };
    let quic = format!(
        "transport_socket: {}",
        socket(
            "envoy.transport_sockets.quic",
            "quic.v3.QuicUpstreamTransport, upstream_tls_context: {sni: a}"
        )
    );
    let (one, three) = (
        "explicit_http_config: {http_protocol_options: {}}",
        "explicit_http_config: {http3_protocol_options: {}}",
    );
    let filter = |filter: &str| {
        format!(
            "{one}, http_filters: [{{name: f, typed_config: {{'@type': \
             type.googleapis.com/envoy.extensions.filters.http.{filter}}}}}]"
        )
    };
    let requests =
        format!("{one}, common_http_protocol_options: {{max_requests_per_connection: 5}}");
    let both = "http_protocol_options: {}\nhttp2_protocol_options: {}";
    let proxy = |more: &str| {
        format!(
            "lb_policy: CLUSTER_PROVIDED\ncluster_type: {{name: c, typed_config: {{'@type': type.googleapis.com/\
             envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig, \
             dns_cache_config: {{name: a}}{more}}}}}"
        )
    };
    let sni = format!("{one}, upstream_http_protocol_options: {{auto_sni: true}}");
    let verified = sni.replace("true", "true, auto_san_validation: true");
    for good in [
        http("auto_config: {}", &matched("tls.v3.UpstreamTlsContext")),
        http(three, &quic),
        http(&filter("upstream_codec.v3.UpstreamCodec"), ""),
        http(one, "max_requests_per_connection: 4"),
        http(one, both),
        http(&verified, &proxy("")),
        http(&sni, &proxy(", allow_insecure_cluster_options: true")),
        proxy(""),
    ] {
        assert_eq!(found(CLUSTER, &good), [""; 0], "{good}");
    }
    let place = "typed_extension_protocol_options: ";
    for (wrong, words) in [
        (
            http("auto_config: {}", &matched("raw_buffer.v3.RawBuffer")),
            "transport_socket_matches[0]: `auto_config` negotiates HTTP in TLS",
        ),
        (http(three, &tls), "HTTP/3 needs a `transport_socket` named"),
        (
            http("auto_config: {http3_protocol_options: {}}", &quic),
            "needs `alternate_protocols_cache_options`",
        ),
        (
            http(&filter("router.v3.Router"), ""),
            "the last of its `http_filters` must be",
        ),
        (
            http(&requests, "max_requests_per_connection: 4"),
            "max_requests_per_connection: is among the options of HTTP already",
        ),
        (
            both.to_owned(),
            "http2_protocol_options: goes without `http_protocol_options`",
        ),
        (
            http(&sni, &proxy("")),
            "needs `auto_sni` and `auto_san_validation`",
        ),
    ] {
        only(&found(CLUSTER, &wrong), &[words]);
    }
    let misplaced = http(one, "").replace(&format!("{{{OPTIONS}: "), "{x: ");
    only(&found(CLUSTER, &misplaced), &["its key must be"]);
    let mistyped = format!(
        "{place}{{{OPTIONS}: {{'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}}}"
    );
    only(&found(CLUSTER, &mistyped), &["its `@type` must be"]);
    let unknown = mistyped.replace(&format!("{{{OPTIONS}"), "{x");
    only(&found(CLUSTER, &unknown), &["is named `x`"]);
}

#[test]
fn health_checks_send_what_the_protocol_carries() {
    let check = |check: &str| {
        format!(
            "health_checks: [{{timeout: 1s, interval: 1s, unhealthy_threshold: 1, healthy_threshold: 1, {check}}}]\n"
        )
    };
    let grpc = check("grpc_health_check: {}");
    let two = http("explicit_http_config: {http2_protocol_options: {}}", &grpc);
    let send = |method: &str| {
        check(&format!(
            "http_health_check: {{path: /, {method}send: {{text: '00'}}}}"
        ))
    };
    for good in [
        two.clone(),
        format!("{grpc}http2_protocol_options: {{}}"),
        send("method: POST, "),
    ] {
        assert_eq!(found(CLUSTER, &good), [""; 0], "{good}");
    }
    for (wrong, words) in [
        (
            grpc,
            "health_checks[0]: gRPC needs a cluster with `http2_protocol_options`",
        ),
        (
            two.replace("http2_", "http_"),
            "health_checks[0]: gRPC needs",
        ),
        (send(""), "http_health_check.send: goes with POST"),
        (
            send("method: DELETE, "),
            "http_health_check.send: goes with POST",
        ),
    ] {
        only(&found(CLUSTER, &wrong), &[words]);
    }
}

#[test]
fn outliers_breakers_and_destinations_are_consistent() {
    for good in [
        "outlier_detection: {base_ejection_time: 400s}",
        "outlier_detection: {max_ejection_time: 30s}",
        // Envoy reads the first of each priority.
        "circuit_breakers: {per_host_thresholds: [{max_connections: 4}, {max_requests: 4}]}",
        "original_dst_lb_config: {http_header_name: x}",
    ] {
        assert_eq!(found(CLUSTER, good), [""; 0], "{good}");
    }
    for (wrong, words) in [
        (
            "outlier_detection: {max_ejection_time: 29s}",
            "outlier_detection.max_ejection_time: must be at least the `base_ejection_time`",
        ),
        (
            "circuit_breakers: {per_host_thresholds: [{max_connections: 4}, {priority: HIGH, max_requests: 4}]}",
            "circuit_breakers.per_host_thresholds[1]: `max_requests` isn't counted per endpoint",
        ),
        (
            "type: ORIGINAL_DST\nlb_policy: CLUSTER_PROVIDED\noriginal_dst_lb_config: {http_header_name: x}",
            "original_dst_lb_config.http_header_name: needs `use_http_header: true`",
        ),
        (
            "load_assignment: {cluster_name: x, endpoints: [{lb_endpoints: [{endpoint: {address: {pipe: {path: /a}}, \
             additional_addresses: [{address: ~}]}}]}]}",
            "endpoint.additional_addresses[0]: needs an `address`",
        ),
    ] {
        only(&found(CLUSTER, wrong), &[words]);
    }
}
