//! Which services the sidecars of each fleet send requests to: the observed call graph, where the mesh
//! says beside which service a fleet stands.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_engine::compile::service_and_version;
use tidegate_engine::rollout::State;
use tidegate_xds::report::Report;

/// What reports told since the latest tick. Bounded by the fleets that stand beside a service, and by
/// the services whose clusters are asked for.
#[derive(Debug, Default)]
pub(super) struct CallWatch {
    /// Those that stand beside a service; what others call is nobody's.
    fleets: BTreeSet<String>,
    /// By fleet.
    seen: BTreeMap<String, BTreeSet<String>>,
}

// === impl CallWatch ===

impl CallWatch {
    /// Whose calls are watched from now on.
    pub(super) fn attend(&mut self, state: &State) {
        let fleets = state.mesh().into_iter().flat_map(|mesh| &mesh.fleets);
        let beside = fleets.filter(|(_, fleet)| fleet.service.is_some());
        self.fleets = beside.map(|(name, _)| name.clone()).collect();
        let fleets = &self.fleets;
        self.seen.retain(|fleet, _| fleets.contains(fleet));
    }

    /// A cluster whose attempts rose was called. Envoys report each that they ever used, every second.
    pub(super) fn record(&mut self, report: &Report) {
        if !self.fleets.contains(&report.cluster) {
            return;
        }
        let attempted = report.upstreams.iter().filter(|(_, it)| it.requests > 0);
        for (service, _) in attempted.filter_map(|(cluster, _)| service_and_version(cluster)) {
            let known = self.seen.get(&report.cluster);
            if !known.is_some_and(|services| services.contains(service)) {
                let services = self.seen.entry(report.cluster.clone()).or_default();
                services.insert(service.to_owned());
            }
        }
    }

    /// What was seen since the latest tick, by fleet.
    pub(super) fn take(&mut self) -> BTreeMap<String, BTreeSet<String>> {
        std::mem::take(&mut self.seen)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tidegate_engine::mesh::{Mesh, SourceFile, read};
    use tidegate_engine::rollout::Event;
    use tidegate_engine::time::Time;
    use tidegate_xds::report::{ServerGauges, Source, UpstreamSample};

    use super::*;

    fn state() -> State {
        let fleet = |name: &str, more: &str| {
            format!(
                "---\nkind: fleet\nname: {name}\nlistener: {{address: 127.0.0.1, port: 0}}\n{more}"
            )
        };
        let service = |name: &str| {
            format!(
                "---\nkind: service\nname: {name}\nfleets: [web, edge]\ninitial: v1\nslo: \
                 {{success: 99%}}\nversions: {{v1: {{hosts: [{{address: \"127.0.0.1:1\"}}]}}}}\n"
            )
        };
        let text = [
            fleet("web", "service: checkout\n"),
            fleet("edge", ""),
            service("checkout"),
            service("cart"),
        ]
        .concat();
        let path = "mesh.yaml".to_owned();
        let mesh: Mesh = read(&[SourceFile { path, text }]).unwrap();
        let declared = Event::MeshAccepted { mesh };
        State::default().apply(&declared, Time(0)).unwrap().0
    }

    fn report(fleet: &str, upstreams: &[(&str, u64)]) -> Report {
        let sample = |requests| UpstreamSample {
            requests,
            ..UpstreamSample::default()
        };
        Report {
            node_id: "s1".to_owned(),
            cluster: fleet.to_owned(),
            source: Source::Metrics,
            received_at: Instant::now(),
            upstreams: upstreams
                .iter()
                .map(|(cluster, requests)| ((*cluster).to_owned(), sample(*requests)))
                .collect(),
            versions: BTreeMap::new(),
            server: ServerGauges::default(),
            faults: 0,
        }
    }

    #[test]
    fn what_a_fleet_beside_a_service_sends_requests_to_is_seen_once_and_nothing_else() {
        let (state, mut watch) = (state(), CallWatch::default());
        watch.record(&report("web", &[("cart/v1", 1)]));
        assert!(watch.take().is_empty(), "nobody asked yet");
        watch.attend(&state);
        for fleet in ["web", "web", "edge", "", "nowhere"] {
            // Envoys report with zeros whatever they used once, and clusters of their own.
            let upstreams = [("cart/v1", 3), ("mail/v1", 0), ("xds", 9)];
            watch.record(&report(fleet, &upstreams));
        }
        watch.record(&report("web", &[("checkout/v1", 5)]));
        let seen = watch.take();
        let expected = |services: &[&str]| {
            let services = services.iter().map(|name| (*name).to_owned()).collect();
            BTreeMap::from([("web".to_owned(), services)])
        };
        assert_eq!(seen, expected(&["cart", "checkout"]));
        assert!(watch.take().is_empty());
        // A service does not call itself.
        let event = state.calls_to_record(&seen, Time(1));
        assert_eq!(
            event,
            Some(Event::CallsSeen {
                calls: expected(&["cart"])
            })
        );
    }
}
