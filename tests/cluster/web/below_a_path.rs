//! Headcount at `/live/` of a site: behind proxies that remove the prefix, configured like in docs/embed.md.

use headcount_testkit::{
    client::{Client, Transport},
    instance::Instance,
};
use serde_json::{Value, json};

use super::{
    browser::{Browser, Tab},
    docs::blocks,
    proxy::{Program, Proxy},
    site::Site,
    stream::Reader,
};

/// Goal: the page works below a path, whichever proxy removes it. Method: open it in a browser through each proxy,
/// with and without its last slash. It is live, loads and links nothing outside the path, uses its own address in
/// its snippets, and logs no problem.
#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_whole_below_a_path() {
    let instance = Instance::start(&[]).await;
    let browser = Browser::start().await;
    for program in Program::ALL {
        let proxy = in_front_of(&instance, program).await;
        for address in ["live", "live/?from=a#b"] {
            let home = format!("http://{}/live", proxy.address);
            let tab = browser.open(format!("http://{}/{address}", proxy.address), json!({})).await;
            is_whole(&tab, &home).await;
            let loaded = tab.evaluate(LOADED).await.expect("it runs");
            let beyond =
                |address: &Value| !address.as_str().is_some_and(|it| it.starts_with(&home));
            let loaded = loaded.as_array().expect("addresses");
            assert!(!loaded.iter().any(beyond), "{program:?} at {address}: {loaded:?}");
            assert_eq!(tab.problems().await, [""; 0], "{program:?} at {address}");
            tab.close().await;
        }
    }
}

/// Goal: the page also works behind a proxy that does not redirect to the last slash. Method: such a proxy. The
/// page finds its parts, and adds the slash to its address, whatever else the address contains.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_without_its_last_slash_is_whole() {
    let instance = Instance::start(&[]).await;
    let browser = Browser::start().await;
    let lenient = configuration(Program::HaProxy)
        .replace("http-request redirect location /live/ if { path /live }", "")
        .replace("path_beg /live/", "path_beg /live")
        .replace("/live/(.*)", "/live/?(.*)");
    let proxy = Proxy::start(Program::HaProxy, instance.public, &lenient, &[]).await;
    let home = format!("http://{}/live", proxy.address);
    let tab = browser.open(format!("{home}?from=a#b"), json!({})).await;
    is_whole(&tab, &home).await;
    assert_eq!(tab.evaluate("location.href").await, Ok(json!(format!("{home}/?from=a#b"))));
    let problems = tab.problems().await;
    let of_the_search = |problem: &String| problem.starts_with("error: Failed to load resource");
    assert!(problems.iter().all(of_the_search), "{problems:?}");
}

/// Goal: both clients for other pages find their server below a path. Method: through each proxy, a page of
/// another site with the script and one with the module. In the page itself, a client that gets the folder, and
/// the Socket.IO client on either transport.
#[tokio::test(flavor = "multi_thread")]
async fn clients_find_their_server_below_a_path() {
    let instance = Instance::start(&[("HEADCOUNT_ALLOWED_ORIGINS", "*")]).await;
    let browser = Browser::start().await;
    for program in Program::ALL {
        let proxy = in_front_of(&instance, program).await;
        let home = format!("http://{}/live", proxy.address);
        let span = "<span data-headcount></span>";
        for script in [
            format!("<script src={home}/headcount.js></script>{span}"),
            format!("{span}<script type=module src={home}/headcount.mjs></script>"),
        ] {
            let site = Site::start(proxy.address, &script).await;
            let tab = browser.open(site.origin(), json!({})).await;
            tab.says("[data-headcount=live]", "1").await;
            assert_eq!(tab.problems().await, [""; 0], "{program:?}");
            tab.close().await;
        }
        let tab = browser.open(format!("{home}/"), json!({})).await;
        tab.says("#count", "1").await;
        let listen = "new Promise((told) => client.on('user count', (users) => { client.close(); told(users); }))";
        for client in [
            format!("const client = headcount('{home}')"),
            of_socket_io("websocket"),
            of_socket_io("polling"),
        ] {
            let count = format!("(async () => {{ {client}; return {listen}; }})()");
            assert_eq!(tab.evaluate(&count).await, Ok(json!(2)), "{program:?}: {client}");
            // Whether the page was told of the client at all, in so short a time, is open.
            instance.counts(1).await;
        }
        assert_eq!(tab.problems().await, [""; 0], "{program:?}");
        tab.close().await;
    }
}

/// Goal: events of a stream arrive while the stream is open. Method: read the stream through each proxy. A client
/// joins, and the reader gets the new count before anything ends.
#[tokio::test(flavor = "multi_thread")]
async fn event_streams_come_through_below_a_path() {
    let instance = Instance::start(&[]).await;
    for program in Program::ALL {
        let proxy = in_front_of(&instance, program).await;
        let mut reader = Reader::open_at(proxy.address, "/live/api/count/stream", "").await;
        reader.event_with(0).await;
        let client = Client::open(instance.public, Transport::Websocket);
        reader.event_with(1).await;
        drop(client);
        reader.event_with(0).await;
    }
}

/// A script that makes a `client` of the page's own server, on one transport.
fn of_socket_io(transport: &str) -> String {
    format!(
        "const {{ io }} = await import('./socket.io/socket.io.esm.min.js'); \
         const client = io({{ path: '/live/socket.io', forceNew: true, transports: ['{transport}'] }})"
    )
}

/// Starts the proxy with the configuration of docs/embed.md.
async fn in_front_of(instance: &Instance, program: Program) -> Proxy {
    Proxy::start(program, instance.public, configuration(program), &[]).await
}

fn configuration(program: Program) -> &'static str {
    let blocks = blocks(include_str!("../../../docs/embed.md"));
    let ours = blocks.into_iter().find(|(language, _)| *language == program.language());
    ours.expect("docs/embed.md has one for each").1
}

/// Waits until the page is live, and checks what it shows and links.
async fn is_whole(tab: &Tab<'_>, home: &str) {
    tab.says("#state", "Live").await;
    tab.says("#count", "1").await;
    tab.says("#instances", "1").await;
    let snippet = tab.text("#snippet-page").await.expect("it is there");
    assert!(snippet.starts_with(&format!("<script src=\"{home}/headcount.js\"")), "{snippet}");
    let links = tab.evaluate(LINKS).await.expect("it runs");
    let links = links.as_array().expect("links");
    assert!(links.len() > 4, "{links:?}");
    for link in links {
        let is_below =
            link["address"].as_str().is_some_and(|it| it.starts_with(&format!("{home}/")));
        assert!(is_below && link["is_there"] == true, "{link}");
    }
}

/// What the page has loaded.
const LOADED: &str = "performance.getEntriesByType('resource').map((entry) => entry.name)";
/// The links and pictures of the page, and whether their targets exist.
const LINKS: &str = "(async () => {
    const found = [...document.images].map(({ src, naturalWidth }) => ({ address: src, is_there: naturalWidth > 0 }));
    for (const { href } of document.querySelectorAll('a[href]')) {
      const stop = new AbortController();
      const { ok } = await fetch(href, { signal: stop.signal });
      stop.abort();
      found.push({ address: href, is_there: ok });
    }
    return found;
  })()";
