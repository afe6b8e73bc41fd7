//! The one thread that decides: it owns the state and the journal, takes one input at a time,
//! and makes every event durable before its effect leaves (design M9).
//!
//! It is a thread and not a task because the journal's fsync may stall. While it stalls nothing
//! is renewed, and the canary falls back to stable by itself: that is wanted.

mod alarm;
pub(super) mod frozen;
mod outage;
pub(super) mod served;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;
use tidegate_engine::mesh::Mesh;
use tidegate_engine::plan::Traffic;
use tidegate_engine::rollout::{Decided, Effect, Event, NoticeLevel, State};
use tidegate_engine::time::Time;
use tidegate_xds::report::{Asked, Report};
use tidegate_xds::server::Server;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{error, info, warn};

use self::outage::{Trouble, prepare};
use self::served::{Served, ServedFile};
use super::error::{CommandError, StartError};
use super::health::Health;
use super::observe::Observer;
use super::published::Published;
use super::views::Views;
use crate::clock::{Clock, wall_ms};
use crate::journal::{Entry, Journal, Record};
use crate::prometheus::Poll;
use crate::source::MeshDirectory;

/// Inputs that wait while the brain is busy. Ticks are dropped beyond it, commands wait.
const INPUTS_WAITING: usize = 256;
/// A share is renewed this many times within its life.
const RENEWALS_PER_TTL: u64 = 3;

enum Input {
    Tick,
    Command(Box<Event>, oneshot::Sender<Result<(), CommandError>>),
    Reload(oneshot::Sender<Result<(), CommandError>>),
    Stop,
}

/// How others reach the brain. Cheap to clone.
#[derive(Debug, Clone)]
pub struct BrainHandle {
    inputs: mpsc::Sender<Input>,
    reload: Arc<AtomicBool>,
    published: Arc<ArcSwap<Published>>,
    asked: watch::Receiver<Asked>,
}

pub(crate) struct Brain {
    state: Arc<State>,
    journal: Journal,
    clock: Clock,
    views: Views,
    server: Server,
    incoming: Incoming,
    /// What reports are read for.
    asked: watch::Sender<Asked>,
    directory: MeshDirectory,
    served: ServedFile,
    observer: Observer,
    mesh_refused: Option<String>,
    trouble: Option<Trouble>,
    /// When the world was last looked at and all of it was durable.
    last_watched: Time,
    last_renewed: Time,
    published: Arc<ArcSwap<Published>>,
    reload: Arc<AtomicBool>,
    records: Vec<Record>,
    last_reports: Arc<BTreeMap<String, Time>>,
    health: Arc<Health>,
    traffic: Arc<BTreeMap<String, Traffic>>,
}

/// What the data directory holds.
pub(crate) struct History {
    pub(crate) journal: Journal,
    pub(crate) records: Vec<Record>,
    pub(crate) served: ServedFile,
}

/// What comes in by itself, to be taken at the next tick.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) reports: mpsc::Receiver<Report>,
    pub(crate) polls: mpsc::Receiver<Poll>,
}

// === impl Incoming ===

impl Incoming {
    fn drop_all(&mut self) {
        while self.reports.try_recv().is_ok() {}
        while self.polls.try_recv().is_ok() {}
    }
}

// === impl BrainHandle ===

impl BrainHandle {
    /// What may be read without asking.
    #[must_use]
    pub fn published(&self) -> &ArcSwap<Published> {
        &self.published
    }

    /// The same, to keep.
    pub(super) fn published_handle(&self) -> Arc<ArcSwap<Published>> {
        Arc::clone(&self.published)
    }

    /// What reports must tell, from now on.
    pub(super) fn asked(&self) -> watch::Receiver<Asked> {
        self.asked.clone()
    }

    /// Lets the brain observe and judge. A brain that is busy skips it. False when it is dead.
    pub(super) fn tick(&self) -> bool {
        !matches!(
            self.inputs.try_send(Input::Tick),
            Err(TrySendError::Closed(_))
        )
    }

    /// Lets the brain read the mesh again at its next tick.
    pub(super) fn reload_later(&self) -> bool {
        self.reload.store(true, Ordering::Release);
        self.tick()
    }

    /// Ends the thread after what it is doing.
    pub(super) async fn stop(&self) {
        // A thread that is gone has stopped.
        let _ = self.inputs.send(Input::Stop).await;
    }

