//! Which contents some client took already.
//!
//! A response that mixes one bad cluster with good new ones leaves Envoy applied in part and
//! silent (design M12), so what nobody took yet travels alone (invariant S22). All streams of a
//! server share what they learnt: the first client to be served is the one that tries.
//!
//! Kept by content and not by view, so that it survives changes of the view. It isn't persisted:
//! after a restart, clients that come back tell what they hold, and that proves it.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use xxhash_rust::xxh64::Xxh64;

use crate::limits::{CONTESTED_MAX, PROVEN_MAX, PROVEN_NEWS_MAX, PROVEN_WHOLES_MAX};
use crate::resource::Resource;
use crate::snapshot::Whole;

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
    /// The latest that was proven, oldest first.
    news: VecDeque<u64>,
    /// How much was proven up to now.
    told: u64,
    /// Of which everything is proven, newest last. None since something was refused.
    wholes: Vec<Weak<Whole>>,
    /// Which turn of what is proven that is known of: with each, some may be forgotten.
    wholes_as_of: u64,
}

/// A bounded set of hashes in two generations.
#[derive(Debug, Default)]
struct Recent {
    young: BTreeSet<u64>,
    old: BTreeSet<u64>,
    /// How often the old were forgotten.
    turns: u64,
}

// === impl Proven ===

impl Proven {
    /// Takes note of what a client said: that it holds something, or that it refused it alone. What
    /// was refused never travels with others again, even if other clients take it.
    pub(super) fn learn(&self, verdicts: impl Iterator<Item = (Arc<Resource>, bool)>) {
        let mut inner = self.inner();
        for (resource, taken) in verdicts {
            let key = Self::key(&resource);
            if taken {
                inner.acknowledged(key);
            } else {
                inner.wholes.clear();
                inner.contested.insert(key, CONTESTED_MAX);
            }
        }
    }

    /// Takes note that a client holds all of this.
    pub(super) fn learn_whole(&self, whole: &Arc<Whole>) {
        // Nothing new if all of it was proven before; most clients are not the first.
        if !self.inner().has_whole(whole) {
            let taken = whole
                .items()
                .iter()
                .map(|resource| (resource.clone(), true));
            self.learn(taken);
        }
    }

    /// Whether each of these [is contained](Self::contains). Looked through once for all streams.
    pub(super) fn contains_whole(&self, whole: &Arc<Whole>) -> bool {
        if self.inner().has_whole(whole) {
            return true;
        }
        let keys: Vec<u64> = whole.items().iter().map(|it| Self::key(it)).collect();
        let mut inner = self.inner();
        if !keys.into_iter().all(|key| inner.contains(key)) {
            return false;
        }
        inner.keep_whole(whole);
        true
    }

    /// Whether some client holds this and none refused it.
    pub fn contains(&self, resource: &Resource) -> bool {
        self.contains_key(Self::key(resource))
    }

    pub(super) fn contains_key(&self, key: u64) -> bool {
        self.inner().contains(key)
    }

    /// What was proven since somebody last asked, who keeps count. `None`: too much.
    pub(super) fn since(&self, heard: &mut u64) -> Option<Vec<u64>> {
        let inner = self.inner();
        let missed = usize::try_from(inner.told - std::mem::replace(heard, inner.told)).ok()?;
        let known = inner.news.len().checked_sub(missed)?;
        Some(inner.news.iter().skip(known).copied().collect())
    }

    /// The count of who has heard everything.
    pub(super) fn heard(&self) -> u64 {
        self.inner().told
    }

    /// What a content is called in here.
    pub(super) fn key(resource: &Resource) -> u64 {
        let mut hash = Xxh64::new(0);
        hash.update(resource.type_url().as_str().as_bytes());
        hash.update(&[0]);
        hash.update(resource.name().as_bytes());
        hash.update(&[0]);
        hash.update(&resource.version().to_bits().to_le_bytes());
        hash.digest()
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

// === impl Inner ===

impl Inner {
    fn contains(&mut self, key: u64) -> bool {
        self.proven.contains(key, PROVEN_MAX) && !self.contested.contains(key, CONTESTED_MAX)
    }

    fn has_whole(&self, whole: &Arc<Whole>) -> bool {
        let mut known = self.wholes.iter();
        self.wholes_as_of == self.proven.turns
            && known.any(|known| std::ptr::eq(known.as_ptr(), Arc::as_ptr(whole)))
    }

    fn keep_whole(&mut self, whole: &Arc<Whole>) {
        if self.wholes_as_of != self.proven.turns {
            self.wholes.clear();
            self.wholes_as_of = self.proven.turns;
        }
        self.wholes.retain(|known| known.strong_count() > 0);
        if self.wholes.len() >= PROVEN_WHOLES_MAX {
            self.wholes.remove(0);
        }
        self.wholes.push(Arc::downgrade(whole));
    }

    fn acknowledged(&mut self, key: u64) {
        let known = self.proven.contains(key, PROVEN_MAX);
        self.proven.insert(key, PROVEN_MAX);
        if known {
            return;
        }
        if self.news.len() >= PROVEN_NEWS_MAX {
            self.news.pop_front();
        }
        self.news.push_back(key);
        self.told += 1;
    }
}

// === impl Recent ===

impl Recent {
    fn insert(&mut self, key: u64, max: usize) {
        if self.young.len() >= max / 2 && !self.young.contains(&key) {
            self.old = std::mem::take(&mut self.young);
            self.turns += 1;
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
        let (proven, a) = (Proven::default(), Arc::new(cluster("a", 1)));
        let learn = |taken| proven.learn([(a.clone(), taken)].into_iter());
        learn(true);
        assert!(proven.contains(&a));
        assert!(!proven.contains(&cluster("a", 2)));
        assert!(!proven.contains(&cluster("b", 1)));
        learn(false);
        learn(true);
        assert!(!proven.contains(&a));
        assert_eq!(proven.len(), 1);
    }

    #[test]
    fn what_was_proven_is_told_once_to_everybody_who_listens() {
        let proven = Proven::default();
        let mut heard = proven.heard();
        let learn = |name: &str| proven.learn([(Arc::new(cluster(name, 1)), true)].into_iter());
        learn("a");
        learn("a");
        learn("b");
        assert_eq!(proven.since(&mut heard).unwrap().len(), 2);
        assert_eq!(proven.since(&mut heard).unwrap().len(), 0);
        let mut late = heard;
        for n in 0..=PROVEN_NEWS_MAX {
            learn(&format!("c{n}"));
        }
        assert_eq!(proven.since(&mut late), None, "too much to tell");
        assert_eq!(proven.since(&mut late).unwrap().len(), 0);
    }
}
