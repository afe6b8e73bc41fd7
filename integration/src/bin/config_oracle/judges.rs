//! The two judges: Envoy's own validation, and ours.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use tidegate_xds::config::{Diagnostic, Reader};

/// What both say of one configuration.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) ours: Vec<Diagnostic>,
    pub(crate) our_time: Duration,
    /// Envoy's reason to refuse it.
    pub(crate) envoys: Option<String>,
    pub(crate) envoys_time: Duration,
}

/// Asks both. The file is written into `directory`, which must be this judge's own.
pub(crate) fn judge(envoy: &Path, directory: &Path, config: &str) -> Result<Verdict, String> {
    let started = Instant::now();
    let ours = Reader::new().read("config.yaml", config);
    let our_time = started.elapsed();
    let started = Instant::now();
    let envoys = validate(envoy, directory, config)?;
    Ok(Verdict {
        ours: ours.err().unwrap_or_default(),
        our_time,
        envoys,
        envoys_time: started.elapsed(),
    })
}

fn validate(envoy: &Path, directory: &Path, config: &str) -> Result<Option<String>, String> {
    let file = directory.join("config.yaml");
    fs::write(&file, config).map_err(|cause| format!("{}: {cause}", file.display()))?;
    // Validating creates the files that a configuration writes to; they go where it lies.
    let output = Command::new(envoy)
        .current_dir(directory)
        .args(["--mode", "validate", "--log-level", "critical"])
        .args(["--concurrency", "1", "-c", "config.yaml"])
        .output()
        .map_err(|cause| format!("{}: {cause}", envoy.display()))?;
    if output.status.success() {
        return Ok(None);
    }
    let log = String::from_utf8_lossy(&output.stderr);
    let log = log.split_whitespace().collect::<Vec<_>>().join(" ");
    let reason = log
        .split_once("config.yaml': ")
        .map_or(&*log, |(_, reason)| reason);
    // The whole message in a form that differs from run to run comes first.
    let reason = match reason.find("Proto constraint validation failed") {
        Some(at) => &reason[at..],
        None => reason,
    };
    Ok(Some(match output.status.code() {
        Some(_) => reason.to_owned(),
        None => format!("{}: {reason}", output.status),
    }))
}

/// How deep Envoy had to look to refuse it.
pub(crate) fn stage(reason: &str) -> &'static str {
    let any = |words: &[&str]| words.iter().any(|word| reason.contains(word));
    if reason.starts_with("signal") {
        "Envoy crashed"
    } else if any(&["Proto constraint validation failed"]) {
        "rule of the schema"
    } else if any(&[
        "Unable to parse JSON as proto",
        "could not be parsed",
        "JSON supplied",
    ]) {
        "JSON mapping: names, types, ranges"
    } else if any(&["Unable to convert YAML", "yaml", "YAML"]) {
        "syntax of YAML"
    } else if any(&["has unknown fields", "Protobuf message (type"]) {
        "unknown or deprecated field"
    } else if any(&["registered implementation", "no registered", "Unknown type"]) {
        "unknown extension"
    } else {
        "Envoy's own code"
    }
}

/// A reason without what differs from case to case.
pub(crate) fn category(reason: &str) -> String {
    let mut out = String::new();
    let mut quote = None;
    for c in reason.chars().take(220) {
        match quote {
            Some(open) if c == open => {
                quote = None;
                out.push(c);
            }
            Some(_) => {}
            None if matches!(c, '"' | '`') => {
                quote = Some(c);
                out.push(c);
            }
            None if c.is_ascii_digit() => {
                if !out.ends_with('#') {
                    out.push('#');
                }
            }
            None => out.push(c),
        }
    }
    out
}
