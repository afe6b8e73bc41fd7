//! The demo's mesh, as an operator would declare it, with waits short enough to watch.

use std::fmt::Write;
use std::net::SocketAddr;

/// The service whose traffic moves.
pub(super) const SERVICE: &str = "checkout";
/// The fleet of the demo's sidecars.
pub(super) const FLEET: &str = "web";
/// Where sidecars and hosts are, in turn.
pub(super) const ZONES: [&str; 3] = ["a", "b", "c"];
/// After this time without the control plane the sidecars drop the canary by themselves.
pub(super) const DEAD_MAN_TTL_MS: u64 = 6_000;
/// Least canary requests on a rung before it may be left.
pub(super) const MINIMUM_REQUESTS: u64 = 50;

/// Fewer than 5% fail: proven by some 80 requests, at the usual rate within the bake and at the
/// lowest one in a minute.
const ADVANCE_BURN_RATE: u32 = 10;

/// Zone of the `index`th sidecar or host.
pub(super) fn zone(index: usize) -> &'static str {
    ZONES.get(index % ZONES.len()).copied().unwrap_or("a")
}

/// The mesh directory's one file.
pub(super) fn yaml(stable: &[SocketAddr], canary: &[SocketAddr]) -> String {
    format!(
        "\
kind: fleet
name: {FLEET}
listener: {{address: 127.0.0.1, port: 0}}
---
kind: service
name: {SERVICE}
fleets: [{FLEET}]
initial: v1
protocol: http2
versions:
  v1:
    hosts:
{}  v2:
    hosts:
{}slo:
  success: 99.5%
  latency: {{threshold: 250ms, share: 99%}}
ladder: [1 host, 5%, 100%]
rollout:
  bake: 12s
  soak: 20s
  minimum_requests: {MINIMUM_REQUESTS}
  hold_deadline: 10m
  acknowledge_deadline: 10s
  dead_man_ttl: {}s
  advance_burn_rate: {ADVANCE_BURN_RATE}
traffic:
  timeout: 2s
",
        hosts(stable),
        hosts(canary),
        DEAD_MAN_TTL_MS / 1_000,
    )
}

fn hosts(addresses: &[SocketAddr]) -> String {
    addresses
        .iter()
        .enumerate()
        .fold(String::new(), |mut text, (index, address)| {
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "      - {{address: \"{address}\", zone: {}}}",
                zone(index)
            );
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_host_is_declared_under_its_version_with_a_zone() {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let text = yaml(&[address(1), address(2)], &[address(3)]);
        assert!(
            text.contains(
                "\
  v1:
    hosts:
      - {address: \"127.0.0.1:1\", zone: a}
      - {address: \"127.0.0.1:2\", zone: b}
  v2:
    hosts:
      - {address: \"127.0.0.1:3\", zone: a}
slo:
"
            ),
            "{text}"
        );
    }
}
