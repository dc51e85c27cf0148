//! Manual changes of the keys by somebody with access to Redis.

use proptest::prelude::*;

use super::{
    super::stage::{ABOUT, CONNECTIONS, LEASES, META, Outcome, PUBLIC, SEQUENCE, STORED, Stage},
    life::Who,
};

/// One command, or two.
#[derive(Clone, Copy, Debug)]
pub(super) enum Tampering {
    Set {
        value: &'static str,
    },
    Delete {
        key: &'static str,
    },
    MakeList {
        key: &'static str,
    },
    /// The entry of an instance, real or invented, is set or removed.
    Field {
        key: &'static str,
        owner: Option<Who>,
        value: Option<&'static str>,
    },
    Meta {
        field: &'static str,
        value: Option<&'static str>,
    },
}

/// Valid and invalid values for a field.
const VALUES: &[&str] = &[
    "0",
    "1",
    "7",
    "12",
    "400",
    "2500",
    "1e3",
    "-5",
    "1.5",
    "",
    "x",
    "nan",
    "inf",
    "-inf",
    "1e300",
    "1000000001",
    "1000000000000000",
    "4503599627370497",
    "9007199254740990",
    "9007199254740993",
];

/// Leases beyond every bound are not among them: an instance that dies with one is counted for five
/// minutes. The directed cases test them.
const EXPIRIES: &[&str] = &["0", "-5", "1.5", "700", "-inf"];

const META_FIELDS: &[&str] =
    &["total", "revision", "announced", "announced_at", "audited", "recovering", "clock", "heard"];

pub(super) fn tampering(living: Vec<Who>) -> impl Strategy<Value = Tampering> {
    let key = || proptest::sample::select(&STORED[..]);
    let owner = prop_oneof![
        1 => Just(None),
        3 => proptest::sample::select(living).prop_map(Some),
    ];
    let value =
        || prop_oneof![1 => Just(None), 8 => proptest::sample::select(VALUES).prop_map(Some)];
    let hash = proptest::sample::select(&[CONNECTIONS, SEQUENCE, ABOUT][..]);
    let expiry =
        prop_oneof![1 => Just(None), 3 => proptest::sample::select(EXPIRIES).prop_map(Some)];
    prop_oneof![
        1 => proptest::sample::select(VALUES).prop_map(|value| Tampering::Set { value }),
        2 => key().prop_map(|key| Tampering::Delete { key }),
        2 => key().prop_map(|key| Tampering::MakeList { key }),
        3 => (hash, owner.clone(), value())
            .prop_map(|(key, owner, value)| Tampering::Field { key, owner, value }),
        1 => (owner, expiry)
            .prop_map(|(owner, value)| Tampering::Field { key: LEASES, owner, value }),
        3 => (proptest::sample::select(META_FIELDS), value()).prop_map(|(field, value)| {
            // A mark that is removed like this cannot end later, and its end would be a revision. So views
            // call the right number an estimate until the count changes.
            let is_over = field == "recovering" && value == Some("0");
            Tampering::Meta { field, value: if is_over { Some("1") } else { value } }
        }),
    ]
}

impl Tampering {
    pub(super) fn is_of_public_key(self) -> bool {
        match self {
            Self::Set { .. } => true,
            Self::Delete { key } | Self::MakeList { key } => key == PUBLIC,
            Self::Field { .. } | Self::Meta { .. } => false,
        }
    }

    /// The instance whose entry is edited.
    pub(super) fn owner(self) -> Option<Who> {
        match self {
            Self::Field { owner, .. } => owner,
            _ => None,
        }
    }

    /// Makes the change. `name` is that of the instance whose entry is edited.
    pub(super) fn happen(self, name: &str, stage: &mut Stage<'_>) -> Outcome {
        match self {
            Self::Set { value } => stage.redis("SET", (PUBLIC, value)),
            Self::Delete { key } => stage.redis("DEL", key),
            Self::MakeList { key } => {
                stage.redis::<()>("DEL", key)?;
                stage.redis("LPUSH", (key, "x"))
            }
            Self::Field { key: LEASES, value: Some(expiry), .. } => {
                unless_wrong_type(stage.redis("ZADD", (LEASES, expiry, name)))
            }
            Self::Field { key: LEASES, value: None, .. } => {
                unless_wrong_type(stage.redis("ZREM", (LEASES, name)))
            }
            Self::Field { key, value, .. } => edit(key, name, value, stage),
            Self::Meta { field, value } => edit(META, field, value, stage),
        }
    }
}

fn edit(key: &str, field: &str, value: Option<&str>, stage: &mut Stage<'_>) -> Outcome {
    unless_wrong_type(match value {
        Some(value) => stage.redis("HSET", (key, field, value)),
        None => stage.redis("HDEL", (key, field)),
    })
}

/// An earlier change may have replaced the key by a list.
fn unless_wrong_type(outcome: Outcome) -> Outcome {
    outcome.or_else(|error| if error.contains("WRONGTYPE") { Ok(()) } else { Err(error) })
}
