//! Declared order between changes: a start that waits until a version of another service, or the
//! revision of a fleet's configuration, is committed, and that ends when that one goes back.

use std::collections::BTreeSet;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::rollout::queue::{Start, not_now};
use crate::rollout::state::join;
use crate::rollout::{Phase, Queued, Refusal, Rollout, State, Terms, fleet_of};

/// Most versions that one start waits for.
const AFTER_MAX: usize = 8;

/// A version of another service that is to be committed first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct After {
    /// The other service, or `fleet:NAME`.
    pub service: String,
    /// Its version, or revision; the one that is under way, or next, when `None`. What waits has one.
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
            let known = self.versions_of(&service)?;
            if !known.contains(&version) {
                return Err(Refusal::UnknownVersion {
                    service,
                    version,
                    known: join(known.iter()),
                });
            }
            let goes_back = |run: &Rollout| run.phase == Phase::Reverting;
            let latest = self.latest(&service).filter(|run| !run.phase.is_final());
            let running = latest.filter(|run| run.plan.to == version);
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
        if let Some(fleet) = fleet_of(service) {
            let next = self.next_settings(fleet);
            let next = next.ok_or_else(|| self.unknown_fleet(fleet))?;
            return Ok(match self.latest(service) {
                Some(run) if !run.phase.is_final() => run.plan.to.clone(),
                _ => next.revision(fleet),
            });
        }
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

    /// The versions that a service declares; of a fleet the revision in force, the one that is under way
    /// and the one that is to come next.
    fn versions_of(&self, service: &str) -> Result<BTreeSet<String>, Refusal> {
        let Some(fleet) = fleet_of(service) else {
            let (declared, _) = self.service(service)?;
            return Ok(declared.versions.keys().cloned().collect());
        };
        let in_force = self.settings(fleet);
        let in_force = in_force.ok_or_else(|| self.unknown_fleet(fleet))?;
        let latest = self.latest(service).filter(|run| !run.phase.is_final());
        let under_way = latest.map(|run| run.plan.to.clone());
        let next = self.next_settings(fleet).map(|next| next.revision(fleet));
        let known = std::iter::once(in_force.revision(fleet));
        Ok(known.chain(under_way).chain(next).collect())
    }

    /// Everybody who reaches the service, or is of the fleet, has this version of it.
    fn is_committed(&self, after: &After) -> bool {
        let in_force = match fleet_of(&after.service) {
            Some(fleet) => self
                .settings(fleet)
                .map(|settings| settings.revision(fleet)),
            None => self.stable(&after.service).map(str::to_owned),
        };
        after.version.is_some() && in_force == after.version
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
        terms.after.iter().all(|after| self.is_committed(after))
    }

    /// How far what a start in the queue waits for has come.
    pub(crate) fn order(&self, queued: &Queued) -> Order {
        for after in &queued.terms.after {
            let service = after.service.as_str();
            let version = after.version.as_deref().unwrap_or_default();
            if self.is_committed(after) {
                continue;
            }
            let known = self.versions_of(service).unwrap_or_default();
            if !known.contains(version) {
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
