//! What other settings would have decided, on what was observed.
//!
//! A rollout is tried from the state it began in, with the objectives, ladder and waits of
//! another mesh, on the very events that followed. Where the two part, the trial ends: sidecars
//! were not exposed to what would have followed, so nothing that was observed speaks about it.

use serde::Serialize;
use tidegate_engine::mesh::Mesh;
use tidegate_engine::rollout::{ArmCounts, Decision, Event, Rollout, State, fleet_of};
use tidegate_engine::time::Time;

use super::begins;

/// What other settings would have changed for one rollout.
#[derive(Debug, Clone, Serialize)]
pub struct WhatIf {
    /// The service, or `fleet:NAME`.
    pub service: String,
    /// Number of the rollout.
    pub number: u64,
    /// From which version, or revision.
    pub from: String,
    /// To which version, or revision.
    pub to: String,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a trial.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// These settings refuse to begin, or refuse what an operator did then.
    Refused {
        /// Why.
        why: String,
    },
    /// The same, to its end or to the end of the journal.
    Same {
        /// Where it stands in the end.
        place: String,
    },
    /// From here on they part.
    Parted {
        /// Milliseconds after its start.
        after_ms: u64,
        /// Where it stood then, and why.
        was: Box<Stand>,
        /// Where it would have stood, and why.
        would: Box<Stand>,
        /// The canary's requests until then.
        canary: Box<ArmCounts>,
    },
}

/// Where a rollout stands, and why.
#[derive(Debug, Clone, Serialize)]
pub struct Stand {
    /// Such as `judging 5%`.
    pub place: String,
    /// The verdict.
    pub decision: Decision,
}

/// Every rollout of the journal, tried with other settings.
#[derive(Debug)]
pub(super) struct Alternatives<'a> {
    settings: &'a Mesh,
    running: Vec<Trial>,
    over: Vec<WhatIf>,
}

#[derive(Debug)]
struct Trial {
    service: String,
    state: State,
}

// === impl Alternatives ===

impl<'a> Alternatives<'a> {
    pub(super) fn new(settings: &'a Mesh) -> Self {
        Self {
            settings,
            running: Vec::new(),
            over: Vec::new(),
        }
    }

    /// One event that led from `before` to `after`.
    pub(super) fn observe(&mut self, before: &State, event: &Event, after: &State, at: Time) {
        let settings = self.settings;
        let over = &mut self.over;
        self.running.retain_mut(|trial| {
            let end = trial.follow(event, after, settings, at);
            let ends = end.is_some();
            over.extend(end);
            !ends
        });
        if let Some(service) = begins(before, event, after)
            && let Some(started) = after.latest(&service)
        {
            match begin(before, &service, event, settings, at) {
                Ok(state) => self.running.push(Trial { service, state }),
                Err(why) => self
                    .over
                    .push(WhatIf::new(started, Outcome::Refused { why })),
            }
        }
    }

    /// All of them, by number; those of `service` only, if one is named.
    pub(super) fn finish(self, service: Option<&str>) -> Vec<WhatIf> {
        let unfinished = self.running.into_iter().filter_map(|trial| {
            let rollout = trial.state.latest(&trial.service)?;
            let place = place(rollout);
            Some(WhatIf::new(rollout, Outcome::Same { place }))
        });
        let mut all: Vec<WhatIf> = self
            .over
            .into_iter()
            .chain(unfinished)
            .filter(|what_if| service.is_none_or(|service| service == what_if.service))
            .collect();
        all.sort_by_key(|what_if| what_if.number);
        all
    }
}

/// The state in which the rollout begins with other settings.
fn begin(
    before: &State,
    service: &str,
    start: &Event,
    settings: &Mesh,
    at: Time,
) -> Result<State, String> {
    match fleet_of(service) {
        Some(fleet) if !settings.fleets.contains_key(fleet) => {
            return Err(format!("the other mesh declares no fleet `{fleet}`"));
        }
        None if !settings.services.contains_key(service) => {
            return Err(format!("the other mesh declares no service `{service}`"));
        }
        _ => {}
    }
    let mesh = before
        .mesh()
        .map(|mesh| with_settings(mesh, service, settings))
        .ok_or("no mesh was in force")?;
    let declared = before
        .apply(&Event::MeshAccepted { mesh }, at)
        .and_then(|(state, _)| state.apply(start, at));
    match declared {
        Ok((state, _)) => Ok(state),
        Err(refusal) => Err(refusal.to_string()),
    }
}

