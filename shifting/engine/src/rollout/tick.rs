//! One observation of a running rollout.

use crate::evidence::{HOLD_AT, REVERT_AT, enough};
use crate::rollout::delivery::list;
use crate::rollout::faults::Fault;
use crate::rollout::judge::{ANSWERS, Hold, Look};
use crate::rollout::run::Context;
use crate::rollout::signals::{fresh, seen};
use crate::rollout::{Evidence, NoticeLevel, Observation, Phase, PlannedRung, Rollout};

/// A tick stands for at most this much watched time.
pub(crate) const STEP_MAX_MS: u64 = 3_000;

/// Ticks that are further apart than this (or the dead man's time, if that is shorter) leave a
/// hole in which anything may have happened.
const GAP_MS: u64 = 5_000;

/// Reports that arrive within so many of their intervals of an acknowledgement began before it.
const SETTLE_INTERVALS: u64 = 2;

/// How long a revert waits for acknowledgements and for the canary's last requests.
const REVERT_DEADLINE_MS: u64 = 30_000;

/// Odds ratio that is tolerated: more where a few hosts stand for a version, since hosts differ
/// by nature (evidence §4.7f).
pub(crate) const RHO: f64 = 1.5;
const RHO_FEW_HOSTS: f64 = 2.0;

/// The odds ratio that is tolerated on a rung.
pub(crate) fn tolerated_odds(rung: &PlannedRung) -> f64 {
    match rung.hosts {
        Some(_) => RHO_FEW_HOSTS,
        None => RHO,
    }
}

// === impl Rollout ===

impl Rollout {
    /// Takes in what the world looked like, and decides.
    pub(crate) fn tick(&mut self, observation: &Observation, context: &mut Context) {
        if observation.epoch < self.first_epoch || self.phase.is_final() {
            return; // about an earlier rollout
        }
        let now = context.now;
        let evidence = &observation.evidence;
        let step_ms = self.pass_time(context);
        let current = observation.epoch == self.epoch;
        if current {
            for news in self.deliveries.observe(&observation.delivery, now) {
                self.tell(NoticeLevel::Warning, news, context);
            }
        }
        if current && let (Some(sidecars), Some(fleet)) = (&mut self.sidecars, &observation.fleet) {
            sidecars.observe(fleet, now);
        }
        let look = Look {
            evidence,
            acknowledged: current && self.deliveries.complete(),
            now,
        };
        self.count(look, context);
        self.hear_witness(observation.witness.as_deref(), look);
        match self.phase {
            Phase::Preparing => self.prepare(look, step_ms, context),
            Phase::Judging | Phase::Soaking => self.judge(look, step_ms, context),
            Phase::Committing => self.commit(look, context),
            Phase::Reverting => self.take_back(look, context),
            Phase::Committed | Phase::Reverted => {}
        }
    }

    /// Watched time since the latest tick. A gap is an outage like any other: what sidecars may
    /// have dropped is taken back, what they may have kept has to be proven anew.
    fn pass_time(&mut self, context: &mut Context) -> u64 {
        let now = context.now;
        let gap_ms = now.since_ms(self.last_tick);
        self.last_tick = now;
        let ttl_ms = self.plan.policy.dead_man_ttl_ms;
        if gap_ms >= ttl_ms.min(GAP_MS) && self.is_exposed() {
            self.recover(Some(gap_ms), ttl_ms, context);
        }
        gap_ms.min(STEP_MAX_MS)
    }

    /// Adds the tick to what is known.
    fn count(&mut self, look: Look<'_>, context: &mut Context) {
        let Look { evidence, now, .. } = look;
        for (sum, arm) in [
            (&mut self.canary, &evidence.canary),
            (&mut self.stable, &evidence.stable),
        ] {
            sum.in_flight = 0; // a gauge: the latest counts
            sum.add(arm);
        }
        self.signals.observe(evidence, self.takes_everything(), now);
        if self.asks_stable() {
            self.signals.observe_stable_answers(&evidence.stable, now);
        }
        if look.acknowledged {
            self.clock.acknowledged.get_or_insert(now);
        }
        if !matches!(
            self.phase,
            Phase::Judging | Phase::Soaking | Phase::Committing
        ) {
            return;
        }
        let settle_ms = SETTLE_INTERVALS * evidence.interval_ms();
        let acknowledged = self.clock.acknowledged;
        let settled = acknowledged.is_some_and(|at| now.since_ms(at) > settle_ms);
        if !self.leave_out_late(look, settled) {
            let rho = self.tolerated(evidence);
            if acknowledged.is_some_and(|at| at < now) {
                self.battery.observe_proof(evidence, rho);
            }
            self.battery.observe(evidence, rho, now);
        }
        let Some(acknowledged) = acknowledged else {
            return;
        };
        if acknowledged < now {
            self.clock.traffic |= seen(&evidence.canary);
            let requests = self.clock.canary_requests;
            self.clock.canary_requests = requests.saturating_add(evidence.canary.requests);
        }
        // Whose requests come through which sidecar is nobody's decision.
        let decided = !self.is_configuration();
        if decided && look.acknowledged && settled {
            self.battery.observe_share(evidence);
        }
        let off = enough(self.battery.share().0, REVERT_AT);
        match (off, self.signals.share_off_since) {
            (true, None) => self.signals.share_off_since = Some(now),
            (false, Some(_)) if !enough(self.battery.share().0, HOLD_AT) => {
                self.signals.share_off_since = None;
            }
            _ => {}
        }
        self.look_at_environment(context);
    }

