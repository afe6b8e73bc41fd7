//! The rules of the schema, on messages as embedders build them.
#![allow(clippy::unwrap_used, missing_docs)]

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::core::v3::{HeaderValue, RuntimeFractionalPercent};
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, LbEndpoint, LocalityLbEndpoints,
};
use envoy_types::pb::envoy::config::listener::v3::{ApiListener, Listener};
use envoy_types::pb::envoy::r#type::v3::FractionalPercent;
use envoy_types::pb::google::protobuf::{Any, Duration, UInt32Value};
use prost::Message;
use prost_reflect::DynamicMessage;
use tidegate_xds::config::{encode, pool, validate};

fn violations(name: &str, message: &impl Message) -> Vec<String> {
    let descriptor = pool().get_message_by_name(name).unwrap();
    let message = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice()).unwrap();
    validate(&message)
        .into_iter()
        .map(|v| format!("{}: {} ({})", v.path, v.message, v.rule))
        .collect()
}

fn cluster() -> Cluster {
    Cluster {
        name: "a".into(),
        ..Cluster::default()
    }
}

const CLUSTER: &str = "envoy.config.cluster.v3.Cluster";

#[test]
fn a_good_message_has_no_violations() {
    assert_eq!(violations(CLUSTER, &cluster()), [""; 0]);
}

#[test]
fn every_breach_is_found_with_its_path() {
    let bad = Cluster {
        connect_timeout: Some(Duration {
            seconds: 0,
            nanos: 0,
        }),
        lb_policy: 99,
        load_assignment: Some(ClusterLoadAssignment {
            cluster_name: String::new(),
            endpoints: vec![LocalityLbEndpoints {
                priority: 129,
                lb_endpoints: vec![LbEndpoint {
                    load_balancing_weight: Some(UInt32Value { value: 0 }),
                    ..LbEndpoint::default()
                }],
                ..LocalityLbEndpoints::default()
            }],
            ..ClusterLoadAssignment::default()
        }),
        ..Cluster::default()
    };
    assert_eq!(
        violations(CLUSTER, &bad),
        [
            "name: must not be empty (string.min_len)",
            "connect_timeout: must be greater than 0s, is 0s (duration.gt)",
            "lb_policy: 99 is no value of it (enum.defined_only)",
            "load_assignment.endpoints[0].lb_endpoints[0]: \
             needs an `endpoint` with an `address` (envoy.address)",
            "load_assignment.cluster_name: must not be empty (string.min_len)",
            "load_assignment.endpoints[0].priority: must be at most 128, is 129 (uint32.lte)",
            "load_assignment.endpoints[0].lb_endpoints[0].load_balancing_weight: \
             must be at least 1, is 0 (uint32.gte)",
        ]
    );
}

#[test]
fn header_names_required_messages_and_oneofs() {
    let header = HeaderValue {
        key: "a\nb".into(),
        ..HeaderValue::default()
    };
    let found = violations("envoy.config.core.v3.HeaderValue", &header);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("string.well_known_regex"), "{found:?}");

    let fraction = RuntimeFractionalPercent::default();
    assert_eq!(
        violations("envoy.config.core.v3.RuntimeFractionalPercent", &fraction),
        ["default_value: is required (message.required)"]
    );
    let fraction = RuntimeFractionalPercent {
        default_value: Some(FractionalPercent {
            numerator: 1,
            denominator: 7,
        }),
        ..RuntimeFractionalPercent::default()
    };
    assert_eq!(
        violations("envoy.config.core.v3.RuntimeFractionalPercent", &fraction),
        ["default_value.denominator: 7 is no value of it (enum.defined_only)"]
    );
    let address = envoy_types::pb::envoy::config::core::v3::Address::default();
    let found = violations("envoy.config.core.v3.Address", &address);
    assert!(found[0].ends_with("(oneof.required)"), "{found:?}");
}

#[test]
fn what_is_in_an_any_is_checked_unknown_types_and_bad_bytes_are_told() {
    let listener = |type_url: &str, value: Vec<u8>| Listener {
        name: "l".into(),
        api_listener: Some(ApiListener {
            api_listener: Some(Any {
                type_url: type_url.into(),
                value,
            }),
        }),
        ..Listener::default()
    };
    let check = |type_url: &str, value| {
        violations(
            "envoy.config.listener.v3.Listener",
            &listener(type_url, value),
        )
    };
    let url = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
    assert_eq!(
        check(url, Vec::new()),
        ["api_listener.api_listener.name: must not be empty (string.min_len)"]
    );
    assert_eq!(
        check("type.googleapis.com/acme.Thing", Vec::new()),
        ["api_listener.api_listener: unknown type `type.googleapis.com/acme.Thing` (any.type)"]
    );
    let found = check(url, vec![0xff; 3]);
    assert_eq!(found.len(), 1);
    assert!(found[0].ends_with("(any.value)"), "{found:?}");
}

/// Every message of Envoy, empty: each plan of rules is made once, and none of them panics; those
/// with a name that must not be empty say so.
#[test]
fn the_rules_of_all_messages_are_understood() {
    let (mut messages, mut refused) = (0, 0);
    for descriptor in pool().all_messages() {
        if descriptor.full_name().starts_with("envoy.") && !descriptor.is_map_entry() {
            messages += 1;
            let found = validate(&DynamicMessage::new(descriptor));
            refused += usize::from(!found.is_empty());
        }
    }
    assert!(messages > 1_300, "{messages}");
    assert!(refused > 300, "{refused}");
}

#[test]
fn the_encoding_is_the_one_that_the_generated_types_decode() {
    let message = Cluster {
        connect_timeout: Some(Duration {
            seconds: -1,
            nanos: -5,
        }),
        lb_policy: -1,
        ..cluster()
    };
    let descriptor = pool().get_message_by_name(CLUSTER).unwrap();
    let dynamic = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice()).unwrap();
    assert_eq!(encode(&dynamic), message.encode_to_vec());
    assert_eq!(Cluster::decode(encode(&dynamic)).unwrap(), message);
}
