use std::time::Instant;

use tidegate_engine::mesh::Prometheus;

use super::*;
use crate::prometheus::{Sample, Scrapes, Series};

const INTERVAL_MS: u64 = 5_000;

/// A Prometheus that scraped some sidecars, and the clock.
struct World {
    scraped: Scraped,
    clock: Clock,
    started: Instant,
    seconds: u64,
}

// === impl World ===

impl World {
    fn new() -> Self {
        let started = Instant::now();
        Self {
            scraped: Scraped::default(),
            clock: Clock::starting_at(Time(1_000_000)),
            started,
            seconds: 0,
        }
    }

    fn asked(&self) -> Instant {
        self.started + std::time::Duration::from_secs(self.seconds)
    }

    fn now(&self) -> Time {
        self.clock.at(self.asked())
    }

    /// `targets` were scraped now, each with this many requests on canary and stable so far.
    fn scrape(&mut self, targets: &[&str], canary: u64, stable: u64) {
        let at_ms = i64::try_from(self.seconds * 1_000).unwrap();
        let mut series = Vec::new();
        for target in targets {
            for (cluster, requests) in [("checkout/v2", canary), ("checkout/v1", stable)] {
                for (name, class) in [
                    ("envoy_cluster_upstream_rq_total", ""),
                    ("envoy_cluster_upstream_rq_completed", ""),
                    ("envoy_cluster_upstream_rq_xx", "2"),
                ] {
                    let labels = [
                        ("__name__", name),
                        ("instance", target),
                        ("envoy_cluster_name", cluster),
                        ("envoy_response_code_class", class),
                    ];
                    series.push(Series {
                        labels: labels
                            .iter()
                            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                            .collect(),
                        samples: vec![Sample {
                            at_ms,
                            value: f64::from(u32::try_from(requests).unwrap()),
                        }],
                        not_numbers: 0,
                    });
                }
            }
        }
        let now_ms = at_ms;
        self.poll(Ok(Scrapes { now_ms, series }));
    }

    fn poll(&mut self, outcome: Result<Scrapes, Outage>) {
        let poll = Poll {
            service: "checkout".to_owned(),
            interval_ms: INTERVAL_MS,
            asked: self.asked(),
            outcome,
        };
        self.scraped.record(poll, &self.clock);
    }

    fn observe(&mut self, sidecars: usize) -> Evidence {
        let arms = Arms {
            canary: "checkout/v2",
            stable: "checkout/v1",
            threshold_ms: None,
        };
        let now = self.now();
        self.scraped
            .observe("checkout", INTERVAL_MS, arms, sidecars, now)
    }

    fn outage() -> Outage {
        Outage::Unreachable {
            url: "http://127.0.0.1:9090".to_owned(),
            cause: "Connection refused".to_owned(),
        }
    }
}

#[test]
fn scrapes_of_all_sidecars_are_fresh_evidence() {
    let mut world = World::new();
    assert!(
        world
            .observe(2)
            .trouble
            .unwrap()
            .contains("not answered yet")
    );
    world.scrape(&["a", "b"], 100, 1_000);
    world.observe(2);
    world.seconds = 5;
    world.scrape(&["a", "b"], 110, 1_190);
    let evidence = world.observe(2);
    assert_eq!(
        (evidence.canary.requests, evidence.stable.requests),
        (20, 380)
    );
    assert_eq!(evidence.canary_fresh.get(), 1_000_000);
    assert_eq!(evidence.trouble, None);
    assert_eq!(evidence.interval_ms(), INTERVAL_MS);
    world.seconds = 9;
    let evidence = world.observe(2);
    assert_eq!(evidence.canary.requests, 0, "nothing is counted twice");
    assert_eq!(evidence.stable_fresh.get(), 1_000_000, "not late yet");
}

#[test]
fn an_outage_is_told_and_both_arms_grow_stale_alike() {
    let mut world = World::new();
    world.observe(1);
    world.scrape(&["a"], 0, 0);
    world.seconds = 5;
    world.scrape(&["a"], 10, 100);
    world.observe(1);
    world.seconds = 40;
    world.poll(Err(World::outage()));
    let evidence = world.observe(1);
    assert_eq!(evidence.canary_fresh.get(), 0);
    assert_eq!(evidence.stable_fresh.get(), 0);
    assert!(evidence.trouble.unwrap().contains("Connection refused"));
    assert_eq!(evidence.silent, ["a"]);
    // It is back, and what happened meanwhile is known from the counters.
    world.seconds = 45;
    world.scrape(&["a"], 60, 600);
    let evidence = world.observe(1);
    assert_eq!(
        (evidence.canary.requests, evidence.stable.requests),
        (50, 500)
    );
    assert_eq!(evidence.stable_fresh.get(), 1_000_000);
    assert_eq!(evidence.trouble, None);
}

#[test]
fn a_sidecar_that_nobody_scrapes_is_missing_evidence() {
    let mut world = World::new();
    world.observe(3);
    world.scrape(&["a", "b"], 0, 0);
    world.seconds = 5;
    world.scrape(&["a", "b"], 10, 100);
    let evidence = world.observe(3);
    assert_eq!(evidence.stable_fresh.get(), 666_666);
    assert!(evidence.trouble.unwrap().contains("2 of the 3"), "said");
}

#[test]
fn an_empty_answer_is_no_evidence_and_says_what_may_be_wrong() {
    let mut world = World::new();
    world.scrape(&[], 0, 0);
    let evidence = world.observe(1);
    assert_eq!(evidence.stable_fresh.get(), 0);
    let trouble = evidence.trouble.unwrap();
    assert!(trouble.contains("checkout/v1") && trouble.contains("/stats/prometheus"));
}

#[test]
fn a_frozen_answer_grows_stale() {
    let mut world = World::new();
    world.observe(1);
    world.scrape(&["a"], 0, 0);
    let frozen = |now: i64| Scrapes {
        now_ms: now * 1_000,
        series: vec![Series {
            labels: [
                ("__name__", "envoy_cluster_upstream_rq_total"),
                ("instance", "a"),
                ("envoy_cluster_name", "checkout/v1"),
            ]
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
            samples: vec![Sample {
                at_ms: 0,
                value: 0.0,
            }],
            not_numbers: 0,
        }],
    };
    for seconds in [5, 10, 15, 20, 25] {
        world.seconds = seconds;
        world.poll(Ok(frozen(i64::try_from(seconds).unwrap())));
    }
    let evidence = world.observe(1);
    assert_eq!(evidence.stable_fresh.get(), 0);
    assert_eq!(evidence.silent, ["a"]);
}

#[test]
fn a_prometheus_judges_alone_and_watches_beside_the_sidecars() {
    let mut world = World::new();
    world.observe(1);
    world.scrape(&["a"], 0, 0);
    world.seconds = 5;
    world.scrape(&["a"], 10, 100);
    let scraped = world.observe(1);
    let reported = Evidence {
        interval_ms: 1_000,
        ..Evidence::default()
    };
    let server = || Prometheus {
        url: "http://127.0.0.1:9090".to_owned(),
        scrape_interval_ms: INTERVAL_MS,
    };
    let sources = [
        EvidenceSource::Sidecars,
        EvidenceSource::Prometheus(server()),
        EvidenceSource::Witnessed(server()),
    ];
    let [alone, judged, watched] = sources.map(|source| {
        let scraped = source.prometheus().map(|_| scraped.clone());
        roles(&source, || reported.clone(), scraped)
    });
    assert_eq!(alone, (reported.clone(), None));
    assert_eq!(judged, (scraped.clone(), None));
    assert_eq!(watched, (reported, Some(scraped)));
}
