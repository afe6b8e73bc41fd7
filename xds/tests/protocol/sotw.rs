//! Rules of state of the world, S1 to S13. Those that hold for delta too say so.

use crate::harness::*;

runs!(s1_a_response_for_clusters_or_listeners_is_the_whole_set: sotw);
async fn s1_a_response_for_clusters_or_listeners_is_the_whole_set(mode: Mode) {
    let inline = |name: &str, to: &str| inline_listener(name, to);
    let view = |names: &[&str]| {
        let both = |name: &&str| [lone_cluster(name, 1), inline(&format!("l-{name}"), name)];
        snapshot(names.iter().flat_map(both))
    };
    for (type_url, names, first, more, less) in [
        (CDS, vec![], "cds a b", "cds a b c", "cds a"),
        (CDS, vec!["a", "b", "c"], "cds a b", "cds a b c", "cds a"),
        (LDS, vec![], "lds l-a l-b", "lds l-a l-b l-c", "lds l-a"),
    ] {
        let running = serve_hasty(&view(&["a", "b"])).await;
        let mut client = Client::new(&running, mode);
        client.subscribe(&type_url, &names).await;
        assert_eq!(client.take(&type_url).await, first);
        client.publish(&view(&["a", "b", "c"])).await;
        assert_eq!(client.take(&type_url).await, more);
        client.publish(&view(&["a"])).await;
        assert_eq!(client.take(&type_url).await, less);
        client.publish(&view(&[])).await;
        let empty = client.next(&type_url).await;
        assert!(empty.resources.is_empty(), "all are deleted");
        client.ack(&empty).await;
        client.ends_quietly().await;
    }
}

runs!(s2_a_response_for_endpoints_carries_what_changed_and_absence_says_nothing: sotw);
async fn s2_a_response_for_endpoints_carries_what_changed_and_absence_says_nothing(mode: Mode) {
    let running = serve(&endpoints(&[("a", 1), ("b", 1)])).await;
    let mut client = Client::new(&running, mode);
    client.subscribe(&EDS, &["a", "b"]).await;
    assert_eq!(client.take(&EDS).await, "eds a b");
    client.publish(&endpoints(&[("a", 1), ("b", 2)])).await;
    assert_eq!(client.take(&EDS).await, "eds b");
    client.publish(&endpoints(&[("b", 2)])).await;
    client.ends_quietly().await;
}

runs!(s3_the_list_of_names_is_whole_each_time: sotw);
async fn s3_the_list_of_names_is_whole_each_time(mode: Mode) {
    let running = serve(&endpoints(&[("a", 1), ("b", 1), ("c", 1)])).await;
    let mut client = Client::new(&running, mode);
    client.state(&EDS, &["a", "b"]).await;
    assert_eq!(client.take(&EDS).await, "eds a b");
    client.state(&EDS, &["b", "c"]).await;
    assert_eq!(client.take(&EDS).await, "eds c", "what is new in the list");
    client
        .publish(&endpoints(&[("a", 2), ("b", 2), ("c", 1)]))
        .await;
    assert_eq!(client.take(&EDS).await, "eds b", "`a` is not in the list");
    client.ends_quietly().await;
}

runs!(s4_a_newly_named_resource_is_sent_though_its_version_is_the_client_s: sotw);
async fn s4_a_newly_named_resource_is_sent_though_its_version_is_the_client_s(mode: Mode) {
    let running = serve(&endpoints(&[("a", 1), ("b", 1)])).await;
    // The version of both, as some other client got it.
    let mut other = Client::named(&running, mode, "e2");
    other.subscribe(&EDS, &["a", "b"]).await;
    let both = other.next(&EDS).await;
    let mut client = Client::new(&running, mode);
    client.subscribe(&EDS, &["a"]).await;
    let got = client.next(&EDS).await;
    client.ack(&got).await;
    let ask = Ask {
        nonce: got.nonce,
        version: both.version,
        ..Ask::of(&EDS, &["a", "b"])
    };
    client.ask(&EDS, ask).await;
    assert_eq!(client.take(&EDS).await, "eds b");
}

runs!(s5_a_resource_that_was_dropped_and_named_again_is_sent_again: sotw);
async fn s5_a_resource_that_was_dropped_and_named_again_is_sent_again(mode: Mode) {
    let running = serve(&endpoints(&[("a", 1), ("b", 1)])).await;
    let mut client = Client::new(&running, mode);
    client.subscribe(&EDS, &["a", "b"]).await;
    assert_eq!(client.take(&EDS).await, "eds a b");
    client.unsubscribe(&EDS, &["b"]).await;
    client.subscribe(&EDS, &["b"]).await;
    assert_eq!(
        client.take(&EDS).await,
        "eds b",
        "the first thing since then"
    );
    client.ends_quietly().await;
}

