//! A view with a few resources changed, at the cost of their types.

use std::sync::Arc;

use super::builder::{ByType, add, in_order};
use super::problem::{SnapshotError, SnapshotProblem, beside_errors, dangling, taken_aliases};
use super::{OfType, Snapshot, Types};
use crate::resource::{Name, Resource, TypeUrl};

impl Snapshot {
    /// This view with these resources, each new or in the place of what goes by its name: what a
    /// [builder](super::SnapshotBuilder) makes of all of them together, in less time. Types of which
    /// nothing changes are shared, with what was computed of them.
    ///
    /// Errors in the place of resources stay as they are. What the view leads to without having it
    /// was [assumed](super::SnapshotBuilder::assume), and still is.
    ///
    /// # Errors
    /// As [`SnapshotBuilder::build`](super::SnapshotBuilder::build) has them, of these resources. A type
    /// that has a version of your own must be built anew, with another one.
    pub fn with<R: Into<Arc<Resource>>>(
        &self,
        resources: impl IntoIterator<Item = R>,
    ) -> Result<Self, SnapshotError> {
        let mut news = ByType::new();
        for resource in resources {
            add(&mut news, resource.into());
        }
        let (mut news, mut problems) = in_order(news);
        for (type_url, news) in &mut news {
            news.retain(|resource| self.get(type_url, resource.name()) != Some(resource));
        }
        news.retain(|_, news| !news.is_empty());
        let mut types: Types = self.types.clone();
        for (type_url, news) in &news {
            let of_type = match self.types.get(type_url) {
                Some(before) => before.with(news),
                None => OfType::new(news.clone()),
            };
            types.insert(type_url.clone(), Arc::new(of_type));
            problems.extend(self.kept_version(type_url));
        }
        problems.extend(beside_errors(&types, &self.notes));
        let hosts = TypeUrl::VIRTUAL_HOST;
        let renamed = self.has_aliases(&hosts) || of_other_names(news.get(&hosts));
        if renamed {
            problems.extend(taken_aliases(&types));
        }
        let assumed = |(type_url, name): &(TypeUrl, &Name)| {
            let mut before = self.types.values();
            before.any(|of_type| !of_type.referrers().of(type_url, name).is_empty())
        };
        for resource in news.values().flatten() {
            problems.extend(dangling(resource, &types, assumed));
        }
        match (problems.is_empty(), renamed) {
            (false, _) => Err(SnapshotError { problems }),
            (true, true) => Ok(Self::of(types, (*self.notes).clone())),
            (true, false) => Ok(Self::assembled(types, self.notes.clone())),
        }
    }

    /// A version of the embedder's own, which what changes would go by as well.
    fn kept_version(&self, type_url: &TypeUrl) -> Option<SnapshotProblem> {
        let version = self.own_version(type_url)?.to_string();
        let type_url = type_url.clone();
        Some(SnapshotProblem::VersionKept { type_url, version })
    }
}

