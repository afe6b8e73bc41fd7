//! The cores at work: the same task many times, its results in order whatever the order of work.

use std::io::{IsTerminal, Write, stderr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tidegate_integration::bench::measure::thread_cpu_ns;

/// Results are handed in by so many at once.
const BATCH: usize = 64;

/// How often progress is shown on a terminal, and elsewhere.
const SHOWN_MS: u128 = 500;
const LOGGED_MS: u128 = 15_000;

/// Threads, one per core.
#[derive(Debug)]
pub(crate) struct Crew {
    threads: usize,
    /// CPU time of all work up to now.
    worked_ns: AtomicU64,
}

// === impl Crew ===

impl Crew {
    pub(crate) fn of(threads: usize) -> Self {
        Self {
            threads,
            worked_ns: AtomicU64::new(0),
        }
    }

    /// CPU time that all work took up to now, in seconds.
    pub(crate) fn worked_s(&self) -> f64 {
        Duration::from_nanos(self.worked_ns.load(Ordering::Relaxed)).as_secs_f64()
    }

    /// `task` for each number below `count`; every thread has an own `tool`. Shows progress.
    pub(crate) fn run<Tool, Done: Send>(
        &self,
        what: &str,
        count: usize,
        tool: impl Fn() -> Tool + Sync,
        task: impl Fn(&mut Tool, usize) -> Done + Sync,
    ) -> Vec<Done> {
        let (next, finished) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let work = || {
            let mut tool = tool();
            let mut done = Vec::new();
            loop {
                let first = next.fetch_add(BATCH, Ordering::Relaxed);
                if first >= count {
                    let worked_ns = thread_cpu_ns().expect("the kernel tells a thread's CPU time");
                    self.worked_ns.fetch_add(worked_ns, Ordering::Relaxed);
                    return done;
                }
                let until = (first + BATCH).min(count);
                for number in first..until {
                    done.push((number, task(&mut tool, number)));
                }
                finished.fetch_add(until - first, Ordering::Relaxed);
            }
        };
        let mut all = thread::scope(|scope| {
            let workers: Vec<_> = (0..self.threads.max(1))
                .map(|_| scope.spawn(work))
                .collect();
            let mut line = Line::default();
            while workers.iter().any(|worker| !worker.is_finished()) {
                line.show(what, finished.load(Ordering::Relaxed), count);
                thread::sleep(Duration::from_millis(20));
            }
            line.end();
            let mut all = Vec::with_capacity(count);
            for worker in workers {
                match worker.join() {
                    Ok(done) => all.extend(done),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            all
        });
        all.sort_unstable_by_key(|(number, _)| *number);
        all.into_iter().map(|(_, done)| done).collect()
    }
}

/// The line that tells how far it is.
#[derive(Debug)]
struct Line {
    begun: Instant,
    shown: Instant,
    terminal: bool,
    used: bool,
}

impl Default for Line {
    fn default() -> Self {
        let now = Instant::now();
        Self {
            begun: now,
            shown: now,
            terminal: stderr().is_terminal(),
            used: false,
        }
    }
}

impl Line {
    fn show(&mut self, what: &str, finished: usize, count: usize) {
        let pause = if self.terminal { SHOWN_MS } else { LOGGED_MS };
        if self.shown.elapsed().as_millis() < pause {
            return;
        }
        self.shown = Instant::now();
        let text = format!(
            "{what}: {finished} of {count} rollouts, {} s",
            self.begun.elapsed().as_secs()
        );
        // Progress that cannot be shown is no reason to stop.
        let _ = if self.terminal {
            self.used = true;
            write!(stderr(), "\r{text}\x1b[K")
        } else {
            writeln!(stderr(), "{text}")
        };
    }

    fn end(&self) {
        if self.used {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}
