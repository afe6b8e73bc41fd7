//! What was not asked for, what is too much, and what is garbage.

use super::*;

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
