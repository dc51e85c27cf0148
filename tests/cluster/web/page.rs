//! The page in a real browser: what visitors see, through joins, losses and outages.

use headcount_testkit::{
    cluster::Cluster, instance::Instance, redis_server::free_port, waiting::eventually,
};
use serde_json::{Value, json};

use super::browser::{Browser, Tab};

/// Goal: every tab counts, on any instance, and the page has no defects. Method: three tabs on two
/// instances, light, dark and small, show 3. One is closed: 2. No page logs a problem or has accessibility
/// problems. Pictures are taken.
#[tokio::test(flavor = "multi_thread")]
async fn three_tabs_over_two_instances_show_three() {
    let cluster = Cluster::start(2).await;
    let browser = Browser::start().await;
    let [here, there] = [0, 1].map(|number| page_of(&cluster.instances[number]));
    let wide = json!({ "viewport": { "width": 1280, "height": 860 } });
    let dark = json!({ "viewport": { "width": 1280, "height": 860 }, "colorScheme": "dark" });
    let small = json!({ "viewport": { "width": 320, "height": 640 }, "reducedMotion": "reduce" });
    let tabs = [
        ("light", browser.open(&here, wide).await),
        ("dark", browser.open(&here, dark).await),
        ("small", browser.open(&there, small).await),
    ];
    for (name, tab) in &tabs {
        tab.says("#count", "3").await;
        tab.says("#state", "Live").await;
        tab.says("#instances", "2").await;
        tab.says("#people", "people are here right now").await;
        tab.says("#announcement", "3 online. Live").await;
        tab.screenshot(name).await;
        let overflows = "document.documentElement.scrollWidth > innerWidth";
        assert_eq!(tab.evaluate(overflows).await, Ok(Value::Bool(false)), "{name}");
        assert_eq!(tab.problems().await, [""; 0], "{name}");
        assert_eq!(tab.barriers().await, json!([]), "{name}");
    }
    let [(_, first), (_, second), (_, third)] = tabs;
    assert_ne!(first.text("#instance").await, third.text("#instance").await);
    third.close().await;
    for tab in [&first, &second] {
        tab.says("#count", "2").await;
    }
    second.close().await;
    first.says("#people", "person is here right now").await;
    assert_eq!(first.evaluate("document.title").await, Ok(json!("1 online – Headcount")));
}

/// Goal: a page survives the end of its server. Method: kill its instance: the page says that it reconnects.
/// Start it again on the same address: the page is live, without being loaded again.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_returns_to_an_instance_that_returns() {
    let mut cluster = Cluster::start(0).await;
    let address = format!("127.0.0.1:{}", free_port());
    cluster.add(&[("HEADCOUNT_LISTEN", &address)]).await;
    let browser = Browser::start().await;
    let tab = browser.open(page_of(&cluster.instances[0]), json!({})).await;
    tab.says("#count", "1").await;
    tab.evaluate("globalThis.isTheSame = true").await.expect("it runs");
    cluster.instances.remove(0);
    tab.says("#state", "Reconnecting").await;
    tab.says("#count", "1").await;
    tab.screenshot("reconnecting").await;
    assert_eq!(tab.barriers().await, json!([]));
    cluster.add(&[("HEADCOUNT_LISTEN", &address)]).await;
    tab.says("#state", "Live").await;
    tab.says("#count", "1").await;
    assert_eq!(tab.evaluate("isTheSame").await, Ok(Value::Bool(true)));
    no_problems_but_of_the_network(&tab).await;
}

/// Goal: the page says when the number is an estimate, and when it is exact again. Method: kill Redis and
/// start it again while a page is open.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_says_estimate_while_redis_is_away() {
    let mut cluster = Cluster::start(1).await;
    let browser = Browser::start().await;
    let tab = browser.open(page_of(&cluster.instances[0]), json!({})).await;
    tab.says("#state", "Live").await;
    cluster.redis.kill_9();
    tab.says("#state", "Estimate").await;
    tab.says("#count", "1").await;
    tab.screenshot("estimate").await;
    assert_eq!(tab.barriers().await, json!([]));
    cluster.redis.restart();
    tab.says("#state", "Live").await;
    assert_eq!(tab.problems().await, [""; 0]);
}

/// Goal: a page that the user left is not counted, and is counted again after the return. Method: go to
/// another page and back, while a second tab is open. The script must still be the one that was left.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_left_and_returned_to_is_counted_right() {
    let cluster = Cluster::start(1).await;
    let browser = Browser::start().await;
    let page = page_of(&cluster.instances[0]);
    let watching = browser.open(&page, json!({})).await;
    let leaving = browser.open(&page, json!({})).await;
    watching.says("#count", "2").await;
    leaving.go(format!("{page}api/count")).await;
    watching.says("#count", "1").await;
    leaving.back().await;
    watching.says("#count", "2").await;
    leaving.says("#count", "2").await;
    leaving.says("#state", "Live").await;
    assert_eq!(leaving.problems().await, [""; 0]);
}

/// Goal: the page works by keyboard, and the snippets can be copied. Method: press Tab until the first
/// button has the focus, then Enter, and read the clipboard.
#[tokio::test(flavor = "multi_thread")]
async fn snippets_are_copied_by_keyboard() {
    let instance = Instance::start(&[]).await;
    let browser = Browser::start().await;
    let page = page_of(&instance);
    let may_read = json!({ "permissions": ["clipboard-read", "clipboard-write"] });
    let tab = browser.open(&page, may_read).await;
    tab.says("#state", "Live").await;
    let focused = async || {
        tab.press("Tab").await;
        match tab.evaluate("document.activeElement.dataset.copies ?? null").await? {
            Value::String(snippet) => Ok(snippet),
            other => Err(other.to_string()),
        }
    };
    let (snippet, _) = eventually("a button has the focus", focused).await;
    assert_eq!(snippet, "snippet-page");
    tab.press("Enter").await;
    tab.says("[data-copies=snippet-page]", "Copied").await;
    let copied = tab.evaluate("navigator.clipboard.readText()").await.expect("it is readable");
    let expected = format!("<script src=\"{page}headcount.js\" async></script>");
    assert!(copied.as_str().is_some_and(|text| text.starts_with(&expected)), "{copied}");
    assert_eq!(tab.problems().await, [""; 0]);
}

fn page_of(instance: &Instance) -> String {
    format!("http://{}/", instance.public)
}

/// Asserts that the console contains only messages of the browser about lost connections, which cannot be
/// suppressed.
pub(super) async fn no_problems_but_of_the_network(tab: &Tab<'_>) {
    let problems = tab.problems().await;
    let mut others = problems.iter().filter(|problem| {
        !(problem.starts_with("error: WebSocket connection to") || problem.contains("net::ERR_"))
    });
    assert_eq!(others.next(), None, "{problems:?}");
}
