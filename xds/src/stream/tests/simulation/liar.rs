//! Clients that don't keep to the rules. Nothing is promised to them but an end, and nobody else
//! may notice them.

use std::collections::BTreeSet;
use std::time::Instant;

use super::desired::Name;
use super::mux::Mux;
use super::network::Up;
use super::random::Random;
use crate::TypeUrl;
use crate::stream::tests::{CDS, EDS, LDS, RDS, ROUTE, RTDS};
use crate::stream::{Request, Response, Variant};

const TYPES: [TypeUrl; 5] = [CDS, EDS, LDS, RDS, RTDS];
const NAMES: [&str; 8] = ["c0", "c1", "c2", "c3", ROUTE, "shift", "nowhere", "*"];

/// How it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Habit {
    /// Asks for everything and never answers.
    Stalls,
    /// Refuses everything.
    Refuses,
    /// Names nonces that it never got, and claims to hold what it doesn't.
    Invents,
    /// Asks and closes its side.
    Closes,
    /// Subscribes and unsubscribes all the time.
    Wavers,
}

pub(super) const HABITS: [Habit; 5] = [
    Habit::Stalls,
    Habit::Refuses,
    Habit::Invents,
    Habit::Closes,
    Habit::Wavers,
];

/// A client that doesn't keep to the rules.
#[derive(Debug)]
pub(super) struct Liar {
    pub(super) mux: Mux,
    pub(super) habit: Habit,
    random: Random,
    next: Option<Instant>,
}

// === impl Liar ===

impl Liar {
    pub(super) fn new(variant: Variant, habit: Habit, number: usize, random: Random) -> Self {
        Self {
            mux: Mux::new(variant, format!("liar-{number}"), "envoy"),
            habit,
            random,
            next: None,
        }
    }

    fn names(&mut self) -> BTreeSet<Name> {
        let count = self.random.below(4);
        (0..count)
            .map(|_| Name::from(*self.random.pick(&NAMES)))
            .collect()
    }

    fn plan(&mut self, now: Instant) {
        let speaks = matches!(self.habit, Habit::Invents | Habit::Wavers | Habit::Closes);
        self.next = speaks.then(|| now + self.random.millis(10, 4_000));
    }

    pub(super) fn connect(&mut self, now: Instant) -> Vec<Up> {
        self.mux.new_stream();
        self.plan(now);
        for (type_url, names) in [
            (EDS, &["c0", "c1", "c2"][..]),
            (RDS, &[ROUTE]),
            (RTDS, &["shift"]),
        ] {
            self.mux.name(
                &type_url,
                names.iter().map(|name| Name::from(*name)).collect(),
            );
        }
        let requests: Vec<_> = TYPES
            .iter()
            .map(|type_url| self.mux.ask(type_url))
            .collect();
        self.all(requests)
    }

    fn all(&self, requests: impl IntoIterator<Item = Request>) -> Vec<Up> {
        requests
            .into_iter()
            .map(|request| Up::Request(Box::new(request)))
            .collect()
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.next.filter(|_| self.mux.connected)
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) -> Vec<Up> {
        if self.next.is_none_or(|next| next > now) {
            return Vec::new();
        }
        self.plan(now);
        match self.habit {
            Habit::Closes => vec![Up::Close],
            Habit::Wavers => {
                let type_url = self.random.pick(&TYPES[1..]).clone();
                let names = self.names();
                let request = self.mux.rename(&type_url, names, true);
                self.all(request)
            }
            _ => {
                let type_url = self.random.pick(&TYPES).clone();
                let mut request = self.mux.ask(&type_url);
                let nonce = match self.random.below(3) {
                    0 => self.random.below(50).to_string(),
                    1 => "no such nonce".to_owned(),
                    _ => String::new(),
                };
                match &mut request {
                    Request::Delta(request) => {
                        let claim = |name: Name| (name.to_string(), "0123456789abcdef".to_owned());
                        request.initial_resource_versions =
                            self.names().into_iter().map(claim).collect();
                        request.response_nonce = nonce;
                    }
                    Request::Sotw(request) => {
                        request.version_info = "0123456789abcdef".to_owned();
                        request.response_nonce = nonce;
                    }
                }
                self.all([request])
            }
        }
    }

    pub(super) fn receive(&mut self, response: &Response) -> Vec<Up> {
        let error = match self.habit {
            Habit::Stalls => return Vec::new(),
            Habit::Refuses => Some("never".to_owned()),
            _ => self.random.once_in(4).then(|| "not today".to_owned()),
        };
        self.mux.received(response, &[], error);
        if self.habit == Habit::Invents && self.random.once_in(3) {
            return Vec::new();
        }
        let requests = self.mux.answer(&response.type_url);
        self.all(requests)
    }
}
