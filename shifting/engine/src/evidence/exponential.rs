//! e^x the same to the bit on every machine, and for several numbers at once.
//!
//! A mathematics library's own differs between platforms in the last bit, and is called number by
//! number; this one is plain arithmetic that a compiler can do side by side.

/// Below this e^x is taken to be 0: evidence is only lowered by it.
const LEAST: f64 = -700.0;

/// 1.5 × 2^52: adding it leaves the nearest whole number in the low bits.
const SHIFT: f64 = 6_755_399_441_055_744.0;

/// ln 2 in two parts; the first has 21 zero bits at its end, so that multiples are exact.
const LN_2_HIGH: f64 = 0.693_147_180_369_123_8;
const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;

/// 1/n! from 13 down to 2.
const COEFFICIENTS: [f64; 12] = [
    1.0 / 6_227_020_800.0,
    1.0 / 479_001_600.0,
    1.0 / 39_916_800.0,
    1.0 / 3_628_800.0,
    1.0 / 362_880.0,
    1.0 / 40_320.0,
    1.0 / 5_040.0,
    1.0 / 720.0,
    1.0 / 120.0,
    1.0 / 24.0,
    1.0 / 6.0,
    0.5,
];

/// e^x for x up to 700. What is not a number counts as 0, and gives 1.
#[inline]
pub(super) fn exp(x: f64) -> f64 {
    let x = if x.is_nan() { 0.0 } else { x };
    let inside = x.clamp(LEAST, -LEAST);
    let shifted = inside * std::f64::consts::LOG2_E + SHIFT;
    let whole = shifted - SHIFT;
    let rest = (inside - whole * LN_2_HIGH) - whole * LN_2_LOW;
    let mut sum = 0.0;
    for coefficient in COEFFICIENTS {
        sum = sum * rest + coefficient;
    }
    let fraction = 1.0 + (rest + rest * rest * sum);
    let power = f64::from_bits(shifted.to_bits().wrapping_add(1_023) << 52);
    if x < LEAST { 0.0 } else { fraction * power }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_that_of_the_library_to_fifteen_digits() {
        for step in -7_000_000..=30_000 {
            let x = f64::from(step) * 1e-4;
            let error = (exp(x) / x.exp() - 1.0).abs();
            assert!(error < 1e-15, "{x}: {error}");
        }
    }

    #[test]
    fn the_edges_are_what_they_should_be() {
        assert_eq!(exp(0.0).to_bits(), 1.0_f64.to_bits());
        assert_eq!(exp(-701.0).to_bits(), 0.0_f64.to_bits());
        assert_eq!(exp(f64::NEG_INFINITY).to_bits(), 0.0_f64.to_bits());
        assert_eq!(exp(f64::NAN).to_bits(), 1.0_f64.to_bits());
        assert!((exp(std::f64::consts::LN_10) - 10.0).abs() < 1e-14);
    }
}
