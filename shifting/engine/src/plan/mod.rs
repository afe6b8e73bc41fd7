//! What a rollout would be able to see, before it begins: for each step and the service's traffic
//! of today, which failure rates it finds, how soon, and at what cost.
//!
//! ```text
//! rollout::Plan + Traffic ─► Outlook ─► `tidegate rollout plan`
//! ```
//!
//! What is deliberately absent: decisions. A rollout that sees little is warned of, not refused.

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::evidence::{Contrast, requests_to_prove, seconds_to_breach, tolerated_rate};
use crate::rollout::{Plan, PlannedRung, tolerated_odds};
use crate::units::Ppm;

/// Failure rates that are asked about, parts per million.
const ASKED: [u32; 5] = [3_000, 10_000, 50_000, 200_000, 500_000];

/// A service's traffic of today.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Traffic {
    /// Requests per second; at least 0.
    pub rps: f64,
    /// Part of them that fail, 0 to 1.
    pub error_rate: f64,
}

/// What a rollout would be able to see.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outlook {
    /// The traffic it was computed for.
    pub traffic: Traffic,
    /// The rungs, then the soak.
    pub steps: Vec<StepOutlook>,
    /// About how long all of it takes if nothing is wrong, without what operators add (gates, freezes),
    /// seconds; `None`: a step of it is not left by itself.
    pub total_s: Option<f64>,
    /// What an operator should know before it starts, as sentences.
    pub warnings: Vec<String>,
}

/// What one step would be able to see.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepOutlook {
    /// As people call it: `1 host`, `5%`, `100%`.
    pub name: String,
    /// The canary's share of requests.
    pub share: Ppm,
    /// The canary's requests per second.
    pub canary_rps: f64,
    /// How long the step is watched at least, seconds.
    pub watched_s: f64,
    /// About when it is left by a canary that fails as rarely as stable does: watched, with enough
    /// requests, and its error rate proven; of latency nothing is known before. `None`: not by
    /// itself, for stable fails too often.
    pub left_after_s: Option<f64>,
    /// Requests that go to the canary until then; while it is watched, if it is not left.
    pub exposed: f64,
    /// What is found how soon.
    pub finds: Vec<Find>,
    /// The smallest failure rate that is found while the step is watched; `None`: not even when
    /// every request fails.
    pub least_rate: Option<f64>,
}

/// A failure rate and what it takes to find it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Find {
    /// Part of the canary's requests that fail, 0 to 1.
    pub rate: f64,
    /// Median seconds until the revert; `None`: never.
    pub seconds: Option<f64>,
    /// Requests that fail until then because of the canary.
    pub failed: Option<f64>,
}

/// A plan of a fleet's configuration, with the shares of requests that its rungs come to in a fleet
/// of so many sidecars: each is taken to have an equal part of them.
#[must_use]
pub fn in_fleet(plan: &Plan, sidecars: u32) -> Plan {
    let mut plan = plan.clone();
    let all = u64::from(sidecars.max(1));
    for rung in &mut plan.rungs {
        let part = u64::from(rung.share.get()) * all;
        let exposed = match rung.hosts {
            Some(count) => u64::from(count),
            None => part.div_ceil(u64::from(Ppm::WHOLE.get())),
        };
        rung.share = Ppm::of(exposed, all);
    }
    plan
}

/// What a rollout with this plan would be able to see in such traffic.
#[must_use]
pub fn outlook(plan: &Plan, traffic: Traffic) -> Outlook {
    let steps: Vec<StepOutlook> = plan
        .rungs
        .iter()
        .map(|rung| step(plan, rung, traffic))
        .collect();
    let warnings = warnings(plan, &steps, traffic);
    Outlook {
        traffic,
        total_s: steps.iter().map(|step| step.left_after_s).sum(),
        steps,
        warnings,
    }
}

fn step(plan: &Plan, rung: &PlannedRung, traffic: Traffic) -> StepOutlook {
    let whole = rung.share == Ppm::WHOLE;
    let watched_ms = if whole {
        plan.policy.soak_ms
    } else {
        plan.policy.bake_ms
    };
    let canary_rps = traffic.rps * rung.share.fraction();
    let watched_s = seconds(watched_ms);
    let interval_s = seconds(plan.evidence.interval_ms());
    let left_after_s = if whole {
        Some(watched_s)
    } else {
        let least_s = least_wait_s(plan.policy.minimum_requests, canary_rps);
        let proven_s = time_to_prove(plan, rung, traffic);
        proven_s.map(|proven_s| watched_s.max(least_s).max(proven_s))
    };
    // A verdict comes with a report.
    let time = |rate: f64| {
        let seconds = time_to_find(plan, rung, traffic, rate)?;
        Some((seconds / interval_s).ceil() * interval_s)
    };
    let finds = ASKED
        .iter()
        .map(|parts| f64::from(*parts) / 1e6)
        .filter(|rate| *rate > traffic.error_rate)
        .map(|rate| {
            let seconds = time(rate);
            Find {
                rate,
                seconds,
                failed: seconds.map(|s| s * canary_rps * (rate - traffic.error_rate)),
            }
        })
        .collect();
    StepOutlook {
        name: rung.name.to_string(),
        share: rung.share,
        canary_rps,
        watched_s,
        left_after_s,
        exposed: canary_rps * left_after_s.unwrap_or(watched_s),
        finds,
        least_rate: least_rate(watched_s, time),
    }
}

