//! The Socket.IO client that the server serves, in the lesson's page and compared with the original one.

use headcount_testkit::{http, instance::Instance, redis_server::free_port, waiting::eventually};
use serde_json::{Value, json};

use super::{
    browser::{Browser, Tab},
    count::runs_in_node,
    page::no_problems_but_of_the_network,
    proxy::{Program, Proxy},
    room_pages::sent,
};

/// Bytes that a page loads, compressed: a third of socket.io-client.
const CLIENT_BYTES_MAX: usize = 4800;
/// The lesson's page, changed so that it displays what it receives.
const PAGE: &str = "<!doctype html><html lang=en><title>Chat</title><link rel=icon href=data:,>\
    <p id=users></p><p id=said></p>\
    <script src=\"/socket.io/socket.io.js\"></script><script src=\"/public/chat.js\"></script>";
/// The lesson's script, with the other events of the client.
const SCRIPT: &str = "const show = (id, text) => { document.getElementById(id).textContent = text; };\n\
    const said = [];\n\
    const say = (text) => show('said', said.push(text) && said.join(', '));\n\
    let socket = io();\n\
    socket.on('user count', function (data) { console.log(data); show('users', data); });\n\
    socket.on('connect', () => say('connect'));\n\
    socket.on('disconnect', (reason) => say(reason));\n";
/// The lesson's application behind nginx. At 127.0.0.1 websockets work. At localhost they do not, as with a proxy
/// that is not configured for them.
const APPLICATION: &str = "map $http_upgrade $connection_upgrade { default upgrade; '' close; }\n\
    proxy_http_version 1.1; proxy_set_header Host $http_host;\n\
    server { listen 8080; server_name 127.0.0.1; root .; index chat.html;\n\
      location = /public/chat.js { alias chat.js; }\n\
      location /socket.io/ { proxy_pass http://127.0.0.1:3000; proxy_set_header Host $http_host;\n\
        proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade; } }\n\
    server { listen 8080; server_name localhost; root .; index chat.html;\n\
      location = /public/chat.js { alias chat.js; }\n\
      location /socket.io/ { proxy_pass http://127.0.0.1:3000; } }\n";

async fn application(instance: &Instance) -> Proxy {
    let files = [("chat.html", PAGE), ("chat.js", SCRIPT)];
    Proxy::start(Program::Nginx, instance.public, APPLICATION, &files).await
}

/// Goal: the lesson's page works unchanged, and survives a restart of its server. Method: the page loads its client
/// from the server and gets the count over one websocket. The server is killed and started again on its address.
#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_the_lesson_works() {
    let address = format!("127.0.0.1:{}", free_port());
    let instance = Instance::start(&[("HEADCOUNT_LISTEN", &address)]).await;
    let site = application(&instance).await;
    let browser = Browser::start().await;
    let [first, second] =
        [(); 2].map(|()| browser.open(format!("http://{}/", site.address), json!({})));
    let (first, second) = (first.await, second.await);
    for tab in [&first, &second] {
        tab.says("#users", "2").await;
        tab.says("#said", "connect").await;
        assert_eq!(sent(tab).await, ["40"]);
        let url = format!("ws://{}/socket.io/?EIO=4&transport=websocket", site.address);
        assert_eq!(tab.sockets().await[0]["url"], url);
        assert_eq!(tab.problems().await, [""; 0]);
    }
    second.close().await;
    first.says("#users", "1").await;
    drop(instance);
    let lost = async || match first.text("#said").await? {
        text if text == "connect, transport close" => Ok(()),
        text => Err(text),
    };
    eventually("the page is told of the loss", lost).await;
    let again = Instance::start(&[("HEADCOUNT_LISTEN", &address)]).await;
    first.says("#said", "connect, transport close, connect").await;
    first.says("#users", "1").await;
    // The page has shown that number all the time.
    again.counts(1).await;
    no_problems_but_of_the_network(&first).await;
}

/// Goal: where websockets do not work, the client uses polling, and a closed page leaves the count at once. Method:
/// behind a proxy that removes upgrades, and in a browser without websockets. Then the page is left, returned to and
/// left, while another one is open.
#[tokio::test(flavor = "multi_thread")]
async fn polling_is_the_fallback() {
    let instance = Instance::start(&[]).await;
    let site = application(&instance).await;
    let browser = Browser::start().await;
    let open = format!("http://{}/", site.address);
    let stripped = format!("http://localhost:{}/", site.address.port());
    let watching = browser.open(&open, json!({})).await;
    watching.says("#users", "1").await;
    let polling = browser.open(&stripped, json!({})).await;
    polling.says("#users", "2").await;
    polling.says("#said", "connect").await;
    assert_eq!(polling.evaluate("socket.io.engine.transport.name").await, Ok(json!("polling")));
    assert!(polls(&polling).await > 0);
    assert_eq!(watching.evaluate("socket.io.engine.transport.name").await, Ok(json!("websocket")));
    assert_eq!(polls(&watching).await, 0, "a websocket needs no polls");
    watching.says("#users", "2").await;
    polling.go(format!("{stripped}public/chat.js")).await;
    watching.says("#users", "1").await;
    polling.back().await;
    // The page itself may show the number of before.
    watching.says("#users", "2").await;
    polling.says("#users", "2").await;
    polling.go(format!("{stripped}public/chat.js")).await;
    watching.says("#users", "1").await;
    let without = "(() => { delete globalThis.WebSocket; socket = io({ forceNew: true }); \
        return new Promise((told) => socket.on('user count', told)); })()";
    assert_eq!(watching.evaluate(without).await, Ok(json!(2)));
    assert_eq!(watching.evaluate("socket.io.engine.transport.name").await, Ok(json!("polling")));
    assert_eq!(watching.evaluate("socket.disconnect().connected").await, Ok(json!(false)));
    watching.says("#users", "1").await;
    no_problems_but_of_the_network(&watching).await;
}

