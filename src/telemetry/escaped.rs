//! Escapes text from outside (a server, a sentinel, a web page) for logs and terminals.
//!
//! Without this, an answer of Redis with a newline in it could forge log lines, and one with an escape sequence could change
//! what a terminal shows. [`Escaped`] is a type, so the compiler checks that errors and log lines hold escaped text only.

use std::fmt::{self, Write};

use serde::{Serialize, Serializer};

/// The most characters that are kept. The longest errors of Redis have about 200, and a log line should fit on a screen.
pub const ESCAPED_CHARS_MAX: usize = 400;

/// Escaped text. Control characters, line separators, marks that change the direction of text, and characters without a glyph
/// are written as escapes such as `\n` or `\u{202e}`. Text longer than [`ESCAPED_CHARS_MAX`] is cut and ends in `…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Escaped(String);

impl Escaped {
    /// Escapes `text`.
    pub fn new(text: &str) -> Self {
        let mut escaped = String::new();
        for (position, character) in text.chars().enumerate() {
            if position == ESCAPED_CHARS_MAX {
                escaped.push('…');
                break;
            }
            match character {
                // Quotes are harmless, and common in errors of Redis. Backslashes stay, so that escaping twice is the same
                // as escaping once: an error may quote another error.
                '\'' | '"' | '\\' => escaped.push(character),
                _ => escaped.extend(character.escape_debug()),
            }
        }
        Self(escaped)
    }

    /// Escapes bytes, which need not be UTF-8.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self::new(&String::from_utf8_lossy(bytes))
    }

    /// The escaped text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether nothing in `text` needs an escape.
pub fn is_plain(text: &str) -> bool {
    text.chars().all(is_visible)
}

fn is_visible(character: char) -> bool {
    matches!(character, '\'' | '"' | '\\') || character.escape_debug().len() == 1
}

/// Makes JSON safe for a terminal: characters that need an escape, which can only be inside strings, are written as `\u` and
/// four digits. Programs that parse the JSON get the same text as before.
pub fn escaped_json(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for character in json.chars() {
        if character == '\n' || is_visible(character) {
            escaped.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            write!(escaped, "\\u{unit:04x}").expect("a string takes all that is written");
        }
    }
    escaped
}

impl fmt::Display for Escaped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl From<&str> for Escaped {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for Escaped {
    fn from(text: String) -> Self {
        Self::new(&text)
    }
}

impl Serialize for Escaped {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    /// Goal: characters that move the cursor, end a line or change the direction of text are escaped, and plain text is
    /// not. Method: one of each kind.
    #[rstest]
    #[case("NOPERM user 'a' can't run \"set\"", "NOPERM user 'a' can't run \"set\"")]
    #[case("用户 é ñ", "用户 é ñ")]
    #[case("one\r\ntwo\tthree", "one\\r\\ntwo\\tthree")]
    #[case("\u{1b}[2J\u{7}", "\\u{1b}[2J\\u{7}")]
    #[case("\u{9b}2J\u{7f}", "\\u{9b}2J\\u{7f}")]
    #[case("\u{202e}txt\u{2066}", "\\u{202e}txt\\u{2066}")]
    #[case("a\u{2028}b\u{200b}c\u{feff}", "a\\u{2028}b\\u{200b}c\\u{feff}")]
    #[case("back\\slash\0", "back\\slash\\0")]
    fn what_is_not_visible_is_escaped(#[case] text: &str, #[case] shown: &str) {
        assert_eq!(Escaped::new(text).to_string(), shown);
    }

    /// Goal: a long text does not fill the log. Method: a text of a megabyte.
    #[test]
    fn long_text_is_cut() {
        let shown = Escaped::new(&"\n".repeat(1 << 20)).to_string();
        assert_eq!(shown.chars().count(), 2 * ESCAPED_CHARS_MAX + 1);
        assert!(shown.ends_with('…'));
    }

    proptest! {
        /// Goal: any text is shown as one plain line, and JSON keeps its meaning. Method: random text.
        #[test]
        fn any_text_is_shown_on_one_plain_line(text in ".{0,40}|[\\x00-\\x1f\\x7f-\\u{9f}\\u{2000}-\\u{206f}]{0,9}") {
            let shown = Escaped::new(&text).to_string();
            prop_assert!(is_plain(&shown), "{shown:?}");
            let twice = Escaped::new(&shown).to_string();
            prop_assert_eq!(twice.get(..99), shown.get(..99), "twice is once");
            let turns = |c: char| c.is_control() || ('\u{2028}'..='\u{202e}').contains(&c);
            prop_assert!(!shown.contains(turns));
            let json = escaped_json(&serde_json::to_string(&text).unwrap());
            prop_assert!(is_plain(&json), "{json:?}");
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }
    }
}
