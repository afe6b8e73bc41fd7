//! The intake under test, and a floor: a server that reads the same bytes and drops them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tidegate_xds::report::{Asked, IntakeCounters, LoadIntake, MetricsIntake, Report};
use tidegate_xds::{incoming, transport};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

use crate::bench::servers::commands;

/// Reports between the intake and whoever evaluates them.
const QUEUE: usize = 1_024;

/// As much as hyper's servers take.
const WINDOW: u32 = 1024 * 1024;

/// Between two load reports that the server asks for.
const INTERVAL: Duration = Duration::from_secs(1);

/// Takes reports about what is asked for in until the standard input ends. `count` is answered by `counted`, the reports
/// that came out, those that were dropped, faults, and the upstreams in all reports.
///
/// # Errors
/// If the address can't be listened at.
pub fn run(listen: SocketAddr, asked: Asked) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async move {
        let listener = TcpListener::bind(listen).await?;
        println!("listening {}", listener.local_addr()?);
        let (queue, mut reports) = mpsc::channel::<Report>(QUEUE);
        let counters = Arc::new(IntakeCounters::default());
        let upstreams = Arc::new(AtomicU64::new(0));
        let asked = watch::Sender::new(asked);
        let metrics = MetricsIntake::new(queue.clone(), counters.clone());
        let load = LoadIntake::new(queue, counters.clone(), INTERVAL);
        let router = transport()
            .add_service(metrics.asked(asked.subscribe()).into_server())
            .add_service(load.asked(asked.subscribe()).into_server());
        let serving = tokio::spawn(router.serve_with_incoming(incoming(listener)));
        let seen = upstreams.clone();
        tokio::spawn(async move {
            while let Some(report) = reports.recv().await {
                let size = u64::try_from(report.upstreams.len()).unwrap_or(u64::MAX);
                seen.fetch_add(size, Ordering::Relaxed);
            }
        });
        let mut commands = commands();
        while let Some((command, _)) = commands.recv().await {
            if command != "count" {
                return Err(io::Error::other(format!("{command}: no such command")));
            }
            let (reports, dropped) = (counters.reports(), counters.dropped());
            let (faults, upstreams) = (counters.faults(), upstreams.load(Ordering::Relaxed));
            println!("counted {reports} {dropped} {faults} {upstreams}");
        }
        serving.abort();
        Ok(())
    })
}

/// Reads and drops until the standard input ends. Its `counted` has messages of no meaning: zeros.
///
/// # Errors
/// If the address can't be listened at.
pub fn floor(listen: SocketAddr) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async move {
        let listener = TcpListener::bind(listen).await?;
        println!("listening {}", listener.local_addr()?);
        let accepting = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(async move {
                    // Clients come and go.
                    let _ = swallow(socket).await;
                });
            }
        });
        let mut commands = commands();
        while commands.recv().await.is_some() {
            println!("counted 0 0 0 0");
        }
        accepting.abort();
        Ok(())
    })
}

async fn swallow(socket: TcpStream) -> Result<(), h2::Error> {
    let _ = socket.set_nodelay(true);
    let mut connection = h2::server::Builder::new()
        .initial_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .handshake::<_, Bytes>(socket)
        .await?;
    while let Some(accepted) = connection.accept().await {
        let (request, mut respond) = accepted?;
        tokio::spawn(async move {
            let mut body = request.into_body();
            // The answer of a client stream comes at its end.
            let mut open = respond.send_response(http::Response::new(()), false);
            while let (Ok(_), Some(Ok(data))) = (&mut open, body.data().await) {
                let _ = body.flow_control().release_capacity(data.len());
            }
        });
    }
    Ok(())
}
