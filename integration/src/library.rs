//! A control plane in this process, made with the library alone: every client gets the same view.
//!
//! It can lose its connections and keep what it knows ([`Library::cut`], [`Library::serve`]), or
//! lose everything, as a process that is killed ([`Library::kill`], [`Library::start_again`]).

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tidegate_xds::report::{IntakeCounters, MetricsIntake};
use tidegate_xds::server::{incoming, transport};
use tidegate_xds::{
    Assign, Client, ClientStatus, Refused, ResourceStatus, Server, Settings, Snapshot, TypeUrl,
};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};

use crate::machine::{free_address, runtime, wait_until};

type View = Option<Arc<Snapshot>>;

struct SameForAll(watch::Receiver<View>);

impl Assign for SameForAll {
    fn assign(&self, _: &Client) -> Result<watch::Receiver<View>, Refused> {
        Ok(self.0.clone())
    }
}

/// The control plane.
pub struct Library {
    /// Where clients connect; the same after every start.
    pub address: SocketAddr,
    views: watch::Sender<View>,
    settings: Box<dyn Fn() -> Settings + Send + Sync>,
    server: Server,
    serving: Option<Runtime>,
}

// === impl Library ===

impl Library {
    /// Serves a view. The settings are made anew at every start, so that nothing survives in them.
    #[must_use]
    pub fn start(
        view: Arc<Snapshot>,
        settings: impl Fn() -> Settings + Send + Sync + 'static,
    ) -> Self {
        let views = watch::Sender::new(Some(view));
        let server = Server::new(SameForAll(views.subscribe()), settings());
        let mut library = Self {
            address: free_address(),
            views,
            settings: Box::new(settings),
            server,
            serving: None,
        };
        library.serve();
        library
    }

    /// The library's server; another one after [`start_again`](Self::start_again).
    #[must_use]
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// From now on, this is the view.
    pub fn publish(&self, view: Arc<Snapshot>) {
        self.views.send_replace(Some(view));
    }

    /// The view's id.
    #[must_use]
    pub fn view_id(&self) -> String {
        let view = self.views.borrow();
        view.as_ref().unwrap().id().to_string()
    }

    /// Ends all connections and listens no more, but forgets nothing.
    pub fn cut(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.shutdown_timeout(Duration::from_secs(5));
        }
    }

    /// Listens (again), on a runtime of its own, with which all connections end. The version gauges
    /// of metrics reports are passed on.
    pub fn serve(&mut self) {
        self.cut();
        let serving = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (reports, mut queue) = mpsc::channel(64);
        let intake = MetricsIntake::new(reports, Arc::new(IntakeCounters::default()));
        let router = transport()
            .add_routes(self.server.routes())
            .add_service(intake.into_server());
        let listener = serving.block_on(TcpListener::bind(self.address)).unwrap();
        serving.spawn(async move {
            router
                .serve_with_incoming(incoming(listener))
                .await
                .unwrap();
        });
        let server = self.server.clone();
        serving.spawn(async move {
            while let Some(report) = queue.recv().await {
                server.note_versions(&report.node_id, &report.versions);
            }
        });
        self.serving = Some(serving);
    }

    /// Ends like a process that is killed: its connections and all that it knew, but its view.
    pub fn kill(&mut self) {
        self.cut();
        self.server = Server::new(SameForAll(self.views.subscribe()), (self.settings)());
    }

    /// Kills it, if it runs, and starts it at the same address with the same view.
    pub fn start_again(&mut self) {
        self.kill();
        self.serve();
    }

    /// What is known of a client.
    ///
    /// # Panics
    /// When it never connected.
    #[must_use]
    pub fn status(&self, node: &str) -> ClientStatus {
        let status = self.server.client(node);
        status.unwrap_or_else(|| panic!("{node} never connected"))
    }

    /// Where a resource of the view stands at a client.
    #[must_use]
    pub fn resource(&self, node: &str, type_url: &TypeUrl, name: &str) -> Option<ResourceStatus> {
        self.server.resource(node, type_url, name)
    }

    /// Waits, without polling, until a client's status is as wanted.
    ///
    /// # Panics
    /// When it isn't within `limit`; `what` says what was waited for.
    pub fn await_status(
        &self,
        node: &str,
        limit: Duration,
        what: &str,
        wanted: impl Fn(&ClientStatus) -> bool,
    ) -> ClientStatus {
        let mut changes = self.server.changed();
        let mut status = async || {
            loop {
                changes.mark_unchanged();
                if let Some(status) = self.server.client(node).filter(|status| wanted(status)) {
                    return status;
                }
                changes.changed().await.unwrap();
            }
        };
        let found = runtime().block_on(async { tokio::time::timeout(limit, status()).await });
        found.unwrap_or_else(|_| {
            let status = self.server.client(node);
            panic!("waited {limit:?} in vain for: {what}; {node} is {status:#?}")
        })
    }

    /// Waits until a client acknowledged the whole view.
    ///
    /// # Panics
    /// When it hasn't within `limit`.
    pub fn await_acknowledged(&self, node: &str, limit: Duration) -> ClientStatus {
        let id = self.view_id();
        self.await_status(node, limit, "the view acknowledged", |status| {
            status.connected && status.acknowledged.as_deref() == Some(&*id)
        })
    }

    /// Waits until a resource of the view is as wanted.
    ///
    /// # Panics
    /// When it isn't within `limit`.
    pub fn await_resource(
        &self,
        node: &str,
        limit: Duration,
        (type_url, name): (&TypeUrl, &str),
        wanted: impl Fn(&ResourceStatus) -> bool,
    ) {
        let what = format!("{type_url} {name} at {node}");
        wait_until(limit, &what, || {
            let status = self.resource(node, type_url, name);
            status.is_some_and(|status| wanted(&status))
        });
    }
}

impl fmt::Debug for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Library")
            .field("address", &self.address)
            .field("serving", &self.serving.is_some())
            .finish_non_exhaustive()
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        self.cut();
    }
}
