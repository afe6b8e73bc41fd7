//! Declared order between changes: a start that waits until a version of another service is
//! committed, and that ends when that one goes back.

use std::collections::BTreeSet;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::rollout::queue::{Start, not_now};
use crate::rollout::state::join;
use crate::rollout::{Phase, Queued, Refusal, State, Terms};

/// Most versions that one start waits for.
const AFTER_MAX: usize = 8;

/// A version of another service that is to be committed first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct After {
    /// The other service.
    pub service: String,
    /// Its version; the one that is under way, or next, when `None`. What waits has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// How far what is to be committed first has come.
#[derive(Debug)]
pub(crate) enum Order {
    /// It is committed.
    Kept,
    /// It isn't yet.
    Waits { reason: String, owner: String },
    /// It won't be.
    Broken(String),
}

// === impl After ===

/// From `SERVICE` or `SERVICE@VERSION`.
impl FromStr for After {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (service, version) = match text.split_once('@') {
            Some((service, version)) => (service, Some(version)),
            None => (text, None),
        };
        if service.is_empty() || version == Some("") {
            return Err("write SERVICE or SERVICE@VERSION".to_owned());
        }
        Ok(Self {
            service: service.to_owned(),
            version: version.map(str::to_owned),
        })
    }
}

// === impl State ===

impl State {
    /// What a start asks for, with the version of everything that it waits for.
    pub(crate) fn settled(&self, start: &Start<'_>) -> Result<Terms, Refusal> {
        let refused = |why: String| Err(not_now(start.service, why));
        let mut terms = start.terms.clone();
        if terms.after.len() > AFTER_MAX {
            return refused(format!("it waits for more than {AFTER_MAX} versions"));
        }
        for after in &mut terms.after {
            let service = after.service.clone();
            if service == start.service {
                return refused(format!(
                    "starts of `{service}` wait for one another anyway; --after names another \
                     service"
                ));
            }
            let version = match &after.version {
                Some(version) => version.clone(),
                None => self.under_way(&service)?,
            };
            let (declared, state) = self.service(&service)?;
            if !declared.versions.contains_key(&version) {
                return Err(Refusal::UnknownVersion {
                    service,
                    version,
                    known: join(declared.versions.keys()),
                });
            }
            let goes_back = |run: &crate::rollout::Rollout| run.phase == Phase::Reverting;
            let running = state.running().filter(|run| run.plan.to == version);
            if running.is_some_and(goes_back) {
                return refused(format!("`{version}` of `{service}` is being taken back"));
            }
            if self.waits_for(&service, start.service, &mut BTreeSet::new()) {
                return refused(format!(
                    "a start of `{service}` waits for `{}`; each would wait for the other",
                    start.service
                ));
            }
            after.version = Some(version);
        }
        Ok(terms)
    }

    /// The version that a service moves to, or will next.
    fn under_way(&self, service: &str) -> Result<String, Refusal> {
        let (_, state) = self.service(service)?;
        let next = || state.queue.first().map(|next| next.to.clone());
        let running = state.running().map(|run| run.plan.to.clone());
        running.or_else(next).ok_or_else(|| {
            let why = format!(
                "no rollout is under way; to wait for a version all the same: --after \
                 {service}@VERSION"
            );
            not_now(service, why)
        })
    }

    /// Whether a start of `service` in the queue waits for `goal`, by whatever way.
    fn waits_for(&self, service: &str, goal: &str, seen: &mut BTreeSet<String>) -> bool {
        if !seen.insert(service.to_owned()) {
            return false;
        }
        let Some(state) = self.services.get(service) else {
            return false;
        };
        let mut afters = state.queue.iter().flat_map(|queued| &queued.terms.after);
        afters.any(|after| after.service == goal || self.waits_for(&after.service, goal, seen))
    }

    /// Whether all of it is committed.
    pub(crate) fn is_after(&self, terms: &Terms) -> bool {
        terms.after.iter().all(|after| {
            after.version.is_some() && self.stable(&after.service) == after.version.as_deref()
        })
    }

    /// How far what a start in the queue waits for has come.
    pub(crate) fn order(&self, queued: &Queued) -> Order {
        for after in &queued.terms.after {
            let service = after.service.as_str();
            let version = after.version.as_deref().unwrap_or_default();
            if self.stable(service) == Some(version) {
                continue;
            }
            let declared = self.service(service).ok();
            if !declared.is_some_and(|(declared, _)| declared.versions.contains_key(version)) {
                return Order::Broken(format!(
                    "`{version}` of `{service}`, which it was to follow, is not declared any more"
                ));
            }
            let latest = self.latest(service).filter(|run| run.plan.to == version);
            let back = latest.filter(|run| {
                matches!(run.phase, Phase::Reverting | Phase::Reverted) && run.since >= queued.since
            });
            if let Some(run) = back {
                let why = run.revert_reason.as_deref().unwrap_or("it was taken back");
                return Order::Broken(format!(
                    "the rollout of `{service}` to `{version}`, which it was to follow, went \
                     back: {why}"
                ));
            }
            let running = latest.filter(|run| !run.phase.is_final());
            let (place, owner) = match running {
                Some(run) => (format!("it is at {}", run.place()), run.actor.clone()),
                None => ("it is not under way".to_owned(), queued.actor.clone()),
            };
            return Order::Waits {
                reason: format!("`{version}` of `{service}` to be committed; {place}"),
                owner,
            };
        }
        Order::Kept
    }
}
