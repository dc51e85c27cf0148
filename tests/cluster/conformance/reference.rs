//! The reference server: socket.io for Node, with the same settings.

use std::{net::SocketAddr, process::Stdio};

use headcount_testkit::repository;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, ChildStdin, Command},
};

/// A running one. Dropped, it ends.
#[derive(Debug)]
pub(super) struct Reference {
    /// Where it listens.
    pub(super) address: SocketAddr,
    _stdin: ChildStdin,
    _child: Child,
}

impl Reference {
    pub(super) async fn start() -> Self {
        let mut child = Command::new("node")
            .arg("server.mjs")
            .current_dir(repository::node_folder())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("node starts");
        let stdin = child.stdin.take().expect("it is piped");
        let stdout = child.stdout.take().expect("it is piped");
        let line = BufReader::new(stdout).lines().next_line().await;
        let port = line.expect("it can be read").expect("a line").parse().expect("a port");
        Self { address: ([127, 0, 0, 1], port).into(), _stdin: stdin, _child: child }
    }
}
