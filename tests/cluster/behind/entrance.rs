//! Requests to a proxy as they stand on the wire: for a name, from an address, over TLS or not.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    process::Command,
    sync::{Arc, LazyLock},
    time::Duration,
};

use headcount_testkit::waiting::PATIENCE;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    net::TcpSocket,
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};

/// The host of its own in the files, and the site with Headcount below a path.
pub(super) const OWN_HOST: &str = "count.example";
pub(super) const YOUR_SITE: &str = "site.example";
/// A name that no file knows.
pub(super) const STRANGE: &str = "strange.example";

/// A client of this machine that has done nothing yet.
pub(super) const USUAL: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// A certificate for all these names, signed by itself. Made once for all tests of the program.
pub(super) static CERTIFICATE: LazyLock<Certificate> = LazyLock::new(Certificate::make);

/// In PEM.
pub(super) struct Certificate {
    pub(super) chain: String,
    pub(super) key: String,
}

/// Where a proxy accepts, and whether it speaks TLS there.
pub(super) struct Entrance {
    pub(super) address: SocketAddr,
    connector: Option<TlsConnector>,
}

/// A connection to a proxy.
pub(super) struct Connection(BufReader<Box<dyn Stream>>);

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// In lower case.
    pub(super) head: String,
    pub(super) body: String,
}

impl Certificate {
    fn make() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let names = [OWN_HOST, YOUR_SITE, STRANGE].map(|name| format!("DNS:{name}")).join(",");
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
            .args(["-nodes", "-days", "2", "-keyout", "key", "-out", "chain", "-subj", "/CN=test"])
            .args(["-addext", &format!("subjectAltName={names}")])
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .current_dir(directory.path())
            .output()
            .expect("openssl is installed; scripts/test does it");
        assert!(made.status.success(), "{made:?}");
        let read = |name| std::fs::read_to_string(directory.path().join(name)).expect("it is made");
        Self { chain: read("chain"), key: read("key") }
    }
}

impl Entrance {
    /// One without TLS.
    pub(super) fn plain(address: SocketAddr) -> Self {
        Self { address, connector: None }
    }

    /// One that has our certificate.
    pub(super) fn secure(address: SocketAddr) -> Self {
        let chain = CertificateDer::from_pem_slice(CERTIFICATE.chain.as_bytes());
        let mut roots = RootCertStore::empty();
        roots.add(chain.expect("it is PEM")).expect("it is a certificate");
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has them")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { address, connector: Some(TlsConnector::from(Arc::new(config))) }
    }

    /// Connects from this address, for a host of this name.
    pub(super) async fn connect(&self, host: &str, from: Ipv4Addr) -> Result<Connection, String> {
        let attempt = async {
            let socket = TcpSocket::new_v4()?;
            socket.bind(SocketAddr::from((from, 0)))?;
            let stream = socket.connect(self.address).await?;
            stream.set_nodelay(true)?;
            let stream: Box<dyn Stream> = match &self.connector {
                None => Box::new(stream),
                Some(connector) => {
                    let name = ServerName::try_from(host.to_owned()).expect("it is a name");
                    Box::new(connector.connect(name, stream).await?)
                }
            };
            Ok::<_, std::io::Error>(Connection(BufReader::new(stream)))
        };
        let attempt = timeout(PATIENCE, attempt).await.expect("it is decided in time");
        attempt.map_err(|error| format!("failed to connect to {}: {error}", self.address))
    }

    /// Asks for a path on a connection of its own.
    pub(super) async fn get(&self, host: &str, path: &str, headers: &str) -> Answer {
        let mut connection = self.connect(host, USUAL).await.expect("it accepts");
        let headers = format!("connection: close\r\n{headers}");
        connection.ask(&format!("https://{host}{path}"), &headers).await.expect("an answer")
    }
}

impl Connection {
    /// Asks for an address, and reads the whole answer.
    pub(super) async fn ask(&mut self, url: &str, headers: &str) -> Result<Answer, String> {
        self.say(url, headers, None).await;
        let answer = timeout(PATIENCE, self.answer()).await.expect("an answer in time");
        answer.map_err(|error| format!("no answer for {url}: {error}"))
    }

    /// The answer to what was said.
    pub(super) async fn answered(&mut self) -> Answer {
        timeout(PATIENCE, self.answer()).await.expect("an answer in time").expect("an answer")
    }

    /// Sends a request: a post if there is a body.
    pub(super) async fn say(&mut self, url: &str, headers: &str, body: Option<&str>) {
        let (_, rest) = url.split_once("://").expect("a whole address");
        let (host, path) = rest.split_once('/').expect("a path");
        let (method, length) = match body {
            None => ("GET", String::new()),
            Some(body) => ("POST", format!("content-length: {}\r\n", body.len())),
        };
        let body = body.unwrap_or_default();
        let request =
            format!("{method} /{path} HTTP/1.1\r\nhost: {host}\r\n{headers}{length}\r\n{body}");
        // Whether it was taken is seen by its answer.
        let _ = self.0.write_all(request.as_bytes()).await;
        let _ = self.0.flush().await;
    }

    /// One line, without its end; `None` at the end of the connection.
    pub(super) async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = timeout(PATIENCE, self.0.read_line(&mut line)).await.expect("a line in time");
        read.is_ok_and(|bytes| bytes > 0).then(|| line.trim_end().to_owned())
    }

    /// Whether nothing comes and nothing ends for a while.
    pub(super) async fn is_silent(&mut self, length: Duration) -> bool {
        timeout(length, self.0.fill_buf()).await.is_err()
    }

    async fn answer(&mut self) -> Result<Answer, String> {
        let mut head = String::new();
        loop {
            let before = head.len();
            let read = self.0.read_line(&mut head).await.map_err(|error| error.to_string())?;
            if read == 0 {
                return Err(format!("the connection ended after {head:?}"));
            }
            if head[before..].trim().is_empty() {
                break;
            }
        }
        let head = head.to_lowercase();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let mut answer = Answer { status: status.ok_or("no status")?, head, body: String::new() };
        let mut body = Vec::new();
        if let Some(length) = answer.header("content-length") {
            body.resize(length.parse().map_err(|_| "no length")?, 0);
            self.0.read_exact(&mut body).await.map_err(|error| error.to_string())?;
        } else if answer.header("transfer-encoding").is_some() {
            body = self.chunks().await.ok_or("the body ended early")?;
        }
        answer.body = String::from_utf8_lossy(&body).into_owned();
        Ok(answer)
    }

    async fn chunks(&mut self) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let length = usize::from_str_radix(self.line().await?.trim(), 16).ok()?;
            let start = body.len();
            body.resize(start + length, 0);
            self.0.read_exact(&mut body[start..]).await.ok()?;
            self.line().await?;
            if length == 0 {
                return Some(body);
            }
        }
    }
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim))
    }

    /// The name and the value of the cookie that it sets.
    pub(super) fn cookie(&self) -> Option<&str> {
        self.header("set-cookie")?.split(';').next()
    }
}

impl fmt::Debug for Entrance {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the entrance at {}", self.address)
    }
}
