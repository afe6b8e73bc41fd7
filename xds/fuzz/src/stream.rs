//! Requests of strangers into the state machine of a stream, and the invariants after each.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use envoy_types::pb::google::rpc::Status;
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use prost::Message as _;
use tidegate_xds::limits::{CURE_AFTER, CURE_AGAIN_AFTER};
use tidegate_xds::stream::{Outcome, Request, Response, Session, SessionSettings, Variant};
use tidegate_xds::{Name, TypeUrl, Version};

use crate::world::{CONTENTS, NAMES, version, view};

const TYPES: [TypeUrl; 6] = [
    TypeUrl::CLUSTER,
    TypeUrl::CLUSTER_LOAD_ASSIGNMENT,
    TypeUrl::LISTENER,
    TypeUrl::ROUTE_CONFIGURATION,
    TypeUrl::RUNTIME,
    TypeUrl::SECRET,
];

/// More responses to one input than a bounded exchange can have.
const RESPONSES_MAX: usize = 1_000;

/// What the other end of the stream remembers.
struct Client {
    session: Session,
    variant: Variant,
    now: Instant,
    has_view: bool,
    last_nonce: u64,
    /// Responses that weren't answered, by type: what is in flight.
    open: BTreeMap<TypeUrl, (u64, Instant)>,
    /// The last response of each type.
    last: BTreeMap<TypeUrl, Response>,
    /// What was refused alone.
    refused: BTreeSet<(TypeUrl, Name, Version)>,
}

/// Drives one stream by whatever the input says.
pub fn stream(input: &[u8]) {
    let mut input = Unstructured::new(input);
    // The input's end is the stream's end.
    let _ = drive(&mut input);
}

fn drive(input: &mut Unstructured<'_>) -> Result<()> {
    let variant = *input.choose(&[Variant::Delta, Variant::Sotw])?;
    let settings = SessionSettings {
        one_doubt_per_response: input.ratio(3_u8, 4_u8)?,
        ..SessionSettings::default()
    };
    let mut session = Session::new(variant, settings);
    if input.ratio(1_u8, 8_u8)? {
        session = session.only(input.choose(&TYPES)?.clone());
    }
    let mut client = Client {
        session,
        variant,
        now: Instant::now(),
        has_view: false,
        last_nonce: 0,
        open: BTreeMap::new(),
        last: BTreeMap::new(),
        refused: BTreeSet::new(),
    };
    while !input.is_empty() {
        match input.int_in_range(0..=11_u8)? {
            0 => {
                let view = view(input)?;
                client.session.set_view(view, client.now);
                client.has_view = true;
            }
            1 => client.pass(Duration::from_millis(input.int_in_range(0..=20_000)?)),
            2 => client.session.heartbeat(client.now),
            3 => {
                let Some(request) = raw(variant, input)? else {
                    continue;
                };
                // No telling what it means: it may answer anything.
                client.open.clear();
                if client.session.handle_request(request, client.now).is_err() {
                    return Ok(());
                }
            }
            _ => {
                let (type_url, request) = client.request(input)?;
                if !client.send(&type_url, request) {
                    return Ok(());
                }
            }
        }
        client.receive();
        client.look();
    }
    Ok(())
}

/// A request of any bytes; `None` if they aren't one.
fn raw(variant: Variant, input: &mut Unstructured<'_>) -> Result<Option<Request>> {
    let length = input.int_in_range(0..=255)?;
    let bytes = input.bytes(usize::min(length, input.len()))?;
    Ok(match variant {
        Variant::Delta => DeltaDiscoveryRequest::decode(bytes).ok().map(Request::from),
        Variant::Sotw => DiscoveryRequest::decode(bytes).ok().map(Request::from),
    })
}

fn names(input: &mut Unstructured<'_>) -> Result<Vec<String>> {
    let count = input.int_in_range(0..=3)?;
    (0..count)
        .map(|_| Ok((*input.choose(&NAMES)?).to_owned()))
        .collect()
}

// === impl Client ===

impl Client {
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..RESPONSES_MAX {
            let Some(at) = self.session.next_timeout().filter(|at| *at <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(at);
            self.session.handle_timeout(self.now);
            self.receive();
        }
        panic!("an endless row of timeouts");
    }

    /// A request that leads somewhere: of a known type, with names and nonces that exist.
    fn request(&self, input: &mut Unstructured<'_>) -> Result<(TypeUrl, Request)> {
        let type_url = match input.int_in_range(0..=7_u8)? {
            7 => TypeUrl::new(input.choose(&["", "type.googleapis.com/nobody.Knows"])?),
            index => TYPES[usize::from(index) % TYPES.len()].clone(),
        };
        let last = self.last.get(&type_url).map(|response| response.nonce);
        let nonce = match (input.int_in_range(0..=7_u8)?, last) {
            (0..=4, Some(nonce)) => nonce.to_string(),
            (5, _) => input.int_in_range(0..=self.last_nonce + 1)?.to_string(),
            (6, _) => "foreign".to_owned(),
            _ => String::new(),
        };
        let refuses = !nonce.is_empty() && input.ratio(1_u8, 3_u8)?;
        let error_detail = refuses.then(|| Status {
            code: 13,
            message: "no".to_owned(),
            ..Status::default()
        });
        let node = Some(Node {
            id: "sidecar".to_owned(),
            user_agent_name: (*input.choose(&["envoy", "gRPC"])?).to_owned(),
            ..Node::default()
        });
        let url = type_url.as_str().to_owned();
        let request = match self.variant {
            Variant::Delta => DeltaDiscoveryRequest {
                node,
                type_url: url,
                resource_names_subscribe: names(input)?,
                resource_names_unsubscribe: names(input)?,
                initial_resource_versions: self.claims(&type_url, input)?,
                response_nonce: nonce,
                error_detail,
                ..DeltaDiscoveryRequest::default()
            }
            .into(),
            Variant::Sotw => DiscoveryRequest {
                node,
                type_url: url,
                resource_names: names(input)?,
                version_info: match input.int_in_range(0..=2_u8)? {
                    0 => String::new(),
                    1 => "other".to_owned(),
                    _ => {
                        let last = self.last.get(&type_url);
                        last.map_or_else(String::new, |last| last.version.to_string())
                    }
                },
                response_nonce: nonce,
                error_detail,
                ..DiscoveryRequest::default()
            }
            .into(),
        };
        Ok((type_url, request))
    }

