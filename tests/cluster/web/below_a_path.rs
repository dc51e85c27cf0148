//! Headcount at `/live/` of a site: behind proxies that take the prefix away, configured as docs/embed.md says.

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

/// Goal: the page is whole below a path, whoever takes that away. Method: open it in a browser through each proxy,
/// with and without its last slash; it is live, loads and links to nothing beyond the path, names itself in its
/// snippets, and complains of nothing.
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

/// Goal: behind a proxy that leads nobody to the last slash the page is whole all the same. Method: such a proxy;
/// the page finds its parts, and puts the slash into its address, whatever else is in that.
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

/// Goal: both clients for other pages find their server below a path. Method: through each proxy a page of another
/// site with the script and one with the module; and in the page itself a client that is given the folder, and the
/// Socket.IO client by either transport.
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
            tab.says("#count", "1").await;
        }
        assert_eq!(tab.problems().await, [""; 0], "{program:?}");
        tab.close().await;
    }
}

/// Goal: event streams come through while they are open. Method: read the stream through each proxy; a client
/// joins, and the reader is told before anything ends.
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

/// Makes a `client` of the page's own server, on one transport.
fn of_socket_io(transport: &str) -> String {
    format!(
        "const {{ io }} = await import('./socket.io/socket.io.esm.min.js'); \
         const client = io({{ path: '/live/socket.io', forceNew: true, transports: ['{transport}'] }})"
    )
}

/// The proxy as docs/embed.md configures it.
async fn in_front_of(instance: &Instance, program: Program) -> Proxy {
    Proxy::start(program, instance.public, configuration(program), &[]).await
}

fn configuration(program: Program) -> &'static str {
    let blocks = blocks(include_str!("../../../docs/embed.md"));
    let ours = blocks.into_iter().find(|(language, _)| *language == program.language());
    ours.expect("docs/embed.md has one for each").1
}

/// Waits until the page is live, and looks at what it shows and links to.
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
/// Where the page leads, and its pictures, and whether that is there.
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
