//! The files of small meshes, as an operator would write them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use crate::hosts::Hosts;

/// A mesh of one fleet, `shop`, and one service.
#[derive(Debug, Clone)]
pub struct Mesh {
    /// The service's name.
    pub service: String,
    /// `http1`, `http2` or `grpc`.
    pub protocol: &'static str,
    /// Version and addresses, in the order of the file. The first is the initial one.
    pub versions: Vec<(String, Vec<SocketAddr>)>,
    /// Port at which sidecars listen; 0 for any free one.
    pub listener_port: u16,
    /// The `ladder`.
    pub ladder: &'static str,
    /// The `rollout` fields.
    pub rollout: &'static str,
    /// The `slo` fields.
    pub slo: &'static str,
    /// The `traffic` fields; empty for the defaults.
    pub traffic: String,
    /// More fields of the fleet, each on a line of its own.
    pub fleet: String,
    /// The `evidence` fields; empty for sidecars' own reports.
    pub evidence: String,
    /// The services that it calls.
    pub calls: Vec<String>,
    /// By version: the sidecar beside its first host.
    pub sidecars: BTreeMap<String, String>,
}

/// A rollout of a few seconds: a dozen good requests prove a rung.
pub const FAST: &str = "{bake: 2s, soak: 2s, minimum_requests: 20, hold_deadline: 60s, \
    acknowledge_deadline: 10s, dead_man_ttl: 6s, advance_burn_rate: 50}";

/// A rollout that stays on its first rung for as long as a test takes.
pub const SLOW: &str = "{bake: 10m, soak: 10m, minimum_requests: 20, hold_deadline: 30m, \
    acknowledge_deadline: 10s, dead_man_ttl: 6s, advance_burn_rate: 50}";

// === impl Mesh ===

impl Mesh {
    /// `service` with these versions, of which the first has all traffic.
    #[must_use]
    pub fn of(service: &str, versions: &[&Hosts]) -> Self {
        let versions = versions
            .iter()
            .map(|hosts| (hosts.version.clone(), hosts.addresses.clone()));
        Self {
            service: service.to_owned(),
            protocol: "http1",
            versions: versions.collect(),
            listener_port: 0,
            ladder: "[1 host, 5%, 100%]",
            rollout: FAST,
            slo: "{success: 99%, latency: {threshold: 250ms, share: 99%}}",
            traffic: String::new(),
            fleet: String::new(),
            evidence: String::new(),
            calls: Vec::new(),
            sidecars: BTreeMap::new(),
        }
    }

    /// Several services, each with its old and its new version's hosts.
    #[must_use]
    pub fn of_each<const N: usize>(names: [&str; N], hosts: &[[Hosts; 2]; N]) -> Vec<Self> {
        let each = names.iter().zip(hosts);
        each.map(|(name, [old, new])| Self::of(name, &[old, new]))
            .collect()
    }

    /// Writes the files; replaces those that are there, each at once, as an editor would.
    pub fn write(&self, directory: &Path) {
        Self::write_all([self], directory);
    }

    /// The same for several services of the fleet that the first one declares.
    pub fn write_all<'a>(services: impl IntoIterator<Item = &'a Self>, directory: &Path) {
        let replace = |name: &str, text: &str| {
            let building = directory.join(format!(".{name}.new"));
            fs::write(&building, text).unwrap();
            fs::rename(&building, directory.join(name)).unwrap();
        };
        fs::create_dir_all(directory).unwrap();
        let services: Vec<&Self> = services.into_iter().collect();
        replace("fleets.yaml", &services[0].fleet_yaml());
        let declared: Vec<String> = services.iter().map(|it| it.service_yaml()).collect();
        replace("services.yaml", &declared.join("---\n"));
    }

    fn fleet_yaml(&self) -> String {
        format!(
            "kind: fleet\nname: shop\nlistener: {{address: 127.0.0.1, port: {}}}\n{}",
            self.listener_port, self.fleet
        )
    }

    fn service_yaml(&self) -> String {
        let mut yaml = format!(
            "kind: service\nname: {}\nfleets: [shop]\ninitial: {}\nprotocol: {}\nslo: {}\n\
             ladder: {}\nrollout: {}\nversions:\n",
            self.service, self.versions[0].0, self.protocol, self.slo, self.ladder, self.rollout
        );
        if !self.evidence.is_empty() {
            yaml = format!("evidence: {}\n{yaml}", self.evidence);
        }
        if !self.calls.is_empty() {
            yaml = format!("calls: [{}]\n{yaml}", self.calls.join(", "));
        }
        if !self.traffic.is_empty() {
            yaml = format!("traffic: {}\n{yaml}", self.traffic);
        }
        for (version, addresses) in &self.versions {
            if addresses.is_empty() {
                writeln!(yaml, "  {version}: {{hosts: []}}").unwrap();
                continue;
            }
            writeln!(yaml, "  {version}:\n    hosts:").unwrap();
            for (number, address) in addresses.iter().enumerate() {
                let sidecar = self.sidecars.get(version).filter(|_| number == 0);
                let sidecar = sidecar.map_or(String::new(), |id| format!(", sidecar: {id}"));
                writeln!(
                    yaml,
                    "    - {{address: \"{address}\", zone: z{}{sidecar}}}",
                    number % 3
                )
                .unwrap();
            }
        }
        yaml
    }
}

#[cfg(test)]
mod tests {
    use tidegate_engine::mesh::{Protocol, SourceFile, read};

    use super::*;

    #[test]
    fn what_it_writes_is_a_mesh() {
        let directory = tempfile::tempdir().unwrap();
        let (v1, v2) = (Hosts::start("v1", 3), Hosts::start("v2", 1));
        for (rollout, protocol) in [(FAST, "http1"), (SLOW, "grpc")] {
            let mut mesh = Mesh::of("checkout", &[&v1, &v2]);
            mesh.rollout = rollout;
            mesh.protocol = protocol;
            mesh.traffic = "{timeout: 10s}".to_owned();
            mesh.fleet = "unproven_services_max: 2\n".to_owned();
            mesh.calls = vec!["payments".to_owned()];
            mesh.sidecars = BTreeMap::from([("v1".to_owned(), "web-1".to_owned())]);
            let called = Mesh::of("payments", &[&v1]);
            Mesh::write_all([&mesh, &called], directory.path());
            let files: Vec<SourceFile> = ["fleets.yaml", "services.yaml"]
                .into_iter()
                .map(|name| SourceFile {
                    path: name.to_owned(),
                    text: fs::read_to_string(directory.path().join(name)).unwrap(),
                })
                .collect();
            let mesh = read(&files).unwrap();
            let service = &mesh.services["checkout"];
            assert_eq!(service.initial, "v1");
            assert_eq!(service.traffic.timeout_ms, 10_000);
            assert_eq!(mesh.fleets["shop"].unproven_services_max, Some(2));
            assert_eq!(service.versions["v1"].hosts.len(), 3);
            let sidecars = service.versions["v1"].hosts.iter();
            let sidecars: Vec<&String> = sidecars.filter_map(|it| it.sidecar.as_ref()).collect();
            assert_eq!(sidecars, ["web-1"]);
            assert_eq!(service.protocol == Protocol::Grpc, protocol == "grpc");
            assert_eq!(mesh.neighbours("checkout").len(), 1);
            assert_eq!(mesh.services["payments"].initial, "v1");
        }
    }
}
