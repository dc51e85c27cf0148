//! People: users who sign in and visitors with several tabs, as clients of several libraries and those beside them see it.

mod keys;
mod moving;

use std::time::Duration;

use headcount_testkit::{
    client::Transport,
    cluster::nothing_is_wrong_in,
    foreign::{ForeignClients, Library},
    instance::Instance,
    record::{Event, Record},
    rooms::RoomsClient,
    tokens::{Issuer, in_seconds},
    waiting::eventually,
};
use rstest::rstest;
use serde_json::{Value, json};

/// Waits until each of these records shows its number, and nothing outside the contract was seen.
async fn show(expected: &[(&Record, u64)]) {
    eventually("all show their counts", async || {
        for (record, users) in expected {
            nothing_is_wrong_in(std::slice::from_ref(*record));
            if record.shows() != Some(*users) {
                return Err(format!("{} is not at {users}: {:?}", record.name(), record.entries()));
            }
        }
        Ok(())
    })
    .await;
}

/// Waits until these clients have been refused once each, with these codes, and have been told nothing else.
async fn are_refused(seen: &[Record], codes: &[&str]) {
    assert_eq!(seen.len(), codes.len());
    eventually("each is refused once", async || {
        for (record, code) in seen.iter().zip(codes) {
            let entries = record.entries();
            let told: Vec<_> = entries.iter().map(|entry| &entry.event).collect();
            if told != [&Event::Refused((*code).into())] {
                return Err(format!("{} expects {code}: {told:?}", record.name()));
            }
        }
        Ok(())
    })
    .await;
}

/// Goal: a user is counted once, however many tabs he has and on whatever transport; others are counted as ever. Method: two users
/// with two tabs each, in the site and in a room, in every library, beside a connection without an identity. Of the tabs of one
/// user, one leaves the room; nobody is told anything by that.
#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn tabs_of_a_user_are_one(
    #[values(Library::Newest, Library::Oldest, Library::Python)] library: Library,
    #[values(Transport::Websocket, Transport::Polling)] transport: Transport,
) {
    let issuer = Issuer::new("blog");
    let instance = Instance::start(&issuer.settings()).await;
    let server = instance.public;
    let stranger = RoomsClient::open(server, Transport::Websocket, &["/", "/page"]);
    let (site, page) = (stranger.record("/"), stranger.record("/page"));
    let mut foreign = ForeignClients::start(library);
    let mut seen = Vec::new();
    for user in ["margaret", "margaret", "ada", "ada"] {
        let auth = json!({ "token": issuer.token(user) });
        let rooms = [("/", auth.clone()), ("/page", auth)];
        seen.extend(foreign.open_rooms(server, transport, &rooms).await);
    }
    let all = || seen.iter().chain([&site, &page]);
    show(&all().map(|record| (record, 3)).collect::<Vec<_>>()).await;
    for record in &seen {
        assert!(record.counts()[0] >= 2, "{}: the first value includes him", record.name());
    }
    let mark = page.mark();
    if library != Library::Python {
        foreign.close(1).await;
    }
    let other = RoomsClient::open(server, transport, &["/page"]);
    show(&[(&page, 4), (&other.record("/page"), 4)]).await;
    assert_eq!(page.changes_since(mark), [4], "nothing else was to be told");
    drop(foreign);
    show(&[(&site, 1), (&page, 2)]).await;
}

/// Goal: the Rust client's tabs are one user too, on all transports at once, and a token that a session knows is not needed a
/// second time. Method: three tabs of one user on the three transports, each in eight rooms.
#[tokio::test(flavor = "multi_thread")]
async fn transports_of_a_user_are_one() {
    let issuer = Issuer::new("blog");
    let instance = Instance::start(&issuer.settings()).await;
    let token = issuer.token("margaret");
    let rooms: Vec<String> = (0..8).map(|number| format!("/{number}")).collect();
    let tabs: Vec<RoomsClient> = Transport::ALL
        .into_iter()
        .map(|transport| RoomsClient::open(instance.public, transport, &[]))
        .collect();
    for tab in &tabs {
        for room in ["/"].into_iter().chain(rooms.iter().map(String::as_str)) {
            tab.join_with(room, &json!({ "token": token }));
        }
    }
    let stranger = RoomsClient::open(instance.public, Transport::Websocket, &["/7"]);
    show(&[(&stranger.record("/7"), 2)]).await;
    for tab in &tabs {
        show(&[(&tab.record("/"), 1), (&tab.record("/0"), 1), (&tab.record("/7"), 2)]).await;
    }
}

/// Goal: tabs of one browser are one visitor, and the key is no token: it does not make two users one of whom one signed in. Method:
/// two tabs with one key, one with another, a token's user whose name is the key, and one without anything.
#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn tabs_of_a_visitor_are_one(
    #[values(Library::Newest, Library::Oldest, Library::Python)] library: Library,
) {
    let issuer = Issuer::new("blog");
    let instance = Instance::start(&issuer.settings()).await;
    let key = "k3J-xYz_01234567";
    let mut foreign = ForeignClients::start(library);
    let says = [
        json!({ "visitor": key }),
        json!({ "visitor": key, "token": null }),
        json!({ "visitor": "another-key-0123" }),
        json!({ "token": issuer.token(key) }),
        json!({ "token": issuer.token(key), "visitor": "yet-another-0123" }),
        json!({}),
    ];
    let mut seen = Vec::new();
    for auth in says {
        let rooms = [("/page", auth)];
        seen.extend(foreign.open_rooms(instance.public, Transport::Websocket, &rooms).await);
    }
    show(&seen.iter().map(|record| (record, 4)).collect::<Vec<_>>()).await;
}

