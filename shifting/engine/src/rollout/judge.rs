//! The verdict on a rung or on the soak, beside [`super::faults`]: wait, one rung back, or advance.
//!
//! Everything here only looks; [`super::tick`] acts. What stops the clock is asked first, so that
//! time counts as baked only when nothing was doubtful. Advance is what remains when every doubt
//! was answered by evidence (invariants S3, S4).

use std::borrow::Cow;
use std::sync::Arc;

use crate::evidence::HOLD_AT;
use crate::rollout::advance::PROOF;
use crate::rollout::delivery::list;
use crate::rollout::faults::e_value;
use crate::rollout::signals::{fresh, seen};
use crate::rollout::witness::SOURCES;
use crate::rollout::{Decision, Evidence, Phase, Reason, Rollout, Waiting};
use crate::time::Time;

/// Asymmetric silence for so long reverts (evidence §4.6).
pub(crate) const ASYMMETRIC_MS: u64 = 20_000;

/// An outage of telemetry for so long, so soon after a raise, takes the raise back. The first
/// seconds are left to reports that are merely late.
const OUTAGE_MS: u64 = 5_000;
const RAISED_LATELY_MS: u64 = 60_000;

/// From everyone's acknowledgement to the first exposure, in intervals of the reports: the next
/// report of each sidecar.
const BASELINE_INTERVALS: u64 = 2;

/// An arm without requests for so long has none.
const TRAFFIC_MS: u64 = 20_000;

/// A share that is off for so long reverts.
pub(crate) const SHARE_OFF_MS: u64 = 30_000;

/// The hold while neither version answers.
pub(crate) const ANSWERS: &str = "answers";

/// What to wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hold {
    pub(crate) kind: &'static str,
    pub(crate) reason: Reason,
    pub(crate) owner: Cow<'static, str>,
    pub(crate) until: Option<Time>,
    pub(crate) stops_clock: bool,
    /// What an operator can do, where the kind does not say it.
    pub(crate) command: Option<String>,
}

/// What this tick knows beyond what is remembered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look<'a> {
    pub(crate) evidence: &'a Evidence,
    /// Everyone acknowledged the present exposure, by the figures of this tick.
    pub(crate) acknowledged: bool,
    pub(crate) now: Time,
}

// === impl Hold ===

impl Hold {
    pub(crate) fn new(kind: &'static str, reason: impl Into<Reason>) -> Self {
        Self {
            kind,
            reason: reason.into(),
            owner: Cow::Borrowed("engine"),
            until: None,
            stops_clock: true,
            command: None,
        }
    }

    /// It lasts as long as was declared, and nobody has to look.
    pub(crate) fn is_planned(&self) -> bool {
        matches!(self.kind, "bake" | "wait" | "freeze")
    }

    pub(crate) fn until(mut self, until: Option<Time>) -> Self {
        self.until = until;
        self
    }

    pub(crate) fn clock_runs(mut self) -> Self {
        self.stops_clock = false;
        self
    }
}

// === impl Rollout ===

impl Rollout {
    /// What stops the clock.
    pub(crate) fn doubt(&self, look: Look<'_>) -> Option<Hold> {
        self.operator_doubt()
            .or_else(|| self.way_back_doubt())
            .or_else(|| self.delivery_doubt(look))
            .or_else(|| self.silence_doubt(look))
            .or_else(|| self.traffic_doubt(look))
            .or_else(|| self.answers_doubt(look))
            .or_else(|| self.saturation_doubt())
            .or_else(|| self.environment_doubt())
            .or_else(|| self.overlap_doubt())
            .or_else(|| self.witness_doubt(look.now))
    }

    fn operator_doubt(&self) -> Option<Hold> {
        let paused = self.paused.as_ref()?;
        Some(Hold {
            owner: Cow::Owned(paused.actor.clone()),
            ..Hold::new("paused", format!("paused by {}", paused.actor))
        })
    }

