//! What a sidecar says, and over which service.

use bytes::Bytes;

use super::lrs::LoadReports;
use super::payload::{Payload, Stats};

/// The service that a sidecar reports to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Service {
    /// Envoy's `MetricsService`.
    Metrics,
    /// The load reporting service (LRS).
    Load,
}

/// The messages of all sidecars.
#[derive(Debug, Clone)]
pub enum Messages {
    /// To the `MetricsService`, with the first message's node having so many extensions.
    Metrics(Payload, u32),
    /// To LRS, with each message's node having so many.
    Load(LoadReports, u32),
}

/// What one sidecar sends, in parts.
#[derive(Debug, Clone)]
pub struct Script {
    /// Its first message.
    pub first: Vec<Bytes>,
    /// Each one after it.
    pub later: Vec<Bytes>,
}

/// The name of an upstream cluster.
#[must_use]
pub fn cluster(number: u32) -> String {
    format!("service-{number:03}/v1")
}

// === impl Service ===

impl Service {
    /// The argument that means it.
    #[must_use]
    pub const fn argument(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Load => "load",
        }
    }
}

// === impl Messages ===

impl Messages {
    /// To a service, from sidecars with this many upstream clusters.
    #[must_use]
    pub fn to(service: Service, stats: Stats, clusters: u32, extensions: u32) -> Self {
        match service {
            Service::Metrics => Self::Metrics(Payload::of(stats, clusters), extensions),
            Service::Load => Self::Load(LoadReports::of((0..clusters).map(cluster)), extensions),
        }
    }

    /// The path of the service's method.
    #[must_use]
    pub const fn path(&self) -> &'static str {
        match self {
            Self::Metrics(..) => "/envoy.service.metrics.v3.MetricsService/StreamMetrics",
            Self::Load(..) => "/envoy.service.load_stats.v3.LoadReportingService/StreamLoadStats",
        }
    }

    /// What is in each message, to be printed.
    #[must_use]
    pub fn described(&self) -> String {
        let bytes: usize = self.shared().len();
        match self {
            Self::Metrics(payload, _) => {
                format!("{} families ({bytes} bytes)", payload.families())
            }
            Self::Load(_, extensions) => {
                format!("load reports ({bytes} bytes, of a node with {extensions} extensions)")
            }
        }
    }

    /// What all sidecars' later messages have in common.
    #[must_use]
    pub fn shared(&self) -> Bytes {
        match self {
            Self::Metrics(payload, _) => payload.later(),
            Self::Load(reports, extensions) => reports.framed(&id(0), *extensions),
        }
    }

    /// What the sidecar with this number says, given what is [`shared`](Self::shared).
    #[must_use]
    pub fn of_sidecar(&self, number: u32, shared: &Bytes) -> Script {
        match self {
            Self::Metrics(payload, extensions) => Script {
                first: vec![payload.first(&id(number), *extensions)],
                later: vec![shared.clone()],
            },
            Self::Load(reports, extensions) => {
                let parts = reports.parted(&id(number), *extensions, shared).to_vec();
                Script {
                    first: parts.clone(),
                    later: parts,
                }
            }
        }
    }
}

/// All of one length.
fn id(number: u32) -> String {
    format!("sidecar-{number:05}")
}
