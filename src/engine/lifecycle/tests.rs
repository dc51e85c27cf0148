//! What may happen to a session at any moment, by the tasks of an instance and by other requests, happens here at every moment:
//! threads do it to each session that they see, as fast as they can, while clients of all kinds come and go and judge what they read.

#![allow(clippy::disallowed_methods, reason = "a test ends its tasks with its runtime")]

#[path = "tests/judge.rs"]
mod judge;
#[path = "tests/visitor.rs"]
mod visitor;
#[path = "tests/wire.rs"]
mod wire;

use std::{
    panic::AssertUnwindSafe,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use futures_util::FutureExt;
use rstest::rstest;
use tokio::{runtime::Handle, sync::watch, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    broadcast::broadcaster::Broadcaster,
    core::room::RoomName,
    engine::session::PollState,
    fixtures::{LonelyStore, acknowledge, count, turns::OthersFirst},
    http::serve::tests::{PATIENCE, Server, Space},
};
use judge::GROWTH;
use visitor::{Carried, Farewell, Left, Manner, Visit};

/// Clients at a time, and the visits of each.
const CLIENTS: usize = 6;
const VISITS: usize = 36;
/// A client may be back before the server has found out that it went.
const SPACE: Space = Space { sessions: 8 * CLIENTS, connections: 32 * CLIENTS, rooms: 1000 };
const EMIT_INTERVAL: Duration = Duration::from_millis(1);

/// How often a session begins that is ended at once.
const RETURNS: usize = 100;

/// A server whose site has a count that grows with every change.
fn start() -> Arc<Server> {
    let server = Arc::new(Server::with_space(SPACE, PATIENCE, Transports::Both));
    let (view, flusher) = (watch::Sender::new(LonelyStore::view()), Flusher::default());
    let tally = Arc::clone(&server.tally);
    let (seen, metrics) = (view.subscribe(), server.metrics.clone());
    let broadcaster =
        Broadcaster::new(Arc::clone(&tally), seen, flusher.clone(), metrics, EMIT_INTERVAL);
    tokio::spawn(broadcaster.run(CancellationToken::new()));
    tokio::spawn(flusher.run(CancellationToken::new()));
    tokio::spawn(async move {
        let mut changes = tally.subscribe();
        for revision in 1.. {
            changes.mark_unchanged();
            acknowledge(&tally, &view, count(revision * GROWTH, revision), Instant::now());
            if changes.changed().await.is_err() {
                return;
            }
        }
    });
    server
}

/// Does what the tasks of an instance do to sessions, but for ending them, and looks at what operators are shown.
fn meddle(engine: &Engine) {
    for session in engine.sessions().all() {
        engine.ping(&session, 1);
        engine.look_after(&session, session.state(), Instant::now());
        session.flush();
        session.unpolled_for(Instant::now());
    }
    assert!(engine.polling_sessions() <= SPACE.sessions, "{}", engine.polling_sessions());
    for transport in Transport::ALL {
        assert!(engine.joined(transport) <= SPACE.sessions, "{}", engine.joined(transport));
    }
    assert!(engine.admission().permits().taken() <= SPACE.sessions);
}

/// Ends most sessions, each at a moment of its own. Which one it is depends on the session's id.
fn send_away(engine: &Engine) {
    for session in engine.sessions().all() {
        let fate = session.id().to_string().bytes().last().unwrap_or_default();
        let state = session.state();
        let is_time = match fate % 14 {
            0 => true,
            1 => !state.is_outside(),
            2 => {
                state.membership.is_some() && state.outbox.rooms().is_some_and(|it| !it.is_empty())
            }
            3 => state.requests.poll == PollState::Open,
            4 => state.requests.posts,
            5 => state.requests.upgrades,
            6 => state.requests.is_probed,
            7 => state.candidate.is_some(),
            8 => session.began_by() == Transport::Polling && !state.outbox.is_polled(),
            _ => false,
        };
        drop(state);
        if is_time {
            let reason = EndReason::ALL[usize::from(fate) % EndReason::ALL.len()];
            let close_code = (fate < b'a').then_some(1001);
            engine.end(&session, End { reason, close_code });
            assert!(engine.polling_sessions() <= SPACE.sessions, "{}", engine.polling_sessions());
        }
    }
}

/// The visits of one client.
async fn visit_often(server: Arc<Server>, client: usize) -> Result<(), String> {
    let mut room = format!("/n/{client}");
    for visit in 0..VISITS {
        let carried = [Carried::Websocket, Carried::Polls, Carried::Both][visit % 3];
        let manner = [Manner::Plain, Manner::Unusual, Manner::Pipelined][(visit / 3 + client) % 3];
        let farewell = [Farewell::Packet, Farewell::Frame, Farewell::Cut][visit / 9 % 3];
        match Visit::make(&server, carried, manner, farewell, &room).await? {
            Left::Nothing => {}
            Left::Unknown => room = format!("/n/{client}/{visit}"),
        }
    }
    Ok(())
}

/// Goal: whatever the tasks of an instance do in between, each client reads what the protocols allow, in order: the answer to its
/// handshake first, no count before its acknowledgement or after it has left, none older than one before, nobody in a room twice, every
/// request answered, and nothing after the close. At the end nothing is left of any session. Method: clients on all transports, with
/// requests of several forms; one thread that pings, checks and flushes every session, and one that ends most of them; all of
/// them let others go first now and then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_read_what_they_may_whatever_happens_meanwhile() {
    let (server, stop, _turns) = (start(), AtomicBool::new(false), OthersFirst::begin());
    let engine = &*server.engine;
    let visits = async {
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            clients.spawn(visit_often(Arc::clone(&server), client));
        }
        clients.join_all().await
    };
    let visits = AssertUnwindSafe(visits).catch_unwind();
    let seen = thread::scope(|threads| {
        let workers = [meddle, send_away].map(|work: fn(&Engine)| {
            let stop = &stop;
            threads.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    work(engine);
                    thread::yield_now();
                }
            })
        });
        let seen = tokio::task::block_in_place(|| Handle::current().block_on(visits));
        stop.store(true, Ordering::Relaxed);
        for worker in workers {
            worker.join().expect("it has found nothing");
        }
        seen.expect("clients judge")
    });
    let faults: Vec<String> = seen.into_iter().filter_map(Result::err).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    nothing_is_left(&server).await;
}

