//! Starts that wait for their turn: behind a running rollout, or for the end of a freeze. A queued
//! start is checked again when its turn comes, and expires when that does not come in time; both
//! are said. [`State::due`] tells the program when a turn has come.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::rollout::after::Order;
use crate::rollout::run::Context;
use crate::rollout::{Cause, NoticeLevel, Phase, Plan, Refusal, State, Terms, Turn};
use crate::time::Time;

/// Most starts that wait for one service.
const QUEUE_MAX: usize = 8;

/// A turn that did not come for so long is given up: what was right a day ago may not be now. The
/// time of a freeze does not count.
const PATIENCE_MS: u64 = 24 * 3_600_000;

/// A start that waits for its turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queued {
    /// The service.
    pub service: String,
    /// The version to move to.
    pub to: String,
    /// Who asked.
    pub actor: String,
    /// When.
    pub since: Time,
    /// When it is given up.
    pub until: Time,
    /// What else it asks for.
    #[serde(default, skip_serializing_if = "Terms::is_none")]
    pub terms: Terms,
}

/// What an operator asks to start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Start<'a> {
    pub(crate) service: &'a str,
    pub(crate) to: &'a str,
    pub(crate) actor: &'a str,
    pub(crate) terms: &'a Terms,
}

/// A start that waits for its turn, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueuedStatus {
    /// What waits.
    #[serde(flatten)]
    pub queued: Queued,
    /// What for, as a sentence.
    pub reason: String,
    /// Who ends the wait: `engine`, or whoever started what it waits for.
    pub owner: String,
    /// What an operator can do.
    pub command: String,
}

// === impl Queued ===

impl Queued {
    fn start(&self) -> Start<'_> {
        Start {
            service: &self.service,
            to: &self.to,
            actor: &self.actor,
            terms: &self.terms,
        }
    }
}

// === impl State ===

impl State {
    /// Starts at once, or takes its place in the queue, as `turn` says.
    pub(crate) fn start(
        &mut self,
        start: &Start<'_>,
        turn: Turn,
        context: &mut Context,
    ) -> Result<(), Refusal> {
        let Start {
            service, to, actor, ..
        } = *start;
        if turn == Turn::Unchecked {
            let plan = self.possible(service, to)?;
            self.begin(plan, actor, context);
            return Ok(());
        }
        let terms = self.settled(start)?;
        if turn == Turn::Supersede && !terms.after.is_empty() {
            let why = "what supersedes waits for nothing else; leave out --after";
            return Err(not_now(service, why.to_owned()));
        }
        let start = &Start {
            terms: &terms,
            ..*start
        };
        let (_, state) = self.service(service)?;
        if state.running().is_some() {
            self.check_successor(service, to)?;
            return match turn {
                Turn::Supersede => self.supersede(start, context),
                _ => self.enqueue(start, context),
            };
        }
        let waiting = !state.queue.is_empty();
        let plan = self.checked(service, to)?;
        match self.check_freeze(service, plan.pace) {
            Err(_) if turn == Turn::Queue => return self.enqueue(start, context),
            frozen => frozen?,
        }
        if turn == Turn::Supersede {
            self.clear_queue(service, to, context);
        } else if start.terms.overlap && self.is_next(start) {
            self.take_next(service);
        } else if waiting {
            return self.enqueue(start, context);
        }
        let held = self.is_held(service, start.terms) || !self.is_after(start.terms);
        if held || self.full(service, &[]).is_some() {
            return self.enqueue(start, context);
        }
        self.begin_by(start, plan, context);
        Ok(())
    }

    /// Begins what was asked for; by its word beside what it overlaps.
    fn begin_by(&mut self, start: &Start<'_>, mut plan: Plan, context: &mut Context) {
        if start.terms.overlap {
            self.let_overlap(&mut plan, start.actor);
        }
        self.begin(plan, start.actor, context);
    }

    /// Whether a running rollout of another service keeps it from starting.
    pub(crate) fn is_held(&self, service: &str, terms: &Terms) -> bool {
        !terms.overlap && !self.holders(service).is_empty()
    }

    /// Whether it is the first in the queue; with another order it is another start.
    fn is_next(&self, start: &Start<'_>) -> bool {
        let state = self.services.get(start.service);
        let is_same =
            |first: &Queued| first.to == start.to && first.terms.after == start.terms.after;
        state.is_some_and(|state| state.queue.first().is_some_and(is_same))
    }

    fn take_next(&mut self, service: &str) {
        if let Some(state) = self.services.get_mut(service) {
            Arc::make_mut(&mut state.queue).remove(0);
        }
    }

    /// Whether a start may wait behind the running rollout, or take its place.
    fn check_successor(&self, service: &str, to: &str) -> Result<(), Refusal> {
        let (_, state) = self.service(service)?;
        self.acceptable(service, to)?;
        let Some(running) = state.running().filter(|run| run.phase != Phase::Reverting) else {
            return Ok(());
        };
        let plan = &running.plan;
        if plan.to == to {
            return Err(Refusal::Running {
                service: service.to_owned(),
                from: plan.from.clone(),
                to: plan.to.clone(),
                phase: running.place().to_owned(),
            });
        }
        if plan.from == to {
            let why = format!(
                "`{to}` is what the running rollout to `{}` came from; the way back is `tidegate \
                 rollout abort {service}`",
                plan.to
            );
            return Err(not_now(service, why));
        }
        Ok(())
    }

