//! mTLS between real Envoys and the control plane: identities are checked, and certificates are
//! replaced while everybody stays connected.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use tempfile::TempDir;
use tidegate_integration::hosts::Hosts;
use tidegate_integration::machine::{alone, free_address, wait_until};
use tidegate_integration::mesh::Mesh;
use tidegate_integration::program;
use tidegate_integration::serve::ControlPlane;
use tidegate_integration::sidecar::Sidecar;

const LIMIT: Duration = Duration::from_secs(20);

/// Issues certificates, as files.
struct Ca {
    file: PathBuf,
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key, as files.
struct Pair {
    certificate: PathBuf,
    key: PathBuf,
}

impl Ca {
    fn new(directory: &TempDir, name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        // OpenSSL's kin take a certificate whose subject is its issuer's for a self-signed one.
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        let file = directory.path().join(format!("{name}.pem"));
        fs::write(&file, &pem).unwrap();
        Self {
            file,
            pem,
            issuer: Issuer::new(params, key),
        }
    }

    fn issue(&self, directory: &TempDir, name: &str, san: SanType) -> Pair {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names.push(san);
        let key = KeyPair::generate().unwrap();
        let chain = params.signed_by(&key, &self.issuer).unwrap().pem();
        let pair = Pair {
            certificate: directory.path().join(format!("{name}.crt")),
            key: directory.path().join(format!("{name}.key")),
        };
        fs::write(&pair.certificate, chain).unwrap();
        fs::write(&pair.key, key.serialize_pem()).unwrap();
        pair
    }

    fn server(&self, directory: &TempDir, name: &str) -> Pair {
        let name_in_it = SanType::DnsName("cp.test".try_into().unwrap());
        self.issue(directory, name, name_in_it)
    }

    fn sidecar(&self, directory: &TempDir, id: &str) -> Pair {
        let id_in_it = format!("spiffe://mesh/fleet/shop/sidecar/{id}");
        self.issue(directory, id, SanType::URI(id_in_it.try_into().unwrap()))
    }
}

fn text(path: &std::path::Path) -> String {
    path.display().to_string()
}

/// A sidecar with a certificate, which trusts the control planes of one CA.
fn sidecar(id: &str, pair: &Pair, trusted: &Ca, xds: SocketAddr, directory: &TempDir) -> Sidecar {
    let (certificate, key, ca) = (
        text(&pair.certificate),
        text(&pair.key),
        text(&trusted.file),
    );
    let tls = [
        "--tls-cert",
        &certificate,
        "--tls-key",
        &key,
        "--tls-ca",
        &ca,
        "--server-san",
        "cp.test",
    ];
    Sidecar::start_with(id, xds, directory.path(), &tls)
}

#[test]
fn sidecars_are_who_their_certificates_say_and_certificates_change_under_way() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let hosts = Hosts::start("v1", 1);
    Mesh::of("checkout", &[&hosts]).write(&directory.path().join("mesh"));
    let (old_ca, new_ca) = (Ca::new(&directory, "old"), Ca::new(&directory, "new"));
    let server = old_ca.server(&directory, "server");
    let client_ca = directory.path().join("clients.pem");
    fs::write(&client_ca, &old_ca.pem).unwrap();
    let (certificate, key, clients) = (
        text(&server.certificate),
        text(&server.key),
        text(&client_ca),
    );
    let control_plane = ControlPlane::start_by(directory.path(), |arguments| {
        // Beyond loopback: who is authenticated may come from anywhere.
        let arguments: Vec<String> = arguments
            .iter()
            .scan("", |flag, argument| {
                let everywhere = argument.replace("127.0.0.1", "0.0.0.0");
                let is_xds = std::mem::replace(flag, argument) == "--xds";
                Some(if is_xds {
                    everywhere
                } else {
                    (*argument).to_owned()
                })
            })
            .collect();
        let mut command = program::command(&[]);
        command.args(arguments).args([
            "--xds-cert",
            &certificate,
            "--xds-key",
            &key,
            "--xds-client-ca",
            &clients,
            "--xds-identity",
            "spiffe://mesh/fleet/{node.cluster}/sidecar/{node.id}",
        ]);
        command
    });
    let xds = control_plane.xds;
    let log_has = |words: &str| control_plane.process.log().contains(words);

    // The right identity is served, and its reports are taken.
    let pair = old_ca.sidecar(&directory, "sidecar-1");
    let first = sidecar("sidecar-1", &pair, &old_ca, xds, &directory);
    control_plane.await_sidecars(1);
    assert!(first.listener().port() > 0);
    wait_until(LIMIT, "a report of sidecar-1", || {
        !control_plane.sidecars()[0]["last_report_ms"].is_null()
    });

