//! Measures the xDS server against go-control-plane and against a bare broadcast over `h2`.
//!
//! ```text
//! cargo run --release -p tidegate-integration --bin bench_xds -- --quick
//! ```

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::{Parser, Subcommand, ValueEnum};
use serde_json::json;
use tidegate_integration::bench::data::World;
use tidegate_integration::bench::report::Report;
use tidegate_integration::bench::scenario::{self, Bench};
use tidegate_integration::bench::servers::{Kind, Programs};
use tidegate_integration::bench::{fleet, floor, measure, ours};

/// Measures the xDS server: beside go-control-plane (built with `go`, which must be there), beside a
/// bare h2 broadcast of the same bytes, and by itself. Servers and clients are processes of their
/// own on this machine; nothing but loopback is used. Prints tables and goals.
#[derive(Debug, Parser)]
#[command(name = "bench_xds", subcommand_negates_reqs = true)]
struct Arguments {
    /// What to measure; everything by default.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Scenario>,
    /// Numbers of streams for the fan-out [default: 500,2000; quick: 200]
    #[arg(long, value_delimiter = ',')]
    streams: Vec<u32>,
    /// Servers for what is measured of several; all by default.
    #[arg(long, value_enum, value_delimiter = ',')]
    servers: Vec<Kind>,
    /// Clusters, and as many assignments of 10 endpoints.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(10..=10_000))]
    clusters: u32,
    /// Extensions in every client's node, as Envoys have 516 (61 KB).
    #[arg(long, default_value_t = 0)]
    extensions: u32,
    /// Pushes to take medians of [default: 21; quick: 5]
    #[arg(long)]
    pushes: Option<u32>,
    /// Processes of our server and of the floor whose CPU of a push is compared, each with its own
    /// streams [default: 7; quick: 1]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Writes everything to this file as well.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Few streams and few repetitions: shows that it runs, not what it can.
    #[arg(long)]
    quick: bool,
    /// Leaves go-control-plane out.
    #[arg(long)]
    without_peer: bool,
    /// Fails if a goal is missed.
    #[arg(long)]
    strict: bool,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// Cold start, memory, time and CPU of a push, for all servers.
    FanOut,
    /// Cold start of our server with content that no client took yet.
    Unproven,
    /// Memory of 5,000 idle streams (quick: 500).
    Idle,
    /// 5,000 streams (quick: 500) whose server is killed and started again.
    Reconnect,
    /// 10,000 streams that come and go (quick: 1,000).
    Cycles,
    /// A client that rejects everything, of every server.
    Reject,
    /// Pushes to 500 streams (quick: 50) while others misbehave.
    Abuse,
}

/// The parts that run as processes of their own.
#[derive(Debug, Subcommand)]
enum Role {
    /// Serves with tidegate-xds.
    #[command(hide = true)]
    Serve {
        #[arg(long)]
        listen: SocketAddr,
        #[arg(long)]
        data: PathBuf,
    },
    /// Serves with bare h2.
    #[command(hide = true)]
    Floor {
        #[arg(long)]
        listen: SocketAddr,
        #[arg(long)]
        data: PathBuf,
    },
    /// The clients.
    #[command(hide = true)]
    Fleet {
        #[arg(long)]
        server: SocketAddr,
        #[arg(long)]
        clusters: u32,
        #[arg(long)]
        extensions: u32,
        #[arg(long)]
        background: bool,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match &arguments.role {
        Some(Role::Serve { listen, data }) => ours::run(*listen, data).map(|()| true),
        Some(Role::Floor { listen, data }) => floor::run(*listen, data).map(|()| true),
        Some(Role::Fleet {
            server,
            clusters,
            extensions,
            background,
        }) => {
            let world = World {
                clusters: *clusters,
            };
            let stepped_back = match background {
                true => measure::yield_to_others(),
                false => Ok(()),
            };
            stepped_back
                .and_then(|()| fleet::run(*server, world, *extensions))
                .map(|()| true)
        }
        None => measure(&arguments),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(cause) => {
            eprintln!("bench_xds: {cause}");
            ExitCode::from(2)
        }
    }
}

/// Whether the run is whole and without faults.
fn measure(arguments: &Arguments) -> io::Result<bool> {
    let files = measure::allow_files()?;
    let own = std::env::current_exe()?;
    let peer = if arguments.without_peer {
        None
    } else {
        build_peer(&own)
    };
    let skipped = peer.is_none() && !arguments.without_peer;
    let quick = arguments.quick;
    let or = |given: &[u32], default: &[u32]| {
        if given.is_empty() {
            default.to_vec()
        } else {
            given.to_vec()
        }
    };
    let mut kinds = match &arguments.servers[..] {
        [] => Kind::value_variants().to_vec(),
        given => given.to_vec(),
    };
    kinds.retain(|kind| peer.is_some() || !kind.is_peer());
    let mut report = Report::default();
    report.machine.insert("open files".to_owned(), json!(files));
    let cores = std::thread::available_parallelism()?.get();
    report.machine.insert("cores".to_owned(), json!(cores));
    let optimised = !cfg!(debug_assertions);
    report
        .machine
        .insert("optimised".to_owned(), json!(optimised));
    if !optimised {
        eprintln!("bench_xds: built without --release: the numbers mean nothing");
    }
    let mut bench = Bench {
        programs: Programs { own, peer },
        world: World {
            clusters: arguments.clusters,
        },
        extensions: arguments.extensions,
        kinds,
        streams: or(
            &arguments.streams,
            if quick { &[200] } else { &[500, 2_000] },
        ),
        pushes: arguments.pushes.unwrap_or(if quick { 5 } else { 21 }),
        rounds: arguments.rounds.unwrap_or(if quick { 1 } else { 7 }),
        report,
        scratch: tempfile::tempdir()?,
    };
    let many = if quick { 500 } else { 5_000 };
    for scenario in Scenario::value_variants() {
        if arguments.only.is_empty() || arguments.only.contains(scenario) {
            match scenario {
                Scenario::FanOut => scenario::fan_out(&mut bench)?,
                Scenario::Unproven => scenario::unproven(&mut bench)?,
                Scenario::Idle => scenario::idle(&mut bench, many)?,
                Scenario::Reconnect => scenario::reconnect(&mut bench, many)?,
                Scenario::Cycles => scenario::cycles(&mut bench, many * 2)?,
                Scenario::Reject => scenario::reject(&mut bench)?,
                Scenario::Abuse => scenario::abuse(&mut bench, many / 10)?,
            }
        }
    }
    bench.report.conclude();
    if let Some(path) = &arguments.json {
        bench.report.write(path)?;
    }
    if skipped {
        eprintln!(
            "bench_xds: go-control-plane was NOT measured (see above); --without-peer makes that no error"
        );
    }
    let missed = bench.report.goals.iter().any(|goal| !goal.met);
    Ok(!skipped && bench.report.faults.is_empty() && !(arguments.strict && missed))
}

/// Builds go-control-plane's program beside this one.
fn build_peer(own: &Path) -> Option<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("go-control-plane");
    let program = own.with_file_name("bench-go-control-plane");
    let mut go = Command::new("go");
    go.current_dir(source)
        .args(["build", "-o"])
        .arg(&program)
        .arg(".");
    match go.status() {
        Ok(status) if status.success() => Some(program),
        Ok(status) => {
            eprintln!("bench_xds: `go build` of the peer failed: {status}");
            None
        }
        Err(cause) => {
            eprintln!("bench_xds: `go` can't be run ({cause}); get it from https://go.dev/dl");
            None
        }
    }
}
