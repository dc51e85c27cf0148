//! Another web site: one page, served from its own origin, under a strict content security policy.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
};

/// A running site. Dropped, it is gone.
#[derive(Debug)]
pub(super) struct Site {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Site {
    /// Serves a page with this body, whose policy lets in nothing but the script and the websocket of
    /// `server`, as docs/embed.md says.
    pub(super) async fn start(server: SocketAddr, body: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let page = format!(
            "<!doctype html><html lang=en><title>A site</title><link rel=icon href=data:,>{body}"
        );
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {}\r\n\
             content-security-policy: default-src 'none'; img-src data:; script-src http://{server}; \
             connect-src ws://{server}\r\n\
             connection: close\r\n\r\n{page}",
            page.len()
        );
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                // A browser that went away meanwhile does not matter.
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Self { address, task }
    }

    /// Its origin, by a name: the server is known by its number, so they are never the same site.
    pub(super) fn origin(&self) -> String {
        format!("http://localhost:{}", self.address.port())
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.task.abort();
    }
}
