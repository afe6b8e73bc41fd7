//! Finds a name in a list faster than by the list's order.
//!
//! A push looks up the same few names in the same lists once for each of thousands of streams. By
//! its order, a name among a thousand is found with ten comparisons of texts that lie anywhere; by
//! its hash with one, as a rule. Names come from clients, who may choose them so that their hashes
//! collide: so only a few places are tried, and what isn't found there is left to the order.

use std::sync::Arc;

use xxhash_rust::xxh64::xxh64;

/// How many slots are looked at for a name.
const TRIES_MAX: usize = 8;

/// Lists that are shorter are as fast to search by their order.
const LEN_MIN: usize = 8;

/// Slots for each name, so that half of them stay empty.
const SLOTS_PER_NAME: usize = 2;

/// Where each name of a list in order stands in it, for most of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Places {
    /// A place and 1, or 0: as many as a power of two. Lists of the same names share them.
    slots: Arc<[u32]>,
}

// === impl Places ===

impl Places {
    /// Of a list's names, in their order.
    pub(crate) fn of<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> Self {
        let len = names.len();
        if len < LEN_MIN {
            return Self::default();
        }
        let mut slots = vec![0; (SLOTS_PER_NAME * len).next_power_of_two()];
        for (name, marked) in names.zip(1..) {
            let free = tried(name, slots.len()).find(|slot| slots.get(*slot) == Some(&0));
            if let Some(slot) = free.and_then(|free| slots.get_mut(free)) {
                *slot = marked;
            }
        }
        Self {
            slots: slots.into(),
        }
    }

    /// The place of a name in the list of `len` names that `at` tells; `None` if it isn't there.
    pub(crate) fn find<'a>(
        &self,
        name: &str,
        len: usize,
        at: impl Fn(usize) -> Option<&'a str>,
    ) -> Option<usize> {
        for slot in tried(name, self.slots.len()) {
            // Nothing is ever taken out, so that behind a free slot there is nothing more.
            let place = self.slots.get(slot)?.checked_sub(1)? as usize;
            if at(place) == Some(name) {
                return Some(place);
            }
        }
        let (mut from, mut to) = (0, len);
        while from < to {
            let middle = from.midpoint(to);
            match at(middle)?.cmp(name) {
                std::cmp::Ordering::Less => from = middle + 1,
                std::cmp::Ordering::Equal => return Some(middle),
                std::cmp::Ordering::Greater => to = middle,
            }
        }
        None
    }
}

#[cfg(test)]
impl Places {
    /// Whether these are the very ones.
    pub(crate) fn are_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.slots, &other.slots)
    }
}

/// The slots to look at for a name, in order; none if there are none.
fn tried(name: &str, slots: usize) -> impl Iterator<Item = usize> {
    let mask = slots.wrapping_sub(1);
    let tries = if slots == 0 { 0 } else { TRIES_MAX };
    // The lower bits are as good as any.
    let first = xxh64(name.as_bytes(), 0) as usize;
    (0..tries).map(move |at| first.wrapping_add(at) & mask)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn find(places: &Places, names: &[String], name: &str) -> Option<usize> {
        places.find(name, names.len(), |at| names.get(at).map(String::as_str))
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_name_is_found_where_it_is_and_no_other(
            names in proptest::collection::btree_set("[a-c]{0,4}", 0..80),
            others in proptest::collection::vec("[a-c]{0,4}", 20),
        ) {
            let names: Vec<String> = names.into_iter().collect();
            let places = Places::of(names.iter().map(String::as_str));
            for name in names.iter().chain(&others) {
                prop_assert_eq!(find(&places, &names, name), names.binary_search(name).ok());
            }
        }
    }

    #[test]
    fn names_chosen_to_collide_are_found_and_cost_no_more_than_by_their_order() {
        let len = 1000;
        let mask = (SLOTS_PER_NAME * len).next_power_of_two() - 1;
        let collide = |name: &String| xxh64(name.as_bytes(), 0) as usize & mask < 2;
        let names = (0..).map(|n| format!("{n:09}")).filter(collide);
        let names: Vec<String> = names.take(len).collect();
        let places = Places::of(names.iter().map(String::as_str));
        let marked = places.slots.iter().filter(|slot| **slot > 0).count();
        assert_eq!(marked, TRIES_MAX + 1, "the others have no slot");
        for (at, name) in names.iter().enumerate() {
            let looks = std::cell::Cell::new(0);
            let found = places.find(name, len, |at| {
                looks.set(looks.get() + 1);
                names.get(at).map(String::as_str)
            });
            assert_eq!(found, Some(at));
            assert!(looks.get() <= TRIES_MAX + 10, "{} looks", looks.get());
            assert_eq!(find(&places, &names, &format!("{name}x")), None);
        }
    }
}
