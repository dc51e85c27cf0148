//! Builds the scripts for browsers when the program starts, each from functions in separate files. Comments and indentation
//! are left out, to save bytes. The embeddable client is shortened further, because every page of a site loads it.

/// The embeddable client: a function of the address that the script came from.
const HEADCOUNT: &str = include_str!("headcount.js");
/// Variables of the embeddable client, each of which is served with a name of one letter. None of them may be the name of a
/// property too, except after a dot.
const HEADCOUNT_VARIABLES: [&str; 52] = [
    "BURST_MS",
    "CHANGE_MS",
    "FIRST_WAIT_MS",
    "LONGEST_WAIT_MS",
    "NAME_BYTES_MAX",
    "OPENING_MS",
    "UPDATE_AGAIN_MS",
    "asked",
    "attempts",
    "base",
    "connect",
    "copies",
    "deadline",
    "element",
    "end",
    "entry",
    "error",
    "event",
    "folder",
    "former",
    "home",
    "identity",
    "isScanDue",
    "isSite",
    "isTaken",
    "isWaiting",
    "kind",
    "lose",
    "main",
    "name",
    "nameOf",
    "nextUpdate",
    "now",
    "options",
    "other",
    "patienceMs",
    "receive",
    "say",
    "scanSoon",
    "shown",
    "signals",
    "socket",
    "spentUntil",
    "start",
    "stop",
    "tell",
    "tellAll",
    "text",
    "timer",
    "unwant",
    "value",
    "wish",
];
/// The short names.
const LETTERS: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
const _: () = assert!(HEADCOUNT_VARIABLES.len() <= LETTERS.len());
/// The Socket.IO client: a function of the class of sessions.
const SOCKET_IO: &str = include_str!("socketio/client.js");
/// Sessions of Engine.IO: a function without parameters.
const SESSION: &str = include_str!("socketio/session.js");
/// The page's text: a function of an object with all languages.
const MESSAGES: &str = include_str!("messages.js");
/// The languages of the page by the language subtags that browsers send.
const LANGUAGES: [(&str, &str); 4] = [
    ("en", include_str!("messages/en.json")),
    ("zh", include_str!("messages/zh.json")),
    ("th", include_str!("messages/th.json")),
    ("ja", include_str!("messages/ja.json")),
];

/// The embeddable client for `<script src>`. It defines `headcount` for all scripts of the page.
pub(super) fn headcount() -> String {
    let (head, code) = (head_line(HEADCOUNT), short_headcount());
    let home = "document.currentScript&&document.currentScript.src";
    format!("{head}globalThis.headcount={code}({home});\n")
}

/// The embeddable client for `import` and `<script type="module" src>`. It exports the function.
pub(super) fn headcount_module() -> String {
    let (head, code) = (head_line(HEADCOUNT), short_headcount());
    format!("{head}export const headcount = {code}(import.meta.url);\nexport default headcount;\n")
}

fn short_headcount() -> String {
    shortened(&code(HEADCOUNT), &HEADCOUNT_VARIABLES)
}

/// The Socket.IO client for `<script src>` and `require`. It defines or exports `io`, like the reference client.
pub(crate) fn socket_io() -> String {
    let (head, io) = (head_line(SOCKET_IO), io());
    format!(
        "{head}(function (io) {{\n  if (typeof module === 'object' && module.exports) module.exports = io;\n  \
         else globalThis.io = io;\n}})({io});\n"
    )
}

/// The Socket.IO client for `import`. It exports the names that the reference client exports.
pub(super) fn socket_io_module() -> String {
    let (head, io) = (head_line(SOCKET_IO), io());
    format!(
        "{head}const io = {io};\nconst {{ Manager, Socket, protocol }} = io;\n\
         export {{ io as default, io, io as connect, Manager, Socket, protocol }};\n"
    )
}

/// The JavaScript expression whose value is `io`.
fn io() -> String {
    format!("{}({}())", code(SOCKET_IO), code(SESSION))
}

/// The page's text in all languages. The page waits for it, and one request is faster than two in a row.
pub(super) fn messages() -> String {
    let languages = LANGUAGES.map(|(subtag, messages)| format!("{subtag}: {messages}"));
    format!("{}{}({{ {} }});\n", head_line(MESSAGES), code(MESSAGES), languages.join(", "))
}

