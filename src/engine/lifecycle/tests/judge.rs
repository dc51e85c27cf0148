//! Judges what the client of one session is told, packet by packet.

/// What a client has found, or what it has to say against the server.
pub(super) type Judged<T = ()> = Result<T, String>;

/// How much the site's count grows with every change. An estimate is another number than the count before it by the clients that have
/// come or gone since, which are fewer.
pub(super) const GROWTH: u64 = 1000;

/// The client's place in a namespace, as far as it knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Outside,
    /// It has asked to join. Counts may still come if it was there before.
    Asks {
        was_there: bool,
    },
    Joined {
        is_told: bool,
    },
    /// It has left. Counts may still come.
    Leaves,
}

/// What the client of a session knows of it.
#[derive(Debug)]
pub(super) struct Judge {
    pub(super) sid: String,
    /// Nobody else is in this room.
    pub(super) room: String,
    site: Place,
    private: Place,
    /// The change that made the last count of the site. None is older than one before.
    told: u64,
    /// The pings that wait for an answer.
    pub(super) pings: usize,
}

impl Judge {
    pub(super) fn new(room: &str) -> Self {
        let (sid, outside) = (String::new(), Place::Outside);
        Self { sid, room: room.to_owned(), site: outside, private: outside, told: 0, pings: 0 }
    }

    /// Takes in the first packet of the session.
    pub(super) fn opens(&mut self, opening: &str) -> Judged {
        let sid = opening.strip_prefix("0{\"sid\":\"").and_then(|rest| rest.split('"').next());
        self.sid = sid.ok_or(format!("{opening:?} instead of the opening"))?.to_owned();
        Ok(())
    }

    /// Records what the client says.
    pub(super) fn says(&mut self, packet: &str) {
        let is_site = packet.len() == 2;
        let place = if is_site { &mut self.site } else { &mut self.private };
        *place = match (&packet[..2], *place) {
            ("40", place) => Place::Asks { was_there: place == Place::Leaves },
            _ => Place::Leaves,
        };
    }

    /// Whether all that the client asked for is done.
    pub(super) fn is_settled(&self) -> bool {
        let is_done = |place| matches!(place, Place::Joined { is_told: true } | Place::Outside);
        is_done(self.site) && is_done(self.private)
    }

    /// Judges a packet of the session.
    pub(super) fn hear(&mut self, packet: &str) -> Judged {
        let wrong = || Err(format!("told {packet:?}"));
        if packet == "2" {
            self.pings += 1;
            return Ok(());
        }
        let is_of_site = !packet[2.min(packet.len())..].starts_with('/');
        let rest = if is_of_site {
            packet.get(2..)
        } else {
            packet[2..].strip_prefix(&*self.room).and_then(|rest| rest.strip_prefix(','))
        };
        let Some(rest) = rest else { return wrong() };
        let (place, other) = if is_of_site {
            (&mut self.site, &mut self.private)
        } else {
            (&mut self.private, &mut self.site)
        };
        match &packet[..2] {
            "40" if rest == format!("{{\"sid\":\"{}\"}}", self.sid) => {
                if !matches!(place, Place::Asks { .. }) {
                    return wrong();
                }
                *place = Place::Joined { is_told: false };
                // The server has acted on everything before.
                if *other == Place::Leaves {
                    *other = Place::Outside;
                }
                Ok(())
            }
            "42" => {
                let users =
                    rest.strip_prefix("[\"user count\",").and_then(|it| it.strip_suffix(']'));
                let Some(users) = users.and_then(|users| users.parse::<u64>().ok()) else {
                    return wrong();
                };
                match place {
                    Place::Joined { is_told } => *is_told = true,
                    Place::Asks { was_there: true } | Place::Leaves => {}
                    Place::Asks { was_there: false } | Place::Outside => return wrong(),
                }
                if !is_of_site {
                    return if users == 1 { Ok(()) } else { wrong() };
                }
                let before = std::mem::replace(&mut self.told, (users + GROWTH / 2) / GROWTH);
                if self.told < before { wrong() } else { Ok(()) }
            }
            _ => wrong(),
        }
    }
}
