//! The numbers that sidecars send.

use std::time::Instant;

use tidegate_xds::report::{
    Asked, MAX_BUCKETS, MAX_ENTRIES, MAX_FAILED_PER_MESSAGE, MAX_NAME_BYTES, Report, access_log,
    load, metrics,
};

/// Reads the bytes as a message of each service, as they would come.
pub fn report(input: &[u8]) {
    let (now, asked) = (Instant::now(), Asked::everything());
    let few = Asked::upstreams(["checkout/v1", "a"].map(str::to_owned));
    let reader = metrics::Reader::default();
    for asked in [&few, &asked] {
        let plain = metrics::decode("node", "fleet", input, asked, now);
        if let Ok(report) = &plain {
            check(report);
        }
        // The second time it knows the families.
        for _ in 0..2 {
            let read = reader.read("node", "fleet", input, asked, now);
            assert_eq!(plain, read);
        }
    }
    if let Ok(report) = load::decode("node", "fleet", input, &asked, now) {
        check(&report);
    }
    if let Ok(failed) = access_log::decode("node", "fleet", input, now) {
        assert!(failed.len() <= MAX_FAILED_PER_MESSAGE);
        let texts = failed
            .iter()
            .flat_map(|it| [&it.path, &it.details, &it.upstream_cluster]);
        texts.for_each(|text| assert!(text.len() <= MAX_NAME_BYTES));
    }
}

/// What an embedder may rely on.
fn check(report: &Report) {
    assert!(report.upstreams.len() <= MAX_ENTRIES && report.versions.len() <= MAX_ENTRIES);
    for (name, sample) in &report.upstreams {
        assert!(!name.is_empty() && name.len() <= MAX_NAME_BYTES);
        let _ = sample.failed_responses();
        let Some(latency) = &sample.latency else {
            continue;
        };
        assert!(latency.buckets.len() <= MAX_BUCKETS);
        assert!(latency.sum_ms.is_finite() && latency.sum_ms >= 0.0);
        for pair in latency.buckets.windows(2) {
            assert!(pair[0].0 < pair[1].0, "edges rise");
            assert!(pair[0].1 <= pair[1].1, "counts are cumulative");
        }
        for (edge, count) in &latency.buckets {
            // The last edge may be infinite.
            assert!(!edge.is_nan() && *count <= latency.count);
        }
    }
}
