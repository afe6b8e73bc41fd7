//! The requests of one stream.
//!
//! Leaner than the usual decoder: one that waits holds no buffer, as requests are small and come
//! whole; and of a larger one (an Envoy's first is 61 KB) nothing stays behind. Memory follows what
//! has arrived, never what a length promises; and what comes in pieces is looked through as it comes,
//! so that no more arrives of it than is within the limits.

use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes};
use http_body::Body as _;
use tonic::body::Body;
use tonic::{Code, Status};

use super::scan::{Excess, Fields, Scan};
use super::unfinished::Share;
use crate::limits::{LARGE_REQUEST_BYTES, REQUEST_BYTES_MAX};

/// gRPC's prefix: a flag for compression, and the length.
const PREFIX_BYTES: usize = 5;

/// Decodes the requests of one stream.
pub(super) struct Inbound<Q> {
    body: Body,
    /// What arrived last and wasn't looked at yet.
    rest: Bytes,
    /// The beginning of a message whose end didn't arrive yet, prefix included.
    begun: Vec<u8>,
    /// Until when its end has to arrive.
    due: Option<Instant>,
    /// How long after its beginning that is.
    timeout: Duration,
    /// What it takes of the room for all streams' requests.
    share: Share,
    /// What was seen of it.
    scan: Option<Box<Scan>>,
    ended: bool,
    of: PhantomData<fn() -> Q>,
}

/// A request that arrived.
#[derive(Debug)]
pub(super) enum Arrived<Q> {
    /// As usual.
    Decoded(Q),
    /// One that takes long to decode.
    Large(Large),
}

/// A large request that wasn't read yet.
#[derive(Debug)]
pub(super) struct Large {
    bytes: Bytes,
    /// Until it is read.
    _share: Share,
}

/// Why a stream's requests end.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum Broken {
    /// The bytes are no requests, or the connection broke.
    #[error("{}", .0.message())]
    Unreadable(Status),
    /// A request is beyond the limits.
    #[error(transparent)]
    Excess(#[from] Excess),
    /// The end of a request doesn't come.
    #[error(
        "a request didn't arrive whole within {} s of its first byte; send less, or begin again",
        .0.as_secs_f64()
    )]
    Unfinished(Duration),
}

// === impl Inbound ===

impl<Q: Fields> Inbound<Q> {
    /// `timeout`: how long a request may take from its first byte to its last.
    pub(super) fn new(body: Body, share: Share, timeout: Duration) -> Self {
        Self {
            body,
            rest: Bytes::new(),
            begun: Vec::new(),
            due: None,
            timeout,
            share,
            scan: None,
            ended: false,
            of: PhantomData,
        }
    }

    /// Until when the end of a request that began has to arrive. Nobody is woken then: that is up to
    /// who polls.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// The next request; `None` once the client closed its side or is gone.
    pub(super) fn poll_message(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<Arrived<Q>>, Broken>> {
        loop {
            if let Some(message) = self.take_message()? {
                return Poll::Ready(Ok(Some(message)));
            }
            if self.ended {
                return Poll::Ready(Ok(None));
            }
            let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) else {
                let late = self.due.is_some_and(|due| due <= Instant::now());
                return match late {
                    true => Poll::Ready(Err(Broken::Unfinished(self.timeout))),
                    false => Poll::Pending,
                };
            };
            match frame {
                // Trailers of a request mean nothing.
                Some(Ok(frame)) => self.rest = frame.into_data().unwrap_or_default(),
                // The client, or its connection, is gone: an end like any other.
                Some(Err(status)) if status.code() == Code::Cancelled => self.ended = true,
                Some(Err(status)) => return Poll::Ready(Err(status.into())),
                None if self.begun.is_empty() => self.ended = true,
                None => {
                    let text = "the request ends in the middle of a message";
                    return Poll::Ready(Err(Status::internal(text).into()));
                }
            }
        }
    }

