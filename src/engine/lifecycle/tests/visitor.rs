//! A client that comes, joins the site and a room, leaves both, joins again, and goes.

use std::sync::Arc;

use super::{
    judge::{Judge, Judged},
    wire::Wire,
};
use crate::http::serve::tests::Server;

const SEPARATOR: &str = "\u{1e}";

/// What carries a client's session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carried {
    Websocket,
    Polls,
    /// Polls, and then a websocket.
    Both,
}

/// How a client sends its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// Polls on one connection and posts on another one.
    Plain,
    /// The same, in a form that the fast path leaves to the HTTP server.
    Unusual,
    /// Each post and the poll after it with one write.
    Pipelined,
}

/// How a client goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Farewell {
    /// It says so.
    Packet,
    /// It closes the websocket. By polling it says so.
    Frame,
    /// It cuts the connection.
    Cut,
}

/// One visit of a client.
pub(super) struct Visit {
    server: Arc<Server>,
    manner: Manner,
    judge: Judge,
}

/// What is left of a visit.
pub(super) enum Left {
    /// The client has read the end of its session.
    Nothing,
    /// The server finds out by itself that the client is gone.
    Unknown,
}

impl Visit {
    /// Visits the server.
    ///
    /// # Errors
    /// What the server has done wrong.
    pub(super) async fn make(
        server: &Arc<Server>,
        carried: Carried,
        manner: Manner,
        farewell: Farewell,
        room: &str,
    ) -> Judged<Left> {
        let mut visit = Self::new(server, manner, room);
        let made = match carried {
            Carried::Websocket => visit.by_websocket(farewell).await,
            Carried::Polls | Carried::Both => {
                visit.by_polls(carried == Carried::Both, farewell).await
            }
        };
        made.map_err(|fault| {
            format!("{carried:?}, {manner:?}, {farewell:?}: {fault}; {:?}", visit.judge)
        })
    }

    fn new(server: &Arc<Server>, manner: Manner, room: &str) -> Self {
        Self { server: Arc::clone(server), manner, judge: Judge::new(room) }
    }

