//! `headcount health`: asks an instance's admin listener whether it is well, or for its metrics. So a container needs no other
//! tool for its health check.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context;
use http::{Request, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

/// How long the instance may take to answer. A healthy one takes a millisecond.
const PATIENCE: Duration = Duration::from_secs(2);
/// The longest answer that is read. Metrics have about 30 kB; other answers are one line.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// The question to an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Is the process alive?
    Alive,
    /// Is it ready for visitors?
    Ready,
    /// What are its metrics?
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

/// The answer of an instance.
#[derive(Debug)]
pub struct Health {
    /// Whether the status was 200.
    pub healthy: bool,
    /// The body.
    pub text: String,
}

/// Asks the instance whose admin listener is at `address`.
///
/// # Errors
/// If it does not answer within two seconds, or not in HTTP.
pub async fn ask(
    address: SocketAddr,
    question: Question,
    token: Option<&str>,
) -> anyhow::Result<Health> {
    let asked = timeout(PATIENCE, get(address, question.path(), token)).await;
    asked.with_context(|| format!("no answer from {address} within {PATIENCE:?}"))?
}

async fn get(address: SocketAddr, path: &str, token: Option<&str>) -> anyhow::Result<Health> {
    let stream =
        TcpStream::connect(address).await.with_context(|| format!("failed to reach {address}"))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut request = Request::get(path).header(header::HOST, address.to_string());
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let request = request.body(Empty::<Bytes>::new()).context("failed to make the request")?;
    let exchange = async {
        let response = sender.send_request(request).await.context("failed to ask")?;
        let healthy = response.status().is_success();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body =
            body.map_err(|error| anyhow::anyhow!(error)).context("failed to read the answer")?;
        anyhow::Ok(Health { healthy, text: String::from_utf8_lossy(&body.to_bytes()).into_owned() })
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
