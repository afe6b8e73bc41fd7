//! Disagreements that are meant to be, each with its reason. Any other fails the run.

use tidegate_xds::config::Diagnostic;

/// What one judge refuses and the other takes.
#[derive(Debug, Clone)]
pub(crate) enum Refusal {
    /// Its reason.
    OnlyEnvoy(String),
    /// One of our diagnostics: each needs an explanation of its own.
    OnlyWe(Diagnostic),
}

/// One kind of disagreement. In its patterns, `*` stands for anything.
#[derive(Debug)]
pub(crate) struct Explanation {
    /// Of the path of our diagnostic, without the numbers in brackets; `None` if it is Envoy's.
    pub(crate) path: Option<&'static str>,
    /// Of Envoy's whole reason, or of our whole message and, after `; `, its help.
    pub(crate) text: &'static str,
    pub(crate) why: &'static str,
}

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
    only_envoy(
        "unable to open file '*': *",
        "Envoy opens the files of access logs; which there are depends on the machine",
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
        "*.http_filters",
        "needs a router at least",
        "nothing would answer requests; Envoy takes it",
    ),
    only_we(
        "static_resources.listeners[]",
        "a second lds `*`; the first is at *; rename or remove one of them",
        "of two listeners with one name, Envoy silently keeps the later",
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
        "Envoy takes tRue for a boolean; we want what YAML has",
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

// === impl Explanation ===

impl Explanation {
    pub(crate) fn who(&self) -> &'static str {
        match self.path {
            None => "only Envoy",
            Some(_) => "only we",
        }
    }

    fn explains(&self, refusal: &Refusal) -> bool {
        match (refusal, self.path) {
            (Refusal::OnlyEnvoy(reason), None) => matches(self.text, reason),
            (Refusal::OnlyWe(diagnostic), Some(path)) => {
                matches(path, &unnumbered(&diagnostic.path))
                    && matches(self.text, &said(diagnostic))
            }
            _ => false,
        }
    }
}

// === impl Refusal ===

impl Refusal {
    /// The number of its explanation.
    pub(crate) fn explanation(&self) -> Option<usize> {
        EXPLANATIONS.iter().position(|known| known.explains(self))
    }

    pub(crate) fn who(&self) -> &'static str {
        match self {
            Self::OnlyEnvoy(_) => "only Envoy",
            Self::OnlyWe(_) => "only we",
        }
    }

    /// Where and why.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::OnlyEnvoy(reason) => reason.clone(),
            Self::OnlyWe(diagnostic) => {
                format!("{}: {}", unnumbered(&diagnostic.path), said(diagnostic))
            }
        }
    }
}

/// The message with its help.
fn said(diagnostic: &Diagnostic) -> String {
    match diagnostic.help.as_str() {
        "" => diagnostic.message.clone(),
        help => format!("{}; {help}", diagnostic.message),
    }
}

/// `a[3].b` as `a[].b`.
fn unnumbered(path: &str) -> String {
    let mut out = String::new();
    for (index, part) in path.split('[').enumerate() {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
        if index > 0 {
            out.push('[');
        }
        out.push_str(if rest.starts_with(']') { rest } else { part });
    }
    out
}

/// Whether a pattern is all of a text.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((first, more)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let (between, last) = more.rsplit_once('*').unwrap_or(("", more));
    for part in between.split('*') {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_all_of_a_text() {
        for (pattern, text, wanted) in [
            ("", "", true),
            ("", "a", false),
            ("a", "ab", false),
            ("*", "anything", true),
            ("*.b", "a.b", true),
            ("*.b", "a.b.c", false),
            ("a*c", "ac", true),
            ("ab*bc", "abc", false),
            ("a*b*c", "a b c", true),
            ("a*b*c", "a c b", false),
        ] {
            assert_eq!(matches(pattern, text), wanted, "{pattern} {text}");
        }
        assert_eq!(unnumbered("a[12].b[0]"), "a[].b[]");
        assert_eq!(unnumbered("a[\"1]\"].b"), "a[\"1]\"].b");
    }

    #[test]
    fn an_explanation_of_one_mistake_excuses_no_other() {
        let at = |path: &str, message: &str, help: &str| {
            Refusal::OnlyWe(Diagnostic {
                file: String::new(),
                line: 1,
                column: 1,
                path: path.to_owned(),
                message: message.to_owned(),
                help: help.to_owned(),
            })
        };
        let place = "a.listeners[0].http_filters";
        let known = at(place, "needs a router at least", "");
        assert!(known.explanation().is_some());
        let elsewhere = at("a.listeners[0]", "needs a router at least", "");
        assert_eq!(elsewhere.explanation(), None);
        let more = at(place, "needs a router at least", "and more");
        assert_eq!(more.explanation(), None);
        let envoys = Refusal::OnlyEnvoy("needs a router at least".to_owned());
        assert_eq!(envoys.explanation(), None);
    }
}
