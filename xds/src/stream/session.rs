//! All types of one stream: what comes in. What goes out is in `output`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use envoy_types::pb::envoy::config::core::v3::Node;

use super::completeness::{self, Completeness};
use super::earlier::Earlier;
use super::pace::Pace;
use super::plan::Clocks;
use super::state::TypeState;
use super::step::Rest;
use super::suspicion::Expected;
use super::{Outcome, Request, SessionSettings, Types, Variant, Violation, delta, errors, sotw};
use crate::delivery::Suspicion;
use crate::limits::{NAME_BYTES_MAX, NAMES_MAX, TYPE_URL_BYTES_MAX, TYPES_MAX};
use crate::resource::{Name, TypeUrl};
use crate::snapshot::{Change, OfType, Snapshot};

/// Everything that is known about one stream. See the [module](super) for how to drive it.
#[derive(Debug)]
pub struct Session {
    pub(super) variant: Variant,
    pub(super) settings: SessionSettings,
    /// The only type that the stream serves, if it isn't an aggregated one.
    pub(super) only: Option<TypeUrl>,
    /// The first request was seen, and with it the node (xDS protocol rule C1).
    identified: bool,
    /// The client may read errors in the place of resources (xRFC TP3).
    pub(super) reads_errors: bool,
    /// The client takes a time to live in state-of-the-world responses (rule S13).
    pub(super) ttl_in_sotw: bool,
    pub(super) view: Option<Arc<Snapshot>>,
    pub(super) types: Types,
    pub(super) last_nonce: u64,
    pub(super) clocks: Clocks,
    pub(super) reconnected: Option<Instant>,
    pub(super) acknowledged: Option<Arc<str>>,
    pub(super) behind_since: Option<Instant>,
    pub(super) completeness: Completeness,
    pub(super) gates_forced: u64,
    /// What the client had on its previous stream, until it is clear whether it asks again.
    pub(super) expected: Option<Expected>,
    /// The whole sets of its previous stream, until it is clear with which of them it came back.
    pub(super) earlier: Earlier,
    /// What it didn't ask for again, and since when that is known.
    pub(super) not_asked: BTreeMap<TypeUrl, Instant>,
    pub(super) last_suspicion: Option<Suspicion>,
    pub(super) pace: Pace,
    pub(super) rest: Rest,
}

/// The spellings in which clients advertise that they take wrapped resources, or times to live, in
/// state-of-the-world responses (rule S13).
const TTL_FEATURES: [&str; 6] = [
    "xds.config.supports-resource-in-sotw",
    "xds.config.resource-in-sotw",
    "envoy.config.resource-in-sotw",
    "xds.config.supports-resource-ttl",
    "xds.config.resource-ttl",
    "envoy.config.supports-resource-ttl",
];

/// `node.user_agent_name` of an Envoy.
pub(super) const ENVOY: &str = "envoy";

// === impl Session ===

impl Session {
    /// A new stream. Nothing is answered before the first [`set_view`](Self::set_view): a control
    /// plane that comes back empty would take every client down (envoy facts §2).
    pub fn new(variant: Variant, settings: SessionSettings) -> Self {
        Self {
            variant,
            settings,
            only: None,
            identified: false,
            reads_errors: false,
            ttl_in_sotw: false,
            view: None,
            types: Types::new(),
            last_nonce: 0,
            clocks: Clocks::new(),
            reconnected: None,
            acknowledged: None,
            behind_since: None,
            completeness: Completeness::default(),
            gates_forced: 0,
            expected: None,
            earlier: Earlier::default(),
            not_asked: BTreeMap::new(),
            last_suspicion: None,
            pace: Pace::default(),
            rest: Rest::default(),
        }
    }

    /// Makes it a stream of one type, as the per-type services have them: an empty `type_url`
    /// means that type (rule C2), and nothing waits for what is on other streams (rule O5).
    #[must_use]
    pub fn only(mut self, type_url: TypeUrl) -> Self {
        self.only = Some(type_url);
        self
    }

