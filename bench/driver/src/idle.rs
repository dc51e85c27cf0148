//! Section `idle`: the cost of holding many connections on which only pings happen. All servers run at the
//! same time. The clients of each server have their own process, since one process may not open that many
//! files.

use std::{
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{
    bench::Bench,
    clients::as_float,
    crowd::Crowd,
    process::Process,
    server::{Contender, Program, Server, Terms},
    visitor::Way,
};

/// The section's name.
pub const NAME: &str = "idle";
const WINDOW: usize = 128;
/// Nothing changes, so nothing is emitted. While clients join, this keeps emissions as rare as possible.
const INTERVAL: Duration = Duration::from_secs(10);
/// The wait for work that a server does once after the last client has joined.
const SETTLE: Duration = Duration::from_secs(12);

/// One round.
///
/// # Errors
/// If a server fails.
pub fn run(bench: &mut Bench) -> Result<()> {
    let clients = bench.plan.idle_clients;
    let peers = [Program::Epoll, Program::Socketioxide, Program::Node].map(Contender::merged);
    let contenders = bench.contenders(peers.to_vec());
    let mut held = Vec::new();
    for contender in &contenders {
        bench.say(&format!("{clients} idle clients of {}", contender.name()));
        let terms = Terms { interval: INTERVAL, redis: None };
        let server = Server::start(contender, &bench.places, terms)?;
        let holder = Holder::start(server.address, clients)?;
        held.push((contender, server, holder));
    }
    let time = Duration::from_secs(bench.plan.idle_seconds);
    bench.say(&format!("all idle for {time:?}"));
    let mut rest = Crowd::new(Way::Websocket)?;
    rest.stay(SETTLE)?;
    let start = Instant::now();
    let before =
        held.iter().map(|(_, server, _)| server.process.cpu()).collect::<Result<Vec<_>>>()?;
    rest.stay(time)?;
    for ((contender, server, mut holder), before) in held.into_iter().zip(before) {
        let seconds = start.elapsed().as_secs_f64();
        let used = server.process.cpu()?.total.saturating_sub(before.total);
        holder.process.check().with_context(|| format!("clients of {}", contender.name()))?;
        let figures = [
            ("cpu_ms_per_s", used.as_secs_f64() * 1e3 / seconds),
            ("cpu_us_per_client_minute", used.as_secs_f64() * 60e6 / seconds / as_float(clients)),
        ];
        bench.record(NAME, contender, &[("clients", clients)], &figures);
    }
    Ok(())
}

/// Starts this program again, to hold clients until it is ended.
struct Holder {
    process: Process,
}

impl Holder {
    fn start(server: SocketAddr, clients: u64) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["hold", &server.to_string(), &clients.to_string()]);
        let mut process = Process::start(&mut command, "a process with clients")?;
        let output = process.take_output().context("its output is piped")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        if line.trim() != "all are there" {
            process.check()?;
            bail!("the clients did not come");
        }
        Ok(Self { process })
    }
}

/// The holding process: connects clients, reports that, and answers pings until its input ends.
///
/// # Errors
/// If a client is lost.
pub fn hold(server: SocketAddr, clients: u64) -> Result<()> {
    let mut crowd = Crowd::new(Way::Websocket)?;
    crowd.join_many(server, usize::try_from(clients)?, WINDOW)?;
    println!("all are there");
    std::thread::spawn(|| {
        // The input ends with the benchmark, however that ends.
        drop(std::io::stdin().read_to_end(&mut Vec::new()));
        std::process::exit(0);
    });
    loop {
        crowd.stay(Duration::from_millis(200))?;
        if crowd.heard.lost > 0 {
            bail!("{} clients were lost", crowd.heard.lost);
        }
    }
}
