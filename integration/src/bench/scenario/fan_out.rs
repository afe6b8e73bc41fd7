//! Cold start, memory, and the time and CPU of a push of one changed assignment, for every server.

use std::io;
use std::time::Duration;

use super::{Bench, PATIENCE_S, float, kib, ms, open, pioneer, seconds};
use crate::bench::fleet::{Asks, Command, Tally};
use crate::bench::measure::{at_rest, cpu_ns, memory, quantile};
use crate::bench::report::{Goal, Row, Section};
use crate::bench::servers::{Fleet, Kind, Server};

/// How long streams may wait for content that no client took yet, seconds.
const UNPROVEN_PATIENCE_S: u32 = 120;

/// How long a server may work on after all clients have everything.
const SETTLING: Duration = Duration::from_secs(20);

/// What one server showed with one number of streams.
#[derive(Debug, Clone)]
struct Run {
    kind: Kind,
    streams: u32,
    cold: Cold,
    push: Push,
    /// The CPU of a push, of each process that was measured.
    cpu_ns: Vec<u64>,
    memory_end: f64,
}

#[derive(Debug, Clone, Copy)]
struct Cold {
    first_ns: u64,
    last_ns: u64,
    cpu_ns: u64,
    bytes: u64,
    memory: f64,
    memory_collected: f64,
}

#[derive(Debug, Clone, Copy)]
struct Push {
    half_ns: u64,
    last_ns: u64,
    worst_ns: u64,
    cpu_ns: u64,
    bytes: u64,
}

/// Measures all servers with all numbers of streams.
///
/// # Errors
/// If a process can't be started or ends.
pub fn fan_out(bench: &mut Bench) -> io::Result<()> {
    let mut runs = Vec::new();
    for streams in bench.streams.clone() {
        for kind in bench.kinds.clone() {
            eprintln!("fan-out: {kind}, {streams} streams ...");
            runs.push(run(bench, kind, streams)?);
        }
        repeat(bench, streams, &mut runs)?;
    }
    let clusters = bench.world.clusters;
    let title = format!("Cold start: {clusters} clusters and as many assignments for each stream");
    let mut section = Section::new(title);
    section.rows = runs.iter().map(cold_row).collect();
    bench.report.add(section);
    let mut section = Section::new("One assignment changes: medians of all pushes");
    section.rows = runs.iter().map(push_row).collect();
    bench.report.add(section);
    for streams in bench.streams.clone() {
        let same: Vec<&Run> = runs.iter().filter(|run| run.streams == streams).collect();
        bench.report.goals.extend(goals(streams, &same));
    }
    Ok(())
}

/// Measures our server and the floor again, in turns. The CPU of a push differs from one process of
/// either to its next by a quarter, and only the median of several tells them apart.
fn repeat(bench: &mut Bench, streams: u32, runs: &mut [Run]) -> io::Result<()> {
    let pair = [Kind::Tidegate, Kind::Floor];
    if !pair.iter().all(|kind| bench.kinds.contains(kind)) {
        return Ok(());
    }
    for round in 2..=bench.rounds {
        eprintln!("fan-out: {streams} streams, CPU of a push, round {round} ...");
        for kind in pair {
            let again = run(bench, kind, streams)?.push.cpu_ns;
            let mut same = runs.iter_mut();
            if let Some(run) = same.find(|run| (run.kind, run.streams) == (kind, streams)) {
                run.cpu_ns.push(again);
                run.push.cpu_ns = quantile(&run.cpu_ns, 0.5);
            }
        }
    }
    Ok(())
}

fn run(bench: &mut Bench, kind: Kind, streams: u32) -> io::Result<Run> {
    // What no client took yet goes out one by one; that is measured apart.
    let proven = kind == Kind::Tidegate;
    let what = format!("{kind}, {streams} streams");
    let data = bench.data(0, 0)?;
    let mut server = bench.programs.serve(kind, &data, None)?;
    let mut fleet = bench
        .programs
        .fleet(server.address, bench.world, bench.extensions)?;
    let memory_before = memory(server.id())?;
    if proven {
        pioneer(bench, &what, &mut fleet)?;
    }
    let all = streams + u32::from(proven);
    let cold = cold_start(
        bench,
        &what,
        &mut server,
        &mut fleet,
        streams,
        memory_before,
    )?;
    let push = push(bench, &what, kind, &mut server, &mut fleet, all)?;
    let memory_end = memory(server.id())?;
    let answer = fleet.tell(&Command::Totals)?;
    bench.judge(&what, &answer);
    Ok(Run {
        kind,
        streams,
        cold,
        push,
        cpu_ns: vec![push.cpu_ns],
        memory_end: float(memory_end) / f64::from(streams),
    })
}

