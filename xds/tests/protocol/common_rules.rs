//! Rules of both variants, C1 to C17.

use envoy_types::pb::envoy::config::core::v3::TypedExtensionConfig;
use envoy_types::pb::google::protobuf::Any;
use prost::Message as _;
use tidegate_xds::ResourceStatus;
use tidegate_xds::identity::Incident;
use tonic::Code;

use crate::harness::*;

runs!(c1_the_node_is_needed_in_the_first_request_of_the_stream_only: all);
async fn c1_the_node_is_needed_in_the_first_request_of_the_stream_only(mode: Mode) {
    let running = serve(&world(&["a", "b"], "a")).await;
    let mut nameless = Client::new(&running, mode);
    nameless.ask(&EDS, Ask::of(&EDS, &["a"])).await;
    let refused = nameless.error(&EDS).await;
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("`node`"), "{refused:?}");
    assert!(running.server.clients().is_empty());

    let mut client = Client::new(&running, mode);
    client.subscribe(&EDS, &["a"]).await;
    assert_eq!(client.take(&EDS).await, "eds a");
    // From here on the client never sends it again.
    client.subscribe(&EDS, &["b"]).await;
    assert_eq!(client.take(&EDS).await, "eds b");
    if mode.aggregated {
        client.subscribe(&LDS, &[]).await;
        assert_eq!(
            client.take(&LDS).await,
            "lds l",
            "of the stream, not of a type"
        );
    }
}

runs!(c2_an_aggregated_request_without_a_type_is_refused: aggregated);
async fn c2_an_aggregated_request_without_a_type_is_refused(mode: Mode) {
    let running = serve(&clusters(&[("a", 1)])).await;
    let mut client = Client::new(&running, mode);
    let ask = Ask {
        node: client.node(&CDS),
        ..Ask::default()
    };
    client.ask(&CDS, ask).await;
    let refused = client.error(&CDS).await;
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("`type_url`"), "{refused:?}");
}

runs!(c2_on_a_service_of_one_type_no_type_means_that_type_and_no_other_will_do: per_type);
async fn c2_on_a_service_of_one_type_no_type_means_that_type_and_no_other_will_do(mode: Mode) {
    let running = serve(&clusters(&[("a", 1)])).await;
    let mut client = Client::new(&running, mode);
    let ask = Ask {
        node: client.node(&CDS),
        ..Ask::default()
    };
    client.ask(&CDS, ask).await;
    assert_eq!(client.take(&CDS).await, "cds a");
    client.ask(&CDS, Ask::of(&LDS, &[])).await;
    let refused = client.error(&CDS).await;
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("serves cds only"), "{refused:?}");
}

runs!(c3_an_unknown_type_does_not_disturb_the_stream: aggregated);
async fn c3_an_unknown_type_does_not_disturb_the_stream(mode: Mode) {
    let running = serve(&clusters(&[("a", 1)])).await;
    let mut client = Client::new(&running, mode);
    let unknown = TypeUrl::new("type.googleapis.com/acme.Unknown");
    client.subscribe(&unknown, &["x"]).await;
    if mode.is_delta() {
        let absent = client.take(&unknown).await;
        assert_eq!(absent, format!("{} -x", unknown.as_str()));
    }
    client.subscribe(&CDS, &[]).await;
    assert_eq!(client.take(&CDS).await, "cds a");
    client.ends_quietly().await;
}

runs!(c4_a_rejection_of_one_type_does_not_delay_another: aggregated);
async fn c4_a_rejection_of_one_type_does_not_delay_another(mode: Mode) {
    let view = |cluster_content, endpoints| {
        closed([
            cluster("a", cluster_content),
            assignment("a", endpoints),
            listener("l", ROUTE),
            route(ROUTE, "a"),
        ])
    };
    let first = view(1, 1);
    let running = serve(&first).await;
    let mut client = Client::new(&running, mode);
    client.has_all(&first).await;
    client.publish(&view(2, 2)).await;
    let refused = client.next(&CDS).await;
    let endpoints = client.next(&EDS).await;
    assert_ne!(refused.nonce, endpoints.nonce);
    client.nack(&refused, "no").await;
    client.ack(&endpoints).await;
    client.publish(&view(2, 3)).await;
    let newer = client.next(&EDS).await;
    assert_eq!(newer.brief(), "eds a");
    // One that is neither taken nor refused delays no other either.
    client.publish(&view(3, 3)).await;
    assert_eq!(client.take(&CDS).await, "cds a");
    client.ack(&newer).await;
}

