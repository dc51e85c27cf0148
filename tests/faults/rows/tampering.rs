//! Faults made by people who write into the keys of headcount.

mod rooms;

use headcount_testkit::redis_client::{CONNECTIONS, KEY};

use super::row;
use crate::{
    checker::Sees,
    row::{Bound, Row},
    stage::Stage,
};

/// All rows about tampering.
pub(super) fn rows() -> Vec<Row> {
    [public_key(), lost_parts(), edited_parts(), rooms::rows()].concat()
}

/// Clients see no effect, because their counts do not come from this key.
fn public_key() -> Vec<Row> {
    let nothing_seen = |row| Row { sees: Sees::Nothing, ..row };
    vec![
        nothing_seen(row(
            "public-set",
            "`SET currentUsers 99999` by hand",
            Bound::ONE_SECOND,
            |stage| Box::pin(write(stage, &[&["SET", KEY, "99999"]])),
        )),
        nothing_seen(row("public-list", "currentUsers made a list", Bound::ONE_SECOND, |stage| {
            Box::pin(write(stage, &[&["DEL", KEY], &["RPUSH", KEY, "99999"]]))
        })),
        nothing_seen(row("public-del", "`DEL currentUsers`", Bound::ONE_SECOND, |stage| {
            Box::pin(write(stage, &[&["DEL", KEY]]))
        })),
    ]
}

/// A lost part is marked, and estimates replace it.
fn lost_parts() -> Vec<Row> {
    let lost = |name, fault, play| row(name, fault, Bound::LEASE_AND_2_HEARTBEATS, play);
    vec![
        lost("connections-del", "the hash of connections deleted", |stage| {
            Box::pin(write(stage, &[&["DEL", CONNECTIONS]]))
        }),
        lost("sequence-del", "the hash of sequences deleted", |stage| {
            Box::pin(write(stage, &[&["DEL", SEQUENCE]]))
        }),
        lost("leases-del", "the set of leases deleted", |stage| {
            Box::pin(write(stage, &[&["DEL", LEASES]]))
        }),
        lost("fences-del", "the sequences and the leases deleted", |stage| {
            Box::pin(write(stage, &[&["DEL", SEQUENCE], &["DEL", LEASES]]))
        }),
        lost("meta-del", "the hash of meta data deleted", |stage| {
            Box::pin(write(stage, &[&["DEL", META]]))
        }),
        lost("connections-type", "the hash of connections made a string", |stage| {
            Box::pin(write(stage, &[&["SET", CONNECTIONS, "rubbish"]]))
        }),
        lost("sequence-type", "the hash of sequences made a list", |stage| {
            Box::pin(write(stage, &[&["DEL", SEQUENCE], &["RPUSH", SEQUENCE, "rubbish"]]))
        }),
        lost("leases-type", "the set of leases made a hash", |stage| {
            Box::pin(write(stage, &[&["DEL", LEASES], &["HSET", LEASES, "rubbish", "1"]]))
        }),
        lost("meta-type", "the hash of meta data made a set", |stage| {
            Box::pin(write(stage, &[&["DEL", META], &["SADD", META, "rubbish"]]))
        }),
    ]
}

/// A wrong number looks like a right one until it is recounted.
fn edited_parts() -> Vec<Row> {
    let edited =
        |name, fault, bound, play| Row { sees: Sees::Anything, ..row(name, fault, bound, play) };
    vec![
        edited(
            "stranger",
            "a part of nobody with 500 users written by hand",
            Bound::ONE_SECOND,
            |stage| Box::pin(write(stage, &[&["HSET", CONNECTIONS, "nobody", "500"]])),
        ),
        edited("rubbish-part", "a part with rubbish written by hand", Bound::ONE_SECOND, |stage| {
            Box::pin(write(stage, &[&["HSET", CONNECTIONS, "nobody", "-1e9 rubbish"]]))
        }),
        edited(
            "total",
            "the stored total set to 99999 by hand",
            Bound::LEASE_AND_2_HEARTBEATS,
            |stage| Box::pin(write(stage, &[&["HSET", META, "total", "99999"]])),
        ),
        edited(
            "revision",
            "the stored revision set to 1 by hand",
            Bound::LEASE_AND_2_HEARTBEATS,
            |stage| Box::pin(write(stage, &[&["HSET", META, "revision", "1"]])),
        ),
    ]
}

pub(super) const SEQUENCE: &str = "{currentUsers}:sequence";
pub(super) const LEASES: &str = "{currentUsers}:leases";
pub(super) const META: &str = "{currentUsers}:meta";

/// Goal: a manual change of the keys is noticed and corrected. Method: these commands in one
/// transaction, so that no report runs between them.
async fn write(stage: &mut Stage, commands: &[&[&str]]) {
    stage.begin();
    stage.redis_client.transact(commands).await.expect("Redis runs");
}