    /// Hands an operator's command in and waits until it is durable or refused.
    ///
    /// # Errors
    /// What the engine refused, or why it could not be made durable.
    pub async fn command(&self, event: Event) -> Result<(), CommandError> {
        let (reply, answer) = oneshot::channel();
        self.inputs
            .send(Input::Command(Box::new(event), reply))
            .await
            .map_err(|_| CommandError::Stopping)?;
        answer.await.map_err(|_| CommandError::Stopping)?
    }

    /// Reads the mesh again now.
    ///
    /// # Errors
    /// Everything that is wrong with it; the mesh in force stays.
    pub async fn reload(&self) -> Result<(), CommandError> {
        let (reply, answer) = oneshot::channel();
        self.inputs
            .send(Input::Reload(reply))
            .await
            .map_err(|_| CommandError::Stopping)?;
        answer.await.map_err(|_| CommandError::Stopping)?
    }
}

// === impl Brain ===

impl Brain {
    pub(crate) fn new(
        history: History,
        clock: Clock,
        views: Views,
        server: Server,
        incoming: Incoming,
        directory: MeshDirectory,
    ) -> Self {
        let now = clock.now();
        let History {
            journal,
            records,
            served,
        } = history;
        Self {
            state: Arc::default(),
            journal,
            clock,
            views,
            server,
            incoming,
            asked: watch::Sender::new(Asked::upstreams([])),
            directory,
            served,
            observer: Observer::default(),
            mesh_refused: None,
            trouble: None,
            last_watched: now,
            last_renewed: now,
            published: Arc::default(),
            reload: Arc::default(),
            records,
            last_reports: Arc::default(),
            health: Arc::default(),
            traffic: Arc::default(),
        }
    }

    /// Recovers the state, publishes the first views, and starts the thread.
    pub(crate) fn start(mut self, outage_ms: Option<u64>) -> Result<BrainHandle, StartError> {
        self.recover(outage_ms)?;
        let (inputs, waiting) = mpsc::channel(INPUTS_WAITING);
        let handle = BrainHandle {
            inputs,
            reload: Arc::clone(&self.reload),
            published: Arc::clone(&self.published),
            asked: self.asked.subscribe(),
        };
        std::thread::Builder::new()
            .name("brain".to_owned())
            .spawn(move || self.run(waiting))
            .map_err(StartError::Thread)?;
        Ok(handle)
    }

    /// Nothing is published before the state is whole: a control plane that comes back empty is a
    /// full outage (envoy facts §2).
    fn recover(&mut self, outage_ms: Option<u64>) -> Result<(), StartError> {
        let records = std::mem::take(&mut self.records);
        let mut state = State::default();
        for record in &records {
            (state, _) =
                state
                    .apply(&record.event, record.at)
                    .map_err(|refusal| StartError::Replay {
                        revision: record.revision,
                        refusal,
                    })?;
        }
        self.hold(state);
        let now = self.clock.now();
        self.last_watched = now;
        if !records.is_empty() {
            info!(records = records.len(), "the journal was replayed");
            match self.decide(Event::Recovered { outage_ms }) {
                Ok(()) => {}
                // Sidecars are served without it; the outage lasts until it can be written.
                Err(CommandError::Journal(_)) if self.state.mesh().is_some() => {
                    let outage_ms = outage_ms.unwrap_or(u64::MAX);
                    self.last_watched = Time(now.0.saturating_sub(outage_ms));
                }
                Err(error) => return Err(StartError::Command(error)),
            }
        }
        if self.state.mesh().is_some() {
            let (prepared, without_canaries) =
                prepare(&self.state).map_err(|error| StartError::Command(error.into()))?;
            self.put_in_force(prepared, without_canaries, Instant::now());
            self.keep_served();
        }
        if self.trouble.is_some() {
            self.fall_back_in_time(now);
        }
        match self.read_mesh() {
            Ok(()) => Ok(()),
            Err(error) if self.state.mesh().is_none() => Err(StartError::NoMesh(error)),
            // The last good mesh, from the journal, keeps serving.
            Err(_) => Ok(()),
        }
    }

    fn run(mut self, mut waiting: mpsc::Receiver<Input>) {
        while let Some(input) = waiting.blocking_recv() {
            match input {
                Input::Tick => self.tick(),
                Input::Command(event, reply) => {
                    let result = self.command(*event);
                    let accepted = result.is_ok();
                    // A caller that went away does not undo what was made durable.
                    drop(reply.send(result));
                    if accepted {
                        // The watch on a new rollout's arms begins now, not a tick later.
                        self.tick();
                    }
                }
                Input::Reload(reply) => drop(reply.send(self.read_mesh())),
                // Ends the report streams too: their queue goes with it.
                Input::Stop => return,
            }
        }
    }

