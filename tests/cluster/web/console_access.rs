//! Who may see the operators' console: those with the token, if there is one, and without one nobody by a name of a stranger; and
//! how many at a time.

use std::net::SocketAddr;

use headcount_testkit::{
    http,
    instance::{Instance, Process},
    waiting::eventually,
};
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpSocket, TcpStream},
};

use super::{
    browser::Browser,
    console::{console_of, is_sound},
};

const TOKEN: &str = "swordfish-swordfish";
/// A name that the browser finds at this machine, as a stranger can make it do with a name of his: see browser.mjs.
const STRANGER: &str = "evil.rebound.example";

/// How far the page is, which of its elements has the focus, and what is written there.
const FIELD: &str =
    "`${document.readyState} ${document.activeElement.id} ${document.activeElement.value ?? ''}`";

/// The status of a path, asked for with this token.
async fn status_of(admin: SocketAddr, path: &str, token: Option<&str>) -> Result<u16, String> {
    let bearer = token.map(|token| format!("Bearer {token}"));
    let headers: Vec<_> = bearer.iter().map(|bearer| ("authorization", bearer.as_str())).collect();
    http::get_with(admin, path, &headers).await.map(|answer| answer.status)
}

/// The head of the answer to a request for the metrics with these headers, which comes from this address.
async fn metrics_head(from: &str, admin: SocketAddr, headers: &str) -> String {
    let socket = TcpSocket::new_v4().expect("sockets are left");
    socket.bind(from.parse().expect("an address")).expect("it is of this machine");
    let mut stream = socket.connect(admin).await.expect("it listens");
    let head = format!("GET /metrics HTTP/1.1\r\n{headers}\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("it answers");
    answer.split("\r\n\r\n").next().unwrap_or_default().to_owned()
}

/// Shows wrong tokens until none is looked at any more. Meanwhile the right one is accepted from another address, and afterwards
/// from the same.
async fn wrong_tokens_are_limited(admin: SocketAddr) {
    let mut guess = 0;
    let (head, _) = eventually("too many wrong tokens are not looked at", async || {
        guess += 1;
        let headers = format!("host: web-1\r\nauthorization: Bearer swordfish-{guess}");
        match metrics_head("127.0.0.1:0", admin, &headers).await {
            head if head.starts_with("HTTP/1.1 429") => Ok(head),
            head => Err(head),
        }
    })
    .await;
    assert!(head.contains("\r\nretry-after: 1\r\n"), "{head}");
    let right = format!("host: web-1\r\nauthorization: Bearer {TOKEN}");
    let head = metrics_head("127.0.0.2:0", admin, &right).await;
    assert!(head.starts_with("HTTP/1.1 200"), "somebody else is kept out: {head}");
    eventually("the right token is looked at again", async || {
        match status_of(admin, "/metrics", Some(TOKEN)).await? {
            200 => Ok(()),
            status => Err(status.to_string()),
        }
    })
    .await;
}

/// Asks for the metrics with `headcount health`, with the token and without. Returns the program's help.
async fn programs_pass_the_token(admin: SocketAddr) -> String {
    let address = admin.to_string();
    for (settings, code) in [(&[("HEADCOUNT_ADMIN_TOKEN", TOKEN)][..], 0), (&[], 1)] {
        let settings = [&[("HEADCOUNT_ADMIN_LISTEN", address.as_str())], settings].concat();
        let mut process = Process::spawn(&["health", "--metrics"], &settings);
        let (status, _) = process.ended().await;
        assert_eq!(status.code(), Some(code), "{}", process.stdout());
    }
    let help = Process::spawn(&["--help"], &[("HEADCOUNT_ADMIN_TOKEN", TOKEN)]);
    let (text, _) = eventually("the help", async || match help.stdout() {
        text if text.contains("HEADCOUNT_ADMIN_TOKEN") => Ok(text),
        text => Err(text),
    })
    .await;
    text
}

/// Goal: a token keeps strangers out and lets operators in. Method: a browser with a wrong token and with the right one, by
/// keyboard; programs with and without it; too many wrong ones; and nowhere is the token told.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_asked_for() {
    let mut instance = Instance::start(&[("HEADCOUNT_ADMIN_TOKEN", TOKEN)]).await;
    instance.ready().await;
    let admin = instance.admin;
    let status = async |path: &str, token: Option<&str>| status_of(admin, path, token).await;
    for path in ["/livez", "/readyz", "/console/style.css"] {
        assert_eq!(status(path, None).await, Ok(200), "{path}");
    }
    for path in
        ["/", "/metrics", "/console.json", "/runbook", "/socket.io/?EIO=4&transport=websocket"]
    {
        assert_eq!(status(path, None).await, Ok(401), "{path}");
        assert_ne!(status(path, Some(TOKEN)).await, Ok(401), "{path}");
    }

    let browser = Browser::start().await;
    let page = format!("{}runbook/HeadcountStoreDown", console_of(&instance));
    let tab = browser.open(&page, json!({})).await;
    is_sound("sign-in", &tab).await;
    let write = async |text: &str| {
        eventually("the field has the focus", async || match tab.evaluate(FIELD).await? {
            value if value == json!("complete token ") => Ok(()),
            value => Err(value.to_string()),
        })
        .await;
        for key in text.chars() {
            tab.press(&key.to_string()).await;
        }
        tab.press("Enter").await;
    };
    write("swordfish").await;
    tab.says(".trouble", "This is not the token.").await;
    write(TOKEN).await;
    eventually("the page that was asked for is shown", async || match tab.text("body").await? {
        text if text.starts_with("## HeadcountStoreDown") => Ok(()),
        text => Err(text),
    })
    .await;
    tab.go(console_of(&instance)).await;
    tab.says("#live", "Live").await;
    tab.says("[data-text=why]", "This instance counts for itself.").await;
    assert_eq!(tab.evaluate("document.cookie").await, Ok(json!("")), "scripts cannot read it");
    is_sound("signed-in", &tab).await;
    let other = tab.beside(console_of(&instance)).await;
    other
        .evaluate("document.querySelector('form[action=logout]').submit()")
        .await
        .expect("it submits");
    for tab in [&other, &tab] {
        tab.says("h1", "Sign in").await;
    }

    wrong_tokens_are_limited(admin).await;
    let help = programs_pass_the_token(admin).await;
    let process = instance.process();
    for text in [help, process.stdout(), process.stderr()] {
        assert!(!text.contains("swordfish"), "{text}");
    }
}

