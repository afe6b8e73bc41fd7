//! How much is kept of requests that didn't arrive whole yet, or that wait to be read.
//!
//! Each request has its own limit, but a hundred clients that send half of one and stop would make
//! a server keep a hundred halves. So all of them together have a limit, too, and who would pass it
//! is refused. Large requests may take half of it only: what an Envoy sends in everyday life finds
//! room beside them, however many there are.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::limits::LARGE_REQUEST_BYTES;

/// What all requests together may take.
#[derive(Debug)]
pub(super) struct Unfinished {
    max: usize,
    /// By large ones; they are among all.
    large: AtomicUsize,
    all: AtomicUsize,
}

/// What one request takes of it; given back when dropped.
#[derive(Debug)]
pub(super) struct Share {
    of: Arc<Unfinished>,
    bytes: usize,
}

/// There is no room for more of a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the server keeps {max} bytes of requests that aren't complete, half of that for those above \
     {LARGE_REQUEST_BYTES} bytes, and has no room for more of this one; send less at once, or try again"
)]
pub(super) struct NoRoom {
    max: usize,
}

// === impl Unfinished ===

impl Unfinished {
    /// With the most bytes of all requests together.
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            max,
            large: AtomicUsize::new(0),
            all: AtomicUsize::new(0),
        })
    }

    /// For a request of which nothing has arrived yet.
    pub(super) fn share(self: &Arc<Self>) -> Share {
        Share {
            of: self.clone(),
            bytes: 0,
        }
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.all.load(Ordering::Relaxed)
    }
}

// === impl Share ===

impl Share {
    /// Makes room for a request to take so many bytes, no fewer than before.
    pub(super) fn grow(&mut self, bytes: usize) -> Result<(), NoRoom> {
        let of = &self.of;
        let no_room = NoRoom { max: of.max };
        // Nothing else depends on them, so that their order doesn't matter.
        let add = |to: &AtomicUsize, more: usize, max: usize| {
            let sum = |now: usize| now.checked_add(more).filter(|sum| *sum <= max);
            to.fetch_update(Ordering::Relaxed, Ordering::Relaxed, sum)
        };
        let more = bytes.saturating_sub(self.bytes);
        add(&of.all, more, of.max).map_err(|_| no_room.clone())?;
        let large = large(bytes) - large(self.bytes);
        if add(&of.large, large, of.max / 2).is_err() {
            of.all.fetch_sub(more, Ordering::Relaxed);
            return Err(no_room);
        }
        self.bytes += more;
        Ok(())
    }

    /// What was taken so far, to be given back by somebody else; nothing is left here.
    pub(super) fn take(&mut self) -> Self {
        let empty = self.of.share();
        std::mem::replace(self, empty)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.of.all.fetch_sub(self.bytes, Ordering::Relaxed);
        let large = large(self.bytes);
        self.of.large.fetch_sub(large, Ordering::Relaxed);
    }
}

/// What of so many bytes counts as a large request's.
fn large(bytes: usize) -> usize {
    match bytes > LARGE_REQUEST_BYTES {
        true => bytes,
        false => 0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAX: usize = 8 * LARGE_REQUEST_BYTES;

    #[test]
    fn large_requests_leave_room_for_the_others() {
        let unfinished = Unfinished::new(MAX);
        let mut halves: Vec<Share> = (0..5).map(|_| unfinished.share()).collect();
        let large = LARGE_REQUEST_BYTES + 1;
        let taken = halves.iter_mut().filter_map(|half| half.grow(large).ok());
        assert_eq!(taken.count(), 3, "half of it");
        let mut others: Vec<Share> = (0..5).map(|_| unfinished.share()).collect();
        let taken = others.iter_mut();
        let taken = taken.filter_map(|other| other.grow(LARGE_REQUEST_BYTES).ok());
        assert_eq!(taken.count(), 4, "all the rest");
        halves.pop();
        halves.truncate(2);
        assert_eq!(
            others[4].grow(LARGE_REQUEST_BYTES),
            Ok(()),
            "what was given back"
        );
        let no_room = others[0].grow(3 * LARGE_REQUEST_BYTES).unwrap_err();
        assert!(no_room.to_string().contains("no room"), "{no_room}");
    }

    proptest! {
        #[test]
        fn what_is_taken_is_bounded_and_all_of_it_is_given_back(
            steps in proptest::collection::vec((0..6_usize, 0..4 * LARGE_REQUEST_BYTES), 0..60),
        ) {
            let unfinished = Unfinished::new(MAX);
            let mut shares: Vec<Share> = (0..6).map(|_| unfinished.share()).collect();
            for (which, bytes) in steps {
                let before = shares[which].bytes;
                match shares[which].grow(before + bytes) {
                    Ok(()) => prop_assert_eq!(shares[which].bytes, before + bytes),
                    Err(_) => {
                        prop_assert_eq!(shares[which].bytes, before);
                        drop(shares[which].take());
                    }
                }
                let sum: usize = shares.iter().map(|share| share.bytes).sum();
                prop_assert_eq!(unfinished.bytes(), sum);
                prop_assert!(sum <= MAX);
                let sum: usize = shares.iter().map(|share| large(share.bytes)).sum();
                prop_assert_eq!(unfinished.large.load(Ordering::Relaxed), sum);
                prop_assert!(sum <= MAX / 2);
            }
            drop(shares);
            prop_assert_eq!(unfinished.bytes(), 0);
            prop_assert_eq!(unfinished.large.load(Ordering::Relaxed), 0);
        }
    }
}
