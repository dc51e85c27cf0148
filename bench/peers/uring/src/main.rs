//! The limit of `io_uring`: the sends of one emission go to the kernel in batches. It owns only the way of
//! sending; accepting and reading are those of the epoll peer.
//!
//! It is here for comparison: container runtimes forbid `io_uring` by default.

use std::os::fd::{AsRawFd, BorrowedFd};

use anyhow::{Context, Result};
use clap::Parser;
use io_uring::{IoUring, opcode, squeue, types};
use peer_epoll::{
    client::{Client, Clients, Token},
    server::{self, Fanout},
    settings::Settings,
};
use rustix::net::SendFlags;

/// Sends submitted at a time; larger batches gained nothing.
const BATCH: usize = 512;
/// The size of the ring: enough for a batch and its failures.
const ENTRIES: u32 = 1024;

fn main() -> Result<()> {
    let mut builder = IoUring::builder();
    builder.setup_single_issuer().setup_defer_taskrun();
    let ring = builder.build(ENTRIES).context("this kernel has no io_uring, or forbids it")?;
    server::serve(&Settings::parse(), Batches { ring })
}

struct Batches {
    ring: IoUring,
}

impl Fanout for Batches {
    fn send_to(&mut self, frame: &[u8], told: &[Token], clients: &mut Clients) -> Result<()> {
        for batch in told.chunks(BATCH) {
            for &token in batch {
                if let Some(client) = clients.get_mut(token) {
                    self.queue(frame, token, client)?;
                }
            }
            self.submit(frame, clients)?;
        }
        Ok(())
    }
}

impl Batches {
    fn queue(&mut self, frame: &[u8], token: Token, client: &mut Client) -> Result<()> {
        if client.has_rest() {
            client.send(frame);
            return Ok(());
        }
        let socket: BorrowedFd<'_> = std::os::fd::AsFd::as_fd(&client.stream);
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let length = u32::try_from(frame.len()).context("a frame is short")?;
        let entry = opcode::Send::new(types::Fd(socket.as_raw_fd()), frame.as_ptr(), length)
            .flags(i32::try_from(flags.bits()).context("flags are small")?)
            .build()
            .user_data(token.0);
        push(&mut self.ring.submission(), &entry)
    }

    /// Submits the batch and waits. When this returns the kernel is done with the frame.
    fn submit(&mut self, frame: &[u8], clients: &mut Clients) -> Result<()> {
        let queued = self.ring.submission().len();
        if queued == 0 {
            return Ok(());
        }
        self.ring.submit_and_wait(queued).context("failed to submit sends")?;
        for done in self.ring.completion() {
            let sent = usize::try_from(done.result()).unwrap_or(frame.len());
            if let Some(client) = clients.get_mut(Token(done.user_data()))
                && sent < frame.len()
            {
                client.keep_rest(&frame[sent..]);
            }
        }
        Ok(())
    }
}

#[allow(unsafe_code, reason = "the ring takes raw pointers; there is no safe way to push an entry")]
fn push(queue: &mut squeue::SubmissionQueue<'_>, entry: &squeue::Entry) -> Result<()> {
    // SAFETY: the frame and the sockets outlive the entry: `Batches::submit` waits for every entry to
    // complete before `send_to` returns, and nothing is dropped meanwhile.
    unsafe { queue.push(entry) }.context("the ring holds more than a batch")
}
