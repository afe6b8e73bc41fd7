//! What was proven, and the way back.
//!
//! A version enters the known good ones only by a commit that everyone acknowledged, after a soak
//! without a breach (invariant S10). The first version of a service never does: nobody watched it
//! arrive. Going back to a known good one walks the same ladder with shorter bakes.
//!
//! While a rollout runs, its way back is the version it came from: a mesh that would take that
//! away is refused, and nothing advances if it is gone all the same (invariant S9).

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::mesh::Mesh;
use crate::rollout::queue::not_now;
use crate::rollout::run::Context;
use crate::rollout::{NoticeLevel, Pace, Plan, Refusal, Rollout, State, fleet_of};
use crate::time::Time;

/// Generations that are kept of each service.
pub(crate) const GENERATIONS: usize = 5;

/// Going back to what is known good takes this part of the declared bakes.
pub(crate) const BAKE_DIVISOR: u64 = 4;

/// A version that a service ran well with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownGood {
    /// The version.
    pub version: String,
    /// With which configuration: see [`Quarantined::content`](crate::rollout::Quarantined).
    pub content: String,
    /// The rollout that proved it.
    pub rollout: u64,
    /// When that was committed.
    pub since: Time,
}

/// Where a service's traffic could go back to now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WayBack {
    /// The version; `None` when there is none.
    pub version: Option<String>,
    /// Whether it could take the traffic now.
    pub ready: bool,
    /// A sentence: how, or why not.
    pub text: String,
}

// === impl State ===

impl State {
    /// The versions that a service ran well with, oldest first.
    #[must_use]
    pub fn known_good(&self, service: &str) -> Vec<KnownGood> {
        if let Some(fleet) = fleet_of(service) {
            let state = self.fleets.get(fleet);
            let known = state.into_iter().flat_map(|state| state.known_good.iter());
            return known.map(|known| known.good.clone()).collect();
        }
        self.services
            .get(service)
            .map_or_else(Vec::new, |state| state.known_good.to_vec())
    }

    /// Whether, and how, the service's traffic could go back now. `None` for an unknown service.
    #[must_use]
    pub fn way_back(&self, service: &str) -> Option<WayBack> {
        if let Some(fleet) = fleet_of(service) {
            return self.way_back_of_fleet(fleet);
        }
        let (_, state) = self.service(service).ok()?;
        if let Some(running) = state.running() {
            let why_not = self.no_way_back(service);
            return Some(WayBack {
                version: Some(running.plan.from.clone()),
                ready: why_not.is_none(),
                text: why_not.unwrap_or_else(|| format!("tidegate rollout abort {service}")),
            });
        }
        Some(match self.target(service) {
            Ok(version) => WayBack {
                text: format!("tidegate rollout back {service} --to {version}"),
                version: Some(version),
                ready: true,
            },
            Err(refusal) => WayBack {
                version: None,
                ready: false,
                text: refusal.to_string(),
            },
        })
    }

    /// Why a running rollout could not go back now.
    pub(crate) fn no_way_back(&self, service: &str) -> Option<String> {
        let (declared, state) = self.service(service).ok()?;
        let plan = &state.running()?.plan;
        let (from, least) = (&plan.from, least_hosts(plan));
        let why = match declared.versions.get(from).map(|v| v.hosts.len()) {
            None => "is not declared any more".to_owned(),
            Some(hosts) if hosts < least => format!(
                "has {hosts} hosts of the {} it had, and needs {least} to take all traffic",
                plan.from_hosts
            ),
            Some(_) => return None,
        };
        Some(format!("the way back is not open: `{from}` {why}"))
    }

