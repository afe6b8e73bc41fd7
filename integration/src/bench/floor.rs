//! The floor: what a broadcast of the same bytes costs with the bare `h2` crate. It knows nothing:
//! a stream's first request is answered with all clusters, its second with all assignments, every
//! change goes to everybody, and what else comes is read and dropped.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Instant;

use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3::ControlPlane;
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryResponse, Resource};
use envoy_types::pb::google::protobuf::Any;
use prost::Message as _;
use tidegate_xds::Version;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::data::{self, Type, World};
use super::fleet::now_ns;
use super::servers::commands;
use super::wire;

/// As much as hyper's servers take, so that clients send as they do to them.
const WINDOW: u32 = 1024 * 1024;

/// The bytes that everybody gets, in their frames.
#[derive(Clone)]
struct Broadcast {
    clusters: Bytes,
    assignments: Bytes,
    push: watch::Receiver<Bytes>,
}

/// Where one gRPC message of a request body ends and the next begins.
#[derive(Default)]
struct Messages {
    head: Vec<u8>,
    rest: usize,
}

/// Broadcasts until the standard input ends; takes the same commands as the other servers.
///
/// # Errors
/// If the file is none, or the address can't be listened at.
pub fn run(listen: SocketAddr, file: &Path) -> io::Result<()> {
    let resources = data::read(file)?;
    let (pushes, push) = watch::channel(Bytes::new());
    let broadcast = Broadcast {
        clusters: framed(Type::Cluster, &resources, 1),
        assignments: framed(Type::Assignment, &resources, 2),
        push,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async move {
        let listener = TcpListener::bind(listen).await?;
        println!("listening {}", listener.local_addr()?);
        let accepting = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let broadcast = broadcast.clone();
                tokio::spawn(async move {
                    // Clients come and go.
                    let _ = serve(socket, broadcast).await;
                });
            }
        });
        let mut commands = commands();
        let mut nonce = 2;
        while let Some((command, argument)) = commands.recv().await {
            match command.as_str() {
                "change" => {
                    let started = (now_ns(), Instant::now());
                    nonce += 1;
                    let changed = [(Type::Assignment, argument)];
                    pushes.send_replace(framed(Type::Assignment, &changed, nonce));
                    println!("changed {} {}", started.0, started.1.elapsed().as_nanos());
                }
                "gc" => println!("collected"),
                _ => return Err(io::Error::other(format!("{command}: no such command"))),
            }
        }
        accepting.abort();
        Ok(())
    })
}

async fn serve(socket: TcpStream, mut broadcast: Broadcast) -> Result<(), h2::Error> {
    let _ = socket.set_nodelay(true);
    let mut connection = h2::server::Builder::new()
        .initial_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .handshake::<_, Bytes>(socket)
        .await?;
    let Some(first) = connection.accept().await else {
        return Ok(());
    };
    let (request, mut respond) = first?;
    let mut requests = request.into_body();
    let mut head = http::Response::new(());
    let grpc = http::HeaderValue::from_static("application/grpc");
    head.headers_mut().insert(http::header::CONTENT_TYPE, grpc);
    let mut responses = respond.send_response(head, false)?;
    let mut messages = Messages::default();
    let mut count = 0;
    loop {
        // Accepting is also what moves the connection's bytes.
        tokio::select! {
            accepted = connection.accept() => match accepted {
                Some(another) => drop(another?),
                None => return Ok(()),
            },
            data = requests.data() => {
                let Some(data) = data else { return Ok(()) };
                let data = data?;
                requests.flow_control().release_capacity(data.len())?;
                for _ in 0..messages.ended_in(&data) {
                    count += 1;
                    match count {
                        1 => responses.send_data(broadcast.clusters.clone(), false)?,
                        2 => responses.send_data(broadcast.assignments.clone(), false)?,
                        _ => {}
                    }
                }
            },
            Ok(()) = broadcast.push.changed() => {
                let push = broadcast.push.borrow_and_update().clone();
                responses.send_data(push, false)?;
            },
        }
    }
}

// === impl Messages ===

impl Messages {
    /// How many messages are complete with these bytes.
    fn ended_in(&mut self, mut data: &[u8]) -> usize {
        let mut ended = 0;
        while !data.is_empty() {
            if self.rest == 0 {
                let (head, after) = data.split_at(data.len().min(5 - self.head.len()));
                self.head.extend_from_slice(head);
                data = after;
                if let [_, a, b, c, d] = self.head[..] {
                    self.rest = u32::from_be_bytes([a, b, c, d]) as usize;
                    self.head.clear();
                }
            } else {
                let part = data.len().min(self.rest);
                data = &data[part..];
                self.rest -= part;
                ended += usize::from(self.rest == 0);
            }
        }
        ended
    }
}

/// The response that `tidegate-xds` would send, field by field, so that both send equal sizes.
fn framed(of: Type, resources: &[(Type, Bytes)], nonce: u32) -> Bytes {
    let clusters = resources.iter().filter(|(of, _)| *of == Type::Cluster);
    let world = World {
        clusters: u32::try_from(clusters.count()).unwrap(),
    };
    let of_type = resources.iter().filter(|(other, _)| *other == of);
    let resource = |(index, (_, body)): (u32, &(Type, Bytes))| Resource {
        name: match resources {
            [_] => {
                ClusterLoadAssignment::decode(&body[..])
                    .unwrap()
                    .cluster_name
            }
            _ => world.name(of, index),
        },
        version: Version::of(body).to_string(),
        resource: Some(Any {
            type_url: of.url().to_owned(),
            value: body.to_vec(),
        }),
        ..Default::default()
    };
    let message = DeltaDiscoveryResponse {
        system_version_info: Version::of(&nonce.to_be_bytes()).to_string(),
        resources: (0_u32..).zip(of_type).map(resource).collect(),
        type_url: of.url().to_owned(),
        nonce: nonce.to_string(),
        control_plane: Some(ControlPlane {
            identifier: "tidegate".to_owned(),
        }),
        ..Default::default()
    };
    wire::framed(&message.encode_to_vec())
}
