//! The control plane at work: this file reads like the picture in the design.
//!
//! ```text
//! mesh files ─► source ─► brain ─► views ─► tidegate-xds ─► Envoy
//!                           ▲ │                               │
//! operators ─► api ─────────┘ └─► journal (durable first)     │
//!                           └──── observe ◄── reports, ACKs, NACKs, silence
//!                                    ▲
//!                                Prometheus, for services that say so
//! ```
//!
//! One thread, the brain, owns the state and the journal and does one thing at a time;
//! everybody else sends it inputs and reads what it published.

mod a_a;
mod brain;
mod calls;
mod cross_tables;
mod error;
mod fleets;
mod health;
mod load;
mod meter;
mod observe;
mod past;
mod published;
mod scraped;
mod secure;
mod views;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tidegate_xds::identity::{CertificateError, secure_incoming};
use tidegate_xds::report::{IntakeCounters, LoadIntake, MetricsIntake};
use tidegate_xds::server::{self, Server, Settings};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tracing::{error, info, warn};

pub use brain::BrainHandle;
#[cfg(test)]
pub(crate) use brain::tests::context_in;
pub use error::CommandError;
pub use health::{Health, SidecarHealth};
pub use published::Published;
pub use secure::XdsTls;

use crate::api;
use crate::journal::JournalError;
use crate::prometheus;
use crate::source;
use brain::Incoming;
use error::StartError;
use past::Past;
use secure::Secure;
use views::Views;

/// Evidence is judged once per tick; sidecars report once per second.
const TICK: Duration = Duration::from_secs(1);
/// How long requests under way may take to end when the program is told to stop.
const DRAIN: Duration = Duration::from_secs(2);
/// Reports that wait for the next tick: 5,000 sidecars at one a second, twice over.
const REPORTS_WAITING: usize = 10_000;
/// Answers of Prometheus that wait for the next tick.
const POLLS_WAITING: usize = 64;

/// What `tidegate serve` was asked for.
#[derive(Debug, Clone)]
pub struct Options {
    /// Mesh directory.
    pub mesh: PathBuf,
    /// Data directory.
    pub data: PathBuf,
    /// Where sidecars connect.
    pub xds: SocketAddr,
    /// Certificates and identities of sidecars; `None` for plaintext from anybody.
    pub xds_tls: Option<XdsTls>,
    /// Where operators connect.
    pub api: SocketAddr,
    /// Stop at the end of standard input.
    pub exit_with_stdin: bool,
}

/// Why the control plane did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// A listener could not be opened.
    #[error("cannot listen on {address} for {what}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// For whom.
        what: &'static str,
        /// Why not.
        source: std::io::Error,
    },
    /// The journal could not be opened.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The state could not be set up.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A signal handler could not be installed.
    #[error("cannot handle signals: {0}")]
    Signals(std::io::Error),
    /// The certificates for sidecars can't be used.
    #[error(transparent)]
    Certificates(#[from] CertificateError),
    /// The thread that decides ended by a fault of ours.
    #[error(
        "the deciding thread died; canaries fall back to stable by themselves; start again, and \
         report the last lines of this log"
    )]
    BrainDied,
    /// A server ended with an error.
    #[error("{what} stopped: {why}")]
    Server {
        /// Which.
        what: &'static str,
        /// Why.
        why: String,
    },
}

