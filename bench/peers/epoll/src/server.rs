//! The epoll loop: accepts, answers, counts, and emits. A [`Fanout`] decides how an emission is sent.

use std::{
    net::TcpListener,
    os::fd::{AsRawFd, OwnedFd},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use rustix::event::{Timespec, epoll};
use socket2::{Domain, Socket, Type};

use crate::{
    client::{Client, Clients, Stage, Token},
    pace::Pace,
    rooms::Rooms,
    settings::{Emit, Settings},
    wire::{self, Said},
};

/// The connections that the kernel keeps ready; the same as for the product.
const BACKLOG: i32 = 4096;
/// Events taken at a time. Only in a storm are a thousand sockets ready at a time.
const EVENTS_MAX: usize = 1024;
/// The time between two pings of a client.
const PING_INTERVAL: Duration = Duration::from_secs(25);
/// Every second some of the clients are pinged, so that pings are spread.
const PING_STEP: Duration = Duration::from_secs(1);

/// The way in which one frame reaches many clients.
pub trait Fanout {
    /// Sends the frame to all of these clients.
    ///
    /// # Errors
    /// If the kernel refuses this way of sending. A client that is gone is no error.
    fn send_to(&mut self, frame: &[u8], told: &[Token], clients: &mut Clients) -> Result<()>;
}

/// Serves until it is killed.
///
/// # Errors
/// If it cannot listen, or epoll fails.
pub fn serve(settings: &Settings, fanout: impl Fanout) -> Result<()> {
    rlimit::increase_nofile_limit(u64::MAX).context("failed to raise the file limit")?;
    let listener = Socket::new(Domain::for_address(settings.listen), Type::STREAM, None)?;
    listener.set_reuse_address(true)?;
    listener.set_nonblocking(true)?;
    // Accepted sockets inherit the option, which saves a call for each.
    listener.set_tcp_nodelay(true)?;
    listener.bind(&settings.listen.into()).context("failed to listen")?;
    listener.listen(BACKLOG)?;
    let server = Server {
        epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
        listener: listener.into(),
        clients: Clients::default(),
        told: Vec::new(),
        rooms: Rooms::default(),
        rooms_pace: Pace::new(settings.interval(), settings.emit == Emit::Rested),
        emit: settings.emit,
        pace: Pace::new(settings.interval(), settings.emit == Emit::Rested),
        fanout,
        sessions: 0,
        ping_due: Instant::now() + PING_STEP,
        ping_step: 0,
    };
    server.run()
}

struct Server<F> {
    epoll: OwnedFd,
    listener: TcpListener,
    clients: Clients,
    /// The clients that have joined the namespace.
    told: Vec<Token>,
    rooms: Rooms,
    /// When rooms that have changed are told.
    rooms_pace: Pace,
    emit: Emit,
    pace: Pace,
    fanout: F,
    sessions: u64,
    ping_due: Instant,
    ping_step: usize,
}

impl<F: Fanout> Server<F> {
    fn run(mut self) -> Result<()> {
        let listening = token_of(&self.listener);
        let data = epoll::EventData::new_u64(listening.0);
        epoll::add(&self.epoll, &self.listener, data, epoll::EventFlags::IN)?;
        println!("listening");
        let mut events = Vec::with_capacity(EVENTS_MAX);
        let mut buffer = vec![0; 64 * 1024];
        loop {
            events.clear();
            let timeout = self.wait(Instant::now());
            match epoll::wait(
                &self.epoll,
                rustix::buffer::spare_capacity(&mut events),
                Some(&timeout),
            ) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).context("failed to wait for events"),
            }
            for event in &events {
                let token = Token(event.data.u64());
                if token == listening { self.accept()? } else { self.read(token, &mut buffer)? }
            }
            self.tick(Instant::now())?;
        }
    }

    /// The time until the next emission or ping.
    fn wait(&self, now: Instant) -> Timespec {
        let ping = self.ping_due.saturating_duration_since(now);
        let emissions = [self.pace.wait(now), self.rooms_pace.wait(now)];
        let wait = emissions.into_iter().flatten().fold(ping, Duration::min);
        Timespec {
            tv_sec: wait.as_secs().try_into().unwrap_or(1),
            tv_nsec: wait.subsec_nanos().into(),
        }
    }

    fn tick(&mut self, now: Instant) -> Result<()> {
        if self.pace.wait(now) == Some(Duration::ZERO) {
            self.tell_everybody()?;
            self.pace.emitted(now, Instant::now());
        }
        if self.rooms_pace.wait(now) == Some(Duration::ZERO) {
            self.tell_rooms()?;
            self.rooms_pace.emitted(now, Instant::now());
        }
        if self.ping_due <= now {
            self.ping_due = now + PING_STEP;
            self.ping();
        }
        Ok(())
    }

    fn accept(&mut self) -> Result<()> {
        while let Ok((stream, _)) = self.listener.accept() {
            stream.set_nonblocking(true)?;
            let token = token_of(&stream);
            let data = epoll::EventData::new_u64(token.0);
            epoll::add(&self.epoll, &stream, data, epoll::EventFlags::IN)?;
            self.clients.insert(token, Client::new(stream));
        }
        Ok(())
    }

    fn read(&mut self, token: Token, buffer: &mut [u8]) -> Result<()> {
        let Some(client) = self.clients.get_mut(token) else { return Ok(()) };
        if !client.receive(buffer) {
            return self.leave(token);
        }
        if client.stage == Stage::Request {
            let Some(end) = client.arrived().windows(4).position(|end| end == b"\r\n\r\n") else {
                return Ok(());
            };
            self.sessions += 1;
            let Some(answer) = wire::opening(&client.arrived()[..end], self.sessions) else {
                return self.leave(token);
            };
            client.take(end + 4);
            client.stage = Stage::Opened;
            client.send(&answer);
        }
        while let Some(client) = self.clients.get_mut(token)
            && let Some((said, length)) = wire::first_frame(client.arrived())
        {
            client.take(length);
            match said {
                Said::Join => self.join(token)?,
                Said::Leave => self.leave_site(token)?,
                Said::JoinRoom(room) => self.join_room(room, token)?,
                Said::LeaveRoom(room) => {
                    self.rooms.leave(&room, token);
                    self.room_changed()?;
                }
                Said::Close => self.leave(token)?,
                Said::Other => {}
            }
        }
        Ok(())
    }

    fn join(&mut self, token: Token) -> Result<()> {
        let Some(client) = self.clients.get_mut(token) else { return Ok(()) };
        if client.stage != Stage::Opened {
            return Ok(());
        }
        client.stage = Stage::Told(self.told.len());
        self.told.push(token);
        self.sessions += 1;
        client.send(&wire::acknowledgement(self.sessions));
        if self.emit != Emit::Each {
            client.send(&wire::count(self.told.len()));
        }
        self.changed()
    }

    fn join_room(&mut self, room: String, token: Token) -> Result<()> {
        let Some(users) = self.rooms.join(room.clone(), token) else { return Ok(()) };
        self.sessions += 1;
        if let Some(client) = self.clients.get_mut(token) {
            client.send(&wire::room_acknowledgement(&room, self.sessions));
            if self.emit != Emit::Each {
                client.send(&wire::room_count(&room, users));
            }
        }
        self.room_changed()
    }

    /// The client is gone.
    fn leave(&mut self, token: Token) -> Result<()> {
        self.leave_site(token)?;
        self.clients.remove(token);
        self.rooms.leave_all(token);
        self.room_changed()
    }

    fn leave_site(&mut self, token: Token) -> Result<()> {
        let Some(client) = self.clients.get_mut(token) else { return Ok(()) };
        let Stage::Told(place) = client.stage else { return Ok(()) };
        client.stage = Stage::Opened;
        self.told.swap_remove(place);
        if let Some(&moved) = self.told.get(place)
            && let Some(moved) = self.clients.get_mut(moved)
        {
            moved.stage = Stage::Told(place);
        }
        self.changed()
    }

    fn changed(&mut self) -> Result<()> {
        match self.emit {
            Emit::Each => self.tell_everybody(),
            Emit::Merged | Emit::Rested => {
                self.pace.change();
                Ok(())
            }
        }
    }

    fn room_changed(&mut self) -> Result<()> {
        match self.emit {
            Emit::Each => self.tell_rooms(),
            Emit::Merged | Emit::Rested => {
                self.rooms_pace.change();
                Ok(())
            }
        }
    }

    fn tell_rooms(&mut self) -> Result<()> {
        for index in self.rooms.take_changed() {
            let room = self.rooms.room(index);
            let frame = wire::room_count(&room.name, room.members.len());
            self.fanout.send_to(&frame, &room.members, &mut self.clients)?;
        }
        Ok(())
    }

    fn tell_everybody(&mut self) -> Result<()> {
        let frame = wire::count(self.told.len());
        self.fanout.send_to(&frame, &self.told, &mut self.clients)
    }

    fn ping(&mut self) {
        let frame = wire::text("2");
        let steps = usize::try_from(PING_INTERVAL.as_secs()).unwrap_or(1);
        self.ping_step = (self.ping_step + 1) % steps;
        for client in self.clients.all().skip(self.ping_step).step_by(steps) {
            if client.stage != Stage::Request {
                client.send(&frame);
            }
        }
    }
}

fn token_of(socket: &impl AsRawFd) -> Token {
    Token(u64::try_from(socket.as_raw_fd()).expect("an open descriptor is not negative"))
}
