//! What Envoy refuses beyond the rules of the schema: each with its line, path and remedy.
#![allow(clippy::unwrap_used, missing_docs)]

mod bootstraps;
mod clusters;
mod expressions;
mod filters;
mod listeners;
mod routes;
mod syntax;

use tidegate_xds::config::Reader;

/// The diagnostics of a cluster, listener or route configuration in YAML without its `@type`.
fn found(kind: &str, yaml: &str) -> Vec<String> {
    let text = format!("'@type': type.googleapis.com/envoy.config.{kind}\nname: x\n{yaml}");
    match Reader::new().read("x.yaml", &text) {
        Ok(_) => Vec::new(),
        Err(diagnostics) => diagnostics.iter().map(ToString::to_string).collect(),
    }
}

/// Exactly one diagnostic, which contains all of these words.
#[track_caller]
fn only(found: &[String], words: &[&str]) {
    assert_eq!(found.len(), 1, "{found:#?}");
    for word in words {
        let told = found.iter().any(|diagnostic| diagnostic.contains(word));
        assert!(told, "{word}: {found:?}");
    }
}

const LISTENER: &str = "listener.v3.Listener";
const CLUSTER: &str = "cluster.v3.Cluster";
const ROUTES: &str = "route.v3.RouteConfiguration";
const ECHO: &str = "filters: [{name: e, typed_config: {'@type': \
                    type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo}}]";

/// The diagnostics of a bootstrap in YAML.
fn bootstrap(yaml: &str) -> Vec<String> {
    match Reader::new().read("b.yaml", yaml) {
        Ok(_) => Vec::new(),
        Err(diagnostics) => diagnostics.iter().map(ToString::to_string).collect(),
    }
}
