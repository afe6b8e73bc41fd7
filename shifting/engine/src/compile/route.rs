//! Which version takes a request.

use envoy_types::pb::envoy::config::core::v3::RuntimeFractionalPercent;
use envoy_types::pb::envoy::config::route::v3::retry_policy::{
    RetryHostPredicate, retry_host_predicate,
};
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_action::{
    ClusterSpecifier, MaxStreamDuration,
};
use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::envoy::config::route::v3::weighted_cluster::ClusterWeight;
use envoy_types::pb::envoy::config::route::v3::{
    RetryPolicy, Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost, WeightedCluster,
};
use envoy_types::pb::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;
use envoy_types::pb::envoy::r#type::v3::FractionalPercent;
use envoy_types::pb::envoy::r#type::v3::fractional_percent::DenominatorType;

use super::listener::STREAM_IDLE_MS;
use super::runtime::runtime_key;
use super::wire::{any, duration, number, resource};
use super::{CompiledResource, EGRESS, Routed, cluster_name, type_url};
use crate::mesh::TrafficPolicy;
use crate::units::Ppm;

/// The routes of an Envoy: per service the stable version, and before it every other version
/// behind its runtime key, which is 0 unless the runtime layer says more. So a rollout changes
/// nothing here until its commit, and losing the layer is going back (design M4).
pub(super) fn for_envoy(services: &[Routed<'_>]) -> CompiledResource {
    let routes = RouteConfiguration {
        name: EGRESS.to_owned(),
        virtual_hosts: services.iter().map(virtual_host).collect(),
        ..RouteConfiguration::default()
    };
    resource(type_url::ROUTES, EGRESS, &routes)
}

/// A service by its name, with any port or none.
fn virtual_host(routed: &Routed<'_>) -> VirtualHost {
    let stable = &routed.split.stable;
    let versions = routed.service.versions.keys();
    let guarded = versions
        .filter(|version| *version != stable)
        .map(|version| route(routed, version, Some(runtime_key(routed.name, version))));
    VirtualHost {
        name: routed.name.to_owned(),
        domains: vec![routed.name.to_owned(), format!("{}:*", routed.name)],
        routes: guarded
            .chain(std::iter::once(route(routed, stable, None)))
            .collect(),
        ..VirtualHost::default()
    }
}

fn route(routed: &Routed<'_>, version: &str, runtime_key: Option<String>) -> Route {
    let traffic = &routed.service.traffic;
    let action = RouteAction {
        cluster_specifier: Some(ClusterSpecifier::Cluster(cluster_name(
            routed.name,
            version,
        ))),
        timeout: duration(traffic.timeout_ms),
        // A request that may take longer than the listener's idle limit may also be idle longer.
        idle_timeout: duration(traffic.timeout_ms).filter(|_| traffic.timeout_ms > STREAM_IDLE_MS),
        retry_policy: retry_policy(traffic),
        ..RouteAction::default()
    };
    Route {
        r#match: Some(RouteMatch {
            runtime_fraction: runtime_key.map(zero_unless_the_layer_says_more),
            ..everything()
        }),
        action: Some(Action::Route(action)),
        ..Route::default()
    }
}

fn zero_unless_the_layer_says_more(runtime_key: String) -> RuntimeFractionalPercent {
    RuntimeFractionalPercent {
        default_value: Some(FractionalPercent {
            numerator: 0,
            denominator: DenominatorType::Million.into(),
        }),
        runtime_key,
    }
}

/// One retry, on another host if there is one, of what certainly never reached the application;
/// none with a budget of 0%.
fn retry_policy(traffic: &TrafficPolicy) -> Option<RetryPolicy> {
    if traffic.retry_budget == Ppm::ZERO {
        return None;
    }
    Some(RetryPolicy {
        retry_on: "connect-failure,refused-stream".to_owned(),
        num_retries: number(1),
        retry_host_predicate: vec![RetryHostPredicate {
            name: "envoy.retry_host_predicates.previous_hosts".to_owned(),
            config_type: Some(retry_host_predicate::ConfigType::TypedConfig(any(
                &PreviousHostsPredicate::default(),
            ))),
        }],
        host_selection_retry_max_attempts: 3,
        ..RetryPolicy::default()
    })
}

/// The routes of one service for gRPC clients: they have no runtime layer, so the split stands
/// here, and nothing takes it back when we die. A version with nothing is left out, because a
/// client holds connections to everything that is named.
pub(super) fn for_grpc(routed: &Routed<'_>) -> CompiledResource {
    let clusters = routed
        .shares()
        .into_iter()
        .filter(|(_, share)| *share > Ppm::ZERO)
        .map(|(version, share)| ClusterWeight {
            name: cluster_name(routed.name, version),
            weight: number(share.get()),
            ..ClusterWeight::default()
        })
        .collect();
    let action = RouteAction {
        cluster_specifier: Some(ClusterSpecifier::WeightedClusters(WeightedCluster {
            clusters,
            ..WeightedCluster::default()
        })),
        // What a gRPC client takes for the timeout of a route.
        max_stream_duration: Some(MaxStreamDuration {
            max_stream_duration: duration(routed.service.traffic.timeout_ms),
            ..MaxStreamDuration::default()
        }),
        ..RouteAction::default()
    };
    let routes = RouteConfiguration {
        name: routed.name.to_owned(),
        virtual_hosts: vec![VirtualHost {
            name: routed.name.to_owned(),
            // The client came here by the service's name already; its authority may differ.
            domains: vec!["*".to_owned()],
            routes: vec![Route {
                r#match: Some(everything()),
                action: Some(Action::Route(action)),
                ..Route::default()
            }],
            ..VirtualHost::default()
        }],
        ..RouteConfiguration::default()
    };
    resource(type_url::ROUTES, routed.name, &routes)
}

fn everything() -> RouteMatch {
    RouteMatch {
        path_specifier: Some(PathSpecifier::Prefix("/".to_owned())),
        ..RouteMatch::default()
    }
}
