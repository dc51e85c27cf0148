//! The clients: their sockets, the bytes that arrived from them, and the rest of a frame that did not fit.
//! This module never decides when to send.

use std::{
    io::{ErrorKind, Read},
    net::TcpStream,
    os::fd::AsFd,
};

use rustix::net::{SendFlags, send};

/// Names a client. It is the number of its descriptor, so that a lookup is one index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token(pub u64);

/// One connection.
#[derive(Debug)]
pub struct Client {
    /// Its socket, in non-blocking mode.
    pub stream: TcpStream,
    /// Its state.
    pub stage: Stage,
    /// Bytes that arrived and are not yet a whole request or frame.
    arrived: Vec<u8>,
    /// The unsent rest of a frame, which must be sent before any other.
    rest: Vec<u8>,
}

/// The states of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Its request head is awaited.
    Request,
    /// It has a session and has not joined the namespace.
    Opened,
    /// It is counted; this is its place in the list of clients that are told.
    Told(usize),
}

impl Client {
    /// A new connection.
    pub fn new(stream: TcpStream) -> Self {
        Self { stream, stage: Stage::Request, arrived: Vec::new(), rest: Vec::new() }
    }

    /// Sends a frame now or not at all, but never half of it: the rest of the frame before goes first.
    pub fn send(&mut self, frame: &[u8]) {
        if !self.rest.is_empty() {
            let rest = std::mem::take(&mut self.rest);
            self.push(&rest);
            if !self.rest.is_empty() {
                return;
            }
        }
        self.push(frame);
    }

    /// Whether part of a frame is still to be sent.
    pub fn has_rest(&self) -> bool {
        !self.rest.is_empty()
    }

    /// Other code sent the beginning of a frame; this is the rest.
    pub fn keep_rest(&mut self, rest: &[u8]) {
        self.rest = rest.to_vec();
    }

    fn push(&mut self, bytes: &[u8]) {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        // A lost connection shows when it is read.
        if let Ok(sent) = send(self.stream.as_fd(), bytes, flags)
            && sent < bytes.len()
        {
            self.rest = bytes[sent..].to_vec();
        }
    }

    /// Reads what has arrived; `false` if the connection has ended.
    pub fn receive(&mut self, buffer: &mut [u8]) -> bool {
        match self.stream.read(buffer) {
            Ok(0) => false,
            Ok(length) => {
                self.arrived.extend_from_slice(&buffer[..length]);
                true
            }
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        }
    }

    /// The bytes that have arrived and were not taken yet.
    pub fn arrived(&self) -> &[u8] {
        &self.arrived
    }

    /// Takes this number of bytes.
    pub fn take(&mut self, length: usize) {
        self.arrived.drain(..length);
        if self.arrived.is_empty() {
            self.arrived = Vec::new();
        }
    }
}

/// All clients, by token.
#[derive(Debug, Default)]
pub struct Clients {
    slots: Vec<Option<Client>>,
}

impl Clients {
    /// The client with this token, if it is still connected.
    pub fn get_mut(&mut self, token: Token) -> Option<&mut Client> {
        self.slots.get_mut(index(token))?.as_mut()
    }

    /// All clients.
    pub fn all(&mut self) -> impl Iterator<Item = &mut Client> {
        self.slots.iter_mut().flatten()
    }

    /// Adds a client.
    pub fn insert(&mut self, token: Token, client: Client) {
        let index = index(token);
        if self.slots.len() <= index {
            self.slots.resize_with(index + 1, || None);
        }
        self.slots[index] = Some(client);
    }

    /// Removes a client; dropping it closes the connection.
    pub fn remove(&mut self, token: Token) -> Option<Client> {
        self.slots.get_mut(index(token))?.take()
    }
}

fn index(token: Token) -> usize {
    usize::try_from(token.0).expect("a descriptor is a small number")
}
