//! The client against the hosts, without sidecars between them; and a real Envoy, if one is named.

use std::net::SocketAddr;
use std::time::Duration;

use super::behaviour::{Behaviour, Fault};
use super::clock::Clock;
use super::hosts::{Arm, Hosts};
use super::load::{Answered, Failure, Load, http_client};
use super::measure;
use super::sidecar::Sidecar;
use super::wait;

/// Sends to the canary's hosts directly until `enough` requests were answered.
async fn exercise(behaviour: Behaviour, hosts: usize, enough: u64) -> (Hosts, Vec<Answered>) {
    let clock = Clock::start();
    let hosts = Hosts::start(1, hosts, behaviour, clock).await.unwrap();
    let load = Load::start(hosts.canary.clone(), "checkout", 400, clock);
    wait::until("enough answers", Duration::from_secs(30), async || {
        let counts = load.counts();
        Ok(if counts.answered >= enough {
            Ok(())
        } else {
            Err(format!("{counts:?}"))
        })
    })
    .await
    .unwrap();
    let answers = load.stop().await;
    (hosts, answers)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_is_recorded_at_both_ends() {
    let (hosts, answers) = exercise(Behaviour::Healthy, 3, 200).await;
    assert!(answers.len() >= 200);
    assert!(answers.iter().all(|answered| answered.result == Ok(200)));
    assert!(
        answers
            .iter()
            .all(|answered| answered.arm == Some(Arm::Canary))
    );
    let mut sent: Vec<_> = answers.iter().map(|answered| answered.request).collect();
    let mut seen: Vec<_> = hosts.ledger.all().iter().map(|seen| seen.request).collect();
    sent.sort_unstable();
    seen.sort_unstable();
    assert_eq!(sent, seen);
    assert_eq!(hosts.ledger.since(0), (0, seen.len() as u64));
    assert!(
        answers
            .iter()
            .all(|answered| answered.ended_us - answered.due_us >= 2_000)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_host_is_recorded_alike_at_both_ends() {
    let (hosts, answers) = exercise(Behaviour::Errors, 2, 300).await;
    let failures = measure::failures(&answers, &hosts.ledger.all());
    let failed = hosts
        .ledger
        .all()
        .iter()
        .filter(|seen| seen.fault == Some(Fault::Failed))
        .count();
    assert_eq!(failures.all, failed as u64);
    assert_eq!(failures.on_canary, failures.all);
    let half = answers.len() as u64 / 2;
    assert!(
        failures.all.abs_diff(half) < half / 3,
        "{failures:?} of {}",
        answers.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rate_does_not_wait_for_answers() {
    let clock = Clock::start();
    let hosts = Hosts::start(0, 1, Behaviour::Hang, clock).await.unwrap();
    let load = Load::start(hosts.canary.clone(), "checkout", 200, clock);
    wait::until("a second's worth", Duration::from_secs(4), async || {
        let counts = load.counts();
        Ok(if counts.sent >= 200 {
            Ok(())
        } else {
            Err(format!("{counts:?}"))
        })
    })
    .await
    .unwrap();
    assert_eq!(load.counts().answered, 0);
    let answers = load.stop().await;
    assert!(
        answers
            .iter()
            .all(|answered| answered.result == Err(Failure::Timeout))
    );
    let failures = measure::failures(&answers, &hosts.ledger.all());
    assert_eq!(failures.on_canary, failures.all);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_one_host_leaves_and_the_others_serve() {
    let (hosts, answers) = exercise(Behaviour::Gone, 4, 300).await;
    let gone: Vec<_> = hosts
        .ledger
        .all()
        .into_iter()
        .filter(|seen| seen.fault.is_some())
        .collect();
    assert_eq!(gone.len(), 1);
    let mut refused = 0;
    for address in &hosts.canary {
        refused += usize::from(tokio::net::TcpStream::connect(address).await.is_err());
    }
    assert_eq!(refused, 1);
    // A quarter of the client's requests go to the dead host, and no other fails.
    let failures = measure::failures(&answers, &hosts.ledger.all());
    let quarter = answers.len() as u64 / 4;
    assert!(
        failures.all.abs_diff(quarter) <= 2,
        "{failures:?} of {}",
        answers.len()
    );
    assert_eq!(failures.on_canary, 1);
}

/// A bootstrap with the route written in, instead of a control plane.
fn static_bootstrap(admin: SocketAddr, host: SocketAddr) -> String {
    format!(
        r#"
admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {admin}}}}}}}
static_resources:
  listeners:
  - name: web
    address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: web
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
          route_config:
            virtual_hosts:
            - name: checkout
              domains: [checkout]
              routes: [{{match: {{prefix: /}}, route: {{cluster: v2, timeout: 0.5s}}}}]
  clusters:
  - name: v2
    type: STATIC
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{http2_protocol_options: {{}}}}
    load_assignment:
      cluster_name: v2
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {host}}}}}}}
"#,
        admin = admin.port(),
        host = host.port(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_envoy_is_started_found_and_ended() {
    let envoy = crate::envoy::find(None, &mut |_| {}).unwrap().path;
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::start();
    let hosts = Hosts::start(0, 1, Behaviour::Healthy, clock).await.unwrap();
    let host = hosts.canary[0];
    let place = Sidecar::place(0, SocketAddr::from(([127, 0, 0, 1], 1)));
    let bootstrap = |place: &super::SidecarPlace| Ok(static_bootstrap(place.admin, host));
    let mut sidecar = Sidecar::start(&envoy, &place, bootstrap, dir.path(), http_client()).unwrap();
    let listener = sidecar.ready("checkout").await.unwrap();
    assert!(hosts.ledger.all().is_empty(), "probes are not measured");

    let load = Load::start(vec![listener], "checkout", 500, clock);
    wait::until("answers", Duration::from_secs(20), async || {
        let counts = load.counts();
        Ok(if counts.answered >= 1_000 {
            Ok(())
        } else {
            Err(format!("{counts:?}"))
        })
    })
    .await
    .unwrap();
    let answers = load.stop().await;
    assert!(answers.iter().all(|answered| answered.result == Ok(200)));
    assert_eq!(hosts.ledger.all().len(), answers.len());

    sidecar.kill().await.unwrap();
    assert!(sidecar.check().is_err());
    assert!(tokio::net::TcpStream::connect(listener).await.is_err());
}
