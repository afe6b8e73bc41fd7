//! Routes, virtual hosts, and what scopes them.

use crate::{LISTENER, ROUTES, found, only};

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
fn routes_match_rewrite_and_choose_clusters_in_ways_that_go_together() {
    let matched = "path_match_policy: {name: m, typed_config: {'@type': type.googleapis.com/\
                   envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig, path_template: '/{a}'}}";
    let rewritten = "path_rewrite_policy: {name: r, typed_config: {'@type': type.googleapis.com/\
                     envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig, \
                     path_template_rewrite: '/b/{a}'}}";
    let route = |matched: &str, action: &str| {
        let hosts = format!(
            "virtual_hosts: [{{name: a, domains: ['*'], routes: [{{match: {{{matched}}}, route: {{{action}}}}}]}}]"
        );
        found(ROUTES, &hosts)
    };
    let templates = format!("cluster: c, {rewritten}");
    assert_eq!(route(matched, &templates), [""; 0]);
    assert_eq!(
        route("prefix: /", "cluster: c, prefix_rewrite: /b"),
        [""; 0]
    );
    for (matched, action, words) in [
        (
            matched,
            "cluster: c, prefix_rewrite: /b",
            "route.prefix_rewrite: doesn't go with a `path_match_policy`",
        ),
        (
            "prefix: /",
            &templates,
            "route.path_rewrite_policy: rewrites what a template matched",
        ),
        (
            "prefix: /",
            "weighted_clusters: {clusters: [{name: c, weight: 0}]}",
            "weighted_clusters.clusters: no request would go anywhere",
        ),
        (
            "prefix: /",
            "weighted_clusters: {clusters: [{name: c, weight: 4294967295}, {name: d, weight: 1}]}",
            "weighted_clusters.clusters: the weights make 4294967296; at most 4294967295",
        ),
        (
            "prefix: /",
            "cluster_specifier_plugin: p",
            "route.cluster_specifier_plugin: there is no plugin `p`",
        ),
    ] {
        only(&route(matched, action), &[words]);
    }
    let both = "virtual_hosts: [{name: a, domains: ['*'], matcher: {}, \
                routes: [{match: {prefix: /}, direct_response: {status: 200}}]}]";
    only(
        &found(ROUTES, both),
        &["virtual_hosts[0].matcher: doesn't go with `routes`"],
    );
}

#[test]
fn direct_responses_are_as_long_as_the_configuration_lets_them_be() {
    let routes = |most: &str| {
        let hosts = "virtual_hosts: [{name: a, domains: ['*'], routes: [{match: {prefix: /}, \
                     direct_response: {status: 200, body: {inline_string: ebb}}}]}]";
        found(
            ROUTES,
            &format!("max_direct_response_body_size_bytes: {most}\n{hosts}"),
        )
    };
    assert_eq!(routes("3"), [""; 0]);
    // Any length.
    assert_eq!(routes("0"), [""; 0]);
    only(&routes("2"), &["direct_response.body: 3 bytes; at most 2"]);
}

#[test]
fn routes_configure_filters_that_can_differ_from_route_to_route() {
    let any = |kind: &str| format!("{{'@type': type.googleapis.com/{kind}}}");
    let filter = |kind: &str| any(&format!("envoy.extensions.filters.http.{kind}"));
    let around = |more: String| any(&format!("envoy.config.route.v3.FilterConfig, {more}"));
    let host = |config: &str| {
        format!(
            "virtual_hosts: [{{name: a, domains: ['*'], typed_per_filter_config: {{f: {config}}}}}]"
        )
    };
    for good in [
        filter("cors.v3.CorsPolicy"),
        filter("buffer.v3.BufferPerRoute, disabled: true"),
        around("disabled: true".to_owned()),
        around(format!(
            "is_optional: true, config: {}",
            filter("router.v3.Router")
        )),
    ] {
        assert_eq!(found(ROUTES, &host(&good)), [""; 0], "{good}");
    }
    let place = "virtual_hosts[0].typed_per_filter_config[\"f\"]";
    for (wrong, words) in [
        (
            filter("router.v3.Router"),
            ": `envoy.extensions.filters.http.router.v3.Router` can't differ",
        ),
        (
            filter("buffer.v3.Buffer, max_request_bytes: 4"),
            "is for all routes; that of one is `BufferPerRoute`",
        ),
        (
            filter("header_to_metadata.v3.Config"),
            ": needs `request_rules` or `response_rules`",
        ),
        (
            any("envoy.extensions.filters.network.echo.v3.Echo"),
            "doesn't configure an HTTP filter",
        ),
        (
            around("is_optional: true".to_owned()),
            ".config: is required, unless `disabled`",
        ),
        (
            around(format!("config: {}", filter("router.v3.Router"))),
            ".config: `envoy.extensions.filters.http.router.v3.Router` can't differ",
        ),
    ] {
        only(&found(ROUTES, &host(&wrong)), &[place, words]);
    }
    let of_all = format!(
        "typed_per_filter_config: {{f: {}}}",
        filter("router.v3.Router")
    );
    only(
        &found(ROUTES, &of_all),
        &["typed_per_filter_config[\"f\"]: "],
    );
}
