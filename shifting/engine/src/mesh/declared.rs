//! What operators write, field by field, before any value is checked.
//!
//! Every field may be absent and every value is the text that was written; `check` says what is
//! required and what the texts mean. The names here are the names in the files.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::decode::{Entries, Spanned};

/// A single value, as written.
pub(super) type Single = Option<Spanned<String>>;

#[derive(Debug, Deserialize)]
pub(super) struct FleetDocument {
    #[serde(rename = "kind")]
    _kind: Option<IgnoredAny>,
    pub(super) name: Single,
    pub(super) listener: Option<Spanned<ListenerFields>>,
    pub(super) service: Single,
    pub(super) unproven_services_max: Single,
    pub(super) unproven_traffic_max: Single,
    pub(super) ladder: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) gates: Option<Spanned<Entries<GateFields>>>,
    pub(super) freeze: Option<Spanned<Vec<Spanned<FreezeFields>>>>,
    pub(super) rollout: Option<Spanned<RolloutFields>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ListenerFields {
    pub(super) address: Single,
    pub(super) port: Single,
}

#[derive(Debug, Deserialize)]
pub(super) struct ServiceDocument {
    #[serde(rename = "kind")]
    _kind: Option<IgnoredAny>,
    pub(super) name: Single,
    pub(super) fleets: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) calls: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) tier: Single,
    pub(super) initial: Single,
    pub(super) protocol: Single,
    pub(super) versions: Option<Spanned<Entries<VersionFields>>>,
    pub(super) slo: Option<Spanned<SloFields>>,
    pub(super) ladder: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) gates: Option<Spanned<Entries<GateFields>>>,
    pub(super) freeze: Option<Spanned<Vec<Spanned<FreezeFields>>>>,
    pub(super) rollout: Option<Spanned<RolloutFields>>,
    pub(super) traffic: Option<Spanned<TrafficFields>>,
    pub(super) evidence: Option<Spanned<EvidenceFields>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct EvidenceFields {
    pub(super) sidecars: Single,
    pub(super) load_reports: Single,
    pub(super) prometheus: Option<Spanned<PrometheusFields>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct PrometheusFields {
    pub(super) url: Single,
    pub(super) scrape_interval: Single,
}

#[derive(Debug, Deserialize)]
pub(super) struct VersionFields {
    pub(super) hosts: Option<Spanned<Vec<Spanned<HostFields>>>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct HostFields {
    pub(super) address: Single,
    pub(super) zone: Single,
    pub(super) sidecar: Single,
}

#[derive(Debug, Deserialize)]
pub(super) struct SloFields {
    pub(super) success: Single,
    pub(super) latency: Option<Spanned<LatencyFields>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct LatencyFields {
    pub(super) threshold: Single,
    pub(super) share: Single,
}

#[derive(Debug, Deserialize)]
pub(super) struct GateFields {
    pub(super) pause: Single,
    pub(super) approval: Single,
}

#[derive(Debug, Deserialize)]
pub(super) struct FreezeFields {
    pub(super) from: Single,
    pub(super) to: Single,
    pub(super) days: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) zone: Single,
    pub(super) reason: Single,
}

#[derive(Debug, Deserialize)]
pub(super) struct RolloutFields {
    pub(super) bake: Single,
    pub(super) soak: Single,
    pub(super) minimum_requests: Single,
    pub(super) hold_deadline: Single,
    pub(super) acknowledge_deadline: Single,
    pub(super) dead_man_ttl: Single,
    pub(super) quarantine: Single,
    pub(super) advance_burn_rate: Single,
    pub(super) error_budget: Single,
}

#[derive(Debug, Deserialize)]
pub(super) struct TrafficFields {
    pub(super) timeout: Single,
    pub(super) connect_timeout: Single,
    pub(super) circuit_breakers: Option<Spanned<BreakerFields>>,
    pub(super) retry_budget: Single,
    pub(super) outlier_detection: Option<Spanned<OutlierFields>>,
    pub(super) connection_buffer: Single,
}

#[derive(Debug, Deserialize)]
pub(super) struct BreakerFields {
    pub(super) max_connections: Single,
    pub(super) max_pending_requests: Single,
    pub(super) max_requests: Single,
}

#[derive(Debug, Deserialize)]
pub(super) struct OutlierFields {
    pub(super) consecutive_failures: Single,
    pub(super) max_ejected: Single,
}
