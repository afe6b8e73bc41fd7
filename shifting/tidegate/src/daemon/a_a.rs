//! Always-on A/A: lets two halves of every service's sidecars be compared, by reports that come
//! anyway ([`AaTrials`]).
//!
//! It has an [`Intake`] of its own, because counts are taken: what it takes is not missing in the
//! evidence of a rollout. What it costs grows with sidecars × trials, so that only so many trials run
//! at once; services take turns, and who waited longest is next.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidegate_engine::compile::cluster_name;
use tidegate_engine::evidence::{AaSettings, AaStatus, AaTrials, Intake, SidecarReport};
use tidegate_engine::mesh::{Mesh, Service};
use tidegate_engine::rollout::State;
use tidegate_engine::time::Time;

/// Connected sidecars times trials that run at once; each pair costs 1 to 2 µs in each second, all of
/// them less than a hundredth of a core. One trial runs however many sidecars there are.
const PAIRS_MAX: usize = 4_000;

/// Most trials that run at once, however few sidecars there are.
const AT_ONCE_MAX: usize = 64;

/// The trials of all services.
#[derive(Debug)]
pub(super) struct AaWatch {
    intake: Intake,
    services: BTreeMap<String, AaTrials>,
    pairs_max: usize,
    published: Arc<Vec<AaStatus>>,
}

/// Who is connected, by fleet.
type Connected<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

// === impl AaWatch ===

impl Default for AaWatch {
    fn default() -> Self {
        Self {
            intake: Intake::default(),
            services: BTreeMap::new(),
            pairs_max: PAIRS_MAX,
            published: Arc::default(),
        }
    }
}

impl AaWatch {
    pub(super) fn record(&mut self, report: &SidecarReport) {
        self.intake.record(report);
    }

    /// As [`Intake::reconnected`].
    pub(super) fn reconnected(&mut self, sidecar: &str) {
        self.intake.reconnected(sidecar);
    }

    /// As [`Intake::departed`].
    pub(super) fn departed(&mut self, sidecar: &str) {
        self.intake.departed(sidecar);
    }

    /// What was measured, by service; renewed when a trial begins or ends.
    pub(super) fn published(&self) -> Arc<Vec<AaStatus>> {
        Arc::clone(&self.published)
    }

    /// One second. `connected`: the fleet and the node id of every sidecar that is connected.
    pub(super) fn tick<'a>(
        &mut self,
        state: &State,
        connected: impl Iterator<Item = (&'a str, &'a str)>,
        now: Time,
    ) {
        let Some(mesh) = state.mesh() else {
            return;
        };
        // Sidecars on two revisions are not alike: their fleet takes no part until they are.
        let configurations = state.active().filter_map(|run| {
            let change = run.plan().configuration.as_deref()?;
            Some(change.fleet.as_str())
        });
        let changing: BTreeSet<&str> = configurations.collect();
        let mut fleets = Connected::new();
        for (fleet, sidecar) in connected.filter(|(fleet, _)| !changing.contains(fleet)) {
            fleets.entry(fleet).or_default().insert(sidecar);
        }
        let mut news = self.keep_up(state, mesh, now);
        let turns = self.turns(mesh, &fleets);
        for (name, trials) in &mut self.services {
            let Some(service) = mesh.services.get(name) else {
                continue;
            };
            if !trials.is_running() && !turns.contains(name) {
                news |= trials.wait(count(service, &fleets));
                continue;
            }
            news |= trials.attend(&members(service, &fleets), now);
            let cluster = BTreeSet::from([cluster_name(name, trials.version())]);
            let Some(cohorts) = trials.cohorts(&cluster) else {
                continue;
            };
            let evidence = self.intake.observe_cohorts(cohorts, now);
            news |= trials.observe(&evidence, now);
        }
        if news {
            self.published = Arc::new(self.services.values().map(AaTrials::status).collect());
        }
    }

    /// The services that there are, each at its stable version and with its settings. Of others
    /// nothing is known any more: what was counted of them would be taken for what is so now.
    fn keep_up(&mut self, state: &State, mesh: &Mesh, now: Time) -> bool {
        let splits = state.splits();
        let before = self.services.len();
        self.services.retain(|name, _| splits.contains_key(name));
        let mut news = self.services.len() != before;
        for (name, split) in &splits {
            let Some(service) = mesh.services.get(name) else {
                continue;
            };
            let settings = AaSettings::of(service);
            let known = self.services.get(name);
            if known.is_none_or(|trials| !trials.is_of(&split.stable, &settings)) {
                let trials = AaTrials::new(name, &split.stable, settings, now);
                self.services.insert(name.clone(), trials);
                news = true;
            }
        }
        if news {
            let stable = splits
                .iter()
                .map(|(name, split)| cluster_name(name, &split.stable));
            self.intake.forget_others(&stable.collect());
        }
        news
    }

    /// Whose trials may begin now.
    fn turns(&self, mesh: &Mesh, fleets: &Connected<'_>) -> BTreeSet<String> {
        let sidecars: usize = fleets.values().map(BTreeSet::len).sum();
        let at_once = (self.pairs_max / sidecars.max(1)).clamp(1, AT_ONCE_MAX);
        let (running, waiting): (Vec<_>, Vec<_>) = self
            .services
            .iter()
            .partition(|(_, trials)| trials.is_running());
        let mut waiting: Vec<(Option<Time>, &String)> = waiting
            .into_iter()
            .filter(|(name, _)| {
                let service = mesh.services.get(*name);
                service.is_some_and(|service| count(service, fleets) >= 2)
            })
            .map(|(name, trials)| (trials.latest_end(), name))
            .collect();
        waiting.sort_unstable();
        let free = at_once.saturating_sub(running.len());
        let chosen = waiting.into_iter().take(free);
        chosen.map(|(_, name)| name.clone()).collect()
    }
}

/// Connected sidecars that reach the service.
fn members<'a>(service: &Service, fleets: &Connected<'a>) -> BTreeSet<&'a str> {
    let of_fleet = |fleet: &String| fleets.get(fleet.as_str());
    let members = service.fleets.iter().filter_map(of_fleet).flatten();
    members.copied().collect()
}

/// How many there are.
fn count(service: &Service, fleets: &Connected<'_>) -> usize {
    let of_fleet = |fleet: &String| fleets.get(fleet.as_str()).map_or(0, BTreeSet::len);
    service.fleets.iter().map(of_fleet).sum()
}

#[cfg(test)]
mod tests;
