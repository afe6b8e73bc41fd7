//! Which contents some client took already.
//!
//! A response that mixes one bad cluster with good new ones leaves Envoy applied in part and
//! silent (design M12), so what nobody took yet travels alone (invariant S22). All streams of a
//! server share what they learnt: the first client to be served is the one that tries.
//!
//! Kept by content and not by view, so that it survives changes of the view. It isn't persisted:
//! after a restart, clients that come back tell what they hold, and that proves it.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use xxhash_rust::xxh64::Xxh64;

use crate::limits::{CONTESTED_MAX, PROVEN_MAX};
use crate::resource::Resource;

/// Contents that some client acknowledged and none refused. Bounded: the longest unused half is
/// forgotten, and then goes alone once more.
#[derive(Debug, Default)]
pub struct Proven {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    proven: Recent,
    /// Refused by some client. Another may have taken it, as an Envoy of another version.
    contested: Recent,
}

/// A bounded set of hashes in two generations.
#[derive(Debug, Default)]
struct Recent {
    young: BTreeSet<u64>,
    old: BTreeSet<u64>,
}

// === impl Proven ===

impl Proven {
    /// Takes note that a client holds this.
    pub(super) fn acknowledged(&self, resource: &Resource) {
        self.inner().proven.insert(key(resource), PROVEN_MAX);
    }

    /// Takes note that a client refused this alone: it never travels with others again, even if
    /// other clients take it.
    pub(super) fn refused(&self, resource: &Resource) {
        self.inner().contested.insert(key(resource), CONTESTED_MAX);
    }

    /// Whether some client holds this and none refused it.
    pub fn contains(&self, resource: &Resource) -> bool {
        let (key, mut inner) = (key(resource), self.inner());
        inner.proven.contains(key, PROVEN_MAX) && !inner.contested.contains(key, CONTESTED_MAX)
    }

    /// How many contents are known to be good.
    pub fn len(&self) -> usize {
        let inner = self.inner();
        inner.proven.young.union(&inner.proven.old).count()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Recent ===

impl Recent {
    fn insert(&mut self, key: u64, max: usize) {
        if self.young.len() >= max / 2 && !self.young.contains(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key);
    }

    /// A look keeps it young.
    fn contains(&mut self, key: u64, max: usize) -> bool {
        if self.young.contains(&key) {
            return true;
        }
        let known = self.old.contains(&key);
        if known {
            self.insert(key, max);
        }
        known
    }
}

fn key(resource: &Resource) -> u64 {
    let mut hash = Xxh64::new(0);
    hash.update(resource.type_url().as_str().as_bytes());
    hash.update(&[0]);
    hash.update(resource.name().as_bytes());
    hash.update(&[0]);
    hash.update(&resource.version().to_bits().to_le_bytes());
    hash.digest()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::cluster;

    #[test]
    fn what_is_known_is_bounded_and_what_is_used_stays() {
        let mut recent = Recent::default();
        for key in 0..1000 {
            recent.insert(key, 100);
            assert!(recent.contains(0, 100), "used all the time");
            assert!(recent.young.len() + recent.old.len() <= 100);
        }
        assert!(recent.contains(999, 100));
        assert!(!recent.contains(500, 100));
    }

    #[test]
    fn a_content_that_one_client_refused_is_not_proven_by_another() {
        let (proven, a) = (Proven::default(), cluster("a", 1));
        proven.acknowledged(&a);
        assert!(proven.contains(&a));
        assert!(!proven.contains(&cluster("a", 2)));
        assert!(!proven.contains(&cluster("b", 1)));
        proven.refused(&a);
        proven.acknowledged(&a);
        assert!(!proven.contains(&a));
        assert_eq!(proven.len(), 1);
    }
}
