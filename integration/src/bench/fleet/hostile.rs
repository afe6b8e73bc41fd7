//! Clients that misbehave.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::connection::Connection;
use super::{Fleet, Manner, Variant, stream};
use crate::bench::data::Type;
use crate::bench::wire::{Parsed, Request, node, parse_delta, parse_sotw};

/// The window of a client that never reads: HTTP/2's own default, full after a fifth of a view.
const SMALL_WINDOW: u32 = 65_535;

/// How often one misbehaving client does again what it does. Their number makes the load.
const PACE: Duration = Duration::from_millis(500);

/// Size of the requests that are too large.
const HUGE_BYTES: usize = 10 * 1024 * 1024;

/// One client that asks for clusters and assignments and rejects every response.
pub(super) async fn reject(
    fleet: &Rc<Fleet>,
    variant: Variant,
    time: Duration,
) -> Result<(), String> {
    let deadline = Instant::now() + time;
    let mut connection = Connection::open(fleet, variant).await?;
    let mut seen = BTreeMap::new();
    for of in [Type::Cluster, Type::Assignment] {
        let first = of == Type::Cluster;
        connection.send(ask(fleet, variant, of, first).framed())?;
    }
    while let Ok(message) = tokio::time::timeout_at(deadline, connection.next()).await {
        let message = message?;
        let (response, of) = parse(variant, &message)?;
        let times = seen.entry(content(of, &response)).or_insert(0_u64);
        *times += 1;
        let times = *times;
        fleet.count(|tally| {
            tally.responses += 1;
            tally.bytes += u64::try_from(message.len()).unwrap_or(u64::MAX);
            let resources = u64::try_from(response.resources.len()).unwrap_or(u64::MAX);
            tally.resources[of as usize] += resources;
            tally.distinct = u64::try_from(seen.len()).unwrap_or(u64::MAX);
            tally.repeated_max = tally.repeated_max.max(times);
        });
        connection.send(nack(fleet, variant, of, &response))?;
    }
    Ok(())
}

/// One client that misbehaves until it is aborted.
pub(super) async fn abuse(fleet: Rc<Fleet>, manner: Manner, number: u32) {
    fleet.count(|tally| tally.abusing += 1);
    fleet.counted.notify_waiters();
    loop {
        let ended = match manner {
            Manner::NeverRead => never_read(&fleet, number).await,
            Manner::Reject => reject(&fleet, Variant::Delta, Duration::from_secs(5)).await,
            Manner::Huge => huge(&fleet, number).await,
            Manner::Churn => {
                stream::once(&fleet, number).await;
                Ok(())
            }
        };
        if ended.is_err() {
            // To be thrown out is what such a client must expect.
            fleet.count(|tally| tally.broken += 1);
        }
        tokio::time::sleep(PACE).await;
    }
}

async fn never_read(fleet: &Fleet, number: u32) -> Result<(), String> {
    let (server, variant) = (fleet.server, Variant::Delta);
    let mut connection =
        Connection::with_windows(server, variant, SMALL_WINDOW, SMALL_WINDOW).await?;
    let node = node(&format!("mute-{number}"), fleet.extensions);
    let clusters = Request::delta(Type::Cluster.url()).node(&node);
    connection.send(clusters.framed())?;
    connection.send(ask(fleet, variant, Type::Assignment, false).framed())?;
    // The connection lives on without its stream being read; the server ends it at some time,
    // of which this client takes no notice either.
    tokio::time::sleep(Duration::from_secs(20)).await;
    Ok(())
}

async fn huge(fleet: &Fleet, number: u32) -> Result<(), String> {
    let mut connection = Connection::open(fleet, Variant::Delta).await?;
    let node = node(&format!("huge-{number}"), fleet.extensions);
    let mut request = Request::delta(Type::Assignment.url()).node(&node);
    let long = "x".repeat(480);
    for name in 0..HUGE_BYTES / 500 {
        request = request.subscribe(format!("{long}{name:016}").as_bytes());
    }
    connection.send_whole(request.framed()).await?;
    // Whatever is said of it.
    tokio::time::timeout(PACE, connection.next())
        .await
        .map_or(Ok(()), |answer| answer.map(drop))
}

/// A first request: clusters by wildcard, assignments by name.
fn ask(fleet: &Fleet, variant: Variant, of: Type, with_node: bool) -> Request {
    let mut request = match variant {
        Variant::Delta => Request::delta(of.url()),
        Variant::Sotw => Request::sotw(of.url()),
    };
    if with_node {
        request = request.node(&node("rejects-everything", fleet.extensions));
    }
    if of == Type::Assignment {
        for index in 0..fleet.world.count(of) {
            request = request.subscribe(fleet.world.name(of, index).as_bytes());
        }
    }
    request
}

/// What Envoy sends: the names again in state of the world, and the version it had before (none).
fn nack(fleet: &Fleet, variant: Variant, of: Type, response: &Parsed) -> Bytes {
    let request = match variant {
        Variant::Delta => Request::delta(of.url()),
        Variant::Sotw => ask(fleet, variant, of, false),
    };
    let request = request.nonce(&response.nonce);
    request.error(b"rejected, like everything").framed()
}

fn parse(variant: Variant, message: &Bytes) -> Result<(Parsed, Type), String> {
    let parsed = match variant {
        Variant::Delta => parse_delta(message),
        Variant::Sotw => parse_sotw(message),
    };
    let parsed = parsed.map_err(|fault| fault.to_string())?;
    let of = Type::of_url(&parsed.type_url).ok_or("a response of an unknown type")?;
    Ok((parsed, of))
}

/// What makes two responses the same: their type and resources, in whatever order.
fn content(of: Type, response: &Parsed) -> (Type, Vec<Bytes>) {
    let bodies = response.resources.iter();
    let mut bodies: Vec<_> = bodies
        .map(|resource| Bytes::copy_from_slice(&resource.body))
        .collect();
    bodies.sort();
    (of, bodies)
}
