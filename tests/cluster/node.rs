//! A Node process full of real socket.io-clients, driven over JSON lines.
//!
//! It only passes orders on and files what comes back into a [`Record`] per client.

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
};

/// One Node process and the records of its clients. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct NodeClients {
    stdin: ChildStdin,
    records: Arc<Mutex<Vec<Record>>>,
    /// Kept so that the process ends with this value.
    _child: Child,
}

/// One line from Node.
#[derive(Debug, Deserialize)]
struct Line {
    client: usize,
    event: String,
    #[serde(default)]
    value: u64,
    #[serde(default)]
    reason: String,
}

impl NodeClients {
    /// Starts Node with no client yet.
    pub(crate) fn start() -> Self {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cluster/node");
        let installed = std::path::Path::new(folder).join("node_modules/socket.io-client");
        assert!(installed.exists(), "run `npm ci` in {folder}, or scripts/test, which does it");
        let mut child = Command::new("node")
            .arg("client.mjs")
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("node starts");
        let stdin = child.stdin.take().expect("stdin is piped");
        let stdout = child.stdout.take().expect("stdout is piped");
        let records = Arc::default();
        tokio::spawn(listen(BufReader::new(stdout).lines(), Arc::clone(&records)));
        Self { stdin, records, _child: child }
    }

    /// Opens clients that come back by themselves, and returns their records; their numbers count on from
    /// the clients opened before.
    pub(crate) async fn open(
        &mut self,
        clients: usize,
        server: SocketAddr,
        transport: Transport,
    ) -> Vec<Record> {
        let first = self.lock().len();
        let opened: Vec<Record> = (first..first + clients)
            .map(|number| Record::new(format!("node client {number} ({transport:?}) of {server}")))
            .collect();
        self.lock().extend_from_slice(&opened);
        let transports: &[&str] = match transport {
            Transport::WebSocket => &["websocket"],
            Transport::Polling => &["polling"],
            Transport::Upgrade => &["polling", "websocket"],
        };
        let url = format!("http://{server}");
        self.order(&json!({ "open": {
            "first": first, "clients": clients, "url": url, "transports": transports,
        } }))
        .await;
        opened
    }

    /// Makes one client leave for good.
    pub(crate) async fn close(&mut self, client: usize) {
        self.order(&json!({ "close": client })).await;
    }

    async fn order(&mut self, order: &serde_json::Value) {
        let line = format!("{order}\n");
        self.stdin.write_all(line.as_bytes()).await.expect("node reads its orders");
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
