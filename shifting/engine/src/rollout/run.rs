//! One rollout and its changes of phase.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::compile::{CanarySplit, Split};
use crate::evidence::Battery;
use crate::rollout::alone::Asks;
use crate::rollout::attribution::{Excused, Tables};
use crate::rollout::cap::Crowded;
use crate::rollout::delivery::Deliveries;
use crate::rollout::freeze::Frozen;
use crate::rollout::sidecars::Sidecars;
use crate::rollout::signals::Signals;
use crate::rollout::witness::Witness;
use crate::rollout::{
    Approval, ArmCounts, Decision, Effect, HistoryEntry, Notice, NoticeLevel, Phase, Plan,
    PlannedRung,
};
use crate::time::Time;
use crate::units::Ppm;

/// Most sentences that are kept of one rollout; the first ones tell how it began.
const HISTORY_MAX: usize = 200;
const HISTORY_FIRST: usize = 20;

/// After a restart, sidecars have this long to reconnect before anything may advance: they retry
/// within a second, and who is not connected is not counted.
const RECONNECT_MS: u64 = 10_000;

/// One rollout, running or over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rollout {
    pub(crate) number: u64,
    pub(crate) actor: String,
    /// Shared, as the history is: what each second changes is copied with the state, and they are large.
    pub(crate) plan: Arc<Plan>,
    pub(crate) phase: Phase,
    /// Index into the plan's rungs; the first while preparing.
    pub(crate) rung: usize,
    pub(crate) epoch: u64,
    /// Observations of earlier exposures are about another rollout.
    pub(crate) first_epoch: u64,
    pub(crate) started: Time,
    pub(crate) since: Time,
    /// When the present exposure was decided.
    pub(crate) exposed: Time,
    /// When exposure was last raised, unless it was taken back since.
    pub(crate) raised: Option<Time>,
    /// Nothing advances before.
    pub(crate) not_before: Time,
    pub(crate) last_tick: Time,
    pub(crate) clock: Clock,
    pub(crate) deliveries: Deliveries,
    pub(crate) signals: Signals,
    pub(crate) battery: Battery,
    pub(crate) canary: ArmCounts,
    pub(crate) stable: ArmCounts,
    /// Both arms, or the objective without a regression: not the canary's fault.
    pub(crate) environment: bool,
    /// It failed at 100%, and was taken back to where stable shows whose fault that is.
    #[serde(default, skip_serializing_if = "Asks::are_none")]
    pub(crate) asks: Asks,
    pub(crate) paused: Option<Paused>,
    pub(crate) decision: Decision,
    pub(crate) revert_reason: Option<String>,
    /// Whose doing it is that the canary is taken back, and from where.
    #[serde(default)]
    pub(crate) reverted: Option<Reverted>,
    /// Why the way back is not open; nothing advances while it isn't.
    #[serde(default)]
    pub(crate) no_way_back: Option<String>,
    /// Who let it leave which rung.
    #[serde(default)]
    pub(crate) approvals: Vec<Approval>,
    /// Who has the candidate revision, where the subject is a fleet's configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sidecars: Option<Box<Sidecars>>,
    /// The second source, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) witness: Option<Box<Witness>>,
    /// By capped fleet, the service's part of its traffic, as of the latest tick.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) parts: BTreeMap<String, Ppm>,
    /// What it overlaps is at fault, and it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) excused: Option<Excused>,
    /// The services, or fleets, whose rollouts it was found to overlap when both were under way.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) found: BTreeSet<String>,
    /// The tables with its callers' rollouts that it overlaps.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) callers: Tables,
    pub(crate) history: Arc<Vec<HistoryEntry>>,
}

/// The clock of a rung.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Clock {
    /// When everyone had acknowledged the exposure.
    pub(crate) acknowledged: Option<Time>,
    /// The canary was seen in the traffic since then.
    pub(crate) traffic: bool,
    /// The clock ran at the latest tick.
    pub(crate) running: bool,
    /// Watched time while nothing stopped the clock.
    pub(crate) baked_ms: u64,
    /// The canary's requests since then.
    pub(crate) canary_requests: u64,
    /// Watched time of the pause at the rung's gate.
    #[serde(default)]
    pub(crate) gate_ms: u64,
    /// Time spent waiting for what should not last.
    pub(crate) held_ms: u64,
    /// People were told that the hold is overdue.
    pub(crate) overdue: bool,
    /// The kind of hold that the history tells of, until the bake goes on.
    pub(crate) noted: Option<String>,
    /// An operator vouched for the evidence to advance that is missing on this rung.
    pub(crate) vouched: bool,
}

