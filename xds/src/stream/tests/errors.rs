//! Errors in the place of resources (xRFC TP3).

use std::sync::Arc;

use tonic::Code;

use super::*;
use crate::stream::Variant::{self, Delta, Sotw};
use crate::{ErrorDetail, SnapshotProblem};

const SDS: TypeUrl = TypeUrl::SECRET;

fn error(code: Code) -> ErrorDetail {
    ErrorDetail::new(code, "why").unwrap()
}

/// Clusters, and an error in the place of `bad`.
fn view(clusters: &[&str], code: Code) -> Arc<Snapshot> {
    let mut builder = Snapshot::builder();
    for name in clusters {
        builder.insert(static_cluster(name));
    }
    builder.error(CDS, "bad", error(code));
    Arc::new(builder.build().unwrap())
}

/// Who reads errors: anything but an Envoy.
fn reader(variant: Variant, view: &Arc<Snapshot>) -> Peer {
    Peer::with_view(variant, view)
}

#[test]
fn g10_an_error_is_told_once_with_the_removal_and_not_repeated() {
    let mut peer = reader(Delta, &view(&["a"], Code::NotFound));
    peer.subscribe(CDS, &["a", "bad"]);
    assert_eq!(peer.settle(), ["cds a", "cds -bad !bad=NotFound"]);
    peer.view(&view(&["a", "b"], Code::NotFound));
    assert_eq!(
        peer.settle(),
        Vec::<String>::new(),
        "what was told is known"
    );
    peer.view(&view(&["a", "b"], Code::PermissionDenied));
    assert_eq!(
        peer.settle(),
        ["cds !bad=PermissionDenied"],
        "another error is news"
    );
}

#[test]
fn g10_an_error_is_told_again_to_who_asks_again() {
    let mut peer = reader(Delta, &view(&["a"], Code::NotFound));
    peer.subscribe(CDS, &["bad"]);
    assert_eq!(peer.settle(), ["cds -bad !bad=NotFound"]);
    peer.subscribe(CDS, &["bad"]);
    assert_eq!(peer.settle(), ["cds -bad !bad=NotFound"]);
    peer.unsubscribe(CDS, &["bad"]);
    assert_eq!(peer.settle(), Vec::<String>::new());
    peer.subscribe(CDS, &["bad"]);
    assert_eq!(peer.settle(), ["cds -bad !bad=NotFound"]);
}

#[test]
fn g10_a_whole_set_goes_with_an_error_and_without_it_afterwards() {
    let mut peer = reader(Sotw, &view(&["a"], Code::NotFound));
    peer.subscribe(CDS, &["a", "b", "bad"]);
    assert_eq!(peer.settle(), ["cds a !bad=NotFound"]);
    peer.view(&view(&["a", "b"], Code::NotFound));
    assert_eq!(peer.settle(), ["cds a b"]);
    peer.view(&view(&["a", "b"], Code::Internal));
    assert_eq!(
        peer.settle(),
        ["cds a b !bad=Internal"],
        "errors never come without the set"
    );
}

#[test]
fn g10_an_error_in_the_place_of_endpoints_needs_no_resource_over_state_of_the_world() {
    let with = |error: Option<ErrorDetail>| {
        let mut builder = Snapshot::builder();
        builder.insert(assignment("a", 1));
        match error {
            Some(error) => builder.error(EDS, "b", error),
            None => builder.insert(assignment("b", 1)),
        };
        Arc::new(builder.build().unwrap())
    };
    let mut peer = reader(Sotw, &with(None));
    peer.subscribe(EDS, &["a", "b"]);
    assert_eq!(peer.settle(), ["eds a b"]);
    peer.view(&with(Some(error(Code::PermissionDenied))));
    assert_eq!(peer.settle(), ["eds !b=PermissionDenied"]);
    peer.view(&with(None));
    assert_eq!(
        peer.settle(),
        ["eds b"],
        "the same bytes again, to end the error"
    );
}

