//! What contradicts itself or makes no sense: counted, withheld, and nothing else disturbed.

use super::*;

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
