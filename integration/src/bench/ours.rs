//! The server under test: `tidegate-xds` as an embedder would use it, with its default settings,
//! one view for all.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use prost::Message as _;
use tidegate_xds::{
    Assign, Client, Refused, Resource, Server, Settings, Snapshot, TypeUrl, incoming, transport,
};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::data::{self, Type, World};
use super::fleet::now_ns;
use super::servers::commands;

type Views = watch::Receiver<Option<Arc<Snapshot>>>;

struct SameForAll(Views);

impl Assign for SameForAll {
    fn assign(&self, _: &Client) -> Result<Views, Refused> {
        Ok(self.0.clone())
    }
}

/// Serves a file of resources until the standard input ends; takes the same commands as the
/// peer's program.
///
/// # Errors
/// If the file is none, or the address can't be listened at.
pub fn run(listen: SocketAddr, file: &Path) -> io::Result<()> {
    let mut view = Arc::new(read(file)?);
    let (views, receiver) = watch::channel(Some(view.clone()));
    let server = Server::new(SameForAll(receiver), Settings::default());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async move {
        let listener = TcpListener::bind(listen).await?;
        println!("listening {}", listener.local_addr()?);
        let serving = transport()
            .add_routes(server.routes())
            .serve_with_incoming(incoming(listener));
        let serving = tokio::spawn(serving);
        let mut commands = commands();
        while let Some((command, argument)) = commands.recv().await {
            match command.as_str() {
                "change" => {
                    let started = (now_ns(), Instant::now());
                    view = Arc::new(replaced(&view, argument)?);
                    views.send_replace(Some(view.clone()));
                    println!("changed {} {}", started.0, started.1.elapsed().as_nanos());
                }
                // There is no garbage.
                "gc" => println!("collected"),
                _ => return Err(io::Error::other(format!("{command}: no such command"))),
            }
        }
        serving.abort();
        Ok(())
    })
}

/// A view of all that is in a file.
fn read(file: &Path) -> io::Result<Snapshot> {
    let mut counts = [0_u32; 3];
    let resources = data::read(file)?;
    let clusters = resources.iter().filter(|(of, _)| *of == Type::Cluster);
    let clusters = u32::try_from(clusters.count()).map_err(io::Error::other)?;
    let mut builder = Snapshot::builder();
    for (of, body) in resources {
        // In the file's order, which is that of the names.
        let name = World { clusters }.name(of, counts[of as usize]);
        counts[of as usize] += 1;
        builder.insert(resource(of, &name, body)?);
    }
    builder.build().map_err(io::Error::other)
}

/// The view with another assignment in the place of one.
fn replaced(view: &Snapshot, body: Bytes) -> io::Result<Snapshot> {
    let assignment = ClusterLoadAssignment::decode(&body[..]).map_err(io::Error::other)?;
    let resource = resource(Type::Assignment, &assignment.cluster_name, body)?;
    view.with([resource]).map_err(io::Error::other)
}

fn resource(of: Type, name: &str, body: Bytes) -> io::Result<Resource> {
    let type_url = match of {
        Type::Cluster => TypeUrl::CLUSTER,
        Type::Assignment => TypeUrl::CLUSTER_LOAD_ASSIGNMENT,
        Type::Listener => TypeUrl::LISTENER,
    };
    Resource::new(type_url, name, body).map_err(io::Error::other)
}
