use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource,
};
use envoy_types::pb::google::protobuf::Any;
use prost::Message as _;

use super::*;

#[test]
fn requests_by_hand_are_requests() {
    let frame = Request::delta("type")
        .node(&node("me", 2))
        .subscribe(b"a")
        .subscribe(b"b")
        .holds(b"c", b"1")
        .nonce(b"n")
        .error(b"bad")
        .framed();
    let length = u32::try_from(frame.len() - 5).unwrap();
    assert_eq!((frame[0], &frame[1..5]), (0, &length.to_be_bytes()[..]));
    let request = DeltaDiscoveryRequest::decode(&frame[5..]).unwrap();
    assert_eq!(request.type_url, "type");
    assert_eq!(request.resource_names_subscribe, ["a", "b"]);
    assert_eq!(request.initial_resource_versions["c"], "1");
    assert_eq!(request.response_nonce, "n");
    let error = request.error_detail.unwrap();
    assert_eq!((error.code, &*error.message), (3, "bad"));
    let named = request.node.unwrap();
    assert_eq!((&*named.id, named.extensions.len()), ("me", 2));

    let frame = Request::sotw("type")
        .node(&node("me", 0))
        .subscribe(b"a")
        .nonce(b"n")
        .accepted(b"v")
        .error(b"bad")
        .framed();
    let request = DiscoveryRequest::decode(&frame[5..]).unwrap();
    assert_eq!(request.type_url, "type");
    assert_eq!(request.resource_names, ["a"]);
    assert_eq!(
        (&*request.response_nonce, &*request.version_info),
        ("n", "v")
    );
    assert_eq!(request.error_detail.unwrap().code, 3);
    assert_eq!(request.node.unwrap().id, "me");
}

#[test]
fn an_envoys_node_has_its_size() {
    let node = node("me", 516);
    assert!(Node::decode(node.clone()).is_ok());
    assert!((50_000..70_000).contains(&node.len()), "{}", node.len());
}

#[test]
fn responses_are_walked_over() {
    let any = |value: &[u8]| Any {
        type_url: "type".to_owned(),
        value: value.to_vec(),
    };
    let response = DeltaDiscoveryResponse {
        system_version_info: "v".to_owned(),
        resources: vec![Resource {
            name: "a".to_owned(),
            version: "1".to_owned(),
            resource: Some(any(b"body")),
            ..Default::default()
        }],
        type_url: "type".to_owned(),
        removed_resources: vec!["gone".to_owned()],
        nonce: "n".to_owned(),
        ..Default::default()
    };
    let parsed = parse_delta(&response.encode_to_vec().into()).unwrap();
    assert_eq!(
        (&parsed.type_url[..], &parsed.nonce[..]),
        (&b"type"[..], &b"n"[..])
    );
    assert_eq!(parsed.removed, ["gone"]);
    let [resource] = &parsed.resources[..] else {
        panic!("{parsed:?}");
    };
    assert_eq!(resource.name, "a");
    assert_eq!(resource.version, "1");
    assert_eq!(resource.body, "body");

    let response = DiscoveryResponse {
        version_info: "v".to_owned(),
        resources: vec![any(b"body")],
        type_url: "type".to_owned(),
        nonce: "n".to_owned(),
        ..Default::default()
    };
    let parsed = parse_sotw(&response.encode_to_vec().into()).unwrap();
    assert_eq!(parsed.version, "v");
    assert_eq!(parsed.resources[0].body, "body");
    assert!(parse_sotw(&Bytes::from_static(&[0x12, 200])).is_err());
}

#[test]
fn a_frame_is_taken_once_it_is_whole() {
    let frame = framed(b"message");
    let mut buffer = BytesMut::new();
    for byte in &frame[..frame.len() - 1] {
        buffer.put_u8(*byte);
        assert_eq!(unframe(&mut buffer), None);
    }
    buffer.put_slice(&frame[frame.len() - 1..]);
    buffer.put_slice(&frame);
    assert_eq!(unframe(&mut buffer).unwrap(), "message");
    assert_eq!(unframe(&mut buffer).unwrap(), "message");
    assert!(buffer.is_empty());
}
