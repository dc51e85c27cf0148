//! Checks the token of requests to the admin listener, or the cookie that a browser got for it, if a token is set. Wrong tokens
//! are limited in their rate, and a guess by cookies costs the guesser a slow computation.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use askama::Template;
use axum::{
    body::Bytes,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Redirect, Response},
};
use tokio::{sync::OnceCell, task::spawn_blocking, time::Instant};

use crate::{
    access::{
        admin_token::{AdminToken, COOKIE_SECONDS},
        origin::Origins,
        rate_limit::TokenBucket,
    },
    telemetry::log_limit::LogLimit,
};

/// Wrong tokens that are looked at at once.
const WRONG_BURST: u32 = 5;
/// Wrong tokens that are looked at each second from then on.
const WRONG_PER_SECOND: u32 = 1;
/// Until the next token is looked at, in seconds.
const RETRY_AFTER: &str = "1";
/// Least time between two log lines about wrong tokens.
const LOG_GAP: Duration = Duration::from_mins(1);
/// The cookie. Cookies know no ports: instances on one host share it, as they share the token.
const COOKIE: &str = "headcount_admin";
/// The most cookies of that name that are looked at: a browser sends one, or one for each path.
const COOKIES_MAX: usize = 4;
/// The most bytes of a login form.
pub(super) const FORM_BYTES_MAX: usize = 2048;

/// The door of the admin listener.
#[derive(Debug)]
pub struct Door {
    /// `None` if it is open.
    token: Option<AdminToken>,
    wrong: Mutex<TokenBucket>,
    log: LogLimit,
    /// Whether the token has the key of its cookies. All that ask before wait for one computation.
    cookie_key: OnceCell<()>,
}

/// What became of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tried {
    Right,
    Wrong,
    TooOften,
}

/// The page with the form. What it says is a constant.
#[derive(Template)]
#[template(path = "sign_in.html")]
struct Form {
    trouble: &'static str,
}

impl Door {
    /// A door that asks for `token`, or is open without one.
    pub fn new(token: Option<AdminToken>) -> Self {
        let wrong = Mutex::new(TokenBucket::new(WRONG_BURST, WRONG_PER_SECOND, Instant::now()));
        Self { token, wrong, log: LogLimit::new(LOG_GAP), cookie_key: OnceCell::new() }
    }

    /// Waits until cookies can be made and checked at once. The first caller starts the computation, on a thread for such work.
    async fn ready_for_cookies(&self, token: &AdminToken) {
        let make = || async {
            let token = token.clone();
            // It fails only at the end of the program.
            let _ = spawn_blocking(move || token.make_cookie_key()).await;
        };
        self.cookie_key.get_or_init(make).await;
    }

    /// Tries a token. While too many were wrong none is looked at, so the answer tells nothing.
    fn try_token(&self, token: &AdminToken, presented: &str) -> Tried {
        let now = Instant::now();
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        if !wrong.has(1, now) {
            return Tried::TooOften;
        }
        if token.is(presented) {
            return Tried::Right;
        }
        wrong.spend(1, now);
        if let Some(held_back) = self.log.admit(now) {
            tracing::warn!(held_back, "a wrong admin token was refused");
        }
        Tried::Wrong
    }
}

/// Middleware: lets requests through that may read.
pub(super) async fn guard(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    let Some(token) = &door.token else { return next.run(request).await };
    let headers = request.headers();
    let now = unix_seconds();
    if cookies(headers).next().is_some() {
        door.ready_for_cookies(token).await;
    }
    if cookies(headers).take(COOKIES_MAX).any(|value| token.takes_cookie(value, now)) {
        return next.run(request).await;
    }
    let tried = bearer(headers).map(|presented| door.try_token(token, presented));
    match tried {
        Some(Tried::Right) => next.run(request).await,
        Some(refused) => refusal(refused, headers),
        None => ask(headers),
    }
}

/// The answer to a login form: a cookie and the way to the console, or the form again.
pub(super) async fn sign_in(
    State(door): State<Arc<Door>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if !Origins::Same.allow_page_of(&headers) {
        return (StatusCode::FORBIDDEN, "sign in on this page itself\n").into_response();
    }
    let Some(token) = &door.token else { return Redirect::to("./").into_response() };
    let fields = url::form_urlencoded::parse(&body);
    let presented = fields.into_iter().find(|(name, _)| name == "token").map(|(_, value)| value);
    match door.try_token(token, presented.as_deref().unwrap_or_default().trim()) {
        Tried::Right => {
            door.ready_for_cookies(token).await;
            let cookie = token.cookie(unix_seconds());
            enter(&headers, &cookie, COOKIE_SECONDS)
        }
        refused => refusal(refused, &headers),
    }
}

/// Forgets the cookie.
pub(super) async fn sign_out(headers: HeaderMap) -> Response {
    if !Origins::Same.allow_page_of(&headers) {
        return (StatusCode::FORBIDDEN, "sign out on the page itself\n").into_response();
    }
    enter(&headers, "", 0)
}

