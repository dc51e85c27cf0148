//! `headcount health`: asks an instance's admin listener how it is, so that a container needs no other tool
//! for its health check, and its operators none for its metrics.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context;
use http::{Request, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

/// An instance answers in a millisecond; one that takes this long is not well.
const PATIENCE: Duration = Duration::from_secs(2);
/// Metrics are some 30 kB, all else is one line.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// What an instance is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Whether the process is well.
    Alive,
    /// Whether it may be sent visitors.
    Ready,
    /// Its metrics, as Prometheus reads them.
    Metrics,
}

impl Question {
    fn path(self) -> &'static str {
        match self {
            Self::Alive => "/livez",
            Self::Ready => "/readyz",
            Self::Metrics => "/metrics",
        }
    }
}

/// What an instance says of itself.
#[derive(Debug)]
pub struct Answer {
    /// Whether it answered 200.
    pub healthy: bool,
    /// In its words.
    pub text: String,
}

/// Asks the instance whose admin listener is at `address`.
///
/// # Errors
/// If it does not answer within two seconds, or not in HTTP.
pub async fn ask(address: SocketAddr, question: Question) -> anyhow::Result<Answer> {
    let asked = timeout(PATIENCE, get(address, question.path())).await;
    asked.with_context(|| format!("no answer from {address} within {PATIENCE:?}"))?
}

async fn get(address: SocketAddr, path: &str) -> anyhow::Result<Answer> {
    let stream =
        TcpStream::connect(address).await.with_context(|| format!("failed to reach {address}"))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(path)
        .header(header::HOST, address.to_string())
        .body(Empty::<Bytes>::new())
        .context("failed to make the request")?;
    let exchange = async {
        let response = sender.send_request(request).await.context("failed to ask")?;
        let healthy = response.status().is_success();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body =
            body.map_err(|error| anyhow::anyhow!(error)).context("failed to read the answer")?;
        anyhow::Ok(Answer { healthy, text: String::from_utf8_lossy(&body.to_bytes()).into_owned() })
    };
    tokio::pin!(exchange, connection);
    tokio::select! {
        answer = &mut exchange => answer,
        ended = &mut connection => {
            ended.context("the connection broke")?;
            exchange.await
        }
    }
}
