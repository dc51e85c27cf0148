//! The largest rooms on the operators' console, in a real browser: by whatever names strangers give to rooms.

use headcount_testkit::{client::Transport, rooms::RoomsClient, waiting::eventually};
use serde_json::{Value, json};

use super::{
    browser::{Browser, Tab},
    console::{console_of, is_sound, named_cluster, row_says},
};

/// Names that would be markup, turn the text around them, or are as long as names can be.
const MARKUP: &str = "/<img/src=x/onerror=document.title='owned'>";
const TURNED: &str = "/a\u{202e}txt.exe";
/// The number of images in the page's main part: none, unless a name became markup.
const IMAGES: &str = "document.querySelectorAll('main img').length";

/// Waits until the list has exactly these rooms, in this order.
async fn lists(tab: &Tab<'_>, rooms: &[(&str, &str)]) {
    let script = "[...document.querySelectorAll('#largest tr')].map((row) =>
        ['name', 'users'].map((cell) => row.querySelector(`[data-text=${cell}]`).textContent))";
    eventually(&format!("the largest rooms are {rooms:?}"), async || {
        let listed = tab.evaluate(script).await?;
        if listed == json!(rooms) { Ok(()) } else { Err(listed.to_string()) }
    })
    .await;
}

/// Opens the console in several ways, and takes pictures. The list must have these rooms.
async fn looks_well_in_any_light(browser: &Browser, console: &str, rooms: &[(&str, &str)]) {
    let views = [
        ("light", json!({ "viewport": { "width": 1280, "height": 860 } })),
        ("dark", json!({ "viewport": { "width": 1280, "height": 860 }, "colorScheme": "dark" })),
        ("phone", json!({ "viewport": { "width": 320, "height": 640 } })),
    ];
    for (name, options) in views {
        let tab = browser.open(console, options).await;
        lists(&tab, rooms).await;
        tab.says("[data-text=rooms_here]", "5").await;
        tab.says("[data-text=members]", "6").await;
        is_sound(&format!("rooms-{name}"), &tab).await;
        assert_eq!(tab.evaluate(IMAGES).await, Ok(json!(0)));
        assert_eq!(tab.problems().await, [""; 0], "{name}");
        tab.close().await;
    }
}

/// Looks for a room on a page without scripts, by keyboard.
async fn is_found_without_scripts(browser: &Browser, console: &str) {
    let options =
        json!({ "javaScriptEnabled": false, "viewport": { "width": 320, "height": 640 } });
    let tab = browser.open(console, options).await;
    eventually("the search is reached by keyboard", async || {
        tab.press("Tab").await;
        match tab.evaluate("document.activeElement.id").await? {
            Value::String(id) if id == "prefix" => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await;
    tab.type_text("/<img").await;
    tab.press("Enter").await;
    lists(&tab, &[(MARKUP, "3")]).await;
    let value = tab.evaluate("document.getElementById('prefix').value").await;
    assert_eq!(value, Ok(json!("/<img")));
    assert_eq!(tab.evaluate(IMAGES).await, Ok(json!(0)));
    // The checks of `is_sound` are scripts; the markup is the same as with scripts.
    tab.screenshot("console-rooms-unscripted").await;
    let overflows = "document.documentElement.scrollWidth > innerWidth";
    assert_eq!(tab.evaluate(overflows).await, Ok(Value::Bool(false)));
    let title = tab.evaluate("document.title").await.unwrap_or(Value::Null);
    assert!(title.as_str().is_some_and(|title| title.ends_with("Headcount console")), "{title}");
}

/// Goal: operators see the largest rooms of the cluster and find those they look for, live and without scripts, in any light and on
/// a phone, and no name of a room becomes markup or changes the text around it. Method: rooms on two instances, some
/// with hostile names, in a real browser. The search is typed by keyboard; then a room empties.
#[tokio::test(flavor = "multi_thread")]
async fn operators_find_the_largest_rooms() {
    let cluster = named_cluster(2, &[]).await;
    let [here, there] = [0, 1].map(|number| cluster.instances[number].public);
    let long = format!("/long/{}", "x".repeat(122));
    let open = |server, rooms: &[&str]| RoomsClient::open(server, Transport::Websocket, rooms);
    let first = open(here, &["/blog/1", "/blog/2", MARKUP, TURNED, &long]);
    let others = [
        open(there, &["/blog/1", MARKUP, TURNED]),
        open(there, &["/blog/1", MARKUP]),
        open(here, &["/blog/1"]),
    ];
    let all = [
        ("/blog/1", "4"),
        (MARKUP, "3"),
        ("/a\\u{202e}txt.exe", "2"),
        ("/blog/2", "1"),
        (long.as_str(), "1"),
    ];
    let browser = Browser::start().await;
    let console = console_of(&cluster.instances[0]);
    looks_well_in_any_light(&browser, &console, &all).await;

    let tab = browser.open(&console, json!({})).await;
    lists(&tab, &all).await;
    // Nobody is in the site itself, and each instance has its sessions all the same.
    tab.says("[data-text=count]", "0").await;
    for name in ["web-1", "web-2"] {
        row_says(&tab, name, "sessions", "2").await;
        row_says(&tab, name, "users", "0").await;
        row_says(&tab, name, "share", "50 %").await;
    }
    tab.says("[data-text=people]", "people in the site itself").await;
    let connected = "Connected in all: 4 sessions, in the site or in whatever rooms.";
    tab.says("[data-text=connected]", connected).await;
    tab.says(".rates [data-text=sessions]", "2").await;
    tab.says("[data-key=behind] [data-text=mark]", "Fine").await;
    assert!(tab.evaluate("document.getElementById('prefix').focus()").await.is_ok());
    tab.type_text("blog/").await;
    lists(&tab, &[("/blog/1", "4"), ("/blog/2", "1")]).await;
    tab.press("Enter").await;
    assert_eq!(tab.evaluate("location.search").await, Ok(json!("?prefix=blog%2F")));
    assert_eq!(tab.evaluate("document.activeElement.id").await, Ok(json!("prefix")));
    first.leave("/blog/2");
    lists(&tab, &[("/blog/1", "4")]).await;
    assert_eq!(tab.problems().await, [""; 0]);
    is_found_without_scripts(&browser, &console).await;
    drop(others);
}
