//! A redis-server for the benchmark, and its own statistics. It holds no data worth keeping.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{process::Process, server::free_address};

/// How long it may take to start, or to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running redis-server with a connection for questions.
#[derive(Debug)]
pub struct Redis {
    /// The process.
    pub process: Process,
    /// Where it listens.
    pub address: SocketAddr,
    connection: BufReader<TcpStream>,
}

/// What it has done since its start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Work {
    /// Commands, those inside scripts too.
    pub commands: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Time used by the process.
    pub cpu: Duration,
}

impl Redis {
    /// Starts a redis-server that persists nothing.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn start() -> Result<Self> {
        let address = free_address()?;
        let mut command = Command::new("redis-server");
        command.args(["--port", &address.port().to_string(), "--bind", "127.0.0.1"]);
        command.args(["--save", "", "--appendonly", "no", "--loglevel", "warning"]);
        let mut process = Process::start(&mut command, "redis-server")?;
        let deadline = Instant::now() + PATIENCE;
        let stream = loop {
            process.check()?;
            match TcpStream::connect_timeout(&address, PATIENCE) {
                Ok(stream) => break stream,
                // It is still starting: there is nothing to wait for but the next attempt.
                Err(_) if Instant::now() < deadline => std::thread::yield_now(),
                Err(error) => return Err(error).context("redis-server does not listen"),
            }
        };
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { process, address, connection: BufReader::new(stream) })
    }

    /// What it has done so far.
    ///
    /// # Errors
    /// If it does not answer, or the answer lacks a figure.
    pub fn work(&mut self) -> Result<Work> {
        let information = self.ask("INFO stats")?;
        let number = |name: &str| {
            let value =
                information.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            value.and_then(|value| value.trim().parse().ok()).with_context(|| format!("no {name}"))
        };
        Ok(Work {
            commands: number("total_commands_processed")?,
            received_bytes: number("total_net_input_bytes")?,
            sent_bytes: number("total_net_output_bytes")?,
            cpu: self.process.cpu()?.total,
        })
    }

    /// Sends one command whose answer is a bulk string.
    fn ask(&mut self, question: &str) -> Result<String> {
        self.connection.get_mut().write_all(format!("{question}\r\n").as_bytes())?;
        let mut line = String::new();
        self.connection.read_line(&mut line)?;
        let Some(length) = line.trim().strip_prefix('$') else {
            bail!("redis-server said: {line}")
        };
        let mut answer = vec![0; length.parse::<usize>()? + 2];
        self.connection.read_exact(&mut answer)?;
        String::from_utf8(answer).context("redis-server's answer is no text")
    }
}

impl Work {
    /// What it has done since an earlier look.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            commands: self.commands - earlier.commands,
            received_bytes: self.received_bytes - earlier.received_bytes,
            sent_bytes: self.sent_bytes - earlier.sent_bytes,
            cpu: self.cpu.saturating_sub(earlier.cpu),
        }
    }
}
