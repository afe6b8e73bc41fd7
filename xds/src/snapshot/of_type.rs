//! The resources of one type in a snapshot, and what all streams would else compute for
//! themselves: how they differ from another snapshot's, who leads to what, what a subscription of
//! many covers.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use super::digest;
use super::whole::{Whole, Wholes};
use crate::limits::{DIFFERENCES_KEPT, SUBSCRIBED_DIGESTS_KEPT};
use crate::resource::{Name, NameList, Places, Resource, TypeUrl};

/// The resources of one type, immutable and shared.
#[derive(Debug)]
pub(crate) struct OfType {
    /// In the order of names.
    resources: Box<[Arc<Resource>]>,
    places: Places,
    digest: u64,
    /// The digest of those that a wildcard covers.
    listed: OnceLock<u64>,
    referrers: OnceLock<Referrers>,
    /// How these differ from those of earlier snapshots, newest last.
    differences: Mutex<Vec<Difference>>,
    /// Digests of those that a set of names covers, newest last.
    subscribed: Mutex<Vec<(Arc<NameList>, u64)>>,
    /// All of them in one piece, and those that a set of names covers.
    whole: OnceLock<Option<Arc<Whole>>>,
    wholes: Mutex<Wholes>,
}

/// What differs from an earlier snapshot.
#[derive(Debug)]
struct Difference {
    from: Weak<OfType>,
    changes: Arc<[Change]>,
    /// What is new, in one piece.
    replaced: OnceLock<Option<Arc<Whole>>>,
}

/// What became of one resource from one snapshot to another. One of both exists at least.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) name: Name,
    pub(crate) old: Option<Arc<Resource>>,
    pub(crate) new: Option<Arc<Resource>>,
}

/// Which resources lead to a name, by the type of what they lead to.
#[derive(Debug, Default)]
pub(crate) struct Referrers {
    clusters: BTreeMap<Name, Vec<Name>>,
    routes: BTreeMap<Name, Vec<Name>>,
    assignments: BTreeMap<Name, Vec<Name>>,
    fetched: BTreeMap<TypeUrl, BTreeMap<Name, Vec<Name>>>,
}

// === impl OfType ===

impl OfType {
    /// Of resources in the order of their names, which are distinct.
    pub(crate) fn new(in_order: Vec<Arc<Resource>>) -> Self {
        let places = Places::of(in_order.iter().map(|resource| &**resource.name()));
        Self::placed(in_order, places)
    }

    /// These with others, in the order of names, each new or in the place of what goes by its name.
    pub(super) fn with(&self, others: &[Arc<Resource>]) -> Self {
        let mut all = self.resources.to_vec();
        let mut new = Vec::new();
        for other in others {
            let place = self.place(other.name());
            match place.and_then(|place| all.get_mut(place)) {
                Some(resource) => *resource = other.clone(),
                None => new.push(other.clone()),
            }
        }
        if new.is_empty() {
            return Self::placed(all, self.places.clone());
        }
        all.append(&mut new);
        // Both parts are in order.
        all.sort_by(|one, other| one.name().cmp(other.name()));
        Self::new(all)
    }

