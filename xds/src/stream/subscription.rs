//! What a client asked for, of one type.

use super::names::Names;

/// What a client asked for, of one type.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Subscription {
    /// Everything of the type, by `*` or by the legacy form.
    pub(super) wildcard: bool,
    /// Names, known or not (xDS protocol rule C9).
    pub(super) names: Names,
    /// Whether a request of this stream ever carried a name of this type: from then on an empty
    /// state-of-the-world list means nothing, not all (rule S6).
    pub(super) ever_named: bool,
}

// === impl Subscription ===

impl Subscription {
    pub(super) fn covers(&self, name: &str) -> bool {
        self.wildcard || self.names.contains(name)
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.wildcard && self.names.is_empty()
    }
}
