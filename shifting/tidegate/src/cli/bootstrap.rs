//! `tidegate bootstrap` and `tidegate envoy`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::{Failure, Outcome, print_json, print_text};
use crate::bootstrap::{BootstrapOptions, ControlPlaneAddress, ControlPlaneTls, bootstrap};
use crate::envoy;

#[derive(Debug, Args)]
pub(crate) struct BootstrapArguments {
    /// Names the sidecar; unique in the mesh
    #[arg(long, value_name = "ID")]
    node_id: String,
    /// The fleet it belongs to
    #[arg(long, value_name = "NAME")]
    fleet: String,
    /// Its failure domain
    #[arg(long, default_value = "", value_name = "NAME")]
    zone: String,
    /// Its region
    #[arg(long, default_value = "", value_name = "NAME")]
    region: String,
    /// Where the control plane serves xDS; repeat it for several
    #[arg(long, default_value = "127.0.0.1:18000", value_name = "ADDRESS")]
    xds: Vec<ControlPlaneAddress>,
    /// Where the sidecar serves its own admin interface; keep it on loopback
    #[arg(long, default_value = "127.0.0.1:9901", value_name = "ADDRESS")]
    admin: SocketAddr,
    /// Also send load reports (61 KB a second), for services with `evidence: {load_reports: true}`
    #[arg(long)]
    load_reports: bool,
    /// The sidecar's certificate chain with its SPIFFE ID, PEM; turns mTLS on. Paths are as Envoy
    /// sees them
    #[arg(long, value_name = "FILE", requires_all = ["tls_key", "tls_ca", "server_san"])]
    tls_cert: Option<String>,
    /// Its private key, PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<String>,
    /// CAs that the control plane's certificate comes from, PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_ca: Option<String>,
    /// The name in the control plane's certificate: a DNS name or a URI
    #[arg(long, value_name = "NAME", requires = "tls_cert")]
    server_san: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct EnvoyArguments {
    /// An Envoy executable to check instead of searching
    #[arg(long, value_name = "FILE")]
    envoy: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct EnvoyAnswer {
    path: PathBuf,
    version: String,
}

/// Envoy's configuration is the YAML text; programs take it out of one JSON document.
#[derive(Debug, Serialize)]
struct BootstrapAnswer {
    bootstrap: String,
}

pub(crate) fn run(arguments: BootstrapArguments, json: bool) -> Outcome {
    let tls = match (
        arguments.tls_cert,
        arguments.tls_key,
        arguments.tls_ca,
        arguments.server_san,
    ) {
        (Some(certificate), Some(key), Some(ca), Some(server_san)) => Some(ControlPlaneTls {
            certificate,
            key,
            ca,
            server_san,
        }),
        _ => None,
    };
    let options = BootstrapOptions {
        node_id: arguments.node_id,
        fleet: arguments.fleet,
        zone: arguments.zone,
        region: arguments.region,
        control_planes: arguments.xds,
        admin: arguments.admin,
        load_reports: arguments.load_reports,
        tls,
    };
    let bootstrap = bootstrap(&options).map_err(Failure::new)?;
    if json {
        print_json(&BootstrapAnswer { bootstrap })?;
    } else {
        print_text(&bootstrap)?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn envoy(arguments: &EnvoyArguments, json: bool) -> Outcome {
    let found = envoy::find(arguments.envoy.as_deref(), &mut |progress| {
        envoy::tell_on_stderr(&progress);
    })
    .map_err(Failure::new)?;
    if json {
        print_json(&EnvoyAnswer {
            path: found.path,
            version: found.version,
        })?;
    } else {
        print_text(&found.path.display().to_string())?;
    }
    Ok(ExitCode::SUCCESS)
}