runs!(c5_nonces_are_unique_and_die_with_the_stream_and_versions_do_not: all);
async fn c5_nonces_are_unique_and_die_with_the_stream_and_versions_do_not(mode: Mode) {
    let running = serve(&endpoints(&[("a", 1)])).await;
    let mut client = Client::new(&running, mode);
    let mut nonces = Vec::new();
    client.subscribe(&EDS, &["a"]).await;
    for content in 2..5 {
        let got = client.next(&EDS).await;
        client.ack(&got).await;
        nonces.push(got.nonce);
        client.publish(&endpoints(&[("a", content)])).await;
    }
    let last = client.next(&EDS).await;
    nonces.push(last.nonce.clone());
    if mode.aggregated {
        client.subscribe(&LDS, &[]).await;
        nonces.push(client.next(&LDS).await.nonce);
    }
    let count = nonces.len();
    nonces.sort();
    nonces.dedup();
    assert_eq!(nonces.len(), count);

    // `last` was not acknowledged; on another stream, its nonce acknowledges nothing.
    let mut again = Client::named(&running, mode, "e2");
    let ask = Ask {
        node: again.node(&EDS),
        nonce: last.nonce.clone(),
        ..Ask::of(&EDS, &["a"])
    };
    again.ask(&EDS, ask).await;
    let got = again.next(&EDS).await;
    assert_eq!(
        (got.brief().as_str(), &got.resources[0].version),
        ("eds a", &last.resources[0].version)
    );
    if !mode.is_delta() {
        assert_eq!(got.version, last.version);
    }
    let stands = running.server.resource(&again.id(&EDS), &EDS, "a");
    assert_eq!(stands, Some(ResourceStatus::Sent));
}

runs!(c6_every_resource_is_of_the_type_of_its_response_and_there_once: all);
async fn c6_every_resource_is_of_the_type_of_its_response_and_there_once(mode: Mode) {
    let running = serve_hasty(&clusters(&[("a", 1), ("b", 1)])).await;
    let mut client = Client::new(&running, mode);
    client.subscribe(&CDS, &["*", "a", "a"]).await;
    let first = client.next(&CDS).await;
    assert_eq!(first.brief(), "cds a b");
    for resource in &first.resources {
        assert_eq!(resource.body.as_ref().unwrap().type_url, CDS.as_str());
    }
    client.ack(&first).await;
    // Replaced, removed and asked for at once; the client checks each response for doubles.
    client.publish(&clusters(&[("a", 2), ("c", 1)])).await;
    client.subscribe(&CDS, &["b", "c", "nowhere"]).await;
    let mut seen = Vec::new();
    let gone = |seen: &Vec<String>| {
        let has = |mark: &str| seen.iter().any(|text| text.contains(mark));
        mode.either(
            has("-b") && has(" c") && has("-nowhere"),
            seen.last().is_some_and(|text| text == "cds a c"),
        )
    };
    while !gone(&seen) {
        seen.push(client.take(&CDS).await);
        assert!(seen.len() < 10, "{seen:?}");
    }
}

runs!(c7_equal_content_has_the_equal_version_on_another_server: all);
async fn c7_equal_content_has_the_equal_version_on_another_server(mode: Mode) {
    async fn version(mode: Mode, view: &Snapshot, claim: &str) -> String {
        let running = crate::common::start(view.clone()).await;
        let mut client = Client::new(&running, mode);
        // Versions of somebody else are taken as they are: nothing parses them.
        client.resume(&EDS, &["a"], &[("a", claim)], claim).await;
        let got = client.next(&EDS).await;
        mode.either(got.resources[0].version.clone(), got.version)
    }
    let one = version(mode, &endpoints(&[("a", 1)]), "v1.2-beta").await;
    let equal = version(mode, &endpoints(&[("a", 1)]), "18446744073709551616").await;
    let other = version(mode, &endpoints(&[("a", 2)]), "\u{1f980}").await;
    assert_eq!(one, equal);
    assert_ne!(one, other);
    // And the rest of the view is none of its business.
    let beside = version(mode, &endpoints(&[("a", 1), ("b", 1)]), "").await;
    assert_eq!(one, beside);
}

