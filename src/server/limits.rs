//! The limits of an instance: how many connections, sessions and streams its descriptors, memory and settings allow.

use std::path::Path;

use anyhow::Context;

use crate::{
    config::serve::{CONNECTIONS_MAX, Config, DESCRIPTORS_RESERVED},
    engine::outbox::rooms::REST_BYTES_MAX_WITH_ROOMS,
    memory::limit::{
        CONNECTIONS_PER_SESSION, CONNECTIONS_SPARE, MemoryLimit, OUTBOX_BYTES_WITH_ROOMS,
        ProcessLimits, SessionExtent, memory_limit, rooms_within, sessions_within,
    },
};

/// The most event streams at a time. They are for dashboards and backends, of which a site has few.
const STREAMS_MAX: usize = 1000;
/// If descriptors are few, streams may use one in this many connections.
const STREAMS_SHARE: usize = 4;

const _: () = assert!(
    REST_BYTES_MAX_WITH_ROOMS as u64 <= OUTBOX_BYTES_WITH_ROOMS,
    "the number of sessions reckons with what may wait for each"
);

/// The most rooms, if the setting does not say another number.
const ROOMS_MAX: usize = 100_000;

/// The limits of an instance.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    /// The most connections of the public listener.
    pub(super) connections: usize,
    /// The most sessions.
    pub(super) sessions: usize,
    /// The most event streams of the API.
    pub(super) streams: usize,
    /// The most rooms.
    pub(super) rooms: usize,
    /// The smallest memory limit, and the number of sessions that fit into it.
    memory: Option<(MemoryLimit, usize)>,
}

impl Limits {
    /// Raises the soft file limit to the hard one, and computes the limits.
    pub(super) fn raise(config: &Config) -> anyhow::Result<Self> {
        let descriptors =
            rlimit::increase_nofile_limit(u64::MAX).context("failed to raise the file limit")?;
        let descriptors = usize::try_from(descriptors).unwrap_or(usize::MAX);
        let descriptors = descriptors.saturating_sub(DESCRIPTORS_RESERVED).max(1);
        let memory = memory_limit(Path::new("/"), ProcessLimits::of_this_process());
        let memory = memory.map(|limit| {
            let sessions = sessions_within(limit.bytes, extent(config));
            (limit, sessions)
        });
        let in_memory = memory.as_ref().map_or(usize::MAX, |(_, sessions)| *sessions);
        let default = descriptors.min(in_memory).min(CONNECTIONS_MAX);
        let sessions = config.connections_max.unwrap_or(default);
        // Beside the sessions there must be room for clients that are refused, but not more than fits into memory.
        let connections =
            sessions.saturating_mul(CONNECTIONS_PER_SESSION).saturating_add(CONNECTIONS_SPARE);
        let connections = connections.min(descriptors);
        let streams = (connections / STREAMS_SHARE).clamp(1, STREAMS_MAX);
        let rooms = memory.as_ref().map_or(ROOMS_MAX, |(limit, _)| rooms_within(limit.bytes));
        let rooms = config.rooms.most.unwrap_or(rooms.min(ROOMS_MAX));
        Ok(Self { connections, sessions, streams, rooms, memory })
    }

    /// The smallest memory limit, in bytes; `None` if the system reports none.
    pub(super) fn memory_bytes(&self) -> Option<u64> {
        self.memory.as_ref().map(|(limit, _)| limit.bytes)
    }

    /// Logs which limit decides, and whether the settings ask for more sessions or rooms than fit into memory. It is called after
    /// the start-up line, which scripts expect first.
    pub(super) fn tell(&self, config: &Config) {
        let is_set = config.connections_max.is_some();
        let (sessions, rooms) = (self.sessions, self.rooms);
        let by = match &self.memory {
            _ if is_set => "HEADCOUNT_MAX_CONNECTIONS".to_owned(),
            Some((limit, in_memory)) if sessions == *in_memory => limit.source.to_string(),
            _ if sessions == CONNECTIONS_MAX => "the default".to_owned(),
            _ => "the file limit".to_owned(),
        };
        tracing::info!(sessions, %by, rooms, "takes at most so many sessions and rooms at a time");
        if let Some((limit, in_memory)) =
            self.memory.as_ref().filter(|(_, in_memory)| sessions > *in_memory)
        {
            tracing::warn!(
                sessions,
                in_memory,
                bytes = limit.bytes,
                limit = %limit.source,
                "HEADCOUNT_MAX_CONNECTIONS is more than fits into memory at their worst: hostile clients could end \
                this instance"
            );
        }
        let in_memory = self.memory_bytes().map_or(usize::MAX, rooms_within);
        if rooms > in_memory {
            tracing::warn!(
                rooms,
                in_memory,
                "HEADCOUNT_ROOMS_MAX is more than the rooms' share of the memory: hostile clients could end this instance"
            );
        }
    }
}

/// The settings that decide how much memory a session may take.
fn extent(config: &Config) -> SessionExtent {
    let rules = &config.rooms;
    let rooms = rules.per_connection + rules.watched_per_connection;
    SessionExtent {
        payload_bytes_max: config.payload_bytes_max,
        rooms: if rules.allowed.is_none() { 0 } else { rooms },
        has_lists: !rules.listed.is_none(),
        fetches_keys: !config.sign_in.issuers.is_empty(),
    }
}
