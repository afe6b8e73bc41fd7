//! How much work large configuration makes, counted.

use std::fmt::Write as _;

use super::decode::Decoder;
use super::spelling::Speller;
use super::tree::Tree;
use super::walk::Walk;
use super::{encode, limits};

/// What was done for an assignment of so many endpoints: values visited, messages checked, bytes
/// encoded.
fn work(endpoints: usize) -> [usize; 3] {
    let mut text = String::from(
        "'@type': type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment\n\
         cluster_name: web\nendpoints:\n- lb_endpoints:\n",
    );
    for index in 0..endpoints {
        // As many digits for each.
        let port = 10_000 + index;
        writeln!(
            text,
            "  - endpoint: {{address: {{socket_address: {{address: 10.0.0.1, port_value: {port}}}}}}}"
        )
        .unwrap();
    }
    let (tree, diagnostics) = Tree::read("x.yaml", &text);
    assert_eq!(diagnostics, []);
    let speller = Speller::default();
    let mut decoder = Decoder::new(&tree, &speller);
    let (_, message) = decoder.typed(tree.documents[0], 0).unwrap();
    assert_eq!(decoder.findings, []);
    let mut walk = Walk::new(limits::REGEX_PROGRAM, &speller);
    walk.message(&message, 0);
    assert_eq!(walk.violations, []);
    [decoder.visited, walk.visited, encode(&message).len()]
}

/// A hundred endpoints more are as much more work whatever there is already.
#[test]
fn work_grows_with_the_endpoints_and_no_faster() {
    let [some, more, most] = [100, 200, 300].map(work);
    for part in 0..3 {
        let added = more[part] - some[part];
        assert!(added >= 100, "{some:?} {more:?}");
        // The lengths of the lists around them take a byte more here and there.
        let again = most[part] - more[part];
        assert!(again.abs_diff(added) <= 4, "{some:?} {more:?} {most:?}");
    }
}

/// Ten thousand endpoints are well within what one file may hold.
#[test]
fn ten_thousand_endpoints_are_within_the_bounds() {
    let [visited, ..] = work(1_000);
    assert!(visited * 10 < limits::VALUES_MAX / 4, "{visited}");
}
