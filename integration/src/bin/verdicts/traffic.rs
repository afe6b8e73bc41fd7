//! What a service's requests do, second by second: drawn by chance from what a scenario says.
//!
//! The canary's share does not follow the rules: all of them judge the same seconds.

use crate::random::{Coins, Random};
use crate::scenario::{Rates, Scenario};

/// Sidecars that report, in scenarios in which it matters who does.
pub(crate) const SIDECARS: usize = 5;

/// An arm's requests in one second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Arm {
    pub(crate) requests: u64,
    pub(crate) bad: u64,
    /// Slower than the objective.
    pub(crate) slow: u64,
}

/// What one sidecar saw of a second, and what becomes of its report.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Reporter {
    pub(crate) canary: Arm,
    pub(crate) stable: Arm,
    pub(crate) lost: bool,
    /// It was restarted within the second: its counters begin at 0.
    pub(crate) restarted: bool,
}

/// One second of the world.
#[derive(Debug, Clone, Default)]
pub(crate) struct Second {
    /// Since the canary's first request, from 1.
    pub(crate) at: u64,
    pub(crate) canary: Arm,
    pub(crate) stable: Arm,
    /// Telemetry of any kind arrives.
    pub(crate) told: bool,
    /// Who saw it, in scenarios of single reports.
    pub(crate) reporters: Option<[Reporter; SIDECARS]>,
}

/// A rollout's requests.
#[derive(Debug)]
pub(crate) struct Traffic<'a> {
    scenario: &'a Scenario,
    coins: &'a mut Coins,
    random: Random,
    at: u64,
    /// Telemetry is out from, until (seconds).
    outage: (u64, u64),
    /// What the canary's and stable's hosts make of an error rate.
    hosts: (f64, f64),
}

// === impl Arm ===

impl Arm {
    pub(crate) fn add(&mut self, other: Arm) {
        self.requests += other.requests;
        self.bad += other.bad;
        self.slow += other.slow;
    }
}

// === impl Traffic ===

impl<'a> Traffic<'a> {
    pub(crate) fn new(scenario: &'a Scenario, seed: u64, coins: &'a mut Coins) -> Self {
        let mut random = Random::new(seed);
        let outage = scenario.outage_s.map_or((0, 0), |length| {
            let from = 60 + random.below(60);
            (from, from + length)
        });
        let hosts = match scenario.host_spread {
            Some(spread) => hosts(spread, &mut random),
            None => (1.0, 1.0),
        };
        Self {
            scenario,
            coins,
            random,
            at: 0,
            outage,
            hosts,
        }
    }

    /// When telemetry is out, in seconds.
    pub(crate) fn outage(&self) -> (u64, u64) {
        self.outage
    }

    /// The next second.
    pub(crate) fn next(&mut self) -> Second {
        self.at += 1;
        let rates = self.scenario.rates(self.at);
        let rates = Rates {
            canary: (rates.canary * self.hosts.0).min(1.0),
            stable: (rates.stable * self.hosts.1).min(1.0),
        };
        let (rps, share) = (self.scenario.rps, self.scenario.share.fraction());
        let told = !(self.outage.0..self.outage.1).contains(&self.at);
        if !self.scenario.single_reports {
            let (canary, stable) = self.arms(rps, share, rates);
            return Second {
                at: self.at,
                canary,
                stable,
                told,
                reporters: None,
            };
        }
        let mut reporters = [Reporter::default(); SIDECARS];
        let (mut canary, mut stable) = (Arm::default(), Arm::default());
        for reporter in &mut reporters {
            let (c, s) = self.arms(rps / SIDECARS as u64, share, rates);
            *reporter = Reporter {
                canary: c,
                stable: s,
                lost: self.random.chance(self.scenario.lost_reports),
                restarted: self.random.chance(self.scenario.restarts),
            };
            canary.add(c);
            stable.add(s);
        }
        Second {
            at: self.at,
            canary,
            stable,
            told,
            reporters: Some(reporters),
        }
    }

    fn arms(&mut self, rps: u64, share: f64, rates: Rates) -> (Arm, Arm) {
        let requests = self.coins.throw(rps, share, &mut self.random);
        (
            self.arm(requests, rates.canary),
            self.arm(rps - requests, rates.stable),
        )
    }

    fn arm(&mut self, requests: u64, rate: f64) -> Arm {
        let scenario = self.scenario;
        let bad = if let Some(icc) = scenario.icc {
            let rate = self.random.beta(rate, icc);
            self.random.binomial(requests, rate)
        } else if scenario.host_spread.is_some() || scenario.ramp_s.is_some() {
            // Too many different rates for tables.
            self.random.binomial(requests, rate)
        } else {
            self.coins.throw(requests, rate, &mut self.random)
        };
        Arm {
            requests,
            bad,
            slow: self.coins.throw(requests, scenario.slow, &mut self.random),
        }
    }
}

/// One canary host among twenty, each with an error rate of its own by nature: the canary's
/// multiple of the common rate, and the mean of the others' (evidence §4.7f).
fn hosts(spread: f64, random: &mut Random) -> (f64, f64) {
    let mut multiple = || (spread * random.normal()).exp();
    let canary = multiple();
    let stable = (0..19).map(|_| multiple()).sum::<f64>() / 19.0;
    (canary, stable)
}