/// Goal: each reason for which a client may not join has its code, which says what to change first, and leaves everything else of
/// the connection alone. Method: every reason once on one connection, beside joins that are allowed.
#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn refusals_say_what_is_wrong(
    #[values(Library::Newest, Library::Oldest)] library: Library,
    #[values(Transport::Websocket, Transport::Polling)] transport: Transport,
) {
    let (issuer, stranger) = (Issuer::new("blog"), Issuer::new("somebody"));
    let rules = [("HEADCOUNT_ROOMS", "/team/*,/blog/*"), ("HEADCOUNT_PRIVATE_ROOMS", "/team/*")];
    let instance = Instance::start(&[&issuer.settings()[..], &rules].concat()).await;
    let token = |token: String| json!({ "token": token });
    let expired = issuer.sign(&json!({ "sub": "a", "exp": in_seconds(Duration::ZERO) - 3600 }));
    let in_team = || issuer.token_in("margaret", &json!(["/team/*"]));
    let mut foreign = ForeignClients::start(library);
    let rooms = [
        ("/team/1", json!({}), "token_missing"),
        ("/team/2", json!({ "watch": true, "token": null }), "token_missing"),
        ("/team/3", json!({ "visitor": "k3J-xYz_01234567" }), "token_missing"),
        ("/team/4", token(stranger.token("a")), "token_invalid"),
        ("/blog/1", token(stranger.token("a")), "token_invalid"),
        ("/blog/2", token(String::new()), "token_invalid"),
        ("/blog/3", token(expired.clone()), "token_expired"),
        ("/team/5", json!({ "token": expired, "watch": true }), "token_expired"),
        ("/blog/4", token(in_team()), "room_forbidden"),
        ("/blog/5", json!({ "token": in_team(), "watch": true }), "room_forbidden"),
        ("/team/6", json!({ "token": 5 }), "bad_auth"),
        ("/blog/6", json!({ "visitor": "short" }), "bad_auth"),
        ("/blog/7", json!({ "visitor": ["k3J-xYz_01234567"] }), "bad_auth"),
        ("/shop", token(stranger.token("a")), "room_not_allowed"),
    ];
    let (allowed, refused) = (["/", "/team/7", "/blog/8"], rooms.len());
    let codes = rooms.iter().map(|(_, _, code)| *code).collect::<Vec<_>>();
    let mut asked: Vec<(&str, Value)> =
        rooms.iter().map(|(room, auth, _)| (*room, auth.clone())).collect();
    asked.push((allowed[0], token(in_team())));
    // Many programs end what they print with a line break, and pages pass it on.
    asked.push((allowed[1], json!({ "token": format!(" {}\r\n", in_team()), "watch": true })));
    asked.push((allowed[2], json!({})));
    let seen = foreign.open_rooms(instance.public, transport, &asked).await;
    are_refused(&seen[..refused], &codes).await;
    show(&[(&seen[refused], 1), (&seen[refused + 1], 0), (&seen[refused + 2], 1)]).await;
    for record in &seen[refused..] {
        assert_eq!(record.times(Event::is_connected), 1, "{}: it went on", record.name());
    }
    for code in ["token_missing", "token_invalid", "token_expired", "room_forbidden", "bad_auth"] {
        let metric = format!("headcount_joins_refused_total{{code=\"{code}\"}}");
        let expected: f64 = codes.iter().filter(|known| **known == code).map(|_| 1.0).sum();
        assert_eq!(instance.metric(&metric).await, Ok(expected), "{code}");
    }
}

/// Goal: where sign-in is required, nobody learns anything without a token, and with one all is as ever. Method: the site and a room,
/// joined and watched, without a token and with one; and the same where it is off, where tokens are ignored.
#[rstest]
#[case("required", &["token_missing"; 4])]
#[case("off", &[])]
#[tokio::test(flavor = "multi_thread")]
async fn sign_in_may_be_required(#[case] mode: &str, #[case] codes: &[&str]) {
    let issuer = Issuer::new("blog");
    let settings = [&issuer.settings()[..], &[("HEADCOUNT_SIGN_IN", mode)]].concat();
    let instance = Instance::start(&settings).await;
    let mut foreign = ForeignClients::start(Library::Newest);
    let without = [
        ("/", json!({})),
        ("/a", json!({ "watch": true })),
        ("/b", json!({ "visitor": "k3J-xYz_01234567" })),
        ("/c", json!({ "watch": true, "token": null })),
    ];
    let seen = foreign.open_rooms(instance.public, Transport::Websocket, &without).await;
    if codes.is_empty() {
        show(&[(&seen[0], 1), (&seen[1], 0), (&seen[2], 1), (&seen[3], 0)]).await;
    } else {
        are_refused(&seen, codes).await;
    }
    let auth = |watch| json!({ "token": issuer.token("margaret"), "watch": watch });
    let mut signed_in = ForeignClients::start(Library::Newest);
    let rooms = [("/d", auth(false)), ("/e", auth(true))];
    for tab in 1..=2 {
        let seen = signed_in.open_rooms(instance.public, Transport::Polling, &rooms).await;
        let users = if mode == "off" { tab } else { 1 };
        show(&[(&seen[0], users), (&seen[1], 0)]).await;
    }
}
