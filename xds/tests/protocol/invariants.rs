//! Invariants that the rules of the protocol alone don't give: X1, X7, X8 and S22. X10 and X11 are in
//! `hostile`, X12 is beside S13.

use tidegate_xds::{ResourceStatus, Settings};

use crate::harness::*;

runs!(x1_one_response_is_in_flight_and_the_latest_view_wins: all);
async fn x1_one_response_is_in_flight_and_the_latest_view_wins(mode: Mode) {
    let running = serve(&endpoints(&[("a", 1)])).await;
    let mut client = Client::new(&running, mode);
    client.subscribe(&EDS, &["a"]).await;
    let first = client.next(&EDS).await;
    for content in 2..20 {
        client.publish(&endpoints(&[("a", content)])).await;
    }
    client.ack(&first).await;
    let second = client.next(&EDS).await;
    let body = &second.resources[0].body.as_ref().unwrap().value;
    assert_eq!(**body, **assignment("a", 19).body());
    client.ack(&second).await;
    client.ends_quietly().await;
}

runs!(x7_a_reconnect_with_everything_resends_no_cluster_and_no_listener: all);
async fn x7_a_reconnect_with_everything_resends_no_cluster_and_no_listener(mode: Mode) {
    let view = world(&["a", "b"], "a");
    let running = serve(&view).await;
    let mut before = Client::new(&running, mode);
    let asked: [(TypeUrl, &[&str]); 4] =
        [(CDS, &[]), (EDS, &["a", "b"]), (LDS, &[]), (RDS, &[ROUTE])];
    let mut got = Vec::new();
    for (type_url, names) in &asked {
        before.subscribe(type_url, names).await;
        let response = before.next(type_url).await;
        before.ack(&response).await;
        got.push(response);
    }
    before.ends_quietly().await;
    drop(running);

    // Not even from another server, which was given the same.
    let running = serve(&world(&["a", "b"], "a")).await;
    let mut after = Client::new(&running, mode);
    for ((type_url, names), had) in asked.iter().zip(&got) {
        let held = had.resources.iter();
        let held: Vec<_> = held.map(|it| (&*it.name, &*it.version)).collect();
        after.resume(type_url, names, &held, &had.version).await;
        if names.is_empty() {
            if mode.is_delta() {
                // The answer that a starting client waits for, without a resource.
                assert_eq!(after.take(type_url).await, type_url.short_name());
            }
            continue;
        }
        // What is named is sent again, the very same bytes.
        let again = after.next(type_url).await;
        let bodies = |got: &Got| -> Vec<_> {
            let bodies = got.resources.iter().map(|it| it.body.clone());
            bodies.collect()
        };
        assert_eq!(bodies(&again), bodies(had));
        after.ack(&again).await;
    }
    for type_url in [CDS, LDS] {
        let status = after.until(&type_url, |status| status.acknowledged.is_some());
        assert_eq!(status.await.sent[&type_url].resources, 0);
    }
    after.ends_quietly().await;
}

runs!(x8_the_culprit_is_named_and_the_others_arrive: delta);
async fn x8_the_culprit_is_named_and_the_others_arrive(mode: Mode) {
    let running = serve(&clusters(&[("bad", 1), ("good", 1)])).await;
    let mut client = Client::new(&running, mode);
    client.subscribe(&CDS, &[]).await;
    let both = client.next(&CDS).await;
    assert_eq!(both.brief(), "cds bad good");
    client.nack(&both, "one of them").await;
    let alone = client.next(&CDS).await;
    assert_eq!(alone.brief(), "cds bad");
    client.nack(&alone, "it is bad").await;
    assert_eq!(client.take(&CDS).await, "cds good");
    let id = client.id(&CDS);
    let taken = Some(ResourceStatus::Acknowledged);
    let good = |_: &_| running.server.resource(&id, &CDS, "good") == taken;
    let status = client.until(&CDS, good).await;
    let [rejection] = &*status.rejections else {
        panic!("{:?}", status.rejections);
    };
    assert_eq!(
        (&*rejection.names, &*rejection.text),
        (&["bad".into()][..], "it is bad")
    );
    client.publish(&clusters(&[("bad", 1), ("good", 2)])).await;
    assert_eq!(
        client.take(&CDS).await,
        "cds good",
        "the same bytes never again"
    );
    client.ends_quietly().await;
}

runs!(x8_what_is_news_in_a_refused_set_is_named_and_the_set_never_repeated: sotw);
async fn x8_what_is_news_in_a_refused_set_is_named_and_the_set_never_repeated(mode: Mode) {
    let running = serve(&clusters(&[("a", 1)])).await;
    let mut client = Client::new(&running, mode);
    client.subscribe(&CDS, &[]).await;
    assert_eq!(client.take(&CDS).await, "cds a");
    client
        .until(&CDS, |status| status.acknowledged.is_some())
        .await;
    let bad = clusters(&[("a", 1), ("bad", 1)]);
    client.publish(&bad).await;
    let refused = client.next(&CDS).await;
    client.nack(&refused, "it is bad").await;
    let status = client.until(&CDS, |status| !status.rejections.is_empty());
    assert_eq!(status.await.rejections[0].names, ["bad".into()]);
    client.publish(&clusters(&[("a", 1), ("bad", 2)])).await;
    assert_eq!(client.take(&CDS).await, "cds a bad");
    client.publish(&bad).await;
    client.ends_quietly().await;
}

runs!(s22_what_nobody_took_yet_goes_alone_and_what_somebody_took_together: delta);
async fn s22_what_nobody_took_yet_goes_alone_and_what_somebody_took_together(mode: Mode) {
    let running = serve_with(&clusters(&[("a", 1), ("b", 1)]), Settings::default()).await;
    let mut first = Client::new(&running, mode);
    first.subscribe(&CDS, &[]).await;
    assert_eq!(first.take(&CDS).await, "cds a");
    assert_eq!(first.take(&CDS).await, "cds b");
    first
        .until(&CDS, |status| status.acknowledged.is_some())
        .await;
    let mut second = Client::named(&running, mode, "e2");
    second.subscribe(&CDS, &[]).await;
    assert_eq!(second.take(&CDS).await, "cds a b");
    let more = clusters(&[("a", 2), ("b", 1), ("c", 1)]);
    publish(&running, &more);
    assert_eq!(second.take(&CDS).await, "cds a");
    assert_eq!(second.take(&CDS).await, "cds c");
}
