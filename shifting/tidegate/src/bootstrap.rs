//! The Envoy bootstrap: the file that makes an Envoy a sidecar of this control plane.
//!
//! YAML with comments, because people will read it, merge it into their own and keep it under
//! revision control. Everything in it has a measured reason, which stands beside it.
//!
//! The `ConfigSource` messages in it (`ads: {}` with their timeouts) are part of how Envoy tells
//! one subscription from another: changed bytes there once took a fleet's TLS down (xDS protocol
//! rule E4). They stay as they are between releases; a test holds them.
//!
//! Only where asked: load reports (an Envoy puts its 61 KB node into each of them, envoy facts §5b;
//! the metrics stream says more, but for which host it was). Deliberately not here: anything that
//! the control plane can send later.

#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use tidegate_engine::mesh::{LATENCY_EDGES_MS, REPORT_INTERVAL_MS};
use tidegate_xds::report::STATS_NEEDED;

/// The runtime layer that holds canaries' shares: in Envoy's bootstrap and as the name of the
/// RTDS resource.
pub const RUNTIME_LAYER: &str = "tidegate";

/// The cluster through which a sidecar reaches the control plane.
pub const XDS_CLUSTER: &str = "xds";

/// Longest name, in bytes, that the control plane accepts from a node.
const NAME_BYTES_MAX: usize = 512;

/// What differs from sidecar to sidecar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootstrapOptions {
    /// `node.id`: names this sidecar; unique. 1 to 512 bytes.
    pub node_id: String,
    /// `node.cluster`: the fleet whose configuration it gets. 1 to 512 bytes.
    pub fleet: String,
    /// `node.locality.zone`: its failure domain; may be empty.
    pub zone: String,
    /// `node.locality.region`; may be empty.
    pub region: String,
    /// Where control planes serve xDS; at least one. The sidecar moves on when one dies.
    pub control_planes: Vec<ControlPlaneAddress>,
    /// Where the sidecar serves its own admin interface; it should be a loopback address.
    pub admin: SocketAddr,
    /// It also sends load reports, 61 KB a second: for services that declare
    /// `evidence: {load_reports: true}`.
    pub load_reports: bool,
    /// mTLS to the control plane; `None` for plaintext.
    pub tls: Option<ControlPlaneTls>,
}

/// How a sidecar proves who it is, and knows its control plane. Paths are as Envoy sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlPlaneTls {
    /// Its certificate chain, whose first certificate holds its SPIFFE ID; PEM.
    pub certificate: String,
    /// Its private key; PEM.
    pub key: String,
    /// The CAs that control planes' certificates come from; PEM.
    pub ca: String,
    /// The name in the control planes' certificate: a DNS name, or a URI such as a SPIFFE ID.
    pub server_san: String,
}

/// Where a control plane serves xDS: `127.0.0.1:18000`, `[::1]:18000` or `tidegate.internal:18000`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlPlaneAddress {
    host: String,
    port: u16,
}

