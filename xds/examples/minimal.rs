//! A whole control plane: serves the Envoy resources of a file to everybody, and follows the file.
//!
//! `cargo run -p tidegate-xds --features config --example minimal -- mesh.yaml 127.0.0.1:18000`
//!
//! The file is as Envoy's own documentation writes resources: YAML or JSON with `@type`, in a list or
//! in documents. One that is wrong is refused with every mistake, its line and its remedy, and one
//! that would take much away is refused, too; clients keep what they have.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tidegate_xds::config::Reader;
use tidegate_xds::{Assign, Client, Guard, Refused, Server, Settings, Snapshot};
use tokio::net::TcpListener;
use tokio::sync::watch;

type Views = watch::Receiver<Option<Arc<Snapshot>>>;

struct SameForAll(Views);

impl Assign for SameForAll {
    fn assign(&self, client: &Client) -> Result<Views, Refused> {
        println!("{} ({:?}) connected", client.node_id, client.kind);
        Ok(self.0.clone())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments
        .next()
        .ok_or("the first argument is a file of Envoy resources")?;
    let address = arguments
        .next()
        .unwrap_or_else(|| "127.0.0.1:18000".to_owned());
    run(TcpListener::bind(address).await?, file.into()).await
}

/// Serves the file until the process ends.
pub(crate) async fn run(listener: TcpListener, file: PathBuf) -> Result<(), Box<dyn Error>> {
    let (guard, views) = Guard::new(None);
    let server = Server::new(SameForAll(views), Settings::default());
    tokio::spawn(async move {
        let mut last = String::new();
        loop {
            match tokio::fs::read_to_string(&file).await {
                Ok(text) if text != last => {
                    match view(&text).and_then(|view| Ok(guard.publish(view, &[])?)) {
                        Ok(()) => println!("published"),
                        Err(refused) => eprintln!("kept as it was: {refused}"),
                    }
                    last = text;
                }
                Ok(_) => {}
                Err(cause) => eprintln!("{}: {cause}", file.display()),
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    });
    Ok(server.serve(listener, std::future::pending()).await?)
}

fn view(text: &str) -> Result<Arc<Snapshot>, Box<dyn Error>> {
    let resources = Reader::new().read("mesh", text).map_err(|wrong| {
        wrong
            .iter()
            .map(|it| format!("\n  {it}"))
            .collect::<String>()
    })?;
    let mut builder = Snapshot::builder();
    for resource in resources {
        builder.insert(resource);
    }
    Ok(Arc::new(builder.build()?))
}
