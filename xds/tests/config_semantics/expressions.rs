//! Regular expressions, in the dialects that Envoy speaks.

use tidegate_xds::config::Reader;

use crate::{ROUTES, bootstrap, found, only};

#[test]
fn tags_of_statistics_are_found_somehow() {
    let tag = |tag: &str| {
        bootstrap(&format!(
            "stats_config: {{stats_tags: [{{{tag}}}]}}\nstatic_resources: {{}}\n"
        ))
    };
    for good in [
        "tag_name: envoy.cluster_name",
        "tag_name: cipher_suite",
        "tag_name: tide, fixed_value: spring",
        "tag_name: tide, regex: '^tide\\.((?=x).+?)\\.'",
        "tag_name: tide, regex: '(a)\\1\\cA\\0a{2000}'",
    ] {
        assert_eq!(tag(good), [""; 0], "{good}");
    }
    only(
        &tag("tag_name: envoy.cluster_nam"),
        &[
            "stats_config.stats_tags[0]: needs a `regex` or a `fixed_value`: Envoy has no \
             expression for `envoy.cluster_nam`; did you mean `envoy.cluster_name`?",
        ],
    );
    for wrong in [
        "(?P<a>.)",
        "(?i)a",
        "(?i:a)",
        "(?<=a)",
        "a**",
        "^*",
        "\\b+",
        "a{,5}",
        "\\a",
        "\\A",
        "\\C",
        "\\p{Lu}",
        "\\x{41}",
        "\\1",
        "(a)\\2",
        "[[a]]",
        "[[:^alpha:]]",
        "[[:foo:]]",
        "[]a]",
        "a]",
        "}",
        "[a--b]",
        "(",
        "[z-a]",
        "a{2,1}",
    ] {
        let diagnostics = tag(&format!("tag_name: tide, regex: '{wrong}'"));
        only(
            &diagnostics,
            &["stats_tags[0].regex: ", "is no regular expression: "],
        );
    }
}

/// RE2's dialect, and the size of its programs.
#[test]
fn expressions_are_those_of_re2() {
    let route = |regex: &str| {
        format!(
            "virtual_hosts: [{{name: a, domains: ['*'], routes: [{{match: {{safe_regex: {{regex: '{regex}'}}}}, \
             direct_response: {{status: 200}}}}]}}]"
        )
    };
    for good in [
        "a{96}",
        "^a{98}$",
        "(a{40}){2}",
        "a{0,48}",
        "(?:a{0}){101}",
        "(?:){200}",
        "(?:ab|ac){33}",
        "(?:a*)*",
        "\\x{41}",
        "[a&&b]",
        "\\p{Greek}",
        "\\pN",
        "\\P{Lu}",
        "(?<n>a)",
        "(?s-i)a",
        "[[a]]",
        "[[:^alpha:]]",
        "é{49}",
        // Braces that repeat nothing are just that.
        "a{1,x}",
        "{,5}",
        "(-[0-9]{x3})?{",
        "\\{1\\x{41}{2}",
    ] {
        assert_eq!(found(ROUTES, &route(good)), [""; 0], "{good}");
    }
    for (wrong, words) in [
        ("a**", "a repetition can't be repeated"),
        ("a{2}{3}", "a repetition can't be repeated"),
        ("a*??", "a repetition can't be repeated"),
        ("a{1001}", "repeats a part more than 1000 times"),
        ("(a{100}){100}", "repeats a part more than 1000 times"),
        (
            "a{97}",
            "compiles to at least 101 instructions, and Envoy takes 100",
        ),
        ("^a{99}$", "at least 101 instructions"),
        ("(?i)a{97}", "at least 101 instructions"),
        ("a{0,49}", "at least 102 instructions"),
        ("x{2,1000}", "at least 2002 instructions"),
        ("(a{30}){30}", "at least 964 instructions"),
        ("(?x)a", "there is no flag `x`"),
        ("(?-u)a", "there is no flag `u`"),
        ("\\u0041", "write \\x{…}"),
        ("\\p{Letter}", "there is no class `\\p{Letter}`"),
        ("\\p{Script=Greek}", "there is no class"),
        ("[[:foo:]]", "there is no class `[:foo:]`"),
        ("[a--b]", "can't be subtracted"),
        ("(?P<a.b>a)", "`a.b` is no name of a group"),
    ] {
        only(
            &found(ROUTES, &route(wrong)),
            &["safe_regex.regex: ", words],
        );
    }
}

/// The size of programs is a setting of Envoy's runtime.
#[test]
fn the_runtime_lets_expressions_be_larger() {
    let routes = "virtual_hosts: [{name: a, domains: ['*'], routes: [{match: {safe_regex: {regex: 'a{200}'}}, \
                  direct_response: {status: 200}}]}]";
    let typed = format!(
        "'@type': type.googleapis.com/envoy.config.route.v3.RouteConfiguration\nname: a\n{routes}\n"
    );
    assert!(Reader::new().read("r.yaml", &typed).is_err());
    let reader = Reader::new().assume_regex_program(204);
    assert!(reader.read("r.yaml", &typed).is_ok());

    let listening = format!(
        "static_resources:\n  listeners:\n  - name: l\n    address: {{socket_address: {{address: 127.0.0.1, \
         port_value: 80}}}}\n    filter_chains: [{{filters: [{{name: h, typed_config: {{'@type': \
         type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, \
         stat_prefix: a, route_config: {{{routes}}}, http_filters: [{{name: r, typed_config: {{'@type': \
         type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}}}]}}}}]}}]\n"
    );
    for (layer, taken) in [
        ("{}", false),
        ("{re2.max_program_size.error_level: 204}", true),
        ("{re2: {max_program_size.error_level: '204'}}", true),
        ("{re2: {max_program_size: {error_level: 204.9}}}", true),
        ("{re2.max_program_size.error_level: 203}", false),
    ] {
        let diagnostics = bootstrap(&format!(
            "{listening}layered_runtime: {{layers: [{{name: a, static_layer: {layer}}}]}}\n"
        ));
        assert_eq!(diagnostics.is_empty(), taken, "{layer}: {diagnostics:#?}");
    }
}
