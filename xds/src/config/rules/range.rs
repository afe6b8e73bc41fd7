//! Rules for what has an order: numbers, durations, times.

use std::fmt::Display;

use prost_reflect::{DynamicMessage, Value};

use super::Findings;
use crate::config::fields::{get, truth};

/// The bounds of a number.
#[derive(Debug)]
pub(super) struct Range<T> {
    /// The kind of rule, such as `uint32`.
    pub(super) kind: &'static str,
    pub(super) exactly: Option<T>,
    pub(super) lt: Option<T>,
    pub(super) lte: Option<T>,
    pub(super) gt: Option<T>,
    pub(super) gte: Option<T>,
    pub(super) within: Vec<T>,
    pub(super) not_in: Vec<T>,
    /// Whether zero is as good as absence.
    pub(super) ignore_empty: bool,
    pub(super) show: fn(&T) -> String,
}

// === impl Range ===

impl<T> Range<T> {
    pub(super) fn of(
        kind: &'static str,
        rules: &DynamicMessage,
        read: impl Fn(&Value) -> Option<T>,
        show: fn(&T) -> String,
    ) -> Self {
        let one = |name| get(rules, name).as_ref().and_then(&read);
        let many = |name| {
            let values = get(rules, name);
            let items = values.as_ref().and_then(Value::as_list).unwrap_or_default();
            items.iter().filter_map(&read).collect()
        };
        Self {
            kind,
            exactly: one("const"),
            lt: one("lt"),
            lte: one("lte"),
            gt: one("gt"),
            gte: one("gte"),
            within: many("in"),
            not_in: many("not_in"),
            ignore_empty: truth(rules, "ignore_empty"),
            show,
        }
    }
}

impl<T: PartialOrd + Default + Display> Range<T> {
    pub(super) fn check(&self, value: T, findings: &mut Findings<'_>) {
        if self.ignore_empty && value == T::default() {
            return;
        }
        let is = (self.show)(&value);
        let mut breach = |rule: &str, must: String| {
            findings.add(
                &format!("{}.{rule}", self.kind),
                format!("must be {must}, is {is}"),
            );
        };
        if let Some(wanted) = self.exactly.as_ref().filter(|wanted| **wanted != value) {
            breach("const", (self.show)(wanted));
        }
        let low = [
            (
                "gt",
                "greater than",
                &self.gt,
                self.gt.as_ref().is_some_and(|low| value > *low),
            ),
            (
                "gte",
                "at least",
                &self.gte,
                self.gte.as_ref().is_some_and(|low| value >= *low),
            ),
        ];
        let high = [
            (
                "lt",
                "less than",
                &self.lt,
                self.lt.as_ref().is_some_and(|high| value < *high),
            ),
            (
                "lte",
                "at most",
                &self.lte,
                self.lte.as_ref().is_some_and(|high| value <= *high),
            ),
        ];
        let low = low.into_iter().find(|(_, _, bound, _)| bound.is_some());
        let high = high.into_iter().find(|(_, _, bound, _)| bound.is_some());
        let text = |bound: &Option<T>| bound.as_ref().map(self.show).unwrap_or_default();
        match (low, high) {
            // A lower bound above the upper one stands for what is outside of them.
            (Some((rule, words, low, above)), Some((_, other, high, below))) if low > high => {
                if !above && !below {
                    let (low, high) = (text(low), text(high));
                    breach(rule, format!("{words} {low} or {other} {high}"));
                }
            }
            (low, high) => {
                for (rule, words, bound, holds) in low.into_iter().chain(high) {
                    if !holds {
                        breach(rule, format!("{words} {}", text(bound)));
                    }
                }
            }
        }
        let all = |values: &[T]| values.iter().map(self.show).collect::<Vec<_>>().join(", ");
        if !self.within.is_empty() && !self.within.contains(&value) {
            breach("in", format!("one of {}", all(&self.within)));
        }
        if self.not_in.contains(&value) {
            breach("not_in", format!("none of {}", all(&self.not_in)));
        }
    }
}
