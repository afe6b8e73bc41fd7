//! The one thread that decides: it owns the state and the journal, takes one input at a time,
//! and makes every event durable before its effect leaves (design M9).
//!
//! It is a thread and not a task because the journal's fsync may stall. While it stalls nothing
//! is renewed, and the canary falls back to stable by itself: that is wanted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tidegate_engine::compile::Split;
use tidegate_engine::mesh::Mesh;
use tidegate_engine::rollout::{Effect, Event, NoticeLevel, Refusal, State};
use tidegate_engine::time::Time;
use tidegate_engine::units::Ppm;
use tidegate_xds::report::Report;
use tidegate_xds::server::Server;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info, warn};

use super::observe::Observer;
use super::published::Published;
use super::views::{Prepared, ViewError, Views};
use crate::clock::{Clock, wall_ms};
use crate::journal::{Journal, JournalError, Record};
use crate::source::{MeshDirectory, SourceError};

/// Inputs that wait while the brain is busy. Ticks are dropped beyond it, commands wait.
const INPUTS_WAITING: usize = 256;
/// A share is renewed this many times within its life.
const RENEWALS_PER_TTL: u64 = 3;
/// Without a complete look at the world for so long, a rung has to be proven anew.
const UNWATCHED_MS: u64 = 5_000;

/// Why the brain refused or failed to do something.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The engine refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The mesh gives no valid views.
    #[error("the mesh is refused, the one in force stays: {0}")]
    Views(#[from] ViewError),
    /// The mesh could not be read.
    #[error("the mesh on disk is refused, the one in force stays: {0}")]
    Source(#[from] SourceError),
    /// The event could not be made durable, so nothing was done.
    #[error("the journal cannot be written, so no step is taken: {0}")]
    Journal(#[from] JournalError),
    /// An abort could not be made durable; lowering an exposure does not wait for that.
    #[error(
        "the canary is taken back (unless it is being committed), but that cannot be recorded: \
         {0}; this program records the abort as soon as it can, if it is not restarted before"
    )]
    Unrecorded(JournalError),
    /// The control plane is stopping.
    #[error("the control plane is stopping")]
    Stopping,
}

// === impl CommandError ===

impl CommandError {
    /// The bare reason, for where it is clear that a mesh was refused.
    fn reason(&self) -> String {
        match self {
            Self::Refused(Refusal::Guard(violation)) => violation.to_string(),
            Self::Views(error) => error.to_string(),
            Self::Source(error) => error.to_string(),
            other => other.to_string(),
        }
    }
}

/// Why the brain could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A record of the journal does not follow from those before it.
    #[error(
        "record {revision} of the journal is refused by this program ({refusal}); \
         it was written by another version or changed by hand; \
         start with the program that wrote it, or with an empty --data directory"
    )]
    Replay {
        /// Which record.
        revision: u64,
        /// Why.
        refusal: Refusal,
    },
    /// There is neither a valid mesh on disk nor one in the journal.
    #[error("{0}")]
    NoMesh(CommandError),
    /// Something failed that must not fail at start.
    #[error(transparent)]
    Command(CommandError),
    /// The thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
}

enum Input {
    Tick,
    Command(Event, oneshot::Sender<Result<(), CommandError>>),
    Reload(oneshot::Sender<Result<(), CommandError>>),
}

/// How others reach the brain. Cheap to clone.
#[derive(Debug, Clone)]
pub struct BrainHandle {
    inputs: mpsc::Sender<Input>,
    reload: Arc<AtomicBool>,
    published: Arc<ArcSwap<Published>>,
}

/// The journal cannot be written.
#[derive(Debug)]
struct Trouble {
    text: String,
    /// Every canary was taken back meanwhile.
    fell_back: bool,
    /// By service: what operators asked for meanwhile, to be recorded before anything else.
    aborts: BTreeMap<String, Event>,
}

pub(crate) struct Brain {
    state: Arc<State>,
    journal: Journal,
    clock: Clock,
    views: Views,
    server: Server,
    reports: mpsc::Receiver<Report>,
    directory: MeshDirectory,
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

// === impl BrainHandle ===

impl BrainHandle {
    /// What may be read without asking.
    #[must_use]
    pub fn published(&self) -> &ArcSwap<Published> {
        &self.published
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

    /// Hands an operator's command in and waits until it is durable or refused.
    ///
    /// # Errors
    /// What the engine refused, or why it could not be made durable.
    pub async fn command(&self, event: Event) -> Result<(), CommandError> {
        let (reply, answer) = oneshot::channel();
        self.inputs
            .send(Input::Command(event, reply))
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
        journal: Journal,
        records: Vec<Record>,
        clock: Clock,
        views: Views,
        server: Server,
        reports: mpsc::Receiver<Report>,
        directory: MeshDirectory,
    ) -> Self {
        let now = clock.now();
        Self {
            state: Arc::default(),
            journal,
            clock,
            views,
            server,
            reports,
            directory,
            observer: Observer::default(),
            mesh_refused: None,
            trouble: None,
            last_watched: now,
            last_renewed: now,
            published: Arc::default(),
            reload: Arc::default(),
            records,
            last_reports: Arc::default(),
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
        self.state = Arc::new(state);
        if !records.is_empty() {
            info!(records = records.len(), "the journal was replayed");
            self.decide(Event::Recovered { outage_ms })
                .map_err(StartError::Command)?;
        }
        self.last_watched = self.clock.now();
        if let Some(mesh) = self.state.mesh() {
            let (prepared, without_canaries) =
                prepare(mesh, &self.state).map_err(|error| StartError::Command(error.into()))?;
            self.put_in_force(prepared, without_canaries, Instant::now());
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
                    let result = self.command(event);
                    let accepted = result.is_ok();
                    // A caller that went away does not undo what was made durable.
                    drop(reply.send(result));
                    if accepted {
                        // The watch on a new rollout's arms begins now, not a tick later.
                        self.tick();
                    }
                }
                Input::Reload(reply) => drop(reply.send(self.read_mesh())),
            }
        }
    }

