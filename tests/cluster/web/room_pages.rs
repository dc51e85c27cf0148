//! Rooms on the pages of other sites: the examples of docs/embed.md in a real browser, on two instances.

use std::net::SocketAddr;

use headcount_testkit::{cluster::Cluster, redis_server::free_port, waiting::eventually};
use serde_json::{Value, json};

use super::{
    browser::{Browser, Tab},
    docs::blocks,
    site::{File, Site},
};

/// Products on the list page of the shop.
const SHOES: usize = 50;

/// Two instances, and the same site twice: each time with the script of another instance.
pub(super) async fn sites(settings: &[(&str, &str)], files: &[File]) -> (Cluster, [Site; 2]) {
    let mut cluster = Cluster::start(0).await;
    for _ in 0..2 {
        cluster.add(&[&[("HEADCOUNT_ALLOWED_ORIGINS", "*")], settings].concat()).await;
    }
    let [here, there] = [0, 1].map(|number| cluster.instances[number].public);
    let sites = [site(here, files).await, site(there, files).await];
    (cluster, sites)
}

pub(super) async fn site(server: SocketAddr, files: &[File]) -> Site {
    let files = files.iter().map(|(path, content)| {
        (*path, content.replace("https://count.example", &format!("http://{server}")))
    });
    Site::of_files(server, files.collect()).await
}

/// The block of docs/embed.md in this language that contains this text.
pub(super) fn example(language: &str, containing: &str) -> String {
    let blocks = blocks(include_str!("../../../docs/embed.md"));
    let mut found =
        blocks.iter().filter(|(of, content)| *of == language && content.contains(containing));
    found.next().unwrap_or_else(|| panic!("no example contains {containing}")).1.to_owned()
}

/// The packets that the page has sent over its websocket, which must be the only one, without answers to pings.
pub(super) async fn sent(tab: &Tab<'_>) -> Vec<String> {
    let sockets = tab.sockets().await;
    assert_eq!(sockets.as_array().map(Vec::len), Some(1), "{sockets}");
    let sent: Vec<String> = serde_json::from_value(sockets[0]["sent"].clone()).expect("texts");
    sent.into_iter().filter(|packet| packet != "3").collect()
}

/// Goal: every post of a blog counts its readers, and the list of posts shows them without being counted. Method: two
/// readers of one post, one of another, and the list, with scripts of two instances. Addresses with a slash at the end and
/// with percent-encoding are the same post. A reader leaves, and another goes on to the other post.
#[tokio::test(flavor = "multi_thread")]
async fn a_blog_counts_each_post() {
    let post = example("html", "reading this post");
    let list = example("html", "First post");
    let (_cluster, [here, there]) = sites(&[], &[("/blog/post-", post), ("/", list)]).await;
    let browser = Browser::start().await;
    let first = browser.open(format!("{}/blog/post-1", here.origin()), json!({})).await;
    let second =
        browser.open(format!("{}/blog/post-%31/?from=feed#x", there.origin()), json!({})).await;
    let other = browser.open(format!("{}/blog/post-2", there.origin()), json!({})).await;
    let list = browser.open(here.origin(), json!({})).await;
    let numbers = async |tab: &Tab<'_>, wanted: [&str; 2]| {
        eventually(&format!("it shows {wanted:?}"), async || {
            let all =
                "[...document.querySelectorAll('[data-headcount]')].map((it) => it.textContent)";
            let shown = tab.evaluate(all).await?;
            if shown == json!(wanted) { Ok(()) } else { Err(shown.to_string()) }
        })
        .await;
    };
    numbers(&first, ["2", "3"]).await;
    numbers(&second, ["2", "3"]).await;
    numbers(&other, ["1", "3"]).await;
    numbers(&list, ["2", "1"]).await;
    assert_eq!(sent(&first).await, ["40/blog/post-1,", "40"]);
    let watch = "{\"watch\":true}";
    let watched = [1, 2].map(|post| format!("40/blog/post-{post},{watch}"));
    assert_eq!(sent(&list).await, watched);
    second.close().await;
    numbers(&list, ["1", "1"]).await;
    first.go(format!("{}/blog/post-2", here.origin())).await;
    numbers(&list, ["0", "2"]).await;
    numbers(&other, ["2", "2"]).await;
    for tab in [&first, &other, &list] {
        assert_eq!(tab.problems().await, [""; 0]);
    }
}

