//! Two sources: sidecars' reports judge, and a Prometheus may object.

use super::*;
use crate::mesh::{EvidenceSource, Mesh, Prometheus};

const INTERVAL_MS: u64 = 5_000;

fn witnessed(bake_ms: u64) -> Mesh {
    let mut mesh = mesh();
    let service = mesh.services.get_mut("checkout").unwrap();
    service.rollout.bake_ms = bake_ms;
    service.evidence = EvidenceSource::Witnessed(Prometheus {
        url: "http://127.0.0.1:9090".to_owned(),
        scrape_interval_ms: INTERVAL_MS,
    });
    mesh
}

/// A world that a Prometheus scrapes now and then.
struct Scraped {
    world: World,
    pending: Evidence,
    seconds: u64,
}

impl Scraped {
    fn of(mesh: Mesh) -> Self {
        let mut world = World::new(mesh);
        world.start("v2").unwrap();
        Self {
            world,
            pending: Evidence::default(),
            seconds: 0,
        }
    }

    fn started() -> Self {
        Self::of(witnessed(10_000))
    }

    /// The sidecars report what `reported` makes of a healthy second; Prometheus has the same
    /// requests once in an interval, as `seen` changes them.
    fn tick(&mut self, reported: impl Fn(&mut Observation), seen: impl Fn(&mut Evidence)) {
        let (pending, seconds) = (&mut self.pending, &mut self.seconds);
        self.world.tick(|o| {
            reported(o);
            let mut second = o.evidence.clone();
            seen(&mut second);
            pending.canary.add(&second.canary);
            pending.stable.add(&second.stable);
            *seconds += 1;
            let mut said = Evidence {
                canary_fresh: second.canary_fresh,
                stable_fresh: second.stable_fresh,
                interval_ms: INTERVAL_MS,
                trouble: second.trouble,
                ..Evidence::default()
            };
            if seconds.is_multiple_of(INTERVAL_MS / 1_000) {
                (said.canary, said.stable) = (pending.canary, pending.stable);
                *pending = Evidence::default();
            }
            o.witness = Some(Box::new(said));
        });
    }

    fn healthy(&mut self) {
        self.tick(|_| {}, |_| {});
    }

    fn until(&mut self, done: impl Fn(&World) -> bool) {
        for _ in 0..3_600 {
            if done(&self.world) {
                return;
            }
            self.healthy();
        }
        panic!("never: {:?}", self.world.status());
    }

    fn reach(&mut self, rung: &str) {
        self.until(|world| world.status().rung == rung && world.phase() == Phase::Judging);
        for _ in 0..3 {
            self.healthy();
        }
    }

    fn histories_of_holds(&self) -> Vec<String> {
        let history = self.world.status().history.into_iter();
        history
            .map(|entry| entry.text)
            .filter(|text| text.starts_with("held (sources)"))
            .collect()
    }
}

fn unreachable(seen: &mut Evidence) {
    *seen = Evidence {
        trouble: Some("Prometheus can't be reached".to_owned()),
        ..Evidence::default()
    };
}

fn half_fail(seen: &mut Evidence) {
    seen.canary.bad = seen.canary.requests / 2;
}

#[test]
fn sources_that_agree_advance_and_a_slow_one_is_no_disagreement() {
    for bake_ms in [10_000, 120_000] {
        let mut both = Scraped::of(witnessed(bake_ms));
        both.until(|world| world.phase() == Phase::Committed);
        assert_eq!(both.histories_of_holds(), Vec::<String>::new());
        assert_eq!(both.world.pages(), Vec::<String>::new());
        let status = both.world.status();
        let witness = status.witness.unwrap();
        assert_eq!(witness.objection, None);
        assert!(witness.canary.requests > status.canary.requests / 2);
        // To the bit, from the journal alone.
        let text = serde_json::to_string(&both.world.journal).unwrap();
        let journal: Vec<(Event, Time)> = serde_json::from_str(&text).unwrap();
        let mut again = State::default();
        for (event, at) in &journal {
            again = again.apply(event, *at).unwrap().0;
        }
        assert_eq!(again, both.world.state);
    }
}

