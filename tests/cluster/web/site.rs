//! Another web site: pages and scripts, served from a different origin, under a strict content security policy.

use std::{net::SocketAddr, path::Path, sync::Arc};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// A running site. It ends when this value is dropped.
#[derive(Debug)]
pub(super) struct Site {
    address: SocketAddr,
    task: JoinHandle<()>,
}

/// A file of a site: the start of its path, and what it contains. A path that ends with `.js` is a script's, and any other
/// one a page's.
pub(super) type File = (&'static str, String);

/// Pages whose path begins so are sandboxed: they have no origin, and browsers let them store nothing.
pub(super) const SANDBOXED: &str = "/sandboxed";

impl Site {
    /// Serves a page with this body at every path. Its policy allows only the script and the websocket of `server`, like
    /// in docs/embed.md.
    pub(super) async fn start(server: SocketAddr, body: &str) -> Self {
        Self::of_files(server, vec![("/", body.to_owned())]).await
    }

    /// Serves the first file whose path the requested one begins with. The policy also allows scripts of the site, and requests to it.
    pub(super) async fn of_files(server: SocketAddr, files: Vec<File>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let files = Arc::new(files);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // Browsers open connections before they need them.
                tokio::spawn(answer(stream, server, Arc::clone(&files)));
            }
        });
        Self { address, task }
    }

    /// Its origin with a host name. The server is addressed by a number, so they are never the same site.
    pub(super) fn origin(&self) -> String {
        format!("http://localhost:{}", self.address.port())
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Answers one request. A browser that has disconnected is no problem.
async fn answer(stream: TcpStream, server: SocketAddr, files: Arc<Vec<File>>) {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    if stream.read_line(&mut line).await.is_err() {
        return;
    }
    let mut head = String::new();
    while stream.read_line(&mut head).await.is_ok_and(|bytes| bytes > 2) {
        head.clear();
    }
    let path = line.split(' ').nth(1).unwrap_or_default();
    let file = files.iter().find(|(start, _)| path.starts_with(start));
    let answer = match file {
        Some((path, script)) if Path::new(path).extension().is_some_and(|kind| kind == "js") => {
            with_head("text/javascript", server, "", script)
        }
        Some((_, body)) => {
            let start = "<!doctype html><html lang=en><meta charset=utf-8><title>A site</title>\
                <link rel=icon href=data:,>";
            let sandbox = if path.starts_with(SANDBOXED) { "; sandbox allow-scripts" } else { "" };
            with_head("text/html", server, sandbox, &format!("{start}{body}"))
        }
        None => {
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_owned()
        }
    };
    let _ = stream.write_all(answer.as_bytes()).await;
}

fn with_head(media_type: &str, server: SocketAddr, sandbox: &str, content: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {media_type}\r\ncontent-length: {}\r\n\
         content-security-policy: default-src 'none'; img-src data:; script-src 'self' http://{server}; \
         connect-src 'self' http://{server} ws://{server}{sandbox}\r\n\
         connection: close\r\n\r\n{content}",
        content.len()
    )
}
