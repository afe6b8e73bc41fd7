//! What a protocol may do beyond the plain: errors in the place of resources (G10, xRFC TP3),
//! collections (xRFC TP1), aliases (D14), versions of the embedder's own (C7).

use std::sync::Arc;

use tidegate_xds::ErrorDetail;
use tonic::Code;

use crate::harness::*;

const VHDS: TypeUrl = TypeUrl::VIRTUAL_HOST;

/// Assignment `a`, an error in the place of `b`.
fn with_error(a: u32, code: Code) -> Arc<Snapshot> {
    let mut builder = Snapshot::builder();
    let error = ErrorDetail::new(code, "ask the owners of `b`").unwrap();
    builder.insert(assignment("a", a)).error(EDS, "b", error);
    Arc::new(builder.build().unwrap())
}

runs!(g10_an_error_in_the_place_of_a_resource_is_told_once: all);
async fn g10_an_error_in_the_place_of_a_resource_is_told_once(mode: Mode) {
    let running = serve(&with_error(1, Code::PermissionDenied)).await;
    let mut client = Client::new(&running, mode);
    client.node.user_agent_name = "gRPC C-core".to_owned();
    client.subscribe(&EDS, &["a", "b"]).await;
    assert_eq!(client.take(&EDS).await, "eds a");
    assert_eq!(
        client.take(&EDS).await,
        mode.either("eds -b !b=7", "eds !b=7")
    );
    client.publish(&with_error(2, Code::PermissionDenied)).await;
    assert_eq!(client.take(&EDS).await, "eds a");
    client.publish(&with_error(2, Code::Unavailable)).await;
    assert_eq!(
        client.take(&EDS).await,
        "eds !b=14",
        "another error is news"
    );
    client.publish(&endpoints(&[("a", 2), ("b", 1)])).await;
    assert_eq!(client.take(&EDS).await, "eds b");
    client.ends_quietly().await;
}

runs!(g10_an_envoy_reads_no_errors: all);
async fn g10_an_envoy_reads_no_errors(mode: Mode) {
    let running = serve(&with_error(1, Code::NotFound)).await;
    let mut client = Client::new(&running, mode);
    client.node.user_agent_name = "envoy".to_owned();
    client.subscribe(&EDS, &["a", "b"]).await;
    assert_eq!(client.take(&EDS).await, "eds a");
    if mode.is_delta() {
        assert_eq!(client.take(&EDS).await, "eds -b");
    }
    client.ends_quietly().await;
}

fn name(id: &str) -> String {
    format!("xdstp://acme/envoy.config.cluster.v3.Cluster/{id}")
}

fn members(ids: &[&str]) -> Arc<Snapshot> {
    let members = ids.iter().map(|id| static_cluster(&name(id)));
    snapshot(members.chain([static_cluster("plain")]))
}

runs!(tp1_a_collection_is_its_members_one_by_one: delta);
async fn tp1_a_collection_is_its_members_one_by_one(mode: Mode) {
    let running = serve(&members(&["x/a?v=1&w=2", "x/b", "x/deep/c"])).await;
    let mut client = Client::new(&running, mode);
    let take = async |client: &mut Client<'_>| client.take(&CDS).await.replace(&name(""), "");
    client.subscribe(&CDS, &[&name("x/*"), &name("y/*")]).await;
    assert_eq!(take(&mut client).await, "cds x/b");
    assert_eq!(take(&mut client).await, "cds -y/*");
    client.subscribe(&CDS, &[&name("x/*?w=2&v=1")]).await;
    assert_eq!(take(&mut client).await, "cds x/a?v=1&w=2");
    client
        .publish(&members(&["x/a?v=1&w=2", "x/b", "y/d"]))
        .await;
    assert_eq!(take(&mut client).await, "cds y/d");
    client.subscribe(&CDS, &["*", "xdstp:nonsense"]).await;
    assert_eq!(take(&mut client).await, "cds plain", "and no member again");
    assert_eq!(take(&mut client).await, "cds -xdstp:nonsense");
    client.ends_quietly().await;
}

runs!(d14_an_alias_is_answered_with_what_goes_by_it_or_without_a_body: delta);
async fn d14_an_alias_is_answered_with_what_goes_by_it_or_without_a_body(mode: Mode) {
    let hosts = |aliases: &[&str]| {
        let host = virtual_host("rt/shop", "a");
        let host = host.with_aliases(aliases.iter().copied()).unwrap();
        snapshot([static_cluster("a"), host])
    };
    let running = serve(&hosts(&["rt/shop.example"])).await;
    let mut client = Client::new(&running, mode);
    client.subscribe(&VHDS, &["rt/shop.example"]).await;
    let host = client.next(&VHDS).await;
    assert_eq!(host.brief(), "vhds rt/shop");
    assert_eq!(host.resources[0].aliases, ["rt/shop.example"]);
    client.ack(&host).await;
    client.subscribe(&VHDS, &["rt/new.example"]).await;
    let unresolved = client.next(&VHDS).await;
    assert_eq!(unresolved.brief(), "vhds ~rt/new.example");
    assert_eq!(unresolved.resources[0].aliases, ["rt/new.example"]);
    client.ack(&unresolved).await;
    client
        .publish(&hosts(&["rt/new.example", "rt/shop.example"]))
        .await;
    assert_eq!(client.take(&VHDS).await, "vhds rt/shop");
    client.ends_quietly().await;
}

runs!(c7_versions_of_the_embedders_own_go_out_as_they_are: all);
async fn c7_versions_of_the_embedders_own_go_out_as_they_are(mode: Mode) {
    let own = |content, version: &str, of_type: &str| {
        let mut builder = Snapshot::builder();
        let resource = assignment("a", content).with_version(version).unwrap();
        builder.insert(resource).version(EDS, of_type);
        Arc::new(builder.build().unwrap())
    };
    let running = serve(&own(1, "rev-1", "eds-1")).await;
    let mut client = Client::new(&running, mode);
    client.subscribe(&EDS, &["a"]).await;
    let first = client.next(&EDS).await;
    assert_eq!(first.version, "eds-1");
    assert_eq!(first.resources[0].version, mode.either("rev-1", ""));
    client.ack(&first).await;
    client.publish(&own(2, "rev-1", "eds-1")).await;
    assert_eq!(
        client.take(&EDS).await,
        "eds a",
        "other bytes are never taken for known"
    );
    client.ends_quietly().await;
}
