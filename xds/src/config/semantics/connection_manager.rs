//! The HTTP connection manager: what its options don't go together with.

use prost_reflect::DynamicMessage;

use super::{at, at_item, extensions};
use crate::config::fields::{choice, count_of, has, number, sub, subs, truth, type_name, unpacked};
use crate::config::rules::Findings;

const RULE: &str = "envoy.http";
/// `CodecType`.
const HTTP3: i32 = 3;

/// `HttpConnectionManager`.
pub(super) fn options(message: &DynamicMessage, findings: &mut Findings<'_>) {
    if truth(message, "strip_any_host_port") && truth(message, "strip_matching_host_port") {
        let text = "goes without `strip_matching_host_port`, which strips less";
        at(findings, "strip_any_host_port", RULE, text);
    }
    if count_of(message, "original_ip_detection_extensions") > 0 {
        let text = "goes without `original_ip_detection_extensions`, which find the address";
        let remote = sub(message, "use_remote_address");
        if remote.is_some_and(|remote| truth(&remote, "value")) {
            at(findings, "use_remote_address", RULE, text);
        }
        if number(message, "xff_num_trusted_hops").unwrap_or_default() > 0 {
            at(findings, "xff_num_trusted_hops", RULE, text);
        }
    }
}

/// `ScopedRoutes`: scopes that stand there come with their routes.
pub(super) fn scopes(message: &DynamicMessage, findings: &mut Findings<'_>) {
    let list = "scoped_route_configurations_list";
    let Some(scopes) = sub(message, list) else {
        return;
    };
    findings.path.field(list);
    let scopes = subs(&scopes, "scoped_route_configurations");
    for (index, scope) in scopes.iter().enumerate() {
        if !has(scope, "route_configuration") {
            let text = "needs a `route_configuration`: only scopes that are fetched name theirs";
            let item = ("scoped_route_configurations", index);
            at_item(findings, item, "envoy.scope", text);
        }
    }
    findings.path.pop();
}

/// The connection managers of a listener speak HTTP/3 when it speaks QUIC, and only then.
pub(super) fn of_listener(message: &DynamicMessage, findings: &mut Findings<'_>) {
    let options = sub(message, "udp_listener_config");
    let quic = options.is_some_and(|options| has(&options, "quic_options"));
    for (index, chain) in subs(message, "filter_chains").iter().enumerate() {
        for filter in subs(chain, "filters") {
            let config = sub(&filter, "typed_config");
            let config =
                config.filter(|config| type_name(config) == extensions::HTTP_CONNECTION_MANAGER);
            let Some(manager) = config.as_ref().and_then(unpacked) else {
                continue;
            };
            if (choice(&manager, "codec_type") == HTTP3) != quic {
                let text = "`codec_type: HTTP3` goes with `quic_options` of the listener, and \
                            they with it";
                at_item(findings, ("filter_chains", index), RULE, text);
            }
        }
    }
}
