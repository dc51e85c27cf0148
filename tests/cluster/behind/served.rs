//! A server program in a separate directory: it is started, waited for, and ended with all its child processes.

use std::{
    fs::File,
    net::SocketAddr,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use headcount_testkit::waiting::PATIENCE;
use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;
use tokio::{net::TcpStream, time::sleep};

const LOG: &str = "log";
/// Time to end in order before the program is killed.
const END_WITHIN: Duration = Duration::from_secs(5);

/// A running program. It ends when this value is dropped.
#[derive(Debug)]
pub(super) struct Served {
    /// The address on which it accepts connections.
    pub(super) address: SocketAddr,
    child: Child,
    directory: TempDir,
}

impl Served {
    /// Starts a program in a directory with these files, and waits until it accepts connections.
    pub(super) async fn start(
        address: SocketAddr,
        files: &[(String, String)],
        arguments: &[String],
    ) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        for (name, text) in files {
            std::fs::write(directory.path().join(name), text).expect("it is writable");
        }
        let child = spawn(directory.path(), arguments);
        let mut served = Self { address, child, directory };
        let start = Instant::now();
        while TcpStream::connect(address).await.is_err() {
            let ended = served.child.try_wait().expect("the state of the program");
            assert!(ended.is_none(), "{arguments:?} ended, {ended:?}: {}", served.log());
            assert!(start.elapsed() < PATIENCE, "it does not accept: {}", served.log());
            sleep(Duration::from_millis(10)).await;
        }
        served
    }

    fn log(&self) -> String {
        self.file(LOG)
    }

    /// A file that it has written; empty if there is none.
    pub(super) fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.directory.path().join(name)).unwrap_or_default()
    }

    fn end(&mut self) {
        let group = Pid::from_child(&self.child);
        // An error means that it has ended already.
        let _ = kill_process_group(group, Signal::TERM);
        let start = Instant::now();
        while self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            if start.elapsed() > END_WITHIN {
                let _ = kill_process_group(group, Signal::KILL);
                let _ = self.child.wait();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.end();
        if std::thread::panicking() {
            println!("--- log of what served at {}\n{}", self.address, self.log());
        }
    }
}

fn spawn(directory: &Path, arguments: &[String]) -> Child {
    let log = || {
        let file = File::options().create(true).append(true).open(directory.join(LOG));
        Stdio::from(file.expect("it is writable"))
    };
    // On Debian, only the PATH of root contains the folder of servers.
    let path = std::env::var("PATH").unwrap_or_default();
    Command::new("/usr/bin/env")
        .args(arguments)
        .current_dir(directory)
        .env("PATH", format!("{path}:/usr/sbin"))
        .env("HOME", directory)
        .stdin(Stdio::null())
        .stdout(log())
        .stderr(log())
        .process_group(0)
        .spawn()
        .expect("env is there")
}