runs!(c8_an_ack_is_not_answered_and_no_change_is_no_push: all);
async fn c8_an_ack_is_not_answered_and_no_change_is_no_push(mode: Mode) {
    let running = serve(&endpoints(&[("a", 1)])).await;
    let mut client = Client::new(&running, mode);
    client.subscribe(&EDS, &["a"]).await;
    assert_eq!(client.take(&EDS).await, "eds a");
    client.publish(&endpoints(&[("a", 1), ("b", 1)])).await;
    client.publish(&endpoints(&[("a", 1)])).await;
    client.ends_quietly().await;
}

runs!(c9_a_name_that_does_not_exist_yet_is_sent_when_it_does: all);
async fn c9_a_name_that_does_not_exist_yet_is_sent_when_it_does(mode: Mode) {
    let running = serve(&endpoints(&[("a", 1)])).await;
    let mut client = Client::new(&running, mode);
    client.subscribe(&EDS, &["b"]).await;
    if mode.is_delta() {
        assert_eq!(client.take(&EDS).await, "eds -b");
    }
    client
        .until(&EDS, |status| !status.subscribed.is_empty())
        .await;
    client.publish(&endpoints(&[("a", 1), ("b", 1)])).await;
    assert_eq!(client.take(&EDS).await, "eds b");
    client.ends_quietly().await;
}

runs!(c10_what_is_superfluous_or_unknown_is_passed_over_in_silence: all);
async fn c10_what_is_superfluous_or_unknown_is_passed_over_in_silence(mode: Mode) {
    let running = serve(&endpoints(&[("a", 1), ("b", 1)])).await;
    let mut client = Client::new(&running, mode);
    client.subscribe(&EDS, &["a", "b"]).await;
    let got = client.next(&EDS).await;
    client.ack(&got).await;
    client.ack(&got).await;
    client.unsubscribe(&EDS, &["never", "a"]).await;
    client.unsubscribe(&EDS, &["a"]).await;
    for nonce in ["4711", "not a number", "-1", "18446744073709551616"] {
        for error in [None, Some("no".to_owned())] {
            let names: &[&str] = mode.either(&[], &["b"]);
            let ask = Ask {
                nonce: nonce.to_owned(),
                error,
                ..Ask::of(&EDS, names)
            };
            client.ask(&EDS, ask).await;
        }
    }
    let id = client.id(&EDS);
    client.ends_quietly().await;
    let status = running.until(&id, |status| !status.connected).await;
    assert!(status.rejections.is_empty(), "{:?}", status.rejections);
}

runs!(c11_a_nack_is_told_by_its_error_detail_alone: all);
async fn c11_a_nack_is_told_by_its_error_detail_alone(mode: Mode) {
    let running = serve(&clusters(&[("a", 1), ("b", 1)])).await;
    let mut client = Client::new(&running, mode);
    let names = ["a", "b"];
    client.subscribe(&CDS, &names).await;
    let got = client.next(&CDS).await;
    // As gRPC does when one of two clusters is good: it names the version that it refuses.
    let answer = |got: &Got, version: &str, error: Option<&str>| Ask {
        nonce: got.nonce.clone(),
        version: version.to_owned(),
        error: error.map(str::to_owned),
        ..Ask::of(&CDS, if mode.is_delta() { &[] } else { &names })
    };
    client
        .ask(&CDS, answer(&got, &got.version, Some("b is bad")))
        .await;
    let rejected = client.until(&CDS, |status| !status.rejections.is_empty());
    assert_eq!(&*rejected.await.rejections[0].text, "b is bad");
    // And an answer without an error is an ACK, whatever version it names.
    client.publish(&clusters(&[("a", 2), ("b", 2)])).await;
    let mut lacking = names.to_vec();
    while !lacking.is_empty() {
        let got = client.next(&CDS).await;
        for resource in &got.resources {
            let newest = lone_cluster(&resource.name, 2);
            if resource.body.as_ref().unwrap().value == *newest.body() {
                lacking.retain(|name| *name != resource.name);
            }
        }
        client.ask(&CDS, answer(&got, "another", None)).await;
    }
    let status = client.until(&CDS, |status| status.acknowledged.is_some());
    assert!(status.await.rejections.is_empty());
}

