//! A view in which nothing but assignments have changed, for a stream at rest.
//!
//! Most pushes are that: endpoints come and go all day, and thousands of streams have to hear of it.
//! For each of them that is at rest the response is the same ([`OfType::replaced`]), and so is what
//! it does to what the client has. The stream only remembers that the step is under way ([`Step`]),
//! and takes it when the client acknowledges it, without a word about single resources: what costs
//! is memory that thousands of streams haven't touched for long. Whatever else happens first makes
//! it go that way by itself ([`Session::wake`]): as everything in here is a function of what came in
//! and when, it comes to the same response, and everything goes on as it would have without this.

use std::sync::Arc;
use std::time::Instant;

use super::pace::Pace;
use super::state::{TypeState, is_nonce};
use super::{Request, Response, Session, Variant, order};
use crate::delivery::SentCounts;
use crate::limits::SUSPECT_AFTER;
use crate::resource::{Resource, TypeUrl};
use crate::snapshot::{Change, OfType, Snapshot, Whole};

/// The type that a step is about.
const ASSIGNMENT: TypeUrl = TypeUrl::CLUSTER_LOAD_ASSIGNMENT;

/// Whether there is anything to do for a stream.
#[derive(Debug, Default)]
pub(super) enum Rest {
    /// There is, or it isn't known.
    #[default]
    No,
    /// Nothing before somebody says something, or this time comes.
    Until(Option<Instant>),
    /// Nothing but a step.
    But(Box<Step>),
}

/// What a stream at rest was, or is to be, told. Its assignments have the base of the view that this
/// leads to already: of those in here the client has what they were.
#[derive(Debug)]
pub(super) struct Step {
    difference: Arc<[Change]>,
    /// What they are by now, in one piece.
    news: Arc<Whole>,
    sent_at: Option<Instant>,
    /// Until when the stream was at rest.
    until: Option<Instant>,
}

// === impl Session ===

impl Session {
    /// Takes a view for a step, if it is no more than that.
    pub(super) fn begin_step(&mut self, view: &Arc<Snapshot>, now: Instant) -> bool {
        let Rest::Until(until) = self.rest else {
            return false;
        };
        let Some((difference, news)) = self.step_to(view) else {
            return false;
        };
        for (type_url, state) in &mut self.types {
            state.held.rebase(view.of_type(type_url).cloned(), &[]);
        }
        self.view = Some(view.clone());
        if self.acknowledged.as_ref() == Some(view.id()) {
            // It was, before a step that nobody looked at yet since it was acknowledged.
            self.acknowledged = None;
        }
        self.behind_since.get_or_insert(now);
        self.rest = Rest::But(Box::new(Step {
            difference,
            news,
            sent_at: None,
            until,
        }));
        true
    }

    /// The assignments that a view has otherwise than the last one, if that is all, and the client
    /// asked for all of them.
    fn step_to(&self, view: &Snapshot) -> Option<(Arc<[Change]>, Arc<Whole>)> {
        #[cfg(test)]
        if super::bulk::is_switched_off() {
            return None;
        }
        let (old, new) = self.view.as_ref()?.differs_only_in(&ASSIGNMENT, view)?;
        let (difference, news) = OfType::replaced(old, new)?;
        let subscription = &self.types.get(&ASSIGNMENT)?.subscription;
        let mut items = news.items().iter();
        let asked = items.all(|resource| subscription.covers_resource(resource));
        asked.then_some((difference, news))
    }

    /// The response of the step under way, once.
    pub(super) fn send_step(&mut self, now: Instant) -> Option<Response> {
        let Rest::But(step) = &mut self.rest else {
            return None;
        };
        if step.sent_at.is_some() {
            return None;
        }
        step.sent_at = Some(now);
        let version = self.view.as_deref().map(version)?;
        Some(Response {
            variant: self.variant,
            type_url: ASSIGNMENT,
            nonce: self.last_nonce + 1,
            version,
            items: step.news.sent().clone(),
            removed: Vec::new(),
            unresolved: Vec::new(),
            errors: Vec::new(),
        })
    }

    /// Takes the step if this acknowledges it and says nothing else.
    pub(super) fn finish_step(&mut self, request: &Request) -> bool {
        let nonce = self.last_nonce + 1;
        let (Rest::But(step), Request::Delta(request)) = (&mut self.rest, request) else {
            return false;
        };
        let is_ack = step.sent_at.is_some()
            && request.error_detail.is_none()
            && request.type_url == ASSIGNMENT.as_str()
            && request.resource_names_subscribe.is_empty()
            && request.resource_names_unsubscribe.is_empty()
            && request.initial_resource_versions.is_empty()
            && is_nonce(nonce, &request.response_nonce);
        if !is_ack {
            return false;
        }
        let Rest::But(step) = std::mem::take(&mut self.rest) else {
            return false;
        };
        if let (Some(view), Some(state)) = (&self.view, self.types.get_mut(&ASSIGNMENT)) {
            state.take_step(&step, version(view), nonce);
        }
        self.last_nonce = nonce;
        self.pace = Pace::default();
        self.rest = Rest::Until(step.until);
        true
    }

