//! Tells clients the count.

pub mod broadcaster;
mod fan_out;