    /// The odds ratio that is tolerated. A host that was worse than its peers before the new version
    /// came to it may be as much worse with it.
    pub(crate) fn tolerated(&self, evidence: &Evidence) -> f64 {
        let Some(rung) = self.planned_rung() else {
            return RHO;
        };
        let tolerated = tolerated_odds(rung);
        match evidence.host_ratio_ppm {
            Some(ratio_ppm) if rung.hosts.is_some() => {
                tolerated.max(f64::from(ratio_ppm) / 1_000_000.0)
            }
            _ => tolerated,
        }
    }

    /// Below 100%, a breach that the canary does not have alone is not its fault (evidence §4.3).
    /// A stable version that is broken alone does not hold what replaces it.
    fn look_at_environment(&mut self, context: &mut Context) {
        if self.environment && !self.asks.need_a_person() && self.battery.environment_clear() {
            self.environment = false;
            let text = "the objective is kept again; the clock goes on".to_owned();
            self.tell(NoticeLevel::Info, text, context);
        }
        if self.environment || self.takes_everything() {
            return;
        }
        let blameless = !enough(self.battery.worse().0, HOLD_AT);
        let breach = match (self.battery.canary_breach(), self.battery.stable_breach()) {
            (Some(breach), None) if blameless => breach,
            (_, Some(breach)) if !self.battery.canary_clear() => breach,
            _ => return,
        };
        self.environment = true;
        if self.battery.stable_breach().is_some() {
            self.stable_failed_as_well();
        }
        let text = format!(
            "{} breach the objective, and not the canary's alone: {}; held at {}, nothing is \
             blamed on {}",
            breach.metric,
            breach.sentence,
            self.place(),
            self.plan.to
        );
        self.tell(NoticeLevel::Page, text, context);
    }

    fn prepare(&mut self, look: Look<'_>, step_ms: u64, context: &mut Context) {
        if let Some(reason) = self.delivery_fault(look.now) {
            self.revert(self.cause(look.now), reason, NoticeLevel::Warning, context);
            return;
        }
        let doubt = self.preparation_doubt(look);
        match doubt.or_else(|| self.gate(step_ms, context)) {
            Some(hold) => self.hold(hold, step_ms, context),
            None => self.advance(context),
        }
    }

    fn judge(&mut self, look: Look<'_>, step_ms: u64, context: &mut Context) {
        let fault = self
            .delivery_fault(look.now)
            .map(Fault::from)
            .or_else(|| self.service_fault(look));
        if let Some(fault) = fault {
            self.answer(fault, look, context);
            return;
        }
        let doubt = self.doubt(look);
        let was_running = std::mem::replace(&mut self.clock.running, doubt.is_none());
        if let Some(hold) = doubt {
            self.hold(hold, step_ms, context);
            if self.outage_after_raise(look.now) {
                self.step_back("reports stopped right after the last step", context);
            }
            return;
        }
        if was_running {
            self.clock.baked_ms = self.clock.baked_ms.saturating_add(step_ms);
        }
        let missing = self.missing(look);
        match missing.or_else(|| self.gate(step_ms, context)) {
            Some(hold) => self.hold(hold, step_ms, context),
            None => self.advance(context),
        }
    }

    /// Waits, and tells people once when that has lasted too long.
    fn hold(&mut self, hold: Hold, step_ms: u64, context: &mut Context) {
        if hold.kind == "bake" {
            self.clock.noted = None;
        } else {
            self.note_hold(&hold, context);
        }
        if !hold.is_planned() {
            self.clock.held_ms = self.clock.held_ms.saturating_add(step_ms);
            let deadline_ms = self.plan.policy.hold_deadline_ms;
            if self.clock.held_ms >= deadline_ms && !self.clock.overdue {
                self.clock.overdue = true;
                let text = format!(
                    "held for {} s at {}, past its deadline: {}",
                    self.clock.held_ms / 1000,
                    self.place(),
                    hold.reason
                );
                self.tell(NoticeLevel::Page, text, context);
            }
        }
        self.wait(hold, context.now);
    }

