//! Many visitors on one epoll, in one thread. They join and leave when told to, and what they receive is
//! summed. This module never measures a server.

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream},
    os::fd::OwnedFd,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::{
    event::{Timespec, epoll},
    io::Errno,
};
use socket2::{Domain, Socket, Type};

use crate::visitor::{Heard, Stage, Visitor, Way};

/// Events taken at a time.
const EVENTS_MAX: usize = 1024;
/// Connections from one source address before the next address is used. The 28,000 ports of an address must
/// also suffice for the connections that closed within the last minute.
const PER_SOURCE: u32 = 5000;
/// The longest wait of a poll when the caller only wants the present events.
const GLANCE: Duration = Duration::from_millis(5);
/// The nap during an emission: short compared with an emission to a thousand clients. A process that waits for events is
/// woken up by the next one, and the loopback charges that to the server: as much as half a send. It happens only if the
/// clients were quicker than the server and have fallen asleep, which makes a slow server slower still. Servers on a real
/// network wake up no process of their clients.
pub const NAP: Duration = Duration::from_millis(1);
/// How long a server may take for one step of the benchmark before the run counts as failed.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Names a visitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VisitorId(usize);

/// Waits for events of this time, or returns those that are there.
///
/// # Errors
/// If epoll fails.
pub fn wait(epoll: &OwnedFd, timeout: Duration) -> Result<Vec<epoll::Event>> {
    let timeout = Timespec {
        tv_sec: timeout.as_secs().try_into().context("a timeout is short")?,
        tv_nsec: timeout.subsec_nanos().into(),
    };
    let mut events = Vec::with_capacity(EVENTS_MAX);
    match epoll::wait(epoll, rustix::buffer::spare_capacity(&mut events), Some(&timeout)) {
        Ok(_) | Err(Errno::INTR) => Ok(events),
        Err(error) => Err(error).context("failed to wait for events"),
    }
}

/// Many visitors on one epoll.
#[derive(Debug)]
pub struct Crowd {
    epoll: OwnedFd,
    visitors: Vec<Option<Visitor>>,
    free: Vec<usize>,
    /// How visitors begin.
    way: Way,
    /// The sums since the beginning.
    pub heard: Totals,
    /// Visitors that were started and have no count yet.
    joining: usize,
    /// Visitors that got a count and are still connected.
    told: usize,
    expected: u64,
    /// The number of visitors that were last told the expected count.
    agreeing: usize,
    /// The time of every visitor from asking to join to its first count, since [`Crowd::take_waits`].
    waits: Vec<Duration>,
    /// The same from the TCP connect on, since [`Crowd::take_full_waits`].
    full_waits: Vec<Duration>,
    /// The visitors that were told a first count, since [`Crowd::take_arrivals`].
    arrivals: Vec<VisitorId>,
    buffer: Vec<u8>,
}

/// Sums over all visitors.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    /// Counts received.
    pub counts: u64,
    /// Pings received.
    pub pings: u64,
    /// Visitors whose connection failed, or ended although they had not left.
    pub lost: u64,
}

impl Crowd {
    /// A crowd without visitors.
    ///
    /// # Errors
    /// If the system has no epoll.
    pub fn new(way: Way) -> Result<Self> {
        Ok(Self {
            way,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            visitors: Vec::new(),
            free: Vec::new(),
            heard: Totals::default(),
            joining: 0,
            told: 0,
            expected: 0,
            agreeing: 0,
            waits: Vec::new(),
            full_waits: Vec::new(),
            arrivals: Vec::new(),
            buffer: vec![0; 64 * 1024],
        })
    }

    /// One more visitor starts.
    ///
    /// # Errors
    /// If no socket is to be had.
    pub fn join(&mut self, server: SocketAddr) -> Result<VisitorId> {
        let stream = connect(server)?;
        let index = self.free.pop().unwrap_or_else(|| {
            self.visitors.push(None);
            self.visitors.len() - 1
        });
        let data = epoll::EventData::new_u64(index as u64);
        epoll::add(&self.epoll, &stream, data, epoll::EventFlags::OUT)?;
        self.visitors[index] = Some(Visitor::new(stream, self.way));
        self.joining += 1;
        Ok(VisitorId(index))
    }