runs!(c12_after_a_rejection_only_other_content_is_sent_even_the_last_good_one: all);
async fn c12_after_a_rejection_only_other_content_is_sent_even_the_last_good_one(mode: Mode) {
    let view = |content: u32| {
        let (cluster, endpoints) = (lone_cluster("a", content.into()), assignment("a", content));
        snapshot([cluster, endpoints])
    };
    for (type_url, names) in [(EDS, vec!["a"]), (CDS, vec![])] {
        let running = serve(&view(1)).await;
        let mut client = Client::new(&running, mode);
        client.subscribe(&type_url, &names).await;
        let good = client.next(&type_url).await;
        client.ack(&good).await;
        client.publish(&view(2)).await;
        let bad = client.next(&type_url).await;
        client.nack(&bad, "no").await;
        client
            .until(&type_url, |status| !status.rejections.is_empty())
            .await;
        client.publish(&view(1)).await;
        let back = client.next(&type_url).await;
        assert_eq!(
            back.resources[0].body, good.resources[0].body,
            "not the refused bytes, but what came after them"
        );
        client.ack(&back).await;
        client.publish(&view(2)).await;
        client.ends_quietly().await;
    }
}

runs!(c13_the_subscription_in_a_nack_counts: all);
async fn c13_the_subscription_in_a_nack_counts(mode: Mode) {
    let running = serve(&endpoints(&[("a", 1), ("b", 1)])).await;
    let mut client = Client::new(&running, mode);
    client.subscribe(&EDS, &["a"]).await;
    let got = client.next(&EDS).await;
    let names: &[&str] = mode.either(&["b"], &["a", "b"]);
    let nack = Ask {
        nonce: got.nonce,
        error: Some("no".to_owned()),
        ..Ask::of(&EDS, names)
    };
    client.ask(&EDS, nack).await;
    assert_eq!(client.next(&EDS).await.brief(), "eds b");
    client.ends_quietly().await;
}

runs!(c14_several_requests_before_the_first_response_are_all_served: all);
async fn c14_several_requests_before_the_first_response_are_all_served(mode: Mode) {
    let running = serve(&clusters(&[("canary", 1), ("stable", 1)])).await;
    let mut client = Client::new(&running, mode);
    // None of them names a nonce, as nothing was received yet.
    client.subscribe(&CDS, &["canary"]).await;
    client.subscribe(&CDS, &["stable"]).await;
    let mut lacking = vec!["canary", "stable"];
    while !lacking.is_empty() {
        let got = client.next(&CDS).await;
        for resource in &got.resources {
            lacking.retain(|name| *name != resource.name);
        }
        client.ack(&got).await;
    }
    client.ends_quietly().await;
}

runs!(c12_a_client_that_comes_back_is_not_held_back_whole_by_what_is_bad: sotw_ads);
async fn c12_a_client_that_comes_back_is_not_held_back_whole_by_what_is_bad(mode: Mode) {
    let running = serve(&clusters(&[("bad", 1), ("base", 1)])).await;
    let connect = || {
        let mut client = Client::new(&running, mode);
        client.node.user_agent_name = "envoy".to_owned();
        client
    };
    let mut before = connect();
    before.subscribe(&CDS, &[]).await;
    let had = before.next(&CDS).await;
    before.ack(&had).await;
    before
        .until(&CDS, |status| status.acknowledged.is_some())
        .await;
    drop(before);
    publish(&running, &clusters(&[("bad", 2), ("base", 1), ("good", 1)]));
    let mut after = connect();
    after.resume(&CDS, &[], &[], &had.version).await;
    let all = after.next(&CDS).await;
    assert_eq!(all.brief(), "cds bad base good");
    after.nack(&all, "bad is bad").await;
    // One of the two at a time, and the other one as it was.
    let half = after.next(&CDS).await;
    assert_eq!(half.brief(), "cds bad base");
    after.nack(&half, "bad is bad").await;
    let others = after.next(&CDS).await;
    assert_eq!(others.brief(), "cds bad base good");
    let bad = |got: &Got| got.resources[0].body.clone();
    assert!(bad(&others) == bad(&had) && bad(&others) != bad(&all));
    after.ack(&others).await;
    let good = |_: &_| {
        let good = running.server.resource("e1", &CDS, "good");
        good == Some(ResourceStatus::Acknowledged)
    };
    let status = after.until(&CDS, good).await;
    assert_eq!(status.rejections[0].names, ["bad".into()]);
    after.ends_quietly().await;
}

