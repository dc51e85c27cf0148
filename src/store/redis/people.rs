//! Reads who is in a room: for a list with calls of a script, and page by page with scans. Neither blocks Redis for long, however
//! many are in the room.

use std::{str, sync::Arc};

use deadpool_redis::redis::{self, Script, Value};

use super::{
    call::{Call, Caller},
    reply::{array, bytes, decimal, flag, pairs, unexpected, whole},
};
use crate::{
    core::{
        count::Revision,
        people::{LISTED_MAX, Listed, People, is_listed},
        room::{IdentityKind, UserId},
    },
    store::{
        StoreError,
        people::{PeopleCursor, PeoplePage, PeoplePageQuery, PeopleQuery},
    },
};

/// How much of an incarnation's name stands beside a user: `TAG_BYTES` of the report's script.
const TAG_BYTES: usize = 12;
/// The most calls that read one list, beside the first. Each looks at about 1,000 users.
const FURTHER_PARTS_MAX: u32 = 999;
/// The most commands that read one page. In a room of visitors with few tokens, a page may stay empty.
const SCANS_MAX: usize = 8;

/// Reads who is in a room, for a list: in one call, or in a large room in as many as it takes.
pub(super) async fn people(
    caller: &Caller,
    script: &Script,
    keys: [&str; 2],
    query: &PeopleQuery,
) -> Result<People, StoreError> {
    let own = query.own.map(|own| own.to_string()).unwrap_or_default();
    let tag = &own[own.len().saturating_sub(TAG_BYTES)..];
    let named = query.listed.iter().take(LISTED_MAX);
    let (mut people, mut next) = read_part(caller, script, keys, tag, 0, named).await?;
    while next != 0 && people.further_parts < FURTHER_PARTS_MAX {
        let named = people.users.iter().map(|listed| &listed.user);
        let (part, after) = read_part(caller, script, keys, tag, next, named).await?;
        people.add(part);
        next = after;
    }
    Ok(people)
}

/// Reads a part of those who are in a room. Returns also where the next part begins; 0 if this was the last one.
async fn read_part(
    caller: &Caller,
    script: &Script,
    [key, meta]: [&str; 2],
    tag: &str,
    from: u64,
    named: impl Iterator<Item = &UserId>,
) -> Result<(People, u64), StoreError> {
    let mut call = script.prepare_invoke();
    call.key(key).key(meta).arg(tag).arg(from);
    for user in named {
        call.arg(user.as_str());
    }
    parse_people(&caller.run(&Call::Script(call)).await?.value)
}

fn parse_people(value: &Value) -> Result<(People, u64), StoreError> {
    let [more, revision, recovering, users, next] = array(value)? else {
        return Err(unexpected("list of users of another form"));
    };
    let (users, []) = array(users)?.as_chunks() else {
        return Err(unexpected("list of users with a part of a user"));
    };
    if users.len() > LISTED_MAX {
        return Err(unexpected("list of too many users"));
    }
    let mut people = People {
        users: Vec::new(),
        more: whole(more)?,
        revision: Revision(whole(revision)?),
        recovering: flag(recovering)?,
        further_parts: 0,
    };
    let next = decimal(bytes(next)?).ok_or_else(|| unexpected("cursor that is no number"))?;
    for [id, info, is_elsewhere] in users {
        let is_elsewhere = flag(is_elsewhere)?;
        if let Some(user) = listed(bytes(id)?) {
            people.users.push(Listed { user, info: information(bytes(info)?), is_elsewhere });
        }
    }
    Ok((people, next))
}

/// A user whom lists show. Another field is left out, since anybody may have put it there.
fn listed(id: &[u8]) -> Option<UserId> {
    let user = str::from_utf8(id).ok().and_then(UserId::parse)?;
    is_listed(&user).then_some(user)
}

fn information(text: &[u8]) -> Option<Arc<str>> {
    str::from_utf8(text).ok().filter(|text| !text.is_empty()).map(Arc::from)
}

