//! The hosts that run a version: where they are, and which sidecar each sends its own requests through.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::check::{Check, Named};
use super::declared::{HostFields, VersionFields};
use super::decode::Spanned;
use super::diagnostic::Fault;
use super::limits;
use super::model::{Host, Version};
use super::tree::NodeId;
use super::values;

/// The hosts of one service, as far as they were read.
#[derive(Debug, Default)]
pub(super) struct SeenHosts {
    addresses: BTreeMap<SocketAddr, NodeId>,
    /// Of the version that is read: its hosts may share a sidecar.
    of_version: BTreeSet<String>,
    /// For the checks between documents.
    pub(super) sidecars: Vec<Named>,
}

// === impl Check ===

impl Check<'_> {
    pub(super) fn version(
        &self,
        declared: Spanned<VersionFields>,
        seen: &mut SeenHosts,
    ) -> Option<Version> {
        let version = declared.node;
        seen.of_version.clear();
        let (node, hosts) = self.required(version, "hosts", declared.value?.hosts)?;
        if hosts.is_empty() {
            let help = "declare at least one; a version that nothing runs cannot take traffic";
            self.report(node, Fault::new("a version without hosts", help));
            return None;
        }
        if hosts.len() > limits::MAX_HOSTS {
            let message = format!("more than {} hosts in one version", limits::MAX_HOSTS);
            self.report(node, Fault::new(message, "split the service"));
            return None;
        }
        let checked: Vec<Option<Host>> = hosts
            .into_iter()
            .map(|host| self.host(host, seen))
            .collect();
        let mut hosts: Vec<Host> = checked.into_iter().collect::<Option<_>>()?;
        // The order in a file means nothing, so it must not change the revision.
        hosts.sort();
        Some(Version { hosts })
    }

    fn host(&self, declared: Spanned<HostFields>, seen: &mut SeenHosts) -> Option<Host> {
        let node = declared.node;
        let fields = declared.value?;
        let zone = match fields.zone {
            None => Some(String::new()),
            some => self.parsed(some, values::zone),
        };
        let sidecar = match fields.sidecar {
            None => Some(None),
            Some(Spanned { node, value }) => value
                .and_then(|text| self.accept(node, values::node_id(&text)))
                .map(|name| Some(Named { name, node })),
        };
        let (node, text) = self.required(node, "address", fields.address)?;
        let address = self.accept(node, values::host_address(&text))?;
        if let Some(first) = seen.addresses.get(&address) {
            let message = format!(
                "host {address} stands twice in this service, first at {}",
                self.tree.place(*first)
            );
            let help = "a host runs one version; remove one of them";
            self.report(node, Fault::new(message, help));
            return None;
        }
        seen.addresses.insert(address, node);
        let (zone, sidecar) = (zone?, sidecar?);
        let host = Host {
            address,
            zone,
            sidecar: sidecar.as_ref().map(|sidecar| sidecar.name.clone()),
        };
        seen.sidecars
            .extend(sidecar.filter(|sidecar| seen.of_version.insert(sidecar.name.clone())));
        Some(host)
    }
}
