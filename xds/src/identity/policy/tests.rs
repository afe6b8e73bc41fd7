use super::*;

fn id(text: &str) -> SpiffeId {
    SpiffeId::new(text).unwrap()
}

fn policy(patterns: &[&str]) -> Policy {
    Policy::new(patterns.iter().map(|pattern| Rule::new(pattern).unwrap()))
}

#[test]
fn an_identity_speaks_for_the_node_it_names_and_no_other() {
    let policy = policy(&["spiffe://mesh/ns/*/sidecar/{node.id}"]);
    let me = id("spiffe://mesh/ns/shop/sidecar/a");
    assert!(policy.check(&me, "a", "anything").is_ok());
    let denied = policy.check(&me, "b", "shop").unwrap_err().to_string();
    assert_eq!(
        denied,
        "`spiffe://mesh/ns/shop/sidecar/a` claims node.id `b` in node.cluster `shop`, but it \
         may claim only node.id `a` in node.cluster `*`"
    );
    assert!(policy.is_one_node(&me));
    for stranger in [
        "spiffe://other/ns/shop/sidecar/a",
        "spiffe://mesh/ns/shop/sidecar/a/b",
        "spiffe://mesh/ns/shop/gateway/a",
        "spiffe://mesh/sidecar/a",
    ] {
        let denied = policy.check(&id(stranger), "a", "").unwrap_err();
        assert!(denied.allowed.contains("matches no pattern"), "{denied}");
        assert!(!policy.knows(&id(stranger)));
        assert!(!policy.is_one_node(&id(stranger)));
    }
}

#[test]
fn a_star_is_one_segment_and_never_empty() {
    let policy = policy(&["spiffe://mesh/*/x-{node.id}-y"]);
    assert!(policy.check(&id("spiffe://mesh/q/x-a-y"), "a", "").is_ok());
    assert!(!policy.knows(&id("spiffe://mesh/q/r/x-a-y")));
    assert!(!policy.knows(&id("spiffe://mesh/q/x--y")));
    assert!(!policy.knows(&id("spiffe://mesh/q/x-y")));
}

#[test]
fn fleet_and_node_are_both_bound_where_both_are_named() {
    let policy = policy(&["spiffe://mesh/{node.cluster}/{node.id}"]);
    let me = id("spiffe://mesh/shop/a");
    assert!(policy.check(&me, "a", "shop").is_ok());
    assert!(policy.check(&me, "a", "bank").is_err());
    assert!(policy.check(&me, "b", "shop").is_err());
    assert!(policy.check(&me, "shop", "a").is_err());
    assert_eq!(policy.with_free_cluster().count(), 0);
}

#[test]
fn a_claim_that_is_named_twice_must_be_equal_in_both_places() {
    let policy = policy(&["spiffe://mesh/{node.id}/{node.id}"]);
    assert!(policy.check(&id("spiffe://mesh/a/a"), "a", "").is_ok());
    assert!(!policy.knows(&id("spiffe://mesh/a/b")));
}

#[test]
fn globs_bind_claims_that_the_pattern_does_not_hold() {
    let rule = Rule::for_nodes("spiffe://mesh/edge", "edge~*~eu")
        .unwrap()
        .cluster("edge");
    let policy = Policy::new([rule]);
    let me = id("spiffe://mesh/edge");
    assert!(policy.check(&me, "edge~1~eu", "edge").is_ok());
    assert!(policy.check(&me, "edge~1~us", "edge").is_err());
    assert!(policy.check(&me, "edge~1~eu", "shop").is_err());
    assert!(!policy.is_one_node(&me));
    // One that contradicts the placeholder makes the rule not about that identity.
    let rule = Rule::new("spiffe://mesh/{node.id}").unwrap().node_id("a*");
    let policy = Policy::new([rule]);
    assert!(policy.check(&id("spiffe://mesh/ab"), "ab", "").is_ok());
    assert!(policy.check(&id("spiffe://mesh/b"), "b", "").is_err());
}

#[test]
fn a_glob_matches_what_its_pieces_say_in_their_order() {
    for (glob, text, matches) in [
        ("", "", true),
        ("a", "a", true),
        ("a", "ab", false),
        ("*", "", true),
        ("a*", "a", true),
        ("a*b", "ab", true),
        ("a*b", "a", false),
        ("ab*b", "ab", false),
        ("a*b*c", "axbxc", true),
        ("a*b*c", "axcxb", false),
        ("**", "x", true),
        ("*a*a", "a", false),
        ("*.mesh", "x.mesh.evil", false),
    ] {
        assert_eq!(
            Glob(glob.to_owned()).matches(text),
            matches,
            "{glob} {text}"
        );
    }
}

#[test]
fn patterns_that_bind_nothing_or_match_nothing_are_refused() {
    for (pattern, words) in [
        ("spiffe://mesh/ns/*", "every node"),
        ("spiffe://mesh", "no path"),
        ("mesh/{node.id}", "begin with"),
        ("spiffe://*/{node.id}", "trust domain"),
        ("spiffe://mesh/{node.id}{node.cluster}", "more than one"),
        ("spiffe://mesh/**/{node.id}", "more than one"),
        ("spiffe://mesh/{node.name}/{node.id}", "unknown placeholder"),
        ("spiffe://mesh//{node.id}", "empty"),
        ("spiffe://mesh/a b/{node.id}", "other characters"),
    ] {
        let text = Rule::new(pattern).unwrap_err().to_string();
        assert!(text.contains(words), "{pattern}: {text}");
    }
}

#[test]
fn secrets_are_denied_unless_granted() {
    let rule = Rule::new("spiffe://mesh/{node.id}").unwrap();
    assert!(!rule.may_have_secret("shop"));
    let rule = rule.grant_secret("shop-*");
    assert!(rule.may_have_secret("shop-tls"));
    assert!(!rule.may_have_secret("bank-tls"));
}
