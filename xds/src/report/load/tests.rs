use super::*;
use envoy_types::pb::envoy::config::core::v3::address::Address as AddressKind;
use envoy_types::pb::envoy::config::core::v3::socket_address::PortSpecifier;
use envoy_types::pb::envoy::config::core::v3::{Address, Pipe, SocketAddress};
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterStats, UpstreamEndpointStats, UpstreamLocalityStats,
};
use envoy_types::pb::envoy::service::load_stats::v3::LoadStatsRequest;
use prost::Message as _;

const RECORDED: &[u8] = include_bytes!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../fixtures/reports/envoy-1.40-load.bin"
));

fn locality(issued: u64, good: u64, bad: u64, active: u64) -> UpstreamLocalityStats {
    UpstreamLocalityStats {
        total_issued_requests: issued,
        total_successful_requests: good,
        total_error_requests: bad,
        total_requests_in_progress: active,
        ..Default::default()
    }
}

fn of_cluster(name: &str, localities: Vec<UpstreamLocalityStats>) -> ClusterStats {
    ClusterStats {
        cluster_name: name.into(),
        upstream_locality_stats: localities,
        ..Default::default()
    }
}

fn read(clusters: &[ClusterStats]) -> Report {
    let message = LoadStatsRequest {
        node: None,
        cluster_stats: clusters.to_vec(),
    };
    let asked = Asked::everything();
    decode("n", "c", &message.encode_to_vec(), &asked, Instant::now()).unwrap()
}

#[test]
fn envoy_load_reports_know_attempts_successes_errors_and_what_is_in_flight() {
    let message = LoadStatsRequest::decode(RECORDED).unwrap();
    let report = read(&message.cluster_stats);
    assert_eq!((report.faults, report.source), (0, Source::Load));
    let numbers = |name: &str| {
        let sample = &report.upstreams[name];
        (
            sample.requests,
            sample.completed,
            sample.responses,
            sample.active,
        )
    };
    assert_eq!(numbers("checkout/v1"), (12, 12, [10, 0, 0, 2], Some(0)));
    // Six begun: four answered, one in flight, and one whose client left, which is in none of them.
    assert_eq!(numbers("checkout/v2"), (6, 4, [3, 0, 0, 1], Some(1)));
    assert_eq!(numbers("checkout/refused"), (0, 2, [0, 0, 0, 2], Some(0)));
    assert_eq!(numbers("greeter/v1"), (10, 10, [3, 0, 0, 7], Some(0)));
    assert!(
        report
            .upstreams
            .values()
            .all(|sample| sample.latency.is_none() && sample.grpc_failures == 0)
    );
}

#[test]
fn localities_and_repeated_clusters_are_summed_up() {
    let report = read(&[
        of_cluster("a", vec![locality(5, 3, 1, 1), locality(10, 10, 0, 0)]),
        of_cluster("a", vec![locality(1, 0, 0, 1)]),
    ]);
    let sample = &report.upstreams["a"];
    assert_eq!(
        (sample.requests, sample.completed, sample.responses),
        (16, 14, [13, 0, 0, 1])
    );
    assert_eq!(sample.active, Some(2));
}

#[test]
fn an_idle_cluster_is_a_sample_of_zeros() {
    let report = read(&[of_cluster("a", vec![])]);
    assert_eq!(
        report.upstreams["a"],
        UpstreamSample {
            active: Some(0),
            ..Default::default()
        }
    );
}

#[test]
fn absurd_numbers_are_faults_and_withhold_the_cluster() {
    for bad in [
        locality(u64::MAX, 0, 0, 0),
        locality(0, MAX_COUNT + 1, 0, 0),
        locality(0, 0, 0, u64::MAX),
    ] {
        let report = read(&[
            of_cluster("a", vec![locality(1, 1, 0, 0)]),
            of_cluster("a", vec![bad]),
            of_cluster("a", vec![locality(1, 1, 0, 0)]),
            of_cluster("b", vec![locality(1, 1, 0, 0)]),
        ]);
        assert_eq!(report.faults, 1);
        assert_eq!(report.upstreams.keys().collect::<Vec<_>>(), ["b"]);
    }
}

#[test]
fn clusters_without_a_usable_name_or_beyond_the_limit_are_faults() {
    let mut clusters = vec![
        of_cluster("", vec![]),
        of_cluster(&"x".repeat(MAX_NAME_BYTES + 1), vec![]),
    ];
    clusters.extend((0..MAX_ENTRIES + 2).map(|i| of_cluster(&i.to_string(), vec![])));
    let report = read(&clusters);
    assert_eq!((report.faults, report.upstreams.len()), (4, MAX_ENTRIES));
}