/// Our server's cold start with content that no client took yet (invariant S22): the first client
/// gets it one by one.
///
/// # Errors
/// If a process can't be started or ends.
pub fn unproven(bench: &mut Bench) -> io::Result<()> {
    let title =
        format!("Cold start with content that no client took yet, up to {UNPROVEN_PATIENCE_S} s");
    let mut section = Section::new(title);
    let mut counts = vec![1];
    counts.extend(&bench.streams);
    for streams in counts {
        eprintln!("unproven: {streams} streams ...");
        let data = bench.data(0, 0)?;
        let server = bench.programs.serve(Kind::Tidegate, &data, None)?;
        let mut fleet = bench
            .programs
            .fleet(server.address, bench.world, bench.extensions)?;
        let cpu = cpu_ns(server.id())?;
        let answer = fleet.tell(&Command::Open {
            streams,
            first: 0,
            asks: Asks::Assignments,
            patience_s: UNPROVEN_PATIENCE_S,
        })?;
        let cpu = cpu_ns(server.id())? - cpu;
        let since = |at: Option<&u64>| at.map(|at| seconds(at - answer.tally.started_ns));
        let last = since(answer.tally.completed_ns.iter().max());
        section.rows.push(
            Row::default()
                .with("streams", streams)
                .with("complete", answer.tally.complete)
                .with(
                    "first stream s",
                    since(answer.tally.completed_ns.iter().min()),
                )
                .with("last stream s", last.filter(|_| answer.reached))
                .with("server CPU s", seconds(cpu))
                .with("responses", answer.tally.responses)
                .with(
                    "responses/stream",
                    float(answer.tally.responses) / f64::from(streams),
                ),
        );
        if let Some(fault) = answer.tally.faults.first() {
            bench.report.faults.push(format!("unproven: {fault}"));
        }
    }
    bench.report.add(section);
    Ok(())
}

fn cold_start(
    bench: &mut Bench,
    what: &str,
    server: &mut Server,
    fleet: &mut Fleet,
    streams: u32,
    memory_before: u64,
) -> io::Result<Cold> {
    let cpu_before = at_rest(server.id(), SETTLING)?.unwrap_or(0);
    let bytes_before = fleet.tell(&Command::Totals)?.tally.bytes;
    let answer = open(fleet, streams, 0, Asks::Assignments)?;
    bench.judge(what, &answer);
    let cpu = match at_rest(server.id(), SETTLING)? {
        Some(cpu) => cpu,
        None => {
            let fault = format!("{what}: not at rest after {SETTLING:?}");
            bench.report.faults.push(fault);
            cpu_ns(server.id())?
        }
    };
    let per_stream = |now: u64| float(now.saturating_sub(memory_before)) / f64::from(streams);
    let memory_now = memory(server.id())?;
    server.collect_garbage()?;
    let memory_collected = memory(server.id())?;
    let since = |at: Option<&u64>| at.map_or(0, |at| at.saturating_sub(answer.tally.started_ns));
    Ok(Cold {
        first_ns: since(answer.tally.completed_ns.iter().min()),
        last_ns: since(answer.tally.completed_ns.iter().max()),
        cpu_ns: cpu - cpu_before,
        bytes: (answer.tally.bytes - bytes_before) / u64::from(streams),
        memory: per_stream(memory_now),
        memory_collected: per_stream(memory_collected),
    })
}

