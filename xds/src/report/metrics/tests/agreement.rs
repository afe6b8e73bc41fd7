//! What is read in place, by a reader that knows the families and by one that doesn't, is what a whole
//! decoding of the message says.

use envoy_types::pb::envoy::service::metrics::v3::stream_metrics_message::Identifier;
use proptest::prelude::*;
use proptest::sample::select;

use super::super::number::gauge_bits;
use super::super::readings::Reading;
use super::*;
use crate::report::{MAX_COUNT, MAX_NAME_BYTES, ServerGauges};

const NAMES: [&str; 25] = [
    "cluster.upstream_rq_total",
    "cluster.upstream_rq_completed",
    "cluster.retry.upstream_rq_completed",
    "cluster.upstream_rq_xx",
    "cluster.retry.upstream_rq_xx",
    "cluster.upstream_rq_active",
    "cluster.upstream_rq_time",
    "cluster.upstream_rq_timeout",
    "cluster.upstream_cx_connect_fail",
    "cluster.grpc.14",
    "cluster.version",
    "cluster.a/1.upstream_rq_total",
    "cluster.a/1.upstream_rq_5xx",
    "cluster.b.upstream_rq_time",
    "cluster.b.version",
    "cluster_manager.cds.version",
    "runtime.version",
    "http.rds.version",
    "http.in.rds.routes.version",
    "cluster.external.upstream_rq_xx",
    "server.live",
    "server.memory_allocated",
    "server.uptime",
    "server.x.uptime",
    "",
];

/// The same, from the decoded message.
fn whole(message: &StreamMetricsMessage, asked: &Asked, received_at: Instant) -> Report {
    let mut upstreams: BTreeMap<String, Reading> = BTreeMap::new();
    let mut contradicted = false;
    let mut report = Report {
        node_id: "n".to_owned(),
        cluster: "c".to_owned(),
        source: Source::Metrics,
        received_at,
        upstreams: BTreeMap::new(),
        versions: BTreeMap::new(),
        server: ServerGauges::default(),
        faults: 0,
    };
    for family in &message.envoy_metrics {
        for metric in &family.metric {
            let mut labels = Labels::default();
            for label in &metric.label {
                labels.note(label.name(), label.value());
            }
            match stat::classify(family.name(), &labels) {
                Stat::NotAskedFor => {}
                Stat::Garbled => report.faults += 1,
                Stat::Version(name) => match metric.gauge.and_then(|gauge| gauge.value) {
                    Some(value)
                        if (0.0..=u64::MAX as f64).contains(&value)
                            && name.len() <= MAX_NAME_BYTES =>
                    {
                        report.versions.insert(name.into(), gauge_bits(value));
                    }
                    _ => report.faults += 1,
                },
                Stat::Server(gauge) => {
                    let slot = match gauge {
                        ProcessGauge::Memory => &mut report.server.memory_bytes,
                        ProcessGauge::Uptime => &mut report.server.uptime_s,
                    };
                    let value = whole_number(metric.gauge.and_then(|gauge| gauge.value));
                    if value.is_none() || slot.is_some() {
                        contradicted = true;
                        report.faults += 1;
                    }
                    *slot = slot.or(value);
                }
                Stat::Upstream(cluster, _) if !asked.covers(cluster) => {}
                Stat::Upstream(_, Measure::Latency)
                    if metric.summary.is_some() && metric.histogram.is_none() => {}
                Stat::Upstream(cluster, _)
                    if cluster.is_empty() || cluster.len() > MAX_NAME_BYTES =>
                {
                    report.faults += 1;
                }
                Stat::Upstream(cluster, measure) => {
                    let reading = upstreams.entry(cluster.to_owned()).or_default();
                    if !taken(&mut reading.sample, measure, metric) {
                        reading.torn = true;
                        report.faults += 1;
                    }
                }
            }
        }
    }
    if contradicted {
        report.server = ServerGauges::default();
    }
    let whole = upstreams.into_iter().filter(|(_, reading)| !reading.torn);
    report.upstreams = whole.map(|(name, it)| (name, it.sample)).collect();
    report
}

