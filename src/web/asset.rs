//! A file that is compiled into the program. It is served plain or compressed, and clients can ask whether it has changed.
//! Everything is prepared once, when the program starts.

use std::{
    borrow::Cow,
    hash::{DefaultHasher, Hash, Hasher},
    io::Write,
    sync::Arc,
};

use axum::{
    body::Bytes,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{MethodRouter, get},
};
use flate2::{Compression, write::GzEncoder};

/// How long a client may use a file without asking again.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Caching {
    /// Not at all. The parts of the page change together, and asking costs an empty answer.
    Checked,
    /// For some minutes. A new version is seen soon, and a rush of visitors costs little.
    Brief,
}

/// A file with its headers and encodings.
#[derive(Debug)]
pub(crate) struct Asset {
    headers: HeaderMap,
    plain: Bytes,
    gzip: Bytes,
    tag: String,
}

impl Asset {
    pub(crate) fn new(
        media_type: &'static str,
        caching: Caching,
        text: impl Into<Cow<'static, str>>,
    ) -> Self {
        let text = text.into();
        let tag = tag(&text);
        let caching = match caching {
            Caching::Checked => "no-cache",
            Caching::Brief => "public, max-age=300",
        };
        let mut headers: HeaderMap = [
            (header::CONTENT_TYPE, media_type),
            (header::CACHE_CONTROL, caching),
            (header::VARY, "accept-encoding"),
            // Pages that isolate themselves from other sites may still embed these files.
            (HeaderName::from_static("cross-origin-resource-policy"), "cross-origin"),
        ]
        .map(|(name, value)| (name, HeaderValue::from_static(value)))
        .into_iter()
        .collect();
        headers.insert(header::ETAG, HeaderValue::try_from(&tag).expect("a tag is plain ASCII"));
        Self { headers, gzip: compressed(&text), plain: Bytes::from(text.into_owned()), tag }
    }

    /// Adds a content security policy.
    pub(crate) fn with_policy(mut self, policy: &'static str) -> Self {
        self.headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
        self
    }

    /// A route that serves the file.
    pub(crate) fn route<S: Clone + Send + Sync + 'static>(self) -> MethodRouter<S> {
        let asset = Arc::new(self);
        get(async move |headers: HeaderMap| asset.answer(&headers))
    }

    /// The answer to a request with these headers.
    pub(crate) fn answer(&self, request: &HeaderMap) -> Response {
        if matches(request, &self.tag) {
            return (StatusCode::NOT_MODIFIED, self.headers.clone()).into_response();
        }
        if takes_gzip(request) {
            let encoding = [(header::CONTENT_ENCODING, "gzip")];
            return (self.headers.clone(), encoding, self.gzip.clone()).into_response();
        }
        (self.headers.clone(), self.plain.clone()).into_response()
    }
}

/// Whether the client has the version with this tag already (`If-None-Match`, by weak comparison).
pub(super) fn matches(request: &HeaderMap, tag: &str) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let held = request.get_all(header::IF_NONE_MATCH).iter();
    held.filter_map(|value| value.to_str().ok())
        .flat_map(|tags| tags.split(','))
        .any(|held| held.trim() == "*" || opaque(held) == opaque(tag))
}

/// The tag of a file. It is weak, since it stands for both encodings. All processes of a build compute the same hash, so it does
/// not matter which instance answers.
fn tag(text: &str) -> String {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    format!("W/\"{:016x}\"", hasher.finish())
}

fn takes_gzip(request: &HeaderMap) -> bool {
    let encodings = request.get_all(header::ACCEPT_ENCODING).iter();
    encodings
        .filter_map(|value| value.to_str().ok())
        .flat_map(|encodings| encodings.split(','))
        .any(|encoding| {
            let mut parts = encoding.split(';').map(str::trim);
            let is_gzip = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
            let refused = |part: &str| {
                part.strip_prefix("q=").and_then(|weight| weight.parse().ok()) == Some(0.0)
            };
            is_gzip && !parts.any(refused)
        })
}

fn compressed(text: &str) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let written = encoder.write_all(text.as_bytes()).and_then(|()| encoder.finish());
    Bytes::from(written.expect("writing to memory does not fail"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;
    use crate::fixtures::mutate::mutated;

    fn request(name: HeaderName, value: &'static str) -> HeaderMap {
        [(name, HeaderValue::from_static(value))].into_iter().collect()
    }

    /// Goal: compressed files are sent exactly to clients that accept them. Method: headers of clients.
    #[rstest]
    #[case("gzip, deflate, br, zstd", true)]
    #[case("GZIP;q=0.5", true)]
    #[case("br, gzip;q=0", false)]
    #[case("identity", false)]
    #[case("", false)]
    fn encodings(#[case] accepted: &'static str, #[case] expected: bool) {
        assert_eq!(takes_gzip(&request(header::ACCEPT_ENCODING, accepted)), expected);
    }

    /// Goal: a client that has the file already is told so. Method: tags in all notations.
    #[rstest]
    #[case("W/\"1\"", true)]
    #[case("\"1\"", true)]
    #[case("\"0\", W/\"1\"", true)]
    #[case("*", true)]
    #[case("\"11\"", false)]
    #[case("", false)]
    fn tags(#[case] held: &'static str, #[case] expected: bool) {
        assert_eq!(matches(&request(header::IF_NONE_MATCH, held), "W/\"1\""), expected);
    }

    proptest! {
        /// Goal: a tag is found in any list that contains it, and in no other. Method: damaged lists of tags.
        #[test]
        fn any_list_of_tags_is_read(
            held in proptest::collection::vec("(W/)?\"[0-9a-f]{1,3}\"", 0..5),
            tag in "W/\"[0-9a-f]{1,3}\"",
            separator in "[ \t]{0,2},[ \t]{0,2}",
        ) {
            let opaque = tag.trim_start_matches("W/");
            let expected = held.iter().any(|held| held.trim_start_matches("W/") == opaque);
            let value = HeaderValue::try_from(held.join(&separator)).unwrap();
            let request: HeaderMap = [(header::IF_NONE_MATCH, value)].into_iter().collect();
            prop_assert_eq!(matches(&request, &tag), expected);
        }

        /// Goal: no header causes a panic, and only headers with gzip are taken to accept it. Method: damaged headers.
        #[test]
        fn any_encodings_are_read(value in mutated(Just(b"gzip;q=0.5, br, *;q=0".to_vec()))) {
            let Ok(value) = HeaderValue::from_bytes(&value) else { return Ok(()) };
            let says_gzip = value.as_bytes().to_ascii_lowercase().windows(4).any(|part| part == b"gzip");
            let names = [header::ACCEPT_ENCODING, header::IF_NONE_MATCH];
            let request: HeaderMap = names.map(|name| (name, value.clone())).into_iter().collect();
            prop_assert!(!takes_gzip(&request) || says_gzip);
            let says_any = value.as_bytes().split(|&byte| byte == b',').any(|part| part.trim_ascii() == b"*");
            prop_assert!(!matches(&request, "W/\"1\"") || says_any);
        }
    }
}
