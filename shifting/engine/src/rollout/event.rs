//! What goes into the fold and what comes out of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::evidence::Cells;
use crate::mesh::{EvidenceSource, Gate, Mesh, RolloutPolicy, Slo};
use crate::rollout::{Change, FleetHealth, Lease, Terms};
use crate::units::Ppm;

/// An input of the fold. Every accepted one is a record of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[expect(
    clippy::large_enum_variant,
    reason = "the large variant is the one of every tick; boxing it would only add an allocation"
)]
pub enum Event {
    /// A mesh passed its checks and is in force from now on, for everyone at once. Recorded by a
    /// program that knew no configuration rollouts; a first mesh, which changes nothing for
    /// anybody, may come by it too.
    MeshAccepted {
        /// The whole mesh, so that a replay needs no files.
        mesh: Mesh,
    },
    /// A mesh passed its checks and is what is declared from now on. Hosts and versions are in force
    /// with it; what it changes of a fleet's configuration waits for [`Event::Configure`].
    MeshDeclared {
        /// The whole mesh, so that a replay needs no files.
        mesh: Mesh,
    },
    /// The turn of a fleet's declared configuration has come ([`State::due`]).
    ///
    /// [`State::due`]: crate::rollout::State::due
    Configure {
        /// The fleet.
        fleet: String,
    },
    /// An operator asks to move a service's traffic to another version. As in all events, and in
    /// [`Plan`], `fleet:NAME` in the place of a service means the configuration of that fleet's
    /// sidecars.
    Start {
        /// The service.
        service: String,
        /// The version to move to.
        to: String,
        /// Who asked.
        actor: String,
        /// What is heeded before it begins.
        #[serde(default)]
        turn: Turn,
        /// What else it asks for.
        #[serde(default, skip_serializing_if = "Terms::is_none")]
        terms: Terms,
    },
    /// An operator stops the clock; the exposure stays.
    Pause {
        /// The service.
        service: String,
        /// Who asked.
        actor: String,
    },
    /// An operator lets a paused or overdue rollout go on.
    Resume {
        /// The service.
        service: String,
        /// Who asked.
        actor: String,
    },
    /// An operator takes the canary back. Accepted in every state before the commit is complete.
    Abort {
        /// The service.
        service: String,
        /// Who asked.
        actor: String,
        /// Why.
        reason: String,
        /// The version is quarantined as if its own fault had reverted it.
        #[serde(default)]
        quarantine: bool,
    },
    /// An operator asks for an earlier version of a service, through the same ladder.
    Back {
        /// The service.
        service: String,
        /// The version to go back to; the latest known good one when `None`.
        to: Option<String>,
        /// Who asked.
        actor: String,
    },
    /// An operator allows a quarantined version of a service to be tried again.
    LiftQuarantine {
        /// The service.
        service: String,
        /// The version.
        version: String,
        /// Who asked.
        actor: String,
        /// Why. Not empty.
        reason: String,
    },
    /// An operator lets a rollout leave a rung whose gate asks for an approval.
    Approve {
        /// The service.
        service: String,
        /// Who asked.
        actor: String,
    },
    /// An operator takes a start out of the queue.
    Cancel {
        /// The service.
        service: String,
        /// The version that would have been started.
        to: String,
        /// Who asked.
        actor: String,
    },
    /// The turn of the first start in a service's queue has come ([`State::due`]).
    ///
    /// [`State::due`]: crate::rollout::State::due
    Admit {
        /// The service.
        service: String,
    },
    /// The program read the civil time ([`State::needs_clock`]).
    ///
    /// [`State::needs_clock`]: crate::rollout::State::needs_clock
    ClockRead {
        /// Milliseconds since 1970, UTC.
        unix_ms: u64,
    },
    /// Sidecars were seen sending requests to services ([`State::calls_to_record`]).
    ///
    /// [`State::calls_to_record`]: crate::rollout::State::calls_to_record
    CallsSeen {
        /// By fleet, the services.
        calls: BTreeMap<String, BTreeSet<String>>,
    },
    /// What the world looked like at one tick, for one service's rollout.
    Observed(Observation),
    /// The program came back after an outage.
    Recovered {
        /// Milliseconds nobody watched; `None` when unknown (the clock went backwards).
        outage_ms: Option<u64>,
    },
}

