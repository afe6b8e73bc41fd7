//! Measures what it costs to take the reports of thousands of sidecars.
//!
//! ```text
//! cargo run --release -p tidegate-integration --bin bench_reports -- --quick
//! ```

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use serde_json::json;
use tidegate_integration::bench::measure;
use tidegate_integration::bench::report::{Goal, Report, Row, Section};
use tidegate_integration::bench::reports::load::{self, Load};
use tidegate_integration::bench::reports::payload::{Payload, Stats};
use tidegate_integration::bench::reports::server;

/// Measures the intake of reports: sidecars that each send a metrics message a second, as Envoy 1.40
/// does, beside a server that reads the same bytes and drops them. Server and sidecars are processes
/// of their own on this machine.
#[derive(Debug, Parser)]
#[command(name = "bench_reports")]
struct Arguments {
    /// Sidecars, each with a stream of its own [default: 5000; quick: 500]
    #[arg(long)]
    sidecars: Option<u32>,
    /// Connections that they share; at most 64 streams fit into each.
    #[arg(long, default_value_t = 100)]
    connections: u32,
    /// Upstream clusters of each sidecar: 14 families each of the stats that Tidegate needs.
    #[arg(long, default_value_t = 50)]
    clusters: u32,
    /// Which stats they send.
    #[arg(long, value_enum, default_value_t = Stats::Needed)]
    stats: Stats,
    /// Extensions in every node, as Envoys have 516 (61 KB, in a stream's first message).
    #[arg(long, default_value_t = 516)]
    extensions: u32,
    /// Seconds to measure for [default: 10; quick: 3]
    #[arg(long)]
    seconds: Option<u32>,
    /// Writes everything to this file as well.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Few sidecars, shortly: shows that it runs, not what it can.
    #[arg(long)]
    quick: bool,
    /// Fails if the goal is missed.
    #[arg(long)]
    strict: bool,
    #[command(subcommand)]
    role: Option<Role>,
}

/// The parts that run as processes of their own.
#[derive(Debug, Subcommand)]
enum Role {
    /// The intake.
    #[command(hide = true)]
    Serve { listen: SocketAddr },
    /// Reads and drops.
    #[command(hide = true)]
    Floor { listen: SocketAddr },
    /// The sidecars.
    #[command(hide = true)]
    Load { server: SocketAddr },
}

/// A child that answers every line with a line of numbers.
struct Part {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match &arguments.role {
        Some(Role::Serve { listen }) => server::run(*listen).map(|()| true),
        Some(Role::Floor { listen }) => server::floor(*listen).map(|()| true),
        Some(Role::Load { server }) => load::run(*server, &arguments.load()).map(|()| true),
        None => arguments.measure(),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(cause) => {
            eprintln!("bench_reports: {cause}");
            ExitCode::from(2)
        }
    }
}

// === impl Arguments ===

impl Arguments {
    fn load(&self) -> Load {
        Load {
            sidecars: self.sidecars(),
            connections: self.connections,
            extensions: self.extensions,
            payload: Payload::of(self.stats, self.clusters),
        }
    }

    fn sidecars(&self) -> u32 {
        let default = if self.quick { 500 } else { 5_000 };
        self.sidecars.unwrap_or(default)
    }

    /// Whether all reports came out, and, if asked for, the goal is met.
    fn measure(&self) -> io::Result<bool> {
        measure::allow_files()?;
        let mut report = Report::default();
        let payload = self.load().payload;
        let (families, bytes) = (payload.families(), payload.later().len());
        let (sidecars, optimised) = (self.sidecars(), !cfg!(debug_assertions));
        if !optimised {
            eprintln!("bench_reports: built without --release: the numbers mean nothing");
        }
        report
            .machine
            .insert("optimised".to_owned(), json!(optimised));
        let title =
            format!("{sidecars} sidecars send {families} families ({bytes} bytes) a second each");
        let mut section = Section::new(title);
        let (row, cores) = self.one("serve", &mut report)?;
        section.rows.push(row);
        section.rows.push(self.one("floor", &mut report)?.0);
        report.add(section);
        // Said of 5,000; fewer may use their share.
        let limit = f64::from(sidecars) / 5_000.0;
        let what = format!("{sidecars} sidecars, {families} families a second: cores");
        report.goals.push(Goal::at_most(what, cores, limit));
        report.conclude();
        if let Some(path) = &self.json {
            report.write(path)?;
        }
        let missed = report.goals.iter().any(|goal| !goal.met);
        Ok(report.faults.is_empty() && !(self.strict && missed))
    }

