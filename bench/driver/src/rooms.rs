//! Section `rooms`: the cost of counts in rooms. Clients join and leave rooms on connections that stay, at an even rate and with
//! the default pace of emissions. It also measures memory, and how long a join takes to reach all in the room.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::Result;

use crate::{
    bench::{Bench, INTERVAL},
    clients::as_float,
    guests::{Guests, SITE},
    latency::{distribution, quantile},
    process::own_cpu,
    redis::Redis,
    server::{Contender, Program, Server, Terms},
};

/// The section's name.
pub const NAME: &str = "rooms";
/// Handshakes at a time.
const WINDOW: usize = 64;
/// All is over when no count has come for this long.
const QUIET: Duration = Duration::from_secs(1);
/// Clients that come and go where all others are in the same room. Each has a room of its own besides, so that it keeps its
/// session.
const GOING: usize = 100;
const INSTANCES: usize = 3;
/// Members of a room on three instances.
const SPREAD_MEMBERS: usize = 30;
/// Rooms that a client of the memory case joins: the most by default.
const PER_CLIENT: usize = 8;

/// One round over all cases.
///
/// # Errors
/// If the product fails.
pub fn run(bench: &mut Bench) -> Result<()> {
    let (rooms, members) = (bench.plan.rooms, bench.plan.room_members);
    let peers = [
        Contender::merged(Program::Epoll),
        Contender::rested(Program::Epoll),
        Contender::merged(Program::Socketioxide),
        Contender::merged(Program::Node),
    ];
    for case in [Case::Many, Case::One, Case::Site] {
        let number = if case == Case::Many { rooms } else { 1 };
        let each = rooms * members / number;
        let size = [(case.word(), number), ("clients_in_each", each)];
        for contender in bench.contenders(peers.to_vec()) {
            bench.say(&format!("{number} {} of {each}, {}", case.word(), contender.name()));
            let figures = churn(bench, &contender, case);
            bench.keep(NAME, &contender, &size, figures)?;
        }
    }
    for contender in bench.contenders(vec![Contender::merged(Program::Node)]) {
        bench.say(&format!("joins of rooms on {INSTANCES} instances, {}", contender.name()));
        let figures = spread(bench, &contender);
        let size = [("instances", INSTANCES as u64), ("joins_per_s", bench.plan.room_joins)];
        bench.keep(NAME, &contender, &size, figures)?;
    }
    for contender in bench.contenders(Vec::new()) {
        let rooms = bench.plan.rooms_kept;
        for (case, is_clustered) in
            [("rooms_kept_with_redis", true), ("rooms_kept_with_the_embedded_store", false)]
        {
            let words = case.replace('_', " ");
            bench.say(&format!("memory of {rooms} {words}, {}", contender.name()));
            let figures = memory(bench, &contender, rooms, is_clustered);
            bench.keep(NAME, &contender, &[(case, rooms)], figures)?;
        }
    }
    Ok(())
}

/// Where the clients are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    Many,
    One,
    Site,
}

impl Case {
    fn word(self) -> &'static str {
        match self {
            Self::Many | Self::One => "rooms",
            Self::Site => "sites",
        }
    }

    fn room(self, number: usize) -> String {
        match self {
            Self::Many | Self::One => name(number),
            Self::Site => SITE.to_owned(),
        }
    }
}

fn name(number: usize) -> String {
    format!("/blog/post-{number}")
}

/// Joins and leaves at an even rate.
fn churn(bench: &Bench, contender: &Contender, case: Case) -> Result<Vec<(&'static str, f64)>> {
    let plan = &bench.plan;
    let server =
        Server::start(contender, &bench.places, Terms { interval: INTERVAL, redis: None })?;
    let rooms = if case == Case::Many { usize::try_from(plan.rooms)? } else { 1 };
    let residents = usize::try_from(plan.rooms * plan.room_members)?;
    let mut guests = Guests::connect(&[server.address], residents + GOING, WINDOW)?;
    for guest in 0..residents {
        guests.join(guest, &case.room(guest % rooms))?;
        guests.poll(Duration::ZERO)?;
    }
    for guest in residents..residents + GOING {
        guests.join(guest, &format!("/alone/{guest}"))?;
        guests.poll(Duration::ZERO)?;
    }
    guests.until_quiet(QUIET)?;
    let rate = if case == Case::Many { plan.room_changes } else { plan.site_changes };
    let (counts, joined) = (guests.counts, guests.joined);
    let (cpu, own) = (server.process.cpu()?, own_cpu()?);
    let start = Instant::now();
    let mut turn = 0;
    while start.elapsed() < Duration::from_secs(plan.churn_seconds) {
        let due = (start.elapsed().as_secs_f64() * rate as f64) as usize;
        while turn < due {
            // Each client joins a room and leaves it again when its turn comes next. Rooms are far apart in time.
            let guest = residents + turn % GOING;
            let room = case.room((turn % GOING + GOING * (turn / GOING / 2)) % rooms);
            match guests.is_in(guest, &room) {
                true => guests.leave(guest, &room)?,
                false => guests.join(guest, &room)?,
            }
            turn += 1;
        }
        guests.glance()?;
    }
    guests.until_quiet(QUIET)?;
    let used = server.process.cpu()?.total.saturating_sub(cpu.total);
    let generator = own_cpu()?.total.saturating_sub(own.total);
    let counts = as_float(guests.counts - counts);
    Ok(vec![
        ("count_us", used.as_secs_f64() * 1e6 / counts),
        ("generator_us", generator.as_secs_f64() * 1e6 / counts),
        ("counts", counts),
        ("changes", as_float(turn as u64)),
        ("joined", as_float(guests.joined - joined)),
        ("wrong_at_the_end", as_float(guests.wrong())),
    ])
}

