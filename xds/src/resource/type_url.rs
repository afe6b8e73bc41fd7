//! The type of a resource.

use std::fmt;
use std::sync::Arc;

/// A resource type's URL, such as `type.googleapis.com/envoy.config.cluster.v3.Cluster`.
///
/// The types that this crate understands cost nothing to clone or compare; any other is carried
/// as it is. The order of types is the order in which they are sent (xDS protocol rule O1):
/// clusters, endpoints, secrets, listeners, scopes, routes, virtual hosts, extensions, what isn't
/// understood, the runtime layer.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TypeUrl(Repr);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Repr {
    Cluster,
    ClusterLoadAssignment,
    Secret,
    Listener,
    ScopedRouteConfiguration,
    RouteConfiguration,
    VirtualHost,
    ExtensionConfig,
    Other(Arc<str>),
    Runtime,
}

const CLUSTER: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
const CLUSTER_LOAD_ASSIGNMENT: &str =
    "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
const ROUTE_CONFIGURATION: &str = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";
const SECRET: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";
const SCOPED_ROUTE_CONFIGURATION: &str =
    "type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration";
const VIRTUAL_HOST: &str = "type.googleapis.com/envoy.config.route.v3.VirtualHost";
const EXTENSION_CONFIG: &str = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig";
const RUNTIME: &str = "type.googleapis.com/envoy.service.runtime.v3.Runtime";

// === impl TypeUrl ===

impl TypeUrl {
    /// CDS.
    pub const CLUSTER: TypeUrl = TypeUrl(Repr::Cluster);
    /// EDS.
    pub const CLUSTER_LOAD_ASSIGNMENT: TypeUrl = TypeUrl(Repr::ClusterLoadAssignment);
    /// LDS.
    pub const LISTENER: TypeUrl = TypeUrl(Repr::Listener);
    /// RDS.
    pub const ROUTE_CONFIGURATION: TypeUrl = TypeUrl(Repr::RouteConfiguration);
    /// SDS.
    pub const SECRET: TypeUrl = TypeUrl(Repr::Secret);
    /// SRDS.
    pub const SCOPED_ROUTE_CONFIGURATION: TypeUrl = TypeUrl(Repr::ScopedRouteConfiguration);
    /// VHDS.
    pub const VIRTUAL_HOST: TypeUrl = TypeUrl(Repr::VirtualHost);
    /// ECDS.
    pub const EXTENSION_CONFIG: TypeUrl = TypeUrl(Repr::ExtensionConfig);
    /// RTDS.
    pub const RUNTIME: TypeUrl = TypeUrl(Repr::Runtime);

    /// The type with this URL.
    pub fn new(url: &str) -> Self {
        Self(match url {
            CLUSTER => Repr::Cluster,
            CLUSTER_LOAD_ASSIGNMENT => Repr::ClusterLoadAssignment,
            LISTENER => Repr::Listener,
            ROUTE_CONFIGURATION => Repr::RouteConfiguration,
            SECRET => Repr::Secret,
            SCOPED_ROUTE_CONFIGURATION => Repr::ScopedRouteConfiguration,
            VIRTUAL_HOST => Repr::VirtualHost,
            EXTENSION_CONFIG => Repr::ExtensionConfig,
            RUNTIME => Repr::Runtime,
            other => Repr::Other(Arc::from(other)),
        })
    }

    /// The whole URL.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Repr::Cluster => CLUSTER,
            Repr::ClusterLoadAssignment => CLUSTER_LOAD_ASSIGNMENT,
            Repr::Listener => LISTENER,
            Repr::RouteConfiguration => ROUTE_CONFIGURATION,
            Repr::Secret => SECRET,
            Repr::ScopedRouteConfiguration => SCOPED_ROUTE_CONFIGURATION,
            Repr::VirtualHost => VIRTUAL_HOST,
            Repr::ExtensionConfig => EXTENSION_CONFIG,
            Repr::Runtime => RUNTIME,
            Repr::Other(url) => url,
        }
    }

    /// What people call it: `cds`, `eds`, `lds`, `rds`, and so on; the whole URL of any other.
    pub fn short_name(&self) -> &str {
        match &self.0 {
            Repr::Cluster => "cds",
            Repr::ClusterLoadAssignment => "eds",
            Repr::Listener => "lds",
            Repr::RouteConfiguration => "rds",
            Repr::Secret => "sds",
            Repr::ScopedRouteConfiguration => "srds",
            Repr::VirtualHost => "vhds",
            Repr::ExtensionConfig => "ecds",
            Repr::Runtime => "rtds",
            Repr::Other(url) => url,
        }
    }

    /// Whether a state-of-the-world response must hold every resource of the type, because what
    /// it lacks counts as deleted (rule S1). It is also where an empty list of names means all:
    /// Envoy asks for scopes, too, without a name, and takes each response for all of them.
    pub(crate) fn is_full_state(&self) -> bool {
        matches!(
            self.0,
            Repr::Cluster | Repr::Listener | Repr::ScopedRouteConfiguration
        )
    }

    /// Whether one bad resource in a response spoils the others: Envoy takes some, and may then say
    /// nothing at all (design M12).
    pub(crate) fn is_spoilt_by_one(&self) -> bool {
        matches!(self.0, Repr::Cluster | Repr::Listener)
    }

    /// The most resources of the type in one response. Envoy rejects a runtime response that
    /// doesn't carry exactly one (rule D3c).
    pub(crate) fn per_response_max(&self) -> usize {
        match self.0 {
            Repr::Runtime => 1,
            _ => usize::MAX,
        }
    }
}

impl fmt::Display for TypeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.short_name())
    }
}

impl fmt::Debug for TypeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.short_name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_survives_the_round_trip_and_types_sort_in_sending_order() {
        let types = [
            TypeUrl::CLUSTER,
            TypeUrl::CLUSTER_LOAD_ASSIGNMENT,
            TypeUrl::SECRET,
            TypeUrl::LISTENER,
            TypeUrl::SCOPED_ROUTE_CONFIGURATION,
            TypeUrl::ROUTE_CONFIGURATION,
            TypeUrl::VIRTUAL_HOST,
            TypeUrl::EXTENSION_CONFIG,
            TypeUrl::new("type.googleapis.com/acme.Thing"),
            TypeUrl::RUNTIME,
        ];
        for type_url in &types {
            assert_eq!(&TypeUrl::new(type_url.as_str()), type_url);
        }
        assert!(types.is_sorted());
        assert_eq!(TypeUrl::LISTENER.to_string(), "lds");
    }
}
