//! What is measured. Each scenario starts its own processes and adds its tables and goals.

mod abuse;
mod fan_out;
mod idle;
mod reconnect;
mod reject;

use std::io;
use std::path::PathBuf;

use tempfile::TempDir;

use super::data::World;
use super::fleet::{Answer, Asks, Command};
use super::report::Report;
use super::servers::{Fleet, Kind, Programs};

pub use abuse::abuse;
pub use fan_out::{fan_out, unproven};
pub use idle::{cycles, idle};
pub use reconnect::reconnect;
pub use reject::reject;

/// What all scenarios need.
#[derive(Debug)]
pub struct Bench {
    /// The programs.
    pub programs: Programs,
    /// What is served.
    pub world: World,
    /// Extensions in the clients' nodes.
    pub extensions: u32,
    /// The servers to measure.
    pub kinds: Vec<Kind>,
    /// Numbers of streams to measure with.
    pub streams: Vec<u32>,
    /// Pushes to take the median of.
    pub pushes: u32,
    /// Processes of our server and of the floor whose pushes are compared.
    pub rounds: u32,
    /// What was found.
    pub report: Report,
    /// Where files of resources go.
    pub scratch: TempDir,
}

/// How long the fleet waits for anything, seconds. What takes longer is a fault.
pub(crate) const PATIENCE_S: u32 = 180;

/// The number of the client that comes before all others.
const PIONEER: u32 = 1_000_000;

// === impl Bench ===

impl Bench {
    /// Writes the resources, with one assignment at a generation.
    fn data(&self, changed: u32, generation: u32) -> io::Result<PathBuf> {
        let path = self.scratch.path().join(format!("{changed}-{generation}"));
        self.world.write(&path, changed, generation)?;
        Ok(path)
    }

    /// Keeps what the fleet found wrong, and whether it waited in vain.
    fn judge(&mut self, what: &str, answer: &Answer) {
        if !answer.reached {
            let have = (answer.tally.complete, answer.tally.arrivals.len());
            let fault = format!("{what}: not in time; {have:?} streams are complete and pushed to");
            self.report.faults.push(fault);
        }
        if answer.tally.fault_count > 0 {
            let (count, first) = (answer.tally.fault_count, answer.tally.faults.first());
            let fault = format!("{what}: {count} faults, such as {first:?}");
            self.report.faults.push(fault);
        }
    }
}

/// Has one client take everything before all others: what no client took yet, our server sends one
/// by one (invariant S22), and all others wait for it.
fn pioneer(bench: &mut Bench, what: &str, fleet: &mut Fleet) -> io::Result<()> {
    let answer = open(fleet, 1, PIONEER, Asks::Listeners)?;
    bench.judge(what, &answer);
    Ok(())
}

fn open(fleet: &mut Fleet, streams: u32, first: u32, asks: Asks) -> io::Result<Answer> {
    fleet.tell(&Command::Open {
        streams,
        first,
        asks,
        patience_s: PATIENCE_S,
    })
}

#[expect(clippy::cast_precision_loss, reason = "for tables and ratios")]
fn float(value: u64) -> f64 {
    value as f64
}

fn ms(ns: u64) -> f64 {
    float(ns) / 1e6
}

fn seconds(ns: u64) -> f64 {
    float(ns) / 1e9
}

fn kib(bytes: f64) -> f64 {
    bytes / 1024.0
}
