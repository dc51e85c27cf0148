//! Fetches a key set: one request, bounded in time and size. It follows no redirect, and does not compress.

use std::{fmt, sync::Arc, time::Duration};

use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::{body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::spawn_blocking,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::{
    jwk::{self, Publicity, ReadSet},
    key_file::KEY_FILE_BYTES_MAX,
    sources::JwksUrl,
};
use crate::telemetry::{escaped::Escaped, labels::JwksResult};

/// How long a request may take, with the look-up of the name and the handshake of TLS.
pub(super) const FETCH_MAX: Duration = Duration::from_secs(5);
/// The longest answer that is read, in bytes: that of a file.
pub(super) const JWKS_BYTES_MAX: usize = KEY_FILE_BYTES_MAX;
/// The longest head of an answer, in bytes. Issuers behind content networks send some kilobytes.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// What this program calls itself.
const USER_AGENT: &str = concat!("headcount/", env!("CARGO_PKG_VERSION"));

/// Why keys could not be fetched.
#[derive(Debug)]
pub(super) enum FetchError {
    Unreachable(Escaped),
    Timeout,
    Status(StatusCode),
    TooLarge,
    Malformed(String),
}

impl FetchError {
    /// The outcome as the metric counts it.
    pub(super) fn result(&self) -> JwksResult {
        match self {
            Self::Unreachable(_) => JwksResult::Unreachable,
            Self::Timeout => JwksResult::Timeout,
            Self::Status(_) => JwksResult::Status,
            Self::TooLarge => JwksResult::TooLarge,
            Self::Malformed(_) => JwksResult::Malformed,
        }
    }

    fn unreachable(error: impl fmt::Display) -> Self {
        Self::Unreachable(Escaped::new(&error.to_string()))
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(error) => write!(f, "no answer: {error}"),
            Self::Timeout => write!(f, "no answer within {FETCH_MAX:?}"),
            Self::Status(status) if status.is_redirection() => {
                write!(f, "status {status}: redirects are not followed")
            }
            Self::Status(status) => write!(f, "status {status}"),
            Self::TooLarge => write!(f, "more than {JWKS_BYTES_MAX} bytes"),
            Self::Malformed(why) => f.write_str(why),
        }
    }
}

/// Fetches the keys at an address. The result has at least one usable key.
pub(super) async fn fetch(url: &JwksUrl) -> Result<ReadSet, FetchError> {
    let body = timeout(FETCH_MAX, get(url)).await.unwrap_or(Err(FetchError::Timeout))?;
    let set = jwk::read(&body, Publicity::Public);
    let set = set.map_err(|why| FetchError::Malformed(why.to_string()))?;
    if !set.keys.is_empty() {
        return Ok(set);
    }
    let why = set
        .unused
        .first()
        .map_or("it is empty".to_owned(), |(number, why)| format!("of key {number}: {why}"));
    Err(FetchError::Malformed(format!("the set has no key that can be used ({why})")))
}

async fn get(url: &JwksUrl) -> Result<Bytes, FetchError> {
    let stream = TcpStream::connect((url.host(), url.port())).await;
    let stream = stream.map_err(FetchError::unreachable)?;
    if !url.is_tls() {
        return exchange(url, stream).await;
    }
    let name = url.server_name().map_err(FetchError::unreachable)?;
    let stream = tls().await?.connect(name, stream).await.map_err(FetchError::unreachable)?;
    exchange(url, stream).await
}

/// TLS that trusts what this system trusts, as connections to Redis do. The certificates are read for every request, so that
/// changed ones are noticed.
async fn tls() -> Result<TlsConnector, FetchError> {
    let found = spawn_blocking(rustls_native_certs::load_native_certs).await;
    let found = found.map_err(FetchError::unreachable)?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(FetchError::unreachable("this system has no root certificates"));
    }
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(FetchError::unreachable)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

async fn exchange(
    url: &JwksUrl,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<Bytes, FetchError> {
    let handshake =
        http1::Builder::new().max_buf_size(HEAD_BYTES_MAX).handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(FetchError::unreachable)?;
    let request = Request::get(url.target())
        .header(header::HOST, url.authority())
        .header(header::ACCEPT, "application/json")
        .header(header::USER_AGENT, USER_AGENT)
        .body(Empty::<Bytes>::new())
        .map_err(FetchError::unreachable)?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(FetchError::unreachable)?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status(response.status()));
        }
        let body = Limited::new(response.into_body(), JWKS_BYTES_MAX).collect().await;
        let body = body.map_err(|error| match error.downcast::<LengthLimitError>() {
            Ok(_) => FetchError::TooLarge,
            Err(error) => FetchError::unreachable(error),
        })?;
        Ok(body.to_bytes())
    };
    tokio::pin!(exchange, connection);
    tokio::select! {
        answer = &mut exchange => answer,
        ended = &mut connection => {
            ended.map_err(FetchError::unreachable)?;
            exchange.await
        }
    }
}
