//! What a number of hits in a number of trials says of the probability of a hit: the exact bounds
//! of Clopper and Pearson. For people; nothing is decided by them.

/// The largest probability with which so few hits in so many trials still happen in `miss` of the
/// cases, from 0 to 1: the true one is above it with a probability of at most `miss`. Without a hit
/// and for `miss` = 5% it is about 3/`trials`. 1 without trials.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "a bound with a few digits")]
pub(crate) fn upper_bound(hits: u64, trials: u64, miss: f64) -> f64 {
    if hits >= trials {
        return 1.0;
    }
    let (k, n) = (hits as f64, trials as f64);
    let ln_choose = ln_factorial(n) - ln_factorial(k) - ln_factorial(n - k);
    let (mut low, mut high) = (k / n, 1.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if at_most(k, n, ln_choose, middle) > miss {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// The same from below: the true probability is below it with a probability of at most `miss`. 0
/// without a hit.
#[must_use]
pub(crate) fn lower_bound(hits: u64, trials: u64, miss: f64) -> f64 {
    if trials == 0 {
        return 0.0;
    }
    1.0 - upper_bound(trials.saturating_sub(hits), trials, miss)
}

/// The probability of at most `k` hits in `n` trials, each with probability `p` ≥ k/n: from `k`
/// down the terms fall, and few of them count.
fn at_most(k: f64, n: f64, ln_choose: f64, p: f64) -> f64 {
    if p >= 1.0 {
        return 0.0;
    }
    let mut term = (ln_choose + k * p.ln() + (n - k) * (-p).ln_1p()).exp();
    let (mut sum, mut hits) = (term, k);
    while hits > 0.0 && term > sum * 1e-17 {
        term *= hits / (n - hits + 1.0) * (1.0 - p) / p;
        sum += term;
        hits -= 1.0;
    }
    sum
}

/// Stirling's series; sums where it is not exact enough.
fn ln_factorial(n: f64) -> f64 {
    let (mut x, mut below) = (n + 1.0, 0.0);
    while x < 16.0 {
        below += x.ln();
        x += 1.0;
    }
    let square = x * x;
    let series = (1.0 / 12.0 - (1.0 / 360.0 - 1.0 / (1260.0 * square)) / square) / x;
    (x - 0.5) * x.ln() - x + 0.5 * std::f64::consts::TAU.ln() + series - below
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(is: f64, wanted: f64) {
        assert!(
            (is - wanted).abs() < 1e-6 * wanted.max(1e-3),
            "{is} {wanted}"
        );
    }

    #[test]
    fn factorials_are_those_of_the_product() {
        for n in 0..30 {
            let product: f64 = (1..=n).map(|k| f64::from(k).ln()).sum();
            let is = ln_factorial(f64::from(n));
            assert!((is - product).abs() < 1e-11, "{n}: {is} {product}");
        }
    }

    #[test]
    fn the_bounds_are_where_the_sum_of_the_probabilities_is_what_may_be_missed() {
        let choose = |n: u64, k: u64| (0..k).fold(1.0, |c, i| c * (n - i) as f64 / (i + 1) as f64);
        let at_most = |k: u64, n: u64, p: f64| -> f64 {
            let term = |i: u64| choose(n, i) * p.powi(i as i32) * (1.0 - p).powi((n - i) as i32);
            (0..=k).map(term).sum()
        };
        for (k, n) in [(0, 1), (0, 7), (1, 10), (5, 20), (19, 20), (3, 400)] {
            for miss in [0.05, 0.01] {
                near(at_most(k, n, upper_bound(k, n, miss)), miss);
                if k > 0 {
                    near(1.0 - at_most(k - 1, n, lower_bound(k, n, miss)), miss);
                }
            }
        }
    }

    #[test]
    fn no_hit_is_the_rule_of_three_however_many_trials() {
        for trials in [100, 10_000, 1_000_000, 100_000_000] {
            let upper = upper_bound(0, trials, 0.05) * trials as f64;
            assert!((2.9..3.0).contains(&upper), "{upper}");
            assert!(lower_bound(0, trials, 0.05).abs() < 1e-12);
        }
    }

    #[test]
    fn nothing_tried_says_nothing_and_all_hit_is_bounded_from_below_only() {
        near(upper_bound(0, 0, 0.05), 1.0);
        near(lower_bound(0, 0, 0.05), 0.0);
        near(upper_bound(8, 8, 0.05), 1.0);
        near(lower_bound(8, 8, 0.05), 0.05_f64.powf(1.0 / 8.0));
    }

    #[test]
    fn many_hits_of_many_are_bounded_closely_on_both_sides() {
        let (low, high) = (
            lower_bound(500_000, 1_000_000, 0.05),
            upper_bound(500_000, 1_000_000, 0.05),
        );
        // 1.645 standard deviations of 0.0005.
        assert!((low - (0.5 - 0.000_822_5)).abs() < 2e-6, "{low}");
        assert!((high - (0.5 + 0.000_822_5)).abs() < 2e-6, "{high}");
    }
}
