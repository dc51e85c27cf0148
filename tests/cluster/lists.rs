//! Lists of who is in a room, as socket.io clients of several instances see them.

mod api;

use deadpool_redis::redis;
use headcount_testkit::{
    client::Transport,
    cluster::Cluster,
    foreign::{ForeignClients, Library},
    instance::Instance,
    record::{Event, Record},
    rooms::RoomsClient,
    tokens::Issuer,
    users::Known,
    waiting::eventually,
};
use rstest::rstest;
use rustix::process::Signal;
use serde_json::{Value, json};

const ROOM: &str = "/team/7";
const LISTS: (&str, &str) = ("HEADCOUNT_LISTS", "/team/*");

/// What a client knows of its room by the events that it was told since it connected last. Panics if a change does not fit to the
/// list before.
fn known_to(record: &Record) -> Known {
    let mut known = Known::default();
    for entry in record.entries() {
        match entry.event {
            Event::Connected => known = Known::default(),
            Event::Users(event) => {
                known.hear(&event).unwrap_or_else(|fault| panic!("{}: {fault}", record.name()));
            }
            Event::Violation(why) => panic!("{}: {why}", record.name()),
            _ => {}
        }
    }
    known
}

/// Waits until every client lists exactly these users.
async fn list(records: &[&Record], ids: &[&str]) {
    eventually(&format!("all list {ids:?}"), async || {
        match records.iter().find(|record| known_to(record).ids() != ids) {
            None => Ok(()),
            Some(record) => Err(format!("{}: {:?}", record.name(), known_to(record))),
        }
    })
    .await;
}

fn listing(issuer: &Issuer, user: &str) -> Value {
    json!({ "token": issuer.token(user), "list": true })
}

/// A connection of a real client in the room, and what it is told.
async fn enter(
    foreign: &mut ForeignClients,
    instance: &Instance,
    transport: Transport,
    auth: Value,
) -> Record {
    foreign.open_rooms(instance.public, transport, &[(ROOM, auth)]).await.remove(0)
}

/// Goal: a client is told who is in its room on all instances, itself included, users and not tabs, with what their tokens say of
/// them; and then who comes and goes, also by a crash. Method: clients of both libraries on three instances and all transports; tabs, a
/// visitor and a connection without identity; a new token with other information; one instance is killed.
#[tokio::test(flavor = "multi_thread")]
async fn everybody_sees_who_is_there() {
    let issuer = Issuer::new("blog");
    let grace = [LISTS, ("HEADCOUNT_GRACE", "200ms")];
    let mut cluster = Cluster::start_with(3, &[&issuer.settings()[..], &grace].concat()).await;
    let (mut newest, mut oldest) =
        (ForeignClients::start(Library::Newest), ForeignClients::start(Library::Oldest));
    let (mut others, [one, two, three]) = (
        ForeignClients::start(Library::Newest),
        [0, 1, 2].map(|number| &cluster.instances[number]),
    );
    let token = |name: &str| issuer.token_showing("ada", &json!({ "name": name }));
    let ada = json!({ "token": token("Ada"), "list": true });
    let ada = enter(&mut newest, one, Transport::Websocket, ada).await;
    list(&[&ada], &["ada"]).await;
    let bob = enter(&mut oldest, two, Transport::Polling, listing(&issuer, "bob")).await;
    // Who has no poll open misses changes, and is sent the whole list then.
    let eve = enter(&mut others, three, Transport::Websocket, listing(&issuer, "eve")).await;
    list(&[&ada, &bob, &eve], &["ada", "bob", "eve"]).await;
    assert_eq!(known_to(&eve).users["ada"], json!({ "name": "Ada" }));

    let again =
        enter(&mut newest, two, Transport::Upgrade, json!({ "token": token("A."), "list": true }));
    let again = again.await;
    let silent =
        enter(&mut newest, one, Transport::Websocket, json!({ "token": issuer.token("zoe") }))
            .await;
    let _visitor =
        enter(&mut others, one, Transport::Websocket, json!({ "visitor": "k3J".repeat(8) })).await;
    let _stranger = enter(&mut others, two, Transport::Websocket, json!({})).await;
    let all = [&ada, &bob, &eve, &again];
    list(&all, &["ada", "bob", "eve", "zoe"]).await;
    eventually("all know what is known of her now", async || {
        let news = |record: &&&Record| known_to(record).users["ada"] != json!({ "name": "A." });
        all.iter().find(news).map_or(Ok(()), |record| Err(record.name().to_owned()))
    })
    .await;
    assert!(!silent.entries().iter().any(|entry| matches!(entry.event, Event::Users(_))));

    newest.close(0).await;
    newest.close(2).await;
    list(&[&bob, &eve, &again], &["ada", "bob", "eve"]).await;
    assert!(!known_to(&bob).left.contains("ada"), "she has another tab");
    cluster.instances[1].process().signal(Signal::KILL);
    cluster.instances[1].process().ended().await;
    list(&[&eve], &["eve"]).await;
    assert_eq!(known_to(&eve).lists, 1, "all else were changes");
}

