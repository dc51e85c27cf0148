//! People who are none: tokens that are wrong in every way, as many as a client may send, and visitors who are ever new. What they
//! cost is bounded, and nothing is left of them.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, future::join_all, stream};
use headcount_testkit::{
    instance::{Instance, Setting},
    raw::{Raw, Way, frames::text, poll, polling_session, say},
    record::Record,
    tokens::{Issuer, in_seconds},
    waiting::eventually,
};
use serde_json::{Value, json};

use crate::besieged::{Besieged, CROWD};

/// Attackers of each kind.
const ATTACKERS: usize = 3;
/// The refused tokens that one connection may show: 64 KiB in a burst, of which each costs over 4 KiB, and 4 KiB a second. It
/// is cut within seconds.
const TOKENS_MAX: usize = 40;

/// A name for what attackers send, and the bytes of one attempt of many.
type Kind<'a> = (&'a str, &'a dyn Fn(usize) -> Vec<u8>);

/// The packet that joins a namespace and says this.
fn join(room: &str, auth: &Value) -> Vec<u8> {
    text(&format!("40{room},{auth}"))
}

/// Goal: a flood of bad tokens is cut soon, so that it costs little, and does not write a log line for each token. Method: websockets
/// of both kinds send joins with ever other tokens: signed by somebody else, altered, and no tokens at all; for the site, for one
/// room, and for ever other rooms. The metric says how many were verified.
#[tokio::test(flavor = "multi_thread")]
async fn floods_of_bad_tokens_are_cut() {
    let (issuer, stranger) = (Issuer::new("blog"), Issuer::new("somebody"));
    let good = issuer.token("margaret");
    let altered = |number: usize| format!("{}.{number}{}", &good[..20], &good[20..]);
    let kinds: [Kind<'_>; 4] = [
        ("signed by somebody else", &|number| {
            join("/", &json!({ "token": stranger.token(&format!("user {number}")) }))
        }),
        ("altered", &|number| join("/room", &json!({ "token": altered(number) }))),
        ("no token at all", &|number| {
            join(&format!("/{number}"), &json!({ "token": format!("token {number}") }))
        }),
        ("in turn with the good one", &|number| {
            let bad = json!({ "token": format!("{number}.{good}") });
            [join("/room", &bad), join("/good", &json!({ "token": good })), text("41/good,")]
                .concat()
        }),
    ];
    let mut besieged = Besieged::start(&issuer.settings()).await;
    let address = besieged.address();
    let attacks = kinds.iter().flat_map(|kind| Way::BOTH.map(|way| (kind, way)));
    let floods =
        attacks.flat_map(|attack| [attack; ATTACKERS]).map(async |((kind, bytes), way)| {
            let raw = Raw::alive_by(way, address).await;
            let start = Instant::now();
            let many: Vec<u8> = (0..200).flat_map(bytes).collect();
            raw.flood(&many).await;
            println!("{kind}, {way:?}: cut after {:?}", start.elapsed());
        });
    let attackers = join_all(floods).await.len();
    besieged.until_disconnected("flood", attackers).await;
    let mut refused = 0;
    for reason in ["malformed", "signature", "claims", "key", "algorithm"] {
        let metric = format!("headcount_tokens_refused_total{{reason=\"{reason}\"}}");
        refused += besieged.sample::<usize>(&metric).await;
    }
    println!("{refused} tokens of {attackers} attackers were verified and refused");
    assert!(refused >= 2 * attackers, "{refused} are no attack");
    assert!(refused <= attackers * TOKENS_MAX, "{refused} tokens of {attackers}");
    besieged.is_unharmed().await;
}

/// Goal: the same bad token again and again is verified once a second at most, and a page that names it with each of its rooms is told
/// so in each and not cut; with a good token it is let in. Method: a hundred rooms with one token in one write, on both ways and by
/// polling.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_with_one_bad_token_is_told_so_in_each_room() {
    let (issuer, stranger) = (Issuer::new("blog"), Issuer::new("somebody"));
    let instance = Instance::start(&issuer.settings()).await;
    let server = instance.public;
    // As long as those of usual providers: together they are more than a client may send in a burst.
    let exp = in_seconds(Duration::from_hours(1));
    let claims = json!({ "sub": "ada", "exp": exp, "email": "x".repeat(500) });
    for (token, answer) in [(stranger.sign(&claims), "44"), (issuer.sign(&claims), "40")] {
        let token = json!({ "token": token, "watch": true });
        for way in Way::BOTH {
            let mut raw = Raw::alive_by(way, server).await;
            let asked: Vec<u8> =
                (0..100).flat_map(|room| join(&format!("/{room}"), &token)).collect();
            let last = format!("{answer}/99,{{");
            assert!(raw.is_answered_after(&asked, &last).await, "{way:?} {answer}: the last one");
        }
        let path = polling_session(server).await;
        let packets: Vec<String> = (0..100).map(|room| format!("40/{room},{token}")).collect();
        for some in packets.chunks(12) {
            assert_eq!(say(server, &path, &some.join("\x1e")).await.status, 200, "by polling");
        }
        let mut answered = 0;
        // Another one waits for a ping, which is none of the answers.
        for _ in 0..2 {
            let body = poll(server, &path).await.body;
            answered += body.split('\x1e').filter(|packet| packet.starts_with(answer)).count();
            if answered == 100 {
                break;
            }
        }
        assert_eq!(answered, 100, "by polling: {answer}");
    }
    let refused = instance.metric("headcount_tokens_refused_total").await.expect("a metric");
    assert!((3.0..=30.0).contains(&refused), "{refused} verified, of a hundred in three ways");
}