/// Goal: a list page with 50 products watches 50 rooms over one connection and counts nobody. Method: the list with the
/// script of one instance, and pages of two products with that of the other. Every element shows the right number.
#[tokio::test(flavor = "multi_thread")]
async fn a_shop_watches_all_products_of_its_list() {
    let list = example("html", "shop.js");
    let script = example("javascript", "data");
    let product = example("html", "reading this post");
    let files = [("/shop.js", script), ("/shoes/", product), ("/", list)];
    let (cluster, [here, there]) = sites(&[], &files).await;
    let browser = Browser::start().await;
    let list = browser.open(here.origin(), json!({})).await;
    let all_but = async |wanted: &[(usize, &str)]| {
        eventually(&format!("all show 0 but {wanted:?}"), async || {
            let all = "[...document.querySelectorAll('#shoes span')].map((it) => it.textContent)";
            let shown: Vec<String> =
                serde_json::from_value(list.evaluate(all).await?).expect("texts");
            assert_eq!(shown.len(), SHOES);
            let expected = |number| {
                let other = wanted.iter().find(|(shoe, _)| *shoe == number + 1);
                other.map_or("0", |(_, text)| text)
            };
            let is_so = shown.iter().enumerate().all(|(number, text)| text == expected(number));
            if is_so { Ok(()) } else { Err(format!("{shown:?}")) }
        })
        .await;
    };
    all_but(&[]).await;
    let asked = sent(&list).await;
    let expected = (1..=SHOES).map(|shoe| format!("40/shoes/{shoe},{{\"watch\":true}}"));
    assert!(asked.iter().eq(expected.collect::<Vec<_>>().iter()), "{asked:?}");
    let first = browser.open(format!("{}/shoes/7", there.origin()), json!({})).await;
    let second = browser.open(format!("{}/shoes/50", there.origin()), json!({})).await;
    all_but(&[(7, "1"), (50, "1")]).await;
    first.go(format!("{}/shoes/50/", there.origin())).await;
    all_but(&[(50, "2")]).await;
    second.close().await;
    all_but(&[(50, "1")]).await;
    let shown = cluster.instances[0].shown().await.expect("it answers");
    assert_eq!(shown.count, 1, "the list is not counted in the site");
    assert_eq!(list.problems().await, [""; 0]);
}

/// Goal: a single-page app whose route changes leaves the old room and joins the new one over the same websocket. Method:
/// two visitors with the scripts of two instances. One follows a link, goes back, and is counted in one room at a time.
#[tokio::test(flavor = "multi_thread")]
async fn an_app_leaves_the_room_of_the_former_route() {
    let app = example("html", "app.js");
    let script = example("javascript", "pushState");
    let (_cluster, [here, there]) = sites(&[], &[("/app.js", script), ("/", app)]).await;
    let browser = Browser::start().await;
    let moving = browser.open(format!("{}/inbox", here.origin()), json!({})).await;
    let staying = browser.open(format!("{}/inbox", there.origin()), json!({})).await;
    let [own, site] = ["[data-headcount='.']", "[data-headcount=live]"];
    for tab in [&moving, &staying] {
        tab.says(own, "2").await;
        tab.says(site, "2").await;
    }
    moving.evaluate("document.querySelectorAll('nav a')[1].click()").await.expect("it runs");
    moving.says("main", "This is /team/7").await;
    moving.says(own, "1").await;
    staying.says(own, "1").await;
    moving.back().await;
    moving.says("main", "This is /inbox").await;
    for tab in [&moving, &staying] {
        tab.says(own, "2").await;
        tab.says(site, "2").await;
        assert_eq!(tab.problems().await, [""; 0]);
    }
    let expected = ["40/inbox,", "40", "41/inbox,", "40/team/7,", "41/team/7,", "40/inbox,"]
        .map(str::to_owned);
    assert_eq!(sent(&moving).await, expected);
}

