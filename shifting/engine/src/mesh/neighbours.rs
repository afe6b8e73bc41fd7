//! The declared call graph and how critical a service is: what decides which rollouts may run side
//! by side, and in which order they begin.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::check::{Check, Named};
use super::declared::Single;
use super::decode::Spanned;
use super::diagnostic::{Fault, shown, suggest};
use super::model::Mesh;
use super::values;

/// How critical a service is: 1 (most) to 9 (least). Default 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tier(pub u8);

// === impl Tier ===

impl Tier {
    /// Neither more nor less critical than most.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for Tier {
    fn default() -> Self {
        Tier(5)
    }
}

// === impl Mesh ===

impl Mesh {
    /// The services that `service` calls, and those that call it, as declared; without itself.
    #[must_use]
    pub fn neighbours(&self, service: &str) -> BTreeSet<String> {
        let callees = self.services.get(service).map(|declared| &declared.calls);
        let callers = self
            .services
            .iter()
            .filter(|(_, declared)| declared.calls.contains(service))
            .map(|(caller, _)| caller);
        callees
            .into_iter()
            .flatten()
            .chain(callers)
            .filter(|neighbour| *neighbour != service)
            .cloned()
            .collect()
    }
}

// === impl Check ===

impl Check<'_> {
    /// The services that this one calls. `None` after a report.
    pub(super) fn calls(
        &self,
        declared: Option<Spanned<Vec<Spanned<String>>>>,
        caller: Option<&Named>,
    ) -> Option<Vec<Named>> {
        let Some(declared) = declared else {
            return Some(Vec::new());
        };
        let mut seen = BTreeSet::new();
        let calls: Vec<Option<Named>> = declared
            .value?
            .into_iter()
            .map(|Spanned { node, value }| {
                let name = self.accept(node, values::name(&value?))?;
                let fault = if !seen.insert(name.clone()) {
                    format!("service {} is named twice", shown(&name))
                } else if caller.is_some_and(|caller| caller.name == name) {
                    "a service does not wait for itself".to_owned()
                } else {
                    return Some(Named { name, node });
                };
                self.report(node, Fault::new(fault, "remove it"));
                None
            })
            .collect();
        calls.into_iter().collect()
    }

    /// The service beside whose hosts a fleet's sidecars stand, if it is told. `None` after a report.
    pub(super) fn beside(&self, declared: Single) -> Option<Option<Named>> {
        let Some(Spanned { node, value }) = declared else {
            return Some(None);
        };
        let name = self.accept(node, values::name(&value?))?;
        Some(Some(Named { name, node }))
    }

    pub(super) fn tier(&self, declared: Single) -> Option<Tier> {
        let tier = self.count(declared, u64::from(Tier::default().0), 1..=9)?;
        u8::try_from(tier).ok().map(Tier)
    }
}

/// A service is named by another document, and none declares it.
pub(super) fn not_declared<'a>(
    name: &str,
    services: impl Iterator<Item = &'a String> + Clone,
) -> Fault {
    let help = suggest(name, services.map(String::as_str), "declared are");
    Fault::new(format!("service {} is not declared", shown(name)), help)
}
