//! Certificates that are wrong, expire, or change while connections live.

use std::time::{Duration, SystemTime};

use tidegate_xds::identity::{CertificateError, Certificates, Incident, Tls};
use tokio::net::TcpStream;

use crate::world::{Ca, Healthy, World, closed, open, wish};

/// The certificate that the server shows.
async fn shown(world: &World) -> Vec<u8> {
    let stream = world.tls(Some(&world.ca.sidecar("probe"))).await.unwrap();
    let certificates = stream.get_ref().1.peer_certificates().unwrap();
    certificates[0].to_vec()
}

#[tokio::test]
async fn certificates_that_are_expired_foreign_or_missing_are_refused() {
    let world = World::start().await;
    let mut healthy = Healthy::connect(&world).await;
    let me = "spiffe://mesh/ns/shop/sidecar/e1";
    let yesterday = SystemTime::now() - Duration::from_secs(86_400);
    let expired = world.ca.issue_until(&[me], yesterday);
    let foreign = Ca::new().issue(&[me]);
    for (count, pair) in (1..).zip([Some(&expired), Some(&foreign), None]) {
        if let Ok(mut stream) = world.tls(pair).await {
            assert_eq!(closed(&mut stream).await, b"");
        }
        world.await_count(Incident::HandshakeFailed, count).await;
    }
    let mut plain = TcpStream::connect(world.address).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut plain, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    closed(&mut plain).await;
    world.await_count(Incident::HandshakeFailed, 4).await;
    healthy.is_served(&world).await;
}

#[tokio::test]
async fn a_connection_ends_when_its_certificate_expires() {
    let world = World::start().await;
    let mut healthy = Healthy::connect(&world).await;
    let soon = SystemTime::now() + Duration::from_secs(3);
    let me = "spiffe://mesh/ns/shop/sidecar/e1";
    let pair = world.ca.issue_until(&[me], soon);
    let mut stream = open(world.channel(&pair).await.unwrap()).await.unwrap();
    stream.send(wish("e1")).await;
    stream.taken().await;
    stream.end().await;
    assert!(SystemTime::now() + Duration::from_secs(1) >= soon);
    world.await_count(Incident::CertificateExpired, 1).await;
    healthy.is_served(&world).await;
}

#[tokio::test]
async fn a_new_certificate_is_for_new_connections_and_old_ones_live_on() {
    let world = World::start().await;
    let mut healthy = Healthy::connect(&world).await;
    let before = shown(&world).await;
    let next = world.ca.issue(&[]);
    // Half of it: nothing changes, and the reason is told.
    world.write("chain", &next.chain);
    let error = world.tls.reload(SystemTime::now()).unwrap_err();
    assert!(
        matches!(error, CertificateError::Mismatch { .. }),
        "{error}"
    );
    assert_eq!(shown(&world).await, before);
    world.write("key", &next.key[..next.key.len() / 2]);
    let error = world.tls.reload(SystemTime::now()).unwrap_err();
    assert!(
        matches!(
            error,
            CertificateError::Pem { .. } | CertificateError::Empty { .. }
        ),
        "{error}"
    );
    assert_eq!(shown(&world).await, before);
    world.write("key", &next.key);
    assert!(world.tls.reload(SystemTime::now()).unwrap().changed);
    assert_ne!(shown(&world).await, before);
    assert!(!world.tls.reload(SystemTime::now()).unwrap().changed);
    healthy.is_served(&world).await;
}

#[tokio::test]
async fn while_a_ca_is_replaced_both_are_believed_and_then_only_the_new_one() {
    let world = World::start().await;
    let mut healthy = Healthy::connect(&world).await;
    let new_ca = Ca::new();
    world.write("ca", &format!("{}{}", world.ca.pem, new_ca.pem));
    assert_eq!(world.tls.reload(SystemTime::now()).unwrap().client_cas, 2);
    for (id, ca) in [("old", &world.ca), ("new", &new_ca)] {
        let channel = world.channel(&ca.sidecar(id)).await.unwrap();
        let mut stream = open(channel).await.unwrap();
        stream.send(wish(id)).await;
        stream.taken().await;
    }
    world.write("ca", &new_ca.pem);
    world.tls.reload(SystemTime::now()).unwrap();
    if let Ok(mut stream) = world.tls(Some(&world.ca.sidecar("late"))).await {
        assert_eq!(closed(&mut stream).await, b"");
    }
    world.await_count(Incident::HandshakeFailed, 1).await;
    healthy.is_served(&world).await;
}

#[test]
fn files_that_cannot_be_used_are_told_by_name() {
    type Wrong = fn(&CertificateError) -> bool;
    let ca = Ca::new();
    let good = ca.issue(&[]);
    let expired = ca.issue_until(&[], SystemTime::now() - Duration::from_secs(60));
    let other = ca.issue(&[]);
    let cut = |text: &str| text[..text.len() - 40].to_owned();
    let large = "#".repeat(2 * 1024 * 1024);
    let cases: [(&str, &str, &str, Wrong); 8] = [
        ("", &good.key, &ca.pem, |error| {
            matches!(error, CertificateError::Empty { .. })
        }),
        (&cut(&good.chain), &good.key, &ca.pem, |error| {
            matches!(
                error,
                CertificateError::Pem { .. } | CertificateError::Empty { .. }
            )
        }),
        (&good.chain, "", &ca.pem, |error| {
            matches!(error, CertificateError::Empty { .. })
        }),
        (&good.chain, &other.key, &ca.pem, |error| {
            matches!(error, CertificateError::Mismatch { .. })
        }),
        (&expired.chain, &expired.key, &ca.pem, |error| {
            matches!(
                error,
                CertificateError::OutOfTime {
                    what: "expired",
                    ..
                }
            )
        }),
        (&good.chain, &good.key, "", |error| {
            matches!(error, CertificateError::Empty { .. })
        }),
        (&good.chain, &good.key, &large, |error| {
            matches!(error, CertificateError::TooLarge { .. })
        }),
        (&good.chain, &good.key, &ca.pem.repeat(65), |error| {
            matches!(error, CertificateError::ClientCa { .. })
        }),
    ];
    for (chain, key, client_ca, wrong) in cases {
        let files = tempfile::tempdir().unwrap();
        let write = |name, text: &str| {
            let path = files.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let certificates = Certificates {
            chain: write("chain", chain),
            key: write("key", key),
            client_ca: write("ca", client_ca),
        };
        let error = Tls::load(certificates, SystemTime::now()).unwrap_err();
        assert!(wrong(&error), "{error:?}");
        let directory = files.path().display().to_string();
        assert!(error.to_string().contains(&directory), "{error}");
    }
}