/// Runs the control plane until it is told to stop.
///
/// # Errors
/// When it can't start; once it runs, bad input and faults of others do not stop it.
pub async fn run(options: Options) -> Result<(), DaemonError> {
    let secure = options.xds_tls.as_ref().map(Secure::load).transpose()?;
    let xds_listener = listen(options.xds, "sidecars (--xds)").await?;
    let api_listener = listen(options.api, "operators (--api)").await?;

    // The past: the state is the fold of the journal, and nothing else.
    let past = Past::open(&options.data)?;
    let clock = past.clock();

    // Views go out to sidecars; reports and deliveries come back.
    let views = Views::default();
    let mut settings = Settings::default();
    if let Some(tls) = &options.xds_tls {
        settings.access = tls.access();
    }
    let access = Arc::clone(&settings.access);
    let server = Server::new(views.clone(), settings);
    let (reports, waiting_reports) = mpsc::channel(REPORTS_WAITING);
    let (polls, waiting_polls) = mpsc::channel(POLLS_WAITING);
    let counters = Arc::new(IntakeCounters::default());
    let metrics = MetricsIntake::new(reports.clone(), Arc::clone(&counters));
    let load = LoadIntake::new(reports, counters, TICK).by_host();

    let mesh_path = options.mesh.clone();
    let reports_and_polls = Incoming {
        reports: waiting_reports,
        polls: waiting_polls,
    };
    let brain = past.brain(options.mesh, clock, views, &server, reports_and_polls)?;
    tokio::spawn(prometheus::run(brain.published_handle(), polls));
    let (metrics, load) = (metrics.asked(brain.asked()), load.asked(brain.asked()));
    let mut changes = match source::watch(&mesh_path) {
        Ok(changes) => changes,
        Err(cause) => {
            // The mesh of the journal serves, or the brain would not have started.
            let path = mesh_path.display();
            error!("{path} is not watched for changes ({cause}); repair it, then send SIGHUP");
            mpsc::channel(1).1
        }
    };

    let mut renewed = match secure.as_ref().map(Secure::watch).transpose() {
        Ok(watched) => watched.unwrap_or_else(|| mpsc::channel(1).1),
        Err(cause) => {
            error!("the certificates are not watched for changes ({cause}); send SIGHUP after one");
            mpsc::channel(1).1
        }
    };

    let door = Arc::clone(&access);
    let stop = watch::Sender::new(false);
    let xds = server::transport()
        .add_routes(server.routes())
        .add_service(metrics.guarded_by(Arc::clone(&access)).into_server())
        .add_service(load.guarded_by(Arc::clone(&access)).into_server());
    let told_to_stop = told(stop.subscribe());
    let xds = match &secure {
        Some(secure) => {
            let incoming = secure_incoming(xds_listener, Arc::clone(&secure.tls), access);
            tokio::spawn(xds.serve_with_incoming_shutdown(incoming, told_to_stop))
        }
        None => {
            let incoming = server::incoming(xds_listener);
            tokio::spawn(xds.serve_with_incoming_shutdown(incoming, told_to_stop))
        }
    };
    let context = api::Context {
        brain: brain.clone(),
        server: server.clone(),
        access: door,
        clock,
    };
    let api = tokio::spawn(api::serve(api_listener, context, told(stop.subscribe())));
    info!(xds = %options.xds, mtls = secure.is_some(), api = %options.api, "serving");

    let mut hangup = signal(SignalKind::hangup()).map_err(DaemonError::Signals)?;
    let mut stopped = std::pin::pin!(stopped(options.exit_with_stdin)?);
    let mut ticks = tokio::time::interval(TICK);
    // A late tick is not made up for: evidence counts once.
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let lost = loop {
        let alive = tokio::select! {
            _ = ticks.tick() => {
                secure.iter().for_each(Secure::warn_of_expiry);
                brain.tick()
            }
            Some(()) = changes.recv() => brain.reload_later(),
            _ = hangup.recv() => {
                secure.iter().for_each(Secure::reload_later);
                brain.reload_later()
            }
            Some(()) = renewed.recv() => {
                secure.iter().for_each(Secure::reload_later);
                true
            }
            why = &mut stopped => {
                info!("stopping: {why}; sidecars keep what they have");
                break false;
            }
        };
        if !alive {
            error!("the deciding thread died; nothing is renewed any more");
            break true;
        }
    };
    for run in brain.published().load().state.active() {
        let service = &run.plan().service;
        if run.is_configuration() {
            warn!(
                service,
                "a rollout is running: each sidecar keeps the revision that it has, and nobody watches"
            );
        } else {
            warn!(
                service,
                "a rollout is running: without a control plane its canary falls back to stable by itself"
            );
        }
    }
    stop.send_replace(true);
    brain.stop().await;
    server.close();
    let drained = async {
        finished("the API", api.await)?;
        finished("the xDS server", xds.await)
    };
    tokio::time::timeout(DRAIN, drained)
        .await
        .unwrap_or(Ok(()))?;
    if lost {
        Err(DaemonError::BrainDied)
    } else {
        Ok(())
    }
}

async fn listen(address: SocketAddr, what: &'static str) -> Result<TcpListener, DaemonError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| DaemonError::Listen {
            address,
            what,
            source,
        })
}

async fn told(mut stop: watch::Receiver<bool>) {
    // A sender that is gone means the same.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Resolves to the reason to stop.
fn stopped(exit_with_stdin: bool) -> Result<impl Future<Output = &'static str>, DaemonError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(DaemonError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(DaemonError::Signals)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
            () = end_of_stdin(), if exit_with_stdin => "end of standard input",
        }
    })
}

async fn end_of_stdin() {
    let mut stdin = tokio::io::stdin();
    let mut buffer = [0; 64];
    while matches!(stdin.read(&mut buffer).await, Ok(read) if read > 0) {}
}

fn finished<E: std::fmt::Display>(
    what: &'static str,
    result: Result<Result<(), E>, tokio::task::JoinError>,
) -> Result<(), DaemonError> {
    let stopped = |why: String| Err(DaemonError::Server { what, why });
    match result {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => stopped(error.to_string()),
        Err(error) => stopped(error.to_string()),
    }
}
