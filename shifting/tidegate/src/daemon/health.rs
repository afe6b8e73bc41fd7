//! How the process of each sidecar is: restarts, memory, and how often it came for its configuration.
//! A configuration can harm a sidecar without failing a request.
//!
//! Two sidecars that use one node id look like one that restarts all the time; their two streams
//! show it.

use std::collections::BTreeMap;

use tidegate_engine::time::Time;
use tidegate_xds::report::Report;

/// A sidecar that has neither reported nor been connected for this long is forgotten.
const FORGET_MS: u64 = 3_600_000;

/// The most sidecars that are known: reports name them.
const SIDECARS_MAX: usize = 100_000;

/// How late a report may come, at most, in ms. Only within it can a restarted process look older
/// than the time since the last report of the one before.
const LATE_MS: u64 = 5_000;

/// What is known of one sidecar's process. Counts begin when the control plane first hears of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SidecarHealth {
    /// Memory that it has allocated, in bytes, as it reported last; `None` when it never did.
    pub memory_bytes: Option<u64>,
    /// How long it had been running at its latest report, in s; `None` when it never told.
    pub uptime_s: Option<u64>,
    /// How often it was restarted, as its uptime tells. The end of a process that had run for no
    /// longer than the next one has at its first report, a second or two, is seen only by its
    /// connections.
    pub restarts: u64,
    /// How often it opened its configuration connection; 0 when it never had one.
    pub connections: u64,
}

/// The health of every sidecar that was heard of in the last hour.
#[derive(Debug, Clone, Default)]
pub struct Health {
    sidecars: BTreeMap<String, Known>,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    /// When it last reported or was connected.
    seen: Time,
    /// When it last told its uptime.
    told: Time,
    health: SidecarHealth,
}

// === impl Health ===

impl Health {
    /// Takes in what a report tells of its sidecar's process. Reports of one sidecar come in order.
    pub fn record(&mut self, report: &Report, at: Time) {
        let Some(known) = self.known(&report.node_id, at) else {
            return;
        };
        known.seen = at;
        if let Some(memory_bytes) = report.server.memory_bytes {
            known.health.memory_bytes = Some(memory_bytes);
        }
        let Some(uptime_s) = report.server.uptime_s else {
            return;
        };
        // The uptime also falls when the time of day is set back, but not to so little.
        let younger = known.health.uptime_s.is_some_and(|last| uptime_s < last);
        let begun_since = uptime_s.saturating_mul(1_000) <= at.since_ms(known.told) + LATE_MS;
        if younger && begun_since {
            known.health.restarts += 1;
        }
        known.told = at;
        known.health.uptime_s = Some(uptime_s);
    }

    /// Takes in how often a sidecar has opened its configuration connection, and whether it has one.
    pub fn note_connections(&mut self, node_id: &str, connections: u64, connected: bool, at: Time) {
        if !connected {
            if let Some(known) = self.sidecars.get_mut(node_id) {
                known.health.connections = connections;
            }
            return;
        }
        if let Some(known) = self.known(node_id, at) {
            known.seen = at;
            known.health.connections = connections;
        }
    }

    /// What is known of a sidecar.
    #[must_use]
    pub fn of(&self, node_id: &str) -> Option<SidecarHealth> {
        self.sidecars.get(node_id).map(|known| known.health)
    }

    /// Forgets who was not heard of for an hour.
    pub fn forget_old(&mut self, now: Time) {
        self.sidecars
            .retain(|_, known| now.since_ms(known.seen) < FORGET_MS);
    }

