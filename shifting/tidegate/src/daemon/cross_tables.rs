//! What two rollouts that overlap have in common: requests counted by the arms of both.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_engine::compile::cluster_name;
use tidegate_engine::evidence::{Cell, Cells, Cohorts, Intake, SidecarReport};
use tidegate_engine::rollout::{Plan, Rollout, State};
use tidegate_engine::time::Time;

use super::fleets::Look;

/// Counts of the pairs that overlap. Each has an intake of its own, since counts are taken: two pairs
/// may have a service in common, and whoever judges it alone takes them too.
#[derive(Debug, Default)]
pub(super) struct CrossTables {
    /// By who is sent to and who sends; the latter is a fleet (`fleet:NAME`) or a service.
    pairs: BTreeMap<(String, String), Pair>,
}

#[derive(Debug, Default)]
struct Pair {
    intake: Intake,
    /// The sidecars that count; `None` for all, of which a fleet's arms change by the second.
    senders: Option<BTreeSet<String>>,
}

// === impl CrossTables ===

impl CrossTables {
    /// Which pairs are counted from now on.
    pub(super) fn attend(&mut self, state: &State) {
        let mut pairs: BTreeMap<(String, String), Option<BTreeSet<String>>> = BTreeMap::new();
        for run in state.active() {
            let name = &run.plan().service;
            for service in state.crossed(run).map(|other| &other.plan().service) {
                pairs.insert((service.clone(), name.clone()), None);
            }
            for callers in state.callers(run) {
                let caller = callers.rollout.plan().service.clone();
                let senders = callers.on_new.union(&callers.on_old).cloned().collect();
                pairs.insert((name.clone(), caller), Some(senders));
            }
        }
        self.pairs.retain(|names, _| pairs.contains_key(names));
        for (names, senders) in pairs {
            self.pairs.entry(names).or_default().senders = senders;
        }
    }

    pub(super) fn record(&mut self, report: &SidecarReport) {
        for pair in self
            .pairs
            .values_mut()
            .filter(|it| it.counts(&report.sidecar))
        {
            pair.intake.record(report);
        }
    }

    pub(super) fn reconnected(&mut self, sidecar: &str) {
        for pair in self.pairs.values_mut() {
            pair.intake.reconnected(sidecar);
        }
    }

    pub(super) fn departed(&mut self, sidecar: &str) {
        for pair in self.pairs.values_mut() {
            pair.intake.departed(sidecar);
        }
    }

    /// Of each service whose rollout a configuration rollout overlaps, the requests by revision and
    /// version.
    pub(super) fn of_fleet(
        &mut self,
        look: &Look<'_>,
        on_new: &BTreeSet<String>,
        on_old: &BTreeSet<String>,
    ) -> BTreeMap<String, Cells> {
        let fleet = &look.run.plan().service;
        let services = look.state.crossed(look.run).map(Rollout::plan);
        services
            .filter_map(|plan| {
                let cells = self.cells(plan, fleet, on_new, on_old, look.now)?;
                Some((plan.service.clone(), cells))
            })
            .collect()
    }

    /// Of each caller whose rollout a service's rollout overlaps, the requests by both versions.
    pub(super) fn of_callers(
        &mut self,
        run: &Rollout,
        state: &State,
        now: Time,
    ) -> BTreeMap<String, Cells> {
        state
            .callers(run)
            .filter_map(|callers| {
                let caller = &callers.rollout.plan().service;
                let cells =
                    self.cells(run.plan(), caller, &callers.on_new, &callers.on_old, now)?;
                // Most that overlap don't call one another, and this goes into the journal.
                (cells != Cells::default()).then(|| (caller.clone(), cells))
            })
            .collect()
    }

    /// What both sets of sidecars sent to both versions; `None` for a pair that is not attended.
    fn cells(
        &mut self,
        plan: &Plan,
        sender: &str,
        on_new: &BTreeSet<String>,
        on_old: &BTreeSet<String>,
        now: Time,
    ) -> Option<Cells> {
        let names = (plan.service.clone(), sender.to_owned());
        let intake = &mut self.pairs.get_mut(&names)?.intake;
        let slow = plan.slo.latency.as_ref();
        let mut by_sender = |version: &str| {
            let clusters = BTreeSet::from([cluster_name(&plan.service, version)]);
            let cohorts = Cohorts {
                clusters: &clusters,
                canary: on_new,
                stable: on_old,
                threshold_ms: slow.map(|latency| latency.threshold_ms),
            };
            let evidence = intake.observe_cohorts(cohorts, now);
            (Cell::of(&evidence.canary), Cell::of(&evidence.stable))
        };
        let (both, version) = by_sender(&plan.to);
        let (revision, neither) = by_sender(&plan.from);
        Some(Cells {
            neither,
            version,
            revision,
            both,
        })
    }
}