    /// Observes and judges; renews the shares only if all of it was durable, in time.
    fn tick(&mut self) {
        let begun = Instant::now();
        let now = self.clock.at(begun);
        while let Ok(poll) = self.incoming.polls.try_recv() {
            self.observer.record_poll(poll, &self.clock);
        }
        while let Ok(report) = self.incoming.reports.try_recv() {
            self.server.note_versions(&report.node_id, &report.versions);
            self.observer.record(report, &self.clock);
        }
        self.last_reports = Arc::new(self.observer.last_reports(now));
        self.health = Arc::new(self.observer.health().clone());
        self.traffic = Arc::new(self.observer.traffic(now));
        self.publish();
        if self.catch_up().is_err() {
            self.fall_back_in_time(now);
            return;
        }
        if self.reload.swap(false, Ordering::AcqRel) {
            // The refusal is logged and shown; the mesh in force stays.
            let _ = self.read_mesh();
        }
        if self.take_turns(now).is_err() {
            return; // It was said when it began.
        }
        // A watch begins after its arms were asked for: a later report without one says that it is unused.
        let seen = self.clock.now();
        let observations = self
            .observer
            .observe(&self.state, &self.views, &self.server, seen);
        let observed = observations.into_iter().map(Event::Observed).collect();
        match self.accept_all(observed) {
            Ok(()) => {}
            Err(CommandError::Journal(_)) => return, // It was said when it began.
            Err(error) => {
                error!("no step is taken and nothing is renewed: {error}");
                return;
            }
        }
        if !self.renew_lease(begun) {
            return; // Too late: the next tick finds the outage.
        }
        self.last_watched = now;
        self.renew(now);
    }

    /// What has become due without anybody asking: the civil time, calls that were seen, and starts
    /// whose turn has come by both. Fails only when the journal can't be written.
    fn take_turns(&mut self, now: Time) -> Result<(), CommandError> {
        let unix_ms = wall_ms();
        let clock = self.state.needs_clock(unix_ms, now);
        let clock = clock.then_some(Event::ClockRead { unix_ms });
        let calls = self.observer.take_calls();
        let calls = self.state.calls_to_record(&calls, now);
        for event in clock.into_iter().chain(calls) {
            self.take_turn(event)?;
        }
        for event in self.state.due(now) {
            self.take_turn(event)?;
        }
        Ok(())
    }

    fn take_turn(&mut self, event: Event) -> Result<(), CommandError> {
        match self.accept(event) {
            Err(error @ CommandError::Journal(_)) => return Err(error),
            Err(error) => error!("what waits for its turn can't begin: {error}"),
            Ok(()) => {}
        }
        Ok(())
    }

    fn command(&mut self, event: Event) -> Result<(), CommandError> {
        let Event::Abort { service, .. } = &event else {
            return self.accept(event);
        };
        let (service, abort) = (service.clone(), event.clone());
        match self.accept(event) {
            Err(CommandError::Journal(error)) => {
                // Not refused either?
                let _ = self.state.apply(&abort, self.clock.now())?;
                if let Some(trouble) = &mut self.trouble {
                    trouble.aborts.insert(service, abort);
                }
                self.publish_fallback();
                Err(CommandError::Unrecorded(error))
            }
            result => result,
        }
    }

    /// Takes in one event, after whatever nobody could watch: no event may find a share in the
    /// state that sidecars may have dropped.
    fn accept(&mut self, event: Event) -> Result<(), CommandError> {
        self.accept_all(vec![event])
    }

    /// The same for events of one moment: all of them or none.
    fn accept_all(&mut self, events: Vec<Event>) -> Result<(), CommandError> {
        self.catch_up()?;
        self.decide_all(events)
    }

    fn decide(&mut self, event: Event) -> Result<(), CommandError> {
        self.decide_all(vec![event])
    }