    fn placed(in_order: Vec<Arc<Resource>>, places: Places) -> Self {
        debug_assert!(in_order.is_sorted_by(|one, other| one.name() < other.name()));
        Self {
            digest: digest(in_order.iter()),
            places,
            resources: in_order.into(),
            listed: OnceLock::new(),
            referrers: OnceLock::new(),
            differences: Mutex::default(),
            subscribed: Mutex::default(),
            whole: OnceLock::new(),
            wholes: Mutex::default(),
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Arc<Resource>> {
        self.resources.get(self.place(name)?)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.place(name).is_some()
    }

    /// Where a resource stands.
    fn place(&self, name: &str) -> Option<usize> {
        let at = |place: usize| self.resources.get(place).map(|resource| &**resource.name());
        self.places.find(name, self.resources.len(), at)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.resources.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.resources.len()
    }

    pub(crate) fn digest(&self) -> u64 {
        self.digest
    }

    /// Those that a wildcard covers.
    pub(crate) fn listed(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.iter().filter(|resource| !resource.is_on_demand())
    }

    /// The digest of those that a wildcard covers.
    pub(crate) fn listed_digest(&self) -> u64 {
        *self.listed.get_or_init(|| digest(self.listed()))
    }

    /// The digest of those with these names, which are in order. Computed once for all streams
    /// that share the list.
    pub(crate) fn digest_of(&self, names: &Arc<NameList>) -> u64 {
        let mut known = self
            .subscribed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some((_, digest)) = known.iter().find(|(of, _)| Arc::ptr_eq(of, names)) {
            return *digest;
        }
        let digest = digest(names.iter().filter_map(|name| self.get(name)));
        if known.len() >= SUBSCRIBED_DIGESTS_KEPT {
            known.remove(0);
        }
        known.push((names.clone(), digest));
        digest
    }

    /// All of them in one piece, if they can be sent so.
    pub(crate) fn whole(&self) -> Option<&Arc<Whole>> {
        let all = || Whole::of(self.resources.iter().map(Some));
        self.whole.get_or_init(all).as_ref()
    }

    /// Those with these names, which are in order, in one piece: if all exist, and if they can be
    /// sent so. Computed once for all streams that share the list.
    pub(crate) fn whole_of(&self, names: &Arc<NameList>) -> Option<Arc<Whole>> {
        let mut known = self.wholes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, whole)) = known.iter().find(|(of, _)| Arc::ptr_eq(of, names)) {
            return whole.clone();
        }
        let whole = Whole::of(names.iter().map(|name| self.get(name)));
        if known.len() >= SUBSCRIBED_DIGESTS_KEPT {
            known.remove(0);
        }
        known.push((names.clone(), whole.clone()));
        whole
    }

    /// Which of these lead to resources of other types.
    pub(crate) fn referrers(&self) -> &Referrers {
        self.referrers
            .get_or_init(|| Referrers::by(self.resources.iter()))
    }

    /// What was added, changed or removed between two, in the order of names. Computed once for
    /// all streams that go from one view to the next.
    pub(crate) fn difference(old: Option<&Arc<Self>>, new: Option<&Arc<Self>>) -> Arc<[Change]> {
        match (old, new) {
            (Some(old), Some(new)) => new.since(old),
            (Some(old), None) => old.iter().map(|it| Change::of(Some(it), None)).collect(),
            (None, Some(new)) => new.iter().map(|it| Change::of(None, Some(it))).collect(),
            (None, None) => Arc::default(),
        }
    }

    /// What changed from one to another, and what is new in one piece, if nothing was added or
    /// removed and it can be sent so. Computed once for all streams.
    pub(crate) fn replaced(
        old: &Arc<Self>,
        new: &Arc<Self>,
    ) -> Option<(Arc<[Change]>, Arc<Whole>)> {
        if old.digest == new.digest {
            return None;
        }
        new.against(old, |difference| {
            let replaced = || {
                let changes = difference.changes.iter();
                let kept = changes.clone().all(|change| change.old.is_some());
                let news = || Whole::of(changes.map(|change| change.new.as_ref()));
                kept.then(news).flatten()
            };
            let news = difference.replaced.get_or_init(replaced).clone()?;
            Some((difference.changes.clone(), news))
        })
    }

    fn since(&self, old: &Arc<Self>) -> Arc<[Change]> {
        if self.digest == old.digest {
            return Arc::default();
        }
        self.against(old, |difference| difference.changes.clone())
    }

    /// Tells how these differ from others.
    fn against<T>(&self, old: &Arc<Self>, tell: impl FnOnce(&Difference) -> T) -> T {
        let mut known = self
            .differences
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // An address isn't used again while somebody could still ask for it.
        let is_it = |it: &&Difference| std::ptr::eq(it.from.as_ptr(), Arc::as_ptr(old));
        if let Some(known) = known.iter().find(is_it) {
            return tell(known);
        }
        let changes: Arc<[Change]> = paired(old.iter(), self.iter())
            .filter(|(old, new)| differ(*old, *new))
            .map(|(old, new)| Change::of(old, new))
            .collect();
        if known.len() >= DIFFERENCES_KEPT {
            known.remove(0);
        }
        let difference = Difference {
            from: Arc::downgrade(old),
            changes,
            replaced: OnceLock::new(),
        };
        let told = tell(&difference);
        known.push(difference);
        told
    }
}