#[test]
fn g10_resources_and_errors_are_disjoint() {
    let mut builder = Snapshot::builder();
    builder.insert(static_cluster("a"));
    builder.error(CDS, "a", error(Code::NotFound));
    let refused = builder.build().unwrap_err();
    assert!(matches!(
        &refused.problems[..],
        [SnapshotProblem::ErrorAndResource { .. }]
    ));
}

#[test]
fn g10_there_is_no_error_for_the_wildcard() {
    for name in ["*", ""] {
        let mut builder = Snapshot::builder();
        builder.error(CDS, name, error(Code::NotFound));
        let refused = builder.build().unwrap_err();
        assert!(matches!(
            &refused.problems[..],
            [SnapshotProblem::BadErrorName { .. }]
        ));
    }
    for variant in [Delta, Sotw] {
        let mut peer = reader(variant, &view(&["a"], Code::NotFound));
        peer.subscribe(CDS, &["*"]);
        assert_eq!(peer.settle(), ["cds a"], "nobody asked for `bad`");
    }
}

#[test]
fn g10_an_envoy_reads_no_errors_and_hears_of_absence() {
    let mut peer = Peer::with_view(Delta, &view(&["a"], Code::PermissionDenied)).of_envoy();
    peer.subscribe(CDS, &["a", "bad"]);
    assert_eq!(peer.settle(), ["cds a", "cds -bad"]);
    let mut peer = Peer::with_view(Sotw, &view(&["a"], Code::PermissionDenied)).of_envoy();
    peer.subscribe(CDS, &["a", "bad"]);
    assert_eq!(peer.settle(), ["cds a"]);
}

/// `bad` was there before.
fn had(variant: Variant, of_envoy: bool) -> Peer {
    let before = snapshot([static_cluster("a"), static_cluster("bad")]);
    let mut peer = Peer::with_view(variant, &before);
    if of_envoy {
        peer = peer.of_envoy();
    }
    peer.subscribe(CDS, &["a", "bad"]);
    assert_eq!(peer.settle(), ["cds a bad"]);
    peer
}

#[test]
fn g10_an_error_of_the_data_takes_the_resource_away_before_it_is_told() {
    let mut peer = had(Delta, false);
    peer.view(&view(&["a"], Code::NotFound));
    assert_eq!(peer.settle(), ["cds -bad", "cds !bad=NotFound"]);
    let mut peer = had(Sotw, false);
    peer.view(&view(&["a"], Code::NotFound));
    assert_eq!(peer.settle(), ["cds a", "cds a !bad=NotFound"]);
}

#[test]
fn g10_a_passing_error_leaves_everybody_what_they_have() {
    let mut peer = had(Delta, false);
    peer.view(&view(&["a"], Code::Unavailable));
    assert_eq!(peer.settle(), ["cds !bad=Unavailable"]);
    peer.view(&snapshot([static_cluster("a"), static_cluster("bad")]));
    assert_eq!(
        peer.settle(),
        ["cds bad"],
        "the same bytes again, to end the error"
    );

    let mut peer = had(Sotw, false);
    peer.view(&view(&["a", "b"], Code::Unavailable));
    peer.state_names(CDS, &["a", "b", "bad"]);
    assert_eq!(
        peer.settle(),
        ["cds a b bad"],
        "what a set lacks would be deleted"
    );

    for variant in [Delta, Sotw] {
        let mut peer = had(variant, true);
        peer.view(&view(&["a"], Code::Unavailable));
        assert_eq!(
            peer.settle(),
            Vec::<String>::new(),
            "an Envoy keeps it and hears nothing"
        );
    }
}

#[test]
fn d3_what_an_envoy_asks_for_again_while_it_cant_be_had_is_what_it_had() {
    let mut peer = had(Delta, true);
    peer.view(&view(&["a"], Code::Unavailable));
    peer.subscribe(CDS, &["bad"]);
    assert_eq!(peer.settle(), ["cds bad"]);
}

