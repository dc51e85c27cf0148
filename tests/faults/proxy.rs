//! A TCP proxy between one instance and Redis that breaks what passes through it, as networks do.
//!
//! It forwards bytes and never changes one. All it knows of Redis is how to find a report and a subscription
//! among the requests.

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

/// What the proxy does to the connections through it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Nothing.
    Pass,
    /// Each byte takes so long, in each direction.
    Delay(Duration),
    /// Connections are closed, and new ones are closed at once.
    Cut,
    /// Connections stay open and no byte passes; those held arrive when the mode ends.
    Hold,
    /// The connections that are open now fall silent for good, as when a firewall forgets them; new ones work.
    Forget,
    /// The subscriptions that are open now stay so and deliver nothing; all else works.
    Deaf,
    /// Every third report runs, its reply is lost, and its connection with it.
    DropReplies,
    /// Every report runs again later, on a connection of its own.
    Repeat(Duration),
}

/// A running proxy. Dropped, it closes everything.
#[derive(Debug)]
pub(crate) struct Proxy {
    address: SocketAddr,
    mode: watch::Sender<(Mode, Instant)>,
    accepting: JoinHandle<()>,
}

/// What the two directions of one connection share.
#[derive(Clone, Debug)]
struct Wire {
    redis: SocketAddr,
    mode: watch::Receiver<(Mode, Instant)>,
    opened: Instant,
    subscribes: Arc<AtomicBool>,
    /// The reply to what is under way is to be lost.
    doomed: Arc<AtomicBool>,
    /// Reports seen on all connections of this proxy.
    reports: Arc<AtomicU64>,
}

/// One read of either side takes no more: a report and its reply are far shorter.
const CHUNK_BYTES: usize = 16 * 1024;
/// Chunks that may be under way in one direction; more are left in the sender's socket.
const CHUNKS_MAX: usize = 1024;
/// In [`Mode::DropReplies`], one reply in this number is dropped.
const DROPPED_ONE_IN: u64 = 3;

impl Proxy {
    /// Starts one in front of this server.
    pub(crate) async fn start(redis: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (mode, modes) = watch::channel((Mode::Pass, Instant::now()));
        let reports = Arc::new(AtomicU64::new(0));
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let wire = Wire {
                    redis,
                    mode: modes.clone(),
                    opened: Instant::now(),
                    subscribes: Arc::default(),
                    doomed: Arc::default(),
                    reports: Arc::clone(&reports),
                };
                tokio::spawn(wire.carry(client));
            }
        });
        Self { address, mode, accepting }
    }

    /// The address to give to the instance.
    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// From now on it does this.
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
    /// One connection, until either side or the mode ends it.
    async fn carry(self, client: TcpStream) {
        if self.mode.borrow().0 == Mode::Cut {
            return;
        }
        let Ok(server) = TcpStream::connect(self.redis).await else { return };
        // Small packets are to arrive one by one; a socket that is closed already has no options to set.
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
        // Fails when the proxy is dropped, which is an end as well.
        drop(mode.wait_for(|(mode, _)| wanted(*mode)).await);
    }

    /// Carries one direction: reads without delay, writes as the mode says.
    async fn pump(self, from: OwnedReadHalf, to: OwnedWriteHalf, direction: Direction) {
        let (chunks, arriving) = mpsc::channel(CHUNKS_MAX);
        // Either ends with an error when its side closes; both are over then.
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
        let mut late = VecDeque::new();
        while let Some(chunk) = arriving.recv().await {
            self.wait_for(|mode| !self.holds(mode, direction)).await;
            let mode = self.mode.borrow().0;
            if let Mode::Delay(delay) = mode {
                sleep_until(chunk.read_at + delay).await;
            }
            if direction == Direction::Requests {
                self.look_at(&chunk.bytes, mode, &mut late);
            } else if self.doomed.load(Relaxed) {
                return Err(io::ErrorKind::ConnectionReset.into());
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

    /// Notes what kind of request passes, and prepares its misfortune.
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

/// Sends the same bytes once more, on a connection of their own, and hears out the answer.
async fn repeat(redis: SocketAddr, request: Vec<u8>, after: Duration) {
    sleep(after).await;
    let Ok(mut server) = TcpStream::connect(redis).await else { return };
    if server.write_all(&request).await.is_ok() {
        // What it says is nobody's: the answer was given long ago.
        drop(server.read(&mut [0; CHUNK_BYTES]).await);
    }
}

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}
