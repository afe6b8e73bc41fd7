//! `tidegate serve`.

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use tidegate_xds::identity::{Certificates, Rule};
use tracing_subscriber::EnvFilter;

use super::{Failure, Outcome};
use crate::daemon::{self, XdsTls};

#[derive(Debug, Args)]
pub(crate) struct ServeArguments {
    /// Directory of the mesh: every *.yaml and *.yml in it; read again on change and on SIGHUP
    #[arg(long, value_name = "DIR")]
    mesh: PathBuf,
    /// Directory of the journal; created when missing
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Where sidecars fetch their configuration and send their reports
    #[arg(long, default_value = "127.0.0.1:18000", value_name = "ADDRESS")]
    xds: SocketAddr,
    /// Certificate chain for the listener of sidecars, PEM; turns mTLS on. Like the two files below
    /// it is read again on change and on SIGHUP
    #[arg(long, value_name = "FILE", requires_all = ["xds_key", "xds_client_ca", "xds_identity"])]
    xds_cert: Option<PathBuf>,
    /// Its private key, PEM
    #[arg(long, value_name = "FILE", requires = "xds_cert")]
    xds_key: Option<PathBuf>,
    /// CAs that sidecars' certificates come from, PEM
    #[arg(long, value_name = "FILE", requires = "xds_cert")]
    xds_client_ca: Option<PathBuf>,
    /// Which SPIFFE ID may speak for which sidecar, such as
    /// spiffe://mesh/fleet/{node.cluster}/sidecar/{node.id}, where * stands for any one segment;
    /// repeat it for several
    #[arg(long, value_name = "PATTERN", requires = "xds_cert")]
    xds_identity: Vec<Rule>,
    /// Where operators' commands are answered
    #[arg(long, default_value = "127.0.0.1:18001", value_name = "ADDRESS")]
    api: SocketAddr,
    /// Listen beyond loopback although the listener is neither encrypted nor authenticated
    #[arg(long)]
    plaintext_beyond_loopback: bool,
    /// How to write the log to standard error
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    /// What to log, such as `info` or `tidegate=debug`
    #[arg(
        long,
        env = "TIDEGATE_LOG",
        default_value = "info",
        value_name = "FILTER"
    )]
    log: String,
    /// Stop when standard input ends, so that a supervisor's death is noticed
    #[arg(long, hide = true)]
    exit_with_stdin: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

pub(crate) async fn run(arguments: ServeArguments) -> Outcome {
    let xds_is_secure = arguments.xds_cert.is_some();
    for (flag, address, secure, remedy) in [
        (
            "--xds",
            arguments.xds,
            xds_is_secure,
            "give it certificates with --xds-cert, put it behind a tunnel",
        ),
        ("--api", arguments.api, false, "put it behind a tunnel"),
    ] {
        if !address.ip().is_loopback() && !secure && !arguments.plaintext_beyond_loopback {
            return Err(Failure(format!(
                "{flag} {address} is not a loopback address, and this listener is neither encrypted \
                 nor authenticated; {remedy}, or insist with --plaintext-beyond-loopback"
            )));
        }
    }
    start_log(&arguments)?;
    let files = (
        arguments.xds_cert,
        arguments.xds_key,
        arguments.xds_client_ca,
    );
    let xds_tls = match files {
        (Some(chain), Some(key), Some(client_ca)) => Some(XdsTls {
            certificates: Certificates {
                chain,
                key,
                client_ca,
            },
            rules: arguments.xds_identity,
        }),
        _ => None,
    };
    let options = daemon::Options {
        mesh: arguments.mesh,
        data: arguments.data,
        xds: arguments.xds,
        xds_tls,
        api: arguments.api,
        exit_with_stdin: arguments.exit_with_stdin,
    };
    daemon::run(options).await.map_err(Failure::new)?;
    Ok(ExitCode::SUCCESS)
}

fn start_log(arguments: &ServeArguments) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(&arguments.log)
        .map_err(|error| Failure(format!("--log {}: {error}", arguments.log)))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match arguments.log_format {
        LogFormat::Text => log.with_target(false).init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}