#[test]
fn the_subscription_asks_for_all_clusters_at_the_interval() {
    let answer = subscription(Duration::from_millis(1500), false);
    assert!(answer.send_all_clusters && !answer.report_endpoint_granularity);
    let interval = answer.load_reporting_interval.unwrap();
    assert_eq!((interval.seconds, interval.nanos), (1, 500_000_000));
    assert_eq!(
        subscription(Duration::MAX, false)
            .load_reporting_interval
            .unwrap()
            .seconds,
        86_400
    );
}

fn host(address: AddressKind, good: u64, bad: u64) -> UpstreamEndpointStats {
    UpstreamEndpointStats {
        address: Some(Address {
            address: Some(address),
        }),
        total_successful_requests: good,
        total_error_requests: bad,
        total_issued_requests: good + bad,
        ..Default::default()
    }
}

fn at(ip: &str, port: u32) -> AddressKind {
    AddressKind::SocketAddress(SocketAddress {
        address: ip.into(),
        port_specifier: Some(PortSpecifier::PortValue(port)),
        ..Default::default()
    })
}

#[test]
fn hosts_are_told_apart_over_localities_where_they_have_an_address() {
    assert!(subscription(Duration::from_secs(1), true).report_endpoint_granularity);
    let mut one = locality(12, 10, 2, 0);
    let pipe = AddressKind::Pipe(Pipe {
        path: "/run/host".into(),
        ..Default::default()
    });
    one.upstream_endpoint_stats = vec![
        host(at("10.0.0.1", 80), 6, 1),
        host(at("10.0.0.2", 80), 3, 1),
        host(pipe, 1, 0),
        host(at("a.name", 80), 1, 0),
    ];
    let mut two = locality(5, 5, 0, 0);
    two.upstream_endpoint_stats = vec![host(at("10.0.0.1", 80), 4, 0), host(at("::1", 80), 1, 0)];
    let report = read(&[of_cluster("a", vec![one, two])]);
    let hosts: Vec<_> = report.upstreams["a"]
        .hosts
        .iter()
        .map(|(address, counts)| (address.to_string(), counts.completed, counts.failed))
        .collect();
    let wanted = [
        ("10.0.0.1:80", 11, 1),
        ("10.0.0.2:80", 4, 1),
        ("[::1]:80", 1, 0),
    ];
    assert_eq!(
        hosts,
        wanted.map(|(address, completed, failed)| (address.to_owned(), completed, failed))
    );

    let mut absurd = locality(1, 1, 0, 0);
    absurd.upstream_endpoint_stats = vec![host(at("10.0.0.1", 80), MAX_COUNT, 1)];
    let report = read(&[of_cluster("a", vec![absurd])]);
    assert_eq!((report.faults, report.upstreams.len()), (1, 0));
}

#[test]
fn what_a_clients_own_limits_dropped_is_counted_apart() {
    let dropping = |dropped| ClusterStats {
        total_dropped_requests: dropped,
        ..of_cluster("a", vec![locality(3, 3, 0, 0)])
    };
    let report = read(&[dropping(2), dropping(5)]);
    let sample = &report.upstreams["a"];
    assert_eq!((sample.dropped, sample.completed), (7, 6));
    assert_eq!(read(&[dropping(u64::MAX)]).faults, 1);
}

#[test]
fn idle_is_who_has_nothing_behind_and_nothing_in_flight() {
    let idle = |clusters: Vec<ClusterStats>| {
        let message = LoadStatsRequest {
            node: None,
            cluster_stats: clusters,
        };
        is_idle(&message.encode_to_vec()).unwrap()
    };
    assert!(idle(vec![]));
    assert!(idle(vec![of_cluster("a", vec![locality(0, 0, 0, 0)])]));
    for busy in [
        locality(1, 0, 0, 0),
        locality(0, 1, 0, 0),
        locality(0, 0, 1, 0),
        locality(0, 0, 0, 1),
    ] {
        let clusters = vec![of_cluster("a", vec![]), of_cluster("b", vec![busy])];
        assert!(!idle(clusters));
    }
    let dropping = ClusterStats {
        total_dropped_requests: 1,
        ..of_cluster("a", vec![])
    };
    assert!(!idle(vec![dropping]));
}
