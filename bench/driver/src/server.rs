//! The servers that are compared, and how each is started. This module never measures them.

use std::{
    io::{BufRead, BufReader},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::process::Process;

/// One of the programs that are compared, in one way of emitting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contender {
    /// The program.
    pub program: Program,
    /// When it tells all clients.
    pub emit: Emit,
}

/// The programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// The product.
    Headcount,
    /// Another build of the product, for comparing changes.
    Variant(String, PathBuf),
    /// An epoll loop with one `send()` per client.
    Epoll,
    /// The same with `io_uring`.
    Uring,
    /// Plain socketioxide.
    Socketioxide,
    /// socket.io in Node.
    Node,
}

/// When all clients are told the count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Emit {
    /// At every join and every leave.
    Each,
    /// At most once in an interval.
    Merged,
    /// The same, and for half of the time at most.
    Rested,
}

impl Contender {
    /// This program, emitting at most once in an interval.
    pub fn merged(program: Program) -> Self {
        Self { program, emit: Emit::Merged }
    }

    /// This program, emitting at most once in an interval and for half of the time at most.
    pub fn rested(program: Program) -> Self {
        Self { program, emit: Emit::Rested }
    }

    /// This program, emitting at every join and leave.
    pub fn each(program: Program) -> Self {
        Self { program, emit: Emit::Each }
    }

    /// Its name in the results.
    pub fn name(&self) -> String {
        let name = match &self.program {
            Program::Headcount => "headcount",
            Program::Variant(name, _) => name,
            Program::Epoll => "epoll",
            Program::Uring => "io_uring",
            Program::Socketioxide => "socketioxide",
            Program::Node => "node",
        };
        match self.emit {
            Emit::Merged => name.to_owned(),
            Emit::Rested => format!("{name}, rested"),
            Emit::Each => format!("{name}, each"),
        }
    }

    /// Whether it is a build of the product.
    pub fn is_product(&self) -> bool {
        matches!(self.program, Program::Headcount | Program::Variant(..))
    }
}

/// The folders that the programs are in.
#[derive(Clone, Debug)]
pub struct Folders {
    /// The folder of release builds.
    pub release: PathBuf,
    /// The folder of the peers that need no build.
    pub peers: PathBuf,
}

/// The settings of a server.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// The shortest time between two emissions, where they are merged.
    pub interval: Duration,
    /// The shared Redis, for a cluster.
    pub redis: Option<SocketAddr>,
}

/// A server that accepts connections.
#[derive(Debug)]
pub struct Server {
    /// The process.
    pub process: Process,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Server {
    /// Starts it and waits until it listens.
    ///
    /// # Errors
    /// If it does not.
    pub fn start(contender: &Contender, places: &Folders, terms: Terms) -> Result<Self> {
        let address = free_address()?;
        let mut command = command(contender, places, terms, address)?;
        let mut process = Process::start(&mut command, &contender.name())?;
        let output = process.take_output().context("its output is piped")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).context("failed to read its first line")?;
        if !line.starts_with("listening") {
            process.check()?;
            bail!("{} does not listen: {line}", contender.name());
        }
        Ok(Self { process, address })
    }
}

/// A port that was free a moment ago.
///
/// # Errors
/// If none is.
pub fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port is free")?;
    Ok(listener.local_addr()?)
}

fn command(
    contender: &Contender,
    places: &Folders,
    terms: Terms,
    address: SocketAddr,
) -> Result<Command> {
    let interval = terms.interval.as_millis().to_string();
    let listen = address.to_string();
    let mut command = match &contender.program {
        Program::Headcount => return product(&places.release.join("headcount"), terms, &listen),
        Program::Variant(_, path) => return product(path, terms, &listen),
        Program::Epoll => Command::new(places.release.join("peer-epoll")),
        Program::Uring => Command::new(places.release.join("peer-uring")),
        Program::Socketioxide => Command::new(places.release.join("peer-socketioxide")),
        Program::Node => {
            let mut command = Command::new("node");
            command.arg(places.peers.join("node/server.mjs"));
            command
        }
    };
    let emit = match contender.emit {
        Emit::Each => "each",
        Emit::Merged => "merged",
        Emit::Rested => "rested",
    };
    command.args(["--listen", &listen, "--emit", emit, "--interval-ms", &interval]);
    match (terms.redis, &contender.program) {
        (None, _) => {}
        (Some(redis), Program::Node) => {
            command.arg("--redis").arg(format!("redis://{redis}"));
        }
        (Some(_), _) => bail!("{} knows no Redis", contender.name()),
    }
    Ok(command)
}

fn product(path: &Path, terms: Terms, listen: &str) -> Result<Command> {
    let mut command = Command::new(path);
    // Settings in the user's environment must not change it.
    let ours = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with("HEADCOUNT_");
    for (name, _) in std::env::vars_os().filter(|(name, _)| ours(name)) {
        command.env_remove(name);
    }
    let interval = format!("{}ms", terms.interval.as_millis());
    command.args(["--listen", listen, "--admin-listen", "127.0.0.1:0", "--log", "error"]);
    command.args(["--emit-interval", &interval]);
    if let Some(redis) = terms.redis {
        command.arg("--redis-url").arg(format!("redis://{redis}"));
    }
    Ok(command)
}
