//! Balancers of clusters: by `load_balancing_policy`, or in the older style by `lb_policy`.

use prost_reflect::DynamicMessage;

use super::at;
use super::registry::BALANCERS;
use crate::config::fields::{choice, has, number, sub, subs, texts, truth, type_name};
use crate::config::rules::Findings;

const RULE: &str = "envoy.balancer";
/// `Cluster.DiscoveryType`.
const ORIGINAL_DST: i32 = 4;
/// `Cluster.LbPolicy`.
const RING_HASH: i32 = 2;
const MAGLEV: i32 = 5;
const CLUSTER_PROVIDED: i32 = 6;
const BY_POLICY: i32 = 7;
const PROVIDED_POLICY: &str =
    "envoy.extensions.load_balancing_policies.cluster_provided.v3.ClusterProvided";
const AGGREGATE: &str = "envoy.extensions.clusters.aggregate.v3.ClusterConfig";
const FORWARD_PROXY: &str = "envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig";
/// Of a ring, when nothing is said.
const RING_SIZE_MIN: u64 = 1_024;
const RING_SIZE_MAX: u64 = 8 * 1_024 * 1_024;
/// The schema's bound.
const TABLE_SIZE_MAX: u64 = 5_000_011;

/// The balancer of a cluster, and what goes with it.
pub(super) fn cluster(message: &DynamicMessage, findings: &mut Findings<'_>) {
    provided(message, findings);
    let common = sub(message, "common_lb_config");
    if has(message, "load_balancing_policy") {
        if has(message, "lb_subset_config") {
            let text = "doesn't go with `load_balancing_policy`, which has a policy for subsets";
            at(findings, "lb_subset_config", RULE, text);
        }
        for field in [
            "zone_aware_lb_config",
            "locality_weighted_lb_config",
            "consistent_hashing_lb_config",
        ] {
            if common.as_ref().is_some_and(|common| has(common, field)) {
                findings.path.field("common_lb_config");
                let text = "doesn't go with `load_balancing_policy`, whose policies say it";
                at(findings, field, RULE, text);
                findings.path.pop();
            }
        }
    } else {
        older(message, findings);
    }
    let subsets = sub(message, "lb_subset_config");
    if subsets.is_some_and(|subsets| truth(&subsets, "locality_weight_aware"))
        && !common.is_some_and(|common| has(&common, "locality_weighted_lb_config"))
    {
        let text = "`locality_weight_aware` needs a `locality_weighted_lb_config`";
        at(findings, "lb_subset_config", RULE, text);
    }
}

/// Options in the older style, of which Envoy looks at those of the policy that it will use.
fn older(message: &DynamicMessage, findings: &mut Findings<'_>) {
    let subsets = sub(message, "lb_subset_config");
    let policy = choice(message, "lb_policy");
    if subsets.is_some_and(|subsets| !subs(&subsets, "subset_selectors").is_empty()) {
        if policy == CLUSTER_PROVIDED {
            let text = "doesn't go with CLUSTER_PROVIDED: such a cluster has no subsets";
            at(findings, "lb_subset_config", RULE, text);
        }
        return;
    }
    match policy {
        BY_POLICY => at(
            findings,
            "load_balancing_policy",
            RULE,
            "is required with LOAD_BALANCING_POLICY_CONFIG",
        ),
        RING_HASH => {
            if let Some(ring) = sub(message, "ring_hash_lb_config") {
                findings.path.field("ring_hash_lb_config");
                self::ring(&ring, findings);
                findings.path.pop();
            }
        }
        MAGLEV => {
            if let Some(table) = sub(message, "maglev_lb_config") {
                findings.path.field("maglev_lb_config");
                maglev(&table, findings);
                findings.path.pop();
            }
        }
        _ => {}
    }
}

/// The sizes of a ring, in either style.
pub(super) fn ring(message: &DynamicMessage, findings: &mut Findings<'_>) {
    let least = number(message, "minimum_ring_size").unwrap_or(RING_SIZE_MIN);
    let most = number(message, "maximum_ring_size").unwrap_or(RING_SIZE_MAX);
    if least > most {
        let message =
            format!("`minimum_ring_size` {least} is more than `maximum_ring_size` {most}");
        findings.add("envoy.ring", message);
    }
}

