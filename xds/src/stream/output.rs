//! What a session has to say, and in which order: additions by type, then removals, then renewals.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use super::holdings::Scope;
use super::order::Gates;
use super::plan::{Plan, Planner, Waiting, is_suspect};
use super::proven::Proven;
use super::sotw::RejectedSet;
use super::state::{InFlight, TypeState};
use super::step::Rest;
use super::{Item, Response, Session, Variant, completeness, delta, sotw};
use crate::error_detail::ErrorDetail;
use crate::limits::RESPONSE_BYTES_TARGET;
use crate::resource::{Name, Resource, TypeUrl};
use crate::snapshot::{Snapshot, Whole};

/// What goes into one response.
#[derive(Debug, Default)]
pub(super) struct Parcel {
    items: Arc<[Arc<Resource>]>,
    /// The items are all that the client asked for, and it has none of them, or all.
    whole: Option<(Scope, Arc<Whole>)>,
    removed: Vec<Name>,
    renewal: bool,
    set: Option<u64>,
    cure: bool,
    errors: Vec<(Name, Arc<ErrorDetail>)>,
}

// === impl Parcel ===

impl Parcel {
    /// All that a client asked for.
    pub(super) fn of_whole(scope: Scope, whole: Arc<Whole>) -> Self {
        Self {
            items: whole.items().clone(),
            whole: Some((scope, whole)),
            ..Self::default()
        }
    }

    /// A whole set, with the errors of what isn't in it.
    fn of_set(set: BTreeMap<Name, Arc<Resource>>, hash: u64, plan: &Plan) -> Self {
        let mut errors = plan.errors.clone();
        errors.retain(|(name, _)| !set.contains_key(name));
        Self {
            items: set.into_values().collect(),
            set: Some(hash),
            errors,
            ..Self::default()
        }
    }
}

// === impl Session ===

impl Session {
    /// The next response to send, if there is one now.
    pub fn poll_response(&mut self, now: Instant) -> Option<Response> {
        match self.rest {
            Rest::No => self.next_response(now),
            Rest::Until(_) => {
                self.catch_up();
                None
            }
            Rest::But(_) => self.send_step(now),
        }
    }

    /// The same, of whatever there is to say.
    pub(super) fn next_response(&mut self, now: Instant) -> Option<Response> {
        if self.pace.holds_back(now) {
            self.refresh(now);
            return None;
        }
        let view = self.view.as_ref()?;
        let silent = |state: &TypeState| state.in_flight.is_some() || !state.has_to_look();
        let response = if self.types.values().all(|state| silent(state)) && !self.is_cure_due() {
            // As a rule right after a response.
            None
        } else {
            let view = view.clone();
            self.look(&view, now)
        };
        if response.is_none() {
            self.settle();
            self.refresh(now);
            #[cfg(test)]
            super::oracle::check_session(self);
            self.come_to_rest();
        }
        response
    }

    /// The next response, found by looking at every type.
    fn look(&mut self, view: &Snapshot, now: Instant) -> Option<Response> {
        let type_urls: Vec<TypeUrl> = self.types.keys().cloned().collect();
        if let Some(cure) = self.cure(view) {
            let parcel = Parcel {
                items: cure.items.into(),
                removed: cure.removed,
                set: cure.set,
                cure: true,
                ..Parcel::default()
            };
            return Some(self.send(&TypeUrl::CLUSTER, view, parcel, now));
        }
        let mut unsent = Vec::new();
        for type_url in &type_urls {
            if let Some(response) = self.first_answer(type_url, view, now) {
                return Some(response);
            }
            let Some(mut plan) = self.plan(type_url, view, now) else {
                continue;
            };
            if let Some(parcel) = self.additions(type_url, view, &mut plan, now) {
                self.count_forced(&plan, &parcel);
                return Some(self.send(type_url, view, parcel, now));
            }
            unsent.push((type_url, plan));
        }
        // Removals only when nothing is left to add (rule O1).
        for (type_url, plan) in unsent {
            if let Some(parcel) = self.removals(type_url, view, &plan, now) {
                self.count_forced(&plan, &parcel);
                return Some(self.send(type_url, view, parcel, now));
            }
            if let Some(state) = self.types.get_mut(type_url) {
                state.looked_at(&plan);
            }
        }
        for type_url in &type_urls {
            if let Some(parcel) = self.renewal(type_url) {
                return Some(self.send(type_url, view, parcel, now));
            }
        }
        None
    }

