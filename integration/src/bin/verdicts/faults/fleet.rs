//! Sidecars as they truly are: what they apply, acknowledge, reject and report.

use std::collections::BTreeSet;

use tidegate_engine::evidence::{Arms, Intake, SidecarReport};
use tidegate_engine::rollout::{Delivery, Evidence, Rejection};
use tidegate_engine::time::Time;

use super::plan::{Interval, Plan, within};
use crate::declared;
use crate::random::{Coins, Random};
use crate::rule::upstream;
use crate::traffic::Arm;

pub(crate) const SIDECARS: usize = 3;

/// Requests per second of each.
const RPS: u64 = 400;

/// Rate of slow requests.
const SLOW: f64 = 0.005;

/// Without a report for more than so many intervals, nothing recent is known of a sidecar.
const KNOWN_INTERVALS: u64 = 2;

/// Who is not connected and says nothing for so long is forgotten by the program.
const GONE_MS: u64 = 10_000;

/// What the control plane wants of everyone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Wanted {
    pub(crate) epoch: u64,
    pub(crate) share: f64,
}

#[derive(Debug)]
struct Sidecar {
    applied: Wanted,
    /// The exposure on its way, and how many seconds it takes yet.
    coming: Option<(Wanted, u64)>,
    rejected: Option<u64>,
    connected: bool,
    was_connected: bool,
    reported: Option<Time>,
    report: SidecarReport,
    /// Since its latest report was due, on canary and stable.
    unreported: [Arm; 2],
}

/// All sidecars of a service.
#[derive(Debug)]
pub(crate) struct Fleet {
    sidecars: Vec<Sidecar>,
    /// The names of those that are connected.
    expected: BTreeSet<String>,
    intake: Intake,
    interval: Interval,
    first_epoch: u64,
}

// === impl Fleet ===

impl Fleet {
    pub(crate) fn new(wanted: Wanted, interval: Interval) -> Self {
        let sidecar = |number: usize| Sidecar {
            applied: wanted,
            coming: None,
            rejected: None,
            connected: true,
            was_connected: true,
            reported: None,
            report: SidecarReport {
                sidecar: format!("web-{number}"),
                at: Time(0),
                ..SidecarReport::default()
            },
            unreported: <[Arm; 2]>::default(),
        };
        let sidecars: Vec<Sidecar> = (0..SIDECARS).map(sidecar).collect();
        Self {
            expected: sidecars
                .iter()
                .map(|sidecar| sidecar.report.sidecar.clone())
                .collect(),
            sidecars,
            intake: Intake::new(interval.ms()),
            interval,
            first_epoch: wanted.epoch,
        }
    }

    /// The control plane is a new one: it knows nothing of earlier reports. `dropped`: it was
    /// away for so long that every sidecar dropped the canary's share by itself.
    pub(crate) fn control_plane_restarted(&mut self, dropped: bool) {
        self.intake = Intake::new(self.interval.ms());
        for sidecar in &mut self.sidecars {
            if dropped {
                sidecar.applied.share = 0.0;
            }
            sidecar.reported = None;
        }
    }

    /// A second of traffic; what there is to report of it arrives at `now`.
    pub(crate) fn second(
        &mut self,
        plan: &Plan,
        at: u64,
        now: Time,
        wanted: Wanted,
        coins: &mut Coins,
        random: &mut Random,
    ) {
        let (canary_rate, stable_rate) = plan.rates(at);
        for (number, sidecar) in self.sidecars.iter_mut().enumerate() {
            let away = plan
                .away
                .is_some_and(|(who, span)| who == number && within(span, at));
            sidecar.connected = !away;
            if sidecar.connected {
                sidecar.receive(plan, number, wanted, self.first_epoch, random);
            }
            let requests = coins.throw(RPS, sidecar.applied.share, random);
            let mut arm = |requests, rate| Arm {
                requests,
                bad: coins.throw(requests, rate, random),
                slow: coins.throw(requests, SLOW, random),
            };
            let arms = [arm(requests, canary_rate), arm(RPS - requests, stable_rate)];
            for (sum, arm) in sidecar.unreported.iter_mut().zip(arms) {
                sum.add(arm);
            }
            let restarted = plan.restarts.contains(&(number, at));
            if restarted || (sidecar.connected && !sidecar.was_connected) {
                self.intake.reconnected(&sidecar.report.sidecar);
            }
            if sidecar.connected && !sidecar.was_connected {
                self.expected.insert(sidecar.report.sidecar.clone());
            } else if away && sidecar.was_connected {
                self.expected.remove(&sidecar.report.sidecar);
            }
            sidecar.was_connected = sidecar.connected;
            let quiet = |at: Time| now.since_ms(at) >= GONE_MS;
            if away && sidecar.reported.is_none_or(quiet) {
                self.intake.departed(&sidecar.report.sidecar);
            }
            // They do not all report in the same second.
            if !(at + number as u64).is_multiple_of(self.interval.0) {
                continue;
            }
            let silent = away
                || within(plan.outage, at)
                || plan
                    .silent
                    .is_some_and(|(who, span)| who == number && within(span, at))
                || random.chance(plan.lost);
            let unreported = std::mem::take(&mut sidecar.unreported);
            if !silent {
                sidecar.report(unreported, now, &mut self.intake);
            }
        }
    }