/// The size of a table, in either style.
pub(super) fn maglev(message: &DynamicMessage, findings: &mut Findings<'_>) {
    let size = number(message, "table_size").filter(|size| *size <= TABLE_SIZE_MAX);
    if size.is_some_and(|size| !may_be_prime(size)) {
        at(findings, "table_size", RULE, "must be a prime number");
    }
}

/// Whether it has no factor. As Envoy's, this lets 0 and 1 through; the schema bounds it.
fn may_be_prime(number: u64) -> bool {
    let mut factors = (2..).take_while(|factor: &u64| factor * factor <= number);
    !factors.any(|factor| number.is_multiple_of(factor))
}

/// Some kinds of clusters choose hosts themselves.
fn provided(message: &DynamicMessage, findings: &mut Findings<'_>) {
    let provides = match sub(message, "cluster_type") {
        Some(kind) => {
            let kind = sub(&kind, "typed_config").map(|config| type_name(&config));
            match kind.as_deref() {
                Some(AGGREGATE | FORWARD_PROXY) => Some(true),
                // Other extensions may or may not.
                _ => None,
            }
        }
        None => Some(choice(message, "type") == ORIGINAL_DST),
    };
    // The new style goes before the old one.
    let provided = match sub(message, "load_balancing_policy") {
        Some(balancing) => subs(&balancing, "policies").iter().any(|policy| {
            let extension = sub(policy, "typed_extension_config");
            let config = extension.and_then(|extension| sub(&extension, "typed_config"));
            config.is_some_and(|config| type_name(&config) == PROVIDED_POLICY)
        }),
        None => choice(message, "lb_policy") == CLUSTER_PROVIDED,
    };
    match provides {
        Some(false) if provided => {
            let text = "CLUSTER_PROVIDED doesn't go with a cluster of this type";
            at(findings, "lb_policy", RULE, text);
        }
        Some(true) if !provided => {
            let text = "must be CLUSTER_PROVIDED for a cluster of this type";
            at(findings, "lb_policy", RULE, text);
        }
        _ => {}
    }
}

/// `LbSubsetSelector`.
pub(super) fn subset_selector(message: &DynamicMessage, findings: &mut Findings<'_>) {
    /// `LbSubsetSelectorFallbackPolicy`.
    const KEYS_SUBSET: i32 = 4;
    let (keys, fallback) = (
        texts(message, "keys"),
        texts(message, "fallback_keys_subset"),
    );
    let narrows = choice(message, "fallback_policy") == KEYS_SUBSET;
    let wrong = if narrows && fallback.is_empty() {
        "must name some of the `keys`, as the policy is KEYS_SUBSET"
    } else if !narrows && !fallback.is_empty() {
        "goes with `fallback_policy: KEYS_SUBSET` only"
    } else if fallback.iter().any(|key| !keys.contains(key)) {
        "must be among the `keys`"
    } else if narrows && keys.iter().all(|key| fallback.contains(key)) {
        "must leave out one of the `keys`, or nothing would be wider"
    } else {
        return;
    };
    at(findings, "fallback_keys_subset", RULE, wrong);
}

/// Of balancers, Envoy takes the first that it knows.
pub(super) fn balancing(message: &DynamicMessage, findings: &mut Findings<'_>) {
    let policies = subs(message, "policies");
    let known = |policy: &DynamicMessage| {
        let extension = sub(policy, "typed_extension_config");
        let config = extension.and_then(|extension| sub(&extension, "typed_config"));
        config.is_some_and(|config| BALANCERS.takes(&type_name(&config)))
    };
    if !policies.iter().any(known) {
        let text = match policies.len() {
            0 => "needs a load balancing policy",
            _ => "none of them configures a load balancing policy",
        };
        at(findings, "policies", "envoy.typed_config", text);
    }
}
