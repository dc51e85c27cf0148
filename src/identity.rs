//! Who a client is: from the token or the visitor key of a CONNECT to a user.
//!
//! ```text
//!  HEADCOUNT_JWT_KEYS ─┬─ files ───────────────────┐
//!                      └─ URLs ──▶ issuer (task) ──┤ keys
//!                                                  ▼
//!  token ───▶ length ─▶ header ─▶ key ─▶ signature ─▶ claims ──▶ Identity
//!  visitor key ───▶ keyed hash ───▶ Person
//! ```
//!
//! Verifying is pure: it neither waits nor asks anybody. Only [`issuer`] talks to other servers, in the background. A token, a
//! secret and a visitor key are in no log, no error and no `Debug` output.

pub mod algorithm;
pub mod keys;
pub mod secret;

mod point;

mod jwk;
mod pem;

pub mod key_file;
pub mod sources;

mod claims;
mod ring_provider;

pub mod rights;
pub mod token;

mod fetch;

pub mod issuer;
pub mod sign_in;
pub mod visitor;
