//! A publisher that doesn't let a view lose much by accident.
//!
//! A source that breaks gives an empty or a short view, and Envoys apply it at once: an empty set
//! of clusters fails every request within 0.3 s (envoy facts §12). So what would lose all of a
//! type, or more than half of many, needs somebody who says how many.

use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;

use crate::limits::SHRINK_FREE_MAX;
use crate::resource::TypeUrl;
use crate::snapshot::Snapshot;

/// Publishes views, and refuses those that lose too much.
#[derive(Debug)]
pub struct Guard {
    views: watch::Sender<Option<Arc<Snapshot>>>,
}

/// What a view would take away of one type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// The type.
    pub type_url: TypeUrl,
    /// How many resources of the last view aren't in the next one, by name.
    pub count: usize,
}

/// The view isn't published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the view would take away {}; if that is meant, publish it with these very counts",
    .losses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
)]
pub struct TooMuchLost {
    /// Every type that would lose too much.
    pub losses: Vec<Loss>,
}

// === impl Guard ===

impl Guard {
    /// A publisher without a view, or with the last good one of before a restart (see
    /// [`Snapshot::from_bytes`]). The receiver is what [`Assign`](crate::Assign) hands out.
    pub fn new(last_good: Option<Arc<Snapshot>>) -> (Self, watch::Receiver<Option<Arc<Snapshot>>>) {
        let (views, receiver) = watch::channel(last_good);
        (Self { views }, receiver)
    }

    /// Publishes a view. `meant` names the losses that are wanted, each by its exact count: a
    /// number that somebody read, and not a switch that stays on.
    ///
    /// # Errors
    /// If a type would become empty, or lose more than half of more than [`SHRINK_FREE_MAX`],
    /// without being named so. The last view stays.
    pub fn publish(&self, view: Arc<Snapshot>, meant: &[Loss]) -> Result<(), TooMuchLost> {
        let mut refused = Vec::new();
        self.views.send_if_modified(|current| {
            refused = losses(current.as_deref(), &view);
            refused.retain(|loss| !meant.contains(loss));
            let changes = refused.is_empty() && current.as_ref() != Some(&view);
            if changes {
                *current = Some(view);
            }
            changes
        });
        if refused.is_empty() {
            Ok(())
        } else {
            Err(TooMuchLost { losses: refused })
        }
    }

    /// The view that is published, to be saved.
    pub fn current(&self) -> Option<Arc<Snapshot>> {
        self.views.borrow().clone()
    }
}

/// Every type that loses too much.
fn losses(last: Option<&Snapshot>, next: &Snapshot) -> Vec<Loss> {
    let Some(last) = last else { return Vec::new() };
    let mut losses = Vec::new();
    for type_url in last.type_urls() {
        let gone = |resource: &&Arc<crate::Resource>| next.get(type_url, resource.name()).is_none();
        let (had, count) = (last.len(type_url), last.iter(type_url).filter(gone).count());
        let much = had > SHRINK_FREE_MAX && count * 2 > had;
        if next.len(type_url) == 0 || much {
            let type_url = type_url.clone();
            losses.push(Loss { type_url, count });
        }
    }
    losses
}

// === impl Loss ===

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} resources", self.count, self.type_url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{snapshot, static_cluster};

    fn clusters(names: std::ops::Range<usize>) -> Arc<Snapshot> {
        snapshot(names.map(|number| static_cluster(&format!("c{number}"))))
    }

    fn loss(count: usize) -> Loss {
        let type_url = TypeUrl::CLUSTER;
        Loss { type_url, count }
    }

    #[test]
    fn s12_a_view_without_a_type_that_was_there_is_refused() {
        let (guard, views) = Guard::new(Some(clusters(0..1)));
        let refused = guard.publish(snapshot([]), &[]).unwrap_err();
        assert_eq!(refused.losses, [loss(1)]);
        assert!(refused.to_string().contains("1 cds resources"));
        assert_eq!(*views.borrow(), Some(clusters(0..1)), "the last one stays");
    }

    #[test]
    fn s12_more_than_half_of_many_is_refused_and_less_is_not() {
        let (guard, _views) = Guard::new(None);
        guard.publish(clusters(0..20), &[]).unwrap();
        let refused = guard.publish(clusters(0..9), &[]).unwrap_err();
        assert_eq!(refused.losses, [loss(11)]);
        guard.publish(clusters(0..10), &[]).unwrap();
        guard.publish(clusters(0..1), &[]).unwrap();
    }

    #[test]
    fn s12_replacing_everything_counts_as_losing_it() {
        let (guard, _views) = Guard::new(Some(clusters(0..20)));
        let refused = guard.publish(clusters(100..120), &[]).unwrap_err();
        assert_eq!(refused.losses, [loss(20)]);
    }

    #[test]
    fn s12_a_loss_must_be_named_by_its_very_count() {
        let (guard, views) = Guard::new(Some(clusters(0..20)));
        assert!(guard.publish(clusters(0..5), &[loss(14)]).is_err());
        guard.publish(clusters(0..5), &[loss(15)]).unwrap();
        assert_eq!(*views.borrow(), Some(clusters(0..5)));
    }

    #[test]
    fn an_equal_view_wakes_nobody() {
        let (guard, mut views) = Guard::new(Some(clusters(0..2)));
        views.mark_unchanged();
        guard.publish(clusters(0..2), &[]).unwrap();
        assert!(!views.has_changed().unwrap());
        guard.publish(clusters(0..3), &[]).unwrap();
        assert!(views.has_changed().unwrap());
        assert_eq!(guard.current(), Some(clusters(0..3)));
    }
}