    fn enqueue(&mut self, start: &Start<'_>, context: &mut Context) -> Result<(), Refusal> {
        let Start {
            service,
            to,
            actor,
            terms,
        } = *start;
        let now = context.now;
        let frozen_until = self.freeze_of(service, now).and_then(|frozen| frozen.until);
        let Some(state) = self.services.get_mut(service) else {
            return Ok(());
        };
        let queue = Arc::make_mut(&mut state.queue);
        if queue.iter().any(|queued| queued.to == to) {
            let why = format!("a start of `{to}` waits already: tidegate rollout queue");
            return Err(not_now(service, why));
        }
        if queue.len() >= QUEUE_MAX {
            let why = format!("{QUEUE_MAX} starts wait already: tidegate rollout queue");
            return Err(not_now(service, why));
        }
        queue.push(Queued {
            service: service.to_owned(),
            to: to.to_owned(),
            actor: actor.to_owned(),
            since: now,
            until: frozen_until.unwrap_or(now).max(now).plus_ms(PATIENCE_MS),
            terms: terms.clone(),
        });
        let text = format!("{actor} queued a start of `{to}`, number {}", queue.len());
        self.tell(service, NoticeLevel::Info, text, context);
        Ok(())
    }

    /// The canary goes back to 0, acknowledged, and only then the newer version starts.
    fn supersede(&mut self, start: &Start<'_>, context: &mut Context) -> Result<(), Refusal> {
        let Start {
            service, to, actor, ..
        } = *start;
        self.check_freeze(service, crate::rollout::Pace::Ordinary)?;
        self.clear_queue(service, to, context);
        let running = self.running_mut(service)?;
        if running.phase != Phase::Reverting {
            let reason = format!("superseded by `{to}`, which {actor} asked for");
            running.revert(Cause::Superseded, reason, NoticeLevel::Info, context);
        }
        self.enqueue(start, context)
    }

    /// What is newer takes the place of all that waits.
    fn clear_queue(&mut self, service: &str, to: &str, context: &mut Context) {
        let Some(state) = self.services.get_mut(service) else {
            return;
        };
        let dropped = std::mem::take(&mut state.queue);
        for queued in dropped.iter() {
            let text = format!("the queued start of `{}` gives way to `{to}`", queued.to);
            self.tell(service, NoticeLevel::Warning, text, context);
        }
    }

    /// An operator takes a start out of the queue.
    pub(crate) fn cancel(
        &mut self,
        service: &str,
        to: &str,
        actor: &str,
        context: &mut Context,
    ) -> Result<(), Refusal> {
        self.service(service)?;
        let Some(state) = self.services.get_mut(service) else {
            return Ok(());
        };
        let is_meant = |queued: &Queued| queued.to == to;
        if !state.queue.iter().any(is_meant) {
            let why = format!("no start of `{to}` waits: tidegate rollout queue");
            return Err(not_now(service, why));
        }
        Arc::make_mut(&mut state.queue).retain(|queued| !is_meant(queued));
        let text = format!("{actor} cancelled the queued start of `{to}`");
        self.tell(service, NoticeLevel::Info, text, context);
        Ok(())
    }

    /// The turn of the first start in the queue: it begins, or is dropped with the reason.
    pub(crate) fn admit(&mut self, service: &str, context: &mut Context) -> Result<(), Refusal> {
        let (_, state) = self.service(service)?;
        let Some(first) = state.queue.first().cloned() else {
            return Err(not_now(service, "no start waits".to_owned()));
        };
        let expired = first.until <= context.now;
        let order = self.order(&first);
        let broken = matches!(order, Order::Broken(_));
        if !expired && !broken && !self.has_turn(&first, context.now) {
            return Err(not_now(service, "no turn has come".to_owned()));
        }
        self.take_next(service);
        let why = if expired {
            "its turn did not come in time".to_owned()
        } else if let Order::Broken(why) = order {
            why
        } else {
            match self.checked(service, &first.to) {
                Ok(plan) => {
                    self.begin_by(&first.start(), plan, context);
                    return Ok(());
                }
                Err(refusal) => refusal.to_string(),
            }
        };
        let text = format!(
            "the start of `{}` that {} queued is dropped: {why}",
            first.to, first.actor
        );
        self.tell(service, NoticeLevel::Warning, text, context);
        Ok(())
    }

    /// For people, and for the history of the latest rollout while it runs.
    fn tell(&mut self, service: &str, level: NoticeLevel, text: String, context: &mut Context) {
        match self.running_mut(service) {
            Ok(rollout) => rollout.tell(level, text, context),
            Err(_) => context.notice(service, level, text),
        }
    }
}

pub(crate) fn not_now(service: &str, why: String) -> Refusal {
    Refusal::NotNow {
        service: service.to_owned(),
        why,
    }
}
