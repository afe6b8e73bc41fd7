//! What well-behaved streams notice of misbehaving ones.
//!
//! All processes share this machine's cores, so that a push takes longer beside anything that
//! computes. What that alone does is shown by the control: the same misbehaviour at another server
//! process of the same kind, of which the measured server knows nothing. The three cases take turns,
//! so that what else goes on on the machine is the same for all.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use super::fan_out::arrivals;
use super::{Bench, PATIENCE_S, float, ms, open, pioneer};
use crate::bench::fleet::{Asks, Command, Manner};
use crate::bench::measure::{cpu_ns, quantile};
use crate::bench::report::{Goal, Row, Section};
use crate::bench::servers::{Fleet, Kind, Server};

/// Who misbehaves, and how many of them.
const ABUSES: [(&str, &[(Manner, u32)]); 5] = [
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

/// How often the cases take turns.
const ROUNDS: u32 = 3;

/// Pushes in a round, to one that others take the median of: a 99th percentile of few pushes would
/// be that of the slowest one.
const PUSHES: u32 = 4;

/// Between pushes, at least: longer than one takes, so that what goes on meanwhile is seen.
const GAP: Duration = Duration::from_millis(10);

/// The greatest part of a gap that is added to it, in steps, to meet whatever has a rhythm at all
/// of its times.
const GAP_STEPS: u32 = 13;

/// Where the misbehaviour goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    Nowhere,
    Elsewhere,
    Here,
}

/// What was seen of one case.
#[derive(Debug, Default)]
struct Seen {
    waits: Vec<u64>,
    /// Of the server that is misbehaved at.
    cpu_ns: u64,
    time_ns: u64,
    pushes: u64,
}

/// The servers, and the well-behaved.
struct Scene {
    server: Server,
    other: Server,
    fleet: Fleet,
    streams: u32,
    generation: u32,
}

/// Pushes to well-behaved streams, without others, with others elsewhere, and with others.
///
/// # Errors
/// If a process can't be started or ends.
pub fn abuse(bench: &mut Bench, streams: u32) -> io::Result<()> {
    let title = format!("Pushes to {streams} streams while others misbehave");
    let mut section = Section::new(title);
    let mut scene = Scene::start(bench, streams)?;
    for (name, abuses) in ABUSES {
        eprintln!("abuse: {name} ...");
        let cases = [Case::Nowhere, Case::Elsewhere, Case::Here];
        let mut seen = cases.map(|_| Seen::default());
        for _ in 0..ROUNDS {
            for (case, seen) in cases.into_iter().zip(&mut seen) {
                scene.round(bench, name, abuses, case, seen)?;
            }
        }
        for (case, seen) in cases.into_iter().zip(&seen) {
            section.rows.push(seen.row(name, case));
        }
        let [alone, elsewhere, here] = seen.map(|seen| float(quantile(&seen.waits, 0.99)));
        for (beside, high) in [("elsewhere", elsewhere), ("nowhere", alone)] {
            let what = format!("{name}: 99th percentile of a push, to that with them {beside}");
            bench
                .report
                .goals
                .push(Goal::at_most(what, here / high, 1.2));
        }
    }
    bench.report.add(section);
    Ok(())
}

// === impl Scene ===

impl Scene {
    fn start(bench: &mut Bench, streams: u32) -> io::Result<Self> {
        let data = bench.data(0, 0)?;
        let (world, extensions) = (bench.world, bench.extensions);
        let other = bench.programs.serve(Kind::Tidegate, &data, None)?;
        let mut first = bench.programs.fleet(other.address, world, extensions)?;
        pioneer(bench, "the other server's", &mut first)?;
        let server = bench.programs.serve(Kind::Tidegate, &data, None)?;
        let mut fleet = bench.programs.fleet(server.address, world, extensions)?;
        pioneer(bench, "the well-behaved", &mut fleet)?;
        let answer = open(&mut fleet, streams, 0, Asks::Assignments)?;
        bench.judge("the well-behaved", &answer);
        Ok(Self {
            server,
            other,
            fleet,
            streams,
            generation: 0,
        })
    }

    fn round(
        &mut self,
        bench: &mut Bench,
        name: &str,
        abuses: &[(Manner, u32)],
        case: Case,
        seen: &mut Seen,
    ) -> io::Result<()> {
        let target = match case {
            Case::Here => &self.server,
            Case::Nowhere | Case::Elsewhere => &self.other,
        };
        let (address, id) = (target.address, target.id());
        let mut others = bench
            .programs
            .background_fleet(address, bench.world, bench.extensions)?;
        if case != Case::Nowhere {
            for (manner, streams) in abuses {
                let answer = others.tell(&Command::Abuse {
                    manner: *manner,
                    streams: *streams,
                })?;
                if !answer.reached {
                    bench.judge(name, &answer);
                }
            }
        }
        let (began, cpu) = (Instant::now(), cpu_ns(id)?);
        for number in 0..bench.pushes * PUSHES {
            thread::sleep(GAP + GAP * (number % GAP_STEPS) / GAP_STEPS);
            self.generation += 1;
            seen.waits.extend(self.push(bench)?);
            seen.pushes += 1;
        }
        // Threads that ended meanwhile (the lane of large requests) took their time with them.
        seen.cpu_ns += cpu_ns(id)?.saturating_sub(cpu);
        seen.time_ns += u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let answer = self.fleet.tell(&Command::Totals)?;
        bench.judge("the well-behaved", &answer);
        Ok(())
    }

    fn push(&mut self, bench: &mut Bench) -> io::Result<Vec<u64>> {
        let generation = self.generation;
        let index = generation * 7 % bench.world.clusters;
        self.fleet.tell(&Command::Expect { index, generation })?;
        let changed = self.server.change(bench.world, index, generation)?;
        let answer = self.fleet.tell(&Command::Arrivals {
            // All of them, and the pioneer.
            streams: self.streams as usize + 1,
            patience_s: PATIENCE_S,
        })?;
        if !answer.reached {
            bench.judge("a push", &answer);
        }
        Ok(arrivals(&answer.tally, changed.began_ns))
    }
}

// === impl Seen ===

impl Seen {
    fn row(&self, name: &str, case: Case) -> Row {
        let place = match case {
            Case::Nowhere => "nowhere",
            Case::Elsewhere => "at another server",
            Case::Here => "here",
        };
        Row::default()
            .with("who misbehaves", name)
            .with("where", place)
            .with("half ms", ms(quantile(&self.waits, 0.5)))
            .with("99 % ms", ms(quantile(&self.waits, 0.99)))
            .with("last ms", ms(quantile(&self.waits, 1.0)))
            .with(
                "that server's cores",
                float(self.cpu_ns) / float(self.time_ns),
            )
            .with("its CPU a push, ms", ms(self.cpu_ns) / float(self.pushes))
    }
}
