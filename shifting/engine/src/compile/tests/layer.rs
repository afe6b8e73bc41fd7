//! The runtime layer: the canary's share, and how long it lasts.

use super::*;

#[test]
fn the_layer_holds_the_canarys_share_and_expires() {
    let view = envoy(&splits(Some(canary("v2", 32_258, Some(1)))));
    assert_eq!(
        runtime(&view),
        (
            vec![("shift.checkout.v2".to_owned(), 32_258.0)],
            Some(6_000)
        )
    );
    let with_time: Vec<&str> = view
        .iter()
        .filter(|resource| resource.ttl_ms.is_some())
        .map(|resource| resource.type_url)
        .collect();
    assert_eq!(
        with_time,
        [type_url::RUNTIME],
        "nothing else may ever expire"
    );
}

#[test]
fn a_layer_that_raises_nothing_does_not_expire() {
    assert_eq!(runtime(&envoy(&splits(None))), (vec![], None));
    assert_eq!(
        runtime(&envoy(&splits(Some(canary("v2", 0, Some(1)))))),
        (vec![("shift.checkout.v2".to_owned(), 0.0)], None)
    );
}

#[test]
fn the_shortest_time_to_live_of_shares_above_zero_counts() {
    let mut splits = splits(Some(canary("v2", 50_000, None)));
    let payments = splits.get_mut("payments").unwrap();
    payments.canary = Some(CanarySplit {
        ttl_ms: 2_000,
        ..canary("v2", 10_000, None)
    });
    let (shares, ttl_ms) = runtime(&envoy(&splits));
    assert_eq!(ttl_ms, Some(2_000));
    let keys: Vec<&str> = shares.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["shift.checkout.v2", "shift.payments.v2"]);

    splits
        .get_mut("payments")
        .unwrap()
        .canary
        .as_mut()
        .unwrap()
        .share = Ppm::ZERO;
    assert_eq!(runtime(&envoy(&splits)).1, Some(6_000));
}
