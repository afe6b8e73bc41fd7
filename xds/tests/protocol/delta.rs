//! Rules of the incremental variant, D1 to D13.

use std::time::Duration;

use tidegate_xds::{ResourceStatus, Version};

use crate::harness::*;

const TTL: Duration = Duration::from_secs(60);

runs!(d1_lists_are_edits_and_come_with_anything: delta);
async fn d1_lists_are_edits_and_come_with_anything(mode: Mode) {
    let all = |content| endpoints(&[("a", content), ("b", content), ("c", content)]);
    let running = serve(&all(1)).await;
    let mut client = Client::new(&running, mode);
    // With versions of an earlier stream,
    client.resume(&EDS, &["a"], &[("a", "0")], "").await;
    let first = client.next(&EDS).await;
    assert_eq!(first.brief(), "eds a");
    // with an ACK,
    let ack = Ask {
        nonce: first.nonce,
        ..Ask::of(&EDS, &["b"])
    };
    client.ask(&EDS, ack).await;
    let second = client.next(&EDS).await;
    assert_eq!(second.brief(), "eds b");
    // with a NACK, both at once;
    let nack = Ask {
        nonce: second.nonce,
        error: Some("no".to_owned()),
        unsubscribe: owned(&["a"]),
        ..Ask::of(&EDS, &["c"])
    };
    client.ask(&EDS, nack).await;
    assert_eq!(client.take(&EDS).await, "eds c");
    // and empty ones edit nothing.
    client.ask(&EDS, Ask::of(&EDS, &[])).await;
    client.publish(&all(2)).await;
    assert_eq!(client.take(&EDS).await, "eds b c");
    client.ends_quietly().await;
}

runs!(d2_a_name_keeps_the_legacy_wildcard_and_unsubscribing_the_star_ends_it: delta);
async fn d2_a_name_keeps_the_legacy_wildcard_and_unsubscribing_the_star_ends_it(mode: Mode) {
    let all = |content| clusters(&[("a", content), ("b", content)]);
    for star in [vec![], vec!["*"]] {
        let running = serve(&all(1)).await;
        let mut client = Client::new(&running, mode);
        client.subscribe(&CDS, &star).await;
        assert_eq!(client.take(&CDS).await, "cds a b");
        client.subscribe(&CDS, &["a"]).await;
        assert_eq!(client.take(&CDS).await, "cds a");
        client.publish(&all(2)).await;
        assert_eq!(client.take(&CDS).await, "cds a b", "`*` stays");
        client.unsubscribe(&CDS, &["*"]).await;
        client.dropped(&CDS, "b").await;
        client.publish(&all(3)).await;
        assert_eq!(client.take(&CDS).await, "cds a");
        client.ends_quietly().await;
    }
}

runs!(d3_d3a_a_name_is_answered_even_if_it_is_held: delta);
async fn d3_d3a_a_name_is_answered_even_if_it_is_held(mode: Mode) {
    let running = serve(&endpoints(&[("a", 1), ("b", 1)])).await;
    let mut client = Client::new(&running, mode);
    for _ in 0..3 {
        client.subscribe(&EDS, &["a"]).await;
        assert_eq!(client.take(&EDS).await, "eds a");
    }
    // Removed and added again, before anything is answered.
    client.unsubscribe(&EDS, &["a"]).await;
    client.subscribe(&EDS, &["a"]).await;
    assert_eq!(client.take(&EDS).await, "eds a");
    client.ends_quietly().await;
}

runs!(d3b_a_name_that_does_not_exist_is_answered_as_removed_and_stays_subscribed: delta);
async fn d3b_a_name_that_does_not_exist_is_answered_as_removed_and_stays_subscribed(mode: Mode) {
    let running = serve(&endpoints(&[("a", 1)])).await;
    let mut client = Client::new(&running, mode);
    for _ in 0..2 {
        client.subscribe(&EDS, &["nope"]).await;
        assert_eq!(client.take(&EDS).await, "eds -nope");
    }
    client.publish(&endpoints(&[("a", 1), ("nope", 1)])).await;
    assert_eq!(client.take(&EDS).await, "eds nope");
    client.ends_quietly().await;
}

