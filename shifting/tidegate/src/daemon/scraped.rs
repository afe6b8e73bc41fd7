//! The evidence of rollouts that a Prometheus judges or watches.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_engine::evidence::{Arms, Intake, SidecarReport};
use tidegate_engine::mesh::EvidenceSource;
use tidegate_engine::rollout::Evidence;
use tidegate_engine::time::Time;

use crate::clock::Clock;
use crate::prometheus::{Counters, Outage, Poll};

/// What Prometheus told, by service with a running rollout.
#[derive(Debug, Default)]
pub(crate) struct Scraped {
    services: BTreeMap<String, Source>,
}

#[derive(Debug)]
struct Source {
    intake: Intake,
    counters: Counters,
    interval_ms: u64,
    outage: Option<Outage>,
    /// It answered at least once.
    answered: bool,
}

/// What judges and what the witness says, of a service whose numbers are `source`'s. `reported` is
/// asked only where sidecars' reports are used.
pub(crate) fn roles(
    source: &EvidenceSource,
    reported: impl FnOnce() -> Evidence,
    scraped: Option<Evidence>,
) -> (Evidence, Option<Evidence>) {
    match (source, scraped) {
        (EvidenceSource::Prometheus(_), Some(scraped)) => (scraped, None),
        (_, witness) => (reported(), witness),
    }
}

// === impl Scraped ===

impl Scraped {
    /// Takes in an answer, or that there was none.
    pub(crate) fn record(&mut self, poll: Poll, clock: &Clock) {
        let source = self
            .services
            .entry(poll.service)
            .or_insert_with(|| Source::new(poll.interval_ms));
        if source.interval_ms != poll.interval_ms {
            *source = Source::new(poll.interval_ms);
        }
        let scrapes = match poll.outcome {
            Ok(scrapes) => scrapes,
            Err(outage) => {
                source.outage = Some(outage);
                return;
            }
        };
        source.outage = None;
        source.answered = true;
        let before = source.counters.targets();
        let now = clock.at(poll.asked);
        for report in source.counters.update(&scrapes) {
            if report.restarted {
                source.intake.reconnected(&report.target);
            }
            source.intake.record(&SidecarReport {
                sidecar: report.target,
                at: Time(now.0.saturating_sub(report.age_ms)),
                taken: None,
                unreadable: 0,
                upstreams: report.upstreams,
            });
        }
        for gone in before.difference(&source.counters.targets()) {
            source.intake.departed(gone);
        }
    }

    /// What arrived since the last tick. `sidecars` are connected and reach the service; each of
    /// them should be scraped.
    pub(crate) fn observe(
        &mut self,
        service: &str,
        interval_ms: u64,
        arms: Arms<'_>,
        sidecars: usize,
        now: Time,
    ) -> Evidence {
        let source = self
            .services
            .entry(service.to_owned())
            .or_insert_with(|| Source::new(interval_ms));
        let targets = source.counters.targets();
        let trouble = source.trouble(targets.len(), sidecars, arms);
        // Requests of a sidecar that nobody scrapes are unknown, not absent.
        let unscraped =
            (targets.len()..sidecars).map(|n| format!("sidecar {} (not scraped)", n + 1));
        let expected: BTreeSet<String> = targets.iter().cloned().chain(unscraped).collect();
        Evidence {
            trouble,
            ..source.intake.observe(arms, &expected, now)
        }
    }

    /// Forgets services without a running rollout.
    pub(crate) fn retain(&mut self, running: impl Fn(&str) -> bool) {
        self.services.retain(|service, _| running(service));
    }
}

// === impl Source ===

impl Source {
    fn new(interval_ms: u64) -> Self {
        Self {
            intake: Intake::new(interval_ms),
            counters: Counters::default(),
            interval_ms,
            outage: None,
            answered: false,
        }
    }

    /// What is wrong with the source itself, most telling first.
    fn trouble(&self, targets: usize, sidecars: usize, arms: Arms<'_>) -> Option<String> {
        if let Some(outage) = &self.outage {
            return Some(outage.to_string());
        }
        if !self.answered {
            return Some("Prometheus has not answered yet".to_owned());
        }
        if targets == 0 {
            return Some(format!(
                "Prometheus has no samples of `{}`: does it scrape /stats/prometheus of the \
                 sidecars' admin interfaces, at the declared interval?",
                arms.stable
            ));
        }
        if targets < sidecars {
            return Some(format!(
                "Prometheus scrapes {targets} of the {sidecars} sidecars that reach the service"
            ));
        }
        match self.counters.not_numbers() {
            0 => None,
            n => Some(format!("{n} samples of Prometheus are no numbers")),
        }
    }
}

#[cfg(test)]
mod tests;
