//! What a fleet's sidecars are configured with: the part of a mesh whose change is a change of
//! configuration, and walks the ladder (design §1.1, M5).
//!
//! Not part of it are hosts and versions. Hosts come and go as a service is scaled, and a new
//! version brings a cluster to which nothing leads until a traffic rollout opens its share: that
//! rollout's own first phase finds whoever rejects it. Nor are objectives, ladders and waits, of
//! which sidecars know nothing.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Tier;
use super::model::{ListenerAddress, Mesh, Protocol, TrafficPolicy, content_hash};

/// What a fleet's sidecars are configured with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Where each of them listens.
    pub listener: ListenerAddress,
    /// The services that they reach, by name.
    pub services: BTreeMap<String, ServiceSettings>,
}

/// How a fleet's sidecars treat one service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceSettings {
    /// How they speak to its hosts.
    pub protocol: Protocol,
    /// Bounds on what they do to its hosts.
    pub traffic: TrafficPolicy,
}

// === impl Settings ===

impl Settings {
    /// As a mesh declares them; `None` for a fleet that it does not declare.
    #[must_use]
    pub fn of(mesh: &Mesh, fleet: &str) -> Option<Self> {
        let services = mesh.services_of(fleet).map(|(name, service)| {
            let settings = ServiceSettings {
                protocol: service.protocol,
                traffic: service.traffic.clone(),
            };
            (name.to_owned(), settings)
        });
        Some(Self {
            listener: mesh.fleets.get(fleet)?.listener,
            services: services.collect(),
        })
    }

    /// The content hash (16 hex digits): equal settings of a fleet are the equal revision on every
    /// replica and after every restart.
    #[must_use]
    pub fn revision(&self, fleet: &str) -> String {
        content_hash(&(fleet, self))
    }

    /// The mesh as this fleet's sidecars are to see it: with these settings, and the hosts and
    /// versions of `mesh`. A service that is not among them is out of the fleet's reach.
    #[must_use]
    pub fn over(&self, mesh: &Mesh, fleet: &str) -> Mesh {
        let mut mesh = mesh.clone();
        if let Some(declared) = mesh.fleets.get_mut(fleet) {
            declared.listener = self.listener;
        }
        for (name, service) in &mut mesh.services {
            match self.services.get(name) {
                Some(settings) => {
                    service.protocol = settings.protocol;
                    service.traffic = settings.traffic.clone();
                }
                None => {
                    service.fleets.remove(fleet);
                }
            }
        }
        mesh
    }

    /// The services whose requests tell `self` from `other`: those that are treated differently,
    /// or all of them when the listener differs.
    #[must_use]
    pub fn touched(&self, other: &Settings) -> BTreeSet<String> {
        let names = self.services.keys().chain(other.services.keys());
        let differs = |name: &&String| {
            self.listener != other.listener || self.services.get(*name) != other.services.get(*name)
        };
        names.filter(differs).cloned().collect()
    }

    /// The next step on the way to `declared`: what it changes of the services of the least critical
    /// tier, `tier` of which differs; the listener, which every service depends on, comes last.
    #[must_use]
    pub fn step_to(&self, declared: &Settings, tier: impl Fn(&str) -> Tier) -> Settings {
        let names = self.services.keys().chain(declared.services.keys());
        let differs = |name: &&String| self.services.get(*name) != declared.services.get(*name);
        let changed: BTreeSet<&String> = names.filter(differs).collect();
        let Some(least) = changed.iter().map(|name| tier(name)).max() else {
            return declared.clone();
        };
        let mut step = self.clone();
        for name in changed.into_iter().filter(|name| tier(name) == least) {
            match declared.services.get(name) {
                Some(settings) => _ = step.services.insert(name.clone(), settings.clone()),
                None => _ = step.services.remove(name),
            }
        }
        step
    }

