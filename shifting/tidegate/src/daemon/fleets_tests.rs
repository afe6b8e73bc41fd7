use std::time::Instant;

use tidegate_engine::mesh::SourceFile;
use tidegate_engine::rollout::{Delivery, Event, Observation, Phase, Terms, Turn};
use tidegate_engine::units::Ppm;
use tidegate_xds::report::{Report, ServerGauges, Source};
use tidegate_xds::server::Client;
use tidegate_xds::stream::Variant;

use super::*;

const MESH: &str = "
kind: fleet
name: web
listener: {address: 127.0.0.1, port: 0}
---
kind: service
name: checkout
fleets: [web]
initial: v1
slo: {success: 99%}
traffic: {timeout: 15s}
versions:
  v1: {hosts: [{address: \"127.0.0.1:1\"}]}
  v2: {hosts: [{address: \"127.0.0.1:2\"}]}
";

fn status(id: &str, kind: ClientKind, connected: bool) -> ClientStatus {
    ClientStatus {
        client: Client {
            identity: None,
            node_id: id.to_owned(),
            cluster: "web".to_owned(),
            zone: "a".to_owned(),
            region: String::new(),
            sub_zone: String::new(),
            kind,
            version: String::new(),
            client_features: Vec::new(),
        },
        variant: Variant::Delta,
        connected,
        since: Instant::now(),
        streams: 1,
        connections: 1,
        wanted: None,
        acknowledged: None,
        behind_since: None,
        applied: None,
        rejections: Vec::new(),
        sent: BTreeMap::new(),
        subscribed: Vec::new(),
        takes_ttl: true,
        gates_forced: 0,
        suspect: None,
        last_suspicion: None,
    }
}

/// A configuration rollout, with what its daemon knows.
struct World {
    state: State,
    now: Time,
    fleets: Fleets,
    tables: CrossTables,
    health: Health,
    clients: Vec<ClientStatus>,
    needed: BTreeSet<String>,
}

impl World {
    fn new(clients: Vec<ClientStatus>) -> Self {
        let mut world = Self {
            state: State::default(),
            now: Time(0),
            fleets: Fleets::default(),
            tables: CrossTables::default(),
            health: Health::default(),
            needed: clients.iter().map(|it| it.client.node_id.clone()).collect(),
            clients,
        };
        for timeout in ["15s", "10s"] {
            let text = MESH.replace("15s", timeout);
            let path = "mesh.yaml".to_owned();
            let mesh = tidegate_engine::mesh::read(&[SourceFile { path, text }]).unwrap();
            world.apply(Event::MeshDeclared { mesh });
        }
        let fleet = "web".to_owned();
        world.apply(Event::Configure { fleet });
        world
    }

    fn apply(&mut self, event: Event) {
        self.state = self.state.apply(&event, self.now).unwrap().0;
        self.tables.attend(&self.state);
        let clusters = self.fleets.attend(&self.state);
        let known = ["checkout/v1", "checkout/v2"].map(str::to_owned);
        assert!(clusters.is_subset(&BTreeSet::from(known)));
    }

    fn observe(&mut self) -> (Evidence, FleetObservation) {
        let clients: Vec<&ClientStatus> = self.clients.iter().collect();
        let look = Look {
            run: self.state.latest("fleet:web").unwrap(),
            state: &self.state,
            clients: &clients,
            needed: &self.needed,
            health: &self.health,
            now: self.now,
        };
        self.fleets.observe(look, &mut self.tables)
    }

    fn reports(&mut self, id: &str, uptime_s: u64, responses: [u64; 4]) {
        let report = Report {
            node_id: id.to_owned(),
            cluster: "web".to_owned(),
            source: Source::Metrics,
            received_at: Instant::now(),
            upstreams: BTreeMap::new(),
            versions: BTreeMap::new(),
            server: ServerGauges {
                memory_bytes: Some(1_000),
                uptime_s: Some(uptime_s),
            },
            faults: 0,
        };
        self.health.record(&report, self.now);
        let counts = tidegate_engine::evidence::UpstreamCounts {
            requests: responses.iter().sum(),
            completed: responses.iter().sum(),
            responses,
            active: Some(0),
            ..Default::default()
        };
        let report = SidecarReport {
            sidecar: id.to_owned(),
            at: self.now,
            upstreams: BTreeMap::from([("checkout/v1".to_owned(), counts)]),
            ..SidecarReport::default()
        };
        self.fleets.record(&report);
        self.tables.record(&report);
    }

    /// Until one sidecar has the new revision; answers which.
    fn first(&mut self) -> String {
        for _ in 0..10 {
            self.now = self.now.plus_ms(1_000);
            let (_, fleet) = self.observe();
            let run = self.state.latest("fleet:web").unwrap();
            if run.phase() == Phase::Judging {
                break;
            }
            let everyone = u32::try_from(self.clients.len()).unwrap();
            let observation = Observation {
                service: "fleet:web".to_owned(),
                epoch: run.epoch(),
                delivery: Delivery {
                    expected: everyone,
                    acknowledged: everyone,
                    ..Delivery::default()
                },
                evidence: Evidence {
                    stable_fresh: Ppm::WHOLE,
                    ..Evidence::default()
                },
                fleet: Some(Box::new(fleet)),
                witness: None,
                parts: std::collections::BTreeMap::new(),
                callers: std::collections::BTreeMap::new(),
            };
            self.apply(Event::Observed(observation));
        }
        let exposed = self.state.latest("fleet:web").unwrap().exposed_sidecars();
        assert_eq!(exposed.named.len(), 1);
        exposed.named[0].clone()
    }
}

#[test]
fn who_reports_goes_before_who_does_not() {
    let mut world = World::new(vec![
        status("grpc", ClientKind::Grpc, true),
        status("mute", ClientKind::Envoy, true),
        status("gone", ClientKind::Envoy, false),
        status("s1", ClientKind::Envoy, true),
    ]);
    world.reports("s1", 10, [1, 0, 0, 0]);
    let (_, fleet) = world.observe();
    assert_eq!(fleet.next.len(), 3, "who is not connected is not next");
    assert_eq!(fleet.next[0], "s1");
    assert_eq!(
        (fleet.health.stable.sidecars, fleet.health.stable.gone),
        (4, 1)
    );
}

#[test]
fn each_arms_requests_and_restarts_are_its_own() {
    let envoys = ["s1", "s2", "s3"].map(|id| status(id, ClientKind::Envoy, true));
    let mut world = World::new(envoys.to_vec());
    for id in ["s1", "s2", "s3"] {
        world.reports(id, 100, [1, 0, 0, 0]);
    }
    let canary = world.first();
    // A baseline, then what counts.
    for uptime_s in [200, 201] {
        for id in ["s1", "s2", "s3"] {
            let bad = u64::from(id == canary) * 5;
            world.reports(id, uptime_s, [10 - bad, 0, 0, bad]);
        }
        world.observe();
        world.now = world.now.plus_ms(1_000);
    }
    for id in ["s1", "s2", "s3"] {
        let (uptime_s, bad) = if id == canary { (1, 5) } else { (202, 0) };
        world.reports(id, uptime_s, [10 - bad, 0, 0, bad]);
    }
    let (evidence, fleet) = world.observe();
    assert_eq!((evidence.canary.requests, evidence.canary.bad), (10, 5));
    assert_eq!((evidence.stable.requests, evidence.stable.bad), (20, 0));
    let health = fleet.health;
    assert_eq!((health.canary.sidecars, health.canary.restarts), (1, 1));
    assert_eq!((health.stable.sidecars, health.stable.restarts), (2, 0));
    assert_eq!(
        (health.stable.measured, health.stable.memory_bytes),
        (2, 2_000)
    );
    let (_, again) = world.observe();
    assert_eq!(again.health.canary.restarts, 0, "it counts once");
}

#[test]
fn requests_to_a_rollout_beside_it_are_counted_by_revision_and_version() {
    let envoys = ["s1", "s2", "s3"].map(|id| status(id, ClientKind::Envoy, true));
    let mut world = World::new(envoys.to_vec());
    for id in ["s1", "s2", "s3"] {
        world.reports(id, 100, [1, 0, 0, 0]);
    }
    let canary = world.first();
    assert!(world.observe().1.crossed.is_empty(), "nothing overlaps");
    world.apply(Event::Start {
        service: "checkout".to_owned(),
        to: "v2".to_owned(),
        actor: "ann".to_owned(),
        turn: Turn::Next,
        terms: Terms {
            overlap: true,
            ..Terms::default()
        },
    });
    // The watch begins, then a baseline, then what counts.
    let mut crossed = BTreeMap::new();
    for _ in 0..3 {
        for id in ["s1", "s2", "s3"] {
            let counts = |requests: u64, bad: u64| tidegate_engine::evidence::UpstreamCounts {
                requests,
                completed: requests,
                responses: [requests - bad, 0, 0, bad],
                active: Some(0),
                ..Default::default()
            };
            let bad = if id == canary { 2 } else { 1 };
            world.tables.record(&SidecarReport {
                sidecar: id.to_owned(),
                at: world.now,
                upstreams: BTreeMap::from([
                    ("checkout/v1".to_owned(), counts(10, 0)),
                    ("checkout/v2".to_owned(), counts(4, bad)),
                ]),
                ..SidecarReport::default()
            });
        }
        crossed = world.observe().1.crossed;
        world.now = world.now.plus_ms(1_000);
    }
    let cells = crossed["checkout"];
    let counted = [cells.neither, cells.version, cells.revision, cells.both];
    let counted = counted.map(|cell| (cell.requests, cell.bad));
    assert_eq!(counted, [(20, 0), (8, 2), (10, 0), (4, 2)]);
}
