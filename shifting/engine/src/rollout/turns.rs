//! When the turn of a start in the queue has come, and what it waits for until then.

use std::cmp::Reverse;

use crate::rollout::after::Order;
use crate::rollout::lease::{Held, Lease};
use crate::rollout::{Event, Queued, QueuedStatus, State, fleet_of};
use crate::time::Time;

// === impl State ===

impl State {
    /// What the program should apply now although nobody asked, in this order: turns that have
    /// come. Of starts that would overlap one is named, of the least critical tier, then the oldest.
    #[must_use]
    pub fn due(&self, now: Time) -> Vec<Event> {
        let first = self
            .services
            .values()
            .filter_map(|state| state.queue.first());
        let ends =
            |first: &&Queued| first.until <= now || matches!(self.order(first), Order::Broken(_));
        let (ended, waiting): (Vec<&Queued>, Vec<&Queued>) = first.partition(ends);
        let mut ready: Vec<(&Queued, Lease)> = waiting
            .into_iter()
            .filter(|first| self.has_turn(first, now))
            .map(|first| (first, self.lease(&first.service)))
            .collect();
        ready.sort_by_key(|(first, _)| (Reverse(self.tier(&first.service)), first.since));
        // What is declared goes before what waits to be started: a start finds the configuration
        // that was declared with it.
        let configurations = self.due_configurations(now);
        let held = configurations.iter();
        let mut taken: Vec<Held<'_>> = held
            .map(|(subject, lease)| Held::new(subject, lease))
            .collect();
        let mut due: Vec<&Queued> = ended;
        for (first, lease) in &ready {
            let own = Held::new(&first.service, lease);
            let began: Vec<&str> = taken.iter().map(|other| other.service).collect();
            if self.full(&first.service, &began).is_some() {
                continue;
            }
            if first.terms.overlap || taken.iter().all(|other| own.shared(*other).is_none()) {
                taken.push(own);
                due.push(first);
            }
        }
        let admit = |first: &Queued| Event::Admit {
            service: first.service.clone(),
        };
        let configure = |(subject, _): &(String, Lease)| {
            let fleet = fleet_of(subject)?.to_owned();
            Some(Event::Configure { fleet })
        };
        let configures = configurations.iter().filter_map(configure);
        configures.chain(due.into_iter().map(admit)).collect()
    }

    /// As declared now.
    pub(crate) fn tier(&self, service: &str) -> crate::mesh::Tier {
        self.service(service)
            .map(|(declared, _)| declared.tier)
            .unwrap_or_default()
    }

    /// Whether nothing keeps the first in a service's queue from beginning.
    pub(crate) fn has_turn(&self, first: &Queued, now: Time) -> bool {
        let service = &first.service;
        let idle = self
            .services
            .get(service)
            .is_some_and(|state| state.running().is_none());
        idle && self.freeze_of(service, now).is_none()
            && !self.is_held(service, &first.terms)
            && self.is_after(&first.terms)
            && self.full(service, &[]).is_none()
    }

    /// The starts that wait for their turn, of one service or of all, for people.
    #[must_use]
    pub fn queue(&self, service: Option<&str>, now: Time) -> Vec<QueuedStatus> {
        let mut all = Vec::new();
        for (name, state) in &self.services {
            if service.is_some_and(|service| service != name) {
                continue;
            }
            let mut before = None;
            for queued in state.queue.iter() {
                let wait = match before.replace(queued) {
                    None => self.first_wait_of(queued, now),
                    Some(before) => Wait {
                        reason: format!("the start of `{}`", before.to),
                        owner: before.actor.clone(),
                        command: None,
                    },
                };
                let cancel = || format!("tidegate rollout cancel {name} {}", queued.to);
                all.push(QueuedStatus {
                    queued: queued.clone(),
                    reason: format!("waits for {}", wait.reason),
                    owner: wait.owner,
                    command: wait.command.unwrap_or_else(cancel),
                });
            }
        }
        all
    }

    /// What the first in a service's queue waits for.
    fn first_wait_of(&self, first: &Queued, now: Time) -> Wait {
        let service = &first.service;
        let state = self.services.get(service);
        if let Some(run) = state.and_then(|state| state.running()) {
            return Wait {
                reason: format!("the rollout to `{}`, at {}", run.plan.to, run.place()),
                owner: run.actor.clone(),
                command: None,
            };
        }
        if let Order::Waits { reason, owner } = self.order(first) {
            return Wait {
                reason,
                owner,
                command: None,
            };
        }
        if let Some(frozen) = self.freeze_of(service, now) {
            return Wait::of_engine(frozen.reason);
        }
        let holders = if first.terms.overlap {
            Vec::new()
        } else {
            self.holders(service)
        };
        match holders.first() {
            Some(holder) => Wait {
                reason: holder.explained(),
                owner: holder.rollout.actor.clone(),
                command: Some(format!(
                    "tidegate rollout start {service} {} --overlap",
                    first.to
                )),
            },
            None => Wait::of_engine(
                self.full(service, &[])
                    .map_or_else(|| "the next second".to_owned(), |full| full.to_string()),
            ),
        }
    }
}

/// What a start waits for.
struct Wait {
    reason: String,
    owner: String,
    /// What ends it early; to cancel the start, when `None`.
    command: Option<String>,
}

// === impl Wait ===

impl Wait {
    fn of_engine(reason: String) -> Self {
        Self {
            reason,
            owner: "engine".to_owned(),
            command: None,
        }
    }
}
