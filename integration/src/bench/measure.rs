//! What a process costs, as the kernel tells.

use std::fs;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

/// How long a process must be quiet to count as being at rest.
const QUIET: Duration = Duration::from_millis(60);

/// CPU within [`QUIET`] that still counts as quiet, nanoseconds: timers, and the kernel's own.
const QUIET_CPU_NS: u64 = 600_000;

/// Resident memory of a process, bytes.
///
/// # Errors
/// If the process has gone.
pub fn memory(process: u32) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.map(|kib| kib * 1024)
        .ok_or_else(|| io::Error::other("no Rss in smaps_rollup"))
}

/// CPU time that the calling thread has used, nanoseconds.
///
/// # Errors
/// If the kernel does not tell.
pub fn thread_cpu_ns() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/thread-self/schedstat")?;
    let first = text.split_whitespace().next();
    first
        .and_then(|ns| ns.parse().ok())
        .ok_or_else(|| io::Error::other("no CPU time in schedstat"))
}

/// CPU time that the threads of a process have used, nanoseconds.
///
/// # Errors
/// If the process has gone.
pub fn cpu_ns(process: u32) -> io::Result<u64> {
    let mut sum = 0;
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        // A thread that ends in between takes its time with it; the servers' don't.
        let Ok(text) = fs::read_to_string(thread?.path().join("schedstat")) else {
            continue;
        };
        let first = text.split_whitespace().next();
        sum += first.and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(sum)
}

/// Waits until a process is at rest, and tells its CPU time. `None` if it isn't within `patience`.
///
/// # Errors
/// If the process has gone.
pub fn at_rest(process: u32, patience: Duration) -> io::Result<Option<u64>> {
    let deadline = Instant::now() + patience;
    let mut before = cpu_ns(process)?;
    loop {
        thread::sleep(QUIET);
        let now = cpu_ns(process)?;
        if now - before <= QUIET_CPU_NS {
            return Ok(Some(now));
        }
        if Instant::now() > deadline {
            return Ok(None);
        }
        before = now;
    }
}

/// The value at a quantile from 0 to 1 of values in any order; 0 if there is none.
#[must_use]
pub fn quantile(values: &[u64], at: f64) -> u64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index within a list that fits into memory"
    )]
    let place = (sorted.len().saturating_sub(1) as f64 * at).round() as usize;
    sorted.get(place).copied().unwrap_or(0)
}

/// How far [`yield_to_others`] steps back: a tenth of the weight of a usual process, so that the
/// work goes on where nobody else wants the core.
const BACKGROUND_NICENESS: i32 = 10;

/// Has all other processes go before this one. To be called before it has threads.
///
/// # Errors
/// If the kernel refuses.
pub fn yield_to_others() -> io::Result<()> {
    rustix::process::nice(BACKGROUND_NICENESS)?;
    Ok(())
}

/// Lets this process and its children have as many open files as the system allows; how many.
///
/// # Errors
/// If the kernel refuses.
pub fn allow_files() -> io::Result<u64> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)?;
    Ok(limit.maximum.unwrap_or(u64::MAX))
}
