//! What all clients should have, how it changes, and what of it is bad.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::random::Random;
use crate::Version;
use crate::stream::tests::*;

/// The listener that gRPC clients ask for.
pub(super) const API: &str = "svc";
pub(super) const LAYER: &str = "shift";
/// Of what is raised in the runtime layer.
pub(super) const TTL: Duration = Duration::from_secs(6);

const ARMS: [&str; 6] = ["c0", "c1", "c2", "c3", "c4", "c5"];

/// What is wrong with a resource's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flaw {
    /// The client takes nothing of a response with it; otherwise it takes the good ones.
    whole: bool,
    /// Only clients of an odd number see it, as if they were of another release.
    odd: bool,
}

/// One cluster.
#[derive(Debug, Clone, Copy)]
struct Arm {
    content: i64,
    endpoints: u32,
}

/// What all clients should have.
#[derive(Debug)]
pub(super) struct Desired {
    random: Random,
    arms: BTreeMap<&'static str, Arm>,
    /// The clusters as they were before the last change of one.
    before: BTreeMap<&'static str, Arm>,
    weights: BTreeMap<&'static str, u32>,
    /// The layer's share, and whether it is raised for a time only.
    share: Option<(u32, bool)>,
    /// Which shape the listener has.
    listener: u8,
    flaws: BTreeMap<Version, Flaw>,
    flawed: u32,
}

/// What a client finds in a response.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) bad: Vec<Name>,
    pub(super) whole: bool,
}

pub(super) use crate::Name;

// === impl Desired ===

impl Desired {
    pub(super) fn new(seed: u64) -> Self {
        let arm = Arm {
            content: 1,
            endpoints: 1,
        };
        Self {
            random: Random::of(seed, 1),
            arms: [("c0", arm), ("c1", arm)].into(),
            before: BTreeMap::new(),
            weights: [("c0", 1)].into(),
            share: None,
            listener: 0,
            flaws: BTreeMap::new(),
            flawed: 0,
        }
    }

    /// Changes something.
    pub(super) fn change(&mut self) -> String {
        let arm = *self.random.pick(&ARMS);
        let what = self.random.below(19);
        if what >= 17 {
            // Content that was there before comes back (rule C12).
            for (name, arm) in &mut self.arms {
                *arm = *self.before.get(name).unwrap_or(arm);
            }
            return "the clusters are as before".to_owned();
        }
        self.before.clone_from(&self.arms);
        match what {
            0..=2 => {
                let new = Arm {
                    content: 1,
                    endpoints: 1,
                };
                self.arms.entry(arm).or_insert(new);
                self.weights.insert(arm, 1);
                format!("{arm} comes, with traffic")
            }
            3 | 4 => {
                self.weights.remove(arm);
                if self.weights.is_empty() {
                    let other = *self.random.pick(&ARMS);
                    self.weights.insert(other, 1);
                    self.ensure(other);
                }
                if !self.weights.contains_key(arm) {
                    self.arms.remove(arm);
                }
                format!("{arm} goes")
            }
            5..=7 => {
                let weight = 1 + u32::try_from(self.random.below(3)).unwrap();
                self.ensure(arm);
                self.weights.insert(arm, weight);
                if self.random.once_in(3) {
                    self.weights.retain(|name, _| *name == arm);
                }
                format!("{arm} gets {weight}, of {:?}", self.weights)
            }
            8 | 9 => {
                let content = 1 + i64::try_from(self.random.below(4)).unwrap();
                self.ensure(arm).content = content;
                format!("{arm} is {content}")
            }
            10 | 11 => {
                let endpoints = 1 + u32::try_from(self.random.below(4)).unwrap();
                self.ensure(arm).endpoints = endpoints;
                format!("the endpoints of {arm} are {endpoints}")
            }
            12 => {
                self.listener = u8::try_from(self.random.below(2)).unwrap();
                format!("the listener is {}", self.listener)
            }
            13 | 14 => {
                let share = u32::try_from(self.random.below(4)).unwrap();
                let timed = !self.random.once_in(3);
                self.share = (!self.random.once_in(6)).then_some((share, timed));
                format!("the layer is {:?}", self.share)
            }
            _ => self.spoil(arm),
        }
    }

