//! The disagreements that are meant to be.

use crate::explained::Explanation;

const fn only_envoy(text: &'static str, why: &'static str) -> Explanation {
    Explanation {
        path: None,
        text,
        why,
    }
}

const fn only_we(path: &'static str, text: &'static str, why: &'static str) -> Explanation {
    Explanation {
        path: Some(path),
        text,
        why,
    }
}

/// What a machine has, and what Envoy does when it starts, no reader of configuration can know.
pub(crate) const EXPLANATIONS: &[Explanation] = &[
    // A path with a NUL byte ends its message.
    only_envoy(
        "unable to open file '*",
        "Envoy opens the files of access logs; which there are depends on the machine",
    ),
    only_envoy(
        "unable to add filesystem watch for file *: No such file or directory",
        "Envoy watches the directories of its runtime; which there are depends on the machine",
    ),
    only_envoy(
        "Environment variable doesn't exist: *",
        "which variables there are depends on the machine",
    ),
    only_envoy(
        "paths must refer to an existing path in the system: '*' does not exist",
        "which files there are depends on the machine",
    ),
    only_envoy(
        "invalid file path *",
        "which files there are depends on the machine",
    ),
    only_envoy(
        "Invalid path: *",
        "which files may be read depends on the machine",
    ),
    only_envoy("script load error: *", "scripts in Lua are not read here"),
    only_envoy(
        "signal: 11 (SIGSEGV)*: *Caught Segmentation fault*",
        "Envoy 1.40 crashes while it validates: no judgement",
    ),
    only_envoy(
        "signal: 6 (SIGABRT)*panic: not implemented*",
        "Envoy 1.40 crashes while it validates: no judgement",
    ),
    only_we(
        "",
        "`*` stands twice in this mapping, first in line *; remove one of them",
        "YAML forbids it; of two entries with one key, Envoy silently takes the later",
    ),
    only_we(
        "static_resources.listeners[].filter_chains[].filters[].typed_config.cluster",
        "there is no cluster `*`; *",
        "connections would be closed; Envoy looks when they come, in case the cluster has come by then",
    ),
    only_we(
        "static_resources.listeners[].default_filter_chain.filters[].typed_config.cluster",
        "there is no cluster `*`; *",
        "connections would be closed; Envoy looks when they come, in case the cluster has come by then",
    ),
    only_we(
        "static_resources.listeners[].filter_chains[].filters[].typed_config.weighted_clusters.clusters[].name",
        "there is no cluster `*`; *",
        "connections would be closed; Envoy looks when they come, in case the cluster has come by then",
    ),
    only_we(
        "*.http_filters[].typed_config.providers[*].remote_jwks.http_uri.cluster",
        "there is no cluster `*`; *",
        "keys could not be fetched, and requests would be refused; Envoy looks when it fetches them",
    ),
    only_we(
        "*.access_log[].typed_config.common_config.grpc_service.envoy_grpc.cluster_name",
        "there is no cluster `*`; *",
        "logs would go nowhere; Envoy looks when there is something to log",
    ),
    only_we(
        "*.http_filters[].typed_config.grpc_service.envoy_grpc.cluster_name",
        "there is no cluster `*`; *",
        "calls of the filter would fail; Envoy looks when it makes one",
    ),
    only_we(
        "*.http_filters[].typed_config.rate_limit_service.grpc_service.envoy_grpc.cluster_name",
        "there is no cluster `*`; *",
        "calls of the filter would fail; Envoy looks when it makes one",
    ),
    only_we(
        "static_resources.clusters[].eds_cluster_config.eds_config.api_config_source.grpc_services[].envoy_grpc.cluster_name",
        "there is no cluster `*`; *",
        "endpoints could not be fetched; with DELTA_GRPC, Envoy looks when it connects, which validating doesn't",
    ),
    only_we(
        "dynamic_resources.lds_config.api_config_source.grpc_services[].envoy_grpc.cluster_name",
        "there is no cluster `*`; *",
        "listeners could not be fetched; Envoy looks when it connects, which validating doesn't",
    ),
    only_we(
        "cluster_manager.load_stats_config.grpc_services[].envoy_grpc.cluster_name",
        "there is no cluster `*`; *",
        "loads could not be reported; Envoy looks when it connects, which validating doesn't",
    ),
    only_we(
        "*.route_config.vhds.config_source.api_config_source.grpc_services[].envoy_grpc.cluster_name",
        "there is no cluster `*`; *",
        "virtual hosts could not be fetched; Envoy looks when the first request wants one",
    ),
    only_we(
        "static_resources.clusters[].cluster_type.typed_config.clusters[]",
        "there is no cluster `*`; *",
        "an aggregate would have one cluster less; Envoy looks when it chooses, in case it has come",
    ),
    only_we(
        "static_resources.clusters[].load_assignment",
        "can't stand in an EDS cluster, which fetches its endpoints",
        "Envoy silently ignores the endpoints that stand there; we want what was meant",
    ),
    only_we(
        "*.filter_metadata[*]",
        "an entry without content; remove it",
        "Envoy takes nothing for an empty mapping there; we want what was meant",
    ),
    only_we(
        "*[]",
        "an item without content; remove it",
        "Envoy takes nothing for an empty text, a zero or an empty mapping there; we want what was meant",
    ),
    only_we(
        "*.substitution",
        "\\* is no group of the expression, which has *",
        "nothing would ever be rewritten; Envoy looks at it with each request",
    ),
    only_we(
        "*.substitution",
        "a backslash is followed by the number of a group, or by another",
        "nothing would ever be rewritten; Envoy looks at it with each request",
    ),
    // The character that stands for one of control.
    only_we(
        "*",
        "`*\u{fffd}*` is no IP address*",
        "Envoy reads an address up to a NUL byte, silently",
    ),
    only_we(
        "*.retry_policy.retry_priority.typed_config.update_frequency",
        "must be greater than 0, is *; the rule is `int32.gt`",
        "Envoy looks at it when it first retries",
    ),
    only_we(
        "static_resources.clusters[].load_balancing_policy.*.min_weight_percent.value",
        "must be at most 100, is *; the rule is `double.lte`",
        "Envoy doesn't look at its own rules of a policy's configuration",
    ),
    only_we(
        "*.dns_cache_config.dns_failure_refresh_rate.max_interval",
        "must be at least the `base_interval`",
        "Envoy looks at it when it first resolves a name",
    ),
    only_we(
        "static_resources.listeners[]",
        "no name, by which clients could ask for it; *",
        "Envoy gives a static listener without a name one of its own making",
    ),
    only_we(
        "static_resources.secrets[]",
        "no name, by which clients could ask for it; *",
        "Envoy keeps a secret that nothing can refer to",
    ),
    only_we(
        "",
        "a tab before a value; write a space; the rest of this file was not checked",
        "YAML and Envoy take a tab for a space there; the parser here doesn't before a word",
    ),
    only_we(
        "*.http_filters[].typed_config",
        "no @type; *",
        "Envoy takes a filter without a type if it is optional, and leaves it out; we want what was meant",
    ),
    only_we(
        "*.http_filters[]",
        "needs a `typed_config`",
        "Envoy takes a filter without a type if it is optional, and leaves it out; we want what was meant",
    ),
    only_we(
        "*.http_filters",
        "needs a router at least",
        "nothing would answer requests; Envoy takes it",
    ),
    only_we(
        "static_resources.secrets[]",
        "a second sds `*`; the first is at *; rename or remove one of them",
        "Envoy keeps secrets of each kind apart; clients ask for either by its name alone",
    ),
    only_we(
        "static_resources.secrets[]",
        "a second secret `*`; the first is *",
        "Envoy keeps secrets of each kind apart; clients ask for either by its name alone",
    ),
    only_we(
        "static_resources.listeners[]",
        "a second lds `*`; the first is at *; rename or remove one of them",
        "of two static listeners with one name, Envoy silently leaves out the later",
    ),
    only_we(
        "*",
        "expected a list, found a mapping; start each item with `- `",
        "Envoy takes `{}` for nothing at all; we want what was meant",
    ),
    only_we(
        "*",
        "expected a single value, found a mapping",
        "Envoy takes `{}` for nothing at all; we want what was meant",
    ),
    only_we(
        "*",
        "expected a text, found a number; put it in quotes: \"*\"",
        "Envoy makes texts of numbers beyond 32 bits, but of no others",
    ),
    only_we(
        "*",
        "expected true or false, found `*`",
        "Envoy takes the words of booleans in any case and in quotes; we want what YAML has",
    ),
    only_we(
        "*",
        "expected true or false, found a text; remove the quotes",
        "Envoy takes quoted words for booleans; we want what YAML has",
    ),
    only_we(
        "*[]",
        "expected a single value, found a list",
        "Envoy takes lists within lists for one list",
    ),
    only_we(
        "*.transport_api_version",
        "must be V3, the only version that Envoy still speaks",
        "Envoy looks at it when it connects, which validating doesn't",
    ),
    only_we(
        "*.grpc_services",
        "must hold one service, holds *",
        "Envoy looks at it when it connects, which validating doesn't",
    ),
    only_we(
        "cluster_manager.load_stats_config.cluster_names",
        "must hold one cluster, holds *",
        "Envoy looks at it when it connects, which validating doesn't",
    ),
    only_we(
        "cluster_manager.load_stats_config.refresh_delay",
        "needs a `refresh_delay` to poll with",
        "Envoy looks at it when it connects, which validating doesn't",
    ),
    only_we(
        "cluster_manager.load_stats_config.grpc_services",
        "doesn't go with REST; name the cluster in `cluster_names`",
        "Envoy looks at it when it connects, which validating doesn't",
    ),
    only_we(
        "cluster_manager.load_stats_config.cluster_names",
        "goes with REST only; a gRPC service names its own cluster",
        "Envoy looks at it when it connects, which validating doesn't",
    ),
    only_we(
        "static_resources.clusters[].cluster_type",
        "needs a `typed_config`",
        "Envoy takes the name of an extension alone, with nothing configured; we want what was meant",
    ),
    only_we(
        "*.regex",
        "`*` is no regular expression: duplicate capture group name",
        "Envoy's RE2 lets several groups have one name; which of them it stands for, nobody could tell",
    ),
    only_we(
        "*.endpoints[].lb_endpoints[].endpoint",
        "needs an `address`",
        "Envoy takes it where it resolves names, and resolves nothing",
    ),
    only_we(
        "*validation_context.verify_certificate_hash[]",
        "`*` is no SHA-256 hash in hexadecimal digits",
        "Envoy looks at it when the secrets of the context have come",
    ),
    only_we(
        "*validation_context.verify_certificate_spki[]",
        "`*` is no SHA-256 hash in base64",
        "Envoy looks at it when the secrets of the context have come",
    ),
    only_we(
        "*.common_tls_context.alpn_protocols[]",
        "a protocol's name has * to * bytes",
        "Envoy looks at it when the secrets of the context have come",
    ),
    only_we(
        "*.common_tls_context.tls_params.cipher_suites[]",
        "there is no cipher suite `*`; *",
        "Envoy looks at it when the secrets of the context have come",
    ),
    only_we(
        "*.common_tls_context.tls_params.ecdh_curves[]",
        "there is no curve `*`; *",
        "Envoy looks at it when the secrets of the context have come",
    ),
    only_we(
        "*.common_tls_context.tls_params.signature_algorithms[]",
        "there is no signature algorithm `*`; *",
        "Envoy looks at it when the secrets of the context have come",
    ),
    only_we(
        "*.common_tls_context.tls_params.ecdh_curves[]",
        "* a second time",
        "Envoy looks at it when the secrets of the context have come",
    ),
    only_we(
        "*.validation_context",
        "names in certificates prove nothing without a `trusted_ca`",
        "Envoy looks at it when the secrets of the context have come",
    ),
    only_we(
        "*.config_discovery.type_urls[]",
        "`*` doesn't configure a network filter",
        "Envoy looks at the types of network filters when they come",
    ),
    only_we(
        "static_resources.listeners[].filter_chains[].filters[].config_discovery.type_urls[]",
        "`*` is no type of Envoy's",
        "Envoy looks at the types of network filters when they come",
    ),
    only_we(
        "stats_config.stats_matcher.*.safe_regex.regex",
        "`*` is no regular expression: *",
        "Envoy makes its matchers of statistics when it starts, which validating doesn't",
    ),
    only_we(
        "*",
        "`*` is no *; write its name",
        "Envoy takes numbers that stand for nothing where the schema doesn't forbid it",
    ),
    only_we(
        "*",
        "*is NaN*",
        "Envoy's comparisons let NaN pass every bound",
    ),
    only_we(
        "*.api_type",
        "must be set: DELTA_GRPC, GRPC or REST",
        "Envoy looks at it when it connects, which validating doesn't",
    ),
    only_we(
        "*.typed_config.choice_count",
        "must be at least *",
        "Envoy doesn't check the options of a balancer that it won't use",
    ),
    only_we(
        "static_resources.*[]",
        "* can't be named `*`; a name has 1 to 512 bytes and isn't `*`",
        "this server's own bound",
    ),
    only_we(
        "static_resources.clusters[].health_checks[]",
        "several health checks need names, *",
        "a field that is newer than the descriptors of this build",
    ),
];
