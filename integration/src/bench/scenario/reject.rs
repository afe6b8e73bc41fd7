//! A client that rejects everything.

use std::io;

use super::{Bench, float};
use crate::bench::fleet::{Command, Variant};
use crate::bench::report::{Goal, Row, Section};
use crate::bench::servers::Kind;

/// For how long it rejects.
const SECONDS: u32 = 5;

/// How many responses it gets, from every server that understands rejections.
///
/// # Errors
/// If a process can't be started or ends.
pub fn reject(bench: &mut Bench) -> io::Result<()> {
    let title = format!("A client rejects every response for {SECONDS} s");
    let mut section = Section::new(title);
    let kinds = bench.kinds.clone();
    for kind in kinds.into_iter().filter(|kind| *kind != Kind::Floor) {
        for variant in [Variant::Delta, Variant::Sotw] {
            eprintln!("reject: {kind}, {variant:?} ...");
            let data = bench.data(0, 0)?;
            let server = bench.programs.serve(kind, &data, None)?;
            let address = server.address;
            let mut fleet = bench
                .programs
                .fleet(address, bench.world, bench.extensions)?;
            let answer = fleet.tell(&Command::Reject {
                variant,
                seconds: SECONDS,
            })?;
            let tally = &answer.tally;
            section.rows.push(
                Row::default()
                    .with("server", kind.to_string())
                    .with("variant", format!("{variant:?}").to_lowercase())
                    .with("responses", tally.responses)
                    .with("distinct contents", tally.distinct)
                    .with("most responses with one", tally.repeated_max)
                    .with("MB", float(tally.bytes) / 1e6),
            );
            if kind == Kind::Tidegate {
                bench.judge("a client that rejects everything", &answer);
                bench.report.goals.push(Goal::at_most(
                    format!("rejecting everything ({variant:?}): responses with one content"),
                    float(answer.tally.repeated_max),
                    1.0,
                ));
            }
        }
    }
    bench.report.add(section);
    Ok(())
}