runs!(c15_what_was_asked_before_a_half_close_is_answered_first: all);
async fn c15_what_was_asked_before_a_half_close_is_answered_first(mode: Mode) {
    let running = serve(&endpoints(&[("a", 1)])).await;
    let mut client = Client::new(&running, mode);
    client.subscribe(&EDS, &["a"]).await;
    let id = client.id(&EDS);
    assert_eq!(client.rest().await, ["eds a"]);
    running.until(&id, |status| !status.connected).await;
}

runs!(c16_a_first_request_beyond_grpcs_usual_limit_is_taken: all);
async fn c16_a_first_request_beyond_grpcs_usual_limit_is_taken(mode: Mode) {
    let running = serve(&endpoints(&[("a", 1)])).await;
    let mut client = Client::new(&running, mode);
    let long: Vec<String> = (0..50_000).map(|i| format!("{i:0>100}")).collect();
    let mut ask = Ask {
        node: client.node(&EDS),
        ..Ask::of(&EDS, &["a"])
    };
    if mode.is_delta() {
        let version = |name: String| (name, "0123456789abcdef".to_owned());
        ask.held = long.into_iter().map(version).collect();
    } else {
        ask.names.extend(long);
    }
    let bytes = mode.either(
        envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest::from(ask.clone())
            .encoded_len(),
        envoy_types::pb::envoy::service::discovery::v3::DiscoveryRequest::from(ask.clone())
            .encoded_len(),
    );
    assert!(bytes > 5_000_000, "{bytes}");
    client.ask(&EDS, ask).await;
    let got = client.next(&EDS).await;
    assert_eq!(got.brief(), "eds a");
    if mode.is_delta() {
        assert_eq!(got.resources[0].version.len(), 16, "short versions");
    }
}

/// About 1 MiB.
fn large(name: &str) -> Resource {
    let extension = TypedExtensionConfig {
        name: name.to_owned(),
        typed_config: Some(Any {
            type_url: "type.googleapis.com/acme.Large".to_owned(),
            value: vec![7; 1 << 20],
        }),
    };
    Resource::encode(ECDS, name, &extension).unwrap()
}

runs!(c17_a_large_answer_comes_in_responses_that_usual_clients_take: all);
async fn c17_a_large_answer_comes_in_responses_that_usual_clients_take(mode: Mode) {
    let names = ["a", "b", "c", "d", "e"];
    let running = serve(&snapshot(names.map(large))).await;
    // The client has gRPC's own limit of 4 MiB.
    let mut client = Client::new(&running, mode);
    client.subscribe(&ECDS, &names).await;
    assert_eq!(client.take(&ECDS).await, "ecds a b");
    assert_eq!(client.take(&ECDS).await, "ecds c d");
    assert_eq!(client.take(&ECDS).await, "ecds e");
    client.ends_quietly().await;
}

runs!(c17_a_whole_set_that_can_not_be_split_is_counted_when_it_is_too_large: sotw);
async fn c17_a_whole_set_that_can_not_be_split_is_counted_when_it_is_too_large(mode: Mode) {
    use envoy_types::pb::envoy::config::cluster::v3::Cluster;
    let large = |name: &str| {
        let cluster = Cluster {
            name: name.to_owned(),
            alt_stat_name: "x".repeat(1 << 20),
            ..Cluster::default()
        };
        Resource::encode(CDS, name, &cluster).unwrap()
    };
    let settings = together();
    let access = settings.access.clone();
    let running = serve_with(&snapshot(["a", "b", "c"].map(large)), settings).await;
    let mut client = Client::new(&running, mode);
    client.subscribe(&CDS, &[]).await;
    assert_eq!(client.take(&CDS).await, "cds a b c");
    assert!(access.incidents().is_empty());
    publish(&running, &snapshot(["a", "b", "c", "d"].map(large)));
    // A client with the usual limit breaks the stream off.
    assert_eq!(client.error(&CDS).await.code(), Code::OutOfRange);
    assert_eq!(access.incidents()[&Incident::ResponseTooLarge], 1);
}
