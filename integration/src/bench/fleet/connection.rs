//! One HTTP/2 connection with one gRPC stream on it, and nothing in between.

use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use h2::client::ResponseFuture;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::{Fleet, Variant};
use crate::bench::wire::unframe;

/// Envoy's defaults.
const STREAM_WINDOW: u32 = 16 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 24 * 1024 * 1024;

/// An open stream. Dropping it closes the connection.
#[derive(Debug)]
pub(super) struct Connection {
    requests: h2::SendStream<Bytes>,
    responses: Responses,
    buffer: BytesMut,
    driver: JoinHandle<()>,
}

#[derive(Debug)]
enum Responses {
    /// The head comes with the first response, or before.
    Head(ResponseFuture),
    Body(RecvStream),
}

// === impl Connection ===

impl Connection {
    /// Connects and sends the head of the stream.
    pub(super) async fn open(fleet: &Fleet, variant: Variant) -> Result<Self, String> {
        let _one_of_few = fleet.connecting.acquire().await.map_err(words)?;
        Self::with_windows(fleet.server, variant, STREAM_WINDOW, CONNECTION_WINDOW).await
    }

    /// The same with other windows, for a client that never reads.
    pub(super) async fn with_windows(
        server: SocketAddr,
        variant: Variant,
        stream: u32,
        connection: u32,
    ) -> Result<Self, String> {
        let socket = TcpStream::connect(server).await.map_err(words)?;
        socket.set_nodelay(true).map_err(words)?;
        let (sender, connection) = h2::client::Builder::new()
            .initial_window_size(stream)
            .initial_connection_window_size(connection)
            .enable_push(false)
            .handshake::<_, Bytes>(socket)
            .await
            .map_err(words)?;
        let driver = tokio::task::spawn_local(async move {
            // That it broke is seen by the stream.
            let _ = connection.await;
        });
        let method = match variant {
            Variant::Delta => "DeltaAggregatedResources",
            Variant::Sotw => "StreamAggregatedResources",
        };
        let request = http::Request::post(format!(
            "http://{server}/envoy.service.discovery.v3.AggregatedDiscoveryService/{method}"
        ))
        .version(http::Version::HTTP_2)
        .header("te", "trailers")
        .header("content-type", "application/grpc")
        .body(())
        .map_err(words)?;
        let mut sender = sender.ready().await.map_err(words)?;
        let (head, requests) = sender.send_request(request, false).map_err(words)?;
        Ok(Self {
            requests,
            responses: Responses::Head(head),
            buffer: BytesMut::new(),
            driver,
        })
    }

    /// Queues a framed request.
    pub(super) fn send(&mut self, request: Bytes) -> Result<(), String> {
        self.requests.send_data(request, false).map_err(words)
    }

    /// Waits until what was sent is on its way: as much as the server takes.
    pub(super) async fn send_whole(&mut self, request: Bytes) -> Result<(), String> {
        let mut rest = request;
        while !rest.is_empty() {
            self.requests.reserve_capacity(rest.len().min(1 << 20));
            let capacity = std::future::poll_fn(|context| self.requests.poll_capacity(context));
            let Some(capacity) = capacity.await else {
                return Err("the server closed the stream".to_owned());
            };
            let capacity = capacity.map_err(words)?;
            let part = rest.split_to(capacity.min(rest.len()));
            self.requests.send_data(part, false).map_err(words)?;
        }
        Ok(())
    }

    /// The next response's message, whole.
    pub(super) async fn next(&mut self) -> Result<Bytes, String> {
        loop {
            if let Some(message) = unframe(&mut self.buffer) {
                if self.buffer.is_empty() {
                    // Thousands of streams wait most of the time; none keeps a large buffer.
                    self.buffer = BytesMut::new();
                }
                return Ok(message);
            }
            match &mut self.responses {
                Responses::Head(head) => {
                    let response = head.await.map_err(words)?;
                    let status = response.headers().get("grpc-status");
                    if let Some(status) = status {
                        let message = response.headers().get("grpc-message");
                        return Err(format!("refused: {status:?} {message:?}"));
                    }
                    self.responses = Responses::Body(response.into_body());
                }
                Responses::Body(body) => match body.data().await {
                    Some(data) => {
                        let data = data.map_err(words)?;
                        let size = data.len();
                        self.buffer.extend_from_slice(&data);
                        body.flow_control().release_capacity(size).map_err(words)?;
                    }
                    None => {
                        let trailers = body.trailers().await.map_err(words)?;
                        let told = |name| {
                            let found = trailers.as_ref()?.get(name)?;
                            Some(String::from_utf8_lossy(found.as_bytes()).into_owned())
                        };
                        let (status, message) = (told("grpc-status"), told("grpc-message"));
                        return Err(format!(
                            "ended: status {} {}",
                            status.as_deref().unwrap_or("none"),
                            message.as_deref().unwrap_or("")
                        ));
                    }
                },
            }
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

fn words(cause: impl std::fmt::Display) -> String {
    cause.to_string()
}
