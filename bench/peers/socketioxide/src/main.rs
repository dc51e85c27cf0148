//! What a user of socketioxide would write for one server: a counter, and `io.emit` to all clients. It is
//! not tuned at all, on purpose.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use axum::{Router, serve::ListenerExt};
use clap::{Parser, ValueEnum};
use socket2::{Domain, Socket, Type};
use socketioxide::{SocketIo, extract::SocketRef};
use tokio::{net::TcpListener, sync::Notify, time::sleep};

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

/// The number of clients, and a signal that it has changed.
#[derive(Debug, Default)]
struct Users {
    count: AtomicU64,
    changed: Notify,
}

#[tokio::main]
async fn main() -> Result<()> {
    let settings = Settings::parse();
    rlimit::increase_nofile_limit(u64::MAX).context("failed to raise the file limit")?;
    let (layer, io) = SocketIo::new_layer();
    let users = Arc::new(Users::default());
    let (counter, emitter) = (Arc::clone(&users), io.clone());
    let emit = settings.emit;
    io.ns("/", async move |socket: SocketRef| {
        let current = counter.count.fetch_add(1, Ordering::Relaxed) + 1;
        let (counter_then, emitter_then) = (Arc::clone(&counter), emitter.clone());
        socket.on_disconnect(async move || {
            let current = counter_then.count.fetch_sub(1, Ordering::Relaxed) - 1;
            changed(emit, &emitter_then, &counter_then, current).await;
        });
        if emit == Emit::Merged {
            drop(socket.emit(EVENT, &current));
        }
        changed(emit, &emitter, &counter, current).await;
    });
    if settings.emit == Emit::Merged {
        let interval = Duration::from_millis(settings.interval_ms);
        tokio::spawn(emit_merged(io, users, interval));
    }
    let listener = listen(settings.listen)?.tap_io(|stream| drop(stream.set_nodelay(true)));
    println!("listening");
    axum::serve(listener, Router::new().layer(layer)).await.context("failed to serve")
}

async fn changed(emit: Emit, io: &SocketIo, users: &Users, current: u64) {
    match emit {
        Emit::Each => drop(io.emit(EVENT, &current).await),
        Emit::Merged => users.changed.notify_one(),
    }
}

async fn emit_merged(io: SocketIo, users: Arc<Users>, interval: Duration) {
    loop {
        users.changed.notified().await;
        drop(io.emit(EVENT, &users.count.load(Ordering::Relaxed)).await);
        sleep(interval).await;
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
