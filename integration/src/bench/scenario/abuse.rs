//! What well-behaved streams notice of misbehaving ones.

use std::io;

use super::fan_out::arrivals;
use super::{Bench, PATIENCE_S, float, ms, open};
use crate::bench::fleet::{Asks, Command, Manner};
use crate::bench::measure::quantile;
use crate::bench::report::{Goal, Row, Section};
use crate::bench::servers::{Fleet, Kind, Server};

/// Who misbehaves, and how many of them.
const ABUSES: [(&str, &[(Manner, u32)]); 6] = [
    ("nobody", &[]),
    ("50 never read", &[(Manner::NeverRead, 50)]),
    ("20 reject everything", &[(Manner::Reject, 20)]),
    ("4 send 10 MiB, twice a second", &[(Manner::Huge, 4)]),
    ("10 come and go, twice a second", &[(Manner::Churn, 10)]),
    (
        "all of these",
        &[
            (Manner::NeverRead, 50),
            (Manner::Reject, 20),
            (Manner::Huge, 4),
            (Manner::Churn, 10),
        ],
    ),
];

/// Pushes to well-behaved streams, without and with others.
///
/// # Errors
/// If a process can't be started or ends.
pub fn abuse(bench: &mut Bench, streams: u32) -> io::Result<()> {
    let title = format!("Pushes to {streams} streams while others misbehave");
    let mut section = Section::new(title);
    let data = bench.data(0, 0)?;
    let mut server = bench.programs.serve(Kind::Tidegate, &data, None)?;
    let mut fleet = bench
        .programs
        .fleet(server.address, bench.world, bench.extensions)?;
    let answer = open(&mut fleet, streams, 0, Asks::Assignments)?;
    bench.judge("the well-behaved", &answer);
    let mut generation = 0;
    let mut alone_ns = 0;
    for (name, abuses) in ABUSES {
        eprintln!("abuse: {name} ...");
        let mut others = bench
            .programs
            .fleet(server.address, bench.world, bench.extensions)?;
        for (manner, streams) in abuses {
            let answer = others.tell(&Command::Abuse {
                manner: *manner,
                streams: *streams,
            })?;
            if !answer.reached {
                bench.judge(name, &answer);
            }
        }
        let mut waits = Vec::new();
        for _ in 0..bench.pushes * 2 {
            generation += 1;
            waits.extend(push(bench, &mut server, &mut fleet, streams, generation)?);
        }
        let answer = fleet.tell(&Command::Totals)?;
        bench.judge("the well-behaved", &answer);
        let high = quantile(&waits, 0.99);
        if abuses.is_empty() {
            alone_ns = high;
        } else {
            bench.report.goals.push(Goal::at_most(
                format!("{name}: 99th percentile of a push, to that with nobody else"),
                float(high) / float(alone_ns),
                1.2,
            ));
        }
        section.rows.push(
            Row::default()
                .with("who misbehaves", name)
                .with("half ms", ms(quantile(&waits, 0.5)))
                .with("99 % ms", ms(high))
                .with("last ms", ms(quantile(&waits, 1.0)))
                .with("pushes", bench.pushes * 2),
        );
    }
    bench.report.add(section);
    Ok(())
}

fn push(
    bench: &mut Bench,
    server: &mut Server,
    fleet: &mut Fleet,
    streams: u32,
    generation: u32,
) -> io::Result<Vec<u64>> {
    let index = generation * 7 % bench.world.clusters;
    fleet.tell(&Command::Expect { index, generation })?;
    let changed = server.change(bench.world, index, generation)?;
    let answer = fleet.tell(&Command::Arrivals {
        streams: streams as usize,
        patience_s: PATIENCE_S,
    })?;
    if !answer.reached {
        bench.judge("a push", &answer);
    }
    Ok(arrivals(&answer.tally, changed.began_ns))
}
