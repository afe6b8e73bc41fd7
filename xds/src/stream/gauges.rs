//! Which version gauges an Envoy must show for what it was sent.

use std::collections::BTreeMap;

use super::Session;
use crate::report::version_gauge;
use crate::resource::{Name, TypeUrl};

/// A gauge that shows that a response is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gauge {
    name: GaugeName,
    value: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum GaugeName {
    Is(&'static str),
    /// Of a route configuration, in whichever HTTP connection manager.
    OfRoute(Name),
}

// === impl Session ===

impl Session {
    /// The gauges that show the last response of each type, of those types that have gauges of
    /// their own. Clusters' endpoints aren't among them: they change too often to wait for.
    pub(crate) fn expected_gauges(&self) -> Vec<Gauge> {
        let mut gauges = Vec::new();
        for (type_url, state) in &self.types {
            let Some((version, names)) = &state.last_news else {
                continue;
            };
            let value = version_gauge(version);
            let whole = |name| Gauge {
                name: GaugeName::Is(name),
                value,
            };
            if *type_url == TypeUrl::CLUSTER {
                gauges.push(whole("cluster_manager.cds.version"));
            } else if *type_url == TypeUrl::LISTENER {
                gauges.push(whole("listener_manager.lds.version"));
            } else if *type_url == TypeUrl::RUNTIME {
                gauges.push(whole("runtime.version"));
            } else if *type_url == TypeUrl::ROUTE_CONFIGURATION {
                gauges.extend(names.iter().map(|name| Gauge {
                    name: GaugeName::OfRoute(name.clone()),
                    value,
                }));
            }
        }
        gauges
    }
}

// === impl Gauge ===

impl Gauge {
    /// Whether the client's gauges show it.
    pub(crate) fn is_shown_by(&self, gauges: &BTreeMap<String, u64>) -> bool {
        match &self.name {
            GaugeName::Is(name) => gauges.get(*name) == Some(&self.value),
            GaugeName::OfRoute(route) => {
                let end = format!(".rds.{route}.version");
                let mut of_route = gauges
                    .iter()
                    .filter(|(name, _)| name.starts_with("http.") && name.ends_with(&end))
                    .peekable();
                of_route.peek().is_some() && of_route.all(|(_, value)| *value == self.value)
            }
        }
    }
}
