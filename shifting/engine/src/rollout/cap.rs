//! How many services of a fleet may be on a version that is not proven at once: what a fault that
//! nobody's evidence shows can reach.

use crate::mesh::Service;
use crate::rollout::{Event, Rollout, State, Turn};

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