/// Who stopped the clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Paused {
    pub(crate) actor: String,
    pub(crate) since: Time,
}

/// Whose doing it is that a canary is taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Its own: its numbers, its silence, or a rejection of its clusters.
    Fault,
    /// Its own or that of another rollout, which it was let overlap: both are suspected.
    Shared,
    /// Sidecars did not acknowledge in time, or rejected something else; that proves nothing
    /// against the version.
    Delivery,
    /// Nobody watched.
    Outage,
    /// An operator's.
    Operator,
    /// A newer version's, by an operator's word.
    Superseded,
}

/// How a canary's way back began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reverted {
    pub(crate) cause: Cause,
    /// Where the rollout stood.
    pub(crate) place: String,
}

/// The time of an event, and what follows from it.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) now: Time,
    /// The latest epoch that was given to an exposure.
    pub(crate) epoch: u64,
    pub(crate) effects: Vec<Effect>,
    /// The freeze that holds for the service that is observed.
    pub(crate) frozen: Option<Frozen>,
    /// What keeps its next step from going beyond a fleet's cap.
    pub(crate) crowded: Option<Crowded>,
}

// === impl Context ===

impl Context {
    /// A new exposure of the service; answers its epoch.
    fn expose(&mut self, service: &str) -> u64 {
        self.epoch = self.epoch.saturating_add(1);
        self.effects.push(Effect::Expose {
            service: service.to_owned(),
            epoch: self.epoch,
        });
        self.epoch
    }

    pub(crate) fn notice(&mut self, service: &str, level: NoticeLevel, text: String) {
        self.effects.push(Effect::Notice(Notice {
            service: service.to_owned(),
            level,
            text,
        }));
    }
}

// === impl Rollout ===

impl Rollout {
    pub(crate) fn new(number: u64, actor: &str, plan: Plan, context: &mut Context) -> Self {
        let now = context.now;
        let epoch = context.expose(&plan.service);
        let mut rollout = Self {
            number,
            actor: actor.to_owned(),
            phase: Phase::Preparing,
            rung: 0,
            epoch,
            first_epoch: epoch,
            started: now,
            since: now,
            exposed: now,
            raised: None,
            not_before: now,
            last_tick: now,
            clock: Clock::default(),
            deliveries: Deliveries::default(),
            signals: Signals::default(),
            battery: Battery::by_rules(plan.policy.rules, &plan.slo, horizon(&plan)),
            canary: ArmCounts::default(),
            stable: ArmCounts::default(),
            environment: false,
            asks: Asks::default(),
            paused: None,
            decision: Decision::Done,
            revert_reason: None,
            reverted: None,
            no_way_back: None,
            approvals: Vec::new(),
            sidecars: plan
                .configuration
                .is_some()
                .then(|| Box::new(Sidecars::new(&plan.to))),
            witness: Witness::called(&plan, horizon(&plan)).map(Box::new),
            parts: BTreeMap::new(),
            excused: None,
            found: BTreeSet::new(),
            callers: Tables::new(),
            history: Arc::default(),
            plan: Arc::new(plan),
        };
        let (from, to) = (&rollout.plan.from, &rollout.plan.to);
        let text = match &rollout.plan.configuration {
            None => format!("{actor} started {from} → {to}; preparing its hosts at 0%"),
            Some(change) => format!(
                "{actor} started the revision {from} → {to}, on no sidecar yet: {}",
                change.changes.join("; ")
            ),
        };
        rollout.tell(NoticeLevel::Info, text, context);
        for warning in rollout.plan.warnings.clone() {
            rollout.tell(NoticeLevel::Warning, warning, context);
        }
        rollout.decision = rollout.first_wait(now);
        rollout
    }

    /// Number of the rollout, rising over the journal's life.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// What was planned; it never changes.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Where it stands.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The present exposure; an [`Observation`](crate::rollout::Observation) names it.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The canary's share of requests as decided.
    #[must_use]
    pub fn share(&self) -> Ppm {
        match self.phase {
            Phase::Preparing | Phase::Reverting | Phase::Reverted => Ppm::ZERO,
            Phase::Judging => self.planned_rung().map_or(Ppm::ZERO, |rung| rung.share),
            Phase::Soaking | Phase::Committing | Phase::Committed => Ppm::WHOLE,
        }
    }

