//! Listeners: their addresses, filters and filter chains.

use tidegate_xds::config::Reader;

use crate::{CLUSTER, ECHO, LISTENER, bootstrap, found, only};

fn chains(matches: &[&str]) -> String {
    let chains: String = matches
        .iter()
        .map(|matched| format!("- {{filter_chain_match: {matched}, {ECHO}}}\n"))
        .collect();
    format!(
        "address: {{socket_address: {{address: 127.0.0.1, port_value: 80}}}}\nfilter_chains:\n{chains}"
    )
}

#[test]
fn filter_chains_that_take_the_same_connection_are_refused() {
    let ten = "{prefix_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]}";
    for (matches, words) in [
        (&["{}", "{}"][..], "matches the same as filter_chains[0]"),
        (
            &[
                ten,
                "{prefix_ranges: [{address_prefix: 10.1.2.3, prefix_len: 8}]}",
            ],
            "overlaps with filter_chains[0]",
        ),
        (
            &["{server_names: [a.b]}", "{server_names: [A.B, c]}"],
            "overlaps with filter_chains[0]",
        ),
        (
            &["{server_names: ['*.b']}", "{server_names: ['.b']}"],
            "overlaps with filter_chains[0]",
        ),
        (
            &[
                "{destination_port: 5, source_ports: [1, 2]}",
                "{destination_port: 5, source_ports: [2]}",
            ],
            "overlaps with filter_chains[0]",
        ),
        (&["{source_ports: [1, 1]}"], "lists the same twice"),
        (
            &["{server_names: ['a*']}"],
            "without `server_names`, any name matches",
        ),
        (&["{suffix_len: 3}"], "isn't implemented by Envoy"),
        (
            &["{prefix_ranges: [{address_prefix: 10.0.0, prefix_len: 8}]}"],
            "x.yaml:5:58: filter_chains[0].filter_chain_match.prefix_ranges[0].address_prefix: \
             `10.0.0` is no IP address",
        ),
    ] {
        only(&found(LISTENER, &chains(matches)), &[words]);
    }
}

#[test]
fn filter_chains_that_differ_are_taken() {
    for matches in [
        &["{}", "{destination_port: 5}"][..],
        &["{destination_port: 6}", "{destination_port: 5}"],
        &["{source_type: EXTERNAL}", "{}"],
        &[
            "{server_names: ['*.b']}",
            "{server_names: [b]}",
            "{server_names: ['*.a.b']}",
        ],
        &[
            "{prefix_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]}",
            "{prefix_ranges: [{address_prefix: 10.0.0.0, prefix_len: 16}]}",
        ],
    ] {
        assert_eq!(found(LISTENER, &chains(matches)), [""; 0]);
    }
}

#[test]
fn combinations_of_criteria_are_bounded() {
    let ports: Vec<String> = (1..=400).map(|port| port.to_string()).collect();
    let names: Vec<String> = (1..=400).map(|name| format!("h{name}")).collect();
    let many = format!(
        "{{source_ports: [{}], server_names: [{}]}}",
        ports.join(", "),
        names.join(", ")
    );
    only(
        &found(LISTENER, &chains(&[&many])),
        &["more than 100000 combinations"],
    );
}

#[test]
fn an_extension_of_the_wrong_kind_is_refused() {
    let wrong = chains(&["{}"]).replace("network.echo.v3.Echo", "http.router.v3.Router");
    let wanted = "filter_chains[0].filters[0].typed_config: \
                  `envoy.extensions.filters.http.router.v3.Router` doesn't configure a network filter";
    only(&found(LISTENER, &wrong), &[wanted]);
    let socket = "transport_socket: {name: t, typed_config: {'@type': \
                  type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext, \
                  common_tls_context: {tls_certificate_sds_secret_configs: [{name: a, sds_config: {ads: {}}}]}}}";
    only(
        &found(CLUSTER, socket),
        &["doesn't configure a transport socket of clusters"],
    );
}

/// Connections and datagrams have filters of their own.
#[test]
fn listener_filters_are_those_of_the_protocol() {
    let listener = |protocol: &str, filter: &str, more: &str| {
        format!(
            "address: {{socket_address: {{protocol: {protocol}, address: 127.0.0.1, port_value: 80}}}}\n\
             filter_chains: [{{{ECHO}}}]\n{more}listener_filters:\n- {{name: f, typed_config: {{'@type': \
             type.googleapis.com/envoy.extensions.filters.{filter}}}}}\n"
        )
    };
    let inspector = "listener.tls_inspector.v3.TlsInspector";
    let dynamic = "udp.dynamic_modules.v3.DynamicModuleUdpListenerFilter";
    assert_eq!(found(LISTENER, &listener("TCP", inspector, "")), [""; 0]);
    for (protocol, filter, more, wanted) in [
        ("TCP", dynamic, "", "a listener filter of connections"),
        ("UDP", inspector, "", "a listener filter of datagrams"),
        (
            "UDP",
            inspector,
            "udp_listener_config: {quic_options: {}}\n",
            "a listener filter of QUIC",
        ),
    ] {
        let place = "listener_filters[0].typed_config: `envoy.extensions.filters.";
        let wanted = format!("doesn't configure {wanted}");
        let diagnostics = found(LISTENER, &listener(protocol, filter, more));
        assert!(
            diagnostics
                .iter()
                .any(|d| d.contains(place) && d.ends_with(&wanted)),
            "{diagnostics:#?}"
        );
    }
}

