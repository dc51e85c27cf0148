//! How much one instance takes: what descriptors, memory and settings leave room for.

use std::path::Path;

use anyhow::Context;

use crate::{
    config::{CONNECTIONS_MAX, Config, DESCRIPTORS_RESERVED},
    memory::limit::{
        CONNECTIONS_PER_SESSION, CONNECTIONS_SPARE, MemoryLimit, ProcessLimits, memory_limit,
        sessions_within,
    },
};

/// Event streams at a time: for dashboards and backends, of which a site has some; visitors have sockets.
const STREAMS_MAX: usize = 1000;
/// Where descriptors are few, streams take at most one of so many connections.
const STREAMS_SHARE: usize = 4;

/// How much one instance takes.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    /// Connections of the public listener.
    pub(super) connections: usize,
    /// Socket.IO sessions.
    pub(super) sessions: usize,
    /// Event streams of the API.
    pub(super) streams: usize,
    /// The least limit on memory, and the sessions that fit into it.
    memory: Option<(MemoryLimit, usize)>,
}

impl Limits {
    /// Raises the soft file limit to the hard one, and says what that and the memory leave room for.
    pub(super) fn raise(config: &Config) -> anyhow::Result<Self> {
        let descriptors =
            rlimit::increase_nofile_limit(u64::MAX).context("failed to raise the file limit")?;
        let descriptors = usize::try_from(descriptors).unwrap_or(usize::MAX);
        let descriptors = descriptors.saturating_sub(DESCRIPTORS_RESERVED).max(1);
        let memory = memory_limit(Path::new("/"), ProcessLimits::of_this_process());
        let memory = memory.map(|limit| {
            let sessions = sessions_within(limit.bytes, config.payload_bytes_max);
            (limit, sessions)
        });
        let in_memory = memory.as_ref().map_or(usize::MAX, |(_, sessions)| *sessions);
        let default = descriptors.min(in_memory).min(CONNECTIONS_MAX);
        let sessions = config.connections_max.unwrap_or(default);
        // Beside sessions there must be room for those who are told that there is none, but no more than fits into memory.
        let connections =
            sessions.saturating_mul(CONNECTIONS_PER_SESSION).saturating_add(CONNECTIONS_SPARE);
        let connections = connections.min(descriptors);
        let streams = (connections / STREAMS_SHARE).clamp(1, STREAMS_MAX);
        Ok(Self { connections, sessions, streams, memory })
    }

    /// The least limit on memory, in bytes; `None` where the system tells of none.
    pub(super) fn memory_bytes(&self) -> Option<u64> {
        self.memory.as_ref().map(|(limit, _)| limit.bytes)
    }

    /// The log says which limit decides, and whether a setting asks for more than there is memory for. This comes after
    /// the start-up line, which scripts expect first.
    pub(super) fn tell(&self, is_set: bool) {
        let sessions = self.sessions;
        let by = match &self.memory {
            _ if is_set => "HEADCOUNT_MAX_CONNECTIONS".to_owned(),
            Some((limit, in_memory)) if sessions == *in_memory => limit.source.to_string(),
            _ if sessions == CONNECTIONS_MAX => "the default".to_owned(),
            _ => "the file limit".to_owned(),
        };
        tracing::info!(sessions, %by, "takes at most so many sessions at a time");
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
    }
}
