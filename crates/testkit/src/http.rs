//! A small HTTP/1.1 client: one connection for each request, and the whole body in memory.
//!
//! It knows nothing of Socket.IO, never retries, and follows no redirects.

use std::net::SocketAddr;

use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Method, Request, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// The answer to a request.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// All headers.
    pub headers: HeaderMap,
    /// The body. What is not UTF-8 in it is replaced.
    pub body: String,
}

/// Fetches a path.
pub async fn get(server: SocketAddr, path: &str) -> Result<Answer, String> {
    get_with(server, path, &[]).await
}

/// Fetches a path, and sends these headers.
pub async fn get_with(
    server: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
) -> Result<Answer, String> {
    send(server, Method::GET, path, String::new(), headers).await
}

impl Answer {
    /// The value of a header, which is empty if the header is missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// Posts a text.
pub async fn post(server: SocketAddr, path: &str, body: String) -> Result<Answer, String> {
    send(server, Method::POST, path, body, &[]).await
}

async fn send(
    server: SocketAddr,
    method: Method,
    path: &str,
    body: String,
    headers: &[(&str, &str)],
) -> Result<Answer, String> {
    let attempt = async {
        let stream = TcpStream::connect(server).await?;
        stream.set_nodelay(true)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let request = headers
            .iter()
            .fold(Request::builder(), |request, (name, value)| request.header(*name, *value));
        let request = request
            .method(&method)
            .uri(path)
            .header(header::HOST, server.to_string())
            // Without this header the server would take the end of the connection for the end of a polling client.
            .header(header::CONNECTION, "close")
            .header(header::CONTENT_TYPE, "text/plain;charset=UTF-8")
            .body(Full::new(Bytes::from(body)))?;
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let body = response.into_body().collect().await?.to_bytes();
        connection.abort();
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(Answer {
            status,
            headers,
            body: String::from_utf8_lossy(&body).into_owned(),
        })
    };
    attempt.await.map_err(|error| format!("failed to {method} {path} at {server}: {error}"))
}
