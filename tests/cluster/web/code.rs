//! Pages with code: the examples of docs/embed.md whose code is in the page, run in a real browser.

use std::time::Duration;

use headcount_testkit::{repository, tokens::Issuer, waiting::eventually};
use regex::Regex;
use serde_json::json;

use super::{
    browser::{Browser, Tab},
    docs::blocks,
    page::no_problems_but_of_the_network,
    room_pages::{example, sent, site, sites},
};

/// Runs before the code of a page: keeps what that says.
const LISTEN: &str = "globalThis.heard = [];\n\
    console.log = (...values) => heard.push(values.join(' ').trim());\n";

/// A page with this example, and its code as a file of the site, since the site allows no code in pages.
fn page_and_code(example: &str) -> (String, String) {
    let inline = Regex::new(r"(?s)<script( type=.module.)?>(.+?)</script>").expect("it is valid");
    let found = inline.captures(example).expect("it has code in the page");
    let kind = found.get(1).map_or("", |kind| kind.as_str());
    let scripts = format!("<script src=/listen.js></script><script{kind} src=/code.js></script>");
    (example.replace(&found[0], &scripts), found[2].to_owned())
}

/// Waits until the code of a page has said exactly this.
async fn says(tab: &Tab<'_>, wanted: &[&str]) {
    eventually(&format!("the code says {wanted:?}"), async || {
        let heard = tab.evaluate("heard").await?;
        if heard == json!(wanted) { Ok(()) } else { Err(heard.to_string()) }
    })
    .await;
}

/// Waits until the code of a page has said this about several rooms, whose order is open.
async fn says_in_any_order(tab: &Tab<'_>, wanted: &[&str]) {
    eventually(&format!("the code says {wanted:?}"), async || {
        let heard = tab.evaluate("heard.toSorted()").await?;
        if heard == json!(wanted) { Ok(()) } else { Err(heard.to_string()) }
    })
    .await;
}

/// Goal: every example with code in the page is run by a test. Method: count them. Whoever adds one adds its test, and its number
/// here.
#[test]
fn all_examples_with_code_are_run() {
    let blocks = blocks(include_str!("../../../docs/embed.md"));
    let with_code = |text: &str| text.contains("<script>") || text.contains("<script type");
    let examples = blocks.iter().filter(|(kind, text)| *kind == "html" && with_code(text));
    assert_eq!(examples.count(), 6);
}

/// Goal: the examples with the module do what they say. Method: a page that shows the site, and one with two rooms, one of which it
/// watches, with scripts of two instances.
#[tokio::test(flavor = "multi_thread")]
async fn the_module_shows_the_site_and_rooms() {
    let (page, code) = page_and_code(&example("html", "const socket = headcount();"));
    let files = [("/code.js", code), ("/listen.js", LISTEN.to_owned()), ("/", page)];
    let (cluster, [here, _]) = sites(&[], &files).await;
    let (page, code) = page_and_code(&example("html", "headcount.room("));
    let files = [("/code.js", code), ("/listen.js", LISTEN.to_owned()), ("/", page)];
    let there = site(cluster.instances[1].public, &files).await;
    let browser = Browser::start().await;

    let shows_site = browser.open(here.origin(), json!({})).await;
    says(&shows_site, &["connecting", "live", "1"]).await;
    let rooms = browser.open(there.origin(), json!({})).await;
    says_in_any_order(&rooms, &["0", "1"]).await;
    let another = browser.open(there.origin(), json!({})).await;
    says_in_any_order(&rooms, &["0", "1", "2"]).await;
    says_in_any_order(&another, &["0", "2"]).await;
    assert_eq!(sent(&another).await, ["40/blog/post-1,", "40/shoes/7,{\"watch\":true}"]);
    // Those who are only in rooms are not in the site.
    says(&shows_site, &["connecting", "live", "1"]).await;
    for tab in [&shows_site, &rooms, &another] {
        assert_eq!(tab.problems().await, [""; 0]);
    }
}

