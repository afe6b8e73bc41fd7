//! What a misspelt name may have been meant for.
//!
//! Comparing two names takes as many steps as their lengths multiplied, and a file may misspell
//! half a million names among as many others. So no pair is compared that can't be close, by the
//! letters that they have in common, and all that is read at once may cost [`COMPARISON_STEPS_MAX`]
//! steps: diagnostics beyond that have no suggestion and say so.

use std::cell::Cell;

use super::diagnostic::shown;
use super::limits::{COMPARED_BYTES_MAX, COMPARISON_STEPS_MAX};

/// Names that a remedy lists before it says how many more there are.
const LISTED_NAMES: usize = 12;

/// In the place of a suggestion that would cost too much.
const TOO_MANY: &str = "there are too many mistakes to look for what each was meant for";

/// Letters that are told apart; those that aren't only make names look closer than they are.
const LETTERS: usize = 128;

/// Looks for what was meant, within a number of steps.
#[derive(Debug)]
pub(super) struct Speller {
    steps_left: Cell<usize>,
}

/// A name, with how often it has each letter.
struct Letters {
    counts: [u16; LETTERS],
    length: usize,
}

// === impl Speller ===

impl Default for Speller {
    fn default() -> Self {
        Self {
            steps_left: Cell::new(COMPARISON_STEPS_MAX),
        }
    }
}

impl Speller {
    /// `did you mean …?` when one of `known` is close to `text`, else what there is.
    pub(super) fn suggest<'a>(
        &self,
        text: &str,
        known: impl IntoIterator<Item = &'a str> + Clone,
        what: &str,
    ) -> String {
        let closest = self.closest(text, known.clone());
        if self.steps_left.get() == 0 {
            return TOO_MANY.to_owned();
        }
        match closest {
            Some(name) => format!("did you mean {}?", shown(name)),
            None => format!("{what} {}", listed(known)),
        }
    }

    /// The one of `known` that `text` may be a misspelling of. `None`, too, if it isn't found before
    /// the steps are spent.
    pub(super) fn closest<'a>(
        &self,
        text: &str,
        known: impl IntoIterator<Item = &'a str>,
    ) -> Option<&'a str> {
        // Texts longer than any name there is are not worth the comparison.
        if text.len() > COMPARED_BYTES_MAX {
            // Who lists what there is instead goes through all of it.
            known.into_iter().try_for_each(|_| self.spend(1))?;
            return None;
        }
        let mut letters = Letters::of(text);
        let limit = (letters.length / 3).max(1);
        let mut near: Vec<(usize, &str)> = Vec::new();
        for name in known {
            self.spend(1 + name.len().min(COMPARED_BYTES_MAX))?;
            if name.len() <= COMPARED_BYTES_MAX {
                let apart = letters.apart_at_least(name);
                near.extend((apart <= limit).then_some((apart, name)));
            }
        }
        near.sort_unstable();
        let mut best: Option<(usize, &str)> = None;
        for (apart, name) in near {
            // All that follow are as far away at least.
            if best.is_some_and(|(distance, _)| distance < apart) {
                break;
            }
            self.spend(letters.length * name.len())?;
            let found = (strsim::osa_distance(text, name), name);
            if found.0 <= limit && best.is_none_or(|best| found < best) {
                best = Some(found);
            }
        }
        best.map(|(_, name)| name)
    }

    /// How many steps were taken.
    #[cfg(test)]
    pub(super) fn spent(&self) -> usize {
        COMPARISON_STEPS_MAX - self.steps_left.get()
    }

    /// Takes steps; `None` if there are no more.
    fn spend(&self, steps: usize) -> Option<()> {
        let left = self.steps_left.get().saturating_sub(steps);
        self.steps_left.set(left);
        (left > 0).then_some(())
    }
}

// === impl Letters ===

impl Letters {
    fn of(text: &str) -> Self {
        let mut letters = Self {
            counts: [0; LETTERS],
            length: 0,
        };
        for letter in text.chars() {
            letters.length += 1;
            if let Some(count) = letters.counts.get_mut(slot(letter)) {
                *count += 1;
            }
        }
        letters
    }

