//! `GET /api/users`: the users of a room, page by page, for bearers of tokens.

use std::{collections::BTreeSet, net::SocketAddr};

use headcount_testkit::{
    client::Transport,
    cluster::Cluster,
    http::{self, Answer},
    rooms::RoomsClient,
    tokens::Issuer,
    waiting::eventually,
};
use serde_json::{Value, json};

use super::{LISTS, ROOM};

async fn get(server: SocketAddr, query: &str, token: Option<&str>) -> Answer {
    let bearer = token.map(|token| format!("Bearer {token}"));
    let headers: Vec<_> = bearer.iter().map(|bearer| ("authorization", bearer.as_str())).collect();
    http::get_with(server, &format!("/api/users{query}"), &headers).await.expect("it answers")
}

/// All users of the room by pages of this size, and the number of pages.
async fn all_pages(server: SocketAddr, token: &str, limit: usize) -> (Vec<String>, usize) {
    let (mut users, mut pages, mut cursor) = (Vec::new(), 0, String::new());
    loop {
        let answer = get(server, &format!("?room={ROOM}&limit={limit}{cursor}"), Some(token)).await;
        assert_eq!(
            (answer.status, answer.header("cache-control")),
            (200, "no-store"),
            "{answer:?}"
        );
        let page: Value = serde_json::from_str(&answer.body).expect("it is JSON");
        assert_eq!(page["room"], ROOM);
        let listed = page["users"].as_array().expect("users");
        assert!(listed.len() <= limit, "{page}");
        users.extend(listed.iter().map(|user| user["id"].as_str().expect("an id").to_owned()));
        pages += 1;
        match page["cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return (users, pages),
        }
    }
}

/// Goal: pages together have every user with a token on all instances, on each of them, and none with a visitor key; other requests are
/// told what is wrong. Method: 130 users on two instances, a visitor; pages of two sizes; a request for each fault.
#[tokio::test(flavor = "multi_thread")]
async fn users_are_read_in_pages() {
    let issuer = Issuer::new("blog");
    let cluster = Cluster::start_with(2, &[&issuer.settings()[..], &[LISTS]].concat()).await;
    let members: Vec<RoomsClient> = (0..130)
        .map(|number| {
            let server = cluster.instances[number % 2].public;
            let member = RoomsClient::open(server, Transport::Websocket, &[]);
            member.join_with(ROOM, &json!({ "token": issuer.token(&format!("user {number}")) }));
            member
        })
        .collect();
    let visitor = RoomsClient::open(cluster.instances[0].public, Transport::Websocket, &[]);
    visitor.join_with(ROOM, &json!({ "visitor": "k3J".repeat(8) }));
    eventually("all are counted", async || match members[0].record(ROOM).shows() {
        Some(131) => Ok(()),
        shown => Err(format!("{shown:?}")),
    })
    .await;
    let token = issuer.token("reader");
    let expected: BTreeSet<String> = (0..130).map(|number| format!("user {number}")).collect();
    for (instance, limit) in cluster.instances.iter().zip([100, 7]) {
        let (users, pages) = all_pages(instance.public, &token, limit).await;
        assert!(pages >= 130_usize.div_ceil(limit), "{pages}");
        assert_eq!(users.into_iter().collect::<BTreeSet<_>>(), expected);
    }
    let forbidden = issuer.token_in("ada", &json!(["/blog/*"]));
    let faults = [
        ("?room=/team/7", None, 401, "token_missing"),
        ("?room=/team/7", Some("rubbish"), 401, "token_invalid"),
        ("?room=/team/7", Some(&*forbidden), 403, "room_forbidden"),
        ("?room=/blog/7", Some(&*token), 404, "list_not_allowed"),
        ("?room=/", Some(&*token), 404, "list_not_allowed"),
        ("?room=team", Some(&*token), 404, "room_not_allowed"),
        ("", Some(&*token), 400, "room_missing"),
        ("?room=/team/7&limit=101", Some(&*token), 400, "bad_parameter"),
        ("?room=/team/7&cursor=x", Some(&*token), 400, "bad_parameter"),
    ];
    for (query, token, status, code) in faults {
        let answer = get(cluster.instances[0].public, query, token).await;
        let error: Value = serde_json::from_str(&answer.body).expect("it is JSON");
        assert_eq!((answer.status, error["code"].as_str()), (status, Some(code)), "{query}");
    }
    let answer = get(cluster.instances[0].public, "?room=/team/nobody", Some(&token)).await;
    assert_eq!(answer.body, r#"{"room":"/team/nobody","users":[],"cursor":null}"#);
}
