//! Faults of rooms: very many of them, very many members, and lost announcements.

use headcount_testkit::{
    client::Transport,
    redis_client::{CHANNEL, ROOMS},
    waiting::eventually,
};

use super::{estimates, network::nobody_reports, row, store::APPEND_ONLY};
use crate::{
    checker::Sees,
    history::{Guest, Place, member, watcher},
    proxy::Mode,
    row::{Bound, HEARTBEAT, OfRooms, Row},
    stage::{ALONE, EVERYWHERE, INSTANCES, PASSING, Setup, Stage},
};

/// All rows about rooms.
pub(super) fn rows() -> Vec<Row> {
    [many(), announcements(), refilled()].concat()
}

/// Every client may be in a hundred rooms, so that few clients can be in very many.
pub(super) const HUNDRED_ROOMS: Setup = Setup {
    redis: &[],
    settings: &[("HEADCOUNT_ROOMS_PER_CONNECTION", "100")],
    grace: None,
    sentinels: false,
    patch: None,
};

/// The same, and instances without news do not report.
const HUNDRED_ROOMS_SLOW: Setup = Setup {
    settings: &[
        ("HEADCOUNT_ROOMS_PER_CONNECTION", "100"),
        ("HEADCOUNT_HEARTBEAT", "20s"),
        ("HEADCOUNT_LEASE", "60s"),
    ],
    ..HUNDRED_ROOMS
};

/// Rooms of one client in [`HUNDRED_ROOMS`].
const PER_CLIENT: usize = 100;
/// Rooms in the rows with very many. With a debug build, clients and checker would be late, and not the server.
const MANY: usize = if cfg!(debug_assertions) { 3_000 } else { 10_000 };
/// Members of the large room.
const CROWD_OF_ROOM: usize = if cfg!(debug_assertions) { 200 } else { 1_000 };
/// The large room.
const CROWDED: &str = "/crowded";

/// What an instance had in very many rooms is taken away in portions.
const DEATH_OF_MANY: Bound = Bound {
    formula: "lease + heartbeat + 1 s",
    time: Bound::LEASE_AND_HEARTBEAT.time.saturating_add(SECOND),
};
/// Very many rooms are reported again in portions. The store is recovering until a lease after the last of them.
const LOSS_OF_MANY: Bound = Bound {
    formula: "lease + 2 heartbeats + 1 s",
    time: Bound::LEASE_AND_2_HEARTBEATS.time.saturating_add(SECOND),
};
/// The last lost announcement is mentioned by the next report, and is missed a second later.
const MISSED: Bound = Bound { formula: "heartbeat + 1 s", time: HEARTBEAT.saturating_add(SECOND) };
const SECOND: std::time::Duration = std::time::Duration::from_secs(1);

fn many() -> Vec<Row> {
    vec![
        Row {
            setup: HUNDRED_ROOMS,
            of_rooms: OfRooms { bound: Some(DEATH_OF_MANY), sees: None },
            ..row(
                "many-killed",
                "kill -9 of an instance with very many rooms",
                Bound::LEASE_AND_HEARTBEAT,
                |stage| Box::pin(many_killed(stage)),
            )
        },
        Row {
            setup: HUNDRED_ROOMS,
            ..row(
                "many-lost",
                "Redis killed while very many rooms are open, back empty",
                LOSS_OF_MANY,
                |stage| Box::pin(many_lost(stage)),
            )
        },
        row(
            "crowded-killed",
            "kill -9 of an instance; very many are in one room",
            Bound::LEASE_AND_HEARTBEAT,
            |stage| Box::pin(crowded_killed(stage)),
        ),
        row(
            "crowded-lost",
            "Redis killed, back empty; very many are in one room",
            Bound::LEASE_AND_2_HEARTBEATS,
            |stage| Box::pin(crowded_lost(stage)),
        ),
    ]
}

fn announcements() -> Vec<Row> {
    let unseen = |name, fault, rooms, play| Row {
        sees: Sees::Nothing,
        of_rooms: OfRooms { bound: Some(MISSED), sees: Some(rooms) },
        ..row(name, fault, Bound::ONE_SECOND, play)
    };
    let slow = |row| Row {
        setup: HUNDRED_ROOMS_SLOW,
        sees: Sees::Nothing,
        of_rooms: OfRooms { bound: None, sees: Some(Sees::Truth) },
        ..row
    };
    vec![
        unseen("deaf-to-rooms", "no announcement of rooms arrives", Sees::Truth, |stage| {
            Box::pin(without_pages(stage, Mode::DeafToRooms))
        }),
        unseen(
            "pages-lost",
            "every second announcement of rooms is lost",
            Sees::Nothing,
            |stage| Box::pin(without_pages(stage, Mode::DropPages)),
        ),
        slow(row(
            "pages",
            "300 rooms change at once: more than fit into one message (heartbeat 20 s)",
            Bound::ONE_SECOND,
            |stage| Box::pin(several_pages(stage)),
        )),
        slow(row(
            "page-gap",
            "one announcement of rooms is lost, the next one shows it (heartbeat 20 s)",
            Bound::ONE_SECOND,
            |stage| Box::pin(page_gap(stage)),
        )),
        Row {
            sees: Sees::Nothing,
            ..row(
                "rubbish-of-rooms",
                "rubbish published on our channel of rooms",
                Bound::ONE_SECOND,
                |stage| Box::pin(rubbish(stage)),
            )
        },
    ]
}