/// Sets the cookie and leads to the console. The address is relative, since a proxy may have put it below a path.
fn enter(headers: &HeaderMap, cookie: &str, seconds: u64) -> Response {
    let is_https = headers.get("x-forwarded-proto").is_some_and(|scheme| scheme == "https");
    let secure = if is_https { "; Secure" } else { "" };
    let cookie =
        format!("{COOKIE}={cookie}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
    ([(header::SET_COOKIE, cookie)], Redirect::to("./")).into_response()
}

fn ask(headers: &HeaderMap) -> Response {
    refuse(StatusCode::UNAUTHORIZED, "", headers)
}

fn refusal(tried: Tried, headers: &HeaderMap) -> Response {
    match tried {
        Tried::TooOften => {
            let text = "Too many wrong tokens. Try again in a moment.";
            let wait = [(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER))];
            (wait, refuse(StatusCode::TOO_MANY_REQUESTS, text, headers)).into_response()
        }
        _ => refuse(StatusCode::UNAUTHORIZED, "This is not the token.", headers),
    }
}

/// The form for people, a line for programs.
fn refuse(status: StatusCode, trouble: &'static str, headers: &HeaderMap) -> Response {
    let challenge = [(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))];
    if !wants_html(headers) {
        let line = "this needs the admin token: Authorization: Bearer TOKEN\n";
        let line = if trouble.is_empty() { line.to_owned() } else { format!("{trouble}\n") };
        return (status, challenge, line).into_response();
    }
    let form = Form { trouble }.render().unwrap_or_default();
    let media_type = [(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"))];
    (status, challenge, media_type, form).into_response()
}

/// Whether a person asks, with a browser.
pub(super) fn wants_html(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter();
    accepted.filter_map(|value| value.to_str().ok()).any(|value| value.contains("text/html"))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The values of our cookie: a browser may hold several, for different paths.
fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(header::COOKIE).iter();
    let pairs = lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(';'));
    pairs.filter_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// Goal: credentials are found in every form that clients send, and nowhere else. Method: valid and invalid headers.
    #[rstest]
    #[case("Bearer abc", Some("abc"))]
    #[case("bearer  abc ", Some("abc"))]
    #[case("Basic abc", None)]
    #[case("Bearer", None)]
    #[case("", None)]
    fn bearer_tokens(#[case] value: &'static str, #[case] expected: Option<&str>) {
        let headers: HeaderMap =
            [(header::AUTHORIZATION, HeaderValue::from_static(value))].into_iter().collect();
        assert_eq!(bearer(&headers), expected);
    }

    /// Goal: our cookie is found among others. Method: one of several, several of ours, and names that contain ours.
    #[rstest]
    #[case("headcount_admin=1.a", &["1.a"])]
    #[case("a=b; headcount_admin=1.a;headcount_admin=", &["1.a", ""])]
    #[case("headcount_admins=1.a; xheadcount_admin=2", &[])]
    fn cookies_by_name(#[case] value: &'static str, #[case] expected: &[&str]) {
        let headers: HeaderMap =
            [(header::COOKIE, HeaderValue::from_static(value))].into_iter().collect();
        assert_eq!(cookies(&headers).collect::<Vec<_>>(), expected);
    }

    /// Goal: after five wrong tokens none is looked at, not even the right one, until some time has passed. Method: a clock
    /// that stands still, then moves.
    #[tokio::test(start_paused = true)]
    async fn wrong_tokens_are_limited() {
        let token = AdminToken::parse("swordfish-swordfish").unwrap();
        let door = Door::new(Some(token.clone()));
        for _ in 0..100 {
            assert_eq!(door.try_token(&token, "swordfish-swordfish"), Tried::Right);
        }
        for _ in 0..WRONG_BURST {
            assert_eq!(door.try_token(&token, "swordfish"), Tried::Wrong);
        }
        for presented in ["swordfish", "swordfish-swordfish"] {
            assert_eq!(door.try_token(&token, presented), Tried::TooOften);
        }
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(door.try_token(&token, "swordfish-swordfish"), Tried::Right);
        assert_eq!(door.try_token(&token, ""), Tried::Wrong);
        assert_eq!(door.try_token(&token, "swordfish-swordfish"), Tried::TooOften);
    }

    /// Goal: nobody waits for the computation of the cookies' key but who needs it. Method: one thread, on which another task
    /// must have its turn before the first cookie can be made.
    #[tokio::test]
    async fn others_go_on_while_the_key_of_cookies_is_made() {
        let token = AdminToken::parse("swordfish-swordfish").unwrap();
        let door = Door::new(Some(token.clone()));
        let order = Mutex::new(Vec::new());
        let note = |who| order.lock().unwrap().push(who);
        tokio::join!(
            async {
                door.ready_for_cookies(&token).await;
                note("cookies");
            },
            async { note("another") },
        );
        assert_eq!(*order.lock().unwrap(), ["another", "cookies"]);
    }
}