/// Seconds until a canary that fails like stable is proven to be good enough for the next step.
fn time_to_prove(plan: &Plan, rung: &PlannedRung, traffic: Traffic) -> Option<f64> {
    if plan.policy.rules < 1 {
        return Some(0.0); // recorded before anything had to be proven
    }
    let canary_rps = traffic.rps * rung.share.fraction();
    let (objective, burn) = (plan.slo.success, plan.policy.advance_burn_rate);
    let requests = requests_to_prove(
        (objective, burn),
        traffic.error_rate,
        rung.share,
        tolerated_odds(rung),
    )?;
    Some(least_wait_s(requests, canary_rps))
}

fn time_to_find(plan: &Plan, rung: &PlannedRung, traffic: Traffic, rate: f64) -> Option<f64> {
    let metrics = 1 + u32::from(plan.slo.latency.is_some());
    let interval_s = seconds(plan.evidence.interval_ms());
    if rung.share == Ppm::WHOLE {
        return seconds_to_breach(traffic.rps, rate, plan.slo.success, metrics, interval_s);
    }
    let canary_rps = traffic.rps * rung.share.fraction();
    let contrast = Contrast {
        canary_rps,
        stable_rps: traffic.rps - canary_rps,
        canary_rate: rate,
        stable_rate: traffic.error_rate,
        rho: tolerated_odds(rung),
        metrics,
        interval_s,
    };
    contrast.seconds_to_revert()
}

/// By halving: the time falls as the rate rises.
fn least_rate(watched_s: f64, time: impl Fn(f64) -> Option<f64>) -> Option<f64> {
    let found = |rate: f64| time(rate).is_some_and(|seconds| seconds <= watched_s);
    if !found(1.0) {
        return None;
    }
    let (mut not, mut yes) = (0.0, 1.0);
    for _ in 0..40 {
        let middle = f64::midpoint(not, yes);
        if found(middle) {
            yes = middle;
        } else {
            not = middle;
        }
    }
    Some(yes)
}

fn warnings(plan: &Plan, steps: &[StepOutlook], traffic: Traffic) -> Vec<String> {
    let mut warnings = Vec::new();
    let breach = tolerated_rate(plan.slo.success);
    if traffic.error_rate > breach {
        warnings.push(format!(
            "{} of `{}` fail already, more than the objective tolerates: the rollout would be held",
            percent(traffic.error_rate),
            plan.service
        ));
    }
    if traffic.rps <= 0.0 {
        warnings.push(format!(
            "`{}` has no requests: nothing advances without evidence",
            plan.service
        ));
        return warnings;
    }
    let least = plan.policy.minimum_requests;
    for (place, step) in steps.iter().enumerate() {
        let blind = step.least_rate.is_none_or(|rate| rate > 2.0 * breach);
        if blind {
            let sees = step.least_rate.map_or_else(
                || "not even a canary that fails always".to_owned(),
                |rate| format!("only failure rates of {} and more", percent(rate)),
            );
            let needs = plan
                .rungs
                .get(place)
                .and_then(|rung| time_to_find(plan, rung, traffic, 2.0 * breach))
                .map_or_else(String::new, |s| {
                    format!("; for {} it needs {}", percent(2.0 * breach), span(s))
                });
            warnings.push(format!(
                "{} sees {sees} in its {}: the objective is breached from {} on{needs}",
                step.name,
                span(step.watched_s),
                percent(breach),
            ));
        }
        let waits_s = least_wait_s(least, step.canary_rps);
        if step.share < Ppm::WHOLE && waits_s > step.watched_s {
            warnings.push(format!(
                "{} gets its {least} requests only in {}",
                step.name,
                span(waits_s)
            ));
        }
        warnings.extend(overdue(plan, step));
    }
    warnings
}

/// A step that waits for its proof until a person is paged, or for ever.
fn overdue(plan: &Plan, step: &StepOutlook) -> Option<String> {
    let deadline_s = seconds(plan.policy.hold_deadline_ms);
    let burn = plan.policy.advance_burn_rate;
    let remedy = "a larger `advance_burn_rate` asks for less";
    match step.left_after_s {
        None => Some(format!(
            "{} is not left by itself: stable fails too often for a canary like it to be proven to burn \
             less than {burn} times the objective's budget; {remedy}",
            step.name
        )),
        Some(left_s) if left_s - step.watched_s > deadline_s => Some(format!(
            "{} is left only after about {}, and pages when it has waited for {}: so long it takes \
             to prove that the new version burns less than {burn} times the objective's budget; {remedy}",
            step.name,
            span(left_s),
            span(deadline_s)
        )),
        Some(_) => None,
    }
}

#[allow(clippy::cast_precision_loss, reason = "a count of requests")]
fn least_wait_s(requests: u64, rps: f64) -> f64 {
    requests as f64 / rps
}

#[allow(clippy::cast_precision_loss, reason = "milliseconds of a wait")]
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

/// Such as `0.5%`, two digits that count.
#[must_use]
pub fn percent(rate: f64) -> String {
    let percent = rate * 100.0;
    let digits = match percent {
        p if p >= 10.0 => 0,
        p if p >= 1.0 => 1,
        p if p >= 0.1 => 2,
        _ => 3,
    };
    let text = format!("{percent:.digits$}");
    let text = if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        &text
    };
    format!("{text}%")
}

/// Such as `95 s`, `25 min`, `3 h`.
#[must_use]
pub fn span(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7_200.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.0} h", s / 3_600.0),
        s => format!("{:.0} days", s / 86_400.0),
    }
}
