//! A deterministic simulation: one server, many clients of every kind, a network that delays and
//! cuts, views that change, a control plane that dies, and invariants checked after every step.
//!
//! ```text
//!  fate ─► desired ─► server (Sessions) ─► network ─► clients: Envoys, gRPC, liars
//!             │            │ monitor            │         │ invariants
//!             └── flaws ───┴────────────────────┴─────────┘
//! ```
//!
//! Everything follows from one number. A failure prints it, the smallest fleet that still shows it,
//! and the last steps; `TIDEGATE_SEED` tells the story again, `TIDEGATE_SEEDS` tells as many new
//! ones as it says.
//!
//! Deliberately not here: threads, gRPC, real time; `tests/wire.rs` has those.

mod client;
mod desired;
mod envoy;
mod grpc;
mod invariants;
mod liar;
mod monitor;
mod mux;
mod network;
mod random;
mod server;
mod trace;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use random::Random;
use trace::Trace;
use world::{Failure, Scale, World};

const CLIENTS_MAX: u64 = 12;

/// Stories that are told every time, by their seeds.
const FIXED: u64 = 200;

fn scale(seed: u64) -> Scale {
    let mut random = Random::of(seed, 0);
    // Now and then a fleet.
    let most = if random.once_in(20) { 30 } else { CLIENTS_MAX };
    let clients = 1 + random.index(usize::try_from(most).unwrap());
    Scale { seed, clients }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is a number, not {text}")),
    )
}

/// Tells one story. An error says what didn't hold.
fn tell(scale: Scale, trace: Trace) -> (Result<u64, Failure>, String) {
    let mut world = World::new(scale, trace);
    let told = catch_unwind(AssertUnwindSafe(|| world.run()));
    let told = told.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        Err(Failure {
            client: None,
            text: format!("panic: {}", text.unwrap_or_default()),
        })
    });
    (told.map(|()| world.steps), world.trace.text())
}

/// Tells the story of a seed, and fails with all that one needs to see it again. How many steps it
/// had.
fn check(mut scale: Scale) -> u64 {
    let error = match tell(scale, Trace::off()).0 {
        Ok(steps) => return steps,
        Err(error) => error,
    };
    // Fewer clients tell a shorter story, if it is the same one.
    let rule = |failure: &Failure| {
        let (_, error) = failure.text.split_once("): ")?;
        Some(error.split_once(':')?.0.to_owned())
    };
    let mut last = error.clone();
    for clients in 1..scale.clients {
        let fewer = Scale { clients, ..scale };
        if let Err(other) = tell(fewer, Trace::off()).0
            && rule(&other) == rule(&error)
        {
            (scale, last) = (fewer, other);
            break;
        }
    }
    let (_, trace) = tell(scale, Trace::on(last.client));
    panic!(
        "{}\n\n{}\nagain: TIDEGATE_SEED={} TIDEGATE_CLIENTS={} \
         cargo test -p tidegate-xds --lib stream::tests::simulation\n",
        last.text, trace, scale.seed, scale.clients
    );
}

#[test]
fn x1_x7_x8_s12_s17_s22_o2_o3_l1_l4_l6_l7_hold_in_every_story() {
    if let Some(seed) = number("TIDEGATE_SEED") {
        let mut scale = scale(seed);
        if let Some(clients) = number("TIDEGATE_CLIENTS") {
            scale.clients = usize::try_from(clients).unwrap();
        }
        println!("seed {seed}: {} steps", check(scale));
        return;
    }
    let mut steps = 0;
    for seed in 0..FIXED {
        steps += check(scale(seed));
    }
    println!("{FIXED} stories, {steps} steps");
}

#[test]
fn invariants_hold_in_stories_that_nobody_told_before() {
    let count = number("TIDEGATE_SEEDS").unwrap_or(40);
    let now = std::time::SystemTime::now();
    let since = now.duration_since(std::time::UNIX_EPOCH).unwrap();
    let first = Random::of(
        u64::try_from(since.as_nanos() % u128::from(u64::MAX)).unwrap(),
        3,
    )
    .below(1 << 40);
    println!("seeds {first} to {}", first + count);
    let steps: u64 = (first..first + count).map(|seed| check(scale(seed))).sum();
    println!("{count} stories, {steps} steps");
}

#[test]
fn a_story_is_the_same_every_time() {
    let told = |seed| tell(scale(seed), Trace::on(None));
    for seed in 0..5 {
        assert_eq!(told(seed), told(seed));
    }
}
