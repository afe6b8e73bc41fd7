//! Whose fault it is when two rollouts overlap, by an operator's word or because it was seen too late
//! that their services are neighbours (issue 4, item 5).
//!
//! Each rollout's own comparison is one margin of the cross table of their arms. Where the cells are
//! counted, a fault is looked for in them before anybody is blamed ([`Crossed`]): who is worse also
//! where the other has no part is at fault, both if both are. Two kinds of pairs are counted:
//!
//! - A service's version and the configuration of a fleet that sends it requests. The one that is not
//!   at fault holds meanwhile. A margin may be off by the other's fault, so what it says is not held
//!   against a rollout while the other is at fault and it is not, and that is counted anew afterwards:
//!   two tests of alpha instead of one, for those that an operator let overlap.
//! - A service's version and a caller's, where the mesh says which sidecars send for which version of
//!   the caller ([`State::callers`]). The table says whom to blame and excuses nobody: what a caller
//!   does wrong by itself shows in what is asked of it, which is no cell, so a table that is silent
//!   about it must not delay its way back. Who goes back is not blamed either if the table shows that
//!   the other one has a part in what fails, also where the margin of that one does not tell.
//!
//! Where no cells are counted, or they don't tell, and both margins are suspected, both go back, at
//! once; but neither is blamed, that is not quarantined, and may be tried again alone.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::evidence::{Crossed, HOLD_AT, Subject, enough};
use crate::rollout::faults::e_value;
use crate::rollout::judge::Hold;
use crate::rollout::run::{Context, horizon};
use crate::rollout::tick::tolerated_odds;
use crate::rollout::{Cause, NoticeLevel, Observation, Phase, Rollout, State};
use crate::time::Time;

/// The rules that count cells.
pub(crate) const RULES_OF_TABLES: u32 = 4;

/// A rollout that went back no longer ago than this may have been what its neighbour suffered from.
const LATELY_MS: u64 = 60_000;

/// For so long a margin is not held against a rollout whose rival is at fault. By then that one is
/// back, or what is wrong is not all its doing.
const EXCUSED_MS: u64 = 30_000;

/// The tables of a configuration rollout with those of its fleet's services that it overlaps, by
/// service; or of a service's rollout with those of its callers.
pub(crate) type Tables = BTreeMap<String, Table>;

/// One of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Table {
    /// Number of the other rollout.
    rival: u64,
    crossed: Crossed,
}

/// What a rollout overlaps is at fault, and it is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Excused {
    /// Whose rollout that is.
    rival: String,
    number: u64,
    since: Time,
}

/// A rollout of a service whose requests are counted in cells.
#[derive(Debug)]
pub(crate) struct Rival {
    service: String,
    number: u64,
    /// The odds ratio that is tolerated of it.
    rho: f64,
}

// === impl State ===

impl State {
    /// The running rollouts of services that a configuration rollout was let overlap, and whose
    /// requests have to be counted by both arms: [`FleetObservation::crossed`].
    ///
    /// [`FleetObservation::crossed`]: crate::rollout::FleetObservation::crossed
    pub fn crossed<'a>(&'a self, run: &'a Rollout) -> impl Iterator<Item = &'a Rollout> {
        let tabled = self.tabled(run);
        tabled.filter(|other| run.is_configuration() && !other.phase.is_final())
    }

    /// The latest rollouts with which a table is kept that excuses who is not at fault.
    fn tabled<'a>(&'a self, run: &'a Rollout) -> impl Iterator<Item = &'a Rollout> {
        let touched = run.plan.configuration.iter().flat_map(|it| &it.touched);
        let services = touched
            .filter_map(|service| self.services.get(service))
            .filter_map(|state| state.rollout.as_deref());
        let fleets = self
            .fleets
            .values()
            .filter(|_| !run.is_configuration())
            .filter_map(|state| state.rollout.as_deref())
            .filter(|other| {
                let change = other.plan.configuration.as_deref();
                change.is_some_and(|change| change.touched.contains(&run.plan.service))
            });
        let knows = |run: &Rollout| run.plan.policy.rules >= RULES_OF_TABLES;
        services
            .chain(fleets)
            .filter(move |other| knows(run) && knows(other) && overlap(run, other))
    }

    /// Whose cells an observation tells of.
    pub(crate) fn rivals(&self, observation: &Observation) -> Vec<Rival> {
        let Some(run) = self.latest(&observation.service) else {
            return Vec::new();
        };
        let told = observation.fleet.iter().flat_map(|fleet| &fleet.crossed);
        let told: BTreeSet<&String> = told.chain(&observation.callers).map(|it| it.0).collect();
        if told.is_empty() {
            return Vec::new();
        }
        let callers = self.callers(run).map(|callers| callers.rollout);
        self.crossed(run)
            .chain(callers)
            .filter(|other| told.contains(&other.plan.service))
            .map(|other| Rival {
                service: other.plan.service.clone(),
                number: other.number,
                rho: other.planned_rung().map_or(1.0, tolerated_odds),
            })
            .collect()
    }