    /// A visitor upgrades to a websocket, on a separate connection.
    fn go_on(&mut self, index: usize) -> Result<()> {
        let Some(visitor) = self.visitors[index].as_ref() else { return Ok(()) };
        let stream = connect(visitor.stream().peer_addr()?)?;
        let data = epoll::EventData::new_u64(index as u64);
        epoll::add(&self.epoll, &stream, data, epoll::EventFlags::OUT)?;
        if let Some(visitor) = self.visitors[index].as_mut() {
            visitor.move_to(stream);
        }
        Ok(())
    }

    /// Starts this number of visitors, `window` at a time, and waits until all were told a count.
    ///
    /// # Errors
    /// If one of them was lost, or it takes too long.
    pub fn join_many(&mut self, server: SocketAddr, visitors: usize, window: usize) -> Result<()> {
        match self.rush(server, visitors, window)? {
            0 => Ok(()),
            lost => bail!("of {visitors} visitors {lost} were lost"),
        }
    }

    /// Starts this number of visitors, `window` at a time, and waits until each was told a count or lost;
    /// returns the number of lost ones.
    ///
    /// # Errors
    /// If it takes too long.
    pub fn rush(&mut self, server: SocketAddr, visitors: usize, window: usize) -> Result<u64> {
        let (deadline, lost) = (Instant::now() + PATIENCE, self.heard.lost);
        let mut to_come = visitors;
        while to_come > 0 || self.joining > 0 {
            while to_come > 0 && self.joining < window {
                self.join(server)?;
                to_come -= 1;
            }
            self.poll(GLANCE)?;
            if Instant::now() > deadline {
                bail!("{} visitors were told nothing within {PATIENCE:?}", to_come + self.joining);
            }
        }
        Ok(self.heard.lost - lost)
    }

    /// A visitor leaves.
    pub fn leave(&mut self, id: VisitorId) {
        if let Some(visitor) = self.take(id.0) {
            visitor.leave();
        }
    }

    /// All visitors leave.
    pub fn leave_all(&mut self) {
        for index in 0..self.visitors.len() {
            self.leave(VisitorId(index));
        }
    }

    /// Handles the events of this time, or returns at once after the first ones; returns their number.
    ///
    /// # Errors
    /// If epoll fails.
    pub fn poll(&mut self, timeout: Duration) -> Result<usize> {
        let events = wait(&self.epoll, timeout)?;
        for event in &events {
            self.act(usize::try_from(event.data.u64()).context("a visitor's number")?);
        }
        Ok(events.len())
    }

    /// Handles the events that are there, or naps if there are none: see [`NAP`].
    fn glance(&mut self) -> Result<()> {
        if self.poll(Duration::ZERO)? == 0 {
            std::thread::sleep(NAP);
        }
        Ok(())
    }

