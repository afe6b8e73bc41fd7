//! What operators can declare, after it was checked. Every value here is within its range.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::calendar::Freeze;
use super::neighbours::Tier;
use crate::units::Ppm;

/// Upper edges, in milliseconds, of the latency buckets that sidecars report. A latency
/// threshold must be one of them, so that "slower than the threshold" is an exact count
/// (`evidence.md` §4.2); the bootstrap configures the same edges.
pub const LATENCY_EDGES_MS: [u32; 9] = [5, 10, 25, 50, 100, 250, 500, 1000, 2500];

/// How often sidecars report, milliseconds; the bootstrap configures it.
pub const REPORT_INTERVAL_MS: u64 = 1_000;

/// All that operators declare: fleets of sidecars and the services they reach.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Mesh {
    /// By name.
    pub fleets: BTreeMap<String, Fleet>,
    /// By name.
    pub services: BTreeMap<String, Service>,
}

/// Sidecars that share one configuration; `node.cluster` names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fleet {
    /// Where each sidecar of the fleet listens for its application's outgoing requests.
    pub listener: ListenerAddress,
    /// The service beside whose hosts its sidecars stand, so that what they send is what that service
    /// calls. `None` for a gateway, and for sidecars of several services.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Most of its services that may have a rollout under way at once; a start beyond it waits. No
    /// limit when `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unproven_services_max: Option<u32>,
    /// The part of the requests to its services that may be on versions under way at once; the step
    /// of a rollout that would go beyond waits. No limit when `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unproven_traffic_max: Option<Ppm>,
    /// The rungs of a configuration rollout: `n sidecars`, then parts of them. At least one; strictly
    /// rising; the last is 100%. `1 sidecar`, `5%`, `100%` when `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ladder: Option<Vec<Rung>>,
    /// What else a configuration rollout waits for before it leaves a rung; each rung of the ladder
    /// at most once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gates: Vec<RungGate>,
    /// When nothing starts or advances, neither its configuration nor any service that it reaches.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub freeze: Vec<Freeze>,
    /// Waits, deadlines and limits of its configuration rollouts; the defaults when `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutPolicy>,
}

/// A listening address. Port 0 lets each sidecar take any free port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerAddress {
    /// IP address, v4 or v6.
    pub address: IpAddr,
    /// TCP port; 0 for any free one.
    pub port: u16,
}

/// A named upstream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// The fleets whose sidecars reach this service. At least one.
    pub fleets: BTreeSet<String>,
    /// The services that it calls while it answers: a rollout of one of the two waits for the end of
    /// a rollout of the other.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub calls: BTreeSet<String>,
    /// How critical it is. Of the starts whose turn has come the least critical begins first.
    #[serde(default, skip_serializing_if = "Tier::is_default")]
    pub tier: Tier,
    /// The version that takes all traffic until a first rollout is committed. A later change of
    /// this field moves nothing: only a rollout moves traffic.
    pub initial: String,
    /// By name; contains `initial`.
    pub versions: BTreeMap<String, Version>,
    /// How sidecars speak to its hosts.
    pub protocol: Protocol,
    /// What its users were promised.
    pub slo: Slo,
    /// The rungs of a rollout. At least one; strictly rising; the last is 100%.
    pub ladder: Vec<Rung>,
    /// What else a rollout waits for before it leaves a rung; each rung of the ladder at most once.
    #[serde(default)]
    pub gates: Vec<RungGate>,
    /// When nothing starts or advances; beside the windows of its fleets.
    #[serde(default)]
    pub freeze: Vec<Freeze>,
    /// Waits, deadlines and limits of its rollouts.
    pub rollout: RolloutPolicy,
    /// Bounds on what its sidecars do to its hosts.
    pub traffic: TrafficPolicy,
    /// Whose numbers its rollouts are judged by.
    #[serde(default, skip_serializing_if = "EvidenceSource::is_default")]
    pub evidence: EvidenceSource,
}

