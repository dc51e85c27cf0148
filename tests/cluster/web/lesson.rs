//! The lesson's application in a real browser: log in, and read the console.

use std::net::SocketAddr;

use headcount_testkit::waiting::eventually;
use serde_json::json;

use super::browser::{Browser, Tab};
use crate::application::Application;

/// Goal: after a login the console shows how many users are online, each counted once. Method: two users log in, one of them twice. The
/// first one's console says 2, and 1 when the other closes his pages; nothing in between. No page logs a problem.
#[tokio::test(flavor = "multi_thread")]
async fn the_console_says_how_many_are_logged_in() {
    let application = Application::start(&[]).await;
    let browser = Browser::start().await;
    let first = log_in(&browser, application.public, "Ada").await;
    let listen = "globalThis.heard = []; console.log = (count) => heard.push(count)";
    first.evaluate(listen).await.expect("it runs");
    // The page's own count may have been logged before the listener was there, or after.
    let heard_last = async |wanted: &str| {
        eventually(&format!("the console says {wanted}"), async || {
            match first.evaluate("heard.join()").await?.as_str() {
                Some(text) if text == wanted || text.ends_with(&format!(",{wanted}")) => Ok(()),
                text => Err(format!("{text:?}")),
            }
        })
        .await;
    };
    let second = log_in(&browser, application.public, "Grace").await;
    heard_last("2").await;
    let tab_of_the_first = log_in(&browser, application.public, "Ada").await;
    let tab_of_the_second = log_in(&browser, application.public, "Grace").await;
    second.close().await;
    tab_of_the_first.close().await;
    tab_of_the_second.close().await;
    heard_last("2,1").await;
    assert_eq!(first.problems().await, [""; 0]);
}

async fn log_in<'a>(browser: &'a Browser, server: SocketAddr, name: &str) -> Tab<'a> {
    let tab = browser.open(format_args!("http://{server}/"), json!({})).await;
    let submit = format!(
        "document.querySelector('input').value = {}; document.querySelector('form').submit()",
        json!(name)
    );
    tab.evaluate(&submit).await.expect("it runs");
    tab.says("h1", &format!("Welcome, {name}")).await;
    tab
}
