//! A small load balancer: a new session goes to the first instance that is ready, or to each in turn, and later requests
//! of the session go there too.
//!
//! It never retries, and never closes a working connection: clients reconnect by themselves.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use crate::{http, instance::Instance};

/// A running balancer. It accepts no more connections when this value is dropped.
#[derive(Debug)]
pub struct Balancer {
    /// The address for clients.
    pub address: SocketAddr,
    routes: Arc<Routes>,
    task: JoinHandle<()>,
}

/// The instances in order of preference, and the instance of every session.
#[derive(Debug)]
struct Routes {
    backends: Mutex<Vec<Backend>>,
    sessions: Mutex<HashMap<String, SocketAddr>>,
    loyalty: Loyalty,
    preference: Preference,
    /// How many sessions have begun, if they are taken in turns.
    begun: AtomicUsize,
}

/// Which of the instances that are ready gets a new session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Preference {
    /// Always the first one.
    First,
    /// Each in turn. Other requests, such as those of pages for scripts, go to the first one and do not count.
    InTurns,
}

/// Where requests of a session go whose instance is not ready any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loyalty {
    /// To that instance, for as long as it runs.
    ToTheEnd,
    /// To another one, as in Kubernetes, where a pod that ends leaves the endpoints at once. Open connections remain.
    WhileReady,
}

#[derive(Clone, Copy, Debug)]
struct Backend {
    public: SocketAddr,
    admin: SocketAddr,
}

/// The longest request head in which a session id is looked for. The heads of these clients are far shorter.
const HEAD_BYTES_MAX: usize = 8192;

impl Balancer {
    /// Starts a balancer in front of these instances, the preferred one first.
    pub async fn start<'a>(instances: impl IntoIterator<Item = &'a Instance>) -> Self {
        Self::start_with(instances, Loyalty::ToTheEnd, Preference::First).await
    }

    /// Starts a balancer that forgets the sessions of an instance as soon as that is not ready, as Kubernetes does.
    pub async fn start_forgetful<'a>(instances: impl IntoIterator<Item = &'a Instance>) -> Self {
        Self::start_with(instances, Loyalty::WhileReady, Preference::First).await
    }

    /// Starts a balancer that gives each of these instances every second, third, … new session.
    pub async fn start_in_turns<'a>(instances: impl IntoIterator<Item = &'a Instance>) -> Self {
        Self::start_with(instances, Loyalty::ToTheEnd, Preference::InTurns).await
    }

    async fn start_with<'a>(
        instances: impl IntoIterator<Item = &'a Instance>,
        loyalty: Loyalty,
        preference: Preference,
    ) -> Self {
        let backends = Mutex::new(instances.into_iter().map(Backend::of).collect());
        let routes = Arc::new(Routes {
            backends,
            sessions: Mutex::default(),
            loyalty,
            preference,
            begun: AtomicUsize::new(0),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::clone(&routes);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(forward(client, Arc::clone(&shared)));
            }
        });
        Self { address, routes, task }
    }

    /// Adds an instance, as the least preferred one.
    pub fn add(&self, instance: &Instance) {
        self.routes.backends().push(Backend::of(instance));
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves one connection. An error ends it, which the client sees as a lost connection.
async fn forward(mut client: TcpStream, routes: Arc<Routes>) -> io::Result<()> {
    let head = read_until_blank_line(&mut client).await?;
    let session = between(&head, "sid=", |end| " &".contains(end));
    let begins = session.is_none() && head.contains("/socket.io/?");
    let address = match session.as_deref() {
        Some(session) => routes.address_for(session).await,
        None => routes.address_for_new(begins).await,
    };
    let address = address.ok_or(io::ErrorKind::NotFound)?;
    let mut server = TcpStream::connect(address).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    server.write_all(head.as_bytes()).await?;
    if session.is_none() {
        let mut answer = vec![0; HEAD_BYTES_MAX];
        let length = server.read(&mut answer).await?;
        let text = String::from_utf8_lossy(&answer[..length]);
        if let Some(session) = between(&text, "\"sid\":\"", |end| end == '"') {
            routes.lock().insert(session, address);
        }
        client.write_all(&answer[..length]).await?;
    }
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

async fn read_until_blank_line(client: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
        if head.len() > HEAD_BYTES_MAX || client.read_buf(&mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// The text after the first `start`, up to the first character for which `is_end` is true.
fn between(text: &str, start: &str, is_end: impl Fn(char) -> bool) -> Option<String> {
    let (_, rest) = text.split_once(start)?;
    rest.split_once(is_end).map(|(found, _)| found.to_owned())
}

impl Backend {
    fn of(instance: &Instance) -> Self {
        Self { public: instance.public, admin: instance.admin }
    }
}

impl Routes {
    async fn address_for(&self, session: &str) -> Option<SocketAddr> {
        let home = self.lock().get(session).copied();
        if home.is_some() && self.loyalty == Loyalty::ToTheEnd {
            return home;
        }
        let mut backends = self.backends().clone();
        backends.sort_by_key(|backend| Some(backend.public) != home);
        Self::first_ready(backends).await
    }

    /// Where a request without a session goes. It may begin one.
    async fn address_for_new(&self, begins: bool) -> Option<SocketAddr> {
        let mut backends = self.backends().clone();
        if begins && self.preference == Preference::InTurns {
            let turn = self.begun.fetch_add(1, Ordering::Relaxed);
            let first = turn % backends.len();
            backends.rotate_left(first);
        }
        Self::first_ready(backends).await
    }

    async fn first_ready(backends: Vec<Backend>) -> Option<SocketAddr> {
        for backend in backends {
            let ready = http::get(backend.admin, "/readyz").await;
            if ready.is_ok_and(|answer| answer.status == 200) {
                return Some(backend.public);
            }
        }
        None
    }

    fn backends(&self) -> std::sync::MutexGuard<'_, Vec<Backend>> {
        self.backends.lock().expect("nothing panics while it holds this lock")
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, SocketAddr>> {
        self.sessions.lock().expect("nothing panics while it holds this lock")
    }
}