    /// No fewer edits make this name of the other one: each puts in, takes out or replaces one
    /// letter, or exchanges two.
    fn apart_at_least(&mut self, name: &str) -> usize {
        let (mut shared, mut length) = (0, 0);
        let mut used = [0_u8; COMPARED_BYTES_MAX];
        for (letter, used) in name.chars().zip(&mut used) {
            length += 1;
            if let Some(count) = self.counts.get_mut(slot(letter)).filter(|it| **it > 0) {
                *count -= 1;
                shared += 1;
                *used = 1;
            }
        }
        for (letter, used) in name.chars().zip(used) {
            if let Some(count) = self.counts.get_mut(slot(letter)) {
                *count += u16::from(used);
            }
        }
        self.length.max(length) - shared
    }
}

fn slot(letter: char) -> usize {
    letter as usize % LETTERS
}

fn listed<'a>(known: impl IntoIterator<Item = &'a str>) -> String {
    let mut known = known.into_iter();
    let names: Vec<String> = known.by_ref().take(LISTED_NAMES).map(shown).collect();
    match known.count() {
        0 => names.join(", "),
        more => format!("{}, and {more} more", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is found if every pair is compared.
    fn closest_of_all<'a>(text: &str, known: &[&'a str]) -> Option<&'a str> {
        let limit = (text.chars().count() / 3).max(1);
        let distances = known
            .iter()
            .map(|name| (strsim::osa_distance(text, name), *name));
        let closest = distances.filter(|(distance, _)| *distance <= limit).min();
        closest.map(|(_, name)| name)
    }

    proptest! {
        #[test]
        fn nothing_is_missed_by_not_comparing_every_pair(
            text in "[abcé_]{0,9}",
            known in proptest::collection::vec("[abcé_]{0,9}", 0..20),
        ) {
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            let found = Speller::default().closest(&text, known.iter().copied());
            prop_assert_eq!(found, closest_of_all(&text, &known));
        }
    }

    #[test]
    fn names_that_cannot_be_close_are_not_compared() {
        let known: Vec<String> = (0..1_000).map(|index| format!("backend_{index}")).collect();
        let names = || known.iter().map(String::as_str);
        let bytes: usize = names().map(|name| name.len() + 1).sum();
        let speller = Speller::default();
        assert_eq!(speller.closest("zzzzzzzzzzz", names()), None);
        assert_eq!(speller.spent(), bytes, "a look at each");
        let speller = Speller::default();
        assert_eq!(speller.closest("bakcend_77", names()), Some("backend_77"));
        let compared = (speller.spent() - bytes) / 100;
        assert!(compared < 60, "{compared} of 1000");
    }

    #[test]
    fn beyond_the_steps_there_is_no_suggestion_and_it_is_said() {
        // The same letters in another order: nothing tells them apart but a comparison.
        let known: Vec<String> = (0..10_000)
            .map(|index| format!("{}{index:05}", "ab".repeat(80)))
            .collect();
        let names = || known.iter().map(String::as_str);
        let text = format!("{}12345", "ba".repeat(80));
        let speller = Speller::default();
        let near = speller.suggest("ab12345", ["ab12354"], "there are");
        assert_eq!(near, "did you mean `ab12354`?");
        while speller.spent() < COMPARISON_STEPS_MAX {
            let before = speller.spent();
            let _ = speller.suggest(&text, names(), "there are");
            assert!(speller.spent() > before, "each costs something");
        }
        for text in ["ab12345", &text, &"x".repeat(1_000)] {
            assert_eq!(speller.suggest(text, names(), "there are"), TOO_MANY);
            assert_eq!(speller.closest(text, names()), None);
        }
    }

    #[test]
    fn a_list_names_some_and_counts_the_others() {
        let suggest = |known: &[&str]| {
            let known = known.iter().copied();
            Speller::default().suggest("zzzz", known, "there are")
        };
        assert_eq!(suggest(&["a", "b"]), "there are `a`, `b`");
        let many = ["a"; LISTED_NAMES + 2];
        assert!(suggest(&many).ends_with("`a`, and 2 more"));
    }
}
