//! Disagreements that are meant to be, each with its reason. Any other fails the run.

/// Whose refusal it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    OnlyEnvoy,
    OnlyWe,
}

/// One kind of disagreement.
#[derive(Debug)]
pub(crate) struct Explanation {
    pub(crate) side: Side,
    /// Words of the refusal: of Envoy's reason, or of our diagnostic as it is printed.
    pub(crate) words: &'static str,
    pub(crate) why: &'static str,
}

const fn only_envoy(words: &'static str, why: &'static str) -> Explanation {
    Explanation {
        side: Side::OnlyEnvoy,
        words,
        why,
    }
}

const fn only_we(words: &'static str, why: &'static str) -> Explanation {
    Explanation {
        side: Side::OnlyWe,
        words,
        why,
    }
}

pub(crate) const EXPLANATIONS: &[Explanation] = &[
    only_envoy(
        "unable to open file",
        "Envoy opens the files of access logs; which there are depends on the machine",
    ),
    only_we(
        "stands twice in this mapping",
        "YAML forbids it; of two entries with one key, Envoy silently takes one",
    ),
];

/// The number of the explanation of a refusal.
pub(crate) fn explanation(side: Side, refusal: &str) -> Option<usize> {
    EXPLANATIONS
        .iter()
        .position(|known| known.side == side && refusal.contains(known.words))
}