/// Goal: elements that appear later, change and go away move their visitor, and a lost connection restores what is wanted
/// then. Method: a page whose elements are changed while a second one watches; then its instance is replaced.
#[tokio::test(flavor = "multi_thread")]
async fn elements_come_and_go() {
    let script = "<script src=https://count.example/headcount.js></script>";
    let pages = [
        (
            "/watching",
            format!(
                "{script}<i data-headcount=/a data-headcount-watch></i><b data-headcount=/b data-headcount-watch></b>"
            ),
        ),
        ("/", format!("{script}<main></main>")),
    ];
    let mut cluster = Cluster::start(0).await;
    let address = format!("127.0.0.1:{}", free_port());
    let settings = [("HEADCOUNT_ALLOWED_ORIGINS", "*"), ("HEADCOUNT_LISTEN", &address)];
    cluster.add(&settings).await;
    cluster.add(&settings[..1]).await;
    let here = site(cluster.instances[0].public, &pages).await;
    let there = site(cluster.instances[1].public, &pages).await;
    let browser = Browser::start().await;
    let watching = browser.open(format!("{}/watching", there.origin()), json!({})).await;
    watching.says("i", "0").await;
    let tab = browser.open(here.origin(), json!({})).await;
    let run = async |script: &str| {
        tab.evaluate(script).await.expect("it runs");
    };
    run("document.querySelector('main').innerHTML = '<p><u data-headcount=/a></u></p>'").await;
    tab.says("u[data-headcount-state=live]", "1").await;
    watching.says("i", "1").await;
    run("document.querySelector('u').dataset.headcount = '/b'").await;
    tab.says("u", "1").await;
    watching.says("i", "0").await;
    watching.says("b", "1").await;
    run("document.querySelector('u').dataset.headcountWatch = ''").await;
    watching.says("b", "0").await;
    tab.says("u", "0").await;
    run("delete document.querySelector('u').dataset.headcountWatch").await;
    watching.says("b", "1").await;
    cluster.instances.remove(0);
    tab.says("u[data-headcount-state=reconnecting]", "1").await;
    cluster.add(&settings).await;
    tab.says("u[data-headcount-state=live]", "1").await;
    watching.says("b", "1").await;
    run("document.querySelector('p').remove()").await;
    watching.says("b", "0").await;
    assert_eq!(watching.problems().await, [""; 0]);
}

/// Goal: a room that the server does not allow leaves its element empty and everything else as it is. Method: an element
/// of such a room between one of another room and one of the site.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_room_leaves_the_others_alone() {
    let body = "<script src=https://count.example/headcount.js></script><i data-headcount=/shoes/1></i>\
        <b data-headcount=/secret></b><b data-headcount='/with a,comma'></b><u data-headcount></u>";
    let pages = [("/", body.to_owned())];
    let (_cluster, [here, _there]) = sites(&[("HEADCOUNT_ROOMS", "/shoes/*")], &pages).await;
    let browser = Browser::start().await;
    let tab = browser.open(here.origin(), json!({})).await;
    tab.says("b[data-headcount-state=refused]", "").await;
    tab.says("i[data-headcount-state=live]", "1").await;
    tab.says("u[data-headcount-state=live]", "1").await;
    let refused = "document.querySelectorAll('[data-headcount-state=refused]').length";
    assert_eq!(tab.evaluate(refused).await, Ok(json!(2)));
    let code = "room_not_allowed";
    let expected =
        ["/secret", "/with%20a%2Ccomma"].map(|room| format!("warning: headcount: {room} {code}"));
    assert_eq!(tab.problems().await, expected);
    let sockets = tab.sockets().await;
    assert_eq!(sockets.as_array().map(Vec::len), Some(1), "{sockets}");
}

