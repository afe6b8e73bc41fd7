//! What Envoy fails without is never taken away while it may be in use (rule D3c).

use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::core::v3::config_source::ConfigSourceSpecifier;
use envoy_types::pb::envoy::config::core::v3::transport_socket::ConfigType as SocketConfig;
use envoy_types::pb::envoy::config::core::v3::{
    AggregatedConfigSource, ConfigSource, ExtensionConfigSource, TransportSocket,
};
use envoy_types::pb::envoy::config::listener::v3::Listener;
use envoy_types::pb::envoy::config::listener::v3::ListenerFilter;
use envoy_types::pb::envoy::config::listener::v3::listener_filter::ConfigType;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
    CommonTlsContext, SdsSecretConfig, UpstreamTlsContext,
};
use envoy_types::pb::google::protobuf::Any;
use prost::{Message as _, Name as _};

use super::*;
use crate::stream::Variant::{Delta, Sotw};

const ECDS: TypeUrl = TypeUrl::EXTENSION_CONFIG;
const SDS: TypeUrl = TypeUrl::SECRET;

fn ads() -> Option<ConfigSource> {
    Some(ConfigSource {
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
        ..ConfigSource::default()
    })
}

fn listener_with(extensions: &[&str]) -> Resource {
    let filter = |name: &&str| {
        let source = ExtensionConfigSource {
            config_source: ads(),
            ..Default::default()
        };
        ListenerFilter {
            name: (*name).to_owned(),
            config_type: Some(ConfigType::ConfigDiscovery(source)),
            ..Default::default()
        }
    };
    let listener = Listener {
        name: "l".to_owned(),
        listener_filters: extensions.iter().map(filter).collect(),
        ..Listener::default()
    };
    Resource::encode(LDS, "l", &listener).unwrap()
}

fn cluster_with(name: &str, secret: &str) -> Resource {
    let config = SdsSecretConfig {
        name: secret.to_owned(),
        sds_config: ads(),
    };
    let context = UpstreamTlsContext {
        common_tls_context: Some(CommonTlsContext {
            tls_certificate_sds_secret_configs: vec![config],
            ..CommonTlsContext::default()
        }),
        ..UpstreamTlsContext::default()
    };
    let any = Any {
        type_url: UpstreamTlsContext::type_url(),
        value: context.encode_to_vec(),
    };
    let cluster = Cluster {
        name: name.to_owned(),
        transport_socket: Some(TransportSocket {
            name: "tls".to_owned(),
            config_type: Some(SocketConfig::TypedConfig(any)),
        }),
        ..Cluster::default()
    };
    Resource::encode(CDS, name, &cluster).unwrap()
}

fn opaque(type_url: TypeUrl, name: &str) -> Resource {
    Resource::new(type_url, name, bytes::Bytes::new()).unwrap()
}

#[test]
fn d3c_an_extension_stays_while_a_listener_has_it() {
    let mut peer = Peer::with_view(Delta, &snapshot([listener_with(&["x"]), opaque(ECDS, "x")]));
    peer.subscribe(LDS, &["*"]);
    peer.subscribe(ECDS, &["x"]);
    assert_eq!(peer.settle(), ["lds l", "ecds x"]);
    let without = snapshot([listener_with(&["x"])]);
    peer.view(&without);
    peer.pass(Duration::from_secs(60));
    assert_eq!(
        peer.settle(),
        Vec::<String>::new(),
        "the listener would answer 500"
    );
    assert_eq!(peer.acknowledged().as_deref(), Some(&**without.id()));
    peer.view(&snapshot([listener_with(&[])]));
    let listener = peer.one();
    assert_eq!(brief(&listener), "lds l");
    peer.pass(Duration::from_secs(60));
    assert!(peer.drain().is_empty(), "not by any deadline");
    peer.ack(&listener);
    assert_eq!(peer.settle(), ["ecds -x"]);
}

#[test]
fn d3c_an_extension_stays_while_the_client_refuses_the_listener_without_it() {
    let mut peer = Peer::with_view(Delta, &snapshot([listener_with(&["x"]), opaque(ECDS, "x")]));
    peer.subscribe(LDS, &["*"]);
    peer.subscribe(ECDS, &["x"]);
    peer.settle();
    peer.view(&snapshot([listener_with(&[])]));
    let listener = peer.one();
    peer.nack(&listener, "no");
    peer.pass(Duration::from_secs(60));
    assert!(peer.drain().is_empty());
}

#[test]
fn d3c_a_secret_goes_after_the_cluster_that_has_it() {
    let with = |names: &[&str]| {
        let clusters = names.iter().map(|name| cluster_with(name, "cert"));
        let secret = (names.len() == 2).then(|| opaque(SDS, "cert"));
        snapshot(clusters.chain(secret))
    };
    let mut peer = Peer::with_view(Delta, &with(&["a", "b"]));
    peer.subscribe(CDS, &["*"]);
    peer.subscribe(SDS, &["cert"]);
    assert_eq!(peer.settle(), ["cds a b", "sds cert"]);
    peer.view(&with(&["a"]));
    assert_eq!(peer.settle(), ["cds -b"], "`a` has it still");
    peer.view(&with(&[]));
    assert_eq!(peer.settle(), ["cds -a", "sds -cert"]);
}

#[test]
fn d3c_an_old_envoy_that_refuses_the_absence_of_a_secret_is_not_told_again() {
    let mut peer = Peer::with_view(Delta, &snapshot([static_cluster("a")])).of_envoy();
    peer.subscribe(SDS, &["cert"]);
    let absent = peer.one();
    assert_eq!(brief(&absent), "sds -cert");
    peer.nack(
        &absent,
        "Missing SDS resources for cert in onConfigUpdate()",
    );
    assert!(peer.drain().is_empty());
    peer.view(&snapshot([static_cluster("a"), opaque(SDS, "cert")]));
    assert_eq!(peer.settle(), ["sds cert"], "and gets it when it is there");
}

#[test]
fn d3c_over_state_of_the_world_no_absence_takes_anything_away() {
    let all = [
        listener_with(&["x"]),
        opaque(ECDS, "x"),
        opaque(SDS, "cert"),
    ];
    let mut peer = Peer::with_view(Sotw, &snapshot(all));
    peer.subscribe(ECDS, &["x"]);
    peer.subscribe(SDS, &["cert"]);
    assert_eq!(peer.settle(), ["sds cert", "ecds x"]);
    peer.view(&Arc::new(Snapshot::builder().build().unwrap()));
    assert_eq!(peer.settle(), Vec::<String>::new());
}
