//! What takes a canary back: what sidecars reject, what the service's own numbers say, and silence.
//!
//! Everything here only looks; [`super::tick`] and [`super::alone`] act.

use crate::evidence::REVERT_AT;
use crate::rollout::delivery::list;
use crate::rollout::judge::{ASYMMETRIC_MS, Look, SHARE_OFF_MS};
use crate::rollout::{Cause, Phase, Rollout};
use crate::time::Time;

/// Longest text of a rejection in a sentence; the whole one is in the status.
const REJECTION_CHARS: usize = 300;

/// What speaks against the canary so much that it goes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) reason: String,
    /// It was found at 100%, where no other version shows whose fault it is.
    pub(crate) alone: bool,
}

// === impl Fault ===

impl From<String> for Fault {
    fn from(reason: String) -> Self {
        Self {
            reason,
            alone: false,
        }
    }
}

// === impl Rollout ===

impl Rollout {
    /// A sidecar rejected the exposure, or did not acknowledge it in time.
    pub(crate) fn delivery_fault(&self, now: Time) -> Option<String> {
        self.rejection_fault().or_else(|| {
            let deadline_ms = self.plan.policy.acknowledge_deadline_ms;
            let overdue = self.deliveries.overdue(deadline_ms, now);
            (!overdue.is_empty()).then(|| {
                format!(
                    "not acknowledged within {} s by {}",
                    deadline_ms / 1000,
                    list(&overdue)
                )
            })
        })
    }

    /// Whose doing the fault is that was found at this tick. What sidecars reject while the new
    /// version's hosts are made ready is taken for its own; later steps bring nothing of it, so a
    /// rejection then is something else's. A revision is brought at every step, and rejected by those
    /// that have it.
    pub(crate) fn cause(&self, now: Time) -> Cause {
        let own = match &self.sidecars {
            None => self.phase == Phase::Preparing && self.rejection_fault().is_some(),
            Some(sidecars) => {
                let delivery = self.deliveries.latest.iter();
                let mut rejected = delivery.flat_map(|delivery| &delivery.rejected);
                rejected.any(|rejection| sidecars.exposed.includes(&rejection.sidecar))
            }
        };
        if !own && self.delivery_fault(now).is_some() {
            Cause::Delivery
        } else {
            Cause::Fault
        }
    }

    /// A sidecar rejected the exposure.
    pub(crate) fn rejection_fault(&self) -> Option<String> {
        let rejected = &self.deliveries.latest.as_ref()?.rejected;
        let first = rejected.first()?;
        let text: String = first.text.chars().take(REJECTION_CHARS).collect();
        let others = match rejected.len() {
            1 => String::new(),
            n => format!(" (and {} more rejected)", n - 1),
        };
        Some(format!(
            "sidecar {} rejected it: {text}{others}",
            first.sidecar
        ))
    }

    /// The service's own numbers, or their absence, speak against the canary.
    pub(crate) fn service_fault(&self, look: Look<'_>) -> Option<Fault> {
        let now = look.now;
        if let Some(fault) = self.sidecars.as_ref().and_then(|it| it.health.fault(now)) {
            return Some(fault.into());
        }
        if !self.is_excused(now)
            && let Some(finding) = self.battery.regressed()
        {
            let reason = format!(
                "{}: {}; e-value {}, revert at {REVERT_AT:.0}",
                finding.metric,
                finding.sentence,
                e_value(finding.e_value)
            );
            return Some(reason.into());
        }
        let alone = self.takes_everything();
        self.numbers_fault(look)
            .map(|reason| Fault { reason, alone })
            .or_else(|| self.silence_fault(look).map(Fault::from))
    }

    /// What it does, seen by itself.
    fn numbers_fault(&self, look: Look<'_>) -> Option<String> {
        if self.takes_everything()
            && let Some(finding) = self.battery.canary_breach()
        {
            return Some(format!(
                "{} breach the objective at 100%: {}; e-value {}, revert at {REVERT_AT:.0}",
                finding.metric,
                finding.sentence,
                e_value(finding.e_value)
            ));
        }
        if let Some(requests) = self.black_hole(look)
            && self.stable_is_silent(look).is_none()
        {
            return Some(format!(
                "black hole: {requests} requests went to {} and none was answered",
                self.plan.to
            ));
        }
        self.budget_fault()
    }

    /// Too little is heard of it.
    fn silence_fault(&self, look: Look<'_>) -> Option<String> {
        let now = look.now;
        if since(self.signals.asymmetric_since, ASYMMETRIC_MS, now) {
            let silent: Vec<&str> = look.evidence.silent.iter().map(String::as_str).collect();
            let who = if silent.is_empty() {
                "its reporters are late".to_owned()
            } else {
                format!("silent: {}", list(&silent))
            };
            return Some(format!(
                "asymmetric silence for {} s: only {} of the canary's traffic is reported, {} of \
                 stable's; {who}",
                ASYMMETRIC_MS / 1000,
                look.evidence.canary_fresh,
                look.evidence.stable_fresh
            ));
        }
        if since(self.signals.share_off_since, SHARE_OFF_MS, now) {
            return Some(format!(
                "share fault: {} for {} s",
                self.share_sentence(),
                SHARE_OFF_MS / 1000
            ));
        }
        None
    }

    /// The canary's requests without any answer, for too long.
    pub(crate) fn black_hole(&self, look: Look<'_>) -> Option<u64> {
        let interval_ms = look.evidence.interval_ms();
        self.signals.black_hole(&self.stable, interval_ms, look.now)
    }

    /// Stable's requests without any answer, where that is asked.
    pub(crate) fn stable_is_silent(&self, look: Look<'_>) -> Option<u64> {
        let interval_ms = look.evidence.interval_ms();
        self.signals
            .stable_is_silent(&self.stable, interval_ms, look.now)
            .filter(|_| !self.takes_everything())
    }
}

fn since(since: Option<Time>, at_least_ms: u64, now: Time) -> bool {
    since.is_some_and(|since| now.since_ms(since) >= at_least_ms)
}

/// An e-value for people, who need no digits beyond a million.
pub(crate) fn e_value(value: f64) -> String {
    if value > 1e6 {
        "above 1000000".to_owned()
    } else {
        format!("{value:.0}")
    }
}
