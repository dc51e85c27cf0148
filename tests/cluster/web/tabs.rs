//! People instead of tabs: pages with `data-tabs="one"` in a real browser, on two instances behind a balancer.

use headcount_testkit::{
    balancer::Balancer,
    client::{Client, Transport},
    cluster::{Cluster, clients_say},
    record::Record,
    waiting::eventually,
};
use serde_json::{Value, json};

use super::{
    browser::{Browser, Tab},
    page::no_problems_but_of_the_network,
    site::{SANDBOXED, Site},
};

/// How often the page is loaded again.
const RELOADS: usize = 50;
/// A grace that no reload can outlast, however busy the machine is.
const LONG_GRACE: (&str, &str) = ("HEADCOUNT_GRACE", "60s");
/// A grace that a test can wait for.
const SHORT_GRACE: (&str, &str) = ("HEADCOUNT_GRACE", "1s");
/// The number of the site on a page.
const SITE: &str = "i[data-headcount-state=live]";
/// The number of a room on a page.
const ROOM: &str = "b[data-headcount-state=live]";

/// Two instances behind a balancer that gives them sessions in turn, a site with pages, and a bystander on each instance
/// who is told every count.
struct Town {
    cluster: Cluster,
    site: Site,
    bystanders: [Client; 2],
    _balancer: Balancer,
}

impl Town {
    async fn start(grace: (&str, &str)) -> Self {
        let settings = [("HEADCOUNT_ALLOWED_ORIGINS", "*"), grace];
        let cluster = Cluster::start_with(2, &settings).await;
        let balancer = Balancer::start_in_turns(&cluster.instances).await;
        let page = |attribute: &str| {
            format!(
                "<script src=http://{}/headcount.js {attribute}></script>\
                 <i data-headcount></i> <b data-headcount=/a></b>",
                balancer.address
            )
        };
        let one = page("data-tabs=one");
        let pages = vec![("/each", page("")), (SANDBOXED, one.clone()), ("/", one)];
        let site = Site::of_files(balancer.address, pages).await;
        let instances = &cluster.instances;
        let bystanders =
            [0, 1].map(|number| Client::open(instances[number].public, Transport::Websocket));
        let town = Self { cluster, site, bystanders, _balancer: balancer };
        town.agrees_on(0).await;
        town
    }

    /// The address of a page whose tabs are one.
    fn one(&self) -> String {
        self.site.origin()
    }

    /// The address of a page of the same site, each of whose tabs is counted.
    fn each(&self) -> String {
        format!("{}/each", self.site.origin())
    }

    fn records(&self) -> [Record; 2] {
        self.bystanders.each_ref().map(|client| client.record().clone())
    }

    /// Waits until the bystanders and both instances count this many visitors beside the bystanders.
    async fn agrees_on(&self, visitors: u64) {
        let all = visitors + 2;
        eventually(&format!("everybody says {all}"), async || {
            clients_say(all, &self.records())?;
            for instance in &self.cluster.instances {
                match instance.shown().await? {
                    shown if shown.count == all && shown.exact => {}
                    shown => return Err(format!("the instance at {}: {shown:?}", instance.public)),
                }
            }
            Ok(())
        })
        .await;
    }

    /// Waits until this many connections of visitors are open.
    async fn has_connections(&self, visitors: u32) {
        eventually(&format!("there are {visitors} connections of visitors"), async || {
            let mut open = 0.0;
            for instance in &self.cluster.instances {
                open += instance.metric("headcount_connections").await?;
            }
            let missing = f64::from(visitors + 2) - open;
            if missing.abs() < 0.5 { Ok(()) } else { Err(format!("{missing} are missing")) }
        })
        .await;
    }
}

/// Waits until a page shows the site with this many visitors beside the bystanders, and the room with as many.
async fn shows(tab: &Tab<'_>, visitors: u64) {
    tab.says(SITE, &(visitors + 2).to_string()).await;
    tab.says(ROOM, &visitors.to_string()).await;
}

/// The visitor key that the page has sent last, if it has sent one. What it has sent is certainly known once the page shows the
/// answer.
async fn key_of(tab: &Tab<'_>) -> Option<String> {
    let sockets = tab.sockets().await;
    let sent = sockets.as_array().and_then(|all| all.last()).map(|last| last["sent"].clone());
    let sent: Vec<String> = serde_json::from_value(sent?).expect("texts");
    let joined: Value = sent.iter().rev().find_map(|packet| {
        serde_json::from_str(packet.strip_prefix("40")?.trim_start_matches("/a,")).ok()
    })?;
    joined["visitor"].as_str().map(str::to_owned)
}

/// Goal: all tabs and windows of a browser are one visitor, in the site and in a room, and another browser is another one.
/// Method: two tabs and two windows of a profile on both instances, then a tab of a second profile. Two tabs and two
/// windows of a page without the attribute are four, although a key is stored.
#[tokio::test(flavor = "multi_thread")]
async fn tabs_and_windows_of_a_browser_are_one() {
    let town = Town::start(LONG_GRACE).await;
    let browser = Browser::start().await;
    let first = browser.open(town.one(), json!({})).await;
    let own = [
        first.beside(town.one()).await,
        first.window(town.one()).await,
        first.window(town.one()).await,
    ];
    town.has_connections(4).await;
    town.agrees_on(1).await;
    shows(&first, 1).await;
    let key = key_of(&first).await.expect("it sends a key");
    for tab in own.iter().chain([&first]) {
        shows(tab, 1).await;
        assert_eq!(key_of(tab).await.as_ref(), Some(&key));
        assert_eq!(tab.problems().await, [""; 0]);
    }
    for instance in &town.cluster.instances {
        let connects = instance.metric("headcount_connects_total").await;
        assert_eq!(connects, Ok(3.0), "two tabs and a bystander");
    }

    let other = browser.open(town.one(), json!({})).await;
    shows(&other, 2).await;
    town.agrees_on(2).await;
    assert_ne!(key_of(&other).await, Some(key));

    let each = first.beside(town.each()).await;
    let mut all = vec![first.beside(town.each()).await];
    for _ in 0..2 {
        all.push(first.window(town.each()).await);
    }
    all.push(each);
    town.agrees_on(6).await;
    for tab in &all {
        shows(tab, 6).await;
        assert_eq!(key_of(tab).await, None);
    }
}

