//! A page of another site that would take all sessions through its visitors' browsers.

use std::net::SocketAddr;

use headcount_testkit::{
    instance::Instance,
    raw::{Raw, ask},
    waiting::eventually,
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::browser::Browser;

/// Images on the page; more than the instance has room for.
const IMAGES: usize = 60;
const SESSIONS_MAX: &str = "20";

/// Goal: a page of another site takes no session through its visitors' browsers, which send no `Origin` with the address of
/// an image. Method: Chromium shows a page full of images that point at the handshake, and frames at the event stream; each
/// request is refused as of a foreign page, and there is room for all sessions.
#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_page_full_of_images_takes_no_session() {
    let instance = Instance::start(&[("HEADCOUNT_MAX_CONNECTIONS", SESSIONS_MAX)]).await;
    let server = instance.public;
    let image = |number| {
        format!("<img src=\"http://{server}/socket.io/?EIO=4&transport=polling&t={number}\">")
    };
    let images: String = (0..IMAGES).map(image).collect();
    let frame = format!("<iframe src=\"http://{server}/api/count/stream\"></iframe>");
    let site = serve(format!("<!doctype html><link rel=icon href=data:,>{images}{frame}")).await;
    let browser = Browser::start().await;
    // By name, where the server is known by number: another site.
    let tab = browser.open(format!("http://localhost:{}/", site.port()), json!({})).await;
    let refused = f64::from(u32::try_from(IMAGES + 1).expect("they are few"));
    eventually("all of its requests are refused", async || {
        match instance.metric("headcount_refused_total").await? {
            number if number >= refused => Ok(()),
            number => Err(number.to_string()),
        }
    })
    .await;
    assert_eq!(
        instance.metric("headcount_refused_total").await,
        Ok(refused),
        "none for want of room"
    );
    for _ in 0..SESSIONS_MAX.parse().expect("a number") {
        let answer = ask(server, "GET", "/socket.io/?EIO=4&transport=polling", "").await;
        assert_eq!(answer.status, 200, "there is room");
    }
    assert_eq!(
        Raw::saying(server, headcount_testkit::raw::upgrade(server, None)).await.head().await,
        Ok(503)
    );
    tab.close().await;
}

/// Serves a page until the test ends.
async fn serve(page: String) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nconnection: close";
            let answer = format!("{head}\r\ncontent-length: {}\r\n\r\n{page}", page.len());
            // A browser that went away meanwhile does not matter.
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    address
}