/// `mesh` with what decides about one service, or one fleet's configuration, taken from another
/// mesh. Versions, hosts and what sidecars are configured with stay: they are what was observed.
fn with_settings(mesh: &Mesh, service: &str, settings: &Mesh) -> Mesh {
    let mut mesh = mesh.clone();
    if let Some(fleet) = fleet_of(service) {
        if let (Some(declared), Some(other)) =
            (mesh.fleets.get_mut(fleet), settings.fleets.get(fleet))
        {
            declared.ladder = other.ladder.clone();
            declared.gates = other.gates.clone();
            declared.rollout = other.rollout.clone();
        }
        // It is judged by the objectives of the services that it touches.
        for (name, declared) in &mut mesh.services {
            if let Some(other) = settings.services.get(name) {
                declared.slo = other.slo.clone();
            }
        }
    } else if let (Some(declared), Some(other)) = (
        mesh.services.get_mut(service),
        settings.services.get(service),
    ) {
        declared.slo = other.slo.clone();
        declared.ladder = other.ladder.clone();
        declared.gates = other.gates.clone();
        declared.rollout = other.rollout.clone();
    }
    mesh
}

// === impl Trial ===

impl Trial {
    /// One more event; its outcome when that ends the trial.
    fn follow(
        &mut self,
        event: &Event,
        after: &State,
        settings: &Mesh,
        at: Time,
    ) -> Option<WhatIf> {
        let substituted;
        let event = match event {
            Event::MeshAccepted { mesh } => {
                let mesh = with_settings(mesh, &self.service, settings);
                substituted = Event::MeshAccepted { mesh };
                &substituted
            }
            Event::MeshDeclared { mesh } => {
                let mesh = with_settings(mesh, &self.service, settings);
                substituted = Event::MeshDeclared { mesh };
                &substituted
            }
            other => other,
        };
        let was = after.latest(&self.service)?;
        let next = match self.state.apply(event, at) {
            Ok((next, _)) => next,
            // It may be over here already, or not yet: that is where they part.
            Err(refusal) => return Some(self.refused(was, refusal.to_string())),
        };
        self.state = next;
        let would = self.state.latest(&self.service)?;
        let parted = was.phase() != would.phase()
            || was.share() != would.share()
            || was.epoch() != would.epoch();
        if parted {
            let outcome = Outcome::Parted {
                after_ms: at.since_ms(was.status(at).started),
                was: Box::new(Stand::of(was, at)),
                would: Box::new(Stand::of(would, at)),
                canary: Box::new(was.status(at).canary),
            };
            return Some(WhatIf::new(was, outcome));
        }
        was.phase().is_final().then(|| {
            let place = place(was);
            WhatIf::new(was, Outcome::Same { place })
        })
    }

    fn refused(&self, was: &Rollout, why: String) -> WhatIf {
        WhatIf::new(was, Outcome::Refused { why })
    }
}

// === impl WhatIf ===

impl WhatIf {
    fn new(rollout: &Rollout, outcome: Outcome) -> Self {
        let plan = rollout.plan();
        Self {
            service: plan.service.clone(),
            number: rollout.number(),
            from: plan.from.clone(),
            to: plan.to.clone(),
            outcome,
        }
    }
}

// === impl Stand ===

impl Stand {
    fn of(rollout: &Rollout, at: Time) -> Self {
        Self {
            place: place(rollout),
            decision: rollout.status(at).decision,
        }
    }
}

/// Such as `judging 5%`.
fn place(rollout: &Rollout) -> String {
    match rollout.rung_name() {
        "-" => rollout.phase().to_string(),
        rung => format!("{} {rung}", rollout.phase()),
    }
}
