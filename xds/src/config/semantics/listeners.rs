//! What listeners within Envoy, of datagrams and on pipes can't have.

use prost_reflect::DynamicMessage;

use super::at;
use crate::config::fields::{choice, count_of, has, sub, text, truth};
use crate::config::rules::Findings;

const RULE: &str = "envoy.listener";
/// `SocketAddress.Protocol`.
const UDP: i32 = 1;
/// Of a path of a UNIX domain socket, with the NUL at its end.
const PIPE_BYTES_MAX: usize = 108;
/// Which an internal listener, that binds to nothing, doesn't have.
const OF_SOCKETS: [&str; 8] = [
    "additional_addresses",
    "enable_mptcp",
    "enable_reuse_port",
    "freebind",
    "socket_options",
    "tcp_backlog_size",
    "tcp_fast_open_queue_length",
    "transparent",
];

/// Whether a listener has only what its kind can have.
pub(super) fn options(message: &DynamicMessage, findings: &mut Findings<'_>) {
    if has(message, "internal_listener") {
        for field in OF_SOCKETS.iter().filter(|field| has(message, field)) {
            at(findings, field, RULE, "doesn't go with `internal_listener`");
        }
        let balance = sub(message, "connection_balance_config");
        if balance.is_some_and(|balance| has(&balance, "exact_balance")) {
            let text = "doesn't go with `internal_listener`";
            at(findings, "connection_balance_config", RULE, text);
        }
        return;
    }
    let Some(address) = sub(message, "address") else {
        return;
    };
    if has(&address, "envoy_internal_address") {
        let text = "can't be within Envoy; such a listener has an `internal_listener`";
        at(findings, "address", RULE, text);
    }
    let socket = sub(&address, "socket_address");
    let is_udp = socket
        .as_ref()
        .is_some_and(|socket| choice(socket, "protocol") == UDP);
    if truth(message, "enable_mptcp") && (is_udp || socket.is_none()) {
        let text = "goes with TCP on an IP address only";
        at(findings, "enable_mptcp", RULE, text);
    }
    if is_udp {
        datagrams(message, findings);
    }
}

fn datagrams(message: &DynamicMessage, findings: &mut Findings<'_>) {
    let options = sub(message, "udp_listener_config");
    let quic = options.is_some_and(|options| has(&options, "quic_options"));
    for field in ["filter_chains", "default_filter_chain"] {
        let chains = count_of(message, field) > 0 || sub(message, field).is_some();
        if chains && !quic {
            let text = "doesn't go with UDP, which has no connections";
            at(findings, field, RULE, text);
        }
    }
    if sub(message, "bind_to_port").is_some_and(|bind| !truth(&bind, "value")) {
        at(findings, "bind_to_port", RULE, "must be true for UDP");
    }
}

/// `Pipe`.
pub(super) fn pipe(message: &DynamicMessage, findings: &mut Findings<'_>) {
    let path = text(message, "path");
    if path.starts_with('@') && has(message, "mode") {
        let text = "doesn't go with a path of `@…`, which is no file";
        at(findings, "mode", RULE, text);
    }
    if path.len() >= PIPE_BYTES_MAX {
        let text = format!("{} bytes; at most {}", path.len(), PIPE_BYTES_MAX - 1);
        at(findings, "path", RULE, text);
    }
}
