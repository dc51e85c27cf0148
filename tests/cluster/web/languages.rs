//! The page in the languages of its visitors, and for browsers without scripts.

use headcount_testkit::{
    client::{Client, Transport},
    instance::Instance,
    waiting::eventually,
};
use serde_json::{Value, json};

use super::{
    browser::Browser,
    proxy::{Program, Proxy},
};

/// The content of a language file.
fn messages(language: &str) -> Value {
    let path = format!("{}/src/web/messages/{language}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).expect("the language has a file");
    serde_json::from_str(&text).expect("it is JSON")
}

/// Goal: the page uses the first language of its visitor that it has, and English if it has none. Method: browsers
/// of several locales. State, title, announcements, an open room and numbers match the language file and `Intl`, the
/// document declares its language, and axe-core finds no problem.
#[tokio::test(flavor = "multi_thread")]
async fn the_page_speaks_the_language_of_its_visitor() {
    let instance = Instance::start(&[]).await;
    let page = format!("http://{}/", instance.public);
    let browser = Browser::start().await;
    for (locales, language, lang) in [
        (["zh-CN"].as_slice(), "zh", "zh-Hans"),
        (&["th-TH"], "th", "th"),
        (&["de-DE", "ja-JP", "en"], "ja", "ja"),
        (&["en-IN"], "en", "en"),
        (&["de-DE"], "en", "en"),
        // Not a locale, but what browsers on some systems report.
        (&["en-US@posix"], "en", "en"),
    ] {
        let locale = locales[0];
        let options = match locales {
            [locale] if !locale.contains('@') => json!({ "locale": locale }),
            _ => json!({ "languages": locales }),
        };
        let tab = browser.open(&page, options).await;
        let messages = messages(language);
        let text = |key: &str| messages[key].as_str().expect(key).to_owned();
        tab.says("#state", &text("live")).await;
        tab.says("#meaning", &text("live-meaning")).await;
        tab.says("#embed-title", &text("embed")).await;
        tab.says("[data-copies=snippet-page]", &text("copy")).await;
        let people = &messages["people"];
        let people = people.get("one").unwrap_or(&people["other"]);
        tab.says("#people", people.as_str().expect("a text")).await;
        let announcement = text("announcement").replace("{count}", "1");
        tab.says("#announcement", &announcement.replace("{state}", &text("live"))).await;
        tab.evaluate("location.hash = '#/a'").await.expect("it runs");
        let people = &messages["room-people"];
        let people = people.get("one").unwrap_or(&people["other"]);
        tab.says("#room-people", people.as_str().expect("a text")).await;
        tab.says("#room-state", &text("live")).await;
        let announcement =
            text("room-announcement").replace("{count}", "1").replace("{room}", "/a");
        tab.says("#room-announcement", &announcement.replace("{state}", &text("live"))).await;
        let title = Ok(json!(text("title").replace("{count}", "1")));
        assert_eq!(tab.evaluate("document.title").await, title);
        assert_eq!(tab.evaluate("document.documentElement.lang").await, Ok(json!(lang)));
        let grouped = if locale == "en-IN" { "12,34,567" } else { "1,234,567" };
        assert_eq!(tab.evaluate("messages.number(1234567)").await, Ok(json!(grouped)), "{locale}");
        tab.screenshot(&format!("language-{lang}-{locale}")).await;
        assert_eq!(tab.barriers().await, json!([]), "{locale}");
        assert_eq!(tab.problems().await, [""; 0], "{locale}");
        tab.close().await;
    }
}

/// Goal: no visitor sees the page in English first. Method: a Japanese browser that gets the page slowly and never
/// gets its own script. From the first frame on, the painted text must be Japanese.
#[tokio::test(flavor = "multi_thread")]
async fn no_frame_is_painted_in_another_language() {
    /// The text of the page takes some seconds. The files that it waits for do not.
    const SLOW: &str = "map $args $rate { default 3000; messages.js 0; }\n\
        server { listen 8080; proxy_set_header Accept-Encoding ''; \
        location / { proxy_pass http://127.0.0.1:3000; } \
        location = / { limit_rate $rate; proxy_pass http://127.0.0.1:3000; } }";
    let instance = Instance::start(&[]).await;
    let proxy = Proxy::start(Program::Nginx, instance.public, SLOW, &[]).await;
    let browser = Browser::start().await;
    let options = json!({ "locale": "ja-JP", "watch": true, "stall": ["**/public/client.js"] });
    let tab = browser.open(format!("http://{}/", proxy.address), options).await;
    let japanese = messages("ja");
    let is_there = |painted: &Value, text: &Value| {
        painted.as_array().is_some_and(|texts| texts.contains(text))
    };
    let look = async || {
        let painted = tab.evaluate("[...painted]").await?;
        if is_there(&painted, &japanese["programs-page"]) {
            Ok(painted)
        } else {
            Err(painted.to_string())
        }
    };
    let (painted, _) = eventually("the end of the page is painted", look).await;
    assert_eq!(tab.evaluate("isPaintedEarly").await, Ok(json!(true)), "it came too fast");
    assert!(is_there(&painted, &japanese["connecting"]), "{painted}");
    for (key, text) in messages("en").as_object().expect("messages") {
        assert!(!is_there(&painted, text), "{key} was painted in English");
    }
}

/// Goal: without scripts the page says so at its top, and shows the number as a picture and no false state. Method:
/// browsers with JavaScript switched off, and with one of the page's scripts missing.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_without_its_scripts_says_so() {
    let instance = Instance::start(&[]).await;
    let browser = Browser::start().await;
    for (name, options) in [
        ("off", json!({ "javaScriptEnabled": false })),
        ("messages", json!({ "abort": ["**/?messages.js"] })),
        ("client", json!({ "abort": ["**/headcount.js"] })),
        ("line", json!({ "abort": ["**/public/line.js"] })),
        ("room", json!({ "abort": ["**/public/room.js"] })),
    ] {
        let tab = browser.open(format!("http://{}/", instance.public), options).await;
        let look = async || {
            let shown = tab.evaluate("document.body.innerText").await?;
            let shown = shown.as_str().unwrap_or_default().to_owned();
            let start = shown.trim_start().to_owned();
            let first = messages("en")["unscripted"].as_str().expect("a text").to_owned();
            if start.starts_with(&first) { Ok(shown) } else { Err(shown) }
        };
        let (shown, _) = eventually("the page says that it lacks its scripts", look).await;
        for language in ["zh", "th", "ja"] {
            let text = messages(language)["unscripted"].as_str().expect("a text").to_owned();
            assert!(shown.contains(&text), "{name}: {shown}");
        }
        assert!(!shown.contains("Connecting") && !shown.contains("right now"), "{name}: {shown}");
        if name == "off" {
            let picture = "document.querySelector('.unscripted img').naturalWidth > 0";
            assert_eq!(tab.evaluate(picture).await, Ok(json!(true)));
            tab.screenshot("unscripted").await;
        }
        tab.close().await;
    }
}

