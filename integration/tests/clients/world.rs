//! The kinds of Envoy, and one Envoy with a control plane and hosts of its own.

use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;
use tidegate_integration::hosts::Hosts;
use tidegate_integration::library::Library;
use tidegate_integration::machine::{alone, free_address, wait_until};
use tidegate_integration::sidecar::{Sidecar, envoy_path, http2_cluster, old_envoy_path};
use tidegate_integration::traffic::{Load, Recorded, Traffic, by_status};
use tidegate_xds::stream::Variant;
use tidegate_xds::{ClientStatus, ResourceStatus, Settings, TypeUrl};

use crate::config::Config;

/// How long anything may take that has no bound of its own.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// An Envoy, and how it speaks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    /// Also its node id.
    pub(crate) name: &'static str,
    envoy: fn() -> &'static Path,
    /// `1.40`, `1.36`.
    pub(crate) release: &'static str,
    pub(crate) variant: Variant,
    /// Not one stream for all types but one for each.
    pub(crate) per_type: bool,
}

/// Those that use the aggregated service, as everybody should.
pub(crate) const AGGREGATED: [Kind; 4] = [
    aggregated("envoy-1.40-delta", envoy_path, "1.40", Variant::Delta),
    aggregated("envoy-1.40-sotw", envoy_path, "1.40", Variant::Sotw),
    aggregated("envoy-1.36-delta", old_envoy_path, "1.36", Variant::Delta),
    aggregated("envoy-1.36-sotw", old_envoy_path, "1.36", Variant::Sotw),
];

/// All.
pub(crate) const KINDS: [Kind; 6] = [
    AGGREGATED[0],
    AGGREGATED[1],
    AGGREGATED[2],
    AGGREGATED[3],
    Kind {
        name: "envoy-1.40-delta-per-type",
        per_type: true,
        ..AGGREGATED[0]
    },
    Kind {
        name: "envoy-1.36-sotw-per-type",
        per_type: true,
        ..AGGREGATED[3]
    },
];

const fn aggregated(
    name: &'static str,
    envoy: fn() -> &'static Path,
    release: &'static str,
    variant: Variant,
) -> Kind {
    Kind {
        name,
        envoy,
        release,
        variant,
        per_type: false,
    }
}

/// Does the same with every kind, at the same time, and names those with which it failed.
pub(crate) fn with_each(kinds: &[Kind], what: impl Fn(Kind) + Sync) {
    let _alone = alone();
    // Installed once, before anybody waits for an Envoy's answers.
    for kind in kinds {
        (kind.envoy)();
    }
    let failed: Vec<&str> = thread::scope(|scope| {
        let what = &what;
        let running: Vec<_> = kinds
            .iter()
            .map(|kind| {
                let named = thread::Builder::new().name(kind.name.to_owned());
                let run = named.spawn_scoped(scope, move || what(*kind));
                (kind.name, run.unwrap())
            })
            .collect();
        let ended = running.into_iter().map(|(name, run)| (name, run.join()));
        ended
            .filter(|(_, end)| end.is_err())
            .map(|(name, _)| name)
            .collect()
    });
    assert!(failed.is_empty(), "failed with {failed:?}");
}

// === impl Kind ===

impl Kind {
    /// How it reaches the control plane: an `ApiConfigSource` without its braces.
    fn api(&self) -> String {
        let api_type = match self.variant {
            Variant::Delta => "DELTA_GRPC",
            Variant::Sotw => "GRPC",
        };
        format!(
            "api_type: {api_type}, transport_api_version: V3, \
             grpc_services: [{{envoy_grpc: {{cluster_name: xds, \
             retry_policy: {{retry_back_off: {{base_interval: 0.1s, max_interval: 1s}}}}}}}}]"
        )
    }

    /// Where it gets everything from: a `ConfigSource` without its braces.
    fn source(&self) -> String {
        if self.per_type {
            format!("api_config_source: {{{}}}", self.api())
        } else {
            "ads: {}".to_owned()
        }
    }