fn refilled() -> Vec<Row> {
    vec![
        Row {
            setup: APPEND_ONLY,
            ..row(
                "refilled",
                "rooms empty and fill again while Redis is away",
                Bound::TWO_HEARTBEATS,
                |stage| Box::pin(refilled_in_an_outage(stage)),
            )
        },
        row(
            "refilled-lost",
            "the same, Redis comes back empty",
            Bound::LEASE_AND_2_HEARTBEATS,
            |stage| Box::pin(refilled_in_an_outage(stage)),
        ),
    ]
}

/// Goal: all rooms of an instance that dies are taken away, and no others. Method: kill an instance that alone has
/// [`MANY`] rooms. A hundred of them are watched elsewhere.
async fn many_killed(stage: &mut Stage) {
    stage.stop_churn().await;
    watch(stage, 0, 0..PER_CLIENT);
    open(stage, 1, 0..MANY);
    stage.ready().await;
    stage.start_churn();
    stage.visits_pass(4).await;
    stage.begin();
    stage.kill(1).await;
}

/// Goal: all rooms are reported again to a store that has lost them, and no count dips. Method: [`MANY`] rooms on three
/// instances, then a Redis without data.
async fn many_lost(stage: &mut Stage) {
    stage.stop_churn().await;
    watch(stage, 0, MANY - PER_CLIENT..MANY);
    for place in 0..INSTANCES {
        open(stage, place, MANY * place / INSTANCES..MANY * (place + 1) / INSTANCES);
    }
    stage.ready().await;
    stage.start_churn();
    stage.visits_pass(4).await;
    outage(stage).await;
}

/// Goal: a large room loses the members of an instance that dies, and no others. Method: a third of a thousand members
/// are on that instance.
async fn crowded_killed(stage: &mut Stage) {
    crowd_a_room(stage).await;
    stage.begin();
    stage.kill(1).await;
}

/// Goal: the members of a large room are counted again when the store has lost them. Method: some leave during the
/// outage.
async fn crowded_lost(stage: &mut Stage) {
    crowd_a_room(stage).await;
    stage.begin();
    stage.redis().kill_9();
    estimates(stage, INSTANCES).await;
    let leaving = stage.crowd.len() - 10;
    for guest in stage.crowd.drain(leaving..) {
        guest.leave().await;
    }
    stage.redis().restart();
}

/// Goal: an instance that gets no announcements of rooms notices it, and asks for the counts. Method: the proxies drop
/// those messages while clients join and leave.
async fn without_pages(stage: &mut Stage, mode: Mode) {
    stage.begin();
    stage.set_all(mode);
    stage.visits_pass(40).await;
    stage.set_all(Mode::Pass);
}

/// Goal: changes of more rooms than fit into one announcement reach everybody. Method: nothing is reported but these
/// changes, which are watched on another instance. So nothing but announcements can bring them.
async fn several_pages(stage: &mut Stage) {
    const ROOMS: usize = 300;
    stage.stop_churn().await;
    watch(stage, 1, 0..ROOMS);
    stage.ready().await;
    nobody_reports(stage).await;
    stage.begin();
    open(stage, 0, 0..ROOMS);
    all_stored(stage, ROOMS).await;
}

/// Goal: an announcement that was lost is noticed with the next one, and does not need a heartbeat, which is far away here.
/// Method: a room changes while no announcement of rooms arrives. Then they arrive again, and another room changes.
async fn page_gap(stage: &mut Stage) {
    stage.stop_churn().await;
    stage.ready().await;
    nobody_reports(stage).await;
    stage.begin();
    stage.set_all(Mode::DeafToRooms);
    let missed = stage.open(0, Transport::Websocket, &[member(EVERYWHERE)]);
    stage.crowd.push(missed);
    eventually("the announcement is lost", async || {
        let lost: Vec<u64> = stage.seats.iter().map(|seat| seat.proxy.pages_dropped()).collect();
        if lost.contains(&0) { Err(format!("{lost:?}")) } else { Ok(()) }
    })
    .await;
    stage.set_all(Mode::Pass);
    let heard = stage.open(0, Transport::Websocket, &[member(PASSING)]);
    stage.crowd.push(heard);
    eventually("it has joined", async || {
        let counts = stage.crowd.last().map(|guest| guest.record().counts());
        if counts.is_some_and(|counts| !counts.is_empty()) { Ok(()) } else { Err(String::new()) }
    })
    .await;
}