    /// Nothing goes forward that could not go back (invariant S9).
    fn way_back_doubt(&self) -> Option<Hold> {
        let why = self.no_way_back.as_ref()?;
        Some(Hold::new("way back", why.clone()))
    }

    pub(crate) fn delivery_doubt(&self, look: Look<'_>) -> Option<Hold> {
        if let Some((missing, until)) = self.deliveries.missing() {
            let reason = format!("disconnected: {}", list(&missing));
            return Some(Hold::new("disconnected", reason).until(Some(until)));
        }
        let nobody = self
            .deliveries
            .latest
            .as_ref()
            .is_some_and(|delivery| delivery.expected == 0);
        if nobody {
            let reason = "no sidecar that reaches the service is connected; start one with the output of `tidegate \
                 bootstrap`, and see `tidegate sidecars`"
                .to_owned();
            return Some(Hold::new("acknowledge", reason));
        }
        if !look.acknowledged {
            let behind = self.deliveries.behind();
            let who = if behind.is_empty() {
                "the sidecars".to_owned()
            } else {
                list(&behind)
            };
            let due = self
                .deliveries
                .due(self.plan.policy.acknowledge_deadline_ms);
            let reason = format!("the exposure is not acknowledged by {who}");
            return Some(Hold::new("acknowledge", reason).until(due));
        }
        (look.now < self.not_before).then(|| {
            let reason = "sidecars are given time to reconnect after the outage".to_owned();
            Hold::new("acknowledge", reason).until(Some(self.not_before))
        })
    }

    fn silence_doubt(&self, look: Look<'_>) -> Option<Hold> {
        let signals = &self.signals;
        if signals.outage_since.is_none() && signals.asymmetric_since.is_none() {
            return None;
        }
        let silent: Vec<&str> = look.evidence.silent.iter().map(String::as_str).collect();
        let who = if silent.is_empty() {
            String::new()
        } else {
            format!("; silent: {}", list(&silent))
        };
        let reason = format!(
            "too little is reported: {} of the canary's traffic, {} of stable's{who}{}",
            look.evidence.canary_fresh,
            look.evidence.stable_fresh,
            trouble(look.evidence)
        );
        let until = signals
            .asymmetric_since
            .map(|since| since.plus_ms(ASYMMETRIC_MS));
        Some(Hold::new("silence", reason).until(until))
    }

    /// Telemetry failed right after a raise.
    pub(crate) fn outage_after_raise(&self, now: Time) -> bool {
        let (Some(outage), Some(raised)) = (self.signals.outage_since, self.raised) else {
            return false;
        };
        self.is_exposed()
            && self.rung > 0
            && self.paused.is_none()
            && now.since_ms(outage) >= OUTAGE_MS
            && outage.since_ms(raised) < RAISED_LATELY_MS
    }

    fn traffic_doubt(&self, look: Look<'_>) -> Option<Hold> {
        let recent = |at: Option<Time>| at.is_some_and(|at| look.now.since_ms(at) < TRAFFIC_MS);
        if !recent(self.signals.any_traffic) {
            let reason = "the service has no requests".to_owned();
            return Some(Hold::new("traffic", reason));
        }
        if let Some(off) = self.signals.share_off_since {
            let until = off.plus_ms(SHARE_OFF_MS);
            return Some(Hold::new("share", self.share_sentence()).until(Some(until)));
        }
        let canary_seen = recent(self.signals.canary_traffic);
        if canary_seen && !self.clock.traffic {
            let reason = match self.is_configuration() {
                false => format!(
                    "the first requests to {} since the step to {} are not reported yet",
                    self.plan.to,
                    self.share()
                ),
                true => format!(
                    "the first requests through sidecars that have {} are not reported yet",
                    self.plan.to
                ),
            };
            return Some(Hold::new("traffic", reason));
        }
        if !canary_seen {
            let reason = match self.is_configuration() {
                false => format!(
                    "{} is not seen in the traffic, of which it should have {}",
                    self.plan.to,
                    self.share()
                ),
                true => format!(
                    "no requests come through the sidecars that have {}",
                    self.plan.to
                ),
            };
            return Some(Hold::new("traffic", reason));
        }
        None
    }