    fn bootstrap(&self, xds: SocketAddr, admin: SocketAddr) -> String {
        let (name, source) = (self.name, self.source());
        let ads = if self.per_type {
            String::new()
        } else {
            format!("ads_config: {{{}}}", self.api())
        };
        let xds = http2_cluster("xds", xds);
        format!(
            r#"
node: {{id: {name}, cluster: shop}}
admin: {{address: {{socket_address: {{address: {}, port_value: {}}}}}}}
dynamic_resources:
  {ads}
  cds_config: {{{source}, resource_api_version: V3}}
  lds_config: {{{source}, resource_api_version: V3}}
layered_runtime:
  layers:
  - name: shift
    rtds_layer:
      name: shift
      rtds_config: {{{source}, resource_api_version: V3, initial_fetch_timeout: 1s}}
stats_flush_interval: 0.2s
stats_sinks:
- name: envoy.stat_sinks.metrics_service
  typed_config:
    "@type": type.googleapis.com/envoy.config.metrics.v3.MetricsServiceConfig
    transport_api_version: V3
    grpc_service: {{envoy_grpc: {{cluster_name: xds}}}}
    report_counters_as_deltas: true
    emit_tags_as_labels: true
static_resources:
  clusters:
{xds}"#,
            admin.ip(),
            admin.port()
        )
    }
}

/// One Envoy: listener `in` leads over route `rt` and cluster `checkout` to the hosts of `v1`, and
/// `in-2` over `rt-2` and `second` to those of `v2`.
pub(crate) struct World {
    pub(crate) kind: Kind,
    pub(crate) library: Library,
    pub(crate) envoy: Sidecar,
    pub(crate) config: Config,
    pub(crate) v1: Hosts,
    pub(crate) v2: Hosts,
    _directory: TempDir,
}

// === impl World ===

impl World {
    /// Starts them, and waits until the Envoy has everything.
    pub(crate) fn start(kind: Kind) -> Self {
        Self::start_with(kind, |_| {})
    }

    /// The same with more in the first view.
    pub(crate) fn start_with(kind: Kind, more: impl FnOnce(&mut Config)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (v1, v2) = (Hosts::start("v1", 2), Hosts::start("v2", 2));
        let mut config = Config::new(&kind.source());
        config
            .put_cluster("checkout", &v1.addresses)
            .put_route("rt", "checkout")
            .put_listener("in", "rt", 0)
            .put_cluster("second", &v2.addresses)
            .put_route("rt-2", "second")
            .put_listener("in-2", "rt-2", 0);
        more(&mut config);
        let library = Library::start(config.view(), || {
            let mut settings = Settings::default();
            // On streams of one type removals wait for this and nothing else.
            settings.session.removal_grace = Duration::from_secs(1);
            settings
        });
        let admin = free_address();
        let bootstrap = kind.bootstrap(library.address, admin);
        let envoy = Sidecar::spawn(
            (kind.envoy)(),
            kind.name,
            &bootstrap,
            admin,
            directory.path(),
        );
        let world = Self {
            kind,
            library,
            envoy,
            config,
            v1,
            v2,
            _directory: directory,
        };
        world.await_all_acknowledged();
        world
    }

    /// Makes the configuration the view.
    pub(crate) fn publish(&self) {
        self.library.publish(self.config.view());
    }

    pub(crate) fn status(&self) -> ClientStatus {
        self.library.status(self.kind.name)
    }

    pub(crate) fn resource(&self, type_url: &TypeUrl, name: &str) -> Option<ResourceStatus> {
        self.library.resource(self.kind.name, type_url, name)
    }

    /// Waits until the whole view is acknowledged, and every resource of it one by one.
    pub(crate) fn await_all_acknowledged(&self) -> ClientStatus {
        for (type_url, name) in self.config.names() {
            self.await_acknowledged(type_url, name);
        }
        self.library.await_acknowledged(self.kind.name, LIMIT)
    }

    pub(crate) fn await_acknowledged(&self, type_url: &TypeUrl, name: &str) {
        let what = (type_url, name);
        self.library
            .await_resource(self.kind.name, LIMIT, what, |status| {
                *status == ResourceStatus::Acknowledged
            });
    }

    /// 50 requests a second through a listener.
    pub(crate) fn traffic(&self, listener: &str) -> Traffic {
        let address = self.envoy.listener_named(listener);
        let load = Load {
            unanswered_max: 16,
            ..Load::steady(50)
        };
        Traffic::start_load("checkout", &[address], load)
    }
}

/// Waits for so many more requests.
pub(crate) fn await_requests(traffic: &Traffic, count: usize) {
    let wanted = traffic.records().len() + count;
    wait_until(LIMIT, "requests", || traffic.records().len() >= wanted);
}

/// All that was asked, every single one answered with 200.
pub(crate) fn all_good(traffic: Traffic) -> Vec<Recorded> {
    let records = traffic.finish();
    let statuses = by_status(&records);
    assert_eq!(statuses.keys().collect::<Vec<_>>(), [&200], "{statuses:?}");
    records
}
