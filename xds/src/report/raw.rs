//! A gRPC service whose messages stay bytes: reports are read in place, by whoever wants something of them.

use std::convert::Infallible;
use std::future::Future;
use std::task::{Context, Poll};

use bytes::{Buf, BufMut, Bytes};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::{Service, StdError, http};
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Request, Response, Status, Streaming};

/// The answers of a call.
pub(super) type Answers = BoxStream<'static, Result<Bytes, Status>>;

/// One method, which takes a stream of messages as they came.
pub(super) trait Intake: Clone + Send + Sync + 'static {
    /// The service's full name.
    const SERVICE: &'static str;
    /// Its one method's.
    const METHOD: &'static str;
    /// The largest message that is read, bytes.
    const MESSAGE_BYTES_MAX: usize;

    fn take(
        self,
        inbound: Request<Streaming<Bytes>>,
    ) -> impl Future<Output = Result<Response<Answers>, Status>> + Send;
}

/// A gRPC service, to be mounted on a router. Made by the intakes.
#[derive(Debug, Clone)]
pub struct IntakeServer<I> {
    intake: I,
}

/// Leaves messages as they are.
#[derive(Debug, Clone, Copy, Default)]
struct RawCodec;

#[derive(Debug, Clone)]
struct Call<I>(I);

// === impl IntakeServer ===

impl<I> IntakeServer<I> {
    pub(super) fn new(intake: I) -> Self {
        Self { intake }
    }
}

impl<I: Intake> NamedService for IntakeServer<I> {
    const NAME: &'static str = I::SERVICE;
}

impl<I: Intake, B> Service<http::Request<B>> for IntakeServer<I>
where
    B: tonic::codegen::Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let mut path = request.uri().path().split('/').skip(1);
        let ours = path.next() == Some(I::SERVICE)
            && path.next() == Some(I::METHOD)
            && path.next().is_none();
        if !ours {
            let unknown = Status::unimplemented("the service has no such method");
            return Box::pin(std::future::ready(Ok(unknown.into_http())));
        }
        let call = Call(self.intake.clone());
        Box::pin(async move {
            let mut grpc = Grpc::new(RawCodec).max_decoding_message_size(I::MESSAGE_BYTES_MAX);
            Ok(grpc.streaming(call, request).await)
        })
    }
}

impl<I: Intake> StreamingService<Bytes> for Call<I> {
    type Response = Bytes;
    type ResponseStream = Answers;
    type Future = BoxFuture<'static, Result<Response<Answers>, Status>>;

    fn call(&mut self, inbound: Request<Streaming<Bytes>>) -> Self::Future {
        Box::pin(self.0.clone().take(inbound))
    }
}

// === impl RawCodec ===

impl Codec for RawCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self::Encoder {
        Self
    }

    fn decoder(&mut self) -> Self::Decoder {
        Self
    }
}

impl Encoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        // Shares the buffer that the frames were collected in.
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