    // Another's is not, and both sides can read why.
    let pair = old_ca.sidecar(&directory, "sidecar-2");
    let thief = sidecar("sidecar-3", &pair, &old_ca, xds, &directory);
    let why = "claims node.id `sidecar-3`";
    wait_until(LIMIT, "the reason in the log of the sidecar", || {
        // Envoy 1.40 writes a status's text as it comes over the wire: percent-encoded.
        let log = thief.process.log().replace("%20", " ").replace("%60", "`");
        log.contains(why)
    });
    assert!(log_has(why), "{}", control_plane.process.log());
    assert!(log_has("sidecar/sidecar-2"));
    drop(thief);
    // Nor is who has no certificate.
    let plain = Sidecar::start("sidecar-4", xds, directory.path());
    wait_until(LIMIT, "a refused handshake", || {
        log_has("its handshake failed")
    });
    drop(plain);
    assert_eq!(
        control_plane.sidecars().len(),
        1,
        "{:?}",
        control_plane.sidecars()
    );

    // The server's CA is replaced: first believed, then used, and the connected ones stay.
    let connected_for = || {
        let sidecars = control_plane.sidecars();
        let first = sidecars
            .iter()
            .find(|sidecar| sidecar["id"] == "sidecar-1")
            .unwrap();
        assert_eq!(first["connected"], true, "{first}");
        first["since_ms"].as_u64().unwrap()
    };
    let before = connected_for();
    let loads = || {
        control_plane
            .process
            .log()
            .matches("loaded the certificates")
            .count()
    };
    fs::write(&client_ca, format!("{}{}", old_ca.pem, new_ca.pem)).unwrap();
    wait_until(LIMIT, "both CAs", || loads() == 2);
    let next = new_ca.server(&directory, "next");
    fs::copy(&next.certificate, &server.certificate).unwrap();
    wait_until(LIMIT, "the refusal of half a pair", || {
        log_has("does not belong to the certificate")
    });
    assert_eq!(loads(), 2);
    fs::copy(&next.key, &server.key).unwrap();
    wait_until(LIMIT, "the new certificate", || loads() == 3);

    // Whoever comes now sees the new certificate: this one trusts no other.
    let pair = new_ca.sidecar(&directory, "sidecar-5");
    let late = sidecar("sidecar-5", &pair, &new_ca, xds, &directory);
    control_plane.await_sidecars(2);
    assert!(late.listener().port() > 0);
    assert!(connected_for() > before, "it never had to come back");
    assert_eq!(first.statistic("control_plane.connected_state"), Some(1));
    // On a signal they are read again as well.
    fs::write(&client_ca, "nonsense").unwrap();
    control_plane.process.signal("HUP");
    wait_until(LIMIT, "the refusal of nonsense", || {
        log_has("holds no certificate")
    });
    control_plane.await_sidecars(2);
}

#[test]
fn plaintext_stays_on_loopback_and_half_of_a_secure_listener_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (mesh, data) = (
        text(&directory.path().join("mesh")),
        text(&directory.path().join("data")),
    );
    let everywhere = format!("0.0.0.0:{}", free_address().port());
    let base = [
        "serve",
        "--mesh",
        &mesh,
        "--data",
        &data,
        "--xds",
        &everywhere,
    ];
    let cases: [(&[&str], &str); 4] = [
        (&[], "neither encrypted"),
        (&["--xds-cert", "a.pem"], "--xds-key"),
        (&["--xds-identity", "spiffe://mesh/{node.id}"], "--xds-cert"),
        (
            &[
                "--xds-cert",
                "a",
                "--xds-key",
                "a",
                "--xds-client-ca",
                "a",
                "--xds-identity",
                "spiffe://mesh/*",
            ],
            "every node",
        ),
    ];
    for (more, words) in cases {
        let answer = program::run(&[&base, more].concat());
        assert!(answer.code > 0, "{answer:?}");
        assert!(answer.stderr.contains(words), "{answer:?}");
    }
    let missing = program::run(
        &[
            &base[..],
            &[
                "--xds-cert",
                "/nowhere.pem",
                "--xds-key",
                "a",
                "--xds-client-ca",
                "a",
                "--xds-identity",
                "spiffe://mesh/{node.id}",
            ],
        ]
        .concat(),
    );
    assert!(
        missing.code > 0 && missing.stderr.contains("cannot read /nowhere.pem"),
        "{missing:?}"
    );
}
