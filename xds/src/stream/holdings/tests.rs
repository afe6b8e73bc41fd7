use proptest::prelude::*;

use super::*;
use crate::TypeUrl;
use crate::testing::{assignment, snapshot};

const CONTENTS: u8 = 3;

fn name(index: u8) -> Name {
    Name::from(format!("n{index}"))
}

/// `contents[n]` is what resource `n` has; 0 for none.
fn base(contents: &[u8]) -> Option<Arc<OfType>> {
    let resources = contents
        .iter()
        .enumerate()
        .filter(|(_, content)| **content > 0);
    let resource =
        |(index, content): (usize, &u8)| assignment(&format!("n{index}"), u32::from(*content));
    let view = snapshot(resources.map(resource));
    view.of_type(&TypeUrl::CLUSTER_LOAD_ASSIGNMENT).cloned()
}

#[derive(Debug, Clone)]
enum Step {
    Rebase(Vec<u8>),
    Acknowledge(u8, u8),
    Reject(u8, u8),
    Remove(u8),
    Retain(u8),
    Settle(Option<BTreeSet<u8>>),
    TellApart(u8),
    Adopt,
    SendAll,
    AcknowledgeAll,
    Divide,
}

fn step() -> impl Strategy<Value = Step> {
    let names = || proptest::collection::btree_set(0_u8..6, 0..6);
    prop_oneof![
        3 => proptest::collection::vec(0..CONTENTS, 6).prop_map(Step::Rebase),
        4 => (0_u8..6, 1..CONTENTS).prop_map(|(n, content)| Step::Acknowledge(n, content)),
        1 => (0_u8..6, 1..CONTENTS).prop_map(|(n, content)| Step::Reject(n, content)),
        2 => (0_u8..6).prop_map(Step::Remove),
        1 => (0_u8..6).prop_map(Step::Retain),
        3 => proptest::option::of(names()).prop_map(Step::Settle),
        1 => (0_u8..6).prop_map(Step::TellApart),
        1 => Just(Step::Adopt),
        4 => Just(Step::SendAll),
        2 => Just(Step::AcknowledgeAll),
        1 => Just(Step::Divide),
    ]
}

fn content(index: u8, content: u8) -> Arc<Resource> {
    Arc::new(assignment(&name(index), u32::from(content)))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn holdings_are_a_map(steps in proptest::collection::vec(step(), 0..60)) {
        let mut holdings = Holdings::default();
        // Content, and whether it is unsure.
        let mut model: BTreeMap<Name, (Option<Arc<Resource>>, bool)> = BTreeMap::new();
        let mut sent: Option<(Vec<Arc<Resource>>, u64)> = None;
        for (nonce, step) in (1..).zip(steps) {
            match step {
                Step::Rebase(contents) => {
                    let new = base(&contents);
                    let difference = OfType::difference(holdings.base(), new.as_ref());
                    holdings.rebase(new, &difference);
                }
                Step::Acknowledge(n, which) => {
                    holdings.entry(&name(n)).acknowledged(content(n, which), nonce);
                    model.insert(name(n), (Some(content(n, which)), false));
                }
                Step::Reject(n, which) => {
                    if let Some(held) = holdings.get_mut(&name(n)) {
                        held.rejected(&content(n, which), true);
                    }
                    if let Some((_, unsure)) = model.get_mut(&name(n)) {
                        *unsure = true;
                    }
                }
                Step::Remove(n) => {
                    holdings.remove(&name(n));
                    model.remove(&name(n));
                }
                Step::Retain(n) => {
                    holdings.retain(|other| **other >= *name(n));
                    model.retain(|other, _| **other >= *name(n));
                }
                Step::Settle(None) => holdings.settle(Scope::All, nonce, |_, _| false),
                Step::Settle(Some(names)) => {
                    let names = names.into_iter().map(name).collect();
                    let scope = Scope::Names(Arc::new(names));
                    holdings.settle(scope, nonce, |_, _| false);
                }
                Step::TellApart(n) => holdings.tell_apart(&name(n)),
                Step::SendAll if holdings.is_blank() => {
                    let base = holdings.base().into_iter();
                    let items: Vec<_> = base.flat_map(|base| base.iter()).cloned().collect();
                    holdings.send_all(Scope::All, &items, nonce);
                    model.extend(items.iter().map(|it| (it.name().clone(), (None, false))));
                    sent = Some((items, nonce));
                }
                Step::SendAll => {}
                Step::AcknowledgeAll => {
                    if let Some((items, nonce)) = sent.take()
                        && holdings.acknowledge_all(&items, nonce)
                    {
                        for item in items {
                            let held = model.get_mut(item.name());
                            if let Some(held) = held {
                                *held = (Some(item), false);
                            }
                        }
                    }
                }
                Step::Divide => holdings.divide(),
                Step::Adopt => {
                    if model.is_empty() {
                        holdings.adopt_base();
                        for resource in holdings.base.iter().flat_map(|base| base.iter()) {
                            model.insert(resource.name().clone(), (Some(resource.clone()), false));
                        }
                    }
                }
            }
            let names: BTreeSet<&Name> = holdings.names().collect();
            prop_assert_eq!(names, model.keys().collect::<BTreeSet<_>>());
            for n in 0..6 {
                let held = holdings.get(&name(n));
                prop_assert_eq!(held.is_some(), holdings.contains(&name(n)));
                let held = held.map(|held| (held.acked.clone(), held.unsure));
                prop_assert_eq!(held.as_ref(), model.get(&name(n)));
            }
        }
    }

    #[test]
    fn what_settles_costs_nothing(contents in proptest::collection::vec(0..CONTENTS, 6)) {
        let mut holdings = Holdings::default();
        holdings.rebase(base(&contents), &[]);
        for (n, which) in (0..).zip(&contents) {
            if *which > 0 {
                holdings.entry(&name(n)).acknowledged(content(n, *which), 1);
            }
        }
        holdings.settle(Scope::All, 1, |_, _| false);
        prop_assert!(holdings.apart.is_empty());
        prop_assert_eq!(holdings.names().count(), contents.iter().filter(|which| **which > 0).count());
    }
}