fn whole_number(value: Option<f64>) -> Option<u64> {
    let value = value.filter(|it| (0.0..=MAX_COUNT as f64).contains(it) && it.fract() == 0.0);
    value.map(|value| value as u64)
}

fn taken(sample: &mut UpstreamSample, measure: Measure, metric: &Metric) -> bool {
    let delta = whole_number(metric.counter.as_ref().and_then(|counter| counter.value));
    let counter = match measure {
        Measure::Requests => &mut sample.requests,
        Measure::Completed => &mut sample.completed,
        Measure::RetriedAnswer => {
            sample.retried_answers = sample.retried_answers.saturating_add(delta.unwrap_or(0));
            &mut sample.completed
        }
        Measure::Response(class) => &mut sample.responses[class],
        Measure::Timeout => &mut sample.timeouts,
        Measure::Retry => &mut sample.retries,
        Measure::ConnectFailure => &mut sample.connect_failures,
        Measure::GrpcFailure => &mut sample.grpc_failures,
        Measure::Active => {
            let active = whole_number(metric.gauge.and_then(|gauge| gauge.value));
            return active.is_some_and(|active| sample.active.replace(active).is_none());
        }
        Measure::Latency => {
            let latency = metric.histogram.as_ref().and_then(believed);
            return latency.is_some_and(|latency| sample.latency.replace(latency).is_none());
        }
    };
    *counter = counter.saturating_add(delta.unwrap_or(0));
    delta.is_some()
}

fn believed(histogram: &Histogram) -> Option<Latency> {
    let buckets = histogram.bucket.iter();
    let buckets: Option<Vec<(f64, u64)>> = buckets
        .map(|bucket| bucket.upper_bound.zip(bucket.cumulative_count))
        .collect();
    let (count, sum_ms, buckets) = (histogram.sample_count?, histogram.sample_sum?, buckets?);
    let edges = buckets.first().is_none_or(|(edge, _)| *edge >= 0.0)
        && buckets.windows(2).all(|pair| pair[0].0 < pair[1].0);
    let counts = buckets.windows(2).all(|pair| pair[0].1 <= pair[1].1)
        && buckets.iter().all(|(_, below)| *below <= count);
    let sane = count <= MAX_COUNT && sum_ms.is_finite() && sum_ms >= 0.0;
    (edges && counts && sane && buckets.len() <= MAX_BUCKETS).then_some(Latency {
        count,
        buckets,
        sum_ms,
    })
}

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        6 => (0..100_u32).prop_map(f64::from),
        1 => select(&[f64::NAN, f64::INFINITY, -1.0, 0.5, 1e13, 1.8e19, 1e20][..]),
        1 => any::<u64>().prop_map(f64::from_bits),
    ]
}

