//! Tells clients the counts of the site and of their rooms.

pub mod broadcaster;
pub mod lists;
pub mod rooms;

mod fan_out;
mod provisional;
