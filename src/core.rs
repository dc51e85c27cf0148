//! The core of the count: what is counted, reported, known and paced. Pure: no clock, no I/O, no sockets.

pub mod about;
pub mod count;
pub mod fold_clock;
pub mod included;
pub mod lists;
pub mod pace;
pub mod peak_watch;
pub mod peaks;
pub mod people;
pub mod prune;
pub mod report;
pub mod room;
pub mod room_counts;
pub mod rooms;
pub mod site_users;
pub mod small_map;
pub mod tally;
pub mod user_list;
pub mod view;