    fn saturation_doubt(&self) -> Option<Hold> {
        (self.has_rules() && self.signals.saturated()).then(|| {
            let reason = format!(
                "{} is saturated: {} of its requests are in flight, more than three times as many \
                 for each one issued as on {}",
                self.plan.to, self.canary.in_flight, self.plan.from
            );
            Hold::new("saturation", reason)
        })
    }

    /// Neither version answers: what both wait for is gone, which is no fault of the canary's.
    fn answers_doubt(&self, look: Look<'_>) -> Option<Hold> {
        let (canary, stable) = (self.black_hole(look)?, self.stable_is_silent(look)?);
        let (from, to) = (&self.plan.from, &self.plan.to);
        let reason = format!(
            "neither version answers: {canary} requests went to {to} and {stable} to {from} since \
             the latest answer; nothing is blamed on {to}"
        );
        Some(Hold::new(ANSWERS, reason))
    }

    fn environment_doubt(&self) -> Option<Hold> {
        self.environment.then(|| {
            let mut reason = format!(
                "the objective is breached, and not by {} alone: {}",
                self.plan.to,
                self.battery.regression().sentence
            );
            if self.asks.need_a_person() {
                reason.push_str("; it is the second time that this began at 100%: find out why");
            }
            Hold::new("environment", reason)
        })
    }

    /// What is still missing when nothing is doubtful; `None` to advance.
    pub(crate) fn missing(&self, look: Look<'_>) -> Option<Hold> {
        if let Some(finding) = self.battery.suspected() {
            let reason = format!(
                "evidence against the canary: {}; e-value {}, hold at {HOLD_AT:.0}",
                finding.sentence,
                e_value(finding.e_value)
            );
            return Some(Hold::new("evidence", reason).clock_runs());
        }
        let entering_soak = self.phase == Phase::Judging && self.takes_everything();
        let bake_ms = match self.phase {
            Phase::Soaking => self.plan.policy.soak_ms,
            _ if entering_soak => 0,
            _ => self.plan.policy.bake_ms,
        };
        let rest_ms = bake_ms.saturating_sub(self.clock.baked_ms);
        if rest_ms > 0 {
            let soaks = self.phase == Phase::Soaking;
            let rung = self.planned_rung().filter(|_| !soaks);
            let rung = rung.map(|rung| Arc::clone(&rung.name));
            let reason = Reason::watching(rung, rest_ms.div_ceil(1000));
            let until = Some(look.now.plus_ms(rest_ms));
            return Some(Hold::new("bake", reason).until(until).clock_runs());
        }
        let least = self.plan.policy.minimum_requests;
        if !entering_soak && self.clock.canary_requests < least {
            let reason = format!(
                "{} canary requests of at least {least} on this rung",
                self.clock.canary_requests
            );
            return Some(Hold::new("requests", reason).clock_runs());
        }
        if let Some(hold) = self.proof_missing(look.now) {
            return Some(hold);
        }
        if let Some(hold) = self.witness_missing(look.now) {
            return Some(hold);
        }
        if let Some(hold) = self.failing_now(look.evidence) {
            return Some(hold);
        }
        let evidence = look.evidence;
        let whole = self.takes_everything();
        let canary = seen(&evidence.canary) && evidence.canary.requests > 0;
        let stable = whole || evidence.stable.requests > 0;
        let covered = fresh(evidence.canary_fresh) && (whole || fresh(evidence.stable_fresh));
        (!(canary && stable && covered)).then(|| {
            let reason = "the next step needs a second with requests in both arms".to_owned();
            Hold::new("requests", reason).clock_runs()
        })
    }

    pub(crate) fn share_sentence(&self) -> String {
        format!(
            "{} of requests reach {} instead of {}",
            self.battery.share().1,
            self.plan.to,
            self.share()
        )
    }