// === impl Event ===

impl Event {
    /// The service it is about; `None` when it is about all of them.
    #[must_use]
    pub fn service(&self) -> Option<&str> {
        match self {
            Event::Start { service, .. }
            | Event::Pause { service, .. }
            | Event::Resume { service, .. }
            | Event::Abort { service, .. }
            | Event::Back { service, .. }
            | Event::LiftQuarantine { service, .. }
            | Event::Approve { service, .. }
            | Event::Cancel { service, .. }
            | Event::Admit { service } => Some(service),
            Event::Observed(observation) => Some(&observation.service),
            Event::MeshAccepted { .. }
            | Event::MeshDeclared { .. }
            | Event::Configure { .. }
            | Event::ClockRead { .. }
            | Event::CallsSeen { .. }
            | Event::Recovered { .. } => None,
        }
    }
}

/// What a start heeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Turn {
    /// Recorded by a program that knew no quarantine; it began, and a replay lets it begin. Never
    /// to be asked for.
    #[default]
    Unchecked,
    /// Begins at once, or waits behind what runs; refused in a freeze.
    Next,
    /// Begins at once, or waits behind what runs or for the end of a freeze.
    Queue,
    /// What runs is taken back first, and what waits gives way; refused in a freeze.
    Supersede,
}

/// What the world looked like at one tick, for one service's rollout.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Observation {
    /// The service.
    pub service: String,
    /// The exposure that the delivery figures are about ([`Effect::Expose`]'s `epoch`).
    pub epoch: u64,
    /// Who has the exposure.
    pub delivery: Delivery,
    /// What the reports that arrived since the last tick add up to.
    pub evidence: Evidence,
    /// What is known of the sidecars themselves, for a configuration rollout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet: Option<Box<FleetObservation>>,
    /// What the witness says, where there is one
    /// ([`EvidenceSource::Witnessed`](crate::mesh::EvidenceSource::Witnessed)).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub witness: Option<Box<Evidence>>,
    /// By fleet that has a cap on unproven traffic
    /// ([`Fleet::unproven_traffic_max`](crate::mesh::Fleet::unproven_traffic_max)): the part of the
    /// requests to its services that go to this one. Where it is missing it is not known, and taken
    /// for all of them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parts: BTreeMap<String, Ppm>,
    /// By service whose rollout this one overlaps: what that one's sidecars sent to both versions of
    /// this one ([`State::callers`](crate::rollout::State::callers)).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub callers: BTreeMap<String, Cells>,
}

/// What the sidecars of a configuration rollout are like at one tick.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct FleetObservation {
    /// Connected sidecars that are not on the candidate revision, in the order in which they are
    /// to get it ([`order`](crate::rollout::order)); at most
    /// [`NAMED_MAX`](crate::rollout::NAMED_MAX).
    pub next: Vec<String>,
    /// How both arms are.
    pub health: FleetHealth,
    /// By service: what its sidecars sent to both versions, for rollouts that overlap
    /// ([`State::crossed`](crate::rollout::State::crossed)).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub crossed: BTreeMap<String, Cells>,
}

/// Who has the exposure.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Delivery {
    /// Connected sidecars that should have it.
    pub expected: u32,
    /// Those that acknowledged all of it.
    pub acknowledged: u32,
    /// Those that have not yet, by node id.
    pub behind: Vec<String>,
    /// Those that rejected part of it.
    pub rejected: Vec<Rejection>,
    /// Those that were connected when the rollout needed them and are not now, by node id.
    pub disconnected: Vec<String>,
}

/// A sidecar's refusal of a resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    /// The sidecar's node id.
    pub sidecar: String,
    /// Its own words, truncated.
    pub text: String,
}

