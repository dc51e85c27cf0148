//! `/api/count`, the headers of the page, and the size of the embeddable client.

use headcount_testkit::{
    client::{Client, Transport},
    http,
    instance::Instance,
    repository,
    waiting::eventually,
};

/// Bytes that a visitor of another site loads, compressed.
const EMBED_BYTES_MAX: usize = 2500;

/// Goal: a client that knows the current count gets 304, and a change gives a new answer. Method: ask with
/// the tag of the first answer, before and after a client joins.
#[tokio::test(flavor = "multi_thread")]
async fn the_count_is_answered_in_full_only_when_it_changed() {
    let instance = Instance::start(&[]).await;
    instance.ready().await;
    let first = http::get(instance.public, "/api/count").await.expect("it answers");
    assert_eq!((first.status, first.header("cache-control")), (200, "no-cache"));
    let tag = first.header("etag").to_owned();
    let ask =
        async || http::get_with(instance.public, "/api/count", &[("if-none-match", &tag)]).await;
    let same = ask().await.expect("it answers");
    assert_eq!((same.status, same.body.as_str(), same.header("etag")), (304, "", tag.as_str()));
    let _client = Client::open(instance.public, Transport::Websocket);
    let (changed, _) = eventually("another answer", async || match ask().await? {
        answer if answer.status == 200 => Ok(answer),
        answer => Err(format!("{answer:?}")),
    })
    .await;
    assert!(changed.body.contains("\"count\":1"), "{changed:?}");
    assert_ne!(changed.header("etag"), tag);
}

/// Goal: browsers let only pages of allowed origins read the API. Method: ask as pages of three origins. The
/// answer names the allowed one, and not the others.
#[tokio::test(flavor = "multi_thread")]
async fn the_count_is_for_pages_of_allowed_origins() {
    let settings = [("HEADCOUNT_ALLOWED_ORIGINS", "https://blog.example")];
    let instance = Instance::start(&settings).await;
    for (origin, allowed) in [
        ("https://blog.example", "https://blog.example"),
        ("https://evil.example", ""),
        ("null", ""),
    ] {
        let answer = http::get_with(instance.public, "/api/count", &[("origin", origin)]).await;
        let answer = answer.expect("it answers");
        assert_eq!(answer.header("access-control-allow-origin"), allowed, "{origin}");
        let varies = answer.headers.get_all("vary").iter();
        assert!(varies.filter_map(|vary| vary.to_str().ok()).any(|vary| vary.contains("origin")));
    }
}

/// Goal: the embeddable client is small, in both its forms. Method: fetch it compressed, as browsers do, and
/// measure. Uncompressed it must be the script with its first line.
#[tokio::test(flavor = "multi_thread")]
async fn the_embeddable_client_is_small() {
    let instance = Instance::start(&[]).await;
    for path in ["/headcount.js", "/headcount.mjs"] {
        let gzip = [("accept-encoding", "gzip, br")];
        let compressed = http::get_with(instance.public, path, &gzip).await.expect("it answers");
        assert_eq!(compressed.header("content-encoding"), "gzip");
        let bytes: usize = compressed.header("content-length").parse().expect("a length");
        println!("{path}: {bytes} bytes compressed");
        assert!(bytes <= EMBED_BYTES_MAX, "{path} has {bytes} bytes");
        let plain = http::get(instance.public, path).await.expect("it answers");
        assert!(plain.body.starts_with("// Headcount's embeddable client"), "{}", plain.body);
        assert_eq!(plain.header("content-type"), "text/javascript; charset=utf-8");
        let tag = [("if-none-match", plain.header("etag"))];
        let known = http::get_with(instance.public, path, &tag).await.expect("it answers");
        assert_eq!(known.status, 304);
    }
}

/// Goal: the embeddable client keeps its promises about time and failures. Method: the served script runs in
/// Node with a clock and a websocket that its tests control; see headcount.test.mjs, rooms.test.mjs,
/// limits.test.mjs and tabs.test.mjs.
#[tokio::test(flavor = "multi_thread")]
async fn the_embeddable_client_keeps_its_promises() {
    runs_in_node("/headcount.js", "HEADCOUNT_JS", "headcount.test.mjs").await;
    runs_in_node("/headcount.js", "HEADCOUNT_JS", "rooms.test.mjs").await;
    runs_in_node("/headcount.js", "HEADCOUNT_JS", "limits.test.mjs").await;
    runs_in_node("/headcount.js", "HEADCOUNT_JS", "tabs.test.mjs").await;
}

/// Fetches a script, passes its file and the server's address to the tests in Node, and runs them.
pub(super) async fn runs_in_node(path: &str, variable: &str, tests: &str) {
    let instance = Instance::start(&[]).await;
    let script = http::get(instance.public, path).await.expect("it answers");
    let file = tempfile::NamedTempFile::with_suffix(".cjs").expect("a temporary file");
    std::fs::write(file.path(), script.body).expect("it is writable");
    let run = tokio::process::Command::new("node")
        .args(["--test", tests])
        .env(variable, file.path())
        .env("HEADCOUNT_URL", format!("http://{}", instance.public))
        .current_dir(repository::node_folder())
        .output();
    let output = run.await.expect("node runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// Goal: the page trusts only its own server. Method: check its headers, and that its markup contains no
/// styles or scripts that the policy would have to allow.
#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_served_with_a_strict_policy() {
    let instance = Instance::start(&[]).await;
    let page = http::get(instance.public, "/").await.expect("it answers");
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
    assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
    assert_eq!(page.header("x-content-type-options"), "nosniff");
    assert_eq!(page.header("referrer-policy"), "no-referrer");
    assert!(!page.body.contains("style=") && !page.body.contains("<style"), "{}", page.body);
    assert!(!page.body.contains("onclick") && !page.body.contains("<script>"), "{}", page.body);
}
