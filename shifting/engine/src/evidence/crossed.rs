//! Of two rollouts that overlap, which one is at fault? (issue 4, item 5)
//!
//! Where one moves a service's traffic and the other a fleet's configuration, each request of the
//! fleet to the service is in one cell of a table:
//!
//! ```text
//!                        old version    new version
//!   on the old revision       a              b
//!   on the new revision       c              d
//! ```
//!
//! Where one moves a caller's traffic and the other a callee's, the same table is kept of the requests
//! from the one to the other, with the caller's old and new version in the place of the revisions.
//!
//! Each subject is compared within the strata of the other, by the test of evidence §4.1: the version
//! as b to a and d to c, the revision as c to a and d to b. Requests of a stratum are treated alike but
//! for the subject, so each comparison is an e-process of its own subject's null whatever the other
//! does: it may be looked at every second, and Ville's inequality holds for it alone.
//!
//! What decides is the stratum in which the other has no part: b to a, and c to a. A subject that is
//! worse there is worse by itself, for nothing else is new in it, also when both are. One that is worse
//! only where both meet (d) may be at fault, or the other, or the two together: nobody can tell.

use serde::{Deserialize, Serialize};

use super::difference::Difference;
use super::regression::{Bets, Pair, Regression};
use super::wealth::mix;
use crate::rollout::ArmCounts;
use crate::time::Time;

/// One cell's requests in one interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Cell {
    /// Requests that ended, or are lost.
    pub requests: u64,
    /// Those that failed.
    pub bad: u64,
    /// Requests of which it is known whether they were slow.
    pub timed: u64,
    /// Those that were.
    pub slow: u64,
}

/// What a fleet's sidecars, or those beside a caller's hosts, sent to both versions of a service in one
/// interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Cells {
    /// Through sidecars on the old revision, to the old version.
    pub neither: Cell,
    /// Through sidecars on the old revision, to the new version.
    pub version: Cell,
    /// Through sidecars on the new revision, to the old version.
    pub revision: Cell,
    /// Through sidecars on the new revision, to the new version.
    pub both: Cell,
}

/// One of the two that overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    /// The service's new version.
    Version,
    /// The fleet's new revision, or the caller's new version.
    Revision,
}

/// One comparison, of errors and of slowness.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Stratum {
    errors: Regression,
    slow: Regression,
    /// Whether it still matters; else a past burst would tell for ever where nothing fails any more.
    /// The tables with fleets began without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    differences: Option<Box<Differences>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Differences {
    errors: Difference,
    slow: Difference,
}

/// The tests on the table of two rollouts, from when both expose something.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Crossed {
    /// Where the other has no part.
    version_alone: Stratum,
    revision_alone: Stratum,
    /// Where both meet.
    version_beside: Stratum,
    revision_beside: Stratum,
}

// === impl Cell ===

impl Cell {
    /// What a table needs of an arm's requests.
    #[must_use]
    pub fn of(counts: &ArmCounts) -> Self {
        Self {
            requests: counts.requests,
            bad: counts.bad,
            timed: counts.timed,
            slow: counts.slow,
        }
    }
}

// === impl Subject ===

impl Subject {
    pub(crate) fn other(self) -> Self {
        match self {
            Subject::Version => Subject::Revision,
            Subject::Revision => Subject::Version,
        }
    }
}

// === impl Stratum ===

impl Stratum {
    fn new(horizon: u32) -> Self {
        Self {
            errors: Regression::new(Bets::Dense, horizon),
            slow: Regression::new(Bets::Dense, horizon),
            differences: None,
        }
    }

    fn observe(&mut self, new: Cell, old: Cell, rho: f64, now: Time) {
        let errors = Pair {
            canary: new.requests,
            canary_bad: new.bad,
            stable: old.requests,
            stable_bad: old.bad,
        };
        let slow = Pair {
            canary: new.timed,
            canary_bad: new.slow,
            stable: old.timed,
            stable_bad: old.slow,
        };
        self.errors.observe(errors, rho);
        self.slow.observe(slow, rho);
        if let Some(differences) = &mut self.differences {
            differences.errors.observe(errors, now);
            differences.slow.observe(slow, now);
        }
    }

    /// The weighted mean of e-values is one.
    fn e(&self) -> f64 {
        let matters = |it: &Differences| it.errors.matters() || it.slow.matters();
        if !self.differences.as_deref().is_none_or(matters) {
            return 1.0;
        }
        let part = self.errors.bets().errors_part();
        mix(part, self.errors.e(), self.slow.e())
    }
}

// === impl Crossed ===

impl Crossed {
    /// Trouble is expected within `horizon` ticks.
    pub(crate) fn new(horizon: u32) -> Self {
        let stratum = || Stratum::new(horizon);
        Self {
            version_alone: stratum(),
            revision_alone: stratum(),
            version_beside: stratum(),
            revision_beside: stratum(),
        }
    }

    /// The same for two services: what does not matter any more tells nothing.
    pub(crate) fn of_services(horizon: u32) -> Self {
        let stratum = || Stratum {
            differences: Some(Box::default()),
            ..Stratum::new(horizon)
        };
        Self {
            version_alone: stratum(),
            revision_alone: stratum(),
            version_beside: stratum(),
            revision_beside: stratum(),
        }
    }

    /// One tick. `rho` is the odds ratio that is tolerated of both.
    pub(crate) fn observe(&mut self, cells: &Cells, rho: f64, now: Time) {
        let Cells {
            neither,
            version,
            revision,
            both,
        } = *cells;
        self.version_alone.observe(version, neither, rho, now);
        self.revision_alone.observe(revision, neither, rho, now);
        self.version_beside.observe(both, revision, rho, now);
        self.revision_beside.observe(both, version, rho, now);
    }

    /// The e-value of "it is worse, also where the other has no part".
    pub(crate) fn alone(&self, subject: Subject) -> f64 {
        match subject {
            Subject::Version => self.version_alone.e(),
            Subject::Revision => self.revision_alone.e(),
        }
    }

    /// The e-value of "it is worse where both meet".
    pub(crate) fn beside(&self, subject: Subject) -> f64 {
        match subject {
            Subject::Version => self.version_beside.e(),
            Subject::Revision => self.revision_beside.e(),
        }
    }
}

#[cfg(test)]
#[path = "crossed_tests.rs"]
mod tests;