runs!(d3c_the_runtime_goes_one_resource_a_response_and_a_missing_cluster_is_told: delta);
async fn d3c_the_runtime_goes_one_resource_a_response_and_a_missing_cluster_is_told(mode: Mode) {
    let view = snapshot([runtime("x", 1), runtime("y", 1), lone_cluster("a", 1)]);
    let running = serve(&view).await;
    let mut client = Client::new(&running, mode);
    client.subscribe(&RTDS, &["x", "y", "z", "zz"]).await;
    for one in ["rtds x", "rtds y", "rtds -z", "rtds -zz"] {
        assert_eq!(client.take(&RTDS).await, one);
    }
    // What ends an on-demand cluster's wait.
    client.subscribe(&CDS, &["nope"]).await;
    assert_eq!(client.take(&CDS).await, "cds -nope");
    client.ends_quietly().await;
}

runs!(d4_a_stale_nonce_does_not_void_the_edits: delta);
async fn d4_a_stale_nonce_does_not_void_the_edits(mode: Mode) {
    let running = serve(&endpoints(&[("a", 1), ("b", 1), ("c", 1)])).await;
    let mut client = Client::new(&running, mode);
    client.subscribe(&EDS, &["a", "c"]).await;
    let first = client.next(&EDS).await;
    client.ack(&first).await;
    let stale = Ask {
        nonce: first.nonce,
        unsubscribe: owned(&["c"]),
        ..Ask::of(&EDS, &["b"])
    };
    client.ask(&EDS, stale).await;
    assert_eq!(client.take(&EDS).await, "eds b");
    client
        .publish(&endpoints(&[("a", 1), ("b", 1), ("c", 2)]))
        .await;
    client.ends_quietly().await;
}

runs!(d5_a_spontaneous_request_answers_nothing_and_its_edits_count: delta);
async fn d5_a_spontaneous_request_answers_nothing_and_its_edits_count(mode: Mode) {
    let running = serve(&endpoints(&[("a", 1), ("b", 1)])).await;
    let mut client = Client::new(&running, mode);
    client.subscribe(&EDS, &["a"]).await;
    let first = client.next(&EDS).await;
    // Its nonce is empty: it is no answer to what is in flight, and waits for it.
    client.subscribe(&EDS, &["b"]).await;
    client.publish(&endpoints(&[("a", 1), ("b", 2)])).await;
    let stands = running.server.resource(&client.id(&EDS), &EDS, "a");
    assert_eq!(stands, Some(ResourceStatus::Sent));
    client.ack(&first).await;
    assert_eq!(client.take(&EDS).await, "eds b");
    client.ends_quietly().await;
}

runs!(d6_unsubscribing_a_name_under_a_wildcard_is_answered: delta);
async fn d6_unsubscribing_a_name_under_a_wildcard_is_answered(mode: Mode) {
    let running = serve(&clusters(&[("a", 1)])).await;
    let mut client = Client::new(&running, mode);
    client.subscribe(&CDS, &["*", "a", "nope"]).await;
    assert_eq!(client.take(&CDS).await, "cds a");
    assert_eq!(client.take(&CDS).await, "cds -nope");
    client.unsubscribe(&CDS, &["a"]).await;
    assert_eq!(client.take(&CDS).await, "cds a");
    client.unsubscribe(&CDS, &["nope"]).await;
    assert_eq!(client.take(&CDS).await, "cds -nope");
    client.ends_quietly().await;
}

runs!(d7_an_unsubscribe_is_not_answered_and_a_later_subscription_is: delta);
async fn d7_an_unsubscribe_is_not_answered_and_a_later_subscription_is(mode: Mode) {
    let running = serve(&endpoints(&[("a", 1), ("b", 1)])).await;
    let mut client = Client::new(&running, mode);
    client.subscribe(&EDS, &["a", "b"]).await;
    assert_eq!(client.take(&EDS).await, "eds a b");
    client.unsubscribe(&EDS, &["a"]).await;
    client.dropped(&EDS, "a").await;
    client.publish(&endpoints(&[("a", 2), ("b", 1)])).await;
    client.publish(&endpoints(&[("a", 1), ("b", 1)])).await;
    client.subscribe(&EDS, &["a"]).await;
    assert_eq!(
        client.take(&EDS).await,
        "eds a",
        "of the version that it had"
    );
    client.unsubscribe(&EDS, &["a", "b"]).await;
    client.ends_quietly().await;
}