/// Goal: nobody sees that a visitor loads a page again, whichever instance he comes to. Method: a page is loaded 50 times,
/// over two instances in turn, and bystanders on both are told nothing. Before that they see a page without the
/// attribute that is loaded again, so they can see.
#[tokio::test(flavor = "multi_thread")]
async fn bystanders_see_no_reload() {
    let town = Town::start(LONG_GRACE).await;
    let browser = Browser::start().await;
    let each = browser.open(town.each(), json!({})).await;
    town.agrees_on(1).await;
    let marks = town.records().map(|record| (record.mark(), record));
    eventually("the bystanders see that a page is loaded again", async || {
        each.reload().await;
        each.says(SITE, "3").await;
        let is_seen = marks.iter().all(|(mark, record)| record.counts_since(*mark).contains(&2));
        if is_seen { Ok(()) } else { Err("they have seen nothing yet".to_owned()) }
    })
    .await;
    each.close().await;
    town.agrees_on(0).await;

    let tab = browser.open(town.one(), json!({})).await;
    town.agrees_on(1).await;
    shows(&tab, 1).await;
    let before = connects(&town).await;
    let marks = town.records().map(|record| (record.mark(), record));
    for _ in 0..RELOADS {
        tab.reload().await;
        shows(&tab, 1).await;
    }
    town.has_connections(1).await;
    for (mark, record) in marks {
        let others: Vec<u64> =
            record.counts_since(mark).into_iter().filter(|users| *users != 3).collect();
        assert_eq!(others, [0; 0], "{}", record.name());
    }
    for (before, after) in before.into_iter().zip(connects(&town).await) {
        assert!(after - before >= 20.0, "it came to both instances: {before} {after}");
    }
    no_problems_but_of_the_network(&tab).await;
}

/// Goal: a visitor is there while one of his tabs is, and gone after the grace when the last one is closed. Method: two tabs
/// on two instances. The bystanders see nothing when the first is closed.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_closed_tab_ends_the_visit() {
    let town = Town::start(SHORT_GRACE).await;
    let browser = Browser::start().await;
    let first = browser.open(town.one(), json!({})).await;
    let second = first.beside(town.one()).await;
    town.has_connections(2).await;
    town.agrees_on(1).await;
    let marks = town.records().map(|record| (record.mark(), record));
    first.close().await;
    town.has_connections(1).await;
    // By the time that a newcomer has come and gone, the grace of the closed tab is over.
    let guest = browser.open(town.one(), json!({})).await;
    town.agrees_on(2).await;
    guest.close().await;
    town.agrees_on(1).await;
    shows(&second, 1).await;
    for (mark, record) in &marks {
        assert!(!record.counts_since(*mark).contains(&2), "{:?}", record.counts_since(*mark));
    }
    second.close().await;
    town.agrees_on(0).await;
}

/// Goal: a browser whose user clears the site's data is a new visitor. Method: the data is cleared and the page loaded again.
/// It sends another key, and the former visitor is gone after the grace.
#[tokio::test(flavor = "multi_thread")]
async fn cleared_data_makes_a_new_visitor() {
    let town = Town::start(SHORT_GRACE).await;
    let browser = Browser::start().await;
    let tab = browser.open(town.one(), json!({})).await;
    town.agrees_on(1).await;
    shows(&tab, 1).await;
    let key = key_of(&tab).await;
    assert!(key.is_some());
    tab.reload().await;
    shows(&tab, 1).await;
    assert_eq!(key_of(&tab).await, key);
    tab.forget().await;
    tab.reload().await;
    town.has_connections(1).await;
    town.agrees_on(1).await;
    shows(&tab, 1).await;
    let other = key_of(&tab).await;
    assert!(other.is_some() && other != key, "{key:?}, {other:?}");
}

/// Goal: where the browser lets a page store nothing, each tab is counted, and nothing is thrown. Method: two tabs of a
/// sandboxed page.
#[tokio::test(flavor = "multi_thread")]
async fn without_storage_each_tab_is_counted() {
    let town = Town::start(LONG_GRACE).await;
    let browser = Browser::start().await;
    let page = format!("{}{SANDBOXED}", town.site.origin());
    let first = browser.open(&page, json!({})).await;
    let second = first.beside(&page).await;
    for tab in [&first, &second] {
        let storage = tab.evaluate("localStorage.length").await;
        assert!(storage.is_err_and(|error| error.contains("SecurityError")), "it has no storage");
        shows(tab, 2).await;
        assert_eq!(key_of(tab).await, None);
        assert_eq!(tab.problems().await, [""; 0]);
    }
    second.close().await;
    shows(&first, 1).await;
}

async fn connects(town: &Town) -> [f64; 2] {
    let [here, there] = [0, 1].map(|number| &town.cluster.instances[number]);
    let count = "headcount_connects_total";
    [here.metric(count).await.expect("a number"), there.metric(count).await.expect("a number")]
}