/// Goal: a page that cannot connect does not claim a lost connection, and shows the number that the API returns.
/// Method: a proxy passes on another host, which makes every page a foreign one. Meanwhile a client is counted.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_refused_says_so_and_shows_the_number() {
    const REWRITING: &str = "map $http_upgrade $connection_upgrade { default upgrade; '' close; }\n\
        server { listen 8080; location / { proxy_pass http://127.0.0.1:3000; proxy_http_version 1.1; \
        proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade; \
        proxy_set_header Host another.example; } }";
    let instance = Instance::start(&[]).await;
    let proxy = Proxy::start(Program::Nginx, instance.public, REWRITING, &[]).await;
    let _client = Client::open(instance.public, Transport::Websocket);
    instance.counts(1).await;
    let browser = Browser::start().await;
    let tab = browser.open(format!("http://{}/", proxy.address), json!({})).await;
    let english = messages("en");
    tab.says("#state", english["refused"].as_str().expect("a text")).await;
    tab.says("#meaning", english["refused-meaning"].as_str().expect("a text")).await;
    tab.says("#count", "1").await;
    let problems = tab.problems().await;
    let is_refusal = |problem: &String| problem.starts_with("error: WebSocket connection to");
    assert!(problems.iter().all(is_refusal), "{problems:?}");
    assert_eq!(tab.barriers().await, json!([]));
}

/// Goal: the page says why its visitor is not let in, in each language, for the site and for a room; and where that does
/// not concern signing in, it shows the number that the API returns. Method: in the place of the embeddable client, a proxy serves one whose every room is refused with the code
/// in the page's address.
#[tokio::test(flavor = "multi_thread")]
async fn the_page_says_why_its_visitor_is_not_let_in() {
    const REFUSING: &str = "server { listen 8080; location / { proxy_pass http://127.0.0.1:3000; } \
        location = /headcount.js { alias refusing.js; } }";
    const CLIENT: &str = "const code = new URLSearchParams(location.search).get('code');\n\
        const room = () => ({ room, leave() {}, on(event, listener) {\n\
          if (event === 'state') listener('refused', code);\n\
          return this; } });\n\
        globalThis.headcount = room;\n";
    let instance = Instance::start(&[]).await;
    let files = [("refusing.js", CLIENT)];
    let proxy = Proxy::start(Program::Nginx, instance.public, REFUSING, &files).await;
    let browser = Browser::start().await;
    for (locale, language) in [("en", "en"), ("zh-CN", "zh"), ("th-TH", "th"), ("ja-JP", "ja")] {
        let messages = messages(language);
        let text = |key: &str| messages[key].as_str().expect(key).to_owned();
        let tab =
            browser.open(format!("http://{}/", proxy.address), json!({ "locale": locale })).await;
        for code in
            ["token_missing", "token_invalid", "token_expired", "room_forbidden", "too_many_rooms"]
        {
            let (state, room) = match code {
                "too_many_rooms" => ("refused".to_owned(), text("room-refused")),
                code => {
                    (code.replace('_', "-"), text(&format!("{}-meaning", code.replace('_', "-"))))
                }
            };
            let url = format!("http://{}/?code={code}#/a", proxy.address);
            tab.go(url).await;
            tab.says("#state", &text(&state)).await;
            tab.says("#meaning", &text(&format!("{state}-meaning"))).await;
            tab.says("#room-state", &room).await;
            tab.says("#count", if state == "refused" { "0" } else { "–" }).await;
            let colour = tab.evaluate("document.body.dataset.state").await;
            assert_eq!(colour, Ok(json!("refused")), "{code}");
            assert_eq!(tab.problems().await, [""; 0], "{locale}: {code}");
        }
        assert_eq!(tab.barriers().await, json!([]), "{locale}");
    }
}