    /// The entry of a sidecar, a new one if there is room for it.
    fn known(&mut self, node_id: &str, at: Time) -> Option<&mut Known> {
        if !self.sidecars.contains_key(node_id) {
            if self.sidecars.len() >= SIDECARS_MAX {
                return None;
            }
            let new = Known {
                seen: at,
                told: at,
                health: SidecarHealth::default(),
            };
            self.sidecars.insert(node_id.to_owned(), new);
        }
        self.sidecars.get_mut(node_id)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tidegate_xds::report::{ServerGauges, Source};

    use super::*;

    fn report(node_id: &str, memory_bytes: Option<u64>, uptime_s: Option<u64>) -> Report {
        Report {
            node_id: node_id.to_owned(),
            cluster: "web".to_owned(),
            source: Source::Metrics,
            received_at: Instant::now(),
            upstreams: BTreeMap::new(),
            versions: BTreeMap::new(),
            server: ServerGauges {
                memory_bytes,
                uptime_s,
            },
            faults: 0,
        }
    }

    /// Uptimes in s, each with the time in s at which it came.
    fn restarts(told: &[(u64, u64)]) -> u64 {
        let mut health = Health::default();
        for (at_s, uptime_s) in told {
            let at = Time(at_s * 1_000);
            health.record(&report("a", None, Some(*uptime_s)), at);
        }
        health.of("a").map_or(0, |known| known.restarts)
    }

    #[test]
    fn a_restart_is_an_uptime_that_begins_anew() {
        assert_eq!(restarts(&[(100, 50), (101, 51), (102, 52)]), 0);
        assert_eq!(restarts(&[(100, 50), (101, 51), (104, 0), (105, 1)]), 1);
        assert_eq!(restarts(&[(100, 1), (101, 0), (102, 1), (103, 0)]), 2);
        // It was away for long, and has been running for most of it.
        assert_eq!(restarts(&[(100, 5_000), (1_100, 990)]), 1);
        // The same second twice, and one left out.
        assert_eq!(restarts(&[(100, 50), (101, 50), (102, 52)]), 0);
    }

    #[test]
    fn a_time_of_day_that_is_set_back_is_no_restart() {
        assert_eq!(restarts(&[(100, 3_600), (101, 3_540), (102, 3_541)]), 0);
        // A report that came late tells of an earlier second.
        assert_eq!(restarts(&[(100, 60), (100, 59), (101, 61)]), 0);
    }

    #[test]
    fn the_latest_memory_counts_and_silence_about_it_changes_nothing() {
        let mut health = Health::default();
        health.record(&report("a", Some(5), None), Time(0));
        health.record(&report("a", Some(7), Some(1)), Time(1_000));
        health.record(&report("a", None, None), Time(2_000));
        let expected = SidecarHealth {
            memory_bytes: Some(7),
            uptime_s: Some(1),
            restarts: 0,
            connections: 0,
        };
        assert_eq!(health.of("a"), Some(expected));
        assert_eq!(health.of("b"), None);
    }

    #[test]
    fn connections_are_those_that_the_server_counted() {
        let mut health = Health::default();
        health.note_connections("a", 1, true, Time(0));
        // It came back and was gone again between two looks.
        health.note_connections("a", 2, false, Time(1_000));
        assert_eq!(health.of("a").map(|known| known.connections), Some(2));
        // Who left long ago is not taken in again.
        health.note_connections("gone", 4, false, Time(1_000));
        assert_eq!(health.of("gone"), None);
    }

    #[test]
    fn who_is_gone_for_an_hour_is_forgotten() {
        let mut health = Health::default();
        health.note_connections("connected", 1, true, Time(0));
        health.record(&report("reports", None, None), Time(0));
        health.note_connections("left", 1, true, Time(0));
        for minute in 1..=60 {
            let now = Time(minute * 60_000);
            health.note_connections("connected", 1, true, now);
            health.note_connections("left", 1, false, now);
            health.record(&report("reports", None, None), now);
            health.forget_old(now);
        }
        let known = ["connected", "reports", "left"].map(|id| health.of(id).is_some());
        assert_eq!(known, [true, true, false]);
    }

    #[test]
    fn sidecars_are_bounded_and_those_that_are_known_stay() {
        let mut health = Health::default();
        for number in 0..SIDECARS_MAX {
            health.note_connections(&number.to_string(), 1, true, Time(0));
        }
        health.record(&report("one more", Some(1), None), Time(0));
        assert_eq!(health.of("one more"), None);
        health.record(&report("7", Some(1), None), Time(0));
        assert_eq!(health.of("7").and_then(|known| known.memory_bytes), Some(1));
    }
}
