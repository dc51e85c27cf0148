//! Pages of other sites that do unusual things with the embeddable client: load it again, take elements away and bring them back,
//! name rooms that cannot be, and want more rooms than there may be.

use headcount_testkit::{cluster::Cluster, waiting::eventually};
use serde_json::{Value, json};

use super::{
    browser::{Browser, Tab},
    room_pages::{sent, sites},
};

/// The script of the server.
const SCRIPT: &str = "<script src=https://count.example/headcount.js></script>";

/// Waits until a script of the page gives this.
async fn gives(tab: &Tab<'_>, script: &str, wanted: Value) {
    eventually(&format!("{script} gives {wanted}"), async || {
        let found = tab.evaluate(script).await?;
        if found == wanted { Ok(()) } else { Err(found.to_string()) }
    })
    .await;
}

async fn run(tab: &Tab<'_>, script: &str) {
    tab.evaluate(script).await.expect("it runs");
}

/// Goal: a page that loads the script several times counts its visitor once. Method: a page with both snippets, with the same script at
/// another address of the server, and with a module. Then its body is replaced and the script runs again, as libraries for faster
/// navigation do it.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_loads_the_script_again_counts_once() {
    let page = format!(
        "{SCRIPT}<i data-headcount></i>{SCRIPT}<b data-headcount=/a></b>\
         <script src=https://count.example/headcount.js?again=/x></script>\
         <script type=module src=/module.js></script><u></u>"
    );
    let module = "import headcount from 'https://count.example/headcount.mjs';\n\
        headcount.room('/a').on('user count', (users) => (document.querySelector('u').textContent = users));\n\
        headcount().on('user count', (users) => (document.title = users));\n";
    let files = [("/module.js", module.to_owned()), ("/", page)];
    let (_cluster, [here, _there]) = sites(&[], &files).await;
    let browser = Browser::start().await;
    let tab = browser.open(here.origin(), json!({})).await;
    for element in ["i[data-headcount-state=live]", "b[data-headcount-state=live]", "u"] {
        tab.says(element, "1").await;
    }
    gives(&tab, "document.title", json!("1")).await;
    for visit in 1..=3 {
        let script = "const again = Object.assign(document.createElement('script'), { src: document.scripts[0].src });";
        let body = format!("<i data-headcount></i><b data-headcount=/visit/{visit}></b>");
        run(
            &tab,
            &format!("{script} document.body.innerHTML = '{body}'; document.body.append(again);"),
        )
        .await;
        tab.says(&format!("[data-headcount='/visit/{visit}']"), "1").await;
        tab.says("i[data-headcount-state=live]", "1").await;
    }
    let packets = sent(&tab).await;
    assert_eq!(packets.iter().filter(|packet| *packet == "40").count(), 1, "{packets:?}");
    assert_eq!(tab.problems().await, [""; 0]);
}

/// Goal: an element never shows the number of a room that it showed before, or that the element which it is a copy of shows. Method:
/// elements whose attribute goes and returns, that are taken away and return, and a copy, each with a room that is refused.
#[tokio::test(flavor = "multi_thread")]
async fn elements_forget_the_number_of_a_former_room() {
    let page = format!(
        "<i data-headcount=/ok/1></i><b data-headcount=/ok/1></b><u data-headcount=/ok/1></u><s>7</s>{SCRIPT}"
    );
    let (_cluster, [here, _there]) = sites(&[("HEADCOUNT_ROOMS", "/ok/*")], &[("/", page)]).await;
    let browser = Browser::start().await;
    let tab = browser.open(here.origin(), json!({})).await;
    for element in ["i", "b", "u"] {
        tab.says(element, "1").await;
    }
    let all = "globalThis.found = Object.fromEntries([...'ibus'].map((name) => [name, document.querySelector(name)]));\n\
        found.i.removeAttribute('data-headcount'); found.b.remove();";
    run(&tab, &format!("{{ {all} }}")).await;
    let shown =
        "[found.i, found.b].map((it) => [it.textContent, it.dataset.headcountState ?? null])";
    gives(&tab, shown, json!([["", null], ["", null]])).await;
    let back = "found.i.dataset.headcount = found.b.dataset.headcount = '/secret'; document.body.append(found.b);\n\
        found.copy = found.u.cloneNode(true); found.copy.dataset.headcount = '/secret'; document.body.append(found.copy);";
    run(&tab, &format!("{{ {back} }}")).await;
    let shown = "[found.i, found.b, found.copy, found.u].map((it) => [it.textContent, it.dataset.headcountState])";
    let refused = json!(["", "refused"]);
    gives(&tab, shown, json!([refused, refused, refused, ["1", "live"]])).await;
    run(&tab, "{ found.u.dataset.headcount = '/secret'; found.s.dataset.headcount = '/ok/2'; }")
        .await;
    gives(&tab, "[found.u, found.s].map((it) => it.textContent)", json!(["", "1"])).await;
}