/// Goal: a page of a stranger whose name leads to this machine reads nothing of a console without a token, and the console is
/// shown by its usual names. Method: a real browser that finds the name here; scripts of such a page ask for everything.
#[tokio::test(flavor = "multi_thread")]
async fn a_strangers_name_shows_nothing() {
    let listed = ("HEADCOUNT_ADMIN_HOSTS", "*.listed.rebound.example");
    let mut instance = Instance::start(&[listed]).await;
    instance.ready().await;
    let port = instance.admin.port();
    let browser = Browser::start().await;
    // Health is open to everybody, so this is a page of that name.
    let tab = browser.open(format!("http://{STRANGER}:{port}/livez"), json!({})).await;
    let script = "Promise.all(['./', 'console.json', 'rooms.json', 'runbook', 'metrics', 'livez'].map(async (path) =>
        (await fetch(path, { headers: { accept: '*/*' }, referrerPolicy: 'no-referrer' })).status))";
    assert_eq!(tab.evaluate(script).await, Ok(json!([403, 403, 403, 403, 403, 200])));
    let socket = "new Promise((tell) => {
        const socket = new WebSocket('socket.io/?EIO=4&transport=websocket');
        socket.onopen = () => tell('open');
        socket.onerror = () => tell('refused');
    })";
    assert_eq!(tab.evaluate(socket).await, Ok(json!("refused")));
    instance.process().logged(&[STRANGER, "HEADCOUNT_ADMIN_HOSTS"]).await;
    for name in ["localhost", "127.0.0.1", "web.listed.rebound.example"] {
        tab.go(format!("http://{name}:{port}/")).await;
        tab.says("#live", "Live").await;
    }
    let program = "host: metrics.example:9100\r\nuser-agent: Prometheus/3.5.0";
    let head = metrics_head("127.0.0.1:0", instance.admin, program).await;
    assert!(head.starts_with("HTTP/1.1 200"), "programs may use any name: {head}");
}

/// Goal: pages of other sites read nothing, operators are few, and probes get through however many look. Method: handshakes from
/// another origin, from none, and more of them than there are places; then the requests of their pages, which stay open.
#[tokio::test(flavor = "multi_thread")]
async fn sockets_are_for_few_and_for_this_page() {
    let instance = Instance::start(&[]).await;
    instance.ready().await;
    let socket = async |origin: &str| {
        let mut stream = TcpStream::connect(instance.admin).await.expect("it listens");
        let head = format!(
            "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nhost: {}\r\n{origin}\
             connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            instance.admin
        );
        stream.write_all(head.as_bytes()).await.expect("it reads");
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        stream.read_line(&mut line).await.expect("it answers");
        (line.split(' ').nth(1).unwrap_or_default().to_owned(), stream)
    };
    assert_eq!(socket("origin: https://evil.example\r\n").await.0, "403");
    let mut open = Vec::new();
    for _ in 0..32 {
        let (status, stream) = socket("").await;
        assert_eq!(status, "101", "after {}", open.len());
        open.push(stream);
    }
    assert_eq!(socket("").await.0, "503");
    let mut requests = Vec::new();
    for _ in 0..64 {
        let mut stream = TcpStream::connect(instance.admin).await.expect("it listens");
        let head = format!("GET /rooms.json HTTP/1.1\r\nhost: {}\r\n\r\n", instance.admin);
        stream.write_all(head.as_bytes()).await.expect("it reads");
        requests.push(BufReader::new(stream).lines());
    }
    for lines in &mut requests {
        let line = lines.next_line().await.expect("it answers");
        assert_eq!(line.as_deref(), Some("HTTP/1.1 200 OK"));
    }
    assert_eq!(instance.readiness().await, Ok(200), "probes get through");
    // These connections do not wait for what their pages ask next.
    for mut lines in requests {
        while lines.next_line().await.is_ok_and(|line| line.is_some()) {}
    }
    drop(open);
    eventually("places are given back", async || match socket("").await.0.as_str() {
        "101" => Ok(()),
        status => Err(status.to_owned()),
    })
    .await;
    assert_eq!(instance.shown().await.map(|shown| shown.count), Ok(0), "operators are no users");
}