    /// A sentence when the kind of hold changes. The usual course of a new exposure (to be
    /// acknowledged, reported and seen in the traffic) is none.
    fn note_hold(&mut self, hold: &Hold, context: &mut Context) {
        let now = context.now;
        let usual = match hold.kind {
            "acknowledge" | "paused" => true,
            "evidence" => self.phase == Phase::Preparing,
            "traffic" => now.since_ms(self.exposed) < GAP_MS,
            _ => false,
        };
        if !usual && self.clock.noted.as_deref() != Some(hold.kind) {
            self.clock.noted = Some(hold.kind.to_owned());
            let text = format!("held ({}): {}", hold.kind, hold.reason);
            if hold.kind == ANSWERS {
                self.stable_failed_as_well();
                self.environment |= self.asks.need_a_person();
                self.tell(NoticeLevel::Page, text, context);
            } else {
                self.note(text, now);
            }
        }
    }

    /// The share stays at 100% until every connected sidecar has the route, or its time is over.
    /// A sidecar that rejects the route would be left on the old version alone: everyone goes back.
    fn commit(&mut self, look: Look<'_>, context: &mut Context) {
        let fault = self
            .rejection_fault()
            .map(Fault::from)
            .or_else(|| self.service_fault(look));
        if let Some(fault) = fault {
            self.answer(fault, look, context);
            return;
        }
        let settled = look.now >= self.not_before;
        let overdue = look.now.since_ms(self.exposed) >= self.plan.policy.acknowledge_deadline_ms;
        if !((look.acknowledged && settled) || overdue) {
            if let Some(hold) = self.delivery_doubt(look) {
                self.wait(hold, look.now);
            }
            return;
        }
        let (rest, level) = self.stragglers();
        let text = format!("{} has all {}; committed{rest}", self.plan.to, self.whole());
        self.finish(Phase::Committed, level, text, context);
    }

    /// Reverted is said when nothing of the canary is left, or with what is left (invariant S18).
    fn take_back(&mut self, look: Look<'_>, context: &mut Context) {
        let in_flight = self.in_flight(look.evidence);
        let settled = self.clock.acknowledged.is_some_and(|at| {
            look.now.since_ms(at) >= SETTLE_INTERVALS * look.evidence.interval_ms()
        }) && look.now >= self.not_before;
        let done = look.acknowledged && settled && in_flight == Some(0);
        let overdue = look.now.since_ms(self.exposed) >= REVERT_DEADLINE_MS;
        if !done && !overdue {
            return;
        }
        let (mut rest, mut level) = self.stragglers();
        match in_flight {
            Some(0) => {}
            Some(n) => {
                rest.push_str(&format!(
                    "; {n} requests are still in flight on {}",
                    self.plan.to
                ));
                level = level.max(NoticeLevel::Warning);
            }
            None => {
                rest.push_str("; requests in flight are unknown, too little is reported");
                level = level.max(NoticeLevel::Warning);
            }
        }
        let text = format!(
            "{} has all {}; reverted{rest}",
            self.plan.from,
            self.whole()
        );
        self.finish(Phase::Reverted, level, text, context);
    }

    /// What the side that is left has.
    fn whole(&self) -> &'static str {
        if self.is_configuration() {
            "sidecars"
        } else {
            "traffic"
        }
    }

    /// The canary's requests in flight; unknown when too little is reported. A sidecar that has its
    /// old revision back goes on serving: what it has in flight is no canary's.
    fn in_flight(&self, evidence: &Evidence) -> Option<u64> {
        if self.is_configuration() {
            return Some(0);
        }
        fresh(evidence.canary_fresh).then_some(evidence.canary.in_flight)
    }

    /// Who does not have the exposure, for a last sentence, and how urgent that is.
    fn stragglers(&self) -> (String, NoticeLevel) {
        let mut rest = String::new();
        let mut level = NoticeLevel::Info;
        let rejected: Vec<&str> = self
            .deliveries
            .latest
            .iter()
            .flat_map(|delivery| &delivery.rejected)
            .map(|rejection| rejection.sidecar.as_str())
            .collect();
        let behind = self.deliveries.behind();
        let gone = self.deliveries.gone();
        let unknown = self.deliveries.latest.is_none();
        for (what, names) in [("rejected by", &rejected), ("not acknowledged by", &behind)] {
            if !names.is_empty() {
                rest.push_str(&format!("; {what} {}", list(names)));
                level = NoticeLevel::Page;
            }
        }
        if unknown {
            rest.push_str("; nothing is known of who has it");
            level = NoticeLevel::Page;
        }
        if !gone.is_empty() {
            rest.push_str(&format!("; not connected: {}", list(&gone)));
            level = level.max(NoticeLevel::Warning);
        }
        (rest, level)
    }
}