    fn claims<C: FromIterator<(String, String)>>(
        &self,
        type_url: &TypeUrl,
        input: &mut Unstructured<'_>,
    ) -> Result<C> {
        let names = names(input)?;
        let claim = |name: String| {
            let version = match input.int_in_range(0..=CONTENTS)? {
                CONTENTS => "foreign".to_owned(),
                content => version(type_url, &name, content),
            };
            Ok((name, version))
        };
        names.into_iter().map(claim).collect()
    }

    /// `false` if the stream must end.
    fn send(&mut self, type_url: &TypeUrl, request: Request) -> bool {
        let (nonce, url_is_empty) = match &request {
            Request::Delta(request) => {
                (request.response_nonce.clone(), request.type_url.is_empty())
            }
            Request::Sotw(request) => (request.response_nonce.clone(), request.type_url.is_empty()),
        };
        let Ok(outcome) = self.session.handle_request(request, self.now) else {
            return false;
        };
        if url_is_empty {
            // On a stream of one type: it means that type.
            self.open.clear();
            return true;
        }
        let answered = |open: &(u64, Instant)| open.0.to_string() == nonce;
        let was_open = self.open.get(type_url).is_some_and(answered);
        if was_open {
            assert_ne!(outcome, Outcome::Stale, "an answer to what is in flight");
            self.open.remove(type_url);
        }
        if outcome == Outcome::Rejected && was_open {
            self.note_refusal(type_url);
        }
        true
    }

    fn note_refusal(&mut self, type_url: &TypeUrl) {
        let Some(response) = self.last.get(type_url) else {
            return;
        };
        let whole = self.variant == Variant::Sotw
            && (*type_url == TypeUrl::CLUSTER || *type_url == TypeUrl::LISTENER);
        if let ([item], []) = (&*response.items, &*response.removed)
            && !item.renewal
            && !whole
            && item.resource.ttl().is_none()
        {
            let (name, version) = (item.resource.name().clone(), item.resource.version());
            self.refused.insert((type_url.clone(), name, version));
        }
    }

    fn receive(&mut self) {
        for _ in 0..RESPONSES_MAX {
            let Some(response) = self.session.poll_response(self.now) else {
                return;
            };
            self.check(&response);
            self.open
                .insert(response.type_url.clone(), (response.nonce, self.now));
            self.last.insert(response.type_url.clone(), response);
        }
        panic!("an endless row of responses without a request");
    }

    fn check(&mut self, response: &Response) {
        assert!(self.has_view, "S12: an answer before there is a view");
        assert_eq!(response.variant, self.variant);
        assert!(response.nonce > self.last_nonce, "C5: a nonce again");
        self.last_nonce = response.nonce;
        if let Some((_, sent_at)) = self.open.get(&response.type_url) {
            let given_up = *sent_at + CURE_AFTER.min(CURE_AGAIN_AFTER) <= self.now;
            let cured = response.type_url == TypeUrl::CLUSTER && given_up;
            assert!(cured, "X1: two {} responses in flight", response.type_url);
        }
        let mut names: BTreeSet<&Name> = BTreeSet::new();
        for item in response.items.iter() {
            assert_eq!(*item.resource.type_url(), response.type_url, "C6");
            assert!(names.insert(item.resource.name()), "C6: a name twice");
            let (name, version) = (item.resource.name().clone(), item.resource.version());
            let key = (response.type_url.clone(), name, version);
            let again = !item.renewal && self.refused.contains(&key);
            assert!(
                !again || item.resource.ttl().is_some(),
                "X8: refused bytes again"
            );
        }
        for name in &response.removed {
            assert_eq!(self.variant, Variant::Delta);
            assert!(names.insert(name), "C6: a name twice");
        }
        if response.type_url == TypeUrl::RUNTIME {
            assert!(names.len() <= 1, "D3c: one runtime resource a response");
        }
    }

    /// What can be asked can be asked at any time.
    fn look(&self) {
        let delivery = self.session.delivery();
        assert_eq!(delivery.acknowledged.as_ref(), self.session.acknowledged());
        assert_eq!(delivery.wanted.is_some(), self.has_view);
        for (resource, status) in self.session.resource_statuses() {
            let one = self
                .session
                .resource_status(resource.type_url(), resource.name());
            assert_eq!(one, Some(status));
        }
    }
}
