use std::collections::BTreeMap;

use super::answer::{Unusable, matrix, time};
use super::query::samples_of;
use super::*;

/// A series of `web-1`, scraped at these seconds.
fn series(target: &str, name: &str, labels: &[(&str, &str)], samples: &[(i64, f64)]) -> Series {
    let mut all = BTreeMap::from([
        ("__name__".to_owned(), name.to_owned()),
        ("instance".to_owned(), target.to_owned()),
        ("job".to_owned(), "envoy".to_owned()),
    ]);
    for (label, value) in labels {
        all.insert((*label).to_owned(), (*value).to_owned());
    }
    Series {
        labels: all,
        samples: samples
            .iter()
            .map(|(at, value)| Sample {
                at_ms: at * 1_000,
                value: *value,
            })
            .collect(),
        not_numbers: 0,
    }
}

fn total(target: &str, samples: &[(i64, f64)]) -> Series {
    let cluster = [("envoy_cluster_name", "checkout/v2")];
    series(target, "envoy_cluster_upstream_rq_total", &cluster, samples)
}

fn class(class: &str, samples: &[(i64, f64)]) -> Series {
    let labels = [
        ("envoy_cluster_name", "checkout/v2"),
        ("envoy_response_code_class", class),
    ];
    series("web-1", "envoy_cluster_upstream_rq_xx", &labels, samples)
}

fn bucket(le: &str, samples: &[(i64, f64)]) -> Series {
    let labels = [("envoy_cluster_name", "checkout/v2"), ("le", le)];
    let name = "envoy_cluster_upstream_rq_time_bucket";
    series("web-1", name, &labels, samples)
}

fn up(target: &str, samples: &[(i64, f64)]) -> Series {
    series(target, "up", &[], samples)
}

fn scrapes(now: i64, series: Vec<Series>) -> Scrapes {
    Scrapes {
        now_ms: now * 1_000,
        series,
    }
}

#[test]
fn each_scrape_is_one_report_of_what_happened_since_the_one_before() {
    let mut counters = Counters::default();
    let first = counters.update(&scrapes(
        11,
        vec![total("web-1", &[(5, 90.0), (10, 100.0)])],
    ));
    // The window's earlier samples are a history that nobody asked for: both are taken in order.
    assert_eq!(first.len(), 2);
    assert_eq!(first[0].upstreams["checkout/v2"].requests, 0, "a baseline");
    assert_eq!(first[1].upstreams["checkout/v2"].requests, 10);
    assert_eq!(first[1].age_ms, 1_000);

    let samples = [(10, 100.0), (15, 130.0), (20, 135.0)];
    let later = counters.update(&scrapes(21, vec![total("web-1", &samples)]));
    let told: Vec<(u64, u64)> = later
        .iter()
        .map(|report| (report.age_ms, report.upstreams["checkout/v2"].requests))
        .collect();
    assert_eq!(told, [(6_000, 30), (1_000, 5)]);

    let again = counters.update(&scrapes(22, vec![total("web-1", &samples)]));
    assert!(again.is_empty(), "nothing is counted twice");
}

#[test]
fn a_class_that_appears_began_at_zero() {
    let mut counters = Counters::default();
    counters.update(&scrapes(10, vec![total("web-1", &[(10, 5.0)])]));
    let reports = counters.update(&scrapes(
        15,
        vec![
            total("web-1", &[(10, 5.0), (15, 9.0)]),
            class("5", &[(15, 3.0)]),
            class("2", &[(15, 1.0)]),
            class("1", &[(15, 7.0)]),
        ],
    ));
    assert_eq!(reports[0].upstreams["checkout/v2"].responses, [1, 0, 0, 3]);
}

#[test]
fn what_a_retry_hides_from_the_client_is_counted_and_nothing_twice() {
    let cluster = [("envoy_cluster_name", "checkout/v2")];
    let counted = |name: &str, value: f64| {
        let name = format!("envoy_cluster_{name}");
        series("web-1", &name, &cluster, &[(15, value)])
    };
    let labels = [cluster[0], ("envoy_response_code_class", "5")];
    let name = "envoy_cluster_retry_upstream_rq_xx";
    let mut counters = Counters::default();
    counters.update(&scrapes(10, vec![total("web-1", &[(10, 0.0)])]));
    let reports = counters.update(&scrapes(
        15,
        vec![
            total("web-1", &[(10, 0.0), (15, 12.0)]),
            class("2", &[(15, 10.0)]),
            counted("upstream_rq_completed", 10.0),
            counted("upstream_rq_retry", 5.0),
            counted("retry_upstream_rq_completed", 2.0),
            series("web-1", name, &labels, &[(15, 2.0)]),
        ],
    ));
    let counts = &reports[0].upstreams["checkout/v2"];
    assert_eq!(counts.responses, [10, 0, 0, 5]);
    assert_eq!((counts.requests, counts.completed), (12, 15));
}

