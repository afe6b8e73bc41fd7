//! The world: one event at a time, in the order of simulated time.

mod fate;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::client::{Client, Kind};
use super::desired::Desired;
use super::invariants;
use super::network::{Link, Up};
use super::random::Random;
use super::server::{LinkId, Server};
use super::trace::Trace;

/// From when nothing disturbs any more, until everybody must have the view: a dead connection is
/// found (15 s), a silent client is suspected (10 s) and cured (16 s, then 8 s each), gates wait
/// (15 s each).
const CALM: Duration = Duration::from_secs(180);

const HEARTBEAT: Duration = Duration::from_secs(2);

/// How much there is of everything.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    pub(super) seed: u64,
    pub(super) clients: usize,
}

/// Everything there is.
#[derive(Debug)]
pub(super) struct World {
    pub(super) trace: Trace,
    seed: u64,
    random: Random,
    now: Instant,
    start: Instant,
    desired: Desired,
    server: Server,
    links: BTreeMap<LinkId, Link>,
    last_link: LinkId,
    clients: Vec<Client>,
    /// When something happens next that nobody asked for.
    fate: Option<Instant>,
    /// When the embedder renews next, if it lives.
    heartbeat: Option<Instant>,
    /// When a dead server comes back, and when it has its view.
    restart: Option<Instant>,
    load: Option<Instant>,
    pub(super) steps: u64,
}

/// What didn't hold, and for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) client: Option<usize>,
    pub(super) text: String,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Up(LinkId),
    Down(LinkId),
    ServerLearns(LinkId),
    ClientLearns(LinkId),
    Session(LinkId),
    Client(usize),
    Restart,
    Load,
    Heartbeat,
    Fate,
}

// === impl World ===

impl World {
    pub(super) fn new(scale: Scale, trace: Trace) -> Self {
        let (seed, now) = (scale.seed, Instant::now());
        let clients = (0..scale.clients).map(|number| Client::new(seed, number, now));
        Self {
            trace,
            seed,
            random: Random::of(seed, 2),
            now,
            start: now,
            desired: Desired::new(seed),
            server: Server::new(),
            links: BTreeMap::new(),
            last_link: 0,
            clients: clients.collect(),
            fate: Some(now),
            heartbeat: Some(now),
            restart: None,
            load: Some(now + Duration::from_millis(700)),
            steps: 0,
        }
    }

    /// The whole story. An error names the invariant that didn't hold.
    pub(super) fn run(&mut self) -> Result<(), Failure> {
        let storm = self.random.millis(20_000, 120_000);
        self.until(self.now + storm)?;
        self.fate = None;
        self.heartbeat.get_or_insert(self.now);
        self.desired.mend();
        let bad = self
            .random
            .once_in(3)
            .then(|| self.desired.spoil_for_good());
        self.desired.raise();
        self.trace
            .note(self.start, self.now, || format!("calm; {bad:?} is bad"));
        self.publish();
        self.until(self.now + CALM)?;
        self.converged(bad)?;
        if bad.is_none() && self.random.once_in(2) {
            self.traffic_leaves_what_is_bad()?;
        }
        self.heartbeat = None;
        self.trace
            .note(self.start, self.now, || "nobody renews any more".to_owned());
        self.until(self.now + Duration::from_secs(12))?;
        for client in &self.clients {
            let stream = client.link.and_then(|link| self.server.streams.get(&link));
            if let Some(stream) = stream {
                let checked = invariants::expired(client, stream, self.now);
                checked.map_err(|error| self.of(client.number, &error))?;
            }
        }
        Ok(())
    }

    /// Everybody honest has what it should have, but for one cluster that nobody takes.
    fn converged(&self, bad: Option<&str>) -> Result<(), Failure> {
        let view = self.desired.view();
        for client in &self.clients {
            let stream = client.link.and_then(|link| self.server.streams.get(&link));
            let checked = match (&client.kind, stream) {
                (Kind::Liar(_), _) => Ok(()),
                (_, None) => Err("L4: not connected".to_owned()),
                (_, Some(stream)) => invariants::converged(client, stream, &view, bad)
                    .and_then(|()| invariants::truth(client, stream, true)),
            };
            checked.map_err(|error| self.of(client.number, &error))?;
        }
        Ok(())
    }

