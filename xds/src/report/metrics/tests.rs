use envoy_types::pb::envoy::service::metrics::v3::StreamMetricsMessage;
use envoy_types::pb::io::prometheus::client::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, Summary,
};
use prost::Message as _;

use super::super::{Latency, MAX_BUCKETS, MAX_ENTRIES, ServerGauges};
use super::number::gauge_bits;
use super::stat::{CLUSTER_LABEL, HTTP_PREFIX_LABEL, RESPONSE_CLASS_LABEL};
use super::*;
use std::collections::BTreeMap;
use std::time::Duration;

mod agreement;

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../fixtures/reports/envoy-1.40-",
            $name,
            ".bin"
        ))
    };
}
const FIRST: &[u8] = fixture!("metrics-first");
const LABELS: &[u8] = fixture!("metrics-labels");
const AFTER: &[u8] = fixture!("metrics-labels-after");
const DOTTED: &[u8] = fixture!("metrics-dotted");

fn recorded(bytes: &[u8]) -> Report {
    let asked = Asked::everything();
    decode("sidecar-1", "svc-a", bytes, &asked, Instant::now()).unwrap()
}

fn read(families: &[MetricFamily]) -> Report {
    read_about(families, &Asked::everything())
}

fn read_about(families: &[MetricFamily], asked: &Asked) -> Report {
    let message = StreamMetricsMessage {
        identifier: None,
        envoy_metrics: families.to_vec(),
    };
    let bytes = message.encode_to_vec();
    decode("n", "c", &bytes, asked, Instant::now()).unwrap()
}

fn labels(pairs: &[(&str, &str)]) -> Vec<LabelPair> {
    pairs
        .iter()
        .map(|(name, value)| LabelPair {
            name: Some((*name).into()),
            value: Some((*value).into()),
        })
        .collect()
}

fn family(name: &str, pairs: &[(&str, &str)], mut metric: Metric) -> MetricFamily {
    metric.label = labels(pairs);
    MetricFamily {
        name: Some(name.into()),
        metric: vec![metric],
        ..Default::default()
    }
}

