//! The limit of wrong admin tokens, for each sender by its address. No clock: times are passed in.
//!
//! A token that is right is refused only to a sender who has shown too many wrong ones himself: otherwise anybody could keep
//! Prometheus and operators out. A guess that is refused is not looked at, so a guesser learns nothing beyond the rate.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
};

use tokio::time::Instant;

use super::{admin_token::AdminToken, rate_limit::TokenBucket};

/// Wrong tokens of one sender that are looked at at once.
pub const WRONG_BURST: u32 = 5;
/// Wrong tokens of one sender that are looked at each second from then on.
pub const WRONG_PER_SECOND: u32 = 1;
/// The most senders with wrong tokens that are told apart: 100 kB. All beyond them share one limit.
const SENDERS_MAX: usize = 1024;
/// The most senders that are remembered because they had the right token: some scrapers and operators.
const PROVEN_MAX: usize = 64;

/// What became of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tried {
    /// It is the token.
    Right,
    /// It is not.
    Wrong,
    /// It was not looked at.
    TooOften,
}

/// What senders have tried.
#[derive(Debug)]
pub struct Guesses {
    senders: HashMap<Sender, Record>,
    /// The limit of all senders for whom the table has no place.
    others: TokenBucket,
}

/// Who sends: an IPv4 address, or a network of IPv6, within which one sender can have any number of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Sender(IpAddr);

#[derive(Debug)]
struct Record {
    wrong: TokenBucket,
    /// The last wrong token. To show it once more is no guess: a program with an old token must not use up the limit of those
    /// behind the same address.
    last_wrong: Option<[u8; 32]>,
    /// When this sender last showed the right token. The table keeps it then.
    proven_at: Option<Instant>,
}

impl Guesses {
    /// Nobody has tried anything yet.
    pub fn new(now: Instant) -> Self {
        Self { senders: HashMap::new(), others: full_bucket(now) }
    }

    /// Tries a token that was sent from this address.
    pub fn try_token(
        &mut self,
        token: &AdminToken,
        presented: &str,
        from: IpAddr,
        now: Instant,
    ) -> Tried {
        let sender = Sender::at(from);
        let code = token.code_of(presented);
        self.make_room_for(sender, now);
        let has_place = self.senders.contains_key(&sender) || self.senders.len() < SENDERS_MAX;
        let record = has_place.then(|| self.senders.entry(sender).or_insert(Record::new(now)));
        if record.as_ref().is_some_and(|record| record.last_wrong.as_ref() == Some(&code)) {
            return Tried::Wrong;
        }
        let (wrong, last_wrong) = match record {
            Some(record) => (&mut record.wrong, Some(&mut record.last_wrong)),
            None => (&mut self.others, None),
        };
        if !wrong.has(1, now) {
            return Tried::TooOften;
        }
        if token.is(presented) {
            self.remember(sender, now);
            return Tried::Right;
        }
        wrong.spend(1, now);
        if let Some(last_wrong) = last_wrong {
            *last_wrong = Some(code);
        }
        Tried::Wrong
    }

    /// Forgets senders of whom nothing need be known any more, if the table is full.
    fn make_room_for(&mut self, sender: Sender, now: Instant) {
        if self.senders.len() < SENDERS_MAX || self.senders.contains_key(&sender) {
            return;
        }
        self.senders.retain(|_, record| {
            record.proven_at.is_some() || !record.wrong.has(WRONG_BURST.into(), now)
        });
    }

    /// Keeps a sender who has the token, so that no number of others takes his place.
    fn remember(&mut self, sender: Sender, now: Instant) {
        let record = self.senders.entry(sender).or_insert(Record::new(now));
        if record.proven_at.replace(now).is_some() {
            return;
        }
        let proven = self.senders.values().filter_map(|record| record.proven_at);
        if proven.clone().count() <= PROVEN_MAX {
            return;
        }
        let oldest = proven.min();
        if let Some(record) = self.senders.values_mut().find(|record| record.proven_at == oldest) {
            record.proven_at = None;
        }
    }
}

impl Sender {
    fn at(address: IpAddr) -> Self {
        let IpAddr::V6(address) = address.to_canonical() else {
            return Self(address.to_canonical());
        };
        let [a, b, c, d, ..] = address.segments();
        Self(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into())
    }
}

impl Record {
    fn new(now: Instant) -> Self {
        Self { wrong: full_bucket(now), last_wrong: None, proven_at: None }
    }
}

