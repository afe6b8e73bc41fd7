//! What a real Envoy sent.

use super::*;

#[test]
fn envoy_retries_are_attempts_and_healthy_retries_are_not_lost() {
    let report = read_recorded(LABELS);
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
    let sample = &read_recorded(LABELS).upstreams["checkout/refused"];
    assert_eq!(
        (sample.requests, sample.completed, sample.responses),
        (0, 2, [0, 0, 0, 2])
    );
    assert_eq!((sample.connect_failures, &sample.latency), (2, &None));
}

#[test]
fn envoy_requests_that_hang_or_are_given_up_are_visible_only_by_subtraction() {
    let sample = &read_recorded(LABELS).upstreams["checkout/v2"];
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
    let sample = &read_recorded(AFTER).upstreams["checkout/v2"];
    assert_eq!(
        (sample.timeouts, sample.responses, sample.completed),
        (1, [0, 0, 0, 1], 1)
    );
    assert_eq!((sample.requests, sample.active), (0, Some(0)));
    assert_eq!(sample.latency.as_ref().unwrap().count, 0);
}

#[test]
fn envoy_idle_upstreams_are_reported_as_zeros() {
    let report = read_recorded(AFTER);
    let sample = &report.upstreams["greeter/v1"];
    assert_eq!(
        (sample.requests, sample.grpc_failures, sample.active),
        (0, 0, Some(0))
    );
    assert_eq!(report.faults, 0);
}

#[test]
fn envoy_grpc_failures_overlap_with_the_5xx_that_envoy_made() {
    let report = read_recorded(LABELS);
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
    let sample = &read_recorded(LABELS).upstreams["checkout/v2"];
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
        let versions = read_recorded(bytes).versions;
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
    let report = read_recorded(DOTTED);
    assert_eq!(report.faults, 0);
    let (dotted, labelled) = (
        &report.upstreams["checkout/v1"],
        &read_recorded(LABELS).upstreams["checkout/v1"],
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