fn histogram() -> impl Strategy<Value = Histogram> {
    let bucket = (proptest::option::weighted(0.98, 0..9_u64), number());
    let rising = (0..12_usize, any::<bool>()).prop_map(|(edges, whole)| {
        let edges = (1..=edges).map(|edge| (Some(edge as u64 / 2), edge as f64));
        let edges = edges.collect::<Vec<_>>();
        let count = edges.last().map_or(3, |(count, _)| count.unwrap_or(0));
        (whole.then_some(count), Some(7.0), edges)
    });
    let any = (
        proptest::option::of(0..9_u64),
        proptest::option::of(number()),
        proptest::collection::vec(bucket, 0..5),
    );
    prop_oneof![3 => rising, 1 => any].prop_map(|(sample_count, sample_sum, edges)| Histogram {
        sample_count,
        sample_sum,
        bucket: edges
            .into_iter()
            .map(|(cumulative_count, edge)| Bucket {
                cumulative_count,
                upper_bound: Some(edge),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    })
}

fn metric() -> impl Strategy<Value = Metric> {
    let clusters = [
        "a/1",
        "b",
        "c/2",
        "",
        "\u{e9}",
        &*"x".repeat(MAX_NAME_BYTES + 1),
    ];
    let clusters: Vec<String> = clusters.map(str::to_owned).to_vec();
    let label = prop_oneof![
        6 => select(clusters).prop_map(|name| (CLUSTER_LABEL, name)),
        2 => select(vec!["1", "2", "5", "6"]).prop_map(|it| (RESPONSE_CLASS_LABEL, it.to_owned())),
        1 => Just((HTTP_PREFIX_LABEL, "in".to_owned())),
        1 => Just(("envoy.rds_route_config", "routes".to_owned())),
        1 => Just(("other", "x".to_owned())),
    ];
    (
        proptest::collection::vec(label, 0..4),
        prop_oneof![
            4 => proptest::option::weighted(0.95, number()).prop_map(|value| Metric {
                counter: Some(Counter { value, ..Default::default() }),
                ..Default::default()
            }),
            2 => proptest::option::weighted(0.95, number()).prop_map(|value| Metric {
                gauge: Some(Gauge { value }),
                ..Default::default()
            }),
            3 => histogram().prop_map(|histogram| Metric {
                histogram: Some(histogram),
                ..Default::default()
            }),
            1 => Just(Metric { summary: Some(Summary::default()), ..Default::default() }),
        ],
        proptest::option::of(any::<i64>()),
    )
        .prop_map(|(pairs, metric, timestamp_ms)| {
            let pairs: Vec<_> = pairs.iter().map(|(name, it)| (*name, &**it)).collect();
            Metric {
                label: labels(&pairs),
                timestamp_ms,
                ..metric
            }
        })
}

fn message() -> impl Strategy<Value = StreamMetricsMessage> {
    let metrics = prop_oneof![
        6 => proptest::collection::vec(metric(), 1..2),
        1 => proptest::collection::vec(metric(), 0..4),
    ];
    let family = (select(&NAMES[..]), proptest::option::of(0..5), metrics);
    let family = family.prop_map(|(name, kind, metric)| MetricFamily {
        name: Some(name.to_owned()).filter(|name| !name.is_empty()),
        help: None,
        r#type: kind,
        metric,
        ..Default::default()
    });
    (any::<bool>(), proptest::collection::vec(family, 0..24)).prop_map(|(first, families)| {
        StreamMetricsMessage {
            identifier: first.then(Identifier::default),
            envoy_metrics: families,
        }
    })
}

fn asked() -> impl Strategy<Value = Asked> {
    let few = select(vec![vec![], vec!["a/1"], vec!["b", "c/2"]]);
    let few = few.prop_map(|few| Asked::upstreams(few.into_iter().map(str::to_owned)));
    prop_oneof![Just(Asked::everything()), few]
}

fn check(reader: &Reader, bytes: &[u8], asked: &Asked) -> Result<(), TestCaseError> {
    let now = Instant::now();
    let plain = decode("n", "c", bytes, asked, now);
    for _ in 0..2 {
        let read = reader.read("n", "c", bytes, asked, now);
        prop_assert_eq!(&plain, &read);
    }
    // Only what comes in the order of fields, each once, means the same to all readers.
    if let Ok(message) = StreamMetricsMessage::decode(bytes)
        && message.encode_to_vec() == bytes
    {
        prop_assert_eq!(plain, Ok(whole(&message, asked, now)));
    }
    Ok(())
}

proptest! {
    #[test]
    fn all_readers_agree(
        messages in proptest::collection::vec((message(), asked()), 1..4),
    ) {
        let reader = Reader::default();
        for (message, asked) in messages {
            let bytes = message.encode_to_vec();
            prop_assert!(decode("n", "c", &bytes, &asked, Instant::now()).is_ok());
            check(&reader, &bytes, &asked)?;
        }
    }

    #[test]
    fn all_readers_agree_on_damaged_messages(
        message in message(),
        asked in asked(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let reader = Reader::default();
        let mut bytes = message.encode_to_vec();
        check(&reader, &bytes, &asked)?;
        for (at, byte) in damage {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
                check(&reader, &bytes, &asked)?;
            }
        }
    }

    #[test]
    fn all_readers_agree_on_what_an_envoy_sent_and_was_damaged(
        which in 0..4_usize,
        asked in asked(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
    ) {
        let reader = Reader::default();
        let mut bytes = [FIRST, LABELS, AFTER, DOTTED][which].to_vec();
        check(&reader, &bytes, &asked)?;
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
            check(&reader, &bytes, &asked)?;
        }
    }
}