    /// A bad cluster gets half of the traffic, and it stays when its traffic goes elsewhere: nobody
    /// may wait for it.
    fn traffic_leaves_what_is_bad(&mut self) -> Result<(), Failure> {
        let [good, bad] = self.desired.spoil_half_of_the_traffic();
        self.trace.note(self.start, self.now, || {
            format!("the traffic goes to {good} and {bad}, which is bad")
        });
        self.publish();
        self.flush_all()?;
        let meanwhile = self.random.millis(0, 40_000);
        self.until(self.now + meanwhile)?;
        self.desired.lead_to(good);
        self.trace
            .note(self.start, self.now, || format!("it goes to {good} alone"));
        self.publish();
        self.flush_all()?;
        self.until(self.now + CALM)?;
        self.converged(Some(bad))
    }

    fn of(&self, client: usize, error: &str) -> Failure {
        let number = client;
        let client = &self.clients[client];
        let kind = match &client.kind {
            Kind::Envoy(_) => "envoy".to_owned(),
            Kind::Grpc(_) => "grpc".to_owned(),
            Kind::Liar(liar) => format!("liar {:?}", liar.habit),
        };
        Failure {
            client: Some(number),
            text: format!("{kind} {number} ({:?}): {error}", client.variant()),
        }
    }

    /// Lets everything happen that happens until then.
    fn until(&mut self, end: Instant) -> Result<(), Failure> {
        while let Some((at, event)) = self.next().filter(|(at, _)| *at <= end) {
            self.now = self.now.max(at);
            self.steps += 1;
            self.happen(event)?;
        }
        self.now = end;
        Ok(())
    }

    fn next(&self) -> Option<(Instant, Event)> {
        let mut next: Option<(Instant, Event)> = None;
        let mut offer = |at: Option<Instant>, event| {
            if let Some(at) = at {
                next = Some(next.map_or((at, event), |other| other.min((at, event))));
            }
        };
        for (id, link) in &self.links {
            offer(link.next_up(), Event::Up(*id));
            offer(link.next_down(), Event::Down(*id));
            offer(link.server_learns, Event::ServerLearns(*id));
            offer(link.client_learns, Event::ClientLearns(*id));
        }
        if let Some((at, link)) = self.server.next_timeout() {
            offer(Some(at), Event::Session(link));
        }
        for client in &self.clients {
            offer(client.next_timeout(), Event::Client(client.number));
        }
        offer(self.restart, Event::Restart);
        offer(self.load, Event::Load);
        offer(self.heartbeat, Event::Heartbeat);
        offer(self.fate, Event::Fate);
        next
    }

