//! A process full of real clients that others wrote, driven over JSON lines.
//!
//! It only passes orders on and files what comes back into a [`Record`] per client.

use std::{
    net::SocketAddr,
    path::Path,
    process::Stdio,
    sync::{Arc, Mutex},
};

use serde::Deserialize;
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use crate::{
    client::Transport,
    record::{Event, Record},
};

/// One process and the records of its clients. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct ForeignClients {
    whose: Library,
    stdin: ChildStdin,
    records: Arc<Mutex<Vec<Record>>>,
    /// Kept so that the process ends with this value.
    _child: Child,
}

/// Whose clients they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Library {
    /// The newest socket.io-client of npm.
    Newest,
    /// The first socket.io-client that speaks this protocol.
    Oldest,
    /// python-socketio.
    Python,
}

impl Library {
    /// How to start it. Panics if what it needs is not installed.
    fn command(self) -> Command {
        let node = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cluster/node");
        let python = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cluster/python");
        let (folder, program, arguments, needed) = match self {
            Self::Newest => {
                (node, "node", ["client.mjs", "socket.io-client"].as_slice(), "node_modules")
            }
            Self::Oldest => {
                (node, "node", ["client.mjs", "socket.io-client-4.0"].as_slice(), "node_modules")
            }
            Self::Python => (
                python,
                concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cluster/python/venv/bin/python"),
                ["client.py"].as_slice(),
                "venv",
            ),
        };
        let needed = Path::new(folder).join(needed);
        assert!(needed.exists(), "{} is missing: scripts/test makes it", needed.display());
        let mut command = Command::new(program);
        command.args(arguments).current_dir(folder);
        command
    }
}

/// One line from the process.
#[derive(Debug, Deserialize)]
struct Line {
    client: usize,
    event: String,
    #[serde(default)]
    value: u64,
    #[serde(default)]
    reason: String,
}

impl ForeignClients {
    /// Starts the process with no client yet.
    pub(crate) fn start(whose: Library) -> Self {
        let mut child = whose
            .command()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the process starts");
        let stdin = child.stdin.take().expect("stdin is piped");
        let stdout = child.stdout.take().expect("stdout is piped");
        let records = Arc::default();
        tokio::spawn(listen(BufReader::new(stdout).lines(), Arc::clone(&records)));
        Self { whose, stdin, records, _child: child }
    }

    /// Opens clients that come back by themselves, and returns their records; their numbers count on from
    /// the clients opened before.
    pub(crate) async fn open(
        &mut self,
        clients: usize,
        server: SocketAddr,
        transport: Transport,
    ) -> Vec<Record> {
        let url = format!("http://{server}");
        self.open_with(clients, &url, transport, &json!({})).await
    }

    /// The same for whatever is at a URL, with more in the order: `options` for the library, and `strict` if no attempt to
    /// connect may fail.
    pub(crate) async fn open_with(
        &mut self,
        clients: usize,
        url: &str,
        transport: Transport,
        more: &serde_json::Value,
    ) -> Vec<Record> {
        let first = self.lock().len();
        let opened: Vec<Record> = (first..first + clients)
            .map(|number| {
                Record::new(format!("{:?} client {number} ({transport:?}) of {url}", self.whose))
            })
            .collect();
        self.lock().extend_from_slice(&opened);
        let transports: &[&str] = match transport {
            Transport::WebSocket => &["websocket"],
            Transport::Polling => &["polling"],
            Transport::Upgrade => &["polling", "websocket"],
        };
        let mut order = json!({
            "first": first, "clients": clients, "url": url, "transports": transports,
        });
        for (name, value) in more.as_object().into_iter().flatten() {
            order[name] = value.clone();
        }
        self.order(&json!({ "open": order })).await;
        opened
    }

    /// Makes one client leave for good.
    pub(crate) async fn close(&mut self, client: usize) {
        self.order(&json!({ "close": client })).await;
    }

    async fn order(&mut self, order: &serde_json::Value) {
        let line = format!("{order}\n");
        self.stdin.write_all(line.as_bytes()).await.expect("the process reads its orders");
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Record>> {
        self.records.lock().expect("nothing panics while it holds this lock")
    }
}

async fn listen(mut lines: Lines<BufReader<ChildStdout>>, records: Arc<Mutex<Vec<Record>>>) {
    while let Ok(Some(line)) = lines.next_line().await {
        let line: Line = serde_json::from_str(&line).expect(&line);
        let record =
            records.lock().expect("nothing panics while it holds this lock")[line.client].clone();
        record.push(match line.event.as_str() {
            "connected" => Event::Connected,
            "upgraded" => Event::Upgraded,
            "count" => Event::Count(line.value),
            "disconnected" => Event::Disconnected(line.reason),
            _ => Event::Violation(line.reason),
        });
    }
}
