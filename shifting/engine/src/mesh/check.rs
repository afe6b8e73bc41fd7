//! From what was written to what it means, with every rule that one document can break alone.
//!
//! Nothing stops at the first mistake: a value that is wrong is reported and stands as `None`,
//! and a document becomes a model only when none of its values does.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use super::declared::{FleetDocument, ServiceDocument, Single, VersionFields};
use super::decode::{Entries, Spanned};
use super::diagnostic::{Diagnostic, Fault, is_close, shown, suggest};
use super::hosts::SeenHosts;
use super::limits;
use super::model::{EvidenceSource, Fleet, ListenerAddress, Protocol, Service, Version};
use super::tree::{NodeId, Tree};
use super::values::{self, Noun};
use crate::units::Ppm;

/// A name and where it stands.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) node: NodeId,
}

/// A fleet as far as it could be read.
#[derive(Debug)]
pub(super) struct CheckedFleet {
    pub(super) name: Option<Named>,
    /// For the checks between documents.
    pub(super) service: Option<Named>,
    pub(super) fleet: Option<Fleet>,
}

/// A service as far as it could be read.
#[derive(Debug)]
pub(super) struct CheckedService {
    pub(super) name: Option<Named>,
    /// For the checks between documents.
    pub(super) fleets: Vec<Named>,
    pub(super) all_fleets_read: bool,
    pub(super) calls: Vec<Named>,
    pub(super) sidecars: Vec<Named>,
    pub(super) service: Option<Service>,
}

/// The checks of one file's documents.
pub(super) struct Check<'a> {
    pub(super) tree: &'a Tree<'a>,
    pub(super) diagnostics: &'a RefCell<Vec<Diagnostic>>,
}

// === impl Check ===