/// Goal: whatever a client says about itself, it gets an answer or loses its connection, and nobody else is hurt. Method: `auth` of
/// every shape and size on both transports: the largest tokens, thousands of dots, wrong types, deep objects, members twice, headers
/// of tokens that ask for everything.
#[tokio::test(flavor = "multi_thread")]
async fn auth_of_every_shape() {
    let issuer = Issuer::new("blog");
    let good = issuer.token("margaret");
    let shapes: Vec<(String, &str)> = bad_tokens(&good)
        .iter()
        .map(|token| (json!({ "token": token }).to_string(), "token_invalid"))
        .chain(bad_objects(&good).map(|auth| (auth, "bad_auth")))
        .collect();
    // What is said of tokens is in the log of this module alone.
    let log = [("HEADCOUNT_LOG", "headcount::engine::identifying=debug,info")];
    let mut besieged = Besieged::start(&[&issuer.settings()[..], &log].concat()).await;
    let server = besieged.address();
    for (auth, code) in &shapes {
        let shown = &auth[..auth.len().min(60)];
        for way in Way::BOTH {
            let mut raw = Raw::alive_by(way, server).await;
            let refused = format!("\"code\":\"{code}\"");
            let packet = text(&format!("40/room,{auth}"));
            assert!(raw.is_answered_after(&packet, &refused).await, "{way:?}: {shown}");
            let fine = join("/room", &json!({ "token": good }));
            assert!(raw.is_answered_after(&fine, "40/room,{").await, "it goes on after {shown}");
        }
        let path = polling_session(server).await;
        assert_eq!(say(server, &path, &format!("40/room,{auth}")).await.status, 200, "{shown}");
        assert!(poll(server, &path).await.body.contains(code), "{shown}");
        assert_eq!(say(server, &path, "1").await.status, 200);
    }
    let log = besieged.cluster.instances[0].process().logged(&["refused a token"]).await;
    let payload = good.split('.').nth(1).expect("a token has three parts");
    assert!(!log.contains(payload) && !log.contains("xxxx"), "no token is in the log: {log}");
    besieged.is_unharmed().await;
}

/// Texts that are no token here, made of a good one.
fn bad_tokens(good: &str) -> [String; 12] {
    let payload = good.split('.').nth(1).expect("a token has three parts");
    // In base64url: {"alg":"none"}, a header with an extension that must be understood, and one with a path for its key.
    let none = "eyJhbGciOiJub25lIn0";
    let critical = "eyJhbGciOiJIUzI1NiIsImNyaXQiOlsieCJdLCJ4IjoxfQ";
    let path = "eyJhbGciOiJIUzI1NiIsImtpZCI6Ii4uLy4uL2V0Yy9wYXNzd2QifQ";
    [
        "x".repeat(15_500),
        format!("{}{}", good, "A".repeat(15_000)),
        ".".repeat(15_500),
        format!("{none}.{payload}."),
        format!("{critical}.{payload}.AAAA"),
        format!("{path}.{payload}.AAAA"),
        good.replacen('.', " .", 1),
        format!("{good}\u{a0}"),
        format!("Bearer {good}"),
        format!("{good}.{good}"),
        "\u{0}\u{202e}".to_owned(),
        "..".to_owned(),
    ]
}

/// Objects in which something has the wrong type or form, or that say something twice.
fn bad_objects(good: &str) -> impl Iterator<Item = String> {
    let zeros = "\\u0000".repeat(16);
    let objects = [
        format!("{{\"token\":{}{}}}", "[".repeat(7000), "]".repeat(7000)),
        "{\"token\":{\"token\":\"a\"}}".to_owned(),
        "{\"token\":1e999999}".to_owned(),
        format!("{{\"token\":\"{good}\",\"token\":\"{good}\"}}"),
        format!("{{\"token\":\"{good}\",\"watch\":\"yes\"}}"),
        format!("{{\"visitor\":\"{zeros}\"}}"),
        json!({ "visitor": "x".repeat(15_000) }).to_string(),
        "{\"visitor\":true}".to_owned(),
        "{\"token\":\"\\ud800\"}".to_owned(),
    ];
    objects.into_iter()
}

