//! The server is killed and started again, with one assignment changed: everybody comes back.

use std::io;
use std::time::Duration;

use super::{Bench, PATIENCE_S, float, open, seconds};
use crate::bench::data::Type;
use crate::bench::fleet::{Asks, Command, now_ns};
use crate::bench::measure::{at_rest, cpu_ns};
use crate::bench::report::{Goal, Row, Section};
use crate::bench::servers::Kind;

const SETTLING: Duration = Duration::from_secs(20);

/// The assignment that is another one after the restart, by which a stream knows that it is served.
const CHANGED: (u32, u32) = (7, 1);

/// Streams that lose their server.
///
/// # Errors
/// If a process can't be started or ends.
pub fn reconnect(bench: &mut Bench, streams: u32) -> io::Result<()> {
    let what = format!("{streams} streams after kill -9");
    eprintln!("reconnect: {what} ...");
    let data = bench.data(0, 0)?;
    let server = bench.programs.serve(Kind::Tidegate, &data, None)?;
    let address = server.address;
    let mut fleet = bench
        .programs
        .fleet(address, bench.world, bench.extensions)?;
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
    let server = bench.programs.serve(Kind::Tidegate, &data, Some(address))?;
    let listening_ns = now_ns();
    let answer = fleet.tell(&Command::Arrivals {
        streams: streams as usize,
        patience_s: PATIENCE_S,
    })?;
    // That the streams broke is what was asked for.
    let in_time = answer.reached;
    if !in_time {
        bench.judge(&what, &answer);
    }
    let last_ns = answer.tally.arrivals.iter().max().copied().unwrap_or(0);
    at_rest(server.id(), SETTLING)?;
    let after = fleet.tell(&Command::Totals)?.tally;
    let since = |of: Type| {
        let of = of as usize;
        let sent = after.resources[of] - before.tally.resources[of];
        (sent, after.unchanged[of] - before.tally.unchanged[of])
    };
    let (clusters, listeners) = (since(Type::Cluster), since(Type::Listener));
    let assignments = since(Type::Assignment);
    let served = last_ns.saturating_sub(killed_ns);
    let mut section = Section::new(what.clone());
    section.rows.push(
        Row::default()
            .with("served s after the kill", seconds(served))
            .with(
                "s after the start",
                seconds(last_ns.saturating_sub(listening_ns)),
            )
            .with("server CPU s", seconds(cpu_ns(server.id())?))
            .with("attempts", after.broken - before.tally.broken)
            .with("clusters sent", clusters.0)
            .with("listeners sent", listeners.0)
            .with("assignments sent", assignments.0)
            .with("unchanged assignments", assignments.1)
            .with("MB sent", float(after.bytes - before.tally.bytes) / 1e6),
    );
    bench.report.add(section);
    let served = if in_time {
        seconds(served)
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
    Ok(())
}
