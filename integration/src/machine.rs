//! What tests share on one machine: cores, ports, time and luck.

use std::env;
use std::fs::{File, OpenOptions};
use std::net::{SocketAddr, TcpListener};
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
#[must_use]
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 100).unwrap() * 100;
    for _ in 0..10_000 {
        let offset = (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000;
        let address = SocketAddr::from(([127, 0, 0, 1], 20_000 + offset));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no free port between 20000 and 30000");
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
