//! One process of the program under test. A test starts it, sends it requests and signals, and waits for its end.
//!
//! Its output goes to files, so that no full pipe can block it. It is shown only if the test fails.

use std::{
    fs::File,
    io::Error,
    net::SocketAddr,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use tempfile::TempDir;

use crate::{http, program, redis_server::free_port, waiting::eventually};

/// A running instance. It is killed when this value is dropped.
#[derive(Debug)]
pub struct Instance {
    process: Process,
    /// The address for clients.
    pub public: SocketAddr,
    /// The address for operators, with readiness and metrics.
    pub admin: SocketAddr,
}

/// A process that was started. It may have ended meanwhile, and is killed when this value is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    output: TempDir,
}

/// The parts of the answer of `/api/count` that tests use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Shown {
    /// The displayed number of users.
    pub count: u64,
    /// False while it is an estimate.
    pub exact: bool,
}

/// The part of the answer of `/api/counts` that tests use.
#[derive(Deserialize)]
struct ShownInRooms {
    counts: Vec<Shown>,
}

/// The targets of a process's output. `None` means a file.
#[derive(Debug, Default)]
pub struct Output {
    /// Replaces the file for stdout.
    pub stdout: Option<Stdio>,
    /// Replaces the file for stderr.
    pub stderr: Option<Stdio>,
}

/// The name and the value of an environment variable.
pub type Setting<'a> = (&'a str, &'a str);

