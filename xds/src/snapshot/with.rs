//! A view with a few resources changed, at the cost of the change.

use std::sync::Arc;

use super::builder::{SnapshotProblem, Unordered, add, dangling, in_order, led_to, taken_aliases};
use super::{OfType, Snapshot, SnapshotError, Types};
use crate::resource::{Name, Resource, TypeUrl};

impl Snapshot {
    /// The same with these resources, each new or in the place of what goes by its name: what a
    /// builder makes of all of them together, in less time. Of other types nothing is looked at, and
    /// what was computed of them is shared.
    ///
    /// A reference that leads nowhere is sound here if the resource that goes by the same name has
    /// it already: it was [assumed](super::SnapshotBuilder::assume) then.
    ///
    /// # Errors
    /// As [`SnapshotBuilder::build`](super::SnapshotBuilder::build) has them, of these resources.
    pub fn with<R: Into<Arc<Resource>>>(
        &self,
        resources: impl IntoIterator<Item = R>,
    ) -> Result<Self, SnapshotError> {
        let mut news = Unordered::new();
        for resource in resources {
            add(&mut news, resource.into());
        }
        let (news, mut problems) = in_order(news);
        let mut types: Types = self.types.clone();
        let mut renamed = false;
        for (type_url, news) in &news {
            let of_type = match self.types.get(type_url) {
                Some(before) => before.with(news),
                None => OfType::new(news.clone()),
            };
            types.insert(type_url.clone(), Arc::new(of_type));
            renamed |= self.has_aliases(type_url);
            renamed |= news.iter().any(|resource| !resource.aliases().is_empty());
        }
        problems.extend(self.beside_errors(&news));
        if renamed {
            problems.extend(taken_aliases(&types));
        }
        for resource in news.values().flatten() {
            let before = self.get(resource.type_url(), resource.name());
            let had = |to: &(TypeUrl, &Name)| {
                before.is_some_and(|before| led_to(before).any(|other| other == *to))
            };
            problems.extend(dangling(resource, &types, had));
        }
        match (problems.is_empty(), renamed) {
            (false, _) => Err(SnapshotError { problems }),
            (true, true) => Ok(Self::of(types, (*self.notes).clone())),
            (true, false) => Ok(Self::assembled(types, self.notes.clone())),
        }
    }

    /// Those in whose place an error stands.
    fn beside_errors(&self, news: &Unordered) -> Vec<SnapshotProblem> {
        let mut problems = Vec::new();
        for (type_url, notes) in self.notes() {
            let of_type = news.get(type_url).into_iter().flatten();
            let taken = of_type.filter(|resource| notes.errors.contains_key(resource.name()));
            let problem = |it: &Arc<Resource>| SnapshotProblem::beside_error(type_url, it.name());
            problems.extend(taken.map(problem));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use tonic::Code;

    use super::*;
    use crate::error_detail::ErrorDetail;
    use crate::testing::{assignment, cluster, route, static_cluster, virtual_host};

    type Named = BTreeMap<(TypeUrl, Name), Arc<Resource>>;

    /// One of a few resources, some of which need each other or go by each other's names.
    fn resource(kind: u8, name: u8, content: u8) -> Resource {
        let (name, other) = (format!("n{name}"), format!("n{content}"));
        let alias = format!("rt/n{content}");
        // What is sound alone comes more often.
        match kind {
            0..4 => assignment(&name, content.into()),
            4..7 => static_cluster(&name),
            7 => cluster(&name, content.into()),
            8 => route(&name, &other),
            9 => virtual_host(&format!("rt/{name}"), "n0"),
            _ => virtual_host(&format!("rt/{name}"), &other)
                .with_aliases([alias.as_str()])
                .unwrap(),
        }
    }

    /// What a builder makes of all, with some of the clusters from elsewhere and an error.
    fn built(all: &Named) -> Result<Snapshot, SnapshotError> {
        let mut builder = Snapshot::builder();
        let gone = ErrorDetail::new(Code::NotFound, "gone").unwrap();
        builder
            .assume(TypeUrl::CLUSTER, "n0")
            .assume(TypeUrl::CLUSTER, "n1")
            .version(TypeUrl::ROUTE_CONFIGURATION, "v1")
            .error(TypeUrl::ROUTE_CONFIGURATION, "n5", gone);
        for resource in all.values() {
            builder.insert(resource.clone());
        }
        builder.build()
    }

    fn named(resource: &Arc<Resource>) -> (TypeUrl, Name) {
        (resource.type_url().clone(), resource.name().clone())
    }

    /// Whether a problem may be one of the builder's alone: an assumed reference that is new.
    fn is_assumed(problem: &SnapshotProblem) -> bool {
        let SnapshotProblem::Dangling { to_type, to, .. } = problem else {
            return false;
        };
        *to_type == TypeUrl::CLUSTER && ["n0", "n1"].contains(&to.as_str())
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 512, ..ProptestConfig::default() })]