runs!(d8_a_wildcard_that_comes_back_gets_the_difference_and_names_are_sent_again: delta);
async fn d8_a_wildcard_that_comes_back_gets_the_difference_and_names_are_sent_again(mode: Mode) {
    let view = closed([
        lone_cluster("a", 1),
        lone_cluster("b", 1),
        inline_listener("l", "a"),
        assignment("e", 1),
    ]);
    let running = serve_hasty(&view).await;
    let version = |type_url: &TypeUrl, name: &str| {
        let resource = view.get(type_url, name).unwrap();
        resource.version().to_string()
    };
    let mut client = Client::new(&running, mode);
    let (a, l, e) = (version(&CDS, "a"), version(&LDS, "l"), version(&EDS, "e"));
    client
        .resume(&CDS, &[], &[("a", &a), ("b", "another-control-plane")], "")
        .await;
    assert_eq!(client.take(&CDS).await, "cds b");
    client
        .resume(&LDS, &[], &[("l", &l), ("gone", "1")], "")
        .await;
    let mut listeners = client.take(&LDS).await;
    if listeners == "lds" {
        // Its first answer, as nothing was added; what is gone is told after it.
        listeners = client.take(&LDS).await;
    }
    assert_eq!(listeners, "lds -gone");
    client.resume(&EDS, &["e"], &[("e", &e)], "").await;
    assert_eq!(client.take(&EDS).await, "eds e", "it may be warming");
    client.ends_quietly().await;
}

runs!(d8b_endpoints_of_a_changed_cluster_are_pushed_again_after_a_reconnect: delta_ads);
async fn d8b_endpoints_of_a_changed_cluster_are_pushed_again_after_a_reconnect(mode: Mode) {
    let running = serve(&world(&["a", "b"], "a")).await;
    let held = |resource: Resource| resource.version().to_string();
    let (endpoints, same) = (held(assignment("a", 1)), held(cluster("b", 1)));
    let mut client = Client::new(&running, mode);
    // Endpoints first, as Envoy may.
    client
        .resume(&EDS, &["a", "b"], &[("a", &endpoints)], "")
        .await;
    assert_eq!(client.take(&EDS).await, "eds a b");
    let old = "0000000000000000";
    client
        .resume(&CDS, &[], &[("a", old), ("b", &same)], "")
        .await;
    assert_eq!(client.take(&CDS).await, "cds a");
    assert_eq!(client.take(&EDS).await, "eds a");
    client.ends_quietly().await;
}

runs!(d9_content_is_compared_with_what_is_in_flight_and_after_a_nack_with_what_was_taken: delta);
async fn d9_content_is_compared_with_what_is_in_flight_and_after_a_nack_with_what_was_taken(
    mode: Mode,
) {
    let view = |content| endpoints(&[("a", content)]);
    let version = |content| assignment("a", content).version().to_string();
    let running = serve(&view(1)).await;
    let mut client = Client::new(&running, mode);
    client.subscribe(&EDS, &["a"]).await;
    assert_eq!(client.take(&EDS).await, "eds a");
    client.publish(&view(2)).await;
    let in_flight = client.next(&EDS).await;
    // Back to what was taken last, while the other is in flight.
    client.publish(&view(1)).await;
    client.ack(&in_flight).await;
    let back = client.next(&EDS).await;
    assert_eq!(back.resources[0].version, version(1));
    client.ack(&back).await;
    client.publish(&view(3)).await;
    let refused = client.next(&EDS).await;
    client.nack(&refused, "no").await;
    client.publish(&view(4)).await;
    let next = client.next(&EDS).await;
    assert_eq!(next.resources[0].version, version(4));
    client.ack(&next).await;
    client.publish(&view(3)).await;
    client.ends_quietly().await;
}

