//! Configuration that is meant to hurt whoever reads it, and some that is only large: bounded, with
//! a diagnostic that says which bound: unbounded, none of this would end. That the work grows with
//! the text and no faster is counted where it is done, in the module's own tests; how long it takes
//! is for `examples/read_config.rs` to say.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fmt::Write as _;

use tidegate_xds::config::{Diagnostic, Reader};

fn read(text: &str) -> Result<usize, Vec<Diagnostic>> {
    Reader::new()
        .read("x.yaml", text)
        .map(|resources| resources.len())
}

#[track_caller]
fn refused(text: &str, words: &str) {
    let diagnostics = read(text).unwrap_err();
    let found = diagnostics.iter().any(|d| d.message.contains(words));
    assert!(found, "{words}: {:?}", diagnostics.first());
    assert!(diagnostics.len() <= 1_001);
    for diagnostic in &diagnostics {
        assert!(
            diagnostic.to_string().len() < 4_000,
            "a diagnostic is short"
        );
        assert!(diagnostic.line >= 1 && diagnostic.column >= 1);
    }
}

/// By the parser's own limit or by ours, whichever comes first for a style.
#[track_caller]
fn refused_for_depth(text: &str) {
    let diagnostics = read(text).unwrap_err();
    let words = ["within each other", "recursion limit exceeded"];
    let found = |d: &Diagnostic| words.iter().any(|words| d.message.contains(words));
    assert!(diagnostics.iter().any(found), "{:?}", diagnostics.first());
}

fn runtime(layer: &str) -> String {
    format!(
        "'@type': type.googleapis.com/envoy.service.runtime.v3.Runtime\nname: r\nlayer: {layer}\n"
    )
}

#[test]
fn lists_and_mappings_within_each_other() {
    for (open, close) in [("[", "]"), ("{a: ", "}"), ("[{a: ", "}]")] {
        let deep = |depth: usize| {
            runtime(&format!(
                "{{k: {}1{}}}",
                open.repeat(depth),
                close.repeat(depth)
            ))
        };
        refused_for_depth(&deep(120));
        refused_for_depth(&deep(100_000));
    }
    let indented: String = (0..500).fold(String::from("k:"), |mut text, depth| {
        write!(text, "\n{}k:", " ".repeat(depth + 1)).unwrap();
        text
    });
    refused_for_depth(&indented);
}

#[test]
fn aliases_of_aliases_and_of_themselves() {
    let mut bomb = String::from("{a0: &a0 [x, x, x, x, x, x, x, x, x, x]");
    for level in 1..30 {
        let below = format!("*a{}", level - 1);
        write!(
            bomb,
            ", a{level}: &a{level} [{}]",
            [below.as_str(); 10].join(", ")
        )
        .unwrap();
    }
    refused(&runtime(&(bomb + "}")), "aliases make more than");
    refused(&runtime("&loop {a: *loop}"), "alias");
}

#[test]
fn huge_texts_keys_and_names_are_shown_in_part() {
    let huge = "x".repeat(1 << 16);
    refused(&format!("'@type': {huge}\n"), "no type URL");
    let cluster = "'@type': type.googleapis.com/envoy.config.cluster.v3.Cluster\nname: a\n";
    refused(
        &format!("{cluster}connect_timeout: {huge}\n"),
        "no duration",
    );
    refused(&format!("{cluster}? {huge}\n: 1\n"), "no such field");
    refused(&format!("{cluster}lb_policy: {huge}\n"), "is no LbPolicy");
    refused(&"x".repeat((32 << 20) + 1), "a file may have");
}

#[test]
fn more_values_than_a_file_may_have() {
    refused(
        &runtime(&format!("{{k: [{}]}}", "1,".repeat(501_000))),
        "more than 500000 values",
    );
}

#[test]
fn what_breaks_off_or_was_never_text() {
    for text in [
        "{",
        "[",
        "a: 'b",
        "a: \"\\x\"",
        "\u{0}",
        "a: &",
        "a: *b",
        "- - - {",
        "? ",
        "%YAML 9",
        "--- !!binary x",
    ] {
        // Whatever it is, it's answered, and nothing panics.
        let _ = read(text);
    }
    refused("{\"a\": ", "neither YAML nor JSON");
}

#[test]
fn duplicates_among_thousands() {
    let mut hosts = String::from(
        "'@type': type.googleapis.com/envoy.config.route.v3.RouteConfiguration\nname: r\nvirtual_hosts:\n",
    );
    for index in 0..1_000 {
        writeln!(
            hosts,
            "- {{name: h{index}, domains: [h{index}.example, h{index}]}}"
        )
        .unwrap();
    }
    hosts.push_str("- {name: h5, domains: [h5]}\n");
    refused(
        &hosts,
        "a second `h5`; the first is virtual_hosts[5].domains[1]",
    );

    let mut chains = String::from(
        "'@type': type.googleapis.com/envoy.config.listener.v3.Listener\nname: l\n\
         address: {socket_address: {address: 127.0.0.1, port_value: 80}}\nfilter_chains:\n",
    );
    for index in (0..500).chain([7]) {
        writeln!(
            chains,
            "- {{filter_chain_match: {{server_names: [h{index}, x{index}]}}, filters: [{{name: e, typed_config: \
             {{'@type': type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo}}}}]}}"
        )
        .unwrap();
    }
    refused(&chains, "matches the same as filter_chains[7]");

    let unique: String = (0..5_000).fold(String::new(), |mut text, index| {
        write!(text, "n{index}, ").unwrap();
        text
    });
    let router = format!(
        "'@type': type.googleapis.com/envoy.config.route.v3.RouteConfiguration\nname: r\n\
         virtual_hosts:\n- {{name: a, domains: [{unique}n5]}}\n"
    );
    refused(&router, "a second `n5`");
}

#[test]
fn names_that_are_long_to_compare() {
    const NAMES: usize = 300;
    // As many of each letter, and nothing in the same place.
    let (there, wanted) = (
        "a".repeat(80) + &"b".repeat(80),
        "b".repeat(80) + &"a".repeat(80),
    );
    let mut text = String::from("static_resources:\n  clusters:\n");
    for index in 0..NAMES {
        writeln!(text, "  - {{name: {there}{index:03}}}").unwrap();
    }
    for index in 0..NAMES {
        let to = match index {
            0 => format!("{there}1234"),
            _ => format!("{wanted}{index:03}"),
        };
        writeln!(
            text,
            "  - {{name: c{index}, load_assignment: {{cluster_name: c, endpoints: []}}, \
             eds_cluster_config: {{eds_config: {{api_config_source: {{api_type: GRPC, \
             transport_api_version: V3, grpc_services: [{{envoy_grpc: {{cluster_name: {to}}}}}]}}}}}}}}"
        )
        .unwrap();
    }
    let diagnostics = read(&text).unwrap_err();
    let missing = diagnostics.iter();
    let missing = missing.filter(|d| d.message.contains("there is no cluster"));
    let help: Vec<&str> = missing.map(|d| d.help.as_str()).collect();
    assert_eq!(help.len(), NAMES);
    assert!(help[0].starts_with("did you mean"), "{}", help[0]);
    assert!(help[1].starts_with("there are `a"), "{}", help[1]);
    assert!(
        help[NAMES - 1].contains("too many mistakes"),
        "{}",
        help[NAMES - 1]
    );
}
