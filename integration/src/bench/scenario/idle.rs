//! What thousands of streams with nothing to do cost, and whether memory comes back when streams
//! come and go.

use std::io;
use std::time::Duration;

use super::{Bench, float, kib, open, seconds};
use crate::bench::fleet::{Asks, Command};
use crate::bench::measure::{at_rest, cpu_ns, memory};
use crate::bench::report::{Goal, Row, Section};
use crate::bench::servers::Kind;

const SETTLING: Duration = Duration::from_secs(20);

/// For which idle CPU is measured.
const IDLE: Duration = Duration::from_secs(3);

/// Memory that may come and go: the allocator's own, a few streams that are not yet forgotten.
const NOISE_BYTES: f64 = 2.0 * 1024.0 * 1024.0;

/// Streams that hold everything and wait.
///
/// # Errors
/// If a process can't be started or ends.
pub fn idle(bench: &mut Bench, streams: u32) -> io::Result<()> {
    let mut section = Section::new(format!("{streams} idle streams"));
    let clusters = bench.world.clusters;
    for kind in [Kind::Tidegate, Kind::Floor] {
        for asks in [Asks::ClustersOnly, Asks::Assignments] {
            eprintln!("idle: {kind}, {streams} streams, {asks:?} ...");
            let what = format!("{kind}, {streams} idle streams");
            let data = bench.data(0, 0)?;
            let server = bench.programs.serve(kind, &data, None)?;
            let address = server.address;
            let mut fleet = bench
                .programs
                .fleet(address, bench.world, bench.extensions)?;
            let before = memory(server.id())?;
            let answer = open(&mut fleet, streams, 0, asks)?;
            bench.judge(&what, &answer);
            let cpu_before = at_rest(server.id(), SETTLING)?;
            let per_stream = float(memory(server.id())? - before) / f64::from(streams);
            std::thread::sleep(IDLE);
            let idle_ns = cpu_ns(server.id())? - cpu_before.unwrap_or_default();
            let subscribed = match asks {
                Asks::ClustersOnly => format!("{clusters} clusters"),
                _ => format!("{clusters} clusters, {clusters} assignments by name"),
            };
            section.rows.push(
                Row::default()
                    .with("server", kind.to_string())
                    .with("subscribed to", subscribed.clone())
                    .with("memory KiB/stream", kib(per_stream))
                    .with(
                        "idle CPU, % of a core",
                        seconds(idle_ns) / IDLE.as_secs_f64() * 100.0,
                    ),
            );
            if kind == Kind::Tidegate {
                bench.report.goals.push(Goal::at_most(
                    format!("{streams} idle streams: KiB each, {subscribed}"),
                    kib(per_stream),
                    40.0,
                ));
            }
        }
    }
    bench.report.add(section);
    Ok(())
}

/// Streams that are opened, served, and closed.
///
/// # Errors
/// If a process can't be started or ends.
pub fn cycles(bench: &mut Bench, cycles: u32) -> io::Result<()> {
    const ROUNDS: u32 = 10;
    // As many ids as fit into what a server remembers of those who left, so that remembering is
    // full after the first round.
    let ids = cycles / ROUNDS;
    let mut section = Section::new(format!("{cycles} streams come and go, {ids} node ids"));
    let data = bench.data(0, 0)?;
    let server = bench.programs.serve(Kind::Tidegate, &data, None)?;
    let address = server.address;
    let mut fleet = bench
        .programs
        .fleet(address, bench.world, bench.extensions)?;
    let mut readings = vec![memory(server.id())?];
    for round in 1..=ROUNDS {
        eprintln!("cycles: {} of {cycles} ...", round * ids);
        let answer = fleet.tell(&Command::Churn {
            cycles: ids,
            at_once: 50,
            ids,
        })?;
        bench.judge("streams that come and go", &answer);
        at_rest(server.id(), SETTLING)?;
        readings.push(memory(server.id())?);
    }
    for (round, reading) in (0..).zip(&readings) {
        section.rows.push(
            Row::default()
                .with("streams so far", round * ids)
                .with("memory MiB", kib(float(*reading)) / 1024.0),
        );
    }
    bench.report.add(section);
    // The first two rounds fill caches and the list of those who left; from then on, nothing grows.
    let settled = readings.iter().skip(2).take(3).max().copied().unwrap_or(0);
    let last = readings.iter().rev().take(3).min().copied().unwrap_or(0);
    bench.report.goals.push(Goal::at_most(
        format!("{cycles} streams come and go: memory at the end, to after a third, less 2 MiB"),
        (float(last) - NOISE_BYTES) / float(settled),
        1.0,
    ));
    Ok(())
}
