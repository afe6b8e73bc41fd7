//! Tabs, which YAML takes in some places and Envoy in others.

use crate::{bootstrap, only};

const GOOD: &str = "node:\n  id: a\n  cluster: b\nstatic_resources:\n  clusters:\n  - name: c\n";

#[test]
fn tabs_stand_before_values_but_not_before_keys() {
    let json = "{\n\t\"node\": {\n\t\t\"id\":\t\"a\"\n\t},\n\t\"static_resources\": {\"clusters\": [\n\t\t{\"name\": \"c\"}]}\n}";
    for good in [
        GOOD.to_owned(),
        GOOD.replace("id: a", "id\t: a\t# the first"),
        GOOD.replace("id: a", "id:\t\"a\""),
        json.to_owned(),
    ] {
        assert_eq!(bootstrap(&good), [""; 0], "{good:?}");
    }
    only(
        &bootstrap(&GOOD.replace("- name", "-\tname")),
        &["b.yaml:6:5: a tab before a key; write spaces"],
    );
    let first = bootstrap(&GOOD.replace("node:", "\tnode:"));
    assert!(
        first[0].starts_with("b.yaml:1:2: a tab before a key"),
        "{first:?}"
    );
    // Which Envoy takes.
    only(
        &bootstrap(&GOOD.replace("id: a", "id:\ta")),
        &[
            "b.yaml:2:",
            "a tab before a value; write a space; the rest of this file was not checked",
        ],
    );
}