    /// A message of what has arrived, if all of it has.
    fn take_message(&mut self) -> Result<Option<Arrived<Q>>, Broken> {
        if self.begun.is_empty() {
            // The usual case: it is decoded where it lies.
            let length = length(&self.rest)?;
            if let Some(length) = length.filter(|it| self.rest.len() >= PREFIX_BYTES + it) {
                self.rest.advance(PREFIX_BYTES);
                let message = self.rest.split_to(length);
                return arrived(message, self.share.take()).map(Some);
            }
        }
        loop {
            let wanted = length(&self.begun)?.map_or(PREFIX_BYTES, |length| PREFIX_BYTES + length);
            if self.begun.len() == wanted {
                let mut message = Bytes::from(std::mem::take(&mut self.begun));
                self.scan = None;
                self.due = None;
                message.advance(PREFIX_BYTES);
                return arrived(message, self.share.take()).map(Some);
            }
            if self.rest.is_empty() {
                // Gives back the connection's buffer.
                self.rest = Bytes::new();
                return Ok(None);
            }
            if self.due.is_none() {
                self.due = Some(Instant::now() + self.timeout);
            }
            let missing = wanted - self.begun.len();
            let more = self.rest.split_to(missing.min(self.rest.len()));
            if self.begun.len() >= PREFIX_BYTES {
                let scan = self.scan.get_or_insert_with(|| Box::new(Scan::new()));
                scan.look::<Q>(&more)?;
            }
            self.make_room(more.len(), wanted)?;
            self.begun.extend_from_slice(&more);
        }
    }

    /// Makes room for more of a message that will be as long as `wanted`.
    fn make_room(&mut self, more: usize, wanted: usize) -> Result<(), Broken> {
        let needed = self.begun.len() + more;
        if needed > self.begun.capacity() {
            let capacity = (self.begun.capacity() * 2).max(needed).min(wanted);
            self.share.grow(capacity).map_err(Excess::from)?;
            self.begun.reserve_exact(capacity - self.begun.len());
        }
        Ok(())
    }
}

// === impl Large ===

impl Large {
    /// The request. Afterwards another one has the room that it took.
    pub(super) fn decode<Q: Fields>(self) -> Result<Q, Status> {
        decode(self.bytes)
    }
}

impl From<Status> for Broken {
    fn from(status: Status) -> Self {
        Self::Unreadable(status)
    }
}

impl From<Broken> for Status {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Unreadable(status) => status,
            Broken::Excess(excess) => excess.into(),
            Broken::Unfinished(_) => Self::deadline_exceeded(broken.to_string()),
        }
    }
}

/// The length of the message that begins here, if so much has arrived.
fn length(bytes: &[u8]) -> Result<Option<usize>, Status> {
    let Some(&[flag, a, b, c, d]) = bytes.first_chunk() else {
        return Ok(None);
    };
    match flag {
        0 => {}
        1 => {
            let text = "the message is compressed, and no `grpc-encoding` was declared";
            return Err(Status::internal(text));
        }
        _ => {
            let text = format!("the message's compression flag is {flag}; only 0 and 1 exist");
            return Err(Status::internal(text));
        }
    }
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    if length > REQUEST_BYTES_MAX {
        return Err(Status::out_of_range(format!(
            "the request has {length} bytes; the limit is {REQUEST_BYTES_MAX}"
        )));
    }
    Ok(Some(length))
}

fn arrived<Q: Fields>(bytes: Bytes, share: Share) -> Result<Arrived<Q>, Broken> {
    if bytes.len() >= LARGE_REQUEST_BYTES {
        return Ok(Arrived::Large(Large {
            bytes,
            _share: share,
        }));
    }
    Ok(Arrived::Decoded(decode(bytes)?))
}

