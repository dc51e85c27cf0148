//! A process with many clients of a third-party library. The test sends it commands as lines of JSON.
//!
//! This file only passes commands on, and writes the answers into one [`Record`] for each client.

use std::{
    net::SocketAddr,
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
    repository,
};

/// One process and the records of its clients. The process is killed when this value is dropped.
#[derive(Debug)]
pub struct ForeignClients {
    whose: Library,
    stdin: ChildStdin,
    records: Arc<Mutex<Vec<Record>>>,
    /// Kept so that the process ends with this value.
    _child: Child,
}

/// A third-party client library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    /// The newest socket.io-client of npm.
    Newest,
    /// The first socket.io-client that speaks this protocol.
    Oldest,
    /// python-socketio.
    Python,
}

impl Library {
    /// The command that starts a process with this library's clients. Panics if the library is not installed.
    fn command(self) -> Command {
        match self {
            Self::Newest => Self::on_node("socket.io-client"),
            Self::Oldest => Self::on_node("socket.io-client-4.0"),
            Self::Python => {
                let folder = repository::python_folder();
                let mut command = Command::new(folder.join("venv/bin/python"));
                command.arg("client.py").current_dir(folder);
                command
            }
        }
    }

    fn on_node(package: &str) -> Command {
        let mut command = Command::new("node");
        command.args(["client.mjs", package]).current_dir(repository::node_folder());
        command
    }
}

/// One line that the process writes.
#[derive(Debug, Deserialize)]
struct Line {
    client: usize,
    event: String,
    #[serde(default)]
    value: u64,
    #[serde(default)]
    users: serde_json::Value,
    #[serde(default)]
    reason: String,
}

impl ForeignClients {
    /// Starts the process, without clients.
    pub fn start(whose: Library) -> Self {
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

    /// Opens this many clients, which reconnect by themselves, and returns their records. The number of a client is its
    /// place among all clients of the process.
    pub async fn open(
        &mut self,
        clients: usize,
        server: SocketAddr,
        transport: Transport,
    ) -> Vec<Record> {
        let url = format!("http://{server}");
        self.open_with(clients, &url, transport, &json!({})).await
    }

    /// The same as [`ForeignClients::open`] for any URL. The command may also contain `options` for the library, and
    /// `strict` if no attempt to connect may fail.
    pub async fn open_with(
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
            Transport::Websocket => &["websocket"],
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

    /// Opens one connection that joins these rooms, each with what it says about itself. There is a record for each room.
    pub async fn open_rooms(
        &mut self,
        server: SocketAddr,
        transport: Transport,
        rooms: &[(&str, serde_json::Value)],
    ) -> Vec<Record> {
        let url = format!("http://{server}");
        let more = json!({ "rooms": rooms });
        self.open_with(rooms.len(), &url, transport, &more).await
    }

    /// Makes the client with this number leave. On a connection with several rooms it leaves its room.
    pub async fn close(&mut self, client: usize) {
        self.order(&json!({ "close": client })).await;
    }

    /// Makes a client of a room that left join it again.
    pub async fn join(&mut self, client: usize) {
        self.order(&json!({ "join": client })).await;
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
            "users" => Event::Users(line.users),
            "refused" => Event::Refused(line.reason),
            "disconnected" => Event::Disconnected(line.reason),
            _ => Event::Violation(line.reason),
        });
    }
}
