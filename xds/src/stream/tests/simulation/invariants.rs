//! What must hold for the clients: their traffic, and what the server believes of them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::client::{Client, Kind};
use super::desired::{LAYER, Name};
use super::server::Stream;
use crate::ResourceStatus;
use crate::snapshot::Snapshot;
use crate::stream::Variant;
use crate::stream::tests::*;

/// The longest that a response is under way.
const TRIP_MAX: Duration = Duration::from_secs(5);

/// O1-O3: no route leads to a cluster that isn't there. If a gate was forced, the client was
/// silent, and it can't be helped until its traffic is whole again.
pub(super) fn traffic(
    client: &mut Client,
    stream: Option<&Stream>,
    now: Instant,
) -> Result<(), String> {
    let Kind::Envoy(envoy) = &client.kind else {
        return Ok(());
    };
    let broken = envoy.broken();
    let forced = stream.map_or(0, |stream| stream.session.delivery().gates_forced);
    // Known: as long as an Envoy doesn't ask for clusters, because one warms or because it is
    // wedged, its routes wait for none.
    let alone = envoy.mux.connected && !envoy.mux.asked(&CDS);
    if forced > client.forced || alone {
        client.forced_until = now + TRIP_MAX;
    }
    client.forced = forced;
    // Known: over the state of the world a client doesn't tell what it has. What is gone since its
    // last stream is missing from the first set, whatever leads there, unless that stream was here.
    let routes = envoy.mux.took(&RDS);
    let told = !envoy.mux.took(&CDS).is_empty() && broken.iter().all(|(it, _)| routes.contains(it));
    let told = told || stream.is_some_and(|stream| stream.sent_set);
    let unknown = envoy.mux.variant == Variant::Sotw && !told;
    client.excused =
        !broken.is_empty() && (client.excused || unknown || now <= client.forced_until);
    match broken.first() {
        Some((route, cluster)) if !client.excused => Err(format!(
            "O2, O3: {} leads to {cluster}, which can't serve",
            route
        )),
        _ => Ok(()),
    }
}

/// Delivery truth: what counts as acknowledged is what the client has.
pub(super) fn truth(client: &Client, stream: &Stream, settled: bool) -> Result<(), String> {
    for (resource, status) in stream.session.resource_statuses() {
        let (type_url, name) = (resource.type_url(), resource.name());
        if status != ResourceStatus::Acknowledged || *type_url == RTDS && !settled {
            continue;
        }
        let has = client.version(type_url, name);
        // It may be about to say that it doesn't want it any more.
        if !client.asks_for(type_url, name) {
            continue;
        }
        // Or it said so in a request that was stale, and wants it again by now (rule S7).
        if has.is_none() && !settled && client.variant() == Variant::Sotw {
            continue;
        }
        if has != Some(resource.version()) {
            let kind = type_url.short_name();
            return Err(format!(
                "delivery: {kind} {name} counts as acknowledged; it has {has:?}"
            ));
        }
    }
    Ok(())
}

/// L1: once nothing disturbs, everybody honest has the view. `bad` is a cluster that nobody takes.
pub(super) fn converged(
    client: &Client,
    stream: &Stream,
    view: &Snapshot,
    bad: Option<&str>,
) -> Result<(), String> {
    let all = match &client.kind {
        Kind::Liar(_) => return Ok(()),
        Kind::Envoy(_) => [CDS, EDS, LDS, RDS, RTDS].to_vec(),
        Kind::Grpc(_) => vec![],
    };
    let spoilt = bad.is_some() && client.variant() == Variant::Sotw;
    if let Kind::Envoy(envoy) = &client.kind
        && envoy.wedged
        && !stream.monitor.expects
    {
        // Known: a server that was restarted can't tell a wedged Envoy from one without clusters.
        return Ok(());
    }
    let delivery = stream.session.delivery();
    if spoilt && matches!(&client.kind, Kind::Envoy(envoy) if envoy.wedged) {
        // It stays wedged for as long as the set is bad, and somebody is told.
        let told = delivery.suspect.is_some() || !delivery.rejections.is_empty();
        return if told {
            Ok(())
        } else {
            Err("L7: wedged, and nobody is told".to_owned())
        };
    }
    // Known: over the state of the world a bad one keeps all of its set back, and the routes there,
    // for a client that came back with a set that this server didn't send and took none since, as it
    // isn't known what it has; and for one that fell silent about the set, as nobody looks for the
    // culprit.
    let silent = delivery.last_suspicion.is_some();
    let told = stream.sent_set || !client.mux().took(&CDS).is_empty();
    let unknown = spoilt && (silent || !told);
    for type_url in all {
        for resource in view.iter(&type_url) {
            let name = resource.name();
            if Some(&**name) == bad || unknown && type_url != LDS && type_url != RTDS {
                continue;
            }
            let has = client.version(&type_url, name);
            if has != Some(resource.version()) {
                let status = stream.session.resource_status(&type_url, name);
                let kind = type_url.short_name();
                return Err(format!(
                    "L1: {kind} {name} never came: it has {has:?}, {status:?}"
                ));
            }
        }
        let extra: BTreeSet<Name> = client.names(&type_url);
        let gone = |name: &&Name| view.get(&type_url, name).is_none();
        if let Some(name) = extra.iter().find(gone).filter(|_| !spoilt) {
            return Err(format!("L1: {} {name} never went", type_url.short_name()));
        }
    }
    if let Kind::Grpc(grpc) = &client.kind {
        for (type_url, held) in &grpc.held {
            for (name, resource) in held {
                let wanted = view.get(type_url, name).map(|wanted| wanted.version());
                if wanted != Some(resource.version()) {
                    return Err(format!("L1: {} {name} is stale", type_url.short_name()));
                }
            }
        }
        if grpc.held.get(&EDS).is_none_or(|held| held.is_empty()) {
            return Err("L1: the gRPC client has no endpoints".to_owned());
        }
    }
    if let Some(name) = stream.monitor.unanswered().first() {
        return Err(format!("D3: {name} was asked for and never answered"));
    }
    if let Some(suspicion) = delivery.suspect {
        return Err(format!("L7: still suspect: {}", suspicion.sentence));
    }
    let done = delivery.acknowledged.as_ref() == Some(view.id());
    match bad {
        None if !done => {
            let rejections = delivery.rejections.iter();
            let rejections: Vec<_> = rejections.map(|it| (&it.names, &it.text)).collect();
            Err(format!("L1: not settled: {rejections:?}"))
        }
        Some(bad) if client.asks_for(&CDS, bad) && (done || delivery.rejections.is_empty()) => {
            Err(format!("delivery: {bad} isn't told as rejected"))
        }
        _ => Ok(()),
    }
}

/// The dead man's switch: with nobody renewing, what was raised is gone.
pub(super) fn expired(client: &Client, stream: &Stream, now: Instant) -> Result<(), String> {
    let Kind::Envoy(envoy) = &client.kind else {
        return Ok(());
    };
    if let Some(layer) = &envoy.layer {
        let left = layer.expires_at.map(|at| at.saturating_duration_since(now));
        return Err(format!(
            "E11: the layer is still raised; expires in {left:?}"
        ));
    }
    match stream.session.resource_status(&RTDS, LAYER) {
        Some(ResourceStatus::Expired) => Ok(()),
        status => Err(format!("E11: the expired layer counts as {status:?}")),
    }
}
