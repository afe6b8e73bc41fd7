//! Requests that vanished: issued, never completed, not in flight any more (envoy facts §6).
//!
//! A client that gives up first leaves no error anywhere; only the balance shows it. Envoy reads
//! its counters microseconds apart, so the balance of one report may be off by what happened in
//! between; a loss is believed when three reports in a row show it.

/// Reports that must agree.
const CONFIRM: usize = 3;

/// Balance of one sidecar's requests to one cluster.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger {
    /// Issued − completed − (growth of in flight), since the baseline.
    balance: i128,
    /// In flight at the latest report, or at the baseline.
    active: u64,
    /// The latest balances, oldest first; at most [`CONFIRM`].
    recent: Vec<i128>,
    /// The balance up to which losses were reported.
    counted: i128,
    /// Reports until the baseline is settled. At the first report of a cluster with a history some
    /// requests are caught between their completion and their end; when those end, the balance
    /// rises without a loss.
    settling: usize,
    /// Reports since a connection failed; refused requests complete without being issued.
    since_refusal: Option<usize>,
}

// === impl Ledger ===

impl Ledger {
    /// Starts with `active` requests in flight, at any moment of a cluster's life. A cluster that
    /// is new starts with [`Ledger::default`].
    pub(crate) fn starting(active: u64) -> Self {
        Self {
            active,
            settling: CONFIRM,
            ..Self::default()
        }
    }

    /// In flight at the latest report.
    pub(crate) fn active(&self) -> u64 {
        self.active
    }

    /// One report; answers how many more requests are now known to be lost.
    pub(crate) fn settle(
        &mut self,
        issued: u64,
        completed: u64,
        active: u64,
        connect_failures: u64,
    ) -> u64 {
        let growth = i128::from(active) - i128::from(self.active);
        self.active = active;
        self.balance += i128::from(issued) - i128::from(completed) - growth;
        self.since_refusal = match (connect_failures > 0, self.since_refusal) {
            (true, _) => Some(0),
            (false, Some(reports)) if reports < CONFIRM => Some(reports + 1),
            (false, _) => None,
        };
        if self.recent.len() == CONFIRM {
            self.recent.remove(0);
        }
        self.recent.push(self.balance);
        if self.settling > 0 {
            self.settling -= 1;
            self.counted = self.counted.max(self.balance);
            return 0;
        }
        if self.recent.len() < CONFIRM {
            return 0;
        }
        let lowest = self.recent.iter().copied().min().unwrap_or(self.counted);
        let highest = self.recent.iter().copied().max().unwrap_or(self.counted);
        if self.since_refusal.is_some() && highest < self.counted {
            // Refused requests pulled the balance down for good; later losses count from here.
            self.counted = highest;
        }
        let lost = (lowest - self.counted).max(0);
        self.counted = self.counted.max(lowest);
        u64::try_from(lost).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_that_give_up_first_are_found_after_three_reports() {
        let mut ledger = Ledger::default();
        let lost: Vec<u64> = (0..6).map(|_| ledger.settle(5, 0, 1, 0)).collect();
        assert_eq!(lost, [0, 0, 4, 5, 5, 5]);
    }

    #[test]
    fn counters_read_microseconds_apart_are_not_losses() {
        let mut ledger = Ledger::starting(0);
        for _ in 0..100 {
            assert_eq!(ledger.settle(11, 10, 0, 0), 0);
            assert_eq!(ledger.settle(9, 10, 0, 0), 0);
        }
    }

    #[test]
    fn hanging_requests_are_in_flight_and_not_lost() {
        let mut ledger = Ledger::starting(3);
        for tick in 1..50 {
            assert_eq!(ledger.settle(5, 0, 3 + 5 * tick, 0), 0);
        }
    }

    #[test]
    fn refused_connections_do_not_hide_later_losses() {
        let mut ledger = Ledger::default();
        for _ in 0..10 {
            assert_eq!(ledger.settle(0, 5, 0, 5), 0);
        }
        let lost: u64 = (0..10).map(|_| ledger.settle(5, 0, 0, 0)).sum();
        assert!((35..=40).contains(&lost), "{lost}");
    }

    #[test]
    fn the_end_of_requests_from_before_the_baseline_is_not_a_gain() {
        let mut ledger = Ledger::starting(20);
        for completed in [20, 0, 0] {
            assert_eq!(ledger.settle(0, completed, 0, 0), 0);
        }
        let lost: u64 = (0..5).map(|_| ledger.settle(5, 0, 0, 0)).sum();
        assert_eq!(lost, 15, "the latest ten are not confirmed yet");
    }

    #[test]
    fn a_request_caught_between_its_completion_and_its_end_is_not_a_loss() {
        let mut ledger = Ledger::starting(1);
        let lost: u64 = (0..10).map(|_| ledger.settle(10, 10, 0, 0)).sum();
        assert_eq!(lost, 0);
    }
}