runs!(s6_empty_means_all_only_until_a_name_was_seen: sotw);
async fn s6_empty_means_all_only_until_a_name_was_seen(mode: Mode) {
    let running = serve(&clusters(&[("a", 1), ("b", 1)])).await;
    let mut client = Client::new(&running, mode);
    client.state(&CDS, &[]).await;
    assert_eq!(client.take(&CDS).await, "cds a b");
    client.state(&CDS, &["*", "a"]).await;
    assert_eq!(client.take(&CDS).await, "cds a b", "both");
    client.publish(&clusters(&[("a", 1), ("b", 2)])).await;
    assert_eq!(client.take(&CDS).await, "cds a b");
    client.state(&CDS, &["a"]).await;
    client.dropped(&CDS, "b").await;
    client.publish(&clusters(&[("a", 2), ("b", 2)])).await;
    assert_eq!(client.take(&CDS).await, "cds a", "`*` is dropped");
    client.state(&CDS, &[]).await;
    client
        .until(&CDS, |status| status.subscribed.is_empty())
        .await;
    client.publish(&clusters(&[("a", 3), ("b", 3)])).await;
    client.ends_quietly().await;
}

runs!(s6_empty_never_means_all_for_endpoints: sotw);
async fn s6_empty_never_means_all_for_endpoints(mode: Mode) {
    let running = serve(&endpoints(&[("a", 1)])).await;
    let mut client = Client::new(&running, mode);
    client.state(&EDS, &[]).await;
    client.ends_quietly().await;
}

runs!(s7_a_stale_nonce_changes_nothing_and_an_empty_one_states_afresh: sotw);
async fn s7_a_stale_nonce_changes_nothing_and_an_empty_one_states_afresh(mode: Mode) {
    let running = serve(&endpoints(&[("a", 1), ("b", 1)])).await;
    let mut client = Client::new(&running, mode);
    client.subscribe(&EDS, &["a"]).await;
    let old = client.next(&EDS).await;
    client.ack(&old).await;
    client.publish(&endpoints(&[("a", 2), ("b", 1)])).await;
    let in_flight = client.next(&EDS).await;
    // It crossed the response; the client repeats it in its answer.
    let stale = Ask {
        nonce: old.nonce.clone(),
        version: old.version.clone(),
        error: Some("no".to_owned()),
        ..Ask::of(&EDS, &["a", "b"])
    };
    client.ask(&EDS, stale).await;
    client.ack(&in_flight).await;
    let status = client.until(&EDS, |status| status.acknowledged.is_some());
    assert!(status.await.rejections.is_empty());
    client.state(&EDS, &["a", "b"]).await;
    assert_eq!(client.take(&EDS).await, "eds b", "only now");
    let afresh = Ask::of(&EDS, &["a", "b"]);
    client.ask(&EDS, afresh).await;
    assert_eq!(client.take(&EDS).await, "eds a b");
    client.ends_quietly().await;
}

runs!(s8_an_equal_wildcard_set_is_not_sent_after_a_reconnect_but_names_are: sotw);
async fn s8_an_equal_wildcard_set_is_not_sent_after_a_reconnect_but_names_are(mode: Mode) {
    let view = world(&["a"], "a");
    let running = serve(&view).await;
    let mut before = Client::new(&running, mode);
    before.subscribe(&CDS, &[]).await;
    let clusters = before.next(&CDS).await.version;
    before.subscribe(&EDS, &["a"]).await;
    let endpoints = before.next(&EDS).await.version;
    before.ends_quietly().await;

    let mut after = Client::new(&running, mode);
    after.resume(&CDS, &[], &[], &clusters).await;
    after.resume(&EDS, &["a"], &[], &endpoints).await;
    assert_eq!(after.take(&EDS).await, "eds a", "it may be warming");
    after.ends_quietly().await;

    let mut named = Client::new(&running, mode);
    named.resume(&CDS, &["a"], &[], &clusters).await;
    assert_eq!(named.take(&CDS).await, "cds a");
    publish(&running, &world(&["a", "b"], "a"));
    let mut later = Client::new(&running, mode);
    later.resume(&CDS, &[], &[], &clusters).await;
    assert_eq!(later.take(&CDS).await, "cds a b");
}

runs!(s9_endpoints_of_a_changed_cluster_are_sent_again_unchanged: aggregated);
async fn s9_endpoints_of_a_changed_cluster_are_sent_again_unchanged(mode: Mode) {
    let view = |content| {
        closed([
            cluster("a", content),
            assignment("a", 1),
            cluster("b", 1),
            assignment("b", 1),
            listener("l", ROUTE),
            route(ROUTE, "a"),
        ])
    };
    let first = view(1);
    let running = serve(&first).await;
    let mut client = Client::new(&running, mode);
    client.has_all(&first).await;
    client.publish(&view(2)).await;
    assert_eq!(client.take(&CDS).await, mode.either("cds a", "cds a b"));
    assert_eq!(
        client.take(&EDS).await,
        "eds a",
        "not asked for, not changed"
    );
    client.ends_quietly().await;
}

