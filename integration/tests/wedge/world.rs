//! A control plane in this process, made with the library alone, and one Envoy.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, EdsClusterConfig, LbPolicy,
};
use envoy_types::pb::envoy::config::core::v3::api_config_source::ApiType;
use envoy_types::pb::envoy::config::core::v3::config_source::ConfigSourceSpecifier;
use envoy_types::pb::envoy::config::core::v3::grpc_service::{EnvoyGrpc, TargetSpecifier};
use envoy_types::pb::envoy::config::core::v3::{
    AggregatedConfigSource, ApiConfigSource, ApiVersion, ConfigSource, GrpcService,
};
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::google::protobuf::Duration as PbDuration;
use tempfile::TempDir;
use tidegate_integration::library::Library;
use tidegate_integration::machine::{Alone, alone, free_address, wait_until};
use tidegate_integration::sidecar::{Sidecar, http2_cluster};
use tidegate_xds::stream::Variant;
use tidegate_xds::{ClientStatus, Resource, ResourceStatus, Settings, Snapshot, TypeUrl};

pub(crate) const NODE: &str = "sidecar-1";

/// An Envoy with cluster `a`, and the library that serves it.
pub(crate) struct World {
    library: Library,
    envoy: Sidecar,
    _directory: TempDir,
    _alone: Alone,
}

fn eds(name: &str) -> Cluster {
    let source = ConfigSource {
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
        resource_api_version: ApiVersion::V3 as i32,
        ..Default::default()
    };
    Cluster {
        name: name.to_owned(),
        connect_timeout: Some(PbDuration {
            seconds: 1,
            nanos: 0,
        }),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds as i32)),
        eds_cluster_config: Some(EdsClusterConfig {
            eds_config: Some(source),
            service_name: String::new(),
        }),
        ..Default::default()
    }
}

/// Endpoints that never come, from a control plane that doesn't exist.
fn nowhere() -> EdsClusterConfig {
    let nowhere = EnvoyGrpc {
        cluster_name: "nowhere".to_owned(),
        ..Default::default()
    };
    let service = GrpcService {
        target_specifier: Some(TargetSpecifier::EnvoyGrpc(nowhere)),
        ..Default::default()
    };
    let api = ApiConfigSource {
        api_type: ApiType::Grpc as i32,
        transport_api_version: ApiVersion::V3 as i32,
        grpc_services: vec![service],
        ..Default::default()
    };
    let source = ConfigSource {
        config_source_specifier: Some(ConfigSourceSpecifier::ApiConfigSource(api)),
        resource_api_version: ApiVersion::V3 as i32,
        initial_fetch_timeout: Some(PbDuration {
            seconds: 0,
            nanos: 0,
        }),
        ..Default::default()
    };
    EdsClusterConfig {
        eds_config: Some(source),
        service_name: String::new(),
    }
}

/// Clusters by name. Envoy refuses `bad`, though every field of it is valid by itself; `warming`
/// is valid and warms for ever.
pub(crate) fn view(names: &[&str]) -> Arc<Snapshot> {
    let mut builder = Snapshot::builder();
    for name in names {
        let mut cluster = eds(name);
        match *name {
            "bad" => cluster.lb_policy = LbPolicy::ClusterProvided as i32,
            "warming" => cluster.eds_cluster_config = Some(nowhere()),
            _ => {}
        }
        let endpoints = ClusterLoadAssignment {
            cluster_name: (*name).to_owned(),
            ..Default::default()
        };
        builder.insert(Resource::encode(TypeUrl::CLUSTER, name, &cluster).unwrap());
        let type_url = TypeUrl::CLUSTER_LOAD_ASSIGNMENT;
        builder.insert(Resource::encode(type_url, name, &endpoints).unwrap());
    }
    Arc::new(builder.build().unwrap())
}

fn bootstrap(xds: SocketAddr, admin: SocketAddr, variant: Variant) -> String {
    let api_type = match variant {
        Variant::Delta => "DELTA_GRPC",
        Variant::Sotw => "GRPC",
    };
    let nowhere = http2_cluster("nowhere", SocketAddr::from(([127, 0, 0, 1], 9)));
    let xds = http2_cluster("xds", xds);
    format!(
        r#"
node: {{ id: {NODE}, cluster: shop }}
admin: {{ address: {{ socket_address: {{ address: {}, port_value: {} }} }} }}
dynamic_resources:
  ads_config:
    api_type: {api_type}
    transport_api_version: V3
    grpc_services:
    - envoy_grpc:
        cluster_name: xds
        retry_policy: {{ retry_back_off: {{ base_interval: 0.1s, max_interval: 1s }} }}
  cds_config: {{ ads: {{}}, resource_api_version: V3 }}
  lds_config: {{ ads: {{}}, resource_api_version: V3 }}
static_resources:
  clusters:
{nowhere}{xds}"#,
        admin.ip(),
        admin.port()
    )
}

// === impl World ===

impl World {
    /// Serves cluster `a` and waits until the Envoy has it.
    pub(crate) fn start(envoy: &Path, variant: Variant, settings: Settings) -> Self {
        let alone = alone();
        let directory = tempfile::tempdir().unwrap();
        let library = Library::start(view(&["a"]), move || settings.clone());
        let admin = free_address();
        let bootstrap = bootstrap(library.address, admin, variant);
        let envoy = Sidecar::spawn(envoy, NODE, &bootstrap, admin, directory.path());
        let world = Self {
            library,
            envoy,
            _directory: directory,
            _alone: alone,
        };
        world.await_acknowledged(Duration::from_secs(30));
        world
    }

    pub(crate) fn publish(&self, names: &[&str]) {
        self.library.publish(view(names));
    }

    /// Cuts the connection and serves another view on the next one.
    pub(crate) fn reconnect(&mut self, names: &[&str]) {
        self.library.cut();
        wait_until(Duration::from_secs(5), "the end of the stream", || {
            !self.status().connected
        });
        self.publish(names);
        self.library.serve();
        wait_until(Duration::from_secs(20), "the next stream", || {
            self.status().connected
        });
    }

    pub(crate) fn await_acknowledged(&self, limit: Duration) {
        self.library.await_acknowledged(NODE, limit);
    }

    pub(crate) fn view_id(&self) -> String {
        self.library.view_id()
    }

    pub(crate) fn status(&self) -> ClientStatus {
        self.library.status(NODE)
    }

    pub(crate) fn resource(&self, cluster: &str) -> Option<ResourceStatus> {
        self.library.resource(NODE, &TypeUrl::CLUSTER, cluster)
    }

    pub(crate) fn statistic(&self, name: &str) -> Option<u64> {
        self.envoy.statistic(name)
    }
}