/// Whose numbers a service's rollouts are judged by.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EvidenceSource {
    /// What sidecars report every second (default): nothing stands in between.
    #[default]
    Sidecars,
    /// What a Prometheus server scrapes from the sidecars.
    Prometheus(Prometheus),
    /// What sidecars report, while a Prometheus server that scrapes them is the witness. Sidecars'
    /// reports judge, for they are the fastest: what they say against a version reverts it, whatever
    /// the witness says. The witness neither reverts nor advances anything, but nothing advances
    /// while it objects, is not heard, or counts other traffic than the sidecars do.
    Witnessed(Prometheus),
    /// What clients tell in load reports (LRS), Envoys too. They know no latency, and an Envoy whose
    /// workers hang goes on sending them: its silence says less than that of its own reports.
    LoadReports,
    /// What sidecars report judges; Envoys' load reports tell hosts apart, so that a host that was worse
    /// than its peers on the old version is not blamed on the new one (evidence §4.7f). They count the
    /// same requests in the same process, so they are no witness.
    SidecarsByHost,
}

/// A Prometheus server that scrapes `/stats/prometheus` of every sidecar that reaches the service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Prometheus {
    /// Its base address, `http://host:port` and perhaps a path.
    pub url: String,
    /// How often it scrapes them, milliseconds. A reporter is late after two and silent after four
    /// intervals. Default 15 s; 1 s to 2 min.
    pub scrape_interval_ms: u64,
}

/// An immutable label of a service's code and the hosts that run it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// At least one, ordered by address, no address twice within a service.
    pub hosts: Vec<Host>,
}

/// One endpoint.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Host {
    /// IP address and port.
    pub address: SocketAddr,
    /// Failure domain; may be empty.
    pub zone: String,
    /// Node id of the sidecar through which it sends its own requests, if that is told: whatever
    /// that one sends, this version of the service sends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sidecar: Option<String>,
}

/// How sidecars speak to a service's hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 with prior knowledge (default).
    Http2,
    /// gRPC: HTTP/2, and failures are counted by gRPC status.
    Grpc,
}

/// The service level objective.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slo {
    /// Share of requests that must succeed; 50% to 99.999%.
    pub success: Ppm,
    /// Share of requests that must be fast, if promised.
    pub latency: Option<LatencyObjective>,
}

/// `share` of requests must take at most `threshold_ms`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatencyObjective {
    /// One of [`LATENCY_EDGES_MS`].
    pub threshold_ms: u32,
    /// 50% to 99.99%.
    pub share: Ppm,
}

/// One rung of the ladder as declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rung {
    /// This many hosts of the new version take a fair share each; of a fleet, this many sidecars.
    Hosts(u32),
    /// This share of requests; of a fleet, of sidecars.
    Share(Ppm),
}

/// The gate at the end of one rung.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RungGate {
    /// The rung, as the ladder has it.
    pub rung: Rung,
    /// What it takes to leave it.
    pub gate: Gate,
}

/// What it takes to leave a rung that passed; at the last rung, to commit after the soak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Gate {
    /// Watched time after the rung passed, milliseconds; 0 for none, else 1 s to 7 days.
    pub pause_ms: u64,
    /// A person lets it go on.
    pub approval: bool,
}

/// Waits, deadlines and limits of a rollout. Times in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutPolicy {
    /// Least watched time on each rung below 100%, counted from the moment the exposure is
    /// acknowledged and seen in the traffic. Default 2 min.
    pub bake_ms: u64,
    /// Watched time after 100% with the old version still warm. Default 10 min.
    pub soak_ms: u64,
    /// Least canary requests on a rung before it may be left. Default 50.
    pub minimum_requests: u64,
    /// How long a hold may last before a person is paged and `watch` exits 11. Default 30 min.
    pub hold_deadline_ms: u64,
    /// How long sidecars may take to acknowledge a step before the rollout reverts. Default 30 s.
    pub acknowledge_deadline_ms: u64,
    /// After this time without renewal each sidecar drops the canary by itself (design M4).
    /// Default 6 s; 2 s to 60 s.
    pub dead_man_ttl_ms: u64,
    /// How long a version that was reverted for its own fault is refused. Default 7 days; 1 s to
    /// 365 days.
    #[serde(default = "quarantine_ms_default")]
    pub quarantine_ms: u64,
    /// A rung below 100% is left only when it is proven that the canary burns the objective's
    /// budget less than this many times as fast as it may for ever, or at most a little faster
    /// than stable does (evidence §4.4). Default 2; 1 to 1,000. Higher for a service with little
    /// traffic: the requests that a proof takes fall with it.
    #[serde(default = "advance_burn_rate")]
    pub advance_burn_rate: u32,
    /// What one rollout may cost at most, whatever the tests say (evidence §4.3). Default 1%.
    #[serde(default)]
    pub error_budget: ErrorBudget,
    /// [`RULES`] when this was read. A journal is judged again as it was judged then.
    #[serde(default)]
    pub rules: u32,
}

