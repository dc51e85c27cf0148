//! The lesson's application, `examples/lesson.rs`: built once, and started as a process like an instance.

use std::{net::SocketAddr, path::PathBuf, process::Command, sync::OnceLock};

use headcount_testkit::{
    http,
    instance::{FREE_PORTS, Process, Setting},
    program,
    waiting::eventually,
};

/// A running application. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Application {
    process: Process,
    /// Where people log in and clients connect.
    pub(crate) public: SocketAddr,
}

impl Application {
    /// Starts one on a free port with these settings, and reads its start-up line.
    pub(crate) async fn start(settings: &[Setting<'_>]) -> Self {
        let mut command = Command::new(lesson());
        let settings = [&FREE_PORTS, settings].concat();
        let mut process = Process::spawned_by(&mut command, &settings);
        let (line, _) = eventually("the start-up line", async || process.first_line()).await;
        let public = line.strip_prefix("listening public=").and_then(|line| line.parse().ok());
        Self { process, public: public.expect(&line) }
    }

    /// The page that somebody sees who logs in by this name.
    pub(crate) async fn page_of(&self, name: &str) -> String {
        let form = http::post(self.public, "/login", format!("username={name}")).await;
        let form = form.expect("it serves");
        assert_eq!((form.status, form.header("location")), (303, "/chat"), "{}", form.body);
        let (cookie, _) = form.header("set-cookie").split_once(';').expect("a cookie is set");
        let page = http::get_with(self.public, "/chat", &[("cookie", cookie)]).await;
        let page = page.expect("it serves");
        assert_eq!(page.status, 200, "{}", page.body);
        page.body
    }

    /// The process behind it.
    pub(crate) fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// The program, in the profile of these tests; the first who asks builds it. When all tests are built, it is there already.
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
