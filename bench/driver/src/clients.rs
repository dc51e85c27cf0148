//! Sections `clients` and `upgrade`: what a connection and a delivered count cost one server, by the number of
//! clients. In the first the clients begin with a websocket, in the second they begin with polling and upgrade
//! to one.
//!
//! Every server has two lives. In the first it is quiet while clients join, so that handshakes and the memory
//! of idle connections can be measured. In the second, one more client joins and leaves again and again, and
//! all clients are told every time.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::{
    bench::Bench,
    crowd::Crowd,
    process::own_cpu,
    server::{Contender, Program, Server, Terms},
    visitor::Way,
};

/// The name of the section whose clients begin with a websocket.
pub const NAME: &str = "clients";
/// The name of the section whose clients begin with polling.
pub const UPGRADE: &str = "upgrade";
/// Handshakes at a time: enough to keep a server busy.
const WINDOW: usize = 128;
/// The longest interval that the product allows, so that only first values are sent.
const QUIET: Duration = Duration::from_secs(10);
/// Joins and leaves that are not measured, so that caches and allocators settle.
const WARM_UP: u64 = 2;
/// The wait before memory is read, so that background work has ended.
const SETTLE: Duration = Duration::from_secs(2);

/// One round over all sizes and contenders, with clients that begin with a websocket.
///
/// # Errors
/// If a server fails.
pub fn run(bench: &mut Bench) -> Result<()> {
    let peers = [Program::Epoll, Program::Uring, Program::Socketioxide, Program::Node];
    run_with(bench, NAME, Way::Websocket, &peers)
}

/// The same with clients that begin with polling, among the servers that support it.
///
/// # Errors
/// If a server fails.
pub fn run_upgrade(bench: &mut Bench) -> Result<()> {
    run_with(bench, UPGRADE, Way::Polling, &[Program::Socketioxide, Program::Node])
}

fn run_with(bench: &mut Bench, section: &str, way: Way, peers: &[Program]) -> Result<()> {
    for clients in bench.plan.clients.clone() {
        for contender in bench.contenders(peers.iter().cloned().map(Contender::merged).collect()) {
            bench.say(&format!("{clients} clients of {}, section {section}", contender.name()));
            let figures = come_and_go(bench, &contender, way, clients).and_then(|mut figures| {
                figures.extend(emissions(bench, &contender, way, clients)?);
                Ok(figures)
            });
            bench.keep(section, &contender, &[("clients", clients)], figures)?;
        }
    }
    Ok(())
}

/// The first, quiet life.
fn come_and_go(
    bench: &Bench,
    contender: &Contender,
    way: Way,
    clients: u64,
) -> Result<Vec<(&'static str, f64)>> {
    let server = Server::start(contender, &bench.places, Terms { interval: QUIET, redis: None })?;
    let mut crowd = Crowd::new(way)?;
    // The first client causes work that a server does only once.
    crowd.join_many(server.address, 1, 1)?;
    let (empty, cpu, start) =
        (server.process.resident_bytes()?, server.process.cpu()?, Instant::now());
    crowd.join_many(server.address, usize::try_from(clients)?, WINDOW)?;
    let (joined, took) = (server.process.cpu()?, start.elapsed());
    crowd.stay(SETTLE)?;
    let idle = server.process.resident_bytes()?;
    let before_leaving = server.process.cpu()?;
    crowd.leave_all();
    crowd.stay(SETTLE)?;
    let leaving = server.process.cpu()?.total.saturating_sub(before_leaving.total);
    Ok(vec![
        ("handshake_us", micros(joined.total.saturating_sub(cpu.total)) / as_float(clients)),
        ("handshakes_per_s", as_float(clients) / took.as_secs_f64()),
        ("idle_kb", growth_kb(empty, idle) / as_float(clients)),
        ("leave_us", micros(leaving) / as_float(clients)),
    ])
}

/// The second, busy life.
fn emissions(
    bench: &Bench,
    contender: &Contender,
    way: Way,
    clients: u64,
) -> Result<Vec<(&'static str, f64)>> {
    let interval = busy_interval(clients);
    let server = Server::start(contender, &bench.places, Terms { interval, redis: None })?;
    let mut crowd = Crowd::new(way)?;
    crowd.join_many(server.address, 1, 1)?;
    let empty = server.process.resident_bytes()?;
    crowd.join_many(server.address, usize::try_from(clients)? - 1, WINDOW)?;
    crowd.agree_on(clients)?;
    drive(&mut crowd, &server, clients, WARM_UP)?;
    let (counts, cpu, own) = (crowd.heard.counts, server.process.cpu()?, own_cpu()?);
    let start = Instant::now();
    drive(&mut crowd, &server, clients, bench.plan.emissions)?;
    let took = start.elapsed();
    let used = server.process.cpu()?.total.saturating_sub(cpu.total);
    let generator = own_cpu()?.total.saturating_sub(own.total);
    let counts = as_float(crowd.heard.counts - counts);
    crowd.stay(SETTLE)?;
    let after = server.process.resident_bytes()?;
    crowd.leave_all();
    crowd.stay(Duration::from_secs(bench.plan.rest_seconds))?;
    let left = server.process.resident_bytes()?;
    Ok(vec![
        ("count_us", micros(used) / counts),
        ("generator_us", micros(generator) / counts),
        ("emission_ms", took.as_secs_f64() * 1e3 / as_float(bench.plan.emissions)),
        ("emitted_kb", growth_kb(empty, after) / as_float(clients)),
        ("left_kb", growth_kb(empty, left) / as_float(clients)),
    ])
}

/// One more client joins and all are told; it leaves and all are told: two emissions to all.
fn drive(crowd: &mut Crowd, server: &Server, clients: u64, emissions: u64) -> Result<()> {
    for _ in 0..emissions / 2 {
        let guest = crowd.join(server.address)?;
        crowd.agree_on(clients + 1)?;
        crowd.leave(guest);
        crowd.agree_on(clients)?;
    }
    Ok(())
}

/// Long compared with one emission, so that all servers rest in between. What the kernel charges to which
/// process depends on which are awake, and the product rests as long as it emitted, which the others do not.
fn busy_interval(clients: u64) -> Duration {
    Duration::from_micros(clients * 30).max(Duration::from_millis(10))
}

fn growth_kb(from: u64, to: u64) -> f64 {
    (as_float(to) - as_float(from)) / 1024.0
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// Sizes and sums here are far below 2⁵³, so the conversion is exact.
pub fn as_float(number: u64) -> f64 {
    number as f64
}