    /// Handles all events of this time.
    ///
    /// # Errors
    /// If epoll fails.
    pub fn stay(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            self.poll(left)?;
        }
    }

    /// Handles events until all visitors were last told this number.
    ///
    /// # Errors
    /// If that takes too long.
    pub fn agree_on(&mut self, expected: u64) -> Result<()> {
        self.expected = expected;
        let visitors = self.visitors.iter().flatten();
        self.agreeing = visitors.filter(|visitor| visitor.last() == Some(expected)).count();
        let deadline = Instant::now() + PATIENCE;
        while self.agreeing < self.told || self.joining > 0 {
            self.glance()?;
            if Instant::now() > deadline {
                bail!("{} of {} were told {expected}", self.agreeing, self.told);
            }
        }
        Ok(())
    }

    /// Handles events until no count has come for `quiet`. Returns the number of visitors that were then last
    /// told another number than this one, and when the last count came.
    ///
    /// # Errors
    /// If it does not become quiet within `patience`.
    pub fn until_quiet(&mut self, quiet: Duration, patience: Duration) -> Result<Instant> {
        let deadline = Instant::now() + patience;
        let (mut counts, mut since) = (self.heard.counts, Instant::now());
        while since.elapsed() < quiet {
            self.poll(GLANCE)?;
            if self.heard.counts > counts {
                (counts, since) = (self.heard.counts, Instant::now());
            }
            if Instant::now() > deadline {
                bail!("counts still come after {patience:?}");
            }
        }
        Ok(since)
    }

    /// The number of visitors that were last told another number than this one.
    pub fn disagreeing(&self, number: u64) -> usize {
        self.visitors.iter().flatten().filter(|visitor| visitor.last() != Some(number)).count()
    }

    /// Visitors that were started and have no count yet.
    pub fn joining(&self) -> usize {
        self.joining
    }

    /// Visitors that got a count and are still connected.
    pub fn told(&self) -> usize {
        self.told
    }

    /// The time of every new visitor from asking to join to its first count, since the last call.
    pub fn take_waits(&mut self) -> Vec<Duration> {
        std::mem::take(&mut self.waits)
    }

    /// The time of every new visitor from the TCP connect to its first count, since the last call.
    pub fn take_full_waits(&mut self) -> Vec<Duration> {
        std::mem::take(&mut self.full_waits)
    }

    /// The visitors that were told a first count, since the last call.
    pub fn take_arrivals(&mut self) -> Vec<VisitorId> {
        std::mem::take(&mut self.arrivals)
    }

    fn act(&mut self, index: usize) {
        let Some(visitor) = self.visitors.get_mut(index).and_then(Option::as_mut) else { return };
        if matches!(visitor.stage(), Stage::Connecting(_)) {
            let data = epoll::EventData::new_u64(index as u64);
            let asked = visitor.request().is_ok()
                && epoll::modify(&self.epoll, visitor.stream(), data, epoll::EventFlags::IN)
                    .is_ok();
            if !asked {
                self.lose(index);
            }
            return;
        }
        let before = visitor.last();
        let Ok(heard) = visitor.read(&mut self.buffer) else { return self.lose(index) };
        let after = visitor.last();
        self.agreeing += usize::from(after == Some(self.expected));
        self.agreeing -= usize::from(before == Some(self.expected));
        self.add(index, &heard);
        if heard.ended || heard.moves && self.go_on(index).is_err() {
            self.lose(index);
        }
    }

    fn add(&mut self, index: usize, heard: &Heard) {
        self.heard.counts += heard.counts;
        self.heard.pings += heard.pings;
        if let Some(wait) = heard.joined_after {
            self.joining -= 1;
            self.told += 1;
            self.waits.push(wait);
            self.full_waits.extend(heard.came_after);
            self.arrivals.push(VisitorId(index));
        }
    }

    fn lose(&mut self, index: usize) {
        if self.take(index).is_some() {
            self.heard.lost += 1;
        }
    }

    fn take(&mut self, index: usize) -> Option<Visitor> {
        let visitor = self.visitors.get_mut(index)?.take()?;
        if visitor.stage() == Stage::Told {
            self.told -= 1
        } else {
            self.joining -= 1
        }
        self.agreeing -= usize::from(visitor.last() == Some(self.expected));
        self.free.push(index);
        Some(visitor)
    }
}

/// The address for the next connection. Two processes on one machine must not share the ports of one source address, and a port
/// that was closed lately cannot be used for a minute: looking for a free one among many of those takes long.
fn source() -> Ipv4Addr {
    static MADE: AtomicU32 = AtomicU32::new(0);
    let made = MADE.fetch_add(1, Ordering::Relaxed);
    let subnet = u8::try_from(std::process::id() % 250).unwrap_or_default() + 1;
    let [.., high, low] = (made / PER_SOURCE % 60_000 + 1).to_be_bytes();
    Ipv4Addr::new(127, subnet, high, low)
}

/// A connection that is being opened; it becomes writable when it is open.
///
/// # Errors
/// If no socket is to be had.
pub fn connect(server: SocketAddr) -> Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    if server.ip().is_loopback() {
        socket.bind(&SocketAddrV4::new(source(), 0).into())?;
    }
    match socket.connect(&server.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(Errno::INPROGRESS.raw_os_error()) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(socket.into())
}
