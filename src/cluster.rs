//! Taking part in a cluster: what an application of one's own uses, without any sockets.

pub mod counts;
pub mod member;
