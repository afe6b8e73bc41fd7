//! What somebody wants to know.

use std::collections::BTreeSet;
use std::sync::Arc;

/// Which upstreams somebody asked about. What nobody asked about is skipped before its numbers are read, and is
/// not in a report; version gauges always are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// `None`: all of them.
    upstreams: Option<Arc<BTreeSet<String>>>,
}

// === impl Asked ===

impl Asked {
    /// Every upstream.
    #[must_use]
    pub fn everything() -> Self {
        Self::default()
    }

    /// These upstream clusters only.
    #[must_use]
    pub fn upstreams(names: impl IntoIterator<Item = String>) -> Self {
        Self {
            upstreams: Some(Arc::new(names.into_iter().collect())),
        }
    }

    /// Whether this upstream is among them.
    #[must_use]
    pub fn covers(&self, upstream: &str) -> bool {
        let names = self.upstreams.as_ref();
        names.is_none_or(|names| names.contains(upstream))
    }
}
