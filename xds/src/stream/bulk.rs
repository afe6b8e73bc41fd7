//! The first answer to a client that asks for hundreds at once, without a word about each of them.
//!
//! When a client has nothing of a type, and all that it asks for can be sent in one response, that
//! response is the same for all such clients ([`Whole`]), and so is what they have after it. The
//! session says once for all what it otherwise says of each resource, until the client's words, or
//! a view, are about some of them: then [`Holdings::divide`] tells them apart, and everything goes
//! on as it would have without this. The same for a client that comes back with all it should have.
//!
//! [`Holdings::divide`]: super::holdings::Holdings::divide

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use super::holdings::Scope;
use super::known::KnownVersions;
use super::output::Parcel;
use super::state::{InFlight, TypeState};
use super::subscription;
use super::{Response, Session, Variant, completeness};
use crate::limits::CLAIMS_APART_SHARE;
use crate::resource::{Name, TypeUrl, Version};
use crate::snapshot::{Snapshot, Whole};

#[cfg(test)]
thread_local! {
    static SWITCHED_OFF: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Does something as it is done without all of this, and without [steps](super::step), to be
/// compared.
#[cfg(test)]
pub(super) fn without_bulk<T>(what: impl FnOnce() -> T) -> T {
    SWITCHED_OFF.set(true);
    let done = what();
    SWITCHED_OFF.set(false);
    done
}

/// Whether this is such a comparison.
#[cfg(test)]
pub(super) fn is_switched_off() -> bool {
    SWITCHED_OFF.get()
}

/// What a client says on connecting that it holds: versions by name.
pub(super) type Claims = HashMap<String, String>;

// === impl Session ===

impl Session {
    /// The first answer of a type, if it is due and can be all at once.
    pub(super) fn first_answer(
        &mut self,
        type_url: &TypeUrl,
        view: &Snapshot,
        now: Instant,
    ) -> Option<Response> {
        let state = self.types.get(type_url)?;
        if self.variant == Variant::Sotw && type_url.is_full_state() {
            return None;
        }
        let (scope, whole) = state.first_answer(type_url, view)?;
        let proven = self.proven(type_url);
        if !proven.is_none_or(|proven| proven.contains_whole(&whole)) {
            return None;
        }
        #[cfg(test)]
        super::oracle::check_batch(
            &self.planner(type_url, view, now),
            type_url,
            state,
            proven,
            whole.items(),
        );
        self.clocks.retain(|(of, _), _| of != type_url);
        let state = self.types.get_mut(type_url)?;
        let changed = state.held.take_changed();
        if completeness::leads(type_url) {
            state.unchecked.extend(changed);
        }
        state.set_refused = false;
        // All that there is to do is done with this, but for what isn't in it.
        state.agenda = Default::default();
        if state.held.names_apart().next().is_some() {
            state.agenda.touch_all();
        }
        state.owed = Default::default();
        let parcel = Parcel::of_whole(scope, whole);
        Some(self.send(type_url, view, parcel, now))
    }
}

// === impl TypeState ===

impl TypeState {
    /// All that the client is subscribed to, in one piece.
    fn whole(&self, type_url: &TypeUrl, view: &Snapshot) -> Option<(Scope, Arc<Whole>)> {
        #[cfg(test)]
        if is_switched_off() {
            return None;
        }
        let of_type = view.of_type(type_url)?;
        let subscription = &self.subscription;
        let current = self.held.base().is_some_and(|it| Arc::ptr_eq(it, of_type));
        if !current || view.has_aliases(type_url) || *type_url == TypeUrl::VIRTUAL_HOST {
            return None;
        }
        let (scope, whole) = if subscription.is_pure_wildcard() {
            (Scope::All, of_type.whole()?.clone())
        } else if subscription.wildcard || subscription.has_collections {
            return None;
        } else {
            let names = subscription.names.settled()?;
            (Scope::Names(names.clone()), of_type.whole_of(names)?)
        };
        let fits = whole.items().len() <= type_url.per_response_max();
        fits.then_some((scope, whole))
    }

    /// What to send if the next response is all that the client is subscribed to, and nothing is
    /// known or owed beside that.
    fn first_answer(&self, type_url: &TypeUrl, view: &Snapshot) -> Option<(Scope, Arc<Whole>)> {
        let quiet = self.isolate.is_empty() && self.rejected.is_empty() && self.renew.is_empty();
        if !self.dirty || self.in_flight.is_some() || !quiet {
            return None;
        }
        let all_owed = match (self.owed.list(), self.subscription.names.settled()) {
            (Some(owed), Some(names)) => Arc::ptr_eq(owed, names),
            _ => false,
        };
        let blank = self.held.is_blank();
        if !(all_owed || blank && self.owed.is_empty()) {
            return None;
        }
        let (scope, whole) = self.whole(type_url, view)?;
        // What a client has is sent again if it asks for all of it (rule D3).
        (blank || self.held.is_mostly(&scope)).then_some((scope, whole))
    }

    /// If the client has all that it is subscribed to but for what is told apart, and is owed
    /// nothing: the names of that. Of others nothing is to be said.
    pub(super) fn differing(
        &self,
        view: &Snapshot,
        type_url: &TypeUrl,
    ) -> Option<impl Iterator<Item = &Name>> {
        if !self.owed.is_empty() || self.held.is_blank() {
            return None;
        }
        let (scope, _) = self.whole(type_url, view)?;
        let mostly = self.held.is_mostly(&scope);
        mostly.then(|| self.held.names_apart())
    }

    /// Takes note of the acknowledgement of a response, if that was all at once and nothing came
    /// between.
    pub(super) fn acknowledge_whole(&mut self, in_flight: &InFlight) -> bool {
        let Some(whole) = &in_flight.whole else {
            return false;
        };
        if !self.isolate.is_empty() || !self.held.acknowledge_all(whole.items(), in_flight.nonce) {
            return false;
        }
        self.take_whole(whole);
        true
    }

    /// Takes what the client said of its earlier stream for true where the view has it. Without a
    /// view that is decided later.
    pub(super) fn hear_claims(
        &mut self,
        type_url: &TypeUrl,
        view: Option<&Snapshot>,
        known: &KnownVersions,
    ) {
        let Some(view) = view else { return };
        let Some(claims) = self.claims.take() else {
            return;
        };
        if self.held.is_blank()
            && let Some((scope, whole)) = self.whole(type_url, view)
            && let Some(others) = without_most(&claims, &whole)
        {
            self.held.adopt(scope);
            if others.is_empty() {
                self.take_whole(&whole);
                return;
            }
            self.differ(type_url, &whole, &others);
            self.narrowed = true;
        } else {
            let claims = claims.iter();
            self.note_claims(
                type_url,
                claims.map(|(name, version)| (&**name, &**version)),
            );
        }
        self.confirm_claims(view, type_url, known);
    }

    /// The client has all of this but for a few names, each with the version that it claims.
    fn differ(&mut self, type_url: &TypeUrl, whole: &Whole, others: &BTreeMap<&str, Option<&str>>) {
        for item in whole.items().iter() {
            if others.contains_key(&**item.name()) {
                self.held.remove(item.name());
            } else if type_url.is_spoilt_by_one() {
                self.verdicts.push((item.clone(), true));
            }
        }
        let claimed = others.iter();
        let claimed = claimed.filter_map(|(name, version)| Some((*name, (*version)?)));
        self.note_claims(type_url, claimed);
    }

    /// Takes note of claims name by name, as another request may change what they are about.
    pub(super) fn divide_claims(&mut self, type_url: &TypeUrl) {
        if let Some(claims) = self.claims.take() {
            let claims = claims.iter();
            self.note_claims(
                type_url,
                claims.map(|(name, version)| (&**name, &**version)),
            );
        }
    }

    fn note_claims<'a>(
        &mut self,
        type_url: &TypeUrl,
        claims: impl Iterator<Item = (&'a str, &'a str)>,
    ) {
        for (name, version) in claims {
            let name = subscription::name(name);
            // A virtual host is asked for by an alias and held by its name.
            if *type_url == TypeUrl::VIRTUAL_HOST || self.subscription.covers(&name) {
                self.held.claim(&name, version);
            }
        }
    }

    fn take_whole(&mut self, whole: &Arc<Whole>) {
        let type_url = whole.items().first().map(|resource| resource.type_url());
        if type_url.is_some_and(|type_url| type_url.is_spoilt_by_one()) {
            self.taken = Some(whole.clone());
        }
        // All of it may lead to what isn't asked for.
        self.narrowed = true;
    }
}

/// If a client claims most of these: what it claims beside or otherwise, and what it doesn't claim.
fn without_most<'a>(
    claims: &'a Claims,
    whole: &'a Whole,
) -> Option<BTreeMap<&'a str, Option<&'a str>>> {
    let items = whole.items();
    let mut others = BTreeMap::new();
    let mut known = 0;
    for item in items.iter() {
        let claim = claims.get(&**item.name());
        known += usize::from(claim.is_some());
        if claim.and_then(|text| Version::parse(text)) != Some(item.version()) {
            others.insert(&**item.name(), claim.map(String::as_str));
            if others.len() > items.len() / CLAIMS_APART_SHARE {
                return None;
            }
        }
    }
    let strangers = claims.len().checked_sub(known)?;
    if others.len() + strangers > items.len() / CLAIMS_APART_SHARE {
        return None;
    }
    if strangers > 0 {
        let is_there = |name: &str| {
            items
                .binary_search_by(|item| (**item.name()).cmp(name))
                .is_ok()
        };
        let strangers = claims.iter().filter(|(name, _)| !is_there(name));
        others.extend(strangers.map(|(name, version)| (&**name, Some(&**version))));
    }
    Some(others)
}
