//! The operators' console in a real browser: what it says while the cluster is well, loses an instance, is deployed, and
//! loses Redis; and what it costs.

use std::time::Duration;

use deadpool_redis::redis;
use headcount_testkit::{
    client::{Client, Transport},
    cluster::{Cluster, records_of},
    instance::{Instance, Setting},
    machine::Machine,
    redis_client::CONNECTIONS,
    redis_server::{RedisServer, free_port},
    waiting::eventually,
};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::{Instant, timeout},
};

use super::{
    browser::{Browser, Tab},
    page::no_problems_but_of_the_network,
};

const ABOUT: &str = "{currentUsers}:about";

pub(super) fn console_of(instance: &Instance) -> String {
    format!("http://{}/", instance.admin)
}

/// Instances with the names web-1, web-2, …
pub(super) async fn named_cluster(instances: usize, settings: &[Setting<'_>]) -> Cluster {
    let redis = RedisServer::start(&[]);
    let mut cluster = Cluster::start_on(redis, Machine::shared().await, 0, &[]).await;
    for number in 1..=instances {
        let name = format!("web-{number}");
        cluster.add(&[&[("HEADCOUNT_INSTANCE_NAME", name.as_str())], settings].concat()).await;
    }
    cluster
}

/// Waits until a cell of an instance's row begins with this.
pub(super) async fn row_says(tab: &Tab<'_>, name: &str, cell: &str, wanted: &str) {
    let script = format!(
        "[...document.querySelectorAll('tbody tr')].filter((row) =>
           row.querySelector('[data-text=name]').textContent === {})
           .map((row) => row.querySelector('[data-text={cell}]').textContent).join()",
        json!(name)
    );
    eventually(&format!("the {cell} of {name} is {wanted}"), async || {
        match tab.evaluate(&script).await? {
            Value::String(text) if text.starts_with(wanted) => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await;
}

pub(super) async fn is_sound(name: &str, tab: &Tab<'_>) {
    tab.screenshot(&format!("console-{name}")).await;
    let overflows = "document.documentElement.scrollWidth > innerWidth";
    assert_eq!(tab.evaluate(overflows).await, Ok(Value::Bool(false)), "{name}");
    assert_eq!(tab.barriers().await, json!([]), "{name}");
}

/// Opens the console of three instances with four visitors in several ways, and takes pictures.
async fn looks_well_in_any_light(browser: &Browser, console: &str) {
    let views = [
        ("light", json!({ "viewport": { "width": 1280, "height": 860 } })),
        ("dark", json!({ "viewport": { "width": 1280, "height": 860 }, "colorScheme": "dark" })),
        (
            "phone",
            json!({ "viewport": { "width": 320, "height": 640 }, "reducedMotion": "reduce" }),
        ),
    ];
    for (name, options) in views {
        let tab = browser.open(console, options).await;
        tab.says("[data-text=count]", "4").await;
        tab.says("[data-text=sure]", "Exact").await;
        tab.says("#live", "Live").await;
        tab.says("#verdict", "Nothing needs attention").await;
        for (instance, sessions) in [("web-1", "2"), ("web-2", "1"), ("web-3", "1")] {
            row_says(&tab, instance, "sessions", sessions).await;
            row_says(&tab, instance, "state_text", "serving").await;
        }
        row_says(&tab, "web-1", "share", "50 %").await;
        row_says(&tab, "web-1", "whose", "this one").await;
        is_sound(name, &tab).await;
        assert_eq!(tab.problems().await, [""; 0], "{name}");
        tab.close().await;
    }
}

/// Goal: operators see how a cluster is, and what becomes of it, in any light and on a phone. Method: three instances with
/// four visitors; then one is shut down, one is killed, Redis is killed and comes back empty, and the instance that shows
/// all this ends, with the page still open.
#[tokio::test(flavor = "multi_thread")]
async fn operators_see_a_drain_a_crash_and_an_outage() {
    // Long enough to be seen on a busy machine, which looks each second.
    let mut cluster =
        named_cluster(3, &[("HEADCOUNT_DRAIN_DELAY", "6s"), ("HEADCOUNT_DRAIN", "0s")]).await;
    let open = |number: usize| Client::open(cluster.instances[number].public, Transport::Websocket);
    let clients = [open(0), open(0), open(1), open(2)];
    let browser = Browser::start().await;
    let console = console_of(&cluster.instances[0]);
    looks_well_in_any_light(&browser, &console).await;

    let tab = browser.open(&console, json!({})).await;
    cluster.instances[2].process().signal(Signal::TERM);
    row_says(&tab, "web-3", "state_text", "shutting down").await;
    tab.says("#verdict", "1 thing to know").await;
    is_sound("drain", &tab).await;
    row_says(&tab, "web-3", "state_text", "left ").await;
    tab.says("#verdict", "Nothing needs attention").await;

    cluster.instances.remove(1);
    row_says(&tab, "web-2", "state_text", "gone ").await;
    tab.says("#verdict", "1 thing needs attention").await;
    tab.says("[data-text=count]", "2").await;
    is_sound("crash", &tab).await;

    cluster.redis.kill_9();
    tab.says("[data-text=sure]", "An estimate").await;
    tab.says("[data-text=count]", "2").await;
    tab.says("[data-key=exact] [data-text=mark]", "Notice").await;
    tab.says("#live", "Live").await;
    eventually("the table says that it is old", async || {
        match tab.evaluate("document.querySelector('table').dataset.age").await? {
            Value::String(age) if age == "old" => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await;
    is_sound("outage", &tab).await;
    cluster.redis.restart();
    tab.says("[data-text=sure]", "Exact").await;
    assert_eq!(tab.problems().await, [""; 0]);

    let mut shown = cluster.instances.remove(0);
    shown.process().signal(Signal::TERM);
    let (status, _) = shown.process().ended().await;
    assert!(status.success(), "an open page keeps nobody from ending: {status}");
    eventually("the page says that it is old", async || match tab.text("#live").await? {
        text if text.starts_with("No news for ") => Ok(()),
        text => Err(text),
    })
    .await;
    is_sound("old", &tab).await;
    no_problems_but_of_the_network(&tab).await;
    drop(clients);
}

/// Goal: no name of an instance becomes markup, with scripts or without, and without scripts the page is the same. Method: a
/// name of markup is put into Redis by hand, again and again, since the instance puts it right.
#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_name_stays_text() {
    let cluster = named_cluster(2, &[]).await;
    let client = Client::open(cluster.instances[1].public, Transport::Websocket);
    cluster.agrees_on(1, &records_of([&client])).await;
    let hostile = r#"<img src=x onerror="document.title='owned'">"#;
    let about = json!({ "host": hostile, "version": "<b>1", "started_at": 0 }).to_string();
    let mut redis = cluster.redis.connection();
    let ids: Vec<String> =
        redis::cmd("HKEYS").arg(CONNECTIONS).query(&mut redis).expect("Redis runs");
    let browser = Browser::start().await;
    let console = console_of(&cluster.instances[0]);
    let unscripted = browser.open(&console, json!({ "javaScriptEnabled": false })).await;
    let scripted = browser.open(&console, json!({})).await;
    for (tab, is_scripted) in [(&scripted, true), (&unscripted, false)] {
        eventually("the name is shown as text", async || {
            for id in &ids {
                let set = redis::cmd("HSET").arg(ABOUT).arg(id).arg(&about).exec(&mut redis);
                set.expect("Redis runs");
            }
            if !is_scripted {
                tab.go(&console).await;
            }
            let names = "[...document.querySelectorAll('tbody [data-text=name]')]
                .map((name) => name.textContent)";
            let names = tab.evaluate(names).await?;
            if names == json!([hostile, hostile]) { Ok(()) } else { Err(names.to_string()) }
        })
        .await;
        let injected = "document.querySelectorAll('main img, main b').length";
        assert_eq!(tab.evaluate(injected).await, Ok(json!(0)));
        let title = tab.evaluate("document.title").await;
        assert_eq!(title, Ok(json!("1 online – Headcount console")));
    }
    assert_eq!(scripted.problems().await, [""; 0]);
    assert!(unscripted.text("#live").await.expect("it is there").starts_with("As of "));
    unscripted.screenshot("console-unscripted").await;
    drop(client);
}

/// Counts the times that the roster is read, as Redis sees it.
struct RosterReads {
    lines: tokio::io::Lines<BufReader<TcpStream>>,
}

impl RosterReads {
    async fn watch(cluster: &Cluster) -> Self {
        let address = ("127.0.0.1", cluster.redis.port());
        let mut stream = TcpStream::connect(address).await.expect("Redis runs");
        stream.write_all(b"MONITOR\r\n").await.expect("Redis listens");
        Self { lines: BufReader::new(stream).lines() }
    }

    /// How often it was read within `time` from now on.
    async fn within(&mut self, time: Duration) -> u32 {
        let is_earlier =
            async { while self.lines.next_line().await.is_ok_and(|line| line.is_some()) {} };
        let _ = timeout(Duration::from_millis(50), is_earlier).await;
        let end = Instant::now() + time;
        let mut reads = 0;
        while let Ok(line) = tokio::time::timeout_at(end, self.lines.next_line()).await {
            let line = line.expect("Redis runs").expect("Redis runs");
            reads += u32::from(line.contains("HGETALL") && line.contains(ABOUT));
        }
        reads
    }
}

/// Goal: the store is asked once a second however many look, and not at all while nobody does. Method: Redis tells what it
/// is asked, for some seconds with no page, with one, with three, and with none again.
#[tokio::test(flavor = "multi_thread")]
async fn many_operators_cost_as_much_as_one() {
    let cluster = named_cluster(1, &[]).await;
    let console = console_of(&cluster.instances[0]);
    let browser = Browser::start().await;
    let mut reads = RosterReads::watch(&cluster).await;
    assert_eq!(reads.within(Duration::from_secs(2)).await, 0, "nobody looks");
    let mut tabs = Vec::new();
    for operators in [1, 3] {
        while tabs.len() < operators {
            let tab = browser.open(&console, json!({})).await;
            tab.says("#live", "Live").await;
            tabs.push(tab);
        }
        let found = reads.within(Duration::from_secs(4)).await;
        assert!((2..=5).contains(&found), "{found} reads in 4 s with {operators} operators");
    }
    for tab in tabs {
        tab.close().await;
    }
    eventually("nobody looks any more", async || {
        match reads.within(Duration::from_secs(2)).await {
            0 => Ok(()),
            reads => Err(format!("{reads} reads")),
        }
    })
    .await;
}

/// Goal: where no websocket can be opened the page asks for its screens, goes on after its instance has started again, and after an
/// upgrade loads itself again. Method: a browser without websockets; an instance that is killed and started at the same address; and
/// an answer in which the page finds another version.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_left_open_goes_on() {
    let admin = format!("127.0.0.1:{}", free_port());
    let settings = [("HEADCOUNT_ADMIN_LISTEN", admin.as_str())];
    let mut instance = Instance::start(&settings).await;
    instance.ready().await;
    let console = console_of(&instance);
    let browser = Browser::start().await;
    let asking = browser.open(&console, json!({ "without": ["WebSocket"] })).await;
    let told = browser.open(&console, json!({})).await;
    instance.process().signal(Signal::KILL);
    instance.process().ended().await;
    for tab in [&asking, &told] {
        eventually("the page says that it is old", async || match tab.text("#live").await? {
            text if text.starts_with("No news for ") => Ok(()),
            text => Err(text),
        })
        .await;
    }
    let again = Instance::start(&settings).await;
    again.ready().await;
    for tab in [&asking, &told] {
        tab.says("#live", "Live").await;
    }
    let upgrade = "globalThis.isOfBefore = true;
        const answers = Response.prototype.json;
        Response.prototype.json = async function () {
            return { ...await answers.call(this), version: 'another', checks: undefined };
        };";
    asking.evaluate(upgrade).await.expect("it is changed");
    eventually("the page is loaded again", async || {
        match asking.evaluate("globalThis.isOfBefore ?? false").await? {
            Value::Bool(false) => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await;
    asking.says("#live", "Live").await;
    no_problems_but_of_the_network(&told).await;
}
