//! The operators' token, which the admin listener asks for, and the cookie that a browser gets for it. Its text is in no error and
//! in no `Debug` output.

use std::{
    fmt,
    num::NonZeroU32,
    sync::{Arc, OnceLock},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{hmac, pbkdf2};

/// The fewest characters: with 64 different ones, 96 bits if they are random.
pub const TOKEN_CHARS_MIN: usize = 16;
/// The most characters: a request's head has to hold them.
pub const TOKEN_CHARS_MAX: usize = 512;
/// How long a browser stays signed in, in seconds: a week.
pub const COOKIE_SECONDS: u64 = 7 * 24 * 3600;

/// The rounds of PBKDF2 between the token and the key of its cookies: what OWASP's Password Storage Cheat Sheet asks for with
/// HMAC-SHA256. Cookies are checked without a limit, so a guess at the token by its cookies must be dear.
const COOKIE_KEY_ROUNDS: NonZeroU32 = NonZeroU32::new(600_000).expect("it is not 0");
/// The salt. It is the same on all instances, so that a cookie is valid on each of them.
const COOKIE_KEY_SALT: &[u8] = b"headcount admin cookie";

/// A token that passed the checks.
#[derive(Clone)]
pub struct AdminToken {
    text: String,
    key: hmac::Key,
    /// The code of the token itself. Comparing codes takes equally long whatever was presented.
    code: hmac::Tag,
    /// The key of the cookies, made when the first one is needed. Clones share it.
    cookie_key: Arc<OnceLock<hmac::Key>>,
}

impl AdminToken {
    /// Takes a token of 16 to 512 characters that a header can carry (`token68` of RFC 9110, section 11.2).
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (TOKEN_CHARS_MIN..=TOKEN_CHARS_MAX).contains(&text.len());
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
        if !fits || !text.bytes().all(is_allowed) {
            return None;
        }
        let key = hmac::Key::new(hmac::HMAC_SHA256, text.as_bytes());
        let code = hmac::sign(&key, text.as_bytes());
        Some(Self { text: text.to_owned(), key, code, cookie_key: Arc::default() })
    }

    /// The token itself, for a request to an instance.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether this is the token. It takes equally long for all texts of one length.
    pub fn is(&self, presented: &str) -> bool {
        hmac::verify(&self.key, presented.as_bytes(), self.code.as_ref()).is_ok()
    }

    /// A code of what was presented, by which it is recognised when it comes again. It gives nothing away without the token.
    pub(super) fn code_of(&self, presented: &str) -> [u8; 32] {
        let mut code = [0; 32];
        code.copy_from_slice(hmac::sign(&self.key, presented.as_bytes()).as_ref());
        code
    }

    /// The value of a cookie that replaces the token until [`COOKIE_SECONDS`] after `now`, in seconds since 1970.
    pub fn cookie(&self, now: u64) -> String {
        let until = now.saturating_add(COOKIE_SECONDS);
        let code = hmac::sign(self.cookie_key(), signed(until).as_bytes());
        format!("{until}.{}", URL_SAFE_NO_PAD.encode(code))
    }

    /// Whether this is the value of a cookie that was made with this token and is still valid at `now`. The clocks of instances
    /// may differ, so its end may be later than that of a new cookie.
    pub fn takes_cookie(&self, value: &str, now: u64) -> bool {
        let Some((until, code)) = value.split_once('.') else { return false };
        let (Ok(until), Ok(code)) = (until.parse::<u64>(), URL_SAFE_NO_PAD.decode(code)) else {
            return false;
        };
        now < until && hmac::verify(self.cookie_key(), signed(until).as_bytes(), &code).is_ok()
    }

    /// Makes the key of the cookies unless it is there. It takes some tenths of a second, so it does not belong on a thread that
    /// serves others.
    pub fn make_cookie_key(&self) {
        self.cookie_key();
    }

    fn cookie_key(&self) -> &hmac::Key {
        self.cookie_key.get_or_init(|| {
            let mut key = [0; 32];
            let (rounds, token) = (COOKIE_KEY_ROUNDS, self.text.as_bytes());
            pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, COOKIE_KEY_SALT, token, &mut key);
            hmac::Key::new(hmac::HMAC_SHA256, &key)
        })
    }
}

/// What the code of a cookie is made of. It holds spaces, as no token does, so no cookie is the code of a token.
fn signed(until: u64) -> String {
    format!("a cookie until {until}")
}

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminToken")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    const TOKEN: &str = "swordfish-swordfish";

    /// Goal: only a token that can be sent, and is hard to guess, is taken. Method: lengths and characters at the bounds.
    #[rstest]
    #[case::shortest("0123456789abcdef", true)]
    #[case::too_short("0123456789abcde", false)]
    #[case::of_base64("bm8gd29yZHMgaGVyZQ+/==", true)]
    #[case::with_a_space("0123456789 abcdef", false)]
    #[case::not_ascii("0123456789abcdeé", false)]
    #[case::with_a_newline("0123456789abcdef\n", false)]
    fn tokens_are_checked(#[case] text: &str, #[case] is_taken: bool) {
        assert_eq!(AdminToken::parse(text).is_some(), is_taken);
    }

    /// Goal: lengths have an upper bound. Method: the longest, and one more.
    #[test]
    fn the_longest_token() {
        assert!(AdminToken::parse(&"a".repeat(TOKEN_CHARS_MAX)).is_some());
        assert!(AdminToken::parse(&"a".repeat(TOKEN_CHARS_MAX + 1)).is_none());
    }

    /// Goal: a cookie stands for its time, for its token, and for nothing else. Method: times on both sides of its end, a
    /// later end under the same code, and another token.
    #[test]
    fn cookies_end() {
        let token = AdminToken::parse(TOKEN).unwrap();
        let cookie = token.cookie(1000);
        assert!(token.takes_cookie(&cookie, 1000));
        assert!(token.takes_cookie(&cookie, 999 + COOKIE_SECONDS));
        assert!(!token.takes_cookie(&cookie, 1000 + COOKIE_SECONDS));
        let (until, code) = cookie.split_once('.').unwrap();
        let longer = format!("{}.{code}", until.parse::<u64>().unwrap() + 1);
        assert!(!token.takes_cookie(&longer, 1001));
        assert!(!AdminToken::parse("another-token-of-mine").unwrap().takes_cookie(&cookie, 1000));
        assert!(!cookie.contains(TOKEN) && !format!("{token:?}").contains(TOKEN));
    }

    proptest! {
        /// Goal: nothing but the token is the token, and nothing ends the program. Method: parts of it, and random text.
        #[test]
        fn only_the_token_is_the_token(text in "[ -~]{0,24}", cut in 0..TOKEN.len()) {
            let token = AdminToken::parse(TOKEN).unwrap();
            prop_assert!(token.is(TOKEN));
            for other in [&text, &TOKEN[..cut], &format!("{TOKEN}{text} ")] {
                prop_assert!(!token.is(other), "{}", other);
                prop_assert!(!token.takes_cookie(other, 0), "{}", other);
            }
            let made_up = format!("{cut}.{text}");
            prop_assert!(!token.takes_cookie(&made_up, 0));
        }
    }
}
