//! What a user of socketioxide would write for one server: a counter for the site and each room, and an event to all who are in it. It is
//! not tuned at all, on purpose.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use axum::{Router, serve::ListenerExt};
use clap::{Parser, ValueEnum};
use socket2::{Domain, Socket, Type};
use socketioxide::{SocketIo, extract::SocketRef};
use tokio::{net::TcpListener, time::sleep};

/// The same as the other servers have.
const BACKLOG: i32 = 4096;
const EVENT: &str = "user count";

#[derive(Debug, Parser)]
struct Settings {
    /// Where to listen.
    #[arg(long)]
    listen: SocketAddr,
    /// When to tell all clients.
    #[arg(long, value_enum, default_value = "merged")]
    emit: Emit,
    /// Merged: the shortest time between two emissions, in milliseconds.
    #[arg(long, default_value_t = 50)]
    interval_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Emit {
    Each,
    Merged,
}

/// One namespace: the site, or a room.
#[derive(Debug, Default)]
struct Users {
    count: AtomicU64,
    /// An emission will come.
    is_planned: AtomicBool,
}

/// What all handlers share.
#[derive(Clone, Debug)]
struct Shared {
    io: SocketIo,
    rooms: Arc<Mutex<HashMap<String, Arc<Users>>>>,
    emit: Emit,
    interval: Duration,
}

#[tokio::main]
async fn main() -> Result<()> {
    let settings = Settings::parse();
    rlimit::increase_nofile_limit(u64::MAX).context("failed to raise the file limit")?;
    let (layer, io) = SocketIo::new_layer();
    let shared = Shared {
        io: io.clone(),
        rooms: Arc::default(),
        emit: settings.emit,
        interval: Duration::from_millis(settings.interval_ms),
    };
    let (site, rooms) = (shared.clone(), shared);
    io.ns("/", async move |socket: SocketRef| site.welcome(socket).await);
    io.dyn_ns("/{*room}", async move |socket: SocketRef| rooms.welcome(socket).await)?;
    let listener = listen(settings.listen)?.tap_io(|stream| drop(stream.set_nodelay(true)));
    println!("listening");
    axum::serve(listener, Router::new().layer(layer)).await.context("failed to serve")
}

impl Shared {
    async fn welcome(&self, socket: SocketRef) {
        let name = socket.ns().to_owned();
        let users = {
            let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(rooms.entry(name.clone()).or_default())
        };
        let current = users.count.fetch_add(1, Ordering::Relaxed) + 1;
        let (shared, users_then, name_then) = (self.clone(), Arc::clone(&users), name.clone());
        socket.on_disconnect(async move || {
            let current = users_then.count.fetch_sub(1, Ordering::Relaxed) - 1;
            shared.changed(&name_then, &users_then, current).await;
        });
        if self.emit == Emit::Merged {
            drop(socket.emit(EVENT, &current));
        }
        self.changed(&name, &users, current).await;
    }

    async fn changed(&self, name: &str, users: &Arc<Users>, current: u64) {
        if self.emit == Emit::Each {
            return self.tell(name, current).await;
        }
        if !users.is_planned.swap(true, Ordering::AcqRel) {
            let (shared, users, name) = (self.clone(), Arc::clone(users), name.to_owned());
            tokio::spawn(async move {
                sleep(shared.interval).await;
                users.is_planned.store(false, Ordering::Release);
                shared.tell(&name, users.count.load(Ordering::Relaxed)).await;
            });
        }
    }

    async fn tell(&self, name: &str, current: u64) {
        if let Some(room) = self.io.of(name) {
            drop(room.emit(EVENT, &current).await);
        }
    }
}

fn listen(address: SocketAddr) -> Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into()).context("failed to listen")?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into()).context("failed to listen")
}
