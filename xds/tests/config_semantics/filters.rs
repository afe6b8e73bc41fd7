//! Filters of HTTP.

use crate::{LISTENER, found, only};

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

#[test]
fn connections_are_proxied_early_or_in_tunnels_that_say_how() {
    let proxy = |more: &str| {
        let listener = format!(
            "api_listener: {{api_listener: {{'@type': type.googleapis.com/\
             envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: a, cluster: c, {more}}}}}"
        );
        found(LISTENER, &listener)
    };
    for good in [
        "upstream_connect_mode: ON_DOWNSTREAM_DATA, max_early_data_bytes: 4",
        "tunneling_config: {hostname: a, use_post: true, post_path: /x}",
    ] {
        assert_eq!(proxy(good), [""; 0], "{good}");
    }
    only(
        &proxy("upstream_connect_mode: ON_DOWNSTREAM_DATA"),
        &["max_early_data_bytes: is required"],
    );
    only(
        &proxy("tunneling_config: {hostname: a, post_path: /x}"),
        &["tunneling_config.post_path: needs `use_post: true`"],
    );
}
