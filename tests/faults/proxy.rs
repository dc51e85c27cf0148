//! A TCP proxy between one instance and Redis that disturbs connections, as networks do.
//!
//! It forwards bytes and never changes one. Its only knowledge of Redis is how to find a report and a
//! subscription among the requests, and the messages of one channel among those of a subscription.

mod sieve;

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Instant, sleep, sleep_until},
};

use sieve::{Sieve, is_of_rooms};

/// What the proxy does to its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Forwards everything.
    Pass,
    /// Delays every byte by this time, in each direction.
    Delay(Duration),
    /// Connections are closed, and new ones are closed at once.
    Cut,
    /// Connections stay open and no byte passes. Bytes that were held back are delivered when the mode ends.
    Hold,
    /// The connections that are open now never carry a byte again, as when a firewall forgets them. New ones
    /// work.
    Forget,
    /// The subscriptions that are open now stay open and deliver nothing. Everything else works.
    Deaf,
    /// Subscriptions deliver no announcements of rooms. Everything else works.
    DeafToRooms,
    /// Subscriptions deliver only every second announcement of rooms.
    DropPages,
    /// Every third report runs, but its reply is lost, and its connection is closed.
    DropReplies,
    /// Every report runs a second time later, on another connection.
    Repeat(Duration),
}

/// A running proxy. It closes all connections when it is dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    address: SocketAddr,
    mode: watch::Sender<(Mode, Instant)>,
    accepting: JoinHandle<()>,
    pages_dropped: Arc<AtomicU64>,
}

/// What the two directions of one connection share.
#[derive(Clone, Debug)]
struct Wire {
    redis: SocketAddr,
    mode: watch::Receiver<(Mode, Instant)>,
    opened: Instant,
    subscribes: Arc<AtomicBool>,
    /// Whether the reply to the current request is to be lost.
    doomed: Arc<AtomicBool>,
    /// Reports seen on all connections of this proxy.
    reports: Arc<AtomicU64>,
    /// Announcements of rooms that were not delivered, on all connections of this proxy.
    pages_dropped: Arc<AtomicU64>,
}

/// The largest read. A report and its reply are far shorter.
const CHUNK_BYTES: usize = 16 * 1024;
/// Chunks that may be under way in one direction. More are left in the sender's socket.
const CHUNKS_MAX: usize = 1024;
/// In [`Mode::DropReplies`], one of this many replies is lost.
const DROPPED_ONE_IN: u64 = 3;