#[test]
fn a_step_is_not_left_before_the_witness_has_seen_it() {
    let mut both = Scraped::of(witnessed(1_000));
    both.reach("1 host");
    let since = both.world.status().since;
    both.until(|world| world.status().rung == "5%");
    let watched_ms = both.world.now.since_ms(since);
    assert!(watched_ms > 2 * INTERVAL_MS, "{watched_ms}");
    assert!(watched_ms < 5 * INTERVAL_MS, "{watched_ms}");
}

#[test]
fn an_objection_holds_and_pages_and_never_reverts() {
    let mut both = Scraped::started();
    both.reach("1 host");
    for _ in 0..60 {
        both.tick(|_| {}, half_fail);
    }
    let waiting = both.world.waiting();
    assert_eq!(waiting.kind, "sources");
    assert!(waiting.clock_stopped && !waiting.overdue);
    assert_eq!(waiting.owner, "engine");
    assert_eq!(waiting.command, "tidegate rollout abort checkout");
    let reason = waiting.reason.to_string();
    assert!(reason.contains("Prometheus has evidence"), "{reason}");
    assert!(reason.contains("sidecars' reports 0 of "), "{reason}");
    assert!(both.world.resume().is_err(), "it is not overdue");
    for _ in 0..1_800 {
        both.tick(|_| {}, half_fail);
        assert_eq!(both.world.phase(), Phase::Judging);
        assert_eq!(both.world.status().rung, "1 host");
    }
    let witness = both.world.status().witness.unwrap();
    assert!(witness.evidence[0].e_value > witness.evidence[0].revert_at);
    assert_eq!(both.world.pages().len(), 1, "{:?}", both.world.pages());
    let waiting = both.world.waiting();
    assert!(waiting.overdue);
    assert_eq!(waiting.command, "tidegate rollout resume checkout");
    // Vouched for here, but not on the next step.
    both.world.resume().unwrap();
    for _ in 0..60 {
        both.tick(|_| {}, half_fail);
    }
    assert_eq!(both.world.status().rung, "5%");
    assert_eq!(both.world.waiting().kind, "sources");
}

#[test]
fn an_outage_of_the_witness_holds_and_what_was_missed_is_made_up_for() {
    let mut both = Scraped::started();
    both.reach("1 host");
    for _ in 0..300 {
        both.tick(|_| {}, unreachable);
        assert_eq!(both.world.status().rung, "1 host");
        assert_eq!(both.world.phase(), Phase::Judging);
    }
    let waiting = both.world.waiting();
    assert_eq!(waiting.kind, "sources");
    let reason = waiting.reason.to_string();
    assert!(reason.contains("can't be reached"), "{reason}");
    assert!(reason.contains("sidecars' reports 0 of "), "{reason}");
    // Its counters go on: the first scrape after the outage tells of all of it.
    both.pending.canary.add(&arm(300 * 16, 0));
    both.pending.stable.add(&arm(300 * 484, 0));
    both.until(|world| world.status().rung == "5%");
}

#[test]
fn an_operator_may_vouch_for_a_witness_that_is_gone() {
    let mut both = Scraped::started();
    both.reach("1 host");
    for _ in 0..1_810 {
        both.tick(|_| {}, unreachable);
    }
    assert!(both.world.waiting().overdue);
    both.world.resume().unwrap();
    for _ in 0..30 {
        both.tick(|_| {}, unreachable);
    }
    // For this step: on the next one somebody has to say so again.
    assert_eq!(both.world.status().rung, "5%");
    let waiting = both.world.waiting();
    assert_eq!(waiting.kind, "sources", "{waiting:?}");
    assert!(!waiting.overdue);
    assert!(
        waiting.reason.to_string().contains("tells too little"),
        "{waiting:?}"
    );
}

#[test]
fn nothing_begins_while_the_witness_is_not_heard() {
    let mut both = Scraped::started();
    for _ in 0..60 {
        both.tick(|_| {}, unreachable);
    }
    assert_eq!(both.world.phase(), Phase::Preparing);
    assert_eq!(both.world.waiting().kind, "sources");
    both.world.tick(|_| {}); // an observation without it
    assert_eq!(both.world.waiting().kind, "sources");
}

