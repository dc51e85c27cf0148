//! The limit on ordinary sockets: one `send()` of the encoded frame per client. It owns only the way of
//! sending; the rest is in the library.

use anyhow::Result;
use clap::Parser;
use peer_epoll::{
    client::{Clients, Token},
    server::{self, Fanout},
    settings::Settings,
};

fn main() -> Result<()> {
    server::serve(&Settings::parse(), OneByOne)
}

#[derive(Debug)]
struct OneByOne;

impl Fanout for OneByOne {
    fn send_to(&mut self, frame: &[u8], told: &[Token], clients: &mut Clients) -> Result<()> {
        for &token in told {
            if let Some(client) = clients.get_mut(token) {
                client.send(frame);
            }
        }
        Ok(())
    }
}