    /// Opens a session, and reads that it has ended: on a websocket, or by a poll.
    ///
    /// # Errors
    /// What the server has done wrong.
    pub(super) async fn come_and_be_sent_away(server: &Arc<Server>, polls: bool) -> Judged {
        let (mut visit, mut wire) =
            (Self::new(server, Manner::Plain, ""), Wire::open(server).await);
        wire.write(&if polls { visit.poll() } else { visit.handshake() }).await;
        let answer = wire.answer().await?;
        let Some((101 | 200, opening)) = answer else { return Err(format!("{answer:?}")) };
        if !polls {
            while wire.frame().await?.is_some() {}
            return Ok(());
        }
        visit.judge.opens(&opening)?;
        wire.write(&visit.poll()).await;
        match wire.answer().await? {
            Some((400, _)) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    }

    fn request(&self, method: &str, more: &str, body: &str) -> Vec<u8> {
        let sid = if self.judge.sid.is_empty() {
            String::new()
        } else {
            format!("&sid={}", self.judge.sid)
        };
        let unusual = if self.manner == Manner::Unusual { "x-unusual: \u{e4}\r\n" } else { "" };
        let length = body.len();
        let length =
            if method == "POST" { format!("content-length: {length}\r\n") } else { String::new() };
        format!(
            "{method} /socket.io/?EIO=4{sid}&transport={more}host: here\r\n{unusual}{length}\r\n{body}"
        )
        .into_bytes()
    }

    fn poll(&self) -> Vec<u8> {
        self.request("GET", "polling HTTP/1.1\r\n", "")
    }

    fn post(&self, packets: &[&str]) -> Vec<u8> {
        self.request("POST", "polling HTTP/1.1\r\n", &packets.join(SEPARATOR))
    }

    fn handshake(&self) -> Vec<u8> {
        let more = "websocket HTTP/1.1\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
            sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        self.request("GET", more, "")
    }

    /// What the client says in its visit, part by part; each part is said when all of the one before is done.
    fn parts(&self) -> [Vec<String>; 4] {
        let text = str::to_owned;
        let (join, leave) = (format!("40{},", self.judge.room), format!("41{},", self.judge.room));
        [
            vec![text("40"), join.clone()],
            vec![text("41"), leave.clone(), text("40")],
            vec![join.clone()],
            vec![leave, text("41"), join],
        ]
    }

    async fn by_websocket(&mut self, farewell: Farewell) -> Judged<Left> {
        let mut wire = Wire::open(&self.server).await;
        wire.write(&self.handshake()).await;
        let Some((101, _)) = wire.answer().await? else {
            return Err("no answer to the handshake".into());
        };
        let opening = wire.frame().await?;
        let Some((0x81, opening)) = opening else {
            return Err(format!("{opening:?} instead of the opening"));
        };
        self.judge.opens(&opening)?;
        let parts = self.parts();
        self.on_websocket(wire, &parts, farewell).await
    }

    /// Goes on with a websocket that carries the session.
    async fn on_websocket(
        &mut self,
        mut wire: Wire,
        parts: &[Vec<String>],
        farewell: Farewell,
    ) -> Judged<Left> {
        for part in parts {
            for packet in part {
                self.judge.says(packet);
            }
            wire.say(&part.iter().map(String::as_str).collect::<Vec<_>>()).await;
            while !self.judge.is_settled() {
                if !self.listen(&mut wire).await? {
                    return Ok(Left::Nothing);
                }
            }
        }
        match farewell {
            Farewell::Packet => wire.say(&["1"]).await,
            Farewell::Frame => wire.close().await,
            Farewell::Cut => return Ok(Left::Unknown),
        }
        while self.listen(&mut wire).await? {}
        Ok(Left::Nothing)
    }

    /// Judges the next frame. Returns false at the end.
    async fn listen(&mut self, wire: &mut Wire) -> Judged<bool> {
        match wire.frame().await? {
            None => return Ok(false),
            Some((0x81, packet)) => self.judge.hear(&packet)?,
            Some(_) => {
                return match wire.frame().await? {
                    None => Ok(false),
                    Some(frame) => Err(format!("{frame:?} after the close")),
                };
            }
        }
        for _ in 0..std::mem::take(&mut self.judge.pings) {
            wire.say(&["3"]).await;
        }
        Ok(true)
    }

    async fn by_polls(&mut self, moves: bool, farewell: Farewell) -> Judged<Left> {
        let (mut polls, mut posts) =
            (Wire::open(&self.server).await, Wire::open(&self.server).await);
        polls.write(&self.poll()).await;
        let opening = polls.answer().await?;
        let Some((200, opening)) = opening else {
            return Err(format!("{opening:?} instead of the opening"));
        };
        self.judge.opens(&opening)?;
        let parts = self.parts();
        let by_polls = if moves { 1 } else { parts.len() };
        for part in &parts[..by_polls] {
            for packet in part {
                self.judge.says(packet);
            }
            let mut said: Vec<&str> = part.iter().map(String::as_str).collect();
            while !self.judge.is_settled() {
                said.extend((0..std::mem::take(&mut self.judge.pings)).map(|_| "3"));
                if !self.exchange(&mut polls, &mut posts, &said).await? {
                    return self.is_gone().await;
                }
                said.clear();
            }
        }
        if moves {
            return self.moves(polls, &parts[by_polls..], farewell).await;
        }
        if farewell == Farewell::Cut {
            polls.write(&self.poll()).await;
            return Ok(Left::Unknown);
        }
        posts.write(&self.post(&["1"])).await;
        if posts.answer().await?.is_none() {
            return Err("no answer to the last post".into());
        }
        self.is_gone().await
    }

    /// Posts packets, if there are any, and polls. Returns false if the session has ended.
    async fn exchange(
        &mut self,
        polls: &mut Wire,
        posts: &mut Wire,
        said: &[&str],
    ) -> Judged<bool> {
        let mut goes_on = true;
        if said.is_empty() {
            polls.write(&self.poll()).await;
        } else if self.manner == Manner::Pipelined {
            polls.write(&[self.post(said), self.poll()].concat()).await;
            goes_on = is_posted(polls.answer().await?)?;
        } else {
            polls.write(&self.poll()).await;
            posts.write(&self.post(said)).await;
            goes_on = is_posted(posts.answer().await?)?;
        }
        match polls.answer().await? {
            // The connection ends after a refusal.
            None if self.manner == Manner::Pipelined && !goes_on => Ok(false),
            None => Err("no answer to a poll".into()),
            Some((200, payload)) => Ok(self.take(&payload)? && goes_on),
            Some((400, _)) => Ok(false),
            Some(other) => Err(format!("a poll is answered with {other:?}")),
        }
    }

    /// Judges the answer to a poll. Returns false if it closes the session.
    fn take(&mut self, payload: &str) -> Judged<bool> {
        if payload == "1" || payload == "6" {
            return Ok(payload == "6");
        }
        payload.split(SEPARATOR).try_for_each(|packet| self.judge.hear(packet)).map(|()| true)
    }

    /// Nothing is left of the session.
    async fn is_gone(&self) -> Judged<Left> {
        let mut wire = Wire::open(&self.server).await;
        wire.write(&self.poll()).await;
        match wire.answer().await? {
            Some((400, _)) => Ok(Left::Nothing),
            other => Err(format!("a poll after the end is answered with {other:?}")),
        }
    }

    /// Moves the session to a websocket while a poll is open, and goes on there.
    async fn moves(
        &mut self,
        mut polls: Wire,
        parts: &[Vec<String>],
        farewell: Farewell,
    ) -> Judged<Left> {
        polls.write(&self.poll()).await;
        let mut wire = Wire::open(&self.server).await;
        wire.write(&self.handshake()).await;
        match wire.answer().await? {
            Some((101, _)) => {}
            Some((400, _)) => return self.is_gone().await,
            other => return Err(format!("the handshake of a move is answered with {other:?}")),
        }
        wire.say(&["2probe"]).await;
        let is_probed = match wire.frame().await? {
            None => false,
            Some((0x81, answer)) if answer == "3probe" => true,
            Some(other) => return Err(format!("{other:?} instead of 3probe")),
        };
        let goes_on = match polls.answer().await? {
            Some((200, payload)) => self.take(&payload)?,
            Some((400, _)) => false,
            other => return Err(format!("the last poll is answered with {other:?}")),
        };
        if !is_probed || !goes_on {
            return self.is_gone().await;
        }
        wire.say(&["5"]).await;
        for _ in 0..std::mem::take(&mut self.judge.pings) {
            wire.say(&["3"]).await;
        }
        self.on_websocket(wire, parts, farewell).await
    }
}

/// Whether a post was taken. One for a session that has ended as a flood is refused as that.
fn is_posted(answer: Option<(u16, String)>) -> Judged<bool> {
    match answer {
        Some((200, body)) if body == "ok" => Ok(true),
        Some((400 | 429, _)) => Ok(false),
        other => Err(format!("a post is answered with {other:?}")),
    }
}