impl Proxy {
    /// Starts a proxy in front of this server.
    pub(crate) async fn start(redis: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (mode, modes) = watch::channel((Mode::Pass, Instant::now()));
        let reports = Arc::new(AtomicU64::new(0));
        let pages_dropped = Arc::<AtomicU64>::default();
        let dropped = Arc::clone(&pages_dropped);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let wire = Wire {
                    redis,
                    mode: modes.clone(),
                    opened: Instant::now(),
                    subscribes: Arc::default(),
                    doomed: Arc::default(),
                    reports: Arc::clone(&reports),
                    pages_dropped: Arc::clone(&dropped),
                };
                tokio::spawn(wire.carry(client));
            }
        });
        Self { address, mode, accepting, pages_dropped }
    }

    /// The address for the instance.
    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// How many announcements of rooms were not delivered.
    pub(crate) fn pages_dropped(&self) -> u64 {
        self.pages_dropped.load(Relaxed)
    }

    /// Changes the mode.
    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace((mode, Instant::now()));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Wire {
    /// Carries one connection, until either side or the mode ends it.
    async fn carry(self, client: TcpStream) {
        if self.mode.borrow().0 == Mode::Cut {
            return;
        }
        let Ok(server) = TcpStream::connect(self.redis).await else { return };
        // Small packets must arrive one by one. This fails for a closed socket, which needs no option.
        drop((client.set_nodelay(true), server.set_nodelay(true)));
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::select! {
            () = self.clone().pump(from_client, to_server, Direction::Requests) => {}
            () = self.clone().pump(from_server, to_client, Direction::Replies) => {}
            () = self.wait_for(|mode| mode == Mode::Cut) => {}
        }
    }

    async fn wait_for(&self, mut wanted: impl FnMut(Mode) -> bool) {
        let mut mode = self.mode.clone();
        // Fails when the proxy is dropped, which ends the connection too.
        drop(mode.wait_for(|(mode, _)| wanted(*mode)).await);
    }

    /// Carries one direction: reads without delay, writes as the mode says.
    async fn pump(self, from: OwnedReadHalf, to: OwnedWriteHalf, direction: Direction) {
        let (chunks, arriving) = mpsc::channel(CHUNKS_MAX);
        // Either half ends with an error when its side closes. Then both are finished.
        tokio::select! {
            _ = read(from, chunks) => {}
            _ = self.write(to, arriving, direction) => {}
        }
    }

    async fn write(
        &self,
        mut to: OwnedWriteHalf,
        mut arriving: mpsc::Receiver<Chunk>,
        direction: Direction,
    ) -> io::Result<()> {
        let (mut late, mut sieve) = (VecDeque::new(), Sieve::default());
        let mut pages = 0u64;
        while let Some(mut chunk) = arriving.recv().await {
            self.wait_for(|mode| !self.holds(mode, direction)).await;
            let mode = self.mode.borrow().0;
            if let Mode::Delay(delay) = mode {
                sleep_until(chunk.read_at + delay).await;
            }
            if direction == Direction::Requests {
                self.look_at(&chunk.bytes, mode, &mut late);
            } else if self.doomed.load(Relaxed) {
                return Err(io::ErrorKind::ConnectionReset.into());
            } else if self.subscribes.load(Relaxed) {
                chunk.bytes = sieve.pass(&chunk.bytes, |value| self.drops(value, mode, &mut pages));
            }
            to.write_all(&chunk.bytes).await?;
        }
        Ok(())
    }

    fn holds(&self, mode: Mode, direction: Direction) -> bool {
        let is_older = self.opened < self.mode.borrow().1;
        let delivers = direction == Direction::Replies && self.subscribes.load(Relaxed);
        match mode {
            Mode::Hold | Mode::Cut => true,
            Mode::Forget => is_older,
            Mode::Deaf => is_older && delivers,
            _ => false,
        }
    }

    /// Whether a value that Redis sends to a subscriber is to be lost.
    fn drops(&self, value: &[u8], mode: Mode, pages: &mut u64) -> bool {
        if !is_of_rooms(value) {
            return false;
        }
        *pages += 1;
        let drops = match mode {
            Mode::DeafToRooms => true,
            Mode::DropPages => pages.is_multiple_of(2),
            _ => false,
        };
        self.pages_dropped.fetch_add(u64::from(drops), Relaxed);
        drops
    }

    /// Detects the kind of a request, and prepares what the mode does to it.
    fn look_at(&self, request: &[u8], mode: Mode, late: &mut VecDeque<JoinHandle<()>>) {
        if contains(request, b"SUBSCRIBE") {
            self.subscribes.store(true, Relaxed);
        }
        if !contains(request, b"EVALSHA") {
            return;
        }
        let number = self.reports.fetch_add(1, Relaxed);
        match mode {
            Mode::DropReplies if number.is_multiple_of(DROPPED_ONE_IN) => {
                self.doomed.store(true, Relaxed);
            }
            Mode::Repeat(after) => {
                late.retain(|task| !task.is_finished());
                late.push_back(tokio::spawn(repeat(self.redis, request.to_vec(), after)));
            }
            _ => {}
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Requests,
    Replies,
}

#[derive(Debug)]
struct Chunk {
    read_at: Instant,
    bytes: Vec<u8>,
}

async fn read(mut from: OwnedReadHalf, chunks: mpsc::Sender<Chunk>) -> io::Result<()> {
    loop {
        let mut bytes = Vec::with_capacity(CHUNK_BYTES);
        if from.read_buf(&mut bytes).await? == 0 {
            return Ok(());
        }
        let chunk = Chunk { read_at: Instant::now(), bytes };
        if chunks.send(chunk).await.is_err() {
            return Ok(());
        }
    }
}

/// Sends the same bytes once more on a new connection, and reads the answer.
async fn repeat(redis: SocketAddr, request: Vec<u8>, after: Duration) {
    sleep(after).await;
    let Ok(mut server) = TcpStream::connect(redis).await else { return };
    if server.write_all(&request).await.is_ok() {
        // The answer is discarded: the instance got its answer before.
        drop(server.read(&mut [0; CHUNK_BYTES]).await);
    }
}

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}
