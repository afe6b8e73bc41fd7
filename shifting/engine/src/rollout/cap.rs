//! How much of a fleet may be on versions that are not proven at once: what a fault that nobody's
//! evidence shows can reach. Services are counted when a rollout starts, their traffic before each
//! step that raises it.
//!
//! The rollout that began first is not held by the cap on traffic, or no service that is larger than
//! the cap could ever be promoted, and two could wait for each other: the cap is on what goes on
//! beside it. Nothing that goes back is held, nor is a rollout back to what is known good.

use std::collections::BTreeMap;

use crate::mesh::Service;
use crate::rollout::judge::Hold;
use crate::rollout::{Event, Observation, Phase, Plan, Rollout, State, Turn};
use crate::units::Ppm;

/// The hold of a step that would go beyond the cap.
const CAP: &str = "cap";

/// A fleet that may have no more traffic on versions that are not proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Crowded {
    fleet: String,
    most: Ppm,
    /// What there would be with the next step.
    would_be: Ppm,
    /// The service of the rollout that began first, who started it, and where it stands.
    first: String,
    actor: String,
    place: String,
}

/// A fleet with as many services under way as it may have.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full {
    fleet: String,
    most: u32,
    /// The services that are under way.
    services: Vec<String>,
}

// === impl Full ===

impl std::fmt::Display for Full {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "an end of one of {}: fleet `{}` may have {} under way (`unproven_services_max`)",
            self.services.join(", "),
            self.fleet,
            self.most
        )
    }
}

// === impl Crowded ===

impl Crowded {
    /// The wait for the rollout that began first.
    pub(crate) fn hold(&self) -> Hold {
        let hold = Hold {
            owner: self.actor.clone().into(),
            command: Some(format!("tidegate rollout abort {}", self.first)),
            ..Hold::new(CAP, self.to_string())
        };
        hold.clock_runs()
    }
}

impl std::fmt::Display for Crowded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "the next step would put {} of the requests of fleet `{}` on versions under way, which \
             may have {} (`unproven_traffic_max`); it waits for the rollout of `{}`, at {}",
            self.would_be, self.fleet, self.most, self.first, self.place
        )
    }
}

// === impl Rollout ===

impl Rollout {
    /// The share of the next step, if that raises it.
    fn next_share(&self) -> Option<Ppm> {
        let next = match self.phase {
            Phase::Preparing => 0,
            Phase::Judging => self.rung.saturating_add(1),
            _ => return None,
        };
        self.plan.rungs.get(next).map(|rung| rung.share)
    }
}

/// The part of a fleet's requests that a share of a service's is; what is not known is taken for all.
fn load(share: Ppm, parts: &BTreeMap<String, Ppm>, fleet: &str) -> u64 {
    let part = parts.get(fleet).copied().unwrap_or(Ppm::WHOLE);
    u64::from(share.get()) * u64::from(part.get())
}

// === impl State ===

impl State {
    /// The fleet of `service` that may have no further service under way, if `also` begin first.
    pub(crate) fn full(&self, service: &str, also: &[&str]) -> Option<Full> {
        let mesh = self.mesh()?;
        let declared = mesh.services.get(service)?;
        declared.fleets.iter().find_map(|fleet| {
            let most = mesh.fleets.get(fleet)?.unproven_services_max?;
            let is_of = |other: &Service| other.fleets.contains(fleet);
            let running = self.active().map(|run| run.plan.service.as_str());
            let services: Vec<String> = running
                .chain(also.iter().copied())
                .filter(|other| *other != service)
                .filter(|other| mesh.services.get(*other).is_some_and(is_of))
                .map(str::to_owned)
                .collect();
            let has_room = u32::try_from(services.len()).is_ok_and(|count| count < most);
            (!has_room).then(|| Full {
                fleet: fleet.clone(),
                most,
                services,
            })
        })
    }

    /// The fleet that has no room for the next step of the rollout that is observed.
    pub(crate) fn crowded(&self, observation: &Observation) -> Option<Crowded> {
        let mesh = self.mesh()?;
        let mut caps = mesh.fleets.values().map(|fleet| fleet.unproven_traffic_max);
        if caps.all(|cap| cap.is_none()) {
            return None; // most meshes, each second
        }
        let fleets = &mesh.services.get(&observation.service)?.fleets;
        let mut capped = fleets.iter().filter_map(|fleet| {
            let most = mesh.fleets.get(fleet)?.unproven_traffic_max?;
            Some((fleet, most))
        });
        capped.find_map(|(fleet, most)| self.crowded_in(fleet, most, observation))
    }

    fn crowded_in(&self, fleet: &str, most: Ppm, observation: &Observation) -> Option<Crowded> {
        let run = self.latest(&observation.service)?;
        let next = run.next_share()?;
        if !run.plan.pace.heeds_freeze() {
            return None; // a way out of trouble
        }
        let services = &self.mesh()?.services;
        let is_of = |other: &&Rollout| {
            let declared = services.get(&other.plan.service);
            declared.is_some_and(|declared| declared.fleets.contains(fleet))
        };
        let of_fleet = || self.active().filter(is_of);
        let first = of_fleet().min_by_key(|other| other.number)?;
        if first.number == run.number {
            return None;
        }
        let others: u64 = of_fleet()
            .filter(|other| other.number != run.number)
            .map(|other| load(other.share(), &other.parts, fleet))
            .sum();
        let would_be = others.saturating_add(load(next, &observation.parts, fleet));
        let whole = u64::from(Ppm::WHOLE.get());
        (would_be > u64::from(most.get()) * whole).then(|| Crowded {
            fleet: fleet.to_owned(),
            most,
            would_be: Ppm::of(would_be.div_ceil(whole), whole),
            first: first.plan.service.clone(),
            actor: first.actor.clone(),
            place: first.place().to_owned(),
        })
    }

    /// The fleets of a service in which others would keep a step from going beyond the cap, for
    /// people.
    pub(crate) fn warn_of_caps(&self, plan: &mut Plan) {
        let Some(mesh) = self.mesh() else { return };
        let Some(declared) = mesh.services.get(&plan.service) else {
            return;
        };
        for fleet in &declared.fleets {
            let most = mesh
                .fleets
                .get(fleet)
                .and_then(|it| it.unproven_traffic_max);
            let is_of = |other: &&Rollout| {
                let declared = mesh.services.get(&other.plan.service);
                other.plan.service != plan.service
                    && declared.is_some_and(|declared| declared.fleets.contains(fleet))
            };
            let first = self.active().filter(is_of).min_by_key(|run| run.number);
            if let (Some(most), Some(first)) = (most, first) {
                let text = format!(
                    "fleet `{fleet}` may have {most} of its requests on versions under way \
                     (`unproven_traffic_max`): a step that goes beyond waits for the end of the \
                     rollout of `{}`",
                    first.plan.service
                );
                plan.warnings.push(text);
            }
        }
    }

    /// Why a rollout that began by `event` should have waited for its fleet.
    pub(crate) fn exceeded(&self, event: &Event, rollout: &Rollout) -> Option<Full> {
        let heeds = match event {
            Event::Start { turn, .. } => *turn != Turn::Unchecked,
            Event::Admit { .. } => true,
            _ => false,
        };
        self.full(&rollout.plan.service, &[]).filter(|_| heeds)
    }
}
