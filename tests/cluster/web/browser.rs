//! A real Chromium for a test, controlled with JSON lines through `browser.mjs`.
//!
//! It passes on commands and returns what the browser saw. The tests judge.

use std::{
    collections::HashMap,
    fmt::Display,
    path::Path,
    process::Stdio,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use headcount_testkit::{
    repository,
    waiting::{PATIENCE, eventually},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::{Mutex as AsyncMutex, Semaphore, SemaphorePermit, oneshot},
    time::timeout,
};

/// The folder for pictures of the pages. They are for people, and no test compares them.
const SCREENSHOTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/screenshots");
/// How many browsers may run at a time: each uses a whole core while it starts, but waits for pages most of the time.
static PLACES: Semaphore = Semaphore::const_new(2);

/// One browser. It ends when this value is dropped.
#[derive(Debug)]
pub(super) struct Browser {
    stdin: AsyncMutex<ChildStdin>,
    /// The callers that wait for answers.
    waiting: Waiting,
    next: AtomicU64,
    _child: Child,
    _place: SemaphorePermit<'static>,
}

type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<Answer>>>>;

/// One line from the browser.
#[derive(Debug, Deserialize)]
struct Answer {
    id: u64,
    #[serde(default)]
    value: Value,
    error: Option<String>,
}

/// A tab. Unless it was opened beside another one, it has a profile to itself: it shares no cache, no cookies and no
/// storage with other tabs.
#[derive(Debug)]
pub(super) struct Tab<'a> {
    browser: &'a Browser,
    number: u64,
}

impl Browser {
    /// Starts a browser when a place is free.
    pub(super) async fn start() -> Self {
        let place = PLACES.acquire().await.expect("nobody closes it");
        let chromium = std::env::var_os("CHROMIUM").unwrap_or_else(|| "/usr/bin/chromium".into());
        assert!(Path::new(&chromium).exists(), "Chromium is missing: scripts/test installs it");
        let mut child = Command::new("node")
            .arg("browser.mjs")
            .arg(chromium)
            .current_dir(repository::node_folder())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("node starts");
        let stdin = AsyncMutex::new(child.stdin.take().expect("stdin is piped"));
        let stdout = child.stdout.take().expect("stdout is piped");
        let waiting = Waiting::default();
        tokio::spawn(listen(BufReader::new(stdout).lines(), Arc::clone(&waiting)));
        Self { stdin, waiting, next: AtomicU64::new(0), _child: child, _place: place }
    }

    /// Opens a tab. `options` are those of Playwright's `newContext`, and some of browser.mjs.
    pub(super) async fn open(&self, url: impl Display, options: Value) -> Tab<'_> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let tab = Tab { browser: self, number };
        tab.order(json!({ "do": "open", "url": url.to_string(), "options": options })).await;
        tab
    }

    async fn open_beside(&self, tab: &Tab<'_>, is_window: bool, url: impl Display) -> Tab<'_> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let opened = Tab { browser: self, number };
        let url = url.to_string();
        let order = json!({ "do": "open", "beside": tab.number, "window": is_window, "url": url });
        opened.order(order).await;
        opened
    }

    async fn follow(&self, mut order: Value) -> Result<Value, String> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        order["id"] = json!(id);
        let (tx, rx) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(id, tx);
        let line = format!("{order}\n");
        let written = self.stdin.lock().await.write_all(line.as_bytes()).await;
        written.map_err(|error| format!("the browser is gone: {error}"))?;
        let answer = timeout(PATIENCE, rx).await.map_err(|_| format!("no answer to {order}"))?;
        let answer = answer.map_err(|_| format!("the browser ended at {order}"))?;
        answer.error.map_or(Ok(answer.value), Err)
    }
}