#[cfg(test)]
impl OfType {
    /// Whether where names stand was computed once for both.
    pub(super) fn has_places_of(&self, other: &Self) -> bool {
        self.places.are_of(&other.places)
    }
}

impl PartialEq for OfType {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest && self.resources == other.resources
    }
}

impl Eq for OfType {}

// === impl Change ===

impl Change {
    fn of(old: Option<&Arc<Resource>>, new: Option<&Arc<Resource>>) -> Self {
        let name = new.or(old).map(|resource| resource.name().clone());
        Self {
            name: name.unwrap_or_default(),
            old: old.cloned(),
            new: new.cloned(),
        }
    }
}

/// Whether clients have to be told. Most resources are the very same in both views.
fn differ(old: Option<&Arc<Resource>>, new: Option<&Arc<Resource>>) -> bool {
    let (Some(old), Some(new)) = (old, new) else {
        return true;
    };
    let same = || old.stamp() == new.stamp() && old.is_on_demand() == new.is_on_demand();
    !Arc::ptr_eq(old, new) && !same()
}

/// Two lists of resources in the order of names, those of one name side by side.
fn paired<'a>(
    old: impl Iterator<Item = &'a Arc<Resource>>,
    new: impl Iterator<Item = &'a Arc<Resource>>,
) -> impl Iterator<Item = (Option<&'a Arc<Resource>>, Option<&'a Arc<Resource>>)> {
    let (mut old, mut new) = (old.peekable(), new.peekable());
    std::iter::from_fn(move || {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return None,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) if Arc::ptr_eq(old, new) => Ordering::Equal,
            (Some(old), Some(new)) => old.name().cmp(new.name()),
        };
        let old = if order.is_le() { old.next() } else { None };
        let new = if order.is_ge() { new.next() } else { None };
        Some((old, new))
    })
}

// === impl Referrers ===

