//! The second source of a rollout that has one ([`EvidenceSource::Witnessed`]).
//!
//! Sidecars' reports judge, for they are the fastest: what they say against a version reverts it,
//! whatever the witness says. The witness neither reverts nor advances anything, but nothing
//! advances while it objects, is not heard, or counts other traffic than the sidecars do.
//!
//! It is slower by its interval, so that what it does not know yet is no disagreement: all that
//! the sidecars counted in the last few intervals may be missing in its numbers.
//!
//! [`EvidenceSource::Witnessed`]: crate::mesh::EvidenceSource::Witnessed

use std::collections::{BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use crate::evidence::{Battery, HOLD_AT};
use crate::rollout::delivery::list;
use crate::rollout::faults::e_value;
use crate::rollout::judge::{Hold, Look};
use crate::rollout::signals::fresh;
use crate::rollout::{ArmCounts, Decision, Evidence, Phase, Plan, Rollout, WitnessStatus};
use crate::time::Time;
use crate::units::Ppm;

/// The hold for the witness's sake.
pub(crate) const SOURCES: &str = "sources";

/// So many of its intervals, and so much for asking and answering, may the witness be behind
/// without being late (evidence §4.6).
const LAG_INTERVALS: u64 = 2;
const LAG_MS: u64 = 2_000;

/// A witness that is fresh has scraped everyone within so many of its intervals.
const SEEN_INTERVALS: u64 = 2;

/// Fewer requests than this on a step are not compared.
const COMPARED_LEAST: u64 = 200;

/// The sources disagree when they are apart by more than a quarter of the larger number: both count
/// the same requests, so that chance has no part in it.
const APART: u64 = 4;

/// What is remembered of the witness.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Witness {
    /// The tests on its numbers.
    pub(crate) battery: Battery,
    interval_ms: u64,
    canary: ArmCounts,
    stable: ArmCounts,
    canary_fresh: Ppm,
    stable_fresh: Ppm,
    silent: Vec<String>,
    trouble: Option<String>,
    traffic: Compared,
    /// What an operator vouched for, on this exposure.
    vouched: BTreeSet<Objection>,
}

/// What the witness may object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Objection {
    /// It is not heard, or not of enough of the traffic.
    Silence,
    /// By its numbers the canary is worse than stable, or the objective is breached.
    Numbers,
    /// It counts other traffic than the sidecars do.
    Traffic,
}

/// Requests issued to the arms, as both sources count them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Compared {
    /// Since the rollout started.
    sidecars: Arms,
    witness: Arms,
    /// The sidecars' sums at earlier times, the oldest first, back to what the witness knows surely.
    past: VecDeque<(Time, Arms)>,
    /// Where the comparison began: when everyone had acknowledged the present exposure.
    base: Option<Base>,
}

/// Requests by arm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Arms {
    canary: u64,
    stable: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Base {
    sidecars: Arms,
    witness: Arms,
    /// What the sidecars had counted shortly before: the witness may tell of it later.
    before: Arms,
}

/// Numbers that contradict each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Contradiction {
    arm: &'static str,
    sidecars: u64,
    witness: u64,
}

// === impl Rollout ===

impl Rollout {
    /// Takes in what the witness says at a tick, beside what the sidecars report.
    pub(crate) fn hear_witness(&mut self, said: Option<&Evidence>, look: Look<'_>) {
        if self.witness.is_none() {
            return;
        }
        let nothing = Evidence::default();
        let said = said.unwrap_or(&nothing);
        let watched = matches!(
            self.phase,
            Phase::Judging | Phase::Soaking | Phase::Committing
        );
        let rho = watched.then(|| self.tolerated(said));
        let comparable = self.clock.acknowledged.is_some() && look.now >= self.not_before;
        let Some(witness) = self.witness.as_deref_mut() else {
            return;
        };
        witness.hear(said);
        if let Some(rho) = rho {
            witness.battery.observe(said, rho, look.now);
        }
        let lag_ms = witness.lag_ms();
        let (traffic, evidence) = (&mut witness.traffic, look.evidence);
        traffic.observe(Arms::issued(evidence), Arms::issued(said), lag_ms, look.now);
        if comparable {
            traffic.begin(lag_ms, look.now);
        }
    }

    /// A new exposure, or nobody watched: what the witness counts from now on is compared, and
    /// what an operator vouched for was about the exposure before.
    pub(crate) fn restart_witness(&mut self) {
        if let Some(witness) = self.witness.as_deref_mut() {
            witness.traffic.base = None;
            witness.vouched.clear();
        }
    }

    /// Before the canary's first request.
    pub(crate) fn fix_edges_of_witness(&mut self) {
        if let Some(witness) = self.witness.as_deref_mut() {
            witness
                .battery
                .freeze_edges(self.plan.policy.rules, &self.plan.slo, &witness.stable);
        }
    }

    /// An operator lets it go on although the witness objects: on this exposure, and to this alone.
    pub(crate) fn vouch_for_witness(&mut self, now: Time) {
        let held = matches!(&self.decision, Decision::Wait(waiting) if waiting.kind == SOURCES);
        let objection = self.objection(now);
        if let Some(objection) = objection
            && self.clock.overdue
            && held
            && let Some(witness) = self.witness.as_deref_mut()
        {
            witness.vouched.insert(objection);
        }
    }

