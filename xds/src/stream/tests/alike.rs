//! Sessions that say and do everything at once where they can, beside sessions that do the same
//! name by name: nobody sees a difference.

use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::bulk::{NAMES, proving, view};
use super::*;
use crate::delivery::ResourceStatus;
use crate::stream::Variant::Delta;
use crate::stream::bulk::without_bulk;
use crate::stream::{Response, SessionSettings};

#[derive(Debug, Clone)]
enum Step {
    View(Vec<u8>),
    /// The same clusters with other endpoints.
    Assignments(Vec<u8>),
    Wildcard,
    Subscribe(TypeUrl, Vec<&'static str>),
    Unsubscribe(TypeUrl, Vec<&'static str>),
    Poll,
    Ack(usize),
    Nack(usize),
    /// Comes back; whether claims are told, whether the view is there before the requests, and
    /// what the view is by then. If that is another, it asks for the endpoints of all.
    Reconnect(bool, bool, Option<Vec<u8>>),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let names = || proptest::sample::subsequence(NAMES.to_vec(), 1..=4);
    let contents = || {
        let content = prop_oneof![1 => Just(0_u8), 5 => Just(1), 1 => Just(2)];
        proptest::collection::vec(content, 4)
    };
    let type_url = || prop_oneof![1 => Just(CDS), 3 => Just(EDS)];
    prop_oneof![
        2 => contents().prop_map(Step::View),
        4 => proptest::collection::vec(1_u8..4, 4).prop_map(Step::Assignments),
        2 => Just(Step::Wildcard),
        3 => (type_url(), names()).prop_map(|(of, names)| Step::Subscribe(of, names)),
        1 => (type_url(), names()).prop_map(|(of, names)| Step::Unsubscribe(of, names)),
        5 => Just(Step::Poll),
        6 => (0_usize..2).prop_map(Step::Ack),
        1 => (0_usize..2).prop_map(Step::Nack),
        3 => (any::<bool>(), any::<bool>(), proptest::option::of(contents()))
            .prop_map(|(claims, first, view)| Step::Reconnect(claims, first, view)),
        1 => (1_u64..40).prop_map(Step::Pass),
    ]
}

/// What a client sees of its sessions, one after another, with a server that begins with these.
struct Run {
    settings: SessionSettings,
    clusters: Vec<u8>,
    assignments: Vec<u8>,
    view: Arc<Snapshot>,
    peer: Peer,
    open: Vec<Response>,
    log: Vec<String>,
    /// What each entry is; not said while a step is under way, which tells nothing apart.
    held: Vec<String>,
    wholes: usize,
    steps: usize,
}

impl Run {
    fn new(at: Instant) -> Self {
        let view = view(&NAMES.map(|name| (name, 1)));
        let settings = proving(&view);
        let mut run = Self {
            peer: Peer::with_settings(Delta, settings.clone()),
            settings,
            clusters: vec![1; 4],
            assignments: vec![1; 4],
            view,
            open: Vec::new(),
            log: Vec::new(),
            held: Vec::new(),
            wholes: 0,
            steps: 0,
        };
        run.peer.now = at;
        run.peer.view(&run.view);
        run
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::View(contents) => {
                self.clusters.clone_from(contents);
                self.assignments.clone_from(contents);
                self.change();
                self.peer.view(&self.view);
            }
            Step::Assignments(contents) => {
                self.assignments.clone_from(contents);
                self.change();
                self.peer.view(&self.view);
            }
            Step::Wildcard => self.peer.subscribe(CDS, &[]),
            Step::Subscribe(of, names) => self.peer.subscribe(of.clone(), names),
            Step::Unsubscribe(of, names) => self.peer.unsubscribe(of.clone(), names),
            Step::Poll => {}
            Step::Ack(which) if *which < self.open.len() => {
                let response = self.open.remove(*which);
                let outcome = self.peer.answer(&response, None);
                self.log.push(format!("{outcome:?}"));
            }
            Step::Nack(which) if *which < self.open.len() => {
                let response = self.open.remove(*which);
                let outcome = self.peer.answer(&response, Some("no"));
                self.log.push(format!("{outcome:?}"));
            }
            Step::Ack(_) | Step::Nack(_) => {}
            Step::Reconnect(claims, view_first, contents) => {
                self.reconnect(*claims, *view_first, contents.as_deref());
            }
            Step::Pass(seconds) => self.peer.pass(Duration::from_secs(*seconds)),
        }
        if matches!(step, Step::Poll | Step::Pass(_)) {
            while let Some(response) = self.peer.poll() {
                let version = &response.version;
                self.log.push(format!("{} {version}", brief(&response)));
                self.open.push(response);
            }
        }
        let types = self.peer.session.types.values();
        self.wholes += types
            .filter_map(|state| state.in_flight.as_ref())
            .filter(|in_flight| in_flight.whole.is_some())
            .count();
        self.tell();
    }

    fn change(&mut self) {
        let contents = self.clusters.iter().zip(&self.assignments);
        let there = NAMES.iter().zip(contents).filter(|(_, (it, _))| **it > 0);
        self.view = snapshot(there.flat_map(|(name, (of_cluster, of_assignment))| {
            [
                cluster(name, i64::from(*of_cluster)),
                assignment(name, u32::from(*of_assignment)),
            ]
        }));
    }

    fn reconnect(&mut self, claims: bool, view_first: bool, contents: Option<&[u8]>) {
        let statuses = self.peer.session.resource_statuses();
        let held = |type_url: &TypeUrl| -> Vec<(String, String)> {
            let of_type = statuses.iter().filter(|(it, _)| it.type_url() == type_url);
            let taken = of_type.filter(|(_, it)| *it == ResourceStatus::Acknowledged);
            taken
                .map(|(it, _)| (it.name().to_string(), it.version_text().to_string()))
                .collect()
        };
        let held = [CDS, EDS].map(|type_url| (held(&type_url), type_url));
        if let Some(contents) = contents {
            self.clusters = contents.to_vec();
            self.assignments = contents.to_vec();
            self.change();
        }
        let now = self.peer.now;
        self.peer = Peer::with_settings(Delta, self.settings.clone());
        self.peer.now = now;
        self.open.clear();
        if view_first {
            self.peer.view(&self.view);
        }
        for (held, type_url) in held.iter().filter(|_| claims) {
            let held: Vec<(&str, &str)> = held.iter().map(|(n, v)| (&**n, &**v)).collect();
            let names: Vec<&str> = held.iter().map(|(name, _)| *name).collect();
            let names = match contents {
                _ if *type_url == CDS => &[],
                Some(_) => &NAMES[..],
                None => &*names,
            };
            self.peer.resume(type_url.clone(), names, &held);
        }
        self.peer.view(&self.view);
    }

    /// Everything that can be asked.
    fn tell(&mut self) {
        let session = &self.peer.session;
        for (resource, status) in session.resource_statuses() {
            self.log.push(format!("{} {status:?}", resource.name()));
        }
        let delivery = session.delivery();
        self.log.push(format!(
            "{:?} {:?} {:?} {:?} {:?}",
            delivery.acknowledged,
            delivery.behind_since,
            delivery.sent,
            delivery.rejections,
            session.next_timeout(),
        ));
        self.steps += usize::from(session.in_step().is_some());
        let whole = session.in_step().is_none();
        let types = session.types.iter().filter(|_| whole);
        let held = types.flat_map(|(type_url, state)| {
            let names: std::collections::BTreeSet<_> = state.held.names().collect();
            names.into_iter().map(move |name| {
                let held = state.held.get(name).unwrap().into_owned();
                let stamp = |it: &Arc<Resource>| it.stamp();
                let contents: Vec<_> = held.contents().map(stamp).collect();
                let (acked, pending) = (held.acked.is_some(), held.pending.is_some());
                format!(
                    "{type_url} {name} {contents:?} {acked} {pending} {}",
                    held.unsure
                )
            })
        });
        self.held = held.collect();
        let proven = NAMES
            .iter()
            .flat_map(|name| [cluster(name, 1), cluster(name, 2)]);
        let proven: Vec<bool> = proven
            .map(|it| self.settings.proven.contains(&it))
            .collect();
        self.log.push(format!("{proven:?}"));
    }
}

/// A client that has everything.
fn start() -> Vec<Step> {
    let answers = [Step::Poll, Step::Ack(0), Step::Poll];
    let clusters = [&[Step::Wildcard][..], &answers].concat();
    let endpoints = Step::Subscribe(EDS, NAMES.to_vec());
    [&clusters[..], &[endpoints], &answers].concat()
}

/// How many steps there were, if nobody saw a difference.
fn compare(steps: &[Step]) -> Result<usize, TestCaseError> {
    let at = Instant::now();
    let (mut bulk, mut each) = (Run::new(at), without_bulk(|| Run::new(at)));
    for step in steps {
        bulk.take(step);
        without_bulk(|| each.take(step));
        prop_assert_eq!((each.wholes, each.steps), (0, 0));
        prop_assert_eq!(&bulk.log, &each.log, "{:?}", step);
        if bulk.peer.session.in_step().is_none() {
            prop_assert_eq!(&bulk.held, &each.held, "{:?}", step);
        }
        bulk.log.clear();
        each.log.clear();
    }
    Ok(bulk.steps)
}

#[test]
fn other_endpoints_are_a_step_for_a_client_that_has_everything() {
    let change = |contents: [u8; 4]| Step::Assignments(contents.to_vec());
    let push = [change([1, 2, 1, 3]), Step::Poll, Step::Ack(0), Step::Poll];
    let again = [
        change([1, 1, 1, 1]),
        Step::Poll,
        Step::Pass(2),
        Step::Ack(0),
    ];
    let steps = [start(), push.to_vec(), again.to_vec()].concat();
    assert_eq!(compare(&steps).unwrap(), 5);
}

#[test]
fn a_view_that_is_the_same_again_is_no_news_after_a_step() {
    let change = || Step::Assignments(vec![3, 2, 1, 1]);
    let steps = [change(), Step::Poll, Step::Ack(0), change(), Step::Poll];
    compare(&[start(), steps.to_vec()].concat()).unwrap();
}

#[test]
fn the_view_before_a_step_is_not_acknowledged_when_it_comes_back() {
    let change = |contents: [u8; 4]| Step::Assignments(contents.to_vec());
    let there = [change([1, 1, 1, 2]), Step::Poll, Step::Ack(0)];
    let back = [change([1, 1, 1, 1]), Step::Poll, Step::Ack(0), Step::Poll];
    compare(&[start(), there.to_vec(), back.to_vec()].concat()).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1024, ..ProptestConfig::default() })]

    #[test]
    fn nobody_sees_whether_it_was_all_at_once(steps in proptest::collection::vec(step(), 0..40)) {
        compare(&steps)?;
    }

    #[test]
    fn nobody_sees_whether_it_was_a_step(steps in proptest::collection::vec(step(), 0..30)) {
        compare(&[start(), steps].concat())?;
    }
}