    /// The rollout that is under way and at fault by the table, which `run` is not.
    pub(crate) fn rival_at_fault<'a>(&'a self, run: &'a Rollout) -> Option<&'a Rollout> {
        if run.is_at_rest() {
            return None;
        }
        self.tabled(run)
            .filter(|other| !other.phase.is_final())
            .find(|other| is_alone_at_fault(other, run) && !is_alone_at_fault(run, other))
    }

    /// Who is at fault beside a service's rollout, and whether who was has gone back.
    pub(crate) fn beside(&self, service: &str) -> (Option<(String, u64)>, bool) {
        if self.fleets.is_empty() {
            return (None, false); // no tables without a fleet's rollout
        }
        let Some(run) = self.latest(service) else {
            return (None, false);
        };
        let rival = self.rival_at_fault(run);
        let rival = rival.map(|rival| (rival.plan.service.clone(), rival.number));
        let over = run.excused.as_ref().is_some_and(|excused| {
            let latest = self.latest(&excused.rival);
            latest.is_none_or(|it| it.number != excused.number || it.phase == Phase::Reverted)
        });
        (rival, over)
    }

    /// After a rollout was taken back for a fault: it is blamed only if it is at fault by itself, or
    /// no other that it overlaps is suspected as well.
    pub(crate) fn attribute(&mut self, service: &str, context: &mut Context) {
        let Some(run) = self.latest(service) else {
            return;
        };
        let at_fault = run.reverted.as_ref().map(|it| it.cause) == Some(Cause::Fault);
        if !at_fault || run.plan.policy.rules < 3 || run.rejection_fault().is_some() {
            return;
        }
        let (own, shared): (Vec<&Rollout>, Vec<&Rollout>) = self
            .suspects(run, context.now)
            .partition(|other| is_alone_at_fault(run, other));
        let blamed: Vec<String> = own.iter().map(|other| sentence(run, other)).collect();
        let suspected = shared.iter().any(|it| it.battery.suspected().is_some());
        let shared: Vec<String> = shared.iter().map(|other| suspicion(run, other)).collect();
        let Ok(run) = self.running_mut(service) else {
            return;
        };
        if !shared.is_empty() {
            if let Some(reverted) = &mut run.reverted {
                reverted.cause = Cause::Shared;
            }
            let overlaps = match run.found.is_empty() {
                true => "was let overlap",
                false => "overlaps",
            };
            let part = match suspected {
                true => "is suspected too",
                false => "has a part in what fails",
            };
            let text = format!(
                "it is not blamed, since what it {overlaps} {part}: {}; try them one after the other",
                shared.join(", ")
            );
            run.tell(NoticeLevel::Page, text, context);
        } else if !blamed.is_empty() {
            let text = format!("it is blamed, although it overlaps: {}", blamed.join("; "));
            run.tell(NoticeLevel::Warning, text, context);
        }
    }

    /// What a rollout overlaps and is suspected as well, or is part of what goes wrong.
    pub(crate) fn suspects<'a>(
        &'a self,
        run: &'a Rollout,
        now: Time,
    ) -> impl Iterator<Item = &'a Rollout> {
        self.rollouts()
            .filter(move |other| overlap(run, other) && other.is_lately(now))
            .filter(move |other| other.battery.suspected().is_some() || has_part(other, run))
    }
}

/// Whether one was let overlap the other, or both were found to when it was too late to wait.
pub(crate) fn overlap(one: &Rollout, other: &Rollout) -> bool {
    let beside = |one: &Rollout, other: &Rollout| {
        let name = &other.plan.service;
        let known = one.plan.lease.overlaps.contains(name) || one.found.contains(name);
        known && one.number != other.number
    };
    beside(one, other) || beside(other, one)
}

/// The tables of two rollouts, and which subject of each the first one is. Two services that call each
/// other have two.
fn tables<'a>(
    one: &'a Rollout,
    other: &'a Rollout,
) -> impl Iterator<Item = (&'a Crossed, Subject)> {
    let kept = |keeper: &'a Rollout, rival: &Rollout| {
        let kept = match &keeper.sidecars {
            Some(sidecars) => &sidecars.tables,
            None => &keeper.callers,
        };
        let table = kept.get(&rival.plan.service)?;
        (table.rival == rival.number).then_some(&table.crossed)
    };
    let of_one = kept(one, other).map(|crossed| (crossed, keeper_of(one)));
    let of_other = kept(other, one).map(|crossed| (crossed, keeper_of(other).other()));
    of_one.into_iter().chain(of_other)
}

/// A fleet is who sends, in its own tables; a service is who is sent to.
fn keeper_of(run: &Rollout) -> Subject {
    match run.is_configuration() {
        true => Subject::Revision,
        false => Subject::Version,
    }
}

/// The first is worse than what it replaces, also where the other has no part.
pub(crate) fn is_alone_at_fault(one: &Rollout, other: &Rollout) -> bool {
    enough(alone(one, other), HOLD_AT)
}

/// The e-value of that. Two services that call each other have two tables; the mean of both is an
/// e-value whatever they have in common.
fn alone(one: &Rollout, other: &Rollout) -> f64 {
    mean(one, other, Crossed::alone)
}

