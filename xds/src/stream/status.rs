//! What a session can tell about its client.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use super::Session;
use super::step::{self, Rest};
use crate::delivery::{Delivery, Rejection, ResourceStatus};
use crate::resource::{Name, Resource, TypeUrl};
use crate::snapshot::Snapshot;

// === impl Session ===

impl Session {
    /// What the client was sent and acknowledged. Costs a look at every rejected resource.
    pub fn delivery(&self) -> Delivery {
        let mut delivery = Delivery {
            wanted: self.view.as_ref().map(|view| view.id().clone()),
            acknowledged: self.acknowledged.clone(),
            behind_since: self.behind_since,
            takes_ttl: self.takes_ttl(),
            gates_forced: self.gates_forced,
            suspect: self.suspicion(),
            last_suspicion: self.last_suspicion.clone(),
            ..Delivery::default()
        };
        for (type_url, state) in &self.types {
            let sent = delivery.sent.entry(type_url.clone()).or_default();
            *sent = state.counts;
            if let Some((news, true)) = self.in_step()
                && *type_url == TypeUrl::CLUSTER_LOAD_ASSIGNMENT
            {
                step::count(sent, news.len());
            }
            if !state.subscription.is_empty() {
                delivery.subscribed.push(type_url.clone());
            }
            let rejection = |names, text: &Arc<str>, at| Rejection {
                type_url: type_url.clone(),
                names,
                text: text.clone(),
                at,
            };
            for (name, rejected) in &state.rejected {
                let wanted = self.wanted(type_url, name);
                if wanted.is_some_and(|wanted| state.is_refused(wanted)) {
                    let names = vec![name.clone()];
                    delivery
                        .rejections
                        .push(rejection(names, &rejected.text, rejected.at));
                }
            }
            if let Some(nack) = &state.nack {
                delivery
                    .rejections
                    .push(rejection(nack.names.clone(), &nack.text, nack.at));
            }
        }
        delivery
    }

    /// What the client refused last, once: the response that its latest rejection was about.
    pub(crate) fn take_refusal(&mut self) -> Option<Rejection> {
        if !matches!(self.rest, Rest::No) {
            return None;
        }
        let mut types = self.types.iter_mut();
        types.find_map(|(type_url, state)| {
            let refusal = state.refusal.take()?;
            Some(Rejection {
                type_url: type_url.clone(),
                names: refusal.names,
                text: refusal.text,
                at: refusal.at,
            })
        })
    }

    /// Where one resource stands. `None` if the wanted view has no such resource.
    pub fn resource_status(&self, type_url: &TypeUrl, name: &str) -> Option<ResourceStatus> {
        let wanted = self.wanted(type_url, name)?;
        let Some(state) = self
            .types
            .get(type_url)
            .filter(|state| state.subscription.covers_resource(wanted))
        else {
            return Some(ResourceStatus::NotSubscribed);
        };
        if let Some(rejected) = state
            .rejected
            .get(name)
            .filter(|_| state.is_refused(wanted))
        {
            return Some(ResourceStatus::Rejected {
                text: rejected.text.clone(),
            });
        }
        if let Some((news, sent)) = self.in_step()
            && news.iter().any(|resource| Arc::ptr_eq(resource, wanted))
        {
            return Some(match sent {
                true => ResourceStatus::Sent,
                false => ResourceStatus::NotSent,
            });
        }
        let held = state.held.get(name);
        let held = held.as_deref();
        let in_flight = |resource: &Arc<Resource>| resource.stamp() == wanted.stamp();
        Some(match held {
            Some(held) if held.pending.as_ref().is_some_and(in_flight) => ResourceStatus::Sent,
            Some(held) if held.is_exactly(wanted) && held.expired => ResourceStatus::Expired,
            Some(held) if held.is_exactly(wanted) => ResourceStatus::Acknowledged,
            _ => match &state.nack {
                Some(nack) if nack.names.iter().any(|other| **other == *name) => {
                    ResourceStatus::Rejected {
                        text: nack.text.clone(),
                    }
                }
                _ => ResourceStatus::NotSent,
            },
        })
    }

    /// Whether the client asked for a resource, by its name or for all of the type.
    pub(crate) fn asks_for(&self, type_url: &TypeUrl, name: &str) -> bool {
        let state = self.types.get(type_url);
        state.is_some_and(|state| state.subscription.covers(name))
    }

    /// What the client asked for of a type; `None` for all of it.
    pub(crate) fn names(&self, type_url: &TypeUrl) -> Option<BTreeSet<Name>> {
        let Some(state) = self.types.get(type_url) else {
            return Some(BTreeSet::new());
        };
        let subscription = &state.subscription;
        (!subscription.wildcard).then(|| subscription.names.iter().cloned().collect())
    }

    /// Every resource of the wanted view that the client asked for, and where it stands.
    pub fn resource_statuses(&self) -> Vec<(Arc<Resource>, ResourceStatus)> {
        let Some(view) = &self.view else {
            return Vec::new();
        };
        let mut statuses = Vec::new();
        for (type_url, state) in &self.types {
            let asked = |resource: &&Arc<Resource>| state.subscription.covers_resource(resource);
            for resource in view.iter(type_url).filter(asked) {
                let status = self.resource_status(type_url, resource.name());
                statuses.extend(status.map(|status| (resource.clone(), status)));
            }
        }
        statuses
    }

    /// The newest view of which everything subscribed is acknowledged.
    pub fn acknowledged(&self) -> Option<&Arc<str>> {
        self.acknowledged.as_ref()
    }

    /// The view that the client should have.
    pub fn view(&self) -> Option<&Arc<Snapshot>> {
        self.view.as_ref()
    }

    fn wanted(&self, type_url: &TypeUrl, name: &str) -> Option<&Arc<Resource>> {
        self.view.as_ref()?.get(type_url, name)
    }

    /// Compares what is acknowledged with what is wanted.
    pub(super) fn refresh(&mut self, now: Instant) {
        let Some(view) = &self.view else { return };
        let settled = self.types.values().all(|state| state.is_settled())
            && self
                .types
                .values()
                .any(|state| !state.subscription.is_empty());
        let current = self.acknowledged.as_ref() == Some(view.id());
        if settled {
            let view = view.clone();
            if current || self.is_complete(&view) {
                self.acknowledged = Some(view.id().clone());
                self.behind_since = None;
                return;
            }
        }
        if current {
            // The same view, but more of it was asked for, or some of it lapsed.
            self.acknowledged = None;
        }
        self.behind_since.get_or_insert(now);
    }
}
