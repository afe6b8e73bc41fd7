//! What tests share on one machine: cores, ports, time and luck.

use std::collections::BTreeSet;
use std::env;
use std::fs::{self, File, OpenOptions};
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

/// Held by a test that starts Envoys or measures time; freed when dropped, or by the kernel.
#[derive(Debug)]
pub struct Alone {
    _lock: File,
}

/// Waits until no other such test runs, in this process or another.
#[must_use]
pub fn alone() -> Alone {
    let path = env::temp_dir().join("tidegate-integration.lock");
    let lock = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .unwrap();
    lock.lock().unwrap();
    Alone { _lock: lock }
}

/// The runtime of hosts and clients. Blocking on it from a test's thread is fine.
pub fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap()
    })
}

/// A loopback address nobody listens at. Below the range from which the kernel takes ports for
/// outgoing connections, so that it stays free until it is used, also across a restart.
///
/// It is not tried out: another thread that starts a program at that moment hands the listening socket
/// down, and for as long as that program has not begun the address is taken.
#[must_use]
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 100).unwrap() * 100;
    let taken = listening_ports();
    let port = std::iter::repeat_with(|| NEXT.fetch_add(1, Ordering::Relaxed))
        .map(|next| 20_000 + (first + next) % 10_000)
        .take(10_000)
        .find(|port| !taken.contains(port))
        .expect("a free port between 20000 and 30000");
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// Ports at which somebody listens on this machine, by the kernel's own table.
fn listening_ports() -> BTreeSet<u16> {
    const LISTENING: &str = "0A";
    let of_version_6 = fs::read_to_string("/proc/net/tcp6").unwrap_or_default(); // not everywhere
    let table = fs::read_to_string("/proc/net/tcp").unwrap() + &of_version_6;
    let ports = table.lines().filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (_, port) = fields.next()?.rsplit_once(':')?;
        (fields.nth(1)? == LISTENING).then(|| u16::from_str_radix(port, 16).unwrap())
    });
    ports.collect()
}

/// Waits until `condition` gives something.
///
/// # Panics
/// When it has not within `limit`; `what` says what was waited for.
pub fn wait_for<T>(limit: Duration, what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(
            started.elapsed() < limit,
            "waited {limit:?} in vain for: {what}"
        );
        thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until `condition` holds.
///
/// # Panics
/// When it does not within `limit`; `what` says what was waited for.
pub fn wait_until(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    wait_for(limit, what, || condition().then_some(()));
}

/// Waits until `value` has not changed for `span`.
///
/// # Panics
/// When it still changes at the end of `limit`; `what` says what was waited for.
pub fn wait_until_still<T: PartialEq>(
    limit: Duration,
    span: Duration,
    what: &str,
    mut value: impl FnMut() -> T,
) {
    let mut last = (value(), Instant::now());
    wait_until(limit, what, || {
        let now = value();
        if now != last.0 {
            last = (now, Instant::now());
        }
        last.1.elapsed() >= span
    });
}

/// Numbers that look random and repeat from their seed (SplitMix64).
#[derive(Debug)]
pub struct Random(u64);

// === impl Random ===

impl Random {
    /// Seeded by `$TIDEGATE_TEST_SEED`, else by chance; printed, so that a failure can be
    /// repeated.
    #[must_use]
    pub fn seeded() -> Self {
        let seed = match env::var("TIDEGATE_TEST_SEED") {
            Ok(text) => text.parse().expect("TIDEGATE_TEST_SEED is a whole number"),
            Err(_) => {
                let now = std::time::UNIX_EPOCH.elapsed().unwrap();
                u64::from(now.subsec_nanos()) ^ now.as_secs()
            }
        };
        println!("TIDEGATE_TEST_SEED={seed}");
        Self(seed)
    }

    /// From 0 to `end - 1`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn who_listens_is_in_the_table_until_it_ends() {
        let listener = TcpListener::bind(free_address()).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(listening_ports().contains(&port));
        drop(listener);
        assert!(!listening_ports().contains(&port));
    }
}
