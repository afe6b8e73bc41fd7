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
use tidegate_integration::bench::reports::messages::{self, Messages, Service};
use tidegate_integration::bench::reports::payload::Stats;
use tidegate_integration::bench::reports::server;
use tidegate_xds::report::Asked;

/// Measures the intake of reports: sidecars that each send a message a second, of metrics and of load,
/// as Envoy 1.40 does, with everything, a few upstreams and nothing asked for, beside a server that
/// reads the same bytes and drops them. Server and sidecars are processes of their own on this machine.
#[derive(Debug, Parser)]
#[command(name = "bench_reports")]
struct Arguments {
    /// Sidecars, each with a stream of its own [default: 5000; quick: 500]
    #[arg(long)]
    sidecars: Option<u32>,
    /// Connections that they share; at most 64 streams fit into each.
    #[arg(long, default_value_t = 100)]
    connections: u32,
    /// Upstream clusters of each sidecar: 8 families each of the stats that Tidegate needs.
    #[arg(long, default_value_t = 75)]
    clusters: u32,
    /// Upstream clusters that are asked for where only a few are.
    #[arg(long, default_value_t = 5)]
    asked: u32,
    /// Which stats they send.
    #[arg(long, value_enum, default_value_t = Stats::Needed)]
    stats: Stats,
    /// Only this service [default: both].
    #[arg(long, value_enum)]
    service: Option<Service>,
    /// Extensions in every node, as Envoys have 516 (61 KB, in the first message of a stream of metrics
    /// and in every load report).
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
    Serve {
        listen: SocketAddr,
        /// Upstreams that are asked for [default: all]
        upstreams: Option<u32>,
    },
    /// Reads and drops.
    #[command(hide = true)]
    Floor { listen: SocketAddr },
    /// The sidecars.
    #[command(hide = true)]
    Load { server: SocketAddr },
}

/// Which server takes the load.
#[derive(Debug, Clone, Copy)]
enum Case {
    /// The intake, asked about so many upstreams, or all.
    Asked(Option<u32>),
    Floor,
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
        Some(Role::Serve { listen, upstreams }) => {
            let asked = upstreams.map(|few| Asked::upstreams((0..few).map(messages::cluster)));
            server::run(*listen, asked.unwrap_or_default()).map(|()| true)
        }
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
            messages: self.messages(self.service.unwrap_or(Service::Metrics)),
        }
    }

    fn messages(&self, service: Service) -> Messages {
        Messages::to(service, self.stats, self.clusters, self.extensions)
    }

    fn sidecars(&self) -> u32 {
        let default = if self.quick { 500 } else { 5_000 };
        self.sidecars.unwrap_or(default)
    }

    /// Whether all reports came out, and, if asked for, the goal is met.
    fn measure(&self) -> io::Result<bool> {
        measure::allow_files()?;
        let mut report = Report::default();
        let (sidecars, optimised) = (self.sidecars(), !cfg!(debug_assertions));
        if !optimised {
            eprintln!("bench_reports: built without --release: the numbers mean nothing");
        }
        report
            .machine
            .insert("optimised".to_owned(), json!(optimised));
        let services = match &self.service {
            Some(service) => std::slice::from_ref(service),
            None => &[Service::Metrics, Service::Load],
        };
        for service in services {
            let described = self.messages(*service).described();
            let title = format!("{sidecars} sidecars send {described} a second each");
            let mut section = Section::new(title);
            for case in [
                Case::Asked(None),
                Case::Asked(Some(self.asked)),
                Case::Asked(Some(0)),
                Case::Floor,
            ] {
                let (row, cores) = self.one(*service, case, &mut report)?;
                section.rows.push(row);
                if let Case::Asked(upstreams) = case {
                    // Said of 5,000; fewer may use their share.
                    let limit = f64::from(sidecars) / 5_000.0;
                    let (service, upstreams) = (service.argument(), shown(upstreams));
                    let what = format!("{sidecars} sidecars, {service}, {upstreams}: cores");
                    report.goals.push(Goal::at_most(what, cores, limit));
                }
            }
            report.add(section);
        }
        report.conclude();
        if let Some(path) = &self.json {
            report.write(path)?;
        }
        let missed = report.goals.iter().any(|goal| !goal.met);
        Ok(report.faults.is_empty() && !(self.strict && missed))
    }

    /// One server under the load: its line, and the cores that it used.
    fn one(&self, service: Service, case: Case, report: &mut Report) -> io::Result<(Row, f64)> {
        let any_port = "127.0.0.1:0".to_owned();
        let (role, asked, arguments) = match case {
            Case::Floor => ("floor", None, vec![any_port]),
            Case::Asked(asked) => {
                let few = asked.map(|few| few.to_string());
                let arguments = [any_port].into_iter().chain(few).collect();
                ("serve", asked, arguments)
            }
        };
        let mut server = Part::start(&[], role, &arguments)?;
        let address = server.line()?;
        let address = address.trim_start_matches("listening ").to_owned();
        let pid = server.child.id();
        let before = measure::memory(pid)?;
        let given = [
            format!("--sidecars={}", self.sidecars()),
            format!("--connections={}", self.connections),
            format!("--clusters={}", self.clusters),
            format!("--extensions={}", self.extensions),
            format!("--service={}", service.argument()),
            format!(
                "--stats={}",
                if self.stats == Stats::All {
                    "all"
                } else {
                    "needed"
                }
            ),
        ];
        let mut load = Part::start(&given, "load", &[address])?;
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
        let [_, messages, bytes, late, _] = difference(sent_after, sent);
        let [reports, dropped, faults, upstreams, _] = difference(counted_after, counted);
        let (rate, broken) = (messages / took, sent_after[4]);
        if rate < 0.98 * sidecars || broken > 0.0 {
            report.faults.push(format!(
                "{role}: {rate:.0} messages a second instead of {sidecars}, {broken} streams broke"
            ));
        }
        if role == "serve" && (reports < 0.97 * messages || faults > 0.0) {
            report.faults.push(format!(
                "the intake counted {reports} reports of {messages}, and {faults} faults"
            ));
        }
        #[expect(clippy::cast_precision_loss, reason = "for a table")]
        let mib = memory.saturating_sub(before) as f64 / 1_048_576.0;
        let row = Row::default()
            .with(
                "asked for",
                match case {
                    Case::Asked(_) => shown(asked),
                    Case::Floor => "floor (reads and drops)".to_owned(),
                },
            )
            .with("cores", cores)
            .with("us CPU/report", cores * 1e6 / rate)
            .with("reports/s", rate)
            .with("MB/s", bytes / took / 1e6)
            .with("late", late)
            .with("dropped", dropped)
            .with("upstreams/report", upstreams / (reports - dropped).max(1.0))
            .with("memory MiB", mib);
        Ok((row, cores))
    }
}

/// Which upstreams are asked for, in words.
fn shown(upstreams: Option<u32>) -> String {
    match upstreams {
        None => "everything".to_owned(),
        Some(0) => "no upstreams".to_owned(),
        Some(few) => format!("{few} upstreams"),
    }
}

fn difference(after: [f64; 5], before: [f64; 5]) -> [f64; 5] {
    let mut pairs = after.into_iter().zip(before);
    std::array::from_fn(|_| pairs.next().map_or(0.0, |(after, before)| after - before))
}

// === impl Part ===

impl Part {
    fn start(given: &[String], role: &str, arguments: &[String]) -> io::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(given)
            .arg(role)
            .args(arguments)
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