fn counted(value: f64) -> Metric {
    Metric {
        counter: Some(Counter {
            value: Some(value),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn gauged(value: f64) -> Metric {
    Metric {
        gauge: Some(Gauge { value: Some(value) }),
        ..Default::default()
    }
}

fn timed(count: u64, sum_ms: f64, buckets: &[(f64, u64)]) -> Metric {
    let bucket = buckets
        .iter()
        .map(|(edge, cumulative)| Bucket {
            upper_bound: Some(*edge),
            cumulative_count: Some(*cumulative),
            ..Default::default()
        })
        .collect();
    Metric {
        histogram: Some(Histogram {
            sample_count: Some(count),
            sample_sum: Some(sum_ms),
            bucket,
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn of_cluster(stat: &str, metric: Metric) -> MetricFamily {
    family(
        &format!("cluster.{stat}"),
        &[(CLUSTER_LABEL, "a/1")],
        metric,
    )
}

fn class(class: &str, value: f64) -> MetricFamily {
    let pairs = [(CLUSTER_LABEL, "a/1"), (RESPONSE_CLASS_LABEL, class)];
    family("cluster.upstream_rq_xx", &pairs, counted(value))
}

// --- what a real Envoy sent

#[test]
fn envoy_retries_are_attempts_and_healthy_retries_are_not_lost() {
    let report = recorded(LABELS);
    assert_eq!(report.faults, 0);
    let sample = &report.upstreams["checkout/v1"];
    assert_eq!(
        (sample.requests, sample.completed, sample.active),
        (12, 12, Some(0))
    );
    assert_eq!((sample.responses, sample.retries), ([10, 0, 0, 2], 1));
    assert_eq!(
        (sample.retried_answers, sample.unanswered_retries()),
        (1, 0)
    );
    assert_eq!(
        sample.latency.as_ref().unwrap().count,
        11,
        "Envoy times requests, not attempts"
    );
}

#[test]
fn envoy_refused_connections_are_5xx_but_not_requests() {
    let sample = &recorded(LABELS).upstreams["checkout/refused"];
    assert_eq!(
        (sample.requests, sample.completed, sample.responses),
        (0, 2, [0, 0, 0, 2])
    );
    assert_eq!((sample.connect_failures, &sample.latency), (2, &None));
}

#[test]
fn envoy_requests_that_hang_or_are_given_up_are_visible_only_by_subtraction() {
    let sample = &recorded(LABELS).upstreams["checkout/v2"];
    assert_eq!(
        (sample.requests, sample.completed, sample.active),
        (6, 4, Some(1))
    );
    assert_eq!(sample.responses, [1, 1, 1, 1]);
    // The client that left is the one that is lost.
    assert_eq!(
        sample.requests - sample.completed - sample.active.unwrap(),
        1
    );
}

#[test]
fn envoy_timeouts_are_5xx_and_missing_from_the_histogram() {
    let sample = &recorded(AFTER).upstreams["checkout/v2"];
    assert_eq!(
        (sample.timeouts, sample.responses, sample.completed),
        (1, [0, 0, 0, 1], 1)
    );
    assert_eq!((sample.requests, sample.active), (0, Some(0)));
    assert_eq!(sample.latency.as_ref().unwrap().count, 0);
}

#[test]
fn envoy_idle_upstreams_are_reported_as_zeros() {
    let report = recorded(AFTER);
    let sample = &report.upstreams["greeter/v1"];
    assert_eq!(
        (sample.requests, sample.grpc_failures, sample.active),
        (0, 0, Some(0))
    );
    assert_eq!(report.faults, 0);
}

#[test]
fn envoy_grpc_failures_overlap_with_the_5xx_that_envoy_made() {
    let report = recorded(LABELS);
    let sample = &report.upstreams["greeter/v1"];
    // Six by the application, as 2xx; one by Envoy's timeout, as 504. NOT_FOUND is no failure.
    assert_eq!(
        (sample.requests, sample.responses, sample.grpc_failures),
        (10, [9, 0, 0, 1], 7)
    );
    assert_eq!(sample.failed_responses(), 7);
    let refused = &report.upstreams["greeter/refused"];
    assert_eq!(
        (refused.requests, refused.responses, refused.grpc_failures),
        (0, [0, 0, 0, 1], 1)
    );
}

#[test]
fn envoy_histograms_are_of_the_interval_with_cumulative_buckets() {
    let sample = &recorded(LABELS).upstreams["checkout/v2"];
    let latency = sample.latency.as_ref().unwrap();
    assert_eq!(latency.count, 4);
    assert_eq!(latency.buckets.first(), Some(&(5.0, 3)));
    assert_eq!(
        latency.buckets.iter().find(|(edge, _)| *edge == 100.0),
        Some(&(100.0, 3))
    );
    assert_eq!(
        latency.buckets.iter().find(|(edge, _)| *edge == 250.0),
        Some(&(250.0, 4))
    );
    assert!(
        (110.0..150.0).contains(&latency.sum_ms),
        "{}",
        latency.sum_ms
    );
}

#[test]
fn envoy_version_gauges_prove_the_version_that_was_given() {
    for bytes in [FIRST, LABELS, DOTTED] {
        let versions = recorded(bytes).versions;
        let expected = [
            ("cluster.checkout/v1.version", "eds-1"),
            ("cluster_manager.cds.version", "cds-1"),
            ("http.checkout.rds.checkout.version", "rds-1"),
            ("listener_manager.lds.version", "lds-1"),
            ("runtime.version", "rtds-1"),
        ];
        let expected = expected.map(|(stat, version)| (stat.to_owned(), version_gauge(version)));
        assert_eq!(versions, BTreeMap::from(expected));
    }
}

#[test]
fn envoy_dotted_names_mean_the_same_as_labels() {
    let report = recorded(DOTTED);
    assert_eq!(report.faults, 0);
    let (dotted, labelled) = (
        &report.upstreams["checkout/v1"],
        &recorded(LABELS).upstreams["checkout/v1"],
    );
    assert_eq!(
        UpstreamSample {
            latency: None,
            ..dotted.clone()
        },
        UpstreamSample {
            latency: None,
            ..labelled.clone()
        },
        "all but the durations"
    );
    assert_eq!(dotted.latency.as_ref().unwrap().count, 11);
    let hung = &report.upstreams["checkout/v2"];
    assert_eq!((hung.requests, hung.completed, hung.timeouts), (6, 5, 1));
    assert_eq!(
        (hung.responses, hung.latency.as_ref().unwrap().count),
        ([1, 1, 1, 2], 4)
    );
    assert_eq!(report.upstreams["greeter/v1"].grpc_failures, 6);
}

// --- rules, one by one

#[test]
fn tries_that_time_out_are_timeouts() {
    let report = read(&[
        of_cluster("upstream_rq_timeout", counted(2.0)),
        of_cluster("upstream_rq_per_try_timeout", counted(3.0)),
    ]);
    assert_eq!(report.upstreams["a/1"].timeouts, 5);
}

#[test]
fn grpc_methods_are_summed_up_and_statuses_that_blame_the_caller_left_out() {
    let mut families = vec![
        of_cluster("grpc.M.14", counted(2.0)),
        of_cluster("grpc.14", counted(1.0)),
    ];
    for status in [0, 1, 3, 5, 6, 7, 8, 9, 10, 11, 16] {
        families.push(of_cluster(&format!("grpc.{status}"), counted(100.0)));
    }
    families.push(of_cluster("grpc.failure", counted(100.0)));
    families.push(family(
        "cluster.a/1.grpc.pkg.Service.Method.15",
        &[],
        counted(4.0),
    ));
    assert_eq!(read(&families).upstreams["a/1"].grpc_failures, 7);
}

#[test]
fn stats_that_nobody_asked_for_are_skipped_without_a_fault() {
    let report = read(&[
        of_cluster("external.upstream_rq_xx", counted(f64::NAN)),
        of_cluster("zone.z.z.upstream_rq_time", counted(-1.0)),
        of_cluster("retry.upstream_rq", counted(1.0)),
        of_cluster("retry.upstream_rq_total", counted(1.0)),
        of_cluster("grpc.upstream_rq_time", counted(1.0)),
        of_cluster("upstream_rq", counted(1.0)),
        family("cluster.upstream_rq_total", &[], counted(1.0)),
        family("server.version", &[], gauged(1.0)),
        family("listener.version", &[], gauged(1.0)),
        family("", &[], gauged(1.0)),
        class("1", 4.0),
        MetricFamily::default(),
    ]);
    assert_eq!(
        (report.faults, report.upstreams.len(), report.versions.len()),
        (0, 0, 0)
    );
}

#[test]
fn a_summary_beside_the_histogram_is_skipped() {
    let summary = Metric {
        summary: Some(Summary::default()),
        ..Default::default()
    };
    let report = read(&[
        of_cluster("upstream_rq_time", summary.clone()),
        of_cluster("upstream_rq_time", timed(1, 2.0, &[(5.0, 1)])),
    ]);
    assert_eq!(
        (
            report.faults,
            report.upstreams["a/1"].latency.as_ref().unwrap().count
        ),
        (0, 1)
    );
    // Alone it says nothing, and must not look like an interval without requests.
    assert!(
        read(&[of_cluster("upstream_rq_time", summary)])
            .upstreams
            .is_empty()
    );
}

#[test]
fn unreadable_counters_are_faults_and_withhold_the_sample_but_no_other() {
    for bad in [
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        -1.0,
        0.5,
        1e13,
        1.8e19,
    ] {
        let other = family(
            "cluster.upstream_rq_total",
            &[(CLUSTER_LABEL, "b")],
            counted(5.0),
        );
        let report = read(&[
            of_cluster("upstream_rq_total", counted(100.0)),
            class("5", bad),
            other,
        ]);
        assert_eq!(report.faults, 1, "{bad}");
        assert_eq!(report.upstreams.keys().collect::<Vec<_>>(), ["b"], "{bad}");
    }
}

#[test]
fn numbers_of_the_wrong_kind_or_missing_are_faults() {
    for (stat, metric) in [
        ("upstream_rq_total", gauged(1.0)),
        (
            "upstream_rq_total",
            Metric {
                counter: Some(Counter::default()),
                ..Default::default()
            },
        ),
        ("upstream_rq_total", Metric::default()),
        ("upstream_rq_active", counted(1.0)),
        ("upstream_rq_active", gauged(-1.0)),
        ("upstream_rq_time", counted(1.0)),
    ] {
        let report = read(&[of_cluster(stat, metric)]);
        assert_eq!((report.faults, report.upstreams.len()), (1, 0), "{stat}");
    }
}

#[test]
fn labels_that_make_no_sense_are_faults() {
    let report = read(&[
        class("6", 1.0),
        family(
            "cluster.upstream_rq_xx",
            &[(CLUSTER_LABEL, "a/1")],
            counted(1.0),
        ),
        family(
            "cluster.upstream_rq_total",
            &[(CLUSTER_LABEL, "")],
            counted(1.0),
        ),
        family(
            "cluster.upstream_rq_total",
            &[(CLUSTER_LABEL, &"x".repeat(MAX_NAME_BYTES + 1))],
            counted(1.0),
        ),
        family(
            "http.rds.version",
            &[(HTTP_PREFIX_LABEL, "in")],
            gauged(1.0),
        ),
    ]);
    assert_eq!(
        (report.faults, report.upstreams.len(), report.versions.len()),
        (5, 0, 0)
    );
}

#[test]
fn contradictory_gauges_and_histograms_are_faults() {
    let report = read(&[
        of_cluster("upstream_rq_active", gauged(1.0)),
        of_cluster("upstream_rq_active", gauged(2.0)),
        of_cluster("upstream_rq_time", timed(0, 0.0, &[])),
        of_cluster("upstream_rq_time", timed(0, 0.0, &[])),
    ]);
    assert_eq!((report.faults, report.upstreams.len()), (2, 0));
}

#[test]
fn histograms_that_contradict_themselves_are_faults() {
    let endless: Vec<_> = (0..=MAX_BUCKETS).map(|edge| (edge as f64, 0)).collect();
    for (count, sum_ms, buckets) in [
        (2, 1.0, &[(5.0, 2), (10.0, 1)][..]),
        (1, 1.0, &[(5.0, 2)]),
        (2, 1.0, &[(5.0, 1), (5.0, 2)]),
        (2, 1.0, &[(10.0, 1), (5.0, 2)]),
        (2, 1.0, &[(f64::NAN, 1)]),
        (2, 1.0, &[(-5.0, 1)]),
        (2, f64::NAN, &[(5.0, 1)]),
        (2, -1.0, &[(5.0, 1)]),
        (u64::MAX, 1.0, &[(5.0, 1)]),
        (2, 1.0, &endless),
    ] {
        let report = read(&[of_cluster(
            "upstream_rq_time",
            timed(count, sum_ms, buckets),
        )]);
        assert_eq!(
            (report.faults, report.upstreams.len()),
            (1, 0),
            "{count} {sum_ms} {buckets:?}"
        );
    }
    let report = read(&[of_cluster(
        "upstream_rq_time",
        timed(3, 9.0, &[(5.0, 2), (f64::INFINITY, 3)]),
    )]);
    assert_eq!(report.faults, 0);
}

#[test]
fn version_gauges_that_are_no_numbers_are_faults_and_not_kept() {
    for bad in [f64::NAN, f64::INFINITY, -1.0, 1e20] {
        let report = read(&[family("runtime.version", &[], gauged(bad))]);
        assert_eq!((report.faults, report.versions.len()), (1, 0), "{bad}");
    }
    assert_eq!(
        read(&[family("runtime.version", &[], counted(1.0))]).faults,
        1
    );
}

#[test]
fn a_process_tells_its_memory_and_how_long_it_runs() {
    let report = read(&[
        family("server.memory_allocated", &[], gauged(5_242_880.0)),
        family("server.uptime", &[], gauged(0.0)),
        family("server.memory_heap_size", &[], gauged(f64::NAN)),
        family("server.memory.uptime", &[], gauged(f64::NAN)),
    ]);
    let expected = ServerGauges {
        memory_bytes: Some(5_242_880),
        uptime_s: Some(0),
    };
    assert_eq!((report.server, report.faults), (expected, 0));
    // A flush that is split over several messages tells each once.
    let part = read(&[family("server.uptime", &[], gauged(7.0))]);
    assert_eq!(
        (part.server.memory_bytes, part.server.uptime_s),
        (None, Some(7))
    );
    // They are no matter of what is asked for.
    let all = [family("server.uptime", &[], gauged(7.0))];
    let nothing = Asked::upstreams([]);
    assert_eq!(read_about(&all, &nothing).server.uptime_s, Some(7));
}

#[test]
fn gauges_of_the_process_that_make_no_sense_are_faults_and_withheld() {
    let memory = family("server.memory_allocated", &[], gauged(1.0));
    let uptime = |metric| family("server.uptime", &[], metric);
    for bad in [f64::NAN, -1.0, 0.5, 1e13] {
        let report = read(&[memory.clone(), uptime(gauged(bad))]);
        let withheld = ServerGauges::default();
        assert_eq!((report.server, report.faults), (withheld, 1), "{bad}");
    }
    let twice = [uptime(gauged(1.0)), uptime(gauged(2.0)), memory.clone()];
    let counter = [uptime(counted(1.0)), memory];
    for families in [&twice[..], &counter] {
        let report = read(families);
        assert_eq!((report.server, report.faults), (ServerGauges::default(), 1));
    }
}

#[test]
fn the_version_gauge_survives_the_trip_through_a_double() {
    // Measured on the wire: the double that Envoy sent for `rtds-1`.
    assert_eq!(version_gauge("rtds-1"), 1.327_645_717_347_915e19 as u64);
    // Measured as well: what `runtime.version` becomes when the layer's TTL runs out.
    assert_eq!(version_gauge(""), 17_241_709_254_077_376_512);
    let largest = read(&[family("runtime.version", &[], gauged(u64::MAX as f64))]);
    assert_eq!(
        largest.versions["runtime.version"],
        gauge_bits(u64::MAX as f64)
    );
}

#[test]
fn upstreams_and_versions_beyond_the_limit_are_faults() {
    let families: Vec<_> = (0..MAX_ENTRIES + 3)
        .flat_map(|i| {
            let name = i.to_string();
            let request = family(
                "cluster.upstream_rq_total",
                &[(CLUSTER_LABEL, &name)],
                counted(1.0),
            );
            let version = family("cluster.version", &[(CLUSTER_LABEL, &name)], gauged(1.0));
            [request, version]
        })
        .collect();
    let report = read(&families);
    assert_eq!(
        (report.upstreams.len(), report.versions.len(), report.faults),
        (MAX_ENTRIES, MAX_ENTRIES, 6)
    );
}

proptest::proptest! {
    /// Whatever the number: it is either taken exactly, or counted as a fault and withheld.
    #[test]
    fn a_counter_is_taken_exactly_or_not_at_all(bits: u64) {
        let value = f64::from_bits(bits);
        let report = read(&[of_cluster("upstream_rq_total", counted(value))]);
        match report.upstreams.get("a/1") {
            Some(sample) => {
                proptest::prop_assert_eq!(sample.requests as f64, value);
                proptest::prop_assert_eq!(report.faults, 0);
            }
            None => proptest::prop_assert_eq!(report.faults, 1),
        }
    }

    /// Whatever the bytes: no panic, and no upstream out of nothing.
    #[test]
    fn damaged_messages_never_panic(cut in 0..LABELS.len(), at in 0..LABELS.len(), byte: u8) {
        let mut bytes = LABELS.to_vec();
        bytes[at] = byte;
        bytes.truncate(cut.max(1));
        let report = decode("n", "c", &bytes, &Asked::everything(), Instant::now());
        if let Ok(report) = &report {
            proptest::prop_assert!(report.upstreams.len() <= LABELS.len() / 20);
        }
        // What is whole for the generated decoder, and of known fields only, is whole here.
        if StreamMetricsMessage::decode(bytes.as_slice()).is_ok_and(|message| {
            message.encoded_len() == bytes.len()
        }) {
            proptest::prop_assert!(report.is_ok());
        }
    }
}

#[test]
fn upstreams_that_nobody_asked_for_are_not_in_the_report_whatever_they_hold() {
    let families = [
        of_cluster("upstream_rq_total", counted(1.0)),
        family(
            "cluster.upstream_rq_total",
            &[(CLUSTER_LABEL, "b/1")],
            counted(f64::NAN),
        ),
        family("cluster.version", &[(CLUSTER_LABEL, "b/1")], gauged(7.0)),
    ];
    let report = read_about(&families, &Asked::upstreams(["a/1".to_owned()]));
    assert_eq!(report.upstreams.keys().collect::<Vec<_>>(), ["a/1"]);
    assert_eq!(
        (report.faults, report.versions["cluster.b/1.version"]),
        (0, 7)
    );
    assert_eq!(read(&families).faults, 1);
}

#[test]
fn what_has_no_name_to_be_asked_for_is_not_looked_at() {
    let mut other = family("server.live", &[], counted(1.0));
    other.metric[0].label.clear();
    let mut bytes = StreamMetricsMessage {
        identifier: None,
        envoy_metrics: vec![other],
    }
    .encode_to_vec();
    // The last byte of the counter's inside: no length fits any more.
    let length = bytes.len();
    bytes[length - 10] = 0x7f;
    let report = decode("n", "c", &bytes, &Asked::everything(), Instant::now());
    assert_eq!(report.map(|report| report.faults), Ok(0));
    assert!(StreamMetricsMessage::decode(&bytes[..]).is_err());
}

#[test]
fn a_stream_of_garbage_is_malformed() {
    let bytes = &LABELS[..LABELS.len() - 1];
    let report = decode("n", "c", bytes, &Asked::everything(), Instant::now());
    assert_eq!(report.err(), Some(Malformed));
}

#[test]
fn what_is_learned_is_bounded_and_forgotten_when_it_is_full_and_old() {
    let (mut lexicon, begun) = (Lexicon::default(), Instant::now());
    let known = |lexicon: &Lexicon, bytes: &[u8]| {
        let plain = Plain::of(bytes).unwrap();
        lexicon.meaning(&plain).is_some()
    };
    let made_up = |number: u32, length: usize| {
        let cluster = format!("{number:0length$}");
        let pairs = [(CLUSTER_LABEL, &*cluster)];
        family("cluster.upstream_rq_total", &pairs, counted(1.0)).encode_to_vec()
    };
    let usual = made_up(0, 8);
    lexicon.learn(&[&usual], begun);
    assert!(known(&lexicon, &usual));
    // Longer ones than any cluster has are understood each time.
    let long = made_up(1, MAX_NAME_BYTES + 1);
    lexicon.learn(&[&long], begun);
    assert!(!known(&lexicon, &long));

    let mut number = 1;
    while !lexicon.is_full() {
        number += 1;
        lexicon.learn(&[&made_up(number, MAX_NAME_BYTES)], begun);
    }
    assert!((20_000..100_000).contains(&number), "{number}");
    let late = made_up(number + 1, 8);
    lexicon.learn(&[&late], begun + Duration::from_secs(60));
    assert!(!known(&lexicon, &late) && known(&lexicon, &usual));
    lexicon.learn(&[&late], begun + Duration::from_secs(3_600));
    assert!(known(&lexicon, &late) && !known(&lexicon, &usual));
}