    /// Observes and judges; renews the shares only if all of it was durable, in time.
    fn tick(&mut self) {
        let begun = Instant::now();
        let now = self.clock.at(begun);
        while let Ok(report) = self.reports.try_recv() {
            self.observer.record(report, &self.clock);
        }
        self.last_reports = Arc::new(self.observer.last_reports(now));
        self.publish();
        if self.catch_up().is_err() {
            self.fall_back_in_time(now);
            return;
        }
        if self.reload.swap(false, Ordering::AcqRel) {
            // The refusal is logged and shown; the mesh in force stays.
            let _ = self.read_mesh();
        }
        let observations = self
            .observer
            .observe(&self.state, &self.views, &self.server, now);
        for observation in observations {
            if self.accept(Event::Observed(observation)).is_err() {
                return;
            }
        }
        if !self.renew_lease(begun) {
            return; // Too late: the next tick finds the outage.
        }
        self.last_watched = now;
        self.renew(now);
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
        self.catch_up()?;
        self.decide(event)
    }

    /// Time in which the journal could not be written, or this program did not run, is an outage
    /// like any other.
    fn catch_up(&mut self) -> Result<(), CommandError> {
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
        self.last_watched = now;
        if self.trouble.take().is_some() {
            info!("the journal can be written again");
            self.publish();
        }
        Ok(())
    }

    /// Decides, makes it durable, and only then acts.
    fn decide(&mut self, event: Event) -> Result<(), CommandError> {
        let begun = Instant::now();
        let now = self.clock.at(begun);
        let (state, effects) = self.state.apply(&event, now)?;
        let publishes = matches!(event, Event::MeshAccepted { .. })
            || effects
                .iter()
                .any(|effect| matches!(effect, Effect::Expose { .. }));
        let prepared = match state.mesh() {
            Some(mesh) if publishes => Some(prepare(mesh, &state)?),
            _ => None,
        };
        let revision = self.journal.revision();
        if let Err(error) = self.journal.append(revision, &[(now, wall_ms(), event)]) {
            self.begin_trouble(&error);
            return Err(error.into());
        }
        self.state = Arc::new(state);
        if let Some((prepared, without_canaries)) = prepared {
            self.put_in_force(prepared, without_canaries, begun);
        }
        for effect in effects {
            tell(&effect);
        }
        self.publish();
        Ok(())
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
        self.accept(Event::MeshAccepted { mesh })?;
        info!(revision, "the mesh is in force");
        Ok(())
    }

    fn publish(&self) {
        self.published.store(Arc::new(Published {
            state: Arc::clone(&self.state),
            mesh_refused: self.mesh_refused.clone(),
            last_reports: Arc::clone(&self.last_reports),
            journal_failed: self.trouble.as_ref().map(|trouble| trouble.text.clone()),
        }));
    }

    fn begin_trouble(&mut self, error: &JournalError) {
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
    fn fall_back_in_time(&mut self, now: Time) {
        let unwatched_ms = now.since_ms(self.last_watched);
        let ttl_ms = self.state.dead_man_ttl_ms();
        if !ttl_ms.is_some_and(|ttl_ms| unwatched_ms >= ttl_ms) {
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
    fn publish_fallback(&self) {
        let (Some(trouble), Some(mesh)) = (&self.trouble, self.state.mesh()) else {
            return;
        };
        let mut splits = self.state.splits();
        for (service, split) in &mut splits {
            if trouble.fell_back || trouble.aborts.contains_key(service) {
                take_back(split);
            }
        }
        match Views::prepare(mesh, &splits) {
            Ok(prepared) => self.views.publish(prepared),
            Err(error) => error!("the canaries cannot be taken back: {error}"),
        }
    }

    /// Newcomers get these views for as long as sidecars keep the shares, and then those without:
    /// a program that was stopped for a while must not raise what was dropped.
    fn put_in_force(&self, views: Prepared, without_canaries: Prepared, begun: Instant) {
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
    fn renew_lease(&self, begun: Instant) -> bool {
        self.shares_end(begun)
            .is_none_or(|until| Instant::now() < until && self.views.renew_lease(until))
    }

    /// When sidecars drop the shares that were renewed at `begun`.
    fn shares_end(&self, begun: Instant) -> Option<Instant> {
        let ttl_ms = self.state.dead_man_ttl_ms()?;
        Some(begun + Duration::from_millis(ttl_ms))
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

/// The views of a state, and the same without the canaries' shares.
fn prepare(mesh: &Mesh, state: &State) -> Result<(Prepared, Prepared), ViewError> {
    let mut splits = state.splits();
    let prepared = Views::prepare(mesh, &splits)?;
    splits.values_mut().for_each(take_back);
    Ok((prepared, Views::prepare(mesh, &splits)?))
}

/// The canary's share is 0; its cluster stays warm. A share that is being committed stays: the
/// route says the same.
fn take_back(split: &mut Split) {
    if let Some(canary) = &mut split.canary
        && canary.version != split.stable
    {
        canary.share = Ppm::ZERO;
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