/// Journals of earlier programs don't say it.
fn quarantine_ms_default() -> u64 {
    7 * 86_400_000
}

/// The present rules of judgement: 0 advanced when nothing spoke against it; 1 asks for evidence
/// to advance, keeps the error budget, compares latency at several edges, and holds at saturation; 2
/// bets more on failures, from the first tick, and where 1% to 5% fail; 3 blames neither of two
/// rollouts that overlap when both are suspected; 4 looks first, where it can, who of them is worse
/// without the other; 5 reverts nothing for a few slow answers below the promised threshold; 6 goes
/// one step back from 100% to ask stable before it blames the canary for what fails there, and blames
/// nobody when neither version answers.
pub const RULES: u32 = 6;

/// Failed requests that one rollout may cost more than the old version would have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorBudget {
    /// This share of what the objective lets fail in 30 days at the service's present traffic.
    Share(Ppm),
    /// So many requests.
    Requests(u64),
}

/// Bounds on what sidecars do to a service's hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficPolicy {
    /// Time a request may take in all. Default 15 s.
    pub timeout_ms: u64,
    /// Time a connection may take to open. Default 1 s.
    pub connect_timeout_ms: u64,
    /// Circuit breakers, per sidecar and version.
    pub circuit_breakers: CircuitBreakers,
    /// Share of requests in flight that may be retries; with 0% nothing is retried. Default 20%.
    pub retry_budget: Ppm,
    /// Consecutive 5xx (or connection failures) after which a host is ejected for a while.
    /// Default 5.
    pub outlier_consecutive_failures: u32,
    /// Share of a version's hosts that may be ejected at once; a whole percentage. One
    /// host may always be, but for 0%, which ejects none. Default 10%.
    pub outlier_max_ejected: Ppm,
    /// Bytes buffered per connection. Default 1 MiB.
    pub connection_buffer_bytes: u32,
}

/// Circuit breakers, per sidecar and version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CircuitBreakers {
    /// Open connections. Default 1,024.
    pub max_connections: u32,
    /// Requests waiting for a connection. Default 1,024.
    pub max_pending_requests: u32,
    /// Requests in flight. Default 4,096.
    pub max_requests: u32,
}

// === impl Mesh ===

impl Mesh {
    /// The content hash: equal content is the equal revision on every replica (16 hex digits).
    #[must_use]
    pub fn revision(&self) -> String {
        content_hash(self)
    }

    /// A version's hosts, ordered by address; empty when there is no such service or version.
    #[must_use]
    pub fn hosts(&self, service: &str, version: &str) -> &[Host] {
        self.services
            .get(service)
            .and_then(|service| service.versions.get(version))
            .map_or(&[], |version| version.hosts.as_slice())
    }

    /// The services that a fleet's sidecars reach, by name.
    pub fn services_of<'a>(
        &'a self,
        fleet: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a Service)> + 'a {
        self.services
            .iter()
            .filter(move |(_, service)| service.fleets.contains(fleet))
            .map(|(name, service)| (name.as_str(), service))
    }
}

// === impl EvidenceSource ===

impl EvidenceSource {
    /// Sidecars' own reports.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// How often whoever judges hears of each sidecar, milliseconds.
    #[must_use]
    pub fn interval_ms(&self) -> u64 {
        match self {
            Self::Sidecars | Self::Witnessed(_) | Self::LoadReports | Self::SidecarsByHost => {
                REPORT_INTERVAL_MS
            }
            Self::Prometheus(prometheus) => prometheus.scrape_interval_ms,
        }
    }

