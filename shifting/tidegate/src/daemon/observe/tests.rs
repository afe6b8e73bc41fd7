use std::time::Instant;

use tidegate_engine::rollout::Evidence;
use tidegate_xds::report::ServerGauges;

use super::*;

const ARMS: Arms<'static> = Arms {
    canary: "checkout/v2",
    stable: "checkout/v1",
    threshold_ms: None,
};

/// Both kinds of client, each of which has sent ten good requests to stable, five bad ones to
/// the canary, and dropped two more of those, in the second after the watch began.
fn reported(grpc: bool, sources: &[Source]) -> [Evidence; 2] {
    let (clock, mut observer) = (Clock::starting_at(Time(0)), Observer::default());
    let expected = BTreeSet::from(["s1".to_owned()]);
    if grpc {
        observer.grpc = expected.clone();
    }
    let observe = |observer: &mut Observer, now: Time| {
        let own = observer.intake.observe(ARMS, &expected, now);
        let grpc = &observer.grpc;
        let loads = observer.loads.observe(ARMS, &expected, grpc, now);
        [own, loads]
    };
    observe(&mut observer, clock.now());
    let answered = |responses: [u64; 4], dropped| UpstreamSample {
        requests: responses.iter().sum(),
        completed: responses.iter().sum(),
        responses,
        dropped,
        active: Some(0),
        ..UpstreamSample::default()
    };
    for [stable, canary] in [[0, 0], [10, 5]] {
        for source in sources {
            let report = Report {
                node_id: "s1".to_owned(),
                cluster: "web".to_owned(),
                source: *source,
                received_at: Instant::now(),
                upstreams: BTreeMap::from([
                    (ARMS.stable.to_owned(), answered([stable, 0, 0, 0], 0)),
                    (ARMS.canary.to_owned(), answered([0, 0, 0, canary], 2)),
                ]),
                versions: BTreeMap::new(),
                server: ServerGauges::default(),
                faults: 0,
            };
            observer.record(report, &clock);
        }
    }
    observe(&mut observer, clock.now())
}

fn requests(evidence: &Evidence) -> (u64, u64, u64) {
    (
        evidence.stable.requests,
        evidence.canary.requests,
        evidence.canary.bad,
    )
}

#[test]
fn an_envoy_that_sends_both_is_counted_once_by_each() {
    let [own, loads] = reported(false, &[Source::Metrics, Source::Load]);
    assert_eq!(requests(&own), (10, 5, 5));
    assert_eq!(requests(&loads), (10, 5, 5));
    assert_eq!((own.trouble, loads.trouble), (None, None));
}

#[test]
fn an_envoys_load_reports_are_not_its_own_and_its_metrics_are_no_load_reports() {
    let [own, loads] = reported(false, &[Source::Load]);
    assert_eq!(requests(&own), (0, 0, 0));
    assert_eq!(own.stable_fresh.get(), 0);
    assert_eq!(requests(&loads), (10, 5, 5));
    let [own, loads] = reported(false, &[Source::Metrics]);
    assert_eq!(requests(&own), (10, 5, 5));
    assert_eq!(requests(&loads), (0, 0, 0));
    let trouble = loads.trouble.unwrap();
    assert!(trouble.contains("--load-reports"), "{trouble}");
}

#[test]
fn a_grpc_clients_load_reports_are_its_own_and_what_it_dropped_failed() {
    for evidence in reported(true, &[Source::Load]) {
        assert_eq!(requests(&evidence), (10, 7, 7));
    }
}

#[test]
fn what_a_retry_hides_from_the_client_is_counted_and_nothing_twice() {
    let sample = UpstreamSample {
        requests: 12,
        completed: 12,
        responses: [10, 0, 0, 2],
        retries: 5,
        retried_answers: 2,
        ..UpstreamSample::default()
    };
    let counts = counts(&sample, false);
    assert_eq!(counts.responses, [10, 0, 0, 5]);
    assert_eq!((counts.requests, counts.completed), (12, 15));
}