/// Goal: a Redis that loses all its data, is away, or cuts the subscription lets nobody seem to leave, and the lists are right after it.
/// Method: users on three instances; the data is deleted; then Redis is stopped for a while, in which a user joins and another leaves;
/// then all subscriptions are cut while a user joins.
#[tokio::test(flavor = "multi_thread")]
async fn lists_stand_while_redis_fails() {
    let issuer = Issuer::new("blog");
    let grace = [LISTS, ("HEADCOUNT_GRACE", "0s")];
    let cluster = Cluster::start_with(3, &[&issuer.settings()[..], &grace].concat()).await;
    let mut clients = ForeignClients::start(Library::Newest);
    let mut seen = Vec::new();
    for (number, user) in ["ada", "bob", "eve"].into_iter().enumerate() {
        let auth = listing(&issuer, user);
        seen.push(
            enter(&mut clients, &cluster.instances[number], Transport::Websocket, auth).await,
        );
    }
    let all: Vec<&Record> = seen.iter().collect();
    list(&all, &["ada", "bob", "eve"]).await;

    let mut redis = cluster.redis.connection();
    redis::cmd("FLUSHALL").exec(&mut redis).expect("it deletes everything");
    let zoe =
        enter(&mut clients, &cluster.instances[0], Transport::Websocket, listing(&issuer, "zoe"))
            .await;
    list(&[&all[..], &[&zoe]].concat(), &["ada", "bob", "eve", "zoe"]).await;
    assert!(all.iter().all(|record| known_to(record).left.is_empty()));

    cluster.redis.stop();
    eventually("the instance knows that Redis is away", async || {
        let shown = cluster.instances[0].shown().await?;
        if shown.exact { Err(format!("{shown:?}")) } else { Ok(()) }
    })
    .await;
    let amy =
        enter(&mut clients, &cluster.instances[0], Transport::Websocket, listing(&issuer, "amy"))
            .await;
    list(&[&amy, &zoe, &seen[0]], &["ada", "amy", "bob", "eve", "zoe"]).await;
    clients.close(3).await;
    list(&[&amy, &seen[0]], &["ada", "amy", "bob", "eve"]).await;
    assert_eq!(known_to(&seen[1]).ids(), ["ada", "bob", "eve", "zoe"], "it cannot know");
    cluster.redis.cont();
    list(&[&all[..], &[&amy]].concat(), &["ada", "amy", "bob", "eve"]).await;

    redis::cmd("CLIENT").arg(&["KILL", "TYPE", "pubsub"]).exec(&mut redis).expect("it cuts");
    clients.join(3).await;
    list(&[&all[..], &[&amy, &zoe]].concat(), &["ada", "amy", "bob", "eve", "zoe"]).await;
    assert!(all.iter().all(|record| known_to(record).lists == 1), "all else were changes");
}

