//! The processes of a benchmark: servers that take the same commands, and the fleet of clients.

use std::fmt;
use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::data::{Type, World};
use super::fleet;

/// A server that can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Kind {
    /// tidegate-xds.
    Tidegate,
    /// A bare broadcast over h2.
    Floor,
    /// go-control-plane, a snapshot for each node.
    GcpPerNode,
    /// go-control-plane, one snapshot for all nodes.
    GcpShared,
    /// go-control-plane, a linear cache for each type.
    GcpLinear,
}

/// A child process that is spoken to by lines; killed when dropped.
#[derive(Debug)]
struct Process {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    process: Process,
    /// Where it listens.
    pub address: SocketAddr,
}

/// A running fleet.
#[derive(Debug)]
pub struct Fleet {
    process: Process,
}

/// A change that a server made.
#[derive(Debug, Clone, Copy)]
pub struct Changed {
    /// When it began, nanoseconds since 1970.
    pub began_ns: u64,
    /// How long the server's caller was kept, nanoseconds.
    pub took_ns: u64,
}

/// The programs that servers are.
#[derive(Debug, Clone)]
pub struct Programs {
    /// This program.
    pub own: PathBuf,
    /// The peer's, if it could be built.
    pub peer: Option<PathBuf>,
}

// === impl Kind ===

impl Kind {
    /// The peer's caches.
    pub const PEERS: [Self; 3] = [Self::GcpPerNode, Self::GcpShared, Self::GcpLinear];

    /// Whether it is the peer's program.
    #[must_use]
    pub fn is_peer(self) -> bool {
        Self::PEERS.contains(&self)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tidegate => "tidegate",
            Self::Floor => "floor (bare h2)",
            Self::GcpPerNode => "go-control-plane, per node",
            Self::GcpShared => "go-control-plane, shared",
            Self::GcpLinear => "go-control-plane, linear",
        })
    }
}

// === impl Programs ===

impl Programs {
    /// Starts a server with a file of resources; at this address, or at any.
    ///
    /// # Errors
    /// If it can't be started, or ends at once.
    pub fn serve(&self, kind: Kind, file: &Path, listen: Option<SocketAddr>) -> io::Result<Server> {
        let listen = listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)));
        let mut command = match kind {
            Kind::Tidegate => self.role("serve"),
            Kind::Floor => self.role("floor"),
            Kind::GcpPerNode | Kind::GcpShared | Kind::GcpLinear => {
                let peer = self.peer.as_ref();
                Command::new(peer.ok_or_else(|| io::Error::other("the peer isn't built"))?)
            }
        };
        match kind {
            Kind::Tidegate | Kind::Floor => {
                command.arg("--listen").arg(listen.to_string());
                command.arg("--data").arg(file)
            }
            Kind::GcpPerNode => command.args(["-mode", "per-node"]),
            Kind::GcpShared => command.args(["-mode", "shared"]),
            Kind::GcpLinear => command.args(["-mode", "linear"]),
        };
        if kind.is_peer() {
            command.arg("-listen").arg(listen.to_string());
            command.arg("-data").arg(file);
        }
        let mut process = Process::start(command)?;
        let line = process.line()?;
        let address = line.strip_prefix("listening ").and_then(|a| a.parse().ok());
        let address = address.ok_or_else(|| io::Error::other(format!("{kind}: said `{line}`")))?;
        Ok(Server { process, address })
    }

    /// Starts a fleet for a server.
    ///
    /// # Errors
    /// If it can't be started.
    pub fn fleet(&self, server: SocketAddr, world: World, extensions: u32) -> io::Result<Fleet> {
        let process = Process::start(self.fleet_command(server, world, extensions))?;
        Ok(Fleet { process })
    }

    /// The same for clients that would be on other machines: what they compute themselves yields to
    /// all other processes.
    ///
    /// # Errors
    /// If it can't be started.
    pub fn background_fleet(
        &self,
        server: SocketAddr,
        world: World,
        extensions: u32,
    ) -> io::Result<Fleet> {
        let mut command = self.fleet_command(server, world, extensions);
        command.arg("--background");
        let process = Process::start(command)?;
        Ok(Fleet { process })
    }

    fn fleet_command(&self, server: SocketAddr, world: World, extensions: u32) -> Command {
        let mut command = self.role("fleet");
        command.arg("--server").arg(server.to_string());
        command.args(["--clusters", &world.clusters.to_string()]);
        command.args(["--extensions", &extensions.to_string()]);
        command
    }

    fn role(&self, role: &str) -> Command {
        let mut command = Command::new(&self.own);
        command.arg(role);
        command
    }
}