impl<'a> Tab<'a> {
    /// Opens another tab of the same profile.
    pub(super) async fn beside(&self, url: impl Display) -> Tab<'a> {
        self.browser.open_beside(self, false, url).await
    }

    /// Opens another window of the same profile.
    pub(super) async fn window(&self, url: impl Display) -> Tab<'a> {
        self.browser.open_beside(self, true, url).await
    }

    /// The result of a script.
    pub(super) async fn evaluate(&self, script: &str) -> Result<Value, String> {
        self.try_order(json!({ "do": "evaluate", "script": script })).await
    }

    /// The text of an element.
    pub(super) async fn text(&self, selector: &str) -> Result<String, String> {
        let script = format!("document.querySelector({})?.textContent ?? null", json!(selector));
        match self.evaluate(&script).await? {
            Value::String(text) => Ok(text),
            other => Err(format!("{selector}: {other}")),
        }
    }

    /// Waits until an element has this text.
    pub(super) async fn says(&self, selector: &str, wanted: &str) {
        let what = format!("{selector} says {wanted:?}");
        eventually(&what, async || match self.text(selector).await? {
            text if text == wanted => Ok(()),
            text => Err(text),
        })
        .await;
    }

    /// Navigates to another page.
    pub(super) async fn go(&self, url: impl Display) {
        self.order(json!({ "do": "go", "url": url.to_string() })).await;
    }

    /// Loads the page again, like the button of the browser.
    pub(super) async fn reload(&self) {
        self.order(json!({ "do": "reload" })).await;
    }

    /// Clears everything that the browser has stored for the page's site.
    pub(super) async fn forget(&self) {
        self.order(json!({ "do": "forget" })).await;
    }

    /// Goes back, like the button of the browser.
    pub(super) async fn back(&self) {
        self.order(json!({ "do": "back" })).await;
    }

    /// Disconnects the browser from the network, or connects it again.
    pub(super) async fn set_offline(&self, offline: bool) {
        self.order(json!({ "do": "offline", "offline": offline })).await;
    }

    /// Types a text.
    pub(super) async fn type_text(&self, text: &str) {
        self.order(json!({ "do": "type", "text": text })).await;
    }

    /// Presses a key.
    pub(super) async fn press(&self, key: &str) {
        self.order(json!({ "do": "press", "key": key })).await;
    }

    /// The accessibility problems that axe-core finds.
    pub(super) async fn barriers(&self) -> Value {
        self.order(json!({ "do": "axe" })).await
    }

    /// Exceptions, errors and warnings of the console, and violations of content security policies so far.
    pub(super) async fn problems(&self) -> Vec<String> {
        let problems = self.order(json!({ "do": "problems" })).await;
        serde_json::from_value(problems).expect("a list of texts")
    }

    /// The websockets of the page so far: the `url` of each, and what it `sent` and `received`.
    pub(super) async fn sockets(&self) -> Value {
        self.order(json!({ "do": "sockets" })).await
    }

    /// Takes a picture of the whole page.
    pub(super) async fn screenshot(&self, name: &str) {
        let path = format!("{SCREENSHOTS}/{name}.png");
        self.order(json!({ "do": "screenshot", "path": path })).await;
    }

    /// Closes the tab, like a user.
    pub(super) async fn close(self) {
        self.order(json!({ "do": "close" })).await;
    }

    async fn order(&self, order: Value) -> Value {
        self.try_order(order).await.unwrap_or_else(|error| panic!("{error}"))
    }

    async fn try_order(&self, mut order: Value) -> Result<Value, String> {
        order["tab"] = json!(self.number);
        self.browser.follow(order).await
    }
}

async fn listen(mut lines: Lines<BufReader<ChildStdout>>, waiting: Waiting) {
    while let Ok(Some(line)) = lines.next_line().await {
        let answer: Answer = serde_json::from_str(&line).expect(&line);
        let waiter = waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&answer.id);
        // A test that has failed no longer waits.
        let _ = waiter.map(|waiter| waiter.send(answer));
    }
    waiting.lock().unwrap_or_else(PoisonError::into_inner).clear();
}
