//! What each host had of its version's requests, minute by minute, in the last hour: the past that a
//! rung of a few hosts is judged by ([`HostHistory`]).
//!
//! It lives in the program and is not journaled; what it answers is, as
//! [`host_ratio_ppm`](crate::rollout::Evidence::host_ratio_ppm). A program that has just started
//! knows no past.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

use super::HostHistory;
use crate::time::Time;

const MINUTE_MS: u64 = 60_000;

/// Minutes that are kept.
const MINUTES: u64 = 60;

/// Most hosts that are kept, in all clusters: an hour of one takes 1.5 KB. Of others nothing is known,
/// but they are still the peers of those that are.
const HOSTS_MAX: usize = 20_000;

/// Requests by host of the clusters that are watched.
#[derive(Debug, Clone, Default)]
pub struct HostCounts {
    /// By cluster name, `service/version`.
    clusters: BTreeMap<String, Cluster>,
    /// Hosts of all clusters.
    kept: usize,
    /// The oldest minute that is kept.
    oldest: u64,
}

#[derive(Debug, Clone, Default)]
struct Cluster {
    all: Minutes,
    hosts: BTreeMap<SocketAddr, Minutes>,
}

/// Requests by minute, oldest first; minutes without any are left out.
#[derive(Debug, Clone, Default)]
struct Minutes(VecDeque<Minute>);

#[derive(Debug, Clone, Copy)]
struct Minute {
    number: u64,
    requests: u64,
    bad: u64,
}

// === impl HostCounts ===

impl HostCounts {
    /// Watches these clusters, and forgets all others.
    pub fn watch(&mut self, clusters: &BTreeSet<String>) {
        self.clusters
            .retain(|cluster, _| clusters.contains(cluster));
        for cluster in clusters {
            if !self.clusters.contains_key(cluster) {
                self.clusters.insert(cluster.clone(), Cluster::default());
            }
        }
        self.count();
    }

    /// Forgets what is older than an hour; to be called now and then.
    pub fn forget_old(&mut self, now: Time) {
        let oldest = oldest(now);
        if self.oldest == oldest {
            return;
        }
        self.oldest = oldest;
        for cluster in self.clusters.values_mut() {
            cluster.all.forget_before(oldest);
            cluster.hosts.retain(|_, minutes| {
                minutes.forget_before(oldest);
                !minutes.0.is_empty()
            });
        }
        self.count();
    }

    fn count(&mut self) {
        self.kept = self.clusters.values().map(|it| it.hosts.len()).sum();
    }

    /// Takes in what ended up to `now`: by host, requests and bad ones. Of a cluster that is not
    /// watched nothing is kept.
    pub fn record(
        &mut self,
        cluster: &str,
        hosts: impl IntoIterator<Item = (SocketAddr, (u64, u64))>,
        now: Time,
    ) {
        let Some(cluster) = self.clusters.get_mut(cluster) else {
            return;
        };
        for (host, counts) in hosts {
            cluster.all.add(counts, now);
            if let Some(minutes) = cluster.hosts.get_mut(&host) {
                minutes.add(counts, now);
            } else if self.kept < HOSTS_MAX {
                self.kept += 1;
                cluster.hosts.entry(host).or_default().add(counts, now);
            }
        }
    }

    /// The last hour of these hosts together beside all others of the cluster; `None` when one of them
    /// is not known to have been in it.
    #[must_use]
    pub fn history(&self, cluster: &str, hosts: &[SocketAddr], now: Time) -> Option<HostHistory> {
        let cluster = self.clusters.get(cluster)?;
        let mut own: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
        for host in hosts {
            let minutes = cluster.hosts.get(host)?.since(oldest(now));
            let mut some = false;
            for minute in minutes {
                let (requests, bad) = own.entry(minute.number).or_default();
                *requests = requests.saturating_add(minute.requests);
                *bad = bad.saturating_add(minute.bad);
                some = true;
            }
            if !some {
                return None;
            }
        }
        let mut history = HostHistory::default();
        for minute in cluster.all.since(oldest(now)) {
            let own = own.get(&minute.number).copied().unwrap_or_default();
            let peers = (
                minute.requests.saturating_sub(own.0),
                minute.bad.saturating_sub(own.1),
            );
            let begun = Time(minute.number.saturating_mul(MINUTE_MS));
            history.record(own, peers, begun);
        }
        Some(history)
    }
}

/// The oldest minute that counts.
fn oldest(now: Time) -> u64 {
    (now.0 / MINUTE_MS).saturating_sub(MINUTES - 1)
}

// === impl Minutes ===

