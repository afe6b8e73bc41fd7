//! How fast a client is tried again that rejects everything.
//!
//! Each rejection makes work: what was rejected together goes out again one by one. A client that
//! takes something now and then is served as fast as it answers, whatever it rejects in between:
//! that is the search for what it doesn't like. One that rejects many responses in a row gets the
//! next one a little later, and the first one that it takes ends this.

use std::time::Instant;

use super::Outcome;
use crate::limits::{REJECTED_IN_A_ROW_MAX, REJECTION_PACE};

/// How fast a client is answered.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Responses that it rejected since it last took one, of whatever type.
    rejected_in_a_row: u32,
    /// Nothing is sent before.
    until: Option<Instant>,
}

// === impl Pace ===

impl Pace {
    /// Takes note of what the client said of a response.
    pub(super) fn heard(&mut self, outcome: Outcome, now: Instant) {
        match outcome {
            Outcome::Stale => {}
            Outcome::Acknowledged => *self = Self::default(),
            Outcome::Rejected => {
                self.rejected_in_a_row = self.rejected_in_a_row.saturating_add(1);
                if self.rejected_in_a_row > REJECTED_IN_A_ROW_MAX {
                    self.until = Some(now + REJECTION_PACE);
                }
            }
        }
    }

    /// Takes note of the time.
    pub(super) fn pass(&mut self, now: Instant) {
        self.until = self.until.filter(|until| now < *until);
    }

    /// Whether nothing may be sent yet.
    pub(super) fn holds_back(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// Until when nothing may be sent.
    pub(super) fn until(&self) -> Option<Instant> {
        self.until
    }
}