    /// An operator vouched for the environment, which both sources see.
    pub(crate) fn forget_breaches_of_witness(&mut self) {
        if let Some(witness) = self.witness.as_deref_mut() {
            witness.battery.forget_breaches();
        }
    }

    /// Why nothing advances for the witness's sake.
    pub(crate) fn witness_doubt(&self, now: Time) -> Option<Hold> {
        let objection = self.objection(now)?;
        let reason = self.objection_sentence(objection, now)?;
        Some(Hold::new(SOURCES, reason))
    }

    /// The witness has not seen the present exposure for sure. Later, being fresh says that it has.
    pub(crate) fn witness_missing(&self, now: Time) -> Option<Hold> {
        let witness = self.witness.as_deref()?;
        let seen = self
            .clock
            .acknowledged?
            .plus_ms(SEEN_INTERVALS * witness.interval_ms);
        (now <= seen).then(|| {
            let left_ms = seen.since_ms(now).saturating_add(1); // that moment itself is too early
            let reason = format!(
                "watching {} for {} s more, until Prometheus has seen it: it scrapes every {} s",
                self.place(),
                left_ms.div_ceil(1_000),
                witness.interval_ms.div_ceil(1_000)
            );
            let until = Some(now.plus_ms(left_ms));
            Hold::new("bake", reason).until(until).clock_runs()
        })
    }

    /// Too little of the traffic that matters now is known.
    pub(crate) fn is_unheard(&self, canary_fresh: Ppm, stable_fresh: Ppm) -> bool {
        let (canary, stable) = (fresh(canary_fresh), fresh(stable_fresh));
        match self.phase {
            Phase::Preparing => !stable,
            _ if self.takes_everything() => !canary,
            _ => !(canary && stable),
        }
    }

    /// What the witness objects and nobody vouched for, the most telling first.
    fn objection(&self, now: Time) -> Option<Objection> {
        let witness = self.witness.as_deref()?;
        let unheard = self.is_unheard(witness.canary_fresh, witness.stable_fresh);
        let is_so = |objection: &Objection| match objection {
            Objection::Silence => unheard,
            Objection::Numbers => witness.speaks_against(),
            // What it did not see is no other traffic; when it is back its counters tell of it.
            Objection::Traffic => !unheard && witness.contradiction(now).is_some(),
        };
        [Objection::Silence, Objection::Numbers, Objection::Traffic]
            .into_iter()
            .filter(|objection| !witness.vouched.contains(objection))
            .find(is_so)
    }

    /// What both sources say.
    fn objection_sentence(&self, objection: Objection, now: Time) -> Option<String> {
        let witness = self.witness.as_deref()?;
        let (theirs, own) = (witness.battery.regression(), self.battery.regression());
        Some(match objection {
            Objection::Silence => format!(
                "Prometheus tells too little: {} of the canary's traffic, {} of stable's{}; by \
                 the sidecars' reports {}",
                witness.canary_fresh,
                witness.stable_fresh,
                witness.why_unheard(),
                own.sentence
            ),
            Objection::Numbers if witness.battery.suspected().is_some() => format!(
                "Prometheus has evidence against the canary: {}; e-value {}, hold at {HOLD_AT:.0}; \
                 by the sidecars' reports {}; e-value {}",
                theirs.sentence,
                e_value(theirs.e_value),
                own.sentence,
                e_value(own.e_value)
            ),
            Objection::Numbers => format!(
                "by Prometheus's numbers the canary breaches the objective: {}; by the sidecars' \
                 reports {}",
                theirs.sentence, own.sentence
            ),
            Objection::Traffic => {
                let Contradiction {
                    arm,
                    sidecars,
                    witness,
                } = witness.contradiction(now)?;
                format!(
                    "the sources disagree about traffic: on this step {sidecars} requests to \
                     {arm} by the sidecars' reports, {witness} by Prometheus's numbers"
                )
            }
        })
    }

    /// For people.
    pub(crate) fn witness_status(&self, now: Time) -> Option<WitnessStatus> {
        let witness = self.witness.as_deref()?;
        let waits = matches!(
            self.phase,
            Phase::Preparing | Phase::Judging | Phase::Soaking
        );
        let objection = self.objection(now).filter(|_| waits);
        Some(WitnessStatus {
            url: self.plan.evidence.witness()?.url.clone(),
            canary: witness.canary,
            stable: witness.stable,
            canary_fresh: witness.canary_fresh,
            stable_fresh: witness.stable_fresh,
            trouble: witness.trouble.clone(),
            evidence: witness.battery.status(),
            objection: objection.and_then(|objection| self.objection_sentence(objection, now)),
        })
    }
}

// === impl Witness ===