runs!(d10_the_routes_of_a_removed_listener_are_left_to_the_client: delta_ads);
async fn d10_the_routes_of_a_removed_listener_are_left_to_the_client(mode: Mode) {
    let view = world(&["a"], "a");
    let running = serve(&view).await;
    let mut client = Client::new(&running, mode);
    client.has_all(&view).await;
    client
        .publish(&closed([cluster("a", 1), assignment("a", 1)]))
        .await;
    let removal = client.next(&LDS).await;
    assert_eq!(removal.brief(), "lds -l");
    client.unsubscribe(&RDS, &[ROUTE]).await;
    client.ack(&removal).await;
    client.ends_quietly().await;
}

runs!(d11_an_ack_commits_only_what_its_response_carried: delta);
async fn d11_an_ack_commits_only_what_its_response_carried(mode: Mode) {
    let running = serve(&endpoints(&[("a", 1), ("b", 1)])).await;
    let mut client = Client::new(&running, mode);
    client.subscribe(&EDS, &["a"]).await;
    let first = client.next(&EDS).await;
    client.subscribe(&EDS, &["b"]).await;
    client.ack(&first).await;
    let second = client.next(&EDS).await;
    assert_eq!(second.brief(), "eds b");
    // The first one's answer again; it says nothing about the second.
    client.ack(&first).await;
    client.publish(&endpoints(&[("a", 1), ("b", 2)])).await;
    let id = client.id(&EDS);
    let stands = |name: &str| running.server.resource(&id, &EDS, name);
    assert_eq!(stands("a"), Some(ResourceStatus::Acknowledged));
    client.ends_quietly().await;
}

runs!(d12_a_heartbeat_renews_without_a_body_and_a_resource_without_a_ttl_ends_it: delta);
async fn d12_a_heartbeat_renews_without_a_body_and_a_resource_without_a_ttl_ends_it(mode: Mode) {
    let running = serve(&snapshot([timed_runtime("shift", 5, TTL)])).await;
    let mut client = Client::new(&running, mode);
    client.subscribe(&RTDS, &["shift"]).await;
    let first = client.next(&RTDS).await;
    assert_eq!(
        (first.brief().as_str(), first.resources[0].ttl),
        ("rtds shift", Some(60))
    );
    client.ack(&first).await;
    client
        .until(&RTDS, |status| status.acknowledged.is_some())
        .await;
    running.server.renew();
    let beat = client.next(&RTDS).await;
    assert_eq!(
        (beat.brief().as_str(), beat.resources[0].ttl),
        ("rtds ~shift", Some(60))
    );
    assert_eq!(beat.resources[0].version, first.resources[0].version);
    client.ack(&beat).await;
    client.publish(&snapshot([runtime("shift", 5)])).await;
    let last = client.next(&RTDS).await;
    assert_eq!(
        (last.brief().as_str(), last.resources[0].ttl),
        ("rtds shift", None)
    );
    client.ack(&last).await;
    client
        .until(&RTDS, |status| status.acknowledged.is_some())
        .await;
    running.server.renew();
    client
        .publish(&snapshot([runtime("shift", 5), runtime("other", 1)]))
        .await;
    client.ends_quietly().await;
}

runs!(d13_a_version_is_of_the_bytes_and_of_nothing_else: delta);
async fn d13_a_version_is_of_the_bytes_and_of_nothing_else(mode: Mode) {
    let running = serve(&endpoints(&[("a", 1)])).await;
    let mut client = Client::new(&running, mode);
    client.subscribe(&EDS, &["a"]).await;
    let mut versions = Vec::new();
    for content in [2, 1, 3] {
        let got = client.next(&EDS).await;
        let (resource, body) = (&got.resources[0], got.resources[0].body.as_ref().unwrap());
        assert_eq!(resource.version, Version::of(&body.value).to_string());
        versions.push(resource.version.clone());
        client.ack(&got).await;
        client.publish(&endpoints(&[("a", content)])).await;
    }
    assert!(versions[0] == versions[2] && versions[0] != versions[1]);
    let empty = Version::of(&[]).to_string();
    assert_eq!(empty.len(), 16, "never empty");
}
