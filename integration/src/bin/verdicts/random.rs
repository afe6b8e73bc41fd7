//! Chance that repeats from its seed, and fast draws of how many of n requests fail.

use std::f64::consts::TAU;

/// `SplitMix64`: small, seeded, good enough for counts.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

/// Binomial draws for one probability, by inversion of tables that are made when first needed.
#[derive(Debug)]
pub(crate) struct Coin {
    probability: f64,
    /// By number of trials: the distribution function, until it is as good as 1.
    tables: Vec<Option<Box<[f64]>>>,
}

/// One [`Coin`] per probability.
#[derive(Debug, Default)]
pub(crate) struct Coins(Vec<Coin>);

// === impl Random ===

impl Random {
    /// The same seed gives the same numbers; neighbouring seeds have nothing in common.
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Self(seed ^ 0x5851_F42D_4C95_7F2D);
        random.0 = random.bits();
        random
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From 0 to just below 1.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
    pub(crate) fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// From 0 to `end - 1`; 0 when `end` is 0.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.bits() % end.max(1)
    }

    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.uniform() < probability
    }

    /// Standard normal (Box and Muller).
    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (TAU * self.uniform()).cos()
    }

    /// Gamma with shape `shape` and scale 1 (Marsaglia and Tsang 2000).
    fn gamma(&mut self, shape: f64) -> f64 {
        if shape < 1.0 {
            let boost = (1.0 - self.uniform()).powf(1.0 / shape);
            return boost * self.gamma(shape + 1.0);
        }
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal();
            let v = (1.0 + c * x).powi(3);
            if v > 0.0 && (1.0 - self.uniform()).ln() < 0.5 * x * x + d - d * v + d * v.ln() {
                return d * v;
            }
        }
    }

    /// Beta with the given mean, whose requests of one draw have intraclass correlation `icc`.
    pub(crate) fn beta(&mut self, mean: f64, icc: f64) -> f64 {
        let size = (1.0 - icc) / icc;
        let (a, b) = (self.gamma(mean * size), self.gamma((1.0 - mean) * size));
        if a + b > 0.0 { a / (a + b) } else { mean }
    }

    /// How many of `n` have `probability`, whatever it is: skips from one hit to the next.
    #[expect(
        clippy::cast_precision_loss,
        reason = "requests of a second are far below 2^52"
    )]
    pub(crate) fn binomial(&mut self, n: u64, probability: f64) -> u64 {
        if probability <= 0.0 {
            return 0;
        }
        if probability >= 1.0 {
            return n;
        }
        if probability > 0.5 {
            return n - self.binomial(n, 1.0 - probability);
        }
        let (mut hits, mut at) = (0, 0.0);
        loop {
            at += ((1.0 - self.uniform()).ln() / (-probability).ln_1p()).floor() + 1.0;
            if at > n as f64 {
                return hits;
            }
            hits += 1;
        }
    }
}

// === impl Coins ===

impl Coins {
    /// How many of `n` have `probability`; one of a handful.
    pub(crate) fn throw(&mut self, n: u64, probability: f64, random: &mut Random) -> u64 {
        let known = self
            .0
            .iter()
            .position(|coin| coin.probability.to_bits() == probability.to_bits());
        let place = known.unwrap_or_else(|| {
            self.0.push(Coin {
                probability,
                tables: Vec::new(),
            });
            self.0.len() - 1
        });
        self.0[place].throw(n, random)
    }
}

// === impl Coin ===

impl Coin {
    fn throw(&mut self, n: u64, random: &mut Random) -> u64 {
        if n == 0 || self.probability <= 0.0 {
            return 0;
        }
        if self.probability >= 1.0 {
            return n;
        }
        let place = usize::try_from(n).unwrap();
        // (1 − p)^n must stay far from 0 in floating point.
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        if n as f64 * -(-self.probability).ln_1p() > 500.0 {
            return self.throw(n / 2, random) + self.throw(n - n / 2, random);
        }
        if self.tables.len() <= place {
            self.tables.resize_with(place + 1, || None);
        }
        let table = self.tables[place].get_or_insert_with(|| table(n, self.probability));
        let at = random.uniform();
        let hits = if table.len() <= 16 {
            table.iter().take_while(|below| **below <= at).count()
        } else {
            table.partition_point(|below| *below <= at)
        };
        (hits as u64).min(n)
    }
}

/// The distribution function of Binomial(n, p), until it is as good as 1.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn table(n: u64, p: f64) -> Box<[f64]> {
    let mut mass = (n as f64 * (-p).ln_1p()).exp();
    let mut sum = 0.0;
    let mut table = Vec::new();
    for hits in 0..=n {
        sum += mass;
        table.push(sum);
        if sum > 1.0 - 1e-15 {
            break;
        }
        mass *= (n - hits) as f64 / (hits + 1) as f64 * p / (1.0 - p);
    }
    table.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coins_have_the_mean_and_the_variance_of_the_binomial() {
        let mut random = Random::new(1);
        let mut coins = Coins::default();
        for (n, p) in [
            (10, 0.5),
            (200, 0.05),
            (190, 0.001),
            (2_000, 0.5),
            (30, 0.97),
        ] {
            let draws: Vec<f64> = (0..40_000)
                .map(|_| coins.throw(n, p, &mut random) as f64)
                .collect();
            let mean = draws.iter().sum::<f64>() / draws.len() as f64;
            let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 40_000.0;
            let (right, spread) = (n as f64 * p, n as f64 * p * (1.0 - p));
            let error = 5.0 * (spread / 40_000.0).sqrt();
            assert!((mean - right).abs() < error, "{n} {p}: {mean}");
            assert!((variance / spread - 1.0).abs() < 0.1, "{n} {p}: {variance}");
        }
    }

    #[test]
    fn beta_has_its_mean_and_its_correlation() {
        let mut random = Random::new(2);
        let draws: Vec<f64> = (0..200_000).map(|_| random.beta(0.01, 0.005)).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 200_000.0;
        assert!((mean - 0.01).abs() < 0.0002, "{mean}");
        let icc = variance / (mean * (1.0 - mean));
        assert!((icc - 0.005).abs() < 0.0005, "{icc}");
    }
}
