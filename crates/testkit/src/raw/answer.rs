//! An HTTP answer as it came.

/// The answer to a request that was sent by an attacker's connection.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Everything up to the blank line, in small letters.
    pub head: String,
    /// As long as its head said.
    pub body: String,
}

impl Answer {
    /// The value of a header; its name in small letters.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }
}

/// The value of a header in a head that is in small letters.
pub(super) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}