/// Goal: at most a hundred are listed, and all know how many more there are. Method: 150 users on two instances; a third of those
/// listed leave.
#[tokio::test(flavor = "multi_thread")]
async fn long_lists_are_cut() {
    let issuer = Issuer::new("blog");
    let grace = [LISTS, ("HEADCOUNT_GRACE", "0s")];
    let cluster = Cluster::start_with(2, &[&issuer.settings()[..], &grace].concat()).await;
    let mut foreign = ForeignClients::start(Library::Newest);
    let first = enter(
        &mut foreign,
        &cluster.instances[0],
        Transport::Websocket,
        listing(&issuer, "user-000"),
    );
    let first = first.await;
    let members: Vec<RoomsClient> = (1..150)
        .map(|number| {
            let server = cluster.instances[number % 2].public;
            let member = RoomsClient::open(server, Transport::Websocket, &[]);
            member.join_with(ROOM, &json!({ "token": issuer.token(&format!("user-{number:03}")) }));
            member
        })
        .collect();
    let last = enter(
        &mut foreign,
        &cluster.instances[1],
        Transport::Polling,
        listing(&issuer, "user-000"),
    )
    .await;
    let say = async |listed: usize, more: u64| {
        eventually(&format!("{listed} are listed, and {more} more"), async || {
            for record in [&first, &last] {
                let known = known_to(record);
                if (known.users.len(), known.more) != (listed, more) {
                    return Err(format!(
                        "{}: {} and {}",
                        record.name(),
                        known.users.len(),
                        known.more
                    ));
                }
            }
            Ok(())
        })
        .await;
    };
    say(100, 50).await;
    let known = known_to(&first);
    let (leaving, staying): (Vec<_>, Vec<_>) =
        members.into_iter().enumerate().partition(|(number, _)| {
            number % 3 == 0 && known.users.contains_key(&format!("user-{:03}", number + 1))
        });
    let listed = 1 + staying.len();
    drop(leaving);
    say(listed.min(100), listed.saturating_sub(100) as u64).await;
    let gone = known_to(&first).left;
    assert!(
        gone.iter()
            .all(|id| !staying.iter().any(|(number, _)| *id == format!("user-{:03}", number + 1)))
    );
}

/// Goal: a client that may not have a list is refused with a code that says why, and the connection and its other rooms go on. Method:
/// no token, a visitor key, a room without lists, a token for other rooms, and what is no boolean; beside a room that is allowed.
#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn lists_are_for_those_who_may(#[values(Library::Newest, Library::Oldest)] library: Library) {
    let issuer = Issuer::new("blog");
    let instance = Instance::start(&[&issuer.settings()[..], &[LISTS]].concat()).await;
    let mut foreign = ForeignClients::start(library);
    let in_blog = issuer.token_in("ada", &json!(["/blog/*"]));
    let rooms = [
        ("/team/1", json!({ "list": true })),
        ("/team/2", json!({ "list": true, "visitor": "k3J".repeat(8) })),
        ("/blog/1", listing(&issuer, "ada")),
        ("/team/3", json!({ "list": true, "token": in_blog })),
        ("/team/4", json!({ "list": 1, "token": issuer.token("ada") })),
        (ROOM, json!({ "list": true, "watch": true, "token": issuer.token("ada") })),
    ];
    let seen = foreign.open_rooms(instance.public, Transport::Websocket, &rooms).await;
    let codes =
        ["token_missing", "token_missing", "list_not_allowed", "room_forbidden", "bad_auth"];
    eventually("each is refused once", async || {
        for (record, code) in seen.iter().zip(codes) {
            let told: Vec<_> = record.entries().into_iter().map(|entry| entry.event).collect();
            if told != [Event::Refused(code.into())] {
                return Err(format!("{} expects {code}: {told:?}", record.name()));
            }
        }
        Ok(())
    })
    .await;
    let member =
        enter(&mut foreign, &instance, Transport::Websocket, listing(&issuer, "bob")).await;
    list(&[&seen[5], &member], &["bob"]).await;
    assert_eq!(instance.metric("headcount_lists").await, Ok(1.0));
    drop(foreign);
    eventually("no list is left", async || match instance.metric("headcount_lists").await? {
        0.0 => Ok(()),
        lists => Err(format!("{lists}")),
    })
    .await;
}
