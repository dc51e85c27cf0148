//! The lesson's application, `examples/lesson.rs`. It is built once, and started as a process like an instance.

use std::{net::SocketAddr, path::PathBuf, process::Command, sync::OnceLock};

use headcount_testkit::{
    http,
    instance::{Process, Setting},
    program,
    raw::{Raw, frames::text, upgrade},
};

/// A running application. It is killed when this value is dropped.
#[derive(Debug)]
pub(crate) struct Application {
    process: Process,
    /// The address for logins and clients.
    pub(crate) public: SocketAddr,
}

impl Application {
    /// Starts an application on a free port with these settings, and reads its start-up line.
    pub(crate) async fn start(settings: &[Setting<'_>]) -> Self {
        let mut command = Command::new(lesson());
        let (process, line) = Process::listening(&mut command, settings).await;
        let public = line.strip_prefix("listening public=").and_then(|line| line.parse().ok());
        Self { process, public: public.expect(&line) }
    }

    /// The page after a login with this name.
    pub(crate) async fn page_of(&self, name: &str) -> String {
        let cookie = self.cookie_of(name).await;
        self.page_with(&cookie).await.expect("the user is logged in")
    }

    /// The page for a browser that sends these cookies, unless it must log in first.
    pub(crate) async fn page_with(&self, cookies: &str) -> Option<String> {
        let page = http::get_with(self.public, "/chat", &[("cookie", cookies)]).await;
        let page = page.expect("it serves");
        (page.status == 200).then_some(page.body)
    }

    /// The cookie after a login with this name.
    pub(crate) async fn cookie_of(&self, name: &str) -> String {
        let form = http::post(self.public, "/login", format!("username={name}")).await;
        let form = form.expect("it serves");
        assert_eq!((form.status, form.header("location")), (303, "/chat"), "{}", form.body);
        let (cookie, _) = form.header("set-cookie").split_once(';').expect("a cookie is set");
        cookie.to_owned()
    }

    /// A websocket of a browser that sends these cookies. It has sent its join.
    pub(crate) async fn joined_with(&self, cookies: &str) -> Raw {
        let request = upgrade(self.public, None);
        let request = request.replacen("\r\n", &format!("\r\ncookie: {cookies}\r\n"), 1);
        let mut raw = Raw::saying(self.public, request).await;
        assert_eq!(raw.answer().await.expect("an answer").status, 101);
        assert!(raw.is_answered_after(&text("40"), "40{").await, "it joins");
        raw
    }

    /// The process of the application.
    pub(crate) fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// The program, in the profile of these tests. The first call builds it. It exists already if all targets were built.
fn lesson() -> PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(build).clone()
}

fn build() -> PathBuf {
    let made = program::folder();
    let profile = match made.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(profile) => profile,
    };
    let output = program::cargo()
        .args(["build", "--quiet", "--example", "lesson", "--profile", profile])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    made.join("examples/lesson")
}
