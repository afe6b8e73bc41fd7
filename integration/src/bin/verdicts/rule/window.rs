//! Requests of the last seconds, as a metrics store would answer for them.

use crate::traffic::{Arm, Second};

/// Requests and failures of an arm, since the canary's first request.
type Counted = (u64, u64);

/// The counters, second by second. A store that is not told scrapes nothing: it knows the latest
/// values again when telemetry is back.
#[derive(Debug, Default)]
pub(crate) struct Window {
    canary: Counted,
    stable: Counted,
    /// What the store holds, by second.
    stored: Vec<(Counted, Counted)>,
    told: bool,
}

// === impl Window ===

impl Window {
    pub(crate) fn second(&mut self, second: &Second) {
        count(&mut self.canary, second.canary);
        count(&mut self.stable, second.stable);
        self.told = second.told;
        let latest = if second.told {
            (self.canary, self.stable)
        } else {
            self.stored.last().copied().unwrap_or_default()
        };
        self.stored.push(latest);
    }

    /// Seconds since the first.
    pub(crate) fn now(&self) -> u64 {
        self.stored.len() as u64
    }

    /// The store answers.
    pub(crate) fn told(&self) -> bool {
        self.told
    }

    /// Canary and stable: requests and failures of the last `seconds`.
    pub(crate) fn last(&self, seconds: u64) -> (Counted, Counted) {
        self.between(self.now().saturating_sub(seconds), self.now())
    }

    /// The same from the end of one second to the end of another.
    pub(crate) fn between(&self, from: u64, until: u64) -> (Counted, Counted) {
        let at = |second: u64| match second.checked_sub(1) {
            None => ((0, 0), (0, 0)),
            Some(place) => self.stored[usize::try_from(place).unwrap()],
        };
        let (then, now) = (at(from), at(until));
        (difference(now.0, then.0), difference(now.1, then.1))
    }

    /// The canary's success rate over the last `seconds`; `None` when there is no value: nothing
    /// is told, or there was no request.
    pub(crate) fn success_rate(&self, seconds: u64) -> Option<f64> {
        let ((requests, bad), _) = self.last(seconds);
        (self.told && requests > 0).then(|| 1.0 - rate(requests, bad))
    }
}

fn count(sum: &mut Counted, arm: Arm) {
    sum.0 += arm.requests;
    sum.1 += arm.bad;
}

fn difference(now: Counted, then: Counted) -> Counted {
    (now.0 - then.0, now.1 - then.1)
}

/// The part of requests that failed; 0 without any.
#[expect(clippy::cast_precision_loss, reason = "counts of an hour")]
pub(crate) fn rate(requests: u64, bad: u64) -> f64 {
    bad as f64 / requests.max(1) as f64
}
