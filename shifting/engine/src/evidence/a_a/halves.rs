//! Half of the sidecars, drawn anew for each trial.

use std::collections::BTreeSet;

/// Sidecars in two halves, by node id.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Halves {
    seed: u64,
    pub(super) canary: BTreeSet<String>,
    pub(super) stable: BTreeSet<String>,
}

// === impl Halves ===

impl Halves {
    /// As many on one side as on the other, or one less: a coin for each would leave a side empty
    /// in every second trial of two sidecars.
    pub(super) fn of(sidecars: &BTreeSet<&str>, seed: u64) -> Self {
        let mut drawn: Vec<(u64, &str)> = sidecars
            .iter()
            .map(|sidecar| (hash(seed, sidecar), *sidecar))
            .collect();
        drawn.sort_unstable();
        let half = drawn.len() / 2;
        let mut names = drawn.into_iter().map(|(_, name)| name.to_owned());
        Self {
            seed,
            canary: names.by_ref().take(half).collect(),
            stable: names.collect(),
        }
    }

    /// Takes out who is gone and puts who is new on a side by a coin of its own, for it may go and
    /// come again; where it is before does not depend on what it reported.
    pub(super) fn follow(&mut self, sidecars: &BTreeSet<&str>) {
        for side in [&mut self.canary, &mut self.stable] {
            side.retain(|sidecar| sidecars.contains(sidecar.as_str()));
        }
        if sidecars.len() == self.sidecars() {
            return;
        }
        for sidecar in sidecars {
            if self.canary.contains(*sidecar) || self.stable.contains(*sidecar) {
                continue;
            }
            let side = match hash(self.seed, sidecar) & 1 {
                0 => &mut self.canary,
                _ => &mut self.stable,
            };
            side.insert((*sidecar).to_owned());
        }
    }

    /// Nobody is left to compare, or to compare with.
    pub(super) fn one_is_empty(&self) -> bool {
        self.canary.is_empty() || self.stable.is_empty()
    }

    fn sidecars(&self) -> usize {
        self.canary.len() + self.stable.len()
    }
}

/// FNV-1a of the text, mixed as SplitMix64 does: every bit of the seed and the text moves every bit.
pub(super) fn hash(seed: u64, text: &str) -> u64 {
    let mut z = text.bytes().fold(seed ^ 0xCBF2_9CE4_8422_2325, |z, byte| {
        (z ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    });
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(n: usize) -> Vec<String> {
        (0..n).map(|i| format!("sidecar-{i}")).collect()
    }

    fn refs(names: &[String]) -> BTreeSet<&str> {
        names.iter().map(String::as_str).collect()
    }

    #[test]
    fn halves_are_equal_and_everyone_is_in_either_about_as_often() {
        for n in [2, 3, 10] {
            let names = names(n);
            let mut canary = vec![0; n];
            for seed in 0..2_000 {
                let halves = Halves::of(&refs(&names), hash(seed, "checkout"));
                assert_eq!(halves.canary.len(), n / 2);
                assert_eq!(halves.sidecars(), n);
                assert!(halves.canary.is_disjoint(&halves.stable));
                for (count, name) in canary.iter_mut().zip(&names) {
                    *count += usize::from(halves.canary.contains(name));
                }
            }
            let mean = 2_000 * (n / 2) / n;
            for count in canary {
                assert!(count.abs_diff(mean) < 100, "{n}: {count} of {mean}");
            }
        }
    }

    #[test]
    fn two_who_are_together_in_one_trial_are_not_so_in_the_next() {
        let names = names(20);
        let together = (0..1_000)
            .filter(|seed| {
                let halves = Halves::of(&refs(&names), *seed);
                halves.canary.contains("sidecar-3") == halves.canary.contains("sidecar-4")
            })
            .count();
        assert!((420..530).contains(&together), "{together}"); // 9 of 19
    }

    #[test]
    fn who_goes_is_left_out_and_who_comes_again_comes_to_the_same_side() {
        let names = names(40);
        let mut halves = Halves::of(&refs(&names[..20]), 7);
        let first = halves.clone();
        halves.follow(&refs(&names));
        assert_eq!(halves.sidecars(), 40);
        assert!(first.canary.is_subset(&halves.canary) && first.stable.is_subset(&halves.stable));
        let all = halves.clone();
        halves.follow(&refs(&names[..20]));
        assert_eq!(halves, first);
        halves.follow(&refs(&names));
        assert_eq!(halves, all);
        halves.follow(&BTreeSet::from(["sidecar-1"]));
        assert!(halves.one_is_empty());
    }
}
