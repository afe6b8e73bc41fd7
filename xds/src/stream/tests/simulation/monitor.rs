//! What must hold for the words of every stream, whoever is at its other end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use super::desired::Name;
use crate::limits::CURE_AGAIN_AFTER;
use crate::snapshot::Snapshot;
use crate::stream::tests::*;
use crate::stream::{Outcome, Proven, Request, Response, Session, Variant};

/// Everything that was said on one stream, as far as the invariants need it.
#[derive(Debug)]
pub(super) struct Monitor {
    variant: Variant,
    proven: Arc<Proven>,
    pub(super) is_envoy: bool,
    /// The session was told that the client had clusters on its last stream.
    pub(super) expects: bool,
    /// Of which types the client may run parts of sets that it rejected on its last stream.
    pub(super) doubtful: BTreeSet<TypeUrl>,
    /// What `request` said last, until its outcome is known.
    asked: Option<Asked>,
    views: Vec<Arc<Snapshot>>,
    last_nonce: u64,
    types: BTreeMap<TypeUrl, OfType>,
    /// Bodies and renewals, for the report.
    pub(super) responses: u64,
}

#[derive(Debug)]
struct Asked {
    type_url: TypeUrl,
    nonce: String,
}

#[derive(Debug, Default)]
struct OfType {
    open: Option<(Response, Instant)>,
    /// Whole sets that were given up, and not answered yet.
    overdue: BTreeSet<u64>,
    /// By name: the stamp that was sent last, and whether it may come again unchanged.
    sent: BTreeMap<Name, Sent>,
    /// Names that were subscribed to and not answered yet (rule D3).
    pub(super) owed: BTreeSet<Name>,
    /// What was refused alone.
    refused: BTreeSet<(Name, String, bool)>,
    /// Several resources that were refused together.
    refused_together: BTreeSet<Vec<(Name, String, bool)>>,
    /// Whole sets that were refused.
    refused_sets: BTreeSet<String>,
    /// Versions that the client came with, of a pure wildcard.
    claims: BTreeMap<Name, String>,
    claimed_set: Option<String>,
    /// Named something; then nothing is a pure wildcard.
    named: bool,
}

#[derive(Debug)]
struct Sent {
    stamp: (String, bool),
    again: bool,
}

// === impl Monitor ===

impl Monitor {
    pub(super) fn new(variant: Variant, proven: Arc<Proven>) -> Self {
        Self {
            variant,
            proven,
            is_envoy: false,
            expects: false,
            doubtful: BTreeSet::new(),
            asked: None,
            views: Vec::new(),
            last_nonce: 0,
            types: BTreeMap::new(),
            responses: 0,
        }
    }

    /// Takes note of a request before the session does.
    pub(super) fn request(&mut self, request: &Request, _now: Instant) {
        if let Some(node) = request.node() {
            self.is_envoy |= node.user_agent_name == "envoy";
        }
        let first = |types: &BTreeMap<TypeUrl, OfType>, url: &TypeUrl| !types.contains_key(url);
        let type_url = TypeUrl::new(request.type_url());
        let is_first = first(&self.types, &type_url);
        let state = self.types.entry(type_url.clone()).or_default();
        let nonce = match request {
            Request::Delta(request) => {
                for name in &request.resource_names_unsubscribe {
                    state.owed.remove(name.as_str());
                    state.let_again(name);
                }
                for name in &request.resource_names_subscribe {
                    state.named = true;
                    state.let_again(name);
                    state.owed.insert(Name::from(name.as_str()));
                }
                state.owed.remove("*");
                if is_first {
                    let claims = &request.initial_resource_versions;
                    let own = |(name, version): (&String, &String)| {
                        (Name::from(name.as_str()), version.clone())
                    };
                    state.claims = claims.iter().map(own).collect();
                }
                request.response_nonce.clone()
            }
            Request::Sotw(request) => {
                state.named |= !request.resource_names.is_empty();
                request
                    .resource_names
                    .iter()
                    .for_each(|name| state.let_again(name));
                if is_first && !request.version_info.is_empty() {
                    state.claimed_set = Some(request.version_info.clone());
                } else {
                    state.claimed_set = None;
                }
                request.response_nonce.clone()
            }
        };
        self.asked = Some(Asked { type_url, nonce });
    }