/// Goal: a name that no room can have is no harm to the page's other numbers. Method: a page with a long address in Thai and its own
/// room, an element whose name ends within a character, and code that asks for a room without a name.
#[tokio::test(flavor = "multi_thread")]
async fn impossible_names_leave_the_other_rooms_alone() {
    let page = format!(
        "{SCRIPT}<i data-headcount></i><b data-headcount=.></b><u data-headcount=/ok></u><s></s>\
         <script src=/code.js></script>"
    );
    let code = "document.querySelector('s').dataset.headcount = '/smile-\\ud83d';\n\
        headcount.room().on('state', (...told) => (document.title = told));\n";
    let files = [("/code.js", code.to_owned()), ("/", page)];
    let (_cluster, [here, _there]) = sites(&[], &files).await;
    let browser = Browser::start().await;
    let long = "%E0%B8%81".repeat(90);
    let tab = browser.open(format!("{}/{long}", here.origin()), json!({})).await;
    for element in ["i", "u", "s"] {
        tab.says(&format!("{element}[data-headcount-state=live]"), "1").await;
    }
    tab.says("b[data-headcount-state=refused]", "").await;
    gives(&tab, "document.title", json!("refused,room_not_allowed")).await;
    let mut packets = sent(&tab).await;
    packets.sort();
    assert_eq!(packets, ["40", "40/ok,", "40/smile-\u{fffd},"]);
}

/// Goal: rooms that were refused for want of a place are joined when places become free. Method: a page with more rooms than a
/// connection may be counted in, some of which go.
#[tokio::test(flavor = "multi_thread")]
async fn places_that_become_free_are_taken() {
    let rooms = |name| {
        let all = (0..5).map(|number| format!("<i data-headcount=/{name}/{number}></i>"));
        all.collect::<Vec<_>>().concat()
    };
    let page = format!("{SCRIPT}<main>{}{}</main>", rooms("a"), rooms("b"));
    let (_cluster, [here, _there]) = sites(&[], &[("/", page)]).await;
    let browser = Browser::start().await;
    let tab = browser.open(here.origin(), json!({})).await;
    let states = "[...document.querySelectorAll('i')].map((it) => it.dataset.headcountState + it.textContent).join()";
    gives(&tab, states, json!(format!("{}refused,refused", "live1,".repeat(8)))).await;
    run(&tab, "[...document.querySelectorAll('i')].slice(1, 4).forEach((it) => it.remove())").await;
    gives(&tab, states, json!(["live1"; 7].join(","))).await;
    run(
        &tab,
        &format!(
            "document.querySelector('main').innerHTML = '{}{}'",
            rooms("c"),
            rooms("d").replace("/d/0", "/a/0")
        ),
    )
    .await;
    gives(&tab, states, json!(format!("{}refused,refused", "live1,".repeat(8)))).await;
    assert_eq!(tab.sockets().await.as_array().map(Vec::len), Some(1));
}

/// Goal: the page opens any room by its form, also one with percent-encoding in its name, and such a room can be linked. Method: names
/// as they are in addresses. The room is the one with exactly this name, for the form and for a second tab with the link.
#[tokio::test(flavor = "multi_thread")]
async fn the_page_opens_rooms_with_percent_encoded_names() {
    let cluster = Cluster::start(1).await;
    let browser = Browser::start().await;
    let page = format!("http://{}/", cluster.instances[0].public);
    let tab = browser.open(&page, json!({})).await;
    for name in ["/caf%C3%A9", "/100%25", "/café", "/a%2Fb", "/100%"] {
        let fill = format!("document.getElementById('room-input').value = {}", json!(name));
        run(&tab, &fill).await;
        run(&tab, "document.getElementById('room-form').requestSubmit()").await;
        tab.says("#room-name", name).await;
        tab.says("#room-count", "1").await;
        let link = tab.evaluate("location.href").await.expect("it runs");
        let other = browser.open(link.as_str().expect("an address"), json!({})).await;
        other.says("#room-name", name).await;
        for told in [&tab, &other] {
            told.says("#room-count", "2").await;
        }
        assert_eq!(sent(&other).await, ["40".to_owned(), format!("40{name},")]);
        other.close().await;
    }
}
