//! Bootstraps: the overload manager, layers of the runtime, sources of configuration.

use crate::{bootstrap, only};

fn overload(actions: &str, more: &str) -> Vec<String> {
    bootstrap(&format!(
        "static_resources: {{}}\noverload_manager:\n  resource_monitors: [{{name: m, typed_config: {{'@type': \
         type.googleapis.com/envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig, \
         max_heap_size_bytes: 1}}}}]\n  actions: [{actions}]\n{more}"
    ))
}

/// An action with its trigger.
fn action(name: &str, more: &str) -> String {
    format!("{{name: {name}, triggers: [{{name: m, threshold: {{value: 0.5}}}}]{more}}}")
}

const REDUCE: &str = "envoy.overload_actions.reduce_timeouts";
const SHRINK: &str = "envoy.overload_actions.shrink_heap";
const RESET: &str = "envoy.overload_actions.reset_high_memory_stream";
const TIMERS: &str = ", typed_config: {'@type': type.googleapis.com/\
                      envoy.config.overload.v3.ScaleTimersOverloadActionConfig, timer_scale_factors: \
                      [{timer: HTTP_DOWNSTREAM_CONNECTION_IDLE, min_timeout: 2s}]}";

#[test]
fn overload_actions_are_those_of_envoy_or_scale_timers() {
    for good in [
        action(SHRINK, ""),
        action(REDUCE, TIMERS),
        action("of-ours", TIMERS),
    ] {
        assert_eq!(overload(&good, ""), [""; 0], "{good}");
    }
    let other = TIMERS.replace("CONNECTION_IDLE", "STREAM_IDLE");
    let both = |more| action(REDUCE, TIMERS) + ", " + &action("of-ours", more);
    assert_eq!(overload(&both(&other), ""), [""; 0]);
    for (actions, words) in [
        (
            action("shrink", ""),
            "actions[0].name: Envoy has no such action",
        ),
        (
            action("envoy.overload_actions.inject_delay", ""),
            "actions[0].name: Envoy has no such action",
        ),
        (
            action("envoy.overload_actions.of-ours", TIMERS),
            "actions[0].name: names that start with `envoy.overload_actions.` are Envoy's own",
        ),
        (
            action(SHRINK, TIMERS),
            "actions[0].typed_config: doesn't go with this action",
        ),
        (
            action(REDUCE, ""),
            "actions[0].name: needs a `typed_config`",
        ),
        (
            action(RESET, ""),
            "actions[0].name: needs a `buffer_factory_config`",
        ),
        (
            both(TIMERS),
            "actions[1].typed_config.timer_scale_factors[0]: the timer is scaled by actions[0]",
        ),
    ] {
        only(&overload(&actions, ""), &[words]);
    }
    let buffers = "  buffer_factory_config: {minimum_account_to_track_power_of_two: 20}\n";
    assert_eq!(overload(&action(RESET, ""), buffers), [""; 0]);
    let point = |name| format!("  loadshed_points: [{}]\n", action(name, ""));
    assert_eq!(overload(&action("of-ours", TIMERS), &point("p")), [""; 0]);
    only(
        &overload(&action("of-ours", TIMERS), &point("of-ours")),
        &["loadshed_points[0]: an action has this name"],
    );
}

#[test]
fn layers_of_the_runtime_hold_values_and_are_somewhere() {
    let layer = |layer: &str| {
        bootstrap(&format!(
            "static_resources: {{}}\nlayered_runtime: {{layers: [{{name: a, {layer}}}]}}\n"
        ))
    };
    for good in [
        "disk_layer: {symlink_root: /srv}",
        // A fraction, which Envoy takes as a whole.
        "static_layer: {a: {b: {numerator: ~, c: [1]}}}",
        "static_layer: {a: {denominator: ~}}",
    ] {
        assert_eq!(layer(good), [""; 0], "{good}");
    }
    only(
        &layer("disk_layer: {subdirectory: a}"),
        &["layers[0].disk_layer.symlink_root: must be the directory"],
    );
    only(
        &layer("static_layer: {a: {b: ~}}"),
        &["static_layer[\"a\"][\"b\"]: a runtime value can't be nothing"],
    );
}

/// Endpoints that are asked for can't be those of whom Envoy asks.
#[test]
fn sources_are_not_behind_clusters_that_are_fetched() {
    let api = |kind: &str, cluster: &str| {
        format!(
            "{{api_type: {kind}, transport_api_version: V3, \
             grpc_services: [{{envoy_grpc: {{cluster_name: {cluster}}}}}]}}"
        )
    };
    let read = |eds: String, more: String| {
        bootstrap(&format!(
            "node: {{id: a, cluster: b}}\nstatic_resources:\n  clusters:\n  - {{name: fetched, type: EDS, \
             eds_cluster_config: {{eds_config: {{api_config_source: {eds}}}}}}}\n  - {{name: xds}}\n{more}"
        ))
    };
    let dynamic = |source: String| format!("dynamic_resources: {{{source}}}\n");
    let told = "is an EDS cluster, whose endpoints have to be fetched first";
    for (eds, more, place) in [
        (
            api("GRPC", "fetched"),
            String::new(),
            "static_resources.clusters[0].eds_cluster_config.eds_config.api_config_source.grpc_services[0]: ",
        ),
        (
            api("GRPC", "xds"),
            dynamic(format!("ads_config: {}", api("DELTA_GRPC", "fetched"))),
            "dynamic_resources.ads_config.grpc_services[0]: ",
        ),
        (
            api("GRPC", "xds"),
            dynamic(format!(
                "cds_config: {{api_config_source: {}}}",
                api("GRPC", "fetched")
            )),
            "dynamic_resources.cds_config.api_config_source.grpc_services[0]: ",
        ),
        (
            api("GRPC", "xds"),
            format!(
                "layered_runtime: {{layers: [{{name: l, rtds_layer: {{name: r, rtds_config: \
                 {{api_config_source: {}}}}}}}]}}\n",
                api("GRPC", "fetched")
            ),
            "layers[0].rtds_layer.rtds_config.api_config_source.grpc_services[0]: ",
        ),
    ] {
        only(&read(eds, more), &[place, told]);
    }
    // Which Envoy finds out when it connects.
    assert_eq!(read(api("DELTA_GRPC", "fetched"), String::new()), [""; 0]);
}
