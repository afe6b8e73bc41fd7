//! A short run of the oracle: what Envoy refuses, we refuse, and what differs is explained.
//!
//! The long one is `cargo run -p tidegate-integration --bin config_oracle -- --refusals 2000 --seed 1`.
#![allow(clippy::unwrap_used, missing_docs)]

use std::process::Command;

#[test]
fn eighty_mistaken_configurations_are_judged_as_envoy_judges_them() {
    let output = Command::new(env!("CARGO_BIN_EXE_config_oracle"))
        .args(["--count", "80", "--seed", "3"])
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed}\n{errors}");
    assert!(
        printed.contains("unexplained disagreements: 0"),
        "{printed}"
    );
    // Mistakes that nobody minds would prove nothing.
    let all = printed
        .lines()
        .find(|line| line.starts_with("all "))
        .unwrap();
    let refused: u32 = all.split_whitespace().nth(2).unwrap().parse().unwrap();
    assert!(refused >= 30, "{all}");
}
