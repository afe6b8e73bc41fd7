//! Certificates over SDS: a listener's certificate is replaced while it is used, and a bad one is
//! refused without anybody's noticing.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::Request;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tidegate_integration::machine::{runtime, wait_until};
use tidegate_xds::{Resource, ResourceStatus, TypeUrl};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::config::read;
use crate::world::{KINDS, LIMIT, World, with_each};

const NAME: &str = "checkout.test";

/// Issues certificates for [`NAME`].
struct Ca {
    root: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key.
struct Pair {
    certificate: CertificateDer<'static>,
    chain: String,
    key: String,
}

// === impl Ca ===

impl Ca {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        // A subject of its own: else what it issues would look self-signed.
        params.distinguished_name.push(DnType::CommonName, "root");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap().der().clone();
        Self {
            root,
            issuer: Issuer::new(params, key),
        }
    }

    fn issue(&self) -> Pair {
        let params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Pair {
            certificate: certificate.der().clone(),
            chain: certificate.pem(),
            key: key.serialize_pem(),
        }
    }

    fn connector(&self) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        let provider = Arc::new(ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        TlsConnector::from(Arc::new(config))
    }
}

fn secret(chain: &str, key: &str) -> Resource {
    let [chain, key] = [chain, key].map(|pem| serde_json::to_string(pem).unwrap());
    read(&format!(
        "
'@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret
name: server
tls_certificate:
  certificate_chain: {{inline_string: {chain}}}
  private_key: {{inline_string: {key}}}
"
    ))
}

/// Requests that go on until they are finished: in turn on a connection that was there from the
/// beginning and on a new one, whose certificate is taken down.
struct Users {
    seen: Arc<Mutex<Vec<CertificateDer<'static>>>>,
    stop: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

// === impl Users ===

impl Users {
    fn start(tls: TlsConnector, address: SocketAddr) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (sink, stopped) = (Arc::clone(&seen), Arc::clone(&stop));
        let task = runtime().spawn(async move {
            let (mut kept, _) = connect(&tls, address).await;
            while !stopped.load(Ordering::Relaxed) {
                ask(&mut kept).await;
                let (mut new, certificate) = connect(&tls, address).await;
                ask(&mut new).await;
                sink.lock().unwrap().push(certificate);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        Self { seen, stop, task }
    }

    /// Waits for a handshake with this certificate.
    fn await_certificate(&self, pair: &Pair) {
        wait_until(LIMIT, "a handshake with the newest certificate", || {
            assert!(!self.task.is_finished(), "a request failed");
            self.seen.lock().unwrap().last() == Some(&pair.certificate)
        });
    }

    /// Waits for so many more handshakes.
    fn await_more(&self, count: usize) {
        let wanted = self.seen.lock().unwrap().len() + count;
        wait_until(LIMIT, "handshakes", || {
            assert!(!self.task.is_finished(), "a request failed");
            self.seen.lock().unwrap().len() >= wanted
        });
    }

    /// Every certificate that was seen, in order, without repetitions.
    fn finish(self) -> Vec<CertificateDer<'static>> {
        self.stop.store(true, Ordering::Relaxed);
        runtime().block_on(self.task).unwrap();
        let mut seen = std::mem::take(&mut *self.seen.lock().unwrap());
        seen.dedup();
        seen
    }
}

async fn connect(
    tls: &TlsConnector,
    address: SocketAddr,
) -> (SendRequest<Empty<Bytes>>, CertificateDer<'static>) {
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from(NAME).unwrap();
    let stream = tls.connect(name, stream).await.unwrap();
    let certificates = stream.get_ref().1.peer_certificates().unwrap();
    let certificate = certificates[0].clone();
    let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    (sender, certificate)
}

async fn ask(connection: &mut SendRequest<Empty<Bytes>>) {
    connection.ready().await.unwrap();
    let request = Request::get("/").header("host", NAME).body(Empty::new());
    let response = connection.send_request(request.unwrap()).await.unwrap();
    assert_eq!(response.status(), 200);
}

#[test]
fn a_certificate_is_replaced_under_way_and_a_bad_one_is_refused() {
    with_each(&KINDS, |kind| {
        let ca = Ca::new();
        let pairs = [ca.issue(), ca.issue(), ca.issue()];
        let [first, second, third] = &pairs;
        let mut world = World::start_with(kind, |config| {
            config
                .put(secret(&first.chain, &first.key))
                .put_tls_listener("in-tls", "rt", "server");
        });
        let users = Users::start(ca.connector(), world.envoy.listener_named("in-tls"));
        users.await_certificate(first);

        world.config.put(secret(&second.chain, &second.key));
        world.publish();
        world.await_all_acknowledged();
        users.await_certificate(second);

        // A key that belongs to another certificate.
        world.config.put(secret(&third.chain, &first.key));
        world.publish();
        world
            .library
            .await_status(kind.name, LIMIT, "a rejection", |status| {
                !status.rejections.is_empty()
            });
        let status = world.resource(&TypeUrl::SECRET, "server");
        let Some(ResourceStatus::Rejected { text }) = &status else {
            panic!("{}: {status:?}", kind.name);
        };
        println!("{}: {text}", kind.name);
        assert!(text.contains("private key"), "{text}");
        users.await_more(10);

        world.config.put(secret(&third.chain, &third.key));
        world.publish();
        let status = world.await_all_acknowledged();
        assert!(status.rejections.is_empty(), "{status:#?}");
        users.await_certificate(third);
        assert_eq!(users.finish(), pairs.map(|pair| pair.certificate));
    });
}
