//! All types of one stream, and the order in which they speak.

use std::sync::Arc;
use std::time::Instant;

use envoy_types::pb::envoy::config::core::v3::Node;

use super::plan::{Clocks, Plan, Planner, Waiting};
use super::state::{InFlight, TypeState};
use super::{
    Item, Outcome, Request, Response, SessionSettings, Types, Variant, Violation, delta, sotw,
};
use crate::limits::{NAME_BYTES_MAX, NAMES_MAX, TYPE_URL_BYTES_MAX, TYPES_MAX};
use crate::resource::{Name, Resource, TypeUrl};
use crate::snapshot::Snapshot;

/// Everything that is known about one stream. See the [module](super) for how to drive it.
#[derive(Debug)]
pub struct Session {
    variant: Variant,
    settings: SessionSettings,
    /// The first request was seen, and with it the node (xDS protocol rule C1).
    identified: bool,
    /// The client takes a time to live in state-of-the-world responses (rule S13).
    ttl_in_sotw: bool,
    pub(super) view: Option<Arc<Snapshot>>,
    pub(super) types: Types,
    last_nonce: u64,
    clocks: Clocks,
    reconnected: Option<Instant>,
    pub(super) acknowledged: Option<Arc<str>>,
    pub(super) behind_since: Option<Instant>,
    pub(super) gates_forced: u64,
}

/// What goes into one response.
#[derive(Debug, Default)]
struct Parcel {
    items: Vec<Arc<Resource>>,
    removed: Vec<Name>,
    renewal: bool,
    set: Option<u64>,
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
const ENVOY: &str = "envoy";

// === impl Session ===

impl Session {
    /// A new stream. Nothing is answered before the first [`set_view`](Self::set_view): a control
    /// plane that comes back empty would take every client down (envoy facts §2).
    pub fn new(variant: Variant, settings: SessionSettings) -> Self {
        Self {
            variant,
            settings,
            identified: false,
            ttl_in_sotw: false,
            view: None,
            types: Types::new(),
            last_nonce: 0,
            clocks: Clocks::new(),
            reconnected: None,
            acknowledged: None,
            behind_since: None,
            gates_forced: 0,
        }
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
        let request = request.into();
        self.identify(request.node())?;
        let type_url = self.admit(&request)?;
        let first = !self.types.contains_key(&type_url);
        if first && self.types.len() >= TYPES_MAX {
            return Err(Violation::TooManyTypes);
        }
        let state = self.types.entry(type_url.clone()).or_default();
        state.dirty |= first;
        let outcome = match (&request, self.variant) {
            (Request::Delta(request), Variant::Delta) => {
                delta::handle(&type_url, state, request, first, now)
            }
            (Request::Sotw(request), Variant::Sotw) => {
                sotw::handle(&type_url, state, request, first, now)
            }
            _ => return Err(Violation::VariantDiffers),
        };
        if first {
            if request.is_reconnect() {
                self.reconnected.get_or_insert(now);
            }
            if let Some(view) = &self.view {
                state.confirm_claims(view, &type_url);
                sotw::skip_equal_set(&type_url, state, view);
            }
        }
        self.look_at_gates();
        Ok(outcome)
    }

    /// Sets what the client should have from now on. The latest one wins: what was not sent yet of
    /// an earlier view never is (rule X1).
    pub fn set_view(&mut self, view: Arc<Snapshot>, now: Instant) {
        for (type_url, state) in &mut self.types {
            let before = self.view.as_ref().map(|view| view.digest(type_url));
            if before != Some(view.digest(type_url)) {
                state.content_changed();
            }
            state.confirm_claims(&view, type_url);
            sotw::skip_equal_set(type_url, state, &view);
        }
        self.view = Some(view);
        self.look_at_gates();
        self.refresh(now);
    }

