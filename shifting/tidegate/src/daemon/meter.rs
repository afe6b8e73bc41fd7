//! How much traffic each cluster has now, by what sidecars report: whoever plans a rollout asks
//! before anything runs that would watch its arms.

use std::collections::{BTreeMap, VecDeque};

use tidegate_engine::compile::cluster_name;
use tidegate_engine::mesh::Mesh;
use tidegate_engine::plan::Traffic;
use tidegate_engine::time::Time;
use tidegate_engine::units::Ppm;
use tidegate_xds::report::UpstreamSample;

/// Traffic is the mean of this time; what is silent for as long is forgotten.
const WINDOW_MS: u64 = 60_000;

/// A mean over less than this tells nothing.
const LEAST_MS: u64 = 5_000;

/// Most clusters that are measured: sidecars name them.
const CLUSTERS_MAX: usize = 50_000;

/// Requests and failures by cluster, in seconds.
#[derive(Debug, Default)]
pub(super) struct Meter {
    clusters: BTreeMap<String, VecDeque<Second>>,
    since: Option<Time>,
}

#[derive(Debug)]
struct Second {
    at: Time,
    requests: u64,
    bad: u64,
}

// === impl Meter ===

impl Meter {
    /// One sidecar's numbers for one cluster.
    pub(super) fn record(&mut self, cluster: &str, sample: &UpstreamSample, at: Time) {
        self.since.get_or_insert(at);
        let hidden = sample.unanswered_retries();
        let requests = sample.responses.iter().sum::<u64>() + hidden;
        let errors = sample.responses.last().copied().unwrap_or(0) + hidden;
        let bad = errors.max(sample.grpc_failures).min(requests);
        if !self.clusters.contains_key(cluster) {
            if self.clusters.len() >= CLUSTERS_MAX {
                return; // It is not measured, and a plan of its service says so.
            }
            self.clusters.insert(cluster.to_owned(), VecDeque::new());
        }
        let Some(seconds) = self.clusters.get_mut(cluster) else {
            return;
        };
        match seconds.back_mut() {
            Some(second) if second.at.0 / 1_000 == at.0 / 1_000 => {
                second.requests = second.requests.saturating_add(requests);
                second.bad = second.bad.saturating_add(bad);
            }
            _ => seconds.push_back(Second { at, requests, bad }),
        }
    }

    /// Traffic by cluster; nothing in the first seconds.
    #[expect(clippy::cast_precision_loss, reason = "requests of a minute")]
    pub(super) fn traffic(&mut self, now: Time) -> BTreeMap<String, Traffic> {
        self.clusters.retain(|_, seconds| {
            while seconds
                .front()
                .is_some_and(|second| now.since_ms(second.at) > WINDOW_MS)
            {
                seconds.pop_front();
            }
            !seconds.is_empty()
        });
        let watched_ms = self.since.map_or(0, |since| now.since_ms(since));
        if watched_ms < LEAST_MS {
            return BTreeMap::new();
        }
        let window_s = watched_ms.min(WINDOW_MS) as f64 / 1_000.0;
        self.clusters
            .iter()
            .map(|(cluster, seconds)| {
                let requests: u64 = seconds.iter().map(|second| second.requests).sum();
                let bad: u64 = seconds.iter().map(|second| second.bad).sum();
                let traffic = Traffic {
                    rps: requests as f64 / window_s,
                    error_rate: bad as f64 / requests.max(1) as f64,
                };
                (cluster.clone(), traffic)
            })
            .collect()
    }

