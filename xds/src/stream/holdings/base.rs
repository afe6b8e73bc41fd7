//! What a client has just as the view has it, and what becomes of that with another view,
//! subscription or stream.

use std::sync::Arc;

use super::Holdings;
use super::alike::Alike;
use crate::resource::{Name, NameList};
use crate::snapshot::{Change, OfType};
use crate::stream::held::Held;
use crate::stream::settle::{tidy, tidy_set};
use crate::stream::subscription::Subscription;

/// Of which names the client has what the base has.
#[derive(Debug, Clone, Default)]
pub(in crate::stream) enum Scope {
    #[default]
    None,
    All,
    Names(Arc<NameList>),
}

// === impl Scope ===

impl Scope {
    pub(super) fn covers(&self, name: &str) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Names(names) => names.has(name),
        }
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::None, Self::None) | (Self::All, Self::All) => true,
            (Self::Names(a), Self::Names(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

// === impl Holdings ===

impl Holdings {
    /// The view's resources, if the entry of this name is simply the view's.
    pub(in crate::stream) fn base(&self) -> Option<&Arc<OfType>> {
        self.base.as_ref()
    }

    /// Whether the entry is simply the view's.
    pub(in crate::stream) fn is_of_base(&self, name: &str) -> bool {
        !self.alike.in_flight && self.is_alike(name)
    }

    /// There is a new view, which differs from the base in this: what the client has stays what it
    /// was.
    pub(in crate::stream) fn rebase(&mut self, base: Option<Arc<OfType>>, difference: &[Change]) {
        for Change { name, old, new } in difference {
            if let Some(apart) = self.apart.get(name) {
                // What it hasn't needs no word if the view hasn't it either.
                if apart.is_none() && new.is_none() {
                    self.apart.remove(name);
                }
            } else if self.scope.covers(name) {
                let held = old.as_ref().map(|old| Box::new(self.alike.held(old)));
                self.apart.insert(name.clone(), held);
                self.unsettled = true;
            }
        }
        self.base = base;
    }

    /// Whether [`settle`](Self::settle) with the scope of this subscription would change nothing.
    pub(in crate::stream) fn rests(&self, subscription: &Subscription) -> bool {
        let same = match &self.scope {
            Scope::None => false,
            Scope::All => subscription.wildcard,
            Scope::Names(names) => {
                !subscription.wildcard && Arc::ptr_eq(names, subscription.names.list())
            }
        };
        same && !self.unsettled && !self.alike.in_flight
    }

    /// Stops telling apart what is just as the view has it, except for what `stays`. The scope is
    /// what the client is subscribed to by now.
    ///
    /// All entries that weren't told apart count as acknowledged by `nonce` and sent by none. The
    /// caller must see to it that no comparison of the two changes by that.
    pub(in crate::stream) fn settle(
        &mut self,
        scope: Scope,
        nonce: u64,
        stays: impl Fn(&Name, &Held) -> bool,
    ) {
        self.divide();
        if !std::mem::take(&mut self.unsettled) && self.scope.is(&scope) {
            return;
        }
        self.widen(scope);
        let (base, scope) = (&self.base, &self.scope);
        let of_base = |name: &Name| base.as_ref()?.get(name).filter(|_| scope.covers(name));
        self.apart.retain(|name, held| match (held, of_base(name)) {
            (Some(held), Some(wanted)) => !held.is_plainly(wanted) || stays(name, held),
            (None, of_base) => of_base.is_some(),
            (Some(_), None) => true,
        });
        let apart = &self.apart;
        self.timed.retain(|name| apart.contains_key(name));
        self.alike = Alike {
            acked: true,
            acked_by: nonce,
            ..Alike::default()
        };
        tidy(&mut self.apart);
        tidy_set(&mut self.timed);
        tidy_set(&mut self.claimed);
    }

    /// Tells an entry apart, as it is.
    pub(in crate::stream) fn tell_apart(&mut self, name: &Name) {
        if let Some(held) = self
            .of_base(name)
            .filter(|_| !self.apart.contains_key(name))
        {
            self.apart.insert(name.clone(), Some(Box::new(held)));
        }
    }

    /// Changes the scope, and nothing of what the client has.
    fn widen(&mut self, scope: Scope) {
        if self.scope.is(&scope) {
            return;
        }
        let Some(base) = &self.base else {
            self.scope = scope;
            return;
        };
        for resource in base.iter() {
            let name = resource.name();
            let (before, after) = (self.scope.covers(name), scope.covers(name));
            if before != after && !self.apart.contains_key(name) {
                let held = before.then(|| Box::new(self.alike.held(resource)));
                self.apart.insert(name.clone(), held);
            }
        }
        self.scope = scope;
    }

    /// The stream that this was of is over: nothing is in flight, and what was may have come.
    pub(in crate::stream) fn begin_stream(&mut self) {
        self.divide();
        let apart: Vec<Name> = self.told_apart().map(|(name, _)| name.clone()).collect();
        for name in &apart {
            self.entry(name).begin_stream();
        }
        self.came_all(0);
    }

    /// Whether the client may have anything but what it acknowledged, or not have that.
    pub(in crate::stream) fn is_in_doubt(&self) -> bool {
        self.alike.in_flight || self.told_apart().any(|(_, held)| held.unsure)
    }
}