impl Instance {
    /// Starts an instance on free ports with these settings, and reads its start-up line.
    pub async fn start(settings: &[Setting<'_>]) -> Self {
        Self::started_by(&mut Command::new(program::path()), settings).await
    }

    /// The same as [`Instance::start`], for another program that takes the same settings.
    pub async fn start_program(program: &Path, settings: &[Setting<'_>]) -> Self {
        Self::started_by(&mut Command::new(program), settings).await
    }

    async fn started_by(command: &mut Command, settings: &[Setting<'_>]) -> Self {
        let (process, line) = Process::listening(command, settings).await;
        let (public, admin) = addresses_in(&line).expect(&line);
        Self { process, public, admin }
    }

    /// Starts an instance at these addresses with this stdout and stderr, which may be unwritable, and waits until it
    /// is ready.
    pub async fn start_writing_to(
        output: Output,
        [public, admin]: [SocketAddr; 2],
        settings: &[Setting<'_>],
    ) -> Self {
        let addresses = [public, admin].map(|address| address.to_string());
        let ports = [
            ("HEADCOUNT_LISTEN", addresses[0].as_str()),
            ("HEADCOUNT_ADMIN_LISTEN", addresses[1].as_str()),
        ];
        let process = Process::spawn_writing_to(output, &[], &[&ports, settings].concat());
        let instance = Self { process, public, admin };
        instance.ready().await;
        instance
    }

    /// The same as [`Instance::start`], with a limit on the number of open files.
    pub async fn start_limited(open_files: u64, settings: &[Setting<'_>]) -> Self {
        Self::start_after(&format!("ulimit -n {open_files}"), settings).await
    }

    /// The same as [`Instance::start`], in the process of a shell that has run `preparation`. The limits of the shell
    /// apply to the instance.
    pub async fn start_after(preparation: &str, settings: &[Setting<'_>]) -> Self {
        let prepared = format!("{preparation} && exec \"$0\"");
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(prepared).arg(program::path());
        Self::started_by(&mut command, settings).await
    }

    /// The number that the instance shows, and whether it is exact.
    pub async fn shown(&self) -> Result<Shown, String> {
        let answer = http::get(self.public, "/api/count").await?;
        serde_json::from_str(&answer.body).map_err(|error| format!("{error} in {answer:?}"))
    }

    /// The same for each of these rooms, whose names need no escapes.
    pub async fn shown_in(&self, rooms: &[String]) -> Result<Vec<Shown>, String> {
        let query: Vec<String> = rooms.iter().map(|room| format!("room={room}")).collect();
        let path = format!("/api/counts?{}", query.join("&"));
        let answer = http::get(self.public, &path).await?;
        let shown: Result<ShownInRooms, _> = serde_json::from_str(&answer.body);
        let shown = shown.map_err(|error| format!("{error} in {answer:?}"))?;
        Ok(shown.counts)
    }

    /// Waits until the instance counts this number of users, exactly or not. Returns how long that took.
    pub async fn counts(&self, users: u64) -> Duration {
        let ((), took) =
            eventually(&format!("{users} are counted"), async || match self.shown().await? {
                Shown { count, .. } if count == users => Ok(()),
                shown => Err(format!("{shown:?}")),
            })
            .await;
        took
    }

    /// The HTTP status of `/readyz`.
    pub async fn readiness(&self) -> Result<u16, String> {
        http::get(self.admin, "/readyz").await.map(|answer| answer.status)
    }

    /// Waits until `/readyz` answers with 200.
    pub async fn ready(&self) {
        eventually("readiness", async || match self.readiness().await? {
            200 => Ok(()),
            status => Err(format!("status {status}")),
        })
        .await;
    }

    /// The value of a metric, summed over its labels.
    pub async fn metric(&self, name: &str) -> Result<f64, String> {
        let text = http::get(self.admin, "/metrics").await?.body;
        let samples: Vec<f64> = text.lines().filter_map(|line| sample(line, name)).collect();
        if samples.is_empty() {
            Err(format!("no {name} in {text}"))
        } else {
            Ok(samples.iter().sum())
        }
    }

    /// The process of this instance.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// Settings with which the system chooses the ports. It may choose one that another process had before.
pub const FREE_PORTS: [Setting<'static>; 2] =
    [("HEADCOUNT_LISTEN", "127.0.0.1:0"), ("HEADCOUNT_ADMIN_LISTEN", "127.0.0.1:0")];

/// The value in a line of Prometheus' text format, if the line is a sample of this metric.
fn sample(line: &str, name: &str) -> Option<f64> {
    let rest = line.strip_prefix(name)?;
    if !rest.starts_with([' ', '{']) {
        return None;
    }
    rest.rsplit_once(' ')?.1.parse().ok()
}

/// The two addresses of `listening public=127.0.0.1:3000 admin=127.0.0.1:9100 store=redis`.
fn addresses_in(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let mut words = line.strip_prefix("listening ")?.split(' ');
    let public = words.next()?.strip_prefix("public=")?.parse().ok()?;
    let admin = words.next()?.strip_prefix("admin=")?.parse().ok()?;
    let store = words.next()?.strip_prefix("store=")?;
    (words.next().is_none() && ["redis", "embedded"].contains(&store)).then_some((public, admin))
}

impl Process {
    /// Starts the program with these arguments. Its environment contains only these settings.
    pub fn spawn(arguments: &[&str], settings: &[Setting<'_>]) -> Self {
        Self::spawned_by(Command::new(program::path()).args(arguments), settings)
    }

    /// The same as [`Process::spawn`], with another stdout or stderr, whose text is not available later.
    pub fn spawn_writing_to(output: Output, arguments: &[&str], settings: &[Setting<'_>]) -> Self {
        Self::spawned(Command::new(program::path()).args(arguments), output, settings)
    }

    /// The same as [`Process::spawn`], for another program, or for one that is started in another way.
    pub fn spawned_by(command: &mut Command, settings: &[Setting<'_>]) -> Self {
        Self::spawned(command, Output::default(), settings)
    }

    fn spawned(command: &mut Command, to: Output, settings: &[Setting<'_>]) -> Self {
        let output = tempfile::tempdir().expect("a directory for the output");
        let file = |name| File::create(output.path().join(name)).expect("a file for the output");
        let child = command
            .env_clear()
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(to.stdout.unwrap_or_else(|| file(STDOUT).into()))
            .stderr(to.stderr.unwrap_or_else(|| file(STDERR).into()))
            .spawn()
            .expect("the program starts");
        Self { child, output }
    }

    /// Starts a program that listens on free ports unless the settings say otherwise, and returns its first line, too.
    ///
    /// The ports are not given to anybody else later. So a client that keeps trying to reach a program that has ended reaches
    /// nobody, and the same program can be started at the same ports again.
    pub async fn listening(command: &mut Command, settings: &[Setting<'_>]) -> (Self, String) {
        let mut attempts = START_ATTEMPTS;
        loop {
            let [public, admin] = [(); 2].map(|()| format!("127.0.0.1:{}", free_port()));
            let ports = [("HEADCOUNT_LISTEN", public.as_str()), ("HEADCOUNT_ADMIN_LISTEN", &admin)];
            let mut process = Self::spawned_by(command, &[&ports, settings].concat());
            attempts -= 1;
            let (line, _) = eventually("the start-up line", async || {
                if attempts > 0 && !process.runs() && process.stderr().contains(PORT_TAKEN) {
                    return Ok(None);
                }
                process.first_line().map(Some)
            })
            .await;
            if let Some(line) = line {
                return (process, line);
            }
        }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the process is ours");
    }

    /// Waits for its end. Returns the exit status, and how long the wait took.
    pub async fn ended(&mut self) -> (ExitStatus, Duration) {
        eventually("the end of the process", async || match self.child.try_wait() {
            Ok(status) => status.ok_or_else(|| String::from("it runs")),
            Err(error) => Err(error.to_string()),
        })
        .await
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_none())
    }

    /// What it wrote to stdout so far.
    pub fn stdout(&self) -> String {
        self.written(STDOUT)
    }

    /// What it wrote to stderr so far.
    pub fn stderr(&self) -> String {
        self.written(STDERR)
    }

    /// Waits until its log has all of these words, and returns the log. A thread of its own writes the log, so a line may come
    /// after the answer to the request that it tells of.
    pub async fn logged(&self, words: &[&str]) -> String {
        let (log, _) = eventually(&format!("its log has {words:?}"), async || {
            let log = self.stderr();
            if words.iter().all(|word| log.contains(word)) { Ok(log) } else { Err(log) }
        })
        .await;
        log
    }

    fn written(&self, name: &str) -> String {
        let bytes = std::fs::read(self.output.path().join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The first line that the process wrote to stdout. Panics if the process has ended without one.
    pub fn first_line(&mut self) -> Result<String, String> {
        let stdout = self.stdout();
        if let Some((line, _)) = stdout.split_once('\n') {
            return Ok(line.to_owned());
        }
        assert!(self.runs(), "it ended before it listened: {}", self.stderr());
        Err(format!("stdout {stdout:?}, stderr {:?}", self.stderr()))
    }

    fn end(&mut self) -> Result<ExitStatus, Error> {
        self.child.kill()?;
        self.child.wait()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let end = self.end();
        if std::thread::panicking() {
            let (id, stdout, stderr) = (self.id(), self.stdout(), self.stderr());
            println!("headcount {id} ({end:?})\nstdout:\n{stdout}stderr:\n{stderr}");
        }
    }
}

/// How many ports are tried: another program may take a free port before ours binds it.
const START_ATTEMPTS: usize = 5;
/// What a program says whose port is taken.
const PORT_TAKEN: &str = "Address already in use";

const STDOUT: &str = "stdout";
const STDERR: &str = "stderr";