    /// Takes note of what the session made of the request.
    pub(super) fn outcome(&mut self, outcome: Outcome) -> Result<(), String> {
        let Some(asked) = self.asked.take() else {
            return Ok(());
        };
        let Some(state) = self.types.get_mut(&asked.type_url) else {
            return Ok(());
        };
        state
            .overdue
            .retain(|nonce| nonce.to_string() != asked.nonce);
        let Some((response, sent_at)) = state.open.take() else {
            return Ok(());
        };
        if response.nonce.to_string() != asked.nonce {
            state.open = Some((response, sent_at));
            return Ok(());
        }
        match outcome {
            Outcome::Stale => Err(format!("X4: the answer to {} is stale", asked.nonce)),
            Outcome::Acknowledged => {
                state.refused_together.clear();
                Ok(())
            }
            Outcome::Rejected => {
                state.refused(&asked.type_url, self.variant, &response);
                Ok(())
            }
        }
    }

    pub(super) fn view(&mut self, view: &Arc<Snapshot>) {
        self.views.push(view.clone());
        let states = self.types.values_mut();
        states.for_each(|state| state.refused_together.clear());
    }

    pub(super) fn heartbeat(&mut self) {
        if let Some(state) = self.types.get_mut(&RTDS) {
            state.sent.values_mut().for_each(|sent| sent.again = true);
        }
    }

    /// Checks what the session sends.
    pub(super) fn response(
        &mut self,
        response: &Response,
        session: &Session,
        now: Instant,
    ) -> Result<(), String> {
        let what = brief(response);
        let fail = |rule: &str| Err(format!("{rule}: {what} (nonce {})", response.nonce));
        self.responses += 1;
        let Some(view) = self.views.last() else {
            return fail("S12: sent before there is a view");
        };
        if session.view() != Some(view) {
            return fail("X1: of another view than the newest");
        }
        if response.nonce <= self.last_nonce {
            return fail("C5: a nonce again");
        }
        self.last_nonce = response.nonce;
        let of = response.type_url.clone();
        let known = self.types.contains_key(&of);
        let welcome = known || of == CDS && self.expects;
        if !welcome {
            return fail("C3: nobody asked for the type");
        }
        let state = self.types.entry(of.clone()).or_default();
        let mut cured = !known;
        if let Some((open, sent_at)) = &state.open {
            cured = of == CDS && *sent_at + CURE_AGAIN_AFTER <= now;
            if !cured {
                return Err(format!("X1: {what} while {} is open", brief(open)));
            }
        }
        let mut names = BTreeSet::new();
        let items = response.items.iter().map(|item| item.resource.name());
        if !items
            .chain(&response.removed)
            .all(|name| names.insert(name.clone()))
        {
            return fail("C6: a name twice");
        }
        if response
            .items
            .iter()
            .any(|item| *item.resource.type_url() != of)
        {
            return fail("C6: of another type");
        }
        if of == RTDS && names.len() > 1 {
            return fail("D3c: more than one layer");
        }
        let full = of == CDS || of == LDS;
        let whole = self.variant == Variant::Sotw && full;
        if self.variant == Variant::Delta && full && !cured {
            let mut items = response.items.iter();
            if items.len() > 1 && !items.all(|item| self.proven.contains(&item.resource)) {
                return fail("S22: something unproven in company");
            }
        }
        if self.variant == Variant::Sotw && !response.removed.is_empty() {
            return fail("S1: a removal in words");
        }
        if of != RTDS
            && response
                .items
                .iter()
                .any(|item| item.resource.ttl().is_some())
        {
            return fail("S17: a time to live");
        }
        if cured {
            state.claims.clear();
            state.sent.values_mut().for_each(|sent| sent.again = true);
        }
        if whole {
            if state.refused_sets.contains(&*response.version) && !cured {
                return fail("X8: a refused set again");
            }
            let claimed = state.claimed_set.take();
            let certain = !self.doubtful.contains(&of);
            if !state.named && certain && claimed.as_deref() == Some(&*response.version) {
                return fail("X7: the set that the client came with");
            }
        } else {
            state
                .check_items(&of, response, cured)
                .or_else(|rule| fail(&rule))?;
        }
        for name in &names {
            state.owed.remove(name);
        }
        if of == CDS {
            // Their endpoints have to come again (rule S9).
            let endpoints = self.types.entry(EDS).or_default();
            names.iter().for_each(|name| endpoints.let_again(name));
        }
        let state = self.types.entry(of).or_default();
        let before = state.open.replace((response.clone(), now));
        state
            .overdue
            .extend(before.map(|(given_up, _)| given_up.nonce));
        Ok(())
    }

