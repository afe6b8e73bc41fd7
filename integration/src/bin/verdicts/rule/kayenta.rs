//! Kayenta's judge, as in `NetflixACAJudge.scala`, `MannWhitneyClassifier.scala` and
//! `MannWhitney.scala`: the arms' failure rates per minute, all since the start, compared by the
//! asymptotic confidence interval (98%) of their shift; `High` when its lower end is above a
//! quarter of the Hodges-Lehmann estimate. Minutes without data are left out, and a comparison
//! without any data does not fail.

use crate::rule::window::{Window, rate};
use crate::rule::{Rule, Verdict};
use crate::traffic::Second;

const POINT_S: u64 = 60;
const JUDGE_S: u64 = 300;
const TOLERANCE: f64 = 0.25;
/// Upper 1% point of the normal distribution: a two-sided interval of 98%.
const Z: f64 = 2.326_347_874;

#[derive(Debug, Default)]
pub(crate) struct Kayenta {
    window: Window,
    canary: Vec<f64>,
    stable: Vec<f64>,
}

impl Rule for Kayenta {
    fn second(&mut self, second: &Second) -> Verdict {
        self.window.second(second);
        let now = self.window.now();
        if now.is_multiple_of(POINT_S) && self.window.told() {
            let ((canary, canary_bad), (stable, stable_bad)) = self.window.last(POINT_S);
            if canary > 0 && stable > 0 {
                self.canary.push(rate(canary, canary_bad));
                self.stable.push(rate(stable, stable_bad));
            }
        }
        if !now.is_multiple_of(JUDGE_S) {
            return Verdict::Stay;
        }
        if high(&self.canary, &self.stable) {
            Verdict::Revert
        } else {
            Verdict::Advance
        }
    }
}

/// Whether the experiment's values are higher than the control's, by Kayenta's measure.
fn high(experiment: &[f64], control: &[f64]) -> bool {
    if experiment.is_empty() || experiment == control {
        return false;
    }
    let mut shifts: Vec<f64> = experiment
        .iter()
        .flat_map(|x| control.iter().map(move |y| x - y))
        .collect();
    shifts.sort_unstable_by(f64::total_cmp);
    let (Some(least), Some(most)) = (shifts.first(), shifts.last()) else {
        return false;
    };
    if least >= most {
        return false; // all values are the same
    }
    let limit = TOLERANCE * median(&shifts).abs();
    // The statistic falls with the shift, and the interval's lower end is where it passes Z: that
    // is above the limit if the statistic is still above Z there.
    if statistic(experiment, control, *least) <= Z {
        *least > limit
    } else {
        statistic(experiment, control, limit) > Z
    }
}

fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    } else {
        sorted[middle]
    }
}

/// The standardised rank sum of the experiment, shifted down by `shift`, against the control.
#[expect(clippy::cast_precision_loss, reason = "points of an hour")]
fn statistic(experiment: &[f64], control: &[f64], shift: f64) -> f64 {
    let (m, n) = (experiment.len() as f64, control.len() as f64);
    let mut all: Vec<(f64, bool)> = experiment
        .iter()
        .map(|x| (x - shift, true))
        .chain(control.iter().map(|y| (*y, false)))
        .collect();
    all.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let (mut ranks, mut ties, mut before) = (0.0, 0.0, 0.0);
    for group in all.chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq()) {
        let size = group.len() as f64;
        let ours = group.iter().filter(|(_, ours)| *ours).count() as f64;
        ranks += ours * (before + (size + 1.0) / 2.0);
        ties += size.powi(3) - size;
        before += size;
    }
    let above = ranks - m * (m + 1.0) / 2.0 - m * n / 2.0;
    let correction = if above == 0.0 {
        0.0
    } else {
        0.5 * above.signum()
    };
    let variance = m * n / 12.0 * ((m + n + 1.0) - ties / ((m + n) * (m + n - 1.0)));
    if variance <= 0.0 {
        return 0.0;
    }
    (above - correction) / variance.sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_points_are_high_if_all_are_higher() {
        let control = [0.001, 0.002, 0.001, 0.0, 0.001];
        assert!(high(&[0.5, 0.49, 0.51, 0.52, 0.48], &control));
        assert!(!high(&control, &control));
        assert!(!high(&[0.002, 0.001, 0.0, 0.001, 0.001], &control));
        assert!(!high(&[0.0, 0.5, 0.001, 0.002, 0.001], &control));
    }

    #[test]
    fn the_statistic_is_that_of_wilcoxon() {
        // R: wilcox.test(c(3, 5, 6), c(1, 2, 4), exact = FALSE): W = 8, z = (8 - 4.5 - 0.5) / sqrt(5.25)
        let z = statistic(&[3.0, 5.0, 6.0], &[1.0, 2.0, 4.0], 0.0);
        assert!((z - 3.0 / 5.25_f64.sqrt()).abs() < 1e-12, "{z}");
    }
}
