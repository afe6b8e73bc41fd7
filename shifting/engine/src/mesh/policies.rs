//! The checks of what a service promises and how it is treated: objectives, ladder, rollout,
//! traffic.
//!
//! The ranges are wide: they refuse what is a slip of the pen or would break a mechanism, not what
//! is unusual.

use super::check::Check;
use super::declared::{
    BreakerFields, EvidenceFields, LatencyFields, OutlierFields, RolloutFields, SloFields,
    TrafficFields,
};
use super::decode::Spanned;
use super::diagnostic::Fault;
use super::limits;
use super::model::{
    CircuitBreakers, EvidenceSource, LATENCY_EDGES_MS, LatencyObjective, Prometheus, RolloutPolicy,
    Rung, Slo, TrafficPolicy,
};
use super::tree::NodeId;
use super::values::{self, Noun};
use crate::units::Ppm;

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

// === impl Check ===

impl Check<'_> {
    pub(super) fn slo(&self, node: NodeId, declared: SloFields) -> Option<Slo> {
        let success = self
            .required(node, "success", declared.success)
            .and_then(|value| self.share(value, 500_000..=999_990));
        let latency = match declared.latency {
            None => Some(None),
            Some(fields) => self.latency(fields).map(Some),
        };
        Some(Slo {
            success: success?,
            latency: latency?,
        })
    }

    fn latency(&self, declared: Spanned<LatencyFields>) -> Option<LatencyObjective> {
        let node = declared.node;
        let fields = declared.value?;
        let threshold =
            self.required(node, "threshold", fields.threshold)
                .and_then(|(node, text)| {
                    self.accept(node, values::latency_edge_ms(&text, &LATENCY_EDGES_MS))
                });
        let share = self
            .required(node, "share", fields.share)
            .and_then(|value| self.share(value, 500_000..=999_900));
        Some(LatencyObjective {
            threshold_ms: threshold?,
            share: share?,
        })
    }

    pub(super) fn ladder(
        &self,
        declared: Spanned<Vec<Spanned<String>>>,
        noun: Noun,
    ) -> Option<Vec<Rung>> {
        let node = declared.node;
        let declared = declared.value?;
        let help = format!("the last rung is 100%, such as in [1 {noun}, 5%, 100%]");
        if declared.is_empty() {
            self.report(node, Fault::new("a ladder without rungs", &help));
            return None;
        }
        if declared.len() > limits::MAX_RUNGS {
            let message = format!("more than {} rungs", limits::MAX_RUNGS);
            self.report(
                node,
                Fault::new(message, "each rung is a wait; keep those that matter"),
            );
            return None;
        }
        let nodes: Vec<NodeId> = declared.iter().map(|rung| rung.node).collect();
        let read: Vec<Option<Rung>> = declared
            .into_iter()
            .map(|Spanned { node, value }| self.accept(node, values::rung(&value?, noun)))
            .collect();
        let rungs: Vec<Rung> = read.into_iter().collect::<Option<_>>()?;

        let mut right = true;
        for ((before, rung), node) in rungs
            .iter()
            .zip(rungs.iter().skip(1))
            .zip(nodes.iter().skip(1))
        {
            let wrong = match (before, rung) {
                (Rung::Share(_), Rung::Hosts(_)) => "single ones come before percentages",
                (Rung::Hosts(before), Rung::Hosts(hosts)) if hosts <= before => {
                    "each rung is more than the one before"
                }
                (Rung::Share(before), Rung::Share(share)) if share <= before => {
                    "each rung is more than the one before"
                }
                _ => continue,
            };
            self.report(*node, Fault::new("the ladder does not rise here", wrong));
            right = false;
        }
        if rungs.last() != Some(&Rung::Share(Ppm::WHOLE)) {
            self.report(node, Fault::new("the ladder does not end with 100%", help));
            right = false;
        }
        right.then_some(rungs)
    }

    pub(super) fn rollout(&self, declared: RolloutFields) -> Option<RolloutPolicy> {
        let default = RolloutPolicy::default();
        let bake = self.duration(declared.bake, default.bake_ms, 100..=DAY);
        let soak = self.duration(declared.soak, default.soak_ms, 100..=7 * DAY);
        let requests = self.count(
            declared.minimum_requests,
            default.minimum_requests,
            1..=1_000_000,
        );
        let hold = self.duration(
            declared.hold_deadline,
            default.hold_deadline_ms,
            SECOND..=7 * DAY,
        );
        let acknowledge = self.duration(
            declared.acknowledge_deadline,
            default.acknowledge_deadline_ms,
            SECOND..=10 * MINUTE,
        );
        let ttl = self.duration(
            declared.dead_man_ttl,
            default.dead_man_ttl_ms,
            2 * SECOND..=MINUTE,
        );
        let quarantine = self.duration(
            declared.quarantine,
            default.quarantine_ms,
            SECOND..=365 * DAY,
        );
        let burn_rate = self.count(
            declared.advance_burn_rate,
            u64::from(default.advance_burn_rate),
            1..=1_000,
        );
        let budget = match declared.error_budget {
            None => Some(default.error_budget),
            some => self.parsed(some, values::error_budget),
        };
        Some(RolloutPolicy {
            bake_ms: bake?,
            soak_ms: soak?,
            minimum_requests: requests?,
            hold_deadline_ms: hold?,
            acknowledge_deadline_ms: acknowledge?,
            dead_man_ttl_ms: ttl?,
            quarantine_ms: quarantine?,
            advance_burn_rate: u32::try_from(burn_rate?).ok()?,
            error_budget: budget?,
            rules: default.rules,
        })
    }

    pub(super) fn traffic(&self, declared: TrafficFields) -> Option<TrafficPolicy> {
        let default = TrafficPolicy::default();
        let timeout = self.duration(declared.timeout, default.timeout_ms, 1..=DAY);
        let connect = self.duration(
            declared.connect_timeout,
            default.connect_timeout_ms,
            1..=MINUTE,
        );
        let breakers = self.section(declared.circuit_breakers, Self::breakers);
        let retry_budget = match declared.retry_budget {
            None => Some(default.retry_budget),
            some => self.parsed(some, values::percentage),
        };
        let outlier = match declared.outlier_detection {
            None => Some((
                default.outlier_consecutive_failures,
                default.outlier_max_ejected,
            )),
            Some(fields) => fields
                .value
                .and_then(|fields| self.outlier(fields, &default)),
        };
        let buffer = self.bounded(
            declared.connection_buffer,
            u64::from(default.connection_buffer_bytes),
            4 * 1024..=64 * 1024 * 1024,
            values::size_bytes,
            values::show_bytes,
        );
        let (outlier_consecutive_failures, outlier_max_ejected) = outlier?;
        Some(TrafficPolicy {
            timeout_ms: timeout?,
            connect_timeout_ms: connect?,
            circuit_breakers: breakers?,
            retry_budget: retry_budget?,
            outlier_consecutive_failures,
            outlier_max_ejected,
            connection_buffer_bytes: u32::try_from(buffer?).ok()?,
        })
    }

    pub(super) fn evidence(&self, declared: Spanned<EvidenceFields>) -> Option<EvidenceSource> {
        let node = declared.node;
        let fields = declared.value?;
        let sidecars = match fields.sidecars {
            None => None,
            some => Some(self.parsed(some, |text| {
                values::truth(text, "with `sidecars: true` their reports are used, too")
            })?),
        };
        let load_reports = match fields.load_reports {
            None => None,
            some => Some(self.parsed(some, |text| {
                values::truth(
                    text,
                    "with `load_reports: true` load reports (LRS) are used",
                )
            })?),
        };
        let prometheus = self.tree.get(node, "prometheus");
        match (sidecars, load_reports, prometheus) {
            (_, Some(true), Some(prometheus)) => {
                let message = "Prometheus can't be used beside load reports";
                let help = "it is a judge of its own, or with `sidecars: true` alone the witness; \
                            remove one of the two";
                self.report(prometheus, Fault::new(message, help));
                return None;
            }
            (Some(true), Some(true), None) => return Some(EvidenceSource::SidecarsByHost),
            (_, Some(true), None) => return Some(EvidenceSource::LoadReports),
            (Some(true), _, None) => return Some(EvidenceSource::Sidecars),
            _ => {}
        }
        let (node, fields) = self.required(node, "prometheus", fields.prometheus)?;
        let url = self
            .required(node, "url", fields.url)
            .and_then(|(node, text)| self.accept(node, values::http_url(&text)));
        let interval = self.duration(fields.scrape_interval, 15 * SECOND, SECOND..=2 * MINUTE);
        let prometheus = Prometheus {
            url: url?,
            scrape_interval_ms: interval?,
        };
        Some(match sidecars {
            Some(true) => EvidenceSource::Witnessed(prometheus),
            _ => EvidenceSource::Prometheus(prometheus),
        })
    }

    fn breakers(&self, declared: BreakerFields) -> Option<CircuitBreakers> {
        let default = CircuitBreakers::default();
        let connections = self.count_u32(declared.max_connections, default.max_connections);
        let pending = self.count_u32(declared.max_pending_requests, default.max_pending_requests);
        let requests = self.count_u32(declared.max_requests, default.max_requests);
        Some(CircuitBreakers {
            max_connections: connections?,
            max_pending_requests: pending?,
            max_requests: requests?,
        })
    }

    fn outlier(&self, declared: OutlierFields, default: &TrafficPolicy) -> Option<(u32, Ppm)> {
        let failures = self.count_u32(
            declared.consecutive_failures,
            default.outlier_consecutive_failures,
        );
        let ejected = match declared.max_ejected {
            None => Some(default.outlier_max_ejected),
            some => self.parsed(some, |text| {
                values::percentage(text).and_then(|share| {
                    // Envoy takes whole percentages here; rounding would change what was said.
                    if share.get() % 10_000 == 0 {
                        Ok(share)
                    } else {
                        let message = format!("{share} is not a whole percentage");
                        Err(Fault::new(
                            message,
                            "Envoy takes whole percentages here, such as 10%",
                        ))
                    }
                })
            }),
        };
        Some((failures?, ejected?))
    }
}