    /// By fleet with a cap on unproven traffic, the part of the requests to its services that go to
    /// this one; none where that is not known. Requests are those of all sidecars that report.
    pub(super) fn parts(&mut self, mesh: &Mesh, service: &str, now: Time) -> BTreeMap<String, Ppm> {
        let declared = mesh.services.get(service);
        let capped: Vec<&String> = declared
            .iter()
            .flat_map(|declared| &declared.fleets)
            .filter(|fleet| {
                let fleet = mesh.fleets.get(*fleet);
                fleet.is_some_and(|fleet| fleet.unproven_traffic_max.is_some())
            })
            .collect();
        if capped.is_empty() {
            return BTreeMap::new();
        }
        let traffic = self.traffic(now);
        let rate = |service: &str| {
            let versions = mesh.services.get(service).into_iter();
            let clusters = versions
                .flat_map(|service| service.versions.keys())
                .map(|version| cluster_name(service, version));
            let rates = clusters.filter_map(|cluster| Some(traffic.get(&cluster)?.rps));
            thousandths(rates.sum())
        };
        let own = rate(service);
        let part = |fleet: &String| {
            let all = mesh.services_of(fleet).map(|(service, _)| rate(service));
            (own > 0).then(|| (fleet.clone(), Ppm::of(own, all.sum())))
        };
        capped.into_iter().filter_map(part).collect()
    }
}

/// Requests a second, in whole thousandths.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float is saturated when it is cast"
)]
fn thousandths(rps: f64) -> u64 {
    (rps * 1_000.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(good: u64, bad: u64) -> UpstreamSample {
        UpstreamSample {
            responses: [good, 0, 0, bad],
            ..UpstreamSample::default()
        }
    }

    #[test]
    fn traffic_is_the_mean_of_the_last_minute_over_all_sidecars() {
        let mut meter = Meter::default();
        let mut now = Time(0);
        for second in 0..120 {
            now = Time(second * 1_000);
            let good = if second < 60 { 1_000 } else { 99 };
            meter.record("checkout/v1", &sample(good, 1), now);
            meter.record("checkout/v1", &sample(good, 1), now.plus_ms(300));
            meter.record("cart/v1", &sample(1, 0), now);
        }
        let traffic = meter.traffic(now.plus_ms(1_000));
        let checkout = traffic["checkout/v1"];
        assert!((checkout.rps - 200.0).abs() < 5.0, "{checkout:?}");
        assert!((checkout.error_rate - 0.01).abs() < 1e-3, "{checkout:?}");
        assert!((traffic["cart/v1"].rps - 1.0).abs() < 0.1);
    }

    #[test]
    fn a_services_part_of_a_capped_fleets_requests_is_told_when_it_is_known() {
        let text = |cap: &str| {
            let service = |name: &str| {
                format!(
                    "---\nkind: service\nname: {name}\nfleets: [web]\ninitial: v1\nslo: \
                     {{success: 99%}}\nversions: {{v1: {{hosts: [{{address: \"127.0.0.1:1\"}}]}}}}\n"
                )
            };
            let fleet = "kind: fleet\nname: web\nlistener: {address: 127.0.0.1, port: 0}\n";
            let text = format!("{fleet}{cap}\n{}{}", service("cart"), service("mail"));
            let path = "mesh.yaml".to_owned();
            tidegate_engine::mesh::read(&[tidegate_engine::mesh::SourceFile { path, text }])
                .unwrap()
        };
        let mut meter = Meter::default();
        let now = Time(10_000);
        for second in 0..10 {
            meter.record("cart/v1", &sample(30, 0), Time(second * 1_000));
            meter.record("gone/v1", &sample(500, 0), Time(second * 1_000));
        }
        let capped = text("unproven_traffic_max: 5%");
        assert_eq!(meter.parts(&capped, "cart", now)["web"], Ppm::WHOLE);
        assert!(meter.parts(&capped, "mail", now).is_empty(), "not known");
        for second in 0..10 {
            meter.record("mail/v1", &sample(10, 0), Time(second * 1_000));
        }
        assert_eq!(meter.parts(&capped, "mail", now)["web"], Ppm::of(25, 100));
        assert!(meter.parts(&text(""), "mail", now).is_empty(), "no cap");
    }

    #[test]
    fn the_first_seconds_and_what_is_silent_are_not_known() {
        let mut meter = Meter::default();
        meter.record("checkout/v1", &sample(100, 0), Time(0));
        assert!(meter.traffic(Time(2_000)).is_empty());
        assert!(meter.traffic(Time(10_000)).contains_key("checkout/v1"));
        assert!(meter.traffic(Time(90_000)).is_empty());
    }
}
