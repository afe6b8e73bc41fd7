//! One well-behaved client.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::connection::Connection;
use super::tally::now_ns;
use super::{Asks, Fleet, Variant};
use crate::bench::data::{Type, World};
use crate::bench::wire::{Parsed, Request, node, parse_delta};

/// Envoy's backoff after a stream broke: twice as long each time, of which a random part is waited.
const BACKOFF_FIRST: Duration = Duration::from_millis(500);
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// A client's memory: what survives its streams.
struct Client {
    fleet: Rc<Fleet>,
    number: u32,
    node: Bytes,
    asks: Asks,
    /// By type and index: 1 + the generation it holds, or 0.
    held: [Vec<u32>; 3],
    /// How many it holds, by type.
    holds: [u32; 3],
    complete: bool,
    /// Whether this stream asked for listeners.
    asked_listeners: bool,
    /// A state of its own for the backoff's jitter.
    luck: u64,
}

/// Serves one client for ever: connects again, as Envoy does, when its stream breaks.
pub(super) async fn serve(fleet: Rc<Fleet>, number: u32, asks: Asks) {
    let mut client = Client::new(fleet.clone(), number, format!("node-{number}"), asks);
    let mut interval = BACKOFF_FIRST;
    loop {
        let heard = client.stream(false).await;
        if let Err(fault) = &heard.1 {
            fleet.count(|tally| {
                tally.broken += 1;
                tally.fault(format!("node-{number}: {fault}"));
            });
        }
        if heard.0 {
            interval = BACKOFF_FIRST;
        }
        tokio::time::sleep(client.part_of(interval)).await;
        interval = (interval * 2).min(BACKOFF_MAX);
    }
}

/// Opens streams and closes each once it holds everything; whether all did.
pub(super) async fn churn(fleet: &Rc<Fleet>, cycles: u32, at_once: u32, ids: u32) -> bool {
    let places = Arc::new(Semaphore::new(at_once as usize));
    let mut tasks = tokio::task::JoinSet::new();
    for cycle in 0..cycles {
        let Ok(place) = places.clone().acquire_owned().await else {
            return false;
        };
        let fleet = fleet.clone();
        tasks.spawn_local(async move {
            let _place = place;
            once(&fleet, cycle % ids.max(1)).await
        });
    }
    let mut whole = true;
    while let Some(done) = tasks.join_next().await {
        whole &= matches!(done, Ok(true));
    }
    whole
}

/// One stream until it holds everything.
pub(super) async fn once(fleet: &Rc<Fleet>, number: u32) -> bool {
    let id = format!("passer-{number}");
    let mut client = Client::new(fleet.clone(), number, id, Asks::Assignments);
    match client.stream(true).await.1 {
        Ok(()) => true,
        Err(fault) => {
            fleet.count(|tally| tally.fault(format!("passer-{number}: {fault}")));
            false
        }
    }
}

// === impl Client ===

impl Client {
    fn new(fleet: Rc<Fleet>, number: u32, id: String, asks: Asks) -> Self {
        let world = fleet.world;
        let node = node(&id, fleet.extensions);
        Self {
            fleet,
            number,
            node,
            asks,
            held: Type::ALL.map(|of| vec![0; world.count(of) as usize]),
            holds: [0; 3],
            complete: false,
            asked_listeners: false,
            luck: u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        }
    }

    /// One stream, until it breaks, or until it has everything. Whether it heard anything, and how
    /// it ended.
    async fn stream(&mut self, once: bool) -> (bool, Result<(), String>) {
        let mut heard = false;
        let mut connection = match Connection::open(&self.fleet, Variant::Delta).await {
            Ok(connection) => connection,
            Err(fault) => return (heard, Err(fault)),
        };
        self.fleet.count(|tally| tally.opened += 1);
        if let Err(fault) = self.ask(&mut connection) {
            return (heard, Err(fault));
        }
        loop {
            let message = match connection.next().await {
                Ok(message) => message,
                Err(fault) => return (heard, Err(fault)),
            };
            heard = true;
            if let Err(fault) = self.take(&mut connection, &message) {
                return (heard, Err(fault));
            }
            if once && self.complete {
                return (heard, Ok(()));
            }
        }
    }

    /// The first requests of a stream. A new client asks for clusters; one that comes back asks for
    /// everything it knows and tells what it holds.
    fn ask(&mut self, connection: &mut Connection) -> Result<(), String> {
        let clusters = Request::delta(Type::Cluster.url()).node(&self.node);
        let clusters = self.holding(Type::Cluster, clusters);
        connection.send(clusters.framed())?;
        if self.holds[Type::Assignment as usize] > 0 {
            let request = Request::delta(Type::Assignment.url());
            let request = self.naming(self.held_indices(Type::Cluster), request);
            connection.send(self.holding(Type::Assignment, request).framed())?;
        }
        self.asked_listeners = self.holds[Type::Listener as usize] > 0;
        if self.asked_listeners {
            let request = Request::delta(Type::Listener.url());
            connection.send(self.holding(Type::Listener, request).framed())?;
        }
        Ok(())
    }

