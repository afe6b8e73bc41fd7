//! What A/A measured, with the settings that it was measured with.

use serde::{Deserialize, Serialize};

use super::AaTrials;
use crate::evidence::Metric;
use crate::evidence::binomial::{lower_bound, upper_bound};
use crate::mesh::Slo;
use crate::time::Time;

/// An upper bound is wrong for at most this part of the services.
const MISS: f64 = 0.05;

/// A warning is wrong for at most this part of the services: less, because people act on it, and
/// one false revert among the first trials is not one too many.
const FALSE_WARNING: f64 = 0.01;

/// Who was in every worse half is named when others would all have been there by chance with at
/// most this probability.
const BY_CHANCE: f64 = 0.05;

/// Most sidecars that are named.
const NAMED_MAX: usize = 3;

/// What trials are judged by; that of the service's rollouts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AaSettings {
    /// The service's objectives.
    pub slo: Slo,
    /// The odds ratio that is tolerated (evidence §4.1).
    pub rho: f64,
    /// E-value at which a rollout is held: 1/alpha.
    pub hold_at: f64,
    /// E-value at which a rollout is reverted: 1/alpha.
    pub revert_at: f64,
    /// Rules of judgement ([`RULES`](crate::mesh::RULES)).
    pub rules: u32,
    /// Watched time of a trial, milliseconds: of a rollout with all its rungs and the soak, from 10
    /// seconds to an hour.
    pub length_ms: u64,
    /// The same of the rollout, in ticks and without limits: what its tests spread their late bets
    /// over.
    pub horizon: u32,
}

/// What was measured for one service at its stable version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AaStatus {
    /// The service.
    pub service: String,
    /// Its stable version, whose requests are compared.
    pub version: String,
    /// With which settings.
    pub settings: AaSettings,
    /// Since when it is counted: the start of the program, or the last change of the version or of
    /// the settings.
    pub since: Time,
    /// Connected sidecars that reach the service, as of `state`.
    pub sidecars: usize,
    /// Trials that ended and told something.
    pub trials: u64,
    /// Trials that had no request in one of the halves in their last quarter; not among `trials`.
    pub idle: u64,
    /// Trials that were not looked at to their end; not among `trials`.
    pub cut_off: u64,
    /// Requests of all `trials`.
    pub requests: u64,
    /// Trials in which a rollout would have been reverted.
    pub false_reverts: AaRate,
    /// Trials in which a rollout would have been held for a while, or reverted.
    pub false_holds: AaRate,
    /// What is going on.
    pub state: AaState,
    /// The latest false revert.
    pub latest_alarm: Option<AaAlarm>,
    /// Sidecars that were in the worse half in every trial that would have been reverted, where
    /// that can't be chance: three at most.
    pub always_worse: Vec<String>,
    /// The halves differ by more than the settings promise, as sentences that say what to do.
    pub warning: Option<String>,
}

/// A rate that was measured, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AaRate {
    /// How many trials.
    pub count: u64,
    /// Part of the trials; 0 without any.
    pub measured: f64,
    /// The true rate is at most this, with 95% confidence; 1 without trials.
    pub at_most: f64,
    /// The true rate is at least this, with 99% confidence.
    pub at_least: f64,
    /// What the settings promise: alpha.
    pub promised: f64,
}

/// What is going on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum AaState {
    /// A trial is running.
    Running {
        /// When it ends.
        until: Time,
    },
    /// Other services have their trials now.
    Waiting,
    /// Fewer than two sidecars that reach the service are connected: there are no halves.
    TooFew,
}

/// A false revert.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AaAlarm {
    /// When.
    pub at: Time,
    /// What it is about.
    pub metric: Metric,
    /// Of the two halves.
    pub e_value: f64,
    /// What was counted; the worse half is called the canary.
    pub sentence: String,
}

// === impl AaTrials ===

impl AaTrials {
    /// What was measured.
    #[must_use]
    pub fn status(&self) -> AaStatus {
        let tally = &self.tally;
        let rate = |count, mark: f64| AaRate::of(count, tally.ended, 1.0 / mark);
        let false_reverts = rate(tally.reverted, self.settings.revert_at);
        let false_holds = rate(tally.held, self.settings.hold_at);
        let always_worse = self.always_worse();
        AaStatus {
            service: self.service.clone(),
            version: self.version.clone(),
            settings: self.settings.clone(),
            since: self.since,
            sidecars: self.sidecars,
            trials: tally.ended,
            idle: tally.idle,
            cut_off: tally.cut_off,
            requests: tally.requests,
            warning: warning(&false_reverts, &false_holds, tally.ended, &always_worse),
            false_reverts,
            false_holds,
            state: self.state(),
            latest_alarm: tally.latest_alarm.clone(),
            always_worse,
        }
    }

    fn state(&self) -> AaState {
        match &self.running {
            Some(trial) => AaState::Running {
                until: trial
                    .since
                    .plus_ms(u64::from(trial.before) * 1_000 + self.settings.length_ms),
            },
            None if self.sidecars < 2 => AaState::TooFew,
            None => AaState::Waiting,
        }
    }

    /// A sidecar like all others is in a given half in every second trial.
    #[allow(clippy::cast_precision_loss, reason = "thousands of sidecars")]
    fn always_worse(&self) -> Vec<String> {
        let Some(always) = &self.tally.always_worse else {
            return Vec::new();
        };
        let reverted = i32::try_from(self.tally.reverted).unwrap_or(i32::MAX);
        let by_chance = self.sidecars.max(2) as f64 * 0.5_f64.powi(reverted);
        if by_chance > BY_CHANCE || always.len() > NAMED_MAX {
            return Vec::new();
        }
        always.iter().cloned().collect()
    }
}

// === impl AaRate ===

impl AaRate {
    #[allow(clippy::cast_precision_loss, reason = "a rate with a few digits")]
    fn of(count: u64, trials: u64, promised: f64) -> Self {
        Self {
            count,
            measured: count as f64 / trials.max(1) as f64,
            at_most: upper_bound(count, trials, MISS),
            at_least: lower_bound(count, trials, FALSE_WARNING),
            promised,
        }
    }

    /// More than was promised, with 99% confidence.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.at_least > self.promised
    }
}

fn warning(
    reverts: &AaRate,
    holds: &AaRate,
    trials: u64,
    always_worse: &[String],
) -> Option<String> {
    let (rate, done) = match (reverts.is_broken(), holds.is_broken()) {
        (true, _) => (reverts, "reverted"),
        (false, true) => (holds, "held"),
        (false, false) => return None,
    };
    let who = match always_worse {
        [] => "the sidecars differ, or their failures come in bursts".to_owned(),
        [one] => format!("{one} was in the worse half each time"),
        some => format!("{} were in the worse half each time", some.join(", ")),
    };
    Some(format!(
        "halves of the same version differ by nature: {} of {trials} trials would have been {done}, \
         at least {:.2}% where {}% is promised; {who}. Look at what these sidecars have apart \
         (zone, host, load, client: `tidegate sidecars`) and make them alike; until then a change \
         that reaches some sidecars before others may be {done} for the difference, and a \
         revert is no proof against a version before its evidence is found in all sidecars",
        rate.count,
        rate.at_least * 100.0,
        rate.promised * 100.0,
    ))
}
