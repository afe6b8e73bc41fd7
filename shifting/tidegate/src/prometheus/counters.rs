//! From samples of counters to what happened between two scrapes.
//!
//! A target's scrape gives all its samples one timestamp; each scrape that is new becomes one
//! report. The first scrape of a target is its baseline. A series that appears later began at 0:
//! Envoy exports a response class when it first sees one.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_engine::evidence::UpstreamCounts;
use tidegate_engine::mesh::LATENCY_EDGES_MS;

use super::answer::{Scrapes, Series};

/// What one target did between two scrapes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetReport {
    /// The target, as Prometheus names it (`instance`).
    pub target: String,
    /// Milliseconds from the scrape to the poll, by Prometheus' own clock.
    pub age_ms: u64,
    /// A counter went backwards: the process began anew, and this is its new baseline.
    pub restarted: bool,
    /// By cluster.
    pub upstreams: BTreeMap<String, UpstreamCounts>,
}

/// What is remembered between polls.
#[derive(Debug, Clone, Default)]
pub struct Counters {
    targets: BTreeMap<String, Target>,
    /// Counters that went backwards.
    restarts: u64,
    /// Samples that were no numbers, in the latest poll.
    not_numbers: u64,
}

#[derive(Debug, Clone, Default)]
struct Target {
    /// The latest scrape that was taken in, by Prometheus' clock.
    scraped_ms: i64,
    values: BTreeMap<Key, f64>,
}

/// Which number of a target.
type Key = (String, Measure);

/// The numbers of one scrape.
type Numbers = Vec<(Key, f64)>;

/// By target and time: the scrapes that are new.
type News<'a> = BTreeMap<&'a str, BTreeMap<i64, Numbers>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Measure {
    Requests,
    Completed,
    /// Index into [`UpstreamCounts::responses`].
    Class(usize),
    /// The same two of answers that were retried.
    RetriedCompleted,
    RetriedClass(usize),
    Retries,
    Timeouts,
    ConnectFailures,
    GrpcFailures(u32),
    /// Requests at most as slow as this edge: index into [`LATENCY_EDGES_MS`].
    Bucket(usize),
    /// All requests that the histogram knows.
    Timed,
    Active,
}

// === impl Counters ===

impl Counters {
    /// Takes in a poll; the scrapes that are new, oldest first.
    pub fn update(&mut self, scrapes: &Scrapes) -> Vec<TargetReport> {
        self.not_numbers = scrapes.series.iter().map(|series| series.not_numbers).sum();
        self.forget(scrapes);
        let mut news = News::new();
        for series in &scrapes.series {
            let Some(measure) = Measure::of(series) else {
                continue;
            };
            let target = series.label("instance");
            let known_ms = self.targets.get(target).map(|target| target.scraped_ms);
            let key = (series.label("envoy_cluster_name").to_owned(), measure);
            let scraped = news.entry(target).or_default();
            for sample in &series.samples {
                if known_ms.is_none_or(|known_ms| sample.at_ms > known_ms) {
                    let numbers = scraped.entry(sample.at_ms).or_default();
                    numbers.push((key.clone(), sample.value));
                }
            }
        }
        let mut reports = Vec::new();
        for (name, scraped) in news {
            for (at_ms, numbers) in scraped {
                let age_ms = u64::try_from(scrapes.now_ms - at_ms).unwrap_or(0);
                let report = match self.targets.get_mut(name) {
                    Some(target) => target.advance(name, at_ms, numbers, age_ms),
                    None => {
                        let (target, report) = Target::baseline(name, at_ms, numbers, age_ms);
                        self.targets.insert(name.to_owned(), target);
                        report
                    }
                };
                self.restarts += u64::from(report.restarted);
                reports.push(report);
            }
        }
        reports.sort_by_key(|report| std::cmp::Reverse(report.age_ms));
        reports
    }

    /// The targets that should report: those that Prometheus knew in the latest poll.
    #[must_use]
    pub fn targets(&self) -> BTreeSet<String> {
        self.targets.keys().cloned().collect()
    }

    /// Counters that went backwards so far.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.restarts
    }

    /// Samples of the latest poll that were no numbers.
    #[must_use]
    pub fn not_numbers(&self) -> u64 {
        self.not_numbers
    }

    /// A target of which not even `up` is left was taken out of Prometheus' configuration. One
    /// that is merely down stays, and grows silent.
    fn forget(&mut self, scrapes: &Scrapes) {
        let listed: BTreeSet<&str> = scrapes
            .series
            .iter()
            .map(|series| series.label("instance"))
            .collect();
        self.targets
            .retain(|name, _| listed.contains(name.as_str()));
    }
}

// === impl Target ===