fn full_bucket(now: Instant) -> TokenBucket {
    TokenBucket::new(WRONG_BURST, WRONG_PER_SECOND, now)
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, time::Duration};

    use super::*;

    const TOKEN: &str = "swordfish-swordfish";
    const SECOND: Duration = Duration::from_secs(1);

    struct Stage {
        token: AdminToken,
        guesses: Guesses,
        now: Instant,
        made: u64,
    }

    impl Stage {
        fn new() -> Self {
            let (token, now) = (AdminToken::parse(TOKEN).unwrap(), Instant::now());
            Self { token, guesses: Guesses::new(now), now, made: 0 }
        }

        fn shows(&mut self, from: &str, presented: &str) -> Tried {
            self.guesses.try_token(&self.token, presented, from.parse().unwrap(), self.now)
        }

        /// A token that nobody has shown before.
        fn guesses(&mut self, from: &str) -> Tried {
            self.made += 1;
            self.shows(from, &format!("guess-{}", self.made))
        }
    }

    /// Goal: after five wrong tokens of a sender none of his is looked at, not even the right one, until some time has passed,
    /// and nobody else notices. Method: a clock that stands still, then moves.
    #[test]
    fn a_guesser_is_limited_and_nobody_else() {
        let mut stage = Stage::new();
        for _ in 0..WRONG_BURST {
            assert_eq!(stage.guesses("10.0.0.1"), Tried::Wrong);
        }
        assert_eq!(stage.guesses("10.0.0.1"), Tried::TooOften);
        assert_eq!(stage.shows("10.0.0.1", TOKEN), Tried::TooOften);
        assert_eq!(stage.shows("::ffff:10.0.0.1", TOKEN), Tried::TooOften, "the same address");
        assert_eq!(stage.shows("10.0.0.2", TOKEN), Tried::Right);
        stage.now += SECOND;
        assert_eq!(stage.shows("10.0.0.1", TOKEN), Tried::Right);
        assert_eq!(stage.shows("10.0.0.1", TOKEN), Tried::Right, "the right token costs nothing");
        assert_eq!(stage.guesses("10.0.0.1"), Tried::Wrong);
        assert_eq!(stage.shows("10.0.0.1", TOKEN), Tried::TooOften);
    }

    /// Goal: whoever has a network of IPv6 has one limit. Method: many addresses of one, and one of another.
    #[test]
    fn a_network_is_one_sender() {
        let mut stage = Stage::new();
        for host in 1..=WRONG_BURST {
            assert_eq!(stage.guesses(&format!("2001:db8:0:1::{host:x}")), Tried::Wrong);
        }
        assert_eq!(stage.guesses("2001:db8:0:1:ffff::9"), Tried::TooOften);
        assert_eq!(stage.guesses("2001:db8:0:2::1"), Tried::Wrong);
    }

    /// Goal: a program that shows an old token again and again keeps nobody behind its address out. Method: a hundred times the
    /// same one, beside an operator with the right one.
    #[test]
    fn the_same_wrong_token_is_no_guess() {
        let mut stage = Stage::new();
        for _ in 0..100 {
            assert_eq!(stage.shows("10.0.0.1", "an-old-token-of-ours"), Tried::Wrong);
            assert_eq!(stage.shows("10.0.0.1", TOKEN), Tried::Right);
        }
    }

    /// Goal: memory is bounded, and senders without number share one limit, which keeps out neither who had the right token
    /// before nor, once they stop, anybody. Method: more guessers than have a place; before them an operator, after them another.
    #[test]
    fn a_full_table_keeps_its_proven_senders() {
        let mut stage = Stage::new();
        assert_eq!(stage.shows("192.0.2.1", TOKEN), Tried::Right);
        let address = |number: u32| Ipv4Addr::from_bits(0x0a00_0000 + number).to_string();
        for number in 0..2000 {
            stage.guesses(&address(number));
        }
        assert_eq!(stage.guesses.senders.len(), SENDERS_MAX);
        assert_eq!(stage.shows("192.0.2.1", TOKEN), Tried::Right);
        assert_eq!(stage.shows("192.0.2.2", TOKEN), Tried::TooOften);
        stage.now += SECOND;
        assert_eq!(stage.shows("192.0.2.2", TOKEN), Tried::Right, "one a second is looked at");
        stage.now += 5 * SECOND;
        assert_eq!(stage.guesses("192.0.2.3"), Tried::Wrong);
        assert!(stage.guesses.senders.len() < 5, "what is over is forgotten");
    }

    /// Goal: memory is bounded also if many have the token. Method: it is shown from more addresses than are remembered, then
    /// guessers fill the table.
    #[test]
    fn proven_senders_are_bounded() {
        let mut stage = Stage::new();
        let address = |number: u32| Ipv4Addr::from_bits(0x0a00_0000 + number).to_string();
        for number in 0..5000 {
            stage.now += Duration::from_millis(1);
            assert_eq!(stage.shows(&address(number), TOKEN), Tried::Right);
        }
        let proven = stage.guesses.senders.values().filter(|one| one.proven_at.is_some()).count();
        assert_eq!(proven, PROVEN_MAX);
        assert!(stage.guesses.senders.len() <= SENDERS_MAX + PROVEN_MAX);
    }
}
