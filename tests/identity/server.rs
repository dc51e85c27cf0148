//! An issuer's web server that does whatever a test wants.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::sleep,
};

/// What the server does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// It sends these bytes and closes the connection.
    Bytes(Vec<u8>),
    /// It sends these bytes, and then a byte from time to time.
    Drip(Vec<u8>),
    /// It sends nothing and keeps the connection.
    Silence,
}

/// A server on a free port. It ends with the runtime.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    answer: Arc<Mutex<Answer>>,
    requests: watch::Receiver<Vec<String>>,
}

impl Server {
    pub(crate) async fn start(answer: Answer) -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), answer).await
    }

    pub(crate) async fn start_at(address: SocketAddr, answer: Answer) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (told, requests) = watch::channel(Vec::new());
        let answer = Arc::new(Mutex::new(answer));
        let current = Arc::clone(&answer);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&current), told.clone()));
            }
        });
        Self { address, answer, requests }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What it does from now on.
    pub(crate) fn answer(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    /// The requests so far, each as its head.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.borrow().clone()
    }

    /// Waits until there were this many requests.
    pub(crate) async fn asked(&self, times: usize) {
        self.requests.clone().wait_for(|requests| requests.len() >= times).await.unwrap();
    }
}

async fn serve(
    mut stream: TcpStream,
    answer: Arc<Mutex<Answer>>,
    told: watch::Sender<Vec<String>>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    told.send_modify(|requests| requests.push(String::from_utf8(head).unwrap()));
    let answer = answer.lock().unwrap().clone();
    match answer {
        // The client may have closed before all was sent.
        Answer::Bytes(bytes) => drop(stream.write_all(&bytes).await),
        Answer::Drip(bytes) => {
            let _ = stream.write_all(&bytes).await;
            while stream.write_all(b" ").await.is_ok() {
                sleep(Duration::from_millis(100)).await;
            }
        }
        Answer::Silence => {
            let _ = stream.read_u8().await;
        }
    }
}

/// A set of keys, as issuers send it.
pub(crate) fn set(keys: &[&Value]) -> Answer {
    response("200 OK", "", serde_json::json!({ "keys": keys }).to_string().as_bytes())
}

/// A response with its length.
pub(crate) fn response(status: &str, headers: &str, body: &[u8]) -> Answer {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
    Answer::Bytes([head.as_bytes(), body].concat())
}
