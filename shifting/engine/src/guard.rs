//! What is refused before it can do harm: a mesh that takes away what is in use.
//!
//! Envoy accepts an empty cluster and a route to nothing, and fails requests within a second
//! (design M11), so this has to stand here. A source's failure or silence is not a deletion
//! (invariant S12).
//!
//! What is deliberately absent: removal of a service that is really unused. It needs the
//! sidecars' own counters over a window, in stages.

use std::collections::BTreeMap;

use crate::mesh::Mesh;

/// What a mesh would take away.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Services, versions, hosts or fleets that are in use would vanish. One sentence for each,
    /// all of them.
    #[error("{}", .0.join("; "))]
    InUse(Vec<String>),
}

/// For each service the versions that may not vanish.
pub type InUse = BTreeMap<String, BTreeMap<String, Need>>;

/// What is needed of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// Least hosts. At least 1.
    pub hosts: usize,
    /// Why, after "which".
    pub why: String,
}

// === impl Need ===

impl Need {
    /// At least so many hosts.
    #[must_use]
    pub fn hosts(hosts: usize, why: &str) -> Self {
        Self {
            hosts,
            why: why.to_owned(),
        }
    }
}

/// Whether `next` may follow `current` while `in_use` is needed.
///
/// # Errors
/// Everything that `next` would take away, at once.
pub fn check(current: &Mesh, in_use: &InUse, next: &Mesh) -> Result<(), Violation> {
    let mut violations = Vec::new();
    for (name, versions) in in_use {
        let Some(service) = next.services.get(name) else {
            violations.push(format!(
                "service `{name}` is in force and would vanish, and nothing can tell yet that it is \
                 unused; declare it again"
            ));
            continue;
        };
        for (version, need) in versions {
            let why = &need.why;
            match service.versions.get(version).map(|v| v.hosts.len()) {
                None => violations.push(format!(
                    "service `{name}` would lose version `{version}`, which {why}; \
                     keep it declared until then"
                )),
                Some(0) => violations.push(format!(
                    "version `{version}` of service `{name}`, which {why}, would have no hosts; \
                     declare at least one"
                )),
                Some(hosts) if hosts < need.hosts => violations.push(format!(
                    "version `{version}` of service `{name}`, which {why}, would have {hosts} \
                     hosts and needs {}; keep them declared until then",
                    need.hosts
                )),
                Some(_) => {}
            }
        }
        let before = current.services.get(name).map(|s| &s.fleets);
        for fleet in before.into_iter().flatten() {
            if !next.fleets.contains_key(fleet) {
                violations.push(format!(
                    "fleet `{fleet}` reaches service `{name}` and would vanish with its \
                     listener; declare it again"
                ));
            } else if !service.fleets.contains(fleet) {
                violations.push(format!(
                    "fleet `{fleet}` would no longer reach service `{name}`, which carries \
                     traffic; keep it in the service's fleets"
                ));
            }
        }
    }
    if violations.is_empty() {
        Ok(())
    } else {
        Err(Violation::InUse(violations))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::fixture::mesh;

    fn in_use() -> InUse {
        let versions = BTreeMap::from([
            ("v1".to_owned(), Need::hosts(26, "carries its traffic")),
            ("v2".to_owned(), Need::hosts(1, "takes part in a rollout")),
        ]);
        InUse::from([("checkout".to_owned(), versions)])
    }

    #[test]
    fn the_same_mesh_is_fine() {
        assert_eq!(check(&mesh(), &in_use(), &mesh()), Ok(()));
    }

    #[test]
    fn an_empty_mesh_is_refused() {
        let violation = check(&mesh(), &in_use(), &Mesh::default()).unwrap_err();
        assert!(violation.to_string().contains("service `checkout`"));
    }

    #[test]
    fn everything_that_would_vanish_is_named_at_once() {
        let mut next = mesh();
        next.fleets.remove("web");
        let service = next.services.get_mut("checkout").unwrap();
        service.versions.remove("v2");
        service.versions.get_mut("v1").unwrap().hosts.clear();
        let text = check(&mesh(), &in_use(), &next).unwrap_err().to_string();
        for part in ["lose version `v2`", "version `v1`", "fleet `web`"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn a_fleet_that_would_no_longer_reach_the_service_is_named() {
        let mut next = mesh();
        let service = next.services.get_mut("checkout").unwrap();
        service.fleets.clear();
        let text = check(&mesh(), &in_use(), &next).unwrap_err().to_string();
        assert!(text.contains("no longer reach"), "{text}");
    }

    #[test]
    fn a_version_that_must_take_all_traffic_keeps_its_hosts() {
        let mut next = mesh();
        let hosts = &mut next.services.get_mut("checkout").unwrap().versions;
        let hosts = &mut hosts.get_mut("v1").unwrap().hosts;
        hosts.truncate(26);
        assert_eq!(check(&mesh(), &in_use(), &next), Ok(()));
        let hosts = &mut next.services.get_mut("checkout").unwrap().versions;
        hosts.get_mut("v1").unwrap().hosts.truncate(25);
        let text = check(&mesh(), &in_use(), &next).unwrap_err().to_string();
        assert!(text.contains("25 hosts and needs 26"), "{text}");
    }

    #[test]
    fn versions_that_nobody_uses_may_go() {
        let mut in_use = in_use();
        in_use.get_mut("checkout").unwrap().remove("v2");
        let mut next = mesh();
        next.services
            .get_mut("checkout")
            .unwrap()
            .versions
            .remove("v2");
        assert_eq!(check(&mesh(), &in_use, &next), Ok(()));
    }
}