/// The mean of what the tables say of the first.
fn mean(one: &Rollout, other: &Rollout, said: impl Fn(&Crossed, Subject) -> f64) -> f64 {
    let (sum, count) = tables(one, other).fold((0.0, 0.0), |(sum, count), (crossed, subject)| {
        (sum + said(crossed, subject), count + 1.0)
    });
    if count > 0.0 { sum / count } else { 1.0 }
}

/// Of two services, the table tells that requests fail by the first one's new version, with or without
/// the other's: also where its own margin is too small to tell, or made of other requests, or where
/// the other takes everything and has nothing left to be compared with.
fn has_part(one: &Rollout, other: &Rollout) -> bool {
    let services = !one.is_configuration() && !other.is_configuration();
    let tells = |said: fn(&Crossed, Subject) -> f64| enough(mean(one, other, said), HOLD_AT);
    services && (tells(Crossed::alone) || tells(Crossed::beside))
}

/// What the table says of one that is blamed.
fn sentence(run: &Rollout, other: &Rollout) -> String {
    format!(
        "among requests in which `{}` has no part, {} is worse too (e-value {}, {HOLD_AT:.0} tells)",
        other.plan.service,
        run.plan.to,
        e_value(alone(run, other))
    )
}

/// What is known of one that is suspected as well.
fn suspicion(run: &Rollout, other: &Rollout) -> String {
    let (plan, finding) = (&other.plan, other.battery.regression().sentence);
    let meet = if tables(run, other).next().is_none() {
        ""
    } else if enough(mean(run, other, Crossed::beside), HOLD_AT) {
        ", and it is found where both meet only"
    } else if has_part(other, run) {
        ", and what fails is what it has a part in"
    } else {
        ", and the table of both doesn't tell yet"
    };
    format!("`{}` to `{}` ({finding}{meet})", plan.service, plan.to)
}

// === impl Rollout ===

impl Rollout {
    /// Counts the cells that an observation tells of.
    pub(crate) fn cross(&mut self, rivals: &[Rival], observation: &Observation, now: Time) {
        let horizon = horizon(&self.plan);
        let own = match &observation.fleet {
            Some(_) => self.planned_rung().map_or(1.0, tolerated_odds),
            None => self.tolerated(&observation.evidence),
        };
        let current = observation.epoch == self.epoch && self.is_exposed();
        let (tables, told) = match (&mut self.sidecars, &observation.fleet) {
            (Some(sidecars), Some(fleet)) => (&mut sidecars.tables, &fleet.crossed),
            (None, None) => (&mut self.callers, &observation.callers),
            _ => return,
        };
        for rival in rivals.iter().filter(|_| current) {
            let Some(cells) = told.get(&rival.service) else {
                continue;
            };
            let crossed = || match observation.fleet {
                Some(_) => Crossed::new(horizon),
                None => Crossed::of_services(horizon),
            };
            let fresh = || Table {
                rival: rival.number,
                crossed: crossed(),
            };
            let table = tables.entry(rival.service.clone());
            let table = table.or_insert_with(fresh);
            if table.rival != rival.number {
                *table = fresh();
            }
            table.crossed.observe(cells, own.max(rival.rho), now);
        }
    }

    /// Takes note of who is at fault beside it, or not any more. `over`: who was, went back.
    pub(crate) fn note_rival(&mut self, rival: Option<(String, u64)>, over: bool, now: Time) {
        match (&self.excused, rival) {
            (None, Some((rival, number))) => {
                self.excused = Some(Excused {
                    rival,
                    number,
                    since: now,
                });
            }
            (Some(excused), None) => {
                let rival = excused.rival.clone();
                self.excused = None;
                if over && self.battery.suspected().is_some() {
                    self.battery.forget_regressions();
                    let text = format!(
                        "`{rival}` was at fault and is back; what was counted beside it is not held \
                         against {}, which is counted anew",
                        self.plan.to
                    );
                    self.note(text, now);
                }
            }
            _ => {}
        }
    }

    /// Its margin is not held against it now.
    pub(crate) fn is_excused(&self, now: Time) -> bool {
        let excused = self.excused.as_ref();
        excused.is_some_and(|excused| now.since_ms(excused.since) < EXCUSED_MS)
    }

    /// Nothing advances beside what is at fault.
    pub(crate) fn overlap_doubt(&self) -> Option<Hold> {
        let excused = self.excused.as_ref()?;
        let reason = format!(
            "`{}`, which it overlaps, is at fault by the table of both; it goes on when that is back",
            excused.rival
        );
        let until = excused.since.plus_ms(EXCUSED_MS);
        Some(Hold::new("overlap", reason).until(Some(until)))
    }

    /// Nothing of it is exposed, or all of it and for good.
    fn is_at_rest(&self) -> bool {
        self.phase.is_final() || self.phase == Phase::Reverting
    }

    /// It is under way, or went back so lately that its numbers may be about the same fault.
    fn is_lately(&self, now: Time) -> bool {
        match self.phase {
            Phase::Committed => false,
            Phase::Reverted => now.since_ms(self.since) < LATELY_MS,
            _ => true,
        }
    }
}