fn push(
    bench: &mut Bench,
    what: &str,
    kind: Kind,
    server: &mut Server,
    fleet: &mut Fleet,
    streams: u32,
) -> io::Result<Push> {
    // Each takes seconds there, and shows the same.
    let pushes = match kind {
        Kind::GcpPerNode => bench.pushes.min(5),
        _ => bench.pushes,
    };
    let (mut half, mut last, mut cpu, mut bytes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for number in 1..=pushes {
        let index = number * 7 % bench.world.clusters;
        let before = fleet.tell(&Command::Expect {
            index,
            generation: number,
        })?;
        let cpu_before = at_rest(server.id(), SETTLING)?;
        let changed = server.change(bench.world, index, number)?;
        let answer = fleet.tell(&Command::Arrivals {
            streams: streams as usize,
            patience_s: PATIENCE_S,
        })?;
        let cpu_after = at_rest(server.id(), SETTLING)?;
        if !answer.reached {
            bench.judge(what, &answer);
        }
        let arrivals = arrivals(&answer.tally, changed.began_ns);
        half.push(quantile(&arrivals, 0.5));
        last.push(quantile(&arrivals, 1.0));
        if let (Some(before), Some(after)) = (cpu_before, cpu_after) {
            cpu.push(after - before);
        }
        bytes.push((answer.tally.bytes - before.tally.bytes) / u64::from(streams));
    }
    Ok(Push {
        half_ns: quantile(&half, 0.5),
        last_ns: quantile(&last, 0.5),
        worst_ns: quantile(&last, 1.0),
        cpu_ns: quantile(&cpu, 0.5),
        bytes: quantile(&bytes, 0.5),
    })
}

/// How long each stream waited for a push.
pub(super) fn arrivals(tally: &Tally, began_ns: u64) -> Vec<u64> {
    let arrivals = tally.arrivals.iter();
    arrivals.map(|at| at.saturating_sub(began_ns)).collect()
}

fn named(run: &Run) -> Row {
    Row::default()
        .with("server", run.kind.to_string())
        .with("streams", run.streams)
}

fn cold_row(run: &Run) -> Row {
    named(run)
        .with("first stream s", seconds(run.cold.first_ns))
        .with("last stream s", seconds(run.cold.last_ns))
        .with("server CPU s", seconds(run.cold.cpu_ns))
        .with("KB/stream", float(run.cold.bytes) / 1e3)
        .with("RSS KiB/stream", kib(run.cold.memory))
        .with("after a forced GC", kib(run.cold.memory_collected))
        .with("whole RSS at the end, KiB/stream", kib(run.memory_end))
}

fn push_row(run: &Run) -> Row {
    named(run)
        .with("half of them ms", ms(run.push.half_ns))
        .with("last ms", ms(run.push.last_ns))
        .with("worst last ms", ms(run.push.worst_ns))
        .with("server CPU ms", ms(run.push.cpu_ns))
        .with("CPU us/stream", cpu_us(run, 0.5))
        .with("processes", run.cpu_ns.len())
        .with("least", cpu_us(run, 0.0))
        .with("most", cpu_us(run, 1.0))
        .with("bytes/stream", run.push.bytes)
}

/// The CPU of a push, for each stream: at a quantile of the processes.
fn cpu_us(run: &Run, at: f64) -> f64 {
    ms(quantile(&run.cpu_ns, at)) * 1e3 / f64::from(run.streams)
}

/// What the issue asks for, against the servers that ran with this number of streams.
fn goals(streams: u32, runs: &[&Run]) -> Vec<Goal> {
    let mut goals = Vec::new();
    let find = |kind: Kind| runs.iter().copied().find(|run| run.kind == kind);
    let Some(ours) = find(Kind::Tidegate) else {
        return goals;
    };
    let n = format!("{streams} streams");
    if let Some(floor) = find(Kind::Floor) {
        goals.push(Goal::at_most(
            format!("{n}: CPU of a push, to the floor"),
            float(ours.push.cpu_ns) / float(floor.push.cpu_ns),
            1.5,
        ));
    }
    let peers: Vec<&Run> = runs.iter().copied().filter(|r| r.kind.is_peer()).collect();
    if let Some(per_node) = find(Kind::GcpPerNode) {
        goals.push(Goal::at_most(
            format!("{n}: last client has the change, to the cache per node"),
            float(ours.push.last_ns) / float(per_node.push.last_ns),
            1.0 / 50.0,
        ));
    }
    if peers.len() == Kind::PEERS.len() {
        let least = |of: fn(&Run) -> f64| peers.iter().map(|r| of(r)).fold(f64::MAX, f64::min);
        let fastest = least(|r| float(r.push.last_ns));
        // As it is, as everybody measures it; a Go program is leaner after a collection that nobody
        // asks for, which the table tells.
        let leanest = least(|r| r.cold.memory);
        let quickest = least(|r| float(r.cold.last_ns));
        let mut goal = |what: &str, ratio: f64, limit: f64| {
            goals.push(Goal::at_most(format!("{n}: {what}"), ratio, limit));
        };
        goal(
            "last client has the change, to the fastest cache",
            float(ours.push.last_ns) / fastest,
            1.0 / 5.0,
        );
        goal(
            "memory per stream, to the leanest cache",
            ours.cold.memory / leanest,
            1.0 / 15.0,
        );
        goal(
            "cold start, to the quickest cache",
            float(ours.cold.last_ns) / quickest,
            1.0 / 4.0,
        );
    }
    goals
}
