//! `tidegate demo`: each scenario ends as it should, with the figures that were promised.

use std::fs;
use std::time::Duration;

use serde_json::Value;
use tidegate_integration::Running;
use tidegate_integration::machine::{alone, wait_for, wait_until};
use tidegate_integration::program;

/// Runs a scenario; it must end as the demo itself expects.
fn demo(scenario: &str) -> Value {
    let answer = program::run(&["demo", "--scenario", scenario, "--json"]);
    assert_eq!(answer.code, 0, "demo --scenario {scenario}: {answer:?}");
    let measured = answer.json();
    println!("{}", measured["sentence"].as_str().unwrap());
    assert_eq!(measured["as_expected"], true, "{measured:#}");
    assert_eq!(measured["scenario"], scenario);
    assert!(measured["requests"].as_u64() > Some(1_000), "{measured:#}");
    assert!(measured["canary_served"].as_u64() > Some(0), "{measured:#}");
    measured
}

fn number(measured: &Value, field: &str) -> u64 {
    measured[field]
        .as_u64()
        .unwrap_or_else(|| panic!("no {field} in {measured:#}"))
}

#[test]
fn healthy_is_promoted_within_3_minutes_and_fails_nothing() {
    let _alone = alone();
    let measured = demo("healthy");
    assert_eq!(measured["outcome"], "promoted");
    assert_eq!(number(&measured, "non_200"), 0);
    assert!(number(&measured, "duration_ms") < 180_000);
    let rungs: Vec<&str> = measured["rungs"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|rung| rung["phase"] == "judging")
        .map(|rung| rung["rung"].as_str().unwrap())
        .collect();
    assert_eq!(rungs, ["1 host", "5%", "100%"]);
}

#[test]
fn t7_errors_are_reverted_in_a_median_of_6_s_with_at_most_60_failures() {
    let _alone = alone();
    let mut times: Vec<u64> = (0..5)
        .map(|_| {
            let measured = demo("errors");
            assert_eq!(measured["outcome"], "reverted");
            assert_eq!(number(&measured, "failed_on_stable"), 0);
            assert_eq!(number(&measured, "failed_before_any_host"), 0);
            assert!(number(&measured, "non_200") <= 60, "{measured:#}");
            assert!(number(&measured, "failed_on_canary") > 0, "{measured:#}");
            number(&measured, "first_failure_to_last_canary_ms")
        })
        .collect();
    times.sort_unstable();
    println!("first failure to last canary-served request, ms: {times:?}");
    assert!(times[2] <= 6_000, "{times:?}");
}

#[test]
fn slow_and_hang_are_reverted_within_30_s() {
    let _alone = alone();
    for scenario in ["slow", "hang"] {
        let measured = demo(scenario);
        assert_eq!(measured["outcome"], "reverted");
        assert_eq!(number(&measured, "failed_on_stable"), 0);
        let took = number(&measured, "first_failure_to_last_canary_ms");
        assert!(took <= 30_000, "{measured:#}");
    }
}

#[test]
fn a_host_that_is_gone_is_never_advanced_on() {
    let _alone = alone();
    let measured = demo("gone");
    assert_ne!(measured["outcome"], "unfinished");
    if measured["outcome"] == "reverted" {
        // It died on the first rung: nothing above it was ever reached.
        for rung in measured["rungs"].as_array().unwrap() {
            assert!(
                rung["rung"] == "1 host" || rung["rung"] == "-",
                "{measured:#}"
            );
        }
    }
}

#[test]
fn t2_without_a_control_plane_the_canary_falls_to_0_within_its_ttl_and_nothing_fails() {
    let _alone = alone();
    let measured = demo("control-plane-loss");
    assert_eq!(number(&measured, "non_200"), 0);
    // The runtime layer's life of 6 s, and a second.
    let took = number(&measured, "canary_zero_after_kill_ms");
    assert!(took <= 7_000, "{measured:#}");
    let resent = measured["resources_resent"].as_object().unwrap();
    for kind in ["cds", "lds"] {
        let count = resent.get(kind).map_or(0, |count| count.as_u64().unwrap());
        assert_eq!(count, 0, "{kind}: {resent:?}");
    }
    for rung in measured["rungs"].as_array().unwrap() {
        assert_ne!(
            rung["rung"], "100%",
            "resumed to a higher step: {measured:#}"
        );
    }
}

#[test]
fn an_interrupted_demo_leaves_no_process_behind() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let command = program::command(&["demo"]);
    let mut demo = Running::start("tidegate demo", command, &directory.path().join("demo.log"));
    let root = demo.id();
    // The control plane and three sidecars.
    let children = wait_for(Duration::from_secs(60), "the demo's children", || {
        let children = descendants(root);
        (children.len() >= 4).then_some(children)
    });
    demo.signal("INT");
    let status = demo.wait(Duration::from_secs(20));
    assert!(
        !status.success(),
        "an interrupted demo has not ended as it should"
    );
    wait_until(Duration::from_secs(5), "the end of all children", || {
        children
            .iter()
            .all(|(id, started)| started_at(*id) != Some(*started))
    });
}

/// Processes that come from `root`, with the times they were started at: ids are used again.
fn descendants(root: u32) -> Vec<(u32, u64)> {
    let all: Vec<(u32, Stat)> = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|id| Some((id, Stat::of(id)?)))
        .collect();
    let mut found = Vec::new();
    let mut parents = vec![root];
    while let Some(parent) = parents.pop() {
        for (id, stat) in all.iter().filter(|(_, stat)| stat.parent == parent) {
            found.push((*id, stat.started));
            parents.push(*id);
        }
    }
    found
}

fn started_at(id: u32) -> Option<u64> {
    Stat::of(id).map(|stat| stat.started)
}

/// What the kernel tells of a process.
struct Stat {
    parent: u32,
    /// In ticks since boot.
    started: u64,
}

impl Stat {
    /// `None` when it is gone, or only waits to be collected.
    fn of(id: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // After the name in parentheses, which may contain spaces: the state, the parent, and 18
        // fields later the start.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        (fields[0] != "Z").then(|| Self {
            parent: fields[1].parse().unwrap(),
            started: fields[19].parse().unwrap(),
        })
    }
}
