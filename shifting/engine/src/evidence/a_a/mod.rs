//! A/A: how often would two halves of one version be taken for different versions?
//!
//! Alpha is a promise under a model: requests fail independently, at rates that differ by at most
//! rho. A service's own traffic need not be so. Hence, all the time and for each service, a random
//! half of the sidecars is compared with the other half by their requests to the stable version,
//! with the tests, the objectives and the watched time of one of its rollouts. Whatever that finds
//! is a false alarm (evidence §4.7f).
//!
//! - A trial lasts as long as a rollout is planned to be watched, an hour at most, and its whole
//!   length even when it was "reverted" before: if alarms ended trials early, there would be more
//!   of them among those that have ended.
//! - Halves are of sidecars, not of requests: that is what a configuration rollout compares, and it
//!   is the harder comparison, since sidecars differ by zone, route and load. A new version is
//!   compared within each sidecar, so that it suffers less from such differences than A/A says.
//! - One sidecar has no halves. Its seconds could be dealt out, but the arms of a rollout have
//!   theirs at the same time, and what changes with time would count as a difference.
//! - A trial in whose last quarter one of the halves has no requests is idle and not counted: it
//!   tells nothing, or of less time than it lasted, as when a rollout takes all of stable's traffic.
//!
//! Nothing is decided by it, and nothing of it is journaled: a replay does not need it, and it would
//! need the reports of every sidecar in the journal. A restart begins to count anew.

mod halves;
mod status;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use self::halves::{Halves, hash};
use super::{Battery, Cohorts};
use crate::mesh::Service;
use crate::rollout::{ArmCounts, Evidence, RHO};
use crate::time::Time;
pub use status::{AaAlarm, AaRate, AaSettings, AaState, AaStatus};

/// Longest trial, milliseconds.
const LONGEST_MS: u64 = 3_600_000;

/// Shortest trial, milliseconds: a rollout of a moment is none to learn from.
const SHORTEST_MS: u64 = 10_000;

/// As a rollout counts stable's requests before the first one of its canary, to know which
/// latencies to look at: seconds.
const BEFORE: u32 = 3;

/// Without a look for so long, a trial has not seen what a rollout would have.
const GAP_MS: u64 = 10_000;

/// The trials of one service at one stable version and with the same settings: another version, or
/// other settings, begin with trials of their own.
#[derive(Debug, Clone)]
pub struct AaTrials {
    service: String,
    version: String,
    settings: AaSettings,
    since: Time,
    begun: u64,
    sidecars: usize,
    running: Option<Trial>,
    tally: Tally,
}

#[derive(Debug, Clone)]
struct Trial {
    halves: Halves,
    battery: Battery,
    /// Seconds that are still counted before the battery looks.
    before: u32,
    counted_before: ArmCounts,
    /// When the battery began to look.
    since: Time,
    latest: Time,
    /// Requests that the battery saw.
    requests: u64,
    /// When either half had its latest.
    had_requests: [Option<Time>; 2],
    held: bool,
    reverted: Option<AaAlarm>,
}

/// What has ended.
#[derive(Debug, Clone, Default)]
struct Tally {
    ended: u64,
    held: u64,
    reverted: u64,
    idle: u64,
    cut_off: u64,
    requests: u64,
    latest_end: Option<Time>,
    latest_alarm: Option<AaAlarm>,
    /// Who was in the worse half in every trial that was reverted; `None` before the first.
    always_worse: Option<BTreeSet<String>>,
}

// === impl AaTrials ===

impl AaTrials {
    /// No trial yet, from `now` on.
    #[must_use]
    pub fn new(service: &str, version: &str, settings: AaSettings, now: Time) -> Self {
        Self {
            service: service.to_owned(),
            version: version.to_owned(),
            settings,
            since: now,
            begun: 0,
            sidecars: 0,
            running: None,
            tally: Tally::default(),
        }
    }

    /// What was counted is of this version, with these settings.
    #[must_use]
    pub fn is_of(&self, version: &str, settings: &AaSettings) -> bool {
        self.version == version && self.settings == *settings
    }

    /// The stable version that is looked at.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// A trial is running.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// When its latest trial ended; `None` before the first end.
    #[must_use]
    pub fn latest_end(&self) -> Option<Time> {
        self.tally.latest_end
    }

    /// So many sidecars reach the service, and no trial may begin now. True when that is news.
    pub fn wait(&mut self, sidecars: usize) -> bool {
        let news = self.sidecars != sidecars;
        self.sidecars = sidecars;
        news
    }