/// What the reports that arrived since the last tick add up to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Evidence {
    /// Requests on the new version.
    pub canary: ArmCounts,
    /// Requests on the old version.
    pub stable: ArmCounts,
    /// Part of the canary's known traffic whose reporters are fresh (evidence §4.6).
    pub canary_fresh: Ppm,
    /// The same for the stable arm.
    pub stable_fresh: Ppm,
    /// Reporters that fell silent, by node id.
    pub silent: Vec<String>,
    /// How often its reporters report, milliseconds; 0 stands for every second.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub interval_ms: u64,
    /// Why the source tells nothing, or less than it should, as a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// What was odd about the reports.
    #[serde(default, skip_serializing_if = "ReportFaults::is_none")]
    pub reports: ReportFaults,
    /// Where the canary is a few hosts: the 95% upper bound of their odds of a bad request to those
    /// of their peers, on the old version in the last hour, in millionths
    /// ([`HostHistory`](crate::evidence::HostHistory)). `None` when it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_ratio_ppm: Option<u32>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

// === impl Evidence ===

impl Evidence {
    /// How often its reporters report, milliseconds; at least a second.
    #[must_use]
    pub fn interval_ms(&self) -> u64 {
        self.interval_ms.max(1_000)
    }
}

/// What was odd about reports. Each is handled where it happens, so that no request is counted
/// twice and none is invented; the numbers tell people how far to trust the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ReportFaults {
    /// Counters that began anew, with a new stream: the next report is a baseline.
    pub resets: u64,
    /// Counts that fell since the report before, which reads as more requests than there can be:
    /// the sample is left out, and the next one is a baseline.
    pub backwards: u64,
    /// The same report again: it is left out, and is no sign of life.
    pub repeated: u64,
    /// Intervals without a report, between two reports; the later one has what was missed.
    pub skipped: u64,
    /// Reports that were overtaken by a newer one: counted, but for what was in flight then.
    pub late: u64,
    /// Reports of sidecars whose clock is more than 2 s off; nothing depends on it.
    pub skewed: u64,
    /// Numbers that are none (NaN, negative, contradictory): their samples are left out.
    pub unreadable: u64,
}

// === impl ReportFaults ===

impl ReportFaults {
    /// Nothing was odd.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Each with its name, for people.
    #[must_use]
    pub fn named(&self) -> [(&'static str, u64); 7] {
        [
            ("reset", self.resets),
            ("backwards", self.backwards),
            ("repeated", self.repeated),
            ("skipped", self.skipped),
            ("late", self.late),
            ("skewed", self.skewed),
            ("unreadable", self.unreadable),
        ]
    }

    /// Adds other reports' faults.
    pub fn add(&mut self, other: &ReportFaults) {
        self.combine(other, u64::saturating_add);
    }

    /// The larger of each: of two clusters that hear of the same report.
    pub(crate) fn or(mut self, other: &ReportFaults) -> Self {
        self.combine(other, u64::max);
        self
    }

    fn combine(&mut self, other: &ReportFaults, with: impl Fn(u64, u64) -> u64) {
        let each = |a: &mut u64, b: u64| *a = with(*a, b);
        each(&mut self.resets, other.resets);
        each(&mut self.backwards, other.backwards);
        each(&mut self.repeated, other.repeated);
        each(&mut self.skipped, other.skipped);
        each(&mut self.late, other.late);
        each(&mut self.skewed, other.skewed);
        each(&mut self.unreadable, other.unreadable);
    }
}

/// One arm's requests in one interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ArmCounts {
    /// Requests that ended, or are lost: the sum of response classes plus `lost`.
    pub requests: u64,
    /// Those that failed: 5xx, gRPC failures, and `lost`.
    pub bad: u64,
    /// Started, not completed, not in flight any more (envoy facts §6): part of `bad`.
    pub lost: u64,
    /// Requests whose latency is known or known to be above the threshold.
    pub timed: u64,
    /// Those above the SLO's threshold: slow, timed out, lost, or in flight for longer.
    pub slow: u64,
    /// Requests issued to the arm's hosts.
    pub issued: u64,
    /// Requests known to be slower than each of
    /// [`LATENCY_EDGES_MS`](crate::mesh::LATENCY_EDGES_MS), as `slow` is at the threshold.
    #[serde(default)]
    pub slow_at: [u64; 9],
    /// Requests in flight at the end of the interval.
    pub in_flight: u64,
    /// Requests by latency bucket, one per edge of
    /// [`LATENCY_EDGES_MS`](crate::mesh::LATENCY_EDGES_MS) and one above the last.
    pub buckets: [u64; 10],
}