/// Waits until all sessions have ended, and looks at what was counted.
async fn nothing_is_left(server: &Server) {
    server.no_session().await;
    server.users(0).await;
    server.no_rooms().await;
    let engine = &server.engine;
    let closed = async {
        while server.free_connections.available_permits() < SPACE.connections
            || engine.admission().permits().taken() > 0
        {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, closed).await.expect("all connections end");
    let joined = Transport::ALL.map(|transport| engine.joined(transport));
    assert_eq!((engine.polling_sessions(), joined), (0, [0, 0]));
    let connects =
        Transport::ALL.map(|it| server.metrics.connects.with_label_values(&[it.label()]).get());
    let disconnects = EndReason::ALL.iter().map(|reason| server.disconnects(reason.label()));
    assert_eq!(connects.iter().sum::<u64>(), disconnects.sum::<u64>());
    let (joins, leaves) = (&server.metrics.room_joins, &server.metrics.room_leaves);
    let member = ["member"];
    assert_eq!(joins.with_label_values(&member).get(), leaves.with_label_values(&member).get());
    assert!(connects.iter().all(|&connects| connects > 0), "{connects:?}");
}

/// Goal: whoever has read the end of its session finds the place free that it had, also on an instance that is full. Method: an
/// instance with one place, and a thread that ends every session; a client that comes back as soon as it knows.
#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_is_free_before_its_client_knows(#[values(false, true)] polls: bool) {
    let space = Space { sessions: 1, connections: 100, rooms: 0 };
    let server = Arc::new(Server::with_space(space, PATIENCE, Transports::Both));
    let (engine, stop, _turns) = (&*server.engine, AtomicBool::new(false), OthersFirst::begin());
    let returns = async {
        for _ in 0..RETURNS {
            Visit::come_and_be_sent_away(&server, polls).await?;
        }
        Ok::<_, String>(())
    };
    let seen = thread::scope(|threads| {
        threads.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                for session in engine.sessions().all() {
                    if !polls || session.state().requests.poll == PollState::Open {
                        engine.end(&session, EndReason::Draining);
                    }
                }
                thread::yield_now();
            }
        });
        let seen = AssertUnwindSafe(returns).catch_unwind();
        let seen = tokio::task::block_in_place(|| Handle::current().block_on(seen));
        stop.store(true, Ordering::Relaxed);
        seen.expect("it judges")
    });
    assert_eq!(seen, Ok(()));
}

/// Goal: when a session has been ended, by whomever, its client is in no room, so whoever then tells the client so tells the truth.
/// Method: two threads end a session at the same time, many times; each looks at once whether somebody is in its rooms.
#[tokio::test]
async fn whoever_ends_a_session_finds_nothing_of_it() {
    let (server, _turns) = (start(), OthersFirst::begin());
    let (engine, rooms) = (&*server.engine, server.engine.rooms());
    let names = [1, 2, 3].map(|number| RoomName::parse(&format!("/n/{number}")).unwrap());
    for _ in 0..RETURNS {
        let permit = engine.admission().permit().expect("there is room");
        let session = engine.begin(Transport::Polling, permit, |_| SessionOutbox::polled());
        for name in &names {
            engine.receive(&session, &format!("40{name},")).expect("it may join");
        }
        thread::scope(|threads| {
            for _ in 0..2 {
                threads.spawn(|| {
                    engine.end(&session, EndReason::Draining);
                    let left = names.each_ref().map(|name| rooms.connections(name));
                    assert_eq!((left, engine.sessions().len()), ([0, 0, 0], 0));
                });
            }
        });
    }
}
