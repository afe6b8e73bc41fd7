//! What each number stands for, rule by rule.

use super::*;

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
