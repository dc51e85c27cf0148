//! The script with one rule removed or changed, and the case that must detect it.

mod of_rooms;

pub(super) use of_rooms::OF_ROOMS;

/// One changed script.
pub(super) struct Mutant {
    pub(super) name: &'static str,
    pub(super) from: &'static str,
    pub(super) to: &'static str,
    pub(super) caught_by: &'static str,
}

const fn mutant(
    name: &'static str,
    from: &'static str,
    to: &'static str,
    caught_by: &'static str,
) -> Mutant {
    Mutant { name, from, to, caught_by }
}

#[rustfmt::skip]
pub(super) const MUTANTS: &[Mutant] = &[
    mutant("arguments unchecked", "if not valid then", "if false then", "bad_arguments"),
    mutant("no first write", "local begun = redis.pcall('HDEL', meta, '')", "local begun = redis.pcall('HGET', meta, '')", "out_of_memory"),
    mutant("exponent form", "string.format('%.0f', number)", "'' .. number", "great_numbers"),

    mutant("no fence", "if last and sequence <= last then", "if false then", "late_report"),
    mutant("repeats pass the fence", "sequence <= last", "sequence < last", "repeated_report"),
    mutant("anything fences", "return is_whole(tonumber(stored), WHOLE_MAX) and tonumber(stored) or nil", "return tonumber(stored)", "spoilt_sequence"),
    mutant("stale renews", "  outcome = 'STALE'\n", "  outcome = 'STALE'\n  call('ZADD', leases, 1e9, incarnation)\n", "stale_changes_nothing"),

    mutant("silence counts wholly", "gap = math.floor(lease / 8)", "gap = gap + 0", "newcomer_first"),
    mutant("silence never counts", "gap = math.floor(lease / 8)", "gap = 0", "one_report_each"),
    mutant("time runs back", "math.max(0, now - store.heard)", "now - store.heard", "time_jumps_back"),

    mutant("no tombstone", "call('HSET', sequences, incarnation", "call(leaving and 'HDEL' or 'HSET', sequences, incarnation", "tombstone"),
    mutant("no zero entry", "elseif stored_part ~= text(users) then", "elseif part(stored_part) ~= users then", "idle_is_alive"),

    mutant("no reaping", "'LIMIT', 0, REAPED_MAX", "'LIMIT', 0, 0", "dead_are_reaped"),
    mutant("farewells are crashes", "crashed + (stored and 1 or 0)", "crashed + 1", "farewell_is_no_crash"),
    mutant("who has no users cannot crash", "(stored and 1 or 0)", "(part(stored) > 0 and 1 or 0)", "farewell_is_no_crash"),
    mutant("reaping unbounded", "local REAPED_MAX = 128", "local REAPED_MAX = 1000", "many_dead"),

    mutant("no audit", "if audit_due or not is_whole(store.total, WHOLE_MAX) then", "if false then", "edited_part"),
    mutant("audit never due", "if store.clock - store.audited >= lease / 3 or (values[11] and store.clock - wide.audited >= lease / 3) then", "if false then", "edited_part"),
    mutant("audit not on demand", "local audit_due = kind == 'audit'", "local audit_due = false", "audit_on_demand"),
    mutant("total unchecked", "if audit_due or not is_whole(store.total, WHOLE_MAX) then", "if audit_due then", "impossible_total"),
    mutant("impossible times believed", "local damaged = not possible", "local damaged = not store.revision", "impossible_meta"),
    mutant("audits to come", "store.audited <= store.clock and ", "", "impossible_meta"),
    mutant("announcements to come", "store.announced_at <= store.clock", "true", "impossible_meta"),
    mutant("mark without end", "store.recovering <= store.clock + LEASE_MAX", "true", "impossible_meta"),
    mutant("revisions used up", "(store.revision <= REVISION_MAX or seen_revision > REVISION_MAX)", "true", "impossible_meta"),
    mutant("revisions kept used up", "store.revision <= believed and", "true and", "impossible_meta"),
    mutant("leases unclamped", "(damaged and lease or LEASE_MAX)", "1e15", "meta_lost"),
    mutant("leases clamped late", "(damaged and lease or LEASE_MAX)", "LEASE_MAX", "meta_lost"),
    mutant("strange parts count", "call('HEXISTS', sequences, owner) == 1", "true", "edited_part"),
    mutant("lost leases are deaths", "leased[owner] or call('HEXISTS', sequences, owner) == 1", "leased[owner]", "one_lease_deleted"),
    mutant("lost leases are strangers", "leases_lost or leased[owner]", "leased[owner]", "leases_and_sequences_deleted"),
    mutant("spoilt part unmarked", "parts_lost = parts_lost or known", "parts_lost = parts_lost", "spoilt_part"),
    mutant("wrong types stay", "  if is_wrong_type(reply) then", "  if false then", "wrong_types"),
    mutant("every error is a wrong type", "return is_error(reply) and string.find(reply.err, '^WRONGTYPE') ~= nil", "return is_error(reply)", "denied_commands"),
    mutant("denied reads are passed over", "if is_error(reply) and not is_wrong_type(reply) then", "if false then", "denied_commands"),
    mutant("denied publishing is passed over", "if unpublished then", "if false then", "denied_commands"),
    mutant("what was not published counts as published", "  if is_error(published) then", "  if false then", "denied_commands"),
    mutant("lost hash unmarked", "  parts_lost, audit_due = true, true\n", "  audit_due = true\n", "connections_deleted"),
    mutant("lost hash unaudited", "  parts_lost, audit_due = true, true\n", "  parts_lost = true\n", "connections_deleted"),

    mutant("nothing is forgotten", "local lost = forgot or parts_lost", "local lost = parts_lost", "rolled_back"),
    mutant("recovers only from empty", "local lost = forgot or parts_lost", "local lost = (forgot and damaged) or parts_lost", "rolled_back"),
    mutant("no mark", "  store.recovering = store.clock + lease\n", "", "emptied"),
    mutant("short mark", "store.recovering = store.clock + lease", "store.recovering = store.clock + lease / 8", "emptied"),
    mutant("mark never ends", "store.recovering > 0 and store.clock > store.recovering", "false", "emptied"),
    mutant("mark ends too soon", "store.clock > store.recovering", "store.clock >= store.recovering", "mark_outlasts_ghosts"),
    mutant("end is no revision", "local site_changed = lost or recovered or", "local site_changed = lost or", "end_of_recovery_is_a_revision"),
    mutant("revision from the store alone", "math.max(store.revision, seen_revision) + 1", "store.revision + 1", "great_numbers"),
    mutant("reused revision unnoticed", "    forgot = seen_count ~= shown\n", "    forgot = false\n", "rolled_back_to_the_same_revision"),

    mutant("edits stay", "elseif stands ~= total then", "elseif false then", "public_edited"),
    mutant("always set", "if stands ~= total and shown and stands == stood then", "if false then", "public_keeps_its_ttl"),
    mutant("set without ttl", ", 'PX', 2 * lease)", ")", "ttls"),
    mutant("ttl not renewed", "  call('PEXPIRE', public, 2 * lease)\n", "", "ttl_of_a_busy_store"),
    mutant("parts expire early", "local kept = has_rooms and KEPT_WITH_ROOMS or KEPT", "local kept = 2 * lease", "ttls"),

    mutant("the dead stay listed", "  for _, owner in ipairs(expired) do\n    gone[#gone + 1] = owner\n  end\n", "", "reaping_takes_what_was_said"),
    mutant("who left stays listed", "  instances = instances and instances - removed\n  gone[#gone + 1] = owner\n", "  instances = instances and instances - removed\n", "farewell_takes_what_was_said"),
    mutant("a farewell is listed", "and kind ~= 'farewell' and outcome == 'OK' then", "and outcome == 'OK' then", "farewell_takes_what_was_said"),
    mutant("names stay for good", "  tell('PEXPIRE', KEPT)\n", "", "what_is_said_stands"),
    mutant("silence is said", "if introduction ~= '' and", "if", "what_is_said_stands"),
    mutant("strangers stay", "if (audit_due or is_new) and tell('HLEN') > instances then", "if false then", "strangers_go"),
    mutant("strangers stay until an audit", "(audit_due or is_new)", "audit_due", "strangers_go"),
    mutant("strangers are looked for each time", "(audit_due or is_new)", "true", "silence_costs_nothing"),
    mutant("a list of names stays", "(redis.pcall('DEL', abouts) == 1 and 1 or 0)", "0", "a_list_instead"),
    mutant("who may not say who he is is not counted", "local told = redis.pcall(", "local told = redis.call(", "counting_needs_no_introduction"),

    mutant("no pacing", "if store.announced < wide.counted and not too_early then", "if store.announced < wide.counted then", "announcements_are_paced"),
    mutant("held back for ever", "if store.announced < wide.counted and not too_early then", "if store.total ~= shown and not too_early then", "held_back_goes_out"),
    mutant("says no key", ".. ',\"key\":' .. cjson.encode(public)", ".. ',\"key\":null'", "announcement_format"),
    mutant("says no database", "  .. ',\"key\":' .. cjson.encode(public) .. ',\"database\":' .. text(database) .. '}')\n  if is_error", "  .. ',\"key\":' .. cjson.encode(public) .. ',\"database\":0}')\n  if is_error", "announcement_of_another_database"),
    mutant("mark not published", "store.recovering > 0 and ',\"recovering\":true' or ''", "''", "announcement_format"),
];