#[test]
fn what_sidecars_report_reverts_whatever_the_witness_says() {
    let witnesses: [fn(&mut Evidence); 2] = [|seen| seen.canary.bad = 0, unreachable];
    for seen in witnesses {
        let mut both = Scraped::started();
        both.reach("1 host");
        let mut ticks = 0;
        while both.world.phase() == Phase::Judging {
            both.tick(|o| half_fail(&mut o.evidence), seen);
            ticks += 1;
        }
        assert!(ticks <= 6, "{ticks}");
        assert_eq!(both.world.phase(), Phase::Reverting);
        assert!(both.world.reason().starts_with("errors: "));
    }
}

#[test]
fn sources_that_count_other_traffic_hold() {
    let fewer: fn(&mut Evidence) = |seen| seen.canary = arm(seen.canary.requests / 2, 0);
    let more: fn(&mut Evidence) = |seen| seen.stable = arm(seen.stable.requests * 2, 0);
    for (seen, whose) in [(fewer, "the canary"), (more, "stable")] {
        let mut both = Scraped::of(witnessed(60_000));
        both.reach("1 host");
        for _ in 0..300 {
            both.tick(|_| {}, seen);
            assert_eq!(both.world.status().rung, "1 host");
        }
        let waiting = both.world.waiting();
        assert_eq!(waiting.kind, "sources");
        let reason = waiting.reason.to_string();
        assert!(reason.contains("disagree about traffic"), "{reason}");
        assert!(reason.contains(whose), "{reason}");
    }
}

#[test]
fn a_tenth_more_or_less_is_no_disagreement() {
    let mut both = Scraped::of(witnessed(60_000));
    both.reach("1 host");
    for _ in 0..70 {
        both.tick(
            |_| {},
            |seen| seen.stable = arm(seen.stable.requests * 9 / 10, 0),
        );
    }
    assert_ne!(both.world.status().rung, "1 host");
}

#[test]
fn a_breach_by_the_witness_numbers_at_everything_holds_until_it_is_over() {
    let mut mesh = witnessed(10_000);
    mesh.services.get_mut("checkout").unwrap().rollout.soak_ms = 60_000;
    let mut both = Scraped::of(mesh);
    both.until(|world| world.phase() == Phase::Soaking);
    for _ in 0..90 {
        both.tick(|_| {}, |seen| seen.canary.bad = seen.canary.requests / 10);
        assert_eq!(both.world.phase(), Phase::Soaking);
    }
    let waiting = both.world.waiting();
    assert_eq!(waiting.kind, "sources");
    assert!(
        waiting
            .reason
            .to_string()
            .contains("breaches the objective"),
        "{}",
        waiting.reason
    );
    both.until(|world| world.phase() == Phase::Committed);
}

#[test]
fn a_restart_keeps_what_the_witness_said() {
    let mut both = Scraped::started();
    both.reach("1 host");
    for _ in 0..20 {
        both.tick(|_| {}, half_fail);
    }
    let before = both.world.status().witness.unwrap();
    let text = serde_json::to_string(&both.world.state).unwrap();
    both.world.state = serde_json::from_str(&text).unwrap();
    both.world
        .apply(Event::Recovered {
            outage_ms: Some(2_000),
        })
        .unwrap();
    assert_eq!(both.world.status().witness.unwrap(), before);
    for _ in 0..20 {
        both.healthy();
    }
    assert_eq!(both.world.status().rung, "1 host");
    assert_eq!(both.world.waiting().kind, "sources");
}

#[test]
fn one_source_is_recorded_as_before_and_hears_no_witness() {
    let mut alone = World::started();
    let mut told = World::started();
    for world in [&mut alone, &mut told] {
        world.reach("1 host");
    }
    for _ in 0..30 {
        alone.tick(|_| {});
        told.tick(|o| {
            let mut seen = o.evidence.clone();
            half_fail(&mut seen);
            o.witness = Some(Box::new(seen));
        });
    }
    assert_eq!(alone.state, told.state);
    for text in [
        serde_json::to_string(&alone.state).unwrap(),
        serde_json::to_string(&alone.journal).unwrap(),
        serde_json::to_string(&alone.status()).unwrap(),
    ] {
        assert!(!text.contains("witness"), "{text}");
    }
}
