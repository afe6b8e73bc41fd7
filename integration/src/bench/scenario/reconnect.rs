//! The server is killed and started again, with one assignment changed: everybody comes back.

use std::io;
use std::time::Duration;

use super::{Bench, PATIENCE_S, float, open, pioneer, seconds};
use crate::bench::data::Type;
use crate::bench::fleet::{Asks, Command, now_ns};
use crate::bench::measure::{at_rest, cpu_ns, quantile};
use crate::bench::report::{Goal, Row, Section};
use crate::bench::servers::Kind;

const SETTLING: Duration = Duration::from_secs(20);

/// The assignment that is another one after the restart, by which a stream knows that it is served.
const CHANGED: (u32, u32) = (7, 1);

/// Streams that lose their server; goals are ours alone.
///
/// # Errors
/// If a process can't be started or ends.
pub fn reconnect(bench: &mut Bench, streams: u32) -> io::Result<()> {
    let title = format!("{streams} streams after kill -9, one assignment is another one");
    let mut section = Section::new(title);
    let kinds = bench.kinds.clone();
    for kind in kinds.into_iter().filter(|kind| *kind != Kind::Floor) {
        section.rows.push(of(bench, kind, streams)?);
    }
    bench.report.add(section);
    Ok(())
}

fn of(bench: &mut Bench, kind: Kind, streams: u32) -> io::Result<Row> {
    let what = format!("{kind}, {streams} streams after kill -9");
    eprintln!("reconnect: {what} ...");
    let data = bench.data(0, 0)?;
    let server = bench.programs.serve(kind, &data, None)?;
    let address = server.address;
    let mut fleet = bench
        .programs
        .fleet(address, bench.world, bench.extensions)?;
    pioneer(bench, &what, &mut fleet)?;
    let answer = open(&mut fleet, streams, 0, Asks::Listeners)?;
    bench.judge(&what, &answer);
    at_rest(server.id(), SETTLING)?;
    let data = bench.data(CHANGED.0, CHANGED.1)?;
    let before = fleet.tell(&Command::Expect {
        index: CHANGED.0,
        generation: CHANGED.1,
    })?;
    let killed_ns = now_ns();
    server.kill();
    let server = bench.programs.serve(kind, &data, Some(address))?;
    let listening_ns = now_ns();
    let answer = fleet.tell(&Command::Arrivals {
        // All of them, and the pioneer.
        streams: streams as usize + 1,
        patience_s: PATIENCE_S,
    })?;
    // That the streams broke is what was asked for.
    let in_time = answer.reached;
    if !in_time {
        bench.judge(&what, &answer);
    }
    at_rest(server.id(), SETTLING)?;
    let after = fleet.tell(&Command::Totals)?.tally;
    let since = |of: Type| {
        let of = of as usize;
        let sent = after.resources[of] - before.tally.resources[of];
        (sent, after.unchanged[of] - before.tally.unchanged[of])
    };
    let (clusters, listeners) = (since(Type::Cluster), since(Type::Listener));
    let assignments = since(Type::Assignment);
    let after_kill = |quantile_of: f64| {
        let at = quantile(&answer.tally.arrivals, quantile_of);
        seconds(at.saturating_sub(killed_ns))
    };
    let row = Row::default()
        .with("server", kind.to_string())
        .with("first s after the kill", after_kill(0.0))
        .with("half s", after_kill(0.5))
        .with("last s", after_kill(1.0))
        .with("listening after s", seconds(listening_ns - killed_ns))
        .with("server CPU s", seconds(cpu_ns(server.id())?))
        .with("failed attempts", after.broken - before.tally.broken)
        .with("clusters", clusters.0)
        .with("listeners", listeners.0)
        .with("assignments", assignments.0)
        .with("of these unchanged", assignments.1)
        .with("MB", float(after.bytes - before.tally.bytes) / 1e6);
    if kind != Kind::Tidegate {
        return Ok(row);
    }
    let served = if in_time {
        after_kill(1.0)
    } else {
        f64::INFINITY
    };
    bench.report.goals.extend([
        Goal::at_most(
            format!("{what}: all served, s after the kill"),
            served,
            10.0,
        ),
        Goal::at_most(
            format!("{what}: unchanged clusters and listeners sent"),
            float(clusters.1 + listeners.1),
            0.0,
        ),
    ]);
    Ok(row)
}
