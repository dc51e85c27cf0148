//! Telling clients the count: what is said when, and to whom.

pub mod broadcaster;
mod fan_out;
