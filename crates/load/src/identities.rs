//! The identities of a run: which connection is whose, and how it says so. Pure, but for the time in a token.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::{Duration, SystemTime},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use headcount_client::auth::Auth;
use ring::hmac;
use serde_json::{Map, Value};

/// How long a token that this program signs is valid. No run outlasts it, and it is signed anew for each connection.
const TOKEN_VALID_FOR: Duration = Duration::from_hours(24);
/// The head of a token that is signed with HS256, as base64url.
const HS256_HEAD: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";

/// Whom the count counts once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum User {
    /// A connection without an identity, by its number.
    Connection(u64),
    /// An identity, by its number.
    Identity(u32),
}

/// Which identities there are, and how many connections each has.
#[derive(Clone, Debug)]
pub struct IdentityPlan {
    /// How many identities there are.
    pub(crate) identities: u32,
    /// How many connections each of them has.
    pub(crate) tabs: u32,
    /// How a connection says whose it is.
    pub(crate) proof: Proof,
    /// Tells the identities of this run from those of another one.
    pub(crate) run: u64,
}

/// How a connection says whose it is.
#[derive(Clone)]
pub(crate) enum Proof {
    /// By a visitor key.
    VisitorKey,
    /// By one of these tokens, which somebody else has signed.
    Tokens(Arc<[Arc<str>]>),
    /// By a token that this program signs.
    Signed(Arc<Signer>),
}

/// Signs tokens with HS256.
pub(crate) struct Signer {
    key: hmac::Key,
    /// What every token says besides its subject and its time.
    claims: Map<String, Value>,
}

impl IdentityPlan {
    /// A plan whose identities no other run has, unless the tokens are given.
    pub(crate) fn new(identities: u32, tabs: u32, proof: Proof) -> Self {
        Self { identities, tabs, proof, run: RandomState::new().hash_one(0) }
    }

    /// Whose connection this is. Places are numbered from 0, and no two connections have one place at a time. Those of one identity
    /// are side by side, so that servers which are used in turn all have some of them.
    pub(crate) fn user(&self, place: u32, connection: u64) -> User {
        let identity = place / self.tabs;
        if identity < self.identities {
            User::Identity(identity)
        } else {
            User::Connection(connection)
        }
    }

    /// What a connection of this user says when it joins.
    pub(crate) fn auth(&self, user: User, now: SystemTime) -> Auth {
        let User::Identity(identity) = user else { return Auth::default() };
        let name = || format!("load-{:016x}-{identity}", self.run);
        match &self.proof {
            Proof::VisitorKey => Auth { visitor: Some(name().into()), ..Auth::default() },
            Proof::Tokens(tokens) => {
                let token = tokens.get(identity as usize).map(Arc::clone);
                Auth { token, ..Auth::default() }
            }
            Proof::Signed(signer) => {
                Auth { token: Some(signer.token(&name(), now).into()), ..Auth::default() }
            }
        }
    }
}

impl Proof {
    /// What it is called in a report.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::VisitorKey => "visitor key",
            Self::Tokens(_) | Self::Signed(_) => "token",
        }
    }
}

impl Signer {
    /// Signs with this secret. The claims are added to those of each token.
    pub(crate) fn new(secret: &[u8], claims: Map<String, Value>) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, secret), claims }
    }

    fn token(&self, subject: &str, now: SystemTime) -> String {
        let since_1970 = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mut claims = self.claims.clone();
        claims.entry("sub").or_insert_with(|| subject.into());
        claims.entry("exp").or_insert_with(|| (since_1970 + TOKEN_VALID_FOR).as_secs().into());
        let claims = URL_SAFE_NO_PAD.encode(Value::Object(claims).to_string());
        let signed = format!("{HS256_HEAD}.{claims}");
        let signature = hmac::sign(&self.key, signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// Shows neither tokens nor secrets.
impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn plan(identities: u32, tabs: u32) -> IdentityPlan {
        IdentityPlan::new(identities, tabs, Proof::VisitorKey)
    }

    /// Goal: each identity has its connections, on all servers if these are used in turn, and the others are users of their own.
    /// Method: 4 identities with 3 connections, and 5 connections without.
    #[test]
    fn connections_have_users() {
        let plan = plan(4, 3);
        let mut places = BTreeMap::<u32, Vec<u32>>::new();
        for place in 0..17 {
            match plan.user(place, 100) {
                User::Identity(identity) => places.entry(identity).or_default().push(place),
                User::Connection(number) => assert!(number == 100 && place >= 12, "{place}"),
            }
        }
        let servers = |places: &[u32]| places.iter().map(|n| n % 3).collect::<BTreeSet<_>>().len();
        assert_eq!(places.len(), 4);
        assert!(places.values().all(|all| all.len() == 3 && servers(all) == 3), "{places:?}");
    }

    /// Goal: an identity says the same on all its connections, a server accepts its keys, and two runs share none. Method: keys of two
    /// plans.
    #[test]
    fn visitor_keys_are_those_of_one_run() {
        let key = |plan: &IdentityPlan, user| plan.auth(user, SystemTime::now()).visitor;
        let (one, other) = (plan(9, 2), plan(9, 2));
        let first = key(&one, User::Identity(7)).unwrap();
        assert_eq!(key(&one, User::Identity(7)), Some(first.clone()));
        assert!((16..=64).contains(&first.len()), "{first}");
        assert!(first.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'), "{first}");
        assert_ne!(key(&one, User::Identity(8)), Some(first.clone()));
        assert_ne!(key(&other, User::Identity(7)), Some(first));
        assert_eq!(one.auth(User::Connection(3), SystemTime::now()), Auth::default());
    }

    /// Goal: a token is signed as HS256 is, and says who and until when; and what it says besides can be set. Method: compare with the
    /// signature that another program made, and read the claims.
    #[test]
    fn tokens_are_signed() {
        let claims = serde_json::from_str("{\"aud\":\"headcount\",\"exp\":1}").unwrap();
        let signer = Signer::new(b"a secret of more than 32 bytes, as needed", claims);
        let token = signer.token("load-1", SystemTime::UNIX_EPOCH + Duration::from_secs(5));
        let [head, claims, signature] = token.split('.').collect::<Vec<_>>().try_into().unwrap();
        let decoded = |text: &str| String::from_utf8(URL_SAFE_NO_PAD.decode(text).unwrap());
        assert_eq!(decoded(head).unwrap(), "{\"alg\":\"HS256\",\"typ\":\"JWT\"}");
        let said = "{\"aud\":\"headcount\",\"exp\":1,\"sub\":\"load-1\"}";
        assert_eq!(decoded(claims).unwrap(), said);
        assert_eq!(signature, "BNdvHXFLX7kbZ4AWGhhSIOKksO0HviYXAKps8LlOqc4");
        let signer = Signer::new(b"x", Map::new());
        let token = signer.token("load-1", SystemTime::UNIX_EPOCH + Duration::from_secs(5));
        let claims = decoded(token.split('.').nth(1).unwrap()).unwrap();
        assert_eq!(claims, "{\"exp\":86405,\"sub\":\"load-1\"}");
    }

    /// Goal: neither a secret nor a token gets into a log. Method: show a plan that has them.
    #[test]
    fn secrets_are_not_shown() {
        for proof in [
            Proof::Tokens(["hush".into()].into()),
            Proof::Signed(Arc::new(Signer::new(b"hush", Map::new()))),
        ] {
            let shown = format!("{:?}", IdentityPlan::new(1, 1, proof));
            assert!(!shown.contains("hush"), "{shown}");
        }
    }
}