    /// Takes a request in.
    ///
    /// # Errors
    /// If no server could serve it; the stream must be closed then.
    pub fn handle_request(
        &mut self,
        request: impl Into<Request>,
        now: Instant,
    ) -> Result<Outcome, Violation> {
        let mut request = request.into();
        if self.finish_step(&request) {
            return Ok(Outcome::Acknowledged);
        }
        self.wake();
        self.identify(request.node())?;
        let type_url = self.admit(&request)?;
        let known = self.types.contains_key(&type_url);
        if !known && self.types.len() >= TYPES_MAX {
            return Err(Violation::TooManyTypes);
        }
        let state = self.types.entry(type_url.clone()).or_default();
        if let (false, Some(view)) = (known, &self.view) {
            state.held.rebase(view.of_type(&type_url).cloned(), &[]);
        }
        let first = !std::mem::replace(&mut state.asked, true);
        if first {
            state.dirty = true;
            state.agenda.touch_all();
        }
        self.not_asked.remove(&type_url);
        let comes_back = request.is_reconnect();
        if first {
            state.claims = request.take_claims();
        } else {
            state.divide_claims(&type_url);
        }
        let outcome = match (&request, self.variant) {
            (Request::Delta(request), Variant::Delta) => {
                delta::handle(&type_url, state, request, first, &self.settings.names, now)
            }
            (Request::Sotw(request), Variant::Sotw) => {
                sotw::handle(&type_url, state, request, first, now)
            }
            _ => return Err(Violation::VariantDiffers),
        };
        if first {
            if comes_back {
                self.reconnected.get_or_insert(now);
            }
            let view = self.view.as_deref();
            state.hear_claims(&type_url, view, &self.settings.known_versions);
            state.heed_cure();
            if let Some(view) = view {
                sotw::hear_claimed_set(&type_url, state, view, &mut self.earlier);
            }
        }
        if let Some(view) = &self.view {
            state.expand_owed(view, &type_url);
            state.forget_unasked(view, &type_url);
        }
        self.learn();
        self.look_at_gates();
        self.pace.heard(outcome, now);
        Ok(outcome)
    }

    /// Sets what the client should have from now on. The latest one wins: what was not sent yet of
    /// an earlier view never is (rule X1).
    pub fn set_view(&mut self, view: Arc<Snapshot>, now: Instant) {
        if !self.begin_step(&view, now) {
            self.wake();
            self.take_view(view, now);
        }
    }

    /// The same, whatever the view changes.
    fn take_view(&mut self, view: Arc<Snapshot>, now: Instant) {
        let before = self.view.replace(view.clone());
        for (type_url, state) in &mut self.types {
            let (old, new) = (
                before.as_ref().and_then(|view| view.of_type(type_url)),
                view.of_type(type_url),
            );
            // With the first view every name is looked at, without a list of them.
            let difference = match before {
                Some(_) => OfType::difference(old, new),
                None => Arc::default(),
            };
            if before.is_none() {
                state.agenda.touch_all();
                state.content_changed();
            } else if !difference.is_empty() {
                state.content_changed();
            }
            state.held.rebase(new.cloned(), &difference);
            state.hear_claims(type_url, Some(&view), &self.settings.known_versions);
            for Change { name, new, .. } in difference.iter() {
                let subscription = &state.subscription;
                let asked = match new {
                    Some(resource) => subscription.covers_resource(resource),
                    None => subscription.covers(name),
                };
                if asked || state.held.contains(name) || state.owed.contains(name) {
                    state.agenda.touch(name);
                }
                if !asked && new.is_some() {
                    // Something may lead to it, and then it should be asked for.
                    self.completeness.reset();
                }
            }
            state.confirm_claims(&view, type_url, &self.settings.known_versions);
            state.heed_notes(before.as_deref(), &view, type_url);
            sotw::hear_claimed_set(type_url, state, &view, &mut self.earlier);
        }
        for type_url in completeness::LED_TO {
            let digest = |view: &Snapshot| view.of_type(&type_url).map(|it| it.digest());
            let differs = before.as_deref().map(digest) != Some(digest(&view));
            if differs && !self.types.contains_key(&type_url) {
                // Nothing of it was asked for, and more of it may have to be.
                self.completeness.reset();
            }
        }
        self.miss_less();
        self.learn();
        self.look_at_gates();
        self.refresh(now);
    }

    /// Renews the time to live of everything that the client holds with one. Called by the
    /// embedder for as long as what it raised shall stay up, and never by this crate.
    pub fn heartbeat(&mut self, now: Instant) {
        self.wake();
        let Some(view) = &self.view else { return };
        for (type_url, state) in &mut self.types {
            let mut lapsing: Vec<Name> = Vec::new();
            for (name, held) in state.held.timed() {
                let wanted = view
                    .get(type_url, name)
                    .filter(|wanted| held.is_exactly(wanted));
                let Some(ttl) = wanted.and_then(|wanted| wanted.ttl()) else {
                    continue;
                };
                let Some(expires_at) = held.expires_at else {
                    continue;
                };
                if held.expired || now + ttl / 4 >= expires_at {
                    lapsing.push(name.clone());
                } else if state.in_flight.is_none() {
                    state.renew.insert(name.clone());
                }
            }
            for name in lapsing {
                // It lapsed, or may before the renewal arrives; only a body arms it again.
                state.owe(name);
                state.dirty = true;
            }
        }
    }

