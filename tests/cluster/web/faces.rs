//! The example `examples/who-is-here`: faces of those who are in a room, in a real browser.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    extract::{Path, State},
    http::header,
    response::{Html, IntoResponse},
    routing::get,
};
use headcount_testkit::{instance::Instance, tokens::Issuer};
use serde_json::json;
use tokio::net::TcpListener;

use super::browser::{Browser, Tab};

const PAGE: &str = include_str!("../../../examples/who-is-here/index.html");
const SCRIPT: &str = include_str!("../../../examples/who-is-here/faces.js");

/// A site of its own, whose page for each user gets that user's tokens.
struct Site {
    issuer: Issuer,
    headcount: SocketAddr,
}

impl Site {
    fn page(&self, user: &str) -> String {
        let headcount = format!("http://{}", self.headcount);
        let page = PAGE.replace("https://count.example", &headcount);
        let page = page.replace("\"faces.js\"", "\"/faces.js\"");
        page.replace("data-token=\"/token\"", &format!("data-token=\"/token/{user}\""))
    }

    /// A token that says a name; for one user it says markup, and an address that is no picture.
    fn token(&self, user: &str) -> String {
        let info = match user {
            "eve" => json!({ "name": "<b>Eve</b>", "picture": "javascript:alert(1)" }),
            _ => json!({ "name": format!("{user} Lovelace") }),
        };
        self.issuer.token_showing(user, &info)
    }

    async fn serve(self) -> SocketAddr {
        let script = async || ([(header::CONTENT_TYPE, "text/javascript")], SCRIPT);
        let page = async |State(site): State<Arc<Self>>, Path(user): Path<String>| {
            Html(site.page(&user)).into_response()
        };
        let token =
            async |State(site): State<Arc<Self>>, Path(user): Path<String>| site.token(&user);
        let routes = Router::new()
            .route("/faces.js", get(script))
            .route("/page/{user}", get(page))
            .route("/token/{user}", get(token))
            .with_state(Arc::new(self));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        tokio::spawn(async move { axum::serve(listener, routes).await });
        address
    }
}

/// Goal: the example draws who is there: one face for a user with two tabs, what a token says as text and never as markup, and who leaves
/// is gone. Method: three users in a browser on a site of another origin, one of whom has two tabs, and one a hostile token.
#[tokio::test(flavor = "multi_thread")]
async fn faces_are_drawn() {
    let issuer = Issuer::new("blog");
    let lists = [
        ("HEADCOUNT_LISTS", "/team/*"),
        ("HEADCOUNT_ALLOWED_ORIGINS", "*"),
        ("HEADCOUNT_GRACE", "0s"),
    ];
    let instance = Instance::start(&[&issuer.settings()[..], &lists].concat()).await;
    let site = Site { issuer, headcount: instance.public }.serve().await;
    let browser = Browser::start().await;
    let open =
        async |user: &str| browser.open(format!("http://{site}/page/{user}"), json!({})).await;
    let ada = open("ada").await;
    draws(&ada, "AL").await;
    let (bob, again) = (open("bob").await, open("bob").await);
    let eve = open("eve").await;
    for tab in [&ada, &bob, &again, &eve] {
        draws(tab, "ALBL<").await;
    }
    let titles = "[...document.querySelectorAll('li')].map((face) => face.title).join()";
    assert_eq!(ada.evaluate(titles).await, Ok(json!("ada Lovelace,bob Lovelace,<b>Eve</b>")));
    assert_eq!(ada.barriers().await, json!([]));
    ada.screenshot("faces").await;
    again.close().await;
    eve.close().await;
    draws(&ada, "ALBL").await;
    bob.close().await;
    draws(&ada, "AL").await;
    assert_eq!(ada.problems().await, [""; 0]);
}

async fn draws(tab: &Tab<'_>, initials: &str) {
    tab.says("#faces", initials).await;
}