    /// One server under the load: its line, and the cores that it used.
    fn one(&self, role: &str, report: &mut Report) -> io::Result<(Row, f64)> {
        let mut server = Part::start(&[role, "127.0.0.1:0"], &[])?;
        let address = server.line()?;
        let address = address.trim_start_matches("listening ").to_owned();
        let pid = server.child.id();
        let before = measure::memory(pid)?;
        let given = [
            format!("--sidecars={}", self.sidecars()),
            format!("--connections={}", self.connections),
            format!("--clusters={}", self.clusters),
            format!("--extensions={}", self.extensions),
            format!(
                "--stats={}",
                if self.stats == Stats::All {
                    "all"
                } else {
                    "needed"
                }
            ),
        ];
        let mut load = Part::start(&["load", &address], &given)?;
        // Every sidecar's first message, with its node, is over.
        let sidecars = f64::from(self.sidecars());
        let deadline = Instant::now() + Duration::from_secs(60);
        while load.ask()?[1] < 2.0 * sidecars {
            if Instant::now() > deadline {
                return Err(io::Error::other(format!(
                    "{role}: the load never got going"
                )));
            }
            thread::sleep(Duration::from_millis(100));
        }
        let quick = if self.quick { 3 } else { 10 };
        let (cpu, sent, counted) = (measure::cpu_ns(pid)?, load.ask()?, server.ask()?);
        let started = Instant::now();
        thread::sleep(Duration::from_secs(self.seconds.unwrap_or(quick).into()));
        let took = started.elapsed().as_secs_f64();
        let (cpu, sent_after) = (measure::cpu_ns(pid)? - cpu, load.ask()?);
        let counted_after = server.ask()?;
        let memory = measure::memory(pid)?;
        let cores = Duration::from_nanos(cpu).as_secs_f64() / took;
        let rate = |place: usize| (sent_after[place] - sent[place]) / took;
        let out = |place: usize| counted_after[place] - counted[place];
        let (rates, asked) = (rate(1), sidecars);
        if rates < 0.98 * asked || sent_after[4] > 0.0 {
            report.faults.push(format!(
                "{role}: {rates:.0} messages a second instead of {asked}, {} streams broke",
                sent_after[4]
            ));
        }
        if role == "serve" && (out(0) / took < 0.97 * rates || out(2) > 0.0) {
            report.faults.push(format!(
                "the intake counted {:.0} reports a second and {} faults",
                out(0) / took,
                out(2)
            ));
        }
        #[expect(clippy::cast_precision_loss, reason = "for a table")]
        let mib = memory.saturating_sub(before) as f64 / 1_048_576.0;
        let row = Row::default()
            .with(
                "server",
                if role == "serve" {
                    "tidegate"
                } else {
                    "floor (reads and drops)"
                },
            )
            .with("cores", cores)
            .with("us CPU/report", cores * 1e6 / rates)
            .with("reports/s", rates)
            .with("MB/s", rate(2) / 1e6)
            .with("late", sent_after[3] - sent[3])
            .with("dropped", out(1))
            .with("upstreams/report", out(3) / (out(0) - out(1)).max(1.0))
            .with("memory MiB", mib);
        Ok((row, cores))
    }
}

// === impl Part ===

impl Part {
    fn start(role: &[&str], given: &[String]) -> io::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(given)
            .args(role)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("a child without its pipes"));
        };
        let output = BufReader::new(output);
        Ok(Self {
            child,
            input,
            output,
        })
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            return Err(io::Error::other("a child has ended"));
        }
        Ok(line.trim_end().to_owned())
    }

    /// Its numbers, up to five.
    fn ask(&mut self) -> io::Result<[f64; 5]> {
        self.input.write_all(b"count\n")?;
        let line = self.line()?;
        let mut numbers = line.split(' ').skip(1).map(str::parse);
        Ok(std::array::from_fn(|_| {
            numbers.next().and_then(Result::ok).unwrap_or(0.0)
        }))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