    /// Takes note of the time. To be called when [`next_timeout`](Self::next_timeout) has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.wake();
        for state in self.types.values_mut() {
            if state.deadline.is_some_and(|deadline| deadline <= now) {
                state.deadline = None;
                state.dirty = true;
            }
            let renew = &mut state.renew;
            state.held.each_timed(|name, held| {
                if !held.expired && held.expires_at.is_some_and(|at| at <= now) {
                    held.expired = true;
                    renew.remove(name);
                }
            });
        }
        self.listen(now);
        self.pace.pass(now);
        self.refresh(now);
    }

    /// Whether a time to live reaches this client. Where it doesn't, what is raised stays up when
    /// the control plane dies.
    pub fn takes_ttl(&self) -> bool {
        self.variant == Variant::Delta || self.ttl_in_sotw
    }

    /// When [`handle_timeout`](Self::handle_timeout) has to be called, if nothing else happens.
    pub fn next_timeout(&self) -> Option<Instant> {
        if let Some(ends) = self.rest_ends() {
            return ends;
        }
        let expiries = |state: &TypeState| {
            let live = state.held.timed().filter(|(_, held)| !held.expired);
            live.filter_map(|(_, held)| held.expires_at).min()
        };
        let of_type = |state: &TypeState| state.deadline.into_iter().chain(expiries(state)).min();
        let of_types = self.types.values().filter_map(|state| of_type(state));
        let others = self.next_listening().into_iter().chain(self.pace.until());
        of_types.chain(others).min()
    }

    /// How many resources the largest response has that wasn't answered yet.
    pub(crate) fn in_flight_max(&self) -> usize {
        let in_flight = self.types.values().filter_map(|it| it.in_flight.as_ref());
        in_flight.map(|it| it.items.len()).max().unwrap_or_default()
    }

    /// Until when nothing is sent, whatever happens: the client rejected many responses in a row.
    pub(crate) fn held_back(&self) -> Option<Instant> {
        self.pace.until()
    }

    /// Checks and takes the node of the first request.
    fn identify(&mut self, node: Option<&Node>) -> Result<(), Violation> {
        if self.identified {
            return Ok(());
        }
        let node = node
            .filter(|node| !node.id.is_empty())
            .ok_or(Violation::NodeMissing)?;
        let advertised = |feature: &String| TTL_FEATURES.contains(&feature.as_str());
        // Envoy unwraps any resource, but 1.40 doesn't say so: its list of features is empty.
        // Without this, what is raised on it would not expire.
        self.ttl_in_sotw =
            node.user_agent_name == ENVOY || node.client_features.iter().any(advertised);
        self.reads_errors = errors::are_read_by(node);
        self.identified = true;
        Ok(())
    }

    /// The type of a request that passes the limits.
    fn admit(&self, request: &Request) -> Result<TypeUrl, Violation> {
        let url = match (&self.only, request.type_url()) {
            (None, "") => return Err(Violation::TypeMissing),
            (Some(only), "") => only.as_str(),
            (Some(only), url) if url != only.as_str() => {
                return Err(Violation::TypeDiffers {
                    expected: only.clone(),
                    url: url.to_owned(),
                });
            }
            (_, url) => url,
        };
        if url.len() > TYPE_URL_BYTES_MAX || request.names().any(|name| name.len() > NAME_BYTES_MAX)
        {
            return Err(Violation::TooLong);
        }
        let subscribed: usize = self
            .types
            .values()
            .map(|state| state.subscription.names.len())
            .sum();
        // A state-of-the-world list replaces the one before it.
        let type_url = TypeUrl::new(url);
        let replaced = match (request, self.types.get(&type_url)) {
            (Request::Sotw(_), Some(state)) => state.subscription.names.len(),
            _ => 0,
        };
        if subscribed - replaced + request.names().count() > NAMES_MAX + request.claims() {
            return Err(Violation::TooManyNames);
        }
        if request.claims() > NAMES_MAX {
            return Err(Violation::TooManyNames);
        }
        Ok(type_url)
    }

    /// Lets all sessions know what this client took and refused.
    fn learn(&mut self) {
        for state in self.types.values_mut() {
            if let Some(whole) = state.taken.take() {
                self.settings.proven.learn_whole(&whole);
            }
            if !state.verdicts.is_empty() {
                let verdicts = std::mem::take(&mut state.verdicts);
                self.settings.proven.learn(verdicts.into_iter());
            }
        }
    }

    /// What waits at a gate is looked at again whenever something happened.
    fn look_at_gates(&mut self) {
        for state in self.types.values_mut().filter(|state| state.waits) {
            state.dirty = true;
        }
    }
}