/// Goal: namespaces of one address share a connection. Method: the page asks for another namespace. Everything for
/// both, refusals included, goes over its one websocket, and the first namespace continues.
#[tokio::test(flavor = "multi_thread")]
async fn namespaces_share_a_websocket() {
    let instance = Instance::start(&[]).await;
    let site = application(&instance).await;
    let browser = Browser::start().await;
    let tab = browser.open(format!("http://{}/", site.address), json!({})).await;
    tab.says("#users", "1").await;
    let ask = "new Promise((told) => { \
        const other = io('/blog/post-1', { auth: (tell) => tell({ page: 1 }) }); \
        other.on('connect', () => told('connect')).on('connect_error', () => told('connect_error')); })";
    let answer = tab.evaluate(ask).await.expect("it answers");
    let answered = if answer == "connect" { "40/blog/post-1," } else { "44/blog/post-1," };
    assert_eq!(sent(&tab).await, ["40", "40/blog/post-1,{\"page\":1}"]);
    let sockets = tab.sockets().await;
    let received = sockets[0]["received"].as_array().expect("packets");
    let is_answer = |packet: &Value| packet.as_str().is_some_and(|text| text.starts_with(answered));
    assert!(received.iter().any(is_answer), "{sockets}");
    let other = browser.open(format!("http://{}/", site.address), json!({})).await;
    for tab in [&tab, &other] {
        tab.says("#users", "2").await;
    }
}

/// Goal: the client is small, is the script of its head line, and is served like other scripts, at every address
/// that pages use. Method: fetch each address, compressed and not, with its tag, and with another method.
#[tokio::test(flavor = "multi_thread")]
async fn the_client_is_served_like_other_scripts() {
    let settings = [("HEADCOUNT_ALLOWED_ORIGINS", "https://blog.example")];
    let instance = Instance::start(&settings).await;
    for path in ["socket.io.js", "socket.io.min.js", "socket.io.esm.min.js"] {
        let path = format!("/socket.io/{path}");
        let gzip = [("accept-encoding", "gzip, br"), ("origin", "https://blog.example")];
        let compressed = http::get_with(instance.public, &path, &gzip).await.expect("it answers");
        let bytes: usize = compressed.header("content-length").parse().expect("a length");
        println!("{path}: {bytes} bytes compressed");
        assert_eq!(compressed.header("content-encoding"), "gzip");
        assert!(bytes <= CLIENT_BYTES_MAX, "{path} has {bytes} bytes");
        for (name, value) in [
            ("content-type", "text/javascript; charset=utf-8"),
            ("x-content-type-options", "nosniff"),
            ("access-control-allow-origin", "https://blog.example"),
            ("cross-origin-resource-policy", "cross-origin"),
            ("cache-control", "public, max-age=300"),
        ] {
            assert_eq!(compressed.header(name), value, "{path}");
        }
        let plain = http::get(instance.public, &path).await.expect("it answers");
        assert!(plain.body.starts_with("// Headcount's own Socket.IO client"), "{}", plain.body);
        assert_eq!(plain.body.contains("export {"), path.contains("esm"));
        let tag = [("if-none-match", plain.header("etag"))];
        let known = http::get_with(instance.public, &path, &tag).await.expect("it answers");
        assert_eq!(known.status, 304);
        let posted = http::post(instance.public, &path, String::new()).await.expect("it answers");
        assert_eq!(posted.status, 405);
    }
}

/// Goal: the client behaves like socket.io-client. Method: the served script and the original one run in Node with
/// the reference server; see socketio.test.mjs.
#[tokio::test(flavor = "multi_thread")]
async fn the_client_does_as_the_real_one() {
    runs_in_node("/socket.io/socket.io.js", "SOCKET_IO_JS", "socketio.test.mjs").await;
}

/// Goal: rooms work like with socket.io-client: on one connection, restored after a loss, left one by one, refused with a
/// code. Method: the served script and the original one run in Node with the reference server; see namespaces.test.mjs.
#[tokio::test(flavor = "multi_thread")]
async fn rooms_are_as_with_the_real_one() {
    runs_in_node("/socket.io/socket.io.js", "SOCKET_IO_JS", "namespaces.test.mjs").await;
}

/// Goal: both clients are told the same of rooms: who is counted and who watches, after a loss too, and refusals. Method:
/// the served script and the original one run in Node with this server; see counts.test.mjs.
#[tokio::test(flavor = "multi_thread")]
async fn both_clients_count_rooms_alike() {
    runs_in_node("/socket.io/socket.io.js", "SOCKET_IO_JS", "counts.test.mjs").await;
}

/// How many polling requests a page has made.
async fn polls(tab: &Tab<'_>) -> u64 {
    let polls = "performance.getEntriesByType('resource')\
        .filter((entry) => entry.name.includes('transport=polling')).length";
    tab.evaluate(polls).await.expect("it runs").as_u64().expect("a number")
}