    /// How the service's traffic must be split now.
    pub(crate) fn split(&self) -> Split {
        let (stable, canary) = self.parts();
        let canary = canary.map(|(version, share)| CanarySplit {
            version: version.to_owned(),
            share,
            hosts: self.planned_rung().and_then(|rung| rung.hosts),
            ttl_ms: self.plan.policy.dead_man_ttl_ms,
        });
        Split {
            stable: stable.to_owned(),
            canary,
        }
    }

    /// The version that has the traffic by default, and the one beside it with its share.
    pub(crate) fn parts(&self) -> (&str, Option<(&str, Ppm)>) {
        let (from, to) = (self.plan.from.as_str(), self.plan.to.as_str());
        let canary = Some((to, self.share()));
        match self.phase {
            Phase::Reverted => (from, None),
            Phase::Committed => (to, None),
            // Sidecars that have the new route already lead to `to` by default; for the others
            // the share still does, until they acknowledge.
            Phase::Committing => (to, canary),
            Phase::Preparing | Phase::Judging | Phase::Soaking | Phase::Reverting => (from, canary),
        }
    }

    /// The subject is a fleet's configuration, not a service's traffic.
    #[must_use]
    pub fn is_configuration(&self) -> bool {
        self.plan.configuration.is_some()
    }

    pub(crate) fn planned_rung(&self) -> Option<&PlannedRung> {
        self.plan.rungs.get(self.rung)
    }

    /// The rung it stands on: `1 host`, `5%`, `100%`; `-` before the first and at rest.
    #[must_use]
    pub fn rung_name(&self) -> &str {
        match self.phase {
            Phase::Judging | Phase::Soaking | Phase::Committing => {
                self.planned_rung().map_or("-", |rung| &*rung.name)
            }
            Phase::Preparing | Phase::Committed | Phase::Reverting | Phase::Reverted => "-",
        }
    }

    /// The canary is the only arm.
    pub(crate) fn takes_everything(&self) -> bool {
        self.share() == Ppm::WHOLE
    }

    /// Requests may reach the canary, by a share that sidecars drop when nobody renews it.
    pub(crate) fn is_exposed(&self) -> bool {
        matches!(self.phase, Phase::Judging | Phase::Soaking)
    }

    /// Where it stands, in words.
    pub(crate) fn place(&self) -> &str {
        match self.phase {
            Phase::Preparing => "preparing",
            Phase::Judging => self.rung_name(),
            Phase::Soaking => "the soak",
            Phase::Committing => "the commit",
            Phase::Committed => "committed",
            Phase::Reverting => "reverting",
            Phase::Reverted => "reverted",
        }
    }

    /// The evidence of this phase was positive: one phase or rung further, never more.
    pub(crate) fn advance(&mut self, context: &mut Context) {
        let last = self.rung.saturating_add(1) >= self.plan.rungs.len();
        let text = match self.phase {
            Phase::Preparing => {
                self.raised = Some(context.now);
                self.fix_edges();
                self.expose(Phase::Judging, 0, context);
                let rung = match self.is_configuration() {
                    false => format!(" ({})", self.rung_name()),
                    true => String::new(),
                };
                format!("all sidecars are ready; {}{rung}", self.raised_to())
            }
            Phase::Judging if !last => {
                let passed = self.passed();
                self.raised = Some(context.now);
                self.expose(Phase::Judging, self.rung.saturating_add(1), context);
                format!("{passed}; {}", self.raised_to())
            }
            Phase::Judging => {
                self.phase = Phase::Soaking;
                self.since = context.now;
                let clock = std::mem::take(&mut self.clock);
                self.clock = Clock {
                    baked_ms: 0,
                    gate_ms: 0,
                    held_ms: 0,
                    overdue: false,
                    ..clock
                };
                format!(
                    "{} has all {}, acknowledged and seen in the traffic; soaking for {} s \
                     with {} still warm",
                    self.plan.to,
                    self.noun(),
                    self.plan.policy.soak_ms / 1000,
                    self.plan.from
                )
            }
            Phase::Soaking => {
                let passed = self.passed();
                self.expose(Phase::Committing, self.rung, context);
                match self.is_configuration() {
                    false => format!("{passed}; writing {} into the route", self.plan.to),
                    true => format!("{passed}; {} is to be what the fleet has", self.plan.to),
                }
            }
            Phase::Committing | Phase::Committed | Phase::Reverting | Phase::Reverted => return,
        };
        self.tell(NoticeLevel::Info, text, context);
        self.decision = Decision::Advance;
    }