// === impl Pair ===

impl Pair {
    fn counts(&self, sidecar: &str) -> bool {
        let senders = self.senders.as_ref();
        senders.is_none_or(|senders| senders.contains(sidecar))
    }
}

#[cfg(test)]
mod tests {
    use tidegate_engine::evidence::UpstreamCounts;
    use tidegate_engine::mesh::{SourceFile, read};
    use tidegate_engine::rollout::{Event, Terms, Turn};

    use super::*;

    /// `one` and `other` both call `cart`; each version has a host with a sidecar of its own.
    fn overlapping() -> State {
        let service = |name: &str, calls: &str, port: u16| {
            let host = |version: &str, port: u16| {
                let sidecar = format!("{name}-{version}");
                format!(
                    "{version}: {{hosts: [{{address: \"127.0.0.1:{port}\", sidecar: {sidecar}}}]}}"
                )
            };
            format!(
                "---\nkind: service\nname: {name}\nfleets: [web]\ninitial: v1\ncalls: [{calls}]\n\
                 slo: {{success: 99%}}\nversions: {{{}, {}}}\n",
                host("v1", port),
                host("v2", port + 1)
            )
        };
        let text = [
            "kind: fleet\nname: web\nlistener: {address: 127.0.0.1, port: 0}\n".to_owned(),
            service("cart", "", 1),
            service("one", "cart", 3),
            service("other", "cart", 5),
        ]
        .concat();
        let path = "mesh.yaml".to_owned();
        let mesh = read(&[SourceFile { path, text }]).unwrap();
        let mut events = vec![Event::MeshAccepted { mesh }];
        events.extend(["cart", "one", "other"].map(|service| Event::Start {
            service: service.to_owned(),
            to: "v2".to_owned(),
            actor: "ann".to_owned(),
            turn: Turn::Next,
            terms: Terms {
                overlap: true,
                ..Terms::default()
            },
        }));
        let fold = |state: State, event: &Event| state.apply(event, Time(0)).unwrap().0;
        events.iter().fold(State::default(), fold)
    }

    #[test]
    fn each_callers_requests_are_counted_by_both_versions_and_nobody_takes_anothers() {
        let (state, mut tables) = (overlapping(), CrossTables::default());
        let run = state.latest("cart").unwrap();
        assert!(
            tables.of_callers(run, &state, Time(0)).is_empty(),
            "not attended yet"
        );
        tables.attend(&state);
        let senders = ["one-v1", "one-v2", "other-v1", "other-v2", "edge"];
        let mut counted = BTreeMap::new();
        // The watch begins, then a baseline, then what counts.
        for second in 0..3 {
            let now = Time(second * 1_000);
            for (requests, sidecar) in (1..).zip(senders) {
                let counts = |requests: u64| UpstreamCounts {
                    requests,
                    completed: requests,
                    responses: [requests, 0, 0, 0],
                    active: Some(0),
                    ..Default::default()
                };
                tables.record(&SidecarReport {
                    sidecar: sidecar.to_owned(),
                    at: now,
                    upstreams: BTreeMap::from([
                        ("cart/v1".to_owned(), counts(100 * requests)),
                        ("cart/v2".to_owned(), counts(requests)),
                    ]),
                    ..SidecarReport::default()
                });
            }
            counted = tables.of_callers(run, &state, now);
        }
        let of = |caller: &str| {
            let cells = &counted[caller];
            [cells.neither, cells.version, cells.revision, cells.both].map(|cell| cell.requests)
        };
        assert_eq!(counted.len(), 2);
        assert_eq!(of("one"), [100, 1, 200, 2]);
        assert_eq!(of("other"), [300, 3, 400, 4]);
        // Those that they call count nothing of them.
        let caller = state.latest("one").unwrap();
        let of_caller = tables.of_callers(caller, &state, Time(3_000));
        assert!(of_caller.is_empty(), "{of_caller:?}");
    }
}
