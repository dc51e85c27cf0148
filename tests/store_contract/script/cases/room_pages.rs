//! Cases of what is announced of rooms.

use std::collections::BTreeMap;

use super::super::{
    instance::{Holder, ROOMS, beat},
    stage::{NO_ARGUMENTS, Outcome, Stage, ensure, same},
};
use crate::setup::SOON;

/// The channel of pages.
const PAGES: &str = "user count:rooms";
const UNANNOUNCED: &str = "{currentUsers}:unannounced";

/// A page of rooms.
#[derive(Debug, serde::Deserialize)]
pub(super) struct Page {
    revision: u64,
    since: u64,
    pub(super) rooms: BTreeMap<String, u64>,
}

/// Plays something, and returns the messages of the rooms' channel up to it.
fn messages(
    stage: &mut Stage<'_>,
    play: impl FnOnce(&mut Stage<'_>) -> Outcome,
) -> Result<Vec<String>, String> {
    const END: &str = "the end";
    let text = |error: deadpool_redis::redis::RedisError| error.to_string();
    let mut connection = stage.server.connection();
    let mut subscription = connection.as_pubsub();
    subscription.subscribe(PAGES).map_err(text)?;
    subscription.set_read_timeout(Some(SOON)).map_err(text)?;
    play(stage)?;
    stage.redis::<u64>("PUBLISH", (PAGES, END))?;
    let mut heard = Vec::new();
    loop {
        let message = subscription.get_message().map_err(text)?;
        let payload: String = message.get_payload().map_err(|error| error.to_string())?;
        if payload == END {
            return Ok(heard);
        }
        heard.push(payload);
    }
}

pub(super) fn pages(
    stage: &mut Stage<'_>,
    play: impl FnOnce(&mut Stage<'_>) -> Outcome,
) -> Result<Vec<Page>, String> {
    let read = |text: &String| serde_json::from_str(text).map_err(|why| format!("{why}: {text}"));
    messages(stage, play)?.iter().map(read).collect()
}

/// Goal: pages have the documented format. Method: compare the text of a page with names that need escapes.
pub(super) fn page_format(stage: &mut Stage<'_>) -> Outcome {
    let mut a = Holder::new("a", 0);
    let (first, second) = (r#"/a"b"#, r"/ö\c");
    let mut stamp = String::new();
    let heard = messages(stage, |stage| {
        stamp = a.set(first, 2).set(second, 1).report(stage)?.stamp;
        stage.wait(10);
        a.report(stage)?;
        Ok(())
    })?;
    let rooms = [r#""/a\"b":2"#, r#""/ö\\c":1"#];
    let expected = [[0, 1], [1, 0]].map(|order| {
        let rooms = order.map(|place: usize| rooms[place]).join(",");
        let beginning = format!(r#"{{"revision":1,"since":0,"stamp":"{stamp}","rooms":{{"#);
        format!(r#"{beginning}{rooms}}},"key":"currentUsers","database":0}}"#)
    });
    ensure(
        &format!("{heard:?} is one of {expected:?}"),
        heard.len() == 1 && expected.contains(&heard[0]),
    )
}

/// Goal: many rooms come in pages of a limited size, each names the one before, and together they say everything. Method: 250
/// rooms, and the revision of the last page in the reply.
pub(super) fn pages_are_a_chain(stage: &mut Stage<'_>) -> Outcome {
    let mut a = Holder::new("a", 0);
    let mut last = 0;
    let heard = pages(stage, |stage| {
        for room in 0..250 {
            a.set(&format!("/p{room}"), room + 1);
        }
        for _ in 0..6 {
            stage.wait(10);
            last = a.report(stage)?.paged;
        }
        Ok(())
    })?;
    same(
        "sizes",
        heard.iter().map(|page| page.rooms.len()).collect::<Vec<_>>(),
        vec![100, 100, 50],
    )?;
    let mut since = 0;
    for page in &heard {
        same("the page before", page.since, since)?;
        ensure("a revision of its own", page.revision > since)?;
        since = page.revision;
    }
    same("the last page", since, last)?;
    let all: BTreeMap<_, _> = heard.into_iter().flat_map(|page| page.rooms).collect();
    let expected = (0..250).map(|room| (format!("/p{room}"), room + 1)).collect();
    same("all rooms", all, expected)
}

/// Goal: a room that is empty is announced as 0, and what is waiting is told by the reply. Method: two changes, of which the
/// second is too early for a page.
pub(super) fn empty_rooms_are_announced(stage: &mut Stage<'_>) -> Outcome {
    let mut a = Holder::new("a", 0);
    let heard = pages(stage, |stage| {
        a.report(stage)?;
        stage.wait(10);
        a.set("/p", 2).report(stage)?;
        let waiting = a.set("/p", 0).report(stage)?;
        ensure("something waits", waiting.unannounced)?;
        stage.wait(10);
        ensure("nothing waits", !a.report(stage)?.unannounced)
    })?;
    let rooms: Vec<_> = heard.into_iter().map(|page| page.rooms["/p"]).collect();
    same("counts", rooms, vec![2, 0])
}

/// The pages that a report leads to, as the counts of their rooms.
fn pages_of(
    stage: &mut Stage<'_>,
    play: impl FnOnce(&mut Stage<'_>) -> Outcome,
) -> Result<Vec<BTreeMap<String, u64>>, String> {
    stage.wait(10);
    Ok(pages(stage, play)?.into_iter().map(|page| page.rooms).collect())
}

/// A page with one room.
fn page_of(room: &str, count: u64) -> Vec<BTreeMap<String, u64>> {
    vec![BTreeMap::from([(room.to_owned(), count)])]
}

/// Goal: a room is announced if other users are in it, although they are as many: lists follow from that. Method: within one report a
/// user takes the place of another, then a connection without identity does. A repetition is no news.
pub(super) fn swaps_are_announced(stage: &mut Stage<'_>) -> Outcome {
    let mut a = Holder::new("a", 1);
    a.join("/p", "u").report(stage)?;
    stage.wait(10);
    a.report(stage)?;
    let swap = [("u", "-"), ("v", "+")];
    for expected in [page_of("/p", 1), Vec::new()] {
        let heard = pages_of(stage, |stage| {
            a.group("/p", "", &swap).report(stage)?;
            Ok(())
        })?;
        same("pages", heard, expected)?;
    }
    let heard = pages_of(stage, |stage| {
        a.group("/p", "1", &[("v", "-")]).report(stage)?;
        Ok(())
    })?;
    same("pages", heard, page_of("/p", 1))
}

/// Goal: the same if it is a dead instance whose user is taken away. Method: an instance goes on as another one, without its user and
/// with a connection instead.
pub(super) fn the_dead_are_swapped(stage: &mut Stage<'_>) -> Outcome {
    let mut a = Holder::new("a", 1);
    let mut b = Holder::new("b", 1);
    a.join("/p", "u").report(stage)?;
    stage.wait(10);
    a.report(stage)?;
    b.former = a.incarnation();
    let heard = pages_of(stage, |stage| {
        b.set("/p", 1).report(stage)?;
        Ok(())
    })?;
    same("pages", heard, page_of("/p", 1))
}

/// Goal: a room is announced if other things are known of a user, and not for the mere reason that another instance has him, too.
/// Method: two instances join the same user, then one says something of him, twice.
pub(super) fn new_information_is_announced(stage: &mut Stage<'_>) -> Outcome {
    let (mut a, mut b) = (Holder::new("a", 1), Holder::new("b", 1));
    a.join("/p", "u").report(stage)?;
    stage.wait(10);
    a.report(stage)?;
    let said = [("+", Vec::new()), (r#"+{"n":1}"#, page_of("/p", 1)), (r#"+{"n":1}"#, Vec::new())];
    for (word, expected) in said {
        let heard = pages_of(stage, |stage| {
            b.group("/p", "", &[("u", word)]).report(stage)?;
            Ok(())
        })?;
        same(word, heard, expected)?;
    }
    Ok(())
}

/// Goal: pages keep the pace that the number of instances sets. Method: 200 changes of a room within 100 ms by twenty instances,
/// which allow one page every 10 ms.
pub(super) fn pages_are_paced(stage: &mut Stage<'_>) -> Outcome {
    let mut holders: Vec<_> = (0..20).map(|index| Holder::new(&format!("i{index}"), 0)).collect();
    for holder in &mut holders {
        holder.report(stage)?;
    }
    let heard = pages(stage, |stage| {
        for change in 0..200 {
            stage.wait(change % 2);
            let place = usize::try_from(change % 20).expect("small");
            holders[place].set("/p", change + 1).report(stage)?;
        }
        Ok(())
    })?;
    ensure(&format!("{} pages", heard.len()), (5..=100 / 10 + 2).contains(&heard.len()))
}

/// Goal: changes of rooms leave the site's channel alone, and changes of the site that of rooms. Method: one of each, and the
/// revisions in the replies.
pub(super) fn channels_are_apart(stage: &mut Stage<'_>) -> Outcome {
    let mut a = Holder::new("a", 1);
    let first = a.report(stage)?;
    stage.wait(500);
    let of_room = a.set("/p", 1).report(stage)?;
    same("announced of the site", of_room.announced, first.announced)?;
    ensure("and nothing waits", !of_room.unannounced)?;
    stage.wait(500);
    a.users = 2;
    let of_site = a.report(stage)?;
    same("announced of the site", of_site.announced, of_site.revision)?;
    same("paged", of_site.paged, of_room.paged)
}

/// Goal: nothing is announced of rooms during a recovery; its end is, and whoever missed that notices that a page is missing. Method:
/// a rollback, with a change during the recovery and one after it.
pub(super) fn a_recovery_is_a_gap(stage: &mut Stage<'_>) -> Outcome {
    let mut a = Holder::new("a", 1);
    a.set("/p", 1).report(stage)?;
    let old = stage.snapshot()?;
    a.report(stage)?;
    let before = a.report(stage)?;
    stage.restore(&old)?;
    let during = pages(stage, |stage| {
        a.report(stage)?;
        stage.wait(500);
        a.set("/p", 2).set("/q", 1).report(stage)?;
        Ok(())
    })?;
    ensure(&format!("none of {during:?}"), during.is_empty())?;
    let end = pages(stage, |stage| beat(stage, 6, &mut [&mut a]))?;
    ensure(&format!("the end alone: {end:?}"), end.len() == 1 && end[0].rooms.is_empty())?;
    let after = pages(stage, |stage| {
        a.set("/p", 3).report(stage)?;
        Ok(())
    })?;
    same("pages", after.len(), 1)?;
    for page in [&end[0], &after[0]] {
        ensure("a page is missing before it", page.since > before.paged)?;
    }
    same("none is missing after the end", after[0].since, end[0].revision)?;
    same("what waited is gone", stage.redis::<u64>("EXISTS", UNANNOUNCED)?, 0)
}

/// Goal: whoever reads the channel of rooms learns that they are empty after a flush, even if no instance has rooms any more. Method:
/// an instance with a room that dies, a flush, and one that never had rooms.
pub(super) fn a_flush_of_all_rooms_is_told(stage: &mut Stage<'_>) -> Outcome {
    let (mut a, mut b) = (Holder::new("a", 1), Holder::new("b", 1));
    let first = pages(stage, |stage| {
        a.set("/p", 1).report(stage)?;
        stage.wait(10);
        b.report(stage)?;
        Ok(())
    })?;
    same("pages", first.len(), 1)?;
    stage.redis::<()>("FLUSHALL", NO_ARGUMENTS)?;
    let after = pages(stage, |stage| beat(stage, 7, &mut [&mut b]))?;
    same("pages", after.len(), 1)?;
    ensure("it names no room", after[0].rooms.is_empty())?;
    ensure("a page is missing before it", after[0].since > first[0].revision)
}

/// Goal: a page that may not be published is as good as lost, which replies tell. The site's count does not suffer. Method: a user
/// of Redis who may only use the site's channel, and a recovery.
pub(super) fn denied_pages_are_lost(stage: &mut Stage<'_>) -> Outcome {
    let rules = ["reset", "on", "nopass", "~*", "+@all", "&user?count"];
    stage.redis::<()>("ACL", ("SETUSER", "limited", &rules[..]))?;
    stage.redis::<()>("AUTH", ("limited", "any"))?;
    let mut a = Holder::new("a", 1);
    a.report(stage)?;
    stage.wait(500);
    let first = a.set("/p", 1).report(stage);
    stage.wait(500);
    let second = a.set("/p", 2).report(stage);
    stage.redis::<()>("FLUSHALL", NO_ARGUMENTS)?;
    let recovery = beat(stage, 7, &mut [&mut a]);
    stage.redis::<()>("AUTH", ("default", "any"))?;
    let (first, second) = (first?, second?);
    recovery?;
    ensure("the mark is gone", !a.report(stage)?.recovering)?;
    ensure("both count as paged", first.paged > 0 && second.paged > first.paged)?;
    ensure("nothing waits", !second.unannounced)?;
    same("count", second.count, 1)
}

/// Goal: if the list of changed rooms is lost, in whole or in part, whoever hears the next page notices that changes are missing.
/// Method: the list is deleted, and made another type, before all of it is announced. It is lost before further changes, and
/// after them.
pub(super) fn lost_changes_are_a_gap(stage: &mut Stage<'_>) -> Outcome {
    let mut a = Holder::new("a", 0);
    for (round, tampering) in
        [vec!["DEL", UNANNOUNCED], vec!["SET", UNANNOUNCED, "x"]].iter().enumerate()
    {
        for further in [false, true] {
            stage.wait(10);
            let before = a.set("/p", 1).report(stage)?;
            a.set("/p", 0).set("/q", 1 + u64::try_from(round).expect("small")).report(stage)?;
            stage.redis::<()>(tampering[0], &tampering[1..])?;
            stage.wait(10);
            let heard = pages(stage, |stage| {
                if further {
                    a.set("/r", 1);
                }
                a.report(stage)?;
                Ok(())
            })?;
            same("pages", heard.len(), 1)?;
            ensure("a page is missing before it", heard[0].since > before.paged)?;
            stage.wait(10);
            a.set("/p", 0).set("/q", 0).set("/r", 0).report(stage)?;
        }
    }
    stage.wait(10);
    ensure("nothing waits", !a.report(stage)?.unannounced)
}

/// Goal: a value that somebody edited is not published, and the next audit puts it right. Method: a word in the place of a count.
pub(super) fn edited_counts_are_not_published(stage: &mut Stage<'_>) -> Outcome {
    let mut a = Holder::new("a", 1);
    a.set("/p", 1).report(stage)?;
    stage.wait(10);
    stage.sums = false;
    let heard = pages(stage, |stage| {
        stage.redis::<()>("HSET", (ROOMS, "/p", "x"))?;
        stage.redis::<()>("SADD", (UNANNOUNCED, "/p"))?;
        a.set("/q", 1).report(stage)?;
        Ok(())
    })?;
    same("rooms", heard[0].rooms.keys().cloned().collect::<Vec<_>>(), vec!["/q".to_owned()])?;
    stage.wait(700);
    a.report(stage)?;
    same("count", stage.redis::<u64>("HGET", (ROOMS, "/p"))?, 1)
}

/// Goal: names that somebody wrote into the store by hand do not spoil the announcement of the other rooms: those that JSON can carry
/// are escaped, the others are left out. Method: names with quotes, backslashes, control characters, and bytes that are no UTF-8,
/// beside all kinds of characters that are. The audit finds nobody there, and announces 0.
pub(super) fn strange_names_are_not_published(stage: &mut Stage<'_>) -> Outcome {
    let told: [&[u8]; 7] = [
        br#"/q"uote"#,
        br"/back\slash\",
        b"no slash",
        "/ä".as_bytes(),
        "/\u{7ff}\u{800}\u{d7ff}\u{e000}\u{ffff}".as_bytes(),
        "/\u{10000}\u{3ffff}\u{40000}\u{10ffff}".as_bytes(),
        b"/plain",
    ];
    let left_out: [&[u8]; 12] = [
        b"/line\nbreak",
        b"/nul\0",
        b"/\x1f",
        b"/\x7f",
        b"/\x80",
        b"/cut\xc3",
        b"/\xc0\xaf",
        b"/\xe0\x9f\xbf",
        b"/\xed\xa0\x80",
        b"/\xf0\x8f\xbf\xbf",
        b"/\xf4\x90\x80\x80",
        &[b'x'; 129],
    ];
    let mut a = Holder::new("a", 1);
    a.set("/p", 1).report(stage)?;
    stage.wait(10);
    a.report(stage)?;
    stage.sums = false;
    for name in told.into_iter().chain(left_out) {
        stage.redis::<()>("HSET", (ROOMS, name, 7))?;
    }
    let heard = pages(stage, |stage| beat(stage, 12, &mut [&mut a]))?;
    let all: BTreeMap<_, _> = heard.into_iter().flat_map(|page| page.rooms).collect();
    let name = |name: &[u8]| String::from_utf8(name.to_owned()).expect("it is UTF-8");
    same("rooms", all, told.into_iter().map(|it| (name(it), 0)).collect())?;
    same("left", stage.redis::<u64>("HLEN", ROOMS)?, 1)
}