/// Goal: other programs may publish on the channel of rooms, and mislead nobody. Method: messages that are almost
/// announcements, repeatedly, while clients join and leave.
async fn rubbish(stage: &mut Stage) {
    stage.begin();
    let channel = format!("{CHANNEL}:rooms");
    for _ in 0..3 {
        for message in RUBBISH {
            stage.redis_client.send(&["PUBLISH", &channel, message]).await.expect("Redis runs");
        }
        stage.visits_pass(8).await;
    }
}

const RUBBISH: [&str; 7] = [
    "",
    "{\"rooms\":{\"/everywhere\":99999}}",
    "{\"revision\":99999,\"since\":0,\"stamp\":\"\",\"rooms\":{\"/everywhere\":99999}}",
    "{\"revision\":99999,\"since\":0,\"stamp\":\"\",\"rooms\":{\"/everywhere\":99999},\"key\":\"others\",\"database\":0}",
    "{\"revision\":99999,\"since\":0,\"stamp\":\"\",\"rooms\":{\"/everywhere\":-1},\"key\":\"currentUsers\",\"database\":0}",
    "{\"revision\":1e99,\"since\":0,\"stamp\":\"\",\"rooms\":{\"/everywhere\":99999},\"key\":\"currentUsers\",\"database\":0}",
    "{\"revision\":99999,\"since\":0,\"stamp\":\"\",\"rooms\":[\"/everywhere\"],\"key\":\"currentUsers\",\"database\":0}",
];

/// Goal: rooms that empty and fill again while Redis is away have the right counts when it is back. Method: on one
/// instance, the only member of a room leaves and another one comes. On the second, one leaves for good. The one of the
/// third moves to the first.
async fn refilled_in_an_outage(stage: &mut Stage) {
    stage.begin();
    stage.redis().kill_9();
    estimates(stage, INSTANCES).await;
    for place in 0..INSTANCES {
        alone(stage, place).leave_room(&format!("{ALONE}{place}"));
    }
    stage.visits_pass(6).await;
    for (place, room) in [(0, 0), (0, 2)] {
        alone(stage, place).join(&member(format!("{ALONE}{room}")));
    }
    stage.visits_pass(6).await;
    stage.redis().restart();
}

/// The client of the crowd that is the only member of a room at this place.
fn alone(stage: &Stage, place: Place) -> &Guest {
    &stage.crowd[place * crate::stage::CROWD]
}

/// Connects clients that are the only members of these rooms.
pub(super) fn open(stage: &mut Stage, place: Place, rooms: std::ops::Range<usize>) {
    let names: Vec<_> = rooms.map(|room| member(many_room(room))).collect();
    for memberships in names.chunks(PER_CLIENT) {
        let guest = stage.open(place, Transport::Websocket, memberships);
        stage.crowd.push(guest);
    }
}

/// Connects clients that watch these rooms.
pub(super) fn watch(stage: &mut Stage, place: Place, rooms: std::ops::Range<usize>) {
    let names: Vec<_> = rooms.map(|room| watcher(many_room(room))).collect();
    for memberships in names.chunks(PER_CLIENT) {
        let guest = stage.open(place, Transport::Websocket, memberships);
        stage.crowd.push(guest);
    }
}

fn many_room(number: usize) -> String {
    format!("/many/{number}")
}

/// Lets a thousand clients join one room, while nobody else joins or leaves.
async fn crowd_a_room(stage: &mut Stage) {
    stage.stop_churn().await;
    for number in 0..CROWD_OF_ROOM {
        let guest = stage.open(number % INSTANCES, Transport::Websocket, &[member(CROWDED)]);
        stage.crowd.push(guest);
        if number % 50 == 49 {
            stage.ready().await;
        }
    }
    stage.ready().await;
}

/// Waits until Redis has counted the members of this number of rooms made by [`open`].
async fn all_stored(stage: &Stage, wanted: usize) {
    eventually("Redis has counted all rooms", async || {
        let rooms = stage.redis_client.rooms().await?;
        match rooms.keys().filter(|room| room.starts_with("/many/")).count() {
            stored if stored == wanted => Ok(()),
            stored => Err(format!("{stored} of {wanted} in {ROOMS}")),
        }
    })
    .await;
}

async fn outage(stage: &mut Stage) {
    stage.begin();
    stage.redis().kill_9();
    estimates(stage, INSTANCES).await;
    stage.redis().restart();
}
