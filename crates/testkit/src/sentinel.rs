//! One process of Redis Sentinel for a test, on a port and in a directory of its own. It ends with the test. Its log is shown
//! only if the test panics.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use crate::redis_server::{free_port, program};

/// A sentinel that was started. It is killed when this value is dropped.
#[derive(Debug)]
pub struct Sentinel {
    child: Child,
    port: u16,
    directory: TempDir,
    /// Whether the process was neither killed nor stopped.
    runs: bool,
}

impl Sentinel {
    /// Starts a sentinel on this port with these lines of configuration, and does not wait until it answers.
    pub fn start(port: u16, lines: &str) -> Self {
        Self::start_with(port, &format!("port {port}\n{lines}"))
    }

    /// The same as [`Sentinel::start`], for a sentinel that accepts only TLS.
    pub fn start_on_tls(port: u16, lines: &str) -> Self {
        Self::start_with(port, &format!("port 0\ntls-port {port}\n{lines}"))
    }

    fn start_with(port: u16, lines: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        configure(directory.path(), lines);
        let child = run(directory.path());
        Self { child, port, directory, runs: true }
    }

    /// Starts a sentinel that knows no others. It names this server as the primary `name`, with this configuration epoch, and
    /// never changes that.
    pub fn naming(name: &str, server: u16, epoch: u64) -> Self {
        Self::start(free_port(), &names(name, server, epoch))
    }

    /// Starts a sentinel of [`Sentinel::naming`] again on its port, so that it names another server.
    pub fn rename(&mut self, name: &str, server: u16, epoch: u64) {
        self.kill_9();
        let lines = format!("port {}\n{}", self.port, names(name, server, epoch));
        configure(self.directory.path(), &lines);
        self.restart();
    }

    /// The port of localhost that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether the process was neither killed nor stopped.
    pub fn runs(&self) -> bool {
        self.runs
    }

    /// Kills the process, as a crash would.
    pub fn kill_9(&mut self) {
        // Errors say that it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.runs = false;
    }

    /// Starts it again, with the configuration that it has written.
    pub fn restart(&mut self) {
        self.kill_9();
        self.child = run(self.directory.path());
        self.runs = true;
    }

    /// Stops the process with SIGSTOP: its connections stay open, and nothing is answered. It never goes on.
    pub fn stop(&mut self) {
        self.runs = false;
        let status = Command::new("kill").args(["-STOP", &self.child.id().to_string()]).status();
        assert!(status.is_ok_and(|status| status.success()), "failed to stop a sentinel");
    }

    /// The log so far.
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

/// Lines of configuration with a quorum that one sentinel cannot reach, so that it never orders a failover.
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

/// The name of the configuration file. Sentinels write into it what they learn.
const CONFIGURATION: &str = "sentinel.conf";
