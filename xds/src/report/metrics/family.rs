//! A family as Envoy writes it: a name, a type, and one metric whose labels come before its numbers.

use super::super::protobuf::Fields;

/// A family whose name comes first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plain<'a> {
    pub(super) name: &'a [u8],
    /// What is behind the name.
    rest: Fields<'a>,
}

/// The one metric of a family.
#[derive(Debug, Clone, Copy)]
pub(super) struct PlainMetric<'a> {
    /// All its labels, as they came.
    pub(super) labels: &'a [u8],
    /// What is behind them.
    pub(super) numbers: Fields<'a>,
}

// Field numbers with their kinds, as the first byte of a field has them: texts and messages, and a number.
const NAME: u8 = 1 << 3 | 2;
const HELP: u8 = 2 << 3 | 2;
const TYPE: u8 = 3 << 3;
const METRIC: u8 = 4 << 3 | 2;
/// The first byte of a metric's label.
pub(super) const LABEL: u8 = 1 << 3 | 2;

// === impl Plain ===

impl<'a> Plain<'a> {
    /// `None` if it is written in another way, or not at all.
    pub(super) fn of(family: &'a [u8]) -> Option<Self> {
        let mut rest = Fields::of(family);
        let name = rest.bytes_if(NAME)?;
        Some(Self { name, rest })
    }

    /// `None` if there is not exactly one, at the end.
    pub(super) fn metric(&self) -> Option<PlainMetric<'a>> {
        let mut rest = self.rest;
        while rest.bytes_if(HELP).is_some() || rest.varint_if(TYPE).is_some() {}
        let metric = rest.bytes_if(METRIC)?;
        if !rest.is_empty() {
            return None;
        }
        let mut numbers = Fields::of(metric);
        while numbers.bytes_if(LABEL).is_some() {}
        let (labels, _) = metric.split_at_checked(metric.len() - numbers.len())?;
        Some(PlainMetric { labels, numbers })
    }
}
