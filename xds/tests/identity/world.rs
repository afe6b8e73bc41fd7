//! A CA, a secure server, and clients with certificates.

use std::fs;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse,
};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use tempfile::TempDir;
use tidegate_xds::identity::{
    Access, AccessLimits, Certificates, Incident, Policy, Rule, Tls, secure_incoming,
};
use tidegate_xds::report::{IntakeCounters, LoadIntake, MetricsIntake, Report};
use tidegate_xds::server::transport;
use tidegate_xds::{Assign, Client, Refused, Server, Settings, Snapshot, TypeUrl};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};

use crate::common::{View, cluster, delta_ack, node, snapshot};

/// Longer than anything here may take on a busy machine, short enough to fail a hanging test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) const PATTERN: &str = "spiffe://mesh/ns/*/sidecar/{node.id}";

pub(crate) struct Ca {
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) chain: String,
    pub(crate) key: String,
}

pub(crate) struct World {
    pub(crate) ca: Ca,
    pub(crate) files: TempDir,
    pub(crate) tls: Arc<Tls>,
    pub(crate) access: Arc<Access>,
    pub(crate) server: Server,
    pub(crate) views: watch::Sender<View>,
    /// Whom `Assign` was asked about.
    pub(crate) asked: Arc<Mutex<Vec<Client>>>,
    pub(crate) reports: mpsc::Receiver<Report>,
    pub(crate) address: std::net::SocketAddr,
}

pub(crate) struct Delta {
    pub(crate) requests: mpsc::Sender<DeltaDiscoveryRequest>,
    pub(crate) responses: Streaming<DeltaDiscoveryResponse>,
}

struct Asked {
    view: watch::Receiver<View>,
    clients: Arc<Mutex<Vec<Client>>>,
}

impl Assign for Asked {
    fn assign(&self, client: &Client) -> Result<watch::Receiver<View>, Refused> {
        self.clients.lock().unwrap().push(client.clone());
        Ok(self.view.clone())
    }
}

// === impl Ca ===

impl Ca {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            pem,
            issuer: Issuer::new(params, key),
        }
    }

    /// A certificate with these URIs, valid for an hour.
    pub(crate) fn issue(&self, uris: &[&str]) -> Pair {
        self.issue_until(uris, SystemTime::now() + Duration::from_secs(3_600))
    }

    pub(crate) fn issue_until(&self, uris: &[&str], until: SystemTime) -> Pair {
        let mut params = CertificateParams::new(vec!["cp".to_owned()]).unwrap();
        for uri in uris {
            let uri = (*uri).try_into().unwrap();
            params.subject_alt_names.push(SanType::URI(uri));
        }
        params.not_after = until.into();
        let key = KeyPair::generate().unwrap();
        let chain = params.signed_by(&key, &self.issuer).unwrap().pem();
        Pair {
            chain,
            key: key.serialize_pem(),
        }
    }

    pub(crate) fn sidecar(&self, id: &str) -> Pair {
        self.issue(&[&format!("spiffe://mesh/ns/shop/sidecar/{id}")])
    }
}

// === impl World ===

pub(crate) fn policy() -> Policy {
    Policy::new([Rule::new(PATTERN).unwrap()])
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::start_with(policy(), AccessLimits::default(), |_| {}).await
    }

    /// One that is as patient as by default with handshakes, and less with streams.
    pub(crate) async fn start_impatient() -> Self {
        let limits = AccessLimits::default();
        Self::start_with(policy(), limits, |settings| {
            settings.first_request_timeout = Duration::from_secs(1);
            settings.blocked_max = Duration::from_millis(300);
        })
        .await
    }

    pub(crate) async fn start_with(
        policy: Policy,
        limits: AccessLimits,
        change: impl FnOnce(&mut Settings),
    ) -> Self {
        let ca = Ca::new();
        let files = tempfile::tempdir().unwrap();
        let file = |name| files.path().join(name);
        let pair = ca.issue(&[]);
        fs::write(file("chain"), &pair.chain).unwrap();
        fs::write(file("key"), &pair.key).unwrap();
        fs::write(file("ca"), &ca.pem).unwrap();
        let certificates = Certificates {
            chain: file("chain"),
            key: file("key"),
            client_ca: file("ca"),
        };
        let tls = Arc::new(Tls::load(certificates, SystemTime::now()).unwrap());
        let access = Access::by(policy, limits);
        let (views, view) = watch::channel(Some(Arc::new(snapshot([cluster("a", 1)]))));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let mut settings = Settings {
            access: Arc::clone(&access),
            ..Settings::default()
        };
        change(&mut settings);
        let clients = Arc::clone(&asked);
        let server = Server::new(Asked { view, clients }, settings);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, reports) = mpsc::channel(16);
        let counters = Arc::new(IntakeCounters::default());
        let metrics = MetricsIntake::new(sender.clone(), Arc::clone(&counters));
        let load = LoadIntake::new(sender, counters, Duration::from_secs(1));
        let router = transport()
            .add_routes(server.routes())
            .add_service(metrics.guarded_by(Arc::clone(&access)).into_server())
            .add_service(load.guarded_by(Arc::clone(&access)).into_server());
        let incoming = secure_incoming(listener, Arc::clone(&tls), Arc::clone(&access));
        tokio::spawn(router.serve_with_incoming(incoming));
        Self {
            ca,
            files,
            tls,
            access,
            server,
            views,
            asked,
            reports,
            address,
        }
    }

    pub(crate) fn write(&self, file: &str, text: &str) {
        fs::write(self.files.path().join(file), text).unwrap();
    }

    pub(crate) fn publish(&self, view: Snapshot) {
        self.views.send(Some(Arc::new(view))).unwrap();
    }

    pub(crate) fn count(&self, incident: Incident) -> u64 {
        self.access.incidents().get(&incident).copied().unwrap_or(0)
    }

    /// Waits until an incident was counted so often.
    pub(crate) async fn await_count(&self, incident: Incident, count: u64) {
        let reached = async {
            while self.count(incident) < count {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, reached).await;
        waited.unwrap_or_else(|_| panic!("{incident}: {:?}", self.access.incidents()));
    }

    /// A TLS connection to the server, with HTTP/2 left to the caller.
    pub(crate) async fn tls(&self, pair: Option<&Pair>) -> std::io::Result<TlsStream<TcpStream>> {
        connect(self.address, &self.ca.pem, pair).await
    }

    /// A channel of one connection.
    pub(crate) async fn channel(&self, pair: &Pair) -> Result<Channel, tonic::transport::Error> {
        let (address, ca, pair) = (self.address, self.ca.pem.clone(), pair.clone());
        let connector = tower::service_fn(move |_| {
            let (ca, pair) = (ca.clone(), pair.clone());
            async move { connect(address, &ca, Some(&pair)).await.map(TokioIo::new) }
        });
        Endpoint::from_static("http://cp")
            .connect_with_connector(connector)
            .await
    }

    /// A delta stream of the sidecar with this id, over a connection of its own.
    pub(crate) async fn sidecar(&self, id: &str) -> Delta {
        let channel = self.channel(&self.ca.sidecar(id)).await.unwrap();
        let stream = open(channel).await.unwrap();
        stream.send(wish(id)).await;
        stream
    }
}

