//! Many clients whose rooms are chosen by the caller, on one epoll in one thread. It knows which count each room must have, and
//! when all its members were told that. This module never decides when to join or leave.

use std::{
    collections::HashMap,
    io::{Error, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use headcount_client::{
    Packet,
    frame::{self, Message},
    http,
    packet::{self, RoomNews},
    request::{Requests, check_upgrade},
};
use rustix::event::epoll;

use crate::crowd::{NAP, PATIENCE, connect, wait};

/// The site, in the place of a room.
pub const SITE: &str = "/";

/// Many clients on one epoll.
#[derive(Debug)]
pub struct Guests {
    epoll: OwnedFd,
    guests: Vec<Guest>,
    rooms: HashMap<String, Room>,
    /// Counts received.
    pub counts: u64,
    /// Acknowledged joins.
    pub joined: u64,
    /// How long each change of a room that was followed took to reach all its members.
    pub spread: Vec<Duration>,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Guest {
    stream: TcpStream,
    stage: Stage,
    arrived: Vec<u8>,
    /// The rooms that it is in, and the last count that it was told of each.
    told: HashMap<String, Option<u64>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Connecting,
    Requested,
    Open,
}

#[derive(Debug, Default)]
struct Room {
    members: u64,
    /// How many members were last told the right count.
    agreeing: u64,
    /// Since when all are waited for.
    followed: Option<Instant>,
}

impl Guests {
    /// Connects this number of clients; client *i* goes to server *i* modulo the number of servers. They are in no room.
    ///
    /// # Errors
    /// If one cannot connect.
    pub fn connect(servers: &[SocketAddr], number: usize, window: usize) -> Result<Self> {
        let mut all = Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            guests: Vec::new(),
            rooms: HashMap::new(),
            counts: 0,
            joined: 0,
            spread: Vec::new(),
            buffer: vec![0; 64 * 1024],
        };
        let deadline = Instant::now() + PATIENCE;
        while all.guests.len() < number || all.opening() > 0 {
            if all.guests.len() < number && all.opening() < window {
                all.add(servers[all.guests.len() % servers.len()])?;
                continue;
            }
            all.poll(Duration::from_millis(5))?;
            if Instant::now() > deadline {
                bail!("{} clients did not get a session", all.opening());
            }
        }
        Ok(all)
    }

    fn add(&mut self, server: SocketAddr) -> Result<()> {
        let index = self.guests.len();
        let stream = connect(server).context("failed to connect")?;
        let data = epoll::EventData::new_u64(index as u64);
        epoll::add(&self.epoll, &stream, data, epoll::EventFlags::OUT)?;
        let stage = Stage::Connecting;
        self.guests.push(Guest { stream, stage, arrived: Vec::new(), told: HashMap::new() });
        Ok(())
    }

    /// The clients that have no session yet. The newest ones are looked at, since they connect in order.
    fn opening(&self) -> usize {
        let newest = self.guests.iter().rev().take(512);
        newest.filter(|guest| guest.stage != Stage::Open).count()
    }

    /// A client joins a room.
    ///
    /// # Errors
    /// If its connection is gone.
    pub fn join(&mut self, guest: usize, room: &str) -> Result<()> {
        let packet = if room == SITE { packet::CONNECT.to_owned() } else { packet::join(room) };
        self.guests[guest].say(&packet)?;
        self.guests[guest].told.insert(room.to_owned(), None);
        self.change(room, 1);
        Ok(())
    }

    /// A client leaves a room.
    ///
    /// # Errors
    /// If its connection is gone.
    pub fn leave(&mut self, guest: usize, room: &str) -> Result<()> {
        let packet = if room == SITE { packet::DISCONNECT.to_owned() } else { packet::leave(room) };
        self.guests[guest].say(&packet)?;
        self.guests[guest].told.remove(room);
        self.change(room, -1);
        Ok(())
    }

    /// Whether a client is in a room.
    pub fn is_in(&self, guest: usize, room: &str) -> bool {
        self.guests[guest].told.contains_key(room)
    }

    /// Measures how long it takes until all members of a room have been told its present count.
    pub fn follow(&mut self, room: &str) {
        if let Some(room) = self.rooms.get_mut(room) {
            room.followed = Some(Instant::now());
        }
    }

    /// Whether news of a room has not reached all its members.
    pub fn is_followed(&self, room: &str) -> bool {
        self.rooms.get(room).is_some_and(|room| room.followed.is_some())
    }

    /// The number of rooms whose news has not reached all members.
    pub fn followed(&self) -> usize {
        self.rooms.values().filter(|room| room.followed.is_some()).count()
    }

    /// Memberships whose client was last told another count than the right one, or none.
    pub fn wrong(&self) -> u64 {
        let told = self.guests.iter().flat_map(|guest| &guest.told);
        told.filter(|(room, told)| **told != self.rooms.get(*room).map(|room| room.members)).count()
            as u64
    }

    /// A room has one member more or fewer: nobody was told the new count.
    fn change(&mut self, room: &str, by: i64) {
        let room = self.rooms.entry(room.to_owned()).or_default();
        room.members = room.members.saturating_add_signed(by);
        (room.agreeing, room.followed) = (0, None);
    }

    /// Handles events of this time, or those that are there. Returns their number.
    ///
    /// # Errors
    /// If a client is lost, or the server says what it must not.
    pub fn poll(&mut self, timeout: Duration) -> Result<usize> {
        let events = wait(&self.epoll, timeout)?;
        for event in &events {
            let index = usize::try_from(event.data.u64()).context("a client's number")?;
            self.act(index).with_context(|| format!("client {index}"))?;
        }
        Ok(events.len())
    }

    /// Handles the events that are there, or naps if there are none. A process that waits for events is woken up by the next one,
    /// and the loopback charges that to the server: see [`NAP`].
    ///
    /// # Errors
    /// As [`Guests::poll`].
    pub fn glance(&mut self) -> Result<()> {
        if self.poll(Duration::ZERO)? == 0 {
            std::thread::sleep(NAP);
        }
        Ok(())
    }

    /// Handles events until no count has come for `quiet`.
    ///
    /// # Errors
    /// If counts still come after a long time.
    pub fn until_quiet(&mut self, quiet: Duration) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let (mut heard, mut since) = (self.counts, Instant::now());
        while since.elapsed() < quiet {
            self.glance()?;
            if self.counts > heard {
                (heard, since) = (self.counts, Instant::now());
            }
            if Instant::now() > deadline {
                bail!("counts still come after {PATIENCE:?}");
            }
        }
        Ok(())
    }

    fn act(&mut self, index: usize) -> Result<()> {
        let guest = &mut self.guests[index];
        if guest.stage == Stage::Connecting {
            guest.request()?;
            let data = epoll::EventData::new_u64(index as u64);
            return Ok(epoll::modify(&self.epoll, &guest.stream, data, epoll::EventFlags::IN)?);
        }
        for packet in guest.read(&mut self.buffer)? {
            match packet {
                Packet::Count(users) => self.hear(index, SITE, users),
                Packet::Room { room, news: RoomNews::Count(users) } => {
                    self.hear(index, &room, users);
                }
                Packet::Room { room, news: RoomNews::Refused(code) } => {
                    bail!("{room} was refused: {code}")
                }
                Packet::Connected | Packet::Room { .. } => self.joined += 1,
                Packet::Close => bail!("the server closed the session"),
                _ => {}
            }
        }
        Ok(())
    }

    fn hear(&mut self, index: usize, name: &str, users: u64) {
        self.counts += 1;
        // What was under way when it left counts, but says nothing more.
        let Some(told) = self.guests[index].told.get_mut(name) else { return };
        let before = told.replace(users);
        let Some(room) = self.rooms.get_mut(name) else { return };
        let agreed = |told: Option<u64>| u64::from(told == Some(room.members));
        room.agreeing = (room.agreeing + agreed(Some(users))).saturating_sub(agreed(before));
        if room.agreeing >= room.members
            && let Some(since) = room.followed.take()
        {
            self.spread.push(since.elapsed());
        }
    }
}

impl Guest {
    fn request(&mut self) -> Result<()> {
        if let Some(error) = self.stream.take_error()? {
            return Err(error.into());
        }
        let requests = Requests { authority: "127.0.0.1", sid: None, cookie: None };
        self.stream.write_all(&requests.websocket())?;
        self.stage = Stage::Requested;
        Ok(())
    }

    /// The packets that have arrived. Pings are answered.
    fn read(&mut self, buffer: &mut [u8]) -> Result<Vec<Packet>> {
        match self.stream.read(buffer) {
            Ok(0) => return Err(Error::from(ErrorKind::UnexpectedEof).into()),
            Ok(length) => self.arrived.extend_from_slice(&buffer[..length]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
        let (mut used, mut packets) = (0, Vec::new());
        if self.stage == Stage::Requested {
            let Some((response, length)) = http::decode_head(&self.arrived)? else {
                return Ok(packets);
            };
            check_upgrade(&response)?;
            (self.stage, used) = (Stage::Open, length);
        }
        while let Some((message, length)) = Message::decode(&self.arrived[used..])? {
            used += length;
            match message {
                Message::Packet(Packet::Ping) => self.say(packet::PONG)?,
                Message::Packet(packet) => packets.push(packet),
                Message::Close => bail!("the server closed the websocket"),
                Message::Ping(_) | Message::Pong => {}
            }
        }
        self.arrived.drain(..used);
        if self.arrived.is_empty() {
            self.arrived = Vec::new();
        }
        Ok(packets)
    }

    fn say(&mut self, packet: &str) -> Result<()> {
        Ok(self.stream.write_all(&frame::encode_packet(packet))?)
    }
}