impl Minutes {
    fn add(&mut self, (requests, bad): (u64, u64), now: Time) {
        let number = now.0 / MINUTE_MS;
        match self.0.back_mut() {
            // What is late counts to the minute that has begun since.
            Some(minute) if minute.number >= number => {
                minute.requests = minute.requests.saturating_add(requests);
                minute.bad = minute.bad.saturating_add(bad);
            }
            _ if requests == 0 => {}
            _ => self.0.push_back(Minute {
                number,
                requests,
                bad,
            }),
        }
    }

    fn forget_before(&mut self, oldest: u64) {
        while self.0.front().is_some_and(|minute| minute.number < oldest) {
            self.0.pop_front();
        }
    }

    fn since(&self, oldest: u64) -> impl Iterator<Item = &Minute> {
        let minutes = self.0.iter();
        minutes.filter(move |minute| minute.number >= oldest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "checkout/v1";

    fn host(number: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], number))
    }

    fn watching() -> HostCounts {
        let mut counts = HostCounts::default();
        counts.watch(&BTreeSet::from([V1.to_owned()]));
        counts
    }

    /// Ten hosts with 600 requests a minute each; of host 1's `bad` fail, of each other's 6.
    fn hour(counts: &mut HostCounts, begin: u64, bad: u64) {
        for second in begin..begin + 3_600 {
            if second % 6 != 0 {
                continue;
            }
            let hosts = (1..=10).map(|number| {
                let every_minute = if number == 1 { bad } else { 6 };
                let failed = every_minute / 10 + u64::from(second % 60 == 0) * (every_minute % 10);
                (host(number), (60, failed))
            });
            counts.record(V1, hosts, Time(second * 1_000));
        }
    }

    fn bound(counts: &HostCounts, hosts: &[u16], now: Time) -> Option<u32> {
        let hosts: Vec<SocketAddr> = hosts.iter().map(|number| host(*number)).collect();
        counts.history(V1, &hosts, now)?.upper_bound_ppm(now)
    }

    #[test]
    fn a_host_that_was_worse_than_its_peers_is_told_from_them() {
        let mut counts = watching();
        hour(&mut counts, 0, 18);
        let now = Time(3_600_000);
        let worse = bound(&counts, &[1], now).unwrap();
        assert!((3_000_000..3_800_000).contains(&worse), "{worse}");
        let ordinary = bound(&counts, &[2], now).unwrap();
        assert!((1_000_000..1_400_000).contains(&ordinary), "{ordinary}");
        let both = bound(&counts, &[1, 2], now).unwrap();
        assert!(both > ordinary && both < worse, "{both}");
    }

    #[test]
    fn of_who_was_not_on_the_version_nothing_is_known() {
        let mut counts = watching();
        hour(&mut counts, 0, 18);
        let now = Time(3_600_000);
        assert_eq!(bound(&counts, &[11], now), None);
        assert_eq!(bound(&counts, &[1, 11], now), None, "nor of both");
        assert!(counts.history("checkout/v2", &[host(1)], now).is_none());
        counts.record("checkout/v2", [(host(11), (60, 0))], now);
        assert!(counts.history("checkout/v2", &[host(11)], now).is_none());
        counts.watch(&BTreeSet::new());
        assert_eq!(bound(&counts, &[1], now), None);
    }

    #[test]
    fn only_the_last_hour_counts_and_who_left_is_forgotten_after_it() {
        let mut counts = watching();
        hour(&mut counts, 0, 40);
        let worse = bound(&counts, &[1], Time(3_600_000)).unwrap();
        hour(&mut counts, 3_600, 6);
        let now = Time(7_200_000);
        let since = bound(&counts, &[1], now).unwrap();
        assert!(worse > 6_000_000 && since < 1_400_000, "{worse} {since}");
        counts.forget_old(now);
        let minutes = counts.clusters[V1].hosts.values().map(|it| it.0.len());
        assert!(minutes.max().unwrap() <= 60);
        let later = Time(2 * now.0);
        assert_eq!(bound(&counts, &[1], later), None);
        counts.forget_old(later);
        assert!(counts.clusters[V1].hosts.is_empty());
    }

    #[test]
    fn hosts_beyond_the_limit_are_not_known_and_are_still_peers() {
        let mut counts = watching();
        let many = (0..u32::try_from(HOSTS_MAX).unwrap() + 5).map(|number| {
            let address = std::net::Ipv4Addr::from(0x0a00_0000 + number);
            (SocketAddr::from((address, 80)), (1, 0))
        });
        counts.record(V1, many, Time(0));
        let cluster = &counts.clusters[V1];
        assert_eq!(cluster.hosts.len(), HOSTS_MAX);
        assert_eq!(cluster.all.0[0].requests, HOSTS_MAX as u64 + 5);
        // Who is forgotten makes room.
        counts.forget_old(Time(3_600_000));
        counts.record(V1, [(host(1), (1, 0))], Time(3_600_000));
        assert_eq!(counts.clusters[V1].hosts.len(), 1);
    }
}