/// The first line of a source, which says what the script is.
fn head_line(source: &str) -> String {
    source.lines().next().map(|line| format!("{line}\n")).unwrap_or_default()
}

/// A source without its comment lines, empty lines and indentation. No text in the sources goes over several lines.
fn code(source: &str) -> String {
    let lines = source.lines().map(str::trim_start);
    lines.filter(|line| !line.is_empty() && !line.starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Code without the spaces and ends of lines that mean nothing, and with short names for these variables. Apostrophes enclose texts, which
/// stay as they are. A template must have no spaces, and of the variables only such as it inserts.
fn shortened(code: &str, variables: &[&str]) -> String {
    let short = |(number, part)| match number % 2 {
        0 => shortened_part(part, variables),
        _ => String::from(part),
    };
    code.split('\'').enumerate().map(short).collect::<Vec<_>>().join("'")
}

/// The code between two texts. A space has a meaning only between two words, and the end of a line may end a statement only where
/// nothing else does.
fn shortened_part(mut rest: &str, variables: &[&str]) -> String {
    let mut short = String::with_capacity(rest.len());
    while let Some(first) = rest.chars().next() {
        let end = if is_of_word(first) { rest.find(|next| !is_of_word(next)) } else { None };
        let alone = if is_of_word(first) { rest.len() } else { first.len_utf8() };
        let (token, after) = rest.split_at(end.unwrap_or(alone));
        let is_property = short.ends_with('.') && !short.ends_with("...");
        let variable = variables.iter().position(|name| *name == token && !is_property);
        if let Some(letter) = variable.and_then(|number| LETTERS.get(number..=number)) {
            short.push_str(letter);
        } else if match token {
            " " => short.ends_with(is_of_word) && after.starts_with(is_of_word),
            "\n" => !short.ends_with([';', '{', ',', '(']),
            _ => true,
        } {
            short.push_str(token);
        }
        rest = after;
    }
    short
}

fn is_of_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '_' | '$')
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use regex::Regex;
    use serde_json::{Map, Value};

    use super::*;

    const PAGE: &str = include_str!("index.html");
    /// Every source of the page that may name a message.
    const SOURCES: [&str; 5] = [
        PAGE,
        include_str!("client.js"),
        include_str!("copy.js"),
        include_str!("line.js"),
        include_str!("room.js"),
    ];

    fn messages_of(language: &str) -> Map<String, Value> {
        let (_, text) = LANGUAGES.into_iter().find(|(subtag, _)| *subtag == language).unwrap();
        serde_json::from_str(text).unwrap()
    }

    fn keys(messages: &Map<String, Value>) -> BTreeSet<&str> {
        messages.keys().map(String::as_str).collect()
    }

    /// All forms of a message: one, or one for each plural.
    fn forms(message: &Value) -> Vec<&str> {
        match message {
            Value::String(text) => vec![text],
            Value::Object(forms) => forms.values().map(|form| form.as_str().unwrap()).collect(),
            other => panic!("not a message: {other}"),
        }
    }

    fn found<'a>(pattern: &str, text: &'a str) -> BTreeSet<&'a str> {
        let pattern = Regex::new(pattern).unwrap();
        pattern.captures_iter(text).map(|found| found.get(1).unwrap().as_str()).collect()
    }

    /// Goal: shortened code means what the source means. Method: texts, properties and the spaces between words stay, and everything
    /// else is as short as it can be.
    #[test]
    fn code_is_shortened() {
        let code = "const name = { state: '= name' };\nfor (const key in name) {\ntell(...key, name.key, key?.name)\n}\nreturn 'a b'";
        let short =
            "const a={state:'= name'};for(const b in a){tell(...b,a.key,b?.name)\n}\nreturn'a b'";
        assert_eq!(shortened(code, &["name", "key"]), short);
    }

    /// Goal: the short names of the embeddable client's variables change nothing else. Method: no listed name is a key of an object,
    /// each is declared, and the source has no names of one letter. What code and pages see is tested with the script as it is served.
    #[test]
    fn only_variables_have_short_names() {
        let code = code(HEADCOUNT);
        for name in HEADCOUNT_VARIABLES {
            let uses = found(&format!(r"([\w.$]*\b{name}:)"), &code);
            assert!(uses.is_empty(), "{name} is a key: {uses:?}");
            let declared =
                found(&format!(r"((?:const|let|function|\(|, |\.\.\.|\[) ?{name}\b)"), &code);
            assert!(!declared.is_empty(), "{name} is not declared");
        }
        let letters = found(r"(?:\b(?:const|let|function) |\()([A-Za-z])\b", &code);
        assert!(letters.is_empty(), "{letters:?} are used already");
    }

    /// Goal: every language has exactly the messages of English. Method: compare the keys, the values that each message
    /// takes, and the plural forms that each language needs.
    #[test]
    fn all_languages_have_all_messages() {
        let english = messages_of("en");
        for (language, _) in LANGUAGES {
            let messages = messages_of(language);
            assert_eq!(keys(&messages), keys(&english), "{language}");
            for (key, message) in &messages {
                let takes = |message| {
                    forms(message)
                        .iter()
                        .flat_map(|form| found(r"\{(\w+)\}", form))
                        .collect::<BTreeSet<_>>()
                };
                assert_eq!(takes(message), takes(&english[key]), "{language}: {key}");
                assert!(
                    forms(message).iter().all(|form| !form.trim().is_empty()),
                    "{language}: {key}"
                );
                let plurals: &[&str] =
                    if language == "en" { &["one", "other"] } else { &["other"] };
                if let Value::Object(forms) = message {
                    assert!(forms.keys().eq(plurals), "{language}: {key}");
                }
                let is_written = language == "en" || message != &english[key];
                assert!(is_written, "{language}: {key} is English");
            }
        }
    }

    /// Goal: the page uses every message of the language files, and no other. Method: search the page and its scripts
    /// for names of messages. Each state names two, and so does each refusal that has to do with signing in.
    #[test]
    fn all_messages_are_used() {
        let english = messages_of("en");
        let states = ["connecting", "live", "reconnecting", "refused", "estimate", "closed"];
        let about_sign_in = ["token-missing", "token-invalid", "token-expired", "room-forbidden"];
        let mut used: BTreeSet<String> = states
            .iter()
            .chain(&about_sign_in)
            .flat_map(|state| [(*state).to_owned(), format!("{state}-meaning")])
            .collect();
        for key in ["lang", "unscripted"] {
            used.insert(key.to_owned());
        }
        for source in SOURCES {
            let named = found(r#"data-message(?:-[a-z-]+)?="([a-z-]+)""#, source);
            let called = found(r"message\((?:[^')]*\? )?'([a-z-]+)'", source);
            let otherwise = found(r"message\([^')]*\? '[a-z-]+' : '([a-z-]+)'", source);
            used.extend([named, called, otherwise].into_iter().flatten().map(str::to_owned));
        }
        assert_eq!(used.iter().map(String::as_str).collect::<BTreeSet<_>>(), keys(&english));
    }

    /// Goal: the page's text before its scripts run is the English text, and the notice for visitors without scripts is in
    /// every language. Method: compare every element that names a message.
    #[test]
    fn the_page_is_written_in_english() {
        let english = messages_of("en");
        let pattern = Regex::new(r#"data-message="([a-z-]+)"[^>]*>([^<]*)<"#).unwrap();
        let attributes =
            Regex::new(r#"data-message-([a-z-]+)="([a-z-]+)" ([a-z-]+)="([^"]*)""#).unwrap();
        let mut texts = 0;
        for (_, [key, text]) in pattern.captures_iter(PAGE).map(|found| found.extract()) {
            assert_eq!(english[key], text, "{key}");
            texts += 1;
        }
        for (_, [of, key, attribute, text]) in
            attributes.captures_iter(PAGE).map(|found| found.extract())
        {
            assert_eq!((of, english[key].as_str()), (attribute, Some(text)), "{key}");
            texts += 1;
        }
        assert_eq!(texts, PAGE.matches("data-message").count(), "all are looked at");
        for (language, _) in LANGUAGES {
            let messages = messages_of(language);
            let (lang, text) =
                (messages["lang"].as_str().unwrap(), messages["unscripted"].as_str().unwrap());
            assert!(PAGE.contains(&format!("<p lang=\"{lang}\">{text}</p>")), "{language}");
        }
    }
}
