//! The embeddable client on pages of another origin, under a strict content security policy.

use headcount_testkit::{
    client::{Client, Transport},
    cluster::{Cluster, records_of},
    instance::Instance,
    redis_server::free_port,
};
use serde_json::json;

use super::{browser::Browser, page::no_problems_but_of_the_network, site::Site};

/// Goal: the snippet works on an allowed site, as script and as module. Method: one page with each. Both
/// show 2 and their state, and log no problem. A closed tab leaves the count.
#[tokio::test(flavor = "multi_thread")]
async fn the_snippet_works_on_a_site_that_is_allowed() {
    let mut cluster = Cluster::start(0).await;
    cluster.add(&[("HEADCOUNT_ALLOWED_ORIGINS", "*")]).await;
    let server = cluster.instances[0].public;
    let browser = Browser::start().await;
    let span = "<p><span data-headcount></span> people online";
    let classic = format!("<script src=http://{server}/headcount.js></script>{span}");
    let module = format!("<script type=module src=http://{server}/headcount.mjs></script>{span}");
    let sites = [Site::start(server, &classic).await, Site::start(server, &module).await];
    let first = browser.open(sites[0].origin(), json!({ "locale": "de-DE" })).await;
    let second = browser.open(sites[1].origin(), json!({})).await;
    for tab in [&first, &second] {
        tab.says("[data-headcount]", "2").await;
        tab.says("[data-headcount=live]", "2").await;
        assert_eq!(tab.problems().await, [""; 0]);
    }
    second.close().await;
    first.says("[data-headcount]", "1").await;
}

/// Goal: on a site that is not allowed the snippet shows nothing, throws nothing, and is not counted.
/// Method: open such a page. A client of the same server must be counted alone.
#[tokio::test(flavor = "multi_thread")]
async fn the_snippet_stays_quiet_on_a_site_that_is_not_allowed() {
    let cluster = Cluster::start(1).await;
    let server = cluster.instances[0].public;
    let browser = Browser::start().await;
    let body =
        format!("<span data-headcount></span><script src=http://{server}/headcount.js></script>");
    let site = Site::start(server, &body).await;
    let tab = browser.open(site.origin(), json!({})).await;
    tab.says("[data-headcount=reconnecting]", "").await;
    let client = Client::open(server, Transport::Websocket);
    cluster.agrees_on(1, &records_of([&client])).await;
    tab.says("[data-headcount]", "").await;
    no_problems_but_of_the_network(&tab).await;
}

/// Goal: a page reconnects at once when its browser is online again. Method: the browser goes offline and
/// the server ends, until the client waits. Then both return, the server first.
#[tokio::test(flavor = "multi_thread")]
async fn a_browser_that_is_online_again_returns() {
    let address = format!("127.0.0.1:{}", free_port());
    let settings = [("HEADCOUNT_ALLOWED_ORIGINS", "*"), ("HEADCOUNT_LISTEN", address.as_str())];
    let instance = Instance::start(&settings).await;
    let server = instance.public;
    let browser = Browser::start().await;
    let body =
        format!("<span data-headcount></span><script src=http://{server}/headcount.js></script>");
    let site = Site::start(server, &body).await;
    let tab = browser.open(site.origin(), json!({})).await;
    tab.says("[data-headcount=live]", "1").await;
    tab.set_offline(true).await;
    drop(instance);
    tab.says("[data-headcount=reconnecting]", "1").await;
    let _again = Instance::start(&settings).await;
    tab.set_offline(false).await;
    tab.says("[data-headcount=live]", "1").await;
    no_problems_but_of_the_network(&tab).await;
}
