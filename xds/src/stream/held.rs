//! What a client may have of one resource.

use std::sync::Arc;
use std::time::Instant;

use xxhash_rust::xxh64::xxh64;

use super::known::KnownVersions;
use crate::limits::DOUBTFUL_VERSIONS_MAX;
use crate::resource::{Resource, Version};

/// What a client may have of one resource.
///
/// An entry exists from the first send (or claim) until the removal is acknowledged or the client
/// unsubscribes. A client may be running any of [`contents`](Held::contents), and something
/// unknown if [`foreign`](Held::is_foreign).
#[derive(Debug, Clone, Default)]
pub(super) struct Held {
    /// The last content that it acknowledged.
    pub(super) acked: Option<Arc<Resource>>,
    /// The nonce of the response that was acknowledged; 0 for a claim of an earlier stream.
    pub(super) acked_by: u64,
    /// The nonce of the last response that carried the resource; 0 for a claim.
    pub(super) sent_by: u64,
    /// In the response in flight.
    pub(super) pending: Option<Arc<Resource>>,
    /// Rejected together with others, so that it may have been applied (envoy facts §3).
    pub(super) doubtful: Vec<Arc<Resource>>,
    /// After a rejection: the next good content must be sent, whatever it is (rule C12).
    pub(super) unsure: bool,
    /// A version that it named on connecting and that the view didn't have (yet).
    pub(super) claimed: Option<Claim>,
    /// Its removal is in flight, in words or by a set without it: whatever becomes of it, the
    /// client can't be relied on to have it.
    pub(super) removing: bool,
    /// It rejected the removal; asking again would loop.
    pub(super) removal_refused: bool,
    /// When a time to live lapses unless it is renewed.
    pub(super) expires_at: Option<Instant>,
    /// The time to live lapsed; only a heartbeat of the embedder sends it again.
    pub(super) expired: bool,
}

/// What a reconnecting client says that it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claim {
    /// A version that could be one of ours.
    Version(Version),
    /// Any other text, by its hash (xxh64): a version of the embedder's own, or somebody else's.
    Text(u64),
    /// Something, and over the state of the world it doesn't say which.
    Untold,
}

// === impl Claim ===

impl Claim {
    fn of(version: &str) -> Self {
        let text = || Self::Text(xxh64(version.as_bytes(), 0));
        Version::parse(version).map_or_else(text, Self::Version)
    }
}

// === impl Held ===

impl Held {
    pub(super) fn claimed(version: &str) -> Self {
        Self {
            claimed: Some(Claim::of(version)),
            ..Self::default()
        }
    }

    /// Of a client that doesn't tell.
    pub(super) fn untold() -> Self {
        Self {
            claimed: Some(Claim::Untold),
            ..Self::default()
        }
    }

    /// Whether this is acknowledged, and there is nothing else to be said.
    pub(super) fn is_plainly(&self, resource: &Resource) -> bool {
        self.is_exactly(resource)
            && self.pending.is_none()
            && self.doubtful.is_empty()
            && self.claimed.is_none()
            && !self.removing
            && !self.removal_refused
            && self.expires_at.is_none()
            && !self.expired
    }

    /// Known contents that the client may be running.
    pub(super) fn contents(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.acked.iter().chain(&self.pending).chain(&self.doubtful)
    }

    /// Whether it may be running something that this stream never saw.
    pub(super) fn is_foreign(&self) -> bool {
        self.claimed.is_some()
    }

    /// Whether it was never acknowledged, and it may be running it all the same.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.acked.is_none() && (self.is_foreign() || self.contents().next().is_some())
    }

    /// Whether exactly this was acknowledged and nothing else is possible.
    pub(super) fn is_exactly(&self, resource: &Resource) -> bool {
        let equal = |other: &Arc<Resource>| other.stamp() == resource.stamp();
        !self.unsure
            && !self.removing
            && self.acked.as_ref().is_some_and(equal)
            && self.pending.iter().all(equal)
    }

    /// Takes the view's word for a claim, if it is of these very bytes. A version of the embedder's
    /// own is believed to be, unless it is known with others.
    pub(super) fn confirm_claim(
        &mut self,
        resource: &Arc<Resource>,
        known: &KnownVersions,
    ) -> bool {
        let same = match resource.own_version() {
            Some(own) => self.claimed == Some(Claim::of(own)) && known.vouches_for(resource),
            None => self.claimed == Some(Claim::Version(resource.version())),
        };
        if same {
            self.claimed = None;
            self.acked = Some(resource.clone());
        }
        same
    }

    /// Its removal wasn't acknowledged, and may have happened all the same.
    pub(super) fn removal_failed(&mut self) {
        self.unsure |= std::mem::take(&mut self.removing);
    }

    /// The stream that this was of is over. What was in flight may have come, in part.
    pub(super) fn begin_stream(&mut self) {
        self.removal_failed();
        self.removal_refused = false;
        if let Some(pending) = self.pending.take()
            && !self.is_exactly(&pending)
        {
            self.rejected(&pending, false);
        }
        (self.acked_by, self.sent_by) = (0, 0);
    }

    pub(super) fn acknowledged(&mut self, resource: Arc<Resource>, nonce: u64) {
        self.acked = Some(resource);
        self.acked_by = nonce;
        self.pending = None;
        self.doubtful.clear();
        self.unsure = false;
        self.claimed = None;
    }

    /// A rejection: `alone` is certain not to be applied, one of several may be.
    pub(super) fn rejected(&mut self, resource: &Arc<Resource>, alone: bool) {
        self.pending = None;
        self.unsure = true;
        self.doubtful
            .retain(|other| other.stamp() != resource.stamp());
        if !alone {
            if self.doubtful.len() >= DOUBTFUL_VERSIONS_MAX {
                self.doubtful.remove(0);
            }
            self.doubtful.push(resource.clone());
        }
    }
}