    /// What the control plane is told.
    pub(crate) fn observe(&mut self, wanted: Wanted, now: Time) -> (Delivery, Evidence) {
        let mut delivery = Delivery::default();
        for sidecar in &self.sidecars {
            let name = &sidecar.report.sidecar;
            if !sidecar.connected {
                delivery.disconnected.push(name.clone());
                continue;
            }
            delivery.expected += 1;
            if sidecar.rejected == Some(wanted.epoch) {
                delivery.rejected.push(Rejection {
                    sidecar: name.clone(),
                    text: "no".to_owned(),
                });
            }
            if sidecar.applied.epoch == wanted.epoch {
                delivery.acknowledged += 1;
            } else {
                delivery.behind.push(name.clone());
            }
        }
        let arms = Arms {
            canary: declared::CANARY_CLUSTER,
            stable: declared::STABLE_CLUSTER,
            threshold_ms: Some(declared::THRESHOLD_MS),
        };
        (delivery, self.intake.observe(arms, &self.expected, now))
    }

    /// Why nobody may advance now, as things truly are.
    pub(crate) fn objection(&self, wanted: Wanted, now: Time) -> Option<String> {
        for sidecar in self.sidecars.iter().filter(|sidecar| sidecar.connected) {
            let name = &sidecar.report.sidecar;
            if sidecar.rejected == Some(wanted.epoch) {
                return Some(format!("{name} had rejected the exposure"));
            }
            if sidecar.applied.epoch != wanted.epoch {
                return Some(format!("{name} had not acknowledged the exposure"));
            }
            if sidecar
                .reported
                .is_none_or(|at| now.since_ms(at) > KNOWN_INTERVALS * self.interval.ms())
            {
                return Some(format!("{name} had not reported lately"));
            }
        }
        None
    }
}

// === impl Sidecar ===

impl Sidecar {
    /// Reports what it counted in the latest interval, on canary and stable.
    fn report(&mut self, arms: [Arm; 2], now: Time, intake: &mut Intake) {
        self.reported = Some(now);
        self.report.at = now;
        let clusters = [declared::CANARY_CLUSTER, declared::STABLE_CLUSTER];
        for (cluster, arm) in clusters.into_iter().zip(arms) {
            let counts = upstream(arm);
            match self.report.upstreams.get_mut(cluster) {
                Some(place) => *place = counts,
                None => {
                    self.report.upstreams.insert(cluster.to_owned(), counts);
                }
            }
        }
        intake.record(&self.report);
    }

    /// Receives what is wanted, at its own pace; rejects what the plan says.
    fn receive(
        &mut self,
        plan: &Plan,
        number: usize,
        wanted: Wanted,
        first_epoch: u64,
        random: &mut Random,
    ) {
        if self.applied == wanted || self.rejected == Some(wanted.epoch) {
            return;
        }
        let rejects = plan
            .rejects
            .is_some_and(|(who, which)| who == number && first_epoch + which == wanted.epoch);
        if rejects {
            self.rejected = Some(wanted.epoch);
            self.coming = None;
            return;
        }
        let seconds = match self.coming {
            Some((coming, seconds)) if coming == wanted => seconds,
            _ if random.chance(plan.slow_ack.0) => 1 + random.below(plan.slow_ack.1),
            _ => 0,
        };
        if seconds == 0 {
            self.applied = wanted;
            self.coming = None;
        } else {
            self.coming = Some((wanted, seconds - 1));
        }
    }
}