/// Reads a page of those who are in a room.
///
/// What one scan returns goes on one page as a whole, since the same scan may return more at another time. What does not fit is
/// left to the next page. Only a small hash comes as a whole, whatever is asked for, and so may a bucket that is larger than the
/// page: that is put in order, and the cursor names the last user who is on a page.
pub(super) async fn page(
    caller: &Caller,
    key: &str,
    query: &PeoplePageQuery,
) -> Result<PeoplePage, StoreError> {
    let most = query.most.max(1);
    let mut page = PeoplePage::default();
    let mut cursor = query.cursor.clone().unwrap_or_default();
    let mut is_large = false;
    for _ in 0..SCANS_MAX {
        let space = most - page.users.len();
        // A scan may return some more than it was asked for.
        let asked = if is_large || cursor.after.is_some() { 1 } else { (space * 2 / 3).max(1) };
        let mut scan = redis::cmd("HSCAN");
        let with_token = format!("{}*", IdentityKind::Token.prefix());
        scan.arg(key).arg(cursor.scan).arg("MATCH").arg(with_token).arg("COUNT").arg(asked);
        let scanned = caller.run(&Call::Command(scan)).await?;
        let (next, mut portion) = portion(&scanned.value)?;
        portion.retain(|(user, _)| Some(user) > cursor.after.as_ref());
        if portion.len() > space {
            if !page.users.is_empty() {
                break;
            }
            if asked > 1 {
                is_large = true;
                continue;
            }
            portion.truncate(space);
            cursor.after = portion.last().map(|(user, _)| user.clone());
            page.users = portion;
            break;
        }
        page.users.append(&mut portion);
        if next == 0 {
            return Ok(page);
        }
        cursor = PeopleCursor { scan: next, after: None };
        if page.users.len() == most {
            break;
        }
    }
    page.next = Some(cursor);
    Ok(page)
}

type Portion = Vec<(UserId, Option<Arc<str>>)>;

/// Parses one answer to `HSCAN`: where to go on, and users in the order of their ids.
fn portion(value: &Value) -> Result<(u64, Portion), StoreError> {
    let [cursor, fields] = array(value)? else {
        return Err(unexpected("scan of another length"));
    };
    let cursor = decimal(bytes(cursor)?).ok_or_else(|| unexpected("cursor that is no number"))?;
    let mut users = Vec::new();
    for [id, stored] in pairs(fields)? {
        let stored = bytes(stored)?;
        let info = stored.iter().position(|&byte| byte == b'{').map_or(&[][..], |at| &stored[at..]);
        if let Some(user) = listed(bytes(id)?) {
            users.push((user, information(info)));
        }
    }
    users.sort_unstable();
    users.dedup_by(|one, other| one.0 == other.0);
    Ok((cursor, users))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Nil),
            any::<i64>().prop_map(Value::Int),
            "t:[a-z]{0,2}|v:x|[01]|\\{\\}".prop_map(|word| text(&word)),
            proptest::collection::vec(any::<u8>(), 0..4).prop_map(Value::BulkString),
        ];
        leaf.prop_recursive(3, 20, 6, |inner| {
            proptest::collection::vec(inner, 0..7).prop_map(Value::Array)
        })
    }

    proptest! {
        /// Goal: no answer causes a panic, and only users with a token are read. Method: random answers.
        #[test]
        fn any_answer_may_come(value in value()) {
            if let Ok((people, _)) = parse_people(&value) {
                prop_assert!(people.users.iter().all(|listed| is_listed(&listed.user)));
            }
            if let Ok((_, users)) = portion(&value) {
                prop_assert!(users.iter().all(|(user, _)| is_listed(user)));
            }
        }
    }

    /// Goal: fields that are no users with a token are left out, and what is malformed is an error. Method: one of each kind.
    #[test]
    fn what_is_no_user_is_left_out() {
        let user = |id: &str| [text(id), text("{}"), text("1")];
        let list_of = |users: Vec<Value>| {
            let users = Value::Array(users);
            Value::Array(vec![Value::Int(3), text("7"), Value::Int(0), users, text("12")])
        };
        let list = |users: &[[Value; 3]]| list_of(users.concat());
        let (people, next) = parse_people(&list(&[user("t:a"), user("v:b"), user("c")])).unwrap();
        let ids: Vec<&str> = people.users.iter().map(|listed| listed.user.as_str()).collect();
        assert_eq!((ids, people.more, people.revision), (vec!["t:a"], 3, Revision(7)));
        assert_eq!(next, 12);
        assert!(parse_people(&list(&[[text("t:a"), text(""), text("2")]])).is_err());
        assert!(parse_people(&list_of(vec![text("t:a")])).is_err());
        let many: Vec<_> = (0..101).map(|number| user(&format!("t:{number}"))).collect();
        assert!(parse_people(&list(&many)).is_err());
    }
}