    fn happen(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Up(id) => self.up(id),
            Event::Down(id) => self.down(id),
            Event::ServerLearns(id) => {
                self.server.close(id);
                self.links.remove(&id);
                Ok(())
            }
            Event::ClientLearns(id) => {
                if let Some(link) = self.links.remove(&id) {
                    self.lost(link.client, id);
                }
                Ok(())
            }
            Event::Session(id) => {
                let client = self.links.get(&id).map(|link| link.client);
                let woken = self.server.handle_timeout(id, self.now);
                woken.map_err(|text| Failure { client, text })?;
                self.flush(id)
            }
            Event::Client(number) => self.client(number),
            Event::Restart => {
                self.restart = None;
                self.server.up = true;
                self.load = Some(self.now + self.random.millis(0, 3_000));
                self.trace
                    .note(self.start, self.now, || "the server is back".to_owned());
                Ok(())
            }
            Event::Load => {
                self.load = None;
                self.publish();
                self.flush_all()
            }
            Event::Heartbeat => {
                self.heartbeat = Some(self.now + HEARTBEAT);
                self.server.heartbeat(self.now);
                self.flush_all()
            }
            Event::Fate => self.fate(),
        }
    }

    fn publish(&mut self) {
        // A server that isn't there, or has not loaded yet, is told later.
        if self.server.up && self.load.is_none() {
            let view = self.desired.view();
            self.server.publish(&view, self.now);
        }
    }

    fn flush_all(&mut self) -> Result<(), Failure> {
        let links: Vec<LinkId> = self.server.streams.keys().copied().collect();
        links.into_iter().try_for_each(|id| self.flush(id))
    }

    fn flush(&mut self, id: LinkId) -> Result<(), Failure> {
        let client = self.links.get(&id).map(|link| link.client);
        let responses = self.server.flush(id, self.now);
        let responses = match (responses, client) {
            (Ok(responses), _) => responses,
            (Err(error), Some(client)) => return Err(self.of(client, &error)),
            (Err(error), None) => {
                return Err(Failure {
                    client: None,
                    text: error,
                });
            }
        };
        for response in responses {
            let Some(link) = self.links.get_mut(&id) else {
                continue;
            };
            let client = link.client;
            self.trace
                .response(self.start, self.now, client, id, &response);
            link.send_down(response, self.now);
        }
        Ok(())
    }

    fn up(&mut self, id: LinkId) -> Result<(), Failure> {
        let Some(link) = self.links.get_mut(&id) else {
            return Ok(());
        };
        let client = link.client;
        match link.take_up() {
            Some(Up::Request(request)) => {
                self.trace
                    .request(self.start, self.now, client, id, &request);
                let honest = !matches!(self.clients[client].kind, Kind::Liar(_));
                match self.server.request(id, *request, self.now) {
                    Ok(_) => {}
                    Err(error) if honest || error.starts_with('X') => {
                        return Err(self.of(client, &error));
                    }
                    Err(_) => self.end(id),
                }
                self.flush(id)
            }
            Some(Up::Close) => {
                self.end(id);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// The server ends a stream.
    fn end(&mut self, id: LinkId) {
        self.server.close(id);
        let delay = self.random.millis(0, 5);
        if let Some(link) = self.links.get_mut(&id) {
            link.client_learns = Some(self.now + delay);
        }
    }

    fn down(&mut self, id: LinkId) -> Result<(), Failure> {
        let Some(link) = self.links.get_mut(&id) else {
            return Ok(());
        };
        let (number, response) = (link.client, link.take_down());
        let Some(response) = response else {
            return Ok(());
        };
        let client = &mut self.clients[number];
        let ups = client.receive(&response, &self.desired, self.now);
        self.say(number, ups);
        self.check(number)
    }

    /// What must hold for a client after anything that it did.
    fn check(&mut self, number: usize) -> Result<(), Failure> {
        let client = &mut self.clients[number];
        let stream = client.link.and_then(|link| self.server.streams.get(&link));
        let mut checked = invariants::traffic(client, stream, self.now);
        let honest = !matches!(client.kind, Kind::Liar(_));
        if let (Ok(()), Some(stream), true) = (&checked, stream, honest) {
            checked = invariants::truth(client, stream, false);
        }
        checked.map_err(|error| self.of(number, &error))
    }

    fn say(&mut self, number: usize, ups: Vec<Up>) {
        let link = self.clients[number]
            .link
            .and_then(|id| self.links.get_mut(&id));
        if let Some(link) = link {
            ups.into_iter().for_each(|up| link.send_up(up, self.now));
        }
    }

    fn client(&mut self, number: usize) -> Result<(), Failure> {
        let client = &mut self.clients[number];
        let ups = if client.reconnect.is_some_and(|at| at <= self.now) {
            if !self.server.up {
                client.reconnect = Some(self.now + client.backoff());
                return Ok(());
            }
            self.last_link += 1;
            let id = self.last_link;
            let random = Random::of(self.seed, 1_000_000 + id);
            self.links.insert(id, Link::new(number, random));
            self.server.accept(id, number, client.variant());
            client.link = Some(id);
            self.trace
                .of(self.start, self.now, number, || format!("connects, {id}"));
            client.connect(self.now)
        } else {
            client.handle_timeout(self.now)
        };
        self.say(number, ups);
        self.check(number)
    }
}