impl Witness {
    /// The witness of a plan that has one; `horizon` as for [`Battery::new`].
    pub(crate) fn called(plan: &Plan, horizon: u32) -> Option<Self> {
        let source = plan.evidence.witness()?;
        Some(Self {
            battery: Battery::by_rules(plan.policy.rules, &plan.slo, horizon),
            interval_ms: source.scrape_interval_ms.max(1_000),
            canary: ArmCounts::default(),
            stable: ArmCounts::default(),
            canary_fresh: Ppm::ZERO,
            stable_fresh: Ppm::ZERO,
            silent: Vec::new(),
            trouble: None,
            traffic: Compared::default(),
            vouched: BTreeSet::new(),
        })
    }

    /// An operator vouched for its silence.
    pub(crate) fn lets_silence(&self) -> bool {
        self.vouched.contains(&Objection::Silence)
    }

    /// An operator vouched for the canary, against which its numbers speak.
    pub(crate) fn lets_numbers(&self) -> bool {
        self.vouched.contains(&Objection::Numbers)
    }

    fn hear(&mut self, said: &Evidence) {
        for (sum, arm) in [
            (&mut self.canary, &said.canary),
            (&mut self.stable, &said.stable),
        ] {
            sum.in_flight = 0; // a gauge: the latest counts
            sum.add(arm);
        }
        self.canary_fresh = said.canary_fresh;
        self.stable_fresh = said.stable_fresh;
        self.silent.clone_from(&said.silent);
        self.trouble.clone_from(&said.trouble);
    }

    /// What its numbers say against the canary, from the hold mark on: worse than stable, or a breach
    /// of the objective. A stable version that is broken alone does not hold what replaces it.
    pub(crate) fn speaks_against(&self) -> bool {
        self.battery.suspected().is_some() || !self.battery.canary_clear()
    }

    fn lag_ms(&self) -> u64 {
        self.interval_ms
            .saturating_mul(LAG_INTERVALS)
            .saturating_add(LAG_MS)
    }

    fn contradiction(&self, now: Time) -> Option<Contradiction> {
        self.traffic.contradiction(self.lag_ms(), now)
    }

    fn why_unheard(&self) -> String {
        let mut why = String::new();
        if !self.silent.is_empty() {
            let names: Vec<&str> = self.silent.iter().map(String::as_str).collect();
            why.push_str(&format!("; silent: {}", list(&names)));
        }
        if let Some(trouble) = &self.trouble {
            why.push_str(&format!("; {trouble}"));
        }
        why
    }
}

// === impl Compared ===

impl Compared {
    fn observe(&mut self, sidecars: Arms, witness: Arms, lag_ms: u64, now: Time) {
        // About ten sums reach far enough back, whatever the interval.
        let every_ms = (lag_ms / 10).max(1_000);
        let latest = self.past.back();
        if latest.is_none_or(|(at, _)| now.since_ms(*at) >= every_ms) {
            self.past.push_back((now, self.sidecars));
        }
        let old = |past: &(Time, Arms)| now.since_ms(past.0) >= lag_ms;
        while self.past.get(1).is_some_and(old) {
            self.past.pop_front();
        }
        self.sidecars = self.sidecars.plus(sidecars);
        self.witness = self.witness.plus(witness);
    }

    /// Compares from now on, unless it does already.
    fn begin(&mut self, lag_ms: u64, now: Time) {
        let before = self.unheard(lag_ms, now);
        self.base.get_or_insert(Base {
            sidecars: self.sidecars,
            witness: self.witness,
            before,
        });
    }

    /// What the sidecars counted so lately that the witness may not know it.
    fn unheard(&self, lag_ms: u64, now: Time) -> Arms {
        let known = self
            .past
            .front()
            .filter(|(at, _)| now.since_ms(*at) >= lag_ms);
        let known = known.map(|(_, sums)| *sums).unwrap_or_default();
        self.sidecars.minus(known)
    }

    /// The arm of which one source tells more requests than the other one's explain.
    fn contradiction(&self, lag_ms: u64, now: Time) -> Option<Contradiction> {
        let base = self.base?;
        let sidecars = self.sidecars.minus(base.sidecars);
        let witness = self.witness.minus(base.witness);
        let unheard = self.unheard(lag_ms, now);
        let in_arm = |arm: &'static str, of: fn(Arms) -> u64| {
            let (sidecars, witness) = (of(sidecars), of(witness));
            let least = sidecars.saturating_sub(of(unheard));
            let most = sidecars.saturating_add(of(unheard).max(of(base.before)));
            let apart = |more: u64, less: u64| {
                more >= COMPARED_LEAST && more.saturating_sub(less) > more / APART
            };
            (apart(least, witness) || apart(witness, most)).then_some(Contradiction {
                arm,
                sidecars,
                witness,
            })
        };
        in_arm("the canary", |arms| arms.canary).or_else(|| in_arm("stable", |arms| arms.stable))
    }
}

// === impl Arms ===

impl Arms {
    fn issued(evidence: &Evidence) -> Self {
        Self {
            canary: evidence.canary.issued,
            stable: evidence.stable.issued,
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            canary: self.canary.saturating_add(other.canary),
            stable: self.stable.saturating_add(other.stable),
        }
    }

    fn minus(self, other: Self) -> Self {
        Self {
            canary: self.canary.saturating_sub(other.canary),
            stable: self.stable.saturating_sub(other.stable),
        }
    }
}