/// Someone who behaves, and must not notice what others do.
pub(crate) struct Healthy {
    stream: Delta,
    round: i64,
}

impl Healthy {
    pub(crate) async fn connect(world: &World) -> Self {
        let mut stream = world.sidecar("healthy").await;
        stream.taken().await;
        Self { stream, round: 1 }
    }

    /// Something is published, and arrives.
    pub(crate) async fn is_served(&mut self, world: &World) {
        self.round += 1;
        world.publish(snapshot([cluster("a", self.round)]));
        let response = self.stream.taken().await;
        let expected = cluster("a", self.round);
        let bodies = response.resources.iter();
        let bodies: Vec<_> = bodies
            .map(|resource| resource.resource.clone().unwrap().value)
            .collect();
        assert_eq!(bodies, [expected.body().to_vec()]);
    }
}

pub(crate) async fn open(channel: Channel) -> Result<Delta, Status> {
    let (requests, outbound) = mpsc::channel(16);
    let mut client =
        AggregatedDiscoveryServiceClient::new(channel).max_encoding_message_size(usize::MAX);
    let call = client.delta_aggregated_resources(ReceiverStream::new(outbound));
    let responses = call.await?.into_inner();
    Ok(Delta {
        requests,
        responses,
    })
}

/// The first request of a sidecar.
pub(crate) fn wish(id: &str) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        node: node(id),
        type_url: TypeUrl::CLUSTER.as_str().to_owned(),
        ..Default::default()
    }
}

impl Delta {
    pub(crate) async fn send(&self, request: DeltaDiscoveryRequest) {
        // The server may have ended the stream already; what it answers tells.
        let _ = self.requests.send(request).await;
    }

    /// The next response, which is acknowledged.
    pub(crate) async fn taken(&mut self) -> DeltaDiscoveryResponse {
        let next = tokio::time::timeout(PATIENCE, self.responses.message()).await;
        let response = next.expect("a response in time").unwrap().unwrap();
        self.send(delta_ack(&response)).await;
        response
    }

    /// How the stream ends, whatever comes before.
    pub(crate) async fn end(&mut self) -> Status {
        let end = async {
            loop {
                match self.responses.message().await {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("it ended without a reason"),
                    Err(status) => return status,
                }
            }
        };
        tokio::time::timeout(PATIENCE, end)
            .await
            .expect("an end in time")
    }
}

async fn connect(
    address: std::net::SocketAddr,
    ca: &str,
    pair: Option<&Pair>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    for ca in CertificateDer::pem_slice_iter(ca.as_bytes()) {
        roots.add(ca.unwrap()).unwrap();
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match pair {
        Some(pair) => {
            let chain = CertificateDer::pem_slice_iter(pair.chain.as_bytes());
            let chain = chain.collect::<Result<_, _>>().unwrap();
            let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::new(config))
        .connect("cp".try_into().unwrap(), stream)
        .await
}

/// Waits until the other side has closed a connection; what came before, up to a limit.
pub(crate) async fn closed(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Vec<u8> {
    let read = async {
        let (mut all, mut buffer) = (Vec::new(), [0; 4096]);
        loop {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return all,
                Ok(count) => all.extend_from_slice(&buffer[..count]),
            }
        }
    };
    tokio::time::timeout(PATIENCE, read)
        .await
        .expect("the connection is closed in time")
}
