//! What goes wrong in one rollout, drawn from its seed.

use crate::random::Random;

/// Failure rate of what is healthy: little of what the objective allows, so that the proof of it is short.
pub(crate) const HEALTHY: f64 = 0.000_1;

/// From this failure rate on a canary may not be promoted, if it never was any better.
pub(crate) const HARMFUL: f64 = 0.02;

const BAD_RATES: [f64; 6] = [HARMFUL, 0.03, 0.05, 0.2, 0.5, 1.0];
const LATE_RATES: [f64; 3] = [0.05, 0.2, 0.5];
const INCIDENT: f64 = 0.03;

/// Milliseconds for which nobody watched; `None`: nobody knows.
const OUTAGES_MS: [Option<u64>; 6] = [
    Some(100),
    Some(900),
    Some(3_000),
    Some(5_999),
    Some(30_000),
    None,
];

/// How often the sidecars of a rollout report, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Interval(pub(crate) u64);

/// A version, as it truly is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Canary {
    Healthy,
    /// From its first request on.
    Harmful,
    /// Only from some second on.
    Late,
    /// Healthy, but for some time both arms fail.
    Incident,
}

/// A stretch of seconds.
pub(crate) type Span = (u64, u64);

/// What goes wrong.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) interval: Interval,
    pub(crate) canary: Canary,
    pub(crate) rate: f64,
    /// When the canary's rate or the incident applies.
    pub(crate) trouble: Span,
    /// Probability that a report is lost.
    pub(crate) lost: f64,
    /// Which sidecar says nothing, and when.
    pub(crate) silent: Option<(usize, Span)>,
    /// No report of anyone arrives.
    pub(crate) outage: Span,
    /// Which sidecar is away, and when.
    pub(crate) away: Option<(usize, Span)>,
    /// Which sidecar restarts, and when: its counters begin anew.
    pub(crate) restarts: Vec<(usize, u64)>,
    /// Which sidecar rejects which exposure, counted from the first.
    pub(crate) rejects: Option<(usize, u64)>,
    /// Probability that an acknowledgement is slow, and how slow.
    pub(crate) slow_ack: (f64, u64),
    /// When the control plane is killed, and how long it is away.
    pub(crate) kills: Vec<(u64, Option<u64>)>,
    /// When an operator pauses, and lets it go on.
    pub(crate) paused: Option<Span>,
    pub(crate) aborted: Option<u64>,
}

// === impl Interval ===

impl Interval {
    /// All that are simulated.
    pub(crate) const ALL: [Interval; 4] = [Interval(1), Interval(5), Interval(10), Interval(15)];

    pub(crate) fn ms(self) -> u64 {
        self.0 * 1_000
    }

    /// Seconds into which faults fall: not quite as long as a rollout takes.
    pub(crate) fn span_s(self) -> u64 {
        57 + 3 * self.0
    }

    /// How long what lasts some seconds with a report each second lasts where they are rarer.
    fn longer(self, seconds: u64) -> u64 {
        seconds * self.span_s() / Interval(1).span_s()
    }
}

// === impl Plan ===

impl Plan {
    /// Of a rollout that `sidecars` take part in.
    pub(crate) fn new(random: &mut Random, sidecars: usize, interval: Interval) -> Self {
        let span_s = interval.span_s();
        let span = |random: &mut Random, longest| span(random, span_s, interval.longer(longest));
        let who = |random: &mut Random| usize::try_from(random.below(sidecars as u64)).unwrap();
        let (canary, rate, trouble) = canary(random, interval);
        let often = random.chance(0.5);
        let sometimes = |random: &mut Random| often && random.chance(0.25);
        Self {
            interval,
            canary,
            rate,
            trouble,
            lost: *pick(&[0.0, 0.0, 0.01, 0.1], random),
            silent: sometimes(random).then(|| (who(random), span(random, 40))),
            outage: if sometimes(random) {
                span(random, 40)
            } else {
                (0, 0)
            },
            away: sometimes(random).then(|| (who(random), span(random, 20))),
            restarts: some(random, 0.3, 2, |random| (who(random), random.below(span_s))),
            rejects: random.chance(0.05).then(|| (who(random), random.below(5))),
            slow_ack: *pick(&[(0.0, 0), (0.3, 1), (0.3, 3), (0.05, 12)], random),
            kills: some(random, 0.4, 3, |random| {
                (random.below(span_s), *pick(&OUTAGES_MS, random))
            }),
            paused: sometimes(random).then(|| span(random, 30)),
            aborted: random.chance(0.05).then(|| random.below(span_s)),
        }
    }

    /// Nothing goes wrong, but for what the canary is: healthy, or as bad as `rate`.
    pub(crate) fn calm(rate: Option<f64>) -> Self {
        let nothing = (0, 0);
        Self {
            interval: Interval(1),
            canary: rate.map_or(Canary::Healthy, |_| Canary::Harmful),
            rate: rate.unwrap_or(HEALTHY),
            trouble: (0, u64::MAX),
            lost: 0.0,
            silent: None,
            outage: nothing,
            away: None,
            restarts: Vec::new(),
            rejects: None,
            slow_ack: (0.0, 0),
            kills: Vec::new(),
            paused: None,
            aborted: None,
        }
    }

    /// Failure rates of canary and stable at a second.
    pub(crate) fn rates(&self, at: u64) -> (f64, f64) {
        if !within(self.trouble, at) {
            return (HEALTHY, HEALTHY);
        }
        match self.canary {
            Canary::Healthy => (HEALTHY, HEALTHY),
            Canary::Harmful | Canary::Late => (self.rate, HEALTHY),
            Canary::Incident => (self.rate, self.rate),
        }
    }
}

pub(crate) fn within(span: Span, at: u64) -> bool {
    (span.0..span.1).contains(&at)
}

fn canary(random: &mut Random, interval: Interval) -> (Canary, f64, Span) {
    match random.below(20) {
        0..8 => (Canary::Healthy, HEALTHY, (0, 0)),
        8..15 => (Canary::Harmful, *pick(&BAD_RATES, random), (0, u64::MAX)),
        15..18 => {
            let from = random.below(interval.span_s());
            (Canary::Late, *pick(&LATE_RATES, random), (from, u64::MAX))
        }
        _ => {
            let span = span(random, interval.span_s(), interval.longer(60));
            (Canary::Incident, INCIDENT, span)
        }
    }
}

fn pick<'a, T>(from: &'a [T], random: &mut Random) -> &'a T {
    &from[usize::try_from(random.below(from.len() as u64)).unwrap()]
}

fn span(random: &mut Random, span_s: u64, longest: u64) -> Span {
    let from = random.below(span_s);
    (from, from + 1 + random.below(longest))
}

fn some<T>(random: &mut Random, chance: f64, most: u64, one: impl Fn(&mut Random) -> T) -> Vec<T> {
    if !random.chance(chance) {
        return Vec::new();
    }
    (0..=random.below(most)).map(|_| one(random)).collect()
}