/// Goal: a visitor of the page opens a room, sees it counted beside the site, and gets the snippet for it. Method: by
/// keyboard on one instance, small and dark; by its link on the other. One leaves, and the site's count stays.
#[tokio::test(flavor = "multi_thread")]
async fn the_page_opens_a_room() {
    let cluster = Cluster::start(2).await;
    let browser = Browser::start().await;
    let [here, there] =
        [0, 1].map(|number| format!("http://{}/", cluster.instances[number].public));
    let small = json!({ "viewport": { "width": 320, "height": 640 }, "colorScheme": "dark",
        "permissions": ["clipboard-read", "clipboard-write"] });
    let first = browser.open(&here, small).await;
    first.says("#state", "Live").await;
    assert_eq!(first.evaluate("document.getElementById('room').hidden").await, Ok(json!(true)));
    until_focused(&first, "room-input").await;
    first.type_text("blog/a\"&post").await;
    first.press("Enter").await;
    first.says("#room-count", "1").await;
    first.says("#room-state", "Live").await;
    first.says("#room-people", "person is in this room").await;
    first.says("#room-announcement", "1 in the room /blog/a\"&post. Live").await;
    let link = first.evaluate("location.href").await.expect("it runs");
    let link = link.as_str().expect("an address").replace(&here, &there);
    let second = browser.open(&link, json!({})).await;
    for tab in [&first, &second] {
        tab.says("#room-count", "2").await;
        tab.says("#room-people", "people are in this room").await;
        tab.says("#count", "2").await;
        drawn(tab).await;
        let overflows = "document.documentElement.scrollWidth > innerWidth";
        assert_eq!(tab.evaluate(overflows).await, Ok(Value::Bool(false)));
        assert_eq!(tab.barriers().await, json!([]));
    }
    first.screenshot("room-dark-small").await;
    second.screenshot("room-light").await;
    until_focused(&first, "room-leave").await;
    first.press("Tab").await;
    first.press("Enter").await;
    first.says("[data-copies=snippet-room]", "Copied").await;
    let copied = first.evaluate("navigator.clipboard.readText()").await.expect("it is readable");
    let expected = format!(
        "<script src=\"{here}headcount.js\" async></script>\n\
         <span data-headcount=\"/blog/a&quot;&amp;post\"></span> people on this page"
    );
    assert_eq!(copied, json!(expected));
    second.evaluate("document.getElementById('room-leave').click()").await.expect("it runs");
    first.says("#room-count", "1").await;
    first.says("#count", "2").await;
    assert_eq!(second.evaluate("document.activeElement.id").await, Ok(json!("room-input")));
    assert_eq!(second.evaluate("document.getElementById('room').hidden").await, Ok(json!(true)));
    // Back to it, and on to another one.
    second.back().await;
    first.says("#room-count", "2").await;
    second.evaluate("location.hash = '#/other'").await.expect("it runs");
    second.says("#room-name", "/other").await;
    second.says("#room-count", "1").await;
    first.says("#room-count", "1").await;
    for tab in [&first, &second] {
        assert_eq!(sent(tab).await[..2], ["40", "40/blog/a\"&post,"]);
        assert_eq!(tab.problems().await, [""; 0]);
    }
}

/// Goal: the page says so when a room is not allowed, and the site's count goes on. Method: an instance without rooms.
#[tokio::test(flavor = "multi_thread")]
async fn the_page_says_that_a_room_is_refused() {
    let mut cluster = Cluster::start(0).await;
    cluster.add(&[("HEADCOUNT_ROOMS", "none")]).await;
    let browser = Browser::start().await;
    let address = format!("http://{}/#/a", cluster.instances[0].public);
    let tab = browser.open(address, json!({})).await;
    tab.says("#room-state", "The server does not let you into this room.").await;
    tab.says("#room-count", "–").await;
    tab.says("#count", "1").await;
    tab.says("#state", "Live").await;
    assert_eq!(tab.problems().await, ["warning: headcount: /a room_not_allowed"]);
    assert_eq!(tab.barriers().await, json!([]));
}

/// Presses Tab until this element has the focus.
async fn until_focused(tab: &Tab<'_>, id: &str) {
    eventually(&format!("{id} has the focus"), async || {
        tab.press("Tab").await;
        let focused = tab.evaluate("document.activeElement.id").await?;
        if focused == id { Ok(()) } else { Err(focused.to_string()) }
    })
    .await;
}

/// Waits until the room's line is drawn.
async fn drawn(tab: &Tab<'_>) {
    eventually("the room has a line", async || {
        let path = "document.querySelector('#room-line .trace').getAttribute('d') ?? ''";
        match tab.evaluate(path).await? {
            Value::String(path) if path.starts_with('M') => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await;
}
