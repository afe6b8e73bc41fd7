//! Time in which nobody watched: the journal could not be written, or this program was stopped.
//!
//! Sidecars drop the shares by themselves then. What is here keeps this program from raising them
//! again without a decision, and lowers them for clients that can't drop them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tidegate_engine::compile::Split;
use tidegate_engine::rollout::{Event, State, subject};
use tidegate_engine::time::Time;
use tidegate_engine::units::Ppm;
use tracing::{error, info, warn};

use super::{Brain, CommandError};
use crate::daemon::views::{Prepared, ViewError, Views};
use crate::journal::JournalError;

/// Without a complete look at the world for so long, a rung has to be proven anew.
const UNWATCHED_MS: u64 = 5_000;

/// The journal cannot be written.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) text: String,
    /// Every canary was taken back meanwhile.
    fell_back: bool,
    /// By service: what operators asked for meanwhile, to be recorded before anything else.
    pub(super) aborts: BTreeMap<String, Event>,
}

// === impl Trouble ===

impl Trouble {
    fn first_abort(&self) -> Option<Event> {
        self.aborts.values().next().cloned()
    }

    fn forget_first_abort(&mut self) {
        self.aborts.pop_first();
    }
}

// === impl Brain ===

impl Brain {
    /// Time in which the journal could not be written, or this program did not run, is an outage
    /// like any other.
    pub(super) fn catch_up(&mut self) -> Result<(), CommandError> {
        let now = self.clock.now();
        let unwatched_ms = now.since_ms(self.last_watched);
        let limit_ms = self
            .state
            .dead_man_ttl_ms()
            .map(|ttl_ms| ttl_ms.min(UNWATCHED_MS));
        let unwatched = limit_ms.is_some_and(|limit_ms| unwatched_ms >= limit_ms);
        if self.trouble.is_none() && !unwatched {
            return Ok(());
        }
        while let Some(abort) = self.trouble.as_ref().and_then(Trouble::first_abort) {
            match self.decide(abort) {
                Err(error @ CommandError::Journal(_)) => return Err(error),
                // It is over already: all the same.
                _ => self
                    .trouble
                    .iter_mut()
                    .for_each(Trouble::forget_first_abort),
            }
        }
        let outage_ms = Some(unwatched_ms);
        self.decide(Event::Recovered { outage_ms })?;
        // What stood in for the shares meanwhile, or what they were lent for, is over.
        if self.state.mesh().is_some() {
            let (views, without_canaries) = prepare(&self.state)?;
            self.put_in_force(views, without_canaries, Instant::now());
        }
        self.last_watched = now;
        if self.trouble.take().is_some() {
            info!("the journal can be written again");
            self.publish();
        }
        Ok(())
    }

    pub(super) fn begin_trouble(&mut self, error: &JournalError) {
        if self.trouble.is_none() {
            error!("the journal cannot be written, so no step is taken: {error}");
            self.trouble = Some(Trouble {
                text: error.to_string(),
                fell_back: false,
                aborts: BTreeMap::new(),
            });
            self.publish();
        }
    }

    /// Sidecars drop a share that is not renewed. Clients without a runtime layer can't, so after
    /// the same time the share is taken from them.
    pub(super) fn fall_back_in_time(&mut self, now: Time) {
        let unwatched_ms = now.since_ms(self.last_watched);
        let ttl_ms = self.state.dead_man_ttl_ms();
        if ttl_ms.is_none_or(|ttl_ms| unwatched_ms < ttl_ms) {
            return;
        }
        if let Some(trouble) = &mut self.trouble
            && !std::mem::replace(&mut trouble.fell_back, true)
        {
            warn!("the canaries are taken back: nobody can record what they do");
            self.publish_fallback();
        }
    }

    /// Takes canaries back without a record: all of them, or those whose abort was asked for.
    /// Lowering an exposure needs no journal: recovery never raises it.
    pub(super) fn publish_fallback(&self) {
        let Some(trouble) = &self.trouble else {
            return;
        };
        let mut configurations = self.state.configurations();
        for (fleet, configuration) in &mut configurations {
            if trouble.aborts.contains_key(&subject(fleet)) {
                configuration.candidate = None;
            }
        }
        let mut splits = self.state.splits();
        for (service, split) in &mut splits {
            if trouble.fell_back || trouble.aborts.contains_key(service) {
                take_back(split);
            }
        }
        match Views::prepare(&configurations, &splits) {
            Ok(prepared) => self.views.publish(prepared),
            Err(error) => error!("the canaries cannot be taken back: {error}"),
        }
    }

    /// Newcomers get these views for as long as sidecars keep the shares, and then those without:
    /// a program that was stopped for a while must not raise what was dropped.
    pub(super) fn put_in_force(&self, views: Prepared, without_canaries: Prepared, begun: Instant) {
        let until = self.shares_end(begun);
        if until.is_some_and(|until| Instant::now() >= until) {
            self.views.publish(without_canaries);
            self.views.lend(None);
            return;
        }
        self.views.publish(views);
        self.views
            .lend(until.map(|until| (until, without_canaries)));
    }

    /// False when the shares were not renewed in time and are gone.
    pub(super) fn renew_lease(&self, begun: Instant) -> bool {
        self.shares_end(begun)
            .is_none_or(|until| Instant::now() < until && self.views.renew_lease(until))
    }

    /// When sidecars drop the shares that were renewed at `begun`.
    fn shares_end(&self, begun: Instant) -> Option<Instant> {
        let ttl_ms = self.state.dead_man_ttl_ms()?;
        Some(begun + Duration::from_millis(ttl_ms))
    }
}

/// The views of a state, and the same without the canaries' shares.
pub(super) fn prepare(state: &State) -> Result<(Prepared, Prepared), ViewError> {
    let (mut splits, configurations) = (state.splits(), state.configurations());
    let prepared = Views::prepare(&configurations, &splits)?;
    splits.values_mut().for_each(take_back);
    Ok((prepared, Views::prepare(&configurations, &splits)?))
}

/// The canary's share is 0; its cluster stays warm. A share that is being committed stays: the
/// route says the same.
pub(super) fn take_back(split: &mut Split) {
    if let Some(canary) = &mut split.canary
        && canary.version != split.stable
    {
        canary.share = Ppm::ZERO;
    }
}