    /// Names that were subscribed to and never answered, of types that the client answers.
    pub(super) fn unanswered(&self) -> Vec<String> {
        let mut names = Vec::new();
        for (type_url, state) in self.types.iter().filter(|(_, state)| state.open.is_none()) {
            let refused = |name: &&Name| state.refused.iter().any(|(other, ..)| other == *name);
            let owed = state.owed.iter().filter(|name| !refused(name));
            names.extend(owed.map(|name| format!("{} {name}", type_url.short_name())));
        }
        names
    }
}

// === impl OfType ===

impl OfType {
    fn let_again(&mut self, name: &str) {
        if name == "*" {
            self.sent.values_mut().for_each(|sent| sent.again = true);
        } else if let Some(sent) = self.sent.get_mut(name) {
            sent.again = true;
        }
    }

    fn refused(&mut self, type_url: &TypeUrl, variant: Variant, response: &Response) {
        // A burst of sets is answered once, with the last nonce and the first error.
        let certain = std::mem::take(&mut self.overdue).is_empty();
        if variant == Variant::Sotw && (*type_url == CDS || *type_url == LDS) && certain {
            self.refused_sets.insert(response.version.to_string());
        }
        for item in response.items.iter() {
            self.let_again(item.resource.name());
        }
        if response.items.len() > 1 {
            self.refused_together.insert(together(response));
        }
        if let ([item], []) = (&*response.items, &*response.removed)
            && !item.renewal
        {
            let (version, timed) = stamp(&item.resource);
            self.refused
                .insert((item.resource.name().clone(), version, timed));
        }
    }

    /// Nothing that was refused, nothing that the client has.
    fn check_items(
        &mut self,
        of: &TypeUrl,
        response: &Response,
        cured: bool,
    ) -> Result<(), String> {
        if self.refused_together.contains(&together(response)) {
            return Err("X8: refused together before".to_owned());
        }
        for item in response.items.iter().filter(|item| !item.renewal) {
            let (name, stamp) = (item.resource.name(), stamp(&item.resource));
            let key = (name.clone(), stamp.0.clone(), stamp.1);
            if self.refused.contains(&key) && response.variant == Variant::Delta {
                return Err(format!("X8: {name}, refused before"));
            }
            let claimed = self.claims.remove(name);
            if !self.named && *of != RTDS && claimed.as_ref() == Some(&stamp.0) && !cured {
                return Err(format!("X7: {name}, which the client came with"));
            }
            let sent = self.sent.get(name);
            if sent.is_some_and(|sent| sent.stamp == stamp && !sent.again) {
                return Err(format!("C8: {name}, unchanged"));
            }
            self.sent.insert(
                name.clone(),
                Sent {
                    stamp,
                    again: false,
                },
            );
        }
        for name in &response.removed {
            self.claims.remove(name);
            self.sent.remove(name);
        }
        if let Some(item) = response.items.iter().find(|item| item.renewal) {
            let sent = self.sent.get_mut(item.resource.name());
            let Some(sent) = sent.filter(|sent| sent.again) else {
                return Err("dead man: renewed without a heartbeat".to_owned());
            };
            sent.again = false;
        }
        Ok(())
    }
}

fn together(response: &Response) -> Vec<(Name, String, bool)> {
    let key = |item: &crate::stream::Item| {
        let (version, timed) = stamp(&item.resource);
        (item.resource.name().clone(), version, timed)
    };
    response.items.iter().map(key).collect()
}

fn stamp(resource: &Resource) -> (String, bool) {
    (resource.version().to_string(), resource.ttl().is_some())
}
