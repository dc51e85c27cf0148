//! The bytes of one TCP connection: sent as they are, and received until they hold what is looked for.
//!
//! A visitor that waits owns no read buffer: bytes are read into one on the stack, and only what a message
//! leaves behind is kept.

use std::{future::poll_fn, io, pin::Pin};

use tokio::{
    io::{AsyncRead, AsyncWriteExt, ReadBuf},
    net::TcpStream,
};

use super::fault::Fault;
use crate::config::load::Target;

/// Bytes read at once: many counts fit in, and it is cheap to have on the stack.
const READ_BYTES: usize = 4096;
/// Room for one count, kept from message to message; more than that is given back.
const KEPT_BYTES: usize = 64;

/// What a search in received bytes comes to: nothing yet, or what was found and how many bytes it took.
pub(super) type Found<T> = Result<Option<(T, usize)>, Fault>;

/// An open connection.
#[derive(Debug)]
pub(super) struct Wire {
    stream: TcpStream,
    /// Received, but not yet looked for.
    unread: Vec<u8>,
}

impl Wire {
    /// Connects.
    pub(super) async fn open(target: &Target) -> Result<Self, Fault> {
        let stream = TcpStream::connect(target.authority()).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, unread: Vec::new() })
    }

    /// Sends all of it.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        Ok(self.stream.write_all(bytes).await?)
    }

    /// Receives until `find` finds something. Dropping the future loses no bytes.
    pub(super) async fn take<T>(&mut self, find: impl Fn(&[u8]) -> Found<T>) -> Result<T, Fault> {
        loop {
            if !self.unread.is_empty()
                && let Some((found, length)) = find(&self.unread)?
            {
                self.unread.drain(..length);
                if self.unread.is_empty() {
                    self.unread.shrink_to(KEPT_BYTES);
                }
                return Ok(found);
            }
            if self.receive().await? == 0 {
                return Err(Fault::Closed);
            }
        }
    }

    /// Receives and forgets everything until the server closes.
    pub(super) async fn drain(&mut self) -> Result<(), Fault> {
        while self.receive().await? > 0 {
            self.unread.clear();
        }
        Ok(())
    }

    /// Appends what comes next; 0 if nothing will.
    async fn receive(&mut self) -> io::Result<usize> {
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
