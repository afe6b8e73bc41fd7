//! The bytes of many resources in one piece, made once for all streams that get the same.
//!
//! Each piece that is sent on its own costs a frame and a system call, so that the resources of
//! one response are concatenated; and as streams of one view get the same resources in the same
//! order, they share the result. It lives for as long as a stream sends it, and the newest ones
//! a while longer, for those who come next.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;

use super::Part;
use crate::limits::BATCHES_KEPT_BYTES_MAX;
use crate::stream::{Item, Variant};

/// Batches that some stream sends, and the newest ones.
#[derive(Debug, Default)]
pub(super) struct Batches {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    by_key: BTreeMap<u64, Weak<Batch>>,
    /// Newest last.
    kept: VecDeque<Arc<Batch>>,
    kept_bytes: usize,
}

/// Some resources' bytes. It keeps the resources alive too, to be compared.
#[derive(Debug)]
struct Batch {
    items: Arc<[Item]>,
    variant: Variant,
    bytes: Vec<u8>,
}

/// A share of a batch, as [`Bytes`] take it.
struct Share(Arc<Batch>);

// === impl Batches ===

impl Batches {
    /// The bytes of these items, `len` of them.
    pub(super) fn get(&self, items: Arc<[Item]>, variant: Variant, len: usize) -> Bytes {
        let key = key(&items, variant);
        let known = self.known().by_key.get(&key).and_then(Weak::upgrade);
        // Compared without the lock.
        if let Some(batch) = known.filter(|batch| batch.is_of(&items, variant)) {
            return Bytes::from_owner(Share(batch));
        }
        let mut bytes = Vec::with_capacity(len);
        for item in items.iter() {
            Part::of(item, variant).write(&mut bytes);
        }
        let batch = Arc::new(Batch {
            items,
            variant,
            bytes,
        });
        self.known().keep(key, &batch);
        Bytes::from_owner(Share(batch))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Known ===

impl Known {
    fn keep(&mut self, key: u64, batch: &Arc<Batch>) {
        self.by_key.insert(key, Arc::downgrade(batch));
        if batch.bytes.len() <= BATCHES_KEPT_BYTES_MAX {
            self.kept.push_back(Arc::clone(batch));
            self.kept_bytes += batch.bytes.len();
        }
        while self.kept_bytes > BATCHES_KEPT_BYTES_MAX
            && let Some(oldest) = self.kept.pop_front()
        {
            self.kept_bytes -= oldest.bytes.len();
        }
        // What is gone leaves its key behind: swept when it is as much as what is there.
        if self.by_key.len() > 2 * (self.kept.len() + 32) {
            self.by_key.retain(|_, batch| batch.strong_count() > 0);
        }
    }
}

// === impl Batch ===

impl Batch {
    /// Whether these are the very items, by content.
    fn is_of(&self, items: &Arc<[Item]>, variant: Variant) -> bool {
        let same = |one: &Item, two: &Item| {
            (one.renewal, one.wrapped) == (two.renewal, two.wrapped)
                && (Arc::ptr_eq(&one.resource, &two.resource)
                    || one.resource.frame() == two.resource.frame())
        };
        let equal = || {
            let mut pairs = self.items.iter().zip(items.iter());
            self.items.len() == items.len() && pairs.all(|(one, two)| same(one, two))
        };
        self.variant == variant && (Arc::ptr_eq(&self.items, items) || equal())
    }
}

/// A hash to find a batch by; whether it is the one is compared.
fn key(items: &[Item], variant: Variant) -> u64 {
    // 2^64 divided by the golden ratio spreads the versions, which are hashes themselves.
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
    items
        .iter()
        .fold(u64::from(variant == Variant::Delta), |key, item| {
            let flags = u64::from(item.renewal) << 1 | u64::from(item.wrapped);
            let bits = item.resource.version().to_bits() ^ flags;
            (key.rotate_left(5) ^ bits).wrapping_mul(SPREAD)
        })
}

impl AsRef<[u8]> for Share {
    fn as_ref(&self) -> &[u8] {
        &self.0.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Resource;
    use crate::testing::cluster;

    fn items(resources: &[Resource]) -> Arc<[Item]> {
        let item = |resource: &Resource| Item::plain(Arc::new(resource.clone()));
        resources.iter().map(item).collect()
    }

    fn get(batches: &Batches, items: Arc<[Item]>) -> Bytes {
        let len = items.iter().map(|item| item.resource.frame().delta().len());
        let len = len.sum();
        batches.get(items, Variant::Delta, len)
    }

    #[test]
    fn equal_content_shares_one_batch_even_if_the_resources_were_made_twice() {
        let batches = Batches::default();
        let one = get(&batches, items(&[cluster("a", 1), cluster("b", 1)]));
        let two = get(&batches, items(&[cluster("a", 1), cluster("b", 1)]));
        assert_eq!(one.as_ptr(), two.as_ptr());
        let other = get(&batches, items(&[cluster("b", 1), cluster("a", 1)]));
        assert_ne!(one, other);
        assert_eq!(one.len(), other.len());
    }

    #[test]
    fn another_batch_under_the_same_key_is_not_taken_for_it() {
        let batches = Batches::default();
        let (one, two) = (items(&[cluster("a", 1)]), items(&[cluster("a", 2)]));
        let stranger = Arc::new(Batch {
            items: two,
            variant: Variant::Delta,
            bytes: b"of somebody else".to_vec(),
        });
        batches.known().keep(key(&one, Variant::Delta), &stranger);
        let expected = one[0].resource.frame().delta().share();
        assert_eq!(get(&batches, one), expected);
    }

    #[test]
    fn what_is_kept_is_bounded_and_keys_of_what_is_gone_are_swept() {
        let batches = Batches::default();
        let large = |number: usize| {
            let body = vec![u8::try_from(number).unwrap(); BATCHES_KEPT_BYTES_MAX / 8];
            let type_url = crate::TypeUrl::new("acme/Thing");
            Resource::new(type_url, &format!("large-{number}"), body.into()).unwrap()
        };
        let sent = get(&batches, items(&[large(0)]));
        for number in 1..200 {
            get(&batches, items(&[large(number)]));
            let known = batches.known();
            assert!(known.kept_bytes <= BATCHES_KEPT_BYTES_MAX);
            let kept: usize = known.kept.iter().map(|batch| batch.bytes.len()).sum();
            assert_eq!(kept, known.kept_bytes);
            assert!(known.by_key.len() <= 2 * (8 + 32));
        }
        // What is still being sent is found, however old.
        let again = get(&batches, items(&[large(0)]));
        assert_eq!(again.as_ptr(), sent.as_ptr());
    }
}