#[test]
fn internal_listeners_need_their_extension() {
    let listener = format!(
        "static_resources:\n  listeners:\n  - {{name: inside, internal_listener: {{}}, \
         filter_chains: [{{{ECHO}}}]}}\n"
    );
    only(
        &bootstrap(&listener),
        &[
            "static_resources.listeners[0]: internal listeners need `envoy.bootstrap.internal_listener`",
        ],
    );
    let extension = "bootstrap_extensions: [{name: i, typed_config: {'@type': \
                     type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener}}]\n";
    assert_eq!(bootstrap(&(listener + extension)), [""; 0]);
}

#[test]
fn listeners_of_a_bootstrap_do_not_share_an_address() {
    let listener = |name: &str, port: u16| {
        format!(
            "  - {{name: {name}, address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}, \
             filter_chains: [{{{ECHO}}}]}}\n"
        )
    };
    let read = |listeners: String| {
        Reader::new().read(
            "b.yaml",
            &format!("static_resources:\n  listeners:\n{listeners}"),
        )
    };
    let diagnostics = read(listener("a", 80) + &listener("b", 80)).unwrap_err();
    assert_eq!(
        diagnostics[0].to_string(),
        "b.yaml:4:5: static_resources.listeners[1]: listeners[0] has the same address"
    );
    assert!(read(listener("a", 80) + &listener("b", 81)).is_ok());
    assert!(read(listener("a", 0) + &listener("b", 0)).is_ok());
}

#[test]
fn addresses_of_a_listener_are_of_one_kind() {
    let listener = |more: &str| {
        format!(
            "address: {{socket_address: {{address: 127.0.0.1, port_value: 80}}}}\nfilter_chains: [{{{ECHO}}}]\n\
             additional_addresses: [{{{more}}}]"
        )
    };
    let socket = "address: {socket_address: {address: 127.0.0.1, port_value: 81}}";
    assert_eq!(found(LISTENER, &listener(socket)), [""; 0]);
    let datagrams = socket.replace("{address:", "{protocol: UDP, address:");
    for (more, words) in [
        (datagrams.as_str(), "must be of the same protocol"),
        (
            "address: {envoy_internal_address: {server_listener_name: a}}",
            "can't be within Envoy",
        ),
        ("", "needs an `address`"),
    ] {
        only(
            &found(LISTENER, &listener(more)),
            &["additional_addresses[0]: ", words],
        );
    }
    only(
        &found(LISTENER, "api_listener: {}"),
        &["api_listener: needs an `api_listener` of its own"],
    );
}

/// However connections come.
#[test]
fn filter_chains_of_internal_listeners_differ_too() {
    let listener = |chains: &str| format!("internal_listener: {{}}\nfilter_chains: [{chains}]");
    let chain = format!("{{{ECHO}}}");
    assert_eq!(found(LISTENER, &listener(&chain)), [""; 0]);
    only(
        &found(LISTENER, &listener(&format!("{chain}, {chain}"))),
        &["filter_chains[1]: matches the same as filter_chains[0]"],
    );
    let outside = "address: {socket_address: {address: 127.0.0.1, port_value: 80}}";
    only(
        &found(LISTENER, &format!("{}\n{outside}", listener(&chain))),
        &["address: doesn't go with `internal_listener`"],
    );
    let chosen = format!("{}\nfilter_chain_matcher: {{}}", listener(&chain));
    only(
        &found(LISTENER, &chosen),
        &["filter_chains[0]: needs a `name`"],
    );
}

const MANAGER: &str = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.\
                       HttpConnectionManager";
const ROUTER: &str = "{name: r, typed_config: {'@type': type.googleapis.com/\
                      envoy.extensions.filters.http.router.v3.Router}}";