/// The message in these bytes.
fn decode<Q: Fields>(bytes: Bytes) -> Result<Q, Status> {
    Q::decode(bytes)
        .map_err(|error| Status::internal(format!("the request can't be decoded: {error}")))
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Arc;
    use std::task::Waker;

    use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
    use http_body::Frame;
    use proptest::prelude::*;
    use prost::Message as _;

    use super::super::unfinished::Unfinished;
    use super::*;
    use crate::limits::{REQUEST_TIMEOUT, UNFINISHED_BYTES_MAX};

    /// A body of given pieces.
    struct Pieces(VecDeque<Result<Bytes, Status>>);

    impl http_body::Body for Pieces {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            Poll::Ready(self.0.pop_front().map(|piece| piece.map(Frame::data)))
        }
    }

    /// A body whose pieces come as they are sent.
    struct Coming(tokio::sync::mpsc::UnboundedReceiver<Bytes>);

    impl http_body::Body for Coming {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            let piece = self.0.poll_recv(context);
            piece.map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
        }
    }

    fn inbound(
        pieces: impl IntoIterator<Item = Result<Bytes, Status>>,
    ) -> Inbound<DeltaDiscoveryRequest> {
        inbound_within(&Unfinished::new(UNFINISHED_BYTES_MAX), pieces)
    }

    fn inbound_within(
        unfinished: &Arc<Unfinished>,
        pieces: impl IntoIterator<Item = Result<Bytes, Status>>,
    ) -> Inbound<DeltaDiscoveryRequest> {
        let body = Body::new(Pieces(pieces.into_iter().collect()));
        Inbound::new(body, unfinished.share(), REQUEST_TIMEOUT)
    }

    fn arrives(
        inbound: &mut Inbound<DeltaDiscoveryRequest>,
    ) -> Result<Option<Arrived<DeltaDiscoveryRequest>>, Broken> {
        match inbound.poll_message(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(next) => next,
            Poll::Pending => unreachable!("the pieces are there"),
        }
    }

    fn next(
        inbound: &mut Inbound<DeltaDiscoveryRequest>,
    ) -> Result<Option<DeltaDiscoveryRequest>, Status> {
        let next = arrives(inbound).map_err(Status::from)?;
        Ok(next.map(|arrived| match arrived {
            Arrived::Decoded(request) => request,
            Arrived::Large(_) => unreachable!("a small one"),
        }))
    }

    fn request(names: usize) -> DeltaDiscoveryRequest {
        DeltaDiscoveryRequest {
            resource_names_subscribe: (0..names).map(|name| format!("name-{name}")).collect(),
            ..DeltaDiscoveryRequest::default()
        }
    }

    fn framed(request: &DeltaDiscoveryRequest) -> Vec<u8> {
        let length = u32::try_from(request.encoded_len()).unwrap();
        [
            &[0],
            length.to_be_bytes().as_slice(),
            &request.encode_to_vec(),
        ]
        .concat()
    }

    proptest! {
        #[test]
        fn messages_are_the_same_however_their_bytes_are_cut(
            names in proptest::collection::vec(0..40_usize, 1..8),
            cuts in proptest::collection::vec(0..60_usize, 1..80),
        ) {
            let requests: Vec<_> = names.into_iter().map(request).collect();
            let mut bytes = Bytes::from(requests.iter().flat_map(framed).collect::<Vec<_>>());
            let mut pieces = Vec::new();
            for cut in cuts {
                pieces.push(Ok(bytes.split_to(cut.min(bytes.len()))));
            }
            pieces.push(Ok(bytes));
            let mut inbound = inbound(pieces);
            for request in requests {
                prop_assert_eq!(next(&mut inbound).unwrap(), Some(request));
                prop_assert_eq!(inbound.begun.capacity(), 0, "no buffer stays");
            }
            prop_assert_eq!(next(&mut inbound).unwrap(), None);
        }
    }

    #[test]
    fn bad_prefixes_and_bytes_are_refused_by_name() {
        let too_long = u32::try_from(REQUEST_BYTES_MAX + 1).unwrap().to_be_bytes();
        let too_long = [&[0], too_long.as_slice()].concat();
        for (bytes, code, words) in [
            (vec![1, 0, 0, 0, 0], Code::Internal, "compressed"),
            (vec![7, 0, 0, 0, 0], Code::Internal, "flag is 7"),
            (too_long, Code::OutOfRange, "limit"),
            (vec![0, 0, 0, 0, 1, 0xff], Code::Internal, "decoded"),
            (vec![0, 0, 0, 0, 9, 1], Code::Internal, "in the middle"),
            (vec![0, 0], Code::Internal, "in the middle"),
        ] {
            let whole = next(&mut inbound([Ok(Bytes::from(bytes.clone()))])).unwrap_err();
            let single = bytes.iter().map(|byte| Ok(Bytes::from(vec![*byte])));
            let single = next(&mut inbound(single)).unwrap_err();
            assert_eq!(
                (whole.code(), whole.message()),
                (single.code(), single.message())
            );
            assert_eq!(whole.code(), code);
            assert!(whole.message().contains(words), "{whole:?}");
        }
    }

    #[test]
    fn a_large_request_is_not_decoded_here() {
        let large = request(LARGE_REQUEST_BYTES / 10);
        let frames = [framed(&large), framed(&request(3))].concat();
        let frames = Bytes::from(frames);
        let pieces = (0..frames.len()).step_by(16 * 1024).map(|at| {
            let end = (at + 16 * 1024).min(frames.len());
            Ok(frames.slice(at..end))
        });
        for mut inbound in [inbound(pieces), inbound([Ok(frames.clone())])] {
            let Some(Arrived::Large(arrived)) = arrives(&mut inbound).unwrap() else {
                panic!("decoded");
            };
            assert_eq!(arrived.decode::<DeltaDiscoveryRequest>().unwrap(), large);
            assert_eq!(inbound.begun.capacity(), 0, "no buffer stays");
            assert_eq!(next(&mut inbound).unwrap(), Some(request(3)));
        }
    }

    #[test]
    fn of_a_request_beyond_the_limits_no_more_is_taken_in() {
        let long = DeltaDiscoveryRequest {
            resource_names_subscribe: vec!["x".repeat(10 << 20)],
            ..DeltaDiscoveryRequest::default()
        };
        let frames = framed(&long);
        let mut pieces = frames.chunks(16 * 1024).map(Bytes::copy_from_slice).map(Ok);
        let endless = [pieces.next().unwrap()];
        let mut inbound = inbound(endless);
        assert!(matches!(
            arrives(&mut inbound),
            Err(Broken::Excess(Excess::Violation(_)))
        ));
    }

    #[test]
    fn what_is_kept_of_requests_is_counted_until_they_are_read() {
        let large = framed(&request(LARGE_REQUEST_BYTES / 10));
        let half = Bytes::copy_from_slice(&large[..large.len() / 2 + LARGE_REQUEST_BYTES / 2]);
        let unfinished = Unfinished::new(6 * LARGE_REQUEST_BYTES);
        let whole = large.chunks(10_000).map(Bytes::copy_from_slice).map(Ok);
        let mut whole = inbound_within(&unfinished, whole);
        let mut first = inbound_within(&unfinished, [Ok(half.clone())]);
        let mut second = inbound_within(&unfinished, [Ok(half)]);
        let mut small = framed(&request(2));
        let rest = small.split_off(9);
        let small = [small, rest].map(|bytes| Ok(Bytes::from(bytes)));
        let mut small = inbound_within(&unfinished, small);
        let Some(Arrived::Large(waiting)) = arrives(&mut whole).unwrap() else {
            panic!("decoded");
        };
        assert!((large.len()..large.len() + 16).contains(&unfinished.bytes()));
        // The body ends, but the stream isn't gone yet.
        let first = (arrives(&mut first), first);
        assert!(matches!(first.0, Err(Broken::Unreadable(_))));
        let refused = arrives(&mut second).unwrap_err();
        assert!(
            matches!(&refused, Broken::Excess(Excess::NoRoom(_))),
            "{refused:?}"
        );
        assert_eq!(Status::from(refused).code(), Code::ResourceExhausted);
        assert_eq!(next(&mut small).unwrap(), Some(request(2)), "others go on");
        drop((first, second));
        waiting.decode::<DeltaDiscoveryRequest>().unwrap();
        assert_eq!(unfinished.bytes(), 0);
    }

    #[test]
    fn only_a_request_that_began_is_due() {
        let frames = framed(&request(3));
        let (sender, pieces) = tokio::sync::mpsc::unbounded_channel();
        let timeout = Duration::from_millis(1);
        let share = Unfinished::new(UNFINISHED_BYTES_MAX).share();
        let mut inbound =
            Inbound::<DeltaDiscoveryRequest>::new(Body::new(Coming(pieces)), share, timeout);
        let mut context = Context::from_waker(Waker::noop());
        assert!(inbound.poll_message(&mut context).is_pending());
        assert_eq!(inbound.due(), None, "nothing began");
        // It is whole when it is looked at, however late that is.
        let (head, rest) = frames.split_at(2);
        for part in [head, rest] {
            sender.send(Bytes::copy_from_slice(part)).unwrap();
        }
        assert!(matches!(
            inbound.poll_message(&mut context),
            Poll::Ready(Ok(Some(Arrived::Decoded(_))))
        ));
        assert_eq!(inbound.due(), None, "nothing else began");
        let before = Instant::now();
        sender.send(Bytes::copy_from_slice(head)).unwrap();
        let late = loop {
            if let Poll::Ready(ended) = inbound.poll_message(&mut context) {
                break ended;
            }
            assert!(inbound.due().is_some_and(|due| due >= before + timeout));
            std::thread::yield_now();
        };
        assert!(Instant::now() >= before + timeout);
        let status = Status::from(late.unwrap_err());
        assert_eq!(status.code(), Code::DeadlineExceeded);
        assert!(status.message().contains("within 0.001 s"), "{status:?}");
    }

    #[test]
    fn a_client_that_is_gone_is_an_end_and_a_broken_connection_an_error() {
        let cancelled = Err(Status::cancelled("reset"));
        assert_eq!(next(&mut inbound([cancelled])).unwrap(), None);
        let broken = Err(Status::unknown("h2 protocol error"));
        assert_eq!(
            next(&mut inbound([broken])).unwrap_err().code(),
            Code::Unknown
        );
    }
}