    /// A stream at rest has nothing to say: the client has acknowledged everything.
    pub(super) fn catch_up(&mut self) {
        let id = self.view.as_ref().map(|view| view.id());
        if self.acknowledged.as_ref() != id {
            self.acknowledged = id.cloned();
            self.behind_since = None;
        }
    }

    /// Something happens that isn't of a step. If one is under way, it is gone through by itself.
    pub(super) fn wake(&mut self) {
        match std::mem::take(&mut self.rest) {
            Rest::No => {}
            Rest::Until(_) => self.doubt_rest(),
            Rest::But(step) => self.go_through(&step),
        }
    }

    /// Whether a step that was acknowledged was the last thing to do is seen at the next look, and that
    /// hasn't come yet.
    fn doubt_rest(&mut self) {
        let id = self.view.as_ref().map(|view| view.id());
        if self.acknowledged.as_ref() != id
            && let Some(state) = self.types.get_mut(&ASSIGNMENT)
        {
            state.dirty = true;
        }
    }

    fn go_through(&mut self, step: &Step) {
        if let Some(state) = self.types.get_mut(&ASSIGNMENT) {
            state.divide_step(step);
        }
        let response = step.sent_at.and_then(|at| self.next_response(at));
        let is_it = |it: &Response| {
            let resources = it.items.iter().map(|item| &item.resource);
            it.type_url == ASSIGNMENT && resources.eq(step.news.items().iter())
        };
        debug_assert_eq!(response.as_ref().is_some_and(is_it), step.sent_at.is_some());
    }

    /// There is nothing to say: notes whether there is anything at all to do.
    pub(super) fn come_to_rest(&mut self) {
        let current = self.acknowledged.as_ref() == self.view.as_ref().map(|view| view.id());
        let alone = self.expected.is_none() && self.pace.until().is_none();
        let assignments = self.types.get(&ASSIGNMENT);
        let rests = self.variant == Variant::Delta
            && current
            && alone
            && assignments.is_some_and(|it| it.held.is_all_alike() && it.rejected.is_empty())
            && self.types.iter().all(|(of, state)| state.is_at_rest(of));
        if rests {
            self.rest = Rest::Until(self.next_timeout());
        }
    }

    /// When something has to be done, if that is all there is to know.
    pub(super) fn rest_ends(&self) -> Option<Option<Instant>> {
        match &self.rest {
            Rest::No => None,
            Rest::Until(until) => Some(*until),
            Rest::But(step) => {
                let suspect = step.sent_at.map(|at| at + SUSPECT_AFTER);
                Some(step.until.into_iter().chain(suspect).min())
            }
        }
    }

    /// What is new by the step under way, and whether it was sent.
    pub(super) fn in_step(&self) -> Option<(&[Arc<Resource>], bool)> {
        match &self.rest {
            Rest::But(step) => Some((step.news.items(), step.sent_at.is_some())),
            _ => None,
        }
    }
}

// === impl TypeState ===

impl TypeState {
    /// The client acknowledged a step.
    fn take_step(&mut self, step: &Step, version: Arc<str>, nonce: u64) {
        self.held.came_all(nonce);
        self.last_nonce = nonce;
        count(&mut self.counts, step.news.items().len());
        match &mut self.last_news {
            Some((of, _)) => *of = version,
            none => *none = Some((version, Arc::default())),
        }
    }

    /// Says of each resource what a step says of all.
    fn divide_step(&mut self, step: &Step) {
        self.content_changed();
        self.held
            .rebase(self.held.base().cloned(), &step.difference);
        for change in step.difference.iter() {
            self.agenda.touch(&change.name);
        }
    }

    /// Whether there is nothing to do, as far as this type goes.
    fn is_at_rest(&self, type_url: &TypeUrl) -> bool {
        let told_all = !self.dirty
            && self.in_flight.is_none()
            && self.renew.is_empty()
            && self.owed.is_empty()
            && self.claims.is_none()
            && !self.answer_due
            && !self.cure_due;
        let heard_all = self.level
            && !self.waits
            && self.nack.is_none()
            && self.refusal.is_none()
            && self.verdicts.is_empty()
            && self.taken.is_none()
            && self.unchecked.is_empty()
            && !self.narrowed;
        // What Envoy fails without is looked at with every view.
        let known = !order::is_fetched(type_url) || self.held.is_all_alike();
        told_all && heard_all && known && self.agenda.is_idle()
    }
}

/// The version of a response about assignments.
fn version(view: &Snapshot) -> Arc<str> {
    let own = view.own_version(&ASSIGNMENT);
    own.unwrap_or_else(|| view.id()).clone()
}

/// Counts a response with resources.
pub(super) fn count(counts: &mut SentCounts, resources: usize) {
    counts.responses += 1;
    counts.resources += resources as u64;
}
