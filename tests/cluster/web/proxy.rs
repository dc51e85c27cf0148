//! A real nginx, Caddy or `HAProxy` in front of an instance, with a configuration as an operator writes it.
//!
//! It runs on a free port, in a directory of its own, and is ended by its id. What it says is shown only if a test
//! fails.

use std::{
    fs::File,
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use headcount_testkit::{redis_server::free_port, waiting::PATIENCE};
use tempfile::TempDir;
use tokio::{net::TcpStream, time::sleep};

/// The port that configurations name for the site.
const SITE: &str = "8080";
/// The address that configurations name for Headcount.
const HEADCOUNT: &str = "127.0.0.1:3000";
/// Between a port being found free and the proxy binding it somebody else may take it.
const START_ATTEMPTS: usize = 5;
const LOG: &str = "log";

/// Which program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Program {
    /// nginx, as Debian has it.
    Nginx,
    /// Caddy, as Debian has it.
    Caddy,
    /// `HAProxy`, as Debian has it.
    HaProxy,
}

/// A running proxy. Dropped, it is killed.
#[derive(Debug)]
pub(super) struct Proxy {
    /// Where browsers connect.
    pub(super) address: SocketAddr,
    child: Child,
    directory: TempDir,
}

impl Program {
    /// All of them.
    pub(super) const ALL: [Self; 3] = [Self::Nginx, Self::Caddy, Self::HaProxy];

    /// The language of its configurations, as fenced blocks name it.
    pub(super) fn language(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Caddy => "caddyfile",
            Self::HaProxy => "haproxy",
        }
    }

    /// What stands around a configuration, so that it runs as anybody and writes only to its own directory.
    fn whole(self, configuration: &str) -> String {
        match self {
            Self::Nginx => format!(
                "daemon off; master_process off; pid nginx.pid; error_log {LOG};\n\
                 events {{}}\nhttp {{\naccess_log off; default_type text/html;\n\
                 types {{ text/javascript js; }}\n\
                 client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;\n\
                 uwsgi_temp_path uwsgi; scgi_temp_path scgi;\n{configuration}}}\n"
            ),
            Self::Caddy => {
                format!("{{\nadmin off\nauto_https off\n}}\n{configuration}")
            }
            Self::HaProxy => configuration.to_owned(),
        }
    }

    fn command(self, directory: &Path) -> Command {
        let (name, arguments): (_, &[&str]) = match self {
            Self::Nginx => ("nginx", &["-p", ".", "-e", LOG, "-c", "configuration"]),
            Self::Caddy => {
                ("caddy", &["run", "--adapter", "caddyfile", "--config", "configuration"])
            }
            Self::HaProxy => ("haproxy", &["-db", "-f", "configuration"]),
        };
        // Debian keeps servers where only root's path leads.
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("/usr/bin/env");
        command.arg(name).args(arguments).current_dir(directory);
        command.env("PATH", format!("{path}:/usr/sbin")).env("HOME", directory);
        command
    }
}

impl Proxy {
    /// Starts one in front of `server`, with a configuration that names port 8080 for the site and 127.0.0.1:3000
    /// for Headcount, and with these files in its directory.
    pub(super) async fn start(
        program: Program,
        server: SocketAddr,
        configuration: &str,
        files: &[(&str, &str)],
    ) -> Self {
        for _ in 0..START_ATTEMPTS {
            let directory = tempfile::tempdir().expect("a temporary directory");
            let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
            let ours = configuration
                .replace(SITE, &address.port().to_string())
                .replace(HEADCOUNT, &server.to_string());
            let whole = program.whole(&ours);
            let written = [("configuration", whole.as_str())];
            for (name, text) in written.iter().chain(files) {
                std::fs::write(directory.path().join(name), text).expect("it is writable");
            }
            let log = || File::options().create(true).append(true).open(directory.path().join(LOG));
            let child = program
                .command(directory.path())
                .stdin(Stdio::null())
                .stdout(log().expect("it is writable"))
                .stderr(log().expect("it is writable"))
                .spawn()
                .expect("env is there");
            let mut proxy = Self { address, child, directory };
            if proxy.is_up().await {
                return proxy;
            }
            println!("{program:?} ended: {}", proxy.log());
        }
        panic!("{program:?} does not start; scripts/test installs it");
    }

    /// Waits until it accepts; false if it ended instead.
    async fn is_up(&mut self) -> bool {
        let start = Instant::now();
        while self.child.try_wait().expect("the state of the proxy").is_none() {
            if TcpStream::connect(self.address).await.is_ok() {
                return true;
            }
            assert!(start.elapsed() < PATIENCE, "it does not accept: {}", self.log());
            sleep(Duration::from_millis(10)).await;
        }
        false
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join(LOG)).unwrap_or_default()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Errors say that it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            println!("--- log of the proxy at {}\n{}", self.address, self.log());
        }
    }
}
