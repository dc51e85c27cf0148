//! `/badge.svg`: the count as a small picture, for READMEs and pages without scripts.
//!
//! A picture in a page cannot send a token. Where one is needed, the badge says so in place of the number, rather than be a broken
//! picture: its page does not know who looks at it.

use std::sync::Arc;

use axum::{
    extract::{Query, RawQuery, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use tokio::time::Instant;

use super::{
    bearer::{self, Access},
    room_query::{self, Refusal},
    site::Site,
};
use crate::core::report::Room;

/// Caching of badges: short, since the number changes, but long enough for a README that many people read.
const CACHING: HeaderValue = HeaderValue::from_static("public, max-age=10");
/// A picture that is opened by itself is a document. It may load and run nothing.
const POLICY: &str = "default-src 'none'; sandbox";
/// What stands in place of a number that is not for everybody.
const PRIVATE: &str = "private";
/// The most characters of a label.
const LABEL_CHARACTERS_MAX: usize = 40;
/// The approximate width of a character, in tenths of a pixel. The text is fitted to the computed width.
const CHARACTER_WIDTH: usize = 66;
/// The space beside the text, on both sides together, in pixels.
const PADDING: usize = 12;

/// What the query says of the picture: the label before the number, and the colour behind the number. Names of rooms are made by
/// strangers, so the label never is one unless the query says so.
#[derive(Debug, Deserialize)]
pub(super) struct Wishes {
    #[serde(default = "usual_label")]
    label: String,
    #[serde(default = "usual_color")]
    color: String,
}

fn usual_label() -> String {
    "online".to_owned()
}

fn usual_color() -> String {
    "green".to_owned()
}

/// A badge whose parts have been checked.
#[derive(Debug)]
struct Badge {
    label: String,
    number: String,
    color: Color,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Color([u8; 3]);

/// The handler.
pub(super) async fn answer(
    State(site): State<Arc<Site>>,
    RawQuery(query): RawQuery,
    request: HeaderMap,
    Query(wishes): Query<Wishes>,
) -> Result<Response, Refusal> {
    let room = room_query::one_room(query.as_deref(), site.rooms.allowed())?;
    if site.needs_token(room.as_slice()) && !bearer::shows_token(&request) {
        let mut response = picture(wishes, PRIVATE.to_owned());
        Access::limit_caching_of_bearers(response.headers_mut());
        return Ok(response);
    }
    let access = site.authorize(&request, room.as_slice()).await?;
    site.ask(room.as_slice()).await?;
    let room = room.unwrap_or(Room::Site);
    let view = *site.view.borrow();
    let shown = site.shown(&room, &view, Instant::now());
    let about = if shown.exact { "" } else { "≈" };
    let mut response = picture(wishes, format!("{about}{}", grouped(shown.users)));
    match access {
        Access::Everyone => drop(response.headers_mut().insert(header::CACHE_CONTROL, CACHING)),
        Access::Bearer(_) => access.limit_caching(response.headers_mut()),
    }
    Ok(response)
}

/// The badge with this text in place of the number, or what is wrong with the query.
fn picture(wishes: Wishes, number: String) -> Response {
    let Some(badge) = Badge::new(wishes, number) else {
        let allowed = "label: 1 to 40 characters; color: a name such as green or blue, or 3 or 6 \
            hexadecimal digits\n";
        return (StatusCode::BAD_REQUEST, allowed).into_response();
    };
    let headers = [
        (header::CONTENT_TYPE.as_str(), "image/svg+xml"),
        (header::CONTENT_SECURITY_POLICY.as_str(), POLICY),
        ("cross-origin-resource-policy", "cross-origin"),
    ];
    (headers, badge.draw()).into_response()
}

impl Badge {
    /// Checks label and colour; `None` if one is not allowed.
    fn new(wishes: Wishes, number: String) -> Option<Self> {
        let color = Color::parse(&wishes.color)?;
        let length = wishes.label.chars().count();
        let is_drawable = (1..=LABEL_CHARACTERS_MAX).contains(&length)
            && !wishes
                .label
                .chars()
                .any(|character| character.is_control() || is_no_xml(character));
        is_drawable.then_some(Self { label: wishes.label, number, color })
    }

    fn draw(&self) -> String {
        let label = escaped(&self.label);
        let number = &self.number;
        let (left, right) = (width(&self.label), width(number));
        let (left_text, right_text) = (left - PADDING, right - PADDING);
        let (left_middle, right_middle) = (left / 2, left + right / 2);
        let whole = left + right;
        let Color([red, green, blue]) = self.color;
        let ink = self.color.ink();
        format!(
            r##"<svg xmlns="http://www.w3.org/2000/svg" width="{whole}" height="20" role="img" aria-label="{label}: {number}">
<title>{label}: {number}</title>
<clipPath id="r"><rect width="{whole}" height="20" rx="4"/></clipPath>
<g clip-path="url(#r)">
<rect width="{left}" height="20" fill="#3d444d"/>
<rect x="{left}" width="{right}" height="20" fill="#{red:02x}{green:02x}{blue:02x}"/>
</g>
<g text-anchor="middle" font-family="Verdana,DejaVu Sans,Geneva,sans-serif" font-size="11">
<text x="{left_middle}" y="14" textLength="{left_text}" lengthAdjust="spacingAndGlyphs" fill="#fff">{label}</text>
<text x="{right_middle}" y="14" textLength="{right_text}" lengthAdjust="spacingAndGlyphs" fill="{ink}" font-weight="bold">{number}</text>
</g>
</svg>
"##
        )
    }
}

impl Color {
    /// Parses the name of a colour, or 3 or 6 hexadecimal digits.
    fn parse(text: &str) -> Option<Self> {
        let named = match text {
            "green" => [0x2e, 0xa0, 0x43],
            "blue" => [0x1f, 0x6f, 0xeb],
            "orange" => [0xf0, 0x88, 0x3e],
            "red" => [0xda, 0x36, 0x33],
            "purple" => [0x89, 0x57, 0xe5],
            "grey" | "gray" => [0x8b, 0x94, 0x9e],
            _ => return Self::parse_digits(text),
        };
        Some(Self(named))
    }

    fn parse_digits(text: &str) -> Option<Self> {
        let digits: Vec<u8> = text
            .chars()
            .map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
            .collect::<Option<_>>()?;
        match digits[..] {
            [red, green, blue] => Some(Self([red, green, blue].map(|digit| digit * 17))),
            [r1, r0, g1, g0, b1, b0] => Some(Self([r1 * 16 + r0, g1 * 16 + g0, b1 * 16 + b0])),
            _ => None,
        }
    }

    /// Black or white, whichever has the greater contrast on this colour. Black does from the relative luminance on at which
    /// `(L + 0.05) / 0.05 > 1.05 / (L + 0.05)` (contrast ratio of WCAG 2.2).
    fn ink(self) -> &'static str {
        let linear = self.0.map(|part| (f64::from(part) / 255.0).powf(2.2));
        let luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
        if luminance > 0.179 { "#000" } else { "#fff" }
    }
}

/// The width of one half, in pixels.
fn width(text: &str) -> usize {
    text.chars().count() * CHARACTER_WIDTH / 10 + PADDING
}

/// Writes a number with a comma between groups of three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Whether no XML document may contain this character. `char::is_control` does not cover these.
fn is_no_xml(character: char) -> bool {
    matches!(character, '\u{fffe}' | '\u{ffff}')
}

fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;
    use crate::fixtures::mutate::mutated_text;

    const QUERIES: &[&str] = &[
        "label=online&color=green",
        "label=%E6%97%A5%E6%9C%AC%20%3C%26%3E&color=4c1",
        "color=0011fF",
        "label=it%27s+%22us%22",
        "",
    ];

    const ESCAPES: &[(&str, &str)] =
        &[("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&amp;", "&")];

    /// What a reader of XML makes of it.
    fn unescaped(text: &str) -> String {
        ESCAPES.iter().fold(text.to_owned(), |text, (escape, mark)| text.replace(escape, mark))
    }

    fn badge(label: &str, color: &str) -> Option<Badge> {
        let wishes = Wishes { label: label.to_owned(), color: color.to_owned() };
        Badge::new(wishes, grouped(1_234_567))
    }

    /// Goal: labels and colours that cannot be drawn are refused. Method: labels and colours of all kinds.
    #[rstest]
    #[case("online", "green", true)]
    #[case("日本語 <&>", "4c1", true)]
    #[case("x", "0011fF", true)]
    #[case("", "green", false)]
    #[case("a\nb", "green", false)]
    #[case("online", "#4c1", false)]
    #[case("online", "4c11", false)]
    #[case("online", "\"/><script>", false)]
    #[case("online", "", false)]
    #[case("12345678901234567890123456789012345678901", "green", false)]
    fn wishes(#[case] label: &str, #[case] color: &str, #[case] drawable: bool) {
        assert_eq!(badge(label, color).is_some(), drawable);
    }

    /// Goal: numbers have commas between groups of three digits. Method: numbers around each comma.
    #[test]
    fn numbers_are_grouped() {
        let cases = [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")];
        assert!(cases.iter().all(|&(number, text)| grouped(number) == text));
    }

    /// Goal: the text is legible on every colour. Method: light and dark colours.
    #[test]
    fn ink_contrasts() {
        let ink = |color| Color::parse(color).map(Color::ink);
        assert_eq!(ink("fff"), Some("#000"));
        assert_eq!(ink("ff0"), Some("#000"));
        assert_eq!(ink("000"), Some("#fff"));
        assert_eq!(ink("blue"), Some("#fff"));
    }

    proptest! {
        /// Goal: no label can become markup. Method: random text; the markup stays the same.
        #[test]
        fn labels_stay_text(label in ".{1,40}", color in "[0-9a-f]{6}") {
            let plain = badge("x", "green").unwrap().draw();
            let marks = |text: &str| text.chars().filter(|c| "<>\"".contains(*c)).count();
            if let Some(badge) = badge(&label, &color) {
                prop_assert_eq!(marks(&badge.draw()), marks(&plain));
            }
        }

        /// Goal: any query is answered with a picture or refused, and the picture shows the label as given. Method: damaged
        /// queries; the picture is read back.
        #[test]
        fn any_query_is_drawn_or_refused(
            query in mutated_text(proptest::sample::select(QUERIES).prop_map(str::to_owned)),
        ) {
            let Ok(uri) = format!("/badge.svg?{query}").parse::<http::Uri>() else { return Ok(()) };
            let Ok(Query(wishes)) = Query::<Wishes>::try_from_uri(&uri) else { return Ok(()) };
            let label = wishes.label.clone();
            let Some(badge) = Badge::new(wishes, grouped(7)) else { return Ok(()) };
            let drawn = badge.draw();
            let title = drawn.split_once("<title>").unwrap().1.split_once(": 7</title>").unwrap().0;
            prop_assert_eq!(unescaped(title), label);
            let is_escape = |rest: &str| ESCAPES.iter().any(|(escape, _)| rest.starts_with(&escape[1..]));
            prop_assert!(title.split('&').skip(1).all(is_escape), "{}", title);
            let is_xml = |c: char| c == '\n' || (!c.is_control() && !is_no_xml(c));
            prop_assert!(drawn.chars().all(is_xml));
        }

        /// Goal: commas do not change a number. Method: random numbers.
        #[test]
        fn grouped_numbers_are_the_same(number: u64) {
            let text = grouped(number);
            prop_assert_eq!(text.replace(',', "").parse(), Ok(number));
            prop_assert!(text.split(',').skip(1).all(|group| group.len() == 3));
        }
    }
}
