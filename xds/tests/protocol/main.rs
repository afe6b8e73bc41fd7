//! The rules of the xDS protocol over a real connection, in every variant and over every transport
//! where they apply. The same rules are tested at the state machine in `src/stream/tests`;
//! `tests/rules.rs` checks that neither place lacks one.
//!
//! A rule is written once, for a [`Mode`](harness::Mode), and [`runs!`] makes one test of it for
//! each mode that is listed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]

#[path = "../common/mod.rs"]
mod common;
/// The small resources of the state machine's own tests.
#[allow(dead_code, reason = "made for all of them")]
#[path = "../../src/testing.rs"]
mod testing;

use tidegate_xds::{Resource, Snapshot, TypeUrl};

/// Makes a test of a rule for each mode: of those that are named, or of `all`, the two of `delta`
/// or `sotw`, the two that are `aggregated` or `per_type`. Needs a function of that name that takes
/// the mode.
macro_rules! runs {
    ($rule:ident: all) => { runs!($rule: delta_ads, delta_per_type, sotw_ads, sotw_per_type); };
    ($rule:ident: delta) => { runs!($rule: delta_ads, delta_per_type); };
    ($rule:ident: sotw) => { runs!($rule: sotw_ads, sotw_per_type); };
    ($rule:ident: aggregated) => { runs!($rule: delta_ads, sotw_ads); };
    ($rule:ident: per_type) => { runs!($rule: delta_per_type, sotw_per_type); };
    ($rule:ident: $($mode:ident),+) => {
        mod $rule {
            $(#[tokio::test]
            async fn $mode() {
                // Boxed: a test's future holds whole clients.
                Box::pin(super::$rule(crate::harness::Mode::$mode())).await;
            })+
        }
    };
}

mod common_rules;
mod delta;
mod frames;
mod harness;
mod hostile;
mod invariants;
mod order;
mod sotw;