// === impl Server ===

impl Server {
    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.child.id()
    }

    /// Makes an assignment be of a generation.
    ///
    /// # Errors
    /// If the server has gone.
    pub fn change(&mut self, world: World, index: u32, generation: u32) -> io::Result<Changed> {
        let body = world.body(Type::Assignment, index, generation);
        let hex: String = body.iter().map(|byte| format!("{byte:02x}")).collect();
        self.process.say(&format!("change {hex}"))?;
        let line = self.process.line()?;
        let mut words = line.split(' ').skip(1).map(str::parse);
        match (words.next(), words.next()) {
            (Some(Ok(began_ns)), Some(Ok(took_ns))) => Ok(Changed { began_ns, took_ns }),
            _ => Err(io::Error::other(format!("a server said `{line}`"))),
        }
    }

    /// Gives back memory that is not needed, if it has a garbage collector.
    ///
    /// # Errors
    /// If the server has gone.
    pub fn collect_garbage(&mut self) -> io::Result<()> {
        self.process.say("gc")?;
        self.process.line().map(drop)
    }

    /// Ends it like `kill -9`.
    pub fn kill(self) {
        drop(self);
    }
}

// === impl Fleet ===

impl Fleet {
    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.child.id()
    }

    /// Has a command done.
    ///
    /// # Errors
    /// If the fleet has gone.
    pub fn tell(&mut self, command: &fleet::Command) -> io::Result<fleet::Answer> {
        self.begin(command)?;
        self.answer()
    }

    /// Gives a command; its answer must be read with [`answer`](Self::answer).
    ///
    /// # Errors
    /// If the fleet has gone.
    pub fn begin(&mut self, command: &fleet::Command) -> io::Result<()> {
        self.process.say(&serde_json::to_string(command)?)
    }

    /// The answer to a command that was begun.
    ///
    /// # Errors
    /// If the fleet has gone.
    pub fn answer(&mut self) -> io::Result<fleet::Answer> {
        Ok(serde_json::from_str(&self.process.line()?)?)
    }
}

// === impl Process ===

impl Process {
    fn start(mut command: Command) -> io::Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("a child without its pipes"));
        };
        let output = BufReader::new(output);
        Ok(Self {
            child,
            input,
            output,
        })
    }

    fn say(&mut self, line: &str) -> io::Result<()> {
        self.input.write_all(line.as_bytes())?;
        self.input.write_all(b"\n")?;
        self.input.flush()
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            let status = self.child.wait()?;
            return Err(io::Error::other(format!("a child has ended: {status}")));
        }
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// For a server: the lines of the standard input, each a command and bytes in hex. Ends with it.
pub(super) fn commands() -> mpsc::UnboundedReceiver<(String, Bytes)> {
    let (sender, receiver) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            let (command, argument) = line.split_once(' ').unwrap_or((&line, ""));
            let bytes = argument.as_bytes().chunks(2).map(|pair| {
                let pair = std::str::from_utf8(pair).unwrap();
                u8::from_str_radix(pair, 16).unwrap()
            });
            if sender.send((command.to_owned(), bytes.collect())).is_err() {
                break;
            }
        }
    });
    receiver
}
