//! Errors in the place of resources (xRFC TP3), as they go over the wire.

use std::sync::Arc;

use envoy_types::pb::envoy::service::discovery::v3::{ResourceError, ResourceName};
use envoy_types::pb::google::rpc::Status;
use prost::Message as _;

use crate::error_detail::ErrorDetail;
use crate::resource::{Name, put_field};
use crate::stream::Variant;

/// Field of `DeltaDiscoveryResponse`.
const DELTA_ERRORS: u8 = 9;

/// Field of `DiscoveryResponse`.
const SOTW_ERRORS: u8 = 7;

/// Writes the field `resource_errors`.
pub(super) fn put(to: &mut Vec<u8>, errors: &[(Name, Arc<ErrorDetail>)], variant: Variant) {
    let number = match variant {
        Variant::Delta => DELTA_ERRORS,
        Variant::Sotw => SOTW_ERRORS,
    };
    for it in errors {
        put_field(to, number, &error(it).encode_to_vec());
    }
}

/// The message for one error.
pub(crate) fn error((name, detail): &(Name, Arc<ErrorDetail>)) -> ResourceError {
    let resource_name = ResourceName {
        name: name.to_string(),
        ..ResourceName::default()
    };
    let status = Status {
        code: detail.code().into(),
        message: detail.message().to_owned(),
        ..Status::default()
    };
    ResourceError {
        resource_name: Some(resource_name),
        error_detail: Some(status),
    }
}