// === impl ArmCounts ===

impl ArmCounts {
    /// Adds another interval's or sidecar's counts.
    pub fn add(&mut self, other: &ArmCounts) {
        let sum = |a: &mut u64, b: u64| *a = a.saturating_add(b);
        sum(&mut self.requests, other.requests);
        sum(&mut self.bad, other.bad);
        sum(&mut self.lost, other.lost);
        sum(&mut self.timed, other.timed);
        sum(&mut self.slow, other.slow);
        sum(&mut self.issued, other.issued);
        sum(&mut self.in_flight, other.in_flight);
        for (slow, more) in self.slow_at.iter_mut().zip(other.slow_at) {
            sum(slow, more);
        }
        for (bucket, more) in self.buckets.iter_mut().zip(other.buckets) {
            sum(bucket, more);
        }
    }
}

/// What must follow an event. The program makes the event durable before it acts on one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "effect", rename_all = "snake_case")]
pub enum Effect {
    /// Publish views for this service's new split ([`crate::rollout::State::splits`]).
    Expose {
        /// The service.
        service: String,
        /// Rises with every change of exposure.
        epoch: u64,
    },
    /// Tell people.
    Notice(Notice),
}

/// Something people should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// The service.
    pub service: String,
    /// How urgent.
    pub level: NoticeLevel,
    /// A sentence.
    pub text: String,
}

/// How urgent a [`Notice`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeLevel {
    /// For the record.
    Info,
    /// Look when you can.
    Warning,
    /// Look now.
    Page,
}

/// A rollout's decisions are taken from this alone; it is fixed when the rollout starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The service.
    pub service: String,
    /// The version that has the traffic.
    pub from: String,
    /// The version that is to have it.
    pub to: String,
    /// The rungs, with the exposures they allow.
    pub rungs: Vec<PlannedRung>,
    /// What the service's users were promised.
    pub slo: Slo,
    /// Waits and deadlines.
    pub policy: RolloutPolicy,
    /// Whether it goes back to what is known to be good.
    #[serde(default)]
    pub pace: Pace,
    /// How many hosts `from` had: it has to take all traffic back at any time.
    #[serde(default)]
    pub from_hosts: u32,
    /// Whose numbers it is judged by.
    #[serde(default, skip_serializing_if = "EvidenceSource::is_default")]
    pub evidence: EvidenceSource,
    /// What it keeps others from.
    #[serde(default, skip_serializing_if = "Lease::is_own")]
    pub lease: Lease,
    /// What it brings to a fleet's sidecars, where the subject is their configuration. `from` and
    /// `to` are revisions then, `from_hosts` is 0, and rungs are sidecars and parts of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<Box<Change>>,
    /// Things an operator should know before it starts, as sentences.
    pub warnings: Vec<String>,
}

/// How fast a rollout goes. No pace leaves out a rung.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pace {
    /// Every wait as declared.
    #[default]
    Ordinary,
    /// Back to a version that is known good: shorter bakes.
    KnownGood,
}

/// One rung with the exposure it allows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedRung {
    /// As people call it: `1 host`, `5%`, `100%`.
    pub name: Arc<str>,
    /// The canary's share of requests.
    pub share: Ppm,
    /// How many of its hosts take part; all when `None`.
    pub hosts: Option<u32>,
    /// What it takes to leave it when it has passed.
    #[serde(default)]
    pub gate: Gate,
}

/// By service.
pub type ByService<T> = BTreeMap<String, T>;