/// What no bootstrap can hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BootstrapError {
    /// Envoy refuses to use xDS without them.
    #[error("the {what} is empty; every sidecar needs one")]
    Empty {
        /// `node id` or `fleet`.
        what: &'static str,
    },
    /// Longer than the control plane accepts.
    #[error("the {what} has {bytes} bytes; at most {NAME_BYTES_MAX} are accepted")]
    TooLong {
        /// Which name.
        what: &'static str,
        /// How long it is.
        bytes: usize,
    },
    /// A line feed or the like, which no name has on purpose.
    #[error("the {what} {name:?} contains a control character; remove it")]
    ControlCharacter {
        /// Which name.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// No address to connect to.
    #[error("no control plane is named; give its address with --xds, such as 127.0.0.1:18000")]
    NoControlPlane,
    /// An address that none is.
    #[error(
        "`{text}` is no address of a control plane: {why}; write a host and a port, such as \
         127.0.0.1:18000, [::1]:18000 or tidegate.internal:18000"
    )]
    Address {
        /// What was given.
        text: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// The bootstrap as YAML.
///
/// # Errors
/// When a name is empty, too long or contains control characters, or no control plane is named.
pub fn bootstrap(options: &BootstrapOptions) -> Result<String, BootstrapError> {
    for (what, name, required) in [
        ("node id", &options.node_id, true),
        ("fleet", &options.fleet, true),
        ("zone", &options.zone, false),
        ("region", &options.region, false),
    ] {
        check_name(what, name, required)?;
    }
    if let Some(tls) = &options.tls {
        for (what, text) in [
            ("path of the certificate", &tls.certificate),
            ("path of the key", &tls.key),
            ("path of the CA", &tls.ca),
            ("server's SAN", &tls.server_san),
        ] {
            check_text(what, text, true)?;
        }
    }
    if options.control_planes.is_empty() {
        return Err(BootstrapError::NoControlPlane);
    }
    let all_numeric = options
        .control_planes
        .iter()
        .all(|address| address.host.parse::<IpAddr>().is_ok());
    let mut endpoints = String::new();
    for ControlPlaneAddress { host, port } in &options.control_planes {
        // Writing to a string can't fail.
        let _ = write!(
            endpoints,
            "
        - endpoint:
            address:
              socket_address: {{address: {host}, port_value: {port}}}",
            host = quoted(host),
        );
    }
    let needed: String = STATS_NEEDED
        .iter()
        .map(|regex| format!("\n      - safe_regex:\n          regex: '{regex}'"))
        .collect();
    let load_reports = if options.load_reports {
        format!(
            "
# Every second this Envoy also tells how the requests to each host went, with its node of 61 KB.
cluster_manager:
  load_stats_config:
    api_type: GRPC
    transport_api_version: V3
    grpc_services:
    - envoy_grpc: {{cluster_name: {XDS_CLUSTER}}}
"
        )
    } else {
        String::new()
    };
    let flush_s = REPORT_INTERVAL_MS / 1_000;
    let edges: Vec<String> = LATENCY_EDGES_MS.iter().map(u32::to_string).collect();
    Ok(format!(
        r#"# An Envoy of the fleet {fleet}, configured by Tidegate.
# Check it with: envoy --mode validate -c <this file>
node:
  id: {node_id}
  cluster: {fleet}
  locality:
    region: {region}
    zone: {zone}

# Envoy's own admin interface. Whoever reaches it can stop this Envoy: keep it on loopback.
admin:
  address:
    socket_address: {{address: {admin_address}, port_value: {admin_port}}}

dynamic_resources:
  # One incremental stream for everything. The node is 61 KB, so only the first message has it.
  ads_config:
    api_type: DELTA_GRPC
    transport_api_version: V3
    set_node_on_first_message_only: true
    grpc_services:
    - envoy_grpc:
        cluster_name: {XDS_CLUSTER}
        retry_policy:
          # Envoy's default waits up to 30 s before it comes back to a restarted control plane.
          retry_back_off: {{base_interval: 0.1s, max_interval: 1s}}
  cds_config: {{ads: {{}}, resource_api_version: V3, initial_fetch_timeout: 15s}}
  lds_config: {{ads: {{}}, resource_api_version: V3, initial_fetch_timeout: 15s}}
{load_reports}
static_resources:
  clusters:
  - name: {XDS_CLUSTER}
    type: {discovery}
    connect_timeout: 1s{transport_socket}
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config:
          http2_protocol_options:
            # Without it a control plane that hangs is never noticed.
            connection_keepalive: {{interval: 5s, timeout: 2s}}
    load_assignment:
      cluster_name: {XDS_CLUSTER}
      endpoints:
      - lb_endpoints:{endpoints}

# Canaries' shares live in the first layer, and expire when the control plane stops renewing them.
layered_runtime:
  layers:
  - name: {RUNTIME_LAYER}
    rtds_layer:
      name: {RUNTIME_LAYER}
      # Start without it after 1 s: an absent layer means no canary.
      rtds_config: {{ads: {{}}, resource_api_version: V3, initial_fetch_timeout: 1s}}
  - name: admin
    admin_layer: {{}}

# Every second each sidecar tells the control plane how the requests went.
stats_flush_interval: {flush_s}s
stats_sinks:
- name: envoy.stat_sinks.metrics_service
  typed_config:
    "@type": type.googleapis.com/envoy.config.metrics.v3.MetricsServiceConfig
    transport_api_version: V3
    grpc_service:
      envoy_grpc: {{cluster_name: {XDS_CLUSTER}}}
    report_counters_as_deltas: true
    emit_tags_as_labels: true
    histogram_emit_mode: HISTOGRAM
stats_config:
  # Only these are kept: 1 KB a second and cluster instead of 6. This also removes the others from
  # /stats and Prometheus; add patterns for those you use.
  stats_matcher:
    inclusion_list:
      patterns:
      # How requests went by cluster (`service/version`), gRPC failures (which are HTTP 200), which
      # view is really in force, the memory that this Envoy uses, and whether it was restarted.{needed}
      # For people: what was rejected, and what the application sees.
      - safe_regex:
          regex: '(cluster_manager\.cds|listener_manager\.lds|cluster\.[^.]+|http\.[^.]+\.rds\..+)\.update_rejected'
      - safe_regex:
          regex: 'http\.[^.]+\.downstream_rq_([2345]xx|time|active|rx_reset)'
      - safe_regex:
          regex: 'cluster\.[^.]+\.membership_(healthy|total)'
      # Whether the workers are alive.
      - safe_regex:
          regex: 'server\.(live|state|worker_[0-9]+\.watchdog_(miss|mega_miss))'
      - exact: control_plane.connected_state
  # An SLO's latency threshold must be one of these edges, so that slower requests can be counted.
  histogram_bucket_settings:
  - match:
      safe_regex:
        regex: '(cluster|http)\..*'
    buckets: [{edges}]
"#,
        node_id = quoted(&options.node_id),
        fleet = quoted(&options.fleet),
        region = quoted(&options.region),
        zone = quoted(&options.zone),
        admin_address = quoted(&options.admin.ip().to_string()),
        admin_port = options.admin.port(),
        transport_socket = options
            .tls
            .as_ref()
            .map(transport_socket)
            .unwrap_or_default(),
        discovery = if all_numeric { "STATIC" } else { "STRICT_DNS" },
        edges = edges.join(", "),
    ))
}

fn check_name(what: &'static str, name: &str, required: bool) -> Result<(), BootstrapError> {
    if name.len() > NAME_BYTES_MAX {
        return Err(BootstrapError::TooLong {
            what,
            bytes: name.len(),
        });
    }
    check_text(what, name, required)
}

fn check_text(what: &'static str, name: &str, required: bool) -> Result<(), BootstrapError> {
    if required && name.is_empty() {
        return Err(BootstrapError::Empty { what });
    }
    if name.chars().any(char::is_control) {
        return Err(BootstrapError::ControlCharacter {
            what,
            name: name.to_owned(),
        });
    }
    Ok(())
}

/// The transport socket of the cluster of control planes.
fn transport_socket(tls: &ControlPlaneTls) -> String {
    let ControlPlaneTls {
        certificate,
        key,
        ca,
        server_san,
    } = tls;
    // A URI is no name that a server could be asked for.
    let (kind, sni) = if server_san.contains("://") {
        ("URI", String::new())
    } else {
        let sni = format!("\n        sni: {}", quoted(server_san));
        ("DNS", sni)
    };
    format!(
        r#"
    # Envoy reads these files once: a renewed certificate needs a restart of it, in time. The
    # control plane closes a connection when its certificate expires.
    transport_socket:
      name: envoy.transport_sockets.tls
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext{sni}
        common_tls_context:
          alpn_protocols: [h2]
          # As a client Envoy would stop at 1.2.
          tls_params: {{tls_minimum_protocol_version: TLSv1_2, tls_maximum_protocol_version: TLSv1_3}}
          tls_certificates:
          - certificate_chain: {{filename: {certificate}}}
            private_key: {{filename: {key}}}
          validation_context:
            trusted_ca: {{filename: {ca}}}
            match_typed_subject_alt_names:
            - san_type: {kind}
              matcher: {{exact: {server_san}}}"#,
        certificate = quoted(certificate),
        key = quoted(key),
        ca = quoted(ca),
        server_san = quoted(server_san),
    )
}

/// A YAML double-quoted string. Beyond ASCII only letters and digits stand for themselves: other
/// characters may end a line in YAML 1.1, or be invisible.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => {
                quoted.push('\\');
                quoted.push(character);
            }
            ' '..='~' => quoted.push(character),
            _ if character.is_alphanumeric() => quoted.push(character),
            _ => {
                // Writing to a string can't fail.
                let _ = write!(quoted, "\\U{:08X}", u32::from(character));
            }
        }
    }
    quoted.push('"');
    quoted
}