    fn ensure(&mut self, arm: &'static str) -> &mut Arm {
        self.arms.entry(arm).or_insert(Arm {
            content: 1,
            endpoints: 1,
        })
    }

    /// Makes something bad, until it changes again.
    fn spoil(&mut self, arm: &'static str) -> String {
        self.flawed += 1;
        let flaw = Flaw {
            whole: self.random.once_in(3),
            odd: !self.random.once_in(3),
        };
        let number = 100 + self.flawed;
        let version = match self.random.below(3) {
            0 | 1 => {
                self.ensure(arm).content = i64::from(number);
                cluster(arm, i64::from(number)).version()
            }
            _ => {
                self.ensure(arm).endpoints = number;
                assignment(arm, number).version()
            }
        };
        self.flaws.insert(version, flaw);
        format!("{arm} is spoilt by {number}: {flaw:?}")
    }

    /// Makes everything good.
    pub(super) fn mend(&mut self) {
        for arm in self.arms.values_mut() {
            if arm.content > 100 {
                arm.content = 7;
            }
            if arm.endpoints > 100 {
                arm.endpoints = 7;
            }
        }
    }

    /// Adds a bad cluster without traffic, which nobody takes.
    pub(super) fn spoil_for_good(&mut self) -> &'static str {
        self.flawed += 1;
        let number = i64::from(100 + self.flawed);
        let flaw = Flaw {
            whole: self.random.once_in(2),
            odd: false,
        };
        self.flaws.insert(cluster("bad", number).version(), flaw);
        let bad = Arm {
            content: number,
            endpoints: 1,
        };
        self.arms.insert("bad", bad);
        "bad"
    }

    /// All traffic goes to two new clusters, and nobody takes the one that is returned last.
    pub(super) fn spoil_half_of_the_traffic(&mut self) -> [&'static str; 2] {
        let mut names = ["new", "old"];
        if self.random.once_in(2) {
            names.reverse();
        }
        let [good, bad] = names;
        self.flawed += 1;
        let number = i64::from(100 + self.flawed);
        let flaw = Flaw {
            whole: self.random.once_in(2),
            odd: false,
        };
        self.flaws.insert(cluster(bad, number).version(), flaw);
        self.ensure(good);
        self.ensure(bad).content = number;
        self.weights = names.map(|name| (name, 1)).into();
        names
    }

    /// All traffic goes to one cluster.
    pub(super) fn lead_to(&mut self, name: &'static str) {
        self.weights = [(name, 1)].into();
    }

    /// Raises the layer, with a time to live.
    pub(super) fn raise(&mut self) {
        self.share = Some((9, true));
    }

    pub(super) fn view(&self) -> Arc<Snapshot> {
        let weights: Vec<(&str, u32)> = self.weights.iter().map(|(name, w)| (*name, *w)).collect();
        let mut all = vec![
            listener("l", ROUTE),
            api_listener(API, ROUTE),
            weighted_route(ROUTE, &weights),
        ];
        if self.listener == 1 {
            all.push(listener("l2", "rt2"));
            all.push(route("rt2", weights[0].0));
        }
        for (name, arm) in &self.arms {
            all.push(cluster(name, arm.content));
            all.push(assignment(name, arm.endpoints));
        }
        match self.share {
            Some((share, true)) => all.push(timed_runtime(LAYER, share, TTL)),
            Some((share, false)) => all.push(runtime(LAYER, share)),
            None => {}
        }
        snapshot(all)
    }

    /// What a client with this number finds bad.
    pub(super) fn findings(&self, number: usize, response: &crate::stream::Response) -> Findings {
        let mut findings = Findings::default();
        for item in response.items.iter() {
            let flaw = self.flaws.get(&item.resource.version());
            if let Some(flaw) = flaw.filter(|flaw| !flaw.odd || number % 2 == 1) {
                findings.bad.push(item.resource.name().clone());
                findings.whole |= flaw.whole;
            }
        }
        findings
    }
}