/// From a join to all in the room, whose members are on all instances.
fn spread(bench: &Bench, contender: &Contender) -> Result<Vec<(&'static str, f64)>> {
    let plan = &bench.plan;
    let redis = Redis::start()?;
    let terms = Terms { interval: INTERVAL, redis: Some(redis.address) };
    let start = |_| Server::start(contender, &bench.places, terms);
    let servers = (0..INSTANCES).map(start).collect::<Result<Vec<_>>>()?;
    let addresses: Vec<SocketAddr> = servers.iter().map(|server| server.address).collect();
    let residents = usize::try_from(plan.visitors)?;
    let rooms = residents / SPREAD_MEMBERS;
    let mut guests = Guests::connect(&addresses, residents + GOING, WINDOW)?;
    for guest in 0..residents {
        guests.join(guest, &name(guest / SPREAD_MEMBERS))?;
        guests.poll(Duration::ZERO)?;
    }
    for guest in residents..residents + GOING {
        guests.join(guest, &format!("/alone/{guest}"))?;
    }
    guests.until_quiet(QUIET)?;
    let (rate, start) = (2 * plan.room_joins, Instant::now());
    let (mut turn, mut unfinished) = (0, 0);
    while start.elapsed() < Duration::from_secs(plan.churn_seconds) {
        let due = (start.elapsed().as_secs_f64() * rate as f64) as usize;
        while turn < due {
            // Every room has a join, and when all have had one, a leave of the same client.
            let (room, pass) = (turn % rooms, turn / rooms);
            let (guest, room) = (residents + (room + pass / 2) % GOING, name(room));
            unfinished += usize::from(guests.is_followed(&room));
            match pass % 2 {
                0 => {
                    guests.join(guest, &room)?;
                    guests.follow(&room);
                }
                _ => guests.leave(guest, &room)?,
            }
            turn += 1;
        }
        guests.poll(Duration::from_millis(1))?;
    }
    guests.until_quiet(QUIET)?;
    let waits = distribution(&guests.spread)?;
    Ok(vec![
        ("p50_ms", quantile(&waits, 0.5)),
        ("p99_ms", quantile(&waits, 0.99)),
        ("followed", as_float(guests.spread.len() as u64)),
        ("unfinished", as_float((unfinished + guests.followed()) as u64)),
        ("wrong_at_the_end", as_float(guests.wrong())),
    ])
}

/// The memory of rooms with one member each, above that of the same connections with one room each. The embedded store is in the same
/// process, and keeps the rooms once more.
fn memory(
    bench: &Bench,
    contender: &Contender,
    rooms: u64,
    is_clustered: bool,
) -> Result<Vec<(&'static str, f64)>> {
    let redis = is_clustered.then(Redis::start).transpose()?;
    let redis_address = redis.as_ref().map(|redis| redis.address);
    let terms = Terms { interval: INTERVAL, redis: redis_address };
    let server = Server::start(contender, &bench.places, terms)?;
    let rooms = usize::try_from(rooms)?;
    let clients = rooms.div_ceil(PER_CLIENT - 1);
    let mut guests = Guests::connect(&[server.address], clients, WINDOW)?;
    for guest in 0..clients {
        guests.join(guest, &name(guest))?;
        guests.poll(Duration::ZERO)?;
    }
    guests.until_quiet(QUIET)?;
    let before = server.process.resident_bytes()?;
    for room in clients..rooms {
        guests.join(room % clients, &name(room))?;
        guests.poll(Duration::ZERO)?;
    }
    guests.until_quiet(2 * QUIET)?;
    let grown = as_float(server.process.resident_bytes()?) - as_float(before);
    let added = as_float((rooms - clients) as u64);
    Ok(vec![
        ("room_bytes", grown / added),
        ("rooms_mb", grown / added * as_float(rooms as u64) / 1e6),
        ("wrong_at_the_end", as_float(guests.wrong())),
    ])
}
