//! One sentinel process: its own port, its own directory, and gone when the test is. Its log is shown only if the
//! test panicked.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use crate::redis_server::{free_port, program};

/// A sentinel that was started.
#[derive(Debug)]
pub struct Sentinel {
    child: Child,
    port: u16,
    directory: TempDir,
    /// Neither killed nor stopped.
    runs: bool,
}

impl Sentinel {
    /// Starts one on this port with these lines of configuration. Whether it answers shows later.
    pub fn start(port: u16, lines: &str) -> Self {
        Self::start_with(port, &format!("port {port}\n{lines}"))
    }

    /// The same, for one that speaks only TLS.
    pub fn start_on_tls(port: u16, lines: &str) -> Self {
        Self::start_with(port, &format!("port 0\ntls-port {port}\n{lines}"))
    }

    fn start_with(port: u16, lines: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        configure(directory.path(), lines);
        let child = run(directory.path());
        Self { child, port, directory, runs: true }
    }

    /// Starts one that is alone, and so names this server as `name` for good, by a configuration of this epoch.
    pub fn naming(name: &str, server: u16, epoch: u64) -> Self {
        Self::start(free_port(), &names(name, server, epoch))
    }

    /// Starts it again on its port, naming another server.
    pub fn rename(&mut self, name: &str, server: u16, epoch: u64) {
        self.kill_9();
        let lines = format!("port {}\n{}", self.port, names(name, server, epoch));
        configure(self.directory.path(), &lines);
        self.restart();
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether it was neither killed nor stopped.
    pub fn runs(&self) -> bool {
        self.runs
    }

    /// Ends it at once, as a crash would.
    pub fn kill_9(&mut self) {
        // Errors say that it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.runs = false;
    }

    /// Starts it again, with what it knew.
    pub fn restart(&mut self) {
        self.kill_9();
        self.child = run(self.directory.path());
        self.runs = true;
    }

    /// Stops its process, which keeps its connections open and answers nothing. For good: it is killed at the end.
    pub fn stop(&mut self) {
        self.runs = false;
        let status = Command::new("kill").args(["-STOP", &self.child.id().to_string()]).status();
        assert!(status.is_ok_and(|status| status.success()), "failed to stop a sentinel");
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("sentinel.log")).unwrap_or_default()
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        self.kill_9();
        if std::thread::panicking() {
            eprintln!("--- log of the sentinel on port {}\n{}", self.port, self.log());
        }
    }
}

/// With a quorum that one sentinel alone cannot reach, so that it changes nothing by itself.
fn names(name: &str, server: u16, epoch: u64) -> String {
    format!("sentinel monitor {name} 127.0.0.1 {server} 9\nsentinel config-epoch {name} {epoch}\n")
}

fn configure(directory: &Path, lines: &str) {
    let text = format!("bind 127.0.0.1\nlogfile sentinel.log\n{lines}");
    std::fs::write(directory.join(CONFIGURATION), text).expect("a file for its settings");
}

fn run(directory: &Path) -> Child {
    Command::new(program())
        .args([CONFIGURATION, "--sentinel"])
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server is installed")
}

/// Sentinels write into it what they learn.
const CONFIGURATION: &str = "sentinel.conf";