    /// These sidecars reach the service; with two or more a trial begins, unless one is running.
    /// A trial that was not looked at for ten seconds, or of which a half is gone, is cut off. True
    /// when a trial began or was cut off.
    pub fn attend(&mut self, sidecars: &BTreeSet<&str>, now: Time) -> bool {
        let mut news = self.wait(sidecars.len());
        if let Some(trial) = &mut self.running {
            trial.halves.follow(sidecars);
            if trial.halves.one_is_empty() || now.since_ms(trial.latest) > GAP_MS {
                self.running = None;
                self.tally.cut_off += 1;
                self.tally.latest_end = Some(now);
                news = true;
            }
        }
        if self.running.is_none() && sidecars.len() >= 2 {
            // With the time, or a program that is started often would draw the same halves.
            let seed = hash(now.0 ^ self.begun.rotate_left(32), &self.service);
            self.running = Some(Trial::new(Halves::of(sidecars, seed), &self.settings, now));
            self.begun += 1;
            news = true;
        }
        news
    }

    /// The halves of the running trial, as [`Intake::observe_cohorts`](super::Intake::observe_cohorts)
    /// wants them: the one that is taken for the new version, and the other.
    #[must_use]
    pub fn cohorts<'a>(&'a self, clusters: &'a BTreeSet<String>) -> Option<Cohorts<'a>> {
        let Halves { canary, stable, .. } = &self.running.as_ref()?.halves;
        let latency = self.settings.slo.latency.as_ref();
        Some(Cohorts {
            clusters,
            canary,
            stable,
            threshold_ms: latency.map(|objective| objective.threshold_ms),
        })
    }

    /// One second of both halves. True when the trial ended with it.
    pub fn observe(&mut self, evidence: &Evidence, now: Time) -> bool {
        let Some(trial) = &mut self.running else {
            return false;
        };
        trial.observe(evidence, &self.settings, now);
        let ended = trial.before == 0 && now.since_ms(trial.since) >= self.settings.length_ms;
        if ended && let Some(trial) = self.running.take() {
            self.tally.count(trial, self.settings.length_ms, now);
        }
        ended
    }
}

// === impl Trial ===

impl Trial {
    fn new(halves: Halves, settings: &AaSettings, now: Time) -> Self {
        Self {
            halves,
            battery: Battery::by_rules(settings.rules, &settings.slo, settings.horizon),
            before: BEFORE,
            counted_before: ArmCounts::default(),
            since: now,
            latest: now,
            requests: 0,
            had_requests: [None; 2],
            held: false,
            reverted: None,
        }
    }

    fn observe(&mut self, evidence: &Evidence, settings: &AaSettings, now: Time) {
        self.latest = now;
        if self.before > 0 {
            // The first second may bring what came while nobody looked.
            self.counted_before.add(&evidence.canary);
            self.counted_before.add(&evidence.stable);
            self.before -= 1;
            if self.before == 0 {
                self.battery
                    .freeze_edges(settings.rules, &settings.slo, &self.counted_before);
                self.since = now;
            }
            return;
        }
        let halves = [evidence.canary.requests, evidence.stable.requests];
        for (latest, requests) in self.had_requests.iter_mut().zip(halves) {
            self.requests = self.requests.saturating_add(requests);
            if requests > 0 {
                *latest = Some(now);
            }
        }
        if self.reverted.is_some() {
            return; // A rollout would be over; the rest only takes its time.
        }
        self.battery.observe(evidence, settings.rho, now);
        self.held |= self.battery.suspected().is_some();
        self.reverted = self.battery.regressed().map(|finding| AaAlarm {
            at: now,
            metric: finding.metric,
            e_value: finding.e_value,
            sentence: finding.sentence,
        });
    }
}

// === impl Tally ===

impl Tally {
    fn count(&mut self, trial: Trial, length_ms: u64, now: Time) {
        self.latest_end = Some(now);
        let lately = |at: &Option<Time>| at.is_some_and(|at| now.since_ms(at) < length_ms / 4);
        if !trial.had_requests.iter().all(lately) {
            self.idle += 1;
            return;
        }
        self.ended += 1;
        self.requests = self.requests.saturating_add(trial.requests);
        self.held += u64::from(trial.held);
        let Some(alarm) = trial.reverted else {
            return;
        };
        self.reverted += 1;
        self.latest_alarm = Some(alarm);
        let worse = trial.halves.canary;
        self.always_worse = Some(match self.always_worse.take() {
            None => worse,
            Some(before) => before.intersection(&worse).cloned().collect(),
        });
    }
}

// === impl AaSettings ===

impl AaSettings {
    /// Those of a rollout of this service as it is declared now.
    #[must_use]
    pub fn of(service: &Service) -> Self {
        let watched_ms = service.rollout.watched_ms(service.ladder.len());
        Self {
            slo: service.slo.clone(),
            rho: RHO,
            hold_at: super::HOLD_AT,
            revert_at: super::REVERT_AT,
            rules: service.rollout.rules,
            length_ms: watched_ms.clamp(SHORTEST_MS, LONGEST_MS),
            horizon: u32::try_from(watched_ms / 1_000).unwrap_or(u32::MAX),
        }
    }
}