/// Goal: visitors who are ever new cost bounded memory here and in Redis, however long they are counted after they left, and nothing
/// is left of them. Method: connections join and leave with ever other keys, as fast as they may, on an instance with a long grace
/// and few sessions; Redis holds one user of each connection, in the site and in a room. Then the grace ends.
#[tokio::test(flavor = "multi_thread")]
async fn visitors_who_are_ever_new_are_bounded() {
    const SESSIONS: usize = 260;
    const ATTACKING: usize = 20;
    const KEYS: usize = 400;
    let sessions = SESSIONS.to_string();
    let settings: [Setting<'_>; 2] =
        [("HEADCOUNT_MAX_CONNECTIONS", &sessions), ("HEADCOUNT_GRACE", "8s")];
    let mut besieged = Besieged::start(&settings).await;
    let server = besieged.address();
    let attacking = stream::iter(0..ATTACKING)
        .map(|number| renew(server, Way::BOTH[number % 2], number, KEYS))
        .buffer_unordered(ATTACKING);
    let before = besieged.joined().await;
    attacking.collect::<Vec<()>>().await;
    let came = besieged.joined().await - before;
    assert!(came > 4 * SESSIONS, "{came} visitors are no attack");
    let held = people(&besieged, "/").await + people(&besieged, "/room").await;
    println!("{came} visitors came and left; Redis holds {held} of them");
    assert!(held > 0, "they linger");
    assert!(held <= 2 * ATTACKING, "Redis holds {held} visitors of {ATTACKING} connections");
    for room in ["/", "/room"] {
        eventually(&format!("nobody is left in {room}"), async || {
            match people(&besieged, room).await {
                0 => Ok(()),
                left => Err(left.to_string()),
            }
        })
        .await;
    }
    besieged.is_unharmed().await;
}

/// Goal: one connection is one user, whoever it says that it is, so that it can neither raise a count nor set a peak. Method: a
/// connection joins and leaves the site and a room with ever other keys, as often as it may in a burst, while users linger for longer
/// than that takes; what bystanders are told, and what Redis holds. Then it does so without a pause, and is cut.
#[tokio::test(flavor = "multi_thread")]
async fn one_connection_is_one_user() {
    const KEYS: usize = 100;
    let mut besieged = Besieged::start(&[("HEADCOUNT_GRACE", "1min")]).await;
    let server = besieged.address();
    let records = besieged.records();
    for (number, way) in Way::BOTH.into_iter().enumerate() {
        let marks: Vec<_> = records.iter().map(Record::mark).collect();
        let mut raw = Raw::alive_by(way, server).await;
        for key in 0..KEYS {
            let auth = json!({ "visitor": format!("one-connection-{number}-{key:06}") });
            let leave_and_join =
                [text("41"), join("/", &auth), text("41/room,"), join("/room", &auth)].concat();
            // The client of a page waits for each answer, too. Then each user can be reported.
            assert!(raw.is_answered_after(&leave_and_join, "40/room,{").await, "{way:?} {key}");
        }
        besieged.agrees_on(CROWD + 1).await;
        let told = records.iter().zip(marks).flat_map(|(record, mark)| record.counts_since(mark));
        let most = told.max().expect("a visitor came");
        assert!(most <= CROWD as u64 + 1, "{way:?}: {most} users of {CROWD} and one");
        let held = [people(&besieged, "/").await, people(&besieged, "/room").await];
        assert_eq!(held, [1, 1], "{way:?}");
        // Without an identity it leaves nobody behind. The flood of leaves cuts it.
        let anonymous = [text("41"), text("41/room,"), text("40"), text("40/room,")].concat();
        raw.send(&anonymous).await.expect("it may still send");
        raw.flood(&text("41")).await;
        besieged.agrees_on(CROWD).await;
    }
    besieged.is_unharmed().await;
}

/// Joins and leaves the site and a room with ever other keys, until it is cut.
async fn renew(server: SocketAddr, way: Way, number: usize, keys: usize) {
    let raw = Raw::alive_by(way, server).await;
    let visit = |key: usize| {
        let auth = json!({ "visitor": format!("visitor-{number:04}-{key:06}") });
        [text("41"), join("/", &auth), join("/room", &auth), text("41/room,")].concat()
    };
    raw.flood(&(0..keys).flat_map(visit).collect::<Vec<u8>>()).await;
}

/// The users of a room in Redis.
async fn people(besieged: &Besieged, room: &str) -> usize {
    let key = format!("{{currentUsers}}:people:{room}");
    let script = "return redis.call('HLEN', KEYS[1])";
    let held = besieged.cluster.redis_client.evaluate(script, &key).await.expect("Redis runs");
    usize::try_from(held).expect("a length")
}