    /// What `next` changes, one sentence each, such as `checkout: traffic.timeout_ms 15000 → 10000`.
    #[must_use]
    pub fn changes(&self, next: &Settings) -> Vec<String> {
        let mut changes = Vec::new();
        if self.listener != next.listener {
            let place = |at: &ListenerAddress| format!("{}:{}", at.address, at.port);
            changes.push(format!(
                "listener {} → {}",
                place(&self.listener),
                place(&next.listener)
            ));
        }
        for name in self.touched(next) {
            match (self.services.get(&name), next.services.get(&name)) {
                (Some(before), Some(after)) => {
                    let mut fields = Vec::new();
                    differences("", &value(before), &value(after), &mut fields);
                    changes.extend(fields.into_iter().map(|field| format!("{name}: {field}")));
                }
                (None, Some(_)) => changes.push(format!("{name}: within reach from now on")),
                (_, None) => changes.push(format!("{name}: out of reach from now on")),
            }
        }
        changes
    }
}

fn value(settings: &ServiceSettings) -> serde_json::Value {
    // Plain data; if it could not be written, both sides would be empty and nothing be listed.
    serde_json::to_value(settings).unwrap_or_default()
}

/// `path before → after` for every single value that differs.
fn differences(
    path: &str,
    before: &serde_json::Value,
    after: &serde_json::Value,
    fields: &mut Vec<String>,
) {
    use serde_json::Value;
    if before == after {
        return;
    }
    let (Value::Object(was), Value::Object(is)) = (before, after) else {
        fields.push(format!("{path} {before} → {after}"));
        return;
    };
    let names: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
    for name in names {
        let dot = if path.is_empty() { "" } else { "." };
        let of = |map: &serde_json::Map<String, Value>| map.get(name).cloned().unwrap_or_default();
        differences(&format!("{path}{dot}{name}"), &of(was), &of(is), fields);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::{ClientKind, initial_splits, view};
    use crate::rollout::fixture::mesh;

    fn changed(change: impl FnOnce(&mut Mesh)) -> Mesh {
        let mut mesh = mesh();
        change(&mut mesh);
        mesh
    }

    fn service(mesh: &mut Mesh) -> &mut crate::mesh::Service {
        mesh.services.get_mut("checkout").unwrap()
    }

    #[test]
    fn hosts_versions_and_objectives_are_no_settings() {
        let settings = Settings::of(&mesh(), "web").unwrap();
        let other = changed(|mesh| {
            let service = service(mesh);
            service.versions.get_mut("v2").unwrap().hosts.truncate(1);
            let v2 = service.versions["v2"].clone();
            service.versions.insert("v9".to_owned(), v2);
            service.rollout.bake_ms += 1;
            service.slo.latency = None;
        });
        assert_eq!(Settings::of(&other, "web").unwrap(), settings);
        assert!(Settings::of(&other, "nowhere").is_none());
    }

    #[test]
    fn what_changes_is_listed_value_by_value() {
        let before = Settings::of(&mesh(), "web").unwrap();
        let next = changed(|mesh| {
            mesh.fleets.get_mut("web").unwrap().listener.port = 8080;
            service(mesh).traffic.timeout_ms = 10;
            service(mesh).traffic.circuit_breakers.max_requests = 7;
        });
        let after = Settings::of(&next, "web").unwrap();
        assert_eq!(
            before.changes(&after),
            [
                "listener 127.0.0.1:0 → 127.0.0.1:8080",
                "checkout: traffic.circuit_breakers.max_requests 4096 → 7",
                "checkout: traffic.timeout_ms 15000 → 10",
            ]
        );
        assert_ne!(before.revision("web"), after.revision("web"));
        assert_ne!(before.revision("web"), before.revision("other"));
        assert_eq!(before.changes(&before), [] as [String; 0]);
    }

    #[test]
    fn settings_over_a_mesh_give_the_views_of_the_mesh_that_they_came_from() {
        let before = mesh();
        let settings = Settings::of(&before, "web").unwrap();
        let next = changed(|mesh| {
            mesh.fleets.get_mut("web").unwrap().listener.port = 8080;
            service(mesh).traffic.timeout_ms = 10;
            let new = service(mesh).clone();
            mesh.services.insert("cart".to_owned(), new);
        });
        let splits = initial_splits(&next);
        let of = |mesh: &Mesh| view(mesh, "web", ClientKind::Envoy, &splits).unwrap();
        assert_eq!(of(&settings.over(&next, "web")), of(&before));
        assert_ne!(of(&next), of(&before));
    }
}
