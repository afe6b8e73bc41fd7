//! Clients of an xDS server, in a process of their own: thousands of incremental aggregated
//! streams, each with its own connection and node id, that ask as an Envoy does (clusters by
//! wildcard, the assignment of each by name), acknowledge every response, and check every byte.
//!
//! One thread drives all of them. Commands come as JSON lines on the standard input, answers go to
//! the standard output; the process ends with its input.

mod connection;
mod hostile;
mod known;
mod protocol;
mod stream;
mod tally;

use std::cell::RefCell;
use std::io::{self, BufRead as _, Write as _};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::{JoinHandle, LocalSet};
use tokio::time::Instant;

use super::data::World;
use known::Known;
pub use protocol::{Answer, Asks, Command, Manner, Variant};
pub use tally::{Tally, now_ns};

/// Connections that are being made at the same time: fewer than a listener's usual backlog, so
/// that no client waits a second for its SYN to be repeated.
const CONNECTING_MAX: usize = 100;

/// What all streams of the process share.
#[derive(Debug)]
pub(crate) struct Fleet {
    world: World,
    server: SocketAddr,
    /// Extensions in each node, to make it as large as an Envoy's.
    extensions: u32,
    known: RefCell<Known>,
    tally: RefCell<Tally>,
    /// Something was counted that somebody may wait for.
    counted: Notify,
    connecting: Semaphore,
}

// === impl Fleet ===

impl Fleet {
    /// Counts, and wakes who waits for a count.
    fn count<T>(&self, change: impl FnOnce(&mut Tally) -> T) -> T {
        change(&mut self.tally.borrow_mut())
    }

    /// Waits until the tally is as told; `false` if it isn't in time.
    async fn until(&self, patience: Duration, mut reached: impl FnMut(&Tally) -> bool) -> bool {
        let deadline = Instant::now() + patience;
        loop {
            let counted = self.counted.notified();
            if reached(&self.tally.borrow()) {
                return true;
            }
            if tokio::time::timeout_at(deadline, counted).await.is_err() {
                return reached(&self.tally.borrow());
            }
        }
    }
}

/// Runs until the standard input ends.
///
/// # Errors
/// If no runtime can be made, or a command is none.
pub fn run(server: SocketAddr, world: World, extensions: u32) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let fleet = Rc::new(Fleet {
        world,
        server,
        extensions,
        known: RefCell::new(Known::of(world)),
        tally: RefCell::default(),
        counted: Notify::new(),
        connecting: Semaphore::new(CONNECTING_MAX),
    });
    let (lines, commands) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if lines.send(line).is_err() {
                break;
            }
        }
    });
    LocalSet::new().block_on(&runtime, obey(fleet, commands))
}

async fn obey(fleet: Rc<Fleet>, mut lines: mpsc::UnboundedReceiver<String>) -> io::Result<()> {
    let mut tasks: Vec<JoinHandle<()>> = Vec::new();
    while let Some(line) = lines.recv().await {
        let command: Command = serde_json::from_str(&line)?;
        let answer = answer(&fleet, &mut tasks, command).await;
        let mut out = io::stdout().lock();
        serde_json::to_writer(&mut out, &answer)?;
        out.write_all(b"\n")?;
        out.flush()?;
    }
    Ok(())
}

async fn answer(fleet: &Rc<Fleet>, tasks: &mut Vec<JoinHandle<()>>, command: Command) -> Answer {
    match command {
        Command::Open {
            streams,
            first,
            asks,
            patience_s,
        } => {
            fleet.count(Tally::start);
            let already = fleet.tally.borrow().complete;
            for number in first..first + streams {
                let one = stream::serve(fleet.clone(), number, asks);
                tasks.push(tokio::task::spawn_local(one));
            }
            let all = already + usize::try_from(streams).unwrap_or(usize::MAX);
            let reached = fleet
                .until(seconds(patience_s), |tally| tally.complete >= all)
                .await;
            Answer::of(&fleet.tally.borrow(), reached)
        }
        Command::Expect { index, generation } => {
            fleet
                .known
                .borrow_mut()
                .announce(fleet.world, index, generation);
            fleet.count(|tally| tally.expect(index, generation));
            Answer::of(&fleet.tally.borrow(), true)
        }
        Command::Arrivals {
            streams,
            patience_s,
        } => {
            let reached = fleet
                .until(seconds(patience_s), |tally| tally.arrivals.len() >= streams)
                .await;
            Answer::of(&fleet.tally.borrow(), reached)
        }
        Command::Totals => Answer::of(&fleet.tally.borrow(), true),
        Command::Close => {
            for task in tasks.drain(..) {
                task.abort();
                // An aborted task says so; what matters is that it is gone.
                let _ = task.await;
            }
            fleet.count(|tally| *tally = Tally::default());
            Answer::of(&fleet.tally.borrow(), true)
        }
        Command::Churn {
            cycles,
            at_once,
            ids,
        } => {
            fleet.count(Tally::start);
            let whole = stream::churn(fleet, cycles, at_once, ids).await;
            Answer::of(&fleet.tally.borrow(), whole)
        }
        Command::Reject {
            variant,
            seconds: for_s,
        } => {
            fleet.count(Tally::start);
            let told = hostile::reject(fleet, variant, seconds(for_s)).await;
            fleet.count(|tally| {
                if let Err(fault) = told {
                    tally.fault(fault);
                }
            });
            Answer::of(&fleet.tally.borrow(), true)
        }
        Command::Abuse { manner, streams } => {
            for number in 0..streams {
                let one = hostile::abuse(fleet.clone(), manner, number);
                tasks.push(tokio::task::spawn_local(one));
            }
            let all = usize::try_from(streams).unwrap_or(usize::MAX);
            let reached = fleet.until(seconds(60), |tally| tally.abusing >= all).await;
            Answer::of(&fleet.tally.borrow(), reached)
        }
    }
}

fn seconds(count: u32) -> Duration {
    Duration::from_secs(u64::from(count))
}