#[test]
fn o3_an_error_waits_until_nothing_leads_to_what_it_takes_away() {
    let before = world(&["a", "bad"], "bad");
    let mut peer = envoy(Delta, &before);
    peer.subscribe(CDS, &["bad"]);
    peer.settle();
    let mut builder = Snapshot::builder();
    builder
        .insert(listener("l", ROUTE))
        .insert(route(ROUTE, "a"))
        .insert(cluster("a", 1))
        .insert(assignment("a", 1))
        .error(CDS, "bad", error(Code::PermissionDenied));
    peer.view(&Arc::new(builder.build().unwrap()));
    let seen = peer.settle();
    let place = |what: &str| seen.iter().position(|seen| seen.contains(what)).unwrap();
    assert!(place("rds rt") < place("cds -bad"), "{seen:?}");
    assert!(place("cds -bad") < place("!bad"), "{seen:?}");
}

#[test]
fn g10_a_rejected_error_is_not_repeated() {
    let mut peer = reader(Delta, &view(&["a"], Code::NotFound));
    peer.subscribe(CDS, &["bad"]);
    let response = peer.one();
    peer.nack(&response, "no errors, please");
    assert_eq!(peer.settle(), Vec::<String>::new());
}

#[test]
fn g10_an_error_for_all_others_answers_every_name_that_is_not_there() {
    let mut builder = Snapshot::builder();
    builder
        .insert(assignment("a", 1))
        .error(EDS, "b", error(Code::PermissionDenied))
        .error_for_others(EDS, error(Code::NotFound));
    let view = Arc::new(builder.build().unwrap());
    let mut peer = reader(Sotw, &view);
    peer.subscribe(EDS, &["a", "b", "c"]);
    assert_eq!(
        peer.settle(),
        ["eds a", "eds !b=PermissionDenied !c=NotFound"]
    );
    let mut peer = reader(Delta, &view);
    peer.subscribe(EDS, &["a", "b", "c"]);
    assert_eq!(
        peer.settle(),
        ["eds a", "eds -b -c !b=PermissionDenied !c=NotFound"]
    );
}

#[test]
fn g10_members_of_a_collection_have_errors_and_the_collection_has_its_own() {
    let name = |id: &str| format!("xdstp://acme/envoy.config.cluster.v3.Cluster/{id}");
    let mut builder = Snapshot::builder();
    builder
        .insert(static_cluster(&name("x/a")))
        .error(CDS, &name("x/b"), error(Code::PermissionDenied))
        .error(CDS, &name("y/*"), error(Code::NotFound));
    let mut peer = reader(Delta, &Arc::new(builder.build().unwrap()));
    peer.subscribe(CDS, &[&name("x/*"), &name("y/*")]);
    let seen = peer.settle();
    let (a, b, y) = (name("x/a"), name("x/b"), name("y/*"));
    let expected = format!("cds -{y} !{b}=PermissionDenied !{y}=NotFound");
    assert_eq!(seen, [format!("cds {a}"), expected]);
}

#[test]
fn a_secret_that_is_withheld_is_answered_like_one_that_does_not_exist() {
    let secret = |name: &str| Resource::new(SDS, name, bytes::Bytes::new()).unwrap();
    let all = snapshot([secret("mine"), secret("theirs")]);
    let denied = ErrorDetail::of_secrets();
    let mine = Arc::new(all.with_only(&SDS, |name| name == "mine", denied).unwrap());
    for (variant, expected) in [
        (
            Delta,
            "sds -nowhere -theirs !nowhere=PermissionDenied !theirs=PermissionDenied",
        ),
        (
            Sotw,
            "sds !nowhere=PermissionDenied !theirs=PermissionDenied",
        ),
    ] {
        let mut peer = reader(variant, &mine);
        peer.subscribe(SDS, &["mine", "theirs", "nowhere"]);
        assert_eq!(peer.settle(), ["sds mine", expected]);
    }
}
