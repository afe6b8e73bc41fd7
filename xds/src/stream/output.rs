//! What a session has to say, and in which order: additions by type, then removals, then renewals.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use super::plan::{Plan, Planner, Waiting};
use super::state::InFlight;
use super::{Item, Response, Session, Variant, delta, sotw};
use crate::resource::{Name, Resource, TypeUrl};
use crate::snapshot::Snapshot;

/// What goes into one response.
#[derive(Debug, Default)]
struct Parcel {
    items: Vec<Arc<Resource>>,
    removed: Vec<Name>,
    renewal: bool,
    set: Option<u64>,
    cure: bool,
}

// === impl Session ===

impl Session {
    /// The next response to send, if there is one now.
    pub fn poll_response(&mut self, now: Instant) -> Option<Response> {
        let view = self.view.clone()?;
        let type_urls: Vec<TypeUrl> = self.types.keys().cloned().collect();
        if let Some(cure) = self.cure(&view) {
            let parcel = Parcel {
                items: cure.items,
                removed: cure.removed,
                set: cure.set,
                renewal: false,
                cure: true,
            };
            return Some(self.send(&TypeUrl::CLUSTER, &view, parcel, now));
        }
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
            proven: &self.settings.proven,
            gate_deadline: self.settings.gate_deadline,
            lone_grace: self.only.as_ref().map(|_| self.settings.removal_grace),
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
        let isolates = self.settings.one_doubt_per_response && type_url.is_spoilt_by_one();
        let proven = isolates.then_some(&*self.settings.proven);
        let items = delta::batch(type_url, state, plan, proven);
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
        (state.answer_due && !plan.has_more_to_come() || !removed.is_empty()).then(|| Parcel {
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
        if parcel.set.is_some() {
            // What a whole set lacks is deleted (rule S1).
            let names: BTreeSet<&Name> = parcel.items.iter().map(|item| item.name()).collect();
            for (name, held) in &mut state.held {
                held.removing = !names.contains(name);
            }
        }
        let version = match self.variant {
            Variant::Delta => view.id().clone(),
            Variant::Sotw => {
                let whole = || sotw::subscribed_digest(type_url, state, view);
                Arc::from(sotw::version(parcel.set.unwrap_or_else(whole)))
            }
        };
        let empty = parcel.items.is_empty() && parcel.removed.is_empty();
        if !parcel.renewal && !empty {
            let names = parcel.items.iter().map(|item| item.name().clone());
            state.last_news = Some((version.clone(), names.collect()));
        }
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
            cure: parcel.cure,
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
}