    /// Looks at a type if it changed and has nothing in flight, and starts the clocks of what has
    /// to wait.
    fn plan(&mut self, type_url: &TypeUrl, view: &Snapshot, now: Instant) -> Option<Plan> {
        let state = self.types.get(type_url)?;
        if !state.dirty || state.in_flight.is_some() {
            return None;
        }
        let state = self.types.get_mut(type_url)?;
        let mut agenda = std::mem::take(&mut state.agenda);
        let changed = state.held.take_changed();
        if completeness::leads(type_url) {
            state.unchecked.extend(changed.iter().cloned());
        }
        let state = self.types.get(type_url)?;
        let planner = self.planner(type_url, view, now);
        let plan = planner.plan(type_url, state, &mut agenda, &changed);
        #[cfg(test)]
        super::oracle::check(&planner, type_url, state, &agenda, &plan);
        let state = self.types.get_mut(type_url)?;
        state.agenda = agenda;
        self.clocks
            .retain(|(of, waiting), _| of != type_url || plan.clocked.contains(waiting));
        for waiting in &plan.clocked {
            self.clocks
                .entry((type_url.clone(), waiting.clone()))
                .or_insert(now);
        }
        Some(plan)
    }

    pub(super) fn planner<'a>(
        &'a self,
        type_url: &TypeUrl,
        view: &'a Snapshot,
        now: Instant,
    ) -> Planner<'a> {
        Planner {
            variant: self.variant,
            gates: Gates::new(&self.types, view, self.reconnected),
            clocks: &self.clocks,
            proven: self.proven(type_url),
            taken: &self.settings.proven,
            gate_deadline: self.settings.gate_deadline,
            lone_grace: self.only.as_ref().map(|_| self.settings.removal_grace),
            reads_errors: self.reads_errors,
            now,
        }
    }

    /// What of the type may share a response with others; `None`: everything.
    pub(super) fn proven(&self, type_url: &TypeUrl) -> Option<&Proven> {
        let whole = self.variant == Variant::Sotw && type_url.is_full_state();
        let isolates = self.settings.one_doubt_per_response && type_url.is_spoilt_by_one();
        (isolates && !whole).then_some(&*self.settings.proven)
    }

    fn additions(
        &mut self,
        type_url: &TypeUrl,
        view: &Snapshot,
        plan: &mut Plan,
        now: Instant,
    ) -> Option<Parcel> {
        let state = self.types.get_mut(type_url)?;
        state.set_refused = false;
        if self.variant == Variant::Sotw {
            // Names that don't exist stay subscribed; absence needs no words (rules C9, S2).
            for name in std::mem::take(&mut state.agenda.absent) {
                state.owed.remove(&name);
            }
            if type_url.is_full_state() {
                // With an error must go all that isn't one (TP3).
                state.answer_due |= !plan.errors.is_empty();
                return self.whole_set(type_url, view, plan, now);
            }
        }
        let proven = self.proven(type_url).is_some();
        let proven = proven.then(|| self.settings.proven.clone());
        let state = self.types.get_mut(type_url)?;
        let items = delta::batch(type_url, state, view, plan, proven.as_deref());
        #[cfg(test)]
        super::oracle::check_batch(
            &self.planner(type_url, view, now),
            type_url,
            self.types.get(type_url)?,
            proven.as_deref(),
            &items,
        );
        let state = self.types.get(type_url)?;
        if !items.is_empty() {
            return Some(Parcel {
                items: items.into(),
                ..Parcel::default()
            });
        }
        let mut bytes = 0;
        let fits = |name: &&Name| {
            bytes += name.len();
            bytes <= RESPONSE_BYTES_TARGET
        };
        let absent = state.agenda.absent.iter();
        let absent = absent.take(type_url.per_response_max()).take_while(fits);
        let removed: Vec<Name> = absent.cloned().collect();
        let answer_due = state.answer_due && !plan.has_more_to_come(&state.agenda);
        let errors = std::mem::take(&mut plan.errors);
        (answer_due || !removed.is_empty() || !errors.is_empty()).then(|| Parcel {
            removed,
            errors,
            ..Parcel::default()
        })
    }

    /// The whole set of a state-of-the-world response, if there is something new in it.
    ///
    /// After a rejection, what was new in that set is added to the others again in halves, until
    /// the culprit stands alone and is refused by itself: then the set has it as it was last
    /// acknowledged, or not at all, and the others arrive. What the client may be using although it
    /// never took it is in each of them. No set is sent twice that the client rejected.
    fn whole_set(
        &mut self,
        type_url: &TypeUrl,
        view: &Snapshot,
        plan: &mut Plan,
        now: Instant,
    ) -> Option<Parcel> {
        loop {
            let state = self.types.get(type_url)?;
            let agenda = &state.agenda;
            let news = agenda.together.iter().chain(plan.passed.keys());
            let (suspects, sound): (BTreeSet<Name>, BTreeSet<Name>) = news
                .chain(&agenda.suspects)
                .cloned()
                .partition(|name| is_suspect(state, plan, name));
            let mut trial = plan.needed.clone();
            if sound.is_empty() && trial.is_empty() {
                trial.extend(suspects.iter().take(state.trial.max(1)).cloned());
            }
            let asked = state.answer_due && !plan.has_more_to_come(agenda);
            if sound.is_empty() && trial.is_empty() && !asked {
                return None;
            }
            let planner = self.planner(type_url, view, now);
            let mut set = planner.whole_set(type_url, state, plan, &trial);
            let divided = trial.len() < suspects.len();
            let whole = set.is_none() && divided;
            if whole {
                // A client whose resources aren't all known can't be sent less than everything.
                trial = suspects;
                set = planner.whole_set(type_url, state, plan, &trial);
            }
            #[cfg(test)]
            super::oracle::check_set(&planner, type_url, state, set.as_ref());
            let waits = set.is_none() && planner.waits_for_a_removal(state, plan);
            let Some(set) = set else {
                // As after a refused set: what leads to the others has to wait for longer.
                self.types.get_mut(type_url)?.set_refused = waits;
                return None;
            };
            let hash = crate::snapshot::digest(set.values());
            let Some(rejected) = state.rejected_sets.get(hash) else {
                return Some(Parcel::of_set(set, hash, plan));
            };
            let text = state.rejected_sets.text.clone();
            let state = self.types.get_mut(type_url)?;
            let (RejectedSet::Answered, Some(text), false) = (rejected, text, whole) else {
                state.set_refused = true;
                return None;
            };
            let taken = |item: &Arc<Resource>| {
                let held = state.held.get(item.name());
                let acked = held.and_then(|held| held.acked.clone());
                acked.is_some_and(|acked| acked.stamp() == item.stamp())
            };
            let mut others = set.values().filter(|item| !trial.contains(item.name()));
            match (trial.first().cloned(), trial.len()) {
                _ if !sound.is_empty() => {
                    sound.iter().for_each(|name| state.suspect(name));
                    state.trial = sound.len() / 2;
                }
                (Some(_), 1) if !others.all(taken) => {
                    // It may also be what stays although nobody wants it any more.
                    state.set_refused = true;
                    return None;
                }
                (Some(name), 1) => {
                    // All others are with the client, so that it is this one.
                    state.clear(&name);
                    if let Some(resource) = view.get(type_url, &name) {
                        state.refuse(resource, &text, now);
                    }
                }
                (Some(_), several) if plan.needed.is_empty() => state.trial = several / 2,
                _ => {
                    state.set_refused = true;
                    return None;
                }
            }
            *plan = self.plan(type_url, view, now)?;
        }
    }

    fn removals(
        &mut self,
        type_url: &TypeUrl,
        view: &Snapshot,
        plan: &Plan,
        now: Instant,
    ) -> Option<Parcel> {
        if plan.removals.is_empty() {
            return None;
        }
        if self.variant == Variant::Sotw {
            let state = self.types.get(type_url)?;
            let planner = self.planner(type_url, view, now);
            let mut set = planner.whole_set(type_url, state, plan, &BTreeSet::new())?;
            for name in &plan.removals {
                set.remove(name);
            }
            let hash = crate::snapshot::digest(set.values());
            if state.rejected_sets.get(hash).is_some() {
                self.types.get_mut(type_url)?.set_refused = true;
                return None;
            }
            return Some(Parcel::of_set(set, hash, plan));
        }
        let most = type_url.per_response_max();
        let removed = plan.removals.iter().take(most).cloned().collect();
        Some(Parcel {
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
            let held = state.held.get(&name);
            if let Some(resource) = held.and_then(|held| held.acked.clone()) {
                return Some(Parcel {
                    items: Arc::new([resource]),
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
    pub(super) fn send(
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
        if let Some((scope, _)) = &parcel.whole {
            state.held.send_all(scope.clone(), &parcel.items, nonce);
        }
        for resource in parcel.items.iter().filter(|_| parcel.whole.is_none()) {
            let name = resource.name();
            let owed = state.pay(resource);
            if owed {
                state.agenda.touch(name);
            }
            if parcel.set.is_some() && !owed && resource.ttl().is_none() {
                let held = state.held.get(name);
                if held.is_some_and(|held| held.is_plainly(resource)) {
                    // Most of a whole set is no news.
                    continue;
                }
            }
            let held = state.held.entry(name);
            held.expires_at = resource.ttl().filter(|_| timed).map(|ttl| now + ttl);
            held.expired = false;
            let known = parcel.set.is_some() && !owed && held.is_exactly(resource);
            if !parcel.renewal && !known {
                held.pending = Some(resource.clone());
                held.sent_by = nonce;
                news.push(resource.clone());
                state.renew.remove(name);
            }
            if resource.ttl().is_some() {
                state.held.note_timed(name);
            }
        }
        let mut unresolved = Vec::new();
        for name in &parcel.removed {
            if state.owed.remove(name) {
                state.agenda.touch(name);
            }
            match state.held.get_mut(name) {
                Some(held) => held.removing = true,
                None => {
                    let alias = *type_url == TypeUrl::VIRTUAL_HOST;
                    let alias = alias && state.subscription.names.contains(name);
                    unresolved.extend(alias.then(|| name.clone()));
                }
            }
        }
        if parcel.set.is_some() {
            state.lack_all_but(&parcel.items);
        }
        state.tell(&parcel.errors);
        let own = view.own_version(type_url);
        let version = match (self.variant, own) {
            (Variant::Delta, own) => own.unwrap_or_else(|| view.id()).clone(),
            (Variant::Sotw, None) => {
                let whole = || sotw::subscribed_digest(type_url, state, view);
                Arc::from(sotw::version(parcel.set.unwrap_or_else(whole)))
            }
            (Variant::Sotw, Some(own)) => match parcel.set {
                Some(set) if set != sotw::subscribed_digest(type_url, state, view) => {
                    Arc::from(sotw::version(set))
                }
                _ => own.clone(),
            },
        };
        // None of what goes all at once has a version of its own.
        for resource in &news {
            self.settings.known_versions.note(resource);
        }
        let empty = parcel.items.is_empty() && parcel.removed.is_empty();
        if !parcel.renewal && !empty {
            let shown = *type_url == TypeUrl::ROUTE_CONFIGURATION;
            let shown = parcel.items.iter().filter(|_| shown);
            let names = shown.map(|item| item.name().clone()).collect();
            let names = self.settings.names.share(names);
            state.last_news = Some((version.clone(), names));
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
        let news = match parcel.whole {
            Some(_) => &*parcel.items,
            None => &*news,
        };
        let names = || news.iter().map(|it| it.name().clone()).collect();
        state.in_flight = Some(Box::new(InFlight {
            nonce,
            items: parcel.items.clone(),
            removed: parcel.removed.clone(),
            sent_at: now,
            renewal: parcel.renewal,
            whole: parcel.whole.as_ref().map(|(_, whole)| whole.clone()),
            set: parcel.set.map(|hash| (hash, names())),
            cure: parcel.cure,
        }));
        if *type_url == TypeUrl::CLUSTER {
            self.owe_endpoints(news, view);
        }
        if let Some(hosts) = self.types.get_mut(&TypeUrl::VIRTUAL_HOST) {
            hosts.owe_namespaces(news.iter());
        }
        let item = |resource: Arc<Resource>| Item {
            wrapped: wrapped && resource.ttl().is_some(),
            renewal: parcel.renewal && self.variant == Variant::Delta,
            resource,
        };
        // A list of its own for each stream would be tens of kilobytes that come and go.
        let items = match &parcel.whole {
            Some((_, whole)) => whole.sent().clone(),
            None => parcel.items.iter().cloned().map(item).collect(),
        };
        let (variant, type_url) = (self.variant, type_url.clone());
        let mut removed = parcel.removed;
        removed.retain(|name| !unresolved.contains(name));
        Response {
            variant,
            type_url,
            nonce,
            version,
            items,
            removed,
            unresolved,
            errors: parcel.errors,
        }
    }

    /// A changed cluster warms until it gets its endpoints again, and Envoy doesn't ask for them
    /// over delta (rules S9, D8b; envoy facts §7).
    fn owe_endpoints(&mut self, news: &[Arc<Resource>], view: &Snapshot) {
        let Some(endpoints) = self.types.get_mut(&TypeUrl::CLUSTER_LOAD_ASSIGNMENT) else {
            return;
        };
        let clusters = news.iter();
        for name in clusters.filter_map(|cluster| cluster.references().assignment.as_ref()) {
            let assignment = view.get(&TypeUrl::CLUSTER_LOAD_ASSIGNMENT, name);
            if assignment.is_some_and(|it| endpoints.subscription.covers_resource(it)) {
                endpoints.owe(name.clone());
                endpoints.dirty = true;
            }
        }
    }
}
