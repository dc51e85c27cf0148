//! JSON of the API. Names of rooms in it are made by strangers, and people read answers in terminals, so everything that a
//! terminal might not show as it is is escaped.

use axum::{
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::telemetry::escaped::escaped_json;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// An answer with this value as its body.
pub(super) fn answer(value: &impl Serialize) -> Response {
    ([(header::CONTENT_TYPE, JSON)], text(value)).into_response()
}

/// An answer with this JSON as its body.
pub(super) fn answer_with(json: String) -> Response {
    ([(header::CONTENT_TYPE, JSON)], harmless(json)).into_response()
}

/// The JSON of a value.
pub(super) fn text(value: &impl Serialize) -> String {
    harmless(serde_json::to_string(value).expect("answers have only texts for keys"))
}

fn harmless(json: String) -> String {
    let is_harmless = json.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if is_harmless { json } else { escaped_json(&json) }
}
