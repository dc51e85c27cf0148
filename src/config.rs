//! Settings: read from flags and environment, checked as a whole before anything binds. The only reader of
//! the environment.
//!
//! Every raw value is a string here, so that a refusal can name the variable, the value and what is allowed,
//! whether it came from a flag or from the environment.

pub mod service_manager;
pub mod setting;

mod admin_hosts;
mod admin_token;
mod sign_in;
pub mod store;
pub mod timing;

mod instance_name;

pub mod health;
pub mod member;
pub mod serve;
pub mod status;

pub mod command_line;

#[cfg(test)]
#[path = "config/tests.rs"]
mod tests;