#[test]
fn options_of_connection_managers_go_together() {
    let detection = "original_ip_detection_extensions: [{name: x, typed_config: {'@type': type.googleapis.com/\
                     envoy.extensions.http.original_ip_detection.xff.v3.XffConfig}}]";
    let upgrade =
        |filters: &str| format!("upgrade_configs: [{{upgrade_type: a, filters: [{filters}]}}]");
    let cors = ROUTER.replace("router.v3.Router", "cors.v3.Cors");
    let manager = |options: &str| {
        format!(
            "address: {{socket_address: {{address: 127.0.0.1, port_value: 80}}}}\nfilter_chains: [{{filters: [{{name: h, \
             typed_config: {{'@type': {MANAGER}, stat_prefix: a, route_config: {{name: a}}, \
             http_filters: [{ROUTER}], {options}}}}}]}}]"
        )
    };
    for good in [
        "strip_any_host_port: true",
        &format!("{detection}, use_remote_address: false"),
        &upgrade(ROUTER),
        &upgrade(""),
    ] {
        assert_eq!(found(LISTENER, &manager(good)), [""; 0], "{good}");
    }
    for (options, words) in [
        (
            "strip_any_host_port: true, strip_matching_host_port: true",
            "typed_config.strip_any_host_port: goes without `strip_matching_host_port`",
        ),
        (
            &format!("{detection}, use_remote_address: true"),
            "typed_config.use_remote_address: goes without `original_ip_detection_extensions`",
        ),
        (
            &format!("{detection}, xff_num_trusted_hops: 1"),
            "typed_config.xff_num_trusted_hops: goes without",
        ),
        (
            &upgrade(&cors),
            "upgrade_configs[0].filters[0]: `r` can't be the last filter",
        ),
        (
            &upgrade(&format!("{ROUTER}, {ROUTER}")),
            "upgrade_configs[0].filters[0]: `r` ends the chain",
        ),
        (
            &upgrade(&ROUTER.replace("{name: r,", "{name: r, disabled: true,")),
            "upgrade_configs[0].filters[0]: `r` ends the chain, so it can't be disabled",
        ),
        (
            "codec_type: HTTP3",
            "filter_chains[0]: `codec_type: HTTP3` goes with `quic_options`",
        ),
    ] {
        only(&found(LISTENER, &manager(options)), &[words]);
    }
}

#[test]
fn scopes_that_are_written_down_come_with_their_routes() {
    let scoped = |scope: &str| {
        let kind = MANAGER.replace("HttpConnectionManager", "ScopedRoutes");
        let scopes = format!(
            "api_listener: {{api_listener: {{'@type': {kind}, name: s, scope_key_builder: {{fragments: \
             [{{header_value_extractor: {{name: h, index: 0}}}}]}}, scoped_route_configurations_list: \
             {{scoped_route_configurations: [{{name: a, key: {{fragments: [{{string_key: a}}]}}, {scope}}}]}}}}}}"
        );
        found(LISTENER, &scopes)
    };
    assert_eq!(scoped("route_configuration: {name: x}"), [""; 0]);
    for wrong in ["route_configuration_name: x", ""] {
        only(
            &scoped(wrong),
            &["scoped_route_configurations[0]: needs a `route_configuration`"],
        );
    }
}

#[test]
fn listeners_have_what_their_kind_can_have() {
    let inside = format!("internal_listener: {{}}\nfilter_chains: [{{{ECHO}}}]\n");
    let address = |address: &str, more: &str| format!("address: {{{address}}}\n{more}");
    let chains = format!("filter_chains: [{{{ECHO}}}]\n");
    let tcp = "socket_address: {address: 127.0.0.1, port_value: 80}";
    let udp = tcp.replace("{address", "{protocol: UDP, address");
    for good in [
        inside.clone() + "bind_to_port: false",
        address(tcp, &(chains.clone() + "enable_mptcp: true")),
        address(
            &tcp.replace("127.0.0.1", "'::', ipv4_compat: true"),
            &chains,
        ),
        address("pipe: {path: '@here'}", &chains),
        address(&udp, ""),
    ] {
        assert_eq!(found(LISTENER, &good), [""; 0], "{good}");
    }
    let long = format!("pipe: {{path: /{}}}", "a".repeat(107));
    for (wrong, words) in [
        (
            inside.clone() + "freebind: true",
            "freebind: doesn't go with `internal_listener`",
        ),
        (
            inside + "connection_balance_config: {exact_balance: {}}",
            "connection_balance_config: doesn't go with `internal_listener`",
        ),
        (
            address("envoy_internal_address: {server_listener_name: a}", &chains),
            "address: can't be within Envoy",
        ),
        (
            address("pipe: {path: /a}", &(chains.clone() + "enable_mptcp: true")),
            "enable_mptcp: goes with TCP",
        ),
        (address(&udp, &chains), "filter_chains: doesn't go with UDP"),
        (
            address(&udp, &format!("default_filter_chain: {{{ECHO}}}")),
            "default_filter_chain: doesn't go with UDP",
        ),
        (
            address(&udp, "bind_to_port: false"),
            "bind_to_port: must be true",
        ),
        (
            address("pipe: {path: '@here', mode: 438}", &chains),
            "address.pipe.mode: doesn't go with",
        ),
        (
            address(&long, &chains),
            "address.pipe.path: 108 bytes; at most 107",
        ),
        (
            address(&tcp.replace("80", "80, ipv4_compat: true"), &chains),
            "ipv4_compat: goes with `::`",
        ),
    ] {
        only(&found(LISTENER, &wrong), &[words]);
    }
}
