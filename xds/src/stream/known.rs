//! Which bytes the embedder's own versions were sent with.
//!
//! Equal strings prove nothing by themselves (rules C7, D13): a client that comes back with one is
//! believed only if this process didn't send the string with other bytes. After a restart a string
//! is all there is; that it changes with the bytes is the embedder's duty.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use xxhash_rust::xxh64::Xxh64;

use crate::limits::KNOWN_VERSIONS_MAX;
use crate::resource::{Resource, Version};

/// The bytes of each of the embedder's own versions, shared by all streams. Bounded: the longest
/// unused half is forgotten, and is then as after a restart.
#[derive(Debug, Default)]
pub struct KnownVersions {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    young: BTreeMap<u64, Meaning>,
    old: BTreeMap<u64, Meaning>,
}

/// What a version of one resource stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    One(Version),
    /// It was used for several contents.
    Several,
}

// === impl KnownVersions ===

impl KnownVersions {
    /// Takes note that a client is sent this.
    pub(super) fn note(&self, resource: &Resource) {
        let Some(key) = key(resource) else { return };
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let meaning = match inner.get(key) {
            Some(known) if known != Meaning::One(resource.version()) => Meaning::Several,
            _ => Meaning::One(resource.version()),
        };
        inner.insert(key, meaning);
    }

    /// Whether nothing speaks against a client having these bytes that names their version.
    pub(super) fn vouches_for(&self, resource: &Resource) -> bool {
        let Some(key) = key(resource) else {
            return true;
        };
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let known = inner.get(key);
        known.is_none_or(|known| known == Meaning::One(resource.version()))
    }
}

// === impl Inner ===

impl Inner {
    fn get(&self, key: u64) -> Option<Meaning> {
        self.young.get(&key).or_else(|| self.old.get(&key)).copied()
    }

    fn insert(&mut self, key: u64, meaning: Meaning) {
        if self.young.len() >= KNOWN_VERSIONS_MAX / 2 && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, meaning);
    }
}

fn key(resource: &Resource) -> Option<u64> {
    let mut hash = Xxh64::new(0);
    for part in [
        resource.type_url().as_str(),
        resource.name(),
        resource.own_version()?,
    ] {
        hash.update(part.as_bytes());
        hash.update(&[0]);
    }
    Some(hash.digest())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::cluster;

    fn own(name: &str, content: i64, version: &str) -> Resource {
        cluster(name, content).with_version(version).unwrap()
    }

    #[test]
    fn d13_a_version_that_was_used_twice_is_never_believed_again() {
        let known = KnownVersions::default();
        assert!(known.vouches_for(&own("a", 1, "v1")), "as after a restart");
        known.note(&own("a", 1, "v1"));
        assert!(known.vouches_for(&own("a", 1, "v1")));
        assert!(!known.vouches_for(&own("a", 2, "v1")));
        assert!(known.vouches_for(&own("a", 2, "v2")));
        assert!(known.vouches_for(&own("b", 2, "v1")));
        known.note(&own("a", 2, "v1"));
        known.note(&own("a", 1, "v1"));
        assert!(!known.vouches_for(&own("a", 1, "v1")));
        assert!(!known.vouches_for(&own("a", 2, "v1")));
    }

    #[test]
    fn what_is_known_is_bounded() {
        let mut inner = Inner::default();
        for key in 0..4 * KNOWN_VERSIONS_MAX as u64 {
            inner.insert(key, Meaning::Several);
            assert!(inner.young.len() + inner.old.len() <= KNOWN_VERSIONS_MAX);
        }
        assert_eq!(inner.get(0), None);
    }
}