// === impl ControlPlaneAddress ===

impl From<SocketAddr> for ControlPlaneAddress {
    fn from(address: SocketAddr) -> Self {
        Self {
            host: address.ip().to_string(),
            port: address.port(),
        }
    }
}

impl FromStr for ControlPlaneAddress {
    type Err = BootstrapError;

    fn from_str(text: &str) -> Result<Self, BootstrapError> {
        let wrong = |why| BootstrapError::Address {
            text: text.to_owned(),
            why,
        };
        if let Ok(address) = text.parse::<SocketAddr>() {
            if address.port() == 0 {
                return Err(wrong("port 0 can't be connected to"));
            }
            return Ok(address.into());
        }
        let (host, port) = text
            .rsplit_once(':')
            .ok_or_else(|| wrong("it has no port"))?;
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        let port = match port.parse::<u16>() {
            _ if !digits => return Err(wrong("its port is no number from 1 to 65535")),
            Ok(0) => return Err(wrong("port 0 can't be connected to")),
            Ok(port) => port,
            Err(_) => return Err(wrong("its port is no number from 1 to 65535")),
        };
        let is_name = !host.is_empty()
            && host.len() <= 253
            && host.split('.').all(|label| !label.is_empty())
            && host
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
        // `1.2.3` or `300.1.1.1` is a slip in an address, not a name.
        let is_numeric = host
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.');
        if !is_name || is_numeric {
            return Err(wrong("its host is neither an IP address nor a name"));
        }
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}
