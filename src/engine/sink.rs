//! Where the bytes of a websocket go: the kernel, or a stand-in in tests.

use std::{io, sync::Arc};

use socket2::SockRef;
use tokio::net::TcpStream;

/// A destination that takes as many bytes as it has room for, without waiting.
pub trait Sink {
    /// Writes what fits.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if nothing fits. After any other error the sink takes nothing more.
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize>;
}

impl Sink for Arc<TcpStream> {
    /// Asks the kernel at once, without asking the runtime whether the socket is ready. With many sockets that saves a
    /// memory access that misses every cache. Only when nothing fits is the runtime told.
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match SockRef::from(&**self).send(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                TcpStream::try_write(self, bytes)
            }
            done => done,
        }
    }
}
