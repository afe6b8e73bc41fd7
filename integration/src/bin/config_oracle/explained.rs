//! Disagreements that are meant to be, each with its reason. Any other fails the run.

/// Whose refusal it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    OnlyEnvoy,
    OnlyWe,
}

/// One kind of disagreement.
#[derive(Debug)]
pub(crate) struct Explanation {
    pub(crate) side: Side,
    /// Words of the refusal: of Envoy's reason, or of our diagnostic as it is printed.
    pub(crate) words: &'static str,
    pub(crate) why: &'static str,
    /// Whether other diagnostics of the same configuration only follow from this one.
    pub(crate) and_more: bool,
}

const fn only_envoy(words: &'static str, why: &'static str) -> Explanation {
    Explanation {
        side: Side::OnlyEnvoy,
        words,
        why,
        and_more: false,
    }
}

const fn only_we(words: &'static str, why: &'static str) -> Explanation {
    Explanation {
        side: Side::OnlyWe,
        words,
        why,
        and_more: false,
    }
}

const fn only_we_and_more(words: &'static str, why: &'static str) -> Explanation {
    Explanation {
        and_more: true,
        ..only_we(words, why)
    }
}

/// What a machine has, and what Envoy does when it starts, no reader of configuration can know.
pub(crate) const EXPLANATIONS: &[Explanation] = &[
    only_envoy(
        "unable to open file",
        "Envoy opens the files of access logs; which there are depends on the machine",
    ),
    only_envoy(
        "paths must refer to an existing path in the system",
        "which files there are depends on the machine",
    ),
    only_envoy(
        "invalid file path",
        "which files there are depends on the machine",
    ),
    only_envoy(
        "Invalid path:",
        "which files may be read depends on the machine",
    ),
    only_envoy("script load error", "scripts in Lua are not read here"),
    only_envoy(
        "Caught Segmentation fault",
        "Envoy 1.40 crashes while it validates: no judgement",
    ),
    only_we_and_more(
        "stands twice in this mapping",
        "YAML forbids it; of two entries with one key, Envoy silently takes one",
    ),
    only_we(
        "there is no cluster",
        "requests would fail with 503; Envoy looks only at static routes and what calls clusters",
    ),
    only_we(
        "needs a router at least",
        "nothing would answer requests; Envoy takes it",
    ),
    only_we_and_more(
        "a second lds",
        "of two listeners with one name, Envoy silently keeps the later",
    ),
    only_we(
        "expected a list, found a mapping",
        "Envoy takes `{}` for nothing at all; we want what was meant",
    ),
    only_we(
        "expected a single value, found a mapping",
        "Envoy takes `{}` for nothing at all; we want what was meant",
    ),
    only_we(
        "expected a text, found a number",
        "Envoy makes texts of numbers beyond 32 bits, but of no others",
    ),
    only_we(
        "expected true or false, found",
        "Envoy takes tRue and quoted words for booleans; we want what YAML has",
    ),
    only_we(
        "expected a single value, found a list",
        "Envoy takes lists within lists for one list",
    ),
    only_we(
        "must be V3, the only version that Envoy still speaks",
        "Envoy looks at it when it connects, which validating doesn't",
    ),
    only_we(
        "must hold one service, holds",
        "Envoy looks at it when it connects, which validating doesn't",
    ),
    only_we(
        "endpoint: needs an `address`",
        "Envoy takes it where it resolves names, and resolves nothing",
    ),
    only_we(
        "is no SHA-256 hash",
        "Envoy looks at it when the secrets of the context have come",
    ),
    only_we(
        "there is no cipher suite",
        "Envoy looks at it when the secrets of the context have come",
    ),
    only_we(
        "there is no curve",
        "Envoy looks at it when the secrets of the context have come",
    ),
    only_we(
        "there is no signature algorithm",
        "Envoy looks at it when the secrets of the context have come",
    ),
    only_we(
        "a second time",
        "Envoy looks at it when the secrets of the context have come",
    ),
    only_we(
        "names in certificates prove nothing",
        "Envoy looks at it when the secrets of the context have come",
    ),
    only_we(
        "config_discovery.type_urls",
        "Envoy looks at the types of network filters when they come",
    ),
    only_we(
        "; write its name",
        "Envoy takes numbers that stand for nothing where the schema doesn't forbid it",
    ),
    only_we("is NaN", "Envoy's comparisons let NaN pass every bound"),
    only_we(
        "must be set: DELTA_GRPC, GRPC or REST",
        "Envoy looks at it when it connects, which validating doesn't",
    ),
    only_we(
        "typed_config.choice_count: must be at least",
        "Envoy doesn't check the options of a balancer that it won't use",
    ),
    only_we("a name has 1 to 512 bytes", "this server's own bound"),
    only_we(
        "several health checks need names",
        "a field that is newer than the descriptors of this build",
    ),
];

/// The number of the explanation of a refusal.
pub(crate) fn explanation(side: Side, refusal: &str) -> Option<usize> {
    EXPLANATIONS
        .iter()
        .position(|known| known.side == side && refusal.contains(known.words))
}