impl Target {
    fn baseline(name: &str, at_ms: i64, numbers: Numbers, age_ms: u64) -> (Self, TargetReport) {
        let mut report = TargetReport::new(name, age_ms);
        for ((cluster, measure), value) in &numbers {
            let counts = report.upstreams.entry(cluster.clone()).or_default();
            if *measure == Measure::Active {
                counts.active = Some(whole(*value));
            }
        }
        let target = Self {
            scraped_ms: at_ms,
            values: numbers.into_iter().collect(),
        };
        (target, report)
    }

    fn advance(&mut self, name: &str, at_ms: i64, numbers: Numbers, age_ms: u64) -> TargetReport {
        let backwards = numbers.iter().any(|(key, value)| {
            key.1 != Measure::Active && self.values.get(key).is_some_and(|was| value < was)
        });
        if backwards {
            let (target, report) = Self::baseline(name, at_ms, numbers, age_ms);
            *self = target;
            return TargetReport {
                restarted: true,
                ..report
            };
        }
        let mut report = TargetReport::new(name, age_ms);
        let mut cumulative: BTreeMap<String, [u64; 10]> = BTreeMap::new();
        // By cluster: retries, and those of them that an answer led to.
        let mut retries: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        for (key, value) in numbers {
            let was = self.values.get(&key).copied().unwrap_or(0.0);
            let more = whole(value - was);
            let (cluster, measure) = &key;
            let counts = report.upstreams.entry(cluster.clone()).or_default();
            match measure {
                Measure::Requests => counts.requests += more,
                Measure::Completed => counts.completed += more,
                Measure::RetriedCompleted => {
                    counts.completed += more;
                    retries.entry(cluster.clone()).or_default().1 += more;
                }
                Measure::Retries => retries.entry(cluster.clone()).or_default().0 += more,
                Measure::Class(class) | Measure::RetriedClass(class) => {
                    if let Some(responses) = counts.responses.get_mut(*class) {
                        *responses += more;
                    }
                }
                Measure::Timeouts => counts.timeouts += more,
                Measure::ConnectFailures => counts.connect_failures += more,
                Measure::GrpcFailures(_) => counts.grpc_failures += more,
                Measure::Bucket(edge) => {
                    let edges = cumulative.entry(cluster.clone()).or_default();
                    if let Some(count) = edges.get_mut(*edge) {
                        *count += more;
                    }
                }
                Measure::Timed => {
                    let edges = cumulative.entry(cluster.clone()).or_default();
                    if let Some(count) = edges.last_mut() {
                        *count += more;
                    }
                }
                Measure::Active => counts.active = Some(whole(value)),
            }
            self.values.insert(key, value);
        }
        for (cluster, edges) in cumulative {
            if let Some(counts) = report.upstreams.get_mut(&cluster) {
                counts.latency = Some(between(edges));
            }
        }
        for (cluster, (all, answered)) in retries {
            let counts = report.upstreams.entry(cluster).or_default();
            counts.fail_unanswered(all.saturating_sub(answered));
        }
        self.scraped_ms = at_ms;
        report
    }
}

// === impl TargetReport ===

impl TargetReport {
    fn new(target: &str, age_ms: u64) -> Self {
        Self {
            target: target.to_owned(),
            age_ms,
            restarted: false,
            upstreams: BTreeMap::new(),
        }
    }
}

// === impl Measure ===

impl Measure {
    fn of(series: &Series) -> Option<Self> {
        let name = series.label("__name__").strip_prefix("envoy_cluster_")?;
        let class = || -> Option<usize> {
            let class: usize = series.label("envoy_response_code_class").parse().ok()?;
            class.checked_sub(2).filter(|class| *class < 4)
        };
        Some(match name {
            "upstream_rq_total" => Self::Requests,
            "upstream_rq_completed" => Self::Completed,
            "upstream_rq_xx" => Self::Class(class()?),
            "retry_upstream_rq_completed" => Self::RetriedCompleted,
            "retry_upstream_rq_xx" => Self::RetriedClass(class()?),
            "upstream_rq_retry" => Self::Retries,
            "upstream_rq_timeout" => Self::Timeouts,
            "upstream_rq_active" => Self::Active,
            "upstream_cx_connect_fail" => Self::ConnectFailures,
            "upstream_rq_time_bucket" => {
                let edge_ms: f64 = series.label("le").parse().ok()?;
                let edge = LATENCY_EDGES_MS
                    .iter()
                    .position(|edge| (f64::from(*edge) - edge_ms).abs() < 1e-6)?;
                Self::Bucket(edge)
            }
            "upstream_rq_time_count" => Self::Timed,
            grpc => Self::GrpcFailures(grpc.strip_prefix("grpc_")?.parse().ok()?),
        })
    }
}

/// Counts up to each edge, and of all, into counts between the edges.
fn between(cumulative: [u64; 10]) -> [u64; 10] {
    let mut below = 0;
    cumulative.map(|count| {
        let here = count.saturating_sub(below);
        below = below.max(count);
        here
    })
}

/// A counter's value: Envoy's are whole numbers.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "not negative here, and the cast saturates"
)]
fn whole(value: f64) -> u64 {
    value.max(0.0).round() as u64
}