fn of_other_names(resources: Option<&Vec<Arc<Resource>>>) -> bool {
    let mut resources = resources.into_iter().flatten();
    resources.any(|resource| !resource.aliases().is_empty())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use proptest::prelude::*;
    use tonic::Code;

    use super::*;
    use crate::error_detail::ErrorDetail;
    use crate::testing::{assignment, cluster, route, static_cluster, timed_runtime, virtual_host};

    type Named = BTreeMap<(TypeUrl, Name), Arc<Resource>>;

    /// One of a few resources, some of which need each other or go by each other's names.
    fn resource(kind: u8, name: u8, content: u8) -> Resource {
        let (name, other) = (format!("n{name:02}"), format!("n{content:02}"));
        let alias = format!("rt/n{content:02}");
        // What is sound alone comes more often.
        match kind {
            0..4 => assignment(&name, content.into()),
            4 => assignment(&name, 1).with_version(&other).unwrap(),
            5 => static_cluster(&name),
            6 => static_cluster(&name).on_demand(),
            7 => cluster(&name, content.into()),
            8 => timed_runtime(&name, 1, Duration::from_secs(u64::from(content) + 1)),
            9 => route(&name, &other),
            10 => virtual_host(&format!("rt/{name}"), &other),
            _ => virtual_host(&format!("rt/{name}"), "n00")
                .with_aliases([alias.as_str()])
                .unwrap(),
        }
    }

    /// Lists of names that are long enough to have places.
    fn base() -> Named {
        let clusters = (0..12).map(|name| resource(5, name, 0));
        let assignments = (0..12).map(|name| resource(0, name, 1));
        let assumes = [route("assumes", "n20"), route("too", "n21")];
        let all = clusters.chain(assignments).chain(assumes).map(Arc::new);
        all.map(|resource| (named(&resource), resource)).collect()
    }

    /// What a builder makes of all, with some of the clusters from elsewhere and errors.
    fn built(all: &Named) -> Result<Snapshot, SnapshotError> {
        let mut builder = Snapshot::builder();
        let gone = |name: &str| ErrorDetail::new(Code::NotFound, name).unwrap();
        builder
            .assume(TypeUrl::CLUSTER, "n20")
            .assume(TypeUrl::CLUSTER, "n21")
            .version(TypeUrl::LISTENER, "v1")
            .error(TypeUrl::ROUTE_CONFIGURATION, "n05", gone("n05"))
            .error_for_others(TypeUrl::CLUSTER, gone("others"));
        for resource in all.values() {
            builder.insert(resource.clone());
        }
        builder.build()
    }

    fn named(resource: &Arc<Resource>) -> (TypeUrl, Name) {
        (resource.type_url().clone(), resource.name().clone())
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 512, ..ProptestConfig::default() })]

        #[test]
        fn it_is_what_a_builder_makes_of_all(
            steps in proptest::collection::vec(
                proptest::collection::vec((0_u8..13, 0_u8..24, 0_u8..24), 0..6),
                1..12,
            ),
        ) {
            let mut all = base();
            let mut view = built(&all).unwrap();
            for step in steps {
                let news = step.into_iter().map(|(kind, name, content)| {
                    Arc::new(resource(kind, name, content))
                });
                let news: Named = news.map(|news| (named(&news), news)).collect();
                let mut next = all.clone();
                next.extend(news.clone());
                match (view.with(news.into_values()), built(&next)) {
                    (Ok(with), Ok(built)) => {
                        prop_assert_eq!(with.id(), built.id());
                        prop_assert_eq!(&with, &built);
                        for (type_url, name) in next.keys() {
                            let (with, built) = (with.get(type_url, name), built.get(type_url, name));
                            prop_assert!(with.is_some());
                            prop_assert_eq!(with, built);
                        }
                        view = with;
                        all = next;
                    }
                    (with, built) => prop_assert_eq!(with.map(|_| ()), built.map(|_| ())),
                }
            }
        }
    }

    #[test]
    fn what_was_assumed_stays_sound_for_all_and_what_is_new_does_not_become_so() {
        let view = built(&base()).unwrap();
        assert!(view.with([route("new", "n20")]).is_ok());
        assert!(view.with([route("assumes", "n00")]).is_ok());
        let error = view.with([route("rt", "other")]).unwrap_err();
        assert!(error.to_string().contains("cds `other`"), "{error}");
        let twice = view.with([static_cluster("a"), static_cluster("a")]);
        let text = twice.unwrap_err().to_string();
        assert!(text.contains("inserted twice"), "{text}");
    }

    #[test]
    fn a_name_that_a_host_gives_up_is_free_and_one_that_it_has_is_not() {
        let mut all = base();
        let aliased = Arc::new(resource(11, 0, 1));
        all.insert(named(&aliased), aliased);
        let view = built(&all).unwrap();
        let hosts = TypeUrl::VIRTUAL_HOST;
        assert!(view.resolve(&hosts, "rt/n01").is_some());
        let text = view.with([resource(10, 1, 0)]).unwrap_err().to_string();
        assert!(text.contains("go by vhds `rt/n01`"), "{text}");
        let bare = Arc::new(resource(10, 0, 0));
        let view = view.with([bare.clone()]).unwrap();
        assert!(view.resolve(&hosts, "rt/n01").is_none() && !view.has_aliases(&hosts));
        all.insert(named(&bare), bare);
        assert_eq!(view, built(&all).unwrap());
        assert!(view.with([resource(10, 1, 0)]).is_ok());
    }

    #[test]
    fn a_type_that_has_a_version_of_its_own_is_built_anew() {
        let mut builder = Snapshot::builder();
        builder
            .insert(assignment("a", 1))
            .insert(static_cluster("a"))
            .version(TypeUrl::CLUSTER_LOAD_ASSIGNMENT, "catalogue-7");
        let view = builder.build().unwrap();
        let text = view.with([assignment("a", 2)]).unwrap_err().to_string();
        assert!(
            text.contains("`catalogue-7`") && text.contains("anew"),
            "{text}"
        );
        assert!(view.with([static_cluster("b")]).is_ok());
        assert_eq!(view.with([assignment("a", 1)]).unwrap(), view, "no news");
    }

    #[test]
    fn what_does_not_change_is_shared() {
        let view = built(&base()).unwrap();
        let next = view.with([resource(0, 7, 2), resource(5, 7, 0)]).unwrap();
        let of = |view: &Snapshot, type_url: TypeUrl| view.of_type(&type_url).unwrap().clone();
        let clusters = |view| of(view, TypeUrl::CLUSTER);
        assert!(Arc::ptr_eq(&clusters(&view), &clusters(&next)));
        let assignments = |view| of(view, TypeUrl::CLUSTER_LOAD_ASSIGNMENT);
        let (old, new) = (assignments(&view), assignments(&next));
        assert_eq!(OfType::difference(Some(&old), Some(&new)).len(), 1);
        assert!(new.has_places_of(&old));
        let more = next.with([resource(0, 20, 1)]).unwrap();
        assert!(!assignments(&more).has_places_of(&new));
    }
}
