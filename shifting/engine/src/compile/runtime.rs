//! The runtime layer: the canaries' shares, and the only resource with a time to live.
//!
//! The layer is always there, empty without a rollout, so that a sidecar never waits for it and
//! "no canary" is said, not left unsaid. It has a time to live only while it raises some share
//! above 0: a layer of zeros needs no renewal, and its expiry would change nothing. With several
//! rollouts at once the shortest time counts for all of them, because they expire together.

use std::collections::BTreeMap;

use prost_types::value::Kind;
use prost_types::{Struct, Value};

use super::wire::resource;
use super::{CompiledResource, Routed, type_url};
use crate::units::Ppm;

/// Name of the runtime layer; sidecars name it in their bootstrap.
pub const LAYER: &str = "tidegate";

/// The key of a version's share: `shift.SERVICE.VERSION`. Names have no dots, so no two versions
/// share a key.
#[must_use]
pub fn runtime_key(service: &str, version: &str) -> String {
    format!("shift.{service}.{version}")
}

/// `envoy.service.runtime.v3.Runtime` with an ordered map, so that its bytes are always the same.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Runtime {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(message, optional, tag = "2")]
    pub(super) layer: Option<Struct>,
}

pub(super) fn layer(services: &[Routed<'_>]) -> CompiledResource {
    let canaries = || {
        services
            .iter()
            .filter_map(|routed| Some((routed.name, routed.split.canary.as_ref()?)))
    };
    let runtime = Runtime {
        name: LAYER.to_owned(),
        layer: Some(Struct {
            fields: canaries()
                .map(|(service, canary)| {
                    (
                        runtime_key(service, &canary.version),
                        fraction(canary.share),
                    )
                })
                .collect(),
        }),
    };
    CompiledResource {
        ttl_ms: canaries()
            .filter(|(_, canary)| canary.share > Ppm::ZERO)
            .map(|(_, canary)| canary.ttl_ms)
            .min(),
        ..resource(type_url::RUNTIME, LAYER, &runtime)
    }
}

/// As a route's `runtime_fraction` reads it.
fn fraction(share: Ppm) -> Value {
    let field = |kind| Value { kind: Some(kind) };
    let fields = BTreeMap::from([
        (
            "numerator".to_owned(),
            field(Kind::NumberValue(f64::from(share.get()))),
        ),
        (
            "denominator".to_owned(),
            field(Kind::StringValue("MILLION".to_owned())),
        ),
    ]);
    field(Kind::StructValue(Struct { fields }))
}