    /// Time until a hold is overdue.
    pub(crate) fn hold_left_ms(&self) -> u64 {
        let deadline_ms = self.plan.policy.hold_deadline_ms;
        deadline_ms.saturating_sub(self.clock.held_ms)
    }

    /// The decision that stands for a hold.
    pub(crate) fn waiting(&self, hold: Hold, now: Time) -> Decision {
        let service = &self.plan.service;
        let verb = match hold.kind {
            "paused" | "environment" => "resume",
            "approval" => "approve",
            PROOF | SOURCES if self.clock.overdue => "resume",
            _ => "abort",
        };
        let (until, overdue) = (self.until(&hold, now), self.overdue(&hold));
        Decision::Wait(Waiting {
            kind: hold.kind.to_owned(),
            reason: hold.reason,
            owner: hold.owner.into_owned(),
            until,
            clock_stopped: hold.stops_clock,
            overdue,
            command: hold
                .command
                .unwrap_or_else(|| format!("tidegate rollout {verb} {service}")),
        })
    }

    /// Decides to wait, or to go on waiting: then most of what people read stays as it is.
    pub(crate) fn wait(&mut self, hold: Hold, now: Time) {
        let (until, overdue) = (self.until(&hold, now), self.overdue(&hold));
        match &mut self.decision {
            Decision::Wait(waiting)
                if waiting.kind == hold.kind
                    && waiting.overdue == overdue
                    && hold.command.is_none() =>
            {
                waiting.reason = hold.reason;
                if waiting.owner != hold.owner {
                    waiting.owner = hold.owner.into_owned();
                }
                waiting.until = until;
                waiting.clock_stopped = hold.stops_clock;
            }
            _ => self.decision = self.waiting(hold, now),
        }
    }

    fn until(&self, hold: &Hold, now: Time) -> Option<Time> {
        hold.until
            .or_else(|| Some(now.plus_ms(self.hold_left_ms())))
    }

    fn overdue(&self, hold: &Hold) -> bool {
        self.clock.overdue && !hold.is_planned()
    }

    /// Before the first tick of a phase.
    pub(crate) fn first_wait(&self, now: Time) -> Decision {
        let reason = "the exposure is not acknowledged by the sidecars".to_owned();
        self.waiting(Hold::new("acknowledge", reason), now)
    }

    pub(crate) fn paused_wait(&self, now: Time) -> Decision {
        self.operator_doubt()
            .map_or_else(|| self.first_wait(now), |hold| self.waiting(hold, now))
    }

    /// Preparing goes on to the first rung only when stable's numbers are seen: without them
    /// nobody could judge what follows.
    pub(crate) fn preparation_doubt(&self, look: Look<'_>) -> Option<Hold> {
        self.operator_doubt()
            .or_else(|| self.way_back_doubt())
            .or_else(|| self.delivery_doubt(look))
            .or_else(|| {
                (!fresh(look.evidence.stable_fresh)).then(|| {
                    let reason = format!(
                        "too little is reported to begin: {} of stable's traffic{}",
                        look.evidence.stable_fresh,
                        trouble(look.evidence)
                    );
                    Hold::new("silence", reason)
                })
            })
            .or_else(|| self.witness_doubt(look.now))
            .or_else(|| {
                // Each sidecar reports once more without the canary's requests: its baseline.
                let wait_ms = BASELINE_INTERVALS * look.evidence.interval_ms();
                let begin = self.clock.acknowledged?.plus_ms(wait_ms);
                (look.now < begin).then(|| {
                    let reason = "a last report from before the first step is awaited".to_owned();
                    Hold::new("evidence", reason).until(Some(begin))
                })
            })
    }
}

/// What is wrong with the source itself.
fn trouble(evidence: &Evidence) -> String {
    evidence
        .trouble
        .as_ref()
        .map(|trouble| format!("; {trouble}"))
        .unwrap_or_default()
}