/// Goal: the examples with a client of Socket.IO do what they say, with the client that the server serves and with
/// socket.io-client. Method: a page of each that shows the site, and one with a room and a watched room, on two instances.
#[tokio::test(flavor = "multi_thread")]
async fn clients_of_socket_io_show_the_site_and_rooms() {
    let dist = repository::node_folder().join("node_modules/socket.io-client/dist");
    let original = std::fs::read_to_string(dist.join("socket.io.esm.min.js")).expect("it is there");
    let served = example("html", "const socket = io('https://count.example');");
    let (page, code) = page_and_code(&served);
    let loading = served.lines().next().expect("it loads the client").to_owned();
    let files = [("/code.js", code), ("/listen.js", LISTEN.to_owned()), ("/", page)];
    let (cluster, [here, _]) = sites(&[], &files).await;
    let (page, code) = page_and_code(&example("html", "import { io } from 'socket.io-client';"));
    let code = code.replace("'socket.io-client'", "'/original.js'");
    let files = [
        ("/code.js", code),
        ("/listen.js", LISTEN.to_owned()),
        ("/original.js", original),
        ("/", page),
    ];
    let there = site(cluster.instances[1].public, &files).await;
    let (page, code) = page_and_code(&example("html", "Told, but not counted."));
    let page = format!("{loading}{page}");
    let files = [("/code.js", code), ("/listen.js", LISTEN.to_owned()), ("/", page)];
    let in_rooms = site(cluster.instances[1].public, &files).await;
    let browser = Browser::start().await;

    let own = browser.open(here.origin(), json!({})).await;
    says(&own, &["1"]).await;
    let other = browser.open(there.origin(), json!({})).await;
    says(&other, &["2"]).await;
    says(&own, &["1", "2"]).await;
    let rooms = browser.open(in_rooms.origin(), json!({})).await;
    says_in_any_order(&rooms, &["0", "1"]).await;
    for tab in [&own, &other, &rooms] {
        assert_eq!(tab.problems().await, [""; 0]);
    }
}

/// Goal: a page whose visitor has signed in returns by itself with a fresh token when the old one expires, and nobody sees it. Method:
/// the example, on an instance whose private rooms need a token. The first token expires after some seconds. A second device of
/// the visitor changes nothing, and a visitor without a token is refused, with the code.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_returns_with_a_fresh_token() {
    let issuer = Issuer::new("blog");
    let mut settings = issuer.settings().to_vec();
    settings.push(("HEADCOUNT_PRIVATE_ROOMS", "/team/*"));
    let tokens = |soon| {
        let [first, last] = [issuer.token_for("ada", soon), issuer.token("ada")];
        format!(
            "{LISTEN}const tokens = ['{first}', '{last}'];\n\
             globalThis.asked = 0;\n\
             globalThis.fetch = async () => ({{ text: async () => tokens[Math.min(asked++, 1)] }});\n"
        )
    };
    let browser = Browser::start().await;
    let (page, code) = page_and_code(&example("html", "Asks your own server for a token"));
    let listen = tokens(Duration::from_hours(1));
    let files = [("/code.js", code.clone()), ("/listen.js", listen), ("/", page.clone())];
    let (cluster, _) = sites(&settings, &files).await;
    let device = site(cluster.instances[1].public, &files).await;
    let listen =
        format!("{LISTEN}globalThis.fetch = async () => ({{ text: async () => undefined }});\n");
    let files = [("/code.js", code.clone()), ("/listen.js", listen), ("/", page.clone())];
    let stranger = site(cluster.instances[1].public, &files).await;

    let second = browser.open(device.origin(), json!({})).await;
    says(&second, &["1"]).await;
    // The time of this token begins now.
    let listen = tokens(Duration::from_secs(4));
    let files = [("/code.js", code), ("/listen.js", listen), ("/", page)];
    let here = site(cluster.instances[0].public, &files).await;
    let first = browser.open(here.origin(), json!({})).await;
    eventually("the page has asked for a fresh token, and is back", async || {
        match first.evaluate("[asked, ...heard].join()").await? {
            told if told == "2,1,1" => Ok(()),
            told => Err(told.to_string()),
        }
    })
    .await;
    let stranger = browser.open(stranger.origin(), json!({})).await;
    says(&stranger, &["token_missing"]).await;
    says(&second, &["1"]).await;
    for tab in [&first, &second, &stranger] {
        no_problems_but_of_the_network(tab).await;
    }
}

/// Goal: where signing in is required, the page and the embeddable client say what is the matter. Method: instances that require it, a
/// page of another site, and the page with a room.
#[tokio::test(flavor = "multi_thread")]
async fn pages_say_that_signing_in_is_required() {
    let issuer = Issuer::new("blog");
    let mut settings = issuer.settings().to_vec();
    settings.push(("HEADCOUNT_SIGN_IN", "required"));
    let body = "<script src=https://count.example/headcount.js></script><i data-headcount></i>";
    let (cluster, [here, _]) = sites(&settings, &[("/", body.to_owned())]).await;
    let server = cluster.instances[0].public;
    let browser = Browser::start().await;
    let embedded = browser.open(here.origin(), json!({})).await;
    embedded.says("i[data-headcount-state=refused]", "").await;
    let page = browser.open(format!("http://{server}/#/a"), json!({})).await;
    page.says("#state", "Sign-in required").await;
    page.says("#meaning", "Only visitors who have signed in are let in here.").await;
    page.says("#room-state", "Only visitors who have signed in are let in here.").await;
    page.says("#count", "–").await;
    let warned = |room: &str| format!("warning: headcount: {room} token_missing");
    assert_eq!(embedded.problems().await, [warned("/")]);
    // The badge in the page has a picture for everybody.
    assert_eq!(page.problems().await, [warned("/"), warned("/a")]);
    assert_eq!(page.barriers().await, json!([]));
}
