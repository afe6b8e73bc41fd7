//! Content that was reverted for its own fault is refused until its quarantine expires or an
//! operator lifts it with a reason (design §2).
//!
//! Content is what [`Service::content`](crate::mesh::Service::content) hashes: a version's label
//! with what is declared of how sidecars speak to it. Other hosts, zones, objectives, ladders or
//! waits make no other content: re-declaring a reverted version with such a difference does not
//! free it. Another timeout or circuit breaker does, since it may be the very cure; the plan then
//! warns of its quarantined relative.
//!
//! It is part of the state, so it survives restarts as everything does: by the journal.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::rollout::run::{Context, Reverted};
use crate::rollout::{Cause, NoticeLevel, Refusal, State};
use crate::time::Time;

/// Most content in quarantine; beyond it the entry that expires first goes.
const QUARANTINED_MAX: usize = 1_000;

/// Content that was reverted for a fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    /// The service.
    pub service: String,
    /// The version.
    pub version: String,
    /// What exactly is refused: a hash of the version with its configuration (16 hex digits).
    pub content: String,
    /// The rollout that was reverted.
    pub rollout: u64,
    /// Where that rollout stood: `1 host`, `5%`, `the soak`.
    pub place: String,
    /// What it did, with its numbers.
    pub evidence: String,
    /// The canary's requests in that rollout.
    pub requests: u64,
    /// Those that failed.
    pub bad: u64,
    /// When it was reverted.
    pub since: Time,
    /// When the quarantine expires.
    pub until: Time,
}

// === impl Quarantined ===

impl Quarantined {
    pub(crate) fn refusal(&self, now: Time) -> Refusal {
        Refusal::Quarantined {
            service: self.service.clone(),
            version: self.version.clone(),
            evidence: format!(
                "rollout {} took it back from {}: {} ({} of its {} requests failed); it expires in {}",
                self.rollout,
                self.place,
                self.evidence,
                self.bad,
                self.requests,
                self.until.since_words(now)
            ),
        }
    }
}

// === impl State ===

impl State {
    /// What is in quarantine at the time `now`, ordered by content.
    pub fn quarantined(&self, now: Time) -> impl Iterator<Item = &Quarantined> {
        self.quarantine
            .values()
            .filter(move |entry| entry.until > now)
    }

    pub(crate) fn quarantine_of(&self, content: &str) -> Option<&Quarantined> {
        self.quarantine
            .get(content)
            .filter(|entry| entry.until > self.latest)
    }

    /// The same version with another configuration: no reason to refuse, but to look twice.
    pub(crate) fn relatives_in_quarantine(&self, service: &str, version: &str) -> Vec<String> {
        self.quarantined(self.latest)
            .filter(|entry| entry.service == service && entry.version == version)
            .map(|entry| {
                format!(
                    "`{version}` was reverted at {} with another protocol or traffic policy, and \
                     is quarantined with that one: {}",
                    entry.place, entry.evidence
                )
            })
            .collect()
    }

    /// After a revert: content is quarantined when the fault was its own.
    pub(crate) fn quarantine_if_at_fault(&mut self, service: &str, context: &mut Context) {
        let cause = self.latest(service).and_then(|run| run.reverted.as_ref());
        if cause.is_some_and(|reverted| reverted.cause == Cause::Fault) {
            self.quarantine(service, context);
        }
    }

    /// Quarantines what the latest rollout of the service brought.
    pub(crate) fn quarantine(&mut self, service: &str, context: &mut Context) {
        let Some(run) = self.latest(service) else {
            return;
        };
        let content = match &run.plan.configuration {
            // A revision is the hash of its settings.
            Some(_) => run.plan.to.clone(),
            None => match self.service(service) {
                Ok((declared, _)) => declared.content(service, &run.plan.to),
                Err(_) => return,
            },
        };
        let (version, now) = (&run.plan.to, context.now);
        let place = |reverted: &Reverted| reverted.place.clone();
        let entry = Quarantined {
            service: service.to_owned(),
            version: version.clone(),
            content,
            rollout: run.number,
            place: run.reverted.as_ref().map(place).unwrap_or_default(),
            evidence: run.revert_reason.clone().unwrap_or_default(),
            requests: run.canary.requests,
            bad: run.canary.bad,
            since: now,
            until: now.plus_ms(run.plan.policy.quarantine_ms),
        };
        let text = format!(
            "`{version}` is quarantined for {}; to try it again before: tidegate quarantine lift \
             {service} {version} --reason \"…\"",
            entry.until.since_words(now)
        );
        let all = Arc::make_mut(&mut self.quarantine);
        all.retain(|_, entry| entry.until > now);
        all.insert(entry.content.clone(), entry);
        if all.len() > QUARANTINED_MAX {
            let first = all.values().min_by_key(|entry| entry.until);
            if let Some(content) = first.map(|entry| entry.content.clone()) {
                all.remove(&content);
            }
        }
        if let Ok(run) = self.running_mut(service) {
            run.tell(NoticeLevel::Warning, text, context);
        }
    }

    /// An operator allows a version again, whatever it was configured with.
    pub(crate) fn lift(
        &mut self,
        service: &str,
        version: &str,
        actor: &str,
        reason: &str,
        context: &mut Context,
    ) -> Result<(), Refusal> {
        if reason.trim().is_empty() {
            return Err(Refusal::NotNow {
                service: service.to_owned(),
                why: "a quarantine is lifted with a reason".to_owned(),
            });
        }
        let now = context.now;
        let is_meant = |entry: &Quarantined| entry.service == service && entry.version == version;
        if !self.quarantined(now).any(is_meant) {
            let known: Vec<String> = self
                .quarantined(now)
                .map(|entry| format!("{} {}", entry.service, entry.version))
                .collect();
            return Err(Refusal::NotQuarantined {
                service: service.to_owned(),
                version: version.to_owned(),
                known: match known.as_slice() {
                    [] => "none".to_owned(),
                    some => some.join(", "),
                },
            });
        }
        Arc::make_mut(&mut self.quarantine).retain(|_, entry| !is_meant(entry));
        let text = format!("{actor} lifted the quarantine of `{version}`: {reason}");
        context.notice(service, NoticeLevel::Info, text);
        Ok(())
    }
}
