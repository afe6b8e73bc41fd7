//! What is refused before it can do harm.

/// What a mesh would take away.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A version that carries traffic, or that a rollout needs, would vanish.
    #[error("{0}")]
    InUse(String),
}
