use std::time::Instant;

use tidegate_engine::mesh::{SourceFile, read};
use tidegate_engine::rollout::{Delivery, Event, Observation, Terms, Turn};
use tidegate_xds::report::{HostSample, ServerGauges, Source, UpstreamSample};

use super::*;

struct World {
    loads: Loads,
    state: State,
    now: Time,
}

/// Ten hosts, of which these are on the new version.
fn mesh(evidence: &str, upgraded: &[u16]) -> Mesh {
    let hosts = |of: &mut dyn Iterator<Item = u16>| {
        let hosts: Vec<String> = of
            .map(|port| format!("{{address: \"127.0.0.1:{port}\"}}"))
            .collect();
        hosts.join(", ")
    };
    let text = format!(
        "kind: fleet\nname: web\nlistener: {{address: 127.0.0.1, port: 0}}\n---\n\
         kind: service\nname: checkout\nfleets: [web]\ninitial: v1\nslo: {{success: 99%}}\n\
         evidence: {{{evidence}}}\nversions:\n  v1: {{hosts: [{}]}}\n  v2: {{hosts: [{}]}}\n",
        hosts(&mut (1..=10).filter(|port| !upgraded.contains(port))),
        hosts(&mut upgraded.iter().copied()),
    );
    let path = "mesh.yaml".to_owned();
    read(&[SourceFile { path, text }]).unwrap()
}

// === impl World ===

impl World {
    /// An hour of v1 on all ten hosts, of which host 1 failed three times as often.
    fn after_an_hour(evidence: &str) -> Self {
        let mut world = Self {
            loads: Loads::default(),
            state: State::default(),
            now: Time(1_000_000),
        };
        world.accept(mesh(evidence, &[99]));
        for _ in 0..60 {
            world.report(|port| if port == 1 { 18 } else { 6 });
        }
        world
    }

    fn accept(&mut self, mesh: Mesh) {
        self.apply(&Event::MeshAccepted { mesh });
    }

    fn apply(&mut self, event: &Event) {
        self.state = self.state.apply(event, self.now).unwrap().0;
        self.loads.attend(&self.state, &BTreeSet::new());
    }

    fn report(&mut self, failed: impl Fn(u16) -> u64) {
        self.now = self.now.plus_ms(60_000);
        let hosts = (1..=10).map(|port| {
            let failed = failed(port);
            let completed = 600;
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            (address, HostSample { completed, failed })
        });
        let sample = UpstreamSample {
            hosts: hosts.collect(),
            ..UpstreamSample::default()
        };
        let report = Report {
            node_id: "web-1".to_owned(),
            cluster: "web".to_owned(),
            source: Source::Load,
            received_at: Instant::now(),
            upstreams: BTreeMap::from([("checkout/v1".to_owned(), sample)]),
            versions: BTreeMap::new(),
            server: ServerGauges::default(),
            faults: 0,
        };
        self.loads.note_hosts(&report, self.now);
        self.loads.forget_old(self.now);
    }

    fn start(&mut self) {
        self.apply(&Event::Start {
            service: "checkout".to_owned(),
            to: "v2".to_owned(),
            actor: "ann".to_owned(),
            turn: Turn::Next,
            terms: Terms::default(),
        });
    }

    fn ratio(&mut self) -> Option<u32> {
        let (state, run) = (&self.state, self.state.latest("checkout").unwrap());
        let splits = state.splits();
        let (split, mesh) = (splits.get("checkout"), state.mesh().unwrap());
        self.loads.host_ratio_ppm(run, split, mesh, self.now)
    }
}

#[test]
fn a_host_that_is_upgraded_in_place_brings_its_past_with_it() {
    for evidence in ["load_reports: true", "sidecars: true, load_reports: true"] {
        let mut world = World::after_an_hour(evidence);
        world.accept(mesh(evidence, &[1]));
        world.start();
        let ratio = world.ratio().unwrap();
        assert!((3_000_000..3_800_000).contains(&ratio), "{ratio}");
        // It stays what it was when the host became the canary.
        world.report(|_| 600);
        assert_eq!(world.ratio(), Some(ratio));
        let mut ordinary = World::after_an_hour(evidence);
        ordinary.accept(mesh(evidence, &[2]));
        ordinary.start();
        let ratio = ordinary.ratio().unwrap();
        assert!((1_000_000..1_400_000).contains(&ratio), "{ratio}");
    }
}

#[test]
fn without_a_past_on_the_old_version_nothing_is_known() {
    let mut new_host = World::after_an_hour("load_reports: true");
    new_host.start();
    assert_eq!(new_host.ratio(), None);
    let mut not_declared = World::after_an_hour("sidecars: true");
    not_declared.accept(mesh("load_reports: true", &[1]));
    not_declared.start();
    assert_eq!(not_declared.ratio(), None, "nobody counted");
    let mut judged_otherwise = World::after_an_hour("load_reports: true");
    judged_otherwise.accept(mesh("sidecars: true", &[1]));
    judged_otherwise.start();
    assert_eq!(judged_otherwise.ratio(), None);
    let mut long_ago = World::after_an_hour("load_reports: true");
    long_ago.now = long_ago.now.plus_ms(3_700_000);
    long_ago.loads.forget_old(long_ago.now);
    long_ago.accept(mesh("load_reports: true", &[1]));
    long_ago.start();
    assert_eq!(long_ago.ratio(), None);
}

#[test]
fn the_past_of_hosts_counts_on_a_rung_of_hosts_alone() {
    let mut world = World::after_an_hour("load_reports: true");
    let mut mesh = mesh("load_reports: true", &[1]);
    let service = mesh.services.get_mut("checkout").unwrap();
    service.ladder.remove(0);
    world.accept(mesh);
    world.start();
    assert_eq!(world.ratio(), None);
}

#[test]
fn what_is_known_of_the_host_is_in_the_journal_with_the_tick() {
    let mut world = World::after_an_hour("load_reports: true");
    world.accept(mesh("load_reports: true", &[1]));
    world.start();
    let host_ratio_ppm = world.ratio();
    let observed = Event::Observed(Observation {
        service: "checkout".to_owned(),
        delivery: Delivery::default(),
        evidence: Evidence {
            host_ratio_ppm,
            ..Evidence::default()
        },
        ..Observation::default()
    });
    let kept = serde_json::to_string(&observed).unwrap();
    let number = host_ratio_ppm.unwrap().to_string();
    assert!(
        kept.contains(&format!("\"host_ratio_ppm\":{number}")),
        "{kept}"
    );
    assert_eq!(serde_json::from_str::<Event>(&kept).unwrap(), observed);
}
