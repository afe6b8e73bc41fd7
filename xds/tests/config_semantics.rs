//! What Envoy refuses beyond the rules of the schema: each with its line, path and remedy.
#![allow(clippy::unwrap_used, missing_docs)]

use tidegate_xds::config::Reader;

/// The diagnostics of a cluster, listener or route configuration in YAML without its `@type`.
fn found(kind: &str, yaml: &str) -> Vec<String> {
    let text = format!("'@type': type.googleapis.com/envoy.config.{kind}\nname: x\n{yaml}");
    match Reader::new().read("x.yaml", &text) {
        Ok(_) => Vec::new(),
        Err(diagnostics) => diagnostics.iter().map(ToString::to_string).collect(),
    }
}

/// Exactly one diagnostic, which contains all of these words.
#[track_caller]
fn only(found: &[String], words: &[&str]) {
    assert_eq!(found.len(), 1, "{found:#?}");
    for word in words {
        let told = found.iter().any(|diagnostic| diagnostic.contains(word));
        assert!(told, "{word}: {found:?}");
    }
}

const LISTENER: &str = "listener.v3.Listener";
const CLUSTER: &str = "cluster.v3.Cluster";
const ROUTES: &str = "route.v3.RouteConfiguration";
const ECHO: &str = "filters: [{name: e, typed_config: {'@type': \
                    type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo}}]";

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

