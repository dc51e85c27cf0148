//! The largest rooms on the operators' console, in a real browser: by whatever names strangers give to rooms.

use headcount_testkit::{client::Transport, rooms::RoomsClient, waiting::eventually};
use serde_json::{Value, json};

use super::{
    browser::{Browser, Tab},
    console::{console_of, is_sound, named_cluster},
};

/// Names that would be markup, turn the text around them, or are as long as names can be.
const MARKUP: &str = "/<img/src=x/onerror=document.title='owned'>";
const TURNED: &str = "/a\u{202e}txt.exe";

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
    let blog = [("/blog/1", "4"), ("/blog/2", "1")];

    let browser = Browser::start().await;
    let console = console_of(&cluster.instances[0]);
    let views = [
        ("light", json!({ "viewport": { "width": 1280, "height": 860 } })),
        ("dark", json!({ "viewport": { "width": 1280, "height": 860 }, "colorScheme": "dark" })),
        ("phone", json!({ "viewport": { "width": 320, "height": 640 } })),
    ];
    for (name, options) in views {
        let tab = browser.open(&console, options).await;
        lists(&tab, &all).await;
        tab.says("[data-text=rooms_here]", "5").await;
        tab.says("[data-text=members]", "6").await;
        is_sound(&format!("rooms-{name}"), &tab).await;
        assert_eq!(
            tab.evaluate("document.querySelectorAll('main img').length").await,
            Ok(json!(0))
        );
        assert_eq!(tab.problems().await, [""; 0], "{name}");
        tab.close().await;
    }

    let tab = browser.open(&console, json!({})).await;
    lists(&tab, &all).await;
    assert!(tab.evaluate("document.getElementById('prefix').focus()").await.is_ok());
    tab.type_text("blog/").await;
    lists(&tab, &blog).await;
    tab.press("Enter").await;
    assert_eq!(tab.evaluate("location.search").await, Ok(json!("?prefix=blog%2F")));
    assert_eq!(tab.evaluate("document.activeElement.id").await, Ok(json!("prefix")));
    first.leave("/blog/2");
    lists(&tab, &blog[..1]).await;
    assert_eq!(tab.problems().await, [""; 0]);

    let unscripted =
        json!({ "javaScriptEnabled": false, "viewport": { "width": 320, "height": 640 } });
    let unscripted = browser.open(&console, unscripted).await;
    let press = ["Tab"; 3];
    eventually("the search is reached by keyboard", async || {
        for key in press {
            unscripted.press(key).await;
            let focused = unscripted.evaluate("document.activeElement.id").await?;
            if focused == json!("prefix") {
                return Ok(());
            }
        }
        Err("another element has the focus".to_owned())
    })
    .await;
    unscripted.type_text("/<img").await;
    unscripted.press("Enter").await;
    lists(&unscripted, &[(MARKUP, "3")]).await;
    let value = unscripted.evaluate("document.getElementById('prefix').value").await;
    assert_eq!(value, Ok(json!("/<img")));
    assert_eq!(
        unscripted.evaluate("document.querySelectorAll('main img').length").await,
        Ok(json!(0))
    );
    is_sound("rooms-unscripted", &unscripted).await;
    let title = unscripted.evaluate("document.title").await.unwrap_or(Value::Null);
    assert!(title.as_str().is_some_and(|title| title.ends_with("Headcount console")), "{title}");
    drop(others);
}
