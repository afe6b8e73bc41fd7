//! How a client speaks.

use tidegate_xds::stream::Variant;

use crate::TypeUrl;

/// How a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mode {
    pub(crate) variant: Variant,
    /// All types on one stream, or each on one of its own.
    pub(crate) aggregated: bool,
}

// === impl Mode ===

impl Mode {
    pub(crate) fn delta_ads() -> Self {
        Self {
            variant: Variant::Delta,
            aggregated: true,
        }
    }

    pub(crate) fn delta_per_type() -> Self {
        Self {
            variant: Variant::Delta,
            aggregated: false,
        }
    }

    pub(crate) fn sotw_ads() -> Self {
        Self {
            variant: Variant::Sotw,
            aggregated: true,
        }
    }

    pub(crate) fn sotw_per_type() -> Self {
        Self {
            variant: Variant::Sotw,
            aggregated: false,
        }
    }

    pub(crate) fn is_delta(self) -> bool {
        self.variant == Variant::Delta
    }

    /// One of two expectations.
    pub(crate) fn either<T>(self, delta: T, sotw: T) -> T {
        if self.is_delta() { delta } else { sotw }
    }

    /// The gRPC method that serves a type.
    pub(crate) fn path(self, type_url: &TypeUrl) -> String {
        let (service, resources) = if self.aggregated {
            (
                "discovery.v3.AggregatedDiscoveryService",
                "AggregatedResources",
            )
        } else {
            match type_url.short_name() {
                "cds" => ("cluster.v3.ClusterDiscoveryService", "Clusters"),
                "eds" => ("endpoint.v3.EndpointDiscoveryService", "Endpoints"),
                "lds" => ("listener.v3.ListenerDiscoveryService", "Listeners"),
                "rds" => ("route.v3.RouteDiscoveryService", "Routes"),
                "vhds" => ("route.v3.VirtualHostDiscoveryService", "VirtualHosts"),
                "rtds" => ("runtime.v3.RuntimeDiscoveryService", "Runtime"),
                "ecds" => (
                    "extension.v3.ExtensionConfigDiscoveryService",
                    "ExtensionConfigs",
                ),
                other => panic!("no rule here is about {other}"),
            }
        };
        let method = self.either("Delta", "Stream");
        format!("/envoy.service.{service}/{method}{resources}")
    }
}