impl Check<'_> {
    pub(super) fn fleet(&self, document: NodeId, declared: FleetDocument) -> CheckedFleet {
        let name = self.name(document, declared.name);
        let listener = self.required(document, "listener", declared.listener);
        let service = self.beside(declared.service);
        let unproven = match declared.unproven_services_max {
            None => Some(None),
            some => self.count_u32(some, 1).map(Some),
        };
        let unproven_traffic = match declared.unproven_traffic_max {
            None => Some(None),
            some => self.parsed(some, values::part).map(Some),
        };
        let ladder = match declared.ladder {
            None => Some(None),
            Some(ladder) => self.ladder(ladder, Noun::Sidecar).map(Some),
        };
        // A ladder that could not be read says nothing of the rungs; one that is left out does.
        let rungs = ladder
            .clone()
            .map(|declared| declared.unwrap_or_else(Service::default_ladder));
        let gates = self.gates(declared.gates, rungs.as_ref(), Noun::Sidecar);
        let freeze = self.freezes(declared.freeze);
        let rollout = match declared.rollout {
            None => Some(None),
            some => self.section(some, Self::rollout).map(Some),
        };
        let fleet = listener.and_then(|(node, fields)| {
            let address = self.required(node, "address", fields.address);
            let port = self.required(node, "port", fields.port);
            let address = address
                .and_then(|(node, text)| self.accept(node, values::listening_address(&text)));
            let port =
                port.and_then(|(node, text)| self.accept(node, values::listening_port(&text)));
            Some(Fleet {
                listener: ListenerAddress {
                    address: address?,
                    port: port?,
                },
                service: service
                    .as_ref()?
                    .as_ref()
                    .map(|service| service.name.clone()),
                unproven_services_max: unproven?,
                unproven_traffic_max: unproven_traffic?,
                ladder: ladder?,
                gates: gates?,
                freeze: freeze?,
                rollout: rollout?,
            })
        });
        CheckedFleet {
            name,
            service: service.flatten(),
            fleet,
        }
    }

    pub(super) fn service(&self, document: NodeId, declared: ServiceDocument) -> CheckedService {
        let name = self.name(document, declared.name);
        let fleets = self.fleets(document, declared.fleets);
        let calls = self.calls(declared.calls, name.as_ref());
        let tier = self.tier(declared.tier);
        let protocol = match declared.protocol {
            None => Some(Protocol::Http2),
            some => self.parsed(some, values::protocol),
        };
        let mut hosts = SeenHosts::default();
        let versions = self.versions(document, declared.versions, &mut hosts);
        let initial = self.initial(document, declared.initial, versions.as_ref());
        let slo = self
            .required(document, "slo", declared.slo)
            .and_then(|(node, fields)| self.slo(node, fields));
        let ladder = match declared.ladder {
            None => Some(Service::default_ladder()),
            Some(ladder) => self.ladder(ladder, Noun::Host),
        };
        let gates = self.gates(declared.gates, ladder.as_ref(), Noun::Host);
        let freeze = self.freezes(declared.freeze);
        let rollout = self.section(declared.rollout, Self::rollout);
        let traffic = self.section(declared.traffic, Self::traffic);
        let evidence = match declared.evidence {
            None => Some(EvidenceSource::default()),
            Some(fields) => {
                let node = fields.node;
                let evidence = self.evidence(fields);
                let latency = slo.as_ref().is_some_and(|slo| slo.latency.is_some());
                if latency && evidence == Some(EvidenceSource::LoadReports) {
                    let message = "load reports know no latency, and `slo.latency` promises one";
                    let help = "add `sidecars: true` if the fleets' sidecars are Envoys, or remove \
                                `slo.latency`";
                    self.report(node, Fault::new(message, help));
                }
                evidence
            }
        };

        let all_fleets_read = fleets.iter().all(Option::is_some) && !fleets.is_empty();
        let fleets: Vec<Named> = fleets.into_iter().flatten().collect();
        let service = (|| {
            Some(Service {
                fleets: fleets.iter().map(|fleet| fleet.name.clone()).collect(),
                calls: calls
                    .as_ref()?
                    .iter()
                    .map(|call| call.name.clone())
                    .collect(),
                tier: tier?,
                initial: initial?,
                versions: versions?
                    .into_iter()
                    .map(|(name, version)| version.map(|version| (name, version)))
                    .collect::<Option<_>>()?,
                protocol: protocol?,
                slo: slo?,
                ladder: ladder?,
                gates: gates?,
                freeze: freeze?,
                rollout: rollout?,
                traffic: traffic?,
                evidence: evidence?,
            })
        })();
        CheckedService {
            name,
            fleets,
            all_fleets_read,
            calls: calls.unwrap_or_default(),
            sidecars: hosts.sidecars,
            service: service.filter(|_| all_fleets_read),
        }
    }

    fn name(&self, document: NodeId, declared: Single) -> Option<Named> {
        let (node, text) = self.required(document, "name", declared)?;
        let name = self.accept(node, values::name(&text))?;
        Some(Named { name, node })
    }

    /// `None` stands for a fleet whose name could not be read. Empty after a report.
    fn fleets(
        &self,
        document: NodeId,
        declared: Option<Spanned<Vec<Spanned<String>>>>,
    ) -> Vec<Option<Named>> {
        let Some((node, names)) = self.required(document, "fleets", declared) else {
            return Vec::new();
        };
        if names.is_empty() {
            self.report(
                node,
                Fault::new("no fleet", "name at least one fleet that uses it"),
            );
        }
        let mut seen = BTreeSet::new();
        names
            .into_iter()
            .map(|Spanned { node, value }| {
                let name = self.accept(node, values::name(&value?))?;
                if !seen.insert(name.clone()) {
                    let message = format!("fleet {} is named twice", shown(&name));
                    self.report(node, Fault::new(message, "remove one of them"));
                }
                Some(Named { name, node })
            })
            .collect()
    }

    /// The declared versions; `None` for those that have a mistake.
    fn versions(
        &self,
        document: NodeId,
        declared: Option<Spanned<Entries<VersionFields>>>,
        hosts: &mut SeenHosts,
    ) -> Option<BTreeMap<String, Option<Version>>> {
        let (node, Entries(entries)) = self.required(document, "versions", declared)?;
        if entries.is_empty() {
            self.report(
                node,
                Fault::new("no version", "declare at least one version"),
            );
            return None;
        }
        if entries.len() > limits::MAX_VERSIONS {
            let message = format!("more than {} versions", limits::MAX_VERSIONS);
            self.report(
                node,
                Fault::new(message, "remove those that nothing runs any more"),
            );
        }
        let mut versions = BTreeMap::new();
        let mut all_named = true;
        for (key, fields) in entries {
            let name = key
                .value
                .and_then(|text| self.accept(key.node, values::name(&text)));
            let version = self.version(fields, hosts);
            match name {
                Some(name) => _ = versions.insert(name, version),
                None => all_named = false,
            }
        }
        // Without all names, `initial` cannot be judged.
        all_named.then_some(versions)
    }

    fn initial(
        &self,
        document: NodeId,
        declared: Single,
        versions: Option<&BTreeMap<String, Option<Version>>>,
    ) -> Option<String> {
        let (node, name) = self.required(document, "initial", declared)?;
        let versions = versions?;
        if versions.contains_key(&name) {
            return Some(name);
        }
        let help = suggest(&name, versions.keys().map(String::as_str), "declared are");
        let message = format!("version {} is not declared", shown(&name));
        self.report(node, Fault::new(message, help));
        None
    }

    // --- values ---

    pub(super) fn duration(
        &self,
        declared: Single,
        default: u64,
        range: RangeInclusive<u64>,
    ) -> Option<u64> {
        self.bounded(
            declared,
            default,
            range,
            values::duration_ms,
            values::show_ms,
        )
    }

    pub(super) fn count(
        &self,
        declared: Single,
        default: u64,
        range: RangeInclusive<u64>,
    ) -> Option<u64> {
        self.bounded(declared, default, range, values::count, |value| {
            value.to_string()
        })
    }

    pub(super) fn count_u32(&self, declared: Single, default: u32) -> Option<u32> {
        let count = self.count(declared, u64::from(default), 1..=1_000_000)?;
        u32::try_from(count).ok()
    }

    pub(super) fn share(
        &self,
        (node, text): (NodeId, String),
        range: RangeInclusive<u32>,
    ) -> Option<Ppm> {
        let share = self.accept(node, values::percentage(&text))?;
        if range.contains(&share.get()) {
            return Some(share);
        }
        let bound = |parts: &u32| Ppm::new(*parts).unwrap_or(Ppm::WHOLE);
        let help = format!(
            "allowed is {} to {}",
            bound(range.start()),
            bound(range.end())
        );
        self.report(node, Fault::new(format!("{share} is out of range"), help));
        None
    }

    /// `default` when it is absent; `None` after a report.
    pub(super) fn bounded(
        &self,
        declared: Single,
        default: u64,
        range: RangeInclusive<u64>,
        read: impl Fn(&str) -> Result<u64, Fault>,
        show: impl Fn(u64) -> String,
    ) -> Option<u64> {
        if declared.is_none() {
            return Some(default);
        }
        self.parsed(declared, |text| {
            let value = read(text)?;
            if range.contains(&value) {
                return Ok(value);
            }
            let help = format!(
                "allowed is {} to {}",
                show(*range.start()),
                show(*range.end())
            );
            Err(Fault::new(format!("{} is out of range", shown(text)), help))
        })
    }

    pub(super) fn parsed<T>(
        &self,
        declared: Single,
        read: impl Fn(&str) -> Result<T, Fault>,
    ) -> Option<T> {
        let Spanned { node, value } = declared?;
        self.accept(node, read(&value?))
    }

    /// A group of optional fields: all defaults when it is absent.
    pub(super) fn section<F, T: Default>(
        &self,
        declared: Option<Spanned<F>>,
        read: impl Fn(&Self, F) -> Option<T>,
    ) -> Option<T> {
        match declared {
            None => Some(T::default()),
            Some(fields) => read(self, fields.value?),
        }
    }

    // --- reporting ---

    /// The value of a field that must be there.
    pub(super) fn required<T>(
        &self,
        parent: NodeId,
        field: &str,
        declared: Option<Spanned<T>>,
    ) -> Option<(NodeId, T)> {
        match declared {
            Some(Spanned { node, value }) => value.map(|value| (node, value)),
            None => {
                // A key without a value is the better place to point at.
                let written = self.tree.get(parent, field);
                // A misspelt key was reported as such, and that is the one mistake here.
                if written.is_none() && self.tree.keys(parent).any(|key| is_close(key, field)) {
                    return None;
                }
                let fault = Fault::new(format!("{} is missing", shown(field)), "it has no default");
                let diagnostic = match written {
                    Some(node) => self.tree.diagnostic(node, None, fault),
                    None => self.tree.diagnostic(parent, Some(field), fault),
                };
                self.diagnostics.borrow_mut().push(diagnostic);
                None
            }
        }
    }

    pub(super) fn accept<T>(&self, node: NodeId, read: Result<T, Fault>) -> Option<T> {
        read.map_err(|fault| self.report(node, fault)).ok()
    }

    pub(super) fn report(&self, node: NodeId, fault: Fault) {
        let diagnostic = self.tree.diagnostic(node, None, fault);
        self.diagnostics.borrow_mut().push(diagnostic);
    }
}
