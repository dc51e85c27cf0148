//! A real `redis-server` for a test, on a port and in a directory of its own. It ends with the test, whether that passes or
//! panics. Its log is shown only if the test panics.

use std::{
    ffi::OsString,
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use deadpool_redis::redis::{self, Connection};
use tempfile::TempDir;

/// How long a server may take to start on a busy machine. Usually it starts at once.
const START_WITHIN: Duration = Duration::from_secs(20);

/// How often to try another port: somebody else may take a port after it was found free and before the server binds it.
const START_ATTEMPTS: usize = 5;
/// How long a connection may take to be made.
const CONNECTED_WITHIN: Duration = Duration::from_secs(5);

/// A running server. It is killed when this value is dropped.
#[derive(Debug)]
pub struct RedisServer {
    child: Child,
    port: u16,
    arguments: Vec<String>,
    directory: TempDir,
}

impl RedisServer {
    /// Starts a server without persistence on a free port of localhost. These arguments come last on its command line, and so
    /// they override the others.
    pub fn start(arguments: &[&str]) -> Self {
        let arguments: Vec<_> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        for _ in 0..START_ATTEMPTS {
            let port = free_port();
            let directory = tempfile::tempdir().expect("a temporary directory");
            let child = spawn(port, &arguments, directory.path());
            let mut server = Self { child, port, arguments: arguments.clone(), directory };
            if server.wait_until_ready() {
                return server;
            }
        }
        panic!("redis-server does not start");
    }

    /// Where it listens, on localhost.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address of the server, without credentials.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The working directory of the server, which holds its data and its log.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Opens a blocking connection.
    pub fn connection(&self) -> Connection {
        connect(&self.url(), CONNECTED_WITHIN).expect("a connection to redis-server")
    }

    /// Kills the process, as a crash would.
    pub fn kill_9(&mut self) {
        // Errors say that it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Kills the process if it runs, and starts the server again on the same port and directory.
    pub fn restart(&mut self) {
        self.kill_9();
        self.child = spawn(self.port, &self.arguments, self.directory.path());
        assert!(self.wait_until_ready(), "redis-server does not start again");
    }

    /// Stops the process with SIGSTOP: its connections stay open, and nothing is answered.
    pub fn stop(&self) {
        self.signal("-STOP");
    }

    /// Lets a stopped process go on with SIGCONT.
    pub fn cont(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(status.is_ok_and(|status| status.success()), "failed to send {signal}");
    }

    /// Waits for a `PONG` from this very process; false if it ended instead.
    fn wait_until_ready(&mut self) -> bool {
        let deadline = Instant::now() + START_WITHIN;
        while self.child.try_wait().expect("the state of redis-server").is_none() {
            assert!(Instant::now() < deadline, "redis-server does not answer: {}", self.log());
            if self.answers() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        false
    }

    fn answers(&self) -> bool {
        let Ok(mut connection) = connect(&self.url(), CONNECTED_WITHIN) else {
            return false;
        };
        // A server that wants credentials is as ready as one that does not.
        match redis::cmd("INFO").query::<String>(&mut connection) {
            Ok(info) => {
                let this_process = format!("process_id:{}\r\n", self.child.id());
                info.contains(&this_process) && info.contains("loading:0\r\n")
            }
            Err(error) => error.code() == Some("NOAUTH"),
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("redis.log")).unwrap_or_default()
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill_9();
        if std::thread::panicking() {
            eprintln!("--- log of redis-server on port {}\n{}", self.port, self.log());
        }
    }
}

/// Opens a blocking connection. It tries again when a signal arrives meanwhile, such as the one for the end of a child: the
/// kernel does not resume a read that has a timeout.
pub fn connect(url: &str, within: Duration) -> redis::RedisResult<Connection> {
    const EINTR: &str = "(os error 4)";
    let client = redis::Client::open(url)?;
    loop {
        match client.get_connection_with_timeout(within) {
            Err(error) if error.to_string().contains(EINTR) => {}
            done => return done,
        }
    }
}

fn spawn(port: u16, arguments: &[String], directory: &Path) -> Child {
    Command::new(program())
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--logfile", "redis.log"])
        .args(["--save", "", "--appendonly", "no", "--dir"])
        .arg(directory)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server is installed")
}

/// The program that the tests start: the Redis that is installed, or another server with the same protocol.
pub fn program() -> OsString {
    std::env::var_os("HEADCOUNT_REDIS_SERVER").unwrap_or_else(|| "redis-server".into())
}

/// A port of localhost that nobody listens on. No port is handed out twice, and all of them lie below those that the system
/// takes for outgoing connections. So the port stays free until its server binds it, unless another program wants it.
pub fn free_port() -> u16 {
    const FIRST: u32 = 10_000;
    const PORTS: u32 = 22_000;
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    // Programs that run at the same time begin at different ports.
    let start = std::process::id().wrapping_mul(997);
    for _ in 0..PORTS {
        let next = start.wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(FIRST + next % PORTS).expect("it is below 32,000");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port of localhost is free");
}