fn bootstrap(yaml: &str) -> Vec<String> {
    match Reader::new().read("b.yaml", yaml) {
        Ok(_) => Vec::new(),
        Err(diagnostics) => diagnostics.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn tags_of_statistics_are_found_somehow() {
    let tag = |tag: &str| {
        bootstrap(&format!(
            "stats_config: {{stats_tags: [{{{tag}}}]}}\nstatic_resources: {{}}\n"
        ))
    };
    for good in [
        "tag_name: envoy.cluster_name",
        "tag_name: cipher_suite",
        "tag_name: tide, fixed_value: spring",
        "tag_name: tide, regex: '^tide\\.((?=x).+?)\\.'",
        "tag_name: tide, regex: '(a)\\1\\cA\\0a{2000}'",
    ] {
        assert_eq!(tag(good), [""; 0], "{good}");
    }
    only(
        &tag("tag_name: envoy.cluster_nam"),
        &[
            "stats_config.stats_tags[0]: needs a `regex` or a `fixed_value`: Envoy has no \
             expression for `envoy.cluster_nam`; did you mean `envoy.cluster_name`?",
        ],
    );
    for wrong in [
        "(?P<a>.)",
        "(?i)a",
        "(?i:a)",
        "(?<=a)",
        "a**",
        "^*",
        "\\b+",
        "a{,5}",
        "\\a",
        "\\A",
        "\\C",
        "\\p{Lu}",
        "\\x{41}",
        "\\1",
        "(a)\\2",
        "[[a]]",
        "[[:^alpha:]]",
        "[[:foo:]]",
        "[]a]",
        "a]",
        "}",
        "[a--b]",
        "(",
        "[z-a]",
        "a{2,1}",
    ] {
        let diagnostics = tag(&format!("tag_name: tide, regex: '{wrong}'"));
        only(
            &diagnostics,
            &["stats_tags[0].regex: ", "is no regular expression: "],
        );
    }
}

/// RE2's dialect, and the size of its programs.
#[test]
fn expressions_are_those_of_re2() {
    let route = |regex: &str| {
        format!(
            "virtual_hosts: [{{name: a, domains: ['*'], routes: [{{match: {{safe_regex: {{regex: '{regex}'}}}}, \
             direct_response: {{status: 200}}}}]}}]"
        )
    };
    for good in [
        "a{96}",
        "^a{98}$",
        "(a{40}){2}",
        "a{0,48}",
        "(?:a{0}){101}",
        "(?:){200}",
        "(?:ab|ac){33}",
        "(?:a*)*",
        "\\x{41}",
        "[a&&b]",
        "\\p{Greek}",
        "\\pN",
        "\\P{Lu}",
        "(?<n>a)",
        "(?s-i)a",
        "[[a]]",
        "[[:^alpha:]]",
        "é{49}",
    ] {
        assert_eq!(found(ROUTES, &route(good)), [""; 0], "{good}");
    }
    for (wrong, words) in [
        ("a**", "a repetition can't be repeated"),
        ("a{2}{3}", "a repetition can't be repeated"),
        ("a*??", "a repetition can't be repeated"),
        ("a{1001}", "repeats a part more than 1000 times"),
        ("(a{100}){100}", "repeats a part more than 1000 times"),
        (
            "a{97}",
            "compiles to at least 101 instructions, and Envoy takes 100",
        ),
        ("^a{99}$", "at least 101 instructions"),
        ("(?i)a{97}", "at least 101 instructions"),
        ("a{0,49}", "at least 102 instructions"),
        ("x{2,1000}", "at least 2002 instructions"),
        ("(a{30}){30}", "at least 964 instructions"),
        ("(?x)a", "there is no flag `x`"),
        ("(?-u)a", "there is no flag `u`"),
        ("\\u0041", "write \\x{…}"),
        ("\\p{Letter}", "there is no class `\\p{Letter}`"),
        ("\\p{Script=Greek}", "there is no class"),
        ("[[:foo:]]", "there is no class `[:foo:]`"),
        ("[a--b]", "can't be subtracted"),
        ("(?P<a.b>a)", "`a.b` is no name of a group"),
    ] {
        only(
            &found(ROUTES, &route(wrong)),
            &["safe_regex.regex: ", words],
        );
    }
}

/// The size of programs is a setting of Envoy's runtime.
#[test]
fn the_runtime_lets_expressions_be_larger() {
    let routes = "virtual_hosts: [{name: a, domains: ['*'], routes: [{match: {safe_regex: {regex: 'a{200}'}}, \
                  direct_response: {status: 200}}]}]";
    let typed = format!(
        "'@type': type.googleapis.com/envoy.config.route.v3.RouteConfiguration\nname: a\n{routes}\n"
    );
    assert!(Reader::new().read("r.yaml", &typed).is_err());
    let reader = Reader::new().assume_regex_program(204);
    assert!(reader.read("r.yaml", &typed).is_ok());

    let listening = format!(
        "static_resources:\n  listeners:\n  - name: l\n    address: {{socket_address: {{address: 127.0.0.1, \
         port_value: 80}}}}\n    filter_chains: [{{filters: [{{name: h, typed_config: {{'@type': \
         type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, \
         stat_prefix: a, route_config: {{{routes}}}, http_filters: [{{name: r, typed_config: {{'@type': \
         type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}}}]}}}}]}}]\n"
    );
    for (layer, taken) in [
        ("{}", false),
        ("{re2.max_program_size.error_level: 204}", true),
        ("{re2: {max_program_size.error_level: '204'}}", true),
        ("{re2: {max_program_size: {error_level: 204.9}}}", true),
        ("{re2.max_program_size.error_level: 203}", false),
    ] {
        let diagnostics = bootstrap(&format!(
            "{listening}layered_runtime: {{layers: [{{name: a, static_layer: {layer}}}]}}\n"
        ));
        assert_eq!(diagnostics.is_empty(), taken, "{layer}: {diagnostics:#?}");
    }
}

#[test]
fn headers_that_make_a_request_are_neither_added_nor_removed() {
    let host = |more: &str| format!("virtual_hosts: [{{name: a, domains: ['*'], {more}}}]");
    for (more, words) in [
        (
            "request_headers_to_add: [{header: {key: Host, value: a}}]",
            "virtual_hosts[0].request_headers_to_add[0].header.key: `Host` can't be added",
        ),
        (
            "response_headers_to_remove: [':status']",
            "virtual_hosts[0].response_headers_to_remove[0]: `:status` can't be removed",
        ),
        (
            "request_headers_to_add: [{header: {key: a, value: 100%}}]",
            "virtual_hosts[0].request_headers_to_add[0].header.value: `%` starts no command such \
             as %REQ(:PATH)%; write %% for a percent sign",
        ),
    ] {
        only(&found(ROUTES, &host(more)), &[words]);
    }
    let old = "request_headers_to_add: [{header: {key: a, value: '%PER_REQUEST_STATE(a)%'}}]";
    assert_eq!(found(ROUTES, &host(old)), [""; 0]);
}

#[test]
fn routes_rewrite_a_path_in_one_way_and_refer_to_groups_that_exist() {
    let route = |action: &str| {
        format!(
            "virtual_hosts: [{{name: a, domains: ['*'], routes: [{{match: {{prefix: /}}, \
             route: {{cluster: c, {action}}}}}]}}]"
        )
    };
    let rewrite =
        |to: &str| format!("regex_rewrite: {{pattern: {{regex: '/(a)'}}, substitution: '{to}'}}");
    assert_eq!(found(ROUTES, &route(&rewrite("/\\1\\\\"))), [""; 0]);
    for (action, words) in [
        (
            rewrite("/\\2"),
            "substitution: \\2 is no group of the expression, which has 1",
        ),
        (
            rewrite("/\\x"),
            "a backslash is followed by the number of a group",
        ),
        (
            format!("prefix_rewrite: /b, {}", rewrite("/b")),
            "regex_rewrite: goes without `prefix_rewrite`",
        ),
        (
            "upgrade_configs: [{upgrade_type: websocket}, {upgrade_type: WebSocket}]".to_owned(),
            "upgrade_configs[1]: a second upgrade `websocket`",
        ),
        (
            "upgrade_configs: [{upgrade_type: websocket, connect_config: {}}]".to_owned(),
            "goes with `upgrade_type: CONNECT` only",
        ),
        (
            "retry_policy: {retry_back_off: {base_interval: 2s, max_interval: 1s}}".to_owned(),
            "max_interval: must be at least the `base_interval`",
        ),
    ] {
        only(&found(ROUTES, &route(&action)), &[words]);
    }
}

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
fn requests_are_mirrored_and_scoped_by_something() {
    let mirror = |policy: &str| {
        let hosts = format!(
            "virtual_hosts: [{{name: a, domains: ['*'], routes: [{{match: {{prefix: /}}, \
             route: {{cluster: c, request_mirror_policies: [{{{policy}}}]}}}}]}}]"
        );
        found(ROUTES, &hosts)
    };
    assert_eq!(mirror("cluster: c"), [""; 0]);
    only(
        &mirror(""),
        &["request_mirror_policies[0]: needs a `cluster`"],
    );
    only(
        &mirror("cluster: c, cluster_header: x-shadow"),
        &["request_mirror_policies[0]: has a `cluster` and a `cluster_header`: keep one"],
    );

    let clustered = "virtual_hosts: [{name: a, domains: ['*'], virtual_clusters: [{name: v}]}]";
    only(
        &found(ROUTES, clustered),
        &["virtual_clusters[0].headers: must say which requests belong to it"],
    );

    let scope = |extractor: &str| {
        let scoped = format!(
            "api_listener: {{api_listener: {{'@type': type.googleapis.com/envoy.extensions.filters.network.\
             http_connection_manager.v3.ScopedRoutes.ScopeKeyBuilder.FragmentBuilder.HeaderValueExtractor, \
             name: x-scope, {extractor}}}}}"
        );
        found(LISTENER, &scoped)
    };
    assert_eq!(scope("index: 0"), [""; 0]);
    assert_eq!(scope("index: 1, element_separator: ','"), [""; 0]);
    only(
        &scope("element_separator: ','"),
        &["needs an `element` or an `index`"],
    );
    only(
        &scope("index: 1"),
        &["index: must be 0, as there is no `element_separator`"],
    );
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
fn tokens_come_from_providers_that_are_configured() {
    let keys = |uri: &str| {
        let listener = format!(
            "api_listener: {{api_listener: {{'@type': type.googleapis.com/\
             envoy.extensions.filters.http.jwt_authn.v3.RemoteJwks, \
             http_uri: {{uri: '{uri}', cluster: c, timeout: 1s}}}}}}"
        );
        found(LISTENER, &listener)
    };
    for good in [
        "https://a:0/",
        "https://u@a/",
        "https://[::1]/",
        "https://[::1]:1",
        "HTTPS://a?x",
    ] {
        assert_eq!(keys(good), [""; 0], "{good}");
    }
    for wrong in [
        "issuer.example/jwks",
        "https:/a",
        "https:///",
        "https://a b/",
        "https://a.b/é",
        "https://a:99999/",
        "https://a:/",
        "https://a:b/",
        "https://a_b/",
        "https://a%41/",
        "https://[x]/",
        "https://a*/",
        "https://a#x",
    ] {
        only(
            &keys(wrong),
            &["http_uri: `", "` is no URL with http or https"],
        );
    }
    let filter = "api_listener: {api_listener: {'@type': type.googleapis.com/\
                  envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication, \
                  providers: {known: {issuer: a, local_jwks: {inline_string: a}}}, \
                  rules: [{match: {prefix: /}, requires: {requires_any: {requirements: \
                  [{provider_name: known}, {provider_name: knwon}]}}}]}}";
    only(
        &found(LISTENER, filter),
        &["rules[0]: there is no provider `knwon`; did you mean `known`?"],
    );
}