impl Referrers {
    /// As these resources lead.
    pub(crate) fn by<'a>(resources: impl Iterator<Item = &'a Arc<Resource>>) -> Self {
        let mut referrers = Self::default();
        for resource in resources {
            let references = resource.references();
            let note = |of: &mut BTreeMap<Name, Vec<Name>>, to: &Name| {
                of.entry(to.clone())
                    .or_default()
                    .push(resource.name().clone());
            };
            for to in &references.clusters {
                note(&mut referrers.clusters, to);
            }
            for to in &references.routes {
                note(&mut referrers.routes, to);
            }
            if let Some(to) = &references.assignment {
                note(&mut referrers.assignments, to);
            }
            for (type_url, to) in &references.fetched {
                note(referrers.fetched.entry(type_url.clone()).or_default(), to);
            }
        }
        referrers
    }

    /// The names of what is led to and asked for by name, in order: routes and assignments.
    pub(crate) fn led_to(&self) -> [(TypeUrl, impl Iterator<Item = &Name>); 2] {
        [
            (TypeUrl::ROUTE_CONFIGURATION, self.routes.keys()),
            (TypeUrl::CLUSTER_LOAD_ASSIGNMENT, self.assignments.keys()),
        ]
    }

    /// What leads to a resource.
    pub(crate) fn of(&self, type_url: &TypeUrl, name: &str) -> &[Name] {
        let of_type = if *type_url == TypeUrl::CLUSTER {
            &self.clusters
        } else if *type_url == TypeUrl::ROUTE_CONFIGURATION {
            &self.routes
        } else if *type_url == TypeUrl::CLUSTER_LOAD_ASSIGNMENT {
            &self.assignments
        } else if let Some(of_type) = self.fetched.get(type_url) {
            of_type
        } else {
            return &[];
        };
        of_type.get(name).map_or(&[], |of| of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::Version;
    use crate::testing::{cluster, listener, route, snapshot, static_cluster};

    fn names(names: &[Name]) -> Vec<&str> {
        names.iter().map(|name| &**name).collect()
    }

    /// The names, each with what it has before and after.
    fn changes(difference: &[Change]) -> Vec<(&str, Option<Version>, Option<Version>)> {
        let version = |it: &Option<Arc<Resource>>| it.as_ref().map(|it| it.version());
        let changes = difference.iter();
        let changes = changes.map(|it| (&*it.name, version(&it.old), version(&it.new)));
        changes.collect()
    }

    #[test]
    fn a_difference_names_what_came_changed_and_went_and_is_computed_once() {
        let of = |resources: Vec<Resource>| {
            snapshot(resources)
                .of_type(&TypeUrl::CLUSTER)
                .unwrap()
                .clone()
        };
        let old = of(vec![
            static_cluster("gone"),
            static_cluster("same"),
            static_cluster("z"),
        ]);
        let mut changed = static_cluster("z").body().to_vec();
        // An unknown field: other bytes.
        changed.extend([0xf8, 0x7f, 1]);
        let changed = Resource::new(TypeUrl::CLUSTER, "z", changed.into()).unwrap();
        let new = of(vec![static_cluster("new"), static_cluster("same"), changed]);
        let difference = OfType::difference(Some(&old), Some(&new));
        let version = |of: &Arc<OfType>, name| of.get(name).map(|it| it.version());
        let change = |name| (name, version(&old, name), version(&new, name));
        assert_eq!(
            changes(&difference),
            [change("gone"), change("new"), change("z")]
        );
        let again = OfType::difference(Some(&old), Some(&new));
        assert!(Arc::ptr_eq(&difference, &again));
        assert!(OfType::difference(Some(&new), Some(&new)).is_empty());
        let come = ["gone", "same", "z"].map(|name| (name, None, version(&old, name)));
        assert_eq!(changes(&OfType::difference(None, Some(&old))), come);
        let went = come.map(|(name, none, some)| (name, some, none));
        assert_eq!(changes(&OfType::difference(Some(&old), None)), went);
    }

    #[test]
    fn who_leads_to_a_resource_is_known_by_the_type_of_what_is_led_to() {
        let view = snapshot([listener("l", "rt"), route("rt", "a"), static_cluster("a")]);
        let of = |type_url: TypeUrl| view.of_type(&type_url).unwrap();
        let (listeners, routes) = (of(TypeUrl::LISTENER), of(TypeUrl::ROUTE_CONFIGURATION));
        assert_eq!(
            names(
                listeners
                    .referrers()
                    .of(&TypeUrl::ROUTE_CONFIGURATION, "rt")
            ),
            ["l"]
        );
        assert_eq!(names(routes.referrers().of(&TypeUrl::CLUSTER, "a")), ["rt"]);
        assert!(routes.referrers().of(&TypeUrl::CLUSTER, "rt").is_empty());
        assert!(listeners.referrers().of(&TypeUrl::CLUSTER, "a").is_empty());
    }

    #[test]
    fn the_digest_of_all_names_is_that_of_the_type() {
        let view = snapshot([cluster_alone("a"), cluster_alone("b")]);
        let of_type = view.of_type(&TypeUrl::CLUSTER).unwrap();
        let list = |names: &[&str]| Arc::new(names.iter().copied().map(Name::from).collect());
        let all: Arc<NameList> = list(&["a", "b", "nope"]);
        let one: Arc<NameList> = list(&["a"]);
        assert_eq!(of_type.digest_of(&all), of_type.digest());
        assert_ne!(of_type.digest_of(&one), of_type.digest());
        assert_eq!(of_type.digest_of(&one), of_type.digest_of(&one));
        assert_eq!(cluster("a", 1).name(), of_type.get("a").unwrap().name());
    }

    fn cluster_alone(name: &str) -> Resource {
        static_cluster(name)
    }
}
