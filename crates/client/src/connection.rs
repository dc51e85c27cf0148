//! The bytes of one TCP connection: sent as they are, and received until they hold what is looked for.
//!
//! A client that waits owns no read buffer: bytes are read into one on the stack, and only what a message leaves behind is
//! kept.

use std::{future::poll_fn, io, pin::Pin};

use tokio::{
    io::{AsyncRead, AsyncWriteExt, ReadBuf},
    net::TcpStream,
};

use crate::{Decoded, Error};

/// Bytes read at once: many counts fit in, and it is cheap to have on the stack.
const READ_BYTES: usize = 4096;
/// Room for one count, kept from message to message; more than that is given back.
const KEPT_BYTES: usize = 64;

/// An open connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    /// Received, but not yet decoded.
    unread: Vec<u8>,
}

impl Connection {
    /// Connects to a host and port.
    ///
    /// # Errors
    /// If nobody answers there.
    pub async fn open(authority: &str) -> Result<Self, Error> {
        let stream = TcpStream::connect(authority).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, unread: Vec::new() })
    }

    /// Sends all of it. If the future is dropped, a part of it may be sent.
    ///
    /// # Errors
    /// If the connection is lost.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), Error> {
        Ok(self.stream.write_all(bytes).await?)
    }

    /// Sends what is left of `bytes`, and takes away from them what is sent. If the future is dropped, another call goes on
    /// where it stopped.
    ///
    /// # Errors
    /// If the connection is lost.
    pub async fn send_rest(&mut self, bytes: &mut Vec<u8>) -> Result<(), Error> {
        while !bytes.is_empty() {
            let length = self.stream.write(bytes).await?;
            if length == 0 {
                return Err(Error::Closed);
            }
            bytes.drain(..length);
        }
        *bytes = Vec::new();
        Ok(())
    }

    /// Receives until `decode` finds something. Dropping the future loses no bytes.
    ///
    /// # Errors
    /// That of `decode`, or if the connection ends before.
    pub async fn receive<T>(&mut self, decode: impl Fn(&[u8]) -> Decoded<T>) -> Result<T, Error> {
        loop {
            if !self.unread.is_empty()
                && let Some((found, length)) = decode(&self.unread)?
            {
                self.unread.drain(..length);
                if self.unread.is_empty() {
                    self.unread.shrink_to(KEPT_BYTES);
                }
                return Ok(found);
            }
            if self.read().await? == 0 {
                return Err(Error::Closed);
            }
        }
    }

    /// Receives and forgets everything until the server closes.
    ///
    /// # Errors
    /// If the connection is lost.
    pub async fn drain(&mut self) -> Result<(), Error> {
        while self.read().await? > 0 {
            self.unread.clear();
        }
        Ok(())
    }

    /// Appends what comes next; 0 if nothing will.
    async fn read(&mut self) -> io::Result<usize> {
        let Self { stream, unread } = self;
        poll_fn(|context| {
            let mut bytes = [0; READ_BYTES];
            let mut buffer = ReadBuf::new(&mut bytes);
            // Not `readable` and `try_read`: after a short read this one spares the call that finds nothing.
            let read = Pin::new(&mut *stream).poll_read(context, &mut buffer);
            read.map_ok(|()| {
                unread.extend_from_slice(buffer.filled());
                buffer.filled().len()
            })
        })
        .await
    }
}
