//! The peaks on the page, in the languages and at the times of its visitors.

use std::time::SystemTime;

use deadpool_redis::redis;
use headcount_testkit::{cluster::Cluster, machine::Machine, redis_server::RedisServer};
use serde_json::json;

use super::browser::Browser;

/// Half past eleven in the evening of 1 January 2020 in London, which is the next morning in Tokyo.
const EVER_AT: u64 = 1_577_921_400_000;

/// Goal: the page says the peaks in the language of its visitor and at the time of his place, with the date if it was not today.
/// Method: a Redis with a peak of today and one of years ago, and browsers of four languages in Tokyo, whose own formats are compared.
#[tokio::test(flavor = "multi_thread")]
async fn the_page_says_the_peaks() {
    let redis = RedisServer::start(&[]);
    let now = SystemTime::now();
    let since_1970 = now.duration_since(SystemTime::UNIX_EPOCH).expect("it is later").as_millis();
    let date = &humantime::format_rfc3339(now).to_string()[..10];
    let value = |count: u64, at: u128| format!("{{\"count\":{count},\"at\":{at}}}");
    let mut store = redis::cmd("HSET");
    store.arg("{currentUsers}:peaks").arg("ever").arg(value(5678, EVER_AT.into()));
    store.arg(date).arg(value(1234, since_1970));
    store.exec(&mut redis.connection()).expect("Redis runs");
    let cluster = Cluster::start_on(redis, Machine::shared().await, 1, &[]).await;
    let browser = Browser::start().await;
    for (locale, [start, between, end]) in [
        ("en-US", ["", " at ", ""]),
        ("zh-CN", ["", "（", "）"]),
        ("ja-JP", ["", "（", "）"]),
        ("th-TH", ["", " เมื่อ ", ""]),
    ] {
        let options = json!({ "locale": locale, "timezoneId": "Asia/Tokyo" });
        let tab = browser.open(format!("http://{}/", cluster.instances[0].public), options).await;
        let time = async |at: u128, style: &str| {
            let clock = format!("new Intl.DateTimeFormat('{locale}', {{ {style} }}).format({at})");
            let time = tab.evaluate(&clock).await.expect("a time");
            time.as_str().expect("a text").to_owned()
        };
        let ever = time(EVER_AT.into(), "dateStyle: 'medium', timeStyle: 'short'").await;
        let is_next_morning = ever.contains("8:30") && ever.contains('2');
        assert!(is_next_morning, "{ever}");
        tab.says("#peak-ever", &format!("{start}5,678{between}{ever}{end}")).await;
        let today = time(since_1970, "timeStyle: 'short'").await;
        tab.says("#peak-today", &format!("{start}1,234{between}{today}{end}")).await;
        tab.screenshot(&format!("peaks-{locale}")).await;
        assert_eq!(tab.barriers().await, json!([]), "{locale}");
        assert_eq!(tab.problems().await, [""; 0], "{locale}");
        tab.close().await;
    }
}