    /// Decides, makes it durable in one write, and only then acts.
    fn decide_all(&mut self, events: Vec<Event>) -> Result<(), CommandError> {
        if events.is_empty() {
            return Ok(());
        }
        let begun = Instant::now();
        let now = self.clock.at(begun);
        let mut state = State::clone(&self.state);
        let (mut effects, mut entries) = (Vec::new(), Vec::new());
        let (mut publishes, mut declares) = (false, false);
        for event in events {
            let follows = state.step(&event, now)?;
            if alarm::looks_at(&event, &follows) {
                alarm::look(&self.state, &entries, &event, (&state, now));
            }
            declares |= matches!(event, Event::MeshDeclared { .. });
            publishes |= declares
                || follows
                    .iter()
                    .any(|effect| matches!(effect, Effect::Expose { .. }));
            entries.push(Entry {
                at: now,
                wall_ms: wall_ms(),
                decided: Some(Decided::new(&event, &state, &follows)),
                event,
            });
            effects.extend(follows);
        }
        let prepared = match publishes {
            true => Some(prepare(&state)?),
            false => None,
        };
        if declares {
            // What is declared is not served yet, but it could be.
            Views::prepare(&state.declared_configurations(), &state.splits())?;
        }
        let revision = self.journal.revision();
        if let Err(error) = self.journal.append(revision, &entries) {
            self.begin_trouble(&error);
            return Err(error.into());
        }
        self.hold(state);
        if let Some((prepared, without_canaries)) = prepared {
            self.put_in_force(prepared, without_canaries, begun);
            self.keep_served();
        }
        for effect in effects {
            tell(&effect);
        }
        self.publish();
        Ok(())
    }

    /// Takes a state for the one in force, and asks for what its rollouts need of reports.
    fn hold(&mut self, state: State) {
        self.state = Arc::new(state);
        let needed = self.observer.attend(&self.state);
        self.asked.send_if_modified(|asked| {
            let news = *asked != needed;
            *asked = needed;
            news
        });
    }

    fn read_mesh(&mut self) -> Result<(), CommandError> {
        let result = match self.directory.read() {
            Ok(mesh) => self.accept_mesh(mesh),
            Err(error) => Err(error.into()),
        };
        if matches!(result, Err(CommandError::Journal(_))) {
            // No fault of the mesh; it is read again when the journal can be written.
            self.reload.store(true, Ordering::Release);
        }
        self.mesh_refused = result.as_ref().err().map(CommandError::reason);
        if let Some(refused) = &self.mesh_refused {
            error!("the mesh on disk is refused, the one in force stays: {refused}");
        }
        self.publish();
        result
    }

    fn accept_mesh(&mut self, mesh: Mesh) -> Result<(), CommandError> {
        let revision = mesh.revision();
        if self
            .state
            .mesh()
            .is_some_and(|current| current.revision() == revision)
        {
            return Ok(());
        }
        self.accept(Event::MeshDeclared { mesh })?;
        info!(revision, "the mesh is declared");
        for pending in self.state.pending(self.clock.now()) {
            let (fleet, changes) = (&pending.fleet, pending.changes.join("; "));
            info!(fleet, "a configuration rollout is to come: {changes}");
        }
        Ok(())
    }

    /// Kept for the day on which the journal can't be read. Without it only that day is worse.
    fn keep_served(&mut self) {
        let Some(mesh) = self.state.mesh() else {
            return;
        };
        let served = Served {
            mesh: mesh.clone(),
            splits: self.state.splits(),
            settings: self.state.staged_settings(),
        };
        if let Err(cause) = self.served.keep(served) {
            warn!("what is served can't be kept beside the journal: {cause}");
        }
    }

    fn publish(&self) {
        self.published.store(Arc::new(Published {
            state: Arc::clone(&self.state),
            mesh_refused: self.mesh_refused.clone(),
            last_reports: Arc::clone(&self.last_reports),
            health: Arc::clone(&self.health),
            traffic: Arc::clone(&self.traffic),
            a_a: self.observer.a_a(),
            journal_failed: self.trouble.as_ref().map(|trouble| trouble.text.clone()),
        }));
    }

    fn renew(&mut self, now: Time) {
        let Some(ttl_ms) = self.state.dead_man_ttl_ms() else {
            return;
        };
        if now.since_ms(self.last_renewed) * RENEWALS_PER_TTL >= ttl_ms {
            self.server.renew();
            self.last_renewed = now;
        }
    }
}

fn tell(effect: &Effect) {
    let Effect::Notice(notice) = effect else {
        return;
    };
    let (service, text) = (&notice.service, &notice.text);
    match notice.level {
        NoticeLevel::Info => info!(service, "{text}"),
        NoticeLevel::Warning => warn!(service, "{text}"),
        NoticeLevel::Page => error!(service, page = true, "{text}"),
    }
}

#[cfg(test)]
pub(crate) mod tests;