#[test]
fn a_counter_that_goes_backwards_is_a_restart_and_no_request() {
    let mut counters = Counters::default();
    counters.update(&scrapes(10, vec![total("web-1", &[(10, 1_000.0)])]));
    let reports = counters.update(&scrapes(15, vec![total("web-1", &[(15, 7.0)])]));
    assert!(reports[0].restarted);
    assert_eq!(reports[0].upstreams["checkout/v2"].requests, 0);
    assert_eq!(counters.restarts(), 1);
    let reports = counters.update(&scrapes(20, vec![total("web-1", &[(20, 9.0)])]));
    assert!(!reports[0].restarted);
    assert_eq!(reports[0].upstreams["checkout/v2"].requests, 2);
}

#[test]
fn buckets_become_counts_between_the_edges() {
    let mut counters = Counters::default();
    let at = |at: i64, low: f64, mid: f64, all: f64| {
        let count = series(
            "web-1",
            "envoy_cluster_upstream_rq_time_count",
            &[("envoy_cluster_name", "checkout/v2")],
            &[(at, all)],
        );
        scrapes(
            at,
            vec![
                bucket("5", &[(at, low)]),
                bucket("10", &[(at, mid)]),
                bucket("25", &[(at, mid)]),
                bucket("+Inf", &[(at, all)]),
                bucket("0.5", &[(at, 0.0)]),
                count,
            ],
        )
    };
    counters.update(&at(10, 1.0, 2.0, 3.0));
    let reports = counters.update(&at(15, 5.0, 8.0, 12.0));
    let latency = reports[0].upstreams["checkout/v2"].latency.unwrap();
    assert_eq!(latency, [4, 2, 0, 0, 0, 0, 0, 0, 0, 3]);
}

#[test]
fn a_target_that_is_down_is_still_expected_and_one_that_was_removed_is_not() {
    let mut counters = Counters::default();
    let both = vec![total("web-1", &[(10, 1.0)]), total("web-2", &[(10, 1.0)])];
    counters.update(&scrapes(10, both));
    let down = vec![
        up("web-2", &[(15, 0.0)]),
        total("web-1", &[(15, 2.0)]),
        up("node-exporter", &[(15, 1.0)]),
    ];
    assert_eq!(counters.update(&scrapes(15, down)).len(), 1);
    assert_eq!(counters.targets().len(), 2);
    counters.update(&scrapes(20, vec![total("web-1", &[(20, 2.0)])]));
    assert_eq!(
        counters.targets().into_iter().collect::<Vec<_>>(),
        ["web-1"]
    );
}

#[test]
fn answers_are_read_and_what_is_no_number_is_counted() {
    let text = br#"{"status":"success","data":{"resultType":"matrix","result":[
        {"metric":{"__name__":"up","instance":"a:1"},
         "values":[[1700000000.123,"1"],[1700000005.123,"NaN"],[1700000010,"+Inf"]]}]}}"#;
    let series = matrix(text).unwrap();
    assert_eq!(series[0].samples.len(), 1);
    assert_eq!(series[0].samples[0].at_ms, 1_700_000_000_123);
    assert_eq!(series[0].not_numbers, 2);
    assert_eq!(series[0].label("instance"), "a:1");
    let now = br#"{"status":"success","data":{"resultType":"scalar","result":[1.5,"1.5"]}}"#;
    assert_eq!(time(now), Ok(1_500));
}

#[test]
fn refusals_and_strangers_are_told_apart() {
    let refused = br#"{"status":"error","errorType":"bad_data","error":"parse error"}"#;
    assert_eq!(
        matrix(refused),
        Err(Unusable::Refused("bad_data: parse error".to_owned()))
    );
    for stranger in [&b"<html>"[..], b"{}", b"", b"[1]"] {
        assert!(
            matches!(matrix(stranger), Err(Unusable::NotUnderstood(_))),
            "{stranger:?}"
        );
    }
    let vector = br#"{"status":"success","data":{"resultType":"vector","result":[]}}"#;
    assert!(matches!(matrix(vector), Err(Unusable::NotUnderstood(_))));
}

#[test]
fn names_are_matched_as_they_are() {
    let query = samples_of(["a.b/v1.0", "a.b/v2"], 1_000);
    assert!(
        query.contains(r#"envoy_cluster_name=~"a[.]b/v1[.]0|a[.]b/v2|""#),
        "{query}"
    );
    assert!(query.ends_with("[30000ms]"), "{query}");
    assert!(samples_of(["a/b", "c/d"], 60_000).ends_with("[240000ms]"));
}

#[tokio::test]
async fn a_prometheus_that_takes_a_question_and_never_answers_is_an_outage_of_its_own() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let questions = super::query::Questions::new();
    let answer = questions
        .scrapes(&url, ["checkout/v1", "checkout/v2"], 1_000)
        .await;
    let outage = answer.unwrap_err();
    assert!(matches!(&outage, Outage::TimedOut { url: named } if *named == url));
    assert!(outage.to_string().contains(&url), "{outage}");
    drop(silent);
    let answer = questions.scrapes(&url, ["a/v1", "a/v2"], 1_000).await;
    assert!(matches!(answer.unwrap_err(), Outage::Unreachable { .. }));
}