    /// Back to 0, at once.
    pub(crate) fn revert(
        &mut self,
        cause: Cause,
        reason: String,
        level: NoticeLevel,
        context: &mut Context,
    ) {
        let place = self.place().to_owned();
        let text = format!("taking {} back from {place}: {reason}", self.plan.to);
        self.reverted = Some(Reverted { cause, place });
        self.raised = None;
        self.paused = None;
        self.environment = false;
        self.expose(Phase::Reverting, self.rung, context);
        self.tell(level, text, context);
        self.decision = Decision::Revert {
            reason: reason.clone(),
        };
        self.revert_reason = Some(reason);
    }

    /// One rung down; the lowest stays.
    pub(crate) fn step_back(&mut self, reason: &str, context: &mut Context) {
        self.raised = None;
        self.expose(Phase::Judging, self.rung.saturating_sub(1), context);
        // What was approved was a rung that stayed passed.
        self.approvals.retain(|given| given.rung < self.rung);
        let text = format!("one rung back, to {}: {reason}", self.rung_name());
        self.tell(NoticeLevel::Page, text, context);
    }

    /// It is over.
    pub(crate) fn finish(
        &mut self,
        phase: Phase,
        level: NoticeLevel,
        text: String,
        context: &mut Context,
    ) {
        // Nobody looks again: what was last seen is what people read from now on.
        let latest = self.deliveries.latest.take();
        self.expose(phase, self.rung, context);
        self.deliveries.latest = latest;
        self.signals.keep_latest_share();
        self.tell(level, text, context);
        self.decision = Decision::Done;
    }

    fn expose(&mut self, phase: Phase, rung: usize, context: &mut Context) {
        self.phase = phase;
        self.rung = rung;
        self.since = context.now;
        self.exposed = context.now;
        self.epoch = context.expose(&self.plan.service);
        self.clock = Clock::default();
        self.deliveries.expect_anew();
        self.signals.restart();
        self.battery.expect_share(self.share());
        self.ask_for_proof();
        self.choose_sidecars();
        self.restart_witness();
    }

    /// What the share is a share of.
    pub(crate) fn noun(&self) -> &'static str {
        if self.is_configuration() {
            "sidecars"
        } else {
            "requests"
        }
    }

    /// Who has the new side now, in words.
    fn raised_to(&self) -> String {
        let to = &self.plan.to;
        match &self.sidecars {
            None => format!("{to} gets {} of requests", self.share()),
            Some(sidecars) => format!(
                "{to} goes to {} ({})",
                sidecars.exposed.words(),
                self.rung_name()
            ),
        }
    }

    /// Nobody watched for a while: the rung begins anew, what was proven stays.
    pub(crate) fn restart_rung(&mut self, now: Time) {
        self.since = now;
        self.exposed = now;
        self.last_tick = now;
        self.not_before = now.plus_ms(RECONNECT_MS);
        self.clock = Clock::default();
        self.deliveries.restart(now);
        self.signals.restart();
        self.battery.expect_share(self.share());
        if let Some(sidecars) = &mut self.sidecars {
            sidecars.health.restart();
        }
        self.restart_witness();
    }

    /// A sentence for the history.
    pub(crate) fn note(&mut self, text: String, now: Time) {
        let history = Arc::make_mut(&mut self.history);
        if history.len() >= HISTORY_MAX {
            history.remove(HISTORY_FIRST);
        }
        history.push(HistoryEntry { at: now, text });
    }

    /// A sentence for the history and for people.
    pub(crate) fn tell(&mut self, level: NoticeLevel, text: String, context: &mut Context) {
        let service = self.plan.service.clone();
        context.notice(&service, level, text.clone());
        self.note(text, context.now);
    }

    fn passed(&self) -> String {
        format!(
            "{} passed: watched for {} s, {} canary requests, {}",
            self.place(),
            self.clock.baked_ms / 1000,
            self.clock.canary_requests,
            self.battery.regression().sentence
        )
    }
}

/// Ticks of watched time that are planned.
pub(crate) fn horizon(plan: &Plan) -> u32 {
    let watched_ms = plan.policy.watched_ms(plan.rungs.len());
    u32::try_from(watched_ms / 1000).unwrap_or(u32::MAX)
}