    /// Renews the time to live of everything that the client holds with one. Called by the
    /// embedder for as long as what it raised shall stay up, and never by this crate.
    pub fn heartbeat(&mut self, now: Instant) {
        let Some(view) = &self.view else { return };
        for (type_url, state) in &mut self.types {
            for (name, held) in &state.held {
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
                    // It lapsed, or may before the renewal arrives; only a body arms it again.
                    state.owed.insert(name.clone());
                    state.dirty = true;
                } else if state.in_flight.is_none() {
                    state.renew.insert(name.clone());
                }
            }
        }
    }

    /// Takes note of the time. To be called when [`next_timeout`](Self::next_timeout) has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        for state in self.types.values_mut() {
            if state.deadline.is_some_and(|deadline| deadline <= now) {
                state.deadline = None;
                state.dirty = true;
            }
            for (name, held) in &mut state.held {
                if !held.expired && held.expires_at.is_some_and(|at| at <= now) {
                    held.expired = true;
                    state.renew.remove(name);
                }
            }
        }
        self.refresh(now);
    }

    /// Whether a time to live reaches this client. Where it doesn't, what is raised stays up when
    /// the control plane dies.
    pub fn takes_ttl(&self) -> bool {
        self.variant == Variant::Delta || self.ttl_in_sotw
    }

    /// When [`handle_timeout`](Self::handle_timeout) has to be called, if nothing else happens.
    pub fn next_timeout(&self) -> Option<Instant> {
        let expiries = |state: &TypeState| {
            let live = state.held.values().filter(|held| !held.expired);
            live.filter_map(|held| held.expires_at).min()
        };
        let of_type = |state: &TypeState| state.deadline.into_iter().chain(expiries(state)).min();
        self.types.values().filter_map(of_type).min()
    }

    /// The next response to send, if there is one now.
    pub fn poll_response(&mut self, now: Instant) -> Option<Response> {
        let view = self.view.clone()?;
        let type_urls: Vec<TypeUrl> = self.types.keys().cloned().collect();
        let mut unsent = Vec::new();
        for type_url in &type_urls {
            let Some(mut plan) = self.plan(type_url, &view, now) else {
                continue;
            };
            if let Some(parcel) = self.additions(type_url, &mut plan) {
                self.count_forced(&plan, &parcel);
                return Some(self.send(type_url, &view, parcel, now));
            }
            unsent.push((type_url, plan));
        }
        // Removals only when nothing is left to add (rule O1).
        for (type_url, mut plan) in unsent {
            if let Some(parcel) = self.removals(type_url, &mut plan) {
                self.count_forced(&plan, &parcel);
                return Some(self.send(type_url, &view, parcel, now));
            }
            if let Some(state) = self.types.get_mut(type_url) {
                state.looked_at(&plan);
            }
        }
        for type_url in &type_urls {
            if let Some(parcel) = self.renewal(type_url) {
                return Some(self.send(type_url, &view, parcel, now));
            }
        }
        self.refresh(now);
        None
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
        self.identified = true;
        Ok(())
    }

    /// The type of a request that passes the limits.
    fn admit(&self, request: &Request) -> Result<TypeUrl, Violation> {
        let url = request.type_url();
        if url.is_empty() {
            return Err(Violation::TypeMissing);
        }
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

    /// Looks at a type if it changed and has nothing in flight, and starts the clocks of what has
    /// to wait.
    fn plan(&mut self, type_url: &TypeUrl, view: &Snapshot, now: Instant) -> Option<Plan> {
        let state = self.types.get(type_url)?;
        if !state.dirty || state.in_flight.is_some() {
            return None;
        }
        let planner = Planner {
            variant: self.variant,
            types: &self.types,
            view,
            clocks: &self.clocks,
            gate_deadline: self.settings.gate_deadline,
            reconnected: self.reconnected,
            now,
        };
        let plan = planner.plan(type_url, state);
        self.clocks
            .retain(|(of, waiting), _| of != type_url || plan.clocked.contains(waiting));
        for waiting in &plan.clocked {
            self.clocks
                .entry((type_url.clone(), waiting.clone()))
                .or_insert(now);
        }
        Some(plan)
    }

    fn additions(&mut self, type_url: &TypeUrl, plan: &mut Plan) -> Option<Parcel> {
        let state = self.types.get_mut(type_url)?;
        state.set_refused = false;
        if self.variant == Variant::Sotw {
            // Names that don't exist stay subscribed; absence needs no words (rules C9, S2).
            plan.absent.drain(..).for_each(|name| {
                state.owed.remove(&name);
            });
            if type_url.is_full_state() {
                let set = sotw::next_set(state, plan, false)?;
                let items = plan.set.values().cloned().collect();
                return Some(Parcel {
                    items,
                    set: Some(set),
                    ..Parcel::default()
                });
            }
        }
        let items = delta::batch(type_url, state, plan);
        if !items.is_empty() {
            return Some(Parcel {
                items,
                ..Parcel::default()
            });
        }
        let removed: Vec<Name> = plan
            .absent
            .iter()
            .take(type_url.per_response_max())
            .cloned()
            .collect();
        (state.answer_due || !removed.is_empty()).then(|| Parcel {
            removed,
            ..Parcel::default()
        })
    }

    fn removals(&mut self, type_url: &TypeUrl, plan: &mut Plan) -> Option<Parcel> {
        let state = self.types.get_mut(type_url)?;
        if self.variant == Variant::Sotw {
            let set = sotw::next_set(state, plan, true)?;
            let items = plan.set.values().cloned().collect();
            return Some(Parcel {
                items,
                set: Some(set),
                ..Parcel::default()
            });
        }
        let removed: Vec<Name> = plan
            .removals
            .iter()
            .take(type_url.per_response_max())
            .cloned()
            .collect();
        (!removed.is_empty()).then(|| Parcel {
            removed,
            ..Parcel::default()
        })
    }

    fn renewal(&mut self, type_url: &TypeUrl) -> Option<Parcel> {
        let state = self.types.get_mut(type_url)?;
        if state.in_flight.is_some() {
            return None;
        }
        while let Some(name) = state.renew.pop_first() {
            if let Some(resource) = state.held.get(&name).and_then(|held| held.acked.clone()) {
                return Some(Parcel {
                    items: vec![resource],
                    renewal: true,
                    ..Parcel::default()
                });
            }
        }
        None
    }

    fn count_forced(&mut self, plan: &Plan, parcel: &Parcel) {
        let sent = |waiting: &&Waiting| match waiting {
            Waiting::Update(name) => parcel.items.iter().any(|item| item.name() == name),
            Waiting::Removal(name) => {
                parcel.removed.contains(name)
                    || parcel.set.is_some() && parcel.items.iter().all(|item| item.name() != name)
            }
        };
        self.gates_forced += plan.forced.iter().filter(sent).count() as u64;
    }

    /// Puts a parcel in flight.
    fn send(
        &mut self,
        type_url: &TypeUrl,
        view: &Snapshot,
        parcel: Parcel,
        now: Instant,
    ) -> Response {
        self.last_nonce += 1;
        let nonce = self.last_nonce;
        let wrapped = self.variant == Variant::Sotw && self.ttl_in_sotw;
        let timed = self.takes_ttl();
        let state = self.types.entry(type_url.clone()).or_default();
        let mut news = Vec::new();
        for resource in &parcel.items {
            let name = resource.name();
            let owed = state.owed.remove(name);
            let held = state.held.entry(name.clone()).or_default();
            held.expires_at = resource.ttl().filter(|_| timed).map(|ttl| now + ttl);
            held.expired = false;
            if parcel.renewal || (parcel.set.is_some() && !owed && held.is_exactly(resource)) {
                continue;
            }
            held.pending = Some(resource.clone());
            held.sent_by = nonce;
            news.push(resource.clone());
            state.renew.remove(name);
        }
        for name in &parcel.removed {
            state.owed.remove(name);
            if let Some(held) = state.held.get_mut(name) {
                held.removing = true;
            }
        }
        let version = match self.variant {
            Variant::Delta => view.id().clone(),
            Variant::Sotw => {
                let whole = || sotw::subscribed_digest(type_url, state, view);
                Arc::from(sotw::version(parcel.set.unwrap_or_else(whole)))
            }
        };
        state.last_nonce = nonce;
        state.answer_due &= parcel.renewal;
        state.counts.responses += 1;
        state.counts.removals += parcel.removed.len() as u64;
        let sent = parcel.items.len() as u64;
        if parcel.renewal {
            state.counts.renewals += sent;
        } else {
            state.counts.resources += sent;
        }
        let names = news
            .iter()
            .map(|resource| resource.name().clone())
            .collect();
        state.in_flight = Some(InFlight {
            nonce,
            items: parcel.items.clone(),
            removed: parcel.removed.clone(),
            sent_at: now,
            renewal: parcel.renewal,
            set: parcel.set.map(|hash| (hash, names)),
        });
        self.owe_endpoints(&news, view);
        let item = |resource: Arc<Resource>| Item {
            wrapped: wrapped && resource.ttl().is_some(),
            renewal: parcel.renewal && self.variant == Variant::Delta,
            resource,
        };
        let items = parcel.items.into_iter().map(item).collect();
        let (variant, type_url) = (self.variant, type_url.clone());
        Response {
            variant,
            type_url,
            nonce,
            version,
            items,
            removed: parcel.removed,
        }
    }

    /// A changed cluster warms until it gets its endpoints again, and Envoy doesn't ask for them
    /// over delta (rules S9, D8b; envoy facts §7).
    fn owe_endpoints(&mut self, news: &[Arc<Resource>], view: &Snapshot) {
        let Some(endpoints) = self.types.get_mut(&TypeUrl::CLUSTER_LOAD_ASSIGNMENT) else {
            return;
        };
        let clusters = news
            .iter()
            .filter(|resource| *resource.type_url() == TypeUrl::CLUSTER);
        for name in clusters.filter_map(|cluster| cluster.references().assignment.as_ref()) {
            let exists = view.get(&TypeUrl::CLUSTER_LOAD_ASSIGNMENT, name).is_some();
            if exists && endpoints.subscription.covers(name) {
                endpoints.owed.insert(name.clone());
                endpoints.dirty = true;
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

// === impl Request ===

impl Request {
    /// The client; only the first request of a stream has to carry it (rule C1).
    pub fn node(&self) -> Option<&Node> {
        match self {
            Self::Delta(request) => request.node.as_ref(),
            Self::Sotw(request) => request.node.as_ref(),
        }
    }

    fn type_url(&self) -> &str {
        match self {
            Self::Delta(request) => &request.type_url,
            Self::Sotw(request) => &request.type_url,
        }
    }

    /// Every name that would be remembered.
    fn names(&self) -> impl Iterator<Item = &String> {
        let (lists, claims) = match self {
            Self::Delta(request) => (
                &request.resource_names_subscribe,
                Some(&request.initial_resource_versions),
            ),
            Self::Sotw(request) => (&request.resource_names, None),
        };
        lists
            .iter()
            .chain(claims.into_iter().flat_map(|claims| claims.keys()))
    }

    /// How many resources the client says that it holds.
    fn claims(&self) -> usize {
        match self {
            Self::Delta(request) => request.initial_resource_versions.len(),
            Self::Sotw(_) => 0,
        }
    }

    /// Whether the client holds something of an earlier stream.
    fn is_reconnect(&self) -> bool {
        match self {
            Self::Delta(request) => !request.initial_resource_versions.is_empty(),
            Self::Sotw(request) => !request.version_info.is_empty(),
        }
    }
}