    /// After a commit: what everyone acknowledged is known good from now on.
    pub(crate) fn remember_good(&mut self, service: &str, now: Time) {
        let Ok((declared, state)) = self.service(service) else {
            return;
        };
        let Some(run) = state.rollout.as_deref().filter(|run| run.is_proven()) else {
            return;
        };
        let entry = KnownGood {
            version: run.plan.to.clone(),
            content: declared.content(service, &run.plan.to),
            rollout: run.number,
            since: now,
        };
        let Some(state) = self.services.get_mut(service) else {
            return;
        };
        let known = Arc::make_mut(&mut state.known_good);
        known.retain(|other| other.content != entry.content);
        known.push(entry);
        let surplus = known.len().saturating_sub(GENERATIONS);
        known.drain(..surplus);
    }

    /// Goes back to an earlier version, faster when that is known good.
    pub(crate) fn back(
        &mut self,
        service: &str,
        to: Option<&str>,
        actor: &str,
        context: &mut Context,
    ) -> Result<(), Refusal> {
        let (declared, state) = self.service(service)?;
        if let Some(running) = state.running() {
            let why = format!(
                "a rollout {} → {} is running; the way back from it is `tidegate rollout abort \
                 {service}`",
                running.plan.from, running.plan.to
            );
            return Err(not_now(service, why));
        }
        let to = match to {
            Some(to) => to.to_owned(),
            None => self.target(service)?,
        };
        let mut plan = self.checked(service, &to)?;
        let content = declared.content(service, &to);
        if state.known_good.iter().any(|good| good.content == content) {
            plan.pace = Pace::KnownGood;
            plan.policy.bake_ms = plan.policy.bake_ms.div_ceil(BAKE_DIVISOR);
            plan.warnings.push(format!(
                "`{to}` is known good: every rung, but a bake of {} s",
                plan.policy.bake_ms / 1000
            ));
        } else {
            plan.warnings.push(format!(
                "`{to}` is not known to be good as it is declared now: every wait is as declared"
            ));
        }
        self.check_freeze(service, plan.pace)?;
        // A way out of trouble waits for nobody's rollout; that is kept as any overlap is.
        self.let_overlap(&mut plan, actor);
        self.begin(plan, actor, context);
        Ok(())
    }

    /// What to go back to: the latest known good version, else the one before the latest commit.
    fn target(&self, service: &str) -> Result<String, Refusal> {
        let (_, state) = self.service(service)?;
        let known = state.known_good.iter().rev().map(|good| &good.version);
        let latest = self
            .latest(service)
            .filter(|run| run.plan.to == state.stable);
        let before = latest.map(|run| &run.plan.from);
        known
            .chain(before)
            .find(|version| self.checked(service, version).is_ok())
            .cloned()
            .ok_or_else(|| {
                let why = "nothing to go back to: no other version that it ran with before is \
                           declared with hosts, and not quarantined";
                not_now(service, why.to_owned())
            })
    }

    /// Says so when a mesh closes a way back that was open.
    pub(crate) fn tell_of_ways_back(&self, before: Option<&Mesh>, context: &mut Context) {
        let Some(before) = before else { return };
        let Some(now) = self.mesh.as_deref() else {
            return;
        };
        for (service, state) in &self.services {
            let declared = |mesh: &Mesh, version: &str| !mesh.hosts(service, version).is_empty();
            for good in state.known_good.iter() {
                let version = &good.version;
                if declared(before, version) && !declared(now, version) {
                    let text = format!(
                        "`{version}`, which is known good, is not declared any more: there is no \
                         way back to it"
                    );
                    context.notice(service, NoticeLevel::Warning, text);
                }
            }
        }
    }
}

// === impl Rollout ===

impl Rollout {
    /// It was committed after its soak, and everyone who is connected acknowledged that.
    pub(crate) fn is_proven(&self) -> bool {
        self.phase == crate::rollout::Phase::Committed && self.deliveries.complete()
    }
}

/// How many hosts the version that a rollout came from needs to take all traffic back: one host or
/// 15% may go, as hosts do; no more.
pub(crate) fn least_hosts(plan: &Plan) -> usize {
    let had = plan.from_hosts as usize;
    let may_go = if had < 3 { 0 } else { (had * 15 / 100).max(1) };
    had.saturating_sub(may_go).max(1)
}
