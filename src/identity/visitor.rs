//! Visitor keys: random text that a browser keeps and that all its tabs send, so that they are counted once.
//!
//! A key proves nothing and needs no secret to make. What leaves this function is a keyed hash of it: neither Redis nor another
//! instance learns the key.

use std::{fmt, ops::RangeInclusive};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::hmac;

use crate::core::room::{IdentityKind, Person, UserId};

/// The length of a key, in characters. With 64 different characters, the shortest has 96 bits if it is random.
pub const VISITOR_KEY_CHARS: RangeInclusive<usize> = 16..=64;
/// The bytes of the hash that are kept. By chance, two of a billion visitors have the same with a probability of 1 in 10^11.
const HASH_BYTES: usize = 12;
/// The key of the hash without a secret, together with the name of the count's key. All instances of a cluster share it.
const PUBLIC_KEY: &[u8] = b"headcount visitor keys";

/// Turns visitor keys into users. A clone is cheap.
#[derive(Clone)]
pub struct VisitorKeys(hmac::Key);

impl VisitorKeys {
    /// Hashes with a secret, which must be the same on all instances.
    pub fn with_secret(secret: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// Hashes with a key that is made of the name of the count's key. All instances of a cluster have it without a setting, but
    /// it is no secret.
    pub fn of_count(key: &str) -> Self {
        let public = hmac::Key::new(hmac::HMAC_SHA256, PUBLIC_KEY);
        Self::with_secret(hmac::sign(&public, key.as_bytes()).as_ref())
    }

    /// The user with this key; `None` if it is no visitor key: 16 to 64 letters, digits, `-` and `_`.
    pub fn person(&self, key: &str) -> Option<Person> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if !VISITOR_KEY_CHARS.contains(&key.len()) || !key.bytes().all(is_allowed) {
            return None;
        }
        let hash = hmac::sign(&self.0, key.as_bytes());
        let mut id = IdentityKind::Visitor.prefix().to_owned();
        URL_SAFE_NO_PAD.encode_string(&hash.as_ref()[..HASH_BYTES], &mut id);
        let user = UserId::parse(&id)?;
        Some(Person { user, kind: IdentityKind::Visitor, info: None })
    }
}

impl fmt::Debug for VisitorKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VisitorKeys")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    const KEY: &str = "k3J-_bWqvPz0aXyT";

    fn id(keys: &VisitorKeys, key: &str) -> String {
        keys.person(key).unwrap().user.as_str().to_owned()
    }

    /// Goal: the id of a visitor is what is documented, and the same on all instances and in all versions. Method: compare with
    /// `openssl dgst -sha256 -mac HMAC`, cut to 12 bytes, in base64url.
    #[test]
    fn ids_stay_the_same() {
        let keys = VisitorKeys::with_secret(b"0123456789abcdef0123456789abcdef");
        assert_eq!(id(&keys, KEY), "v:B3CQMurUVNaSQR74");
        assert_eq!(id(&VisitorKeys::of_count("currentUsers"), KEY), "v:w3jxbiYRR_Y7EUsu");
    }

    /// Goal: exactly the documented keys are taken. Method: both sides of each rule.
    #[rstest]
    #[case::shortest("abcdefghij012345", true)]
    #[case::too_short("abcdefghij01234", false)]
    #[case::empty("", false)]
    #[case::with_all_kinds("ABCxyz019-_ABCxyz", true)]
    #[case::with_a_space("abcdefghij 012345", false)]
    #[case::with_a_line_break("abcdefghij01234\n", false)]
    #[case::of_base64("abcdefghij0123+/==", false)]
    #[case::not_ascii("abcdefghij01234é", false)]
    fn keys_are_checked(#[case] key: &str, #[case] is_taken: bool) {
        assert_eq!(VisitorKeys::of_count("a").person(key).is_some(), is_taken);
    }

    /// Goal: lengths have an upper bound. Method: the longest, and one more.
    #[test]
    fn the_longest_key() {
        let keys = VisitorKeys::of_count("a");
        assert!(keys.person(&"a".repeat(*VISITOR_KEY_CHARS.end())).is_some());
        assert!(keys.person(&"a".repeat(*VISITOR_KEY_CHARS.end() + 1)).is_none());
    }

    /// Goal: two clusters on one Redis, and two secrets, do not know each other's visitors. Method: one key, hashed with each.
    #[test]
    fn ids_depend_on_the_secret() {
        let secret = [7; 32];
        let ids = [
            VisitorKeys::of_count("a"),
            VisitorKeys::of_count("b"),
            VisitorKeys::with_secret(&secret),
        ]
        .map(|keys| id(&keys, KEY));
        assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2], "{ids:?}");
        assert_eq!(format!("{:?}", VisitorKeys::with_secret(&secret)), "VisitorKeys");
    }

    proptest! {
        /// Goal: any text is taken or refused, an id has its fixed form and does not contain the key, and different keys have
        /// different ids. Method: random texts and keys.
        #[test]
        fn any_text_may_come(text in "\\PC{0,70}|[A-Za-z0-9_-]{0,70}", other in "[A-Za-z0-9_-]{16,64}") {
            let keys = VisitorKeys::of_count("currentUsers");
            let id = id(&keys, &other);
            prop_assert!(id.len() == 18 && id.starts_with("v:") && !id.contains(&other), "{}", id);
            if let Some(person) = keys.person(&text) {
                prop_assert_eq!(person.user.as_str() == id, text == other);
            }
        }
    }
}
