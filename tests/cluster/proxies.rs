//! Visitors behind third-party proxies, with third-party clients.

use std::{net::SocketAddr, process::Stdio, time::Duration};

use headcount_testkit::{
    instance::Instance,
    raw::{poll, polling_session, say, session_in},
    redis_server::free_port,
    repository,
    waiting::{PATIENCE, eventually},
};
use rstest::rstest;
use serde::Deserialize;
use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    process::{Child, Command},
    time::timeout,
};

/// A closed page without an open request leaves the count within this time. A client has three seconds for its next
/// poll, and ten without any sign of having left.
const SOON: Duration = Duration::from_secs(8);

/// A proxy in front of one instance. It is killed when this value is dropped.
#[derive(Debug)]
struct Proxy {
    address: SocketAddr,
    _directory: TempDir,
    _child: Child,
}

impl Proxy {
    /// nginx, with these additional lines.
    async fn nginx(server: SocketAddr, extra: &str) -> Self {
        let template = include_str!("proxies/nginx.conf").replace("EXTRA", extra);
        Self::start(server, &template, "nginx", &["-p", "DIRECTORY", "-c", "CONFIG"]).await
    }

    async fn start(server: SocketAddr, template: &str, program: &str, arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let path = directory.path().display().to_string();
        let config = format!("{path}/config");
        let text = template.replace("DIRECTORY", &path).replace("SERVER", &server.to_string());
        std::fs::write(&config, text.replace("LISTEN", &address.to_string())).expect("a file");
        let arguments = arguments
            .iter()
            .map(|argument| argument.replace("DIRECTORY", &path).replace("CONFIG", &config));
        // On Debian, only the PATH of administrators contains both programs.
        let places = format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
        let child = Command::new(program)
            .args(arguments)
            .env("PATH", places)
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("it is installed; scripts/test does it");
        let listens = async || TcpStream::connect(address).await.map_err(|error| error.to_string());
        eventually("the proxy listens", listens).await;
        Self { address, _directory: directory, _child: child }
    }
}

/// What a client saw.
#[derive(Debug, Deserialize)]
struct Joined {
    ms: u64,
    transport: String,
    count: u64,
}

/// A real client that joins with these options.
async fn join(server: SocketAddr, options: &str) -> Joined {
    let output = node(&["once.mjs", &format!("http://{server}"), options]).await;
    serde_json::from_str(&output).unwrap_or_else(|error| panic!("{error}: {output}"))
}

/// The output of a script.
async fn node(arguments: &[&str]) -> String {
    let mut node = Command::new("node");
    let output =
        node.args(arguments).current_dir(repository::node_folder()).kill_on_drop(true).output();
    let output = timeout(PATIENCE, output).await.expect("it ends").expect("node starts");
    String::from_utf8(output.stdout).expect("it is text")
}

/// Goal: behind a proxy that removes the headers for websockets, a client that prefers a websocket falls back to
/// polling without delay. Method: nginx without the lines for websockets. Some clients poll at once, others try a
/// websocket first. A wrong answer would cost ten seconds.
#[tokio::test(flavor = "multi_thread")]
async fn clients_fall_back_where_websockets_are_stripped() {
    let instance = Instance::start(&[]).await;
    let proxy = Proxy::nginx(instance.public, "").await;
    let polling = join(proxy.address, r#"{"transports":["polling"]}"#).await;
    let options = r#"{"transports":["websocket","polling"],"tryAllTransports":true}"#;
    let fallback = join(proxy.address, options).await;
    println!("polling took {} ms, falling back {} ms", polling.ms, fallback.ms);
    assert_eq!((polling.transport.as_str(), fallback.transport.as_str()), ("polling", "polling"));
    assert!(polling.count >= 1 && fallback.count >= 1);
    assert!(fallback.ms < 5 * polling.ms + 2000, "{} and {} ms", polling.ms, fallback.ms);
}

/// Goal: a cache in front never gives one visitor's session to another. Method: nginx caches whatever it may. Make two
/// handshakes and two polls behind it.
#[tokio::test(flavor = "multi_thread")]
async fn caches_keep_no_session() {
    const CACHE: &str = "proxy_cache answers; proxy_cache_valid any 10m; add_header X-Cache $upstream_cache_status;";
    let instance = Instance::start(&[]).await;
    let proxy = Proxy::nginx(instance.public, CACHE).await;
    let open = "/socket.io/?EIO=4&transport=polling";
    let sessions = [poll(proxy.address, open).await, poll(proxy.address, open).await];
    assert_ne!(session_in(&sessions[0].body), session_in(&sessions[1].body));
    let path = polling_session(proxy.address).await;
    for namespace in ["a a", "b b"] {
        assert_eq!(say(proxy.address, &path, &format!("40/{namespace},")).await.status, 200);
        let told = poll(proxy.address, &path).await;
        assert!(told.body.starts_with(&format!("44/{namespace},")), "{told:?}");
    }
    // The cache does store what it may.
    let script = "/headcount.js";
    poll(proxy.address, script).await;
    assert_eq!(poll(proxy.address, script).await.header("x-cache"), Some("hit"));
}

/// Goal: a client whose page disappears while it joins or upgrades leaves the count. Method: many real clients with
/// default options, whose sockets end 0, 3 and 30 ms after they joined.
#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn pages_that_go_away_leave_nobody_behind(#[values("0", "3", "30")] milliseconds: &str) {
    let instance = Instance::start(&[]).await;
    let url = format!("http://{}", instance.public);
    let joined = node(&["leaving.mjs", &url, "100", milliseconds]).await;
    println!("{} joined", joined.trim());
    assert_eq!(joined.trim(), "100");
    let took = instance.counts(0).await;
    println!("after {milliseconds} ms each: nobody was counted {took:?} later");
    assert!(took < SOON, "{took:?}");
}

/// Goal: clients that leave out the slash at the end are served like others. Method: real clients with that option, on
/// either transport and with an upgrade.
#[tokio::test(flavor = "multi_thread")]
async fn clients_may_leave_the_slash_out() {
    let instance = Instance::start(&[]).await;
    for (transports, last) in [
        (r#"["polling"]"#, "polling"),
        (r#"["websocket"]"#, "websocket"),
        (r#"["polling","websocket"]"#, "websocket"),
    ] {
        let options = format!(r#"{{"addTrailingSlash":false,"transports":{transports}}}"#);
        let joined = join(instance.public, &options).await;
        assert_eq!(joined.transport, last);
        assert!(joined.count >= 1, "{joined:?}");
    }
}
