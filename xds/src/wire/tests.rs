//! Our bytes against the generated messages.

use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryResponse, DiscoveryResponse};
use envoy_types::pb::google::protobuf::Any;
use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::ErrorDetail;
use crate::resource::{Name, Resource, TypeUrl};

fn message(framed: &Framed) -> Vec<u8> {
    let whole = [framed.head.as_ref(), framed.body.as_ref()].concat();
    let (prefix, message) = whole.split_at(PREFIX_BYTES);
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    assert_eq!(prefix, [[0].as_slice(), &length].concat());
    message.to_vec()
}

/// What is wrapped is bytes in bytes, whose fields may come in any order.
fn in_order_of_fields(any: &mut Any) {
    if any.type_url == PbResource::type_url() {
        let wrapped = PbResource::decode(any.value.as_slice()).unwrap();
        any.value = wrapped.encode_to_vec();
    }
}

fn check(framer: &Framer, response: &Response) {
    let framed = framer.frame(response.clone()).unwrap();
    match response.variant {
        Variant::Delta => {
            let ours = DeltaDiscoveryResponse::decode(message(&framed).as_slice()).unwrap();
            assert_eq!(ours, oracle::delta(response.clone(), "replica-1"));
        }
        Variant::Sotw => {
            let mut ours = DiscoveryResponse::decode(message(&framed).as_slice()).unwrap();
            ours.resources.iter_mut().for_each(in_order_of_fields);
            assert_eq!(ours, oracle::sotw(response.clone(), "replica-1"));
        }
    }
    // The second stream that gets the same shares the bytes.
    if response.items.len() > 1 && !framed.body.is_empty() {
        let again = framer.frame(response.clone()).unwrap();
        assert_eq!(again.body.as_ptr(), framed.body.as_ptr());
    }
}

prop_compose! {
    fn a_resource()(
        name in "[a-z/.é]{1,200}",
        length in prop_oneof![0..200_usize, 0..20_000_usize],
        fill in any::<u8>(),
        ttl in proptest::option::of(1..u64::MAX),
        runtime in any::<bool>(),
    ) -> Arc<Resource> {
        let resource = if runtime {
            let runtime = crate::testing::runtime(&name, u32::from(fill));
            match ttl {
                Some(ms) => runtime.with_ttl(Duration::from_millis(ms)).unwrap(),
                None => runtime,
            }
        } else {
            let type_url = TypeUrl::new("type.googleapis.com/acme.Thing");
            let thing = Resource::new(type_url, &name, vec![fill; length].into()).unwrap();
            match fill {
                0..64 => thing.with_version(&name).unwrap_or_else(|_| crate::testing::virtual_host("rt/a", "b")),
                64..128 => {
                    let aliases = [&*format!("rt/{name}"), "rt/other"];
                    crate::testing::virtual_host("rt/a", "b").with_aliases(aliases).unwrap()
                }
                _ => thing,
            }
        };
        Arc::new(resource)
    }
}

prop_compose! {
    fn a_response()(
        delta in any::<bool>(),
        items in proptest::collection::vec((a_resource(), any::<bool>()), 0..6),
        removed in proptest::collection::vec("[a-z]{1,200}", 0..4),
        unresolved in proptest::collection::vec("[a-z/]{1,200}", 0..3),
        errors in proptest::collection::vec(("[a-z]{1,200}", 1..17_i32, ".{0,200}"), 0..3),
        nonce in any::<u64>(),
        version in "[0-9a-f]{0,16}",
    ) -> Response {
        let item = |(resource, flag)| Item {
            resource,
            renewal: flag && delta,
            wrapped: flag && !delta,
        };
        let names = |names: Vec<String>| names.into_iter().map(Arc::from).collect::<Vec<Name>>();
        let (removed, unresolved) = (names(removed), names(unresolved));
        let error = |(name, code, message): (String, i32, String)| {
            let detail = ErrorDetail::new(tonic::Code::from(code), &message).unwrap();
            (Name::from(name), Arc::new(detail))
        };
        let errors = errors.into_iter().map(error).collect();
        Response {
            variant: if delta { Variant::Delta } else { Variant::Sotw },
            type_url: TypeUrl::RUNTIME,
            nonce,
            version: Arc::from(version),
            items: items.into_iter().map(item).collect(),
            removed: if delta { removed } else { Vec::new() },
            unresolved: if delta { unresolved } else { Vec::new() },
            errors,
        }
    }
}

proptest! {
    #[test]
    fn every_message_decodes_to_what_the_generated_one_is(
        responses in proptest::collection::vec(a_response(), 1..4)
    ) {
        let framer = Framer::new("replica-1");
        for response in &responses {
            check(&framer, response);
        }
    }
}

#[test]
fn a_large_resource_is_sent_as_the_slice_that_it_is() {
    let body = vec![1; COPIED_BYTES_MAX + 1];
    let type_url = TypeUrl::new("type.googleapis.com/acme.Thing");
    let resource = Arc::new(Resource::new(type_url.clone(), "a", body.into()).unwrap());
    for variant in [Variant::Delta, Variant::Sotw] {
        let response = Response {
            variant,
            type_url: type_url.clone(),
            nonce: 1,
            version: Arc::from("v"),
            items: [Item::plain(resource.clone())].into(),
            removed: Vec::new(),
            unresolved: Vec::new(),
            errors: Vec::new(),
        };
        let framer = Framer::new("replica-1");
        check(&framer, &response);
        let framed = framer.frame(response).unwrap();
        let end = resource.body().as_ptr_range().end;
        assert_eq!(framed.body.as_ptr_range().end, end, "{variant:?}");
        assert!(framed.head.len() < 200);
    }
}

#[test]
fn many_small_resources_travel_in_the_head() {
    let items = ["a", "b"].map(|name| Item {
        resource: Arc::new(crate::testing::cluster(name, 1)),
        renewal: false,
        wrapped: false,
    });
    let response = Response {
        variant: Variant::Delta,
        type_url: TypeUrl::CLUSTER,
        nonce: 7,
        version: Arc::from("v"),
        items: items.into(),
        removed: vec![Arc::from("gone")],
        unresolved: Vec::new(),
        errors: Vec::new(),
    };
    let framer = Framer::new("replica-1");
    check(&framer, &response);
    assert!(framer.frame(response).unwrap().body.is_empty());
}