runs!(s10_a_route_request_with_new_names_is_answered: sotw);
async fn s10_a_route_request_with_new_names_is_answered(mode: Mode) {
    let view = |listeners: &[&str]| {
        let listeners = listeners
            .iter()
            .map(|name| listener(name, &format!("rt-{name}")));
        let routes = ["l", "m"].map(|name| route(&format!("rt-{name}"), "a"));
        closed(listeners.chain(routes).chain([lone_cluster("a", 1)]))
    };
    let running = serve(&view(&["l"])).await;
    let mut client = Client::new(&running, mode);
    client.subscribe(&LDS, &[]).await;
    assert_eq!(client.take(&LDS).await, "lds l");
    client.subscribe(&RDS, &["rt-l"]).await;
    assert_eq!(client.take(&RDS).await, "rds rt-l");
    client.publish(&view(&["l", "m"])).await;
    assert_eq!(client.take(&LDS).await, "lds l m");
    // The client knows `rt-l` and asks for both, with the version that it has.
    client.subscribe(&RDS, &["rt-m"]).await;
    assert_eq!(client.take(&RDS).await, "rds rt-m");
    client.ends_quietly().await;
}

runs!(s11_a_wildcard_with_nothing_is_answered_at_once_if_the_view_is_known: all);
async fn s11_a_wildcard_with_nothing_is_answered_at_once_if_the_view_is_known(mode: Mode) {
    let nothing = snapshot([]);
    let running = serve(&nothing).await;
    let mut client = Client::new(&running, mode);
    for type_url in [CDS, LDS] {
        client.subscribe(&type_url, &[]).await;
        let empty = client.next(&type_url).await;
        assert!(empty.resources.is_empty() && empty.removed.is_empty());
        client.ack(&empty).await;
    }
    client.ends_quietly().await;

    // A server that knows nothing yet says nothing: its clients keep what they have.
    running.views.send(None).unwrap();
    let mut early = Client::new(&running, mode);
    early.subscribe(&CDS, &[]).await;
    early.ends_quietly().await;
    let mut patient = Client::new(&running, mode);
    patient.subscribe(&CDS, &[]).await;
    patient.until(&CDS, |status| status.connected).await;
    publish(&running, &nothing);
    assert!(patient.next(&CDS).await.resources.is_empty());
}

runs!(s12_nothing_waits_until_all_names_are_asked_for: all);
async fn s12_nothing_waits_until_all_names_are_asked_for(mode: Mode) {
    let view = world(&["a", "b", "c"], "a");
    let running = serve(&view).await;
    // A client of static clusters asks for endpoints alone, and for one of several.
    let mut client = Client::new(&running, mode);
    client.subscribe(&EDS, &["b", "elsewhere"]).await;
    assert_eq!(client.take(&EDS).await, "eds b");
    if mode.is_delta() {
        assert_eq!(client.take(&EDS).await, "eds -elsewhere");
    }
    // A second one, while the first has asked for something else.
    let mut second = Client::named(&running, mode, "e2");
    second.subscribe(&EDS, &["c"]).await;
    assert_eq!(second.take(&EDS).await, "eds c");
    second.subscribe(&CDS, &["c"]).await;
    assert_eq!(second.take(&CDS).await, "cds c");
}

runs!(s13_x12_what_expires_is_wrapped_and_renewed_whole_for_clients_that_say_so: sotw);
async fn s13_x12_what_expires_is_wrapped_and_renewed_whole_for_clients_that_say_so(mode: Mode) {
    let ttl = std::time::Duration::from_secs(60);
    let running = serve(&snapshot([timed_runtime("shift", 5, ttl)])).await;
    for feature in [
        "xds.config.supports-resource-in-sotw",
        "xds.config.resource-in-sotw",
        "envoy.config.resource-in-sotw",
        "xds.config.supports-resource-ttl",
        "xds.config.resource-ttl",
        "envoy.config.supports-resource-ttl",
    ] {
        let mut client = Client::new(&running, mode);
        client.node.client_features.push(feature.to_owned());
        client.subscribe(&RTDS, &["shift"]).await;
        let got = client.next(&RTDS).await;
        assert!(got.resources[0].wrapped, "{feature}");
        assert_eq!(got.resources[0].ttl, Some(60));
        client.ack(&got).await;
        client
            .until(&RTDS, |status| status.acknowledged.is_some())
            .await;
        running.server.renew();
        let beat = client.next(&RTDS).await;
        assert!(beat.resources[0].wrapped, "{feature}");
        assert_eq!(beat.resources[0].body, got.resources[0].body);
        client.ack(&beat).await;
        client.ends_quietly().await;
    }
    let mut other = Client::new(&running, mode);
    other.node.client_features.push("acme.something".to_owned());
    other.subscribe(&RTDS, &["shift"]).await;
    let got = other.next(&RTDS).await;
    assert!(!got.resources[0].wrapped);
    other.ack(&got).await;
    other
        .until(&RTDS, |status| status.acknowledged.is_some())
        .await;
    // And there is nothing to renew for it.
    running.server.renew();
    let more = [timed_runtime("shift", 5, ttl), runtime("other", 1)];
    other.publish(&snapshot(more)).await;
    other.ends_quietly().await;
}