    fn take(&mut self, connection: &mut Connection, message: &Bytes) -> Result<(), String> {
        let response = parse_delta(message).map_err(|fault| fault.to_string())?;
        let Some(of) = Type::of_url(&response.type_url) else {
            return Err(format!("a response of type {:?}", response.type_url));
        };
        let new = self.note(of, &response, message.len())?;
        // Envoy asks for the endpoints of new clusters before it acknowledges these.
        if of == Type::Cluster && !new.is_empty() && self.asks != Asks::ClustersOnly {
            let request = Request::delta(Type::Assignment.url());
            connection.send(self.naming(new.into_iter(), request).framed())?;
        }
        let ack = Request::delta(of.url()).nonce(&response.nonce);
        connection.send(ack.framed())?;
        self.progress(connection)
    }

    /// Checks and counts a response; which resources the client did not hold.
    fn note(&mut self, of: Type, response: &Parsed, bytes: usize) -> Result<Vec<u32>, String> {
        let fleet = self.fleet.clone();
        let mut tally = fleet.tally.borrow_mut();
        let mut known = fleet.known.borrow_mut();
        tally.responses += 1;
        tally.bytes += u64::try_from(bytes).unwrap_or(u64::MAX);
        tally.removed += u64::try_from(response.removed.len()).unwrap_or(u64::MAX);
        if !response.removed.is_empty() {
            tally.fault(format!("{of:?}: removes {:?}", response.removed.first()));
        }
        let mut new = Vec::new();
        for resource in &response.resources {
            let index = fleet.world.index(of, &resource.name);
            let index = index.ok_or_else(|| format!("{of:?} {:?}: no such", resource.name))?;
            tally.resources[of as usize] += 1;
            match known.check(of, index, &resource.body, &resource.version) {
                Ok(generation) => {
                    let held = &mut self.held[of as usize][index as usize];
                    match *held {
                        0 => {
                            self.holds[of as usize] += 1;
                            new.push(index);
                        }
                        before if before == generation + 1 => tally.unchanged[of as usize] += 1,
                        _ => {}
                    }
                    *held = generation + 1;
                    if of == Type::Assignment && tally.is_expected(index, generation) {
                        tally.arrivals.push(now_ns());
                        fleet.counted.notify_waiters();
                    }
                }
                Err(fault) => tally.fault(format!("node {}: {fault}", self.number)),
            }
        }
        Ok(new)
    }

    /// Goes on to listeners once clusters and assignments are there, and then is complete.
    fn progress(&mut self, connection: &mut Connection) -> Result<(), String> {
        let world = self.fleet.world;
        let has = |of: Type| self.holds[of as usize] == world.count(of);
        let enough = self.asks == Asks::ClustersOnly || has(Type::Assignment);
        if self.complete || !has(Type::Cluster) || !enough {
            return Ok(());
        }
        if self.asks == Asks::Listeners && !has(Type::Listener) {
            if !self.asked_listeners {
                self.asked_listeners = true;
                connection.send(Request::delta(Type::Listener.url()).framed())?;
            }
            return Ok(());
        }
        self.complete = true;
        self.fleet.count(|tally| {
            tally.complete += 1;
            tally.completed_ns.push(now_ns());
        });
        self.fleet.counted.notify_waiters();
        Ok(())
    }

    fn held_indices(&self, of: Type) -> impl Iterator<Item = u32> {
        let held = (0_u32..).zip(self.held[of as usize].iter());
        held.filter_map(|(index, held)| (*held > 0).then_some(index))
    }

    fn naming(&self, indices: impl Iterator<Item = u32>, mut request: Request) -> Request {
        for index in indices {
            let name = World::name(self.fleet.world, Type::Assignment, index);
            request = request.subscribe(name.as_bytes());
        }
        request
    }

    fn holding(&self, of: Type, mut request: Request) -> Request {
        let known = self.fleet.known.borrow();
        for index in self.held_indices(of) {
            let generation = self.held[of as usize][index as usize] - 1;
            if let Some(version) = known.version(of, index, generation) {
                let name = self.fleet.world.name(of, index);
                request = request.holds(name.as_bytes(), version);
            }
        }
        request
    }

    /// A random part of a time (SplitMix64 of the client's own number).
    fn part_of(&mut self, whole: Duration) -> Duration {
        self.luck = self.luck.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.luck;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let thousandths = u32::try_from((z ^ (z >> 31)) % 1_000).unwrap_or(0);
        whole * thousandths / 1_000
    }
}