    /// The server that has to be asked.
    #[must_use]
    pub fn prometheus(&self) -> Option<&Prometheus> {
        match self {
            Self::Sidecars | Self::LoadReports | Self::SidecarsByHost => None,
            Self::Prometheus(prometheus) | Self::Witnessed(prometheus) => Some(prometheus),
        }
    }

    /// The witness, where sidecars' reports judge and another source watches.
    #[must_use]
    pub fn witness(&self) -> Option<&Prometheus> {
        match self {
            Self::Sidecars | Self::Prometheus(_) | Self::LoadReports | Self::SidecarsByHost => None,
            Self::Witnessed(prometheus) => Some(prometheus),
        }
    }

    /// Whether load reports are used, which know each host's part where an Envoy sends them.
    #[must_use]
    pub fn by_host(&self) -> bool {
        matches!(self, Self::LoadReports | Self::SidecarsByHost)
    }
}

// === impl Service ===

impl Service {
    /// The content hash of a version with its configuration (16 hex digits): the service's name, the
    /// version's label, the protocol, and how sidecars treat it. Neither hosts and zones, which come
    /// and go, nor objectives, ladder and waits, which say how it is judged and not what it is.
    #[must_use]
    pub fn content(&self, name: &str, version: &str) -> String {
        content_hash(&(name, version, self.protocol, &self.traffic))
    }

    /// The ladder of a service that declares none: `1 host`, `5%`, `100%`.
    #[must_use]
    pub fn default_ladder() -> Vec<Rung> {
        vec![
            Rung::Hosts(1),
            Rung::Share(Ppm::of(5, 100)),
            Rung::Share(Ppm::WHOLE),
        ]
    }
}

/// 16 hex digits.
pub(super) fn content_hash(content: &impl Serialize) -> String {
    use sha2::{Digest, Sha256};
    // Maps are ordered and the model has no floats, so this text is canonical. Serialising plain
    // data to memory cannot fail; an empty text would only make hashes collide.
    let text = serde_json::to_vec(content).unwrap_or_default();
    Sha256::digest(&text)
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

// === impl RolloutPolicy ===

impl RolloutPolicy {
    /// Time for which a rollout with so many rungs, that of 100% among them, is planned to be
    /// watched, milliseconds.
    #[must_use]
    pub fn watched_ms(&self, rungs: usize) -> u64 {
        u64::try_from(rungs)
            .unwrap_or(u64::MAX)
            .saturating_mul(self.bake_ms)
            .saturating_add(self.soak_ms)
    }
}

/// The defaults that each field documents.
impl Default for RolloutPolicy {
    fn default() -> Self {
        Self {
            bake_ms: 120_000,
            soak_ms: 600_000,
            minimum_requests: 50,
            hold_deadline_ms: 1_800_000,
            acknowledge_deadline_ms: 30_000,
            dead_man_ttl_ms: 6_000,
            quarantine_ms: quarantine_ms_default(),
            advance_burn_rate: advance_burn_rate(),
            error_budget: ErrorBudget::default(),
            rules: RULES,
        }
    }
}

impl Default for ErrorBudget {
    fn default() -> Self {
        ErrorBudget::Share(Ppm::of(1, 100))
    }
}

/// As `1%`, or `500 requests`.
impl std::fmt::Display for ErrorBudget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ErrorBudget::Share(share) => write!(f, "{share}"),
            ErrorBudget::Requests(1) => f.write_str("1 request"),
            ErrorBudget::Requests(count) => write!(f, "{count} requests"),
        }
    }
}

fn advance_burn_rate() -> u32 {
    2
}

/// The defaults that each field documents.
impl Default for TrafficPolicy {
    fn default() -> Self {
        Self {
            timeout_ms: 15_000,
            connect_timeout_ms: 1_000,
            circuit_breakers: CircuitBreakers::default(),
            retry_budget: Ppm::of(20, 100),
            outlier_consecutive_failures: 5,
            outlier_max_ejected: Ppm::of(10, 100),
            connection_buffer_bytes: 1024 * 1024,
        }
    }
}

/// The defaults that each field documents.
impl Default for CircuitBreakers {
    fn default() -> Self {
        Self {
            max_connections: 1_024,
            max_pending_requests: 1_024,
            max_requests: 4_096,
        }
    }
}