        #[test]
        fn it_is_what_a_builder_makes_of_all(
            steps in proptest::collection::vec(
                proptest::collection::vec((0_u8..11, 0_u8..12, 0_u8..12), 0..8),
                1..10,
            ),
        ) {
            let mut all = Named::new();
            let mut view = built(&all).unwrap();
            for step in steps {
                let news = step.into_iter().map(|(kind, name, content)| {
                    Arc::new(resource(kind, name, content))
                });
                let news: Named = news.map(|news| (named(&news), news)).collect();
                let mut next = all.clone();
                next.extend(news.clone());
                match (view.with(news.values().cloned()), built(&next)) {
                    (Ok(with), Ok(built)) => {
                        prop_assert_eq!(with.id(), built.id());
                        prop_assert_eq!(&with, &built);
                        for key in next.keys() {
                            prop_assert_eq!(with.get(&key.0, &key.1), next.get(key));
                        }
                        view = with;
                        all = next;
                    }
                    (Err(with), Err(built)) => {
                        let but_assumed = with.problems.into_iter().filter(|it| !is_assumed(it));
                        let but_assumed: Vec<_> = but_assumed.collect();
                        prop_assert_eq!(but_assumed, built.problems);
                    }
                    (Err(with), Ok(_)) => prop_assert!(with.problems.iter().all(is_assumed)),
                    (Ok(_), Err(built)) => prop_assert!(false, "let through: {built}"),
                }
            }
        }
    }

    #[test]
    fn what_was_assumed_stays_sound_and_what_is_new_does_not_become_so() {
        let mut builder = Snapshot::builder();
        builder
            .insert(route("rt", "local"))
            .assume(TypeUrl::CLUSTER, "local");
        let view = builder.build().unwrap();
        let again = route("rt", "local").with_version("2").unwrap();
        assert!(view.with([again]).is_ok());
        let error = view.with([route("rt", "other")]).unwrap_err();
        assert!(error.to_string().contains("cds `other`"), "{error}");
        let twice = view.with([static_cluster("a"), static_cluster("a")]);
        let text = twice.unwrap_err().to_string();
        assert!(text.contains("inserted twice"), "{text}");
    }

    #[test]
    fn other_types_and_the_places_of_names_are_shared() {
        let mut builder = Snapshot::builder();
        for name in 0..100 {
            let name = format!("n{name}");
            builder
                .insert(cluster(&name, 1))
                .insert(assignment(&name, 1));
        }
        let view = builder.build().unwrap();
        let next = view.with([assignment("n7", 2)]).unwrap();
        let of = |view: &Snapshot, type_url: TypeUrl| view.of_type(&type_url).unwrap().clone();
        assert!(Arc::ptr_eq(
            &of(&view, TypeUrl::CLUSTER),
            &of(&next, TypeUrl::CLUSTER)
        ));
        let type_url = TypeUrl::CLUSTER_LOAD_ASSIGNMENT;
        let (old, new) = (of(&view, type_url.clone()), of(&next, type_url));
        assert_eq!(OfType::difference(Some(&old), Some(&new)).len(), 1);
        assert_eq!(new.len(), 100);
    }
}
